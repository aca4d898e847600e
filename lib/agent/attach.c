// SPDX-License-Identifier: MIT
/* How a process meets the collector, see ring.h. */
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "lib/agent/agent.h"
#include "lib/trace/sys.h"

#define ANSWER_SECONDS 1 /* a collector that does not answer in this time is none */

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

extern char **environ;

static pthread_key_t ending;
static bool has_ending;

static const char *variable(const char *name)
{
	size_t n = strlen(name);

	for (char **e = environ; e && *e; e++)
		if (!strncmp(*e, name, n) && (*e)[n] == '=')
			return *e + n + 1;
	return NULL;
}

static int say(int fd, const struct ring_hello *hello)
{
	long sent = sys__call6(SYS_sendto, fd, (long)hello, sizeof(*hello), MSG_NOSIGNAL, 0, 0);

	return sent == sizeof(*hello) ? 0 : -EIO;
}

static int hear(int fd, struct ring_welcome *welcome, int *segment)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec part = {welcome, sizeof(*welcome)};
	struct msghdr message = {.msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control)};
	struct cmsghdr *c;
	long got;

	do
		got = sys__call(SYS_recvmsg, fd, &message, MSG_CMSG_CLOEXEC);
	while (got == -EINTR);
	c = CMSG_FIRSTHDR(&message);
	*segment = -1;
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
	    c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(segment, CMSG_DATA(c), sizeof(int));
	if (got != sizeof(*welcome) || welcome->magic != RING_MAGIC ||
	    welcome->version != RING_VERSION)
		return -EPROTO;
	if (welcome->err)
		return -EPERM;
	return *segment < 0 ? -EPROTO : 0;
}

/* The whole segment, or as many rings of it as the address space has room for. */
static int map_segment(struct producer *p, const struct ring_welcome *w, int fd)
{
	uint64_t bytes = w->bytes;
	struct ring_header *h;
	long at;

	while ((at = sys__call6(SYS_mmap, 0, (long)bytes, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_NORESERVE, fd, 0)) == -ENOMEM &&
	       bytes > w->least_bytes)
		bytes = bytes / 2 > w->least_bytes ? bytes / 2 & ~(uint64_t)(PRODUCER_PAGE - 1) :
						     w->least_bytes;
	if (at < 0 && at > -4096)
		return (int)at;
	/* A child is to have none of it. */
	if (sys__call(SYS_madvise, at, bytes, MADV_DONTFORK) || !producer__use(p, (void *)at, bytes)) {
		sys__call(SYS_munmap, at, bytes, 0);
		return -EPROTO;
	}
	p->leaf = next__is_leaf();
	arena__watch();
	h = (struct ring_header *)at;
	h->mapped_bytes = bytes;
	__atomic_store_n(&h->mapped_at, (uint64_t)at, __ATOMIC_RELEASE);
	return 0;
}

/* A program that is not position-independent and takes malloc's address has it in its own code,
 * where a jump leads to whoever serves it: that symbol is not one that the program defines. */
#pragma weak dladdr1

static bool is_only_a_jump(const void *f)
{
	const ElfW(Sym) *symbol = NULL;
	Dl_info info;

	return dladdr1 && dladdr1(f, &info, (void **)&symbol, RTLD_DL_SYMENT) && symbol &&
	       symbol->st_shndx == SHN_UNDEF;
}

/*
 * Whether ours is the malloc that the program calls. Found out once: in a child of a fork, which would
 * find the same, dlsym() may free the text of an error that the parent had, unseen by us.
 */
static bool comes_first(struct ring_hello *hello)
{
	static void *first;
	static const char start[] = "its malloc is ", own[] = "its own";
	Dl_info info;
	size_t n;

	if (!first)
		first = dlsym(RTLD_DEFAULT, "malloc");
	if (first == agent__malloc() || is_only_a_jump(first))
		return true;
	memset(hello->text, 0, sizeof(hello->text));
	memcpy(hello->text, start, sizeof(start));
	n = sizeof(start) - 1;
	if (dladdr(first, &info) && info.dli_fname) {
		strncpy(hello->text + n, info.dli_fname, sizeof(hello->text) - n - 1);
		n += strlen(hello->text + n);
	}
	if (n == sizeof(start) - 1)
		memcpy(hello->text + n, own, sizeof(own));
	return false;
}

