# SPDX-License-Identifier: GPL-2.0-only
"""Rules and sampling: the monitor gets exactly what they say, the other end gets everything."""

import random

import frames
from frames import ICMP, ICMP6, SCTP, TCP, UDP
from world import equal, expect

FLOWS = [(TCP, "10.1.0.1", 40000, "10.2.0.9", 80), (TCP, "10.1.0.1", 40001, "10.2.0.9", 443), (UDP, "10.1.0.1", 53, "10.3.0.1", 53),
         (UDP, "10.1.200.7", 8080, "192.0.2.1", 8090), (ICMP, "10.1.0.1", 77, "10.2.0.9", 0), (TCP, "fd01::1", 1, "fd02::9", 80),
         (UDP, "fd01::2", 5353, "fd02::9", 65535), (ICMP6, "fd01::1", 9, "fd02::9", 0), (89, "10.1.0.1", 0, "10.2.0.9", 0),
         (SCTP, "10.1.0.1", 600, "10.2.0.9", 700), (TCP, "255.255.255.255", 0, "0.0.0.0", 0)]

# rule, which of FLOWS
RULES = [
    (["net=10.0.0.0/8"], {0, 1, 2, 3, 4, 8, 9}), (["net=10.2.0.9"], {0, 1, 4, 8, 9}), (["net=10.2.0.9/32,proto=tcp"], {0, 1}),
    (["net=10.1.0.0/16,peer=10.2.0.0/15"], {0, 1, 2, 4, 8, 9}), (["peer=10.1.0.0/17,net=10.3.0.0/16"], {2}),
    (["net=10.1.0.1,peer=10.1.0.1"], set()), (["port=80"], {0, 5}), (["port=80,proto=udp"], set()), (["port=8085-9000"], {3}),
    (["port=0"], {10}), (["port=65535"], {6}), (["port=0-65535"], {0, 1, 2, 3, 5, 6, 9, 10}), (["proto=icmp"], {4}),
    (["proto=icmp6"], {7}), (["proto=1", "proto=58"], {4, 7}), (["proto=89"], {8}), (["proto=sctp"], {9}),
    (["net=fd00::/8"], {5, 6, 7}), (["net=fd01::1/128,port=80"], {5}), (["net=0.0.0.0/0"], {0, 1, 2, 3, 4, 8, 9, 10}),
    (["net=::/0"], {5, 6, 7}), (["net=10.1.0.1,port=443", "net=fd02::/16,proto=udp"], {1, 6}), (["net=172.16.0.0/12"], set()),
    (["net=255.255.255.255"], {10}), (["net=::ffff:10.1.0.1"], set()),
]


def both_ways(flow, vlans=()):
    """Two frames there, one back."""
    return ([frames.flow_frame(flow, vlans=vlans), frames.flow_frame(flow, data=b"more", vlans=vlans)],
            [frames.flow_frame(flow, back=True, vlans=vlans)])


def matches(world, mode):
    """every condition, alone and joined, both directions, tagged and not, changed without a gap"""
    other = [*frames.kinds()[:6]]
    for vlans in ((), (5,)):
        for rules, chosen in RULES:
            world.add(*[word for rule in rules for word in ("--match", rule)], mode=mode)
            equal(len(world.show()["match"]), len(rules), "rules shown")
            there, back, copied = list(other), [], []
            for number, flow in enumerate(FLOWS):
                one, two = both_ways(flow, vlans)
                there += one
                back += two
                copied += one + two if number in chosen else []
            try:
                world.cross(there, back, copied)
            except Exception as error:
                raise type(error)(f"{rules} {vlans}: {error}") from None


def vlans(world, mode):
    """vlan= looks at the first two tags"""
    world.add("--match", "vlan=100", "--match", "vlan=7,proto=tcp", mode=mode)
    flow, udp = FLOWS[0], FLOWS[2]
    inside = [frames.flow_frame(flow, vlans=v) for v in ((100,), (200, 100), (100, 200), (7,))] + \
        [frames.ether(0x0806, b"arp" * 10, vlans=(100,)), frames.flow_frame(udp, back=True, vlans=(100,))]
    outside = [frames.flow_frame(flow), frames.flow_frame(flow, vlans=(101,)), frames.flow_frame(udp, vlans=(7,)),
               frames.flow_frame(flow, vlans=(1, 2, 100)), frames.ether(0x0806, b"arp" * 10)]
    world.cross(inside + outside, copied=inside)


