# SPDX-License-Identifier: GPL-2.0-only
"""mirrorctl annotate on captures that dumpcap made on mon0: what stock tools read in the result, and what is not in it."""

import os
import shutil
import struct
import subprocess

from lib import netns
from lib.capture import read_pcapng
from lib.identity import is_announcement
from lib.mirrorctl import BINARY, FAILED, USAGE
from lib.packet import Packet
from lib.registry import Skip, case, expect, expect_equal
from lib.traffic import LOOP, Datagrams, Listener, Stream
from lib.tshark import Tshark

OUT_FIELDS = ("frame.packet_flags_direction", "frame.comment")


def conversation(t, identity, *more):
    """A capture of a target's TCP and UDP; returns its file, the target and the packets on the wire in order."""
    t.pair()
    server, me = t.actor("s"), t.actor("c")
    t.up("--identity", identity, *more)
    t.add(me)
    stream = Stream(me, Listener(server))
    stream.talk(3000, 5000)
    stream.close()
    service, mine = Datagrams(server), Datagrams(me)
    mine.to(service)
    service.to(mine)
    t.settle()
    t.monitor.frames()
    t.monitor.stop()
    t.monitor = None
    wire = [p.frame for p in t.wires["eth0"].drain() if p.key == stream.key or mine.end in (p.key or ())]
    return t.path("mon0.pcapng"), me, wire


def check_stock(*paths):
    """capinfos and tshark accept the files without a word."""
    if not shutil.which("tshark"):
        raise Skip("there is no tshark")
    for path in paths:
        done = subprocess.run(["capinfos", "-M", path], capture_output=True, text=True)
        expect(done.returncode == 0 and not done.stderr, f"capinfos {path}: {done.stderr}")
        done = subprocess.run(["tshark", "-n", "-r", path], capture_output=True, text=True)
        noise = [line for line in done.stderr.splitlines() if "Running as user" not in line]
        expect(done.returncode == 0 and not noise, f"tshark -r {path}: {noise}")


def options_of(path):
    """Options of each packet block, by code (pcapng 4.3)."""
    with open(path, "rb") as file:
        data = file.read()
    packets, at = [], 0
    while at < len(data):
        kind, length = struct.unpack_from("<II", data, at)
        if kind == 6:
            caught = struct.unpack_from("<I", data, at + 20)[0]
            here, options = at + 28 + (caught + 3) // 4 * 4, {}
            while here < at + length - 4:
                code, size = struct.unpack_from("<HH", data, here)
                options.setdefault(code, []).append(data[here + 4:here + 4 + size])
                here += 4 + (size + 3) // 4 * 4
            packets.append(options)
        at += length
    return packets


def modes(t, identity):
    """The three ways to write, from captures with one kind of identity."""
    mon0, me, wire = conversation(t, identity)
    shark = Tshark(t, plugin=False)
    full, moved, stripped = (t.path(name) for name in ("full.pcapng", "moved.pcapng", "stripped.pcapng"))
    for words in ((mon0, full), ("--move", mon0, moved), ("--strip", mon0, stripped)):
        t.mirrorctl("annotate", *words)
    check_stock(full, moved, stripped)
    expect_equal([data for data, _ in read_pcapng(full)], [data for data, _ in read_pcapng(mon0)], "frames as they were")
    for path in (moved, stripped):
        expect_equal([data for data, _ in read_pcapng(path)], wire, f"packets in {path}")
    process = struct.pack("<II", me.pid, 0)
    sends = [Packet(data).src == netns.C4 for data in wire]
    expect_equal([options.get(8) for options in options_of(moved)], [[process]] * len(wire), "epb_processid_threadid")
    rows = shark.rows(moved, "frame", *OUT_FIELDS)
    expect_equal([int(row[0], 0) for row in rows], [2 if out else 1 for out in sends], "directions")
    verbs = ["sends" if out else "receives" for out in sends]
    expect(all(row[1].startswith(f"mirror: python3[{me.pid}] uid=0 {verb}") for row, verb in zip(rows, verbs)), f"{rows[:2]}")
    expect_equal(len(shark.numbers(moved, f'frame.comment contains "[{me.pid}]"')), len(wire), "packets found by comment")
    with open(stripped, "rb") as file:
        data = file.read()
    expect(b"python3" not in data and struct.pack("!I", me.pid) not in data and process not in data, "names are left")
    t.mirrorctl("annotate", "--strip", full, t.path("again.pcapng"))
    with open(t.path("again.pcapng"), "rb") as file:
        data = file.read()
    expect(b"python3" not in data and process not in data, "names are left when an annotated file is stripped")


@case()
def announced(t):
    """Announcements: process, direction and comment on each packet; --move and --strip."""
    modes(t, "announce")


@case()
def trailers(t):
    """Trailers: the same; packets without them are the ones on the wire."""
    modes(t, "trailer")


