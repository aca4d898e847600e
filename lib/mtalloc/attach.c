// SPDX-License-Identifier: MIT
/*
 * A tracer comes and goes.
 *
 * It has raised the semaphore of offer(), so the next call makes an empty memfd, passes
 * that function with the descriptor, and waits until the tracer has taken the descriptor (by
 * pidfd_getfd, so across containers), laid the memory out and written its head. From there
 * on it is as for any producer (ring.h). Nobody there: the call goes on after ATTACH_MS at the latest. A
 * tracer that was held up is asked again some times, later and later, and waited for AGAIN_MS each time: never
 * for more than 100 ms in all.
 *
 * A child of a fork has its parent's semaphores, and its probes, until the kernel takes them back; the
 * tracer's own come some milliseconds later. It does not wait for them: it offers by a system call that the
 * tracer sees, and is held to be traced from then on, probes or not, while the tracer shows that it lives.
 *
 * A tracer that ends, by any way, takes its probe with it, and the semaphore falls. Whoever sees it first
 * gives the memory back. The address space stays for those who are writing just then, until the tracer
 * after the next: nobody can be that late.
 */
#include "otel.h"
#include "usdt.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "lib/trace/producer.h"
#include "lib/trace/sys.h"

#define ATTACH_MS 88
#define AGAIN_MS 3
#define AGAIN_TIMES 4
#define AGAIN_AFTER_MS 250 /* and after four times as long each time */
#define OFFER_MS 5 /* between two offers of the same */
#define BEAT_MS 2000 /* a tracer that has not looked for so long is gone */
#define BEAT_CALLS 256 /* how often that is looked at */
#define NAP_NS 50000

#ifndef MFD_ALLOW_SEALING
#define MFD_ALLOW_SEALING 2
#endif
#ifndef MFD_CLOEXEC
#define MFD_CLOEXEC 1
#endif
#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

struct mapped {
	void *at;
	size_t bytes;
};

/* Of this process: a fork's child, however it was made, finds zeros. */
static union {
	struct {
		struct mapped segment, before; /* that is written to, and the one before it */
		_Atomic uint32_t ending;
		uint32_t again; /* how often this tracer has not answered */
		_Atomic uint64_t again_ms; /* when it is asked next; 0: not at all */
		uint64_t asked_ms; /* when it was asked first, and in vain */
		/* Of a held child, by any thread: */
		_Atomic uint32_t calls; /* about how many */
		_Atomic uint32_t beat; /* the tracer's last */
		_Atomic uint64_t beat_ms; /* when it was new */
	};
	char page[PRODUCER_PAGE];
} own __attribute__((aligned(PRODUCER_PAGE)));

/* Not wiped in children of forks: the tracer wants to see them, too; */
static _Atomic bool followed;
/* and it was there when this one began. Of the thread that forks. */
static __thread bool traced_at_fork;

/* Where semaphores stand by custom. bpftrace finds out by this section alone where in the file they are: also
 * of those that stand elsewhere in the same segment. */
struct trace_probes _mt_probes __attribute__((section(".probes")));

/*
 * Where a tracer's probes go. Both are passed each time, though nothing is to be told by the second: a child
 * of a fork has the breakpoints of its parent and the counts, and the kernel takes these back when the child
 * comes by and nobody traces it.
 */
__attribute__((noinline, used)) static void offer(int fd, int64_t call_at)
{
#ifdef MT_HAS_PROBES
	__asm__ volatile(
		MT_PROBE("mtalloc", "offer", "-4@%%edi -8@%%rsi", "offers")
			MT_PROBE("mtalloc", "wake", "", "tracers")
		:
		: "D"(fd),
		  "S"(call_at), [offers] "i"(&_mt_probes.offers), [tracers] "i"(&_mt_fast.tracers)
		: "memory");
#else
	(void)fd, (void)call_at;
#endif
}

/* A madvise of nothing, of which the tracer reads the arguments that madvise has not. */
static void offer_by_call(int fd, int64_t call_at)
{
	sys__call6(SYS_madvise, 0, 0, MADV_NORMAL, fd, call_at, CALL_OF_PRODUCER);
}

/*
 * Offer the memfd until the tracer has answered: the segment's bytes, or 0. Not once only: the kernel
 * raises the semaphore before the probe is in its place and has its program.
 */
