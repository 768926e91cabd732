/* SPDX-License-Identifier: GPL-2.0-only */
/* What several verbs do alike: see verb.h. */
#include "verb.h"

#include <string.h>

#include "mctl.h"
#include "policy.h"
#include "up.h"

enum mctl_exit mctl_exit_of(int err)
{
	switch (err) {
	case -ESRCH:
	case -ENODEV:
		return MCTL_NOT_FOUND;
	case -EPERM:
	case -EACCES:
		return MCTL_NOT_PERMITTED;
	case -EOPNOTSUPP:	/* the same number as ENOTSUP */
		return MCTL_UNSUPPORTED;
	default:
		return MCTL_FAILED;
	}
}

int mctl_fail_with(int err, const char *what)
{
	return mctl_fail(mctl_exit_of(err), "cannot %s: %s", what, mctl_reason(err));
}

int mctl_verb_begin(struct mctl_instance *inst)
{
	int r;

	r = mctl_instance_init(inst);
	if (!r)
		r = mctl_begin(inst);
	return r < 0 ? mctl_fail_with(r, "open the mirror") : MCTL_OK;
}

int mctl_verb_settings(const struct mctl_args *args, struct mctl_settings *ret_settings)
{
	int status;

	mctl_settings_init(ret_settings);
	status = mctl_settings_read(ret_settings, args->given & MCTL_OPT(MCTL_OPT_CONFIG) ? args->config : NULL);
	if (status == MCTL_OK)
		status = mctl_settings_override(ret_settings, args);
	return status;
}

int mctl_verb_begin_up(struct mctl_instance *inst, bool *ret_brought)
{
	_cleanup_free_ struct mctl_settings *s = NULL;
	const struct mctl_args none = {};
	int status, r;

	*ret_brought = false;
	status = mctl_verb_begin(inst);
	if (status != MCTL_OK || inst->map[MCTL_MAP_CONFIG] >= 0)
		return status;
	s = malloc(sizeof(*s));
	if (!s)
		return mctl_fail_with(-ENOMEM, "bring the mirror up");
	status = mctl_verb_settings(&none, s);
	if (status != MCTL_OK)
		return status;
	r = mctl_up(inst, s);
	if (!r)
		r = mctl_instance_open(inst);
	if (r < 0)
		return mctl_fail_with(r, "bring the mirror up");
	*ret_brought = true;
	return MCTL_OK;
}

int mctl_verb_end_up(struct mctl_instance *inst, bool brought, bool needed, int status)
{
	if (brought && needed)
		mctl_note("mirror is up: capture on '%s'", inst->config.monitor);
	else if (brought)
		mctl_down(inst);
	return status;
}

static void say_failed(const struct mctl_wanted *wanted, int err)
{
	mctl_fail(mctl_exit_of(err), "cannot select %s '%s': %s", mctl_selector_kinds[wanted->kind], wanted->text,
		  mctl_reason(err));
}

int mctl_verb_selectors(struct mctl_instance *inst, const struct mctl_settings *s)
{
	const int r = mctl_selectors_reconcile(inst, s->selectors, (size_t)s->nselectors, say_failed);

	return r == -ESRCH ? MCTL_NOT_FOUND : r < 0 ? mctl_fail_with(r, "arm the selectors of the configuration file") : MCTL_OK;
}

__u32 mctl_verb_flags(const struct mctl_args *args)
{
	__u32 flags = 0;

	if (args->given & MCTL_OPT(MCTL_OPT_FOLLOW))
		flags |= MIR_TARGET_FOLLOW;
	if (args->given & MCTL_OPT(MCTL_OPT_SHARED))
		flags |= MIR_TARGET_SHARED;
	return flags;
}

int mctl_verb_policy(struct mctl_instance *inst, const struct mctl_args *args, __u32 *ret_number)
{
	int r;

	*ret_number = 0;
	if (!(args->given & mctl_policy_options))
		return MCTL_OK;
	r = mctl_policy_make(inst, args, MIR_POLICY_PASSING, ret_number);
	if (r == -EINVAL)
		return mctl_fail(MCTL_USAGE, "cannot give the selection options of its own: %s", mctl_reason(r));
	return r < 0 ? mctl_fail_with(r, "give the selection options of its own") : MCTL_OK;
}
