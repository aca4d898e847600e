# SPDX-License-Identifier: MIT
"""The ring plane's stacks, which the program's threads take themselves: the same places
as the uprobe plane's, whose stacks are taken by the kernel side."""

import os

from harness import Skip, case, expect, expect_at_least, expect_true, launch, prog

FAMILY = {"malloc", "calloc", "realloc", "reallocarray", "memalign", "aligned_alloc",
          "posix_memalign"}
SHARE = 0.02  # of the calls: no more may have a stack that is cut


def places(run):
    """Calls by stack, as names from the allocator's function outwards; and how many are cut."""
    calls, cut = {}, 0
    for site in run.report["sites"]:
        names = tuple((f["symbol"] or "%s+%x" % (f["module"], f["offset"])).split(".")[0]
                      for f in site["stack"])
        if site["calls"] and names and names[0] in FAMILY:
            calls[names] = calls.get(names, 0) + site["calls"]
            cut += site["calls"] * site["truncated"]
    return calls, cut


def both(*argv, **more):
    for plane in ("ring", "uprobe"):
        run = launch(list(argv), opts=("--heap=" + plane,), status=0, **more)
        expect("events lost", run.report["events"]["lost"], 0)
        yield places(run)


@case
def the_same_places_in_threads():
    (ring, ring_cut), (uprobe, _) = both(prog("heap_family"))
    for names in sorted(set(ring) | set(uprobe)):
        expect("calls of %s" % " < ".join(names), ring.get(names), uprobe.get(names))
    expect("stacks that are cut", ring_cut, 0)


@case
def the_same_places_in_python():
    """A program without frame pointers, loaded where it was linked to, and its modules."""
    if not os.access("/usr/bin/python3", os.X_OK):
        raise Skip("no /usr/bin/python3")
    code = "import json\nfor i in range(40): json.loads(json.dumps({str(j): [j] for j in range(50)}))"
    env = {"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    (ring, ring_cut), (uprobe, _) = both("/usr/bin/python3", "-S", "-c", code, env=env)
    total = sum(ring.values())
    expect_at_least("calls", total, 20000)
    expect_true("less than %.0f %% of the stacks are cut" % (SHARE * 100),
                ring_cut < SHARE * total, "%d of %d" % (ring_cut, total))
    # The environment is not the same, so some few at its beginning are not either.
    same = sum(min(ring[names], uprobe.get(names, 0)) for names in ring)
    expect_true("calls at places that uprobes tell as well", same > 0.99 * total,
                "%d of %d" % (same, total))
