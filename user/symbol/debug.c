/* SPDX-License-Identifier: MIT */
/*
 * Source lines and inlined functions, by DWARF.
 *
 * libdw's own searches go through all of .debug_aranges, which clang does not write, and through a
 * whole unit for each address. Here the units are found by a table of their ranges, and the
 * functions of a unit by one that is made when the first address falls into it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <dwarf.h>
#include <elfutils/libdwelf.h>

#include "user/symbol/file.h"
#include "user/symbol/image.h"

#define DEBUG_DIR "/usr/lib/debug/"
#define NESTING_MAX 64 /* of namespaces and types */
#define INLINE_MAX 31
#define LINE_BYTES 48 /* what libdw keeps for a row of a line table, about */

struct unit {
	Dwarf_Off die;
	struct spans functions; /* value: offset of the function's DIE */
	bool has_functions, has_lines;
};

struct debug {
	Dwarf *dwarf; /* the library's */
	Dwarf_Addr bias;
	Dwarf *supplement; /* of a file that was made small by dwz; ours */
	int supplement_fd;
	struct spans ranges; /* value: index into units */
	struct unit *units;
	size_t nunits, room;
	size_t bytes; /* see image__debug_bytes */
};

static Dwarf *supplement__open(const char *path, const void *id, size_t id_bytes, int *fd)
{
	const void *found;
	Dwarf *dwarf;

	*fd = file__open_regular(path);
	if (*fd < 0)
		return NULL;
	dwarf = dwarf_begin(*fd, DWARF_C_READ);
	if (dwarf && dwelf_elf_gnu_build_id(dwarf_getelf(dwarf), &found) == (ssize_t)id_bytes &&
	    memcmp(found, id, id_bytes) == 0)
		return dwarf;
	dwarf_end(dwarf);
	close(*fd);
	*fd = -1;
	return NULL;
}

/* The file that dwz moved common parts to. Left alone, libdw would open whatever path the file
 * names. Without it most names are missing: -ENOENT. */
static int debug__supply(struct debug *d)
{
	const char *name;
	const void *id;
	ssize_t id_bytes = dwelf_dwarf_gnu_debugaltlink(d->dwarf, &name, &id);
	char path[256];
	int n;

	if (id_bytes == 0)
		return 0;
	if (id_bytes < 2 || id_bytes > 64)
		return -ENOENT;
	n = snprintf(path, sizeof(path), DEBUG_DIR ".build-id/%02x/", ((const unsigned char *)id)[0]);
	for (ssize_t i = 1; i < id_bytes; i++)
		n += snprintf(path + n, sizeof(path) - n, "%02x", ((const unsigned char *)id)[i]);
	snprintf(path + n, sizeof(path) - n, ".debug");
	d->supplement = supplement__open(path, id, id_bytes, &d->supplement_fd);
	if (!d->supplement && strncmp(name, DEBUG_DIR, strlen(DEBUG_DIR)) == 0 &&
	    !strstr(name, "/../"))
		d->supplement = supplement__open(name, id, id_bytes, &d->supplement_fd);
	if (!d->supplement)
		return -ENOENT;
	dwarf_setalt(d->dwarf, d->supplement);
	return 0;
}

/* Add the code that die covers. What the linker dropped is left at address 0 or thereabouts. */
static int ranges__add(struct spans *spans, const struct image *image, const struct debug *d,
		       Dwarf_Die *die, uint64_t value)
{
	Dwarf_Addr base, start, end;
	ptrdiff_t at = 0;
	int err;

	while ((at = dwarf_ranges(die, at, &base, &start, &end)) > 0) {
		if (end <= start || !image__is_code(image, start + d->bias))
			continue;
		err = spans__add(spans, start, end - start, value);
		if (err < 0)
			return err;
	}
	return 0;
}

static int debug__add_unit(struct debug *d, const struct image *image, Dwarf_Die *die)
{
	if (d->nunits == d->room) {
		size_t room = d->room ? 2 * d->room : 16;
		struct unit *units = reallocarray(d->units, room, sizeof(*units));

		if (!units)
			return -ENOMEM;
		d->units = units;
		d->room = room;
	}
	d->units[d->nunits] = (struct unit){.die = dwarf_dieoffset(die)};
	return ranges__add(&d->ranges, image, d, die, d->nunits++);
}

