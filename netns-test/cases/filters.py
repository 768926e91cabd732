# SPDX-License-Identifier: GPL-2.0-only
"""Capture filters (--filter): of the packets of a target just those are copied that tcpdump -r takes of the same frames. The
judge is the program, not this file; strangers talk beside."""

import os
import socket
import struct
import subprocess

from cases.crash import begin, kill_at, nothing_left, state, steps
from cases.limits import cast, on_wire, some, verdict
from lib import netns, tun
from lib.mirrorctl import OK, USAGE
from lib.packet import ICMP, ICMP6, UDP, echo, flow
from lib.registry import case, expect, expect_equal
from lib.traffic import FAMILY, LOOP, Datagrams, Listener, Stream

ETHERNET, RAW = 1, 101      # link types of a capture file

LAYERS = ("udp", "tcp", "icmp or icmp6", "ip6", "ether dst 02:00:00:00:00:01", "tcp[tcpflags] & tcp-syn != 0", "greater 1000",
          "udp and less 200", "not tcp", "ip[6:2] & 0x1fff != 0 or ip6 proto 44", "udp[8:4] = 0x4c4c4c4c", "")


def judged(t, expr, packets, link=ETHERNET):
    """The packets that tcpdump takes out of a file of them. Each bears its number as its time."""
    source, found = t.path("judge.pcap"), t.path("judged.pcap")
    with open(source, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, link))
        for number, packet in enumerate(packets):
            file.write(struct.pack("<IIII", number, 0, len(packet.frame), len(packet.frame)) + packet.frame)
    subprocess.run(["tcpdump", "-n", "-r", source, "-w", found, expr], check=True, capture_output=True)
    with open(found, "rb") as file:
        data = file.read()
    taken, at = [], 24
    while at < len(data):
        number, _, length, _ = struct.unpack_from("<IIII", data, at)
        taken.append(packets[number])
        at += 16 + length
    return taken


class Talk:
    """A target and a stranger talk TCP, UDP, datagrams in pieces and ping to a server."""

    def __init__(self, t, version):
        self.t, self.version = t, version
        self.server, self.me, self.other = t.actor("s"), t.actor("c"), t.actor("c")
        self.listener, self.service = Listener(self.server, version), Datagrams(self.server, version)
        self.socks = [Datagrams(actor, version) for actor in (self.me, self.other)]
        self.pings = [self.ping_socket(actor) for actor in (self.me, self.other)]
        self.keys = [flow(UDP, self.socks[0].end, self.service.end)]

    def ping_socket(self, actor):
        """An unprivileged ping socket."""
        sock = actor.socket(FAMILY[self.version], socket.SOCK_DGRAM, ICMP if self.version == 4 else ICMP6)
        sock.bind((netns.C4 if self.version == 4 else netns.C6, 0))
        return sock

    def round(self):
        """One of each."""
        for who, sock, ping in zip((self.me, self.other), self.socks, self.pings):
            for data in (b"short", b"L" * 900, b"L" * 4000):
                sock.to(self.service, data)
                self.service.to(sock, data)
            stream = Stream(who, self.listener)
            stream.talk(300, 5000)
            stream.close()
            far = netns.S4 if self.version == 4 else netns.S6
            ping.sendto(struct.pack("!BBHHH", 8 if self.version == 4 else 128, 0, 0, 0, 1) + b"ping" * 9, (far, 0))
            ping.recv(1000)
            if who is self.me:
                self.keys.append(stream.key)
                near = netns.C4 if self.version == 4 else netns.C6
                self.keys.append(echo(ICMP if self.version == 4 else ICMP6, near, far, ping.getsockname()[1]))
        self.t.settle()


