/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 2, shared piece: what a packet says of itself. Reads through bpf_skb_load_bytes(), which checks every bound and
 * copes with headers outside the linear part; knows nothing of sockets or targets. Used by the mirror programs, by
 * tc/test/parse_test.bpf.c, and by the inline tap (xdp/), which says what its context is before it includes this.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#ifndef MIR_PARSE_CTX
#define MIR_PARSE_SKB
#define MIR_PARSE_CTX struct __sk_buff
#define MIR_PARSE_LOAD bpf_skb_load_bytes
#define MIR_PARSE_LEN(ctx) ((ctx)->len)
#endif

#define MIR_VLAN_DEPTH 2	/* tags in the data: 802.1Q inside 802.1ad */
#define MIR_EXTENSIONS 8	/* IPv6 extension headers followed before giving up */

#define MIR_IP_OFFSET 0x1fff	/* RFC 791 3.1: fragment offset, units of 8 bytes */
#define MIR_IP_MORE 0x2000	/* more fragments follow */
#define MIR_IP6_OFFSET 0xfff8	/* RFC 8200 4.5 */
#define MIR_IP6_MORE 0x0001

/* Outcome of a parser. */
enum mir_parse {
	MIR_PARSE_OK,
	MIR_PARSE_OTHER,	/* not IP, or beyond what we follow: nobody's packet */
	MIR_PARSE_MALFORMED,	/* cut short, or a length that contradicts itself */
};

enum mir_piece {
	MIR_PIECE_WHOLE,
	MIR_PIECE_FIRST,	/* first fragment: has the transport header */
	MIR_PIECE_LATER,	/* later fragment: has none */
};

/* A parsed packet. Addresses as in struct mir_flow, ports in network byte order. */
struct mir_packet {
	__be32 saddr[4];
	__be32 daddr[4];
	__be16 sport;		/* TCP, UDP, UDP-Lite, SCTP, DCCP; ICMP echo and kin: identifier */
	__be16 dport;		/* TCP, UDP, UDP-Lite, SCTP, DCCP; else 0 */
	__be32 fragment_id;	/* as in struct mir_fragment */
	__u32 l4_off;		/* transport header, bytes from skb->data */
	__u8 version;		/* 4 or 6 */
	__u8 proto;		/* IPPROTO_* of the transport header */
	__u8 icmp_type;
	__u8 tcp_flags;		/* byte 13 of the TCP header */
	__u8 piece;		/* enum mir_piece */
};

#define MIR_TCP_SYN 0x02
#define MIR_TCP_ACK 0x10

/* ICMP types that carry an identifier at offset 4: echo (RFC 792), timestamp, information, address mask, extended echo
 * (RFC 8335); ICMPv6 echo (RFC 4443) and extended echo. */
static __always_inline int mir_icmp_request(const struct mir_packet *p)
{
	if (p->proto == IPPROTO_ICMP)
		return p->icmp_type == 8 || p->icmp_type == 13 || p->icmp_type == 15 || p->icmp_type == 17 ||
		       p->icmp_type == 42;
	return p->icmp_type == 128 || p->icmp_type == 160;
}

static __always_inline int mir_icmp_reply(const struct mir_packet *p)
{
	if (p->proto == IPPROTO_ICMP)
		return p->icmp_type == 0 || p->icmp_type == 14 || p->icmp_type == 16 || p->icmp_type == 18 ||
		       p->icmp_type == 43;
	return p->icmp_type == 129 || p->icmp_type == 161;
}

/* Errors quote the packet they are about: RFC 792 (3, 4, 5, 11, 12), RFC 4443 (1 to 4). */
static __always_inline int mir_icmp_error(const struct mir_packet *p)
{
	if (p->proto == IPPROTO_ICMP)
		return p->icmp_type == 3 || p->icmp_type == 4 || p->icmp_type == 5 || p->icmp_type == 11 ||
		       p->icmp_type == 12;
	return p->icmp_type >= 1 && p->icmp_type <= 4;
}

static __always_inline int mir_is_icmp(const struct mir_packet *p)
{
	return (p->version == 4 && p->proto == IPPROTO_ICMP) || (p->version == 6 && p->proto == IPPROTO_ICMPV6);
}

/* Transport headers that begin with source and destination port. */
static __always_inline int mir_has_ports(__u8 proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_UDPLITE || proto == IPPROTO_SCTP ||
	       proto == IPPROTO_DCCP;
}

