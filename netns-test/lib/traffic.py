# SPDX-License-Identifier: GPL-2.0-only
"""Conversations between actors, step by step, and the key each has on the wire."""

import socket
import struct

from lib import netns
from lib.packet import TCP, UDP, flow

LOOP = "loop"
ADDRESS = {("c", 4): netns.C4, ("s", 4): netns.S4, ("c", 6): netns.C6, ("s", 6): netns.S6,
           (LOOP, 4): "127.0.0.1", (LOOP, 6): "::1"}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
ANY = {4: "0.0.0.0", 6: "::"}
ANSWER_S = 10


class Listener:
    """A listening TCP socket of an actor."""

    def __init__(self, actor, version=4, port=0, where=None, wildcard=False):
        self.actor, self.version = actor, version
        self.address = ADDRESS[where or actor.where, version]
        self.sock = actor.socket(FAMILY[version], socket.SOCK_STREAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind((ANY[version] if wildcard else self.address, port))
        self.sock.listen(256)
        self.port = self.sock.getsockname()[1]

    @property
    def end(self):
        """Where clients connect to."""
        return (self.address, self.port)

    def accept(self, actor=None):
        """Accepts one connection, in the listener's actor or in one that inherited it."""
        sock = actor.take(self.sock) if actor else self.sock
        return sock.accept()[0]


class Stream:
    """One TCP connection: `client` and `server` are the sockets in their actors."""

    def __init__(self, client, listener, accept=True, acceptor=None, port=0):
        self.listener = listener
        self.client = client.socket(FAMILY[listener.version], socket.SOCK_STREAM)
        if port:
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.client.bind((ADDRESS[client.where, listener.version], port))
        self.client.connect(listener.end)
        self.key = flow(TCP, self.client.getsockname(), listener.end)
        self.server = listener.accept(acceptor) if accept else None

    def talk(self, up=100, down=1000, rounds=1):
        """Client sends `up` bytes, server answers `down` bytes."""
        for _ in range(rounds):
            carry(self.client, self.server, up)
            carry(self.server, self.client, down)

    def close(self):
        """Client closes first, then the server."""
        self.client.close()
        while self.server.recv(65536):
            pass
        self.server.close()


def carry(sender, receiver, count):
    """Moves `count` bytes over a stream in pieces that never block for want of a reader."""
    while count:
        piece = min(count, 16384)
        sender.sendall(b"m" * piece)
        got = receiver.recv_exactly(piece)
        assert len(got) == piece, f"{len(got)} of {piece} bytes arrived"
        count -= piece


def exchange(client, listener, up=100, down=1000, rounds=1):
    """A whole TCP connection; returns its key."""
    stream = Stream(client, listener)
    stream.talk(up, down, rounds)
    stream.close()
    return stream.key


class Datagrams:
    """A bound UDP socket of an actor."""

    def __init__(self, actor, version=4, port=0, where=None, wildcard=False):
        self.actor, self.version = actor, version
        self.address = ADDRESS[where or actor.where, version]
        self.sock = actor.socket(FAMILY[version], socket.SOCK_DGRAM)
        self.sock.bind((ANY[version] if wildcard else self.address, port))
        self.port = self.sock.getsockname()[1]

    @property
    def end(self):
        """Where peers send to."""
        return (self.address, self.port)

    def to(self, other, data=b"datagram"):
        """Sends one datagram to another socket, which receives it."""
        self.sock.sendto(data, other.end)
        got, _ = other.sock.recvfrom(65536)
        assert got == data, "the datagram changed on its way"
        return flow(UDP, self.end, other.end)


def echo_request(ident, seq, size=32, version=4):
    """ICMP echo request without checksum (the kernel or the far end does not mind on a ping socket)."""
    return struct.pack("!BBHHH", 8 if version == 4 else 128, 0, 0, ident, seq) + b"p" * size


def echo_marked(ident, seq, data, version=4):
    """ICMP echo request for a raw socket (the kernel sums what an ICMPv6 one sends)."""
    head = struct.pack("!BBHHH", 8 if version == 4 else 128, 0, 0, ident, seq)
    if version == 6:
        return head + data
    words = struct.unpack(f"!{(len(head) + len(data) + 1) // 2}H", head + data + b"\0" * (len(data) & 1))
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    return head[:2] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + head[4:] + data
