/* SPDX-License-Identifier: GPL-2.0-only */
/* What becomes of the packets that a selector has chosen: entries of map `policies`. A selector and its policy have one
 * number; number 0 is the instance's own. */
#pragma once

#include <limits.h>

#include "args.h"
#include "filter.h"
#include "instance.h"

/* What is to become of packets, as the configuration file asks for it. Zero or "": not named. */
struct mctl_terms {
	struct mir_policy policy;	/* its limits */
	uint32_t monitor_type;		/* enum mir_monitor_type */
	uint32_t filtered;		/* 1: a filter is named; "" is then none, also where the instance has one */
	char filter[MCTL_FILTER_LEN];
	char monitor[MIR_IFNAME_LEN];
	char monitor_netns[PATH_MAX];	/* as --netns takes it; "": the instance's */
};

/* The same as options of a verb, which point into `terms`. */
void mctl_terms_as_args(const struct mctl_terms *terms, struct mctl_args *ret_args);

/* Options of a verb that describe a policy: with one of them a selection has a number of its own. */
extern const uint64_t mctl_policy_options;

/* The policy that the options of a verb describe. What they do not name is zero. */
void mctl_policy_of_args(const struct mctl_args *args, struct mir_policy *ret_policy);

/* What `policy` does not name becomes as it is in `other`. */
void mctl_policy_fill(struct mir_policy *policy, const struct mir_policy *other);

/* Does it keep packets back by anything but a filter? */
bool mctl_policy_limits(const struct mir_policy *p);

/* All that a verb's options ask for: makes the monitor if there is none, and adds the policy. `used`: MIR_POLICY_PASSING for what
 * goes with its last target. -EINVAL: they do not fit together. Else as mctl_monitors_use() and mctl_policy_add(). */
int mctl_policy_make(struct mctl_instance *inst, const struct mctl_args *args, __u32 used, __u32 *ret_number);

/* Takes back what mctl_policy_make() has done just now: nothing came of what it was for. */
void mctl_policy_undo(struct mctl_instance *inst, __u32 number);

/* Finds a free number and puts the policy there; what it does not name is as for entry 0 at this moment. -E2BIG: all
 * MIR_SELECTORS_LIMIT are taken. `filter`: the expression of --filter, "": none, NULL: as for entry 0. Needs the lock. */
int mctl_policy_add(struct mctl_instance *inst, const struct mir_policy *policy, const char *filter, __u32 *ret_number);

/* Frees the number. Entry 0 stays. Needs the lock. */
int mctl_policy_del(struct mctl_instance *inst, __u32 number);

/* Entry 0 becomes what the instance is asked for; `filter` "": without a filter. What is so already goes on: a count is not
 * begun anew, nor by another filter alone. */
int mctl_policy_own(struct mctl_instance *inst, const struct mir_policy *policy, const char *filter);

/* What a selection by hand under this number takes the place of: the numbers of commands (entry 0 included, selectors not)
 * whose copies go to the same monitor. Bits. */
__u64 mctl_policies_rivals(const struct mctl_instance *inst, __u32 number);

/* Are the monitor and the filter that `args` names, if it does, those of this policy? */
bool mctl_policy_names(const struct mctl_instance *inst, __u32 number, const struct mctl_args *args);

/* Gives up the numbers of commands that no target bears any more; inst->borne says which are borne. Needs the lock. */
int mctl_policies_sweep(struct mctl_instance *inst);
