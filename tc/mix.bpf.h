/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The hash of a flow, by which mirror and tap choose one in N: the same flows on both. Described in docs/architecture.md.
 */
#pragma once

#include <linux/types.h>

#include <bpf/bpf_endian.h>

static __always_inline __u32 mir_mix(__u32 h, __u32 word)
{
	h = (h ^ word) * 0x9e3779b1u;
	return h ^ h >> 15;
}

/* One end of a flow. Both are added up, so that each direction comes to the same. */
static __always_inline __u32 mir_mix_end(const __be32 *addr, __be16 port)
{
	__u32 h = 0;
	int i;

#pragma unroll
	for (i = 0; i < 4; i++)
		h = mir_mix(h, bpf_ntohl(addr[i]));
	return mir_mix(h, bpf_ntohs(port));
}
