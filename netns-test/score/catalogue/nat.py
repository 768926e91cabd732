# SPDX-License-Identifier: GPL-2.0-only
"""Address translation on the host itself: the tuple on the wire is not the socket's."""

import socket

from lib import netns
from lib.nat import translate
from lib.packet import TCP, UDP, flow
from lib.traffic import carry
from score.moves import NAT, both, cast, listener, service
from score.registry import scenario

SERVICE = "10.99.0.1"       # an address that exists in translation rules only (a cluster's service address)


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
            t.limit(NAT, lambda p: p.key == tcp and not p.outgoing and p.flags == 2)
            t.limit(NAT, lambda p: p.key == udp and not p.outgoing and p.payload.endswith(b"0"))
        return [tcp, udp]

    both(t, me, other, act)
