# SPDX-License-Identifier: GPL-2.0-only
"""One socket, several processes: inherited, passed, taken, accepted by one of many, shared by port."""

import socket
import struct

from lib import bpf, netns
from lib.packet import TCP, UDP, flow
from lib.registry import Skip, expect
from lib.traffic import Stream, carry, exchange
from score import uring
from score.moves import ACCEPT, STEERED, USE, ask, both, cast, echo_loop, getfd, listener, pass_fd, service, window
from score.registry import scenario

REUSEPORT, ATTACH_CBPF = 15, 51


def first_send(t, owner, key, act):
    """`act` is the first send of a new user on a connected socket: the packets it causes are his by the rule, and his
    predecessor's where the kernel tells of a send only when it is done."""
    start = t.now()
    act()
    t.limit(USE, lambda p: p.key == key and greeting(p), start=start, stop=t.now())
    if owner is not None:
        t.owns(owner, key, start=start)


@scenario()
def inherited_used_by_parent(t):
    """A connection is inherited by a child that never uses it: it stays its parent's."""
    server, me, other = cast(t)
    door = listener(server)
    t.select(me, best=f"tcp port {door.port}")

    def act(who):
        stream = Stream(who, door)
        child = who.fork()
        stream.talk(rounds=3)
        child.drop(stream.client)
        stream.close()
        return stream.key

    both(t, me, other, act)


@scenario()
def inherited_used_by_child(t):
    """A child that is no target takes an inherited connection over by sending on it."""
    server, me, other = cast(t)
    door = listener(server)
    t.select(me, best=f"tcp port {door.port}")
    for who in (me, other):
        stream = Stream(who, door)
        stream.talk()
        if who is me:
            rule = t.owns(me, stream.key)
            window(t, rule)
        child = who.fork()
        theirs = child.take(stream.client)
        key = stream.key
        slow_ack(stream.server)
        if who is me:
            first_send(t, None, key, lambda: carry(theirs, stream.server, 100))
        else:
            carry(theirs, stream.server, 100)
        carry(stream.server, theirs, 900)
        stream.client.close()
        theirs.close()
        stream.server.close()


@scenario()
def inherited_used_in_turns(t):
    """Parent and child (no target) use one connection in turns, each takes it over by receiving."""
    server, me, other = cast(t)
    door = listener(server)
    t.select(me, best=f"tcp port {door.port}")
    for who in (me, other):
        stream = Stream(who, door)
        stream.talk()
        child = who.fork()
        theirs = child.take(stream.client)
        rule = t.owns(me, stream.key) if who is me else None
        for turn in (theirs, stream.client, theirs, stream.client):
            stream.server.sendall(b"first")
            t.settle()
            turn.recv(5)
            if who is me and turn is theirs:
                window(t, rule)
            elif who is me:
                rule = t.owns(me, stream.key, start=t.now())
            carry(turn, stream.server, 900)
            carry(stream.server, turn, 900)
        theirs.close()
        stream.close()


def handed_over(t, take):
    """A target's connected UDP socket goes to a stranger and a stranger's to the target; used by each, then by its giver."""
    server, me, other = cast(t)
    far = service(server)
    t.select(me, best=f"udp port {far.port}")
    for giver, taker in ((me, other), (other, me)):
        sock = giver.socket(kind=socket.SOCK_DGRAM)
        sock.connect(far.end)
        key = flow(UDP, sock.getsockname(), far.end)
        got = take(giver, sock, taker)
        owner = None
        for user, mine in ((sock, giver is me), (got, taker is me), (sock, giver is me)):
            start = t.now()
            user.send(b"mine now")
            if owner is not None and owner != mine:
                t.limit(USE, key, start=start, stop=t.now())
            _, sender = far.sock.recvfrom(100)
            far.sock.sendto(b"answer", sender)
            user.recv(100)
            owner = mine
            if mine:
                t.owns(me, key, start=start).stop = t.now()


@scenario()
def scm_rights(t):
    """Connected UDP sockets change hands by SCM_RIGHTS, both ways, and are used by both sides in turns."""
    handed_over(t, lambda giver, sock, taker: pass_fd(t, giver, sock, taker))


@scenario()
def pidfd_getfd(t):
    """The same by pidfd_getfd()."""
    handed_over(t, lambda giver, sock, taker: getfd(taker, giver, sock))


def greeting(packet):
    """Predicate part: a packet that carries data out of namespace c."""
    return packet.outgoing and bool(packet.payload)


