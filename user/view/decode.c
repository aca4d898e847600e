/* SPDX-License-Identifier: MIT */
/* Flags and results by name, as strace writes them. */
#include "user/view/decode.h"

#include <signal.h>
#include <string.h>

struct flag {
	uint32_t value;
	const char *name;
};

/* Orders are strace's, so that lines can be compared with its. */
static const struct flag prots[] = {
	{0x1, "PROT_READ"},
	{0x2, "PROT_WRITE"},
	{0x4, "PROT_EXEC"},
	{0x8, "PROT_SEM"},
#ifdef __aarch64__
	{0x10, "PROT_BTI"},
	{0x20, "PROT_MTE"},
#endif
	{0x1000000, "PROT_GROWSDOWN"},
	{0x2000000, "PROT_GROWSUP"},
};

#define MAP_TYPE_MASK 0xf
static const struct flag map_types[] = {
	{0, "MAP_FILE"},      {1, "MAP_SHARED"}, {2, "MAP_PRIVATE"}, {3, "MAP_SHARED_VALIDATE"},
	{8, "MAP_DROPPABLE"}, /* Linux 6.11 */
};

static const struct flag map_flags[] = {
	{0x10, "MAP_FIXED"},
	{0x20, "MAP_ANONYMOUS"},
#ifdef __x86_64__
	{0x40, "MAP_32BIT"},
	{0x80, "MAP_ABOVE4G"}, /* Linux 6.6 */
#endif
	{0x4000, "MAP_NORESERVE"},
	{0x8000, "MAP_POPULATE"},
	{0x10000, "MAP_NONBLOCK"},
	{0x100, "MAP_GROWSDOWN"},
	{0x800, "MAP_DENYWRITE"},
	{0x1000, "MAP_EXECUTABLE"},
	{0x2000, "MAP_LOCKED"},
	{0x20000, "MAP_STACK"},
	{0x40000, "MAP_HUGETLB"},
	{0x80000, "MAP_SYNC"},
	{0x100000, "MAP_FIXED_NOREPLACE"},
};
#define HUGE_SHIFT 26
#define HUGE_MASK 0x3fu

static const struct flag mremap_flags[] = {
	{1, "MREMAP_MAYMOVE"},
	{2, "MREMAP_FIXED"},
	{4, "MREMAP_DONTUNMAP"},
};
#define MREMAP_NEEDS_ADDRESS 3u

static const struct flag advices[] = {
	{0, "MADV_NORMAL"},	      {1, "MADV_RANDOM"},	   {2, "MADV_SEQUENTIAL"},
	{3, "MADV_WILLNEED"},	      {4, "MADV_DONTNEED"},	   {8, "MADV_FREE"},
	{9, "MADV_REMOVE"},	      {10, "MADV_DONTFORK"},	   {11, "MADV_DOFORK"},
	{12, "MADV_MERGEABLE"},	      {13, "MADV_UNMERGEABLE"},	   {14, "MADV_HUGEPAGE"},
	{15, "MADV_NOHUGEPAGE"},      {16, "MADV_DONTDUMP"},	   {17, "MADV_DODUMP"},
	{18, "MADV_WIPEONFORK"},      {19, "MADV_KEEPONFORK"},	   {20, "MADV_COLD"},
	{21, "MADV_PAGEOUT"},	      {22, "MADV_POPULATE_READ"},  {23, "MADV_POPULATE_WRITE"},
	{24, "MADV_DONTNEED_LOCKED"}, {25, "MADV_COLLAPSE"},	   {100, "MADV_HWPOISON"},
	{101, "MADV_SOFT_OFFLINE"},   {102, "MADV_GUARD_INSTALL"}, /* Linux 6.13 */
	{103, "MADV_GUARD_REMOVE"},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Print the bits of value that have names, joined by '|'; `more`: something
 * stands before them. Returns the bits that have none. */
static uint64_t put_bits(struct sink *s, const struct flag *flags, size_t n, uint64_t value, bool more)
{
	size_t i;

	for (i = 0; i < n; i++) {
		if (!(value & flags[i].value))
			continue;
		value &= ~(uint64_t)flags[i].value;
		if (more)
			sink__char(s, '|');
		sink__str(s, flags[i].name);
		more = true;
	}
	return value;
}

static void put_unknown(struct sink *s, uint64_t value, const char *what)
{
	sink__hex(s, value);
	sink__str(s, " /* ");
	sink__str(s, what);
	sink__str(s, " */");
}

/* A set of bits with a name for the empty one. */
static void put_set(struct sink *s, const struct flag *flags, size_t n, uint64_t value,
		    const char *empty, const char *what)
{
	uint64_t rest;

	if (value == 0) {
		sink__str(s, empty);
		return;
	}
	rest = put_bits(s, flags, n, value, false);
	if (rest == value) {
		put_unknown(s, rest, what);
	} else if (rest != 0) {
		sink__char(s, '|');
		sink__hex(s, rest);
	}
}

static const char *name_of(const struct flag *flags, size_t n, uint64_t value)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (flags[i].value == value)
			return flags[i].name;
	return NULL;
}

