/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 2, shared piece: whose packet is it, and why (design 4.3). Turns a packet into a target and a reason; never asks
 * for `current`, which in packet context is whoever happens to run. Takes no copy: that is copy.bpf.h.
 */
#pragma once

#include "nat.bpf.h"
#include "timewait.bpf.h"

#define MIR_AF_INET 2
#define MIR_AF_INET6 10
#define MIR_TCP_ESTABLISHED 1
#define MIR_TCP_TIME_WAIT 6
#define MIR_TCP_CLOSE 7
#define MIR_TCP_LISTEN 10
#define MIR_TCP_NEW_SYN_RECV 12

/* bpf_skc_to_mptcp_sock() is missing before Linux 5.19; set at load, so that older verifiers never see the call. */
const volatile __u32 mir_have_mptcp = 0;

struct mptcp_sock;

/* Who a packet belongs to. */
struct mir_match {
	struct mir_target *target;	/* NULL: nobody we look for */
	struct mir_owner owner;
	__u32 reason;			/* enum mir_reason */
	__u32 sent;			/* 1: the owner sends it, 0: receives it, wherever it was seen */
	__u64 netns;			/* where sockets are looked up, as bpf_skc_lookup_tcp() takes it */
};

#define MIR_NETNS_HERE ((__u64)BPF_F_CURRENT_NETNS)

/* The target this owner stands for, if it still is one: same process, running or not longer gone than the linger time. A
 * process that had the id before is counted with the one that has it now: a pointer into another map would have the verifier
 * go through all that comes after twice. */
static __always_inline struct mir_target *mir_target_of(const struct mir_owner *owner)
{
	__u32 tgid = owner->tgid;
	struct mir_config *c;
	struct mir_target *t, *gone;
	__u64 exit_ns;

	if (!tgid)
		return NULL;
	t = bpf_map_lookup_elem(&targets, &tgid);
	if (!t)
		return NULL;
	exit_ns = t->exit_ns;
	if (t->born != owner->born) {
		gone = bpf_map_lookup_elem(&former, owner);
		if (!gone)
			return NULL;
		exit_ns = gone->exit_ns;
	}
	if (!exit_ns)
		return t;
	c = mir_config();
	return c && bpf_ktime_get_ns() - exit_ns < c->linger_ns ? t : NULL;
}

static __always_inline int mir_match_owner(struct mir_match *m, const struct mir_owner *owner, __u32 reason)
{
	m->owner = *owner;
	m->target = mir_target_of(&m->owner);
	m->reason = reason;
	return m->target != NULL;
}

/*
 * The owner that a full socket carries. A TCP socket that is a subflow of an MPTCP connection was made by the kernel and
 * carries none; the MPTCP socket above it does. Copied down, so that children of a subflow listener inherit it.
 * A macro, because the verifier must see the type of `sk`.
 */
#define mir_owner_of(sk, mptcp) ({							\
	__typeof__(sk) sk_ = (sk);							\
	struct mir_owner *owner_ = bpf_sk_storage_get(&owners, sk_, 0, 0);		\
	if (!owner_ && mir_have_mptcp && (mptcp)) {					\
		struct mptcp_sock *msk_ = bpf_skc_to_mptcp_sock(sk_);			\
		struct mir_owner *above_ = msk_ ? bpf_sk_storage_get(&owners, msk_, 0, 0) : NULL; \
		if (above_) {								\
			struct mir_owner copy_ = *above_;				\
			owner_ = bpf_sk_storage_get(&owners, sk_, &copy_, BPF_SK_STORAGE_GET_F_CREATE); \
		}									\
	}										\
	owner_;										\
})

static __always_inline int mir_mptcp(void)
{
	struct mir_live *l = mir_live();

	return l && l->mptcp;
}

/* Looks a packet without live socket up in map `flows`. `netns`: the namespace of the TIME_WAIT socket that stands behind it,
 * so that age is no matter; 0: there is none. */
