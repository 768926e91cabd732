# SPDX-License-Identifier: GPL-2.0-only
"""One mirror for a long time: `make soak`, SOAK seconds. Each round is counted like a scenario; the first that is not exact
ends it. Memory of the pinned maps, pins and descriptors have to be flat."""

import os
import time

from lib import leaks, netns, wait
from lib.registry import expect
from lib.traffic import Stream, exchange
from score.catalogue.icmp import RAW4, request
from score.moves import ask, both, listener, service
from score.registry import scenario

LINGER_S = 5
WARM_S = 30         # from then on nothing may grow
SLACK = 1 << 16
CLOSED_S = 10


def footprint(t, most=0):
    """What must not grow: bytes of the instance's maps, its pins, our own descriptors, running targets and their sockets. A
    closed datagram socket is there until the kernel's grace period is over: waits until there are no more than `most` sockets."""
    def owned():
        return sum(row["sockets"] for row in t.get("list")["targets"])

    wait.within(lambda: owned() <= most, CLOSED_S)
    top = f"/sys/fs/bpf/mirrorctl/net-{os.stat(os.path.join(netns.RUN_DIR, t.space('c'))).st_ino}"
    targets, size = t.get("list")["targets"], 0
    for name in sorted(os.listdir(top)):
        shown = netns.run(["bpftool", "-j", "map", "show", "pinned", f"{top}/{name}"], check=False).stdout
        if '"bytes_memlock"' in shown:
            size += int(shown.split('"bytes_memlock":')[1].split(",")[0].rstrip("}"))
    return {"map bytes": size, "pins": len(leaks._tree(top)), "descriptors": len(os.listdir("/proc/self/fd")),
            "targets": sum(row["state"] == "running" for row in targets), "sockets of targets": owned()}


def child_talks(who, far, door):
    """A child that makes a socket, talks and is killed; returns what it said."""
    child = who.fork()
    child.where = "c"
    keys = [ask(child, far), exchange(child, door)]
    child.kill()
    who.do(f"os.waitpid({child.pid}, 0)")
    child.close()
    return keys


@scenario(soak=True, timeout=7 * 86400, only="mirrorctl")
def one_mirror(t):
    """Connections, datagrams, pings, children that are killed, and processes selected and dropped, over and over."""
    seconds = int(os.environ["SCORE_SOAK_S"])
    t.pair()
    server, me, other, third = t.actor("s"), t.actor("c"), t.actor("c"), t.actor("c")
    t.open(words=("--linger", LINGER_S))
    # Doors of their own: of thousands of ports that the kernel picks, the two now and then get the same one in a round.
    doors = {who: (service(server), listener(server)) for who in (me, other)}
    t.select(me, best="ip", options=["--follow"])
    began, first, rounds = time.monotonic(), None, 0

    def act(who):
        keys, (far, door) = [], doors[who]
        for _ in range(10):
            keys += [ask(who, far, close=True), exchange(who, door)]
        stream = Stream(who, door)
        stream.talk(3000, 60000)
        stream.close()
        ping = who.socket(*RAW4)
        for seq in range(5):
            ping.sendto(request(1 + who.pid % 60000, seq), (netns.S4, 0))
            ping.recv(1000)
        ping.close()
        mine = [stream.key, ("ping", who.pid)]
        return keys + mine + child_talks(who, far, door)

    while True:
        t.mirrorctl("add-pid", third.pid)
        t.mirrorctl("del-pid", third.pid)
        for who in (me, other):
            keys = act(who)
            if who is me:
                for key in keys:
                    ident = 1 + me.pid % 60000
                    t.owns(me, key if key[0] != "ping" else
                           lambda p: p.proto == 1 and p.key is not None and p.key[1][1] == ident)
        rounds += 1
        passed = time.monotonic() - began
        if passed > WARM_S and first is None:
            first = footprint(t)
        if passed > seconds:
            break
        t.epoch()
    last = footprint(t, first["sockets of targets"] if first else 0)
    t.say(f"{rounds} rounds in {int(passed)} s")
    for name, value in last.items():
        t.say(f"{name}: {first[name] if first else '-'} after {WARM_S} s, {value} at the end")
        expect(not first or value <= first[name] * 1.1 + (SLACK if name == "map bytes" else 4), f"{name} grew: {first} to {last}")
    both(t, me, other, lambda who: ask(who, doors[who][0]))
