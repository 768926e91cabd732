# SPDX-License-Identifier: GPL-2.0-only
"""What the benchmark asks bpf(2) for: an empty program, timed test runs, entries of a pinned map."""

import contextlib
import ctypes
import os
import shutil
import struct

from lib import bpf, netns

PROG_TEST_RUN, OBJ_GET, INFO_BY_FD = 10, 7, 15
UPDATE, LOOKUP, NEXT_KEY = 2, 1, 4
INGRESS, EGRESS = bpf.INGRESS, bpf.EGRESS
NEXT, DROP = bpf.NEXT, 2
BPFFS = bpf.BPFFS
HERE = os.path.dirname(os.path.abspath(__file__))

_libc = ctypes.CDLL(None, use_errno=True)


def call(command, attr):
    """bpf(2); returns (result, attributes as the kernel left them)."""
    room = ctypes.create_string_buffer(attr.ljust(128, b"\0"), 128)
    result = _libc.syscall(bpf.SYS_BPF, command, room, 128)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"bpf command {command}: {os.strerror(ctypes.get_errno())}")
    return result, room.raw


def _at(room):
    return ctypes.addressof(room)


def verdict(value):
    """Code of a TC program that does nothing but return one value."""
    return bpf._insn(0xB7, imm=value) + bpf._insn(0x95)


def _port(past):
    """Instructions that load the destination port of IPv4 UDP or TCP without options into r1, host order; or go on `past` so many
    further ones, if there is none."""
    return (bpf._insn(0xB7, 2, imm=36) + bpf._insn(0xBF, 3, 10) + bpf._insn(0x07, 3, imm=-8) + bpf._insn(0xB7, 4, imm=2)
            + bpf._insn(0x85, imm=26)                               # bpf_skb_load_bytes(skb, 36, fp - 8, 2)
            + bpf._insn(0x55, 0, off=2 + past) + bpf._insn(0x69, 1, 10, -8) + bpf._insn(0xDC, 1, imm=16))     # be16


def discard(port):
    """Code of a TC program that drops IPv4 UDP or TCP without options to `port` or the next one, and passes the rest on."""
    return (_port(3) + bpf._insn(0x57, 1, imm=0xFFFE) + bpf._insn(0x55, 1, off=1, imm=port & 0xFFFE) + bpf._insn(0x05, off=2)
            + verdict(NEXT) + verdict(DROP))


def clone(ifindex, port=None):
    """Code of a TC program that sends a copy of each packet, or of those to `port`, to a device and passes the packet on: the
    least that any program must do to copy."""
    copy = (bpf._insn(0xBF, 1, 6) + bpf._insn(0xB7, 2, imm=ifindex) + bpf._insn(0xB7, 3, imm=0)
            + bpf._insn(0x85, imm=13))                              # bpf_clone_redirect(skb, ifindex, 0)
    chosen = _port(5) + bpf._insn(0x55, 1, off=4, imm=port) if port else b""
    return bpf._insn(0xBF, 6, 1) + chosen + copy + verdict(NEXT)


class Program:
    """A TC program, pinned for tc(8) as long as it is open."""

    def __init__(self, path, code):
        text, word = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")
        self.fd = call(bpf.PROG_LOAD, struct.pack("<IIQQIIQII16s", bpf.SCHED_CLS, len(code) // 8, _at(text), _at(word), 0, 0, 0, 0,
                                                  0, b"bench"))[0]
        self.path = path
        name = ctypes.create_string_buffer(path.encode() + b"\0")
        call(bpf.OBJ_PIN, struct.pack("<QI", _at(name), self.fd))

    def close(self):
        """Forgets it."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        os.close(self.fd)


@contextlib.contextmanager
def loaded(name, pins):
    """The programs of a compiled object of ours (NAME.bpf.c beside this file): {name: descriptor}. `pins`: a directory to make
    for the time it takes to load them."""
    path = os.path.join(os.environ.get("BENCH_OBJECTS", os.path.join(HERE, "..", "..", ".output")), f"{name}.bpf.o")
    fds = {}
    try:
        try:
            done = netns.run(["bpftool", "prog", "loadall", path, pins], check=False)
            if done.returncode:
                raise OSError(f"{name}.bpf.o does not load: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
            fds = {program: opened(f"{pins}/{program}") for program in os.listdir(pins)}
        finally:
            shutil.rmtree(pins, ignore_errors=True)
        yield fds
    finally:
        for fd in fds.values():
            os.close(fd)


@contextlib.contextmanager
def tcx(fd, ns, ifindex, hook):
    """A TC program attached by a TCX link for the time of the body."""
    with netns.inside(ns):
        link = call(bpf.LINK_CREATE, struct.pack("<IIII", fd, ifindex, hook, 0))[0]
    try:
        yield
    finally:
        os.close(link)


def opened(path):
    """Descriptor of a pinned object."""
    name = ctypes.create_string_buffer(path.encode() + b"\0")
    return call(OBJ_GET, struct.pack("<QI", _at(name), 0))[0]


def test_run(ns, ifindex, fd, frame, repeat):
    """Nanoseconds that a TC program takes for a frame on a device, the kernel's own mean over `repeat` runs."""
    data = ctypes.create_string_buffer(frame, len(frame))
    skb = ctypes.create_string_buffer(struct.pack("<40xI", ifindex).ljust(192, b"\0"), 192)     # struct __sk_buff
    with netns.inside(ns):
        attr = struct.pack("<IIIIQQIIIIQQ", fd, 0, len(frame), 0, _at(data), 0, repeat, 0, 192, 0, _at(skb), 0)
        return struct.unpack_from("<I", call(PROG_TEST_RUN, attr)[1], 36)[0]


def fill(path, count):
    """Fills a pinned hash of 32-bit keys up to `count` entries with values like one that is there, under keys that no process
    id has."""
    fd = opened(path)
    try:
        info = ctypes.create_string_buffer(256)
        call(INFO_BY_FD, struct.pack("<IIQ", fd, 256, _at(info)))
        key = ctypes.create_string_buffer(4)
        value = ctypes.create_string_buffer(struct.unpack_from("<I", info.raw, 12)[0])
        call(NEXT_KEY, struct.pack("<IIQQQ", fd, 0, 0, _at(key), 0))
        call(LOOKUP, struct.pack("<IIQQQ", fd, 0, _at(key), _at(value), 0))
        for number in range(1, count):
            struct.pack_into("<I", key, 0, 0x40000000 + number)     # above the kernel's PID_MAX_LIMIT
            call(UPDATE, struct.pack("<IIQQQ", fd, 0, _at(key), _at(value), 0))
    finally:
        os.close(fd)
