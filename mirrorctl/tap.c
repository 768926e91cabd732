/* SPDX-License-Identifier: GPL-2.0-only */
/* Inline taps: state, and the way back. See tap.h; making one is in tap_make.c. */
#include "tap.h"

#include <dirent.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "attach.h"
#include "mctl.h"
#include "monitor.h"
#include "nl_port.h"
#include "port.h"
#include "up.h"

const char *const mctl_tap_map_names[MCTL_TAP_MAP_MAX] = {
	[MCTL_TAP_WIRE] = "tap_wire",
	[MCTL_TAP_STATE] = "tap_state",
	[MCTL_TAP_LIVE] = "tap_live",
	[MCTL_TAP_SELECT] = "tap_select",
	[MCTL_TAP_STATS] = "tap_stats",
	[MCTL_TAP_NOW] = "tap_now",
};

bool mctl_tap_valid_name(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";

	return *name && *name != '-' && strlen(name) < MIR_TAP_NAME_LEN && !name[strspn(name, allowed)];
}

/* DIR/PREFIX-NETNS-NAME */
static void tap_dir(char *buf, const char *prefix, uint32_t netns, const char *name)
{
	snprintf(buf, MCTL_DIR_LEN, "%.440s/%s-%u-%s", mctl.pin_root, prefix, netns, name);
}

void mctl_tap_init(struct mctl_tap *tap, const struct mctl_instance *inst, const char *name)
{
	memset(tap, 0, sizeof(*tap));
	for (int i = 0; i < MCTL_TAP_MAP_MAX; i++)
		tap->map[i] = -1;
	snprintf(tap->name, sizeof(tap->name), "%s", name);
	tap_dir(tap->dir, "tap", inst->netns, name);
	tap_dir(tap->making, "making-tap", inst->netns, name);
	tap_dir(tap->going, "going-tap", inst->netns, name);
	tap->as.netns = inst->netns;
	tap->as.netns_cookie = inst->netns_cookie;
	tap->as.lock = -1;
	snprintf(tap->as.dir, sizeof(tap->as.dir), "%s", tap->dir);	/* its devices are known by it */
	for (int i = 0; i < MCTL_MAP_MAX; i++)
		tap->as.map[i] = -1;
}

void mctl_tap_close(struct mctl_tap *tap)
{
	for (int i = 0; i < MCTL_TAP_MAP_MAX; i++) {
		mctl_closep(&tap->map[i]);
		tap->map[i] = -1;
	}
}

static int open_maps(struct mctl_tap *tap, const char *dir)
{
	static const __u32 sizes[MCTL_TAP_MAP_MAX] = {
		[MCTL_TAP_WIRE] = sizeof(struct bpf_devmap_val),
		[MCTL_TAP_STATE] = sizeof(struct mir_tap_state),
		[MCTL_TAP_LIVE] = sizeof(struct mir_tap_live),
		[MCTL_TAP_SELECT] = sizeof(struct mir_tap_select),
		[MCTL_TAP_STATS] = sizeof(struct mir_tap_stats),
		[MCTL_TAP_NOW] = sizeof(struct mir_tap_now),
	};
	bool fits = true;

	mctl_tap_close(tap);
	for (int i = 0; i < MCTL_TAP_MAP_MAX; i++) {
		struct bpf_map_info info = {};
		__u32 len = sizeof(info);

		tap->map[i] = mctl_pin_open(dir, mctl_tap_map_names[i]);
		if (tap->map[i] < 0)
			return tap->map[i];
		fits &= !bpf_obj_get_info_by_fd(tap->map[i], &info, &len) && info.value_size == sizes[i];
	}
	return fits ? 0 : -EPROTO;
}

int mctl_tap_open(struct mctl_tap *tap, const char *dir)
{
	__u32 zero = 0;
	int r;

	if (access(dir, F_OK))
		return -ENOENT;
	r = open_maps(tap, dir);
	if (r == -ENOENT)
		r = -EPROTO;
	if (!r && bpf_map_lookup_elem(tap->map[MCTL_TAP_STATE], &zero, &tap->state))
		r = -errno;
	if (!r && tap->state.abi != MIR_TAP_ABI)
		r = -EPROTO;
	if (r == -EPROTO)
		return mctl_why(r, "%s was made by another version of mirrorctl or is damaged; delete the tap with "
				"'mirrorctl tap del %s'", dir, tap->name);
	tap->as.config.tcx = tap->state.tcx;
	return r;
}

