/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One parser for each kind of value, shared by the command line and the configuration file. Each returns NULL and stores
 * the value, or says what would have been right ("0 or a number from 64 to 65535") and stores nothing.
 */
#pragma once

#include <stdint.h>

#include <linux/types.h>

const char *mctl_value_monitor(const char *text);	/* checks only */
const char *mctl_value_device(const char *text);	/* checks only */
const char *mctl_value_netns(const char *text);		/* checks only */
const char *mctl_value_monitor_type(const char *text, uint32_t *ret);
const char *mctl_value_identity(const char *text, uint32_t *ret);
const char *mctl_value_snaplen(const char *text, uint32_t *ret);
const char *mctl_value_linger(const char *text, uint32_t *ret);
const char *mctl_value_tap_mode(const char *text, uint32_t *ret);
const char *mctl_value_cost(const char *text, uint32_t *ret);
const char *mctl_value_sample(const char *text, uint32_t *ret);

/* Fields of struct mir_policy. A rate is packets (pps) or bytes in a second, whichever unit is given. */
const char *mctl_value_filter(const char *text);	/* checks only; the answer holds until the next one */
const char *mctl_value_direction(const char *text, uint32_t *ret);
const char *mctl_value_rate(const char *text, __u64 *ret, uint32_t *ret_bytes);
const char *mctl_value_first(const char *text, __u64 *ret);
const char *mctl_value_period(const char *text, __u64 *ret_ns);
const char *mctl_value_count(const char *text, __u64 *ret);
