# SPDX-License-Identifier: GPL-2.0-only
"""Selectors by control group, unit and container: what is in the group, below it, comes into it or leaves it, and the group
that is removed and made again. The groups are made by hand in the v2 hierarchy, as a service manager would."""

import json
import os
import socket

from cases.select_process import counts, rows_by, select, shell
from lib import program, wait
from lib.packet import flow
from lib.program import Groups, Post, says
from lib.registry import case, expect, expect_equal
from lib.traffic import Listener, Stream, exchange

DGRAM = (socket.AF_INET, socket.SOCK_DGRAM)
# In the actor: a process that is born in a group (clone3 with CLONE_INTO_CGROUP) and sends at once.
BORN_THERE = """
import ctypes
def born_in(path, word, end):
    group = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    args = struct.pack("11Q", 0x200000000, 0, 0, 0, 17, 0, 0, 0, 0, 0, group)
    pid = ctypes.CDLL(None, use_errno=True).syscall(435, args, len(args))
    if pid == 0:
        socket.socket(type=socket.SOCK_DGRAM).sendto(word, end)
        os._exit(0)
    os.close(group)
    if pid > 0:
        os.waitpid(pid, 0)
    return pid
"""


def top(suffix=""):
    """Name of a group at the top of the hierarchy that nobody else has."""
    return f"/mirt{os.getpid()}{suffix}"


def into(groups, path, then):
    """A shell script whose process enters a group as its first action."""
    return f"echo $$ >{groups.top}{path}/cgroup.procs; {then}"


@case(disable=("", "tcx", "text"))
def below(t):
    """A group with everything below it, made before and after; not one whose name begins alike, nor its neighbours."""
    t.pair()
    server, me, deep, late, other = t.actor("s"), t.actor("c"), t.actor("c"), t.actor("c"), t.actor("c")
    listener = Listener(server)
    with Groups(t) as groups:
        web = groups.make(top() + "/web")
        groups.move(me, web)
        groups.move(deep, groups.make(web + "/a/b/c"))
        groups.move(other, groups.make(top() + "/web2"))
        streams = {who: Stream(who, listener) for who in (me, deep, other)}
        t.up()
        number = select(t, "add-cgroup", groups.top + web + "/")
        groups.move(late, groups.make(web + "/a/later/x"))
        streams[late] = Stream(late, listener)
        for who, stream in streams.items():
            stream.talk()
            stream.close()
            if who is not other:
                t.owns(who, stream.key)
        t.check()
        expect_equal(set(rows_by(t, number)), {me.pid, deep.pid, late.pid}, "targets of the selector")
        rows = {row["pid"]: row["cgroup"] for row in t.get("list")["targets"]}
        expect_equal(rows[me.pid], "web", "name of the group in the list")


@case(disable=("", "tp"))
def moved(t):
    """Processes that move into the group and out of it, several times: mirrored while they are in it."""
    t.pair()
    me, other = t.actor("c"), t.actor("c")
    post = Post(t)
    socks = [who.socket(*DGRAM) for who in (me, other)]
    with Groups(t) as groups:
        inside, outside = groups.make(top() + "/in"), groups.make(top() + "/out")
        groups.move(other, outside)
        t.up()
        number = select(t, "add-cgroup", inside)
        for where, word in ((outside, "no"), (inside, "yes"), (outside, "no"), ("/", "no"), (inside, "yes")):
            groups.move(me, where)
            post.send(socks[0], word)
            post.send(socks[1], "other")
            expect_equal(set(rows_by(t, number)), {me.pid} if word == "yes" else set(), "targets")
        t.owns(me, says("yes"))
        t.check(per_target=False)


