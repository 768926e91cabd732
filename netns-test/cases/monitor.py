# SPDX-License-Identifier: GPL-2.0-only
"""The monitor: its kinds, its silence, and that nothing that happens to it concerns an original packet."""

import os

from lib import leaks, netns, wait
from lib.mirrorctl import FAILED, OK, UNSUPPORTED
from lib.packet import UDP, flow
from lib.registry import case, expect, expect_equal
from lib.traffic import Datagrams, Listener, Stream

SILENT_S = 3.0


def cast(t):
    """A server with a UDP port, a target's socket and a stranger's."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    return me, Datagrams(server), Datagrams(me), Datagrams(other)


def some(service, *socks):
    """A few datagrams there and back for each socket."""
    for _ in range(3):
        for sock in socks:
            sock.to(service)
            service.to(sock)


def has_type(name, kind):
    """True when the kernel can make a device of this kind."""
    if netns.run(["ip", "-n", name, "link", "add", "probe0", "type", kind], check=False).returncode:
        return False
    netns.ip(name, "link delete probe0")
    return True


def kind_of(t, kind):
    """A target's TCP and UDP over a monitor of one kind."""
    me, service, mine, theirs = cast(t)
    t.need(has_type(t.space("c"), kind), f"this kernel has no {kind} device")
    t.up("--monitor-type", kind)
    expect_equal(t.get("status")["monitor"]["type"], kind, "type of the monitor")
    t.add(me)
    some(service, mine, theirs)
    stream = Stream(me, Listener(service.actor))
    stream.talk(20000, 60000)
    stream.close()
    t.owns(me, flow(UDP, mine.end, service.end))
    t.owns(me, stream.key)
    t.check()


@case()
def bridge(t):
    """A bridge without ports."""
    kind_of(t, "bridge")


@case()
def veth(t):
    """A veth pair."""
    kind_of(t, "veth")


@case()
def dummy(t):
    """A dummy device; `auto` takes it where it exists."""
    kind_of(t, "dummy")
    expect_equal(t.get("status")["monitor"]["type"], "dummy", "type")


@case()
def dummy_module_loaded(t):
    """The first dummy of a host loads a module, which makes a dummy0 in the first namespace: that one is gone again."""
    loaded = os.path.exists("/sys/module/dummy")
    t.need(not loaded, "the dummy module is loaded already")
    has = netns.run(["modprobe", "-n", "-q", "dummy"], check=False).returncode == 0
    t.need(has, "this kernel has no dummy module")
    t.space("c")
    t.mirrorctl("up", "lo")
    expect_equal(t.get("status")["monitor"]["type"], "dummy", "type of the monitor")
    expect(os.path.exists("/sys/module/dummy"), "the module is loaded")
    expect("dummy0" not in leaks.devices(), "no device in the first namespace")


@case()
def auto_choice(t):
    """auto: dummy where the kernel has it, else a bridge; asking for a kind the kernel lacks is status 5."""
    t.space("c")
    want = "dummy" if has_type(t.space("c"), "dummy") else "bridge"
    t.mirrorctl("up", "lo")
    expect_equal(t.get("status")["monitor"]["type"], want, "type")
    t.mirrorctl("down")
    if want == "bridge":
        t.mirrorctl("up", "lo", "--monitor-type", "dummy", status=UNSUPPORTED)
        expect_equal(t.get("status")["state"], "down", "state after a monitor that cannot be made")
    t.mirrorctl("up", "lo", "--monitor", "watch7", status=OK)
    expect("watch7" in leaks.devices(t.space("c")), "the monitor has the name asked for")


