# SPDX-License-Identifier: GPL-2.0-only
"""TCP from the first SYN on: handshakes, data, timers, MPTCP. How connections end is tcp_end.py."""

import os
import socket
import struct

from lib import netns, wait
from lib.packet import TCP, flow
from lib.registry import Skip, expect
from lib.traffic import Stream, carry, exchange
from score.moves import both, cast, dropped, listener
from score.registry import scenario

FIN, SYN, RST, ACK = 1, 2, 4, 16
MPTCP = 262


def on_wire(t, key, test):
    """Packets of a connection on eth0 that pass a test."""
    return [p for p in t.wires["eth0"].drain() if p.key == key and test(p)]


def roles(t):
    """The far peer, the target and a stranger as servers."""
    peer, me, other = cast(t)
    doors = {me: listener(me), other: listener(other)}
    t.select(me, best=f"tcp port {doors[me].port}")
    return peer, me, other, doors


@scenario()
def client(t):
    """Two clients of one server talk in turns; step by step, 20 kB answers."""
    server, me, other = cast(t)
    door = listener(server)
    t.select(me, best=f"tcp port {door.port}")
    streams = {who: Stream(who, door) for who in (me, other)}
    for _ in range(3):
        for stream in streams.values():
            stream.talk(300, 20000)

    def act(who):
        streams[who].close()
        return streams[who].key

    both(t, me, other, act)


@scenario()
def existing_idle(t):
    """Connections that were idle when the process was selected; the peer speaks first."""
    server, me, other = cast(t)
    door = listener(server)
    streams = {who: Stream(who, door) for who in (me, other)}
    start = t.now()
    t.select(me, best=f"tcp port {streams[me].client.getsockname()[1]}")
    for stream in streams.values():
        carry(stream.server, stream.client, 700)
        stream.talk()
        stream.close()
    t.owns(me, streams[me].key, start=start)


@scenario()
def syn_black_hole(t):
    """SYNs that nothing answers: the first and its retransmissions, after which both processes give up."""
    server, me, other = cast(t)
    door = listener(server)
    t.select(me, best=f"tcp port {door.port}")
    with dropped(t):
        keys = {}
        for who in (me, other):
            sock = who.socket()
            sock.setblocking(False)
            who.do(f"obj[{sock.key}].connect_ex({door.end!r})")
            keys[who] = flow(TCP, (netns.C4, sock.getsockname()[1]), door.end)
        for key in keys.values():
            wait.until(lambda key=key: len(on_wire(t, key, lambda p: p.flags & SYN)) >= 2, "a SYN to be sent again")
        for who in (me, other):
            who.kill()
            os.waitpid(who.pid, 0)
    t.owns(me, keys[me])


@scenario()
def data_before_accept(t):
    """A server's clients send before they are accepted; the connection is accepted later and answered."""
    peer, me, other, doors = roles(t)

    def act(who):
        stream = Stream(peer, doors[who], accept=False)
        stream.client.sendall(b"early" * 100)
        t.settle()
        stream.server = stream.listener.accept()
        stream.server.recv_exactly(500)
        stream.talk()
        stream.close()
        return stream.key

    both(t, me, other, act)


@scenario()
def backlog_never_accepted(t):
    """Connections that are never accepted: handshake, data, and the resets when the listener is closed."""
    peer, me, other, doors = roles(t)

    def act(who):
        streams = [Stream(peer, doors[who], accept=False) for _ in range(3)]
        for stream in streams:
            stream.client.sendall(b"anybody?")
        t.settle()
        doors[who].sock.close()
        t.settle()
        for stream in streams:
            stream.client.close()
        return [stream.key for stream in streams]

    both(t, me, other, act)


@scenario()
def backlog_before_selection(t):
    """Connections that wait to be accepted when the listener's owner is selected."""
    peer, me, other = cast(t)
    doors = {me: listener(me), other: listener(other)}
    streams = {who: [Stream(peer, doors[who], accept=False) for _ in range(3)] for who in (me, other)}
    start = t.now()
    t.select(me, best=f"tcp port {doors[me].port}")
    for who in (me, other):
        for stream in streams[who]:
            stream.client.sendall(b"early")
            stream.server = stream.listener.accept()
            stream.server.recv_exactly(5)
            stream.talk()
            stream.close()
    for stream in streams[me]:
        t.owns(me, stream.key, start=start)


