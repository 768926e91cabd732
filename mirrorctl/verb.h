/* SPDX-License-Identifier: GPL-2.0-only */
/* What several verbs do alike: begin with an instance, report a library's failure under the right exit status. */
#pragma once

#include "instance.h"
#include "settings.h"
#include "targets.h"

/* The exit status that stands for -errno. */
enum mctl_exit mctl_exit_of(int err);

/* Reports what a library function could not do: "cannot WHAT: WHY". Returns the exit status. */
int mctl_fail_with(int err, const char *what);

/* Names the instance, takes the lock, opens it if it is up. Reports. MCTL_OK or an exit status. */
int mctl_verb_begin(struct mctl_instance *inst);

/* The same, and brings the mirror up with the configuration file's settings where it is down; `ret_brought` says so. */
int mctl_verb_begin_up(struct mctl_instance *inst, bool *ret_brought);

/* Ends such a verb: a mirror that was brought up for nothing goes down again. Hands `status` on. */
int mctl_verb_end_up(struct mctl_instance *inst, bool brought, bool needed, int status);

/* Settings of the configuration file and the command line, refused here if this version cannot do them. */
int mctl_verb_settings(const struct mctl_args *args, struct mctl_settings *ret_settings);

/* Arms the selectors of the settings and disarms those that came from a file before and are no longer in it. Reports what
 * cannot be armed and goes on. MCTL_OK or an exit status. */
int mctl_verb_selectors(struct mctl_instance *inst, const struct mctl_settings *s);

/* MIR_TARGET_* of --follow and --shared. */
__u32 mctl_verb_flags(const struct mctl_args *args);

/* The policy for what the command selects: entry 0, or one of its own where it has an option for that. Reports. MCTL_OK or an
 * exit status. */
int mctl_verb_policy(struct mctl_instance *inst, const struct mctl_args *args, __u32 *ret_number);

/* Calls `each` with every limit of attribution that is in force on this kernel. */
void mctl_limits(const struct mctl_instance *inst, void (*each)(const char *text, void *data), void *data);
