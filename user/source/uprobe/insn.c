// SPDX-License-Identifier: MIT
#include "user/source/uprobe/insn.h"

#include <string.h>

#define LONGEST 15

/* What follows an opcode: a ModRM byte with what it asks for, an immediate of so many bytes. */
enum {
	MODRM = 0x10,
	Z = 0x20, /* an immediate of the operand's size, at most 4 bytes */
	BAD = 0x80,
};

struct cursor {
	const uint8_t *at, *end;
	bool failed;
	bool narrow; /* 66 */
	bool short_addresses; /* 67 */
	bool prefixed; /* by other than REX */
	uint8_t rex;
	uint8_t modrm;
	int64_t rip_offset; /* of a memory operand at rip + offset */
	bool by_rip;
};

static uint8_t next(struct cursor *c)
{
	if (c->at >= c->end) {
		c->failed = true;
		return 0;
	}
	return *c->at++;
}

static int64_t number(struct cursor *c, unsigned bytes)
{
	int32_t four = 0;
	int8_t one = 0;

	if ((size_t)(c->end - c->at) < bytes) {
		c->failed = true;
		return 0;
	}
	if (bytes == 1)
		memcpy(&one, c->at, 1);
	else if (bytes == 4)
		memcpy(&four, c->at, 4);
	c->at += bytes;
	return bytes == 1 ? one : four;
}

static void skip_modrm(struct cursor *c)
{
	uint8_t mod, rm, sib = 0;

	c->modrm = next(c);
	mod = c->modrm >> 6;
	rm = c->modrm & 7;
	if (mod == 3)
		return;
	if (rm == 4)
		sib = next(c);
	if (mod == 0 && rm == 5) {
		c->by_rip = true;
		c->rip_offset = number(c, 4);
	} else if (mod == 2 || (mod == 0 && rm == 4 && (sib & 7) == 5)) {
		number(c, 4);
	} else if (mod == 1) {
		number(c, 1);
	}
}

/* Opcodes of one byte that are not handled by name. */
static unsigned one_byte(uint8_t op)
{
	if (op < 0x40)
		return (op & 7) < 4 ? MODRM : (op & 7) == 4 ? 1 : (op & 7) == 5 ? Z : BAD;
	if (op >= 0x50 && op < 0x60)
		return 0;
	if (op >= 0x84 && op < 0x90)
		return MODRM;
	if ((op >= 0x90 && op < 0xa0 && op != 0x9a) ||
	    (op >= 0xa4 && op < 0xb0 && op != 0xa8 && op != 0xa9))
		return 0;
	if (op >= 0xb0 && op < 0xb8)
		return 1;
	if (op >= 0xd8 && op < 0xe0)
		return MODRM;
	if ((op >= 0xe4 && op < 0xe8))
		return 1;
	if ((op >= 0xec && op < 0xf0) || (op >= 0xf8 && op < 0xfe))
		return 0;
	switch (op) {
	case 0x63:
	case 0xd0:
	case 0xd1:
	case 0xd2:
	case 0xd3:
	case 0xfe:
		return MODRM;
	case 0x68:
	case 0xa9:
		return Z;
	case 0x69:
	case 0x81:
	case 0xc7:
		return MODRM | Z;
	case 0x6a:
	case 0xa8:
		return 1;
	case 0x6b:
	case 0x80:
	case 0x83:
	case 0xc0:
	case 0xc1:
	case 0xc6:
		return MODRM | 1;
	case 0xc8:
		return 3;
	case 0x6c:
	case 0x6d:
	case 0x6e:
	case 0x6f:
	case 0xc9:
	case 0xd7:
	case 0xf5:
		return 0;
	}
	return BAD;
}

/* Opcodes after 0f, also in VEX and EVEX instructions. */
static unsigned two_bytes(uint8_t op, bool vex)
{
	switch (op) {
	case 0x70:
	case 0x71:
	case 0x72:
	case 0x73:
	case 0xc2:
	case 0xc4:
	case 0xc5:
	case 0xc6:
		return MODRM | 1;
	case 0x77:
		return 0;
	}
	if (vex)
		return MODRM;
	switch (op) {
	case 0x0f:
	case 0xa4:
	case 0xac:
	case 0xba:
		return MODRM | 1;
	case 0x05: /* syscall */
	case 0x06:
	case 0x08:
	case 0x09:
	case 0x0e:
	case 0x31: /* rdtsc */
	case 0xa0:
	case 0xa1:
	case 0xa2: /* cpuid */
	case 0xa8:
	case 0xa9:
		return 0;
	case 0x04:
	case 0x07:
	case 0x0a:
	case 0x0c:
	case 0x24:
	case 0x25:
	case 0x26:
	case 0x27:
	case 0x36:
	case 0x37:
	case 0x39:
	case 0x3b:
	case 0x3c:
	case 0x3d:
	case 0x3e:
	case 0x3f:
	case 0xa6:
	case 0xa7:
	case 0xaa:
		return BAD;
	}
	if (op >= 0x30 && op < 0x38)
		return 0;
	if (op >= 0xc8 && op < 0xd0) /* bswap */
		return 0;
	return MODRM;
}

static void skip_operands(struct cursor *c, unsigned shape)
{
	if (shape & BAD) {
		c->failed = true;
		return;
	}
	if (shape & MODRM)
		skip_modrm(c);
	if (shape & Z)
		c->at += c->narrow && !(c->rex & 8) ? 2 : 4;
	c->at += shape & 15;
	if (c->at > c->end)
		c->failed = true;
}

