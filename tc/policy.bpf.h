/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 2, shared piece: what becomes of a matched packet whose target has a policy to be asked (struct mir_policy). A chain
 * of programs: mir_choose asks one policy after the other; a filter is a program of its own, entered by tail call, which
 * comes back through mir_accepted or mir_refused. When all are asked each monitor gets its copy, or the packet is counted
 * under why not. Nothing of it runs for targets without options.
 */
#pragma once

#include "copy.bpf.h"
#include "mix.bpf.h"

/* What a policy says, beside enum mir_refusal. */
#define MIR_VERDICT_COPY MIR_REFUSAL_MAX
#define MIR_FILTERS_MAX 10	/* run for one packet: each takes 3 of the 33 tail calls that the kernel makes in a row */
#define MIR_VERDICT_UNASKED (MIR_REFUSAL_MAX + 1)	/* its filter could not be run */

/* One end of the packet that is a target's; on loopback there may be two. */
struct mir_party {
	struct mir_owner owner;
	__u64 bits;		/* policies that were not asked yet */
	__u32 reason;
	__u32 sent;
};

/* How a packet stands with one monitor: by whom, and for a copy by which policy. */
struct mir_fate {
	__u8 party;
	__u8 number;
	__u8 verdict;		/* enum mir_refusal or MIR_VERDICT_* */
	__u8 reserved;
};

/*
 * A packet on its way through the chain. One for a processor: programs run with softirqs off, all clones are made after the
 * last question, and what bpf_clone_redirect() runs are programs of monitors, which are never sources and never come here.
 */
struct mir_choice {
	struct mir_party party[2];
	struct mir_place at;
	__u32 asked;		/* party whose policies are being asked */
	__u32 number;		/* policy whose filter is being asked */
	__u32 filter;		/* and the entry of map `filters` that answers */
	__u32 answered;		/* 1: it has been, and said `answer` */
	__u32 answer;		/* enum mir_refusal or MIR_VERDICT_* */
	__u32 filters;		/* filters run so far */
	__u32 blind;		/* 1: one could not be; no more for this packet */
	__u32 reached;		/* monitors that a policy has named: bits */
	__u32 copied;		/* monitors that get a copy: bits */
	__u32 counted;		/* 1: counted as matched once already */
	__u32 flow_known;	/* 1: `flow` is filled in */
	__u32 flow_none;	/* 1: it has none: not IP */
	struct mir_flow flow;	/* the same for both directions and for all pieces of a datagram */
	__u64 metered;		/* policies whose `first` has counted this packet: bits */
	__u64 behind;		/* and found it behind the first bytes */
	struct mir_fate fate[MIR_MONITORS_LIMIT];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mir_choice);
} choice SEC(".maps");

/* Flow of a policy -> bytes of it so far. Written under the lock of the policy's meter. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MIR_BEGUN_LIMIT);
	__type(key, struct mir_flow);
	__type(value, __u64);
} begun SEC(".maps");

/* Datagram in pieces -> its flow, learnt from its first fragment. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MIR_FRAGMENTS_LIMIT);
	__type(key, struct mir_fragment);
	__type(value, struct mir_flow);
} pieces SEC(".maps");

/* (mir_policy.filter - 1) * 2, plus 1 for frames without Ethernet header -> the program of the filter, which ends in map
 * `filter_next`. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, MIR_FILTERS_LIMIT * MIR_FILTER_VARIANTS);
	__type(key, __u32);
	__type(value, __u32);
} filters SEC(".maps");

/* MIR_FILTER_* -> mir_refused, mir_accepted, mir_choose. Filled in by mirrorctl: programs of this object that are loaded later have
 * none of these with them. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, MIR_FILTER_NEXT_MAX);
	__type(key, __u32);
	__type(value, __u32);
} filter_next SEC(".maps");

static __always_inline struct mir_choice *mir_choice(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&choice, &zero);
}

/* The bound stays in the register that is added: the compiler would test a copy of it. */
static __always_inline struct mir_fate *mir_fate(struct mir_choice *c, __u32 monitor)
{
	__u64 at = monitor & (MIR_MONITORS_LIMIT - 1);

	asm volatile("" : "+r"(at));
	at &= MIR_MONITORS_LIMIT - 1;
	return &c->fate[at];
}

static __always_inline void mir_party_set(struct mir_party *party, const struct mir_match *m)
{
	party->owner = m->owner;
	party->bits = m->target ? m->target->selectors : 0;
	party->reason = m->reason;
	party->sent = m->sent;
}

