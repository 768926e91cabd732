/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 2, is this packet wanted: the programs on the sources. One pair for devices with an Ethernet header, one for
 * those without; one for loopback, which sees a packet once and asks for both of its ends; and one for the egress of a
 * veth into another namespace, which asks for the receiver there. Every exit is MIR_NEXT, so whoever comes after us in
 * the chain sees the packet as if we were not there.
 */
#include "policy.bpf.h"
#include "sight.bpf.h"

#define MIR_ETHERNET 14
#define MIR_HEADERLESS 0

#define MIR_PACKET_OTHERHOST 3	/* linux/if_packet.h: for another link-layer address */

/* The socket that comes with the packet, if it is a full one: no request, no TIME_WAIT. */
static __always_inline struct bpf_sock *mir_full_sock(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	return sk ? bpf_sk_fullsock(sk) : NULL;
}

/* The answer to what a target sends by TCP or UDP is found by its socket. For any other socket (raw, packet, ping, UDP-Lite,
 * SCTP) there is no such lookup: what was sent is remembered. */
static __always_inline int mir_has_lookup(const struct bpf_sock *sk)
{
	return sk->type != MIR_SOCK_RAW && sk->family != MIR_AF_PACKET &&
	       (sk->protocol == IPPROTO_TCP || sk->protocol == IPPROTO_UDP || sk->protocol == IPPROTO_MPTCP);
}

/* Parses what such a socket sends. NULL: it says nothing of answers. */
static __always_inline struct mir_packet *mir_asking(struct __sk_buff *skb, __u32 l2_len)
{
	struct mir_packet *p = mir_packet_at(MIR_SLOT_SENT);

	if (!p || mir_read(skb, l2_len, p, MIR_SLOT_SENT) != MIR_PARSE_OK || p->piece == MIR_PIECE_LATER)
		return NULL;
	return !mir_is_icmp(p) || mir_icmp_request(p) ? p : NULL;
}

/* `sk`: the packet's, if it is a full one. It must be the match's as well: before Linux 6.14 what the kernel answers for a closed
 * conversation bears the processor's control socket, a raw one (tcp_v4_send_ack()). */
static __always_inline void mir_learn_sent(struct __sk_buff *skb, const struct mir_match *m, struct mir_live *l,
					   struct bpf_sock *sk, __u32 l2_len)
{
	struct mir_packet *p;
	__u32 socket;

	if (!sk || m->reason != MIR_REASON_SOCKET || mir_has_lookup(sk))
		return;
	socket = sk->family == MIR_AF_PACKET ? 0 : bpf_get_socket_cookie(skb);
	p = mir_asking(skb, l2_len);
	if (!p)
		return;
	l->asks = 1;
	mir_learn_flow(m, p, mir_is_icmp(p) ? MIR_REASON_ICMP_ID : MIR_REASON_RAW, socket);
}

/* A stranger sends what a target has sent before, as to addresses and ICMP identifier: from now on the answers are his,
 * unless the target's socket is still open and gets them as well. */
static __noinline int mir_take_over(struct __sk_buff *skb, __u32 l2_len)
{
	struct bpf_sock *sk = mir_full_sock(skb);
	struct mir_config *c = mir_config();
	struct mir_flow_owner *old;
	struct mir_flow flow = {};
	struct mir_packet *p;
	struct mir_target *t;
	__u32 socket;

	if (!c || !sk || mir_has_lookup(sk))
		return 0;
	p = mir_asking(skb, l2_len);
	if (!p)
		return 0;
	mir_flow_key(&flow, p, 1, c->netns);
	old = bpf_map_lookup_elem(&flows, &flow);
	if (!old || old->reason == MIR_REASON_LINGER)
		return 0;
	socket = old->socket;
	t = mir_target_of(&old->owner);
	if (t && !t->exit_ns && socket && !bpf_map_lookup_elem(&closed, &socket))
		return 0;
	return bpf_map_delete_elem(&flows, &flow);
}

/* A closed TCP socket, or the processor's control socket. An unconnected datagram socket is in the same state: that one has
 * said all it can. Most often the packet tells, without a helper being asked. */
