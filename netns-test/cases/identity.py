# SPDX-License-Identifier: GPL-2.0-only
"""--identity: the monitor says whose its frames are. The copies stay exact, the counters stay exact, the originals too."""

import os
import socket
import time

from lib import netns, tun, wait
from lib.identity import IN, OUT, Labelled
from lib.packet import ICMP, UDP, echo, flow
from lib.registry import case, expect, expect_equal
from lib.traffic import ADDRESS, LOOP, Datagrams, Listener, Stream, carry

MINE, FOREIGN = 4660, 4661
REASON_SOCKET, REASON_LISTENER = 0, 1


def announced(t, *words, sources=("eth0",)):
    """Brings the mirror up with announcements and looks at the monitor through Labelled."""
    t.up("--identity", "announce", *words, sources=sources)
    t.monitor = Labelled(t)
    expect_equal(t.get("status")["monitor"]["identity"], "announce", "identity in status")


def verdict(t, *keys, **more):
    """The usual verdict, and: each conversation was announced before its first copy, nothing else was."""
    t.check(**more)
    expect_equal(t.monitor.unlabelled(), [], "copies that came before their announcement")
    expect_equal({a.key for a in t.monitor.announcements()}, set(keys), "announced conversations")
    expect_equal(t.get("stats")["unannounced"], 0, "announcements that failed")


def start_of(pid):
    """Start time of a process in clock ticks since boot."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return int(file.read().rpartition(")")[2].split()[19])


def check_facts(a, actor, comm="python3"):
    """An announcement tells the truth about an actor."""
    expect_equal((a.pid, a.uid), (actor.pid, 0), "process and user")
    expect(comm is None or a.comm.startswith(comm), f"command {a.comm!r}")
    hertz = os.sysconf("SC_CLK_TCK")
    expect(abs(a.start * hertz // 10**9 - start_of(actor.pid)) <= 1, f"start time {a.start}")


@case(disable=("", "tcx"))
def announce_ping(t):
    """ping beside a foreign ping: one announcement, before the first echo, that names ping, its user and its identifier."""
    t.pair()
    announced(t)
    t.arm()
    words = ["ping", "-c", "3", "-i", "0.05"]
    foreign = t.popen("c", *words, "-e", str(FOREIGN), netns.S4)
    t.mirrorctl("run", "--user", "nobody", "--", *words, "-e", str(MINE), netns.S4)
    foreign.communicate()
    pid = t.get("list")["targets"][0]["pid"]
    key = echo(ICMP, netns.C4, netns.S4, MINE)
    t.owns(pid, key)
    verdict(t, key)
    (a,) = t.monitor.announcements()
    uid = int(os.popen("id -u nobody").read())
    expect_equal((a.pid, a.comm, a.uid, a.direction, a.reason), (pid, "ping", uid, OUT, REASON_SOCKET), "facts")
    expect_equal((a.local, a.remote, a.lport), (netns.C4, netns.S4, MINE), "conversation")
    expect_equal(len(a.frame), 142, "length of an announcement")
    expect_equal(t.get("list")["targets"][0]["uid"], uid, "user in list")


def both_ways(t, version):
    """A client's TCP with large segments and UDP, and a server's TCP, over veth."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    announced(t)
    t.add(me)
    far, near = Listener(server, version), Listener(me, version)
    streams = [Stream(me, far), Stream(server, near)]
    strange = Stream(other, far)
    socks = [Datagrams(who, version) for who in (me, server, other)]
    for stream in (*streams, strange):
        stream.talk(400000, 200000)
        stream.close()
    for sock in (socks[0], socks[2]):
        sock.to(socks[1])
        socks[1].to(sock)
    keys = [stream.key for stream in streams] + [flow(UDP, socks[0].end, socks[1].end)]
    for key in keys:
        t.owns(me, key)
    verdict(t, *keys)
    for a in t.monitor.announcements():
        check_facts(a, me)
    served = next(a for a in t.monitor.announcements() if a.ends[0] == near.end)
    expect_equal((served.direction, served.reason), (IN, REASON_LISTENER), "how the served connection was announced")


@case(timeout=60)
def announce_both_ways(t):
    """TCP and UDP of a target as client and as server, IPv4; super-packets are copied exactly."""
    both_ways(t, 4)


@case(timeout=60)
def announce_ipv6(t):
    """The same over IPv6."""
    t.need_ipv6()
    both_ways(t, 6)


@case()
def announce_super_packet(t):
    """The first packet that matches is a 64 KB super-packet with a pending checksum: its announcement is a small plain
    frame."""
    t.pair()
    server, me = t.actor("s"), t.actor("c")
    stream = Stream(me, Listener(server))
    netns.sysctl(t.space("c"), "net/ipv4/tcp_slow_start_after_idle", 0)     # however long `up` takes
    stream.talk(200000, 1000)
    announced(t)
    t.add(me)
    start = t.now()
    carry(stream.client, stream.server, 16384)
    t.owns(me, stream.key, start=start)
    verdict(t, stream.key)
    copies = t.monitor.frames()
    expect(len(copies[0].frame) > 10000, f"the first copy is a super-packet: {copies[0]}")
    (a,) = t.monitor.announcements()
    expect_equal((len(a.frame), a.ends[0][1] in stream.key[1] + stream.key[2]), (142, True), "the announcement")


