/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 2, shared piece: takes the copy of a matched packet and counts what came of it. The original is the same
 * afterwards, whatever happened.
 */
#pragma once

#include <mirror/wire.h>

#include "event.bpf.h"
#include "stack.bpf.h"

#define MIR_SECOND_NS (1000ull * 1000 * 1000)
#define MIR_TOLD_NS (60 * MIR_SECOND_NS)	/* a conversation that was silent for so long is told again */
#define MIR_EINVAL 22
#define MIR_ERANGE 34
#define MIR_NET_XMIT_DROP 1	/* include/linux/netdevice.h */
#define MIR_NET_XMIT_CN 2
#define MIR_VLAN_LEN 4		/* of a tag that is kept beside the data */

/* bpf_clone_redirect() returns -errno or a NET_XMIT_ code. NET_XMIT_CN comes from the noop qdisc, which a device has while
 * it or its veth peer is down; our monitors have no queue that could say it otherwise. */
static __always_inline __u32 mir_failure(const struct __sk_buff *skb, int err, const struct mir_config *c)
{
	switch (err) {
	case -MIR_EINVAL:
		return MIR_FAILURE_NO_MONITOR;
	case -MIR_ERANGE:
		return MIR_FAILURE_NO_L2;
	case MIR_NET_XMIT_CN:
		return MIR_FAILURE_MONITOR_DOWN;
	case MIR_NET_XMIT_DROP:
		/* veth drops what its peer's MTU cannot take (is_skb_forwardable()), VLAN header allowed for. */
		if (!skb->gso_segs && skb->len > c->monitor_mtu + 18)
			return MIR_FAILURE_TOO_LONG;
		return MIR_FAILURE_CONGESTED;
	default:
		return MIR_FAILURE_OTHER;
	}
}

/* Where copies for a monitor are cloned to; 0: nowhere. `l2_len` 0: the frame begins with its IP header, so it goes by the
 * relay, which adds an Ethernet header and knows the monitor by cb. */
static __always_inline __u32 mir_way(const struct mir_config *c, __u32 monitor, __u32 l2_len)
{
	struct mir_monitor *m;

	if (!l2_len)
		return c->relay_ifindex;
	if (!monitor)
		return c->copy_ifindex;
	m = bpf_map_lookup_elem(&monitors, &monitor);
	return m ? m->copy_ifindex : 0;
}

/* The five words of cb travel with the clone; the original gets its own back. */
static __always_inline int mir_clone(struct __sk_buff *skb, const struct mir_match *m, __u32 what, __u32 ifindex)
{
	__u32 saved[5] = { skb->cb[0], skb->cb[1], skb->cb[2], skb->cb[3], skb->cb[4] };
	int err;

	skb->cb[MIR_CB_MAGIC] = MIR_COPY_MAGIC;
	skb->cb[MIR_CB_TGID] = m->owner.tgid;
	skb->cb[MIR_CB_BORN] = m->owner.born;
	skb->cb[MIR_CB_REASON] = m->reason | what | (m->sent ? MIR_CB_SENT : 0);
	skb->cb[MIR_CB_IFINDEX] = skb->ifindex;
	mir_debug("mirror: clone for process %d, reason %d, from device %d", m->owner.tgid, m->reason, skb->ifindex);
	err = bpf_clone_redirect(skb, ifindex, 0);
	skb->cb[0] = saved[0];
	skb->cb[1] = saved[1];
	skb->cb[2] = saved[2];
	skb->cb[3] = saved[3];
	skb->cb[4] = saved[4];
	return err;
}

/* Is it time to announce this end again? 0: it was done a short while ago, for the same owner. */
static __always_inline int mir_announce_due(struct __sk_buff *skb, const struct mir_flow *flow,
					    const struct mir_owner *owner, __u64 now)
{
	struct mir_announced *old = bpf_map_lookup_elem(&announced, flow);

	if (!old || (owner && (old->owner.tgid != owner->tgid || old->owner.born != owner->born)))
		return 1;
	return now - old->sent_ns >= (skb->gso_segs > 1 ? MIR_ANNOUNCE_GSO_NS : MIR_ANNOUNCE_NS);
}

