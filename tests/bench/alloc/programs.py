# SPDX-License-Identifier: MIT
"""What is run: our own programs and real ones.

A Program has a name and run(): once, under one allocator, at a scale in percent;
it gives a dictionary of wall_s, cpu_s, rss_bytes, minor, major and `said`, what the
program wrote: that must not depend on the allocator.
"""

import glob
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
OUT = os.path.abspath(os.environ.get("O") or os.path.join(ROOT, "build"))
BIN = os.path.join(OUT, "bench", "alloc")
REAL = os.path.join(HERE, "real")
LIMIT_S = 300  # of one run
CONTROL = "control"  # glibc once more: what a ratio is worth
ENV = {
    "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
    "HOME": os.environ.get("HOME", "/"),
    "LC_ALL": "C",
    "PYTHONMALLOC": "malloc",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
}


class Failure(Exception):
    """A run that is worth nothing: why."""


# --- allocators ------------------------------------------------------------------------------

def libc():
    """The C library this interpreter uses: what programs get, and redis, which is linked with
    another allocator, only when told."""
    with open("/proc/self/maps") as f:
        for line in f:
            if "/libc.so.6" in line or "/libc-" in line:
                return line.split()[-1]
    return "libc.so.6"


def defines_malloc(path):
    """Else it would be glibc that is measured."""
    done = subprocess.run(["nm", "-D", "--defined-only", path], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, check=False)
    return re.search(rb" [TWi] malloc$", done.stdout, re.M) is not None


def allocators():
    """Name to path of what can be preloaded here; glibc first."""
    found = {"glibc": libc(), CONTROL: libc()}
    for name, pattern in (("mtalloc", os.path.join(OUT, "libmtalloc.so")),
                          ("jemalloc", "/usr/lib/*/libjemalloc.so.2"),
                          ("mimalloc", "/usr/lib/*/libmimalloc.so.2.0"),
                          ("tcmalloc", "/usr/lib/*/libtcmalloc_minimal.so.4")):
        paths = [p for p in glob.glob(pattern) if defines_malloc(p)]
        if paths:
            found[name] = os.path.realpath(paths[0])
    return found


# --- running ---------------------------------------------------------------------------------

class Launch:
    """A command under our launcher, which says what it took."""

    def __init__(self, preload, argv, env=None, cwd=None, stdout=subprocess.PIPE, stdin=None):
        self.argv = [str(word) for word in argv]
        self.end, told = os.pipe()
        try:
            self.popen = subprocess.Popen(
                [os.path.join(BIN, "launch"), str(told), preload, *self.argv],
                env=dict(ENV, **(env or {})), cwd=cwd, pass_fds=(told,), stdout=stdout,
                stdin=stdin or subprocess.DEVNULL, stderr=subprocess.PIPE,
                start_new_session=True)
        finally:
            os.close(told)

    def finish(self):
        """(figures, standard output)."""
        with os.fdopen(self.end) as told:
            try:
                out, err = self.popen.communicate(timeout=LIMIT_S)
            except subprocess.TimeoutExpired:
                self.kill()
                raise Failure("not over after %d s" % LIMIT_S) from None
            text = told.read()
        if not text:
            raise Failure("the launcher failed: %s" % err.decode(errors="replace").strip())
        took = json.loads(text)
        if took["status"]:
            signal = took["status"] & 127
            raise Failure("%s: %s%s" % (
                os.path.basename(self.argv[0]),
                "signal %d" % signal if signal else "exit status %d" % (took["status"] >> 8),
                "".join(": " + line for line in err.decode(errors="replace").splitlines()[-1:])))
        return {"wall_s": took["wall_ns"] / 1e9,
                "cpu_s": (took["user_us"] + took["system_us"]) / 1e6,
                "system_s": took["system_us"] / 1e6,
                "rss_bytes": took["rss_bytes"], "minor": took["minor"],
                "major": took["major"]}, out

    def kill(self):
        """The launcher and all that it started: they have a session of their own."""
        try:
            os.killpg(self.popen.pid, 9)
        except ProcessLookupError:
            pass
        self.popen.communicate()


