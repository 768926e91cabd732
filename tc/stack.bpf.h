/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 2, shared piece: devices that stand on one another. A matched packet may pass the programs of several sources on
 * its way (VLAN over Ethernet, bridge and port, tunnel and carrier); this decides where it is copied: on the source
 * nearest to its socket, once. Asked for matched packets only.
 */
#pragma once

#include "match.bpf.h"

/* Is there a source on top of this one that the packet passes: the VLAN device of its tag, the macvlan of its address? */
static __always_inline int mir_has_upper(struct __sk_buff *skb, __u32 direction)
{
	struct mir_upper key = { .ifindex = skb->ifindex };
	__u8 h[16];
	__u16 ethertype;

	if (bpf_skb_load_bytes(skb, 0, h, sizeof(h)))
		return 0;
	ethertype = h[12] << 8 | h[13];
	if (skb->vlan_present)
		key.vlan = skb->vlan_tci & 0xfff;
	else if (ethertype == ETH_P_8021Q || ethertype == ETH_P_8021AD)
		key.vlan = (h[14] << 8 | h[15]) & 0xfff;
	else if (direction == MIR_DIRECTION_EGRESS)
		__builtin_memcpy(key.mac, h + ETH_ALEN, ETH_ALEN);
	return bpf_map_lookup_elem(&uppers, &key) != NULL;
}

/* Does the packet wear other headers than its socket gave it? Then a tunnel device has wrapped it, and saw it before. A
 * request or TIME_WAIT socket is not a full one, and always TCP. */
static __always_inline int mir_is_wrapped(struct __sk_buff *skb, __u32 l2_len)
{
	struct bpf_sock *sk = skb->sk, *full;
	__u32 protocol = IPPROTO_TCP;
	struct mir_packet *p;

	if (!sk || sk->family == MIR_AF_PACKET)
		return 0;
	full = bpf_sk_fullsock(sk);
	if (full)
		protocol = full->protocol;
	p = mir_packet_at(MIR_SLOT_SENT);
	if (!p || protocol == IPPROTO_RAW || mir_read(skb, l2_len, p, MIR_SLOT_SENT) != MIR_PARSE_OK)
		return 0;
	if (p->proto != protocol)
		return 1;
	return mir_has_ports(p->proto) && p->piece != MIR_PIECE_LATER && bpf_ntohs(p->sport) != sk->src_port;
}

/* mir_is_elsewhere() where it takes looking. */
static __noinline int mir_is_on_another(struct __sk_buff *skb, __u32 direction, __u32 l2_len, int by_sender)
{
	__u32 here = skb->ifindex, from = skb->ingress_ifindex;
	int egress = direction == MIR_DIRECTION_EGRESS;
	struct mir_source *s;

	/* Bridged from another source, whose ingress has seen the sender. */
	if (egress && by_sender && from && from != here && bpf_map_lookup_elem(&sources, &from))
		return 1;
	s = bpf_map_lookup_elem(&sources, &here);
	if (!s || !(s->flags & ~MIR_SOURCE_PEER))
		return 0;
	if (egress && !from && (s->flags & MIR_SOURCE_SENT_ABOVE))
		return 1;
	if (!egress && !by_sender && (s->flags & MIR_SOURCE_RECEIVED_ABOVE))
		return 1;
	if (!egress && by_sender && (s->flags & MIR_SOURCE_PORTS))
		return 1;
	if (l2_len && (s->flags & MIR_SOURCE_UPPERS) && mir_has_upper(skb, direction))
		return 1;
	return egress && by_sender && (s->flags & MIR_SOURCE_TUNNELS) && mir_is_wrapped(skb, l2_len);
}

/* Is a packet that matched here copied on another source? `by_sender`: matched by the socket that sent it. Where no source
 * stands on another, only a bridged one can be. */
static __always_inline int mir_is_elsewhere(struct __sk_buff *skb, const struct mir_live *l, __u32 direction, __u32 l2_len,
					    int by_sender)
{
	if (!l->stacked && (direction != MIR_DIRECTION_EGRESS || !skb->ingress_ifindex))
		return 0;
	return mir_is_on_another(skb, direction, l2_len, by_sender);
}
