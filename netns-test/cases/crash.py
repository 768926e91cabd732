# SPDX-License-Identifier: GPL-2.0-only
"""kill -9 of mirrorctl before each system call that changes state: what is left is the old or the new state, status
answers, the next command works, and down leaves nothing.

strace(1) delivers the signal: `-e inject=SYSCALL:signal=SIGKILL:when=N`. A first run under strace tells which calls there
are. EXHAUSTIVE=1 kills at every one; by default runs of alike calls (pins, unlinks) are sampled. Where everything is slow
(SLOW, emulated machines) it is a few calls, spread over all.
"""

import os
import re
import shutil

from lib import leaks, netns, program, wait
from lib.mirrorctl import OK
from lib.registry import case, expect, expect_equal

CALLS = ("bpf,mkdir,mkdirat,rename,renameat,renameat2,sendto,sendmsg,ioctl,unlink,unlinkat,rmdir,write,pwrite64,mount,"
         "ftruncate,kill,pidfd_send_signal")
CHANGES = re.compile(r"BPF_(OBJ_PIN|LINK_CREATE|MAP_UPDATE_ELEM|MAP_DELETE_ELEM|LINK_UPDATE|LINK_DETACH|PROG_ATTACH)|"
                     r"^(mkdir|rename|unlink|rmdir|mount|ftruncate|kill|pidfd|write|pwrite)|"
                     r"RTM_(NEW|DEL|SET)(LINK|QDISC|TFILTER)|TUNSET")
ALIKE = re.compile(r"BPF_OBJ_PIN|BPF_LINK_CREATE|^unlinkat")
SAMPLE = 8
EXHAUSTIVE = os.environ.get("EXHAUSTIVE") == "1"
FEW = 6 if wait.SLOW > 1 and not EXHAUSTIVE else None
KILLED = -9


