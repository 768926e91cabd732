/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The tables against everything that repeats them: usage, completion scripts, manual pages, shipped configuration. Both
 * ways: what the table has must be there, what is there must be in the table. And each limit that `status` may name against
 * the page that explains it. Run from the top of the source tree.
 */
#include "test.h"

#include <ctype.h>
#include <fcntl.h>

#include "opts.h"
#include "verb.h"

#define LIMITS "docs/limits.md"
#define MAN "docs/mirrorctl.8"
#define MAN_CONF "docs/mirrorctl.conf.5"
#define CONF "configs/mirrorctl.conf"

static char *read_file(const char *path)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	char *text = calloc(1, 256 * 1024);

	if (!f || !text || !fread(text, 1, 256 * 1024 - 1, f))
		FAIL("cannot read %s: %s", path, strerror(errno));
	return text;
}

/* What `print` writes to standard output. */
static char *catch_output(int (*print)(const struct mctl_args *), const struct mctl_args *args)
{
	char path[] = "/tmp/mirrorctl-table-XXXXXX";
	_cleanup_close_ int fd = mkstemp(path), saved = -1;

	assert_true(fd >= 0);
	fflush(stdout);
	saved = dup(STDOUT_FILENO);
	dup2(fd, STDOUT_FILENO);
	print(args);
	fflush(stdout);
	dup2(saved, STDOUT_FILENO);
	char *text = read_file(path);
	unlink(path);
	return text;
}

static void need(const char *text, const char *part, const char *where)
{
	if (!text || !strstr(text, part))
		FAIL("%s lacks '%s'", where, part);
}

static void test_rows(void **state)
{
	(void)state;
	for (const struct mctl_cmd *cmd = mctl_cmds; cmd->name; cmd++) {
		assert_ptr_equal(mctl_cmd_find(cmd->name), cmd);	/* unique */
		assert_non_null(cmd->run);
		assert_true(islower(cmd->summary[0]));
		assert_int_not_equal(cmd->summary[strlen(cmd->summary) - 1], '.');
		assert_true(cmd->options < MCTL_OPT(MCTL_OPT_MAX));
		assert_true(cmd->max_words == -1 || cmd->max_words >= cmd->min_words);
		assert_int_equal(cmd->max_words != 0, cmd->usage[0] != '\0');
	}
	for (unsigned int id = 0; id < MCTL_OPT_MAX; id++) {
		assert_non_null(mctl_opts[id].name);
		assert_non_null(mctl_opts[id].take);
		for (const struct mctl_opt *opt = mctl_global_opts; opt->name; opt++)
			assert_string_not_equal(opt->name, mctl_opts[id].name);
	}
	assert_null(mctl_opts[MCTL_OPT_MAX].name);
}

static void test_usage(void **state)
{
	(void)state;
	for (const struct mctl_cmd *cmd = mctl_cmds; cmd->name; cmd++) {
		char *words[] = { (char *)cmd->name };
		const struct mctl_args all = { 0 }, one = { .nwords = 1, .words = words };
		_cleanup_free_ char *whole = catch_output(cmd_help, &all), *own = catch_output(cmd_help, &one);

		need(whole, cmd->name, "help");
		need(whole, cmd->summary, "help");
		need(own, cmd->usage, cmd->name);
		for (unsigned int id = 0; id < MCTL_OPT_MAX; id++) {
			char option[64];

			/* Two verbs may call different options the same; a flag is followed by padding. */
			snprintf(option, sizeof(option), " --%s %s ", mctl_opts[id].name,
				 mctl_opts[id].value ? mctl_opts[id].value : "");
			assert_int_equal(!!strstr(own, option), !!(cmd->options & MCTL_OPT(id)));
		}
		for (const char *line = whole; line; line = strchr(line + 1, '\n'))
			assert_true(strcspn(line + 1, "\n") <= 120);
	}
}