static __always_inline int mir_is_closed_tcp(struct __sk_buff *skb, struct bpf_sock *sk, __u32 state, __u32 l2_len)
{
	struct bpf_sock *full;

	if (state != MIR_TCP_CLOSE || mir_is_plain_udp(skb, l2_len))
		return 0;
	full = bpf_sk_fullsock(sk);
	return full && full->protocol == IPPROTO_TCP;
}

/*
 * Whose packet is it to send? A full socket answers at once, and for an unselected one that is all the work there is.
 * What is left: SYN-ACKs (request sockets, or none under SYN cookies), TIME_WAIT (a timewait socket, on older kernels
 * the processor's control socket or none), resets. Returns 1 if it is a target's, 0 if not, -1 if it is malformed.
 */
static __always_inline int mir_ask_sender(struct __sk_buff *skb, struct mir_match *m, const struct mir_live *l, __u32 l2_len)
{
	struct bpf_sock *sk = skb->sk, *listener;
	struct mir_owner *owner;
	struct mir_packet *p;
	__u32 state = 0, netns = 0;
	int parsed, away;

	if (sk) {
		owner = mir_owner_of(sk, l->mptcp);
		if (owner)
			return mir_match_owner(m, owner, MIR_REASON_SOCKET);
		state = sk->state;
		if (state == MIR_TCP_NEW_SYN_RECV) {
			listener = bpf_get_listener_sock(sk);
			owner = listener ? mir_owner_of(listener, l->mptcp) : NULL;
			return owner && mir_match_owner(m, owner, MIR_REASON_LISTENER);
		}
		if (!(l->asks | l->lingers) || (state != MIR_TCP_TIME_WAIT && !mir_is_closed_tcp(skb, sk, state, l2_len)))
			return 0;
	} else if (skb->ingress_ifindex) {
		return 0;	/* forwarded: nobody's here */
	}

	p = mir_packet_at(MIR_SLOT_SENT);
	if (!p)
		return 0;
	parsed = mir_read(skb, l2_len, p, MIR_SLOT_SENT);
	if (parsed == MIR_PARSE_MALFORMED)
		return -1;
	if (parsed != MIR_PARSE_OK || p->proto != IPPROTO_TCP || p->piece == MIR_PIECE_LATER)
		return 0;
	if (!sk && (p->tcp_flags & (MIR_TCP_SYN | MIR_TCP_ACK)) == (MIR_TCP_SYN | MIR_TCP_ACK))
		return mir_match_tcp(skb, m, p, 1);
	if (state == MIR_TCP_TIME_WAIT)
		netns = mir_timewait_netns(sk);
	return mir_match_flow(m, mir_inside(m, p, 1, &away), 1, netns) && !away;
}

static __always_inline int mir_match_sender(struct __sk_buff *skb, struct mir_match *m, const struct mir_live *l, __u32 l2_len)
{
	int found = mir_ask_sender(skb, m, l, l2_len);

	if (!found && l->asks)
		mir_take_over(skb, l2_len);
	return found;
}

static __always_inline struct mir_stats *mir_begin(void)
{
	struct mir_stats *s = mir_stats();

	if (s)
		s->seen++;
	return s;
}

/* What the receiver's socket says, by the packet's headers, where they have not `told` it at first sight. `s` NULL: the packet was
 * looked at before. */
static __always_inline void mir_received(struct __sk_buff *skb, struct mir_match *m, enum mir_sight told, struct mir_stats *s,
					 __u32 l2_len)
{
	struct mir_packet *p;
	int parsed;

	m->sent = 0;
	if (told == MIR_SIGHT_TOLD)
		return;
	p = mir_packet_at(MIR_SLOT_RECEIVED);
	parsed = p ? mir_read(skb, l2_len, p, MIR_SLOT_RECEIVED) : MIR_PARSE_OTHER;
	if (parsed == MIR_PARSE_MALFORMED && s)
		s->malformed++;
	if (parsed != MIR_PARSE_OK)
		return;
	if (told == MIR_SIGHT_NONE)
		mir_match_receiver(skb, m, p);
	else if (told == MIR_SIGHT_STAYS ? !mir_stays_here(skb, p) : !mir_match_flow(m, p, 0, 0))
		m->target = NULL;
}

