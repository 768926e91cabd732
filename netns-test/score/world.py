# SPDX-License-Identifier: GPL-2.0-only
"""What a scenario works with: lib.scene.Scene, with a capture tool in place of the mirror and a count in place of a verdict."""

import os
import struct
import subprocess
from collections import Counter

from lib import wait
from lib.registry import Failure
from lib.scene import Rule, Scene
from score.drivers.dumpcap import sentinel

MARK = sentinel(0)[:14]     # begins a frame that a driver sends for itself
PATIENCE_S = 2.0
HERE = os.path.dirname(os.path.abspath(__file__))
BUILT = os.path.join(HERE, "..", "..", ".output", "score")  # helper programs, for where there is no compiler
SHOWN = 12


class Score:
    """Packet counts of one scenario."""

    COUNTS = ("wire", "mirrored", "missed", "foreign", "duplicated", "changed", "beside", "limit_missed", "limit_foreign")

    def __init__(self):
        for name in self.COUNTS:
            setattr(self, name, 0)
        self.limits, self.lines = [], []

    def exact(self):
        """True when the copies are the target's packets, one for one, but for what a named limit says."""
        return (self.missed == self.limit_missed and self.foreign == self.limit_foreign and not self.duplicated
                and not self.changed and not self.lines)


class Tally:
    """Multisets of what is on the wires and what was captured; the numbers of a Score come from them."""

    def __init__(self):
        self.want, self.beside, self.again = Counter(), Counter(), Counter()    # the target's, others', seen again below
        self.lost, self.lent = Counter(), Counter()         # missed and mirrored by a limit
        self.have = Counter()
        self.known, self.shown = {}, {}

    def fill(self, score):
        """Counts, and names the packets that are not where the truth and the limits put them."""
        score.wire, score.beside = sum(self.want.values()), sum(self.beside.values())
        score.limit_missed, score.limit_foreign = sum(self.lost.values()), sum(self.lent.values())
        for data, count in self.want.items():
            score.mirrored += min(count, self.have[data])
            score.missed += max(0, count - self.have[data])
        for data, count in self.have.items():
            self._extra(score, data, count - self.want[data])
        score.lines += self._misplaced()
        score.lines[SHOWN:] = [f"... {len(score.lines) - SHOWN} more"] if len(score.lines) > SHOWN else []

    def _extra(self, score, data, extra):
        if extra <= 0:
            return
        foreign = min(extra, self.beside[data])
        if not self.want[data] and not self.again[data]:
            foreign = extra
        score.foreign += foreign
        score.duplicated += extra - foreign
        if data not in self.known:
            score.lines.append(f"not on the wire x{extra}: {self.shown[data]}")

    def _misplaced(self):
        due = Counter(self.want)
        due.subtract(self.lost)
        due.update(self.lent)
        rows = []
        for data in {*due, *self.have}:
            more = self.have[data] - due[data]
            if more < 0:
                rows.append(f"missed x{-more}: {self.known[data]}")
            elif more and data in self.known:
                kind = "under a limit, but mirrored" if self.lost[data] else "twice" if self.want[data] or self.again[data] \
                    else "foreign"
                rows.append(f"{kind} x{more}: {self.known[data]}")
        return rows


def direction(packet):
    """Addresses and ports of a TCP packet, source first."""
    return (packet.src, packet.dst, packet.frame[packet.tcp_at:packet.tcp_at + 4])


def sequence(packet):
    """Its sequence number."""
    return struct.unpack_from("!I", packet.frame, packet.tcp_at + 4)[0]


def segments(packets):
    """Lengths of the TCP segments on the wire by direction and sequence number."""
    found = {}
    for packet in packets:
        if packet.tcp_at is not None and packet.payload:
            found.setdefault((direction(packet), sequence(packet)), set()).add(len(packet.payload))
    return found


def coarse(packet, bounds, choose=max):
    """A TCP packet as (direction, sequence number, data) of each segment in it; without data as its header fields. `choose`:
    the longest segment that fits, or the shortest where copies come in pieces of what is on the wire."""
    way, seq, data = direction(packet), sequence(packet), packet.payload
    if not data:
        return [(way, packet.frame[packet.tcp_at + 4:packet.tcp_at + 14])]
    units = []
    while data:
        length = choose((size for size in bounds.get((way, seq), ()) if size <= len(data)), default=len(data))
        units.append((way, seq, data[:length]))
        seq, data = (seq + length) & 0xFFFFFFFF, data[length:]
    return units


def build(name, path):
    """Compiles a helper program, for any host."""
    subprocess.run(["cc", "-O2", "-static", "-o", path, os.path.join(HERE, name + ".c")], check=True)


