# SPDX-License-Identifier: GPL-2.0-only
"""Wrong input of every kind: the documented status, one line that names the object, and a kernel that stays as it was."""

import subprocess

from lib import leaks, netns
from lib.mirrorctl import BINARY, FAILED, NOT_FOUND, OK, USAGE
from lib.registry import Failure, case, expect, expect_equal

GONE = "4194303"    # one below the largest pid_max: no test host runs that many processes

# (words, status, what the message has to name)
USAGE_ERRORS = [
    ([], USAGE, "VERB"),
    (["frobnicate"], USAGE, "frobnicate"),
    (["ad-pid", "1"], USAGE, "ad-pid"),
    (["--frobnicate", "status"], USAGE, "--frobnicate"),
    (["-x", "status"], USAGE, "-x"),
    (["--netns"], USAGE, "--netns"),
    (["--pin-root"], USAGE, "--pin-root"),
    (["--netns", "no-such-namespace", "status"], NOT_FOUND, "no-such-namespace"),
    (["--netns", "../../etc/passwd", "status"], None, "passwd"),
    (["--pin-root", "/tmp", "up", "lo"], None, "/tmp"),
    (["--pin-root", "relative", "up", "lo"], None, "relative"),
    (["up", "--frobnicate"], USAGE, "--frobnicate"),
    (["up", "no-such-dev"], NOT_FOUND, "no-such-dev"),
    (["up", "lo", "no-such-dev"], NOT_FOUND, "no-such-dev"),
    (["up", ""], USAGE, "up"),
    (["up", "a/b"], USAGE, "a/b"),
    (["up", "a:b"], USAGE, "a:b"),
    (["up", ".."], USAGE, ".."),
    (["up", "a b"], USAGE, "a b"),
    (["up", "name-of-sixteen-"], USAGE, "name-of-sixteen-"),
    (["up", "lo", "--monitor"], USAGE, "--monitor"),
    (["up", "lo", "--monitor", ""], USAGE, "--monitor"),
    (["up", "lo", "--monitor", "a/b"], USAGE, "a/b"),
    (["up", "lo", "--monitor", "name-too-long-for-us"], USAGE, "name-too-long-for-us"),
    (["up", "lo", "--monitor", "lo"], None, "lo"),
    (["up", "lo", "--monitor-type", "ifb"], USAGE, "ifb"),
    (["up", "lo", "--monitor-type"], USAGE, "--monitor-type"),
    (["up", "lo", "--identity", "loud"], USAGE, "loud"),
    (["up", "lo", "--snaplen", "x"], USAGE, "x"),
    (["up", "lo", "--snaplen", "-1"], USAGE, "--snaplen"),
    (["up", "lo", "--snaplen", "1"], USAGE, "1"),
    (["up", "lo", "--snaplen", "65536"], USAGE, "65536"),
    (["up", "lo", "--snaplen", "4294967296"], USAGE, "4294967296"),
    (["up", "lo", "--snaplen", "64k"], USAGE, "64k"),
    (["up", "lo", "--snaplen", "0x40"], USAGE, "0x40"),
    (["up", "lo", "--snaplen", ""], USAGE, "--snaplen"),
    (["up", "lo", "--snaplen", " 64"], USAGE, "64"),
    (["up", "lo", "--linger", "soon"], USAGE, "soon"),
    (["up", "lo", "--linger", "-5"], USAGE, "--linger"),
    (["up", "lo", "--linger", "18446744073709551616"], USAGE, "18446744073709551616"),
    (["up", "lo", "--config", "/nonexistent/file.conf"], NOT_FOUND, "/nonexistent/file.conf"),
    (["up", "lo", "--config", "/"], None, "/"),
    (["up", "lo", "--follow"], USAGE, "--follow"),
    (["up", "lo", "--filter", "tcp prot 80"], USAGE, "tcp prot 80"),
    (["up", "lo", "--filter", "net 10.0.0.1/8"], USAGE, "non-network bits"),
    (["up", "lo", "--filter", "outbound"], USAGE, "--direction"),
    (["up", "lo", "--filter", "tcp" + 4085 * " "], USAGE, "longer than 4087 bytes"),
    (["add-pid", "1", "--filter", "port 65536"], USAGE, "65536"),
    (["run", "--filter", "host", "--", "true"], USAGE, "--filter"),
    (["down", "--filter", "tcp"], USAGE, "--filter"),
    (["up", "lo", "--direction", "sideways"], USAGE, "sideways"),
    (["up", "lo", "--sample", "4"], USAGE, "--sample"),
    (["up", "lo", "--rate", "fast"], USAGE, "fast"),
    (["up", "lo", "--first", "1e3"], USAGE, "1e3"),
    (["up", "lo", "--for", "ever"], USAGE, "ever"),
    (["up", "lo", "--count", "0"], USAGE, "--count"),
    (["add-pid", "1", "--rate", "5"], USAGE, "--rate"),
    (["add-pid", "--count", "3", GONE], NOT_FOUND, GONE),
    (["run", "--count", "3", "--", "/nonexistent/command"], 127, "/nonexistent/command"),
    (["up", "lo", "--monitor-netns", "no/where"], USAGE, "no/where"),
    (["up", "lo", "--monitor-netns", "nowhere"], NOT_FOUND, "nowhere"),
    (["add-pid", "--monitor", "a/b", "1"], USAGE, "a/b"),
    (["add-pid", "--monitor", "watch1", GONE], NOT_FOUND, GONE),
    (["add-pid", "--monitor-type", "veth", "1"], USAGE, "--monitor"),
    (["add-pid", "--monitor", "watch1", "--monitor-netns", "nowhere", "1"], NOT_FOUND, "nowhere"),
    (["run", "--monitor", "watch1", "--", "/nonexistent/command"], 127, "/nonexistent/command"),
    (["down", "--count", "3"], USAGE, "--count"),
    (["down", "now"], USAGE, "now"),
    (["down", "--force"], USAGE, "--force"),
    (["add-pid"], USAGE, "add-pid"),
    (["add-pid", "abc"], USAGE, "abc"),
    (["add-pid", "12x"], USAGE, "12x"),
    (["add-pid", "1.5"], USAGE, "1.5"),
    (["add-pid", ""], USAGE, "add-pid"),
    (["add-pid", "0"], USAGE, "0"),
    (["add-pid", "--", "-1"], USAGE, "-1"),
    (["add-pid", "4294967297"], USAGE, "4294967297"),
    (["add-pid", "99999999999999999999"], USAGE, "99999999999999999999"),
    (["add-pid", GONE], NOT_FOUND, GONE),
    (["add-pid", "2"], NOT_FOUND, "2"),
    (["add-pid", "1", "--frobnicate"], USAGE, "--frobnicate"),
    (["add-pid", "1", "--snaplen", "64"], USAGE, "--snaplen"),
    (["del-pid"], USAGE, "del-pid"),
    (["del-pid", "abc"], USAGE, "abc"),
    (["del-pid", "1"], NOT_FOUND, "1"),
    (["del-pid", "--all", "1"], USAGE, "--all"),
    (["run"], USAGE, "run"),
    (["run", "--"], USAGE, "run"),
    (["run", "--user"], USAGE, "--user"),
    (["run", "--user", "no-such-user", "--", "true"], NOT_FOUND, "no-such-user"),
    (["run", "--frobnicate", "--", "true"], USAGE, "--frobnicate"),
    (["list", "all"], USAGE, "all"),
    (["status", "--long"], USAGE, "--long"),
    (["stats", "all"], USAGE, "all"),
    (["check"], USAGE, "check"),
    (["check", "/nonexistent/file.conf"], NOT_FOUND, "/nonexistent/file.conf"),
    (["check", "/dev/null", "/dev/null"], USAGE, "/dev/null"),
    (["completion"], USAGE, "completion"),
    (["completion", "tcsh"], USAGE, "tcsh"),
    (["version", "1"], USAGE, "1"),
    (["help", "frobnicate"], USAGE, "frobnicate"),
    (["doctor", "now"], USAGE, "now"),
]

