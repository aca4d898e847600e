// SPDX-License-Identifier: MIT
/* The entries of .eh_frame: finding them, sorting them, putting their rows together. */
#include "lib/trace/unwind.h"

#include <errno.h>
#include <string.h>

#include "lib/trace/unwind_internal.h"

#define PE_ABSOLUTE 0x00
#define PE_ULEB 0x01
#define PE_UDATA2 0x02
#define PE_UDATA4 0x03
#define PE_UDATA8 0x04
#define PE_SLEB 0x09
#define PE_SDATA2 0x0a
#define PE_SDATA4 0x0b
#define PE_SDATA8 0x0c
#define PE_FORMAT 0x0f
#define PE_RELATIVE 0x10 /* to where it is written */
#define PE_ALIGNED 0x50
#define PE_INDIRECT 0x80
#define PE_OMITTED 0xff

#define X86_64_RETURN 16 /* DWARF's number of the return address */
#define PADDING 16 /* between functions less than this is no code */
#define LEB_BITS_MAX 77 /* one byte more than 64 bits can take */
#define LETTERS_MAX 8
#define STEPS_A_BYTE 16 /* far more than any compiler's output takes */
#define ONE_BUDGET (1U << 20) /* steps through one function */

uint64_t bytes__fixed(struct bytes *b, unsigned size)
{
	uint64_t value = 0;

	if (b->broken || (size_t)(b->end - b->at) < size) {
		b->broken = true;
		return 0;
	}
	memcpy(&value, b->at, size);
	b->at += size;
	return value;
}

/* The value, and in *shift how many bits of it were given. */
static uint64_t leb(struct bytes *b, unsigned *shift)
{
	uint64_t value = 0, byte;

	*shift = 0;
	do {
		byte = bytes__fixed(b, 1);
		if (*shift < 64)
			value |= (byte & 0x7f) << *shift;
		*shift += 7;
	} while (byte & 0x80 && *shift < LEB_BITS_MAX);
	b->broken |= byte >> 7;
	return value;
}

uint64_t bytes__uleb(struct bytes *b)
{
	unsigned shift;

	return leb(b, &shift);
}

int64_t bytes__sleb(struct bytes *b)
{
	unsigned shift;
	uint64_t value = leb(b, &shift);

	if (shift < 64 && value >> (shift - 1) & 1)
		value |= ~0ULL << shift;
	return (int64_t)value;
}

struct bytes bytes__take(struct bytes *b, uint64_t n)
{
	struct bytes taken = {b->at, b->at, b->broken};

	if (b->broken || (uint64_t)(b->end - b->at) < n) {
		b->broken = taken.broken = true;
		return taken;
	}
	b->at += n;
	taken.end = b->at;
	return taken;
}

/* An address as `encoding` has it; addr: of the byte it begins at. */
static uint64_t bytes__pointer(struct bytes *b, uint8_t encoding, uint64_t addr)
{
	uint64_t value;

	switch (encoding & PE_FORMAT) {
	case PE_ABSOLUTE:
	case PE_UDATA8:
	case PE_SDATA8:
		value = bytes__fixed(b, 8);
		break;
	case PE_UDATA2:
		value = bytes__fixed(b, 2);
		break;
	case PE_SDATA2:
		value = (uint64_t)(int16_t)bytes__fixed(b, 2);
		break;
	case PE_UDATA4:
		value = bytes__fixed(b, 4);
		break;
	case PE_SDATA4:
		value = (uint64_t)(int32_t)bytes__fixed(b, 4);
		break;
	case PE_ULEB:
		value = bytes__uleb(b);
		break;
	case PE_SLEB:
		value = (uint64_t)bytes__sleb(b);
		break;
	default:
		b->broken = true;
		return 0;
	}
	switch (encoding & ~PE_FORMAT) {
	case 0:
		return value;
	case PE_RELATIVE:
		return value + addr;
	default: /* relative to data or text, aligned, indirect: nobody writes a function's so */
		b->broken = true;
		return 0;
	}
}

struct entry {
	uint64_t offset; /* in .eh_frame */
	uint64_t id_at; /* where its second field is: the reference back counts from there */
	uint64_t id; /* 0: a common entry */
	struct bytes body; /* what follows */
};

/* The entry at b, which moves behind it. false: the end, or nothing that makes sense. */
static bool entry__read(const struct unwind_source *s, struct bytes *b, struct entry *e)
{
	struct bytes body;
	uint64_t length;

	e->offset = b->at - s->frame;
	length = bytes__fixed(b, 4);
	if (length == 0xffffffff)
		length = bytes__fixed(b, 8);
	if (!length)
		return false;
	body = bytes__take(b, length);
	e->id_at = body.at - s->frame;
	/* Also after a 64-bit length .eh_frame has it in 32 bits. */
	e->id = bytes__fixed(&body, 4);
	e->body = body;
	return !body.broken;
}

