/* SPDX-License-Identifier: GPL-2.0-only */
/* Network devices over rtnetlink: see nl.h. */
#include "nl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>

#include <libmnl/libmnl.h>

#include "mctl.h"
#include "nl_request.h"

#define MCTL_IFLA_GSO_IPV4_MAX_SIZE 63	/* linux/if_link.h of Linux 6.3; older kernels pass it over */

void mctl_nl_init(struct nl_request *req, uint16_t type, uint16_t flags)
{
	req->bus = NETLINK_ROUTE;
	req->nlh = mnl_nlmsg_put_header(req->u.bytes);
	req->nlh->nlmsg_type = type;
	req->nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	req->nlh->nlmsg_seq = (uint32_t)time(NULL);
}

void *mctl_nl_extra(struct nl_request *req, size_t size)
{
	return mnl_nlmsg_put_extra_header(req->nlh, size);
}

/* Keeps the text of an extended acknowledgement (NLMSGERR_ATTR_MSG) for mctl_reason(). */
static int extack_attr(const struct nlattr *attr, void *data)
{
	const char **text = data;

	if (mnl_attr_get_type(attr) == NLMSGERR_ATTR_MSG && mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) >= 0)
		*text = mnl_attr_get_str(attr);
	return MNL_CB_OK;
}

static int on_error(const struct nlmsghdr *nlh, void *data)
{
	const struct nlmsgerr *err = mnl_nlmsg_get_payload(nlh);
	const char *text = NULL;
	size_t skip = sizeof(*err);

	(void)data;
	if (!err->error)
		return MNL_CB_STOP;
	if (!(nlh->nlmsg_flags & NLM_F_CAPPED))
		skip += mnl_nlmsg_get_payload_len(&err->msg);
	if (nlh->nlmsg_flags & NLM_F_ACK_TLVS)
		mnl_attr_parse(nlh, (unsigned int)skip, extack_attr, &text);
	if (text)
		mctl_why(err->error, "%s: %s", strerror(-err->error), text);
	errno = -err->error;
	return MNL_CB_ERROR;
}

int mctl_nl_run(struct nl_request *req, mnl_cb_t cb, void *data)
{
	mnl_cb_t ctl[NLMSG_ERROR + 1] = { [NLMSG_ERROR] = on_error };
	_cleanup_free_ char *buf = malloc(MCTL_NL_BUF_LEN);
	struct mnl_socket *nl;
	unsigned int portid;
	int on = 1, r;
	ssize_t len;

	if (!buf)
		return -ENOMEM;
	nl = mnl_socket_open2(req->bus, SOCK_CLOEXEC);
	if (!nl)
		return -errno;
	(void)mnl_socket_setsockopt(nl, NETLINK_EXT_ACK, &on, sizeof(on));
	if (mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0 || mnl_socket_sendto(nl, req->nlh, req->nlh->nlmsg_len) < 0) {
		r = -errno;
		mnl_socket_close(nl);
		return r;
	}
	portid = mnl_socket_get_portid(nl);
	do {
		len = mnl_socket_recvfrom(nl, buf, MCTL_NL_BUF_LEN);
		if (len < 0) {
			r = -1;
			break;
		}
		r = mnl_cb_run2(buf, (size_t)len, req->nlh->nlmsg_seq, portid, cb, data, ctl, ARRAY_SIZE(ctl));
	} while (r > MNL_CB_STOP);
	r = r < 0 ? -errno : 0;
	mnl_socket_close(nl);
	return r;
}

void mctl_links_free(struct mctl_links *links)
{
	free(links->link);
	links->link = NULL;
	links->n = 0;
}

static int vlan_attr(const struct nlattr *attr, void *data)
{
	struct mctl_link *l = data;

	if (mnl_attr_get_type(attr) == IFLA_VLAN_ID)
		l->vlan = mnl_attr_get_u16(attr);
	return MNL_CB_OK;
}

/* The kind comes before the data that depends on it (rtnl_link_fill()). */
static int kind_attr(const struct nlattr *attr, void *data)
{
	struct mctl_link *l = data;

	if (mnl_attr_get_type(attr) == IFLA_INFO_KIND)
		snprintf(l->kind, sizeof(l->kind), "%s", mnl_attr_get_str(attr));
	else if (mnl_attr_get_type(attr) == IFLA_INFO_DATA && !strcmp(l->kind, "vlan"))
		mnl_attr_parse_nested(attr, vlan_attr, l);
	return MNL_CB_OK;
}

