# SPDX-License-Identifier: GPL-2.0-only
"""`mirrorctl run`: from the first packet on, signals passed, the command's own exit status returned."""

import json
import os
import pwd
import signal

from lib import netns, wait
from lib.mirrorctl import NOT_FOUND, USAGE
from lib.packet import TCP, UDP, flow
from lib.registry import case, expect, expect_equal
from lib.traffic import Datagrams, Listener

PYTHON = "/usr/bin/python3"


def short_lived(end):
    """Source of a program that sends one datagram as soon as it can, says from where, and ends."""
    return (f"import socket, json; s = socket.socket(type=socket.SOCK_DGRAM); s.sendto(b'gone', {end!r}); "
            f"print(json.dumps([s.getsockname()[1], __import__('os').getpid()]))")


@case(disable=("", "tcx", "iter"))
def short_lived_process(t):
    """A process that sends and ends at once: not one packet is missed, five times in a row."""
    t.pair()
    server, other = t.actor("s"), t.actor("c")
    service, stranger = Datagrams(server), Datagrams(other)
    t.up()
    t.arm()
    for _ in range(5):
        answer = t.mirrorctl("run", "--", PYTHON, "-c", short_lived(service.end))
        port, pid = json.loads(answer.out)
        service.sock.recvfrom(100)
        stranger.to(service)
        t.owns(pid, flow(UDP, (netns.C4, port), service.end))
    t.check()


@case()
def brings_the_mirror_up(t):
    """`run` without `up` starts the mirror with defaults; the mirror stays."""
    t.pair()
    server = t.actor("s")
    service = Datagrams(server)
    answer = t.mirrorctl("run", "--", PYTHON, "-c", short_lived(service.end))
    _, pid = json.loads(answer.out)
    service.sock.recvfrom(100)
    expect_equal(t.get("status")["state"], "up", "state after run")
    rows = t.get("list")["targets"]
    expect_equal([(row["pid"], row["packets"]) for row in rows], [(pid, 1)], "target and its packets")


@case()
def real_curl(t):
    """curl under `run` beside another curl: a whole transfer of a web page."""
    t.pair()
    os.makedirs(t.path("www"))
    with open(t.path("www/page"), "wb") as page:
        page.write(os.urandom(300000))
    web = t.popen("s", PYTHON, "-u", "-m", "http.server", "8000", "--directory", t.path("www"))
    wait.until(lambda: "Serving" in web.stdout.readline(), "the web server")
    t.up()
    t.arm()
    url = f"http://{netns.S4}:8000/page"
    other = t.popen("c", "curl", "-sS", "-o", "/dev/null", url)
    answer = t.mirrorctl("run", "--", "curl", "-sS", "-o", t.path("got"), "-w", "%{local_port}", url)
    other.communicate()
    expect_equal(os.path.getsize(t.path("got")), 300000, "bytes of the page")
    pid = t.get("list")["targets"][0]["pid"]
    t.owns(pid, flow(TCP, (netns.C4, int(answer.out)), (netns.S4, 8000)))
    t.check()


@case()
def exit_statuses(t):
    """Exit statuses of the command, 128 + number when a signal ended it, 127 and 126 as a shell."""
    t.space("c")
    t.mirrorctl("up", "lo")
    for status in (0, 1, 3, 42, 255):
        t.mirrorctl("run", "--", "sh", "-c", f"exit {status}", status=status)
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV):
        t.mirrorctl("run", "--", "sh", "-c", f"kill -{int(number)} $$", status=128 + number)
    t.mirrorctl("run", "--", "/nonexistent/command", status=127)
    t.mirrorctl("run", "--", "no-such-command-anywhere", status=127)
    with open(t.path("plain"), "w", encoding="ascii") as file:
        file.write("not a program\n")
    t.mirrorctl("run", "--", t.path("plain"), status=126)
    t.mirrorctl("run", "--", "/tmp", status=126)
    expect_equal([row["state"] for row in t.get("list")["targets"] if row["state"] != "exited"], [], "running targets")


@case()
def arguments_untouched(t):
    """Everything behind the command is its own, whatever it looks like; so are its environment and its descriptors."""
    t.space("c")
    t.mirrorctl("up", "lo")
    words = ["-j", "--follow", "--", "-x", "a b", "", "--help", "*", "\\"]
    source = "import sys, os, json; print(json.dumps([sys.argv[1:], os.environ.get('MIRROR_TEST'), sys.stdin.read(), " \
             "sorted(map(int, os.listdir('/proc/self/fd')))[:4]]))"
    t.command.env["MIRROR_TEST"] = "kept"
    for dashes in (["--"], []):
        proc = t.command.popen(t.space("c"), "run", *dashes, PYTHON, "-c", source, *words, stdin=-1)
        out, err = proc.communicate("typed", timeout=20)
        got = json.loads(out)
        expect_equal((got[0], got[1], got[2], err), (words, "kept", "typed", ""), "arguments, environment, input, stderr")
        expect_equal(len([fd for fd in got[3] if fd > 2]), 1, "descriptors beside the one that lists them")


@case()
def memory_limit_untouched(t):
    """The command has its caller's RLIMIT_MEMLOCK, although old kernels make us raise our own."""
    t.space("c")
    caller = ("prlimit", "--memlock=65536:65536")
    source = "import resource; print(*resource.getrlimit(resource.RLIMIT_MEMLOCK))"
    answer = t.mirrorctl("run", "--", PYTHON, "-c", source, prefix=caller)
    expect_equal(answer.out, "65536 65536\n", "soft and hard limit of the command")


