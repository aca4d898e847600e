# SPDX-License-Identifier: MIT
"""The ring plane: calls as the preloaded agent hands them over. Exact for whatever serves
malloc, nothing lost, and the program runs on whatever becomes of memtrace."""

import os
import signal
import subprocess

from harness import (EMULATED, MEMTRACE, ROOT, SOURCES, Proc, case, expect, expect_at_least, expect_between,
                     expect_match, launch, memtrace, prog, tmp, wait_until)
from cases_heap_calls import FUNCTIONS, expect_marks, library
from cases_heap_live import expect_churn, expect_cost

HEAP = "--heap=ring"
THREADS = 4  # of heap_family: for each of them the C library makes one calloc


def ring(argv, *opts, **more):
    return launch(argv, opts=(HEAP, *opts), status=0, **more)


def expect_family(run, allocator, threads=THREADS):
    heap, own = run.report["heap"], run.result
    called = heap["by_function"]
    for name in FUNCTIONS:
        # What serves the C library's start besides is malloc's alone.
        extra = {"calloc": threads, "malloc": called["malloc"] - own["malloc"]}.get(name, 0)
        expect(name, called[name], own[name] + extra)
    expect_between("malloc", called["malloc"], own["malloc"], own["malloc"] + 2)
    expect("aligned_alloc and memalign", called["aligned_alloc"] + called["memalign"], own["aligned"])
    expect("failed", heap["failed"], own["failed"])
    expect("frees without a block", heap["unmatched_frees"], 0)
    expect("frees unseen", heap["unseen_frees"], 0)
    process = run.root()
    expect("plane", process["heap_plane"], "ring")
    expect("allocators", [a["name"] for a in process["allocators"]], [allocator])


@case
def the_family_in_glibc():
    run = ring([prog("heap_family")])
    expect_family(run, "glibc")
    expect("live blocks", run.report["heap"]["live_blocks"], run.result["live_blocks"] + THREADS)


@case
def the_family_in_jemalloc():
    expect_family(ring([prog("heap_family")], env={"LD_PRELOAD": library("libjemalloc.so.2")}),
                  "jemalloc")


@case
def the_family_in_tcmalloc():
    expect_family(ring([prog("heap_family")], env={"LD_PRELOAD": library("libtcmalloc_minimal.so.4")}),
                  "tcmalloc")


@case
def the_family_in_mimalloc():
    expect_family(ring([prog("heap_family")], env={"LD_PRELOAD": library("libmimalloc.so.2*")}),
                  "mimalloc")


@case
def the_family_in_mtalloc():
    expect_family(ring([prog("heap_family")],
                       env={"LD_PRELOAD": os.path.join(os.path.dirname(MEMTRACE), "libmtalloc.so")}),
                  "mtalloc")


@case
def blocks_freed_by_other_threads():
    run = ring([prog("heap_churn"), 4, 20000])
    heap, own = run.report["heap"], run.result
    calls = heap["calls"]
    expect("allocations", calls["malloc"] + calls["realloc"], own["calls"])
    expect("reallocs", calls["realloc"], own["moved"])
    expect("live blocks", heap["live_blocks"], own["blocks"] + calls["calloc"])
    expect("frees unseen", heap["unseen_frees"], 0)
    expect("frees unmatched", heap["unmatched_frees"], 0)
    expect("blocks freed", calls["free"], calls["malloc"] + calls["calloc"] - heap["live_blocks"])


def gave_up(run):
    """Nothing was read for too long, and so it is told."""
    return any("stopped handing over" in note for note in run.report["notes"])


@case(alone=True)
def rings_that_are_full_make_the_program_wait():
    run = ring([prog("heap_churn"), 4, 20000], "--ring=4K", lossy=EMULATED)
    heap, own = run.report["heap"], run.result
    calls = heap["calls"]["malloc"] + heap["calls"]["realloc"]
    if EMULATED and gave_up(run):
        expect_between("allocations before that", calls, 1, own["calls"] - 1)
        return
    expect("events lost", run.report["events"]["lost"], 0)
    expect("allocations", calls, own["calls"])
    expect("live blocks", heap["live_blocks"], own["blocks"] + heap["calls"]["calloc"])


