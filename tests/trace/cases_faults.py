# SPDX-License-Identifier: MIT
"""Page faults: minor and major equal the change in ru_minflt and ru_majflt, and
each falls in the right region with the right access.

The programs measure the change themselves, while memtrace is attached: nothing
else of theirs happens then, so equality is exact."""

from harness import (PAGE, attach, case, expect, expect_at_least, expect_between, expect_true,
                     launch, prog, tmp)


def expect_rusage(run, result=None, without_fault=0):
    """The process's faults against its own getrusage."""
    result = result or run.result
    process = run.process(run.pid)
    f = process["kernel"]["faults"]
    expect("faults.minor (ru_minflt less %d populated)" % without_fault, f["minor"],
           result["minflt"] - without_fault)
    expect("faults.major (ru_majflt)", f["major"], result["majflt"])
    expect("kernel_minflt", process["kernel_minflt"], result["minflt"])
    expect("kernel_majflt", process["kernel_majflt"], result["majflt"])
    return process


@case
def anonymous_first_touch():
    run = attach("fault_anon", 300, 500)
    process = expect_rusage(run)
    f = process["kernel"]["faults"]
    expect("faults in anonymous mappings", process["regions"]["mmap"]["faults"]["minor"],
           300 * 2 + 500)
    expect_at_least("writes", f["write"], 300 + 500)
    expect_at_least("reads", f["read"], 300)
    # a write to a page that was first read replaces the zero page
    expect("copies of the zero page", f["cow_other"], 300)
    expect("copies after fork", f["cow_after_fork"], 0)
    expect("faults of unknown access", f["access_unknown"], 0)


@case
def resident_pages_of_a_live_target():
    run = attach("fault_anon", 0, 2000)
    mmap = run.process(run.pid)["regions"]["mmap"]
    expect_between("resident bytes of mmap", mmap["resident_bytes"], 2000 * PAGE, 2100 * PAGE)
    expect_at_least("bytes of mmap", mmap["bytes"], mmap["resident_bytes"])
    rss = run.report["rss"]
    parts = [v for v in rss["parts"].values() if v is not None]
    expect_between("sum of the RSS's parts", sum(parts), int(rss["kernel_bytes"] * 0.99),
                   int(rss["kernel_bytes"] * 1.01))


@case
def heap_and_stack_regions():
    run = attach("fault_heap", 200)
    process = expect_rusage(run)
    expect("faults in the heap", process["regions"]["heap"]["faults"]["minor"], 200)
    expect("break growth", process["kernel"]["brk"]["grown_bytes"], 200 * PAGE)
    expect_at_least("heap resident", process["regions"]["heap"]["resident_bytes"], 200 * PAGE)
    run = attach("fault_stack", 100)
    process = expect_rusage(run)
    expect_between("faults in the stack", process["regions"]["stack"]["faults"]["minor"], 90,
                   run.result["minflt"])


@case
def read_into_untouched_memory():
    """read(2) faults on the process's behalf, on the kernel's side."""
    run = attach("fault_read", tmp("data"), 256)
    process = expect_rusage(run)
    f = process["kernel"]["faults"]
    expect("faults in the buffer", process["regions"]["mmap"]["faults"]["minor"], 256)
    expect_at_least("faults on the kernel's side", f["kernel"], 256)


@case(needs=("bpf", "major-faults"))
def file_read_cold():
    run = attach("fault_file", tmp("data"), 64, "cold")
    process = expect_rusage(run)
    expect("major faults", run.result["majflt"], 64)
    expect("major faults in the file", process["regions"]["file"]["faults"]["major"], 64)
    expect_at_least("time in faults (ns)", process["kernel"]["faults"]["time_ns"], 64 * 1000)


@case
def file_read_warm():
    run = attach("fault_file", tmp("data"), 64, "warm")
    process = expect_rusage(run)
    expect("major faults", process["kernel"]["faults"]["major"], 0)
    expect("faults in the file", process["regions"]["file"]["faults"]["minor"],
           run.result["minflt"])


@case
def copy_on_write_after_fork():
    run = attach("fault_cow", 100, 70, 30)
    parent = expect_rusage(run)
    expect_at_least("the parent's copies", parent["kernel"]["faults"]["cow_after_fork"], 100)
    child = run.process(run.result["child"])
    f = child["kernel"]["faults"]
    expect("the child's minor (wait4)", f["minor"], run.result["child_minflt"])
    expect("the child's major (wait4)", f["major"], run.result["child_majflt"])
    expect("the child's kernel_minflt", child["kernel_minflt"], run.result["child_minflt"])
    expect_at_least("the child's copies", f["cow_after_fork"], 100)
    expect("the child's parent", child["ppid"], run.pid)
    # both sides touched the shared pages and only those, but for libc's own few
    expect_between("the child's faults in anonymous memory",
                   child["regions"]["mmap"]["faults"]["minor"],
                   100, 110)
    total = run.report["kernel"]["faults"]
    expect("copies in all", total["cow_after_fork"],
           f["cow_after_fork"] + parent["kernel"]["faults"]["cow_after_fork"])


