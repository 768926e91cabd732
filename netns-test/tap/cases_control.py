# SPDX-License-Identifier: GPL-2.0-only
"""What is refused, what is left alone, what is put back; the wire when the monitor fails."""

import json
import os
import subprocess

import frames
from world import BINARY, BPFFS, PIN_ROOT, equal, expect, run, until

MODES = ("native", "generic")
LIBXDP_DIR = BPFFS + "/xdp"     # of all users of libxdp: stays where it is used, is not left where it is not
WRONG = [
    (["tap"], "needs more"), (["tap", "frob"], "add, del or list"), (["tap", "add"], "more words"),
    (["tap", "add", "x", "pa"], "more words"), (["tap", "add", "x", "pa", "pb", "pc"], "one word too many"),
    (["tap", "add", "a.b", "pa", "pb"], "no name for a tap"), (["tap", "add", "a/b", "pa", "pb"], "no name for a tap"),
    (["tap", "add", "abcdefghijkl", "pa", "pb"], "1 to 11"), (["tap", "add", "", "pa", "pb"], "no name for a tap"),
    (["tap", "add", "x", "pa", "a/b"], "device name"),
    (["tap", "add", "x", "pa", "pb", "--mode", "offload"], "auto, native or generic"),
    (["tap", "add", "x", "pa", "pb", "--sample", "10"], "1/N"), (["tap", "add", "x", "pa", "pb", "--sample", "1/0"], "1/N"),
    (["tap", "add", "x", "pa", "pb", "--sample", "2/3"], "1/N"), (["tap", "add", "x", "pa", "pb", "--sample", "1/1000001"], "1/N"),
    (["tap", "add", "x", "pa", "pb", "--monitor", "abcdefghijkl"], "1 to 11 bytes"),
    (["tap", "add", "x", "pa", "pb", "--snaplen", "64"], "takes no option '--snaplen'"),
    (["tap", "add", "x", "pa", "pb", "--mode", "auto", "--mode", "auto"], "given twice"),
    (["tap", "del"], "more words"), (["tap", "del", "x", "y"], "fewer words"), (["tap", "list", "x"], "fewer words"),
    (["tap", "list", "--mode", "auto"], "takes no options"), (["tap", "del", "x", "--sample", "1/2"], "takes no options"),
    (["tap", "add", "x", "pa", "pb", *["--match", "port=1"] * 17], "at most 16 rules"),
    *[(["tap", "add", "x", "pa", "pb", "--match=" + rule], right) for rule, right in (
        ("", "conditions"), ("net", "conditions"), ("port=1,", "conditions"), ("port=1,port=2", "each once"),
        ("host=1.2.3.4", "conditions"), ("net=10.0.0.0/33", "prefix"), ("net=10.0.0", "prefix"), ("net=fd00::/129", "prefix"),
        ("net=1.2.3.4,peer=fd00::1", "one family"), ("net=", "prefix"), ("net=1.2.3.4/", "prefix"), ("proto=256", "0 to 255"),
        ("proto=", "0 to 255"), ("proto=http", "0 to 255"), ("port=65536", "0 to 65535"), ("port=9-8", "0 to 65535"),
        ("port=-1", "0 to 65535"), ("port=1-", "0 to 65535"), ("port=1 ", "0 to 65535"), ("vlan=4095", "0 to 4094"),
        ("vlan=x", "0 to 4094"))],
]


def wrong_usage(world):
    """every wrong word: exit 2, one sentence, nothing changed"""
    before = world.ports()
    for words, said in WRONG:
        out, err = world.mirrorctl(*words, status=2)
        expect(said in err and err.count("\n") == 1 and not out, f"{words}: {err!r} lacks {said!r}")
    out, _ = world.mirrorctl("-j", "tap", "add", "x", "pa", "pb", "--sample", "9", status=2)
    equal(json.loads(out)["error"]["code"], 2, "code")
    equal(world.ports(), before, "ports")


def refuse(world, a, b, status, said, *more):
    """add must fail, say why, and change nothing."""
    before = world.ports()
    pins = world.pins()
    _, err = world.mirrorctl("tap", "add", "x", a, b, *more, status=status)
    expect(said in err and err.count("\n") == 1, f"tap add x {a} {b}: {err!r} lacks {said!r}")
    equal(world.ports(), before, f"ports after the refusal of {a} {b}")
    equal(world.pins(), pins, "pins")