static void skip_vex(struct cursor *c, uint8_t first)
{
	unsigned map, shape;
	uint8_t op;

	if (c->rex)
		c->failed = true;
	if (first == 0xc5) {
		next(c);
		map = 1;
	} else {
		map = next(c) & (first == 0x62 ? 7 : 31);
		next(c);
		if (first == 0x62)
			next(c);
	}
	op = next(c);
	shape = map == 1 ? two_bytes(op, true) : map == 3 ? MODRM | 1 : map ? MODRM : BAD;
	skip_operands(c, map > 6 || map == 4 ? BAD : shape);
}

static void step_two_bytes(struct cursor *c, struct insn_step *s)
{
	uint8_t op = next(c);

	if ((op & 0xf0) == 0x80) {
		s->target = number(c, 4);
		s->flow = c->narrow ? FLOW_UNKNOWN : FLOW_BRANCH;
		s->condition = op & 15;
		s->emulated = !c->prefixed && !c->rex;
		return;
	}
	s->flow = op == 0x0b || op == 0xb9 || op == 0xff ? FLOW_STOP : FLOW_NEXT;
	if (op == 0x0b)
		return;
	if (op == 0x38) {
		next(c);
		skip_operands(c, MODRM);
	} else if (op == 0x3a) {
		next(c);
		skip_operands(c, MODRM | 1);
	} else {
		skip_operands(c, two_bytes(op, false));
	}
}

static void step_group5(struct cursor *c, struct insn_step *s)
{
	skip_modrm(c);
	switch (c->modrm >> 3 & 7) {
	case 2:
		s->flow = FLOW_CALL;
		break;
	case 4:
		s->flow = c->by_rip ? FLOW_SLOT : FLOW_UNKNOWN;
		s->target = c->rip_offset;
		break;
	case 3:
	case 5:
	case 7:
		s->flow = FLOW_UNKNOWN;
		break;
	}
}

static void step_opcode(struct cursor *c, struct insn_step *s, uint8_t op)
{
	bool plain = !c->prefixed && !c->rex;

	s->flow = FLOW_NEXT;
	switch (op) {
	case 0x0f:
		step_two_bytes(c, s);
		return;
	case 0x62:
	case 0xc4:
	case 0xc5:
		skip_vex(c, op);
		return;
	case 0xa0:
	case 0xa1:
	case 0xa2:
	case 0xa3:
		c->at += c->short_addresses ? 4 : 8;
		c->failed |= c->at > c->end;
		return;
	case 0xc2:
	case 0xc3:
		c->at += op == 0xc2 ? 2 : 0;
		c->failed |= c->at > c->end;
		s->flow = FLOW_RETURN;
		return;
	case 0xcc:
	case 0xf4:
		s->flow = FLOW_STOP;
		return;
	case 0xcd:
		next(c);
		return;
	case 0xe0:
	case 0xe1:
	case 0xe2:
	case 0xe3:
		s->target = number(c, 1);
		s->flow = FLOW_BRANCH;
		return;
	case 0xe8:
		s->target = number(c, 4);
		s->flow = c->narrow ? FLOW_UNKNOWN : FLOW_CALL;
		s->emulated = plain;
		return;
	case 0xe9:
	case 0xeb:
		s->target = number(c, op == 0xe9 ? 4 : 1);
		s->flow = c->narrow ? FLOW_UNKNOWN : FLOW_JUMP;
		s->emulated = plain;
		return;
	case 0xf6:
	case 0xf7:
		skip_modrm(c);
		if (!(c->modrm >> 3 & 6))
			skip_operands(c, op == 0xf7 ? Z : 1);
		return;
	case 0xff:
		step_group5(c, s);
		return;
	}
	if (op >= 0x70 && op < 0x80) {
		s->target = number(c, 1);
		s->flow = FLOW_BRANCH;
		s->condition = op & 15;
		s->emulated = plain;
		return;
	}
	if (op >= 0xb8 && op < 0xc0) {
		c->at += c->rex & 8 ? 8 : c->narrow ? 2 : 4;
		c->failed |= c->at > c->end;
		return;
	}
	skip_operands(c, one_byte(op));
	/* A transaction that fails goes elsewhere; pop of memory and what is not one (XOP). */
	if ((op == 0xc7 && c->modrm == 0xf8) || (op == 0x8f && c->modrm >> 3 & 7))
		s->flow = FLOW_UNKNOWN;
	s->emulated = (op == 0x90 && plain) ||
		      (op >= 0x50 && op < 0x58 && !c->prefixed && (!c->rex || c->rex == 0x41));
}

struct insn_step insn__step(const uint8_t *code, size_t bytes)
{
	struct cursor c = {.at = code, .end = code + (bytes < LONGEST ? bytes : LONGEST)};
	struct insn_step s = {.condition = -1};
	uint8_t op;

	for (op = next(&c);; op = next(&c)) {
		if (op == 0x66)
			c.narrow = true;
		else if (op == 0x67)
			c.short_addresses = true;
		else if (op != 0xf0 && op != 0xf2 && op != 0xf3 && op != 0x2e && op != 0x36 &&
			 op != 0x3e && op != 0x26 && op != 0x64 && op != 0x65)
			break;
		c.prefixed = true;
		if (c.failed)
			break;
	}
	if ((op & 0xf0) == 0x40) {
		c.rex = op;
		op = next(&c);
	}
	step_opcode(&c, &s, op);
	s.length = c.at - code;
	s.target += s.length;
	if (c.failed || s.flow == FLOW_UNKNOWN)
		return (struct insn_step){.condition = -1};
	return s;
}
