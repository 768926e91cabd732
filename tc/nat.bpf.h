/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 2, shared piece: address translation on the host itself. At TC a packet wears what stands on the wire: behind
 * POSTROUTING when it leaves, before PREROUTING when it comes in. A socket knows its own tuple. What a target sends has its
 * socket with it, so both are seen there, and what comes back is put into the socket's terms before it is looked up. What
 * is kept names no owner: whose the packet is, is asked of the socket, each time.
 */
#pragma once

#include "conversation.bpf.h"
#include "maps.bpf.h"

#define MIR_SOCK_RAW 3
#define MIR_AF_PACKET 17

/* What mir_untranslate() found. */
enum mir_nat {
	MIR_NAT_NONE,		/* nothing is known: the tuple is what it says */
	MIR_NAT_INSIDE,		/* on the wire it stands for another one, a target's socket's */
	MIR_NAT_AWAY,		/* a target's socket has this tuple, but is known by another one on the wire */
};

static __always_inline int mir_words_same(const __u32 *a, const __u32 *b, int n)
{
	__u32 differ = 0;
	int i;

#pragma unroll
	for (i = 0; i < n; i++)
		differ |= a[i] ^ b[i];
	return !differ;
}

static __always_inline int mir_flow_same(const struct mir_flow *a, const struct mir_flow *b)
{
	return mir_words_same((const __u32 *)a, (const __u32 *)b, sizeof(*a) / sizeof(__u32));
}

/* Puts a TCP or UDP packet into the terms of the socket at its near end (`outgoing`: its source): `to`, if that is another
 * tuple than the one on the wire. */
static __noinline int mir_untranslate(const struct mir_packet *p, int outgoing, struct mir_packet *to)
{
	struct mir_config *c = mir_config();
	struct mir_flow flow = {}, *own;

	if (!c || !to || (p->proto != IPPROTO_TCP && p->proto != IPPROTO_UDP))
		return MIR_NAT_NONE;
	mir_flow_key(&flow, p, outgoing, c->netns);
	own = bpf_map_lookup_elem(&translated, &flow);
	if (!own)
		return MIR_NAT_NONE;
	if (!own->proto)
		return MIR_NAT_AWAY;
	*to = *p;
	__builtin_memcpy(outgoing ? to->saddr : to->daddr, own->local, sizeof(own->local));
	__builtin_memcpy(outgoing ? to->daddr : to->saddr, own->remote, sizeof(own->remote));
	to->sport = outgoing ? own->lport : own->rport;
	to->dport = outgoing ? own->rport : own->lport;
	return MIR_NAT_INSIDE;
}

/* Does the packet say of an end what the socket knows of it? A socket that is bound to no address or not connected (all
 * zero) knows less. Macros, because the verifier takes no computed place in a socket. */
#define mir_says4(known, said) (!(known) || (known) == (said))
#define mir_says6(known, said)								\
	(!((known)[0] | (known)[1] | (known)[2] | (known)[3]) ||			\
	 !(((known)[0] ^ (said)[0]) | ((known)[1] ^ (said)[1]) | ((known)[2] ^ (said)[2]) | ((known)[3] ^ (said)[3])))

/* Does the packet say what its socket knows? The commonest ones, told in place: no options, no later piece. */
static __always_inline int mir_agrees4(struct __sk_buff *skb, struct bpf_sock *sk, __u32 l2_len)
{
	const struct {
		struct iphdr ip;
		__be16 sport, dport;
	} *h = (void *)(long)skb->data + l2_len;

	return (void *)(h + 1) <= (void *)(long)skb->data_end && h->ip.version == 4 && h->ip.ihl == 5 &&
	       !(h->ip.frag_off & bpf_htons(MIR_IP_OFFSET)) && bpf_htons(sk->src_port) == h->sport &&
	       mir_says4(sk->dst_port, h->dport) && mir_says4(sk->src_ip4, h->ip.saddr) && mir_says4(sk->dst_ip4, h->ip.daddr);
}

static __always_inline int mir_agrees6(struct __sk_buff *skb, struct bpf_sock *sk, __u32 l2_len)
{
	const struct {
		struct ipv6hdr ip;
		__be16 sport, dport;
	} *h = (void *)(long)skb->data + l2_len;

	return (void *)(h + 1) <= (void *)(long)skb->data_end && h->ip.version == 6 && mir_has_ports(h->ip.nexthdr) &&
	       bpf_htons(sk->src_port) == h->sport && mir_says4(sk->dst_port, h->dport) &&
	       mir_says6(sk->src_ip6, h->ip.saddr.s6_addr32) && mir_says6(sk->dst_ip6, h->ip.daddr.s6_addr32);
}

