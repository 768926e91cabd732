# SPDX-License-Identifier: GPL-2.0-only
"""Several monitors: each gets the packets of the selections that name it, once, whatever becomes of the others; some of them
in a namespace of their own. What is on each is compared with the wire, frame by frame."""

import os
import socket
from collections import Counter

from lib import leaks, netns, tun, wait
from lib.capture import Tap
from lib.identity import is_announcement
from lib.mirrorctl import FAILED, NOT_FOUND, USAGE
from lib.packet import UDP, flow
from lib.program import rename, unique
from lib.registry import Failure, case, expect, expect_equal
from lib.scene import unbalanced
from lib.traffic import LOOP, Datagrams, Listener, Stream


class Views:
    """Taps on several monitors of a case: name -> (key of its namespace, tap)."""

    def __init__(self, t):
        self.t, self.taps = t, {}

    def tap(self, name, key="c"):
        """Watches one more monitor."""
        self.taps[name] = Tap(self.t.space(key), name)

    def again(self, name):
        """Goes on with a monitor that was made anew."""
        self.taps[name].again(name)

    def check(self, matched, **want):
        """`want`: monitor -> packets whose copies it has to have, `_` for `-` in its name; `matched`: all that counts."""
        problems = []

        def agree():
            stats = self.t.get("stats")
            problems[:] = unbalanced(stats) + self.t._originals()
            for name, packets in want.items():
                have = Counter(p.frame for p in self.taps[name].frames())
                must = Counter(p.frame for p in packets)
                if have != must:
                    problems.append(f"{name} has {sum(have.values())} frames, wanted {sum(must.values())}: "
                                    f"{sum((must - have).values())} missed, {sum((have - must).values())} too many")
            copies = sum(len(packets) for packets in want.values())
            for field, value in (("matched", matched), ("mirrored", copies)):
                if stats[field] != value:
                    problems.append(f"stats: {field} is {stats[field]}, wanted {value}")
            return not problems

        self.t.settle()
        wait.within(agree, 2)
        for tap in self.taps.values():
            tap.frames()
        if problems:
            raise Failure("\n".join(problems))

    def close(self):
        """Ends the taps."""
        for tap in self.taps.values():
            tap.stop()


def cast(t):
    """A server with a UDP port, two targets' sockets and a stranger's."""
    t.pair()
    server, one, two, other = t.actor("s"), t.actor("c"), t.actor("c"), t.actor("c")
    return one, two, Datagrams(server), Datagrams(one), Datagrams(two), Datagrams(other)


def some(service, *socks, rounds=3):
    """A few datagrams there and back for each socket."""
    for _ in range(rounds):
        for sock in socks:
            sock.to(service)
            service.to(sock)


def on_wire(t, sock, service, dev="eth0"):
    """Packets between two sockets in the order of the wire."""
    key = flow(UDP, sock.end, service.end)
    return [p for p in t.wires[dev].drain() if p.key == key]


def monitors(t):
    """{name: row} of status."""
    return {row["name"]: row for row in t.get("status")["monitors"]}


@case(disable=("", "tcx"))
def one_each(t):
    """Two targets, a monitor each, TCP and UDP; strangers on neither."""
    one, two, service, mine, yours, theirs = cast(t)
    listener = Listener(service.actor)
    t.up(stock=False)
    t.add(one)
    t.mirrorctl("add-pid", "--monitor", "watch1", two.pid)
    views = Views(t)
    views.taps["mon0"] = t.monitor
    views.tap("watch1")
    some(service, mine, yours, theirs)
    stream = Stream(two, listener)
    stream.talk(3000, 9000)
    stream.close()
    t.settle()
    first = on_wire(t, mine, service)
    second = [p for p in t.wires["eth0"].drain() if p.key in (flow(UDP, yours.end, service.end), stream.key)]
    views.check(len(first) + len(second), mon0=first, watch1=second)
    expect_equal(t.get("stats")["further"], 0, "packets matched for a second monitor")
    rows = monitors(t)
    expect_equal(list(rows), ["mon0", "watch1"], "monitors in status")
    expect_equal((rows["watch1"]["up"], rows["watch1"]["mtu"]), (True, 65535), "watch1")
    expect("watch1" in t.mirrorctl("status").out, "status names it to people too")
    views.close()


