/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The capture interface "mirror" of Wireshark (extcap(4)): this binary under the name `mirror`. A capture has a mirror of its
 * own, in a pin directory and with a monitor of its own, which goes when the capture ends, however it ends.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum mctl_extcap_output {
	MCTL_EXTCAP_ANNOUNCE,	/* Ethernet, with announcements */
	MCTL_EXTCAP_TRAILER,	/* Ethernet, with trailers */
	MCTL_EXTCAP_PKTAP,	/* DLT 258, which stock Wireshark filters by pktap.pid */
	MCTL_EXTCAP_MAX,
};

struct mctl_extcap {
	const char *fifo;
	const char *target;	/* process id or command name */
	bool follow;
	bool in, out;		/* directions, as the process sees them */
	uint32_t snaplen;
	enum mctl_extcap_output output;
};

/* Is this how Wireshark calls an extcap? */
bool mctl_extcap_called(int argc, char **argv);

/* Does what Wireshark asks for. Returns the exit status; what went wrong is on standard error, which Wireshark shows. */
int mctl_extcap_main(int argc, char **argv);

/* Refuses to capture, with what has been said: opens the pipe and closes it, for whoever waits there for a writer (Wireshark's
 * dumpcap) would wait for good. Returns `status`. */
int mctl_extcap_refuse(const struct mctl_extcap *e, int status);

/* Captures until the reader or a signal ends it (extcap_capture.c). Returns the exit status. */
int mctl_extcap_capture(const struct mctl_extcap *e);
