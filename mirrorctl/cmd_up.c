/* SPDX-License-Identifier: GPL-2.0-only */
/* mirrorctl up: create the monitor, load, attach; or change what is up. */
#include "mctl.h"
#include "up.h"
#include "verb.h"

int cmd_up(const struct mctl_args *args)
{
	_cleanup_free_ struct mctl_settings *s = malloc(sizeof(*s));
	_cleanup_instance_ struct mctl_instance inst;
	int status, r;

	if (!s || mctl_instance_init(&inst))
		return mctl_fail(MCTL_FAILED, "cannot start: %s", mctl_reason(-ENOMEM));
	status = mctl_verb_settings(args, s);
	if (status != MCTL_OK)
		return status;
	status = mctl_verb_begin(&inst);
	if (status != MCTL_OK)
		return status;
	r = mctl_up(&inst, s);
	if (r == -EINVAL)
		return mctl_fail(MCTL_USAGE, "cannot bring the mirror up: %s", mctl_reason(r));
	return r < 0 ? mctl_fail_with(r, "bring the mirror up") : mctl_verb_selectors(&inst, s);
}
