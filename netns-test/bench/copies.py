# SPDX-License-Identifier: GPL-2.0-only
"""(g) for a selected packet: nanoseconds of the copy by itself, of a copy to a device that has a program, and of the mirror, by
BPF_PROG_TEST_RUN."""

import os

from bench import kernel, programs
from bench.place import TAKEN, ifindex
from bench.selected import CLONE, kinds
from lib import netns

TABLE = "copies"
REPEAT = 60000


def run(report, place):
    """One received packet again and again: nobody's, and a target's."""
    report.table(TABLE, "Time of a program for one selected packet, received", "ns", base=programs.EMPTY,
                 note="more than an empty TC program, nanoseconds; BPF_PROG_TEST_RUN")
    receiver, idle = place.load(place.s, "receive", netns.S4, TAKEN, 1, 0), place.load(place.s, "hold", 1, 10)
    kind = kinds(place)[0]
    # As in programs.py: a device that is no container's veth.
    netns.run(["ip", "-n", place.s, "link", "add", "card0", "up", "type", "bridge"])
    with place.monitor(place.s, kind) as (dev, _), place.mirror(place.received, "--monitor-type", kind):
        place.mirrorctl(place.s, "up", place.received.dev, "card0", "--monitor-type", kind)
        place.mirrorctl(place.s, "add-pid", idle.pid)
        clone = kernel.Program(f"{kernel.BPFFS}/{netns.PREFIX}clone", kernel.clone(ifindex(place.s, dev)))
        mirror = kernel.opened(f"{place.pins(place.s)}/mir_ingress")
        try:
            for _ in range(report.rounds):
                sample(report, place, clone.fd, mirror, dev, receiver.pid)
        finally:
            os.close(mirror)
            clone.close()
    netns.run(["ip", "-n", place.s, "link", "del", "card0"])
    place.drop(receiver)
    place.drop(idle)


def sample(report, place, clone, mirror, dev, pid):
    """One sample of each row."""
    here, data = ifindex(place.s, place.received.dev), programs.frame(17, TAKEN)

    def took(fd):
        return min(kernel.test_run(place.s, here, fd, data, REPEAT // 10) for _ in range(10))

    base = took(place.programs["empty"].fd)
    report.add(TABLE, CLONE, took(clone) - base)
    with kernel.tcx(place.programs["empty"].fd, place.s, ifindex(place.s, dev), kernel.EGRESS):
        report.add(TABLE, f"{CLONE}, to a device with an empty program", took(clone) - base)
    report.add(TABLE, "mir_ingress, not selected", took(mirror) - base)
    place.mirrorctl(place.s, "add-pid", pid)
    report.add(TABLE, "mir_ingress, selected", took(mirror) - base)
    place.mirrorctl(place.s, "del-pid", pid)
