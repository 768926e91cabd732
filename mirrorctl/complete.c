/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The hidden verb `__complete KIND [PREFIX]`: words that only a running system knows, one per line, with a description
 * behind a tab. Errors are silent: a shell that completes has nowhere to show them.
 */
#include <dirent.h>
#include <fcntl.h>
#include <net/if.h>
#include <string.h>
#include <sys/wait.h>

#include "json.h"
#include "mctl.h"
#include "netns.h"
#include "opts.h"
#include "tap.h"

#define LIST_MAX (4 * 1024 * 1024)	/* bytes of `list -j` that are read: some 20,000 targets */

static void print_word(const char *word, const char *prefix, const char *description)
{
	if (strncmp(word, prefix, strlen(prefix)) != 0)
		return;
	fputs(word, stdout);
	putchar('\t');
	/* A command name may hold anything; the shell must get one line per word. */
	for (; *description; description++)
		putchar((unsigned char)*description < 0x20 || *description == 0x7f ? '?' : *description);
	putchar('\n');
}

static void complete_devices(const char *prefix)
{
	struct if_nameindex *all = if_nameindex();

	for (struct if_nameindex *dev = all; dev && dev->if_index; dev++) {
		char text[32];

		snprintf(text, sizeof(text), "ifindex %u", dev->if_index);
		print_word(dev->if_name, prefix, text);
	}
	if (all)
		if_freenameindex(all);
}

static void complete_pids(const char *prefix)
{
	DIR *proc = opendir("/proc");
	const struct dirent *entry;

	while (proc && (entry = readdir(proc))) {
		_cleanup_fclose_ FILE *f = NULL;
		char path[32], comm[64] = "";
		uint32_t pid;

		if (mctl_parse_u32(entry->d_name, 1, INT32_MAX, &pid))
			continue;
		snprintf(path, sizeof(path), "/proc/%u/comm", pid);
		f = fopen(path, "re");
		if (!f || !fgets(comm, sizeof(comm), f))
			continue;	/* gone meanwhile */
		comm[strcspn(comm, "\n")] = '\0';
		print_word(entry->d_name, prefix, comm);
	}
	if (proc)
		closedir(proc);
}

/* Runs `mirrorctl -q -j VERB` and returns what it said, or NULL. */
static char *read_list(const char *verb)
{
	_cleanup_free_ char *text = malloc(LIST_MAX + 1);
	_cleanup_close_ int reader = -1, writer = -1;
	size_t len = 0;
	ssize_t n;
	int ends[2], status;
	pid_t child;

	if (!text || pipe2(ends, O_CLOEXEC) < 0)
		return NULL;
	reader = ends[0];
	writer = ends[1];
	child = fork();
	if (child < 0)
		return NULL;
	if (child == 0) {
		dup2(writer, STDOUT_FILENO);
		execl("/proc/self/exe", "mirrorctl", "-q", "-j", "--pin-root", mctl.pin_root, verb, NULL);
		_exit(127);
	}
	close(TAKE_FD(writer));
	while (len < LIST_MAX && (n = read(reader, text + len, LIST_MAX - len)) > 0)
		len += (size_t)n;
	close(TAKE_FD(reader));
	if (waitpid(child, &status, 0) < 0 || status != 0)
		return NULL;
	text[len] = '\0';
	return TAKE_PTR(text);
}

/* Offers `id` of each object of `array` that the verb prints, with `text` beside it. */
static void complete_listed(const char *verb, const char *array, const char *id, const char *text, const char *prefix)
{
	_cleanup_json_ struct json_object *list = NULL;
	_cleanup_free_ char *said = read_list(verb);
	struct json_object *objects, *word, *beside;

	if (said)
		list = json_tokener_parse(said);
	if (!list || !json_object_object_get_ex(list, array, &objects) || !json_object_is_type(objects, json_type_array))
		return;
	for (size_t i = 0; i < json_object_array_length(objects); i++) {
		struct json_object *one = json_object_array_get_idx(objects, i);

		if (json_object_object_get_ex(one, id, &word) && json_object_object_get_ex(one, text, &beside))
			print_word(json_object_get_string(word), prefix, json_object_get_string(beside));
	}
}

/* What comes behind `tap`: the shell does not say which word it is at. */
static void complete_tap(const char *prefix)
{
	char names[MCTL_TAPS_MAX][MIR_TAP_NAME_LEN];
	struct mctl_instance inst;
	size_t n;

	print_word("add", prefix, "make a tap");
	print_word("del", prefix, "remove a tap");
	print_word("list", prefix, "show the taps");
	n = mctl_instance_init(&inst) ? 0 : mctl_taps_list(&inst, names);
	for (size_t i = 0; i < n; i++)
		print_word(names[i], prefix, "tap");
	complete_devices(prefix);
}

int mctl_complete(int argc, char **argv)
{
	const char *kind = argc > 0 ? argv[0] : "", *prefix = argc > 1 ? argv[1] : "";

	/* What cannot be entered cannot be listed, and is no error here. */
	if (mctl.netns && mctl_netns_enter(mctl.netns) < 0)
		return MCTL_OK;
	if (strcmp(kind, "devices") == 0)
		complete_devices(prefix);
	else if (strcmp(kind, "pids") == 0)
		complete_pids(prefix);
	else if (strcmp(kind, "targets") == 0)
		complete_listed("list", "targets", "pid", "comm", prefix);
	else if (strcmp(kind, "selectors") == 0)
		complete_listed("selectors", "selectors", "id", "text", prefix);
	else if (strcmp(kind, "tap") == 0)
		complete_tap(prefix);
	else
		return mctl_fail(MCTL_USAGE, "'__complete' takes devices, pids, targets, selectors or tap");
	return MCTL_OK;
}
