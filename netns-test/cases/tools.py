# SPDX-License-Identifier: GPL-2.0-only
"""Verbs that look at a running mirror or keep it right: explain, watch, what status says of programs ahead of ours."""

import json
import signal

from lib import bpf, netns, wait
from lib.mirrorctl import BINARY, NOT_FOUND, USAGE
from lib.packet import UDP, flow
from lib.registry import case, expect, expect_equal
from lib.traffic import Datagrams, Listener, Stream


def explain(t, proto, local, remote):
    """The JSON answer of explain for two (address, port) pairs."""
    ends = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port, *_ in (local, remote)]
    return t.mirrorctl("-j", "explain", proto, *ends).json


@case()
def explain_sockets(t):
    """Each state a conversation can be in: target, stranger, listener, closed, nobody; IPv4, IPv6, UDP."""
    t.pair()
    t.need_ipv6()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    listener, listener6, service = Listener(server), Listener(server, version=6), Datagrams(server)
    t.mirrorctl("up", "eth0")
    t.mirrorctl("add-pid", me.pid)
    mine, theirs, mine6 = Stream(me, listener), Stream(other, listener), Stream(me, listener6)
    for stream, want in ((mine, True), (theirs, False), (mine6, True)):
        got = explain(t, "tcp", stream.client.getsockname(), stream.listener.end)
        expect_equal((got["socket"], got["mirrored"], got["reason"]),
                     ("established", want, "socket" if want else None), f"explain of {stream.key}")
        expect_equal(got["owner"], {"pid": me.pid, "comm": got["owner"]["comm"], "target": True} if want else None, "owner")
    own = Listener(me)
    got = explain(t, "tcp", own.end, ("10.11.0.2", 5))
    expect_equal((got["socket"], got["mirrored"], got["reason"]), ("listening", True, "listener"), "a SYN for a listener")
    sock = Datagrams(me)
    sock.to(service)
    got = explain(t, "udp", ("10.11.0.1", sock.end[1]), service.end)
    expect_equal((got["socket"], got["mirrored"]), ("open", True), "an unconnected UDP socket")
    got = explain(t, "tcp", ("10.11.0.1", 9), ("10.11.0.2", 9))
    expect_equal((got["socket"], got["owner"], got["mirrored"]), ("none", None, False), "nobody's conversation")
    where = mine.client.getsockname()
    mine.close()
    got = explain(t, "tcp", where, listener.end)
    known = not t.limited("linger")
    expect_equal((got["socket"], got["reason"]), ("time-wait", "linger" if known else None), "a conversation that was closed")
    t.mirrorctl("del-pid", me.pid)
    got = explain(t, "tcp", mine6.client.getsockname(), listener6.end)
    expect_equal((got["mirrored"], got["owner"]["target"]), (False, False), "after del-pid")
    text = t.mirrorctl("explain", "tcp", "10.11.0.1:9", "10.11.0.2:9").out
    expect("mirrored     no: no socket" in text, f"the sentence is there: {text}")


@case()
def explain_refuses(t):
    """Words that are no conversation, and a mirror that is down."""
    t.space("c")
    for words in (("sctp", "10.0.0.1:1", "10.0.0.2:2"), ("tcp", "10.0.0.1", "10.0.0.2:2"), ("tcp", "10.0.0.1:x", "10.0.0.2:2"),
                  ("tcp", "10.0.0.1:65536", "10.0.0.2:2"), ("tcp", "10.0.0.1:1", "[::1]:2"), ("icmp", "10.0.0.1:7", "10.0.0.2:2"),
                  ("udp", "[::1:1", "[::1]:2"), ("udp", "fe80::1%nodev:1", "[::1]:2")):
        done = t.mirrorctl("explain", *words, status=USAGE)
        expect_equal(len(done.err.splitlines()), 1, f"lines for {words}")
    t.mirrorctl("explain", "tcp", "10.0.0.1:1", "10.0.0.2:2", status=NOT_FOUND)


@case()
def watch_keeps_sources(t):
    """watch attaches devices that come, forgets those that go, follows names, and leaves the mirror when it ends."""
    t.pair()
    name = t.space("c")
    proc = t.popen("c", BINARY, "watch")
    t.mirrored_in.add("c")

    def sources():
        return {row["dev"] for row in t.get("status")["sources"]}

    wait.until(lambda: t.get("status")["state"] == "up" and sources() == {"lo", "eth0"}, "watch to bring the mirror up", 10)
    netns.ip(name, "link add late0 type bridge", "link set late0 addrgenmode none", "link set late0 up",
             "addr add 10.40.0.1/24 dev late0")
    wait.until(lambda: sources() == {"lo", "eth0", "late0"}, "a device that came to become a source", 10)
    netns.ip(name, "link set late0 down", "link set late0 name later0", "link set later0 up")
    wait.until(lambda: sources() == {"lo", "eth0", "later0"}, "a renamed device to be known by its name", 10)
    netns.ip(name, "link del later0")
    wait.until(lambda: sources() == {"lo", "eth0"}, "a device that went to be forgotten", 10)
    netns.ip(name, "link del mon0")
    wait.until(lambda: t.get("status")["monitor"]["up"], "a deleted monitor to be made again", 10)
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    service, mine, theirs = Datagrams(server), Datagrams(me), Datagrams(other)
    proc.send_signal(signal.SIGTERM)
    expect_equal(proc.wait(10), 0, "exit status of watch")
    t.capture(("eth0", "lo"))
    t.add(me)
    for sock in (mine, theirs):
        sock.to(service)
        service.to(sock)
    t.owns(me, flow(UDP, mine.end, service.end))
    t.check(seen=False)     # devices that came and went had packets of their own


