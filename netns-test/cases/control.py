# SPDX-License-Identifier: GPL-2.0-only
"""The command itself: shapes of its answers, repetition, concurrency, permissions."""

import os
import random
import shutil
import stat
import subprocess

from lib import leaks, netns, wait
from lib.mirrorctl import BINARY, NOT_FOUND, NOT_PERMITTED, OK
from lib.packet import UDP, flow
from lib.registry import case, expect, expect_equal
from lib.traffic import Datagrams

LIST_KEYS = {"pid", "comm", "start_ns", "state", "follow", "shared", "parent", "sockets", "packets", "bytes", "failed"}
STATUS_KEYS = {"state", "netns", "monitor", "sources", "attribution", "limits"}
MONITOR_KEYS = {"name", "type", "ifindex", "mtu", "up", "identity", "snaplen"}
STATS_KEYS = {"seen", "unmatched", "matched", "mirrored", "failed", "malformed", "reasons", "failures", "announced"}
DELAY_US = 5000
FAILURES = {"no_monitor", "monitor_down", "congested", "no_l2", "too_long", "other"}
REASONS = {"socket", "listener", "linger", "icmp_id", "icmp_error", "raw", "fragment"}


def has(value, keys, what):
    """Fails unless all keys of the contract are there."""
    expect(keys <= set(value), f"{what} lacks {sorted(keys - set(value))}")


