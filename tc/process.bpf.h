/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 1, shared piece: processes come and go. What becomes of targets then, and who is one from the start. Called by the entry
 * points in owner.bpf.c.
 */
#pragma once

#include "select.bpf.h"

/* A process id is given out: whoever had it is gone, even if its exit went unseen. Its last packets are still its own, also
 * when the new process becomes a target under the same id. Returns 1 if there are such: the new one is counted for both,
 * so it stays for the linger time. */
static __always_inline int mir_displace(__u32 tgid)
{
	struct mir_target *t = bpf_map_lookup_elem(&targets, &tgid);
	struct mir_owner who = { .tgid = tgid };

	if (!t)
		return 0;
	if (!t->exit_ns)
		t->exit_ns = bpf_ktime_get_ns();
	who.born = t->born;
	if (!t->held)
		return 0;
	bpf_map_update_elem(&former, &who, t, BPF_ANY);
	return 1;
}

/* The process that runs has made another, which has not run yet and is in its control group already (copy_process():
 * cgroup_post_fork()): children of targets that are followed, and who matches a selector by himself. */
static __always_inline int mir_begun(const struct task_struct *child)
{
	__u32 child_id = child->tgid, parent_id = bpf_get_current_pid_tgid() >> 32;
	struct mir_target *t, new = {};
	struct mir_live *l = mir_live();

	if (!l || !l->active || child_id == parent_id)
		return 0;

	new.held = (__u16)mir_displace(child_id);
	mir_comm_copy(new.comm, child);
	t = mir_running_target(parent_id);
	if (t) {
		new.kept = t->selectors & l->follow;
		if (t->flags & MIR_TARGET_FOLLOW) {
			new.kept |= t->kept & ~l->armed;	/* selected by hand */
			new.flags = t->flags;
		}
		__builtin_memcpy(new.cgroup, t->cgroup, sizeof(new.cgroup));
	}
	new.selectors = new.kept;
	if (l->kinds && mir_has_program(child))
		new.selectors |= mir_matches(child, new.comm, l);
	if (!new.selectors)
		return 0;
	if (new.kept)
		new.parent = parent_id;
	if (!t)
		mir_cgroup_copy(new.cgroup, child);
	new.start_ns = child->start_boottime;
	new.uid = mir_uid(child);
	mir_make_room();
	mir_choose(child_id, &new);
	return 0;
}

/* The last thread of a target has exited: FINs and queued data are still to come, so it stays for the linger time. */
static __always_inline void mir_target_exit(struct mir_target *t, __u32 tgid)
{
	struct mir_exited e = { .exit_ns = bpf_ktime_get_ns(), .tgid = tgid, .born = t->born };

	t->exit_ns = e.exit_ns;
	bpf_map_push_elem(&exited, &e, 0);
}

/* The last thread of a process is gone or going: signal->live is zero. */
static __always_inline int mir_ended(const struct task_struct *task)
{
	__u32 tgid = task->tgid;
	struct mir_live *l = mir_live();
	struct mir_target *t;

	if (!l || !l->active || mir_threads(task))
		return 0;
	t = mir_running_target(tgid);
	if (!t || t->born != mir_born(task->group_leader->start_boottime))
		return 0;
	mir_event(MIR_EVENT_EXITED, tgid, 0, t);
	if ((t->parent || !(t->kept & ~l->armed)) && !t->held)
		bpf_map_delete_elem(&targets, &tgid);	/* what was not given by hand and never had a socket leaves nothing */
	else
		mir_target_exit(t, tgid);
	return 0;
}
