/* SPDX-License-Identifier: GPL-2.0-only */
/* Devices that stand on one another: see stack.h. */
#include "stack.h"

#include <string.h>

#include <bpf/bpf.h>

#include "mctl.h"

static bool is_source(const struct mctl_sources *want, int ifindex)
{
	for (size_t i = 0; i < want->n; i++)
		if (want->link[i]->ifindex == ifindex)
			return true;
	return false;
}

bool mctl_stack_is_tunnel(const struct mctl_link *link)
{
	static const char *const kinds[] = { "vxlan", "geneve", "gre", "gretap", "erspan", "ip6gre", "ip6gretap",
					     "ip6erspan", "ipip", "sit", "ip6tnl", "vti", "vti6", "xfrm", "wireguard",
					     "bareudp" };

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (!strcmp(link->kind, kinds[i]))
			return true;
	return false;
}

/* The VLAN or macvlan device `upper` on top of `lower`, as map `uppers` has it. */
static bool stands_on(const struct mctl_link *upper, const struct mctl_link *lower, struct mir_upper *ret_key)
{
	struct mir_upper key = { .ifindex = (__u32)lower->ifindex };

	if (upper->peer_away || upper->peer != lower->ifindex)
		return false;
	if (upper->vlan)
		key.vlan = upper->vlan;
	else if (!strcmp(upper->kind, "macvlan") || !strcmp(upper->kind, "macvtap"))
		memcpy(key.mac, upper->mac, sizeof(key.mac));
	else
		return false;
	*ret_key = key;
	return true;
}

static bool all_ports_are_sources(const struct mctl_links *links, const struct mctl_sources *want, int bridge)
{
	bool any = false;

	for (size_t i = 0; i < links->n; i++) {
		if (links->link[i].master != bridge)
			continue;
		if (!is_source(want, links->link[i].ifindex))
			return false;
		any = true;
	}
	return any;
}

static __u32 master_flags(const struct mctl_links *links, const struct mctl_sources *want, const struct mctl_link *link)
{
	const struct mctl_link *master = mctl_links_by_index(links, link->master);

	if (!link->master || !master || !is_source(want, link->master))
		return 0;
	/* A VRF device is passed on the way out only, and only if it has a queue (vrf_ip_out()); what comes in stays on its
	 * port. */
	if (!strcmp(master->kind, "vrf"))
		return master->queued ? MIR_SOURCE_SENT_ABOVE : 0;
	return MIR_SOURCE_SENT_ABOVE | MIR_SOURCE_RECEIVED_ABOVE;
}

__u32 mctl_stack_flags(const struct mctl_links *links, const struct mctl_sources *want, size_t i)
{
	const struct mctl_link *link = want->link[i];
	__u32 flags = master_flags(links, want, link);
	struct mir_upper key;

	for (size_t k = 0; k < want->n; k++) {
		if (stands_on(want->link[k], link, &key))
			flags |= MIR_SOURCE_UPPERS;
		if (k != i && mctl_stack_is_tunnel(want->link[k]))
			flags |= MIR_SOURCE_TUNNELS;
	}
	if (!strcmp(link->kind, "bridge") && all_ports_are_sources(links, want, link->ifindex))
		flags |= MIR_SOURCE_PORTS;
	if (!strcmp(link->kind, "veth") && link->peer_away && link->peer_nsid >= 0)
		flags |= MIR_SOURCE_PEER;
	return flags;
}

bool mctl_stack_any(const struct mctl_links *links, const struct mctl_sources *want)
{
	for (size_t i = 0; i < want->n; i++)
		if (mctl_stack_flags(links, want, i) & ~MIR_SOURCE_PEER)
			return true;
	return false;
}

static int forget_all(int fd)
{
	struct mir_upper key;

	while (!bpf_map_get_next_key(fd, NULL, &key))
		if (bpf_map_delete_elem(fd, &key))
			return -errno;
	return 0;
}

int mctl_stack_write(const struct mctl_instance *inst, const struct mctl_sources *want)
{
	int fd = inst->map[MCTL_MAP_UPPERS], r;
	struct mir_upper key;

	r = forget_all(fd);
	for (size_t i = 0; i < want->n; i++)
		for (size_t k = 0; !r && k < want->n; k++)
			if (stands_on(want->link[k], want->link[i], &key) &&
			    bpf_map_update_elem(fd, &key, &want->link[k]->ifindex, BPF_ANY))
				r = -errno;
	return r < 0 ? mctl_why(r, "cannot write map 'uppers': %s", strerror(-r)) : 0;
}
