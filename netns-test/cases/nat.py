# SPDX-License-Identifier: GPL-2.0-only
"""Address translation on the host itself: what stands on the wire is not what the socket knows."""

import socket

from lib import netns
from lib.nat import translate
from lib.packet import TCP, UDP, flow
from lib.registry import case, expect_equal
from lib.traffic import ADDRESS, FAMILY, Datagrams, Listener, carry

SYN = 2
NEAR, FAR = 9301, 9302      # source ports that the rules exchange


def swapped(t, version):
    """TCP and connected UDP clients of the target and of a stranger, whose source ports are exchanged on the way out: each
    one's tuple on the wire is the other one's socket's."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    here, any_ = ADDRESS["c", version], "::" if version == 6 else "0.0.0.0"
    to = f"[{here}]" if version == 6 else here
    translate(t, *(f"-A POSTROUTING -p {proto} --sport {one} -j SNAT --to-source {to}:{two}"
                   for proto in ("tcp", "udp") for one, two in ((NEAR, FAR), (FAR, NEAR))),
              tool="ip6tables" if version == 6 else "iptables")
    door, box = Listener(server, version), Datagrams(server, version)
    t.up()
    t.add(me)
    for who, port in ((me, NEAR), (other, FAR)):
        stream, datagrams = who.socket(FAMILY[version]), who.socket(FAMILY[version], socket.SOCK_DGRAM)
        for sock, end in ((stream, door.end), (datagrams, box.end)):
            sock.bind((any_, port))
            sock.connect(end)
        served = door.accept()
        for _ in range(3):
            carry(stream, served, 200)
            carry(served, stream, 3000)
            datagrams.send(b"question")
            _, sender = box.sock.recvfrom(100)
            box.sock.sendto(b"answer", sender)
            datagrams.recv(100)
        stream.close()
        served.close()
        datagrams.close()
    t.owns(me, flow(TCP, (here, FAR), door.end))
    t.owns(me, flow(UDP, (here, FAR), box.end))
    t.check()


@case(disable=("", "tcx"))
def source_ports(t):
    """Source ports of target and stranger are exchanged on the way out."""
    swapped(t, 4)


@case()
def source_ports_ipv6(t):
    """The same in IPv6."""
    t.need_ipv6()
    swapped(t, 6)


@case()
def translated_no_more(t):
    """A connection is translated, and the next one with the same ports is not: then its own tuple is on the wire again."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    translate(t, f"-A POSTROUTING -p udp --sport {NEAR} -j SNAT --to-source {netns.C4}:{FAR}")
    box = Datagrams(server)
    t.up()
    t.add(me)
    for who, port in ((me, FAR), (me, NEAR), (other, NEAR)):
        sock = who.socket(kind=socket.SOCK_DGRAM)
        sock.bind(("0.0.0.0", NEAR))
        sock.connect(box.end)
        for _ in range(3):
            sock.send(b"mine" if who is me else b"not mine")
            data, sender = box.sock.recvfrom(100)
            expect_equal(sender[1], port, "port on the wire")
            box.sock.sendto(data, sender)
            sock.recv(100)
        sock.close()
        for chain, end in (("OUTPUT", "--sport"), ("PREROUTING", "--dport")):
            translate(t, f"-A {chain} -p udp {end} {NEAR} -j NOTRACK", table="raw")
    for port in (FAR, NEAR):
        t.owns(me, lambda p, key=flow(UDP, (netns.C4, port), box.end): p.key == key and p.payload == b"mine")
    t.check()


