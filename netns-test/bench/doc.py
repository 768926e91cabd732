#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Writes the figures of a run into docs/performance.md, between the lines that mark their places.

usage: doc.py RUN.json docs/performance.md

A place is `<!-- bench: WHAT -->` … `<!-- end -->`; WHAT is the id of a table, `machine`, `goals` or `skipped`. What lies between
is replaced; everything else is left alone. Fails if a place names a table that the run lacks.
"""

import json
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bench.table import markdown, number    # noqa: E402

PLACE = re.compile(r"(<!-- bench: ([a-z-]+) -->\n).*?(<!-- end -->)", re.S)


def machine(result):
    """What it was measured on."""
    m = result["machine"]
    where = ", virtual machine" if m["hypervisor"] else ""
    rows = [("kernel", m["kernel"].split("-")[0]), ("processors", f"{m['cpus']} of {m['cpu']} ({m['arch']}){where}"),
            ("memory", f"{m['memory_mib']:,} MiB"), ("Spectre v2", m["spectre_v2"]),
            ("BPF compiler", f"on (hardened: {m['bpf_jit_harden']})" if m["bpf_jit"] != "0" else "off"),
            ("owners are found by", ", ".join(f"{k}: {v}" for k, v in result["facts"].get("attribution", {}).items())),
            ("load average at the end", result["facts"].get("load_average", "").split(" ", 1)[0]),
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


def fill(result, text):
    """The page with its places filled."""
    special = {"machine": machine, "goals": goals, "skipped": skipped}

    def place(found):
        what = found[2]
        body = special[what](result) if what in special else markdown(result, what)
        return f"{found[1]}{body}\n{found[3]}"
    return PLACE.sub(place, text)


def main():
    """Reads, fills and writes; returns the exit status."""
    if len(sys.argv) != 3:
        print("usage: doc.py RUN.json PAGE", file=sys.stderr)
        return 2
    with open(sys.argv[1], encoding="ascii") as file:
        result = json.load(file)
    with open(sys.argv[2], encoding="utf-8") as file:
        page = fill(result, file.read())
    with open(sys.argv[2] + ".new", "w", encoding="utf-8") as file:
        file.write(page)
    os.rename(sys.argv[2] + ".new", sys.argv[2])
    return 0


if __name__ == "__main__":
    sys.exit(main())