@case(timeout=60)
def announce_again(t):
    """While a conversation talks it is announced again every 10 s; another owner is announced at once."""
    t.pair()
    server, me = t.actor("s"), t.actor("c")
    announced(t)
    t.add(me, options=["--follow"])
    service, mine = Datagrams(server), Datagrams(me)
    child = me.fork("child")
    key = flow(UDP, mine.end, service.end)

    def talk(actor, seconds):
        """A datagram every 100 ms."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            actor.take(mine.sock).sendto(b"tick", service.end)
            service.sock.recvfrom(100)
            time.sleep(0.1)

    talk(me, 3)
    expect_equal(len(t.monitor.announcements()), 1, "announcements after 3 s")
    talk(child, 1)
    expect_equal([a.pid for a in t.monitor.announcements()], [me.pid, child.pid], "announced owners")
    talk(child, 10)
    expect_equal([a.pid for a in t.monitor.announcements()], [me.pid, child.pid, child.pid], "after 10 s more")
    t.owns(me, key)
    t.check(per_target=False)
    t.mirrorctl("up", "eth0", "--identity", "announce")
    talk(child, 0.3)
    expect_equal(len(t.monitor.announcements()), 3, "announcements after `up` was asked again")
    t.mirrorctl("up", "eth0", "--identity", "none")
    t.mirrorctl("up", "eth0")
    talk(child, 0.3)
    expect_equal(len(t.monitor.announcements()), 3, "announcements without --identity")
    t.mirrorctl("up", "eth0", "--identity", "announce")
    talk(child, 0.3)
    expect_equal(len(t.monitor.announcements()), 4, "announcements when it is on again")


@case()
def announce_loopback(t):
    """Both ends on loopback are targets: both are announced before the first copy of their conversation."""
    t.space("c")
    client, server, stranger, host = (t.actor("c", name) for name in ("client", "server", "stranger", "host"))
    client.where = server.where = stranger.where = host.where = LOOP
    listener, foreign = Listener(server), Listener(host)
    announced(t, sources=("lo",))
    t.add(client, server)
    mine, theirs = Stream(client, listener), Stream(stranger, foreign)
    for stream in (mine, theirs):
        stream.talk(500, 20000)
        stream.close()
    t.owns(client, mine.key)
    verdict(t, mine.key, per_target=False)
    facts = [(a.pid, a.ends) for a in t.monitor.announcements()]
    here, there = mine.key[1:] if mine.key[1] != listener.end else mine.key[:0:-1]
    expect_equal(sorted(facts), sorted([(client.pid, (here, there)), (server.pid, (there, here))]), "announced ends")
    raw = [packet.key for packet in t.monitor.raw()[:3]]
    expect(raw[2] == mine.key and raw[0] is None and raw[1] is None, "both announcements precede the first copy")


@case(disable=("", "tcx"))
def announce_snaplen(t):
    """Copies are cut to the snapshot length, announcements are not."""
    t.pair()
    server, me = t.actor("s"), t.actor("c")
    announced(t, "--snaplen", "64")
    t.add(me)
    stream = Stream(me, Listener(server))
    stream.talk(20000, 60000)
    stream.close()
    t.owns(me, stream.key)
    verdict(t, stream.key, snaplen=64)
    expect_equal({len(a.frame) for a in t.monitor.announcements()}, {142}, "lengths of announcements")


@case()
def announce_veth(t):
    """The same on a veth monitor; the monitor goes away and comes back, and the conversation is announced anew."""
    t.pair()
    server, me = t.actor("s"), t.actor("c")
    t.up("--identity", "announce", "--monitor-type", "veth", stock=False)
    tap = t.monitor
    t.monitor = Labelled(t)
    t.add(me)
    service, mine = Datagrams(server), Datagrams(me)
    mine.to(service)
    wait.until(lambda: len(tap.frames()) == 2, "announcement and copy")
    netns.ip(t.space("c"), "link delete mon0")
    mine.to(service)
    expect_equal(t.get("stats")["failures"]["no_monitor"], 1, "packets without a copy")
    t.mirrorctl("up", "eth0", "--identity", "announce", "--monitor-type", "veth")
    tap.again("mon0")
    mine.to(service)
    wait.until(lambda: len(tap.frames()) == 4, "announcement and copy on the new monitor")
    expect_equal([a.pid for a in t.monitor.announcements()], [me.pid] * 2, "announced processes")
    stats = t.get("stats")
    expect_equal((stats["matched"], stats["mirrored"], stats["failed"], stats["announced"]), (3, 2, 1, 2), "counters")


@case()
def announce_tun(t):
    """A source without Ethernet header: announcements pass the relay."""
    t.need(os.path.exists("/dev/net/tun"), "this kernel has no tun")
    t.pair()
    tun.join(t)
    t.up("--identity", "announce", sources=("tun0",), capture=False)
    t.watch("tun0", ethernet=False)
    t.capture(sources=())
    t.monitor = Labelled(t)
    server, me = t.actor("s"), t.actor("c")
    t.add(me)
    one = me.socket(socket.AF_INET, socket.SOCK_DGRAM)
    two = server.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind((tun.HERE4, 0))
    two.bind((tun.FAR4, 0))
    for _ in range(3):
        one.sendto(b"through the tunnel", two.getsockname())
        two.recvfrom(100)
    key = flow(UDP, one.getsockname(), two.getsockname())
    t.owns(me, key)
    verdict(t, key, strip=14, seen=False, per_target=False)


@case()
def announce_icmp_error(t):
    """An ICMP error about a target's datagram belongs to the conversation it quotes; nothing else is announced."""
    t.pair()
    me = t.actor("c")
    announced(t)
    t.add(me)
    mine = Datagrams(me)
    mine.sock.sendto(b"nobody listens", (ADDRESS["s", 4], 9))
    wait.until(lambda: t.get("stats")["reasons"]["icmp_error"] == 1, "the error")
    key = flow(UDP, mine.end, (ADDRESS["s", 4], 9))
    t.owns(me, key)
    verdict(t, key)