def steps(t, *words):
    """[(system call, its number, text)] of the calls that change state when mirrorctl runs with these words."""
    log = t.path("steps")
    t.mirrorctl(*words, prefix=("strace", "-f", "-qq", "-o", log, "-e", f"trace={CALLS}"))
    counts, found, alike = {}, [], 0
    with open(log, encoding="ascii", errors="replace") as file:
        for line in file:
            text = line.split(None, 1)[1]
            name = re.match(r"\w+", text)
            if not name or "(" not in text:
                continue
            counts[name[0]] = counts.get(name[0], 0) + 1
            if not CHANGES.search(text):
                continue
            if ALIKE.search(text):
                alike += 1
                if alike % SAMPLE != 1 and not EXHAUSTIVE:
                    continue
            found.append((name[0], counts[name[0]], text.strip()[:100]))
    expect(len(found) >= 3, f"only {len(found)} steps found in `mirrorctl {' '.join(map(str, words))}`")
    return found[::-(-len(found) // FEW)] if FEW else found


def kill_at(t, step, *words):
    """Runs mirrorctl and kills it before one of its steps. True if the step was reached."""
    name, number, _ = step
    answer = t.mirrorctl(*words, status=None, prefix=(
        "strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={CALLS}",
        "-e", f"inject={name}:signal=SIGKILL:when={number}"))
    expect(answer.status in (KILLED, 137, OK), f"killed at {step}: {answer}")
    return answer.status != OK


def nothing_left(t, step):
    """Fails if anything of the mirror is in the namespace, in bpffs or in /run."""
    name = t.space("c")
    text = f"after a kill at {step} and down"
    devices, qdiscs = t.baseline[name]
    expect_equal(leaks.devices(name), devices, f"devices {text}")
    expect_equal(leaks.qdiscs(name), qdiscs, f"qdiscs {text}")
    ours = leaks.inodes([name])
    for top in ("/sys/fs/bpf", "/run/mirrorctl"):
        for root, dirs, files in os.walk(top):
            for path in (os.path.join(root, item) for item in dirs + files):
                expect(leaks.instance(path) not in ours, f"{path} {text}")


def begin(t):
    """A namespace with strace at hand."""
    t.need(shutil.which("strace"), "strace is not installed")
    t.space("c")


def state(t, step):
    """State that status reports after a kill: up or down, nothing else."""
    value = t.get("status")["state"]
    expect(value in ("up", "down"), f"status after a kill at {step}: {value}")
    return value


@case(timeout=400, disable=("", "tcx"))
def during_up(t):
    """kill -9 at every step of `up` from nothing."""
    begin(t)
    found = steps(t, "up", "lo")
    t.mirrorctl("down")
    reached = 0
    for step in found:
        reached += kill_at(t, step, "up", "lo")
        state(t, step)
        t.mirrorctl("up", "lo")
        status = t.get("status")
        expect_equal((status["state"], status["monitor"]["up"], [row["dev"] for row in status["sources"]]),
                     ("up", True, ["lo"]), f"status after a kill at {step} and `up`")
        t.mirrorctl("down")
        nothing_left(t, step)
    expect(reached >= len(found) - 2, f"{reached} of {len(found)} steps reached")


@case(timeout=400)
def during_up_then_down(t):
    """kill -9 at every step of `up`, then `down` at once."""
    begin(t)
    found = steps(t, "up", "lo", "--monitor-type", "veth")
    t.mirrorctl("down")
    for step in found:
        kill_at(t, step, "up", "lo", "--monitor-type", "veth")
        t.mirrorctl("down")
        nothing_left(t, step)


@case(timeout=400)
def during_change(t):
    """kill -9 at every step of a second `up` that changes sources and snapshot length: the target stays mirrored."""
    begin(t)
    netns.run(["ip", "-n", t.space("c"), "link", "add", "spare0", "type", "bridge"])
    t.note_devices()
    one, other = ("up", "lo"), ("up", "lo", "spare0", "--snaplen", "128")
    t.mirrorctl(*one)
    me = t.actor("c")
    t.mirrorctl("add-pid", me.pid)
    found = steps(t, *other)
    me.do("a, b = (socket.socket(type=socket.SOCK_DGRAM) for _ in 'ab'); b.bind(('127.0.0.1', 0))")
    for step in found:
        t.mirrorctl(*one)
        kill_at(t, step, *other)
        expect_equal(state(t, step), "up", f"state after a kill at {step}")
        before = t.get("stats")["mirrored"]
        me.do("a.sendto(b'x' * 500, b.getsockname())")
        expect_equal(t.get("stats")["mirrored"] - before, 1, f"packets mirrored after a kill at {step}")
        t.mirrorctl(*other)
        status = t.get("status")
        expect_equal(({row["dev"] for row in status["sources"]}, status["monitor"]["snaplen"]), ({"lo", "spare0"}, 128),
                     f"status after a kill at {step} and the same command again")
        expect_equal([row["pid"] for row in t.get("list")["targets"]], [me.pid], f"targets after a kill at {step}")
    t.mirrorctl("down")
    nothing_left(t, "the last step")


@case(timeout=120, disable=("", "iter"))
def during_add_pid(t):
    """kill -9 at every step of add-pid on a running mirror: the process is a target or not, and can be added."""
    begin(t)
    t.mirrorctl("up", "lo")
    me, other = t.actor("c"), t.actor("c")
    t.mirrorctl("add-pid", other.pid)
    me.do("a, b = (socket.socket(type=socket.SOCK_DGRAM) for _ in 'ab'); b.bind(('127.0.0.1', 0))")
    found = steps(t, "add-pid", me.pid)
    for step in found:
        t.mirrorctl("del-pid", me.pid)
        kill_at(t, step, "add-pid", me.pid)
        state(t, step)
        pids = {row["pid"] for row in t.get("list")["targets"]}
        expect(pids in ({other.pid}, {other.pid, me.pid}), f"targets after a kill at {step}: {pids}")
        t.mirrorctl("add-pid", me.pid)
        before = t.get("stats")["mirrored"]
        me.do("a.sendto(b'x', b.getsockname())")
        expect_equal(t.get("stats")["mirrored"] - before, 1, f"packets mirrored after a kill at {step} and add-pid")
    t.mirrorctl("down")
    nothing_left(t, "the last step")


@case(timeout=240)
def during_add_pid_of_a_chosen(t):
    """kill -9 before every bpf(2) of an add-pid for a process that a selector has chosen: once del-pid has been said, nothing of it
    comes back."""
    begin(t)
    me = t.actor("c")
    name = program.unique(t, "svc")
    program.rename(me, name)
    t.mirrorctl("up", "lo")
    t.mirrorctl("add-name", name)
    number = 1
    while kill_at(t, ("bpf", number, "bpf"), "add-pid", "--follow", me.pid):
        t.mirrorctl("del-pid", me.pid, status=None)
        for _ in range(2):
            rows = [(row["pid"], row["by_pid"], row["follow"]) for row in t.get("list")["targets"]]
        expect_equal(rows, [(me.pid, False, False)], f"targets after a kill at bpf call {number} and del-pid")
        number += max(1, round(wait.SLOW))
    expect(number > 20, f"{number} calls only")
    t.mirrorctl("del-pid", me.pid)
    t.mirrorctl("del-selector", "all")
    expect_equal(t.get("list")["targets"], [], "targets in the end")


def during_monitor(t, *options):
    """kill -9 at every step of add-pid with a monitor of its own: the old state or the new one, and it can be done again."""
    begin(t)
    t.mirrorctl("up", "lo")
    me, other = t.actor("c"), t.actor("c")
    t.mirrorctl("add-pid", other.pid)
    words = ("add-pid", "--monitor", "watch1", *options, "--count", 2, me.pid)
    me.do("a, b = (socket.socket(type=socket.SOCK_DGRAM) for _ in 'ab'); b.bind(('127.0.0.1', 0))")
    found = steps(t, *words)
    for step in found:
        t.mirrorctl("down")
        nothing_left(t, f"before {step}")
        t.mirrorctl("up", "lo")
        t.mirrorctl("add-pid", other.pid)
        kill_at(t, step, *words)
        state(t, step)
        pids = {row["pid"] for row in t.get("list")["targets"]}
        expect(pids in ({other.pid}, {other.pid, me.pid}), f"targets after a kill at {step}: {pids}")
        names = [row["name"] for row in t.get("status")["monitors"]]
        expect(names in (["mon0"], ["mon0", "watch1"]), f"monitors after a kill at {step}: {names}")
        t.mirrorctl(*words)
        before = t.get("stats")
        me.do("for i in range(5): a.sendto(b'x', b.getsockname())")
        stats = t.get("stats")
        expect_equal((stats["mirrored"] - before["mirrored"], stats["limits"]["count"] - before["limits"]["count"]), (2, 3),
                     f"mirrored and limited after a kill at {step} and the same command again")
    t.mirrorctl("down")
    nothing_left(t, "the last step")


@case(timeout=240)
def during_add_pid_with_monitor(t):
    """kill -9 at every step of an add-pid that makes a monitor and a policy."""
    during_monitor(t)


@case(timeout=240)
def during_add_pid_with_monitor_away(t):
    """The same with the monitor in another namespace."""
    away = t.space("a")
    during_monitor(t, "--monitor-netns", away)
    expect_equal(leaks.devices(away), {"lo"}, "devices in the other namespace")


@case(timeout=400)
def during_first_add_pid(t):
    """kill -9 at steps of an add-pid that has to bring the mirror up first."""
    begin(t)
    me = t.actor("c")
    found = steps(t, "add-pid", me.pid)
    t.mirrorctl("down")
    for step in found if EXHAUSTIVE else found[-12:]:
        kill_at(t, step, "add-pid", me.pid)
        state(t, step)
        t.mirrorctl("add-pid", me.pid)
        expect_equal([row["pid"] for row in t.get("list")["targets"]], [me.pid], f"targets after a kill at {step}")
        t.mirrorctl("down")
        nothing_left(t, step)


@case(timeout=400, disable=("", "tcx"))
def during_down(t):
    """kill -9 at every step of `down`: it can be repeated, and `up` works as well."""
    begin(t)
    t.mirrorctl("up", "lo")
    me = t.actor("c")
    t.mirrorctl("add-pid", me.pid)
    found = steps(t, "down")
    for number, step in enumerate(found):
        t.mirrorctl("up", "lo")
        t.mirrorctl("add-pid", me.pid)
        kill_at(t, step, "down")
        state(t, step)
        if number % 2:
            t.mirrorctl("up", "lo")
            status = t.get("status")
            expect_equal((status["state"], status["monitor"]["up"], [row["dev"] for row in status["sources"]]),
                         ("up", True, ["lo"]), f"status after a kill of down at {step} and `up`")
        t.mirrorctl("down")
        nothing_left(t, step)


@case(timeout=120)
def during_run(t):
    """kill -9 at every step of `run`: the command has started as a target or never runs; nobody waits for ever."""
    begin(t)
    t.mirrorctl("up", "lo")
    program = t.path("program")
    with open(program, "w", encoding="ascii") as file:
        file.write("#!/bin/sh\nexit 0\n")
    os.chmod(program, 0o755)
    found = steps(t, "run", "--", program)
    for step in found:
        kill_at(t, step, "run", "--", program)
        wait.until(lambda: not waiting(program), f"no process to be left after a kill at {step}")
        state(t, step)
        t.mirrorctl("run", "--", program)
    t.mirrorctl("down")
    nothing_left(t, "the last step")


def waiting(program):
    """Processes whose command line names this case's program."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if program.encode() in file.read():
                    found.append(int(pid))
        except OSError:
            pass
    return found


@case(timeout=60)
def lock_of_the_dead(t):
    """A killed mirrorctl leaves no lock that blocks the next."""
    begin(t)
    kill_at(t, ("bpf", 20, ""), "up", "lo")
    t.mirrorctl("up", "lo")
    t.mirrorctl("down")
    nothing_left(t, "the lock")


@case(timeout=400)
def during_add_name(t):
    """kill -9 at every step of add-name on a running mirror: the selector stands, with the processes that are there, or does
    not stand; the same command again makes it stand."""
    begin(t)
    t.mirrorctl("up", "lo")
    me = t.actor("c")
    name = program.unique(t, "svc")
    program.rename(me, name)
    me.do("a, b = (socket.socket(type=socket.SOCK_DGRAM) for _ in 'ab'); b.bind(('127.0.0.1', 0))")
    found = steps(t, "add-name", name)
    for step in found:
        t.mirrorctl("del-selector", "all")
        expect_equal(t.get("list")["targets"], [], "targets without a selector")
        kill_at(t, step, "add-name", name)
        state(t, step)
        t.mirrorctl("del-pid", "--all")     # any verb that changes something puts it right
        rows = [row["text"] for row in t.get("selectors")["selectors"]]
        pids = [row["pid"] for row in t.get("list")["targets"]]
        expect((rows, pids) in (([], []), ([name], [me.pid])), f"selectors and targets after a kill at {step}: {rows} {pids}")
        t.mirrorctl("add-name", name)
        expect_equal(len(t.get("selectors")["selectors"]), 1, f"selectors after a kill at {step} and add-name")
        before = t.get("stats")["mirrored"]
        me.do("a.sendto(b'x', b.getsockname())")
        expect_equal(t.get("stats")["mirrored"] - before, 1, f"packets mirrored after a kill at {step} and add-name")
    t.mirrorctl("down")
    nothing_left(t, "the last step")


@case(timeout=400)
def during_del_selector(t):
    """kill -9 at every step of del-selector: it stands as before or is gone, and so are its targets; what add-pid chose as
    well stays."""
    begin(t)
    t.mirrorctl("up", "lo")
    me, other = t.actor("c"), t.actor("c")
    name = program.unique(t, "svc")
    for actor in (me, other):
        program.rename(actor, name)
    t.mirrorctl("add-pid", other.pid)
    number = t.mirrorctl("-j", "add-name", name).json["id"]
    found = steps(t, "del-selector", number)
    for step in found:
        expect_equal(t.mirrorctl("-j", "add-name", name).json["id"], number, "number")
        kill_at(t, step, "del-selector", number)
        state(t, step)
        t.mirrorctl("up", "lo")
        rows = [row["id"] for row in t.get("selectors")["selectors"]]
        pids = {row["pid"] for row in t.get("list")["targets"]}
        expect((rows, pids) in (([], {other.pid}), ([number], {me.pid, other.pid})),
               f"selectors and targets after a kill at {step}: {rows} {pids}")
    t.mirrorctl("down")
    nothing_left(t, "the last step")
