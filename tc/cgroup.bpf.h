/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 1, shared piece: which control groups are selected. A group is looked at once, when it is made, before a process can
 * be in it: it is selected if the one above it is, or by its own path or name. After that a process is judged by the id of
 * its group alone. Groups that were there before are entered by mirrorctl, by the same rules (mirrorctl/cgroup.c).
 */
#pragma once

#include "select.bpf.h"

#define MIR_KINDS_CGROUP_LABEL (MIR_KIND(MIR_LABEL_CGROUP) | MIR_KIND(MIR_LABEL_UNIT) | MIR_KIND(MIR_LABEL_CONTAINER))
#define MIR_SLICES 16		/* slices a unit may lie in */
#define MIR_CONTAINER_ID 64	/* hexadecimal digits */

static __always_inline int mir_is_v2(const struct cgroup *group)
{
	return group->root->hierarchy_id == 0;
}

/* Does `text` of `len` bytes (without its zero) have ".slice" at its end? */
static __always_inline int mir_ends(const char *text, __u32 len, const char *end, __u32 count)
{
	__u32 i;

	if (len < count)
		return 0;
#pragma unroll
	for (i = 0; i < count; i++)
		if (text[(len - count + i) & (MIR_NAME_ROOM - 1)] != end[i])
			return 0;
	return 1;
}

/* Is every group above it a slice? So it is with the units of the system's own manager, and with no others of that name. */
static __noinline int mir_in_slices(struct mir_workplace *w, const struct cgroup *group)
{
	const struct cgroup_subsys_state *at = group->self.parent;
	long n;
	int i;

	for (i = 0; i < MIR_SLICES; i++) {
		if (!at || !at->parent)
			return 1;
		n = bpf_probe_read_kernel_str(w->more, sizeof(w->more), at->cgroup->kn->name);
		if (n < 1 || n > MIR_NAME_ROOM || !mir_ends(w->more, n - 1, ".slice", 6))
			return 0;
		at = at->parent;
	}
	return 0;
}

/* Fills in the id of the container that the group with this name is: docker-ID.scope, libpod-ID, cri-containerd-ID.scope,
 * crio-ID.scope, ID. The monitor that a runtime puts beside it (crio-conmon-ID.scope) is not it. */
static __noinline int mir_container_label(struct mir_workplace *w, const struct cgroup *group)
{
	long n = bpf_probe_read_kernel_str(w->more, sizeof(w->more), group->kn->name);
	__u32 len, at, i;

	if (n < 1 || n > MIR_NAME_ROOM)
		return 0;
	len = n - 1;
	if (mir_ends(w->more, len, ".scope", 6))
		len -= 6;
	if (len < MIR_CONTAINER_ID)
		return 0;
	at = len - MIR_CONTAINER_ID;
	if (at && (!mir_ends(w->more, at, "-", 1) || mir_ends(w->more, at, "conmon-", 7)))
		return 0;
	for (i = 0; i < MIR_CONTAINER_ID; i++)
		w->label.text[i] = w->more[(at + i) & (MIR_NAME_ROOM - 1)];
	return 1;
}

/* Selectors that look for this group itself. `path` is its own, in its hierarchy. */
static __noinline __u64 mir_cgroup_matches(const struct cgroup *group, const char *path, __u32 kinds)
{
	struct mir_workplace *w;
	__u64 mask = 0, found;

	if (!mir_have_text)
		return 0;
	if (kinds & MIR_KIND(MIR_LABEL_CGROUP)) {
		w = mir_workplace(MIR_LABEL_CGROUP);
		if (w && bpf_probe_read_kernel_str(w->label.text, sizeof(w->label.text), path) > 0)
			mask |= mir_label_mask(&w->label);
	}
	if (kinds & MIR_KIND(MIR_LABEL_UNIT)) {
		w = mir_workplace(MIR_LABEL_UNIT);
		if (w && bpf_probe_read_kernel_str(w->label.text, sizeof(w->label.text), group->kn->name) > 0) {
			found = mir_label_mask(&w->label);
			if (found && mir_in_slices(w, group))
				mask |= found;
		}
	}
	if (kinds & MIR_KIND(MIR_LABEL_CONTAINER)) {
		w = mir_workplace(MIR_LABEL_CONTAINER);
		if (w && mir_container_label(w, group))
			mask |= mir_label_mask(&w->label);
	}
	return mask;
}
