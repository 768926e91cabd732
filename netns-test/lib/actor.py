# SPDX-License-Identifier: GPL-2.0-only
"""An actor is a process in a namespace that does what the case tells it, one step at a time.

The case sends Python source over a socket pair; the actor runs it in globals that persist and sends the value back.
Sockets stay in the actor and are handled by the case through proxies, so that a scenario reads like ordinary code:

    me = t.actor("c")
    s = me.socket(AF_INET, SOCK_STREAM)
    s.connect(("10.11.0.2", 80))
    child = me.fork()                       # a real fork: it inherits every descriptor
    child.take(s).sendall(b"from the child")

Run as a program (`actor.py FD`) it continues as an actor on an inherited descriptor: how exec is tested.
"""

import array
import os
import pickle
import signal
import socket
import struct
import sys
import traceback

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from lib import netns, wait
from lib.registry import Failure

REPLY_S = 30.0 * wait.SLOW
IO_S = 10.0 * wait.SLOW


class Ref:
    """Stands for an object that lives in the actor."""

    def __init__(self, key):
        self.key = key


def _send(chan, message, fds=()):
    data = pickle.dumps(message)
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    chan.sendmsg([struct.pack("!I", len(data))], ancillary)
    chan.sendall(data)


def _receive(chan):
    fds = array.array("i")
    head, ancillary, _, _ = chan.recvmsg(4, socket.CMSG_SPACE(16))
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[:len(data) - len(data) % fds.itemsize])
    if len(head) < 4:
        raise EOFError
    left = struct.unpack("!I", head)[0]
    data = b""
    while len(data) < left:
        piece = chan.recv(left - len(data))
        if not piece:
            raise EOFError
        data += piece
    return pickle.loads(data), list(fds)


def recv_exactly(sock, count):
    """Reads exactly `count` bytes from a stream socket, fewer only at its end."""
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            break
        data += piece
    return data


class Stage:
    """The actor's side: executes what arrives on the channel until it is closed."""

    def __init__(self, chan):
        self.chan = chan
        self.objects = {}
        self.globals = {"os": os, "socket": socket, "struct": struct, "signal": signal, "obj": self.objects,
                        "recv_exactly": recv_exactly}

    def keep(self, value):
        """Replaces sockets in a result by references."""
        if isinstance(value, socket.socket):
            value.settimeout(IO_S)
            key = len(self.objects) + 1
            self.objects[key] = value
            return Ref(key)
        if isinstance(value, (tuple, list)):
            return type(value)(self.keep(item) for item in value)
        return value

    def fork(self, fd):
        """Forks; the child goes on as an actor of its own on descriptor `fd`."""
        pid = os.fork()
        if pid == 0:
            self.chan.close()
            netns.prctl(netns.PR_SET_PDEATHSIG, 0)
            self.chan = socket.socket(fileno=fd)
            self.loop()
            os._exit(0)
        os.close(fd)
        return pid

    def step(self, message, fds):
        """One order of the case; returns its result."""
        verb, *rest = message
        if verb == "do":
            return exec(rest[0], self.globals)
        if verb == "eval":
            return self.keep(eval(rest[0], self.globals))
        if verb == "call":
            key, method, args, kwargs = rest
            return self.keep(getattr(self.objects[key], method)(*args, **kwargs))
        if verb == "fork":
            return self.fork(fds[0])
        if verb == "exec":
            os.set_inheritable(self.chan.fileno(), True)
            for key in rest[1]:
                os.set_inheritable(self.objects[key].fileno(), True)
            _send(self.chan, ("ok", {key: self.objects[key].fileno() for key in rest[1]}))
            os.execv(sys.executable, [rest[0], os.path.abspath(__file__), str(self.chan.fileno())])
        if verb == "adopt":
            for key, fd in rest[0].items():
                self.objects[key] = socket.socket(fileno=fd)
                self.objects[key].settimeout(IO_S)
            return None
        raise ValueError(verb)

    def loop(self):
        """Serves the case until it hangs up."""
        while True:
            try:
                message, fds = _receive(self.chan)
            except (EOFError, OSError):
                return
            try:
                answer = ("ok", self.step(message, fds))
            except BaseException as error:  # whatever happened belongs in the case's report
                answer = ("error", type(error).__name__, str(error), traceback.format_exc())
            try:
                _send(self.chan, answer)
            except OSError:
                return


