# SPDX-License-Identifier: GPL-2.0-only
"""Selectors in the configuration file: armed by `up` and `watch`, reconciled with what is armed, checked without privilege."""

import os
import shutil
import signal
import socket

from cases.monitors import Views, cast, on_wire
from cases.select_process import counts, rows_by, shell
from lib import program, wait
from lib.mirrorctl import BINARY
from lib.netns import run
from lib.program import Groups, Post, says, unique
from lib.registry import case, expect, expect_equal

DGRAM = (socket.AF_INET, socket.SOCK_DGRAM)


def write(t, text, number=""):
    """The case's configuration file with this content; returns its path."""
    path = t.path(f"mirrorctl{number}.conf")
    with open(path, "w", encoding="utf-8") as file:
        file.write("sources = { eth0 }\n" + text)
    return path


def armed(t):
    """What is armed: (kind, text, origin) by number."""
    return {row["id"]: (row["kind"], row["text"], row["origin"]) for row in t.get("selectors")["selectors"]}


def rows(t):
    """Rows of what is armed, by monitor."""
    return {row["monitor"]: row for row in t.get("selectors")["selectors"]}


@case(disable=("", "tcx"))
def armed_by_up(t):
    """A file with sections: processes that are there and later ones are mirrored as soon as `up` has returned; units that do
    not run yet are waited for."""
    t.pair()
    me, other = t.actor("c"), t.actor("c")
    post = Post(t)
    names = [unique(t, "svc"), unique(t, "oth")]
    program.rename(me, names[0])
    socks = [who.socket(*DGRAM) for who in (me, other)]
    path = program.copy(t, names[1])
    unit = f"mirt{os.getpid()}.service"
    file = write(t, f'name "{names[0]}" {{ follow = yes }}\nexe {path} {{}}\nunit {unit} {{ shared = yes }}\n'
                    f"cgroup /mirt{os.getpid()}.slice/x {{}}\nuser root-of-another-host {{}}\n")
    answer = t.mirrorctl("up", "--config", file, status=3)
    expect("root-of-another-host" in answer.err and answer.err.count("\n") == 1, f"the one that cannot be armed: {answer}")
    expect_equal(t.mirrorctl("-j", "status").json["state"], "up", "state")
    t.capture()
    t.arm()
    expect_equal(list(armed(t).values()), [("name", names[0], "file"), ("exe", path, "file"), ("unit", unit, "file"),
                                           ("cgroup", f"/mirt{os.getpid()}.slice/x", "file")], "selectors")
    post.send(socks[0], "yes")
    post.send(socks[1], "no")
    shell(t, path, f"echo yes >{post.device}")
    expect_equal(post.word()[0], "yes", "word")
    with Groups(t) as groups:
        group = groups.make(f"/mirt{os.getpid()}.slice/{unit}")
        proc = shell(t, program.SHELL, f"echo $$ >{groups.top}{group}/cgroup.procs; echo yes >{post.device}")
        expect_equal(post.word()[0], "yes", "word")
        proc.wait()
        t.owns(0, says("yes"))
        t.check(per_target=False, seen=False)
        expect_equal([counts(t, number)[1] for number in armed(t)], [1, 1, 1, 0], "packets of each")


@case()
def reconciled(t):
    """`up` with a changed file: what is new is armed, what went is disarmed, what stays keeps its number and its counters, and
    what was made by hand is left alone. The same file again changes nothing."""
    t.pair()
    actors = [t.actor("c") for _ in range(3)]
    post = Post(t)
    names = [unique(t, f"{letter}vc") for letter in "abc"]
    socks = []
    for actor, name in zip(actors, names):
        program.rename(actor, name)
        socks.append(actor.socket(*DGRAM))
    t.mirrorctl("up", "--config", write(t, f"name {names[0]} {{}}\nname {names[1]} {{}}\n"))
    t.capture()
    t.arm()
    by_hand = t.mirrorctl("-j", "add-user", "54329").json["id"]

    def say(*mine):
        for at, sock in enumerate(socks):
            post.send(sock, "yes" if at in mine else "no")

    say(0, 1)
    before = armed(t)
    for _ in range(2):
        t.mirrorctl("up", "--config", write(t, f"name {names[1]} {{}}\nname {names[2]} {{}}\n"))
        say(1, 2)
        found = armed(t)
        expect_equal(sorted(found.values()), sorted([("name", names[1], "file"), ("name", names[2], "file"),
                                                    ("user", "54329", "command")]), "selectors")
        kept = next(number for number, row in before.items() if row[1] == names[1])
        expect_equal(found[kept][1], names[1], "selector of the same number")
        expect_equal(found[by_hand][1], "54329", "selector made by hand")
    expect_equal(counts(t, kept)[1], 3, "packets of the one that stayed")
    t.mirrorctl("up", "--config", write(t, f"name {names[1]} {{ follow = yes }}\n"))
    found = t.get("selectors")["selectors"]
    expect_equal([(row["text"], row["follow"]) for row in found if row["origin"] == "file"], [(names[1], True)], "selectors")
    say(1)
    t.mirrorctl("up", "--config", write(t, ""))
    expect_equal(list(armed(t)), [by_hand], "selectors that are left")
    say()
    expect_equal(t.get("list")["targets"], [], "targets")
    t.owns(0, says("yes"))
    t.check(per_target=False)


