# SPDX-License-Identifier: GPL-2.0-only
"""The capture interface "mirror" of tshark: a capture has a mirror of its own, which goes when it ends, however it ends."""

import glob
import os
import signal
import subprocess
import time

from lib import leaks, netns, wait
from lib.registry import case, expect, expect_equal
from lib.tshark import Tshark

PINS = "/sys/fs/bpf/mirrorctl-extcap-*"


class Capture:
    """tshark -i mirror in the case's namespace."""

    def __init__(self, t, shark, *words):
        self.t = t
        self.proc = t.popen("c", "tshark", "-n", "-l", "-i", "mirror", *words, env=shark.env, stderr=subprocess.PIPE)

    def started(self):
        """Waits until the capture's own monitor is there and its process a target."""
        wait.until(lambda: any(name.startswith("mx") for name in leaks.devices(self.t.space("c"))), "a monitor", 15)
        time.sleep(1)

    def helper(self):
        """Process id of the extcap that tshark started."""
        wait.until(self._helpers, "the extcap process", 10)
        return self._helpers()[0]

    def _helpers(self):
        with open(f"/proc/{self.proc.pid}/task/{self.proc.pid}/children", encoding="ascii") as file:
            pids = [int(word) for word in file.read().split()]
        found = []
        for pid in pids:
            with open(f"/proc/{pid}/comm", encoding="ascii") as file:
                found += [pid] if file.read().strip() == "mirror" else []
        return found

    def gone(self):
        """Nothing of the capture's mirror is left: no monitor, no pin."""
        gone(self.t)


def gone(t):
    """Nothing of an extcap's mirror is left."""
    wait.until(lambda: not any(name.startswith("mx") for name in leaks.devices(t.space("c"))), "the monitor to go", 15)
    wait.until(lambda: not glob.glob(PINS), "the pins to go", 15)


def pings(t):
    """A ping to be chosen and a foreign one, both running."""
    t.pair()
    foreign = t.popen("c", "ping", "-i", "0.1", "-e", "4661", netns.S4)
    chosen = t.popen("c", "ping", "-i", "0.1", "-e", "4660", netns.S4)
    return chosen, foreign


@case()
def listed(t):
    """tshark -D shows it, its dialog lists processes; both within 20 ms."""
    t.space("c")
    shark = Tshark(t)
    expect("mirror (Mirror: the packets of a process)" in shark.run("-D"), "tshark -D")
    (binary,) = [path for path in shark.installed if path.endswith("/extcap/mirror")]
    times = []
    for words in (["--extcap-interfaces", "--extcap-version=4.0"], ["--extcap-config", "--extcap-interface", "mirror"]):
        rounds = []
        for _ in range(5):
            began = time.monotonic()
            done = subprocess.run([binary, *words], capture_output=True, text=True, env=shark.env)
            rounds.append(time.monotonic() - began)
        times.append(min(rounds))
        expect(done.returncode == 0 and not done.stderr, f"{words}: {done.stderr}")
    expect(f"{{value={os.getpid()}}}" in done.stdout and "{call=--target}" in done.stdout, "the dialog lists processes")
    expect(max(times) < 0.02, f"seconds: {times}")


def captured(t, identity, *fields):
    """Captures a chosen ping by tshark -i mirror; returns the fields of six frames."""
    shark = Tshark(t)
    chosen, _ = pings(t)
    words = [word for field in fields for word in ("-e", field)]
    capture = Capture(t, shark, "-o", f"extcap.mirror.target:{chosen.pid}", "-o", f"extcap.mirror.identity:{identity}",
                      "-c", "6", "-T", "fields", *words)
    out, err = capture.proc.communicate(timeout=30)
    capture.gone()
    rows = [tuple(line.split("\t")) for line in out.splitlines()]
    expect_equal(len(rows), 6, f"frames, and tshark said {err}")
    return str(chosen.pid), rows


@case(timeout=60)
def announce(t):
    """Ethernet with announcements: only the chosen ping, labelled by the plugin."""
    pid, rows = captured(t, "announce", "icmp.ident", "mirror.pid", "mirror.dir", "mirror_announce.pid")
    expect_equal([row for row in rows if row[3]], [("", "", "", pid)], "announcements")
    packets = {(int(row[0], 0), *row[1:3]) for row in rows if not row[3]}
    expect_equal(packets, {(4660, pid, "out"), (4660, pid, "in")}, "packets")


@case(timeout=60)
def pktap(t):
    """PKTAP: stock fields name the process of every packet."""
    pid, rows = captured(t, "pktap", "icmp.ident", "pktap.pid", "pktap.cmdname", "frame.encap_type")
    expect_equal({(int(row[0], 0), *row[1:3]) for row in rows}, {(4660, pid, "ping")}, "packets")


@case(timeout=60)
def wrong(t):
    """What cannot be captured is said on standard error, and nothing is left."""
    t.pair()
    shark = Tshark(t)
    for option, text in (("target:no-such-process", "no process is called 'no-such-process'"), ("target:999999999", "999999999"),
                         ("snaplen:7", "64 to 65535")):
        capture = Capture(t, shark, "-o", f"extcap.mirror.{option}", "-c", "1")
        _, err = capture.proc.communicate(timeout=30)
        expect(text in err, f"{option}: {err}")
        capture.gone()


def killed(t, end):
    """Starts a capture of a running ping, ends it by `end`, and looks for remains."""
    shark = Tshark(t)
    chosen, _ = pings(t)
    capture = Capture(t, shark, "-o", f"extcap.mirror.target:{chosen.pid}", "-w", t.path("out.pcapng"))
    capture.started()
    end(capture)
    capture.gone()
    chosen.kill()


@case(timeout=60)
def stopped(t):
    """Ended as a user does."""
    killed(t, lambda capture: capture.proc.send_signal(signal.SIGINT))


@case(timeout=60)
def helper_killed(t):
    """kill -9 of the extcap."""
    killed(t, lambda capture: os.kill(capture.helper(), signal.SIGKILL))


@case(timeout=60)
def tshark_killed(t):
    """kill -9 of tshark and its dumpcap: the extcap sees that nobody reads."""
    def end(capture):
        with open(f"/proc/{capture.proc.pid}/task/{capture.proc.pid}/children", encoding="ascii") as file:
            others = [int(word) for word in file.read().split() if int(word) != capture.helper()]
        for pid in (capture.proc.pid, *others):
            os.kill(pid, signal.SIGKILL)
    killed(t, end)


@case()
def nobody_reads(t):
    """Whoever started the extcap ends before anybody has opened the pipe for reading: the extcap does not wait for ever."""
    shark = Tshark(t)
    chosen, _ = pings(t)
    (binary,) = [path for path in shark.installed if path.endswith("/extcap/mirror")]
    pipe = t.path("pipe")
    os.mkfifo(pipe)
    starter = t.popen("c", "sh", "-c", f"'{binary}' --capture --extcap-interface mirror --fifo {pipe} --target {chosen.pid}; :",
                      env=shark.env)
    wait.until(lambda: any(name.startswith("mx") for name in leaks.devices(t.space("c"))), "a monitor", 15)
    os.kill(starter.pid, signal.SIGKILL)
    gone(t)
    chosen.kill()
