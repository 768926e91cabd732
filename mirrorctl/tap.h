/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inline taps as they lie in the BPF file system, beside the instance and independent of it. The idiom is the instance's:
 * a directory of pins is the whole state, built under a name of its own, renamed when whole, renamed away before it is
 * taken apart. All under the lock of the namespace's instance.
 */
#pragma once

#include <stdbool.h>

#include "instance.h"
#include "nl.h"

#include <mirror/tap.h>

#define MCTL_TAPS_MAX 64	/* that `tap list` shows */

enum mctl_tap_map {
	MCTL_TAP_WIRE,
	MCTL_TAP_STATE,
	MCTL_TAP_LIVE,
	MCTL_TAP_SELECT,
	MCTL_TAP_STATS,
	MCTL_TAP_NOW,
	MCTL_TAP_MAP_MAX,
};
extern const char *const mctl_tap_map_names[MCTL_TAP_MAP_MAX];

struct mctl_tap {
	char name[MIR_TAP_NAME_LEN];
	char dir[MCTL_DIR_LEN];		/* where it is when it is up */
	char making[MCTL_DIR_LEN];
	char going[MCTL_DIR_LEN];
	struct mctl_instance as;	/* what monitor.c and attach.c want of an instance: netns, dir, config.tcx */
	int map[MCTL_TAP_MAP_MAX];	/* -1: not open */
	struct mir_tap_state state;
};

/* What the user asks for. */
struct mctl_tap_wish {
	const char *name;
	const char *port[2];
	const char *monitor;
	enum mir_tap_mode mode;
	bool take_addresses;
	struct mir_tap_select select;
};

/* 1 to 11 letters, digits, - and _ (the name becomes part of a file name in bpffs, which has no dots). */
bool mctl_tap_valid_name(const char *name);

void mctl_tap_init(struct mctl_tap *tap, const struct mctl_instance *inst, const char *name);
void mctl_tap_close(struct mctl_tap *tap);
#define _cleanup_tap_ __attribute__((cleanup(mctl_tap_close)))

/* Opens the maps pinned in `dir` and reads the state. -ENOENT: no such tap. -EPROTO: of another version. */
int mctl_tap_open(struct mctl_tap *tap, const char *dir);

/* Names of the taps of this namespace, sorted. Returns how many. */
size_t mctl_taps_list(const struct mctl_instance *inst, char ret_names[MCTL_TAPS_MAX][MIR_TAP_NAME_LEN]);

/* Finishes what a killed mirrorctl left half done. Needs the lock. */
int mctl_taps_settle(const struct mctl_instance *inst);
bool mctl_taps_unsettled(const struct mctl_instance *inst);

/* Locks, settles taps, opens the instance if there is one. Every `tap` verb begins with it. */
int mctl_taps_begin(struct mctl_instance *inst);

/* Makes the tap. One of this name with the same ports, monitor and mode gets the new rules and goes on without a gap. A
 * tap's own monitor that was lost is made again. */
int mctl_tap_add(struct mctl_instance *inst, const struct mctl_tap_wish *wish);

/* -ENODEV: there is no tap of this name. */
int mctl_tap_delete(struct mctl_instance *inst, const char *name);

/* Undoes what the state in `dir` says was done, whether whole or not, and removes the directory. */
int mctl_tap_undo(struct mctl_tap *tap, const char *dir);

int mctl_tap_state_write(const struct mctl_tap *tap);

/* The rules in force; then others, in one step. */
int mctl_tap_select_read(const struct mctl_tap *tap, struct mir_tap_select *ret_select);
int mctl_tap_select_write(const struct mctl_tap *tap, const struct mir_tap_select *select);

/* Sum over all processors of what came in by one port. */
int mctl_tap_stats_read(const struct mctl_tap *tap, enum mir_tap_leg port, struct mir_tap_stats *ret_stats);

/* XDP on the ports (tap_xdp.c), through libxdp. Attaches the port program to both in the mode given, or to none; says
 * whether the dispatcher took it. */
int mctl_tap_attach(struct mctl_tap *tap, enum mir_tap_mode mode);

/* Takes a program that uses this tap's maps off the port, and nobody else's. */
int mctl_tap_detach(const struct mctl_tap *tap, int ifindex);

/* Is our program still on the port? */
bool mctl_tap_attached(const struct mctl_tap *tap, int ifindex);
