# SPDX-License-Identifier: GPL-2.0-only
"""What a guest does: which tests, in which column of design 4.2, with which deadlines.

By default what is different from kernel to kernel, so that all kernels fit into CI; EXHAUSTIVE=1 runs every network-namespace
case in both columns, every tap case and the whole score catalogue. VM_CASES overrides the choice of cases.
"""

import os

# Who owns a socket, and from when on; sockets that are there already; fork and exec; what comes after the end; TCX or clsact;
# the dummy; devices that not every kernel has.
CORE = """
    tcp.server_listening_before tcp.existing_accepted tcp.existing_in_accept_queue tcp.time_wait
    udp.client_connected udp.existing_connected udp.fragments udp.unreachable_port icmp.ping_raw loopback.client_selected
    process.fork_follow process.inherited_socket_moves process.shared_socket_stays process.passed_datagram_socket
    process.prefork_server_plain process.exec_in_thread process.killed
    run_verb.short_lived_process run_verb.memory_limit_untouched
    coexist.tcx_programs coexist.clsact_filters@tcx monitor.dummy monitor.auto_choice sources.tun_client
    devices.vlan_and_below devices.qinq_below devices.bond_and_port devices.geneve_and_carrier devices.wireguard_and_carrier
    devices.netkit devices.vrf_and_port configuration.cgroup_v1_only configuration.no_type_information
""".split()
# What differs where trampolines do not load: who owns an accepted, inherited or passed socket, and from when on.
FALLBACK = """
    tcp.existing_accepted process.inherited_socket_moves process.passed_datagram_socket process.prefork_server_plain
    run_verb.short_lived_process
""".split()
TAP = """
    wire.mode_of_auto wire.every_kind@native wire.every_kind@generic beside.filter_before@native beside.filter_before@generic
    beside.comes_and_goes@native
""".split()
# One after the other, in one boot: none of them can be taken back. 2, Debian's own, holds everywhere else.
UNPRIVILEGED, LOCKDOWN = "/proc/sys/kernel/unprivileged_bpf_disabled", "/sys/kernel/security/lockdown"
SETTINGS = [("unprivileged-bpf-0", {UNPRIVILEGED: "0"}), ("unprivileged-bpf-1", {UNPRIVILEGED: "1"}),
            ("lockdown-integrity", {LOCKDOWN: "integrity"}), ("lockdown-confidentiality", {LOCKDOWN: "confidentiality"})]
SETTING_CASES = ["process.prefork_server_plain"]
PYTHON = "/usr/bin/python3"
FACTS_S = 300
SAME = "/run/same-columns"      # written by inside.py where the two columns are one
SLOW = {"kvm": "2", "tcg": "5"}
MODULES = ["veth", "bridge", "tun", "8021q"]
WITHOUT_FENTRY = {"MIRRORCTL": "/mirror/netns-test/vm/without-fentry.sh"}
RUN, TAP_RUN, SCORE = "netns-test/run.py", "netns-test/tap/run.py", "netns-test/score/main.py"
BENCH = ["netns-test/bench/main.py", "--tell"]


def exactly(names):
    """Filters for these cases."""
    return ["=" + name for name in names]


def steps():
    """(label, words of the command, environment) of each step that runs cases."""
    words = os.environ.get("VM_CASES", "").split()
    if words:
        return [("fentry", [RUN, "-v", *words], {}), ("fallback", [RUN, "-v", *words], WITHOUT_FENTRY)]
    if os.environ.get("EXHAUSTIVE") == "1":
        return [("fentry", [RUN, "-v"], {}), ("tap", [TAP_RUN], {}), ("score", [SCORE, "--tap"], {}),
                ("fallback", [RUN, "-v"], WITHOUT_FENTRY), ("score-fallback", [SCORE, "--tap"], WITHOUT_FENTRY)]
    return [("fentry", [RUN, "-v", *exactly(CORE)], {}), ("tap", [TAP_RUN, *exactly(TAP)], {}),
            ("fallback", [RUN, "-v", *exactly(FALLBACK)], WITHOUT_FENTRY)]


def measuring():
    """Is this boot for the benchmark?"""
    return os.environ.get("VM_COLUMN", "").split() == ["bench"]


def job(accel, timeout):
    """The job of one boot. VM_COLUMN leaves out the steps of other names."""
    slow = {"SLOW": os.environ.get("SLOW", SLOW[accel])}
    only = os.environ.get("VM_COLUMN", "").split()
    if measuring():
        words = os.environ.get("VM_BENCH", "--rounds 5 --ms 100 tiers").split()
        return {"modules": MODULES, "steps": [{"label": "bench", "argv": [PYTHON, *BENCH, *words], "timeout": timeout}]}
    out = [{"label": "module", "argv": [PYTHON, RUN, "-v", "=monitor.dummy_module_loaded"], "timeout": FACTS_S, "env": slow},
           {"label": "facts", "argv": [PYTHON, "netns-test/vm/inside.py"], "timeout": FACTS_S},
           {"label": "bpf", "argv": ["/mirror/.output/test/bpf_test"], "timeout": FACTS_S}]
    if (not only and os.environ.get("EXHAUSTIVE") == "1") or "filter" in only:
        out.append({"label": "filter", "argv": ["/mirror/.output/test/bpf_filter_test"], "timeout": timeout})
    for name, words, env in steps():
        if not only or name in only:
            out.append({"label": name, "argv": [PYTHON, *words], "env": {**env, **slow}, "timeout": timeout,
                        "unless": SAME if name.endswith("fallback") and not only else ""})
    for name, write in SETTINGS:
        if not os.environ.get("VM_CASES") and (not only or "settings" in only):
            out.append({"label": name, "argv": [PYTHON, RUN, "-v", *exactly(SETTING_CASES)], "env": slow, "timeout": timeout,
                        "write": write})
    return {"modules": MODULES, "steps": out}


def trial():
    """A boot that does nothing, to see whether it boots."""
    return {"steps": []}


def shell():
    """Somebody wants to look."""
    return {"modules": MODULES, "options": {"dummy": "numdummies=0"}, "shell": True}
