/* SPDX-License-Identifier: GPL-2.0-only */
/* A process as the kernel knows it: found by number, held by descriptor, told from its predecessor by its start time. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <mirror/abi.h>

#include "instance.h"

struct mctl_process {
	int pidfd;		/* -1: none. Readable (POLLIN) once the process has exited */
	pid_t pid;		/* in our PID namespace: for /proc and pidfd_open() */
	pid_t given;		/* what was asked for: differs when it was a thread id */
	struct mir_task_info info;	/* in the initial PID namespace */
};

void mctl_process_close(struct mctl_process *p);

/* Finds the process of `pid`, which may be one of its threads. -ESRCH: none, or it has exited. */
int mctl_process_open(const struct mctl_instance *inst, pid_t pid, struct mctl_process *ret_process);

/* What a user calls the control group of the process: the last part of its path, a unit; of a container its kind and the
 * first 12 digits of its id. Zero padded; empty when it is in none. */
void mctl_process_cgroup(pid_t pid, char ret_name[MIR_CGROUP_LEN]);

/* The same from a line of /proc/PID/cgroup. For the unit tests. */
void mctl_cgroup_name(const char *path, char ret_name[MIR_CGROUP_LEN]);

bool mctl_process_exited(const struct mctl_process *p);

/* Every process our PID namespace shows, as the kernel knows it. The array is the caller's to free. */
int mctl_processes_read(const struct mctl_instance *inst, struct mir_task_info **ret_infos, size_t *ret_n);

/* Reads a BPF iterator pinned in the instance's directory to its end. `pid` 0: everything. `map_fd` -1: none. The bytes
 * are the caller's to free. */
int mctl_iter_read(const struct mctl_instance *inst, const char *prog, pid_t pid, int map_fd, void **ret_bytes,
		   size_t *ret_len);
