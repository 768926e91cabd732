# SPDX-License-Identifier: GPL-2.0-only
"""Stock tshark with what `mirrorctl wireshark install --user` put into a home directory of the case's own."""

import os
import subprocess

from lib.mirrorctl import BINARY
from lib.registry import Failure, Skip


class Tshark:
    """A user who has the plugin (or not): a home directory and tshark runs in it."""

    def __init__(self, t, plugin=True):
        self.home = t.path("home" if plugin else "bare")
        os.makedirs(self.home, exist_ok=True)
        self.env = {"PATH": os.environ["PATH"], "HOME": self.home, "LC_ALL": "C.UTF-8"}
        try:
            subprocess.run(["tshark", "--version"], env=self.env, capture_output=True, check=True)
        except FileNotFoundError:
            raise Skip("there is no tshark") from None
        if plugin:
            done = subprocess.run([BINARY, "wireshark", "install", "--user"], env=self.env, capture_output=True, text=True)
            if done.returncode:
                raise Failure(f"wireshark install --user: {done.stderr}")
            self.installed = done.stdout.splitlines()

    def run(self, *words, status=0):
        """Output of tshark; a message on stderr that is no progress report fails the case."""
        done = subprocess.run(["tshark", "-n", *words], env=self.env, capture_output=True, text=True, timeout=60)
        noise = [line for line in done.stderr.splitlines() if "Running as user" not in line and "Lua" in line]
        if noise or (status is not None and done.returncode != status):
            raise Failure(f"tshark {' '.join(words)}: {done.returncode}\n{done.stderr}{done.stdout[:500]}")
        return done.stdout

    def rows(self, path, what, *fields, more=()):
        """Values of `fields` for the frames that a display filter shows, one tuple of strings per frame."""
        words = [word for field in fields for word in ("-e", field)]
        out = self.run("-r", path, *more, "-Y", what, "-T", "fields", *words)
        return [tuple(line.split("\t")) for line in out.splitlines()]

    def numbers(self, path, what, more=()):
        """Frame numbers that a display filter shows."""
        return [int(row[0]) for row in self.rows(path, what, "frame.number", more=more)]