/* Writes the packet down for mir_choose. */
static __always_inline void mir_choice_begin(const struct mir_match *m, const struct mir_place *at)
{
	struct mir_choice *c = mir_choice();

	if (!c)
		return;
	__builtin_memset(c, 0, sizeof(*c));
	c->at = *at;
	mir_party_set(&c->party[0], m);
}

/* The two ends in the order of their addresses and ports, whichever sends. */
static __always_inline void mir_flow_sort(struct mir_flow *to, const struct mir_flow *from)
{
	int ports = mir_has_ports(from->proto), turn = 0, i;

#pragma unroll
	for (i = 0; i < 4; i++)
		if (!turn && from->local[i] != from->remote[i])
			turn = from->local[i] < from->remote[i] ? -1 : 1;
	if (!turn && ports)
		turn = from->lport < from->rport ? -1 : 1;
	__builtin_memcpy(to->local, turn > 0 ? from->remote : from->local, sizeof(to->local));
	__builtin_memcpy(to->remote, turn > 0 ? from->local : from->remote, sizeof(to->remote));
	to->lport = turn > 0 && ports ? from->rport : from->lport;
	to->rport = turn > 0 && ports ? from->lport : from->rport;
	to->proto = from->proto;
}

/* Fills in c->flow. A later fragment has the flow of the first one, or of its addresses alone if that was not seen. */
static __noinline int mir_flow_find(struct __sk_buff *skb, struct mir_choice *c)
{
	struct mir_room *r = mir_room(MIR_SLOT_TOLD);
	struct mir_fragment key = {};
	struct mir_packet *p;
	struct mir_flow *first;

	c->flow_known = 1;
	if (!r)
		return -1;
	p = &r->packet;
	if (!mir_conversation(skb, c->at.l2_len, c->party[0].sent)) {
		mir_flow_sort(&c->flow, &r->flow);
	} else if (p->piece == MIR_PIECE_LATER) {
		mir_fragment_key(&key, p, MIR_NETNS_HERE);
		first = bpf_map_lookup_elem(&pieces, &key);
		if (first) {
			c->flow = *first;
			return 0;
		}
		mir_flow_key(&r->flow, p, 1, 0);
		mir_flow_sort(&c->flow, &r->flow);
	} else {
		c->flow_none = 1;
	}
	if (p->piece == MIR_PIECE_FIRST) {
		mir_fragment_key(&key, p, MIR_NETNS_HERE);
		bpf_map_update_elem(&pieces, &key, &c->flow, BPF_ANY);
	}
	return 0;
}

/* Is the flow one of those that a policy samples? What is not IP always is. */
static __always_inline int mir_sampled(const struct mir_choice *c, const struct mir_policy *p)
{
	int ports = mir_has_ports(c->flow.proto);
	__u32 ends;

	if (p->sample <= 1 || c->flow_none)
		return 1;
	ends = mir_mix_end(c->flow.local, ports ? c->flow.lport : 0) + mir_mix_end(c->flow.remote, ports ? c->flow.rport : 0);
	return mir_mix(mir_mix(mir_mix(0, ends), c->flow.proto), ports ? 0 : bpf_ntohs(c->flow.lport)) % p->sample == 0;
}

/* Counts the packet's bytes for its flow, once, and says whether it begins behind the first ones. */
static __noinline int mir_behind(struct __sk_buff *skb, struct mir_choice *c, const struct mir_policy *p, __u32 number)
{
	struct mir_meter *meter = bpf_map_lookup_elem(&meters, &number);
	__u64 bit = 1ull << (number & 63), len = mir_length(skb), none = 0, before, *bytes;
	struct mir_flow key = c->flow;

	if ((c->metered & bit) || c->flow_none || !meter)
		return !!(c->behind & bit);
	c->metered |= bit;
	key.reserved[0] = number;
	key.netns = p->serial;
	bytes = bpf_map_lookup_elem(&begun, &key);
	if (!bytes) {
		bpf_map_update_elem(&begun, &key, &none, BPF_NOEXIST);
		bytes = bpf_map_lookup_elem(&begun, &key);
	}
	if (!bytes)
		return 0;
	bpf_spin_lock(&meter->lock);
	before = *bytes;
	*bytes = before + len;
	bpf_spin_unlock(&meter->lock);
	if (before < p->first)
		return 0;
	c->behind |= bit;
	return 1;
}

