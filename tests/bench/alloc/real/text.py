# SPDX-License-Identifier: MIT
"""text.py [SCALE]: text and data: regular expressions, JSON there and back, strings
split, joined and formatted, a count of words."""

import collections
import json
import re
import sys

WORD = re.compile(r"(?P<first>[a-z])(?P<rest>[a-z]*)(?P<digits>\d+)?")


def record(i):
    return {"id": i, "name": "item %d" % i, "tags": ["tag%d" % (i % k + 1) for k in range(1, 8)],
            "price": i * 1.25, "parts": [{"n": k, "of": str(i * k)} for k in range(4)]}


def main():
    scale = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    words = collections.Counter()
    total = 0
    for turn in range(max(1, 10 * scale // 100)):
        text = json.dumps([record(i + turn) for i in range(2000)], sort_keys=True)
        back = json.loads(text)
        total += sum(len(r["parts"]) + int(r["price"]) for r in back)
        for match in WORD.finditer(text):
            words[match["rest"] + (match["digits"] or "")] += 1
        lines = ["%s=%s" % pair for pair in sorted(words.items())]
        total += len("\n".join(line.upper().replace("=", " = ") for line in lines))
        total += len({line.split("=")[0][::-1] for line in lines})
    print(total, len(words), sum(words.values()))


main()
