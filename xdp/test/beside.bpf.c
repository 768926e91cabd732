/* SPDX-License-Identifier: GPL-2.0-only */
/* Somebody else's XDP program on a port of a tap, for the tests: counts frames, and drops those of one ethertype. */
#include <linux/bpf.h>
#include <linux/if_ether.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ETHERTYPE_DROPPED 0x88b6	/* IEEE: local experiments, the second one */

/* 0 → frames seen, 1 → of these dropped. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} beside_seen SEC(".maps");

static __always_inline void count(__u32 key)
{
	__u64 *n = bpf_map_lookup_elem(&beside_seen, &key);

	if (n)
		__sync_fetch_and_add(n, 1);
}

SEC("xdp")
int beside(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;

	count(0);
	if ((void *)(eth + 1) > (void *)(long)ctx->data_end || eth->h_proto != bpf_htons(ETHERTYPE_DROPPED))
		return XDP_PASS;
	count(1);
	return XDP_DROP;
}

char _license[] SEC("license") = "GPL";
