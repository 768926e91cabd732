# SPDX-License-Identifier: GPL-2.0-only
"""What a case works with: namespaces, actors, the mirror, captures, and the comparison that decides."""

import os
import re
import socket
import subprocess
from collections import Counter

from lib import leaks, netns, wait
from lib.actor import Actor
from lib.capture import Dumpcap, Tap, Wire
from lib.mirrorctl import OK, Command
from lib.registry import Failure, Skip, expect_equal

MONITOR = "mon0"
SETTLE_S = 15.0
AGREE_S = 1.5
REASONS = ("socket", "listener", "linger", "icmp_id", "icmp_error", "raw", "fragment")
SHOWN = 40


def unbalanced(stats):
    """What does not add up in stats, as lines: each packet is counted, under one cause."""
    refused = stats["filtered"] + stats["sampled"] + stats["limited"]
    sums = (("seen + further and unmatched + matched", stats["seen"] + stats["further"], stats["unmatched"] + stats["matched"]),
            ("matched and the sum of reasons", stats["matched"], sum(stats["reasons"].values())),
            ("matched and what became of it", stats["matched"], stats["mirrored"] + stats["failed"] + refused),
            ("failed and the sum of failures", stats["failed"], sum(stats["failures"].values())),
            ("limited and the sum of limits", stats["limited"], sum(stats["limits"].values())))
    return [f"stats: {what}: {one} and {other}" for what, one, other in sums if one != other]


class Rule:
    """Packets of process `pid`: a conversation key or a predicate, within a window of each wire."""

    def __init__(self, pid, match, start):
        self.pid, self.match, self.start, self.stop = pid, match, start, None
        self.lost = False       # matched, but no copy is possible

    def covers(self, dev, index, packet):
        """True if the packet, at `index` of the wire `dev`, is the process's by this rule."""
        if index < self.start.get(dev, 0) or (self.stop and index >= self.stop.get(dev, 0)):
            return False
        return self.match(packet) if callable(self.match) else packet.key == self.match


