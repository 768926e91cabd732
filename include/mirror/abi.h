/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The one contract between the BPF programs (tc/) and mirrorctl: every struct that crosses the border, every name both
 * sides must agree on, every limit. Compiles on both sides; includes kernel headers only. No code lives here.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>

#ifdef __cplusplus
#define MIR_STATIC_ASSERT(cond, text) static_assert(cond, text)
#else
#define MIR_STATIC_ASSERT(cond, text) _Static_assert(cond, text)
#endif

/* Raised when a map's key or value changes shape. `mirrorctl` refuses to touch an instance of another version. */
#define MIR_ABI_VERSION 6

/* First word of skb->cb (struct __sk_buff cb[0]) of a copy, and of nothing else: "MIR1". See struct mir_cb. */
#define MIR_COPY_MAGIC 0x4d495231u

/* Verdict of every mirror program: "next program, please". TCX_NEXT and TC_ACT_UNSPEC are the same number. */
#define MIR_NEXT (-1)

#define MIR_COMM_LEN 16		/* TASK_COMM_LEN: command name with its terminating zero */
#define MIR_IFNAME_LEN 16	/* IFNAMSIZ */
#define MIR_CGROUP_LEN 32	/* name of a control group as a user knows it, with its terminating zero */
#define MIR_TARGETS_LIMIT 65536	/* entries of map `targets` */
#define MIR_FLOWS_LIMIT 131072	/* entries of map `flows` (least recently used one is given up first) */
#define MIR_FRAGMENTS_LIMIT 8192
#define MIR_FORMER_LIMIT 1024	/* entries of map `former` */
#define MIR_CLOSED_LIMIT 4096	/* entries of map `closed` */
#define MIR_TRANSLATED_LIMIT 16384 /* entries of map `translated`: two for each translated conversation of a target */
#define MIR_ANNOUNCED_LIMIT 16384 /* entries of map `announced`; a conversation that was pushed out is announced again */
#define MIR_SOURCES_LIMIT 1024
#define MIR_SELECTORS_LIMIT 64	/* entries of maps `selectors` and `policies`: bits of mir_target.selectors */
#define MIR_TRAITS_LIMIT 65536	/* entries of map `traits`: as many control groups below selected ones, roughly */
#define MIR_LABELS_LIMIT 128	/* entries of map `labels`: at most two for a selector */
#define MIR_CREDITS_LIMIT 4096	/* entries of map `credits`: sets of selectors that have had a target at the same time */

/* Filters (--filter). Entry `number * 2 + headerless` of map `filters` is the program of filter `number` for frames with an
 * Ethernet header (0) or without (1). It ends in the entry of map `filter_next` that is its verdict. */
#define MIR_FILTERS_LIMIT MIR_SELECTORS_LIMIT
#define MIR_FILTER_VARIANTS 2
#define MIR_FILTER_REFUSE 0	/* entries of map `filter_next` */
#define MIR_FILTER_ACCEPT 1
#define MIR_FILTER_CHOOSE 2	/* not a verdict: the beginning of the chain */
#define MIR_FILTER_NEXT_MAX 3
#define MIR_FILTER_LEN 4088	/* bytes of an expression, with its terminating zero */

#define MIR_MONITORS_LIMIT 8	/* entries of map `monitors`; a power of two */
#define MIR_BEGUN_LIMIT 32768	/* entries of map `begun`; a flow that was pushed out begins anew */

/* How long the first fragment of a datagram vouches for the later ones. The kernel's own reassembly gives up after 30 s
 * (net.ipv4.ipfrag_time) or 60 s (net.ipv6.ip6frag_time). */
#define MIR_FRAGMENT_NS (60ull * 1000 * 1000 * 1000)

/* How often a conversation is announced while it talks, so that each file of a ring and each late reader has it named. */
#define MIR_ANNOUNCE_NS (10ull * 1000 * 1000 * 1000)

/* A super-packet (GSO) is costly to turn into an announcement: while this much younger packets may come, it is let pass. */
#define MIR_ANNOUNCE_GSO_NS (12ull * 1000 * 1000 * 1000)

/* A packet that the kernel would not let us turn into an announcement: not tried again with the next one at once. */
#define MIR_ANNOUNCE_RETRY_NS (10ull * 1000 * 1000)

/* How long an answer to what a target sent by a ping or raw socket is waited for. */
#define MIR_ANSWER_NS (60ull * 1000 * 1000 * 1000)

