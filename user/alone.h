/* SPDX-License-Identifier: MIT */
/*
 * A run without the kernel plane: no right to use BPF, or a kernel without it. The ring plane tells of
 * allocator calls, and of the processes that make them; all else is not known, and told so.
 */
#ifndef MEMTRACE_ALONE_H
#define MEMTRACE_ALONE_H

#include "user/session_internal.h"

/* For ring_plane__go_alone(); ctx: the session. */
struct ring_guest;
void alone__meet(void *ctx, const struct ring_guest *g);

/* A stack has come: find the code that it is in, where that is not known. */
void alone__look_up_stack(struct session *s, const struct rec_stack *r);

/* Whether the command has ended and nobody else will tell; *end: the record that does. */
bool alone__command_is_over(const struct session *s, struct rec_exit *end);

#endif /* MEMTRACE_ALONE_H */
