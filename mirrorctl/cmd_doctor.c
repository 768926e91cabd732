/* SPDX-License-Identifier: GPL-2.0-only */
/* mirrorctl doctor: what this kernel and host can do, what is missing and how to get it. Changes nothing that lasts. */
#include <string.h>
#include <sys/utsname.h>

#include <linux/capability.h>

#include "caps.h"
#include "host.h"
#include "json.h"
#include "mctl.h"
#include "verb.h"

enum state {
	STATE_OK,
	STATE_FALLBACK,	/* missing, and there is another way */
	STATE_MISSING,	/* missing, and the mirror cannot work */
	STATE_UNKNOWN,	/* needs root to find out */
};
static const char *const state_names[] = { "ok", "fallback", "missing", "unknown" };

struct report {
	struct json_object *checks;	/* with -j */
	bool usable;
	bool root;
};

static void check(struct report *rep, const char *name, enum state state, const char *detail, const char *remedy)
{
	struct json_object *o;

	if (state == STATE_MISSING)
		rep->usable = false;
	if (!rep->checks) {
		printf("%-9s %-22s %s%s%s\n", state_names[state], name, detail,
		       *remedy && state != STATE_OK ? "; " : "", state != STATE_OK ? remedy : "");
		return;
	}
	o = json_object_new_object();
	json_object_object_add(o, "name", json_object_new_string(name));
	json_object_object_add(o, "state", json_object_new_string(state_names[state]));
	json_object_object_add(o, "detail", json_object_new_string(detail));
	json_object_object_add(o, "remedy", json_object_new_string(state != STATE_OK ? remedy : ""));
	json_object_array_add(rep->checks, o);
}

/* A program that can only be tried with privilege. `err`: 0 or -errno of the attempt. */
static void try(struct report *rep, const char *name, int err, enum state otherwise, const char *yes, const char *no)
{
	char detail[256];

	if (!rep->root) {
		check(rep, name, STATE_UNKNOWN, "cannot be tried without privilege", "run as root");
		return;
	}
	if (!err)
		check(rep, name, STATE_OK, yes, "");
	else if (snprintf(detail, sizeof(detail), "does not load (%s)", strerror(-err)) > 0)
		check(rep, name, otherwise, detail, no);
}

static void check_host(struct report *rep)
{
	_cleanup_close_ int cgroup = -1;
	uint64_t need = MCTL_CAP(CAP_BPF) | MCTL_CAP(CAP_NET_ADMIN) | MCTL_CAP(CAP_PERFMON) |
			MCTL_CAP(CAP_SYS_PTRACE) | MCTL_CAP(CAP_SYS_ADMIN);
	uint64_t lacking = mctl_caps_missing(need);
	struct utsname uts;
	char text[256];

	uname(&uts);
	check(rep, "kernel", STATE_OK, uts.release, "");
	rep->root = !lacking;
	check(rep, "capabilities", lacking ? STATE_UNKNOWN : STATE_OK,
	      lacking ? mctl_caps_text(lacking, text, sizeof(text)) : "all there",
	      "are missing; run as root to mirror, or to be told more here");
	check(rep, "type information", mctl_host_has_btf() ? STATE_OK : STATE_MISSING, "/sys/kernel/btf/vmlinux",
	      "is missing: use a kernel built with CONFIG_DEBUG_INFO_BTF");
	check(rep, "BPF file system", mctl_host_is_bpffs(mctl.pin_root) ? STATE_OK : STATE_FALLBACK, mctl.pin_root,
	      "is not on one: 'mirrorctl up' mounts it where it belongs, /sys/fs/bpf");
	if (rep->root && !mctl_host_cgroup_root(&cgroup) && mctl_host_cgroup_is_part(cgroup))
		check(rep, "cgroup v2", STATE_FALLBACK, "a part of the hierarchy",
		      "sockets of processes outside of it are found later; share the host's PID namespace, or run mirrorctl there");
	else if (rep->root)
		check(rep, "cgroup v2", cgroup < 0 ? STATE_MISSING : STATE_OK, "root of the hierarchy",
		      "cannot be opened: use a kernel built with CONFIG_CGROUP_BPF");
}

static void check_kernel(struct report *rep)
{
	const char *fork = mctl_host_has_map_cache() ? "tp_btf/sched_wakeup_new" : "tp_btf/sched_process_fork";
	int sent = mctl_host_try_tracepoint("sock_send_length");

	try(rep, "process life cycle", mctl_host_try_tracepoint(strchr(fork, '/') + 1), STATE_MISSING, fork,
	    "without it no process can be followed");
	try(rep, "owner by fentry", mctl_host_try_fentry("security_sock_graft"), STATE_FALLBACK,
	    "fentry/security_sock_graft, _socket_sendmsg, _socket_recvmsg: exact before the first packet",
	    "tracepoints are used instead");
	try(rep, "owner by tracepoint", sent, STATE_FALLBACK, "tp_btf/sock_send_length, sock_recv_length",
	    "cgroup hooks are used instead");
	try(rep, "closed connections", mctl_host_try_tracepoint("inet_sock_set_state"), STATE_FALLBACK,
	    "tp_btf/inet_sock_set_state", "TIME_WAIT packets are not matched");
	try(rep, "sockets counted", mctl_host_try_iterator("bpf_sk_storage_map"), STATE_FALLBACK, "iter/bpf_sk_storage_map",
	    "'list' counts those that a process has open");
	try(rep, "TCX", mctl_host_has_tcx() ? 0 : -EOPNOTSUPP, STATE_FALLBACK, "links, first in the chain",
	    "clsact filters are used instead");
	check(rep, "MPTCP", mctl_host_has_mptcp() ? STATE_OK : STATE_FALLBACK, "subflows found by their connection",
	      "not on this kernel");
}

static void check_tools(struct report *rep)
{
	check(rep, "tun", !access("/dev/net/tun", F_OK) ? STATE_OK : STATE_FALLBACK, "/dev/net/tun",
	      "is missing: sources without Ethernet header (tun, WireGuard) cannot be mirrored; 'modprobe tun'");
	check(rep, "dumpcap", !access("/usr/bin/dumpcap", X_OK) ? STATE_OK : STATE_FALLBACK, "/usr/bin/dumpcap",
	      "is missing: 'apt-get install wireshark-common', or use tcpdump");
}

int cmd_doctor(const struct mctl_args *args)
{
	_cleanup_json_ struct json_object *root = NULL;
	struct report rep = { .usable = true };

	(void)args;
	if (mctl.json) {
		root = json_object_new_object();
		rep.checks = json_object_new_array();
	}
	check_host(&rep);
	check_kernel(&rep);
	check_tools(&rep);
	if (root) {
		json_object_object_add(root, "usable", json_object_new_boolean(rep.usable));
		json_object_object_add(root, "checks", rep.checks);
		if (mctl_json_print(root) != MCTL_OK)
			return MCTL_FAILED;
	} else {
		printf("%s\n", rep.usable ? "mirrorctl can work here" : "mirrorctl cannot work here");
	}
	return rep.usable ? MCTL_OK : MCTL_UNSUPPORTED;
}
