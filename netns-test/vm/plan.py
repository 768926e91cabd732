# SPDX-License-Identifier: GPL-2.0-only
"""What a guest does: which cases, in which column of design 4.2, with which deadlines. VM_CASES overrides the choice."""

import os

# One of each kind. Under emulation a case takes 5 to 20 s, so the rest runs with VM_CASES=all.
CORE = """
    tcp.client tcp.server_listening_before tcp.existing_accepted tcp.existing_in_accept_queue tcp.time_wait
    udp.client_connected udp.fragments udp.unreachable_port icmp.ping_raw loopback.client_selected
    process.fork_follow process.inherited_socket_moves process.passed_datagram_socket process.prefork_server_plain
    process.killed run_verb.short_lived_process run_verb.memory_limit_untouched
    monitor.dummy monitor.auto_choice
""".split()
# What differs where trampolines do not load: who owns an accepted, inherited or passed socket, and from when on.
FALLBACK = """
    tcp.existing_accepted process.inherited_socket_moves process.passed_datagram_socket process.prefork_server_plain
    run_verb.short_lived_process
""".split()
PYTHON = "/usr/bin/python3"
FACTS_S = 300
SAME = "/run/same-columns"      # written by inside.py where the two columns are one
SLOW = {"kvm": "2", "tcg": "5"}
MODULES = ["veth", "bridge", "tun", "8021q"]


def columns(words):
    """(name, cases, environment) of each column."""
    if words == ["all"]:
        return [("fentry", [], {}), ("fallback", [], {"MIRRORCTL": "/mirror/netns-test/vm/without-fentry.sh"})]
    return [("fentry", words or ["=" + name for name in CORE], {}),
            ("fallback", words or ["=" + name for name in FALLBACK],
             {"MIRRORCTL": "/mirror/netns-test/vm/without-fentry.sh"})]


def job(accel, timeout):
    """The job of one boot."""
    slow = {"SLOW": os.environ.get("SLOW", SLOW[accel])}
    only = os.environ.get("VM_COLUMN")
    steps = [{"label": "facts", "argv": [PYTHON, "netns-test/vm/inside.py"], "timeout": FACTS_S},
             {"label": "bpf", "argv": ["/mirror/.output/test/bpf_test"], "timeout": FACTS_S},
             {"label": "filter", "argv": ["/mirror/.output/test/bpf_filter_test"], "timeout": timeout}]
    for name, cases, env in columns(os.environ.get("VM_CASES", "").split()):
        if only in (None, name):
            steps.append({"label": name, "argv": [PYTHON, "netns-test/run.py", "-v", *cases], "env": {**env, **slow},
                          "timeout": timeout, "unless": SAME if name == "fallback" and only is None else ""})
    # A dummy that the module makes by itself would be somebody else's device in every case.
    return {"modules": MODULES, "options": {"dummy": "numdummies=0"}, "steps": steps}


def trial():
    """A boot that does nothing, to see whether it boots."""
    return {"steps": []}


def shell():
    """Somebody wants to look."""
    return {"modules": MODULES, "options": {"dummy": "numdummies=0"}, "shell": True}
