# SPDX-License-Identifier: GPL-2.0-only
"""Plain dumpcap on the sources (of a stack of devices on the upper one), with the best capture filter a person could write
for the scenario."""

import select
import signal
import socket
import subprocess

from lib import netns, tun, wait
from lib.capture import read_pcapng
from lib.packet import Packet
from lib.registry import Failure
from score.drivers import Driver

SENTINEL = 0x88B6       # local experimental ethertype: a frame that says "all before me is in the file"

BARE_PORT = 34999       # the same on a device without link-layer header


def sentinel(number):
    """The frame with this number."""
    return b"\xff" * 6 + b"\x02\0\0\0\0\x01" + SENTINEL.to_bytes(2, "big") + b"%046d" % number


class Tool(Driver):
    """One dumpcap for each device, started when the process is selected."""

    def __init__(self, world):
        super().__init__(world)
        self.sources, self.running, self.ended, self.count, self.best = (), [], [], 0, ""

    def open(self, sources, words):
        self.sources = sources

    def reopen(self, sources):
        """The old capture has ended by itself, its device is gone; a person starts it again."""
        for row in self.running:
            row[2].wait(10)
        self.ended, self.running = self.ended + self.running, []
        self.select((), (), self.best)

    def select(self, pids, options, best):
        if self.running and best == self.best:
            return      # more processes, the same filter: it is captured already
        self.best = best
        for number, dev in enumerate(dev for dev in self.sources if dev not in self.world.lower):
            path = self.world.path(f"{dev}-{len(self.ended)}-{len(self.running)}-{number}.pcapng")
            argv = ["nsenter", f"--net={netns.RUN_DIR}/{self.world.space('c')}", "dumpcap", "-q", "-i", dev, "-B", "64",
                    "-f", f"({best}) or {self.marker(dev)}", "-w", path]
            proc = subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
                                    preexec_fn=netns.child_setup(None))
            self.running.append((dev, path, proc))
            said = b""
            while b"File:" not in said:
                if not select.select([proc.stderr], [], [], 15)[0]:
                    raise Failure("dumpcap does not start")
                piece = proc.stderr.read1(4096)
                if not piece:
                    raise Failure(f"dumpcap ended: {said.decode(errors='replace')}")
                said += piece

    def launch(self, argv, options, best):
        self.select((), options, best)
        self.world.begin()
        proc = self.world.popen("c", *argv)
        out, _ = proc.communicate(timeout=30)
        return proc.pid, out or ""

    def marker(self, dev):
        """Filter for the frame that says "all before me is in the file"."""
        return f"ether proto {SENTINEL:#x}" if self.world.wires[dev].ethernet else f"udp port {BARE_PORT}"

    def mark(self, dev):
        """Sends that frame; returns what it contains."""
        with netns.inside(self.world.space("c")):
            if self.world.wires[dev].ethernet:
                with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
                    sock.bind((dev, 0))
                    sock.send(sentinel(self.count))
                return sentinel(self.count)
            with socket.socket(type=socket.SOCK_DGRAM) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, dev.encode())
                sock.sendto(sentinel(self.count), (tun.FAR4, BARE_PORT))
            return sentinel(self.count)

    def finish(self):
        for dev, path, proc in self.running:
            self.count += 1
            mark = self.mark(dev)
            wait.until(lambda: any(mark in data for data, _ in read_pcapng(path)), f"the last frame of {dev}", 15)
            proc.send_signal(signal.SIGINT)
            proc.wait(10)

    def frames(self):
        found = [(data, self.world.wires[dev].ethernet) for dev, path, _ in self.ended + self.running
                 for data, _ in read_pcapng(path)]
        return [Packet(data, ethernet=ethernet) for data, ethernet in found if sentinel(0)[:14] not in data]

    def about(self):
        return {"version": netns.run(["dumpcap", "--version"]).stdout.split("\n")[0]}

    def close(self):
        for _, _, proc in self.ended + self.running:
            if proc.poll() is None:
                proc.kill()
            proc.wait()
            proc.stderr.close()
