/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The contract between the programs of the inline tap (xdp/) and mirrorctl, beside abi.h. Compiles on both sides; no code
 * lives here.
 */
#pragma once

#include <linux/types.h>

#include <mirror/abi.h>

#define MIR_TAP_ABI 1
#define MIR_TAP_NAME_LEN 12	/* with the terminating zero */
#define MIR_TAP_RULES 16	/* --match options of one tap */
#define MIR_TAP_ADDRESSES 32	/* addresses of both ports that --take-addresses can put aside */

/* Entries of map `tap_wire` (BPF_MAP_TYPE_DEVMAP). The monitor is last: a copy is made for each entry in this order, and
 * when one cannot be made or sent, those behind it get nothing. */
enum mir_tap_leg {
	MIR_TAP_A,
	MIR_TAP_B,
	MIR_TAP_MONITOR,
	MIR_TAP_LEG_MAX,
};

enum mir_tap_mode {
	MIR_TAP_AUTO,
	MIR_TAP_NATIVE,		/* in the driver */
	MIR_TAP_GENERIC,	/* in the stack, on an skb */
	MIR_TAP_MODE_MAX,
};

/* Which conditions of a rule are set. */
#define MIR_TAP_RULE_NET 0x01u
#define MIR_TAP_RULE_PEER 0x02u
#define MIR_TAP_RULE_PROTO 0x04u
#define MIR_TAP_RULE_PORT 0x08u
#define MIR_TAP_RULE_VLAN 0x10u

/* One --match. A frame matches when all conditions that are set hold, whichever way it goes: one end in `net` and the
 * other in `peer`, one of the two ports in the range, one of the first two VLAN tags. */
struct mir_tap_rule {
	__be32 net[4];		/* IPv4 as ::ffff:a.b.c.d, masked */
	__be32 net_mask[4];
	__be32 peer[4];
	__be32 peer_mask[4];
	__u16 port_low;		/* host byte order, inclusive */
	__u16 port_high;
	__u16 vlan;		/* 12 bits */
	__u8 proto;		/* IPPROTO_* */
	__u8 version;		/* 4 or 6 where there is a prefix, else 0 */
	__u32 set;		/* MIR_TAP_RULE_* */
};
MIR_STATIC_ASSERT(sizeof(struct mir_tap_rule) == 76, "mir_tap_rule is ABI");

/* Value of map `tap_select` (BPF_MAP_TYPE_ARRAY of two: the one in force and the one being written). */
struct mir_tap_select {
	__u32 nrules;		/* 0: every frame */
	__u32 sample;		/* one flow in so many; 1: every flow */
	struct mir_tap_rule rule[MIR_TAP_RULES];
};
MIR_STATIC_ASSERT(sizeof(struct mir_tap_select) == 8 + 16 * 76, "mir_tap_select is ABI");

/* What was changed on a port, or on the other end of its veth, and has to be changed back. */
#define MIR_TAP_PROMISC 0x01u		/* promiscuous mode turned on */
#define MIR_TAP_IPV6 0x02u		/* IPv6 turned off */
#define MIR_TAP_RXVLAN 0x04u		/* VLAN tags are left in the frame */
#define MIR_TAP_GRO 0x08u		/* receive offload turned off */
#define MIR_TAP_PEER_GRO 0x10u		/* other end: turned on, or it takes no redirected frame */
#define MIR_TAP_PEER_CSUM 0x20u		/* other end: checksums are finished before the frame leaves */
#define MIR_TAP_PEER_TXVLAN 0x40u	/* other end: VLAN tags are put into the frame */
#define MIR_TAP_CLSACT 0x80u		/* clsact qdisc made */

struct mir_tap_port {
	__u32 ifindex;
	char name[MIR_IFNAME_LEN];	/* when the tap was made */
	__u32 longest;			/* bytes of the longest frame that can leave here, Ethernet header included */
	__u32 changed;			/* MIR_TAP_* above; written before the change is made */
	__u32 peer_ifindex;		/* other end of a veth; 0: none or not reached */
	__u32 peer_netns;		/* inode number of its namespace */
};
MIR_STATIC_ASSERT(sizeof(struct mir_tap_port) == 36, "mir_tap_port is ABI");

