# SPDX-License-Identifier: GPL-2.0-only
"""Runs the command under test and reads its answers."""

import json
import os
import subprocess

from lib import netns, wait
from lib.registry import Failure

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BINARY = os.path.abspath(os.environ.get("MIRRORCTL", os.path.join(HERE, "..", ".output", "mirrorctl")))
COMMAND_S = 30 * wait.SLOW

OK, FAILED, USAGE, NOT_FOUND, NOT_PERMITTED, UNSUPPORTED = range(6)


class Answer:
    """What one invocation said and returned."""

    def __init__(self, words, status, out, err):
        self.words, self.status, self.out, self.err = words, status, out, err

    @property
    def json(self):
        """The one object on stdout, in plain UTF-8 (anything else was turned into a backslash on reading)."""
        try:
            value = json.loads(self.out)
        except ValueError:
            raise Failure(f"{self}: stdout is not JSON") from None
        if not isinstance(value, dict):
            raise Failure(f"{self}: stdout is not one JSON object")
        return value

    def __str__(self):
        return (f"`mirrorctl {' '.join(self.words)}` = {self.status}, stdout {self.out.strip()[:2000]!r}, "
                f"stderr {self.err.strip()[:2000]!r}")


class Command:
    """mirrorctl as this case runs it: from a namespace, under one MIRRORCTL_DISABLE value."""

    def __init__(self, disable=""):
        self.env = dict(os.environ)
        self.env.pop("MIRRORCTL_DISABLE", None)
        if disable:
            self.env["MIRRORCTL_DISABLE"] = disable

    def popen(self, ns, *words, prefix=(), **more):
        """Starts mirrorctl and returns the process."""
        argv = [*prefix, BINARY, *[str(word) for word in words]]
        more.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="backslashreplace",
                                env=self.env, preexec_fn=netns.child_setup(ns), **more)

    def run(self, ns, *words, prefix=(), status=OK, **more):
        """Runs mirrorctl in a namespace to its end; fails the case unless it exits with `status` (None: any)."""
        words = [str(word) for word in words]
        proc = self.popen(ns, *words, prefix=prefix, **more)
        try:
            out, err = proc.communicate(timeout=COMMAND_S)
        except subprocess.TimeoutExpired:
            proc.kill()
            proc.communicate()
            raise Failure(f"`mirrorctl {' '.join(words)}` did not end within {COMMAND_S} s") from None
        answer = Answer(words, proc.returncode, out, err)
        if status is not None and answer.status != status:
            raise Failure(f"{answer}: want status {status}")
        return answer