static uint64_t offer_until_answered(int fd, int64_t call_at)
{
	void (*say)(int fd, int64_t call_at) = followed ? offer_by_call : offer;
	struct timespec nap = {.tv_nsec = NAP_NS};
	struct ring_header head;
	uint64_t now = _mt_os_now_ms(), next = now;
	uint64_t until = now + (own.again ? AGAIN_MS : ATTACH_MS);
	bool last;

	/* It is looked once more when the time is over: this thread may have been held up, not the tracer. */
	do {
		long got;

		last = now >= until;
		if (now >= next && !last) {
			say(fd, call_at);
			next = now + OFFER_MS;
		}
		got = sys__call6(SYS_pread64, fd, (long)&head, sizeof(head), 0, 0, 0);
		if (got == sizeof(head) && head.magic == RING_MAGIC)
			return head.bytes;
		if (last)
			break;
		sys__call(SYS_nanosleep, &nap, 0, 0);
		now = _mt_os_now_ms();
	} while (followed || trace__is_asked());
	/* The kernel takes its probes back, if they are not for us. */
	if (followed)
		offer(fd, call_at);
	return 0;
}

/* The whole segment, or as many rings of it as there is address space for. */
static int map_segment(struct producer *p, int fd, uint64_t bytes)
{
	long at;

	do {
		at = sys__call6(SYS_mmap, 0, (long)bytes, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_NORESERVE, fd, 0);
	} while (at == -ENOMEM && (bytes = bytes / 2 & ~(uint64_t)(PRODUCER_PAGE - 1)));
	if (at < 0 && at > -4096)
		return (int)at;
	/* A child is to have none of it. */
	if (sys__call(SYS_madvise, at, bytes, MADV_DONTFORK) || !producer__use(p, (void *)at, bytes)) {
		sys__call(SYS_munmap, at, bytes, 0);
		return -EPROTO;
	}
	if (own.before.at)
		sys__call(SYS_munmap, own.before.at, own.before.bytes, 0);
	/* Two members of one structure, which is a member of the union. */
	/* cppcheck-suppress overlappingWriteUnion */
	own.before = own.segment;
	own.segment = (struct mapped){(void *)at, bytes};
	p->segment->mapped_bytes = bytes;
	__atomic_store_n(&p->segment->mapped_at, (uint64_t)at, __ATOMIC_RELEASE);
	return 0;
}

/* Told as the tracer's doing, not the program's. */
static int wipe_on_fork(void *at, size_t bytes)
{
	return (int)sys__call6(SYS_madvise, (long)at, (long)bytes, MADV_WIPEONFORK, 0, 0,
			       CALL_OF_PRODUCER);
}

/* From here on it is traced while it has probes, and no longer. */
static void let_go(void)
{
	if (!trace__is_held())
		return;
	atomic_store(&_mt_probes.held, false);
	_mt_fast_switch();
}

/* The tracer has not answered, and may have been held up. */
static void ask_again_later(uint64_t asked_ms)
{
	uint64_t after = (uint64_t)AGAIN_AFTER_MS << 2 * own.again;

	if (!own.again)
		own.asked_ms = asked_ms;
	if (own.again++ < AGAIN_TIMES)
		atomic_store(&own.again_ms, _mt_os_now_ms() + after);
}

int producer__attach(struct producer *p)
{
	static const char name[] = RING_MEMFD_NAME;
	uint64_t bytes, asked_ms = _mt_os_now_ms();
	int fd, err;

	if (!trace__is_asked() && !traced_at_fork)
		return -EAGAIN;
	fd = (int)sys__call(SYS_memfd_create, name, MFD_CLOEXEC | MFD_ALLOW_SEALING, 0);
	if (fd < 0) {
		let_go();
		return fd;
	}
	err = wipe_on_fork(&_producer, sizeof(_producer));
	if (!err)
		err = wipe_on_fork(&own, sizeof(own));
	if (!err) {
		bytes = offer_until_answered(
			fd, (int64_t)((uintptr_t)&producer__self()->call - thread__self()));
		err = bytes ? map_segment(p, fd, bytes) : -ETIMEDOUT;
	}
	sys__call(SYS_close, fd, 0, 0);
	/* The parent's word counts no more: this is a process of its own. */
	atomic_store(&_mt_probes.held, followed && !err);
	if (!err && own.again)
		p->segment->late_ms = asked_ms - own.asked_ms;
	followed = !err && p->segment->follow;
	p->leaf = 1;
	if (!err)
		_mt_tracing = true;
	_mt_fast_switch();
	if (err == -ETIMEDOUT && trace__is_asked())
		ask_again_later(asked_ms);
	return !err || trace__is_asked() ? err : -EAGAIN;
}

