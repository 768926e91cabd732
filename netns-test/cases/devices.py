# SPDX-License-Identifier: GPL-2.0-only
"""Sources that not every kernel has: VLAN, QinQ, VRF, bonding, WireGuard, GENEVE, netkit. Skipped by name where they lack."""

import socket
import subprocess

from cases.stack import addresses, mac, move_address, talk
from lib import leaks, netns, wait
from lib.packet import TCP, UDP, flow
from lib.registry import case, expect, expect_equal
from lib.traffic import carry

HERE, THERE = "10.14.0.1", "10.14.0.2"
SO_BINDTODEVICE = 25
FIN = 1
WG_PORT = 51820


def make(t, key, dev, *words):
    """Makes a device in a namespace; the case is skipped where this kernel has none of the kind."""
    made = netns.run(["ip", "-n", t.space(key), "link", "add", *words], check=False)
    t.need(made.returncode == 0, f"this kernel has no {words[words.index('type') + 1]} device ({made.stderr.strip()})")
    netns.ip(t.space(key), f"link set {dev} addrgenmode none")


def give_addresses(t, dev, arp=True):
    """Addresses for `dev` in both namespaces, with neighbours where the device has such."""
    for key, address in (("c", HERE), ("s", THERE)):
        netns.ip(t.space(key), f"link set {dev} {'arp off' if arp else ''} up", f"addr add {address}/24 dev {dev}")
    for key, other, address in (("c", "s", THERE), ("s", "c", HERE)) if arp else ():
        netns.ip(t.space(key), f"neigh replace {address} lladdr {mac(t.space(other), dev)} dev {dev} nud permanent")
    t.note_devices()


# Tagged frames: a dummy has no offloads for them, so the kernel finishes checksums before it hands them to a dummy
# (netif_skb_features(): vlan_features).


def tags(t, want):
    """Every copy carries these tags."""
    expect_equal({tuple(packet.vlans) for packet in t.monitor.frames()}, {want}, "tags of the copies")


def vlan_devices(t):
    """eth0.7 on both ends."""
    t.pair()
    for key in ("c", "s"):
        make(t, key, "eth0.7", "link", "eth0", "name", "eth0.7", "type", "vlan", "id", "7")
    give_addresses(t, "eth0.7")


@case(disable=("", "tcx"))
def vlan_below(t):
    """The device below a VLAN device is the source: copies carry the tag."""
    vlan_devices(t)
    with addresses(HERE, THERE):
        talk(t, "eth0", ("eth0",), sums=False)
    tags(t, (7,))


@case()
def vlan_alone(t):
    """The VLAN device is the source: copies are its frames, without a tag."""
    vlan_devices(t)
    with addresses(HERE, THERE):
        talk(t, "eth0.7", ("eth0.7",))
    tags(t, ())


@case()
def vlan_and_below(t):
    """Both are sources: one copy, that of the VLAN device."""
    vlan_devices(t)
    with addresses(HERE, THERE):
        talk(t, "eth0.7", ("eth0", "eth0.7"))
    tags(t, ())


def qinq_devices(t):
    """A VLAN device (802.1Q 8) on a VLAN device (802.1ad 7) on eth0, on both ends."""
    t.pair()
    for key in ("c", "s"):
        make(t, key, "out", "link", "eth0", "name", "out", "type", "vlan", "proto", "802.1ad", "id", "7")
        netns.ip(t.space(key), "link set out arp off up")
        make(t, key, "in", "link", "out", "name", "in", "type", "vlan", "id", "8")
    give_addresses(t, "in")


@case(disable=("", "tcx"))
def qinq_below(t):
    """The device below two VLAN devices is the source: copies carry both tags."""
    qinq_devices(t)
    with addresses(HERE, THERE):
        talk(t, "eth0", ("eth0",), sums=False)
    tags(t, (7, 8))


@case()
def qinq_all(t):
    """All three are sources: one copy, that of the uppermost device."""
    qinq_devices(t)
    with addresses(HERE, THERE):
        talk(t, "in", ("eth0", "out", "in"))
    tags(t, ())


@case()
def bond_and_port(t):
    """A bond and its port are both sources: one copy."""
    t.pair()
    netns.run(["modprobe", "-q", "bonding", "max_bonds=0"], check=False)    # or it makes a bond0 where nobody wants one
    make(t, "c", "bond0", "bond0", "type", "bond", "mode", "active-backup", "miimon", "50")
    netns.ip(t.space("c"), "link set eth0 down", "link set eth0 master bond0")
    move_address(t, "bond0")
    wait.until(lambda: netns.has_carrier(t.space("c"), "bond0"), "bond0 to come up")
    talk(t, "bond0", ("eth0", "bond0"))


@case()
def geneve_and_carrier(t):
    """A geneve device and its carrier: the inner packet is copied, not the wrapped one as well."""
    t.pair()
    for key, there in (("c", netns.S4), ("s", netns.C4)):
        make(t, key, "gnv0", "gnv0", "type", "geneve", "id", "7", "remote", there)
    give_addresses(t, "gnv0")
    with addresses(HERE, THERE):
        talk(t, "gnv0", ("eth0", "gnv0"))


