/* SPDX-License-Identifier: GPL-2.0-only */
/* mirrorctl add-pid: make processes targets. All valid ones are added, the bad ones named. */
#include "mctl.h"
#include "verb.h"

/* One process. Reports what is wrong with it. */
static int add(const struct mctl_instance *inst, const char *word, __u32 flags)
{
	_cleanup_(mctl_process_close) struct mctl_process p = { .pidfd = -1 };
	uint32_t pid;
	int r;

	mctl_parse_u32(word, 1, INT32_MAX, &pid);		/* was checked before anything was done */
	r = mctl_process_open(inst, (pid_t)pid, &p);
	if (!r)
		r = mctl_target_add(inst, &p, flags, 0);
	if (r < 0)
		return mctl_fail(mctl_exit_of(r), "cannot add process %s: %s", word, mctl_reason(r));
	if (p.pid != p.given)
		mctl_note("%d is a thread of process %d, which is mirrored whole", p.given, p.pid);
	return MCTL_OK;
}

int cmd_add_pid(const struct mctl_args *args)
{
	_cleanup_instance_ struct mctl_instance inst;
	int status, each, added = 0;
	uint32_t pid;
	bool brought;

	for (int i = 0; i < args->nwords; i++)
		if (mctl_parse_u32(args->words[i], 1, INT32_MAX, &pid))
			return mctl_fail(MCTL_USAGE, "'%s' is not a process id; give a number as 'ps' shows it",
					 args->words[i]);
	status = mctl_verb_begin_up(&inst, &brought);
	if (status != MCTL_OK)
		return status;
	for (int i = 0; i < args->nwords; i++) {
		each = add(&inst, args->words[i], mctl_verb_flags(args));
		if (each == MCTL_OK)
			added++;
		else if (status != MCTL_NOT_FOUND)
			status = each;
	}
	return mctl_verb_end_up(&inst, brought, added, status);
}
