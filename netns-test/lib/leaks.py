# SPDX-License-Identifier: GPL-2.0-only
"""What a case may not leave behind: namespaces, pins, programs, links, maps, devices, qdiscs, run files."""

import contextlib
import json
import os
import re
import socket

from lib import netns, wait

BPFFS = "/sys/fs/bpf"
PRELOADED = {BPFFS + "/maps.debug", BPFFS + "/progs.debug"}     # the kernel's, since the first mount (CONFIG_BPF_PRELOAD)
RUN_FILES = "/run/mirrorctl"
GRACE_S = 8.0
INSTANCE = re.compile(r"/mirrorctl/[a-z0-9-]*?(\d{8,})")     # net-INODE and the like, also while made or removed


def _tree(top):
    found = set()
    for root, dirs, files in os.walk(top):
        found.update(os.path.join(root, name) for name in dirs + files)
    return found


def bpftool(*words):
    """Output of bpftool as parsed JSON; [] when it has nothing to say."""
    done = netns.run(["bpftool", "-j", *words], check=False)
    try:
        value = json.loads(done.stdout)
    except ValueError:
        return []
    return value if isinstance(value, list) else []


def instance(path):
    """The network namespace (inode number as text) a pin or run file of the mirror belongs to; None when it names none."""
    found = INSTANCE.search(path)
    return found[1] if found else None


def mirror_programs(others=()):
    """Ids of the mirror's programs in the kernel, but for those pinned by instances that are not ours."""
    return {entry["id"] for entry in bpftool("-f", "prog", "show")
            if entry.get("name", "").startswith("mir_")
            and not any(instance(pin) in others for pin in entry.get("pinned", []))}


def held_programs():
    """Ids of programs some living process has open. All processes of a case are gone when it is judged, so these are
    somebody else's."""
    held = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                if "bpf" in os.readlink(f"/proc/{pid}/fd/{fd}"):
                    with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as info:
                        held.update(int(number) for number in re.findall(r"prog_id:\s*(\d+)", info.read()))
    return held


def links(programs):
    """Ids of every link in the kernel that holds one of these programs."""
    return {entry["id"] for entry in bpftool("link", "show") if entry.get("prog_id") in programs}


def qdiscs(ns=None):
    """Every qdisc and filter of a namespace as text."""
    where = ["-n", ns] if ns else []
    lines = netns.run(["tc", *where, "qdisc", "show"]).stdout.splitlines()
    return {line.strip() for line in lines if " noqueue " not in line}


def devices(ns=None):
    """Names of the devices of a namespace."""
    with netns.inside(ns):
        return {name for _, name in socket.if_nameindex()}


def namespaces():
    """Names of all namespaces under /run/netns."""
    return set(os.listdir(netns.RUN_DIR)) if os.path.isdir(netns.RUN_DIR) else set()


def inodes(names):
    """Inode numbers of these namespaces, as instance() gives them."""
    found = set()
    for name in names:
        with contextlib.suppress(OSError):
            found.add(str(os.stat(os.path.join(netns.RUN_DIR, name)).st_ino))
    return found


def snapshot(others=()):
    """State of the host that must be the same before and after a case. `others` are instances that somebody else has in
    namespaces the case did not make: they may come and go meanwhile."""
    programs = mirror_programs(others)
    return {
        "namespace": namespaces(),
        "pin": {path for path in _tree(BPFFS) if instance(path) not in others} - PRELOADED - {BPFFS + "/mirrorctl"},
        "run file": {path for path in _tree(RUN_FILES) if instance(path) not in others},
        "program": programs,
        "link": links(programs),
        "device": set() if others else devices(),
        "qdisc": set() if others else qdiscs(),
    }


def other_instances(ours):
    """Namespaces with an instance on this host that are not among ours."""
    return {instance(path) for top in (BPFFS + "/mirrorctl", RUN_FILES) for path in _tree(top)} - set(ours) - {None}


def company(ours):
    """True while somebody else uses the mirror or namespaces on this host: then what names no namespace may be theirs."""
    return bool(other_instances(ours) or any(not name.startswith(netns.PREFIX) for name in namespaces()))


def left_over(before, ours):
    """What is there now and was not there before, as lines; waits for the kernel to finish freeing things."""
    lines = []

    def clean():
        lines.clear()
        # a namespace made meanwhile by somebody else may have been given the number of one of ours
        mine = ours - inodes(namespaces())
        now, shared = snapshot(other_instances(mine)), company(mine)
        held = held_programs()
        now["program"] -= held
        now["link"] = links(now["program"])
        for kind, was in before.items():
            if kind in ("device", "qdisc") and not (was and now[kind]):
                continue    # not looked at while somebody else was about
            new, gone = now[kind] - was, was - now[kind] if kind in ("device", "qdisc") else set()
            if shared:
                new = {item for item in new if kind == "namespace" and item.startswith(netns.PREFIX)
                       or kind in ("pin", "run file") and instance(item) in mine}
                gone = set()
            lines.extend(f"left behind: {kind} {item}" for item in sorted(new, key=str))
            lines.extend(f"gone: {kind} {item}" for item in sorted(gone, key=str))
        return not lines

    wait.within(clean, GRACE_S)
    return list(lines)
