# SPDX-License-Identifier: GPL-2.0-only
"""(g) Nanoseconds of each program for one packet, by BPF_PROG_TEST_RUN: hot caches, nothing but the program."""

import contextlib
import os
import socket
import struct

from bench import kernel
from bench.place import TAKEN
from lib import netns

REPEAT = 200000
TABLE = "programs"
EMPTY = "empty TC program"


def frame(proto, dport):
    """60 bytes from c to s: UDP, TCP (an acknowledgement), or what no socket can answer for."""
    ports = struct.pack("!HH", 40000, dport)
    l4 = ports + (struct.pack("!HH", 26, 0) if proto == socket.IPPROTO_UDP else
                  struct.pack("!IIHHHH", 1, 1, 0x5010, 65535, 0, 0))
    l4 = l4.ljust(26, b"x")
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(l4), 1, 0, 64, proto, 0, socket.inet_aton(netns.C4),
                     socket.inet_aton(netns.S4))
    mac = bytes.fromhex((netns.S_MAC + netns.C_MAC).replace(":", ""))
    return mac + b"\x08\x00" + ip + l4


UDP, TCP, NONE = frame(17, TAKEN), frame(6, TAKEN), frame(17, TAKEN + 1)
IDLE = (("mir_egress", "mir_egress, no target", UDP, {}), ("mir_ingress", "mir_ingress, no target", UDP, {}))
# Program, row, frame, goal. A floor is a program of floor.bpf.c, which does the least that asks for the socket.
FLOORS = (("floor_sent", "floor: the owner of the sender's socket alone", UDP, {}),
          ("floor_counted", "floor: the same, and a counter of packets seen and of those not matched", UDP, {}),
          ("floor_lookup", "floor: socket lookup alone, UDP, socket there", UDP, {}),
          ("floor_owner", "floor: socket lookup and its owner alone, UDP, socket there", UDP, {}),
          ("floor_lookup", "floor: socket lookup alone, UDP, no socket", NONE, {}),
          ("floor_lookup", "floor: socket lookup alone, TCP, no socket", TCP, {}),
          ("floor_received", "floor: the owners of sender's and receiver's socket, counted: UDP, socket there", UDP, {}),
          ("floor_received", "floor: the owners of sender's and receiver's socket, counted: UDP, no socket", NONE, {}),
          ("floor_received", "floor: the owners of sender's and receiver's socket, counted: TCP, no socket", TCP, {}))
ROWS = (("mir_egress", "mir_egress, sent: socket of another process", UDP, {"most": 15, "floor": FLOORS[1][1]}),
        ("mir_ingress", "mir_ingress, received: UDP, socket there", UDP, {"most": 40, "floor": FLOORS[6][1]}),
        ("mir_ingress", "mir_ingress, received: UDP, no socket", NONE, {"most": 40, "floor": FLOORS[7][1]}),
        ("mir_ingress", "mir_ingress, received: TCP, no socket", TCP, {"most": 40, "floor": FLOORS[8][1]}))


def run(report, place):
    """Each program on frames of nobody's, beside an empty one and beside the least that asks for a socket, in turn."""
    report.table(TABLE, "Time of a program for one unselected packet", "ns", base=EMPTY,
                 note="more than an empty TC program, nanoseconds; BPF_PROG_TEST_RUN")
    report.table("base-programs", "Time of an empty TC program", "ns")
    receiver = place.load(place.s, "receive", netns.S4, TAKEN, 1, 0)
    idle = place.load(place.s, "hold", 1, 10)
    ifindex = netns.ip_json(place.s, "link", "show", "dev", "eth0")[0]["ifindex"]

    def sample(rows, fds):
        for program, text, data, goal in rows:
            took = measure(place, ifindex, fds[program], data)
            base = measure(place, ifindex, place.programs["empty"].fd, data)
            report.add("base-programs", EMPTY, base)
            report.add(TABLE, text, took - base, **goal)

    # Programs are loaded when a source needs them: a device that is no container's veth, as a card is.
    netns.run(["ip", "-n", place.s, "link", "add", "card0", "up", "type", "bridge"])
    with place.mirror(place.received), contextlib.ExitStack() as stack:
        place.mirrorctl(place.s, "up", place.received.dev, "card0")
        fds = {name: kernel.opened(f"{place.pins(place.s)}/{name}") for name in ("mir_egress", "mir_ingress")}
        for fd in fds.values():
            stack.callback(os.close, fd)
        for _ in range(report.rounds):
            sample(IDLE, fds)
        place.mirrorctl(place.s, "add-pid", idle.pid)
        rows = FLOORS + ROWS
        try:
            fds |= stack.enter_context(kernel.loaded("floor", f"{kernel.BPFFS}/{netns.PREFIX}floor"))
        except OSError as why:
            report.skip(TABLE, "floor", why)
            rows = tuple(row for row in rows if row[0] in fds)
        for _ in range(report.rounds):
            sample(rows, fds)
    netns.run(["ip", "-n", place.s, "link", "del", "card0"])
    place.drop(receiver)
    place.drop(idle)


def measure(place, ifindex, fd, data):
    """The best of ten: whatever else the machine did can only have made it longer."""
    return min(kernel.test_run(place.s, ifindex, fd, data, REPEAT // 10) for _ in range(10))