/* Why a packet was taken as a target's (design 4.4). A matched packet is counted under exactly one. */
enum mir_reason {
	MIR_REASON_SOCKET,	/* a live socket that the target owns sends or receives it */
	MIR_REASON_LISTENER,	/* handshake of a connection not yet accepted: the listener's owner */
	MIR_REASON_LINGER,	/* connection closed or in TIME_WAIT: map `flows` */
	MIR_REASON_ICMP_ID,	/* reply to an ICMP request of the target: map `flows` */
	MIR_REASON_ICMP_ERROR,	/* ICMP error that quotes a packet of the target */
	MIR_REASON_RAW,		/* answers a packet the target sent by a raw or packet socket: map `flows` */
	MIR_REASON_FRAGMENT,	/* later fragment of a datagram whose first one matched: map `fragments` */
	MIR_REASON_MAX,
};

/* Why a matched packet has no copy (what bpf_clone_redirect() said). */
enum mir_failure {
	MIR_FAILURE_NO_MONITOR,		/* no such interface (-EINVAL) */
	MIR_FAILURE_MONITOR_DOWN,	/* interface or its veth peer is down (NET_XMIT_CN of the noop qdisc) */
	MIR_FAILURE_CONGESTED,		/* dropped on the way in (NET_XMIT_DROP) */
	MIR_FAILURE_NO_L2,		/* frame without link-layer header and no relay (-ERANGE) */
	MIR_FAILURE_TOO_LONG,		/* longer than the monitor's MTU */
	MIR_FAILURE_OTHER,		/* out of memory, recursion limit, ... */
	MIR_FAILURE_MAX,
};

/* Why a matched packet was not to be copied, by its policy. */
enum mir_refusal {
	MIR_REFUSAL_FILTER,	/* --filter does not match it */
	MIR_REFUSAL_SAMPLE,	/* its flow is not one of --sample */
	MIR_REFUSAL_DIRECTION,	/* the other way than --direction */
	MIR_REFUSAL_RATE,	/* --rate is used up for now */
	MIR_REFUSAL_FIRST,	/* its flow has had its --first bytes */
	MIR_REFUSAL_EXPIRED,	/* the time of --for is over */
	MIR_REFUSAL_COUNT,	/* --count copies were made */
	MIR_REFUSAL_MAX,
};

/* Where a copy was taken, as seen from the host. */
enum mir_direction {
	MIR_DIRECTION_INGRESS,
	MIR_DIRECTION_EGRESS,
};

/* Value of map `owners` (BPF_MAP_TYPE_SK_STORAGE, BPF_F_CLONE): whom a socket belongs to. Written as one 64-bit store,
 * so a packet never sees half of it. Only sockets that have had to do with a target carry one. */
struct mir_owner {
	__u32 tgid;	/* process id in the initial PID namespace; 0: nobody's (a stranger used it last) */
	__u32 born;	/* mir_target.born of that process: tells a recycled process id from its predecessor */
};
MIR_STATIC_ASSERT(sizeof(struct mir_owner) == 8, "mir_owner is ABI");

#define MIR_TARGET_FOLLOW 0x1u	/* children become targets too */
#define MIR_TARGET_SHARED 0x2u	/* its sockets stay its own, whoever uses them */

/* Packets of a target, or of targets that are gone: value of map `credits` (BPF_MAP_TYPE_HASH, key __u64: the selectors they
 * had, as in mir_target.selectors). What a selector has counted is what its targets have beyond `credited`, and all entries
 * of `credits` with its bit. Updated by programs; mirrorctl takes the bits of removed selectors out. */
struct mir_counts {
	__u64 packets;		/* matched packets, mirrored or failed */
	__u64 bytes;		/* their lengths, link-layer header included */
	__u64 failed;		/* matched packets without a copy */
};

/* Value of map `targets` (BPF_MAP_TYPE_HASH, key __u32 tgid in the initial PID namespace). Written by mirrorctl
 * (add-pid, del-pid, run) and by the lifecycle programs (fork, exec, exit). Counters are updated atomically. */
struct mir_target {
	__u64 start_ns;		/* task->group_leader->start_boottime, CLOCK_BOOTTIME nanoseconds */
	__u64 exit_ns;		/* bpf_ktime_get_ns() when the last thread exited; 0: running */
	__u64 packets;		/* matched packets, mirrored or failed */
	__u64 bytes;		/* their lengths, link-layer header included */
	__u64 failed;		/* matched packets without a copy */
	__u64 selectors;	/* bit i: selected by selector i; bit 0: by add-pid or run without an option of its own */
	__u64 kept;		/* those of `selectors` that stay whatever becomes of it: add-pid, a parent with --follow */
	struct mir_counts credited; /* what of the counters was added to map `credits` so far */
	__u32 born;		/* start_ns folded to 32 bits by mir_born() */
	__u16 flags;		/* MIR_TARGET_*; written by who selects */
	__u16 held;		/* 1: has owned a socket at some time; apart from `flags`, for whoever uses a socket writes it */
	__u32 parent;		/* tgid of the target whose child it is (--follow); 0: selected itself */
	__u32 uid;		/* real user id (initial user namespace) at selection, fork, exec or last use of a socket */
	char comm[MIR_COMM_LEN];/* task->comm at selection or last exec; any bytes, zero terminated */
	char cgroup[MIR_CGROUP_LEN];/* unit or container at selection (children: their parent's); zero terminated */
};
MIR_STATIC_ASSERT(sizeof(struct mir_target) == 144, "mir_target is ABI");