class ActorError(Failure):
    """Something an actor was told to do raised; `kind` is the exception's name there."""

    def __init__(self, kind, text, trace):
        super().__init__(f"{kind}: {text}\n{trace}")
        self.kind = kind


class Remote:
    """A socket in an actor; methods are carried over and carried out there."""

    def __init__(self, actor, key):
        self.actor = actor
        self.key = key

    def __getattr__(self, method):
        def call(*args, **kwargs):
            return self.actor.ask(("call", self.key, method, args, kwargs))
        return call

    def recv_exactly(self, count):
        """Reads exactly `count` bytes from a stream socket."""
        return self.actor.ask(("eval", f"recv_exactly(obj[{self.key}], {count})"))


class Actor:
    """The case's side of one actor."""

    def __init__(self, chan, pid, label):
        self.chan = chan
        self.pid = pid
        self.label = label
        chan.settimeout(REPLY_S)

    @classmethod
    def start(cls, name, label):
        """Forks a process into a namespace. It inherits no descriptor but its own channel."""
        mine, theirs = socket.socketpair()
        pid = os.fork()
        if pid:
            theirs.close()
            return cls(mine, pid, label)
        try:
            netns.prctl(netns.PR_SET_PDEATHSIG, signal.SIGKILL)
            fd = theirs.fileno()
            os.closerange(3, fd)
            os.closerange(fd + 1, 4096)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            netns.enter(name)
            Stage(theirs).loop()
        finally:
            os._exit(0)

    def ask(self, message, fds=()):
        """Sends one order and waits for its result."""
        try:
            _send(self.chan, message, fds)
            answer, _ = _receive(self.chan)
        except (EOFError, OSError) as error:
            raise Failure(f"actor {self.label} (pid {self.pid}) is gone: {error!r} at {message!r}") from None
        if answer[0] == "error":
            raise ActorError(*answer[1:])
        return self._wrap(answer[1])

    def _wrap(self, value):
        if isinstance(value, Ref):
            return Remote(self, value.key)
        if isinstance(value, (tuple, list)):
            return type(value)(self._wrap(item) for item in value)
        return value

    def do(self, source):
        """Executes statements in the actor."""
        self.ask(("do", source))

    def eval(self, source):
        """Evaluates an expression in the actor and returns its value."""
        return self.ask(("eval", source))

    def socket(self, family=socket.AF_INET, kind=socket.SOCK_STREAM, proto=0):
        """Makes a socket in the actor."""
        return self.eval(f"socket.socket({int(family)}, {int(kind)}, {int(proto)})")

    def fork(self, label=None):
        """Lets the actor fork; returns the child as an actor that inherited every descriptor."""
        mine, theirs = socket.socketpair()
        pid = self.ask(("fork",), [theirs.fileno()])
        theirs.close()
        return Actor(mine, pid, label or self.label + "+")

    def exec(self, keep=(), argv0="actor"):
        """Lets the actor exec a new program image that inherits the sockets `keep`."""
        fds = self.ask(("exec", argv0, [remote.key for remote in keep]))
        self.ask(("adopt", fds))

    def take(self, remote):
        """The same socket as `remote`, used by this actor (which must have inherited it)."""
        return Remote(self, remote.key)

    def drop(self, remote):
        """Closes this actor's descriptor of an inherited socket."""
        self.take(remote).close()

    def tell(self, source):
        """Executes statements that never come to an answer (exec, exit)."""
        _send(self.chan, ("do", source))

    def kill(self, number=signal.SIGKILL):
        """Sends a signal to the actor."""
        os.kill(self.pid, number)

    def close(self):
        """Hangs up: the actor ends by itself."""
        self.chan.close()


if __name__ == "__main__":
    from lib.actor import Stage as Stage_  # not __main__.Stage: both sides must agree where Ref lives
    Stage_(socket.socket(fileno=int(sys.argv[1]))).loop()
