# SPDX-License-Identifier: GPL-2.0-only
"""Processes: fork, exec, exit, recycled ids, passed descriptors, several targets.

Where sends and receives are attributed by tracepoint (status: attribution.use), a passed or inherited socket belongs to
its new user after the first use, so that use itself is still the predecessor's; with fentry it belongs to it before.
"""

import os
import signal

from lib import bpf, netns, wait
from lib.packet import UDP, flow
from lib.registry import case, expect, expect_equal
from lib.traffic import Datagrams, Listener, Stream, carry, exchange


def pair_up(t):
    """Namespaces, a server actor and two clients."""
    t.pair()
    return t.actor("s"), t.actor("c", "target"), t.actor("c", "foreign")


@case(disable=("", "tcx"))
def fork_plain(t):
    """Without --follow a child is nobody's: its own sockets are not mirrored, the parent's still are."""
    server, me, other = pair_up(t)
    listener = Listener(server)
    t.up()
    t.add(me)
    stream = Stream(me, listener)
    child, stranger = me.fork(), other.fork()
    child.where = stranger.where = "c"
    child.drop(stream.client)
    exchange(child, listener)
    exchange(stranger, listener)
    stream.talk()
    stream.close()
    t.owns(me, stream.key)
    t.check()
    expect_equal([row["pid"] for row in t.get("list")["targets"]], [me.pid], "targets")


@case(disable=("", "tcx", "wake"))
def fork_follow(t):
    """With --follow children and grandchildren are targets of their own; other processes' children are not."""
    server, me, other = pair_up(t)
    listener = Listener(server)
    t.up()
    t.add(me, options=["--follow"])
    child = me.fork()
    child.where = "c"
    grandchild, stranger = child.fork(), other.fork()
    grandchild.where = stranger.where = "c"
    for who in (me, child, grandchild):
        t.owns(who, exchange(who, listener))
    exchange(stranger, listener)
    t.check()
    rows = {row["pid"]: row for row in t.get("list")["targets"]}
    expect_equal(set(rows), {me.pid, child.pid, grandchild.pid}, "targets")
    expect_equal([rows[p]["parent"] for p in (child.pid, grandchild.pid)], [me.pid, child.pid], "parents")


@case()
def fork_follow_not_before(t):
    """--follow concerns children forked later, not those that were there."""
    server, me, _ = pair_up(t)
    listener = Listener(server)
    early = me.fork()
    early.where = "c"
    t.up()
    t.add(me, options=["--follow"])
    exchange(early, listener)
    t.owns(me, exchange(me, listener))
    t.check()


@case()
def inherited_socket_moves(t):
    """A child that is no target takes over an inherited connection: from its first receive on it is not mirrored, and it
    is again after the parent's next receive. Where no use of a connected socket is seen it stays the parent's."""
    server, me, _ = pair_up(t)
    listener = Listener(server)
    t.up()
    t.add(me)
    stream = Stream(me, listener)
    stream.talk()
    child = me.fork()
    theirs = child.take(stream.client)
    stream.server.sendall(b"first")
    t.settle()
    theirs.recv(5)
    first = t.owns(me, stream.key)
    if t.by_use():
        first.stop = t.now()
    carry(theirs, stream.server, 900)
    carry(stream.server, theirs, 900)
    stream.server.sendall(b"again")
    t.settle()
    stream.client.recv(5)
    t.owns(me, stream.key, start=t.now())
    stream.talk()
    theirs.close()
    stream.close()
    t.check()


@case()
def shared_socket_stays(t):
    """With --shared a socket the target has held stays its own whoever uses it."""
    server, me, _ = pair_up(t)
    listener = Listener(server)
    t.up()
    t.add(me, options=["--shared"])
    stream = Stream(me, listener)
    child = me.fork()
    theirs = child.take(stream.client)
    for _ in range(3):
        carry(theirs, stream.server, 900)
        carry(stream.server, theirs, 900)
    child.where = "c"
    exchange(child, listener)
    theirs.close()
    stream.close()
    t.owns(me, stream.key)
    t.check()


