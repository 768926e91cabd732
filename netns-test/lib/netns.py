# SPDX-License-Identifier: GPL-2.0-only
"""Network namespaces joined by veth, silent by themselves: static neighbours, no DAD, no router solicitation, no MLD.

A namespace is entered with setns(CLONE_NEWNET) alone. `ip netns exec` would remount /sys and hide bpffs.
"""

import contextlib
import ctypes
import json
import os
import subprocess

from lib import wait

CLONE_NEWNET = 0x40000000
IFA_F_TENTATIVE = 0x40
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
RUN_DIR = "/run/netns"
PREFIX = f"mirt-{os.getpid()}-"     # of this run: two runs at once do not touch each other

C4, S4 = "10.11.0.1", "10.11.0.2"
C6, S6 = "fd00:11::1", "fd00:11::2"
C_MAC, S_MAC = "02:00:00:00:11:01", "02:00:00:00:11:02"

_libc = ctypes.CDLL(None, use_errno=True)


def prctl(option, value):
    """prctl(2) with one argument."""
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def setns_path(path):
    """Moves the calling thread into the network namespace that `path` names."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(fd, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {path}")
    finally:
        os.close(fd)


def enter(name):
    """Moves the calling thread into the named namespace; None stays where it is."""
    if name is not None:
        setns_path(f"{RUN_DIR}/{name}")


@contextlib.contextmanager
def inside(name):
    """Runs the body with the calling thread in the named namespace."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter(name)
        yield
    finally:
        _libc.setns(home, CLONE_NEWNET)
        os.close(home)


def child_setup(name):
    """preexec_fn of a command that shall run in a namespace and die with the test."""
    def setup():
        enter(name)
        prctl(PR_SET_PDEATHSIG, 9)
    return setup


def run(argv, name=None, text_in=None, check=True):
    """Runs a command in a namespace to its end; returns the CompletedProcess."""
    done = subprocess.run(argv, input=text_in, capture_output=True, text=True, preexec_fn=child_setup(name),
                          stdin=subprocess.DEVNULL if text_in is None else None)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)} (namespace {name}): {done.returncode}: {done.stderr.strip()}")
    return done


def ip(name, *lines):
    """Runs iproute2 commands, one per line, in a namespace."""
    run(["ip", "-n", name, "-batch", "-"], text_in="\n".join(lines) + "\n")


def ip_json(name, *words):
    """Output of an iproute2 command as parsed JSON."""
    out = run(["ip", "-n", name, "-j", "-d", *words]).stdout.strip()
    return json.loads(out) if out else []


def sysctl(name, key, value):
    """Writes one sysctl of a namespace."""
    with inside(name), open("/proc/sys/" + key, "w", encoding="ascii") as knob:
        knob.write(str(value))


@contextlib.contextmanager
def optmem_max(name, size):
    """Bytes of option memory that a socket of the namespace may have, for as long as the body runs. Before Linux 6.8 (commit
    f5769faeec36) there is one value for the host."""
    key = "/proc/sys/net/core/optmem_max"
    with inside(name):
        knob = os.open(key, os.O_RDWR) if os.path.exists(key) else -1
    if knob < 0:
        knob = os.open(key, os.O_RDWR)
    before = os.pread(knob, 64, 0)
    try:
        os.pwrite(knob, str(size).encode(), 0)
        yield
    finally:
        os.pwrite(knob, before, 0)
        os.close(knob)


def create(name):
    """Makes a namespace whose loopback is up."""
    run(["ip", "netns", "add", name])
    sysctl(name, "net/ipv6/conf/default/accept_ra", 0)
    sysctl(name, "net/ipv6/conf/default/router_solicitations", 0)
    sysctl(name, "net/ipv6/conf/default/addr_gen_mode", 1)
    ip(name, "link set lo up")


def delete(name):
    """Removes a namespace."""
    run(["ip", "netns", "delete", name], check=False)


def has_carrier(name, dev):
    """True when the device is up and its peer too."""
    return ip_json(name, "link", "show", "dev", dev)[0]["operstate"] == "UP"


def settled_addresses(name, dev):
    """True when no address of the device is tentative."""
    with inside(name), open("/proc/thread-self/net/if_inet6", encoding="ascii") as rows:
        return not any(words[5] == dev and int(words[4], 16) & IFA_F_TENTATIVE for words in map(str.split, rows))


def neighbours(name, dev, peer4, peer6, peer_mac):
    """Permanent neighbours: nobody ever asks for them."""
    ip(name,
       f"neigh replace {peer4} lladdr {peer_mac} dev {dev} nud permanent",
       f"neigh replace {peer6} lladdr {peer_mac} dev {dev} nud permanent")


def join(client, server, dev="eth0"):
    """Joins two namespaces by a veth pair called `dev` on both ends, addresses C4/C6 and S4/S6.

    The interface indexes differ because the kernel reports the carrier of a veth late (up to a second) when they are the
    same. ARP stays off: then the kernel joins no solicited-node group and never reports one."""
    run(["ip", "link", "add", dev, "index", "11", "address", C_MAC, "netns", client, "type", "veth",
         "peer", "name", dev, "index", "12", "address", S_MAC, "netns", server])
    ends = ((client, C4, C6, S4, S6, S_MAC), (server, S4, S6, C4, C6, C_MAC))
    for name, *_ in ends:
        ip(name, f"link set {dev} arp off", f"link set {dev} up")
    for name, addr4, addr6, *_ in ends:
        wait.until(lambda: has_carrier(name, dev), f"{dev} to come up")
        ip(name, f"addr add {addr4}/24 dev {dev}", f"addr add {addr6}/64 dev {dev} nodad")
    for name, _, _, peer4, peer6, peer_mac in ends:
        wait.until(lambda: settled_addresses(name, dev), f"addresses of {dev}")
        neighbours(name, dev, peer4, peer6, peer_mac)


def tcp_quiet(name):
    """True when no TCP socket of the namespace has anything in flight: no handshake or close under way, nothing
    unacknowledged. Then no acknowledgement is being delayed by its peer either."""
    settled = {"01", "05", "06", "07", "08", "0A"}
    with inside(name):
        for table in ("tcp", "tcp6"):
            with open(f"/proc/thread-self/net/{table}", encoding="ascii") as rows:
                for row in rows.readlines()[1:]:
                    words = row.split()
                    if words[3] not in settled:
                        return False
                    if words[3] != "0A" and not words[4].startswith("00000000:"):
                        return False
    return True
