# SPDX-License-Identifier: GPL-2.0-only
"""stats --cost: what the programs take on this host, timed by the kernel while it is asked and no longer."""

import json
import os

from lib import netns, wait
from lib.registry import case, expect, expect_equal
from lib.traffic import Datagrams

BURST = 20
AT_CALLS = {"mir_accept", "mir_send", "mir_receive", "mir_sent", "mir_received", "mir_sendmsg4", "mir_sendmsg6", "mir_recvmsg4",
            "mir_recvmsg6"}
MEASURED_S = round(5 * wait.SLOW)


def runs(program):
    """How often the kernel has timed a program, by its id."""
    return json.loads(netns.run(["bpftool", "-j", "prog", "show", "id", str(program)]).stdout).get("run_cnt", 0)


def egress(t):
    """Id of the program that sees what leaves eth0: the other end of that veth is in another namespace."""
    return next(p["id"] for p in t.mirrorctl("-j", "stats", "--cost", "1").json["programs"] if p["name"] == "mir_peer_egress")


def hooks(t):
    """The programs that follow processes and sockets, by the pins of their links."""
    return {pin.removeprefix("hook_") for pin in os.listdir(t.pins()) if pin.startswith("hook_")}


def talk(t, command, program, sender, receiver):
    """Sends until the kernel has timed two bursts of runs; the command is measuring meanwhile, from within the first one on."""
    before, sent = runs(program), [0]

    def timed():
        expect(command.poll() is None, "the command measures until a burst has been timed")
        sender.to(receiver)
        sent[0] += 1
        return runs(program) - before >= 2 * BURST
    wait.until(timed, "the programs to be timed", 30)
    return sent[0]


@case(disable=("", "tp"))
def idle(t):
    """What runs at every send, receive and accept hangs there only while there is a target or a selector."""
    me = t.actor("c")
    t.mirrorctl("up", "lo")
    calls = set(os.listdir(t.pins())) & AT_CALLS
    expect(calls, "some program can be at socket calls")
    expect_equal(hooks(t) & calls, set(), "what hangs while nothing is selected")
    for select, deselect in ((("add-pid", me.pid), ("del-pid", me.pid)), (("add-name", "nobody-has-it"), ("del-selector", "all"))):
        t.mirrorctl(*select)
        expect_equal(hooks(t) & calls, calls, f"what hangs after {select[0]}")
        t.mirrorctl(*select)
        t.mirrorctl(*deselect)
        expect_equal(hooks(t) & calls, set(), f"what hangs after {deselect[0]}")


@case()
def timed_while_asked(t):
    """Programs that ran are listed with runs and time; nothing is timed before, after, or once the command was killed."""
    t.pair()
    t.mirrorctl("up", "eth0")
    stranger, sender, far = t.actor("c"), Datagrams(t.actor("c")), Datagrams(t.actor("s"))
    t.mirrorctl("add-pid", stranger.pid)
    program = egress(t)
    idle = runs(program)
    for _ in range(5):
        sender.to(far)
    expect_equal(runs(program), idle, "runs timed while nobody asks")

    command = t.command.popen(t.space("c"), "-j", "stats", "--cost", MEASURED_S)
    sent = talk(t, command, program, sender, far)
    out, err = command.communicate(timeout=60 * wait.SLOW)
    expect_equal((command.returncode, err), (0, ""), "status and talk of stats --cost")
    answer = json.loads(out)
    expect(answer["measured_ns"] >= MEASURED_S * 10**9, f"{MEASURED_S} seconds were measured: {answer['measured_ns']}")
    mine = [p for p in answer["programs"] if p["id"] == program]
    expect_equal(len(mine), 1, "a program is listed once")
    expect(BURST <= mine[0]["runs"] <= sent, f"runs of what was sent, {sent}: {mine[0]}")
    expect_equal(hooks(t) - {p["name"] for p in answer["programs"]}, set(), "programs of processes and sockets, not listed")
    expect(0 < mine[0]["run_ns"] < answer["measured_ns"], f"the time of all runs: {mine[0]}")
    expect_equal(sorted((p["run_ns"] for p in answer["programs"]), reverse=True), [p["run_ns"] for p in answer["programs"]],
                 "the dearest program is the first")

    command = t.command.popen(t.space("c"), "stats", "--cost", "3600")
    talk(t, command, program, sender, far)
    command.kill()
    command.communicate()
    idle = runs(program)
    sender.to(far)
    expect_equal(runs(program), idle, "runs timed after the command was killed")


@case()
def nothing_up(t):
    """While the mirror is down there is no program to be timed, and the answer comes at once."""
    t.space("c")
    answer = t.mirrorctl("-j", "stats", "--cost", "3600").json
    expect_equal(answer, {"measured_ns": 0, "programs": []}, "cost of nothing")
