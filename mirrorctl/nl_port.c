/* SPDX-License-Identifier: GPL-2.0-only */
/* What only a tap asks of netlink: see nl_port.h. */
#include "nl_port.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include <linux/genetlink.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>

#include "mctl.h"
#include "nl_request.h"

/* <linux/netdev.h> since Linux 6.3. */
#define NETDEV_FAMILY "netdev"
#define NETDEV_CMD_DEV_GET 1
#define NETDEV_A_IFINDEX 1
#define NETDEV_A_XDP_FEATURES 3

static int family_attr(const struct nlattr *attr, void *data)
{
	uint16_t *id = data;

	if (mnl_attr_get_type(attr) == CTRL_ATTR_FAMILY_ID)
		*id = mnl_attr_get_u16(attr);
	return MNL_CB_OK;
}

static int on_family(const struct nlmsghdr *nlh, void *data)
{
	return mnl_attr_parse(nlh, sizeof(struct genlmsghdr), family_attr, data);
}

static int features_attr(const struct nlattr *attr, void *data)
{
	if (mnl_attr_get_type(attr) == NETDEV_A_XDP_FEATURES)
		memcpy(data, mnl_attr_get_payload(attr), sizeof(uint64_t));
	return MNL_CB_OK;
}

static int on_features(const struct nlmsghdr *nlh, void *data)
{
	return mnl_attr_parse(nlh, sizeof(struct genlmsghdr), features_attr, data);
}

static void generic_init(struct nl_request *req, uint16_t family, uint8_t command)
{
	struct genlmsghdr *genl;

	mctl_nl_init(req, family, NLM_F_ACK);
	req->bus = NETLINK_GENERIC;
	genl = mctl_nl_extra(req, sizeof(*genl));
	genl->cmd = command;
	genl->version = 1;
}