class Program:
    """A command. argv: a function of the scale and a directory for what it needs; product: a
    file it makes, which must not depend on the allocator either."""

    def __init__(self, name, argv, needs=(), product=None, real=False):
        self.name = name
        self.argv = argv
        self.needs = needs
        self.product = product
        self.real = real

    def missing(self):
        """The commands it needs that are not here."""
        return [n for n in self.needs if not shutil.which(n, path=ENV["PATH"])]

    def run(self, preload, scale, directory, env=None):
        figures, out = Launch(preload, self.argv(scale, directory), env, directory).finish()
        digest = hashlib.sha256(out)
        if self.product:
            with open(os.path.join(directory, self.product), "rb") as f:
                digest.update(f.read())
        return dict(figures, said=digest.hexdigest())

    def live_bytes(self, scale, directory):
        """The most that one of its processes has live at a time, under glibc."""
        path = os.path.join(directory, "live")
        if os.path.exists(path):
            os.unlink(path)
        # The C library is named for redis, which would find another's malloc_usable_size.
        self.run(os.path.join(BIN, "live") + ":" + libc(), scale, directory,
                 {"MEMTRACE_LIVE": path})
        with open(path) as f:
            return max(int(line) for line in f)


class Redis(Program):
    """The time is that of a load of redis-benchmark's, which is not under the allocator; CPU
    time and memory are the server's."""

    def __init__(self, name, load):
        super().__init__(name, None, ("redis-server", "redis-benchmark"), real=True)
        self.load = load

    def run(self, preload, scale, directory, env=None):
        path = os.path.join(directory, "redis.sock")
        server = Launch(preload, (
            "redis-server", "--port", 0, "--unixsocket", path, "--save", "", "--appendonly",
            "no", "--daemonize", "no", "--loglevel", "warning"), env, directory)
        try:
            link = self.connect(server, path)
            begun = time.monotonic()
            done = subprocess.run(["redis-benchmark", "-s", path, "-q", *map(str, self.load(scale))],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=ENV,
                                  check=False, timeout=LIMIT_S)
            wall = time.monotonic() - begun
            if done.returncode:
                raise Failure("redis-benchmark: " + done.stdout.decode(errors="replace")[-200:])
            # The load's keys are random. What it says of itself is not.
            said = "%s %s" % (self.ask(link, "SET last %s" % self.name),
                              self.ask(link, "GET last"))
            self.ask(link, "SHUTDOWN NOSAVE")
            link.close()
        except BaseException:
            if server.popen.poll() is not None:
                server.finish()  # which says how it ended
            else:
                server.kill()
                os.close(server.end)
            raise
        figures, _ = server.finish()
        return dict(figures, wall_s=wall, said=said)

    @staticmethod
    def connect(server, path):
        until = time.monotonic() + 30
        while time.monotonic() < until and server.popen.poll() is None:
            link = socket.socket(socket.AF_UNIX)
            link.settimeout(30)
            try:
                link.connect(path)
                return link
            except OSError:
                link.close()
                time.sleep(0.02)
        raise Failure("redis-server does not answer")

    @staticmethod
    def ask(link, command):
        link.sendall(command.encode() + b"\r\n")
        return link.recv(1000).decode(errors="replace").strip()


# --- what there is ---------------------------------------------------------------------------

def own(name, program=None, threads=None, more=()):
    def argv(scale, _directory):
        words = [os.path.join(BIN, program or name), scale]
        if threads or more:
            words.append(threads or max(2, min(8, len(os.sched_getaffinity(0)))))
        return words + list(more)
    return Program(name, argv)


def written(directory, name, text):
    """A file with this content; its path."""
    path = os.path.join(directory, name)
    if not os.path.exists(path):
        with open(path, "w") as f:
            f.write(text)
    return path


def sql(scale, directory):
    with open(os.path.join(REAL, "rows.sql")) as f:
        text = f.read().replace("@ROWS@", str(max(100, 800 * scale)))
    return ["sqlite3", ":memory:", ".read " + written(directory, "rows-%d.sql" % scale, text)]


