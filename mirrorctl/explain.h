/* SPDX-License-Identifier: GPL-2.0-only */
/* A conversation as a person writes it, turned into the packet that mir_explain is asked about. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <netinet/in.h>

#include <mirror/abi.h>

#include "instance.h"

/* One end: "10.0.0.1:80", "[fe80::1%eth0]:80"; for icmp the local one has the identifier, the remote one nothing. */
struct mctl_end {
	int family;		/* AF_INET or AF_INET6 */
	uint8_t addr[16];	/* network byte order, 4 or 16 bytes */
	uint16_t port;		/* host byte order; 0: none given */
	uint32_t scope;		/* ifindex behind %, 0: none */
};

/* 0 or -EINVAL. `with_port`: a port is required; else none may be there. */
int mctl_end_parse(const char *text, bool with_port, struct mctl_end *ret_end);

/* An Ethernet frame from `remote` to `local`: TCP acknowledgement, UDP datagram or ICMP echo reply. `proto` IPPROTO_*.
 * Returns its length; `ret_frame` holds at least 128 bytes. */
size_t mctl_explain_frame(int proto, const struct mctl_end *local, const struct mctl_end *remote, uint8_t *ret_frame);

/* Asks the running mirror. */
int mctl_explain_ask(const struct mctl_instance *inst, const uint8_t *frame, size_t len, uint32_t ifindex,
		     struct mir_explanation *ret_explanation);
