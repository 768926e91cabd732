/* SPDX-License-Identifier: GPL-2.0-only */
/* Identity in captured frames: see wire.h. The same reading of a packet as tc/parse.bpf.h and the plugin have. */
#include "wire.h"

#include <arpa/inet.h>
#include <endian.h>
#include <netinet/in.h>
#include <string.h>

#include "mctl.h"

#define ETHERNET 14
#define SETS 4096		/* of WAYS conversations each */
#define WAYS 4
#define FRAGMENTS 4096
#define EXTENSIONS 8
#define DEPTH 2			/* an ICMP error quotes a packet, which quotes none */

static const uint8_t our_mac[6] = { 0x02, 'M', 'I', 'R', '1', 0x00 };

/* A conversation seen from one of its ends; of a packet both views. */
struct entry {
	struct mir_flow flow;	/* all zero: free */
	uint64_t used;
	struct mctl_who who;
};

struct keys {
	bool has_out, has_in;	/* seen from the sender, from the receiver */
	bool request;		/* tells the ends apart where both keys are the same */
	struct mir_flow out, in;
};

struct fragment {
	uint8_t id[40];		/* addresses, identification, protocol */
	struct keys keys;
};

struct mctl_wire {
	uint64_t clock;
	struct mctl_who own;	/* of the trailer of the last frame */
	struct entry entries[SETS][WAYS];
	struct fragment fragments[FRAGMENTS];
};

struct mctl_wire *mctl_wire_new(void)
{
	return calloc(1, sizeof(struct mctl_wire));
}

void mctl_wire_free(struct mctl_wire *wire)
{
	free(wire);
}

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static uint64_t get64(const uint8_t *p)
{
	return (uint64_t)get32(p) << 32 | get32(p + 4);
}

static uint32_t hash(const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	uint32_t h = 2166136261u;	/* FNV-1a */

	while (len--)
		h = (h ^ *p++) * 16777619u;
	return h;
}

static struct entry *find(struct mctl_wire *w, const struct mir_flow *flow)
{
	struct entry *set = w->entries[hash(flow, sizeof(*flow)) % SETS];

	for (int i = 0; i < WAYS; i++)
		if (set[i].used && !memcmp(&set[i].flow, flow, sizeof(*flow)))
			return &set[i];
	return NULL;
}

static void learn(struct mctl_wire *w, const struct mir_flow *flow, const struct mctl_who *who)
{
	struct entry *set = w->entries[hash(flow, sizeof(*flow)) % SETS], *e = find(w, flow);

	for (int i = 0; !e && i < WAYS; i++)
		if (!set[i].used)
			e = &set[i];
	if (!e) {
		e = &set[0];
		for (int i = 1; i < WAYS; i++)
			if (set[i].used < e->used)
				e = &set[i];
	}
	e->flow = *flow;
	e->who = *who;
	e->used = ++w->clock;
}

/* ---- whose bytes these are ---- */

static void turn(struct mir_flow *to, const struct mir_flow *from, bool ports)
{
	*to = *from;
	memcpy(to->local, from->remote, sizeof(to->local));
	memcpy(to->remote, from->local, sizeof(to->remote));
	if (ports) {
		to->lport = from->rport;
		to->rport = from->lport;
	}
}

static bool read_ip(const uint8_t *p, size_t len, int depth, struct mctl_wire *w, struct keys *ret);

static bool icmp_request(int version, uint8_t type)
{
	return version == 4 ? type == 8 || type == 13 || type == 15 || type == 17 || type == 42 : type == 128 || type == 160;
}

static bool icmp_reply(int version, uint8_t type)
{
	return version == 4 ? type == 0 || type == 14 || type == 16 || type == 18 || type == 43 : type == 129 || type == 161;
}

static bool icmp_error(int version, uint8_t type)
{
	return version == 4 ? type == 3 || type == 4 || type == 5 || type == 11 || type == 12 : type >= 1 && type <= 4;
}

