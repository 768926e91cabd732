# SPDX-License-Identifier: GPL-2.0-only
"""One BPF program made by hand, for what no tool on the host can do."""

import ctypes
import os
import platform
import struct

SYS_BPF = {"x86_64": 321, "aarch64": 280}
PROG_LOAD, OBJ_PIN = 5, 6
SCHED_CLS = 3
VLAN_PUSH = 18      # bpf_skb_vlan_push()

_libc = ctypes.CDLL(None, use_errno=True)


def _bpf(command, attr):
    buf = ctypes.create_string_buffer(attr, 128)
    done = _libc.syscall(SYS_BPF[platform.machine()], command, buf, len(buf))
    if done < 0:
        raise OSError(ctypes.get_errno(), f"bpf({command})")
    return done


def _insn(code, dst=0, src=0, imm=0):
    return struct.pack("<BBhi", code, dst | src << 4, 0, imm)


def pin_vlan_push(path, vlan):
    """Pins a TC program that gives every frame a VLAN tag the way a VLAN device does: beside the data."""
    code = ctypes.create_string_buffer(_insn(0xB7, 2, imm=0x0081) + _insn(0xB7, 3, imm=vlan) + _insn(0x85, imm=VLAN_PUSH) +
                                       _insn(0xB7, 0) + _insn(0x95))
    licence = ctypes.create_string_buffer(b"GPL")
    fd = _bpf(PROG_LOAD, struct.pack("=IIQQ", SCHED_CLS, 5, ctypes.addressof(code), ctypes.addressof(licence)))
    name = ctypes.create_string_buffer(path.encode())
    _bpf(OBJ_PIN, struct.pack("=QI", ctypes.addressof(name), fd))
    os.close(fd)
