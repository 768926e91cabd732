# SPDX-License-Identifier: GPL-2.0-only
"""Address translation on the host itself: the tuple on the wire is not the socket's."""

import socket

from lib import netns
from lib.nat import translate
from lib.packet import TCP, UDP, flow
from lib.registry import expect
from lib.traffic import carry
from score.moves import NAT, TPROXY, both, cast, listener, service
from score.registry import scenario

SERVICE = "10.99.0.1"       # an address that exists in translation rules only (a cluster's service address)
IP_TRANSPARENT = 19         # linux/in.h


def talk(t, who, server, door, far, address, ports):
    """TCP and UDP of a client towards `address`; returns the keys on the wire, given the far ends and the local ports."""
    sock, udp = who.socket(), who.socket(kind=socket.SOCK_DGRAM)
    sock.bind(("0.0.0.0", ports[0]))
    udp.bind(("0.0.0.0", ports[0]))
    sock.connect((address, door.port))
    served = door.accept()
    for _ in range(3):
        carry(sock, served, 200)
        carry(served, sock, 3000)
    udp.connect((address, far.port))
    for _ in range(3):
        udp.send(b"question")
        _, sender = far.sock.recvfrom(100)
        far.sock.sendto(b"answer", sender)
        udp.recv(100)
    sock.close()
    served.close()
    udp.close()
    return [flow(TCP, (netns.C4, ports[1]), door.end), flow(UDP, (netns.C4, ports[1]), far.end)]


@scenario()
def destination_changed(t):
    """Clients connect to a service address that OUTPUT rules turn into the far end's: answers come from another address
    than the socket's peer."""
    server, me, other = cast(t)
    translate(t, f"-A OUTPUT -d {SERVICE} -j DNAT --to-destination {netns.S4}")
    netns.ip(t.space("c"), f"route add {SERVICE} dev eth0", f"neigh replace {SERVICE} lladdr {netns.S_MAC} dev eth0 nud permanent")
    door, far = listener(server), service(server)
    t.select(me, best=f"port {door.port} or port {far.port}")
    ports = {me: (9301, 9301), other: (9302, 9302)}
    both(t, me, other, lambda who: talk(t, who, server, door, far, SERVICE, ports[who]))


@scenario()
def source_port_changed(t):
    """POSTROUTING rules give the clients other source ports than their sockets have; the target's socket port is the
    stranger's port on the wire and the other way round."""
    server, me, other = cast(t)
    translate(t, *(f"-A POSTROUTING -p {proto} --sport {one} -j SNAT --to-source {netns.C4}:{two}"
               for proto in ("tcp", "udp") for one, two in ((9301, 9302), (9302, 9301))))
    door, far = listener(server), service(server)
    t.select(me, best=f"port {door.port} or port {far.port}")
    ports = {me: (9301, 9302), other: (9302, 9301)}
    both(t, me, other, lambda who: talk(t, who, server, door, far, netns.S4, ports[who]))


def first_ones(t, name, tcp, udp):
    """Of the target's two conversations the SYN and question 0 fall under a limit."""
    t.limit(name, lambda p: p.key == tcp and not p.outgoing and p.flags == 2)
    t.limit(name, lambda p: p.key == udp and not p.outgoing and p.payload.endswith(b"0"))


@scenario()
def redirected_server(t):
    """PREROUTING rules redirect port 80 to the target's 8080 and port 81 to a stranger's 8081: whose the first packet of a
    conversation is, is not known before the target has answered."""
    server, me, other = cast(t)
    translate(t, *(f"-A PREROUTING -p {proto} --dport {one} -j REDIRECT --to-ports {two}"
               for proto in ("tcp", "udp") for one, two in ((80, 8080), (81, 8081))))
    doors = {me: listener(me, port=8080), other: listener(other, port=8081)}
    boxes = {me: service(me, port=8080), other: service(other, port=8081)}
    t.select(me, best="port 80")
    front = {me: 80, other: 81}

    def act(who):
        dial, asker = server.socket(), service(server)
        dial.connect((netns.C4, front[who]))
        served = doors[who].accept()
        for _ in range(3):
            carry(dial, served, 200)
            carry(served, dial, 3000)
        for number in range(3):
            asker.sock.sendto(b"question %d" % number, (netns.C4, front[who]))
            _, sender = boxes[who].sock.recvfrom(100)
            boxes[who].sock.sendto(b"answer", sender)
            asker.sock.recv(100)
        tcp, udp = flow(TCP, dial.getsockname(), (netns.C4, front[who])), flow(UDP, asker.end, (netns.C4, front[who]))
        dial.close()
        served.close()
        if who is me:
            first_ones(t, NAT, tcp, udp)
        return [tcp, udp]

    both(t, me, other, act)


