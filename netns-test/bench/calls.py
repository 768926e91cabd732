# SPDX-License-Identifier: GPL-2.0-only
"""(f) What the owner programs add to the calls of processes: sockets, sending, receiving, accepting, forking."""

from bench.sample import paired, shift

CALLS = {"socket": "socket and close", "send": "send of a datagram", "receive": "receive, nothing there",
         "accept": "connect, accept and close", "fork": "fork, exit and wait"}


def run(report, place):
    """A process that calls, over loopback, which is no source: no packet program runs."""
    way = place.sent
    report.table("calls", "What a call takes longer while the mirror is up", "ns", base="no program",
                 note="nanoseconds for a call")
    report.table("base-calls", "What a call takes without a program", "ns")
    caller = place.load(way.ns, "calls")
    idle = place.load(place.s, "hold", 1, 10)

    def measure():
        got = {}
        for call, text in CALLS.items():
            got["calls", text + ": "] = min(one(caller, call, place.ms / 8) for _ in range(4))
        return got

    def mirror():
        with place.mirror(way):
            report.facts["attribution"] = place.json(way.ns, "status")["attribution"]
            yield "no target"
            place.mirrorctl(way.ns, "add-pid", idle.pid)
            yield "of no target"
            place.mirrorctl(way.ns, "add-pid", caller.pid)
            yield "of a target"

    paired(report, [mirror], measure, compare=shift,
           bases={("calls", text + ": "): ("base-calls", text) for text in CALLS.values()})
    place.drop(caller)
    place.drop(idle)


def one(caller, call, ms):
    """Nanoseconds of a call. The best of a few is taken: whatever else the machine did can only have made it longer."""
    count, took, *_ = caller.ask(call, int(ms))
    return took / count