@case()
def stream_while_moved(t):
    """A TCP connection made inside, while its process is moved out and back: its packets in both directions."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    listener = Listener(server)
    with Groups(t) as groups:
        inside = groups.make(top() + "/in")
        t.up()
        select(t, "add-cgroup", inside)
        groups.move(me, inside)
        streams = [Stream(me, listener), Stream(other, listener)]
        start = {}
        for _ in range(2):
            for stream in streams:
                stream.talk()
            rule = t.owns(me, streams[0].key, start=start)
            rule.stop = t.now()
            groups.move(me, "/")
            for stream in streams:
                stream.talk()
            start = t.now()
            groups.move(me, inside)
        for stream in streams:
            stream.talk()
            stream.close()
        t.owns(me, streams[0].key, start=start)
        t.check(per_target=False)


@case()
def first_action(t):
    """A process that sends as soon as it is in the group, one that is born in it, and the children of both."""
    t.pair()
    me = t.actor("c")
    post = Post(t)
    with Groups(t) as groups:
        inside, outside = groups.make(top() + "/in"), groups.make(top() + "/out")
        t.up()
        select(t, "add-cgroup", inside)
        for where, word in ((inside, "mine"), (outside, "other")):
            proc = shell(t, program.SHELL, into(groups, where, f"echo {word} >{post.device}; (echo {word} >{post.device})"))
            expect_equal([post.word()[0] for _ in range(2)], [word] * 2, "words")
            proc.wait()
        me.do(BORN_THERE)
        for where, word in ((inside, "mine"), (outside, "other")):
            pid = me.eval(f"born_in({groups.top + where!r}, {word.encode()!r}, {post.end!r})")
            expect(pid > 0, "clone3 into a control group")
            expect_equal(post.word()[0], word, "word")
        t.owns(0, says("mine"))
        t.check(per_target=False)


@case(timeout=120, disable=("", "tcx"))
def made_again(t):
    """A group that is removed and made again under its path, with a new id each time: still selected, ten times; and one that
    was not there when it was armed."""
    t.pair()
    post = Post(t)
    with Groups(t) as groups:
        groups.make(top())
        t.up()
        path, twin = top() + "/svc", top() + "/oth"
        answer = t.mirrorctl("add-cgroup", path, status=3)
        expect(path in answer.err and "--wait" in answer.err, f"what is missing and what to do: {answer}")
        number = select(t, "add-cgroup", path, "--wait")
        for _ in range(10):
            for where, word in ((path, "mine"), (twin, "other")):
                groups.make(where)
                proc = shell(t, program.SHELL, into(groups, where, f"echo {word} >{post.device}"))
                expect_equal(post.word()[0], word, "word")
                proc.wait()
                groups.remove(where)
        t.owns(0, says("mine"))
        t.check(per_target=False)
        expect_equal(counts(t, number), (0, 10), "processes and packets of the selector")


@case(timeout=120, disable=("", "tcx"))
def unit_restarted(t):
    """A unit that is stopped and started ten times, each time a new group that serves one connection, beside a unit of a
    user's own manager with the same name."""
    t.pair()
    client = t.actor("s")
    unit = f"mirt{os.getpid()}.service"
    script = ("import socket; l = socket.socket(); l.bind(('10.11.0.1', 0)); l.listen(); "
              "print(l.getsockname()[1], flush=True); s = l.accept()[0]; s.sendall(s.recv(100) * 20); s.recv(1); s.close()")
    with Groups(t) as groups:
        slice_ = groups.make(top(".slice") + f"/mirt{os.getpid()}-part.slice")
        manager = groups.make(top(".slice") + "/user@1.service/app.slice")
        t.up()
        answer = t.mirrorctl("add-unit", unit, status=3)
        expect(unit in answer.err and "--wait" in answer.err, f"what is missing and what to do: {answer}")
        number = select(t, "add-unit", unit.removesuffix(".service"), "--wait")
        for _ in range(10):
            for where in (slice_, manager):
                group = groups.make(f"{where}/{unit}")
                proc = shell(t, program.SHELL, into(groups, group, f'exec /usr/bin/python3 -c "{script}"'))
                end = ("10.11.0.1", int(proc.stdout.readline()))
                sock = client.socket()
                sock.connect(end)
                if where is slice_:
                    t.owns(proc.pid, flow(6, sock.getsockname(), end))
                sock.sendall(b"x" * 100)
                expect_equal(len(sock.recv_exactly(2000)), 2000, "bytes of the answer")
                sock.close()
                proc.wait()
                groups.remove(group)
        t.check()
        expect_equal(len(rows_by(t, number)), 10, "processes the selector chose")


