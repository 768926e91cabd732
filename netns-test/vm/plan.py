# SPDX-License-Identifier: GPL-2.0-only
"""What a guest does: which tests, in which column of design 4.2, with which deadlines.

By default what is different from kernel to kernel, and a share of the rest on each, so that all kernels fit into CI;
EXHAUSTIVE=1 runs every case that the kernel has a part in (ANYWHERE says which it has not) in both columns, every tap case and
the whole score catalogue. VM_CASES overrides the choice of cases.
"""

import os

# Who owns a socket, and from when on; sockets that are there already; fork and exec; what comes after the end; TCX or clsact;
# the dummy; devices that not every kernel has. On every kernel.
CORE = """
    tcp.existing_accepted tcp.existing_in_accept_queue tcp.time_wait udp.existing_connected udp.fragments icmp.ping_raw
    loopback.client_selected process.fork_follow process.inherited_socket_moves process.passed_datagram_socket
    process.prefork_server_plain run_verb.short_lived_process coexist.clsact_filters@tcx monitor.dummy
    select_process.name select_cgroup.below filters.layers_ipv4 limits.first_and_direction monitors.both
    configuration.no_type_information
""".split()
# What differs where trampolines do not load: who owns an accepted, inherited or passed socket, and from when on.
FALLBACK = """
    tcp.existing_accepted process.inherited_socket_moves process.passed_datagram_socket process.prefork_server_plain
""".split()
# What each kernel runs besides, so that all of them together run much of what there is.
FURTHER = {
    "5.10": """
        tcp.server_listening_before udp.client_connected nat.redirected sources.tun_client run_verb.memory_limit_untouched
        select_process.renamed_at_run_time configuration.cgroup_v1_only devices.vlan_and_below devices.vrf_and_port
    """.split(),
    "6.1": """
        udp.unreachable_port process.killed process.exec_in_thread sources.tun_ipv6 devices.qinq_below
    """.split(),
    "6.12": """
        coexist.tcx_programs process.shared_socket_stays nat.source_ports select_process.exe devices.vlan_and_below
        devices.bond_and_port devices.wireguard_and_carrier devices.vrf_and_port configuration.cgroup_hybrid
    """.split(),
    "7.2": """
        coexist.tcx_programs devices.netkit devices.qinq_below devices.geneve_and_carrier sources.tun_client
        monitor.auto_choice select_cgroup.made_again limits.count_on_two_processors nat.source_ports_ipv6
    """.split(),
}
TAP = {
    "6.12": "wire.every_kind@native beside.filter_before@native beside.comes_and_goes@native".split(),
    "7.2": "wire.mode_of_auto wire.every_kind@generic beside.filter_before@generic".split(),
}
SCORE_OF = {
    "6.1": "sharing.activation_worker udp.connected_beside_wildcard".split(),
    "6.12": "sharing.scm_rights tcp.backlog_before_selection".split(),
    "7.2": "icmp.id_reused sharing.prefork_one_worker".split(),
}
# Nothing of these asks the kernel: converting and reading files, words of the command line, completion scripts, what tshark
# makes of a capture (it is not in a guest). They run on the host, on whatever kernel that has.
ANYWHERE = """
    annotate. wireshark. extcap. wrong_input. control.completion sources.config_errors control.quiet_and_verbose
    select_process.names_that_are_wrong select_config.refused_whole select_config.check_without_privilege
""".split()
# One after the other, in one boot: none of them can be taken back. 2, Debian's own, holds everywhere else.
UNPRIVILEGED, LOCKDOWN = "/proc/sys/kernel/unprivileged_bpf_disabled", "/sys/kernel/security/lockdown"
SETTINGS_ON = ("6.12",)     # by default: they are the same code on all kernels
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


