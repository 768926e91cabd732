# SPDX-License-Identifier: GPL-2.0-only
"""Selectors by name, program and user: processes that are there and every later one from its first packet on, until they
cease to match. Beside each stands a twin that does the same and does not match."""

import json
import os
import shutil
import socket
import subprocess
import sys

from lib import leaks, netns, program, wait
from lib.packet import flow
from lib.program import Post, rename, says, unique
from lib.registry import case, expect, expect_equal
from lib.traffic import Datagrams, Listener, Stream

DGRAM = (socket.AF_INET, socket.SOCK_DGRAM)
UID, OTHER_UID = 54321, 54322


def rows_by(t, selector):
    """The targets that a selector has chosen, by process id."""
    return {row["pid"]: row for row in t.get("list")["targets"] if selector in row["selectors"]}


def select(t, *words):
    """Arms a selector; returns its number."""
    if t.armed is None:
        t.arm()
    return t.mirrorctl("-j", *words).json["id"]


def shell(t, path, script, key="c", **more):
    """Starts a copy of the shell whose first action is `script`."""
    return t.popen(key, path, "-c", script, **more)


def counts(t, number):
    """Processes and packets of one selector."""
    row = next(row for row in t.get("selectors")["selectors"] if row["id"] == number)
    return row["processes"], row["packets"]


def left_out(t):
    """Runs of the mirror's programs that the kernel has left out because the program stood still, by name."""
    mine = {p["id"] for p in t.mirrorctl("-j", "stats", "--cost", 1).json["programs"]}
    every = json.loads(netns.run(["bpftool", "-j", "prog", "show"]).stdout)
    return {p["name"]: p["recursion_misses"] for p in every if p["id"] in mine and p.get("recursion_misses")}


@case(disable=("", "tcx", "iter", "tp"))
def name(t):
    """A name: the open connections of a process that is there, and the first packet of one that comes later."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    mine = unique(t, "svc")
    rename(me, mine)
    listener, post = Listener(server), Post(t)
    streams = [Stream(me, listener), Stream(other, listener)]
    t.up()
    number = select(t, "add-name", mine)
    for stream in streams:
        stream.talk()
    t.owns(me, streams[0].key)
    later = shell(t, program.copy(t, mine), f"echo mine >{post.device}; read", stdin=subprocess.PIPE)
    word, key = post.word()
    expect_equal(word, "mine", "first word")
    t.owns(later.pid, key)
    shell(t, program.copy(t, "twin"), f"echo other >{post.device}")
    expect_equal(post.word()[0], "other", "the twin's word")
    for stream in streams:
        stream.close()
    t.check()
    expect_equal(set(rows_by(t, number)), {me.pid, later.pid}, "targets of the selector")
    expect_equal(counts(t, number)[0], 2, "processes of the selector")


@case(disable=("", "text"))
def long_name(t):
    """A name longer than a command name can be is the base name of the executable; another with the same first 15 bytes is
    another program. Without texts from the kernel it is said that this cannot be done."""
    t.pair()
    post = Post(t)
    mine, near = "a-service-with-a-long-name-1", "a-service-with-a-long-name-2"
    paths = [program.copy(t, mine), program.copy(t, near)]
    t.up()
    if t.spec.disable:
        answer = t.mirrorctl("add-name", mine, status=5)
        expect(mine in answer.err, f"the name in the message: {answer}")
        return
    select(t, "add-name", mine)
    for path, word in zip(paths, ("mine", "near")):
        proc = shell(t, path, f"echo {word} >{post.device}")
        got, key = post.word()
        expect_equal(got, word, "word")
        if word == "mine":
            t.owns(proc.pid, key)
    t.check()


@case(disable=("", "tp"))
def renamed_at_run_time(t):
    """A process takes the name and gives it up, several times, by prctl and by /proc/PID/comm; a thread's name is not its
    process's."""
    t.pair()
    me, other = t.actor("c"), t.actor("c")
    post = Post(t)
    mine, plain = unique(t, "svc"), unique(t, "oth")
    socks = [who.socket(*DGRAM) for who in (me, other)]
    t.up()
    number = select(t, "add-name", mine)
    for turn in range(3):
        for name_, word in ((plain, "no"), (mine, "yes"), (plain, "not any more")):
            if turn == 1:
                me.do(f"with open('/proc/self/comm', 'w') as file: file.write({name_!r})")
            else:
                rename(me, name_)
            for sock in socks:
                post.send(sock, word if sock is socks[0] else "other")
            expect_equal(set(rows_by(t, number)), {me.pid} if word == "yes" else set(), "targets")
    other.do("import threading, ctypes\n"
             f"def work():\n    assert ctypes.CDLL(None).prctl(15, {mine.encode()!r}, 0, 0, 0) == 0\n    done.wait()\n"
             "done = threading.Event(); thread = threading.Thread(target=work); thread.start()")
    post.send(socks[1], "other")
    other.do("done.set(); thread.join()")
    rename(me, mine)
    post.send(socks[0], "yes")
    t.owns(me, says("yes"))
    t.check(per_target=False)
    expect_equal(counts(t, number), (1, 4), "processes and packets of the selector")