static int xdp_attr(const struct nlattr *attr, void *data)
{
	struct mctl_link *l = data;

	if (mnl_attr_get_type(attr) == IFLA_XDP_ATTACHED)
		l->xdp = mnl_attr_get_u8(attr) != XDP_ATTACHED_NONE;
	return MNL_CB_OK;
}

static int link_attr(const struct nlattr *attr, void *data)
{
	struct rtnl_link_stats64 stats;
	struct mctl_link *l = data;

	switch (mnl_attr_get_type(attr)) {
	case IFLA_IFNAME:
		snprintf(l->name, sizeof(l->name), "%s", mnl_attr_get_str(attr));
		break;
	case IFLA_IFALIAS:
		snprintf(l->alias, sizeof(l->alias), "%s", mnl_attr_get_str(attr));
		break;
	case IFLA_MTU:
		l->mtu = mnl_attr_get_u32(attr);
		break;
	case IFLA_GSO_MAX_SIZE:
		l->gso_max = mnl_attr_get_u32(attr);
		break;
	case IFLA_TSO_MAX_SIZE:
		l->tso_max = mnl_attr_get_u32(attr);
		break;
	case IFLA_GROUP:
		l->group = mnl_attr_get_u32(attr);
		break;
	case IFLA_QDISC:
		l->queued = strcmp(mnl_attr_get_str(attr), "noqueue") != 0;
		break;
	case IFLA_MASTER:
		l->master = (int)mnl_attr_get_u32(attr);
		break;
	case IFLA_LINK:
		l->peer = (int)mnl_attr_get_u32(attr);
		break;
	case IFLA_LINK_NETNSID:
		l->peer_away = true;
		l->peer_nsid = (int32_t)mnl_attr_get_u32(attr);
		break;
	case IFLA_ADDRESS:
		if (mnl_attr_get_payload_len(attr) == sizeof(l->mac))
			memcpy(l->mac, mnl_attr_get_payload(attr), sizeof(l->mac));
		break;
	case IFLA_XDP:
		mnl_attr_parse_nested(attr, xdp_attr, l);
		break;
	case IFLA_STATS64:
		if (mnl_attr_get_payload_len(attr) >= offsetof(struct rtnl_link_stats64, multicast)) {
			memcpy(&stats, mnl_attr_get_payload(attr), offsetof(struct rtnl_link_stats64, multicast));
			l->tx_dropped = stats.tx_dropped;
		}
		break;
	case IFLA_LINKINFO:
		mnl_attr_parse_nested(attr, kind_attr, l);
		break;
	}
	return MNL_CB_OK;
}

static int on_link(const struct nlmsghdr *nlh, void *data)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	struct mctl_links *links = data;
	struct mctl_link *grown, *l;

	if (nlh->nlmsg_type != RTM_NEWLINK)
		return MNL_CB_OK;
	grown = reallocarray(links->link, links->n + 1, sizeof(*grown));
	if (!grown) {
		errno = ENOMEM;
		return MNL_CB_ERROR;
	}
	links->link = grown;
	l = &links->link[links->n++];
	memset(l, 0, sizeof(*l));
	l->ifindex = ifi->ifi_index;
	l->flags = ifi->ifi_flags;
	l->type = ifi->ifi_type;
	mnl_attr_parse(nlh, sizeof(*ifi), link_attr, l);
	return MNL_CB_OK;
}

static int on_address(const struct nlmsghdr *nlh, void *data)
{
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
	struct mctl_links *links = data;
	size_t i;

	for (i = 0; i < links->n; i++)
		if (links->link[i].ifindex == (int)ifa->ifa_index)
			links->link[i].addressed = true;
	return MNL_CB_OK;
}

int mctl_links_read(struct mctl_links *ret_links)
{
	_cleanup_links_ struct mctl_links links = {};
	struct nl_request req;
	struct ifinfomsg *ifi;
	struct ifaddrmsg *ifa;
	int r;

	mctl_nl_init(&req, RTM_GETLINK, NLM_F_DUMP);
	ifi = mctl_nl_extra(&req, sizeof(*ifi));
	ifi->ifi_family = AF_UNSPEC;
	r = mctl_nl_run(&req, on_link, &links);
	if (r < 0)
		return r;

	mctl_nl_init(&req, RTM_GETADDR, NLM_F_DUMP);
	ifa = mctl_nl_extra(&req, sizeof(*ifa));
	ifa->ifa_family = AF_UNSPEC;
	r = mctl_nl_run(&req, on_address, &links);
	if (r < 0)
		return r;

	*ret_links = links;
	links = (struct mctl_links){};
	return 0;
}

