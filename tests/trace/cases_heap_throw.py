# SPDX-License-Identifier: MIT
"""C++ exceptions out of an allocator's own operator new, and whatever else leaves a call or
looks back through it: the program gets its exception, and every call is told as it was."""

import glob
import os
import subprocess

from harness import (ROOT, Skip, attach, case, expect, expect_true, launch, prog, tmp)

HEAP = ("--heap=uprobe",)
MTALLOC = os.path.join(ROOT, os.environ.get("O", "build"), "libmtalloc.so")


def library(pattern):
    found = glob.glob("/usr/lib/x86_64-linux-gnu/" + pattern)
    if not found:
        raise Skip("no " + pattern)
    return found[0]


def expect_thrown(run, warm=1, early=0):
    """All exceptions came through, and the report knows the calls. warm: how many rounds it saw for
    one that the program counts; a launched one has its first round told, too."""
    heap, own = run.report["heap"], run.result
    expect("caught by the program", own["caught"], own["failed"])
    calls = heap["calls"]
    expect("calls of new", calls["new"], (own["made"] + own["failed"]) * warm + early)
    expect("failed", heap["failed"], own["failed"] * warm)
    expect("left without an end", heap["abandoned"], 0)
    expect("frees without a block", heap["unmatched_frees"], 0)


def expect_caught(run):
    expect_thrown(run)
    heap, own = run.report["heap"], run.result
    # Exceptions are made and freed by malloc and free, or an operator's own.
    expect("live blocks", heap["live_blocks"], own["made"] - own["freed"])


@case(needs=("bpf", "c++"))
def bad_alloc_out_of_jemalloc():
    expect_caught(attach("heap_throw", 200, opts=HEAP, env={"LD_PRELOAD": library("libjemalloc.so.2")}))


@case(needs=("bpf", "c++"))
def bad_alloc_out_of_tcmalloc():
    expect_caught(attach("heap_throw", 200, opts=HEAP,
                         env={"LD_PRELOAD": library("libtcmalloc_minimal.so.4"),
                              "TCMALLOC_LARGE_ALLOC_REPORT_THRESHOLD": str(1 << 62)}))


@case(needs=("bpf", "c++"))
def an_error_handlers_exception_out_of_mimalloc():
    expect_caught(attach("heap_throw", 200, 1, opts=HEAP,
                         env={"LD_PRELOAD": library("libmimalloc.so.2*")}))


@case(needs=("bpf", "c++"))
def bad_alloc_out_of_mtalloc():
    expect_caught(attach("heap_throw", 200, opts=HEAP, env={"LD_PRELOAD": MTALLOC}))


@case(needs=("bpf", "c++"))
def bad_alloc_with_glibc():
    """libstdc++'s operator throws when malloc has returned: the malloc is seen to fail."""
    run = launch([prog("heap_throw"), 50], opts=HEAP, status=0)
    expect("caught by the program", run.result["caught"], run.result["failed"])


THROWING_POOL = r"""
#include <new>
#include <cstdio>
static char pool[1 << 16];
static unsigned long used;
extern "C" __attribute__((noinline)) void *grab(unsigned long n)
{
	if (n > sizeof(pool) - used)
		throw std::bad_alloc();
	void *p = pool + used;
	used += n;
	__asm__ volatile("" : "+r"(p) : : "memory");
	return p;
}
extern "C" __attribute__((noinline)) void give_back(void *p)
{
	__asm__ volatile("" : : "r"(p) : "memory");
}
int main()
{
	int caught = 0;
	for (int i = 0; i < 50; i++) {
		try {
			void *p = grab(i % 5 ? 10 : 1 << 20);
			if (i % 2)
				give_back(p);
		} catch (const std::bad_alloc &) {
			caught++;
		}
	}
	std::printf("{\"caught\": %d}\n", caught);
	return 0;
}
"""


@case(needs=("bpf", "c++"))
def a_symbol_of_the_users_own_that_throws():
    source, path = tmp("pool.cpp"), tmp("pool")
    with open(source, "w") as f:
        f.write(THROWING_POOL)
    subprocess.run([os.environ.get("CXX", "g++"), "-O2", "-g", "-o", path, source], check=True)
    run = launch([path], status=0, opts=("--allocator-symbol=malloc=grab",
                                         "--allocator-symbol=free=give_back"))
    expect("caught", run.result["caught"], 10)
    made = [s for s in run.report["sites"] if s["kind"] == "heap" and
            "main" in [f["symbol"] for f in s["stack"]] and s["bytes"] % 10 == 0]
    expect_true("blocks of the pool", made, run.report["sites"])
