/* SPDX-License-Identifier: GPL-2.0-only */
/* mirrorctl del-pid: stop mirroring processes. */
#include "mctl.h"
#include "up.h"
#include "verb.h"

static int delete_all(const struct mctl_instance *inst)
{
	_cleanup_free_ struct mctl_target *targets = NULL;
	size_t n, i;
	int r;

	r = mctl_targets_read(inst, &targets, &n);
	for (i = 0; !r && i < n; i++) {
		r = mctl_target_delete(inst, targets[i].tgid);
		if (r == -ESRCH)	/* a child of it came and went */
			r = 0;
	}
	return r < 0 ? mctl_fail_with(r, "delete the targets") : MCTL_OK;
}

int cmd_del_pid(const struct mctl_args *args)
{
	bool all = args->given & MCTL_OPT(MCTL_OPT_ALL);
	_cleanup_instance_ struct mctl_instance inst;
	int status, r;
	uint32_t pid;

	for (int i = 0; i < args->nwords; i++)
		if (mctl_parse_u32(args->words[i], 1, UINT32_MAX, &pid))
			return mctl_fail(MCTL_USAGE, "'%s' is not a process id; 'mirrorctl list' shows the targets",
					 args->words[i]);
	status = mctl_verb_begin(&inst);
	if (status != MCTL_OK)
		return status;
	if (inst.map[MCTL_MAP_CONFIG] < 0)
		return all ? MCTL_OK : mctl_fail(MCTL_NOT_FOUND, "process %s is no target: the mirror is down",
						 args->words[0]);
	if (all)
		status = delete_all(&inst);
	for (int i = 0; i < args->nwords; i++) {
		mctl_parse_u32(args->words[i], 1, UINT32_MAX, &pid);
		r = mctl_target_delete(&inst, pid);
		if (r < 0)
			status = mctl_fail(mctl_exit_of(r), "process %s is no target; 'mirrorctl list' shows them",
					   args->words[i]);
	}
	mctl_targets_purge(&inst);
	return status;
}