const struct mctl_link *mctl_links_by_name(const struct mctl_links *links, const char *name)
{
	size_t i;

	for (i = 0; i < links->n; i++)
		if (!strcmp(links->link[i].name, name))
			return &links->link[i];
	return NULL;
}

const struct mctl_link *mctl_links_by_index(const struct mctl_links *links, int ifindex)
{
	size_t i;

	for (i = 0; i < links->n; i++)
		if (links->link[i].ifindex == ifindex)
			return &links->link[i];
	return NULL;
}

static void put_bridge(struct nlmsghdr *nlh)
{
	struct nlattr *data = mnl_attr_nest_start(nlh, IFLA_INFO_DATA);

	mnl_attr_put_u32(nlh, IFLA_BR_STP_STATE, 0);
	mnl_attr_put_u8(nlh, IFLA_BR_MCAST_SNOOPING, 0);
	mnl_attr_nest_end(nlh, data);
}

static void put_peer(struct nlmsghdr *nlh, const char *peer, int netns, uint32_t group)
{
	struct nlattr *data = mnl_attr_nest_start(nlh, IFLA_INFO_DATA);
	struct nlattr *info = mnl_attr_nest_start(nlh, VETH_INFO_PEER);

	mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(nlh, IFLA_IFNAME, peer);
	mnl_attr_put_u32(nlh, IFLA_GROUP, group);
	if (netns >= 0)
		mnl_attr_put_u32(nlh, IFLA_NET_NS_FD, (uint32_t)netns);
	mnl_attr_nest_end(nlh, info);
	mnl_attr_nest_end(nlh, data);
}

static int link_add(const char *kind, const char *name, const char *peer, int netns, uint32_t group)
{
	struct nl_request req;
	struct nlattr *info;

	mctl_nl_init(&req, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK);
	mctl_nl_extra(&req, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(req.nlh, IFLA_IFNAME, name);
	mnl_attr_put_u32(req.nlh, IFLA_GROUP, group);
	info = mnl_attr_nest_start(req.nlh, IFLA_LINKINFO);
	mnl_attr_put_strz(req.nlh, IFLA_INFO_KIND, kind);
	if (!strcmp(kind, "bridge"))
		put_bridge(req.nlh);
	if (peer)
		put_peer(req.nlh, peer, netns, group);
	mnl_attr_nest_end(req.nlh, info);
	return mctl_nl_run(&req, NULL, NULL);
}

int mctl_link_add(const char *kind, const char *name, const char *peer, uint32_t group)
{
	return link_add(kind, name, peer, -1, group);
}

int mctl_link_add_veth_to(const char *name, const char *peer, int netns, uint32_t group)
{
	return link_add("veth", name, peer, netns, group);
}

int mctl_link_add_tun(const char *name, uint32_t group)
{
	struct ifreq ifr = { .ifr_flags = IFF_TUN | IFF_NO_PI };
	_cleanup_close_ int fd = -1;
	struct nl_request req;
	int r;

	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return mctl_why(-errno, "/dev/net/tun: %s", strerror(errno));
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0)
		return mctl_why(-errno, "tun %s: %s", name, strerror(errno));

	/* Marked first, kept second: killed in between, the device goes with the descriptor. */
	mctl_nl_init(&req, RTM_SETLINK, NLM_F_ACK);
	mctl_nl_extra(&req, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(req.nlh, IFLA_IFNAME, name);
	mnl_attr_put_u32(req.nlh, IFLA_GROUP, group);
	r = mctl_nl_run(&req, NULL, NULL);
	if (r < 0)
		return r;
	return ioctl(fd, TUNSETPERSIST, 1) < 0 ? -errno : 0;
}

/* A kernel without IPv6 has no such file, and nothing to turn off. */
static int ipv6_off(const char *name)
{
	_cleanup_close_ int fd = -1;
	char path[96];

	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : mctl_why(-errno, "%s: %s", path, strerror(errno));
	return write(fd, "1", 1) == 1 ? 0 : mctl_why(-errno, "%s: %s", path, strerror(errno));
}

int mctl_link_silence(const char *name, uint32_t mtu, const char *alias)
{
	struct nl_request req;
	struct ifinfomsg *ifi;
	int r;

	r = ipv6_off(name);
	if (r < 0)
		return r;
	mctl_nl_init(&req, RTM_SETLINK, NLM_F_ACK);
	ifi = mctl_nl_extra(&req, sizeof(*ifi));
	ifi->ifi_flags = IFF_NOARP | IFF_UP;
	ifi->ifi_change = IFF_NOARP | IFF_MULTICAST | IFF_UP;
	mnl_attr_put_strz(req.nlh, IFLA_IFNAME, name);
	mnl_attr_put_u32(req.nlh, IFLA_MTU, mtu);
	if (alias)
		mnl_attr_put_strz(req.nlh, IFLA_IFALIAS, alias);
	return mctl_nl_run(&req, NULL, NULL);
}

void mctl_link_widen(const char *name)
{
	static const uint16_t limits[] = { IFLA_GSO_MAX_SIZE, MCTL_IFLA_GSO_IPV4_MAX_SIZE };
	struct nl_request req;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(limits); i++) {
		mctl_nl_init(&req, RTM_SETLINK, NLM_F_ACK);
		mctl_nl_extra(&req, sizeof(struct ifinfomsg));
		mnl_attr_put_strz(req.nlh, IFLA_IFNAME, name);
		mnl_attr_put_u32(req.nlh, limits[i], MCTL_GSO_MAX);
		mctl_nl_run(&req, NULL, NULL);
	}
}

