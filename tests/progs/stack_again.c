/* SPDX-License-Identifier: MIT */
/* FLAGS: -O2 -fomit-frame-pointer */
/*
 * Calls of madvise from one place, always with the same stack pointer, by callers that differ. Arguments:
 * in what they do so, and how many rounds. Kinds:
 *   words    each of DEPTH calls on the way comes from one of two functions: CHAINS chains, whose
 *            stacks differ in return addresses only
 *   jump     from two functions in turn, left by longjmp
 *   context  from two coroutines on one stack
 *   first    from two functions without callers, in turn
 *   code     through code at one address, which is replaced: the one has callers, the other has none, to
 *            its unwind table
 *   beside   the same, with other code in between that lies near, and was mapped last
 *   moved    the same, and what replaces it comes by mremap
 *   pages    from two functions on a stack, the page of which another thread exchanges in between: what the
 *            one has left on its own is still there
 *   bp, bx   from two functions through one whose frame is found by this register: what one has left
 *            on the stack is still there in the other's call
 * Each call is made REPEATS times. Result: calls, and how many of them had another stack pointer than
 * the first ("elsewhere").
 */
#include "prog.h"

#include <pthread.h>
#include <setjmp.h>

#define DEPTH 5
#define CHAINS (1U << DEPTH)
#define REPEATS 3
#define CODE ((char *)0x200000000UL)
#define NEAR (CODE + 2 * PROG_PAGE)
#define AWAY (CODE + (8UL << 20))

static volatile int barrier;
static uintptr_t place;
static unsigned long calls, elsewhere, rounds;
static jmp_buf out;

static PROG_NOINLINE void place_call(void)
{
	volatile char here = 0;

	if (!place)
		place = (uintptr_t)&here;
	elsewhere += place != (uintptr_t)&here;
	for (int i = 0; i < REPEATS; i++)
		madvise(NULL, 0, MADV_NORMAL);
	calls += REPEATS;
	barrier += here;
}

static void again_go(unsigned way, unsigned depth);

static PROG_NOINLINE void again_left(unsigned way, unsigned depth)
{
	again_go(way, depth);
	barrier++;
}

static PROG_NOINLINE void again_right(unsigned way, unsigned depth)
{
	again_go(way, depth);
	barrier += 2;
}

static PROG_NOINLINE void again_go(unsigned way, unsigned depth)
{
	if (!depth)
		place_call();
	else if (way & 1)
		again_right(way / 2, depth - 1);
	else
		again_left(way / 2, depth - 1);
	barrier++;
}

static PROG_NOINLINE void words(void)
{
	for (unsigned way = 0; way < CHAINS; way++)
		again_go(way, DEPTH);
}

static PROG_NOINLINE void jump_left(void)
{
	place_call();
	barrier++;
	longjmp(out, 1);
}

static PROG_NOINLINE void jump_right(void)
{
	place_call();
	barrier += 2;
	longjmp(out, 1);
}

static PROG_NOINLINE void jump(void)
{
	if (!setjmp(out))
		jump_left();
	if (!setjmp(out))
		jump_right();
}

static void context_left(void)
{
	place_call();
	barrier++;
}

static void context_right(void)
{
	place_call();
	barrier += 2;
}

/* Call the function on the stack that ends at top; it has no callers there. */
void context_call(void *top, void (*function)(void));
__asm__(".pushsection .text\n"
	".globl context_call\n"
	".type context_call, @function\n"
	"context_call: .cfi_startproc\n"
	".cfi_undefined rip\n"
	"push %rbp\n"
	"mov %rsp, %rbp\n"
	"mov %rdi, %rsp\n"
	"call *%rsi\n"
	"mov %rbp, %rsp\n"
	"pop %rbp\n"
	"ret\n"
	".cfi_endproc\n"
	".size context_call, . - context_call\n"
	".popsection\n");

static PROG_NOINLINE void context(void)
{
	static _Alignas(16) char stack[16 * PROG_PAGE];

	context_call(stack + sizeof(stack), context_left);
	context_call(stack + sizeof(stack), context_right);
}

/* The stack is page 2 of it, page 1 waits to be. */
static char *pages_at;
static volatile bool pages_wanted;

