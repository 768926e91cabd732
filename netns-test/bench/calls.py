# SPDX-License-Identifier: GPL-2.0-only
"""(f) What the owner programs add to the calls of processes: sockets, sending, receiving, accepting, forking."""

import contextlib
import os
import struct

from bench import kernel
from bench.sample import Skipped, paired, shift
from lib import bpf, netns
from lib.program import hierarchy

CALLS = {"socket": "socket and close", "send": "send of a datagram", "receive": "receive, nothing there",
         "accept": "connect, accept and close", "fork": "fork, exit and wait"}
TRIES = 12      # short ones: the best is taken, and other work is seldom as short
# Programs of nothing.bpf.c that go to control groups: enum bpf_attach_type.
GROUPED = {"nothing_created": 2, "nothing_connected": 10, "nothing_released": 34}


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
            got["calls", text + ": "] = min(one(caller, call, place.ms / TRIES / 2) for _ in range(TRIES))
        return got

    def floor():
        with nothing():
            yield "floor, programs that do nothing"

    def mirror():
        with place.mirror(way):
            report.facts["attribution"] = place.json(way.ns, "status")["attribution"]
            yield "no target"
            place.mirrorctl(way.ns, "add-pid", idle.pid)
            yield "of no target"
            place.mirrorctl(way.ns, "add-pid", caller.pid)
            yield "of a target"

    paired(report, [floor, mirror], measure, compare=shift,
           bases={("calls", text + ": "): ("base-calls", text) for text in CALLS.values()})
    place.drop(caller)
    place.drop(idle)


def one(caller, call, ms):
    """Nanoseconds of a call. The best of a few is taken: whatever else the machine did can only have made it longer."""
    count, took, *_ = caller.ask(call, max(int(ms), 1))
    return took / count


@contextlib.contextmanager
def nothing():
    """Programs that do nothing, where the owner programs are if no trampolines load."""
    with contextlib.ExitStack() as stack:
        top = hierarchy()
        if not top:
            raise Skipped("no cgroup v2 hierarchy is mounted")
        try:
            fds = stack.enter_context(kernel.loaded("nothing", f"{kernel.BPFFS}/{netns.PREFIX}nothing"))
            group = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, group)
            for name, fd in fds.items():
                where = (bpf.LINK_CREATE, struct.pack("<IIII", fd, group, GROUPED[name], 0)) if name in GROUPED else (
                    bpf.RAW_TRACEPOINT_OPEN, struct.pack("<QI", 0, fd))
                stack.callback(os.close, kernel.call(*where)[0])
        except OSError as why:
            raise Skipped(str(why)) from None
        yield
