# SPDX-License-Identifier: GPL-2.0-only
"""(a) What a packet of no target costs: sent or received, with more and more targets and sockets."""

import contextlib

from bench import kernel
from bench.calls import nothing
from bench.sample import Skipped, paired
from lib import netns

TARGETS = 10000
SOCKETS = (1000, 15000)
# Way, its name, goal, the program of floor.bpf.c that asks for no more than the socket.
WAYS = (("sent", "sent", 0.98, "floor_sent"), ("received", "received", 0.97, "floor_owner"),
        ("container", "sent to a container (a veth whose other end is in another namespace)", None, None))


def run(report, place):
    """Measures all ways."""
    report.table("base", "What the ratios are ratios of", "per second")
    idle = place.load(place.s, "hold", 1, 10)
    for name, text, least, floor in WAYS:
        report.table(f"unselected-{name}", f"Unselected small UDP packets, {text}", "ratio", base="no program",
                     note="throughput against no program at all")
        way = getattr(place, name)
        goal = {"least": least, "floor": FLOOR} if least else {}
        one(report, place, way, name, idle, goal, floor)
        for sockets in SOCKETS if least else ():
            try:
                crowded(report, place, way, name, idle, sockets, goal, floor)
            except Skipped as why:
                report.skip(f"unselected-{name}", f"{sockets:,} sockets", why)
    place.drop(idle)


FLOOR = "floor: asking for the socket, and empty programs at socket calls"


def lowest(place, way, program, more=""):
    """A block: the least that a mirror does which asks for the socket, on packets alone and behind socket calls as well."""
    def floor():
        with contextlib.ExitStack() as stack:
            try:
                fds = stack.enter_context(kernel.loaded("floor", f"{kernel.BPFFS}/{netns.PREFIX}floor"))
            except OSError as why:
                raise Skipped(str(why)) from None
            stack.enter_context(place.tcx(way, fds[program], (way.hook,)))
            yield f"floor: asking for the socket alone{more}"
            stack.enter_context(nothing())
            yield FLOOR + more
    return floor


def one(report, place, way, name, idle, goal, floor):
    """One socket: against empty programs, with no, one and many targets."""
    table = f"unselected-{name}"
    many = f"mirror, {TARGETS:,} targets"

    def tcx():
        with place.empty_tcx(way):
            yield "empty TCX program"

    def cls():
        with place.empty_cls_bpf(way):
            yield "empty cls_bpf filter"

    def mirror():
        with place.mirror(way):
            yield "mirror, no target"
            place.mirrorctl(way.ns, "add-pid", idle.pid)
            yield "mirror, 1 target"
            kernel.fill(place.pins(way.ns) + "/targets", TARGETS)
            yield many

    with place.traffic(way) as (sender, _):
        paired(report, [tcx, cls, *([lowest(place, way, floor)] if floor else []), mirror],
               lambda: {table: sender.rate(place.ms)}, steady=True,
               goals={(table, row): {**goal, **rest} for row, rest in (
                   ("mirror, no target", {"floor": "empty TCX program"} if goal else {}), ("mirror, 1 target", {}), (many, {}))},
               bases={table: ("base", f"{name}, 1 socket")})


def crowded(report, place, way, name, idle, sockets, goal, floor):
    """Each packet is of another socket."""
    table, more = f"unselected-{name}", f", {sockets:,} sockets"
    row, goal = f"mirror, 1 target{more}", {**goal, "floor": FLOOR + more}

    def mirror():
        with place.mirror(way):
            place.mirrorctl(way.ns, "add-pid", idle.pid)
            yield row

    with place.traffic(way, sockets) as (sender, _):
        paired(report, [lowest(place, way, floor, more), mirror], lambda: {table: sender.rate(place.ms)}, steady=True,
               goals={(table, row): goal}, bases={table: ("base", f"{name}{more}")})
