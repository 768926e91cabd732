/* SPDX-License-Identifier: GPL-2.0-only */
/* What a selector's text means to programs: see traits.h. */
#include "traits.h"

#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>

#include <bpf/bpf.h>

#include "args.h"
#include "cgroup.h"
#include "mctl.h"
#include "proc.h"

#define KIND(trait) (1u << (trait))

__u32 mctl_trait_kinds(__u32 kind, const char *text)
{
	switch (kind) {
	case MIR_SELECTOR_NAME:
		return strlen(text) < MIR_COMM_LEN ? KIND(MIR_TRAIT_NAME) : KIND(MIR_LABEL_NAME);
	case MIR_SELECTOR_EXE:
		return KIND(MIR_TRAIT_FILE) | KIND(MIR_LABEL_FILE);
	case MIR_SELECTOR_USER:
		return KIND(MIR_TRAIT_USER);
	case MIR_SELECTOR_CGROUP:
		return KIND(MIR_TRAIT_CGROUP) | KIND(MIR_LABEL_CGROUP);
	case MIR_SELECTOR_UNIT:
		return KIND(MIR_TRAIT_CGROUP) | KIND(MIR_LABEL_UNIT);
	case MIR_SELECTOR_CONTAINER:
		return KIND(MIR_TRAIT_CGROUP) | KIND(MIR_LABEL_CONTAINER);
	default:
		return 0;
	}
}

const char *mctl_selector_right(__u32 kind, const char *text)
{
	const size_t len = strlen(text);

	if (!len)
		return "at least one byte";
	if (len >= MIR_SELECTOR_TEXT_LEN)
		return "at most 255 bytes";
	if (kind == MIR_SELECTOR_NAME && (strchr(text, '/') || len >= MIR_LABEL_LEN - 1))
		return "the name of a command without its directory, of at most 246 bytes; add-exe takes a path";
	if (kind == MIR_SELECTOR_EXE && *text != '/')
		return "an absolute path";
	if (kind == MIR_SELECTOR_NAME || kind == MIR_SELECTOR_EXE || kind == MIR_SELECTOR_USER)
		return NULL;
	return mctl_cgroup_right(kind, text);
}

static int no_text(const char *what)
{
	return mctl_why(-EOPNOTSUPP, "this kernel lets programs read no texts (lockdown=confidentiality), %s", what);
}

static int find_name(const struct mctl_instance *inst, const char *name, struct mctl_traits *t)
{
	if (strlen(name) >= MIR_COMM_LEN && !inst->config.text)
		return no_text("so names of more than 15 bytes cannot be told");
	if (strlen(name) < MIR_COMM_LEN) {
		t->has_trait = true;
		t->trait.kind = MIR_TRAIT_NAME;
		memcpy(t->trait.name, name, strlen(name));
	} else {
		t->has_label = true;
		t->label.kind = MIR_LABEL_NAME;
		memcpy(t->label.text, name, strlen(name));
	}
	return 0;
}

static int find_user(const char *text, struct mctl_traits *t)
{
	const struct passwd *user = getpwnam(text);
	uint32_t uid;

	if (user)
		uid = user->pw_uid;
	else if (mctl_parse_u32(text, 0, UINT32_MAX - 1, &uid))
		return mctl_why(-ESRCH, "no such user; 'getent passwd' lists them");
	t->has_trait = true;
	t->trait.kind = MIR_TRAIT_USER;
	t->trait.number[0] = uid;
	return 0;
}

/* How programs would recognize the file behind a descriptor of ours: they say it themselves. What stat() tells is another
 * thing on overlayfs and btrfs. */
static int describe(const struct mctl_instance *inst, int fd, struct mir_file_info *ret_info)
{
	_cleanup_(mctl_process_close) struct mctl_process self = { .pidfd = -1 };
	_cleanup_free_ struct mir_file_info *infos = NULL;
	void *bytes = NULL;
	size_t len = 0;
	int r;

	r = mctl_process_open(inst, getpid(), &self);
	if (r < 0)
		return r;
	inst->live->tagging = self.info.tgid;
	r = mctl_iter_read(inst, "mir_file", getpid(), -1, &bytes, &len);
	infos = bytes;
	inst->live->tagging = 0;
	for (size_t i = 0; !r && i < len / sizeof(*infos); i++) {
		if (infos[i].fd != (__u32)fd)
			continue;
		*ret_info = infos[i];
		return 0;
	}
	return r < 0 ? r : -ENOENT;
}

/* A file that is not there yet: its place is told from the directory it will be in. */
static int find_future_file(const struct mctl_instance *inst, const char *path, struct mctl_traits *t)
{
	_cleanup_free_ char *copy = strdup(path), *dir = NULL;
	_cleanup_close_ int fd = -1;
	struct mir_file_info info;
	char *name;
	size_t len;
	int r;

	if (!inst->config.text)
		return no_text("so a file must be there to be told");
	if (!copy)
		return -ENOMEM;
	name = strrchr(copy, '/');
	*name++ = '\0';
	len = strlen(name) + 1;
	dir = realpath(*copy ? copy : "/", NULL);
	fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (fd < 0)
		return mctl_why(-ESRCH, "there is no directory '%s' it could come to", *copy ? copy : "/");
	r = describe(inst, fd, &info);
	if (r < 0)
		return r;
	if (len == 1 || !info.placed || info.label.text[MIR_LABEL_LEN - len])
		return mctl_why(-EINVAL, "its place cannot be told beforehand");
	t->has_label = true;
	t->label.kind = MIR_LABEL_FILE;
	t->label.dev = info.label.dev;
	memcpy(t->label.text, name, len);
	memcpy(t->label.text + len, info.label.text, MIR_LABEL_LEN - len);
	return 0;
}

