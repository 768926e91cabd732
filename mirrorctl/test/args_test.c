/* SPDX-License-Identifier: GPL-2.0-only */
/* The parser of the command line: what each verb takes, and the one sentence it gets wrong words answered with. */
#include "test.h"

#include "args.h"
#include "opts.h"

#include <mirror/abi.h>

#define WORDS_MAX 16

/* Splits at single spaces; good enough for words that hold none. */
static char line_copy[512];
static char *words[WORDS_MAX];

static int split(const char *line)
{
	char *save = NULL;
	int n = 0;

	snprintf(line_copy, sizeof(line_copy), "%s", line);
	for (char *word = strtok_r(line_copy, " ", &save); word; word = strtok_r(NULL, " ", &save))
		words[n++] = word;
	return n;
}

static int parse(const char *verb, const char *line, struct mctl_args *ret)
{
	mctl = (struct mctl_globals){ .pin_root = MCTL_DEFAULT_PIN_ROOT };
	mctl_asked = (struct mctl_asked){ 0 };
	said_start();
	return mctl_args_parse(mctl_cmd_find(verb), split(line), words, ret);
}

struct right_case {
	const char *verb, *line;
	unsigned int given;
	int nwords;
	const char *first, *last;	/* NULL: no words */
};

static const struct right_case right[] = {
	{ "up", "", 0, 0, NULL, NULL },
	{ "up", "eth0 lo", 0, 2, "eth0", "lo" },
	{ "up", "eth0 --snaplen 96 lo", MCTL_OPT(MCTL_OPT_SNAPLEN), 2, "eth0", "lo" },
	{ "up", "--linger=0 -- --monitor", MCTL_OPT(MCTL_OPT_LINGER), 1, "--monitor", "--monitor" },
	{ "up", "-", 0, 1, "-", "-" },
	{ "add-pid", "1 --follow 2 --shared", MCTL_OPT(MCTL_OPT_FOLLOW) | MCTL_OPT(MCTL_OPT_SHARED), 2, "1", "2" },
	{ "add-pid", "2147483647", 0, 1, "2147483647", "2147483647" },
	{ "del-pid", "--all", MCTL_OPT(MCTL_OPT_ALL), 0, NULL, NULL },
	{ "run", "-- ls -l", 0, 2, "ls", "-l" },
	{ "run", "--follow ls --follow -- x", MCTL_OPT(MCTL_OPT_FOLLOW), 4, "ls", "x" },
	{ "run", "--user nobody -- -- x", MCTL_OPT(MCTL_OPT_USER), 2, "--", "x" },
	{ "run", "sh -c true --help", 0, 4, "sh", "--help" },
	{ "check", "f", 0, 1, "f", "f" },
	{ "stats", "--cost 3600", MCTL_OPT(MCTL_OPT_COST), 0, NULL, NULL },
	{ "help", "", 0, 0, NULL, NULL },
};

static void test_right(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(right); i++) {
		const struct right_case *c = &right[i];
		struct mctl_args args;

		if (parse(c->verb, c->line, &args) != MCTL_OK)
			fail_msg("%s %s: %s", c->verb, c->line, said);
		assert_int_equal(args.given, c->given);
		assert_int_equal(args.nwords, c->nwords);
		if (c->first) {
			assert_string_equal(args.words[0], c->first);
			assert_string_equal(args.words[args.nwords - 1], c->last);
		}
		assert_false(mctl_asked.help);
	}
}

