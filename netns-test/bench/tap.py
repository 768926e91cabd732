# SPDX-License-Identifier: GPL-2.0-only
"""What the inline tap costs, against the kernel's bridge.

Three namespaces in a row. The box joins them by a bridge, by a bridge with a mirred copy of both directions, by the tap
without copies (a rule that nothing matches), by the tap with copies, and by the least programs that could do the same
(floor.py). Where br_netfilter shows a bridge's packets to iptables, the bridges are measured without that, too. Frames are 60
bytes of UDP. An ordinary sender makes them, for whom turning socket buffers into XDP frames costs, or BPF_PROG_TEST_RUN with
BPF_F_TEST_XDP_LIVE_FRAMES does in the client's namespace, redirected into port A, which is what a network card's driver sees.

Whatever joins them, the readers are the same: what arrives at the server and at the monitor is dropped at TC ingress, behind
the taps. On a veth that charges the tap with a socket buffer for the server, which a card would not need and the bridge has
anyway; so `between drivers` is the driver's frames once more, dropped by the server's driver. One processor does everything,
and its time for others does not count. What counts is what the server's device received. Every round measures all of
them, in another order; ratios are taken within a round.
"""

import ctypes
import glob
import os
import random
import socket
import struct
import sys
import time

from bench import floor, kernel
from bench.place import SENDER, SMALL, Load

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tap"))

import bpf      # noqa: E402
import frames   # noqa: E402
from world import World, inside, run    # noqa: E402

LIVE_FRAMES = 1 << 1
XDP, SCHED_CLS, REDIRECT, TEST_RUN, LINK_CREATE, TCX_INGRESS = 6, 3, 23, 10, 28, 46
BURSTS = 8
WAYS = ("bridge", "bridge+mirred", "tap", "tap+copy", "least", "least+copy")
PLAIN = ", no netfilter"


class Generator:
    """Sends one frame over and over at driver level, from the client's eth0 into port A."""

    def __init__(self):
        eth0 = 11   # world.py says so
        self.prog = bpf.load(XDP, bpf.insn(0xB7, 1, imm=eth0), bpf.insn(0xB7, 2), bpf.insn(0x85, imm=REDIRECT), bpf.insn(0x95))
        packet = frames.ip4("10.9.0.1", "10.9.0.2", 17, frames.udp(9, 9, b"x" * 18))
        self.frame = ctypes.create_string_buffer(frames.ether(0x0800, packet), 60)

    def burst(self, count):
        """Makes `count` frames; returns the nanoseconds one took by the kernel's clock, which stands while the processor is
        with somebody else and while the kernel sets the test up."""
        attr = struct.pack("=IIIIQQIIIIQQIII", self.prog, 0, 60, 0, ctypes.addressof(self.frame), 0, count, 0, 0, 0, 0, 0,
                           LIVE_FRAMES, 0, 64)
        return struct.unpack_from("=I", kernel.call(TEST_RUN, attr)[1], 36)[0]

    def close(self):
        """Forgets the program."""
        os.close(self.prog)


def received(world):
    """Frames the server's device has received."""
    with inside(world.server), open("/proc/thread-self/net/dev", encoding="ascii") as file:
        return next(int(line.split(":")[1].split()[1]) for line in file if line.strip().startswith("eth0:"))


def driver_level(world, ms):
    """Frames per second, made in the kernel, at the pace of the fastest burst: whatever else the machine did can only have made one
    longer."""
    generator, home = Generator(), os.sched_getaffinity(0)
    os.sched_setaffinity(0, {SENDER})
    try:
        with inside(world.client):
            count = ms * 1000000 // generator.burst(2000) // BURSTS
            before = received(world)
            took = min(generator.burst(count) for _ in range(BURSTS))
        return (received(world) - before) / (count * BURSTS) * 1e9 / took
    finally:
        os.sched_setaffinity(0, home)
        generator.close()


def between_drivers(world, ms):
    """The same, with a server whose driver drops."""
    floor.drop(world.server, "eth0")
    try:
        return driver_level(world, ms)
    finally:
        world.ip(world.server, "link", "set", "eth0", "xdpdrv", "off")


def ordinary(world, ms):
    """Frames per second, by a process that sends as fast as it can."""
    sender = Load(world.client, "send", "10.9.0.2", 9, SMALL, 1)
    try:
        sender.ask(5)
        before = received(world)
        took = sender.ask(ms)[1]
        return (received(world) - before) * 1e9 / took
    finally:
        sender.close()


class Sink:
    """Drops what arrives at a device, at TC ingress behind the taps, in the way a tap's monitor does. Ends with the world."""

    def __init__(self, world, ns, dev):
        self.fd = bpf.load(SCHED_CLS, bpf.insn(0xB7, imm=2), bpf.insn(0x95))
        world.taps.append(self)
        with inside(ns):
            self._attach(ns, dev)

    def _attach(self, ns, dev):
        try:
            link = bpf.bpf(LINK_CREATE, struct.pack("=IIII", self.fd, socket.if_nametoindex(dev), TCX_INGRESS, 0))
        except OSError:     # a kernel without TCX: by clsact, as mirrorctl does there
            pin = f"{kernel.BPFFS}/tap{os.getpid()}drop"
            bpf.pin_drop(pin)
            run(["tc", "qdisc", "add", "dev", dev, "clsact"], ns=ns)
            run(["tc", "filter", "add", "dev", dev, "ingress", "bpf", "direct-action", "object-pinned", pin], ns=ns)
            os.unlink(pin)
        else:
            os.close(self.fd)
            self.fd = link

    def close(self):
        """Lets go of it."""
        os.close(self.fd)


