# SPDX-License-Identifier: GPL-2.0-only
"""UDP: connected and not, client and server, fragments, and ICMP errors about it."""

import socket

from lib import netns
from lib.packet import UDP, flow
from lib.registry import case, expect
from lib.traffic import ADDRESS, FAMILY, Datagrams

FALLBACKS = ("", "tcx", "iter")


def clients(t, version, connected):
    """Target and foreign client of one server port, in turns."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    service = Datagrams(server, version)
    t.up()
    t.add(me)
    socks = [who.socket(FAMILY[version], socket.SOCK_DGRAM) for who in (me, other)]
    if connected:
        for sock in socks:
            sock.connect(service.end)
    for round_ in range(3):
        for sock in socks:
            if connected:
                sock.send(b"question %d" % round_)
            else:
                sock.sendto(b"question %d" % round_, service.end)
            data, sender = service.sock.recvfrom(100)
            service.sock.sendto(data * 10, sender)
            sock.recv(1000)
    local = (ADDRESS["c", version], socks[0].getsockname()[1])
    t.owns(me, flow(UDP, local, service.end))
    t.check()


@case(disable=FALLBACKS)
def client(t):
    """An unconnected client beside a foreign one of the same server port."""
    clients(t, 4, False)


@case(disable=("", "tcx"))
def client_connected(t):
    """A connected client beside a foreign one."""
    clients(t, 4, True)


@case()
def client_ipv6(t):
    """An unconnected IPv6 client."""
    t.need_ipv6()
    clients(t, 6, False)


@case()
def client_connected_ipv6(t):
    """A connected IPv6 client."""
    t.need_ipv6()
    clients(t, 6, True)


@case()
def client_mapped(t):
    """An IPv6 socket that sends IPv4 datagrams (::ffff:a.b.c.d)."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    service = Datagrams(server)
    t.up()
    t.add(me)
    for who in (me, other):
        sock = who.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sock.sendto(b"mapped", ("::ffff:" + netns.S4, service.port))
        data, sender = service.sock.recvfrom(100)
        service.sock.sendto(data, sender)
        sock.recv(100)
        if who is me:
            t.owns(me, flow(UDP, (netns.C4, sock.getsockname()[1]), service.end))
    t.check()


def servers(t, version, wildcard, before):
    """Target and foreign server, asked in turns by one client."""
    t.pair()
    peer, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    mine = Datagrams(me, version, wildcard=wildcard) if before else None
    foreign = Datagrams(other, version, wildcard=wildcard)
    t.up()
    t.add(me)
    mine = mine or Datagrams(me, version, wildcard=wildcard)
    asker = Datagrams(peer, version)
    for _ in range(3):
        for service in (mine, foreign):
            asker.to(service)
            service.to(asker, b"answer")
    t.owns(me, flow(UDP, mine.end, asker.end))
    t.check()


@case(disable=FALLBACKS)
def server_before(t):
    """An unconnected server bound before it is added; the peer speaks first."""
    servers(t, 4, True, True)


@case()
def server_after(t):
    """A server bound to one address after it was added."""
    servers(t, 4, False, False)


@case()
def server_ipv6_before(t):
    """An IPv6 server bound to the wildcard before it is added."""
    t.need_ipv6()
    servers(t, 6, True, True)


@case(disable=("", "iter"))
def existing_connected(t):
    """Connected sockets from before add-pid, the peer speaks first; both clients share one local port."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    one, two = Datagrams(server), Datagrams(server)
    socks = []
    for who, service in ((me, one), (other, two)):
        sock = who.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((netns.C4, 5353))
        sock.connect(service.end)
        socks.append(sock)
    t.up()
    t.add(me)
    for sock, service in zip(socks, (one, two)):
        service.sock.sendto(b"unasked", (netns.C4, 5353))
        sock.recv(100)
        sock.send(b"answer")
        service.sock.recv(100)
    t.owns(me, flow(UDP, (netns.C4, 5353), one.end))
    t.check()


@case(disable=("", "tcx"))
def fragments(t):
    """Datagrams larger than the MTU, both ways, IPv4 and IPv6: later fragments follow the first."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    for version in (4, 6):
        service = Datagrams(server, version)
        if version == 4:
            t.up()
            t.add(me)
        for who in (me, other):
            asker = Datagrams(who, version)
            asker.to(service, b"f" * 5000)
            key = service.to(asker, b"F" * 7000)
            if who is me:
                t.owns(me, key)
    t.check()
    expect(t.get("stats")["reasons"]["fragment"] > 0, "no later fragment was counted as one")


def unreachable(t, version, connected):
    """Datagrams to a port nobody has: the answer quotes them."""
    t.pair()
    me, other = t.actor("c"), t.actor("c")
    t.up()
    t.add(me)
    closed = (ADDRESS["s", version], 9)
    for who in (me, other):
        sock = who.socket(FAMILY[version], socket.SOCK_DGRAM)
        if connected:
            sock.connect(closed)
            sock.send(b"anybody?")
        else:
            sock.sendto(b"anybody?", closed)
        if who is me:
            t.owns(me, flow(UDP, (ADDRESS["c", version], sock.getsockname()[1]), closed))
    t.check()
    t.reasons(icmp_error=1)


@case(disable=("", "tcx"))
def unreachable_port(t):
    """An ICMP port unreachable for the target's datagram, and one for a stranger's."""
    unreachable(t, 4, False)


@case()
def unreachable_port_connected(t):
    """The same for a connected socket."""
    unreachable(t, 4, True)


@case()
def unreachable_port_ipv6(t):
    """ICMPv6 port unreachable."""
    t.need_ipv6()
    unreachable(t, 6, False)


@case()
def unreachable_sent_for_stranger(t):
    """An ICMP error our own kernel sends about a datagram to a closed port is nobody's, whoever is selected."""
    t.pair()
    peer, me = t.actor("s"), t.actor("c")
    mine = Datagrams(me)
    t.up()
    t.add(me)
    asker = Datagrams(peer)
    asker.sock.sendto(b"anybody?", (netns.C4, 9))
    t.owns(me, asker.to(mine))
    t.check()