/* `flow` has addresses and protocol; the transport header is `len` bytes at `p`. */
static bool read_transport(const uint8_t *p, size_t len, int version, int depth, struct mir_flow *flow, struct keys *ret)
{
	bool icmp = (version == 4 && flow->proto == IPPROTO_ICMP) || (version == 6 && flow->proto == IPPROTO_ICMPV6);
	bool ports = flow->proto == IPPROTO_TCP || flow->proto == IPPROTO_UDP || flow->proto == IPPROTO_UDPLITE;
	struct keys quoted = {};

	if (ports ? len < 4 : icmp && len < 1)
		return false;
	ret->request = true;
	if (ports) {
		memcpy(&flow->lport, p, 2);
		memcpy(&flow->rport, p + 2, 2);
	} else if (icmp && icmp_error(version, p[0])) {
		if (len < 8 || depth >= DEPTH || !read_ip(p + 8, len - 8, depth + 1, NULL, &quoted) || !quoted.has_out)
			return false;
		ret->in = quoted.out;
		ret->has_in = true;
		return true;
	} else if (icmp && (icmp_request(version, p[0]) || icmp_reply(version, p[0]))) {
		if (len < 6)
			return false;
		memcpy(&flow->lport, p + 4, 2);
		ret->request = icmp_request(version, p[0]);
	}
	ret->out = *flow;
	turn(&ret->in, flow, ports);
	ret->has_out = ret->has_in = true;
	return true;
}

/* A first fragment leaves its keys for the later ones. */
static bool first_fragment(struct mctl_wire *w, const uint8_t *id, const struct keys *keys)
{
	struct fragment *f = w ? &w->fragments[hash(id, sizeof(f->id)) % FRAGMENTS] : NULL;

	if (f) {
		memcpy(f->id, id, sizeof(f->id));
		f->keys = *keys;
	}
	return true;
}

static bool later_fragment(const struct mctl_wire *w, const uint8_t *id, struct keys *ret)
{
	const struct fragment *f = w ? &w->fragments[hash(id, sizeof(f->id)) % FRAGMENTS] : NULL;

	if (!f || memcmp(f->id, id, sizeof(f->id)) != 0)
		return false;
	*ret = f->keys;
	return true;
}

static void fragment_id(uint8_t *id, const struct mir_flow *flow, uint32_t number, uint8_t proto)
{
	memset(id, 0, 40);
	memcpy(id, flow->local, 16);
	memcpy(id + 16, flow->remote, 16);
	memcpy(id + 32, &number, 4);
	id[36] = proto;
}

static bool read_ip4(const uint8_t *p, size_t len, int depth, struct mctl_wire *w, struct keys *ret)
{
	struct mir_flow flow = {};
	size_t head = len ? (p[0] & 15u) * 4u : 0;
	uint8_t id[40];
	uint16_t frag;

	if (len < 20 || head < 20 || head > len)
		return false;
	flow.local[2] = flow.remote[2] = htonl(0xffff);
	memcpy(&flow.local[3], p + 12, 4);
	memcpy(&flow.remote[3], p + 16, 4);
	flow.proto = p[9];
	frag = get16(p + 6) & 0x3fff;
	fragment_id(id, &flow, get16(p + 4), p[9]);
	if (frag & 0x1fff)
		return later_fragment(w, id, ret);
	if (!read_transport(p + head, len - head, 4, depth, &flow, ret))
		return false;
	return frag ? first_fragment(w, id, ret) : true;
}

