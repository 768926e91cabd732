/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 3, shared piece: turns a clone into an IPFIX message that stock Wireshark takes the process of a TCP connection
 * from (--identity ipfix). The format is in <mirror/wire.h>.
 */
#pragma once

#include "identity.bpf.h"

#define MIR_CACE(number, bytes) { bpf_htons(0x8000 | (number)), bpf_htons(bytes), bpf_htonl(MIR_IPFIX_PEN) }
#define MIR_VARIABLE 0xffff	/* RFC 7011 7: the length is in the record */
#define MIR_IP_LEN(type) (sizeof(type) - ETH_HLEN)
#define MIR_IPFIX_LEN(type) (sizeof(type) - __builtin_offsetof(struct mir_ipfix_head, version))
#define MIR_DATA_LEN(type) (sizeof(type) - sizeof(struct mir_ipfix_head) + 4)

/* Internet checksum (RFC 1071) of a header whose words are constants but for its length. */
#define MIR_IP_SUM(len) ((__u16)~MIR_FOLD(0x4500u + (len) + 0x4011u + 2 * (0x7f00u + 0x0001u)))
#define MIR_FOLD(sum) (((sum) & 0xffff) + ((sum) >> 16))

#define MIR_IPFIX_HEAD(type, six) {							\
	.to = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff },					\
	.from = { 0x02, 'M', 'I', 'R', '1', 0x00 },					\
	.ethertype = bpf_htons(ETH_P_IP),						\
	.ip = { 0x45, 0, MIR_IP_LEN(type) >> 8, MIR_IP_LEN(type) & 0xff, 0, 0, 0, 0, 64, IPPROTO_UDP,	\
		MIR_IP_SUM(MIR_IP_LEN(type)) >> 8, MIR_IP_SUM(MIR_IP_LEN(type)) & 0xff,	\
		127, 0, 0, 1, 127, 0, 0, 1 },						\
	.sport = bpf_htons(MIR_IPFIX_PORT),						\
	.dport = bpf_htons(MIR_IPFIX_PORT),						\
	.udp_len = bpf_htons(MIR_IPFIX_LEN(type) + 8),					\
	.version = bpf_htons(10),							\
	.len = bpf_htons(MIR_IPFIX_LEN(type)),						\
	.domain = bpf_htonl(MIR_WIRE_MAGIC),						\
	.template_set = bpf_htons(2),							\
	.template_len = bpf_htons(76),							\
	.template_id = bpf_htons((six) ? MIR_IPFIX_TEMPLATE6 : MIR_IPFIX_TEMPLATE4),	\
	.field_count = bpf_htons(9),							\
	.proto_id = bpf_htons(4),							\
	.proto_len = bpf_htons(1),							\
	.field = {									\
		MIR_CACE((six) ? 2 : 0, (six) ? 16 : 4), MIR_CACE((six) ? 3 : 1, (six) ? 16 : 4),	\
		MIR_CACE(4, 2), MIR_CACE(5, 2), MIR_CACE(8, 4), MIR_CACE(9, 4),	\
		MIR_CACE(10, MIR_VARIABLE), MIR_CACE(11, MIR_VARIABLE),			\
	},										\
	.data_set = bpf_htons((six) ? MIR_IPFIX_TEMPLATE6 : MIR_IPFIX_TEMPLATE4),	\
	.data_len = bpf_htons(MIR_DATA_LEN(type)),					\
}

static __always_inline void mir_ipfix_fill(const struct __sk_buff *skb, struct mir_ipfix_who *who, const struct mir_flow *flow,
					   const struct mir_target *t)
{
	int i;

	who->lport = flow->lport;
	who->rport = flow->rport;
	who->uid = bpf_htonl(t->uid);
	who->pid = bpf_htonl(skb->cb[MIR_CB_TGID]);
	who->user_outer_len = 2;
	who->user_len = 1;
	who->user[0] = '-';
	who->outer_len = 1 + sizeof(who->comm);
	__builtin_memcpy(who->comm, t->comm, sizeof(who->comm));
	who->comm_len = 0;
#pragma unroll
	for (i = 0; i < MIR_COMM_LEN; i++)
		if (who->comm_len == i && who->comm[i])
			who->comm_len++;
}

static __noinline int mir_ipfix4_write(struct __sk_buff *skb, const struct mir_flow *flow)
{
	struct mir_ipfix4 m = { .head = MIR_IPFIX_HEAD(struct mir_ipfix4, 0) };
	struct mir_target *t = mir_cb_target(skb);

	if (!t)
		return -1;
	m.proto = flow->proto;
	m.local = flow->local[3];
	m.remote = flow->remote[3];
	mir_ipfix_fill(skb, &m.who, flow, t);
	return bpf_skb_store_bytes(skb, 0, &m, sizeof(m), 0);
}

static __noinline int mir_ipfix6_write(struct __sk_buff *skb, const struct mir_flow *flow)
{
	struct mir_ipfix6 m = { .head = MIR_IPFIX_HEAD(struct mir_ipfix6, 1) };
	struct mir_target *t = mir_cb_target(skb);

	if (!t)
		return -1;
	m.proto = flow->proto;
	__builtin_memcpy(m.local, flow->local, sizeof(m.local));
	__builtin_memcpy(m.remote, flow->remote, sizeof(m.remote));
	mir_ipfix_fill(skb, &m.who, flow, t);
	return bpf_skb_store_bytes(skb, 0, &m, sizeof(m), 0);
}

/* The whole clone becomes an IPFIX message. 0, or -1: it cannot, and must not go out. */
static __always_inline int mir_become_ipfix(struct __sk_buff *skb)
{
	struct mir_room *r = mir_room(MIR_SLOT_TOLD);
	int four;

	if (!r || mir_conversation(skb, ETH_HLEN, mir_cb_sent(skb)) || mir_untag(skb))
		return -1;
	four = mir_is_mapped(&r->flow);
	if (!mir_resize(skb, four ? sizeof(struct mir_ipfix4) : sizeof(struct mir_ipfix6)))
		return -1;
	return (four ? mir_ipfix4_write(skb, &r->flow) : mir_ipfix6_write(skb, &r->flow)) ? -1 : 0;
}