int mctl_link_delete(int ifindex)
{
	struct nl_request req;
	struct ifinfomsg *ifi;

	mctl_nl_init(&req, RTM_DELLINK, NLM_F_ACK);
	ifi = mctl_nl_extra(&req, sizeof(*ifi));
	ifi->ifi_index = ifindex;
	return mctl_nl_run(&req, NULL, NULL);
}

int mctl_links_listen(void)
{
	struct sockaddr_nl addr = {
		.nl_family = AF_NETLINK,
		.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR,
	};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		close(fd);
		return -errno;
	}
	return fd;
}

int mctl_links_heard(int fd)
{
	char buf[8192];
	int heard = 0;

	for (;;) {
		ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN)
			return heard;
		if (n < 0 && errno != ENOBUFS && errno != EINTR)
			return -errno;
		heard = 1;
	}
}

struct clsact_scan {
	int ifindex;
	bool present;
	unsigned int filters;
};

static int qdisc_attr(const struct nlattr *attr, void *data)
{
	struct clsact_scan *scan = data;

	if (mnl_attr_get_type(attr) == TCA_KIND && !strcmp(mnl_attr_get_str(attr), "clsact"))
		scan->present = true;
	return MNL_CB_OK;
}

static int on_qdisc(const struct nlmsghdr *nlh, void *data)
{
	const struct tcmsg *tc = mnl_nlmsg_get_payload(nlh);
	struct clsact_scan *scan = data;

	if (tc->tcm_ifindex == scan->ifindex && tc->tcm_parent == TC_H_CLSACT)
		mnl_attr_parse(nlh, sizeof(*tc), qdisc_attr, scan);
	return MNL_CB_OK;
}

static int on_filter(const struct nlmsghdr *nlh, void *data)
{
	const struct tcmsg *tc = mnl_nlmsg_get_payload(nlh);
	struct clsact_scan *scan = data;

	if (tc->tcm_ifindex == scan->ifindex && tc->tcm_handle)
		scan->filters++;
	return MNL_CB_OK;
}

static int clsact_filters(struct clsact_scan *scan, uint32_t hook)
{
	struct nl_request req;
	struct tcmsg *tc;

	mctl_nl_init(&req, RTM_GETTFILTER, NLM_F_DUMP);
	tc = mctl_nl_extra(&req, sizeof(*tc));
	tc->tcm_family = AF_UNSPEC;
	tc->tcm_ifindex = scan->ifindex;
	tc->tcm_parent = TC_H_MAKE(TC_H_CLSACT, hook);
	return mctl_nl_run(&req, on_filter, scan);
}

int mctl_clsact_read(int ifindex, bool *ret_present, unsigned int *ret_filters)
{
	struct clsact_scan scan = { .ifindex = ifindex };
	struct nl_request req;
	struct tcmsg *tc;
	int r;

	mctl_nl_init(&req, RTM_GETQDISC, NLM_F_DUMP);
	tc = mctl_nl_extra(&req, sizeof(*tc));
	tc->tcm_family = AF_UNSPEC;
	tc->tcm_ifindex = ifindex;
	r = mctl_nl_run(&req, on_qdisc, &scan);
	if (!r && scan.present)
		r = clsact_filters(&scan, TC_H_MIN_INGRESS);
	if (!r && scan.present)
		r = clsact_filters(&scan, TC_H_MIN_EGRESS);
	if (r < 0)
		return r;
	*ret_present = scan.present;
	*ret_filters = scan.filters;
	return 0;
}
