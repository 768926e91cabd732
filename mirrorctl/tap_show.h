/* SPDX-License-Identifier: GPL-2.0-only */
/* Taps as `tap list` and `status` show them. */
#pragma once

#include <stdbool.h>

#include "json.h"
#include "tap.h"

/* One tap, read whole before anything is printed. */
struct mctl_tap_view {
	struct mctl_tap tap;		/* maps closed; name and state */
	struct mir_tap_select select;
	struct mir_tap_stats stats[2];	/* by the port frames came in by */
	bool attached[2];
};

/* All taps of the namespace. The array is the caller's to free. */
int mctl_taps_read(const struct mctl_instance *inst, struct mctl_tap_view **ret_views, size_t *ret_n);

struct json_object *mctl_tap_json(const struct mctl_tap_view *view, const struct mctl_links *links);

/* One line for each fact, as `status` does it; limits apart. */
void mctl_tap_print(const struct mctl_tap_view *view, const struct mctl_links *links);

/* What does not work as it should, in sentences. */
void mctl_tap_limits(const struct mctl_tap_view *view, const struct mctl_links *links,
		     void (*each)(const char *text, void *data), void *data);
