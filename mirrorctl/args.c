/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The parser of the command line, driven by the tables of cmd.c. Full words only: an option is its whole name, as
 * `--name VALUE` or `--name=VALUE`, or one of the letters -j -q -v. Nothing is printed on success.
 */
#include "args.h"

#include <string.h>

#include "mctl.h"
#include "opts.h"
#include "values.h"

/* Where the parser stands, so that a message can name the place. */
struct parse {
	const struct mctl_cmd *cmd;	/* NULL: before the verb */
	int argc;
	char **argv;
	int at;				/* next word */
	struct mctl_args *args;
};

static const char *place(const struct parse *p)
{
	return p->cmd ? p->cmd->name : "mirrorctl";
}

static const struct mctl_opt *find_global(const char *name, size_t len)
{
	for (const struct mctl_opt *opt = mctl_global_opts; opt->name; opt++)
		if (strlen(opt->name) == len && memcmp(opt->name, name, len) == 0)
			return opt;
	return NULL;
}

/* An option of the verb, or of any verb when `any` is set. */
static const struct mctl_opt *find_opt(const struct mctl_cmd *cmd, const char *name, size_t len, bool any)
{
	for (unsigned int id = 0; mctl_opts[id].name; id++) {
		if (!any && (!cmd || !(cmd->options & MCTL_OPT(id))))
			continue;
		if (strlen(mctl_opts[id].name) == len && memcmp(mctl_opts[id].name, name, len) == 0)
			return &mctl_opts[id];
	}
	return NULL;
}

static int unknown_option(const struct parse *p, const char *word, size_t len)
{
	_cleanup_free_ char *name = strndup(word + 2, len);
	const char *meant;

	if (!name)
		return mctl_fail(MCTL_FAILED, "out of memory");
	if (find_opt(NULL, name, len, true))
		return mctl_fail(MCTL_USAGE, "'%s' takes no option '--%s'; see 'mirrorctl help%s%s'", place(p), name,
				 p->cmd ? " " : "", p->cmd ? p->cmd->name : "");
	meant = mctl_suggest_opt(p->cmd, name);
	if (meant)
		return mctl_fail(MCTL_USAGE, "unknown option '--%s' of '%s'; did you mean '--%s'?", name, place(p),
				 meant);
	return mctl_fail(MCTL_USAGE, "unknown option '--%s' of '%s'; see 'mirrorctl help%s%s'", name, place(p),
			 p->cmd ? " " : "", p->cmd ? p->cmd->name : "");
}

static int take_long(struct parse *p)
{
	const char *word = p->argv[p->at++];
	const char *equals = strchr(word, '='), *value = equals ? equals + 1 : NULL, *right;
	const size_t len = equals ? (size_t)(equals - word - 2) : strlen(word + 2);
	const struct mctl_opt *opt, *own;

	own = find_opt(p->cmd, word + 2, len, false);
	opt = own ? own : find_global(word + 2, len);
	if (!opt)
		return unknown_option(p, word, len);
	if (!opt->value && value)
		return mctl_fail(MCTL_USAGE, "option '--%s' of '%s' takes no value", opt->name, place(p));
	if (opt->value && !value) {
		/* The next word; but one with a dash is far more likely an option whose value was forgotten. */
		if (p->at >= p->argc || p->argv[p->at][0] == '-')
			return mctl_fail(MCTL_USAGE, "option '--%s' of '%s' needs a value: --%s %s", opt->name,
					 place(p), opt->name, opt->value);
		value = p->argv[p->at++];
	}
	if (own) {
		const uint64_t bit = MCTL_OPT((unsigned int)(own - mctl_opts));

		if (p->args->given & bit & ~MCTL_OPTS_MANY)
			return mctl_fail(MCTL_USAGE, "option '--%s' of '%s' is given twice", opt->name, place(p));
		p->args->given |= bit;
	}
	right = opt->take(p->args, value);
	if (right && value)	/* a flag cannot be wrong */
		return mctl_fail(MCTL_USAGE, "'%.200s%s' is no value for option '--%s' of '%s': it takes %s", value,
				 strlen(value) > 200 ? "..." : "", opt->name, place(p), right);
	return MCTL_OK;
}

/* The flag that a letter stands for: of the verb, else of mirrorctl. */
static const struct mctl_opt *find_letter(const struct mctl_cmd *cmd, char letter, uint64_t *ret_bit)
{
	const struct mctl_opt *opt = mctl_global_opts;

	for (unsigned int id = 0; cmd && mctl_opts[id].name; id++) {
		if (!(cmd->options & MCTL_OPT(id)) || mctl_opts[id].letter != letter)
			continue;
		*ret_bit = MCTL_OPT(id);
		return &mctl_opts[id];
	}
	*ret_bit = 0;
	while (opt->name && opt->letter != letter)
		opt++;
	return opt->name ? opt : NULL;
}

