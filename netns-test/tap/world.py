# SPDX-License-Identifier: GPL-2.0-only
"""Three namespaces in a row (client, box, server), frames put in at one end and everything seen at the others.

A namespace is entered with setns(CLONE_NEWNET) alone. `ip netns exec` would remount /sys and hide bpffs.
"""

import collections
import contextlib
import ctypes
import glob
import json
import os
import socket
import struct
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BINARY = os.path.abspath(os.environ.get("MIRRORCTL", os.path.join(HERE, "..", "..", ".output", "mirrorctl")))
BPFFS = "/sys/fs/bpf"
PIN_ROOT = BPFFS + "/mirrorctl"
CLONE_NEWNET = 0x40000000
ETH_P_ALL = 3
SOL_PACKET, PACKET_STATISTICS, PACKET_AUXDATA = 263, 6, 8
SO_RCVBUFFORCE = 33
VLAN_VALID, VLAN_TPID_VALID = 1 << 4, 1 << 6
PACKET_OUTGOING = 4
UNSUPPORTED = 5     # exit status: this kernel cannot
SLOW = float(os.environ.get("SLOW", "1"))   # factor on every deadline, for emulated machines
CLIENT_MAC, SERVER_MAC = bytes.fromhex("020000001101"), bytes.fromhex("020000001102")

_libc = ctypes.CDLL(None, use_errno=True)
_serial = [0]


class Failure(Exception):
    """The product did not do what the case expects."""


class Skip(Exception):
    """The case cannot run here; the text says why."""


def expect(condition, text):
    """Fails the case with `text` unless `condition` holds."""
    if not condition:
        raise Failure(text)


def equal(got, want, what):
    """Fails the case unless both are equal."""
    if got != want:
        raise Failure(f"{what}: got {got!r}, want {want!r}")


def until(condition, what, seconds=8.0):
    """Polls until `condition` is true; fails the case when the time is over."""
    end = time.monotonic() + seconds * SLOW
    while not condition():
        if time.monotonic() > end:
            raise Failure(f"timed out after {seconds * SLOW:g} s waiting for {what}")
        time.sleep(0.01)


def setns(path):
    """Moves this thread into the namespace that `path` names."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(fd, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {path}")
    finally:
        os.close(fd)


@contextlib.contextmanager
def inside(name):
    """Runs the body in a namespace."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(f"/run/netns/{name}")
        yield
    finally:
        _libc.setns(home, CLONE_NEWNET)
        os.close(home)


def run(argv, check=True, ns=None, **more):
    """Runs a command in a namespace to its end."""
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60 * SLOW,
                          preexec_fn=(lambda: setns(f"/run/netns/{ns}")) if ns else None, **more)
    if check and done.returncode:
        raise Failure(f"{' '.join(argv)}: {done.returncode}: {done.stderr.strip()}")
    return done


