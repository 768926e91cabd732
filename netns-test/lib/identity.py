# SPDX-License-Identifier: GPL-2.0-only
"""What --identity adds to a monitor, read as docs/wire-format.md says; knows nothing of how it is written."""

import socket
import struct

ETHERTYPE = 0x88B5
FLOW, PID, START, COMM, UID, CGROUP, REASON, DIRECTION = range(1, 9)
IN, OUT = 0, 1


class Announcement:
    """One announcement frame, its TLVs by type."""

    def __init__(self, frame):
        self.frame = frame
        magic, self.version, _, length = struct.unpack_from("!4sBBH", frame, 14)
        assert magic == b"MIR1" and self.version == 1, frame[:24].hex()
        at, self.tlvs = 22, {}
        while at < 22 + length:
            kind, size = frame[at], frame[at + 1]
            self.tlvs[kind] = frame[at + 2:at + 2 + size]
            at += 2 + size
        assert at == 22 + length <= len(frame), "TLVs end where the length says"
        family, self.proto, self.lport, self.rport = struct.unpack_from("!BBHH", self.tlvs[FLOW])
        self.local, self.remote = (self.address(family, self.tlvs[FLOW][6 + i:22 + i]) for i in (0, 16))
        self.pid, self.uid = (struct.unpack("!I", self.tlvs[kind])[0] for kind in (PID, UID))
        self.start = struct.unpack("!Q", self.tlvs[START])[0]
        self.comm = self.tlvs[COMM].rstrip(b"\0").decode()
        self.reason, self.direction = self.tlvs[REASON][0], self.tlvs[DIRECTION][0]
        self.padding = frame[22 + length:]

    @staticmethod
    def address(family, data):
        """Text of an address field."""
        if family == 4:
            assert data[:12] == b"\0" * 10 + b"\xff\xff"
            return socket.inet_ntop(socket.AF_INET, data[12:])
        return socket.inet_ntop(socket.AF_INET6, data)

    @property
    def key(self):
        """The conversation's key, as Packet.key has it."""
        one, other = (self.local, self.lport), (self.remote, self.rport)
        if self.proto in (1, 58):
            other = (self.remote, self.lport)
        return (self.proto, *sorted([one, other]))

    @property
    def ends(self):
        """(local address, port) and (remote address, port)."""
        return (self.local, self.lport), (self.remote, self.rport)


def is_announcement(frame):
    """True for a frame that is no copy but says whose copies are."""
    return len(frame) >= 14 and struct.unpack_from("!H", frame, 12)[0] == ETHERTYPE


class Labelled:
    """A monitor capture without its announcements, which are kept aside: what Scene.check() compares stays the same."""

    def __init__(self, t):
        self.t, self.capture = t, t.monitor

    def raw(self):
        """Every frame in order, announcements included."""
        return self.capture.frames()

    def frames(self, want=None):
        """The copies."""
        frames = self.capture.frames() if want is None else self.capture.frames(want)
        return [packet for packet in frames if not is_announcement(packet.frame)]

    def announcements(self):
        """The announcements, in order."""
        return [Announcement(packet.frame) for packet in self.raw() if is_announcement(packet.frame)]

    def passed(self):
        """Copies that passed the device; what is not a copy must have been counted as announced."""
        return self.capture.passed() - self.t.get("stats")["announced"]

    def stop(self):
        """Ends the capture."""
        self.capture.stop()

    def unlabelled(self):
        """Copies whose conversation was not announced before them."""
        known, late = set(), []
        for packet in self.raw():
            if is_announcement(packet.frame):
                known.add(Announcement(packet.frame).key)
            elif packet.key not in known and not (packet.fragment and packet.fragment[1]):
                late.append(str(packet))
        return late
