#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The judgement of bench-compare on made-up runs. Prints TAP; needs no root."""

import os
import random
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bench import compare   # noqa: E402
from bench.sample import summary    # noqa: E402


def run(rows):
    """A run with these rows: {name: samples}."""
    return {"rows": [{"table": "t", "name": name, "unit": "ratio", "samples": samples, **summary(samples)}
                     for name, samples in rows.items()]}


def noise(rng, middle, spread):
    """Nine samples."""
    return [rng.gauss(middle, spread) for _ in range(9)]


def told(old, new):
    """Names of the rows that are said to differ."""
    return {row["name"] for _, _, row in compare.judge(compare.differences(run(old), run(new)))}


def equal_runs_are_equal():
    """Forty equal rows, a hundred times: at most one run in twenty says anything, with room for chance."""
    rng = random.Random(1)
    wrong = sum(bool(told({i: noise(rng, 1, 0.05) for i in range(40)}, {i: noise(rng, 1, 0.05) for i in range(40)}))
                for _ in range(100))
    return wrong <= 10, f"{wrong} of 100 runs said that equal things differ"


def a_loss_is_found():
    """One row of forty lost a fifth, with 5 % of noise."""
    rng = random.Random(2)
    found = 0
    for _ in range(50):
        old = {i: noise(rng, 1, 0.05) for i in range(40)}
        new = {i: noise(rng, 0.8 if i == 7 else 1, 0.05) for i in range(40)}
        found += 7 in told(old, new)
    return found >= 40, f"{found} of 50 losses found"


def a_sure_trifle_is_none():
    """Half a percent, however sure, is not told."""
    rng = random.Random(3)
    found = told({0: noise(rng, 1, 0.0001)}, {0: noise(rng, 1.005, 0.0001)})
    return not found, f"told: {found}"


def ties_are_no_difference():
    """The same samples in another order."""
    samples = [1.0, 1.0, 1.1, 1.1, 1.2, 0.9, 0.9, 1.0, 1.05]
    return compare.chance(samples, samples[::-1]) == 1.0, str(compare.chance(samples, samples[::-1]))


def apart_is_sure():
    """Nine samples all below nine others: the exact chance is 2 / 48620, the approximation is near."""
    likely = compare.chance([float(i) for i in range(9)], [float(i) for i in range(10, 19)])
    return 1e-5 < likely < 1e-3, f"{likely}"


CASES = (equal_runs_are_equal, a_loss_is_found, a_sure_trifle_is_none, ties_are_no_difference, apart_is_sure)


def main():
    """Runs all; returns the exit status."""
    failed = 0
    print(f"1..{len(CASES)}")
    for number, case in enumerate(CASES, 1):
        good, text = case()
        failed += not good
        print(f"{'ok' if good else 'not ok'} {number} - {case.__name__}\n# {text}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
