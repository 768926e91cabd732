# SPDX-License-Identifier: GPL-2.0-only
"""ping: the real programs and a Python one, raw and datagram sockets, two at once, fragments."""

import os
import socket

from lib import netns
from lib.packet import ICMP, ICMP6, echo
from lib.registry import case, expect
from lib.traffic import ADDRESS, FAMILY, echo_marked, echo_request

MINE, FOREIGN = 4660, 4661


def ping(t, version, size=56, dgram=False, count=3, ident=(MINE, FOREIGN)):
    """Two real pings of one host at once; the one that was started by `run` is the target."""
    t.pair()
    if dgram:
        netns.sysctl(t.space("c"), "net/ipv4/ping_group_range", "0 2147483647")
    t.up()
    t.arm()
    host = ADDRESS["s", version]
    words = ["ping", f"-{version}", "-c", str(count), "-i", "0.05", "-s", str(size)]
    foreign = t.popen("c", *words, "-e", str(ident[1]), host)
    answer = t.mirrorctl("run", "--", *words, "-e", str(ident[0]), host)
    expect(f"{count} received" in answer.out, f"the selected ping got its answers: {answer}")
    out, _ = foreign.communicate()
    expect(f"{count} received" in out, f"the foreign ping got its answers: {out}")
    rows = t.get("list")["targets"]
    expect(len(rows) == 1 and rows[0]["comm"] == "ping", f"one target called ping: {rows}")
    t.owns(rows[0]["pid"], echo(ICMP if version == 4 else ICMP6, ADDRESS["c", version], host, ident[0]))
    t.check()


@case(disable=("", "tcx"))
def ping_raw(t):
    """ping (SOCK_RAW) beside another ping of the same host."""
    ping(t, 4)


@case()
def ping_raw_ipv6(t):
    """ping -6 (SOCK_RAW) beside another."""
    t.need_ipv6()
    ping(t, 6)


@case(disable=("", "tcx"))
def ping_dgram(t):
    """ping with a datagram socket (ping_group_range) beside another."""
    ping(t, 4, dgram=True)


@case()
def ping_dgram_ipv6(t):
    """ping -6 with a datagram socket beside another."""
    t.need_ipv6()
    ping(t, 6, dgram=True)


@case()
def ping_fragmented(t):
    """A ping too large for one frame: every fragment of requests and replies."""
    ping(t, 4, size=5000)
    expect(t.get("stats")["reasons"]["fragment"] >= 3 * 3, "three later fragments of each reply follow the first")


@case()
def ping_fragmented_ipv6(t):
    """The same over IPv6."""
    t.need_ipv6()
    ping(t, 6, size=5000)


@case()
def ping_existing(t):
    """A ping that was already running when it was added."""
    t.pair()
    t.up()
    foreign = t.popen("c", "ping", "-c", "40", "-i", "0.02", "-e", str(FOREIGN), netns.S4)
    mine = t.popen("c", "stdbuf", "-oL", "ping", "-c", "400", "-i", "0.02", "-e", str(MINE), netns.S4)
    key = echo(ICMP, netns.C4, netns.S4, MINE)
    for line in mine.stdout:
        if "icmp_seq=3" in line:
            break
    before = len(t.wires["eth0"].drain())
    t.mirrorctl("add-pid", mine.pid)
    after = len(t.wires["eth0"].drain())
    for line in mine.stdout:
        if "icmp_seq=60" in line:
            break
    mine.terminate()
    mine.communicate()
    foreign.communicate()
    got = [p.frame for p in t.monitor.frames()]
    wire = t.wires["eth0"].drain()
    late = [p.frame for p in wire[after:] if p.key == key]
    missed = [f for f in late if f not in got]
    # The reply to a request from before add-pid cannot be told: at most one is under way at a time here.
    expect(len(missed) <= 1, f"{len(missed)} of {len(late)} packets after add-pid are missing")
    mine_all = {p.frame for p in wire[before:] if p.key == key}
    expect(all(frame in mine_all for frame in got), "a foreign packet is on mon0")
    expect(len(set(got)) == len(got), "a packet is on mon0 twice")


