# SPDX-License-Identifier: GPL-2.0-only
"""Runs one scenario under one tool in a process of its own, and clears away what it made, nothing else."""

import contextlib
import json
import os
import select
import shutil
import signal
import tempfile
import time
import traceback

from lib import leaks, mirrorctl, netns, wait
from lib.registry import Failure, Skip
from run import children, reap
from score.drivers import Cannot
from score.world import Score, World

EXACT, LIMIT, WRONG, CANNOT, SKIPPED, BROKEN = "exact", "limit", "wrong", "cannot", "skipped", "broken"


def perform(spec, tmp, tool):
    """Runs the scenario in this process; returns its result as plain data."""
    world = World(spec, tmp, tool)
    try:
        try:
            spec.func(world)
            score = world.score()
            about = world.driver.about()
            if world.mirrored_in:
                world.quiet_end()
        finally:
            world.release()
    except Cannot as reason:
        return {"verdict": CANNOT, "lines": [str(reason)]}
    except Skip as reason:
        return {"verdict": SKIPPED, "lines": [str(reason)]}
    except Failure as failure:
        return {"verdict": BROKEN, "lines": [*str(failure).splitlines(), *place(failure)]}
    except Exception:
        return {"verdict": BROKEN, "lines": traceback.format_exc().splitlines()}
    verdict = WRONG if not score.exact() else LIMIT if score.limits else EXACT
    return {"verdict": verdict, "lines": score.lines, "limits": score.limits, "about_tool": about, "facts": world.facts,
            **{name: getattr(score, name) for name in Score.COUNTS}}


def place(failure):
    """The line of the scenario that failed."""
    frames = [f for f in traceback.extract_tb(failure.__traceback__) if "/catalogue/" in f.filename]
    return [f"at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}: {frames[-1].line}"] if frames else []


def in_child(spec, tmp, tool, log):
    """Forks; the child performs the scenario. Returns (pid, descriptor its result comes on)."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write_end)
        return pid, read_end
    try:
        os.close(read_end)
        netns.prctl(netns.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.dup2(log, 1)
        os.dup2(log, 2)
        with os.fdopen(write_end, "wb") as pipe:
            pipe.write(json.dumps(perform(spec, tmp, tool)).encode())
    finally:
        os._exit(0)


def read_all(fd, seconds):
    """Everything that comes on a descriptor until its end or the deadline."""
    data, deadline = b"", time.monotonic() + seconds
    while select.select([fd], [], [], max(0, deadline - time.monotonic()))[0]:
        piece = os.read(fd, 65536)
        if not piece:
            return data
        data += piece
    return b""


def spaces():
    """Namespaces of this run."""
    return sorted(name for name in leaks.namespaces() if name.startswith(netns.PREFIX))


def left_over(instances):
    """Pins and run files of these instances."""
    paths = [*leaks._tree(leaks.BPFFS), *leaks._tree(leaks.RUN_FILES)]
    return sorted((path for path in paths if leaks.instance(path) in instances and not path.endswith(".lock")), reverse=True)


def clear(verdict):
    """Takes down and removes the scenario's namespaces; returns what it had left although it went well."""
    names = spaces()
    ours = leaks.inodes(names)
    left = left_over(ours) if verdict in (EXACT, LIMIT) else []
    if os.path.exists(mirrorctl.BINARY):
        for name in names if verdict not in (EXACT, LIMIT) else ():
            with contextlib.suppress(Failure):
                mirrorctl.Command().run(name, "down", status=None)
    for name in names:
        netns.delete(name)
    for path in left_over(ours):
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        elif os.path.exists(path):
            os.unlink(path)
    return [f"left behind: {path}" for path in left]


def finish(pid, fd, kill):
    """Collects the child and whatever it left running."""
    os.close(fd)
    if kill:
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    if children():
        reap()


def run(spec, tool_name, tool):
    """One scenario under one tool, from nothing to nothing; returns its result."""
    result = {"scenario": spec.name, "about": " ".join(spec.func.__doc__.split()), "tool": tool_name, "seconds": 0.0,
              **{name: 0 for name in Score.COUNTS}, "limits": [], "lines": []}
    if spec.func.only and spec.func.only != tool_name:
        return {**result, "verdict": CANNOT, "lines": [f"the scenario is about {spec.func.only} itself"]}
    if tool.launches_only and not spec.func.launch:
        return {**result, "verdict": CANNOT, "lines": [tool.launches_only]}
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sc-") as tmp, tempfile.TemporaryFile("w+b") as log:
        pid, fd = in_child(spec, tmp, tool, log.fileno())
        try:
            data = read_all(fd, spec.timeout * wait.SLOW)
        except BaseException:   # interrupted: leave nothing
            finish(pid, fd, kill=True)
            clear(BROKEN)
            raise
        finish(pid, fd, kill=not data)
        log.seek(0)
        said = log.read().decode(errors="replace").strip()
    result.update(json.loads(data) if data else {"verdict": BROKEN, "lines": [f"no result within {spec.timeout * wait.SLOW:g} s"]})
    if result["verdict"] == BROKEN and said:
        result["lines"] += said[-3000:].splitlines()
    left = clear(result["verdict"])
    if left:
        result.update(verdict=BROKEN, lines=left)
    result["seconds"] = round(time.monotonic() - began, 1)
    return result
