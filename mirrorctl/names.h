/* SPDX-License-Identifier: GPL-2.0-only */
/* Names of what the programs count, as JSON has them, and names of commands as a terminal may have them. */
#pragma once

extern const char *const mctl_reason_names[];	/* by enum mir_reason */
extern const char *const mctl_failure_names[];	/* by enum mir_failure */
extern const char *const mctl_refusal_names[];	/* by enum mir_refusal */

/* A command name may hold anything, also what a terminal would obey: control characters become '?'. `buf` holds MIR_COMM_LEN
 * bytes and is returned. */
const char *mctl_printable(const char *comm, char *buf);
