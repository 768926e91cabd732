/* SPDX-License-Identifier: GPL-2.0-only */
/* From identity inside a capture to options of its packets: see annotate.h. */
#include "annotate.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "capfile.h"
#include "mctl.h"
#include "wire.h"

#define INTERFACES 65536	/* whose link types are remembered */
#define HEADER_MAX (4u * 1024 * 1024)	/* bytes of section and interfaces that each file of --split begins with */
#define PROCESSES 4096		/* files of --split */
#define OPEN_MAX_FILES 64	/* of them open at a time */
#define PACKET_HEAD 20
#define OPT_END 0
#define OPT_COMMENT 1
#define OPT_FLAGS 2		/* epb_flags: bits 0 and 1 are 1 inbound, 2 outbound */
#define OPT_PROCESS 8		/* epb_processid_threadid */
#define ETHERNET 1
#define MARK "mirror: "		/* our comments begin so */

struct output {
	uint32_t pid;
	uint64_t start_ns;
	char name[PATH_MAX];
	FILE *out;		/* NULL: closed for the moment, or not yet opened */
	uint64_t used;
	unsigned int section;	/* whose header it has; 0: none */
	size_t header;		/* bytes of it */
};

struct work {
	const struct mctl_annotate *a;
	struct mctl_wire *wire;
	uint16_t *linktypes;
	size_t interfaces;
	uint8_t *packet;	/* the block being built */
	size_t room;
	uint8_t *header;	/* --split: section and interfaces so far, as written */
	size_t header_len;
	unsigned int section;
	struct output *outputs;
	size_t n, open;
	uint64_t clock;
};

static const char *const reasons[MIR_REASON_MAX] = {
	"socket", "listener", "linger", "icmp_id", "icmp_error", "raw", "fragment",
};

/* ---- --split ---- */

static void file_name(const struct work *w, const struct mctl_who *who, struct output *o)
{
	char comm[MIR_COMM_LEN];
	unsigned int twins = 0;

	if (!who) {
		snprintf(o->name, sizeof(o->name), "%.4000s/other.pcapng", w->a->dir);
		return;
	}
	snprintf(comm, sizeof(comm), "%s", *who->comm ? who->comm : "unknown");
	for (char *c = comm; *c; c++)
		if (*c == '/' || (unsigned char)*c < 0x21 || *c == 0x7f || (c == comm && (*c == '.' || *c == '-')))
			*c = '_';
	for (size_t i = 0; i < w->n; i++)
		twins += w->outputs[i].pid == who->pid;
	if (twins)
		snprintf(o->name, sizeof(o->name), "%.4000s/%s-%u-%u.pcapng", w->a->dir, comm, who->pid, twins + 1);
	else
		snprintf(o->name, sizeof(o->name), "%.4000s/%s-%u.pcapng", w->a->dir, comm, who->pid);
}

static int close_oldest(struct work *w)
{
	struct output *oldest = NULL;

	for (size_t i = 0; i < w->n; i++)
		if (w->outputs[i].out && (!oldest || w->outputs[i].used < oldest->used))
			oldest = &w->outputs[i];
	if (!oldest)
		return 0;
	w->open--;
	if (fclose(TAKE_PTR(oldest->out)))
		return mctl_why(-errno, "cannot write '%s': %s", oldest->name, strerror(errno));
	return 0;
}

/* Opens the file, again if it was closed for want of descriptors, and brings its header up to date. */
static int open_output(struct work *w, struct output *o)
{
	int r = 0;

	if (!o->out) {
		if (w->open >= OPEN_MAX_FILES)
			r = close_oldest(w);
		if (r < 0)
			return r;
		o->out = fopen(o->name, o->section ? "ae" : "we");
		if (!o->out)
			return mctl_why(-errno, "cannot write '%s': %s", o->name, strerror(errno));
		w->open++;
	}
	if (o->section != w->section)
		o->header = 0;
	fwrite(w->header + o->header, 1, w->header_len - o->header, o->out);
	o->header = w->header_len;
	o->section = w->section;
	o->used = ++w->clock;
	return ferror(o->out) ? mctl_why(-EIO, "cannot write '%s'", o->name) : 0;
}

static int output_of(struct work *w, const struct mctl_who *who, FILE **ret_out)
{
	struct output *o = NULL;
	int r;

	for (size_t i = 0; i < w->n && !o; i++)
		if (w->outputs[i].pid == (who ? who->pid : 0) && w->outputs[i].start_ns == (who ? who->start_ns : 0))
			o = &w->outputs[i];
	if (!o) {
		if (w->n == PROCESSES)
			return mctl_why(-E2BIG, "more than %d processes in one file are too many for --split", PROCESSES);
		o = &w->outputs[w->n];
		file_name(w, who, o);
		w->n++;
		o->pid = who ? who->pid : 0;
		o->start_ns = who ? who->start_ns : 0;
	}
	r = open_output(w, o);
	if (!r)
		*ret_out = o->out;
	return r;
}

