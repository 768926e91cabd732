/* SPDX-License-Identifier: GPL-2.0-only */
/* Control groups as selectors name them: see cgroup.h. */
#include "cgroup.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include <bpf/bpf.h>

#include "container.h"
#include "host.h"
#include "mctl.h"

#define CONTAINER_ID 64		/* hexadecimal digits */

static bool ends_with(const char *text, size_t len, const char *end)
{
	const size_t n = strlen(end);

	return len >= n && !memcmp(text + len - n, end, n);
}

/* ---- names ---- */

int mctl_cgroup_path(const char *text, const char *root, char ret_path[MIR_LABEL_LEN])
{
	const size_t under = strlen(root);
	const char *at = text, *end;
	size_t len = 0;

	if (under > 1 && !strncmp(text, root, under) && (text[under] == '/' || !text[under]))
		at += under;
	memset(ret_path, 0, MIR_LABEL_LEN);
	for (; *at; at = end) {
		size_t n;

		at += strspn(at, "/");
		end = at + strcspn(at, "/");
		n = (size_t)(end - at);
		if (!n)
			break;
		if ((n == 1 && *at == '.') || (n == 2 && at[0] == '.' && at[1] == '.') || len + n + 3 > MIR_LABEL_LEN)
			return -EINVAL;
		ret_path[len] = '/';
		memcpy(ret_path + len + 1, at, n);
		len += n + 1;
	}
	if (!len)
		ret_path[0] = '/';
	return 0;
}

/* systemd puts '_' before names that could be taken for files of the kernel's own in a group's directory. */
static bool needs_escape(const char *name)
{
	static const char *const files[] = { "notify_on_release", "release_agent", "tasks" };
	static const char *const controllers[] = { "cpu", "cpuacct", "cpuset", "io", "blkio", "memory", "devices", "pids" };
	const char *dot = strrchr(name, '.');

	if (*name == '_' || *name == '.' || !strncmp(name, "cgroup.", 7))
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		if (!strcmp(name, files[i]))
			return true;
	for (size_t i = 0; dot && i < ARRAY_SIZE(controllers); i++)
		if (strlen(controllers[i]) == (size_t)(dot - name) && !strncmp(name, controllers[i], (size_t)(dot - name)))
			return true;
	return false;
}

static const char *const unit_suffixes[] = { ".service", ".scope", ".slice", ".socket", ".mount", ".swap" };

static bool has_unit_suffix(const char *unit)
{
	for (size_t i = 0; i < ARRAY_SIZE(unit_suffixes); i++)
		if (ends_with(unit, strlen(unit), unit_suffixes[i]))
			return true;
	return false;
}

void mctl_cgroup_of_unit(const char *unit, char ret_name[MIR_LABEL_LEN])
{
	char name[MIR_LABEL_LEN] = "";

	snprintf(name, sizeof(name), "%s%s", unit, has_unit_suffix(unit) ? "" : ".service");
	memset(ret_name, 0, MIR_LABEL_LEN);
	snprintf(ret_name, MIR_LABEL_LEN, "%s%.*s", needs_escape(name) ? "_" : "", MIR_LABEL_LEN - 2, name);
}

const char *mctl_cgroup_container(const char *name)
{
	size_t len = strlen(name);
	const char *id;

	if (ends_with(name, len, ".scope"))
		len -= 6;
	if (len < CONTAINER_ID)
		return NULL;
	id = name + len - CONTAINER_ID;
	for (int i = 0; i < CONTAINER_ID; i++)
		if (!isxdigit((unsigned char)id[i]) || isupper((unsigned char)id[i]))
			return NULL;
	if (id > name && (id[-1] != '-' || ends_with(name, (size_t)(id - name), "conmon-")))
		return NULL;
	return id;
}

const char *mctl_cgroup_right(__u32 kind, const char *text)
{
	const char *at = strchr(text, '@');
	char path[MIR_LABEL_LEN];

	if (kind == MIR_SELECTOR_CGROUP)
		return mctl_cgroup_path(text, "", path) ? "the path of a control group (v2), of at most 246 bytes" : NULL;
	if (kind == MIR_SELECTOR_UNIT) {
		if (strchr(text, '/') || strlen(text) > MIR_LABEL_LEN - 11)
			return "the name of a systemd unit, such as nginx.service";
		if (at && (at[1] == '.' || !at[1]))
			return "an instance of a template, such as getty@tty1.service; its slice, such as system-getty.slice, "
			       "has all of them";
		return NULL;
	}
	return strchr(text, '/') ? "the id or the name of a container" : NULL;
}

/* ---- the hierarchy ---- */

static int group_id(int dir, __u64 *ret_id)
{
	union {
		struct file_handle handle;
		char room[sizeof(struct file_handle) + sizeof(__u64)];
	} h = { .handle.handle_bytes = sizeof(__u64) };
	int mount;

	if (name_to_handle_at(dir, "", &h.handle, &mount, AT_EMPTY_PATH))
		return -errno;
	memcpy(ret_id, h.handle.f_handle, sizeof(*ret_id));
	return 0;
}

