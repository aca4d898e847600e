# SPDX-License-Identifier: MIT
"""Real programs doing their own work on a preloaded allocator: right results, and the same ones.

Each function does one program's work in a directory of its own and returns "" or what went wrong.
"""

import functools
import os
import shutil
import subprocess
import tempfile
import time

LIMIT_S = 300
# The one that Debian's test suite is of: another one in PATH may be without a part of it.
PYTHON = "/usr/bin/python3"


class Broken(Exception):
    """A program failed, or did not do what it does without the preload."""


def run(command, preload=None, cwd=None, text_in=None, env=None, check=True):
    """Its standard output; Broken when it fails or could not be preloaded."""
    environment = dict(os.environ, LC_ALL="C", HOME=cwd or "/", **(env or {}))
    if preload:
        environment["LD_PRELOAD"] = preload
    done = subprocess.run(command, cwd=cwd, env=environment, input=text_in, text=True,
                          stdin=subprocess.DEVNULL if text_in is None else None,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=LIMIT_S,
                          errors="replace", check=False)
    if check and done.returncode:
        raise Broken("%s: exit status %d: %s" % (
            " ".join(command)[:100], done.returncode, (done.stderr + done.stdout)[-1500:]))
    for sign in ("cannot be preloaded", "mtalloc: "):
        if sign in done.stderr:
            raise Broken("%s: %s" % (command[0], done.stderr[-500:]))
    return done.stdout


def same(command, preload, cwd, **more):
    """The output with the preload, which is that without it."""
    wanted, got = run(command, None, cwd, **more), run(command, preload, cwd, **more)
    if wanted != got:
        raise Broken("%s: other output than without the preload" % " ".join(command)[:100])
    return got


def python_suite(modules, preload, cwd):
    """Python's own tests; PYTHONMALLOC sends each object to malloc."""
    run([PYTHON, "-m", "test", "--timeout", "200", "-w"] + modules, preload, cwd,
        env={"PYTHONMALLOC": "malloc", "TMPDIR": cwd})


def python_check(preload, cwd):
    """The same under check=1: canaries, junk, a quarantine."""
    run([PYTHON, "-m", "test", "--timeout", "200", "test_json"], preload, cwd,
        env={"PYTHONMALLOC": "malloc", "TMPDIR": cwd, "MTALLOC_OPTIONS": "check=1"})


def early_check(preload, cwd):
    """ls: a constructor of a library it needs allocates before ours has run. Nobody changes what it lists:
    of / it showed when /tmp was written to last, in minutes."""
    same(["ls", "-l", "/usr/share"], preload, cwd, env={"MTALLOC_OPTIONS": "check=1"})


SQL = """
create table t(id integer primary key, k integer, s text, b blob);
create index t_k on t(k);
create index t_s on t(s);
with recursive n(i) as (select 1 union all select i + 1 from n where i < %(rows)d)
insert into t select i, i * 7919 %% 10007, 'row ' || (i * 31 %% 997) || ' of ' || i,
  zeroblob(i %% 300) from n;
select count(*), sum(k), sum(length(s)), sum(length(b)) from t;
select k, count(*), group_concat(id) from (select * from t order by id) group by k
  order by 2 desc, 1 limit 20;
select a.id, b.id from t a join t b on a.k = b.k and a.id < b.id order by 1, 2 limit 20;
update t set s = upper(s) || hex(b) where id %% 3 = 0;
delete from t where id %% 5 = 0;
vacuum;
select sum(length(s)), min(s), max(s) from t;
pragma integrity_check;
"""


def sqlite(rows, preload, cwd):
    """An SQL session on a file and one in memory."""
    sql = SQL % {"rows": rows}
    for name in (":memory:", os.path.join(cwd, "db")):
        for allocator in (None, preload):
            if os.path.exists(name):
                os.unlink(name)
            out = run(["sqlite3", name], allocator, cwd, text_in=sql)
            if not out.endswith("ok\n"):
                raise Broken("sqlite3 %s: %s" % (name, out[-300:]))
            if allocator is None:
                wanted = out
        if out != wanted:
            raise Broken("sqlite3 %s: other output than without the preload" % name)