@case()
def both(t):
    """One target on two monitors, limited on one of them: each packet once for each, counted for each."""
    one, _, service, mine, yours, theirs = cast(t)
    t.up(stock=False)
    t.add(one)
    t.mirrorctl("add-pid", "--monitor", "watch1", "--count", 5, one.pid)
    views = Views(t)
    views.taps["mon0"] = t.monitor
    views.tap("watch1")
    some(service, mine, yours, theirs)
    packets = on_wire(t, mine, service)
    views.check(12, mon0=packets, watch1=packets[:5])
    stats = t.get("stats")
    expect_equal((stats["further"], stats["limits"]["count"], stats["seen"]), (6, 1, 18), "further, limited, seen")
    expect_equal(t.get("list")["targets"][0]["packets"], 12, "packets of the target")
    views.close()


@case()
def overlapping(t):
    """Several selections on one monitor: one copy, if any of them wants it."""
    one, two, service, mine, yours, theirs = cast(t)
    t.up(stock=False)
    t.mirrorctl("add-pid", "--monitor", "watch1", "--direction", "in", "--follow", one.pid)
    heir = one.fork()
    t.actors.append(heir)
    t.mirrorctl("add-pid", "--monitor", "watch1", "--direction", "out", two.pid)
    t.mirrorctl("add-pid", "--monitor", "watch1", "--first", 60, heir.pid)
    views = Views(t)
    views.taps["mon0"] = t.monitor
    views.tap("watch1")
    some(service, mine, yours, theirs)
    first, second = on_wire(t, mine, service), on_wire(t, yours, service)
    views.check(12, mon0=[], watch1=[p for p in first if not p.outgoing] + [p for p in second if p.outgoing])
    views.close()


@case(disable=("", "tcx"))
def of_selectors(t):
    """Selectors with monitors, filters and limits of their own beside add-pid: what each says, on each monitor once, for a
    process that was there and for one that begins to match later, and no more when the selector is gone."""
    one, two, service, mine, yours, theirs = cast(t)
    name = unique(t, "sel")
    rename(one, name)
    t.up(stock=False)
    t.arm()
    number = t.mirrorctl("-j", "add-name", name, "--monitor", "watch1", "--direction", "in").json["id"]
    filtered = t.mirrorctl("-j", "add-name", name, "--monitor", "watch2", "--filter", "udp[8] = 0x62").json["id"]
    expect_equal(t.mirrorctl("-j", "add-name", name, "--monitor", "watch1", "--direction", "in").json["id"], number, "the same")
    t.mirrorctl("add-pid", "--count", 4, one.pid)
    views = Views(t)
    views.taps["mon0"] = t.monitor
    views.tap("watch1")
    views.tap("watch2")
    some(service, mine, yours, theirs)
    rename(two, name)
    for sock in (mine, yours, theirs):
        sock.to(service, b"bravo")
        service.to(sock, b"charlie")
    first, second = on_wire(t, mine, service), on_wire(t, yours, service)
    late = second[6:]
    said = [p for p in first + late if b"bravo" in p.frame]
    views.check(3 * len(first) + 2 * len(late), mon0=first[:4], watch1=[p for p in first + late if not p.outgoing], watch2=said)
    expect_equal((len(first), len(late), len(said)), (8, 2, 2), "packets")
    rows = {row["id"]: row for row in t.get("selectors")["selectors"]}
    expect_equal([(row["monitor"], row["filtered"], row["limited"], row["processes"]) for row in rows.values()],
                 [("watch1", False, True, 2), ("watch2", True, False, 2)], "selectors")
    stats = t.get("stats")
    expect_equal((stats["filtered"], stats["limits"]["direction"], stats["limits"]["count"]), (8, 5, 4), "refused")
    t.mirrorctl("del-selector", number, filtered)
    some(service, yours, theirs)
    expect_equal(t.get("stats")["matched"], stats["matched"], "matched when the selectors are gone")
    expect_equal(t.get("status")["filters"], [], "filters")
    views.close()


@case()
def ends_of_loopback(t):
    """On loopback the sender's packet goes to his monitor and to the receiver's; to one alone if they share it."""
    t.space("c")
    one, two, other = t.actor("c"), t.actor("c"), t.actor("c")
    a, b, c = (Datagrams(actor, where=LOOP) for actor in (one, two, other))
    t.up(sources=("lo",), stock=False)
    t.add(one)
    t.mirrorctl("add-pid", "--monitor", "watch1", two.pid)
    views = Views(t)
    views.taps["mon0"] = t.monitor
    views.tap("watch1")
    some(b, a)
    some(c, a, b)
    some(c, c)
    ab, ac, bc = (on_wire(t, x, y, "lo") for x, y in ((a, b), (a, c), (b, c)))
    views.check(2 * len(ab) + len(ac) + len(bc), mon0=ab + ac, watch1=ab + bc)
    t.mirrorctl("add-pid", "--monitor", "watch1", one.pid)
    start = len(on_wire(t, a, b, "lo"))
    some(b, a)
    new = on_wire(t, a, b, "lo")[start:]
    views.check(2 * len(ab) + len(ac) + len(bc) + 12, mon0=ab + ac + new, watch1=ab + bc + new)
    views.close()


