/* SPDX-License-Identifier: GPL-2.0-only */
/* Any bytes as a capture file: read, labelled and written, with trailers and announcements taken out and left in. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "annotate.h"
#include "mctl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (int i = 0; size && i < 3; i++) {
		struct mctl_annotate a = { .in_name = "fuzz", .strip = i == 1, .move = i == 2 };

		a.in = fmemopen((void *)data, size, "r");
		a.out = fopen("/dev/null", "we");
		if (a.in && a.out)
			mctl_annotate(&a);
		if (a.in)
			fclose(a.in);
		if (a.out)
			fclose(a.out);
	}
	return 0;
}
