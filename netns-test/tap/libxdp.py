# SPDX-License-Identifier: GPL-2.0-only
"""Somebody else's XDP program, attached the way its owner would: by libxdp. Call it from inside the namespace."""

import contextlib
import ctypes
import os

import bpf
from world import Failure

OBJECT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", ".output", "beside.bpf.o")
MODES = {"native": 1, "generic": 2}     # enum xdp_attach_mode
MAX_ERRNO = 4095


def pointer(value, what):
    """What a function of libxdp returned: an object, or an error in the last page of addresses."""
    if value is None or value >= (1 << 64) - MAX_ERRNO:
        raise Failure(f"{what}: {os.strerror((1 << 64) - value) if value else 'nothing is there'}")
    return ctypes.c_void_p(value)


class Beside:
    """The program of xdp/test/beside.bpf.c with a place in the order (lower runs first)."""

    def __init__(self, priority):
        self.xdp, self.libbpf = ctypes.CDLL("libxdp.so.1"), ctypes.CDLL("libbpf.so.1")
        self.xdp.libxdp_set_print(None)
        self.libbpf.libbpf_set_print(None)
        for function in (self.xdp.xdp_program__open_file, self.xdp.xdp_program__bpf_obj,
                         self.xdp.xdp_multiprog__get_from_ifindex):
            function.restype = ctypes.c_void_p
        self.prog = pointer(self.xdp.xdp_program__open_file(OBJECT.encode(), b"xdp", None), f"open {OBJECT}")
        self.xdp.xdp_program__set_run_prio(self.prog, priority)

    def call(self, function, ifindex, mode):
        """Attaches or detaches."""
        done = function(self.prog, ifindex, MODES[mode], 0)
        if done < 0:
            raise OSError(-done, f"{function.__name__}: {os.strerror(-done)}")

    def attach(self, ifindex, mode):
        """Puts the program on a device, beside what is there."""
        self.call(self.xdp.xdp_program__attach, ifindex, mode)

    def detach(self, ifindex, mode):
        """Takes it off again."""
        self.call(self.xdp.xdp_program__detach, ifindex, mode)

    def alone(self, ifindex):
        """True if what runs on the device is one program without a dispatcher."""
        multi = pointer(self.xdp.xdp_multiprog__get_from_ifindex(ifindex), "XDP programs of the device")
        try:
            return bool(self.xdp.xdp_multiprog__is_legacy(multi) & 0xFF)
        finally:
            self.xdp.xdp_multiprog__close(multi)

    def counts(self):
        """(frames seen, frames dropped)"""
        obj = ctypes.c_void_p(self.xdp.xdp_program__bpf_obj(self.prog))
        fd = self.libbpf.bpf_object__find_map_fd_by_name(obj, b"beside_seen")
        return bpf.lookup_u64(fd, 0), bpf.lookup_u64(fd, 1)

    def close(self):
        """Lets go of the program; attached it stays."""
        self.xdp.xdp_program__close(self.prog)


@contextlib.contextmanager
def beside(devices, mode, priority):
    """The program on some devices (interface indexes) for the time of the body."""
    one = Beside(priority)
    done = []
    try:
        for ifindex in devices:
            one.attach(ifindex, mode)
            done.append(ifindex)
        yield one
    finally:
        for ifindex in done:
            with contextlib.suppress(OSError):
                one.detach(ifindex, mode)
        one.close()