/* An address put aside by --take-addresses. */
struct mir_tap_address {
	__u32 ifindex;		/* 0: none */
	__u8 family;		/* AF_INET or AF_INET6 */
	__u8 prefixlen;
	__u8 scope;
	__u8 has;		/* 1: broadcast is set */
	__u32 flags;		/* IFA_F_* that are the user's */
	__u8 local[16];
	__u8 address[16];	/* other end of a point-to-point address, else the same */
	__u8 broadcast[4];
};
MIR_STATIC_ASSERT(sizeof(struct mir_tap_address) == 48, "mir_tap_address is ABI");

/* Value of map `tap_state` (BPF_MAP_TYPE_ARRAY, key 0). Written by mirrorctl alone, under its lock. */
struct mir_tap_state {
	__u32 abi;			/* MIR_TAP_ABI */
	__u32 netns;			/* inode number of the namespace */
	__u64 netns_cookie;		/* SO_NETNS_COOKIE; 0: kernel has none */
	struct mir_tap_port port[2];
	char monitor[MIR_IFNAME_LEN];
	__u32 monitor_ifindex;		/* captured on */
	__u32 copy_ifindex;		/* its other end, where copies are sent to */
	__u32 clone_max;		/* native mode: bytes of the longest frame the kernel can copy */
	__u8 mode;			/* enum mir_tap_mode, never _AUTO once the tap is up */
	__u8 wanted_mode;		/* what the user asked for */
	__u8 dispatcher;		/* 1: attached beside other programs by libxdp's dispatcher */
	__u8 tcx;			/* 1: TC programs are attached by TCX links */
	__u8 took_addresses;
	__u8 causes;			/* 1: tracepoints tell why a frame was lost */
	__u8 reserved[2];
	struct mir_tap_address address[MIR_TAP_ADDRESSES];
};
MIR_STATIC_ASSERT(sizeof(struct mir_tap_state) == 16 + 72 + 36 + 4 + 32 * 48, "mir_tap_state is ABI");

/*
 * Value of map `tap_stats` (BPF_MAP_TYPE_PERCPU_ARRAY, key: the port the frame came in by). Frames unless it says bytes.
 * Every field is a __u64. What the kernel skips without a word (device down or gone) is what is missing from:
 *   in = sent + too_long + lost + skipped, forwarded = sent - dropped;
 *   wanted = copy_sent + copy_too_long + copy_lost + skipped, copied = copy_sent - copy_dropped.
 */
struct mir_tap_stats {
	__u64 in;
	__u64 in_bytes;
	__u64 sent;		/* handed to the other port */
	__u64 sent_bytes;
	__u64 too_long;		/* longer than the other port's MTU */
	__u64 lost;		/* the kernel had no memory to copy it, or another error before it was sent */
	__u64 dropped;		/* the other port would not take it: its queue was full */
	__u64 wanted;		/* matched and sampled: to be copied */
	__u64 copy_sent;	/* handed to the monitor */
	__u64 copy_sent_bytes;
	__u64 copy_too_long;	/* longer than the kernel can copy in native mode */
	__u64 copy_lost;
	__u64 copy_dropped;
};
MIR_STATIC_ASSERT(sizeof(struct mir_tap_stats) == 13 * 8, "mir_tap_stats is ABI");

/* Value of map `tap_live` (BPF_MAP_TYPE_ARRAY, key 0). */
struct mir_tap_live {
	__u32 slot;		/* entry of `tap_select` in force */
	__u32 reserved;
};
MIR_STATIC_ASSERT(sizeof(struct mir_tap_live) == 8, "mir_tap_live is ABI");

/* Value of map `tap_now` (BPF_MAP_TYPE_PERCPU_ARRAY, key 0): the frame this processor is forwarding. */
struct mir_tap_now {
	__u32 port;		/* came in by: MIR_TAP_A or _B */
	__u32 copy;		/* 1: also sent to the monitor */
};
MIR_STATIC_ASSERT(sizeof(struct mir_tap_now) == 8, "mir_tap_now is ABI");
