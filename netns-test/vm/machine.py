# SPDX-License-Identifier: GPL-2.0-only
"""Boots one guest and hands back what it says on its second serial line."""

import os
import queue
import subprocess
import threading
import time

QEMU = {"x86_64": "qemu-system-x86_64", "aarch64": "qemu-system-aarch64"}.get(os.uname().machine, "qemu-system-x86_64")
MEMORY_MB = 2048
# Grace periods wait for nobody: making and removing namespaces is little else.
APPEND = "console=ttyS0 panic=-1 mitigations=off nowatchdog audit=0 rcupdate.rcu_expedited=1"
# Emulated, the string instructions that the kernel copies and clears memory with take many times what plain moves do, and a
# fifth level of page tables is work. 112 is X86_FEATURE_REP_GOOD. With one processor atomic operations are plain ones, and nobody
# is interrupted for another's sake: a third less work than with two.
EMULATED = "clearcpuid=112 init_on_alloc=0 tsc=reliable no_timer_check"
EMULATED_CPU = "max,la57=off,erms=off,fsrm=off"
# Time that no other work on this host disturbs: an instruction of the guest takes two nanoseconds, idle time is skipped.
COUNTED = ["-icount", "shift=1,sleep=off"]
KVM_TRIAL_S = 25


class Silent(Exception):
    """The guest did not come up, or stopped talking."""


def command(kernel, initrd, accel, append, console):
    """The emulator's command line."""
    cpu, processors, extra = ("host", "2", "") if accel == "kvm" else (EMULATED_CPU, "1", EMULATED)
    return [QEMU, "-accel", accel, "-cpu", cpu, "-smp", processors, "-m", str(MEMORY_MB), "-display", "none", "-nodefaults",
            "-no-reboot", "-kernel", kernel, "-initrd", initrd, "-append", f"{APPEND} {extra} {append}", *console]


def lines_of(proc):
    """Queue of the lines a process prints; None at the end."""
    lines = queue.Queue()

    def pump():
        for raw in proc.stdout:
            lines.put(raw.decode("utf-8", "replace").rstrip("\r\n"))
        lines.put(None)

    threading.Thread(target=pump, daemon=True).start()
    return lines


def cost(proc, began):
    """Collects the emulator; says what it took: seconds on the clock, seconds of the processors."""
    _, status, usage = os.wait4(proc.pid, 0)
    proc.returncode = os.waitstatus_to_exitcode(status)
    return f"@cost {time.monotonic() - began:.0f} {usage.ru_utime + usage.ru_stime:.0f}"


def boot(kernel, initrd, accel, log, append="quiet", first_s=300, total_s=3600, counted=False):
    """Boots and yields the guest's lines to its end. `counted`: an emulated guest's time is the number of its instructions.
    Raises Silent if the first line is late or time is over."""
    with open(log, "wb"):
        pass
    argv = command(kernel, initrd, accel, append, ["-serial", f"file:{log}", "-serial", "stdio"])
    argv += COUNTED if counted and accel == "tcg" else []
    proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    lines = lines_of(proc)
    began = time.monotonic()
    end = began + total_s
    deadline = time.monotonic() + first_s
    try:
        while True:
            try:
                line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise Silent("the guest did not boot" if deadline < end else f"not done after {total_s} s") from None
            if line is None:
                yield cost(proc, began)
                return
            if line.startswith("@boot"):
                deadline = end
            yield line
    finally:
        proc.kill()
        proc.wait()


def accelerator(kernel, initrd, out):
    """"kvm" where a guest really boots with it, else "tcg": some hosts have /dev/kvm and cannot. Remembered in `out`."""
    choice = os.environ.get("VM_ACCEL")
    memory = f"{out}/accelerator"
    if not choice and os.path.exists(memory):
        with open(memory, encoding="ascii") as file:
            choice = file.read().strip()
    if choice:
        return choice
    choice = "tcg"
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        try:
            if any(line == "@done" for line in boot(kernel, initrd, "kvm", f"{out}/kvm.log", first_s=KVM_TRIAL_S)):
                choice = "kvm"
        except Silent:
            pass
    with open(memory, "w", encoding="ascii") as file:
        file.write(choice + "\n")
    return choice