def layers(t, version):
    """Every layer's filter in turn, each for a round of talk."""
    t.pair()
    t.need_ipv6()
    for key in "cs":
        netns.sysctl(t.space(key), "net/ipv4/ping_group_range", "0 2147483647")
    talk = Talk(t, version)
    t.up("--filter", LAYERS[0])
    t.add(talk.me)
    begin, mine, copied = 0, [], []
    for expr in LAYERS:
        t.mirrorctl("up", "eth0", "--filter", expr)
        expect_equal([row["expr"] for row in t.get("status")["filters"]], [expr] if expr else [], "filters in status")
        talk.round()
        wire = t.wires["eth0"].drain()
        packets = [p for p in wire[begin:] if p.key in talk.keys]
        begin = len(wire)
        mine += packets
        copied += judged(t, expr, packets)
    expect(len(mine) // 4 < len(copied) < len(mine), f"{len(copied)} of {len(mine)} packets pass the filters")
    verdict(t, mine, copied, filtered=len(mine) - len(copied))


@case(disable=("", "tcx"), timeout=90)
def layers_ipv4(t):
    """Ethernet, IP, fragments, UDP, TCP flags, ICMP, lengths and payload, one filter after the other."""
    layers(t, 4)


@case(timeout=90)
def layers_ipv6(t):
    """The same over IPv6: extension headers of fragments among them."""
    layers(t, 6)


@case()
def of_a_selection(t):
    """Two targets with filters of their own, one with the instance's, one without any; each goes by its own."""
    t.pair()
    server = t.actor("s")
    service, dns = Datagrams(server), Datagrams(server, port=53)
    actors = [t.actor("c") for _ in range(5)]
    socks = [Datagrams(actor) for actor in actors]
    rules = [f"port {dns.port}", "udp[8:2] = 0x6461", "src host 10.9.9.9 or greater 500", ""]
    t.up("--filter", "greater 300")
    t.arm()
    for actor, rule in zip(actors, rules):
        t.add(actor, options=("--filter", rule))
    t.add(actors[3], options=("--filter", "", "--count", 1000))
    t.add(actors[4], options=("--direction", "both"))
    for sock in socks:
        for data in (b"datagram", b"other", b"x" * 400, b"y" * 800):
            for far in (service, dns):
                sock.to(far, data)
                far.to(sock, data)
    t.settle()
    mine, copied = [], []
    for sock, rule in zip(socks, [*rules, "greater 300"]):
        packets = [p for p in t.wires["eth0"].drain() if p.key in (flow(UDP, sock.end, service.end), flow(UDP, sock.end, dns.end))]
        expect_equal(len(packets), 16, "packets of one target")
        mine += packets
        copied += judged(t, rule, packets)
    verdict(t, mine, copied, filtered=len(mine) - len(copied))
    shown = [(row["number"], row["expr"], row["headerless"]) for row in t.get("status")["filters"]]
    expect_equal(shown, [(0, "greater 300", True), (1, rules[0], True), (2, rules[1], True), (3, rules[2], True),
                         (4, "greater 300", True)], "filters in status: number 4 came free when its target was given another")


@case()
def with_limits(t):
    """A filter comes before what uses something up: refused packets take nothing from --count."""
    me, service, mine, theirs = cast(t)
    t.up(stock=False)
    t.add(me, options=("--filter", "udp[8:4] = 0x776f7264", "--count", 5))
    for number in range(9):
        for sock in (mine, theirs):
            sock.to(service, b"word" if number % 2 == 0 else b"noise")
            service.to(sock, b"word!")
    packets = on_wire(t, flow(UDP, mine.end, service.end))
    words = judged(t, "udp[8:4] = 0x776f7264", packets)
    expect_equal((len(packets), len(words)), (18, 14), "packets and words")
    verdict(t, packets, words[:5], filtered=4, count=9)


@case(timeout=150)
def changed_under_traffic(t):
    """The instance's filter is changed thirty times while packets pass that every one of them takes: all are copied."""
    t.space("c")
    me, other, server = t.actor("c"), t.actor("c"), t.actor("c")
    mine, theirs = Datagrams(me, where=LOOP), Datagrams(other, where=LOOP)
    service = Datagrams(server, where=LOOP)
    t.up("--filter", "udp", sources=("lo",), stock=False)
    t.add(me)
    for actor, sock in ((me, mine), (other, theirs)):
        actor.do("import threading\nstop = threading.Event()\nsent = 0\n"
                 "def pour():\n    global sent\n    while not stop.is_set():\n"
                 f"        obj[{sock.sock.key}].sendto(b'%d' % sent, socket.MSG_DONTWAIT, {service.end!r})\n        sent += 1\n"
                 "pourer = threading.Thread(target=pour)\npourer.start()")
    for number in range(30):
        t.mirrorctl("up", "lo", "--filter", ("udp", "ip and not tcp", f"udp port {service.port} and greater 1")[number % 3])
    for actor in (me, other):
        actor.do("stop.set(); pourer.join()")
    packets = on_wire(t, flow(UDP, mine.end, service.end), dev="lo")
    expect_equal(len(packets), me.eval("sent"), "packets of the target on the wire")
    expect(len(packets) > 1000, f"only {len(packets)} packets passed meanwhile")
    verdict(t, packets, packets)


def tagged(sock, service, mac, data):
    """An Ethernet frame with tag 7 that holds a datagram from one UDP end to another."""
    total = 28 + len(data)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, total, 1, 0, 64, UDP, 0, socket.inet_aton(sock[0]), socket.inet_aton(service[0]))
    words = sum(struct.unpack("!10H", ip))
    words = (words & 0xFFFF) + (words >> 16)
    ip = ip[:10] + struct.pack("!H", ~(words + (words >> 16)) & 0xFFFF) + ip[12:]
    return (bytes.fromhex(mac.replace(":", "")) + bytes.fromhex("020000000009") + struct.pack("!HHH", 0x8100, 7, 0x0800) + ip
            + struct.pack("!HHHH", sock[1], service[1], 8 + len(data), 0) + data)


