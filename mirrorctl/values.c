/* SPDX-License-Identifier: GPL-2.0-only */
/* Parsers of single values. No I/O, no reporting: the callers know whether a file or an option was wrong. */
#include "values.h"

#include <ctype.h>
#include <string.h>

#include <mirror/tap.h>

#include "args.h"
#include "mctl.h"
#include "settings.h"

#define SNAPLEN_MIN 64		/* bytes: Ethernet, IPv6 and a few bytes of TCP survive */
#define SNAPLEN_MAX 65535
#define LINGER_MAX 3600		/* seconds */
#define COST_MAX 3600		/* seconds */
#define SAMPLE_MAX 1000000

const char *const mctl_monitor_types[] = { "auto", "dummy", "bridge", "veth", NULL };
const char *const mctl_tap_modes[] = { "auto", "native", "generic", NULL };
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
