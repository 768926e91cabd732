/* SPDX-License-Identifier: GPL-2.0-only */
/* An instance and its pins: see instance.h. */
#include "instance.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "hooks.h"
#include "host.h"
#include "mctl.h"
#include "policy.h"
#include "targets.h"

const char *const mctl_map_names[MCTL_MAP_MAX] = {
	[MCTL_MAP_OWNERS] = "owners",
	[MCTL_MAP_TARGETS] = "targets",
	[MCTL_MAP_POLICIES] = "policies",
	[MCTL_MAP_METERS] = "meters",
	[MCTL_MAP_MONITORS] = "monitors",
	[MCTL_MAP_FILTERS] = "filters",
	[MCTL_MAP_FILTER_NEXT] = "filter_next",
	[MCTL_MAP_SELECTORS] = "selectors",
	[MCTL_MAP_TRAITS] = "traits",
	[MCTL_MAP_LABELS] = "labels",
	[MCTL_MAP_FILTER_TEXTS] = "filter_texts",
	[MCTL_MAP_CREDITS] = "credits",
	[MCTL_MAP_EXITED] = "exited",
	[MCTL_MAP_FLOWS] = "flows",
	[MCTL_MAP_FRAGMENTS] = "fragments",
	[MCTL_MAP_ANNOUNCED] = "announced",
	[MCTL_MAP_CONFIG] = "config",
	[MCTL_MAP_LIVE] = "live",
	[MCTL_MAP_STATS] = "stats",
	[MCTL_MAP_SOURCES] = "sources",
	[MCTL_MAP_UPPERS] = "uppers",
	[MCTL_MAP_EVENTS] = "events",
	[MCTL_MAP_TOLD] = "told",
	[MCTL_MAP_TRANSLATED] = "translated",
	[MCTL_MAP_CLOSED] = "closed",
	[MCTL_MAP_FORMER] = "former",
};

int mctl_instance_init(struct mctl_instance *inst)
{
	size_t root = strlen(mctl.pin_root);
	int i, r;

	memset(inst, 0, sizeof(*inst));
	inst->lock = -1;
	for (i = 0; i < MCTL_MAP_MAX; i++)
		inst->map[i] = -1;
	if (root + 64 > MCTL_DIR_LEN)
		return mctl_why(-ENAMETOOLONG, "--pin-root is longer than %d bytes", MCTL_DIR_LEN - 64);
	r = mctl_host_netns(&inst->netns, &inst->netns_cookie);
	if (r < 0)
		return mctl_why(r, "cannot tell the network namespace: %s", strerror(-r));
	snprintf(inst->name, sizeof(inst->name), "net-%u", inst->netns);
	snprintf(inst->dir, sizeof(inst->dir), "%s/%s", mctl.pin_root, inst->name);
	snprintf(inst->making, sizeof(inst->making), "%s/%s-making", mctl.pin_root, inst->name);
	snprintf(inst->going, sizeof(inst->going), "%s/%s-going", mctl.pin_root, inst->name);
	snprintf(inst->lock_path, sizeof(inst->lock_path), MCTL_RUN_DIR "/%s.lock", inst->name);
	return 0;
}

bool mctl_instance_is_up(const struct mctl_instance *inst)
{
	return !access(inst->dir, F_OK);
}

void mctl_instance_close_maps(struct mctl_instance *inst)
{
	if (inst->live)
		munmap(inst->live, sizeof(*inst->live));
	inst->live = NULL;
	for (int i = 0; i < MCTL_MAP_MAX; i++) {
		mctl_closep(&inst->map[i]);
		inst->map[i] = -1;
	}
}

void mctl_instance_close(struct mctl_instance *inst)
{
	mctl_instance_close_maps(inst);
	if (inst->lock < 0)
		return;
	if (!mctl_instance_is_up(inst)) {
		unlink(inst->lock_path);
		rmdir(MCTL_RUN_DIR);		/* stays while another namespace has a lock in it */
		rmdir(mctl.pin_root);		/* the same */
	}
	mctl_closep(&inst->lock);
	inst->lock = -1;
}

