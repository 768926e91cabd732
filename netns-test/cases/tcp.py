# SPDX-License-Identifier: GPL-2.0-only
"""TCP: every packet of the target's connections, from the first SYN to the answer of TIME_WAIT, and nobody else's."""

import socket
import struct

from lib import netns, wait
from lib.packet import TCP, flow
from lib.registry import case, expect
from lib.traffic import Listener, Stream, carry, exchange

FALLBACKS = ("", "tcx", "iter")
FIN, RST, ACK = 1, 4, 16


def clients(t, version):
    """Target and foreign process talk to one server, step by step in turns."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    listener = Listener(server, version)
    t.up()
    t.add(me)
    mine, foreign = Stream(me, listener), Stream(other, listener)
    for _ in range(3):
        mine.talk(300, 20000)
        foreign.talk(300, 20000)
    mine.close()
    foreign.close()
    t.owns(me, mine.key)
    t.check()


@case(disable=FALLBACKS)
def client(t):
    """A client's connection beside a foreign client of the same server."""
    clients(t, 4)


@case(disable=("", "tcx"))
def client_ipv6(t):
    """The same over IPv6."""
    t.need_ipv6()
    clients(t, 6)


@case()
def client_mapped(t):
    """An IPv6 socket that talks IPv4 (::ffff:a.b.c.d)."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    listener = Listener(server)
    t.up()
    t.add(me)
    foreign = Stream(other, listener)
    sock = me.socket(socket.AF_INET6)
    sock.connect(("::ffff:" + netns.S4, listener.port))
    peer = listener.accept()
    carry(sock, peer, 500)
    carry(peer, sock, 5000)
    foreign.talk()
    t.owns(me, flow(TCP, (netns.C4, sock.getsockname()[1]), listener.end))
    sock.close()
    peer.close()
    foreign.close()
    t.check()


def servers(t, listen_first, version=4):
    """Target and foreign process each serve the same kind of client."""
    t.pair()
    peer, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    mine = Listener(me, version) if listen_first else None
    foreign = Listener(other, version)
    t.up()
    t.add(me)
    mine = mine or Listener(me, version)
    for _ in range(3):
        t.owns(me, exchange(peer, mine, 200, 30000))
        exchange(peer, foreign, 200, 30000)
    t.check()
    expect(t.get("stats")["reasons"]["listener"] >= 6, "SYN and SYN-ACK are matched through the listener")


@case(disable=FALLBACKS)
def server_listening_before(t):
    """A server that listens when it is added: handshake, data and close of each later connection."""
    servers(t, True)


@case(disable=("", "tcx"))
def server_listening_after(t):
    """A server that starts to listen after it was added."""
    servers(t, False)


@case()
def server_ipv6(t):
    """An IPv6 server, listening before it is added."""
    t.need_ipv6()
    servers(t, True, 6)


@case()
def server_wildcard_dual_stack(t):
    """A server on [::] that takes IPv4 and IPv6 clients."""
    t.need_ipv6()
    t.pair()
    peer, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    mine, foreign = Listener(me, 6, wildcard=True), Listener(other, 6, wildcard=True)
    t.up()
    t.add(me)
    for address, family in ((netns.C4, socket.AF_INET), (netns.C6, socket.AF_INET6)):
        for listener in (mine, foreign):
            sock = peer.socket(family)
            sock.connect((address, listener.port))
            served = listener.accept()
            carry(sock, served, 100)
            carry(served, sock, 1000)
            if listener is mine:
                t.owns(me, flow(TCP, sock.getsockname(), (address, mine.port)))
            served.close()
            sock.close()
    t.check()


@case(disable=FALLBACKS)
def existing_peer_speaks_first(t):
    """Connections that were idle when the process was added; the first later packet comes from the peer."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    listener, listener6 = Listener(server), Listener(server, 6)
    mine = [Stream(me, listener), Stream(me, listener6)]
    foreign = [Stream(other, listener), Stream(other, listener6)]
    t.up()
    t.add(me)
    for stream in [*mine, *foreign]:
        carry(stream.server, stream.client, 700)
    for stream in [*mine, *foreign]:
        stream.talk()
        stream.close()
    for stream in mine:
        t.owns(me, stream.key)
    t.check()


