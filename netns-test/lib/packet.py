# SPDX-License-Identifier: GPL-2.0-only
"""Just enough dissection to say whose a frame is and to describe it in one line."""

import socket
import struct

TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
VLAN_TYPES = (0x8100, 0x88A8)
IP6_EXTENSIONS = (0, 43, 60)
IP6_FRAGMENT = 44
NAMES = {TCP: "TCP", UDP: "UDP", ICMP: "ICMP", ICMP6: "ICMPv6"}
ECHOES = {(ICMP, 0), (ICMP, 8), (ICMP6, 128), (ICMP6, 129)}


def flow(proto, one, other):
    """Conversation key of TCP or UDP between two (address, port) pairs, the same for both directions."""
    return (proto, *sorted([tuple(one[:2]), tuple(other[:2])]))


def echo(proto, one, other, ident):
    """Conversation key of ping between two addresses with one identifier."""
    return (proto, *sorted([(one, ident), (other, ident)]))


def is_icmp_error(proto, kind):
    """True for ICMP messages that quote the packet they complain about."""
    return (proto == ICMP and kind in (3, 4, 5, 11, 12)) or (proto == ICMP6 and 0 < kind < 128)


class Packet:
    """One frame. `key` is its conversation; of an ICMP error that of the quoted packet; None when there is none."""

    def __init__(self, frame, outgoing=False, ethernet=True):
        self.frame = frame
        self.outgoing = outgoing
        self.bare = not ethernet
        self.vlans = []
        self.version = 0
        self.proto = None
        self.src = self.dst = ""
        self.key = None
        self.fragment = None    # (src, dst, id, proto), offset
        self.error = False
        self.lost = False       # the case expects no copy of it
        self.flags = 0
        self.text = ""
        self.payload = b""
        self.end = len(frame)   # where the network layer's data ends
        self.tcp_at = None      # where a TCP header starts
        self.udp_at = None      # the same of UDP
        try:
            self._link(ethernet)
        except (struct.error, IndexError):
            self.text = "cut short"

    def _link(self, ethernet):
        at, kind = 0, None
        if ethernet:
            at, kind = 14, struct.unpack_from("!H", self.frame, 12)[0]
            while kind in VLAN_TYPES:
                self.vlans.append(struct.unpack_from("!H", self.frame, at)[0] & 0xFFF)
                kind = struct.unpack_from("!H", self.frame, at + 2)[0]
                at += 4
        else:
            kind = {4: 0x0800, 6: 0x86DD}.get(self.frame[0] >> 4)
        if kind == 0x0800:
            self._ip4(self.frame[at:])
        elif kind == 0x86DD:
            self._ip6(self.frame[at:])
        else:
            self.text = f"ethertype {kind:#06x}" if kind is not None else "unknown"

    def _ip4(self, data):
        length = (data[0] & 15) * 4
        total, ident, offset = struct.unpack_from("!HHH", data, 2)
        self.version, self.proto = 4, data[9]
        self.src, self.dst = socket.inet_ntop(socket.AF_INET, data[12:16]), socket.inet_ntop(socket.AF_INET, data[16:20])
        if offset & 0x3FFF:
            self.fragment = ((self.src, self.dst, ident, self.proto), (offset & 0x1FFF) * 8)
        if total:
            self.end -= max(0, len(data) - total)
            data = data[:total]
        self._transport(self.proto, data[length:])

    def _ip6(self, data):
        self.version, proto = 6, data[6]
        self.src, self.dst = socket.inet_ntop(socket.AF_INET6, data[8:24]), socket.inet_ntop(socket.AF_INET6, data[24:40])
        data = data[40:]
        while proto in IP6_EXTENSIONS or proto == IP6_FRAGMENT:
            if proto == IP6_FRAGMENT:
                offset, ident = struct.unpack_from("!HI", data, 2)
                self.fragment = ((self.src, self.dst, ident, None), offset & 0xFFF8)
                proto, data = data[0], data[8:]
                if offset & 0xFFF8:
                    break
            else:
                proto, data = data[0], data[(data[1] + 1) * 8:]
        self.proto = proto
        self._transport(proto, data)

    def _transport(self, proto, data):
        name = NAMES.get(proto, f"protocol {proto}")
        if self.fragment and self.fragment[1]:
            self.text = f"{self.src} > {self.dst} {name} fragment at {self.fragment[1]} id {self.fragment[0][2]}"
            return
        ends = f"{self.src} > {self.dst}"
        if proto in (TCP, UDP):
            sport, dport = struct.unpack_from("!HH", data)
            self.key = flow(proto, (self.src, sport), (self.dst, dport))
            ends = f"{self.src}:{sport} > {self.dst}:{dport}"
        if proto == TCP:
            self.tcp_at = self.end - len(data)
            seq, ack, offset, self.flags = struct.unpack_from("!IIBB", data, 4)
            self.payload = data[(offset >> 4) * 4:]
            marks = "".join(c for bit, c in enumerate("FSRPAU") if self.flags >> bit & 1)
            name += f" [{marks}] seq {seq} ack {ack}"
        elif proto == UDP:
            self.udp_at = self.end - len(data)
            self.payload = data[8:]
        elif proto in (ICMP, ICMP6):
            name += self._icmp(proto, data)
        self.text = f"{ends} {name} data {len(self.payload)}"

    def _icmp(self, proto, data):
        kind, code = data[0], data[1]
        self.payload = data[8:]
        if (proto, kind) in ECHOES:
            ident, seq = struct.unpack_from("!HH", data, 4)
            self.key = echo(proto, self.src, self.dst, ident)
            return f" echo type {kind} id {ident} seq {seq}"
        if is_icmp_error(proto, kind):
            quoted = Packet(data[8:], ethernet=False)
            self.key, self.error = quoted.key, True
            return f" error {kind}/{code} quoting ({quoted.text})"
        return f" type {kind}/{code}"

    def without_checksum(self):
        """The frame with the TCP checksum zeroed: where the device has no checksum offload a copy taken before it shows
        the pseudo-header's sum, the wire the packet's."""
        return self.frame if self.tcp_at is None else self._zeroed(self.tcp_at + 16)

    def without_checksums(self):
        """The same for UDP, too."""
        return self.without_checksum() if self.udp_at is None else self._zeroed(self.udp_at + 6)

    def _zeroed(self, at):
        return self.frame[:at] + b"\0\0" + self.frame[at + 2:]

    def __str__(self):
        way = "out" if self.outgoing else "in "
        tag = f"vlan {self.vlans} " if self.vlans else ""
        more = " (first fragment)" if self.fragment and not self.fragment[1] else ""
        return f"{way} {tag}{self.text}{more}, {len(self.frame)} bytes"


def resolve_fragments(packets):
    """Gives later fragments the conversation of the first fragment of their datagram, wherever it stands."""
    firsts = {p.fragment[0]: p.key for p in packets if p.fragment and p.fragment[1] == 0}
    for packet in packets:
        if packet.fragment and packet.fragment[1]:
            packet.key = firsts.get(packet.fragment[0])
    return packets
