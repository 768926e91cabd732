#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Process 1 of a test guest: mounts what a host has mounted, carries out /job.json, powers off.

What commands print goes to the second serial line, the kernel's messages to the first. A job is {"mounts": [...],
"modules": [...], "options": {module: text}, "shell": bool, "steps": [{"label", "argv", "env", "timeout", "unless",
"write": {file: text}}]}; each step is framed by `@begin LABEL` and `@end LABEL STATUS`, and left out (`@skip LABEL WHY`) if
the file `unless` exists, which says why, or if what it wants written first cannot be.
"""

import ctypes
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time

MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
REBOOT_OFF = 0x4321FEDC
CAP_NET_RAW = 13
MOUNTS = {
    "proc": ("proc", "/proc", "proc", ""),
    "sys": ("sysfs", "/sys", "sysfs", ""),
    "dev": ("devtmpfs", "/dev", "devtmpfs", ""),
    "pts": ("devpts", "/dev/pts", "devpts", "ptmxmode=0666"),
    "shm": ("tmpfs", "/dev/shm", "tmpfs", ""),
    "run": ("tmpfs", "/run", "tmpfs", "mode=755"),
    "tmp": ("tmpfs", "/tmp", "tmpfs", "mode=1777"),
    "bpf": ("bpf", "/sys/fs/bpf", "bpf", "mode=0700"),
    "trace": ("tracefs", "/sys/kernel/tracing", "tracefs", ""),
    "cgroup2": ("cgroup2", "/sys/fs/cgroup", "cgroup2", ""),
    "cgroup1": ("tmpfs", "/sys/fs/cgroup", "tmpfs", "mode=755"),
    "security": ("securityfs", "/sys/kernel/security", "securityfs", ""),
}
DEFAULT_MOUNTS = ["proc", "sys", "dev", "pts", "shm", "run", "tmp", "bpf", "trace", "security", "cgroup2"]
ENV = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/root", "TERM": "linux", "LANG": "C.UTF-8",
       "PYTHONDONTWRITEBYTECODE": "1", "MIRRORCTL": "/mirror/.output/mirrorctl"}

libc = ctypes.CDLL(None, use_errno=True)


def mount(name):
    """Mounts one of MOUNTS; a kernel without that file system is not an error."""
    source, target, kind, options = MOUNTS[name]
    os.makedirs(target, exist_ok=True)
    if libc.mount(source.encode(), target.encode(), kind.encode(), MS_NOSUID, options.encode()) and name == "proc":
        raise OSError(ctypes.get_errno(), "mount /proc")


def mount_controllers():
    """The old hierarchies, each where a host of the old kind has it."""
    for name in ("cpu", "memory", "pids", "net_cls,net_prio", "freezer"):
        target = f"/sys/fs/cgroup/{name}"
        os.makedirs(target, exist_ok=True)
        libc.mount(b"cgroup", target.encode(), b"cgroup", 0, name.encode())


def let_ping():
    """Gives ping(8) the capability that its package gives it, and that an archive of files does not carry (linux/capability.h:
    revision 2, effective)."""
    path = shutil.which("ping")
    if path:
        os.setxattr(os.path.realpath(path), "security.capability", struct.pack("<5I", 0x02000001, 1 << CAP_NET_RAW, 0, 0, 0))


def reason_to_skip(step):
    """Why a step cannot be carried out; None when it can, and everything is set for it."""
    if os.path.exists(step.get("unless", "")):
        with open(step["unless"], encoding="utf-8") as file:
            return file.read().strip()
    for path, text in step.get("write", {}).items():
        try:
            with open(path, "w", encoding="ascii") as file:
                file.write(text)
        except OSError as error:
            return f"this kernel takes no {text} in {path}: {error.strerror}"
    return None


def run(step, out):
    """Carries out one step; its status is that of the command, or 124 when its time is over."""
    why = reason_to_skip(step)
    if why:
        print(f"@skip {step['label']} {why}", file=out, flush=True)
        return
    print(f"@begin {step['label']}", file=out, flush=True)
    proc = subprocess.Popen(step["argv"], stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/mirror",
                            env={**ENV, **step.get("env", {})}, start_new_session=True)
    try:
        status = proc.wait(step.get("timeout", 600))
    except subprocess.TimeoutExpired:
        os.killpg(proc.pid, signal.SIGKILL)
        proc.wait()
        status = 124
    print(f"@end {step['label']} {status}", file=out, flush=True)


def shell():
    """Somebody sits at the first serial line."""
    os.setsid()
    tty = os.open("/dev/ttyS0", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(tty, fd)
    print("The repository is in /mirror. Leave the shell to power off.", flush=True)
    subprocess.run(["/usr/bin/bash", "-i"], cwd="/mirror", env=ENV,
                   preexec_fn=lambda: (os.setsid(), __import__("fcntl").ioctl(0, 0x540E, 1)))


def main():
    """From a naked kernel to power off."""
    with open("/job.json", encoding="ascii") as file:
        job = json.load(file)
    for name in job.get("mounts", DEFAULT_MOUNTS):
        mount(name)
    if "cgroup1" in job.get("mounts", []):
        mount_controllers()
    for path in ("/run/netns", "/var/lib"):
        os.makedirs(path, exist_ok=True)
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"),
                         ("stderr", "/proc/self/fd/2")):
        if not os.path.lexists("/dev/" + name):
            os.symlink(target, "/dev/" + name)
    os.environ.update(ENV)
    let_ping()
    os.makedirs("/etc/modprobe.d", exist_ok=True)
    for name, options in job.get("options", {}).items():
        with open(f"/etc/modprobe.d/{name}.conf", "w", encoding="ascii") as file:
            file.write(f"options {name} {options}\n")
    for name in job.get("modules", ()):
        subprocess.run(["modprobe", "-q", name])
    subprocess.run(["ip", "link", "set", "lo", "up"])
    if job.get("shell"):
        shell()
    else:
        with open("/dev/ttyS1", "w", encoding="utf-8", errors="backslashreplace") as out:
            subprocess.run(["stty", "-F", "/dev/ttyS1", "raw", "-echo"])
            print(f"@boot {os.uname().release} {time.clock_gettime(time.CLOCK_BOOTTIME):.1f}", file=out, flush=True)
            for step in job["steps"]:
                run(step, out)
            print("@done", file=out, flush=True)
            time.sleep(0.2)


try:
    main()
except BaseException as error:
    print(f"guest: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
finally:
    os.sync()
    libc.reboot(ctypes.c_uint(REBOOT_OFF))
    time.sleep(60)
