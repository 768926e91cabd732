# SPDX-License-Identifier: GPL-2.0-only
"""The process in stock tshark: plugin and profile on captures that stock dumpcap made on mon0."""

import glob
import json
import os
import subprocess
import time

from lib import netns, wait
from lib.capture import Dumpcap, read_pcapng
from lib.identity import is_announcement
from lib.mirrorctl import BINARY
from lib.registry import case, expect, expect_equal
from lib.traffic import LOOP, Datagrams, Listener, Stream
from lib.tshark import Tshark

MINE, FOREIGN = 4660, 4661


def finish(t):
    """Ends the capture once everything is in its file."""
    t.settle()
    t.monitor.frames()
    t.monitor.stop()
    return t.path("mon0.pcapng")


def capture_in(t, name):
    """An unlabelled capture of the source beside the monitor's."""
    return Dumpcap(t.space("c"), "eth0", t.path(name))


def join_files(t, one, other, path):
    """Two captures in one file, by time: a foreign conversation beside the mirrored one."""
    subprocess.run(["mergecap", "-w", t.path(path), one, other], check=True, capture_output=True)
    return t.path(path)


@case(timeout=60)
def ping_and_reply(t):
    """mirror.comm == "ping" shows the echoes and replies of the selected ping, and nothing of a foreign one in the file."""
    t.pair()
    shark = Tshark(t)
    t.up("--identity", "announce")
    everything = capture_in(t, "eth0.pcapng")
    words = ["ping", "-c", "3", "-i", "0.05"]
    foreign = t.popen("c", *words, "-e", str(FOREIGN), netns.S4)
    t.mirrorctl("run", "--", *words, "-e", str(MINE), netns.S4)
    foreign.communicate()
    wait.until(lambda: len(read_pcapng(t.path("eth0.pcapng"))) >= 12, "the frames of both pings")
    everything.stop()
    pid = str(t.get("list")["targets"][0]["pid"])
    mon0 = finish(t)
    rows = shark.rows(mon0, 'mirror.comm == "ping"', "icmp.type", "mirror.pid", "mirror.dir", "mirror.uid", "mirror.proc",
                      "mirror.announced_in")
    request, reply = (("8", pid, "out", "0", f"ping[{pid}]", "1"), ("0", pid, "in", "0", f"ping[{pid}]", "1"))
    expect_equal(rows, [request, reply] * 3, "rows of the selected ping")
    both = join_files(t, mon0, t.path("eth0.pcapng"), "both.pcapng")
    idents = {row[0] for row in shark.rows(both, f"mirror.pid == {pid}", "icmp.ident")}
    expect_equal({int(ident, 0) for ident in idents}, {MINE}, "identifiers under mirror.pid")
    expect_equal(len(shark.numbers(both, f"icmp.ident == {FOREIGN} && !mirror")), 6, "foreign packets, none labelled")
    expect_equal(shark.numbers(mon0, "mirror_announce"), [1], "announcements")
    expect_equal(len(shark.numbers(mon0, "icmp && !mirror")), 0, "packets without process")
    expect("6" in shark.run("-q", "-r", mon0, "-z", f"io,stat,0,COUNT(mirror.pid)mirror.pid&&mirror.pid=={pid}"), "io,stat")
    t.monitor = None


@case()
def profile(t):
    """The profile's process column, and tshark without plugin on the same file."""
    t.pair()
    shark = Tshark(t)
    expect_equal(len(shark.installed), 4, f"files installed: {shark.installed}")
    t.up("--identity", "announce")
    t.mirrorctl("run", "--", "ping", "-c", "1", netns.S4)
    mon0 = finish(t)
    pid = t.get("list")["targets"][0]["pid"]
    lines = shark.run("-C", "Mirror", "-r", mon0).splitlines()
    expect(all(f"ping[{pid}]" in line for line in lines) and len(lines) == 3, f"the packet list: {lines}")
    expect("ping[" in lines[1].split("ICMP")[0] and " in " in lines[2], f"columns: {lines}")
    packets = json.loads(shark.run("-r", mon0, "-T", "json", "-J", "mirror"))
    expect_equal(packets[1]["_source"]["layers"]["mirror"]["mirror.comm"], "ping", "JSON output")
    bare = Tshark(t, plugin=False).run("-r", mon0).splitlines()
    expect("0x88b5" in bare[0] and "Echo (ping) request" in bare[1] and len(bare) == 3, f"without the plugin: {bare}")
    removed = subprocess.run([BINARY, "wireshark", "remove", "--user"], env=shark.env, capture_output=True, text=True)
    expect_equal(removed.stdout.splitlines(), shark.installed, "files removed")
    left = [name for _, _, names in os.walk(shark.home) for name in names]
    expect_equal(left, [], "files left in the user's home")
    t.monitor = None


