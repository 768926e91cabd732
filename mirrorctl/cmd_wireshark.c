/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * mirrorctl wireshark install: puts the plugin, the profile and the capture interface where the installed Wireshark looks,
 * which is a matter of its version and of the distribution: tshark is asked. The files are part of this binary.
 */
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "args.h"
#include "json.h"
#include "mctl.h"

#include "wireshark_files.h"

/* Names of `tshark -G folders`. Before 4.2 there is no personal extcap directory in it: extcap/ beside the preferences. */
enum folder {
	FOLDER_LUA,
	FOLDER_CONFIGURATION,
	FOLDER_EXTCAP,
	FOLDER_MAX,
};

static const char *const folder_names[2][FOLDER_MAX] = {
	{ "Global Lua Plugins", "Global configuration", "Global Extcap path" },
	{ "Personal Lua Plugins", "Personal configuration", "Personal Extcap path" },
};

struct folders {
	char path[FOLDER_MAX][PATH_MAX];
};

static const struct {
	enum folder folder;
	const char *name;		/* below the folder */
	const unsigned char *bytes;	/* NULL: a link to this binary */
	size_t len;
} files[] = {
	{ FOLDER_LUA, "mirror.lua", file_mirror_lua, sizeof(file_mirror_lua) },
	{ FOLDER_CONFIGURATION, "profiles/Mirror/preferences", file_preferences, sizeof(file_preferences) },
	{ FOLDER_CONFIGURATION, "profiles/Mirror/colorfilters", file_colorfilters, sizeof(file_colorfilters) },
	{ FOLDER_EXTCAP, "mirror", NULL, 0 },
};

/* Starts `tshark -G folders` and returns what it says as a stream; NULL: there is no tshark. */
static FILE *ask_tshark(pid_t *ret_pid)
{
	int ends[2], null;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC))
		return NULL;
	pid = fork();
	if (!pid) {
		null = open("/dev/null", O_WRONLY | O_CLOEXEC);
		dup2(ends[1], STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		execlp("tshark", "tshark", "-G", "folders", NULL);
		_exit(127);
	}
	close(ends[1]);
	*ret_pid = pid;
	if (pid < 0) {
		close(ends[0]);
		return NULL;
	}
	return fdopen(ends[0], "r");
}

static void take_folder(struct folders *f, const char *line, bool personal)
{
	const char *path = strchr(line, ':');
	size_t len;

	if (!path)
		return;
	len = (size_t)(path - line);
	path += 1 + strspn(path + 1, " \t");
	for (int i = 0; i < FOLDER_MAX; i++) {
		const char *name = folder_names[personal][i];

		if (strlen(name) == len && !strncmp(line, name, len))
			snprintf(f->path[i], PATH_MAX, "%.*s", (int)strcspn(path, "\n"), path);
	}
	if (!personal && !strncmp(line, "Extcap path:", 12))	/* before 4.2 */
		snprintf(f->path[FOLDER_EXTCAP], PATH_MAX, "%.*s", (int)strcspn(path, "\n"), path);
}

/* Where things go. MCTL_OK, or reports. */
static int find_folders(struct folders *f, bool personal)
{
	char line[PATH_MAX + 64];
	int status = 0;
	pid_t pid = -1;
	FILE *in;

	memset(f, 0, sizeof(*f));
	in = ask_tshark(&pid);
	while (in && fgets(line, sizeof(line), in))
		take_folder(f, line, personal);
	if (in)
		fclose(in);
	if (pid > 0)
		waitpid(pid, &status, 0);
	if (!*f->path[FOLDER_CONFIGURATION])
		return mctl_fail(MCTL_NOT_FOUND, "cannot ask tshark where its files are: %s; install it (Debian: apt-get "
				 "install tshark)", WIFEXITED(status) && WEXITSTATUS(status) == 127 ?
				 "there is no tshark" : "'tshark -G folders' does not say");
	if (!*f->path[FOLDER_LUA])
		return mctl_fail(MCTL_UNSUPPORTED, "this tshark was built without Lua, so it takes no plugin");
	if (personal && !*f->path[FOLDER_EXTCAP])
		snprintf(f->path[FOLDER_EXTCAP], PATH_MAX, "%.4000s/extcap", f->path[FOLDER_CONFIGURATION]);
	return MCTL_OK;
}