def refusals(world):
    """what can be no port: exit status and reason, ports as they were"""
    box = world.box
    refuse(world, "pa", "nosuch", 3, "there is no device 'nosuch'")
    refuse(world, "pa", "pa", 1, "given twice")
    refuse(world, "pa", "lo", 1, "'lo' is no Ethernet device")
    world.ip(box, "link", "add", "va", "type", "veth", "peer", "name", "vb")
    refuse(world, "pa", "va", 1, "'va' is down; 'ip link set va up'")
    world.ip(box, "link", "set", "va", "up")
    world.ip(box, "link", "set", "vb", "up")
    refuse(world, "va", "vb", 1, "two ends of one veth")
    world.ip(box, "link", "add", "br0", "type", "bridge")
    world.ip(box, "link", "set", "br0", "up")
    refuse(world, "pa", "br0", 1, "kind bridge")
    world.ip(box, "link", "set", "va", "master", "br0")
    refuse(world, "pa", "va", 1, "'va' belongs to 'br0'")
    if run(["ip", "-n", box, "link", "add", "ifb9", "type", "ifb"], check=False).returncode == 0:
        world.ip(box, "link", "set", "ifb9", "up")
        refuse(world, "pa", "ifb9", 1, "kind ifb")
    world.ip(box, "tuntap", "add", "tun9", "mode", "tun")
    world.ip(box, "link", "set", "tun9", "up")
    refuse(world, "pa", "tun9", 1, "no Ethernet device")
    refuse(world, "pa", "pb", 1, "device 'br0'", "--monitor", "br0")
    world.ip(box, "addr", "add", "10.77.0.1/24", "dev", "pb")
    refuse(world, "pa", "pb", 1, "has 1 address")
    world.ip(box, "addr", "del", "10.77.0.1/24", "dev", "pb")
    for dev in ("va", "br0"):
        world.ip(box, "link", "del", dev)
    world.mirrorctl("tap", "del", "x", status=3)


def loops(world):
    """a monitor, a source of the mirror and a port of another tap are no ports"""
    world.ip(world.box, "addr", "add", "10.77.0.1/24", "dev", "pb")
    world.mirrorctl("up", "pb", "--monitor", "mirr")
    world.ip(world.box, "addr", "del", "10.77.0.1/24", "dev", "pb")
    refuse(world, "pa", "pb", 1, "'pb' is a source of the mirror")
    refuse(world, "pa", "mirr", 1, "'mirr' is a monitor")
    world.mirrorctl("down")
    world.add()
    for port in ("mon0", "mon0-in"):
        refuse(world, "pa", port, 1, f"'{port}' is a monitor", "--monitor", "mon1")
    refuse(world, "pb", "pa", 1, "is a port of tap 't0'", "--monitor", "mon1")
    world.mirrorctl("tap", "add", "t0", "pb", "pa", status=1)
    world.mirrorctl("tap", "add", "t0", "pa", "pb", "--monitor", "mon1", status=1)
    world.mirrorctl("tap", "add", "t0", "pa", "pb", "--mode", "generic", status=1)
    world.cross(frames.kinds())


def put_back(world, mode):
    """del puts ports, other ends, addresses and devices back; add and del are idempotent"""
    world.ip(world.box, "addr", "add", "10.77.0.1/24", "dev", "pa")
    world.ip(world.box, "addr", "add", "10.78.0.1/30", "dev", "pb")
    before = world.ports()
    had_dir = os.path.exists(LIBXDP_DIR)
    for _ in range(3):
        world.add("--take-addresses", mode=mode)
        dispatcher = world.show()["attach"] == "dispatcher"
        expect("PROMISC" in world.link("pa")["flags"] and "PROMISC" in world.link("pb")["flags"], "promiscuous")
        equal(json.loads(world.ip(world.box, "-j", "-4", "addr", "show", "dev", "pa"))[:1], [], "addresses of a port")
        world.add("--take-addresses", mode=mode)
        world.cross(frames.kinds())
        world.mirrorctl("tap", "del", "t0")
        equal(world.ports(), before, "state after tap del")
        world.mirrorctl("tap", "del", "t0", status=3)
    equal(world.pins(), [], "pins")
    equal(os.path.exists(LIBXDP_DIR), had_dir or dispatcher, f"{LIBXDP_DIR} is there")


