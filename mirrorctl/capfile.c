/* SPDX-License-Identifier: GPL-2.0-only */
/* Capture files as a stream of blocks: see capfile.h. */
#include "capfile.h"

#include <byteswap.h>
#include <inttypes.h>
#include <string.h>

#include "mctl.h"

#define PCAP_US 0xa1b2c3d4u
#define PCAP_NS 0xa1b23c4du
#define BYTE_ORDER_MAGIC 0x1a2b3c4du
#define PACKET_HEAD 20		/* of an enhanced packet block: interface, time, two lengths */

enum state {
	STATE_START,
	STATE_PCAP_INTERFACE,	/* a pcap file of which the section was made up, and the interface comes next */
	STATE_PCAP,
	STATE_PCAPNG,
};

struct mctl_capfile {
	FILE *in;
	const char *name;
	enum state state;
	bool swapped;
	bool nano;
	uint32_t linktype, snaplen;
	uint64_t at;		/* bytes read */
	uint64_t packets;
	uint8_t *buf;
	size_t room;
};

uint16_t mctl_block_get16(const uint8_t *at, bool swapped)
{
	uint16_t value;

	memcpy(&value, at, sizeof(value));
	return swapped ? bswap_16(value) : value;
}

uint32_t mctl_block_get32(const uint8_t *at, bool swapped)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return swapped ? bswap_32(value) : value;
}

void mctl_block_put16(uint8_t *at, bool swapped, uint16_t value)
{
	value = swapped ? bswap_16(value) : value;
	memcpy(at, &value, sizeof(value));
}

void mctl_block_put32(uint8_t *at, bool swapped, uint32_t value)
{
	value = swapped ? bswap_32(value) : value;
	memcpy(at, &value, sizeof(value));
}

struct mctl_capfile *mctl_capfile_new(FILE *in, const char *name)
{
	struct mctl_capfile *f = calloc(1, sizeof(*f));

	if (f) {
		f->in = in;
		f->name = name;
	}
	return f;
}

void mctl_capfile_free(struct mctl_capfile *f)
{
	if (f)
		free(f->buf);
	free(f);
}

static int damaged(const struct mctl_capfile *f, const char *what)
{
	return mctl_why(-EBADMSG, "'%s' is damaged at byte %" PRIu64 ", behind packet %" PRIu64 ": %s", f->name, f->at,
			f->packets, what);
}

/* Reads exactly `len` bytes. 1, or 0 at the end of the file if that is allowed here, or an error. */
static int read_bytes(struct mctl_capfile *f, void *to, size_t len, bool may_end)
{
	size_t n = fread(to, 1, len, f->in);

	if (n < len && ferror(f->in))
		return mctl_why(-EIO, "cannot read '%s': %s", f->name, strerror(errno));
	if (!n && len && may_end)
		return 0;
	if (n < len)
		return mctl_why(-EBADMSG, "'%s' is cut short at byte %" PRIu64 ", behind packet %" PRIu64, f->name,
				f->at + n, f->packets);
	f->at += n;
	return 1;
}

static int make_room(struct mctl_capfile *f, size_t len)
{
	uint8_t *grown;

	if (len <= f->room)
		return 0;
	grown = realloc(f->buf, len);
	if (!grown)
		return -ENOMEM;
	f->buf = grown;
	f->room = len;
	return 0;
}

static int give(struct mctl_capfile *f, uint32_t type, size_t len, struct mctl_block *ret_block)
{
	ret_block->type = type;
	ret_block->swapped = f->state == STATE_PCAPNG && f->swapped;
	ret_block->body = f->buf;
	ret_block->len = len;
	return 1;
}

/* ---- pcap ---- */

/* A section as if we had written it; the interface follows. */
static int give_section(struct mctl_capfile *f, struct mctl_block *ret_block)
{
	const uint32_t magic = BYTE_ORDER_MAGIC;
	const uint16_t version[2] = { 1, 0 };

	memcpy(f->buf, &magic, 4);
	memcpy(f->buf + 4, version, 4);
	memset(f->buf + 8, 0xff, 8);
	f->state = STATE_PCAP_INTERFACE;
	return give(f, MCTL_BLOCK_SECTION, 16, ret_block);
}

static int give_interface(struct mctl_capfile *f, struct mctl_block *ret_block)
{
	const uint8_t resolution = f->nano ? 9 : 6;

	memset(f->buf, 0, 20);
	mctl_block_put16(f->buf, false, (uint16_t)f->linktype);
	mctl_block_put32(f->buf + 4, false, f->snaplen);
	mctl_block_put16(f->buf + 8, false, 9);		/* if_tsresol */
	mctl_block_put16(f->buf + 10, false, 1);
	f->buf[12] = resolution;			/* then padding and opt_endofopt: zeros */
	f->state = STATE_PCAP;
	return give(f, MCTL_BLOCK_INTERFACE, 20, ret_block);
}

