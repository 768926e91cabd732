# SPDX-License-Identifier: GPL-2.0-only
"""A tap beside other people's XDP programs: with libxdp's dispatcher both run, without it the port is refused."""

import contextlib
import os

import frames
from libxdp import beside
from world import BPFFS, Skip, equal, expect, inside, run

MODES = ("native", "generic")
BEFORE, AFTER = 10, 90      # places in the order; the tap's is libxdp's default, 50
DROPPED = 0x88B6            # what xdp/test/beside.bpf.c drops


def ports(world):
    """Interface indexes of both."""
    return [world.link(port)["ifindex"] for port in ("pa", "pb")]


def load(back=False):
    """(frames that pass, frames that the other program drops)"""
    source, target = (frames.SERVER_MAC, frames.CLIENT_MAC) if back else (frames.CLIENT_MAC, frames.SERVER_MAC)
    return frames.kinds(back), [frames.ether(DROPPED, bytes([n]) * 50, source, target) for n in range(5)]


def agree(world, other, crossed, seen):
    """The tap's counters are exact for the frames that reached it, the other program's for those that reached it."""
    for direction, number in zip(world.show()["directions"], crossed):
        for key in ("in", "forwarded", "wanted", "copied"):
            equal(direction[key], number, f"{direction['from']} > {direction['to']} {key}")
        equal(set(direction["failed"].values()) | set(direction["copy_failed"].values()), {0}, "failures")
    equal(other.counts(), seen, "the other program's frames seen and dropped")


@contextlib.contextmanager
def first(world, mode, priority):
    """The other program is on both ports before the tap; without a dispatcher the tap is refused, and the case ends."""
    with inside(world.box), beside(ports(world), mode, priority) as other:
        if other.alone(ports(world)[0]):
            _, err = world.mirrorctl("tap", "add", "t0", "pa", "pb", "--mode", mode, status=1)
            expect("'pa' has another XDP program" in err, err)
            raise Skip("this kernel refuses freplace programs, so libxdp's dispatcher does not load; the port was refused")
        yield other


def filter_before(world, mode):
    """another program that runs before the tap: what it drops neither crosses nor is copied, all else is exact"""
    before = world.ports()
    there, lost = load()
    back, lost_back = load(back=True)
    with first(world, mode, BEFORE) as other:
        world.add(mode=mode)
        equal(world.show()["attach"], "dispatcher", "attach")
        world.cross(there + lost, back + lost_back, copied=there + back, want_there=there, want_back=back)
        agree(world, other, (len(there), len(back)), (len(there + lost + back + lost_back), len(lost + lost_back)))
        world.mirrorctl("tap", "del", "t0")
        seen = other.counts()[0]
        world.cross(there, copied=[], want_there=[], monitor=None)
        equal(other.counts()[0], seen + len(there), "frames the other program sees when the tap is gone")
    equal(world.ports(), before, "state of the ports when both are gone")


def behind(world, mode):
    """another program that would run after the tap sees nothing of what the tap forwards"""
    there, lost = load()
    with first(world, mode, AFTER) as other:
        world.add(mode=mode)
        world.cross(there + lost, copied=there + lost)
        agree(world, other, (len(there + lost), 0), (0, 0))


def comes_and_goes(world, mode):
    """another program that comes while the tap runs, and goes again: the tap stays exact"""
    before = world.ports()
    world.add(mode=mode)
    if world.show()["attach"] == "single":
        raise Skip("this kernel refuses freplace programs, so libxdp's dispatcher does not load")
    there, lost = load()
    world.cross(there + lost)
    with inside(world.box), beside(ports(world), mode, BEFORE) as other:
        world.cross(there + lost, copied=there, want_there=there)
        agree(world, other, (2 * len(there) + len(lost), 0), (len(there + lost), len(lost)))
    world.cross(there + lost)
    agree_in = world.show()["directions"][0]["in"]
    equal(agree_in, 3 * len(there) + 2 * len(lost), "frames into the tap")
    world.mirrorctl("tap", "del", "t0")
    equal(world.ports(), before, "state of the ports when both are gone")


def without_dispatcher(world, mode):
    """a program that was attached alone, not by libxdp: the port is refused, the other one is as it was"""
    obj = os.path.join(os.path.dirname(__file__), "..", "..", ".output", "side.bpf.o")
    pin = f"{BPFFS}/tap{os.getpid()}pass"
    run(["bpftool", "prog", "loadall", obj, pin])
    try:
        run(["ip", "link", "set", "dev", "pb", "xdpgeneric" if mode == "generic" else "xdpdrv", "pinned", f"{pin}/mir_tap_pass"],
            ns=world.box)
        _, err = world.mirrorctl("tap", "add", "t0", "pa", "pb", "--mode", mode, status=1)
        expect("'pb' has another XDP program" in err, err)
        expect("xdp" in world.link("pb") and "xdp" not in world.link("pa"), "the other's program stays, ours went")
    finally:
        run(["rm", "-rf", pin])


def cases():
    """(name, function)"""
    for function in (filter_before, behind, comes_and_goes, without_dispatcher):
        for mode in MODES:
            yield f"beside.{function.__name__}@{mode}", lambda world, f=function, m=mode: f(world, m)
