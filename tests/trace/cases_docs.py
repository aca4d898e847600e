# SPDX-License-Identifier: MIT
"""What is written about memtrace and its makefile is what they are."""

import os
import re
import subprocess
import sys

from harness import ENV, MEMTRACE, ROOT, case, expect, expect_true

EXPECTED = ("all", "install", "uninstall", "clean", "check", "check-root", "check-vm", "bench", "run",
            "test", "format", "lint", "deps")


def output(argv):
    done = subprocess.run(argv, cwd=ROOT, env=ENV, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    expect("%s: status (%s)" % (argv, done.stdout), done.returncode, 0)
    return done.stdout


def source(*path):
    with open(os.path.join(ROOT, *path)) as f:
        return f.read()


@case(needs=("make",))
def make_help_names_the_targets():
    text = output(["make", "help"])
    expect("targets that it does not name",
           [t for t in EXPECTED if not re.search(r"make \[?%s\b" % t, text)], [])
    rules = "".join(source(name) for name in ("Makefile", "tests/alloc/alloc.mk"))
    expect("targets that there are not",
           [t for t in re.findall(r"^  make \[?([a-z-]+)", text, re.M)
            if not re.search(r"^%s:" % t, rules, re.M)], [])


@case(needs=())
def every_option_is_in_the_manual_and_completed():
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", output([MEMTRACE, "--help"])))
    expect_true("options", len(options) > 20, sorted(options))
    manual = source("docs", "memtrace.8").replace("\\-", "-").replace("\\fR", "").replace("\\fB", "")
    completion = source("docs", "completion", "memtrace.bash")
    for where, text in (("the manual", manual), ("bash completion", completion)):
        known = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
        expect("options that %s has not" % where, sorted(options - known), [])


@case(needs=())
def the_parts_of_a_run_are_the_whole():
    def listed(*args):
        return output([sys.executable, os.path.join(ROOT, "tests", "trace", "run"), "-l",
                       *args]).splitlines()
    expect("cases", sorted(listed("-p", "1/3") + listed("-p", "2/3") + listed("-p", "3/3")),
           sorted(listed()))