static void pages_move(size_t from, size_t to)
{
	if (mremap(pages_at + from * PROG_PAGE, PROG_PAGE, PROG_PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
		   pages_at + to * PROG_PAGE) == MAP_FAILED)
		prog__die("mremap");
}

static void *pages_exchange(void *unused)
{
	for (;;) {
		while (!pages_wanted)
			sched_yield();
		pages_move(2, 3);
		pages_move(1, 2);
		pages_move(3, 1);
		pages_wanted = false;
	}
	return unused;
}

/* Without a call to the kernel: the thread's last walk is that on the stack. */
static PROG_NOINLINE void pages_turn(void (*function)(void))
{
	context_call(pages_at + 3 * PROG_PAGE, function);
	pages_wanted = true;
	while (pages_wanted)
		;
}

static PROG_NOINLINE void pages(void)
{
	pthread_t thread;

	if (!pages_at) {
		pages_at = mmap(NULL, 4 * PROG_PAGE, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (pages_at == MAP_FAILED)
			prog__die("mmap");
		memset(pages_at, 1, 4 * PROG_PAGE);
		if (pthread_create(&thread, NULL, pages_exchange, NULL))
			prog__die("pthread_create");
	}
	pages_turn(context_left);
	pages_turn(context_right);
}

/* Functions that call another and have no callers themselves. */
#define FIRST(name)                                                       \
	void name(void (*function)(void));                                \
	__asm__(".pushsection .text\n"                                    \
		".globl " #name "\n"                                      \
		".type " #name ", @function\n" #name ": .cfi_startproc\n" \
		".cfi_undefined rip\n"                                    \
		"sub $24, %rsp\n"                                         \
		".cfi_def_cfa_offset 32\n"                                \
		"call *%rdi\n"                                            \
		"add $24, %rsp\n"                                         \
		".cfi_def_cfa_offset 8\n"                                 \
		"ret\n"                                                   \
		".cfi_endproc\n"                                          \
		".size " #name ", . - " #name "\n"                        \
		".popsection\n");

FIRST(first_left)
FIRST(first_right)

static PROG_NOINLINE void first(void)
{
	void (*const volatile callers[])(void (*)(void)) = {first_left, first_right};

	for (volatile size_t i = 0; i < 2; i++)
		callers[i](place_call);
	barrier++;
}

/* Two pages of code, of the same bytes. That the return address of the one is nowhere is told by the table alone. */
void code_called(void (*function)(void));
void code_first(void (*function)(void));
__asm__(".pushsection .text\n"
	".balign 4096\n"
	".globl code_called\n"
	".type code_called, @function\n"
	"code_called: .cfi_startproc\n"
	"sub $24, %rsp\n"
	".cfi_def_cfa_offset 32\n"
	"call *%rdi\n"
	"add $24, %rsp\n"
	".cfi_def_cfa_offset 8\n"
	"ret\n"
	".cfi_endproc\n"
	".size code_called, . - code_called\n"
	".balign 4096\n"
	".globl code_first\n"
	".type code_first, @function\n"
	"code_first: .cfi_startproc\n"
	".cfi_undefined rip\n"
	"sub $24, %rsp\n"
	".cfi_def_cfa_offset 32\n"
	"call *%rdi\n"
	"add $24, %rsp\n"
	".cfi_def_cfa_offset 8\n"
	"ret\n"
	".cfi_endproc\n"
	".size code_first, . - code_first\n"
	".balign 4096\n"
	".popsection\n");

/* Map a page of this program's file. */
static void code_map(char *at, void (*page)(void (*)(void)), int flags)
{
	extern char __executable_start;
	int fd = open("/proc/self/exe", O_RDONLY);

	/* Text lies in the file where it lies in memory, which the file's page is compared for. */
	if (fd < 0 || mmap(at, PROG_PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | flags, fd,
			   (char *)page - &__executable_start) != at)
		prog__die("mmap");
	if (memcmp(at, (void *)page, PROG_PAGE)) {
		errno = EINVAL;
		prog__die("the file");
	}
	close(fd);
}

static PROG_NOINLINE void code_run(void)
{
	((void (*)(void (*)(void)))CODE)(place_call);
	barrier++;
}

static void code_unmap(char *at)
{
	if (munmap(at, PROG_PAGE))
		prog__die("munmap");
}

static PROG_NOINLINE void code(void)
{
	code_map(CODE, code_first, MAP_FIXED);
	code_run();
	code_map(CODE, code_called, MAP_FIXED);
	code_run();
	code_unmap(CODE);
	code_map(CODE, code_first, 0);
	code_run();
	code_unmap(CODE);
	code_map(CODE, code_called, 0);
	code_run();
	barrier++;
}

static PROG_NOINLINE void beside(void)
{
	code_map(CODE, code_first, 0);
	code_run();
	code_map(NEAR, code_called, 0);
	code_unmap(CODE);
	code_map(CODE, code_called, 0);
	code_run();
	code_unmap(NEAR);
	code_unmap(CODE);
	barrier++;
}

static PROG_NOINLINE void moved(void)
{
	code_map(AWAY, code_called, 0);
	code_map(CODE, code_first, MAP_FIXED);
	code_run();
	if (mremap(AWAY, PROG_PAGE, PROG_PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, CODE) != CODE)
		prog__die("mremap");
	code_run();
	barrier++;
}

/*
 * Two callers with frames of 80 and of 16 bytes, of one that makes its own larger by as much as the second's is
 * smaller. So the stack pointer is the same in what that calls, and where the first caller's frame was is room
 * that is not written to.
 */
#define FRAMES(reg)                                                                         \
	void reg##_near(void (*function)(void));                                            \
	void reg##_far(void (*function)(void));                                             \
	__asm__(".pushsection .text\n" #reg "_room: .cfi_startproc\n"                       \
		"push %r" #reg "\n"                                                         \
		".cfi_def_cfa_offset 16\n"                                                  \
		".cfi_offset %r" #reg ", -16\n"                                             \
		"mov %rsp, %r" #reg "\n"                                                    \
		".cfi_def_cfa_register %r" #reg "\n"                                        \
		"sub %rsi, %rsp\n"                                                          \
		"call *%rdi\n"                                                              \
		"mov %r" #reg ", %rsp\n"                                                    \
		"pop %r" #reg "\n"                                                          \
		".cfi_def_cfa %rsp, 8\n"                                                    \
		"ret\n"                                                                     \
		".cfi_endproc\n" FRAME_CALLER(reg, "near", "72", "80", "0")                 \
			FRAME_CALLER(reg, "far", "8", "16", "64") ".popsection\n");         \
	static PROG_NOINLINE void by_##reg(void)                                            \
	{                                                                                   \
		void (*const volatile callers[])(void (*)(void)) = {reg##_near, reg##_far}; \
                                                                                            \
		for (volatile size_t i = 0; i < 2; i++)                                     \
			callers[i](frame_call);                                             \
		barrier++;                                                                  \
	}
#define FRAME_CALLER(reg, name, room, cfa, argument)                              \
	".globl " #reg "_" name "\n"                                              \
	".type " #reg "_" name ", @function\n" #reg "_" name ": .cfi_startproc\n" \
	"sub $" room ", %rsp\n"                                                   \
	".cfi_def_cfa_offset " cfa "\n"                                           \
	"mov $" argument ", %esi\n"                                               \
	"call " #reg "_room\n"                                                    \
	"add $" room ", %rsp\n"                                                   \
	".cfi_def_cfa_offset 8\n"                                                 \
	"ret\n"                                                                   \
	".cfi_endproc\n"                                                          \
	".size " #reg "_" name ", . - " #reg "_" name "\n"

/* It saves neither register. */
static void frame_call(void)
{
	madvise(NULL, 0, MADV_NORMAL);
	barrier++;
}

FRAMES(bp)
FRAMES(bx)

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*function)(void);
	} kinds[] = {{"words", words}, {"jump", jump},	   {"context", context}, {"first", first},
		     {"code", code},   {"beside", beside}, {"moved", moved},	 {"pages", pages},
		     {"bp", by_bp},    {"bx", by_bx}};

	prog__start(&argc, &argv);
	if (argc != 3)
		return 2;
	rounds = prog__number(argc, argv, 2, 1);
	for (size_t k = 0; k < sizeof(kinds) / sizeof(*kinds); k++)
		for (unsigned long i = 0; i < rounds && !strcmp(argv[1], kinds[k].name); i++)
			kinds[k].function();
	prog__print("{\"calls\":%lu,\"elsewhere\":%lu}\n", calls, elsewhere);
	return 0;
}