def older_kernels(world, mode):
    """without TCX and without tracepoints: clsact instead, a limit said, everything put back"""
    before = world.ports()
    world.env = {"MIRRORCTL_DISABLE": "tcx,tp"}
    world.add(mode=mode)
    expect(any("no tracepoints" in limit for limit in world.show()["limits"]), "the limit is said")
    world.cross(frames.kinds(), frames.kinds(back=True))
    world.mirrorctl("tap", "del", "t0")
    equal(world.ports(), before, "state after tap del")


def no_load_by_offset(world):
    """a kernel whose XDP programs cannot read by offset: status 5, the reason, ports as they were"""
    world.env = {"MIRRORCTL_DISABLE": "xdp"}
    refuse(world, "pa", "pb", 5, "bpf_xdp_load_bytes")


def promiscuous_stays(world, mode):
    """what the user had set stays set: promiscuous mode, IPv6, offloads"""
    world.ip(world.box, "link", "set", "pa", "promisc", "on")
    run(["ethtool", "-K", "eth0", "gro", "on", "tx", "off", "txvlan", "off"], ns=world.client)
    before = world.ports()
    world.add(mode=mode)
    world.mirrorctl("tap", "del", "t0")
    equal(world.ports(), before, "state after tap del")


def monitor_down(world, mode):
    """a monitor that is down at either end: all is forwarded, what is not copied is counted"""
    world.add(mode=mode)
    probe = frames.kinds()
    sent = 0
    for dev in ("mon0-in", "mon0"):
        world.ip(world.box, "link", "set", dev, "down")
        named = any("monitor mon0 is down" in limit for limit in world.show()["limits"])
        equal(named, dev == "mon0", "a limit names the monitor")
        world.cross(probe, probe, copied=[])
        sent += len(probe)
        for one in world.show()["directions"]:
            equal((one["in"], one["forwarded"], sum(one["failed"].values())), (sent, sent, 0), "counters of the wire")
            equal(one["copied"] + sum(one["copy_failed"].values()), sent, f"copies {one}")
        lost = sum(sum(one["copy_failed"].values()) for one in world.show()["directions"])
        equal(lost + world.show()["monitor"]["dropped"], 2 * sent, "copies lost")
        world.ip(world.box, "link", "set", dev, "up")
        until(lambda: "LOWER_UP" in world.link("mon0")["flags"], "the monitor's carrier")
    world.cross(probe, probe)


def monitor_deleted(world, mode):
    """a monitor that is deleted: all is forwarded; the same add makes it again"""
    world.add(mode=mode)
    probe = frames.kinds()
    world.ip(world.box, "link", "del", "mon0")
    world.cross(probe, probe, copied=[], monitor=None)
    expect(any("monitor mon0 is gone" in limit for limit in world.show()["limits"]), "a limit names the monitor")
    world.add(mode=mode)
    world.cross(probe, probe)
    one = world.show()["directions"][0]
    equal((one["forwarded"], one["copied"], one["copy_failed"]["down"]), (2 * len(probe), len(probe), len(probe)), "counters")


def monitor_full(world, mode):
    """a flood that the monitor's queue cannot take costs copies, never the count of forwarded frames"""
    world.add(mode=mode)
    flood = frames.sizes(1500)[:600]
    far = world.tap(world.server, "eth0", outgoing=False)
    world.send("client", flood * 4)
    until(lambda: world.show()["directions"][0]["in"] == 2400, "2400 frames in")
    until(lambda: sum(far.drain().values()) == world.show()["directions"][0]["forwarded"], "what is counted as forwarded to arrive")
    one = world.show()["directions"][0]
    equal(one["in"], one["forwarded"] + sum(one["failed"].values()), f"the sum of the wire {one}")
    equal(one["wanted"], one["copied"] + sum(one["copy_failed"].values()), f"the sum of the monitor {one}")


def monitor_is_silent(world, mode):
    """no copy reaches the host's stack, nothing the stack does reaches the monitor or the wire"""
    world.add(mode=mode)
    mac = bytes.fromhex(world.link("mon0")["address"].replace(":", ""))
    request = frames.ether(0x0806, bytes.fromhex("0001080006040001" "020000001101" "0a010001" "000000000000" "0a010002"),
                           dst=b"\xff" * 6)
    ping = frames.ether(0x0800, frames.ip4("10.1.0.1", "127.0.0.1", 1, b"\x08\0\xf7\xfd\0\1\0\1"), dst=mac)
    world.ip(world.box, "addr", "add", "10.1.0.2/32", "dev", "lo")
    world.cross([request, ping] * 5)
    link = json.loads(world.ip(world.box, "-j", "-s", "link", "show", "dev", "mon0"))[0]["stats64"]
    equal(link["tx"]["packets"], 0, "frames that mon0 sent")