static void fill_in(struct ring_hello *hello, const char *token)
{
	Dl_info info;
	uint64_t fs;

	__asm__("mov %%fs:0, %0" : "=r"(fs));
	hello->magic = RING_MAGIC;
	hello->version = RING_VERSION;
	hello->kind = RING_HELLO_READY;
	memcpy(hello->token, token, RING_TOKEN_BYTES);
	hello->pid = (uint32_t)sys__call(SYS_getpid, 0, 0, 0);
	hello->tid = (uint32_t)sys__call(SYS_gettid, 0, 0, 0);
	hello->call_at = (int64_t)((uintptr_t)&producer__self()->call - fs);
	hello->allocator = (uintptr_t)next__get(NEXT_malloc);
	hello->producer = (uintptr_t)agent__malloc();
	if (dladdr((void *)hello->allocator, &info) && info.dli_fname)
		strncpy(hello->text, info.dli_fname, sizeof(hello->text) - 1);
}

/* A connection to the socket that the variable names; *token: what stands behind the name. */
static int connect_to(const char *where, const char **token)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = ANSWER_SECONDS};
	const char *colon = strchr(where, ':');
	size_t n = colon ? (size_t)(colon - where) : 0;
	long fd, err;

	if (!n || n > sizeof(a.sun_path) - 1 || strlen(colon + 1) != RING_TOKEN_BYTES)
		return -EINVAL;
	*token = colon + 1;
	memcpy(a.sun_path + 1, where, n);
	fd = sys__call(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return (int)fd;
	sys__call6(SYS_setsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, (long)&patience, sizeof(patience), 0);
	sys__call6(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDTIMEO, (long)&patience, sizeof(patience), 0);
	err = sys__call(SYS_connect, fd, &a, offsetof(struct sockaddr_un, sun_path) + 1 + n);
	if (!err)
		return (int)fd;
	sys__call(SYS_close, fd, 0, 0);
	return (int)err;
}

int producer__attach(struct producer *p)
{
	static const char no_memory[] = "it has no address space left for a ring";
	struct ring_hello hello = {.text = ""};
	struct ring_welcome welcome;
	const char *where, *token;
	int fd, segment, err;

	if (!environ || !next__get(NEXT_malloc))
		return -EAGAIN;
	where = variable(RING_ENV);
	if (!where)
		return -ENOENT;
	fd = connect_to(where, &token);
	if (fd < 0)
		return fd;
	fill_in(&hello, token);
	err = comes_first(&hello) ? 0 : -ENOTSUP;
	if (!err)
		err = (int)sys__call(SYS_madvise, &_producer, sizeof(_producer), MADV_WIPEONFORK);
	if (err) {
		hello.kind = RING_HELLO_UNABLE;
		say(fd, &hello);
		sys__call(SYS_close, fd, 0, 0);
		return err;
	}
	err = say(fd, &hello);
	if (!err) {
		err = hear(fd, &welcome, &segment);
		if (!err) {
			err = map_segment(p, &welcome, segment);
			hello.kind = RING_HELLO_UNABLE;
			memcpy(hello.text, no_memory, sizeof(no_memory));
			if (err)
				say(fd, &hello);
		}
		if (segment >= 0)
			sys__call(SYS_close, segment, 0, 0);
	}
	sys__call(SYS_close, fd, 0, 0);
	return err;
}

/* Destructors of other thread-local data may still free: then the thread has a slot again, and
 * this is called again. */
static void thread_ends(void *t)
{
	producer__leave_thread(t);
}

void producer__thread_began(struct producer_thread *t)
{
	if (has_ending)
		pthread_setspecific(ending, t);
}

__attribute__((constructor)) static void begin(void)
{
	filter__watch();
	has_ending = !pthread_key_create(&ending, thread_ends);
	producer__look();
}