/* Value of map `exited` (BPF_MAP_TYPE_QUEUE): targets that have exited, oldest first. A program that puts a new target into the
 * map takes out those whose linger time is over. */
struct mir_exited {
	__u64 exit_ns;		/* as in struct mir_target */
	__u32 tgid;
	__u32 born;		/* as in struct mir_target */
};
MIR_STATIC_ASSERT(sizeof(struct mir_exited) == 16, "mir_exited is ABI");

/* What a selector asks of a process, as the user says it. */
enum mir_selector_kind {
	MIR_SELECTOR_NONE,	/* the entry is free */
	MIR_SELECTOR_NAME,
	MIR_SELECTOR_EXE,
	MIR_SELECTOR_USER,
	MIR_SELECTOR_CGROUP,
	MIR_SELECTOR_UNIT,
	MIR_SELECTOR_CONTAINER,
	MIR_SELECTOR_MAX,
};

/* What programs compare: facts about a process (map `traits`), and texts (map `labels`). */
enum mir_trait_kind {
	MIR_TRAIT_NAME,		/* task->comm of the process */
	MIR_TRAIT_FILE,		/* the executable: number[0] inode, number[1] device | inode generation << 32 */
	MIR_TRAIT_USER,		/* number[0]: real user id in the initial user namespace */
	MIR_TRAIT_CGROUP,	/* number[0]: id of its control group (v2), selected itself or below a selected one */
	MIR_LABEL_NAME,		/* name of the executable's file, where it is longer than task->comm can be */
	MIR_LABEL_FILE,		/* the executable's place: device, names from the file up, each with its zero */
	MIR_LABEL_CGROUP,	/* path of a control group in its hierarchy */
	MIR_LABEL_UNIT,		/* name of a control group below slices alone */
	MIR_LABEL_CONTAINER,	/* the 64 digits at the end of a control group's name */
};

/* Key of map `traits` (BPF_MAP_TYPE_HASH; value __u64: the selectors that look for it, bit by number). Written by mirrorctl;
 * control groups that are made and removed by programs. */
struct mir_trait {
	__u32 kind;		/* enum mir_trait_kind */
	__u32 reserved;		/* zero */
	union {
		__u64 number[2];	/* see the kind; else zero */
		char name[MIR_COMM_LEN];	/* zero padded */
	};
};
MIR_STATIC_ASSERT(sizeof(struct mir_trait) == 24, "mir_trait is ABI");

#define MIR_LABEL_LEN 248

/* Key of map `labels` (BPF_MAP_TYPE_HASH; value __u64 as in `traits`). Written by mirrorctl alone. */
struct mir_label {
	__u32 kind;		/* enum mir_trait_kind */
	__u32 dev;		/* of a file: super_block.s_dev; else zero */
	char text[MIR_LABEL_LEN];	/* zero padded */
};
MIR_STATIC_ASSERT(sizeof(struct mir_label) == 256, "mir_label is ABI");

/* What iter/task_file says of each file that process mir_live.tagging has open: how an executable is recognized. */
struct mir_file_info {
	__u32 fd;		/* descriptor */
	__u32 placed;		/* 1: `label` is filled in */
	struct mir_trait trait;
	struct mir_label label;
};
MIR_STATIC_ASSERT(sizeof(struct mir_file_info) == 288, "mir_file_info is ABI");

#define MIR_POLICY_USED 0x1u	/* the entry is taken */
#define MIR_POLICY_PASSING 0x2u	/* of one command: given up with the last target that bears its bit */

#define MIR_POLICY_IN 0x1u	/* what the target receives */
#define MIR_POLICY_OUT 0x2u	/* what it sends */

/* Map `former` (BPF_MAP_TYPE_LRU_HASH, key struct mir_owner) has struct mir_target as value as well: targets that have exited
 * and whose process id was given to another process within the linger time. Its counters stay as they are then: what comes
 * later counts for the process that has the id. */