@case()
def passed_datagram_socket(t):
    """A UDP socket passed by SCM_RIGHTS changes owner when its receiver sends with an address: that datagram is already
    the receiver's. Passing alone changes nothing."""
    server, me, other = pair_up(t)
    service, sock = Datagrams(server), Datagrams(me)
    t.up()
    t.add(me)
    path = t.path("handover")
    other.do(f"hall = socket.socket(socket.AF_UNIX); hall.bind({path!r}); hall.listen(1)")
    me.do(f"door = socket.socket(socket.AF_UNIX); door.connect({path!r})\n"
          f"socket.send_fds(door, [b'x'], [obj[{sock.sock.key}].fileno()])")
    passed = other.eval("socket.socket(fileno=socket.recv_fds(hall.accept()[0], 1, 1)[1][0])")
    sock.to(service)
    service.to(sock)
    mine = t.owns(me, flow(UDP, sock.end, service.end))
    mine.stop = t.now()
    passed.sendto(b"mine now", service.end)
    service.sock.recvfrom(100)
    service.sock.sendto(b"answer", sock.end)
    passed.recv(100)
    t.check()


@case()
def passed_to_target(t):
    """A connection handed to the target becomes its own at its first receive, where that is seen."""
    server, me, other = pair_up(t)
    listener = Listener(server)
    t.up()
    t.add(me)
    stream = Stream(other, listener)
    stream.talk()
    path = t.path("handover")
    me.do(f"hall = socket.socket(socket.AF_UNIX); hall.bind({path!r}); hall.listen(1)")
    other.do(f"door = socket.socket(socket.AF_UNIX); door.connect({path!r})\n"
             f"socket.send_fds(door, [b'x'], [obj[{stream.client.key}].fileno()])")
    passed = me.eval("socket.socket(fileno=socket.recv_fds(hall.accept()[0], 1, 1)[1][0])")
    stream.server.sendall(b"first")
    t.settle()
    passed.recv(5)
    if t.by_use():
        t.owns(me, stream.key, start=t.now())
    carry(passed, stream.server, 500)
    carry(stream.server, passed, 500)
    stream.client.close()
    passed.close()
    stream.server.close()
    t.check()


@case()
def prefork_server(t):
    """A prefork server with --follow: the workers accept from the parent's listener. What a worker's connection does after
    its first receive is the worker's, where that is seen."""
    server, me, other = pair_up(t)
    peer = server
    listener, foreign = Listener(me), Listener(other)
    t.up()
    t.add(me, options=["--follow"])
    workers = [me.fork(), me.fork()]
    strangers = [other.fork()]
    for worker in workers:
        stream = Stream(peer, listener, accept=False)
        # the listener's owner's until the worker accepts; without trampolines until it first receives, if that is seen
        rule = t.owns(me, stream.key)
        stream.client.sendall(b"request")
        t.settle()
        stream.server = listener.accept(worker)
        rule.stop = t.now() if t.at_accept() else None
        stream.client.sendall(b"more")
        t.settle()
        stream.server.recv_exactly(11)
        rule.stop = rule.stop or (t.now() if t.by_use() else None)
        if rule.stop:
            t.owns(worker, stream.key, start=rule.stop)
        carry(stream.server, stream.client, 5000)
        stream.client.close()
        stream.server.close()
        stranger = Stream(peer, foreign, acceptor=strangers[0])
        stranger.talk()
        stranger.close()
    t.check()


@case()
def prefork_server_plain(t):
    """A prefork server whose workers are no targets: their connections leave the mirror at the first receive, where
    that is seen."""
    peer, me, _ = pair_up(t)
    listener = Listener(me)
    t.up()
    t.add(me)
    worker = me.fork()
    stream = Stream(peer, listener, accept=False)
    rule = t.owns(me, stream.key)
    stream.client.sendall(b"request")
    t.settle()
    stream.server = listener.accept(worker)
    rule.stop = t.now() if t.at_accept() else None
    stream.client.sendall(b"more")
    t.settle()
    stream.server.recv_exactly(11)
    rule.stop = rule.stop or (t.now() if t.by_use() else None)
    carry(stream.server, stream.client, 5000)
    stream.close()
    t.owns(me, exchange(peer, listener))
    t.check()