@case(alone=True)
def rings_that_are_full_lose_and_say_so():
    run = ring([prog("heap_churn"), 4, 50000], "--ring=4K", "--on-overrun=drop", lossy=True)
    events, heap = run.report["events"], run.report["heap"]
    lost = events["by_kind"]["heap"]["lost"]
    expect_at_least("lost", lost, 1000)
    # A realloc whose old block is not known is told with its call alone.
    expect("all calls", lost + sum(heap["by_function"].values()), events["by_kind"]["heap"]["seen"])
    expect_match("the loss in the report", run.err, r"allocator calls were lost")


@case
def what_lives_at_the_end_of_a_short_run_that_lost_is_in_doubt():
    run = ring([prog("heap_churn"), 4, 5000], "--ring=4K", "--on-overrun=drop", lossy=True)
    expect_at_least("lost", run.report["events"]["by_kind"]["heap"]["lost"], 100)
    expect_at_least("blocks that may have been freed", run.report["heap"]["uncertain_blocks"], 1)


def busy(*opts, command=()):
    """memtrace with a launched program that has begun to allocate for as long as it is not told to end."""
    proc = Proc([MEMTRACE, *command, HEAP, *opts, "--", prog("heap_busy"), "-w", 2])
    proc.out.wait("the program to be ready", lambda lines: any(l.startswith("ready ") for l in lines))
    pid = int(next(l for l in proc.out.lines if l.startswith("ready ")).split()[1])
    return proc, pid


def expect_it_goes_on(proc, pid):
    """It works on, at full speed, and ends well when told."""
    def ticks():
        with open("/proc/%d/stat" % pid) as f:
            return sum(int(n) for n in f.read().rpartition(")")[2].split()[11:13])
    before = ticks()
    wait_until("the program to go on", lambda: ticks() > before + 5)
    proc.say()
    expect("broken bytes", proc.wait_objects(1)[0]["broken"], 0)
    proc.say()


@case
def the_program_survives_memtrace():
    proc, pid = busy()
    proc.signal(signal.SIGKILL)
    proc.popen.wait()
    expect_it_goes_on(proc, pid)
    wait_until("its end", lambda: not os.path.exists("/proc/%d" % pid) or
               open("/proc/%d/stat" % pid).read().rpartition(")")[2].split()[0] == "Z")


@case(alone=True)
def the_program_does_not_wait_for_a_stopped_memtrace():
    proc, pid = busy("--ring=64K")
    proc.signal(signal.SIGSTOP)
    expect_it_goes_on(proc, pid)
    proc.signal(signal.SIGCONT)
    expect("status", proc.finish(), 0)
    expect_match("the gap is told", proc.err.text(), r"stopped handing over")
    expect_match("what lives is in doubt", proc.err.text(), r"may have been freed: records were lost")


@case
def what_cannot_be_preloaded_is_probed():
    run = launch([prog("heap_family_static")], opts=(HEAP,), status=0)
    expect_match("the reason", run.err, r"static program: its allocator's calls are traced by uprobes")
    expect("plane", run.root()["heap_plane"], "uprobe")
    expect("posix_memalign", run.report["heap"]["by_function"]["posix_memalign"],
           run.result["posix_memalign"])


@case
def what_the_user_preloads_is_kept():
    run = memtrace(HEAP, "--no-follow", "--", "sh", "-c", "echo $LD_PRELOAD",
                   env={"LD_PRELOAD": library("libjemalloc.so.2")})
    expect_match("the variable", run.out, r"libmemtrace-agent\.so:.*libjemalloc")


