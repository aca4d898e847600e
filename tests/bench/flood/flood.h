/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* What the two halves of the flood share. */
#ifndef FLOOD_H
#define FLOOD_H

#define FLOOD_THREADS 4
#define FLOOD_ALIVE 1000 /* blocks, of each thread */
#define FLOOD_BLOCK 1024 /* bytes that each has room for */
#define FLOOD_STACKS 64
#define FLOOD_FRAMES 10

/* Of one thread. */
struct flood_share {
	__u32 tgid, tid; /* in whose name */
	__u32 ring, next; /* next: pairs to write in this run */
	__u64 base, stack,
		code; /* addresses of blocks, stack ids, addresses in stacks: from these on */
	__u64 pairs, written, lost; /* so far */
};

#endif /* FLOOD_H */
