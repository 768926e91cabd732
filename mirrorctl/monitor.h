/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The devices that copies go to: the monitor itself, for a veth its other end, and the relay for frames without Ethernet
 * header. Devices we make are in device group MCTL_GROUP, which the kernel sets in the same step that makes them: so
 * leftovers of a killed mirrorctl are known, and nothing else is ever deleted.
 */
#pragma once

#include <stdbool.h>

#include <mirror/abi.h>

#include "instance.h"
#include "nl.h"

#define MCTL_GROUP 0x6d697272u	/* "mirr" */
#define MCTL_MONITOR_MTU 65535	/* largest IP packet; veth and bridge take no more */

/* What a monitor is asked to be. */
struct mctl_monitor_want {
	const char *name;
	enum mir_monitor_type type;
	const char *netns;		/* namespace it is captured in, as --netns takes it; NULL: the instance's */
};

struct mctl_monitor {
	char name[MIR_IFNAME_LEN];
	enum mir_monitor_type type;	/* never _AUTO */
	bool adopted;			/* somebody else made it */
	int ifindex;			/* captured on */
	int copy_ifindex;		/* copies are cloned to: the same, or the veth's other end */
	uint32_t netns;			/* inode number of the namespace `ifindex` is in; 0: the instance's */
};

/* Makes the monitor and turns it on, silent. -EEXIST: the name is taken. -EOPNOTSUPP: no such type on this kernel. */
int mctl_monitor_make(const struct mctl_instance *inst, const char *name, enum mir_monitor_type type,
		      struct mctl_monitor *ret_monitor);

/* The inode number of the namespace that --monitor-netns names; 0: the instance's own, also for NULL. -ENOENT: there is none. */
int mctl_monitor_netns(const struct mctl_instance *inst, const char *name, uint32_t *ret_netns);

/* Makes a monitor with its programs, in whichever namespace it is wanted, pinned in `dir`. Nothing points at it yet. The reason
 * of a failure is remembered. */
int mctl_monitor_build(const struct mctl_instance *inst, const char *dir, const struct mctl_monitor_want *want,
		       struct mctl_monitor *ret_monitor);

/* Takes a device that somebody made by hand in place of a lost monitor: a dummy, a bridge without ports or a veth whose
 * other end is here, with no address. -EEXIST: it is none of these. */
int mctl_monitor_adopt(const struct mctl_links *links, const char *name, struct mctl_monitor *ret_monitor);

/* Makes the relay (NAME-l3) for frames without Ethernet header. */
int mctl_relay_make(const struct mctl_instance *inst, const char *monitor, int *ret_ifindex);

/* Is this a device that mirrorctl made, for whichever instance? Never a source. */
bool mctl_monitor_ours(const struct mctl_link *link);

/* Deletes the devices of this instance but those whose ifindex is in `keep` (n of them). */
int mctl_monitor_clear(const struct mctl_instance *inst, const int *keep, size_t n);

/* Lower case name of a type, as in JSON. */
const char *mctl_monitor_type_name(unsigned int type);