def monitor(world):
    """A veth pair: mon0-in takes copies, mon0 has them."""
    world.ip(world.box, "link", "add", "mon0-in", "type", "veth", "peer", "name", "mon0")
    for dev in ("mon0-in", "mon0"):
        world.ip(world.box, "link", "set", dev, "arp", "off", "up")
    Sink(world, world.box, "mon0")


def bridge(world, copy):
    """The kernel's bridge between the ports; `copy`: both directions to mon0-in by mirred."""
    world.ip(world.box, "link", "add", "br0", "type", "bridge")
    world.ip(world.box, "link", "set", "br0", "up")
    for port in ("pa", "pb"):
        world.ip(world.box, "link", "set", port, "master", "br0")
        run(["ethtool", "-K", port, "gro", "on"], ns=world.box)     # NAPI, or the frames cannot be made
        if copy:
            run(["tc", "qdisc", "add", "dev", port, "clsact"], ns=world.box)
            run(["tc", "filter", "add", "dev", port, "ingress", "protocol", "all", "u32", "match", "u32", "0", "0", "action",
                 "mirred", "egress", "mirror", "dev", "mon0-in"], ns=world.box)
    time.sleep(0.2)
    world.send("server", frames.kinds(back=True)[:1])   # the bridge learns where the server is


def spare_netfilter(world):
    """Bridges of the box no longer call iptables; False if they do not anyway."""
    with inside(world.box):
        knobs = glob.glob("/proc/sys/net/bridge/bridge-nf-call-*")
        for knob in knobs:
            with open(knob, "w", encoding="ascii") as file:
                file.write("0")
    return bool(knobs)


def build(way):
    """The three namespaces joined in one of the ways."""
    world = World()
    for ns, own in ((world.client, "10.9.0.1/24"), (world.server, "10.9.0.2/24")):
        world.ip(ns, "addr", "add", own, "dev", "eth0")
        run(["ethtool", "-K", "eth0", "gro", "on", "tx", "off"], ns=ns)
    for ns, other, mac in ((world.client, "10.9.0.2", frames.SERVER_MAC), (world.server, "10.9.0.1", frames.CLIENT_MAC)):
        world.ip(ns, "neigh", "replace", other, "lladdr", mac.hex(":"), "dev", "eth0", "nud", "permanent")
    Sink(world, world.server, "eth0")
    what, copy = way.removesuffix("+mirred").removesuffix("+copy"), "+" in way
    if what == "tap":
        world.add(*([] if copy else ["--match", "vlan=4094"]))
        return world
    if copy:
        monitor(world)
    if what == "bridge":
        bridge(world, copy)
    else:
        floor.join(world, copy)
    return world


MAIN, COPY = "tap with copy / bridge with mirred", "tap with copy / tap"
FLOORS = {MAIN: "least programs: with copy / bridge with mirred", COPY: "least programs: with copy / without"}
TABLES = {      # what is said of it, how a sample is taken, goals
    "tap-driver": ("driver level", driver_level, {MAIN: {"least": 1.8}, COPY: {"least": 0.6}}),
    "tap-between": ("between drivers", between_drivers, {}),
    "tap-sender": ("ordinary sender", ordinary, {MAIN: {"least": 1.0}}),
}
RATIOS = (
    (MAIN, "tap+copy", "bridge+mirred"),
    (MAIN + PLAIN, "tap+copy", "bridge+mirred" + PLAIN),
    ("tap / bridge", "tap", "bridge"),
    ("tap / bridge" + PLAIN, "tap", "bridge" + PLAIN),
    (COPY, "tap+copy", "tap"),
    (FLOORS[MAIN], "least+copy", "bridge+mirred"),
    (FLOORS[MAIN] + PLAIN, "least+copy", "bridge+mirred" + PLAIN),
    (FLOORS[COPY], "least+copy", "least"),
    ("tap / least program", "tap", "least"),
    ("tap with copy / least program with copy", "tap+copy", "least+copy"),
)


def measure(report, world, way, ms):
    """One sample of each table."""
    for table, (_, rate, _) in TABLES.items():
        report.add(table, way, rate(world, ms))


def run_all(report, ms):
    """Measures all ways, round by round."""
    for table, (text, _, _) in TABLES.items():
        report.table(table, f"Inline tap, {text}: frames that reached the server", "per second")
    report.table("tap", "The inline tap against the kernel's bridge", "ratio", note="frames that reached the server")
    for _ in range(report.rounds):
        for way in random.sample(WAYS, len(WAYS)):
            world = build(way)
            try:
                measure(report, world, way, ms)
                if way.startswith("bridge") and spare_netfilter(world):
                    measure(report, world, way + PLAIN, ms)
            finally:
                world.close()
    for table, (text, _, goals) in TABLES.items():
        for name, one, other in RATIOS:
            goal = {**goals[name], "floor": f"{text}: {FLOORS[name]}"} if name in goals else {}
            report.divide("tap", f"{text}: {name}", (table, one), (table, other), **goal)


