# SPDX-License-Identifier: MIT
"""memtrace check: a program with a known pattern holds its contract, each misdeed of it breaks the
rules that name what it does and no others, and what is no evidence is no verdict."""

import json
import os
import signal
import xml.dom.minidom

from harness import (MEMTRACE, ROOT, Proc, Target, case, expect, expect_at_least, expect_between, expect_match, expect_true,
                     memtrace, prog, tmp)
from cases_heap_ring import busy, expect_it_goes_on

PATTERN = os.path.join(ROOT, "tests", "contracts", "pattern.contract")
NEVER = ["faults-are-minor", "no-calloc", "steady-outside"]
RULES = 21


def contract(text, name="c.contract"):
    with open(tmp(name), "w") as f:
        f.write(text)
    return tmp(name)


def check(*args, status):
    """memtrace check ARGS, to its end: the verdicts by rule, and all of the JSON."""
    path = tmp("check.json")
    run = memtrace("check", "--json=" + path, *args)
    expect("exit status of check %s: %s" % (args, run.err), run.status, status)
    with open(path) as f:
        result = json.load(f)
    expect("schema", result["schema"], "memtrace.check/1")
    return {rule["name"]: rule for rule in result["rules"]}, result, run


def pattern(misdeed, broken):
    status = 1 if broken else 0
    rules, result, _ = check("-c", PATTERN, "--", prog("check_pattern"), *misdeed, status=status)
    expect("rules", len(rules), RULES)
    expect("broken by %s" % misdeed, sorted(n for n, r in rules.items() if r["verdict"] == "broken"),
           sorted(broken))
    expect("result", result["result"], "broken" if broken else "held")
    expect("lost", result["events"]["lost"], 0)
    return rules, result


@case
def a_pattern_holds():
    rules, result = pattern([], [])
    expect("not exercised", sorted(n for n, r in rules.items() if r["verdict"] == "not exercised"), NEVER)
    expect("small blocks", rules["small-is-in-the-break"]["exercised"], 2000)
    expect("large blocks", rules["large-is-one-mmap"]["exercised"], 10)
    expect("steady calls", rules["steady-is-free"]["exercised"], 200)
    expect("calls", result["calls"], 2000 + 10 * 3 + 200)


@case
def an_mmap_too_many():
    rules, _ = pattern(["extra-mmap"], ["large-is-one-mmap", "few-mappings", "mappings-are-private"])
    rule = rules["large-is-one-mmap"]
    expect("broken", (rule["broken"], rule["exercised"]), (10, 10))
    expect("examples", len(rule["examples"]), 3)
    example = rule["examples"][0]
    expect("why", example["why"], ["exactly 1 mmap: mmap = 2"])
    expect("events", len(example["events"]), 3)
    expect_match("the call", example["events"][0], r"\] malloc\(1048576\) = 0x")
    expect_match("what it did", example["events"][2], r"\]   mmap\(NULL, 4096, PROT_READ\|PROT_WRITE, ")
    expect_match("its stack", example["stack"][1], r"use_large \(.*check_pattern\.c:\d+\)")
    expect("counted", rules["few-mappings"]["examples"][0]["why"], ["there were 20, at most 10 are right"])


@case
def a_page_touched_in_advance():
    rules, _ = pattern(["touch"], ["untouched", "large-is-one-mmap"])
    expect("why", rules["untouched"]["examples"][0]["why"], ["faults.in_block = 0: faults.in_block = 1"])
    expect("why", rules["large-is-one-mmap"]["examples"][0]["why"], ["nothing else: faults = 1"])


@case
def memory_that_is_not_given_back():
    rules, _ = pattern(["keep"], ["large-free", "bounded", "given-back"])
    expect_match("a free's example", rules["large-free"]["examples"][0]["events"][0], r"\] free\(0x")


@case
def a_break_that_grows_by_constant_steps():
    rules, _ = pattern(["constant-growth"], ["geometric"])
    expect_match("why", rules["geometric"]["examples"][0]["why"][0], r"brk = \d+, brk\.bytes = \d+ \(")


@case
def a_break_that_shrinks():
    pattern(["shrink"], ["break-never-shrinks", "geometric"])


