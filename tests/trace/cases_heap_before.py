# SPDX-License-Identifier: MIT
"""What lived in a program on mtalloc before the attach, by what the allocator says of itself, in every way in
which it can be attached to: exact of a program that waits."""

import os
import signal
import subprocess

from cases_attach_mtalloc import LIBRARY
from cases_heap_live import expect_before
from harness import (ROOT, SOURCES, Target, Tracer, attach, case, expect, expect_between, load_report,
                     process_of, tmp)

BUILD = os.path.dirname(LIBRARY)
UPROBE = ("--heap=uprobe",)
MTALLOC = {"LD_PRELOAD": LIBRARY}


def options(text):
    return dict(MTALLOC, MTALLOC_OPTIONS=text)


@case
def by_rings():
    run = expect_before(0, 3000, opts=(), env=MTALLOC)
    expect("plane", run.process(run.pid)["heap_plane"], "ring")


@case
def by_probes():
    run = expect_before(0, 3000, opts=UPROBE, env=MTALLOC)
    expect("plane", run.process(run.pid)["heap_plane"], "uprobe")


@case
def with_threads():
    expect_before(3, 20000, opts=(), env=MTALLOC)


@case
def freed_by_others_and_by_threads_that_are_gone():
    """Blocks on their way back to their owner are not live, wherever they wait."""
    expect_before(4, 5000, 3, opts=(), env=MTALLOC)
    expect_before(4, 5000, 3, opts=UPROBE, env=MTALLOC)


@case
def large_blocks_without_mappings():
    """In spans of their own, in the break and, with no break to be had, in regions."""
    expect_before(2, 3000, 3, opts=(), env=options("mmap_max=0"))
    expect_before(2, 3000, 3, opts=(), env=options("mmap_threshold=1M"))


def built(name, source, *flags):
    path = tmp(name)
    subprocess.run([os.environ.get("CC", "gcc"), "-std=gnu17", "-D_GNU_SOURCE", "-O1", "-g", "-pthread",
                    "-fno-builtin", "-o", path, source, *flags], check=True)
    return path


@case
def linked_into_a_static_program():
    """Nothing but its data tells of it."""
    path = built("static", os.path.join(SOURCES, "heap_before.c"), "-static",
                 os.path.join(BUILD, "libmtalloc.a"))
    idle = attach(path, 1, 1)
    run = attach(path, 1, 2000)
    for key in ("blocks", "bytes"):
        found = [r.report["heap"]["live_before_attach"][key] for r in (idle, run)]
        expect(key, found[1] - found[0], run.result[key] - idle.result[key])


BESIDE = r"""
#include "mtalloc.h"
#include "prog.h"
int main(int argc, char **argv)
{
	unsigned long n;
	prog__start(&argc, &argv);
	n = prog__number(argc, argv, 1, 0);
	for (unsigned long i = 0; i < n; i++)
		if (!malloc(100 + i) || !mt_malloc(300 + i))
			prog__die("malloc");
	prog__ready();
	prog__print("{\"blocks\": %lu}\n", 2 * n);
	prog__end();
	return 0;
}
"""


@case
def beside_glibc_under_names_with_a_prefix():
    """Both have live blocks, and move one break: glibc's walk does not come out, and half of it is no answer."""
    with open(tmp("beside.c"), "w") as f:
        f.write(BESIDE)
    path = built("beside", tmp("beside.c"), "-I", SOURCES, "-I", os.path.join(ROOT, "lib", "mtalloc"),
                 os.path.join(BUILD, "libmtalloc-prefixed.a"))
    run = attach(path, 500, opts=UPROBE)
    expect("live before", run.report["heap"]["live_before_attach"], None)


@case
def with_a_quarantine_it_is_not_told():
    target = Target("heap_before", 0, 100, env=options("check=1"))
    report = Tracer("-p", target.pid).report()
    expect("live before", report["heap"]["live_before_attach"], None)
    target.finish()


@case
def of_a_busy_program():
    """What it has at most and at least, whatever moment it was."""
    target = Target("heap_busy", 4, env=MTALLOC)
    tracer = Tracer("-p", target.pid, "--buffer=256M")
    expect("status", tracer.finish(signal.SIGINT), 0)
    report = load_report(tracer.json_path, lossy=True)
    found = process_of(report, target.pid)["heap"]["live_before_attach"]
    expect_between("blocks", found["blocks"], 4, 4 * 256 + 64)
    target.say()
    target.finish()