static struct bytes source__from(const struct unwind_source *s, uint64_t offset)
{
	struct bytes b = {s->frame, s->frame + s->bytes, offset > s->bytes};

	if (!b.broken)
		b.at += offset;
	return b;
}

/* What follows 'z': in the order of the letters. */
static bool common__augmentation(struct common *c, const struct unwind_source *s,
				 const char *letters, struct bytes data)
{
	uint8_t encoding;

	for (; *letters; letters++) {
		switch (*letters) {
		case 'L':
			bytes__fixed(&data, 1);
			break;
		case 'R':
			c->pointer = (uint8_t)bytes__fixed(&data, 1);
			break;
		case 'P':
			encoding = (uint8_t)bytes__fixed(&data, 1);
			if (encoding == PE_ALIGNED || encoding == PE_OMITTED)
				return false;
			/* Its value is of no interest, so neither is what it is relative to. */
			bytes__pointer(&data, encoding & PE_FORMAT, s->addr);
			break;
		case 'S':
		case 'B':
		case 'G':
			break;
		default:
			/* Unknown letters' data lie behind those known, and have a length. */
			return !data.broken;
		}
	}
	return !data.broken;
}

static bool common__parse(const struct unwind_source *s, const struct entry *e, struct common *c)
{
	struct bytes b = e->body, data = {0};
	const char *letters;
	uint8_t version;
	uint64_t reg;
	unsigned i;

	*c = (struct common){.pointer = PE_ABSOLUTE};
	version = (uint8_t)bytes__fixed(&b, 1);
	if (version != 1 && version != 3)
		return false;
	letters = (const char *)b.at;
	for (i = 0; bytes__fixed(&b, 1); i++)
		if (i == LETTERS_MAX)
			return false;
	c->code_align = bytes__uleb(&b);
	c->data_align = bytes__sleb(&b);
	reg = version == 1 ? bytes__fixed(&b, 1) : bytes__uleb(&b);
	if (b.broken || reg != X86_64_RETURN)
		return false;
	if (letters[0] == 'z') {
		c->augmented = true;
		data = bytes__take(&b, bytes__uleb(&b));
		if (!common__augmentation(c, s, letters + 1, data))
			return false;
	} else if (letters[0]) {
		return false;
	}
	c->program = b;
	return !b.broken;
}

/* The common entries that functions refer to are few, and those of neighbours the same. */
struct common_cache {
	uint64_t offset;
	bool filled, good;
	struct common common;
};

static const struct common *cache__get(struct common_cache *k, const struct unwind_source *s,
				       uint64_t offset)
{
	struct bytes b = source__from(s, offset);
	struct entry e;

	if (!k->filled || k->offset != offset) {
		k->filled = true;
		k->offset = offset;
		k->good = entry__read(s, &b, &e) && !e.id && common__parse(s, &e, &k->common);
	}
	return k->good ? &k->common : NULL;
}

/* Where address addr lies in the file, if [addr, addr + bytes) is code. */
static bool source__offset(const struct unwind_source *s, uint64_t addr, uint64_t bytes,
			   uint32_t *offset)
{
	const struct unwind_segment *g;
	uint64_t at;
	size_t i;

	for (i = 0; i < s->nsegments; i++) {
		g = &s->segments[i];
		if (addr - g->addr >= g->bytes || bytes > g->bytes - (addr - g->addr))
			continue;
		at = g->offset + (addr - g->addr);
		if (at + bytes < at || at + bytes > UINT32_MAX - 1)
			return false;
		*offset = (uint32_t)at;
		return true;
	}
	return false;
}

/* A function's entry: its range and what is common; its own program is left in e->body. */
static bool function__parse(const struct unwind_source *s, struct common_cache *k, struct entry *e,
			    struct unwind_function *f, const struct common **common)
{
	const struct common *c = e->id <= e->id_at ? cache__get(k, s, e->id_at - e->id) : NULL;
	uint64_t begin, bytes;
	struct bytes *b = &e->body;

	if (!c || c->pointer & PE_INDIRECT || c->pointer == PE_OMITTED)
		return false;
	begin = bytes__pointer(b, c->pointer, s->addr + (b->at - s->frame));
	bytes = bytes__pointer(b, c->pointer & PE_FORMAT, 0);
	if (c->augmented)
		bytes__take(b, bytes__uleb(b));
	if (b->broken || !bytes || !source__offset(s, begin, bytes, &f->begin))
		return false;
	f->end = f->begin + (uint32_t)bytes;
	f->entry = (uint32_t)e->offset;
	*common = c;
	return true;
}

