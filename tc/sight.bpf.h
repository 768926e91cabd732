/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 2, shared piece: whose is a received packet, at first sight? What nearly every packet is, plain TCP or UDP whose socket
 * answers for itself, is told here without being parsed into a place; whatever takes more than one look is left to match.bpf.h,
 * which would have said the same.
 */
#pragma once

#include "match.bpf.h"

enum mir_sight {
	MIR_SIGHT_NONE,		/* ask on */
	MIR_SIGHT_TOLD,		/* m->target says whose the packet is */
	MIR_SIGHT_STAYS,	/* it does if this host takes the packet in */
	MIR_SIGHT_LOST,		/* no socket: whose it is only map `flows` can know */
};

/* The tuple of a plain packet, far end first. */
static __always_inline void mir_plain_tuple(const struct mir_plain *at, struct bpf_sock_tuple *tuple)
{
	if (at->is_ip6) {
		__builtin_memcpy(tuple->ipv6.saddr, &at->ip6->saddr, sizeof(tuple->ipv6.saddr) + sizeof(tuple->ipv6.daddr));
		__builtin_memcpy(&tuple->ipv6.sport, at->l4, sizeof(tuple->ipv6.sport) + sizeof(tuple->ipv6.dport));
	} else {
		__builtin_memcpy(&tuple->ipv4.saddr, &at->ip->saddr, sizeof(tuple->ipv4.saddr) + sizeof(tuple->ipv4.daddr));
		__builtin_memcpy(&tuple->ipv4.sport, at->l4, sizeof(tuple->ipv4.sport) + sizeof(tuple->ipv4.dport));
	}
}

/* A lookup helper with the size that the version has: not one call with either, whose size older verifiers lose. */
#define mir_sight_lookup(helper, skb, m, tuple, is_ip6) ({					\
	struct bpf_sock *found_;								\
	if (is_ip6)										\
		__attribute__((nomerge)) found_ = helper(skb, tuple, sizeof((tuple)->ipv6), (m)->netns, 0); \
	else											\
		__attribute__((nomerge)) found_ = helper(skb, tuple, sizeof((tuple)->ipv4), (m)->netns, 0); \
	found_;											\
})

/* As mir_match_tcp(). A listener, a request and TIME_WAIT stand for others. */
static __always_inline enum mir_sight mir_sight_tcp(struct __sk_buff *skb, struct mir_match *m, const struct mir_live *l,
						    struct bpf_sock_tuple *tuple, __u32 is_ip6)
{
	struct bpf_sock *sk = mir_sight_lookup(bpf_skc_lookup_tcp, skb, m, tuple, is_ip6);
	enum mir_sight told = MIR_SIGHT_NONE;
	struct mir_owner *owner;
	__u32 state;

	if (!sk)
		return l->asks | l->lingers ? MIR_SIGHT_LOST : MIR_SIGHT_TOLD;
	state = sk->state;
	if (state != MIR_TCP_TIME_WAIT && state != MIR_TCP_NEW_SYN_RECV) {
		owner = mir_owner_of(sk, l->mptcp);
		if (!owner || state != MIR_TCP_LISTEN)
			told = MIR_SIGHT_TOLD;
		if (owner && told)
			mir_match_owner(m, owner, MIR_REASON_SOCKET);
	}
	bpf_sk_release(sk);
	return told;
}

/* As mir_match_udp(). */
static __always_inline enum mir_sight mir_sight_udp(struct __sk_buff *skb, struct mir_match *m, const struct mir_live *l,
						    struct bpf_sock_tuple *tuple, __u32 is_ip6)
{
	struct bpf_sock *sk = mir_sight_lookup(bpf_sk_lookup_udp, skb, m, tuple, is_ip6);
	enum mir_sight told = MIR_SIGHT_TOLD;
	struct mir_owner *owner;

	if (!sk)
		return l->asks ? MIR_SIGHT_LOST : MIR_SIGHT_TOLD;
	owner = bpf_sk_storage_get(&owners, sk, 0, 0);
	if (owner && mir_match_owner(m, owner, MIR_REASON_SOCKET) && m->netns == MIR_NETNS_HERE &&
	    sk->state != MIR_TCP_ESTABLISHED &&
	    !(is_ip6 ? mir_is_bound_to6(sk, tuple->ipv6.daddr) : mir_is_bound_to4(sk, tuple->ipv4.daddr)))
		told = MIR_SIGHT_STAYS;
	bpf_sk_release(sk);
	return told;
}

static __always_inline enum mir_sight mir_at_first_sight(struct __sk_buff *skb, struct mir_match *m, const struct mir_live *l,
							 __u32 l2_len)
{
	struct bpf_sock_tuple tuple;	/* as much of it as the version has */
	struct mir_plain at;

	if (l->translates || !mir_find_plain(skb, l2_len, skb->protocol, &at))
		return MIR_SIGHT_NONE;
	mir_plain_tuple(&at, &tuple);
	return at.proto == IPPROTO_TCP ? mir_sight_tcp(skb, m, l, &tuple, at.is_ip6) : mir_sight_udp(skb, m, l, &tuple, at.is_ip6);
}

/* The same as a function of its own: its tuple is not on the stack below the deepest calls (512 bytes for all of them). */
static __noinline enum mir_sight mir_at_first_sight_apart(struct __sk_buff *skb, struct mir_match *m, const struct mir_live *l,
							  __u32 l2_len)
{
	return mir_at_first_sight(skb, m, l, l2_len);
}
