# SPDX-License-Identifier: GPL-2.0-only
"""Devices that stand on one another: a packet passes several sources and is copied once, nearest to its socket."""

import contextlib

from lib import netns, traffic
from lib.packet import UDP, flow
from lib.registry import case, expect
from lib.traffic import Datagrams, Listener, Stream


def mac(name, dev):
    """Link-layer address of a device."""
    return netns.ip_json(name, "link", "show", "dev", dev)[0]["address"]


def move_address(t, dev):
    """Gives the address of eth0 in c to `dev`; s finds it under the address of that device."""
    name = t.space("c")
    netns.ip(name, "addr flush dev eth0", f"link set {dev} addrgenmode none", f"link set {dev} arp off up",
             f"addr add {netns.C4}/24 dev {dev}",
             f"neigh replace {netns.S4} lladdr {mac(t.space('s'), 'eth0')} dev {dev} nud permanent")
    netns.ip(t.space("s"), f"neigh replace {netns.C4} lladdr {mac(name, dev)} dev eth0 nud permanent")
    t.note_devices()


def talk(t, dev, sources, both=True, headerless=False, sums=True):
    """A target and a stranger, each with a connection out, one in and a datagram each way, over `dev`; every copy is the
    frame of `dev`, which may have no Ethernet header; `sums` as in check(). Connections are closed where what ends them is
    matched."""
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    listener, service = Listener(server), Datagrams(server)
    t.mirrorctl("up", *sources)
    closes = not t.limited("linger")
    if headerless:
        t.watch(dev, ethernet=False)
    t.capture(() if headerless else (dev,))
    t.add(me)
    for who in (other, me):
        mine = who is me
        out = Stream(who, listener)
        out.talk()
        if closes:
            out.close()
        sock = Datagrams(who)
        sock.to(service)
        service.to(sock)
        if mine:
            t.owns(me, out.key)
            t.owns(me, flow(UDP, sock.end, service.end))
        if both:
            back = Stream(server, Listener(who))
            back.talk()
            if closes:
                back.close()
            if mine:
                t.owns(me, back.key)
    t.check(seen=False, strip=14 if headerless else 0, sums=sums)


@contextlib.contextmanager
def addresses(here, there):
    """What the traffic of the body goes to and comes from, in place of the addresses of eth0."""
    before = dict(traffic.ADDRESS)
    traffic.ADDRESS["c", 4], traffic.ADDRESS["s", 4] = here, there
    try:
        yield
    finally:
        traffic.ADDRESS.update(before)


@case()
def bridge_and_port(t):
    """A bridge and its port are both sources."""
    t.pair()
    netns.ip(t.space("c"), "link add br0 type bridge mcast_snooping 0", "link set eth0 master br0")
    move_address(t, "br0")
    talk(t, "br0", ("eth0", "br0"))


@case()
def port_without_bridge(t):
    """Only the port is a source: its packets are copied there."""
    t.pair()
    netns.ip(t.space("c"), "link add br0 type bridge mcast_snooping 0", "link set eth0 master br0")
    move_address(t, "br0")
    talk(t, "eth0", ("eth0",))


@case()
def bridge_comes_later(t):
    """The port is a source first, its bridge only by a second `up`."""
    t.pair()
    netns.ip(t.space("c"), "link add br0 type bridge mcast_snooping 0", "link set eth0 master br0")
    move_address(t, "br0")
    t.mirrorctl("up", "eth0")
    talk(t, "br0", ("eth0", "br0"))


@case()
def macvlan_and_lower(t):
    """A macvlan and the device below it are both sources."""
    t.pair()
    netns.ip(t.space("c"), "link add mv0 link eth0 type macvlan mode bridge")
    move_address(t, "mv0")
    talk(t, "mv0", ("eth0", "mv0"))


@case()
def vxlan_and_carrier(t):
    """A vxlan device and its carrier: the inner packet is copied, not the wrapped one as well."""
    t.pair()
    for key, here, there, inner in (("c", netns.C4, netns.S4, "10.14.0.1"), ("s", netns.S4, netns.C4, "10.14.0.2")):
        netns.ip(t.space(key), f"link add vx0 type vxlan id 7 local {here} remote {there} dstport 4789 dev eth0",
                 "link set vx0 addrgenmode none", "link set vx0 arp off up", f"addr add {inner}/24 dev vx0")
    for key, other, address in (("c", "s", "10.14.0.2"), ("s", "c", "10.14.0.1")):
        netns.ip(t.space(key), f"neigh replace {address} lladdr {mac(t.space(other), 'vx0')} dev vx0 nud permanent")
    t.note_devices()
    with addresses("10.14.0.1", "10.14.0.2"):
        talk(t, "vx0", ("eth0", "vx0"))


def container(t):
    """Namespace d behind the veth lan0 of c."""
    t.pair()
    name, inner = t.space("c"), t.space("d")
    netns.run(["ip", "link", "add", "lan0", "netns", name, "type", "veth", "peer", "name", "eth0", "netns", inner])
    netns.ip(name, "link set lan0 addrgenmode none", "link set lan0 arp off up", "addr add 10.13.0.1/24 dev lan0")
    netns.ip(inner, "link set eth0 addrgenmode none", "link set eth0 arp off up", "addr add 10.13.0.2/24 dev eth0")
    netns.ip(name, f"neigh replace 10.13.0.2 lladdr {mac(inner, 'eth0')} dev lan0 nud permanent")
    netns.ip(inner, f"neigh replace 10.13.0.1 lladdr {mac(name, 'lan0')} dev eth0 nud permanent")
    t.note_devices()
    traffic.ADDRESS["d", 4] = "10.13.0.2"


@case()
def container_from_the_host(t):
    """A process behind a veth, selected on the host: both directions, beside another process of the same container."""
    container(t)
    me, other, host = t.actor("d"), t.actor("d"), t.actor("c")
    traffic_before = traffic.ADDRESS["c", 4]
    traffic.ADDRESS["c", 4] = "10.13.0.1"
    try:
        listener, service = Listener(host), Datagrams(host)
        t.mirrorctl("up", "lan0", "eth0")
        t.capture(("lan0",))
        t.add(me)
        for who in (other, me):
            out, back = Stream(who, listener), Stream(host, Listener(who))
            sock = Datagrams(who)
            for stream in (out, back):
                stream.talk()
                stream.close()
            sock.to(service)
            service.to(sock)
            if who is me:
                for key in (out.key, back.key, flow(UDP, sock.end, service.end)):
                    t.owns(me, key)
        t.check(seen=False)
    finally:
        traffic.ADDRESS["c", 4] = traffic_before
    expect(t.get("stats")["reasons"]["listener"] > 0, "the container's listener was found in its namespace")