@case()
def options_of_sections(t):
    """Sections with a filter, a limit and a monitor of their own. `up` with other options under traffic: not one packet is missed
    between the old and the new; the same file again changes nothing."""
    me, _, service, mine, _, theirs = cast(t)
    name = unique(t, "svc")
    program.rename(me, name)
    files = [write(t, f"name {name} {{ {options} }}\nname {name} {{ monitor = watch1 direction = in }}\n", number)
             for number, options in enumerate(("filter = 'udp[8] = 0x79'", "filter = 'udp[8:2] = 0x7965' follow = yes"))]
    t.mirrorctl("up", "--config", files[0])
    t.capture(stock=False)
    views = Views(t)
    views.taps["mon0"] = t.monitor
    views.tap("watch1")
    before = rows(t)
    expect_equal({key: (row["filtered"], row["limited"], row["follow"]) for key, row in before.items()},
                 {"mon0": (True, False, False), "watch1": (False, True, False)}, "selectors")
    for sock in (mine, theirs):
        for text in (b"yes", b"no"):
            sock.to(service, text)
            service.to(sock, text)
    t.mirrorctl("up", "--config", files[0])
    expect_equal([row["id"] for row in rows(t).values()], [row["id"] for row in before.values()], "the same file again")
    for sock in (mine, theirs):
        sock.actor.do(f"import threading, time\n"
                      f"going, sent = True, 0\n"
                      f"def send(sock=obj[{sock.sock.key}]):\n"
                      f"    global sent\n"
                      f"    while going:\n"
                      f"        sock.sendto(b'yes', {service.end!r}); sent += 1; time.sleep(0.0001)\n"
                      f"thread = threading.Thread(target=send); thread.start()")
    for file in (files[1], files[0], files[1]):
        t.mirrorctl("up", "--config", file)
    for sock in (mine, theirs):
        sock.actor.do("going = False; thread.join()")
    sent = me.eval("sent")
    expect(sent > 50, f"only {sent} datagrams under way meanwhile")
    after = rows(t)
    expect_equal((after["watch1"]["id"], after["mon0"]["follow"]), (before["watch1"]["id"], True), "one stayed, one changed")
    t.settle()
    packets = on_wire(t, mine, service)
    expect_equal(len(packets), 4 + sent, "packets of the target on the wire")
    views.check(2 * len(packets), mon0=[p for p in packets if p.payload.startswith(b"yes")],
                watch1=[p for p in packets if not p.outgoing])
    views.close()


@case()
def refused_whole(t):
    """A file with a problem changes nothing: neither the instance nor one selector of it."""
    t.pair()
    name = unique(t, "svc")
    t.mirrorctl("up", "--config", write(t, f"name {name} {{}}\n"))
    before = (t.get("status"), t.get("selectors"))
    answer = t.mirrorctl("up", "--config", write(t, "snaplen = 96\nname other {}\nunit a/b {}\n"), status=2)
    expect("mirrorctl.conf:4: 'a/b'" in answer.err, f"file and line: {answer}")
    expect_equal((t.get("status"), t.get("selectors")), before, "status and selectors")


@case()
def check_without_privilege(t):
    """`check FILE` as nobody: right and wrong files, each problem with its line."""
    t.pair()
    os.chmod(t.tmp, 0o755)
    binary = t.path("mirrorctl")
    shutil.copy(BINARY, binary)
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
    for text, status, said in (
            ("name nginx { follow = yes }\nexe /usr/sbin/nginx {}\nuser www-data {}\ncgroup /system.slice {}\n"
             "unit nginx {}\ncontainer web { shared = no }\n", 0, ["no problem"]),
            ("name a/b {}\n\nuser x { follow = maybe }\nexe relative {\n}\n", 2,
             [".conf:2: 'a/b'", ".conf:4: 'maybe' is no value for 'follow'", ".conf:5: 'relative'"]),
            ("name x {}\nname x { follow = yes }\n", 2, [".conf:3: name 'x' is given twice"]),
            ("name x { snaplen = 96 }\n", 2, [".conf:2: no such option 'snaplen'; a selector takes"]),
            ("name x { filter = 'udp' monitor = y }\nname x { monitor-type = veth }\n", 2, [".conf:3: name 'x': monitor-type"]),
            ("unit getty@.service {}\n", 2, [".conf:2: 'getty@.service'", "instance"])):
        file = write(t, text)
        os.chmod(file, 0o644)
        done = run([*as_nobody, binary, "check", file], check=False)
        expect_equal(done.returncode, status, f"status ({done.stderr})")
        for part in said:
            expect(part in done.stdout + done.stderr, f"{part}: {done.stderr}")


@case()
def armed_by_watch(t):
    """`watch` arms them as well, and leaves them armed when it ends."""
    t.pair()
    me, other = t.actor("c"), t.actor("c")
    post = Post(t)
    name = unique(t, "svc")
    program.rename(me, name)
    socks = [who.socket(*DGRAM) for who in (me, other)]
    file = write(t, f"name {name} {{}}\n")
    t.mirrored_in.add("c")
    proc = t.command.popen(t.space("c"), "watch", "--config", file)
    t.procs.append(proc)
    expect("watching" in proc.stderr.readline(), "a word that it watches")
    t.capture()
    t.arm()
    for number in range(2):
        post.send(socks[0], f"yes {number}")
        post.send(socks[1], "no")
        if not number:
            proc.send_signal(signal.SIGTERM)
            proc.wait()
    number = next(iter(armed(t)))
    wait.until(lambda: counts(t, number) == (1, 2), "two packets")
    expect_equal(set(rows_by(t, number)), {me.pid}, "targets")
    t.owns(me, says("yes"))
    t.check()
