/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 2, asked instead of passed through: what would become of an incoming packet with these headers? And the way by
 * which mirrorctl puts its own records among the events. Attached to nothing; mirrorctl runs these programs by
 * BPF_PROG_TEST_RUN on a packet it made up, and the answer of `explain` lies where the packet was. The way is the one that
 * real packets take (match.bpf.h).
 */
#include "event.bpf.h"
#include "match.bpf.h"

/* State of the socket that answers for the tuple; 0: there is none. One function for each kind of lookup: the verifier
 * wants one type of pointer behind one load. */
static __noinline int mir_tcp_state(struct __sk_buff *skb, const struct mir_packet *p)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;
	int state;

	mir_tuple(&tuple, p, 0);
	if (p->version == 4)
		sk = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), MIR_NETNS_HERE, 0);
	else
		sk = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv6), MIR_NETNS_HERE, 0);
	if (!sk)
		return 0;
	state = sk->state;
	bpf_sk_release(sk);
	return state;
}

static __noinline int mir_udp_state(struct __sk_buff *skb, const struct mir_packet *p)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;
	int state;

	mir_tuple(&tuple, p, 0);
	if (p->version == 4)
		sk = bpf_sk_lookup_udp(skb, &tuple, sizeof(tuple.ipv4), MIR_NETNS_HERE, 0);
	else
		sk = bpf_sk_lookup_udp(skb, &tuple, sizeof(tuple.ipv6), MIR_NETNS_HERE, 0);
	if (!sk)
		return 0;
	state = sk->state;
	bpf_sk_release(sk);
	return state;
}

SEC("tc")
int mir_explain(struct __sk_buff *skb)
{
	struct mir_explanation e = {};
	struct mir_packet *p = mir_packet_at(MIR_SLOT_RECEIVED);
	struct mir_match m = {};

	m.netns = MIR_NETNS_HERE;
	m.reason = MIR_REASON_MAX;
	if (!p || mir_read(skb, ETH_HLEN, p, MIR_SLOT_RECEIVED) != MIR_PARSE_OK)
		return MIR_PARSE_MALFORMED;
	if (p->proto == IPPROTO_TCP)
		e.state = mir_tcp_state(skb, p);
	else if (p->proto == IPPROTO_UDP)
		e.state = mir_udp_state(skb, p);
	e.socket = e.state != 0;
	e.mirrored = mir_match_receiver(skb, &m, p) > 0;
	e.known = m.reason != MIR_REASON_MAX;
	e.reason = m.reason;
	e.owner = m.owner;
	bpf_skb_store_bytes(skb, 0, &e, sizeof(e), 0);
	return MIR_PARSE_OK;
}

/* Tells what only mirrorctl knows, an added or deleted target: the packet is the record. */
SEC("tc")
int mir_tell(struct __sk_buff *skb)
{
	struct mir_event e = {};

	if (bpf_skb_load_bytes(skb, 0, &e, sizeof(e)))
		return MIR_PARSE_MALFORMED;
	mir_event_put(&e, e.kind, e.tgid, NULL);
	return MIR_PARSE_OK;
}

char _license[] SEC("license") = "GPL";
