# SPDX-License-Identifier: GPL-2.0-only
"""Many of everything, and too many."""

import ctypes
import os
import resource
import struct

from lib import bpf, netns
from lib.mirrorctl import FAILED
from lib.packet import UDP
from lib.registry import expect, expect_equal
from lib.traffic import Stream, exchange
from score.moves import ask, both, cast, listener, service
from score.registry import scenario

SOCKETS = "sockets:"


def begins(mark):
    """Predicate: datagrams that begin with `mark`."""
    return lambda packet: packet.proto == UDP and packet.payload.startswith(mark)


def crowd(t, actor, program, far, mark, count):
    """Idle processes forked by an actor; each sends one datagram when told. Returns their ids."""
    actor.do(f"import subprocess\ncrowd = subprocess.Popen([{program!r}, {netns.S4!r}, '{far.port}', {mark!r}, '{count}'], "
             "stdin=subprocess.PIPE, stdout=subprocess.PIPE)\nids = [int(w) for w in crowd.stdout.readline().split()]")
    return actor.eval("ids")


def speak(actor):
    """Lets a crowd send and end."""
    actor.do("crowd.stdin.write(b'!'); crowd.stdin.close(); crowd.wait()")


@scenario(timeout=240)
def ten_thousand_targets(t):
    """10,000 processes are selected, 1,000 are not; each sends one datagram."""
    program = t.compiled("crowd")
    server, me, other = cast(t)
    far = service(server)
    server.do(f"obj[{far.sock.key}].setsockopt(socket.SOL_SOCKET, 33, 1 << 27)")
    ids = crowd(t, me, program, far, "M", 10000)
    crowd(t, other, program, far, "F", 1000)
    for at in range(0, len(ids), 2500):
        t.select(*ids[at:at + 2500], best=f"udp port {far.port}")
    speak(other)
    speak(me)
    t.owns(me, begins(b"M"))