/* Loopback: the receiver of a target's packet may be a target's, too, with policies of its own. Global as mir_read_any(). */
__noinline int mir_match_peer(struct __sk_buff *skb)
{
	struct mir_match peer = { .netns = MIR_NETNS_HERE };
	struct mir_choice *c = mir_choice();
	struct mir_live *l = mir_live();

	if (!l)
		return 0;
	mir_received(skb, &peer, mir_at_first_sight_apart(skb, &peer, l, MIR_ETHERNET), NULL, MIR_ETHERNET);
	if (c)
		mir_party_set(&c->party[1], &peer);
	return 0;
}

static __always_inline int mir_end(struct __sk_buff *skb, const struct mir_match *m, struct mir_stats *s, struct mir_place at)
{
	struct mir_config *c = m->target ? mir_config() : NULL;

	if (!c) {
		s->unmatched++;
		return MIR_NEXT;
	}
	if (at.loopback ? c->ruled : m->target->selectors & c->ruled) {
		mir_choice_begin(m, &at);
		if (at.loopback && m->sent)
			mir_match_peer(skb);
		bpf_tail_call(skb, &filter_next, MIR_FILTER_CHOOSE);
		/* No such program. */
		mir_count_matched(skb, m, s);
		s->failures[MIR_FAILURE_OTHER]++;
		__sync_fetch_and_add(&m->target->failed, 1);
		return MIR_NEXT;
	}
	mir_count_matched(skb, m, s);
	mir_tell_matched(skb, m, at.l2_len);
	mir_send(skb, m, s, c, &at, 0);
	return MIR_NEXT;
}

/* What the sender's socket says; learns from it what answers will look like, also if the packet `leaves` by a device. Loopback
 * is another matter: what comes back there has not been translated back. Returns as mir_match_sender(). */
static __always_inline int mir_sent(struct __sk_buff *skb, struct mir_match *m, struct mir_live *l, __u32 l2_len, int leaves)
{
	int found = mir_match_sender(skb, m, l, l2_len);
	struct bpf_sock *full;

	if (found <= 0) {
		m->target = NULL;
		return found;
	}
	m->sent = 1;
	if (mir_is_elsewhere(skb, l, MIR_DIRECTION_EGRESS, l2_len, 1)) {
		m->target = NULL;
		return found;
	}
	full = mir_full_sock(skb);
	mir_learn_sent(skb, m, l, full, l2_len);
	if (leaves)
		mir_learn_translation(skb, l, full, l2_len);
	return found;
}

static __always_inline int mir_egress_at(struct __sk_buff *skb, __u32 l2_len)
{
	struct mir_match m = {};
	struct mir_stats *s = mir_begin();
	struct mir_live *l = mir_live();

	if (!s)
		return MIR_NEXT;
	m.netns = MIR_NETNS_HERE;
	if (l && l->active && mir_sent(skb, &m, l, l2_len, 1) < 0)
		s->malformed++;
	return mir_end(skb, &m, s, (struct mir_place){ MIR_DIRECTION_EGRESS, l2_len, 0 });
}

/* A socket on an incoming packet is its sender's: a process of a container behind a veth. 1 if that is a target. */
static __always_inline int mir_sent_inside(struct __sk_buff *skb, struct mir_match *m, struct mir_live *l, __u32 l2_len)
{
	if (!skb->sk || mir_match_sender(skb, m, l, l2_len) <= 0)
		return 0;
	m->sent = 1;
	if (mir_is_elsewhere(skb, l, MIR_DIRECTION_INGRESS, l2_len, 1))
		m->target = NULL;
	else
		mir_learn_sent(skb, m, l, mir_full_sock(skb), l2_len);
	return 1;
}

static __always_inline int mir_ingress_at(struct __sk_buff *skb, __u32 l2_len)
{
	struct mir_match m = {};
	struct mir_stats *s = mir_begin();
	struct mir_live *l = mir_live();

	if (!s)
		return MIR_NEXT;
	m.netns = MIR_NETNS_HERE;
	if (!l || !l->active || mir_sent_inside(skb, &m, l, l2_len))
		goto end;
	m.target = NULL;
	if (skb->pkt_type != MIR_PACKET_OTHERHOST)
		mir_received(skb, &m, mir_at_first_sight(skb, &m, l, l2_len), s, l2_len);
	if (m.target && mir_is_elsewhere(skb, l, MIR_DIRECTION_INGRESS, l2_len, 0))
		m.target = NULL;
end:
	return mir_end(skb, &m, s, (struct mir_place){ MIR_DIRECTION_INGRESS, l2_len, 0 });
}

