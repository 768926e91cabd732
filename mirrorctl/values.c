/* SPDX-License-Identifier: GPL-2.0-only */
/* Parsers of single values. No I/O, no reporting: the callers know whether a file or an option was wrong. */
#include "values.h"

#include <ctype.h>
#include <string.h>

#include <mirror/tap.h>

#include "args.h"
#include "filter.h"
#include "mctl.h"
#include "netns.h"
#include "settings.h"

#define SNAPLEN_MIN 64		/* bytes: Ethernet, IPv6 and a few bytes of TCP survive */
#define SNAPLEN_MAX 65535
#define LINGER_MAX 3600		/* seconds */
#define COST_MAX 3600		/* seconds */
#define SAMPLE_MAX 1000000
#define PPS_MAX 1000000		/* packets per second; beyond that a limit is none */
#define BYTES_MAX 1000000000000ull	/* also per second */
#define PERIOD_MAX (366 * 24 * 3600ull)	/* seconds */
#define COUNT_MAX UINT32_MAX

const char *const mctl_monitor_types[] = { "auto", "dummy", "bridge", "veth", NULL };
const char *const mctl_tap_modes[] = { "auto", "native", "generic", NULL };
const char *const mctl_directions[] = { "both", "in", "out", NULL };
const char *const mctl_identities[] = { "none", "announce", "trailer", "ipfix", NULL };
MIR_STATIC_ASSERT(ARRAY_SIZE(mctl_monitor_types) == MIR_MONITOR_MAX + 1, "a name for each enum mir_monitor_type");
MIR_STATIC_ASSERT(ARRAY_SIZE(mctl_identities) == MIR_IDENTITY_MAX + 1, "a name for each enum mir_identity");
MIR_STATIC_ASSERT(ARRAY_SIZE(mctl_tap_modes) == MIR_TAP_MODE_MAX + 1, "a name for each enum mir_tap_mode");

int mctl_parse_u32(const char *text, uint32_t min, uint32_t max, uint32_t *ret)
{
	uint64_t value = 0;

	if (!*text)
		return -EINVAL;
	for (const char *p = text; *p; p++) {
		if (*p < '0' || *p > '9')
			return -EINVAL;
		/* Stops growing once out of range, so that any number of digits is safe. */
		if (value <= UINT32_MAX)
			value = value * 10 + (uint64_t)(*p - '0');
	}
	if (value < min || value > max)
		return -ERANGE;
	*ret = (uint32_t)value;
	return 0;
}

bool mctl_valid_ifname(const char *name)
{
	size_t len = strnlen(name, MIR_IFNAME_LEN);

	if (len == 0 || len >= MIR_IFNAME_LEN)
		return false;
	if (!strcmp(name, ".") || !strcmp(name, ".."))
		return false;
	for (const char *p = name; *p; p++)
		if (*p == '/' || *p == ':' || isspace((unsigned char)*p) || *p == '\xa0')
			return false;	/* the kernel's isspace() counts byte 0xa0 as white space */
	return true;
}

const char *mctl_value_device(const char *text)
{
	if (mctl_valid_ifname(text))
		return NULL;
	return "a device name (1 to 15 bytes without '/', ':' or white space)";
}

const char *mctl_value_monitor(const char *text)
{
	if (mctl_valid_ifname(text) && strlen(text) <= MCTL_MONITOR_NAME_MAX)
		return NULL;
	return "a device name of 1 to 11 bytes without '/', ':' or white space";
}

const char *mctl_value_netns(const char *text)
{
	return mctl_netns_valid(text) ? NULL : "a name that 'ip netns list' shows, or an absolute path such as /proc/1/ns/net";
}

static int find_name(const char *text, const char *const *names, uint32_t *ret)
{
	for (uint32_t i = 0; names[i]; i++) {
		if (strcmp(text, names[i]) == 0) {
			*ret = i;
			return 0;
		}
	}
	return -ENOENT;
}

const char *mctl_value_monitor_type(const char *text, uint32_t *ret)
{
	return find_name(text, mctl_monitor_types, ret) ? "auto, dummy, bridge or veth" : NULL;
}

const char *mctl_value_identity(const char *text, uint32_t *ret)
{
	return find_name(text, mctl_identities, ret) ? "none, announce, trailer or ipfix" : NULL;
}

const char *mctl_value_snaplen(const char *text, uint32_t *ret)
{
	uint32_t value;

	if (mctl_parse_u32(text, 0, SNAPLEN_MAX, &value) == 0 && (value == 0 || value >= SNAPLEN_MIN)) {
		*ret = value;
		return NULL;
	}
	return "0 (whole frames) or a number of bytes from 64 to 65535";
}