# words with bytes that no terminal should get
HOSTILE = [["add-pid", "\x1b[31mred"], ["up", "\x1b]0;title\x07"], ["up", "ä" * 8], ["fr\nob"],
           ["up", "lo", "--monitor", "x\ty"], ["add-pid", "9" * 5000], ["up", "d" * 100000]]


def state(t):
    """All of the namespace, and of the host, that a refused command may not change."""
    name = t.space("c")
    inode = leaks.inodes([name])
    others = leaks.other_instances(inode)
    host = leaks.snapshot(others)
    return {"devices": netns.run(["ip", "-n", name, "link"]).stdout, "qdiscs": leaks.qdiscs(name),
            "pins": {p for p in host["pin"] if leaks.instance(p) in inode},
            "status": t.mirrorctl("-j", "status").out, "list": t.mirrorctl("-j", "list").out}


def refused(t, words, status, names):
    """Runs one wrong command, plainly and with -j; returns what is wrong with its answer."""
    wrong = []
    plain, as_json = t.mirrorctl(*words, status=None), t.mirrorctl("-j", *words, status=None)
    for answer in (plain, as_json):
        if answer.status != status if status is not None else answer.status in (OK, 126, 127) or answer.status < 0:
            wrong.append(f"{answer}: want status {status or 'of failure'}")
    lines = plain.err.strip().splitlines()
    if not lines or (len(lines) != 1 and words):
        wrong.append(f"{plain}: want one line on stderr")
    if names and not any(names in line for line in lines):
        wrong.append(f"{plain}: the message does not name {names!r}")
    if plain.out:
        wrong.append(f"{plain}: nothing belongs on stdout")
    try:
        error = as_json.json["error"]
        if error["code"] != as_json.status or not error["message"]:
            wrong.append(f"{as_json}: code and message of the error object")
    except (Failure, KeyError, TypeError):
        wrong.append(f"{as_json}: want an error object on stdout")
    return wrong


