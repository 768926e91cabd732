# SPDX-License-Identifier: GPL-2.0-only
"""Limits of a selection or of the instance: direction, sample, rate, first, for, count. Which packets have a copy is computed
here from the wire and compared one for one; strangers talk beside."""

import ipaddress
import os
import time
from collections import Counter

from lib import netns, wait
from lib.actor import _receive as receive
from lib.mirrorctl import FAILED
from lib.packet import UDP, flow
from lib.registry import Failure, case, expect, expect_equal
from lib.scene import unbalanced
from lib.traffic import LOOP, Datagrams, Listener, Stream

NONE = {"filtered": 0, "sampled": 0, "limited": 0, "failed": 0}
LIMITS = ("direction", "rate", "first", "expired", "count")


def mix(h, word):
    """The hash of docs/architecture.md, one step."""
    h = ((h ^ word) * 0x9E3779B1) & 0xFFFFFFFF
    return h ^ h >> 15


def end_hash(address, port):
    """One end of a flow."""
    h = 0
    ip = ipaddress.ip_address(address)
    data = ip.packed if ip.version == 6 else bytes(10) + b"\xff\xff" + ip.packed
    for at in range(0, 16, 4):
        h = mix(h, int.from_bytes(data[at:at + 4], "big"))
    return mix(h, port)


def flow_hash(proto, one, other):
    """The same for both directions."""
    ends = (end_hash(*one) + end_hash(*other)) & 0xFFFFFFFF
    return mix(mix(mix(0, ends), proto), 0)


def verdict(t, mine, copied, **causes):
    """Checks that of the packets `mine` just those of `copied` are on mon0, byte for byte, that originals arrived, and that
    the counters say so: `causes` are the fields that are not 0."""
    problems = []

    def agree():
        stats = t.get("stats")
        problems[:] = unbalanced(stats) + t._originals()
        want, have = Counter(p.frame for p in copied), Counter(p.frame for p in t.monitor.frames())
        if want != have:
            problems.append(f"mon0 has {sum(have.values())} frames, wanted {sum(want.values())}: "
                            f"{sum((want - have).values())} missed, {sum((have - want).values())} too many")
        facts = {"matched": len(mine), "mirrored": len(copied), **NONE, **dict.fromkeys(LIMITS, 0), **causes}
        if "limited" not in causes:
            facts["limited"] = sum(facts[name] for name in LIMITS)
        for name, want in facts.items():
            have = stats["limits"][name] if name in LIMITS else stats[name]
            if have != want:
                problems.append(f"stats: {name} is {have}, wanted {want}")
        return not problems

    t.settle()
    wait.within(agree, 2)
    if problems:
        raise Failure("\n".join(problems))


def on_wire(t, *keys, dev="eth0"):
    """Packets of these conversations in the order of the wire."""
    return [p for p in t.wires[dev].drain() if p.key in keys]