@case()
def announce_fragments(t):
    """A datagram in pieces is announced once, by its first fragment."""
    t.pair()
    server, me = t.actor("s"), t.actor("c")
    announced(t)
    t.add(me)
    service, mine = Datagrams(server), Datagrams(me)
    mine.to(service, b"f" * 5000)
    service.to(mine, b"f" * 5000)
    key = flow(UDP, mine.end, service.end)
    t.owns(me, key)
    verdict(t, key)


def gaps(trailers):
    """Sequence numbers of each processor that are missing between its first and last."""
    missing = []
    for cpu in {trailer.cpu for trailer in trailers}:
        seen = [trailer.seq for trailer in trailers if trailer.cpu == cpu]
        missing += [number for number in range(seen[0], seen[-1]) if number not in seen] + (seen != sorted(seen)) * [cpu]
    return missing


@case(timeout=60, disable=("", "tcx"))
def trailer(t):
    """Every copy carries its process; packets before the trailers are exact; what is too long is counted and announced."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    t.up("--identity", "trailer")
    t.monitor = Labelled(t)
    t.add(me)
    listener = Listener(server)
    stream, strange = Stream(me, listener), Stream(other, listener)
    stream.talk(4000, 10000)
    strange.talk(4000, 10000)
    service, mine = Datagrams(server), Datagrams(me)
    mine.to(service)
    service.to(mine)
    keys = [stream.key, flow(UDP, mine.end, service.end)]
    for key in keys:
        t.owns(me, key)
    t.check()
    trailers = t.monitor.trailers()
    expect(all(x.there for x in trailers), "every copy has a trailer")
    expect_equal({(x.pid, x.uid, x.flags) for x in trailers}, {(me.pid, 0, 0)}, "facts")
    expect_equal([x.length for x in trailers], [len(x.packet) for x in trailers], "original lengths")
    expect_equal([x.sent for x in trailers], [int(p.src == netns.C4) for p in t.monitor.frames()], "directions")
    expect_equal(gaps(trailers), [], "sequence numbers")
    stats = t.get("stats")
    expect_equal((stats["trailed"], stats["untrailed"], stats["announced"]), (len(trailers), 0, 0), "counters")
    stream.talk(400000, 1000)
    t.check()
    stats = t.get("stats")
    expect(stats["untrailed"] > 0, "some copies are too long for a trailer")
    expect_equal(stats["trailed"] + stats["untrailed"], stats["mirrored"], "copies with and without trailer")
    expect_equal(t.monitor.announcements()[0].key, stream.key, "the conversation of the long ones is announced")
    expect_equal(gaps([x for x in t.monitor.trailers() if x.there]), [], "sequence numbers beside untrailed copies")
    for one in (stream, strange):
        one.close()


@case()
def trailer_snaplen(t):
    """The trailer stands behind the cut and knows the length before it."""
    t.pair()
    server, me = t.actor("s"), t.actor("c")
    t.up("--identity", "trailer", "--snaplen", "64", "--monitor-type", "veth")
    t.monitor = Labelled(t)
    t.add(me)
    service, mine = Datagrams(server), Datagrams(me)
    mine.to(service, b"x" * 1000)
    service.to(mine, b"x")
    stream = Stream(me, Listener(server))
    stream.talk(100000, 100000)
    stream.close()
    t.owns(me, flow(UDP, mine.end, service.end))
    t.owns(me, stream.key)
    t.check(snaplen=64)
    trailers = t.monitor.trailers()
    expect_equal([(x.length, x.flags) for x in trailers[:2]], [(1042, 1), (43, 0)], "lengths before the cut")
    expect(all(x.there for x in trailers) and max(x.length for x in trailers) > 5000, "large segments, too")