@case(disable=("", "tcx"))
def exec_keeps(t):
    """A target that execs another program is still the target, with the sockets it kept and with new ones."""
    server, me, other = pair_up(t)
    listener = Listener(server)
    t.up()
    t.add(me)
    mine, foreign = Stream(me, listener), Stream(other, listener)
    for who, stream in ((me, mine), (other, foreign)):
        stream.talk()
        who.exec([stream.client])
        stream.talk()
        stream.close()
    t.owns(me, mine.key)
    t.owns(me, exchange(me, listener))
    exchange(other, listener)
    t.check()


@case()
def exec_in_thread(t):
    """exec from a thread that is not the leader: the process keeps its id and stays the target."""
    server, me, _ = pair_up(t)
    service = Datagrams(server)
    t.up()
    t.add(me)
    script = f"import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.sendto(b'new image', {service.end!r})"
    me.tell(f"import threading\nargs = ['python3', '-c', {script!r}]\n"
            f"threading.Thread(target=os.execv, args=('/usr/bin/python3', args)).start()")
    data, sender = service.sock.recvfrom(100)
    expect_equal(data, b"new image", "datagram")
    t.owns(me, flow(UDP, sender, service.end))
    t.check()


@case()
def thread_id(t):
    """A thread's id is taken as its process, with a word about it; its threads' sockets are the process's."""
    server, me, _ = pair_up(t)
    service = Datagrams(server)
    me.do("import threading, queue\nwork, done = queue.Queue(), queue.Queue()\n"
          "def serve():\n    while True: done.put(eval(work.get()))\n"
          "thread = threading.Thread(target=serve, daemon=True); thread.start()")
    tid = me.eval("thread.native_id")
    t.up()
    answer = t.add(tid)
    expect(str(tid) in answer.err and str(me.pid) in answer.err, f"a word about thread and process: {answer}")
    me.do("work.put(\"socket.socket(type=socket.SOCK_DGRAM)\"); sock = done.get()")
    me.do(f"work.put(\"sock.sendto(b'from the thread', {service.end!r})\"); done.get()")
    _, sender = service.sock.recvfrom(100)
    t.owns(me, flow(UDP, sender, service.end))
    t.check()


@case(disable=("", "tcx"))
def killed(t):
    """kill -9 of the target with data under way: the kernel's last packets are still its own."""
    server, me, other = pair_up(t)
    listener = Listener(server)
    t.up()
    t.add(me)
    streams = [Stream(me, listener), Stream(other, listener)]
    for stream in streams:
        stream.client.sendall(b"last words" * 500)
        t.settle()
    for who, stream in zip((me, other), streams):
        who.kill()
        os.waitpid(who.pid, 0)
        got = server.eval(f"len(recv_exactly(obj[{stream.server.key}], 1 << 20))")
        expect_equal(got, 5000, "bytes that arrived before the end of file")
        stream.server.close()
    t.owns(me, streams[0].key)
    t.check()
    row = t.get("list")["targets"][0]
    expect_equal((row["pid"], row["state"]), (me.pid, "exited"), "target and state")


def heir_of(pid, parent):
    """A child of `parent` that was given the id of a dead process."""
    parent.do("def set_last(pid):\n    with open('/proc/sys/kernel/ns_last_pid', 'w') as f: f.write(str(pid))\n")

    def again():
        parent.do(f"set_last({pid - 1})")
        heir = parent.fork()
        if heir.pid == pid:
            return heir
        heir.kill()
        parent.do(f"os.waitpid({heir.pid}, 0)")
        heir.close()
        return None

    heir = wait.until(again, f"process id {pid} to be given out again")
    heir.where = parent.where
    return heir