@case
def a_first_growth_of_another_size():
    rules, _ = pattern(["first-growth"], ["first-growth"])
    expect("only the first", rules["first-growth"]["exercised"], 1)


@case
def a_call_too_many_in_a_resize():
    rules, _ = pattern(["resize"], ["large-resize"])
    expect("why", rules["large-resize"]["examples"][1]["why"], ["nothing else: madvise = 1"])


@case
def a_system_call_in_a_phase():
    rules, _ = pattern(["steady"], ["steady-is-free"])
    expect("broken", rules["steady-is-free"]["broken"], 100)


@case
def an_event_outside_of_calls():
    rules, _ = pattern(["outside"], ["steady-outside"])
    expect_match("the event", rules["steady-outside"]["examples"][0]["events"][0], r"\] mmap\(NULL, 4096, ")


@case
def strict_fails_on_what_was_not_exercised():
    _, result, run = check("-c", PATTERN, "--strict", "--", prog("check_pattern"), status=1)
    expect("result", result["result"], "broken")
    expect_match("said", run.err, r"^not exercised  no-calloc$")


@case
def parameters_from_the_command_line():
    rules, _, _ = check("-c", PATTERN, "-D", "steady_calls=199", "-D", "threshold=2M", "--",
                        prog("check_pattern"), status=1)
    expect("with another number", rules["steady-is-all"]["verdict"], "broken")
    expect("none is so large", rules["large-is-one-mmap"]["verdict"], "not exercised")


@case
def the_text_shows_the_call():
    run = memtrace("check", "-c", PATTERN, "--", prog("check_pattern"), "steady")
    expect("status", run.status, 1)
    expect_match("verdict", run.err, r"^BROKEN         steady-is-free, 100 of 200$")
    expect_match("rule", run.err, r"pattern-phases\.contract:\d+: each call in phase steady: nothing$")
    expect_match("why", run.err, r"^ +nothing: syscalls = 1$")
    expect_match("call", run.err, r"^ +\| +\d\.\d{6} \[.*\] malloc\(100\) = 0x")
    expect_match("event", run.err, r"^ +\| +\d\.\d{6} \[.*\]   madvise\(0x[0-9a-f]+, 0, MADV_NORMAL\) = ")
    expect_match("stack", run.err, r"^ +at use_steady \(.*check_pattern\.c:\d+\)$")
    expect_match("sum", run.err, r"^17 held, 1 broken, 3 not exercised; 2,230 allocator calls, ")


@case
def the_other_formats():
    tap, junit = tmp("out.tap"), tmp("out.xml")
    run = memtrace("check", "-q", "-c", PATTERN, "--tap=" + tap, "--junit=" + junit, "--",
                   prog("check_pattern"), "keep")
    expect("status", run.status, 1)
    expect("quiet", run.err, "")
    with open(tap) as f:
        lines = f.read().splitlines()
    expect("TAP", lines[:2], ["TAP version 13", "1..%d" % RULES])
    expect("TAP: failed", sum(line.startswith("not ok ") for line in lines), 3)
    expect("TAP: left out", sum(line.endswith("# SKIP not exercised") for line in lines), 3)
    suite = xml.dom.minidom.parse(junit).documentElement
    expect("JUnit", [suite.getAttribute(a) for a in ("tests", "failures", "skipped", "errors")],
           [str(RULES), "3", "3", "0"])
    expect("JUnit: cases", len(suite.getElementsByTagName("testcase")), RULES)
    run = memtrace("check", "--format", "tap", "-c", PATTERN, "--", prog("check_pattern"))
    expect_match("TAP in place of text", run.err, r"\ATAP version 13$")


@case
def a_wrong_contract():
    run = memtrace("check", "-c", contract("rule a:\n  each mallok: nothing\n"), "--", "touch", tmp("ran"))
    expect("status", run.status, 2)
    expect("said", run.err, "memtrace: %s:2:8: \"mallok\" is not a subject; did you mean \"malloc\"?\n"
           "  each mallok: nothing\n       ^\n" % tmp("c.contract"))
    expect_true("the command was not run", not os.path.exists(tmp("ran")))
    run = memtrace("check", "-c", tmp("none"), "--", "true")
    expect("status of no contract", run.status, 2)
    expect_match("said", run.err, r"none: No such file or directory")
    run = memtrace("check", "-c", PATTERN, "-D", "x=1", "--", "true")
    expect("status of no such parameter", run.status, 2)


