# SPDX-License-Identifier: GPL-2.0-only
"""mirrorctl with stock dumpcap on the monitor."""

import os

from lib.capture import Dumpcap
from lib.registry import expect_equal
from score.drivers import Driver

MONITOR = "mon0"


class Tool(Driver):
    """`up` on the sources, `add-pid` or `run`, dumpcap on mon0."""

    patient = True

    def __init__(self, world):
        super().__init__(world)
        self.dumpcap = None
        self.before = 0         # copies that an earlier capture has taken

    def open(self, sources, words):
        self.world.mirrorctl("up", *sources, *words)
        self.dumpcap = Dumpcap(self.world.space("c"), MONITOR, self.world.path("mon0.pcapng"))
        expect_equal(self.dumpcap.base, 0, "frames on the monitor before anything was selected")

    def select(self, pids, options, best):
        return self.world.mirrorctl("add-pid", *options, *pids)

    def launch(self, argv, options, best):
        self.world.begin()
        proc = self.world.command.popen(self.world.space("c"), "run", *options, "--", *argv)
        out, _ = proc.communicate(timeout=30)
        rows = self.world.get("list")["targets"]
        return rows[-1]["pid"] if rows else 0, out

    def reopen(self, sources):
        self.world.mirrorctl("up", *sources)

    def renew(self):
        self.before += self.dumpcap.passed()
        self.close()
        os.unlink(self.dumpcap.path)
        self.dumpcap = Dumpcap(self.world.space("c"), MONITOR, self.world.path("mon0.pcapng"))

    def frames(self):
        return self.dumpcap.frames()

    def limits(self):
        return self.world.get("status")["limits"]

    def complaints(self):
        stats = self.world.get("stats")
        sums = (("seen", stats["unmatched"] + stats["matched"]), ("matched", sum(stats["reasons"].values())),
                ("matched", stats["mirrored"] + stats["failed"]), ("failed", sum(stats["failures"].values())),
                ("mirrored", self.before + self.dumpcap.passed()))
        if self.world.cut:
            sums = sums[:-1]
        failures = {cause: count for cause, count in stats["failures"].items() if count}
        lines = [f"stats: {name} is {stats[name]}, its parts are {total}" for name, total in sums if stats[name] != total]
        return lines + ([f"stats: failures {failures}"] if lines and failures else [])

    def about(self):
        version = self.world.command.run(None, "version", status=None).out.split("\n")[0]
        return {"version": version, "attribution": self.world.get("status")["attribution"]}

    def close(self):
        if self.dumpcap:
            self.dumpcap.stop()
