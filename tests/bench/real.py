# SPDX-License-Identifier: MIT
"""Programs that people run, under full tracing with stacks, and under heaptrack.

A pair is the program by itself and the same under a tracer, one after the other, which comes first
changing. Taken are the wall time of the whole command, as its user waits for it (of redis-server that of
a fixed number of requests), and the CPU time of all processes together: the
program's, the tracer's, and whatever that starts. memtrace shows its report, heaptrack writes its file. A run of
memtrace that lost anything is none.
"""

import glob
import os
import shutil
import statistics
import subprocess
import sys
import time

import harness
from harness import expect, expect_at_least, expect_match, wait_until

DICTIONARIES = """
for r in range(2):
    d = {}
    for i in range(40000):
        d["key%d" % (i * 7919 % 200011)] = {"n": i, "t": [i, str(i)], "s": "x" * (i % 90)}
    s = sorted(d.items(), key=lambda kv: (kv[1]["s"], kv[0]))
    t = {k: dict(v) for k, v in s}
"""

ROWS = """
create table t(a integer primary key, b text, c real);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 200000)
    insert into t select i, 'row ' || (i * 7919 % 400009), i / 7.0 from n;
create index tb on t(b);
select count(*), sum(length(b)) from (select b, c from t order by c * (a % 17), b);
select substr(b, 1, 6) g, count(*), group_concat(a) from t group by g order by 2 desc limit 5;
"""

REQUESTS = 300000
FUNCTIONS = 120


def source():
    """C of some length; what is compiled does not matter, but that it is the same each time."""
    lines = ["#include <stdlib.h>", "#include <string.h>", "#include <stdio.h>",
             "struct item { struct item *next; char name[32]; long n[8]; };"]
    for i in range(FUNCTIONS):
        lines.append("""
static long work_%d(struct item *list, const char *name, long k)
{
	long sum = k, at[16] = {%d, k};

	for (struct item *p = list; p; p = p->next) {
		for (int i = 0; i < 8; i++)
			sum += p->n[i] * at[(i + k) & 15] >> (i & 3);
		if (!strcmp(p->name, name) && sum %% %d == k)
			at[sum & 15] ^= p->n[sum & 7] + %d;
		else
			snprintf(p->name, sizeof(p->name), "%%ld", sum);
	}
	return sum;
}
long (*const work_of_%d)(struct item *, const char *, long) = work_%d;""" % (
            i, i, i % 97 + 2, i * 31, i, i))
    path = harness.tmp("real.c")
    with open(path, "w") as f:
        f.write("\n".join(lines) + "\n")
    return path


# --- tracers: the command line before the program's, and what is to be true after it -----------

def untraced():
    return [], lambda _told: None


def by_memtrace():
    """With the report that its users are shown, which says whether all was told."""
    def look(told):
        expect_match("the report", told, r"events seen, all delivered")
        expect_match("the report", told, r"its calls are handed over in rings")

    return [harness.MEMTRACE, "--heap=ring", "--"], look


def _heaptrack(*options):
    path = harness.numbered("heaptrack-%d")

    def look(_told=None):
        found = glob.glob(path + "*")
        expect_at_least("bytes recorded", sum(os.path.getsize(name) for name in found), 1000)
        for name in found:
            os.unlink(name)

    return ["heaptrack", *options, "-o", path], look


def by_heaptrack():
    """As its users run it: what is recorded is interpreted meanwhile. Newer ones would show it, too."""
    told = subprocess.run(["heaptrack", "--help"], stdout=subprocess.PIPE, check=False).stdout
    return _heaptrack(*(["--record-only"] if b"--record-only" in told else []))


def by_heaptrack_raw():
    """Raw data only: its user interprets them later."""
    return _heaptrack("-r")


# --- programs ----------------------------------------------------------------------------------

def _start(argv, **env):
    with open(_told(), "w") as told:
        return subprocess.Popen([str(a) for a in argv], env={**harness.ENV, **env},
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=told)


def _told():
    """Where what a tracer says goes."""
    return harness.tmp("real.told")


def _start_client(argv):
    return subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _end(proc):
    """Its CPU time, and that of all that it has waited for."""
    _, status, usage = os.wait4(proc.pid, 0)
    proc.returncode = os.waitstatus_to_exitcode(status)
    expect("exit status of %s" % " ".join(proc.args), proc.returncode, 0)
    return usage.ru_utime + usage.ru_stime


def command(argv, **env):
    """A program that ends by itself: what takes its (wall, CPU) time behind a tracer's command line."""
    def run(before):
        begin = time.monotonic()
        cpu = _end(_start([*before, *argv], **env))
        return time.monotonic() - begin, cpu
    return run


def python():
    return command([sys.executable, "-c", DICTIONARIES],
                   PYTHONMALLOC="malloc", PYTHONHASHSEED="0")


def sqlite():
    return command(["sqlite3", ":memory:", ROWS])


def compiler():
    cc1 = subprocess.run(["gcc", "-print-prog-name=cc1"], stdout=subprocess.PIPE, check=True)
    return command([cc1.stdout.decode().strip(), "-quiet", "-O2", source(), "-o", "/dev/null"])


def redis():
    path = harness.tmp("redis.socket")

    def run(before):
        server = _start([*before, shutil.which("redis-server"), "--port", 0, "--unixsocket", path,
                         "--save", "", "--dir", os.path.dirname(path)])
        try:
            wait_until("redis-server's socket", lambda: os.path.exists(path))
            begin = time.monotonic()
            _end(_start_client(["redis-benchmark", "-s", path, "-q", "-n",
                                REQUESTS // 3, "-r", 100000, "-d", 100, "-t", "set,get,lpush"]))
            wall = time.monotonic() - begin
            _end(_start_client(["redis-cli", "-s", path, "shutdown", "nosave"]))
            return wall, _end(server)
        finally:
            if server.returncode is None:
                server.kill()
                server.wait()
    return run


PROGRAMS = (
    ("python3, PYTHONMALLOC=malloc", python, ()),
    ("sqlite3", sqlite, ("sqlite3",)),
    ("gcc's cc1", compiler, ("gcc",)),
    ("redis-server", redis, ("redis-server", "redis-benchmark", "redis-cli")),
)
TRACERS = (
    ("by memtrace", by_memtrace, None),
    ("by heaptrack", by_heaptrack, "heaptrack"),
    ("by heaptrack -r", by_heaptrack_raw, "heaptrack"),
)


def rows():
    """(name, program, tracer) of what can be run here."""
    for program, make, needs in PROGRAMS:
        for by, tracer, needed in TRACERS:
            if all(shutil.which(name) for name in (*needs, *([needed] if needed else []))):
                yield "real: %s, %s" % (program, by), make, tracer


def taken(run, tracer):
    before, look = tracer()
    result = run(before)
    with open(_told(), errors="replace") as told:
        look(told.read())
    return result


def measure(count, make, tracer):
    """(untraced wall, traced wall, ratios of wall, ratio of CPU): medians of the pairs, but the ratios."""
    run = make()
    pairs = []
    for number in range(count):
        sides = [untraced, tracer]
        results = {side: taken(run, side) for side in (sides if number % 2 else sides[::-1])}
        pairs.append((results[untraced], results[tracer]))
    return (statistics.median(a[0] for a, _ in pairs), statistics.median(b[0] for _, b in pairs),
            [b[0] / a[0] for a, b in pairs], statistics.median(b[1] / a[1] for a, b in pairs))
