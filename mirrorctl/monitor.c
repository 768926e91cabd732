/* SPDX-License-Identifier: GPL-2.0-only */
/* The devices that copies go to: see monitor.h. */
#include "monitor.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>

#include "attach.h"
#include "host.h"
#include "mctl.h"
#include "netns.h"
#include "settings.h"

static void alias_of(const struct mctl_instance *inst, char *alias)
{
	snprintf(alias, MCTL_ALIAS_LEN, "mirrorctl %.200s", inst->dir);
}

const char *mctl_monitor_type_name(unsigned int type)
{
	return type < MIR_MONITOR_MAX ? mctl_monitor_types[type] : "unknown";
}

bool mctl_monitor_ours(const struct mctl_link *link)
{
	return link->group == MCTL_GROUP;
}

/* Nobody has asked for it: down, without address, in no group. */
static bool is_idle_dummy(const struct mctl_link *link)
{
	return link && !strcmp(link->kind, "dummy") && !(link->flags & IFF_UP) && !link->addressed && !link->master &&
	       !link->group;
}

/* The dummy module makes a dummy0 in the first network namespace when it is loaded (parameter numdummies). */
static int drop_dummy0(void)
{
	_cleanup_close_ int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	_cleanup_close_ int first = open("/proc/1/ns/net", O_RDONLY | O_CLOEXEC);
	_cleanup_links_ struct mctl_links links = {};
	const struct mctl_link *link;

	if (home < 0 || first < 0 || setns(first, CLONE_NEWNET))
		return 0;
	link = mctl_links_read(&links) ? NULL : mctl_links_by_name(&links, "dummy0");
	if (link && is_idle_dummy(link))
		mctl_link_delete(link->ifindex);
	return setns(home, CLONE_NEWNET) ? -errno : 0;
}

static int make_one(const char *name, enum mir_monitor_type type)
{
	bool absent = type == MIR_MONITOR_DUMMY && !access("/sys/module", F_OK) && access("/sys/module/dummy", F_OK);
	const char *kind = mctl_monitor_type_name(type);
	char peer[MIR_IFNAME_LEN] = "";
	int r;

	if (mctl_host_disabled(kind))
		return mctl_why(-EOPNOTSUPP, "%s devices are disabled by MIRRORCTL_DISABLE", kind);
	if (type == MIR_MONITOR_VETH)
		snprintf(peer, sizeof(peer), "%.11s-in", name);
	r = mctl_link_add(kind, name, *peer ? peer : NULL, MCTL_GROUP);
	if (!r && absent && !access("/sys/module/dummy", F_OK))	/* our request has loaded it */
		r = drop_dummy0();
	return r;
}

static int silence(const struct mctl_instance *inst, const char *name)
{
	char alias[MCTL_ALIAS_LEN];

	alias_of(inst, alias);
	mctl_link_widen(name);
	return mctl_link_silence(name, MCTL_MONITOR_MTU, alias);
}

int mctl_monitor_make(const struct mctl_instance *inst, const char *name, enum mir_monitor_type type,
		      struct mctl_monitor *ret_monitor)
{
	struct mctl_monitor m = { .type = type };
	char peer[MIR_IFNAME_LEN];
	int r;

	snprintf(m.name, sizeof(m.name), "%s", name);
	if (type == MIR_MONITOR_AUTO) {
		m.type = MIR_MONITOR_DUMMY;
		r = make_one(name, m.type);
		for (; r == -EOPNOTSUPP && m.type < MIR_MONITOR_VETH; r = make_one(name, m.type))
			m.type++;
	} else {
		r = make_one(name, m.type);
	}
	if (r < 0)
		return r;

	m.copy_ifindex = m.ifindex = (int)if_nametoindex(name);
	r = silence(inst, name);
	if (!r && m.type == MIR_MONITOR_VETH) {
		snprintf(peer, sizeof(peer), "%.11s-in", name);
		m.copy_ifindex = (int)if_nametoindex(peer);
		r = silence(inst, peer);
	}
	if (r < 0) {
		mctl_link_delete(m.ifindex);
		return r;
	}
	*ret_monitor = m;
	return 0;
}

/* The end of a monitor that is in another namespace. */
struct away {
	const struct mctl_instance *inst;
	const char *dir;
	struct mctl_monitor *monitor;
};

static int finish_away(void *data)
{
	const struct away *away = data;
	int r;

	away->monitor->ifindex = (int)if_nametoindex(away->monitor->name);
	r = silence(away->inst, away->monitor->name);
	return r < 0 ? r : mctl_monitor_attach_away(away->inst, away->dir, away->monitor->ifindex, away->monitor->copy_ifindex);
}

/* A veth: copies enter at NAME-in here, and NAME is there alone. */
static int make_away(const struct mctl_instance *inst, const char *dir, int netns, struct mctl_monitor *m)
{
	struct away away = { .inst = inst, .dir = dir, .monitor = m };
	char in[MIR_IFNAME_LEN];
	int r;

	m->type = MIR_MONITOR_VETH;
	snprintf(in, sizeof(in), "%.11s-in", m->name);
	r = mctl_link_add_veth_to(in, m->name, netns, MCTL_GROUP);
	if (r < 0)
		return r;
	m->copy_ifindex = (int)if_nametoindex(in);
	r = silence(inst, in);
	if (!r)
		r = mctl_netns_in(netns, finish_away, &away);
	if (r < 0)
		mctl_link_delete(m->copy_ifindex);
	return r;
}

