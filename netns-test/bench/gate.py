#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The quick gate: has the mirror become slow, or a capture incomplete? Prints TAP. Root only; half a minute.

usage: gate.py

Margins are wide, for any machine: ratios are of the same run, of the sender's own time. What is measured may be measured again,
three times at most, because a busy machine can only make the mirror look slower (the best try counts, each is printed). What is
counted must be right the first time.
"""

import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bench import sample     # noqa: E402
from bench.place import Capture, Place   # noqa: E402
from lib import wait    # noqa: E402
from lib.capture import read_pcapng     # noqa: E402

ROUNDS, MS, TRIES = 3, 60, 3
LEAST = {"unselected": 0.85, "selected": 0.5}     # of the throughput without a program


def ratios(place, way):
    """Median throughput with a mirror and one target against no program: another process is the target, or this one is."""
    report = sample.Report(ROUNDS, MS)
    report.table("gate", "", "ratio")
    idle = place.load(place.s, "hold", 1, 10)
    with place.traffic(way) as (sender, to):
        def mirror():
            with place.mirror(way):
                place.mirrorctl(way.ns, "add-pid", idle.pid)
                yield "unselected"
                place.mirrorctl(way.ns, "add-pid", (to or sender).pid)
                yield "selected"
        sample.paired(report, [mirror], lambda: {"gate": sender.rate(place.ms)})
    place.drop(idle)
    return {name: report.median("gate", name) for name in LEAST}


def fast_enough(place, way):
    """Tries until it is; yields for each of LEAST whether it is and what was found."""
    found = []
    for _ in range(TRIES):
        found.append(ratios(place, way))
        if all(max(one[name] for one in found) >= least for name, least in LEAST.items()):
            break
    for name, least in LEAST.items():
        values = [one[name] for one in found]
        yield max(values) >= least, (f"{', '.join(f'{value:.3f}' for value in values)} of the throughput without a program, "
                                     f"wanted {least}")


def complete(place, way):
    """Everything that was sent was mirrored, and the capture holds it, but for what it says it dropped."""
    with tempfile.TemporaryDirectory() as tmp, place.traffic(way) as (sender, _), place.mirror(way):
        path = os.path.join(tmp, "mon0.pcapng")
        place.mirrorctl(way.ns, "add-pid", sender.pid)
        capture = Capture(way.ns, "mon0", path)
        sent = sum(sender.ask(MS)[0] for _ in range(ROUNDS))
        wait.within(lambda: len(read_pcapng(path)) >= sent, 10)     # dumpcap does not read on once it is told to end
        captured, dropped = capture.stop()
        written = len(read_pcapng(path))
        stats = place.json(way.ns, "stats")
    return (stats["matched"] == stats["mirrored"] == sent and captured == written == sent - dropped,
            f"{sent} sent, {stats['matched']} matched, {stats['mirrored']} mirrored, {stats['failed']} failed, {captured} "
            f"captured, {written} in the file, {dropped} dropped by the capture")


def results(place):
    """Yields (name, good, what was found)."""
    for way, text in ((place.sent, "sent"), (place.received, "received")):
        for name, (good, found) in zip(LEAST, fast_enough(place, way)):
            yield f"{name} packets {text}", good, found
    yield ("a capture of selected packets is complete", *complete(place, place.sent))


def main():
    """Runs all of it; returns the exit status."""
    place = Place(MS)
    try:
        print("TAP version 13", flush=True)
        failed = number = 0
        for number, (name, good, text) in enumerate(results(place), 1):
            failed += not good
            print(f"{'ok' if good else 'not ok'} {number} - {name}\n# {text}", flush=True)
        print(f"1..{number}", flush=True)
    finally:
        place.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
