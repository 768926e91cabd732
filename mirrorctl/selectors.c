/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Selectors: see selectors.h. A selector is armed in this order: its number and policy, what it is, what programs look for,
 * the bit in `live` that puts it in force, the processes that are there. Disarmed in the reverse order. What has a number but
 * is not in force was left by a killed mirrorctl and goes; one in force whose processes were not all looked at is finished.
 */
#include "selectors.h"

#include <string.h>

#include <bpf/bpf.h>

#include "hooks.h"
#include "mctl.h"
#include "policy.h"
#include "proc.h"
#include "targets.h"
#include "traits.h"

const char *const mctl_selector_kinds[MIR_SELECTOR_MAX] = {
	[MIR_SELECTOR_NONE] = "",
	[MIR_SELECTOR_NAME] = "name",
	[MIR_SELECTOR_EXE] = "exe",
	[MIR_SELECTOR_USER] = "user",
	[MIR_SELECTOR_CGROUP] = "cgroup",
	[MIR_SELECTOR_UNIT] = "unit",
	[MIR_SELECTOR_CONTAINER] = "container",
};

/* Both arrays at once, by number. */
struct table {
	struct mir_selector selector[MIR_SELECTORS_LIMIT];
	struct mir_policy policy[MIR_SELECTORS_LIMIT];
};

static int read_array(int fd, void *values)
{
	__u32 keys[MIR_SELECTORS_LIMIT], next, count = MIR_SELECTORS_LIMIT;

	const int r = bpf_map_lookup_batch(fd, NULL, &next, keys, values, &count, NULL);

	return r == -ENOENT ? 0 : r;	/* that was all */
}

/* NULL: it cannot be read, see errno. */
static struct table *read_table(const struct mctl_instance *inst)
{
	_cleanup_free_ struct table *t = malloc(sizeof(*t));
	int r = -ENOMEM;

	if (t)
		r = read_array(inst->map[MCTL_MAP_SELECTORS], t->selector);
	if (!r)
		r = read_array(inst->map[MCTL_MAP_POLICIES], t->policy);
	if (!r)
		return TAKE_PTR(t);
	errno = -r;
	return NULL;
}

static int write_entry(const struct mctl_instance *inst, __u32 number, const struct mir_selector *s)
{
	return bpf_map_update_elem(inst->map[MCTL_MAP_SELECTORS], &number, s, BPF_ANY) ? -errno : 0;
}

/* Works the switches of `live` out anew from the selectors that are in force. */
static int set_live(const struct mctl_instance *inst, __u64 armed, __u32 surveying)
{
	_cleanup_free_ struct table *t = read_table(inst);
	struct mir_live new = {}, *live = inst->live;
	int r;

	if (!t)
		return -errno;
	for (__u32 i = 1; i < MIR_SELECTORS_LIMIT; i++) {
		const struct mir_selector *s = &t->selector[i];

		if (!(armed >> i & 1))
			continue;
		new.kinds |= mctl_trait_kinds(s->kind, s->text);
		new.follow |= (__u64)!!(s->flags & MIR_TARGET_FOLLOW) << i;
		new.shared |= (__u64)!!(s->flags & MIR_TARGET_SHARED) << i;
		new.by_user |= (__u64)(s->kind == MIR_SELECTOR_USER) << i;
	}
	if (armed) {
		r = mctl_hooks_begin(inst);
		if (r < 0)
			return r;
		live->active = 1;
	}
	/* A selector is in force only while all its switches are set. */
	__atomic_store_n(&live->armed, live->armed & armed, __ATOMIC_RELEASE);
	live->kinds = new.kinds;
	live->follow = new.follow;
	live->shared = new.shared;
	live->by_user = new.by_user;
	live->surveying = surveying;
	__atomic_store_n(&live->armed, armed, __ATOMIC_RELEASE);
	return 0;
}

/* Makes every process that matches now a target. New ones choose themselves already. */
static int survey(const struct mctl_instance *inst, __u32 number)
{
	_cleanup_free_ struct mir_task_info *infos = NULL;
	size_t n = 0;
	int r;

	r = mctl_processes_read(inst, &infos, &n);
	for (size_t i = 0; !r && i < n; i++) {
		_cleanup_(mctl_process_close) struct mctl_process p = { .pidfd = -1 };

		if (!(infos[i].selectors >> number & 1))
			continue;
		r = mctl_process_open(inst, (pid_t)infos[i].tgid, &p);
		if (!r && p.info.start_ns == infos[i].start_ns)
			r = mctl_target_choose(inst, &p, 1ull << number);
		if (r == -ESRCH)	/* it exited meanwhile */
			r = 0;
	}
	return r;
}