VLAN_RULES = ("vlan 7 and udp", "udp", "vlan 8", "ether[12:4] = 0x81000007", "len = 54", "vlan and ip[8] = 64",
              "ether[14:2] & 0xfff = 7 and ether[16:2] = 0x800", "not vlan", "vlan and udp[8:4] = 0x636f6d65")


@case()
def tag_beside_the_packet(t):
    """Frames with a tag that come in: the kernel has taken the tag off and keeps it beside the packet, and a filter sees it
    where it was. Packets of a target by its socket, though no VLAN device is there to take them."""
    me, service, mine, theirs = cast(t)
    t.up("--filter", VLAN_RULES[0])
    t.add(me)
    sender = t.actor("s")
    sender.do("raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\nraw.bind(('eth0', 0))")
    begin, packets, copied = 0, [], []
    for expr in VLAN_RULES:
        t.mirrorctl("up", "eth0", "--filter", expr)
        for sock in (mine, theirs):
            for data in (b"come", b"come in"):
                sender.do(f"raw.send({tagged(service.end, sock.end, netns.C_MAC, data)!r})")
            sock.to(service)
            service.to(sock)
        wire = t.wires["eth0"].drain()
        some_more = [p for p in wire[begin:] if p.key == flow(UDP, mine.end, service.end)]
        expect_equal([p.vlans for p in some_more], [[7], [7], [], []], "tags on the wire")
        begin = len(wire)
        packets += some_more
        copied += judged(t, expr, some_more)
    verdict(t, packets, copied, filtered=len(packets) - len(copied))


@case()
def without_ethernet_header(t):
    """On a tun an expression speaks of packets that begin with their IP header; one that cannot refuses them all."""
    t.need(os.path.exists("/dev/net/tun"), "this kernel has no tun")
    t.pair()
    tun.join(t)
    t.up(sources=("tun0",), capture=False)
    t.watch("tun0", ethernet=False)
    t.monitor = None
    t.capture(())
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    service, mine, theirs = (actor.socket(socket.AF_INET, socket.SOCK_DGRAM) for actor in (server, me, other))
    service.bind((tun.FAR4, 0))
    for sock in (mine, theirs):
        sock.bind((tun.HERE4, 0))
    t.add(me)
    begin, packets, copied = 0, 0, []
    for expr, possible in (("udp", True), ("ip[28:4] = 0x776f7264", True), ("len > 100", True), ("not vlan", False),
                           (f"dst host {tun.FAR4}", True)):
        t.mirrorctl("up", "tun0", "--filter", expr)
        expect_equal([row["headerless"] for row in t.get("status")["filters"]], [possible], f"'{expr}' without Ethernet header")
        for sock in (mine, theirs):
            for data in (b"word", b"other", b"w" * 200):
                sock.sendto(data, service.getsockname())
                service.recv(1000)
                service.sendto(data, sock.getsockname())
                sock.recv(1000)
        wire = t.wires["tun0"].drain()
        new = [p for p in wire[begin:] if p.key == flow(UDP, mine.getsockname(), service.getsockname())]
        begin = len(wire)
        packets += len(new)
        copied += judged(t, expr, new, RAW) if possible else []
    t.settle()
    expect_equal(packets, 30, "packets of the target")
    expect_equal([p.frame[14:] for p in t.monitor.frames()], [p.frame for p in copied], "frames on mon0")
    stats = t.get("stats")
    expect_equal((stats["matched"], stats["mirrored"], stats["filtered"]), (30, len(copied), 30 - len(copied)), "counters")


