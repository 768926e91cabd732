# SPDX-License-Identifier: GPL-2.0-only
"""io_uring by its system calls alone, as source that runs in an actor: one operation at a time, waited for."""

SOURCE = r'''
import ctypes, mmap
libc = ctypes.CDLL(None, use_errno=True)
SETUP, ENTER, REGISTER = 425, 426, 427
ACCEPT, CONNECT, SEND, RECV, SOCKET = 13, 16, 26, 27, 45

def available():
    params = ctypes.create_string_buffer(120)
    fd = libc.syscall(SETUP, 4, params)
    if fd < 0: return False
    os.close(fd)
    return True

def sockaddr(end):
    return struct.pack("=H", 2) + struct.pack("!H", end[1]) + socket.inet_aton(end[0]) + bytes(8)

class Ring:
    def __init__(self, sqpoll):
        params = ctypes.create_string_buffer(120)
        struct.pack_into("=IIIII", params, 0, 0, 0, 2 if sqpoll else 0, 0, 10000)
        self.fd = libc.syscall(SETUP, 8, params)
        if self.fd < 0: raise OSError(ctypes.get_errno(), "io_uring_setup")
        self.sqpoll = sqpoll
        self.entries, self.cq_entries = struct.unpack_from("=II", params, 0)
        self.sq_head, self.sq_tail, self.sq_mask, _, self.sq_flags, _, self.sq_array = struct.unpack_from("=7I", params, 40)
        self.cq_head, self.cq_tail, self.cq_mask, _, _, self.cqes = struct.unpack_from("=6I", params, 80)
        size = max(self.sq_array + 4 * self.entries, self.cqes + 16 * self.cq_entries)
        self.ring = mmap.mmap(self.fd, size, offset=0)
        self.sqes = mmap.mmap(self.fd, 64 * self.entries, offset=0x10000000)

    def u32(self, at, value=None):
        if value is None: return struct.unpack_from("=I", self.ring, at)[0]
        struct.pack_into("=I", self.ring, at, value)

    def run(self, opcode, fd, off=0, addr=0, length=0, more=0, slot=0, fixed=False):
        tail = self.u32(self.sq_tail)
        index = tail & self.u32(self.sq_mask)
        struct.pack_into("=BBHiQQIIQHHI16x", self.sqes, 64 * index, opcode, 1 if fixed else 0, 0, fd, off, addr, length, more,
                         7, 0, 0, slot)
        self.u32(self.sq_array + 4 * index, index)
        self.u32(self.sq_tail, tail + 1)
        head = self.u32(self.cq_head)
        flags = 1
        if self.sqpoll and self.u32(self.sq_flags) & 1: flags |= 2
        if libc.syscall(ENTER, self.fd, 0 if self.sqpoll else 1, 1, flags, None, 0) < 0:
            raise OSError(ctypes.get_errno(), "io_uring_enter")
        assert self.u32(self.cq_tail) != head, "no completion"
        result = struct.unpack_from("=Qi", self.ring, self.cqes + 16 * (head & self.u32(self.cq_mask)))[1]
        self.u32(self.cq_head, head + 1)
        if result < 0: raise OSError(-result, f"operation {opcode}")
        return result

    def socket(self, family, kind):
        return self.run(SOCKET, family, off=kind)

    def direct(self, count):
        fds = (ctypes.c_int * count)(*[-1] * count)
        if libc.syscall(REGISTER, self.fd, 2, fds, count) < 0: raise OSError(ctypes.get_errno(), "register")

    def socket_direct(self, family, kind, slot):
        return self.run(SOCKET, family, off=kind, slot=slot + 1)

    def connect(self, fd, end, fixed=False):
        where = ctypes.create_string_buffer(sockaddr(end), 16)
        self.run(CONNECT, fd, off=16, addr=ctypes.addressof(where), fixed=fixed)

    def send(self, fd, data, fixed=False):
        text = ctypes.create_string_buffer(data, len(data))
        self.run(SEND, fd, addr=ctypes.addressof(text), length=len(data), fixed=fixed)

    def recv(self, fd, count, fixed=False):
        room = ctypes.create_string_buffer(count)
        got = self.run(RECV, fd, addr=ctypes.addressof(room), length=count, fixed=fixed)
        return room.raw[:got]

    def accept(self, fd):
        return self.run(ACCEPT, fd)
'''
