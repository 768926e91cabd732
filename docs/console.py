#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Runs the commands of a page and writes what they print back into it. Root only.

usage: sudo docs/console.py PAGE...

A block of kind `console` holds commands behind `$ ` (their further lines behind `> `), each followed by its output. All
commands of a page go to one shell, in the top of this tree, in a network namespace of its own, with the mirrorctl that was
built here first in PATH and with an empty home directory. Nothing on the host is touched but what a command names.
Prints each command with its exit status, and exits with status 1 if one was not 0: a refusal that a page wants to show stands
before a pipe, or behind `||`.
"""
import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OUT = os.environ.get("OUT", ".output")
SECONDS = 180
MARK = "\x01"


class Shell:
    """One bash that is fed a command at a time."""

    def __init__(self, home):
        self.home = home
        path = f"{os.path.join(TOP, OUT)}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        env = {"PATH": path, "HOME": home, "LANG": "C.UTF-8", "TERM": "dumb", "PYTHONDONTWRITEBYTECODE": "1"}
        # Not by standard input: commands would read it.
        script, self.feed = os.pipe()
        self.child = subprocess.Popen(["unshare", "--net", "bash", "--norc", f"/dev/fd/{script}"], cwd=TOP, env=env,
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                      pass_fds=[script], start_new_session=True)
        os.close(script)

    def run(self, command):
        """(what it prints, exit status)"""
        os.write(self.feed, f"{command}\nprintf '{MARK}%s{MARK}' $?\n".encode())
        text, end = b"", time.monotonic() + SECONDS
        while not re.search(rb"\x01\d+\x01$", text):
            if not select.select([self.child.stdout], [], [], max(0, end - time.monotonic()))[0]:
                raise TimeoutError(f"no end after {SECONDS} s: {command}")
            more = os.read(self.child.stdout.fileno(), 65536)
            if not more:
                raise EOFError(f"the shell ended: {command}")
            text += more
        printed, status, _ = text.decode("utf-8", "replace").split(MARK)
        return printed.replace(self.home, "~"), int(status)

    def end(self):
        """Nothing that the page started stays."""
        os.close(self.feed)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGTERM)
        self.child.wait()


def refresh(shell, block):
    """The block's lines with new output, and how many commands failed."""
    lines, failed, i = [], 0, 0
    while i < len(block):
        if not block[i].startswith("$ "):
            i += 1      # output of the last run
            continue
        command = [block[i]]
        while i + 1 < len(block) and (block[i + 1].startswith("> ") or block[i + 1] == ">"):
            i += 1
            command.append(block[i])
        i += 1
        printed, status = shell.run("\n".join(line[2:] for line in command))
        print(f"{status:3}  {command[0]}", file=sys.stderr)
        failed += status != 0
        lines += command + [line.rstrip() for line in printed.splitlines()]
    return lines, failed


def page(path):
    """Rewrites one page; returns how many of its commands failed."""
    with open(path, encoding="utf-8") as file:
        lines = file.read().split("\n")
    new, failed, i = [], 0, 0
    with tempfile.TemporaryDirectory() as home:
        shell = Shell(home)
        try:
            while i < len(lines):
                new.append(lines[i])
                i += 1
                if new[-1] != "```console":
                    continue
                end = lines.index("```", i)
                output, bad = refresh(shell, lines[i:end])
                new += output
                failed += bad
                i = end
        finally:
            shell.end()
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(new))
    return failed


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(1 if sum([page(name) for name in sys.argv[1:]]) else 0)
