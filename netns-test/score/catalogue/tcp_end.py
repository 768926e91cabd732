# SPDX-License-Identifier: GPL-2.0-only
"""The end of TCP connections, and what comes after: resets, TIME_WAIT, tuples that change hands."""

import os
import socket
import struct

from lib import netns, wait
from lib.packet import TCP, flow
from lib.registry import expect
from lib.traffic import Stream, carry
from score.catalogue.tcp import FIN, on_wire, roles
from score.moves import both, cast, dropped, listener, window
from score.registry import scenario

LINGER_0 = struct.pack("ii", 1, 0)
UNSPEC = "__import__('ctypes').CDLL(None).connect(obj[{key}].fileno(), bytes(16), 16)"


@scenario()
def listener_closed(t):
    """The listener is closed while its children live on; a later SYN is answered by the kernel's reset, nobody's."""
    peer, me, other, doors = roles(t)

    def act(who):
        stream = Stream(peer, doors[who])
        doors[who].sock.close()
        stream.talk(300, 5000)
        late = peer.eval(f"(lambda s: (s.bind(('0.0.0.0', 0)), s.connect_ex({doors[who].end!r}), s.getsockname()[1])[2])"
                         "(socket.socket())")
        expect(late, "a late client was refused")
        stream.close()
        return stream.key

    both(t, me, other, act)


@scenario()
def half_close(t):
    """One direction is shut down, the other goes on for 30 kB."""
    server, me, other = cast(t)
    door = listener(server)
    t.select(me, best=f"tcp port {door.port}")

    def act(who):
        stream = Stream(who, door)
        stream.client.shutdown(socket.SHUT_WR)
        carry(stream.server, stream.client, 30000)
        stream.server.close()
        stream.client.close()
        return stream.key

    both(t, me, other, act)


@scenario()
def simultaneous_close(t):
    """Both ends close before they hear of each other (the FINs to the far end are lost at first); retransmitted FINs."""
    server, me, other = cast(t)
    door = listener(server)
    t.select(me, best=f"tcp port {door.port}")

    def act(who):
        stream = Stream(who, door)
        stream.talk()
        t.settle()
        with dropped(t):
            stream.client.close()
            stream.server.close()
            wait.until(lambda: len(on_wire(t, stream.key, lambda p: p.outgoing and p.flags & FIN)) >= 2, "the FIN again")
        t.settle()
        return stream.key

    both(t, me, other, act)


@scenario()
def linger_zero(t):
    """SO_LINGER 0 and closing with unread data send a reset; so does the far end."""
    server, me, other = cast(t)
    door = listener(server)
    t.select(me, best=f"tcp port {door.port}")

    def act(who):
        abort, unread, hit = Stream(who, door), Stream(who, door), Stream(who, door)
        unread.server.sendall(b"never read")
        t.settle()
        abort.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
        hit.server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
        abort.client.close()
        unread.client.close()
        hit.server.close()
        for stream in (abort, unread):
            stream.server.close()
        hit.client.close()
        return [abort.key, unread.key, hit.key]

    both(t, me, other, act)


@scenario()
def killed(t):
    """kill -9 with data unread at the far end, then its FIN: the kernel closes in the process's name."""
    server, me, other = cast(t)
    door = listener(server)
    t.select(me, best=f"tcp port {door.port}")

    def act(who):
        stream = Stream(who, door)
        stream.client.sendall(b"last words" * 500)
        t.settle()
        who.kill()
        os.waitpid(who.pid, 0)
        stream.server.recv_exactly(5000)
        t.settle()
        stream.server.close()
        return stream.key

    both(t, me, other, act)