@case
def a_command_that_cannot_run():
    run = memtrace("check", "-c", PATTERN, "--", tmp("nothing"))
    expect("status", run.status, 3)
    run = memtrace("check", "-c", PATTERN, "-p", 4194300)
    expect("status of no process", run.status, 3)


@case
def lost_events_are_no_evidence():
    _, result, run = check("--buffer", "4K", "-c", contract("rule a: never brk where shrunk > 0"), "--",
                           prog("heap_churn"), status=3)
    expect("result", result["result"], "no verdict")
    expect_at_least("lost", result["events"]["lost"], 1)
    expect_match("said", run.err, r"^NO VERDICT: \d+ events were lost; a larger --buffer avoids that$")


@case(alone=True)
def calls_that_are_not_handed_over_any_more_are_no_evidence():
    proc, pid = busy("--ring=64K", "-c", contract("rule a: each free: no mmap"), command=("check",))
    proc.signal(signal.SIGSTOP)
    expect_it_goes_on(proc, pid)
    proc.signal(signal.SIGCONT)
    expect("status", proc.finish(), 3)
    expect_match("said", proc.err.text(),
                 r"(?m)^NO VERDICT: 1 process stopped handing over its allocator's calls$")


@case
def a_running_process():
    target = Target("check_pattern")
    proc = Proc([MEMTRACE, "check", "--json=" + tmp("check.json"), "-c", PATTERN, "-p", target.pid])
    proc.wait_ready()
    target.say()
    target.wait_objects()
    expect("status", proc.finish(signal.SIGINT), 0)
    expect("the target's own status", target.finish(), 0)
    with open(tmp("check.json")) as f:
        rules = {r["name"]: r for r in json.load(f)["rules"]}
    expect("not the first", rules["first-growth"]["verdict"], "not exercised")
    expect("not known", (rules["given-back"]["verdict"], rules["given-back"]["undecided"]),
           ("not exercised", 1))
    expect("steady", rules["steady-is-all"]["verdict"], "held")
    expect("geometric", rules["geometric"]["verdict"], "held")


@case
def a_running_process_for_a_while():
    target = Target("check_pattern")
    run = memtrace("check", "-d", "200ms", "-c", contract("rule a: each call: nothing"), "-p", target.pid)
    expect("status", run.status, 0)
    expect_match("said", run.out, r"^not exercised  a$")
    target.say()
    expect("the target's own status", target.finish(), 0)


@case
def a_process_at_work_for_a_while():
    """-p -d: what it does meanwhile is judged, one way and the other."""
    for need, status in (("size >= 0", 0), ("size < 0", 1)):
        target = Target("heap_busy", 1)
        rules, result, _ = check("-d", "500ms", "-c", contract(
            "rule a: each malloc: %s\nrule b: each process: live > 0\n" % need), "-p", target.pid,
                                 status=status)
        target.say()
        expect("the target's own status", target.finish(), 0)
        expect_at_least("judged", rules["a"]["exercised"], 1)
        expect("broken", rules["a"]["broken"], rules["a"]["exercised"] if status else 0)
        expect("what was before is not known", rules["b"]["undecided"], 1)
        expect_at_least("calls", result["calls"], rules["a"]["exercised"])


PHASES = """
phase warm at probe "app:warm"
phase cool at probe "app:cool"
phase never at probe "app:none"
rule start: exactly 10 malloc in phase start where size = 100
rule warm: each malloc in phase warm where size = 100: nothing
rule cool: exactly 40 malloc in phase cool where size = 100
rule never: each malloc in phase never: nothing
"""


