/* SPDX-License-Identifier: GPL-2.0-only */
/* mirrorctl down: undo everything; fine when nothing is up. */
#include "mctl.h"
#include "up.h"
#include "verb.h"

int cmd_down(const struct mctl_args *args)
{
	_cleanup_instance_ struct mctl_instance inst;
	int r;

	(void)args;
	r = mctl_instance_init(&inst);
	if (!r)
		r = mctl_instance_lock(&inst);
	if (!r)
		r = mctl_down(&inst);
	return r < 0 ? mctl_fail_with(r, "take the mirror down") : MCTL_OK;
}
