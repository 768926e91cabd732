/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An instance: the mirror of one network namespace, as it lies in the BPF file system. A directory of pins is the whole
 * state; while it exists under its own name the instance is up. It is built under a name of its own and renamed when
 * whole, renamed away before it is taken apart, so a killed mirrorctl leaves the old state or the new one, and a
 * directory that tells the next mirrorctl what to clear away.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <mirror/abi.h>

#define MCTL_DIR_LEN 512

/* Maps by the names they have in tc/maps.bpf.h and in the instance's directory. */
enum mctl_map {
	MCTL_MAP_OWNERS,
	MCTL_MAP_TARGETS,
	MCTL_MAP_POLICIES,
	MCTL_MAP_METERS,
	MCTL_MAP_MONITORS,
	MCTL_MAP_FILTERS,
	MCTL_MAP_FILTER_NEXT,
	MCTL_MAP_SELECTORS,
	MCTL_MAP_TRAITS,
	MCTL_MAP_LABELS,
	MCTL_MAP_FILTER_TEXTS,
	MCTL_MAP_CREDITS,
	MCTL_MAP_EXITED,
	MCTL_MAP_FLOWS,
	MCTL_MAP_FRAGMENTS,
	MCTL_MAP_ANNOUNCED,
	MCTL_MAP_CONFIG,
	MCTL_MAP_LIVE,
	MCTL_MAP_STATS,
	MCTL_MAP_SOURCES,
	MCTL_MAP_UPPERS,
	MCTL_MAP_EVENTS,
	MCTL_MAP_TOLD,
	MCTL_MAP_TRANSLATED,
	MCTL_MAP_CLOSED,
	MCTL_MAP_FORMER,
	MCTL_MAP_MAX,
};
extern const char *const mctl_map_names[MCTL_MAP_MAX];

struct mctl_instance {
	uint32_t netns;			/* inode number of the namespace */
	uint64_t netns_cookie;		/* 0: unknown */
	char name[24];			/* net-<netns> */
	char dir[MCTL_DIR_LEN];		/* where it is when it is up */
	char making[MCTL_DIR_LEN];	/* where it is built, and a mark while it is changed */
	char going[MCTL_DIR_LEN];	/* where it is taken apart */
	char lock_path[MCTL_DIR_LEN];
	int lock;			/* -1: not locked */
	int map[MCTL_MAP_MAX];		/* -1: not open */
	struct mir_config config;	/* as of mctl_instance_open() */
	struct mir_live *live;		/* entry of map `live` itself, shared with the programs; NULL: not open */
	uint32_t made;			/* entry of map `monitors` that was made under this lock; 0: none */
	bool chained;			/* the chain of policies was loaded under this lock */
	uint64_t borne;			/* policies that some target bears, as of mctl_targets_purge(): bits */
};

/* Names the instance of the calling thread's network namespace. Touches nothing. */
int mctl_instance_init(struct mctl_instance *inst);

/* Closes what is open; unlocks, and takes the lock file away where there is no instance. */
void mctl_instance_close(struct mctl_instance *inst);
#define _cleanup_instance_ __attribute__((cleanup(mctl_instance_close)))

/* Waits for the lock of this namespace. Every verb that changes anything holds it. */
int mctl_instance_lock(struct mctl_instance *inst);

bool mctl_instance_is_up(const struct mctl_instance *inst);

/* Opens the maps and reads the configuration. -ENOENT: not up. -ESTALE: its namespace is gone and the number was used
 * again. -EPROTO: made by a mirrorctl of another ABI. -EPERM: a directory that is not ours. */
int mctl_instance_open(struct mctl_instance *inst);

/* A directory must be ours alone before a pin in it is believed or removed. -EPERM: it is not; -ENOENT: there is none. */
int mctl_dir_check(const char *dir);

/* Opens the maps that are pinned in `dir`, and shares `live`; what is not there stays -1. */
int mctl_instance_open_maps(struct mctl_instance *inst, const char *dir);

/* Shares map `live`, if it is open and not shared yet. */
int mctl_instance_share(struct mctl_instance *inst);

void mctl_instance_close_maps(struct mctl_instance *inst);

/* Writes the one entry of `config`. */
int mctl_config_write(const struct mctl_instance *inst, const struct mir_config *config);

/* Every conversation is announced anew (--identity): the monitor or what is said on it has changed. */
int mctl_announced_clear(const struct mctl_instance *inst);

/* Sum over all processors. */
int mctl_stats_read(const struct mctl_instance *inst, struct mir_stats *ret_stats);

/* Opens DIR/NAME, a pinned program or link. Returns the descriptor or -errno. */
int mctl_pin_open(const char *dir, const char *name);

/* Forgets targets whose linger time is over, and the policies that went with them; with the last one the programs go to
 * rest. Needs the lock. */
int mctl_targets_purge(struct mctl_instance *inst);

/* Has the linger time of an exited target passed? */
bool mctl_target_over(const struct mctl_instance *inst, const struct mir_target *target);
