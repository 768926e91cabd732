# SPDX-License-Identifier: GPL-2.0-only
"""Programs and control groups that a selector can tell apart: copies of a shell under a name of the case's own, names given
at run time, groups in the v2 hierarchy. Every copy says its first word as a UDP datagram."""

import os
import shutil
import socket

from lib import wait
from lib.packet import UDP, flow

SHELL = "/bin/bash"
PR_SET_NAME = 15
SO_RCVBUFFORCE = 33


def copy(t, name, original=SHELL):
    """An executable file `name` of this case's own; returns its path."""
    path = t.path(name)
    shutil.copy(original, path)
    return path


def unique(t, word):
    """A command name of at most 15 bytes that nobody else on this machine has."""
    return f"{word[:7]}{os.getpid() % 10000000:x}"[:15]


def rename(actor, name):
    """Gives an actor's main thread another name, as it would itself."""
    actor.do(f"import ctypes; assert ctypes.CDLL(None).prctl({PR_SET_NAME}, {name.encode()!r}, 0, 0, 0) == 0")


class Post:
    """A UDP socket in namespace s to which words are sent, and who sent them."""

    def __init__(self, t, where="s"):
        self.actor = t.actor(where, "post")
        self.sock = self.actor.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self.sock.bind(("10.11.0.2", 0))
        self.port = self.sock.getsockname()[1]
        self.end = ("10.11.0.2", self.port)
        self.device = f"/dev/udp/10.11.0.2/{self.port}"

    def word(self):
        """The next datagram: its text and its conversation's key."""
        data, sender = self.sock.recvfrom(2000)
        return data.decode().strip(), flow(UDP, sender, self.end)

    def words(self, count):
        """The texts of the next `count` datagrams."""
        found = []
        while len(found) < count:   # in portions, each with a deadline of its own
            some = min(count - len(found), 50)
            found += self.actor.eval(f"[obj[{self.sock.key}].recv(2000).decode().strip() for _ in range({some})]")
        return found

    def send(self, sock, text):
        """Lets an actor's unconnected UDP socket send one word; returns the conversation's key."""
        sock.sendto(text.encode(), self.end)
        got, key = self.word()
        assert got == text, f"{got!r} came, {text!r} was sent"
        return key


def says(text):
    """A rule for frames that carry a word beginning with `text`."""
    data = text.encode()

    def match(packet):
        return packet.payload.startswith(data)
    return match


def hierarchy():
    """Where the v2 hierarchy is mounted; None: nowhere."""
    with open("/proc/self/mounts", encoding="ascii", errors="replace") as rows:
        for row in rows:
            words = row.split()
            if words[2] == "cgroup2":
                return words[1]
    return None


class Groups:
    """Control groups of one case, removed at its end with what is still in them moved to where it was."""

    def __init__(self, t):
        self.top = hierarchy()
        t.need(self.top, "no cgroup v2 hierarchy is mounted")
        self.made = []

    def make(self, path):
        """Makes a group and those above it; returns its path in the hierarchy."""
        at = ""
        for name in path.strip("/").split("/"):
            at += "/" + name
            if not os.path.isdir(self.top + at):
                os.mkdir(self.top + at)
                self.made.append(at)
        return at

    def move(self, pid, path):
        """Moves a process into a group."""
        with open(f"{self.top}{path}/cgroup.procs", "w", encoding="ascii") as file:
            file.write(str(getattr(pid, "pid", pid)))

    def remove(self, path):
        """Removes one empty group."""
        wait.until(lambda: self._empty(path), f"{path} to be empty")
        os.rmdir(self.top + path)
        self.made.remove(path)

    def _empty(self, path):
        with open(f"{self.top}{path}/cgroup.events", encoding="ascii") as file:
            return "populated 0" in file.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for top in {self.top + "/" + path.split("/")[1] for path in self.made}:
            for path, _, _ in os.walk(top, topdown=False):      # what the case's processes made, too
                wait.until(lambda path=path: self._cleared(path), f"{path} to go")

    @staticmethod
    def _cleared(path):
        try:
            with open(f"{path}/cgroup.procs", encoding="ascii") as file:
                pids = file.read().split()
            for pid in pids:
                with open(f"{hierarchy()}/cgroup.procs", "w", encoding="ascii") as root:
                    root.write(pid)
            os.rmdir(path)
        except FileNotFoundError:
            return True
        except OSError:     # a process is just leaving
            return False
        return True
