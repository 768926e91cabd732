/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Enters a filter as a mirror program does, and is where both verdicts lead. The test says by skb->mark and skb->priority
 * what to do with the packet before that; on a device, by the one entry of map `asked`.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "maps.bpf.h"

/* What a run returns; the test reads it. */
#define REFUSED 10
#define ACCEPTED 11
#define NO_TAG 12	/* bpf_skb_vlan_push() failed */
#define NO_CUT 13	/* bpf_skb_change_tail() failed */

struct asked {
	__u32 tag;	/* 0: none; else protocol << 16 | TCI of a tag to be kept beside the packet */
	__u32 entry;	/* in map `filters` */
	__u32 len;	/* the frame is cut to this before; 0: as it is */
	__u32 verdict;	/* REFUSED, ACCEPTED */
	__u32 packets;	/* how many came by */
	__u32 linear;	/* bytes of the last one that were in its linear part, */
	__u32 whole;	/* and altogether */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct asked);
} asked SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, MIR_FILTERS_LIMIT * MIR_FILTER_VARIANTS);
	__type(key, __u32);
	__type(value, __u32);
} filters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} filter_next SEC(".maps");

static __always_inline int verdict(__u32 which)
{
	__u32 zero = 0;
	struct asked *a = bpf_map_lookup_elem(&asked, &zero);

	if (a)
		a->verdict = which;
	return which;
}

SEC("tc")
int filter_refused(struct __sk_buff *skb)
{
	return verdict(REFUSED);
}

SEC("tc")
int filter_accepted(struct __sk_buff *skb)
{
	return verdict(ACCEPTED);
}

static __always_inline int enter(struct __sk_buff *skb, __u32 tag, __u32 len, __u32 entry)
{
	if (len && len < skb->len && bpf_skb_change_tail(skb, len, 0))
		return NO_CUT;
	if (tag && bpf_skb_vlan_push(skb, bpf_htons(tag >> 16), tag & 0xffff))
		return NO_TAG;
	bpf_tail_call(skb, &filters, entry);
	return MIR_NEXT;
}

/* By BPF_PROG_TEST_RUN: mark is the tag, priority the length << 16 | entry. */
SEC("tc")
int filter_run(struct __sk_buff *skb)
{
	return enter(skb, skb->mark, skb->priority >> 16, skb->priority & 0xffff);
}

/* On a device: everything ends here. */
SEC("tc")
int filter_watch(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct asked *a = bpf_map_lookup_elem(&asked, &zero);

	if (!a)
		return TC_ACT_STOLEN;
	a->packets++;
	a->linear = skb->data_end - skb->data;
	a->whole = skb->len;
	enter(skb, a->tag, a->len, a->entry);
	return TC_ACT_STOLEN;
}

char _license[] SEC("license") = "GPL";
