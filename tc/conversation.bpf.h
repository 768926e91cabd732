/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Parsed packets in their places, and a packet's conversation, seen from one of its ends: the key of maps `flows` and
 * `announced`, and what an announcement names. Shared by the mirror and monitor programs; knows nothing of owners.
 */
#pragma once

#include <mirror/abi.h>

#include "parse.bpf.h"

/* Places for parsed packets, each used for one thing at a time. */
enum mir_slot {
	MIR_SLOT_SENT,
	MIR_SLOT_RECEIVED,
	MIR_SLOT_QUOTED,
	MIR_SLOT_INSIDE,	/* as its socket knows it, behind address translation */
	MIR_SLOT_TOLD,		/* whose conversation is asked for */
	MIR_SLOT_MAX,
};

/*
 * Room to work in. In a map and not on the stack, which is 512 bytes for all calls under way, and because the verifier then
 * forgets what each path through the parser has put in; else it follows each of them separately through all that comes
 * after. One for a processor and object: programs at TC run to their end on one processor, with softirqs held off, and what
 * bpf_clone_redirect() calls is of another object.
 */
struct mir_room {
	struct mir_packet packet;
	struct mir_flow flow;	/* its conversation; of MIR_SLOT_TOLD only */
	struct mir_owner owner;	/* of MIR_SLOT_QUOTED only */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MIR_SLOT_MAX);
	__type(key, __u32);
	__type(value, struct mir_room);
} room SEC(".maps");

/* NULL never happens, and must be asked for. */
static __always_inline struct mir_room *mir_room(__u32 slot)
{
	return bpf_map_lookup_elem(&room, &slot);
}

/* A zeroed packet; NULL as above. */
static __always_inline struct mir_packet *mir_packet_at(__u32 slot)
{
	struct mir_room *r = mir_room(slot);

	if (!r)
		return NULL;
	__builtin_memset(&r->packet, 0, sizeof(r->packet));
	return &r->packet;
}

/* The parsers behind mir_read(). Global, so that the verifier goes through them once for each program and not for each way to
 * each call; before Linux 5.12 such a function takes no pointer but the context. */
__noinline int mir_read_any(struct __sk_buff *skb, __u32 l2_len, __u32 slot)
{
	struct mir_room *r = mir_room(slot);

	return r ? mir_parse_any(skb, l2_len, &r->packet) : MIR_PARSE_OTHER;
}

/* mir_parse() for a packet in its place: `p` is mir_packet_at(slot). */
static __always_inline int mir_read(struct __sk_buff *skb, __u32 l2_len, struct mir_packet *p, __u32 slot)
{
	return mir_parse_plain(skb, l2_len, skb->protocol, p) ? MIR_PARSE_OK : mir_read_any(skb, l2_len, slot);
}

/* Puts the packet that an ICMP error quotes, from its IP header at `off` on, into MIR_SLOT_QUOTED. 0, or -1: it cannot be
 * parsed, or is a later fragment, which says nothing of its conversation. */
__noinline int mir_read_quoted(struct __sk_buff *skb, __u32 off, __u32 version)
{
	struct mir_packet *p = mir_packet_at(MIR_SLOT_QUOTED);

	if (!p || mir_parse_quoted(skb, off, version, p) != MIR_PARSE_OK || p->piece == MIR_PIECE_LATER)
		return -1;
	return 0;
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

/*
 * Puts the conversation of a whole packet or a first fragment, seen from its sender (`sent`) or its receiver, into the room's
 * `flow`, and the packet into MIR_SLOT_TOLD. A received ICMP error belongs to the conversation it quotes, whose packet was a
 * sent one. 0, or -1 for what is not IP, later fragments (the first one was told) and what cannot be parsed. Global as
 * mir_read_any().
 */
__noinline int mir_conversation(struct __sk_buff *skb, __u32 l2_len, __u32 sent)
{
	struct mir_room *r = mir_room(MIR_SLOT_TOLD), *quoted = mir_room(MIR_SLOT_QUOTED);
	struct mir_packet *p;

	if (!r || !quoted)
		return -1;
	__builtin_memset(r, 0, sizeof(*r));
	p = &r->packet;
	if (mir_read(skb, l2_len, p, MIR_SLOT_TOLD) != MIR_PARSE_OK || p->piece == MIR_PIECE_LATER)
		return -1;
	if (sent || !mir_is_icmp(p) || !mir_icmp_error(p)) {
		mir_flow_key(&r->flow, p, sent, 0);
		return 0;
	}
	if (mir_read_quoted(skb, p->l4_off + 8, p->version))
		return -1;
	mir_flow_key(&r->flow, &quoted->packet, 1, 0);
	return 0;
}