static bool read_ip6(const uint8_t *p, size_t len, int depth, struct mctl_wire *w, struct keys *ret)
{
	struct mir_flow flow = {};
	uint8_t next, id[40];
	bool first = false;
	size_t at = 40, step;

	if (len < 40)
		return false;
	memcpy(flow.local, p + 8, 16);
	memcpy(flow.remote, p + 24, 16);
	next = p[6];
	for (int i = 0; i < EXTENSIONS; i++) {
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS &&
		    next != IPPROTO_FRAGMENT && next != IPPROTO_AH)
			break;
		if (len - at < 8)
			return false;
		step = next == IPPROTO_FRAGMENT ? 8 : next == IPPROTO_AH ? (p[at + 1] + 2u) * 4u : (p[at + 1] + 1u) * 8u;
		if (next == IPPROTO_FRAGMENT) {
			fragment_id(id, &flow, get32(p + at + 4), 0);
			if (get16(p + at + 2) & 0xfff8)
				return later_fragment(w, id, ret);
			first = get16(p + at + 2) & 1;
		}
		next = p[at];
		if (step > len - at)
			return false;
		at += step;
	}
	flow.proto = next;
	if (!read_transport(p + at, len - at, 6, depth, &flow, ret))
		return false;
	return first ? first_fragment(w, id, ret) : true;
}

static bool read_ip(const uint8_t *p, size_t len, int depth, struct mctl_wire *w, struct keys *ret)
{
	if (len < 1)
		return false;
	if (p[0] >> 4 == 4)
		return read_ip4(p, len, depth, w, ret);
	return p[0] >> 4 == 6 && read_ip6(p, len, depth, w, ret);
}

static bool read_frame(struct mctl_wire *w, const uint8_t *p, size_t len, struct keys *ret)
{
	uint16_t type = get16(p + 12);
	size_t at = ETHERNET;

	while ((type == 0x8100 || type == 0x88a8) && len - at >= 4) {
		type = get16(p + at + 2);
		at += 4;
	}
	return (type == 0x0800 || type == 0x86dd) && read_ip(p + at, len - at, 1, w, ret);
}

/* ---- what is said of processes ---- */

static void take_tlv(struct mctl_who *who, struct mir_flow *flow, bool *has_flow, uint8_t type, const uint8_t *p, size_t len)
{
	if (type == MIR_TLV_FLOW && len == sizeof(struct mir_wire_flow)) {
		flow->proto = p[1];
		memcpy(&flow->lport, p + 2, 2);
		memcpy(&flow->rport, p + 4, 2);
		memcpy(flow->local, p + 6, 16);
		memcpy(flow->remote, p + 22, 16);
		*has_flow = true;
	} else if (type == MIR_TLV_PID && len == 4) {
		who->pid = get32(p);
	} else if (type == MIR_TLV_START && len == 8) {
		who->start_ns = get64(p);
	} else if (type == MIR_TLV_COMM) {
		snprintf(who->comm, sizeof(who->comm), "%.*s", (int)len, (const char *)p);
	} else if (type == MIR_TLV_UID && len == 4) {
		who->uid = get32(p);
	} else if (type == MIR_TLV_CGROUP) {
		snprintf(who->cgroup, sizeof(who->cgroup), "%.*s", (int)len, (const char *)p);
	}
}

/* An announcement from its magic on. */
static void learn_announcement(struct mctl_wire *w, const uint8_t *p, size_t len)
{
	struct mctl_who who = {};
	struct mir_flow flow = {};
	bool has_flow = false;
	size_t at = 8, end = 8u + get16(p + 6);

	if (end > len)
		end = len;
	while (end - at >= 2 && end - at - 2 >= p[at + 1]) {
		take_tlv(&who, &flow, &has_flow, p[at], p + at + 2, p[at + 1]);
		at += 2u + p[at + 1];
	}
	if (has_flow && who.pid)
		learn(w, &flow, &who);
}

static void learn_ipfix(struct mctl_wire *w, const uint8_t *p, size_t len)
{
	const struct mir_ipfix4 *four = (const void *)p;
	const struct mir_ipfix6 *six = (const void *)p;
	const struct mir_ipfix_who *from = &four->who;
	struct mctl_who who = {};
	struct mir_flow flow = {};

	if (len < sizeof(*four) || ntohl(four->head.domain) != MIR_WIRE_MAGIC)
		return;
	flow.proto = four->proto;
	if (ntohs(four->head.template_id) == MIR_IPFIX_TEMPLATE4) {
		flow.local[2] = flow.remote[2] = htonl(0xffff);
		flow.local[3] = four->local;
		flow.remote[3] = four->remote;
	} else if (ntohs(four->head.template_id) == MIR_IPFIX_TEMPLATE6 && len >= sizeof(*six)) {
		memcpy(flow.local, six->local, 16);
		memcpy(flow.remote, six->remote, 16);
		from = &six->who;
	} else {
		return;
	}
	flow.lport = from->lport;
	flow.rport = from->rport;
	who.pid = ntohl(from->pid);
	who.uid = ntohl(from->uid);
	snprintf(who.comm, sizeof(who.comm), "%.*s", MIR_COMM_LEN, from->comm);
	if (who.pid)
		learn(w, &flow, &who);
}