def every_one(t, extra=()):
    """All wrong commands; the state is the same afterwards."""
    before = state(t)
    wrong = []
    for words, status, names in [*USAGE_ERRORS, *extra]:
        wrong += refused(t, words, status, names)
        now = state(t)
        if now != before:
            changed = [key for key in before if now[key] != before[key]]
            wrong.append(f"`mirrorctl {' '.join(words)}` changed {', '.join(changed)}")
            before = now
    expect(not wrong, "\n".join(wrong))


@case(timeout=300)
def while_down(t):
    """Every wrong command while nothing is up: nothing comes up."""
    t.space("c")
    every_one(t)
    expect_equal(t.get("status")["state"], "down", "state")


@case(timeout=300)
def while_up(t):
    """Every wrong command while the mirror is up with a target: it stays exactly as it is."""
    t.space("c")
    t.mirrorctl("up", "lo")
    me = t.actor("c")
    t.mirrorctl("add-pid", me.pid)
    every_one(t, [(["up", "mon0"], None, "mon0"), (["up", "lo", "mon0"], None, "mon0")])
    expect_equal([row["pid"] for row in t.get("list")["targets"]], [me.pid], "targets")


@case()
def hostile_bytes(t):
    """Control characters, long and non-ASCII words: refused, and never sent to the terminal as they are."""
    t.space("c")
    for words in HOSTILE:
        answer = t.mirrorctl(*words, status=None)
        expect(answer.status in (USAGE, NOT_FOUND), f"{words!r:.80}: status {answer.status}")
        expect(not any(ord(c) < 32 and c != "\n" for c in answer.err),
               f"control characters reach stderr: {answer.err!r:.200}")
        expect("error" in t.mirrorctl("-j", *words, status=None).json, "error object")


@case()
def hostile_comm(t):
    """A process whose name holds quotes, control characters and bytes that are no UTF-8 is listed in valid JSON."""
    t.space("c")
    t.mirrorctl("up", "lo")
    me = t.actor("c")
    me.do("import ctypes; ctypes.CDLL(None).prctl(15, b'\"\\\\\\x1b[31m\\xff\\n', 0, 0, 0)")
    t.mirrorctl("add-pid", me.pid)
    row = t.get("list")["targets"][0]
    expect_equal(row["pid"], me.pid, "pid")
    plain = t.mirrorctl("list").out
    expect("\x1b" not in plain and len(plain.strip().splitlines()) <= 2, f"the name is made harmless: {plain!r}")


@case()
def closed_output(t):
    """A closed or full stdout is an error, not a silent success."""
    t.space("c")
    for words in (["status"], ["-j", "status"], ["help"], ["version"]):
        with open("/dev/full", "w", encoding="ascii") as full:
            done = subprocess.run([BINARY, *words], stdout=full, stderr=subprocess.PIPE,
                                        preexec_fn=netns.child_setup(t.space("c")), check=False)
        expect_equal(done.returncode, FAILED, f"status of {words} on a full disk")


@case()
def devices_of_no_use(t):
    """Devices that can be no source or that vanish are refused or named, and the rest of the command is not half done."""
    t.space("c")
    name = t.space("c")
    for number in range(3):
        netns.run(["ip", "-n", name, "link", "add", f"spare{number}", "type", "bridge"])
    t.note_devices()
    before = leaks.devices(name)
    t.mirrorctl("up", "spare0", "spare1", "absent", status=NOT_FOUND)
    expect_equal((leaks.devices(name), t.get("status")["state"]), (before, "down"), "devices and state")
    t.mirrorctl("up", "spare0")
    t.mirrorctl("up", "spare0", "absent", "spare1", status=NOT_FOUND)
    expect_equal({row["dev"] for row in t.get("status")["sources"]}, {"spare0"}, "sources after a refused change")
