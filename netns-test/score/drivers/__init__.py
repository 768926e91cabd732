# SPDX-License-Identifier: GPL-2.0-only
"""What a capture tool has to do to be scored: start with these processes, stop, give the frames. One module for each tool,
with a class Tool(Driver); README.md shows how to add one."""

import importlib


class Cannot(Exception):
    """The tool has no way to take part in a scenario; the text says why."""


class Driver:
    """One tool in one scenario. Everything happens in namespace `c` of the scenario's world."""

    patient = False             # frames() may be asked again until the copies have arrived
    launches_only = ""          # the reason why the tool cannot select a process that runs already

    @classmethod
    def missing(cls):
        """Why the tool cannot be measured on this host at all; empty when it can."""
        return ""

    def __init__(self, world):
        self.world = world

    def open(self, sources, words):
        """Called once, before any process is selected; `words` are options of `mirrorctl up`."""

    def select(self, pids, options, best):
        """Captures these processes from now on, existing sockets included. `best` is the capture filter a person would
        write who knows the scenario and may look at the process's sockets; `options` are those of `mirrorctl add-pid`."""
        raise NotImplementedError

    def launch(self, argv, options, best):
        """Starts a program selected from its first packet, waits for its end; returns (process id, output). Calls
        self.world.begin() when the capture runs, right before the program."""
        raise NotImplementedError

    def reopen(self, sources):
        """Called when a source was deleted and made anew."""

    def renew(self):
        """Starts a new capture of the same selection; frames() forgets the old one."""
        raise NotImplementedError

    def finish(self):
        """Ends the capture once all packets are through; frames() is called afterwards."""

    def frames(self):
        """All frames captured, as lib.packet.Packet."""
        raise NotImplementedError

    def comparable(self, packet):
        """What must be equal for a copy to be that packet: all its bytes."""
        return packet.frame

    def limits(self):
        """Limits the tool itself reports to its user."""
        return []

    def complaints(self):
        """Contradictions in what the tool reports about itself."""
        return []

    def about(self):
        """Facts for the report (versions, attribution)."""
        return {}

    def close(self):
        """Ends every process of the tool."""


def load(name):
    """Class of the driver called `name`."""
    return importlib.import_module(f"score.drivers.{name}").Tool
