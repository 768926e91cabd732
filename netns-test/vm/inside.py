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


def facts(column, disable):
    """Brings the mirror up with some abilities left out, and says what came of it."""
    fact = {"column": column, "release": os.uname().release}
    status, _, err = mirrorctl("up", "lo", disable=disable)
    if status:
        fact["error"] = err
    else:
        fact["status"] = json.loads(mirrorctl("-j", "status")[1])
        fact["programs"] = programs()
    down = mirrorctl("down")
    deadline = time.monotonic() + GONE_S
    while programs() and time.monotonic() < deadline:   # the kernel frees them when nobody can be running them
        time.sleep(0.1)
    left = programs()
    if down[0] or left:
        fact["down"] = down[2] or f"left behind: {' '.join(left)}"
    print("@fact " + json.dumps(fact), flush=True)
    return status


if __name__ == "__main__":
    sys.exit(facts("fentry", "") | facts("fallback", "fentry"))
