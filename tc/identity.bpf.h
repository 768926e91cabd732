/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 3, shared piece: turns a clone into the frame that says whose the conversation is. Only ever touches clones. The
 * format is in <mirror/wire.h>.
 */
#pragma once

#include <linux/if_ether.h>

#include <mirror/wire.h>

#include "conversation.bpf.h"
#include "maps.bpf.h"

#define MIR_TLV(id, value) { .type = MIR_TLV_##id, .len = sizeof(value) }

/* The target that cb names, if it still is the same process. */
static __always_inline struct mir_target *mir_cb_target(const struct __sk_buff *skb)
{
	struct mir_owner who = { .tgid = skb->cb[MIR_CB_TGID], .born = skb->cb[MIR_CB_BORN] };
	struct mir_target *t = bpf_map_lookup_elem(&targets, &who.tgid);

	return t && t->born == who.born ? t : bpf_map_lookup_elem(&former, &who);
}

/* Does the owner send the packet (1) or receive it (0)? */
static __always_inline __u32 mir_cb_sent(const struct __sk_buff *skb)
{
	return !!(skb->cb[MIR_CB_REASON] & MIR_CB_SENT);
}

/*
 * Cuts or grows the clone to `len` bytes of plain frame; GSO goes with it. A pending checksum (CHECKSUM_PARTIAL) keeps the
 * kernel from cutting into what it points to (__bpf_skb_min_len()): then the frame stays longer, and the rest is zeroed.
 * Returns the length, or 0 if the kernel will not (packets of a local tunnel: skb->encapsulation).
 */
static __always_inline __u32 mir_resize(struct __sk_buff *skb, __u32 len)
{
	static const __u8 nothing[64] = {};
	__u32 i;

	if (!bpf_skb_change_tail(skb, len, 0))
		return len;
	if (bpf_skb_change_tail(skb, len + 4 * sizeof(nothing), 0))
		return 0;
#pragma unroll
	for (i = 0; i < 4; i++)
		if (bpf_skb_store_bytes(skb, len + i * sizeof(nothing), nothing, sizeof(nothing), 0))
			return 0;
	return len + 4 * sizeof(nothing);
}

static __always_inline int mir_is_mapped(const struct mir_flow *flow)
{
	return flow->local[2] == bpf_htonl(0xffff) && !flow->local[0] && !flow->local[1];
}

/* A tag that the device took off the data would be put back by whoever captures; two of them, QinQ. */
static __always_inline int mir_untag(struct __sk_buff *skb)
{
	if (skb->vlan_present && bpf_skb_vlan_pop(skb))
		return -1;
	return skb->vlan_present ? bpf_skb_vlan_pop(skb) : 0;
}

static __noinline int mir_announcement_write(struct __sk_buff *skb, const struct mir_flow *flow)
{
	struct mir_announcement a = {
		.to = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff },
		.from = { 0x02, 'M', 'I', 'R', '1', 0x00 },
		.ethertype = bpf_htons(MIR_ANNOUNCE_ETHERTYPE),
		.magic = bpf_htonl(MIR_WIRE_MAGIC),
		.version = MIR_WIRE_VERSION,
		.len = bpf_htons(sizeof(a) - __builtin_offsetof(struct mir_announcement, flow_head)),
		.flow_head = MIR_TLV(FLOW, a.flow),
		.pid_head = MIR_TLV(PID, a.pid),
		.start_head = MIR_TLV(START, a.start_ns),
		.comm_head = MIR_TLV(COMM, a.comm),
		.uid_head = MIR_TLV(UID, a.uid),
		.cgroup_head = MIR_TLV(CGROUP, a.cgroup),
		.reason_head = MIR_TLV(REASON, a.reason),
		.direction_head = MIR_TLV(DIRECTION, a.direction),
	};
	struct mir_target *t = mir_cb_target(skb);

	if (!t)
		return -1;
	a.flow.version = mir_is_mapped(flow) ? 4 : 6;
	a.flow.proto = flow->proto;
	a.flow.lport = flow->lport;
	a.flow.rport = flow->rport;
	__builtin_memcpy(a.flow.local, flow->local, sizeof(a.flow.local));
	__builtin_memcpy(a.flow.remote, flow->remote, sizeof(a.flow.remote));
	a.pid = bpf_htonl(skb->cb[MIR_CB_TGID]);
	a.start_ns = bpf_cpu_to_be64(t->start_ns);
	__builtin_memcpy(a.comm, t->comm, sizeof(a.comm));
	a.uid = bpf_htonl(t->uid);
	__builtin_memcpy(a.cgroup, t->cgroup, sizeof(a.cgroup));
	a.reason = skb->cb[MIR_CB_REASON] & 0xff;
	a.direction = mir_cb_sent(skb);
	return bpf_skb_store_bytes(skb, 0, &a, sizeof(a), 0);
}

/* The whole clone becomes an announcement. 0, or -1: it cannot, and must not go out. */
static __always_inline int mir_become_announcement(struct __sk_buff *skb)
{
	struct mir_room *r = mir_room(MIR_SLOT_TOLD);

	if (!r || mir_conversation(skb, ETH_HLEN, mir_cb_sent(skb)) || mir_untag(skb) ||
	    !mir_resize(skb, sizeof(struct mir_announcement)))
		return -1;
	return mir_announcement_write(skb, &r->flow) ? -1 : 0;
}

/* A copy with its process behind it. Only what a copy can carry: the rest goes as it is, and is counted. */
static __noinline int mir_append_trailer(struct __sk_buff *skb, __u32 orig_len)
{
	struct mir_trailer trailer = {
		.magic = bpf_htonl(MIR_WIRE_MAGIC),
		.version = MIR_WIRE_VERSION,
		.reason = skb->cb[MIR_CB_REASON] & 0xff,
		.sent = mir_cb_sent(skb),
		.flags = skb->len < orig_len ? MIR_TRAILER_CUT : 0,
		.pid = bpf_htonl(skb->cb[MIR_CB_TGID]),
		.ifindex = bpf_htonl(skb->cb[MIR_CB_IFINDEX]),
		.orig_len = bpf_htonl(orig_len),
		.cpu = bpf_htons(bpf_get_smp_processor_id()),
		.len = bpf_htons(sizeof(trailer)),
		.end = bpf_htonl(MIR_TRAILER_END),
	};
	struct mir_target *t = mir_cb_target(skb);
	struct mir_stats *s = mir_stats();
	__u32 len = skb->len;

	if (!s)
		return 0;
	if (!t || len + sizeof(trailer) > MIR_TRAILER_FRAME_MAX || bpf_skb_change_tail(skb, len + sizeof(trailer), 0)) {
		s->untrailed++;
		return 0;
	}
	trailer.uid = bpf_htonl(t->uid);
	trailer.start_ns = bpf_cpu_to_be64(t->start_ns);
	__builtin_memcpy(trailer.comm, t->comm, sizeof(trailer.comm));
	trailer.seq = bpf_cpu_to_be64(s->trailed);
	s->trailed++;
	return bpf_skb_store_bytes(skb, len, &trailer, sizeof(trailer), 0);
}
