/* SPDX-License-Identifier: GPL-2.0-only */
/* Puts the BPF programs into the kernel: objects embedded as skeletons, one set of maps, the best owner programs that load. */
#pragma once

#include "instance.h"

/*
 * Loads everything but the programs of sources and the chain of policies, pins maps, programs and owner hooks in `dir`, opens
 * the maps in `inst` and writes the tiers that were found to inst->config. Nothing is attached to a device. What was pinned
 * before a failure is left for the caller, who removes the directory.
 */
int mctl_load(struct mctl_instance *inst, const char *dir);

/* Opens one of the other programs of tc/mirror.bpf.c; loads it and pins it in `dir`, where the maps are, if it is not there yet.
 * Returns the descriptor or -errno. */
int mctl_load_mirror(const struct mctl_instance *inst, const char *dir, const char *name);

/* Makes the chain of policies ready, before the first of them is written. */
int mctl_load_chain(struct mctl_instance *inst);

/* Takes the chain out again, if it was loaded under this lock and nothing is asked after all. */
void mctl_unload_chain(struct mctl_instance *inst);

/* Loads mir_discard alone, for the monitor of a tap, and pins it in `dir`. */
int mctl_load_discard(const char *dir);
