/* SPDX-License-Identifier: GPL-2.0-only */
/* What a selector's text means to programs: facts and labels they compare (maps `traits` and `labels`), and the control groups
 * it selects. */
#pragma once

#include "instance.h"
#include "selectors.h"

/* What a selector looks for. */
struct mctl_traits {
	__u32 kinds;		/* bits of enum mir_trait_kind that programs must look at */
	bool has_trait, has_label;
	struct mir_trait trait;
	struct mir_label label;
};

/* Bits of enum mir_trait_kind that a selector needs. */
__u32 mctl_trait_kinds(__u32 kind, const char *text);

/* Finds out what a selector means on this host. -ESRCH: what it names is not there (`wanted->wait` allows that where it may
 * come later). -EINVAL: it cannot be selected that way. Needs the lock. */
int mctl_traits_find(const struct mctl_instance *inst, const struct mctl_wanted *wanted, struct mctl_traits *ret_traits);

/* Makes programs look for it, for the selectors of `mask`. Control groups that are there are entered with all below them;
 * -ESRCH: there is none and the selector does not wait. */
int mctl_traits_enter(const struct mctl_instance *inst, const struct mctl_wanted *wanted, const struct mctl_traits *traits,
		      __u64 mask);

/* Makes programs look for nothing any more for the selectors of `mask`. */
int mctl_traits_remove(const struct mctl_instance *inst, __u64 mask);
