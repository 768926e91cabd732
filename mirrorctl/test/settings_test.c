/* SPDX-License-Identifier: GPL-2.0-only */
/* The configuration file: what it takes, what it refuses and in which words, and that a refused file changes nothing. */
#include "test.h"

#include "settings.h"

static struct mctl_settings s;

static int parse(const char *text)
{
	mctl_settings_init(&s);
	said_start();
	return mctl_settings_parse(&s, text, "conf");
}

static void test_defaults(void **state)
{
	static const char *const empty[] = { "", "\n", "  \t\n\n", "# nothing\n", "/* nothing */", "// nothing\n" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(empty); i++) {
		if (parse(empty[i]) != MCTL_OK)
			fail_msg("'%s': %s", empty[i], said);
		assert_string_equal(s.terms.monitor, "mon0");
		assert_int_equal(s.terms.monitor_type, MIR_MONITOR_AUTO);
		assert_int_equal(s.identity, MIR_IDENTITY_NONE);
		assert_int_equal(s.snaplen, 0);
		assert_int_equal(s.linger_s, 60);
		assert_int_equal(s.nsources, 0);
	}
}

static void test_right(void **state)
{
	(void)state;
	assert_int_equal(parse("monitor = tap1\nmonitor-type=veth\nidentity = \"none\"\nsnaplen = 96 # bytes\n"
			       "linger = 0\nsources = { eth0, \"lo\",\n  eth0.100, eth0 }\n"), MCTL_OK);
	assert_string_equal(s.terms.monitor, "tap1");
	assert_int_equal(s.terms.monitor_type, MIR_MONITOR_VETH);
	assert_int_equal(s.snaplen, 96);
	assert_int_equal(s.linger_s, 0);
	assert_int_equal(s.nsources, 3);	/* eth0 once */
	assert_string_equal(s.sources[0], "eth0");
	assert_string_equal(s.sources[1], "lo");
	assert_string_equal(s.sources[2], "eth0.100");

	assert_int_equal(parse("direction = out\nsample = 1/8\nrate = 10mbit\nfirst = 4kB\nfor = 1h\ncount = 9\n"), MCTL_OK);
	assert_int_equal(s.terms.policy.direction, MIR_POLICY_OUT);
	assert_int_equal(s.terms.policy.sample, 8);
	assert_int_equal(s.terms.policy.rate, 1250000);
	assert_int_equal(s.terms.policy.rate_bytes, 1);
	assert_int_equal(s.terms.policy.first, 4000);
	assert_true(s.terms.policy.period_ns == 3600000000000ull);
	assert_int_equal(s.terms.policy.count, 9);
	assert_string_equal(s.terms.filter, "");
	assert_int_equal(parse("filter = \"tcp port 80 and not host 192.0.2.1\"\n"), MCTL_OK);
	assert_string_equal(s.terms.filter, "tcp port 80 and not host 192.0.2.1");

	assert_int_equal(parse("sources = {}"), MCTL_OK);
	assert_int_equal(s.nsources, 0);
}

static void test_sections(void **state)
{
	(void)state;
	assert_int_equal(parse("name nginx {}\nlinger = 5\nexe \"/usr/sbin/x\" { follow = yes }\nunit 'a b.service' {\n"
			       "  shared = yes\n  follow = no\n}\nname sshd { follow=yes shared=yes }"), MCTL_OK);
	assert_int_equal(s.linger_s, 5);
	assert_int_equal(s.nselectors, 4);
	assert_int_equal(s.selectors[0].kind, MIR_SELECTOR_NAME);
	assert_string_equal(s.selectors[0].text, "nginx");
	assert_int_equal(s.selectors[0].flags, MIR_SELECTOR_FILED);
	assert_true(s.selectors[0].wait);
	assert_int_equal(s.selectors[1].kind, MIR_SELECTOR_EXE);
	assert_int_equal(s.selectors[1].flags, MIR_SELECTOR_FILED | MIR_TARGET_FOLLOW);
	assert_int_equal(s.selectors[2].kind, MIR_SELECTOR_UNIT);
	assert_string_equal(s.selectors[2].text, "a b.service");
	assert_int_equal(s.selectors[2].flags, MIR_SELECTOR_FILED | MIR_TARGET_SHARED);
	assert_int_equal(s.selectors[3].flags, MIR_SELECTOR_FILED | MIR_TARGET_FOLLOW | MIR_TARGET_SHARED);
	assert_int_equal(parse("user x {}"), MCTL_OK);
	assert_int_equal(s.nselectors, 1);
}