@case()
def from_the_file(t):
    """A filter in the configuration file, checked beforehand with its line; an empty one on the command line takes it away."""
    me, service, mine, theirs = cast(t)
    conf = t.path("filter.conf")
    with open(conf, "w", encoding="ascii") as file:
        file.write("# what is wanted\nfilter = \"udp and greater 100 and not (tcp\"\n")
    answer = t.mirrorctl("check", conf, status=USAGE)
    expect(f"{conf}:2:" in answer.err and "syntax error" in answer.err, f"the place and libpcap's words: {answer}")
    with open(conf, "w", encoding="ascii") as file:
        file.write("filter = \"udp and greater 100\"\nsources = { eth0 }\n")
    t.mirrorctl("check", conf, status=OK)
    t.mirrorctl("up", "--config", conf)
    t.capture(stock=False)
    t.add(me)
    begin, packets, copied = 0, [], []
    for words, expr in (((), "udp and greater 100"), (("--filter", ""), ""), (("--filter", "tcp"), "tcp")):
        t.mirrorctl("up", "--config", conf, *words)
        some(service, mine, theirs)
        mine.to(service, b"more" * 50)
        wire = t.wires["eth0"].drain()
        new = [p for p in wire[begin:] if p.key == flow(UDP, mine.end, service.end)]
        begin = len(wire)
        packets += new
        copied += judged(t, expr, new)
    verdict(t, packets, copied, filtered=len(packets) - len(copied))


@case()
def of_a_run(t):
    """`run` with a filter: from its first packet on."""
    t.pair()
    service = Datagrams(t.actor("s"))
    t.up(stock=False)
    program = ("import socket; s = socket.socket(type=socket.SOCK_DGRAM)\n"
               f"for i in range(9): s.sendto(b'%d' % i, {service.end!r})")
    t.arm()
    t.mirrorctl("run", "--filter", "udp[8] = 0x33 or udp[8] = 0x35", "--", "python3", "-c", program)
    packets = [p for p in t.wires["eth0"].drain() if p.key and p.key[0] == UDP]
    expect_equal(len(packets), 9, "packets sent")
    verdict(t, packets, [packets[3], packets[5]], filtered=7)


@case()
def too_long_for_the_kernel(t):
    """An expression as long as it may be does its work; a filter that is refused leaves the one before in force."""
    me, service, mine, theirs = cast(t)
    hosts = " or ".join(f"host 10.{number // 200}.{number % 200}.7" for number in range(200))
    t.up("--filter", f"{hosts} or udp port {service.port}", stock=False)
    t.add(me)
    some(service, mine, theirs)
    t.mirrorctl("up", "eth0", "--filter", "udp port (", status=USAGE)
    some(service, mine, theirs)
    t.mirrorctl("up", "eth0", "--filter", hosts)
    some(service, mine, theirs)
    packets = on_wire(t, flow(UDP, mine.end, service.end))
    verdict(t, packets, packets[:12], filtered=6)


@case(timeout=180)
def killed_over_a_change(t):
    """kill -9 at every step of an `up` that changes the filter: what both take is mirrored, and the same command again makes
    it whole."""
    begin(t)
    one, other = ("up", "lo", "--filter", "udp"), ("up", "lo", "--filter", "udp and greater 600")
    t.mirrorctl(*one)
    me = t.actor("c")
    t.mirrorctl("add-pid", me.pid)
    me.do("a, b = (socket.socket(type=socket.SOCK_DGRAM) for _ in 'ab'); b.bind(('127.0.0.1', 0))")

    def send(size, field, when):
        before = t.get("stats")[field]
        me.do(f"a.sendto(b'x' * {size}, b.getsockname())")
        expect_equal(t.get("stats")[field] - before, 1, f"{field} of a datagram of {size} bytes {when}")

    for step in steps(t, *other):
        t.mirrorctl(*one)
        send(100, "mirrored", f"before a kill at {step}")
        kill_at(t, step, *other)
        expect_equal(state(t, step), "up", f"state after a kill at {step}")
        send(700, "mirrored", f"after a kill at {step}")
        t.mirrorctl(*other)
        send(100, "filtered", f"after a kill at {step} and the same command again")
        send(700, "mirrored", f"after a kill at {step} and the same command again")
        expect_equal([row["expr"] for row in t.get("status")["filters"]], [other[-1]], "filters in status")
    t.mirrorctl("down")
    nothing_left(t, "the last step")
