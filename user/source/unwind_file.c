// SPDX-License-Identifier: MIT
/* ELF as far as it is needed to find .eh_frame and the libraries; whatever it says may be a lie. */
#include "user/source/unwind_file.h"

#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEGMENTS_MAX 64
#define FRAME_BYTES_MAX (256UL << 20)
#define DYNAMIC_BYTES_MAX (1UL << 16)
#define NAMES_BYTES_MAX (16UL << 20)
#define HEADER_BYTES 8 /* of .eh_frame_hdr: versions, encodings, and where .eh_frame is */
#define RELATIVE_SDATA4 0x1b
#define START_BYTES 64 /* more than any of the start files' functions that are known here */
#define START_ROWS 4

/* An open file with its program headers. */
struct elf {
	int fd;
	Elf64_Phdr segments[SEGMENTS_MAX];
	size_t n;
};

static int fd__read(int fd, void *to, size_t bytes, uint64_t offset)
{
	ssize_t n;
	size_t done = 0;

	if (offset > INT64_MAX - bytes)
		return -EBADMSG;
	while (done < bytes) {
		n = pread(fd, (char *)to + done, bytes - done, (off_t)(offset + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EBADMSG;
		done += n;
	}
	return 0;
}

static int elf__open(struct elf *e, int fd)
{
	Elf64_Ehdr h;
	int err;

	err = fd__read(fd, &h, sizeof(h), 0);
	if (err)
		return err == -EBADMSG ? -ENOEXEC : err;
	if (memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 || h.e_ident[EI_CLASS] != ELFCLASS64 ||
	    h.e_ident[EI_DATA] != ELFDATA2LSB || h.e_machine != EM_X86_64 ||
	    (h.e_type != ET_EXEC && h.e_type != ET_DYN) || h.e_phentsize != sizeof(Elf64_Phdr))
		return -ENOEXEC;
	e->fd = fd;
	e->n = h.e_phnum < SEGMENTS_MAX ? h.e_phnum : SEGMENTS_MAX;
	return fd__read(fd, e->segments, e->n * sizeof(*e->segments), h.e_phoff);
}

static const Elf64_Phdr *elf__segment(const struct elf *e, uint32_t type)
{
	size_t i;

	for (i = 0; i < e->n; i++)
		if (e->segments[i].p_type == type)
			return &e->segments[i];
	return NULL;
}

/* Where in the file address addr is, and how many bytes there are from there on. */
static bool elf__offset(const struct elf *e, uint64_t addr, uint64_t *offset, uint64_t *bytes)
{
	const Elf64_Phdr *p;
	size_t i;

	for (i = 0; i < e->n; i++) {
		p = &e->segments[i];
		if (p->p_type != PT_LOAD || addr - p->p_vaddr >= p->p_filesz)
			continue;
		*offset = p->p_offset + (addr - p->p_vaddr);
		*bytes = p->p_filesz - (addr - p->p_vaddr);
		return true;
	}
	return false;
}

/* Read .eh_frame; it ends by itself, before its segment does. */
static int elf__read_frame(const struct elf *e, struct unwind_source *s, unsigned char **data)
{
	const Elf64_Phdr *h = elf__segment(e, PT_GNU_EH_FRAME);
	unsigned char header[HEADER_BYTES];
	uint64_t offset, bytes;
	int32_t distance;
	int err;

	if (!h || h->p_filesz < sizeof(header))
		return -ENODATA;
	err = fd__read(e->fd, header, sizeof(header), h->p_offset);
	if (err)
		return err;
	if (header[0] != 1 || header[1] != RELATIVE_SDATA4)
		return -ENODATA;
	memcpy(&distance, header + 4, sizeof(distance));
	s->addr = h->p_vaddr + 4 + (uint64_t)(int64_t)distance;
	if (!elf__offset(e, s->addr, &offset, &bytes))
		return -EBADMSG;
	if (bytes > FRAME_BYTES_MAX)
		return -EFBIG;
	*data = malloc(bytes);
	if (!*data)
		return -ENOMEM;
	s->frame = *data;
	s->bytes = bytes;
	return fd__read(e->fd, *data, bytes, offset);
}

static size_t elf__code(const struct elf *e, struct unwind_segment *out)
{
	const Elf64_Phdr *p;
	size_t i, n = 0;

	for (i = 0; i < e->n; i++) {
		p = &e->segments[i];
		if (p->p_type == PT_LOAD && p->p_flags & PF_X)
			out[n++] = (struct unwind_segment){p->p_vaddr, p->p_offset, p->p_filesz};
	}
	return n;
}

static int source__build(const struct unwind_source *s, struct unwind_table *t)
{
	struct unwind_function *functions;
	long n = unwind__functions(s, NULL, 0), rows;

	if (n <= 0)
		return n ? (int)n : -ENODATA;
	functions = calloc(n, sizeof(*functions));
	if (!functions)
		return -ENOMEM;
	unwind__functions(s, functions, n);
	rows = unwind__rows(s, functions, n, NULL, 0);
	if (rows > 0) {
		t->rows = calloc(rows, sizeof(*t->rows));
		if (t->rows)
			unwind__rows(s, functions, n, t->rows, rows);
	}
	free(functions);
	if (rows <= 0)
		return rows ? (int)rows : -ENODATA;
	t->n = rows;
	return t->rows ? 0 : -ENOMEM;
}

static int elf__dynamic(const struct elf *e, Elf64_Dyn **dynamic, size_t *n)
{
	const Elf64_Phdr *p = elf__segment(e, PT_DYNAMIC);
	int err;

	*n = 0;
	*dynamic = NULL;
	if (!p)
		return 0; /* a static program */
	if (p->p_filesz > DYNAMIC_BYTES_MAX)
		return -EFBIG;
	*n = p->p_filesz / sizeof(**dynamic);
	*dynamic = calloc(*n + 1, sizeof(**dynamic));
	if (!*dynamic)
		return -ENOMEM;
	err = fd__read(e->fd, *dynamic, *n * sizeof(**dynamic), p->p_offset);
	if (err) {
		free(*dynamic);
		*dynamic = NULL;
		*n = 0;
	}
	return err;
}

/* A function of a C library's or compiler's start files, by its code: where in it the stack changes. */
struct start_code {
	size_t pushed, popped,
		end; /* bytes up to behind the instruction that does so; of the function */
	bool saves_bp;
};

static const unsigned char branch_target[] = {0xf3, 0x0f, 0x1e, 0xfa}; /* endbr64 */

static bool code__is(const unsigned char *code, size_t at, const unsigned char *want, size_t bytes)
{
	return at + bytes <= START_BYTES && !memcmp(code + at, want, bytes);
}

static size_t code__find(const unsigned char *code, size_t at, const unsigned char *want, size_t bytes)
{
	while (at + bytes <= START_BYTES && memcmp(code + at, want, bytes) != 0)
		at++;
	return at + bytes <= START_BYTES ? at : 0;
}

/* _init and _fini: sub $8,%rsp ... add $8,%rsp; ret. */
static bool code__is_init(const unsigned char *code, struct start_code *s)
{
	static const unsigned char push[] = {0x48, 0x83, 0xec, 0x08};
	static const unsigned char pop[] = {0x48, 0x83, 0xc4, 0x08, 0xc3};
	size_t at = code__is(code, 0, branch_target, sizeof(branch_target)) ? 4 : 0;

	if (!code__is(code, at, push, sizeof(push)))
		return false;
	at += sizeof(push);
	*s = (struct start_code){.pushed = at};
	at = code__find(code, at, pop, sizeof(pop));
	s->popped = at + 4;
	s->end = at + sizeof(pop);
	return at != 0;
}

/*
 * What gcc has run at a file's end (__do_global_dtors_aux): cmpb $0,completed; jne to a ret behind;
 * push %rbp; in some [cmpq $0,__cxa_finalize]; mov %rsp,%rbp ... pop %rbp; ret.
 */
static bool code__is_dtors(const unsigned char *code, struct start_code *s)
{
	static const unsigned char compare[] = {0x80, 0x3d}, jne = 0x75, push = 0x55;
	static const unsigned char wide[] = {0x48, 0x83, 0x3d}, frame[] = {0x48, 0x89, 0xe5};
	static const unsigned char pop[] = {0x5d, 0xc3};
	size_t at = code__is(code, 0, branch_target, sizeof(branch_target)) ? 4 : 0, other;

	if (!code__is(code, at, compare, sizeof(compare)) || !code__is(code, at + 7, &jne, 1) ||
	    !code__is(code, at + 9, &push, 1))
		return false;
	other = at + 9 + code[at + 8];
	at += 10;
	*s = (struct start_code){.pushed = at, .saves_bp = true};
	if (code__is(code, at, wide, sizeof(wide)))
		at += 8;
	if (!code__is(code, at, frame, sizeof(frame)))
		return false;
	at = code__find(code, at, pop, sizeof(pop));
	s->popped = at + 1;
	s->end = other >= at + sizeof(pop) && other < START_BYTES ? other + 1 : at + sizeof(pop);
	return at != 0;
}

/*
 * The start files' functions have no .eh_frame, and run in every program: the first is where the first
 * page of a library's code is touched, another calls into libc at the end. Give them rows, by
 * what their code shows.
 */
static int table__add_start(struct unwind_table *t, const struct elf *e, uint64_t addr,
			    bool (*is)(const unsigned char *code, struct start_code *s))
{
	unsigned char code[START_BYTES] = {0};
	struct unwind_row *rows;
	uint64_t offset, there;
	struct start_code s;
	size_t i = 0;

	if (!elf__offset(e, addr, &offset, &there) || offset > UINT32_MAX - START_BYTES ||
	    there < 16 || unwind__find(t->rows, t->n, offset) != UNWIND_NOTHING)
		return 0;
	if (fd__read(e->fd, code, there < sizeof(code) ? there : sizeof(code), offset) ||
	    !is(code, &s))
		return 0;
	while (i < t->n && t->rows[i].at < offset)
		i++;
	/* A row within would say that there is something else. */
	if (i < t->n && t->rows[i].at < offset + s.end)
		return 0;
	rows = reallocarray(t->rows, t->n + START_ROWS, sizeof(*rows));
	if (!rows)
		return -ENOMEM;
	t->rows = rows;
	memmove(rows + i + START_ROWS, rows + i, (t->n - i) * sizeof(*rows));
	rows[i] = (struct unwind_row){offset, UNWIND_RULE(UNWIND_SP, 1, 0, 0)};
	rows[i + 1] =
		(struct unwind_row){offset + s.pushed, UNWIND_RULE(UNWIND_SP, 2, s.saves_bp, 0)};
	rows[i + 2] = (struct unwind_row){offset + s.popped, UNWIND_RULE(UNWIND_SP, 1, 0, 0)};
	rows[i + 3] = (struct unwind_row){offset + s.end, UNWIND_NOTHING};
	t->n += START_ROWS;
	return 0;
}

static int table__add_starts(struct unwind_table *t, const struct elf *e)
{
	uint64_t offset, there, first;
	Elf64_Dyn *d = NULL;
	size_t n = 0, i;
	int err = elf__dynamic(e, &d, &n);

	for (i = 0; !err && i < n && d[i].d_tag != DT_NULL; i++) {
		if (d[i].d_tag == DT_INIT || d[i].d_tag == DT_FINI)
			err = table__add_start(t, e, d[i].d_un.d_ptr, code__is_init);
		else if (d[i].d_tag == DT_FINI_ARRAY &&
			 elf__offset(e, d[i].d_un.d_ptr, &offset, &there) &&
			 there >= sizeof(first) && !fd__read(e->fd, &first, sizeof(first), offset))
			err = table__add_start(t, e, first, code__is_dtors);
	}
	free(d);
	/* What cannot be read is left as it was. */
	return err == -ENOMEM ? err : 0;
}

int unwind_file__read(int fd, struct unwind_table *t)
{
	struct unwind_segment code[SEGMENTS_MAX];
	struct unwind_source s = {.segments = code};
	unsigned char *frame = NULL;
	struct elf e;
	int err;

	*t = (struct unwind_table){0};
	err = elf__open(&e, fd);
	if (!err)
		err = elf__read_frame(&e, &s, &frame);
	if (!err) {
		s.nsegments = elf__code(&e, code);
		err = source__build(&s, t);
	}
	if (!err)
		err = table__add_starts(t, &e);
	if (err)
		unwind_table__clear(t);
	free(frame);
	return err;
}

void unwind_table__clear(struct unwind_table *t)
{
	free(t->rows);
	*t = (struct unwind_table){0};
}

int unwind_file__code(int fd, uint64_t *offset)
{
	struct unwind_segment code[SEGMENTS_MAX];
	struct elf e;
	int err = elf__open(&e, fd);

	if (err)
		return err;
	if (!elf__code(&e, code))
		return -ENODATA;
	*offset = code[0].offset & ~((uint64_t)sysconf(_SC_PAGESIZE) - 1);
	return 0;
}

/* The dynamic section's strings, ended by a zero. */
static char *elf__names(const struct elf *e, const Elf64_Dyn *d, size_t n, size_t *bytes)
{
	uint64_t at = 0, size = 0, offset, there;
	char *names;
	size_t i;

	for (i = 0; i < n && d[i].d_tag != DT_NULL; i++) {
		if (d[i].d_tag == DT_STRTAB)
			at = d[i].d_un.d_ptr;
		else if (d[i].d_tag == DT_STRSZ)
			size = d[i].d_un.d_val;
	}
	if (!elf__offset(e, at, &offset, &there) || size > there || size > NAMES_BYTES_MAX)
		return NULL;
	names = calloc(size + 1, 1);
	if (names && fd__read(e->fd, names, size, offset)) {
		free(names);
		return NULL;
	}
	*bytes = size;
	return names;
}

int unwind_file__needed(int fd, void (*fn)(void *ctx, const char *name, const char *runpath),
			void *ctx)
{
	const Elf64_Phdr *p;
	const char *runpath = NULL;
	char interpreter[4096] = "", *names = NULL;
	Elf64_Dyn *d = NULL;
	size_t n = 0, bytes = 0, i;
	struct elf e;
	int err = elf__open(&e, fd);

	if (err)
		return err;
	p = elf__segment(&e, PT_INTERP);
	if (p && p->p_filesz < sizeof(interpreter) &&
	    !fd__read(fd, interpreter, p->p_filesz, p->p_offset))
		fn(ctx, interpreter, NULL);
	err = elf__dynamic(&e, &d, &n);
	if (d)
		names = elf__names(&e, d, n, &bytes);
	for (i = 0; names && i < n && d[i].d_tag != DT_NULL; i++)
		if ((d[i].d_tag == DT_RUNPATH || d[i].d_tag == DT_RPATH) && d[i].d_un.d_val < bytes)
			runpath = names + d[i].d_un.d_val;
	for (i = 0; names && i < n && d[i].d_tag != DT_NULL; i++)
		if (d[i].d_tag == DT_NEEDED && d[i].d_un.d_val < bytes)
			fn(ctx, names + d[i].d_un.d_val, runpath);
	free(names);
	free(d);
	return err;
}