def wireguard(t):
    """wg0 on both ends, over eth0."""
    keys = {}
    for key in ("c", "s"):
        make(t, key, "wg0", "wg0", "type", "wireguard")
        private = netns.run(["wg", "genkey"]).stdout
        with open(t.path(f"{key}.key"), "w", encoding="ascii") as file:
            file.write(private)
        keys[key] = subprocess.run(["wg", "pubkey"], input=private, capture_output=True, text=True, check=True).stdout.strip()
    for key, other, inner, outer in (("c", "s", THERE, netns.S4), ("s", "c", HERE, netns.C4)):
        netns.run(["wg", "set", "wg0", "private-key", t.path(f"{key}.key"), "listen-port", str(WG_PORT), "peer", keys[other],
                   "allowed-ips", f"{inner}/32", "endpoint", f"{outer}:{WG_PORT}"], t.space(key))
    give_addresses(t, "wg0", arp=False)


@case()
def wireguard_and_carrier(t):
    """A WireGuard device and its carrier: the inner packet is copied with a made header, the encrypted one is nobody's."""
    t.pair()
    wireguard(t)
    with addresses(HERE, THERE):
        talk(t, "wg0", ("eth0", "wg0"), headerless=True)


@case()
def netkit(t):
    """A netkit pair in place of a veth."""
    t.pair()
    name, before = t.space("c"), leaks.devices(t.space("c"))
    make(t, "c", "kit0", "kit0", "type", "netkit")
    peer = next(iter(leaks.devices(name) - before - {"kit0"}))
    netns.ip(name, f"link set {peer} netns {t.space('s')} name kit0")
    give_addresses(t, "kit0", arp=False)
    with addresses(HERE, THERE):
        talk(t, "kit0", ("kit0",))


def bound(actor, kind):
    """A socket of an actor in the VRF."""
    sock = actor.socket(socket.AF_INET, kind)
    sock.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, b"vrf0\0")
    return sock


def matched_in_vrf(packets, keys):
    """Packets of these conversations that can be matched: those sent, and those that arrive when the own end has closed,
    for then the tuple is known."""
    closed, found = set(), set()
    for packet in packets:
        if packet.key in keys and (packet.outgoing or packet.key in closed):
            found.add(packet)
            if packet.outgoing and packet.flags & FIN:
                closed.add(packet.key)
    return found


def in_vrf(t, sources):
    """A target and a stranger in a VRF: a connection out, one in, datagrams both ways. Copies are the frames of eth0; what
    arrives is a limit that status names."""
    t.pair()
    make(t, "c", "vrf0", "vrf0", "type", "vrf", "table", "10")
    netns.ip(t.space("c"), "link set vrf0 up", "link set eth0 master vrf0")
    move_address(t, "eth0")
    t.note_devices()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    far, service = server.socket(socket.AF_INET, socket.SOCK_STREAM), server.socket(socket.AF_INET, socket.SOCK_DGRAM)
    far.bind((netns.S4, 0))
    far.listen(5)
    service.bind((netns.S4, 0))
    t.mirrorctl("up", *sources)
    t.need_closing()
    t.capture(("eth0",))
    t.add(me)
    for who in (other, me):
        keys = []
        near = bound(who, socket.SOCK_STREAM)
        near.bind((netns.C4, 0))
        near.listen(5)
        for client, listener in ((bound(who, socket.SOCK_STREAM), far), (server.socket(socket.AF_INET, socket.SOCK_STREAM), near)):
            client.connect(listener.getsockname())
            conn, _ = listener.accept()
            keys.append(flow(TCP, client.getsockname(), listener.getsockname()))
            carry(client, conn, 3000)
            carry(conn, client, 3000)
            client.close()
            conn.close()
        sock = bound(who, socket.SOCK_DGRAM)
        sock.bind((netns.C4, 0))
        sock.sendto(b"there", service.getsockname())
        service.recvfrom(100)
        service.sendto(b"and back", sock.getsockname())
        sock.recvfrom(100)
        keys.append(flow(UDP, sock.getsockname(), service.getsockname()))
        mine = keys if who is me else []
    expect(t.limited("vrf"), "status names the limit")
    t.settle()
    t.owns(me, matched_in_vrf(t.wires["eth0"].drain(), mine).__contains__)
    t.check(seen=False)


@case(disable=("", "tcx"))
def vrf_port(t):
    """A port of a VRF is the source."""
    in_vrf(t, ("eth0",))


@case(disable=("", "tcx"))
def vrf_and_port(t):
    """A VRF device and its port are both sources: one copy."""
    in_vrf(t, ("eth0", "vrf0"))


def ipvlan_device(t):
    """iv0 on eth0 of c, with the address."""
    t.pair()
    make(t, "c", "iv0", "link", "eth0", "name", "iv0", "type", "ipvlan", "mode", "l2")
    move_address(t, "iv0")


@case()
def ipvlan_alone(t):
    """An ipvlan device is the source."""
    ipvlan_device(t)
    talk(t, "iv0", ("iv0",))


@case()
def ipvlan_below(t):
    """The device below an ipvlan is the source; with both of them status names the limit."""
    ipvlan_device(t)
    t.mirrorctl("up", "eth0", "iv0")
    expect(t.limited("ipvlan"), "status names the limit")
    talk(t, "eth0", ("eth0",))
    expect(not t.limited("ipvlan"), "the limit is gone")