@case(disable=("", "tcx", "iter"))
def json_shapes(t):
    """list, status and stats have every field of the contract, with the right types and values."""
    t.pair()
    server, me = t.actor("s"), t.actor("c")
    service, mine = Datagrams(server), Datagrams(me)
    t.mirrorctl("up", "eth0", "lo")
    t.mirrorctl("add-pid", "--follow", me.pid)
    mine.to(service)
    row = t.get("list")["targets"][0]
    has(row, LIST_KEYS, "list")
    with open(f"/proc/{me.pid}/stat", encoding="ascii") as file:
        ticks = int(file.read().rsplit(")", 1)[1].split()[19])
    expect_equal(row["start_ns"] // 10_000_000, ticks * 100 // os.sysconf("SC_CLK_TCK"), "start time in 1/100 s")
    with open(f"/proc/{me.pid}/comm", encoding="ascii") as file:
        comm = file.read().strip()
    expect_equal([row[k] for k in ("pid", "comm", "state", "follow", "shared", "packets", "failed")],
                 [me.pid, comm, "running", True, False, 1, 0], "fields of the target")
    expect(row["sockets"] >= 1, f"sockets of the target: {row['sockets']}")
    status = t.get("status")
    has(status, STATUS_KEYS, "status")
    has(status["monitor"], MONITOR_KEYS, "status.monitor")
    for source in status["sources"]:
        has(source, {"dev", "ifindex", "hook", "ingress", "egress"}, "status.sources")
    has(status["attribution"], {"create", "accept", "use", "existing", "lifecycle"}, "status.attribution")
    expect_equal((status["state"], status["monitor"]["name"], status["monitor"]["up"], status["monitor"]["identity"]),
                 ("up", "mon0", True, "none"), "status")
    hook = "clsact" if "tcx" in t.spec.disable else None
    expect(all(source["hook"] == hook for source in status["sources"]) if hook else True, f"hook {hook}: {status}")
    if t.spec.disable == "iter":
        expect("pidfd" in status["attribution"]["existing"], f"fallback for existing sockets: {status['attribution']}")
    stats = t.get("stats")
    has(stats, STATS_KEYS, "stats")
    has(stats["reasons"], REASONS, "stats.reasons")
    has(stats["failures"], FAILURES, "stats.failures")
    for verb in ("list", "status", "stats"):
        expect(t.mirrorctl(verb).out.strip(), f"{verb} says something to people too")


@case()
def down_state(t):
    """Every question has an answer when nothing is up, and down is fine twice."""
    t.space("c")
    for _ in range(2):
        t.mirrorctl("down")
    expect_equal(t.get("status")["state"], "down", "state")
    expect_equal(t.get("list")["targets"], [], "targets")
    expect_equal(t.get("stats")["seen"], 0, "packets seen")
    for verb in ("list", "status", "stats"):
        t.mirrorctl(verb)
    t.mirrorctl("del-pid", "--all")
    t.mirrorctl("del-pid", 1, status=NOT_FOUND)


@case()
def up_twice_keeps_targets(t):
    """`up` again with the same arguments keeps targets and counters."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    service, mine, theirs = Datagrams(server), Datagrams(me), Datagrams(other)
    t.up()
    t.add(me)
    for _ in range(3):
        for sock in (mine, theirs):
            sock.to(service)
            service.to(sock)
        t.mirrorctl("up", "eth0")
        t.mirrorctl("add-pid", me.pid)
    t.owns(me, flow(UDP, mine.end, service.end))
    t.check()


@case()
def good_and_bad_pids(t):
    """Of several process ids the good ones are added, the bad ones named, status 3."""
    t.space("c")
    t.mirrorctl("up", "lo")
    one, two = t.actor("c"), t.actor("c")
    gone = t.actor("c")
    gone.kill()
    os.waitpid(gone.pid, 0)
    answer = t.mirrorctl("add-pid", one.pid, gone.pid, two.pid, status=NOT_FOUND)
    expect(str(gone.pid) in answer.err, f"the missing process is named: {answer}")
    expect_equal({row["pid"] for row in t.get("list")["targets"]}, {one.pid, two.pid}, "targets")
    answer = t.mirrorctl("del-pid", gone.pid, one.pid, status=NOT_FOUND)
    expect(str(gone.pid) in answer.err, f"what is no target is named: {answer}")
    expect_equal([row["pid"] for row in t.get("list")["targets"]], [two.pid], "targets")


@case()
def pins(t):
    """Pins live in a private directory of ours that any tool may read as root."""
    t.space("c")
    t.mirrorctl("up", "lo")
    top = t.pins()
    info = os.stat(top)
    expect_equal((stat.S_IMODE(info.st_mode), info.st_uid), (0o700, 0), "mode and owner of the pin directory")
    for name in ("targets", "stats", "owners"):
        expect(os.path.exists(f"{top}/{name}"), f"map {name} is pinned")
    dump = netns.run(["bpftool", "map", "dump", "pinned", f"{top}/targets"]).stdout
    expect("Found 0 elements" in dump or dump.strip() == "[]", f"no target yet: {dump}")


@case()
def foreign_pin_directory(t):
    """A pin directory that somebody else has made is not trusted, and not touched."""
    if not os.path.ismount("/sys/fs/bpf"):
        netns.run(["mount", "-t", "bpf", "bpf", "/sys/fs/bpf"])
    root = f"/sys/fs/bpf/{netns.PREFIX}trap"
    instance = f"{root}/net-{os.stat(netns.RUN_DIR + '/' + t.space('c')).st_ino}"
    os.makedirs(instance)
    try:
        os.chown(root, 65534, 65534)
        os.chown(instance, 65534, 65534)
        answer = t.mirrorctl("--pin-root", root, "up", "lo", status=None)
        expect(answer.status != OK and instance in answer.err or root in answer.err, f"the directory is named: {answer}")
        expect_equal(leaks.devices(t.space("c")), {"lo"}, "devices")
        expect_equal(os.listdir(instance), [], "files in somebody else's directory")
        t.mirrorctl("--pin-root", root, "status", status=None)
        t.mirrorctl("--pin-root", root, "down", status=None)
        expect(os.path.isdir(instance), "somebody else's directory is left in place")
    finally:
        for path in (instance, root):
            if os.path.isdir(path):
                os.rmdir(path)


@case()
def pin_root_goes(t):
    """Another mirror goes down and takes the directory of all pins with it, just when `up` has found that it is there."""
    t.need(shutil.which("strace"), "strace is not installed")
    root = f"/sys/fs/bpf/{netns.PREFIX}goes"
    trace = ("strace", "-qq", "-o", "/dev/null", "-P", root, "-e", "trace=mkdir", "-e", "inject=mkdir:error=EEXIST:when=1")
    t.mirrorctl("--pin-root", root, "up", "lo", prefix=trace)
    expect_equal(t.mirrorctl("-j", "--pin-root", root, "status").json["state"], "up", "state")
    t.mirrorctl("--pin-root", root, "down")


@case(disable=("", "iter"))
def counting_goes_on(t):
    """What programs note while mirrorctl changes switches beside them is not undone: each socket that could not carry an owner
    is counted, however long mirrorctl takes from one system call to the next."""
    t.need(shutil.which("strace"), "strace is not installed")
    me, other = t.actor("c"), t.actor("c")
    t.mirrorctl("up", "lo")
    t.mirrorctl("add-pid", me.pid)
    other.do("far = socket.socket(type=socket.SOCK_DGRAM)")
    made = 1
    with netns.optmem_max(t.space("c"), 64):
        for words in (("add-pid", other.pid), ("del-pid", other.pid), ("add-name", "nobody-has-it"), ("del-selector", 1)):
            proc = t.command.popen(t.space("c"), *words, prefix=("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=bpf", "-e",
                                                                 f"inject=bpf:delay_enter={DELAY_US}"))
            while proc.poll() is None:
                me.do("for _ in range(50): socket.socket(type=socket.SOCK_DGRAM).close()")
                made += 50
            errors = proc.communicate()[1]
            expect_equal(proc.returncode, OK, f"status of {words[0]}, which says {errors!r}")
    text = f"sockets: {made} could not carry an owner"
    limits = t.get("status")["limits"]
    expect(any(line.startswith(text) for line in limits), f"`{text}`: {limits}")


@case(disable=("", "tp", "iter", "count"))
def local_sockets(t):
    """Sockets that send no packets carry no owner, however a target uses them: `list` counts its others."""
    me = t.actor("c")
    t.mirrorctl("up", "lo")
    t.mirrorctl("add-pid", me.pid)
    me.do("one, two = socket.socketpair(); one.send(b'x'); two.recv(1)\n"
          "link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0); link.send(struct.pack('=IHHII', 16, 1, 0, 1, 0))")
    expect_equal([row["sockets"] for row in t.get("list")["targets"]], [0], "sockets with nothing but local and netlink ones")
    me.do("far = socket.socket(type=socket.SOCK_DGRAM)")
    expect_equal([row["sockets"] for row in t.get("list")["targets"]], [1], "sockets with one that sends packets")


@case(timeout=60)
def parallel_add_pid(t):
    """Sixteen mirrorctl at once, each adding a process, on a mirror that is down: none is lost."""
    t.pair()
    actors = [t.actor("c") for _ in range(16)]
    t.mirrored_in.add("c")
    procs = [t.command.popen(t.space("c"), "add-pid", actor.pid) for actor in actors]
    for proc in procs:
        _, err = proc.communicate(timeout=50)
        expect_equal(proc.returncode, OK, f"status of a parallel add-pid ({err.strip()})")
    expect_equal({row["pid"] for row in t.get("list")["targets"]}, {actor.pid for actor in actors}, "targets")
    half = actors[:8]
    procs = [t.command.popen(t.space("c"), "del-pid", actor.pid) for actor in half]
    for proc in procs:
        proc.communicate(timeout=50)
        expect_equal(proc.returncode, OK, "status of a parallel del-pid")
    expect_equal({row["pid"] for row in t.get("list")["targets"]}, {actor.pid for actor in actors[8:]}, "targets")


@case(timeout=90)
def parallel_mixture(t):
    """up, add-pid, status, stats, list and down in random order, six at a time: each ends well, nothing is left."""
    t.pair()
    actor = t.actor("c")
    t.mirrored_in.add("c")
    choice = random.Random(2)
    verbs = [("up", "eth0"), ("up", "lo"), ("add-pid", actor.pid), ("down",), ("status",), ("stats",), ("list",)]
    for _ in range(6):
        procs = [(verb, t.command.popen(t.space("c"), *verb)) for verb in choice.choices(verbs, k=6)]
        for verb, proc in procs:
            _, err = proc.communicate(timeout=50)
            expect_equal(proc.returncode, OK, f"status of a parallel {verb} ({err.strip()})")
    expect(t.get("status")["state"] in ("up", "down"), "status answers")


@case()
def not_root(t):
    """Without privileges every verb that needs them ends with status 4 and names what is missing."""
    t.space("c")
    copy = t.path("mirrorctl")
    netns.run(["install", "-m", "755", BINARY, copy])
    os.chmod(t.tmp, 0o755)
    verbs = [["up", "lo"], ["down"], ["add-pid", str(os.getpid())], ["del-pid", "--all"], ["run", "--", "true"], ["list"],
             ["status"], ["stats"]]

    def unprivileged(*words):
        def setup():
            netns.enter(t.space("c"))
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        return subprocess.run([copy, *words], capture_output=True, text=True, preexec_fn=setup, check=False)

    for words in verbs:
        done = unprivileged(*words)
        expect_equal(done.returncode, NOT_PERMITTED, f"status of {words} ({done.stderr.strip()})")
        expect("CAP_" in done.stderr or "cap_" in done.stderr, f"the capability is named: {done.stderr}")
        expect('"error"' in unprivileged("-j", *words).stdout, f"error object of {words}")
    for words in (["help"], ["version"], ["completion", "bash"], ["help", "up"]):
        expect_equal(unprivileged(*words).returncode, OK, f"status of {words}")
    expect_equal(leaks.devices(t.space("c")), {"lo"}, "devices")


@case()
def quiet_and_verbose(t):
    """-q silences notes but not errors; -v adds to stderr only; stdout stays data."""
    t.space("c")
    expect_equal(t.mirrorctl("-q", "up", "lo").err, "", "notes under -q")
    expect(t.mirrorctl("-q", "add-pid", "4194303", status=NOT_FOUND).err, "an error under -q")
    for words in (("-v", "status"), ("-v", "-v", "stats"), ("-v", "-v", "-v", "up", "lo")):
        t.mirrorctl("-j", *words).json if words[-1] in ("status", "stats") else t.mirrorctl(*words)


@case()
def own_bpffs(t):
    """Without a mounted bpffs mirrorctl mounts one; pins end with the mount namespace that holds it."""
    t.space("c")
    script = ("umount -l /sys/fs/bpf 2>/dev/null; set -e; \"$0\" up lo; \"$0\" -j status | grep -q '\"state\":\"up\"'; "
              "mountpoint -q /sys/fs/bpf; \"$0\" down; \"$0\" -j status | grep -q '\"state\":\"down\"'")
    done = netns.run(["unshare", "-m", "--propagation", "private", "sh", "-c", script, BINARY], t.space("c"), check=False)
    expect_equal(done.returncode, 0, f"up, status and down without bpffs: {done.stderr}")


@case()
def completion(t):
    """Completion scripts are accepted by their shells and know the verbs."""
    for shell in ("bash", "zsh", "fish"):
        script = t.command.run(None, "completion", shell).out
        expect("add-pid" in script and "snaplen" in script, f"completion of {shell} knows verbs and options")
        if shell == "bash":
            netns.run(["bash", "-n"], text_in=script)


@case()
def namespace_deleted_while_up(t):
    """A namespace that is deleted while its mirror is up: a new one, whatever its number, starts clean."""
    name = t.space("gone")
    t.command.run(name, "up", "lo")
    inode = os.stat(f"{netns.RUN_DIR}/{name}").st_ino
    netns.delete(name)
    for number in range(20):
        fresh = t.space(f"new{number}")
        if os.stat(f"{netns.RUN_DIR}/{fresh}").st_ino == inode:
            break
    else:
        t.need(False, "the kernel gave no new namespace the old one's number")
    wait.until(lambda: t.command.run(fresh, "-j", "status").json["state"] in ("up", "down"), "status")
    t.mirrored_in.add(f"new{number}")
    t.mirrorctl("up", "lo", key=f"new{number}")
    status = t.get("status", key=f"new{number}")
    expect_equal(({row["dev"] for row in status["sources"]}, status["monitor"]["up"]), ({"lo"}, True), "sources and monitor")
    me = t.actor(f"new{number}")
    t.mirrorctl("add-pid", me.pid, key=f"new{number}")
    me.do("a, b = (socket.socket(type=socket.SOCK_DGRAM) for _ in 'ab'); b.bind(('127.0.0.1', 0))\n"
          "a.sendto(b'x', b.getsockname())")
    expect_equal(t.get("stats", key=f"new{number}")["mirrored"], 1, "packets mirrored in the new namespace")
