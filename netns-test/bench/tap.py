# SPDX-License-Identifier: GPL-2.0-only
"""What the inline tap costs, against the kernel's bridge.

Three namespaces in a row. The box joins them by a bridge, by a bridge with a mirred copy of both directions, by the tap
without copies (a rule that nothing matches) and by the tap with copies; each monitor is a veth whose receiving end drops
after the taps. Frames are 60 bytes of UDP, made in two ways: at driver level (BPF_PROG_TEST_RUN with
BPF_F_TEST_XDP_LIVE_FRAMES in the client's namespace, redirected into port A: what a NIC's driver sees), and by an
ordinary sender, where turning socket buffers into XDP frames costs. What counts is what the server's device received. Every
round measures all of them, in another order; ratios are taken within a round.
"""

import ctypes
import json
import os
import random
import struct
import sys
import time

from bench.place import SMALL, Load

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tap"))

import bpf      # noqa: E402
import frames   # noqa: E402
from world import World, inside, run    # noqa: E402

LIVE_FRAMES = 1 << 1
XDP, REDIRECT, TEST_RUN = 6, 23, 10
WAYS = ("bridge", "bridge+mirred", "tap", "tap+copy")


class Generator:
    """Sends one frame over and over at driver level, from the client's eth0 into port A."""

    def __init__(self):
        eth0 = 11   # world.py says so
        self.prog = bpf.load(XDP, bpf.insn(0xB7, 1, imm=eth0), bpf.insn(0xB7, 2), bpf.insn(0x85, imm=REDIRECT), bpf.insn(0x95))
        packet = frames.ip4("10.9.0.1", "10.9.0.2", 17, frames.udp(9, 9, b"x" * 18))
        self.frame = ctypes.create_string_buffer(frames.ether(0x0800, packet))

    def burst(self, count):
        """Makes `count` frames."""
        bpf.bpf(TEST_RUN, struct.pack("=IIIIQQIIIIQQIII", self.prog, 0, 60, 0, ctypes.addressof(self.frame), 0, count, 0, 0, 0,
                                      0, 0, LIVE_FRAMES, 0, 64), 80)


def received(world):
    """Frames the server's device has received."""
    out = run(["ip", "-n", world.server, "-j", "-s", "link", "show", "dev", "eth0"]).stdout
    return json.loads(out)[0]["stats64"]["rx"]["packets"]


def rate(world, send, seconds):
    """Frames per second at the server while `send` runs."""
    stop = time.monotonic() + seconds
    before, began = received(world), time.monotonic()
    send(stop)
    return (received(world) - before) / (time.monotonic() - began)


def driver_level(world, seconds):
    """Frames made in the kernel."""
    generator = Generator()

    def loop(stop):
        with inside(world.client):
            while time.monotonic() < stop:
                generator.burst(20000)
    value = rate(world, loop, seconds)
    os.close(generator.prog)
    return value


def ordinary(world, seconds):
    """A process that sends as fast as it can; nobody answers (the port is the discard service's, without one)."""
    sender = Load(world.client, "send", "10.9.0.2", 9, SMALL, 1)
    try:
        return rate(world, lambda stop: sender.ask(int(seconds * 1000)), seconds)
    finally:
        sender.close()


def mirred(world):
    """Copies of both directions by mirred onto a veth."""
    world.ip(world.box, "link", "add", "mon0-in", "type", "veth", "peer", "name", "mon0")
    for dev in ("mon0-in", "mon0"):
        world.ip(world.box, "link", "set", dev, "arp", "off", "up")
    pin = f"/sys/fs/bpf/tap{os.getpid()}drop"
    bpf.pin_drop(pin)
    try:
        run(["tc", "qdisc", "add", "dev", "mon0", "clsact"], ns=world.box)
        run(["tc", "filter", "add", "dev", "mon0", "ingress", "bpf", "direct-action", "object-pinned", pin], ns=world.box)
    finally:
        os.unlink(pin)
    for port in ("pa", "pb"):
        run(["tc", "qdisc", "add", "dev", port, "clsact"], ns=world.box)
        run(["tc", "filter", "add", "dev", port, "ingress", "protocol", "all", "u32", "match", "u32", "0", "0", "action", "mirred",
             "egress", "mirror", "dev", "mon0-in"], ns=world.box)


def build(way):
    """The three namespaces joined in one of the ways."""
    world = World()
    for ns, own in ((world.client, "10.9.0.1/24"), (world.server, "10.9.0.2/24")):
        world.ip(ns, "addr", "add", own, "dev", "eth0")
        run(["ethtool", "-K", "eth0", "gro", "on", "tx", "off"], ns=ns)
    for ns, other, mac in ((world.client, "10.9.0.2", frames.SERVER_MAC), (world.server, "10.9.0.1", frames.CLIENT_MAC)):
        world.ip(ns, "neigh", "replace", other, "lladdr", mac.hex(":"), "dev", "eth0", "nud", "permanent")
    if way.startswith("bridge"):
        world.ip(world.box, "link", "add", "br0", "type", "bridge")
        world.ip(world.box, "link", "set", "br0", "up")
        for port in ("pa", "pb"):
            world.ip(world.box, "link", "set", port, "master", "br0")
            run(["ethtool", "-K", port, "gro", "on"], ns=world.box)     # NAPI, or the frames cannot be made
        if way == "bridge+mirred":
            mirred(world)
        time.sleep(0.2)
        world.send("server", frames.kinds(back=True)[:1])   # the bridge learns where the server is
    else:
        world.add(*(["--match", "vlan=4094"] if way == "tap" else []))
    return world


def run_all(report, ms):
    """Measures all ways, round by round."""
    names = {"tap-driver": "driver level", "tap-sender": "ordinary sender"}
    for table, text in names.items():
        report.table(table, f"Inline tap, {text}: frames that reached the server", "per second")
    report.table("tap", "The inline tap against the kernel's bridge", "ratio", note="frames that reached the server")
    for _ in range(report.rounds):
        for way in random.sample(WAYS, len(WAYS)):
            world = build(way)
            try:
                report.add("tap-driver", way, driver_level(world, ms / 500))
                report.add("tap-sender", way, ordinary(world, ms / 500))
            finally:
                world.close()
    for table, text in names.items():
        driver = table == "tap-driver"
        for name, one, other, goal in (("tap with copy / bridge with mirred", "tap+copy", "bridge+mirred", 1.8 if driver else 1.0),
                                       ("tap / bridge", "tap", "bridge", None),
                                       ("tap with copy / tap", "tap+copy", "tap", 0.6 if driver else None)):
            report.divide("tap", f"{text}: {name}", (table, one), (table, other), **({"least": goal} if goal else {}))