def cast(t):
    """A server with a UDP port, a target's socket and a stranger's."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    return me, Datagrams(server), Datagrams(me), Datagrams(other)


def some(service, *socks, rounds=3):
    """A few datagrams there and back for each socket."""
    for _ in range(rounds):
        for sock in socks:
            sock.to(service)
            service.to(sock)


def direction(t, way):
    """UDP and TCP with one direction wanted."""
    me, service, mine, theirs = cast(t)
    listener = Listener(service.actor)
    t.up()
    t.add(me, options=("--direction", way))
    some(service, mine, theirs)
    stream = Stream(me, listener)
    stream.talk(3000, 9000)
    stream.close()
    t.settle()
    packets = on_wire(t, flow(UDP, mine.end, service.end), stream.key)
    copied = [p for p in packets if way == "both" or p.outgoing == (way == "out")]
    verdict(t, packets, copied, direction=len(packets) - len(copied))


@case(disable=("", "tcx"))
def loaded_when_needed(t):
    """What asks policies is loaded with the first one, on a mirror that copies already: when `up` returns the limit holds."""
    me, service, mine, theirs = cast(t)
    pin = f"{t.pins()}/mir_choose"
    t.up()
    t.add(me)
    some(service, mine, theirs)
    expect(not os.path.exists(pin), "mir_choose is loaded, and there is nothing to ask")
    t.mirrorctl("up", "eth0", "--count", "4")
    expect(os.path.exists(pin), "mir_choose is not loaded")
    some(service, mine, theirs)
    packets = on_wire(t, flow(UDP, mine.end, service.end))
    verdict(t, packets, packets[:10], count=2)


@case(disable=("", "tcx"))
def direction_in(t):
    """--direction in: what the target receives."""
    direction(t, "in")


@case()
def direction_out(t):
    """--direction out: what the target sends."""
    direction(t, "out")


@case()
def direction_both(t):
    """--direction both: everything."""
    direction(t, "both")


@case()
def direction_on_loopback(t):
    """On loopback each packet goes both ways: out for its sender, in for its receiver, whoever of them is asked."""
    t.space("c")
    one, two, other = t.actor("c"), t.actor("c"), t.actor("c")
    a, b, c = (Datagrams(actor, where=LOOP) for actor in (one, two, other))
    t.up(sources=("lo",))
    t.add(one, two, options=("--direction", "in"))
    a.to(b, b"one to two: in for two")
    b.to(c, b"two to the stranger: out")
    c.to(a, b"the stranger to one: in")
    c.to(c, b"the stranger to himself")
    t.settle()
    packets = [p for p in t.wires["lo"].drain() if b"himself" not in p.payload]
    verdict(t, packets, [p for p in packets if b": in" in p.payload], direction=1)


def fast(actor, sock, end, times, cpu=None, size=20):
    """Sends many numbered datagrams without waiting for anything; the actor is bound to a processor."""
    if cpu is not None:
        actor.do(f"os.sched_setaffinity(0, {{{cpu}}})")
    actor.tell(f"for i in range({times}): obj[{sock.sock.key}].sendto(struct.pack('!II', {cpu or 0}, i).ljust({size}, b'.'), "
               f"{end!r})")


def answered(actor):
    """Takes the answer to a tell()."""
    expect_equal(receive(actor.chan)[0][0], "ok", "what the actor was told")


@case(timeout=90)
def count_on_two_processors(t):
    """--count N is N copies, not one more or less, with two processes of one command sending on all processors at once."""
    t.space("c")
    me, you, other, server = (t.actor("c") for _ in range(4))
    socks = [Datagrams(actor, where=LOOP) for actor in (me, you, other)]
    service = Datagrams(server, where=LOOP)
    service.sock.setsockopt(1, 33, 1 << 26)     # SOL_SOCKET, SO_RCVBUFFORCE
    t.up(sources=("lo",), stock=False)
    t.add(me, you, options=("--count", 1234))
    cpus = sorted(os.sched_getaffinity(0))
    for number, (actor, sock) in enumerate(zip((me, you, other), socks)):
        fast(actor, sock, service.end, 3000, cpus[number % len(cpus)])
    for actor in (me, you, other):
        answered(actor)
    packets = on_wire(t, *(flow(UDP, sock.end, service.end) for sock in socks[:2]), dev="lo")
    expect_equal(len(packets), 6000, "packets of the targets on the wire")
    frames = t.monitor.frames()
    expect_equal(len(frames), 1234, "copies")
    expect(not Counter(p.frame for p in frames) - Counter(p.frame for p in packets), "a foreign frame on mon0")
    verdict(t, packets, frames, count=6000 - 1234)


@case()
def count_leaves_failures_out(t):
    """A copy that failed does not count: N are made once the monitor is there again."""
    me, service, mine, theirs = cast(t)
    t.up(stock=False)
    t.add(me, options=("--count", 8))
    some(service, mine, theirs, rounds=2)
    netns.ip(t.space("c"), "link set mon0 down")
    some(service, mine, theirs, rounds=5)
    netns.ip(t.space("c"), "link set mon0 up")
    some(service, mine, theirs, rounds=6)
    t.settle()
    packets = on_wire(t, flow(UDP, mine.end, service.end))
    verdict(t, packets, packets[:4] + packets[14:18], failed=10, count=8)
    rows = t.get("list")["targets"]
    expect_equal([(row["packets"], row["failed"]) for row in rows], [(26, 10)], "packets and failed of the target")


def sampled(t, version):
    """1000 flows of a target and some of a stranger, there and back."""
    t.pair()
    t.need_ipv6()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    service = Datagrams(server, version)
    t.up(stock=False)
    t.add(me, options=("--sample", "1/4"))
    for actor, times in ((me, 1000), (other, 100)):
        actor.do("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))\n"
                 f"many = [socket.socket({int(service.sock.actor.eval('socket.AF_INET6' if version == 6 else 'socket.AF_INET'))},"
                 f" socket.SOCK_DGRAM) for _ in range({times})]")
        for piece in range(0, times, 100):
            actor.do(f"for s in many[{piece}:{piece + 100}]: s.sendto(b'there', {service.end!r})")
            server.do("for _ in range(100):\n"
                      f"  data, end = obj[{service.sock.key}].recvfrom(100)\n"
                      f"  obj[{service.sock.key}].sendto(b'and back', end)")
            actor.do(f"for s in many[{piece}:{piece + 100}]: s.recv(100)")
    ports = set(me.eval("[s.getsockname()[1] for s in many]"))
    t.settle()
    packets = [p for p in t.wires["eth0"].drain() if p.key and p.key[0] == UDP and ends_of(p)[0][1] in ports]
    expect_equal(len(packets), 2000, "packets of the target")
    copied = [p for p in packets if flow_hash(UDP, *ends_of(p)) % 4 == 0]
    kept = len({ends_of(p) for p in copied})
    expect(200 <= kept <= 300, f"{kept} of 1000 flows are sampled by 1/4")
    verdict(t, packets, copied, sampled=len(packets) - len(copied))


def ends_of(packet):
    """((address, port) of c, of s) of a UDP packet."""
    data = packet.frame[34:] if packet.version == 4 else packet.frame[54:]
    ports = [int.from_bytes(data[at:at + 2], "big") for at in (0, 2)]
    ends = [(packet.src, ports[0]), (packet.dst, ports[1])]
    return tuple(ends if packet.outgoing else ends[::-1])


@case(timeout=90)
def sample_ipv4(t):
    """--sample 1/4 keeps whole flows, and a quarter of them."""
    sampled(t, 4)


@case(timeout=90)
def sample_ipv6(t):
    """The same over IPv6."""
    sampled(t, 6)


@case()
def sample_fragments_and_errors(t):
    """Pieces of a datagram and ICMP errors go the way of their flow, in both directions."""
    me, service, _, _ = cast(t)
    netns.sysctl(t.space("s"), "net/ipv4/icmp_ratelimit", 0)
    socks = [Datagrams(me) for _ in range(12)]
    t.up(stock=False)
    t.add(me, options=("--sample", "1/3"))
    for sock in socks:
        sock.to(service, b"L" * 4000)
        service.to(sock, b"l" * 4000)
    port = service.end[1]
    service.sock.close()
    for sock in socks:
        sock.sock.sendto(b"nobody there", (netns.S4, port))
    t.settle()
    keys = {flow(UDP, sock.end, (netns.S4, port)): flow_hash(UDP, sock.end, (netns.S4, port)) % 3 == 0 for sock in socks}
    packets = on_wire(t, *keys)
    expect_equal(len(packets), 12 * (3 + 3 + 1 + 1), "packets of the target")
    kept = sum(keys.values())
    expect(0 < kept < 12, f"the ports happen to be all alike: {kept} of 12 sampled")
    copied = [p for p in packets if keys[p.key]]
    verdict(t, packets, copied, sampled=len(packets) - len(copied))


@case()
def sample_on_loopback(t):
    """Both ends of a connection on loopback are sampled alike, whichever is the target."""
    t.space("c")
    me, other = t.actor("c"), t.actor("c")
    t.up(sources=("lo",), stock=False)
    t.add(me, options=("--sample", "1/2"))
    pairs = []
    for number in range(16):
        one, two = Datagrams(me, where=LOOP), Datagrams(other, where=LOOP)
        pairs.append((one, two))
        first, second = (one, two) if number % 2 else (two, one)
        first.to(second)
        second.to(first)
    stranger = Datagrams(other, where=LOOP)
    stranger.to(stranger)
    t.settle()
    keys = {flow(UDP, one.end, two.end): flow_hash(UDP, one.end, two.end) % 2 == 0 for one, two in pairs}
    packets = on_wire(t, *keys, dev="lo")
    copied = [p for p in packets if keys[p.key]]
    expect_equal(len(packets), 32, "packets of the target")
    verdict(t, packets, copied, sampled=len(packets) - len(copied))


def rate_case(t, word, per_second, cost):
    """Far more than the rate allows: a full bucket at once, then what drips in, to the packet."""
    me, service, mine, theirs = cast(t)
    service.sock.setsockopt(1, 33, 1 << 26)
    t.up(stock=False)
    t.add(me, options=("--rate", word))
    began = time.monotonic()
    mine.to(service, b"first".ljust(100))
    first = time.monotonic()
    while time.monotonic() < first + 0.5:
        burst = time.monotonic()
        fast(me, mine, service.end, 400, size=100)
        answered(me)
        theirs.to(theirs)
    mine.sock.sendto(b"last".ljust(100), service.end)
    ended = time.monotonic()
    t.settle()
    packets = on_wire(t, flow(UDP, mine.end, service.end))
    frames = t.monitor.frames()
    used = sum(cost(p) for p in frames)
    least, most = per_second * (1 + burst - first), per_second * (1 + ended - began)     # a burst empties the bucket
    expect(used <= most, f"{used} in {ended - began:.3f} s, at most {most:.0f} by {word}")
    expect(used > least - 2 * cost(packets[0]), f"{used} in {burst - first:.3f} s, more than {least:.0f} were to be had by {word}")
    full = next(at for at in range(len(packets)) if sum(cost(p) for p in packets[:at + 1]) > per_second)
    expect_equal([p.frame for p in frames[:full]], [p.frame for p in packets[:full]], "the bucket was full at the start")
    verdict(t, packets, frames, rate=len(packets) - len(frames))


@case()
def rate_in_packets(t):
    """--rate 100pps."""
    rate_case(t, "100pps", 100, lambda p: 1)


@case()
def rate_in_bytes(t):
    """--rate 40kB."""
    rate_case(t, "40kB", 40000, lambda p: len(p.frame))


@case()
def rate_in_bits(t):
    """--rate 160kbit."""
    rate_case(t, "160kbit", 20000, lambda p: len(p.frame))


@case()
def rate_below_one_packet(t):
    """A packet that costs more than a full bucket passes a full one, and the debt is paid off before the next."""
    me, service, mine, theirs = cast(t)
    t.up(stock=False)
    t.add(me, options=("--rate", "200B"))
    some(service, theirs)
    for _ in range(5):
        mine.to(service, b"x" * 1000)
    t.settle()
    packets = on_wire(t, flow(UDP, mine.end, service.end))
    verdict(t, packets, packets[:1], rate=4)


def first_bytes(packets, limit):
    """Packets that begin within the first `limit` bytes of their flow."""
    seen, kept = Counter(), []
    for packet in packets:
        if seen[packet.key] < limit:
            kept.append(packet)
        seen[packet.key] += len(packet.frame)
    return kept


def first_case(t, version, *options):
    """Three flows of a target, sizes all different, both directions."""
    t.pair()
    t.need_ipv6()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    service, theirs = Datagrams(server, version), Datagrams(other, version)
    socks = [Datagrams(me, version) for _ in range(3)]
    t.up()
    t.add(me, options=("--first", 4000, *options))
    for number in range(12):
        for sock in (*socks, theirs):
            sock.to(service, b"u" * (100 + 37 * number))
            service.to(sock, b"d" * (300 + 41 * number))
    t.settle()
    packets = on_wire(t, *(flow(UDP, sock.end, service.end) for sock in socks))
    return packets, first_bytes(packets, 4000)


@case()
def first_ipv4(t):
    """--first 4000: packets that begin within the first 4000 bytes of their flow, both directions counted."""
    packets, kept = first_case(t, 4)
    expect(len(kept) < len(packets), "the flows are long enough")
    verdict(t, packets, kept, first=len(packets) - len(kept))


@case()
def first_ipv6(t):
    """The same over IPv6."""
    packets, kept = first_case(t, 6)
    verdict(t, packets, kept, first=len(packets) - len(kept))


@case()
def first_and_direction(t):
    """With --direction in both directions are counted still; what is out counts as that."""
    packets, kept = first_case(t, 4, "--direction", "in")
    copied = [p for p in kept if not p.outgoing]
    out = [p for p in packets if p.outgoing]
    verdict(t, packets, copied, direction=len(out), first=len(packets) - len(copied) - len(out))


@case()
def first_of_tcp(t):
    """A connection's handshake is always there, its end is not; a reused selection begins anew."""
    me, service, _, _ = cast(t)
    listener = Listener(service.actor)
    t.up(stock=False)
    for turn in range(2):
        t.add(me, options=("--first", "10kB"))
        stream = Stream(me, listener, port=7777)
        stream.talk(200, 200)
        before = t.get("stats")["mirrored"]
        stream.talk(200000, 10)
        middle = t.get("stats")
        expect(middle["mirrored"] > before, "the first bytes")
        stream.talk(1000, 1000, rounds=5)
        stream.close()
        t.settle()
        stats = t.get("stats")
        expect_equal(unbalanced(stats), [], "sums")
        expect_equal(stats["mirrored"], middle["mirrored"], f"copies behind the first bytes, turn {turn}")
        syn = [p for p in t.monitor.frames() if p.key == stream.key and p.flags & 2]
        expect_equal(len(syn), 2 * (turn + 1), "SYN and SYN-ACK among the copies")


