/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A packet's conversation, seen from one of its ends: the key of maps `flows` and `announced`, and what an announcement
 * names. Shared by the mirror and monitor programs; knows nothing of owners.
 */
#pragma once

#include <mirror/abi.h>

#include "parse.bpf.h"

/* What is too much for the stack (512 bytes for all calls under way). Programs at TC run to their end on one processor, with
 * softirqs held off; each object has a map of its own, which is not pinned. */
struct mir_scratch {
	struct mir_packet packet;
	struct mir_flow flow;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mir_scratch);
} scratch SEC(".maps");

static __always_inline struct mir_scratch *mir_scratch(void)
{
	struct mir_scratch *s;
	__u32 zero = 0;

	s = bpf_map_lookup_elem(&scratch, &zero);
	if (s)
		__builtin_memset(s, 0, sizeof(*s));
	return s;
}

static __always_inline void mir_flow_key(struct mir_flow *flow, const struct mir_packet *p, int outgoing, __u32 netns)
{
	__builtin_memcpy(flow->local, outgoing ? p->saddr : p->daddr, sizeof(flow->local));
	__builtin_memcpy(flow->remote, outgoing ? p->daddr : p->saddr, sizeof(flow->remote));
	if (mir_has_ports(p->proto)) {
		flow->lport = outgoing ? p->sport : p->dport;
		flow->rport = outgoing ? p->dport : p->sport;
	} else {
		flow->lport = p->sport;		/* ICMP identifier, the same both ways */
	}
	flow->proto = p->proto;
	flow->netns = netns;
}

/* Tuple for the lookup helpers: the far end is the source, as in an incoming packet. */
static __always_inline void mir_tuple(struct bpf_sock_tuple *tuple, const struct mir_packet *p, int outgoing)
{
	const __be32 *far = outgoing ? p->daddr : p->saddr, *near = outgoing ? p->saddr : p->daddr;
	__be16 far_port = outgoing ? p->dport : p->sport, near_port = outgoing ? p->sport : p->dport;

	if (p->version == 4) {
		tuple->ipv4.saddr = far[3];
		tuple->ipv4.daddr = near[3];
		tuple->ipv4.sport = far_port;
		tuple->ipv4.dport = near_port;
		return;
	}
	__builtin_memcpy(tuple->ipv6.saddr, far, sizeof(tuple->ipv6.saddr));
	__builtin_memcpy(tuple->ipv6.daddr, near, sizeof(tuple->ipv6.daddr));
	tuple->ipv6.sport = far_port;
	tuple->ipv6.dport = near_port;
}

static __noinline int mir_quoted_conversation(struct __sk_buff *skb, __u32 off, __u32 version, struct mir_flow *flow)
{
	struct mir_packet quoted = {};

	if (mir_parse_quoted(skb, off, version, &quoted) != MIR_PARSE_OK || quoted.piece == MIR_PIECE_LATER)
		return -1;
	mir_flow_key(flow, &quoted, 1, 0);
	return 0;
}

/*
 * The conversation of a whole packet or a first fragment, seen from its sender (`sent`) or its receiver. A received ICMP
 * error belongs to the conversation it quotes, whose packet was a sent one. 0, or -1 for what is not IP, later fragments
 * (the first one was told) and what cannot be parsed. `p` is room to work in, zeroed.
 */
static __noinline int mir_conversation(struct __sk_buff *skb, __u32 l2_len, __u32 sent, struct mir_packet *p,
				       struct mir_flow *flow)
{
	if (mir_parse(skb, l2_len, p) != MIR_PARSE_OK || p->piece == MIR_PIECE_LATER)
		return -1;
	if (!sent && mir_is_icmp(p) && mir_icmp_error(p))
		return mir_quoted_conversation(skb, p->l4_off + 8, p->version, flow);
	mir_flow_key(flow, p, sent, 0);
	return 0;
}
