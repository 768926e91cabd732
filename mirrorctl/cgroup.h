/* SPDX-License-Identifier: GPL-2.0-only */
/* Control groups of version 2 as selectors name them: by path, by unit, by container. The rules for those that are there; the
 * same rules for those that are made later are in tc/cgroup.bpf.h. */
#pragma once

#include "traits.h"

/* Fills in what programs compare for a selector of kind cgroup, unit or container. -ESRCH, -EINVAL as mctl_traits_find(). */
int mctl_cgroup_label(const struct mctl_wanted *wanted, struct mir_label *ret_label);

/* Enters the groups that are there and match, with all below them, into map `traits` for the selectors of `mask`. */
int mctl_cgroups_enter(const struct mctl_instance *inst, const struct mir_label *label, __u64 mask, size_t *ret_found);

/* Is `text` right for this kind of selector by its form alone? NULL: yes; else what would be. */
const char *mctl_cgroup_right(__u32 kind, const char *text);

/* The path of a group in its hierarchy, as programs see it: the mount point `root` cut off, one slash before each name.
 * -EINVAL: it is none, or too long: programs cut longer ones to MIR_LABEL_LEN - 1 bytes, which must not be taken for one. */
int mctl_cgroup_path(const char *text, const char *root, char ret_path[MIR_LABEL_LEN]);

/* The name that systemd gives the group of a unit. For the unit tests. */
void mctl_cgroup_of_unit(const char *unit, char ret_name[MIR_LABEL_LEN]);

/* The id of the container whose group has this name, 64 digits; NULL: it is no container's. Not zero terminated. */
const char *mctl_cgroup_container(const char *name);

/* Calls `each` with the id of every container that has a control group; some may come twice. */
int mctl_cgroup_containers(void (*each)(const char *id, void *data), void *data);
