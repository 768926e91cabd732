/* SPDX-License-Identifier: GPL-2.0-only */
/* Which devices are sources: see sources.h. */
#include "sources.h"

#include <string.h>

#include <linux/if.h>

#include <bpf/bpf.h>

#include "attach.h"
#include "mctl.h"
#include "monitor.h"
#include "stack.h"

void mctl_sources_free(struct mctl_sources *sources)
{
	free(sources->link);
	sources->link = NULL;
	sources->n = 0;
}

static void add(struct mctl_sources *sources, const struct mctl_link *link)
{
	size_t i;

	for (i = 0; i < sources->n; i++)
		if (sources->link[i] == link)
			return;
	sources->link[sources->n++] = link;
	sources->headerless |= mctl_device_of(link) == MCTL_DEVICE_HEADERLESS;
}

static int choose_named(const struct mctl_links *links, const struct mctl_settings *s, struct mctl_sources *sources)
{
	for (int i = 0; i < s->nsources; i++) {
		const struct mctl_link *link = mctl_links_by_name(links, s->sources[i]);

		if (!link && s->patient)
			continue;
		if (!link)
			return mctl_why(-ENODEV, "no device '%s' in this network namespace; 'ip link' lists them",
					s->sources[i]);
		if (mctl_monitor_ours(link) || !strcmp(link->name, s->terms.monitor))
			return mctl_why(-EINVAL, "device '%s' carries copies and cannot be a source as well",
					link->name);
		if (!strcmp(link->kind, "ifb"))
			return mctl_why(-EINVAL, "device '%s' is an ifb: its packets belong to another device, name "
					"that one", link->name);
		if (mctl_device_of(link) == MCTL_DEVICE_OTHER)
			return mctl_why(-EINVAL, "device '%s' has link type %u, neither Ethernet nor plain IP",
					link->name, link->type);
		add(sources, link);
	}
	return 0;
}

static void choose_default(const struct mctl_links *links, const struct mctl_settings *s, struct mctl_sources *sources)
{
	size_t i;

	for (i = 0; i < links->n; i++) {
		const struct mctl_link *link = &links->link[i];

		if ((link->flags & IFF_UP) && link->addressed && !mctl_monitor_ours(link) &&
		    strcmp(link->name, s->terms.monitor) && mctl_device_of(link) != MCTL_DEVICE_OTHER)
			add(sources, link);
	}
}

int mctl_sources_choose(const struct mctl_links *links, const struct mctl_settings *s, struct mctl_sources *ret_sources)
{
	struct mctl_sources sources = {};
	int r = 0;

	sources.link = calloc(links->n ? links->n : 1, sizeof(struct mctl_link *));
	if (!sources.link)
		return -ENOMEM;
	if (s->nsources)
		r = choose_named(links, s, &sources);
	else
		choose_default(links, s, &sources);
	if (!r && sources.n > MIR_SOURCES_LIMIT)
		r = mctl_why(-E2BIG, "%zu sources are more than the %d there is room for; name the ones you need",
			     sources.n, MIR_SOURCES_LIMIT);
	if (r < 0) {
		mctl_sources_free(&sources);
		return r;
	}
	*ret_sources = sources;
	return 0;
}

int mctl_sources_attach(const struct mctl_instance *inst, const char *dir, const struct mctl_links *links,
			const struct mctl_sources *want)
{
	int r;

	inst->live->stacked = mctl_stack_any(links, want);
	r = mctl_stack_write(inst, want);
	for (size_t i = 0; !r && i < want->n; i++)
		r = mctl_source_attach(inst, dir, want->link[i], mctl_stack_flags(links, want, i));
	return r;
}

size_t mctl_sources_list(const struct mctl_instance *inst, int ret_ifindex[MIR_SOURCES_LIMIT])
{
	int fd = inst->map[MCTL_MAP_SOURCES];
	__u32 *at = NULL, key;
	size_t n = 0;

	while (n < MIR_SOURCES_LIMIT && !bpf_map_get_next_key(fd, at, &key)) {
		ret_ifindex[n++] = (int)key;
		at = &key;
	}
	return n;
}

static bool wanted(const struct mctl_sources *want, int ifindex)
{
	size_t i;

	for (i = 0; i < want->n; i++)
		if (want->link[i]->ifindex == ifindex)
			return true;
	return false;
}

int mctl_sources_change(const struct mctl_instance *inst, const struct mctl_links *links,
			const struct mctl_sources *want)
{
	int have[MIR_SOURCES_LIMIT];
	bool stacked = mctl_stack_any(links, want);
	size_t i, n;
	int r;

	if (stacked)		/* before the first source says so, and until the last one has ceased to */
		inst->live->stacked = 1;
	r = mctl_stack_write(inst, want);
	for (i = 0; !r && i < want->n; i++) {
		const struct mctl_link *link = want->link[i];
		__u32 flags = mctl_stack_flags(links, want, i);

		r = -EAGAIN;
		if (mctl_source_alive(inst, inst->dir, link->ifindex) &&
		    !mctl_source_ahead(inst, inst->dir, link->ifindex, false) &&
		    !mctl_source_ahead(inst, inst->dir, link->ifindex, true))
			r = mctl_source_update(inst, link, flags);
		if (r == -EAGAIN) {
			mctl_source_detach(inst, inst->dir, link->ifindex);
			r = mctl_source_attach(inst, inst->dir, link, flags);
		}
	}
	if (r < 0)
		return r;
	n = mctl_sources_list(inst, have);
	for (i = 0; i < n; i++)
		if (!wanted(want, have[i]))
			mctl_source_detach(inst, inst->dir, have[i]);
	inst->live->stacked = stacked;
	return 0;
}

int mctl_sources_repair(const struct mctl_instance *inst)
{
	int have[MIR_SOURCES_LIMIT];
	size_t i, n = mctl_sources_list(inst, have);

	for (i = 0; i < n; i++)
		if (!mctl_source_alive(inst, inst->dir, have[i]))
			mctl_source_detach(inst, inst->dir, have[i]);
	return 0;
}

void mctl_sources_clear(const struct mctl_instance *inst, const char *dir)
{
	int have[MIR_SOURCES_LIMIT];
	size_t i, n = mctl_sources_list(inst, have);

	for (i = 0; i < n; i++)
		mctl_source_detach(inst, dir, have[i]);
}