@case(disable=("", "iter"))
def existing_accepted(t):
    """Connections a server had accepted before it was added; the client speaks first."""
    t.pair()
    peer, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    mine, foreign = Stream(peer, Listener(me)), Stream(peer, Listener(other))
    t.up()
    t.add(me)
    for stream in (mine, foreign):
        carry(stream.client, stream.server, 400)
        stream.talk()
        stream.close()
    t.owns(me, mine.key)
    t.check()


@case()
def existing_in_accept_queue(t):
    """A connection that waits to be accepted when its listener's owner is added."""
    t.pair()
    peer, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    mine, foreign = Stream(peer, Listener(me), accept=False), Stream(peer, Listener(other), accept=False)
    t.up()
    t.need(t.tier("existing") == "iter/task_file",
           "descriptors alone do not show what waits to be accepted (a limit that status names)")
    t.add(me)
    for stream in (mine, foreign):
        stream.client.sendall(b"early")
        stream.server = stream.listener.accept()
        stream.server.recv_exactly(5)
        stream.talk()
        stream.close()
    t.owns(me, mine.key)
    t.check()


@case()
def bulk(t):
    """Two megabytes each way in large segments (GSO): super-packets are copied as they are."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    listener = Listener(server)
    t.up()
    t.add(me)
    size = 2 << 20
    for who in (me, other):
        stream = Stream(who, listener)
        for sender, receiver in ((stream.client, stream.server), (stream.server, stream.client)):
            sender.actor.do(f"import threading; thread = threading.Thread(target=obj[{sender.key}].sendall, "
                            f"args=(b'g' * {size},)); thread.start()")
            got = receiver.actor.eval(f"len(recv_exactly(obj[{receiver.key}], {size}))")
            sender.actor.do("thread.join()")
            expect(got == size, f"{got} of {size} bytes arrived")
        if who is me:
            t.owns(me, stream.key)
        stream.close()
    t.check()
    expect(any(len(p.frame) > 1514 for p in t.wires["eth0"].packets), "the wire carried no super-packet")


@case()
def short_connections(t):
    """200 short connections in a row, each beside a foreign one. Those come from ports that the kernel gives nobody: it begins
    elsewhere every ten seconds (secure_ipv4_port_ephemeral()), and would give both the same one now and then."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    listener = Listener(server)
    t.up()
    t.add(me)
    server.do(f"import threading\n"
              f"def serve(listener=obj[{listener.sock.key}]):\n"
              f"    while True:\n"
              f"        sock = listener.accept()[0]\n"
              f"        sock.sendall(sock.recv(100))\n"
              f"        sock.close()\n"
              f"threading.Thread(target=serve, daemon=True).start()")
    source = f"""
def short(port=0):
    sock = socket.create_connection({listener.end!r}, 10, ("", port))
    port = sock.getsockname()[1]
    sock.sendall(b"short")
    recv_exactly(sock, 5)
    sock.close()
    return port
"""
    me.do(source)
    other.do(source)
    for first in range(20000, 20200, 10):
        for port in me.eval("[short() for _ in range(10)]"):
            t.owns(me, flow(TCP, (netns.C4, port), listener.end))
        other.eval(f"[short(port) for port in range({first}, {first} + 10)]")
    t.check()