static void test_values(void **state)
{
	struct mctl_args args;

	(void)state;
	assert_int_equal(parse("up", "--monitor mon7 --monitor-type=bridge --identity none --snaplen 65535 --linger 3600 "
			       "--config /etc/x", &args), MCTL_OK);
	assert_string_equal(args.monitor, "mon7");
	assert_int_equal(args.monitor_type, MIR_MONITOR_BRIDGE);
	assert_int_equal(args.identity, MIR_IDENTITY_NONE);
	assert_int_equal(args.snaplen, 65535);
	assert_int_equal(args.linger_s, 3600);
	assert_string_equal(args.config, "/etc/x");

	assert_int_equal(parse("add-pid", "--direction in --sample 1/1000000 --rate 1000pps --first 1500 --for 90s --count 7 1",
			       &args), MCTL_OK);
	assert_int_equal(args.direction, MIR_POLICY_IN);
	assert_int_equal(args.sample, 1000000);
	assert_int_equal(args.rate, 1000);
	assert_int_equal(args.rate_bytes, 0);
	assert_int_equal(args.first, 1500);
	assert_true(args.period_ns == 90000000000ull);
	assert_int_equal(args.count, 7);
	assert_null(args.filter);
	assert_int_equal(parse("run", "--filter=tcp[13]&2!=0 cmd", &args), MCTL_OK);
	assert_string_equal(args.filter, "tcp[13]&2!=0");
	assert_int_equal(parse("up", "--filter=", &args), MCTL_OK);
	assert_string_equal(args.filter, "");

	assert_int_equal(parse("up", "--identity announce --snaplen=0", &args), MCTL_OK);
	assert_int_equal(args.identity, MIR_IDENTITY_ANNOUNCE);
	assert_int_equal(args.snaplen, 0);
}

/* Amounts with units. */
static void test_units(void **state)
{
	static const struct {
		const char *text;
		uint64_t value;
		uint32_t bytes;
	} rates[] = {
		{ "1pps", 1, 0 }, { "1000000pps", 1000000, 0 }, { "8bit", 1, 1 }, { "15bit", 1, 1 }, { "10kbit", 1250, 1 },
		{ "10mbit", 1250000, 1 }, { "40gbit", 5000000000ull, 1 }, { "1B", 1, 1 }, { "3kB", 3000, 1 },
		{ "2MB", 2000000, 1 }, { "1000GB", 1000000000000ull, 1 },
	};
	static const struct {
		const char *text;
		uint64_t seconds;
	} periods[] = { { "1s", 1 }, { "5m", 300 }, { "2h", 7200 }, { "366d", 366 * 86400ull } };
	char line[64];
	struct mctl_args args;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rates); i++) {
		snprintf(line, sizeof(line), "--rate %s", rates[i].text);
		assert_int_equal(parse("up", line, &args), MCTL_OK);
		assert_true(args.rate == rates[i].value);
		assert_int_equal(args.rate_bytes, rates[i].bytes);
	}
	for (size_t i = 0; i < ARRAY_SIZE(periods); i++) {
		snprintf(line, sizeof(line), "--for %s", periods[i].text);
		assert_int_equal(parse("up", line, &args), MCTL_OK);
		assert_true(args.period_ns == periods[i].seconds * 1000000000ull);
	}
	assert_int_equal(parse("up", "--first 2MB --count 4294967295", &args), MCTL_OK);
	assert_int_equal(args.first, 2000000);
	assert_true(args.count == 4294967295u);
}

struct wrong_case {
	const char *verb, *line, *said;
};

