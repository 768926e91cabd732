# SPDX-License-Identifier: GPL-2.0-only
"""ICMP: echo identifiers, errors that quote a flow, and what the kernel says by itself."""

import os
import socket
import struct

from lib import netns, wait
from lib.packet import ICMP, ICMP6, TCP, UDP, echo, flow
from lib.traffic import ADDRESS, Stream, echo_marked
from score.moves import both, cast, dropped, listener, service
from score.registry import scenario

RAW4 = (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)


def checksum(data):
    """The Internet checksum."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def message(kind, code, rest, body):
    """An ICMP message with its checksum."""
    head = struct.pack("!BBH4s", kind, code, 0, rest)
    return head[:2] + struct.pack("!H", checksum(head + body)) + head[4:] + body


def request(ident, seq, mark=b"p", kind=8):
    """An echo request or reply."""
    return message(kind, 0, struct.pack("!HH", ident, seq), mark * 32)


@scenario()
def ping_large(t):
    """Two pings of 5,000 bytes at once: every fragment of requests and replies."""
    t.pair()
    t.open()
    words = ["ping", "-c", "3", "-i", "0.05", "-s", "5000"]
    t.launch([*words, "-e", "4660", netns.S4], f"ip proto 1 and host {netns.S4}", [*words, "-e", "4661", netns.S4])
    t.owns(0, echo(ICMP, netns.C4, netns.S4, 4660))


def datagram_pings(t, version):
    """Datagram (unprivileged) ping sockets, from before and after the selection."""
    server, me, other = cast(t)
    netns.sysctl(t.space("c"), "net/ipv4/ping_group_range", "0 2147483647")
    family, proto = ((socket.AF_INET, socket.IPPROTO_ICMP), (socket.AF_INET6, socket.IPPROTO_ICMPV6))[version == 6]
    old = {who: who.socket(family, socket.SOCK_DGRAM, proto) for who in (me, other)}
    t.select(me, best="icmp" if version == 4 else "icmp6")
    new = {who: who.socket(family, socket.SOCK_DGRAM, proto) for who in (me, other)}
    far = ADDRESS["s", version]

    def act(who):
        keys = []
        for sock in (old[who], new[who]):
            for seq in range(3):
                sock.sendto(request(0, seq, kind=8 if version == 4 else 128), (far, 0))
                sock.recv(1000)
            keys.append(echo(ICMP if version == 4 else ICMP6, ADDRESS["c", version], far, sock.getsockname()[1]))
        return keys

    both(t, me, other, act)


@scenario()
def ping_datagram(t):
    """Unprivileged ping sockets of two processes, IPv4."""
    datagram_pings(t, 4)


@scenario()
def ping_datagram_ipv6(t):
    """Unprivileged ping sockets of two processes, IPv6."""
    datagram_pings(t, 6)


@scenario()
def colliding_ids(t):
    """Two processes ping from raw sockets with one identifier. The kernel gives every reply with it to both, so all replies
    are packets the target receives; of the requests only its own are."""
    server, me, other = cast(t)
    t.select(me, best=f"icmp and host {netns.S4}")
    socks = {who: who.socket(*RAW4) for who in (me, other)}
    marks = {me: b"m", other: b"f"}
    for seq in range(4):
        for who in (me, other):
            socks[who].sendto(request(777, seq, marks[who]), (netns.S4, 0))
            for sock in socks.values():
                sock.recv(1000)
    key = echo(ICMP, netns.C4, netns.S4, 777)
    t.owns(me, lambda p: p.key == key and (not p.outgoing or p.payload.startswith(b"m")))


@scenario()
def same_id_other_host(t):
    """The same identifier towards two hosts: the stranger's replies come from another address."""
    server, me, other = cast(t)
    netns.ip(t.space("s"), "addr add 10.11.0.7/24 dev eth0")
    netns.ip(t.space("c"), f"neigh replace 10.11.0.7 lladdr {netns.S_MAC} dev eth0 nud permanent")
    t.select(me, best=f"icmp and host {netns.S4}")

    def act(who):
        sock, addr = who.socket(*RAW4), netns.S4 if who is me else "10.11.0.7"
        for seq in range(4):
            sock.sendto(request(778, seq), (addr, 0))
            sock.recv(1000)
        return echo(ICMP, netns.C4, addr, 778)

    both(t, me, other, act)


@scenario()
def reply_after_exit(t):
    """The reply comes when the process that asked is gone."""
    server, me, other = cast(t)
    t.select(me, best=f"icmp and host {netns.S4}")
    server.do("raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)")
    for who, ident in ((me, 801), (other, 802)):
        sock = who.socket(*RAW4)
        with dropped(t):
            sock.sendto(request(ident, 1), (netns.S4, 0))
        who.kill()
        os.waitpid(who.pid, 0)
        server.do(f"raw.sendto({request(ident, 1, kind=0)!r}, ({netns.C4!r}, 0))")
    t.owns(me, echo(ICMP, netns.C4, netns.S4, 801))


def quote(packet, length):
    """The beginning of an outgoing IPv4 packet as an error quotes it."""
    return packet.frame[14:14 + length]


