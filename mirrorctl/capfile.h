/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Capture files as a stream of pcapng blocks (draft-ietf-opsawg-pcapng): pcap files are turned into blocks on the way in. One
 * block is in memory at a time. Blocks keep the byte order of their section, so what we do not understand stays true.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum mctl_block_type {
	MCTL_BLOCK_INTERFACE = 1,
	MCTL_BLOCK_STATISTICS = 5,
	MCTL_BLOCK_PACKET = 6,		/* enhanced packet block */
	MCTL_BLOCK_SECTION = 0x0a0d0d0a,
};

#define MCTL_BLOCK_MAX (16u * 1024 * 1024)	/* bytes; longer ones are damage */

struct mctl_block {
	uint32_t type;		/* enum mctl_block_type or any other */
	bool swapped;		/* its section has the other byte order than this host */
	size_t len;
	uint8_t *body;		/* without type and lengths; the reader's, until the next block */
};

struct mctl_capfile;

/* Reads from `in`, which stays the caller's; `name` stands for it in messages. NULL: out of memory. */
struct mctl_capfile *mctl_capfile_new(FILE *in, const char *name);
void mctl_capfile_free(struct mctl_capfile *file);

/* The next block: 1, or 0 at the end, or -EBADMSG for what is no capture file, cut short or damaged (mctl_reason() says
 * which and where), or -errno. */
int mctl_capfile_next(struct mctl_capfile *file, struct mctl_block *ret_block);

/* Writes one block, padded to four bytes. Errors stay in `out` (ferror). */
void mctl_block_write(FILE *out, uint32_t type, bool swapped, const void *body, size_t len);

/* Numbers of a block's byte order, at any alignment. */
uint16_t mctl_block_get16(const uint8_t *at, bool swapped);
uint32_t mctl_block_get32(const uint8_t *at, bool swapped);
void mctl_block_put16(uint8_t *at, bool swapped, uint16_t value);
void mctl_block_put32(uint8_t *at, bool swapped, uint32_t value);