/* What a verb asks for, as a selector remembers it: a monitor or a filter of its own, as 1. */
static void asked_of(const struct mctl_args *args, struct mir_policy *ret_asked)
{
	mctl_policy_of_args(args, ret_asked);
	ret_asked->monitor = !!args->monitor;
	ret_asked->filter = !!args->filter;
}

/* The same selector, asked for with the same policy, that is in force already; 0: there is none. */
static __u32 find_same(const struct mctl_instance *inst, const struct table *t, __u64 armed, const struct mctl_wanted *wanted,
		       const struct mctl_args *args)
{
	struct mir_policy asked;

	asked_of(args, &asked);
	for (__u32 i = 1; i < MIR_SELECTORS_LIMIT; i++)
		if ((armed >> i & 1) && t->selector[i].kind == wanted->kind && t->selector[i].flags == wanted->flags &&
		    !strcmp(t->selector[i].text, wanted->text) && !memcmp(&t->selector[i].asked, &asked, sizeof(asked)) &&
		    mctl_policy_names(inst, i, args))
			return i;
	return 0;
}

/* Everything but number and policy. */
static int arm(const struct mctl_instance *inst, const struct mctl_wanted *wanted, const struct mctl_args *args,
	       const struct mctl_traits *traits, __u32 number)
{
	struct mir_selector s = { .kind = wanted->kind, .flags = wanted->flags };
	const __u64 mask = 1ull << number;
	int r;

	asked_of(args, &s.asked);
	memcpy(s.text, wanted->text, sizeof(s.text));
	r = write_entry(inst, number, &s);
	if (r < 0)
		return r;
	/* Control groups that are made from here on are told from the others, before the selector is in force. */
	inst->live->kinds |= traits->kinds;
	r = mctl_traits_enter(inst, wanted, traits, mask);
	if (!r)
		r = set_live(inst, inst->live->armed | mask, number);
	if (!r)
		r = survey(inst, number);
	if (!r)
		inst->live->surveying = 0;
	return r;
}

int mctl_selector_add(struct mctl_instance *inst, const struct mctl_wanted *wanted, const struct mctl_args *args,
		      __u32 *ret_number)
{
	_cleanup_free_ struct table *t = read_table(inst);
	_cleanup_free_ char *why = NULL;
	struct mctl_traits traits;
	__u32 number = 0;
	int r;

	if (!t)
		return -errno;
	*ret_number = find_same(inst, t, inst->live->armed, wanted, args);
	if (*ret_number)
		return 0;
	r = mctl_traits_find(inst, wanted, &traits);
	if (!r)
		r = mctl_policy_make(inst, args, 0, &number);
	if (r < 0)
		return r;
	r = arm(inst, wanted, args, &traits, number);
	if (!r) {
		*ret_number = number;
		return 0;
	}
	why = strdup(mctl_reason(r));
	mctl_selector_delete(inst, number);
	mctl_policy_undo(inst, 0);
	return mctl_why(r, "%s", why ? why : strerror(-r));
}

/* Targets that no selector has any more. */
static int delete_orphans(const struct mctl_instance *inst)
{
	int fd = inst->map[MCTL_MAP_TARGETS];
	__u32 key = 0, next, *at = NULL;
	struct mir_target t;

	for (int end = bpf_map_get_next_key(fd, at, &next); !end;) {
		key = next;
		end = bpf_map_get_next_key(fd, &key, &next);
		if (!bpf_map_lookup_elem(fd, &key, &t) && !t.selectors)
			mctl_target_delete(inst, key);
	}
	return 0;
}

int mctl_selector_delete(struct mctl_instance *inst, __u32 number)
{
	const struct mir_selector none = {};
	struct mir_selector s;
	int r;

	if (!number || number >= MIR_SELECTORS_LIMIT)
		return -ESRCH;
	r = bpf_map_lookup_elem(inst->map[MCTL_MAP_SELECTORS], &number, &s) ? -errno : s.kind ? 0 : -ESRCH;
	if (!r)
		r = set_live(inst, inst->live->armed & ~(1ull << number), 0);
	if (!r)
		r = mctl_traits_remove(inst, 1ull << number);
	/* Twice: a program that was under way when the selector was taken out of force may still have written. */
	for (int i = 0; !r && i < 2; i++)
		r = mctl_targets_sift(inst, 1ull << number);
	if (!r)
		r = delete_orphans(inst);
	if (!r)
		r = mctl_credits_fold(inst, 1ull << number);
	if (!r)
		r = write_entry(inst, number, &none);
	return r < 0 ? r : mctl_policy_del(inst, number);
}