def with_checksum(frame):
    """An Ethernet, IPv4, TCP frame with the checksum a capture on the sending host does not show yet."""
    start = 14 + (frame[14] & 15) * 4
    end = 14 + struct.unpack_from("!H", frame, 16)[0]
    segment = frame[start:start + 16] + bytes(2) + frame[start + 18:end]
    data = frame[26:34] + struct.pack("!HH", TCP, len(segment)) + segment + bytes(len(segment) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    total = ~(total + (total >> 16)) & 0xFFFF
    return frame[:start + 16] + struct.pack("!H", total) + frame[start + 18:end]


def resend(actor, packet):
    """Puts a frame of the far end on the wire once more, as a peer does that missed its acknowledgement."""
    actor.do(f"raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\n"
             f"raw.bind(('eth0', 0)); raw.send({with_checksum(packet.frame)!r})")


@case(disable=("", "tcx"))
def time_wait(t):
    """The peer repeats its FIN; TIME_WAIT answers, long after the socket was closed."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    listener = Listener(server)
    t.up()
    t.need_closing()
    t.add(me)
    for who in (me, other):
        stream = Stream(who, listener)
        stream.talk()
        stream.close()
        t.settle()
        last = [p for p in t.wires["eth0"].drain() if p.key == stream.key and not p.outgoing and p.flags & FIN][-1]
        before = len(t.wires["eth0"].drain())
        resend(server, last)
        wait.until(lambda: any(p.outgoing for p in t.wires["eth0"].drain()[before:]), "TIME_WAIT to answer")
        if who is me:
            t.owns(me, stream.key)
    t.check()
    expect(t.get("stats")["reasons"]["linger"] >= 2, "the FIN and its answer are matched by lingering")


@case()
def close_with_data_queued(t):
    """The target closes while its data cannot be sent yet; the rest flows without a socket."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    listener = Listener(server)
    t.up()
    t.need_closing()
    t.add(me)
    streams = [(me, Stream(me, listener)), (other, Stream(other, listener))]
    for who, stream in streams:
        stream.client.setblocking(False)
        sent = fill(who, stream.client)
        stream.client.close()
        got = server.eval(f"sum(map(len, iter(lambda: obj[{stream.server.key}].recv(65536), b'')))")
        expect(got == sent, f"{got} of {sent} bytes arrived after the close")
        stream.server.close()
    t.owns(me, streams[0][1].key)
    t.check()


def fill(actor, sock):
    """Sends until the socket takes no more; returns how many bytes it took."""
    actor.do("def fill(sock):\n"
             "    total = 0\n"
             "    try:\n"
             "        while True: total += sock.send(b'q' * 65536)\n"
             "    except BlockingIOError:\n"
             "        return total")
    return actor.eval(f"fill(obj[{sock.key}])")


@case()
def reset_by_close(t):
    """Closing with unread data, and SO_LINGER 0, send a RST of the target's."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    listener = Listener(server)
    t.up()
    t.add(me)
    for who in (me, other):
        unread, abort = Stream(who, listener), Stream(who, listener)
        unread.server.sendall(b"never read")
        t.settle()
        unread.client.close()
        abort.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        abort.client.close()
        unread.server.close()
        abort.server.close()
        if who is me:
            t.owns(me, unread.key)
            t.owns(me, abort.key)
    t.check()
    resets = [p for p in t.expected()[me.pid] if p.flags & RST]
    expect(len(resets) == 2, f"{len(resets)} resets of the target on the wire, want 2")


@case()
def refused(t):
    """A refused connection: the target's SYN and the RST that answers it. A RST our own kernel sends is nobody's."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    t.up()
    t.add(me)
    for who in (me, other, server):
        address = netns.C4 if who is server else netns.S4
        port = who.eval(f"(lambda s: (s.bind(('0.0.0.0', 0)), s.connect_ex(({address!r}, 9)), s.getsockname()[1])[2])"
                        f"(socket.socket())")
        if who is me:
            t.owns(me, flow(TCP, (netns.C4, port), (netns.S4, 9)))
    t.check()


@case()
def tuple_reused_by_another(t):
    """A foreign process reuses address and port of a connection the target has closed."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    listener = Listener(server)
    t.up()
    t.add(me)
    mine = Stream(me, listener)
    port = mine.client.getsockname()[1]
    mine.talk()
    mine.server.close()
    mine.client.recv(1)
    mine.client.close()
    rule = t.owns(me, mine.key)
    rule.stop = t.now()
    foreign = Stream(other, listener, port=port)
    foreign.talk()
    foreign.close()
    t.check()


@case()
def urgent_keepalive_shutdown(t):
    """Urgent data, a keepalive probe and half-closed connections are packets of the target like any other."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    listener = Listener(server)
    t.up()
    t.add(me)
    mine, foreign = Stream(me, listener), Stream(other, listener)
    for stream in (mine, foreign):
        stream.client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        stream.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
        stream.client.send(b"!", socket.MSG_OOB)
        stream.client.sendall(b"plain")
        t.settle()
    count = len(t.wires["eth0"].drain())
    wait.until(lambda: len(t.wires["eth0"].drain()) >= count + 4, "a keepalive probe of each connection")
    for stream in (mine, foreign):
        stream.client.shutdown(socket.SHUT_WR)
        carry(stream.server, stream.client, 3000)
        stream.server.close()
        stream.client.close()
    t.owns(me, mine.key)
    t.check()