def waiting(t, source, *options):
    """Starts `run` of a Python program that says "ready"; returns the process."""
    proc = t.command.popen(t.space("c"), "run", *options, "--", PYTHON, "-u", "-c", source)
    t.procs.append(proc)
    wait.until(lambda: "ready" in proc.stdout.readline(), "the command to be ready")
    return proc


@case()
def signals_passed(t):
    """SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2 reach the command; it decides what they do."""
    t.space("c")
    t.mirrorctl("up", "lo")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
        proc = waiting(t, f"import signal, sys\nsignal.pthread_sigmask(signal.SIG_BLOCK, [{int(number)}])\nprint('ready')\n"
                          f"signal.sigwait([{int(number)}])\nsys.exit(40 + {int(number)})")
        proc.send_signal(number)
        expect_equal(proc.wait(10), 40 + number, f"status of a command that caught signal {int(number)}")
        proc = waiting(t, f"import signal\nsignal.signal({int(number)}, signal.SIG_DFL)\nprint('ready')\nsignal.pause()")
        proc.send_signal(number)
        expect_equal(proc.wait(10), 128 + number, f"status of a command that signal {int(number)} ended")


@case()
def signal_dispositions(t):
    """The command starts with the caller's signal mask and dispositions, not with ours."""
    t.space("c")
    t.mirrorctl("up", "lo")
    grep = ["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]
    direct = netns.run(grep, t.space("c")).stdout
    expect_equal(t.mirrorctl("run", "--", *grep).out, direct, "signal masks")


@case()
def user(t):
    """--user runs the command as that user, with its groups and without our capabilities."""
    t.space("c")
    t.mirrorctl("up", "lo")
    nobody = pwd.getpwnam("nobody")
    source = "import os, json; s = open('/proc/self/status').read(); " \
             "print(json.dumps([os.getresuid(), os.getresgid(), s.split('CapEff:')[1].split()[0], " \
             "s.split('CapPrm:')[1].split()[0], os.getgroups()]))"
    uids, gids, effective, permitted, groups = json.loads(
        t.mirrorctl("run", "--user", "nobody", "--", PYTHON, "-c", source).out)
    expect_equal((set(uids), set(gids)), ({nobody.pw_uid}, {nobody.pw_gid}), "user and group ids")
    expect_equal((int(effective, 16), int(permitted, 16)), (0, 0), "capabilities")
    expect_equal(groups, os.getgrouplist("nobody", nobody.pw_gid), "groups")
    answer = t.mirrorctl("run", "--user", "no-such-user", "--", "true", status=None)
    expect(answer.status in (USAGE, NOT_FOUND), f"status 2 or 3: {answer}")
    t.mirrorctl("run", "--user", "nobody", "--", "sh", "-c", "exit 9", status=9)


@case()
def follow(t):
    """run --follow: a shell's children are mirrored, each under its own id."""
    t.pair()
    server = t.actor("s")
    service = Datagrams(server)
    t.up()
    t.arm()
    script = "for i in 1 2 3; do " + f"{PYTHON} -c \"{short_lived(service.end)}\"; done"
    answer = t.mirrorctl("run", "--follow", "--", "sh", "-c", script)
    for line in answer.out.splitlines():
        port, pid = json.loads(line)
        service.sock.recvfrom(100)
        t.owns(pid, flow(UDP, (netns.C4, port), service.end))
    t.check()
    expect_equal(len(t.get("list")["targets"]), 4, "the shell and its three children")


@case()
def other_namespace(t):
    """--netns: the command runs in that namespace, in our mount namespace."""
    t.pair()
    server = t.actor("s")
    service = Datagrams(server)
    t.up()
    t.arm()
    name = t.space("c")
    answer = t.command.run(None, "--netns", name, "run", "--", PYTHON, "-c", short_lived(service.end))
    port, pid = json.loads(answer.out)
    service.sock.recvfrom(100)
    t.owns(pid, flow(UDP, (netns.C4, port), service.end))
    t.check()
    mounts = t.command.run(None, "--netns", name, "run", "--", "readlink", "/proc/self/ns/mnt", "/proc/self/ns/net").out
    mnt, net = mounts.split()
    expect_equal(mnt, os.readlink("/proc/self/ns/mnt"), "mount namespace")
    expect_equal(net, f"net:[{os.stat(netns.RUN_DIR + '/' + name).st_ino}]", "network namespace")


@case()
def killed_mirrorctl(t):
    """kill -9 of `mirrorctl run` does not stop what it started, nor its mirroring."""
    t.pair()
    server = t.actor("s")
    listener = Listener(server)
    t.up()
    t.arm()
    proc = waiting(t, f"import socket\ns = socket.create_connection({listener.end!r})\nprint('ready')\n"
                      f"s.recv(10)\ns.sendall(b'still here')\n")
    sock, peer = listener.sock.accept()
    pid = t.get("list")["targets"][0]["pid"]
    proc.kill()
    proc.wait()
    sock.sendall(b"go")
    expect_equal(sock.recv_exactly(10), b"still here", "data")
    sock.close()
    t.owns(pid, flow(TCP, tuple(peer), listener.end))
    t.check()
