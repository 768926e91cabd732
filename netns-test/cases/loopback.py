# SPDX-License-Identifier: GPL-2.0-only
"""Loopback: sender and receiver share the device; each packet of a target is copied once, whichever end it is."""

from lib.packet import ICMP, UDP, echo, flow
from lib.registry import case, expect_equal
from lib.traffic import LOOP, Datagrams, Listener, Stream


def ends(t):
    """Four processes of one namespace: two that talk and two strangers that do the same."""
    client, server, stranger, host = (t.actor("c", name) for name in ("client", "server", "stranger", "host"))
    client.where = server.where = stranger.where = host.where = LOOP
    return client, server, stranger, host


def conversation(t, selected, version=4):
    """TCP and UDP over lo; `selected` names which ends are targets."""
    t.space("c")
    client, server, stranger, host = ends(t)
    people = {"client": client, "server": server}
    listener, foreign = Listener(server, version), Listener(host, version)
    t.up(sources=("lo",))
    t.add(*(people[name] for name in selected))
    mine, theirs = Stream(client, listener), Stream(stranger, foreign)
    one, two = Datagrams(client, version), Datagrams(server, version)
    three, four = Datagrams(stranger, version), Datagrams(host, version)
    for stream, left, right in ((mine, one, two), (theirs, three, four)):
        stream.talk(500, 20000)
        left.to(right)
        right.to(left)
        stream.close()
    for key in (mine.key, flow(UDP, one.end, two.end)):
        t.owns(people[selected[0]], key)
    t.check(per_target=len(selected) == 1)
    if len(selected) == 2:
        rows = t.get("list")["targets"]
        total = t.get("stats")["matched"]
        expect_equal(sum(row["packets"] for row in rows), total, "packets of both targets together")


@case(disable=("", "tcx", "iter"))
def client_selected(t):
    """The connecting and asking end is the target."""
    conversation(t, ["client"])


@case(disable=("", "tcx"))
def server_selected(t):
    """The listening and answering end is the target."""
    conversation(t, ["server"])


@case()
def both_selected(t):
    """Both ends are targets: still one copy of each packet."""
    conversation(t, ["client", "server"])


@case()
def client_selected_ipv6(t):
    """The same over ::1, connecting end."""
    conversation(t, ["client"], 6)


@case()
def server_selected_ipv6(t):
    """The same over ::1, listening end."""
    conversation(t, ["server"], 6)


@case()
def process_with_itself(t):
    """A target that talks to itself: one copy of each packet."""
    t.space("c")
    me, _, other, _ = ends(t)
    t.up(sources=("lo",))
    t.add(me)
    for who in (me, other):
        left, right = Datagrams(who), Datagrams(who)
        left.to(right)
        key = right.to(left)
        listener = Listener(who)
        stream = Stream(who, listener)
        stream.talk()
        stream.close()
        if who is me:
            t.owns(me, key)
            t.owns(me, stream.key)
    t.check()


@case()
def existing(t):
    """Connections over lo from before add-pid; the peer speaks first."""
    t.space("c")
    client, server, stranger, host = ends(t)
    mine, theirs = Stream(client, Listener(server)), Stream(stranger, Listener(host))
    t.up(sources=("lo",))
    t.add(server)
    for stream in (mine, theirs):
        stream.client.sendall(b"first")
        stream.server.recv_exactly(5)
        stream.talk()
        stream.close()
    t.owns(server, mine.key)
    t.check()


@case()
def ping_self(t):
    """ping of 127.0.0.1 beside another: request and reply once each."""
    t.space("c")
    t.up(sources=("lo",))
    t.arm()
    foreign = t.popen("c", "ping", "-c", "3", "-i", "0.05", "-e", "77", "127.0.0.1")
    t.mirrorctl("run", "--", "ping", "-c", "3", "-i", "0.05", "-e", "78", "127.0.0.1")
    foreign.communicate()
    t.owns(t.get("list")["targets"][0]["pid"], echo(ICMP, "127.0.0.1", "127.0.0.1", 78))
    t.check()


@case()
def beside_a_device(t):
    """lo and eth0 together, a target that talks on both; its own eth0 address is reached over lo."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    far, near = Listener(server), Listener(other)
    t.up(sources=("eth0", "lo"))
    t.add(me)
    for listener in (far, near):
        stream = Stream(me, listener)
        stream.talk()
        stream.close()
        t.owns(me, stream.key)
    t.check()
    expect_equal(bool(t.wires["lo"].packets) and bool(t.wires["eth0"].packets), True, "traffic on both devices")


@case()
def refused(t):
    """Loopback errors: a refused connection and a closed UDP port, asked by the target and by a stranger."""
    t.space("c")
    me, _, other, _ = ends(t)
    t.up(sources=("lo",))
    t.add(me)
    for who in (me, other):
        sock = Datagrams(who)
        sock.sock.sendto(b"anybody?", ("127.0.0.1", 9))
        port = who.eval("(lambda s: (s.bind(('127.0.0.1', 0)), s.connect_ex(('127.0.0.1', 9)), s.getsockname()[1])[2])"
                        "(socket.socket())")
        if who is me:
            t.owns(me, flow(UDP, sock.end, ("127.0.0.1", 9)))
            t.owns(me, flow(6, ("127.0.0.1", port), ("127.0.0.1", 9)))
    t.check()


@case()
def bulk(t):
    """A megabyte each way in the largest segments lo takes, and the largest datagram."""
    t.space("c")
    client, server, stranger, host = ends(t)
    t.up(sources=("lo",))
    t.add(client)
    size = 1 << 20
    for who, peer in ((client, server), (stranger, host)):
        stream = Stream(who, Listener(peer))
        for sender, receiver in ((stream.client, stream.server), (stream.server, stream.client)):
            sender.actor.do(f"import threading; thread = threading.Thread(target=obj[{sender.key}].sendall, "
                            f"args=(b'g' * {size},)); thread.start()")
            got = receiver.actor.eval(f"len(recv_exactly(obj[{receiver.key}], {size}))")
            sender.actor.do("thread.join()")
            expect_equal(got, size, "bytes that arrived")
        stream.close()
        left, right = Datagrams(who), Datagrams(peer)
        key = left.to(right, b"d" * 65507)
        if who is client:
            t.owns(client, stream.key)
            t.owns(client, key)
    t.check(cut_later=True)     # two segments can be longer than lo's gso_max_size
