# SPDX-License-Identifier: GPL-2.0-only
"""The least XDP programs that could do a tap's work: no counter, no rule, no program on the way out, no tracepoint. What they
reach is what any XDP program could reach on this kernel between these devices."""

import ctypes
import os
import socket
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tap"))

import bpf      # noqa: E402
from world import inside, run    # noqa: E402

MAP_CREATE, MAP_UPDATE = 0, 2
XDP, DEVMAP, REDIRECT_MAP, PSEUDO_MAP_FD = 6, 14, 51, 1
BROADCAST = 1 << 3 | 1 << 4     # BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS


def devmap(*devices):
    """A device map of these devices of this namespace, in this order."""
    fd = bpf.bpf(MAP_CREATE, struct.pack("=IIIII", DEVMAP, 4, 4, len(devices), 0))
    for number, dev in enumerate(devices):
        key, value = ctypes.c_uint32(number), ctypes.c_uint32(socket.if_nametoindex(dev))
        bpf.bpf(MAP_UPDATE, struct.pack("=IIQQQ", fd, 0, ctypes.addressof(key), ctypes.addressof(value), 0))
    return fd


def redirect(wire, key, flags):
    """A program that does nothing but return bpf_redirect_map(wire, key, flags)."""
    return bpf.load(XDP, bpf.insn(0x18, 1, PSEUDO_MAP_FD, wire), bpf.insn(0), bpf.insn(0xB7, 2, imm=key),
                    bpf.insn(0xB7, 3, imm=flags), bpf.insn(0x85, imm=REDIRECT_MAP), bpf.insn(0x95))


def attach(ns, dev, prog, mode="xdpdrv"):
    """Attaches an XDP program to a device, in its driver or as generic one; the descriptor is closed."""
    pin = f"/sys/fs/bpf/tap{os.getpid()}xdp"
    bpf.pin_fd(pin, prog)
    try:
        run(["ip", "link", "set", "dev", dev, mode, "pinned", pin], ns=ns)
    finally:
        os.unlink(pin)


def join(world, copy):
    """Joins the ports, with a copy of both directions to mon0-in or without. The monitor is as a tap's."""
    with inside(world.box):
        wire = devmap("pa", "pb", *(["mon0-in"] if copy else []))
    for dev, other in (("pa", 1), ("pb", 0)):
        attach(world.box, dev, redirect(wire, 0 if copy else other, BROADCAST if copy else 0))
    os.close(wire)
    if copy:
        run(["ethtool", "-K", "mon0", "gro", "on"], ns=world.box)   # NAPI, or it takes no redirected frame
        attach(world.box, "mon0", bpf.load(XDP, bpf.insn(0xB7, imm=2), bpf.insn(0x95)), "xdpgeneric")    # GRO works with none


def drop(ns, dev):
    """The driver of a device drops everything."""
    attach(ns, dev, bpf.load(XDP, bpf.insn(0xB7, imm=1), bpf.insn(0x95)))
