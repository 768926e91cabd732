/* SPDX-License-Identifier: GPL-2.0-only */
/* What becomes of the packets that a selector has chosen: entries of map `policies`. A selector and its policy have one
 * number; number 0 is the instance's own. */
#pragma once

#include "args.h"
#include "instance.h"

/* The policy that the options of a verb describe; what they do not name is as for entry 0. */
void mctl_policy_of_args(const struct mctl_args *args, struct mir_policy *ret_policy);

/* Finds a free number and puts the policy there. -E2BIG: all MIR_SELECTORS_LIMIT are taken. Needs the lock. */
int mctl_policy_add(const struct mctl_instance *inst, const struct mir_policy *policy, __u32 *ret_number);

/* Frees the number. Entry 0 stays. Needs the lock. */
int mctl_policy_del(const struct mctl_instance *inst, __u32 number);