@case()
def deleted_while_mirroring(t):
    """One monitor is deleted: copies fail for that one alone; `up` or add-pid makes it again."""
    one, _, service, mine, _, theirs = cast(t)
    t.up(stock=False)
    t.add(one)
    t.mirrorctl("add-pid", "--monitor", "watch1", one.pid)
    views = Views(t)
    views.taps["mon0"] = t.monitor
    views.tap("watch1")
    some(service, mine, theirs)
    views.check(12, mon0=on_wire(t, mine, service), watch1=on_wire(t, mine, service))
    for number, words in enumerate((("up", "eth0"), ("add-pid", "--monitor", "watch1", one.pid)), 1):
        netns.ip(t.space("c"), "link delete watch1")
        some(service, mine, theirs)
        stats = t.get("stats")
        expect_equal((stats["failed"], stats["failures"]["no_monitor"]), (6 * number, 6 * number), "failed")
        expect(any("watch1 is gone" in limit for limit in t.get("status")["limits"]), "status says so")
        t.mirrorctl(*words)
        views.again("watch1")
        some(service, mine, theirs)
    packets = on_wire(t, mine, service)
    views.check(60, mon0=packets, watch1=packets[:6] + packets[12:18] + packets[24:])
    views.close()


@case()
def down_while_mirroring(t):
    """The instance's own monitor is down: the other one goes on."""
    one, _, service, mine, _, theirs = cast(t)
    t.up(stock=False)
    t.add(one)
    t.mirrorctl("add-pid", "--monitor", "watch1", "--monitor-type", "bridge", one.pid)
    views = Views(t)
    views.taps["mon0"] = t.monitor
    views.tap("watch1")
    netns.ip(t.space("c"), "link set mon0 down")
    some(service, mine, theirs)
    packets = on_wire(t, mine, service)
    views.check(12, mon0=[], watch1=packets)
    expect_equal(t.get("stats")["failures"]["monitor_down"], 6, "failed for mon0")
    views.close()


@case()
def headerless(t):
    """Copies of a device without Ethernet header find the monitor they are for through the one relay."""
    t.need(os.path.exists("/dev/net/tun"), "this kernel has no tun")
    t.pair()
    tun.join(t)
    one, two, server = t.actor("c"), t.actor("c"), t.actor("s")
    t.up(sources=("tun0",), capture=False)
    t.mirrorctl("add-pid", "--monitor", "watch1", one.pid)
    t.mirrorctl("add-pid", "--monitor", "watch2", "--monitor-type", "veth", two.pid)
    views = Views(t)
    for name in ("mon0", "watch1", "watch2"):
        views.tap(name)
    ends = []
    for actor, address in ((one, tun.HERE4), (two, tun.HERE4), (server, tun.FAR4)):
        ends.append(actor.socket(socket.AF_INET, socket.SOCK_DGRAM))
        ends[-1].bind((address, 0))
    for number in range(4):
        for name, end in (("one", ends[0]), ("two", ends[1])):
            end.sendto(f"{name} {number}".encode(), ends[2].getsockname())
            ends[2].recvfrom(100)
            ends[2].sendto(f"to {name} {number}".encode(), end.getsockname())
            end.recvfrom(100)
    for watch, name in (("watch1", "one"), ("watch2", "two")):
        want = sorted(f"{way}{name} {number}".encode() for number in range(4) for way in ("", "to "))
        wait.within(lambda: len(views.taps[watch].frames()) >= 8, 2)
        expect_equal(sorted(p.payload for p in views.taps[watch].frames()), want, f"datagrams on {watch}")
    expect_equal(views.taps["mon0"].frames(), [], "frames on mon0")
    expect_equal(unbalanced(t.get("stats")), [], "sums")
    views.close()