@case
def populated_pages_are_not_faults():
    """MAP_POPULATE, MADV_POPULATE_WRITE and mlock bring pages with no exception."""
    run = attach("fault_populate", 64, 48, 8)
    expect("ru_minflt", run.result["minflt"], 64 + 48 + 8)
    process = expect_rusage(run, without_fault=64 + 48 + 8)
    kernel = process["kernel"]
    expect("faults by exception", kernel["faults"]["minor"], 0)
    expect("populated by mmap", kernel["mmap"]["populated"], 64)
    expect("populated by madvise", kernel["madvise"]["populated"], 48)
    expect_at_least("resident in mmap", process["regions"]["mmap"]["resident_bytes"],
                    (64 + 48 + 8) * PAGE)


@case(needs=("bpf", "huge-pages"))
def huge_pages():
    run = attach("fault_huge", 16)
    process = expect_rusage(run)
    expect_at_least("resident in mmap", process["regions"]["mmap"]["resident_bytes"], 16 << 20)
    expect_between("faults for 16 MiB", run.result["minflt"], 8, 512)


@case
def refused_access_is_not_a_fault():
    """A SIGSEGV handler repairs 50 pages: 50 faults are served, 50 accesses were not."""
    run = attach("fault_segv", 50)
    process = expect_rusage(run)
    expect("refused accesses", run.result["refused"], 50)
    expect("faults in anonymous mappings", process["regions"]["mmap"]["faults"]["minor"], 50)
    expect("mprotect calls", process["kernel"]["mprotect"]["calls"], 50)


@case
def threads_together():
    run = attach("fault_threads", 4, 1000, results=5)
    process = expect_rusage(run)
    expect_at_least("faults in anonymous mappings", process["regions"]["mmap"]["faults"]["minor"],
                    4000)


@case
def threads_many():
    run = attach("fault_threads", 32, 100, results=33)
    expect_rusage(run)


@case
def whole_life_of_a_program():
    """From fork to exit, as wait4 counts it; the pages that exec itself brings have no fault."""
    run = launch([prog("rusage"), prog("fault_anon")], status=0)
    waited = [r for r in run.results if "rusage" in r][0]
    process = run.process(waited["rusage"])
    expect("kernel_minflt", process["kernel_minflt"], waited["minflt"])
    expect("kernel_majflt", process["kernel_majflt"], waited["majflt"])
    f = process["kernel"]["faults"]
    expect("major", f["major"], waited["majflt"])
    # exec copies the arguments and sets up the stack from inside the kernel, without an exception
    expect_between("minor (ru_minflt %d)" % waited["minflt"], f["minor"], waited["minflt"] - 8,
                   waited["minflt"])


@case
def program_that_executes_another():
    """Faults of both images count; regions are the second one's."""
    plain = launch([prog("fault_heap"), 200], status=0)
    run = launch([prog("task_exec"), 5, prog("fault_heap"), 200], status=0)
    root = run.root()
    expect("exec'd once more", root["execs"] - plain.root()["execs"], 1)
    expect("name", root["comm"], "fault_heap")
    expect("file", root["exe"], prog("fault_heap"))
    expect("faults in the heap", root["regions"]["heap"]["faults"]["minor"],
           plain.root()["regions"]["heap"]["faults"]["minor"])
    expect_at_least("faults of both", root["kernel"]["faults"]["minor"],
                    plain.root()["kernel"]["faults"]["minor"] + 20)
    expect("break growth", root["kernel"]["brk"]["grown_bytes"],
           plain.root()["kernel"]["brk"]["grown_bytes"])


@case
def histogram_is_sane():
    run = attach("fault_anon", 0, 3000)
    f = run.report["kernel"]["faults"]
    expect("faults with a known service time", f["time_known"], f["minor"] + f["major"])
    low = sum(b["from_ns"] * b["count"] for b in f["histogram_ns"])
    expect_at_least("time_ns (least by the histogram: %d)" % low, f["time_ns"], low)
    known = [b for b in f["histogram_ns"] if b["to_ns"] is not None]
    expect_true("buckets ascend", all(b["from_ns"] < b["to_ns"] for b in known), known)
    # no fault takes less than 100 ns; most take less than 100 us
    fast = sum(b["count"] for b in f["histogram_ns"] if b["to_ns"] is not None
               and b["to_ns"] <= 131072)
    expect_at_least("faults under 131 us", fast, 2700)
