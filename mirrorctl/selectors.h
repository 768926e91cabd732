/* SPDX-License-Identifier: GPL-2.0-only */
/* Selectors stand until they are removed: each chooses the processes that match it, those that are there and, in the kernel,
 * every later one. This file arms and disarms them; tc/select.bpf.h does the choosing. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "args.h"
#include "instance.h"
#include "policy.h"

/* A selector as it is asked for. */
struct mctl_wanted {
	__u32 kind;		/* enum mir_selector_kind */
	__u32 flags;		/* MIR_TARGET_FOLLOW, _SHARED, MIR_SELECTOR_FILED */
	__u32 wait;		/* 1: may name what is not there yet: armed for when it comes */
	__u32 reserved;		/* zero */
	char text[MIR_SELECTOR_TEXT_LEN];
	struct mctl_terms terms;	/* of a section of the configuration file */
};

/* Words of enum mir_selector_kind: "name", "exe", ...; the verbs are add-WORD, the sections of the file WORD. */
extern const char *const mctl_selector_kinds[MIR_SELECTOR_MAX];

/* Is `text` right for this kind, by its form alone? NULL: yes; else what would be: "a name of 1 to 246 bytes". */
const char *mctl_selector_right(__u32 kind, const char *text);

/*
 * Arms a selector with its policy and makes all processes that match it now its targets, their open sockets included; when
 * it returns no later process is missed. The same one again is no second one: its number is given. -ESRCH: what it names is
 * not there. -E2BIG: no room. Needs the lock.
 */
int mctl_selector_add(struct mctl_instance *inst, const struct mctl_wanted *wanted, const struct mctl_args *args,
		      __u32 *ret_number);

/* Disarms a selector; its targets that nothing else has chosen are no targets any more. -ESRCH: none of this number. Needs
 * the lock. */
int mctl_selector_delete(struct mctl_instance *inst, __u32 number);

/* A killed mirrorctl may have left one half armed: finishes the work or takes it back. Needs the lock. */
int mctl_selectors_settle(struct mctl_instance *inst);

/* A selector as `selectors` shows it. */
struct mctl_selector {
	struct mir_policy policy;	/* what becomes of its packets */
	__u32 number;
	struct mir_selector s;
	struct mir_counts counts;	/* of all its targets, present and former */
	size_t processes;		/* running ones */
};

/* All selectors that are armed, by number. The array is the caller's to free. */
int mctl_selectors_read(const struct mctl_instance *inst, struct mctl_selector **ret_selectors, size_t *ret_n);

/* What is armed and came from the configuration file becomes what `wanted` says; what was made by hand stays. One with other
 * options than before is armed anew before the old one goes: no packet is missed between. All that can be armed is; each that
 * cannot is handed to `failed` with the error, and -ESRCH is returned. Needs the lock. */
int mctl_selectors_reconcile(struct mctl_instance *inst, const struct mctl_wanted *wanted, size_t n,
			     void (*failed)(const struct mctl_wanted *wanted, int err));