static int keep_header(struct work *w, const struct mctl_block *b)
{
	FILE *out;
	size_t len = b->len + 12;
	uint8_t *grown;

	if (b->type == MCTL_BLOCK_SECTION) {
		w->header_len = 0;
		w->section++;
	}
	if (w->header_len + len > HEADER_MAX)
		return mctl_why(-E2BIG, "too many interfaces for --split");
	grown = realloc(w->header, w->header_len + len);
	if (!grown)
		return -ENOMEM;
	w->header = grown;
	out = fmemopen(w->header + w->header_len, len, "w");
	if (!out)
		return -errno;
	setvbuf(out, NULL, _IONBF, 0);
	mctl_block_write(out, b->type, b->swapped, b->body, b->len);
	fclose(out);
	w->header_len += len;
	return 0;
}

/* ---- blocks ---- */

static void put_option(struct work *w, size_t *at, bool swapped, uint16_t code, const void *value, size_t len)
{
	mctl_block_put16(w->packet + *at, swapped, code);
	mctl_block_put16(w->packet + *at + 2, swapped, (uint16_t)len);
	memset(w->packet + *at + 4, 0, (len + 3u) & ~3u);
	memcpy(w->packet + *at + 4, value, len);
	*at += 4 + ((len + 3u) & ~3u);
}

static void describe(const struct mctl_who *who, bool sends, uint8_t reason, char *text, size_t len)
{
	char comm[MIR_COMM_LEN];

	snprintf(comm, sizeof(comm), "%s", who->comm);
	for (char *c = comm; *c; c++)
		if ((unsigned char)*c < 0x20 || (unsigned char)*c > 0x7e)
			*c = '?';	/* options are UTF-8 */
	snprintf(text, len, "%s[%u] uid=%u %s%s%s", comm, who->pid, who->uid, sends ? "sends" : "receives",
		 reason < MIR_REASON_MAX ? " reason=" : "", reason < MIR_REASON_MAX ? reasons[reason] : "");
}

/* A comment that an earlier run wrote. */
static bool is_ours(uint16_t code, const uint8_t *value, size_t len)
{
	return code == OPT_COMMENT && len >= strlen(MARK) && !memcmp(value, MARK, strlen(MARK));
}

/* Options of the packet: those it has, and ours. Returns where they end. */
static size_t put_options(struct work *w, const struct mctl_block *b, size_t from, size_t at, const struct mctl_seen *seen)
{
	const bool label = !w->a->strip && (seen->sender || seen->receiver);
	char text[256] = MARK, other[128];
	uint32_t flags = 0;
	uint8_t value[8];

	while (b->len - from >= 4) {
		uint16_t code = mctl_block_get16(b->body + from, b->swapped);
		size_t len = mctl_block_get16(b->body + from + 2, b->swapped), padded = (len + 3u) & ~3u;
		const uint8_t *option = b->body + from + 4;

		if (code == OPT_END || padded > b->len - from - 4)
			break;
		from += 4 + padded;
		if (code == OPT_FLAGS && len == 4 && label)
			flags = mctl_block_get32(option, b->swapped) & ~3u;
		else if (code != OPT_PROCESS && !is_ours(code, option, len))
			put_option(w, &at, b->swapped, code, option, len);
	}
	if (label) {
		const struct mctl_who *who = seen->sender ? seen->sender : seen->receiver;

		mctl_block_put32(value, b->swapped, flags | (seen->sender ? 2 : 1));
		put_option(w, &at, b->swapped, OPT_FLAGS, value, 4);
		mctl_block_put32(value, b->swapped, who->pid);
		mctl_block_put32(value + 4, b->swapped, 0);	/* which of its threads is not known */
		put_option(w, &at, b->swapped, OPT_PROCESS, value, 8);
		describe(who, seen->sender, seen->reason, text + strlen(MARK), 120);
		if (seen->sender && seen->receiver) {
			describe(seen->receiver, false, MIR_REASON_MAX, other, sizeof(other));
			snprintf(text + strlen(text), sizeof(text) - strlen(text), ", %.110s", other);
		}
		put_option(w, &at, b->swapped, OPT_COMMENT, text, strlen(text));
	}
	put_option(w, &at, b->swapped, OPT_END, "", 0);
	return at;
}

static int write_packet(struct work *w, const struct mctl_block *b, size_t len, const struct mctl_seen *seen)
{
	const struct mctl_who *whose[2] = { seen->sender ? seen->sender : seen->receiver,
					    seen->sender ? seen->receiver : NULL };
	FILE *out = w->a->out;
	int r = 0;

	if (out) {
		mctl_block_write(out, b->type, b->swapped, w->packet, len);
		if (w->a->live)
			fflush(out);
		return 0;
	}
	for (int i = 0; !r && i < 2; i++) {
		if (i && !whose[i])
			break;
		r = output_of(w, whose[i], &out);
		if (!r)
			mctl_block_write(out, b->type, b->swapped, w->packet, len);
	}
	return r;
}