@case
def phases_begin_at_probes_of_the_program():
    """With a counter of listeners and without; launched, and attached to."""
    rules, _, run = check("-c", contract(PHASES), "--", prog("phase_probe"), status=0)
    expect_match("somebody listens", run.out, r'^{"listened": 1}$')
    expect("launched", {n: r["exercised"] for n, r in rules.items()},
           {"start": 1, "warm": 25, "cool": 1, "never": 0})
    target = Target("phase_probe")
    proc = Proc([MEMTRACE, "check", "--json=" + tmp("attached.json"), "-c", contract(PHASES), "-p", target.pid])
    proc.wait_ready()
    target.say()
    expect("it listens", target.wait_objects()[0]["listened"], 1)
    expect("status", proc.finish(signal.SIGINT), 0)
    expect("the target's own status", target.finish(), 0)
    with open(tmp("attached.json")) as f:
        rules = {r["name"]: r["exercised"] for r in json.load(f)["rules"]}
    expect("attached", (rules["warm"], rules["cool"]), (25, 1))
    run = memtrace("check", "--heap=ring", "-c", contract(PHASES), "--", "true")
    expect("status of what has no probes", run.status, 2)
    expect_match("said", run.err, r'^memtrace: phase "warm" begins at a probe: that needs --heap=uprobe$')


def after_an_exec(*argv, status):
    _, result, run = check("-c", contract("rule a: each malloc: size >= 0\n"), "--", *argv, status=status)
    expect("result", result["result"], "no verdict" if status == 3 else "held")
    return run


@case
def what_an_exec_brings_may_not_have_been_seen():
    """An allocator that only the second program has: its first calls, or all, are over before it
    has probes. The one that both have keeps its own."""
    preload = "LD_PRELOAD=" + os.path.join(os.path.dirname(MEMTRACE), "libmtalloc.so")
    run = after_an_exec("env", preload, "true", status=3)
    expect_match("said", run.err, r"^NO VERDICT: the first allocator calls after an exec were over ")
    after_an_exec("sh", "-c", "exec " + prog("heap_family_static"), status=3)
    # Long enough for a slow machine to see which one that is.
    after_an_exec("sh", "-c", "exec sleep 0.5", status=0)


@case
def each_process_is_judged_for_itself():
    """A child that was forked and one that was executed: rules on processes are of each."""
    rules, result, _ = check("-c", contract("rule a: each process: all.faults > 0\n"
                                            "rule b: at most 1000 malloc\n"), "--",
                             "sh", "-c", "%s; %s; true" % (prog("check_pattern"), prog("check_pattern")),
                             status=0)
    # The shell, and the programs; whether their forks count before the exec is the shell's affair.
    expect_between("processes", result["processes"], 3, 5)
    expect("judged", rules["a"]["exercised"], result["processes"])
    expect("not seen from their first call on", rules["b"]["undecided"], result["processes_unseen"])


@case
def by_the_ring_plane():
    """The same, with calls that a library in the process hands over."""
    rules, _, _ = check("--heap=ring", "-c", contract("rule a: each malloc where size >= 1M: exactly 1 mmap\n"
                                                      "rule b: at least 2000 malloc where size = 1000\n"
                                                      "rule c: each malloc where size < 1K: no mmap\n"),
                        "--", prog("demo"), status=0)
    expect("large", rules["a"]["exercised"], 1)
    expect("counted", (rules["b"]["verdict"], rules["b"]["undecided"]), ("held", 0))


@case
def a_proposal_holds_on_a_rerun():
    learned = tmp("learned.contract")
    argv = ["--", prog("check_pattern")]
    expect("status", memtrace("check", "--learn=" + learned, *argv).status, 0)
    with open(learned) as f:
        text = f.read()
    expect_match("what was run", text, r"^# Proposed by memtrace check --learn from one run of: .*check_pattern$")
    expect_match("observed", text, r"^# malloc of 1M and more: 10 calls: 1 mmap each$")
    expect_match("proposed", text, r"^rule malloc-from-1M:\n    each malloc where size >= 1M:\n"
                 r"        exactly 1 mmap, nothing else$")
    rules, _, _ = check("-c", learned, *argv, status=0)
    expect("held", {r["verdict"] for r in rules.values()}, {"held"})
    rules, _, _ = check("-c", learned, *argv, "extra-mmap", status=1)
    expect("an mmap too many", rules["malloc-from-1M"]["verdict"], "broken")


@case
def a_proposal_for_a_real_program():
    argv = ["--", "ls", "-lR", os.path.join(ROOT, "tests")]
    expect("status", memtrace("check", "--learn=" + tmp("learned"), *argv).status, 0)
    rules, _, _ = check("-c", tmp("learned"), *argv, status=0)
    expect_at_least("rules", len(rules), 8)
