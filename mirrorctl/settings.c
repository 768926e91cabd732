/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The configuration file by libconfuse, and the command line laid over it. All values are strings to libconfuse and are
 * parsed by values.c, as options are. Two things that libconfuse can do must not happen: include() works only where a
 * program asks for it, and this one does not; "${NAME}" is replaced from the environment by its lexer, without a switch,
 * so a file that holds it is refused by the scan that every text goes through first. The scan also takes the comments
 * out, and refuses strings and comments without an end, which libconfuse would let pass in silence.
 */
#include "settings.h"

#include <stdarg.h>
#include <string.h>

#include <confuse.h>

#include "mctl.h"
#include "policy.h"
#include "values.h"

#define FILE_MAX (1024 * 1024)	/* bytes */
#define PROBLEMS_MAX 20		/* named of one file; more help no one */
#define SECTIONS_MAX 256	/* looked at; more than there can be selectors, so that each problem is named */

enum key {
	KEY_MONITOR,
	KEY_MONITOR_TYPE,
	KEY_MONITOR_NETNS,
	KEY_IDENTITY,
	KEY_SNAPLEN,
	KEY_LINGER,
	KEY_FILTER,
	KEY_DIRECTION,
	KEY_SAMPLE,
	KEY_RATE,
	KEY_FIRST,
	KEY_FOR,
	KEY_COUNT,
	KEY_SOURCES,
	KEY_MAX,
};

static const char *const key_names[KEY_MAX] = {
	"monitor", "monitor-type", "monitor-netns", "identity", "snaplen", "linger", "filter", "direction", "sample", "rate",
	"first", "for", "count", "sources",
};

/* One file being read. libconfuse hands no pointer of ours to its callbacks, hence the global. */
static struct reading {
	const char *name;		/* of the file, for messages */
	int problems;
	int line_of[KEY_MAX];		/* where a key was given; 0: not yet */
	int sections;			/* braces after which a section begins that were scanned */
	int section_line[SECTIONS_MAX];	/* and the lines they stand in */
	int section;			/* sections that were taken */
	unsigned int given;		/* of the one being read: bits by place in section_keys */
	struct mctl_wanted wanted;	/* what it asks for so far */
	unsigned int listed;		/* devices of `sources` that were seen */
	struct mctl_settings s;
} *reading;

void mctl_settings_init(struct mctl_settings *s)
{
	memset(s, 0, sizeof(*s));
	snprintf(s->terms.monitor, sizeof(s->terms.monitor), "%s", MCTL_DEFAULT_MONITOR);
	s->terms.monitor_type = MIR_MONITOR_AUTO;
	s->identity = MIR_IDENTITY_NONE;
	s->linger_s = MCTL_DEFAULT_LINGER_S;
}

/* Adds a device once. Returns false when the table is full. */
static bool add_source(struct mctl_settings *s, const char *dev)
{
	for (int i = 0; i < s->nsources; i++)
		if (strcmp(s->sources[i], dev) == 0)
			return true;
	if (s->nsources >= MIR_SOURCES_LIMIT)
		return false;
	snprintf(s->sources[s->nsources++], MIR_IFNAME_LEN, "%s", dev);
	return true;
}

/* A monitor that is also a source would be fed its own copies. Returns the offender or NULL. */
static const char *looping_source(const struct mctl_settings *s)
{
	for (int i = 0; i < s->nsources; i++) {
		if (strcmp(s->sources[i], s->terms.monitor) == 0)
			return s->sources[i];
		for (int k = 0; k < s->nselectors; k++)
			if (strcmp(s->sources[i], s->selectors[k].terms.monitor) == 0)
				return s->sources[i];
	}
	return NULL;
}

