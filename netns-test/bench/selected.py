# SPDX-License-Identifier: GPL-2.0-only
"""(b) What a selected packet costs, to each kind of monitor, beside the kernel's own ways to copy everything."""

import contextlib
import json
import subprocess

from bench.place import OTHER, SENDER, WIRE, setup
from bench.sample import Skipped, paired
from lib import netns, wait

IDENTITIES = ("none", "announce", "trailer", "ipfix")
TRANSFERS, GSO_BYTES, SINGLE_BYTES = 4, "100M", "5M"    # of one TCP sample: with super-packets, and with one segment a packet
AGAINST, LEAST = "selected-mirred", "selected-clone"
CLONE = "nothing but a clone"       # the row of the least program there can be


def kinds(place):
    """Kinds of monitor that this kernel has."""
    if netns.run(["ip", "-n", place.c, "link", "add", "trial", "type", "dummy"], check=False).returncode:
        return ("bridge", "veth")
    netns.run(["ip", "-n", place.c, "link", "del", "trial"])
    return ("dummy", "bridge", "veth")


def run(report, place):
    """UDP as it is sent and as it is received, TCP as it is sent."""
    report.table("selected-sent", "Selected small UDP packets, sent", "ratio", base="no program",
                 note="throughput against no program at all")
    report.table("selected-received", "Selected small UDP packets, received", "ratio", base="no program",
                 note="throughput against no program at all")
    report.table("selected-gso", "Selected TCP stream, sent, super-packets (GSO)", "ratio", base="no program",
                 note="throughput against no program at all")
    report.table("selected-single", "Selected TCP stream, sent, one segment a packet", "ratio", base="no program",
                 note="throughput against no program at all")
    report.table(AGAINST, "Mirror against mirred of everything, to the same kind of monitor", "ratio", base="mirred",
                 note="throughput against mirred's")
    report.table(LEAST, "Mirror against a program that does nothing but copy", "ratio", base=CLONE,
                 note="throughput against that program's")
    for name in ("sent", "received"):
        datagrams(report, place, getattr(place, name), name)
    stream(report, place)
    for kind in kinds(place):
        for name, text in (("sent", "UDP sent"), ("received", "UDP received"), ("gso", "TCP sent, GSO"),
                           ("single", "TCP sent, one segment a packet")):
            goal = {} if name in ("single", "received") else {"least": 1.0}
            row, floor = f"{text}, {kind}", f"floor: {CLONE}, {text}, {kind}"
            mirror, mirred, clone = [(f"selected-{name}", f"{what} to a {kind}") for what in ("mirror", "mirred", CLONE)]
            report.divide(AGAINST, floor, clone, mirred)
            report.divide(AGAINST, row, mirror, mirred, **goal, **({"floor": floor} if goal else {}))
            report.divide(LEAST, row, mirror, clone)


def blocks_of(place, way, targets, identities):
    """The mirror, mirred, the least program and nft dup, each to each kind of monitor."""
    def mirror(kind):
        def block():
            with place.mirror(way, "--monitor-type", kind):
                place.mirrorctl(way.ns, "add-pid", *targets)
                yield f"mirror to a {kind}"
                for identity in identities[1:]:
                    place.mirrorctl(way.ns, "up", way.dev, "--monitor-type", kind, "--identity", identity)
                    yield f"mirror to a {kind}, {identity}"
        return block

    def mirred(kind):
        def block():
            with place.monitor(way.ns, kind) as (dev, _), place.mirred(way, dev):
                yield f"mirred to a {kind}"
        return block

    def clone(kind):
        def block():
            with place.monitor(way.ns, kind) as (dev, _), place.clone(way, dev):
                yield f"{CLONE} to a {kind}"
        block.__name__ = f"{CLONE} to a {kind}"
        return block

    def nft_dup():
        with place.monitor(way.ns, "bridge") as (dev, _), place.nft_dup(way, dev):
            yield "nft dup to a bridge"

    found = kinds(place)
    return [*[mirror(kind) for kind in found], *[mirred(kind) for kind in found], *[clone(kind) for kind in found], nft_dup]


def datagrams(report, place, way, name):
    """Small UDP, all of it selected."""
    table = f"selected-{name}"
    report.table("base-selected", "What the ratios are ratios of: packets", "per second")
    with place.traffic(way) as (sender, to):
        paired(report, blocks_of(place, way, [(to or sender).pid], IDENTITIES if name == "sent" else IDENTITIES[:1]),
               lambda: {table: sender.rate(place.ms)}, steady=True, bases={table: ("base-selected", f"UDP {name}")})


@contextlib.contextmanager
def iperf3_server(ns):
    """An iperf3 server, which is the one that sends (-R)."""
    server = subprocess.Popen(["iperf3", "-s"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              preexec_fn=setup(ns, SENDER))
    try:
        wait.until(lambda: netns.run(["ss", "-Hlnt", "sport = 5201"], ns).stdout, "iperf3 to listen")
        yield server
    finally:
        server.kill()
        server.wait()


def iperf3(way, size):
    """Bits per second of the best of a few transfers from the server in way.source to a client in way.sink: whatever else the
    machine did can only have made one longer."""
    def transfer():
        done = subprocess.run(["iperf3", "-c", WIRE[0], "-R", "-n", size, "-J"], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, preexec_fn=setup(way.sink, OTHER), timeout=60)
        answer = json.loads(done.stdout or "{}")
        if "server is busy" in answer.get("error", ""):
            return None     # it has not yet done away with the last one
        if "error" in answer or "end" not in answer:
            raise Skipped(f"iperf3: {answer.get('error', done.stderr)}")
        return answer["end"]["sum_received"]["bits_per_second"]
    return max(wait.until(transfer, "iperf3's server to be done with the last transfer") for _ in range(TRANSFERS))


def stream(report, place):
    """TCP from a selected iperf3; devices hold super-packets, then one segment a packet."""
    way = place.between
    report.table("base-tcp", "What the ratios are ratios of: bits of TCP", "per second")

    def measure():
        got = {}
        for table, size, segments in (("selected-gso", GSO_BYTES, 65535), ("selected-single", SINGLE_BYTES, 1)):
            netns.ip(way.source, f"link set br0 gso_max_segs {segments}", f"link set wire0 gso_max_segs {segments}")
            got[table] = iperf3(way, size)
        return got

    with iperf3_server(way.source) as server:
        paired(report, blocks_of(place, way, [server.pid], IDENTITIES[:1])[:-1], measure,
               bases={"selected-gso": ("base-tcp", "GSO"), "selected-single": ("base-tcp", "one segment a packet")})
