/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 1, who owns the socket: every entry point, in the groups that mirrorctl loads or leaves out by what the kernel
 * takes (mirrorctl/load.c). One object, so that the kernel's type information is read once.
 *
 *   always       created, connected; exec, new name, control groups, exit; what mirrorctl asks for
 *   count, held  which sockets carry an owner, in one of two ways
 *   wake, fork   fork, in one of two ways
 *   fentry       accepted, sent, received: before the packet (best column of design 4.2)
 *   tracepoint   sent, received: after it; where trampolines cannot load
 *   cgroup       datagrams that carry an address: before the packet; where trampolines cannot load
 *   close        tuples of closing connections
 *   tag          iterator that tags the sockets a new target holds
 */
#include "cgroup.bpf.h"
#include "owner.bpf.h"
#include "process.bpf.h"

/* ---- always ---- */

/* inet_create() and inet6_create() call this for every AF_INET and AF_INET6 socket but the kernel's own. */
SEC("cgroup/sock_create")
int mir_create(struct bpf_sock *sk)
{
	struct mir_target *t;
	__u32 tgid;

	if (!mir_active())
		return 1;
	tgid = bpf_get_current_pid_tgid() >> 32;
	t = mir_current_target(tgid);
	if (!t)
		return 1;
	mir_owner_create(sk, t, tgid);
	mir_note_mptcp(sk->protocol);
	return 1;
}

/* A socket is closed for good whose answers only map `flows` finds: who sends the same next, has the answers for himself. */
SEC("cgroup/sock_release")
int mir_release(struct bpf_sock *sk)
{
	__u32 socket, one = 1;

	if (!mir_active() || (sk->type != SOCK_RAW && (sk->protocol == IPPROTO_TCP || sk->protocol == IPPROTO_UDP ||
						       sk->protocol == IPPROTO_MPTCP)) ||
	    !bpf_sk_storage_get(&owners, sk, 0, 0))
		return 1;
	socket = bpf_get_socket_cookie(sk);
	bpf_map_update_elem(&closed, &socket, &one, BPF_ANY);
	return 1;
}

/* An inherited or passed socket that connects is used before its first packet leaves. */
SEC("cgroup/connect4")
int mir_connect4(struct bpf_sock_addr *ctx)
{
	if (mir_active() && ctx->sk)
		mir_owner_use(ctx->sk);
	return 1;
}

