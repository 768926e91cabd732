/* SPDX-License-Identifier: GPL-2.0-only */
/* mirrorctl explain: which socket answers for a conversation, whose it is, and whether and why it would be mirrored. */
#include <string.h>

#include <bpf/bpf.h>

#include "explain.h"
#include "json.h"
#include "mctl.h"
#include "names.h"
#include "up.h"
#include "verb.h"

struct answer {
	const struct mctl_args *args;
	struct mir_explanation e;
	struct mir_target target;	/* of its owner, if there is one */
	bool is_target;
	const char *why;
};

static const char *const states[] = {
	"none", "established", "syn-sent", "syn-received", "fin-wait-1", "fin-wait-2", "time-wait", "closed", "close-wait",
	"last-ack", "listening", "closing", "request",
};

static const char *socket_text(const struct mir_explanation *e, bool tcp)
{
	if (!e->socket)
		return "none";
	if (!tcp)
		return e->state == 1 ? "connected" : "open";
	return e->state < ARRAY_SIZE(states) ? states[e->state] : "unknown";
}

static const char *why(const struct mctl_instance *inst, const struct answer *a)
{
	const struct mir_explanation *e = &a->e;

	if (e->mirrored)
		return "its owner is a target";
	if (!e->known && !e->socket)
		return "no socket of this host answers for it, and nothing is remembered of it";
	if (!e->known)
		return "its socket has never been a target's";
	if (!e->owner.tgid)
		return "a process that is no target used its socket last";
	if (!a->is_target)
		return "its owner is no longer a target";
	if (mctl_target_over(inst, &a->target))
		return "its owner has exited and the linger time is over";
	return "it is only routed through this host";
}

static int protocol(const char *word)
{
	static const struct {
		const char *word;
		int proto;
	} protocols[] = { { "tcp", IPPROTO_TCP }, { "udp", IPPROTO_UDP }, { "icmp", IPPROTO_ICMP } };

	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++)
		if (!strcmp(word, protocols[i].word))
			return protocols[i].proto;
	return -1;
}

static int answer_json(const struct answer *a)
{
	_cleanup_json_ struct json_object *root = json_object_new_object();
	const struct mir_explanation *e = &a->e;
	struct json_object *owner = NULL;

	if (e->known && e->owner.tgid) {
		owner = json_object_new_object();
		json_object_object_add(owner, "pid", mctl_json_u64(e->owner.tgid));
		json_object_object_add(owner, "comm", a->is_target ? mctl_json_text(a->target.comm, MIR_COMM_LEN) : NULL);
		json_object_object_add(owner, "target", json_object_new_boolean(a->is_target));
	}
	json_object_object_add(root, "proto", json_object_new_string(a->args->words[0]));
	json_object_object_add(root, "local", json_object_new_string(a->args->words[1]));
	json_object_object_add(root, "remote", json_object_new_string(a->args->words[2]));
	json_object_object_add(root, "socket",
			       json_object_new_string(socket_text(e, !strcmp(a->args->words[0], "tcp"))));
	json_object_object_add(root, "owner", owner);
	json_object_object_add(root, "mirrored", json_object_new_boolean(e->mirrored));
	json_object_object_add(root, "reason",
			       e->mirrored ? json_object_new_string(mctl_reason_names[e->reason]) : NULL);
	json_object_object_add(root, "why", json_object_new_string(a->why));
	return mctl_json_print(root);
}

static void answer_text(const struct answer *a)
{
	const struct mir_explanation *e = &a->e;

	printf("socket       %s\n", socket_text(e, !strcmp(a->args->words[0], "tcp")));
	if (e->known && e->owner.tgid && a->is_target)
		printf("owner        process %u (%.*s)\n", e->owner.tgid, MIR_COMM_LEN, a->target.comm);
	else if (e->known && e->owner.tgid)
		printf("owner        process %u\n", e->owner.tgid);
	if (e->mirrored)
		printf("mirrored     yes, reason %s: %s\n", mctl_reason_names[e->reason], a->why);
	else
		printf("mirrored     no: %s\n", a->why);
}

/* The three words. Reports what is wrong with them. */
static int parse(const struct mctl_args *args, int *ret_proto, struct mctl_end *ret_local, struct mctl_end *ret_remote)
{
	bool icmp;

	*ret_proto = protocol(args->words[0]);
	if (*ret_proto < 0)
		return mctl_fail(MCTL_USAGE, "'%s' is no protocol that can be explained; use tcp, udp or icmp",
				 args->words[0]);
	icmp = *ret_proto == IPPROTO_ICMP;
	if (mctl_end_parse(args->words[1], true, ret_local))
		return mctl_fail(MCTL_USAGE, "'%s' is no local end: write ADDRESS:%s, IPv6 addresses in brackets",
				 args->words[1], icmp ? "IDENTIFIER" : "PORT");
	if (mctl_end_parse(args->words[2], !icmp, ret_remote))
		return mctl_fail(MCTL_USAGE, "'%s' is no remote end: write ADDRESS%s, IPv6 addresses in brackets",
				 args->words[2], icmp ? "" : ":PORT");
	if (ret_local->family != ret_remote->family)
		return mctl_fail(MCTL_USAGE, "'%s' and '%s' are of different address families", args->words[1],
				 args->words[2]);
	if (icmp && ret_local->family == AF_INET6)
		*ret_proto = IPPROTO_ICMPV6;
	return MCTL_OK;
}

int cmd_explain(const struct mctl_args *args)
{
	_cleanup_instance_ struct mctl_instance inst;
	struct answer a = { .args = args };
	struct mctl_end local = {}, remote = {};
	uint8_t frame[128];
	int proto, r, status;
	size_t len;

	r = mctl_instance_init(&inst);
	if (r < 0)
		return mctl_fail_with(r, "explain");
	status = parse(args, &proto, &local, &remote);
	if (status != MCTL_OK)
		return status;
	r = mctl_view(&inst);
	if (r == -ENOENT)
		return mctl_fail(MCTL_NOT_FOUND, "the mirror is down: nothing is mirrored; 'mirrorctl up' brings it up");
	if (!r) {
		len = mctl_explain_frame(proto, &local, &remote, frame);
		r = mctl_explain_ask(&inst, frame, len, local.scope ? local.scope : remote.scope, &a.e);
	}
	if (r < 0)
		return mctl_fail_with(r, "ask the kernel");
	a.is_target = a.e.known && !bpf_map_lookup_elem(inst.map[MCTL_MAP_TARGETS], &a.e.owner.tgid, &a.target) &&
		      a.target.born == a.e.owner.born;
	a.why = why(&inst, &a);
	if (mctl.json)
		return answer_json(&a);
	answer_text(&a);
	return MCTL_OK;
}