/* The transport header as far as we need it: 8 bytes, or 14 for TCP flags in a whole packet (an ICMP error need not quote
 * more than 8, RFC 792). A TCP data offset below 5 words (RFC 9293 3.1) and a UDP length below 8 bytes (RFC 768; 0 stands
 * for a jumbogram, RFC 2675) are what the receiving stack drops, too. */
static __always_inline int mir_parse_l4(MIR_PARSE_CTX *skb, struct mir_packet *p, int quoted)
{
	__u8 h[14] = {};

	if (p->piece == MIR_PIECE_LATER)
		return MIR_PARSE_OK;
	if (p->proto == IPPROTO_TCP && !quoted) {
		if (MIR_PARSE_LOAD(skb, p->l4_off, h, 14))
			return MIR_PARSE_MALFORMED;
		if (h[12] >> 4 < 5)
			return MIR_PARSE_MALFORMED;
		p->tcp_flags = h[13];
	} else if (mir_has_ports(p->proto) || mir_is_icmp(p)) {
		if (MIR_PARSE_LOAD(skb, p->l4_off, h, 8))
			return MIR_PARSE_MALFORMED;
	} else {
		return MIR_PARSE_OK;
	}

	if (p->proto == IPPROTO_UDP && !h[4] && h[5] && h[5] < 8)
		return MIR_PARSE_MALFORMED;
	if (mir_has_ports(p->proto)) {
		__builtin_memcpy(&p->sport, h, 2);
		__builtin_memcpy(&p->dport, h + 2, 2);
	} else {
		p->icmp_type = h[0];
		if (mir_icmp_request(p) || mir_icmp_reply(p))
			__builtin_memcpy(&p->sport, h + 4, 2);
	}
	return MIR_PARSE_OK;
}

static __always_inline int mir_parse_ip4(MIR_PARSE_CTX *skb, __u32 off, struct mir_packet *p, int quoted)
{
	struct iphdr ip;
	__u8 ah[2];
	__u32 len;
	__u16 frag;

	if (MIR_PARSE_LOAD(skb, off, &ip, sizeof(ip)))
		return MIR_PARSE_MALFORMED;
	len = ip.ihl * 4;
	if (ip.version != 4 || len < sizeof(ip))
		return MIR_PARSE_MALFORMED;
	/* Total length 0: a BIG TCP super-packet of this host. A quote is cut short by nature. */
	if (!quoted && ip.tot_len && (bpf_ntohs(ip.tot_len) < len || off + bpf_ntohs(ip.tot_len) > MIR_PARSE_LEN(skb)))
		return MIR_PARSE_MALFORMED;

	p->version = 4;
	p->saddr[2] = p->daddr[2] = bpf_htonl(0xffff);
	p->saddr[3] = ip.saddr;
	p->daddr[3] = ip.daddr;
	p->proto = ip.protocol;
	p->l4_off = off + len;
	frag = bpf_ntohs(ip.frag_off);
	p->fragment_id = bpf_htonl(bpf_ntohs(ip.id));
	if (frag & MIR_IP_OFFSET)
		p->piece = MIR_PIECE_LATER;
	else if (frag & MIR_IP_MORE)
		p->piece = MIR_PIECE_FIRST;
	else if (ip.protocol == IPPROTO_AH) {	/* the transport header is behind it (RFC 4302 3.1.1) */
		if (MIR_PARSE_LOAD(skb, p->l4_off, ah, sizeof(ah)))
			return MIR_PARSE_MALFORMED;
		p->proto = ah[0];
		p->l4_off += (ah[1] + 2) * 4;	/* RFC 4302 2.2: 32-bit words less two */
	}
	return mir_parse_l4(skb, p, quoted);
}

/* One step along the chain of RFC 8200 4.1. Returns the next header's type, or -1 when cut short. */
static __always_inline int mir_parse_extension(MIR_PARSE_CTX *skb, struct mir_packet *p)
{
	__u8 h[8];
	__u16 frag;

	if (MIR_PARSE_LOAD(skb, p->l4_off, h, sizeof(h)))
		return -1;
	if (p->proto == IPPROTO_FRAGMENT) {
		__builtin_memcpy(&p->fragment_id, h + 4, 4);
		frag = h[2] << 8 | h[3];
		if (frag & MIR_IP6_OFFSET)
			p->piece = MIR_PIECE_LATER;
		else if (frag & MIR_IP6_MORE)
			p->piece = MIR_PIECE_FIRST;
		p->l4_off += 8;
	} else if (p->proto == IPPROTO_AH) {
		p->l4_off += (h[1] + 2) * 4;	/* RFC 4302 2.2: 32-bit words less two */
	} else {
		p->l4_off += (h[1] + 1) * 8;
	}
	return h[0];
}