static int pcap_start(struct mctl_capfile *f, uint32_t magic)
{
	uint8_t head[20];
	int r;

	f->swapped = magic == bswap_32(PCAP_US) || magic == bswap_32(PCAP_NS);
	f->nano = magic == PCAP_NS || magic == bswap_32(PCAP_NS);
	r = read_bytes(f, head, sizeof(head), false);
	if (r < 0)
		return r;
	f->snaplen = mctl_block_get32(head + 12, f->swapped);
	f->linktype = mctl_block_get32(head + 16, f->swapped) & 0xffff;	/* above: length of a frame check sequence */
	return make_room(f, 4096);
}

static int pcap_packet(struct mctl_capfile *f, struct mctl_block *ret_block)
{
	uint32_t len, wire_len;
	uint8_t head[16];
	uint64_t time;
	int r;

	r = read_bytes(f, head, sizeof(head), true);
	if (r <= 0)
		return r;
	len = mctl_block_get32(head + 8, f->swapped);
	wire_len = mctl_block_get32(head + 12, f->swapped);
	if (len > MCTL_BLOCK_MAX - 64)
		return damaged(f, "a packet of impossible length");
	r = make_room(f, PACKET_HEAD + len + 4);
	if (!r)
		r = read_bytes(f, f->buf + PACKET_HEAD, len, false);
	if (r < 0)
		return r;
	time = (uint64_t)mctl_block_get32(head, f->swapped) * (f->nano ? 1000000000u : 1000000u) +
	       mctl_block_get32(head + 4, f->swapped);
	mctl_block_put32(f->buf, false, 0);
	mctl_block_put32(f->buf + 4, false, (uint32_t)(time >> 32));
	mctl_block_put32(f->buf + 8, false, (uint32_t)time);
	mctl_block_put32(f->buf + 12, false, len);
	mctl_block_put32(f->buf + 16, false, wire_len);
	memset(f->buf + PACKET_HEAD + len, 0, 4);
	f->packets++;
	return give(f, MCTL_BLOCK_PACKET, PACKET_HEAD + ((len + 3u) & ~3u), ret_block);
}

/* ---- pcapng ---- */

/* A block whose type was read. A section header tells its byte order behind its length. */
static int pcapng_block(struct mctl_capfile *f, uint32_t raw_type, struct mctl_block *ret_block)
{
	uint8_t lens[4], order[4] = { 0 };
	uint32_t len, magic;
	size_t have = 0;
	int r;

	r = read_bytes(f, lens, sizeof(lens), false);
	if (r > 0 && raw_type == MCTL_BLOCK_SECTION) {
		r = read_bytes(f, order, have = sizeof(order), false);
		memcpy(&magic, order, sizeof(magic));
		if (r > 0 && magic != BYTE_ORDER_MAGIC && magic != bswap_32(BYTE_ORDER_MAGIC))
			return damaged(f, "a section without byte order");
		f->swapped = magic != BYTE_ORDER_MAGIC;
	}
	if (r < 0)
		return r;
	len = mctl_block_get32(lens, f->swapped);
	if (len < 12 + have || len % 4 || len > MCTL_BLOCK_MAX)
		return damaged(f, "a block of impossible length");
	len -= 12;
	r = make_room(f, len + 4);
	if (r < 0)
		return r;
	memcpy(f->buf, order, have);
	r = read_bytes(f, f->buf + have, len - have + 4, false);
	if (r < 0)
		return r;
	if (mctl_block_get32(f->buf + len, f->swapped) != len + 12)
		return damaged(f, "the two lengths of a block differ");
	f->state = STATE_PCAPNG;
	raw_type = f->swapped ? bswap_32(raw_type) : raw_type;
	f->packets += raw_type == MCTL_BLOCK_PACKET;
	return give(f, raw_type, len, ret_block);
}

int mctl_capfile_next(struct mctl_capfile *f, struct mctl_block *ret_block)
{
	uint32_t word;
	int r;

	if (f->state == STATE_PCAP_INTERFACE)
		return give_interface(f, ret_block);
	if (f->state == STATE_PCAP)
		return pcap_packet(f, ret_block);
	r = read_bytes(f, &word, sizeof(word), f->state == STATE_PCAPNG);
	if (r <= 0)
		return r;
	if (f->state == STATE_PCAPNG || word == MCTL_BLOCK_SECTION)
		return pcapng_block(f, word, ret_block);
	if (word != PCAP_US && word != PCAP_NS && word != bswap_32(PCAP_US) && word != bswap_32(PCAP_NS))
		return mctl_why(-EBADMSG, "'%s' is no pcap or pcapng file", f->name);
	r = pcap_start(f, word);
	return r < 0 ? r : give_section(f, ret_block);
}

void mctl_block_write(FILE *out, uint32_t type, bool swapped, const void *body, size_t len)
{
	static const uint8_t zeros[4];
	const size_t pad = (4 - len % 4) % 4;
	uint8_t head[8], tail[4];

	mctl_block_put32(head, swapped, type);
	mctl_block_put32(head + 4, swapped, (uint32_t)(len + pad + 12));
	mctl_block_put32(tail, swapped, (uint32_t)(len + pad + 12));
	fwrite(head, 1, sizeof(head), out);
	fwrite(body, 1, len, out);
	fwrite(zeros, 1, pad, out);
	fwrite(tail, 1, sizeof(tail), out);
}