static int find_exe(const struct mctl_instance *inst, const struct mctl_wanted *wanted, struct mctl_traits *t)
{
	_cleanup_free_ char *path = realpath(wanted->text, NULL);
	_cleanup_close_ int fd = -1;
	struct mir_file_info info;
	char begin[2] = "";
	struct stat st;
	int r;

	if (!path && (errno == ENOENT || errno == ENOTDIR))
		return wanted->wait ? find_future_file(inst, wanted->text, t)
				    : mctl_why(-ESRCH, "there is no such file; --wait arms it for when it comes");
	fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0 || fstat(fd, &st))
		return mctl_why(-errno, "%s", strerror(errno));
	if (!S_ISREG(st.st_mode))
		return mctl_why(-EINVAL, "it is no file");
	if (pread(fd, begin, 2, 0) == 2 && !memcmp(begin, "#!", 2))
		return mctl_why(-EINVAL, "it is a script: what runs is its interpreter; 'add-name %s' selects the script",
				strrchr(path, '/') + 1);
	r = describe(inst, fd, &info);
	if (r < 0)
		return mctl_why(r, "cannot ask the kernel about it: %s", strerror(-r));
	t->has_trait = true;
	t->trait = info.trait;
	t->has_label = info.placed;
	t->label = info.label;
	return 0;
}

int mctl_traits_find(const struct mctl_instance *inst, const struct mctl_wanted *wanted, struct mctl_traits *ret_traits)
{
	struct mctl_traits t = { .kinds = mctl_trait_kinds(wanted->kind, wanted->text) };
	int r;

	switch (wanted->kind) {
	case MIR_SELECTOR_NAME:
		r = find_name(inst, wanted->text, &t);
		break;
	case MIR_SELECTOR_EXE:
		r = find_exe(inst, wanted, &t);
		break;
	case MIR_SELECTOR_USER:
		r = find_user(wanted->text, &t);
		break;
	default:
		r = mctl_cgroup_label(wanted, &t.label);
		t.has_label = true;
		break;
	}
	if (!r)
		*ret_traits = t;
	return r;
}

/* Adds `mask` to what is there. Only mirrorctl writes these, under its lock. */
static int enter(int fd, const void *key, __u64 mask)
{
	__u64 have = 0;

	if (bpf_map_lookup_elem(fd, key, &have))
		have = 0;
	have |= mask;
	return bpf_map_update_elem(fd, key, &have, BPF_ANY) ? -errno : 0;
}

int mctl_traits_enter(const struct mctl_instance *inst, const struct mctl_wanted *wanted, const struct mctl_traits *traits,
		      __u64 mask)
{
	size_t found = 0;
	int r = 0;

	if (traits->has_trait)
		r = enter(inst->map[MCTL_MAP_TRAITS], &traits->trait, mask);
	if (!r && traits->has_label)
		r = enter(inst->map[MCTL_MAP_LABELS], &traits->label, mask);
	if (r < 0 || !(traits->kinds & KIND(MIR_TRAIT_CGROUP)))
		return r;
	r = mctl_cgroups_enter(inst, &traits->label, mask, &found);
	if (!r && !found && !wanted->wait)
		r = mctl_why(-ESRCH, wanted->kind == MIR_SELECTOR_CGROUP
				     ? "there is no such control group (v2); --wait arms it for when it comes"
				     : "it is not running; --wait arms it for when it starts");
	return r;
}

static int remove_from(int fd, void *key, void *next, size_t size, __u64 mask)
{
	__u64 have;

	/* The next key is fetched before the present one is deleted: a deleted key would start the walk over. */
	for (int end = bpf_map_get_next_key(fd, NULL, next); !end;) {
		memcpy(key, next, size);
		end = bpf_map_get_next_key(fd, key, next);
		if (bpf_map_lookup_elem(fd, key, &have) || !(have & mask))
			continue;
		have &= ~mask;
		if (have ? bpf_map_update_elem(fd, key, &have, BPF_ANY) : bpf_map_delete_elem(fd, key))
			if (errno != ENOENT)
				return -errno;
	}
	return 0;
}

int mctl_traits_remove(const struct mctl_instance *inst, __u64 mask)
{
	struct mir_trait trait, next_trait;
	struct mir_label label, next_label;
	int r;

	/* Labels first: groups that are made from then on are entered for what is above them alone, and then that goes. Twice:
	 * a group may be made below one while it is taken out. */
	r = remove_from(inst->map[MCTL_MAP_LABELS], &label, &next_label, sizeof(label), mask);
	for (int i = 0; !r && i < 2; i++)
		r = remove_from(inst->map[MCTL_MAP_TRAITS], &trait, &next_trait, sizeof(trait), mask);
	return r;
}
