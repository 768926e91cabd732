/* SPDX-License-Identifier: GPL-2.0-only */
/* What the running mirror cannot know on this kernel: never silent (invariant 9 of docs/architecture.md). */
#include <inttypes.h>
#include <string.h>

#include <linux/if.h>

#include <bpf/bpf.h>

#include "cost.h"
#include "mctl.h"
#include "nl.h"
#include "sources.h"
#include "stack.h"
#include "verb.h"

/* Does the device that takes the copies cut what another device of this kernel may send in one piece? */
static bool cuts(uint32_t ifindex)
{
	_cleanup_links_ struct mctl_links links = {};
	const struct mctl_link *link;

	if (mctl_links_read(&links) < 0)
		return false;
	link = mctl_links_by_index(&links, (int)ifindex);
	return link && link->tso_max && link->gso_max < MCTL_GSO_MAX;
}

static bool is_source(const struct mctl_instance *inst, int ifindex)
{
	struct mir_source source;

	return !bpf_map_lookup_elem(inst->map[MCTL_MAP_SOURCES], &ifindex, &source);
}

/* What some devices bring with them. VRF: the kernel's look-up takes the port for the device of arrival, where delivery
 * takes the VRF (bpf_tc_skc_lookup_tcp()). ipvlan: has the link-layer address of the device below it. Tunnel: on the device below
 * it a packet that leaves still has its socket, one that arrives is the kernel's. */
static void device_limits(const struct mctl_instance *inst, void (*each)(const char *text, void *data), void *data)
{
	_cleanup_links_ struct mctl_links links = {};
	bool vrf = false, ipvlan = false, tunnel = false;

	if (mctl_links_read(&links))
		return;
	for (size_t i = 0; i < links.n; i++) {
		const struct mctl_link *link = &links.link[i], *master;

		if (!is_source(inst, link->ifindex)) {
			tunnel |= mctl_stack_is_tunnel(link) && (link->flags & IFF_UP);
			continue;
		}
		master = link->master ? mctl_links_by_index(&links, link->master) : NULL;
		vrf |= master && !strcmp(master->kind, "vrf");
		ipvlan |= !strcmp(link->kind, "ipvlan") && !link->peer_away && is_source(inst, link->peer);
	}
	if (vrf)
		each("vrf: what arrives on a port of a VRF for a socket bound to the VRF is not matched", data);
	if (ipvlan)
		each("ipvlan: a packet is copied on the ipvlan device and again on the device below it; name one of them as "
		     "source", data);
	if (tunnel)
		each("tunnel: what arrives through a tunnel device that is no source is not matched on the device below it; name "
		     "both as source", data);
}

/* Is the host's end of a container's veth a source? */
static bool watches_containers(const struct mctl_instance *inst)
{
	int ifindex[MIR_SOURCES_LIMIT];
	size_t n = mctl_sources_list(inst, ifindex);
	struct mir_source s;
	size_t i;

	for (i = 0; i < n; i++)
		if (!bpf_map_lookup_elem(inst->map[MCTL_MAP_SOURCES], &ifindex[i], &s) && (s.flags & MIR_SOURCE_PEER))
			return true;
	return false;
}

/* What has been counted as lost. */
static void happened(const struct mctl_instance *inst, void (*each)(const char *text, void *data), void *data)
{
	const uint64_t left_out = mctl_runs_left_out(inst);
	const struct mir_live *live = inst->live;
	char line[160];

	if (left_out) {
		snprintf(line, sizeof(line), "preemption: %" PRIu64 " runs of programs that follow processes and sockets were "
			 "left out by the kernel; what they tell is known later or not at all", left_out);
		each(line, data);
	}
	if (live->children_lost) {
		snprintf(line, sizeof(line), "follow: %" PRIu64 " children found no room among %d targets",
			 (uint64_t)live->children_lost, MIR_TARGETS_LIMIT);
		each(line, data);
	}
	if (live->targets_lost) {
		snprintf(line, sizeof(line), "selectors: %" PRIu64 " processes found no room among %d targets",
			 (uint64_t)live->targets_lost, MIR_TARGETS_LIMIT);
		each(line, data);
	}
	if (live->cgroups_lost) {
		snprintf(line, sizeof(line), "selectors: %" PRIu64 " control groups found no room among %d",
			 (uint64_t)live->cgroups_lost, MIR_TRAITS_LIMIT);
		each(line, data);
	}
	if (live->sockets_lost) {
		snprintf(line, sizeof(line), "sockets: %" PRIu64 " could not carry an owner; raise net.core.optmem_max",
			 (uint64_t)live->sockets_lost);
		each(line, data);
	}
}