static void test_terms_of_sections(void **state)
{
	struct mctl_terms *t = &s.selectors[0].terms;
	struct mctl_args args;

	(void)state;
	assert_int_equal(parse("direction = in\nname x { filter = 'tcp port 80' direction = out sample = 1/8 rate = 10000pps "
			       "first = 4kB for = 1h count = 9 monitor = m2 monitor-type = veth monitor-netns = ops }\n"
			       "name x { filter = '' monitor = m3 }\nname y {}"), MCTL_OK);
	assert_int_equal(s.nselectors, 3);
	assert_int_equal(s.terms.policy.direction, MIR_POLICY_IN);
	assert_int_equal(t->policy.direction, MIR_POLICY_OUT);
	assert_int_equal(t->monitor_type, MIR_MONITOR_VETH);
	mctl_terms_as_args(t, &args);
	assert_string_equal(args.filter, "tcp port 80");
	assert_string_equal(args.monitor, "m2");
	assert_string_equal(args.monitor_netns, "ops");
	assert_int_equal(args.sample, 8);
	assert_int_equal(args.rate, 10000);
	assert_int_equal(args.first, 4000);
	assert_int_equal(args.count, 9);
	assert_true(args.period_ns == 3600000000000ull);
	mctl_terms_as_args(&s.selectors[1].terms, &args);
	assert_string_equal(args.filter, "");
	assert_null(args.monitor_netns);
	mctl_terms_as_args(&s.selectors[2].terms, &args);
	assert_null(args.filter);
	assert_null(args.monitor);
	assert_int_equal(args.direction, 0);
}

static void test_many_sections(void **state)
{
	char text[64 * 16] = "";
	size_t len = 0;

	(void)state;
	for (int i = 0; i < MIR_SELECTORS_LIMIT - 1; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "name n%d {}\n", i);
	assert_int_equal(parse(text), MCTL_OK);
	assert_int_equal(s.nselectors, MIR_SELECTORS_LIMIT - 1);
	snprintf(text + len, sizeof(text) - len, "name more {}\n");
	assert_int_equal(parse(text), MCTL_USAGE);
	assert_said("conf:64: more than 63 selectors");
}