@case()
def watch_waits_for_a_device(t):
    """A named device need not be there yet."""
    t.space("c")
    proc = t.popen("c", BINARY, "watch", "later0")
    wait.until(lambda: t.get("status")["state"] == "up", "watch to bring the mirror up", 10)
    expect(any("no source" in line for line in t.get("status")["limits"]), "status says that there is no source")
    netns.ip(t.space("c"), "link add later0 type bridge", "link set later0 addrgenmode none",
             "link set later0 up")
    t.note_devices()
    wait.until(lambda: [row["dev"] for row in t.get("status")["sources"]] == ["later0"], "the device to be attached", 10)
    proc.terminate()
    expect_equal(proc.wait(10), 0, "exit status of watch")


@case()
def program_ahead(t):
    """A TCX program that was put before ours is named by status; `up` puts ours first again."""
    t.pair()
    t.mirrorctl("up", "eth0")
    t.need(t.get("status")["sources"][0]["hook"] == "tcx", "this kernel has no TCX")
    index = netns.ip_json(t.space("c"), "link", "show", "dev", "eth0")[0]["ifindex"]
    theirs = bpf.Stranger().attach_tcx(t.space("c"), index, bpf.INGRESS, bpf.BEFORE)
    limits = t.get("status")["limits"]
    expect(any("runs before ours" in line and "eth0 ingress" in line for line in limits), f"status names it: {limits}")
    t.mirrorctl("up", "eth0")
    limits = t.get("status")["limits"]
    expect(not any("runs before ours" in line for line in limits), f"up puts ours first: {limits}")
    theirs.close()


@case()
def program_ahead_again_and_again(t):
    """Taken off and put first on every occasion: the program that was taken off is gone when `up` puts it back."""
    t.pair()
    t.mirrorctl("up", "eth0")
    t.need(t.get("status")["sources"][0]["hook"] == "tcx", "this kernel has no TCX")
    index = netns.ip_json(t.space("c"), "link", "show", "dev", "eth0")[0]["ifindex"]
    for _ in range(20):
        theirs = bpf.Stranger().attach_tcx(t.space("c"), index, bpf.INGRESS, bpf.BEFORE)
        t.mirrorctl("up", "eth0")
        theirs.close()


@case()
def events_of_a_target(t):
    """The life of a target as events: added, a child, conversations with their reason, an owner that changes, exit, gone."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    listener, service = Listener(server), Datagrams(server)
    t.mirrorctl("up", "eth0", "--linger", 0)
    proc = t.popen("c", BINARY, "-j", "events", "-f")
    events = []

    def saw(**want):
        """Reads until an event with these fields has come."""
        while not any(all(event.get(key) == value for key, value in want.items()) for event in events):
            line = proc.stdout.readline()
            expect(line, f"events ended before {want}; there were {events}")
            events.append(json.loads(line))

    t.mirrorctl("add-pid", me.pid, "--follow")
    saw(event="added", pid=me.pid, parent=None)
    stream = Stream(me, listener)
    stream.talk()
    Stream(other, listener).talk()
    ends = [f"{host}:{port}" for host, port, *_ in (stream.client.getsockname(), listener.end)]
    saw(event="flow", pid=me.pid, proto="tcp", local=ends[0], remote=ends[1], reason="socket")
    sock = Datagrams(me)
    for _ in range(5):
        sock.to(service)
    saw(event="flow", pid=me.pid, proto="udp")
    me.do("import os; child = os.fork()\nif child == 0: os._exit(0)\nos.waitpid(child, 0)")
    child = me.eval("child")
    saw(event="added", pid=child, parent=me.pid)
    saw(event="exited", pid=child)
    netns.ip(t.space("c"), "link set mon0 down")
    sock.to(service)
    saw(event="failed", pid=me.pid, failure="monitor_down", reason="socket")
    t.mirrorctl("del-pid", me.pid)
    saw(event="gone", pid=me.pid)
    flows = [event for event in events if event["event"] == "flow"]
    expect_equal(len(flows), 2, f"conversations told, each once, and no stranger's: {flows}")
    proc.terminate()
    expect_equal(proc.wait(10), 0, "exit status of events")


@case()
def events_when_down(t):
    """There is nothing to tell of a mirror that is down."""
    t.space("c")
    t.mirrorctl("events", status=NOT_FOUND)