static int debug__read_units(struct debug *d, const struct image *image)
{
	Dwarf_CU *cu = NULL;
	Dwarf_Die die;
	int err;

	while (dwarf_get_units(d->dwarf, cu, &cu, NULL, NULL, &die, NULL) == 0) {
		if (dwarf_tag(&die) != DW_TAG_compile_unit && dwarf_tag(&die) != DW_TAG_skeleton_unit)
			continue;
		err = debug__add_unit(d, image, &die);
		if (err < 0)
			return err;
	}
	spans__sort(&d->ranges, NULL, NULL);
	return 0;
}

/* image->debug, made at the first call; it stays NULL when there is no debug information. */
static int image__find_debug(struct image *image)
{
	struct debug *d;
	int err;

	if (image->debug || image->has_no_debug)
		return 0;
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->supplement_fd = -1;
	d->dwarf = dwfl_module_getdwarf(image->module, &d->bias);
	err = d->dwarf ? debug__supply(d) : -ENOENT;
	if (err == 0)
		err = debug__read_units(d, image);
	if (err < 0) {
		debug__free(d);
		image->has_no_debug = err == -ENOENT;
		return err == -ENOENT ? 0 : err;
	}
	image->debug = d;
	return 0;
}

void debug__free(struct debug *d)
{
	if (!d)
		return;
	for (size_t i = 0; i < d->nunits; i++)
		spans__free(&d->units[i].functions);
	free(d->units);
	spans__free(&d->ranges);
	if (d->supplement) {
		dwarf_setalt(d->dwarf, NULL);
		dwarf_end(d->supplement);
		close(d->supplement_fd);
	}
	free(d);
}

size_t image__debug_bytes(const struct image *image)
{
	return image->debug ? image->debug->bytes : 0;
}

static bool die__may_hold_functions(Dwarf_Die *die)
{
	switch (dwarf_tag(die)) {
	case DW_TAG_namespace:
	case DW_TAG_module:
	case DW_TAG_structure_type:
	case DW_TAG_class_type:
	case DW_TAG_union_type:
	case DW_TAG_enumeration_type:
		return true;
	default:
		return false;
	}
}

static int unit__add_functions(struct unit *u, const struct image *image, const struct debug *d,
			       Dwarf_Die *parent, int depth)
{
	Dwarf_Die die;
	int err = 0, more = dwarf_child(parent, &die);

	for (; more == 0 && err == 0; more = dwarf_siblingof(&die, &die)) {
		if (dwarf_tag(&die) == DW_TAG_subprogram)
			err = ranges__add(&u->functions, image, d, &die, dwarf_dieoffset(&die));
		else if (depth < NESTING_MAX && die__may_hold_functions(&die))
			err = unit__add_functions(u, image, d, &die, depth + 1);
	}
	return err;
}

static int unit__find_functions(struct unit *u, const struct image *image, struct debug *d,
				Dwarf_Die *unit_die)
{
	int err;

	if (u->has_functions)
		return 0;
	err = unit__add_functions(u, image, d, unit_die, 0);
	if (err < 0) {
		spans__free(&u->functions);
		return err;
	}
	spans__sort(&u->functions, NULL, NULL);
	u->has_functions = true;
	d->bytes += u->functions.n * sizeof(*u->functions.at);
	return 0;
}

static bool die__is_block(Dwarf_Die *die)
{
	int tag = dwarf_tag(die);

	return tag == DW_TAG_lexical_block || tag == DW_TAG_inlined_subroutine ||
	       tag == DW_TAG_try_block || tag == DW_TAG_catch_block;
}

/* The functions inlined at pc into chain[0], outermost first, after it: how many there are then. */
static int chain__follow(Dwarf_Die *chain, Dwarf_Addr pc)
{
	Dwarf_Die parent = chain[0], die;
	int n = 1, more = dwarf_child(&parent, &die);

	while (more == 0) {
		if (die__is_block(&die) && dwarf_haspc(&die, pc) == 1) {
			if (dwarf_tag(&die) == DW_TAG_inlined_subroutine) {
				if (n == INLINE_MAX + 1)
					break;
				chain[n++] = die;
			}
			parent = die;
			more = dwarf_child(&parent, &die);
		} else {
			more = dwarf_siblingof(&die, &die);
		}
	}
	return n;
}

