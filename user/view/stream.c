/* SPDX-License-Identifier: MIT */
/*
 * The stream: one line an event,
 *
 *   seconds [process/thread comm] call(arguments) = result <duration>  # remark
 *
 * The call part is strace's, character by character, but for two things: one
 * space before "=", and printable UTF-8 in paths is left as it is. Seconds are
 * those of the event's end, which is the order of the lines; durations are in
 * microseconds always, so that a script need not know units. Remarks that
 * memtrace adds follow the line, each after two spaces and "# "; the last is
 * "# at PLACE".
 *
 * An allocator call is written as its function, and what the kernel did inside it follows,
 * indented by two: for these lines alone the order is not that of the ends.
 *
 * What stands in brackets or <> has its closing character escaped: a target
 * cannot forge a line, or a part of one, by its name.
 */
#include <string.h>
#include <sys/wait.h>

#include "user/view/decode.h"
#include "user/view/format.h"
#include "user/view/sink.h"
#include "user/view/view.h"

#define COLOR_FAULT "36"
#define COLOR_BAD "1;31"
#define COLOR_HEAP "32"
#define COLOR_TASK "1"
#define COLOR_PLACE "2"

#define MAX_ERRNO 4095
#define SECONDS_WIDTH 6

static void put_fraction(struct sink *s, uint64_t n, unsigned digits)
{
	char text[9];
	unsigned i;

	for (i = digits; i > 0; i--) {
		text[i - 1] = (char)('0' + n % 10);
		n /= 10;
	}
	sink__put(s, text, digits);
}

/* An event may have ended before the start that times are relative to. */
static void put_time(struct sink *s, uint64_t ts_ns, uint64_t start_ns)
{
	bool before = ts_ns < start_ns;
	uint64_t us = (before ? start_ns - ts_ns : ts_ns - start_ns) / 1000;
	uint64_t seconds = us / 1000000, rest = seconds;
	unsigned width = before ? 2 : 1;

	while (rest >= 10) {
		rest /= 10;
		width++;
	}
	if (width < SECONDS_WIDTH)
		sink__pad(s, SECONDS_WIDTH - width);
	if (before)
		sink__char(s, '-');
	sink__dec(s, seconds);
	sink__char(s, '.');
	put_fraction(s, us % 1000000, 6);
}

static void line__begin(struct sink *s, FILE *out, const struct rec *h, const char *comm,
			size_t comm_bytes, const struct stream_opts *o)
{
	sink__init(s, out, o->color);
	put_time(s, h->ts_ns, o->start_ns);
	sink__str(s, " [");
	sink__dec(s, h->tgid);
	sink__char(s, '/');
	sink__dec(s, h->tid);
	sink__char(s, ' ');
	if (comm)
		sink__safe_n(s, comm, comm_bytes, "]");
	else
		sink__char(s, '?');
	sink__str(s, o->inside ? "]   " : "] ");
}

static int line__end(struct sink *s, const char *place)
{
	if (place) {
		sink__sgr(s, COLOR_PLACE);
		sink__str(s, "  # at ");
		sink__safe(s, place, NULL);
		sink__sgr(s, "");
	}
	sink__char(s, '\n');
	return sink__finish(s);
}

#define COMM_BYTES 63 /* of a name given as a string; what is longer is no comm */

static void put_duration(struct sink *s, uint64_t ns, bool saturated)
{
	uint64_t tenths = ns / 100 + (ns % 100 >= 50);

	sink__str(s, " <");
	sink__dec(s, tenths / 10);
	sink__char(s, '.');
	sink__dec(s, tenths % 10);
	sink__str(s, saturated ? "us+>" : "us>");
}

static void put_fd(struct sink *s, int fd, const char *path)
{
	if (fd < 0) {
		sink__char(s, '-');
		sink__dec(s, 0u - (unsigned)fd);
	} else {
		sink__dec(s, (unsigned)fd);
	}
	if (path && fd >= 0) {
		sink__char(s, '<');
		sink__safe(s, path, "<>\"");
		sink__char(s, '>');
	}
}

static void put_comma(struct sink *s)
{
	sink__str(s, ", ");
}

static void put_range(struct sink *s, const struct rec_call *c)
{
	decode__address(s, c->arg[0]);
	put_comma(s);
	sink__dec(s, c->arg[1]);
}

static void put_mmap(struct sink *s, const struct rec_call *c, const char *fd_path)
{
	sink__str(s, "mmap(");
	put_range(s, c);
	put_comma(s);
	decode__prot(s, c->arg[2]);
	put_comma(s);
	decode__map_flags(s, c->arg[3]);
	put_comma(s);
	put_fd(s, (int)c->arg[4], fd_path);
	put_comma(s);
	if (c->arg[5])
		sink__hex(s, c->arg[5]);
	else
		sink__char(s, '0');
}