static void test_completion(void **state)
{
	(void)state;
	for (size_t shell = 0; mctl_shells[shell]; shell++) {
		char *words[] = { (char *)mctl_shells[shell] };
		const struct mctl_args args = { .nwords = 1, .words = words };
		_cleanup_free_ char *script = catch_output(cmd_completion, &args);

		for (const struct mctl_cmd *cmd = mctl_cmds; cmd->name; cmd++)
			need(script, cmd->name, mctl_shells[shell]);
		for (unsigned int id = 0; id < MCTL_OPT_MAX; id++)
			need(script, mctl_opts[id].name, mctl_shells[shell]);
		for (const struct mctl_opt *opt = mctl_global_opts; opt->name; opt++)
			need(script, opt->name, mctl_shells[shell]);
		need(script, "auto dummy bridge veth", mctl_shells[shell]);
		need(script, "__complete devices", mctl_shells[shell]);
		need(script, "__complete pids", mctl_shells[shell]);
		need(script, "__complete targets", mctl_shells[shell]);
		need(script, "__complete selectors", mctl_shells[shell]);
	}
}

/* A copy of the section `name` of a manual page, from the line feed before its first line on. */
static char *section(const char *text, const char *name)
{
	char head[64];
	const char *start, *end;

	snprintf(head, sizeof(head), "\n.Sh %s\n", name);
	start = strstr(text, head);
	if (!start)
		FAIL("no section %s", name);
	start += strlen(head) - 1;
	end = strstr(start, "\n.Sh ");
	return end ? strndup(start, (size_t)(end - start)) : strdup(start);
}

/* The word behind `start` at the beginning of `line`; false if the line begins otherwise. */
static bool item(const char *line, const char *start, char *ret_word, size_t len)
{
	if (strncmp(line, start, strlen(start)) != 0)
		return false;
	snprintf(ret_word, len, "%.*s", (int)strcspn(line + strlen(start), " \n"), line + strlen(start));
	return true;
}

static void test_man_verbs(void **state)
{
	_cleanup_free_ char *man = read_file(MAN), *verbs = section(man, "VERBS");
	const struct mctl_cmd *cmd = NULL;
	uint64_t options = 0;
	int n = 0, count = 0;
	char word[64];

	(void)state;
	for (const char *line = verbs; line; line = strchr(line + 1, '\n')) {
		if (item(line, "\n.It Cm ", word, sizeof(word))) {
			if (cmd)
				assert_int_equal(options, cmd->options);
			cmd = mctl_cmd_find(word);
			if (!cmd)
				fail_msg(MAN " has a verb '%s'", word);
			options = 0;
			n++;
		} else if (item(line, "\n.It Fl -", word, sizeof(word)) ||
			   item(line, "\n.It Fl f , Fl -", word, sizeof(word))) {
			unsigned int id = 0;

			while (mctl_opts[id].name && (strcmp(mctl_opts[id].name, word) != 0 || !cmd ||
						      !(cmd->options & MCTL_OPT(id))))
				id++;
			if (!mctl_opts[id].name || !cmd)
				FAIL(MAN " has an option '--%s'", word);
			assert_int_equal(mctl_opts[id].value != NULL, strstr(line, " Ar ") &&
					 strstr(line, " Ar ") < line + 1 + strcspn(line + 1, "\n"));
			options |= MCTL_OPT(id);
		}
	}
	if (!cmd)
		FAIL(MAN " has no verbs");
	assert_int_equal(options, cmd->options);
	for (cmd = mctl_cmds; cmd->name; cmd++)
		count++;
	assert_int_equal(n, count);
}