/* A group whose directory can be seen has been through the program that looks at new ones: what that wrote is kept. */
static int enter_one(const struct mctl_instance *inst, int dir, __u64 mask)
{
	struct mir_trait trait = { .kind = MIR_TRAIT_CGROUP };
	int fd = inst->map[MCTL_MAP_TRAITS], r;
	__u64 have = 0;

	r = group_id(dir, &trait.number[0]);
	if (r < 0)
		return r;
	if (bpf_map_lookup_elem(fd, &trait, &have))
		have = 0;
	have |= mask;
	if (!bpf_map_update_elem(fd, &trait, &have, BPF_ANY))
		return 0;
	return errno == E2BIG ? mctl_why(-E2BIG, "more than %d control groups lie below what is selected", MIR_TRAITS_LIMIT)
			      : -errno;
}

struct walk {
	const struct mctl_instance *inst;
	const struct mir_label *label;
	__u64 mask;
	size_t found;
};

/* Is it the group the label stands for? `path`: its path, `name`: the last part of it. */
static bool is_it(const struct mir_label *label, const char *path, const char *name)
{
	const char *id;

	if (label->kind == MIR_LABEL_CGROUP)
		return !strcmp(path, label->text);
	if (label->kind == MIR_LABEL_UNIT)
		return !strcmp(name, label->text);
	id = mctl_cgroup_container(name);
	return id && !memcmp(id, label->text, CONTAINER_ID);
}

/* May the group lie below this one? */
static bool leads_there(const struct mir_label *label, const char *path, const char *name)
{
	const size_t len = strlen(path);

	if (label->kind == MIR_LABEL_CGROUP)
		return len == 1 || (!strncmp(path, label->text, len) && label->text[len] == '/');
	if (label->kind == MIR_LABEL_UNIT)	/* units of the system's own manager lie in slices */
		return len == 1 || ends_with(name, strlen(name), ".slice");
	return true;
}

/* The group itself before what is below it: one that is made meanwhile finds it entered, or is seen here. */
static int walk_tree(struct walk *w, int dir, const char *path, bool within)
{
	const char *name = strrchr(path, '/') + 1;
	struct dirent *e;
	DIR *d;
	int r = 0;

	if (!within && is_it(w->label, path, name)) {
		within = true;
		w->found++;
	}
	if (within)
		r = enter_one(w->inst, dir, w->mask);
	if (r < 0 || (!within && !leads_there(w->label, path, name)))
		return r;
	d = fdopendir(dup(dir));
	if (!d)
		return -errno;
	while (!r && (e = readdir(d))) {
		_cleanup_close_ int sub = -1;
		char below[PATH_MAX];

		if (e->d_type != DT_DIR || e->d_name[0] == '.')
			continue;
		sub = openat(dir, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (sub < 0 || (size_t)snprintf(below, sizeof(below), "%s/%s", path[1] ? path : "", e->d_name) >= sizeof(below))
			continue;	/* removed meanwhile */
		r = walk_tree(w, sub, below, within);
	}
	closedir(d);
	return r;
}

int mctl_cgroups_enter(const struct mctl_instance *inst, const struct mir_label *label, __u64 mask, size_t *ret_found)
{
	struct walk w = { .inst = inst, .label = label, .mask = mask };
	_cleanup_close_ int root = -1;
	int r;

	r = mctl_host_cgroup_seen(&root);
	if (!r)
		r = walk_tree(&w, root, "/", false);
	if (!r)
		*ret_found = w.found;
	return r;
}

static int walk_containers(int dir, void (*each)(const char *id, void *data), void *data)
{
	DIR *d = fdopendir(dup(dir));
	struct dirent *e;

	if (!d)
		return -errno;
	while ((e = readdir(d))) {
		_cleanup_close_ int sub = -1;
		const char *id;

		if (e->d_type != DT_DIR || e->d_name[0] == '.')
			continue;
		id = mctl_cgroup_container(e->d_name);
		if (id)
			each(id, data);
		sub = openat(dir, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (sub >= 0)
			walk_containers(sub, each, data);
	}
	closedir(d);
	return 0;
}

int mctl_cgroup_containers(void (*each)(const char *id, void *data), void *data)
{
	_cleanup_close_ int root = -1;
	int r;

	r = mctl_host_cgroup_seen(&root);
	return r < 0 ? r : walk_containers(root, each, data);
}

int mctl_cgroup_label(const struct mctl_wanted *wanted, struct mir_label *ret_label)
{
	char link[64], mount[PATH_MAX] = "";
	_cleanup_close_ int root = -1;
	int r;

	memset(ret_label, 0, sizeof(*ret_label));
	if (wanted->kind == MIR_SELECTOR_UNIT) {
		ret_label->kind = MIR_LABEL_UNIT;
		mctl_cgroup_of_unit(wanted->text, ret_label->text);
		return 0;
	}
	if (wanted->kind == MIR_SELECTOR_CONTAINER) {
		ret_label->kind = MIR_LABEL_CONTAINER;
		return mctl_container_find(wanted->text, ret_label->text);
	}
	r = mctl_host_cgroup_seen(&root);
	if (r < 0)
		return r;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", root);
	if (readlink(link, mount, sizeof(mount) - 1) < 0)
		return -errno;
	ret_label->kind = MIR_LABEL_CGROUP;
	r = mctl_cgroup_path(wanted->text, mount, ret_label->text);
	return r < 0 ? mctl_why(r, "its path is longer than %d bytes", MIR_LABEL_LEN - 2) : 0;
}