/* The file may have been unlinked by the one who held the lock before us: then it is no lock, and we start again. */
int mctl_instance_lock(struct mctl_instance *inst)
{
	struct stat held, named;

	for (;;) {
		_cleanup_close_ int fd = -1;

		if (mkdir(MCTL_RUN_DIR, 0700) && errno != EEXIST)
			return mctl_why(-errno, "cannot create " MCTL_RUN_DIR ": %s", strerror(errno));
		fd = open(inst->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (fd < 0 && errno == ENOENT)
			continue;
		if (fd < 0)
			return mctl_why(-errno, "cannot open %s: %s", inst->lock_path, strerror(errno));
		if (flock(fd, LOCK_EX))
			return mctl_why(-errno, "cannot lock %s: %s", inst->lock_path, strerror(errno));
		if (fstat(fd, &held) || stat(inst->lock_path, &named) || held.st_ino != named.st_ino)
			continue;
		inst->lock = TAKE_FD(fd);
		return 0;
	}
}

int mctl_pin_open(const char *dir, const char *name)
{
	char path[MCTL_DIR_LEN + 64];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = bpf_obj_get(path);
	return fd < 0 ? -errno : fd;
}

/* Sizes of the values we know; a map of another size was made by another version and is not opened. */
static const __u32 value_sizes[MCTL_MAP_MAX] = {
	[MCTL_MAP_OWNERS] = sizeof(struct mir_owner),
	[MCTL_MAP_TARGETS] = sizeof(struct mir_target),
	[MCTL_MAP_POLICIES] = sizeof(struct mir_policy),
	[MCTL_MAP_METERS] = sizeof(struct mir_meter),
	[MCTL_MAP_MONITORS] = sizeof(struct mir_monitor),
	[MCTL_MAP_FILTERS] = sizeof(__u32),
	[MCTL_MAP_FILTER_NEXT] = sizeof(__u32),
	[MCTL_MAP_SELECTORS] = sizeof(struct mir_selector),
	[MCTL_MAP_TRAITS] = sizeof(__u64),
	[MCTL_MAP_LABELS] = sizeof(__u64),
	[MCTL_MAP_FILTER_TEXTS] = sizeof(struct mir_filter),
	[MCTL_MAP_CREDITS] = sizeof(struct mir_counts),
	[MCTL_MAP_EXITED] = sizeof(struct mir_exited),
	[MCTL_MAP_FLOWS] = sizeof(struct mir_flow_owner),
	[MCTL_MAP_FRAGMENTS] = sizeof(struct mir_fragment_owner),
	[MCTL_MAP_ANNOUNCED] = sizeof(struct mir_announced),
	[MCTL_MAP_CONFIG] = sizeof(struct mir_config),
	[MCTL_MAP_LIVE] = sizeof(struct mir_live),
	[MCTL_MAP_STATS] = sizeof(struct mir_stats),
	[MCTL_MAP_SOURCES] = sizeof(struct mir_source),
	[MCTL_MAP_UPPERS] = sizeof(__u32),
	[MCTL_MAP_EVENTS] = 0,
	[MCTL_MAP_TOLD] = sizeof(__u64),
	[MCTL_MAP_TRANSLATED] = sizeof(struct mir_flow),
	[MCTL_MAP_CLOSED] = sizeof(__u32),
	[MCTL_MAP_FORMER] = sizeof(struct mir_target),
};

static bool map_fits(int fd, enum mctl_map map)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);

	return !bpf_obj_get_info_by_fd(fd, &info, &len) && info.value_size == value_sizes[map];
}

int mctl_instance_share(struct mctl_instance *inst)
{
	int fd = inst->map[MCTL_MAP_LIVE];
	void *live;

	if (fd < 0 || inst->live)
		return 0;
	live = mmap(NULL, sizeof(*inst->live), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (live == MAP_FAILED)
		return -errno;
	inst->live = live;
	return 0;
}

int mctl_instance_open_maps(struct mctl_instance *inst, const char *dir)
{
	int i, fd;

	mctl_instance_close_maps(inst);
	for (i = 0; i < MCTL_MAP_MAX; i++) {
		fd = mctl_pin_open(dir, mctl_map_names[i]);
		if (fd < 0 && fd != -ENOENT)
			return mctl_why(fd, "cannot open %s/%s: %s", dir, mctl_map_names[i], strerror(-fd));
		if (fd >= 0 && !map_fits(fd, i))
			close(fd);
		else if (fd >= 0)
			inst->map[i] = fd;
	}
	/* One that cannot be shared was made by another version. */
	if (mctl_instance_share(inst)) {
		mctl_closep(&inst->map[MCTL_MAP_LIVE]);
		inst->map[MCTL_MAP_LIVE] = -1;
	}
	return 0;
}

int mctl_dir_check(const char *dir)
{
	struct stat st;

	if (lstat(dir, &st))
		return -errno;
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 0077))
		return mctl_why(-EPERM, "%s is not a directory that only user %u may use; remove it", dir, geteuid());
	return 0;
}

