# SPDX-License-Identifier: GPL-2.0-only
"""One BPF program made by hand, for what no tool on the host can do."""

import ctypes
import os
import platform
import struct

SYS_BPF = {"x86_64": 321, "aarch64": 280}
MAP_LOOKUP_ELEM, PROG_LOAD, OBJ_PIN = 1, 5, 6
SCHED_CLS = 3
VLAN_PUSH = 18      # bpf_skb_vlan_push()

_libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attr, size=128):
    """bpf(2)."""
    buf = ctypes.create_string_buffer(attr, 128)
    done = _libc.syscall(SYS_BPF[platform.machine()], command, buf, size)
    if done < 0:
        raise OSError(ctypes.get_errno(), f"bpf({command})")
    return done


def lookup_u64(fd, key):
    """One 64-bit number of an array map."""
    key, value = ctypes.c_uint32(key), ctypes.c_uint64()
    bpf(MAP_LOOKUP_ELEM, struct.pack("=IIQQ", fd, 0, ctypes.addressof(key), ctypes.addressof(value)))
    return value.value


def insn(code, dst=0, src=0, imm=0):
    """One instruction."""
    return struct.pack("<BBhi", code, dst | src << 4, 0, imm)


def load(kind, *code):
    """Loads a program of some instructions; returns its descriptor."""
    text = ctypes.create_string_buffer(b"".join(code))
    licence = ctypes.create_string_buffer(b"GPL")
    return bpf(PROG_LOAD, struct.pack("=IIQQ", kind, len(code), ctypes.addressof(text), ctypes.addressof(licence)))


def pin_fd(path, fd):
    """Pins a program, which then lives by its pin alone."""
    name = ctypes.create_string_buffer(path.encode())
    try:
        bpf(OBJ_PIN, struct.pack("=QI", ctypes.addressof(name), fd))
    finally:
        os.close(fd)


def pin(path, *code):
    """Pins a TC program."""
    pin_fd(path, load(SCHED_CLS, *code))


def pin_vlan_push(path, vlan):
    """A TC program that gives every frame a VLAN tag the way a VLAN device does: beside the data."""
    pin(path, insn(0xB7, 2, imm=0x0081), insn(0xB7, 3, imm=vlan), insn(0x85, imm=VLAN_PUSH), insn(0xB7), insn(0x95))


def pin_drop(path):
    """A TC program that drops every frame."""
    pin(path, insn(0xB7, imm=2), insn(0x95))
