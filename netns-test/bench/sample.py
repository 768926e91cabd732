# SPDX-License-Identifier: GPL-2.0-only
"""How a figure comes about: paired samples, shuffled, reported as medians with quartiles.

A block is a generator: it sets something up, yields a name each time the configuration of that name is ready to be
measured, and takes everything down at its end. Around each block the base is measured; a sample is the block's value against
the mean of these two neighbours. The order of blocks is shuffled anew in each round. Where a base can be had again to within
TOLERANCE, a block is measured again if one of its neighbours is slower by more than the best base of all: then the machine had
other things to do meanwhile.
"""

import random
import statistics
import sys
import time


TOLERANCE, TRIES = 0.03, 3


class Skipped(Exception):
    """A configuration that this host cannot have; the text says why."""


class Report:
    """Everything that was measured: tables of rows, each row with all its samples."""

    def __init__(self, rounds, scale):
        self.rounds, self.scale = rounds, scale
        self.tables, self.rows, self.skipped = {}, {}, {}
        self.facts, self.began = {}, time.time()

    def table(self, ident, title, unit, base="", note=""):
        """Declares a table."""
        self.tables[ident] = {"title": title, "unit": unit, "base": base, "note": note}

    def add(self, table, name, value, **goal):
        """One sample of a row. `least` or `most`: what the median should be."""
        row = self.rows.setdefault((table, name), {"samples": [], **goal})
        row["samples"].append(value)

    def divide(self, table, name, one, other, **goal):
        """A row: the samples of row `one` divided by those of row `other` (each a table and a name) of the same round."""
        if one in self.rows and other in self.rows:
            for above, below in zip(self.rows[one]["samples"], self.rows[other]["samples"]):
                self.add(table, name, above / below, **goal)

    def arrange(self, places):
        """Puts rows in the order of their places, behind those that have none."""
        first = {row: samples for row, samples in self.rows.items() if row not in places}
        self.rows = {**first, **{row: self.rows[row] for row in sorted(places, key=places.get)}}

    def skip(self, table, name, why):
        """Says why a row is missing."""
        self.skipped[(table, name)] = str(why)

    def median(self, table, name):
        """Median of a row, or None."""
        row = self.rows.get((table, name))
        return statistics.median(row["samples"]) if row else None

    def json(self, machine):
        """The whole report as one object (README.md describes it)."""
        rows = []
        for (table, name), row in self.rows.items():
            rows.append({"table": table, "name": name, "unit": self.tables[table]["unit"], **summary(row["samples"]),
                         **{key: value for key, value in row.items() if key != "samples"}, "samples": row["samples"]})
        return {"version": 1, "machine": machine, "rounds": self.rounds, "scale": self.scale,
                "seconds": round(time.time() - self.began, 1), "facts": self.facts,
                "tables": [{"id": ident, **table} for ident, table in self.tables.items()], "rows": rows,
                "skipped": [{"table": table, "name": name, "why": why} for (table, name), why in self.skipped.items()]}


def summary(samples):
    """Number, median and quartiles."""
    if len(samples) < 2:
        return {"n": len(samples), "median": samples[0], "q1": samples[0], "q3": samples[0]}
    q1, median, q3 = statistics.quantiles(samples, n=4, method="inclusive")
    return {"n": len(samples), "median": median, "q1": q1, "q3": q3}


def ratio(value, base):
    """How a rate compares."""
    return value / base


def shift(value, base):
    """How much longer a time is."""
    return value - base


def slower(bases, best):
    """By how much the slower of two bases is slower than the best so far, at most, as a share; the best is kept up to date."""
    for base in bases:
        for key, value in base.items():
            best[key] = max(best.get(key, 0), value)
    return max(1 - value / best[key] for base in bases for key, value in base.items())


def around(report, block, measure, before, best):
    """Measures a block and the base behind it, where a `best` base is known several times while the machine is slower; then the
    try whose bases are fastest counts. Returns what the block was named and had measured, and both bases."""
    tries = []
    while True:
        values = []
        try:
            for name in block():
                values.append((name, measure()))
        except Skipped as why:
            report.skip(table_of(next(iter(before))), block.__name__.replace("_", " "), why)
        after = measure()
        if best is None:
            return values, before, after
        tries.append((slower((before, after), best), len(tries), (values, before, after)))
        if len(tries) == TRIES or tries[-1][0] <= TOLERANCE:
            worst, _, found = min(tries)
            report.facts["slowest base counted"] = max(report.facts.get("slowest base counted", 0), worst)
            return found
        before = after


def paired(report, blocks, measure, compare=ratio, goals=None, bases=None, steady=False):
    """Measures blocks round by round. `measure` returns {key: value}: a key is a table, or a table with the words that row names
    begin with. `goals` is {(table, name): {"least"|"most": x}}; `bases` is {key: (table, name)}: where the base is noted;
    `steady`: a base can be had again to within TOLERANCE."""
    places = {}     # of rows: as they are declared, not as they were shuffled
    best = {} if steady else None
    for number in range(report.rounds):
        order = list(blocks)
        random.shuffle(order)
        print(f"# round {number + 1} of {report.rounds}", file=sys.stderr, flush=True)
        after = measure()
        for block in order:
            values, before, after = around(report, block, measure, after, best)
            for step, (name, got) in enumerate(values):
                for rank, (key, value) in enumerate(got.items()):
                    row = row_of(key, name)
                    places[row] = (rank, blocks.index(block), step)
                    report.add(*row, compare(value, (before[key] + after[key]) / 2), **(goals or {}).get(row, {}))
            for key, where in (bases or {}).items():
                report.add(*where, after[key])
    report.arrange(places)


def table_of(key):
    """Table of a measured key."""
    return key[0] if isinstance(key, tuple) else key


def row_of(key, name):
    """Table and name of the row that a key is measured for."""
    return (key[0], key[1] + name) if isinstance(key, tuple) else (key, name)
