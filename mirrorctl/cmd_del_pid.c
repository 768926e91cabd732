/* SPDX-License-Identifier: GPL-2.0-only */
/* mirrorctl del-pid: stop mirroring processes that were chosen by hand. What a selector has chosen is the selector's. */
#include <bpf/bpf.h>

#include "mctl.h"
#include "up.h"
#include "verb.h"

/* Takes back what add-pid or run did. Returns 0, -ESRCH, or -EBUSY when nothing but selectors have chosen the process;
 * `ret_left` are the selectors that go on mirroring it. */
static int delete_one(const struct mctl_instance *inst, __u32 tgid, __u64 *ret_left)
{
	struct mir_target t;

	if (bpf_map_lookup_elem(inst->map[MCTL_MAP_TARGETS], &tgid, &t))
		return -ESRCH;
	*ret_left = t.selectors & inst->live->armed;
	if (*ret_left == t.selectors)
		return -EBUSY;
	return *ret_left ? mctl_target_sift(inst, tgid, ~inst->live->armed) : mctl_target_delete(inst, tgid);
}

static unsigned int first(__u64 mask)
{
	return (unsigned int)__builtin_ctzll(mask);
}

static int delete_all(const struct mctl_instance *inst)
{
	_cleanup_free_ struct mctl_target *targets = NULL;
	size_t n, i;
	__u64 left;
	int r;

	r = mctl_targets_read(inst, &targets, &n);
	for (i = 0; !r && i < n; i++) {
		r = delete_one(inst, targets[i].tgid, &left);
		if (r == -ESRCH || r == -EBUSY)	/* a child of it came and went; a selector's */
			r = 0;
	}
	return r < 0 ? mctl_fail_with(r, "delete the targets") : MCTL_OK;
}

static int delete_word(const struct mctl_instance *inst, const char *word)
{
	__u64 left = 0;
	uint32_t pid;
	int r;

	mctl_parse_u32(word, 1, UINT32_MAX, &pid);	/* was checked before anything was done */
	r = delete_one(inst, pid, &left);
	if (r == -EBUSY)
		return mctl_fail(MCTL_FAILED, "process %s was chosen by selector %u; 'mirrorctl del-selector %u' removes it",
				 word, first(left), first(left));
	if (r < 0)
		return mctl_fail(mctl_exit_of(r), "process %s is no target; 'mirrorctl list' shows them", word);
	if (left)
		mctl_note("process %s is still mirrored by selector %u", word, first(left));
	return MCTL_OK;
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
		r = delete_word(&inst, args->words[i]);
		if (r != MCTL_OK)
			status = r;
	}
	mctl_targets_purge(&inst);
	return status;
}