def silent(t, kind):
    """Nothing of the host stack on the monitor: addresses come and go, devices flap, strangers broadcast."""
    t.pair()
    name = t.space("c")
    me, other = t.actor("c"), t.actor("c")
    t.up("--monitor-type", kind)
    t.add(me)
    netns.ip(name, "link set eth0 down", "link set eth0 up", f"addr replace {netns.C4}/24 dev eth0",
             f"neigh replace {netns.S4} lladdr {netns.S_MAC} dev eth0 nud permanent",
             "link set mon0 mtu 9000", "link set mon0 mtu 65535")
    other.do("s = socket.socket(type=socket.SOCK_DGRAM); s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)\n"
             "s.sendto(b'hello all', ('10.11.0.255', 9))\n"
             "m = socket.socket(type=socket.SOCK_DGRAM)\n"
             f"m.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton('{netns.C4}'))\n"
             "m.sendto(b'hello group', ('224.0.0.251', 5353))")
    expect(not wait.within(lambda: t.monitor.passed(), SILENT_S), f"the {kind} monitor talks: {t.monitor.passed()} frames")
    link = netns.ip_json(name, "addr", "show", "dev", "mon0")[0]
    expect_equal(link["addr_info"], [], "addresses of mon0")
    expect("NOARP" in link["flags"] and link["mtu"] == 65535, f"flags and MTU of mon0: {link}")
    t.owns(me, lambda packet: False)
    t.check(seen=False)


@case()
def silent_bridge(t):
    """A bridge monitor never talks."""
    silent(t, "bridge")


@case()
def silent_veth(t):
    """A veth monitor never talks."""
    silent(t, "veth")


@case()
def veth_host_stack(t):
    """Copies on a veth monitor never reach the host stack, broadcasts neither."""
    me, service, mine, theirs = cast(t)
    listener = Datagrams(t.actor("c"), port=7777, wildcard=True)
    t.up("--monitor-type", "veth")
    t.add(me)
    some(service, mine, theirs)
    me.do("b = socket.socket(type=socket.SOCK_DGRAM); b.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)\n"
          "b.sendto(b'to all', ('10.11.0.255', 7777))")
    listener.sock.recvfrom(100)     # the kernel's own loop of a broadcast
    wait.until(lambda: t.monitor.passed() >= 7, "the copies")
    expect_equal(listener.actor.eval(f"len(__import__('select').select([obj[{listener.sock.key}]], [], [], 0)[0])"), 0,
                 "datagrams that came back through the monitor")


@case(timeout=60)
def down_and_up(t):
    """While the monitor is down originals flow and failures are counted; when it is up again copies flow."""
    me, service, mine, theirs = cast(t)
    t.up(stock=False)
    t.add(me)
    key = flow(UDP, mine.end, service.end)
    some(service, mine, theirs)
    before = t.owns(me, key)
    before.stop = t.now()
    netns.ip(t.space("c"), "link set mon0 down")
    during = t.owns(me, key, start=t.now())
    during.lost = True
    some(service, mine, theirs)
    during.stop = t.now()
    expect_equal(t.get("stats")["failures"]["monitor_down"], 6, "packets without a copy because mon0 is down")
    netns.ip(t.space("c"), "link set mon0 up")
    some(service, mine, theirs)
    t.owns(me, key, start=during.stop)
    t.check()


def after_deletion(t, by_hand):
    """The monitor is deleted under traffic and comes back; targets and their sockets stay."""
    me, service, mine, theirs = cast(t)
    t.up(stock=False)
    t.add(me)
    key = flow(UDP, mine.end, service.end)
    some(service, mine, theirs)
    before = t.owns(me, key)
    before.stop = t.now()
    t.monitor.frames()
    netns.ip(t.space("c"), "link delete mon0")
    during = t.owns(me, key, start=t.now())
    during.lost = True
    some(service, mine, theirs)
    expect_equal(t.get("stats")["failures"]["no_monitor"], 6, "packets without a copy because there is no mon0")
    t.get("status")
    if by_hand:
        netns.run(["ip", "-n", t.space("c"), "link", "add", "mon0", "type", "bridge", "mcast_snooping", "0"])
        netns.sysctl(t.space("c"), "net/ipv6/conf/mon0/disable_ipv6", 1)
        netns.ip(t.space("c"), "link set mon0 mtu 65535 arp off", "link set mon0 up")
    during.stop = t.now()
    t.mirrorctl("up", "eth0")
    t.monitor.again("mon0")
    some(service, mine, theirs)
    t.owns(me, key, start=during.stop)
    t.check()


@case()
def deleted(t):
    """The monitor is deleted; `up` makes it again."""
    after_deletion(t, False)


