/* SPDX-License-Identifier: MIT */
/*
 * Mistakes on purpose, for the tests of the contract that mtalloc is held against
 * (tests/contracts/mtalloc.contract): each must be seen by the rule that names the property. They
 * are there in a build with MT_MUTANT only (make mutants), which makes the one whose number the
 * variable MTALLOC_MUTANT has. In all others MUTANT() is 0 and the code the same as without.
 */
#ifndef MTALLOC_MUTANT_H
#define MTALLOC_MUTANT_H

enum mutant {
	MUTANT_NONE,
	MUTANT_EXTRA_MMAP, /* a page more is mapped with each mapping, apart */
	MUTANT_EXTRA_UNMAP, /* a mapping goes in two parts */
	MUTANT_EXTRA_MPROTECT, /* what the break grew by is made writable, which it is */
	MUTANT_EXTRA_ASK, /* the kernel is asked for the break again with each mapping */
	MUTANT_TOUCH_MAPPING, /* the first page of a mapping is touched ahead */
	MUTANT_TOUCH_BREAK, /* what the break grew by is touched ahead */
	MUTANT_POPULATE, /* mappings come with their pages */
	MUTANT_CLEAR_FRESH, /* calloc clears a fresh mapping */
	MUTANT_FREE_TOUCHES, /* a mapping is written to before it goes */
	MUTANT_FIRST_GROWTH, /* the break begins with 64 pages */
	MUTANT_CONSTANT_GROWTH, /* the break always grows by the same */
	MUTANT_THRESHOLD_ABOVE, /* a block of exactly the threshold is none of the large */
	MUTANT_THRESHOLD_BELOW, /* a page below it already is */
	MUTANT_LARGE_IN_BREAK, /* no mappings */
	MUTANT_REALLOC_COPIES, /* instead of mremap */
	MUTANT_NEVER_LOWER, /* the break is not lowered */
	MUTANT_NEVER_DISCARD, /* no pages go back from between used ones */
	MUTANT_HOARD, /* all that is freed is kept */
	MUTANT_KEEP_NOTHING, /* nothing that comes and goes is kept */
	MUTANT_NO_DECAY, /* what was kept once is kept for ever */
	MUTANT_CHURN_ADVISE, /* each free of a large block gives a kept page back */
	MUTANT_TRIM_NOTHING, /* malloc_trim is for show */
};

#ifdef MT_MUTANT
extern int _mt_mutant;
#define MUTANT(name) (_mt_mutant == MUTANT_##name)
#else
#define MUTANT(name) 0
#endif

#endif
