# SPDX-License-Identifier: MIT
"""Places: calls and faults are attributed to the right functions and lines, also
when the file or the process is gone by the time of the report."""

import os
import shutil

from harness import (PAGE, Failure, Target, Tracer, attach, case, expect, expect_at_least,
                     expect_match, expect_true, launch, load_report, observe, prog, source_line,
                     tmp)


def names(site):
    return [f["symbol"] for f in site["stack"]]


def site_of(report, *functions):
    """The sites whose stacks have these functions in this order, innermost first."""
    found = []
    for site in report["sites"]:
        rest = iter(n or "" for n in names(site))
        if all(any(name == want or want in name.replace("::", " :: ").split(" :: ")[-1:] or
                   name.startswith(want + "(") for name in rest) for want in functions):
            found.append(site)
    if not found:
        raise Failure("a site with %s: expected one got %s" % (
            list(functions), [names(s) for s in report["sites"]][:12]))
    return found


def frame_of(site, function):
    for frame in site["stack"]:
        if frame["symbol"] == function:
            return frame
    raise Failure("frame %s: expected in %s" % (function, names(site)))


def expect_line(site, function, marker, source="stack_c.c"):
    frame = frame_of(site, function)
    expect("%s: source file" % function, os.path.basename(frame["file"] or "?"), source)
    expect("%s: line (marked %s)" % (function, marker), frame["line"], source_line(source, marker))


def expect_stack_c(report, pages, module=None):
    """The places of stack_c, by function, file and line; the module's name."""
    deep = ["place_deep"] * 4 + ["main"]
    mapped = [s for s in site_of(report, "place_map", "place_middle", *deep)]
    expect("mmap calls there", sum(s["syscalls"]["mmap"] for s in mapped), 1)
    expect("bytes mapped there", sum(s["bytes"] for s in mapped), pages * PAGE)
    expect_line(mapped[0], "place_map", "map")
    expect_line(mapped[0], "place_middle", "middle")
    touched = site_of(report, "place_touch", "place_middle", *deep)
    expect("faults there", sum(s["faults"]["minor"] for s in touched), pages)
    expect_true("the innermost frame is the one that touches",
                all(names(s)[0] == "place_touch" for s in touched), [names(s) for s in touched])
    expect_line(touched[0], "place_touch", "touch")
    grown = [s for s in site_of(report, "place_grow", "main") if s["bytes"]]
    expect("bytes of each place that grew the break", [s["bytes"] for s in grown], [37 * PAGE])
    expect_line(grown[0], "place_grow", "grow")
    if module:
        expect("module", frame_of(mapped[0], "place_map")["module"], module)
    expect_match("build id", frame_of(mapped[0], "place_map")["build_id"] or "",
                 r"^[0-9a-f]{16,40}$")
    return frame_of(mapped[0], "place_map")["module"]


@case
def c_functions_files_and_lines():
    run = attach("stack_c", 123, 3)
    expect_stack_c(run.report, 123, prog("stack_c"))


@case
def a_process_that_ended():
    run = launch([prog("stack_c"), 123, 3], status=0)
    expect_stack_c(run.report, 123, prog("stack_c"))


def copy_of_stack_c(name):
    """A file of its own, and a target that runs it."""
    path = tmp(name)
    shutil.copy(prog("stack_c"), path)
    return path, Target(path, 123, 3)


@case
def a_program_file_deleted_while_it_runs():
    path, target = copy_of_stack_c("gone")
    tracer = Tracer("-p", target.pid)
    os.unlink(path)
    target.say()
    target.wait_objects()
    expect_stack_c(tracer.report(), 123)


@case
def a_program_file_deleted_before_the_attach():
    path, target = copy_of_stack_c("gone")
    os.unlink(path)
    run = observe(target, "-p", target.pid)
    expect_stack_c(run.report, 123)


@case
def a_program_file_replaced_while_it_runs():
    """The names are those of the file that runs, not of the one that took its name."""
    path, target = copy_of_stack_c("replaced")
    os.unlink(path)
    shutil.copy(prog("calls_six"), path)
    run = observe(target, "-p", target.pid)
    expect_stack_c(run.report, 123)


@case
def a_process_and_its_file_are_gone():
    path, target = copy_of_stack_c("gone")
    tracer = Tracer("-p", target.pid)
    os.unlink(path)
    target.say()
    target.wait_objects()
    expect("the target's status", target.finish(), 0)
    expect("memtrace's status, the target gone", tracer.finish(), 0)
    expect_stack_c(load_report(tracer.json_path), 123)


