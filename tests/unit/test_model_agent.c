/* SPDX-License-Identifier: MIT */
/* What memtrace does within a process is told apart from what the program does. */
#include "tests/unit/model_lib.h"

#define AGENT 0x7f1000000000ULL
#define AGENT_CODE (AGENT + 2 * PAGE)
#define AGENT_DATA (AGENT + 6 * PAGE)
#define AGENT_BSS (AGENT + 8 * PAGE)
#define AGENT_END (AGENT + 12 * PAGE)
#define AGENT_INO 90
#define SEGMENT 0x7f2000000000ULL
#define SEGMENT_INO 91
#define PATH "/usr/lib/memtrace/agent.so"

static const struct agent_stats *agents(void)
{
	return &model__process(m, PID)->agent;
}

/* As the loader maps a library: all of it, then its parts over that. */
static void map_agent(void)
{
	static const char path[] = "agent.so\0memtrace\0lib\0usr";

	assert_int_equal(model__set_agent(m, PATH), 0);
	file_record(AGENT_INO, EXE_DEV, path, sizeof(path));
	mmap_file(AGENT, 12 * PAGE, PROT_READ, MAP_PRIVATE, AGENT_INO, 0);
	mmap_file(AGENT_CODE, 4 * PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, AGENT_INO,
		  2 * PAGE);
	mmap_file(AGENT_DATA, 2 * PAGE, RW, MAP_PRIVATE | MAP_FIXED, AGENT_INO, 6 * PAGE);
	mmap_call(AGENT_BSS, 4 * PAGE, RW, ANON | MAP_FIXED);
	CALL(.kind = REC_MPROTECT, .arg = {AGENT_DATA, PAGE, PROT_READ});
}

/* The segment, which the kernel names as the file of a memfd. */
static void map_segment(const char *path, size_t bytes, uint64_t ip)
{
	file_record(SEGMENT_INO, EXE_DEV, path, bytes);
	vma_record(PID, false, SEGMENT, SEGMENT + 100 * PAGE, 0, SEGMENT_INO, RW | VMA_SHARED);
	CALL(.kind = REC_MMAP, .ret = SEGMENT, .arg = {0, 100 * PAGE, RW, MAP_SHARED, 3, 0},
	     .ip = ip);
	CALL(.kind = REC_MADVISE, .arg = {SEGMENT, 100 * PAGE, MADV_DONTFORK}, .ip = ip);
}

static void its_mappings_are_not_the_programs(void **state)
{
	(void)state;
	map_agent();
	map_segment("memfd:memtrace_ring", sizeof("memfd:memtrace_ring"), AGENT_CODE + 10);
	assert_int_equal(stats(CALL_MMAP)->calls, 0);
	assert_int_equal(stats(CALL_MPROTECT)->calls, 0);
	assert_int_equal(stats(CALL_MADVISE)->calls, 0);
	assert_int_equal(m->mapped_bytes, IMAGE_BYTES);
	assert_int_equal(agents()->call[CALL_MMAP].calls, 5);
	assert_int_equal(agents()->call[CALL_MPROTECT].calls, 1);
	assert_int_equal(agents()->call[CALL_MADVISE].calls, 1);
	assert_int_equal(agents()->mapped_bytes, 112 * PAGE);
	/* A mapping of the program's beside it stays one. */
	mmap_call(AGENT_END, PAGE, RW, ANON);
	assert_int_equal(stats(CALL_MMAP)->calls, 1);
	assert_int_equal(m->mapped_bytes, IMAGE_BYTES + PAGE);
	munmap_call(SEGMENT, 100 * PAGE);
	assert_int_equal(stats(CALL_MUNMAP)->calls, 0);
	assert_int_equal(agents()->call[CALL_MUNMAP].calls, 1);
	assert_int_equal(agents()->mapped_bytes, 112 * PAGE); /* at most */
}