static const char *die__text(Dwarf_Die *die, unsigned name)
{
	Dwarf_Attribute attr;

	return dwarf_formstring(dwarf_attr_integrate(die, name, &attr));
}

static void place__name(struct place *p, Dwarf_Die *die, const struct debug *d, Dwarf_Addr pc)
{
	Dwarf_Addr entry;

	p->function = die__text(die, DW_AT_linkage_name);
	if (!p->function)
		p->function = die__text(die, DW_AT_MIPS_linkage_name);
	if (!p->function)
		p->function = die__text(die, DW_AT_name);
	if (dwarf_entrypc(die, &entry) == 0 && entry <= pc)
		p->start = entry + d->bias;
}

/* Where the function `die` that was inlined is called. */
static void place__locate_call(struct place *p, Dwarf_Die *die, Dwarf_Die *unit_die)
{
	Dwarf_Word file, line;
	Dwarf_Attribute attr;
	Dwarf_Files *files;
	size_t nfiles;

	if (dwarf_formudata(dwarf_attr(die, DW_AT_call_line, &attr), &line) == 0 && line <= INT32_MAX)
		p->line = (unsigned)line;
	if (dwarf_formudata(dwarf_attr(die, DW_AT_call_file, &attr), &file) == 0 &&
	    dwarf_getsrcfiles(unit_die, &files, &nfiles) == 0 && file < nfiles)
		p->file = dwarf_filesrc(files, file, NULL, NULL);
	if (!p->file)
		p->line = 0;
}

static void place__locate(struct place *p, struct debug *d, struct unit *u, Dwarf_Die *unit_die,
			  Dwarf_Addr pc)
{
	Dwarf_Lines *lines;
	Dwarf_Line *found;
	size_t nlines;
	int line;

	if (dwarf_getsrclines(unit_die, &lines, &nlines) != 0)
		return;
	if (!u->has_lines) {
		u->has_lines = true;
		d->bytes += nlines * LINE_BYTES;
	}
	found = dwarf_getsrc_die(unit_die, pc);
	if (!found)
		return;
	p->file = dwarf_linesrc(found, NULL, NULL);
	if (p->file && dwarf_lineno(found, &line) == 0 && line > 0)
		p->line = (unsigned)line;
}

/* Fill places, innermost first, from chain[0..n), outermost first. */
static int places__fill(struct place *places, int max, struct debug *d, struct unit *u,
			Dwarf_Die *unit_die, Dwarf_Die *chain, int n, Dwarf_Addr pc)
{
	struct place all[INLINE_MAX + 1] = {0};

	place__locate(&all[0], d, u, unit_die, pc);
	for (int i = 0; i < n; i++) {
		Dwarf_Die *die = &chain[n - 1 - i];

		place__name(&all[i], die, d, pc);
		if (i + 1 < n)
			place__locate_call(&all[i + 1], die, unit_die);
	}
	if (n == 0)
		n = all[0].file ? 1 : 0;
	/* The function that holds them all stays, whatever else does not fit. */
	if (n > max) {
		all[max - 1] = all[n - 1];
		n = max;
	}
	memcpy(places, all, n * sizeof(*places));
	return n;
}

int image__places(struct image *image, uint64_t addr, struct place *places, int max)
{
	Dwarf_Die unit_die, chain[INLINE_MAX + 1];
	const struct span *s;
	struct debug *d;
	struct unit *u;
	Dwarf_Addr pc;
	int n = 0, err = image__find_debug(image);

	d = image->debug;
	if (err < 0 || !d || max < 1)
		return err;
	pc = addr - d->bias;
	s = spans__find(&d->ranges, pc);
	if (!s)
		return 0;
	u = &d->units[s->value];
	if (!dwarf_offdie(d->dwarf, u->die, &unit_die))
		return 0;
	err = unit__find_functions(u, image, d, &unit_die);
	if (err < 0)
		return err;
	s = spans__find(&u->functions, pc);
	if (s && dwarf_offdie(d->dwarf, s->value, &chain[0]))
		n = chain__follow(chain, pc);
	return places__fill(places, max, d, u, &unit_die, chain, n, pc);
}