void mctl_limits(const struct mctl_instance *inst, void (*each)(const char *text, void *data), void *data)
{
	const struct mir_config *c = &inst->config;
	const struct mir_live *live = inst->live;
	bool containers;

	if (c->tier_accept == MIR_ACCEPT_INHERIT && c->tier_use == MIR_USE_CGROUP)
		each("accept: a connection counts for the listener's owner, whoever accepts it", data);
	else if (c->tier_accept == MIR_ACCEPT_INHERIT)
		each("accept: a connection accepted by another process than the listener's owner counts for the owner "
		     "until the acceptor first receives", data);
	if (c->tier_use == MIR_USE_TRACEPOINT)
		each("use: the first packets sent on an inherited or passed connected socket count for its former user", data);
	if (c->tier_use == MIR_USE_CGROUP)
		each("use: an inherited or passed socket changes owner by connect, or by datagrams with an address, only",
		     data);
	if (c->tier_existing == MIR_EXISTING_GETFD && c->tier_use == MIR_USE_CGROUP)
		each("existing: connections that wait to be accepted when a process is added are not matched", data);
	else if (c->tier_existing == MIR_EXISTING_GETFD)
		each("existing: connections that wait to be accepted when a process is added count once they are used", data);
	if (c->tier_linger == MIR_LINGER_NONE)
		each("linger: packets of closed connections (TIME_WAIT, late FIN and RST) are not matched", data);
	if (c->tier_use == MIR_USE_TRACEPOINT)
		each("selectors: connections that a process had open before it began to match count from their second use on",
		     data);
	if (c->tier_use == MIR_USE_CGROUP)
		each("selectors: connections that a process had open before it began to match are not mirrored", data);
	each("selectors: a change of the user id is seen at the next use of a socket", data);
	if (!c->text)
		each("selectors: no texts from this kernel: names that change at run time, names of more than 15 bytes, programs "
		     "that are replaced and control groups that are made again are not recognized", data);
	if (!c->tcx)
		each("attach: no TCX on this kernel; a clsact filter ahead of ours can hide packets", data);
	each("existing: sockets behind io_uring direct descriptors are not found when a process is added", data);
	if (c->tier_count == MIR_COUNT_FILES)
		each("list: sockets that no process has open (closed with data under way, not yet accepted) are not counted", data);
	if (c->tier_count == MIR_COUNT_NONE)
		each("list: sockets of targets are not counted here", data);
	each("reuseport: where a program picks the socket of a SO_REUSEPORT group, datagrams and SYNs count for the one the hash "
	     "picks", data);
	if (c->tier_use != MIR_USE_FENTRY)
		each("packet: the first frame sent on an AF_PACKET socket made after its process was added is not matched", data);
	if (cuts(c->copy_ifindex))
		each("monitor: super-packets of more than 64 KB (BIG TCP) come in pieces; a dummy or veth monitor can take them "
		     "whole", data);
	each("nat: packets that arrive for an address or port that this host translates are missed until the target has sent on "
	     "that conversation; another's are taken for the target's where it has a socket for what stands on the wire", data);
	each("tproxy: what TPROXY rules hand to a listener or to a socket that is not connected is not matched", data);
	each("ipsec: packets that arrive encrypted (ESP) are not matched, nor are a closed connection's that leave so; in tunnel "
	     "mode what arrives is when it passes a source again, decrypted", data);
	containers = watches_containers(inst);
	if (containers)
		each("container: on the host's end of a veth, TCP packets that come when a process of the container has closed the "
		     "connection and its TIME_WAIT is over are not matched", data);
	if (containers && !c->timewait && c->tier_linger != MIR_LINGER_NONE)
		each("container-timewait: acknowledgements that a process of a container sends in TIME_WAIT are not matched on the "
		     "host's end of a veth", data);
	each("raw: packets to a raw, UDP-Lite or SCTP socket are matched once it has sent to their sender", data);
	each("multicast and broadcast datagrams are matched for one receiving socket only", data);
	each("a later IP fragment that arrives before the first one is not matched; where two datagrams share an identification at "
	     "once, it counts for the one whose first fragment came last", data);
	device_limits(inst, each, data);
	if (live)
		happened(inst, each, data);
}