@case()
def cut_packets(t):
    """Packets that the mirror cut get their original length back when the trailer goes."""
    mon0, _, wire = conversation(t, "trailer", "--snaplen", "64")
    t.mirrorctl("annotate", "--strip", mon0, t.path("out.pcapng"))
    got = read_pcapng(t.path("out.pcapng"))
    expect_equal([length for _, length in got], [len(frame) for frame in wire], "original lengths")
    expect_equal([data for data, _ in got], [frame[:64] for frame in wire], "captured bytes")


@case()
def pcap_and_pipes(t):
    """A pcap file (both byte orders, micro and nanoseconds) through pipes on both sides."""
    mon0, me, wire = conversation(t, "announce")
    for kind in ("pcap", "nsecpcap"):
        path = t.path(kind)
        subprocess.run(["editcap", "-F", kind, mon0, path], check=True, capture_output=True)
        with open(path, "rb") as file:
            data = file.read()
        head = struct.unpack("<IHHiIII", data[:24])
        other, at = struct.pack(">IHHiIII", *head), 24
        while at < len(data):
            words = struct.unpack_from("<IIII", data, at)
            other += struct.pack(">IIII", *words) + data[at + 16:at + 16 + words[2]]
            at += 16 + words[2]
        results = []
        for capture in (data, other):
            done = subprocess.run([BINARY, "annotate", "--move", "-", "-"], input=capture, capture_output=True)
            expect_equal((done.returncode, done.stderr), (0, b""), f"annotate {kind}")
            results.append(done.stdout)
        expect_equal(results[0], results[1], "both byte orders")
        with open(t.path("piped.pcapng"), "wb") as file:
            file.write(results[0])
        check_stock(t.path("piped.pcapng"))
        expect_equal([data for data, _ in read_pcapng(t.path("piped.pcapng"))], wire, "packets")
        shark = Tshark(t, plugin=False)
        expect_equal(shark.rows(t.path("piped.pcapng"), "frame", "frame.time_epoch"),
                     shark.rows(path, "!(eth.type == 0x88b5)", "frame.time_epoch"), "times")


@case()
def split(t):
    """One file per process; a packet between two processes of the host is in both."""
    t.space("c")
    client, server = t.actor("c"), t.actor("c")
    client.where = server.where = LOOP
    t.up("--identity", "announce", sources=("lo",))
    t.add(client, server)
    stream = Stream(client, Listener(server))
    stream.talk(500, 700)
    stream.close()
    t.mirrorctl("run", "--", "ping", "-c", "1", "127.0.0.1")
    t.settle()
    frames = [packet for packet in t.monitor.frames() if not is_announcement(packet.frame)]
    t.monitor.stop()
    t.monitor = None
    ping = next(row["pid"] for row in t.get("list")["targets"] if row["comm"] == "ping")
    t.mirrorctl("annotate", "--split", t.path("mon0.pcapng"), t.path("parts"))
    parts = {name: len(read_pcapng(os.path.join(t.path("parts"), name))) for name in os.listdir(t.path("parts"))}
    tcp = sum(packet.key == stream.key for packet in frames)
    expect_equal(parts, {f"python3-{client.pid}.pcapng": tcp, f"python3-{server.pid}.pcapng": tcp, f"ping-{ping}.pcapng": 2},
                 "files and their packets")
    check_stock(*(os.path.join(t.path("parts"), name) for name in parts))


@case()
def damaged(t):
    """Cut and damaged input: what came before is written, one clear line, exit 1."""
    mon0, _, wire = conversation(t, "announce")
    with open(mon0, "rb") as file:
        data = file.read()
    bad, out = t.path("bad.pcapng"), t.path("out.pcapng")

    def give(content):
        with open(bad, "wb") as file:
            file.write(content)
        answer = t.mirrorctl("annotate", "--move", bad, out, status=None)
        expect_equal(len(answer.err.splitlines()), answer.status and 1, f"lines of {answer}")
        return answer

    answer = give(data[:len(data) * 2 // 3])
    expect(answer.status == FAILED and "cut short" in answer.err, f"{answer}")
    got = [packet for packet, _ in read_pcapng(out)]
    expect(1 < len(got) < len(wire) and got == wire[:len(got)], "the packets before the cut")
    check_stock(out)
    at = 0
    for _ in range(5):
        at += struct.unpack_from("<I", data, at + 4)[0]
    answer = give(data[:at + 4] + b"\xff" * 4 + data[at + 8:])
    expect(answer.status == FAILED and ("damaged" in answer.err or "cut short" in answer.err), f"{answer}")
    for content in (b"", b"x", b"no capture at all", data[:3]):
        expect_equal(give(content).status, FAILED, f"status for {content!r}")
    expect_equal(t.mirrorctl("annotate", mon0, mon0, status=USAGE).out, "", "the input as output")
    expect_equal(t.mirrorctl("annotate", t.path("nothing"), out, status=FAILED).out, "", "no such file")
    with open(mon0, "rb") as file:
        expect_equal(file.read(), data, "the input is untouched")
