/* SPDX-License-Identifier: GPL-2.0-only */
/* Capabilities and namespace names. Holds with and without privilege; each change is made in a child. */
#include "test.h"

#include <sys/capability.h>
#include <sys/wait.h>

#include "caps.h"
#include "netns.h"

#define ALL (~0ull)

static uint64_t effective(void)
{
	return ALL & ~mctl_caps_missing(ALL);
}

static uint64_t of_set(cap_flag_t set)
{
	cap_t caps = cap_get_proc();
	uint64_t bits = 0;

	for (cap_value_t cap = 0; caps && cap < cap_max_bits(); cap++) {
		cap_flag_value_t has = CAP_CLEAR;

		if (cap_get_flag(caps, cap, set, &has) == 0 && has == CAP_SET)
			bits |= MCTL_CAP(cap);
	}
	cap_free(caps);
	return bits;
}

/* Runs in a child. Returns 0, or the number of the check that failed. */
static int limit(uint64_t keep)
{
	const uint64_t before = effective();

	if (mctl_caps_limit(keep) != 0)
		return 1;
	if (effective() != (before & keep))
		return 2;
	if (of_set(CAP_PERMITTED) & ~keep)
		return 3;
	if (of_set(CAP_INHERITABLE) & ~keep)
		return 4;
	for (cap_value_t cap = 0; cap < cap_max_bits(); cap++)
		if (!(keep & MCTL_CAP(cap)) && cap_get_ambient(cap) == 1)
			return 5;
	/* Nothing comes back. */
	if (mctl_caps_limit(ALL) != 0 || effective() != (before & keep))
		return 6;
	return 0;
}

static void test_limit(void **state)
{
	static const uint64_t keeps[] = { 0, MCTL_CAP(CAP_NET_RAW), MCTL_CAP(CAP_BPF) | MCTL_CAP(CAP_NET_ADMIN), ALL };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(keeps); i++) {
		pid_t child = fork();
		int status;

		if (child == 0)
			_exit(limit(keeps[i]));
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
	}
}

static void test_missing(void **state)
{
	(void)state;
	assert_true(mctl_caps_missing(0) == 0);
	assert_true((mctl_caps_missing(ALL) & MCTL_CAP(63)) != 0);	/* no kernel has that many */
	if (geteuid() != 0)
		assert_true(mctl_caps_missing(MCTL_CAP(CAP_SYS_ADMIN)) != 0);
}

static void test_text(void **state)
{
	char text[128], small[12];

	(void)state;
	assert_string_equal(mctl_caps_text(0, text, sizeof(text)), "");
	assert_string_equal(mctl_caps_text(MCTL_CAP(CAP_NET_ADMIN) | MCTL_CAP(CAP_BPF), text, sizeof(text)),
			    "CAP_NET_ADMIN, CAP_BPF");
	assert_true(strlen(mctl_caps_text(ALL, small, sizeof(small))) < sizeof(small));
}

static void test_netns_names(void **state)
{
	(void)state;
	assert_true(mctl_netns_valid("blue"));
	assert_true(mctl_netns_valid("/proc/1/ns/net"));
	assert_false(mctl_netns_valid(""));
	assert_false(mctl_netns_valid("."));
	assert_false(mctl_netns_valid(".."));
	assert_false(mctl_netns_valid("/"));
	assert_false(mctl_netns_valid("../etc"));
	assert_false(mctl_netns_valid("a/b"));

	assert_int_equal(mctl_netns_enter("a/b"), -EINVAL);
	assert_int_equal(mctl_netns_enter("/nonexistent/ns"), -ENOENT);
	assert_non_null(strstr(mctl_reason(-ENOENT), "/nonexistent/ns"));
	assert_int_equal(mctl_netns_enter("/etc/passwd/ns"), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_missing),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_netns_names),
	};

	return RUN_TAP(tests);
}