class World(Scene):
    """One scenario under one tool."""

    def __init__(self, spec, tmp, tool):
        super().__init__(spec, tmp)
        self.driver = tool(self)
        self.excuses = []       # (name of a limit, Rule)
        self.strip = 0          # bytes of link-layer header the monitor adds
        self.coarse = False     # TCP is compared by header and data, segment by segment of the wire
        self.facts, self.past = [], []
        self.foreign = ()       # program of a stranger, started by begin()
        self.pieces = ""        # limit under which copies of super-packets come in pieces: then compared piece by piece
        self.cut = False        # the device cuts super-packets behind TC: frames are more than copies taken
        self.lower = ()         # devices that carry the same packets again: a second copy from there is a duplicate

    # -- the tool -----------------------------------------------------------------------------------------------

    def compiled(self, name):
        """A helper program of this directory."""
        path = os.path.join(BUILT, name)
        if not os.path.exists(path):
            path = self.path(name)
            build(name, path)
        return path

    def open(self, *sources, words=()):
        """Starts the ground truth on the devices of namespace c (default eth0) and prepares the tool there."""
        sources = sources or ("eth0",)
        for dev in sources:
            self.watch(dev)
        self.driver.open(sources, words)

    def select(self, *targets, best, options=()):
        """Makes actors or process ids targets; `best` is the capture filter a person would write for this."""
        if self.armed is None:
            self.armed = self.now()
        return self.driver.select([getattr(target, "pid", target) for target in targets], options, best)

    def launch(self, argv, best, foreign, options=()):
        """Runs a program as target to its end, beside another that starts just before; returns (process id, output)."""
        if self.armed is None:
            self.armed = self.now()
        self.foreign = foreign
        try:
            return self.driver.launch(argv, options, best)
        finally:
            for proc in self.procs:
                proc.communicate()

    def begin(self):
        """Called by a driver when its capture runs, right before it starts the program."""
        self.popen("c", *self.foreign)

    # -- the truth ----------------------------------------------------------------------------------------------

    def limit(self, name, match, start=None, stop=None):
        """Declares packets that a tool under the limit `name` (the beginning of its line in `status`) attributes the wrong
        way round: a target's are expected missed, a stranger's mirrored. No more, no less, and only while the tool itself
        reports that limit."""
        rule = Rule(None, match, start or {})
        rule.stop = stop
        self.excuses.append((name, rule))
        return rule

    def say(self, text):
        """A fact of this run, for the report."""
        self.facts.append(text)

    def settle(self):
        if self.spaces:
            super().settle()

    # -- the count ----------------------------------------------------------------------------------------------

    def score(self):
        """Settles, ends the capture and counts; rounds that epoch() has counted are included."""
        self.settle()
        self.driver.finish()
        score = self._patiently()
        if not score.wire:
            raise Failure("the scenario put no packet of the target on the wire")
        if not score.beside and not self.spec.func.alone:
            raise Failure("the scenario put no foreign packet beside the target's")
        for name in Score.COUNTS:
            setattr(score, name, getattr(score, name) + sum(getattr(past, name) for past in self.past))
        return score

    def _patiently(self):
        """Counts, again and again while the copies may still be on their way to the file."""
        result = [self._count()]

        def agree():
            result[0] = self._count()
            return result[0].exact()

        if self.driver.patient:
            wait.within(agree, PATIENCE_S)
        return result[0]

    def epoch(self):
        """Counts what happened so far, which must be exact, and forgets it: for scenarios that run for hours."""
        self.settle()
        score = self._patiently()
        if not score.exact():
            raise Failure("\n".join([f"round {len(self.past) + 1}:", *score.lines]))
        self.past.append(score)
        self.rules, self.excuses = [], []
        for wire in [*self.wires.values(), *(far for _, far in self.far_wires)]:
            wire.packets.clear()
        self.driver.renew()

    def _sorted_wire(self, limits):
        """All packets of the wires as (packet, is the target's, name of the limit it falls under or None, device)."""
        rows = []
        in_force = [(name, rule) for name, rule in self.excuses if any(line.startswith(name) for line in limits)]
        for dev, wire in self.wires.items():
            for index, packet in enumerate(wire.drain()):
                if MARK in packet.frame:
                    continue
                mine = any(rule.covers(dev, index, packet) for rule in self.rules)
                excuse = next((name for name, rule in in_force if rule.covers(dev, index, packet)), None)
                rows.append((packet, mine, excuse, dev))
        return rows

    def _count(self):
        score = Score()
        tally = Tally()
        rows = self._sorted_wire(self.driver.limits())
        copies = self.driver.frames()
        cut_by = [self.pieces] if self.pieces and any(line.startswith(self.pieces) for line in self.driver.limits()) else []
        score.limits += cut_by
        bounds = None
        if self.coarse or cut_by:
            bounds = segments([*(packet for packet, *_ in rows), *(copies if cut_by else ())])
        for packet, mine, excuse, dev in rows:
            for data in self._units(packet, bounds):
                tally.known[data] = packet
                if dev in self.lower and not mine:
                    tally.again[data] += 1
                    continue
                (tally.want if mine else tally.beside)[data] += 1
                if excuse:
                    (tally.lost if mine else tally.lent)[data] += 1
                    if excuse not in score.limits:
                        score.limits.append(excuse)
        for packet in copies:
            for data in self._units(packet, bounds):
                tally.have[data] += 1
                tally.shown[data] = packet
        tally.fill(score)
        score.changed = self._changed()
        score.lines += self.driver.complaints()
        return score

    def _units(self, packet, bounds):
        """What is compared of a packet: all its bytes, unless the scenario says otherwise."""
        if self.strip:
            return [packet.without_checksum() if packet.bare else packet.without_checksum()[self.strip:]]
        if bounds is None or packet.tcp_at is None:
            return [self.driver.comparable(packet)]
        return coarse(packet, bounds, min if self.pieces else max)

    def _changed(self):
        """Originals that did not arrive as they were sent, both directions."""
        total = 0
        for dev, far in self.far_wires:
            near, away = self.wires[dev].drain(), far.drain()
            for one, other in ((near, away), (away, near)):
                left = Counter(p.frame for p in one if p.outgoing)
                right = Counter(p.frame for p in other if not p.outgoing)
                total += sum((left - right).values()) + sum((right - left).values())
        return total

    def release(self):
        self.driver.close()
        super().release()