@case()
def announced_on_each(t):
    """--identity announce: on each monitor before its own first copy, and only there."""
    one, two, service, mine, yours, theirs = cast(t)
    t.up("--identity", "announce", capture=False)
    t.watch("eth0")
    t.add(one)
    for target in (one, two):
        t.mirrorctl("add-pid", "--monitor", "watch1", target.pid)
    views = Views(t)
    views.tap("mon0")
    views.tap("watch1")
    some(service, mine, yours, theirs)
    for name, flows, copies in (("mon0", 1, 6), ("watch1", 2, 12)):
        wait.within(lambda: len(views.taps[name].frames()) >= flows + copies, 2)
        frames = [p.frame for p in views.taps[name].frames()]
        expect_equal((sum(map(is_announcement, frames)), len(frames)), (flows, flows + copies),
                     f"announcements and frames of {name}")
        expect(is_announcement(frames[0]), f"{name} begins with an announcement")
    expect_equal(t.get("stats")["announced"], 3, "announced")
    views.close()


@case(disable=("", "tcx"))
def in_another_namespace(t):
    """The instance's own monitor and one more in a namespace of their own: seen there, nowhere here, and quiet."""
    one, two, service, mine, yours, theirs = cast(t)
    away = t.space("a")
    t.note_devices()
    t.mirrorctl("up", "eth0", "--monitor-netns", away)
    t.watch("eth0")
    t.arm()
    t.mirrorctl("add-pid", one.pid)
    t.mirrorctl("add-pid", "--monitor", "watch1", "--monitor-netns", f"/run/netns/{away}", two.pid)
    expect_equal(leaks.devices(t.space("c")) & {"mon0", "watch1"}, set(), "monitors in the namespace of the targets")
    expect_equal(leaks.devices(away), {"lo", "mon0", "watch1"}, "devices in the other namespace")
    rows = monitors(t)
    expect_equal({row["netns"] for row in rows.values()}, {os.stat(f"{netns.RUN_DIR}/{away}").st_ino}, "namespace in status")
    listener = Datagrams(t.actor("a"), where=LOOP, port=service.port, wildcard=True)
    netns.ip(away, f"addr add {netns.S4}/24 dev lo")
    views = Views(t)
    views.tap("mon0", "a")
    views.tap("watch1", "a")
    some(service, mine, yours, theirs)
    t.mirrorctl("up", "eth0", "--monitor-netns", away)
    expect_equal(monitors(t), rows, "monitors after the same `up` again")
    some(service, mine, yours, theirs)
    views.check(24, mon0=on_wire(t, mine, service), watch1=on_wire(t, yours, service))
    expect_equal(listener.actor.eval(f"len(__import__('select').select([obj[{listener.sock.key}]], [], [], 0)[0])"), 0,
                 "copies that reached the host stack of the other namespace")
    views.close()
    t.mirrorctl("down")
    expect_equal(leaks.devices(away), {"lo"}, "devices that down left in the other namespace")


@case()
def namespace_goes_away(t):
    """The namespace of a monitor is deleted: originals and other monitors do not care; elsewhere it can be made again."""
    one, _, service, mine, _, theirs = cast(t)
    away = t.space("a")
    t.mirrorctl("up", "eth0")
    t.watch("eth0")
    t.arm()
    t.mirrorctl("add-pid", one.pid)
    t.mirrorctl("add-pid", "--monitor", "watch1", "--monitor-netns", away, one.pid)
    views = Views(t)
    views.tap("mon0")
    netns.delete(away)
    del t.spaces["a"]
    wait.until(lambda: "watch1-in" not in leaks.devices(t.space("c")), "the monitor to go with its namespace")
    some(service, mine, theirs)
    views.check(12, mon0=on_wire(t, mine, service))
    expect_equal(t.get("stats")["failures"]["no_monitor"], 6, "failed for the lost one")
    t.mirrorctl("up", "eth0")
    expect(any("watch1 is gone" in limit for limit in t.get("status")["limits"]), "status says that it is gone")
    t.mirrorctl("up", "eth0", "--monitor-netns", away, status=NOT_FOUND)
    t.mirrorctl("add-pid", "--monitor", "watch1", one.pid)
    views.tap("watch1")
    some(service, mine, theirs)
    packets = on_wire(t, mine, service)
    views.check(24, mon0=packets, watch1=packets[6:])
    views.close()


