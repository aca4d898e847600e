/* SPDX-License-Identifier: MIT */
/* An ELF file, open for questions: see image.h. */
#include "user/symbol/image.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "user/symbol/file.h"

#define BUILD_ID_DIR "/usr/lib/debug/.build-id"

static int never_find_elf(Dwfl_Module *module, void **userdata, const char *name, Dwarf_Addr base,
			  char **file_name, Elf **elf)
{
	(void)module, (void)userdata, (void)name, (void)base, (void)file_name, (void)elf;
	return -1;
}

/* The separate debug file, by build id. libdwfl's own way would also ask debuginfod. */
static int find_debug_file(Dwfl_Module *module, void **userdata, const char *name, Dwarf_Addr base,
			   const char *file_name, const char *link, GElf_Word link_crc,
			   char **debug_file_name)
{
	const unsigned char *id;
	char path[256];
	GElf_Addr at;
	int length, n;

	(void)userdata, (void)name, (void)base, (void)file_name, (void)debug_file_name;
	/* A link without a checksum is not this module's but the supplementary file's. */
	if (link && link_crc == 0)
		return -1;
	length = dwfl_module_build_id(module, &id, &at);
	if (length < 2 || length > 64)
		return -1;
	n = snprintf(path, sizeof(path), BUILD_ID_DIR "/%02x/", id[0]);
	for (int i = 1; i < length; i++)
		n += snprintf(path + n, sizeof(path) - n, "%02x", id[i]);
	snprintf(path + n, sizeof(path) - n, ".debug");
	return file__open_regular(path);
}

static const Dwfl_Callbacks callbacks = {
	.find_elf = never_find_elf,
	.find_debuginfo = find_debug_file,
	.section_address = dwfl_offline_section_address,
};

/* libdwfl would also unpack archives and compressed files: let it see programs and libraries. */
static int fd__check_elf(int fd)
{
	union {
		unsigned char ident[EI_NIDENT];
		Elf32_Ehdr small;
		Elf64_Ehdr large;
	} header;
	const unsigned char *ident = header.ident;
	ssize_t n = pread(fd, &header, sizeof(header), 0);

	if (n < 0)
		return -errno;
	if ((size_t)n < sizeof(header.small) || memcmp(ident, ELFMAG, SELFMAG) != 0 ||
	    ident[EI_DATA] != ELFDATA2LSB)
		return -ENOEXEC;
	if (ident[EI_CLASS] == ELFCLASS64 ? (size_t)n < sizeof(header.large) :
					    ident[EI_CLASS] != ELFCLASS32)
		return -ENOEXEC;
	/* e_type is at the same place in both classes. */
	if (header.large.e_type != ET_EXEC && header.large.e_type != ET_DYN)
		return -ENOEXEC;
	return 0;
}

static int image__report(struct image *image, const char *path)
{
	int fd = fcntl(image->fd, F_DUPFD_CLOEXEC, 3);

	if (fd < 0)
		return -errno;
	image->dwfl = dwfl_begin(&callbacks);
	if (!image->dwfl) {
		close(fd);
		return -ENOMEM;
	}
	dwfl_report_begin(image->dwfl);
	image->module = dwfl_report_offline(image->dwfl, path, path, fd);
	if (!image->module) /* else the descriptor is the library's */
		close(fd);
	dwfl_report_end(image->dwfl, NULL, NULL);
	return image->module ? 0 : -ENOEXEC;
}

static int image__read_segments(struct image *image)
{
	GElf_Addr bias;
	Elf *elf = dwfl_module_getelf(image->module, &bias);
	GElf_Ehdr header;
	size_t n;

	if (!elf || !gelf_getehdr(elf, &header) || elf_getphdrnum(elf, &n) < 0 || n == 0)
		return -ENOEXEC;
	image->machine = header.e_machine;
	image->segments = calloc(n, sizeof(*image->segments));
	if (!image->segments)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		struct segment *s = &image->segments[image->nsegments];
		GElf_Phdr p;

		if (!gelf_getphdr(elf, (int)i, &p) || p.p_type != PT_LOAD || p.p_filesz == 0 ||
		    p.p_offset + p.p_filesz < p.p_offset)
			continue;
		*s = (struct segment){.offset = p.p_offset,
				      .addr = p.p_vaddr + bias,
				      .bytes = p.p_filesz,
				      .code = p.p_flags & PF_X};
		image->nsegments++;
	}
	return 0;
}

int image__open(struct image **out, int fd, const char *path)
{
	struct image *image;
	int err = fd__check_elf(fd);

	if (err < 0)
		return err;
	image = calloc(1, sizeof(*image));
	if (!image)
		return -ENOMEM;
	image->fd = fd;
	err = image__report(image, path);
	if (err == 0)
		err = image__read_segments(image);
	if (err < 0) {
		image__free(image);
		return err;
	}
	*out = image;
	return 0;
}

void image__free(struct image *image)
{
	if (!image)
		return;
	spans__free(&image->functions);
	/* What debug holds refers to the library's data and is referred to by it: before and after. */
	debug__free(image->debug);
	dwfl_end(image->dwfl);
	free(image->segments);
	free(image);
}

void image__build_id(struct image *image, char *out, size_t room)
{
	const unsigned char *id;
	GElf_Addr at;
	int length = dwfl_module_build_id(image->module, &id, &at);

	out[0] = '\0';
	if (length <= 0 || 2 * (size_t)length >= room)
		return;
	for (int i = 0; i < length; i++)
		snprintf(out + 2 * (size_t)i, 3, "%02x", id[i]);
}

/* Segments can share a page of the file; the code is what is asked for. */
bool image__address(const struct image *image, uint64_t offset, uint64_t *addr)
{
	const struct segment *found = NULL;

	for (size_t i = 0; i < image->nsegments; i++) {
		const struct segment *s = &image->segments[i];

		if (offset - s->offset < s->bytes && (!found || (s->code && !found->code)))
			found = s;
	}
	if (found)
		*addr = found->addr + (offset - found->offset);
	return found;
}

bool image__is_code(const struct image *image, uint64_t addr)
{
	for (size_t i = 0; i < image->nsegments; i++) {
		const struct segment *s = &image->segments[i];

		if (s->code && addr - s->addr < s->bytes)
			return true;
	}
	return false;
}
