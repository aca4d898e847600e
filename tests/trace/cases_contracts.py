# SPDX-License-Identifier: MIT
"""The contracts that are shipped: each holds on its driver with every rule of it exercised;
mtalloc's on benchmarks and real programs too, and each mistake of lib/mtalloc/mutant.h breaks the rules
that name the property, and no other.
"""

import json
import os
import re
import shutil
import subprocess

from cases_heap_calls import library
from harness import (EMULATED, ENV, MEMTRACE, PATIENCE, ROOT, Failure, Proc, Skip, case, expect,
                     expect_at_least, numbered, prog, tmp, wait_until)

CONTRACTS = os.path.join(ROOT, "tests", "contracts")
OUT = os.path.dirname(MEMTRACE)
MTALLOC = os.path.join(OUT, "libmtalloc.so")
MUTANTS = os.path.join(OUT, "libmtalloc-mutant.so")
MUTANT_H = os.path.join(ROOT, "lib", "mtalloc", "mutant.h")
HELD, BROKEN = 0, 1


class Check(Proc):
    """memtrace check under way. The library is in its own environment: one that env(1) puts into a
    command's would come with an exec, whose first calls may be over before the probes are there."""

    def __init__(self, contract, argv, *, opts=(), preload=None, env=None, **more):
        self.json_path = numbered("verdict-%d.json")
        env = dict(env or {}, **({"LD_PRELOAD": preload} if preload else {}))
        super().__init__([MEMTRACE, "check", "-c", os.path.join(CONTRACTS, contract + ".contract"),
                          *opts, "--json=" + self.json_path, "--", *argv], env=env, **more)
        self.again = lambda: self.__init__(contract, argv, opts=opts, env=env, **more)

    def verdict(self):
        """{rule: held, broken or not exercised}, at its end."""
        status = self.finish()
        # Where memtrace has no processor for longer than a program waits for it there is no verdict.
        for _ in range(2 if EMULATED and self.again else 0):
            if status not in (HELD, BROKEN):
                self.again()
                status = self.finish()
        if status not in (HELD, BROKEN):
            raise Failure("memtrace check of %s: expected a verdict got status %d: %s" % (
                self.argv, status, self.seen()))
        with open(self.json_path) as f:
            self.result = json.load(f)
        rules = {rule["name"]: rule["verdict"] for rule in self.result["rules"]}
        strict = "--strict" in self.argv
        holds = all(v == "held" or v == "not exercised" and not strict for v in rules.values())
        expect("the status, by the rules", status, HELD if holds else BROKEN)
        return rules


def broken(rules):
    return {name for name, verdict in rules.items() if verdict == "broken"}


def expect_held(check):
    rules = check.verdict()
    if broken(rules):
        raise Failure("%s: expected its contract to hold got broken %s: %s" % (
            check.argv, sorted(broken(rules)), check.seen()))
    return rules


def expect_exercised(contract, argv, preload=None):
    """Every rule is held, and was put to the test. All phases but those that wait, of which
    mtalloc's contract alone speaks."""
    if contract != "mtalloc":
        argv = argv + ["24", "large", "resize", "peak", "grow", "churn", "trim", "thread"]
    rules = expect_held(Check(contract, argv, opts=["--strict"], preload=preload))
    expect("rules that nothing exercised",
           [name for name, verdict in rules.items() if verdict != "held"], [])
    with open(os.path.join(CONTRACTS, contract + ".contract")) as f:
        expect("rules", len(rules), len(re.findall(r"^rule ", f.read(), re.M)))


# --- the drivers ---------------------------------------------------------------------------

@case(timeout=120)
def mtalloc_on_its_driver():
    expect_exercised("mtalloc", [prog("contract_driver")], MTALLOC)


@case(timeout=120)
def glibc_on_its_driver():
    expect_exercised("glibc", [prog("contract_driver")])


@case(timeout=120)
def jemalloc_on_its_driver():
    expect_exercised("jemalloc", [prog("contract_driver")], library("libjemalloc.so.2"))