@case(timeout=60)
def recycled_pid(t):
    """A new process with a dead target's id is not mirrored, and can be selected itself."""
    server, me, other = pair_up(t)
    listener = Listener(server)
    t.up()
    t.add(me)
    t.owns(me, exchange(me, listener))
    me.kill()
    os.waitpid(me.pid, 0)
    heir = heir_of(me.pid, other)
    end = t.now()
    t.rules[0].stop = end
    exchange(heir, listener)
    t.check()
    t.mirrorctl("add-pid", heir.pid)
    t.owns(heir, exchange(heir, listener), start=end)
    t.check(per_target=False)
    rows = t.get("list")["targets"]
    expect(any(row["pid"] == heir.pid and row["state"] == "running" for row in rows), f"the new process runs: {rows}")


@case(timeout=60)
def recycled_pid_of_a_child(t):
    """With --follow: a child dies, its id is given to the next child, and its connection still has packets to come."""
    server, me, other = pair_up(t)
    listener = Listener(server)
    t.up()
    t.need_closing()
    t.add(me, options=["--follow"])
    talks = []
    for who in (me, other):
        child = who.fork()
        child.where = "c"
        talks.append((child.pid, Stream(child, listener)))
        talks[-1][1].talk(100, 1000)
        child.kill()
        who.do(f"os.waitpid({child.pid}, 0)")
        child.close()
    heir = heir_of(talks[0][0], me)
    t.owns(heir, exchange(heir, listener))
    for pid, stream in talks:
        stream.server.close()       # its FIN, and the kernel's acknowledgement for the dead child
    t.owns(talks[0][0], talks[0][1].key)
    t.check(per_target=False)


@case()
def handshake_under_way(t):
    """Connections are made while the listening process is selected; each of them is on its way between the making of its
    socket and the listener's queue for milliseconds. None is overlooked."""
    t.pair()
    t.up()
    t.need(t.tier("existing") == "iter/task_file", "descriptors alone do not show what waits to be accepted")
    other = t.actor("c")
    slow = bpf.SlowHandshake(other.pid)
    try:
        for _ in range(10):
            select_during_handshakes(t, t.actor("c"), other)
    finally:
        slow.close()


def select_during_handshakes(t, me, other):
    """One listener for handshake_under_way()."""
    server = me.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(4096)
    other.do("import threading\nmade, enough, begun = [], threading.Event(), threading.Event()\n"
             "def dial():\n"
             "    while not enough.is_set() or len(made) < 10:\n"
             f"        made.append(socket.create_connection({server.getsockname()!r}))\n"
             "        begun.set()\n"
             "thread = threading.Thread(target=dial); thread.start(); begun.wait()")
    t.mirrorctl("add-pid", me.pid)
    other.do("enough.set(); thread.join()")
    count = other.eval("len(made)")
    if any(line.startswith("list:") for line in t.get("status")["limits"]):
        me.do(f"held = [obj[{server.key}].accept() for _ in range({count})]")
    row = next(row for row in t.get("list")["targets"] if row["pid"] == me.pid)
    expect_equal(row["sockets"], count + 1, f"sockets tagged, of a listener and {count} connections")


@case()
def linger_ends(t):
    """When the linger time is over an exited target is gone from the list."""
    server, me, _ = pair_up(t)
    listener = Listener(server)
    t.up("--linger", 1)
    t.add(me)
    t.owns(me, exchange(me, listener))
    t.check()
    me.kill()
    os.waitpid(me.pid, 0)
    wait.until(lambda: t.get("list")["targets"] == [], "the target to be forgotten")


@case(disable=("", "tcx"))
def two_targets(t):
    """Two targets and a stranger: each packet once, counted for the right one."""
    server, me, other = pair_up(t)
    second = t.actor("c")
    listener = Listener(server)
    t.up()
    t.add(me, second)
    streams = {who: Stream(who, listener) for who in (me, other, second)}
    for _ in range(3):
        for stream in streams.values():
            stream.talk()
    for who, stream in streams.items():
        stream.close()
        if who is not other:
            t.owns(who, stream.key)
    t.check()


