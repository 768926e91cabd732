/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 2, shared piece: takes the copy of a matched packet and counts what came of it. The original is the same
 * afterwards, whatever happened.
 */
#pragma once

#include "stack.bpf.h"

#define MIR_EINVAL 22
#define MIR_ERANGE 34
#define MIR_NET_XMIT_DROP 1	/* include/linux/netdevice.h */
#define MIR_NET_XMIT_CN 2

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

/* The five words of cb travel with the clone; the original gets its own back. */
static __always_inline int mir_clone(struct __sk_buff *skb, const struct mir_match *m, __u32 direction, __u32 ifindex)
{
	__u32 saved[5] = { skb->cb[0], skb->cb[1], skb->cb[2], skb->cb[3], skb->cb[4] };
	int err;

	skb->cb[MIR_CB_MAGIC] = MIR_COPY_MAGIC;
	skb->cb[MIR_CB_TGID] = m->owner.tgid;
	skb->cb[MIR_CB_BORN] = m->owner.born;
	skb->cb[MIR_CB_REASON] = m->reason | direction << 8;
	skb->cb[MIR_CB_IFINDEX] = skb->ifindex;
	err = bpf_clone_redirect(skb, ifindex, 0);
	skb->cb[0] = saved[0];
	skb->cb[1] = saved[1];
	skb->cb[2] = saved[2];
	skb->cb[3] = saved[3];
	skb->cb[4] = saved[4];
	return err;
}

/* `headerless`: the frame begins with its IP header, so the copy goes by the relay, which adds an Ethernet header. */
static __always_inline void mir_copy(struct __sk_buff *skb, const struct mir_match *m, struct mir_stats *s,
				     __u32 direction, int headerless)
{
	struct mir_config *c = mir_config();
	struct mir_target *t = m->target;
	int err;

	if (!c || !t)
		return;
	if (m->reason < MIR_REASON_MAX)
		s->reasons[m->reason]++;
	__sync_fetch_and_add(&t->packets, 1);
	__sync_fetch_and_add(&t->bytes, skb->len);

	err = mir_clone(skb, m, direction, headerless ? c->relay_ifindex : c->copy_ifindex);
	if (!err) {
		s->mirrored++;
		return;
	}
	/* Without relay a headerless frame has nowhere to go: say so rather than "no monitor". */
	if (headerless && !c->relay_ifindex)
		err = -MIR_ERANGE;
	s->failures[mir_failure(skb, err, c)]++;
	__sync_fetch_and_add(&t->failed, 1);
}
