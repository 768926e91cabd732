# SPDX-License-Identifier: GPL-2.0-only
"""(g) Nanoseconds of each program for one packet, by BPF_PROG_TEST_RUN: hot caches, nothing but the program."""

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


def run(report, place):
    """Each program on frames of nobody's, beside an empty one, in turn."""
    report.table(TABLE, "Time of a program for one unselected packet", "ns", base=EMPTY,
                 note="more than an empty TC program, nanoseconds; BPF_PROG_TEST_RUN")
    report.table("base-programs", "Time of an empty TC program", "ns")
    receiver = place.load(place.s, "receive", netns.S4, TAKEN, 1, 0)
    idle = place.load(place.s, "hold", 1, 10)
    udp, tcp, none = frame(17, TAKEN), frame(6, TAKEN), frame(17, TAKEN + 1)
    rows = (("mir_egress", "sent: socket of another process", udp, 15), ("mir_ingress", "received: UDP, socket there", udp, 40),
            ("mir_ingress", "received: UDP, no socket", none, 40), ("mir_ingress", "received: TCP, no socket", tcp, 40))
    ifindex = netns.ip_json(place.s, "link", "show", "dev", "eth0")[0]["ifindex"]
    # Programs are loaded when a source needs them: a device that is no container's veth, as a card is.
    netns.run(["ip", "-n", place.s, "link", "add", "card0", "up", "type", "bridge"])
    with place.mirror(place.received):
        place.mirrorctl(place.s, "up", place.received.dev, "card0")
        fds = {name: kernel.opened(f"{place.pins(place.s)}/{name}") for name in ("mir_egress", "mir_ingress")}
        for target in (False, True):
            if target:
                place.mirrorctl(place.s, "add-pid", idle.pid)
            for _ in range(report.rounds):
                for program, text, data, most in rows:
                    took = measure(place, ifindex, fds[program], data)
                    base = measure(place, ifindex, place.programs["empty"].fd, data)
                    report.add("base-programs", EMPTY, base)
                    if target:
                        report.add(TABLE, f"{program}, {text}", took - base, most=most)
                    elif data is udp:
                        report.add(TABLE, f"{program}, no target", took - base)
        for fd in fds.values():
            os.close(fd)
    netns.run(["ip", "-n", place.s, "link", "del", "card0"])
    place.drop(receiver)
    place.drop(idle)


def measure(place, ifindex, fd, data):
    """The best of three: whatever else the machine did can only have made it longer."""
    return min(kernel.test_run(place.s, ifindex, fd, data, REPEAT // 3) for _ in range(3))
