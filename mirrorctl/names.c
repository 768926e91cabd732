/* SPDX-License-Identifier: GPL-2.0-only */
/* Names of what the programs count. */
#include "names.h"

#include <linux/types.h>

#include <mirror/abi.h>

const char *const mctl_reason_names[MIR_REASON_MAX] = {
	[MIR_REASON_SOCKET] = "socket",
	[MIR_REASON_LISTENER] = "listener",
	[MIR_REASON_LINGER] = "linger",
	[MIR_REASON_ICMP_ID] = "icmp_id",
	[MIR_REASON_ICMP_ERROR] = "icmp_error",
	[MIR_REASON_RAW] = "raw",
	[MIR_REASON_FRAGMENT] = "fragment",
};

const char *const mctl_failure_names[MIR_FAILURE_MAX] = {
	[MIR_FAILURE_NO_MONITOR] = "no_monitor",
	[MIR_FAILURE_MONITOR_DOWN] = "monitor_down",
	[MIR_FAILURE_CONGESTED] = "congested",
	[MIR_FAILURE_NO_L2] = "no_l2",
	[MIR_FAILURE_TOO_LONG] = "too_long",
	[MIR_FAILURE_OTHER] = "other",
};

const char *const mctl_refusal_names[MIR_REFUSAL_MAX] = {
	[MIR_REFUSAL_FILTER] = "filtered",
	[MIR_REFUSAL_SAMPLE] = "sampled",
	[MIR_REFUSAL_DIRECTION] = "direction",
	[MIR_REFUSAL_RATE] = "rate",
	[MIR_REFUSAL_FIRST] = "first",
	[MIR_REFUSAL_EXPIRED] = "expired",
	[MIR_REFUSAL_COUNT] = "count",
};

const char *mctl_printable(const char *comm, char *buf)
{
	for (int i = 0; i < MIR_COMM_LEN; i++)
		buf[i] = comm[i] && ((unsigned char)comm[i] < 0x20 || comm[i] == 0x7f) ? '?' : comm[i];
	buf[MIR_COMM_LEN - 1] = '\0';
	return buf;
}