const char *mctl_value_linger(const char *text, uint32_t *ret)
{
	return mctl_parse_u32(text, 0, LINGER_MAX, ret) ? "a number of seconds from 0 to 3600" : NULL;
}

const char *mctl_value_cost(const char *text, uint32_t *ret)
{
	return mctl_parse_u32(text, 1, COST_MAX, ret) ? "a number of seconds from 1 to 3600" : NULL;
}

const char *mctl_value_tap_mode(const char *text, uint32_t *ret)
{
	return find_name(text, mctl_tap_modes, ret) ? "auto, native or generic" : NULL;
}

const char *mctl_value_sample(const char *text, uint32_t *ret)
{
	return strncmp(text, "1/", 2) || mctl_parse_u32(text + 2, 1, SAMPLE_MAX, ret) ? "1/N with N from 1 to 1000000" : NULL;
}

/* libpcap says best what is wrong. */
const char *mctl_value_filter(const char *text)
{
	static char right[MCTL_FILTER_ERR_LEN + 64];
	char err[MCTL_FILTER_ERR_LEN];

	if (mctl_filter_check(text, err, sizeof(err)) >= 0)
		return NULL;
	snprintf(right, sizeof(right), "a filter as in pcap-filter(7): %s", err);
	return right;
}

const char *mctl_value_direction(const char *text, uint32_t *ret)
{
	static const uint32_t ways[] = { MIR_POLICY_IN | MIR_POLICY_OUT, MIR_POLICY_IN, MIR_POLICY_OUT };
	uint32_t i;

	if (find_name(text, mctl_directions, &i))
		return "both, in or out";
	*ret = ways[i];
	return NULL;
}

/* What may stand behind a number, and what it makes of it. */
struct unit {
	const char *name;
	uint64_t factor;
	uint64_t divisor;
};

/* A whole number with one of the units behind it, 1 to `max` of what they come to. */
static int parse_units(const char *text, const struct unit *units, uint64_t max, __u64 *ret)
{
	const size_t digits = strspn(text, "0123456789");
	char number[16];
	uint32_t value;

	if (!digits || digits >= sizeof(number))
		return -EINVAL;
	snprintf(number, sizeof(number), "%.*s", (int)digits, text);
	if (mctl_parse_u32(number, 1, UINT32_MAX, &value))
		return -ERANGE;
	for (; units->name; units++) {
		const __u64 whole = value * units->factor / units->divisor;

		if (strcmp(text + digits, units->name) != 0)
			continue;
		if (!whole || whole > max)
			return -ERANGE;
		*ret = whole;
		return 0;
	}
	return -EINVAL;
}

#define UNITS_BYTES { "B", 1, 1 }, { "kB", 1000, 1 }, { "MB", 1000000, 1 }, { "GB", 1000000000, 1 }

const char *mctl_value_rate(const char *text, __u64 *ret, uint32_t *ret_bytes)
{
	static const struct unit packets[] = { { "pps", 1, 1 }, { NULL, 0, 1 } };
	static const struct unit bytes[] = {
		{ "bit", 1, 8 }, { "kbit", 1000, 8 }, { "mbit", 1000000, 8 }, { "gbit", 1000000000, 8 }, UNITS_BYTES,
		{ NULL, 0, 1 },
	};
	__u64 value = 0;
	const bool by_packets = !parse_units(text, packets, PPS_MAX, &value);

	if (!by_packets && parse_units(text, bytes, BYTES_MAX, &value))
		return "a whole number with pps (up to 1000000), bit, kbit, mbit, gbit, B, kB, MB or GB behind it";
	*ret = value;
	*ret_bytes = !by_packets;
	return NULL;
}

const char *mctl_value_first(const char *text, __u64 *ret)
{
	static const struct unit units[] = { { "", 1, 1 }, UNITS_BYTES, { NULL, 0, 1 } };

	return parse_units(text, units, BYTES_MAX, ret) ? "a whole number of bytes from 1 on, or of kB, MB or GB" : NULL;
}

const char *mctl_value_period(const char *text, __u64 *ret_ns)
{
	static const struct unit units[] = { { "s", 1, 1 }, { "m", 60, 1 }, { "h", 3600, 1 }, { "d", 86400, 1 }, { NULL, 0, 1 } };
	__u64 seconds;

	if (parse_units(text, units, PERIOD_MAX, &seconds))
		return "a whole number with s, m, h or d behind it, at most 366d";
	*ret_ns = seconds * 1000000000ull;
	return NULL;
}

const char *mctl_value_count(const char *text, __u64 *ret)
{
	static const struct unit units[] = { { "", 1, 1 }, { NULL, 0, 1 } };

	return parse_units(text, units, COUNT_MAX, ret) ? "a whole number from 1 to 4294967295" : NULL;
}
