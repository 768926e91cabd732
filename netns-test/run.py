#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Runs the network-namespace tests and prints TAP version 13. Root only.

usage: run.py [--list] [-v] [FILTER]...

FILTER is part of a case's name (tcp, process.fork, @tcx), or all of it behind a `=` (=tcp.client); behind a `!` it leaves
cases out. A case runs in a process of its own, in namespaces named after it; when it has ended nothing of it may be left.
STRICT=1 turns skips into failures, MIRRORCTL names the binary under test, EXHAUSTIVE=1 makes the crash cases kill at every
system call, SLOW=N multiplies every deadline (emulated machines), JOBS=N runs so many cases at once; then what a case leaves is
only looked for under names of its own (lib/leaks.py, company()).
"""

import argparse
import contextlib
import importlib
import json
import os
import pkgutil
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import cases  # noqa: E402
from lib import leaks, mirrorctl, netns, wait  # noqa: E402
from lib.registry import CASES, Failure, Skip  # noqa: E402
from lib.scene import Scene  # noqa: E402

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


def load():
    """Imports every file of cases/, which fills the registry."""
    for module in sorted(pkgutil.iter_modules(cases.__path__), key=lambda m: m.name):
        importlib.import_module(f"cases.{module.name}")


def perform(spec, tmp):
    """Runs one case in this process; returns (verdict, text)."""
    scene = Scene(spec, tmp)
    verdict, text = PASSED, ""
    try:
        try:
            spec.func(scene)
            scene.quiet_end()
        finally:
            scene.release()
    except Skip as reason:
        verdict, text = SKIPPED, str(reason)
    except Failure as failure:
        verdict, text = FAILED, f"{failure}\n{where(failure)}"
    except Exception:
        verdict, text = FAILED, traceback.format_exc()
    return verdict, text


def where(failure):
    """The line of the case that failed."""
    frames = [f for f in traceback.extract_tb(failure.__traceback__) if "/cases/" in f.filename]
    return f"at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}: {frames[-1].line}" if frames else "at the end"


def in_child(spec, tmp, log):
    """Forks; the child performs the case. Returns (pid, descriptor its verdict comes on)."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write_end)
        return pid, read_end
    try:
        os.close(read_end)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        netns.prctl(netns.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.dup2(log, 1)
        os.dup2(log, 2)
        result = perform(spec, tmp)
        os.write(write_end, json.dumps(result).encode())
    finally:
        os._exit(0)


def children():
    """Processes of ours that are still there, orphans of the case included (we are their reaper)."""
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def reap():
    """Ends and collects every process the case left."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        left = children()
        if not left:
            return
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        for pid in left:
            os.waitpid(pid, 0)


def case_namespaces(before):
    """Namespaces the case has made."""
    return sorted(name for name in leaks.namespaces() - before["namespace"] if name.startswith(netns.PREFIX))


def clear_namespaces(before, tidy):
    """Removes the case's namespaces; `tidy` takes the mirror down in them first (a case that passed has done that)."""
    for name in case_namespaces(before):
        if tidy and os.path.exists(mirrorctl.BINARY):
            with contextlib.suppress(Failure):
                mirrorctl.Command().run(name, "down", status=None)
        netns.delete(name)


def sweep(before, ours):
    """Removes by force what a case left, so that the next one starts clean."""
    now = leaks.snapshot(leaks.other_instances(ours))
    for path in sorted((now["pin"] - before["pin"]) | (now["run file"] - before["run file"]), reverse=True):
        if leaks.instance(path) not in ours:
            continue
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        elif os.path.exists(path):
            os.unlink(path)


def listen(pid, verdict_fd, limit):
    """Waits for the case to say how it went, at most `limit` seconds, and to end; returns what it said."""
    data, deadline = b"", time.monotonic() + limit
    while select.select([verdict_fd], [], [], max(0, deadline - time.monotonic()))[0]:
        piece = os.read(verdict_fd, 65536)
        if not piece:
            break
        data += piece
    os.close(verdict_fd)
    if not data:
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return data


def interrupted(*_):
    """Makes SIGTERM clean up as SIGINT does."""
    raise KeyboardInterrupt


def run_case(spec):
    """Runs one case from nothing to nothing; returns (verdict, text)."""
    before = leaks.snapshot(leaks.other_instances(()))
    with tempfile.TemporaryDirectory(prefix="mirt-") as tmp, tempfile.TemporaryFile("w+b") as log:
        pid, verdict_fd = in_child(spec, tmp, log.fileno())
        limit = spec.timeout * wait.SLOW
        try:
            data = listen(pid, verdict_fd, limit)
        finally:    # also when the run is interrupted
            reap()
            if sys.exc_info()[0]:
                clear_namespaces(before, tidy=True)
        verdict, text = json.loads(data) if data else (FAILED, f"no verdict within {limit:g} s")
        log.seek(0)
        said = log.read().decode(errors="replace").strip()
        if said and verdict == FAILED:
            text += "\noutput of the case:\n" + said[-4000:]
    ours = leaks.inodes(case_namespaces(before))
    clear_namespaces(before, tidy=verdict != PASSED)
    left = leaks.left_over(before, ours)
    if left:
        sweep(before, ours)
        text = "\n".join([*([text] if verdict == FAILED else []), *left])
        verdict = FAILED
    return verdict, text


def report(number, spec, verdict, text, seconds, verbose):
    """One TAP line, with the reason below it when it is not ok."""
    line = f"{'not ok' if verdict == FAILED else 'ok'} {number} - {spec.name}"
    if verdict == SKIPPED:
        line += f" # SKIP {text}"
    print(line + (f" ({seconds:.1f} s)" if verbose else ""))
    if verbose:
        print(f"# {spec.about}")
    if verdict == FAILED:
        print("".join(f"# {row}\n" for row in text.splitlines()), end="")
    sys.stdout.flush()


def named(spec, word):
    """True if a filter of the command line means this case."""
    return spec.name == word[1:] if word.startswith("=") else word in spec.name


def choose(words):
    """The cases that a filter means, all if there is none, but for those that a filter with `!` means."""
    some, without = [word for word in words if not word.startswith("!")], [word[1:] for word in words if word.startswith("!")]
    return [spec for spec in CASES if (not some or any(named(spec, word) for word in some))
            and not any(named(spec, word) for word in without)]


def run_here(chosen, verbose):
    """Runs cases one after the other; returns how many had each verdict."""
    netns.prctl(netns.PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGTERM, interrupted)
    counts = {PASSED: 0, FAILED: 0, SKIPPED: 0}
    for number, spec in enumerate(chosen, 1):
        began = time.monotonic()
        verdict, text = run_case(spec)
        if verdict == SKIPPED and os.environ.get("STRICT") == "1":
            verdict, text = FAILED, f"skipped, and STRICT=1: {text}"
        counts[verdict] += 1
        report(number, spec, verdict, text, time.monotonic() - began, verbose)
    return counts


def run_shards(chosen, verbose, jobs):
    """Runs cases in `jobs` runs of this program at once, and prints what they say as one."""
    argv = [sys.executable, os.path.abspath(__file__), *(["-v"] if verbose else [])]
    counts, number, rests = {PASSED: 0, FAILED: 0, SKIPPED: 0}, 0, {}
    shards = [subprocess.Popen([*argv, *("=" + spec.name for spec in chosen[job::jobs])], stdout=subprocess.PIPE,
                               env={**os.environ, "JOBS": "1"}, preexec_fn=ending_with_us) for job in range(min(jobs, len(chosen)))]
    left = {shard.stdout.fileno(): shard for shard in shards}
    while left:
        for fd in select.select(left, [], [])[0]:
            data = os.read(fd, 65536)
            if not data:
                left.pop(fd).wait()
            *lines, rests[fd] = (rests.get(fd, b"") + data).split(b"\n")
            for line in map(bytes.decode, lines):
                said = re.fullmatch(r"(not ok|ok) \d+ - (.*)", line)
                if said:
                    number += 1
                    counts[FAILED if said[1] == "not ok" else SKIPPED if " # SKIP " in line else PASSED] += 1
                    line = f"{said[1]} {number} - {said[2]}"
                if said or line.startswith("#") or line.startswith("Bail out!"):
                    print(line, flush=True)
    counts[FAILED] += len(chosen) - number      # a run that broke off: the plan says so, too
    return counts


def ending_with_us():
    """In a child before it runs: SIGTERM when the parent is gone."""
    netns.prctl(netns.PR_SET_PDEATHSIG, signal.SIGTERM)


def main():
    """Runs what the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("filters", nargs="*", metavar="FILTER")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("-v", "--verbose", action="store_true")
    options = parser.parse_args()
    load()
    chosen = choose(options.filters)
    if options.list:
        print("".join(f"{spec.name}: {spec.about}\n" for spec in chosen), end="")
        return 0
    if os.geteuid() != 0:
        print("Bail out! run.py makes network namespaces: run it as root")
        return 1
    print(f"TAP version 13\n1..{len(chosen)}", flush=True)
    jobs = int(os.environ.get("JOBS", "1"))
    counts = run_shards(chosen, options.verbose, jobs) if jobs > 1 else run_here(chosen, options.verbose)
    print(f"{counts[PASSED]} passed, {counts[FAILED]} failed, {counts[SKIPPED]} skipped")
    return 1 if counts[FAILED] or not chosen else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("Bail out! interrupted")
        sys.exit(130)