@scenario(timeout=240)
def hundred_thousand_sockets(t):
    """Targets and strangers hold 50,000 UDP sockets each when the targets are selected; every 100th is used, then all are
    closed."""
    server, *_ = cast(t)
    far = service(server)
    server.do(f"obj[{far.sock.key}].setsockopt(socket.SOL_SOCKET, 33, 1 << 26)")
    each = min(50000, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 100)
    people = {mark: [t.actor("c") for _ in range(-(-50000 // each))] for mark in (b"M", b"F")}
    for who in sum(people.values(), []):
        who.do(f"import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, ({each} + 100,) * 2)\n"
               f"socks = [socket.socket(type=socket.SOCK_DGRAM) for _ in range({50000 // len(people[b'M'])})]")
    t.select(*people[b"M"], best=f"udp port {far.port}")
    for mark, group in people.items():
        for who in group:
            who.do(f"for s in socks[::100]: s.sendto({mark!r}, {far.end!r})")
    t.say(f"{len(people[b'M'])} target processes")
    for who in sum(people.values(), []):
        who.do("for s in socks: s.close()")
    t.owns(0, begins(b"M"))


@scenario(timeout=240)
def fork_storm_follow(t):
    """20,000 children of a followed target, each tenth sends; the same of a stranger at the same time."""
    program = t.compiled("storm")
    server, me, other = cast(t)
    far = service(server)
    server.do(f"obj[{far.sock.key}].setsockopt(socket.SOL_SOCKET, 33, 1 << 27)")
    t.select(me, best=f"udp port {far.port}", options=["--follow"])
    for who, mark in ((me, "M"), (other, "F")):
        who.do(f"import subprocess\nproc = subprocess.Popen([{program!r}, {netns.S4!r}, '{far.port}', {mark!r}, '20000', '0'], "
               "stdout=subprocess.PIPE)")
    rates = [int(who.eval("proc.communicate()[0]").split()[1]) for who in (me, other)]
    t.say(f"{rates[0]} forks a second of the target, {rates[1]} of the stranger beside it")
    t.owns(me, begins(b"M"))


@scenario(timeout=240)
def full_speed(t):
    """Target and stranger send 40,000 datagrams each from four threads and move 30 MB of TCP at the same time."""
    server, me, other = cast(t)
    far, doors = service(server), {who: listener(server) for who in (me, other)}
    t.select(me, best=f"udp port {far.port} or tcp port {doors[me].port}")
    streams = {who: Stream(who, doors[who]) for who in (me, other)}
    for who, mark in ((me, b"M"), (other, b"F")):
        server.do(f"import threading\nthreading.Thread(target=recv_exactly, args=(obj[{streams[who].server.key}], 30 << 20), "
                  "daemon=True).start()")
        who.do(f"""
import threading
def flood():
    sock = socket.socket(type=socket.SOCK_DGRAM)
    for i in range(10000): sock.sendto({mark!r} + b"%d" % i, {far.end!r})
threads = [threading.Thread(target=flood) for _ in range(4)]
threads.append(threading.Thread(target=obj[{streams[who].client.key}].sendall, args=(b"t" * (30 << 20),)))
for thread in threads: thread.start()
""")
    for who in (me, other):
        who.do("for thread in threads: thread.join()")
    t.settle()
    t.owns(me, begins(b"M"))
    t.owns(me, streams[me].key)


STEADY = """
import threading, time
going, sent = True, 0
def send(sock):
    global sent
    while going:
        sock.sendto({mark!r} + b"%d" % sent, {end!r}); sent += 1
        time.sleep(0.002)
sock = socket.socket(type=socket.SOCK_DGRAM)
thread = threading.Thread(target=send, args=(sock,)); thread.start()
"""


@scenario(timeout=300, only="mirrorctl")
def add_del_cycles(t):
    """1,000 times another process is selected and dropped while target and stranger talk all the time."""
    server, me, other = cast(t)
    third = t.actor("c")
    far = service(server)
    server.do(f"obj[{far.sock.key}].setsockopt(socket.SOL_SOCKET, 33, 1 << 27)")
    t.select(me, best=f"udp port {far.port}")
    for who, mark in ((me, b"M"), (other, b"F")):
        who.do(STEADY.format(mark=mark, end=far.end))
    for _ in range(1000):
        t.mirrorctl("add-pid", third.pid)
        t.mirrorctl("del-pid", third.pid)
    for who in (me, other):
        who.do("going = False; thread.join()")
    t.owns(me, begins(b"M"))
    rows = t.get("list")["targets"]
    expect_equal([row["pid"] for row in rows], [me.pid], "targets at the end")


@scenario(timeout=300, only="mirrorctl")
def targets_full(t):
    """Followed children beyond the room for targets are counted and named by status; add-pid is refused with a reason;
    who was a target stays one."""
    server, me, other = cast(t)
    far = service(server)
    t.select(me, best=f"udp port {far.port}")
    third = t.actor("c")
    pins = f"/sys/fs/bpf/mirrorctl/net-{os.stat(os.path.join(netns.RUN_DIR, t.space('c'))).st_ino}/targets"
    size = fill(pins)
    t.say(f"map targets filled with strange ids: {size} entries")
    answer = t.mirrorctl("add-pid", third.pid, status=None)
    expect(answer.status == FAILED and ("room" in answer.err or "full" in answer.err or str(size) in answer.err),
           f"add-pid to a full map is refused with a reason: {answer}")
    both(t, me, other, lambda who: ask(who, far))
    ask(third, far)


SELECTORS = 40      # offset of selectors and kept in struct mir_target


def fill(path):
    """Fills map `targets` with ids that no process can have; returns its size."""
    name = ctypes.create_string_buffer(path.encode() + b"\0")
    fd = bpf._bpf(7, struct.pack("<QI", bpf._address(name), 0))
    info = ctypes.create_string_buffer(256)
    bpf._bpf(15, struct.pack("<IIQ", fd, 256, bpf._address(info)))
    key_size, value_size, entries = struct.unpack_from("<III", info, 8)
    value = ctypes.create_string_buffer(value_size)
    struct.pack_into("<Q", value, 0, 1)
    struct.pack_into("<QQ", value, SELECTORS, 1, 1)     # selected by hand: what nobody has selected is cleared away
    key = ctypes.create_string_buffer(key_size)
    for number in range(entries):
        struct.pack_into("<I", key, 0, 0x70000000 + number)
        try:
            bpf._bpf(2, struct.pack("<IIQQQ", fd, 0, bpf._address(key), bpf._address(value), 1))
        except OSError:
            break
    os.close(fd)
    return entries


@scenario()
def optmem_small(t):
    """net.core.optmem_max leaves no room for an owner: the target's new sockets cannot be told, are counted and named."""
    server, me, other = cast(t)
    far, door = service(server), listener(server)
    keys = []

    def act(who):
        found = [ask(who, far) for _ in range(3)] + [exchange(who, door)]
        if who is me:
            keys.extend(found)
        return found

    with netns.optmem_max(t.space("c"), 64):
        t.select(me, best=f"port {far.port} or port {door.port}")
        both(t, me, other, act)
    for key in keys:
        t.limit(SOCKETS, key)
    both(t, me, other, lambda who: [ask(who, far), exchange(who, door)])
