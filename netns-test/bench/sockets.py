# SPDX-License-Identifier: GPL-2.0-only
"""(a) again, in the long mode: what a packet of no target costs on hosts with more and more sockets, up to a million. A process
may not have so many, so many processes do; the sent packets are of all of them in turn (load.c)."""

import os
import resource

from bench.add_pid import timed
from bench.sample import Skipped, paired
from bench.unselected import FLOOR, WAYS, lowest
from lib import netns, wait

SOCKETS = (1, 10000, 1000000)
TEXTS = {"sent": "sent, each packet of another socket", "received": "received, by one of the sockets"}
GOALS = {name: (least, floor) for name, _, least, floor in WAYS}
ADD_PID = "sockets-add-pid"
CLOSED_S = 120


def used(ns):
    """Sockets of a namespace."""
    with netns.inside(ns), open("/proc/thread-self/net/sockstat", encoding="ascii") as file:
        return int(file.readline().split()[2])


def limits():
    """What may have been in the way."""
    memory = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    with open("/proc/sys/fs/file-max", encoding="ascii") as file:
        files = int(file.read())
    return (f"a process may open {resource.getrlimit(resource.RLIMIT_NOFILE)[1]:,} files, all together {files:,}; "
            f"{memory:,} MiB of memory are free")


def run(report, place):
    """Both ways, with few sockets and with many."""
    idle = place.load(place.s, "hold", 1, 10)
    report.table(ADD_PID, "add-pid on a host with many sockets, the whole command", "ms", note="milliseconds")
    report.table("base-sockets", "What the ratios are ratios of", "per second")
    for name, text in TEXTS.items():
        report.table(f"sockets-{name}", f"Unselected small UDP packets on a host with many sockets, {text}", "ratio",
                     base="no program", note="throughput against no program at all, on the same host")
        for count in SOCKETS:
            try:
                crowd(report, place, name, count, idle)
            except Skipped as why:
                report.skip(f"sockets-{name}", f"{count:,} sockets", f"{why} ({limits()})")
    place.drop(idle)


def crowd(report, place, name, count, idle):
    """So many sockets, without and with a mirror of one other target."""
    least, floor = GOALS[name]
    way, table, row = getattr(place, name), f"sockets-{name}", f"{count:,} socket{'s' if count > 1 else ''}"
    holder = way.source if name == "sent" else way.sink
    before = used(holder)

    def mirror():
        with place.mirror(way):
            report.add(ADD_PID, f"{row}, {name}", timed(way.ns, "add-pid", idle.pid))
            yield row

    with place.traffic(way, count) as (sender, _):
        report.facts[f"sockets while {name}, {row}"] = used(holder)
        paired(report, [lowest(place, way, floor, f", {row}"), mirror], lambda: {table: sender.rate(place.ms)}, steady=True,
               goals={(table, row): {"least": least, "floor": f"{FLOOR}, {row}"}},
               bases={table: ("base-sockets", f"{name}, {row}")})
    wait.until(lambda: used(holder) <= before, "the sockets to be closed", CLOSED_S)
