/* SPDX-License-Identifier: GPL-2.0-only */
/* The language of `tap add --match`: see rules.h. */
#include "rules.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "args.h"
#include "mctl.h"

#define CONDITIONS "conditions joined by commas, each once: net=PREFIX, peer=PREFIX, proto=tcp, port=N or N-M, vlan=N"
#define PREFIX_RIGHT "an address or prefix such as 10.0.0.0/8 or fd00::/8 behind net= and peer=, both of one family"
#define PROTO_RIGHT "tcp, udp, udplite, icmp, icmp6, sctp or a number from 0 to 255 behind proto="
#define PORT_RIGHT "a number from 0 to 65535, or two such as 8000-8080, behind port="
#define VLAN_RIGHT "a number from 0 to 4094 behind vlan="

static const struct {
	const char *name;
	__u8 number;
} protocols[] = {
	{ "icmp", IPPROTO_ICMP }, { "tcp", IPPROTO_TCP }, { "udp", IPPROTO_UDP }, { "icmp6", IPPROTO_ICMPV6 },
	{ "sctp", IPPROTO_SCTP }, { "udplite", IPPROTO_UDPLITE },
};

/* Bits behind the prefix must be zero or are cleared: 10.1.2.3/8 means 10.0.0.0/8. */
static const char *parse_prefix(char *text, __be32 net[4], __be32 mask[4], __u8 *version)
{
	char *slash = strchr(text, '/');
	struct in6_addr a6;
	struct in_addr a4;
	uint32_t len = 128;
	__u8 v;

	if (slash)
		*slash++ = '\0';
	if (inet_pton(AF_INET, text, &a4) == 1) {
		v = 4;
		net[0] = net[1] = 0;
		net[2] = htonl(0xffff);
		net[3] = a4.s_addr;
	} else if (inet_pton(AF_INET6, text, &a6) == 1) {
		v = 6;
		memcpy(net, &a6, sizeof(a6));
	} else {
		return PREFIX_RIGHT;
	}
	if (slash && mctl_parse_u32(slash, 0, v == 4 ? 32 : 128, &len))
		return PREFIX_RIGHT;
	if (slash && v == 4)
		len += 96;
	if (*version && *version != v)
		return PREFIX_RIGHT;
	*version = v;
	for (uint32_t i = 0; i < 4; i++) {
		uint32_t bits = len > 32 * i ? len - 32 * i : 0;

		mask[i] = htonl(bits >= 32 ? UINT32_MAX : bits ? ~(UINT32_MAX >> bits) : 0);
		net[i] &= mask[i];
	}
	return NULL;
}

static const char *parse_proto(const char *text, struct mir_tap_rule *rule)
{
	uint32_t number;

	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++) {
		if (!strcmp(text, protocols[i].name)) {
			rule->proto = protocols[i].number;
			return NULL;
		}
	}
	if (mctl_parse_u32(text, 0, 255, &number))
		return PROTO_RIGHT;
	rule->proto = (__u8)number;
	return NULL;
}

static const char *parse_port(char *text, struct mir_tap_rule *rule)
{
	char *dash = strchr(text, '-');
	uint32_t low, high;

	if (dash)
		*dash++ = '\0';
	if (mctl_parse_u32(text, 0, 65535, &low) || mctl_parse_u32(dash ? dash : text, 0, 65535, &high) || low > high)
		return PORT_RIGHT;
	rule->port_low = (__u16)low;
	rule->port_high = (__u16)high;
	return NULL;
}

static const char *parse_vlan(const char *text, struct mir_tap_rule *rule)
{
	uint32_t number;

	if (mctl_parse_u32(text, 0, 4094, &number))
		return VLAN_RIGHT;
	rule->vlan = (__u16)number;
	return NULL;
}

static const char *parse_condition(char *word, struct mir_tap_rule *rule)
{
	static const char *const keys[] = { "net", "peer", "proto", "port", "vlan" };	/* MIR_TAP_RULE_* in order */
	char *value = strchr(word, '=');
	unsigned int bit = 0;

	if (!value)
		return CONDITIONS;
	*value++ = '\0';
	while (bit < ARRAY_SIZE(keys) && strcmp(word, keys[bit]))
		bit++;
	if (bit == ARRAY_SIZE(keys) || (rule->set & (1u << bit)))
		return CONDITIONS;
	rule->set |= 1u << bit;
	switch (1u << bit) {
	case MIR_TAP_RULE_NET:
		return parse_prefix(value, rule->net, rule->net_mask, &rule->version);
	case MIR_TAP_RULE_PEER:
		return parse_prefix(value, rule->peer, rule->peer_mask, &rule->version);
	case MIR_TAP_RULE_PROTO:
		return parse_proto(value, rule);
	case MIR_TAP_RULE_PORT:
		return parse_port(value, rule);
	default:
		return parse_vlan(value, rule);
	}
}

const char *mctl_rule_parse(const char *text, struct mir_tap_rule *ret_rule)
{
	_cleanup_free_ char *copy = strdup(text);
	struct mir_tap_rule rule = {};
	const char *right = NULL;
	char *at = copy, *word;

	if (!copy)
		return "less of everything: out of memory";
	while (!right && (word = strsep(&at, ",")))
		right = parse_condition(word, &rule);
	if (!right)
		*ret_rule = rule;
	return right;
}

static size_t put_prefix(char *buf, size_t len, const char *key, const __be32 net[4], const __be32 mask[4], __u8 version)
{
	char address[INET6_ADDRSTRLEN];
	unsigned int bits = 0;
	int n;

	for (int i = 0; i < 4; i++)
		bits += (unsigned int)__builtin_popcount(mask[i]);
	if (version == 4)
		inet_ntop(AF_INET, &net[3], address, sizeof(address));
	else
		inet_ntop(AF_INET6, net, address, sizeof(address));
	n = snprintf(buf, len, "%s=%s/%u,", key, address, version == 4 ? bits - 96 : bits);
	return n > 0 ? (size_t)n : 0;
}

const char *mctl_rule_text(const struct mir_tap_rule *rule, char *buf, size_t len)
{
	char text[MCTL_RULE_TEXT * 2] = "";
	size_t at = 0, i = 0;

	if (rule->set & MIR_TAP_RULE_NET)
		at += put_prefix(text + at, sizeof(text) - at, "net", rule->net, rule->net_mask, rule->version);
	if (rule->set & MIR_TAP_RULE_PEER)
		at += put_prefix(text + at, sizeof(text) - at, "peer", rule->peer, rule->peer_mask, rule->version);
	while (i < ARRAY_SIZE(protocols) && protocols[i].number != rule->proto)
		i++;
	if ((rule->set & MIR_TAP_RULE_PROTO) && i < ARRAY_SIZE(protocols))
		at += (size_t)snprintf(text + at, sizeof(text) - at, "proto=%s,", protocols[i].name);
	else if (rule->set & MIR_TAP_RULE_PROTO)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "proto=%u,", rule->proto);
	if ((rule->set & MIR_TAP_RULE_PORT) && rule->port_low == rule->port_high)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "port=%u,", rule->port_low);
	else if (rule->set & MIR_TAP_RULE_PORT)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "port=%u-%u,", rule->port_low, rule->port_high);
	if (rule->set & MIR_TAP_RULE_VLAN)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "vlan=%u,", rule->vlan);
	if (at)
		text[at - 1] = '\0';
	snprintf(buf, len, "%s", text);
	return buf;
}
