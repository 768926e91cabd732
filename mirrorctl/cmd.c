/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * THE tables: every verb, every option, once. Parser (args.c), usage (cmd_help.c), completion (cmd_completion.c) and the
 * test of the man page walk them; a verb that is not here does not exist.
 */
#include <string.h>

#include <linux/capability.h>

#include "caps.h"
#include "mctl.h"
#include "opts.h"
#include "rules.h"
#include "settings.h"
#include "values.h"

#define OPT(id) MCTL_OPT(MCTL_OPT_##id)
#define CAP(id) MCTL_CAP(CAP_##id)

/* Loading and attaching (BPF, NET_ADMIN, PERFMON), other processes' descriptors (SYS_PTRACE), mounts, namespaces and
 * iterators (SYS_ADMIN). */
#define CAPS_CHANGE (CAP(BPF) | CAP(NET_ADMIN) | CAP(PERFMON) | CAP(SYS_PTRACE) | CAP(SYS_ADMIN))
#define CAPS_READ CAP(BPF)

const uint64_t mctl_caps_most = CAPS_CHANGE;

/* What becomes of the packets: of a selection's, or of all that have none of their own. */
#define OPTS_POLICY \
	(OPT(MONITOR) | OPT(MONITOR_TYPE) | OPT(MONITOR_NETNS) | OPT(FILTER) | OPT(DIRECTION) | OPT(SAMPLE) | OPT(RATE) | \
	 OPT(FIRST) | OPT(FOR) | OPT(COUNT))
#define OPTS_INSTANCE (OPT(IDENTITY) | OPT(SNAPLEN) | OPT(LINGER) | OPT(CONFIG) | OPTS_POLICY)

#define OPTS_SELECT (OPT(FOLLOW) | OPT(SHARED) | OPTS_POLICY)

const char *const mctl_shells[] = { "bash", "zsh", "fish", NULL };

