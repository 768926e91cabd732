/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Completion scripts for bash, zsh and fish, made from the tables of cmd.c. Words that only a running system knows
 * (devices, processes, targets) come from `mirrorctl __complete`, see complete.c.
 */
#include <string.h>

#include "mctl.h"
#include "opts.h"

/* What a shell can offer for the value of an option. */
enum offer {
	OFFER_NOTHING,
	OFFER_CHOICES,
	OFFER_FILES,
	OFFER_USERS,
	OFFER_NETNS,
};

static enum offer offer_of(const struct mctl_opt *opt)
{
	if (opt->choices)
		return OFFER_CHOICES;
	if (strcmp(opt->value, "FILE") == 0 || strcmp(opt->value, "DIR") == 0)
		return OFFER_FILES;
	if (strcmp(opt->name, "user") == 0)
		return OFFER_USERS;
	return strcmp(opt->name, "netns") == 0 ? OFFER_NETNS : OFFER_NOTHING;
}

/* The KIND of `mirrorctl __complete` for words of a running system, or NULL. */
static const char *dynamic_kind(enum mctl_words words)
{
	switch (words) {
	case MCTL_WORDS_DEVICES:
		return "devices";
	case MCTL_WORDS_PIDS:
		return "pids";
	case MCTL_WORDS_TARGETS:
		return "targets";
	case MCTL_WORDS_SELECTORS:
		return "selectors";
	case MCTL_WORDS_TAP:
		return "tap";
	default:
		return NULL;
	}
}

/* Single quotes, as all three shells understand them. */
static void put_quoted(const char *prefix, const char *text)
{
	printf("'%s", prefix);
	for (; *text; text++) {
		if (*text == '\'')
			fputs("'\\''", stdout);
		else
			putchar(*text);
	}
	putchar('\'');
}

static void put_list(const char *const *words)
{
	for (size_t i = 0; words[i]; i++)
		printf("%s%s", i ? " " : "", words[i]);
}

static void put_verbs(void)
{
	for (const struct mctl_cmd *cmd = mctl_cmds; cmd->name; cmd++)
		printf("%s%s", cmd == mctl_cmds ? "" : " ", cmd->name);
}

/* Names with their dashes, for bash. */
static void put_opts(const struct mctl_cmd *cmd)
{
	for (unsigned int id = 0; cmd && mctl_opts[id].name; id++)
		if (cmd->options & MCTL_OPT(id))
			printf("--%s ", mctl_opts[id].name);
}

static void put_bash_value(const struct mctl_opt *opt)
{
	if (!opt->value)
		return;
	printf("\t--%s)\n\t\t", opt->name);
	switch (offer_of(opt)) {
	case OFFER_CHOICES:
		fputs("mapfile -t COMPREPLY < <(compgen -W '", stdout);
		put_list(opt->choices);
		fputs("' -- \"$cur\")\n\t\t", stdout);
		break;
	case OFFER_FILES:
		fputs("compopt -o default 2>/dev/null\n\t\t", stdout);
		break;
	case OFFER_USERS:
		fputs("mapfile -t COMPREPLY < <(compgen -u -- \"$cur\")\n\t\t", stdout);
		break;
	case OFFER_NETNS:
		fputs("mapfile -t COMPREPLY < <(compgen -W \"$(ls /run/netns 2>/dev/null)\" -- \"$cur\")\n\t\t", stdout);
		break;
	default:
		break;
	}
	fputs("return ;;\n", stdout);
}

static void put_bash_verb(const struct mctl_cmd *cmd)
{
	const char *kind = dynamic_kind(cmd->words);

	printf("\t%s)\n\t\topts=\"", cmd->name);
	put_opts(cmd);
	fputs("$opts\"\n", stdout);
	if (kind)
		printf("\t\twords=$(mirrorctl __complete %s \"$cur\" 2>/dev/null | cut -f1)\n", kind);
	else if (cmd->words == MCTL_WORDS_COMMAND)
		fputs("\t\twords=$(compgen -c -- \"$cur\")\n", stdout);
	else if (cmd->words == MCTL_WORDS_SHELLS || cmd->words == MCTL_WORDS_VERBS) {
		fputs("\t\twords='", stdout);
		if (cmd->words == MCTL_WORDS_SHELLS)
			put_list(mctl_shells);
		else
			put_verbs();
		fputs("'\n", stdout);
	} else if (cmd->max_words) {
		fputs("\t\tcompopt -o default 2>/dev/null\n", stdout);
	}
	fputs("\t\t;;\n", stdout);
}

