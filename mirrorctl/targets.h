/* SPDX-License-Identifier: GPL-2.0-only */
/* Processes become targets and cease to be; what sockets they hold is made their own at that moment. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "instance.h"
#include "proc.h"

/*
 * Makes `p` a target by hand, under a number that is no selector's (0: without options of its own), with MIR_TARGET_FOLLOW and
 * _SHARED as in `flags`, and every socket it holds its own. Already one: its flags are changed, its counters go on, and the
 * policy takes the place of those that other commands gave it for the same monitor. When this returns 0 no later packet of the
 * process is missed. -ESRCH: it exited meanwhile, and is no target. -E2BIG: no room. Needs the lock.
 */
int mctl_target_add(const struct mctl_instance *inst, const struct mctl_process *p, __u32 flags, __u32 number);

/* The same for a process that the selectors `mask` have found: it is theirs as long as they match it. */
int mctl_target_choose(const struct mctl_instance *inst, const struct mctl_process *p, __u64 mask);

/* Takes the bits `forget` (of selectors, or given by hand) from one target, or from all that have them. What its counters have
 * is added to theirs. Targets without any selector left are to be deleted. Needs the lock. */
int mctl_target_sift(const struct mctl_instance *inst, __u32 tgid, __u64 forget);
int mctl_targets_sift(const struct mctl_instance *inst, __u64 forget);

/* Forgets what the selectors `forget` have counted. Needs the lock. */
int mctl_credits_fold(const struct mctl_instance *inst, __u64 forget);

/* Stops mirroring the process. -ESRCH: it is no target. */
int mctl_target_delete(const struct mctl_instance *inst, __u32 tgid);

/* Puts an event among those that `mirrorctl events` shows: MIR_EVENT_ADDED or _GONE. What cannot be told is not missed. */
void mctl_target_tell(const struct mctl_instance *inst, __u32 kind, __u32 tgid, const char *comm);

/* A target as `list` shows it. */
struct mctl_target {
	__u32 tgid;
	struct mir_target t;
	size_t sockets;		/* it owns right now, as far as enum mir_tier_count goes */
};

/* All targets whose linger time is not over, by process id. The array is the caller's to free. */
int mctl_targets_read(const struct mctl_instance *inst, struct mctl_target **ret_targets, size_t *ret_n);
