// SPDX-License-Identifier: MIT
/*
 * Settings: MTALLOC_OPTIONS="name=value,..." and glibc's MALLOC_*_ variables at start, mallopt
 * later. Variables are not read in a set-id program. What is not understood is left alone: an
 * allocator has nobody to complain to.
 */
#include <stdlib.h>
#include <sys/auxv.h>

#include "internal.h"
#include "names.h"

/* Below, mappings would be smaller than what slabs do better. */
#define THRESHOLD_MIN (SMALL_MAX + 1)
#define SAMPLE_BYTES_MAX UINT32_MAX

/* As in <malloc.h>, which declares the functions too that are defined here. */
enum {
	M_MXFAST = 1,
	M_TRIM_THRESHOLD = -1,
	M_TOP_PAD = -2,
	M_MMAP_THRESHOLD = -3,
	M_MMAP_MAX = -4,
	M_CHECK_ACTION = -5,
	M_PERTURB = -6,
	M_ARENA_TEST = -7,
	M_ARENA_MAX = -8,
};

struct options _mt_options = {
	.mmap_threshold = RUN_MAX,
	.mmap_max = 65536,
	.trim_threshold = 128 * 1024,
	.top_pad = 0,
	.decay_ms = 500,
	.sample_bytes = (size_t)512 << 10,
};

/* A number with K, M or G behind it; the end of what was read. */
static const char *parse_size(const char *text, size_t *value)
{
	const char *start = text;
	size_t number = 0;

	for (; *text >= '0' && *text <= '9'; text++)
		if (__builtin_mul_overflow(number, (size_t)10, &number) ||
		    __builtin_add_overflow(number, (size_t)(*text - '0'), &number))
			return start;
	if (text == start)
		return start;
	switch (*text) {
	case 'k':
	case 'K':
		number <<= 10;
		text++;
		break;
	case 'm':
	case 'M':
		number <<= 20;
		text++;
		break;
	case 'g':
	case 'G':
		number <<= 30;
		text++;
		break;
	}
	*value = number;
	return text;
}

static void set_threshold(size_t value)
{
	_mt_options.mmap_threshold = value < THRESHOLD_MIN ? THRESHOLD_MIN : value;
}

static bool starts(const char *text, const char *name, const char **value)
{
	while (*name && *text == *name) {
		text++;
		name++;
	}
	*value = text + 1;
	return !*name && *text == '=';
}

static void set_option(const char *text)
{
	const char *value;
	size_t number = 0;

	if (starts(text, "mmap_threshold", &value) && parse_size(value, &number) != value)
		set_threshold(number);
	else if (starts(text, "mmap_max", &value) && parse_size(value, &number) != value)
		_mt_options.mmap_max = number;
	else if (starts(text, "trim_threshold", &value) && parse_size(value, &number) != value)
		_mt_options.trim_threshold = number;
	else if (starts(text, "top_pad", &value) && parse_size(value, &number) != value)
		_mt_options.top_pad = number;
	else if (starts(text, "decay_ms", &value) && parse_size(value, &number) != value)
		_mt_options.decay_ms = (unsigned int)number;
	else if (starts(text, "sample_bytes", &value) && parse_size(value, &number) != value)
		_mt_options.sample_bytes = number < SAMPLE_BYTES_MAX ? number : SAMPLE_BYTES_MAX;
	else if (starts(text, "perturb", &value) && parse_size(value, &number) != value)
		_mt_options.perturb = (int)(number & 0xff);
	else if (starts(text, "check", &value) && parse_size(value, &number) != value)
		_mt_options.check = number != 0;
	else if (starts(text, "stats", &value) && parse_size(value, &number) != value)
		_mt_options.stats = number != 0;
}

static void from_variable(const char *name, int parameter)
{
	const char *text = getenv(name);
	size_t value;

	if (text && parse_size(text, &value) != text)
		mt_mallopt(parameter, value > INT32_MAX ? INT32_MAX : (int)value);
}

/* See mutant.h; nothing in other builds. */
static void mutate(void)
{
#ifdef MT_MUTANT
	const char *text = getenv("MTALLOC_MUTANT");
	size_t number = 0;

	if (text && parse_size(text, &number) != text)
		_mt_mutant = (int)number;
#endif
	if (MUTANT(THRESHOLD_ABOVE))
		_mt_options.mmap_threshold++;
	if (MUTANT(THRESHOLD_BELOW))
		_mt_options.mmap_threshold -= PAGE;
	if (MUTANT(LARGE_IN_BREAK))
		_mt_options.mmap_max = 0;
}

void _mt_options_init(void)
{
	const char *text;

	mutate();
	if (getauxval(AT_SECURE))
		return;
	from_variable("MALLOC_MMAP_THRESHOLD_", M_MMAP_THRESHOLD);
	from_variable("MALLOC_MMAP_MAX_", M_MMAP_MAX);
	from_variable("MALLOC_TRIM_THRESHOLD_", M_TRIM_THRESHOLD);
	from_variable("MALLOC_TOP_PAD_", M_TOP_PAD);
	from_variable("MALLOC_PERTURB_", M_PERTURB);
	for (text = getenv("MTALLOC_OPTIONS"); text && *text;) {
		set_option(text);
		while (*text && *text != ',')
			text++;
		text += *text == ',';
	}
}

MT_API int mt_mallopt(int parameter, int value)
{
	switch (parameter) {
	case M_MMAP_THRESHOLD:
		if (value < 0)
			return 0;
		set_threshold((size_t)value);
		return 1;
	case M_TRIM_THRESHOLD:
		/* -1: never. */
		_mt_options.trim_threshold = value < 0 ? SIZE_MAX : (size_t)value;
		return 1;
	case M_TOP_PAD:
		if (value < 0)
			return 0;
		_mt_options.top_pad = (size_t)value;
		return 1;
	case M_MMAP_MAX:
		if (value < 0)
			return 0;
		_mt_options.mmap_max = (size_t)value;
		return 1;
	case M_PERTURB:
		_mt_options.perturb = value & 0xff;
		_mt_fast_switch();
		return 1;
	case M_ARENA_MAX:
	case M_ARENA_TEST:
	case M_MXFAST:
	case M_CHECK_ACTION:
		/* Nothing here is like it; it does no harm. */
		return value >= 0;
	}
	return 0;
}

MT_ALSO(int, mallopt, (int, int), mt_mallopt)
MT_ALSO(int, __libc_mallopt, (int, int), mt_mallopt)
