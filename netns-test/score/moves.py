# SPDX-License-Identifier: GPL-2.0-only
"""What several scenarios do: the cast, the same act by the target and by a stranger, windows of the wire, drops."""

import contextlib

from lib import bpf, netns
from lib.packet import UDP, flow
from lib.traffic import Datagrams, Listener

SHOT = 2
USE = "use:"                # limits, as `mirrorctl status` begins their lines
ACCEPT = "accept:"
MULTICAST = "multicast"
FRAGMENT = "a later IP fragment"
STEERED = "reuseport:"
RAW = "raw:"
NAT = "nat:"
TPROXY = "tproxy:"
TUNNEL = "tunnel:"
IPSEC = "ipsec:"
BIG = "monitor: super-packets"
AF_PACKET_LIMIT = "packet:"
URING = "existing: sockets behind io_uring"


def cast(t, *sources, words=()):
    """Namespaces c and s; a server actor, the target and a stranger; the wires open."""
    t.pair()
    server, me, other = t.actor("s", "server"), t.actor("c", "target"), t.actor("c", "stranger")
    t.open(*sources, words=words)
    return server, me, other


def both(t, me, other, act):
    """Lets the target and the stranger do the same; what `act` returns (a key or several) is the target's or nobody's."""
    for who in (me, other):
        keys = act(who)
        if who is me:
            for key in keys if isinstance(keys, list) else [keys]:
                t.owns(me, key)


def service(actor, **more):
    """A UDP socket at the far end."""
    return Datagrams(actor, **more)


def ask(who, service_, data=b"question", answer=True, close=False):
    """One datagram of a new socket of `who`, and its answer; returns its key. `close`: the socket does not stay open."""
    sock = who.socket(kind=2)
    sock.sendto(data, service_.end)
    got, sender = service_.sock.recvfrom(65536)
    assert got == data, "the datagram changed on its way"
    if answer:
        service_.sock.sendto(b"answer", sender)
        sock.recv(100)
    if close:
        sock.close()
    return flow(UDP, sender, service_.end)


def listener(actor, **more):
    """A TCP listener."""
    return Listener(actor, **more)


def window(t, rule):
    """Ends a rule here and returns the position."""
    rule.stop = t.now()
    return rule.stop


@contextlib.contextmanager
def dropped(t, key="s", dev="eth0"):
    """While it lasts everything that reaches the far end is dropped there, behind the taps."""
    name = t.space(key)
    stranger = bpf.Stranger(verdict=SHOT)
    try:
        yield stranger.attach_tcx(name, netns.ip_json(name, "link", "show", "dev", dev)[0]["ifindex"], bpf.INGRESS)
    finally:
        stranger.close()


def port_filter(version, *ports):
    """Capture filter for local or remote ports of a transport."""
    return " or ".join(f"{version} port {port}" for port in ports)


def pass_fd(t, giver, sock, taker):
    """Passes a socket by SCM_RIGHTS; returns it as the taker's."""
    path = t.path(f"handover-{giver.pid}-{taker.pid}-{sock.key}")
    taker.do(f"hall = socket.socket(socket.AF_UNIX); hall.bind({path!r}); hall.listen(1)")
    giver.do(f"door = socket.socket(socket.AF_UNIX); door.connect({path!r})\n"
             f"socket.send_fds(door, [b'x'], [obj[{sock.key}].fileno()])")
    return taker.eval("socket.socket(fileno=socket.recv_fds(hall.accept()[0], 1, 1)[1][0])")


def getfd(taker, giver, sock):
    """Takes a socket out of another process by pidfd_getfd."""
    fd = giver.eval(f"obj[{sock.key}].fileno()")
    return taker.eval(f"(lambda p: socket.socket(fileno=__import__('ctypes').CDLL(None).syscall(438, p, {fd}, 0)))"
                      f"(os.pidfd_open({giver.pid}))")


def echo_loop(actor, sock, stream=False):
    """Lets an actor answer everything that comes on a UDP socket (or each connection of a listener) from a thread."""
    serve = """
import threading
def serve_datagrams(sock):
    sock.settimeout(None)
    while True:
        data, peer = sock.recvfrom(65536)
        sock.sendto(data, peer)
def serve_streams(listener):
    listener.settimeout(None)
    while True:
        sock = listener.accept()[0]
        while (data := sock.recv(65536)):
            sock.sendall(data)
        sock.close()
"""
    actor.do(serve + f"threading.Thread(target={'serve_streams' if stream else 'serve_datagrams'}, "
             f"args=(obj[{sock.key}],), daemon=True).start()")
