/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 1, shared piece: which processes the selectors choose. A process is judged when it comes to be and whenever what is
 * asked of it may have changed: fork, exec, a new name, a move to another control group, a socket call under another user id.
 * What selectors look for lies in two hash maps, so a judgement costs one look-up for each kind of selector that is in use,
 * however many there are. Called by the entry points in owner.bpf.c.
 */
#pragma once

#include "event.bpf.h"
#include "kernel.bpf.h"

#define MIR_KIND(trait) (1u << (trait))
#define MIR_KINDS_FILE (MIR_KIND(MIR_TRAIT_FILE) | MIR_KIND(MIR_LABEL_NAME) | MIR_KIND(MIR_LABEL_FILE))
#define MIR_FILE_DEPTH 24	/* directories above an executable, at most */
#define MIR_NAME_ROOM 256	/* NAME_MAX and a zero */
#define MIR_EEXIST 17		/* somebody else has just chosen the same process */

/* Where a label is put together: the verifier wants room behind it for one more name. */
struct mir_workplace {
	struct mir_label label;
	char more[MIR_NAME_ROOM];
};

/* Tracepoints and iterators run with preemption or migration off, and never inside one another; where the scheduler may interrupt
 * them (docs/limits.md, preemption) two may meet here. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mir_workplace);
} workplace SEC(".maps");

/* The workplace with an empty label of this kind; NULL never happens, and must be asked for. */
static __always_inline struct mir_workplace *mir_workplace(__u32 kind)
{
	__u32 zero = 0;
	struct mir_workplace *w = bpf_map_lookup_elem(&workplace, &zero);

	if (w) {
		__builtin_memset(&w->label, 0, sizeof(w->label));
		w->label.kind = kind;
	}
	return w;
}

static __always_inline __u64 mir_trait_mask(const struct mir_trait *trait)
{
	__u64 *mask = bpf_map_lookup_elem(&traits, trait);

	return mask ? *mask : 0;
}

static __always_inline __u64 mir_label_mask(const struct mir_label *label)
{
	__u64 *mask = bpf_map_lookup_elem(&labels, label);

	return mask ? *mask : 0;
}

static __always_inline __u64 mir_number_mask(__u32 kind, __u64 number)
{
	struct mir_trait trait = { .kind = kind };

	trait.number[0] = number;
	return mir_trait_mask(&trait);
}

/* ---- what a process is ---- */

static __always_inline void mir_file_trait(struct mir_trait *trait, const struct file *file)
{
	const struct inode *inode = file->f_inode;

	trait->kind = MIR_TRAIT_FILE;
	trait->number[0] = inode->i_ino;
	trait->number[1] = inode->i_sb->s_dev | (__u64)inode->i_generation << 32;
}

/* Fills in where a file lies in its file system: names from the file up, so that a file that takes its place has the same.
 * 0: too deep, too long or unreadable. */
static __noinline int mir_file_label(struct mir_workplace *w, const struct file *file)
{
	const struct dentry *at = file->f_path.dentry, *up;
	__u32 len = 0;
	long n;
	int i;

	if (!mir_have_text)
		return 0;
	w->label.dev = file->f_inode->i_sb->s_dev;
	for (i = 0; i < MIR_FILE_DEPTH; i++) {
		up = at->d_parent;
		if (up == at)
			return len > 0;
		if (len >= MIR_LABEL_LEN)
			return 0;
		n = bpf_probe_read_kernel_str(&w->label.text[len], MIR_NAME_ROOM, at->d_name.name);
		if (n <= 1 || n > MIR_NAME_ROOM)
			return 0;
		len += n;
		if (len > MIR_LABEL_LEN)
			return 0;
		at = up;
	}
	return 0;
}

/* Selectors that the executable matches. */
static __noinline __u64 mir_file_matches(const struct task_struct *task, __u32 kinds)
{
	const struct file *exe = task->mm->exe_file;
	struct mir_trait trait = {};
	struct mir_workplace *w;
	__u64 mask = 0;

	if (!exe)
		return 0;
	if (kinds & MIR_KIND(MIR_TRAIT_FILE)) {
		mir_file_trait(&trait, exe);
		mask |= mir_trait_mask(&trait);
	}
	if (mir_have_text && (kinds & MIR_KIND(MIR_LABEL_NAME))) {
		w = mir_workplace(MIR_LABEL_NAME);
		if (w && bpf_probe_read_kernel_str(w->label.text, sizeof(w->label.text), exe->f_path.dentry->d_name.name) > 0)
			mask |= mir_label_mask(&w->label);
	}
	if (kinds & MIR_KIND(MIR_LABEL_FILE)) {
		w = mir_workplace(MIR_LABEL_FILE);
		if (w && mir_file_label(w, exe))
			mask |= mir_label_mask(&w->label);
	}
	return mask;
}