@case()
def for_a_time(t):
    """--for 1s: everything until then, nothing after, and the clock runs from the command on."""
    me, service, mine, theirs = cast(t)
    t.up(stock=False)
    before = time.monotonic()
    t.add(me, options=("--for", "1s"))
    after = time.monotonic()
    sent, asked, over = 0, after, 0
    while not over:
        last, asked = asked, time.monotonic()
        some(service, mine, theirs, rounds=1)
        sent += 2
        over = t.get("stats")["limits"]["expired"]
    expect(time.monotonic() >= before + 1, "nothing expires before its time")
    expect(last < after + 1, f"{last - after:.3f} s after the command copies were still made")
    some(service, mine, theirs)
    t.settle()
    packets = on_wire(t, flow(UDP, mine.end, service.end))
    made = len(t.monitor.frames())
    expect(0 < made <= sent, f"{made} copies")
    verdict(t, packets, packets[:made], expired=len(packets) - made)


@case()
def of_the_instance(t):
    """Limits of `up` hold for targets without options; the same again goes on, others begin anew, none ends them."""
    me, service, mine, theirs = cast(t)
    t.up("--count", 4, stock=False)
    t.add(me)
    some(service, mine, theirs)
    t.mirrorctl("up", "eth0", "--count", 4)
    some(service, mine, theirs)
    t.mirrorctl("up", "eth0", "--count", 5)
    some(service, mine, theirs)
    t.mirrorctl("up", "eth0")
    some(service, mine, theirs)
    t.settle()
    packets = on_wire(t, flow(UDP, mine.end, service.end))
    verdict(t, packets, packets[:4] + packets[12:17] + packets[18:], count=9)