@case(needs=("bpf", "c++"))
def cpp_names_are_demangled():
    run = launch([prog("stack_cpp")], status=0)
    seen = {name for site in run.report["sites"] for name in names(site) if name}
    taken = [s for s in run.report["sites"]
             if any("shop::Shelf<char>::take" in (n or "") for n in names(s))]
    expect_true("a place in shop::Shelf<char>::take", taken, sorted(seen))
    expect("bytes mapped there", sum(s["bytes"] for s in taken), 91 * PAGE)
    filled = [s for s in run.report["sites"] if (names(s)[0] or "").startswith("shop::fill")]
    expect("faults in shop::fill", sum(s["faults"]["minor"] for s in filled), 91)
    expect("its line", filled[0]["stack"][0]["line"], source_line("stack_cpp.cpp", "fill"))
    expect_true("no mangled name is left", not any(n.startswith("_ZN") for n in seen),
                [n for n in seen if n.startswith("_Z")])


@case(needs=("bpf", "rust"))
def rust_names_are_demangled():
    run = launch([prog("stack_rust")], status=0)
    seen = {name for site in run.report["sites"] for name in names(site) if name}
    taken = [s for s in run.report["sites"]
             if any((n or "").endswith("warehouse::take") for n in names(s))]
    expect_true("a place in warehouse::take", taken, sorted(seen))
    expect("bytes mapped there", sum(s["bytes"] for s in taken), 77 * PAGE)
    filled = [s for s in run.report["sites"]
              if any("warehouse::fill" in (n or "") for n in names(s))]
    expect("faults in warehouse::fill", sum(s["faults"]["minor"] for s in filled), 77)
    expect_true("no mangled name is left",
                not any(n.startswith(("_ZN", "_R")) for n in seen if "stack_rust" in n
                        or "warehouse" in n),
                sorted(seen))


@case
def sites_sum_to_the_totals():
    """Every event has a place, so the places' sums are the totals."""
    run = attach("stack_c", 200, 2)
    report = run.report
    for name in ("brk", "mmap", "munmap", "mprotect", "madvise", "mremap"):
        expect("%s calls over the places" % name, sum(s["syscalls"][name] for s in report["sites"]),
               report["kernel"][name]["calls"])
    for kind in ("minor", "major"):
        expect("%s faults over the places" % kind, sum(s["faults"][kind] for s in report["sites"]),
               report["kernel"]["faults"][kind])
    expect("bytes unmapped over the places", sum(s["unmapped_bytes"] for s in report["sites"]),
           report["kernel"]["munmap"]["bytes"])


@case
def places_left_out_of_json_are_summed():
    """What --json-sites leaves out is in the report as a sum, so that nothing is missing from it."""
    run = launch([prog("heap_family")], opts=["--json-sites", "2"])
    report = run.report
    # Of five orders at most, two of each, and a place of each that advice is about.
    expect_true("few places are told", 2 <= len(report["sites"]) <= 10 + len(report["advice"]),
                len(report["sites"]))
    omitted = report["sites_omitted"]
    expect_at_least("places of the heap left out", omitted["heap"]["sites"], 2)
    expect_at_least("places of the kernel left out", omitted["kernel"]["sites"], 10)
    for key in ("live_blocks", "live_bytes"):
        expect("%s over the places" % key, omitted["heap"][key] +
               sum(s[key] for s in report["sites"] if s["kind"] == "heap"), report["heap"][key])
    told = [s for s in report["sites"] if s["kind"] == "kernel"]
    for kind in ("minor", "major"):
        expect("%s faults over the places" % kind, omitted["kernel"][kind] +
               sum(s["faults"][kind] for s in told), report["kernel"]["faults"][kind])
    expect("calls over the places", omitted["kernel"]["calls"] + sum(s["calls"] for s in told),
           sum(report["kernel"][n]["calls"] for n in ("brk", "mmap", "munmap", "mremap", "madvise",
                                                      "mprotect")))


@case
def deep_stacks_are_cut_and_say_so():
    run = attach("stack_c", 50, 200)
    touched = [s for s in run.report["sites"] if names(s) and names(s)[0] == "place_touch"]
    expect("faults at the innermost place", sum(s["faults"]["minor"] for s in touched), 50)
    expect_at_least("frames", max(len(s["stack"]) for s in touched), 40)
    expect_at_least("stacks cut", run.report["stacks"].get("truncated", 0), 1)


@case
def text_report_names_the_places():
    run = attach("stack_c", 123, 3)
    expect_match("the place that touches", run.out, r"place_touch")
    expect_match("its file and line", run.out, r"stack_c\.c:%d" % source_line("stack_c.c", "touch"))


@case
def program_with_gaps_between_its_segments():
    """execve maps it; its data and its places are known all the same."""
    run = launch([prog("exec_gap")], status=0)
    expect("faults in no known mapping", run.report["regions"]["unknown"]["faults"]["minor"], 0)
    for place, pages in (("place_bss", 64), ("place_data", 16)):
        # where the program is read from a device for the first time, some are major
        faults = sum(s["faults"]["minor"] + s["faults"]["major"]
                     for s in site_of(run.report, place))
        expect_at_least("faults of %s" % place, faults, pages - 1)
    data = run.report["regions"]["data"]["faults"]
    expect_at_least("faults in data", data["minor"] + data["major"], 78)
