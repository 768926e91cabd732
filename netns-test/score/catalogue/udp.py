# SPDX-License-Identifier: GPL-2.0-only
"""UDP and everything else that is not TCP: shared ports, groups, sizes, raw protocols, packet sockets."""

import socket
import struct

from lib import netns
from lib.packet import UDP, flow
from lib.registry import Skip, expect
from lib.traffic import ADDRESS, FAMILY, exchange
from score.moves import AF_PACKET_LIMIT, MULTICAST, RAW, ask, both, cast, listener, service
from score.registry import scenario

UDPLITE = 136
RAW_PROTO = 253
REUSEADDR = (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


@scenario()
def client(t):
    """Two unconnected clients of one server, in turns."""
    server, me, other = cast(t)
    far = service(server)
    t.select(me, best=f"udp port {far.port}")
    for _ in range(5):
        both(t, me, other, lambda who: ask(who, far))


def rounds(t, version, connect, before):
    """Clients with a socket from before or after the selection."""
    server, me, other = cast(t)
    far = service(server, version=version)

    def make():
        socks = {}
        for who in (me, other):
            socks[who] = who.socket(FAMILY[version], socket.SOCK_DGRAM)
            socks[who].bind((ADDRESS["c", version], 0))
            if connect:
                socks[who].connect(far.end)
        return socks

    socks = make() if before else None
    port = f"udp port {socks[me].getsockname()[1]}" if before else f"udp port {far.port}"
    t.select(me, best=port)
    socks = socks or make()

    def act(who):
        for text in (b"one", b"two", b"three"):
            socks[who].send(text) if connect else socks[who].sendto(text, far.end)
            _, sender = far.sock.recvfrom(100)
            far.sock.sendto(b"answer", sender)
            socks[who].recv(100)
        return flow(UDP, socks[who].getsockname(), far.end)

    both(t, me, other, act)


@scenario()
def connected(t):
    """Connected clients, IPv4, made after the selection."""
    rounds(t, 4, True, False)


@scenario()
def existing_connected_ipv6(t):
    """Connected clients, IPv6, from before the selection."""
    rounds(t, 6, True, True)


@scenario()
def existing_unconnected(t):
    """Unconnected clients from before the selection."""
    rounds(t, 4, False, True)


@scenario()
def wildcard_many_addresses(t):
    """Servers on the wildcard of a host with three addresses; each answer leaves from the address that was asked."""
    server, me, other = cast(t)
    netns.ip(t.space("c"), "addr add 10.11.0.5/24 dev eth0", "addr add 10.11.0.6/24 dev eth0")
    for addr in ("10.11.0.5", "10.11.0.6"):
        netns.ip(t.space("s"), f"neigh replace {addr} lladdr {netns.C_MAC} dev eth0 nud permanent")
    ports = {me: 7001, other: 7002}
    for who, port in ports.items():
        who.do(f"""
sock = socket.socket(type=socket.SOCK_DGRAM)
sock.settimeout(10)
sock.setsockopt(socket.IPPROTO_IP, 8, 1)    # IP_PKTINFO
sock.bind(("0.0.0.0", {port}))
def answer():
    data, notes, _, peer = sock.recvmsg(100, 100)
    local = struct.unpack("=I4s4s", notes[0][2])[2]
    sock.sendmsg([b"answer"], [(socket.IPPROTO_IP, 8, struct.pack("=I4s4s", 0, local, bytes(4)))], 0, peer)
""")
    t.select(me, best="udp port 7001")
    asker = service(server)

    def act(who):
        keys = []
        for addr in (netns.C4, "10.11.0.5", "10.11.0.6"):
            asker.sock.sendto(b"question", (addr, ports[who]))
            who.do("answer()")
            _, sender = asker.sock.recvfrom(100)
            expect(sender[0] == addr, "the answer comes from the address asked")
            keys.append(flow(UDP, sender, asker.end))
        return keys

    both(t, me, other, act)


@scenario()
def connected_beside_wildcard(t):
    """One port, two processes: the target's socket is connected to a peer, the stranger's is on the wildcard; then the
    other way round on another port."""
    server, me, other = cast(t)
    near, far = service(server), service(server)
    socks = {}
    for port, closer in ((7100, me), (7101, other)):
        for who in (me, other):
            sock = who.socket(kind=socket.SOCK_DGRAM)
            sock.setsockopt(*REUSEADDR)
            sock.bind(("0.0.0.0", port))
            if who is closer:
                sock.connect(near.end)
            socks[port, who] = sock
    t.select(me, best="udp port 7100 or udp port 7101")
    for port, closer in ((7100, me), (7101, other)):
        wide = other if closer is me else me
        for peer, who in ((near, closer), (far, wide)):
            for _ in range(3):
                peer.sock.sendto(b"to whom?", (netns.C4, port))
                socks[port, who].recv(100)
                socks[port, who].sendto(b"to me", peer.end)
                peer.sock.recv(100)
            if who is me:
                t.owns(me, flow(UDP, (netns.C4, port), peer.end))


def group_case(t, address, join):
    """Both processes receive each datagram to a group or broadcast address. It is the target's (it receives it), and the
    stranger's beside it. A lookup finds one socket only, the one bound last: where that is the stranger's the limit counts."""
    server, me, other = cast(t)
    netns.ip(t.space("s"), "route add 239.0.0.0/8 dev eth0",
             "neigh replace 10.11.0.255 lladdr ff:ff:ff:ff:ff:ff dev eth0 nud permanent")
    sender = server.socket(kind=socket.SOCK_DGRAM)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sender.bind((netns.S4, 0))
    order = {7200: (other, me), 7201: (me, other), 7202: (other,)}
    socks = {}
    for port, people in order.items():
        for who in people:
            sock = who.socket(kind=socket.SOCK_DGRAM)
            sock.setsockopt(*REUSEADDR)
            sock.bind(("0.0.0.0", port))
            if join:
                sock.setsockopt(socket.IPPROTO_IP, 35, socket.inet_aton(address) + socket.inet_aton(netns.C4))
            socks[port, who] = sock
    t.settle()
    t.select(me, best="udp port 7200 or udp port 7201")
    for port, people in order.items():
        for _ in range(4):
            sender.sendto(b"to everybody", (address, port))
            for who in people:
                socks[port, who].recv(100)
        key = flow(UDP, sender.getsockname(), (address, port))
        if me in people:
            t.owns(me, key)
        if people[-1] is not me and me in people:
            t.limit(MULTICAST, key)


@scenario()
def multicast_shared(t):
    """A multicast group that target and stranger have joined on one port; and one only the stranger has."""
    group_case(t, "239.1.2.3", True)


@scenario()
def broadcast_shared(t):
    """Subnet broadcasts to a port that target and stranger share; and to one that only the stranger has."""
    group_case(t, "10.11.0.255", False)


@scenario()
def multicast_sender(t):
    """Target and stranger send to one group; nobody of this host listens (no loop)."""
    server, me, other = cast(t)
    netns.ip(t.space("c"), "route add 239.0.0.0/8 dev eth0")
    t.select(me, best="udp and host 239.1.2.3")

    def act(who):
        sock = who.socket(kind=socket.SOCK_DGRAM)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        sock.bind((netns.C4, 0))
        for _ in range(3):
            sock.sendto(b"announcement", ("239.1.2.3", 7300))
        return flow(UDP, sock.getsockname(), ("239.1.2.3", 7300))

    both(t, me, other, act)


@scenario()
def sizes(t):
    """Datagrams of 0 to 65,507 bytes both ways; the large ones as fragments."""
    server, me, other = cast(t)
    far = service(server)
    t.select(me, best=f"udp port {far.port} or ip[6:2] & 0x1fff != 0")
    for size in (0, 1, 2, 63, 512, 1471, 1472, 1473, 2960, 9000, 32768, 65506, 65507):
        both(t, me, other, lambda who, n=size: sized(who, far, n))


def sized(who, far, size):
    """One datagram and an echo of it."""
    sock = who.socket(kind=socket.SOCK_DGRAM)
    sock.sendto(b"s" * size, far.end)
    data, sender = far.sock.recvfrom(70000)
    expect(len(data) == size, f"{len(data)} of {size} bytes arrived")
    far.sock.sendto(data, sender)
    expect(len(sock.recv(70000)) == size, "the echo is whole")
    return flow(UDP, sender, far.end)


@scenario()
def gso(t):
    """UDP_SEGMENT: 40 datagrams in one send, a super-packet on the wire; and UDP_GRO at the far end."""
    server, me, other = cast(t)
    far = service(server)
    far.sock.setsockopt(socket.SOL_SOCKET, 33, 1 << 22)
    t.select(me, best=f"udp port {far.port}")

    def act(who):
        sock = who.socket(kind=socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_UDP if hasattr(socket, "SOL_UDP") else 17, 103, 1000)
        sock.connect(far.end)
        for _ in range(3):
            sock.send(b"g" * 40000)
            for _ in range(40):
                far.sock.recvfrom(2000)
        return flow(UDP, sock.getsockname(), far.end)

    both(t, me, other, act)


@scenario()
def one_port_two_transports(t):
    """Port 7400: UDP is the target's, TCP a stranger's; port 7401 the other way round."""
    server, me, other = cast(t)
    udp = {7400: me, 7401: other}
    tcp = {7400: other, 7401: me}
    socks = {port: service(who, port=port) for port, who in udp.items()}
    doors = {port: listener(who, port=port) for port, who in tcp.items()}
    t.select(me, best="udp port 7400 or tcp port 7401")

    asker = service(server)
    for port in (7400, 7401):
        for _ in range(3):
            asker.to(socks[port])
            key = socks[port].to(asker)
        if udp[port] is me:
            t.owns(me, key)
        key = exchange(server, doors[port])
        if tcp[port] is me:
            t.owns(me, key)


@scenario()
def two_resolvers(t):
    """127.0.0.53:53 is the target's, 127.0.0.54:53 a stranger's; one client asks both over UDP and TCP."""
    t.space("c")
    client_, me, other = t.actor("c"), t.actor("c"), t.actor("c")
    t.open("lo")
    for key, who, addr in (("one", me, "127.0.0.53"), ("two", other, "127.0.0.54")):
        who.do(f"u = socket.socket(type=socket.SOCK_DGRAM); u.bind(({addr!r}, 53)); u.settimeout(10)\n"
               f"d = socket.socket(); d.bind(({addr!r}, 53)); d.listen(5); d.settimeout(10)")
    t.select(me, best="host 127.0.0.53 and port 53")
    for _ in range(3):
        for who, addr in ((me, "127.0.0.53"), (other, "127.0.0.54")):
            sock = client_.socket(kind=socket.SOCK_DGRAM)
            sock.sendto(b"name?", (addr, 53))
            who.do("data, peer = u.recvfrom(100); u.sendto(b'address', peer)")
            _, sender = sock.recvfrom(100)
            expect(sender == (addr, 53), "the answer is from the address asked")
            dial = client_.socket()
            dial.connect((addr, 53))
            who.do("s = d.accept()[0]; s.settimeout(10)")
            dial.sendall(b"name?" * 10)
            who.do("s.recv(100); s.sendall(b'a' * 3000); s.close()")
            dial.recv_exactly(3000)
            local = dial.getsockname()[1]
            dial.close()
    t.owns(me, lambda p: "127.0.0.53" in (p.src, p.dst))


LITE = (socket.AF_INET, socket.SOCK_DGRAM, UDPLITE)


def need_udp_lite():
    """Skips the scenario on a kernel without UDP-Lite."""
    try:
        socket.socket(*LITE).close()
    except OSError:
        raise Skip("this kernel has no UDP-Lite") from None


@scenario()
def udp_lite(t):
    """UDP-Lite: target and stranger send to one service and are answered."""
    need_udp_lite()
    server, me, other = cast(t)
    far = server.socket(*LITE)
    far.bind((netns.S4, 7500))
    t.select(me, best="ip proto 136 and (ip[20:2] = 7500 or ip[22:2] = 7500)")
    marks = {me: 9501, other: 9502}

    def act(who):
        sock = who.socket(*LITE)
        sock.bind((netns.C4, marks[who]))
        for _ in range(3):
            sock.sendto(b"light", (netns.S4, 7500))
            _, sender = far.recvfrom(100)
            far.sendto(b"answer", sender)
            sock.recv(100)
        port = struct.pack("!H", marks[who])
        return lambda p: p.proto == UDPLITE and port in (p.frame[34:36], p.frame[36:38])

    both(t, me, other, act)


@scenario()
def udp_lite_port_reused(t):
    """UDP-Lite: the target's socket is closed, and a stranger talks to the same service from the same port."""
    need_udp_lite()
    server, me, other = cast(t)
    far = server.socket(*LITE)
    far.bind((netns.S4, 7500))
    t.select(me, best="ip proto 136")
    for who in (me, other, me, other):
        sock = who.socket(*LITE)
        sock.bind((netns.C4, 9501))
        for _ in range(3):
            sock.sendto(b"m" if who is me else b"f", (netns.S4, 7500))
            mark, sender = far.recvfrom(100)
            far.sendto(mark, sender)
            sock.recv(100)
        sock.close()
    t.owns(me, lambda p: p.proto == UDPLITE and p.frame[42:43] == b"m")


@scenario()
def raw_protocol(t):
    """Raw IP sockets of one protocol: target and stranger each talk to an address of their own."""
    server, me, other = cast(t)
    netns.ip(t.space("s"), "addr add 10.11.0.7/24 dev eth0")
    netns.ip(t.space("c"), f"neigh replace 10.11.0.7 lladdr {netns.S_MAC} dev eth0 nud permanent")
    peers = {me: netns.S4, other: "10.11.0.7"}
    raw = (socket.AF_INET, socket.SOCK_RAW, RAW_PROTO)
    far = {who: server.socket(*raw) for who in peers}
    for who, addr in peers.items():
        far[who].bind((addr, 0))
    t.select(me, best=f"ip proto {RAW_PROTO} and host {netns.S4}")

    def act(who):
        sock = who.socket(*raw)
        sock.connect((peers[who], 0))
        for _ in range(3):
            sock.send(b"raw data")
            far[who].recvfrom(100)
            far[who].sendto(b"raw answer", (netns.C4, 0))
            sock.recv(100)
        return lambda p, addr=peers[who]: p.proto == RAW_PROTO and addr in (p.src, p.dst)

    both(t, me, other, act)


@scenario()
def raw_receiver(t):
    """A raw socket of the target that has not sent yet receives a protocol's packets; a stranger's gets another's."""
    server, me, other = cast(t)
    protos = {me: RAW_PROTO, other: RAW_PROTO + 1}
    for who, proto in protos.items():
        who.do(f"raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, {proto}); raw.settimeout(10)")
        server.do(f"raw{proto} = socket.socket(socket.AF_INET, socket.SOCK_RAW, {proto})")
    t.select(me, best=f"ip proto {RAW_PROTO}")
    for who, proto in protos.items():
        for _ in range(3):
            server.do(f"raw{proto}.sendto(b'unasked', ({netns.C4!r}, 0))")
            who.do("raw.recv(100)")
    t.owns(me, lambda p: p.proto == RAW_PROTO)
    t.limit(RAW, lambda p: p.proto == RAW_PROTO)


def packet_sockets(t, before):
    """Frames of an experimental ethertype, sent through AF_PACKET by both; the payload tells whose."""
    server, me, other = cast(t)
    marks = {me: b"M", other: b"F"}

    def make():
        for who in (me, other):
            who.do("raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); raw.bind(('eth0', 0))")

    if before:
        make()
    t.select(me, best="ether proto 0x88b5")
    if not before:
        make()
    head = bytes.fromhex("020000001102" "020000001101" "88b5")
    for who, mark in marks.items():
        for number in range(4):
            who.do(f"raw.send({head + mark + bytes([number]) + bytes(60)!r})")

    def mine(packet):
        return packet.frame[12:15] == b"\x88\xb5M"

    t.owns(me, mine)
    if not before:
        t.limit(AF_PACKET_LIMIT, lambda p: mine(p) and p.frame[15] == 0)


@scenario()
def packet_socket_existing(t):
    """AF_PACKET senders whose socket is there when the process is selected."""
    packet_sockets(t, True)


@scenario()
def packet_socket_new(t):
    """AF_PACKET senders whose socket is made after the process was selected."""
    packet_sockets(t, False)


@scenario()
def multicast_loop(t):
    """Target and stranger have joined one group on one port and both send (as mDNS responders do); the kernel loops every
    datagram back, and each receives both."""
    server, me, other = cast(t)
    netns.ip(t.space("c"), "route add 239.0.0.0/8 dev eth0")
    group = "239.1.2.3"
    order = {7210: (other, me), 7211: (me, other)}
    socks = {}
    for port, people in order.items():
        for who in people:
            sock = who.socket(kind=socket.SOCK_DGRAM)
            sock.setsockopt(*REUSEADDR)
            sock.bind(("0.0.0.0", port))
            sock.setsockopt(socket.IPPROTO_IP, 35, socket.inet_aton(group) + socket.inet_aton(netns.C4))
            socks[port, who] = sock
    t.settle()
    t.select(me, best="udp port 7210 or udp port 7211")
    for port, people in order.items():
        for who, mark in ((me, b"M"), (other, b"F")):
            for number in range(3):
                socks[port, who].sendto(mark + b"%d" % number, (group, port))
                for each in people:
                    socks[port, each].recv(100)
        key = flow(UDP, (netns.C4, port), (group, port))
        t.owns(me, lambda p, key=key: p.key == key and (not p.outgoing or p.payload.startswith(b"M")))
        if people[-1] is not me:
            t.limit(MULTICAST, lambda p, key=key: p.key == key and not p.outgoing)


@scenario()
def corked(t):
    """MSG_MORE: several sends become one datagram; and sendmmsg-like bursts on one socket."""
    server, me, other = cast(t)
    far = service(server)
    t.select(me, best=f"udp port {far.port}")

    def act(who):
        sock = who.socket(kind=socket.SOCK_DGRAM)
        sock.connect(far.end)
        for _ in range(3):
            for _ in range(3):
                sock.send(b"piece", socket.MSG_MORE)
            sock.send(b"end")
            data, sender = far.sock.recvfrom(100)
            expect(data == b"piece" * 3 + b"end", "one datagram came")
        return flow(UDP, sender, far.end)

    both(t, me, other, act)


@scenario()
def disconnect_reconnect(t):
    """A UDP socket is connected, dissolved by connect() to the unspecified address, and connected to another peer."""
    server, me, other = cast(t)
    near, far = service(server), service(server)
    t.select(me, best=f"udp port {near.port} or udp port {far.port}")

    def act(who):
        sock, keys = who.socket(kind=socket.SOCK_DGRAM), []
        for peer in (near, far, near):
            sock.connect(peer.end)
            sock.send(b"question")
            _, sender = peer.sock.recvfrom(100)
            peer.sock.sendto(b"answer", sender)
            sock.recv(100)
            keys.append(flow(UDP, sender, peer.end))
            who.eval(f"__import__('ctypes').CDLL(None).connect(obj[{sock.key}].fileno(), bytes(16), 16)")
        return keys

    both(t, me, other, act)