@case()
def loopback(t):
    """Both local processes of a conversation on loopback are in the fields, sender and receiver told apart."""
    t.space("c")
    shark = Tshark(t)
    client, server = t.actor("c", "client"), t.actor("c", "server")
    client.where = server.where = LOOP
    client.do("open('/proc/self/comm', 'w').write('asks')")
    server.do("open('/proc/self/comm', 'w').write('answers')")
    listener = Listener(server)
    t.up("--identity", "announce", sources=("lo",))
    t.add(client, server)
    stream = Stream(client, listener)
    stream.talk(500, 20000)
    stream.close()
    one, two = Datagrams(client), Datagrams(server)
    one.to(two)
    two.to(one)
    mon0 = finish(t)
    everything = len(shark.numbers(mon0, "tcp || udp"))
    rows = shark.rows(mon0, 'mirror.comm == "asks" && mirror.comm == "answers"', "mirror.pid", "mirror.dir", "ip.src",
                      "tcp.srcport", "udp.srcport")
    expect_equal(len(rows), everything, "packets of both processes")
    for pids, directions, _, *ports in rows:
        mine = str(one.port) in ports or not (str(listener.port) in ports or str(two.port) in ports)
        want = (client.pid, server.pid) if mine else (server.pid, client.pid)
        expect_equal((pids, directions), (f"{want[0]},{want[1]}", "out,in"), f"sender and receiver of {ports}")
    t.monitor = None


@case(timeout=60)
def ring_files(t):
    """A ring of files: each file of a conversation that goes on has its packets labelled, since it is announced again."""
    t.pair()
    shark = Tshark(t)
    server, me = t.actor("s"), t.actor("c")
    t.up("--identity", "announce", capture=False)
    ring = t.popen("c", "dumpcap", "-q", "-i", "mon0", "-b", "duration:12", "-w", t.path("ring.pcapng"))
    wait.until(lambda: glob.glob(t.path("ring_00001*")), "the first file")
    time.sleep(1)
    t.add(me)
    service, mine = Datagrams(server), Datagrams(me)
    end = time.monotonic() + 26
    while time.monotonic() < end:
        mine.to(service)
        time.sleep(0.2)
    ring.terminate()
    ring.communicate()
    files = sorted(glob.glob(t.path("ring_*")))
    expect(len(files) >= 3, f"files: {files}")
    for path in files[:2]:
        expect(shark.numbers(path, f"mirror.pid == {me.pid}"), f"labelled packets in {path}")
        expect_equal(shark.numbers(path, "udp && !mirror", more=("-2",)), [], "unlabelled packets with two passes")


def between(rows):
    """Number of a frame that has one of the same processor before and behind it: only such a gap can be seen, because each
    processor counts for itself."""
    for index in range(1, len(rows) - 1):
        number, cpu = rows[index]
        if any(row[1] == cpu for row in rows[:index]) and any(row[1] == cpu for row in rows[index + 1:]):
            return number
    raise AssertionError(f"no frame between two of its processor: {rows}")


@case(timeout=60)
def trailers(t):
    """A capture with trailers: the same fields, sequence numbers, lost frames; the Ethernet dissector sees no wrong bytes."""
    t.pair()
    shark = Tshark(t)
    server, me = t.actor("s"), t.actor("c")
    t.up("--identity", "trailer")
    t.add(me)
    stream = Stream(me, Listener(server))
    stream.talk(2000, 5000)
    stream.talk(300000, 1000)
    mon0 = finish(t)
    total = len(shark.numbers(mon0, "tcp"))
    expect_equal(len(shark.numbers(mon0, f"mirror.pid == {me.pid}")), total, "labelled packets")
    expect_equal(shark.numbers(mon0, "eth.fcs || eth.padding || _ws.malformed || mirror.lost"), [], "wrong or missing bytes")
    with_trailer = shark.rows(mon0, "mirror.seq", "mirror.seq", "mirror.ifindex", "frame.number", "mirror.reason")
    expect(10 < len(with_trailer) < total, "some packets are too long for a trailer")
    expect_equal({row[1] for row in with_trailer}, {"11"}, "source")
    t.settle()
    lost = between(shark.rows(mon0, "mirror.seq", "frame.number", "mirror.cpu"))
    subprocess.run(["editcap", mon0, t.path("lossy.pcapng"), lost], check=True, capture_output=True)
    expect_equal([row[0] for row in shark.rows(t.path("lossy.pcapng"), "mirror.lost", "mirror.lost")], ["1"], "lost frames")
    t.monitor = None


