# SPDX-License-Identifier: GPL-2.0-only
"""TCP from the first SYN to the last acknowledgement, with and without a process behind it."""

import os
import socket
import struct

from lib import netns, wait
from lib.packet import TCP, flow
from lib.registry import Skip, expect
from lib.traffic import Stream, carry, exchange
from score.moves import both, cast, dropped, listener, window
from score.registry import scenario

FIN, SYN, RST, ACK = 1, 2, 4, 16
MPTCP = 262
LINGER_0 = struct.pack("ii", 1, 0)


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


UNSPEC = "__import__('ctypes').CDLL(None).connect(obj[{key}].fileno(), bytes(16), 16)"


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
