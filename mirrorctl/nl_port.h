/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What only a tap asks of netlink: what XDP a driver can do, promiscuous mode, addresses, where the other end of a veth
 * is. Functions return 0 or -errno.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mirror/tap.h>

/* Bits of enum netdev_xdp_act, which Debian 12's headers do not have yet. */
#define MCTL_XDP_BASIC 1u
#define MCTL_XDP_REDIRECT 2u
#define MCTL_XDP_NDO_XMIT 4u	/* takes redirected frames */

/* What the driver of a device can do. -ENOENT: the kernel does not say (before Linux 6.3). */
int mctl_port_xdp_features(int ifindex, uint64_t *ret_features);

int mctl_port_promisc(int ifindex, bool on);

/* Addresses of a device that the kernel did not make by itself (IPv6 link-local ones are left out), at most `max`. *ret_n
 * may be larger than that. */
int mctl_port_addresses(int ifindex, struct mir_tap_address *ret_addresses, size_t max, size_t *ret_n);

/* Fine when it is there already, or gone already. */
int mctl_port_address_add(const struct mir_tap_address *address);
int mctl_port_address_delete(const struct mir_tap_address *address);

/* A descriptor of the namespace that this one knows by `nsid`, found among those with a name or a process. */
int mctl_port_netns(int nsid, int *ret_fd);
