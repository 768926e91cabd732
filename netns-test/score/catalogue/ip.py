# SPDX-License-Identifier: GPL-2.0-only
"""The network layer: fragments, extension headers, mapped and scoped addresses, sizes and offloads."""

import socket
import struct

from lib import netns, wait
from lib.packet import TCP, UDP, flow
from lib.registry import Skip, expect
from lib.traffic import Stream, carry
from score.catalogue.icmp import checksum
from score.moves import BIG, FRAGMENT, both, cast, listener, service
from score.registry import scenario


def injector(server):
    """A packet socket at the far end."""
    server.do("raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); raw.bind(('eth0', 0))")
    head = bytes.fromhex(netns.C_MAC.replace(":", "") + netns.S_MAC.replace(":", ""))

    def inject(kind, packet):
        server.do(f"raw.send({head + struct.pack('!H', kind) + packet!r})")
    return inject


def udp4(sport, dport, data, src=netns.S4, dst=netns.C4):
    """A UDP datagram with its checksum."""
    body = struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data
    pseudo = socket.inet_aton(src) + socket.inet_aton(dst) + struct.pack("!HH", UDP, len(body))
    return body[:6] + struct.pack("!H", checksum(pseudo + body) or 0xFFFF) + data


def ip4(body, ident, offset=0, more=False, src=netns.S4, dst=netns.C4, proto=UDP):
    """An IPv4 packet around a piece of a datagram."""
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), ident, more << 13 | offset >> 3, 64, proto, 0,
                       socket.inet_aton(src), socket.inet_aton(dst))
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body


def pieces(datagram, ident, size=1000, **more):
    """The fragments of a datagram in order."""
    return [ip4(datagram[at:at + size], ident, at, at + size < len(datagram), **more) for at in range(0, len(datagram), size)]


def two_services(t, best="udp or ip[6:2] & 0x1fff != 0"):
    """UDP sockets of the target (port 7600) and a stranger (port 7601)."""
    server, me, other = cast(t)
    socks = {me: service(me, port=7600), other: service(other, port=7601)}
    t.select(me, best=best)
    return server, me, other, socks


@scenario()
def fragments_in_order(t):
    """Fragmented datagrams for target and stranger, pieces of both interleaved."""
    server, me, other, socks = two_services(t)
    inject = injector(server)
    one = pieces(udp4(9000, 7600, b"m" * 4000), 100)
    two = pieces(udp4(9000, 7601, b"f" * 4000), 101)
    for pair in zip(one, two):
        for packet in pair:
            inject(0x0800, packet)
    for sock in socks.values():
        expect(len(sock.sock.recv(5000)) == 4000, "the datagram was put together")
    t.owns(me, flow(UDP, (netns.S4, 9000), (netns.C4, 7600)))


@scenario()
def fragments_out_of_order(t):
    """The last piece first (as some senders do), and a datagram whose first piece comes in the middle."""
    server, me, other, socks = two_services(t)
    inject = injector(server)
    early = set()
    for base, order in ((200, (4, 3, 2, 1, 0)), (210, (1, 0, 2, 4, 3))):
        for number, (who, port, mark) in enumerate(((me, 7600, b"m"), (other, 7601, b"f"))):
            parts = pieces(udp4(9000, port, mark * 4000), base + number)
            for at in order:
                inject(0x0800, parts[at])
            if who is me:
                early |= {parts[at] for at in order[:order.index(0)]}
            expect(len(socks[who].sock.recv(5000)) == 4000, "the datagram was put together")
    t.owns(me, flow(UDP, (netns.S4, 9000), (netns.C4, 7600)))
    t.limit(FRAGMENT, lambda p: p.frame[14:] in early)


@scenario()
def identification_reused(t):
    """One IP identification for a datagram of the target, then of the stranger, then of the target again; and at the same
    time in another protocol."""
    server, me, other, socks = two_services(t)
    inject = injector(server)
    for who, port, mark in ((me, 7600, b"m"), (other, 7601, b"f"), (me, 7600, b"M"), (other, 7601, b"F")):
        parts = pieces(udp4(9000, port, mark * 2500), 300)
        alien = pieces(b"\x23\x28\x1d\xb0" + b"x" * 2500, 300, proto=200)
        for packet in (alien[0], parts[0], alien[1], parts[1], parts[2], alien[2]):
            inject(0x0800, packet)
        expect(len(socks[who].sock.recv(5000)) == 2500, "the datagram was put together")
    # the truth is said piece by piece: later pieces are known by their bytes
    t.owns(me, lambda p: p.proto == UDP and (p.frame[14 + 20 + 8:14 + 20 + 9] in (b"m", b"M")
                                             or p.frame[34:35] in (b"m", b"M")))


