/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Programs on devices: by TCX links, first in the chain, where the kernel has them, else by cls_bpf filters on clsact.
 * Never touches a link, filter or qdisc that is not ours.
 */
#pragma once

#include <stdbool.h>

#include "instance.h"
#include "nl.h"

/* enum bpf_attach_type and link flags that Debian 12's <linux/bpf.h> does not have yet (Linux 6.6). */
#define MCTL_TCX_INGRESS 46
#define MCTL_TCX_EGRESS 47
#define MCTL_F_BEFORE (1u << 3)
#define MCTL_F_AFTER (1u << 4)

/* Handle of our cls_bpf filters ("mi"); together with the program id it tells them from anybody else's. */
#define MCTL_FILTER_HANDLE 0x6d69u

/* What a device is to us, by its link type. */
enum mctl_device {
	MCTL_DEVICE_ETHERNET,
	MCTL_DEVICE_LOOPBACK,
	MCTL_DEVICE_HEADERLESS,	/* frames begin with the IP header */
	MCTL_DEVICE_OTHER,	/* not understood */
};
enum mctl_device mctl_device_of(const struct mctl_link *link);

/* Attaches the programs pinned in `dir` to a source; `flags` (MIR_SOURCE_*) say how it stands to the others. What is about
 * to be done is written to map `sources` first, so that it can be undone after a crash. Undoes itself on failure. */
int mctl_source_attach(const struct mctl_instance *inst, const char *dir, const struct mctl_link *link, __u32 flags);

/* Writes name, flags and peer namespace of a source that stays attached. -EAGAIN: it needs other programs than it has. */
int mctl_source_update(const struct mctl_instance *inst, const struct mctl_link *link, __u32 flags);

/* Takes the programs off and forgets the source. Fine when the device is gone. */
int mctl_source_detach(const struct mctl_instance *inst, const char *dir, int ifindex);

/* Is everything that map `sources` says of this device still in force? */
bool mctl_source_alive(const struct mctl_instance *inst, const char *dir, int ifindex);

/* The program that runs before ours on a TCX hook of a source, and so may hide packets from it. 0: ours is the first, or
 * the kernel has no TCX. */
__u32 mctl_source_ahead(const struct mctl_instance *inst, const char *dir, int ifindex, bool egress);

/* Attaches one pinned program of the monitor side to a device of ours. */
int mctl_monitor_attach(const struct mctl_instance *inst, const char *dir, const char *prog, int ifindex, bool egress);
int mctl_monitor_detach(const struct mctl_instance *inst, const char *dir, const char *prog, int ifindex, bool egress);

/* Attaches mir_discard to the far end `ifindex` of a monitor, in whose namespace the caller is; pinned by the near end, which is
 * ours alone. */
int mctl_monitor_attach_away(const struct mctl_instance *inst, const char *dir, int ifindex, int copy_ifindex);
void mctl_monitor_detach_away(const char *dir, int copy_ifindex);

/* Removes the clsact qdisc of a device unless somebody has a filter on it. */
void mctl_clsact_unmake(int ifindex);
