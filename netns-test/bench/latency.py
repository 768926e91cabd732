# SPDX-License-Identifier: GPL-2.0-only
"""(d) How much longer a round trip takes."""

from bench.place import OTHER
from bench.sample import paired, shift

UDP, TCP = 4001, 4002
TABLES = {"latency-udp": UDP, "latency-tcp": TCP}


def run(report, place):
    """A UDP and a TCP ping-pong, process to process, whose ends sit on two processors."""
    for table in TABLES:
        word = table[-3:].upper()
        report.table(table, f"{word} ping-pong: median round trip", "us", base="no program",
                     note="how much longer than without a program, microseconds")
    report.table("base-latency", "Round trip without a program", "us")
    way = place.between
    kinds = {table: table[-3:] for table in TABLES}
    echoes = [place.load(way.sink, "echo", kinds[table], way.to, port, cpu=OTHER) for table, port in TABLES.items()]
    pings = {table: place.load(way.source, "ping", kinds[table], way.to, port) for table, port in TABLES.items()}
    idle = place.load(place.s, "hold", 1, 10)

    def measure():
        return {table: ping.ask(int(place.ms))[2] / 1000 for table, ping in pings.items()}

    def tcx():
        with place.empty_tcx(way):
            yield "empty TCX program, one way"

    def mirror():
        with place.mirror(way):
            place.mirrorctl(way.ns, "add-pid", idle.pid)
            yield "mirror, not selected"
            place.mirrorctl(way.ns, "add-pid", *[ping.pid for ping in pings.values()])
            yield "mirror, selected"

    def mirred():
        with place.monitor(way.ns, "bridge") as (dev, _), place.mirred(way, dev):
            yield "mirred"

    paired(report, [tcx, mirror, mirred], measure, compare=shift,
           bases={table: ("base-latency", table[-3:].upper() + " round trip") for table in TABLES})
    for load in [*echoes, *pings.values(), idle]:
        place.drop(load)
