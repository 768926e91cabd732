/* SPDX-License-Identifier: GPL-2.0-only */
/* Names of what the programs count, as JSON has them. */
#pragma once

extern const char *const mctl_reason_names[];	/* by enum mir_reason */
extern const char *const mctl_failure_names[];	/* by enum mir_failure */