/* Of a process that is held: whether the tracer has looked not long ago. */
static bool tracer_lives(const struct ring_header *h)
{
	uint32_t beat = __atomic_load_n(&h->beat, __ATOMIC_RELAXED);
	uint32_t calls = atomic_load_explicit(&own.calls, memory_order_relaxed);
	uint64_t now;

	/* No count that threads would have to wait for. */
	atomic_store_explicit(&own.calls, calls + 1, memory_order_relaxed);
	if (calls % BEAT_CALLS)
		return true;
	now = _mt_os_now_ms();
	if (beat != own.beat || !own.beat_ms) {
		own.beat = beat;
		own.beat_ms = now;
	}
	return now < own.beat_ms + BEAT_MS;
}

/* What the killed tracer did not read is given back; one that ends does so itself, when it has read it. */
static void give_back(const struct ring_header *h)
{
	if (!__atomic_load_n(&h->closed, __ATOMIC_RELAXED) && own.segment.bytes > PRODUCER_PAGE)
		sys__call(SYS_madvise, (char *)own.segment.at + PRODUCER_PAGE,
			  own.segment.bytes - PRODUCER_PAGE, MADV_REMOVE);
}

/* Nobody traces any more. The next one is looked for as if there had been none. */
static void stop(uint32_t generation)
{
	struct producer *p = &_producer.p;

	if (atomic_exchange(&own.ending, 1))
		return;
	if (__atomic_load_n(&p->generation, __ATOMIC_RELAXED) == generation) {
		producer__set_generation(p, GENERATION_NEW);
		followed = false;
		own.again = 0;
		atomic_store(&own.again_ms, 0);
		_mt_tracing = trace__wanted();
		_mt_fast_switch();
		sampled__clear(&_producer_sampled);
		/* Frees are not looked at any more. */
		walk__forget();
		if (!_mt_tracing)
			_mt_otel_clear();
		if (generation > GENERATION_OFF)
			give_back(p->segment);
	}
	atomic_store(&own.ending, 0);
}

/* The tracer did not answer; if it is time, by this call it is asked again. */
static void look_whether_to_ask(void)
{
	uint64_t at = atomic_load_explicit(&own.again_ms, memory_order_relaxed);

	if (at && _mt_os_now_ms() >= at && atomic_compare_exchange_strong(&own.again_ms, &at, 0))
		producer__set_generation(&_producer.p, GENERATION_NEW);
}

bool _mt_trace_may_pass(void)
{
	return _mt_tracing && _producer.p.sample_bytes && _producer_sampled.filter &&
	       atomic_load_explicit(&_mt_probes.offers, memory_order_relaxed) == 1 &&
	       atomic_load_explicit(&_mt_fast.tracers, memory_order_relaxed) == 1;
}

/* Others come and go, who listen. */
static inline void look_who_listens(void)
{
	bool passing = atomic_load_explicit(&_mt_fast.passing, memory_order_relaxed);

	if (_producer.p.sample_bytes && passing != _mt_trace_may_pass())
		_mt_fast_switch();
}

bool _mt_trace_goes_on(void)
{
	struct producer *p = &_producer.p;
	uint32_t generation = __atomic_load_n(&p->generation, __ATOMIC_ACQUIRE);

	if (likely(trace__is_asked())) {
		look_who_listens();
		if (generation == GENERATION_OFF)
			look_whether_to_ask();
		if (generation <= GENERATION_OFF)
			return true;
		/* The tracer wrote this before its last was seen to be gone, or it is of another one. */
		if (likely(!__atomic_load_n(&p->segment->closed, __ATOMIC_RELAXED)) &&
		    (likely(!trace__is_held()) || tracer_lives(p->segment)))
			return true;
		let_go();
		if (p->segment->closed == RING_CLOSED_ANEW)
			stop(generation);
		return p->segment->closed == RING_CLOSED_ANEW;
	}
	if (generation != GENERATION_NEW || own.again || (_mt_tracing && !trace__wanted()))
		stop(generation);
	return false;
}

/* A thread that ends leaves its slot in _mt_trace_thread_ends(). */
void producer__thread_began(struct producer_thread *t)
{
	(void)t;
	_mt_heap();
}

void _mt_trace_before_fork(void)
{
	traced_at_fork = followed && trace__is_asked();
}

/* At once: what runs next in the child may install a filter of system calls. Its semaphores may have fallen by
 * now, with the probes of another child. */
void _mt_trace_in_child(void)
{
	if (traced_at_fork)
		producer__look();
	traced_at_fork = false;
}
