# SPDX-License-Identifier: GPL-2.0-only
"""Sources: which devices are watched, devices without Ethernet header, devices that come and go, --netns, --config."""

import os
import socket

from lib import bpf, leaks, netns, traffic, tun
from lib.mirrorctl import NOT_FOUND, USAGE
from lib.packet import ICMP, TCP, UDP, echo, flow
from lib.registry import case, expect, expect_equal
from lib.traffic import Datagrams, Listener, Stream, carry


def watched(t, key="c"):
    """Names of the sources status reports."""
    return {row["dev"] for row in t.get("status", key=key)["sources"]}


def spare(name, *devs):
    """Extra bridges without ports, down and without address, that never send of themselves: the kernel would join the
    group of snooping bridges, and report that up to a second later."""
    for dev in devs:
        netns.run(["ip", "-n", name, "link", "add", dev, "type", "bridge", "mcast_snooping", "0"])
        netns.sysctl(name, f"net/ipv6/conf/{dev}/disable_ipv6", 1)


@case()
def default_selection(t):
    """Without devices `up` takes every device that is up and has an address, lo included, and no other."""
    t.pair()
    name = t.space("c")
    spare(name, "up-bare", "down-addr", "up-addr")
    netns.ip(name, "link set up-bare addrgenmode none", "link set up-bare up", "addr add 10.30.0.1/24 dev down-addr",
             "link set up-addr addrgenmode none", "addr add 10.31.0.1/24 dev up-addr", "link set up-addr up")
    t.note_devices()
    t.mirrorctl("up")
    expect_equal(watched(t), {"lo", "eth0", "up-addr"}, "sources")
    status = t.get("status")
    expect("mon0" not in watched(t), "the monitor is no source")
    rows = {row["dev"]: (row["ingress"], row["egress"]) for row in status["sources"]}
    expect_equal(rows["eth0"], (True, True), "directions of eth0")
    expect(rows["lo"][1], "lo is watched at egress")


