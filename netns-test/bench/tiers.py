# SPDX-License-Identifier: GPL-2.0-only
"""(f) again, for guests: the owner programs with trampolines and without, in the same boot. Times of an emulated processor say
nothing by themselves, so all of it is relative: to no mirror, and one tier to the other."""

from bench import calls
from bench.place import leaving_out
from bench.sample import Skipped, paired, ratio

TABLE, AGAINST = "tiers", "tiers-against"
TIERS = {"with trampolines": "", "without": "fentry"}     # what MIRRORCTL_DISABLE leaves out
STATES = ("no target", "of no target", "of a target")
TRAMPOLINE = "fentry/"     # how an attribution that is one begins


def run(report, place):
    """The calls of calls.py in both tiers, shuffled, each between two rounds of calls without a mirror."""
    way = place.sent
    report.table(TABLE, "What a call takes while the mirror is up, with trampolines and without", "times", base="no program",
                 note="times as long as without a mirror")
    report.table(AGAINST, "With trampolines against without", "times", base="the same call without trampolines",
                 note="times as long as in the other tier")
    caller = place.load(way.ns, "calls")
    idle = place.load(place.s, "hold", 1, 10)

    def measure():
        return {(TABLE, text + ": "): min(calls.one(caller, call, place.ms / 8) for _ in range(4))
                for call, text in calls.CALLS.items()}

    def tier(name, abilities):
        def block():
            with leaving_out(abilities), place.mirror(way):
                found = place.json(way.ns, "status")["attribution"]
                report.facts[f"attribution {name}"] = found
                if found["use"].startswith(TRAMPOLINE) != (not abilities):
                    raise Skipped(f"senders and receivers are found by {found['use']}")
                yield f"{STATES[0]}, {name}"
                place.mirrorctl(way.ns, "add-pid", idle.pid)
                yield f"{STATES[1]}, {name}"
                place.mirrorctl(way.ns, "add-pid", caller.pid)
                yield f"{STATES[2]}, {name}"
        block.__name__ = name
        return block

    paired(report, [tier(name, abilities) for name, abilities in TIERS.items()], measure, compare=ratio)
    one, other = TIERS
    for text in calls.CALLS.values():
        for state in STATES:
            report.divide(AGAINST, f"{text}: {state}", (TABLE, f"{text}: {state}, {one}"), (TABLE, f"{text}: {state}, {other}"))
    place.drop(caller)
    place.drop(idle)
