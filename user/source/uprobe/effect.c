// SPDX-License-Identifier: MIT
#include "user/source/uprobe/effect.h"

#include <string.h>

struct reader {
	const uint8_t *at, *end;
	bool failed;
};

static uint8_t next(struct reader *r)
{
	if (r->at >= r->end) {
		r->failed = true;
		return 0;
	}
	return *r->at++;
}

static void skip(struct reader *r, size_t n)
{
	if ((size_t)(r->end - r->at) < n)
		r->failed = true;
	else
		r->at += n;
}

static void read_modrm(struct reader *r, struct insn *i, uint8_t rex)
{
	uint8_t modrm = next(r), mod = modrm >> 6, rm = modrm & 7;

	i->extension = modrm >> 3 & 7;
	i->reg = i->extension | (rex & 4 ? 8 : 0);
	i->rm = rm | (rex & 1 ? 8 : 0);
	i->is_register = mod == 3;
	if (mod == 3)
		return;
	if (rm == 4) {
		uint8_t sib = next(r);

		if (mod == 0 && (sib & 7) == 5)
			skip(r, 4);
	} else if (mod == 0 && rm == 5) {
		skip(r, 4);
	}
	skip(r, mod == 1 ? 1 : mod == 2 ? 4 : 0);
}

/* Opcodes 00 to 3f are eight operations in six forms each. */
static enum effect decode_arithmetic(struct reader *r, struct insn *i, uint8_t rex)
{
	bool compares = i->opcode >> 3 == 7;

	switch (i->opcode & 7) {
	case 0:
	case 1:
		read_modrm(r, i, rex);
		return compares ? WRITES_NOTHING : WRITES_RM;
	case 2:
	case 3:
		read_modrm(r, i, rex);
		return compares ? WRITES_NOTHING : WRITES_REG;
	case 4:
	case 5:
		skip(r, i->opcode & 1 ? 4 : 1);
		i->reg = AX;
		return compares ? WRITES_NOTHING : WRITES_REG;
	}
	return UNKNOWN_INSN;
}

static enum effect decode_group3(struct reader *r, struct insn *i, uint8_t rex)
{
	read_modrm(r, i, rex);
	switch (i->extension) {
	case 0:
	case 1: /* test */
		skip(r, i->opcode & 1 ? 4 : 1);
		return WRITES_NOTHING;
	case 2:
	case 3: /* not, neg */
		return WRITES_RM;
	case 4:
	case 5: /* mul, imul */
		return WRITES_AX_DX;
	}
	return UNKNOWN_INSN;
}

static enum effect decode_two_bytes(struct reader *r, struct insn *i, uint8_t rex)
{
	i->two = true;
	i->opcode = next(r);
	i->is_byte = i->is_group = (i->opcode & 0xf0) == 0x90;
	if ((i->opcode & 0xf0) == 0x80) {
		skip(r, 4);
		return EMULATED;
	}
	read_modrm(r, i, rex);
	switch (i->opcode) {
	case 0x1e: /* endbr64 and other hints; one with REX reads the shadow stack pointer */
		return rex ? UNKNOWN_INSN : WRITES_NOTHING;
	case 0x1f: /* nop of several bytes; newer kernels may rewrite it */
		return WRITES_NOTHING;
	case 0xaf: /* imul */
	case 0xb6: /* movzx, movsx */
	case 0xb7:
	case 0xbe:
	case 0xbf:
	case 0xbc: /* bit scans */
	case 0xbd:
		return WRITES_REG;
	}
	if ((i->opcode & 0xf0) == 0x90) /* setcc */
		return WRITES_RM;
	if ((i->opcode & 0xf0) == 0x40) /* cmovcc */
		return WRITES_REG;
	return UNKNOWN_INSN;
}

static enum effect decode_opcode(struct reader *r, struct insn *i, uint8_t rex, bool narrow)
{
	uint8_t op = i->opcode;