int mctl_port_xdp_features(int ifindex, uint64_t *ret_features)
{
	struct nl_request req;
	uint64_t features = 0;
	uint16_t family = 0;
	int r;

	generic_init(&req, GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
	mnl_attr_put_strz(req.nlh, CTRL_ATTR_FAMILY_NAME, NETDEV_FAMILY);
	r = mctl_nl_run(&req, on_family, &family);
	if (r < 0 || !family)
		return -ENOENT;
	generic_init(&req, family, NETDEV_CMD_DEV_GET);
	mnl_attr_put_u32(req.nlh, NETDEV_A_IFINDEX, (uint32_t)ifindex);
	r = mctl_nl_run(&req, on_features, &features);
	if (r < 0)
		return r;
	*ret_features = features;
	return 0;
}

int mctl_port_promisc(int ifindex, bool on)
{
	struct nl_request req;
	struct ifinfomsg *ifi;

	mctl_nl_init(&req, RTM_SETLINK, NLM_F_ACK);
	ifi = mctl_nl_extra(&req, sizeof(*ifi));
	ifi->ifi_index = ifindex;
	ifi->ifi_flags = on ? IFF_PROMISC : 0;
	ifi->ifi_change = IFF_PROMISC;
	return mctl_nl_run(&req, NULL, NULL);
}

struct address_scan {
	int ifindex;
	struct mir_tap_address *to;
	size_t n, max;
};

static int address_attr(const struct nlattr *attr, void *data)
{
	const size_t len = mnl_attr_get_payload_len(attr);
	const void *bytes = mnl_attr_get_payload(attr);
	struct mir_tap_address *a = data;

	switch (mnl_attr_get_type(attr)) {
	case IFA_LOCAL:
		memcpy(a->local, bytes, len < sizeof(a->local) ? len : sizeof(a->local));
		break;
	case IFA_ADDRESS:
		memcpy(a->address, bytes, len < sizeof(a->address) ? len : sizeof(a->address));
		break;
	case IFA_BROADCAST:
		memcpy(a->broadcast, bytes, sizeof(a->broadcast));
		a->has = 1;
		break;
	case IFA_FLAGS:
		a->flags = mnl_attr_get_u32(attr) & (IFA_F_NODAD | IFA_F_HOMEADDRESS | IFA_F_NOPREFIXROUTE |
						     IFA_F_MANAGETEMPADDR | IFA_F_MCAUTOJOIN);
		break;
	}
	return MNL_CB_OK;
}

static int on_port_address(const struct nlmsghdr *nlh, void *data)
{
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
	static const __u8 none[16];
	struct address_scan *scan = data;
	struct mir_tap_address a = {
		.ifindex = ifa->ifa_index, .family = ifa->ifa_family, .prefixlen = ifa->ifa_prefixlen, .scope = ifa->ifa_scope,
	};

	if ((int)ifa->ifa_index != scan->ifindex || (ifa->ifa_family == AF_INET6 && ifa->ifa_scope == RT_SCOPE_LINK))
		return MNL_CB_OK;
	mnl_attr_parse(nlh, sizeof(*ifa), address_attr, &a);
	if (!memcmp(a.local, none, sizeof(none)))	/* IPv6 has no IFA_LOCAL unless it is point-to-point */
		memcpy(a.local, a.address, sizeof(a.local));
	if (scan->n < scan->max)
		scan->to[scan->n] = a;
	scan->n++;
	return MNL_CB_OK;
}

int mctl_port_addresses(int ifindex, struct mir_tap_address *ret_addresses, size_t max, size_t *ret_n)
{
	struct address_scan scan = { .ifindex = ifindex, .to = ret_addresses, .max = max };
	struct nl_request req;
	struct ifaddrmsg *ifa;
	int r;

	mctl_nl_init(&req, RTM_GETADDR, NLM_F_DUMP);
	ifa = mctl_nl_extra(&req, sizeof(*ifa));
	ifa->ifa_family = AF_UNSPEC;
	r = mctl_nl_run(&req, on_port_address, &scan);
	if (r < 0)
		return r;
	*ret_n = scan.n;
	return 0;
}

static int address_request(const struct mir_tap_address *a, uint16_t type, uint16_t flags)
{
	const size_t len = a->family == AF_INET ? 4 : 16;
	struct nl_request req;
	struct ifaddrmsg *ifa;

	mctl_nl_init(&req, type, (uint16_t)(NLM_F_ACK | flags));
	ifa = mctl_nl_extra(&req, sizeof(*ifa));
	ifa->ifa_family = a->family;
	ifa->ifa_prefixlen = a->prefixlen;
	ifa->ifa_scope = a->scope;
	ifa->ifa_index = a->ifindex;
	mnl_attr_put(req.nlh, IFA_LOCAL, len, a->local);
	mnl_attr_put(req.nlh, IFA_ADDRESS, len, a->address);
	if (type == RTM_NEWADDR && a->family == AF_INET && a->has)
		mnl_attr_put(req.nlh, IFA_BROADCAST, len, a->broadcast);
	if (type == RTM_NEWADDR)
		mnl_attr_put_u32(req.nlh, IFA_FLAGS, a->flags);
	return mctl_nl_run(&req, NULL, NULL);
}

int mctl_port_address_add(const struct mir_tap_address *address)
{
	int r = address_request(address, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);

	return r == -EEXIST ? 0 : r;
}

int mctl_port_address_delete(const struct mir_tap_address *address)
{
	int r = address_request(address, RTM_DELADDR, 0);

	return r == -EADDRNOTAVAIL ? 0 : r;
}

static int nsid_attr(const struct nlattr *attr, void *data)
{
	if (mnl_attr_get_type(attr) == NETNSA_NSID)
		*(int *)data = (int)mnl_attr_get_u32(attr);
	return MNL_CB_OK;
}

static int on_nsid(const struct nlmsghdr *nlh, void *data)
{
	return mnl_attr_parse(nlh, sizeof(struct rtgenmsg), nsid_attr, data);
}

/* Opens DIR/NAME if that is the namespace with this number. */
static bool netns_is(const char *path, int nsid, int *ret_fd)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct nl_request req;
	struct rtgenmsg *gen;
	int found = -1;

	if (fd < 0)
		return false;
	mctl_nl_init(&req, RTM_GETNSID, NLM_F_ACK);
	gen = mctl_nl_extra(&req, sizeof(*gen));
	gen->rtgen_family = AF_UNSPEC;
	mnl_attr_put_u32(req.nlh, NETNSA_FD, (uint32_t)fd);
	if (mctl_nl_run(&req, on_nsid, &found) < 0 || found != nsid)
		return false;
	*ret_fd = TAKE_FD(fd);
	return true;
}

static bool search(const char *dir, const char *suffix, int nsid, int *ret_fd)
{
	DIR *d = opendir(dir);
	const struct dirent *e;
	bool found = false;
	char path[512];

	while (d && !found && (e = readdir(d))) {
		if (e->d_name[0] == '.' || (*suffix && (e->d_name[0] < '0' || e->d_name[0] > '9')))
			continue;
		snprintf(path, sizeof(path), "%s/%s%s", dir, e->d_name, suffix);
		found = netns_is(path, nsid, ret_fd);
	}
	if (d)
		closedir(d);
	return found;
}

int mctl_port_netns(int nsid, int *ret_fd)
{
	return search("/run/netns", "", nsid, ret_fd) || search("/proc", "/ns/net", nsid, ret_fd) ? 0 : -ENOENT;
}
