// FLAGS: -fno-builtin
/* SPDX-License-Identifier: MIT */
/*
 * What a process does with its life, and allocates meanwhile: by posix_memalign alone, which nobody
 * else uses, so that its calls are known. Argument: what it does.
 *
 *	threads N	N threads with stacks of 64 KiB one after the other, some at the same time
 *	crowd N		N threads that all live at the same time
 *	fork		children by fork, of a program with threads; by vfork
 *	close		all descriptors are closed
 *	filter		a seccomp filter refuses what a tracer would want: sockets, files, memory by mmap
 *	filter-full N	with such a filter, so many calls that a ring is full again and again
 *	filter-fork	a child of a process with such a filter
 *	filter-deep	a thread with such a filter, deeper in its stack than before
 *	filter-asked	a child of a process that has asked whether there are such filters
 *	clock-fork	a child of a process that has forbidden itself to read the time stamp counter
 *	strict		strict seccomp, under which the clock that stamps calls is forbidden, too
 *	plain		none of these
 */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/prctl.h>

#include "prog.h"

#define BLOCKS 100 /* that a thread makes; every tenth stays */
#define AT_A_TIME 40

static unsigned long made, kept;
static pthread_barrier_t crowd;
static bool stop;

static PROG_NOINLINE void *make_block(size_t size)
{
	void *p = NULL;

	if (posix_memalign(&p, 64, size))
		prog__die("posix_memalign");
	__atomic_add_fetch(&made, 1, __ATOMIC_RELAXED);
	return p;
}

static void allocate(void)
{
	for (size_t i = 0; i < BLOCKS; i++) {
		void *p = make_block(16 + i);

		if (i % 10)
			free(p);
		else
			__atomic_add_fetch(&kept, 1, __ATOMIC_RELAXED);
	}
}

static void *allocating(void *at_once)
{
	allocate();
	if (at_once)
		pthread_barrier_wait(&crowd);
	return NULL;
}

static void *busy(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		free(malloc(100));
	return NULL;
}

static void run_threads(unsigned long n, unsigned long at_a_time, void *at_once)
{
	pthread_t *thread = mmap(NULL, n * sizeof(*thread), PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	if (pthread_attr_setstacksize(&attr, 64 << 10))
		prog__die("pthread_attr_setstacksize");
	for (unsigned long i = 0; i < n; i += at_a_time) {
		for (unsigned long k = i; k < i + at_a_time && k < n; k++)
			if ((errno = pthread_create(&thread[k], &attr, allocating, at_once)))
				prog__die("pthread_create");
		for (unsigned long k = i; k < i + at_a_time && k < n; k++)
			pthread_join(thread[k], NULL);
	}
}

static void forks(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, busy, NULL))
		prog__die("pthread_create");
	for (int i = 0; i < 5; i++) {
		pid_t child = fork();

		if (!child) {
			allocate();
			_exit(0);
		}
		/* What it counted is in its own memory. */
		made += BLOCKS;
		kept += BLOCKS / 10;
		waitpid(child, NULL, 0);
		allocate();
		if (!vfork())
			_exit(0);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
}

static void fork_one(void)
{
	pid_t child = fork();
	int status;

	if (!child) {
		allocate();
		_exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || status)
		prog__die("child");
}

static void refuse_calls(void)
{
	static const int refused[] = {SYS_socket,	  SYS_connect,	  SYS_openat,
				      SYS_memfd_create,	  SYS_prctl,	  SYS_recvmsg,
				      SYS_sendto,	  SYS_gettid,	  SYS_nanosleep,
				      SYS_rt_sigprocmask, SYS_sigaltstack};
	struct sock_filter filter[2 * sizeof(refused) / sizeof(refused[0]) + 2] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
	size_t n = 1;

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		filter[n++] =
			(struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, refused[i], 0, 1);
		filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	}
	filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER,
		  &(struct sock_fprog){.len = (unsigned short)n, .filter = filter}))
		prog__die("seccomp");
}

static PROG_NOINLINE void allocate_below(size_t frames)
{
	volatile char page[4096] = {0};

	if (frames)
		allocate_below(frames - 1);
	else
		allocate();
	(void)page[0];
}

static void *filtered(void *done)
{
	allocate();
	refuse_calls();
	allocate_below(8);
	if (sem_post(done))
		prog__die("sem_post");
	for (;;)
		pause(); /* the end of a thread takes calls that it has forbidden itself */
	return NULL;
}

static void run_filtered(void)
{
	pthread_t thread;
	sem_t done;

	if (sem_init(&done, 0, 0))
		prog__die("sem_init");
	if (pthread_create(&thread, NULL, filtered, &done))
		prog__die("pthread_create");
	while (sem_wait(&done))
		;
}

int main(int argc, char **argv)
{
	const char *what;
	unsigned long n;

	prog__start(&argc, &argv);
	what = argc > 1 ? argv[1] : "plain";
	n = prog__number(argc, argv, 2, 100);
	prog__ready();
	if (!strcmp(what, "threads")) {
		run_threads(n, AT_A_TIME, NULL);
	} else if (!strcmp(what, "crowd")) {
		pthread_barrier_init(&crowd, NULL, n);
		run_threads(n, n, &crowd);
	} else if (!strcmp(what, "fork")) {
		forks();
	} else if (!strcmp(what, "close")) {
		for (int fd = 3; fd < 1024; fd++)
			close(fd);
		allocate();
	} else if (!strcmp(what, "filter")) {
		refuse_calls();
		allocate();
	} else if (!strcmp(what, "filter-full")) {
		refuse_calls();
		for (unsigned long i = 0; i < n; i++)
			allocate();
	} else if (!strcmp(what, "filter-fork")) {
		allocate();
		refuse_calls();
		fork_one();
	} else if (!strcmp(what, "filter-deep")) {
		run_filtered();
	} else if (!strcmp(what, "filter-asked")) {
		if (!prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL) ||
		    !syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 1, NULL))
			prog__die("seccomp");
		allocate();
		fork_one();
		made += BLOCKS;
		kept += BLOCKS / 10;
	} else if (!strcmp(what, "clock-fork")) {
		allocate();
		if (prctl(PR_SET_TSC, PR_TSC_SIGSEGV))
			prog__die("PR_SET_TSC");
		fork_one();
		if (prctl(PR_SET_TSC, PR_TSC_ENABLE))
			prog__die("PR_SET_TSC");
	} else if (!strcmp(what, "strict")) {
		allocate();
		if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT))
			prog__die("seccomp");
		allocate();
		syscall(SYS_exit, 0);
	} else {
		allocate();
	}
	prog__print("{\"made\": %lu, \"kept\": %lu}\n", made, kept);
	prog__end();
	return 0;
}