@case()
def add_pid_brings_up(t):
    """add-pid alone brings the mirror up with defaults and mirrors from then on."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    service, mine, theirs = Datagrams(server), Datagrams(me), Datagrams(other)
    t.mirrorctl("add-pid", me.pid)
    expect_equal(watched(t), {"lo", "eth0"}, "sources")
    t.capture(("eth0", "lo"))
    for sock in (mine, theirs):
        sock.to(service)
        service.to(sock)
    t.owns(me, flow(UDP, mine.end, service.end))
    t.check()


@case()
def changed_without_gap(t):
    """`up` with other devices under traffic: what stays is not interrupted, not one packet is missed."""
    t.pair()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    service, mine, theirs = Datagrams(server), Datagrams(me), Datagrams(other)
    t.up()
    t.add(me)
    for who, sock in ((me, mine), (other, theirs)):
        who.do(f"import threading, time\n"
               f"going, sent = True, 0\n"
               f"def send(sock=obj[{sock.sock.key}]):\n"
               f"    global sent\n"
               f"    while going:\n"
               f"        sock.sendto(b'steady', {service.end!r}); sent += 1; time.sleep(0.0005)\n"
               f"thread = threading.Thread(target=send); thread.start()")
    for devices in (["eth0", "lo"], ["eth0"], ["eth0"], ["lo", "eth0"], ["eth0"]):
        t.mirrorctl("up", *devices)
    sent = 0
    for who in (me, other):
        who.do("going = False; thread.join()")
        sent = sent or who.eval("sent")
    t.owns(me, flow(UDP, mine.end, service.end))
    t.check(seen=False)
    expect_equal(len(t.expected()[me.pid]), sent, "datagrams of the target on the wire")
    expect(sent > 50, f"only {sent} datagrams under way meanwhile")


@case(disable=("", "tcx"))
def removed_source(t):
    """A device left out of a second `up` is watched no longer."""
    t.pair()
    server, me = t.actor("s"), t.actor("c")
    service, mine = Datagrams(server), Datagrams(me)
    t.up(sources=("eth0", "lo"))
    t.add(me)
    mine.to(service)
    rule = t.owns(me, flow(UDP, mine.end, service.end))
    rule.stop = t.now()
    t.mirrorctl("up", "lo")
    expect_equal(watched(t), {"lo"}, "sources")
    mine.to(service)
    t.check(seen=False)


@case()
def removed_while_looked_at(t):
    """A device left out is free of our programs when `up` returns, and can be a source again, even while somebody else
    (bpftool link show, a monitoring agent) has our link open."""
    t.pair()
    t.need(bpf.has_tcx(), "this kernel has no TCX")
    name = t.space("c")
    held = []
    pins = t.pins()
    for _ in range(3):
        t.mirrorctl("up", "eth0", "lo")
        expect_equal(bpf.tcx_count(name, 1, bpf.EGRESS), 1, "programs on lo")
        held.append(bpf.hold(pins + "/source_1_egress"))
        t.mirrorctl("up", "eth0")
        expect_equal(bpf.tcx_count(name, 1, bpf.EGRESS), 0, "programs on lo when it is no source")
    for fd in held:
        os.close(fd)


@case()
def deleted_source(t):
    """A source that is deleted while the mirror is up: status works, `up` and `down` too."""
    t.pair()
    name = t.space("c")
    spare(name, "brief0")
    netns.ip(name, "link set brief0 addrgenmode none up")
    t.up(sources=("eth0", "brief0"), capture=False)
    t.capture(("eth0",))
    server, me = t.actor("s"), t.actor("c")
    t.add(me)
    netns.ip(name, "link delete brief0")
    t.get("status")
    t.owns(me, Datagrams(me).to(Datagrams(server)))
    t.check()
    t.mirrorctl("up", "eth0")
    expect_equal(watched(t), {"eth0"}, "sources")


@case()
def source_down_and_up(t):
    """A source that goes down and comes back is still watched."""
    t.pair()
    name = t.space("c")
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    service, mine, theirs = Datagrams(server, 4), Datagrams(me, 4, wildcard=True), Datagrams(other, 4, wildcard=True)
    t.up()
    t.add(me)
    netns.ip(name, "link set eth0 down", "link set eth0 up",
             f"neigh replace {netns.S4} lladdr {netns.S_MAC} dev eth0 nud permanent")
    for sock in (mine, theirs):
        sock.to(service)
        service.to(sock)
    t.owns(me, flow(UDP, mine.end, service.end))
    t.check()


def over_tun(t, selected, version):
    """TCP, UDP and ping of a target and a stranger over a tun."""
    t.need(os.path.exists("/dev/net/tun"), "this kernel has no tun")
    t.pair()
    tun.join(t)
    t.up(sources=("tun0",), capture=False)
    t.watch("tun0", ethernet=False)
    t.monitor = None
    t.capture(())
    here, far = (tun.HERE4, tun.FAR4) if version == 4 else (tun.HERE6, tun.FAR6)
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    t.add(me)
    for who in (me, other):
        sock, service = who.socket(traffic.FAMILY[version]), server.socket(traffic.FAMILY[version])
        dial, serve = (service, sock) if selected == "server" else (sock, service)
        serve.bind((far if serve is service else here, 0))
        serve.listen(5)
        dial.connect(serve.getsockname()[:2])
        peer, _ = serve.accept()
        carry(dial, peer, 3000)
        carry(peer, dial, 30000)
        key = flow(TCP, dial.getsockname(), serve.getsockname())
        dial.close()
        peer.close()
        datagram, answer = (x.socket(traffic.FAMILY[version], socket.SOCK_DGRAM) for x in (who, server))
        datagram.bind((here, 0))
        answer.bind((far, 0))
        datagram.sendto(b"u" * 4000, answer.getsockname()[:2])
        answer.recvfrom(9000)
        answer.sendto(b"v" * 4000, datagram.getsockname()[:2])
        datagram.recvfrom(9000)
        if who is me:
            t.owns(me, key)
            t.owns(me, flow(UDP, datagram.getsockname(), answer.getsockname()))
    if version == 4:
        foreign = t.popen("c", "ping", "-c", "2", "-i", "0.05", "-e", "7", far)
        t.mirrorctl("run", "--", "ping", "-c", "2", "-i", "0.05", "-e", "8", far)
        foreign.communicate()
        pid = next(row["pid"] for row in t.get("list")["targets"] if row["comm"] == "ping")
        t.owns(pid, echo(ICMP, here, far, 8))
    t.check(strip=14)
    kinds = {packet.frame[12:14] for packet in t.monitor.frames()}
    expect_equal(kinds, {b"\x08\x00" if version == 4 else b"\x86\xdd"}, "ethertypes of the synthetic headers")


@case(disable=("", "tcx"))
def tun_client(t):
    """A tun (no Ethernet header): copies carry a synthetic header, everything behind it is exact."""
    over_tun(t, "client", 4)


@case()
def tun_server(t):
    """A tun whose near end serves."""
    over_tun(t, "server", 4)


@case()
def tun_ipv6(t):
    """IPv6 over a tun."""
    t.need_ipv6()
    over_tun(t, "client", 6)


@case(disable=("", "tcx"))
def vlan(t):
    """Tagged frames of a target on the device below a VLAN device: copies carry the tag."""
    t.pair()
    ends = ((t.space("c"), "10.14.0.1", "10.14.0.2", netns.S_MAC), (t.space("s"), "10.14.0.2", "10.14.0.1", netns.C_MAC))
    for name, here, there, mac in ends:
        made = netns.run(["ip", "-n", name, "link", "add", "link", "eth0", "name", "eth0.7", "type", "vlan", "id", "7"],
                         check=False)
        t.need(made.returncode == 0, "this kernel has no VLAN devices")
        netns.ip(name, "link set eth0.7 addrgenmode none arp off up", f"addr add {here}/24 dev eth0.7",
                 f"neigh replace {there} lladdr {mac} dev eth0.7 nud permanent")
    t.note_devices()
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    t.up()
    t.add(me)
    service = server.socket(socket.AF_INET, socket.SOCK_DGRAM)
    service.bind(("10.14.0.2", 0))
    for who in (me, other):
        sock = who.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.sendto(b"tagged" * 400, service.getsockname())
        data, peer = service.recvfrom(4000)
        service.sendto(data, peer)
        sock.recv(4000)
        if who is me:
            t.owns(me, flow(UDP, ("10.14.0.1", peer[1]), service.getsockname()))
    t.check()
    expect(all(packet.vlans == [7] for packet in t.monitor.frames()), "every copy carries its tag")


@case()
def forwarded_is_nobodys(t):
    """Traffic that passes through the host has no owner, whoever is selected."""
    t.pair()
    name, inner = t.space("c"), t.space("d")
    netns.run(["ip", "link", "add", "lan0", "netns", name, "type", "veth", "peer", "name", "lan0", "netns", inner])
    netns.ip(name, "link set lan0 addrgenmode none arp off up", "addr add 10.13.0.1/24 dev lan0")
    netns.ip(inner, "link set lan0 addrgenmode none arp off up", "addr add 10.13.0.2/24 dev lan0",
             "route add default via 10.13.0.1")
    netns.ip(t.space("s"), f"route add 10.13.0.0/24 via {netns.C4}")
    netns.sysctl(name, "net/ipv4/ip_forward", 1)
    for where, peer in ((name, inner), (inner, name)):
        mac = netns.ip_json(peer, "link", "show", "dev", "lan0")[0]["address"]
        addr = "10.13.0.2" if where == name else "10.13.0.1"
        netns.ip(where, f"neigh replace {addr} lladdr {mac} dev lan0 nud permanent")
    t.note_devices()
    server, me, guest = t.actor("s"), t.actor("c"), t.actor("d")
    traffic.ADDRESS["d", 4] = "10.13.0.2"
    listener = Listener(server)
    t.up(sources=("eth0", "lan0"))
    t.add(me)
    port = None
    for who in (me, guest):
        stream = Stream(who, listener, port=port or 0)
        port = stream.client.getsockname()[1]   # the guest takes the same port as the target
        stream.talk()
        stream.close()
        if who is me:
            t.owns(me, stream.key)
    t.check()


@case()
def netns_option(t):
    """--netns from outside: the mirror works in that namespace, and only there."""
    t.pair()
    name = t.space("c")
    server, me, other = t.actor("s"), t.actor("c"), t.actor("c")
    service, mine, theirs = Datagrams(server), Datagrams(me), Datagrams(other)
    t.mirrored_in.add("c")
    t.command.run(None, "--netns", name, "up", "eth0")
    t.capture()
    t.arm()
    t.command.run(t.space("s"), "--netns", name, "add-pid", me.pid)
    for sock in (mine, theirs):
        sock.to(service)
        service.to(sock)
    t.owns(me, flow(UDP, mine.end, service.end))
    t.check()
    expect_equal(t.get("status", key="s")["state"], "down", "state in the other namespace")
    outside = t.command.run(None, "-j", "--netns", name, "list").json
    expect_equal([row["pid"] for row in outside["targets"]], [me.pid], "targets")
    expect_equal(t.command.run(None, "-j", "--netns", name, "status").json["netns"],
                 os.stat(f"{netns.RUN_DIR}/{name}").st_ino, "namespace in status")


def write(t, text):
    """A configuration file of this case."""
    path = t.path("mirrorctl.conf")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


@case()
def config_file(t):
    """`up --config`: every key is taken from the file and overridden by options."""
    t.pair()
    path = write(t, "# comment\nmonitor = tap7\nmonitor-type = veth\nsnaplen = 128\nlinger = 5\nsources = { eth0, lo }\n")
    t.mirrorctl("up", "--config", path)
    status = t.get("status")
    expect_equal((status["monitor"]["name"], status["monitor"]["type"], status["monitor"]["snaplen"]),
                 ("tap7", "veth", 128), "monitor from the file")
    expect_equal(watched(t), {"eth0", "lo"}, "sources from the file")
    t.mirrorctl("down")
    t.mirrorctl("up", "--config", path, "--monitor", "mon0", "--snaplen", 0, "--monitor-type", "bridge", "eth0")
    status = t.get("status")
    expect_equal((status["monitor"]["name"], status["monitor"]["type"], status["monitor"]["snaplen"]),
                 ("mon0", "bridge", 0), "monitor from the options")
    expect_equal(watched(t), {"eth0"}, "sources from the command line")


@case()
def config_errors(t):
    """A wrong line in a configuration file is named as file:line, status 2; a missing file is status 3."""
    t.space("c")
    for text, line in (("monitor = mon0\nsnaplen = lots\n", 2), ("\n\nno-such-key = 1\n", 3), ("monitor =\n", None),
                       ("monitor = a-name-too-long-for-it\n", 1), ("monitor-type = ifb\n", 1), ("linger = -1\n", 1),
                       ("snaplen = 10\n", 1), ("identity = maybe\n", 1), ("sources = { eth0 \n", None),
                       ("sources = { a/b }\n", 1), ("monitor = \"mon0\n", None), ("\x01\x02\x03", 1)):
        path = write(t, text)
        for words in (["up", "--config", path], ["check", path]):
            answer = t.mirrorctl(*words, status=USAGE)
            expect(f"{path}:{line or ''}" in answer.err, f"{path}:{line} is named: {answer}")
            expect("error" in t.mirrorctl("-j", *words, status=USAGE).json, "error object")
    for words in (["up", "--config", "/nonexistent.conf"], ["check", "/nonexistent.conf"]):
        t.mirrorctl(*words, status=NOT_FOUND)
    expect_equal(t.get("status")["state"], "down", "state after every error")
    expect_equal(leaks.devices(t.space("c")), {"lo"}, "devices after every error")
    t.mirrorctl("check", write(t, "snaplen = 100\n"))