/* Selectors in force that a process matches. `task` is its thread group leader, `comm` its name, zero padded. */
static __noinline __u64 mir_matches(const struct task_struct *task, const char *comm, const struct mir_live *l)
{
	struct mir_trait name = { .kind = MIR_TRAIT_NAME };
	__u32 kinds = l->kinds;
	__u64 mask = 0;

	if (kinds & MIR_KIND(MIR_TRAIT_NAME)) {
		__builtin_memcpy(name.name, comm, sizeof(name.name));
		mask |= mir_trait_mask(&name);
	}
	if (kinds & MIR_KIND(MIR_TRAIT_USER))
		mask |= mir_number_mask(MIR_TRAIT_USER, mir_uid(task));
	if (kinds & MIR_KIND(MIR_TRAIT_CGROUP))
		mask |= mir_number_mask(MIR_TRAIT_CGROUP, mir_cgroup_id(task));
	if (kinds & MIR_KINDS_FILE)
		mask |= mir_file_matches(task, kinds);
	return mask & l->armed;
}

/* ---- what becomes of it ---- */

/* The running target with this process id, or NULL. */
static __always_inline struct mir_target *mir_running_target(__u32 tgid)
{
	struct mir_target *t = bpf_map_lookup_elem(&targets, &tgid);

	return t && !t->exit_ns ? t : NULL;
}

/* Adds to the account of a set of selectors. */
static __noinline void mir_credit_add(__u64 mask, __u64 packets, __u64 bytes, __u64 failed)
{
	struct mir_counts none = {}, *c = bpf_map_lookup_elem(&credits, &mask);

	if (!c) {
		bpf_map_update_elem(&credits, &mask, &none, BPF_NOEXIST);
		c = bpf_map_lookup_elem(&credits, &mask);
	}
	if (!c)
		return;
	__sync_fetch_and_add(&c->packets, packets);
	__sync_fetch_and_add(&c->bytes, bytes);
	__sync_fetch_and_add(&c->failed, failed);
}

/* Adds what a target has counted since this was last done to its selectors' account: they are about to change. */
static __always_inline void mir_credit(struct mir_target *t)
{
	struct mir_counts now = { .packets = t->packets, .bytes = t->bytes, .failed = t->failed };

	if (now.packets == t->credited.packets)
		return;
	mir_credit_add(t->selectors, now.packets - t->credited.packets, now.bytes - t->credited.bytes,
		       now.failed - t->credited.failed);
	t->credited = now;
}

/* A target is chosen by other selectors than before; by none: it is no target any more. Its sockets keep its name, so that
 * they are its own again when it is a target again. */
static __noinline int mir_rechoose(struct mir_target *t, __u32 tgid, __u64 mask)
{
	if (t->selectors == mask)
		return 0;
	mir_credit(t);
	t->selectors = mask;
	if (!mask) {
		mir_event(MIR_EVENT_GONE, tgid, 0, t);
		bpf_map_delete_elem(&targets, &tgid);
	}
	return 1;
}

/* Takes the target that exited first out of the map, once its linger time is over: with selectors there may be no end of new
 * ones, and nobody else looks before mirrorctl is next called. */
static __noinline int mir_reap(void)
{
	struct mir_config *c = mir_config();
	struct mir_exited e = {};
	struct mir_target *t;
	__u32 tgid;

	if (!c || bpf_map_peek_elem(&exited, &e) || bpf_ktime_get_ns() - e.exit_ns < c->linger_ns ||
	    bpf_map_pop_elem(&exited, &e))
		return 0;
	if (bpf_ktime_get_ns() - e.exit_ns < c->linger_ns) {
		bpf_map_push_elem(&exited, &e, 0);	/* another processor had the older one */
		return 0;
	}
	tgid = e.tgid;
	t = bpf_map_lookup_elem(&targets, &tgid);
	if (!t || t->born != e.born || t->exit_ns != e.exit_ns)
		return 0;
	mir_credit(t);
	mir_event(MIR_EVENT_GONE, tgid, 0, t);
	bpf_map_delete_elem(&targets, &tgid);
	return 0;
}

/* For one that comes two go, as long as there are any. Not where a user id is judged: there the stack is too deep. */
static __always_inline void mir_make_room(void)
{
	mir_reap();
	mir_reap();
}

