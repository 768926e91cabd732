/* SPDX-License-Identifier: GPL-2.0-only */
/* What log.c offers beside the reporting functions of mctl.h. Called by main() and by tests. */
#pragma once

#include <stddef.h>

/* Sends libbpf's own output through ours: silent, warnings from the second -v on, everything from the third. */
void mctl_log_init(void);

/* Flushes standard output. 0, or -errno if anything written to it was lost (disk full, device gone). */
int mctl_stdout_flush(void);

/* For tests: sentences go to `buf` (the first one, cut to fit) and nothing is printed. NULL: print again. */
void mctl_log_capture(char *buf, size_t len);
