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

#define MIR_TRAILER_END 0x3152494du	/* "1RIM": last word of a trailer, and of the frame */

/* Frame with trailer at most: the kernel grows no frame beyond one allocation of four pages. What is longer goes without
 * and is announced. */
#define MIR_TRAILER_FRAME_MAX 16000

#define MIR_TRAILER_CUT 0x01u	/* the frame was cut to the snapshot length */

/* The trailer as this version writes it. Readers find its beginning by `len`, which stands before the end magic: a later
 * version may put more between `reserved` and `len`. */
struct mir_trailer {
	__be32 magic;		/* MIR_WIRE_MAGIC; not zero, so that no reader takes it for padding */
	__u8 version;		/* MIR_WIRE_VERSION */
	__u8 sent;		/* 1: the process sends the packet, 0: it receives it */
	__u8 reason;		/* enum mir_reason */
	__u8 flags;		/* MIR_TRAILER_* */
	__be32 pid;		/* as MIR_TLV_PID, and so on */
	__be32 uid;
	__be64 start_ns;
	__be64 seq;		/* counts the trailers of this processor: a gap is what the capture lost */
	__be32 ifindex;		/* source the copy was taken on */
	__be32 orig_len;	/* bytes of the packet before it was cut, Ethernet header included */
	char comm[MIR_COMM_LEN];
	__be16 cpu;
	__u8 reserved[8];	/* zero */
	__be16 len;		/* of the whole trailer */
	__be32 end;		/* MIR_TRAILER_END */
} __attribute__((packed));
MIR_STATIC_ASSERT(sizeof(struct mir_trailer) == 72, "mir_trailer is a wire format");

/* ---- IPFIX (--identity ipfix) ----
 * The same facts as an IPFIX message (RFC 7011) of one template and one record in a UDP datagram, with the elements of
 * enterprise 32622 (CACE) that stock Wireshark takes the process of a TCP connection from. Comes behind the first copy. */
#define MIR_IPFIX_PORT 4739
#define MIR_IPFIX_PEN 32622
#define MIR_IPFIX_TEMPLATE4 256
#define MIR_IPFIX_TEMPLATE6 258	/* stock Wireshark knows 256 and 258 only */

struct mir_ipfix_field {
	__be16 id;
	__be16 len;
	__be32 pen;
} __attribute__((packed));

struct mir_ipfix_head {
	__u8 to[6];		/* as in struct mir_announcement */
	__u8 from[6];
	__be16 ethertype;	/* IPv4, from and to 127.0.0.1 */
	__u8 ip[20];
	__be16 sport;
	__be16 dport;		/* MIR_IPFIX_PORT */
	__be16 udp_len;
	__be16 udp_sum;		/* zero: none */
	__be16 version;		/* 10 */
	__be16 len;
	__be32 export_time;	/* zero: a packet program has no clock of the day */
	__be32 sequence;	/* zero */
	__be32 domain;		/* MIR_WIRE_MAGIC */
	__be16 template_set;	/* 2 */
	__be16 template_len;
	__be16 template_id;
	__be16 field_count;
	__be16 proto_id;	/* protocolIdentifier */
	__be16 proto_len;
	struct mir_ipfix_field field[8];	/* local and remote address, ports, user, process, user name, command */
	__be16 data_set;	/* MIR_IPFIX_TEMPLATE4 or 6 */
	__be16 data_len;
} __attribute__((packed));
MIR_STATIC_ASSERT(sizeof(struct mir_ipfix_head) == 138, "mir_ipfix_head is a wire format");

struct mir_ipfix_who {
	__be16 lport;
	__be16 rport;
	__be32 uid;
	__be32 pid;
	__u8 user_outer_len;	/* 2: what follows */
	__u8 user_len;		/* 1 */
	char user[1];		/* "-": a packet program knows no names, and Wireshark wants one */
	__u8 outer_len;		/* 17: what follows */
	__u8 comm_len;
	char comm[MIR_COMM_LEN];	/* padded with zeros */
} __attribute__((packed));

struct mir_ipfix4 {
	struct mir_ipfix_head head;
	__u8 proto;
	__be32 local;
	__be32 remote;
	struct mir_ipfix_who who;
} __attribute__((packed));
MIR_STATIC_ASSERT(sizeof(struct mir_ipfix4) == 180, "mir_ipfix4 is a wire format");

struct mir_ipfix6 {
	struct mir_ipfix_head head;
	__u8 proto;
	__be32 local[4];
	__be32 remote[4];
	struct mir_ipfix_who who;
} __attribute__((packed));
MIR_STATIC_ASSERT(sizeof(struct mir_ipfix6) == 204, "mir_ipfix6 is a wire format");