@scenario()
def identification_crossed(t):
    """A far host sends datagrams to target and stranger at once under one identification, IPv4 and IPv6, while another
    protocol uses it, too. The receiver goes on with the pieces he has; a copy of a later piece is for whom the last first
    piece was. What comes afterwards under that identification is another datagram."""
    server, me, other = cast(t)
    socks = {(who, version): service(who, version=version, port=port) for who, port in ((me, 7600), (other, 7601))
             for version in (4, 6)}
    t.select(me, best="udp or ip[6:2] & 0x1fff != 0 or ip6 proto 44")
    for key in ("net/ipv4/ipfrag_time", "net/ipv6/ip6frag_time"):
        netns.sysctl(t.space("c"), key, 1)
    inject = injector(server)
    mine, late, lent = set(), set(), set()

    def parts(version, who, mark, ident):
        """A datagram in three pieces."""
        port = socks[who, version].port
        if version == 4:
            return pieces(udp4(9000, port, mark * 2500), ident)
        data = udp6(9000, port, mark * 2500)
        return [ip6([atomic(ident, at, at + 1000 < len(data))], data[at:at + 1000]) for at in range(0, len(data), 1000)]

    for version, kind in ((4, 0x0800), (6, 0x86DD)):
        for ident, first, second in ((400, me, other), (401, other, me)):
            one, two = parts(version, first, b"1", ident), parts(version, second, b"2", ident)
            alien = pieces(b"\x23\x28\x1d\xb0" + b"x" * 2500, ident, proto=200) if version == 4 else [b""] * 3
            for packet in filter(None, (one[0], alien[0], one[1], two[0], alien[1], two[1], one[2], alien[2], two[2])):
                inject(kind, packet)
            expect(socks[first, version].sock.recv(5000) == b"1" * 2500, "the first datagram was put together")
            mine |= set(one if first is me else two)
            (late if first is me else lent).add(one[2])
    wait.until(lambda: not pending_fragments(t.space("c")), "the kernel to give the pieces up")
    for version, kind in ((4, 0x0800), (6, 0x86DD)):
        for who, mark in ((me, b"3"), (other, b"4"), (me, b"5"), (other, b"6")):
            whole = parts(version, who, mark, 400)
            for packet in whole:
                inject(kind, packet)
            expect(socks[who, version].sock.recv(5000) == mark * 2500, "the datagram was put together")
            mine |= set(whole if who is me else ())
    t.owns(me, lambda p: p.frame[14:] in mine)
    t.limit(FRAGMENT, lambda p: p.frame[14:] in late | lent)


def pending_fragments(name):
    """Datagrams in pieces that a namespace waits for the rest of."""
    total = 0
    for path, word in (("sockstat", "FRAG:"), ("sockstat6", "FRAG6:")):
        with netns.inside(name), open(f"/proc/thread-self/net/{path}", encoding="ascii") as rows:
            total += sum(int(row.split()[2]) for row in rows if row.startswith(word))
    return total


def udp6(sport, dport, data, src=netns.S6, dst=netns.C6):
    """A UDP datagram over IPv6 with its checksum."""
    body = struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data
    pseudo = socket.inet_pton(socket.AF_INET6, src) + socket.inet_pton(socket.AF_INET6, dst) + struct.pack("!II", len(body), UDP)
    return body[:6] + struct.pack("!H", checksum(pseudo + body) or 0xFFFF) + data


def ip6(chain, body, last=UDP, src=netns.S6, dst=netns.C6):
    """An IPv6 packet with a chain of (type, bytes without the next header field) in front of its body."""
    kinds = [kind for kind, _ in chain] + [last]
    rest = b"".join(bytes([kinds[i + 1]]) + data for i, (_, data) in enumerate(chain)) + body
    return struct.pack("!IHBB", 6 << 28, len(rest), kinds[0], 64) + socket.inet_pton(socket.AF_INET6, src) + \
        socket.inet_pton(socket.AF_INET6, dst) + rest


PADDED = bytes([0, 1, 4, 0, 0, 0, 0])       # hop-by-hop or destination options: one PadN
LONG = bytes([1, 0x1E, 12]) + bytes(12)     # an experimental option to be skipped, 12 bytes


def atomic(ident, offset=0, more=False):
    """A fragment header."""
    return (44, bytes([0]) + struct.pack("!HI", offset | more, ident))


