/* SPDX-License-Identifier: GPL-2.0-only */
/* mirrorctl list: targets with their counters. */
#include <inttypes.h>
#include <string.h>

#include "json.h"
#include "mctl.h"
#include "names.h"
#include "up.h"
#include "verb.h"

/* MIR_TARGET_FOLLOW and _SHARED, of its own and of its selectors. */
static __u32 options_of(const struct mir_target *t, const struct mir_live *live)
{
	return t->flags | (t->selectors & live->follow ? MIR_TARGET_FOLLOW : 0) |
	       (t->selectors & live->shared ? MIR_TARGET_SHARED : 0);
}

static struct json_object *selectors_json(const struct mir_target *t, const struct mir_live *live)
{
	struct json_object *array = json_object_new_array();

	for (__u32 i = 1; i < MIR_SELECTORS_LIMIT; i++)
		if (t->selectors & live->armed & 1ull << i)
			json_object_array_add(array, mctl_json_u64(i));
	return array;
}

static struct json_object *target_json(const struct mctl_target *t, const struct mir_live *live)
{
	const __u32 options = options_of(&t->t, live);
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "pid", mctl_json_u64(t->tgid));
	json_object_object_add(o, "comm", mctl_json_text(t->t.comm, sizeof(t->t.comm)));
	json_object_object_add(o, "uid", mctl_json_u64(t->t.uid));
	json_object_object_add(o, "cgroup", mctl_json_text(t->t.cgroup, sizeof(t->t.cgroup)));
	json_object_object_add(o, "start_ns", mctl_json_u64(t->t.start_ns));
	json_object_object_add(o, "state", json_object_new_string(t->t.exit_ns ? "exited" : "running"));
	json_object_object_add(o, "follow", json_object_new_boolean(!!(options & MIR_TARGET_FOLLOW)));
	json_object_object_add(o, "shared", json_object_new_boolean(!!(options & MIR_TARGET_SHARED)));
	json_object_object_add(o, "parent", t->t.parent ? mctl_json_u64(t->t.parent) : NULL);
	json_object_object_add(o, "by_pid", json_object_new_boolean(!!(t->t.selectors & ~live->armed)));
	json_object_object_add(o, "selectors", selectors_json(&t->t, live));
	json_object_object_add(o, "sockets", mctl_json_u64(t->sockets));
	json_object_object_add(o, "packets", mctl_json_u64(t->t.packets));
	json_object_object_add(o, "bytes", mctl_json_u64(t->t.bytes));
	json_object_object_add(o, "failed", mctl_json_u64(t->t.failed));
	return o;
}

static int list_json(const struct mctl_target *targets, size_t n, const struct mir_live *live)
{
	_cleanup_json_ struct json_object *root = json_object_new_object();
	struct json_object *array = json_object_new_array();

	for (size_t i = 0; i < n; i++)
		json_object_array_add(array, target_json(&targets[i], live));
	json_object_object_add(root, "targets", array);
	return mctl_json_print(root);
}

static void print_options(const struct mir_target *t, const struct mir_live *live)
{
	const __u32 options = options_of(t, live);

	printf("%s%s", options & MIR_TARGET_FOLLOW ? "follow " : "", options & MIR_TARGET_SHARED ? "shared " : "");
	for (__u32 i = 1; i < MIR_SELECTORS_LIMIT; i++)
		if (t->selectors & live->armed & 1ull << i)
			printf("selector %u ", i);
	if (t->parent)
		printf("child of %u", t->parent);
	putchar('\n');
}

static void list_text(const struct mctl_target *targets, size_t n, const struct mir_live *live)
{
	char comm[MIR_COMM_LEN];

	if (!n) {
		mctl_note("no targets; 'mirrorctl add-pid PID' adds one");
		return;
	}
	printf("%8s  %-15s  %-7s  %7s  %10s  %12s  %6s  %s\n", "PID", "COMMAND", "STATE", "SOCKETS", "PACKETS", "BYTES",
	       "FAILED", "OPTIONS");
	for (size_t i = 0; i < n; i++) {
		const struct mir_target *t = &targets[i].t;

		printf("%8u  %-15s  %-7s  %7zu  %10" PRIu64 "  %12" PRIu64 "  %6" PRIu64 "  ", targets[i].tgid,
		       mctl_printable(t->comm, comm), t->exit_ns ? "exited" : "running", targets[i].sockets,
		       (uint64_t)t->packets, (uint64_t)t->bytes, (uint64_t)t->failed);
		print_options(t, live);
	}
}

int cmd_list(const struct mctl_args *args)
{
	_cleanup_free_ struct mctl_target *targets = NULL;
	_cleanup_instance_ struct mctl_instance inst;
	const struct mir_live none = {}, *live;
	size_t n = 0;
	int r;

	(void)args;
	r = mctl_instance_init(&inst);
	if (!r)
		r = mctl_view(&inst);
	if (!r)
		r = mctl_targets_read(&inst, &targets, &n);
	if (r < 0 && r != -ENOENT)
		return mctl_fail_with(r, "list the targets");
	live = inst.live ? inst.live : &none;
	if (mctl.json)
		return list_json(targets, n, live);
	list_text(targets, n, live);
	return MCTL_OK;
}
