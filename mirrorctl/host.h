/* SPDX-License-Identifier: GPL-2.0-only */
/* What this kernel and host offer, found by trying (never by version). No state is kept; nothing here reports. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Is `ability` in the comma separated list MIRRORCTL_DISABLE? Then it is treated as absent, so that each fallback can be
 * tested on any kernel. */
bool mctl_host_disabled(const char *ability);

/* Makes sure that `pin_root` is a directory of ours on a BPF file system: mounts one at /sys/fs/bpf when that is where it
 * should be and is not, creates the directory with mode 0700, refuses one that another user owns or may enter. */
int mctl_host_pin_root(const char *pin_root);

/* Is `path` (or, if it does not exist, its parent) on a BPF file system? */
bool mctl_host_is_bpffs(const char *path);

/* A descriptor of the cgroup v2 root, wherever it is mounted, or nowhere. As process 1 has it: what a container with a cgroup
 * namespace has mounted is its own part of the hierarchy. */
int mctl_host_cgroup_root(int *ret_fd);

/* The same as this process has it, which paths that are given to it and those in /proc/PID/cgroup are below. */
int mctl_host_cgroup_seen(int *ret_fd);

/* Is that not the root, but what a cgroup namespace shows for one? */
bool mctl_host_cgroup_is_part(int root);

/* Inode number and cookie (0 before Linux 5.14) of the calling thread's network namespace. */
int mctl_host_netns(uint32_t *ret_inum, uint64_t *ret_cookie);

/* Does a TC program attach to loopback by a TCX link? */
bool mctl_host_has_tcx(void);

/* Can the kernel run a program of this kind, attached to this kernel function or tracepoint? Loads one that does
 * nothing. 0 or -errno: -ENOENT no such function, -EPERM refused. */
int mctl_host_try_fentry(const char *function);
int mctl_host_try_tracepoint(const char *name);

/* The same for iterators, over what `name` says, that touch more than processes and their files. */
int mctl_host_try_iterator(const char *name);

/* May programs read texts out of the kernel (bpf_probe_read_kernel_str())? lockdown=confidentiality forbids it. */
bool mctl_host_reads_text(void);

/* Nanoseconds as programs count them: bpf_ktime_get_ns(), CLOCK_MONOTONIC. */
uint64_t mctl_host_now_ns(void);

/* Waits until every program that was running has ended: a grace period of RCU, as synchronize_rcu() waits for. */
void mctl_host_grace_period(void);

/* Does the kernel have type information (/sys/kernel/btf/vmlinux)? */
bool mctl_host_has_btf(void);

/* Does the kernel know bpf_skc_to_mptcp_sock() and MPTCP? By its type information. */
bool mctl_host_has_mptcp(void);

/* Does an acknowledgement in TIME_WAIT bear its connection's socket? By the type information: ip_send_unicast_reply() takes it. */
bool mctl_host_has_timewait_sender(void);

/* Do hash maps have a memory cache of their own (struct bpf_mem_alloc, Linux 6.1), so that programs may write them whatever lock
 * is held? By its type information. */
bool mctl_host_has_map_cache(void);

/* Can XDP programs read a frame by offset (bpf_xdp_load_bytes())? By its type information; without any it is believed. */
bool mctl_host_has_xdp_load(void);
