/* SPDX-License-Identifier: GPL-2.0-only */
/* The language of --match: what is understood comes out again the way it is shown, what is not says what would be right. */
#include "test.h"

#include <arpa/inet.h>

#include "rules.h"

static const struct {
	const char *text, *shown;
} right[] = {
	{ "net=10.0.0.0/8", "net=10.0.0.0/8" },
	{ "net=10.1.2.3/8", "net=10.0.0.0/8" },
	{ "net=192.0.2.1", "net=192.0.2.1/32" },
	{ "net=0.0.0.0/0", "net=0.0.0.0/0" },
	{ "net=::/0", "net=::/0" },
	{ "net=fd00:0::1:2/8", "net=fd00::/8" },
	{ "peer=2001:db8::1", "peer=2001:db8::1/128" },
	{ "net=fe80::/10,peer=ff02::/16", "net=fe80::/10,peer=ff02::/16" },
	{ "net=255.255.255.255/31,peer=1.2.3.4/25", "net=255.255.255.254/31,peer=1.2.3.0/25" },
	{ "proto=6", "proto=tcp" },
	{ "proto=udplite", "proto=udplite" },
	{ "proto=255", "proto=255" },
	{ "proto=0", "proto=0" },
	{ "port=0", "port=0" },
	{ "port=80-80", "port=80" },
	{ "port=0-65535", "port=0-65535" },
	{ "vlan=0", "vlan=0" },
	{ "vlan=4094,port=1-2,proto=udp,net=1.2.3.4", "net=1.2.3.4/32,proto=udp,port=1-2,vlan=4094" },
};

static void test_right(void **state)
{
	struct mir_tap_rule rule, again;
	char text[MCTL_RULE_TEXT];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(right); i++) {
		const char *said_instead = mctl_rule_parse(right[i].text, &rule);

		if (said_instead)
			fail_msg("%s: %s", right[i].text, said_instead);
		assert_string_equal(mctl_rule_text(&rule, text, sizeof(text)), right[i].shown);
		assert_null(mctl_rule_parse(text, &again));
		assert_memory_equal(&rule, &again, sizeof(rule));
	}
}

static const struct {
	const char *text, *said;
} wrong[] = {
	{ "", "conditions joined" },
	{ ",", "conditions joined" },
	{ "port", "conditions joined" },
	{ "Port=1", "conditions joined" },
	{ "port=1,,proto=tcp", "conditions joined" },
	{ "vlan=1,vlan=1", "each once" },
	{ "net=10.0.0.0/33", "prefix" },
	{ "net=10.0.0.0/", "prefix" },
	{ "net=10.0.0.0/8/8", "prefix" },
	{ "net=10.0.0.0/+8", "prefix" },
	{ "net=fd00::/129", "prefix" },
	{ "net=1.2.3.4,peer=::1", "one family" },
	{ "peer=::1,net=1.2.3.4", "one family" },
	{ "net=localhost", "prefix" },
	{ "proto=TCP", "0 to 255" },
	{ "proto=256", "0 to 255" },
	{ "port=65536", "0 to 65535" },
	{ "port=2-1", "0 to 65535" },
	{ "port=1-2-3", "0 to 65535" },
	{ "vlan=4095", "0 to 4094" },
	{ "vlan= 1", "0 to 4094" },
};

static void test_wrong(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct mir_tap_rule rule = { .set = 0xabcd };
		const char *text = mctl_rule_parse(wrong[i].text, &rule);

		if (!text || !strstr(text, wrong[i].said))
			fail_msg("'%s': %s", wrong[i].text, text ? text : "was taken");
		assert_int_equal(rule.set, 0xabcd);	/* untouched on failure */
	}
}

static void test_ipv4_is_mapped(void **state)
{
	struct mir_tap_rule rule;

	(void)state;
	assert_null(mctl_rule_parse("net=10.0.0.0/8", &rule));
	assert_int_equal(rule.version, 4);
	assert_int_equal(rule.net[2], htonl(0xffff));
	assert_int_equal(rule.net[3], htonl(0x0a000000));
	assert_int_equal(rule.net_mask[2], UINT32_MAX);
	assert_int_equal(rule.net_mask[3], htonl(0xff000000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_right),
		cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_ipv4_is_mapped),
	};

	return RUN_TAP(tests);
}