/* mtalloc's code is the allocator's: its producer's calls are told by what they are about, or say so. */
static void a_built_in_producers_calls(void **state)
{
	(void)state;
	map_segment("memfd:mtalloc-ring", sizeof("memfd:mtalloc-ring"), TEXT);
	CALL(.kind = REC_MADVISE, .arg = {BSS, PAGE, 18, 0, 0, CALL_OF_PRODUCER});
	CALL(.kind = REC_MMAP, .ret = MMAP, .arg = {0, PAGE, RW, ANON, -1ULL, CALL_OF_PRODUCER});
	assert_int_equal(agents()->call[CALL_MMAP].calls, 2);
	assert_int_equal(agents()->call[CALL_MADVISE].calls, 2);
	assert_int_equal(agents()->mapped_bytes, 101 * PAGE);
	assert_int_equal(m->mapped_bytes, IMAGE_BYTES);
	/* Of a file it is an offset. */
	mmap_file(MMAP + 8 * PAGE, PAGE, PROT_READ, MAP_PRIVATE, 5, CALL_OF_PRODUCER);
	CALL(.kind = REC_MADVISE, .arg = {BSS, PAGE, 4});
	assert_int_equal(stats(CALL_MMAP)->calls, 1);
	assert_int_equal(stats(CALL_MADVISE)->calls, 1);
}

static void its_faults_are_not_the_programs(void **state)
{
	const struct fault_stats *program = &model__process(m, PID)->faults;
	struct report *r;

	(void)state;
	map_agent();
	mmap_call(MMAP, 4 * PAGE, RW, ANON);
	FAULT(.addr = AGENT_DATA, .flags = FAULT_WRITE); /* the loader relocates it */
	FAULT(.addr = AGENT_BSS, .flags = FAULT_WRITE);
	FAULT(.addr = AGENT_CODE, .flags = FAULT_EXEC, .ip = AGENT_CODE);
	FAULT(.addr = TEXT, .ip = AGENT_CODE + 3); /* it reads another's unwind table */
	/* The last call in its code, by the address behind it. */
	FAULT(.addr = MMAP, .flags = FAULT_WRITE | FAULT_KERNEL, .ip = AGENT_CODE + 4 * PAGE);
	assert_int_equal(agents()->faults.minor, 5);
	assert_int_equal(program->minor, 0);
	/* A stack is the thread's, whoever is the first there. */
	FAULT(.addr = STACK + 8, .flags = FAULT_WRITE, .ip = AGENT_CODE + 3);
	FAULT(.addr = MMAP + PAGE, .flags = FAULT_WRITE, .ip = AGENT_CODE + 4 * PAGE);
	assert_int_equal(agents()->faults.minor, 5);
	assert_int_equal(program->minor, 2);
	r = report_now();
	assert_balanced(r);
	assert_true(r->has_agent);
	assert_int_equal(r->agent.faults.minor, 5);
	assert_int_equal(r->agent.call[CALL_MMAP].calls, 4);
	assert_true(r->agent.resident_bytes == UNKNOWN);
	report__free(r);
}

static void a_child_has_the_agent_and_no_segment(void **state)
{
	(void)state;
	map_agent();
	map_segment("memfd:memtrace_ring", sizeof("memfd:memtrace_ring"), AGENT_CODE + 10);
	fork_record(PID, 101, 0);
	assert_true(model__find(m, 101, AGENT_CODE)->flags & VMA_AGENT);
	assert_null(model__find(m, 101, SEGMENT));
	assert_int_equal(model__process(m, 101)->agent.mapped_bytes, 12 * PAGE);
	CALL(.kind = REC_MADVISE, .pid = 101, .arg = {AGENT_BSS, PAGE, 18}, .ip = AGENT_CODE + 2);
	assert_int_equal(model__process(m, 101)->agent.call[CALL_MADVISE].calls, 1);
	/* Another image has none of it. */
	exec_image(101, 0);
	CALL(.kind = REC_MADVISE, .pid = 101, .arg = {BSS, PAGE, 4}, .ip = AGENT_CODE + 2);
	assert_int_equal(model__process(m, 101)->call[CALL_MADVISE].calls, 1);
}

