/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which frames the monitor of a tap gets: rules and sampling. Forwarding never asks. The includer says what a context is
 * (tc/parse.bpf.h): struct xdp_md, or struct __sk_buff.
 */
#pragma once

#include "mix.bpf.h"
#include "parse.bpf.h"
#include "wire.bpf.h"

/* What rules and hash need to know of a frame. */
struct mir_tap_frame {
	struct mir_packet p;
	__u16 vlan[2];		/* 0xffff: no such tag */
	struct ethhdr eth;	/* h_proto: ethertype behind the tags */
	__u8 ip;		/* p is filled in */
};

static __always_inline void mir_tap_read(MIR_PARSE_CTX *ctx, struct mir_tap_frame *f)
{
	__u32 off = sizeof(f->eth);
	__be16 tag[2], type;
	int i;

	f->vlan[0] = f->vlan[1] = 0xffff;
	if (MIR_PARSE_LOAD(ctx, 0, &f->eth, sizeof(f->eth)))
		return;
	type = f->eth.h_proto;
	f->ip = mir_parse_plain(ctx, off, type, &f->p);
	if (f->ip)
		return;
#pragma unroll
	for (i = 0; i < MIR_VLAN_DEPTH; i++) {
		if ((type != bpf_htons(ETH_P_8021Q) && type != bpf_htons(ETH_P_8021AD)) ||
		    MIR_PARSE_LOAD(ctx, off, tag, sizeof(tag)))
			break;
		f->vlan[i] = bpf_ntohs(tag[0]) & 0xfff;
		type = tag[1];
		off += sizeof(tag);
	}
	f->eth.h_proto = type;
	f->ip = mir_parse_ip(ctx, off, type, &f->p) == MIR_PARSE_OK;
}

static __always_inline int mir_tap_inside(const __be32 *addr, const __be32 *net, const __be32 *mask)
{
	return (addr[0] & mask[0]) == net[0] && (addr[1] & mask[1]) == net[1] && (addr[2] & mask[2]) == net[2] &&
	       (addr[3] & mask[3]) == net[3];
}

/* A prefix that is not set has a mask of zeros and holds every address. */
static __always_inline int mir_tap_ends(const struct mir_tap_rule *r, const __be32 *one, const __be32 *other)
{
	return mir_tap_inside(one, r->net, r->net_mask) && mir_tap_inside(other, r->peer, r->peer_mask);
}

static __always_inline int mir_tap_port_in(const struct mir_tap_rule *r, __be16 port)
{
	__u16 n = bpf_ntohs(port);

	return n >= r->port_low && n <= r->port_high;
}

static __noinline int mir_tap_rule(const struct mir_tap_rule *r, const struct mir_tap_frame *f)
{
	__u32 set;

	if (!r || !f)
		return 0;
	set = r->set;
	if ((set & MIR_TAP_RULE_VLAN) && f->vlan[0] != r->vlan && f->vlan[1] != r->vlan)
		return 0;
	if (!(set & ~MIR_TAP_RULE_VLAN))
		return 1;
	if (!f->ip || (r->version && r->version != f->p.version))
		return 0;
	if ((set & MIR_TAP_RULE_PROTO) && r->proto != f->p.proto)
		return 0;
	if ((set & MIR_TAP_RULE_PORT) && (!mir_has_ports(f->p.proto) || f->p.piece == MIR_PIECE_LATER ||
					  (!mir_tap_port_in(r, f->p.sport) && !mir_tap_port_in(r, f->p.dport))))
		return 0;
	return mir_tap_ends(r, f->p.saddr, f->p.daddr) || mir_tap_ends(r, f->p.daddr, f->p.saddr);
}

static __always_inline __u32 mir_tap_mac(const __u8 *mac)
{
	return mir_mix(mir_mix(0, mac[0] << 8 | mac[1]), mac[2] << 24 | mac[3] << 16 | mac[4] << 8 | mac[5]);
}

/*
 * The same for both directions of a flow: what the two ends hash to is added up. IP: addresses, protocol, ports (ICMP
 * echo and kin: identifier). Fragments have no port but in the first piece, so all pieces go by addresses and protocol.
 * Anything else: MAC addresses and ethertype.
 */
static __always_inline __u32 mir_tap_flow(const struct mir_tap_frame *f)
{
	int ports = mir_has_ports(f->p.proto) && f->p.piece == MIR_PIECE_WHOLE;
	__u32 ends, id = 0;

	if (!f->ip)
		return mir_mix(mir_mix(0, mir_tap_mac(f->eth.h_source) + mir_tap_mac(f->eth.h_dest)),
			       bpf_ntohs(f->eth.h_proto));
	ends = mir_mix_end(f->p.saddr, ports ? f->p.sport : 0) + mir_mix_end(f->p.daddr, ports ? f->p.dport : 0);
	if (!ports && f->p.piece == MIR_PIECE_WHOLE)
		id = bpf_ntohs(f->p.sport);
	return mir_mix(mir_mix(mir_mix(0, ends), f->p.proto), id);
}

/* Does the monitor get this frame? */
static __noinline int mir_tap_wanted(MIR_PARSE_CTX *ctx)
{
	struct mir_tap_select *sel = mir_tap_select();
	struct mir_tap_frame f = {};
	__u32 i, matched;

	if (!sel)
		return 0;
	if (!sel->nrules && sel->sample <= 1)
		return 1;
	mir_tap_read(ctx, &f);
	matched = !sel->nrules;
	for (i = 0; i < MIR_TAP_RULES && !matched; i++) {
		if (i >= sel->nrules)
			break;
		matched = mir_tap_rule(&sel->rule[i], &f);
	}
	return matched && (sel->sample <= 1 || mir_tap_flow(&f) % sel->sample == 0);
}
