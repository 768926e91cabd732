/* SPDX-License-Identifier: GPL-2.0-only */
/* mirrorctl selectors: what stands, with processes and counters. */
#include <ctype.h>
#include <inttypes.h>

#include "json.h"
#include "mctl.h"
#include "monitors.h"
#include "policy.h"
#include "selectors.h"
#include "up.h"
#include "verb.h"

/* Its monitor. */
static const char *monitor_of(const struct mctl_selector *s, const struct mir_monitor *monitors)
{
	return monitors[s->policy.monitor % MIR_MONITORS_LIMIT].name;
}

static struct json_object *selector_json(const struct mctl_selector *s, const struct mir_monitor *monitors)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "id", mctl_json_u64(s->number));
	json_object_object_add(o, "kind", json_object_new_string(mctl_selector_kinds[s->s.kind]));
	json_object_object_add(o, "text", mctl_json_text(s->s.text, sizeof(s->s.text)));
	json_object_object_add(o, "origin", json_object_new_string(s->s.flags & MIR_SELECTOR_FILED ? "file" : "command"));
	json_object_object_add(o, "follow", json_object_new_boolean(!!(s->s.flags & MIR_TARGET_FOLLOW)));
	json_object_object_add(o, "shared", json_object_new_boolean(!!(s->s.flags & MIR_TARGET_SHARED)));
	json_object_object_add(o, "monitor", json_object_new_string(monitor_of(s, monitors)));
	json_object_object_add(o, "filtered", json_object_new_boolean(!!s->policy.filter));
	json_object_object_add(o, "limited", json_object_new_boolean(mctl_policy_limits(&s->policy)));
	json_object_object_add(o, "processes", mctl_json_u64(s->processes));
	json_object_object_add(o, "packets", mctl_json_u64(s->counts.packets));
	json_object_object_add(o, "bytes", mctl_json_u64(s->counts.bytes));
	json_object_object_add(o, "failed", mctl_json_u64(s->counts.failed));
	return o;
}

static int show_json(const struct mctl_selector *selectors, size_t n, const struct mir_monitor *monitors)
{
	_cleanup_json_ struct json_object *root = json_object_new_object();
	struct json_object *array = json_object_new_array();

	for (size_t i = 0; i < n; i++)
		json_object_array_add(array, selector_json(&selectors[i], monitors));
	json_object_object_add(root, "selectors", array);
	return mctl_json_print(root);
}

static void print_text(const char *text)
{
	for (; *text; text++)
		putchar(isprint((unsigned char)*text) ? *text : '?');
	putchar('\n');
}

static void show_text(const struct mctl_selector *selectors, size_t n, const struct mir_monitor *monitors)
{
	if (!n) {
		mctl_note("no selectors; 'mirrorctl add-name NAME' adds one");
		return;
	}
	printf("%2s  %-9s  %9s  %10s  %12s  %6s  %-15s  %-18s  %s\n", "ID", "KIND", "PROCESSES", "PACKETS", "BYTES", "FAILED",
	       "MONITOR", "OPTIONS", "TEXT");
	for (size_t i = 0; i < n; i++) {
		const struct mir_selector *s = &selectors[i].s;
		char options[48];

		snprintf(options, sizeof(options), "%s%s%s%s%s", s->flags & MIR_TARGET_FOLLOW ? "follow " : "",
			 s->flags & MIR_TARGET_SHARED ? "shared " : "", selectors[i].policy.filter ? "filter " : "",
			 mctl_policy_limits(&selectors[i].policy) ? "limits " : "", s->flags & MIR_SELECTOR_FILED ? "file" : "");
		printf("%2u  %-9s  %9zu  %10" PRIu64 "  %12" PRIu64 "  %6" PRIu64 "  %-15s  %-18s  ", selectors[i].number,
		       mctl_selector_kinds[s->kind], selectors[i].processes, (uint64_t)selectors[i].counts.packets,
		       (uint64_t)selectors[i].counts.bytes, (uint64_t)selectors[i].counts.failed,
		       monitor_of(&selectors[i], monitors), options);
		print_text(s->text);
	}
}

int cmd_selectors(const struct mctl_args *args)
{
	_cleanup_free_ struct mctl_selector *selectors = NULL;
	struct mir_monitor monitors[MIR_MONITORS_LIMIT] = {};
	_cleanup_instance_ struct mctl_instance inst;
	size_t n = 0;
	int r;

	(void)args;
	r = mctl_instance_init(&inst);
	if (!r)
		r = mctl_view(&inst);
	if (!r)
		r = mctl_selectors_read(&inst, &selectors, &n);
	if (r < 0 && r != -ENOENT)
		return mctl_fail_with(r, "show the selectors");
	if (!r)
		mctl_monitors_read(&inst, monitors);
	if (mctl.json)
		return show_json(selectors, n, monitors);
	show_text(selectors, n, monitors);
	return MCTL_OK;
}