/* Sends one more clone, which the monitor program turns into an announcement. `flow` is seen from the owner's end. */
static __always_inline void mir_announce_send(struct __sk_buff *skb, const struct mir_match *m, const struct mir_flow *flow,
					      __u32 what, __u32 ifindex, __u64 now)
{
	struct mir_announced new = { .owner = m->owner, .sent_ns = now };
	struct mir_stats *s = mir_stats();
	int err;

	err = mir_clone(skb, m, what | MIR_CB_ANNOUNCE, ifindex);
	if (!s)
		return;
	if (!err)
		s->announced++;
	else
		s->unannounced++;
	/* Dropped by our own program: this kind of packet cannot be turned. Any other failure ends with the monitor's. */
	if (err == MIR_NET_XMIT_DROP)
		new.sent_ns = now - MIR_ANNOUNCE_NS + MIR_ANNOUNCE_RETRY_NS;
	if (!err || err == MIR_NET_XMIT_DROP)
		bpf_map_update_elem(&announced, flow, &new, BPF_ANY);
}

/* Before a copy: says on its monitor whose the conversation is, if that is due. `what` goes to cb with it. */
static __noinline int mir_announce(struct __sk_buff *skb, const struct mir_match *m, __u32 what, __u32 l2_len)
{
	__u32 monitor = what >> MIR_CB_MONITOR_SHIFT;
	struct mir_room *r = mir_room(MIR_SLOT_TOLD);
	struct mir_config *c = mir_config();
	__u64 now = bpf_ktime_get_ns();

	if (!r || !c || mir_conversation(skb, l2_len, m->sent))
		return 0;
	r->flow.reserved[0] = monitor;
	if (mir_announce_due(skb, &r->flow, &m->owner, now))
		mir_announce_send(skb, m, &r->flow, what, mir_way(c, monitor, l2_len), now);
	return 0;
}

/* On loopback the other end may be a target's, too: announced before the copy that its own first packet would follow. Global
 * as mir_read_any(). */
__noinline int mir_announce_receiver(struct __sk_buff *skb, __u32 monitor)
{
	struct mir_match m = { .netns = MIR_NETNS_HERE };
	__u32 what = MIR_DIRECTION_INGRESS << 8 | monitor << MIR_CB_MONITOR_SHIFT;
	struct mir_announced nobody = { .sent_ns = bpf_ktime_get_ns() };
	struct mir_room *r = mir_room(MIR_SLOT_TOLD);
	struct mir_config *c = mir_config();

	if (!r || !c || mir_conversation(skb, ETH_HLEN, 0))
		return 0;
	r->flow.reserved[0] = monitor;
	if (!mir_announce_due(skb, &r->flow, NULL, nobody.sent_ns) || mir_is_icmp(&r->packet))
		return 0;
	if (mir_match_tuple(skb, &m, &r->packet, 0))
		mir_announce_send(skb, &m, &r->flow, what, mir_way(c, monitor, ETH_HLEN), nobody.sent_ns);
	else
		bpf_map_update_elem(&announced, &r->flow, &nobody, BPF_ANY);
	return 0;
}

static __always_inline int mir_announcing(const struct mir_config *c)
{
	return c->identity == MIR_IDENTITY_ANNOUNCE || c->identity == MIR_IDENTITY_IPFIX;
}

/* Somebody follows the events: tells him of each conversation once. What was told before he began is told again. */
static __noinline int mir_tell_flow(struct __sk_buff *skb, const struct mir_match *m, __u32 l2_len)
{
	struct mir_room *r = mir_room(MIR_SLOT_TOLD);
	__u64 now = bpf_ktime_get_ns(), *before;
	struct mir_event e = {};

	if (!r || mir_conversation(skb, l2_len, m->sent))
		return 0;
	before = bpf_map_lookup_elem(&told, &r->flow);
	if (before && now - *before < MIR_TOLD_NS) {
		*before = now;
		return 0;
	}
	bpf_map_update_elem(&told, &r->flow, &now, BPF_ANY);
	e.flow = r->flow;
	e.reason = m->reason;
	mir_event_put(&e, MIR_EVENT_FLOW, m->owner.tgid, m->target);
	return 0;
}

