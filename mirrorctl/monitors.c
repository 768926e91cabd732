/* SPDX-License-Identifier: GPL-2.0-only */
/* Monitors beside the instance's own: see monitors.h. */
#include "monitors.h"

#include <net/if.h>
#include <string.h>

#include <bpf/bpf.h>

#include "attach.h"
#include "mctl.h"
#include "up.h"

static int read_entry(const struct mctl_instance *inst, __u32 entry, struct mir_monitor *ret_monitor)
{
	return bpf_map_lookup_elem(inst->map[MCTL_MAP_MONITORS], &entry, ret_monitor) ? -errno : 0;
}

/* By the end that copies enter at: the other one may be out of sight. */
static bool is_lost(const struct mir_monitor *m)
{
	char in[MIR_IFNAME_LEN];

	snprintf(in, sizeof(in), m->type == MIR_MONITOR_VETH ? "%.11s-in" : "%s", m->name);
	return if_nametoindex(in) != m->copy_ifindex;
}

static void forget_pins(const struct mctl_instance *inst, const struct mir_monitor *m)
{
	mctl_monitor_detach(inst, inst->dir, "mir_monitor", (int)m->copy_ifindex, true);
	if (m->netns)
		mctl_monitor_detach_away(inst->dir, (int)m->copy_ifindex);
	else if (m->type == MIR_MONITOR_VETH)
		mctl_monitor_detach(inst, inst->dir, "mir_discard", (int)m->ifindex, false);
}

static int make(struct mctl_instance *inst, __u32 entry, const struct mctl_monitor_want *want)
{
	struct mir_monitor m = {}, old = {};
	struct mctl_monitor made;
	int r;

	read_entry(inst, entry, &old);
	r = mctl_monitor_build(inst, inst->dir, want, &made);
	if (r < 0)
		return r;
	snprintf(m.name, sizeof(m.name), "%s", made.name);
	m.ifindex = (__u32)made.ifindex;
	m.copy_ifindex = (__u32)made.copy_ifindex;
	m.netns = made.netns;
	m.type = (__u8)made.type;
	if (bpf_map_update_elem(inst->map[MCTL_MAP_MONITORS], &entry, &m, BPF_ANY))
		return -errno;
	if (!*old.name)
		return 0;
	forget_pins(inst, &old);
	return mctl_announced_clear(inst);
}

/* Is what is there as it is asked to be? */
static int agree(const struct mctl_instance *inst, const struct mir_monitor *m, const struct mctl_monitor_want *want)
{
	uint32_t netns;
	int r;

	if (want->type != MIR_MONITOR_AUTO && want->type != m->type)
		return mctl_why(-EEXIST, "monitor '%s' is a %s already; choose another name", m->name,
				mctl_monitor_type_name(m->type));
	if (!want->netns)
		return 0;
	r = mctl_monitor_netns(inst, want->netns, &netns);
	if (!r && netns != m->netns)
		r = mctl_why(-EEXIST, "monitor '%s' is in another namespace already; choose another name", m->name);
	return r;
}

int mctl_monitors_use(struct mctl_instance *inst, const struct mctl_monitor_want *want, __u32 *ret_entry)
{
	const struct mir_config *c = &inst->config;
	struct mir_monitor m = { .type = c->monitor_type, .netns = c->monitor_netns };
	__u32 entry = 0, free_one = 0;
	int r;

	if (!strcmp(c->monitor, want->name)) {
		snprintf(m.name, sizeof(m.name), "%s", c->monitor);
		*ret_entry = 0;
		return agree(inst, &m, want);
	}
	for (__u32 i = MIR_MONITORS_LIMIT - 1; i; i--) {
		r = read_entry(inst, i, &m);
		if (r < 0)
			return r;
		if (!*m.name)
			free_one = i;
		else if (!strcmp(m.name, want->name))
			entry = i;
	}
	if (!entry && !free_one)
		return mctl_why(-E2BIG, "there are %d monitors already, the most there can be", MIR_MONITORS_LIMIT);
	*ret_entry = entry ? entry : free_one;
	if (entry) {
		r = read_entry(inst, entry, &m);
		if (!r && !is_lost(&m))
			return agree(inst, &m, want);
	}
	r = mctl_change_begin(inst);
	if (!r)
		r = mctl_change_end(inst, make(inst, *ret_entry, want));
	if (!r && !entry)
		inst->made = free_one;
	return r;
}

/* Its devices go because no entry names them any more. */
void mctl_monitors_undo(struct mctl_instance *inst)
{
	const struct mir_monitor none = {};
	struct mir_monitor m;

	if (!inst->made || read_entry(inst, inst->made, &m) || mctl_change_begin(inst))
		return;
	bpf_map_update_elem(inst->map[MCTL_MAP_MONITORS], &inst->made, &none, BPF_ANY);
	forget_pins(inst, &m);
	mctl_change_end(inst, 0);
	inst->made = 0;
}

int mctl_monitors_restore(struct mctl_instance *inst)
{
	struct mir_monitor m;
	int r = 0;

	for (__u32 i = 1; !r && i < MIR_MONITORS_LIMIT; i++) {
		struct mctl_monitor_want want = { .name = m.name };

		r = read_entry(inst, i, &m);
		if (r < 0 || !*m.name || m.netns || !is_lost(&m))
			continue;
		want.type = m.type;
		r = make(inst, i, &want);
	}
	return r;
}

size_t mctl_monitors_read(const struct mctl_instance *inst, struct mir_monitor monitors[MIR_MONITORS_LIMIT])
{
	const struct mir_config *c = &inst->config;
	size_t n = 1;

	monitors[0] = (struct mir_monitor){
		.ifindex = c->monitor_ifindex,
		.copy_ifindex = c->copy_ifindex,
		.netns = c->monitor_netns,
		.type = c->monitor_type,
	};
	memcpy(monitors[0].name, c->monitor, sizeof(monitors[0].name));
	for (__u32 i = 1; i < MIR_MONITORS_LIMIT; i++)
		if (!read_entry(inst, i, &monitors[n]) && *monitors[n].name)
			n++;
	return n;
}

size_t mctl_monitors_keep(const struct mctl_instance *inst, int *keep)
{
	struct mir_monitor m;
	size_t n = 0;

	for (__u32 i = 1; i < MIR_MONITORS_LIMIT; i++) {
		if (read_entry(inst, i, &m) || !*m.name)
			continue;
		keep[n++] = (int)m.copy_ifindex;
		if (!m.netns)
			keep[n++] = (int)m.ifindex;
	}
	return n;
}

int mctl_monitors_free_name(const struct mctl_instance *inst, const char *name)
{
	struct mir_monitor m;

	for (__u32 i = 1; inst->map[MCTL_MAP_MONITORS] >= 0 && i < MIR_MONITORS_LIMIT; i++)
		if (!read_entry(inst, i, &m) && !strcmp(m.name, name))
			return mctl_why(-EINVAL, "'%s' is a monitor of selections already; choose another name with "
					"--monitor", name);
	return 0;
}
