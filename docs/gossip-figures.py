#!/usr/bin/env python3
"""Draws the plots of gossip-figures.md, and prints its tables, from what the bench printed:

    cargo bench -p jurat-proto --bench gossip -- detect all heal > figures.csv
    python3 docs/gossip-figures.py figures.csv

Standard library only. The plots are written beside this file.
"""

import csv
import math
import os
import sys
from collections import defaultdict

COLOURS = ["#1b6ca8", "#c0392b", "#2e8b57", "#8e44ad", "#d68910", "#555555"]
WIDTH, HEIGHT = 640, 340
LEFT, RIGHT, TOP, BOTTOM = 56, 190, 34, 46


def rank(values, percent):
    """The value that so many percent do not exceed, by rank."""
    values = sorted(values)
    return values[max(1, math.ceil(len(values) * percent / 100)) - 1]


def read(paths):
    stories = defaultdict(list)
    for path in paths:
        with open(path, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row["kind"] in ("detect", "all", "heal") and row["seed"].isdigit():
                    setting = tuple(
                        row[name]
                        for name in ("kind", "witnesses", "loss", "omit", "mail", "outage")
                    )
                    stories[setting].append(row)
    return stories


def column(rows, name):
    return [int(row[name]) for row in rows if row[name]]


def table(stories):
    print("| what | witnesses | lost | that omit | mail | outage | runs | first | all |")
    print("| --- | ---: | ---: | --- | --- | ---: | ---: | ---: | ---: |")
    for (kind, witnesses, loss, omit, mail, outage), rows in stories.items():
        cells = []
        for name in ("first", "all"):
            rounds = column(rows, name)
            told = f"{rank(rounds, 50)} / {rank(rounds, 99)} / {max(rounds)}" if rounds else ""
            cells.append(told)
        mail = "yes" if mail == "true" else "no"
        print(
            f"| {kind} | {int(witnesses):,} | {loss} % | {omit} | {mail} | {outage} "
            f"| {len(rows)} | {cells[0]} | {cells[1]} |"
        )


class Plot:
    def __init__(self, title, x_name, y_name, xs, y_max, x_log=False, percent=False):
        self.x_log, self.y_max = x_log, y_max
        self.x_min, self.x_max = min(xs), max(xs)
        self.lines = 0
        right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            'font-family="sans-serif" font-size="12">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            f'<text x="{LEFT}" y="18" font-size="14">{title}</text>',
            f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{x_name}</text>',
            f'<text x="14" y="{(TOP + bottom) / 2}" text-anchor="middle" '
            f'transform="rotate(-90 14 {(TOP + bottom) / 2})">{y_name}</text>',
        ]
        for x in xs:
            place = self.x(x)
            self.parts.append(
                f'<path d="M{place:.1f} {TOP}V{bottom}" stroke="#eee"/>'
                f'<text x="{place:.1f}" y="{bottom + 16}" text-anchor="middle">{x:,}</text>'
            )
        step = max(1, math.ceil(y_max / 6))
        ticks = range(0, y_max + 1, 20 if percent else step)
        for y in ticks:
            place = self.y(y)
            self.parts.append(
                f'<path d="M{LEFT} {place:.1f}H{right}" stroke="#ddd"/>'
                f'<text x="{LEFT - 6}" y="{place + 4:.1f}" text-anchor="end">{y}</text>'
            )

    def x(self, value):
        share = lambda x: math.log(x) if self.x_log else x
        low, high = share(self.x_min), share(self.x_max)
        place = (share(value) - low) / (high - low) if high > low else 0.5
        return LEFT + place * (WIDTH - RIGHT - LEFT)

    def y(self, value):
        return HEIGHT - BOTTOM - value / self.y_max * (HEIGHT - BOTTOM - TOP)

    def line(self, name, points, dashed=False, colour=None, steps=False):
        colour = COLOURS[(self.lines if colour is None else colour) % len(COLOURS)]
        place = TOP + 14 + 18 * self.lines
        self.lines += 1
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        path, before = "", None
        for x, y in points:
            at = f"{self.x(x):.1f} {self.y(y):.1f}"
            if before is not None and steps:
                path += f"L{self.x(x):.1f} {self.y(before):.1f}"
            path += ("L" if path else "M") + at
            before = y
        stroke = f'stroke="{colour}" stroke-width="2"{dash}'
        self.parts.append(f'<path d="{path}" fill="none" {stroke}/>')
        if not steps:
            for x, y in points:
                self.parts.append(
                    f'<circle cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="3" fill="{colour}"/>'
                )
        left = WIDTH - RIGHT + 12
        self.parts.append(
            f'<path d="M{left} {place - 4}h22" stroke="{colour}" stroke-width="2"{dash}/>'
            f'<text x="{left + 28}" y="{place}">{name}</text>'
        )

    def write(self, name):
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name)
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(self.parts + ["</svg>", ""]))


def draw_detect(stories):
    found = {int(key[1]): rows for key, rows in stories.items() if key[0] == "detect"}
    if len(found) < 2:
        return
    counts = sorted(found)
    curves = []
    for name in ("first", "all"):
        for percent in (50, 99):
            points = [
                (count, rank(column(found[count], name), percent))
                for count in counts
                if len(column(found[count], name)) >= (10 if percent == 99 else 1)
            ]
            colour = 0 if name == "first" else 1
            curves.append((f"{name}, p{percent}", points, percent == 99, colour))
    most = max(y for _, points, _, _ in curves for _, y in points)
    title = "One victim, 10 % lost: rounds to a proof"
    plot = Plot(title, "witnesses", "rounds", counts, max(4, most), True)
    for name, points, dashed, colour in curves:
        plot.line(name, points, dashed, colour)
    plot.write("gossip-detect.svg")


def draw_all(stories):
    found = {
        (key[4], key[3]): column(rows, "all")
        for key, rows in stories.items()
        if key[0] == "all" and key[2] == "10"
    }
    if not found:
        return
    most = max(max(rounds) for rounds in found.values())
    ticks = list(range(0, most + 2, max(1, most // 8)))
    plot = Plot("1,000 witnesses: until all know", "rounds", "% of runs", ticks, 100, percent=True)
    for index, ((mail, omit), rounds) in enumerate(sorted(found.items(), reverse=True)):
        points = [(0, 0)] + [
            (x, 100 * sum(value <= x for value in rounds) / len(rounds))
            for x in range(1, max(rounds) + 1)
        ]
        name = f"{'mail' if mail == 'true' else 'pull alone'}, {omit} %"
        plot.line(name, points, mail != "true", index, steps=True)
    plot.write("gossip-all.svg")


def draw_heal(stories):
    found = defaultdict(dict)
    for key, rows in stories.items():
        if key[0] == "heal":
            found[int(key[1])][int(key[5])] = column(rows, "first")
    if not found:
        return
    outages = sorted({outage for by_outage in found.values() for outage in by_outage})
    title = "After an outage: rounds to a proof, p99"
    plot = Plot(title, "outage, rounds", "rounds", outages, 3, True)
    for count in sorted(found):
        points = [(outage, rank(rounds, 99)) for outage, rounds in sorted(found[count].items())]
        plot.line(f"{count} witnesses", points)
    plot.write("gossip-heal.svg")


def main():
    stories = read(sys.argv[1:])
    table(stories)
    draw_detect(stories)
    draw_all(stories)
    draw_heal(stories)


if __name__ == "__main__":
    main()