static void problem(int line, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void problem(int line, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (++reading->problems > PROBLEMS_MAX)
		return;
	mctl_fail(MCTL_USAGE, "%s:%d: %s", reading->name, line, text);
}

static __attribute__((format(printf, 2, 0))) void on_error(cfg_t *cfg, const char *fmt, va_list ap)
{
	char text[256];

	vsnprintf(text, sizeof(text), fmt, ap);
	if (strncmp(text, "no such option", strlen("no such option")) == 0)
		problem(cfg->line, "%s; %s", text, cfg->title ?
			"a selector takes follow, shared, filter, direction, sample, rate, first, for, count, monitor, "
			"monitor-type, monitor-netns" :
			"the keys are monitor, monitor-type, monitor-netns, identity, snaplen, linger, filter, direction, sample, "
			"rate, first, for, count, sources; sections name, exe, user, cgroup, unit, container");
	else
		problem(cfg->line, "%s", text);
}

/* Called for each device of the list, and once more at its end. */
static const char *take_source(struct mctl_settings *s, cfg_opt_t *opt, const char **ret_value)
{
	const unsigned int size = cfg_opt_size(opt);
	const char *right;

	if (size == reading->listed)
		return NULL;
	reading->listed = size;
	*ret_value = cfg_opt_getnstr(opt, size - 1);
	right = mctl_value_device(*ret_value);
	if (!right && !add_source(s, *ret_value))
		right = "no more than 1024 devices";
	return right;
}

/* What the file and each of its sections take. */
static const char *take_term(struct mctl_terms *t, enum key key, const char *value)
{
	struct mir_policy *p = &t->policy;
	const char *right;

	switch (key) {
	case KEY_MONITOR:
		right = mctl_value_monitor(value);
		if (!right)
			snprintf(t->monitor, sizeof(t->monitor), "%s", value);
		return right;
	case KEY_MONITOR_TYPE:
		return mctl_value_monitor_type(value, &t->monitor_type);
	case KEY_MONITOR_NETNS:
		right = mctl_value_netns(value);
		if (!right)
			snprintf(t->monitor_netns, sizeof(t->monitor_netns), "%s", value);
		return right;
	case KEY_FILTER:
		right = mctl_value_filter(value);
		t->filtered = !right;
		if (!right)
			snprintf(t->filter, sizeof(t->filter), "%s", value);
		return right;
	case KEY_DIRECTION:
		return mctl_value_direction(value, &p->direction);
	case KEY_SAMPLE:
		return mctl_value_sample(value, &p->sample);
	case KEY_RATE:
		return mctl_value_rate(value, &p->rate, &p->rate_bytes);
	case KEY_FIRST:
		return mctl_value_first(value, &p->first);
	case KEY_FOR:
		return mctl_value_period(value, &p->period_ns);
	default:
		return mctl_value_count(value, &p->count);
	}
}

static const char *take_value(struct mctl_settings *s, enum key key, cfg_opt_t *opt, const char **ret_value)
{
	const char *value;

	if (key == KEY_SOURCES)
		return take_source(s, opt, ret_value);
	*ret_value = value = cfg_opt_getnstr(opt, 0);
	switch (key) {
	case KEY_IDENTITY:
		return mctl_value_identity(value, &s->identity);
	case KEY_SNAPLEN:
		return mctl_value_snaplen(value, &s->snaplen);
	case KEY_LINGER:
		return mctl_value_linger(value, &s->linger_s);
	default:
		return take_term(&s->terms, key, value);
	}
}

static void take_or_say(int line, const char *right, const char *value, const char *name)
{
	if (right)
		problem(line, "'%.64s' is no value for '%s': it takes %s", value, name, right);
}

static enum key key_of(const char *name)
{
	enum key key = 0;

	while (key < KEY_MAX && strcmp(name, key_names[key]) != 0)
		key++;
	return key;
}

/* Called by libconfuse when a key has got its value, with the line it stands in. */
static int on_value(cfg_t *cfg, cfg_opt_t *opt)
{
	const char *value = "", *right = take_value(&reading->s, key_of(opt->name), opt, &value);

	take_or_say(cfg->line, right, value, opt->name);
	return 0;	/* on with the file, so that all problems are named at once */
}

/* The keys of a section; those that have no flag are keys of the file as well. */
static const struct {
	const char *name;
	__u32 flag;
} section_keys[] = {
	{ "follow", MIR_TARGET_FOLLOW },
	{ "shared", MIR_TARGET_SHARED },
	{ "filter", 0 },
	{ "direction", 0 },
	{ "sample", 0 },
	{ "rate", 0 },
	{ "first", 0 },
	{ "for", 0 },
	{ "count", 0 },
	{ "monitor", 0 },
	{ "monitor-type", 0 },
	{ "monitor-netns", 0 },
};

static const char *take_flag(struct mctl_wanted *w, __u32 flag, const char *value)
{
	if (!strcmp(value, "yes"))
		w->flags |= flag;
	else if (strcmp(value, "no") != 0)
		return "yes or no";
	return NULL;
}

/* A key inside a section. */
static int on_section_value(cfg_t *cfg, cfg_opt_t *opt)
{
	const char *value = cfg_opt_getnstr(opt, 0), *right;
	struct mctl_wanted *w = &reading->wanted;
	size_t at = 0;

	while (at < ARRAY_SIZE(section_keys) - 1 && strcmp(opt->name, section_keys[at].name) != 0)
		at++;
	if (reading->given & 1u << at)
		problem(cfg->line, "'%s' is given twice", opt->name);
	reading->given |= 1u << at;
	right = section_keys[at].flag ? take_flag(w, section_keys[at].flag, value) :
					take_term(&w->terms, key_of(opt->name), value);
	take_or_say(cfg->line, right, value, opt->name);
	return 0;
}

static bool have_selector(const struct mctl_settings *s, const struct mctl_wanted *w)
{
	for (int i = 0; i < s->nselectors; i++)
		if (s->selectors[i].kind == w->kind && !strcmp(s->selectors[i].text, w->text) &&
		    !strcmp(s->selectors[i].terms.monitor, w->terms.monitor))
			return true;
	return false;
}

/* A section has been read to its end: one selector. */
static int on_section(cfg_t *cfg, cfg_opt_t *opt)
{
	struct mctl_wanted *w = &reading->wanted;
	const char *text = cfg_title(cfg_opt_getnsec(opt, cfg_opt_size(opt) - 1)), *right;
	const int line = reading->section < SECTIONS_MAX ? reading->section_line[reading->section] : cfg->line;
	struct mctl_settings *s = &reading->s;

	w->flags |= MIR_SELECTOR_FILED;
	w->wait = 1;
	for (__u32 kind = 1; kind < MIR_SELECTOR_MAX; kind++)
		if (!strcmp(opt->name, mctl_selector_kinds[kind]))
			w->kind = kind;
	right = mctl_selector_right(w->kind, text);
	snprintf(w->text, sizeof(w->text), "%s", text);
	if (right)
		problem(line, "'%.64s' is no word for '%s': it takes %s", text, opt->name, right);
	else if (have_selector(s, w))
		problem(line, "%s '%.64s' is given twice", opt->name, text);
	else if (!*w->terms.monitor && (w->terms.monitor_type || *w->terms.monitor_netns))
		problem(line, "%s '%.64s': monitor-type and monitor-netns go with monitor", opt->name, text);
	else if (s->nselectors == MIR_SELECTORS_LIMIT - 1)
		problem(line, "more than %d selectors", MIR_SELECTORS_LIMIT - 1);
	else
		s->selectors[s->nselectors++] = *w;
	reading->section++;
	reading->given = 0;
	memset(w, 0, sizeof(*w));
	return 0;
}

/* A text under way to libconfuse: comments are blanked out in place. */
struct scan {
	char *at;
	int line;
	int depth;	/* of braces */
	int opened;	/* line of the outermost one */
};

static bool is_comment(const char *p)
{
	return *p == '#' || (p[0] == '/' && (p[1] == '/' || p[1] == '*'));
}

/* Blanks out a comment. Its line feeds stay, so that libconfuse counts lines as an editor does (its own count is wrong
 * behind comments). */
static void scan_comment(struct scan *scan)
{
	const bool block = scan->at[0] == '/' && scan->at[1] == '*';
	const int line = scan->line;
	const char *end = block ? strstr(scan->at + 2, "*/") : strchr(scan->at, '\n');

	if (!end && block)
		problem(line, "this comment has no end");
	if (end && block)
		end += 2;
	if (!end)
		end = scan->at + strlen(scan->at);
	for (; scan->at < end; scan->at++) {
		if (*scan->at == '\n')
			scan->line++;
		else
			*scan->at = ' ';
	}
}

static void scan_string(struct scan *scan)
{
	const char quote = *scan->at++;

	while (*scan->at && *scan->at != quote && *scan->at != '\n') {
		if (scan->at[0] == '$' && scan->at[1] == '{')
			problem(scan->line, "'${' has no place here: nothing is taken from the environment");
		if (*scan->at == '\\' && scan->at[1] && scan->at[1] != '\n')
			scan->at++;
		scan->at++;
	}
	if (*scan->at == quote)
		scan->at++;
	else
		problem(scan->line, "this string does not end on its line");
}

/* The key in front of an equals sign (or +=): twice the same is refused, libconfuse would take the last one. */
static void scan_key(const struct scan *scan, const char *text)
{
	const char *end = scan->at;

	while (end > text && strchr(" \t\r\n+", end[-1]))
		end--;
	for (enum key key = 0; key < KEY_MAX; key++) {
		const size_t len = strlen(key_names[key]);

		if ((size_t)(end - text) < len || memcmp(end - len, key_names[key], len) != 0 ||
		    (end - len > text && !strchr(" \t\r\n}\"'", end[-(ssize_t)len - 1])))
			continue;
		if (reading->line_of[key])
			problem(scan->line, "'%s' is given twice, first in line %d", key_names[key],
				reading->line_of[key]);
		else
			reading->line_of[key] = scan->line;
	}
}

/* A brace at the top that does not follow an equals sign begins a section. */
static void scan_brace(const struct scan *scan, const char *text)
{
	const char *end = scan->at;

	while (end > text && strchr(" \t\r\n", end[-1]))
		end--;
	if (end > text && end[-1] == '=')
		return;
	if (reading->sections < SECTIONS_MAX)
		reading->section_line[reading->sections] = scan->line;
	reading->sections++;
}

/* Finds what libconfuse would read in a way that no one expects, or not complain about. */
static void scan_text(char *text)
{
	struct scan scan = { .at = text, .line = 1 };

	while (*scan.at) {
		const unsigned char c = (unsigned char)*scan.at;

		if (is_comment(scan.at)) {
			scan_comment(&scan);
			continue;
		}
		if (c == '"' || c == '\'') {
			scan_string(&scan);
			continue;
		}
		if ((c < 0x20 && !strchr("\t\n\r", c)) || c == 0x7f)
			problem(scan.line, "byte 0x%02x has no place in a configuration file", c);
		else if (c == '$' && scan.at[1] == '{')
			problem(scan.line, "'${' has no place here: nothing is taken from the environment");
		else if (c == '=' && scan.depth == 0)
			scan_key(&scan, text);
		else if (c == '{' && scan.depth == 0)
			scan_brace(&scan, text);
		if (c == '{' && scan.depth == 0)
			scan.opened = scan.line;
		scan.depth += (c == '{') - (c == '}');
		scan.line += c == '\n';
		scan.at++;
	}
	if (scan.depth > 0)
		problem(scan.opened, "this brace is not closed");
}

static int parse_text(const char *text)
{
	cfg_opt_t section[ARRAY_SIZE(section_keys) + 1] = {};
	cfg_opt_t options[] = {
		CFG_STR("monitor", NULL, CFGF_NODEFAULT),
		CFG_STR("monitor-type", NULL, CFGF_NODEFAULT),
		CFG_STR("monitor-netns", NULL, CFGF_NODEFAULT),
		CFG_STR("identity", NULL, CFGF_NODEFAULT),
		CFG_STR("snaplen", NULL, CFGF_NODEFAULT),
		CFG_STR("linger", NULL, CFGF_NODEFAULT),
		CFG_STR("filter", NULL, CFGF_NODEFAULT),
		CFG_STR("direction", NULL, CFGF_NODEFAULT),
		CFG_STR("sample", NULL, CFGF_NODEFAULT),
		CFG_STR("rate", NULL, CFGF_NODEFAULT),
		CFG_STR("first", NULL, CFGF_NODEFAULT),
		CFG_STR("for", NULL, CFGF_NODEFAULT),
		CFG_STR("count", NULL, CFGF_NODEFAULT),
		CFG_STR_LIST("sources", NULL, CFGF_NODEFAULT),
		CFG_SEC("name", section, CFGF_MULTI | CFGF_TITLE),
		CFG_SEC("exe", section, CFGF_MULTI | CFGF_TITLE),
		CFG_SEC("user", section, CFGF_MULTI | CFGF_TITLE),
		CFG_SEC("cgroup", section, CFGF_MULTI | CFGF_TITLE),
		CFG_SEC("unit", section, CFGF_MULTI | CFGF_TITLE),
		CFG_SEC("container", section, CFGF_MULTI | CFGF_TITLE),
		CFG_END(),
	};
	char path[32];
	cfg_t *cfg;
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(section_keys); i++)
		section[i] = (cfg_opt_t)CFG_STR(section_keys[i].name, NULL, CFGF_NODEFAULT);
	section[ARRAY_SIZE(section_keys)] = (cfg_opt_t)CFG_END();
	cfg = cfg_init(options, CFGF_NONE);
	if (!cfg)
		return mctl_fail(MCTL_FAILED, "out of memory");
	cfg_set_error_function(cfg, on_error);
	for (int key = 0; key < KEY_MAX; key++)
		cfg_set_validate_func(cfg, key_names[key], on_value);
	for (__u32 kind = 1; kind < MIR_SELECTOR_MAX; kind++) {
		cfg_set_validate_func(cfg, mctl_selector_kinds[kind], on_section);
		for (size_t i = 0; i < ARRAY_SIZE(section_keys); i++) {
			snprintf(path, sizeof(path), "%s|%s", mctl_selector_kinds[kind], section_keys[i].name);
			cfg_set_validate_func(cfg, path, on_section_value);
		}
	}
	r = cfg_parse_buf(cfg, text);
	if (r != CFG_SUCCESS && !reading->problems)
		problem(cfg->line, "this cannot be read");
	cfg_free(cfg);
	return MCTL_OK;
}

