/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The few kernel structs the owner programs read, each with the few fields they read: relocated at load (CO-RE), so no
 * kernel's vmlinux.h is baked in. Packet programs need none of these.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include <mirror/abi.h>

#define PF_KTHREAD 0x00200000	/* include/linux/sched.h: task_struct.flags */
#define AF_INET 2
#define AF_INET6 10
#define AF_PACKET 17

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;

struct signal_struct {
	atomic_t live;		/* threads that have not begun to exit */
};

typedef struct {
	unsigned int val;
} kuid_t;

struct cred {
	kuid_t uid;
};

struct super_block {
	__u32 s_dev;
};

struct inode {
	unsigned long i_ino;
	struct super_block *i_sb;
	__u32 i_generation;	/* tells a number that was given out again from its former bearer */
};

struct qstr {
	const unsigned char *name;
};

struct dentry {
	struct dentry *d_parent;	/* itself at the top of a file system */
	struct qstr d_name;
};

struct path {
	struct dentry *dentry;
};

struct file {
	struct path f_path;
	struct inode *f_inode;
};

struct mm_struct {
	struct file *exe_file;
};

struct kernfs_node {
	__u64 id;
	const char *name;
};

struct cgroup_root {
	int hierarchy_id;	/* 0: version 2 */
};

struct cgroup;

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
};

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
	struct cgroup_root *root;
};

struct css_set {
	struct cgroup *dfl_cgrp;	/* of version 2 */
};

struct task_struct {
	unsigned int flags;
	int pid;		/* thread */
	int tgid;		/* process */
	struct task_struct *group_leader;
	__u64 start_boottime;	/* nanoseconds, CLOCK_BOOTTIME */
	struct signal_struct *signal;
	const struct cred *real_cred;
	struct mm_struct *mm;
	struct css_set *cgroups;
	char comm[MIR_COMM_LEN];
};

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct in6_addr {
	union {
		__be32 u6_addr32[4];
	} in6_u;
};

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;	/* network byte order */
	__u16 skc_num;		/* local port, host byte order; 0 once the port was given back */
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};

struct bpf_local_storage;

struct sock {
	struct sock_common __sk_common;
	__u16 sk_protocol;
	struct bpf_local_storage *sk_bpf_storage;	/* NULL: no program has stored anything with it */
};

struct inet_sock {
	struct sock sk;
	__be16 inet_sport;	/* local port, network byte order; outlives skc_num */
};

struct request_sock {
	struct request_sock *dl_next;	/* next connection that waits to be accepted */
	struct sock *sk;		/* its socket */
};

struct request_sock_queue {
	struct request_sock *rskq_accept_head;
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
	struct request_sock_queue icsk_accept_queue;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
};

struct socket {
	struct sock *sk;
};

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

struct bpf_iter__bpf_sk_storage_map {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	struct sock *sk;
	void *value;
};

#pragma clang attribute pop

/* 1: bpf_probe_read_kernel() is there, so texts can be read (lockdown=confidentiality takes it away); set at load. A section
 * of its own, because the compiler puts constants into .rodata. */
const volatile __u32 mir_have_text SEC(".rodata.able") = 0;

/*
 * What a pointer of a process leads to, read by that helper where it is there: for each pointer that a typed load takes out of
 * a task or a control group, Linux 6.3 to 6.18 go through all types of the kernel several times.
 */

/* Real user id in the initial user namespace. */
static __always_inline __u32 mir_uid(const struct task_struct *task)
{
	const struct cred *cred;

	if (mir_have_text)
		return BPF_CORE_READ(task, real_cred, uid.val);
	cred = task->real_cred;
	return cred ? cred->uid.val : 0;
}

/* Threads that have not exited. */
static __always_inline int mir_threads(const struct task_struct *task)
{
	return mir_have_text ? BPF_CORE_READ(task, signal, live.counter) : task->signal->live.counter;
}

/* Does it run a program? The kernel's own threads and a process that is all but gone do not. */
static __always_inline int mir_has_program(const struct task_struct *task)
{
	if (task->flags & PF_KTHREAD)
		return 0;
	return mir_have_text ? BPF_CORE_READ(task, mm) != NULL : task->mm != NULL;
}

/* Number of its control group of version 2. */
static __always_inline __u64 mir_cgroup_id(const struct task_struct *task)
{
	if (mir_have_text)
		return BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	return task->cgroups->dfl_cgrp->kn->id;
}

/* Copies a command name byte by byte with typed loads: lockdown=confidentiality refuses bpf_probe_read_kernel(). Zero
 * padded: behind the end the kernel may leave what was there before. */
static __always_inline void mir_comm_copy(char *to, const struct task_struct *task)
{
	__s64 on = -1;
	int i;

#pragma unroll
	for (i = 0; i < MIR_COMM_LEN - 1; i++) {
		__s64 c = (__u8)task->comm[i], none = c - 1;

		/* Without a branch, or the verifier would follow each of 2^15 ways; hidden from the compiler, or it makes one. */
		asm volatile("" : "+r"(none));
		on &= ~(none >> 63);
		to[i] = c & on;
	}
	to[MIR_COMM_LEN - 1] = 0;
}
