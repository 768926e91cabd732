# SPDX-License-Identifier: GPL-2.0-only
"""Two namespaces joined by a veth pair, the traffic between them, and everything that can be put in its way."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile

from bench import kernel
from bench.sample import Skipped
from lib import bpf, netns, wait
from lib.mirrorctl import BINARY

HERE = os.path.dirname(os.path.abspath(__file__))
LOAD = os.path.abspath(os.environ.get("BENCH_LOAD", os.path.join(HERE, "..", "..", ".output", "bench", "load")))
SENDER = 0                              # processor of whoever sends
OTHER = min(1, os.cpu_count() - 1)      # and of whoever receives or captures
PORT = 8        # UDP to this port and the next is dropped where it arrives, by a program of ours
STEADY = 30     # so many looks at a file that did not grow: dumpcap writes what it has at once, and does not read on at its end
TAKEN = 12      # UDP to this port goes to a socket whose buffer is full: nobody reads, so that one processor does all the work
SMALL = 18      # bytes of UDP payload: a 60-byte frame
OUT, OUT_MACS = ("10.12.0.1", "10.12.0.2"), ("02:00:00:00:12:01", "02:00:00:00:12:02")
WIRE, WIRE_MACS = ("10.13.0.1", "10.13.0.2"), ("02:00:00:00:13:01", "02:00:00:00:13:02")
PIN = "/sys/fs/bpf/mirrorctl"


def setup(ns, cpu):
    """preexec_fn: in a namespace, on a processor, before all others there, dies with us."""
    def work():
        netns.enter(ns)
        netns.prctl(netns.PR_SET_PDEATHSIG, 9)
        os.sched_setaffinity(0, {cpu})
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    return work


def ifindex(ns, dev):
    """Number of a device."""
    return netns.ip_json(ns, "link", "show", "dev", dev)[0]["ifindex"]


@contextlib.contextmanager
def leaving_out(abilities):
    """mirrorctl is told that this kernel lacks some abilities."""
    before = os.environ.get("MIRRORCTL_DISABLE")
    os.environ["MIRRORCTL_DISABLE"] = ",".join(filter(None, (before, abilities)))
    try:
        yield
    finally:
        os.environ.pop("MIRRORCTL_DISABLE")
        if before is not None:
            os.environ["MIRRORCTL_DISABLE"] = before


class Load:
    """One generator (load.c)."""

    def __init__(self, ns, *words, cpu=SENDER):
        self.pid = self.other = 0
        self.proc = subprocess.Popen([LOAD, *[str(word) for word in words]], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     text=True, preexec_fn=setup(ns, cpu))
        first = self.proc.stdout.readline().split()
        if first[:1] != ["ready"]:
            self.close()
            raise Skipped(f"the generator does not start: {' '.join(str(word) for word in words)}")
        self.pid, self.other = int(first[1]), int(first[2])

    def ask(self, *words):
        """One sample: the four numbers of its answer."""
        self.proc.stdin.write(" ".join(str(word) for word in words) + "\n")
        self.proc.stdin.flush()
        answer = self.proc.stdout.readline().split()
        if len(answer) != 4:
            raise RuntimeError("a generator ended")
        return [int(word) for word in answer]

    def rate(self, ms):
        """Things per second, of a mode that answers with number and time."""
        count, ns, *_ = self.ask(int(ms))
        return count * 1e9 / ns

    def close(self):
        """Ends it."""
        self.proc.kill()
        self.proc.wait()
        self.proc.stdin.close()
        self.proc.stdout.close()


class Way:
    """A way for packets: from namespace `source` to address `to`, past hook `hook` of device `dev` in namespace `ns`, to namespace
    `sink`. Datagrams of a benchmark go to `port`."""

    def __init__(self, source, to, ns, dev, hook, sink, port=PORT):
        self.source, self.to, self.ns, self.dev, self.hook, self.sink, self.port = source, to, ns, dev, hook, sink, port
        self.direction = "egress" if hook == kernel.EGRESS else "ingress"


class Place:
    """Two namespaces, c and s, joined by three veth pairs. Undone by close(). Ways:

    sent       leaves c by out0, whose other end is in c as well: like a network card, it leads nowhere that could be asked
    received   comes from c to eth0 of s
    container  leaves c by eth0, whose other end is in another namespace
    between    leaves c by br0, a bridge on a veth pair to wire0 of s: for conversations of two processes
    """

    def __init__(self, ms):
        self.ms = ms
        self.c, self.s = f"{netns.PREFIX}c", f"{netns.PREFIX}s"
        self.open, self.programs = [], {}
        self.sent = Way(self.c, OUT[1], self.c, "out0", kernel.EGRESS, self.c)
        self.received = Way(self.c, netns.S4, self.s, "eth0", kernel.INGRESS, self.s, TAKEN)
        self.container = Way(self.c, netns.S4, self.c, "eth0", kernel.EGRESS, self.s, TAKEN)
        self.between = Way(self.c, WIRE[1], self.c, "br0", kernel.EGRESS, self.s)
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    def _make(self):
        bpf.mount()
        for name in (self.c, self.s):
            netns.create(name)
        netns.join(self.c, self.s)
        for name, code in (("empty", kernel.verdict(kernel.NEXT)), ("drop", kernel.verdict(kernel.DROP)),
                           ("discard", kernel.discard(PORT))):
            self.programs[name] = kernel.Program(f"{kernel.BPFFS}/{netns.PREFIX}{name}", code)
        self._pair(OUT, OUT_MACS, (self.c, "out0", "out0"), (self.c, "out1", None))
        netns.ip(self.c, f"link add br0 address {WIRE_MACS[0]} type bridge", "link set br0 arp off addrgenmode none up")
        self._pair(WIRE, WIRE_MACS, (self.c, "wire0", "br0"), (self.s, "wire0", "wire0"))
        netns.ip(self.c, "link set wire0 master br0")
        for ns, dev in ((self.s, "wire0"), (self.c, "out1")):
            self.tc(ns, f"qdisc add dev {dev} clsact")
            self.tc(ns, f"filter add dev {dev} ingress prio 9 protocol all " + self.bpf("discard"))

    @staticmethod
    def _pair(addresses, macs, *ends):
        """A veth pair; `ends` are (namespace, device, device that has the address or None)."""
        (ns, dev, _), (other_ns, other, _) = ends
        netns.run(["ip", "link", "add", dev, "netns", ns, "address", macs[0], "type", "veth", "peer", "name", other, "netns",
                   other_ns, "address", macs[1]])
        for i, (name, port, own) in enumerate(ends):
            netns.ip(name, f"link set {port} arp off addrgenmode none up")
            if own:
                netns.ip(name, f"addr add {addresses[i]}/24 dev {own}",
                         f"neigh replace {addresses[1 - i]} lladdr {macs[1 - i]} dev {own} nud permanent")
        for name, port, _ in ends:
            wait.until(lambda name=name, port=port: netns.has_carrier(name, port), f"{port} to come up")

    def bpf(self, name):
        """Words of tc(8) for one of our programs."""
        return f"bpf direct-action object-pinned {self.programs[name].path}"

    def tc(self, ns, words):
        """One command of tc(8)."""
        netns.run(["tc", *words.split()], ns)

    def load(self, ns, *words, cpu=SENDER):
        """A generator that lives as long as the place."""
        self.open.append(Load(ns, *words, cpu=cpu))
        return self.open[-1]

    def drop(self, load):
        """Ends a generator before the place ends."""
        self.open.remove(load)
        load.close()

    @contextlib.contextmanager
    def traffic(self, way, sockets=1):
        """A sender of small UDP with so many sockets, and as many at the other end if the packets get that far; yields both."""
        to = self.load(way.sink, "receive", way.to, way.port, sockets, 0) if way.port == TAKEN else None
        sender = self.load(way.source, "send", way.to, way.port, SMALL, sockets)
        try:
            yield sender, to
        finally:
            self.drop(sender)
            if to:
                self.drop(to)

    def mirrorctl(self, ns, *words, check=True):
        """The command under test."""
        return netns.run([BINARY, "-q", *[str(word) for word in words]], ns, check=check)

    def json(self, ns, verb, *words):
        """Its answer as JSON."""
        return json.loads(netns.run([BINARY, "-j", verb, *words], ns).stdout)

    @contextlib.contextmanager
    def mirror(self, way, *words):
        """A mirror of a way's device."""
        try:
            self.mirrorctl(way.ns, "up", way.dev, *words)
            yield
        finally:
            self.mirrorctl(way.ns, "down")

    def pins(self, ns):
        """Directory of an instance."""
        return f"{PIN}/net-{os.stat(f'{netns.RUN_DIR}/{ns}').st_ino}"

    @contextlib.contextmanager
    def tcx(self, way, fd, hooks):
        """A TC program on TCX hooks of a way's device."""
        index = ifindex(way.ns, way.dev)
        with contextlib.ExitStack() as stack:
            try:
                for hook in hooks:
                    stack.enter_context(kernel.tcx(fd, way.ns, index, hook))
            except OSError as why:
                raise Skipped(f"no TCX: {why}") from None
            yield

    def empty_tcx(self, way):
        """A TCX program that returns at once."""
        return self.tcx(way, self.programs["empty"].fd, (way.hook,))

    @contextlib.contextmanager
    def clone(self, way, dev, port=None):
        """A TCX program that copies everything, or what goes to a port, and does nothing else; in both directions where packets
        go both ways."""
        program = kernel.Program(f"{kernel.BPFFS}/{netns.PREFIX}clone", kernel.clone(ifindex(way.ns, dev), port))
        try:
            with self.tcx(way, program.fd, (kernel.EGRESS, kernel.INGRESS) if way is self.between else (way.hook,)):
                yield
        finally:
            program.close()

    @contextlib.contextmanager
    def filter(self, way, words):
        """A filter of tc(8) in front of what is there; in both directions where packets go both ways."""
        made = netns.run(["tc", "qdisc", "add", "dev", way.dev, "clsact"], way.ns, check=False).returncode == 0
        hooks = ("egress", "ingress") if way is self.between else (way.direction,)
        try:
            for hook in hooks:
                self.tc(way.ns, f"filter add dev {way.dev} {hook} prio 1 protocol all {words}")
            yield
        finally:
            for hook in hooks:
                self.tc(way.ns, f"filter del dev {way.dev} {hook} prio 1")
            if made:
                self.tc(way.ns, f"qdisc del dev {way.dev} clsact")

    def empty_cls_bpf(self, way):
        """A cls_bpf filter that returns at once."""
        return self.filter(way, self.bpf("empty"))

    @contextlib.contextmanager
    def monitor(self, ns, kind):
        """A device like the monitor of that type, for mirred and nft: copies go to `copies`, captures run on `copies-out`
        (veth) or `copies` itself. Yields (where copies go, where they are captured)."""
        try:
            if kind == "veth":
                netns.ip(ns, "link add copies type veth peer name copies-out", "link set copies-out arp off addrgenmode none up")
                self.tc(ns, "qdisc add dev copies-out clsact")
                self.tc(ns, "filter add dev copies-out ingress protocol all " + self.bpf("drop"))
            else:
                netns.ip(ns, f"link add copies type {kind}")
            netns.ip(ns, "link set copies mtu 65535 arp off addrgenmode none up")
            if kind == "veth":
                netns.ip(ns, "link set copies-out mtu 65535")
            yield "copies", "copies-out" if kind == "veth" else "copies"
        finally:
            netns.run(["ip", "-n", ns, "link", "del", "copies"], check=False)

    def mirred(self, way, dev):
        """The kernel's own copy of everything."""
        return self.filter(way, f"u32 match u32 0 0 action mirred egress mirror dev {dev}")

    @contextlib.contextmanager
    def nft(self, ns, family, chain, rule):
        """One nftables rule in a table of its own."""
        if not shutil.which("nft"):
            raise Skipped("no nft")
        done = netns.run(["nft", "-f", "-"], ns, text_in=f"table {family} bench {{\nchain out {{\n{chain}\n{rule}\n}}\n}}\n",
                         check=False)
        if done.returncode:
            raise Skipped(f"nft refuses: {done.stderr.strip().splitlines()[0]}")
        try:
            yield
        finally:
            netns.run(["nft", "delete", "table", family, "bench"], ns)

    def nft_dup(self, way, dev):
        """A copy of everything by nftables."""
        return self.nft(way.ns, "netdev", f"type filter hook {way.direction} device {way.dev} priority 0;", f'dup to "{dev}"')

    def close(self):
        """Undoes everything."""
        for load in self.open:
            load.close()
        for name in (self.c, self.s):
            self.mirrorctl(name, "down", check=False)
            netns.delete(name)
        for program in self.programs.values():
            program.close()