static __noinline int mir_match_flow(struct mir_match *m, const struct mir_packet *p, int outgoing, __u32 netns)
{
	struct mir_live *l = mir_live();
	struct mir_flow_owner *value;
	struct mir_flow flow = {};
	struct mir_config *c;
	__u64 limit;

	if (!l || !(l->asks || (l->lingers && p->proto == IPPROTO_TCP)))
		return 0;	/* nothing was ever put there that it could find */
	c = mir_config();
	if (!c)
		return 0;
	mir_flow_key(&flow, p, outgoing, netns ? netns : c->netns);
	value = bpf_map_lookup_elem(&flows, &flow);
	if (!value)
		return 0;
	limit = value->reason == MIR_REASON_LINGER ? c->linger_ns : MIR_ANSWER_NS;
	if (!netns && bpf_ktime_get_ns() - value->seen_ns >= limit)
		return 0;
	return mir_match_owner(m, &value->owner, value->reason);
}

/* Remembers what a target sent, so that the answer is known. Written once in a while, not for each packet. `socket`: low
 * half of the sending socket's cookie. */
static __noinline int mir_learn_flow(const struct mir_match *m, const struct mir_packet *p, __u32 reason, __u32 socket)
{
	struct mir_config *c = mir_config();
	struct mir_flow_owner value = {}, *old;
	struct mir_flow flow = {};
	__u64 now = bpf_ktime_get_ns();

	if (!c)
		return 0;
	mir_flow_key(&flow, p, 1, c->netns);
	old = bpf_map_lookup_elem(&flows, &flow);
	if (old && old->owner.tgid == m->owner.tgid && old->owner.born == m->owner.born && old->reason == reason &&
	    old->socket == socket && now - old->seen_ns < MIR_ANSWER_NS / 4)
		return 0;
	value.owner = m->owner;
	value.reason = reason;
	value.socket = socket;
	value.seen_ns = now;
	return bpf_map_update_elem(&flows, &flow, &value, BPF_ANY);
}

static __always_inline void mir_fragment_key(struct mir_fragment *key, const struct mir_packet *p, __u64 netns)
{
	__u32 place = (__u32)netns + 1;		/* MIR_NETNS_HERE: 0 */

	__builtin_memcpy(key->saddr, p->saddr, sizeof(key->saddr));
	__builtin_memcpy(key->daddr, p->daddr, sizeof(key->daddr));
	key->id = p->fragment_id;
	key->proto = p->version == 4 ? p->proto : 0;
	key->netns[0] = place;
	key->netns[1] = place >> 8;
	key->netns[2] = place >> 16;
}

static __noinline int mir_match_fragment(struct mir_match *m, const struct mir_packet *p)
{
	struct mir_fragment_owner *value;
	struct mir_fragment key = {};

	mir_fragment_key(&key, p, m->netns);
	value = bpf_map_lookup_elem(&fragments, &key);
	if (!value || bpf_ktime_get_ns() - value->seen_ns >= MIR_FRAGMENT_NS)
		return 0;
	return mir_match_owner(m, &value->owner, MIR_REASON_FRAGMENT);
}

/* Every first fragment that is looked at speaks for its datagram, also to say "not a target's": an identification comes
 * round again after 65,536 datagrams. */
static __noinline int mir_learn_fragment(const struct mir_match *m, const struct mir_packet *p)
{
	struct mir_fragment_owner value = {};
	struct mir_fragment key = {};

	mir_fragment_key(&key, p, m->netns);
	if (!m->target)
		return bpf_map_delete_elem(&fragments, &key);
	value.owner = m->owner;
	value.seen_ns = bpf_ktime_get_ns();
	return bpf_map_update_elem(&fragments, &key, &value, BPF_ANY);
}

/*
 * Will this host take the packet in, or pass it on? A socket bound to every address is found for any destination, also for
 * a packet that is only routed through. Asks the routing table as the stack will; a device that does not forward takes in
 * or drops.
 */
static __noinline int mir_stays_here(struct __sk_buff *skb, const struct mir_packet *p)
{
	struct bpf_fib_lookup fib = { .ifindex = skb->ingress_ifindex ? skb->ingress_ifindex : skb->ifindex };
	long r;

	fib.l4_protocol = p->proto;
	fib.sport = p->sport;
	fib.dport = p->dport;
	if (p->version == 4) {
		fib.family = MIR_AF_INET;
		fib.ipv4_src = p->saddr[3];
		fib.ipv4_dst = p->daddr[3];
	} else {
		fib.family = MIR_AF_INET6;
		__builtin_memcpy(fib.ipv6_src, p->saddr, sizeof(fib.ipv6_src));
		__builtin_memcpy(fib.ipv6_dst, p->daddr, sizeof(fib.ipv6_dst));
	}
	r = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
	return r == BPF_FIB_LKUP_RET_NOT_FWDED || r == BPF_FIB_LKUP_RET_FWD_DISABLED || r < 0;
}

