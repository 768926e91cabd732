# SPDX-License-Identifier: GPL-2.0-only
"""Where the packet passes: loopback, forwarding, stacked devices, tun, containers, devices that change."""

import os
import socket

from lib import netns, traffic, tun, wait
from lib.packet import TCP, UDP, flow
from lib.registry import Skip, expect
from lib.traffic import LOOP, Datagrams, Listener, Stream, carry, exchange
from score.catalogue.ip import haul, pieces, udp4
from score.moves import TUNNEL, both, cast, listener, service, window
from score.registry import scenario

NEVER = 1 << 60


def loopback(t, selected, version=4):
    """TCP and UDP over lo; `selected` names the ends that are targets."""
    t.space("c")
    client, server, stranger, host = (t.actor("c", name) for name in ("client", "server", "stranger", "host"))
    for who in (client, server, stranger, host):
        who.where = LOOP
    people = {"client": client, "server": server}
    door, foreign = Listener(server, version), Listener(host, version)
    t.open("lo")
    one, two = Datagrams(client, version), Datagrams(server, version)
    three, four = Datagrams(stranger, version), Datagrams(host, version)
    t.select(*(people[name] for name in selected), best=f"tcp port {door.port} or udp port {one.port}")
    mine, theirs = Stream(client, door), Stream(stranger, foreign)
    for stream, left, right in ((mine, one, two), (theirs, three, four)):
        stream.talk(500, 20000)
        left.to(right)
        right.to(left)
        stream.close()
    t.owns(0, mine.key)
    t.owns(0, flow(UDP, one.end, two.end))


@scenario()
def loopback_sender(t):
    """Loopback, the client selected."""
    loopback(t, ["client"])


@scenario()
def loopback_receiver(t):
    """Loopback, the server selected."""
    loopback(t, ["server"])


@scenario()
def loopback_both(t):
    """Loopback, both ends selected: one copy of each packet."""
    loopback(t, ["client", "server"])


@scenario()
def loopback_ipv6(t):
    """Loopback over ::1, both ends selected."""
    loopback(t, ["client", "server"], 6)


@scenario()
def loopback_large(t):
    """The largest packets loopback takes: datagrams of up to 65,536 bytes, larger ones in fragments, 4 MB of TCP each way.
    TCP gives it super-packets of two such segments, which loopback and the monitor cut in the same way."""
    t.space("c")
    t.cut = True
    server, me, other = (t.actor("c") for _ in range(3))
    for who in (server, me, other):
        who.where = LOOP
    t.open("lo")
    doors = {version: Listener(server, version) for version in (4, 6)}
    far = {version: Datagrams(server, version) for version in (4, 6)}
    t.select(me, best=" or ".join(["ip6 proto 44", *(f"port {each.port}" for each in [*doors.values(), *far.values()])]))

    def act(who):
        keys = [haul(who, door, 4 << 20) for door in doors.values()]
        for version, sizes in ((4, (65507,)), (6, (65487, 65488, 65489, 65527))):
            sock = Datagrams(who, version)
            keys += [sock.to(far[version], b"l" * size) for size in sizes]
        return keys

    both(t, me, other, act)


@scenario()
def loopback_crossed(t):
    """Loopback between a target and a stranger, the stranger also talks to another stranger from the same socket."""
    t.space("c")
    me, other, third = (t.actor("c") for _ in range(3))
    for who in (me, other, third):
        who.where = LOOP
    t.open("lo")
    socks = {who: Datagrams(who) for who in (me, other, third)}
    t.select(me, best=f"udp port {socks[me].port}")
    for _ in range(4):
        socks[me].to(socks[other])
        socks[other].to(socks[third])
        socks[third].to(socks[other])
        socks[other].to(socks[me])
    t.owns(me, flow(UDP, socks[me].end, socks[other].end))


def veth(t, name, dev, inner, inner_dev, here, there, prefix=24):
    """A veth from namespace `name` into `inner`, static neighbours, silent."""
    netns.run(["ip", "link", "add", dev, "netns", name, "type", "veth", "peer", "name", inner_dev, "netns", inner])
    for where, each, addr in ((name, dev, here), (inner, inner_dev, there)):
        netns.ip(where, f"link set {each} addrgenmode none arp off up")
        wait.until(lambda where=where, each=each: "LOWER_UP" in netns.ip_json(where, "link", "show", "dev", each)[0]["flags"]
                   or where == name, f"{each}")
        if addr:
            netns.ip(where, f"addr add {addr}/{prefix} dev {each}")
    for where, each, peer, peer_dev, addr in ((name, dev, inner, inner_dev, there), (inner, inner_dev, name, dev, here)):
        wait.until(lambda where=where, each=each: netns.has_carrier(where, each), f"{each} to come up")
        if addr:
            mac = netns.ip_json(peer, "link", "show", "dev", peer_dev)[0]["address"]
            netns.ip(where, f"neigh replace {addr} lladdr {mac} dev {each} nud permanent")


