/* SPDX-License-Identifier: GPL-2.0-only */
/* Capabilities by libcap. Called by main() before a verb, and by verbs once set-up is done. */
#include "caps.h"

#include <ctype.h>
#include <sys/capability.h>

#include "mctl.h"

static void cap_freep(cap_t *caps)
{
	if (*caps)
		cap_free(*caps);
}

#define _cleanup_cap_ _cleanup_(cap_freep)

uint64_t mctl_caps_missing(uint64_t need)
{
	_cleanup_cap_ cap_t caps = cap_get_proc();
	uint64_t missing = 0;

	if (!caps)
		return need;
	for (cap_value_t cap = 0; cap < 64; cap++) {
		cap_flag_value_t has = CAP_CLEAR;

		if (!(need & MCTL_CAP(cap)))
			continue;
		if (cap_get_flag(caps, cap, CAP_EFFECTIVE, &has) < 0 || has != CAP_SET)
			missing |= MCTL_CAP(cap);
	}
	return missing;
}

int mctl_caps_limit(uint64_t keep)
{
	static const cap_flag_t sets[] = { CAP_EFFECTIVE, CAP_PERMITTED, CAP_INHERITABLE };
	_cleanup_cap_ cap_t caps = cap_get_proc();

	if (!caps)
		return -errno;
	for (cap_value_t cap = 0; cap < cap_max_bits() && cap < 64; cap++) {
		if (keep & MCTL_CAP(cap))
			continue;
		for (size_t i = 0; i < ARRAY_SIZE(sets); i++)
			if (cap_set_flag(caps, sets[i], 1, &cap, CAP_CLEAR) < 0)
				return -errno;
		/* The kernel also clears it when permitted or inheritable lose it; said here for the reader. */
		if (cap_get_ambient(cap) == 1 && cap_set_ambient(cap, CAP_CLEAR) < 0)
			return -errno;
	}
	return cap_set_proc(caps) < 0 ? -errno : 0;
}

const char *mctl_caps_text(uint64_t caps, char *buf, size_t len)
{
	size_t at = 0;

	if (len == 0)
		return "";
	buf[0] = '\0';
	for (cap_value_t cap = 0; cap < 64; cap++) {
		char *name;
		int n;

		if (!(caps & MCTL_CAP(cap)))
			continue;
		name = cap_to_name(cap);
		if (!name)
			continue;
		for (char *p = name; *p; p++)
			*p = (char)toupper((unsigned char)*p);
		n = snprintf(buf + at, len - at, "%s%s", at ? ", " : "", name);
		cap_free(name);
		if (n < 0 || (size_t)n >= len - at)
			break;
		at += (size_t)n;
	}
	return buf;
}