static void put_value(struct sink *s, const struct flag *flags, size_t n, uint64_t value,
		      const char *what)
{
	const char *name = name_of(flags, n, value);

	if (name)
		sink__str(s, name);
	else
		put_unknown(s, value, what);
}

void decode__prot(struct sink *s, uint64_t prot)
{
	put_set(s, prots, COUNT(prots), prot, "PROT_NONE", "PROT_???");
}

/* The type is a number in the low bits, not a set; the kernel takes an int. */
void decode__map_flags(struct sink *s, uint64_t flags)
{
	uint32_t bits = (uint32_t)flags;
	uint32_t huge = bits >> HUGE_SHIFT & HUGE_MASK;
	uint64_t rest;

	put_value(s, map_types, COUNT(map_types), bits & MAP_TYPE_MASK, "MAP_???");
	bits &= ~(MAP_TYPE_MASK | HUGE_MASK << HUGE_SHIFT);
	rest = put_bits(s, map_flags, COUNT(map_flags), bits, true);
	if (rest) {
		sink__char(s, '|');
		sink__hex(s, rest);
	}
	if (huge) {
		sink__char(s, '|');
		sink__dec(s, huge);
		sink__str(s, "<<MAP_HUGE_SHIFT");
	}
}

void decode__madvice(struct sink *s, uint64_t advice)
{
	put_value(s, advices, COUNT(advices), (uint32_t)advice, "MADV_???");
}

void decode__mremap_flags(struct sink *s, uint64_t flags)
{
	put_set(s, mremap_flags, COUNT(mremap_flags), flags, "0", "MREMAP_???");
}

bool decode__mremap_has_address(uint64_t flags)
{
	return (flags & MREMAP_NEEDS_ADDRESS) == MREMAP_NEEDS_ADDRESS;
}

void decode__address(struct sink *s, uint64_t address)
{
	if (address)
		sink__hex(s, address);
	else
		sink__str(s, "NULL");
}

void decode__error(struct sink *s, unsigned number)
{
	const char *name = strerrorname_np((int)number);
	const char *text = strerrordesc_np((int)number);

	if (!name || !text) {
		sink__str(s, "(errno ");
		sink__dec(s, number);
		sink__char(s, ')');
		return;
	}
	sink__str(s, name);
	sink__str(s, " (");
	sink__str(s, text);
	sink__char(s, ')');
}

/* The kernel's real-time signals begin at 32; libc hides the first ones. */
#define KERNEL_SIGRTMIN 32
void decode__signal(struct sink *s, unsigned number)
{
	const char *name = number < KERNEL_SIGRTMIN ? sigabbrev_np((int)number) : NULL;

	sink__str(s, "SIG");
	if (name) {
		sink__str(s, name);
	} else if (number == KERNEL_SIGRTMIN) {
		sink__str(s, "RTMIN");
	} else if (number > KERNEL_SIGRTMIN) {
		sink__str(s, "RT_");
		sink__dec(s, number - KERNEL_SIGRTMIN);
	} else {
		sink__dec(s, number);
	}
}