/* What the policy says before its filter is run: all that uses nothing up. */
static __always_inline __u32 mir_judge(struct __sk_buff *skb, struct mir_choice *c, const struct mir_policy *p, __u32 number)
{
	__u32 way = c->party[c->asked & 1].sent ? MIR_POLICY_OUT : MIR_POLICY_IN;
	int behind = 0;

	if (p->until_ns && bpf_ktime_get_ns() >= p->until_ns)
		return MIR_REFUSAL_EXPIRED;
	if ((p->sample > 1 || p->first) && !c->flow_known)
		mir_flow_find(skb, c);
	if (!mir_sampled(c, p))
		return MIR_REFUSAL_SAMPLE;
	if (p->first)		/* counts what goes the other way, too */
		behind = mir_behind(skb, c, p, number);
	if (p->direction && !(p->direction & way))
		return MIR_REFUSAL_DIRECTION;
	return behind ? MIR_REFUSAL_FIRST : MIR_VERDICT_COPY;
}

/*
 * Takes the copy from what the policy has left. The bucket of `rate` holds one second's worth: time is spent for each copy,
 * and no more than the last second can be. What costs more than a full bucket has to find it full.
 */
static __always_inline __u32 mir_spend(struct __sk_buff *skb, const struct mir_policy *p, __u32 number)
{
	struct mir_meter *meter = bpf_map_lookup_elem(&meters, &number);
	__u64 now, count = p->count, cost = 0, full = MIR_SECOND_NS, need, from;
	__u32 verdict = MIR_VERDICT_COPY;

	if (!meter || (!count && !p->rate))
		return verdict;
	now = bpf_ktime_get_ns();
	if (p->rate && p->rate_bytes) {
		cost = mir_length(skb) * MIR_SECOND_NS / p->rate;
	} else if (p->rate) {
		cost = MIR_SECOND_NS / p->rate;
		full = cost * p->rate;
	}
	need = cost < full ? cost : full;
	bpf_spin_lock(&meter->lock);
	from = meter->spent_ns + full < now ? now - full : meter->spent_ns;
	if (count && meter->copies >= count) {
		verdict = MIR_REFUSAL_COUNT;
	} else if (cost && from + need > now) {
		verdict = MIR_REFUSAL_RATE;
	} else {
		meter->spent_ns = from + cost;
		meter->copies++;
	}
	bpf_spin_unlock(&meter->lock);
	return verdict;
}

/* A copy that failed does not count. */
static __noinline int mir_give_back(__u32 number)
{
	struct mir_meter *meter = bpf_map_lookup_elem(&meters, &number);

	if (!meter)
		return 0;
	bpf_spin_lock(&meter->lock);
	if (meter->copies)
		meter->copies--;
	bpf_spin_unlock(&meter->lock);
	return 0;
}

/* Writes a policy's verdict down. Of several policies on one monitor the first that wants a copy counts, else the first. */
static __always_inline void mir_decided(struct mir_choice *c, __u32 monitor, __u32 number, __u32 verdict)
{
	struct mir_fate *fate = mir_fate(c, monitor);
	__u32 bit = 1u << (monitor & (MIR_MONITORS_LIMIT - 1));

	if ((c->reached & bit) && verdict != MIR_VERDICT_COPY)
		return;
	c->reached |= bit;
	if (verdict == MIR_VERDICT_COPY)
		c->copied |= bit;
	fate->party = c->asked;
	fate->number = number;
	fate->verdict = verdict;
}

/* The number of the lowest bit: how many there are below it. Without branches, which the verifier would follow each. */
static __always_inline __u32 mir_lowest(__u64 bits)
{
	__u64 x = (bits & -bits) - 1;

	x -= x >> 1 & 0x5555555555555555ull;
	x = (x & 0x3333333333333333ull) + (x >> 2 & 0x3333333333333333ull);
	x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0full;
	return x * 0x0101010101010101ull >> 56 & (MIR_SELECTORS_LIMIT - 1);
}

/* The next policy to be asked, taken off those that are left, or -1: there is none. */
static __always_inline int mir_next(struct mir_choice *c)
{
	struct mir_party *party = &c->party[c->asked & 1];
	__u64 bits = party->bits;

	if (!bits && !c->asked) {
		c->asked = 1;
		party = &c->party[1];
		bits = party->bits;
	}
	party->bits = bits & (bits - 1);
	return bits ? (int)mir_lowest(bits) : -1;
}

/* Asks the next policy. 0: it has answered; 1: its filter has to be run before it can be told, c->number; -1: none is left.
 * A function of its own to the verifier, which so looks at it once and not for each turn of the loop below. */
