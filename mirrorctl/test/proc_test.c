/* SPDX-License-Identifier: GPL-2.0-only */
/* What a user calls a control group. */
#include "test.h"

#include "proc.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_cgroup_name(void **state)
{
	static const struct {
		const char *line, *name;
	} table[] = {
		{ "0::/system.slice/nginx.service\n", "nginx.service" },
		{ "0::/\n", "" },
		{ "0::/user.slice/user-0.slice/session-3.scope\n", "session-3.scope" },
		{ "0::/system.slice/docker-" HEX ".scope\n", "docker-0123456789ab" },
		{ "1:name=systemd:/docker/" HEX "\n", "0123456789ab" },
		{ "0::/a/a-unit-with-a-name-of-more-than-thirty-one-bytes.service\n", "a-unit-with-a-name-of-more-than" },
		{ "0::/kubepods/pod0123/crio-" HEX ".scope", "crio-0123456789ab" },
	};
	char name[MIR_CGROUP_LEN];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		mctl_cgroup_name(table[i].line, name);
		assert_string_equal(name, table[i].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cgroup_name),
	};

	return RUN_TAP(tests);
}