def transparent(who, kind, address, port):
    """A socket that may have an address of somebody else's."""
    sock = who.socket(kind=kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
    sock.bind((address, port))
    return sock


def proxied(t):
    """A router between s and a network behind it whose TPROXY rules hand port 80 to 8080 and 81 to 8081, both of any address."""
    server, me, other = cast(t)
    name, far = t.space("c"), t.space("s")
    translate(t, *(f"-A PREROUTING -p {proto} -d {SERVICE} --dport {one} -j TPROXY --on-port {two} --tproxy-mark 1"
                   for proto in ("tcp", "udp") for one, two in ((80, 8080), (81, 8081))), table="mangle")
    netns.ip(name, "rule add fwmark 1 lookup 100", "route add local default dev lo table 100",
             "route add 10.99.0.0/24 dev lo")
    netns.sysctl(name, "net/ipv4/ip_forward", 1)
    netns.ip(far, f"route add {SERVICE} via {netns.C4}")
    return server, me, other


@scenario()
def transparent_proxy(t):
    """TPROXY rules hand connections and datagrams for a far address to sockets of another port: whose the first packets are
    is not in their headers. The target has a service of its own on the port that is handed to the stranger."""
    server, me, other = proxied(t)
    front, back = {me: 80, other: 81}, {me: 8080, other: 8081}
    doors = {who: transparent(who, socket.SOCK_STREAM, "0.0.0.0", back[who]) for who in (me, other)}
    boxes = {who: transparent(who, socket.SOCK_DGRAM, "0.0.0.0", back[who]) for who in (me, other)}
    for door in doors.values():
        door.listen(8)
    own = listener(me, port=81, wildcard=True)
    own_box = transparent(me, socket.SOCK_DGRAM, "0.0.0.0", 81)
    t.select(me, best="port 80")

    def act(who):
        there = (SERVICE, front[who])
        dial, asker = server.socket(), service(server)
        dial.connect(there)
        served, _ = doors[who].accept()
        carry(dial, served, 3000)
        carry(served, dial, 3000)
        asker.sock.sendto(b"question 0", there)
        _, sender = boxes[who].recvfrom(100)
        answerer = transparent(who, socket.SOCK_DGRAM, *there)
        answerer.sendto(b"answer", sender)
        asker.sock.recv(100)
        answerer.connect(sender)    # from here on a socket of its own stands for the conversation
        asker.sock.sendto(b"question 1", there)
        answerer.recv(100)
        answerer.send(b"answer")
        asker.sock.recv(100)
        tcp, udp = flow(TCP, dial.getsockname(), there), flow(UDP, asker.end, there)
        dial.close()
        served.close()
        if who is me:
            first_ones(t, TPROXY, tcp, udp)
        return [tcp, udp]

    both(t, me, other, act)
    dial, asker = server.socket(), service(server)
    dial.connect((netns.C4, own.port))
    served = own.accept()
    carry(dial, served, 300)
    asker.sock.sendto(b"question", (netns.C4, 81))
    expect(own_box.recv(100) == b"question", "the target's own service is asked")
    t.owns(me, flow(TCP, dial.getsockname(), (netns.C4, own.port)))
    t.owns(me, flow(UDP, asker.end, (netns.C4, 81)))


@scenario()
def transparent_client(t):
    """A proxy's outgoing side: it connects and asks from an address that is its client's, not this host's."""
    server, me, other = proxied(t)
    clients = {me: "10.99.0.1", other: "10.99.0.2"}
    netns.ip(t.space("s"), f"route add {clients[other]} via {netns.C4}")
    translate(t, "-A PREROUTING -m socket --transparent -j MARK --set-mark 1", table="mangle")
    door, far = listener(server), service(server)
    t.select(me, best=f"port {door.port} or port {far.port}")

    def act(who):
        sock = transparent(who, socket.SOCK_STREAM, clients[who], 9401)
        udp = transparent(who, socket.SOCK_DGRAM, clients[who], 9401)
        sock.connect(door.end)
        served = door.accept()
        carry(sock, served, 3000)
        carry(served, sock, 3000)
        udp.sendto(b"question", far.end)
        _, sender = far.sock.recvfrom(100)
        far.sock.sendto(b"answer", sender)
        udp.recv(100)
        sock.close()
        served.close()
        return [flow(TCP, (clients[who], 9401), door.end), flow(UDP, (clients[who], 9401), far.end)]

    both(t, me, other, act)