@scenario()
def syn_cookies(t):
    """The server answers with SYN cookies (tcp_syncookies 2): no request socket stands behind the SYN-ACK."""
    peer, me, other, doors = roles(t)
    netns.sysctl(t.space("c"), "net/ipv4/tcp_syncookies", 2)
    both(t, me, other, lambda who: [exchange(peer, doors[who]) for _ in range(3)])


def fast_open(t, serve):
    """TCP Fast Open: the first connection fetches the cookie, the second carries data in its SYN."""
    peer, me, other = cast(t)
    for key in ("c", "s"):
        netns.sysctl(t.space(key), "net/ipv4/tcp_fastopen", 3)
    doors = {who: listener(who if serve else peer) for who in (me, other)}
    for door in doors.values():
        door.sock.setsockopt(socket.IPPROTO_TCP, 23, 16)    # TCP_FASTOPEN
    t.select(me, best=f"tcp port {doors[me].port}")

    def act(who):
        door, dialler, keys = doors[who], peer if serve else who, []
        for _ in range(3):
            sock = dialler.socket()
            sock.settimeout(None)
            sock.sendto(b"in the SYN", socket.MSG_FASTOPEN, door.end)
            served, _ = door.sock.accept()
            served.recv_exactly(10)
            carry(served, sock, 3000)
            keys.append(flow(TCP, sock.getsockname(), door.end))
            served.close()
            sock.close()
        t.settle()
        expect(on_wire(t, keys[-1], lambda p: p.flags & SYN and p.payload), "no SYN carried data")
        return keys

    both(t, me, other, act)


@scenario()
def fast_open_client(t):
    """TCP Fast Open, connecting side: data in the SYN."""
    fast_open(t, False)


@scenario()
def fast_open_server(t):
    """TCP Fast Open, listening side: the child exists from the SYN on."""
    fast_open(t, True)


@scenario()
def defer_accept(t):
    """TCP_DEFER_ACCEPT: the handshake's last ACK is ignored until data comes."""
    peer, me, other, doors = roles(t)
    for door in doors.values():
        door.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 5)
    both(t, me, other, lambda who: deferred(t, peer, doors[who]))


def deferred(t, peer, door):
    """One connection whose data comes late."""
    stream = Stream(peer, door, accept=False)
    t.now()
    stream.client.sendall(b"x" * 10)
    stream.server = door.accept()
    stream.server.recv_exactly(10)
    stream.talk()
    stream.close()
    return stream.key


@scenario()
def keepalive(t):
    """Keepalive probes of both ends and their answers."""
    server, me, other = cast(t)
    door = listener(server)
    t.select(me, best=f"tcp port {door.port}")
    streams = {who: Stream(who, door) for who in (me, other)}
    for stream in streams.values():
        stream.talk()
    t.settle()
    for side in ("client", "server"):
        counts = {stream: len(on_wire(t, stream.key, lambda p: True)) for stream in streams.values()}
        for stream in streams.values():
            sock = getattr(stream, side)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
        for stream, count in counts.items():
            wait.until(lambda s=stream, n=count: len(on_wire(t, s.key, lambda p: True)) >= n + 2, "a keepalive probe")
            getattr(stream, side).setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)

    def act(who):
        streams[who].close()
        return streams[who].key

    both(t, me, other, act)


@scenario()
def zero_window(t):
    """The far end reads nothing: the sender probes the closed window from a timer until it opens."""
    server, me, other = cast(t)
    door = listener(server)
    door.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    t.select(me, best=f"tcp port {door.port}")
    streams = {who: Stream(who, door) for who in (me, other)}
    sent = {}
    for who, stream in streams.items():
        stream.client.setblocking(False)
        who.do("def fill(sock):\n    total = 0\n    try:\n        while True: total += sock.send(b'z' * 8192)\n"
               "    except BlockingIOError:\n        return total")
        sent[who] = who.eval(f"fill(obj[{stream.client.key}])")
    for stream in streams.values():
        wait.until(lambda s=stream: probes(t, s.key) >= 2, "two probes of the closed window", 20)

    for who, stream in streams.items():
        stream.server.recv_exactly(sent[who])
    t.settle()

    def act(who):
        streams[who].close()
        return streams[who].key

    both(t, me, other, act)


def probes(t, key):
    """Zero window probes of a connection: empty segments out whose sequence number is one behind what was acknowledged."""
    seen, count = 0, 0
    for packet in on_wire(t, key, lambda p: p.outgoing):
        seq = struct.unpack_from("!I", packet.frame, packet.tcp_at + 4)[0]
        count += not packet.payload and not packet.flags & SYN and (seq - seen) & 0xFFFFFFFF > 1 << 31
        seen = max(seen, (seq + len(packet.payload)) & 0xFFFFFFFF) if seen else seq
    return count


