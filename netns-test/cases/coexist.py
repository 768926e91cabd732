# SPDX-License-Identifier: GPL-2.0-only
"""Other people's TC programs on the same devices keep working, and the original packet is untouched for them."""

import os
import socket

from lib import bpf, leaks, netns, wait
from lib.packet import UDP, flow
from lib.registry import case, expect, expect_equal
from lib.traffic import Datagrams, Listener, Stream

STAMP = 0x5A00
DIRECTIONS = {"ingress": bpf.INGRESS, "egress": bpf.EGRESS}


def ifindex(t, dev="eth0"):
    """Interface index in namespace c."""
    return netns.ip_json(t.space("c"), "link", "show", "dev", dev)[0]["ifindex"]


def tcx(t, kind, flags=0, **how):
    """Another owner's TCX program on eth0; closed when the case ends because its process does."""
    return bpf.Stranger(**how).attach_tcx(t.space("c"), ifindex(t), kind, flags)


def traffic(t, me, other, service, rounds=5):
    """TCP and UDP of target and stranger; returns the target's keys."""
    keys = []
    listener = Listener(service.actor)
    for who in (me, other):
        sock = Datagrams(who)
        for _ in range(rounds):
            sock.to(service)
            service.to(sock)
        stream = Stream(who, listener)
        stream.talk(3000, 30000)
        stream.close()
        if who is me:
            keys = [flow(UDP, sock.end, service.end), stream.key]
    t.settle()
    return keys


def on_wire(t):
    """Packets of eth0 by direction."""
    packets = t.wires["eth0"].drain()
    outgoing = sum(p.outgoing for p in packets)
    return {"ingress": len(packets) - outgoing, "egress": outgoing}


def cast(t):
    """Namespaces, a target, a stranger and a UDP service."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    return me, other, Datagrams(server)


@case(disable=("", "tcx"))
def tcx_programs(t):
    """TCX programs attached before and after `up` see every packet, and still do after `down`."""
    t.need(bpf.has_tcx(), "this kernel has no TCX")
    me, other, service = cast(t)
    early = {name: tcx(t, kind) for name, kind in DIRECTIONS.items()}
    t.up()
    late = {name: tcx(t, kind, bpf.AFTER) for name, kind in DIRECTIONS.items()}
    first = {name: tcx(t, kind, bpf.BEFORE) for name, kind in DIRECTIONS.items()}
    t.add(me)
    for key in traffic(t, me, other, service):
        t.owns(me, key)
    t.check()
    for name, count in on_wire(t).items():
        for text, group in (("early", early), ("late", late), ("first", first)):
            expect_equal(group[name].count, count, f"packets the {text} {name} program saw")
    t.mirrorctl("down")
    before = late["egress"].count
    Datagrams(other).to(service)
    expect_equal((early["egress"].count, late["egress"].count, first["egress"].count), (before + 1,) * 3,
                 "packets after down")


@case()
def tcx_terminal_verdict(t):
    """A program that ends the chain with TCX_PASS was there first: we are attached ahead of it."""
    t.need(bpf.has_tcx(), "this kernel has no TCX")
    me, other, service = cast(t)
    group = {name: tcx(t, kind, verdict=bpf.PASS) for name, kind in DIRECTIONS.items()}
    t.up()
    t.add(me)
    for key in traffic(t, me, other, service):
        t.owns(me, key)
    t.check()
    for name, count in on_wire(t).items():
        expect_equal(group[name].count, count, f"packets the {name} program saw")


def filters(t):
    """Filters of other owners on eth0: what `tc` shows, without counters and without ours."""
    out = []
    for name in DIRECTIONS:
        text = netns.run(["tc", "-n", t.space("c"), "filter", "show", "dev", "eth0", name]).stdout
        out += [f"{name} {line}" for line in text.splitlines() if "mir_" not in line and "bpf" in line and "handle" in line]
    return out


def clsact(t, pref, tag, **how):
    """Another owner's clsact filters at one preference, both directions."""
    group = {}
    for name in DIRECTIONS:
        stranger = group[name] = bpf.Stranger(**how)
        path = f"{bpf.BPFFS}/{netns.PREFIX}{tag}-{name}"
        stranger.pin(path)
        try:
            netns.run(["nsenter", f"--net={netns.RUN_DIR}/{t.space('c')}", "tc", "filter", "add", "dev", "eth0", name,
                       "pref", str(pref), "protocol", "all", "bpf", "da", "object-pinned", path])
        finally:
            os.unlink(path)
    return group


@case(disable=("", "tcx"))
def clsact_filters(t):
    """clsact filters made before and after `up` see every packet and outlive `down` unchanged."""
    bpf.mount()
    me, other, service = cast(t)
    netns.run(["tc", "-n", t.space("c"), "qdisc", "add", "dev", "eth0", "clsact"])
    early = [clsact(t, pref, f"early{pref}") for pref in (1, 49152)]
    t.up()
    late = [clsact(t, 1, "late1"), clsact(t, 60000, "late60000")]
    t.note_devices()
    mine_and_theirs = filters(t)
    t.add(me)
    for key in traffic(t, me, other, service):
        t.owns(me, key)
    t.check()
    for name, count in on_wire(t).items():
        for group in [*early, *late]:
            expect_equal(group[name].count, count, f"packets a {name} filter saw")
    t.mirrorctl("down")
    expect_equal(filters(t), mine_and_theirs, "filters of other owners")
    expect(any("clsact" in row for row in leaks.qdiscs(t.space("c"))), "down leaves a clsact qdisc that is not ours")
    before = late[0]["egress"].count
    Datagrams(other).to(service)
    expect_equal({group["egress"].count for group in [*early, *late]}, {before + 1}, "packets after down")


