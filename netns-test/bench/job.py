# SPDX-License-Identifier: GPL-2.0-only
"""(c) The whole job: packets of one process into a capture, by the mirror and by what people use without it."""

import contextlib

from bench.calls import nothing
from bench.place import PORT, SMALL, Capture, leaving_out
from bench.sample import paired
from bench.selected import kinds

SHARES = (1, 10, 50, 100)
GROUP = 7
MIRROR, SOURCE, NFLOG = "mirror, dumpcap on mon0", "dumpcap on the source, filter", "NFLOG, dumpcap"
CLONE = "floor: nothing but a clone by port, dumpcap on it"
FLOOR = "floor: the same, and empty programs at socket calls"
PART_SHARES = (1, 100)
PARTS = "job-parts"


def run(report, place):
    """One process of two that take turns is captured, at growing shares of all packets."""
    way = place.sent
    report.table("job", "Capturing one process's share of small UDP packets", "ratio", base="no program and no capture",
                 note="throughput against no program and no capture")
    report.table(PARTS, "Parts of that job, each by itself", "ratio", base="no program and no capture",
                 note="throughput against no program and no capture")
    report.table("job-against", "The mirror with dumpcap against dumpcap on the source", "ratio", base=SOURCE,
                 note="throughput against dumpcap's with a filter for the same packets")
    report.table("job-lost", "Selected packets that the capture does not hold", "percent", note="dropped before the file")
    sender = place.load(way.source, "share", way.to, PORT, SMALL)
    selected = [0]

    def measure(table="job", shares=SHARES):
        got = {}
        for share in shares:
            sent, took, mine, _ = sender.ask(place.ms, share)
            selected[0] += mine
            got[table, f"{share} %: "] = sent * 1e9 / took
        return got

    @contextlib.contextmanager
    def counted(name, dev, words=(), mirrored=None):
        capture = Capture(way.ns, dev, words=words)
        before = selected[0]
        try:
            yield
        finally:
            captured, dropped = capture.stop()
        want = mirrored() if mirrored else selected[0] - before
        report.add("job-lost", name, 100 * (want - captured) / want)
        if captured + dropped != want:
            report.facts[f"unaccounted: {name}"] = want - captured - dropped

    def mirror():
        with place.mirror(way):
            place.mirrorctl(way.ns, "add-pid", sender.other)
            with counted(MIRROR, "mon0", mirrored=lambda: place.json(way.ns, "stats")["mirrored"]):
                yield MIRROR

    def source():
        with counted(SOURCE, way.dev, ("-f", f"udp dst port {PORT + 1}")):
            yield SOURCE

    def nflog():
        with place.nft(way.ns, "ip", "type filter hook output priority 0;", f"udp dport {PORT + 1} log group {GROUP}"):
            with counted(NFLOG, f"nflog:{GROUP}"):
                yield NFLOG

    def floor():
        with contextlib.ExitStack() as stack:
            dev, seen = stack.enter_context(place.monitor(way.ns, kinds(place)[0]))
            stack.enter_context(place.clone(way, dev, PORT + 1))
            stack.callback(Capture(way.ns, seen).stop)
            yield CLONE
            stack.enter_context(nothing())
            yield FLOOR

    paired(report, [mirror, source, nflog, floor], measure, steady=True)
    paired(report, parts(place, way, sender), lambda: measure(PARTS, PART_SHARES), steady=True)
    for share in SHARES:
        mirrored, found, least = [("job", f"{share} %: {what}") for what in (MIRROR, SOURCE, FLOOR)]
        report.divide("job-against", f"{share} % selected", mirrored, found, least=1.0 if share <= 50 else 0.85,
                      floor=f"floor: {share} % selected")
        report.divide("job-against", f"floor: {share} % selected", least, found)
    place.drop(sender)


def parts(place, way, sender):
    """What the whole job is made of, each by itself."""
    def owners():
        with place.mirror(place.between):
            place.mirrorctl(way.ns, "add-pid", sender.other)
            yield "owner programs (mirror of another device)"

    def packets():
        with leaving_out("fentry,tp"), place.mirror(way):
            place.mirrorctl(way.ns, "add-pid", sender.other)
            yield "packet programs and copies (no tracepoints)"

    def both():
        with place.mirror(way):
            place.mirrorctl(way.ns, "add-pid", sender.other)
            yield "the whole mirror, no capture"

    def clone():
        with place.monitor(way.ns, kinds(place)[0]) as (dev, _), place.clone(way, dev, PORT + 1):
            yield "nothing but a clone by port"

    def unwanted():
        capture = Capture(way.ns, way.dev, words=("-f", f"udp dst port {PORT + 2}"))
        yield "dumpcap on the source, filter of nothing"
        capture.stop()

    return [owners, packets, both, clone, unwanted]
