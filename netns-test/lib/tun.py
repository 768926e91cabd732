# SPDX-License-Identifier: GPL-2.0-only
"""Two tun devices in two namespaces, joined by a relay process: a source without link-layer header with a real far end."""

from lib import netns, wait

HERE4, FAR4, HERE6, FAR6 = "10.12.0.1", "10.12.0.2", "fd00:12::1", "fd00:12::2"

RELAY = """
import fcntl, threading
from lib import netns as spaces

def tun(space):
    with spaces.inside(space):
        fd = os.open('/dev/net/tun', os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(fd, 0x400454CA, struct.pack('16sH22x', b'tun0', 0x1001))    # TUNSETIFF, IFF_TUN | IFF_NO_PI
    return fd

def shovel(source, sink):
    while True:
        os.write(sink, os.read(source, 70000))

def join(one, other):
    ends = tun(one), tun(other)
    for pair in (ends, ends[::-1]):
        threading.Thread(target=shovel, args=pair, daemon=True).start()
"""


def join(t):
    """Makes tun0 in c and s; returns the actor that carries packets between them."""
    client, server = t.space("c"), t.space("s")
    relay = t.actor("c", "relay")
    relay.do(RELAY)
    relay.do(f"join({client!r}, {server!r})")
    for name, here4, here6 in ((client, HERE4, HERE6), (server, FAR4, FAR6)):
        netns.sysctl(name, "net/ipv6/conf/tun0/addr_gen_mode", 1)
        netns.sysctl(name, "net/ipv6/conf/tun0/router_solicitations", 0)
        # One segment a packet: a tun without offload cuts larger ones behind TC, where copies are taken before.
        netns.ip(name, "link set tun0 gso_max_segs 1", "link set tun0 up", f"addr add {here4}/24 dev tun0",
                 f"addr add {here6}/64 dev tun0 nodad")
        wait.until(lambda: "LOWER_UP" in netns.ip_json(name, "link", "show", "dev", "tun0")[0]["flags"], "tun0")
        wait.until(lambda: netns.settled_addresses(name, "tun0"), "addresses of tun0")
    t.note_devices()
    return relay
