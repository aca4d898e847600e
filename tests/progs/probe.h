/* SPDX-License-Identifier: MIT */
/*
 * A probe of a program's own (USDT), for an asm statement: a nop of one byte, and a note that says where it is.
 * A longer nop would be made a call by newer kernels, which overwrites the red zone. semaphore: the name of an
 * unsigned short in .probes, where the kernel counts listeners; "0": there is none.
 */
#ifndef PROBE_H
#define PROBE_H

#define PROBE(provider, name, semaphore, args)                                      \
	"990: nop\n"                                                                \
	".pushsection .note.stapsdt, \"\", \"note\"\n"                              \
	".balign 4\n"                                                               \
	".4byte 992f - 991f, 994f - 993f, 3\n"                                      \
	"991: .asciz \"stapsdt\"\n"                                                 \
	"992: .balign 4\n"                                                          \
	"993: .8byte 990b, _.stapsdt.base, " semaphore "\n"                         \
	".asciz \"" provider "\", \"" name "\", \"" args "\"\n"                     \
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

/* Its counter of listeners. */
#define PROBE_SEMAPHORE(name) volatile unsigned short name __attribute__((section(".probes"), used))

#endif /* PROBE_H */
