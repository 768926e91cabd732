# SPDX-License-Identifier: GPL-2.0-only
"""Two ways to see frames: Wire, our own AF_PACKET tap (the ground truth), and Dumpcap, the unmodified tool on mon0."""

import errno
import os
import select
import signal
import socket
import struct
import subprocess

from lib import netns, wait
from lib.packet import Packet, resolve_fragments
from lib.registry import Failure

ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_STATISTICS = 6
PACKET_AUXDATA = 8
SO_RCVBUFFORCE = 33
TP_STATUS_VLAN_VALID = 1 << 4
TP_STATUS_VLAN_TPID_VALID = 1 << 6
PACKET_OUTGOING = 4
RCVBUF = 256 << 20
SNAP = 1 << 18


class Wire:
    """Everything a device carries, unfiltered, VLAN tags put back, nothing lost (or the case fails)."""

    def __init__(self, ns, dev, ethernet=True):
        self.ns = ns
        self.dev = dev
        self.ethernet = ethernet
        self.loopback = dev == "lo"
        self.packets = []
        self.room = memoryview(bytearray(SNAP))
        with netns.inside(ns):
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
            self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RCVBUF)
            self.sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
            self.sock.bind((dev, ETH_P_ALL))
        self.sock.setblocking(False)

    def drain(self):
        """Takes what the kernel has queued; returns all packets so far."""
        while True:
            try:
                # Not recvmsg(), which allocates all that may come: 65,530 of those are the most a process may have mapped.
                size, ancillary, _, sender = self.sock.recvmsg_into([self.room], socket.CMSG_SPACE(20))
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENETDOWN:
                    raise
                continue    # reported once; the tap works again when the device is up
            outgoing = sender[2] == PACKET_OUTGOING
            if self.loopback and outgoing:
                continue    # lo shows each packet twice, on its way out and in
            self.packets.append(Packet(self._untag(bytes(self.room[:size]), ancillary), outgoing, self.ethernet))
        lost = struct.unpack("II", self.sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
        if lost:
            raise Failure(f"the test's own capture on {self.dev} lost {lost} frames")
        return resolve_fragments(self.packets)

    @staticmethod
    def _untag(frame, ancillary):
        for level, kind, data in ancillary:
            if level == SOL_PACKET and kind == PACKET_AUXDATA:
                status, _, _, _, _, tci, tpid = struct.unpack("IIIHHHH", data[:20])
                if status & TP_STATUS_VLAN_VALID:
                    tpid = tpid if status & TP_STATUS_VLAN_TPID_VALID else 0x8100
                    return frame[:12] + struct.pack("!HH", tpid, tci) + frame[12:]
        return frame

    def close(self):
        """Ends the tap."""
        self.sock.close()


class Tap:
    """A monitor as our own capture sees it: for cases in which the monitor goes down or away and comes back."""

    def __init__(self, ns, dev):
        self.ns = ns
        self.wires = [Wire(ns, dev)]

    def again(self, dev):
        """Follows a monitor that was made anew."""
        self.wires.append(Wire(self.ns, dev))

    def frames(self):
        """All frames so far."""
        return [packet for wire in self.wires for packet in wire.drain()]

    def passed(self):
        """How many there are."""
        return len(self.frames())

    def stop(self):
        """Ends the taps."""
        for wire in self.wires:
            wire.close()


def read_pcapng(path):
    """Packet data of the enhanced packet blocks of a file (possibly still being written), with original lengths."""
    with open(path, "rb") as file:
        data = file.read()
    frames, at = [], 0
    while at + 12 <= len(data):
        kind, length = struct.unpack_from("<II", data, at)
        if at + length > len(data) or length < 12:
            break
        if kind == 6:
            caught, original = struct.unpack_from("<II", data, at + 20)
            frames.append((data[at + 28:at + 28 + caught], original))
        at += length
    return frames


class Dumpcap:
    """The stock capture tool on a monitor."""

    def __init__(self, ns, dev, path):
        self.ns, self.dev, self.path = ns, dev, path
        self.base = self._counter()
        self.proc = subprocess.Popen(["nsenter", f"--net={netns.RUN_DIR}/{ns}", "dumpcap", "-q", "-i", dev, "-B", "64",
                                      "-w", path], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                     stdin=subprocess.DEVNULL, preexec_fn=netns.child_setup(None))
        self.log = b""
        wait.until(lambda: b"File:" in self._read_log(), "dumpcap to say it captures: " + dev, 15)

    def _read_log(self):
        fd = self.proc.stderr.fileno()
        while select.select([fd], [], [], 0)[0]:
            piece = os.read(fd, 4096)
            if not piece:
                raise Failure(f"dumpcap ended: {self.log.decode(errors='replace').strip()}")
            self.log += piece
        return self.log

    def _counter(self):
        """Frames that passed the device: a veth is captured where copies come in, all others where they go out."""
        link = netns.ip_json(self.ns, "-s", "link", "show", "dev", self.dev)[0]
        stats = link["stats64"]
        return stats["rx"]["packets"] + stats["tx"]["packets"]

    def passed(self):
        """Frames the device has carried since the capture started."""
        return self._counter() - self.base

    def frames(self, want=None, seconds=5.0):
        """All frames of the file, once it holds what the device carried (or `want`), or after the deadline."""
        count = self.passed() if want is None else want
        wait.within(lambda: len(read_pcapng(self.path)) >= count, seconds)
        return [Packet(data) for data, _ in read_pcapng(self.path)]

    def stop(self):
        """Ends the capture the way a user does."""
        if self.proc.poll() is None:
            self.proc.send_signal(signal.SIGINT)
            try:
                self.proc.wait(10)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
        self.proc.stderr.close()