static __noinline int mir_tell_failure(const struct mir_match *m, __u32 failure)
{
	struct mir_event e = { .reason = m->reason, .failure = failure };
	struct mir_live *l = mir_live();
	__u64 now = bpf_ktime_get_ns();

	if (!l || now - l->failed_ns < MIR_SECOND_NS)
		return 0;
	l->failed_ns = now;
	mir_event_put(&e, MIR_EVENT_FAILED, m->owner.tgid, m->target);
	return 0;
}

/* Conversations are announced, and in a capture with trailers those whose packet cannot take one. */
static __always_inline int mir_to_announce(const struct __sk_buff *skb, const struct mir_config *c)
{
	__u32 len = c->snaplen && skb->len > c->snaplen ? c->snaplen : skb->len;

	return c->identity == MIR_IDENTITY_ANNOUNCE ||
	       (c->identity == MIR_IDENTITY_TRAILER && len + sizeof(struct mir_trailer) > MIR_TRAILER_FRAME_MAX);
}

/* Somebody follows the events? */
static __always_inline void mir_tell_matched(struct __sk_buff *skb, const struct mir_match *m, __u32 l2_len)
{
	struct mir_live *l = mir_live();

	if (l && l->follow_ns && bpf_ktime_get_ns() < l->follow_ns)
		mir_tell_flow(skb, m, l2_len);
}

/* Where a packet is, as its program knows it. */
struct mir_place {
	__u32 direction;	/* enum mir_direction */
	__u32 l2_len;		/* bytes of link-layer header: 14 or 0 */
	__u32 loopback;		/* 1: both ends are seen here */
};

/* One copy for one monitor, announced where that is due, and counted as mirrored or failed. 0, or -1: it failed. */
static __always_inline int mir_send(struct __sk_buff *skb, const struct mir_match *m, struct mir_stats *s,
				    const struct mir_config *c, const struct mir_place *at, __u32 monitor)
{
	__u32 what = at->direction << 8 | monitor << MIR_CB_MONITOR_SHIFT, way = mir_way(c, monitor, at->l2_len);
	__u32 failure;
	int err;

	if (at->loopback && m->sent && mir_announcing(c))
		mir_announce_receiver(skb, monitor);
	if (mir_to_announce(skb, c))
		mir_announce(skb, m, what, at->l2_len);
	err = mir_clone(skb, m, what, way);
	/* Wireshark must have seen a connection before it can be told whose it is. */
	if (c->identity == MIR_IDENTITY_IPFIX)
		mir_announce(skb, m, what, at->l2_len);
	if (!err) {
		s->mirrored++;
		return 0;
	}
	/* Without relay a headerless frame has nowhere to go: say so rather than "no monitor". */
	if (!at->l2_len && !c->relay_ifindex)
		err = -MIR_ERANGE;
	failure = mir_failure(skb, err, c);
	if (failure < MIR_FAILURE_MAX)
		s->failures[failure]++;
	if (m->target)
		__sync_fetch_and_add(&m->target->failed, 1);
	mir_tell_failure(m, failure);
	return -1;
}

/* Bytes of the frame as it stands on the wire, and in a capture. */
static __always_inline __u64 mir_length(const struct __sk_buff *skb)
{
	return skb->len + (skb->vlan_present ? MIR_VLAN_LEN : 0);
}

static __always_inline void mir_count_matched(struct __sk_buff *skb, const struct mir_match *m, struct mir_stats *s)
{
	if (m->reason < MIR_REASON_MAX)
		s->reasons[m->reason]++;
	if (!m->target)
		return;
	__sync_fetch_and_add(&m->target->packets, 1);
	__sync_fetch_and_add(&m->target->bytes, mir_length(skb));
}
