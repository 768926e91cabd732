/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 2, shared piece: the one thing a TIME_WAIT socket is asked for by kernel type (CO-RE), the network namespace it is
 * in. It carries no owner; its connection left that in map `flows`, under the tuple and the namespace.
 */
#pragma once

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct sock_common {
	possible_net_t skc_net;
};

struct inet_timewait_sock {
	struct sock_common __tw_common;
};

struct tcp_timewait_sock {
	struct inet_timewait_sock tw_sk;
};

#pragma clang attribute pop

/* Inode number of the namespace of a TIME_WAIT socket; 0 if it is none. A macro, because the verifier must see the type of
 * `sk`. */
#define mir_timewait_netns(sk) ({							\
	struct tcp_timewait_sock *tw_ = bpf_skc_to_tcp_timewait_sock(sk);		\
	tw_ ? tw_->tw_sk.__tw_common.skc_net.net->ns.inum : 0;				\
})
