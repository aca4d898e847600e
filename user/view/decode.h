/* SPDX-License-Identifier: MIT */
/*
 * Arguments and results of system calls in strace's notation: flags by name,
 * the unknown rest in hex. Names are the kernel's ABI, not those of the
 * headers this was built with.
 */
#ifndef MEMTRACE_VIEW_DECODE_H
#define MEMTRACE_VIEW_DECODE_H

#include <stdint.h>

#include "user/view/sink.h"

void decode__prot(struct sink *s, uint64_t prot);
void decode__map_flags(struct sink *s, uint64_t flags);
void decode__madvice(struct sink *s, uint64_t advice);
void decode__mremap_flags(struct sink *s, uint64_t flags);
/* Whether strace, as the kernel, looks at mremap's fifth argument. */
bool decode__mremap_has_address(uint64_t flags);
void decode__address(struct sink *s, uint64_t address); /* NULL or 0x... */
void decode__error(struct sink *s, unsigned number); /* ENOMEM (Cannot allocate memory) */
void decode__signal(struct sink *s, unsigned number); /* SIGSEGV */

#endif /* MEMTRACE_VIEW_DECODE_H */
