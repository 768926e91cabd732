#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Writes the figures of a run into docs/performance.md, between the lines that mark their places.

usage: doc.py [--apart | --other] RUN.json [FURTHER.json]... docs/performance.md

A place is `<!-- bench: WHAT -->` … `<!-- end -->`; WHAT is the id of a table, `machine`, `goals` or `skipped`. What lies between
is replaced; everything else is left alone. Fails if a place names a table that the run lacks. A place `<!-- bench-apart: WHAT -->`
is for a table of another run, in a guest or a long one; it is replaced if this run has it, and says what it was measured on.
--apart: only such places are filled, at least one. --other: only those of kind `bench-other`, for a run on another processor.
A table that FURTHER, a run on the same machine, has as well is that one's.
"""

import json
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bench.table import markdown, number    # noqa: E402

PLACE = re.compile(r"(<!-- (bench|bench-apart|bench-other): ([a-z-]+) -->\n).*?(<!-- end -->)", re.S)


def machine(result):
    """What it was measured on."""
    m = result["machine"]
    where = ", virtual machine" if m["hypervisor"] else ""
    rows = [("kernel", m["kernel"].split("-")[0]), ("processors", f"{m['cpus']} of {m['cpu']} ({m['arch']}){where}"),
            ("memory", f"{m['memory_mib']:,} MiB"), ("Spectre v2", m["spectre_v2"]),
            ("BPF compiler", f"on (hardened: {m['bpf_jit_harden']})" if m["bpf_jit"] != "0" else "off"),
            ("owners are found by", ", ".join(f"{k}: {v}" for k, v in result["facts"].get("attribution", {}).items())),
            ("load average at the end", result["facts"].get("load_average", "").split(" ", 1)[0]),
            ("measured again, in a run of their own", ", ".join(result["facts"].get("tables measured again", []))),
            ("samples", f"{result['rounds']} of each row, {result['scale']} ms each; {result['seconds'] / 60:.0f} minutes in all")]
    return "\n".join(["| | |", "| --- | --- |", *[f"| {name} | {value} |" for name, value in rows if value]])


def keeps(row, value):
    """Is a value as good as the row's goal?"""
    return value >= row["least"] if "least" in row else value <= row["most"]


def goals(result):
    """Every row that has a goal; the floor is the row that this one names."""
    titles = {table["id"]: table["title"] for table in result["tables"]}
    medians = {(row["table"], row["name"]): row["median"] for row in result["rows"]}
    out = ["| what | measured | floor | goal | |", "| --- | ---: | ---: | ---: | --- |"]
    for row in result["rows"]:
        if "least" in row or "most" in row:
            floor = medians.get((row["table"], row.get("floor")))
            goal = f"≥ {row['least']:g}" if "least" in row else f"≤ {row['most']:g}"
            unit = "" if row["unit"] == "ratio" else " " + row["unit"]
            lowest = "" if floor is None else f"{number(floor, row['unit'])}{unit}"
            verdict = "kept" if keeps(row, row["median"]) else "**missed**"
            if verdict != "kept" and floor is not None and not keeps(row, floor):
                verdict += ", by the floor as well"
            out.append(f"| {titles[row['table']]}: {row['name']} | {number(row['median'], row['unit'])}{unit} | {lowest} | "
                       f"{goal}{unit} | {verdict} |")
    return "\n".join(out)


def skipped(result):
    """What this host could not measure."""
    return "\n".join(f"* {row['table']}, {row['name']}: {row['why']}" for row in result["skipped"]) or "Nothing was left out."


def apart(result, what):
    """A table of a run of its own, or its goals, and what that run was; None if this run has not measured it."""
    if what != "goals" and not any(row["table"] == what for row in result["rows"]):
        return None
    m = result["machine"]
    body = goals(result) if what == "goals" else markdown(result, what)
    return (f"{body}\n\nLinux {m['kernel'].split('-')[0]}, {m['cpus']} processors ({m['cpu']}), "
            f"{m['memory_mib']:,} MiB; {result['rounds']} rounds of {result['scale']} ms.")


def fill(result, text, only=None):
    """The page with its places filled; `only`: those of one kind."""
    special = {"machine": machine, "goals": goals, "skipped": skipped}
    filled = []

    def place(found):
        kind, what = found[2], found[3]
        if only and kind != only:
            body = None
        elif kind == "bench-other" and not only:
            body = None
        elif kind != "bench":
            body = apart(result, what)
        else:
            body = special[what](result) if what in special else markdown(result, what)
        if body is None:
            return found[0]
        filled.append(what)
        return f"{found[1]}{body}\n{found[4]}"
    text = PLACE.sub(place, text)
    if not filled:
        raise SystemExit("the run has no table that the page has a place for")
    return text


def read(path):
    """A run."""
    with open(path, encoding="ascii") as file:
        return json.load(file)


def take(result, further):
    """Puts the tables of a further run in the place of those that `result` has; each is of one run as before."""
    if any(further[key] != result[key] for key in ("machine", "rounds", "scale")):
        raise SystemExit("the further run is of another machine, or of other samples")
    ours = {row["table"] for row in further["rows"]}
    result["rows"] = [row for row in result["rows"] if row["table"] not in ours] + further["rows"]
    result["facts"]["tables measured again"] = sorted(set(result["facts"].get("tables measured again", [])) | ours)


def main():
    """Reads, fills and writes; returns the exit status."""
    only = {"--apart": "bench-apart", "--other": "bench-other"}.get((sys.argv[1:] or [""])[0])
    *runs, target = sys.argv[2 if only else 1:] or [""]
    if not runs:
        print("usage: doc.py [--apart | --other] RUN.json [FURTHER.json]... PAGE", file=sys.stderr)
        return 2
    result = read(runs[0])
    for path in runs[1:]:
        take(result, read(path))
    with open(target, encoding="utf-8") as file:
        page = fill(result, file.read(), only)
    with open(target + ".new", "w", encoding="utf-8") as file:
        file.write(page)
    os.rename(target + ".new", target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