def slow_ack(sock):
    """Makes a socket acknowledge by its timer or with data, never at once."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)


@scenario()
def activation_worker(t):
    """Socket activation: the selected worker is handed a listener whose creator never uses it. A handshake is the
    listener's owner's, the connection the worker's from accept on."""
    server, creator, worker = cast(t)
    peer, stranger = server, t.actor("c")
    door, foreign = listener(creator), listener(stranger)
    t.select(worker, best=f"tcp port {door.port}")
    got = pass_fd(t, creator, door.sock, worker)
    for _ in range(3):
        stream = Stream(peer, door, accept=False)
        stream.server = got.accept()[0]
        accepted = t.now()
        t.owns(worker, stream.key, start=accepted)
        slow_ack(stream.server)
        carry(stream.client, stream.server, 200)
        t.limit(ACCEPT, lambda p, key=stream.key: p.key == key and p.payload, start=accepted, stop=t.now())
        carry(stream.server, stream.client, 2000)
        stream.close()
        exchange(peer, foreign)


@scenario()
def activation_creator(t):
    """Socket activation, the creator selected: it owns the listener and the handshakes, not what the worker accepts."""
    server, creator, worker = cast(t)
    peer, stranger = server, t.actor("c")
    door, foreign = listener(creator), listener(stranger)
    got = pass_fd(t, creator, door.sock, worker)
    t.select(creator, best=f"tcp port {door.port}")
    for _ in range(3):
        mine, stream = shake(t, creator, peer, door)
        stream.server = got.accept()[0]
        leaves(t, stream, mine)
        stream.close()
        exchange(peer, foreign)


def shake(t, owner, peer, door):
    """A handshake with a target's listener: its owner's so far."""
    stream = Stream(peer, door, accept=False)
    mine = t.owns(owner, stream.key)
    mine.stop = t.now()
    return mine, stream


def leaves(t, stream, mine):
    """A stranger has accepted: from there on nobody's, but for what the limit says up to the end of his first receive."""
    slow_ack(stream.server)
    carry(stream.client, stream.server, 200)
    t.limit(ACCEPT, lambda p, key=stream.key: p.key == key and p.payload, start=mine.stop, stop=t.now())
    carry(stream.server, stream.client, 2000)


@scenario()
def prefork_one_worker(t):
    """Four workers share a listener, one is selected: it holds the listener, so the handshakes are its own; of the
    connections only those it accepts."""
    server, parent, stranger = cast(t)
    peer = server
    door, foreign = listener(parent), listener(stranger)
    workers = [parent.fork() for _ in range(4)]
    t.select(workers[2], best=f"tcp port {door.port}")
    for worker in (workers[0], workers[2], workers[1], workers[2], workers[3]):
        mine, stream = shake(t, workers[2], peer, door)
        stream.server = door.accept(worker)
        if worker is workers[2]:
            mine.stop = None
            stream.talk(200, 2000)
        else:
            leaves(t, stream, mine)
        stream.close()
        exchange(peer, foreign)


@scenario()
def prefork_speaks_first(t):
    """Two workers of one listener, one selected; who accepts speaks first (the greeting of a mail or SSH server)."""
    server, parent, stranger = cast(t)
    peer = server
    door, foreign = listener(parent), listener(stranger)
    workers = [parent.fork() for _ in range(2)]
    t.select(workers[0], best=f"tcp port {door.port}")
    for worker in (*workers, *workers):
        mine, stream = shake(t, workers[0], peer, door)
        stream.server = door.accept(worker)
        slow_ack(stream.client)
        start = t.now()
        carry(stream.server, stream.client, 30)
        if worker is workers[0]:
            mine.stop = None
        else:
            t.limit(ACCEPT, lambda p, key=stream.key: p.key == key and greeting(p), start=start, stop=t.now())
        carry(stream.client, stream.server, 300)
        stream.close()
        exchange(peer, foreign)


CLASSIC = """
import ctypes
code = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 2))     # ret 2: the third member
prog = struct.pack('HxxxxxxQ', 1, ctypes.addressof(code))
"""


def reuseport(t, kind):
    """Four processes that share port 7700 by SO_REUSEPORT, and a client."""
    t.pair()
    server, members, socks = t.actor("s"), [t.actor("c") for _ in range(4)], []
    t.open()
    for member in members:
        sock = member.socket(kind=kind)
        sock.setsockopt(socket.SOL_SOCKET, REUSEPORT, 1)
        sock.bind((netns.C4, 7700))
        if kind == socket.SOCK_STREAM:
            sock.listen(64)
        socks.append(sock)
    return server, members, socks


def steer(members, socks):
    """From now on a program gives everything to the third member."""
    members[0].do(CLASSIC + f"obj[{socks[0].key}].setsockopt(socket.SOL_SOCKET, {ATTACH_CBPF}, prog)")


def readable(member, sock):
    """True when a member's socket has something to read or accept."""
    return member.eval(f"bool(__import__('select').select([obj[{sock.key}]], [], [], 0)[0])")


