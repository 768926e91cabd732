/* SPDX-License-Identifier: GPL-2.0-only */
/* A conversation turned into a question to the kernel: see explain.h. */
#include "explain.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <string.h>

#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include <bpf/bpf.h>

#include "args.h"
#include "mctl.h"

#define END_MAX 128

/* The part of `text` before its port, without brackets, and the port's place or NULL. */
static int split(const char *text, char *host, char **ret_port)
{
	size_t len = strlen(text);
	char *at;

	if (!len || len >= END_MAX)
		return -EINVAL;
	memcpy(host, text, len + 1);
	if (*host == '[') {
		at = strchr(host, ']');
		if (!at || (at[1] && at[1] != ':'))
			return -EINVAL;
		*ret_port = at[1] ? at + 2 : NULL;
		*at = '\0';
		memmove(host, host + 1, strlen(host));
		return 0;
	}
	at = strchr(host, ':');
	if (at && strchr(at + 1, ':'))
		at = NULL;		/* a bare IPv6 address */
	if (at)
		*at = '\0';
	*ret_port = at ? at + 1 : NULL;
	return 0;
}

int mctl_end_parse(const char *text, bool with_port, struct mctl_end *ret_end)
{
	struct mctl_end end = { .family = AF_INET };
	char host[END_MAX], *port, *scope;
	uint32_t number;

	if (split(text, host, &port) || with_port != !!port)
		return -EINVAL;
	if (port && mctl_parse_u32(port, 0, UINT16_MAX, &number))
		return -EINVAL;
	if (port)
		end.port = (uint16_t)number;
	scope = strchr(host, '%');
	if (scope) {
		*scope = '\0';
		end.scope = if_nametoindex(scope + 1);
		if (!end.scope)
			return -EINVAL;
	}
	if (strchr(host, ':'))
		end.family = AF_INET6;
	if (inet_pton(end.family, host, end.addr) != 1)
		return -EINVAL;
	*ret_end = end;
	return 0;
}

static size_t put_ip4(uint8_t *at, int proto, const struct mctl_end *local, const struct mctl_end *remote, size_t payload)
{
	struct iphdr ip = { .version = 4, .ihl = 5, .ttl = 64, .protocol = (uint8_t)proto };

	ip.tot_len = htons((uint16_t)(sizeof(ip) + payload));
	memcpy(&ip.saddr, remote->addr, sizeof(ip.saddr));
	memcpy(&ip.daddr, local->addr, sizeof(ip.daddr));
	memcpy(at, &ip, sizeof(ip));
	return sizeof(ip);
}

static size_t put_ip6(uint8_t *at, int proto, const struct mctl_end *local, const struct mctl_end *remote, size_t payload)
{
	struct ipv6hdr ip = { .version = 6, .hop_limit = 64, .nexthdr = (uint8_t)proto };

	ip.payload_len = htons((uint16_t)payload);
	memcpy(&ip.saddr, remote->addr, sizeof(ip.saddr));
	memcpy(&ip.daddr, local->addr, sizeof(ip.daddr));
	memcpy(at, &ip, sizeof(ip));
	return sizeof(ip);
}

static void put16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

size_t mctl_explain_frame(int proto, const struct mctl_end *local, const struct mctl_end *remote, uint8_t *ret_frame)
{
	size_t payload = proto == IPPROTO_TCP ? 20 : 8, len = ETH_HLEN;
	bool v6 = local->family == AF_INET6;
	uint8_t *l4;

	memset(ret_frame, 0, 128);
	put16(ret_frame + 12, v6 ? ETH_P_IPV6 : ETH_P_IP);
	len += v6 ? put_ip6(ret_frame + len, proto, local, remote, payload)
		  : put_ip4(ret_frame + len, proto, local, remote, payload);
	l4 = ret_frame + len;
	if (proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6) {
		l4[0] = proto == IPPROTO_ICMPV6 ? 129 : 0;	/* echo reply */
		put16(l4 + 4, local->port);
	} else {
		put16(l4, remote->port);
		put16(l4 + 2, local->port);
		if (proto == IPPROTO_UDP)
			put16(l4 + 4, 8);
	}
	if (proto == IPPROTO_TCP) {
		l4[12] = 5 << 4;
		l4[13] = 0x10;		/* ACK */
	}
	return len + payload;
}

int mctl_explain_ask(const struct mctl_instance *inst, const uint8_t *frame, size_t len, uint32_t ifindex,
		     struct mir_explanation *ret_explanation)
{
	struct __sk_buff ctx = { .ifindex = ifindex ? ifindex : 1 };	/* loopback is 1 in every namespace */
	uint8_t out[256];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = (__u32)len, .data_out = out,
		    .data_size_out = sizeof(out), .ctx_in = &ctx, .ctx_size_in = sizeof(ctx));
	_cleanup_close_ int prog = mctl_pin_open(inst->dir, "mir_explain");

	if (prog < 0)
		return prog;
	if (bpf_prog_test_run_opts(prog, &opts))
		return -errno;
	if (opts.retval || opts.data_size_out < sizeof(*ret_explanation))
		return -EBADMSG;
	memcpy(ret_explanation, out, sizeof(*ret_explanation));
	return 0;
}