def python_ping(t, version):
    """A Python program's ICMP datagram socket, unconnected and connected, existing and new."""
    t.pair()
    netns.sysctl(t.space("c"), "net/ipv4/ping_group_range", "0 2147483647")
    family, proto = ((socket.AF_INET, socket.IPPROTO_ICMP), (socket.AF_INET6, socket.IPPROTO_ICMPV6))[version == 6]
    me, other = t.actor("c"), t.actor("c")
    old = [who.socket(family, socket.SOCK_DGRAM, proto) for who in (me, other)]
    t.up()
    t.add(me)
    new = [who.socket(family, socket.SOCK_DGRAM, proto) for who in (me, other)]
    new[0].connect((ADDRESS["s", version], 0))
    new[1].connect((ADDRESS["s", version], 0))
    for seq in range(3):
        for sock in [*old, *new]:
            sock.sendto(echo_request(0, seq, version=version), (ADDRESS["s", version], 0))
            sock.recv(1000)
    for sock in (old[0], new[0]):
        t.owns(me, echo(ICMP if version == 4 else ICMP6, ADDRESS["c", version], ADDRESS["s", version],
                        sock.getsockname()[1]))
    t.check()


@case(disable=("", "iter"))
def python_dgram(t):
    """ICMP datagram sockets of a Python program."""
    python_ping(t, 4)


@case()
def python_dgram_ipv6(t):
    """ICMPv6 datagram sockets of a Python program."""
    t.need_ipv6()
    python_ping(t, 6)


@case()
def pinged(t):
    """Echo replies our own kernel sends are nobody's, also when a target pings the same host."""
    t.pair()
    t.up()
    t.arm()
    peer = t.popen("s", "ping", "-c", "3", "-i", "0.05", "-e", str(MINE), netns.C4)
    answer = t.mirrorctl("run", "--", "ping", "-c", "3", "-i", "0.05", "-e", str(FOREIGN), netns.S4)
    peer.communicate()
    expect("3 received" in answer.out, f"the selected ping got its answers: {answer}")
    pid = t.get("list")["targets"][0]["pid"]
    t.owns(pid, echo(ICMP, netns.C4, netns.S4, FOREIGN))
    t.check()


def taken_over(t, version):
    """A stranger pings with identifiers that the target has used: with one whose socket is closed, and with one whose
    socket is open and so gets the stranger's replies, too."""
    t.pair()
    me, other = t.actor("c"), t.actor("c")
    proto = (socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6)[version == 6]
    kind, host = (ICMP, ICMP6)[version == 6], (ADDRESS["s", version], 0)
    t.up()
    t.add(me)
    closed, still_open, foreign = (who.socket(FAMILY[version], socket.SOCK_RAW, proto) for who in (me, me, other))

    def ask(sock, ident, mark):
        for seq in range(3):
            sock.sendto(echo_marked(ident, seq, mark, version), host)
            while not sock.recv(1000).endswith(mark):
                pass

    ask(closed, MINE, b"target's")
    ask(still_open, FOREIGN, b"target's")
    closed.close()
    ask(foreign, MINE, b"stranger's")
    ask(foreign, FOREIGN, b"stranger's")
    ask(still_open, MINE, b"target's")
    keys = [echo(kind, ADDRESS["c", version], host[0], ident) for ident in (MINE, FOREIGN)]
    t.owns(me, lambda p: p.key in keys and p.payload.endswith(b"target's"))
    t.owns(me, lambda p: p.key == keys[1] and not p.outgoing)
    t.check()


@case(disable=("", "tcx"))
def identifier_taken_over(t):
    """A stranger takes an ICMP identifier over."""
    taken_over(t, 4)


@case()
def identifier_taken_over_ipv6(t):
    """A stranger takes an ICMPv6 identifier over."""
    t.need_ipv6()
    taken_over(t, 6)


@case()
def identifier_of_a_killed_process(t):
    """The target is killed; a stranger then pings with its identifier."""
    t.pair()
    me, other = t.actor("c"), t.actor("c")
    t.up()
    t.add(me)
    for who, mark in ((me, b"target's"), (other, b"stranger's")):
        sock = who.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        for seq in range(3):
            sock.sendto(echo_marked(MINE, seq, mark), (netns.S4, 0))
            sock.recv(1000)
        if who is me:
            pid = me.pid
            me.kill()
            os.waitpid(pid, 0)
    key = echo(ICMP, netns.C4, netns.S4, MINE)
    t.owns(pid, lambda p: p.key == key and p.payload.endswith(b"target's"))
    t.check()