def picked(members, socks):
    """Number of the member that something was delivered to."""
    return next(n for n in range(4) if readable(members[n], socks[n]))


def ask_group(t, server, members, socks, port):
    """One question from a fixed port, answered by whoever got it; returns his number."""
    asker = server.socket(kind=socket.SOCK_DGRAM)
    asker.bind((netns.S4, port))
    asker.sendto(b"question", (netns.C4, 7700))
    number = picked(members, socks)
    _, sender = socks[number].recvfrom(100)
    socks[number].sendto(b"answer", sender)
    asker.recv(100)
    asker.close()
    return number


def dial_group(t, server, members, socks, port):
    """One connection from a fixed port, served by whoever got it and reset at the end; returns his number."""
    dial = server.socket()
    dial.bind((netns.S4, port))
    dial.connect((netns.C4, 7700))
    t.settle()
    number = picked(members, socks)
    served, _ = socks[number].accept()
    carry(dial, served, 100)
    carry(served, dial, 2000)
    dial.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    dial.close()
    served.close()
    return number


def spread(t, kind, visit, ports):
    """Everybody visits the group once, the hash decides; the third member is the target."""
    server, members, socks = reuseport(t, kind)
    t.select(members[2], best="port 7700")
    proto = UDP if kind == socket.SOCK_DGRAM else TCP
    numbers = []
    for port in ports:
        numbers.append(visit(t, server, members, socks, port))
        if numbers[-1] == 2:
            t.owns(members[2], flow(proto, (netns.S4, port), (netns.C4, 7700)))
    expect({2} < set(numbers), "both the selected and other members were visited")


def steered(t, kind, visit, ports, misled):
    """The hash's choice for each client is learnt, then a program gives everything to the selected third member. What a
    lookup outside the kernel's delivery finds is the hash's choice: `misled` says which packets suffer by that."""
    server, members, socks = reuseport(t, kind)
    by_hash = {port: visit(t, server, members, socks, port) for port in ports}
    expect(set(by_hash.values()) > {2}, f"the hash spreads: {by_hash}")
    steer(members, socks)
    start = t.now()
    t.select(members[2], best="port 7700")
    proto = UDP if kind == socket.SOCK_DGRAM else TCP
    for port in ports:
        expect(visit(t, server, members, socks, port) == 2, "the program steers")
        key = flow(proto, (netns.S4, port), (netns.C4, 7700))
        t.owns(members[2], key, start=start)
        if by_hash[port] != 2:
            t.limit(STEERED, lambda p, key=key: p.key == key and misled(p), start=start)
    ask(members[0], service(server))


@scenario()
def reuseport_udp_hash(t):
    """Four processes share a UDP port by SO_REUSEPORT; 32 clients are spread by hash; one process is selected."""
    spread(t, socket.SOCK_DGRAM, ask_group, range(9001, 9033))


@scenario()
def reuseport_tcp_hash(t):
    """Four processes share a TCP port by SO_REUSEPORT; 32 clients are spread by hash; one process is selected."""
    spread(t, socket.SOCK_STREAM, dial_group, range(9001, 9033))


@scenario()
def reuseport_udp_steered(t):
    """The same with a steering program (SO_ATTACH_REUSEPORT_CBPF) that gives everything to the selected process."""
    steered(t, socket.SOCK_DGRAM, ask_group, range(9001, 9033), lambda packet: not packet.outgoing)


@scenario()
def reuseport_tcp_steered(t):
    """The same for TCP listeners."""
    steered(t, socket.SOCK_STREAM, dial_group, range(9001, 9033), lambda packet: packet.flags & 0x12 == 2)


@scenario()
def threads(t):
    """Eight threads of the target and eight of a stranger exchange datagrams at once."""
    server, me, other = cast(t)
    far = service(server)
    echo_loop(server, far.sock)
    t.select(me, best=f"udp port {far.port}")
    for who in (me, other):
        who.do(f"""
import threading
ports = []
def ask():
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.settimeout(10)
    for i in range(50):
        sock.sendto(b"%d" % i, {far.end!r})
        sock.recv(100)
    ports.append(sock.getsockname()[1])
threads = [threading.Thread(target=ask) for _ in range(8)]
for thread in threads: thread.start()
""")
    for who in (me, other):
        who.do("for thread in threads: thread.join()")
    for port in me.eval("ports"):
        t.owns(me, flow(UDP, (netns.C4, port), far.end))


@scenario()
def shared_option(t):
    """With --shared a connection the target has held stays its own whoever uses it; the child's new ones are not."""
    server, me, other = cast(t)
    door = listener(server)
    t.select(me, best=f"tcp port {door.port}", options=["--shared"])
    for who in (me, other):
        stream = Stream(who, door)
        child = who.fork()
        child.where = "c"
        theirs = child.take(stream.client)
        for _ in range(3):
            carry(theirs, stream.server, 900)
            carry(stream.server, theirs, 900)
        exchange(child, door)
        theirs.close()
        stream.close()
        if who is me:
            t.owns(me, stream.key)