def fragments(world, mode):
    """a port is in the first fragment only; prefixes and protocols match all of them"""
    first = frames.ether(0x0800, frames.ip4("10.1.0.1", "10.2.0.9", UDP, frames.udp(9, 53, b"x" * 792), 7, 0x2000))
    later = frames.ether(0x0800, frames.ip4("10.1.0.1", "10.2.0.9", UDP, b"\0\x35\0\x35" * 50, 7, 100))
    world.add("--match", "port=53", mode=mode)
    world.cross([first, later], copied=[first])
    world.add("--match", "net=10.2.0.0/16,proto=udp", mode=mode)
    world.cross([first, later], copied=[first, later])


def samples(world, mode):
    """--sample keeps whole flows, exactly those the documented hash says, about one in N"""
    rng = random.Random(5)
    flows = set()
    while len(flows) < 600:
        proto = rng.choice((TCP, UDP, UDP, SCTP, ICMP))
        a, b = (f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}" for _ in range(2))
        if rng.random() < 0.4:
            a, b = (f"fd{rng.randrange(16, 256):x}::{rng.randrange(1, 65536):x}" for _ in range(2))
            proto = ICMP6 if proto == ICMP else proto
        flows.add((proto, a, rng.randrange(1024, 65536), b, rng.choice((53, 80, 443, rng.randrange(65536)))))
    flows = sorted(flows)
    for one_in in (1, 2, 4, 7, 100):
        world.add("--sample", f"1/{one_in}", mode=mode)
        equal(world.show()["sample"], one_in, "sample shown")
        there, back, copied, kept = [], [], [], 0
        for flow in flows:
            one, two = both_ways(flow)
            there += one
            back += two
            if frames.sampled(flow, one_in):
                copied += one + two
                kept += 1
        expect(0.6 < kept * one_in / len(flows) < 1.5, f"1/{one_in} keeps {kept} of {len(flows)} flows")
        world.cross(there, back, copied)


def sample_of_a_match(world, mode):
    """rules and sampling together; what is not IP is sampled by its MAC addresses, both ways alike"""
    world.add("--sample", "1/3", "--match", "proto=udp", mode=mode)
    flows = [(UDP, "10.0.0.1", port, "10.0.0.2", 53) for port in range(2000, 2090)]
    there = [frames.flow_frame(flow) for flow in flows] + [frames.flow_frame(FLOWS[0])]
    world.cross(there, copied=[frames.flow_frame(flow) for flow in flows if frames.sampled(flow, 3)])
    world.add("--sample", "1/2", mode=mode)
    macs = [bytes.fromhex(f"0200000000{n:02x}") for n in range(40)]
    there = [frames.ether(0x88B5, b"ping" * 4, mac, frames.SERVER_MAC) for mac in macs]
    back = [frames.ether(0x88B5, b"pong" * 4, frames.SERVER_MAC, mac) for mac in macs]
    kept = [n for n, mac in enumerate(macs) if mac_sampled(mac, frames.SERVER_MAC, 0x88B5, 2)]
    expect(5 < len(kept) < 35, f"{len(kept)} of 40 kept")
    world.cross(there, back, [frame for n in kept for frame in (there[n], back[n])])


def mac_sampled(one, other, kind, one_in):
    """As mir_tap_flow() does it for what is not IP."""
    def mac_hash(mac):
        return frames.mix(frames.mix(0, int.from_bytes(mac[:2], "big")), int.from_bytes(mac[2:], "big"))
    ends = mac_hash(one) + mac_hash(other) & 0xFFFFFFFF
    return frames.mix(frames.mix(0, ends), kind) % one_in == 0


def cases():
    """(name, function)"""
    for function in (matches, vlans, fragments, samples, sample_of_a_match):
        for mode in ("native", "generic"):
            yield f"select.{function.__name__}@{mode}", lambda world, f=function, m=mode: f(world, m)