@scenario()
def ipv6_extension_headers(t):
    """Hop-by-hop and destination options, alone and in chains, an atomic fragment, and a fragmented datagram behind them."""
    server, me, other = cast(t)
    socks = {me: service(me, version=6, port=7600), other: service(other, version=6, port=7601)}
    t.select(me, best="ip6 and not icmp6")
    inject = injector(server)
    chains = ([(0, PADDED)], [(60, PADDED)], [(0, PADDED), (60, LONG)], [atomic(1)], [(0, LONG), atomic(2), (60, PADDED)],
              [(0, PADDED), (60, PADDED), (60, PADDED), (60, LONG)])
    for chain in chains:
        for who, port, mark in ((me, 7600, b"m"), (other, 7601, b"f")):
            inject(0x86DD, ip6(chain, udp6(9000, port, mark * 40)))
            expect(len(socks[who].sock.recv(100)) == 40, f"{chain} arrived")
    for number, (who, port, mark) in enumerate(((me, 7600, b"m"), (other, 7601, b"f"))):
        data = udp6(9000, port, mark * 3000)
        for at in range(0, len(data), 1000):
            inject(0x86DD, ip6([(0, PADDED), atomic(50 + number, at, at + 1000 < len(data))], data[at:at + 1000]))
        expect(len(socks[who].sock.recv(5000)) == 3000, "the datagram was put together")
    t.owns(me, flow(UDP, (netns.S6, 9000), (netns.C6, 7600)))


@scenario()
def ipv6_options_sent(t):
    """The processes send with destination and hop-by-hop options of their own, TCP and UDP, and large enough to fragment."""
    server, me, other = cast(t)
    door, far = listener(server, version=6), service(server, version=6)
    t.select(me, best="ip6 and not icmp6")
    options = bytes([0, 0, 1, 4, 0, 0, 0, 0])

    def act(who):
        sock, udp = who.socket(socket.AF_INET6), who.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        for each in (sock, udp):
            each.setsockopt(socket.IPPROTO_IPV6, 59, options)   # IPV6_DSTOPTS
        udp.setsockopt(socket.IPPROTO_IPV6, 54, options)        # IPV6_HOPOPTS
        sock.connect(door.end)
        served = door.accept()
        carry(sock, served, 3000)
        carry(served, sock, 3000)
        key = flow(TCP, sock.getsockname(), door.end)
        sock.close()
        served.close()
        udp.bind((netns.C6, 0))
        for size in (10, 5000):
            udp.sendto(b"o" * size, far.end)
            _, sender = far.sock.recvfrom(9000)
            far.sock.sendto(b"a" * size, sender)
            udp.recv(9000)
        return [key, flow(UDP, sender, far.end)]

    both(t, me, other, act)


@scenario()
def mapped_addresses(t):
    """IPv6 sockets that talk IPv4 (::ffff:a.b.c.d): client and dual-stack server, TCP and UDP."""
    server, me, other = cast(t)
    door, far = listener(server), service(server)
    doors = {who: listener(who, version=6, wildcard=True) for who in (me, other)}
    t.select(me, best=f"port {door.port} or port {far.port} or port {doors[me].port}")

    def act(who):
        sock, udp = who.socket(socket.AF_INET6), who.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sock.connect(("::ffff:" + netns.S4, door.port))
        served = door.accept()
        carry(sock, served, 500)
        carry(served, sock, 5000)
        keys = [flow(TCP, (netns.C4, sock.getsockname()[1]), door.end)]
        udp.sendto(b"mapped", ("::ffff:" + netns.S4, far.port))
        _, sender = far.sock.recvfrom(100)
        far.sock.sendto(b"answer", sender)
        udp.recv(100)
        keys.append(flow(UDP, sender, far.end))
        dial = server.socket()
        dial.connect((netns.C4, doors[who].port))
        child = doors[who].accept()
        carry(child, dial, 2000)
        keys.append(flow(TCP, dial.getsockname(), (netns.C4, doors[who].port)))
        for each in (sock, dial):
            each.close()
        served.close()
        child.close()
        return keys

    both(t, me, other, act)


@scenario()
def link_local(t):
    """Link-local addresses with a scope, TCP and UDP."""
    server, me, other = cast(t)
    near, away = "fe80::11:1", "fe80::11:2"
    for key, addr, peer, mac in (("c", near, away, netns.S_MAC), ("s", away, near, netns.C_MAC)):
        netns.ip(t.space(key), f"addr add {addr}/64 dev eth0 nodad", f"neigh replace {peer} lladdr {mac} dev eth0 nud permanent")
        wait.until(lambda key=key: netns.settled_addresses(t.space(key), "eth0"), "link-local addresses")
    index = {"c": 11, "s": 12}
    door, far = server.socket(socket.AF_INET6), server.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    for sock, port in ((door, 7700), (far, 7701)):
        sock.bind((away, port, 0, index["s"]))
    door.listen(8)
    t.select(me, best="ip6 net fe80::/10 and (port 7700 or port 7701)")

    def act(who):
        sock, udp = who.socket(socket.AF_INET6), who.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sock.connect((away, 7700, 0, index["c"]))
        served, _ = door.accept()
        carry(sock, served, 500)
        carry(served, sock, 5000)
        udp.sendto(b"scoped", (away, 7701, 0, index["c"]))
        _, sender = far.recvfrom(100)
        far.sendto(b"answer", sender)
        udp.recv(100)
        keys = [flow(TCP, (near, sock.getsockname()[1]), (away, 7700)), flow(UDP, (near, sender[1]), (away, 7701))]
        sock.close()
        served.close()
        return keys

    both(t, me, other, act)