const struct mctl_cmd mctl_cmds[] = {
	{ "up", cmd_up, "[DEV]...", "create the monitor, load, attach to the devices; or change what is up",
	  OPTS_INSTANCE, 0, -1, MCTL_WORDS_DEVICES, CAPS_CHANGE },
	{ "down", cmd_down, "", "undo everything",
	  0, 0, 0, MCTL_WORDS_NONE, CAPS_CHANGE },
	{ "add-pid", cmd_add_pid, "PID...", "mirror the packets of these processes",
	  OPTS_SELECT, 1, -1, MCTL_WORDS_PIDS, CAPS_CHANGE },
	{ "add-name", cmd_add_name, "NAME", "mirror every process of this name, now and later",
	  OPTS_SELECT, 1, 1, MCTL_WORDS_NONE, CAPS_CHANGE },
	{ "add-exe", cmd_add_exe, "PATH", "mirror every process that runs this program",
	  OPTS_SELECT | OPT(WAIT), 1, 1, MCTL_WORDS_NONE, CAPS_CHANGE },
	{ "add-user", cmd_add_user, "USER", "mirror every process of this user",
	  OPTS_SELECT, 1, 1, MCTL_WORDS_NONE, CAPS_CHANGE },
	{ "add-cgroup", cmd_add_cgroup, "PATH", "mirror every process of this control group and of those below it",
	  OPTS_SELECT | OPT(WAIT), 1, 1, MCTL_WORDS_NONE, CAPS_CHANGE },
	{ "add-unit", cmd_add_unit, "UNIT", "mirror every process of this systemd unit, restarts included",
	  OPTS_SELECT | OPT(WAIT), 1, 1, MCTL_WORDS_NONE, CAPS_CHANGE },
	{ "add-container", cmd_add_container, "ID|NAME", "mirror every process of this container",
	  OPTS_SELECT | OPT(WAIT), 1, 1, MCTL_WORDS_NONE, CAPS_CHANGE },
	{ "selectors", cmd_selectors, "", "show the selectors with their processes and counters",
	  0, 0, 0, MCTL_WORDS_NONE, CAPS_READ },
	{ "del-selector", cmd_del_selector, "ID... | all", "remove selectors",
	  0, 1, -1, MCTL_WORDS_SELECTORS, CAPS_CHANGE },
	{ "del-pid", cmd_del_pid, "PID... | --all", "stop mirroring them",
	  OPT(ALL), 1, -1, MCTL_WORDS_TARGETS, CAPS_CHANGE },
	{ "run", cmd_run, "[--] CMD [ARG]...", "start a command whose packets are mirrored from the first one on",
	  OPT(FOLLOW) | OPT(SHARED) | OPT(USER) | OPTS_POLICY, 1, -1, MCTL_WORDS_COMMAND, CAPS_CHANGE },
	{ "list", cmd_list, "", "show the targets with their counters",
	  0, 0, 0, MCTL_WORDS_NONE, CAPS_READ | CAP(PERFMON) },
	{ "status", cmd_status, "", "show instance, monitor, sources, attribution and limits",
	  0, 0, 0, MCTL_WORDS_NONE, CAPS_READ },
	{ "stats", cmd_stats, "", "show the counters by reason and by cause of failure",
	  OPT(COST), 0, 0, MCTL_WORDS_NONE, CAPS_READ },
	{ "explain", cmd_explain, "tcp|udp|icmp LOCAL REMOTE", "say whose a conversation is and why it is mirrored or not",
	  0, 3, 3, MCTL_WORDS_NONE, CAPS_READ | CAP(NET_ADMIN) },
	{ "events", cmd_events, "", "show what happened: targets, owners, conversations, failures",
	  OPT(TAIL), 0, 0, MCTL_WORDS_NONE, CAPS_READ | CAP(PERFMON) },
	{ "watch", cmd_watch, "[DEV]...", "do as up, and again whenever devices come, go or change; in the foreground",
	  OPTS_INSTANCE, 0, -1, MCTL_WORDS_DEVICES, CAPS_CHANGE },
	{ "tap", cmd_tap, "add NAME A B | del NAME | list", "join two ports as a wire and mirror what crosses it",
	  OPT(MONITOR) | OPT(MODE) | OPT(MATCH) | OPT(SAMPLE) | OPT(TAKE_ADDRESSES), 1, 4, MCTL_WORDS_TAP, CAPS_CHANGE },
	{ "annotate", cmd_annotate, "IN OUT", "write the process of each packet of a capture as pcapng has it",
	  OPT(STRIP) | OPT(MOVE) | OPT(SPLIT), 2, 2, MCTL_WORDS_NONE, 0 },
	{ "wireshark", cmd_wireshark, "install|remove", "put plugin and profile where the installed Wireshark looks",
	  OPT(PERSONAL), 1, 1, MCTL_WORDS_NONE, 0 },
	{ "check", cmd_check, "FILE", "say whether a configuration file is right",
	  0, 1, 1, MCTL_WORDS_NONE, 0 },
	{ "doctor", cmd_doctor, "", "say what this kernel and host can do and what is missing",
	  0, 0, 0, MCTL_WORDS_NONE, 0 },
	{ "completion", cmd_completion, "bash|zsh|fish", "print the completion script of a shell",
	  0, 1, 1, MCTL_WORDS_SHELLS, 0 },
	{ "version", cmd_version, "", "print the versions of mirrorctl, its interface and libbpf",
	  0, 0, 0, MCTL_WORDS_NONE, 0 },
	{ "help", cmd_help, "[VERB]", "print usage, of one verb if it is named",
	  0, 0, 1, MCTL_WORDS_VERBS, 0 },
	{ NULL, NULL, NULL, NULL, 0, 0, 0, MCTL_WORDS_NONE, 0 },
};

const struct mctl_cmd *mctl_cmd_find(const char *name)
{
	for (const struct mctl_cmd *cmd = mctl_cmds; cmd->name; cmd++)
		if (strcmp(cmd->name, name) == 0)
			return cmd;
	return NULL;
}

static const char *take_monitor(struct mctl_args *args, const char *value)
{
	const char *right = mctl_value_monitor(value);

	if (!right)
		args->monitor = value;
	return right;
}

static const char *take_monitor_type(struct mctl_args *args, const char *value)
{
	return mctl_value_monitor_type(value, &args->monitor_type);
}

static const char *take_monitor_netns(struct mctl_args *args, const char *value)
{
	const char *right = mctl_value_netns(value);

	if (!right)
		args->monitor_netns = value;
	return right;
}

static const char *take_identity(struct mctl_args *args, const char *value)
{
	return mctl_value_identity(value, &args->identity);
}

static const char *take_snaplen(struct mctl_args *args, const char *value)
{
	return mctl_value_snaplen(value, &args->snaplen);
}

static const char *take_linger(struct mctl_args *args, const char *value)
{
	return mctl_value_linger(value, &args->linger_s);
}

static const char *take_config(struct mctl_args *args, const char *value)
{
	if (!*value)
		return "the name of a file";
	args->config = value;
	return NULL;
}

static const char *take_cost(struct mctl_args *args, const char *value)
{
	return mctl_value_cost(value, &args->cost_s);
}

static const char *take_user(struct mctl_args *args, const char *value)
{
	if (!*value)
		return "the name of a user";
	args->user = value;
	return NULL;
}

static const char *take_mode(struct mctl_args *args, const char *value)
{
	return mctl_value_tap_mode(value, &args->mode);
}

