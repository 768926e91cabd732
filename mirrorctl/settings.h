/* SPDX-License-Identifier: GPL-2.0-only */
/* What `up` is asked for: the defaults, then the configuration file, then the command line. No kernel state here. */
#pragma once

#include <stdint.h>

#include <linux/types.h>

#include <mirror/abi.h>

#include "args.h"
#include "policy.h"
#include "selectors.h"

struct mctl_settings {
	struct mctl_terms terms;	/* of entry 0 of map `policies`, with the monitor always named */
	uint32_t identity;	/* enum mir_identity */
	uint32_t snaplen;	/* bytes; 0: whole frames */
	uint32_t linger_s;	/* seconds */
	uint32_t patient;	/* 1: named devices may be missing (`watch`: they may come later) */
	int nsources;		/* 0: every device that is up and has an address */
	char sources[MIR_SOURCES_LIMIT][MIR_IFNAME_LEN];
	int nselectors;
	struct mctl_wanted selectors[MIR_SELECTORS_LIMIT - 1];	/* sections of the file, in its order */
};

/* Fills in the defaults of the man page. */
void mctl_settings_init(struct mctl_settings *s);

/* Reads a configuration file over `s`. `path` NULL: /etc/mirrorctl/mirrorctl.conf, whose absence is fine. Each problem
 * is reported as FILE:LINE: what, why. Returns MCTL_OK or the exit status (MCTL_USAGE; MCTL_NOT_FOUND for a named file
 * that is not there). `s` is changed only on success. */
int mctl_settings_read(struct mctl_settings *s, const char *path);

/* The same from memory; `name` stands for the file in messages. For the fuzzer and the unit tests. */
int mctl_settings_parse(struct mctl_settings *s, const char *text, const char *name);

/* Lays the command line of `up` over `s`: options given, and devices if any. Returns MCTL_OK or reports and returns
 * MCTL_USAGE. */
int mctl_settings_override(struct mctl_settings *s, const struct mctl_args *args);

/* Names of the enums, shared by options, configuration, JSON and completion. NULL-terminated. */
extern const char *const mctl_monitor_types[];	/* auto dummy bridge veth */
extern const char *const mctl_identities[];	/* none announce trailer */
extern const char *const mctl_tap_modes[];	/* auto native generic */
extern const char *const mctl_directions[];	/* both in out */