def with_checksum(frame):
    """An Ethernet, IPv4, TCP frame with the checksum that a capture on the sending host does not show yet."""
    start, end = 14 + (frame[14] & 15) * 4, 14 + struct.unpack_from("!H", frame, 16)[0]
    segment = frame[start:start + 16] + bytes(2) + frame[start + 18:end]
    data = frame[26:34] + struct.pack("!HH", TCP, len(segment)) + segment + bytes(len(segment) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return frame[:start + 16] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + frame[start + 18:end]


@scenario()
def time_wait(t):
    """The far end repeats its FIN; TIME_WAIT answers, and does so after the process is gone."""
    server, me, other = cast(t)
    door = listener(server)
    t.select(me, best=f"tcp port {door.port}")

    def again(key):
        last = on_wire(t, key, lambda p: not p.outgoing and p.flags & FIN)[-1]
        count = len(on_wire(t, key, lambda p: p.outgoing))
        server.do(f"raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); raw.bind(('eth0', 0)); "
                  f"raw.send({with_checksum(last.frame)!r})")
        wait.until(lambda: len(on_wire(t, key, lambda p: p.outgoing)) > count, "TIME_WAIT to answer")

    def act(who):
        stream = Stream(who, door)
        stream.talk()
        stream.close()
        t.settle()
        again(stream.key)
        who.kill()
        os.waitpid(who.pid, 0)
        again(stream.key)
        return stream.key

    both(t, me, other, act)


@scenario()
def tuple_reused(t):
    """A stranger takes address and port of a connection right after the target closed it, and the other way round."""
    server, me, other = cast(t)
    door = listener(server)
    t.select(me, best=f"tcp port {door.port}")
    for first, second in ((me, other), (other, me)):
        stream = Stream(first, door)
        port = stream.client.getsockname()[1]
        stream.talk()
        stream.server.close()
        stream.client.recv(1)
        stream.client.close()
        rule = t.owns(me, stream.key) if first is me else None
        cut = window(t, rule) if rule else t.now()
        again = Stream(second, door, port=port)
        again.talk()
        again.close()
        expect(again.key == stream.key, "the tuple is the same")
        if second is me:
            t.owns(me, again.key, start=cut)


@scenario()
def tuple_reused_time_wait(t):
    """A stranger's SYN hits the target's connection in TIME_WAIT and takes the tuple over: from the SYN on it is his."""
    server, me, other = cast(t)
    door = listener(server)
    netns.sysctl(t.space("c"), "net/ipv4/tcp_tw_reuse", 1)
    t.select(me, best=f"tcp port {door.port}")
    stream = Stream(me, door, port=9333)
    stream.talk()
    stream.close()      # the target closes first: TIME_WAIT is on its side
    rule = t.owns(me, stream.key)
    window(t, rule)
    other.do(f"import time\ndef dial():\n    s = socket.socket(); s.setsockopt(1, 2, 1); s.bind(({netns.C4!r}, 9333))\n"
             f"    s.connect({door.end!r}); return s")

    def dialled():
        try:
            return other.eval("dial()")
        except Exception:
            return None

    sock = wait.until(dialled, "the tuple to be free again", 5)
    served = door.accept()
    carry(sock, served, 100)
    carry(served, sock, 1000)
    sock.close()
    served.close()


@scenario()
def server_tuple_reused_time_wait(t):
    """A server has closed a connection and is in TIME_WAIT; its port passes to another process, and the same client port
    connects again. From that SYN on the connection is the new server's: the target's to a stranger's, and back."""
    peer, me, other = cast(t)
    t.select(me, best="tcp port 7700")
    before = t.now()
    for first, second, port in ((me, other, 9341), (other, me, 9342)):
        for who in (first, second):
            door = listener(who, port=7700)
            stream = Stream(peer, door, port=port)
            stream.talk()
            stream.server.close()       # this end first: TIME_WAIT is here
            while stream.client.recv(100):
                pass
            stream.client.close()
            door.sock.close()
            if who is me:
                rule = t.owns(me, stream.key, start=before)
                window(t, rule)
            before = t.now()


@scenario()
def disconnect_reconnect(t):
    """connect() to the unspecified address dissolves a connection; the same socket connects again elsewhere."""
    server, me, other = cast(t)
    doors = [listener(server), listener(server)]
    t.select(me, best=" or ".join(f"tcp port {door.port}" for door in doors))

    def act(who):
        stream = Stream(who, doors[0])
        stream.talk()
        t.settle()
        expect(who.eval(UNSPEC.format(key=stream.client.key)) == 0, "connect to AF_UNSPEC")
        stream.server.close()
        stream.client.connect(doors[1].end)
        served = doors[1].accept()
        key = flow(TCP, stream.client.getsockname(), doors[1].end)
        carry(stream.client, served, 100)
        carry(served, stream.client, 1000)
        stream.client.close()
        served.close()
        return [stream.key, key]

    both(t, me, other, act)


@scenario()
def refused(t):
    """Refused connections: the SYN and the reset that answers it. Resets our own kernel sends are nobody's."""
    server, me, other = cast(t)
    t.select(me, best="tcp port 9")

    def act(who):
        port = who.eval(f"(lambda s: (s.bind(('0.0.0.0', 0)), s.connect_ex(({netns.S4!r}, 9)), s.getsockname()[1])[2])"
                        "(socket.socket())")
        server.eval(f"socket.socket().connect_ex(({netns.C4!r}, 9))")
        return flow(TCP, (netns.C4, port), (netns.S4, 9))

    both(t, me, other, act)


@scenario()
def tuple_reused_late(t):
    """A stranger used the target's old tuple and is in TIME_WAIT, or reset and gone: what comes late is his, not the
    target's."""
    server, me, other = cast(t)
    door = listener(server)
    t.select(me, best=f"tcp port {door.port}")
    for abort in (False, True):
        stream = Stream(me, door)
        port = stream.client.getsockname()[1]
        stream.talk()
        stream.server.close()
        stream.client.recv(1)
        stream.client.close()
        window(t, t.owns(me, stream.key))
        again = Stream(other, door, port=port)
        again.talk()
        if abort:
            again.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
        again.client.close()
        if not abort:
            while again.server.recv(100):
                pass
        again.server.close()
        t.settle()
        last = on_wire(t, again.key, lambda p: not p.outgoing)[-1]
        count = len(on_wire(t, again.key, lambda p: p.outgoing))
        server.do(f"raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); raw.bind(('eth0', 0)); "
                  f"raw.send({with_checksum(last.frame)!r})")
        wait.until(lambda n=count: len(on_wire(t, again.key, lambda p: p.outgoing)) > n, "an answer to the late packet")
