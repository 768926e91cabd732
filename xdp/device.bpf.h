/* SPDX-License-Identifier: GPL-2.0-only */
/* The few fields of kernel structs that the tap's tracepoint programs read, relocated at load (CO-RE). */
#pragma once

#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct bpf_prog;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct net_device {
	__u32 ifindex;
	possible_net_t nd_net;
};

#pragma clang attribute pop

/* Interface numbers are the same again in every namespace. */
static __always_inline int mir_device_in(const struct net_device *dev, __u32 netns)
{
	return dev && dev->nd_net.net->ns.inum == netns;
}