/* Makes the directories above `path`, as mkdir -p. */
static int make_parents(const char *path)
{
	char dir[PATH_MAX];

	snprintf(dir, sizeof(dir), "%s", path);
	for (char *at = strchr(dir + 1, '/'); at; at = strchr(at + 1, '/')) {
		*at = '\0';
		if (mkdir(dir, 0755) && errno != EEXIST)
			return -errno;
		*at = '/';
	}
	return 0;
}

/* Whole or not at all: written beside its place and renamed. */
static int write_file(const char *path, const unsigned char *bytes, size_t len)
{
	_cleanup_fclose_ FILE *out = NULL;
	char new[PATH_MAX + 8];
	int r;

	r = make_parents(path);
	if (r < 0)
		return r;
	snprintf(new, sizeof(new), "%s.new", path);
	out = fopen(new, "we");
	if (!out)
		return -errno;
	fwrite(bytes, 1, len, out);
	fchmod(fileno(out), 0644);
	if (fflush(out) || ferror(out) || rename(new, path)) {
		r = -errno;
		unlink(new);
	}
	return r;
}

/* The capture interface is this binary under another name. */
static int write_link(const char *path)
{
	char self[PATH_MAX] = "", new[PATH_MAX + 8];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	int r;

	if (len < 0)
		return -errno;
	r = make_parents(path);
	snprintf(new, sizeof(new), "%s.new", path);
	if (!r && unlink(new) && errno != ENOENT)
		r = -errno;
	if (!r && (symlink(self, new) || rename(new, path)))
		r = -errno;
	return r;
}

/* Removes a file and the directory of its own that it was in, if it is empty now. */
static int remove_file(const char *path)
{
	char dir[PATH_MAX];

	if (unlink(path) && errno != ENOENT)
		return -errno;
	snprintf(dir, sizeof(dir), "%s", path);
	*strrchr(dir, '/') = '\0';
	if (!strcmp(strrchr(dir, '/'), "/Mirror"))
		rmdir(dir);
	return 0;
}

int cmd_wireshark(const struct mctl_args *args)
{
	const bool personal = args->given & MCTL_OPT(MCTL_OPT_PERSONAL), install = !strcmp(args->words[0], "install");
	_cleanup_json_ struct json_object *o = json_object_new_object();
	struct json_object *list = json_object_new_array();
	struct folders folders;
	char path[PATH_MAX];
	int status, r;

	json_object_object_add(o, install ? "installed" : "removed", list);
	if (!install && strcmp(args->words[0], "remove") != 0)
		return mctl_fail(MCTL_USAGE, "'%s' is no word for 'wireshark': it takes install or remove", args->words[0]);
	status = find_folders(&folders, personal);
	if (status != MCTL_OK)
		return status;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		snprintf(path, sizeof(path), "%.4000s/%s", folders.path[files[i].folder], files[i].name);
		if (!install)
			r = remove_file(path);
		else
			r = files[i].bytes ? write_file(path, files[i].bytes, files[i].len) : write_link(path);
		if (r < 0)
			return mctl_fail(r == -EACCES || r == -EPERM ? MCTL_NOT_PERMITTED : MCTL_FAILED, "cannot %s %s: %s%s",
					 install ? "write" : "remove", path, strerror(-r),
					 r == -EACCES && !personal ? "; use sudo, or --user for yourself alone" : "");
		json_object_array_add(list, json_object_new_string(path));
		if (!mctl.json)
			printf("%s\n", path);
	}
	return mctl.json ? mctl_json_print(o) : MCTL_OK;
}