static __always_inline int mir_is_extension(__u8 proto)
{
	return proto == IPPROTO_HOPOPTS || proto == IPPROTO_ROUTING || proto == IPPROTO_DSTOPTS ||
	       proto == IPPROTO_FRAGMENT || proto == IPPROTO_AH;
}

static __always_inline int mir_parse_ip6(MIR_PARSE_CTX *skb, __u32 off, struct mir_packet *p, int quoted)
{
	struct ipv6hdr ip;
	int i, next;

	if (MIR_PARSE_LOAD(skb, off, &ip, sizeof(ip)) || ip.version != 6)
		return MIR_PARSE_MALFORMED;
	if (!quoted && off + sizeof(ip) + bpf_ntohs(ip.payload_len) > MIR_PARSE_LEN(skb))
		return MIR_PARSE_MALFORMED;
	p->version = 6;
	__builtin_memcpy(p->saddr, &ip.saddr, sizeof(p->saddr));
	__builtin_memcpy(p->daddr, &ip.daddr, sizeof(p->daddr));
	p->proto = ip.nexthdr;
	p->l4_off = off + sizeof(ip);

#pragma unroll
	for (i = 0; i < MIR_EXTENSIONS; i++) {
		if (p->piece == MIR_PIECE_LATER || !mir_is_extension(p->proto))
			break;
		next = mir_parse_extension(skb, p);
		if (next < 0)
			return MIR_PARSE_MALFORMED;
		p->proto = next;
	}
	if (p->piece != MIR_PIECE_LATER && mir_is_extension(p->proto))
		return MIR_PARSE_OTHER;
	return mir_parse_l4(skb, p, quoted);
}

static __noinline int mir_parse_ip(MIR_PARSE_CTX *skb, __u32 off, __u32 ethertype, struct mir_packet *p)
{
	if (ethertype == bpf_htons(ETH_P_IP))
		return mir_parse_ip4(skb, off, p, 0);
	if (ethertype == bpf_htons(ETH_P_IPV6))
		return mir_parse_ip6(skb, off, p, 0);
	return MIR_PARSE_OTHER;
}

/* The packet that an ICMP error quotes, from its IP header at `off` on; `p` must be zeroed. */
static __noinline int mir_parse_quoted(MIR_PARSE_CTX *skb, __u32 off, __u32 version, struct mir_packet *p)
{
	if (version == 4)
		return mir_parse_ip4(skb, off, p, 1);
	return mir_parse_ip6(skb, off, p, 1);
}

/* Where the headers of a plain packet are. */
struct mir_plain {
	const struct iphdr *ip;
	const struct ipv6hdr *ip6;	/* the same place */
	const __u8 *l4;			/* 14 bytes of transport header */
	__u32 is_ip6;
	__u8 proto;			/* IPPROTO_TCP or IPPROTO_UDP */
};

/* What nearly every packet is, TCP or UDP right behind an IP header without options, found in place: no helper is called. Returns 1
 * if it is such a packet; anything else, and anything odd, is left to the parsers above. */
static __always_inline int mir_find_plain(MIR_PARSE_CTX *skb, __u32 l2, __u32 ethertype, struct mir_plain *at)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 is_ip6 = ethertype == bpf_htons(ETH_P_IPV6), odd, len;
	const struct ipv6hdr *ip6;
	const struct iphdr *ip;
	const __u8 *l4;
	__u8 proto;

	barrier_var(l2);	/* the compiler knows that it is 14 or 0, the verifier does not */
	l2 &= 15;
	ip6 = data + l2;
	ip = data + l2;
	l4 = is_ip6 ? (const __u8 *)(ip6 + 1) : (const __u8 *)(ip + 1);
	if ((void *)(ip6 + 1) > end || (void *)(l4 + 14) > end)
		return 0;
	if (is_ip6) {
		len = sizeof(*ip6) + bpf_ntohs(ip6->payload_len);
		odd = ip6->version ^ 6;
		proto = ip6->nexthdr;
	} else {
		len = bpf_ntohs(ip->tot_len);
		odd = (ethertype ^ bpf_htons(ETH_P_IP)) | (ip->version ^ 4) | (ip->ihl ^ 5) |
		      (ip->frag_off & bpf_htons(MIR_IP_OFFSET | MIR_IP_MORE));
		proto = ip->protocol;
	}
	if (odd || len < sizeof(*ip) || l2 + len > MIR_PARSE_LEN(skb))
		return 0;
	if (proto == IPPROTO_TCP)
		odd = l4[12] < 5 << 4;
	else
		odd = (proto ^ IPPROTO_UDP) | ((__u32)(l4[4] << 8 | l4[5]) - 1 < 7);
	if (odd)
		return 0;
	*at = (struct mir_plain){ ip, ip6, l4, is_ip6, proto };
	return 1;
}

