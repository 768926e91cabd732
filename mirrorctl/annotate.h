/* SPDX-License-Identifier: GPL-2.0-only */
/* Turns identity inside a capture into what pcapng has for it, packet by packet: process, direction, comment. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

struct mctl_annotate {
	FILE *in;
	const char *in_name;	/* for messages */
	FILE *out;		/* NULL: one file for each process in `dir` */
	const char *dir;
	bool live;		/* somebody reads `out` while it is written: no packet waits for the next */
	bool strip;		/* no identity at all in the result */
	bool move;		/* announcements and trailers go, processes stay as options */
};

/* Streams to the end. 0; -EBADMSG when the input is cut short or damaged (what came before is written); -errno. */
int mctl_annotate(const struct mctl_annotate *a);
