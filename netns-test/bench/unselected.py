# SPDX-License-Identifier: GPL-2.0-only
"""(a) What a packet of no target costs: sent or received, with more and more targets and sockets."""

from bench import kernel
from bench.sample import Skipped, paired

TARGETS = 10000
SOCKETS = (1000, 15000)
WAYS = (("sent", "sent", 0.98), ("received", "received", 0.97),
        ("container", "sent to a container (a veth whose other end is in another namespace)", None))


def run(report, place):
    """Measures all ways."""
    report.table("base", "What the ratios are ratios of", "per second")
    idle = place.load(place.s, "hold", 1, 10)
    for name, text, least in WAYS:
        report.table(f"unselected-{name}", f"Unselected small UDP packets, {text}", "ratio", base="no program",
                     note="throughput against no program at all")
        way = getattr(place, name)
        goal = {"least": least} if least else {}
        one(report, place, way, name, idle, goal)
        for sockets in SOCKETS if least else ():
            try:
                crowded(report, place, way, name, idle, sockets, goal)
            except Skipped as why:
                report.skip(f"unselected-{name}", f"{sockets:,} sockets", why)
    place.drop(idle)


def one(report, place, way, name, idle, goal):
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
        paired(report, [tcx, cls, mirror], lambda: {table: sender.rate(place.ms)},
               goals={(table, row): goal for row in ("mirror, no target", "mirror, 1 target", many)},
               bases={table: ("base", f"{name}, 1 socket")})


def crowded(report, place, way, name, idle, sockets, goal):
    """Each packet is of another socket."""
    table, row = f"unselected-{name}", f"mirror, 1 target, {sockets:,} sockets"

    def mirror():
        with place.mirror(way):
            place.mirrorctl(way.ns, "add-pid", idle.pid)
            yield row

    with place.traffic(way, sockets) as (sender, _):
        paired(report, [mirror], lambda: {table: sender.rate(place.ms)}, goals={(table, row): goal},
               bases={table: ("base", f"{name}, {sockets:,} sockets")})
