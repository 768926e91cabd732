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

/* The refusals that are limits of a policy: all but filter and sample, each of which has a line of its own. */
#define LIMITS_FROM MIR_REFUSAL_DIRECTION
#define LIMITS_MAX (MIR_REFUSAL_MAX - LIMITS_FROM)

static int stats_json(const struct mir_stats *s)
{
	_cleanup_json_ struct json_object *o = json_object_new_object();

	json_object_object_add(o, "seen", mctl_json_u64(s->seen));
	json_object_object_add(o, "unmatched", mctl_json_u64(s->unmatched));
	json_object_object_add(o, "matched", mctl_json_u64(sum(s->reasons, MIR_REASON_MAX)));
	json_object_object_add(o, "mirrored", mctl_json_u64(s->mirrored));
	json_object_object_add(o, "failed", mctl_json_u64(sum(s->failures, MIR_FAILURE_MAX)));
	json_object_object_add(o, "filtered", mctl_json_u64(s->refusals[MIR_REFUSAL_FILTER]));
	json_object_object_add(o, "sampled", mctl_json_u64(s->refusals[MIR_REFUSAL_SAMPLE]));
	json_object_object_add(o, "limited", mctl_json_u64(sum(s->refusals + LIMITS_FROM, LIMITS_MAX)));
	json_object_object_add(o, "further", mctl_json_u64(s->further));
	json_object_object_add(o, "malformed", mctl_json_u64(s->malformed));
	json_object_object_add(o, "reasons", named(mctl_reason_names, s->reasons, MIR_REASON_MAX));
	json_object_object_add(o, "failures", named(mctl_failure_names, s->failures, MIR_FAILURE_MAX));
	json_object_object_add(o, "limits", named(mctl_refusal_names + LIMITS_FROM, s->refusals + LIMITS_FROM, LIMITS_MAX));
	json_object_object_add(o, "announced", mctl_json_u64(s->announced));
	json_object_object_add(o, "untrimmed", mctl_json_u64(s->untrimmed));
	json_object_object_add(o, "unannounced", mctl_json_u64(s->unannounced));
	json_object_object_add(o, "trailed", mctl_json_u64(s->trailed));
	json_object_object_add(o, "untrailed", mctl_json_u64(s->untrailed));
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
	if (s->further)
		row(2, "further", s->further);
	row(0, "mirrored", s->mirrored);
	if (s->untrimmed)
		row(1, "untrimmed", s->untrimmed);
	if (s->trailed || s->untrailed) {
		row(1, "trailed", s->trailed);
		row(1, "untrailed", s->untrailed);
	}
	if (s->announced || s->unannounced) {
		row(0, "announced", s->announced);
		row(1, "unannounced", s->unannounced);
	}
	row(0, "failed", sum(s->failures, MIR_FAILURE_MAX));
	for (size_t i = 0; i < MIR_FAILURE_MAX; i++)
		row(1, mctl_failure_names[i], s->failures[i]);
	row(0, mctl_refusal_names[MIR_REFUSAL_FILTER], s->refusals[MIR_REFUSAL_FILTER]);
	row(0, mctl_refusal_names[MIR_REFUSAL_SAMPLE], s->refusals[MIR_REFUSAL_SAMPLE]);
	row(0, "limited", sum(s->refusals + LIMITS_FROM, LIMITS_MAX));
	for (size_t i = LIMITS_FROM; i < MIR_REFUSAL_MAX; i++)
		row(1, mctl_refusal_names[i], s->refusals[i]);
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