/* Value of map `policies` (BPF_MAP_TYPE_ARRAY, key __u32 selector number): what becomes of the packets of the targets that a
 * selector has chosen. Entry 0 is the instance's own. Zero in a field: not asked for. Written by mirrorctl alone. */
struct mir_policy {
	__u32 used;		/* MIR_POLICY_USED, _PASSING; 0: the entry is free */
	__u32 serial;		/* tells the users of one entry apart; stays when it is free */
	__u32 monitor;		/* entry of map `monitors`; 0: the instance's own, which is in `config` */
	__u32 direction;	/* MIR_POLICY_IN, _OUT */
	__u32 sample;		/* one flow in so many is copied */
	__u32 filter;		/* 1 + number under which map `filters` has its programs */
	__u64 rate;		/* a second's worth of copies: packets or bytes */
	__u32 rate_bytes;	/* 1: `rate` is bytes */
	__u32 reserved;		/* zero */
	__u64 first;		/* bytes of each flow, both directions: a packet that begins behind them is not copied */
	__u64 count;		/* copies */
	__u64 period_ns;	/* --for */
	__u64 until_ns;		/* bpf_ktime_get_ns() at which it is over */
};
MIR_STATIC_ASSERT(sizeof(struct mir_policy) == 72, "mir_policy is ABI");

/* Value of map `meters` (BPF_MAP_TYPE_ARRAY, key as in `policies`): what a policy has used up. */
struct mir_meter {
	struct bpf_spin_lock lock;	/* also of the policy's entries in map `begun` */
	__u32 reserved;			/* zero */
	__u64 spent_ns;			/* time for which `rate` is used up; a full bucket is one second before now */
	__u64 copies;			/* made, for `count` */
};
MIR_STATIC_ASSERT(sizeof(struct mir_meter) == 24, "mir_meter is ABI");

/* Value of map `monitors` (BPF_MAP_TYPE_ARRAY, key __u32): monitors beside the instance's own, which is entry 0 of map
 * `config` and not here. Written by mirrorctl alone. */
struct mir_monitor {
	char name[MIR_IFNAME_LEN];	/* zero terminated; "": the entry is free */
	__u32 ifindex;			/* the device that is captured on, in its namespace */
	__u32 copy_ifindex;		/* where copies are cloned to: the same, or its veth peer */
	__u32 netns;			/* inode number of the namespace it is in; 0: the instance's own */
	__u8 type;			/* enum mir_monitor_type, never _AUTO */
	__u8 reserved[3];		/* zero */
};
MIR_STATIC_ASSERT(sizeof(struct mir_monitor) == 32, "mir_monitor is ABI");

/* Value of map `filter_texts` (BPF_MAP_TYPE_HASH, key __u32 filter number): what the filter was compiled from. Written by
 * mirrorctl alone; packets never read it. */
struct mir_filter {
	__u32 headerless;	/* 0: cannot be said of frames without an Ethernet header, all of which are refused */
	__u32 pending;		/* 1: its programs are being put in their places, or somebody was killed over that */
	char expr[MIR_FILTER_LEN];	/* pcap-filter(7), as given; zero terminated */
};
MIR_STATIC_ASSERT(sizeof(struct mir_filter) == 4096, "mir_filter is ABI");

#define MIR_SELECTOR_TEXT_LEN 256
#define MIR_SELECTOR_FILED 0x100u	/* it came from the configuration file, and goes with it */

/* Value of map `selectors` (BPF_MAP_TYPE_ARRAY, key __u32 selector number). Written by mirrorctl alone. */
struct mir_selector {
	__u32 kind;		/* enum mir_selector_kind */
	__u32 flags;		/* MIR_TARGET_FOLLOW, _SHARED of its targets; MIR_SELECTOR_FILED */
	struct mir_policy asked;	/* as the user gave it; map `policies` has what became of it */
	char text[MIR_SELECTOR_TEXT_LEN];	/* what the user gave, zero padded */
};
MIR_STATIC_ASSERT(sizeof(struct mir_selector) == 264 + sizeof(struct mir_policy), "mir_selector is ABI");

/* Start time folded to the 32 bits that fit beside the process id in one 64-bit store. Two processes that share an id
 * and a fold would have to start an exact multiple of 2^-32 apart by chance: 1 in 4 thousand million for each reuse. */
#define mir_born(start_ns) ((__u32)((start_ns) ^ ((start_ns) >> 32)))

