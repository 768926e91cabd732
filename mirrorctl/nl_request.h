/* SPDX-License-Identifier: GPL-2.0-only */
/* One netlink request, for the files that speak netlink (nl.c, nl_port.c) and nobody else. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <libmnl/libmnl.h>

#define MCTL_NL_BUF_LEN 32768

/* One request and its answers. Buffers are large enough for any single link (many virtual functions aside). */
struct nl_request {
	union {
		char bytes[MCTL_NL_BUF_LEN];
		struct nlmsghdr align;
	} u;
	struct nlmsghdr *nlh;
	int bus;		/* NETLINK_ROUTE unless it is changed */
};

void mctl_nl_init(struct nl_request *req, uint16_t type, uint16_t flags);
void *mctl_nl_extra(struct nl_request *req, size_t size);

/* Sends and reads until the acknowledgement or the end of the dump; `cb` gets each answer. */
int mctl_nl_run(struct nl_request *req, mnl_cb_t cb, void *data);
