/* SPDX-License-Identifier: MIT */
/*
 * What an x86-64 instruction does to registers: of the few that functions begin and end with.
 */
#ifndef MEMTRACE_EFFECT_H
#define MEMTRACE_EFFECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Registers by their numbers in instructions. */
enum { AX, CX, DX, BX, SP, BP, SI, DI, R8, R9, NREGS = 16 };

#define NOTHING 0xff

struct insn {
	unsigned length;
	uint8_t opcode; /* the second byte, if two is set */
	bool two; /* 0f xx */
	bool prefixed; /* by other than REX */
	bool is_register; /* the r/m operand is one */
	uint8_t reg, rm; /* operands of ModRM, with REX */
	uint8_t extension; /* ModRM's reg as part of the opcode */
	bool wide; /* 64 bits */
	bool is_byte, is_group; /* of a group, ModRM's reg is part of the opcode */
};

/* What an instruction does with its operands. */
enum effect {
	UNKNOWN_INSN,
	EMULATED, /* by the kernel */
	WRITES_NOTHING, /* to registers */
	WRITES_REG,
	WRITES_RM,
	COPIES_RM_TO_REG,
	COPIES_REG_TO_RM,
	WRITES_AX_DX,
};

/* The instruction at code, which has so many bytes. */
enum effect insn__effect(const uint8_t *code, size_t bytes, struct insn *i);

/* Apply it to holds[], which value is in which register. false: it is not known what it does, or
 * it moves the stack or the frame. */
bool insn__apply(const struct insn *i, enum effect effect, uint8_t holds[NREGS]);

#endif /* MEMTRACE_EFFECT_H */
