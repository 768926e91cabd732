# SPDX-License-Identifier: GPL-2.0-only
"""Who is the target: recycled ids, threads, exec, forks, namespaces."""

import os

from lib import netns, wait
from lib.packet import UDP, flow
from lib.registry import expect
from lib.traffic import Stream, carry, exchange
from score.moves import ask, both, cast, listener, service
from score.registry import scenario

SET_LAST_PID = """
def set_last(pid):
    with open('/proc/sys/kernel/ns_last_pid', 'w') as f: f.write(str(pid))
"""


@scenario()
def pid_reuse(t):
    """The target dies; another process is given its id (ns_last_pid) and talks to the same server."""
    server, me, other = cast(t)
    door, far = listener(server), service(server)
    t.select(me, best=f"port {door.port} or port {far.port}")
    t.owns(me, exchange(me, door))
    t.owns(me, ask(me, far))
    me.kill()
    os.waitpid(me.pid, 0)
    other.do(SET_LAST_PID)

    def again():
        other.do(f"set_last({me.pid - 1})")
        heir = other.fork()
        if heir.pid == me.pid:
            return heir
        heir.close()
        other.do(f"os.waitpid({heir.pid}, 0)")
        return None

    heir = wait.until(again, f"process id {me.pid} to be given out again", 20)
    heir.where = "c"
    exchange(heir, door)
    ask(heir, far)


@scenario()
def thread_id(t):
    """A thread's id is given; sockets are made and used by several threads of the process."""
    server, me, other = cast(t)
    far = service(server)
    for who in (me, other):
        who.do("import threading, queue\nwork, done = queue.Queue(), queue.Queue()\n"
               "def serve():\n    while True: done.put(eval(work.get()))\n"
               "threads = [threading.Thread(target=serve, daemon=True) for _ in range(3)]\n"
               "for thread in threads: thread.start()")
    t.select(me.eval("threads[1].native_id"), best=f"udp port {far.port}")

    def act(who):
        who.do("work.put('socket.socket(type=socket.SOCK_DGRAM)'); sock = done.get()")
        for _ in range(5):
            who.do(f"work.put(\"sock.sendto(b'from a thread', {far.end!r})\"); done.get()")
            _, sender = far.sock.recvfrom(100)
            far.sock.sendto(b"to it", sender)
            who.do("work.put('sock.recv(100)'); done.get()")
        return flow(UDP, sender, far.end)

    both(t, me, other, act)


LEADER_LEAVES = """
import ctypes, gc, threading
stage = next(o for o in gc.get_objects() if type(o).__name__ == 'Stage')
threading.Thread(target=stage.loop).start()
ctypes.CDLL(None).syscall({exit}, 0)
"""


def leave(actor):
    """Ends the leader thread of an actor; another thread goes on in its place."""
    actor.tell(LEADER_LEAVES.format(exit={"x86_64": 60}.get(os.uname().machine, 93)))

    def gone():
        with open(f"/proc/{actor.pid}/stat", encoding="ascii") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"

    wait.until(gone, "the leader thread to end")


def leader(t, before):
    """The leader thread exits before or after the process is selected; an old connection and new sockets talk on."""
    server, me, other = cast(t)
    door, far = listener(server), service(server)
    streams = {who: Stream(who, door) for who in (me, other)}
    t.settle()
    start = t.now()
    if before:
        leave(me)
        leave(other)
    t.select(me, best=f"port {door.port} or port {far.port}")
    if not before:
        leave(me)
        leave(other)

    def act(who):
        streams[who].talk()
        streams[who].close()
        return [ask(who, far), exchange(who, door)]

    both(t, me, other, act)
    t.owns(me, streams[me].key, start=start)


@scenario()
def leader_exits_after(t):
    """The leader thread exits after the process was selected; the other threads talk on."""
    leader(t, False)


@scenario()
def leader_exits_before(t):
    """The leader thread is gone when the process is selected by its id."""
    leader(t, True)


@scenario()
def comm_changed(t):
    """The target changes its name to the stranger's and back while it talks."""
    server, me, other = cast(t)
    far = service(server)
    t.select(me, best=f"udp port {far.port}")
    for name in ("worker", "other", "x" * 15):
        for who in (me, other):
            who.do(f"import ctypes; ctypes.CDLL(None).prctl(15, {name.encode()!r}, 0, 0, 0)")
        both(t, me, other, lambda who: ask(who, far))


@scenario()
def exec_inherits(t):
    """The target execs another program that goes on with inherited descriptors and makes new ones."""
    server, me, other = cast(t)
    door = listener(server)
    t.select(me, best=f"tcp port {door.port}")

    def act(who):
        old = Stream(who, door)
        old.talk()
        who.exec([old.client])
        old.talk()
        old.close()
        return [old.key, exchange(who, door)]

    both(t, me, other, act)