static void put_mremap(struct sink *s, const struct rec_call *c)
{
	sink__str(s, "mremap(");
	put_range(s, c);
	put_comma(s);
	sink__dec(s, c->arg[2]);
	put_comma(s);
	decode__mremap_flags(s, c->arg[3]);
	if (decode__mremap_has_address(c->arg[3])) {
		put_comma(s);
		decode__address(s, c->arg[4]);
	}
}

static void put_call(struct sink *s, const struct rec_call *c, const char *fd_path)
{
	switch (c->h.kind) {
	case REC_BRK:
		sink__str(s, "brk(");
		decode__address(s, c->arg[0]);
		break;
	case REC_MMAP:
		put_mmap(s, c, fd_path);
		break;
	case REC_MUNMAP:
		sink__str(s, "munmap(");
		put_range(s, c);
		break;
	case REC_MREMAP:
		put_mremap(s, c);
		break;
	case REC_MADVISE:
		sink__str(s, "madvise(");
		put_range(s, c);
		put_comma(s);
		decode__madvice(s, c->arg[2]);
		break;
	case REC_MPROTECT:
		sink__str(s, "mprotect(");
		put_range(s, c);
		put_comma(s);
		decode__prot(s, c->arg[2]);
		break;
	default:
		sink__str(s, "call_");
		sink__dec(s, c->h.kind);
		sink__char(s, '(');
		break;
	}
	sink__char(s, ')');
}

static void put_result(struct sink *s, const struct rec_call *c)
{
	bool is_address = c->h.kind == REC_BRK || c->h.kind == REC_MMAP || c->h.kind == REC_MREMAP;

	sink__str(s, " = ");
	if (c->ret < 0 && c->ret >= -MAX_ERRNO) {
		sink__sgr(s, COLOR_BAD);
		sink__str(s, "-1 ");
		decode__error(s, (unsigned)-c->ret);
		sink__sgr(s, "");
	} else if (is_address && c->ret != 0) {
		sink__hex(s, (uint64_t)c->ret);
	} else {
		sink__dec(s, (uint64_t)c->ret);
	}
}

/* A failed brk returns the old break, so its result alone does not tell. */
static void put_break_change(struct sink *s, const struct rec_call *c)
{
	uint64_t new_brk = (uint64_t)c->ret;

	if (c->arg[0] != 0 && new_brk != c->arg[0]) {
		sink__sgr(s, COLOR_BAD);
		sink__str(s, "  # failed");
		sink__sgr(s, "");
	} else if (c->old_brk != 0 && new_brk > c->old_brk) {
		sink__str(s, "  # grew ");
		sink__str(s, fmt__bytes(new_brk - c->old_brk).s);
	} else if (c->old_brk != 0 && new_brk < c->old_brk) {
		sink__str(s, "  # shrank ");
		sink__str(s, fmt__bytes(c->old_brk - new_brk).s);
	}
}

int view__stream_call(FILE *out, const struct rec_call *c, const char *comm, const char *fd_path,
		      const char *place, const struct stream_opts *o)
{
	struct sink s;

	line__begin(&s, out, &c->h, comm, COMM_BYTES, o);
	put_call(&s, c, fd_path);
	put_result(&s, c);
	put_duration(&s, c->h.ts_ns > c->start_ns ? c->h.ts_ns - c->start_ns : 0, false);
	if (c->h.kind == REC_BRK)
		put_break_change(&s, c);
	if (c->h.aux) {
		sink__str(&s, "  # populated ");
		sink__dec(&s, c->h.aux);
	}
	if (c->h.flags & CALL_COMPAT)
		sink__str(&s, "  # 32-bit");
	return line__end(&s, place);
}

static const char *access_name(unsigned flags)
{
	if (flags & FAULT_NO_ENTRY)
		return "?";
	if (flags & FAULT_EXEC)
		return "exec";
	return flags & FAULT_WRITE ? "write" : "read";
}

int view__stream_fault(FILE *out, const struct rec_fault *f, const char *comm, const char *where,
		       const char *place, const struct stream_opts *o)
{
	const unsigned cow = FAULT_PRESENT | FAULT_WRITE;
	unsigned flags = f->h.flags;
	struct sink s;

	line__begin(&s, out, &f->h, comm, COMM_BYTES, o);
	sink__sgr(&s, COLOR_FAULT);
	sink__str(&s, "fault ");
	sink__str(&s, access_name(flags));
	sink__sgr(&s, "");
	sink__char(&s, ' ');
	decode__address(&s, f->addr);
	if (flags & FAULT_MAJOR) {
		sink__sgr(&s, COLOR_BAD);
		sink__str(&s, " MAJOR");
		sink__sgr(&s, "");
	} else {
		sink__str(&s, " minor");
	}
	if ((flags & cow) == cow && !(flags & FAULT_NO_ENTRY))
		sink__str(&s, " copy-on-write");
	if (flags & FAULT_KERNEL)
		sink__str(&s, " in kernel");
	sink__char(&s, ' ');
	sink__safe(&s, where ? where : "?", "<>");
	if (flags & FAULT_NO_ENTRY)
		sink__str(&s, " <?>");
	else
		put_duration(&s, f->h.aux, f->h.aux == UINT32_MAX);
	return line__end(&s, place);
}

