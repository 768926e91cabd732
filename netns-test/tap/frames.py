# SPDX-License-Identifier: GPL-2.0-only
"""Frames of every kind, and the tap's own arithmetic (rules, flow hash) written a second time."""

import ipaddress
import random
import socket
import struct

from world import CLIENT_MAC, SERVER_MAC

TCP, UDP, ICMP, ICMP6, SCTP = 6, 17, 1, 58, 132


def checksum(data):
    """The Internet checksum."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ether(kind, payload, src=CLIENT_MAC, dst=SERVER_MAC, vlans=()):
    """An Ethernet frame; `vlans` are numbers, the outermost first."""
    tags = b"".join(struct.pack("!HH", 0x88A8 if len(vlans) > 1 and i == 0 else 0x8100, vlan) for i, vlan in enumerate(vlans))
    return dst + src + tags + struct.pack("!H", kind) + payload


def ip4(src, dst, proto, payload, ident=1, fragment=0):
    """An IPv4 packet."""
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), ident, fragment, 64, proto, 0, socket.inet_aton(src),
                       socket.inet_aton(dst))
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ip6(src, dst, proto, payload):
    """An IPv6 packet."""
    return struct.pack("!IHBB", 6 << 28, len(payload), proto, 64) + socket.inet_pton(socket.AF_INET6, src) + \
        socket.inet_pton(socket.AF_INET6, dst) + payload


def udp(sport, dport, data=b""):
    """A UDP datagram without checksum."""
    return struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data


def tcp(sport, dport, data=b"", flags=0x10):
    """A TCP segment with a checksum nobody looks at."""
    return struct.pack("!HHIIBBHHH", sport, dport, 1, 1, 5 << 4, flags, 512, 0xBEEF, 0) + data


def packet(src, dst, proto, payload):
    """An IP packet of either version with its ethertype."""
    if ":" in src:
        return 0x86DD, ip6(src, dst, proto, payload)
    return 0x0800, ip4(src, dst, proto, payload)


def flow_frame(flow, back=False, data=b"", vlans=()):
    """One frame of a flow (proto, address, port, address, port)."""
    proto, a, ap, b, bp = flow
    src, sport, dst, dport = (b, bp, a, ap) if back else (a, ap, b, bp)
    if proto == TCP:
        payload = tcp(sport, dport, data)
    elif proto == UDP:
        payload = udp(sport, dport, data)
    elif proto == SCTP:
        payload = struct.pack("!HHII", sport, dport, 1, 0) + data
    elif proto == ICMP:
        payload = struct.pack("!BBHHH", 0 if back else 8, 0, 0, ap, 1) + data
    elif proto == ICMP6:
        payload = struct.pack("!BBHHH", 129 if back else 128, 0, 0, ap, 1) + data
    else:
        payload = data or b"some payload"
    macs = (SERVER_MAC, CLIENT_MAC) if back else (CLIENT_MAC, SERVER_MAC)
    return ether(*packet(src, dst, proto, payload), *macs, vlans)


def kinds(back=False):
    """One of every kind of sound frame."""
    macs = (SERVER_MAC, CLIENT_MAC) if back else (CLIENT_MAC, SERVER_MAC)
    a4, b4, a6, b6 = ("10.1.0.2", "10.1.0.1", "fd01::2", "fd01::1") if back else ("10.1.0.1", "10.1.0.2", "fd01::1", "fd01::2")
    arp = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 2 if back else 1, macs[0], socket.inet_aton(a4), b"\0" * 6,
                      socket.inet_aton(b4))
    out = [ether(0x0806, arp, macs[0], b"\xff" * 6), ether(0x0806, arp + b"\0" * 18, *macs),
           ether(0x88CC, b"\x02\x07\x04" + macs[0] + b"\0\0", macs[0], bytes.fromhex("0180c200000e")),
           ether(0x88B5, b"experimental", *macs), ether(0x002E, b"\xaa\xaa\x03" + b"802.3 with a length field" + b"\0" * 18, *macs),
           ether(0x8847, bytes.fromhex("00010140") + ip4(a4, b4, UDP, udp(1, 2)), *macs)]
    for vlans in ((), (100,), (200, 100), (0,), (4095,)):
        for proto, payload in ((UDP, udp(1111, 53, b"q")), (TCP, tcp(2222, 80, b"GET")), (ICMP, b"\x08\0\0\0\0\1\0\1ping"),
                               (89, b"ospf"), (47, b"gre0")):
            out.append(ether(0x0800, ip4(a4, b4, proto, payload), *macs, vlans))
            out.append(ether(0x86DD, ip6(a6, b6, ICMP6 if proto == ICMP else proto, payload), *macs, vlans))
    out += [ether(0x0800, ip4(a4, b4, UDP, udp(1, 2, b"x" * 800), 7, 0x2000), *macs),
            ether(0x0800, ip4(a4, b4, UDP, b"y" * 500, 7, 101), *macs),
            ether(0x0800, ip4(a4, "224.0.0.251", UDP, udp(5353, 5353)), macs[0], bytes.fromhex("01005e0000fb")),
            ether(0x86DD, ip6(a6, "ff02::1", UDP, udp(5353, 5353)), macs[0], bytes.fromhex("333300000001"))]
    return out


def sizes(mtu, back=False):
    """UDP frames of every size from 60 bytes (64 with the checksum of the wire) to the MTU."""
    macs = (SERVER_MAC, CLIENT_MAC) if back else (CLIENT_MAC, SERVER_MAC)
    step = 1 if mtu <= 1500 else 61
    lengths = [*range(60, mtu + 15, step), mtu + 13, mtu + 14]
    return [ether(0x0800, ip4("10.1.0.1", "10.1.0.2", UDP, udp(9, 9, bytes(n & 0xFF for n in range(length - 42)))), *macs)
            for length in sorted(set(lengths))]


def malformed(back=False, count=400):
    """Frames that contradict themselves, are cut short, or are noise. Each is different."""
    macs = (SERVER_MAC, CLIENT_MAC) if back else (CLIENT_MAC, SERVER_MAC)
    rng = random.Random(7 + back)
    whole = ip4("10.1.0.1", "10.1.0.2", TCP, tcp(1, 2, b"data"))
    whole6 = ip6("fd01::1", "fd01::2", TCP, tcp(1, 2, b"data"))
    out = [ether(0x0800, whole[:n], *macs) for n in range(1, len(whole))]
    out += [ether(0x86DD, whole6[:n], *macs) for n in range(1, len(whole6))]
    out += [ether(0x0800, bytes([first]) + whole[1:], *macs) for first in (0x00, 0x41, 0x44, 0x4F, 0x55, 0x65, 0xFF)]
    out += [ether(0x0800, whole[:10] + b"\xde\xad" + whole[12:], *macs),
            ether(0x0800, whole[:2] + b"\xff\xff" + whole[4:], *macs),
            ether(0x0800, whole[:2] + b"\0\x05" + whole[4:], *macs)]
    for number in range(count):
        body = rng.randbytes(rng.randrange(4, 300))
        kind = rng.choice((0x0800, 0x86DD, 0x8100, 0x88A8, rng.randrange(65536)))
        out.append(ether(kind, struct.pack("!H", number) + body, *macs))
    return out


def cut_tags():
    """Frames that end within a VLAN tag: no stack shows them to a capture, so only counters tell of them."""
    return [ether(0x8100, b"\0\x64"[:n]) for n in (1, 2)]


def mapped(address):
    """An address as 16 bytes, IPv4 as ::ffff:a.b.c.d."""
    ip = ipaddress.ip_address(address)
    return ip.packed if ip.version == 6 else b"\0" * 10 + b"\xff\xff" + ip.packed


def mix(state, word):
    """As mir_tap_mix()."""
    state = (state ^ word) * 0x9E3779B1 & 0xFFFFFFFF
    return state ^ state >> 15


def end_hash(address, port):
    """As mir_tap_end()."""
    state = 0
    for word in struct.unpack("!4I", mapped(address)):
        state = mix(state, word)
    return mix(state, port)


def sampled(flow, one_in):
    """Does --sample 1/`one_in` keep this flow? As mir_tap_flow()."""
    proto, a, ap, b, bp = flow
    ports = proto in (TCP, UDP, SCTP)
    ends = end_hash(a, ap if ports else 0) + end_hash(b, bp if ports else 0) & 0xFFFFFFFF
    ident = ap if proto in (ICMP, ICMP6) else 0
    return mix(mix(mix(0, ends), proto), ident) % one_in == 0
