# SPDX-License-Identifier: GPL-2.0-only
"""Where the scheduler may interrupt programs at tracepoints, the kernel leaves out runs of one that stands still. Here a program
is taken away as a whole: what it would have told must be found out by another."""

import os
import subprocess

from cases.select_process import rows_by, select, shell
from lib import program, wait
from lib.program import Post, says, unique
from lib.registry import case, expect, expect_equal
from lib.traffic import Listener, Stream


def unhook(t, name):
    """Takes one program away from what it follows."""
    os.unlink(f"{t.pins()}/hook_{name}")


@case(disable=("", "text"))
def exit_unseen(t):
    """A target whose exit nobody was told of has exited once its parent has asked how it ended; until then it runs. Its last
    packets are its own. One that was chosen by a selector and never had a socket leaves nothing."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    listener = Listener(server)
    t.up()
    t.add(me)
    streams = [Stream(me, listener), Stream(other, listener)]
    mine = unique(t, "svc")
    number = select(t, "add-name", mine)
    chosen = shell(t, program.copy(t, mine), "read", stdin=subprocess.PIPE)
    wait.until(lambda: chosen.pid in rows_by(t, number), "the chosen process to be a target")
    unhook(t, "mir_exit")
    for stream in streams:
        stream.talk()

    def row(pid):
        return next((row["state"] for row in t.get("list")["targets"] if row["pid"] == pid), None)

    for who in (me, other):
        who.kill()
    for stream in streams:
        expect_equal(server.eval(f"obj[{stream.server.key}].recv(1)"), b"", "end of file")
    expect_equal(row(me.pid), "running", "state before its parent has asked")
    for who in (me, other):
        os.waitpid(who.pid, 0)
    chosen.kill()
    chosen.wait()
    wait.until(lambda: row(me.pid) == "exited", "the exit to be seen")
    wait.until(lambda: row(chosen.pid) is None, "the chosen process to be forgotten")
    for stream in streams if not t.limited("linger") else ():
        stream.server.close()
    t.owns(me, streams[0].key)
    t.check()


@case()
def exec_unseen(t):
    """A process that becomes another program without word of it is known by its new name and its executable all the same."""
    t.pair()
    post = Post(t)
    mine, placed = unique(t, "svc"), unique(t, "exe")
    paths = {"name": program.copy(t, mine), "exe": program.copy(t, placed), "other": program.copy(t, unique(t, "oth"))}
    t.up()
    numbers = {select(t, "add-name", mine), select(t, "add-exe", paths["exe"])}
    unhook(t, "mir_exec")
    for word, path in paths.items():
        proc = shell(t, path, f"echo {word} >{post.device}")
        expect_equal(post.word()[0], word, "word")
        proc.wait()
        if word != "other":
            t.owns(proc.pid, says(word))
    t.check()
    expect_equal({n for row in t.get("list")["targets"] for n in row["selectors"]}, numbers, "selectors of the targets")
    expect(not t.limited("preemption"), "nothing was left out: the program was not there")