/* Key of map `flows` (BPF_MAP_TYPE_LRU_HASH): what can be told of a packet that no live socket answers for. */
struct mir_flow {
	__be32 local[4];	/* IPv4 as ::ffff:a.b.c.d (RFC 4291 2.5.5.2), network byte order */
	__be32 remote[4];
	__be16 lport;		/* TCP or UDP port; ICMP: identifier; else 0. Network byte order */
	__be16 rport;		/* TCP or UDP port; ICMP: 0; else 0. Network byte order */
	__u8 proto;		/* IPPROTO_* */
	__u8 reserved[3];	/* zero; in keys of `announced` the first byte is the monitor, of `begun` the policy */
	__u32 netns;		/* inode number of the network namespace (struct net, ns.inum); `begun`: mir_policy.serial */
};
MIR_STATIC_ASSERT(sizeof(struct mir_flow) == 44, "mir_flow is ABI");

/* Value of map `flows`. */
struct mir_flow_owner {
	struct mir_owner owner;
	__u64 seen_ns;		/* bpf_ktime_get_ns() of the packet or close that wrote it */
	__u32 reason;		/* MIR_REASON_LINGER, _ICMP_ID or _RAW */
	__u32 socket;		/* ICMP_ID, RAW: low half of the cookie of the socket that sent; 0: a packet socket */
};
MIR_STATIC_ASSERT(sizeof(struct mir_flow_owner) == 24, "mir_flow_owner is ABI");

/* Map `translated` (BPF_MAP_TYPE_LRU_HASH, key struct mir_flow as on the wire, seen from this host) has as value a struct
 * mir_flow as well: the same conversation as its socket knows it. All zero: a socket knows the key as its own tuple, but on
 * the wire it stands for none of it, because that one is translated. */

/* Value of map `announced` (BPF_MAP_TYPE_LRU_HASH, key struct mir_flow seen from the announced end). */
struct mir_announced {
	struct mir_owner owner;	/* who was announced; tgid 0: nobody, the end is no target's */
	__u64 sent_ns;		/* bpf_ktime_get_ns() of the last announcement */
};
MIR_STATIC_ASSERT(sizeof(struct mir_announced) == 16, "mir_announced is ABI");

/* Key of map `fragments` (BPF_MAP_TYPE_LRU_HASH): one datagram under way in pieces (RFC 791 3.2, RFC 8200 4.5). */
struct mir_fragment {
	__be32 saddr[4];	/* as in struct mir_flow */
	__be32 daddr[4];
	__be32 id;		/* identification; IPv4: 16 bits in the low half, network byte order */
	__u8 proto;		/* IPv4: protocol; IPv6: 0 (the RFC leaves it out) */
	__u8 netns[3];		/* who puts it together: 0 the instance's, else 1 + mir_source.peer_nsid, low byte first */
};
MIR_STATIC_ASSERT(sizeof(struct mir_fragment) == 40, "mir_fragment is ABI");

/* Value of map `fragments`. */
struct mir_fragment_owner {
	struct mir_owner owner;
	__u64 seen_ns;		/* bpf_ktime_get_ns() of the first fragment */
};
MIR_STATIC_ASSERT(sizeof(struct mir_fragment_owner) == 16, "mir_fragment_owner is ABI");

/* Value of map `stats` (BPF_MAP_TYPE_PERCPU_ARRAY, key 0). Packets; one that is matched for several monitors counts once for
 * each. Once traffic has stopped: seen + further = unmatched + sum(reasons), and
 * sum(reasons) = mirrored + sum(failures) + sum(refusals). */
struct mir_stats {
	__u64 seen;
	__u64 unmatched;
	__u64 mirrored;
	__u64 malformed;	/* part of unmatched: a header that is cut short or contradicts itself */
	__u64 reasons[MIR_REASON_MAX];
	__u64 failures[MIR_FAILURE_MAX];
	__u64 announced;	/* announcement frames sent to the monitor (--identity announce) */
	__u64 untrimmed;	/* copies longer than the snapshot length that the kernel would not cut */
	__u64 unannounced;	/* announcements that failed (the packet's copy may have succeeded) */
	__u64 trailed;		/* copies with a trailer (--identity trailer); each processor's count numbers its frames */
	__u64 untrailed;	/* copies that went without: too long, or the kernel would not grow them */
	__u64 refusals[MIR_REFUSAL_MAX];
	__u64 further;		/* matched for one more monitor, after the packet's first */
};
MIR_STATIC_ASSERT(sizeof(struct mir_stats) == 30 * 8, "mir_stats is ABI");

enum mir_identity {
	MIR_IDENTITY_NONE,
	MIR_IDENTITY_ANNOUNCE,
	MIR_IDENTITY_TRAILER,
	MIR_IDENTITY_IPFIX,
	MIR_IDENTITY_MAX,
};

enum mir_monitor_type {
	MIR_MONITOR_AUTO,
	MIR_MONITOR_DUMMY,
	MIR_MONITOR_BRIDGE,
	MIR_MONITOR_VETH,
	MIR_MONITOR_MAX,
};