@case()
def moved_and_back(t):
    """`up` moves the instance's monitor to another namespace and back; copies follow."""
    one, _, service, mine, _, theirs = cast(t)
    away = t.space("a")
    t.mirrorctl("up", "eth0")
    t.watch("eth0")
    t.arm()
    t.mirrorctl("add-pid", one.pid)
    views = Views(t)
    views.tap("mon0")
    some(service, mine, theirs)
    t.mirrorctl("up", "eth0", "--monitor-netns", away)
    views.taps["mon0"].frames()
    views.taps["mon0"].wires.append(Tap(away, "mon0").wires[0])
    some(service, mine, theirs)
    views.taps["mon0"].frames()
    t.mirrorctl("up", "eth0")
    expect_equal(leaks.devices(away), {"lo"}, "devices in the namespace it has left")
    views.again("mon0")
    some(service, mine, theirs)
    views.check(18, mon0=on_wire(t, mine, service))
    views.close()


@case()
def never_a_source(t):
    """Monitors are no sources: not by default, not by name, not of the mirror of the namespace they are in."""
    one, _, service, mine, _, theirs = cast(t)
    away = t.space("a")
    t.note_devices()
    t.mirrorctl("up", "eth0")
    t.watch("eth0")
    t.arm()
    t.mirrorctl("add-pid", "--monitor", "watch1", one.pid)
    t.mirrorctl("add-pid", "--monitor", "watch2", "--monitor-netns", away, one.pid)
    for key, name in (("c", "watch1"), ("c", "watch2-in"), ("a", "watch2")):
        netns.ip(t.space(key), f"addr add 10.40.0.1/24 dev {name}")
        answer = t.mirrorctl("up", name, key=key, status=USAGE)
        expect(name in answer.err, f"the message names the device: {answer}")
    t.mirrorctl("up", key="a")
    expect_equal([row["dev"] for row in t.get("status", key="a")["sources"]], ["lo"], "sources of the other namespace's mirror")
    t.mirrorctl("down", key="a")
    t.mirrorctl("up")
    expect_equal({row["dev"] for row in t.get("status")["sources"]}, {"eth0", "lo"}, "sources")
    some(service, mine, theirs)
    packets = on_wire(t, mine, service)
    stats = t.get("stats")
    expect_equal((len(packets), stats["matched"], stats["mirrored"]), (6, 12, 12), "each packet once for each monitor")
    t.mirrorctl("down")


@case(timeout=90)
def refused(t):
    """A ninth monitor, another kind or place of one there is, a name that is taken: one line, and nothing is changed."""
    t.space("c")
    me = t.actor("c")
    away = t.space("a")
    netns.run(["ip", "-n", t.space("c"), "link", "add", "taken0", "type", "bridge"])
    t.note_devices()
    t.mirrorctl("up", "lo")
    t.mirrorctl("add-pid", "--monitor", "watch1", "--monitor-type", "bridge", me.pid)

    def says(status, name, *words):
        before = leaks.devices(t.space("c")), t.get("status"), t.get("list")
        answer = t.mirrorctl("add-pid", *words, status=status)
        expect(name in answer.err and len(answer.err.splitlines()) == 1, f"one line that names {name}: {answer}")
        expect_equal((leaks.devices(t.space("c")), t.get("status"), t.get("list")), before, f"state after {words}")

    says(FAILED, "watch1", "--monitor", "watch1", "--monitor-type", "veth", me.pid)
    says(FAILED, "watch1", "--monitor", "watch1", "--monitor-netns", away, me.pid)
    says(FAILED, "mon0", "--monitor", "mon0", "--monitor-netns", away, me.pid)
    says(FAILED, "taken0", "--monitor", "taken0", me.pid)
    says(FAILED, "lo", "--monitor", "lo", me.pid)
    says(USAGE, "bridge", "--monitor", "watch2", "--monitor-type", "bridge", "--monitor-netns", away, me.pid)
    says(USAGE, "--monitor", "--monitor-type", "bridge", me.pid)
    says(NOT_FOUND, "nowhere", "--monitor", "watch2", "--monitor-netns", "nowhere", me.pid)
    says(NOT_FOUND, "4194303", "--monitor", "watch2", 4194303)
    says(NOT_FOUND, "4194303", "--monitor", "watch2", "--monitor-netns", away, 4194303)
    for number in range(2, 8):
        t.mirrorctl("add-pid", "--monitor", f"watch{number}", me.pid)
    says(FAILED, "8 monitors", "--monitor", "watch8", me.pid)
    expect_equal(len(t.get("status")["monitors"]), 8, "monitors")
    answer = t.mirrorctl("up", "lo", "--monitor", "watch3", status=USAGE)
    expect("watch3" in answer.err, f"up names it: {answer}")
    t.mirrorctl("down")
    expect_equal(leaks.devices(t.space("c")), {"lo", "taken0"}, "devices after down")