static const char *take_match(struct mctl_args *args, const char *value)
{
	struct mir_tap_rule rule;
	const char *right = mctl_rule_parse(value, &rule);

	if (!right && args->nmatch == MIR_TAP_RULES)
		return "at most 16 rules";
	if (!right)
		args->match[args->nmatch++] = value;
	return right;
}

static const char *take_sample(struct mctl_args *args, const char *value)
{
	return mctl_value_sample(value, &args->sample);
}

static const char *take_filter(struct mctl_args *args, const char *value)
{
	args->filter = value;
	return mctl_value_filter(value);
}

static const char *take_direction(struct mctl_args *args, const char *value)
{
	return mctl_value_direction(value, &args->direction);
}

static const char *take_rate(struct mctl_args *args, const char *value)
{
	return mctl_value_rate(value, &args->rate, &args->rate_bytes);
}

static const char *take_first(struct mctl_args *args, const char *value)
{
	return mctl_value_first(value, &args->first);
}

static const char *take_for(struct mctl_args *args, const char *value)
{
	return mctl_value_period(value, &args->period_ns);
}

static const char *take_count(struct mctl_args *args, const char *value)
{
	return mctl_value_count(value, &args->count);
}

/* What a flag says is its bit in mctl_args.given, which the parser sets. */
static const char *take_flag(struct mctl_args *args, const char *value)
{
	(void)args;
	(void)value;
	return NULL;
}

const struct mctl_opt mctl_opts[] = {
	[MCTL_OPT_MONITOR] = { "monitor", 0, "NAME", "device that receives the copies (mon0)",
			       NULL, MCTL_WORDS_NONE, take_monitor },
	[MCTL_OPT_MONITOR_TYPE] = { "monitor-type", 0, "TYPE", "kind of device (auto)",
				    mctl_monitor_types, MCTL_WORDS_NONE, take_monitor_type },
	[MCTL_OPT_IDENTITY] = { "identity", 0, "KIND", "how a capture says whose a packet is (none)",
				mctl_identities, MCTL_WORDS_NONE, take_identity },
	[MCTL_OPT_SNAPLEN] = { "snaplen", 0, "N", "bytes kept of each copy, 0: all of them (0)",
			       NULL, MCTL_WORDS_NONE, take_snaplen },
	[MCTL_OPT_LINGER] = { "linger", 0, "SEC", "how long an exited process keeps its last packets (60)",
			      NULL, MCTL_WORDS_NONE, take_linger },
	[MCTL_OPT_CONFIG] = { "config", 0, "FILE", "configuration file (" MCTL_DEFAULT_CONFIG ")",
			      NULL, MCTL_WORDS_NONE, take_config },
	[MCTL_OPT_FOLLOW] = { "follow", 0, NULL, "mirror the children too",
			      NULL, MCTL_WORDS_NONE, take_flag },
	[MCTL_OPT_SHARED] = { "shared", 0, NULL, "mirror its sockets whoever uses them",
			      NULL, MCTL_WORDS_NONE, take_flag },
	[MCTL_OPT_ALL] = { "all", 0, NULL, "every target",
			   NULL, MCTL_WORDS_NONE, take_flag },
	[MCTL_OPT_WAIT] = { "wait", 0, NULL, "also if it is not there yet: arm it for when it comes",
			    NULL, MCTL_WORDS_NONE, take_flag },
	[MCTL_OPT_USER] = { "user", 0, "NAME", "run the command as this user",
			    NULL, MCTL_WORDS_NONE, take_user },
	[MCTL_OPT_MODE] = { "mode", 0, "MODE", "where XDP runs (auto)",
			    mctl_tap_modes, MCTL_WORDS_NONE, take_mode },
	[MCTL_OPT_MATCH] = { "match", 0, "RULE", "copy what matches only, e.g. net=10.0.0.0/8,proto=tcp,port=80; may repeat",
			     NULL, MCTL_WORDS_NONE, take_match },
	[MCTL_OPT_SAMPLE] = { "sample", 0, "1/N", "copy one flow in N only (1/1)",
			      NULL, MCTL_WORDS_NONE, take_sample },
	[MCTL_OPT_TAKE_ADDRESSES] = { "take-addresses", 0, NULL, "put the ports' addresses aside",
				      NULL, MCTL_WORDS_NONE, take_flag },
	[MCTL_OPT_TAIL] = { "tail", 'f', NULL, "wait for more, and tell first packets of conversations",
			    NULL, MCTL_WORDS_NONE, take_flag },
	[MCTL_OPT_PERSONAL] = { "user", 0, NULL, "for this user alone",
				NULL, MCTL_WORDS_NONE, take_flag },
	[MCTL_OPT_STRIP] = { "strip", 0, NULL, "leave nothing in OUT that names a process",
			     NULL, MCTL_WORDS_NONE, take_flag },
	[MCTL_OPT_MOVE] = { "move", 0, NULL, "leave announcements and trailers out, once they are read",
			    NULL, MCTL_WORDS_NONE, take_flag },
	[MCTL_OPT_SPLIT] = { "split", 0, NULL, "one file for each process, in directory OUT",
			     NULL, MCTL_WORDS_NONE, take_flag },
	[MCTL_OPT_FILTER] = { "filter", 0, "EXPR", "copy what this capture filter takes only, e.g. 'tcp port 443'",
			      NULL, MCTL_WORDS_NONE, take_filter },
	[MCTL_OPT_DIRECTION] = { "direction", 0, "WAY", "copy what comes in or goes out only (both)",
				 mctl_directions, MCTL_WORDS_NONE, take_direction },
	[MCTL_OPT_RATE] = { "rate", 0, "RATE", "at most so much in a second, e.g. 1000pps, 10mbit, 2MB",
			    NULL, MCTL_WORDS_NONE, take_rate },
	[MCTL_OPT_FIRST] = { "first", 0, "BYTES", "the first bytes of each flow only, e.g. 4000, 10kB",
			     NULL, MCTL_WORDS_NONE, take_first },
	[MCTL_OPT_FOR] = { "for", 0, "TIME", "for so long only, e.g. 30s, 5m, 1h",
			   NULL, MCTL_WORDS_NONE, take_for },
	[MCTL_OPT_COUNT] = { "count", 0, "N", "at most N copies",
			     NULL, MCTL_WORDS_NONE, take_count },
	[MCTL_OPT_COST] = { "cost", 0, "SEC", "instead: nanoseconds each program takes for a run, measured for so long",
			    NULL, MCTL_WORDS_NONE, take_cost },
	[MCTL_OPT_MONITOR_NETNS] = { "monitor-netns", 0, "NAME", "network namespace in which the copies are captured (this one)",
				     NULL, MCTL_WORDS_NONE, take_monitor_netns },
	[MCTL_OPT_MAX] = { NULL, 0, NULL, NULL, NULL, MCTL_WORDS_NONE, NULL },
};