@case()
def from_the_file(t):
    """Limits in the configuration file; the command line counts more; a selection takes what it does not name."""
    me, service, mine, theirs = cast(t)
    conf = t.path("limits.conf")
    with open(conf, "w", encoding="ascii") as file:
        file.write("direction = in\ncount = 2\nsources = { eth0 }\n")
    t.mirrorctl("up", "--config", conf, "--count", "3")
    t.capture(stock=False)
    t.add(me)
    some(service, mine, theirs, rounds=5)
    t.mirrorctl("add-pid", "--count", 1, me.pid)
    some(service, mine, theirs, rounds=5)
    t.settle()
    packets = on_wire(t, flow(UDP, mine.end, service.end))
    copied = [packets[1], packets[3], packets[5], packets[11]]
    verdict(t, packets, copied, direction=10, count=6)


@case()
def the_last_command_counts(t):
    """add-pid again changes the options of a target, without a gap in its counters."""
    me, service, mine, theirs = cast(t)
    t.up(stock=False)
    t.add(me, options=("--count", 1))
    some(service, mine, theirs)
    t.add(me)
    some(service, mine, theirs)
    t.add(me, options=("--direction", "out"))
    some(service, mine, theirs)
    t.settle()
    packets = on_wire(t, flow(UDP, mine.end, service.end))
    verdict(t, packets, packets[:1] + packets[6:12] + packets[12::2], count=5, direction=3)
    expect_equal(t.get("list")["targets"][0]["packets"], 18, "packets of the target")