static const struct {
	const char *text, *said;
} wrong[] = {
	{ "name a/b {}", "conf:1: 'a/b' is no word for 'name': it takes the name of a command" },
	{ "\nname \"\" {}", "conf:2: '' is no word for 'name'" },
	{ "name {}", "conf:1: missing title" },
	{ "name x", "conf:1: " },
	{ "name x {", "conf:1: " },
	{ "exe x {}", "conf:1: 'x' is no word for 'exe': it takes an absolute path" },
	{ "\n\nname x {}\n\nname x {}", "conf:5: name 'x' is given twice" },
	{ "name x {\n follow = 1\n}", "conf:2: '1' is no value for 'follow': it takes yes or no" },
	{ "name x {\n follow = yes\n follow = yes\n}", "conf:3: 'follow' is given twice" },
	{ "\nuser x { snaplen = 96 }", "conf:2: no such option 'snaplen'; a selector takes follow, shared, filter, direction, " },
	{ "name x { sample = 8 }", "conf:1: '8' is no value for 'sample': it takes 1/N" },
	{ "name x {\n rate = 1000pps\n rate = 2000pps\n}", "conf:3: 'rate' is given twice" },
	{ "name x {\n filter = 'port nowhere at'\n}", "conf:2: 'port nowhere at' is no value for 'filter': it takes" },
	{ "\nname x { monitor-type = veth }", "conf:2: name 'x': monitor-type and monitor-netns go with monitor" },
	{ "sources = { m2 }\nname x { monitor = m2 }", "conf:1: 'm2' is a monitor: it cannot be a source too" },
	{ "name x { monitor = m }\nname x { monitor = m }", "conf:2: name 'x' is given twice" },
	{ "unit a@.service {}", "conf:1: 'a@.service'" },
	{ "cgroup /a/../b {}", "conf:1: '/a/../b'" },
	{ "sources = { eth0 }\ngroup x {}", "conf:2: no such option 'group'; the keys are monitor," },
	{ "monitors = x\n", "conf:1: no such option 'monitors'; the keys are monitor, " },
	{ "\n\nsnaplen = 63\n", "conf:3: '63' is no value for 'snaplen': it takes 0 (whole frames) or" },
	{ "snaplen = 65536", "conf:1: '65536'" },
	{ "snaplen = many", "conf:1: 'many'" },
	{ "snaplen = 0x60", "conf:1: '0x60'" },
	{ "snaplen = -1", "conf:1: '-1'" },
	{ "snaplen = \"\"", "conf:1: ''" },
	{ "snaplen = { 64, 65 }", "conf:1: " },
	{ "snaplen 64", "conf:1: " },
	{ "snaplen =", "conf:1: " },
	{ "monitor-netns = a/b", "it takes a name that 'ip netns list' shows" },
	{ "\nfilter = \"port http and (\"", "conf:2: 'port http and (' is no value for 'filter': it takes a filter as in "
	  "pcap-filter(7): can't parse filter expression: syntax error" },
	{ "filter = tcp port 80", "conf:1: " },
	{ "direction = up", "both, in or out" },
	{ "\nsample = 0/4", "conf:2: '0/4' is no value for 'sample'" },
	{ "\nrate = fast", "conf:2: 'fast' is no value for 'rate': it takes a whole number with pps" },
	{ "\nfirst = -1", "conf:2: '-1' is no value for 'first'" },
	{ "\nfor = ever", "conf:2: 'ever' is no value for 'for'" },
	{ "\ncount = many", "conf:2: 'many' is no value for 'count'" },
	{ "\nrate = 1pps\nrate = 2pps", "conf:3: 'rate' is given twice, first in line 2" },
	{ "linger = 3601", "from 0 to 3600" },
	{ "linger = 1h", "from 0 to 3600" },
	{ "monitor = a23456789012", "1 to 11 bytes" },
	{ "monitor = \"a b\"", "1 to 11 bytes" },
	{ "monitor = \"\"", "1 to 11 bytes" },
	{ "monitor-type = ifb", "auto, dummy, bridge or veth" },
	{ "identity = full", "none, announce, trailer or ipfix" },
	{ "sources = { eth0, a/b }", "conf:1: 'a/b' is no value for 'sources': it takes a device name" },
	{ "sources = { eth0, \"\" }", "it takes a device name" },
	{ "sources = { eth0", "conf:1: " },
	{ "sources = { a }\nsources = { b }", "conf:2: 'sources' is given twice, first in line 1" },
	{ "linger = 1\n\nlinger = 1", "conf:3: 'linger' is given twice, first in line 1" },
	{ "sources = { lo,\nmon0 }", "'mon0' is a monitor: it cannot be a source too" },
	{ "monitor = eth0\nsources = { eth0 }", "conf:2: 'eth0' is a monitor" },
	{ "monitor = \"${HOME}\"", "conf:1: '${' has no place here" },
	{ "\nmonitor = '${HOME}'", "conf:2: '${' has no place here" },
	{ "# a\n\n/* b\n\n*/ linger = x # c\n", "conf:5: 'x'" },
	{ "linger = 1\n\n\"", "conf:3: this string does not end on its line" },
	{ "sources = {x}\nsources = {}", "conf:2: 'sources' is given twice, first in line 1" },
	{ "sources = {x}\nsources += {y}", "conf:2: 'sources' is given twice, first in line 1" },
	{ "linger = 1\n\001", "conf:2: byte 0x01" },
	{ "include(\"/etc/passwd\")", "conf:1: no such option 'include'" },
	{ "monitor = \"mon1", "conf:1: " },
	{ "\n/* linger = 1", "conf:2: this comment has no end" },
	{ "monitor = \"a\nb\"", "conf:1: this string does not end on its line" },
	{ "linger = 1 }", "conf:1: " },
	{ "monitor { name = x }", "conf:1: " },
};

static void test_wrong(void **state)
{
	static struct mctl_settings before;

	(void)state;
	mctl_settings_init(&before);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		char text[256];

		/* A good value first: it must not be taken either. */
		if (!strstr(wrong[i].text, "monitor-type") && !strstr(wrong[i].said, "conf:1"))
			snprintf(text, sizeof(text), "monitor-type = veth %s", wrong[i].text);
		else
			snprintf(text, sizeof(text), "%s", wrong[i].text);
		if (parse(text) != MCTL_USAGE)
			fail_msg("'%s' was taken (%s)", text, said);
		assert_said(wrong[i].said);
		assert_null(strchr(said, '\n'));
		assert_memory_equal(&s, &before, sizeof(s));
	}
}

/* A file that ended inside a string or comment must not colour the next one. */
static void test_state_does_not_leak(void **state)
{
	(void)state;
	assert_int_equal(parse("monitor = \"mon1"), MCTL_USAGE);
	assert_int_equal(parse("linger = 5\n"), MCTL_OK);
	assert_int_equal(s.linger_s, 5);
	assert_int_equal(parse("/* linger"), MCTL_USAGE);
	assert_int_equal(parse("linger = 6\n"), MCTL_OK);
	assert_int_equal(s.linger_s, 6);
	assert_int_equal(parse("monitor = 'mon1"), MCTL_USAGE);
	assert_int_equal(parse("linger = 7\n"), MCTL_OK);
	assert_int_equal(s.linger_s, 7);
}