static void what_is_not_for_children_they_do_not_have(void **state)
{
	(void)state;
	mmap_call(MMAP, 8 * PAGE, RW, ANON);
	CALL(.kind = REC_MADVISE, .arg = {MMAP + PAGE, 4 * PAGE, MADV_DONTFORK});
	CALL(.kind = REC_MADVISE, .arg = {MMAP + 2 * PAGE, PAGE, MADV_DOFORK});
	CALL(.kind = REC_MADVISE, .ret = -ENOMEM, .arg = {MMAP + 6 * PAGE, PAGE, MADV_DONTFORK});
	fork_record(PID, 101, FORK_SHARES_MM);
	assert_non_null(model__find(m, 101, MMAP + PAGE));
	fork_record(PID, 102, 0);
	assert_non_null(model__find(m, 102, MMAP));
	assert_null(model__find(m, 102, MMAP + PAGE));
	assert_non_null(model__find(m, 102, MMAP + 2 * PAGE));
	assert_null(model__find(m, 102, MMAP + 4 * PAGE));
	assert_non_null(model__find(m, 102, MMAP + 6 * PAGE));
	assert_non_null(model__find(m, PID, MMAP + PAGE));
	assert_int_equal(m->mapped_bytes, 2 * IMAGE_BYTES + 8 * PAGE + 5 * PAGE);
}

static void its_resident_pages_are_a_part_of_their_own(void **state)
{
	const struct vma *other;
	struct resident *r;

	(void)state;
	map_agent();
	/* Joined by the kernel to what lies behind: one mapping to it. */
	mmap_call(AGENT_END, 2 * PAGE, RW, ANON);
	assert_int_equal(model__agents_bytes(m, PID, AGENT_BSS, AGENT_END + 2 * PAGE, &other),
			 4 * PAGE);
	assert_int_equal(other->start, AGENT_END);
	r = model__resident_begin(m, PID);
	assert_non_null(r);
	resident__sum(r, REGION_AGENT, 3 * PAGE);
	resident__pages(r, REGION_MMAP, AGENT_BSS + 3 * PAGE, AGENT_END + PAGE);
	resident__end(r, 5 * PAGE);
	assert_int_equal(model__process(m, PID)->parts.agent, 4 * PAGE);
	assert_int_equal(model__process(m, PID)->parts.direct_mmap, PAGE);
	assert_int_equal(model__process(m, PID)->parts.unknown, 0);
}

/* Only by the exact name. */
static void other_files_are_the_programs(void **state)
{
	(void)state;
	assert_false(model__is_agents_path(m, PATH));
	assert_int_equal(model__set_agent(m, PATH), 0);
	assert_true(model__is_agents_path(m, PATH));
	assert_true(model__is_agents_path(m, "/memfd:mtalloc-ring (deleted)"));
	assert_true(model__is_agents_path(m, "/memfd:memtrace_ring"));
	assert_false(model__is_agents_path(m, "/memfd:memtrace_rings"));
	assert_false(model__is_agents_path(m, "/tmp/memfd:memtrace_ring"));
	assert_false(model__is_agents_path(m, "/memfd:"));
	assert_false(model__is_agents_path(m, " (deleted)"));
	assert_false(model__is_agents_path(m, ""));
	assert_false(model__is_agents_path(m, PATH ".1"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST_IMAGE(its_mappings_are_not_the_programs),
		TEST_IMAGE(a_built_in_producers_calls),
		TEST_IMAGE(its_faults_are_not_the_programs),
		TEST_IMAGE(a_child_has_the_agent_and_no_segment),
		TEST_IMAGE(what_is_not_for_children_they_do_not_have),
		TEST_IMAGE(its_resident_pages_are_a_part_of_their_own),
		TEST(other_files_are_the_programs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
