/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The least that a program can do which asks for a packet's socket: no map of ours is read, no counter kept (but by
 * floor_counted() and floor_received()), headers are taken to be Ethernet and IPv4 without options. What the benchmark measures the
 * mirror's programs beside.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>

#include <bpf/bpf_helpers.h>

#include <mirror/abi.h>

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct mir_owner);
} floor_owners SEC(".maps");

struct floor_counts {
	__u64 seen, unmatched;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct floor_counts);
} floor_counts SEC(".maps");

struct headers {
	struct ethhdr eth;
	struct iphdr ip;
	__be16 sport, dport;
} __attribute__((packed));

/* The receiver's socket, to be given back; NULL: there is none. */
static __always_inline struct bpf_sock *floor_receiver(struct __sk_buff *skb)
{
	const struct headers *h = (void *)(long)skb->data;
	struct bpf_sock_tuple tuple = {};

	if ((void *)(h + 1) > (void *)(long)skb->data_end)
		return NULL;
	tuple.ipv4.saddr = h->ip.saddr;
	tuple.ipv4.daddr = h->ip.daddr;
	tuple.ipv4.sport = h->sport;
	tuple.ipv4.dport = h->dport;
	if (h->ip.protocol == IPPROTO_TCP)
		return bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	return bpf_sk_lookup_udp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
}

SEC("tc")
int floor_lookup(struct __sk_buff *skb)
{
	struct bpf_sock *sk = floor_receiver(skb);

	if (sk)
		bpf_sk_release(sk);
	return MIR_NEXT;
}

/* Has it an owner? Never: nobody writes into that map. */
static __always_inline int floor_receiver_owned(struct __sk_buff *skb)
{
	struct bpf_sock *sk = floor_receiver(skb);
	int owned;

	if (!sk)
		return 0;
	owned = bpf_sk_storage_get(&floor_owners, sk, 0, 0) != NULL;
	bpf_sk_release(sk);
	return owned;
}

SEC("tc")
int floor_owner(struct __sk_buff *skb)
{
	if (floor_receiver_owned(skb))
		skb->mark = 1;
	return MIR_NEXT;
}

/* The same of what comes with the packet: what is sent has its socket with it. */
static __always_inline int floor_sender_owned(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	return sk && bpf_sk_storage_get(&floor_owners, sk, 0, 0);
}

SEC("tc")
int floor_sent(struct __sk_buff *skb)
{
	if (floor_sender_owned(skb))
		skb->mark = 1;
	return MIR_NEXT;
}

/* Every packet is counted as seen and as matched or not: what the counters of a mirror must at least tell. */
static __always_inline int floor_count(struct __sk_buff *skb, int received)
{
	struct floor_counts *c;
	__u32 zero = 0;

	c = bpf_map_lookup_elem(&floor_counts, &zero);
	if (!c)
		return MIR_NEXT;
	c->seen++;
	if (floor_sender_owned(skb) || (received && floor_receiver_owned(skb)))
		skb->mark = 1;
	else
		c->unmatched++;
	return MIR_NEXT;
}

SEC("tc")
int floor_counted(struct __sk_buff *skb)
{
	return floor_count(skb, 0);
}

/* What is received may come with its sender's socket, from a process behind a veth, and does so in every test run: both owners. */
SEC("tc")
int floor_received(struct __sk_buff *skb)
{
	return floor_count(skb, 1);
}

char _license[] SEC("license") = "GPL";
