/* SPDX-License-Identifier: GPL-2.0-only */
/* mirrorctl stats: counters by reason and by cause of failure. */
#include <inttypes.h>
#include <string.h>

#include "json.h"
#include "mctl.h"
#include "names.h"
#include "up.h"
#include "verb.h"

static uint64_t sum(const __u64 *values, size_t n)
{
	uint64_t total = 0;

	while (n--)
		total += values[n];
	return total;
}

static struct json_object *named(const char *const *names, const __u64 *values, size_t n)
{
	struct json_object *o = json_object_new_object();

	for (size_t i = 0; i < n; i++)
		json_object_object_add(o, names[i], mctl_json_u64(values[i]));
	return o;
}

static int stats_json(const struct mir_stats *s)
{
	_cleanup_json_ struct json_object *o = json_object_new_object();

	json_object_object_add(o, "seen", mctl_json_u64(s->seen));
	json_object_object_add(o, "unmatched", mctl_json_u64(s->unmatched));
	json_object_object_add(o, "matched", mctl_json_u64(sum(s->reasons, MIR_REASON_MAX)));
	json_object_object_add(o, "mirrored", mctl_json_u64(s->mirrored));
	json_object_object_add(o, "failed", mctl_json_u64(sum(s->failures, MIR_FAILURE_MAX)));
	json_object_object_add(o, "malformed", mctl_json_u64(s->malformed));
	json_object_object_add(o, "reasons", named(mctl_reason_names, s->reasons, MIR_REASON_MAX));
	json_object_object_add(o, "failures", named(mctl_failure_names, s->failures, MIR_FAILURE_MAX));
	json_object_object_add(o, "announced", mctl_json_u64(s->announced));
	json_object_object_add(o, "untrimmed", mctl_json_u64(s->untrimmed));
	json_object_object_add(o, "unannounced", mctl_json_u64(s->unannounced));
	return mctl_json_print(o);
}

static void row(int depth, const char *name, uint64_t value)
{
	printf("%*s%-*s %12" PRIu64 "\n", depth * 2, "", 16 - depth * 2, name, value);
}

static void stats_text(const struct mir_stats *s)
{
	row(0, "seen", s->seen);
	row(1, "unmatched", s->unmatched);
	row(2, "malformed", s->malformed);
	row(1, "matched", sum(s->reasons, MIR_REASON_MAX));
	for (size_t i = 0; i < MIR_REASON_MAX; i++)
		row(2, mctl_reason_names[i], s->reasons[i]);
	row(0, "mirrored", s->mirrored);
	if (s->untrimmed)
		row(1, "untrimmed", s->untrimmed);
	if (s->announced || s->unannounced) {
		row(0, "announced", s->announced);
		row(1, "unannounced", s->unannounced);
	}
	row(0, "failed", sum(s->failures, MIR_FAILURE_MAX));
	for (size_t i = 0; i < MIR_FAILURE_MAX; i++)
		row(1, mctl_failure_names[i], s->failures[i]);
}

int cmd_stats(const struct mctl_args *args)
{
	_cleanup_instance_ struct mctl_instance inst;
	struct mir_stats s = {};
	int r;

	(void)args;
	r = mctl_instance_init(&inst);
	if (!r)
		r = mctl_view(&inst);
	if (!r)
		r = mctl_stats_read(&inst, &s);
	if (r < 0 && r != -ENOENT)
		return mctl_fail_with(r, "read the counters");
	if (mctl.json)
		return stats_json(&s);
	if (r == -ENOENT)
		mctl_note("the mirror is down; 'mirrorctl up' or 'mirrorctl add-pid PID' brings it up");
	else
		stats_text(&s);
	return MCTL_OK;
}