@scenario()
def errors_quoting_flows(t):
    """Unreachable, fragmentation needed and time exceeded, each quoting a TCP, a connected and an unconnected UDP flow."""
    server, me, other = cast(t)
    door, far = listener(server), service(server)
    t.select(me, best=f"tcp port {door.port} or udp port {far.port} or icmp")
    server.do("raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)")

    def act(who):
        stream = Stream(who, door)
        stream.talk()
        keys = [stream.key]
        for connect in (True, False):
            sock = who.socket(kind=socket.SOCK_DGRAM)
            if connect:
                sock.connect(far.end)
                sock.send(b"connected")
            else:
                sock.sendto(b"unconnected", far.end)
            far.sock.recvfrom(100)
            keys.append(flow(UDP, (netns.C4, sock.getsockname()[1]), far.end))
        t.settle()
        for key in keys:
            sent = [p for p in t.wires["eth0"].drain() if p.key == key and p.outgoing and not p.error][-1]
            for kind, code, rest in ((3, 3, bytes(4)), (3, 1, bytes(4)), (3, 4, struct.pack("!HH", 0, 1400)), (11, 0, bytes(4))):
                # a reset connection quotes nothing: hard errors are sent for datagrams only
                if key[0] == TCP and (kind, code) == (3, 3):
                    continue
                error = message(kind, code, rest, quote(sent, 28))
                server.do(f"raw.sendto({error!r}, ({netns.C4!r}, 0))")
        t.settle()
        stream.close()
        return keys

    both(t, me, other, act)


@scenario()
def errors_quoting_flows_ipv6(t):
    """Packet too big, time exceeded, parameter problem and unreachable (ICMPv6), each quoting a TCP, a UDP and an echo flow and a
    datagram with destination options."""
    server, me, other = cast(t)
    door, far = listener(server, version=6), service(server, version=6)
    t.select(me, best=f"tcp port {door.port} or udp port {far.port} or icmp6")
    server.do("raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58)")

    def act(who):
        stream = Stream(who, door)
        stream.talk()
        keys = [stream.key]
        for options in (b"", bytes([0, 0, 1, 4, 0, 0, 0, 0])):
            sock = who.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            if options:
                sock.setsockopt(socket.IPPROTO_IPV6, 59, options)   # IPV6_DSTOPTS
            sock.sendto(b"datagram", far.end)
            _, sender = far.sock.recvfrom(100)
            keys.append(flow(UDP, sender, far.end))
        pinger = who.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        ident = 811 if who is me else 812
        pinger.sendto(echo_marked(ident, 1, b"ping", 6), (netns.S6, 0))
        while pinger.recv(1000)[0] != 129:
            pass
        keys.append(echo(58, netns.C6, netns.S6, ident))
        t.settle()
        for key in keys:
            sent = [p for p in t.wires["eth0"].drain() if p.key == key and p.outgoing and not p.error][-1]
            for kind, code, rest in ((1, 1, 0), (2, 0, 1400), (3, 0, 0), (4, 1, 6)):
                error = struct.pack("!BBHI", kind, code, 0, rest) + quote(sent, 120)
                server.do(f"raw.sendto({error!r}, ({netns.C6!r}, 0))")
        t.settle()
        stream.close()
        return keys

    both(t, me, other, act)


@scenario()
def unreachable_ipv6(t):
    """ICMPv6 port unreachable for datagrams to a closed port."""
    server, me, other = cast(t)
    t.select(me, best="udp port 9 or icmp6")

    def act(who):
        sock = who.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sock.bind((netns.C6, 0))
        for _ in range(3):
            sock.sendto(b"anybody?", (netns.S6, 9))
        return flow(UDP, sock.getsockname(), (netns.S6, 9))

    both(t, me, other, act)
    wait.until(lambda: sum(p.error for p in t.wires["eth0"].drain()) >= 2, "port unreachable for both")


@scenario()
def kernel_made(t):
    """Echo replies and port unreachable messages of our own kernel are nobody's, whatever the target does meanwhile."""
    server, me, other = cast(t)
    far = service(server)
    t.select(me, best=f"udp port {far.port} or icmp")
    server.do("raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); raw.settimeout(10)\n"
              "u = socket.socket(type=socket.SOCK_DGRAM); u.settimeout(10)")
    mine, pinger = me.socket(kind=socket.SOCK_DGRAM), me.socket(*RAW4)
    for seq in range(4):
        mine.sendto(b"question", far.end)
        _, sender = far.sock.recvfrom(100)
        pinger.sendto(request(901, seq), (netns.S4, 0))
        pinger.recv(1000)
        server.do(f"raw.sendto({request(902, seq)!r}, ({netns.C4!r}, 0))")
        server.do(f"u.sendto(b'anybody?', ({netns.C4!r}, 9))")
    t.owns(me, flow(UDP, sender, far.end))
    t.owns(me, echo(ICMP, netns.C4, netns.S4, 901))


@scenario()
def same_id_inbound(t):
    """A far host pings us with the identifier and address of the target's own ping: its requests and our kernel's replies
    are nobody's."""
    server, me, other = cast(t)
    t.select(me, best=f"icmp and host {netns.S4}")
    pinger = me.socket(*RAW4)
    server.do("raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)")
    for seq in range(4):
        pinger.sendto(request(910, seq, b"m"), (netns.S4, 0))
        server.do(f"raw.sendto({request(910, seq, b'f')!r}, ({netns.C4!r}, 0))")
    t.owns(me, lambda p: p.proto == ICMP and p.payload.startswith(b"m"))


@scenario()
def id_reused(t):
    """The target's ping is over, its socket closed; a stranger then pings the same host with the same identifier."""
    server, me, other = cast(t)
    t.select(me, best=f"icmp and host {netns.S4}")
    for who in (me, other, me, other):
        sock = who.socket(*RAW4)
        for seq in range(3):
            sock.sendto(request(780, seq, b"m" if who is me else b"f"), (netns.S4, 0))
            sock.recv(1000)
        sock.close()
    key = echo(ICMP, netns.C4, netns.S4, 780)
    t.owns(me, lambda p: p.key == key and p.payload.startswith(b"m"))
