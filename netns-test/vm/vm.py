#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Runs the tests on Debian's kernels, each in a virtual machine, and prints TAP version 13.

usage: vm.py [--shell] [KERNEL]...

KERNEL is one of 5.10, 6.1, 6.12, 7.2 (default: all, or those that the variable KERNEL names). EXHAUSTIVE=1 runs all there
is; VM_CASES chooses cases as run.py does, VM_COLUMN steps (facts, filter, fentry, fallback, tap, score, score-fallback, settings),
or bench, by itself: what the mirror costs in the guest, into bench.json (VM_BENCH: words for netns-test/bench/main.py).
VM_TIMEOUT are the seconds a guest may take, VM_JOBS the guests at a time, VM_ACCEL the accelerator. Everything is kept below
.output/vm/: packages, images, console.log and guest.log of each kernel.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import image  # noqa: E402
import kernels  # noqa: E402
import machine  # noqa: E402
import plan  # noqa: E402
import table  # noqa: E402

OUT = os.path.join(image.TOP, os.environ.get("OUT", ".output"), "vm")
FILES = [".output/mirrorctl", ".output/test/bpf_test", ".output/test/bpf_filter_test", ".output/side.bpf.o", ".output/beside.bpf.o",
         ".output/bench/load"]
TIMEOUT_S = int(os.environ.get("VM_TIMEOUT", "86400" if os.environ.get("EXHAUSTIVE") == "1" else "2400"))
JOBS = int(os.environ.get("VM_JOBS", str(max(1, (os.cpu_count() or 1) // 2 + 1))))
RESULT = re.compile(r"^(not ok|ok) \d+ - (.*)$")
SKIP = re.compile(r" # SKIP (.*)$")


class Report:
    """The TAP stream of all kernels, which may talk at once."""

    def __init__(self):
        self.lock = threading.Lock()
        self.counts = {"passed": 0, "failed": 0, "skipped": 0}
        print("TAP version 13", flush=True)

    def result(self, verdict, text, reason="", detail=()):
        """One result; `detail` is printed below a failure."""
        word = "not ok" if verdict == "failed" else "ok"
        with self.lock:
            self.counts[verdict] += 1
            print(f"{word} {sum(self.counts.values())} - {text}" + (f" # SKIP {reason}" if verdict == "skipped" else ""))
            for line in detail if verdict == "failed" else ():
                print("# " + line)
            sys.stdout.flush()

    def end(self):
        """The plan and the totals; returns the exit status."""
        print(f"1..{sum(self.counts.values())}")
        print(", ".join(f"{self.counts[kind]} {kind}" for kind in ("passed", "failed", "skipped")), flush=True)
        return 1 if self.counts["failed"] else 0


class Guest:
    """Reads what one guest says and reports it."""

    def __init__(self, name, report, log, steps):
        self.name, self.report, self.log = name, report, log
        self.named = {step["label"]: sum(word.startswith("=") for word in step["argv"]) for step in steps}
        self.step = None
        self.planned = self.ran = 0
        self.facts = []
        self.bench = None
        self.results = {}       # step -> {verdict: count}
        self.done = False
        self.failure = None

    def result(self, verdict, text, reason="", detail=()):
        """Reports one result of the step that runs, and counts it."""
        step = self.results.setdefault(self.step, {"passed": 0, "failed": 0, "skipped": 0})
        step[verdict] += 1
        self.report.result(verdict, text, reason, detail)

    def line(self, line):
        """Takes one line."""
        self.log.write(line + "\n")
        self.log.flush()
        hit = RESULT.match(line)
        if line.startswith("@begin "):
            self.step, self.planned, self.ran = line.split()[1], None, 0
        elif line.startswith("@end "):
            self.flush()
            self.end(int(line.split()[2]))
        elif line.startswith("@skip "):
            _, label, reason = line.split(" ", 2)
            self.step = label
            self.result("skipped", f"{self.name} {label}", reason)
        elif line.startswith("@fact "):
            self.facts.append(json.loads(line[6:]))
        elif line.startswith("@bench "):
            self.bench = json.loads(line[7:])
        elif line == "@done":
            self.done = True
        elif line.startswith("@boot"):
            print(f"# {self.name}: {line[6:]} s to boot", flush=True)
        elif line.startswith("@cost"):
            print("# {}: {} s, {} s of the processors".format(self.name, *line.split()[1:]), flush=True)
        elif line.startswith("1.."):
            self.planned = int(line[3:].split()[0])
        elif hit and self.step:
            self.flush()
            self.ran += 1
            self.take(hit.group(1), hit.group(2))
        elif line.startswith("# ") and self.failure:
            self.failure[1].append(line[2:])

    def take(self, word, text):
        """One result of a step; a failure waits for its explanation."""
        skip = SKIP.search(text)
        if word == "not ok":
            self.failure = (f"{self.name} {self.step}: {text}", [])
        elif skip:
            reason = re.sub(r" \(\d+\.\d s\)$", "", skip.group(1))
            self.result("skipped", f"{self.name} {self.step}: {text[:skip.start()]}", reason)
        else:
            self.result("passed", f"{self.name} {self.step}: {text}")

    def flush(self):
        """Reports a failure whose explanation has ended."""
        if self.failure:
            self.result("failed", self.failure[0], detail=self.failure[1])
            self.failure = None

    def end(self, status):
        """A step is over: it must have run what it planned."""
        if self.step == "facts":
            self.result("failed" if status else "passed", f"{self.name}: mirrorctl up in both columns")
            for fact in self.facts:
                if "error" in fact or "down" in fact:
                    self.result("failed", f"{self.name} {fact['column']}: {fact.get('error', fact.get('down'))}")
                else:
                    row = fact["status"]["attribution"]
                    print(f"# {self.name} {fact['column']}: " + ", ".join(f"{k} {v}" for k, v in row.items()))
            over = table.over_budget(self.facts)
            self.result("failed" if over else "passed", f"{self.name}: verifier within its budget", detail=over)
        elif self.step == "bench":
            good = not status and self.bench and self.bench["rows"] and not self.bench["skipped"]
            self.result("passed" if good else "failed", f"{self.name}: all of the benchmark measured",
                        detail=[row["why"] for row in self.bench["skipped"]] if self.bench else [f"status {status}"])
        elif self.planned is None or self.ran != self.planned:
            self.result("failed", f"{self.name} {self.step}: ran {self.ran} of {self.planned} (status {status})")
        elif self.planned < self.named.get(self.step, 0):
            self.result("failed", f"{self.name} {self.step}: {self.named[self.step]} cases named, {self.planned} known")
        self.step = None


def prepare(name):
    """Fetches a kernel and builds its archives; returns (image, directory)."""
    release, kernel, modules = kernels.fetch(name, OUT)
    where = f"{OUT}/{name}"
    path = f"{where}/modules-{release}.cpio"
    if not os.path.exists(path) or os.path.getmtime(path) < os.path.getmtime(image.__file__):
        image.modules(path, release, modules)
    return kernel, where, path


def initrd(where, modules, job):
    """Puts together what the guest unpacks."""
    image.job(f"{where}/job.cpio", job)
    image.join(f"{where}/initrd", [f"{OUT}/base.cpio", modules, f"{where}/job.cpio"])
    return f"{where}/initrd"


def tail(path, count=8):
    """The last lines of a console."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return [line.rstrip() for line in file.readlines() if line.strip()][-count:]


def prepare_or_report(name, report):
    """prepare(); None, and a failure, where a kernel cannot be had and is not here from before."""
    try:
        return prepare(name)
    except kernels.Unavailable as why:
        report.result("failed", f"kernel {name}: cannot be fetched: {why}")
        return None


def test(name, parts, accel, report):
    """Everything on one kernel."""
    kernel, where, modules = parts
    job = plan.job(name, accel, TIMEOUT_S)
    path = initrd(where, modules, job)
    why = "it ended early"
    with open(f"{where}/guest.log", "w", encoding="utf-8") as log:
        guest = Guest(name, report, log, job["steps"])
        try:
            for line in machine.boot(kernel, path, accel, f"{where}/console.log", total_s=TIMEOUT_S, counted=plan.measuring()):
                guest.line(line)
        except machine.Silent as silent:
            why = str(silent)
        guest.flush()
    if not guest.done:
        report.result("failed", f"kernel {name}: {why}", detail=[*tail(f"{where}/guest.log", 3), *tail(f"{where}/console.log")])
    for what, value in (("bench", guest.bench), ("facts", guest.facts)):
        if value:   # a guest that did not come up leaves what was known
            with open(f"{where}/{what}.json", "w", encoding="utf-8") as file:
                json.dump(value, file, indent=1)
    keep_results(f"{where}/results.json", guest.results)


def keep_results(path, results):
    """Writes down what the steps of this run came to; of other steps it keeps what is there."""
    old = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            old = json.load(file)
    with open(path, "w", encoding="utf-8") as file:
        json.dump({**old, **results}, file, indent=1)


def shell(name):
    """An interactive guest at this terminal."""
    kernel, where, modules = prepare(name)
    accel = machine.accelerator(kernel, initrd(where, modules, plan.trial()), OUT)
    path = initrd(where, modules, plan.shell())
    return subprocess.run(machine.command(kernel, path, accel, "quiet", ["-serial", "mon:stdio"])).returncode


def main():
    """Runs what the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shell", action="store_true")
    parser.add_argument("kernels", nargs="*", metavar="KERNEL")
    options = parser.parse_args()
    names = options.kernels or os.environ.get("KERNEL", "").split() or list(kernels.SUITES)
    wrong = [name for name in names if name not in kernels.SUITES]
    if wrong:
        parser.error(f"no such kernel: {' '.join(wrong)} (there are {' '.join(kernels.SUITES)})")
    for tool in (machine.QEMU, "apt-get", "dpkg-deb", "depmod"):
        if not shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
            print(f"1..0 # SKIP no {tool} on this host")
            return 0
    os.makedirs(OUT, exist_ok=True)
    missing = image.base(f"{OUT}/base.cpio", FILES)
    if options.shell:
        return shell(names[0])
    report = Report()
    if missing:
        print(f"# not on this host, so not in the guest: {' '.join(missing)}")
    prepared = {name: prepare_or_report(name, report) for name in names}
    first = next((parts for parts in prepared.values() if parts), None)
    if first:
        accel = machine.accelerator(first[0], initrd(first[1], first[2], plan.trial()), OUT)
        with ThreadPoolExecutor(JOBS) as pool:
            for done in [pool.submit(test, name, parts, accel, report) for name, parts in prepared.items() if parts]:
                done.result()
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
