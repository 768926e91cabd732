/* SPDX-License-Identifier: GPL-2.0-only */
/* What happened, told once: records for `mirrorctl events`. Called by all stages; never for each packet. */
#pragma once

#include "debug.bpf.h"
#include "maps.bpf.h"

/* Puts the record into the ring buffer; `t` NULL: the process is no target, or no longer. */
static __always_inline void mir_event_put(struct mir_event *e, __u32 kind, __u32 tgid, const struct mir_target *t)
{
	struct mir_live *l;

	e->kind = kind;
	e->tgid = tgid;
	e->time_ns = bpf_ktime_get_ns();
	if (t)
		__builtin_memcpy(e->comm, t->comm, sizeof(e->comm));
	if (!bpf_ringbuf_output(&events, e, sizeof(*e), 0))
		return;
	l = mir_live();
	if (l)
		__sync_fetch_and_add(&l->events_lost, 1);
}

static __always_inline void mir_event(__u32 kind, __u32 tgid, __u32 other, const struct mir_target *t)
{
	struct mir_event e = { .other = other };

	mir_event_put(&e, kind, tgid, t);
}