class Capture:
    """dumpcap on a device, into a file in memory that is thrown away unless it is named."""

    def __init__(self, ns, dev, path=None, words=()):
        self.room = None if path else tempfile.NamedTemporaryFile(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        self.path = path or self.room.name
        self.proc = subprocess.Popen(["dumpcap", "-q", "-i", dev, "-B", "64", *words, "-w", self.path], stdin=subprocess.DEVNULL,
                                     stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=setup(ns, OTHER))
        os.set_blocking(self.proc.stderr.fileno(), False)
        self.log = b""
        wait.until(self._runs, f"dumpcap to capture {dev}", 15)

    def _runs(self):
        self.log += self.proc.stderr.read() or b""
        if self.proc.poll() is not None:
            raise Skipped(f"dumpcap ended: {self.log.decode(errors='replace').strip()}")
        return b"File:" in self.log

    def stop(self):
        """Ends it as a user does, once it has written what it has; returns (captured, dropped)."""
        sizes = []

        def written():
            sizes.append(os.stat(self.path).st_size)
            return len(sizes) > STEADY and sizes[-1] == sizes[-STEADY]
        wait.within(written, 20)
        self.proc.send_signal(signal.SIGINT)
        os.set_blocking(self.proc.stderr.fileno(), True)
        self.log += self.proc.stderr.read()
        self.proc.wait()
        self.proc.stderr.close()
        said = re.search(rb"received/dropped on interface .*': (\d+)/(\d+)", self.log)
        if self.room:
            self.room.close()
        if not said:
            raise RuntimeError(f"dumpcap does not say what it captured: {self.log!r}")
        return int(said[1]), int(said[2])
