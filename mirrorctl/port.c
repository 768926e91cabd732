/* SPDX-License-Identifier: GPL-2.0-only */
/* The ports of a tap: see port.h. */
#include "port.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <linux/ethtool.h>
#include <linux/if.h>
#include <linux/sockios.h>

#include "attach.h"
#include "mctl.h"
#include "monitor.h"
#include "nl_port.h"
#include "sources.h"

#define HEADER 18	/* Ethernet header and one VLAN tag: what xdp_ok_fwd_dev() allows beside the MTU */

/* Settings that ethtool has, and what a tap wants of them. */
static const struct setting {
	__u32 bit;		/* MIR_TAP_* */
	bool peer;		/* of the veth's other end */
	bool on;
	__u32 get, set;		/* ETHTOOL_* */
	__u32 flag;		/* ETH_FLAG_* within the value; 0: the whole */
	unsigned int modes;	/* 1 << enum mir_tap_mode */
} settings[] = {
	{ MIR_TAP_RXVLAN, false, false, ETHTOOL_GFLAGS, ETHTOOL_SFLAGS, ETH_FLAG_RXVLAN,
	  1u << MIR_TAP_NATIVE | 1u << MIR_TAP_GENERIC },
	{ MIR_TAP_GRO, false, false, ETHTOOL_GGRO, ETHTOOL_SGRO, 0, 1u << MIR_TAP_GENERIC },
	{ MIR_TAP_PEER_GRO, true, true, ETHTOOL_GGRO, ETHTOOL_SGRO, 0, 1u << MIR_TAP_NATIVE },
	{ MIR_TAP_PEER_CSUM, true, false, ETHTOOL_GTXCSUM, ETHTOOL_STXCSUM, 0, 1u << MIR_TAP_NATIVE },
	{ MIR_TAP_PEER_TXVLAN, true, false, ETHTOOL_GFLAGS, ETHTOOL_SFLAGS, ETH_FLAG_TXVLAN,
	  1u << MIR_TAP_NATIVE | 1u << MIR_TAP_GENERIC },
};

/* A device in whichever namespace, within reach of ioctl(). */
struct reach {
	int sock;
	char name[MIR_IFNAME_LEN];
};

static void reach_close(struct reach *at)
{
	mctl_closep(&at->sock);
}
#define _cleanup_reach_ _cleanup_(reach_close)

static int reach_here(int ifindex, struct reach *ret)
{
	struct ifreq ifr = { .ifr_ifindex = ifindex };

	ret->sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (ret->sock < 0 || ioctl(ret->sock, SIOCGIFNAME, &ifr))
		return -errno;
	snprintf(ret->name, sizeof(ret->name), "%s", ifr.ifr_name);
	return 0;
}

/* A socket belongs to the namespace it was made in, so this thread is back at once. */
static int reach_peer(int netns, int ifindex, struct reach *ret)
{
	_cleanup_close_ int home = -1;
	int r;

	if (netns < 0)
		return reach_here(ifindex, ret);
	home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (home < 0 || setns(netns, CLONE_NEWNET))
		return -errno;
	r = reach_here(ifindex, ret);
	return setns(home, CLONE_NEWNET) ? -errno : r;
}

static int ethtool(const struct reach *at, __u32 command, __u32 *value)
{
	struct ethtool_value v = { .cmd = command, .data = *value };
	struct ifreq ifr = { .ifr_data = (void *)&v };

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", at->name);
	if (ioctl(at->sock, SIOCETHTOOL, &ifr))
		return -errno;
	*value = v.data;
	return 0;
}

static int setting_get(const struct reach *at, const struct setting *s, bool *ret_on)
{
	__u32 value = 0;
	int r = ethtool(at, s->get, &value);

	if (!r)
		*ret_on = s->flag ? value & s->flag : value;
	return r;
}

static int setting_set(const struct reach *at, const struct setting *s, bool on)
{
	__u32 value = on;
	int r;

	if (s->flag) {
		r = ethtool(at, s->get, &value);
		if (r < 0)
			return r;
		value = on ? value | s->flag : value & ~s->flag;
	}
	return ethtool(at, s->set, &value);
}

static int ipv6_knob(const char *name, int flags)
{
	char path[96];

	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
	return open(path, flags | O_CLOEXEC);
}

static bool ipv6_is_on(const char *name)
{
	_cleanup_close_ int fd = ipv6_knob(name, O_RDONLY);
	char c = '1';

	return fd >= 0 && read(fd, &c, 1) == 1 && c == '0';
}

static int ipv6_turn(const char *name, bool on)
{
	_cleanup_close_ int fd = ipv6_knob(name, O_WRONLY);

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	return write(fd, on ? "0" : "1", 1) == 1 ? 0 : -errno;
}

static bool is_source(const struct mctl_instance *inst, int ifindex)
{
	int sources[MIR_SOURCES_LIMIT];
	size_t n = inst->map[MCTL_MAP_SOURCES] >= 0 ? mctl_sources_list(inst, sources) : 0;

	for (size_t i = 0; i < n; i++)
		if (sources[i] == ifindex)
			return true;
	return false;
}

static bool is_monitor(const struct mctl_instance *inst, const struct mctl_link *link)
{
	return mctl_monitor_ours(link) || (inst->map[MCTL_MAP_CONFIG] >= 0 &&
		((!inst->config.monitor_netns && (__u32)link->ifindex == inst->config.monitor_ifindex) ||
		 (__u32)link->ifindex == inst->config.copy_ifindex || (__u32)link->ifindex == inst->config.relay_ifindex));
}

