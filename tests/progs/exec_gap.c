/* SPDX-License-Identifier: MIT */
/* FLAGS: -no-pie -Wl,-z,max-page-size=0x200000 */
/*
 * A program whose segments lie 2 MiB apart: what execve maps has gaps. It writes
 * 64 pages of its bss and 16 of its data, from functions of its own.
 */
#include "tests/progs/prog.h"

static char bss[64 * PROG_PAGE];
static char data[16 * PROG_PAGE] = {1};

static PROG_NOINLINE void place_bss(void)
{
	for (size_t i = 0; i < sizeof(bss); i += PROG_PAGE)
		((volatile char *)bss)[i] = 1;
}

static PROG_NOINLINE void place_data(void)
{
	for (size_t i = 0; i < sizeof(data); i += PROG_PAGE)
		((volatile char *)data)[i] = 1;
}

int main(void)
{
	place_bss();
	place_data();
	return 0;
}