/* One enhanced packet block. */
static int take_packet(struct work *w, const struct mctl_block *b)
{
	uint32_t interface, len, wire_len;
	struct mctl_seen seen = {};
	size_t padded;

	if (b->len < PACKET_HEAD)
		return mctl_why(-EBADMSG, "'%s' is damaged: a packet block without packet", w->a->in_name);
	interface = mctl_block_get32(b->body, b->swapped);
	len = mctl_block_get32(b->body + 12, b->swapped);
	wire_len = mctl_block_get32(b->body + 16, b->swapped);
	if (len > b->len - PACKET_HEAD || interface >= w->interfaces)
		return mctl_why(-EBADMSG, "'%s' is damaged: a packet %s", w->a->in_name,
				interface >= w->interfaces ? "of an interface that it does not describe" :
				"that is longer than its block");
	padded = (len + 3u) & ~3u;
	if (interface < INTERFACES && w->linktypes[interface] == ETHERNET)
		mctl_wire_frame(w->wire, b->body + PACKET_HEAD, len, wire_len, &seen);
	if (seen.identity && (w->a->strip || w->a->move || !w->a->out))
		return 0;
	if (!w->packet || b->len + 1024 > w->room) {
		uint8_t *grown = realloc(w->packet, b->len + 1024);

		if (!grown)
			return -ENOMEM;
		w->packet = grown;
		w->room = b->len + 1024;
	}
	memcpy(w->packet, b->body, PACKET_HEAD + len);
	if (seen.trailer && (w->a->strip || w->a->move)) {
		len -= (uint32_t)seen.trailer;
		wire_len = seen.orig_len > len ? seen.orig_len : len;
		mctl_block_put32(w->packet + 12, b->swapped, len);
		mctl_block_put32(w->packet + 16, b->swapped, wire_len);
	}
	memset(w->packet + PACKET_HEAD + len, 0, 4);
	return write_packet(w, b, put_options(w, b, PACKET_HEAD + padded, PACKET_HEAD + ((len + 3u) & ~3u), &seen), &seen);
}

static int take_block(struct work *w, struct mctl_block *b)
{
	if (b->type == MCTL_BLOCK_SECTION) {
		if (b->len < 16)
			return mctl_why(-EBADMSG, "'%s' is damaged: a section without version", w->a->in_name);
		memset(b->body + 8, 0xff, 8);	/* its length will be another: unknown */
		w->interfaces = 0;
	}
	if (b->type == MCTL_BLOCK_INTERFACE) {
		if (b->len < 8)
			return mctl_why(-EBADMSG, "'%s' is damaged: an interface without link type", w->a->in_name);
		if (w->interfaces < INTERFACES)
			w->linktypes[w->interfaces] = mctl_block_get16(b->body, b->swapped);
		w->interfaces++;
	}
	if (b->type == MCTL_BLOCK_PACKET)
		return take_packet(w, b);
	if (w->a->out) {
		mctl_block_write(w->a->out, b->type, b->swapped, b->body, b->len);
		return 0;
	}
	/* Statistics and names are of the whole file, not of a process. */
	return b->type == MCTL_BLOCK_SECTION || b->type == MCTL_BLOCK_INTERFACE ? keep_header(w, b) : 0;
}

static int finish(struct work *w, int r)
{
	int closed = 0;

	for (size_t i = 0; i < w->n; i++)
		if (w->outputs[i].out && fclose(w->outputs[i].out) && !closed)
			closed = mctl_why(-EIO, "cannot write '%s'", w->outputs[i].name);
	free(w->outputs);
	free(w->header);
	free(w->packet);
	free(w->linktypes);
	mctl_wire_free(w->wire);
	return r < 0 ? r : closed;
}

int mctl_annotate(const struct mctl_annotate *a)
{
	struct work w = { .a = a, .wire = mctl_wire_new(), .linktypes = calloc(INTERFACES, sizeof(*w.linktypes)),
			  .outputs = a->out ? NULL : calloc(PROCESSES, sizeof(*w.outputs)) };
	struct mctl_capfile *in = mctl_capfile_new(a->in, a->in_name);
	struct mctl_block block;
	int taken, r = w.wire && w.linktypes && in && (a->out || w.outputs) ? 1 : -ENOMEM;

	if (r > 0 && !a->out && mkdir(a->dir, 0755) && errno != EEXIST)
		r = mctl_why(-errno, "cannot make directory '%s': %s", a->dir, strerror(errno));
	while (r > 0) {
		r = mctl_capfile_next(in, &block);
		taken = r > 0 ? take_block(&w, &block) : 0;
		if (taken < 0)
			r = taken;
		else if (r > 0 && a->out && ferror(a->out))
			r = -errno;
	}
	mctl_capfile_free(in);
	return finish(&w, r);
}