static int take_letters(struct parse *p)
{
	const char *word = p->argv[p->at++];
	uint64_t bit;

	for (const char *c = word + 1; *c; c++) {
		const struct mctl_opt *opt = find_letter(p->cmd, *c, &bit);

		if (!opt)
			return mctl_fail(MCTL_USAGE, "unknown option '%s' of '%s'; the letters there are: -j -q -v",
					 word, place(p));
		p->args->given |= bit;
		opt->take(p->args, NULL);
	}
	return MCTL_OK;
}

/* Takes options up to the first word that is none. Stops behind `--`, and says so in *ret_end. */
static int take_options(struct parse *p, bool *ret_end)
{
	while (p->at < p->argc) {
		const char *word = p->argv[p->at];
		int r;

		if (strcmp(word, "--") == 0) {
			p->at++;
			*ret_end = true;
			return MCTL_OK;
		}
		if (word[0] != '-' || !word[1])
			break;
		r = word[1] == '-' ? take_long(p) : take_letters(p);
		if (r != MCTL_OK)
			return r;
	}
	*ret_end = false;
	return MCTL_OK;
}

int mctl_globals_parse(int argc, char **argv, int *ret_used)
{
	struct mctl_args none = { 0 };
	struct parse p = { .argc = argc, .argv = argv, .args = &none };
	bool end;
	int r;

	r = take_options(&p, &end);
	if (r == MCTL_OK)
		*ret_used = p.at;
	return r;
}

static int check_count(const struct mctl_cmd *cmd, const struct mctl_args *args)
{
	const bool all = args->given & MCTL_OPT(MCTL_OPT_ALL);

	if (all && args->nwords)
		return mctl_fail(MCTL_USAGE, "'%s' takes either '--all' or words, not both ('%s')", cmd->name,
				 args->words[0]);
	if (!all && args->nwords < cmd->min_words)
		return mctl_fail(MCTL_USAGE, "'%s' needs more: mirrorctl %s %s", cmd->name, cmd->name, cmd->usage);
	if (cmd->max_words == 0 && args->nwords)
		return mctl_fail(MCTL_USAGE, "'%s' takes no words, but '%s' was given", cmd->name, args->words[0]);
	if (cmd->max_words > 0 && args->nwords > cmd->max_words)
		return mctl_fail(MCTL_USAGE, "'%s' is one word too many: mirrorctl %s %s",
				 args->words[cmd->max_words], cmd->name, cmd->usage);
	return MCTL_OK;
}

static int check_words(const struct mctl_cmd *cmd, const struct mctl_args *args)
{
	for (int i = 0; i < args->nwords; i++) {
		const char *word = args->words[i], *right = NULL;
		uint32_t pid;

		if (cmd->words == MCTL_WORDS_DEVICES)
			right = mctl_value_device(word);
		else if ((cmd->words == MCTL_WORDS_PIDS || cmd->words == MCTL_WORDS_TARGETS) &&
			 mctl_parse_u32(word, 1, INT32_MAX, &pid))
			right = "process ids (whole numbers from 1 on)";
		if (right)
			return mctl_fail(MCTL_USAGE, "'%s' is no word for '%s': it takes %s", word, cmd->name, right);
	}
	return MCTL_OK;
}

int mctl_args_parse(const struct mctl_cmd *cmd, int argc, char **argv, struct mctl_args *ret_args)
{
	struct mctl_args args = { .words = argv };
	struct parse p = { .cmd = cmd, .argc = argc, .argv = argv, .args = &args };
	bool end = false;
	int r;

	while (p.at < argc) {
		if (!end) {
			r = take_options(&p, &end);
			if (r != MCTL_OK)
				return r;
			if (p.at >= argc)
				break;
		}
		/* The first word of a command to run ends our options: the rest is its own. */
		if (cmd->words == MCTL_WORDS_COMMAND)
			end = true;
		/* Words are moved to the front of argv; the options that stood there have been read. */
		argv[args.nwords++] = argv[p.at++];
	}
	if (args.nwords < argc)
		argv[args.nwords] = NULL;	/* the command of `run` is handed on as it stands */
	if (mctl_asked.help || mctl_asked.version) {
		*ret_args = args;
		return MCTL_OK;
	}
	r = check_count(cmd, &args);
	if (r == MCTL_OK)
		r = check_words(cmd, &args);
	if (r == MCTL_OK)
		*ret_args = args;
	return r;
}
