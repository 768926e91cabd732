/* SPDX-License-Identifier: GPL-2.0-only */
/* Control groups by path, unit and container: what their names are and what they are not. */
#include "test.h"

#include "cgroup.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_path(void **state)
{
	static const struct {
		const char *text, *path;
	} right[] = {
		{ "/", "/" }, { "", "/" }, { "/a", "/a" }, { "a", "/a" }, { "a//b/", "/a/b" }, { "/sys/fs/cgroup", "/" },
		{ "/sys/fs/cgroup/", "/" }, { "/sys/fs/cgroup/a/b", "/a/b" }, { "/sys/fs/cgroup2/a", "/sys/fs/cgroup2/a" },
		{ "/...", "/..." },
	};
	static const char *const wrong[] = { "..", "/a/..", "/a/../b", "./a", "/a/.", "/a" HEX HEX HEX HEX };
	char path[MIR_LABEL_LEN], longest[MIR_LABEL_LEN];

	(void)state;
	memset(longest, 'a', sizeof(longest));
	longest[MIR_LABEL_LEN - 2] = 0;
	assert_int_equal(mctl_cgroup_path(longest, "/", path), -EINVAL);	/* a slash more */
	longest[0] = '/';
	assert_int_equal(mctl_cgroup_path(longest, "/", path), 0);
	assert_string_equal(path, longest);
	for (size_t i = 0; i < ARRAY_SIZE(right); i++) {
		assert_int_equal(mctl_cgroup_path(right[i].text, "/sys/fs/cgroup", path), 0);
		assert_string_equal(path, right[i].path);
	}
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(mctl_cgroup_path(wrong[i], "/sys/fs/cgroup", path), -EINVAL);
}

static void test_unit(void **state)
{
	static const struct {
		const char *unit, *name;
	} table[] = {
		{ "nginx", "nginx.service" }, { "nginx.service", "nginx.service" }, { "a.slice", "a.slice" },
		{ "getty@tty1", "getty@tty1.service" }, { "a.b", "a.b.service" }, { "memory", "_memory.service" },
		{ "memory.slice", "_memory.slice" }, { "memory-x", "memory-x.service" }, { "cgroup.x", "_cgroup.x.service" },
		{ "_a.scope", "__a.scope" }, { ".a.mount", "_.a.mount" }, { "tasks", "tasks.service" },
	};
	char name[MIR_LABEL_LEN];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		mctl_cgroup_of_unit(table[i].unit, name);
		assert_string_equal(name, table[i].name);
	}
}

static void test_container(void **state)
{
	static const char *const right[] = { HEX, "docker-" HEX ".scope", "libpod-" HEX, "cri-containerd-" HEX ".scope",
					     "crio-" HEX ".scope", "nerdctl-" HEX };
	static const char *const wrong[] = { "", "docker", HEX "0.scope-", "crio-conmon-" HEX ".scope", "libpod-conmon-" HEX,
					     "conmon-" HEX, "x" HEX, HEX ".service", "docker-" HEX "0.scope" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(right); i++) {
		const char *id = mctl_cgroup_container(right[i]);

		assert_non_null(id);
		assert_memory_equal(id, HEX, 64);
	}
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_null(mctl_cgroup_container(wrong[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_path),
		cmocka_unit_test(test_unit),
		cmocka_unit_test(test_container),
	};

	return RUN_TAP(tests);
}
