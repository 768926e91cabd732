# SPDX-License-Identifier: GPL-2.0-only
"""Somebody else's programs, small ones, made and attached by the bpf(2) system call alone: TC programs that note what they
see, and one that makes a moment in the kernel last."""

import contextlib
import ctypes
import os
import platform
import resource
import struct

from lib import netns

MAP_CREATE, MAP_LOOKUP, PROG_LOAD, OBJ_PIN, OBJ_GET, PROG_QUERY, RAW_TRACEPOINT_OPEN, LINK_CREATE = 0, 1, 5, 6, 7, 16, 17, 28
ARRAY, SCHED_CLS, RAW_TRACEPOINT = 2, 3, 17
LISTEN, SYN_RECV = 10, 3
INGRESS, EGRESS = 46, 47    # BPF_TCX_INGRESS, BPF_TCX_EGRESS
BEFORE, AFTER = 8, 16
NEXT, PASS = -1, 0
SYS_BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]
SYS_PIDFD_GETFD = 438
BPFFS = "/sys/fs/bpf"

# struct __sk_buff: name -> offset
FIELDS = {"len": 0, "mark": 8, "queue_mapping": 12, "priority": 32, "tc_index": 44,
          "cb0": 48, "cb1": 52, "cb2": 56, "cb3": 60, "cb4": 64}
WRITABLE = ("mark", "priority", "tc_index", "cb0", "cb1", "cb2", "cb3", "cb4")
VALUE_SIZE = 8 + 4 * len(FIELDS)

_libc = ctypes.CDLL(None, use_errno=True)


def mount():
    """Mounts the BPF file system where it belongs, if nobody has since boot; it stays, and is mounted as `mirrorctl up` does."""
    if not os.path.ismount(BPFFS):
        netns.run(["mount", "-t", "bpf", "-o", "mode=0700,nosuid,nodev,noexec", "bpf", BPFFS])


def _bpf(command, attr):
    if command in (MAP_CREATE, PROG_LOAD):      # before 5.11 locked memory of the user's, to whom the mirror's is charged as well
        with contextlib.suppress(ValueError):   # without CAP_SYS_RESOURCE
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY,) * 2)
    attr = ctypes.create_string_buffer(attr.ljust(128, b"\0"))
    result = _libc.syscall(SYS_BPF, command, attr, 128)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"bpf command {command}: {os.strerror(ctypes.get_errno())}")
    return result


def _address(data):
    return ctypes.cast(data, ctypes.c_void_p).value


def _insn(code, dst=0, src=0, off=0, imm=0):
    return struct.pack("<BBhi", code, dst | src << 4, off, imm)


def _program(map_fd, verdict, stamp, fields):
    """Counts the packet and notes its fields in the map; with `stamp` overwrites its writable fields before."""
    code = [_insn(0xBF, 6, 1)]                                              # r6 = ctx
    for number, field in enumerate(WRITABLE if stamp else ()):
        code.append(_insn(0xB7, 1, imm=stamp + number))                     # r1 = stamp + number
        code.append(_insn(0x63, 6, 1, FIELDS[field]))                       # ctx->field = r1
    note = []
    for number, offset in enumerate(fields.values()):
        note.append(_insn(0x61, 1, 6, offset))                              # r1 = ctx->field
        note.append(_insn(0x63, 0, 1, 8 + 4 * number))                      # value->field = r1
    body = [_insn(0xB7, 1, imm=1), _insn(0xDB, 0, 1, 0, 0), *note]          # value->count += 1
    code += [_insn(0x62, 10, 0, -4, 0),                                     # key = 0
             _insn(0xBF, 2, 10), _insn(0x07, 2, imm=-4),                    # r2 = &key
             _insn(0x18, 1, 1, imm=map_fd), _insn(0),                       # r1 = map
             _insn(0x85, imm=1),                                            # r0 = lookup
             _insn(0x15, 0, off=len(body)),                                 # if !r0 skip the body
             *body,
             _insn(0xB7, 0, imm=verdict), _insn(0x95)]
    return b"".join(code)


