/* SPDX-License-Identifier: GPL-2.0-only */
/* Usage, made from the tables of cmd.c; no verb or option is named here. */
#include <string.h>

#include "mctl.h"
#include "opts.h"

#define COLUMN 28	/* where summaries start */

static void print_entry(FILE *out, const char *text, const char *summary)
{
	fprintf(out, "  %-*s %s\n", COLUMN - 3, text, summary);
}

static void print_opt(FILE *out, const struct mctl_opt *opt)
{
	char text[64], choices[128] = "";
	size_t at = 0;

	for (size_t i = 0; opt->choices && opt->choices[i] && at < sizeof(choices); i++)
		at += (size_t)snprintf(choices + at, sizeof(choices) - at, "%s%s", i ? "|" : "", opt->choices[i]);
	if (opt->letter)
		snprintf(text, sizeof(text), "-%c, --%s", opt->letter, opt->name);
	else
		snprintf(text, sizeof(text), "--%s%s%s", opt->name, opt->value ? " " : "",
			 opt->value ? opt->value : "");
	fprintf(out, "  %-*s %s%s%s\n", COLUMN - 3, text, opt->summary, *choices ? ": " : "", choices);
}

static void print_globals(FILE *out)
{
	fputs("\nGlobal options, before or behind the verb:\n", out);
	for (const struct mctl_opt *opt = mctl_global_opts; opt->name; opt++)
		print_opt(out, opt);
}

void mctl_usage_short(FILE *out)
{
	fputs("usage: mirrorctl [-j] [-q] [-v]... [--netns NAME] [--pin-root DIR] VERB ...\nverbs:", out);
	for (const struct mctl_cmd *cmd = mctl_cmds; cmd->name; cmd++)
		fprintf(out, " %s", cmd->name);
	fputs("\nsee 'mirrorctl help' or mirrorctl(8)\n", out);
}

void mctl_usage_full(FILE *out)
{
	fputs("usage: mirrorctl [-j] [-q] [-v]... [--netns NAME] [--pin-root DIR] VERB ...\n\nVerbs:\n", out);
	for (const struct mctl_cmd *cmd = mctl_cmds; cmd->name; cmd++) {
		char text[64];

		snprintf(text, sizeof(text), "%s %s", cmd->name, cmd->usage);
		print_entry(out, text, cmd->summary);
	}
	print_globals(out);
	fputs("\n'mirrorctl help VERB' shows the options of a verb. Exit status: 0 done, 1 failed, 2 wrong usage,\n"
	      "3 no such process, target or device, 4 not permitted, 5 this kernel cannot. Manual: mirrorctl(8).\n", out);
}

void mctl_usage_verb(FILE *out, const struct mctl_cmd *cmd)
{
	fprintf(out, "usage: mirrorctl [global options] %s%s%s%s\n\n%s\n", cmd->name, cmd->options ? " [options]" : "",
		*cmd->usage ? " " : "", cmd->usage, cmd->summary);
	if (cmd->options)
		fputs("\nOptions:\n", out);
	for (unsigned int id = 0; mctl_opts[id].name; id++)
		if (cmd->options & MCTL_OPT(id))
			print_opt(out, &mctl_opts[id]);
	print_globals(out);
}

int cmd_help(const struct mctl_args *args)
{
	const struct mctl_cmd *cmd;
	const char *meant;

	if (args->nwords == 0) {
		mctl_usage_full(stdout);
		return MCTL_OK;
	}
	cmd = mctl_cmd_find(args->words[0]);
	if (cmd) {
		mctl_usage_verb(stdout, cmd);
		return MCTL_OK;
	}
	meant = mctl_suggest_verb(args->words[0]);
	if (meant)
		return mctl_fail(MCTL_USAGE, "unknown verb '%s'; did you mean '%s'?", args->words[0], meant);
	return mctl_fail(MCTL_USAGE, "unknown verb '%s'; see 'mirrorctl help'", args->words[0]);
}
