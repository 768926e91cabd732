/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 1, shared piece: who owns a socket. Runs in process context only, where `current` is the process that creates,
 * accepts or uses the socket. Called by the entry points in owner*.bpf.c.
 */
#pragma once

#include <bpf/bpf_endian.h>

#include "select.bpf.h"

#define SOCK_RAW 3
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_MPTCP 262

/* One 64-bit store: a packet on another processor sees the old owner or the new one, never a mixture. */
static __always_inline void mir_owner_set(struct mir_owner *owner, __u32 tgid, __u32 born)
{
	union {
		struct mir_owner owner;
		__u64 word;
	} new = { .owner = { .tgid = tgid, .born = born } };

	*(volatile __u64 *)owner = new.word;
}

/* Does the socket stay with its owner whoever uses it (--shared)? */
static __always_inline int mir_owner_keeps(const struct mir_owner *owner)
{
	struct mir_target *t = mir_running_target(owner->tgid);
	struct mir_live *l = mir_live();

	if (!t || t->born != owner->born)
		return 0;
	return (t->flags & MIR_TARGET_SHARED) || (l && (t->selectors & l->shared));
}

/* Gives `sk` a new owner where it has none yet. `sk` is whatever bpf_sk_storage_get() takes in the calling program. */
#define mir_owner_create(sk, t, id) ({							\
	struct mir_owner first_ = { .tgid = (id), .born = (t)->born };			\
	if (bpf_sk_storage_get(&owners, sk, &first_, BPF_SK_STORAGE_GET_F_CREATE))	\
		(t)->held = 1;								\
	else										\
		mir_socket_lost();							\
})

static __always_inline void mir_socket_lost(void)
{
	struct mir_live *l = mir_live();

	if (l)
		__sync_fetch_and_add(&l->sockets_lost, 1);
}

/*
 * The rule of design 4.1: the socket belongs to whoever created, accepted or used it last. A stranger's use makes it
 * nobody's; the storage stays, so the next use by a target needs no allocation.
 * A macro, because `sk` has another type in each program type and the verifier must see it.
 */
#define mir_owner_use(sk) ({								\
	__u32 id_ = bpf_get_current_pid_tgid() >> 32;					\
	struct mir_target *t_ = mir_current_target(id_);				\
	struct mir_owner *owner_ = bpf_sk_storage_get(&owners, sk, 0, 0);		\
											\
	if (owner_)									\
		mir_owner_pass(owner_, t_, id_);					\
	else if (t_)									\
		mir_owner_create(sk, t_, id_);						\
})

static __always_inline void mir_owner_pass(struct mir_owner *owner, struct mir_target *t, __u32 tgid)
{
	__u32 born = t ? t->born : 0;

	/* A process that has ceased to be a target: nobody's packets, until it is one again. */
	if (!t && owner->tgid == tgid && !bpf_map_lookup_elem(&targets, &tgid))
		return;
	if (!t)
		tgid = 0;
	if (owner->tgid == tgid && owner->born == born)
		return;
	if (owner->tgid && mir_owner_keeps(owner))
		return;
	mir_event(MIR_EVENT_OWNER, tgid, owner->tgid, t);
	mir_debug("owner: a socket passes from process %d to %d", owner->tgid, tgid);
	mir_owner_set(owner, tgid, born);
	if (t)
		t->held = 1;
}

/* Is that a socket whose packets pass a device? Others (local, netlink) carry no owner. */
static __always_inline int mir_sends_packets(const struct sock *sk)
{
	__u16 family = sk->__sk_common.skc_family;

	return family == AF_INET || family == AF_INET6 || family == AF_PACKET;
}

/* 0 while there is neither target nor selector: then no owner program does anything. */
static __always_inline int mir_active(void)
{
	struct mir_live *l = mir_live();

	return l && l->active;
}

static __always_inline void mir_note_mptcp(__u32 protocol)
{
	struct mir_live *l;

	if (protocol != IPPROTO_MPTCP)
		return;
	l = mir_live();
	if (l)
		l->mptcp = 1;
}

/* Local and far end of a TCP socket, as the packets of its connection have them (map `flows`). */
static __always_inline void mir_addr_copy(__be32 *to, const struct in6_addr *from)
{
	to[0] = from->in6_u.u6_addr32[0];
	to[1] = from->in6_u.u6_addr32[1];
	to[2] = from->in6_u.u6_addr32[2];
	to[3] = from->in6_u.u6_addr32[3];
}

static __always_inline void mir_flow_fill(struct mir_flow *flow, const struct tcp_sock *tp)
{
	const struct inet_sock *inet = &tp->inet_conn.icsk_inet;
	const struct sock_common *c = &inet->sk.__sk_common;

	if (c->skc_family == AF_INET6) {
		mir_addr_copy(flow->local, &c->skc_v6_rcv_saddr);
		mir_addr_copy(flow->remote, &c->skc_v6_daddr);
	} else {
		flow->local[2] = flow->remote[2] = bpf_htonl(0xffff);
		flow->local[3] = c->skc_rcv_saddr;
		flow->remote[3] = c->skc_daddr;
	}
	flow->lport = inet->inet_sport;
	flow->rport = c->skc_dport;
	flow->proto = IPPROTO_TCP;
	flow->netns = c->skc_net.net->ns.inum;
}
