/* SPDX-License-Identifier: MIT */
/*
 * A place for a probe, with a note that says where it is, for an asm statement: a nop of one byte, which the
 * kernel skips without stepping and does not turn into a call, as it does with longer ones: that would write
 * below the stack pointer, where code may keep something. The arguments are where the note says,
 * whatever the compiler makes of them. The operand [semaphore] is the address of a uint16_t, in a
 * part of the file that is writable: the kernel counts there how many listen.
 */
#ifndef MTALLOC_USDT_H
#define MTALLOC_USDT_H

#if defined(__x86_64__) && !defined(__ILP32__)
#define MT_HAS_PROBES 1
#endif

#define MT_PROBE(provider, name, arguments, semaphore)                               \
	"990:	nop\n"                                                                 \
	"	.pushsection .note.stapsdt, \"\", \"note\"\n"                              \
	"	.balign 4\n"                                                               \
	"	.4byte 992f - 991f, 994f - 993f, 3\n"                                      \
	"991:	.asciz \"stapsdt\"\n"                                                  \
	"992:	.balign 4\n"                                                           \
	"993:	.8byte 990b\n"                                                         \
	"	.8byte _.stapsdt.base\n"                                                   \
	"	.8byte %c[" semaphore "]\n"                                          \
	"	.asciz \"" provider "\"\n"                                           \
	"	.asciz \"" name "\"\n"                                               \
	"	.asciz \"" arguments "\"\n"                                          \
	"994:	.balign 4\n"                                                           \
	"	.popsection\n"                                                             \
	"	.ifndef _.stapsdt.base\n"                                                  \
	"	.pushsection .stapsdt.base, \"aG\", \"progbits\", .stapsdt.base, comdat\n" \
	"	.weak _.stapsdt.base\n"                                                    \
	"	.hidden _.stapsdt.base\n"                                                  \
	"_.stapsdt.base: .space 1\n"                                                 \
	"	.size _.stapsdt.base, 1\n"                                                 \
	"	.popsection\n"                                                             \
	"	.endif\n"

#endif