	i->is_byte = !(op & 1) && (op < 0x40 || op == 0x80 || op == 0x84 || op == 0x88 ||
				   op == 0x8a || op == 0xc0 || op == 0xc6 || op == 0xf6);
	i->is_group = op == 0x80 || op == 0xc0 || op == 0xc6 || op == 0xf6;
	if (op < 0x40 && (op & 7) < 6)
		return decode_arithmetic(r, i, rex);
	if (op >= 0x50 && op < 0x58) {
		i->reg = (op & 7) | (rex & 1 ? 8 : 0);
		return rex & ~1U && rex != 0x41 ? UNKNOWN_INSN : EMULATED;
	}
	if (op >= 0x70 && op < 0x80) {
		skip(r, 1);
		return EMULATED;
	}
	if (op >= 0xb8 && op < 0xc0) { /* mov immediate */
		skip(r, rex & 8 ? 8 : narrow ? 2 : 4);
		i->reg = (op & 7) | (rex & 1 ? 8 : 0);
		return WRITES_REG;
	}
	switch (op) {
	case 0x0f:
		return decode_two_bytes(r, i, rex);
	case 0x63: /* movslq */
		read_modrm(r, i, rex);
		return WRITES_REG;
	case 0x69:
	case 0x6b: /* imul */
		read_modrm(r, i, rex);
		skip(r, op == 0x6b ? 1 : narrow ? 2 : 4);
		return WRITES_REG;
	case 0x80:
	case 0x81:
	case 0x83:
		read_modrm(r, i, rex);
		skip(r, op != 0x81 ? 1 : narrow ? 2 : 4);
		return i->extension == 7 ? WRITES_NOTHING : WRITES_RM;
	case 0x84:
	case 0x85: /* test */
		read_modrm(r, i, rex);
		return WRITES_NOTHING;
	case 0x88:
		read_modrm(r, i, rex);
		return WRITES_RM;
	case 0x89:
		read_modrm(r, i, rex);
		return COPIES_REG_TO_RM;
	case 0x8a:
	case 0x8d: /* lea */
		read_modrm(r, i, rex);
		return WRITES_REG;
	case 0x8b:
		read_modrm(r, i, rex);
		return COPIES_RM_TO_REG;
	case 0x90:
		return rex ? UNKNOWN_INSN : EMULATED;
	case 0xa8:
	case 0xa9: /* test */
		skip(r, op == 0xa8 ? 1 : narrow ? 2 : 4);
		return WRITES_NOTHING;
	case 0xc0:
	case 0xc1: /* shifts */
		read_modrm(r, i, rex);
		skip(r, 1);
		return WRITES_RM;
	case 0xd1:
	case 0xd3:
		read_modrm(r, i, rex);
		return WRITES_RM;
	case 0xc6:
	case 0xc7:
		read_modrm(r, i, rex);
		skip(r, op == 0xc6 ? 1 : narrow ? 2 : 4);
		return i->extension ? UNKNOWN_INSN : WRITES_RM;
	case 0xe8: /* call, jmp */
	case 0xe9:
		skip(r, 4);
		return EMULATED;
	case 0xeb:
		skip(r, 1);
		return EMULATED;
	case 0xf6:
	case 0xf7:
		return decode_group3(r, i, rex);
	}
	return UNKNOWN_INSN;
}

enum effect insn__effect(const uint8_t *code, size_t bytes, struct insn *i)
{
	struct reader r = {code, code + bytes, false};
	enum effect effect;
	bool narrow = false;
	uint8_t rex = 0, b;

	memset(i, 0, sizeof(*i));
	for (b = next(&r);; b = next(&r)) {
		if (b == 0x66)
			narrow = true;
		else if (b != 0xf2 && b != 0xf3 && b != 0x2e && b != 0x3e && b != 0x64 && b != 0x65)
			break;
		i->prefixed = true;
	}
	if ((b & 0xf0) == 0x40) {
		rex = b;
		b = next(&r);
	}
	i->opcode = b;
	i->wide = rex & 8;
	effect = decode_opcode(&r, i, rex, narrow);
	i->length = r.at - code;
	/* Without REX, byte operands 4 to 7 are ah, ch, dh and bh. */
	if (!rex && i->is_byte && ((!i->is_group && i->reg >= 4) || (i->is_register && i->rm >= 4)))
		return UNKNOWN_INSN;
	/* rep, lock and the like may change what the kernel thinks of it. */
	if (r.failed || (effect == EMULATED && i->prefixed))
		return UNKNOWN_INSN;
	return effect;
}

bool insn__apply(const struct insn *i, enum effect effect, uint8_t holds[NREGS])
{
	switch (effect) {
	case UNKNOWN_INSN:
	case EMULATED:
		return false;
	case WRITES_NOTHING:
		return true;
	case WRITES_AX_DX:
		holds[AX] = holds[DX] = NOTHING;
		return true;
	case WRITES_REG:
		holds[i->reg] = NOTHING;
		return i->reg != SP && i->reg != BP;
	case WRITES_RM:
		if (!i->is_register)
			return true;
		holds[i->rm] = NOTHING;
		return i->rm != SP && i->rm != BP;
	case COPIES_RM_TO_REG:
		holds[i->reg] = i->is_register && i->wide ? holds[i->rm] : NOTHING;
		return i->reg != SP && i->reg != BP;
	case COPIES_REG_TO_RM:
		if (!i->is_register)
			return true;
		holds[i->rm] = i->wide ? holds[i->reg] : NOTHING;
		return i->rm != SP && i->rm != BP;
	}
	return false;
}