def source(functions):
    """A C program that keeps an optimiser busy."""
    lines = ["#include <stdio.h>", "struct s { int a, b; double d; char n[16]; };"]
    for i in range(functions):
        lines.append("""
static int f%(i)d(struct s *p, int n)
{
	int sum = %(i)d;
	for (int i = 0; i < n; i++) {
		switch ((p[i].a + %(i)d) %% 7) {
		case 0: sum += p[i].b * %(k)d; break;
		case 1: sum ^= (int)(p[i].d * %(k)d.5); break;
		case 2: sum -= p[i].n[i & 15]; break;
		default: p[i].a = sum >> 3; p[i].d += sum;
		}
	}
	return sum;
}""" % {"i": i, "k": i % 13 + 1})
    lines.append("int main(void) { static struct s t[64]; int r = 0;")
    lines += ["r += f%d(t, 64);" % i for i in range(functions)]
    lines.append('printf("%d\\n", r); return 0; }')
    return "\n".join(lines)


def compile_c(functions, preload, cwd):
    """gcc, whose object file has to be the same to the byte."""
    path = os.path.join(cwd, "big.c")
    with open(path, "w", encoding="ascii") as file:
        file.write(source(functions))
    objects = []
    for allocator in (None, preload):
        run(["gcc", "-O2", "-g", "-c", path, "-o", os.path.join(cwd, "big.o")], allocator, cwd)
        with open(os.path.join(cwd, "big.o"), "rb") as file:
            objects.append(file.read())
    if objects[0] != objects[1]:
        raise Broken("gcc: another object file than without the preload")


def wait_for(condition, process, what):
    for _ in range(3000):
        if condition():
            return
        if process.poll() is not None:
            raise Broken("%s: the server ended with %d" % (what, process.returncode))
        time.sleep(0.02)
    raise Broken("%s did not come about" % what)