@case()
def redirected(t):
    """Servers behind redirected ports: from its first answer on a conversation is the target's."""
    t.pair()
    client, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    translate(t, *(f"-A PREROUTING -p {proto} --dport {one} -j REDIRECT --to-ports {two}"
                   for proto in ("tcp", "udp") for one, two in ((80, 8080), (81, 8081))))
    servers = [(who, front, Listener(who, port=port), Datagrams(who, port=port))
               for who, front, port in ((me, 80, 8080), (other, 81, 8081))]
    t.up()
    t.add(me)
    for who, front, door, box in servers:
        dial, asker = client.socket(), Datagrams(client)
        dial.connect((netns.C4, front))
        served = door.accept()
        for number in range(3):
            carry(dial, served, 200)
            carry(served, dial, 3000)
            asker.sock.sendto(b"question %d" % number, (netns.C4, front))
            _, sender = box.sock.recvfrom(100)
            box.sock.sendto(b"answer", sender)
            asker.sock.recv(100)
        tcp, udp = flow(TCP, dial.getsockname(), (netns.C4, front)), flow(UDP, asker.end, (netns.C4, front))
        dial.close()
        served.close()
        if who is me:
            t.owns(me, lambda p, key=tcp: p.key == key and p.flags != SYN)
            t.owns(me, lambda p, key=udp: p.key == key and p.payload != b"question 0")
    t.check()


@case()
def wrapped(t):
    """What a tunnel wraps also leaves with other ports than its socket's. It is the target's on the way out; on the way
    back nothing tells it from a stranger's in the same wrapping."""
    t.pair()
    for key, other, last in (("c", netns.S4, 1), ("s", netns.C4, 2)):
        netns.ip(t.space(key), f"link add tun4 type vxlan id 7 remote {other} dstport 4789 srcport 4789 4790 dev eth0",
                 f"addr add 10.44.0.{last}/24 dev tun4", "link set tun4 address 02:00:00:44:00:0%d" % last, "link set tun4 up",
                 f"neigh replace 10.44.0.{3 - last} lladdr 02:00:00:44:00:0{3 - last} dev tun4 nud permanent")
        # else the tunnel leaves the inner checksum to the device, which fills it in behind the copy
        netns.run(["nsenter", f"--net={netns.RUN_DIR}/{t.space(key)}", "ethtool", "-K", "tun4", "tx", "off"])
    t.note_devices()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    box = server.socket(kind=socket.SOCK_DGRAM)
    box.bind(("10.44.0.2", 0))
    t.up()
    t.add(me)
    end = box.getsockname()
    for connected in (True, False):
        socks = [(who, who.socket(kind=socket.SOCK_DGRAM)) for who in (me, other)]
        for _ in range(3):
            for who, sock in socks:
                if connected:
                    sock.connect(end)
                sock.sendmsg([b"mine" if who is me else b"not mine"], [], 0, None if connected else end)
                _, sender = box.recvfrom(100)
                box.sendto(b"answer", sender)
                sock.recv(100)
    t.owns(me, lambda p: p.outgoing and p.frame.endswith(b"mine") and not p.frame.endswith(b"not mine"))
    t.check()


@case()
def source_routed(t):
    """A packet with a source route names its first hop as destination (RFC 791 3.1). That is no translation: answers come
    from the far end."""
    t.pair()
    beyond, name = "10.11.0.7", t.space("s")
    netns.ip(name, f"addr add {beyond}/24 dev eth0")
    netns.ip(t.space("c"), f"neigh replace {beyond} lladdr {netns.S_MAC} dev eth0 nud permanent")
    for dev in ("all", "eth0"):
        netns.sysctl(name, f"net/ipv4/conf/{dev}/accept_source_route", 1)
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    box = server.socket(kind=socket.SOCK_DGRAM)
    box.bind((beyond, 0))
    end = box.getsockname()
    t.up()
    t.add(me)
    route = bytes([1, 131, 7, 4]) + socket.inet_aton(netns.S4)
    for who in (me, other):
        sock = who.socket(kind=socket.SOCK_DGRAM)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, route)
        sock.connect(end)
        for _ in range(3):
            sock.send(b"question")
            _, sender = box.recvfrom(100)
            box.sendto(b"answer", sender)
            sock.recv(100)
        if who is me:
            t.owns(me, flow(UDP, sender, end))
            t.owns(me, flow(UDP, sender, (netns.S4, end[1])))
    t.check()
