/* SPDX-License-Identifier: GPL-2.0-only */
/* The one place that talks: errors, notes, details, libbpf's chatter. Only cmd_*.c and main.c report errors. */
#include "log.h"

#include <stdarg.h>
#include <string.h>

#include <bpf/libbpf.h>

#include "json.h"
#include "mctl.h"

#define SENTENCE_MAX 2048	/* bytes, with the terminating zero */

struct mctl_globals mctl = { .pin_root = MCTL_DEFAULT_PIN_ROOT };

static char why[SENTENCE_MAX];
static int why_err;
static bool json_done;		/* -j promises one object, so the first error is the one that is printed */
static char *captured;
static size_t captured_len;

/* Command names and file names may hold anything; a terminal must not be steered by them. */
static void defuse(char *text, bool keep_lines)
{
	for (char *p = text; *p; p++) {
		unsigned char c = (unsigned char)*p;

		if ((c < 0x20 && !(keep_lines && (c == '\n' || c == '\t'))) || c == 0x7f)
			*p = '?';
	}
}

static bool capture(const char *text)
{
	if (!captured)
		return false;
	if (!captured[0])
		snprintf(captured, captured_len, "%s", text);
	return true;
}

void mctl_log_capture(char *buf, size_t len)
{
	captured = buf;
	captured_len = len;
	json_done = false;
	if (buf && len)
		buf[0] = '\0';
}

static void print_json_error(enum mctl_exit code, const char *text)
{
	_cleanup_json_ struct json_object *outer = json_object_new_object();
	struct json_object *inner = json_object_new_object();

	if (!outer || !inner) {
		json_object_put(inner);
		return;
	}
	json_object_object_add(inner, "code", json_object_new_int(code));
	json_object_object_add(inner, "message", mctl_json_text(text, SENTENCE_MAX));
	json_object_object_add(outer, "error", inner);
	/* A write error is not reported: the sentence on standard error has been said, and the status is a failure. */
	puts(json_object_to_json_string_ext(outer, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
}

int mctl_fail(enum mctl_exit code, const char *fmt, ...)
{
	char text[SENTENCE_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	defuse(text, false);
	if (capture(text))
		return code;
	fprintf(stderr, "mirrorctl: %s\n", text);
	if (mctl.json && !json_done)
		print_json_error(code, text);
	json_done = true;
	return code;
}

void mctl_note(const char *fmt, ...)
{
	char text[SENTENCE_MAX];
	va_list ap;

	if (mctl.quiet)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	defuse(text, false);
	if (!capture(text))
		fprintf(stderr, "mirrorctl: %s\n", text);
}

void mctl_debug(const char *fmt, ...)
{
	char text[SENTENCE_MAX];
	va_list ap;

	if (mctl.verbose < 1 || captured)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	defuse(text, true);
	fprintf(stderr, "mirrorctl: %s\n", text);
}

int mctl_why(int err, const char *fmt, ...)
{
	char text[SENTENCE_MAX];
	va_list ap;

	/* Formatted aside first: an argument may be the text remembered so far. */
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	snprintf(why, sizeof(why), "%s", text);
	why_err = err;
	return err;
}

const char *mctl_reason(int err)
{
	return why[0] && why_err == err ? why : strerror(err < 0 ? -err : err);
}

static __attribute__((format(printf, 2, 0))) int print_libbpf(enum libbpf_print_level level, const char *fmt,
							      va_list ap)
{
	if (mctl.verbose < 2 || (level == LIBBPF_DEBUG && mctl.verbose < 3))
		return 0;
	return vfprintf(stderr, fmt, ap);
}

void mctl_log_init(void)
{
	libbpf_set_print(print_libbpf);
}

int mctl_stdout_flush(void)
{
	errno = 0;
	if (fflush(stdout) == 0 && !ferror(stdout))
		return 0;
	/* An earlier write may have failed, and its errno is gone. */
	return errno ? -errno : -EIO;
}