@case(timeout=120)
def tcmalloc_on_its_driver():
    expect_exercised("tcmalloc", [prog("contract_driver")], library("libtcmalloc_minimal.so.4"))


@case(timeout=120)
def mimalloc_on_its_driver():
    expect_exercised("mimalloc", [prog("contract_driver")], library("libmimalloc.so.2*"))


@case(timeout=120)
def musl_on_its_driver():
    if not shutil.which("musl-gcc"):
        raise Skip("no musl-gcc")
    path = tmp("driver_musl")
    subprocess.run(["musl-gcc", "-std=gnu17", "-D_GNU_SOURCE", "-O1", "-g", "-pthread",
                    "-fno-builtin", "-I" + ROOT, "-o", path,
                    os.path.join(ROOT, "tests", "progs", "contract_driver.c")], check=True)
    expect_exercised("musl", [path])


@case(timeout=120)
def a_contract_tells_allocators_apart():
    """mtalloc's is broken by glibc's malloc, and the other way round."""
    argv = [prog("contract_driver"), "4", "large", "resize", "peak"]
    rules = Check("mtalloc", argv).verdict()
    expect_at_least("rules of mtalloc's that glibc breaks", len(broken(rules)), 3)
    rules = Check("glibc", argv, preload=MTALLOC).verdict()
    expect_at_least("rules of glibc's that mtalloc breaks", len(broken(rules)), 3)


# --- mtalloc at work -----------------------------------------------------------------------

@case(timeout=120)
def mtalloc_in_benchmarks():
    """Threads, sizes of all kinds, blocks that grow, blocks of other threads."""
    for name, scale in (("phases", 1), ("vector", 2), ("large", 2), ("threads", 1), ("relay", 1)):
        path = os.path.join(OUT, "bench", "alloc", name)
        check = Check("mtalloc", [path, str(scale)], preload=MTALLOC)
        expect_held(check)
        expect_at_least("allocator calls of %s" % name, check.result["calls"], 20)


PYTHON = """
import json
d = {str(i): [i, str(i) * 20, {"a": i}] for i in range(1500)}
for _ in range(2):
    t = json.dumps(d)
    json.loads(t)
x = [bytes(100000 + i) for i in range(60)]
del x
big = bytearray()
for i in range(200):
    big += bytes(20000)
print(len(t), len(big))
"""

SQL = """
create table t(k integer, s text, b blob);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 4000)
insert into t select i % 997, 'row ' || i, zeroblob(i % 300) from n;
create index t_s on t(s);
select count(*), sum(length(s)) from (select k, group_concat(s) as s from t group by k);
"""

C_SOURCE = """
#include <stdio.h>
int main(void) { int n[64] = {1}; for (int i = 1; i < 64; i++) n[i] = n[i - 1] * 7 % 31;
	printf("%d\\n", n[63]); return 0; }
"""


def holds_in(argv, least, **more):
    check = Check("mtalloc", argv, preload=MTALLOC, **more)
    expect_held(check)
    expect_at_least("allocator calls of %s" % argv[0], check.result["calls"], least)


@case(needs=("bpf", "python3"), timeout=120)
def mtalloc_in_python():
    holds_in(["/usr/bin/python3", "-c", PYTHON], 10000, env={"PYTHONMALLOC": "malloc"})


@case(needs=("bpf", "sqlite3"), timeout=120)
def mtalloc_in_sqlite():
    holds_in(["sqlite3", ":memory:", SQL], 5000)


@case(needs=("bpf", "gcc"), timeout=120)
def mtalloc_in_gcc():
    """And in what it starts."""
    source = tmp("one.c")
    with open(source, "w") as f:
        f.write(C_SOURCE)
    holds_in(["gcc", "-O2", "-o", tmp("one"), source], 500)