@case(disable=("tcx",))
def clsact_qdisc_made_by_us(t):
    """Others add a filter to the clsact qdisc we made: `down` leaves the qdisc to them."""
    bpf.mount()
    me, other, service = cast(t)
    t.up()
    t.add(me)
    group = clsact(t, 5, "guest")
    for key in traffic(t, me, other, service, 1):
        t.owns(me, key)
    t.check()
    t.note_devices()
    t.mirrorctl("down")
    before = group["egress"].count
    Datagrams(other).to(service)
    expect_equal(group["egress"].count, before + 1, "packets after down")
    expect(any("clsact" in row for row in leaks.qdiscs(t.space("c"))), "the qdisc stays for the guest's filter")


@case(disable=("", "tcx"))
def original_untouched(t):
    """What a program ahead of ours wrote into a packet (mark, priority, tc_index, cb) a program behind ours reads,
    whether the packet was mirrored or not."""
    t.need(bpf.has_tcx(), "this kernel has no TCX")
    bpf.mount()
    me, other, service = cast(t)
    t.up()
    t.add(me)
    netns.run(["tc", "-n", t.space("c"), "qdisc", "add", "dev", "eth0", "clsact"], check=False)
    stamps = {name: tcx(t, kind, bpf.BEFORE, stamp=STAMP) for name, kind in DIRECTIONS.items()}
    probes = clsact(t, 65000, "probe")
    t.note_devices()
    mine, theirs = Datagrams(me), Datagrams(other)
    for sock in (theirs, mine):
        sock.to(service, b"original")
        service.to(sock, b"original")
        t.settle()
        for name in DIRECTIONS:
            count, fields = probes[name].seen()
            expect_equal(count, stamps[name].count, f"{name} packets")
            want = {field: STAMP + number for number, field in enumerate(bpf.WRITABLE)}
            have = {field: fields[field] for field in bpf.WRITABLE}
            expect_equal(have, want, f"fields of a packet at {name}, {'target' if sock is mine else 'stranger'}")
    t.owns(me, flow(UDP, mine.end, service.end))
    t.check()


@case(disable=("", "tcx"))
def socket_mark_and_priority(t):
    """SO_MARK and SO_PRIORITY of a target's socket arrive behind our program as they do without it."""
    bpf.mount()
    me, other, service = cast(t)
    netns.run(["tc", "-n", t.space("c"), "qdisc", "add", "dev", "eth0", "clsact"])
    probe = clsact(t, 65000, "probe")["egress"]
    t.note_devices()
    sock = Datagrams(me)
    sock.sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 0xBEEF)
    sock.sock.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, 5)
    sock.to(service)
    _, without = probe.seen()
    t.up()
    t.add(me)
    sock.to(service)
    count, with_us = probe.seen()
    expect_equal(count, 2, "packets behind our program")
    expect_equal((with_us["mark"], with_us["priority"]), (0xBEEF, 5), "mark and priority")
    expect_equal(with_us, without, "fields with and without the mirror")
    t.owns(me, flow(UDP, sock.end, service.end))
    t.check()


@case()
def mirred_beside(t):
    """The kernel's own mirred mirror of the same device works beside ours; its copies are not mirrored again."""
    me, other, service = cast(t)
    name = t.space("c")
    netns.run(["ip", "-n", name, "link", "add", "tap0", "type", "bridge", "mcast_snooping", "0"])
    netns.sysctl(name, "net/ipv6/conf/tap0/disable_ipv6", 1)
    netns.ip(name, "link set tap0 mtu 65535 arp off", "link set tap0 up")
    netns.run(["tc", "-n", name, "qdisc", "add", "dev", "eth0", "clsact"])
    for side in DIRECTIONS:
        netns.run(["tc", "-n", name, "filter", "add", "dev", "eth0", side, "u32", "match", "u32", "0", "0",
                   "action", "mirred", "egress", "mirror", "dev", "tap0"])
    t.note_devices()
    t.up()
    t.add(me)
    for key in traffic(t, me, other, service, 2):
        t.owns(me, key)
    t.check()
    carried = netns.ip_json(name, "-s", "link", "show", "dev", "tap0")[0]["stats64"]["tx"]["packets"]
    expect_equal(carried, sum(on_wire(t).values()), "packets mirred copied")


@case()
def two_instances(t):
    """Two namespaces with a mirror each, joined by one wire: each mirrors its own target, no copy is copied."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    t.up()
    t.mirrorctl("up", "eth0", key="s")
    t.add(me)
    t.mirrorctl("add-pid", server.pid, key="s")
    listener = Listener(server)
    for who in (me, other):
        stream = Stream(who, listener)
        stream.talk()
        stream.close()
        if who is me:
            t.owns(me, stream.key)
    t.check()
    wait.until(lambda: t.get("stats", key="s")["mirrored"] == len(t.wires["eth0"].drain()),
               "the other instance to have mirrored both connections", 3)
    expect_equal([row["pid"] for row in t.get("list")["targets"]], [me.pid], "targets here")
    expect_equal([row["pid"] for row in t.get("list", key="s")["targets"]], [server.pid], "targets there")
    t.mirrorctl("down", key="s")
    expect_equal(t.get("status")["state"], "up", "state here after down there")


@case()
def foreign_device_named_alike(t):
    """Devices whose names resemble ours (mon0-in, mon0-l3, mon1) are left alone."""
    t.space("c")
    name = t.space("c")
    for dev in ("mon1", "monitor"):
        netns.run(["ip", "-n", name, "link", "add", dev, "type", "bridge"])
    t.note_devices()
    t.mirrorctl("up", "lo")
    t.mirrorctl("down")
    expect({"mon1", "monitor"} <= leaks.devices(name), "down removes nothing else")