@case(disable=("", "tcx", "tp"))
def stream_while_renamed(t):
    """A TCP connection made under the name, while the name is given up and taken again: its packets in both directions are
    mirrored under the name alone."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    listener = Listener(server)
    mine, plain = unique(t, "svc"), unique(t, "oth")
    t.up()
    select(t, "add-name", mine)
    rename(me, mine)
    streams = [Stream(me, listener), Stream(other, listener)]
    start = {}
    for _ in range(2):
        for stream in streams:
            stream.talk()
        rule = t.owns(me, streams[0].key, start=start)
        rule.stop = t.now()
        rename(me, plain)
        for stream in streams:
            stream.talk()
        start = t.now()
        rename(me, mine)
    for stream in streams:
        stream.talk()
        stream.close()
    t.owns(me, streams[0].key, start=start)
    t.check(per_target=False)


@case()
def program_replaced(t):
    """exec of another program: the name ends and begins with it. What a socket that was inherited sends first counts where
    the kernel tells of a use beforehand."""
    t.pair()
    post = Post(t)
    mine, twin = unique(t, "svc"), unique(t, "oth")
    paths = [program.copy(t, mine), program.copy(t, twin)]
    t.up()
    select(t, "add-name", mine)
    script = (f"exec 5<>{post.device}; echo before >&5; exec {paths[0]} -c 'echo used-1 >&5; echo used-2 >&5; "
              f"echo new-1 >{post.device}; exec {paths[1]} -c \"echo after >&5; echo later >{post.device}\"'")
    proc = shell(t, paths[1], script)
    expect_equal([post.word()[0] for _ in range(6)], ["before", "used-1", "used-2", "new-1", "after", "later"], "words")
    words = ["new-1"] + (["used-2"] if t.by_use() else []) + (["used-1"] if t.before_use() else [])
    for word in words:
        t.owns(proc.pid, says(word))
    t.check(per_target=False)


@case(timeout=120, disable=("", "tcx"))
def restarted_ten_times(t):
    """A service that is started ten times under its name, each time with a listener that serves one connection: every packet
    from the first SYN to the last acknowledgement, beside a twin on another port."""
    t.pair()
    client = t.actor("s")
    names = [unique(t, "svc"), unique(t, "oth")]
    paths = [program.copy(t, name_, sys.executable) for name_ in names]
    script = ("import socket; l = socket.socket(); l.setsockopt(1, 2, 1); l.bind(('10.11.0.1', 0)); l.listen(); "
              "print(l.getsockname()[1], flush=True); s = l.accept()[0]; s.sendall(s.recv(100) * 20); s.recv(1); s.close()")
    t.up()
    number = select(t, "add-name", names[0])
    for _ in range(10):
        procs = [t.popen("c", path, "-I", "-c", script, env={"PYTHONHOME": sys.base_prefix}) for path in paths]
        for proc in procs:
            line = proc.stdout.readline()
            end = ("10.11.0.1", int(line))
            sock = client.socket()
            sock.connect(end)
            if proc is procs[0]:
                t.owns(proc.pid, flow(6, sock.getsockname(), end))
            sock.sendall(b"x" * 100)
            expect_equal(len(sock.recv_exactly(2000)), 2000, "bytes of the answer")
            sock.close()
            proc.wait()
    t.check()
    expect_equal(len(rows_by(t, number)), 10, "processes the selector chose")


@case(timeout=180)
def short_lived(t):
    """Two thousand processes whose only action is one datagram, half of them under the name: each of those, and no other."""
    t.pair()
    post = Post(t)
    names = [unique(t, "svc"), unique(t, "oth")]
    paths = [program.copy(t, name_) for name_ in names]
    t.up("--linger", "3600")    # however long the machine takes for them
    number = select(t, "add-name", names[0])
    count = 1000
    loop = "for ((i = 0; i < {n}; i++)); do {path} -c 'echo {word} $$ >{device}'; done"
    procs = [shell(t, program.SHELL, loop.format(n=count, path=path, word=word, device=post.device))
             for path, word in zip(paths, ("mine", "other"))]
    words = post.words(2 * count)
    for proc in procs:
        expect_equal(proc.wait(), 0, f"status of the loop: {proc.stdout.read()}")
    mine = [int(word.split()[1]) for word in words if word.startswith("mine")]
    expect_equal(len(mine), count, "words of the named ones")
    t.owns(0, says("mine"))
    t.check(per_target=False)
    rows = rows_by(t, number)
    expect_equal({pid: rows[pid]["packets"] for pid in mine if pid in rows}, {pid: 1 for pid in mine}, "packets of each")
    expect_equal(counts(t, number), (0, count), "processes and packets of the selector")


@case(timeout=120, disable=("", "wake"))
def fork_storm(t):
    """Children of children that never exec have their parent's name, and send as soon as they run. What the kernel left out of
    it, status says; of the forks it leaves out none, where they are seen at sched_wakeup_new."""
    t.pair()
    post = Post(t)
    names = [unique(t, "svc"), unique(t, "oth")]
    paths = [program.copy(t, name_) for name_ in names]
    t.up()
    number = select(t, "add-name", names[0])
    script = ("for ((i = 0; i < 100; i++)); do ( (echo {word} >{device}) & (echo {word} >{device}); wait ) & done; wait")
    for path, word in zip(paths, ("mine", "other")):
        shell(t, path, script.format(word=word, device=post.device))
    words = post.words(400)
    expect_equal(words.count("mine"), 200, "words of the named ones")
    for proc in t.procs:
        proc.wait()
    missed = left_out(t)
    expect_equal(t.limited("preemption"), sum(missed.values()) > 0, f"status names the runs left out: {missed}")
    t.need(not missed.get("mir_forked"), f"this kernel leaves out runs of programs that it has interrupted: {missed}")
    expect_equal(missed.get("mir_fork", 0), 0, "forks left out")
    t.owns(0, says("mine"))
    t.check(per_target=False)
    wait.until(lambda: counts(t, number)[0] == 0, "every exit to be seen")
    expect_equal(counts(t, number)[1], 200, "packets of the selector")


@case()
def follow(t):
    """With --follow the children of a process that matches are targets whatever they become, and their children; the process
    itself is one while it matches."""
    t.pair()
    post = Post(t)
    mine, twin = unique(t, "svc"), unique(t, "oth")
    paths = [program.copy(t, mine), program.copy(t, twin)]
    t.up()
    number = select(t, "add-name", mine, "--follow")
    inner = f"echo grandchild >{post.device}"
    script = (f"{paths[1]} -c '{paths[1]} -c \"{inner}\"; echo child >{post.device}'; echo parent >{post.device}; "
              f"exec {paths[1]} -c 'echo gone >{post.device}; {paths[1]} -c \"echo late >{post.device}\"'")
    proc = shell(t, paths[0], script)
    expect_equal([post.word()[0] for _ in range(5)], ["grandchild", "child", "parent", "gone", "late"], "words")
    proc.wait()
    for word in ("grandchild", "child", "parent"):
        t.owns(0, says(word))
    t.check(per_target=False)
    expect_equal(counts(t, number), (0, 3), "processes and packets of the selector")


@case(disable=("", "iter", "text"))
def exe(t):
    """A program by its path: through a symbolic link, under any name its processes take, and not a copy of it elsewhere."""
    t.pair()
    post = Post(t)
    path, copy = program.copy(t, "program"), program.copy(t, "twin")
    link = t.path("link")
    os.symlink("program", link)
    running = shell(t, path, "read; echo running >" + post.device, stdin=subprocess.PIPE)
    t.up()
    select(t, "add-exe", link)
    running.stdin.write("\n")
    running.stdin.flush()
    expect_equal(post.word()[0], "running", "word")
    t.owns(running.pid, says("running"))
    for where, word in ((path, "path"), (link, "by-link"), (copy, "copy")):
        proc = shell(t, where, f"echo renamed >/proc/$$/comm; echo {word} >{post.device}")
        expect_equal(post.word()[0], word, "word")
        if word != "copy":
            t.owns(proc.pid, says(word))
    t.check()


@case()
def exe_upgraded(t):
    """A package upgrade puts a new file over the path: old and new processes are the program's. A file that was there before
    and has another path now still is the program, another one that is moved away from the path is not."""
    t.pair()
    post = Post(t)
    path = program.copy(t, "program")
    stranger = program.copy(t, "stranger")
    script = f"read; echo old >{post.device}; read"
    t.up()
    number = select(t, "add-exe", path)
    old = shell(t, path, script, stdin=subprocess.PIPE)
    wait.until(lambda: old.pid in rows_by(t, number), "the old process to be a target")
    os.link(path, t.path("kept"))
    shutil.copy(path, t.path("program.new"))
    os.rename(t.path("program.new"), path)
    new = shell(t, path, f"echo new >{post.device}")
    expect_equal(post.word()[0], "new", "word")
    old.stdin.write("\n")
    old.stdin.flush()
    expect_equal(post.word()[0], "old", "word")
    kept = shell(t, t.path("kept"), f"echo kept >{post.device}")
    expect_equal(post.word()[0], "kept", "word")
    foreign = shell(t, stranger, f"echo stranger >{post.device}")
    expect_equal(post.word()[0], "stranger", "word")
    foreign.wait()
    for proc, word in ((old, "old"), (new, "new"), (kept, "kept")):
        t.owns(proc.pid, says(word))
    t.check()


@case()
def exe_to_come(t):
    """With --wait a program that is not installed yet is selected from its first process on."""
    t.pair()
    post = Post(t)
    path = t.path("program")
    t.up()
    answer = t.mirrorctl("add-exe", path, status=3)
    expect(path in answer.err and "--wait" in answer.err, f"what is missing and what to do: {answer}")
    select(t, "add-exe", path, "--wait")
    program.copy(t, "program")
    program.copy(t, "other")
    for name_ in ("program", "other"):
        proc = shell(t, t.path(name_), f"echo {name_} >{post.device}")
        expect_equal(post.word()[0], name_, "word")
        if name_ == "program":
            t.owns(proc.pid, says("program"))
    t.check()


@case(disable=("", "tcx"))
def user(t):
    """A user's processes: those that are there, later ones, and one that becomes him and ceases to be, from its next use of a
    socket on. The real user id counts."""
    t.pair()
    me, other, changing = t.actor("c"), t.actor("c"), t.actor("c")
    post = Post(t)
    me.do(f"os.setresuid({UID}, {UID}, {UID})")
    other.do(f"os.setresuid({OTHER_UID}, {UID}, {OTHER_UID})")
    socks = [who.socket(*DGRAM) for who in (me, other, changing)]
    t.up()
    number = select(t, "add-user", str(UID))
    for word, uid in (("root", 0), ("user", UID), ("root", 0), ("user", UID), ("effective", 0)):
        changing.do(f"os.setresuid({uid}, 0, 0)")
        if word == "effective":
            changing.do(f"os.setresuid(0, {UID}, 0)")
        post.send(socks[0], "mine")
        post.send(socks[1], "other")
        post.send(socks[2], word)
        expect_equal(set(rows_by(t, number)), {me.pid, changing.pid} if word == "user" else {me.pid}, "targets")
    t.owns(me, says("mine"))
    t.owns(0, says("user"))
    child = t.popen("c", "setpriv", f"--reuid={UID}", "--clear-groups", program.SHELL, "-c", f"echo child >{post.device}")
    expect_equal(post.word()[0], "child", "word")
    t.owns(child.pid, says("child"))
    t.check(per_target=False)
    expect_equal(counts(t, number)[1], 8, "packets of the selector")


@case(disable=("", "tcx"))
def overlapping(t):
    """One process chosen by three selectors and by hand: one copy of each packet; each selector counts while it has it, and
    the last one to go ends it."""
    t.pair()
    me, other = t.actor("c"), t.actor("c")
    post = Post(t)
    mine = unique(t, "svc")
    rename(me, mine)
    me.do(f"os.setresuid({UID}, {UID}, {UID})")
    socks = [who.socket(*DGRAM) for who in (me, other)]
    t.up()

    def say(word):
        post.send(socks[0], word)
        post.send(socks[1], "other")

    by_name = select(t, "add-name", mine)
    by_user = select(t, "add-user", str(UID))
    again = select(t, "add-name", mine)
    expect_equal(again, by_name, "number of the same selector given twice")
    shared = select(t, "add-name", mine, "--shared")
    t.add(me)
    say("yes")
    row = next(row for row in t.get("list")["targets"] if row["pid"] == me.pid)
    expect_equal((row["by_pid"], row["selectors"], row["shared"]), (True, [by_name, by_user, shared], True), "chosen by")
    t.mirrorctl("del-selector", by_name)
    say("yes")
    answer = t.mirrorctl("del-pid", me.pid)
    expect("still" in answer.err, f"a word about the selectors: {answer}")
    say("yes")
    answer = t.mirrorctl("del-pid", me.pid, status=1)
    expect(f"del-selector {by_user}" in answer.err, f"what to do: {answer}")
    rename(me, "plain")
    say("yes")
    expect_equal([counts(t, n)[1] for n in (by_user, shared)], [4, 3], "packets of the selectors")
    t.mirrorctl("del-selector", by_user)
    say("no")
    rename(me, mine)
    say("yes")
    t.mirrorctl("del-selector", "all")
    say("no")
    expect_equal(t.get("list")["targets"], [], "targets")
    expect_equal(t.get("selectors")["selectors"], [], "selectors")
    t.owns(me, says("yes"))
    t.check(per_target=False)


@case(timeout=90)
def every_number(t):
    """One process is chosen by three dozen selectors, and each is taken away while it has all the later ones."""
    me = t.actor("c")
    mine = unique(t, "svc")
    rename(me, mine)
    t.mirrorctl("up", "lo")
    numbers = [select(t, "add-name", mine, "--count", 1000 + i) for i in range(36)]
    for i, number in enumerate(numbers):
        expect_equal([(row["pid"], row["selectors"]) for row in t.get("list")["targets"]], [(me.pid, numbers[i:])], "targets")
        t.mirrorctl("del-selector", number)
    expect_equal((t.get("list")["targets"], t.get("selectors")["selectors"]), ([], []), "targets and selectors that are left")


@case(timeout=90)
def under_load(t):
    """Selectors come and go while the process and its twin send as fast as they can: all that was sent between the end of one
    command and the beginning of the next is mirrored, nothing after a removal, nothing of the twin."""
    t.pair()
    me, other = t.actor("c"), t.actor("c")
    sinks = [Datagrams(t.actor("s")) for _ in range(2)]
    mine = unique(t, "svc")
    rename(me, mine)
    for who, sink, word in ((me, sinks[0], "m"), (other, sinks[1], "f")):
        who.do("import threading, time\nat = [0]; stop = []\ns = socket.socket(type=socket.SOCK_DGRAM)\n"
               "def load():\n    while not stop:\n"
               f"        s.sendto(b'{word}%08d' % at[0], {sink.end!r}); at[0] += 1; time.sleep(0.0005)\n"
               "t = threading.Thread(target=load)")
    t.up()
    t.arm()
    for who in (me, other):
        who.do("t.start()")
    between, outside = [], []
    last = me.eval("at[0]")
    for turn in range(8):
        outside.append((last, me.eval("at[0]") - 1))
        number = t.mirrorctl("-j", "add-name", mine, *(["--shared"] if turn % 2 else [])).json["id"]
        first = me.eval("at[0]") + 1
        wait.until(lambda: me.eval("at[0]") > first + 50, "some load")
        between.append((first, me.eval("at[0]") - 1))
        t.mirrorctl("del-selector", number)
        last = me.eval("at[0]") + 1
        wait.until(lambda: me.eval("at[0]") > last + 50, "some load")
    for who in (me, other):
        who.do("stop.append(1); t.join()")
    t.settle()
    stats = t.get("stats")
    got = [p.payload for p in t.monitor.frames(stats["mirrored"])]
    expect_equal(stats["matched"], stats["mirrored"], "matched and mirrored")
    expect_equal(len(got), stats["mirrored"], "frames on mon0")
    expect_equal([data for data in got if not data.startswith(b"m")], [], "the twin's frames")
    numbers = [int(data[1:]) for data in got]
    expect_equal(len(set(numbers)), len(numbers), "frames that came once")
    seen = set(numbers)
    expect_equal([n for a, b in between for n in range(a, b + 1) if n not in seen], [], "missed while it was armed")
    expect_equal([n for a, b in outside for n in range(a, b + 1) if n in seen], [], "mirrored while it was not")


@case()
def counters_stay(t):
    """What a selector has counted stays when its processes are gone and forgotten."""
    t.pair()
    post = Post(t)
    mine = unique(t, "svc")
    path = program.copy(t, mine)
    t.up("--linger", 1)
    number = select(t, "add-name", mine)
    for _ in range(5):
        shell(t, path, f"echo mine >{post.device}").wait()
    expect_equal(post.words(5), ["mine"] * 5, "words")
    t.owns(0, says("mine"))
    t.check(per_target=False)
    wait.until(lambda: t.get("list")["targets"] == [], "the targets to be forgotten")
    expect_equal(counts(t, number), (0, 5), "processes and packets of the selector")
    other = select(t, "add-user", "0")
    shell(t, path, f"echo mine >{post.device}").wait()
    expect_equal(post.word()[0], "mine", "word")
    wait.until(lambda: counts(t, other)[1] == 1, "the second selector to count")
    wait.until(lambda: mine not in [row["comm"] for row in t.get("list")["targets"]], "the last one to be forgotten")
    t.mirrorctl("up", "eth0", "--linger", "1")      # forgets them for good
    expect_equal((counts(t, number)[1], counts(t, other)[1]), (6, 1), "packets after a verb that cleans up")
    t.mirrorctl("del-selector", number)
    expect_equal(counts(t, other)[1], 1, "packets of the other one")
    expect_equal(select(t, "add-name", mine), number, "number that was free")
    expect_equal(counts(t, number), (0, 0), "processes and packets of the new one")


@case()
def forgotten_by_themselves(t):
    """Targets whose linger time is over make room for new ones without anybody calling mirrorctl, and stay counted."""
    t.pair()
    post = Post(t)
    mine = unique(t, "svc")
    t.up("--linger", 0)
    number = select(t, "add-name", mine)
    shell(t, program.copy(t, mine), f"for ((i = 0; i < 300; i++)); do (echo mine >{post.device}); done").wait()
    expect_equal(post.words(300), ["mine"] * 300, "words")
    inode = os.stat(f"/run/netns/{t.space('c')}").st_ino
    left = leaks.bpftool("map", "dump", "pinned", f"/sys/fs/bpf/mirrorctl/net-{inode}/targets")
    expect(len(left) < 10, f"{len(left)} targets are left in the map")
    expect_equal(counts(t, number), (0, 300), "processes and packets of the selector")
    t.owns(0, says("mine"))
    t.check(per_target=False)


@case()
def names_that_are_wrong(t):
    """Wrong words: one line that names them, the documented status, nothing changed."""
    t.pair()
    script = t.path("script.sh")
    with open(script, "w", encoding="ascii") as file:
        file.write(f"#!{program.SHELL}\n")
    t.up()
    before = t.get("status")
    for words, status, text in (
            (["add-name"], 2, "add-name"), (["add-name", ""], 2, "add-name"), (["add-name", "a/b"], 2, "a/b"),
            (["add-name", "x" * 300], 2, "255"), (["add-exe", "relative"], 2, "relative"),
            (["add-exe", "/no/such/file"], 3, "/no/such/file"), (["add-exe", "/tmp"], 2, "/tmp"),
            (["add-exe", "/no/such/file", "--wait"], 3, "/no/such"), (["add-exe", script], 2, "script.sh"),
            (["add-user", "no-such-user-"], 3, "no-such-user-"), (["add-user", "4294967295"], 3, "4294967295"),
            (["add-user", "-1"], 2, "-1"), (["add-name", "x", "--wait"], 2, "--wait"),
            (["del-selector"], 2, "del-selector"), (["del-selector", "0"], 2, "0"), (["del-selector", "64"], 2, "64"),
            (["del-selector", "x"], 2, "x"), (["del-selector", "7"], 3, "7"), (["del-selector", "all", "1"], 2, "all")):
        answer = t.mirrorctl(*words, status=status)
        expect(text in answer.err and answer.err.count("\n") == 1 and not answer.out, f"one line with {text}: {answer}")
        answer = t.mirrorctl("-j", *words, status=status)
        expect_equal(answer.json["error"]["code"], status, "code")
    expect_equal(t.get("selectors"), {"selectors": []}, "selectors")
    expect_equal(t.get("status"), before, "status")
    for number in range(1, 64):
        t.mirrorctl("add-name", f"n{number}")
    answer = t.mirrorctl("add-name", "one-too-many", status=1)
    expect("63" in answer.err, f"how many there can be: {answer}")
    t.mirrorctl("del-selector", 7)
    expect_equal(t.mirrorctl("-j", "add-name", "one-more").json["id"], 7, "number that was free")


@case()
def brings_it_up(t):
    """A selector brings the mirror up, and takes it down again when there is nothing to select."""
    t.pair()
    t.mirrorctl("add-user", "no-such-user-", status=3)
    expect_equal(t.get("status")["state"], "down", "state")
    expect_equal(t.get("selectors"), {"selectors": []}, "selectors of a mirror that is down")
    answer = t.mirrorctl("add-name", unique(t, "svc"))
    expect("mon0" in answer.err, f"a word about the monitor: {answer}")
    expect_equal(t.get("status")["state"], "up", "state")
