/* SPDX-License-Identifier: GPL-2.0-only */
/* Entries of map `policies`: see policy.h. */
#include "policy.h"

#include <string.h>

#include <bpf/bpf.h>

#include "host.h"
#include "load.h"
#include "mctl.h"
#include "monitors.h"

const uint64_t mctl_policy_options = MCTL_OPT(MCTL_OPT_DIRECTION) | MCTL_OPT(MCTL_OPT_SAMPLE) | MCTL_OPT(MCTL_OPT_RATE) |
				     MCTL_OPT(MCTL_OPT_FIRST) | MCTL_OPT(MCTL_OPT_FOR) | MCTL_OPT(MCTL_OPT_COUNT) |
				     MCTL_OPT(MCTL_OPT_MONITOR) | MCTL_OPT(MCTL_OPT_MONITOR_TYPE) |
				     MCTL_OPT(MCTL_OPT_MONITOR_NETNS) | MCTL_OPT(MCTL_OPT_FILTER);

void mctl_policy_of_args(const struct mctl_args *args, struct mir_policy *ret_policy)
{
	*ret_policy = (struct mir_policy){
		.used = MIR_POLICY_USED,
		.direction = args->direction,
		.sample = args->sample,
		.rate = args->rate,
		.rate_bytes = args->rate_bytes,
		.first = args->first,
		.count = args->count,
		.period_ns = args->period_ns,
	};
}

void mctl_terms_as_args(const struct mctl_terms *terms, struct mctl_args *ret_args)
{
	const struct mir_policy *p = &terms->policy;

	*ret_args = (struct mctl_args){
		.direction = p->direction,
		.sample = p->sample,
		.rate = p->rate,
		.rate_bytes = p->rate_bytes,
		.first = p->first,
		.count = p->count,
		.period_ns = p->period_ns,
		.filter = terms->filtered ? terms->filter : NULL,
		.monitor = *terms->monitor ? terms->monitor : NULL,
		.monitor_type = terms->monitor_type,
		.monitor_netns = *terms->monitor_netns ? terms->monitor_netns : NULL,
	};
}

void mctl_policy_fill(struct mir_policy *policy, const struct mir_policy *other)
{
	if (!policy->direction)
		policy->direction = other->direction;
	if (!policy->sample)
		policy->sample = other->sample;
	if (!policy->rate) {
		policy->rate = other->rate;
		policy->rate_bytes = other->rate_bytes;
	}
	if (!policy->first)
		policy->first = other->first;
	if (!policy->count)
		policy->count = other->count;
	if (!policy->period_ns) {
		policy->period_ns = other->period_ns;
		policy->until_ns = other->until_ns;
	}
}

bool mctl_policy_limits(const struct mir_policy *p)
{
	return (p->direction && p->direction != (MIR_POLICY_IN | MIR_POLICY_OUT)) || p->sample > 1 || p->rate || p->first ||
	       p->count || p->period_ns;
}

/* Must the policy be asked, or is every packet copied to the instance's own monitor? */
static bool is_ruled(const struct mir_policy *p)
{
	return p->monitor || p->filter || mctl_policy_limits(p);
}

static int read_policy(const struct mctl_instance *inst, __u32 number, struct mir_policy *ret_policy)
{
	return bpf_map_lookup_elem(inst->map[MCTL_MAP_POLICIES], &number, ret_policy) ? -errno : 0;
}

/* The programs ask a policy from the moment its bit is in config.ruled: written last. */
static int write_ruled(struct mctl_instance *inst, __u32 number, bool ruled)
{
	const __u64 bit = 1ull << number;

	if (!(inst->config.ruled & bit) == !ruled)
		return 0;
	inst->config.ruled ^= bit;
	return mctl_config_write(inst, &inst->config);
}

/* Puts a policy into its place, with nothing used up yet. What asks it is loaded before the first one is there. */
static int write_policy(struct mctl_instance *inst, __u32 number, const struct mir_policy *policy, __u32 serial)
{
	const struct mir_meter unused = {};
	struct mir_policy p = *policy;
	int r = 0;

	if (is_ruled(&p) && !inst->config.ruled)
		r = mctl_load_chain(inst);
	if (r < 0)
		return r;
	p.serial = serial;
	if (p.period_ns && !p.until_ns)
		p.until_ns = mctl_host_now_ns() + p.period_ns;
	if (bpf_map_update_elem(inst->map[MCTL_MAP_METERS], &number, &unused, BPF_ANY) ||
	    bpf_map_update_elem(inst->map[MCTL_MAP_POLICIES], &number, &p, BPF_ANY))
		return -errno;
	return write_ruled(inst, number, is_ruled(&p));
}

/* A policy's filter has the policy's number. `expr` "": none; NULL: the same as the instance's, if it has one. What stands
 * there already is not compiled again. */
static int give_filter(const struct mctl_instance *inst, __u32 number, const char *expr, struct mir_policy *policy)
{
	_cleanup_free_ struct mir_filter *old = calloc(1, sizeof(*old));
	int r;

	if (!old)
		return -ENOMEM;
	r = mctl_filter_read(inst, expr ? number : 0, old);
	if (r < 0 && r != -ENOENT)
		return r;
	if (!expr)
		expr = old->expr;
	policy->filter = *expr ? 1 + number : 0;
	if (!*expr || (number == 0 && !strcmp(expr, old->expr) && !old->pending))
		return 0;
	r = mctl_filter_install(inst, number, expr);
	return r < 0 ? r : 0;
}

