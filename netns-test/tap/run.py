#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Tests of the inline tap in network namespaces, as TAP. Root only.

usage: run.py [--list] [FILTER]...

FILTER is part of a case's name, or all of it behind a `=`. MIRRORCTL names the binary under test, EXHAUSTIVE=1 makes the
crash cases kill at every system call, STRICT=1 turns skips into failures, SLOW=N multiplies every deadline.
"""

import glob
import os
import sys
import time
import traceback

import cases_beside
import cases_control
import cases_crash
import cases_select
import cases_wire
from world import BPFFS, BINARY, Failure, Skip, World

ALL = [("wire.mode_of_auto", cases_wire.mode_of_auto), *cases_wire.cases(), *cases_beside.cases(), *cases_select.cases(),
       *cases_control.cases(), *cases_crash.cases()]


def run_case(function):
    """Runs one case in a world of its own; returns (verdict, text)."""
    before = set(glob.glob(BPFFS + "/xdp/*"))
    verdict, text, world = "ok", "", World()
    try:
        function(world)
    except Skip as skip:
        verdict, text = "skip", str(skip)
    except Failure as failure:
        verdict, text = "not ok", str(failure)
    except Exception:   # pylint: disable=broad-except
        verdict, text = "not ok", traceback.format_exc()
    left = world.close()
    left += sorted(set(glob.glob(BPFFS + "/xdp/*")) - before)
    if left:
        verdict, text = "not ok", f"{text}\nleft behind: {left}".strip()
    return verdict, text


def named(name, word):
    """True if a filter of the command line means this case."""
    return name == word[1:] if word.startswith("=") else word in name


def main():
    """Runs what the command line asks for; returns the exit status."""
    words = [word for word in sys.argv[1:] if word != "--list"]
    chosen = [(name, function) for name, function in ALL if not words or any(named(name, word) for word in words)]
    if "--list" in sys.argv:
        print("\n".join(name for name, _ in chosen))
        return 0
    if os.geteuid() or not os.access(BINARY, os.X_OK):
        print(f"Bail out! needs root and {BINARY}")
        return 1
    counts = {"ok": 0, "not ok": 0, "skip": 0}
    print(f"TAP version 13\n1..{len(chosen)}", flush=True)
    for number, (name, function) in enumerate(chosen, 1):
        began = time.monotonic()
        verdict, text = run_case(function)
        if verdict == "skip" and os.environ.get("STRICT") == "1":
            verdict = "not ok"
        counts[verdict] += 1
        tail = f" # SKIP {text}" if verdict == "skip" else f" ({time.monotonic() - began:.1f} s)"
        print(f"{'not ok' if verdict == 'not ok' else 'ok'} {number} - tap.{name}{tail}")
        if verdict == "not ok":
            print("".join(f"# {row[:1200]}\n" for row in text.splitlines()), end="")
        sys.stdout.flush()
    print(f"{counts['ok']} passed, {counts['not ok']} failed, {counts['skip']} skipped")
    return 1 if counts["not ok"] or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
