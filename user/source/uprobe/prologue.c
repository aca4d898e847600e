// SPDX-License-Identifier: MIT
#include "user/source/uprobe/prologue.h"

#include <stdio.h>
#include <string.h>

#include "user/source/uprobe/effect.h"

static void name(const struct insn *i, char *what, size_t room)
{
	static const char *const conditions[] = {"jo",	"jno", "jb",  "jae", "je", "jne",
						 "jbe", "ja",  "js",  "jns", "jp", "jnp",
						 "jl",	"jge", "jle", "jg"};
	static const char *const registers[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp",
						"rsi", "rdi", "r8",  "r9",  "r10", "r11",
						"r12", "r13", "r14", "r15"};

	if (i->two || (i->opcode & 0xf0) == 0x70)
		snprintf(what, room, "%s", conditions[i->opcode & 15]);
	else if ((i->opcode & 0xf8) == 0x50)
		snprintf(what, room, "push %%%s", registers[i->reg]);
	else
		snprintf(what, room, "%s",
			 i->opcode == 0x90 ? "nop" :
			 i->opcode == 0xe8 ? "call" :
					     "jmp");
}

/* Where the arguments that are needed are. false: one is gone. */
static bool locate(const uint8_t holds[NREGS], unsigned args, uint8_t reg[4])
{
	for (unsigned a = 0; a < 4; a++) {
		unsigned r = 0;

		while (r < NREGS && holds[r] != a)
			r++;
		if (r == NREGS && args & 1U << a)
			return false;
		reg[a] = r == NREGS ? 0 : r;
	}
	return true;
}

void prologue__choose(const uint8_t *code, size_t bytes, unsigned args, struct site *site)
{
	static const uint8_t endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
	static const uint8_t at_entry[4] = {DI, SI, DX, CX};
	uint8_t holds[NREGS];
	enum effect effect;
	size_t at = 0, entry = 0;
	struct insn i;

	if (bytes >= sizeof(endbr64) && !memcmp(code, endbr64, sizeof(endbr64)))
		at = entry = sizeof(endbr64);
	memset(holds, NOTHING, sizeof(holds));
	for (unsigned a = 0; a < 4; a++)
		holds[at_entry[a]] = a;
	for (; at < bytes; at += i.length) {
		effect = insn__effect(code + at, bytes - at, &i);
		if (effect == EMULATED && locate(holds, args, site->reg)) {
			site->offset = at;
			site->place = at ? PLACE_INSIDE : PLACE_ENTRY;
			name(&i, site->what, sizeof(site->what));
			return;
		}
		if (!insn__apply(&i, effect, holds))
			break;
	}
	site->offset = entry;
	site->place = PLACE_SLOW;
	memcpy(site->reg, at_entry, sizeof(at_entry));
	snprintf(site->what, sizeof(site->what), "single-stepped");
}