/* Reads a plain packet: 1, or 0 with `p` untouched. A function of its own, so that the verifier goes through what follows once. */
static __noinline int mir_parse_plain(MIR_PARSE_CTX *skb, __u32 l2, __u32 ethertype, struct mir_packet *p)
{
	struct mir_plain at;

	if (!mir_find_plain(skb, l2, ethertype, &at))
		return 0;
	p->proto = at.proto;
	p->tcp_flags = at.proto == IPPROTO_TCP ? at.l4[13] : 0;
	__builtin_memcpy(&p->sport, at.l4, 2);
	__builtin_memcpy(&p->dport, at.l4 + 2, 2);
	if (at.is_ip6) {
		p->version = 6;
		p->l4_off = (l2 & 15) + sizeof(*at.ip6);
		__builtin_memcpy(p->saddr, &at.ip6->saddr, sizeof(p->saddr));
		__builtin_memcpy(p->daddr, &at.ip6->daddr, sizeof(p->daddr));
		return 1;
	}
	p->version = 4;
	p->l4_off = (l2 & 15) + sizeof(*at.ip);
	p->fragment_id = bpf_htonl(bpf_ntohs(at.ip->id));
	p->saddr[2] = p->daddr[2] = bpf_htonl(0xffff);
	p->saddr[3] = at.ip->saddr;
	p->daddr[3] = at.ip->daddr;
	return 1;
}

#ifdef MIR_PARSE_SKB
/* Is that UDP at first sight, by one look in place? 0 says nothing. */
static __always_inline int mir_is_plain_udp(struct __sk_buff *skb, __u32 l2)
{
	__u32 ethertype = skb->protocol, l2_len = l2;
	const __u8 *ip;

	barrier_var(l2_len);	/* the compiler knows that it is 14 or 0, the verifier does not */
	ip = (void *)(long)skb->data + (l2_len & 15);
	if ((void *)(ip + sizeof(struct iphdr)) > (void *)(long)skb->data_end)
		return 0;
	return (ethertype == bpf_htons(ETH_P_IP) && ip[__builtin_offsetof(struct iphdr, protocol)] == IPPROTO_UDP) ||
	       (ethertype == bpf_htons(ETH_P_IPV6) && ip[__builtin_offsetof(struct ipv6hdr, nexthdr)] == IPPROTO_UDP);
}

/* What mir_parse_plain() leaves. */
static __always_inline int mir_parse_any(struct __sk_buff *skb, __u32 l2_len, struct mir_packet *p)
{
	__u32 ethertype = skb->protocol, off = l2_len;
	__be16 tag[2];
	int i;

#pragma unroll
	for (i = 0; i < MIR_VLAN_DEPTH; i++) {
		if (ethertype != bpf_htons(ETH_P_8021Q) && ethertype != bpf_htons(ETH_P_8021AD))
			break;
		if (bpf_skb_load_bytes(skb, off, tag, sizeof(tag)))
			return MIR_PARSE_MALFORMED;
		ethertype = tag[1];
		off += sizeof(tag);
	}
	return mir_parse_ip(skb, off, ethertype, p);
}

/* Parses from the link layer on. `l2_len` is 14, or 0 on a device without Ethernet header; a tag that the device took
 * off the data is in skb->vlan_tci and needs no step here. `p` must be zeroed. */
static __always_inline int mir_parse(struct __sk_buff *skb, __u32 l2_len, struct mir_packet *p)
{
	return mir_parse_plain(skb, l2_len, skb->protocol, p) ? MIR_PARSE_OK : mir_parse_any(skb, l2_len, p);
}
#endif