class Stranger:
    """Another owner's TC program with its map; attachments end when it is closed."""

    kind, fields = SCHED_CLS, FIELDS

    def __init__(self, verdict=NEXT, stamp=0):
        self.map = _bpf(MAP_CREATE, struct.pack("<IIII", ARRAY, 4, VALUE_SIZE, 1))
        code = _program(self.map, verdict, stamp, self.fields)
        insns, license_ = ctypes.create_string_buffer(code), ctypes.create_string_buffer(b"GPL")
        self.prog = _bpf(PROG_LOAD, struct.pack("<IIQQIIQII16s", self.kind, len(code) // 8, _address(insns),
                                                _address(license_), 0, 0, 0, 0, 0, b"stranger"))
        self.fds = [self.map, self.prog]

    def attach_tcx(self, ns, ifindex, kind, flags=0):
        """Attaches by a TCX link; `flags` BEFORE is first in the chain, AFTER last."""
        with netns.inside(ns):
            self.fds.append(_bpf(LINK_CREATE, struct.pack("<IIII", self.prog, ifindex, kind, flags)))
        return self

    def pin(self, path):
        """Pins the program, for `tc filter add ... bpf object-pinned`."""
        name = ctypes.create_string_buffer(path.encode() + b"\0")
        _bpf(OBJ_PIN, struct.pack("<QI", _address(name), self.prog))

    def seen(self):
        """(packets so far, fields of the last one)."""
        key, value = ctypes.create_string_buffer(4), ctypes.create_string_buffer(VALUE_SIZE)
        _bpf(MAP_LOOKUP, struct.pack("<IIQQQ", self.map, 0, _address(key), _address(value), 0))
        count, *fields = struct.unpack(f"<Q{len(FIELDS)}I", value.raw[:VALUE_SIZE])
        return count, dict(zip(FIELDS, fields))

    @property
    def count(self):
        """Packets so far."""
        return self.seen()[0]

    def close(self):
        """Detaches and forgets everything."""
        for fd in reversed(self.fds):
            os.close(fd)
        self.fds = []


def hold(path):
    """Opens a pin, as whoever looks at the links of a host does; close the descriptor to let go."""
    name = ctypes.create_string_buffer(path.encode() + b"\0")
    return _bpf(OBJ_GET, struct.pack("<QI", _address(name), 0))


def tcx_count(ns, ifindex, kind):
    """How many programs the kernel has at this TCX hook right now."""
    attr = ctypes.create_string_buffer(struct.pack("<IIIIQI", ifindex, kind, 0, 0, 0, 0).ljust(128, b"\0"))
    with netns.inside(ns):
        if _libc.syscall(SYS_BPF, PROG_QUERY, attr, 128) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return struct.unpack_from("<I", attr.raw, 24)[0]    # union bpf_attr, query.count


class SlowHandshake:
    """Holds each TCP child that the packets of process `pid` bring about for some milliseconds, between its making (when it
    has inherited what its listener carried) and its queueing at the listener. Ends when it is closed."""

    ROUNDS, CALLS = 1200, 64

    def __init__(self, pid):
        out = 0x7FFF        # replaced by the way to the end
        code = [_insn(0x79, 2, 1, 8), _insn(0x55, 2, off=out, imm=LISTEN),         # old state
                _insn(0x79, 2, 1, 16), _insn(0x55, 2, off=out, imm=SYN_RECV),      # new state
                _insn(0x85, imm=14), _insn(0x77, 0, imm=32), _insn(0x55, 0, off=out, imm=pid),  # r0 = process
                _insn(0xB7, 7, imm=self.ROUNDS)]
        code += [_insn(0x85, imm=5)] * self.CALLS                                   # bpf_ktime_get_ns()
        code += [_insn(0x07, 7, imm=-1), _insn(0x55, 7, off=-self.CALLS - 2),       # until r7 is 0
                 _insn(0xB7, 0), _insn(0x95)]
        code = b"".join(insn[:2] + struct.pack("<h", len(code) - 3 - at) + insn[4:] if insn[2:4] == struct.pack("<h", out)
                        else insn for at, insn in enumerate(code))
        insns, license_ = ctypes.create_string_buffer(code), ctypes.create_string_buffer(b"GPL")
        self.fds = [_bpf(PROG_LOAD, struct.pack("<IIQQIIQII16s", RAW_TRACEPOINT, len(code) // 8, _address(insns),
                                                _address(license_), 0, 0, 0, 0, 0, b"slow_handshake"))]
        name = ctypes.create_string_buffer(b"inet_sock_set_state")
        self.fds.append(_bpf(RAW_TRACEPOINT_OPEN, struct.pack("<QI", _address(name), self.fds[0])))

    def close(self):
        """Detaches it."""
        for fd in reversed(self.fds):
            os.close(fd)
        self.fds = []