int mctl_settings_parse(struct mctl_settings *s, const char *text, const char *name)
{
	_cleanup_free_ struct reading *r = calloc(1, sizeof(*r));
	_cleanup_free_ char *copy = strdup(text);
	const char *dev;
	int status = MCTL_OK;

	if (!r || !copy)
		return mctl_fail(MCTL_FAILED, "out of memory");
	r->name = name;
	r->s = *s;
	r->s.nsources = 0;
	r->s.nselectors = 0;
	reading = r;
	scan_text(copy);
	/* A text without anything but white space is right, and more than libconfuse's fmemopen() takes everywhere. */
	if (!r->problems && copy[strspn(copy, " \t\r\n")])
		status = parse_text(copy);
	dev = looping_source(&r->s);
	if (status == MCTL_OK && !r->problems && dev)
		problem(r->line_of[KEY_SOURCES] ? r->line_of[KEY_SOURCES] : 1,
			"'%s' is a monitor: it cannot be a source too", dev);
	if (status == MCTL_OK && r->problems)
		status = MCTL_USAGE;
	if (status == MCTL_OK) {
		if (!r->line_of[KEY_SOURCES]) {
			r->s.nsources = s->nsources;
			memcpy(r->s.sources, s->sources, sizeof(s->sources));
		}
		*s = r->s;
	}
	reading = NULL;
	return status;
}