static void print_bash(void)
{
	fputs("# bash completion for mirrorctl, made by 'mirrorctl completion bash'\n"
	      "_mirrorctl()\n{\n"
	      "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb= opts= words= i\n\n"
	      "\tCOMPREPLY=()\n"
	      "\t# readline takes '=' for a word of its own\n"
	      "\tif [[ $cur == = ]]; then\n\t\tcur=\n"
	      "\telif [[ $prev == = ]]; then\n\t\tprev=${COMP_WORDS[COMP_CWORD-2]}\n\tfi\n"
	      "\tcase $prev in\n", stdout);
	for (unsigned int id = 0; mctl_opts[id].name; id++)
		put_bash_value(&mctl_opts[id]);
	for (const struct mctl_opt *opt = mctl_global_opts; opt->name; opt++)
		put_bash_value(opt);
	fputs("\tesac\n\n\tfor ((i = 1; i < COMP_CWORD; i++)); do\n\t\tcase ${COMP_WORDS[i]} in\n", stdout);
	for (const struct mctl_opt *opt = mctl_global_opts; opt->name; opt++)
		if (opt->value)
			printf("\t\t--%s) [[ ${COMP_WORDS[i+1]} == = ]] && ((i++)); ((i++)) ;;\n", opt->name);
	fputs("\t\t-*) ;;\n\t\t*) verb=${COMP_WORDS[i]}; break ;;\n\t\tesac\n\tdone\n\n\topts='", stdout);
	for (const struct mctl_opt *opt = mctl_global_opts; opt->name; opt++)
		printf("%s--%s", opt == mctl_global_opts ? "" : " ", opt->name);
	fputs("'\n\tcase $verb in\n\t'')\n\t\twords='", stdout);
	put_verbs();
	fputs("'\n\t\t;;\n", stdout);
	for (const struct mctl_cmd *cmd = mctl_cmds; cmd->name; cmd++)
		put_bash_verb(cmd);
	fputs("\tesac\n"
	      "\tif [[ $cur == -* ]]; then\n\t\twords=$opts\n\tfi\n"
	      "\tmapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
	      "}\ncomplete -F _mirrorctl mirrorctl\n", stdout);
}

static void put_zsh_value(const struct mctl_opt *opt)
{
	if (!opt->value)
		return;
	printf("\t--%s) ", opt->name);
	switch (offer_of(opt)) {
	case OFFER_CHOICES:
		fputs("compadd -- ", stdout);
		put_list(opt->choices);
		break;
	case OFFER_FILES:
		fputs("_files", stdout);
		break;
	case OFFER_USERS:
		fputs("_users", stdout);
		break;
	case OFFER_NETNS:
		fputs("compadd -- /run/netns/*(N:t)", stdout);
		break;
	default:
		printf("_message %s", opt->value);
		break;
	}
	fputs("; return ;;\n", stdout);
}

static void put_zsh_opt(const struct mctl_opt *opt)
{
	char prefix[64];

	snprintf(prefix, sizeof(prefix), "--%s:", opt->name);
	fputs("\t\t", stdout);
	put_quoted(prefix, opt->summary);
	putchar('\n');
}

static void put_zsh_verb(const struct mctl_cmd *cmd)
{
	const char *kind = dynamic_kind(cmd->words);

	printf("\t%s)\n\t\topts+=(\n", cmd->name);
	for (unsigned int id = 0; mctl_opts[id].name; id++)
		if (cmd->options & MCTL_OPT(id))
			put_zsh_opt(&mctl_opts[id]);
	fputs("\t\t)\n\t\tif [[ $PREFIX == -* ]]; then _describe option opts; return; fi\n", stdout);
	if (kind)
		printf("\t\twords_=(${${(f)\"$(mirrorctl __complete %s 2>/dev/null)\"}/$'\\t'/:})\n"
		       "\t\t_describe %s words_\n", kind, kind);
	else if (cmd->words == MCTL_WORDS_COMMAND)
		fputs("\t\t_command_names -e\n", stdout);
	else if (cmd->words == MCTL_WORDS_SHELLS) {
		fputs("\t\tcompadd -- ", stdout);
		put_list(mctl_shells);
		putchar('\n');
	} else if (cmd->words == MCTL_WORDS_VERBS)
		fputs("\t\t_describe verb verbs\n", stdout);
	else if (cmd->max_words)
		fputs("\t\t_files\n", stdout);
	fputs("\t\t;;\n", stdout);
}

