/* SPDX-License-Identifier: GPL-2.0-only */
/* mirrorctl tap add, del, list: the inline tap. */
#include <string.h>

#include "mctl.h"
#include "rules.h"
#include "settings.h"
#include "tap_show.h"
#include "values.h"
#include "verb.h"

#define OPTS_ADD (MCTL_OPT(MCTL_OPT_MONITOR) | MCTL_OPT(MCTL_OPT_MODE) | MCTL_OPT(MCTL_OPT_MATCH) | \
		  MCTL_OPT(MCTL_OPT_SAMPLE) | MCTL_OPT(MCTL_OPT_TAKE_ADDRESSES))

/* The right number of words behind the action, a name that is one, no option that is another action's. */
static int check_words(const struct mctl_args *args, int nwords, const char *usage)
{
	if (args->nwords != nwords)
		return mctl_fail(MCTL_USAGE, "'tap %s' takes %s: mirrorctl tap %s", args->words[0],
				 nwords > args->nwords ? "more words" : "fewer words", usage);
	if (nwords > 1 && !mctl_tap_valid_name(args->words[1]))
		return mctl_fail(MCTL_USAGE, "'%s' is no name for a tap: it takes 1 to %d letters, digits, '_' and '-'",
				 args->words[1], MIR_TAP_NAME_LEN - 1);
	if (strcmp(args->words[0], "add") && (args->given & OPTS_ADD))
		return mctl_fail(MCTL_USAGE, "'tap %s' takes no options: mirrorctl tap %s", args->words[0], usage);
	return MCTL_OK;
}

static int add(struct mctl_instance *inst, const struct mctl_args *args)
{
	struct mctl_tap_wish wish = {
		.name = args->words[1],
		.port = { args->words[2], args->words[3] },
		.monitor = args->given & MCTL_OPT(MCTL_OPT_MONITOR) ? args->monitor : MCTL_DEFAULT_MONITOR,
		.mode = args->mode,
		.take_addresses = args->given & MCTL_OPT(MCTL_OPT_TAKE_ADDRESSES),
		.select = { .nrules = (__u32)args->nmatch, .sample = args->sample ? args->sample : 1 },
	};
	const char *right;
	char what[64];
	int r;

	for (int i = 0; i < 2; i++) {
		right = mctl_value_device(wish.port[i]);
		if (right)
			return mctl_fail(MCTL_USAGE, "'%s' is no word for 'tap add': it takes %s", wish.port[i], right);
	}
	for (int i = 0; i < args->nmatch; i++)
		mctl_rule_parse(args->match[i], &wish.select.rule[i]);	/* was checked with the option */
	r = mctl_taps_begin(inst);
	if (!r)
		r = mctl_tap_add(inst, &wish);
	snprintf(what, sizeof(what), "add tap '%s'", wish.name);
	return r < 0 ? mctl_fail_with(r, what) : MCTL_OK;
}

static int del(struct mctl_instance *inst, const struct mctl_args *args)
{
	char what[64];
	int r;

	r = mctl_taps_begin(inst);
	if (!r)
		r = mctl_tap_delete(inst, args->words[1]);
	snprintf(what, sizeof(what), "delete tap '%s'", args->words[1]);
	return r < 0 ? mctl_fail_with(r, what) : MCTL_OK;
}

static void print_limit(const char *text, void *unused)
{
	(void)unused;
	printf("limit        %s\n", text);
}

static int list(struct mctl_instance *inst)
{
	_cleanup_json_ struct json_object *root = json_object_new_object();
	_cleanup_free_ struct mctl_tap_view *views = NULL;
	_cleanup_links_ struct mctl_links links = {};
	struct json_object *array = json_object_new_array();
	size_t n = 0;
	int r;

	json_object_object_add(root, "taps", array);
	r = mctl_taps_begin(inst);
	if (!r)
		r = mctl_taps_read(inst, &views, &n);
	if (!r)
		r = mctl_links_read(&links);
	if (r < 0)
		return mctl_fail_with(r, "list the taps");
	for (size_t i = 0; i < n; i++) {
		if (mctl.json) {
			json_object_array_add(array, mctl_tap_json(&views[i], &links));
			continue;
		}
		mctl_tap_print(&views[i], &links);
		mctl_tap_limits(&views[i], &links, print_limit, NULL);
	}
	if (mctl.json)
		return mctl_json_print(root);
	if (!n)
		mctl_note("no taps; 'mirrorctl tap add NAME A B' makes one");
	return MCTL_OK;
}

int cmd_tap(const struct mctl_args *args)
{
	_cleanup_instance_ struct mctl_instance inst = { .lock = -1 };
	const char *action = args->words[0];
	int status;

	memset(inst.map, 0xff, sizeof(inst.map));	/* -1: not open */
	if (!strcmp(action, "add")) {
		status = check_words(args, 4, "add NAME A B");
		return status == MCTL_OK ? add(&inst, args) : status;
	}
	if (!strcmp(action, "del")) {
		status = check_words(args, 2, "del NAME");
		return status == MCTL_OK ? del(&inst, args) : status;
	}
	if (!strcmp(action, "list")) {
		status = check_words(args, 1, "list");
		return status == MCTL_OK ? list(&inst) : status;
	}
	return mctl_fail(MCTL_USAGE, "'%s' is nothing that 'tap' does: it takes add, del or list", action);
}
