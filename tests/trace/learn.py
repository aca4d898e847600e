#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""docs/linux-memory.md is an expectation: what it shows is run again and compared.

Two kinds of blocks are marked in it, each by a comment on the line before its fence:

    <!-- source: PROGRAM FUNCTION... -->          functions of tests/progs/PROGRAM.c, as they are
    <!-- stream: PROGRAM [ARG]... [needs=CAPABILITY] [show=calls] [faults=FUNCTION]
            [opt=--OPTION] [kinds=any] -->
                                                  what memtrace -s shows of the program

The stream's lines are told as the document tells them: the sentences of learn__say() in place of
their marks, without times, and without the faults of what a program does besides (its own stack,
its libraries, what it prints with). Touches of consecutive pages are one line. Of an ARG @file a
path is made. Two such texts are the same when they are but for addresses, as long as these are in
the same places of the same mappings.

With kinds=any minor and major faults on memory count as the same: it depends on how fast a disk is.

As a program: `learn.py PROGRAM` prints a block, `learn.py --refresh` writes those anew that differ.
"""

import os
import re
import shlex
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import harness  # noqa: E402
from harness import PAGE, ROOT, SOURCES, Failure, Target, observe  # noqa: E402
from stream import parse  # noqa: E402

DOCUMENT = os.path.join(ROOT, "docs", "linux-memory.md")
_MARK = re.compile(r"^<!-- (source|stream): (.*) -->$")
_STEP = re.compile(r"^step (\d+) (.*)$", re.M)
# Memory that was there before: as far from an address as this, another is of the same mapping.
REACH = 1 << 20


# --- the document's blocks -------------------------------------------------------------------

class Block:
    """A marked block: what it is of, and the lines of the document that show it."""

    def __init__(self, kind, words, first, lines):
        self.kind, self.first, self.lines = kind, first, lines
        self.options = dict(w.split("=", 1) for w in words if re.match(r"[a-z]+=", w))
        words = [w for w in words if not re.match(r"[a-z]+=", w)]
        self.program, self.args = words[0], words[1:]
        self.name = " ".join([kind, *words])

    def difference(self, made):
        """Where the document differs from what was made now, or None."""
        shown = self.lines
        if self.options.get("kinds") == "any":
            shown, made = ([line.replace("MAJOR anonymous", "minor anonymous") for line in lines]
                           for lines in (shown, made))
        return difference(shown, made)

    def made(self):
        """The lines as they would be now."""
        if self.kind == "source":
            return source(self.program, self.args)
        return stream(self.program, self.args, self.options)


def blocks(text):
    """The marked blocks of a document."""
    found, lines = [], text.split("\n")
    for number, line in enumerate(lines):
        mark = _MARK.match(line)
        if not mark:
            continue
        if not lines[number + 1].startswith("```"):
            raise Failure("%s:%d: expected a fence after the mark" % (DOCUMENT, number + 1))
        end = lines.index("```", number + 2)
        found.append(Block(mark[1], shlex.split(mark[2]), number + 2, lines[number + 2:end]))
    return found


def source(program, functions):
    """Functions of a program, as they stand in its file."""
    with open(os.path.join(SOURCES, program + ".c")) as f:
        text = f.read()
    shown = []
    for name in functions:
        found = re.search(r"^(?:/\*(?:(?!\*/).)*\*/\n)?[^\n/]*\b%s\([^;{]*\)\n\{\n.*?^\}$" %
                          re.escape(name), text, re.M | re.S)
        if not found:
            raise Failure("%s.c: expected a function %s" % (program, name))
        shown += found[0].expandtabs(8).split("\n") + [""]
    return shown[:-1]


# --- what a program does ---------------------------------------------------------------------

def stream(program, args, options):
    """Attach memtrace -s to a program, let it do its phase; what the document shows of it."""
    args = [harness.numbered("file-%d") if a == "@file" else a for a in args]
    target = Target(program, *args)
    opts = [options["opt"]] if "opt" in options else []
    run = observe(target, "-s", "-p", target.pid, *opts)
    harness.expect("the status of %s" % program, target.finish(), 0)
    said = dict((int(n), text) for n, text in _STEP.findall(target.out.text()))
    told = Telling(said, target.pid, options)
    for line in parse(run.out):
        told.take(line)
    return told.end()


class Telling:
    """The lines of a stream, as they are told."""

    def __init__(self, said, pid, options):
        self.said, self.calls_only = said, options.get("show") == "calls"
        self.touching = r"# at ((write|read)_(byte|pages)|%s) \(" % options.get("faults", "-")
        self.pids = {pid: ""}
        self.lines = []
        self.row = None  # faults on consecutive pages, not told yet: text, first, last

    def take(self, line):
        who = self.pids.setdefault(line.pid, "process %d: " % (len(self.pids) + 1))
        step = self._step(line)
        if step:
            self._put("%s%s" % (who, self.said.pop(step)))
        elif line.kind == "fault":
            if not self.calls_only and self._is_shown(line):
                self._fault(who, line)
        elif line.kind == "task":
            self._put("    %s%s" % (who, self._task(line.rest)))
        else:
            indent = "        " if line.inside else "    "
            self._put(indent + who + self._call(line))

    def end(self):
        self._put(None)
        if self.said:
            raise Failure("steps in the stream: expected all got none of %r" % self.said)
        return self.lines

    def _put(self, text):
        if self.row:
            start, first, last = self.row
            more = last // PAGE - first // PAGE
            self.lines.append(start + (
                "  # and %d more, one for each page up to %#x" % (more, last) if more else ""))
            self.row = None
        if text is not None:
            self.lines.append(text)

    def _fault(self, who, line):
        indent = "        " if line.inside else "    "
        head = "%s%sfault %s " % (indent, who, line.access)
        tail = " ".join([" MAJOR" if line.major else " minor", *line.words.split(),
                         re.sub(r"\+0x\w+$", "", os.path.basename(line.where))])
        tail = re.sub(r"file-\d+$", "file", tail)
        page = line.address & ~(PAGE - 1)
        if self.row:
            start, first, last = self.row
            if page == (last & ~(PAGE - 1)) + PAGE and start == head + "%#x" % first + tail:
                self.row = (start, first, line.address)
                return
        self._put(None)
        self.row = (head + "%#x" % line.address + tail, line.address, line.address)

    def _step(self, line):
        """The number of the step that the line marks, or None."""
        if line.kind == "call" and line.name == "madvise" and line.args[1] == "0":
            number = int(line.args[0], 16) // PAGE
            return number if number in self.said else None
        return None

    def _is_shown(self, line):
        """Whether the fault is of what the program is about."""
        own = line.inside and line.where in ("[heap]", "anonymous")
        return own or bool(re.search(self.touching, line.remark))

    @staticmethod
    def _call(line):
        text = line.rest if line.kind == "free" else line.call + line.remark
        text = re.sub(r"  # at .*$", "", text)
        return re.sub(r"(\b\d+)<[^<>]*/file-\d+>", r"\1<file>", text)

    def _task(self, text):
        text = re.sub(r"\+\+\+ (.*) \+\+\+.*$", r"\1", text)
        text = re.sub(r"executed .*/", "executed ", text)
        return re.sub(r"\b(process|by) (\d+)\b", self._numbered, text)

    def _numbered(self, found):
        who = self.pids.setdefault(int(found[2]), "process %d: " % (len(self.pids) + 1))
        return "%s %s" % (found[1], who[8:-2] or "1")


# --- the same --------------------------------------------------------------------------------

class Places:
    """Addresses as places: the number of a stretch of memory, and how far into it."""

    def __init__(self, text):
        self.mapped = [(int(start, 16), int(length)) for length, start in re.findall(
            r"mmap\(\w+, (\d+),.*\) = (0x\w+)", text)]
        self.others = []

    def __call__(self, found):
        address = int(found[0], 16)
        for number, (start, length) in enumerate(self.mapped):
            if 0 <= address - start < length:
                return "mapping %d + %d" % (number, address - start)
        for number, start in enumerate(self.others):
            if -REACH < address - start < REACH:
                return "memory %d %+d" % (number, address - start)
        self.others.append(address)
        return "memory %d, %d in its page" % (len(self.others) - 1, address % PAGE)


def places(lines):
    """The lines with places instead of addresses."""
    text = "\n".join(lines)
    # A program that is not position independent is at 0x400000; its break may be a little above.
    return re.sub(r"\b0x([5-9a-f][0-9a-f]{5}|[0-9a-f]{7,16})\b", Places(text), text).split("\n")


def difference(shown, made):
    """Where two texts differ, or None."""
    a, b = places(shown), places(made)
    for i in range(max(len(a), len(b))):
        if a[i:i + 1] != b[i:i + 1]:
            return "line %d: the document has %r, it is %r" % (
                i + 1, shown[i] if i < len(shown) else "no more",
                made[i] if i < len(made) else "no more")
    return None


def refresh():
    with open(DOCUMENT) as f:
        lines = f.read().split("\n")
    for block in reversed(blocks("\n".join(lines))):
        try:
            if "needs" in block.options:
                harness.require(block.options["needs"])
        except harness.Skip as skip:
            print("left as it is: %s: %s" % (block.name, skip))
            continue
        made = block.made()
        if block.difference(made):
            print("written anew: %s" % block.name)
            lines[block.first:block.first + len(block.lines)] = made
    with open(DOCUMENT, "w") as f:
        f.write("\n".join(lines))


def main():
    with tempfile.TemporaryDirectory(prefix="memtrace-learn-") as directory:
        harness.set_tmp(directory)
        if sys.argv[1:] == ["--refresh"]:
            refresh()
        else:
            words = [w for w in sys.argv[1:] if "=" not in w]
            options = dict(w.split("=", 1) for w in sys.argv[1:] if "=" in w)
            print("\n".join(stream(words[0], words[1:], options)))


if __name__ == "__main__":
    main()
