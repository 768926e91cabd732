/* SPDX-License-Identifier: GPL-2.0-only */
/* The language of `tap add --match`: conditions joined by commas, all of which must hold. */
#pragma once

#include <stddef.h>

#include <mirror/tap.h>

#define MCTL_RULE_TEXT 160

/* "net=10.0.0.0/8,peer=192.0.2.1,proto=tcp,port=80-90,vlan=100", in any order, each at most once. Returns NULL and stores
 * the rule, or says what would have been right. */
const char *mctl_rule_parse(const char *text, struct mir_tap_rule *ret_rule);

/* Writes a rule the way it is given, cut to fit, and returns `buf`. */
const char *mctl_rule_text(const struct mir_tap_rule *rule, char *buf, size_t len);