def redis(requests, preload, cwd):
    """A server under its own benchmark; what it saves is what it loads again."""
    sock = os.path.join(cwd, "s")
    client = ["redis-cli", "-s", sock]

    def start():
        with open(os.path.join(cwd, "log"), "ab") as log:
            server = subprocess.Popen(
                ["redis-server", "--port", "0", "--unixsocket", sock, "--save", "", "--dir", cwd,
                 "--daemonize", "no"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=dict(os.environ, LD_PRELOAD=preload, LC_ALL="C"))
        wait_for(lambda: run(client + ["ping"], check=False) == "PONG\n", server, "redis")
        with open("/proc/%d/maps" % server.pid, encoding="ascii") as maps:
            if os.path.basename(preload) not in maps.read():
                raise Broken("redis-server: not preloaded")
        return server

    server = start()
    try:
        for size in ("3", "3000"):
            out = run(["redis-benchmark", "-s", sock, "-n", str(requests), "-r", "5000", "-d",
                       size, "-P", "16", "-q", "-t",
                       "set,get,incr,lpush,rpop,sadd,hset,zadd,mset,lrange_100"], cwd=cwd)
            if "rror" in out:
                raise Broken("redis-benchmark: " + out[-500:])
        run(client + ["del", "mylist"])
        before = run(client + ["debug", "digest"]), run(client + ["dbsize"])
        if run(client + ["debug", "reload"]) != "OK\n":
            # Newer servers allow DEBUG only when told to.
            run(client + ["save"])
        run(client + ["memory", "purge"])
        run(client + ["shutdown", "save"], check=False)
        server.wait(60)
        if server.returncode:
            raise Broken("redis-server ended with %d" % server.returncode)
        server = start()
        after = run(client + ["debug", "digest"]), run(client + ["dbsize"])
        if before != after or int(after[1]) < 100:
            raise Broken("redis: %s became %s" % (before, after))
    finally:
        server.kill()
        server.wait()


NODE = """
const zlib = require('zlib'), crypto = require('crypto');
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
function work(seed, n) {
  const hash = crypto.createHash('sha256');
  let map = new Map(), text = '';
  for (let i = 0; i < n; i++) {
    const b = Buffer.alloc((i * seed) % 5000 + 1, i & 255);
    map.set(i % 997, { i, s: 'x'.repeat(i % 50), b });
    if (i % 100 === 0) hash.update(zlib.inflateSync(zlib.deflateSync(b)));
    if (i % 1000 === 0) text = JSON.stringify(JSON.parse(JSON.stringify([...map.keys()])));
  }
  hash.update(text);
  return hash.digest('hex');
}
if (isMainThread) {
  const seeds = [3, 5, 7, 11], results = [];
  for (const seed of seeds)
    new Worker(__filename, { workerData: seed }).on('message', m => {
      results.push(m);
      if (results.length === seeds.length)
        console.log(work(2, @N@), results.sort().join(' '));
    });
} else
  parentPort.postMessage(work(workerData, @N@));
"""


def node(n, preload, cwd):
    """Buffers, zlib, hashes, and worker threads."""
    path = os.path.join(cwd, "work.js")
    with open(path, "w", encoding="ascii") as file:
        file.write(NODE.replace("@N@", str(n)))
    same(["node", path], preload, cwd)


def git(commits, preload, cwd):
    """A history made on the spot, repacked and verified: its packs are the same set of objects."""
    repository = os.path.join(cwd, "r")
    stream = []
    for i in range(commits):
        text = "\n".join("line %d of %d" % (j, (i + j) % 50) for j in range(200 + i % 300))
        message = "commit %d" % i
        stream.append("commit refs/heads/main\ncommitter t <t@example.org> %d +0000\n"
                      "data %d\n%s\nM 100644 inline d%d/f%d\ndata %d\n%s\n" % (
                          1700000000 + i, len(message), message, i % 10, i % 100, len(text), text))
    run(["git", "init", "-q", "-b", "main", repository], preload, cwd)
    run(["git", "fast-import", "--quiet"], preload, repository, text_in="".join(stream))
    listing = ["git", "rev-list", "--objects", "--all"]
    before = run(listing, None, repository)
    run(["git", "-c", "gc.autoDetach=false", "-c", "pack.threads=4", "gc", "-q", "--aggressive",
         "--prune=now"], preload, repository)
    run(["git", "fsck", "--full", "--strict"], preload, repository)
    run(["git", "fsck", "--full", "--strict"], None, repository)
    if run(listing, preload, repository) != before or before.count("\n") < commits:
        raise Broken("git: other objects after gc")
    same(["git", "log", "--stat", "-p"], preload, repository)


def in_directory(function, preload):
    cwd = tempfile.mkdtemp(prefix="alloc-real-")
    try:
        function(preload=preload, cwd=cwd)
    except Broken as broken:
        return str(broken)
    finally:
        shutil.rmtree(cwd, ignore_errors=True)
    return ""


def cases(preload, full):
    """[(name, function)]; a function returns "" or why it failed."""
    work = [
        ("python3: test_json", functools.partial(python_suite, ["test_json"])),
        ("python3: test_re test_ctypes",
         functools.partial(python_suite, ["test_re", "test_ctypes"])),
        ("python3: test_json, check=1", python_check),
        ("ls, check=1", early_check),
        ("sqlite3", functools.partial(sqlite, 200000 if full else 30000)),
        ("gcc", functools.partial(compile_c, 3000 if full else 120)),
        ("redis", functools.partial(redis, 200000 if full else 20000)),
        ("node", functools.partial(node, 300000 if full else 20000)),
        ("git", functools.partial(git, 5000 if full else 1500)),
    ]
    if full:
        work += [("python3: " + module, functools.partial(python_suite, [module])) for module in (
            "test_threading", "test_gc", "test_io", "test_multiprocessing_fork", "test_zlib", "test_decimal", "test_pickle", "test_subprocess", "test_thread",
            "test_concurrent_futures", "test_asyncio", "test_unicode", "test_dict", "test_set")]
    return [("real " + name, functools.partial(in_directory, function, preload))
            for name, function in work]