@case
def children_are_followed_or_not():
    command = ["sh", "-c", "%s; %s" % (prog("heap_family"), prog("heap_family"))]
    run = ring(command)
    planes = [p["heap_plane"] for p in run.report["processes"] if p["comm"] == "heap_family"]
    expect("planes of the children", planes, ["ring", "ring"])
    own = run.results
    expect("posix_memalign of both", run.report["heap"]["by_function"]["posix_memalign"],
           own[0]["posix_memalign"] + own[1]["posix_memalign"])
    run = ring(command, "--no-follow")
    expect("posix_memalign of none", run.report["heap"]["by_function"].get("posix_memalign", 0), 0)


@case
def a_malloc_has_its_system_calls_and_faults():
    expect_cost(ring([prog("heap_cost"), 40]))


@case
def blocks_by_place():
    expect_churn(ring([prog("heap_churn"), 4, 20000]))


def compiled(name, *argv):
    """A program or library made for a case."""
    path = tmp(name)
    subprocess.run([os.environ.get("CC", "gcc"), "-std=gnu17", "-D_GNU_SOURCE", "-O1", "-g",
                    "-fno-omit-frame-pointer", "-fno-builtin", "-pthread", "-I" + ROOT, "-o", path,
                    *argv], check=True)
    return path


def compiled_join():
    """The allocator of heap_join, which marks what it does, as a library behind the agent."""
    main = tmp("main.c")
    with open(main, "w") as f:
        f.write("int join_main(int, char **);\nint main(int n, char **v) { return join_main(n, v); }\n")
    library = compiled("libjoin.so", "-fPIC", "-shared", "-Dmain=join_main",
                       os.path.join(SOURCES, "heap_join.c"))
    return compiled("join", main, library)


def expect_joined(threads):
    run = ring([compiled_join(), threads])
    expect_marks(run.report["heap"], run.result)


@case
def each_event_in_its_call():
    expect_joined(1)


@case
def each_event_in_its_call_with_threads():
    expect_joined(4)


def expect_life(*what, wrap=(), processes=1):
    run = ring([*wrap, prog("ring_life"), *what])
    heap, own = run.report["heap"], run.result
    expect("calls", heap["by_function"]["posix_memalign"], own["made"])
    expect("frees unseen", heap["unseen_frees"], 0)
    expect("processes", len(run.report["processes"]), processes)
    return run


def made_blocks(run, key):
    return sum(s[key] for s in run.report["sites"] if s["kind"] == "heap" and
               "make_block" in [f["symbol"] for f in s["stack"]])


@case
def threads_come_and_go_on_small_stacks():
    run = expect_life("threads", 2000)
    expect("live blocks by place", made_blocks(run, "live_blocks"), run.result["kept"])


@case
def a_thousand_threads_at_the_same_time():
    run = expect_life("crowd", 1000)
    expect("live blocks by place", made_blocks(run, "live_blocks"), run.result["kept"])


@case
def children_have_rings_of_their_own():
    run = expect_life("fork", processes=11)
    expect("calls by place", made_blocks(run, "calls"), run.result["made"])


@case
def descriptors_are_of_no_use_to_it():
    expect_life("close")


@case
def a_filter_of_system_calls_does_not_matter():
    expect_life("filter")


@case
def who_waits_makes_no_call_that_a_filter_forbids():
    """It sleeps while its ring is full: that is a call the program has not allowed itself."""
    run = ring([prog("ring_life"), "filter-full", 1000], "--ring=4K", lossy=True)
    calls = run.report["heap"]["by_function"]["posix_memalign"]
    # Who spins keeps a busy machine's collector away, maybe for longer than is waited: it is told then.
    if gave_up(run):
        expect_between("calls before that", calls, 1, run.result["made"])
    else:
        expect("calls", calls, run.result["made"])


@case
def a_child_under_a_filter_is_left_alone():
    """It could not say hello and live; what it did is not known, and that is told."""
    run = expect_life("filter-fork", processes=2)
    expect("heard", [[a["heard"] for a in p["allocators"]] for p in run.report["processes"]],
           [[True], [False]])
    expect("live blocks by place", made_blocks(run, "live_blocks"), run.result["kept"])


