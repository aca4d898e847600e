/* SPDX-License-Identifier: MIT */
/*
 * A program whose own probes (USDT) say where its phases begin: app:warm has a counter of listeners
 * and is passed only when there are any, app:cool has none. 10 blocks before, 20 between them, 40
 * behind, and 5 between two more passes of app:warm.
 */
#include "prog.h"

/* The kernel counts listeners here. */
volatile unsigned short warm_semaphore __attribute__((section(".probes"), used));

#define PROBE(name, counter)                                                        \
	"990: nop\n"                                                                \
	".pushsection .note.stapsdt, \"\", \"note\"\n"                              \
	".balign 4\n"                                                               \
	".4byte 992f - 991f, 994f - 993f, 3\n"                                      \
	"991: .asciz \"stapsdt\"\n"                                                 \
	"992: .balign 4\n"                                                          \
	"993: .8byte 990b, _.stapsdt.base, " counter "\n"                           \
	".asciz \"app\", \"" name "\", \"-4@%%edi 8@$7\"\n"                         \
	"994: .balign 4\n"                                                          \
	".popsection\n"                                                             \
	".ifndef _.stapsdt.base\n"                                                  \
	".pushsection .stapsdt.base, \"aG\", \"progbits\", .stapsdt.base, comdat\n" \
	".weak _.stapsdt.base\n"                                                    \
	".hidden _.stapsdt.base\n"                                                  \
	"_.stapsdt.base: .space 1\n"                                                \
	".size _.stapsdt.base, 1\n"                                                 \
	".popsection\n"                                                             \
	".endif\n"

static PROG_NOINLINE void warm(void)
{
	if (warm_semaphore)
		__asm__ volatile(PROBE("warm", "warm_semaphore")::: "memory");
}

static PROG_NOINLINE void cool(void)
{
	__asm__ volatile(PROBE("cool", "0")::: "memory");
}

static PROG_NOINLINE void use(unsigned blocks)
{
	for (unsigned i = 0; i < blocks; i++) {
		void *volatile p = malloc(100);

		free(p);
	}
}

int main(int argc, char **argv)
{
	prog__start(&argc, &argv);
	prog__ready();
	use(10);
	warm();
	use(20);
	cool();
	use(40);
	warm();
	use(5);
	warm();
	prog__print("{\"listened\": %d}\n", warm_semaphore != 0);
	prog__end();
	return 0;
}
