/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An instance comes, changes and goes. The order is: build under a name of its own, rename, and the mirror is up; rename
 * away, take apart, and it is down. mctl_settle() clears away what a killed mirrorctl left of either.
 */
#pragma once

#include "instance.h"
#include "settings.h"

/* Opens the lock (mctl_instance_lock), clears leftovers away, forgets targets that are over and opens the instance if
 * there is one. A stale one (its namespace is gone) is removed. Returns 0 also when nothing is up. Every verb that
 * changes something begins with it; one that only reads uses mctl_view(). */
int mctl_begin(struct mctl_instance *inst);

/* For verbs that only read: opens the instance without the lock, unless leftovers must be cleared away first. -ENOENT:
 * not up. */
int mctl_view(struct mctl_instance *inst);

/* Makes the instance what `s` asks for: creates it, or changes the one that is up without a gap for what stays. Needs
 * mctl_begin(). */
int mctl_up(struct mctl_instance *inst, const struct mctl_settings *s);

/* Around work that makes devices or attaches programs in an instance that is up: what is cut short between the two is cleared
 * away by whoever comes next. mctl_change_end() does so itself and hands `r` on, or its own failure. */
int mctl_change_begin(struct mctl_instance *inst);
int mctl_change_end(struct mctl_instance *inst, int r);

/* Takes the instance down, whatever is left of it. Needs the lock only. Fine when nothing is up. */
int mctl_down(struct mctl_instance *inst);

/* Removes a directory of pins. Fine when there is none. */
int mctl_dir_remove(const char *dir);