/* How sure the owner of a socket is, best first (design 4.2). `status` names the one in force. */
enum mir_tier_use {
	MIR_USE_FENTRY,		/* fentry/security_socket_sendmsg and _recvmsg: before the packet */
	MIR_USE_TRACEPOINT,	/* tp_btf/sock_send_length and _recv_length: after it; cgroup/sendmsg: before */
	MIR_USE_CGROUP,		/* cgroup/connect, sendmsg, recvmsg only */
};
enum mir_tier_accept {
	MIR_ACCEPT_FENTRY,	/* fentry/security_sock_graft */
	MIR_ACCEPT_INHERIT,	/* listener's owner until the first receive */
};
enum mir_tier_existing {
	MIR_EXISTING_ITER,	/* iter/task_file */
	MIR_EXISTING_GETFD,	/* pidfd_getfd */
};
enum mir_tier_fork {
	MIR_FORK_WAKE,		/* tp_btf/sched_wakeup_new: not to be interrupted, so no child is missed */
	MIR_FORK_TRACE,		/* tp_btf/sched_process_fork */
};
enum mir_tier_linger {
	MIR_LINGER_STATE,	/* tp_btf/inet_sock_set_state */
	MIR_LINGER_NONE,	/* TIME_WAIT and later packets are not matched */
};
/* Which sockets `list` counts for a target. */
enum mir_tier_count {
	MIR_COUNT_STORAGE,	/* iter/bpf_sk_storage_map: all that it owns */
	MIR_COUNT_FILES,	/* iter/task_file: those that some process has open */
	MIR_COUNT_NONE,		/* none: there is neither */
};

/* Value of map `config` (BPF_MAP_TYPE_ARRAY, key 0). Written by mirrorctl alone, under its lock. */
struct mir_config {
	__u32 abi;			/* MIR_ABI_VERSION */
	__u32 copy_ifindex;		/* where Ethernet frames are cloned to: the monitor, or its veth peer; 0: nowhere */
	__u32 relay_ifindex;		/* where frames without Ethernet header are cloned to; 0: nowhere */
	__u32 snaplen;			/* bytes of a copy that are kept; 0: all */
	__u64 linger_ns;		/* how long an exited process keeps its sockets' packets */
	__u64 netns_cookie;		/* SO_NETNS_COOKIE of the namespace; 0: kernel has none */
	__u32 netns;			/* inode number of the namespace the instance serves */
	__u32 monitor_ifindex;		/* the device that is captured on */
	char monitor[MIR_IFNAME_LEN];	/* its name, zero terminated */
	__u32 monitor_mtu;		/* copies longer than this (without Ethernet header) cannot pass; bytes */
	__u8 monitor_type;		/* enum mir_monitor_type, never _AUTO */
	__u8 monitor_adopted;		/* made by somebody else: left in place by `down` */
	__u8 identity;			/* enum mir_identity */
	__u8 tier_use;			/* enum mir_tier_use */
	__u8 tier_accept;		/* enum mir_tier_accept */
	__u8 tier_existing;		/* enum mir_tier_existing */
	__u8 tier_linger;		/* enum mir_tier_linger */
	__u8 tcx;			/* 1: sources are attached by TCX links; 0: by clsact filters */
	__u64 ruled;			/* bit i: policy i has a limit or another monitor, so it must be asked */
	__u32 monitor_netns;		/* inode number of the namespace monitor_ifindex is in; 0: `netns` */
	__u8 text;			/* 1: programs can read names and paths (tc/select.bpf.h, mir_have_text) */
	__u8 timewait;			/* 1: acknowledgements in TIME_WAIT bear their own socket (Linux 6.14), else the kernel's */
	__u8 tier_fork;			/* enum mir_tier_fork */
	__u8 tier_count;		/* enum mir_tier_count */
};
MIR_STATIC_ASSERT(sizeof(struct mir_config) == 88, "mir_config is ABI");

#define MIR_NEAR 4096	/* a power of two */
#define mir_near(tgid) ((tgid) & (MIR_NEAR - 1))

/* Value of map `live` (BPF_MAP_TYPE_ARRAY, BPF_F_MMAPABLE, key 0): switches that programs and mirrorctl turn while packets run.
 * Each field has one side that writes it; what programs write is said. */