@scenario()
def same_tuple_two_namespaces(t):
    """Two containers with equal addresses and ports behind two veths of the host, one process selected from the host."""
    name, one, two = t.space("c"), t.space("d"), t.space("e")
    for dev, inner in (("va", one), ("vb", two)):
        veth(t, name, dev, inner, "eth0", None, "10.20.0.2")
        netns.ip(inner, "neigh replace 10.20.0.1 lladdr 02:00:00:00:00:77 dev eth0 nud permanent")
    t.note_devices()
    me, other = t.actor("d"), t.actor("e")
    t.open("va", "vb")
    t.select(me, best="udp port 5000")

    def act(who):
        sock = who.socket(kind=socket.SOCK_DGRAM)
        sock.bind(("10.20.0.2", 5000))
        for _ in range(4):
            sock.sendto(b"to the host", ("10.20.0.1", 6000))
        return []

    both(t, me, other, act)
    t.owns(me, flow(UDP, ("10.20.0.2", 5000), ("10.20.0.1", 6000)), start={"vb": NEVER})


@scenario()
def same_fragments_two_namespaces(t):
    """The same two containers are sent datagrams in pieces by one address, under one identification at once: each puts its own
    together."""
    name = t.space("c")
    for dev, key in (("va", "d"), ("vb", "e")):
        veth(t, name, dev, t.space(key), "eth0", None, "10.20.0.2")
    t.note_devices()
    me, other, sender = t.actor("d"), t.actor("e"), t.actor("c")
    boxes = {who: who.socket(kind=socket.SOCK_DGRAM) for who in (me, other)}
    macs = {dev: netns.ip_json(t.space(key), "link", "show", "dev", "eth0")[0]["address"]
            for dev, key in (("va", "d"), ("vb", "e"))}
    for box in boxes.values():
        box.bind(("10.20.0.2", 5000))
    t.open("va", "vb")
    t.select(me, best="ip proto 17")
    sender.do("raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)")
    ends = {"src": "10.20.0.1", "dst": "10.20.0.2"}
    for order in (("va", "vb"), ("vb", "va")):
        sets = {dev: pieces(udp4(6000, 5000, mark * 3000, **ends), 500, **ends) for dev, mark in (("va", b"m"), ("vb", b"f"))}
        for number in range(len(sets["va"])):
            for dev in order:
                head = bytes.fromhex(macs[dev].replace(":", "")) + bytes(6) + b"\x08\0"
                sender.do(f"raw.sendto({head + sets[dev][number]!r}, ({dev!r}, 0))")
        for who, mark in ((me, b"m"), (other, b"f")):
            expect(boxes[who].recv(5000) == mark * 3000, "the datagram was put together")
    t.owns(me, lambda p: p.proto == UDP, start={"vb": NEVER})


def container(t, route):
    """A container behind a host veth; the host forwards to the far end where `route`, else talks to the container itself."""
    t.pair()
    name, inner = t.space("c"), t.space("d")
    veth(t, name, "lan0", inner, "eth0", "10.13.0.1", "10.13.0.2")
    if route:
        netns.ip(inner, "route add default via 10.13.0.1")
        netns.ip(t.space("s"), f"route add 10.13.0.0/24 via {netns.C4}")
        netns.sysctl(name, "net/ipv4/ip_forward", 1)
    t.note_devices()
    traffic.ADDRESS["d", 4] = "10.13.0.2"
    return t.actor("s", "server"), t.actor("d", "guest"), t.actor("d", "other guest")


def container_case(t, route, sources):
    """TCP and UDP of two processes of a container; one is selected from the host, whose mirror watches `sources`."""
    far, me, other = container(t, route)
    peer = far if route else t.actor("c", "host")
    if not route:
        traffic.ADDRESS["c", 4] = "10.13.0.1"
    door, answer = Listener(peer), Datagrams(peer)
    t.open(*sources)
    t.lower = sources[1:]
    t.select(me, best=f"port {door.port} or port {answer.port}")

    def act(who):
        key = exchange(who, door)
        sock = Datagrams(who)
        sock.to(answer)
        return [key, answer.to(sock)]

    keys = []
    for who in (me, other):
        found = act(who)
        keys += found if who is me else []
    upper = sources[0]
    for key in keys:
        t.owns(me, key, start={dev: NEVER for dev in sources if dev != upper})