@scenario()
def uring_plain(t):
    """A socket is made, connected, sent on and received from by io_uring operations."""
    uring_case(t, sqpoll=False)


@scenario()
def uring_sqpoll(t):
    """The same by a kernel thread that polls the submission queue (SQPOLL)."""
    uring_case(t, sqpoll=True)


def uring_case(t, sqpoll):
    """UDP client and TCP server, by ring."""
    server, me, other = cast(t)
    far = service(server)
    for who in (me, other):
        who.do(uring.SOURCE)
        if not who.eval("available()"):
            raise Skip("this kernel has no io_uring")
    t.select(me, best=f"udp port {far.port} or tcp port 7801 or tcp port 7802")

    def act(who):
        port = 7801 if who is me else 7802
        who.do(f"ring = Ring({sqpoll})\nfd = ring.socket(2, 2)\nring.connect(fd, {far.end!r})")
        who.do("for _ in range(3): ring.send(fd, b'by the ring')")
        for _ in range(3):
            _, sender = far.sock.recvfrom(100)
            far.sock.sendto(b"answer", sender)
        who.do("for _ in range(3): assert ring.recv(fd, 100) == b'answer'")
        who.do(f"door = socket.socket(); door.setsockopt(1, 2, 1); door.bind(({netns.C4!r}, {port})); door.listen(8)")
        dial = server.socket()
        dial.connect((netns.C4, port))
        who.do("peer = ring.accept(door.fileno())")
        dial.sendall(b"request" * 20)
        who.do("assert ring.recv(peer, 1000) == b'request' * 20; ring.send(peer, b'r' * 3000)")
        dial.recv_exactly(3000)
        key = flow(6, dial.getsockname(), (netns.C4, port))
        dial.close()
        who.do("os.close(peer)")
        return [flow(UDP, sender, far.end), key]

    both(t, me, other, act)


@scenario()
def uring_direct(t):
    """A socket that exists only as a direct descriptor of a ring, made after the process was selected."""
    server, me, other = cast(t)
    far = service(server)
    for who in (me, other):
        who.do(uring.SOURCE)
        if not who.eval("available()"):
            raise Skip("this kernel has no io_uring")
    t.select(me, best=f"udp port {far.port}")

    def act(who):
        who.do(f"ring = Ring(False)\nring.direct(4)\nring.socket_direct(2, 2, 0)\nring.connect(0, {far.end!r}, fixed=True)\n"
               "for _ in range(3): ring.send(0, b'direct', fixed=True)")
        for _ in range(3):
            _, sender = far.sock.recvfrom(100)
            far.sock.sendto(b"answer", sender)
        who.do("for _ in range(3): assert ring.recv(0, 100, fixed=True) == b'answer'")
        return flow(UDP, sender, far.end)

    both(t, me, other, act)


@scenario()
def lookup_steered(t):
    """A program that picks the socket of what arrives (sk_lookup) gives ports 8000 and 8001 of any local address to sockets
    that are bound to other ones: a target's and a stranger's."""
    server, me, other = cast(t)
    name, far = t.space("c"), "10.99.0.7"
    netns.ip(name, "route add local 10.99.0.0/24 dev lo")
    netns.ip(t.space("s"), f"route add {far} via {netns.C4}")
    socks = {}
    for who in (me, other):
        door, box = who.socket(), who.socket(kind=socket.SOCK_DGRAM)
        for sock in (door, box):
            sock.bind(("127.0.0.1", 0))
        door.listen(8)
        socks[who] = door, box
    steering = bpf.Steering(name, 8000, 2)
    try:
        for place, who in enumerate((me, other)):
            for sock, datagrams in zip(socks[who], (False, True)):
                steering.give(place, datagrams, who.pid, sock.fileno())
        t.select(me, best="port 8000")
        port = {me: 8000, other: 8001}

        def act(who):
            keys = []
            for address in (netns.C4, far):
                dial, asker = server.socket(), service(server)
                dial.connect((address, port[who]))
                served, _ = socks[who][0].accept()
                carry(dial, served, 300)
                carry(served, dial, 3000)
                keys.append(flow(TCP, dial.getsockname(), (address, port[who])))
                dial.close()
                served.close()
                asker.sock.sendto(b"question", (address, port[who]))
                expect(socks[who][1].recv(100) == b"question", "the program steers")
                keys.append(flow(UDP, asker.end, (address, port[who])))
            return keys

        both(t, me, other, act)
    finally:
        steering.close()
