/* SPDX-License-Identifier: GPL-2.0-only */
/* Capabilities: what a verb lacks before it starts, and giving up what it no longer needs. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define MCTL_CAP(cap) (1ull << (cap))	/* CAP_x of <linux/capability.h> as a bit */

/* The bits of `need` that are not in the effective set. All of `need` when the set cannot be read. */
uint64_t mctl_caps_missing(uint64_t need);

/* Drops everything but `keep` from the permitted, effective, inheritable and ambient sets; never adds. 0 or -errno. */
int mctl_caps_limit(uint64_t keep);

/* Writes "CAP_BPF, CAP_NET_ADMIN" into `buf`, cut to fit, and returns it. */
const char *mctl_caps_text(uint64_t caps, char *buf, size_t len);