@scenario()
def container_host_veth(t):
    """A container's process selected from the host and watched on the host's end of its veth; it talks to the host."""
    container_case(t, False, ("lan0",))


@scenario()
def container_time_wait(t):
    """A container's processes close first and are in TIME_WAIT when the far end closes; and a far client connects with a
    port whose last connection is in TIME_WAIT there."""
    _, me, other = container(t, False)
    traffic.ADDRESS["c", 4] = "10.13.0.1"
    host = t.actor("c", "host")
    door, doors = Listener(host), {who: Listener(who) for who in (me, other)}
    t.open("lan0")
    t.select(me, best=f"port {door.port} or port {doors[me].port}")

    def close_at_host(who, stream, sock):
        """The far end closes, which TIME_WAIT acknowledges."""
        start = t.now()
        sock.close()
        t.settle()
        if who is me:
            t.limit("container-timewait", lambda p: p.key == stream.key and not p.outgoing, start=start).stop = t.now()

    for who, port in ((me, 9351), (other, 9352)):
        stream = Stream(who, door)
        stream.talk()
        stream.client.close()
        t.settle()
        close_at_host(who, stream, stream.server)
        keys = [stream.key]
        for _ in range(2):
            stream = Stream(host, doors[who], port=port)
            stream.talk()
            stream.server.close()
            t.settle()
            close_at_host(who, stream, stream.client)
        for key in (*keys, stream.key) if who is me else ():
            t.owns(me, key)


@scenario()
def container_routed(t):
    """The same, its traffic routed on by the host."""
    container_case(t, True, ("lan0",))


@scenario()
def container_routed_two_devices(t):
    """The same with the host's uplink watched too: mirrored once."""
    container_case(t, True, ("lan0", "eth0"))


@scenario()
def forwarded_beside_wildcard(t):
    """The host forwards a container's traffic to a port on which the target itself listens on the wildcard: the forwarded
    packets are nobody's, those for the host are the target's."""
    far, guest, _ = container(t, True)
    me = t.actor("c")
    for who in (far, guest, me):    # all on one processor: what is forwarded there runs while the target is current
        who.do("os.sched_setaffinity(0, {0})")
    me.do("import threading\ndef spin():\n    while going: sum(range(2000))\n"
          "going = True; spinner = threading.Thread(target=spin, daemon=True); spinner.start()")
    t.open("eth0", "lan0")
    door, box = Listener(me, port=7800, wildcard=True), Datagrams(me, port=7801, wildcard=True)
    far_door, far_box = Listener(far, port=7800), Datagrams(far, port=7801)
    t.select(me, best=f"(host {netns.C4} or host 10.13.0.1) and (port 7800 or port 7801)")
    near = {netns.C4, "10.13.0.1"}
    for client, target in ((guest, far), (far, me), (guest, me), (guest, far)):
        address = netns.S4 if target is far else netns.C4 if client is far else "10.13.0.1"
        sock = client.socket()
        sock.connect((address, 7800))
        served = (far_door if target is far else door).accept()
        carry(sock, served, 300)
        carry(served, sock, 3000)
        sock.close()
        served.close()
        udp = Datagrams(client)
        udp.sock.sendto(b"which?", (address, 7801))
        taken = (far_box if target is far else box).sock
        _, sender = taken.recvfrom(100)
        taken.sendto(b"answer", sender)
        udp.sock.recv(100)
    me.do("going = False; spinner.join()")
    t.owns(me, lambda p: p.proto in (TCP, UDP) and bool(near & {p.src, p.dst}))


def stacked(t, upper, lower, ethernet=True):
    """TCP and UDP over `upper`, both it and what it stands on are watched: one copy of each packet. `ethernet`: `upper` has a
    link-layer header."""
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    door, far = Listener(server), Datagrams(server)
    t.watch(upper, ethernet)
    t.watch(lower)
    t.driver.open((upper, lower), ())
    t.lower = (lower,)
    t.select(me, best=f"port {door.port} or port {far.port}")

    def act(who):
        key = exchange(who, door)
        sock = Datagrams(who)
        sock.to(far)
        return [key, far.to(sock)]

    for who in (me, other):
        for key in act(who):
            if who is me:
                t.owns(me, key, start={lower: NEVER})