@scenario()
def timers(t):
    """Delayed acknowledgements and retransmissions, all sent by timers while the process waits or is stopped."""
    server, me, other = cast(t)
    door = listener(server)
    t.select(me, best=f"tcp port {door.port}")
    streams = {who: Stream(who, door) for who in (me, other)}
    for who, stream in streams.items():
        stream.talk()
        stream.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
        stream.server.sendall(b"acknowledged late")
        t.settle()
        with dropped(t):
            stream.client.sendall(b"lost at first")
            who.kill(19)
            wait.until(lambda s=stream: len(on_wire(t, s.key, lambda p: p.payload == b"lost at first")) >= 3, "two RTOs")
        stream.server.recv_exactly(13)
        t.settle()
        who.kill(18)
        stream.client.recv(100)

    def act(who):
        streams[who].close()
        return streams[who].key

    both(t, me, other, act)


@scenario()
def bind_address_no_port(t):
    """IP_BIND_ADDRESS_NO_PORT: target and stranger share one local port to different servers."""
    server, me, other = cast(t)
    doors = {me: listener(server), other: listener(server)}
    netns.sysctl(t.space("c"), "net/ipv4/ip_local_port_range", "9100 9100")
    t.select(me, best=f"tcp port {doors[me].port}")
    streams = {}
    for who in (me, other):
        sock = who.socket()
        sock.setsockopt(socket.IPPROTO_IP, 24, 1)
        sock.bind((netns.C4, 0))
        sock.connect(doors[who].end)
        streams[who] = (sock, doors[who].accept())
    expect({sock.getsockname()[1] for sock, _ in streams.values()} == {9100}, "both have one local port")

    def act(who):
        sock, served = streams[who]
        carry(sock, served, 500)
        carry(served, sock, 5000)
        sock.close()
        served.close()
        return flow(TCP, (netns.C4, 9100), doors[who].end)

    both(t, me, other, act)


def mptcp(t, serve, proto_client):
    """MPTCP by socket protocol 262 on the target's side."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, MPTCP).close()
    except OSError:
        raise Skip("this kernel has no MPTCP") from None
    peer, me, other = cast(t)
    doors = {}
    for who in (me, other):
        owner = who if serve else peer
        sock = owner.socket(proto=MPTCP)
        sock.bind((netns.C4 if serve else netns.S4, 0))
        sock.listen(8)
        doors[who] = sock
    ends = {who: sock.getsockname() for who, sock in doors.items()}
    t.select(me, best=f"tcp port {ends[me][1]}")

    def act(who):
        keys = []
        for _ in range(2):
            sock = (peer if serve else who).socket(proto=proto_client)
            sock.connect(ends[who])
            served, _ = doors[who].accept()
            for one, two in ((sock, served), (served, sock)):
                carry(one, two, 200)
                carry(two, one, 3000)
            keys.append(flow(TCP, sock.getsockname(), ends[who]))
            sock.close()
            while served.recv(1000):
                pass
            served.close()
        return keys

    both(t, me, other, act)


@scenario()
def mptcp_client(t):
    """An MPTCP client: its TCP subflow was made by the kernel."""
    mptcp(t, False, MPTCP)


@scenario()
def mptcp_server(t):
    """An MPTCP server with MPTCP clients, listening before it is selected."""
    mptcp(t, True, MPTCP)


@scenario()
def mptcp_server_plain_client(t):
    """An MPTCP server with plain TCP clients (what Go servers are by default)."""
    mptcp(t, True, 0)


@scenario()
def short_connections(t):
    """100 short connections each, in turns of ten, as fast as the processes can."""
    server, me, other = cast(t)
    door = listener(server)
    server.do(f"import threading\ndef serve(listener=obj[{door.sock.key}]):\n    while True:\n"
              f"        sock = listener.accept()[0]; sock.sendall(sock.recv(100)); sock.close()\n"
              f"threading.Thread(target=serve, daemon=True).start()")
    t.select(me, best=f"tcp port {door.port}")
    for who in (me, other):
        who.do(f"def short():\n    sock = socket.create_connection({door.end!r}, 10)\n    port = sock.getsockname()[1]\n"
               f"    sock.sendall(b'short'); recv_exactly(sock, 5); sock.close()\n    return port")
    for _ in range(10):
        both(t, me, other, lambda who: [flow(TCP, (netns.C4, port), door.end)
                                        for port in who.eval("[short() for _ in range(10)]")])
