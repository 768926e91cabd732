/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A thin layer over json-c: strings that are always valid UTF-8, 64-bit counters, one object on one line. Objects are
 * built with json_object_object_add() as usual; no renderer lives here.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <json-c/json.h>

#include "mctl.h"

/* A string of at most `max` bytes, ended early by a zero byte. Bytes that are not UTF-8 become U+FFFD. NULL when out of
 * memory. */
struct json_object *mctl_json_text(const char *bytes, size_t max);

/* A counter; plain decimal even above 2^63. NULL when out of memory. */
struct json_object *mctl_json_u64(uint64_t value);

/* Prints `object` (borrowed, not freed) on one line of standard output. Returns MCTL_OK, or reports the write error and
 * returns MCTL_FAILED. A NULL object counts as out of memory. */
int mctl_json_print(struct json_object *object);

static inline void mctl_json_putp(struct json_object **object)
{
	json_object_put(*object);
}

#define _cleanup_json_ _cleanup_(mctl_json_putp)