__noinline int mir_ask(struct __sk_buff *skb)
{
	struct mir_choice *c = mir_choice();
	int number = c ? mir_next(c) : -1;
	__u32 verdict, bit, key = number;
	struct mir_policy *p;

	if (!c || number < 0)
		return -1;
	p = bpf_map_lookup_elem(&policies, &key);
	if (!p || !p->used)
		return 0;
	bit = 1u << (p->monitor & (MIR_MONITORS_LIMIT - 1));
	if ((c->copied & bit) && !p->first)
		return 0;
	verdict = mir_judge(skb, c, p, key);
	if (c->copied & bit)
		return 0;
	if (verdict == MIR_VERDICT_COPY && p->filter && !c->blind && c->filters < MIR_FILTERS_MAX) {
		c->filters++;
		c->number = key;
		c->filter = (p->filter - 1) * 2 + !c->at.l2_len;
		return 1;
	}
	if (verdict == MIR_VERDICT_COPY)
		verdict = p->filter ? MIR_VERDICT_UNASKED : mir_spend(skb, p, key);
	mir_decided(c, p->monitor, key, verdict);
	return 0;
}

/* Asks all policies that are left. 1: stopped at one with a filter, c->number. */
__noinline int mir_ask_all(struct __sk_buff *skb)
{
	int i, asked;

	for (i = 0; i < 2 * MIR_SELECTORS_LIMIT; i++) {
		asked = mir_ask(skb);
		if (asked)
			return asked > 0;
	}
	return 0;
}

/* What came of the packet for one monitor: counted, and copied if it is to be. 1: that failed. */
__noinline int mir_deliver(struct __sk_buff *skb, __u32 monitor)
{
	struct mir_choice *c = mir_choice();
	struct mir_config *config = mir_config();
	struct mir_stats *s = mir_stats();
	struct mir_match m = {};
	struct mir_party *party;
	struct mir_fate *fate;
	__u32 verdict;

	if (!c || !config || !s || monitor >= MIR_MONITORS_LIMIT)
		return 0;
	fate = mir_fate(c, monitor);
	verdict = fate->verdict;
	party = &c->party[fate->party & 1];
	m.owner = party->owner;
	m.reason = party->reason;
	m.sent = party->sent;
	m.target = mir_target_of(&m.owner);
	mir_count_matched(skb, &m, s);
	if (c->counted)
		s->further++;
	else if (m.target)
		mir_tell_matched(skb, &m, c->at.l2_len);
	c->counted = 1;
	if (verdict < MIR_REFUSAL_MAX) {
		s->refusals[verdict]++;
	} else if (verdict == MIR_VERDICT_COPY) {
		return mir_send(skb, &m, s, config, &c->at, monitor) != 0;
	} else {
		s->failures[MIR_FAILURE_OTHER]++;
		if (m.target)
			__sync_fetch_and_add(&m.target->failed, 1);
	}
	return 0;
}

/* The end of the chain. A target none of whose policies is there is nobody's. */
static __always_inline void mir_deliver_all(struct __sk_buff *skb, struct mir_choice *c)
{
	struct mir_stats *s = mir_stats();
	__u32 i;

	if (s && !c->reached)
		s->unmatched++;
	for (i = 0; i < MIR_MONITORS_LIMIT; i++)
		if ((c->reached & 1u << i) && mir_deliver(skb, i))
			mir_give_back(mir_fate(c, i)->number);
}

/* What the filter of policy c->number has said. Out of line, as mir_ask(): the stack of a program and of all it calls is 512
 * bytes together. */
static __noinline int mir_answer(struct __sk_buff *skb, struct mir_choice *c, __u32 verdict)
{
	__u32 number = c->number;
	struct mir_policy *p = bpf_map_lookup_elem(&policies, &number);

	if (p && p->used)
		mir_decided(c, p->monitor, number, verdict == MIR_VERDICT_COPY ? mir_spend(skb, p, number) : verdict);
	return 0;
}

/* Asks on from where the packet stands; ends in a filter or with the packet delivered. */
static __always_inline int mir_go_on(struct __sk_buff *skb, struct mir_choice *c)
{
	if (c->answered)
		mir_answer(skb, c, c->answer);
	c->answered = 0;
	if (mir_ask_all(skb)) {
		bpf_tail_call(skb, &filters, c->filter);
		/* No such program. */
		c->blind = 1;
		mir_answer(skb, c, MIR_VERDICT_UNASKED);
		mir_ask_all(skb);
	}
	mir_deliver_all(skb, c);
	return MIR_NEXT;
}

/* Where a filter ends: goes back to mir_choose with its answer. Small, because the verifier looks at each program by itself. */
static __always_inline int mir_come_back(struct __sk_buff *skb, __u32 answer)
{
	struct mir_choice *c = mir_choice();

	if (c) {
		c->answer = answer;
		c->answered = 1;
		bpf_tail_call(skb, &filter_next, MIR_FILTER_CHOOSE);
	}
	return MIR_NEXT;
}
