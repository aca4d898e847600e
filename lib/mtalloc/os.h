/* SPDX-License-Identifier: MIT */
/*
 * The one layer that asks the kernel for memory, or for anything else. Every call is counted. Those
 * that give memory back keep errno, whether they succeed or not.
 * Built with MT_TEST, the Nth call can be made to fail.
 */
#ifndef MTALLOC_OS_H
#define MTALLOC_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of the running kernel; known after _mt_os_init(). A granule is a multiple of it. */
extern size_t _mt_os_page;

void _mt_os_init(void);

/* Moves the break; the old one, or NULL with errno set. */
void *_mt_os_sbrk(intptr_t bytes);
/* Where the break is now, as libc knows it. No system call. */
char *_mt_os_break(void);

/* Zeroed private memory, or NULL. */
void *_mt_os_map(size_t bytes);
bool _mt_os_unmap(void *start, size_t bytes);
/* May move; NULL when it cannot, and then the mapping is as it was. */
void *_mt_os_remap(void *start, size_t old_bytes, size_t new_bytes);
/* Gives the pages back; what is read there afterwards is zero. */
bool _mt_os_discard(void *start, size_t bytes);

/* Milliseconds of the monotonic clock, coarse. */
uint64_t _mt_os_now_ms(void);
/* Pages that the process touched for the first time, all its threads together. */
size_t _mt_os_faults(void);
/* A secret of this process. */
uint32_t _mt_os_random(void);
void _mt_os_wait(_Atomic uint32_t *word, uint32_t value);
void _mt_os_wake(_Atomic uint32_t *word);
void _mt_os_write(int fd, const char *text, size_t length);

#ifdef MT_TEST
/* The nth call from now (1 the next) that asks for memory or changes it fails; 0: none. */
void _mt_os_fail_at(long nth);
/* ... and all after it. */
void _mt_os_fail_from(long nth);
#endif
#endif