SEC("cgroup/connect6")
int mir_connect6(struct bpf_sock_addr *ctx)
{
	if (mir_active() && ctx->sk)
		mir_owner_use(ctx->sk);
	return 1;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(mir_exec, struct task_struct *task)
{
	char comm[MIR_COMM_LEN];
	struct mir_target *t;
	struct mir_live *l = mir_live();

	if (!l || !l->active)
		return 0;
	mir_comm_copy(comm, task);
	t = mir_running_target(task->tgid);
	if (t) {
		__builtin_memcpy(t->comm, comm, sizeof(comm));
		t->uid = mir_uid(task);
	}
	if (l->kinds)
		mir_judge(task, comm, l);
	return 0;
}

/* A thread gets a new name, told before it has it: the leader's is its process's. By an exec it already has the new program
 * (begin_new_exec()), so that both programs would have to be left out for an exec to go unseen. */
SEC("tp_btf/task_rename")
int BPF_PROG(mir_rename, struct task_struct *task, const char *name)
{
	char comm[MIR_COMM_LEN] = {};
	struct mir_live *l = mir_live();
	struct mir_target *t;

	if (!mir_have_text || !l || !l->active || task->pid != task->tgid)
		return 0;
	bpf_probe_read_kernel_str(comm, sizeof(comm), name);
	t = mir_running_target(task->tgid);
	if (t)
		__builtin_memcpy(t->comm, comm, sizeof(comm));
	if (l->kinds & (MIR_KIND(MIR_TRAIT_NAME) | MIR_KINDS_FILE))
		mir_judge(task, comm, l);
	return 0;
}

/* A process, or one of its threads, was moved to another control group. */
SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(mir_moved, struct cgroup *group, const char *path, struct task_struct *task)
{
	struct task_struct *leader = task->group_leader;
	char comm[MIR_COMM_LEN];
	struct mir_live *l = mir_live();

	if (!l || !(l->kinds & MIR_KIND(MIR_TRAIT_CGROUP)) || !mir_is_v2(group))
		return 0;
	mir_comm_copy(comm, leader);
	mir_judge(leader, comm, l);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(mir_mkdir, struct cgroup *group, const char *path)
{
	struct mir_trait trait = { .kind = MIR_TRAIT_CGROUP };
	struct mir_live *l = mir_live();
	__u64 mask;

	if (!l || !(l->kinds & MIR_KIND(MIR_TRAIT_CGROUP)) || !mir_is_v2(group))
		return 0;
	mask = mir_number_mask(MIR_TRAIT_CGROUP, group->self.parent->cgroup->kn->id) | mir_cgroup_matches(group, path, l->kinds);
	trait.number[0] = group->kn->id;
	if (mask && bpf_map_update_elem(&traits, &trait, &mask, BPF_ANY))
		__sync_fetch_and_add(&l->cgroups_lost, 1);
	return 0;
}

SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(mir_rmdir, struct cgroup *group)
{
	struct mir_trait trait = { .kind = MIR_TRAIT_CGROUP };
	struct mir_live *l = mir_live();

	if (!l || !(l->kinds & MIR_KIND(MIR_TRAIT_CGROUP)) || !mir_is_v2(group))
		return 0;
	trait.number[0] = group->kn->id;
	bpf_map_delete_elem(&traits, &trait);
	return 0;
}

/* Fires for each thread, before exit_files(), and behind the count of live ones (do_exit()). */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(mir_exit, struct task_struct *task)
{
	return mir_ended(task);
}

/* A thread is forgotten, once its parent has asked how it ended (delayed_put_task_struct(), bottom halves off): an exit that
 * went unseen is seen here. */
SEC("tp_btf/sched_process_free")
int BPF_PROG(mir_free, struct task_struct *task)
{
	return task->pid == task->tgid ? mir_ended(task) : 0;
}

/* Writes one struct mir_task_info for each process (thread group leader) visited, with the selectors it matches. Process
 * live.tagging is judged on the way; with live.selectors it is selected by hand, with live.flags: here, so that its counters
 * go on undisturbed. */
SEC("iter/task")
int mir_task(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct mir_task_info info = {};
	struct mir_live *l = mir_live();
	struct mir_target *t;

	if (!task || !l || task->pid != task->tgid)
		return 0;
	info.tgid = task->tgid;
	info.start_ns = task->start_boottime;
	info.uid = mir_uid(task);
	mir_comm_copy(info.comm, task);
	if (l->kinds && mir_has_program(task))
		info.selectors = mir_matches(task, info.comm, l);
	bpf_seq_write(ctx->meta->seq, &info, sizeof(info));

	if (info.tgid != l->tagging)
		return 0;
	t = mir_running_target(info.tgid);
	if (t && l->selectors && t->born == mir_born(info.start_ns)) {
		mir_credit(t);
		t->flags = (__u16)l->flags;
		t->kept = (t->kept & ~l->deselect) | l->selectors;
		t->selectors = (t->selectors & ~l->deselect) | l->selectors;
	}
	mir_judge(task, info.comm, l);
	return 0;
}

/* What mirrorctl asks for one entry of a map, by BPF_PROG_TEST_RUN: the packet is a struct mir_pick. Not by iter/bpf_map_elem,
 * because hardened kernels refuse iterators over a map's contents. */

/* Takes selectors from a target, and with those given by hand what was asked for then; all from one that exited longer than the
 * linger time ago. mirrorctl deletes what is left without any. */
SEC("tc")
int mir_sift(struct __sk_buff *skb)
{
	struct mir_config *c = mir_config();
	struct mir_live *l = mir_live();
	struct mir_pick pick = {};
	struct mir_target *t;
	__u32 tgid;

	if (!c || !l || bpf_skb_load_bytes(skb, 0, &pick, sizeof(pick)))
		return 0;
	tgid = (__u32)pick.key;
	t = bpf_map_lookup_elem(&targets, &tgid);
	if (!t)
		return 0;
	if (t->exit_ns && bpf_ktime_get_ns() - t->exit_ns >= c->linger_ns)
		pick.forget = ~0ull;
	if (!(t->selectors & pick.forget))
		return 0;
	mir_credit(t);
	t->kept &= ~pick.forget;
	t->selectors &= ~pick.forget;
	if (!(t->kept & ~l->armed))
		t->flags = 0;
	return 0;
}

/* Moves an account of selectors to the others that had the same targets, and empties it. */
SEC("tc")
int mir_fold(struct __sk_buff *skb)
{
	struct mir_pick pick = {};
	struct mir_counts *c;

	if (bpf_skb_load_bytes(skb, 0, &pick, sizeof(pick)))
		return 0;
	c = bpf_map_lookup_elem(&credits, &pick.key);
	if (!c)
		return 0;
	mir_credit_add(pick.key & ~pick.forget, c->packets, c->bytes, c->failed);
	c->packets = c->bytes = c->failed = 0;
	return 0;
}

/* ---- count ----
 * Which sockets carry an owner: all there are.
 */
SEC("iter/bpf_sk_storage_map")
int mir_count(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct mir_owner *value = ctx->value;
	struct mir_held held = {};

	if (!value || !ctx->sk)
		return 0;
	held.owner = *value;
	bpf_seq_write(ctx->meta->seq, &held, sizeof(held));
	return 0;
}

/* ---- held ----
 * Those that a process has open, for kernels that refuse the other; one that several have comes several times.
 */
SEC("iter/task_file")
int mir_held(struct bpf_iter__task_file *ctx)
{
	struct file *file = ctx->file;
	struct mir_held held = {};
	struct mir_owner *value;
	struct socket *sock;
	struct sock *sk;

	if (!ctx->task || !file)
		return 0;
	sock = bpf_sock_from_file(file);
	if (!sock)
		return 0;
	sk = sock->sk;
	if (!sk)
		return 0;
	value = bpf_sk_storage_get(&owners, sk, 0, 0);
	if (!value)
		return 0;
	held.owner = *value;
	held.inode = file->f_inode->i_ino;
	bpf_seq_write(ctx->meta->seq, &held, sizeof(held));
	return 0;
}

/* ---- wake ----
 * A child is put on a run queue, with that locked and interrupts off (wake_up_new_task()): where the scheduler may interrupt
 * programs at tracepoints, and then runs none of their kind for anybody else there (docs/limits.md, preemption), this one is never
 * left out. What it writes must not wake anybody: hash maps with a memory cache of their own do not.
 */

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(mir_fork, struct task_struct *child)
{
	return mir_begun(child);
}

/* ---- fork ----
 * A little earlier, with nothing locked.
 */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(mir_forked, struct task_struct *parent, struct task_struct *child)
{
	return mir_begun(child);
}

/* ---- fentry ----
 * The security_* functions are called before the work is done, in the context of the process that asks for it. They exist
 * under CONFIG_SECURITY_NETWORK, whatever security module is active.
 */
/* The kernel's own use of a socket that a process handed to it (NBD, iSCSI, kTLS) changes no owner. Nor does a stranger's use of
 * a socket that carries none: what nearly every call on a host is, so it is told first, without a look into a hash map. */
static __always_inline int mir_by_process(struct sock *sk)
{
	struct mir_live *l = mir_live();
	struct task_struct *task;

	if (!sk || !l || !l->active)
		return 0;
	task = (struct task_struct *)bpf_get_current_task_btf();
	if (!sk->sk_bpf_storage && !mir_may_be_target(l, task->tgid))
		return 0;
	return mir_sends_packets(sk) && !(task->flags & PF_KTHREAD);
}

/* accept(): `parent` is the new struct socket that the acceptor gets, `sk` the child it is grafted onto. */
SEC("fentry/security_sock_graft")
int BPF_PROG(mir_accept, struct sock *sk, struct socket *parent)
{
	if (mir_by_process(sk))
		mir_owner_use(sk);
	return 0;
}

SEC("fentry/security_socket_sendmsg")
int BPF_PROG(mir_send, struct socket *sock)
{
	struct sock *sk = sock->sk;

	if (mir_by_process(sk))
		mir_owner_use(sk);
	return 0;
}

SEC("fentry/security_socket_recvmsg")
int BPF_PROG(mir_receive, struct socket *sock)
{
	struct sock *sk = sock->sk;

	if (mir_by_process(sk))
		mir_owner_use(sk);
	return 0;
}

/* ---- tracepoint ----
 * Behind every send and receive (Linux 6.3, commit 6e6eda44b939). They fire when the call is done, so the first packet a
 * new user sends on an inherited connected socket still counts for the former one.
 */
SEC("tp_btf/sock_send_length")
int BPF_PROG(mir_sent, struct sock *sk, int ret)
{
	if (mir_by_process(sk))
		mir_owner_use(sk);
	return 0;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(mir_received, struct sock *sk, int ret)
{
	if (mir_by_process(sk))
		mir_owner_use(sk);
	return 0;
}

/* ---- cgroup ---- */

SEC("cgroup/sendmsg4")
int mir_sendmsg4(struct bpf_sock_addr *ctx)
{
	if (mir_active() && ctx->sk)
		mir_owner_use(ctx->sk);
	return 1;
}

SEC("cgroup/sendmsg6")
int mir_sendmsg6(struct bpf_sock_addr *ctx)
{
	if (mir_active() && ctx->sk)
		mir_owner_use(ctx->sk);
	return 1;
}

SEC("cgroup/recvmsg4")
int mir_recvmsg4(struct bpf_sock_addr *ctx)
{
	if (mir_active() && ctx->sk)
		mir_owner_use(ctx->sk);
	return 1;
}

SEC("cgroup/recvmsg6")
int mir_recvmsg6(struct bpf_sock_addr *ctx)
{
	if (mir_active() && ctx->sk)
		mir_owner_use(ctx->sk);
	return 1;
}

/* ---- close ----
 * A TCP connection that begins to close leaves its tuple in map `flows`, so that TIME_WAIT acknowledgements and late FIN
 * and RST packets still find the process. Written at the first closing state, in time for any packet of the closed
 * connection, and again at the last one.
 */
#define TCP_FIN_WAIT1 4
#define TCP_CLOSE 7
#define TCP_LAST_ACK 9
#define TCP_LISTEN 10
#define TCP_CLOSING 11

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(mir_state, struct sock *sk, int oldstate, int newstate)
{
	struct mir_flow_owner value = { .reason = MIR_REASON_LINGER };
	struct mir_live *l = mir_live();
	struct mir_flow flow = {};
	struct mir_owner *owner;
	struct tcp_sock *tp;

	if (newstate != TCP_FIN_WAIT1 && newstate != TCP_LAST_ACK && newstate != TCP_CLOSING && newstate != TCP_CLOSE)
		return 0;
	if (oldstate == TCP_LISTEN || oldstate == TCP_CLOSE || !l || !l->active)
		return 0;
	owner = bpf_sk_storage_get(&owners, sk, 0, 0);
	if ((!owner || !owner->tgid) && !l->lingers && !l->asks)
		return 0;
	tp = (struct tcp_sock *)bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	mir_flow_fill(&flow, tp);
	if (!owner || !owner->tgid) {
		/* A stranger has used the tuple since: what comes after his connection is not the target's. */
		if (bpf_map_lookup_elem(&flows, &flow))
			bpf_map_delete_elem(&flows, &flow);
		return 0;
	}
	if (!l->lingers)	/* every packet reads what is beside it: written once */
		l->lingers = 1;
	value.owner = *owner;
	value.seen_ns = bpf_ktime_get_ns();
	bpf_map_update_elem(&flows, &flow, &value, BPF_ANY);
	return 0;
}

/* ---- tag ---- */

#define MIR_BACKLOG 4096	/* net.core.somaxconn as the kernel sets it */

static __always_inline void mir_tag_sock(struct sock *sk, struct mir_target *t, __u32 tgid, __u32 again)
{
	struct mir_owner *owner = bpf_sk_storage_get(&owners, sk, 0, 0);

	if (!owner)
		mir_owner_create(sk, t, tgid);
	else if (!again)
		mir_owner_pass(owner, t, tgid);
}

struct mir_backlog {
	struct request_sock *req;
	struct mir_target *t;
	__u32 tgid;
	__u32 again;
	__u16 port;
};

static long mir_tag_request(__u32 i, void *data)
{
	struct mir_backlog *at = data;
	struct request_sock *req = at->req;
	struct sock *sk;

	if (!req)
		return 1;
	sk = req->sk;
	if (sk && sk->__sk_common.skc_num == at->port)
		mir_tag_sock(sk, at->t, at->tgid, at->again);
	at->req = req->dl_next;
	return 0;
}

/* Connections that wait to be accepted belong to the listener's owner and are in nobody's descriptor table. Requests and
 * sockets are never given back to the page allocator while an iterator program runs (SLAB_TYPESAFE_BY_RCU); one that is
 * accepted under our hands becomes the acceptor's at its first use, and a request that then serves another listener is
 * told by its port. */
static __always_inline void mir_tag_backlog(struct tcp_sock *tp, struct mir_target *t, __u32 tgid, __u32 again)
{
	struct mir_backlog at = {
		.req = tp->inet_conn.icsk_accept_queue.rskq_accept_head,
		.t = t,
		.tgid = tgid,
		.again = again,
		.port = tp->inet_conn.icsk_inet.sk.__sk_common.skc_num,
	};

	bpf_loop(MIR_BACKLOG, mir_tag_request, &at, 0);
}

/* Tags every socket that process live.tagging holds. Threads that share the leader's files are visited once. Writes a byte
 * for each TCP listener. */
SEC("iter/task_file")
int mir_tag(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct mir_live *l = mir_live();
	struct file *file = ctx->file;
	struct tcp_sock *tp;
	struct mir_target *t;
	struct socket *sock;
	struct sock *sk;
	__u8 listens = 1;
	__u32 tgid;

	if (!task || !file || !l)
		return 0;
	tgid = task->tgid;
	if (tgid != l->tagging)
		return 0;
	sock = bpf_sock_from_file(file);
	if (!sock)
		return 0;
	sk = sock->sk;
	if (!sk || !mir_sends_packets(sk))
		return 0;
	t = mir_running_target(tgid);
	if (!t)
		return 0;
	mir_note_mptcp(sk->sk_protocol);
	mir_tag_sock(sk, t, tgid, l->again);
	if (sk->__sk_common.skc_state == TCP_LISTEN) {
		tp = (struct tcp_sock *)bpf_skc_to_tcp_sock(sk);
		if (tp) {
			mir_tag_backlog(tp, t, tgid, l->again);
			bpf_seq_write(ctx->meta->seq, &listens, sizeof(listens));
		}
	}
	return 0;
}

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mir_file_info);
} described SEC(".maps");

/* Says of each file that process live.tagging has open how it would be recognized as an executable. */
SEC("iter/task_file")
int mir_file(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct mir_file_info *info;
	struct mir_live *l = mir_live();
	struct file *file = ctx->file;
	struct mir_workplace *w;
	__u32 zero = 0;

	if (!task || !file || !l || (__u32)task->tgid != l->tagging)
		return 0;
	info = bpf_map_lookup_elem(&described, &zero);
	w = mir_workplace(MIR_LABEL_FILE);
	if (!info || !w)
		return 0;
	info->fd = ctx->fd;
	mir_file_trait(&info->trait, file);
	info->placed = mir_file_label(w, file);
	info->label = w->label;
	bpf_seq_write(ctx->meta->seq, info, sizeof(*info));
	return 0;
}

char _license[] SEC("license") = "GPL";
