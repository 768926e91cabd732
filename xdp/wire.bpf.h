/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The maps of one inline tap, declared once; each object that includes this is given the same maps by mirrorctl. Pinned
 * under the same names. Keys and values are described in <mirror/tap.h>.
 */
#pragma once

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include <mirror/tap.h>

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, MIR_TAP_LEG_MAX);
	__type(key, __u32);
	__type(value, struct bpf_devmap_val);
} tap_wire SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mir_tap_state);
} tap_state SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mir_tap_live);
} tap_live SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct mir_tap_select);
} tap_select SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct mir_tap_stats);
} tap_stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mir_tap_now);
} tap_now SEC(".maps");

static __always_inline struct mir_tap_state *mir_tap_state(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&tap_state, &zero);
}

static __always_inline struct mir_tap_now *mir_tap_now(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&tap_now, &zero);
}

static __always_inline struct mir_tap_stats *mir_tap_stats(__u32 port)
{
	return bpf_map_lookup_elem(&tap_stats, &port);
}

static __always_inline struct mir_tap_select *mir_tap_select(void)
{
	struct mir_tap_live *live;
	__u32 key = 0;

	live = bpf_map_lookup_elem(&tap_live, &key);
	if (!live)
		return NULL;
	key = live->slot & 1;
	return bpf_map_lookup_elem(&tap_select, &key);
}

/* The port a frame came in by; MIR_TAP_LEG_MAX: neither. */
static __always_inline __u32 mir_tap_port_of(const struct mir_tap_state *s, __u32 ifindex)
{
	if (ifindex == s->port[MIR_TAP_A].ifindex)
		return MIR_TAP_A;
	return ifindex == s->port[MIR_TAP_B].ifindex ? MIR_TAP_B : MIR_TAP_LEG_MAX;
}