/* Puts a process that has been chosen among the targets. */
static __noinline int mir_choose(__u32 tgid, struct mir_target *new)
{
	struct mir_target *old = bpf_map_lookup_elem(&targets, &tgid);
	struct mir_live *l = mir_live();
	long r;

	if (!l)
		return 0;
	if (old)
		mir_credit(old);	/* it has exited; its process id was given out again */
	new->born = mir_born(new->start_ns);
	l->near[mir_near(tgid)] = 1;
	r = bpf_map_update_elem(&targets, &tgid, new, old ? BPF_ANY : BPF_NOEXIST);
	if (!r)
		mir_event(MIR_EVENT_ADDED, tgid, new->parent, new);
	else if (r != -MIR_EEXIST)
		__sync_fetch_and_add(new->parent ? &l->children_lost : &l->targets_lost, 1);
	return 1;
}

/* The name of a process's control group, as far as there is room for it. */
static __always_inline void mir_cgroup_copy(char *to, const struct task_struct *task)
{
	if (mir_have_text)
		bpf_probe_read_kernel_str(to, MIR_CGROUP_LEN, BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, name));
}

/* Something about a process has changed: it becomes a target, goes on being one, or ceases. `task` is the leader. Returns 1
 * if anything was written. */
static __noinline int mir_judge_once(struct task_struct *task, const char *comm, const struct mir_live *l)
{
	struct mir_target *t, new = {};
	__u32 tgid = task->tgid;
	__u64 mask;

	/* Not a process, or one that is all but gone. */
	if (!mir_has_program(task) || !mir_threads(task))
		return 0;
	mask = mir_matches(task, comm, l);
	t = bpf_map_lookup_elem(&targets, &tgid);
	if (t && !t->exit_ns)
		return mir_rechoose(t, tgid, t->kept | mask);
	if (!mask)
		return 0;
	mir_make_room();
	new.start_ns = task->start_boottime;
	new.selectors = mask;
	new.uid = mir_uid(task);
	__builtin_memcpy(new.comm, comm, sizeof(new.comm));
	mir_cgroup_copy(new.cgroup, task);
	return mir_choose(tgid, &new);
}

/* When two changes are judged at once, what was written last has been looked at after it was written. */
static __always_inline void mir_judge(struct task_struct *task, const char *comm, const struct mir_live *l)
{
	if (mir_judge_once(task, comm, l))
		mir_judge_once(task, comm, l);
}

/* ---- user ids ---- */

/* A process that uses a socket as a user that a selector looks for, and was somebody else at its last exec. */
static __always_inline void mir_choose_current(__u32 tgid, __u32 uid, __u64 mask)
{
	struct mir_target new = { .selectors = mask, .uid = uid };
	struct task_struct *task, *leader;

	if (!mir_have_text)
		return;
	task = (struct task_struct *)bpf_get_current_task();
	leader = BPF_CORE_READ(task, group_leader);
	if (BPF_CORE_READ(task, flags) & PF_KTHREAD)
		return;
	new.start_ns = BPF_CORE_READ(leader, start_boottime);
	bpf_probe_read_kernel_str(new.comm, sizeof(new.comm), &leader->comm);
	mir_choose(tgid, &new);
}

/* The process that runs has changed its user id, which no tracepoint tells. Global, so that the verifier goes through it once
 * for each program. */
__noinline int mir_judge_user(__u32 tgid, __u32 uid)
{
	__u64 mask = mir_number_mask(MIR_TRAIT_USER, uid);
	struct mir_target *t = mir_running_target(tgid);
	struct mir_live *l = mir_live();

	if (!l)
		return 0;
	mask &= l->armed;
	if (t) {
		t->uid = uid;
		mir_rechoose(t, tgid, t->kept | (t->selectors & ~l->by_user) | mask);
	} else if (mask) {
		mir_choose_current(tgid, uid, mask);
	}
	return 0;
}

/* What nearly every process is not: a target, or one that may become one by what it does now. */
static __always_inline int mir_may_be_target(const struct mir_live *l, __u32 tgid)
{
	return l->near[mir_near(tgid)] || (l->kinds & MIR_KIND(MIR_TRAIT_USER));
}

/* The target that runs, by the user it is now: a server that was started as root often becomes somebody else before it
 * serves. NULL: none. */
static __always_inline struct mir_target *mir_current_target(__u32 tgid)
{
	struct mir_live *l = mir_live();
	struct mir_target *t;
	__u32 uid;

	if (!l || !mir_may_be_target(l, tgid))
		return NULL;
	t = mir_running_target(tgid);
	uid = bpf_get_current_uid_gid();
	if (t && t->uid == uid)
		return t;
	if ((l->kinds & MIR_KIND(MIR_TRAIT_USER))) {
		mir_judge_user(tgid, uid);
		return mir_running_target(tgid);
	}
	if (t)
		t->uid = uid;
	return t;
}
