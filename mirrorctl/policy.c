/* SPDX-License-Identifier: GPL-2.0-only */
/* Entries of map `policies`: see policy.h. */
#include "policy.h"

#include <bpf/bpf.h>

#include "mctl.h"

void mctl_policy_of_args(const struct mctl_args *args, struct mir_policy *ret_policy)
{
	(void)args;
	*ret_policy = (struct mir_policy){ .used = 1 };
}

int mctl_policy_add(const struct mctl_instance *inst, const struct mir_policy *policy, __u32 *ret_number)
{
	int fd = inst->map[MCTL_MAP_POLICIES];
	struct mir_policy old;

	for (__u32 i = 1; i < MIR_SELECTORS_LIMIT; i++) {
		if (bpf_map_lookup_elem(fd, &i, &old))
			return -errno;
		if (old.used)
			continue;
		*ret_number = i;
		return bpf_map_update_elem(fd, &i, policy, BPF_ANY) ? -errno : 0;
	}
	return mctl_why(-E2BIG, "there are %d selectors already, the most there can be", MIR_SELECTORS_LIMIT - 1);
}

int mctl_policy_del(const struct mctl_instance *inst, __u32 number)
{
	struct mir_policy none = {};

	return number && bpf_map_update_elem(inst->map[MCTL_MAP_POLICIES], &number, &none, BPF_ANY) ? -errno : 0;
}
