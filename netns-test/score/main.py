#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Measures how exact capture tools are, packet by packet. Root only.

usage: main.py [--list] [--tap] [--tool NAME]... [--json FILE] [--report FILE] [--soak SECONDS] [FILTER]...

FILTER is part of a scenario's name (tcp, identity.pid), or all of it behind a `=`. Prints one line for each scenario and
tool, then totals; with --tap a result in TAP for each scenario. Exits 1 if mirrorctl was not exact somewhere without a limit
that `status` names.
"""

import argparse
import importlib
import json
import os
import pkgutil
import signal
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from lib import netns  # noqa: E402
from score import catalogue, drivers, report, runner  # noqa: E402
from score.registry import scenarios  # noqa: E402

HEAD = (f"{'scenario':<44} {'tool':<10} {'verdict':<8}{'wire':>7}{'mirrored':>9}{'missed':>7}{'foreign':>8}{'twice':>6}"
        f"{'changed':>8}")


def line(row):
    """One result as text."""
    counts = "".join(f"{row[name]:>{width}}" for name, width in
                     (("wire", 7), ("mirrored", 9), ("missed", 7), ("foreign", 8), ("duplicated", 6), ("changed", 8)))
    return f"{row['scenario']:<44} {row['tool']:<10} {row['verdict']:<8}{counts}"


def main():
    """Runs what the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("filters", nargs="*", metavar="FILTER")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--tap", action="store_true")
    parser.add_argument("--tool", action="append", metavar="NAME")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--report", metavar="FILE")
    parser.add_argument("-v", "--verbose", action="store_true", help="name misplaced packets of every tool")
    parser.add_argument("--soak", type=int, metavar="SECONDS")
    options = parser.parse_args()
    for module in sorted(pkgutil.iter_modules(catalogue.__path__), key=lambda m: m.name):
        importlib.import_module(f"score.catalogue.{module.name}")
    chosen = [spec for spec in scenarios(options.soak is not None)
              if not options.filters or any(named(spec, word) for word in options.filters)]
    if options.list:
        print("".join(f"{spec.name}: {spec.about}\n" for spec in chosen), end="")
        return 0
    if os.geteuid() != 0:
        print("main.py makes network namespaces: run it as root", file=sys.stderr)
        return 1
    if options.soak is not None:
        os.environ["SCORE_SOAK_S"] = str(options.soak)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    netns.PREFIX = f"sc{os.getpid()}-"
    netns.prctl(netns.PR_SET_CHILD_SUBREAPER, 1)
    if options.tap:
        return tap(chosen)
    rows = measure(chosen, options.tool or ["mirrorctl"], options.verbose)
    print(report.summary_text(rows))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"summary": report.summary(rows), "results": rows}, file, indent=1)
            file.write("\n")
    if options.report:
        report.write(options.report, rows)
    bad = [row for row in rows if row["tool"] == "mirrorctl" and row["verdict"] in ("wrong", "broken")]
    return 1 if bad or not rows else 0


def tap(chosen):
    """Runs every scenario under mirrorctl as a test: exact, or in line with a limit that `status` names."""
    tool, failed = drivers.load("mirrorctl"), 0
    print(f"TAP version 13\n1..{len(chosen)}", flush=True)
    for number, spec in enumerate(chosen, 1):
        row = runner.run(spec, "mirrorctl", tool)
        bad = row["verdict"] in (runner.WRONG, runner.BROKEN)
        failed += bad
        skip = f" # SKIP {' '.join(row['lines'])}" if row["verdict"] in (runner.SKIPPED, runner.CANNOT) else ""
        print(f"{'not ok' if bad else 'ok'} {number} - {spec.name}{skip} ({row['seconds']:.1f} s)")
        print("".join(f"# {text}\n" for text in row["lines"] if bad), end="", flush=True)
    return 1 if failed or not chosen else 0


def named(spec, word):
    """True if a filter of the command line means this scenario."""
    return spec.name == word[1:] if word.startswith("=") else word in spec.name


def measure(chosen, tools, verbose):
    """Runs every scenario under every tool and prints a line for each."""
    rows, classes = [], {name: drivers.load(name) for name in tools}
    for name in [name for name in tools if classes[name].missing()]:
        print(f"{name} is left out: {classes.pop(name).missing()}")
    print(HEAD, flush=True)
    for spec in chosen:
        for name, tool in classes.items():
            row = runner.run(spec, name, tool)
            rows.append(row)
            print(line(row), flush=True)
            shown = row["lines"] if verbose or name == "mirrorctl" or row["verdict"] in ("broken", "skipped") else []
            notes = [*(f"limit: {name}" for name in row["limits"]), *row.get("facts", []), *shown]
            print("".join(f"    {text}\n" for text in notes), end="", flush=True)
    return rows


if __name__ == "__main__":
    sys.exit(main())
