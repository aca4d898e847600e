# SPDX-License-Identifier: MIT
"""docs/linux-memory.md: what it shows is what is (learn.py says how)."""

import glob
import os

import learn
from harness import SOURCES, Failure, Skip, case, expect, has


def _blocks(kind):
    with open(learn.DOCUMENT) as f:
        return [b for b in learn.blocks(f.read()) if b.kind == kind]


def _declare(program, shown):
    """A case of its own for what the document shows of a program; of blocks for several kinds of
    machine, the one for this machine."""
    def is_as_shown():
        needs = [b.options.get("needs") for b in shown]
        here = [b for b, need in zip(shown, needs) if need is None or has(need)]
        if not here:
            raise Skip("%s missing" % " or ".join(needs))
        for block in here:
            differs = block.difference(block.made())
            if differs:
                raise Failure("docs/linux-memory.md, %s: %s (make learn writes it anew)" % (
                    block.name, differs))
    is_as_shown.__name__ = program
    case(is_as_shown)


for _program in sorted({b.program for b in _blocks("stream")}):
    _declare(_program, [b for b in _blocks("stream") if b.program == _program])


@case(needs=())
def sources_are_as_shown():
    for block in _blocks("source"):
        expect(block.name, block.lines, block.made())


@case(needs=())
def every_program_is_shown():
    built = {os.path.basename(path)[:-2] for path in glob.glob(os.path.join(SOURCES, "learn_*.c"))}
    expect("programs in the document", {b.program for b in _blocks("stream")}, built)
    expect("programs whose source it has", {b.program for b in _blocks("source")}, built)


@case(needs=())
def a_difference_is_told():
    """Addresses may differ; where they lie in a mapping, sizes and lines may not."""
    shown = ["mmap(NULL, 8192, PROT_READ, MAP_SHARED, -1, 0) = 0x7f0000000000",
             "fault read 0x7f0000001000 minor anonymous"]
    moved = [line.replace("0x7f0000", "0x7e1234") for line in shown]
    expect("moved by ASLR", learn.difference(shown, moved), None)
    for what, other in (("a page", [moved[0], moved[1].replace("1000", "0000")]),
                        ("a length", [moved[0].replace("8192", "4096"), moved[1]]),
                        ("a kind", [moved[0], moved[1].replace("minor", "MAJOR")]),
                        ("an end", moved[:1]),
                        ("more", moved + ["brk(NULL) = 0x555555555000"])):
        if learn.difference(shown, other) is None:
            raise Failure("another text by %s: expected a difference got none" % what)
