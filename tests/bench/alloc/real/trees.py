# SPDX-License-Identifier: MIT
"""trees.py [SCALE]: many small objects that live together, then all go: trees of
tuples, a large dictionary of strings and lists, numbers of many digits."""

import sys


def tree(depth):
    return (tree(depth - 1), tree(depth - 1)) if depth else (None, None)


def count(node):
    return 1 + count(node[0]) + count(node[1]) if node[0] else 1


def main():
    scale = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    kept = tree(14)
    total = 0
    for turn in range(max(1, 4 * scale // 100)):
        total += count(tree(12 + turn % 3))
        table = {"key %d" % i: [i, str(i), i * i] for i in range(40000)}
        for i in range(0, 40000, 3):
            del table["key %d" % i]
        total += sum(v[0] for v in table.values())
        a, b = 1, 1
        for _ in range(3000):
            a, b = b, a + b
        total += b % 1000007
    print(total, count(kept))


main()
