# SPDX-License-Identifier: MIT
"""objects.py [SCALE]: objects of classes, dictionaries, tuples and generators,
as in a simulation: bodies in a grid of cells, moved, sorted and found again."""

import sys


class Body:
    def __init__(self, number, x, y):
        self.number = number
        self.x = x
        self.y = y
        self.past = []

    def move(self, step):
        self.past.append((self.x, self.y))
        if len(self.past) > 8:
            self.past = self.past[4:]
        self.x = (self.x * 31 + self.number + step) % 1009
        self.y = (self.y * 17 + self.x) % 1013


def cells_of(bodies):
    cells = {}
    for body in bodies:
        cells.setdefault((body.x // 16, body.y // 16), []).append(body)
    return cells


def near(cells, body):
    column, row = body.x // 16, body.y // 16
    for dx in (-1, 0, 1):
        for dy in (-1, 0, 1):
            yield from cells.get((column + dx, row + dy), ())


def main():
    scale = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    bodies = [Body(i, i * 7 % 1009, i * 13 % 1013) for i in range(3000)]
    total = 0
    for step in range(max(1, 36 * scale // 100)):
        for body in bodies:
            body.move(step)
        cells = cells_of(bodies)
        total += sum(1 for body in bodies[::3] for other in near(cells, body)
                     if abs(other.x - body.x) + abs(other.y - body.y) < 16)
        order = sorted(bodies, key=lambda b: (b.y, b.x, b.number))
        total += sum(i * b.number for i, b in enumerate(order)) % 1000
    print(total, sum(x + y for b in bodies for x, y in b.past))


main()
