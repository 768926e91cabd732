# SPDX-License-Identifier: GPL-2.0-only
"""kill -9 at every step of tap add and tap del: the next command finds the old state or the new one."""

import os
import re
import shutil
import tempfile

import frames
from world import BINARY, Skip, equal, expect, run

CALLS = ("bpf", "sendto", "ioctl", "mkdir", "rename", "rmdir", "unlink", "unlinkat", "write", "setns", "openat", "flock")
POINTS = 6      # of each call, unless EXHAUSTIVE=1


def traced(world, words, inject=()):
    """Runs mirrorctl under strace; returns how often it made each call."""
    with tempfile.NamedTemporaryFile(mode="r", prefix="tap-strace-") as log:
        run(["strace", "-f", "-o", log.name, "-e", "trace=" + ",".join(CALLS), *inject, BINARY, "--netns", world.box, *words],
            check=False)
        made = re.findall(r"^\d+ +([a-z]+)\(", log.read(), re.M)
    return {call: made.count(call) for call in CALLS}


def points(count):
    """Which of `count` calls to kill at."""
    if os.environ.get("EXHAUSTIVE") == "1" or count <= POINTS:
        return range(1, count + 1)
    return sorted({1 + round(i * (count - 1) / (POINTS - 1)) for i in range(POINTS)})


def whole_or_absent(world, before, probe, where):
    """After the crash: one command settles it."""
    try:
        tap = world.show()
        if tap:
            world.cross(probe, probe)
            expect(not tap["limits"], f"limits {tap['limits']}")
            world.mirrorctl("tap", "del", "t0")
        equal(world.ports(), before, "state after the crash and the next command")
        equal(world.pins(), [], "pins")
    except Exception as error:
        raise type(error)(f"killed at {where}: {error}") from None


def killed(world, mode, deleting):
    """One command, killed at one call after the other."""
    if not shutil.which("strace"):
        raise Skip("strace is not installed")
    probe = frames.kinds()[:4]
    add = ["tap", "add", "t0", "pa", "pb", "--mode", mode, "--take-addresses"]
    words = ["tap", "del", "t0"] if deleting else add
    world.ip(world.box, "addr", "add", "10.77.0.1/24", "dev", "pa")
    before = world.ports()
    if deleting:
        world.mirrorctl(*add)
    counts = traced(world, words)
    if not deleting:
        world.mirrorctl("tap", "del", "t0")
    kills = 0
    for call, count in counts.items():
        for number in points(count):
            if deleting:
                world.mirrorctl(*add)
            traced(world, words, ["-e", f"inject={call}:signal=KILL:when={number}"])
            whole_or_absent(world, before, probe, f"{call} {number} of {count} of {' '.join(words)}")
            kills += 1
    expect(kills > 20, f"only {kills} kills")
    world.mirrorctl(*add)
    world.cross(probe, probe)
    print(f"# {' '.join(words[:2])} in {mode} mode: killed at {kills} of {sum(counts.values())} system calls")


def cases():
    """(name, function)"""
    for deleting in (False, True):
        for mode in ("native", "generic"):
            yield f"crash.{'del' if deleting else 'add'}@{mode}", lambda world, m=mode, d=deleting: killed(world, m, d)
