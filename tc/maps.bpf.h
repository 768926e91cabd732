/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every map of the mirror, declared once; each object that includes this is given the same maps by mirrorctl when it is
 * loaded. Pinned under the same names. Keys and values are described in <mirror/abi.h>.
 */
#pragma once

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include <mirror/abi.h>

/* Socket -> owner. BPF_F_CLONE: a child gets its listener's owner in sk_clone_lock(), in softirq, on the last packet of
 * the handshake, before accept(). Freed with the socket, so it answers for FIN and retransmits after close(). */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct mir_owner);
} owners SEC(".maps");

/* Process id -> target. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MIR_TARGETS_LIMIT);
	__type(key, __u32);
	__type(value, struct mir_target);
} targets SEC(".maps");

/* Exited target whose process id was given out again -> the target, for the rest of its linger time. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MIR_FORMER_LIMIT);
	__type(key, struct mir_owner);
	__type(value, struct mir_target);
} former SEC(".maps");

/* Selector -> what becomes of its targets' packets. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MIR_SELECTORS_LIMIT);
	__type(key, __u32);
	__type(value, struct mir_policy);
} policies SEC(".maps");

/* Number -> what its policy has used up. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MIR_SELECTORS_LIMIT);
	__type(key, __u32);
	__type(value, struct mir_meter);
} meters SEC(".maps");

/* Monitors beside the instance's own. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MIR_MONITORS_LIMIT);
	__type(key, __u32);
	__type(value, struct mir_monitor);
} monitors SEC(".maps");

/* Targets that have exited and will be over. */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, MIR_TARGETS_LIMIT);
	__type(value, struct mir_exited);
} exited SEC(".maps");

/* Number -> what it looks for. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MIR_SELECTORS_LIMIT);
	__type(key, __u32);
	__type(value, struct mir_selector);
} selectors SEC(".maps");

/* Selectors, bit by number -> what targets that they chose had counted when they ceased to. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MIR_CREDITS_LIMIT);
	__type(key, __u64);
	__type(value, struct mir_counts);
} credits SEC(".maps");

/* Fact about a process -> the selectors that look for it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MIR_TRAITS_LIMIT);
	__type(key, struct mir_trait);
	__type(value, __u64);
} traits SEC(".maps");

/* Name or path -> the selectors that look for it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MIR_LABELS_LIMIT);
	__type(key, struct mir_label);
	__type(value, __u64);
} labels SEC(".maps");
/* Filter number -> what it was compiled from, for people. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MIR_FILTERS_LIMIT);
	__type(key, __u32);
	__type(value, struct mir_filter);
} filter_texts SEC(".maps");

/* Tuple -> owner, for packets that have no live socket. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MIR_FLOWS_LIMIT);
	__type(key, struct mir_flow);
	__type(value, struct mir_flow_owner);
} flows SEC(".maps");

/* Tuple on the wire -> tuple of a target's socket, where this host translates addresses or ports. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MIR_TRANSLATED_LIMIT);
	__type(key, struct mir_flow);
	__type(value, struct mir_flow);
} translated SEC(".maps");

/* Low half of a socket's cookie -> 1: a target's socket is closed, of a kind whose answers only `flows` finds. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MIR_CLOSED_LIMIT);
	__type(key, __u32);
	__type(value, __u32);
} closed SEC(".maps");

/* Conversation -> when it was last announced, and as whose (--identity). */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MIR_ANNOUNCED_LIMIT);
	__type(key, struct mir_flow);
	__type(value, struct mir_announced);
} announced SEC(".maps");

/* Datagram in pieces -> owner, learnt from its first fragment. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MIR_FRAGMENTS_LIMIT);
	__type(key, struct mir_fragment);
	__type(value, struct mir_fragment_owner);
} fragments SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mir_config);
} config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mir_live);
} live SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mir_learnt);
} learnt SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mir_stats);
} stats SEC(".maps");

/* What mirrorctl attached where, and how these devices stand to one another. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MIR_SOURCES_LIMIT);
	__type(key, __u32);
	__type(value, struct mir_source);
} sources SEC(".maps");

/* VLAN id or address of a source's packets -> the source on top of it that they pass as well. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MIR_SOURCES_LIMIT);
	__type(key, struct mir_upper);
	__type(value, __u32);
} uppers SEC(".maps");

/* What happened, for `mirrorctl events`. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, MIR_EVENTS_BYTES);
} events SEC(".maps");

/* Conversations whose first packet was told to `mirrorctl events -f`, and when. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MIR_ANNOUNCED_LIMIT);
	__type(key, struct mir_flow);
	__type(value, __u64);
} told SEC(".maps");

static __always_inline struct mir_live *mir_live(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&live, &zero);
}

static __always_inline struct mir_learnt *mir_learnt(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&learnt, &zero);
}

static __always_inline struct mir_config *mir_config(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&config, &zero);
}

static __always_inline struct mir_stats *mir_stats(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&stats, &zero);
}
