# SPDX-License-Identifier: GPL-2.0-only
"""What a scenario works with: lib.scene.Scene, with a capture tool in place of the mirror and a count in place of a verdict."""

from collections import Counter

from lib import wait
from lib.registry import Failure
from lib.scene import Rule, Scene
from score.drivers.dumpcap import SENTINEL

PATIENCE_S = 2.0
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


class World(Scene):
    """One scenario under one tool."""

    def __init__(self, spec, tmp, tool):
        super().__init__(spec, tmp)
        self.driver = tool(self)
        self.excuses = []       # (name of a limit, Rule)
        self.strip = 0          # bytes of link-layer header the monitor adds

    # -- the tool -----------------------------------------------------------------------------------------------

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

    def launch(self, argv, best, options=()):
        """Runs a program as target to its end; returns (process id, output)."""
        if self.armed is None:
            self.armed = self.now()
        return self.driver.launch(argv, options, best)

    # -- the truth ----------------------------------------------------------------------------------------------

    def limit(self, name, match, start=None, stop=None):
        """Declares packets that a tool under the limit `name` (the beginning of its line in `status`) attributes the wrong
        way round: a target's are expected missed, a stranger's mirrored. No more, no less, and only while the tool itself
        reports that limit."""
        rule = Rule(None, match, start or {})
        rule.stop = stop
        self.excuses.append((name, rule))
        return rule

    def settle(self):
        if self.spaces:
            super().settle()

    # -- the count ----------------------------------------------------------------------------------------------

    def score(self):
        """Settles, ends the capture and counts."""
        self.settle()
        self.driver.finish()
        result = [self._count()]
        if self.driver.patient:
            def agree():
                result[0] = self._count()
                return result[0].exact()
            wait.within(agree, PATIENCE_S)
        if not result[0].wire and not getattr(self, "nothing", False):
            raise Failure("the scenario put no packet of the target on the wire")
        if not result[0].beside and not self.spec.func.alone:
            raise Failure("the scenario put no foreign packet beside the target's")
        return result[0]

    def _sorted_wire(self, limits):
        """All packets of the wires as (packet, is the target's, name of the limit it falls under or None)."""
        rows = []
        in_force = [(name, rule) for name, rule in self.excuses if any(line.startswith(name) for line in limits)]
        for dev, wire in self.wires.items():
            for index, packet in enumerate(wire.drain()):
                if packet.frame[12:14] == SENTINEL.to_bytes(2, "big"):
                    continue
                mine = any(rule.covers(dev, index, packet) for rule in self.rules)
                excuse = next((name for name, rule in in_force if rule.covers(dev, index, packet)), None)
                rows.append((packet, mine, excuse))
        return rows

    def _count(self):
        score = Score()
        compare = self._comparable_of
        want, beside, lost, lent, known = Counter(), Counter(), Counter(), Counter(), {}
        for packet, mine, excuse in self._sorted_wire(self.driver.limits()):
            data = compare(packet)
            known[data] = packet
            (want if mine else beside)[data] += 1
            if excuse:
                (lost if mine else lent)[data] += 1
                if excuse not in score.limits:
                    score.limits.append(excuse)
        have, shown = Counter(), {}
        for packet in self.driver.frames():
            data = self.driver.comparable(packet) if not self.strip else packet.without_checksum()[self.strip:]
            have[data] += 1
            shown[data] = packet
        score.wire, score.beside = sum(want.values()), sum(beside.values())
        score.limit_missed, score.limit_foreign = sum(lost.values()), sum(lent.values())
        self._tally(score, want, beside, have, known, shown)
        self._misplaced(score, want, have, lost, lent, known, shown)
        score.changed = self._changed()
        score.lines += self.driver.complaints()
        return score

    @staticmethod
    def _tally(score, want, beside, have, known, shown):
        for data, count in want.items():
            score.mirrored += min(count, have[data])
            score.missed += max(0, count - have[data])
        for data, count in have.items():
            extra = count - want[data]
            if extra <= 0:
                continue
            foreign = extra if not want[data] and not beside[data] else min(extra, beside[data])
            score.foreign += foreign
            score.duplicated += extra - foreign
            if data not in known:
                score.lines.append(f"not on the wire x{extra}: {shown[data]}")

    @staticmethod
    def _misplaced(score, want, have, lost, lent, known, shown):
        """Names the packets that are not where the truth and the limits put them."""
        due = Counter(want)
        due.subtract(lost)
        due.update(lent)
        rows = []
        for data in {*due, *have}:
            if due[data] > have[data]:
                rows.append(f"missed x{due[data] - have[data]}: {known[data]}")
            elif have[data] > due[data] and data in known:
                kind = "twice" if due[data] else "under a limit, but mirrored" if lost[data] else "foreign"
                rows.append(f"{kind} x{have[data] - due[data]}: {known.get(data) or shown[data]}")
        score.lines += rows[:SHOWN]

    def _comparable_of(self, packet):
        if self.strip:
            return packet.without_checksum() if packet.bare else packet.without_checksum()[self.strip:]
        return self.driver.comparable(packet)

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
