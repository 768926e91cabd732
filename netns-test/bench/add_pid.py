# SPDX-License-Identifier: GPL-2.0-only
"""(e) How long add-pid takes, from the start of the command to its end, on hosts with more and more sockets and processes."""

import subprocess
import time

from bench.place import OTHER, setup
from lib.mirrorctl import BINARY

TABLE = "add-pid"
# Name, processes and sockets of others, sockets of the target.
HOSTS = (("quiet host", 1, 0, 10), ("10,000 sockets of 100 processes", 100, 10000, 10), ("1,000 processes", 1000, 1000, 10),
         ("target with 10,000 sockets", 1, 0, 10000))


def timed(ns, *words):
    """Milliseconds that one command takes."""
    start = time.monotonic()
    subprocess.run([BINARY, "-q", *[str(word) for word in words]], preexec_fn=setup(ns, OTHER), check=True)
    return (time.monotonic() - start) * 1000


def run(report, place):
    """Adds one process and removes it again, in turn with a command that does nothing: first while nothing else is selected, so
    that programs at socket calls come and go with it, and the kernel makes them wait for those that have just gone; then
    beside another target."""
    report.table(TABLE, "add-pid, the whole command", "ms", note="milliseconds; `mirrorctl version` is the command alone")
    with place.mirror(place.sent):
        host(report, place, "quiet host, the only target, just after another", *HOSTS[0][1:])
        idle = place.load(place.c, "hold", 1, 10)
        place.mirrorctl(place.c, "add-pid", idle.pid)
        for words in HOSTS:
            host(report, place, *words)
        place.drop(idle)


def host(report, place, name, processes, sockets, own):
    """One row."""
    others, target = place.load(place.c, "hold", processes, sockets), place.load(place.c, "hold", 1, own)
    for _ in range(max(report.rounds, 3)):
        report.add(TABLE, "version", discarded(place.c))
        report.add(TABLE, name, timed(place.c, "add-pid", target.pid), most=20)
        place.mirrorctl(place.c, "del-pid", target.pid)
    place.drop(target)
    place.drop(others)


def discarded(ns):
    """Milliseconds of a command that asks the kernel nothing."""
    start = time.monotonic()
    subprocess.run([BINARY, "version"], preexec_fn=setup(ns, OTHER), check=True, stdout=subprocess.DEVNULL)
    return (time.monotonic() - start) * 1000