struct mir_live {
	__u32 active;		/* 0: no target, no packet is looked at. Set before the first target is added */
	__u32 mptcp;		/* 1: a target has had an MPTCP socket, so subflows are resolved (set by programs) */
	__u32 tagging;		/* process that mirrorctl is adding right now: iter/task_file tags its sockets */
	__u32 flags;		/* MIR_TARGET_FOLLOW, _SHARED that iter/task gives that process */
	__u64 selectors;	/* bits of mir_target.selectors that it gives it: selected by hand (add-pid, run); 0: it is not */
	__u64 deselect;		/* bits that it takes from it before */
	__u64 children_lost;	/* children of --follow targets that found map `targets` full */
	__u64 sockets_lost;	/* sockets that could not carry an owner (net.core.optmem_max, memory); mirrorctl too */
	__u64 follow_ns;	/* `events -f` is listening until then (bpf_ktime_get_ns()): first packets are told */
	__u64 failed_ns;	/* last time a failure was told: at most one a second */
	__u64 events_lost;	/* events that found the ring buffer full */
	__u32 kinds;		/* bit i: some selector looks for enum mir_trait_kind i */
	__u32 surveying;	/* selector whose existing processes are being looked for; 0: none */
	__u64 armed;		/* selectors in force, bit by number; the other bits of a target were given by hand */
	__u64 follow;		/* selectors with --follow */
	__u64 shared;		/* selectors with --shared */
	__u64 by_user;		/* selectors of kind user */
	__u64 targets_lost;	/* processes that a selector chose and that found map `targets` full */
	__u64 cgroups_lost;	/* control groups below a selected one that found map `traits` full */
	__u32 translates;	/* 1: a target's packet has left with another tuple than its socket's (set by programs) */
	__u32 asks;		/* 1: a target has sent what only map `flows` finds the answer to (set by programs) */
	__u32 again;		/* 1: iter/task_file looks a second time, for what has no owner yet */
	__u32 lingers;		/* 1: a connection of a target has begun to close: its tuple is in map `flows` (set by programs) */
	__u32 stacked;		/* 1: a source stands on another, or on its bridge: mir_source.flags are asked */
	__u32 reserved;		/* zero */
	__u8 near[MIR_NEAR];	/* 0 at mir_near(id): no target has had process id `id`. Set before it is one, by both sides, and
				 * never taken back, so that a socket call of another process asks no further */
};
MIR_STATIC_ASSERT(sizeof(struct mir_live) == 152 + MIR_NEAR, "mir_live is ABI");

#define MIR_EVENTS_BYTES (256 * 1024)	/* ring buffer `events`; a power of two and of pages */

enum mir_event_kind {
	MIR_EVENT_ADDED,	/* a process became a target: add-pid, run, a selector, a parent with --follow (`other`) */
	MIR_EVENT_EXITED,	/* its last thread exited; its last packets are still mirrored */
	MIR_EVENT_GONE,		/* it is none any more: del-pid, no selector matches it, or the linger time is over */
	MIR_EVENT_OWNER,	/* a socket passed from `other` (0: a stranger) to `tgid` (0: a stranger) */
	MIR_EVENT_FLOW,		/* first packet of a conversation since `events -f` began to listen, with its reason */
	MIR_EVENT_FAILED,	/* a copy failed: `failure`. At most one a second */
	MIR_EVENT_MAX,
};

/* Record of ring buffer `events` (BPF_MAP_TYPE_RINGBUF). Never one per packet. */
struct mir_event {
	__u64 time_ns;		/* bpf_ktime_get_ns(): CLOCK_MONOTONIC nanoseconds */
	__u32 kind;		/* enum mir_event_kind */
	__u32 tgid;		/* the process it is about */
	__u32 other;		/* see the kind; else 0 */
	__u32 reason;		/* enum mir_reason of a FLOW or FAILED */
	__u32 failure;		/* enum mir_failure of a FAILED */
	struct mir_flow flow;	/* of a FLOW, seen from the process; else zero */
	char comm[MIR_COMM_LEN];/* of `tgid`, as far as it is a target; zero terminated */
	__u32 reserved;		/* zero */
};
MIR_STATIC_ASSERT(sizeof(struct mir_event) == 96, "mir_event is ABI");

/* How a source stands to other sources. A packet of a stack of devices passes the programs of each; it is copied on the
 * one nearest to its socket. */
#define MIR_SOURCE_SENT_ABOVE	  0x01u	/* its bridge, bond or VRF is a source: what the host sends passes there first */
#define MIR_SOURCE_RECEIVED_ABOVE 0x02u	/* its bridge or bond is a source: what the host receives passes there, too */
#define MIR_SOURCE_UPPERS	  0x04u	/* map `uppers` names VLAN or macvlan devices on top of it that are sources */
#define MIR_SOURCE_TUNNELS	  0x08u	/* a tunnel device is a source: packets in another one's wrapping were seen */
#define MIR_SOURCE_PORTS	  0x10u	/* a bridge all of whose ports are sources: senders were seen there */
#define MIR_SOURCE_PEER		  0x20u	/* a veth whose other end is in another namespace, number peer_nsid */

