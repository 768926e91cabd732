/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The order of things: options, verb, words, permission, namespace, work, flush. What a verb does is in its cmd_*.c, what
 * it is called in cmd.c.
 */
#include <string.h>

#include <linux/capability.h>

#include "args.h"
#include "caps.h"
#include "log.h"
#include "mctl.h"
#include "netns.h"
#include "opts.h"

static int unknown_verb(const char *word)
{
	const char *meant = mctl_suggest_verb(word);

	if (meant)
		return mctl_fail(MCTL_USAGE, "unknown verb '%s'; did you mean '%s'?", word, meant);
	return mctl_fail(MCTL_USAGE, "unknown verb '%s'; see 'mirrorctl help'", word);
}

static int no_verb(void)
{
	if (mctl.json)
		return mctl_fail(MCTL_USAGE, "no verb was given; see 'mirrorctl help'");
	mctl_usage_short(stderr);
	return MCTL_USAGE;
}

static int check_caps(const struct mctl_cmd *cmd, const struct mctl_args *args)
{
	uint64_t need = cmd->caps, missing;
	char all[256], lacking[256];

	if (args->given & MCTL_OPT(MCTL_OPT_USER))
		need |= MCTL_CAP(CAP_SETUID) | MCTL_CAP(CAP_SETGID);
	if (need && mctl.netns)
		need |= MCTL_CAP(CAP_SYS_ADMIN);	/* setns() */
	missing = mctl_caps_missing(need);
	if (!missing)
		return MCTL_OK;
	return mctl_fail(MCTL_NOT_PERMITTED, "'%s' needs %s; this process lacks %s: use sudo", cmd->name,
			 mctl_caps_text(need, all, sizeof(all)), mctl_caps_text(missing, lacking, sizeof(lacking)));
}

static int enter_netns(const struct mctl_cmd *cmd)
{
	int r;

	/* Verbs that look at no kernel state need no namespace. */
	if (!mctl.netns || (!cmd->caps && cmd->run != cmd_doctor))
		return MCTL_OK;
	r = mctl_netns_enter(mctl.netns);
	if (r == 0)
		return MCTL_OK;
	return mctl_fail(r == -EPERM || r == -EACCES ? MCTL_NOT_PERMITTED :
			 r == -ENOENT || r == -EINVAL ? MCTL_NOT_FOUND : MCTL_FAILED,
			 "network namespace '%s': %s", mctl.netns, mctl_reason(r));
}

static int run_verb(const char *verb, int argc, char **argv)
{
	const struct mctl_cmd *cmd = mctl_cmd_find(verb);
	struct mctl_args args;
	int r;

	if (!cmd)
		return unknown_verb(verb);
	r = mctl_args_parse(cmd, argc, argv, &args);
	if (r != MCTL_OK)
		return r;
	if (mctl_asked.help) {
		mctl_usage_verb(stdout, cmd);
		return MCTL_OK;
	}
	if (mctl_asked.version)
		return cmd_version(&args);
	r = check_caps(cmd, &args);
	if (r == MCTL_OK)
		r = enter_netns(cmd);
	/* Root's other powers are not needed; `run` alone hands on what it was given. One more is kept for libbpf: before
	 * Linux 5.11 BPF memory counts against RLIMIT_MEMLOCK, which it raises where it finds that. */
	if (r == MCTL_OK && cmd->caps && cmd->words != MCTL_WORDS_COMMAND &&
	    mctl_caps_limit(mctl_caps_most | MCTL_CAP(CAP_SYS_RESOURCE)) < 0)
		r = mctl_fail(MCTL_FAILED, "cannot drop capabilities: %s", strerror(errno));
	return r == MCTL_OK ? cmd->run(&args) : r;
}

static int run(int argc, char **argv)
{
	const struct mctl_args none = { 0 };
	int used, r;

	r = mctl_globals_parse(argc - 1, argv + 1, &used);
	if (r != MCTL_OK)
		return r;
	argc -= used + 1;
	argv += used + 1;
	if (mctl_asked.version)
		return cmd_version(&none);
	if (mctl_asked.help && (argc == 0 || !mctl_cmd_find(argv[0]))) {
		mctl_usage_full(stdout);
		return MCTL_OK;
	}
	if (argc == 0)
		return no_verb();
	if (strcmp(argv[0], "__complete") == 0)
		return mctl_complete(argc - 1, argv + 1);
	return run_verb(argv[0], argc - 1, argv + 1);
}

int main(int argc, char **argv)
{
	int r, flushed;

	mctl_log_init();
	/* execve() with an empty argv is possible. */
	r = argc > 0 ? run(argc, argv) : no_verb();
	flushed = mctl_stdout_flush();
	if (flushed < 0 && r == MCTL_OK)
		return mctl_fail(MCTL_FAILED, "cannot write to standard output: %s", strerror(-flushed));
	return r;
}
