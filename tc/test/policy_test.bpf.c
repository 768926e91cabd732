/* SPDX-License-Identifier: GPL-2.0-only */
/* The mirror programs with two more: one that enters the chain of policies as they do, for a target of the test's choice, and
 * a filter made by hand. */
#include "../mirror.bpf.c"

struct test_knob {
	struct mir_owner owner[2];
	__u64 bits[2];
	__u32 l2_len;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct test_knob);
} knob SEC(".maps");

/* Returns 77 if the packet was not handed over. */
SEC("tc")
int enter(struct __sk_buff *skb)
{
	struct mir_match m = { .reason = MIR_REASON_SOCKET, .sent = 1 }, peer = { .reason = MIR_REASON_SOCKET };
	struct mir_place at = { .direction = MIR_DIRECTION_EGRESS };
	struct mir_choice *c = mir_choice();
	struct test_knob *k;
	__u32 zero = 0;

	k = bpf_map_lookup_elem(&knob, &zero);
	if (!k || !c)
		return 77;
	m.owner = k->owner[0];
	peer.owner = k->owner[1];
	mir_match_owner(&m, &k->owner[0], MIR_REASON_SOCKET);
	mir_match_owner(&peer, &k->owner[1], MIR_REASON_SOCKET);
	at.l2_len = k->l2_len;
	mir_choice_begin(&m, &at);
	mir_party_set(&c->party[1], &peer);
	bpf_tail_call(skb, &filter_next, MIR_FILTER_CHOOSE);
	return 77;
}

/* Accepts UDP over IPv4. */
SEC("tc")
int filter_udp(struct __sk_buff *skb)
{
	__u8 protocol = 0;

	bpf_skb_load_bytes(skb, ETH_HLEN + 9, &protocol, sizeof(protocol));
	bpf_tail_call(skb, &filter_next, protocol == IPPROTO_UDP ? MIR_FILTER_ACCEPT : MIR_FILTER_REFUSE);
	return 77;
}

/* Accepts nothing. */
SEC("tc")
int filter_none(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &filter_next, MIR_FILTER_REFUSE);
	return 77;
}