static bool function__before(const struct unwind_function *a, const struct unwind_function *b)
{
	return a->begin != b->begin ? a->begin < b->begin : a->entry < b->entry;
}

static void functions__sift(struct unwind_function *f, size_t i, size_t n)
{
	struct unwind_function moved = f[i];
	size_t child;

	while ((child = 2 * i + 1) < n) {
		if (child + 1 < n && function__before(&f[child], &f[child + 1]))
			child++;
		if (!function__before(&moved, &f[child]))
			break;
		f[i] = f[child];
		i = child;
	}
	f[i] = moved;
}

/* A heap sort: libc's may allocate. */
static void functions__sort(struct unwind_function *f, size_t n)
{
	struct unwind_function last;
	size_t i;

	for (i = 1; i < n && !function__before(&f[i], &f[i - 1]); i++)
		;
	if (i >= n)
		return;
	for (i = n / 2; i-- > 0;)
		functions__sift(f, i, n);
	for (i = n - 1; i > 0; i--) {
		last = f[i];
		f[i] = f[0];
		f[0] = last;
		functions__sift(f, 0, i);
	}
}

long unwind__functions(const struct unwind_source *s, struct unwind_function *out, size_t room)
{
	struct bytes b = source__from(s, 0);
	struct common_cache cache = {0};
	const struct common *common;
	struct unwind_function f;
	struct entry e;
	size_t n = 0;

	if (s->bytes > UINT32_MAX)
		return -EFBIG;
	while (b.at < b.end && entry__read(s, &b, &e)) {
		if (!e.id || !function__parse(s, &cache, &e, &f, &common))
			continue;
		if (out && n < room)
			out[n] = f;
		n++;
	}
	if (b.broken)
		return -EBADMSG;
	if (out)
		functions__sort(out, n < room ? n : room);
	return (long)n;
}

void rows__add(struct rows *r, uint32_t at, uint32_t rule)
{
	if (r->any ? r->last_rule == rule : rule == UNWIND_NOTHING)
		return;
	if (r->out && (size_t)r->n < r->room)
		r->out[r->n] = (struct unwind_row){at, rule};
	if (at <= r->wanted)
		r->found = rule;
	r->n++;
	r->last_rule = rule;
	r->any = true;
}

long unwind__rows(const struct unwind_source *s, const struct unwind_function *functions, size_t n,
		  struct unwind_row *out, size_t room)
{
	struct rows r = {.out = out, .room = room, .budget = STEPS_A_BYTE * (s->bytes + 1024)};
	struct common_cache cache = {0};
	const struct common *common;
	struct unwind_function f;
	uint32_t end = 0, begin;
	struct entry e;
	size_t i;

	for (i = 0; i < n; i++) {
		struct bytes b = source__from(s, functions[i].entry);

		/* Two descriptions of one place: the first counts. */
		if (functions[i].end <= end)
			continue;
		begin = functions[i].begin < end ? end : functions[i].begin;
		if (r.any && begin - end >= PADDING)
			rows__add(&r, end, UNWIND_NOTHING);
		end = functions[i].end;
		if (entry__read(s, &b, &e) && e.id && function__parse(s, &cache, &e, &f, &common) &&
		    f.begin == functions[i].begin && f.end == end && begin == f.begin)
			program__run(common, e.body, begin, end, &r);
		else
			rows__add(&r, begin, UNWIND_NOTHING);
		if (!r.budget)
			return -EFBIG;
	}
	if (r.any)
		rows__add(&r, end, UNWIND_NOTHING);
	return r.n;
}

uint32_t unwind__find(const struct unwind_row *rows, size_t n, uint32_t at)
{
	size_t low = 0, high = n, middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (rows[middle].at <= at)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? rows[low - 1].rule : UNWIND_NOTHING;
}

uint32_t unwind__rule(const struct unwind_source *s, uint64_t entry, uint32_t at)
{
	struct rows r = {.budget = ONE_BUDGET, .wanted = at, .found = UNWIND_NOTHING};
	struct common_cache cache = {0};
	struct bytes b = source__from(s, entry);
	const struct common *common;
	struct unwind_function f;
	struct entry e;

	if (!entry__read(s, &b, &e) || !e.id || !function__parse(s, &cache, &e, &f, &common) ||
	    at < f.begin || at >= f.end)
		return UNWIND_NOTHING;
	program__run(common, e.body, f.begin, f.end, &r);
	return r.found;
}
