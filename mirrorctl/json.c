/* SPDX-License-Identifier: GPL-2.0-only */
/* JSON values that json-c would get wrong or leave unchecked. Called by cmd_*.c and log.c. */
#include "json.h"

#include <string.h>

#include "log.h"

static const char replacement[] = "\xef\xbf\xbd";	/* U+FFFD in UTF-8 */

/* Length of the well-formed UTF-8 sequence at `p` (Unicode table 3-7: no overlong forms, no surrogates, nothing above
 * U+10FFFF). If there is none: 0, and *ret_bad is how many bytes one U+FFFD stands for. */
static size_t utf8_length(const unsigned char *p, size_t left, size_t *ret_bad)
{
	unsigned char low = 0x80, high = 0xbf;	/* bounds of the second byte */
	size_t need;

	*ret_bad = 1;
	if (p[0] < 0x80)
		return 1;
	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		need = 2;
	else if (p[0] >= 0xe0 && p[0] <= 0xef)
		need = 3;
	else if (p[0] >= 0xf0 && p[0] <= 0xf4)
		need = 4;
	else
		return 0;

	if (p[0] == 0xe0)
		low = 0xa0;
	else if (p[0] == 0xed)
		high = 0x9f;
	else if (p[0] == 0xf0)
		low = 0x90;
	else if (p[0] == 0xf4)
		high = 0x8f;

	for (size_t i = 1; i < need; i++) {
		if (i >= left || p[i] < low || p[i] > high) {
			*ret_bad = i;
			return 0;
		}
		low = 0x80;
		high = 0xbf;
	}
	return need;
}

struct json_object *mctl_json_text(const char *bytes, size_t max)
{
	const size_t len = strnlen(bytes, max);
	_cleanup_free_ char *text = NULL;
	size_t in = 0, out = 0;

	/* At worst each byte becomes the three of U+FFFD. json-c takes lengths as int. */
	if (len > INT32_MAX / 3 - 1)
		return NULL;
	text = malloc(len * 3 + 1);
	if (!text)
		return NULL;
	while (in < len) {
		size_t bad, good = utf8_length((const unsigned char *)bytes + in, len - in, &bad);

		if (good) {
			memcpy(text + out, bytes + in, good);
			in += good;
			out += good;
		} else {
			memcpy(text + out, replacement, sizeof(replacement) - 1);
			in += bad;
			out += sizeof(replacement) - 1;
		}
	}
	return json_object_new_string_len(text, (int)out);
}

struct json_object *mctl_json_u64(uint64_t value)
{
	return json_object_new_uint64(value);
}

int mctl_json_print(struct json_object *object)
{
	const char *line = NULL;
	int r;

	if (object)
		line = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
	if (!line)
		return mctl_fail(MCTL_FAILED, "out of memory");
	/* The result of fputs() is not needed: a stream remembers its errors. */
	fputs(line, stdout);
	putchar('\n');
	r = mctl_stdout_flush();
	if (r < 0)
		return mctl_fail(MCTL_FAILED, "cannot write to standard output: %s", strerror(-r));
	return MCTL_OK;
}