@scenario()
def jumbo(t):
    """MTU 9000: datagrams of 8,900 bytes in one frame, and TCP in large segments."""
    server, me, other = cast(t)
    for key in ("c", "s"):
        netns.ip(t.space(key), "link set eth0 mtu 9000")
    door, far = listener(server), service(server)
    t.select(me, best=f"port {door.port} or port {far.port}")

    def act(who):
        stream = Stream(who, door)
        stream.talk(30000, 30000)
        stream.close()
        sock = who.socket(kind=socket.SOCK_DGRAM)
        sock.sendto(b"j" * 8900, far.end)
        _, sender = far.sock.recvfrom(9000)
        far.sock.sendto(b"J" * 8900, sender)
        sock.recv(9000)
        return [stream.key, flow(UDP, sender, far.end)]

    both(t, me, other, act)


def big_packets(t, words):
    """Super-packets of more than 64 KB, target's and stranger's, IPv6 and IPv4."""
    t.pieces, t.cut = BIG, True
    server, me, other = cast(t, words=words)
    for key in ("c", "s"):
        try:
            netns.ip(t.space(key), "link set eth0 gso_max_size 180000 gro_max_size 180000")
        except RuntimeError as error:
            raise Skip(f"no BIG TCP here: {error}") from None
    doors = [listener(server, version=6), listener(server)]
    t.select(me, best=" or ".join(f"tcp port {door.port}" for door in doors))
    both(t, me, other, lambda who: [haul(who, door, 4 << 20) for door in doors])
    if max(len(p.frame) for p in t.wires["eth0"].drain()) <= 65549:
        t.say("no packet was larger than 64 KB")


@scenario()
def big_tcp(t):
    """BIG TCP: IPv6 super-packets of more than 64 KB, IPv4 ones beside them; onto the monitor that `up` chooses."""
    big_packets(t, ())


@scenario()
def big_tcp_veth(t):
    """The same onto a veth monitor."""
    big_packets(t, ("--monitor-type", "veth"))


def haul(who, door, size):
    """A connection that moves `size` bytes each way; returns its key."""
    stream = Stream(who, door)
    for sender, receiver in ((stream.client, stream.server), (stream.server, stream.client)):
        sender.actor.do(f"import threading; thread = threading.Thread(target=obj[{sender.key}].sendall, "
                        f"args=(b'g' * {size},)); thread.start()")
        got = receiver.actor.eval(f"len(recv_exactly(obj[{receiver.key}], {size}))")
        sender.actor.do("thread.join()")
        expect(got == size, f"{got} bytes arrived")
    stream.close()
    return stream.key


def bulk(t, setting):
    """One megabyte each way, target and stranger. A copy is taken before the device segments and sums, so what the device
    does is compared by TCP header and data: a copied super-packet counts as the segments it became."""
    t.coarse = True
    server, me, other = cast(t)
    for key in ("c", "s"):
        netns.run(["nsenter", f"--net={netns.RUN_DIR}/{t.space(key)}", "ethtool", "-K", "eth0", *setting])
    door = listener(server)
    t.select(me, best=f"tcp port {door.port}")

    both(t, me, other, lambda who: haul(who, door, 1 << 20))


@scenario()
def gso_64k(t):
    """Segmentation and checksum offload on: super-packets of up to 64 KB."""
    bulk(t, ["tso", "on", "gso", "on", "tx", "on", "sg", "on"])
    t.coarse = False
    expect(max(len(p.frame) for p in t.wires["eth0"].drain()) > 30000, "the wire carried no super-packet")


@scenario()
def checksum_offload_off(t):
    """Checksum, scatter-gather and segmentation offload off: every frame is made by the stack."""
    bulk(t, ["tso", "off", "gso", "off", "tx", "off", "sg", "off"])


@scenario()
def gro_off(t):
    """Receive offload off and on again: what GRO would have merged comes piece by piece."""
    bulk(t, ["gro", "off", "tso", "off", "gso", "off"])
