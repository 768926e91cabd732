/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The option half of the command tables (the verb half is in args.h): one row per option, of verbs and of mirrorctl
 * itself. Parser, usage, completion and the test of the man page walk these.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "args.h"

struct mctl_opt {
	const char *name;		/* long name without its dashes */
	char letter;			/* short form; 0: none */
	const char *value;		/* what usage calls its value; NULL: takes none */
	const char *summary;		/* one line, no full stop */
	const char *const *choices;	/* words it takes, NULL-terminated; NULL: free text */
	enum mctl_words words;		/* what completion offers for the value */
	/* Stores the value (NULL for a flag). Returns NULL, or what would have been right: "a number from 0 to 9". */
	const char *(*take)(struct mctl_args *args, const char *value);
};

extern const struct mctl_opt mctl_opts[];		/* indexed by enum mctl_opt_id, ends with a NULL name */
extern const struct mctl_opt mctl_global_opts[];	/* ends with a NULL name */

/* What --help and --version ask for; main() acts on them after parsing. */
struct mctl_asked {
	bool help;
	bool version;
};
extern struct mctl_asked mctl_asked;

/* Parses the options before the verb. *ret_used is how many words of argv they took. Returns as mctl_args_parse(). */
int mctl_globals_parse(int argc, char **argv, int *ret_used);

/* The word of a table that `word` was probably meant to be, or NULL. mctl_suggest_opt() looks at the options of `cmd`
 * (NULL: none) and the global ones; it takes and gives names without dashes. */
const char *mctl_suggest_verb(const char *word);
const char *mctl_suggest_opt(const struct mctl_cmd *cmd, const char *word);

/* Usage as text, made from the tables (cmd_help.c). */
void mctl_usage_short(FILE *out);
void mctl_usage_full(FILE *out);
void mctl_usage_verb(FILE *out, const struct mctl_cmd *cmd);

extern const char *const mctl_shells[];	/* bash zsh fish, NULL-terminated */

/* The hidden verb `__complete KIND [PREFIX]` that the completion scripts call (complete.c). */
int mctl_complete(int argc, char **argv);