@case()
def recreated_by_hand(t):
    """The monitor is deleted and made again by hand; `up` binds to it and `down` leaves it alone."""
    after_deletion(t, True)
    t.mirrorctl("down")
    expect("mon0" in leaks.devices(t.space("c")), "down leaves a monitor it did not make")
    netns.ip(t.space("c"), "link delete mon0")


@case()
def name_taken(t):
    """A device of that name that is not ours is refused, left as it is, and nothing is made."""
    t.space("c")
    name = t.space("c")
    netns.run(["ip", "-n", name, "link", "add", "mon0", "type", "bridge"])
    t.note_devices()
    before = netns.ip_json(name, "link", "show", "dev", "mon0")
    answer = t.mirrorctl("up", "lo", status=FAILED)
    expect("mon0" in answer.err, f"the message names the device: {answer}")
    expect_equal(netns.ip_json(name, "link", "show", "dev", "mon0"), before, "the device")
    expect_equal(t.get("status")["state"], "down", "state")
    t.mirrorctl("up", "lo", "--monitor", "mon1")
    t.mirrorctl("down")
    expect("mon0" in leaks.devices(name), "down removes nothing else")


@case()
def renamed(t):
    """A renamed monitor still gets the copies."""
    me, service, mine, theirs = cast(t)
    t.up(stock=False)
    t.add(me)
    key = flow(UDP, mine.end, service.end)
    netns.ip(t.space("c"), "link set mon0 down", "link set mon0 name moon", "link set moon up")
    some(service, mine, theirs)
    t.owns(me, key)
    t.check()


@case()
def mtu_too_small(t):
    """A veth monitor whose MTU is too small for some copies: originals do not care, every packet is accounted for."""
    me, service, mine, theirs = cast(t)
    t.up("--monitor-type", "veth", stock=False)
    t.add(me)
    netns.ip(t.space("c"), "link set mon0 mtu 600")
    for size in (100, 1200):
        for sock in (mine, theirs):
            sock.to(service, b"z" * size)
            service.to(sock, b"z" * size)
    t.settle()
    stats = t.get("stats")
    expect_equal(stats["matched"], 4, "matched packets")
    expect_equal(stats["mirrored"] + stats["failed"], 4, "mirrored and failed")
    small = [p.frame for p in t.wires["eth0"].drain() if p.key == flow(UDP, mine.end, service.end) and len(p.frame) < 600]
    expect_equal(sorted(p.frame for p in t.monitor.frames()), sorted(small), "frames on mon0")
    expect_equal(t._originals(), [], "originals")
    expect_equal(stats["failed"], 2, "packets without a copy")


def snaplen(t, length):
    """Copies are cut to the snapshot length, originals are not."""
    me, service, mine, theirs = cast(t)
    listener = Listener(service.actor)
    t.up("--snaplen", length)
    expect_equal(t.get("status")["monitor"]["snaplen"], length, "snapshot length in status")
    t.add(me)
    some(service, mine, theirs)
    mine.to(service, b"L" * 1400)
    service.to(mine, b"L" * 5000)
    stream = Stream(me, listener)
    stream.talk(20000, 60000)
    stream.close()
    t.owns(me, flow(UDP, mine.end, service.end))
    t.owns(me, stream.key)
    t.check(snaplen=length)


@case(disable=("", "tcx"))
def snaplen_64(t):
    """The shortest snapshot length."""
    snaplen(t, 64)


@case()
def snaplen_1000(t):
    """A middling one."""
    snaplen(t, 1000)


@case()
def snaplen_changed(t):
    """`up` again with another snapshot length changes it without losing a packet."""
    me, service, mine, theirs = cast(t)
    t.up("--snaplen", 64)
    t.add(me)
    some(service, mine, theirs)
    t.mirrorctl("up", "eth0", "--snaplen", 0)
    start = len(t.monitor.frames())
    mine.to(service, b"L" * 1400)
    t.settle()
    wait.until(lambda: t.monitor.passed() > start, "the copy")
    last = t.monitor.frames()[-1]
    expect_equal(len(last.frame), 1400 + 42, "length of a copy after the change")
    expect_equal(t.get("stats")["matched"], 7, "matched packets over both settings")