/* Key of map `uppers` (BPF_MAP_TYPE_HASH; value __u32: ifindex of the upper source). */
struct mir_upper {
	__u32 ifindex;		/* of the lower source */
	__u16 vlan;		/* VLAN id of a VLAN device, host byte order; 0: told by its address */
	__u8 mac[6];		/* of a macvlan device; zero for a VLAN */
};
MIR_STATIC_ASSERT(sizeof(struct mir_upper) == 12, "mir_upper is ABI");

/* Value of map `sources` (BPF_MAP_TYPE_HASH, key __u32 ifindex). Written by mirrorctl alone. */
struct mir_source {
	char name[MIR_IFNAME_LEN];	/* at the time it was attached, zero terminated */
	__u8 ingress;			/* 1: attached at TC ingress */
	__u8 egress;			/* 1: attached at TC egress */
	__u8 headerless;		/* 1: no Ethernet header (tun, WireGuard, PPP): copies go by the relay */
	__u8 clsact_made;		/* 1: the clsact qdisc is ours to delete */
	__u32 flags;			/* MIR_SOURCE_* */
	__s32 peer_nsid;		/* namespace of the other end, as IFLA_LINK_NETNSID numbers it; else 0 */
};
MIR_STATIC_ASSERT(sizeof(struct mir_source) == 28, "mir_source is ABI");

/* What a copy carries in skb->cb from the mirror program to the monitor program (bpf_clone_redirect() keeps it to the TC
 * egress of the device it sends to, measured on 6.18; the socket itself is gone: __skb_clone() sets skb->sk to NULL).
 * Five words, host byte order. */
enum mir_cb {
	MIR_CB_MAGIC,		/* MIR_COPY_MAGIC */
	MIR_CB_TGID,		/* owner's process id */
	MIR_CB_BORN,		/* owner's mir_target.born */
	MIR_CB_REASON,		/* enum mir_reason | enum mir_direction << 8 | MIR_CB_ANNOUNCE, _SENT | monitor << 24 */
	MIR_CB_IFINDEX,		/* source the copy was taken on */
};

#define MIR_CB_ANNOUNCE 0x10000u /* this clone is no copy: the monitor program turns it into an announcement */
#define MIR_CB_SENT 0x20000u	/* the owner sends the packet; else it receives it */
#define MIR_CB_MONITOR_SHIFT 24	/* entry of map `monitors` that the copy is for */

/* What iter/task writes for each process it visits. */
struct mir_task_info {
	__u64 start_ns;		/* CLOCK_BOOTTIME nanoseconds */
	__u32 tgid;		/* in the initial PID namespace */
	__u32 uid;		/* real user id, in the initial user namespace */
	char comm[MIR_COMM_LEN];
	__u64 selectors;	/* those it matches, bit by number */
};
MIR_STATIC_ASSERT(sizeof(struct mir_task_info) == 40, "mir_task_info is ABI");

/* What the iterators for `list` write for each socket that carries an owner. */
struct mir_held {
	struct mir_owner owner;
	__u64 inode;		/* of the socket's file, so that one that is open twice counts once; 0: comes once only */
};
MIR_STATIC_ASSERT(sizeof(struct mir_held) == 16, "mir_held is ABI");

/* The packet that BPF_PROG_TEST_RUN gives to mir_sift and mir_fold. */
struct mir_pick {
	__u64 frame[2];		/* zero: the kernel reads an Ethernet header here (eth_type_trans()), of no known type */
	__u64 key;		/* of the entry: a process id (map `targets`), selectors, bit by number (`credits`) */
	__u64 forget;		/* bits that are taken from it, of mir_target.selectors or of the key */
};
MIR_STATIC_ASSERT(sizeof(struct mir_pick) == 32, "mir_pick is ABI");

/* What mir_explain writes over the packet it was given by BPF_PROG_TEST_RUN. */
struct mir_explanation {
	__u32 socket;		/* 1: a live socket answers for the tuple */
	__u32 state;		/* its state (TCP_ESTABLISHED ..., include/net/tcp_states.h) */
	__u32 known;		/* 1: `owner` was found, by the socket, its listener or map `flows` */
	__u32 mirrored;		/* 1: the packet would be copied */
	__u32 reason;		/* enum mir_reason, if `known` */
	__u32 reserved;		/* zero */
	struct mir_owner owner;
};
MIR_STATIC_ASSERT(sizeof(struct mir_explanation) == 32, "mir_explanation is ABI");