@case()
def children_share(t):
    """Children of --follow go by their parent's policy, and use up the same count; it is free when the last is gone."""
    me, service, mine, theirs = cast(t)
    t.up("--linger", 0, stock=False)
    t.add(me, options=("--follow", "--count", 6))
    child = me.fork()
    t.actors.append(child)
    child.where = "c"
    heir = Datagrams(child)
    some(service, mine, theirs, rounds=2)
    some(service, heir, theirs, rounds=2)
    t.settle()
    packets = on_wire(t, flow(UDP, mine.end, service.end), flow(UDP, heir.end, service.end))
    verdict(t, packets, packets[:6], count=2)


@case(timeout=120)
def numbers_come_back(t):
    """Sixty-three selections with options are the most; what is deleted or gone makes room, and a refused one changes
    nothing."""
    me, service, mine, theirs = cast(t)
    t.up("--linger", 0, stock=False)
    actors = [t.actor("c") for _ in range(63)]
    for actor in actors:
        t.mirrorctl("add-pid", "--count", 1, actor.pid)
    answer = t.mirrorctl("add-pid", "--count", 2, me.pid, status=FAILED)
    expect("63" in answer.err and len(answer.err.splitlines()) == 1, f"one line that says how many: {answer}")
    expect_equal(len(t.get("list")["targets"]), 63, "targets")
    t.mirrorctl("del-pid", actors[7].pid)
    t.add(me, options=("--count", 2))
    some(service, mine, theirs)
    t.mirrorctl("del-pid", me.pid)
    for _ in range(5):
        t.mirrorctl("add-pid", "--count", 1, me.pid)
        t.mirrorctl("del-pid", me.pid)
    t.add(me, options=("--count", 3))
    some(service, mine, theirs)
    t.settle()
    packets = on_wire(t, flow(UDP, mine.end, service.end))
    verdict(t, packets, packets[:2] + packets[6:9], count=7)


@case()
def of_a_run(t):
    """`run` with limits: from its first packet on."""
    t.pair()
    server = t.actor("s")
    service = Datagrams(server)
    t.up(stock=False)
    program = ("import socket; s = socket.socket(type=socket.SOCK_DGRAM)\n"
               f"for i in range(9): s.sendto(b'%d' % i, {service.end!r})")
    t.arm()
    t.mirrorctl("run", "--count", 4, "--", "python3", "-c", program)
    packets = [p for p in t.wires["eth0"].drain() if p.key and p.key[0] == UDP]
    expect_equal(len(packets), 9, "packets sent")
    verdict(t, packets, packets[:4], count=5)
