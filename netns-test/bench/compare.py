#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Is one of two runs of the benchmark faster, or was it noise?

usage: compare.py OLD.json NEW.json

A row differs if the samples of both runs are hardly from one distribution (Mann-Whitney U test, two-sided; of all rows together
one in twenty comparisons of equal things may say so: Holm's correction) and the medians are apart by more than LEAST. Rows
of `per second` are not compared: they are of the machine. Prints the rows that differ; exit status 0, or 3 if one got worse.
"""

import json
import math
import sys

SURE = 0.05
LEAST = {"ratio": 0.01, "times": 0.02, "us": 0.5, "ns": 2.0, "ms": 0.5, "percent": 0.1, "frames": 0.5}
MORE_IS_BETTER = ("ratio",)
WORSE = 3


def ranks(values):
    """Rank of each value, equal ones sharing theirs, and the correction for them."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    rank, ties, at = [0.0] * len(values), 0, 0
    while at < len(order):
        end = at
        while end < len(order) and values[order[end]] == values[order[at]]:
            end += 1
        for i in order[at:end]:
            rank[i] = (at + end + 1) / 2
        ties += (end - at) ** 3 - (end - at)
        at = end
    return rank, ties


def chance(old, new):
    """How likely samples at least this far apart are, were they of one distribution (normal approximation, continuity
    corrected: good from 8 samples each)."""
    n, m = len(old), len(new)
    rank, ties = ranks([*old, *new])
    above = abs(sum(rank[:n]) - n * (n + 1) / 2 - n * m / 2)
    spread = math.sqrt(n * m / 12 * (n + m + 1 - ties / ((n + m) * (n + m - 1))))
    return 1.0 if not spread else math.erfc(max(above - 0.5, 0) / spread / math.sqrt(2))


def differences(old, new):
    """(chance, old row, new row) of each row of both runs, the least likely first."""
    before = {(row["table"], row["name"]): row for row in old["rows"]}
    found = []
    for row in new["rows"]:
        other = before.get((row["table"], row["name"]))
        if other and row["unit"] in LEAST:
            found.append((chance(other["samples"], row["samples"]), other, row))
    return sorted(found, key=lambda one: one[0])


def judge(found):
    """The rows that differ beyond noise."""
    beyond = []
    for number, (likely, old, new) in enumerate(found):
        if likely > SURE / (len(found) - number):
            break       # Holm: the first that fails ends it
        if abs(new["median"] - old["median"]) >= LEAST[new["unit"]]:
            beyond.append((likely, old, new))
    return beyond


def main():
    """Compares and prints; returns the exit status."""
    if len(sys.argv) != 3:
        print("usage: compare.py OLD.json NEW.json (make bench-compare OLD=... NEW=...)", file=sys.stderr)
        return 2
    old, new = (json.load(open(path, encoding="ascii")) for path in sys.argv[1:])
    for key in ("kernel", "cpu", "cpus"):
        if old["machine"][key] != new["machine"][key]:
            print(f"# another {key}: {old['machine'][key]} and {new['machine'][key]}; ratios may differ for that alone")
    found = differences(old, new)
    beyond = judge(found)
    worse = 0
    for likely, before, after in beyond:
        better = (after["median"] > before["median"]) == (after["unit"] in MORE_IS_BETTER)
        worse += not better
        print(f"{'better' if better else 'WORSE '}  {after['table']}: {after['name']}: {before['median']:.4g} to "
              f"{after['median']:.4g} {after['unit']} (chance {likely:.1g})")
    least = min((min(len(a["samples"]), len(b["samples"])) for _, a, b in found), default=0)
    if least < 8:
        print(f"# as few as {least} samples in a row: little can be told apart (make bench takes 9)")
    print(f"# {len(found)} rows of both, {len(beyond)} differ beyond noise, {worse} of them for the worse")
    return WORSE if worse else 0


if __name__ == "__main__":
    sys.exit(main())