static void test_man_globals(void **state)
{
	_cleanup_free_ char *man = read_file(MAN), *options = section(man, "OPTIONS");
	int n = 0, count = 0;

	(void)state;
	for (const char *line = options; line; line = strchr(line + 1, '\n'))
		n += strncmp(line, "\n.It Fl ", strlen("\n.It Fl ")) == 0;
	for (const struct mctl_opt *opt = mctl_global_opts; opt->name; opt++) {
		char text[96];

		count++;
		if (opt->letter)
			snprintf(text, sizeof(text), "\n.It Fl %c , Fl -%s\n", opt->letter, opt->name);
		else
			snprintf(text, sizeof(text), "\n.It Fl -%s%s", opt->name, opt->value ? " Ar " : "\n");
		need(options, text, MAN);
	}
	assert_int_equal(n, count);
}

static void test_man_exit_status(void **state)
{
	_cleanup_free_ char *man = read_file(MAN), *status = section(man, "EXIT STATUS");
	char word[16];
	int next = 0;

	(void)state;
	for (const char *line = status; line; line = strchr(line + 1, '\n')) {
		if (!item(line, "\n.It ", word, sizeof(word)))
			continue;
		assert_int_equal(word[0] - '0', next++);
		assert_int_equal(word[1], '\0');
	}
	assert_int_equal(next, MCTL_UNSUPPORTED + 1);	/* 0 to the last one of enum mctl_exit */
}

/* Keys of the configuration file are options of `up` and `sources`. */
static void test_configuration_keys(void **state)
{
	_cleanup_free_ char *man = read_file(MAN_CONF), *keys = section(man, "KEYS"), *conf = read_file(CONF);
	const uint64_t options = mctl_cmd_find("up")->options & ~MCTL_OPT(MCTL_OPT_CONFIG);
	int n = 0, count = 1;
	char text[96];

	(void)state;
	for (const char *line = keys; line; line = strchr(line + 1, '\n'))
		n += strncmp(line, "\n.It Ic ", strlen("\n.It Ic ")) == 0;
	for (unsigned int id = 0; id < MCTL_OPT_MAX; id++) {
		if (!(options & MCTL_OPT(id)))
			continue;
		count++;
		snprintf(text, sizeof(text), "\n.It Ic %s\n", mctl_opts[id].name);
		need(keys, text, MAN_CONF);
		snprintf(text, sizeof(text), "\n#%s = ", mctl_opts[id].name);
		need(conf, text, CONF);
	}
	need(keys, "\n.It Ic sources\n", MAN_CONF);
	need(conf, "\n#sources = {", CONF);
	assert_int_equal(n, count);
}

struct limits {
	char *page;
	unsigned int n;
};

static void limit_explained(const char *text, void *data)
{
	struct limits *limits = data;
	char code[512];

	snprintf(code, sizeof(code), "`%s`", text);
	need(limits->page, code, LIMITS);
	limits->n++;
}

/* Whatever a kernel can do or not: no limit without its line in the page. */
static void test_limits(void **state)
{
	_cleanup_free_ char *page = read_file(LIMITS);
	struct limits limits = { .page = page };
	struct mctl_instance inst = {};

	(void)state;
	for (int i = 0; i < MCTL_MAP_MAX; i++)
		inst.map[i] = -1;	/* no numbers: docs/check.py compares the texts that have some */
	for (unsigned int tiers = 0; tiers < 144; tiers++) {
		inst.config.tier_accept = tiers & 1;
		inst.config.tier_existing = tiers >> 1 & 1;
		inst.config.tier_linger = tiers >> 2 & 1;
		inst.config.tcx = tiers >> 3 & 1;
		inst.config.tier_use = (__u8)(tiers >> 4) % 3;
		inst.config.tier_count = (__u8)((tiers >> 4) / 3);
		limits.n = 0;
		mctl_limits(&inst, limit_explained, &limits);
		assert_true(limits.n >= 4);	/* some hold everywhere */
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_usage),
		cmocka_unit_test(test_completion),
		cmocka_unit_test(test_man_verbs),
		cmocka_unit_test(test_man_globals),
		cmocka_unit_test(test_man_exit_status),
		cmocka_unit_test(test_configuration_keys),
	};

	return RUN_TAP(tests);
}