struct mctl_asked mctl_asked;

static const char *take_json(struct mctl_args *args, const char *value)
{
	(void)args;
	(void)value;
	mctl.json = true;
	return NULL;
}

static const char *take_quiet(struct mctl_args *args, const char *value)
{
	(void)args;
	(void)value;
	mctl.quiet = true;
	return NULL;
}

static const char *take_verbose(struct mctl_args *args, const char *value)
{
	(void)args;
	(void)value;
	if (mctl.verbose < 3)
		mctl.verbose++;
	return NULL;
}

static const char *take_netns(struct mctl_args *args, const char *value)
{
	const char *right = mctl_value_netns(value);

	(void)args;
	if (!right)
		mctl.netns = value;
	return right;
}

static const char *take_pin_root(struct mctl_args *args, const char *value)
{
	(void)args;
	if (value[0] != '/' || !value[1])
		return "an absolute path inside a bpf file system";
	mctl.pin_root = value;
	return NULL;
}

static const char *take_help(struct mctl_args *args, const char *value)
{
	(void)args;
	(void)value;
	mctl_asked.help = true;
	return NULL;
}

static const char *take_version(struct mctl_args *args, const char *value)
{
	(void)args;
	(void)value;
	mctl_asked.version = true;
	return NULL;
}

const struct mctl_opt mctl_global_opts[] = {
	{ "json", 'j', NULL, "print one JSON object, errors included", NULL, MCTL_WORDS_NONE, take_json },
	{ "quiet", 'q', NULL, "no notes on standard error, only errors", NULL, MCTL_WORDS_NONE, take_quiet },
	{ "verbose", 'v', NULL, "details on standard error; twice: libbpf's warnings; thrice: all it says",
	  NULL, MCTL_WORDS_NONE, take_verbose },
	{ "netns", 0, "NAME", "work in this network namespace", NULL, MCTL_WORDS_NONE, take_netns },
	{ "pin-root", 0, "DIR", "directory of the pins (" MCTL_DEFAULT_PIN_ROOT ")", NULL, MCTL_WORDS_NONE,
	  take_pin_root },
	{ "help", 0, NULL, "print usage, behind a verb: of that verb", NULL, MCTL_WORDS_NONE, take_help },
	{ "version", 0, NULL, "print the versions", NULL, MCTL_WORDS_NONE, take_version },
	{ NULL, 0, NULL, NULL, NULL, MCTL_WORDS_NONE, NULL },
};