/* Is a socket bound to the very address a packet is for? It takes it in wherever the routes lead: a transparent proxy's. Macros,
 * because the verifier must see the type of `sk`. */
#define mir_is_bound_to4(sk, addr) ((sk)->src_ip4 == (addr))
#define mir_is_bound_to6(sk, addr)							\
	(!(((sk)->src_ip6[0] ^ (addr)[0]) | ((sk)->src_ip6[1] ^ (addr)[1]) |		\
	   ((sk)->src_ip6[2] ^ (addr)[2]) | ((sk)->src_ip6[3] ^ (addr)[3])))

static __always_inline struct bpf_sock *mir_lookup_tcp(struct __sk_buff *skb, struct bpf_sock_tuple *tuple, __u32 version,
							 __u64 netns)
{
	if (version == 4)
		return bpf_skc_lookup_tcp(skb, tuple, sizeof(tuple->ipv4), netns, 0);
	return bpf_skc_lookup_tcp(skb, tuple, sizeof(tuple->ipv6), netns, 0);
}

/* TCP by tuple. A connection under way answers for itself; a request not yet accepted and a SYN belong to the listener's
 * owner, also a SYN that ends a TIME_WAIT (RFC 9293 3.6.1); TIME_WAIT and no socket at all are left to map `flows`. */
static __noinline int mir_match_tcp(struct __sk_buff *skb, struct mir_match *m, const struct mir_packet *p, int outgoing)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *listener, *sk;
	struct mir_owner *owner = NULL;
	__u32 state, netns, reason = MIR_REASON_SOCKET;
	int mptcp = mir_mptcp();
	int found = 0;

	mir_tuple(&tuple, p, outgoing);
	sk = mir_lookup_tcp(skb, &tuple, p->version, m->netns);
	if (!sk)
		return mir_match_flow(m, p, outgoing, 0);
	if (sk->state == MIR_TCP_TIME_WAIT) {
		netns = mir_timewait_netns(sk);
		bpf_sk_release(sk);
		if (outgoing || (p->tcp_flags & (MIR_TCP_SYN | MIR_TCP_ACK)) != MIR_TCP_SYN)
			return mir_match_flow(m, p, outgoing, netns);
		/* No connection has a far port 0: what answers for this one is a listener. */
		if (p->version == 4)
			tuple.ipv4.sport = 0;
		else
			tuple.ipv6.sport = 0;
		sk = mir_lookup_tcp(skb, &tuple, p->version, m->netns);
		if (!sk)
			return mir_match_flow(m, p, outgoing, netns);
	}
	state = sk->state;
	if (state == MIR_TCP_LISTEN || state == MIR_TCP_NEW_SYN_RECV) {
		reason = MIR_REASON_LISTENER;
		listener = bpf_get_listener_sock(sk);
		if (listener)
			owner = mir_owner_of(listener, mptcp);
	} else {
		owner = mir_owner_of(sk, mptcp);
	}
	if (owner)
		found = mir_match_owner(m, owner, reason);
	bpf_sk_release(sk);
	if (found && state == MIR_TCP_LISTEN && !outgoing && m->netns == MIR_NETNS_HERE)
		found = mir_stays_here(skb, p);
	return found;
}