static void put_heap_call(struct sink *s, const struct rec_heap *r)
{
	unsigned op = HEAP_AUX_OP(r->h.aux), align = HEAP_AUX_ALIGN(r->h.aux);

	sink__str(s, op < HEAP_OPS ? heap_op_name[op] : "?");
	sink__char(s, '(');
	if (align) {
		sink__str(s, "align ");
		sink__dec(s, align < 64 ? 1ull << align : 0);
		put_comma(s);
	}
	if (r->arg) {
		decode__address(s, r->arg);
		if (op < HEAP_FREE)
			put_comma(s);
	}
	if (op < HEAP_FREE) {
		if (r->h.flags & HEAP_OVERFLOW)
			sink__str(s, "more than there is");
		else
			sink__dec(s, r->size);
	}
	sink__char(s, ')');
}

int view__stream_heap(FILE *out, const struct rec_heap *r, const char *comm, const char *place,
		      const struct stream_opts *o)
{
	unsigned flags = r->h.flags;
	struct sink s;

	line__begin(&s, out, &r->h, comm, COMM_BYTES, o);
	sink__sgr(&s, COLOR_HEAP);
	put_heap_call(&s, r);
	sink__sgr(&s, "");
	if (HEAP_AUX_OP(r->h.aux) < HEAP_FREE) {
		sink__str(&s, " = ");
		if (flags & HEAP_ABANDONED)
			sink__char(&s, '?');
		else
			decode__address(&s, r->result);
		put_duration(&s, r->h.ts_ns > r->start_ns ? r->h.ts_ns - r->start_ns : 0, false);
	}
	if (flags & (HEAP_FAILED | HEAP_ABANDONED)) {
		sink__sgr(&s, COLOR_BAD);
		sink__str(&s, flags & HEAP_FAILED ? "  # failed" : "  # never returned");
		sink__sgr(&s, "");
	}
	return line__end(&s, place);
}

int view__stream_fork(FILE *out, const struct rec_fork *f, const char *comm,
		      const struct stream_opts *o)
{
	bool thread = f->child_tgid == f->h.tgid;
	struct sink s;

	line__begin(&s, out, &f->h, comm, COMM_BYTES, o);
	sink__sgr(&s, COLOR_TASK);
	sink__str(&s, thread ? "+++ started thread " : "+++ forked process ");
	sink__dec(&s, thread ? f->child_tid : f->child_tgid);
	sink__str(&s, " +++");
	sink__sgr(&s, "");
	return line__end(&s, NULL);
}

int view__stream_exec(FILE *out, const struct rec_exec *e, const char *exe,
		      const struct stream_opts *o)
{
	struct sink s;

	line__begin(&s, out, &e->h, e->comm, sizeof(e->comm), o);
	sink__sgr(&s, COLOR_TASK);
	sink__str(&s, "+++ executed ");
	if (exe)
		sink__safe(&s, exe, NULL);
	else
		sink__char(&s, '?');
	sink__str(&s, " +++");
	sink__sgr(&s, "");
	if (e->h.flags & EXEC_SECURE)
		sink__str(&s, "  # set-id or unreadable: the kernel hides its faults");
	return line__end(&s, NULL);
}

static void put_exit(struct sink *s, uint32_t code)
{
	int status = (int)code;

	if (WIFSIGNALED(status)) {
		sink__str(s, "killed by ");
		decode__signal(s, (unsigned)WTERMSIG(status));
		if (WCOREDUMP(status))
			sink__str(s, " (core dumped)");
	} else {
		sink__str(s, "exited with ");
		sink__dec(s, (unsigned)WEXITSTATUS(status));
	}
}

int view__stream_exit(FILE *out, const struct rec_exit *e, const char *comm,
		      const struct stream_opts *o)
{
	bool whole = e->h.aux == 1;
	struct sink s;

	line__begin(&s, out, &e->h, comm, COMM_BYTES, o);
	sink__sgr(&s, COLOR_TASK);
	sink__str(&s, whole ? "+++ " : "+++ thread ");
	put_exit(&s, e->exit_code);
	sink__str(&s, " +++");
	sink__sgr(&s, "");
	sink__str(&s, "  # the thread's faults: ");
	sink__dec(&s, e->min_flt);
	sink__str(&s, " minor, ");
	sink__dec(&s, e->maj_flt);
	sink__str(&s, " major");
	return line__end(&s, NULL);
}

int view__stream_lost(FILE *out, const char *kind, uint64_t count, const struct stream_opts *o)
{
	struct sink s;

	sink__init(&s, out, o->color);
	sink__sgr(&s, COLOR_BAD);
	sink__str(&s, "+++ LOST ");
	sink__dec(&s, count);
	sink__char(&s, ' ');
	sink__safe(&s, kind, NULL);
	sink__str(&s, count == 1 ? " record +++" : " records +++");
	sink__sgr(&s, "");
	return line__end(&s, NULL);
}