def c_source(functions):
    """A program of many functions, no two alike."""
    parts = ["struct item { struct item *next; long key; double weight; char name[24]; };\n"]
    for i in range(functions):
        parts.append("""
long f%(i)d(struct item *list, long n)
{
	long sum = %(i)d;
	for (struct item *at = list; at; at = at->next) {
		switch ((at->key + n) %% %(k)d) {
		case 0: sum += at->key * %(i)d; break;
		case 1: sum ^= at->name[(n + %(i)d) %% sizeof(at->name)]; break;
		case 2: at->weight = at->weight * %(k)d.5 + (double)sum; break;
		default: sum -= %(call)s;
		}
		for (long j = 0; j < n; j += %(k)d)
			sum += (sum << %(s)d) ^ (j * at->key);
	}
	return sum;
}
""" % {"i": i, "k": 3 + i % 7, "s": 1 + i % 5, "call": "f%d(at->next, n - 1)" % (i - 1) if i else "n"})
    return "".join(parts)


REGEX = 'std::regex_match(s, std::regex("a+b")) + '
CXX = """
#include <algorithm>
#include <functional>
#include <map>
#include <regex>
#include <string>
#include <unordered_map>
#include <vector>
template <int N> struct part {
	std::map<std::string, std::vector<int>> table;
	std::unordered_map<int, std::function<int(int)>> calls;
	int go(const std::string &s)
	{
		table[s].push_back(N);
		calls[N] = [this](int i) { return i + (int)table.size() + N; };
		std::sort(table[s].begin(), table[s].end(), [](int a, int b) { return a %% (N + 1) < b; });
		return calls[N](N) + part<N - 1>().go(s + "x");
	}
};
template <> struct part<0> { int go(const std::string &s) { return (int)s.size(); } };
int go(const std::string &s) { return """ + REGEX + """part<%d>().go(s); }
"""


def compile_c(compiler):
    def argv(scale, directory):
        source = written(directory, "large-%d.c" % scale, c_source(max(2, 4 * scale)))
        return [compiler, "-O1", "-w", "-c", source, "-o", "large.o"]
    return argv


def compile_cxx(compiler):
    def argv(scale, directory):
        text = CXX % max(1, scale // 12)
        if scale < 12:  # most of a small program is this header
            text = text.replace("#include <regex>", "").replace(REGEX, "")
        source = written(directory, "parts-%d.cc" % scale, text)
        return [compiler, "-std=c++17", "-O0", "-w", "-c", source, "-o", "large.o"]
    return argv


def python(name):
    # Not -I: with that it would not look at PYTHONMALLOC.
    return Program("python-" + name, lambda scale, _: [
        "/usr/bin/python3", "-sP", os.path.join(REAL, name + ".py"), scale], real=True)


def small_load(scale):
    """Many small values and structures, made, changed and read."""
    return ("-t", "set,get,incr,lpush,rpop,sadd,hset,zadd", "-n", 400 * scale, "-r", 100000,
            "-d", 60, "-P", 16, "-c", 20)


def large_load(scale):
    """Values of 3 KB in a few ten thousand keys, replaced over and over."""
    return ("-t", "set,get", "-n", 1000 * scale, "-r", 20000, "-d", 3000, "-P", 8, "-c", 20)


PROGRAMS = (
    own("churn"),
    own("liveset"),
    own("server"),
    own("prodcons"),
    own("stress"),
    own("tree"),
    own("large"),
    own("large-lazy", "large", more=("lazy",)),
    own("vector"),
    own("share-active", "falseshare", more=("active",)),
    own("share-passive", "falseshare", more=("passive",)),
    own("simple", threads=1),
    own("simple-threads", "simple"),
    own("threads"),
    own("bignum"),
    own("logic"),
    own("relay"),
    own("relay-far", "relay", more=("far",)),
    own("batch", threads=1),
    own("batch-threads", "batch"),
    own("words"),
    own("symbolic"),
    own("cache"),
    own("document"),
    own("phases"),
    own("aligned"),
    own("matrix"),
    own("buffers"),
    own("spawn"),
    own("start"),
    python("objects"),
    python("text"),
    python("trees"),
    Program("sqlite", sql, ("sqlite3",), real=True),
    Program("gcc-c", compile_c("gcc"), ("gcc",), "large.o", True),
    Program("g++-c++", compile_cxx("g++"), ("g++",), "large.o", True),
    Program("clang-c", compile_c("clang"), ("clang",), "large.o", True),
    Program("lua", lambda scale, _: ["lua5.4", os.path.join(REAL, "tables.lua"), scale],
            ("lua5.4",), real=True),
    Redis("redis-small", small_load),
    Redis("redis-large", large_load),
)