def renew_neighbour(t, dev, peer_mac=netns.S_MAC):
    """Address and neighbour of c on another device."""
    netns.ip(t.space("c"), f"addr flush dev eth0", f"addr add {netns.C4}/24 dev {dev}",
             f"neigh replace {netns.S4} lladdr {peer_mac} dev {dev} nud permanent")


@scenario()
def bridge(t):
    """A bridge with eth0 as its port, the address on the bridge, both watched."""
    t.pair()
    name = t.space("c")
    netns.ip(name, f"link add br0 address {netns.C_MAC} type bridge mcast_snooping 0", "link set br0 addrgenmode none arp off",
             "link set eth0 master br0", "link set br0 up")
    wait.until(lambda: netns.has_carrier(name, "br0"), "the bridge to come up")
    wait.until(lambda: "forwarding" in netns.run(["bridge", "-n", name, "link", "show", "dev", "eth0"]).stdout,
               "the port to forward", 40)
    renew_neighbour(t, "br0")
    t.note_devices()
    stacked(t, "br0", "eth0")


@scenario()
def macvlan(t):
    """A macvlan on eth0 with the address, both watched."""
    t.pair()
    name, mac = t.space("c"), "02:00:00:00:11:05"
    try:
        netns.ip(name, f"link add mv0 link eth0 address {mac} type macvlan mode private")
    except RuntimeError:
        raise Skip("this kernel has no macvlan") from None
    netns.ip(name, "link set mv0 addrgenmode none arp off up")
    wait.until(lambda: netns.has_carrier(name, "mv0"), "mv0 to come up")
    renew_neighbour(t, "mv0")
    netns.ip(t.space("s"), f"neigh replace {netns.C4} lladdr {mac} dev eth0 nud permanent")
    t.note_devices()
    stacked(t, "mv0", "eth0")


def join_vxlan(t, external=False):
    """A VXLAN between c and s over eth0; `external`: routes say where packets go, not the device."""
    t.pair()
    macs = {"c": "02:00:00:00:12:01", "s": "02:00:00:00:12:02"}
    addrs = {"c": "10.14.0.1", "s": "10.14.0.2"}
    outer = {"c": netns.C4, "s": netns.S4}
    for key, peer in (("c", "s"), ("s", "c")):
        name = t.space(key)
        ends = "external" if external else f"id 42 local {outer[key]} remote {outer[peer]}"
        try:
            netns.ip(name, f"link add vx0 address {macs[key]} type vxlan {ends} dstport 4789 nolearning")
        except RuntimeError:
            raise Skip("this kernel has no vxlan") from None
        netns.ip(name, "link set vx0 addrgenmode none arp off mtu 1400 up", f"addr add {addrs[key]}/24 dev vx0",
                 f"neigh replace {addrs[peer]} lladdr {macs[peer]} dev vx0 nud permanent")
        if external:
            netns.ip(name, f"route add {addrs[peer]}/32 encap ip id 42 dst {outer[peer]} dev vx0 src {addrs[key]}")
        traffic.ADDRESS[key, 4] = addrs[key]
    t.note_devices()


@scenario()
def vxlan(t):
    """A VXLAN over eth0, both watched: the copy is the packet, not its tunnel packet."""
    join_vxlan(t)
    stacked(t, "vx0", "eth0")


@scenario()
def vxlan_external(t):
    """A VXLAN device that is told by routes where its packets go (collected metadata, as overlay networks have it)."""
    join_vxlan(t, external=True)
    stacked(t, "vx0", "eth0")


@scenario()
def vxlan_carrier(t):
    """Only the device below a VXLAN is watched: what leaves has its socket with it, what arrives is the kernel's."""
    join_vxlan(t)
    # else the tunnel leaves the inner checksum to the device, which fills it in behind the copy
    netns.run(["nsenter", f"--net={netns.RUN_DIR}/{t.space('c')}", "ethtool", "-K", "vx0", "tx", "off"])
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    door, far = Listener(server), Datagrams(server)
    t.open("eth0")
    t.select(me, best="udp port 4789")

    def act(who):
        exchange(who, door)
        sock = Datagrams(who)
        sock.to(far)
        far.to(sock)

    act(other)
    start = t.now()
    act(me)
    rule = t.owns(me, lambda p: p.proto == UDP, start=start)
    stop = window(t, rule)
    t.limit(TUNNEL, lambda p: not p.outgoing, start=start, stop=stop)
    act(other)


