# SPDX-License-Identifier: GPL-2.0-only
"""What TC cannot see (docs/limits.md): the packets go their way, no counter moves, and status says so where it can know."""

import socket

from lib import bpf, netns, wait
from lib.packet import UDP, flow
from lib.registry import case, expect, expect_equal
from lib.traffic import Datagrams

AF_PACKET, SOL_PACKET, PACKET_QDISC_BYPASS = 17, 263, 20
ETHERTYPE = 0x88B6      # local experimental ethertype 2
ROUNDS = 10


def cast(t):
    """A target that has exchanged a datagram with a service: all of it was mirrored."""
    t.pair()
    service, mine = Datagrams(t.actor("s")), Datagrams(t.actor("c"))
    t.up()
    t.add(mine.actor)
    mine.to(service)
    service.to(mine)
    t.owns(mine.actor, flow(UDP, mine.end, service.end))
    t.check()
    return mine, service


def seen(t):
    """Packets the programs have seen."""
    return t.get("stats")["seen"]


@case()
def qdisc_bypass(t):
    """A packet socket with PACKET_QDISC_BYPASS sends past TC and past every tap of the host."""
    mine, _ = cast(t)
    frame = b"\xff" * 6 + b"\x02\x00\x00\x00\x00\x01" + ETHERTYPE.to_bytes(2, "big") + bytes(60)
    near, far = t.wires["eth0"], t.far_wires[0][1]

    def carried(wire):
        return sum(packet.frame == frame for packet in wire.drain())

    before = seen(t)
    sock = mine.actor.socket(AF_PACKET, socket.SOCK_RAW, 0)
    sock.bind(("eth0", 0))
    sock.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
    for _ in range(ROUNDS):
        sock.send(frame)
    wait.until(lambda: carried(far) == ROUNDS, "the frames to arrive", 5)
    expect_equal((carried(near), seen(t)), (0, before), "frames a tap of the sender's host has, packets seen")
    sock.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 0)
    sock.send(frame)
    wait.until(lambda: carried(far) == ROUNDS + 1, "the ordinary frame to arrive", 5)
    expect_equal((carried(near), seen(t)), (1, before + 1), "the same of a frame sent without it")


@case()
def xdp_drops(t):
    """What another owner's XDP program drops never gets to TC; status names the device as long as the program is there."""
    mine, service = cast(t)

    def named():
        return [line for line in t.get("status")["limits"] if line.startswith("source eth0 ingress") and "XDP" in line]

    expect(not named(), f"status says nothing yet: {named()}")
    before = seen(t)
    index = netns.ip_json(t.space("c"), "link", "show", "dev", "eth0")[0]["ifindex"]
    theirs = bpf.XdpStranger().attach(t.space("c"), index)
    for _ in range(ROUNDS):
        service.sock.sendto(b"dropped", mine.end)
    wait.until(lambda: theirs.count == ROUNDS, "the datagrams to be dropped", 5)
    expect_equal(seen(t), before, "packets seen")
    expect_equal(len(named()), 1, "lines of status about it")
    theirs.close()
    wait.until(lambda: not named(), "the line to go with the program", 5)
    service.to(mine)
    expect_equal(seen(t), before + 1, "packets seen once the program is gone")