def independent_of_down(world):
    """up and down of the mirror leave a tap alone, and the other way round"""
    world.add("--monitor", "tapmon")
    world.mirrorctl("up", "lo")
    world.cross(frames.kinds(), monitor="tapmon")
    world.mirrorctl("down")
    world.cross(frames.kinds(), frames.kinds(back=True), monitor="tapmon")
    world.mirrorctl("up", "lo")
    world.mirrorctl("tap", "del", "t0")
    equal(json.loads(world.mirrorctl("-j", "status")[0])["state"], "up", "state of the mirror")
    expect(not any("tap" in os.path.basename(path) for path in world.pins()), "pins of the tap")


def at_once(world):
    """many mirrorctl at once: one makes the tap, all agree; add and del in turns leave one or none"""
    def all_of(*commands):
        running = [subprocess.Popen([BINARY, "--netns", world.box, "tap", *words], stderr=subprocess.PIPE,
                                    stdout=subprocess.PIPE, text=True) for words in commands]
        return [(one.communicate(timeout=60)[1], one.returncode)[::-1] for one in running]

    add = ["add", "t0", "pa", "pb"]
    equal([status for status, _ in all_of(*[add] * 6)], [0] * 6, "statuses of six times tap add")
    world.cross(frames.kinds())
    for status, err in all_of(add, ["del", "t0"], ["list"], add, ["del", "t0"], add):
        expect(status in (0, 3), f"{status}: {err}")
    world.add()
    world.cross(frames.kinds())


def namespace_gone(world):
    """a tap whose namespace was deleted leaves pins that are no tap of the next namespace"""
    world.add()
    expect(world.pins(), "pins")
    stale = world.pins()[0]
    inode = world.inode
    run(["ip", "netns", "delete", world.box])
    run(["ip", "netns", "add", world.box])
    world.inode = os.stat(f"/run/netns/{world.box}").st_ino
    renamed = stale.replace(str(inode), str(world.inode))
    os.rename(stale, renamed)       # as if the number had been used again
    equal(world.show(), None, "a tap of the namespace that is gone")
    world.mirrorctl("tap", "del", "t0")
    expect(not os.path.exists(renamed), "the stale pins are gone")


def status_shows_it(world):
    """status lists the taps, also when the mirror is down; text and JSON"""
    equal(json.loads(world.mirrorctl("-j", "status")[0])["taps"], [], "no taps")
    world.add("--match", "port=53")
    taps = json.loads(world.mirrorctl("-j", "status")[0])["taps"]
    equal(taps, [world.show()], "taps of status and of tap list")
    text, _ = world.mirrorctl("status")
    expect("tap          t0: pa (up) = pb (up), monitor mon0 (up)" in text and "match        port=53" in text, text)
    line = [row for row in text.splitlines() if row.startswith("tap ")][0]
    equal(world.mirrorctl("tap", "list")[0].splitlines()[0], line, "text")


def pin_root_is_private(world):
    """a pin root that somebody else may enter is refused"""
    foreign = f"{PIN_ROOT}-tap{os.getpid()}"
    os.mkdir(foreign, 0o755)
    os.chmod(foreign, 0o755)
    try:
        _, err = world.mirrorctl("--pin-root", foreign, "tap", "add", "t0", "pa", "pb", status=4)
        expect("mode 0700" in err, err)
    finally:
        if os.path.isdir(foreign):
            os.rmdir(foreign)


def cases():
    """(name, function)"""
    for function in (wrong_usage, refusals, no_load_by_offset, loops, independent_of_down, at_once, namespace_gone, status_shows_it,
                     pin_root_is_private):
        yield f"control.{function.__name__}", function
    for function in (put_back, older_kernels, promiscuous_stays, monitor_down, monitor_deleted, monitor_full, monitor_is_silent):
        for mode in MODES:
            yield f"control.{function.__name__}@{mode}", lambda world, f=function, m=mode: f(world, m)
