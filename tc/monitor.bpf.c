/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 3, what the copy looks like: programs on the monitor side. They only ever touch copies, which carry
 * MIR_COPY_MAGIC in cb; anything else that is sent to the monitor is dropped, so the host never talks on it.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "ipfix.bpf.h"

/* TC egress of the device that copies are cloned to (the monitor, or mon0-in of a veth pair). Returning TC_ACT_SHOT makes
 * bpf_clone_redirect() report NET_XMIT_DROP to the mirror program, which counts it. */
SEC("tc")
int mir_monitor(struct __sk_buff *skb)
{
	struct mir_config *c = mir_config();
	struct mir_stats *s = mir_stats();
	__u32 len = skb->len;

	if (skb->cb[MIR_CB_MAGIC] != MIR_COPY_MAGIC || !c || !s)
		return TC_ACT_SHOT;
	if ((skb->cb[MIR_CB_REASON] & MIR_CB_ANNOUNCE) && c->identity == MIR_IDENTITY_IPFIX)
		return mir_become_ipfix(skb) ? TC_ACT_SHOT : TC_ACT_OK;
	if (skb->cb[MIR_CB_REASON] & MIR_CB_ANNOUNCE)
		return mir_become_announcement(skb) ? TC_ACT_SHOT : TC_ACT_OK;
	/* The kernel keeps what a pending checksum still needs (__bpf_skb_min_len()): such a copy goes out whole. */
	if (c->snaplen && skb->len > c->snaplen && bpf_skb_change_tail(skb, c->snaplen, 0))
		s->untrimmed++;
	if (c->identity == MIR_IDENTITY_TRAILER)
		mir_append_trailer(skb, len);
	return TC_ACT_OK;
}

/* TC egress of the relay: puts an Ethernet header before a frame that has none, and sends it on to its monitor. All
 * addresses are zero, as on loopback. */
SEC("tc")
int mir_relay(struct __sk_buff *skb)
{
	__u32 monitor = skb->cb[MIR_CB_REASON] >> MIR_CB_MONITOR_SHIFT, ifindex;
	struct mir_monitor *other = bpf_map_lookup_elem(&monitors, &monitor);
	struct mir_config *c = mir_config();
	struct ethhdr eth = {};

	if (skb->cb[MIR_CB_MAGIC] != MIR_COPY_MAGIC || !c || !other)
		return TC_ACT_SHOT;
	ifindex = monitor ? other->copy_ifindex : c->copy_ifindex;
	if (!ifindex)
		return TC_ACT_SHOT;
	eth.h_proto = skb->protocol;
	if (bpf_skb_change_head(skb, sizeof(eth), 0) || bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), 0))
		return TC_ACT_SHOT;
	return bpf_redirect(ifindex, 0);
}

/* TC ingress of the monitor when it is one end of a veth pair: taps have seen the copy, the host stack must not. */
SEC("tc")
int mir_discard(struct __sk_buff *skb)
{
	return TC_ACT_SHOT;
}

char _license[] SEC("license") = "GPL";
