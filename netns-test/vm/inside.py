#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Runs in a guest: tells what the mirror makes of this kernel, one `@fact JSON` line for each column of design 4.2.

    inside.py facts     attribution, limits, hook and monitor type; instructions verified of every program
"""

import ctypes
import json
import os
import struct
import subprocess
import sys
import time

MIRRORCTL = "/mirror/.output/mirrorctl"
SYS_BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
PROG_GET_NEXT_ID, PROG_GET_FD_BY_ID, OBJ_GET_INFO_BY_FD = 11, 13, 15
INFO_LEN = 232
LATER_PROGRAMS = {"mir_egress", "mir_ingress", "mir_peer_egress", "mir_l3_egress", "mir_l3_ingress", "mir_loopback",
                  "mir_choose"}     # loaded when they are needed
GONE_S = 30
AT_NAME, AT_XLATED, AT_VERIFIED = 64, 20, 216   # in struct bpf_prog_info

libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attr):
    """bpf(2); returns (result, the attribute as the kernel left it)."""
    attr = ctypes.create_string_buffer(attr.ljust(128, b"\0"), 128)
    return libc.syscall(SYS_BPF, command, attr, 128), attr.raw


def programs():
    """{name: [instructions after rewriting, instructions the verifier went through]} of the mirror's programs. The second
    number is 0 where the kernel does not tell (before 5.16)."""
    found, ident = {}, 0
    while True:
        result, attr = bpf(PROG_GET_NEXT_ID, struct.pack("<I", ident))
        if result < 0:
            return found
        ident = struct.unpack_from("<I", attr, 4)[0]
        fd, _ = bpf(PROG_GET_FD_BY_ID, struct.pack("<I", ident))
        if fd < 0:
            continue
        info = ctypes.create_string_buffer(INFO_LEN)
        bpf(OBJ_GET_INFO_BY_FD, struct.pack("<IIQ", fd, INFO_LEN, ctypes.addressof(info)))
        os.close(fd)
        name = info.raw[AT_NAME:AT_NAME + 16].split(b"\0")[0].decode()
        if name.startswith("mir_"):
            found[name] = [struct.unpack_from("<I", info.raw, AT_XLATED)[0] // 8,
                           struct.unpack_from("<I", info.raw, AT_VERIFIED)[0]]


def mirrorctl(*words, disable=""):
    """Runs mirrorctl; returns (status, stdout, stderr)."""
    done = subprocess.run([MIRRORCTL, *words], capture_output=True, text=True, env={**os.environ, "MIRRORCTL_DISABLE": disable})
    return done.returncode, done.stdout, done.stderr.strip()


def ip(*words):
    """One iproute2 command."""
    subprocess.run(["ip", *words], check=True)


def devices():
    """Makes a source of every kind, so that every program is asked for; returns their names."""
    ip("netns", "add", "away")
    ip("link", "add", "near0", "type", "veth", "peer", "name", "far0", "netns", "away")
    ip("link", "add", "one0", "type", "veth", "peer", "name", "two0")
    ip("tuntap", "add", "tun0", "mode", "tun")
    for dev in ("near0", "one0", "tun0"):
        ip("link", "set", dev, "up")
    return ["lo", "near0", "one0", "tun0"]


def facts(column, disable):
    """Brings the mirror up with some abilities left out, and says what came of it."""
    fact = {"column": column, "release": os.uname().release}
    sources = devices()
    status, _, err = mirrorctl("up", *sources, disable=disable)
    if status:
        fact["error"] = err
    else:
        fact["status"] = json.loads(mirrorctl("-j", "status")[1])
        mirrorctl("up", *sources, "--sample", "1/2", disable=disable)
        fact["programs"] = programs()
        missing = LATER_PROGRAMS - set(fact["programs"])
        if missing:
            fact["error"] = f"not loaded: {' '.join(sorted(missing))}"
    down = mirrorctl("down")
    deadline = time.monotonic() + GONE_S
    while programs() and time.monotonic() < deadline:   # the kernel frees them when nobody can be running them
        time.sleep(0.1)
    left = programs()
    for dev in sources[1:]:
        ip("link", "delete", dev)
    ip("netns", "delete", "away")
    if down[0] or left:
        fact["down"] = down[2] or f"left behind: {' '.join(left)}"
    print("@fact " + json.dumps(fact), flush=True)
    return fact


def main():
    """Both columns; where there is no difference it is noted for the steps to come."""
    one, other = facts("fentry", ""), facts("fallback", "fentry")
    if "error" in one or "error" in other:
        return 1
    if one["status"]["attribution"] == other["status"]["attribution"]:
        with open("/run/same-columns", "w", encoding="ascii") as file:
            file.write("this kernel has one column only: fentry programs cannot use socket storage")
    return 0


if __name__ == "__main__":
    sys.exit(main())
