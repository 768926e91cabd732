/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The command line as data: one table row per verb, one per option. Parser, usage, help, completion and the test that
 * the man page agrees all walk these tables (cmd.c); nothing about a verb is written twice.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <linux/types.h>

#include <mirror/tap.h>

#define MCTL_OPT(id) (1ull << (id))
#define MCTL_OPTS_MANY MCTL_OPT(MCTL_OPT_MATCH)	/* may be given more than once */

enum mctl_opt_id {
	MCTL_OPT_MONITOR,
	MCTL_OPT_MONITOR_TYPE,
	MCTL_OPT_IDENTITY,
	MCTL_OPT_SNAPLEN,
	MCTL_OPT_LINGER,
	MCTL_OPT_CONFIG,
	MCTL_OPT_FOLLOW,
	MCTL_OPT_SHARED,
	MCTL_OPT_ALL,
	MCTL_OPT_WAIT,
	MCTL_OPT_USER,
	MCTL_OPT_MODE,
	MCTL_OPT_MATCH,
	MCTL_OPT_SAMPLE,
	MCTL_OPT_TAKE_ADDRESSES,
	MCTL_OPT_TAIL,
	MCTL_OPT_PERSONAL,
	MCTL_OPT_STRIP,
	MCTL_OPT_MOVE,
	MCTL_OPT_SPLIT,
	MCTL_OPT_FILTER,
	MCTL_OPT_DIRECTION,
	MCTL_OPT_RATE,
	MCTL_OPT_FIRST,
	MCTL_OPT_FOR,
	MCTL_OPT_COUNT,
	MCTL_OPT_COST,
	MCTL_OPT_MONITOR_NETNS,
	MCTL_OPT_MAX,
};

/* What a verb was given. Strings point into argv. */
struct mctl_args {
	uint64_t given;		/* MCTL_OPT() bits of the options that were present */
	const char *monitor;
	uint32_t monitor_type;	/* enum mir_monitor_type */
	const char *monitor_netns;
	uint32_t identity;	/* enum mir_identity */
	uint32_t snaplen;	/* bytes; 0: whole frames */
	uint32_t linger_s;	/* seconds */
	const char *config;
	const char *user;
	uint32_t mode;		/* enum mir_tap_mode */
	uint32_t sample;	/* --sample 1/N: N */
	const char *filter;	/* --filter, compiled once to see that it is right; NULL: not given */
	uint32_t direction;	/* MIR_POLICY_IN, _OUT */
	uint32_t rate_bytes;	/* 1: --rate counts bytes, 0: packets */
	__u64 rate;		/* of them per second */
	__u64 first;		/* bytes of each flow */
	__u64 period_ns;	/* --for */
	__u64 count;		/* copies */
	uint32_t cost_s;	/* seconds */
	int nmatch;
	const char *match[MIR_TAP_RULES];	/* --match, each parsed once to see that it is right */
	int nwords;		/* positional arguments; for `run` everything behind -- */
	char **words;		/* they, then NULL */
};

/* What completion offers for a verb's positional arguments. */
enum mctl_words {
	MCTL_WORDS_NONE,
	MCTL_WORDS_DEVICES,
	MCTL_WORDS_PIDS,
	MCTL_WORDS_TARGETS,
	MCTL_WORDS_SELECTORS,
	MCTL_WORDS_COMMAND,
	MCTL_WORDS_SHELLS,
	MCTL_WORDS_VERBS,
	MCTL_WORDS_TAP,
};

struct mctl_cmd {
	const char *name;
	int (*run)(const struct mctl_args *args);	/* returns enum mctl_exit (run: the command's own status) */
	const char *usage;	/* synopsis of the positional arguments, "" when there are none */
	const char *summary;	/* one line, no full stop */
	uint64_t options;	/* MCTL_OPT() bits it takes */
	int min_words, max_words;	/* positional arguments; max -1: any number */
	enum mctl_words words;
	uint64_t caps;		/* 1ull << CAP_x bits it needs; 0: anybody may */
};

/* All that any verb but `run --user` needs, as bits like `caps` above: clearing up after a killed mirrorctl falls to whoever
 * comes next. */
extern const uint64_t mctl_caps_most;

extern const struct mctl_cmd mctl_cmds[];	/* ends with a NULL name */
const struct mctl_cmd *mctl_cmd_find(const char *name);

/* Parses the words behind the verb. On a usage error reports it (naming the word, the verb and what is allowed) and
 * returns MCTL_USAGE; else MCTL_OK. */
int mctl_args_parse(const struct mctl_cmd *cmd, int argc, char **argv, struct mctl_args *ret_args);

/* One number, decimal, no sign, no trailing text, within [min, max]. Returns 0, -EINVAL or -ERANGE. */
int mctl_parse_u32(const char *text, uint32_t min, uint32_t max, uint32_t *ret);

/* A device name as the kernel takes it (dev_valid_name(): 1 to 15 bytes, no '/', ':', white space, not . or ..). */
bool mctl_valid_ifname(const char *name);

/* Verbs, one per cmd_*.c. Each returns an exit status. */
int cmd_up(const struct mctl_args *args);
int cmd_down(const struct mctl_args *args);
int cmd_add_pid(const struct mctl_args *args);
int cmd_add_name(const struct mctl_args *args);
int cmd_add_exe(const struct mctl_args *args);
int cmd_add_user(const struct mctl_args *args);
int cmd_add_cgroup(const struct mctl_args *args);
int cmd_add_unit(const struct mctl_args *args);
int cmd_add_container(const struct mctl_args *args);
int cmd_selectors(const struct mctl_args *args);
int cmd_del_selector(const struct mctl_args *args);
int cmd_del_pid(const struct mctl_args *args);
int cmd_run(const struct mctl_args *args);
int cmd_list(const struct mctl_args *args);
int cmd_status(const struct mctl_args *args);
int cmd_stats(const struct mctl_args *args);
int cmd_explain(const struct mctl_args *args);
int cmd_events(const struct mctl_args *args);
int cmd_watch(const struct mctl_args *args);
int cmd_tap(const struct mctl_args *args);
int cmd_check(const struct mctl_args *args);
int cmd_doctor(const struct mctl_args *args);
int cmd_annotate(const struct mctl_args *args);
int cmd_wireshark(const struct mctl_args *args);
int cmd_completion(const struct mctl_args *args);
int cmd_version(const struct mctl_args *args);
int cmd_help(const struct mctl_args *args);
