#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Runs TAP programs as one TAP stream, and totals several of them.

    tap.py run LEVEL 'LABEL::COMMAND' ...   exit 1 if anything failed
    tap.py total LEVEL ...                  reasons of skips, then `N passed, N failed, N skipped`

A program that dies, runs fewer tests than it planned, or prints none counts as failed. Results lie in $OUT/tap/.
"""
import os
import re
import shlex
import subprocess
import sys

OUT = os.path.join(os.environ.get("OUT", ".output"), "tap")
LINE = re.compile(r"^(not ok|ok)\b\s*\d*\s*-?\s*(.*)$")
SKIP = re.compile(r"#\s*skip\S*\s*(.*)$", re.IGNORECASE)
TODO = re.compile(r"#\s*todo\b", re.IGNORECASE)
PLAN = re.compile(r"^1\.\.(\d+)\s*(?:#\s*skip\S*\s*(.*))?$", re.IGNORECASE)


class Stream:
    """One level: every result as `passed`, `failed` or `skipped`."""

    def __init__(self, level):
        os.makedirs(OUT, exist_ok=True)
        self.path = os.path.join(OUT, level + ".tap")
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.lines = []
        self.number = 0
        self.counts = {"passed": 0, "failed": 0, "skipped": 0}

    def say(self, line):
        print(line, flush=True)
        self.lines.append(line)

    def result(self, kind, text, reason=""):
        self.number += 1
        self.counts[kind] += 1
        word = "not ok" if kind == "failed" else "ok"
        tail = f" # SKIP {reason or 'no reason given'}" if kind == "skipped" else ""
        self.say(f"{word} {self.number} - {text}{tail}")

    def finish(self):
        self.say(f"1..{self.number}")
        c = self.counts
        self.say(f"# {c['passed']} passed, {c['failed']} failed, {c['skipped']} skipped")
        # Renamed into place: an interrupted run leaves no result that could be taken for one.
        with open(self.path + ".new", "w", encoding="utf-8") as f:
            f.write("\n".join(self.lines) + "\n")
        os.rename(self.path + ".new", self.path)
        return 1 if c["failed"] else 0


def take_line(stream, label, line, state):
    plan = PLAN.match(line)
    hit = LINE.match(line)
    if plan:
        state["plan"] = int(plan.group(1))
        if state["plan"] == 0:
            stream.result("skipped", label, plan.group(2))
            state["ran_any"] = True
    elif hit:
        state["ran"] += 1
        state["ran_any"] = True
        text = hit.group(2)
        skip = SKIP.search(text)
        if skip:
            stream.result("skipped", f"{label}: {text[:skip.start()].strip()}", skip.group(1))
        elif hit.group(1) == "not ok" and not TODO.search(text):
            state["failed"] = True
            stream.result("failed", f"{label}: {text}")
        else:
            stream.result("passed", f"{label}: {text}")
    elif line.startswith("Bail out!"):
        state["failed"] = True
        state["ran_any"] = True
        stream.result("failed", f"{label}: {line}")
    elif line:
        stream.say(line if line.startswith("#") else "# " + line)


def run_one(stream, label, command):
    state = {"plan": None, "ran": 0, "ran_any": False, "failed": False}
    try:
        child = subprocess.Popen(shlex.split(command), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    except OSError as e:
        stream.result("failed", f"{label}: cannot start: {e.strerror}")
        return
    for raw in child.stdout:
        take_line(stream, label, raw.decode("utf-8", "replace").strip(), state)
    status = child.wait()
    if state["plan"] is not None and state["plan"] != state["ran"]:
        stream.result("failed", f"{label}: planned {state['plan']} tests, ran {state['ran']}")
    elif not state["ran_any"]:
        stream.result("failed", f"{label}: ran no test (exit status {status})")
    elif status and not state["failed"]:
        stream.result("failed", f"{label}: exit status {status} though no test failed")


def run(level, jobs):
    stream = Stream(level)
    for job in jobs:
        label, _, command = job.partition("::")
        run_one(stream, label, command)
    return stream.finish()


def total(levels):
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    failures, skips = [], []
    for level in levels:
        try:
            with open(os.path.join(OUT, level + ".tap"), encoding="utf-8") as f:
                lines = f.read().splitlines()
        except FileNotFoundError:
            counts["failed"] += 1
            failures.append(f"{level}: did not run to its end")
            continue
        for line in lines:
            hit = LINE.match(line)
            if not hit:
                continue
            skip = SKIP.search(hit.group(2))
            if skip:
                counts["skipped"] += 1
                skips.append(f"{level}: {hit.group(2)[:skip.start()].strip()}: {skip.group(1)}")
            elif hit.group(1) == "ok":
                counts["passed"] += 1
            else:
                counts["failed"] += 1
                failures.append(f"{level}: {hit.group(2)}")
    for text in skips:
        print("skipped", text)
    for text in failures:
        print("failed", text)
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped", flush=True)
    return 1 if counts["failed"] else 0


def main(argv):
    if len(argv) >= 3 and argv[1] == "run":
        return run(argv[2], argv[3:])
    if len(argv) >= 3 and argv[1] == "total":
        return total(argv[2:])
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv))