/* `own`: the tuple on the wire (`p`), as far as the socket does not know it better. */
static __always_inline void mir_own_tuple(struct mir_flow *own, struct bpf_sock *sk, __u32 version)
{
	if (version == 4) {
		if (sk->src_ip4)
			own->local[3] = sk->src_ip4;
		if (sk->dst_ip4)
			own->remote[3] = sk->dst_ip4;
	} else {
		if (sk->src_ip6[0] | sk->src_ip6[1] | sk->src_ip6[2] | sk->src_ip6[3]) {
			own->local[0] = sk->src_ip6[0];
			own->local[1] = sk->src_ip6[1];
			own->local[2] = sk->src_ip6[2];
			own->local[3] = sk->src_ip6[3];
		}
		if (sk->dst_ip6[0] | sk->dst_ip6[1] | sk->dst_ip6[2] | sk->dst_ip6[3]) {
			own->remote[0] = sk->dst_ip6[0];
			own->remote[1] = sk->dst_ip6[1];
			own->remote[2] = sk->dst_ip6[2];
			own->remote[3] = sk->dst_ip6[3];
		}
	}
	own->lport = bpf_htons(sk->src_port);
	if (sk->dst_port)
		own->rport = sk->dst_port;
}

/*
 * A packet may also differ from its socket because a tunnel has wrapped it. A translation leaves the near port or the far
 * end as it was, a wrapping changes both. A socket that is not connected does not know its far end: then the near port must
 * be one that nobody here has bound, as a tunnel's socket is.
 */
static __always_inline int mir_is_wrapping(struct __sk_buff *skb, struct bpf_sock *sk, const struct mir_packet *p,
					   const struct mir_flow *own, const struct mir_flow *wire)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *other;

	if (own->lport == wire->lport)
		return 0;
	if (sk->dst_port)
		return own->rport != wire->rport || !mir_words_same(own->remote, wire->remote, 4);
	mir_tuple(&tuple, p, 1);
	if (p->version == 4)
		other = bpf_sk_lookup_udp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	else
		other = bpf_sk_lookup_udp(skb, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	if (!other)
		return 0;
	bpf_sk_release(other);
	return 1;
}

/*
 * Compares what a target sends with its socket, and remembers both tuples where they differ: the one on the wire stands for
 * the socket's, and the socket's for none, unless it is in turn another one's on the wire. Nothing expires: a socket that
 * is gone is not found. `proto`: what the socket speaks.
 */
static __noinline int mir_compare_tuples(struct __sk_buff *skb, __u32 l2_len, __u32 proto)
{
	struct mir_packet *p = mir_packet_at(MIR_SLOT_SENT);
	struct mir_flow wire = {}, own, *old;
	struct mir_config *c = mir_config();
	struct mir_live *l = mir_live();
	struct bpf_sock *sk = skb->sk;

	if (!sk || !c || !l || !p || mir_read(skb, l2_len, p, MIR_SLOT_SENT) != MIR_PARSE_OK ||
	    p->piece == MIR_PIECE_LATER || p->proto != proto)
		return 0;
	if (skb->protocol == bpf_htons(ETH_P_8021Q) || skb->protocol == bpf_htons(ETH_P_8021AD))
		l2_len += 4;	/* a tag that is in the data */
	/* With a source route the destination is the first hop (RFC 791 3.1, RFC 8200 4.4): options tell us nothing. */
	if (p->l4_off != l2_len + (p->version == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)))
		return 0;
	mir_flow_key(&wire, p, 1, c->netns);
	own = wire;
	mir_own_tuple(&own, sk, p->version);
	old = bpf_map_lookup_elem(&translated, &wire);
	if (mir_flow_same(&own, &wire)) {
		if (old)
			bpf_map_delete_elem(&translated, &wire);
		return 0;
	}
	if ((old && mir_flow_same(old, &own)) || mir_is_wrapping(skb, sk, p, &own, &wire))
		return 0;
	l->translates = 1;
	bpf_map_update_elem(&translated, &wire, &own, BPF_ANY);
	__builtin_memset(&wire, 0, sizeof(wire));
	return bpf_map_update_elem(&translated, &own, &wire, BPF_NOEXIST);
}

/* mir_compare_tuples() for what a target sends by TCP or UDP, if the packet could tell news. `full`: its socket, if it is a full
 * one; else that is TCP's. */
static __always_inline void mir_learn_translation(struct __sk_buff *skb, const struct mir_live *l, struct bpf_sock *full,
						  __u32 l2_len)
{
	struct bpf_sock *sk = skb->sk;
	__u32 proto = full ? full->protocol : IPPROTO_TCP;

	if (!sk || sk->family == MIR_AF_PACKET || !sk->src_port || (full && full->type == MIR_SOCK_RAW) ||
	    (proto != IPPROTO_TCP && proto != IPPROTO_UDP))
		return;
	if (l->translates || !(skb->protocol == bpf_htons(ETH_P_IP) ? mir_agrees4(skb, sk, l2_len) : mir_agrees6(skb, sk, l2_len)))
		mir_compare_tuples(skb, l2_len, proto);
}
