/* SPDX-License-Identifier: GPL-2.0-only */
/* JSON strings from any bytes, 64-bit counters, and the remembered reasons of log.c. */
#include "test.h"

#include "json.h"

#define FFFD "\xef\xbf\xbd"

static const struct {
	const char *bytes, *text;
} texts[] = {
	{ "", "" },
	{ "curl", "curl" },
	{ "\xc3\xa9", "\xc3\xa9" },				/* U+00E9 */
	{ "\xe2\x82\xac", "\xe2\x82\xac" },			/* U+20AC */
	{ "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80" },		/* U+1F600 */
	{ "\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf" },		/* U+10FFFF, the last one */
	{ "a\xff" "b", "a" FFFD "b" },
	{ "\x80", FFFD },					/* continuation without a start */
	{ "\xc3", FFFD },					/* cut short */
	{ "\xe2\x82", FFFD },
	{ "\xe2\x82" "a", FFFD "a" },
	{ "\xf0\x9f\x98", FFFD },
	{ "\xc0\x80", FFFD FFFD },				/* overlong zero */
	{ "\xe0\x80\x80", FFFD FFFD FFFD },			/* overlong */
	{ "\xf0\x80\x80\x80", FFFD FFFD FFFD FFFD },
	{ "\xed\xa0\x80", FFFD FFFD FFFD },			/* surrogate */
	{ "\xf4\x90\x80\x80", FFFD FFFD FFFD FFFD },		/* above U+10FFFF */
	{ "\xf5\xfe", FFFD FFFD },
};

static void test_text(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		_cleanup_json_ struct json_object *o = mctl_json_text(texts[i].bytes, 16);

		assert_non_null(o);
		assert_string_equal(json_object_get_string(o), texts[i].text);
	}
}

static void test_text_is_bounded(void **state)
{
	/* No terminating zero: a command name as the kernel keeps it may fill its field. */
	const char bytes[4] = { 'a', 'b', '\xc3', '\xa9' };
	_cleanup_json_ struct json_object *whole = mctl_json_text(bytes, 4), *cut = mctl_json_text(bytes, 3);
	_cleanup_json_ struct json_object *none = mctl_json_text(bytes, 0);

	(void)state;
	assert_string_equal(json_object_get_string(whole), "ab\xc3\xa9");
	assert_string_equal(json_object_get_string(cut), "ab" FFFD);
	assert_string_equal(json_object_get_string(none), "");
}

static void test_control_bytes(void **state)
{
	_cleanup_json_ struct json_object *o = mctl_json_text("a\"\\\n\x1b/", 16);

	(void)state;
	assert_string_equal(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE),
			    "\"a\\\"\\\\\\n\\u001b/\"");
}

static void test_u64(void **state)
{
	_cleanup_json_ struct json_object *big = mctl_json_u64(UINT64_MAX), *zero = mctl_json_u64(0);

	(void)state;
	assert_string_equal(json_object_to_json_string(big), "18446744073709551615");
	assert_string_equal(json_object_to_json_string(zero), "0");
}

static void test_reason(void **state)
{
	(void)state;
	assert_string_equal(mctl_reason(-ENOENT), strerror(ENOENT));
	assert_int_equal(mctl_why(-EINVAL, "no %s", "luck"), -EINVAL);
	assert_string_equal(mctl_reason(-EINVAL), "no luck");
	/* The remembered text may be part of the new one. */
	mctl_why(-EIO, "outer: %s", mctl_reason(-EINVAL));
	assert_string_equal(mctl_reason(-EIO), "outer: no luck");
}

static void test_one_line(void **state)
{
	(void)state;
	said_start();
	assert_int_equal(mctl_fail(MCTL_UNSUPPORTED, "bad \x1b[2J name\n%s", "x"), MCTL_UNSUPPORTED);
	assert_string_equal(said, "bad ?[2J name?x");
	mctl_fail(MCTL_FAILED, "second");
	assert_string_equal(said, "bad ?[2J name?x");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_text_is_bounded),
		cmocka_unit_test(test_control_bytes),
		cmocka_unit_test(test_u64),
		cmocka_unit_test(test_reason),
		cmocka_unit_test(test_one_line),
	};

	return RUN_TAP(tests);
}