int mctl_instance_open(struct mctl_instance *inst)
{
	bool whole = true;
	__u32 zero = 0;
	int r;

	r = mctl_dir_check(mctl.pin_root);
	if (!r)
		r = mctl_dir_check(inst->dir);
	if (!r)
		r = mctl_instance_open_maps(inst, inst->dir);
	if (r < 0)
		return r;
	for (int i = 0; i < MCTL_MAP_MAX; i++)
		whole &= inst->map[i] >= 0;
	if (!whole || bpf_map_lookup_elem(inst->map[MCTL_MAP_CONFIG], &zero, &inst->config) ||
	    inst->config.abi != MIR_ABI_VERSION)
		return mctl_why(-EPROTO, "the mirror in %s was made by another version of mirrorctl or is damaged; run "
				"'mirrorctl down' and 'mirrorctl up'", inst->dir);
	if (inst->config.netns_cookie != inst->netns_cookie)
		return mctl_why(-ESTALE, "left over from a network namespace that is gone");
	return 0;
}

int mctl_config_write(const struct mctl_instance *inst, const struct mir_config *config)
{
	__u32 zero = 0;

	return bpf_map_update_elem(inst->map[MCTL_MAP_CONFIG], &zero, config, BPF_ANY) ? -errno : 0;
}

int mctl_announced_clear(const struct mctl_instance *inst)
{
	int fd = inst->map[MCTL_MAP_ANNOUNCED];
	struct mir_flow key;

	/* From the start each time; bounded, because packets may add entries as fast as we delete them. */
	for (int i = 0; i < MIR_ANNOUNCED_LIMIT && !bpf_map_get_next_key(fd, NULL, &key); i++)
		if (bpf_map_delete_elem(fd, &key) && errno != ENOENT)
			return -errno;
	return 0;
}

int mctl_stats_read(const struct mctl_instance *inst, struct mir_stats *ret_stats)
{
	_cleanup_free_ struct mir_stats *each = NULL;
	int cpus = libbpf_num_possible_cpus();
	struct mir_stats sum = {};
	__u32 zero = 0;
	size_t i;

	if (cpus < 0)
		return cpus;
	each = calloc((size_t)cpus, sizeof(*each));
	if (!each)
		return -ENOMEM;
	if (bpf_map_lookup_elem(inst->map[MCTL_MAP_STATS], &zero, each))
		return -errno;
	for (int cpu = 0; cpu < cpus; cpu++)
		for (i = 0; i < sizeof(sum) / sizeof(__u64); i++)	/* every field is a __u64 (abi.h) */
			((__u64 *)&sum)[i] += ((__u64 *)&each[cpu])[i];
	*ret_stats = sum;
	return 0;
}

bool mctl_target_over(const struct mctl_instance *inst, const struct mir_target *target)
{
	return target->exit_ns && mctl_host_now_ns() - target->exit_ns >= inst->config.linger_ns;
}

int mctl_targets_purge(struct mctl_instance *inst)
{
	int fd = inst->map[MCTL_MAP_TARGETS];
	__u32 key = 0, next, *at = NULL;
	struct mir_target target;
	bool left = false;

	if (inst->live)
		inst->live->tagging = 0;	/* of a mirrorctl that was killed */
	inst->borne = 0;
	/* The next key is fetched before the present one is deleted: a deleted key would start the walk over. */
	for (int end = bpf_map_get_next_key(fd, at, &next); !end;) {
		key = next;
		end = bpf_map_get_next_key(fd, &key, &next);
		if (bpf_map_lookup_elem(fd, &key, &target))
			continue;
		if (mctl_target_over(inst, &target) || !target.selectors) {
			mctl_target_delete(inst, key);
			continue;
		}
		left = true;
		inst->borne |= target.selectors;
	}
	mctl_policies_sweep(inst);
	if (left || !inst->live || inst->live->kinds)
		return 0;
	inst->live->active = 0;
	if (!bpf_map_get_next_key(fd, NULL, &next))
		inst->live->active = 1;		/* a child, while we looked */
	else
		mctl_hooks_end(inst);
	return 0;
}