int mctl_policy_make(struct mctl_instance *inst, const struct mctl_args *args, __u32 used, __u32 *ret_number)
{
	const struct mctl_monitor_want want = {
		.name = args->monitor,
		.type = args->monitor_type,
		.netns = args->monitor_netns,
	};
	struct mir_policy policy;
	int r = 0;

	mctl_policy_of_args(args, &policy);
	policy.used |= used;
	if (want.name)
		r = mctl_monitors_use(inst, &want, &policy.monitor);
	else if (args->given & (MCTL_OPT(MCTL_OPT_MONITOR_TYPE) | MCTL_OPT(MCTL_OPT_MONITOR_NETNS)))
		r = mctl_why(-EINVAL, "--monitor-type and --monitor-netns go with --monitor");
	if (!r)
		r = mctl_policy_add(inst, &policy, args->filter, ret_number);
	if (r < 0)
		mctl_policy_undo(inst, 0);
	return r;
}

void mctl_policy_undo(struct mctl_instance *inst, __u32 number)
{
	mctl_policy_del(inst, number);
	mctl_unload_chain(inst);
	mctl_monitors_undo(inst);
}

int mctl_policy_add(struct mctl_instance *inst, const struct mir_policy *policy, const char *filter, __u32 *ret_number)
{
	struct mir_policy p = *policy, old;
	int r;

	r = read_policy(inst, 0, &old);
	if (r < 0)
		return r;
	mctl_policy_fill(&p, &old);
	for (__u32 i = 1; i < MIR_SELECTORS_LIMIT; i++) {
		r = read_policy(inst, i, &old);
		if (r < 0)
			return r;
		if (old.used || (inst->borne & 1ull << i))
			continue;
		r = give_filter(inst, i, filter, &p);
		if (!r)
			r = write_policy(inst, i, &p, old.serial + 1);
		if (!r)
			*ret_number = i;
		return r;
	}
	return mctl_why(-E2BIG, "there are %d selections with options already, the most there can be", MIR_SELECTORS_LIMIT - 1);
}

int mctl_policy_del(struct mctl_instance *inst, __u32 number)
{
	struct mir_policy none = {}, old;
	int r;

	if (!number)
		return 0;
	r = read_policy(inst, number, &old);
	if (r < 0)
		return r;
	none.serial = old.serial;
	if (bpf_map_update_elem(inst->map[MCTL_MAP_POLICIES], &number, &none, BPF_ANY))
		return -errno;
	r = write_ruled(inst, number, false);
	return r < 0 ? r : mctl_filter_remove(inst, number);
}

int mctl_policy_own(struct mctl_instance *inst, const struct mir_policy *policy, const char *filter)
{
	struct mir_policy p = *policy, old;
	int r;

	r = read_policy(inst, 0, &old);
	if (!r)
		r = give_filter(inst, 0, filter, &p);
	if (r < 0)
		return r;
	p.used = MIR_POLICY_USED;
	p.serial = old.serial;
	p.until_ns = old.until_ns;
	if (p.period_ns == old.period_ns && !memcmp(&p, &old, sizeof(p)))
		return write_ruled(inst, 0, is_ruled(&p));
	p.until_ns = 0;
	r = write_policy(inst, 0, &p, old.serial + 1);
	return r < 0 || p.filter ? r : mctl_filter_remove(inst, 0);
}

__u64 mctl_policies_rivals(const struct mctl_instance *inst, __u32 number)
{
	struct mir_policy p, other;
	__u64 bits = 0;

	if (read_policy(inst, number, &p))
		return 0;
	for (__u32 i = 0; i < MIR_SELECTORS_LIMIT; i++)
		if (!read_policy(inst, i, &other) && other.monitor == p.monitor && (!i || (other.used & MIR_POLICY_PASSING)))
			bits |= 1ull << i;
	return bits;
}

bool mctl_policy_names(const struct mctl_instance *inst, __u32 number, const struct mctl_args *args)
{
	_cleanup_free_ struct mir_filter *filter = calloc(1, sizeof(*filter));
	struct mir_monitor monitors[MIR_MONITORS_LIMIT];
	struct mir_policy p;

	if (!filter || read_policy(inst, number, &p))
		return false;
	mctl_monitors_read(inst, monitors);
	if (args->monitor && strcmp(args->monitor, monitors[p.monitor % MIR_MONITORS_LIMIT].name))
		return false;
	return !args->filter || (!mctl_filter_read(inst, number, filter) && !strcmp(filter->expr, args->filter));
}

int mctl_policies_sweep(struct mctl_instance *inst)
{
	struct mir_policy p;
	int r = 0;

	for (__u32 i = 0; !r && i < MIR_SELECTORS_LIMIT; i++) {
		r = read_policy(inst, i, &p);
		if (r < 0)
			break;
		if ((p.used & MIR_POLICY_PASSING) && !(inst->borne & 1ull << i))
			r = mctl_policy_del(inst, i);
		else
			r = write_ruled(inst, i, p.used && is_ruled(&p));	/* cut short between the two */
	}
	return r;
}