def steps(name):
    """(label, words of the command, environment) of each step that runs cases on kernel `name`."""
    words = os.environ.get("VM_CASES", "").split()
    if words:
        return [("fentry", [RUN, "-v", *words], {}), ("fallback", [RUN, "-v", *words], WITHOUT_FENTRY),
                ("tap", [TAP_RUN, *words], {}), ("score", [SCORE, "--tap", *words], {}),
                ("score-fallback", [SCORE, "--tap", *words], WITHOUT_FENTRY)]
    if os.environ.get("EXHAUSTIVE") == "1":
        cases = [RUN, "-v", *("!" + word for word in ANYWHERE)]
        return [("fentry", cases, {}), ("tap", [TAP_RUN], {}), ("score", [SCORE, "--tap"], {}),
                ("fallback", cases, WITHOUT_FENTRY), ("score-fallback", [SCORE, "--tap"], WITHOUT_FENTRY)]
    chosen = [("fentry", [RUN, "-v", *exactly([*CORE, *FURTHER[name]])], {}),
              ("tap", [TAP_RUN, *exactly(TAP.get(name, ()))], {}),
              ("score", [SCORE, "--tap", *exactly(SCORE_OF.get(name, ()))], {}),
              ("fallback", [RUN, "-v", *exactly(FALLBACK)], WITHOUT_FENTRY)]
    return [step for step in chosen if step[1][-1].startswith("=")]


def measuring():
    """Is this boot for the benchmark?"""
    return os.environ.get("VM_COLUMN", "").split() == ["bench"]


def wanted(label):
    """True if VM_COLUMN asks for this step; without it, with VM_CASES, the two columns of the cases."""
    only = os.environ.get("VM_COLUMN", "").split()
    if not only and os.environ.get("VM_CASES"):
        only = ["fentry", "fallback"]
    return not only or label in only


def settings(name):
    """The steps under settings of the kernel that users meet."""
    if not wanted("settings") or os.environ.get("VM_CASES"):
        return []
    asked = os.environ.get("VM_COLUMN") or os.environ.get("EXHAUSTIVE") == "1" or name in SETTINGS_ON
    return SETTINGS if asked else []


def job(name, accel, timeout):
    """The job of one boot of kernel `name`. VM_COLUMN leaves out the steps of other names."""
    slow = {"SLOW": os.environ.get("SLOW", SLOW[accel])}
    if measuring():
        words = os.environ.get("VM_BENCH", "--rounds 5 --ms 100 tiers").split()
        return {"modules": MODULES, "steps": [{"label": "bench", "argv": [PYTHON, *BENCH, *words], "timeout": timeout}]}
    out = [{"label": "module", "argv": [PYTHON, RUN, "-v", "=monitor.dummy_module_loaded"], "timeout": FACTS_S, "env": slow},
           {"label": "facts", "argv": [PYTHON, "netns-test/vm/inside.py"], "timeout": FACTS_S},
           {"label": "bpf", "argv": ["/mirror/.output/test/bpf_test"], "timeout": FACTS_S}]
    if os.environ.get("VM_CASES"):
        out = out[1:2]      # which says whether there are two columns
    if wanted("filter") and (os.environ.get("VM_COLUMN") or os.environ.get("EXHAUSTIVE") == "1"):
        out.append({"label": "filter", "argv": ["/mirror/.output/test/bpf_filter_test"], "timeout": timeout})
    for label, words, env in steps(name):
        if wanted(label):
            out.append({"label": label, "argv": [PYTHON, *words], "env": {**env, **slow}, "timeout": timeout,
                        "unless": SAME if label.endswith("fallback") and not os.environ.get("VM_COLUMN") else ""})
    for label, write in settings(name):
        out.append({"label": label, "argv": [PYTHON, RUN, "-v", *exactly(SETTING_CASES)], "env": slow, "timeout": timeout,
                    "write": write})
    return {"modules": MODULES, "steps": out}


def trial():
    """A boot that does nothing, to see whether it boots."""
    return {"steps": []}


def shell():
    """Somebody wants to look."""
    return {"modules": MODULES, "options": {"dummy": "numdummies=0"}, "shell": True}
