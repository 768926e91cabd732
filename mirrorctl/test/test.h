/* SPDX-License-Identifier: GPL-2.0-only */
/* What every cmocka test of mirrorctl needs: the includes in the order cmocka wants, TAP on standard output. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "log.h"
#include "mctl.h"

/* The sentence that was reported last; tests call said_start() first. */
static char said[2048];

static inline void said_start(void)
{
	mctl_log_capture(said, sizeof(said));
}

/* fail_msg() for places that cannot go on; analysers do not know that it never returns. */
#define FAIL(...)                       \
	do {                            \
		fail_msg(__VA_ARGS__);  \
		abort();                \
	} while (0)

#define assert_said(part)                                                                 \
	do {                                                                              \
		if (!strstr(said, part))                                                  \
			fail_msg("'%s' does not hold '%s'", said, part);                  \
	} while (0)

#define RUN_TAP(tests) (cmocka_set_message_output(CM_OUTPUT_TAP), cmocka_run_group_tests(tests, NULL, NULL))