@scenario()
def exec_in_thread(t):
    """A thread that is not the leader execs: the process keeps its id and stays the target."""
    server, me, other = cast(t)
    far = service(server)
    t.select(me, best=f"udp port {far.port}")

    def act(who):
        script = f"import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.sendto(b'new image', {far.end!r})"
        who.tell(f"import threading\nargs = ['python3', '-c', {script!r}]\n"
                 f"threading.Thread(target=os.execv, args=('/usr/bin/python3', args)).start()")
        return flow(UDP, far.sock.recvfrom(100)[1], far.end)

    both(t, me, other, act)


def payload_begins(mark):
    """Predicate: UDP packets whose data begins with `mark`."""
    return lambda packet: packet.proto == UDP and packet.payload.startswith(mark)


def storm(t, children, deep):
    """A compiled program forks as fast as it can; every tenth child sends a datagram before it is gone."""
    program = t.compiled("storm")
    server, me, other = cast(t)
    far = service(server)
    server.do(f"obj[{far.sock.key}].setsockopt(socket.SOL_SOCKET, 33, 1 << 26)")
    t.select(me, best=f"udp port {far.port}", options=["--follow"])
    for who, mark in ((me, "M"), (other, "F")):
        who.do(f"import subprocess\nproc = subprocess.Popen([{program!r}, {netns.S4!r}, '{far.port}', {mark!r}, "
               f"'{children}', '{deep}'], stdout=subprocess.PIPE)")
    rates = []
    for who in (me, other):
        said = who.eval("proc.communicate()[0]").split()
        expect(int(said[0]) == children, f"the storm says {said}")
        rates.append(int(said[1]))
    t.say(f"{rates[0]} forks a second of the target, {rates[1]} of the stranger beside it")
    t.owns(me, payload_begins(b"M"))


@scenario(timeout=120)
def fork_storm(t):
    """5,000 children as fast as they can be forked, followed; each tenth sends a datagram and exits at once."""
    storm(t, 5000, 0)


@scenario(timeout=120)
def short_grandchildren(t):
    """2,000 children that fork a grandchild and exit at once; each tenth grandchild sends, its parent long gone."""
    storm(t, 2000, 1)


@scenario()
def follow_not(t):
    """Without --follow the target's children are strangers; sockets of both talk in turns."""
    server, me, _ = cast(t)
    far, door = service(server), listener(server)
    t.select(me, best=f"port {far.port} or port {door.port}")
    child = me.fork()
    child.where = "c"
    both(t, me, child, lambda who: [ask(who, far), exchange(who, door)])


@scenario()
def setns_in(t):
    """The target is a process of another namespace that enters this one by setns() after it was selected."""
    server, me, other = cast(t)
    name, away = t.space("c"), t.space("d")
    far, door = service(server), listener(server)
    for who in (me, other):
        who.do(f"from lib import netns as spaces; spaces.enter({away!r})")
    t.select(me, best=f"port {far.port} or port {door.port}")
    for who in (me, other):
        who.do(f"spaces.enter({name!r})")
    both(t, me, other, lambda who: [ask(who, far), exchange(who, door)])


@scenario()
def setns_away(t):
    """The target moves to another namespace by setns(); its old sockets stay here and talk on."""
    server, me, other = cast(t)
    away = t.space("d")
    door = listener(server)
    t.select(me, best=f"tcp port {door.port}")
    streams = {who: Stream(who, door) for who in (me, other)}
    for who in (me, other):
        who.do(f"from lib import netns as spaces; spaces.enter({away!r})")

    def act(who):
        streams[who].talk()
        carry(streams[who].server, streams[who].client, 3000)
        streams[who].close()
        return streams[who].key

    both(t, me, other, act)


@scenario()
def pid_namespace(t):
    """The target lives in a PID namespace of its own, where it is process 1; it is selected by its host PID."""
    server, me, other = cast(t)
    far, door = service(server), listener(server)
    inner = []
    for who in (me, other):
        who.do("import ctypes; assert ctypes.CDLL(None).unshare(0x20000000) == 0")
        child = who.fork()
        child.where = "c"
        expect(child.eval("os.getpid()") == 1, "the child is process 1 of its namespace")
        inner.append(child)
    streams = {who: Stream(who, door) for who in inner}
    start = t.now()
    t.select(inner[0], best=f"port {far.port} or port {door.port}")

    def act(who):
        streams[who].talk()
        streams[who].close()
        return [ask(who, far), exchange(who, door)]

    both(t, *inner, act)
    t.owns(inner[0], streams[inner[0]].key, start=start)