SEC("tc")
int mir_ingress(struct __sk_buff *skb)
{
	return mir_ingress_at(skb, MIR_ETHERNET);
}

SEC("tc")
int mir_egress(struct __sk_buff *skb)
{
	return mir_egress_at(skb, MIR_ETHERNET);
}

/*
 * What IPsec has unwrapped still wears the Ethernet header it came with, on devices without such a header (xfrm, vti), too: it
 * is then treated as on Ethernet. Told by where the network header is. Global as mir_read_any().
 */
__noinline int mir_unwrapped_len(struct __sk_buff *skb)
{
	__u32 network[5] = {}, front[5] = {}, behind[5] = {};
	struct mir_live *l = mir_live();

	if (!l || !l->active || bpf_skb_load_bytes_relative(skb, 0, network, sizeof(network), BPF_HDR_START_NET) ||
	    bpf_skb_load_bytes(skb, 0, front, sizeof(front)) || mir_words_same(network, front, 5) ||
	    bpf_skb_load_bytes(skb, MIR_ETHERNET, behind, sizeof(behind)))
		return MIR_HEADERLESS;
	return mir_words_same(network, behind, 5) ? MIR_ETHERNET : MIR_HEADERLESS;
}

SEC("tc")
int mir_l3_ingress(struct __sk_buff *skb)
{
	return mir_ingress_at(skb, mir_unwrapped_len(skb));
}

SEC("tc")
int mir_l3_egress(struct __sk_buff *skb)
{
	return mir_egress_at(skb, MIR_HEADERLESS);
}

/* Loopback, egress only: one look at the packet, one copy for each monitor, whether its sender, its receiver or both are
 * targets. The receiver of a target's packet is asked for where their policies may differ. */
SEC("tc")
int mir_loopback(struct __sk_buff *skb)
{
	struct mir_place at = { MIR_DIRECTION_EGRESS, MIR_ETHERNET, 1 };
	struct mir_stats *s = mir_begin();
	struct mir_live *l = mir_live();
	struct mir_match m = {};

	if (!s)
		return MIR_NEXT;
	m.netns = MIR_NETNS_HERE;
	if (l && l->active && mir_sent(skb, &m, l, MIR_ETHERNET, 0) <= 0) {
		mir_received(skb, &m, mir_at_first_sight_apart(skb, &m, l, MIR_ETHERNET), s, MIR_ETHERNET);
		at.direction = MIR_DIRECTION_INGRESS;
	}
	return mir_end(skb, &m, s, at);
}

/* Egress of a veth whose other end is in another namespace: a container seen from the host. What leaves here is received
 * there, so a process of the container is found by its socket in that namespace. */
SEC("tc")
int mir_peer_egress(struct __sk_buff *skb)
{
	struct mir_match m = {};
	struct mir_stats *s = mir_begin();
	struct mir_live *l = mir_live();
	__u32 here = skb->ifindex;
	struct mir_source *source;

	if (!s)
		return MIR_NEXT;
	m.netns = MIR_NETNS_HERE;
	if (!l || !l->active || mir_sent(skb, &m, l, MIR_ETHERNET, 1) > 0)
		goto end;
	source = bpf_map_lookup_elem(&sources, &here);
	if (!source)
		goto end;
	m.netns = (__u32)source->peer_nsid;
	mir_received(skb, &m, mir_at_first_sight(skb, &m, l, MIR_ETHERNET), s, MIR_ETHERNET);
end:
	return mir_end(skb, &m, s, (struct mir_place){ MIR_DIRECTION_EGRESS, MIR_ETHERNET, 0 });
}

/* The chain of policies: policy.bpf.h. */
SEC("tc")
int mir_choose(struct __sk_buff *skb)
{
	struct mir_choice *c = mir_choice();

	return c ? mir_go_on(skb, c) : MIR_NEXT;
}

SEC("tc")
int mir_accepted(struct __sk_buff *skb)
{
	return mir_come_back(skb, MIR_VERDICT_COPY);
}

SEC("tc")
int mir_refused(struct __sk_buff *skb)
{
	return mir_come_back(skb, MIR_REFUSAL_FILTER);
}

char _license[] SEC("license") = "GPL";