@case
def a_stack_deeper_than_before_takes_no_call_that_a_filter_forbids():
    run = expect_life("filter-deep")
    expect("live blocks", sum(s["live_blocks"] for s in run.report["sites"] if s["kind"] == "heap" and
                              s["stack"] and s["stack"][0]["symbol"] == "posix_memalign"),
           run.result["kept"])


@case
def who_only_asks_for_filters_is_traced_on():
    expect_life("filter-asked", processes=2)


@case
def a_child_that_may_not_read_the_clock_is_left_alone():
    run = expect_life("clock-fork", processes=2)
    expect("live blocks by place", made_blocks(run, "live_blocks"), run.result["kept"])


@case
def a_child_without_descriptors_is_not_taken_for_idle():
    source = tmp("narrow.c")
    with open(source, "w") as f:
        f.write("""#include <stdlib.h>
            #include <sys/resource.h>
            #include <sys/wait.h>
            #include <unistd.h>
            int main(void) {
                void *volatile p;
                setrlimit(RLIMIT_NOFILE, &(struct rlimit){3, 3});
                if (!fork()) {
                    for (int i = 0; i < 100; i++)
                        p = malloc(10);
                    _exit(0);
                }
                return p && wait(NULL) < 0;
            }""")
    run = ring([compiled("narrow", source)])
    expect("heard", [[a["heard"] for a in p["allocators"]] for p in run.report["processes"]],
           [[True], [False]])
    expect_match("the text", run.err, "1 process was not heard of after its fork")


@case
def strict_seccomp_takes_the_clock_away():
    """Calls are stamped by the processor's counter: to read it would end the program."""
    run = ring([prog("ring_life"), "strict"])
    expect("calls before", run.report["heap"]["by_function"]["posix_memalign"], 100)
    expect_match("the notes", "\n".join(run.report["notes"]), r"strict seccomp")


@case
def little_address_space_is_enough():
    run = expect_life("plain", wrap=("sh", "-c", "ulimit -v 200000; exec \"$0\" \"$@\""))
    expect("calls by place", made_blocks(run, "calls"), run.result["made"])


@case(needs=("bpf", "user-namespaces"))
def in_other_namespaces():
    run = expect_life("plain", wrap=("unshare", "--fork", "--pid", "--mount"), processes=2)
    expect("planes", {p["heap_plane"] for p in run.report["processes"]}, {"ring"})
    expect("calls by place", made_blocks(run, "calls"), run.result["made"])


@case
def an_exception_ends_the_call():
    """bad_alloc out of jemalloc's operator new, then calls further in: all are told."""
    source = tmp("throw.cpp")
    with open(source, "w") as f:
        f.write("""#include <cstdio>
            #include <new>
            #include <cstdlib>
            __attribute__((noinline)) static void deeper(int n) {
                volatile char room[64]; room[0] = 0;
                if (n) deeper(n - 1); else { void *p = aligned_alloc(64, 64);
                    __asm__ volatile("" : "+r"(p)); free(p); } }
            int main() { int thrown = 0;
                for (int i = 0; i < 50; i++) {
                    try { void *p = ::operator new[](std::size_t(1) << 62);
                          __asm__ volatile("" : : "r"(p)); ::operator delete[](p); }
                    catch (const std::bad_alloc &) { thrown++; }
                    deeper(3); }
                std::printf("{\\"thrown\\": %d}\\n", thrown); }""")
    path = tmp("throw")
    subprocess.run([os.environ.get("CXX", "g++"), "-O1", "-g", "-o", path, source], check=True)
    run = ring([path], env={"LD_PRELOAD": library("libjemalloc.so.2")})
    called = run.report["heap"]["by_function"]
    expect("thrown", run.result["thrown"], 50)
    expect("new[]", called["new_array"], 50)
    expect("failed", run.report["heap"]["failed"], 50)
    expect("calls further in", called["aligned_alloc"], 50)