int mctl_port_check(const struct mctl_instance *inst, const struct mctl_links *links, const struct mctl_link *link)
{
	const struct mctl_link *master = mctl_links_by_index(links, link->master);
	const char *name = link->name;

	if (is_monitor(inst, link))
		return mctl_why(-EINVAL, "'%s' is a monitor: copies would be copied again", name);
	if (mctl_device_of(link) != MCTL_DEVICE_ETHERNET)
		return mctl_why(-EINVAL, "'%s' is no Ethernet device", name);
	if (!strcmp(link->kind, "ifb") || !strcmp(link->kind, "bridge") || !strcmp(link->kind, "dummy"))
		return mctl_why(-EINVAL, "'%s' is a device of kind %s, which is no end of a wire", name, link->kind);
	if (is_source(inst, link->ifindex))
		return mctl_why(-EINVAL, "'%s' is a source of the mirror, which would show the same frames; take it out "
				"with 'mirrorctl up DEV...' or 'mirrorctl down'", name);
	if (link->master)
		return mctl_why(-EINVAL, "'%s' belongs to '%s'; 'ip link set %s nomaster' frees it", name,
				master ? master->name : "another device", name);
	if (!(link->flags & IFF_UP))
		return mctl_why(-ENETDOWN, "'%s' is down; 'ip link set %s up' turns it on", name, name);
	return 0;
}

/* Where the other end of a veth is. -1 in *ret_netns: in this namespace. */
static int find_peer(const struct mctl_link *link, int *ret_netns)
{
	*ret_netns = -1;
	return link->peer_away ? mctl_port_netns(link->peer_nsid, ret_netns) : 0;
}

static void plan_settings(const struct reach *at, bool peer, enum mir_tap_mode mode, struct mir_tap_port *port)
{
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		const struct setting *s = &settings[i];
		bool on;

		if (s->peer == peer && (s->modes & 1u << mode) && !setting_get(at, s, &on) && on != s->on)
			port->changed |= s->bit;
	}
}

int mctl_port_plan(const struct mctl_link *link, enum mir_tap_mode mode, struct mir_tap_port *ret_port)
{
	struct mir_tap_port port = { .ifindex = (__u32)link->ifindex, .longest = link->mtu + HEADER };
	_cleanup_reach_ struct reach own = { .sock = -1 }, other = { .sock = -1 };
	_cleanup_close_ int netns = -1;
	struct stat st;
	int r;

	snprintf(port.name, sizeof(port.name), "%s", link->name);
	if (!(link->flags & IFF_PROMISC))
		port.changed |= MIR_TAP_PROMISC;
	if (ipv6_is_on(link->name))
		port.changed |= MIR_TAP_IPV6;
	r = reach_here(link->ifindex, &own);
	if (r < 0)
		return r;
	plan_settings(&own, false, mode, &port);
	if (!strcmp(link->kind, "veth")) {
		r = find_peer(link, &netns);
		if (!r)
			r = reach_peer(netns, link->peer, &other);
		if (r < 0 && mode == MIR_TAP_NATIVE)
			return mctl_why(-EOPNOTSUPP, "the other end of veth '%s' is in a namespace without name or process, "
					"so its offloads cannot be set", link->name);
		if (!r) {
			plan_settings(&other, true, mode, &port);
			port.peer_ifindex = (__u32)link->peer;
			port.peer_netns = netns >= 0 && !fstat(netns, &st) ? (__u32)st.st_ino : 0;
		}
	}
	*ret_port = port;
	return 0;
}

static int change_settings(const struct reach *at, bool peer, const struct mir_tap_port *port, bool on)
{
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		const struct setting *s = &settings[i];

		if (s->peer != peer || !(port->changed & s->bit))
			continue;
		if (setting_set(at, s, on ? s->on : !s->on) && on && peer)
			r = mctl_why(-EOPNOTSUPP, "cannot set the offloads of the other end of '%s'", port->name);
	}
	return r;
}

int mctl_port_change(const struct mir_tap_port *port, bool on)
{
	_cleanup_reach_ struct reach own = { .sock = -1 }, other = { .sock = -1 };
	_cleanup_links_ struct mctl_links links = {};
	const struct mctl_link *link;
	_cleanup_close_ int netns = -1;
	int r;

	r = mctl_links_read(&links);
	if (r < 0)
		return r;
	link = mctl_links_by_index(&links, (int)port->ifindex);
	if (!link)
		return on ? -ENODEV : 0;
	r = reach_here(link->ifindex, &own);
	if (!r)
		r = change_settings(&own, false, port, on);
	if (!r && port->peer_ifindex && (__u32)link->peer == port->peer_ifindex && !find_peer(link, &netns) &&
	    !reach_peer(netns, link->peer, &other))
		r = change_settings(&other, true, port, on);
	if (!r && (port->changed & MIR_TAP_IPV6))
		r = ipv6_turn(link->name, !on);
	if (!r && (port->changed & MIR_TAP_PROMISC))
		r = mctl_port_promisc(link->ifindex, on);
	if (!on && (port->changed & MIR_TAP_CLSACT))
		mctl_clsact_unmake(link->ifindex);
	return r;
}

int mctl_port_napi(const char *name)
{
	static const struct setting gro = { .get = ETHTOOL_GGRO, .set = ETHTOOL_SGRO };
	_cleanup_reach_ struct reach at = { .sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) };

	snprintf(at.name, sizeof(at.name), "%s", name);
	return setting_set(&at, &gro, true);
}