/* The trailer of a whole frame. */
static bool read_trailer(const uint8_t *p, size_t len, struct mctl_who *ret_who, struct mctl_seen *seen, bool *ret_sent)
{
	struct mir_trailer t;
	size_t size;

	if (len < ETHERNET + sizeof(t) || get32(p + len - 4) != MIR_TRAILER_END)
		return false;
	size = get16(p + len - 6);
	if (size < sizeof(t) || size > len - ETHERNET || get32(p + len - size) != MIR_WIRE_MAGIC)
		return false;
	memcpy(&t, p + len - size, sizeof(t));
	memset(ret_who, 0, sizeof(*ret_who));
	ret_who->pid = ntohl(t.pid);
	ret_who->uid = ntohl(t.uid);
	ret_who->start_ns = be64toh(t.start_ns);
	seen->reason = t.reason;
	snprintf(ret_who->comm, sizeof(ret_who->comm), "%.*s", MIR_COMM_LEN, t.comm);
	seen->trailer = size;
	seen->orig_len = ntohl(t.orig_len);
	*ret_sent = t.sent;
	return true;
}

static bool is_identity(struct mctl_wire *w, const uint8_t *p, size_t len)
{
	if (memcmp(p + 6, our_mac, sizeof(our_mac)) != 0)
		return false;
	if (get16(p + 12) == MIR_ANNOUNCE_ETHERTYPE && len >= ETHERNET + 8 && get32(p + ETHERNET) == MIR_WIRE_MAGIC) {
		if (p[ETHERNET + 4] == MIR_WIRE_VERSION)
			learn_announcement(w, p + ETHERNET, len - ETHERNET);
		return true;
	}
	if (get16(p + 12) != 0x0800)
		return false;
	learn_ipfix(w, p, len);
	return true;
}

static bool same(const struct mctl_who *a, const struct mctl_who *b)
{
	return a->pid == b->pid && a->start_ns == b->start_ns;
}

void mctl_wire_frame(struct mctl_wire *w, const uint8_t *frame, size_t len, size_t wire_len, struct mctl_seen *ret_seen)
{
	struct mctl_seen seen = { .reason = MIR_REASON_MAX };
	const struct entry *from, *to;
	struct keys keys = {};
	bool sent = false, own;

	*ret_seen = seen;
	if (!w || len < ETHERNET)
		return;
	if (is_identity(w, frame, len)) {
		ret_seen->identity = true;
		return;
	}
	own = len == wire_len && read_trailer(frame, len, &w->own, &seen, &sent);
	read_frame(w, frame, len - seen.trailer, &keys);
	if (own && (sent ? keys.has_out : keys.has_in))
		learn(w, sent ? &keys.out : &keys.in, &w->own);
	from = keys.has_out ? find(w, &keys.out) : NULL;
	to = keys.has_in ? find(w, &keys.in) : NULL;
	seen.sender = own && sent ? &w->own : from ? &from->who : NULL;
	seen.receiver = own && !sent ? &w->own : to ? &to->who : NULL;
	if (seen.sender && seen.receiver && same(seen.sender, seen.receiver)) {
		/* Both ends have one key (ping on loopback), or the process talks to itself. */
		if (own ? sent : keys.has_out && (memcmp(&keys.out, &keys.in, sizeof(keys.in)) != 0 || keys.request))
			seen.receiver = NULL;
		else
			seen.sender = NULL;
	}
	*ret_seen = seen;
}
