/* SPDX-License-Identifier: GPL-2.0-only */
/* mirrorctl add-name, add-exe, add-user, add-cgroup, add-unit, add-container, del-selector: selectors come and go. */
#include <string.h>

#include "json.h"
#include "mctl.h"
#include "policy.h"
#include "selectors.h"
#include "up.h"
#include "verb.h"

static int tell(const struct mctl_instance *inst, __u32 number)
{
	_cleanup_free_ struct mctl_selector *selectors = NULL;
	_cleanup_json_ struct json_object *root = NULL;
	const struct mctl_selector *s = NULL;
	size_t n = 0;

	if (mctl_selectors_read(inst, &selectors, &n))
		return MCTL_OK;
	for (size_t i = 0; i < n; i++)
		if (selectors[i].number == number)
			s = &selectors[i];
	if (!s)
		return MCTL_OK;
	if (!mctl.json) {
		mctl_note("selector %u: %s '%s', %zu process%s so far", number, mctl_selector_kinds[s->s.kind], s->s.text,
			  s->processes, s->processes == 1 ? "" : "es");
		return MCTL_OK;
	}
	root = json_object_new_object();
	json_object_object_add(root, "id", mctl_json_u64(number));
	json_object_object_add(root, "kind", json_object_new_string(mctl_selector_kinds[s->s.kind]));
	json_object_object_add(root, "text", mctl_json_text(s->s.text, sizeof(s->s.text)));
	json_object_object_add(root, "processes", mctl_json_u64(s->processes));
	return mctl_json_print(root);
}

static int add(const struct mctl_args *args, __u32 kind)
{
	struct mctl_wanted wanted = { .kind = kind, .flags = mctl_verb_flags(args),
				      .wait = !!(args->given & MCTL_OPT(MCTL_OPT_WAIT)) };
	_cleanup_instance_ struct mctl_instance inst;
	const char *text = args->words[0], *right;
	bool brought;
	__u32 number;
	int status, r;

	right = mctl_selector_right(kind, text);
	if (right)
		return mctl_fail(MCTL_USAGE, "'%.64s' is no word for 'add-%s': it takes %s", text, mctl_selector_kinds[kind],
				 right);
	snprintf(wanted.text, sizeof(wanted.text), "%s", text);
	status = mctl_verb_begin_up(&inst, &brought);
	if (status != MCTL_OK)
		return status;
	r = mctl_selector_add(&inst, &wanted, args, &number);
	if (r < 0)
		status = mctl_fail(r == -EINVAL ? MCTL_USAGE : mctl_exit_of(r), "cannot select %s '%s': %s",
				   mctl_selector_kinds[kind], text, mctl_reason(r));
	mctl_verb_end_up(&inst, brought, r == 0, status);
	return r < 0 ? status : tell(&inst, number);
}

int cmd_add_name(const struct mctl_args *args)
{
	return add(args, MIR_SELECTOR_NAME);
}

int cmd_add_exe(const struct mctl_args *args)
{
	return add(args, MIR_SELECTOR_EXE);
}

int cmd_add_user(const struct mctl_args *args)
{
	return add(args, MIR_SELECTOR_USER);
}

int cmd_add_cgroup(const struct mctl_args *args)
{
	return add(args, MIR_SELECTOR_CGROUP);
}

int cmd_add_unit(const struct mctl_args *args)
{
	return add(args, MIR_SELECTOR_UNIT);
}

int cmd_add_container(const struct mctl_args *args)
{
	return add(args, MIR_SELECTOR_CONTAINER);
}

static int delete_all(struct mctl_instance *inst)
{
	for (__u32 i = 1; i < MIR_SELECTORS_LIMIT; i++) {
		const int r = mctl_selector_delete(inst, i);

		if (r < 0 && r != -ESRCH)
			return mctl_fail_with(r, "remove the selectors");
	}
	return MCTL_OK;
}

int cmd_del_selector(const struct mctl_args *args)
{
	const bool all = args->nwords == 1 && !strcmp(args->words[0], "all");
	_cleanup_instance_ struct mctl_instance inst;
	uint32_t number;
	int status, r;

	for (int i = 0; !all && i < args->nwords; i++)
		if (mctl_parse_u32(args->words[i], 1, MIR_SELECTORS_LIMIT - 1, &number))
			return mctl_fail(MCTL_USAGE, "'%s' is no number of a selector, nor 'all'; 'mirrorctl selectors' shows "
					 "them", args->words[i]);
	status = mctl_verb_begin(&inst);
	if (status != MCTL_OK)
		return status;
	if (inst.map[MCTL_MAP_CONFIG] < 0)
		return all ? MCTL_OK : mctl_fail(MCTL_NOT_FOUND, "there is no selector %s: the mirror is down", args->words[0]);
	if (all)
		status = delete_all(&inst);
	for (int i = 0; !all && i < args->nwords; i++) {
		mctl_parse_u32(args->words[i], 1, MIR_SELECTORS_LIMIT - 1, &number);
		r = mctl_selector_delete(&inst, number);
		if (r == -ESRCH)
			status = mctl_fail(MCTL_NOT_FOUND, "there is no selector %u; 'mirrorctl selectors' shows them", number);
		else if (r < 0)
			status = mctl_fail_with(r, "remove the selector");
	}
	mctl_targets_purge(&inst);
	return status;
}