class Tap:
    """Sees every frame of a device, VLAN tags put back; loses none (or the case fails)."""

    def __init__(self, ns, dev, outgoing=None):
        self.dev, self.outgoing, self.seen = dev, outgoing, collections.Counter()
        with inside(ns):
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
            self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 256 << 20)
            self.sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
            self.sock.bind((dev, ETH_P_ALL))
        self.sock.setblocking(False)

    def drain(self):
        """Takes what there is; returns all frames so far as a multiset."""
        while True:
            try:
                frame, extra, _, sender = self.sock.recvmsg(1 << 18, socket.CMSG_SPACE(20))
            except BlockingIOError:
                break
            except OSError as error:    # the device went down: nothing more comes
                if error.errno == 100:
                    continue
                raise
            if self.outgoing is None or (sender[2] == PACKET_OUTGOING) == self.outgoing:
                self.seen[untag(frame, extra)] += 1
        lost = struct.unpack("II", self.sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
        expect(not lost, f"the test's own capture on {self.dev} lost {lost} frames")
        return self.seen

    def close(self):
        """Ends the capture."""
        self.sock.close()


def untag(frame, extra):
    """The frame with the tag that the kernel keeps beside it."""
    for level, kind, data in extra:
        if level == SOL_PACKET and kind == PACKET_AUXDATA:
            status, _, _, _, _, tci, tpid = struct.unpack("IIIHHHH", data[:20])
            if status & VLAN_VALID:
                return frame[:12] + struct.pack("!HH", tpid if status & VLAN_TPID_VALID else 0x8100, tci) + frame[12:]
    return frame


def difference(got, want):
    """What two multisets differ in, in one line."""
    lacks, more = want - got, got - want
    return (f"{sum(got.values())} frames for {sum(want.values())}, {sum(lacks.values())} missing "
            f"{[f.hex()[:120] for f in list(lacks)[:2]]}, {sum(more.values())} more {[f.hex()[:120] for f in list(more)[:2]]}")


class World:
    """client eth0 = pa box pb = eth0 server. The ends are silent: no ARP, no IPv6, no addresses unless asked for."""

    def __init__(self, mtu=1500, names=None):
        _serial[0] += 1
        base = f"tap{os.getpid()}x{_serial[0]}"
        self.client, self.box, self.server = names or (base + "c", base + "b", base + "s")
        self.taps, self.env = [], {}
        for name in self.all():
            run(["ip", "netns", "add", name])
            with inside(name), open("/proc/sys/net/ipv6/conf/default/disable_ipv6", "w", encoding="ascii") as knob:
                knob.write("1")
            self.ip(name, "link", "set", "lo", "up")
        for end, port, mac, index in ((self.client, "pa", CLIENT_MAC, 11), (self.server, "pb", SERVER_MAC, 12)):
            run(["ip", "link", "add", "eth0", "index", str(index), "mtu", str(mtu), "address", mac.hex(":"), "netns", end,
                 "type", "veth", "peer", "name", port, "index", str(index + 10), "mtu", str(mtu), "netns", self.box])
            self.ip(end, "link", "set", "eth0", "arp", "off", "multicast", "off", "up")
            with inside(self.box), open(f"/proc/sys/net/ipv6/conf/{port}/disable_ipv6", "w", encoding="ascii") as knob:
                knob.write("1")
            self.ip(self.box, "link", "set", port, "up")
        self.inode = os.stat(f"/run/netns/{self.box}").st_ino
        self.wait_up()

    def all(self):
        """The three names."""
        return self.client, self.box, self.server

    def ip(self, ns, *words):
        """One iproute2 command."""
        return run(["ip", "-n", ns, *words]).stdout

    def link(self, dev, ns=None):
        """A device as `ip` shows it."""
        return json.loads(run(["ip", "-n", ns or self.box, "-j", "-d", "link", "show", "dev", dev]).stdout)[0]

    def wait_up(self):
        """Until all four ends have carrier."""
        for ns, dev in ((self.client, "eth0"), (self.box, "pa"), (self.box, "pb"), (self.server, "eth0")):
            until(lambda: "LOWER_UP" in self.link(dev, ns)["flags"], f"{dev} in {ns} to come up")

    def mirrorctl(self, *words, status=0):
        """Runs the command in the box; returns (stdout, stderr), or fails unless it ends with `status` (None: any)."""
        done = run([BINARY, "--netns", self.box, *words], check=False, env={**os.environ, **self.env})
        text = f"`mirrorctl {' '.join(words)}` = {done.returncode}, stdout {done.stdout!r}, stderr {done.stderr[-600:]!r}"
        if status == 0 and done.returncode == UNSUPPORTED and "bpf_xdp_load_bytes" in done.stderr:
            raise Skip("this kernel refuses a tap: its XDP programs cannot read a frame by offset")
        expect(status is None or done.returncode == status, f"{text}: want status {status}")
        return done.stdout, done.stderr

    def add(self, *more, mode="auto", name="t0"):
        """tap add."""
        self.mirrorctl("tap", "add", name, "pa", "pb", "--mode", mode, *more)

    def show(self, name="t0"):
        """One tap of tap list -j; None when there is none."""
        taps = json.loads(self.mirrorctl("-j", "tap", "list")[0])["taps"]
        return next((tap for tap in taps if tap["name"] == name), None)

    def tap(self, ns, dev, outgoing=None):
        """A capture that ends with the case."""
        tap = Tap(ns, dev, outgoing)
        self.taps.append(tap)
        return tap

    def send(self, end, frames):
        """Puts frames in at the client or the server."""
        ns = self.client if end == "client" else self.server
        with inside(ns), socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as sock:
            sock.bind(("eth0", 0))
            for number, frame in enumerate(frames):
                sock.send(frame)
                if number % 32 == 31:
                    time.sleep(0.001)   # a veth ring holds 256

    def cross(self, there, back=(), copied=None, monitor="mon0", want_there=None, want_back=None):
        """Sends `there` from the client and `back` from the server. What comes out at each end must be exactly what was put
        in at the other, and the monitor must see exactly `copied` (default: all of it)."""
        ends = {"server": self.tap(self.server, "eth0", outgoing=False), "client": self.tap(self.client, "eth0", outgoing=False)}
        mon = self.tap(self.box, monitor) if monitor else None
        self.send("client", there)
        self.send("server", back)
        want = {"server": collections.Counter(there if want_there is None else want_there),
                "client": collections.Counter(back if want_back is None else want_back)}
        copies = collections.Counter([*there, *back] if copied is None else copied)
        self.settle([(ends["server"], want["server"], "the server"), (ends["client"], want["client"], "the client"),
                     *([(mon, copies, "the monitor")] if mon else [])])

    def settle(self, expected):
        """Waits until every tap has what it should, and a little longer for what it should not have."""
        end = time.monotonic() + 5 * SLOW
        while any(tap.drain() != want for tap, want, _ in expected) and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.03)
        for tap, want, who in expected:
            got = tap.drain()
            expect(got == want, f"{who} saw {difference(got, want)}")

    def pins(self):
        """What is pinned for the box."""
        return sorted(glob.glob(f"{PIN_ROOT}/*-{self.inode}-*") + glob.glob(f"{PIN_ROOT}/net-{self.inode}*"))

    def features(self, ns, dev):
        """Offloads of a device."""
        return run(["ethtool", "-k", dev], ns=ns).stdout

    def ports(self):
        """Everything about the ports and their other ends that a tap may change, to compare before and after."""
        state = {}
        for ns, dev in ((self.client, "eth0"), (self.server, "eth0"), (self.box, "pa"), (self.box, "pb")):
            link = self.link(dev, ns)
            with inside(ns), open(f"/proc/sys/net/ipv6/conf/{dev}/disable_ipv6", encoding="ascii") as knob:
                ipv6 = knob.read()
            addresses = json.loads(self.ip(ns, "-j", "-4", "addr", "show", "dev", dev))
            state[ns, dev] = (sorted(link["flags"]), link.get("promiscuity"), link.get("xdp"), link["mtu"], ipv6,
                              [(a["local"], a["prefixlen"]) for row in addresses for a in row.get("addr_info", [])],
                              self.features(ns, dev), run(["tc", "-n", ns, "qdisc", "show", "dev", dev]).stdout)
        state["devices"] = sorted(row["ifname"] for row in json.loads(self.ip(self.box, "-j", "link")))
        return state

    def close(self):
        """Takes everything away; returns what the product left behind."""
        left = []
        for tap in self.taps:
            tap.close()
        for tap in json.loads(self.mirrorctl("-j", "tap", "list", status=None)[0] or "{}").get("taps", []):
            self.mirrorctl("tap", "del", tap["name"], status=None)
        self.mirrorctl("down", status=None)
        left += self.pins()
        left += glob.glob(f"/run/mirrorctl/net-{self.inode}*")
        for name in self.all():
            run(["ip", "netns", "delete", name], check=False)
        return left
