/* SPDX-License-Identifier: GPL-2.0-only */
/* Which devices are sources: chosen from what the user said and what there is, compared with what is attached. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "instance.h"
#include "nl.h"
#include "settings.h"

struct mctl_sources {
	size_t n;
	const struct mctl_link **link;	/* array owned, links borrowed */
	bool headerless;		/* one of them has no Ethernet header */
};
void mctl_sources_free(struct mctl_sources *sources);

/* The devices named in `s`, or every one that is up and has an address. Devices that mirrorctl made are never among them.
 * -ENODEV: a named one does not exist. -EINVAL: it cannot be a source. The reason is remembered. */
int mctl_sources_choose(const struct mctl_links *links, const struct mctl_settings *s, struct mctl_sources *ret_sources);

/* Attaches all of them. */
int mctl_sources_attach(const struct mctl_instance *inst, const char *dir, const struct mctl_links *links,
			const struct mctl_sources *want);

/* Attaches what is missing, detaches what is no longer wanted; what stays is not touched. */
int mctl_sources_change(const struct mctl_instance *inst, const struct mctl_links *links,
			const struct mctl_sources *want);

/* Detaches and forgets sources that are not attached everywhere they should be. */
int mctl_sources_repair(const struct mctl_instance *inst);

/* Detaches all. */
void mctl_sources_clear(const struct mctl_instance *inst, const char *dir);

/* Ifindexes in map `sources`. Returns how many, at most MIR_SOURCES_LIMIT. */
size_t mctl_sources_list(const struct mctl_instance *inst, int ret_ifindex[MIR_SOURCES_LIMIT]);