@case()
def unit_running(t):
    """A unit that runs, with what is below its group, and a slice with all the units in it; by the names systemd gives."""
    t.pair()
    post = Post(t)
    actors = [t.actor("c") for _ in range(4)]
    base = f"mirt{os.getpid()}"
    with Groups(t) as groups:
        paths = [f"/{base}.slice/memory.service", f"/{base}.slice/{base}@1.service", f"/{base}.slice/{base}@1.service/sub",
                 f"/{base}x.slice/{base}.service"]
        paths[0] = f"/{base}.slice/_memory.service"
        socks = []
        for actor, path in zip(actors, paths):
            groups.move(actor, groups.make(path))
            socks.append(actor.socket(*DGRAM))
        t.up()

        def say(*mine):
            for at, sock in enumerate(socks):
                post.send(sock, "yes" if at in mine else "no")

        for unit, mine in ((f"{base}.slice", (0, 1, 2)), (f"{base}@1.service", (1, 2)), ("memory", (0,)), (base, (3,))):
            number = select(t, "add-unit", unit)
            expect_equal(set(rows_by(t, number)), {actors[at].pid for at in mine}, f"targets of {unit}")
            say(*mine)
            t.mirrorctl("del-selector", number)
            say()
        t.owns(0, says("yes"))
        t.check(per_target=False)
        for unit, text in ((f"{base}@.service", "instance"), ("a/b", "a/b"), ("x" * 250, "unit")):
            answer = t.mirrorctl("add-unit", unit, status=2)
            expect(text in answer.err, f"what is wrong: {answer}")


@case()
def other_hierarchies(t):
    """A group of the same path in a version 1 hierarchy is another thing."""
    t.pair()
    me = t.actor("c")
    post = Post(t)
    sock = me.socket(*DGRAM)
    v1 = "/sys/fs/cgroup/pids"
    t.need(os.path.isdir(v1), "no version 1 hierarchy is mounted")
    t.up()
    number = select(t, "add-cgroup", top(), "--wait")
    os.mkdir(v1 + top())
    try:
        with open(f"{v1}{top()}/cgroup.procs", "w", encoding="ascii") as file:
            file.write(str(me.pid))
        post.send(sock, "other")
        expect_equal(counts(t, number), (0, 0), "processes and packets of the selector")
        with Groups(t) as groups:
            groups.move(me, groups.make(top()))
            post.send(sock, "mine")
            t.owns(me, says("mine"))
            t.check()
    finally:
        with open(f"{v1}/cgroup.procs", "w", encoding="ascii") as file:
            file.write(str(me.pid))
        wait.until(lambda: not open(f"{v1}{top()}/cgroup.procs", encoding="ascii").read(), "the group to be empty")
        os.rmdir(v1 + top())


@case(timeout=120)
def group_storm(t):
    """Hundreds of groups that are made below a selected one and beside it, each for one process with one datagram."""
    t.pair()
    post = Post(t)
    with Groups(t) as groups:
        dirs = [groups.make(top() + name) for name in ("/in", "/out")]
        t.up()
        number = select(t, "add-cgroup", dirs[0])
        count = 200
        script = ("for ((i = 0; i < {n}; i++)); do mkdir {dir}/$i; (echo $BASHPID >{dir}/$i/cgroup.procs; echo {word} >{device}); "
                  "until rmdir {dir}/$i 2>/dev/null; do :; done; done")
        procs = [shell(t, program.SHELL, script.format(n=count, dir=groups.top + path, word=word, device=post.device))
                 for path, word in zip(dirs, ("mine", "other"))]
        words = post.words(2 * count)
        for proc in procs:
            proc.wait()
        expect_equal(words.count("mine"), count, "words from inside")
        t.owns(0, says("mine"))
        t.check(per_target=False)
        expect_equal(counts(t, number), (0, count), "processes and packets of the selector")


