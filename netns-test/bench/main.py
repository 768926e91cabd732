#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Measures what the mirror costs, prints tables and writes JSON. Root only; needs no network.

usage: main.py [--json FILE] [--rounds N] [--ms MS] [--long] [--tell] [MEASURE]...

MEASURE is one of the names in MEASURES or APART below; without any, all MEASURES run. --rounds: samples of each row (9); --ms:
length of a sample of our own generator (80); --long: those of LONG too; --tell: the JSON as one line, `@bench JSON`, for whoever
runs a guest. README.md says what is measured and what the JSON holds.
"""

import argparse
import json
import os
import platform
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bench import add_pid, calls, copies, job, latency, programs, selected, sockets, tap, tiers, unselected     # noqa: E402
from bench.place import Place   # noqa: E402
from bench.sample import Report     # noqa: E402
from bench.table import text    # noqa: E402

MEASURES = {
    "unselected": lambda report, place, args: unselected.run(report, place),
    "selected": lambda report, place, args: selected.run(report, place),
    "job": lambda report, place, args: job.run(report, place),
    "latency": lambda report, place, args: latency.run(report, place),
    "add-pid": lambda report, place, args: add_pid.run(report, place),
    "calls": lambda report, place, args: calls.run(report, place),
    "programs": lambda report, place, args: programs.run(report, place),
    "copies": lambda report, place, args: copies.run(report, place),
    "tap": lambda report, place, args: tap.run_all(report, args.ms),
}
# Only where asked for: what takes long (--long asks for it, too), and what makes sense in a guest.
LONG = {"sockets": lambda report, place, args: sockets.run(report, place)}
APART = {**LONG, "tiers": lambda report, place, args: tiers.run(report, place)}


def read(path, default=""):
    """A line of a file."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.readline().strip()
    except OSError:
        return default


def machine():
    """What the figures were measured on."""
    model = ""
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith(("model name", "CPU implementer")):
                model = line.split(":", 1)[1].strip()
                break
    with open("/proc/meminfo", encoding="ascii") as file:
        memory = int(file.readline().split()[1]) // 1024
    return {"kernel": platform.release(), "arch": platform.machine(), "cpus": os.cpu_count(), "cpu": model, "memory_mib": memory,
            "spectre_v2": read("/sys/devices/system/cpu/vulnerabilities/spectre_v2"),
            "bpf_jit": read("/proc/sys/net/core/bpf_jit_enable"), "bpf_jit_harden": read("/proc/sys/net/core/bpf_jit_harden"),
            "hypervisor": "hypervisor" in open("/proc/cpuinfo", encoding="ascii", errors="replace").read()}


def main():
    """Runs what was asked for; returns the exit status."""
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n", 2)[1].removeprefix("usage: "))
    parser.add_argument("--json")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--ms", type=int, default=80)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--tell", action="store_true")
    parser.add_argument("measures", nargs="*")
    args = parser.parse_args()
    known = {**MEASURES, **APART}
    unknown = [name for name in args.measures if name not in known]
    if unknown:
        parser.error(f"no measure {', '.join(unknown)}; there are {', '.join(known)}")
    os.setpriority(os.PRIO_PROCESS, 0, -20)
    report = Report(args.rounds, args.ms)
    for name in args.measures or [*MEASURES, *(LONG if args.long else ())]:
        print(f"# {name}", file=sys.stderr, flush=True)
        place, began = Place(args.ms), time.monotonic()
        try:
            known[name](report, place, args)
        finally:
            place.close()
        report.facts.setdefault("seconds", {})[name] = round(time.monotonic() - began, 1)
    report.facts["load_average"] = read("/proc/loadavg")
    result = report.json(machine())
    print(text(result))
    if args.tell:
        print("@bench " + json.dumps(result), flush=True)
    if args.json:
        with open(args.json + ".new", "w", encoding="ascii") as file:
            json.dump(result, file, indent=1)
            file.write("\n")
        os.rename(args.json + ".new", args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