static int count_lines(const char *text)
{
	int lines = 1;

	for (; *text; text++)
		lines += *text == '\n';
	return lines;
}

/* Reads a whole file of bounded size. */
static int read_text(FILE *f, const char *path, char **ret_text)
{
	_cleanup_free_ char *text = malloc(FILE_MAX + 2);
	size_t len;

	if (!text)
		return mctl_fail(MCTL_FAILED, "out of memory");
	len = fread(text, 1, FILE_MAX + 1, f);
	if (ferror(f))
		return mctl_fail(MCTL_FAILED, "cannot read configuration file %s: %s", path, strerror(errno));
	if (len > FILE_MAX)
		return mctl_fail(MCTL_USAGE, "%s:1: a configuration file has at most 1 MiB", path);
	text[len] = '\0';
	if (strlen(text) != len)
		return mctl_fail(MCTL_USAGE, "%s:%d: a zero byte has no place in a configuration file", path,
				 count_lines(text));
	*ret_text = TAKE_PTR(text);
	return MCTL_OK;
}

int mctl_settings_read(struct mctl_settings *s, const char *path)
{
	const char *name = path ? path : MCTL_DEFAULT_CONFIG;
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_free_ char *text = NULL;
	int r;

	f = fopen(name, "re");
	if (!f) {
		if (errno == ENOENT && !path)
			return MCTL_OK;
		if (errno == ENOENT || errno == ENOTDIR)
			return mctl_fail(MCTL_NOT_FOUND, "there is no configuration file %s", name);
		return mctl_fail(errno == EACCES || errno == EPERM ? MCTL_NOT_PERMITTED : MCTL_FAILED,
				 "cannot open configuration file %s: %s", name, strerror(errno));
	}
	r = read_text(f, name, &text);
	return r == MCTL_OK && text ? mctl_settings_parse(s, text, name) : r;
}

