/* SPDX-License-Identifier: GPL-2.0-only */
/* Monitors beside the instance's own: entries of map `monitors`. Made when a selection names one, kept until `down`. */
#pragma once

#include "instance.h"
#include "monitor.h"

#define MCTL_MONITORS_KEEP (2 * MIR_MONITORS_LIMIT)

/* The entry of the monitor of this name: 0 for the instance's own, else one of map `monitors`, made if it is not there or lost.
 * -EEXIST: the name is somebody else's, or the monitor there is of another kind or elsewhere. -E2BIG: there are as many as can
 * be. Needs the lock. */
int mctl_monitors_use(struct mctl_instance *inst, const struct mctl_monitor_want *want, __u32 *ret_entry);

/* Takes the monitor away that mctl_monitors_use() has made just now, if it has: what it was for has come to nothing. */
void mctl_monitors_undo(struct mctl_instance *inst);

/* Makes those again that were lost, as far as they are in this namespace. Called within mctl_change_begin(). */
int mctl_monitors_restore(struct mctl_instance *inst);

/* All entries, the instance's own first. Returns how many. */
size_t mctl_monitors_read(const struct mctl_instance *inst, struct mir_monitor monitors[MIR_MONITORS_LIMIT]);

/* The devices of map `monitors` in this namespace, for mctl_monitor_clear(): at most MCTL_MONITORS_KEEP. Returns how many. */
size_t mctl_monitors_keep(const struct mctl_instance *inst, int *keep);

/* -EINVAL: a monitor beside the instance's own has this name. */
int mctl_monitors_free_name(const struct mctl_instance *inst, const char *name);