static __noinline int mir_match_udp(struct __sk_buff *skb, struct mir_match *m, const struct mir_packet *p, int outgoing)
{
	struct bpf_sock_tuple tuple = {};
	struct mir_owner *owner;
	struct bpf_sock *sk;
	int found = 0, sure;

	mir_tuple(&tuple, p, outgoing);
	if (p->version == 4)
		sk = bpf_sk_lookup_udp(skb, &tuple, sizeof(tuple.ipv4), m->netns, 0);
	else
		sk = bpf_sk_lookup_udp(skb, &tuple, sizeof(tuple.ipv6), m->netns, 0);
	if (!sk)
		return mir_match_flow(m, p, outgoing, 0);
	owner = bpf_sk_storage_get(&owners, sk, 0, 0);
	if (owner)
		found = mir_match_owner(m, owner, MIR_REASON_SOCKET);
	sure = sk->state == MIR_TCP_ESTABLISHED ||
	       (p->version == 4 ? mir_is_bound_to4(sk, p->daddr[3]) : mir_is_bound_to6(sk, p->daddr));
	bpf_sk_release(sk);
	if (found && !sure && !outgoing && m->netns == MIR_NETNS_HERE)
		found = mir_stays_here(skb, p);
	return found;
}

/* The packet as the socket at its near end knows it. *away is set when the tuple is that of a socket which is known by
 * another one on the wire. Nothing was learnt about what other namespaces translate. */
static __always_inline const struct mir_packet *mir_inside(const struct mir_match *m, const struct mir_packet *p,
							   int outgoing, int *away)
{
	struct mir_live *l = mir_live();
	struct mir_packet *inside;
	int nat;

	*away = 0;
	if (!l || !l->translates || m->netns != MIR_NETNS_HERE)
		return p;
	inside = mir_packet_at(MIR_SLOT_INSIDE);
	nat = mir_untranslate(p, outgoing, inside);
	*away = nat == MIR_NAT_AWAY;
	return nat == MIR_NAT_INSIDE && inside ? inside : p;
}

/* The local end of a packet that has no socket attached: by tuple or by what was learnt. `outgoing` says which end is
 * the local one (1: source). Does not follow ICMP errors. */
static __always_inline int mir_match_tuple(struct __sk_buff *skb, struct mir_match *m,
					   const struct mir_packet *p, int outgoing)
{
	const struct mir_packet *inside;
	int away, found;

	inside = mir_inside(m, p, outgoing, &away);
	if (p->proto == IPPROTO_TCP)
		found = mir_match_tcp(skb, m, inside, outgoing);
	else if (p->proto == IPPROTO_UDP)
		found = mir_match_udp(skb, m, inside, outgoing);
	else
		found = mir_match_flow(m, p, outgoing, 0);
	/* A listener takes in whatever comes for its port. */
	return found && (!away || m->reason == MIR_REASON_LISTENER);
}

/* Is the packet in MIR_SLOT_QUOTED a target's? Its owner is left there. Global as mir_read_any(). */
__noinline int mir_match_quoted(struct __sk_buff *skb, __u64 netns)
{
	struct mir_room *quoted = mir_room(MIR_SLOT_QUOTED);
	struct mir_match m = { .netns = netns };

	if (!quoted || !mir_match_tuple(skb, &m, &quoted->packet, 1))
		return 0;
	quoted->owner = m.owner;
	return 1;
}

/* An ICMP error belongs to the process whose packet it quotes; the quoted packet was an outgoing one. */
static __always_inline int mir_match_icmp_error(struct __sk_buff *skb, struct mir_match *m, const struct mir_packet *p)
{
	struct mir_room *quoted = mir_room(MIR_SLOT_QUOTED);

	if (!quoted || mir_read_quoted(skb, p->l4_off + 8, p->version) || !mir_match_quoted(skb, m->netns))
		return 0;
	return mir_match_owner(m, &quoted->owner, MIR_REASON_ICMP_ERROR);
}

/* Whose packet is it to receive? Sets m->target when it is a target's, and only then. */
static __always_inline int mir_match_receiver(struct __sk_buff *skb, struct mir_match *m, const struct mir_packet *p)
{
	int found;

	if (p->piece == MIR_PIECE_LATER)
		return mir_match_fragment(m, p);
	if (mir_is_icmp(p) && mir_icmp_error(p))
		found = mir_match_icmp_error(skb, m, p);
	else if (mir_is_icmp(p) && !mir_icmp_reply(p))
		found = 0;
	else
		found = mir_match_tuple(skb, m, p, 0);
	if (!found)
		m->target = NULL;
	if (p->piece == MIR_PIECE_FIRST)
		mir_learn_fragment(m, p);
	return found;
}
