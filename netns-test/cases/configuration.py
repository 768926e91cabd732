# SPDX-License-Identifier: GPL-2.0-only
"""Hosts that are set up in other ways: where cgroups are mounted, no type information, no bpffs, a capability that lacks."""

import os

from lib import leaks, netns
from lib.mirrorctl import BINARY, NOT_PERMITTED, OK, UNSUPPORTED
from lib.program import Groups
from lib.registry import case, expect, expect_equal
from lib.traffic import Listener, Stream

CGROUPS = "umount -R -l /sys/fs/cgroup; "
OLD = "mount -t tmpfs none /sys/fs/cgroup && mkdir /sys/fs/cgroup/old && " \
      "mount -t cgroup -o none,name=mirt none /sys/fs/cgroup/old"
# Capability -> verbs that can do without it.
CAPABILITIES = {
    "cap_bpf": (),
    "cap_perfmon": ("status", "stats"),
    "cap_net_admin": ("status", "stats", "list"),
    "cap_sys_ptrace": ("status", "stats", "list"),
    "cap_sys_admin": ("status", "stats", "list"),
}
VERBS = (("up", "lo"), ("add-pid", "1"), ("run", "--", "true"), ("down",), ("list",), ("status",), ("stats",))


def mounted(script, *more):
    """Prefix of a command that sees other mounts than its host."""
    return ["unshare", "-m", *more, "--propagation", "private", "sh", "-c", script + ' && exec "$@"', "sh"]


def alone(script):
    """The same where process 1, too, sees those mounts: a host of its own."""
    return mounted(CGROUPS + script, "--pid", "--fork", "--mount-proc")


def with_cgroups(t, prefix):
    """The mirror brought up where cgroups are mounted in some way is exact for sockets made afterwards."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    listener = Listener(server)
    t.mirrorctl("up", "eth0", prefix=prefix)
    t.capture()
    t.add(me)
    for who in (other, me):
        stream = Stream(who, listener)
        stream.talk()
        stream.close()
    t.owns(me, stream.key)
    t.check()
    expect_equal(t.tier("create"), "cgroup/sock_create", "who tells of new sockets")


@case()
def cgroup_v2_only(t):
    """cgroup v2 at /sys/fs/cgroup and nothing else."""
    with_cgroups(t, alone("mount -t cgroup2 none /sys/fs/cgroup"))


@case()
def cgroup_hybrid(t):
    """A hierarchy of the first version, with the second at /sys/fs/cgroup/unified."""
    with_cgroups(t, alone(f"{OLD} && mkdir /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified"))


@case()
def cgroup_v2_aside(t):
    """The first version at /sys/fs/cgroup, the second somewhere else."""
    os.mkdir(t.path("aside"))
    with_cgroups(t, alone(f"{OLD} && mount -t cgroup2 none {t.path('aside')}"))


@case()
def cgroup_v1_only(t):
    """The first version alone: the second is used without being mounted."""
    with_cgroups(t, alone(OLD))


def container(groups, *more):
    """Prefix of a command in a cgroup namespace, in which its own part of the hierarchy alone is mounted."""
    group = groups.make(f"/mirt{os.getpid()}")
    inside = ["unshare", "-C", "sh", "-c", CGROUPS + 'mount -t cgroup2 none /sys/fs/cgroup && exec "$@"', "sh"]
    return mounted(f"echo $$ >{groups.top}{group}/cgroup.procs", *more) + inside


@case()
def cgroup_namespace(t):
    """From within a container that shares the host's process ids."""
    host = ["unshare", "-m", "--pid", "--fork", "--mount-proc", "sh", "-c", '"$@"; exit $?', "sh"]      # that shell is process 1
    with Groups(t) as groups:
        with_cgroups(t, host + container(groups))
        said = t.mirrorctl("doctor", prefix=host + container(groups)).out
    expect("ok        cgroup v2              root of the hierarchy" in said, f"doctor: {said}")


@case()
def cgroup_part(t):
    """From within a container with process ids of its own: said by doctor, and by `up`."""
    t.space("c")
    with Groups(t) as groups:
        inside = container(groups, "--pid", "--fork", "--mount-proc")
        said = t.mirrorctl("doctor", prefix=inside).out
        expect("fallback  cgroup v2              a part of the hierarchy" in said, f"doctor: {said}")
        said = t.mirrorctl("up", "lo", prefix=inside).err
    expect("a part of the cgroup hierarchy" in said and said.count("\n") == 1, f"up: {said}")


@case()
def no_type_information(t):
    """Without /sys/kernel/btf every verb that loads says so with status 5, and nothing is left."""
    t.space("c")
    hidden = mounted("mount -t tmpfs none /sys/kernel/btf")
    for words in (("up", "lo"), ("add-pid", os.getpid()), ("run", "--", "true")):
        answer = t.mirrorctl("-j", *words, prefix=hidden, status=UNSUPPORTED)
        expect("CONFIG_DEBUG_INFO_BTF" in answer.err and answer.err.count("\n") == 1, f"says what lacks: {answer.err}")
        expect_equal(answer.json["error"]["code"], UNSUPPORTED, "code in JSON")
        expect_equal(t.get("status")["state"], "down", f"state after {words[0]}")
    expect_equal(leaks.devices(t.space("c")), {"lo"}, "devices")


@case()
def missing_capability(t):
    """Each capability left out alone: verbs that need it end with status 4 and name it; the others work."""
    name = t.space("c")
    t.mirrorctl("up", "lo")
    for lacking, able in CAPABILITIES.items():
        for words in VERBS:
            done = netns.run(["capsh", f"--drop={lacking}", "--", "-c", 'exec "$0" "$@"', BINARY, *words], name, check=False)
            want = OK if words[0] in able else NOT_PERMITTED
            expect_equal(done.returncode, want, f"status of {words[0]} without {lacking} ({done.stderr.strip()})")
            if want == NOT_PERMITTED:
                expect(f"lacks {lacking.upper()}:" in done.stderr and done.stderr.count("\n") == 1, f"names it: {done.stderr}")
    expect_equal((t.get("status")["state"], t.get("list")["targets"]), ("up", []), "instance as it was")