int mctl_tap_state_write(const struct mctl_tap *tap)
{
	__u32 zero = 0;

	return bpf_map_update_elem(tap->map[MCTL_TAP_STATE], &zero, &tap->state, BPF_ANY) ? -errno : 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* Names behind PREFIX-NETNS- in the pin root. */
static size_t list(uint32_t netns, const char *prefix, char names[MCTL_TAPS_MAX][MIR_TAP_NAME_LEN])
{
	DIR *d = opendir(mctl.pin_root);
	const struct dirent *e;
	char start[64];
	size_t n = 0;
	int len;

	len = snprintf(start, sizeof(start), "%s-%u-", prefix, netns);
	while (d && n < MCTL_TAPS_MAX && (e = readdir(d)))
		if (!strncmp(e->d_name, start, (size_t)len) && mctl_tap_valid_name(e->d_name + len))
			snprintf(names[n++], MIR_TAP_NAME_LEN, "%.*s", MIR_TAP_NAME_LEN - 1, e->d_name + len);
	if (d)
		closedir(d);
	qsort(names, n, sizeof(names[0]), by_name);
	return n;
}

size_t mctl_taps_list(const struct mctl_instance *inst, char ret_names[MCTL_TAPS_MAX][MIR_TAP_NAME_LEN])
{
	return list(inst->netns, "tap", ret_names);
}

static void undo_port(const struct mctl_tap *tap, const char *dir, const struct mir_tap_port *port)
{
	if (!port->ifindex)
		return;
	mctl_tap_detach(tap, (int)port->ifindex);
	if (tap->state.mode == MIR_TAP_GENERIC)
		mctl_monitor_detach(&tap->as, dir, "mir_tap_long", (int)port->ifindex, false);
	mctl_port_change(port, false);
}

/* A state that was never written says that nothing was done but load; one of a namespace that is gone, that nothing is
 * left to undo. */
int mctl_tap_undo(struct mctl_tap *tap, const char *dir)
{
	const struct mir_tap_state *s = &tap->state;
	__u32 zero = 0;
	int r;

	if (access(dir, F_OK))
		return 0;
	memset(&tap->state, 0, sizeof(tap->state));
	open_maps(tap, dir);
	if (tap->map[MCTL_TAP_STATE] >= 0)
		bpf_map_lookup_elem(tap->map[MCTL_TAP_STATE], &zero, &tap->state);
	if (s->abi == MIR_TAP_ABI && s->netns_cookie == tap->as.netns_cookie) {
		tap->as.config.tcx = s->tcx;
		for (int i = 0; i < 2; i++)
			undo_port(tap, dir, &s->port[i]);
		for (int i = 0; i < MIR_TAP_ADDRESSES && s->address[i].ifindex; i++)
			mctl_port_address_add(&s->address[i]);
	}
	r = mctl_monitor_clear(&tap->as, NULL, 0);
	mctl_tap_close(tap);
	return r < 0 ? r : mctl_dir_remove(dir);
}

static const char *const halves[] = { "making-tap", "going-tap" };

bool mctl_taps_unsettled(const struct mctl_instance *inst)
{
	char names[MCTL_TAPS_MAX][MIR_TAP_NAME_LEN];

	return list(inst->netns, halves[0], names) || list(inst->netns, halves[1], names);
}

int mctl_taps_settle(const struct mctl_instance *inst)
{
	char names[MCTL_TAPS_MAX][MIR_TAP_NAME_LEN];
	int r = 0;

	for (size_t half = 0; half < ARRAY_SIZE(halves); half++) {
		size_t n = list(inst->netns, halves[half], names);

		for (size_t i = 0; !r && i < n; i++) {
			struct mctl_tap tap;

			mctl_tap_init(&tap, inst, names[i]);
			r = mctl_tap_undo(&tap, half ? tap.going : tap.making);
		}
	}
	return r;
}

int mctl_taps_begin(struct mctl_instance *inst)
{
	int r;

	r = mctl_instance_init(inst);
	if (!r)
		r = mctl_begin(inst);
	return r < 0 ? r : mctl_taps_settle(inst);
}

int mctl_tap_delete(struct mctl_instance *inst, const char *name)
{
	struct mctl_tap tap;

	mctl_tap_init(&tap, inst, name);
	if (access(tap.dir, F_OK))
		return mctl_why(-ENODEV, "there is no tap '%s'; 'mirrorctl tap list' names those there are", name);
	if (rename(tap.dir, tap.going))
		return mctl_why(-errno, "cannot rename %s: %s", tap.dir, strerror(errno));
	return mctl_tap_undo(&tap, tap.going);
}

int mctl_tap_select_read(const struct mctl_tap *tap, struct mir_tap_select *ret_select)
{
	struct mir_tap_live live;
	__u32 key = 0;

	if (bpf_map_lookup_elem(tap->map[MCTL_TAP_LIVE], &key, &live))
		return -errno;
	key = live.slot & 1;
	return bpf_map_lookup_elem(tap->map[MCTL_TAP_SELECT], &key, ret_select) ? -errno : 0;
}

/* Into the entry that no program reads; then that one is the one in force. */
int mctl_tap_select_write(const struct mctl_tap *tap, const struct mir_tap_select *select)
{
	struct mir_tap_live live;
	__u32 zero = 0, spare;

	if (bpf_map_lookup_elem(tap->map[MCTL_TAP_LIVE], &zero, &live))
		return -errno;
	spare = live.slot = !(live.slot & 1);
	if (bpf_map_update_elem(tap->map[MCTL_TAP_SELECT], &spare, select, BPF_ANY) ||
	    bpf_map_update_elem(tap->map[MCTL_TAP_LIVE], &zero, &live, BPF_ANY))
		return -errno;
	return 0;
}

int mctl_tap_stats_read(const struct mctl_tap *tap, enum mir_tap_leg port, struct mir_tap_stats *ret_stats)
{
	_cleanup_free_ struct mir_tap_stats *each = NULL;
	int cpus = libbpf_num_possible_cpus();
	struct mir_tap_stats sum = {};
	__u32 key = port;

	if (cpus < 0)
		return cpus;
	each = calloc((size_t)cpus, sizeof(*each));
	if (!each)
		return -ENOMEM;
	if (bpf_map_lookup_elem(tap->map[MCTL_TAP_STATS], &key, each))
		return -errno;
	for (int cpu = 0; cpu < cpus; cpu++)
		for (size_t i = 0; i < sizeof(sum) / sizeof(__u64); i++)	/* every field is a __u64 (tap.h) */
			((__u64 *)&sum)[i] += ((__u64 *)&each[cpu])[i];
	*ret_stats = sum;
	return 0;
}