class Scene:
    """One case's world. Everything made through it is undone by teardown()."""

    def __init__(self, spec, tmp):
        self.spec = spec
        self.tmp = tmp
        self.command = Command(spec.disable)
        self.spaces = {}
        self.baseline = {}
        self.actors = []
        self.procs = []
        self.wires = {}         # device of namespace c -> Wire
        self.far_wires = []     # (device of c, Wire of its peer)
        self.monitor = None
        self.mirrored_in = set()
        self.rules = []
        self.sums = True        # checksums of copies are those of the wire, finished or not
        self.armed = None       # wire positions when the first target was added

    # -- namespaces and processes -------------------------------------------------------------------------------

    def space(self, key):
        """Name of this case's namespace `key`, made on first use."""
        if key not in self.spaces:
            name = f"{netns.PREFIX}{self.spec.name.replace('.', '-').replace('_', '-')}-{key}".replace("@", "-without-")
            netns.create(name)
            self.spaces[key] = name
            self.baseline[name] = (leaks.devices(name), leaks.qdiscs(name))
        return self.spaces[key]

    def pair(self):
        """Namespaces c and s joined by eth0."""
        netns.join(self.space("c"), self.space("s"))
        for name in self.spaces.values():
            self.baseline[name] = (leaks.devices(name), leaks.qdiscs(name))

    def note_devices(self):
        """Takes the devices and qdiscs of now as the state that `down` has to leave."""
        for name in self.spaces.values():
            self.baseline[name] = (leaks.devices(name), leaks.qdiscs(name))

    def actor(self, key="c", label=None):
        """A new process in a namespace."""
        actor = Actor.start(self.space(key), label or f"{key}{len(self.actors)}")
        actor.where = key
        self.actors.append(actor)
        return actor

    def popen(self, key, *argv, **more):
        """Starts a real program in a namespace; its output can be read from .stdout."""
        more.setdefault("stdin", subprocess.DEVNULL)
        more.setdefault("stdout", subprocess.PIPE)
        more.setdefault("stderr", subprocess.STDOUT)
        proc = subprocess.Popen(argv, text=True, preexec_fn=netns.child_setup(self.space(key)), **more)
        self.procs.append(proc)
        return proc

    def path(self, name):
        """A file name of this case's own."""
        return os.path.join(self.tmp, name)

    # -- the mirror ---------------------------------------------------------------------------------------------

    def mirrorctl(self, *words, key="c", status=OK, **more):
        """Runs mirrorctl in a namespace; the case fails unless it exits with `status` (None: any)."""
        self.mirrored_in.add(key)
        return self.command.run(self.space(key), *words, status=status, **more)

    def up(self, *words, sources=("eth0",), capture=True, stock=True):
        """Brings the mirror up on `sources` and starts capturing mon0, the sources and their far ends."""
        self.mirrorctl("up", *sources, *words)
        if capture:
            self.capture(sources, stock=stock)

    def capture(self, sources=("eth0",), monitor=MONITOR, stock=True):
        """Starts all captures. The monitor must not have carried a frame yet. `stock`: capture it with dumpcap, else
        with a tap of our own that survives the monitor's going down."""
        for dev in sources:
            self.watch(dev)
        if stock:
            self.monitor = Dumpcap(self.space("c"), monitor, self.path("mon0.pcapng"))
            expect_equal(self.monitor.base, 0, f"frames on {monitor} before anything was selected")
        else:
            self.monitor = Tap(self.space("c"), monitor)

    def watch(self, dev, ethernet=True):
        """Starts the ground truth of one source, and of its peer where there is one."""
        self.wires[dev] = Wire(self.space("c"), dev, ethernet)
        if dev == "eth0":
            self.far_wires.append((dev, Wire(self.space("s"), "eth0")))

    def add(self, *targets, options=()):
        """Makes actors (or process ids) targets."""
        if self.armed is None:
            self.armed = self.now()
        pids = [getattr(target, "pid", target) for target in targets]
        return self.mirrorctl("add-pid", *options, *pids)

    def arm(self):
        """Notes that from here on every packet of the sources is counted."""
        self.armed = self.now()

    def get(self, verb, key="c"):
        """The JSON answer of list, status or stats."""
        return self.mirrorctl("-j", verb, key=key).json

    def pins(self, key="c"):
        """The directory of the pins of a namespace's mirror."""
        return f"/sys/fs/bpf/mirrorctl/net-{os.stat(f'{netns.RUN_DIR}/{self.space(key)}').st_ino}"

    def tier(self, event):
        """How this kernel attributes an event: status.attribution[event]."""
        return str(self.get("status")["attribution"][event])

    def before_use(self):
        """True where a passed socket changes owner before the packet of its first use, not after it."""
        return "fentry" in self.tier("use")

    def by_use(self):
        """True where sending and receiving on a connected socket makes it the user's at all."""
        return not self.tier("use").startswith("cgroup")

    def limited(self, topic):
        """True if `status` names a limit of this kind (the word before the colon)."""
        return any(text.startswith(topic + ":") for text in self.get("status")["limits"])

    def need_closing(self):
        """Skips the case where no program is told that a connection closes: what comes after it is a limit of its own."""
        self.need(not self.limited("linger"), "this kernel tells nobody that a connection closes (a limit that status names)")

    def at_accept(self):
        """True where an accepted connection changes owner at accept, not at the first receive."""
        return "fentry" in self.tier("accept")

    # -- the verdict --------------------------------------------------------------------------------------------

    def now(self):
        """Settles, then the position in every wire."""
        self.settle()
        return {dev: len(wire.drain()) for dev, wire in self.wires.items()}

    def owns(self, target, match, start=None):
        """Declares packets of a target: a conversation key or predicate, from `start` on (default: all of them)."""
        rule = Rule(getattr(target, "pid", target), match, start or {})
        self.rules.append(rule)
        return rule

    def settle(self):
        """Waits until no TCP packet is under way or owed in any namespace of the case."""
        names = list(self.spaces.values())
        wait.until(lambda: all(netns.tcp_quiet(name) for name in names), "TCP to be quiet", SETTLE_S)

    def expected(self):
        """Packets of each target on the wires, by process id; packets of a lost rule carry .lost."""
        owned = {rule.pid: [] for rule in self.rules}
        for dev, wire in self.wires.items():
            for index, packet in enumerate(wire.drain()):
                for rule in self.rules:
                    if rule.covers(dev, index, packet):
                        packet.lost = rule.lost
                        owned[rule.pid].append(packet)
                        break
        return owned

    def check(self, seen=True, per_target=True, strip=0, snaplen=None, cut_later=False, sums=True):
        """The verdict: frames on mon0 are the targets' frames on the wires, byte for byte and one for one; the
        originals arrived unchanged; every counter agrees. `seen`: compare that counter with the wires; `per_target`:
        compare the list; `strip`: bytes of link-layer header to leave out; `snaplen`: bytes kept of each frame;
        `cut_later`: the kernel cuts some packets behind TC, so that the wire and mon0 carry more than was counted; `sums`:
        compare checksums of TCP and UDP, which a monitor finishes where it cannot leave that to a device."""
        self.settle()
        self.sums = sums
        problems = []

        def agree():
            problems[:] = self._problems(seen and not cut_later, per_target and not cut_later, strip, snaplen)
            if cut_later:
                problems[:] = [text for text in problems if " on the wire: " not in text and "mon0 carried" not in text]
            return not problems

        wait.within(agree, AGREE_S)
        if problems:
            raise Failure("\n".join(problems + self._losses()))

    def _losses(self):
        """What `status` counts as lost: beside a failure it may be the reason."""
        return [f"status: {text}" for text in self.get("status").get("limits", ()) if re.match(r"[a-z]+: \d", text)]

    def _problems(self, seen, per_target, strip, snaplen):
        owned = self.expected()
        stats = self.get("stats")
        mine = [packet for packets in owned.values() for packet in packets]
        copied = [packet for packet in mine if not packet.lost]
        problems = self._compare_frames(copied, strip, snaplen)
        problems += self._originals()
        problems += self._counters(stats, len(mine), len(mine) - len(copied), seen)
        if per_target:
            problems += self._targets(owned)
        return problems

    def _compare_frames(self, mine, strip, snaplen):
        got = self.monitor.frames()
        cut = slice(None, snaplen)
        want = Counter(self._comparable(p, strip)[cut] for p in mine)
        have = Counter(self._comparable(p, strip) for p in got)
        if want == have:
            return []
        wires = [packet for wire in self.wires.values() for packet in wire.packets]
        known = {self._comparable(p, strip)[cut]: p for p in wires}
        lines = [f"mon0 has {sum(have.values())} frames, the targets {sum(want.values())} on the wire"]
        for data, count in (want - have).items():
            lines.append(f"  missed x{count}: {known[data]}")
        shown = {self._comparable(p, strip): p for p in got}
        for data, count in (have - want).items():
            kind = "twice" if data in want else "foreign" if data in known else "not on the wire"
            lines.append(f"  {kind} x{count}: {known.get(data, shown[data])}")
        return lines[:SHOWN]

    def _comparable(self, packet, strip):
        """A tun's frames have no link-layer header on the wire; with `strip` only what follows it is compared, without
        the checksum a tun computes later."""
        if not strip:
            return packet.frame if self.sums else packet.without_checksums()
        return packet.without_checksum() if packet.bare else packet.without_checksum()[strip:]

    def _originals(self):
        lines = []
        for dev, far in self.far_wires:
            near = self.wires[dev].drain()
            away = far.drain()
            for text, one, other in (("sent", near, away), ("received", away, near)):
                left = Counter(p.frame for p in one if p.outgoing)
                right = Counter(p.frame for p in other if not p.outgoing)
                if left != right:
                    lines.append(f"originals {text} on {dev} did not arrive as they were: "
                                 f"{sum((left - right).values())} lost or changed, {sum((right - left).values())} new")
        return lines

    def _counters(self, stats, expected, failed, seen):
        lines = []

        def same(what, one, other):
            if one != other:
                lines.append(f"{what}: {one} and {other}")

        lines += unbalanced(stats)
        same("stats: reasons known", set(stats["reasons"]), set(REASONS))
        same("stats: matched and the targets' packets on the wire", stats["matched"], expected)
        same("stats: failed and what the case expects", stats["failed"], failed)
        if self.monitor:
            same("stats: mirrored and frames mon0 carried", stats["mirrored"], self.monitor.passed())
        if seen and self.armed is not None:
            carried = sum(len(wire.packets) - self.armed.get(dev, 0) for dev, wire in self.wires.items())
            same("stats: seen and frames on the wires", stats["seen"], carried)
        return lines

    def _targets(self, owned):
        lines = []
        rows = {row["pid"]: row for row in self.get("list")["targets"]}
        for pid, packets in owned.items():
            row = rows.get(pid)
            if row is None:
                lines.append(f"list: no target {pid}")
                continue
            for field, want in (("packets", len(packets)), ("bytes", sum(len(p.frame) for p in packets)),
                                ("failed", sum(p.lost for p in packets))):
                if row[field] != want:
                    lines.append(f"list: target {pid} {field} {row[field]}, on the wire {want}")
        return lines

    def reasons(self, **want):
        """Checks how many packets were matched for the named reasons."""
        have = self.get("stats")["reasons"]
        for reason, count in want.items():
            expect_equal(have[reason], count, f"packets matched for reason {reason}")

    # -- the end ------------------------------------------------------------------------------------------------

    def quiet_end(self):
        """Takes the mirror down everywhere and checks that each namespace is as it was."""
        for key in sorted(self.mirrored_in):
            name = self.space(key)
            self.mirrorctl("down", key=key)
            devices, qdiscs = self.baseline[name]
            expect_equal(leaks.devices(name) - devices, set(), f"devices left in namespace {key} by down")
            expect_equal(leaks.qdiscs(name) - qdiscs, set(), f"qdiscs left in namespace {key} by down")

    def release(self):
        """Ends every process and capture of the case."""
        if self.monitor:
            self.monitor.stop()
        for wire in [*self.wires.values(), *(far for _, far in self.far_wires)]:
            wire.close()
        for actor in self.actors:
            actor.close()
        for proc in self.procs:
            if proc.poll() is None:
                proc.kill()
            proc.wait()

    def need(self, condition, reason):
        """Skips the case with a reason unless the condition holds."""
        if not condition:
            raise Skip(reason)

    def need_ipv6(self):
        """Skips on a kernel without IPv6."""
        self.need(socket.has_ipv6 and os.path.exists("/proc/net/if_inet6"), "this kernel has no IPv6")