def has_tcx():
    """True where the kernel attaches TC programs by TCX links (6.6 and later)."""
    stranger = Stranger()
    try:
        stranger.attach_tcx(None, 1, INGRESS)
        return True
    except OSError:
        return False
    finally:
        stranger.close()


class XdpStranger(Stranger):
    """Another owner's XDP program, which drops and counts."""

    kind, fields = 6, {}                    # BPF_PROG_TYPE_XDP
    DROP, HOOK, GENERIC = 1, 37, 2          # XDP_DROP, BPF_XDP, XDP_FLAGS_SKB_MODE

    def __init__(self):
        super().__init__(self.DROP)

    def attach(self, ns, ifindex):
        """Attaches by a link, in generic mode."""
        with netns.inside(ns):
            self.fds.append(_bpf(LINK_CREATE, struct.pack("<IIII", self.prog, ifindex, self.HOOK, self.GENERIC)))
        return self


class Steering:
    """A program that picks sockets for a namespace (BPF_PROG_TYPE_SK_LOOKUP): packets for local port `first` + n, n below
    `count`, go to the sockets of place n, one for TCP and one for UDP, whatever their addresses and ports. Ends when it is
    closed."""

    MAP_UPDATE, SOCKMAP, SK_LOOKUP, HOOK, KINDS = 2, 15, 30, 36, 2

    def __init__(self, ns, first, count):
        self.count = count
        self.map = _bpf(MAP_CREATE, struct.pack("<IIII", self.SOCKMAP, 4, 8, self.KINDS * count))
        assign = [_insn(0xBF, 7, 0), _insn(0xBF, 1, 6), _insn(0xBF, 2, 7), _insn(0xB7, 3), _insn(0x85, imm=124),
                  _insn(0xBF, 1, 7), _insn(0x85, imm=86)]                   # bpf_sk_assign(ctx, socket, 0), bpf_sk_release()
        find = [_insn(0x61, 3, 6, 12), _insn(0x55, 3, off=1, imm=17), _insn(0x07, 2, imm=count),    # UDP: r2 += count
                _insn(0x63, 10, 2, -4), _insn(0xBF, 2, 10), _insn(0x07, 2, imm=-4),                 # r2 = &key
                _insn(0x18, 1, 1, imm=self.map), _insn(0), _insn(0x85, imm=1),                      # r0 = lookup
                _insn(0x15, 0, off=len(assign)), *assign]
        code = [_insn(0xBF, 6, 1), _insn(0x61, 2, 6, 60), _insn(0x07, 2, imm=-first),               # r2 = local port - first
                _insn(0x25, 2, off=len(find), imm=count - 1), *find, _insn(0xB7, 0, imm=1), _insn(0x95)]    # SK_PASS
        code = b"".join(code)
        insns, license_ = ctypes.create_string_buffer(code), ctypes.create_string_buffer(b"GPL")
        self.fds = [self.map, _bpf(PROG_LOAD, struct.pack("<IIQQIIQII16sII", self.SK_LOOKUP, len(code) // 8, _address(insns),
                                                          _address(license_), 0, 0, 0, 0, 0, b"steering", 0, self.HOOK))]
        space = os.open(f"{netns.RUN_DIR}/{ns}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.fds.append(_bpf(LINK_CREATE, struct.pack("<IIII", self.fds[1], space, self.HOOK, 0)))
        finally:
            os.close(space)

    def give(self, place, datagrams, pid, number):
        """Puts a socket, descriptor `number` of process `pid`, to a place."""
        process = os.pidfd_open(pid)
        fd = _libc.syscall(SYS_PIDFD_GETFD, process, number, 0)
        os.close(process)
        if fd < 0:
            raise OSError(ctypes.get_errno(), "pidfd_getfd")
        key = ctypes.create_string_buffer(struct.pack("<I", place + self.count * datagrams))
        value = ctypes.create_string_buffer(struct.pack("<Q", fd))
        try:
            _bpf(self.MAP_UPDATE, struct.pack("<IIQQQ", self.map, 0, _address(key), _address(value), 0))
        finally:
            os.close(fd)

    def close(self):
        """Detaches it."""
        for fd in reversed(self.fds):
            os.close(fd)
        self.fds = []
