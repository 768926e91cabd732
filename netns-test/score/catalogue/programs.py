# SPDX-License-Identifier: GPL-2.0-only
"""Programs that are started selected: what every kind of tool can take part in. Beside each a stranger does the same."""

from lib import netns
from lib.packet import ICMP, TCP, UDP, echo, flow
from score.moves import echo_loop, listener, service
from score.registry import scenario

PYTHON = "/usr/bin/python3"


def start(t):
    """Namespaces, a far end and the wires."""
    t.pair()
    server = t.actor("s", "server")
    t.open()
    return server


def beside(t, script, best, *args, options=()):
    """Runs a script as target and as stranger at the same time; arguments are given to each as (stranger's, target's)."""
    words = [PYTHON, "-Ic", script]
    t.launch([*words, *(str(pair[1]) for pair in args)], best, [*words, *(str(pair[0]) for pair in args)], options)


def pings(t, *words):
    """Two pings of the far end."""
    t.launch(["ping", *words, "-e", "4660", netns.S4], f"icmp and host {netns.S4}", ["ping", *words, "-e", "4661", netns.S4])
    t.owns(0, echo(ICMP, netns.C4, netns.S4, 4660))


UDP_SCRIPT = f"""
import socket, sys
s = socket.socket(type=socket.SOCK_DGRAM)
s.bind(("0.0.0.0", int(sys.argv[1])))
s.settimeout(10)
for i in range(20):
    s.sendto(b"question %d" % i, ("{netns.S4}", int(sys.argv[2])))
    s.recv(100)
"""

TCP_SCRIPT = f"""
import socket, sys
for i in range(5):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("0.0.0.0", int(sys.argv[1]) + i))
    s.settimeout(10)
    s.connect(("{netns.S4}", int(sys.argv[2])))
    for _ in range(4):
        s.sendall(b"request" * 50)
        left = 350
        while left:
            left -= len(s.recv(left))
    s.close()
"""

FAMILY_SCRIPT = f"""
import os, socket, sys
for i in range(10):
    if os.fork() == 0:
        s = socket.socket(type=socket.SOCK_DGRAM)
        s.bind(("0.0.0.0", int(sys.argv[1]) + i))
        s.settimeout(10)
        s.sendto(b"child %d" % i, ("{netns.S4}", int(sys.argv[2])))
        s.recv(100)
        os._exit(0)
for _ in range(10):
    os.wait()
"""


@scenario(launch=True)
def udp_program(t):
    """A program asks a UDP service 20 times from its first packet on."""
    server = start(t)
    far = service(server)
    echo_loop(server, far.sock)
    beside(t, UDP_SCRIPT, f"udp port {far.port}", (9601, 9602), (far.port, far.port))
    t.owns(0, flow(UDP, (netns.C4, 9602), far.end))


@scenario(launch=True)
def tcp_program(t):
    """A program makes five connections from its first SYN to its last acknowledgement."""
    server = start(t)
    door = listener(server)
    door.sock.settimeout(None)
    server.do(f"""
import threading
def talk(sock):
    while (data := sock.recv(65536)):
        sock.sendall(data)
    sock.close()
def serve(listener=obj[{door.sock.key}]):
    while True:
        threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()
threading.Thread(target=serve, daemon=True).start()
""")
    beside(t, TCP_SCRIPT, f"tcp port {door.port}", (9601, 9621), (door.port, door.port))
    for number in range(5):
        t.owns(0, flow(TCP, (netns.C4, 9621 + number), door.end))


@scenario(launch=True)
def family(t):
    """A program whose ten children do the talking (--follow)."""
    server = start(t)
    far = service(server)
    echo_loop(server, far.sock)
    beside(t, FAMILY_SCRIPT, f"udp port {far.port}", (9601, 9621), (far.port, far.port), options=["--follow"])
    for number in range(10):
        t.owns(0, flow(UDP, (netns.C4, 9621 + number), far.end))


@scenario(launch=True)
def refused_program(t):
    """A program's datagrams and connections are refused: errors that quote them, and resets."""
    start(t)
    script = f"""
import socket, sys
for i in range(3):
    s = socket.socket(type=socket.SOCK_DGRAM)
    s.bind(("0.0.0.0", int(sys.argv[1]) + i))
    s.connect(("{netns.S4}", 9))
    s.settimeout(10)
    s.send(b"anybody?")
    try: s.recv(10)
    except ConnectionRefusedError: pass
    d = socket.socket()
    d.bind(("0.0.0.0", int(sys.argv[1]) + i))
    d.connect_ex(("{netns.S4}", 9))
"""
    beside(t, script, "port 9 or icmp", (9601, 9621))
    for number in range(3):
        for proto in (UDP, TCP):
            t.owns(0, flow(proto, (netns.C4, 9621 + number), (netns.S4, 9)))


@scenario(launch=True)
def ping(t):
    """ping of one host, five times, beside another ping of it."""
    start(t)
    pings(t, "-c", "5", "-i", "0.05")


@scenario(launch=True)
def ping_flood(t):
    """300 pings of 1,400 bytes as fast as they are answered."""
    start(t)
    pings(t, "-q", "-c", "300", "-i", "0", "-s", "1400")
