# SPDX-License-Identifier: GPL-2.0-only
"""The wire: what goes in at one end comes out at the other and on the monitor, bit for bit, and nothing else does."""

import collections
import hashlib
import json
import os
import socket
import threading

import bpf
import frames
from world import BPFFS, Skip, World, equal, expect, inside, run, until

MODES = ("native", "generic")


def counters(world, sent, name="t0"):
    """The tap's counters agree with what was sent by each end, all of it forwarded and copied."""
    for direction, number in zip(world.show(name)["directions"], sent):
        for key in ("in", "forwarded", "wanted", "copied"):
            equal(direction[key], number, f"{direction['from']} > {direction['to']} {key}")
        equal(set(direction["failed"].values()) | set(direction["copy_failed"].values()), {0}, "failures")


def every_kind(world, mode):
    """IPv4, IPv6, VLAN, QinQ, ARP, LLDP, 802.3, MPLS, fragments, multicast"""
    world.add(mode=mode)
    equal(world.show()["mode"], mode, "mode")
    there, back = frames.kinds(), frames.kinds(back=True)
    world.cross(there, back)
    counters(world, (len(there), len(back)))


def every_size(world, mode):
    """every size from 64 bytes on the wire to the MTU"""
    world.add(mode=mode)
    there, back = frames.sizes(1500), frames.sizes(1500, back=True)
    world.cross(there, back)
    counters(world, (len(there), len(back)))


def malformed(world, mode):
    """malformed frames are forwarded and copied bit for bit"""
    world.add(mode=mode)
    world.cross(frames.malformed(), frames.malformed(back=True))
    world.send("client", frames.cut_tags())
    counters(world, (len(frames.malformed()) + 2, len(frames.malformed())))


def malformed_with_rules(world, mode):
    """malformed frames are forwarded whatever the rules make of them"""
    world.add("--match", "proto=tcp,port=1", "--match", "vlan=100", "--sample", "1/2", mode=mode)
    world.cross(frames.malformed(), frames.malformed(back=True), monitor=None)
    for direction in world.show()["directions"]:
        equal(direction["in"], direction["forwarded"], "forwarded")


def vlan_tag_of_an_offload(world, mode):
    """a tag that the sender's stack leaves to the device (skb metadata) crosses too"""
    world.add(mode=mode)
    run(["tc", "-n", world.client, "qdisc", "add", "dev", "eth0", "clsact"])
    pin = f"{BPFFS}/tap{os.getpid()}push"
    bpf.pin_vlan_push(pin, 7)
    try:
        run(["tc", "filter", "add", "dev", "eth0", "egress", "bpf", "direct-action", "object-pinned", pin], ns=world.client)
    finally:
        os.unlink(pin)
    plain = frames.kinds()[6:16]
    tagged = [frame[:12] + b"\x81\x00\x00\x07" + frame[12:] for frame in plain]
    world.cross(plain, copied=tagged, want_there=tagged)


def addresses(world, v6=False):
    """Gives both ends an address of the same network and each other's MAC address."""
    for ns, own, other, mac in ((world.client, 1, 2, frames.SERVER_MAC), (world.server, 2, 1, frames.CLIENT_MAC)):
        for name, value in (("router_solicitations", "0"), ("disable_ipv6", "0" if v6 else "1")):
            with inside(ns), open(f"/proc/sys/net/ipv6/conf/eth0/{name}", "w", encoding="ascii") as knob:
                knob.write(value)
        prefix, length = ("fd09::", 64) if v6 else ("10.9.0.", 24)
        world.ip(ns, "addr", "add", f"{prefix}{own}/{length}", "dev", "eth0", *(["nodad"] if v6 else []))
        world.ip(ns, "neigh", "replace", f"{prefix}{other}", "lladdr", mac.hex(":"), "dev", "eth0", "nud", "permanent")
    return ("fd09::2", socket.AF_INET6) if v6 else ("10.9.0.2", socket.AF_INET)


def transfer(world, address, family, data):
    """Sends `data` over TCP from the client to the server, which sends back its digest."""
    digest = hashlib.sha256()
    with inside(world.server):
        listener = socket.socket(family)
        # no more under way than the monitor's queue holds (256 frames): whether a full one is counted, another test asks
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        listener.bind((address, 5001))
        listener.listen()
    with inside(world.client):
        client = socket.socket(family)
    client.settimeout(30)
    listener.settimeout(30)

    def serve():
        with listener.accept()[0] as conn:
            while piece := conn.recv(1 << 16):
                digest.update(piece)
            conn.sendall(digest.hexdigest().encode())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    client.connect((address, 5001))
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)
    answer = client.recv(64).decode()
    thread.join(10)
    client.close()
    listener.close()
    equal(answer, hashlib.sha256(data).hexdigest(), "what arrived by TCP")


def tcp_bulk(world, mode):
    """8 MB of TCP over IPv4 and IPv6: every segment on the monitor, on the far side and in the counters"""
    world.add(mode=mode)
    for ns in (world.client, world.server):     # or the ends' own GRO shows merged segments
        world.ip(ns, "link", "set", "eth0", "gro_max_size", "1")
    taps = [world.tap(world.client, "eth0", True), world.tap(world.client, "eth0", False), world.tap(world.server, "eth0", True),
            world.tap(world.server, "eth0", False), world.tap(world.box, "mon0")]
    stop = threading.Event()

    def drain():
        while not stop.is_set():
            for tap in taps:
                tap.drain()
            stop.wait(0.002)

    drainer = threading.Thread(target=drain, daemon=True)
    drainer.start()
    try:
        for v6 in (False, True):
            address, family = addresses(world, v6)
            transfer(world, address, family, os.urandom(1 << 20) * 4)
    finally:
        stop.set()
        drainer.join()
    out, _, back, _, mon = (tap.drain() for tap in taps)
    world.settle([(taps[3], out, "the server"), (taps[1], back, "the client"), (taps[4], out + back, "the monitor")])
    expect(sum(out.values()) > (1500 if mode == "native" else 100), f"only {sum(out.values())} segments")
    if mode == "native":
        expect(max(map(len, mon)) <= 1514, "the monitor shows merged segments")
    counters(world, (sum(out.values()), sum(back.values())))