static const struct wrong_case wrong[] = {
	{ "up", "--snaplen", "'--snaplen' of 'up' needs a value" },
	{ "up", "--snaplen --linger 3", "needs a value" },
	{ "up", "--snaplen 63", "0 (whole frames) or a number of bytes from 64 to 65535" },
	{ "up", "--snaplen 65536", "64 to 65535" },
	{ "up", "--snaplen 0x40", "64 to 65535" },
	{ "up", "--snaplen=+64", "64 to 65535" },
	{ "up", "--snaplen 64b", "64 to 65535" },
	{ "up", "--snaplen=", "64 to 65535" },
	{ "up", "--snaplen 18446744073709551680", "64 to 65535" },	/* 2^64 + 64 */
	{ "up", "--snaplen 4294967360", "64 to 65535" },		/* 2^32 + 64 */
	{ "up", "--linger 3601", "0 to 3600" },
	{ "stats", "--cost 0", "a number of seconds from 1 to 3600" },
	{ "stats", "--cost", "needs a value" },
	{ "up", "--linger=-1", "0 to 3600" },
	{ "up", "--monitor a23456789012", "1 to 11 bytes" },
	{ "up", "--monitor=", "1 to 11 bytes" },
	{ "up", "--monitor a/b", "1 to 11 bytes" },
	{ "up", "--monitor ..", "1 to 11 bytes" },
	{ "up", "--monitor-type ifb", "auto, dummy, bridge or veth" },
	{ "up", "--monitor-type dumm", "auto, dummy, bridge or veth" },
	{ "up", "--identity full", "none, announce, trailer or ipfix" },
	{ "up", "--config=", "the name of a file" },
	{ "up", "--filter prot", "'prot' is no value for option '--filter' of 'up': it takes a filter as in pcap-filter(7): can't "
	  "parse filter expression: syntax error" },
	{ "add-pid", "--filter=port.80 1", "a filter as in pcap-filter(7)" },
	{ "run", "--filter inbound -- cmd", "for the direction there is --direction" },
	{ "up", "--direction inout", "both, in or out" },
	{ "up", "--direction=", "both, in or out" },
	{ "up", "--sample 4", "1/N with N from 1 to 1000000" },
	{ "up", "--sample 1/0", "1/N with N from 1 to 1000000" },
	{ "up", "--rate 1000", "a whole number with pps" },
	{ "up", "--rate 0pps", "a whole number with pps" },
	{ "up", "--rate 1000001pps", "a whole number with pps" },
	{ "up", "--rate 7bit", "a whole number with pps" },
	{ "up", "--rate 1001GB", "a whole number with pps" },
	{ "up", "--rate 1.5MB", "a whole number with pps" },
	{ "up", "--rate 10Mbit", "a whole number with pps" },
	{ "up", "--rate 99999999999999999999B", "a whole number with pps" },
	{ "up", "--first 0", "a whole number of bytes from 1 on" },
	{ "up", "--first 1k", "a whole number of bytes from 1 on" },
	{ "up", "--for 30", "a whole number with s, m, h or d" },
	{ "up", "--for 0s", "a whole number with s, m, h or d" },
	{ "up", "--for 367d", "a whole number with s, m, h or d" },
	{ "up", "--count 0", "a whole number from 1 to 4294967295" },
	{ "up", "--count 4294967296", "a whole number from 1 to 4294967295" },
	{ "up", "--count 5s", "a whole number from 1 to 4294967295" },
	{ "up", "--snaplen 64 --snaplen 65", "given twice" },
	{ "up", "--follow", "'up' takes no option '--follow'" },
	{ "up", "--snap 64", "did you mean '--snaplen'?" },
	{ "up", "--snaplan 64", "did you mean '--snaplen'?" },
	{ "up", "--zzzzzzzz", "unknown option '--zzzzzzzz' of 'up'; see" },
	{ "up", "-s 64", "unknown option '-s'" },
	{ "up", "eth0:1", "a device name" },
	{ "up", "a234567890123456", "a device name" },
	{ "up", "eth0 .", "a device name" },
	{ "add-pid", "", "needs more: mirrorctl add-pid PID..." },
	{ "add-pid", "0", "process ids" },
	{ "add-pid", "12 1x", "'1x'" },
	{ "add-pid", "2147483648", "process ids" },
	{ "add-pid", "-5", "unknown option '-5'" },
	{ "add-pid", "--follow=yes 1", "takes no value" },
	{ "del-pid", "", "needs more: mirrorctl del-pid PID... | --all" },
	{ "del-pid", "--all 7", "not both ('7')" },
	{ "run", "", "needs more: mirrorctl run [--] CMD" },
	{ "run", "--", "needs more" },
	{ "run", "--user", "needs a value" },
	{ "list", "x", "'list' takes no words, but 'x' was given" },
	{ "check", "a b", "'b' is one word too many" },
	{ "check", "", "needs more: mirrorctl check FILE" },
};

