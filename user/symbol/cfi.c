/* SPDX-License-Identifier: MIT */
/* What surrounds an instruction: the frame it runs in by the unwind tables, the call before it. */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <dwarf.h>

#include "user/symbol/image.h"

#define X86_64_RSP 7 /* DWARF's number of the register */
#define CALL_MAX_BYTES 7 /* opcode, ModRM, SIB, 32-bit displacement; prefixes need no look */

/* 1: CFA is rsp+8; 0: it is something else; -ENOENT: not told, or as an expression. */
static int cfi__is_bare(Dwarf_CFI *cfi, Dwarf_Addr addr)
{
	Dwarf_Frame *frame;
	Dwarf_Op *ops;
	size_t nops;
	int bare = -ENOENT;

	if (!cfi || dwarf_cfi_addrframe(cfi, addr, &frame) != 0)
		return -ENOENT;
	if (dwarf_frame_cfa(frame, &ops, &nops) == 0 && nops == 1 && ops->atom == DW_OP_bregx)
		bare = ops->number == X86_64_RSP && ops->number2 == 8;
	free(frame);
	return bare;
}

int image__leaf_is_bare(struct image *image, uint64_t addr)
{
	Dwarf_CFI *cfi;
	Dwarf_Addr bias;
	int bare;

	if (image->machine != EM_X86_64)
		return -ENOENT;
	cfi = dwfl_module_eh_cfi(image->module, &bias);
	bare = cfi__is_bare(cfi, addr - bias);
	if (bare < 0) {
		cfi = dwfl_module_dwarf_cfi(image->module, &bias);
		bare = cfi__is_bare(cfi, addr - bias);
	}
	return bare;
}

/* Length of what a ModRM byte and all that belongs to it take, in 64-bit code. */
static size_t modrm__bytes(const unsigned char *p)
{
	unsigned mod = p[0] >> 6, rm = p[0] & 7;
	bool sib = mod != 3 && rm == 4;
	size_t displacement = 0;

	if (mod == 1)
		displacement = 1;
	else if (mod == 2 || (mod == 0 && (rm == 5 || (sib && (p[1] & 7) == 5))))
		displacement = 4;
	return 1 + sib + displacement;
}

/* code: the CALL_MAX_BYTES before addr. */
static bool code__ends_in_call(const struct image *image, const unsigned char *code, uint64_t addr)
{
	const unsigned char *near = code + CALL_MAX_BYTES - 5;

	/* call rel32: a program calls so within itself only. */
	if (*near == 0xe8) {
		int32_t distance;

		memcpy(&distance, near + 1, sizeof(distance));
		if (image__is_code(image, addr + (uint64_t)(int64_t)distance))
			return true;
	}
	/* call r/m64: FF /2 */
	for (size_t bytes = 2; bytes <= CALL_MAX_BYTES; bytes++) {
		const unsigned char *p = code + CALL_MAX_BYTES - bytes;

		if (p[0] == 0xff && (p[1] >> 3 & 7) == 2 && 1 + modrm__bytes(p + 1) == bytes)
			return true;
	}
	return false;
}

int image__follows_call(const struct image *image, uint64_t offset)
{
	unsigned char code[CALL_MAX_BYTES + 1] = {0};
	size_t bytes = offset < CALL_MAX_BYTES ? offset : CALL_MAX_BYTES;
	uint64_t before;
	ssize_t n;

	if (image->machine != EM_X86_64)
		return -ENOTSUP;
	if (bytes == 0 || !image__address(image, offset - 1, &before) ||
	    !image__is_code(image, before))
		return 0;
	n = pread(image->fd, code + CALL_MAX_BYTES - bytes, bytes, (off_t)(offset - bytes));
	if (n < 0)
		return -errno;
	if ((size_t)n < bytes)
		return -ENODATA;
	return code__ends_in_call(image, code, before + 1);
}
