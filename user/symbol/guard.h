/* SPDX-License-Identifier: MIT */
/*
 * Reading files through mappings while somebody may shorten them: what is no longer there reads as
 * zero instead of ending us with SIGBUS. One thread at a time may be between enter and leave.
 */
#ifndef MEMTRACE_GUARD_H
#define MEMTRACE_GUARD_H

void guard__enter(void);
void guard__leave(void);

#endif /* MEMTRACE_GUARD_H */