def routed_tunnel(t, kind):
    """A tunnel device without Ethernet header over eth0, both watched: the copy is the packet, not its tunnel packet."""
    t.pair()
    addrs, outer = {"c": "10.16.0.1", "s": "10.16.0.2"}, {"c": netns.C4, "s": netns.S4}
    for key, peer in (("c", "s"), ("s", "c")):
        name = t.space(key)
        try:
            netns.ip(name, f"link add tn0 type {kind} local {outer[key]} remote {outer[peer]}")
        except RuntimeError:
            raise Skip(f"this kernel has no {kind}") from None
        netns.ip(name, "link set tn0 addrgenmode none up", f"addr add {addrs[key]} peer {addrs[peer]} dev tn0")
        traffic.ADDRESS[key, 4] = addrs[key]
    t.note_devices()
    t.strip = 14
    stacked(t, "tn0", "eth0", ethernet=False)


@scenario()
def ipip(t):
    """An IPIP tunnel over eth0, both watched."""
    routed_tunnel(t, "ipip")


@scenario()
def gre(t):
    """A GRE tunnel over eth0, both watched."""
    routed_tunnel(t, "gre")


@scenario()
def tun_device(t):
    """A tun: no link-layer header on the wire, a synthetic one on the copy."""
    if not os.path.exists("/dev/net/tun"):
        raise Skip("this kernel has no tun")
    t.pair()
    tun.join(t)
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    t.watch("tun0", ethernet=False)
    t.strip = 14
    t.driver.open(("tun0",), ())
    door, far = server.socket(), server.socket(kind=socket.SOCK_DGRAM)
    door.bind((tun.FAR4, 7900))
    door.listen(5)
    far.bind((tun.FAR4, 7901))
    t.select(me, best="port 7900 or port 7901 or ip[6:2] & 0x1fff != 0")

    def act(who):
        sock, udp = who.socket(), who.socket(kind=socket.SOCK_DGRAM)
        sock.connect((tun.FAR4, 7900))
        served, _ = door.accept()
        carry(sock, served, 3000)
        carry(served, sock, 30000)
        keys = [flow(TCP, sock.getsockname(), (tun.FAR4, 7900))]
        sock.close()
        served.close()
        udp.sendto(b"u" * 4000, (tun.FAR4, 7901))
        _, sender = far.recvfrom(9000)
        far.sendto(b"v" * 4000, sender)
        udp.recv(9000)
        return [*keys, flow(UDP, sender, (tun.FAR4, 7901))]

    both(t, me, other, act)


@scenario()
def device_renamed(t):
    """The source is renamed while both talk; nothing is lost, also when it gets its name back."""
    server, me, other = cast(t)
    door, far = listener(server), service(server)
    t.select(me, best=f"port {door.port} or port {far.port}")
    streams = {who: Stream(who, door) for who in (me, other)}
    for old, new in (("eth0", "renamed0"), ("renamed0", "eth0")):
        netns.ip(t.space("c"), f"link set {old} name {new}")
        for stream in streams.values():
            stream.talk()

    def act(who):
        streams[who].close()
        return streams[who].key

    both(t, me, other, act)


@scenario()
def device_recreated(t):
    """The source is deleted and made anew with its name; `up` again takes it in, the target was selected all the time."""
    server, me, other = cast(t)
    far, sock, foreign = service(server, wildcard=True), service(me, wildcard=True), service(other, wildcard=True)
    far.address, sock.address, foreign.address = netns.S4, netns.C4, netns.C4
    t.select(me, best=f"udp port {sock.port}")
    for each in (sock, foreign):
        each.to(far)
        far.to(each)
    key = flow(UDP, sock.end, far.end)
    t.owns(me, key)
    t.wires["eth0"].drain()
    old, old_far = t.wires.pop("eth0"), t.far_wires.pop()[1]
    t.rules.clear()
    netns.ip(t.space("c"), "link delete eth0")
    netns.join(t.space("c"), t.space("s"))
    t.note_devices()
    t.wires["gone"], t.gone_far = old, old_far
    old.close, old.drain = lambda: None, lambda packets=old.drain(): packets
    t.watch("eth0")
    t.driver.reopen(("eth0",))
    for each in (sock, foreign):
        each.to(far)
        far.to(each)
    t.owns(me, key)