static void print_zsh(void)
{
	fputs("#compdef mirrorctl\n# zsh completion for mirrorctl, made by 'mirrorctl completion zsh'\n"
	      "_mirrorctl()\n{\n\tlocal verb i\n\tlocal -a verbs opts words_\n\n\tverbs=(\n", stdout);
	for (const struct mctl_cmd *cmd = mctl_cmds; cmd->name; cmd++) {
		char prefix[64];

		snprintf(prefix, sizeof(prefix), "%s:", cmd->name);
		fputs("\t\t", stdout);
		put_quoted(prefix, cmd->summary);
		putchar('\n');
	}
	fputs("\t)\n\topts=(\n", stdout);
	for (const struct mctl_opt *opt = mctl_global_opts; opt->name; opt++)
		put_zsh_opt(opt);
	fputs("\t)\n\tcase $words[CURRENT-1] in\n", stdout);
	for (unsigned int id = 0; mctl_opts[id].name; id++)
		put_zsh_value(&mctl_opts[id]);
	for (const struct mctl_opt *opt = mctl_global_opts; opt->name; opt++)
		put_zsh_value(opt);
	fputs("\tesac\n\tfor ((i = 2; i < CURRENT; i++)); do\n\t\tcase $words[i] in\n", stdout);
	for (const struct mctl_opt *opt = mctl_global_opts; opt->name; opt++)
		if (opt->value)
			printf("\t\t--%s) ((i++)) ;;\n", opt->name);
	fputs("\t\t-*) ;;\n\t\t*) verb=$words[i]; break ;;\n\t\tesac\n\tdone\n\tcase $verb in\n"
	      "\t'')\n\t\tif [[ $PREFIX == -* ]]; then _describe option opts; else _describe verb verbs; fi\n"
	      "\t\t;;\n", stdout);
	for (const struct mctl_cmd *cmd = mctl_cmds; cmd->name; cmd++)
		put_zsh_verb(cmd);
	/* Autoloaded from fpath the file is the function's body; sourced, it must register itself. */
	fputs("\tesac\n}\n"
	      "if [[ ${funcstack[1]} == _mirrorctl ]]; then\n\t_mirrorctl \"$@\"\nelse\n\tcompdef _mirrorctl mirrorctl\n"
	      "fi\n", stdout);
}

static void put_fish_opt(const struct mctl_opt *opt, const char *verb)
{
	fputs("complete -c mirrorctl", stdout);
	if (verb)
		printf(" -n '__fish_seen_subcommand_from %s'", verb);
	printf(" -l %s", opt->name);
	if (opt->letter)
		printf(" -s %c", opt->letter);
	if (opt->value) {
		switch (offer_of(opt)) {
		case OFFER_CHOICES:
			fputs(" -x -a '", stdout);
			put_list(opt->choices);
			putchar('\'');
			break;
		case OFFER_FILES:
			fputs(" -r -F", stdout);
			break;
		case OFFER_USERS:
			fputs(" -x -a '(__fish_complete_users)'", stdout);
			break;
		case OFFER_NETNS:
			fputs(" -x -a '(command ls /run/netns 2>/dev/null)'", stdout);
			break;
		default:
			fputs(" -x", stdout);
			break;
		}
	}
	fputs(" -d ", stdout);
	put_quoted("", opt->summary);
	putchar('\n');
}

static void put_fish_words(const struct mctl_cmd *cmd)
{
	const char *kind = dynamic_kind(cmd->words);

	if (!cmd->max_words)
		return;
	printf("complete -c mirrorctl -n '__fish_seen_subcommand_from %s' ", cmd->name);
	if (kind)
		printf("-a '(mirrorctl __complete %s (commandline -ct) 2>/dev/null)'\n", kind);
	else if (cmd->words == MCTL_WORDS_COMMAND)
		fputs("-a '(__fish_complete_command)'\n", stdout);
	else if (cmd->words == MCTL_WORDS_SHELLS || cmd->words == MCTL_WORDS_VERBS) {
		fputs("-a '", stdout);
		if (cmd->words == MCTL_WORDS_SHELLS)
			put_list(mctl_shells);
		else
			put_verbs();
		fputs("'\n", stdout);
	} else
		fputs("-F\n", stdout);
}

static void print_fish(void)
{
	fputs("# fish completion for mirrorctl, made by 'mirrorctl completion fish'\ncomplete -c mirrorctl -f\n", stdout);
	for (const struct mctl_opt *opt = mctl_global_opts; opt->name; opt++)
		put_fish_opt(opt, NULL);
	for (const struct mctl_cmd *cmd = mctl_cmds; cmd->name; cmd++) {
		printf("complete -c mirrorctl -n __fish_use_subcommand -a %s -d ", cmd->name);
		put_quoted("", cmd->summary);
		putchar('\n');
		for (unsigned int id = 0; mctl_opts[id].name; id++)
			if (cmd->options & MCTL_OPT(id))
				put_fish_opt(&mctl_opts[id], cmd->name);
		put_fish_words(cmd);
	}
}

int cmd_completion(const struct mctl_args *args)
{
	const char *shell = args->words[0];

	if (strcmp(shell, "bash") == 0)
		print_bash();
	else if (strcmp(shell, "zsh") == 0)
		print_zsh();
	else if (strcmp(shell, "fish") == 0)
		print_fish();
	else
		return mctl_fail(MCTL_USAGE, "there is no completion for '%s': the shells are bash, zsh and fish", shell);
	return MCTL_OK;
}
