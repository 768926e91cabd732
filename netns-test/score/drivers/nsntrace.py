# SPDX-License-Identifier: GPL-2.0-only
"""nsntrace (Debian package of that name): it starts a program in a network namespace of its own, behind NAT, and captures
there. Addresses, link-layer headers, TTL and checksums differ from the wire by its design and are not compared; the ARP
and IPv6 housekeeping of its own veth is left out of the count in its favour."""

import os
import shutil
import subprocess

from lib import netns
from lib.packet import ICMP, TCP, UDP, Packet
from lib.registry import Failure
from score.drivers import Driver

STARTS = 6              # it races with its own interface and then ends before it starts the program
INSIDE = "172.16.42."


def read_pcap(path):
    """Frames of a classic pcap file."""
    with open(path, "rb") as file:
        data = file.read()
    order = "little" if data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else "big"
    frames, at = [], 24
    while at + 16 <= len(data):
        length = int.from_bytes(data[at + 8:at + 12], order)
        frames.append(data[at + 16:at + 16 + length])
        at += 16 + length
    return frames


class Tool(Driver):
    """Can only launch."""

    launches_only = ("starts a program in a namespace of its own behind NAT: takes no running process, and no scenario that "
                     "depends on the host's own addresses or fragments")

    @classmethod
    def missing(cls):
        return "" if shutil.which("nsntrace") and shutil.which("iptables") else "nsntrace and iptables are not installed"

    def __init__(self, world):
        super().__init__(world)
        self.path = world.path("nsntrace.pcap")

    def open(self, sources, words):
        netns.sysctl(self.world.space("c"), "net/ipv4/ip_forward", 1)

    def launch(self, argv, options, best):
        self.world.begin()
        for _ in range(STARTS):
            done = subprocess.run(["nsenter", f"--net={netns.RUN_DIR}/{self.world.space('c')}", "nsntrace", "-d", "eth0", "-o",
                                   self.path, *argv], capture_output=True, text=True, timeout=40, stdin=subprocess.DEVNULL)
            if "Couldn't open iface" not in done.stdout + done.stderr:
                break
        if not os.path.exists(self.path):
            raise Failure(f"nsntrace: {done.stdout} {done.stderr}")
        return 0, done.stdout

    def frames(self):
        found = [Packet(frame) for frame in read_pcap(self.path)]
        return [p for p in found if p.version == 4 and (p.src.startswith(INSIDE) or p.dst.startswith(INSIDE))]

    def comparable(self, packet):
        """Direction, far end and transport without what NAT rewrites."""
        if packet.version != 4:
            return packet.frame
        out = packet.src == netns.C4 or packet.src.startswith(INSIDE)
        start = 14 + (packet.frame[14] & 15) * 4
        body = packet.frame[start:packet.end]
        if packet.fragment and packet.fragment[1]:
            rest = packet.fragment[1], body
        elif packet.proto == TCP:
            rest = body[2:4] if out else body[:2], body[4:14], packet.payload
        elif packet.proto == UDP:
            rest = body[2:4] if out else body[:2], packet.payload
        elif packet.proto == ICMP:
            rest = body[:2], body[4:8]
        else:
            rest = body
        return out, packet.dst if out else packet.src, packet.proto, rest

    def about(self):
        done = netns.run(["dpkg-query", "-W", "-f", "nsntrace ${Version}", "nsntrace"], check=False)
        return {"version": done.stdout}
