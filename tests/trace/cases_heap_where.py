# SPDX-License-Identifier: MIT
"""The heap plane where a program is not as others are: in a container, of 32 bits, a child."""

from cases_heap_calls import expect_family
from cases_machine import inner, own_root
from cases_ring_left import probed_child
from harness import Target, Tracer, case, expect, expect_match, memtrace, observe, prog

HEAP = "--heap=uprobe"


@case(needs=("bpf", "mount"))
def the_family_in_a_container():
    """Pids, mounts and files of its own: libc is the one that the target sees."""
    target = Target("/inside", wrap=own_root("heap_family", "--pid", "--fork"))
    expect("its own idea of its pid", target.own_pid, 1)
    pid = inner(target, "inside")
    run = observe(target, "-p", pid, HEAP)
    run.pid = pid
    expect_family(run, "glibc")
    target.finish()


@case(needs=("bpf", "m32"))
def what_is_said_of_32_bits():
    run = memtrace(HEAP, "--", prog("calls_six_m32"))
    expect("status", run.status, 0)
    # The first if it was still there to be looked at, the other by what was read before it ran.
    expect_match("launched", run.err,
                 r"no allocator found: (no x86-64 program or library|\S*calls_six_m32 is not an x86-64)")
    target = Target("calls_six_m32")
    tracer = Tracer("-p", target.pid, HEAP)
    target.say()
    target.wait_objects(1)
    report = tracer.report()
    expect_match("attached to", " ".join(tracer.out.text().split()),
                 r"no allocator found: \S*calls_six_m32 is not an x86-64 program")
    expect("plane", report["processes"][0]["heap_plane"], "none")
    target.finish()


@case
def a_childs_first_calls_are_said_to_be_unseen():
    _, own, report, child = probed_child(HEAP, prog("heap_family"))
    shell = [p for p in report["processes"] if p["root"]][0]
    expect("the command's calls from its start", [a["from_start"] for a in shell["allocators"]], [True])
    expect("its child's", [a["from_start"] for a in child["allocators"]], [False])
    expect("posix_memalign", child["heap"]["by_function"]["posix_memalign"], own["posix_memalign"])