int mctl_settings_override(struct mctl_settings *s, const struct mctl_args *args)
{
	struct mir_policy policy;
	const char *dev;

	mctl_policy_of_args(args, &policy);
	mctl_policy_fill(&policy, &s->terms.policy);
	s->terms.policy = policy;
	if (args->filter)
		snprintf(s->terms.filter, sizeof(s->terms.filter), "%s", args->filter);
	if (args->given & MCTL_OPT(MCTL_OPT_MONITOR))
		snprintf(s->terms.monitor, sizeof(s->terms.monitor), "%s", args->monitor);
	if (args->given & MCTL_OPT(MCTL_OPT_MONITOR_TYPE))
		s->terms.monitor_type = args->monitor_type;
	if (args->given & MCTL_OPT(MCTL_OPT_MONITOR_NETNS))
		snprintf(s->terms.monitor_netns, sizeof(s->terms.monitor_netns), "%s", args->monitor_netns);
	if (args->given & MCTL_OPT(MCTL_OPT_IDENTITY))
		s->identity = args->identity;
	if (args->given & MCTL_OPT(MCTL_OPT_SNAPLEN))
		s->snaplen = args->snaplen;
	if (args->given & MCTL_OPT(MCTL_OPT_LINGER))
		s->linger_s = args->linger_s;
	if (args->nwords > 0)
		s->nsources = 0;
	for (int i = 0; i < args->nwords; i++)
		if (!add_source(s, args->words[i]))
			return mctl_fail(MCTL_USAGE, "'up' takes at most %d devices", MIR_SOURCES_LIMIT);
	dev = looping_source(s);
	if (dev)
		return mctl_fail(MCTL_USAGE, "'%s' is a monitor: it cannot be a source too", dev);
	return MCTL_OK;
}
