/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Network devices over rtnetlink (libmnl), in the network namespace of the calling thread. Knows nothing of mirrors; who
 * makes which device is in monitor.c. Functions return 0 or -errno; the kernel's own explanation (extended ack) is kept
 * for mctl_reason().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MCTL_ALIAS_LEN 256	/* IFALIASZ */
#define MCTL_GSO_MAX 524280	/* GSO_MAX_SIZE: the longest packet there can be, bytes */

struct mctl_link {
	int ifindex;
	int peer;		/* IFLA_LINK: other end of a veth, lower device of a VLAN or macvlan; 0: none */
	bool peer_away;		/* `peer` is in another namespace */
	int32_t peer_nsid;	/* IFLA_LINK_NETNSID: that namespace, as this one numbers it */
	uint16_t vlan;		/* VLAN id of a VLAN device; 0: none */
	uint8_t mac[6];		/* link-layer address, if it has 6 bytes */
	unsigned int flags;	/* IFF_* */
	unsigned short type;	/* ARPHRD_* */
	uint32_t mtu;		/* bytes */
	uint32_t gso_max;	/* IFLA_GSO_MAX_SIZE: longer packets are cut into segments, bytes */
	uint32_t tso_max;	/* IFLA_TSO_MAX_SIZE: what gso_max can be raised to; 0: no kernel with BIG TCP */
	uint32_t group;		/* IFLA_GROUP */
	int master;		/* ifindex of the bridge or bond it belongs to; 0: none */
	bool queued;		/* has a queueing discipline (IFLA_QDISC is not noqueue) */
	bool addressed;		/* has an IPv4 or IPv6 address */
	uint64_t tx_dropped;	/* frames the device would not send (IFLA_STATS64) */
	bool xdp;		/* an XDP program is attached */
	char name[16];
	char kind[16];		/* IFLA_INFO_KIND, "" for physical devices */
	char alias[MCTL_ALIAS_LEN];
};

struct mctl_links {
	size_t n;
	struct mctl_link *link;	/* owned */
};

void mctl_links_free(struct mctl_links *links);
#define _cleanup_links_ __attribute__((cleanup(mctl_links_free)))

/* All devices, with `addressed` filled in. */
int mctl_links_read(struct mctl_links *ret_links);

/* NULL when there is none. */
const struct mctl_link *mctl_links_by_name(const struct mctl_links *links, const char *name);
const struct mctl_link *mctl_links_by_index(const struct mctl_links *links, int ifindex);

/* Makes a device of `kind` (dummy, bridge, veth) in device group `group`. `peer` is the other end of a veth, else NULL. A
 * bridge comes without spanning tree and multicast snooping. */
int mctl_link_add(const char *kind, const char *name, const char *peer, uint32_t group);

/* Makes a veth whose other end, `peer`, is born in the namespace of descriptor `netns`. Both are in device group `group`. */
int mctl_link_add_veth_to(const char *name, const char *peer, int netns, uint32_t group);

/* Makes a persistent tun device (IFF_TUN, no packet information) in device group `group`. */
int mctl_link_add_tun(const char *name, uint32_t group);

/* Sets the MTU, turns ARP, multicast and IPv6 off and the device on. `alias` NULL: leaves its alias as it is. */
int mctl_link_silence(const char *name, uint32_t mtu, const char *alias);

/* Lets packets of up to MCTL_GSO_MAX bytes (BIG TCP) pass in one piece, IPv4 and IPv6. What the device or the kernel does not
 * take is left as it is: read mctl_link.gso_max. */
void mctl_link_widen(const char *name);

int mctl_link_delete(int ifindex);

/* A socket that hears when devices or addresses come, go or change. Returns the descriptor. */
int mctl_links_listen(void);

/* Takes what there is to hear, without waiting. Returns 1 if there was anything, 0 if not, -errno. Overrun counts as
 * something. */
int mctl_links_heard(int fd);

/* Is there a clsact qdisc on the device, and how many filters hang on its two hooks? */
int mctl_clsact_read(int ifindex, bool *ret_present, unsigned int *ret_filters);
