# SPDX-License-Identifier: GPL-2.0-only
"""IPsec on the host itself: what is on the wire has no ports."""

from lib import netns, traffic, wait
from lib.packet import TCP, UDP
from lib.registry import Skip
from lib.traffic import Stream, carry
from score.catalogue.places import stacked
from score.moves import IPSEC, cast, listener, service, window
from score.registry import scenario

ESP, AH = 50, 51
KEYS = {"esp": f"auth hmac(sha256) 0x{'11' * 32} enc cbc(aes) 0x{'22' * 16}", "ah": f"auth hmac(sha256) 0x{'11' * 32}"}
INNER = {"c": "10.15.0.1", "s": "10.15.0.2"}


def secure(t, mode, selector, device="", proto="esp"):
    """Associations between c and s for both directions, and policies by which `selector` (namespace -> address) goes
    through them."""
    outer = {"c": netns.C4, "s": netns.S4}
    try:
        for key in ("c", "s"):
            for spi, one, two in ((0x101, "c", "s"), (0x102, "s", "c")):
                ends = f"src {outer[one]} dst {outer[two]}"
                way = "out" if key == one else "in"
                netns.ip(t.space(key), f"xfrm state add {ends} proto {proto} spi {spi} reqid 1 mode {mode} {KEYS[proto]} {device}",
                         f"xfrm policy add src {selector[one]} dst {selector[two]} dir {way} {device} tmpl {ends} proto {proto} "
                         f"reqid 1 mode {mode}")
    except RuntimeError as error:
        raise Skip(f"this kernel has no {proto}: {str(error).splitlines()[-1]}") from None


def talk(who, door, far):
    """A connection, which the far end closes (TIME_WAIT is there), and some datagrams."""
    stream = Stream(who, door)
    stream.talk(rounds=3)
    stream.server.close()
    assert not stream.client.recv(100), "the far end has closed"
    stream.client.close()
    sock = service(who)
    for _ in range(3):
        sock.to(far)
        far.to(sock)


def in_turns(t, me, other, act, mine):
    """Stranger, target, stranger; of what is on the wire while the target acts, `mine` are its packets."""
    act(other)
    start = t.now()
    act(me)
    rule = t.owns(me, mine, start=start)
    stop = window(t, rule)
    act(other)
    return start, stop


@scenario()
def transport(t):
    """ESP in transport mode, all of it under one association: what leaves has its socket with it; what comes in has no ports
    before it is decrypted, behind TC."""
    server, me, other = cast(t)
    secure(t, "transport", {"c": netns.C4, "s": netns.S4})
    door, far = listener(server), service(server)
    t.select(me, best="esp")
    start, stop = in_turns(t, me, other, lambda who: talk(who, door, far), lambda p: p.proto == ESP)
    t.limit(IPSEC, lambda p: p.proto == ESP and not p.outgoing, start=start, stop=stop)


@scenario()
def authenticated(t):
    """AH in transport mode: nothing is encrypted, the ports are behind another header."""
    server, me, other = cast(t)
    secure(t, "transport", {"c": netns.C4, "s": netns.S4}, proto="ah")
    door, far = listener(server), service(server)
    t.select(me, best="ah")
    in_turns(t, me, other, lambda who: talk(who, door, far), lambda p: p.proto == AH)


@scenario()
def tunnel(t):
    """ESP in tunnel mode by policy, without a device of its own: what leaves is matched as it leaves; what comes in passes TC
    again when it is decrypted, and the copy is that."""
    server, me, other = cast(t)
    for key, peer in (("c", "s"), ("s", "c")):
        netns.ip(t.space(key), f"addr add {INNER[key]}/32 dev lo",
                 f"route add {INNER[peer]} dev eth0 src {INNER[key]}")
        traffic.ADDRESS[key, 4] = INNER[key]
    netns.ip(t.space("c"), f"neigh replace {INNER['s']} lladdr {netns.S_MAC} dev eth0 nud permanent")
    netns.ip(t.space("s"), f"neigh replace {INNER['c']} lladdr {netns.C_MAC} dev eth0 nud permanent")
    secure(t, "tunnel", INNER)
    door, far = listener(server), service(server)
    t.far_wires.pop()[1].close()    # what was decrypted is on this end's wire alone
    t.select(me, best="esp or net 10.15.0.0/24")
    in_turns(t, me, other, lambda who: talk(who, door, far),
             lambda p: p.proto == ESP if p.outgoing else p.proto in (TCP, UDP))


@scenario()
def interface(t):
    """An xfrm interface over eth0, both watched: the copy is the packet, not its ESP packet."""
    t.pair()
    for key, peer in (("c", "s"), ("s", "c")):
        try:
            netns.ip(t.space(key), "link add xf0 type xfrm dev eth0 if_id 7")
        except RuntimeError:
            raise Skip("this kernel has no xfrm interfaces") from None
        netns.ip(t.space(key), "link set xf0 addrgenmode none up", f"addr add {INNER[key]} peer {INNER[peer]} dev xf0")
        traffic.ADDRESS[key, 4] = INNER[key]
    wait.until(lambda: netns.ip_json(t.space("c"), "link", "show", "dev", "xf0")[0]["flags"].count("LOWER_UP"), "xf0 to come up")
    secure(t, "tunnel", {"c": "0.0.0.0/0", "s": "0.0.0.0/0"}, "if_id 7")
    t.note_devices()
    t.strip = 14
    stacked(t, "xf0", "eth0", ethernet=False)