static int make_here(const struct mctl_instance *inst, const char *dir, enum mir_monitor_type type, struct mctl_monitor *m)
{
	int r;

	r = mctl_monitor_make(inst, m->name, type, m);
	if (!r && m->type == MIR_MONITOR_VETH)
		r = mctl_monitor_attach(inst, dir, "mir_discard", m->ifindex, false);
	return r;
}

static int open_netns(const struct mctl_instance *inst, const char *name, int *ret_fd, uint32_t *ret_netns)
{
	struct stat st;
	int fd, r;

	r = mctl_netns_open(name, &fd);
	if (r == -ENOENT)
		return mctl_why(-ENODEV, "there is no network namespace '%s' for the monitor; 'ip netns list' names "
				"those there are", name);
	if (r < 0)
		return r;
	r = fstat(fd, &st) ? -errno : 0;
	*ret_netns = !r && st.st_ino != inst->netns ? (uint32_t)st.st_ino : 0;
	*ret_fd = fd;
	return r;
}

int mctl_monitor_netns(const struct mctl_instance *inst, const char *name, uint32_t *ret_netns)
{
	_cleanup_close_ int fd = -1;

	*ret_netns = 0;
	return name ? open_netns(inst, name, &fd, ret_netns) : 0;
}

int mctl_monitor_build(const struct mctl_instance *inst, const char *dir, const struct mctl_monitor_want *want,
		       struct mctl_monitor *ret_monitor)
{
	struct mctl_monitor m = {};
	_cleanup_close_ int netns = -1;
	int r = 0;

	snprintf(m.name, sizeof(m.name), "%s", want->name);
	if (want->netns)
		r = open_netns(inst, want->netns, &netns, &m.netns);
	if (r < 0)
		return r;
	if (m.netns && want->type != MIR_MONITOR_AUTO && want->type != MIR_MONITOR_VETH)
		return mctl_why(-EINVAL, "a monitor in another namespace is a veth, not a %s", mctl_monitor_type_name(want->type));
	r = m.netns ? make_away(inst, dir, netns, &m) : make_here(inst, dir, want->type, &m);
	if (r == -EEXIST)
		return mctl_why(r, "device '%s' exists and is not mirrorctl's; delete it or choose another name with "
				"--monitor", want->name);
	if (r == -EOPNOTSUPP)
		return mctl_why(r, "this kernel has no %s devices; choose another --monitor-type",
				mctl_monitor_type_name(want->type));
	if (!r)
		r = mctl_monitor_attach(inst, dir, "mir_monitor", m.copy_ifindex, true);
	if (r < 0)
		return mctl_why(r, "cannot make monitor '%s': %s", want->name, mctl_reason(r));
	*ret_monitor = m;
	return 0;
}

static bool has_ports(const struct mctl_links *links, int bridge)
{
	size_t i;

	for (i = 0; i < links->n; i++)
		if (links->link[i].master == bridge)
			return true;
	return false;
}

int mctl_monitor_adopt(const struct mctl_links *links, const char *name, struct mctl_monitor *ret_monitor)
{
	const struct mctl_link *link = mctl_links_by_name(links, name), *peer;
	struct mctl_monitor m = { .adopted = true };
	int r;

	if (!link)
		return -ENODEV;
	snprintf(m.name, sizeof(m.name), "%s", name);
	m.copy_ifindex = m.ifindex = link->ifindex;
	peer = link->peer_away ? NULL : mctl_links_by_index(links, link->peer);
	if (!strcmp(link->kind, "dummy"))
		m.type = MIR_MONITOR_DUMMY;
	else if (!strcmp(link->kind, "bridge") && !has_ports(links, link->ifindex))
		m.type = MIR_MONITOR_BRIDGE;
	else if (!strcmp(link->kind, "veth") && peer && peer->peer == link->ifindex && !peer->addressed)
		m.type = MIR_MONITOR_VETH;
	if (m.type == MIR_MONITOR_AUTO || link->master || link->addressed)
		return -EEXIST;

	mctl_link_widen(name);
	r = mctl_link_silence(name, MCTL_MONITOR_MTU, NULL);
	if (!r && m.type == MIR_MONITOR_VETH && peer) {
		m.copy_ifindex = peer->ifindex;
		mctl_link_widen(peer->name);
		r = mctl_link_silence(peer->name, MCTL_MONITOR_MTU, NULL);
	}
	if (r < 0)
		return r;
	*ret_monitor = m;
	return 0;
}

int mctl_relay_make(const struct mctl_instance *inst, const char *monitor, int *ret_ifindex)
{
	char name[MIR_IFNAME_LEN];
	int r;

	snprintf(name, sizeof(name), "%.11s-l3", monitor);
	r = mctl_link_add_tun(name, MCTL_GROUP);
	if (!r)
		r = silence(inst, name);
	if (r < 0)
		return r;
	*ret_ifindex = (int)if_nametoindex(name);
	return 0;
}

/* A device without alias was made by a mirrorctl that was killed before it could write one. */
int mctl_monitor_clear(const struct mctl_instance *inst, const int *keep, size_t n)
{
	_cleanup_links_ struct mctl_links links = {};
	char alias[MCTL_ALIAS_LEN];
	size_t i, k;
	int r;

	alias_of(inst, alias);
	r = mctl_links_read(&links);
	for (i = 0; !r && i < links.n; i++) {
		const struct mctl_link *link = &links.link[i];

		if (!mctl_monitor_ours(link) || (*link->alias && strcmp(link->alias, alias)))
			continue;
		for (k = 0; k < n && keep[k] != link->ifindex; k++)
			;
		if (k < n)
			continue;
		r = mctl_link_delete(link->ifindex);
		if (r == -ENODEV)	/* went with the other end of its veth */
			r = 0;
	}
	return r;
}