def ipfix(t, version):
    """IPFIX instead of announcements: tcp.proc.* without a plugin, mirror.* with it for UDP, too."""
    t.pair()
    bare, shark = Tshark(t, plugin=False), Tshark(t)
    server, me = t.actor("s"), t.actor("c")
    me.do("open('/proc/self/comm', 'w').write('fetcher')")
    t.up("--identity", "ipfix")
    t.add(me)
    stream = Stream(me, Listener(server, version))
    stream.talk(2000, 50000)
    one, two = Datagrams(me, version), Datagrams(server, version)
    one.to(two)
    two.to(one)
    stream.close()
    wait.until(lambda: t.monitor.passed() == sum(t.get("stats")[name] for name in ("mirrored", "announced")), "the frames")
    expect_equal(t.get("stats")["announced"], 2, "records")
    mon0 = finish(t)
    packets = len(bare.numbers(mon0, "tcp"))
    option = ("-o", "tcp.display_process_info_from_ipfix:TRUE")
    named = bare.numbers(mon0, f'(tcp.proc.srccmd == "fetcher" && tcp.proc.srcpid == {me.pid}) || tcp.proc.dstpid == {me.pid}',
                         more=option)
    expect_equal(len(named), packets - 1, "packets with tcp.proc.*, all but the first")
    expect_equal(len(bare.numbers(mon0, "cflow && !_ws.malformed && ip.checksum.status != 0")), 2, "records as tshark sees them")
    labelled = shark.numbers(mon0, f'mirror.comm == "fetcher" && mirror.pid == {me.pid}', more=("-2",))
    expect_equal(len(labelled), packets + 2, "packets with mirror.*")
    t.mirrorctl("annotate", "--strip", mon0, t.path("stripped.pcapng"))
    expect_equal(len(read_pcapng(t.path("stripped.pcapng"))), packets + 2, "packets left by --strip")
    t.mirrorctl("annotate", mon0, t.path("full.pcapng"))
    expect_equal(len(bare.numbers(t.path("full.pcapng"), f'frame.comment contains "fetcher[{me.pid}]"')), packets, "annotated")
    t.monitor = None


@case(timeout=60)
def ipfix_ipv4(t):
    """IPFIX over IPv4: stock tshark names the process of TCP packets."""
    ipfix(t, 4)


@case(timeout=60)
def ipfix_ipv6(t):
    """The same over IPv6."""
    t.need_ipv6()
    ipfix(t, 6)


@case()
def cut_by_capture(t):
    """dumpcap -s 96 cuts announcements behind the command: packets are labelled all the same."""
    t.pair()
    shark = Tshark(t)
    t.up("--identity", "announce", capture=False)
    dump = t.popen("c", "dumpcap", "-q", "-s", "96", "-i", "mon0", "-w", t.path("cut.pcapng"))
    wait.until(lambda: "File:" in dump.stdout.readline(), "dumpcap")
    t.mirrorctl("run", "--", "ping", "-c", "2", "-i", "0.05", "-s", "1000", netns.S4)
    wait.until(lambda: len(read_pcapng(t.path("cut.pcapng"))) == 5, "the frames")
    dump.terminate()
    dump.communicate()
    frames = read_pcapng(t.path("cut.pcapng"))
    expect_equal([len(data) for data, _ in frames], [96] * 5, "captured lengths")
    expect_equal(shark.numbers(t.path("cut.pcapng"), 'mirror.comm == "ping"'), [2, 3, 4, 5], "labelled packets")


@case(timeout=60)
def fragments_and_errors(t):
    """Every fragment and an ICMP error carry the process of their conversation; so do packets before it, in two passes."""
    t.pair()
    shark = Tshark(t)
    server, me = t.actor("s"), t.actor("c")
    t.up("--identity", "announce")
    t.add(me)
    service, mine = Datagrams(server), Datagrams(me)
    mine.to(service, b"f" * 5000)
    service.to(mine, b"f" * 5000)
    mine.sock.sendto(b"nobody listens", (netns.S4, 9))
    wait.until(lambda: t.get("stats")["reasons"]["icmp_error"] == 1, "the error")
    copies = [not is_announcement(data) for data, _ in read_pcapng(finish(t))]
    mon0 = t.path("mon0.pcapng")
    expect_equal(shark.numbers(mon0, f"mirror.pid == {me.pid}"), [i for i, copy in enumerate(copies, 1) if copy], "labelled")
    expect_equal(len(shark.numbers(mon0, f"icmp && mirror.pid == {me.pid} && mirror.dir == \"in\"")), 1, "the error")
    for name, number in (("packet.pcapng", copies.index(True) + 1), ("head.pcapng", 1)):
        subprocess.run(["editcap", "-r", mon0, t.path(name), str(number)], check=True, capture_output=True)
    late = t.path("late.pcapng")
    subprocess.run(["mergecap", "-a", "-w", late, t.path("packet.pcapng"), t.path("head.pcapng")], check=True)
    expect_equal(shark.rows(late, "ip", "mirror.pid", more=("-2",)), [(str(me.pid),)], "a packet before its announcement")
    t.monitor = None
