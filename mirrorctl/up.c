/* SPDX-License-Identifier: GPL-2.0-only */
/* An instance comes, changes and goes: see up.h. */
#include "up.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

#include <net/if.h>

#include <bpf/bpf.h>

#include "attach.h"
#include "host.h"
#include "load.h"
#include "mctl.h"
#include "monitor.h"
#include "monitors.h"
#include "policy.h"
#include "selectors.h"
#include "sources.h"
#include "tap.h"

int mctl_dir_remove(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int r = 0;

	if (!d)
		return errno == ENOENT ? 0 : -errno;
	while ((e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (unlinkat(dirfd(d), e->d_name, 0) && errno != ENOENT)
			r = -errno;
	}
	closedir(d);
	if (!r && rmdir(dir) && errno != ENOENT)
		r = -errno;
	return r < 0 ? mctl_why(r, "cannot remove %s: %s", dir, strerror(-r)) : 0;
}

/* Takes apart what is pinned in `dir` (being built, or renamed away); nothing in the kernel refers to it afterwards. The
 * directory goes last: as long as it is there, somebody knows there is work to do. */
static int dismantle(struct mctl_instance *inst, const char *dir)
{
	__u32 zero = 0;
	int r;

	r = mctl_dir_check(dir);
	if (r == -ENOENT)
		return 0;
	if (!r)
		r = mctl_instance_open_maps(inst, dir);
	if (r < 0)
		return r;
	memset(&inst->config, 0, sizeof(inst->config));
	if (inst->map[MCTL_MAP_CONFIG] >= 0)
		bpf_map_lookup_elem(inst->map[MCTL_MAP_CONFIG], &zero, &inst->config);
	if (inst->map[MCTL_MAP_SOURCES] >= 0)
		mctl_sources_clear(inst, dir);
	if (inst->config.monitor_adopted && !inst->config.tcx)
		mctl_monitor_detach(inst, dir, "mir_monitor", (int)inst->config.copy_ifindex, true);
	r = mctl_monitor_clear(inst, NULL, 0);
	mctl_instance_close_maps(inst);
	return r < 0 ? r : mctl_dir_remove(dir);
}

/* A change that was cut short: sources and devices are whole or gone. */
static int repair(struct mctl_instance *inst)
{
	const struct mir_config *c = &inst->config;
	int keep[MCTL_MONITORS_KEEP + 3] = { (int)c->copy_ifindex, (int)c->relay_ifindex };
	int r;

	if (access(inst->making, F_OK))
		return 0;
	keep[2] = c->monitor_netns ? 0 : (int)c->monitor_ifindex;
	r = mctl_sources_repair(inst);
	if (!r)
		r = mctl_monitor_clear(inst, keep, 3 + mctl_monitors_keep(inst, keep + 3));
	return r < 0 ? r : mctl_dir_remove(inst->making);
}

int mctl_change_begin(struct mctl_instance *inst)
{
	if (mkdir(inst->making, 0700) && errno != EEXIST)
		return mctl_why(-errno, "cannot create %s: %s", inst->making, strerror(errno));
	return 0;
}

int mctl_change_end(struct mctl_instance *inst, int r)
{
	_cleanup_free_ char *why = r < 0 ? strdup(mctl_reason(r)) : NULL;	/* clearing away may have troubles of its own */
	int done;

	done = repair(inst);
	return r < 0 ? mctl_why(r, "%s", why ? why : strerror(-r)) : done;
}

static int settle(struct mctl_instance *inst)
{
	bool up = mctl_instance_is_up(inst);
	int r = 0;

	if (!access(inst->going, F_OK))
		r = dismantle(inst, inst->going);
	if (!r && !up)
		r = dismantle(inst, inst->making);
	if (r < 0 || !up)
		return r;
	r = mctl_instance_open(inst);
	if (r == -ESTALE)
		return mctl_down(inst);
	return r < 0 ? r : repair(inst);
}

int mctl_begin(struct mctl_instance *inst)
{
	int r;

	r = mctl_instance_lock(inst);
	if (!r)
		r = settle(inst);
	if (!r && inst->map[MCTL_MAP_TARGETS] >= 0)
		r = mctl_targets_purge(inst);
	if (!r && inst->map[MCTL_MAP_SELECTORS] >= 0)
		r = mctl_selectors_settle(inst);
	if (!r)
		mctl_taps_settle(inst);		/* a tap in trouble is for `tap` to report */
	return r;
}

int mctl_view(struct mctl_instance *inst)
{
	int r;

	if (!access(inst->making, F_OK) || !access(inst->going, F_OK) || mctl_taps_unsettled(inst)) {
		r = mctl_begin(inst);
		return r < 0 ? r : inst->map[MCTL_MAP_CONFIG] < 0 ? -ENOENT : 0;
	}
	if (!mctl_instance_is_up(inst))
		return -ENOENT;
	r = mctl_instance_open(inst);
	return r == -ESTALE ? -ENOENT : r;
}

static void config_use_monitor(struct mir_config *c, const struct mctl_monitor *m)
{
	snprintf(c->monitor, sizeof(c->monitor), "%s", m->name);
	c->monitor_type = (__u8)m->type;
	c->monitor_adopted = m->adopted;
	c->monitor_ifindex = (__u32)m->ifindex;
	c->copy_ifindex = (__u32)m->copy_ifindex;
	c->monitor_netns = m->netns;
	c->monitor_mtu = MCTL_MONITOR_MTU;
}

static void config_use_settings(struct mir_config *c, const struct mctl_settings *s)
{
	c->snaplen = s->snaplen;
	c->identity = (__u8)s->identity;
	c->linger_ns = s->linger_s * 1000000000ull;
}

static struct mctl_monitor_want want_of(const struct mctl_settings *s)
{
	return (struct mctl_monitor_want){
		.name = s->terms.monitor,
		.type = s->terms.monitor_type,
		.netns = *s->terms.monitor_netns ? s->terms.monitor_netns : NULL,
	};
}

/* A relay is made when the first source without Ethernet header comes, and kept. */
static int make_relay(struct mctl_instance *inst, const char *dir, const char *monitor, __u32 *ret_ifindex)
{
	int ifindex, r;

	r = mctl_relay_make(inst, monitor, &ifindex);
	if (!r)
		r = mctl_monitor_attach(inst, dir, "mir_relay", ifindex, true);
	if (r < 0)
		return mctl_why(r, "cannot make the relay for devices without Ethernet header: %s", mctl_reason(r));
	*ret_ifindex = (__u32)ifindex;
	return 0;
}

/* Another namespace's mirror may go down, and take the empty pin root with it, between our two steps. */
static int make_dir(const struct mctl_instance *inst)
{
	int r;

	do {
		r = mctl_host_pin_root(mctl.pin_root);
		if (r < 0)
			return r;
		r = mkdir(inst->making, 0700) ? -errno : 0;
	} while (r == -ENOENT);
	return r < 0 ? mctl_why(r, "cannot create %s: %s", inst->making, strerror(-r)) : 0;
}

static int create(struct mctl_instance *inst, const struct mctl_settings *s, const struct mctl_links *links,
		  const struct mctl_sources *want)
{
	const struct mctl_monitor_want monitor_want = want_of(s);
	struct mir_config *c = &inst->config;
	struct mctl_monitor monitor;
	int r;

	memset(c, 0, sizeof(*c));
	c->abi = MIR_ABI_VERSION;
	c->netns = inst->netns;
	c->netns_cookie = inst->netns_cookie;
	c->tcx = mctl_host_has_tcx();
	config_use_settings(c, s);
	r = make_dir(inst);
	if (!r)
		r = mctl_load(inst, inst->making);
	if (!r)
		r = mctl_config_write(inst, c);	/* so that a crash from here on can be undone */
	if (!r)
		r = mctl_monitor_build(inst, inst->making, &monitor_want, &monitor);
	if (r < 0)
		return r;
	config_use_monitor(c, &monitor);
	if (want->headerless)
		r = make_relay(inst, inst->making, s->terms.monitor, &c->relay_ifindex);
	if (!r)
		r = mctl_config_write(inst, c);
	if (!r)
		r = mctl_policy_own(inst, &s->terms.policy, s->terms.filter);
	if (!r)
		r = mctl_sources_attach(inst, inst->making, links, want);
	if (!r && rename(inst->making, inst->dir))
		r = -errno;
	return r;
}

/* Is the monitor still there, as far as can be seen from here: by the end that copies enter at? */
static bool monitor_lost(const struct mctl_instance *inst)
{
	const struct mir_config *c = &inst->config;
	char in[MIR_IFNAME_LEN];

	snprintf(in, sizeof(in), c->monitor_netns ? "%.11s-in" : "%s", c->monitor);
	return if_nametoindex(in) != (c->monitor_netns ? c->copy_ifindex : c->monitor_ifindex);
}

/* 1: it is as it is asked to be; 0: not. -errno: that namespace is not there. */
static int monitor_stays(const struct mctl_instance *inst, const struct mctl_settings *s)
{
	const struct mir_config *c = &inst->config;
	__u32 netns = 0;
	int r;

	r = mctl_monitor_netns(inst, *s->terms.monitor_netns ? s->terms.monitor_netns : NULL, &netns);
	if (r < 0)
		return r;
	return !strcmp(c->monitor, s->terms.monitor) && netns == c->monitor_netns && !monitor_lost(inst) &&
	       (s->terms.monitor_type == MIR_MONITOR_AUTO || s->terms.monitor_type == c->monitor_type);
}

/*
 * Another monitor, or the same one made again. The new one stands before the old one goes; only a change of type or namespace
 * under the same name cannot be done that way, and loses what comes in between (counted as no_monitor).
 */
static int change_monitor(struct mctl_instance *inst, const struct mctl_settings *s, const struct mctl_links *links)
{
	const struct mctl_monitor_want want = want_of(s);
	struct mir_config c = inst->config;
	bool lost = monitor_lost(inst);
	struct mctl_monitor monitor;
	int r = -EEXIST;

	if (lost && !want.netns && mctl_links_by_name(links, s->terms.monitor)) {
		r = mctl_monitor_adopt(links, s->terms.monitor, &monitor);
		if (!r)
			r = mctl_monitor_attach(inst, inst->dir, "mir_monitor", monitor.copy_ifindex, true);
		if (!r && monitor.type == MIR_MONITOR_VETH)
			r = mctl_monitor_attach(inst, inst->dir, "mir_discard", monitor.ifindex, false);
	}
	if (r == -EEXIST) {
		if (!lost && !strcmp(c.monitor, s->terms.monitor) && !c.monitor_adopted)
			mctl_link_delete((int)(c.monitor_netns ? c.copy_ifindex : c.monitor_ifindex));
		r = mctl_monitor_build(inst, inst->dir, &want, &monitor);
	}
	if (r < 0)
		return r;
	config_use_monitor(&c, &monitor);
	r = mctl_config_write(inst, &c);
	if (r < 0)
		return r;
	mctl_monitor_detach(inst, inst->dir, "mir_monitor", (int)inst->config.copy_ifindex, true);
	if (inst->config.monitor_netns)
		mctl_monitor_detach_away(inst->dir, (int)inst->config.copy_ifindex);
	else
		mctl_monitor_detach(inst, inst->dir, "mir_discard", (int)inst->config.monitor_ifindex, false);
	inst->config = c;
	return 0;
}

static int change(struct mctl_instance *inst, const struct mctl_settings *s, const struct mctl_sources *want,
		  const struct mctl_links *links)
{
	const struct mir_config was = inst->config;
	struct mir_config c;
	int r, stays;

	stays = monitor_stays(inst, s);
	if (stays < 0)
		return stays;
	r = mctl_change_begin(inst);
	if (!r && !stays)
		r = change_monitor(inst, s, links);
	if (!r)
		r = mctl_monitors_restore(inst);
	c = inst->config;
	config_use_settings(&c, s);
	if (!r && want->headerless && !mctl_links_by_index(links, (int)c.relay_ifindex))
		r = make_relay(inst, inst->dir, s->terms.monitor, &c.relay_ifindex);
	if (!r)
		r = mctl_config_write(inst, &c);
	if (!r && (c.monitor_ifindex != was.monitor_ifindex || c.identity != was.identity))
		r = mctl_announced_clear(inst);
	if (!r)
		inst->config = c;
	if (!r)
		r = mctl_policy_own(inst, &s->terms.policy, s->terms.filter);
	if (!r)
		r = mctl_sources_change(inst, links, want);
	return mctl_change_end(inst, r);
}

int mctl_up(struct mctl_instance *inst, const struct mctl_settings *s)
{
	_cleanup_links_ struct mctl_links links = {};
	_cleanup_(mctl_sources_free) struct mctl_sources want = {};
	int r;

	r = mctl_links_read(&links);
	if (r < 0)
		return mctl_why(r, "cannot read the network devices: %s", strerror(-r));
	r = mctl_sources_choose(&links, s, &want);
	if (!r)
		r = mctl_monitors_free_name(inst, s->terms.monitor);
	if (r < 0)
		return r;
	if (inst->map[MCTL_MAP_CONFIG] >= 0)
		return change(inst, s, &want, &links);
	r = create(inst, s, &links, &want);
	if (!r)
		return 0;
	if (!mctl_instance_is_up(inst)) {
		_cleanup_free_ char *why = strdup(mctl_reason(r));	/* clearing away may have troubles of its own */

		dismantle(inst, inst->making);
		mctl_why(r, "%s", why ? why : strerror(-r));
	}
	return r;
}

int mctl_down(struct mctl_instance *inst)
{
	int r;

	/* A half-built successor first: it has the same devices. */
	r = mctl_instance_is_up(inst) ? mctl_dir_remove(inst->making) : dismantle(inst, inst->making);
	if (!r)
		r = dismantle(inst, inst->going);
	if (r < 0 || !mctl_instance_is_up(inst))
		return r;
	r = mctl_dir_check(inst->dir);
	if (r < 0)
		return r;
	if (rename(inst->dir, inst->going))
		return mctl_why(-errno, "cannot rename %s: %s", inst->dir, strerror(errno));
	return dismantle(inst, inst->going);
}