static void test_wrong(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct mctl_args args = { .nwords = -7 };

		if (parse(wrong[i].verb, wrong[i].line, &args) != MCTL_USAGE)
			fail_msg("%s %s was taken", wrong[i].verb, wrong[i].line);
		assert_said(wrong[i].said);
		assert_null(strchr(said, '\n'));
		assert_int_equal(args.nwords, -7);	/* untouched on failure */
	}
}

static void test_globals(void **state)
{
	struct mctl_args args;
	int used;

	(void)state;
	mctl = (struct mctl_globals){ .pin_root = MCTL_DEFAULT_PIN_ROOT };
	said_start();
	assert_int_equal(mctl_globals_parse(split("-j -vv --verbose --netns blue --pin-root=/x list -q"), words, &used),
			 MCTL_OK);
	assert_int_equal(used, 6);
	assert_true(mctl.json);
	assert_false(mctl.quiet);
	assert_int_equal(mctl.verbose, 3);
	assert_string_equal(mctl.netns, "blue");
	assert_string_equal(mctl.pin_root, "/x");

	assert_int_equal(parse("list", "-q --json", &args), MCTL_OK);
	assert_true(mctl.json && mctl.quiet);
	assert_int_equal(parse("run", "-v ls -j", &args), MCTL_OK);
	assert_false(mctl.json);	/* it is the command's */

	assert_int_equal(parse("up", "--help --snaplen", &args), MCTL_USAGE);
	assert_int_equal(parse("add-pid", "--help", &args), MCTL_OK);	/* without the word it needs */
	assert_true(mctl_asked.help);
}

static void test_globals_wrong(void **state)
{
	static const struct {
		const char *line, *said;
	} cases[] = {
		{ "--netns a/b list", "an absolute path such as" },
		{ "--netns ../x list", "an absolute path such as" },
		{ "--netns .. list", "an absolute path such as" },
		{ "--netns= list", "an absolute path such as" },
		{ "--netns", "needs a value: --netns NAME" },
		{ "--pin-root x list", "an absolute path" },
		{ "--json=1 list", "takes no value" },
		{ "--vers", "did you mean '--version'?" },
		{ "-jx list", "unknown option '-jx'" },
		{ "--monitor x up", "'mirrorctl' takes no option '--monitor'" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int used = -7;

		said_start();
		if (mctl_globals_parse(split(cases[i].line), words, &used) != MCTL_USAGE)
			fail_msg("%s was taken", cases[i].line);
		assert_said(cases[i].said);
		assert_int_equal(used, -7);
	}
}

static void test_suggest(void **state)
{
	(void)state;
	assert_string_equal(mctl_suggest_verb("lst"), "list");
	assert_string_equal(mctl_suggest_verb("add"), "add-pid");
	assert_string_equal(mctl_suggest_verb("addpid"), "add-pid");
	assert_string_equal(mctl_suggest_verb("stauts"), "status");
	assert_string_equal(mctl_suggest_verb("pu"), "up");
	assert_null(mctl_suggest_verb("frobnicate"));
	assert_null(mctl_suggest_verb(""));
	assert_null(mctl_suggest_verb("xx"));
	assert_null(mctl_suggest_verb("a-word-that-is-longer-than-any-word-of-the-tables-can-be"));
}

static void test_ifname(void **state)
{
	(void)state;
	assert_true(mctl_valid_ifname("a"));
	assert_true(mctl_valid_ifname("eth0.100"));
	assert_true(mctl_valid_ifname("..."));
	assert_true(mctl_valid_ifname("a23456789012345"));
	assert_false(mctl_valid_ifname("a234567890123456"));
	assert_false(mctl_valid_ifname(""));
	assert_false(mctl_valid_ifname("."));
	assert_false(mctl_valid_ifname(".."));
	assert_false(mctl_valid_ifname("a b"));
	assert_false(mctl_valid_ifname("a\tb"));
	assert_false(mctl_valid_ifname("a\xa0" "b"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_right),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_units),
		cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_globals),
		cmocka_unit_test(test_globals_wrong),
		cmocka_unit_test(test_suggest),
		cmocka_unit_test(test_ifname),
	};

	return RUN_TAP(tests);
}
