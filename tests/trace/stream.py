# SPDX-License-Identifier: MIT
"""Reading the lines of memtrace -s:

    seconds [process/thread comm] call(arguments) = result <duration>  # remark
    seconds [process/thread comm] fault ACCESS ADDRESS minor|MAJOR ... WHERE <duration>
    seconds [process/thread comm] +++ words +++

What happened inside an allocator call follows it, indented. A free has no result.
"""

import re

from harness import Failure

_LINE = re.compile(r"^ *(-?\d+\.\d{6}) \[(\d+)/(\d+) ((?:[^\]\\]|\\.)*)\] (.*)$")
_CALL = re.compile(r"^(\w+)\((.*)\) = (.+?) <([\d.]+)us\+?>(.*)$")
_FREE = re.compile(r"^(\w+)\((0x[0-9a-f]+)\)(  # .*)?$")
_FAULT = re.compile(r"^fault (read|write|exec|\?) (NULL|0x[0-9a-f]+) (minor|MAJOR)"
                    r"((?: copy-on-write)?(?: in kernel)?) (.*?) <(\?|[\d.]+us\+?)>(.*)$")


class Line:
    """One event. kind "call" has name, args, result; "fault" has access, address, major,
    words, where; "free" has name; "task" has only the rest of the line."""

    def __init__(self, text):
        head = _LINE.match(text)
        if not head:
            raise Failure("stream line: expected 'seconds [pid/tid comm] ...' got %r" % text)
        self.text, self.rest = text, head[5].removeprefix("  ")
        self.inside = head[5].startswith("  ")
        self.seconds, self.comm = float(head[1]), head[4]
        self.pid, self.tid = int(head[2]), int(head[3])
        call, fault = _CALL.match(self.rest), _FAULT.match(self.rest)
        if call:
            self.kind, self.name, self.result, self.remark = "call", call[1], call[3], call[5]
            self.args = call[2].split(", ") if call[2] else []
            self.call = "%s(%s) = %s" % (call[1], call[2], call[3])
        elif fault:
            self.kind, self.access, self.major = "fault", fault[1], fault[3] == "MAJOR"
            self.address = 0 if fault[2] == "NULL" else int(fault[2], 16)
            self.words, self.where, self.remark = fault[4].strip(), fault[5], fault[7]
        elif _FREE.match(self.rest):
            self.kind, self.name = "free", _FREE.match(self.rest)[1]
        elif self.rest.startswith("+++"):
            self.kind = "task"
        else:
            raise Failure("stream line: expected a call, a fault or +++ got %r" % text)


def parse(text):
    """The stream's lines among others (the report that follows it, a program's own)."""
    return [Line(line) for line in text.splitlines() if _LINE.match(line)]


def calls(lines, name=None):
    return [l for l in lines if l.kind == "call" and name in (None, l.name)]


def faults(lines):
    return [l for l in lines if l.kind == "fault"]


def mask(call):
    """A call's text without what differs between runs: addresses, and the file of a descriptor."""
    call = re.sub(r"\b0x[0-9a-f]{5,16}\b", "ADDRESS", call)
    call = re.sub(r"(\b\d+)<[^<>]*>", r"\1", call)
    return re.sub(r"\) += ", ") = ", call)