@case(disable=("", "tcx"))
def del_pid_in_the_middle(t):
    """del-pid stops one of two targets between two packets; adding it again resumes."""
    server, me, second = pair_up(t)
    listener = Listener(server)
    t.up()
    t.add(me, second)
    one, two = Stream(me, listener), Stream(second, listener)
    one.talk()
    two.talk()
    rule = t.owns(me, one.key)
    t.owns(second, two.key)
    rule.stop = t.now()
    t.mirrorctl("del-pid", me.pid)
    one.talk()
    two.talk()
    expect_equal([row["pid"] for row in t.get("list")["targets"]], [second.pid], "targets")
    t.check(per_target=False)
    start = t.now()
    t.mirrorctl("add-pid", me.pid)
    one.talk()
    one.close()
    two.close()
    t.owns(me, one.key, start=start)
    t.check(per_target=False)
    t.mirrorctl("del-pid", "--all")
    expect_equal(t.get("list")["targets"], [], "targets")


@case()
def many_threads(t):
    """Eight threads of the target and eight of a stranger exchange datagrams at once."""
    server, me, other = pair_up(t)
    service = Datagrams(server)
    t.up()
    t.add(me)
    server.do(f"import threading\n"
              f"def serve(sock=obj[{service.sock.key}]):\n"
              f"    sock.settimeout(None)\n"
              f"    while True:\n"
              f"        data, peer = sock.recvfrom(100)\n"
              f"        sock.sendto(data, peer)\n"
              f"threading.Thread(target=serve, daemon=True).start()")
    source = f"""
import threading
def ask(ports):
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.settimeout(10)
    for i in range(50):
        sock.sendto(b"%d" % i, {service.end!r})
        sock.recv(100)
    ports.append(sock.getsockname()[1])
def start():
    global threads, ports
    ports = []
    threads = [threading.Thread(target=ask, args=(ports,)) for _ in range(8)]
    for thread in threads: thread.start()
def finish():
    for thread in threads: thread.join()
    return ports
"""
    for who in (me, other):
        who.do(source)
    for who in (me, other):
        who.do("start()")
    other.eval("finish()")
    for port in me.eval("finish()"):
        t.owns(me, flow(UDP, (netns.C4, port), service.end))
    t.check()
    expect_equal(len(t.expected()[me.pid]), 800, "packets of the target")


@case()
def write_and_sendfile(t):
    """write(2), gathered sendmsg and sendfile on sockets count like send."""
    server, me, other = pair_up(t)
    listener = Listener(server)
    t.up()
    t.add(me)
    for who in (me, other):
        stream = Stream(who, listener)
        key = stream.client.key
        who.do(f"os.write(obj[{key}].fileno(), b'w' * 1000)")
        who.do(f"obj[{key}].sendmsg([b'a' * 500, b'b' * 500])")
        who.do(f"with open('/usr/bin/python3', 'rb') as file: os.sendfile(obj[{key}].fileno(), file.fileno(), 0, 4000)")
        got = stream.server.recv_exactly(6000)
        expect_equal(len(got), 6000, "bytes")
        carry(stream.server, stream.client, 10)
        stream.close()
        if who is me:
            t.owns(me, stream.key)
    t.check()


@case()
def exited_before_fin(t):
    """The target exits; FIN, its acknowledgement and the peer's FIN are its own within the linger time."""
    server, me, other = pair_up(t)
    listener = Listener(server)
    t.up()
    t.need_closing()
    t.add(me)
    streams = [Stream(me, listener), Stream(other, listener)]
    for who, stream in zip((me, other), streams):
        stream.talk()
        who.close()
        os.waitpid(who.pid, 0)
        t.settle()
        stream.server.close()
    t.owns(me, streams[0].key)
    t.check()


@case()
def stopped_target(t):
    """A stopped target's packets are the kernel's work, and still its own."""
    server, me, other = pair_up(t)
    listener = Listener(server)
    t.up()
    t.need_closing()
    t.add(me)
    streams = [Stream(me, listener), Stream(other, listener)]
    for who in (me, other):
        who.kill(signal.SIGSTOP)
    for stream in streams:
        stream.server.sendall(b"to a stopped process")
    t.settle()
    for who, stream in zip((me, other), streams):
        who.kill(signal.SIGCONT)
        stream.client.recv(100)
        stream.close()
    t.owns(me, streams[0].key)
    t.check()