@case()
def overlapping_groups(t):
    """A group and one inside it, both selected, and the process's name: one copy of each packet; what is left goes on when one
    selector is removed."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    listener = Listener(server)
    with Groups(t) as groups:
        outer = groups.make(top() + "/outer")
        inner = groups.make(outer + "/inner")
        groups.move(me, inner)
        groups.move(other, groups.make(top() + "/else"))
        t.up()
        numbers = [select(t, "add-cgroup", path) for path in (outer, inner)]
        t.owns(me, exchange(me, listener))
        exchange(other, listener)
        t.mirrorctl("del-selector", numbers[0])
        t.owns(me, exchange(me, listener))
        t.mirrorctl("add-cgroup", outer)
        t.mirrorctl("del-selector", numbers[1])
        t.owns(me, exchange(me, listener))
        groups.move(me, outer)
        t.owns(me, exchange(me, listener))
        exchange(other, listener)
        t.check()


@case(timeout=120)
def container_trees(t):
    """Containers by the names that Docker, containerd, Podman and CRI-O give their groups, with what lies below them; their
    monitors beside them and other containers are not. By the whole id, a part of it, and again after a restart."""
    t.pair()
    post = Post(t)
    ids = [f"{os.getpid():08x}{number:02x}{'0123456789abcdef' * 4}"[:64] for number in range(12)]
    base = top(".slice")
    shapes = ["{base}/docker-{id}.scope", "{base}/docker/{id}", "{base}/libpod-{id}.scope/container",
              "{base}/libpod_parent/libpod-{id}", "{base}/kubepods.slice/pod1.slice/cri-containerd-{id}.scope",
              "{base}/kubepods.slice/pod2.slice/crio-{id}.scope"]
    twins = ["{base}/docker-{id}x.scope", "{base}/libpod-conmon-{id}.scope", "{base}/crio-conmon-{id}.scope", "{base}/x{id}",
             "{base}/{id}.mount", "{base}/docker/{id}0"]
    with Groups(t) as groups:
        t.up()
        for at, (shape, twin) in enumerate(zip(shapes, twins)):
            me, other, neighbour = t.actor("c"), t.actor("c"), t.actor("c")
            group = groups.make(shape.format(base=base, id=ids[at]))
            groups.move(me, group)
            groups.move(other, groups.make(twin.format(base=base, id=ids[at])))
            groups.move(neighbour, groups.make(shape.format(base=base, id=ids[at + 6])))
            number = select(t, "add-container", ids[at] if at % 2 else ids[at][:10])
            expect_equal(set(rows_by(t, number)), {me.pid}, f"targets in {group}")
            for actor, word in ((me, "yes"), (other, "no"), (neighbour, "no")):
                post.send(actor.socket(*DGRAM), word)
            if "container/" not in group + "/":
                groups.move(me, "/")
                groups.remove(group)
                groups.make(group)
                groups.move(me, groups.make(group + "/init.scope"))
                post.send(me.socket(*DGRAM), "yes")
            groups.move(me, "/")
            post.send(me.socket(*DGRAM), "no")
        t.owns(0, says("yes"))
        t.check(per_target=False)
        answer = t.mirrorctl("add-container", ids[0][:8], status=2)
        expect("more than one" in answer.err, f"what is wrong: {answer}")
        answer = t.mirrorctl("add-container", "no-such-container", status=3)
        expect("no-such-container" in answer.err, f"what is missing: {answer}")
        number = select(t, "add-container", "f" * 64, "--wait")
        expect_equal(counts(t, number), (0, 0), "processes and packets of a container to come")


@case()
def container_names(t):
    """Names as Docker, Podman and nerdctl keep them, in files of a mount namespace of this command's own."""
    t.pair()
    ids = [f"{os.getpid():08x}{number:02x}{'fedcba9876543210' * 4}"[:64] for number in range(3)]
    tree = t.path("lib")
    docker = f"{tree}/docker/containers/{ids[0]}"
    podman = f"{tree}/containers/storage/overlay-containers"
    nerdctl = f"{tree}/nerdctl/1935db59/names/default"
    for path, file, text in ((docker, "config.v2.json", json.dumps({"ID": ids[0], "Name": "/web", "State": {}})),
                             (podman, "containers.json", json.dumps([{"id": ids[1], "names": ["db", "x"]}, {"id": ids[0][:8]}, 1])),
                             (nerdctl, "queue", ids[2])):
        os.makedirs(path)
        with open(f"{path}/{file}", "w", encoding="ascii") as out:
            out.write(text)
    os.makedirs(f"{tree}/docker/containers/broken")
    with open(f"{tree}/docker/containers/broken/config.v2.json", "w", encoding="ascii") as out:
        out.write("{broken")
    prefix = ("unshare", "-m", "sh", "-c", f"mount --rbind {tree} /var/lib && exec \"$@\"", "sh")
    me, other = t.actor("c"), t.actor("c")
    post = Post(t)
    with Groups(t) as groups:
        t.up()
        for number, name in enumerate(("web", "db", "queue")):
            groups.move(me, groups.make(f"{top()}/docker-{ids[number]}.scope"))
            groups.move(other, groups.make(f"{top()}/docker-{ids[(number + 1) % 3]}.scope"))
            if not number:
                t.arm()
            selector = t.mirrorctl("-j", "add-container", name, prefix=prefix).json["id"]
            expect_equal(set(rows_by(t, selector)), {me.pid}, f"targets of {name}")
            post.send(me.socket(*DGRAM), "yes")
            post.send(other.socket(*DGRAM), "no")
            t.mirrorctl("del-selector", selector)
        t.mirrorctl("add-container", "web2", prefix=prefix, status=3)
        t.owns(0, says("yes"))
        t.check(per_target=False)