def jumbo(world, mode):
    """MTU 9000"""
    world.close()
    world.__init__(mtu=9000)
    if mode == "native":
        _, err = world.mirrorctl("tap", "add", "t0", "pa", "pb", "--mode", "native", status=None)
        expect("pa" in err and "native" in err, f"says {err!r}")
        world.mirrorctl("tap", "add", "t0", "pa", "pb")
        equal(world.show()["mode"], "generic", "mode that auto chose")
    else:
        world.add(mode=mode)
    world.cross(frames.sizes(9000), frames.sizes(9000, back=True))


def large_native(world, mode):
    """frames that native XDP forwards but cannot copy are forwarded, and counted as too long to copy"""
    if mode != "native":
        raise Skip("generic mode copies every length (case jumbo)")
    world.close()
    world.__init__(mtu=3480)
    world.add(mode="native")
    there = frames.sizes(3480)
    fit = [frame for frame in there if len(frame) <= os.sysconf("SC_PAGESIZE") - 768]
    expect(0 < len(fit) < len(there), "sizes on both sides of the limit")
    world.cross(there, copied=fit)
    one = world.show()["directions"][0]
    equal((one["in"], one["forwarded"], one["copied"], one["copy_failed"]["too_long"]),
          (len(there), len(there), len(fit), len(there) - len(fit)), "counters")


def too_long_for_the_other_port(world, mode):
    """a frame longer than the other port's MTU is lost as on a wire, and counted"""
    world.ip(world.box, "link", "set", "pb", "mtu", "1000")
    world.add(mode=mode)
    there = frames.sizes(1500)
    fit = [frame for frame in there if len(frame) <= 1018]
    world.cross(there, copied=fit, want_there=fit)
    one = world.show()["directions"][0]
    equal((one["in"], one["forwarded"], one["failed"]["too_long"]), (len(there), len(fit), len(there) - len(fit)), "counters")


def link_flap(world, mode):
    """a port that goes down and comes back: state shown, losses counted, then exact again"""
    world.add(mode=mode)
    probe = frames.kinds()[:8]
    world.cross(probe)
    world.ip(world.server, "link", "set", "eth0", "down")
    until(lambda: not world.show()["ports"][1]["carrier"], "no carrier in tap list")
    world.ip(world.box, "link", "set", "pb", "down")
    port = world.show()["ports"][1]
    expect(not port["up"], f"port {port}")
    expect(any("pb is down" in limit for limit in world.show()["limits"]), "a limit that names the port")
    world.send("client", probe)
    until(lambda: world.show()["directions"][0]["in"] == 16, "16 frames in")
    one = world.show()["directions"][0]
    equal((one["in"], one["forwarded"], one["failed"]["down"]), (16, 8, 8), "counters with the port down")
    world.ip(world.box, "link", "set", "pb", "up")
    world.ip(world.server, "link", "set", "eth0", "up")
    world.wait_up()
    world.cross(probe, frames.kinds(back=True))
    expect(not world.show()["limits"], "no limit is left")


def two_taps_in_a_row(world, mode):
    """client = tap = tap = server through two namespaces; the same name in both"""
    second = World()
    try:
        for ns, dev in ((world.server, "eth0"), (second.client, "eth0")):
            world.ip(ns, "link", "del", dev)
        run(["ip", "link", "add", "pb", "index", "32", "netns", world.box, "type", "veth", "peer", "name", "pa", "index", "33",
             "netns", second.box])
        for one, dev in ((world, "pb"), (second, "pa")):
            with inside(one.box), open(f"/proc/sys/net/ipv6/conf/{dev}/disable_ipv6", "w", encoding="ascii") as knob:
                knob.write("1")
            one.ip(one.box, "link", "set", dev, "up")
        world.add(mode=mode)
        second.add(mode=mode)
        mon = second.tap(second.box, "mon0")
        far = second.tap(second.server, "eth0", outgoing=False)
        probe = frames.kinds() + frames.malformed()
        world.send("client", probe)
        want = collections.Counter(probe)
        second.settle([(far, want, "the server"), (mon, want, "the second monitor")])
    finally:
        equal(second.close(), [], "left behind by the second tap")


def cases():
    """(name, function, mode)"""
    for function in (every_kind, every_size, malformed, malformed_with_rules, vlan_tag_of_an_offload, tcp_bulk, jumbo,
                     large_native, too_long_for_the_other_port, link_flap, two_taps_in_a_row):
        for mode in MODES:
            yield f"wire.{function.__name__}@{mode}", lambda world, f=function, m=mode: f(world, m)


def mode_of_auto(world):
    """auto takes native on veth, and shows it"""
    world.mirrorctl("tap", "add", "t0", "pa", "pb")
    tap = world.show()
    equal((tap["mode"], tap["monitor"]["name"], tap["sample"], tap["match"]), ("native", "mon0", 1, []), "defaults")
    json.dumps(tap)