static void test_environment(void **state)
{
	(void)state;
	assert_int_equal(setenv("MIRRORCTL_TEST_NAME", "mon7", 1), 0);
	assert_int_equal(parse("monitor = $MIRRORCTL"), MCTL_OK);	/* a name like any other */
	assert_string_equal(s.terms.monitor, "$MIRRORCTL");
	assert_int_equal(parse("monitor = ${MIRRORCTL_TEST_NAME}"), MCTL_USAGE);
	assert_int_equal(parse("# ${MIRRORCTL_TEST_NAME}\nmonitor = ~ // ${HOME}"), MCTL_OK);
	assert_string_equal(s.terms.monitor, "~");
}

static void test_many_sources(void **state)
{
	_cleanup_free_ char *text = malloc(32 * (MIR_SOURCES_LIMIT + 2));
	size_t at = 0;

	(void)state;
	assert_non_null(text);
	at += (size_t)snprintf(text, 32, "sources = { x");
	for (int i = 1; i < MIR_SOURCES_LIMIT; i++)
		at += (size_t)snprintf(text + at, 32, ", d%d", i);
	snprintf(text + at, 8, " }");
	assert_int_equal(parse(text), MCTL_OK);
	assert_int_equal(s.nsources, MIR_SOURCES_LIMIT);
	snprintf(text + at, 16, ", more }");
	assert_int_equal(parse(text), MCTL_USAGE);
	assert_said("no more than 1024 devices");
}

static void test_read(void **state)
{
	char path[] = "/tmp/mirrorctl-settings-XXXXXX";
	_cleanup_close_ int fd = mkstemp(path);
	static char big[64 * 1024];

	(void)state;
	assert_true(fd >= 0);
	mctl_settings_init(&s);
	said_start();
	assert_int_equal(mctl_settings_read(&s, path), MCTL_OK);
	assert_int_equal(write(fd, "linger = 9\n", 11), 11);
	assert_int_equal(mctl_settings_read(&s, path), MCTL_OK);
	assert_int_equal(s.linger_s, 9);

	assert_int_equal(write(fd, "\n\0", 2), 2);
	assert_int_equal(mctl_settings_read(&s, path), MCTL_USAGE);
	assert_said(":3: a zero byte");

	memset(big, '\n', sizeof(big));
	for (int i = 0; i < 17; i++)
		assert_int_equal(write(fd, big, sizeof(big)), sizeof(big));
	said_start();
	assert_int_equal(mctl_settings_read(&s, path), MCTL_USAGE);
	assert_said("at most 1 MiB");
	unlink(path);
	said_start();
	assert_int_equal(mctl_settings_read(&s, path), MCTL_NOT_FOUND);
	assert_said("there is no configuration file");
	said_start();
	assert_int_equal(mctl_settings_read(&s, "/"), MCTL_FAILED);
	assert_said("cannot read configuration file /: Is a directory");
}

static void test_override(void **state)
{
	char *devices[] = { "eth1", "eth2", "eth1" };
	struct mctl_args args = { .words = devices };

	(void)state;
	assert_int_equal(parse("snaplen = 96\nsources = { lo }"), MCTL_OK);
	assert_int_equal(mctl_settings_override(&s, &args), MCTL_OK);
	assert_int_equal(s.snaplen, 96);
	assert_string_equal(s.sources[0], "lo");

	args = (struct mctl_args){
		.given = MCTL_OPT(MCTL_OPT_SNAPLEN) | MCTL_OPT(MCTL_OPT_MONITOR) | MCTL_OPT(MCTL_OPT_LINGER) |
			 MCTL_OPT(MCTL_OPT_MONITOR_TYPE) | MCTL_OPT(MCTL_OPT_IDENTITY),
		.monitor = "m", .monitor_type = MIR_MONITOR_DUMMY, .identity = MIR_IDENTITY_TRAILER,
		.words = devices, .nwords = 3,
	};
	assert_int_equal(mctl_settings_override(&s, &args), MCTL_OK);
	assert_int_equal(s.snaplen, 0);
	assert_int_equal(s.linger_s, 0);
	assert_int_equal(s.terms.monitor_type, MIR_MONITOR_DUMMY);
	assert_int_equal(s.identity, MIR_IDENTITY_TRAILER);
	assert_string_equal(s.terms.monitor, "m");
	assert_int_equal(s.nsources, 2);
	assert_string_equal(s.sources[0], "eth1");

	args.monitor = "eth2";
	assert_int_equal(mctl_settings_override(&s, &args), MCTL_USAGE);
	assert_said("'eth2' is a monitor");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_right),
		cmocka_unit_test(test_sections),
		cmocka_unit_test(test_terms_of_sections),
		cmocka_unit_test(test_many_sections),
		cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_state_does_not_leak),
		cmocka_unit_test(test_environment),
		cmocka_unit_test(test_many_sources),
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_override),
	};

	return RUN_TAP(tests);
}
