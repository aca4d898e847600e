/* SPDX-License-Identifier: MIT */
/*
 * Functions by the symbol tables: .symtab of the file or of its separate debug file, else .dynsym
 * with what .gnu_debugdata adds; libdwfl chooses.
 *
 * Only a symbol whose size covers the address gives its name: in a stripped file the nearest
 * symbol below is some other function, far too often.
 */
#include <errno.h>
#include <string.h>

#include "user/symbol/image.h"

static bool symbol__is_function(const GElf_Sym *symbol)
{
	int type = GELF_ST_TYPE(symbol->st_info);

	return (type == STT_FUNC || type == STT_GNU_IFUNC || type == STT_NOTYPE) &&
	       symbol->st_shndx != SHN_UNDEF && symbol->st_size > 0;
}

struct rank {
	bool global, typed, weak;
	size_t underscores, length;
	const char *name;
};

static struct rank rank__of(struct image *image, const struct span *s)
{
	GElf_Addr addr;
	GElf_Sym symbol = {0};
	const char *name = dwfl_module_getsym_info(image->module, (int)s->value, &symbol, &addr,
						   NULL, NULL, NULL);
	int bind = GELF_ST_BIND(symbol.st_info);

	name = name ? name : "";
	return (struct rank){
		.global = bind != STB_LOCAL,
		.typed = GELF_ST_TYPE(symbol.st_info) != STT_NOTYPE,
		.weak = bind == STB_WEAK,
		.underscores = strspn(name, "_"),
		.length = strlen(name),
		.name = name,
	};
}

/* Of several names of one function, the one that its users know: malloc, not __libc_malloc. */
static bool function__is_better(const struct span *left, const struct span *right, void *ctx)
{
	struct rank a = rank__of(ctx, left), b = rank__of(ctx, right);

	if (a.global != b.global)
		return a.global;
	if (a.typed != b.typed)
		return a.typed;
	if (a.underscores != b.underscores)
		return a.underscores < b.underscores;
	if (a.weak != b.weak)
		return b.weak;
	if (a.length != b.length)
		return a.length < b.length;
	return strcmp(a.name, b.name) < 0;
}

static int image__read_functions(struct image *image)
{
	int n = dwfl_module_getsymtab(image->module);

	for (int i = 1; i < n; i++) {
		GElf_Addr addr;
		GElf_Sym symbol;
		const char *name =
			dwfl_module_getsym_info(image->module, i, &symbol, &addr, NULL, NULL, NULL);

		if (!name || !*name || !symbol__is_function(&symbol) || !image__is_code(image, addr))
			continue;
		if (spans__add(&image->functions, addr, symbol.st_size, (uint64_t)i) < 0) {
			spans__free(&image->functions);
			return -ENOMEM;
		}
	}
	spans__sort(&image->functions, function__is_better, image);
	image->has_functions = true;
	return 0;
}

int image__symbol(struct image *image, uint64_t addr, struct place *place)
{
	const struct span *s;
	GElf_Addr start;
	GElf_Sym symbol;
	const char *name;

	if (!image->has_functions) {
		int err = image__read_functions(image);

		if (err < 0)
			return err;
	}
	s = spans__find(&image->functions, addr);
	if (!s)
		return 0;
	name = dwfl_module_getsym_info(image->module, (int)s->value, &symbol, &start, NULL, NULL,
				       NULL);
	if (!name)
		return 0;
	*place = (struct place){.function = name, .start = s->start};
	return 1;
}