@case(timeout=120)
def mtalloc_in_redis():
    if not shutil.which("redis-server") or not shutil.which("redis-benchmark"):
        raise Skip("no redis")
    socket = tmp("socket")

    def ask(*command):
        return subprocess.run(["redis-cli", "-s", socket, *command], env=ENV, timeout=PATIENCE,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout

    check = Check("mtalloc", ["redis-server", "--port", "0", "--unixsocket", socket, "--save", "",
                              "--dir", tmp()], preload=MTALLOC)
    check.again = None  # by itself it does not end
    wait_until("redis to answer", lambda: ask("ping") == b"PONG\n")
    for size in ("10", "3000"):
        subprocess.run(["redis-benchmark", "-s", socket, "-q", "-n", "1500", "-r", "500", "-d", size,
                        "-t", "set,get,lpush,zadd"], env=ENV, timeout=PATIENCE, check=True,
                       stdout=subprocess.DEVNULL)
    ask("shutdown", "nosave")
    expect_held(check)
    expect_at_least("allocator calls of redis", check.result["calls"], 10000)


# --- mutants -------------------------------------------------------------------------------

# What the driver shall do with each mistake, and the rules that break, all of them.
MISTAKES = {
    "EXTRA_MMAP": ("large", {"large-is-one-mmap"}),
    "EXTRA_UNMAP": ("large", {"large-free-is-one-munmap"}),
    "EXTRA_MPROTECT": ("large", {"first-growth", "no-mprotect"}),
    "EXTRA_ASK": ("large", {"large-is-one-mmap"}),
    "TOUCH_MAPPING": ("large", {"untouched"}),
    "TOUCH_BREAK": ("large", {"untouched"}),
    "POPULATE": ("large", {"no-populate"}),
    "CLEAR_FRESH": ("large", {"untouched"}),
    "FREE_TOUCHES": ("large", {"free-touches-nothing"}),
    "FIRST_GROWTH": ("large", {"first-growth"}),
    "CONSTANT_GROWTH": ("grow", {"growth-is-geometric", "growth-is-logarithmic"}),
    "THRESHOLD_ABOVE": ("large", {"large-is-not-in-the-break"}),
    "THRESHOLD_BELOW": ("large", {"small-is-in-the-break"}),
    "LARGE_IN_BREAK": ("large", {"large-is-not-in-the-break", "large-is-one-mmap",
                                 "large-free-is-one-munmap", "large-free-goes-back"}),
    "REALLOC_COPIES": ("resize", {"large-realloc-is-one-mremap"}),
    "NEVER_LOWER": ("peak", {"break-is-lowered"}),
    "NEVER_DISCARD": ("peak", {"inside-goes-back"}),
    "HOARD": ("large", {"large-free-goes-back"}),
    "KEEP_NOTHING": ("churn", {"steady-churn-is-silent"}),
    "NO_DECAY": ("churn idle", {"kept-decays"}),
    "CHURN_ADVISE": ("churn", {"steady-churn-is-silent", "large-free-is-one-munmap"}),
    "TRIM_NOTHING": ("trim", {"trim-leaves-what-lives"}),
}


def mutants():
    """{name: number} of mutant.h, NONE too."""
    with open(MUTANT_H) as f:
        names = re.findall(r"^\tMUTANT_(\w+),", f.read(), re.M)
    return {name: number for number, name in enumerate(names)}


@case(needs=())
def every_mistake_has_its_rule():
    expect("mistakes", set(MISTAKES), set(mutants()) - {"NONE"})


@case
def the_mutant_without_a_mistake_holds():
    expect_held(Check("mtalloc", [prog("contract_driver"), "16", "large", "resize", "peak", "trim"],
                      preload=MUTANTS))


def _declare(name, phases, rules):
    def breaks_its_rule():
        check = Check("mtalloc", [prog("contract_driver"), "16", *phases.split()], preload=MUTANTS,
                      env={"MTALLOC_MUTANT": str(mutants()[name])})
        expect("rules that %s breaks" % name, broken(check.verdict()), rules)
    breaks_its_rule.__name__ = "mutant_" + name.lower()
    case(breaks_its_rule)


for _name, (_phases, _rules) in MISTAKES.items():
    _declare(_name, _phases, _rules)
