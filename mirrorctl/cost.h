/* SPDX-License-Identifier: GPL-2.0-only */
/* What the programs of an instance cost on this host, by the kernel's own run-time statistics. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "instance.h"

#define MCTL_COSTS_MAX 64	/* programs of an instance, with room */

/* One program, over the time that was measured. */
struct mctl_cost {
	char name[16];		/* BPF_OBJ_NAME_LEN, zero terminated */
	uint32_t id;
	uint64_t runs;
	uint64_t left_out;	/* since it was loaded: mctl_runs_left_out() */
	uint64_t ns;		/* all runs together, nanoseconds; the kernel's own clock readings are in it */
};

/* Runs of the instance's programs that the kernel left out, since they were loaded: a program that it has interrupted is not run
 * a second time on the same processor (bpf_prog_info.recursion_misses, Linux 5.12). 0 where that cannot be known. */
uint64_t mctl_runs_left_out(const struct mctl_instance *inst);

/*
 * Has the kernel time every program for `seconds`, and fills `ret` with those of the instance, dearest first. The statistics
 * cost every BPF program on the host a little (about 30 ns for a run) and end with this call, or with the process if it is
 * killed. *ret_ns: how long was measured, nanoseconds. -EPERM: needs CAP_SYS_ADMIN; -EOPNOTSUPP: Linux before 5.8.
 */
int mctl_cost_measure(const struct mctl_instance *inst, unsigned int seconds, struct mctl_cost ret[MCTL_COSTS_MAX],
		      size_t *ret_n, uint64_t *ret_ns);
