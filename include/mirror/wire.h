/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the monitor adds to a capture when identity is on: bytes that lie in files and are read years later, by programs we
 * do not know. Described with a worked example in docs/wire-format.md; a field never changes its meaning, a reader skips
 * what it does not know. Everything is in network byte order. Compiles on both sides; includes <linux/types.h> only.
 */
#pragma once

#include <linux/types.h>

#include "abi.h"

#define MIR_WIRE_MAGIC 0x4d495231u	/* "MIR1": first word of an announcement and of a trailer */
#define MIR_WIRE_VERSION 1

#define MIR_ANNOUNCE_ETHERTYPE 0x88b5	/* IEEE Std 802: local experimental ethertype 1 */

/* Type of a TLV. Sent in this order: what a short snapshot length cuts off is worth least. */
enum mir_tlv {
	MIR_TLV_FLOW = 1,	/* struct mir_wire_flow */
	MIR_TLV_PID = 2,	/* 4 bytes: process id in the initial PID namespace */
	MIR_TLV_START = 3,	/* 8 bytes: start of the process, nanoseconds since boot (CLOCK_BOOTTIME) */
	MIR_TLV_COMM = 4,	/* command name, padded with zeros */
	MIR_TLV_UID = 5,	/* 4 bytes: real user id in the initial user namespace */
	MIR_TLV_CGROUP = 6,	/* name of the control group a user knows (unit, container), padded with zeros */
	MIR_TLV_REASON = 7,	/* 1 byte: enum mir_reason of the packet that is announced */
	MIR_TLV_DIRECTION = 8,	/* 1 byte: 1 if the process sends that packet, 0 if it receives it */
};

/* A conversation, seen from the process: `local` is its end. */
struct mir_wire_flow {
	__u8 version;		/* 4 or 6 */
	__u8 proto;		/* IPPROTO_* */
	__be16 lport;		/* TCP, UDP, UDP-Lite: port; ICMP: identifier; else 0 */
	__be16 rport;
	__be32 local[4];	/* IPv4 as ::ffff:a.b.c.d */
	__be32 remote[4];
} __attribute__((packed));
MIR_STATIC_ASSERT(sizeof(struct mir_wire_flow) == 38, "mir_wire_flow is a wire format");

struct mir_tlv_head {
	__u8 type;	/* enum mir_tlv */
	__u8 len;	/* bytes of the value that follows */
};

/* An announcement as this version writes it, from the Ethernet header on. Readers walk the TLVs instead. */
struct mir_announcement {
	__u8 to[6];		/* ff:ff:ff:ff:ff:ff */
	__u8 from[6];		/* 02:4d:49:52:31:00: locally administered, "MIR1" */
	__be16 ethertype;	/* MIR_ANNOUNCE_ETHERTYPE */
	__be32 magic;		/* MIR_WIRE_MAGIC */
	__u8 version;		/* MIR_WIRE_VERSION: raised when an old reader would be wrong, not for new TLVs */
	__u8 reserved;		/* zero */
	__be16 len;		/* bytes of TLVs that follow; padding may come behind them */
	struct mir_tlv_head flow_head;
	struct mir_wire_flow flow;
	struct mir_tlv_head pid_head;
	__be32 pid;
	struct mir_tlv_head start_head;
	__be64 start_ns;
	struct mir_tlv_head comm_head;
	char comm[MIR_COMM_LEN];
	/* 96 bytes up to here: the shortest useful snapshot length */
	struct mir_tlv_head uid_head;
	__be32 uid;
	struct mir_tlv_head cgroup_head;
	char cgroup[MIR_CGROUP_LEN];
	struct mir_tlv_head reason_head;
	__u8 reason;
	struct mir_tlv_head direction_head;
	__u8 direction;
} __attribute__((packed));
MIR_STATIC_ASSERT(sizeof(struct mir_announcement) == 142, "mir_announcement is a wire format");
MIR_STATIC_ASSERT(__builtin_offsetof(struct mir_announcement, uid_head) == 96, "what matters fits in 96 bytes");