int mctl_selectors_settle(struct mctl_instance *inst)
{
	_cleanup_free_ struct table *t = read_table(inst);
	int r = 0;

	if (!t)
		return -errno;
	for (__u32 i = 1; !r && i < MIR_SELECTORS_LIMIT; i++) {
		if (inst->live->armed >> i & 1)
			continue;
		if (t->selector[i].kind)
			r = mctl_selector_delete(inst, i);
		else if (t->policy[i].used == MIR_POLICY_USED)	/* a selector's that came no further */
			r = mctl_policy_del(inst, i);
	}
	if (r < 0 || !inst->live->surveying)
		return r;
	r = survey(inst, inst->live->surveying);
	if (!r)
		inst->live->surveying = 0;
	return r;
}

static void counts_add(struct mir_counts *to, const struct mir_counts *have, const struct mir_counts *credited)
{
	to->packets += have->packets - credited->packets;
	to->bytes += have->bytes - credited->bytes;
	to->failed += have->failed - credited->failed;
}

/* What the present targets have counted. */
static void add_targets(const struct mctl_instance *inst, struct mctl_selector *selectors, size_t n)
{
	int fd = inst->map[MCTL_MAP_TARGETS];
	__u32 key, *at = NULL;
	struct mir_target t;

	for (; !bpf_map_get_next_key(fd, at, &key); at = &key) {
		struct mir_counts have;

		if (bpf_map_lookup_elem(fd, &key, &t))
			continue;
		have = (struct mir_counts){ .packets = t.packets, .bytes = t.bytes, .failed = t.failed };
		for (size_t i = 0; i < n; i++) {
			if (!(t.selectors >> selectors[i].number & 1))
				continue;
			counts_add(&selectors[i].counts, &have, &t.credited);
			selectors[i].processes += !t.exit_ns;
		}
	}
}

/* What the former ones had. */
static void add_credits(const struct mctl_instance *inst, struct mctl_selector *selectors, size_t n)
{
	const struct mir_counts none = {};
	int fd = inst->map[MCTL_MAP_CREDITS];
	__u64 mask, *at = NULL;
	struct mir_counts c;

	for (; !bpf_map_get_next_key(fd, at, &mask); at = &mask)
		for (size_t i = 0; !bpf_map_lookup_elem(fd, &mask, &c) && i < n; i++)
			if (mask >> selectors[i].number & 1)
				counts_add(&selectors[i].counts, &c, &none);
}

int mctl_selectors_read(const struct mctl_instance *inst, struct mctl_selector **ret_selectors, size_t *ret_n)
{
	_cleanup_free_ struct mctl_selector *selectors = calloc(MIR_SELECTORS_LIMIT, sizeof(*selectors));
	_cleanup_free_ struct table *t = read_table(inst);
	size_t n = 0;

	if (!selectors || !t)
		return -ENOMEM;
	for (__u32 i = 1; i < MIR_SELECTORS_LIMIT; i++)
		if (inst->live->armed >> i & 1)
			selectors[n++] = (struct mctl_selector){ .number = i, .s = t->selector[i], .policy = t->policy[i] };
	add_targets(inst, selectors, n);
	add_credits(inst, selectors, n);
	*ret_selectors = TAKE_PTR(selectors);
	*ret_n = n;
	return 0;
}

/* Deletes what came from the file, but not the numbers `keep`, bits, nor what `wanted` names with whatever options. */
static int delete_filed(struct mctl_instance *inst, const struct mctl_wanted *wanted, size_t n, __u64 keep)
{
	_cleanup_free_ struct mctl_selector *have = NULL;
	size_t count = 0;
	int r;

	r = mctl_selectors_read(inst, &have, &count);
	for (size_t i = 0; !r && i < count; i++) {
		bool stays = keep >> have[i].number & 1;

		for (size_t k = 0; k < n; k++)
			stays |= have[i].s.kind == wanted[k].kind && !strcmp(have[i].s.text, wanted[k].text);
		if ((have[i].s.flags & MIR_SELECTOR_FILED) && !stays)
			r = mctl_selector_delete(inst, have[i].number);
	}
	return r;
}

int mctl_selectors_reconcile(struct mctl_instance *inst, const struct mctl_wanted *wanted, size_t n,
			     void (*failed)(const struct mctl_wanted *wanted, int err))
{
	bool missing = false;
	__u64 keep = 0;
	__u32 number = 0;
	int r, each;

	r = delete_filed(inst, wanted, n, 0);
	for (size_t i = 0; !r && i < n; i++) {
		struct mctl_args args;

		mctl_terms_as_args(&wanted[i].terms, &args);
		each = mctl_selector_add(inst, &wanted[i], &args, &number);
		if (each < 0)
			failed(&wanted[i], each);
		else
			keep |= 1ull << number;
		missing |= each < 0;
	}
	if (!r)
		r = delete_filed(inst, NULL, 0, keep);
	return r < 0 ? r : missing ? -ESRCH : 0;
}
