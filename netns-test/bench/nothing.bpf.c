/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Programs that do nothing, where the owner programs are if no trampolines load: what it costs a call that a program is there
 * at all. Attached by bench/calls.py.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

SEC("tp_btf/sock_send_length")
int nothing_sent(void *ctx)
{
	return 0;
}

SEC("tp_btf/sock_recv_length")
int nothing_received(void *ctx)
{
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int nothing_state(void *ctx)
{
	return 0;
}

SEC("tp_btf/sched_wakeup_new")
int nothing_forked(void *ctx)
{
	return 0;
}

SEC("tp_btf/sched_process_free")
int nothing_freed(void *ctx)
{
	return 0;
}

SEC("tp_btf/sched_process_exit")
int nothing_exited(void *ctx)
{
	return 0;
}

SEC("cgroup/sock_create")
int nothing_created(struct bpf_sock *ctx)
{
	return 1;
}

SEC("cgroup/sock_release")
int nothing_released(struct bpf_sock *ctx)
{
	return 1;
}

SEC("cgroup/connect4")
int nothing_connected(struct bpf_sock_addr *ctx)
{
	return 1;
}

char _license[] SEC("license") = "GPL";
