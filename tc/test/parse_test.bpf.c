/* SPDX-License-Identifier: GPL-2.0-only */
/* The parser on its own, for BPF_PROG_TEST_RUN: what it makes of a packet lies in map `parsed` afterwards. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "parse.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mir_packet);
} parsed SEC(".maps");

static __always_inline int parse_from(struct __sk_buff *skb, __u32 l2_len)
{
	struct mir_packet p = {};
	__u32 zero = 0;
	int result = mir_parse(skb, l2_len, &p);

	bpf_map_update_elem(&parsed, &zero, &p, BPF_ANY);
	return result;	/* enum mir_parse */
}

SEC("tc")
int parse_ethernet(struct __sk_buff *skb)
{
	return parse_from(skb, 14);
}

char _license[] SEC("license") = "GPL";
