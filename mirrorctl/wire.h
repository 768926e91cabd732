/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reads identity out of captured frames (docs/wire-format.md): learns announcements, trailers and IPFIX records, and says
 * whose a frame is. Bounded memory: of very many conversations those not announced for longest are forgotten. Frames may be
 * anything; nothing is read past their end. No I/O.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mirror/wire.h>

/* A process as a capture names it. */
struct mctl_who {
	uint32_t pid;
	uint32_t uid;
	uint64_t start_ns;	/* 0: unknown */
	char comm[MIR_COMM_LEN];
	char cgroup[MIR_CGROUP_LEN];
};

/* What a frame turned out to be. */
struct mctl_seen {
	bool identity;			/* no packet: an announcement or an IPFIX record */
	size_t trailer;			/* bytes of trailer at the end of a packet; 0: none */
	uint8_t reason;			/* enum mir_reason, by its trailer; MIR_REASON_MAX: unknown */
	uint32_t orig_len;		/* of the packet before it was cut, by its trailer; 0: unknown */
	const struct mctl_who *sender;	/* NULL: nobody we know; good until the next frame */
	const struct mctl_who *receiver;
};

struct mctl_wire;

struct mctl_wire *mctl_wire_new(void);	/* NULL: out of memory */
void mctl_wire_free(struct mctl_wire *wire);

/* Looks at the next Ethernet frame: `len` bytes of it were captured, it was `wire_len` bytes long. */
void mctl_wire_frame(struct mctl_wire *wire, const uint8_t *frame, size_t len, size_t wire_len, struct mctl_seen *ret_seen);
