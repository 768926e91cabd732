/* SPDX-License-Identifier: GPL-2.0-only */
/* What this kernel and host offer: see host.h. */
#include "host.h"

#include <fcntl.h>
#include <limits.h>
#include <mntent.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>

#include <linux/magic.h>
#include <linux/membarrier.h>
#include <linux/mount.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>

#include "attach.h"
#include "mctl.h"

#define BPFFS "/sys/fs/bpf"
#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

bool mctl_host_disabled(const char *ability)
{
	const char *list = getenv("MIRRORCTL_DISABLE"), *at = list;
	size_t len = strlen(ability);

	while (at && (at = strstr(at, ability))) {
		if ((at == list || at[-1] == ',') && (at[len] == '\0' || at[len] == ','))
			return true;
		at += len;
	}
	return false;
}

bool mctl_host_is_bpffs(const char *path)
{
	char parent[PATH_MAX], *slash;
	struct statfs fs;

	if (!statfs(path, &fs))
		return fs.f_type == BPF_FS_MAGIC;
	if (errno != ENOENT || (size_t)snprintf(parent, sizeof(parent), "%s", path) >= sizeof(parent))
		return false;
	slash = strrchr(parent, '/');
	if (!slash || slash == parent)
		return false;
	*slash = '\0';
	return !statfs(parent, &fs) && fs.f_type == BPF_FS_MAGIC;
}

int mctl_host_pin_root(const char *pin_root)
{
	struct stat st;

	if (!mctl_host_is_bpffs(pin_root) && !strncmp(pin_root, BPFFS "/", sizeof(BPFFS)) && !access(BPFFS, F_OK))
		if (mount("bpf", BPFFS, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RELATIME, "mode=0700"))
			return mctl_why(-errno, "cannot mount a BPF file system on " BPFFS ": %s", strerror(errno));
	if (!mctl_host_is_bpffs(pin_root))
		return mctl_why(-ENOTSUP, "%s is not on a BPF file system; mount one ('mount -t bpf bpf " BPFFS
				"') or choose another --pin-root", pin_root);
	/* Another namespace's mirror may go down, and take the empty directory with it, between any two steps. */
	while (lstat(pin_root, &st)) {
		if (errno != ENOENT)
			return mctl_why(-errno, "%s: %s", pin_root, strerror(errno));
		if (mkdir(pin_root, 0700) && errno != EEXIST)
			return mctl_why(-errno, "cannot create %s: %s", pin_root, strerror(errno));
	}
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 0077))
		return mctl_why(-EPERM, "%s is not a directory that only user %u may use (mode 0700); remove it or "
				"choose another --pin-root", pin_root, geteuid());
	return 0;
}

/* A detached mount serves as well as a visible one: the programs are attached to the hierarchy, not to the path. Only where nobody
 * has mounted it: a mount resets the options of the hierarchy (apply_cgroup_root_flags()). */
static int cgroup_root_detached(int *ret_fd)
{
	_cleanup_close_ int fs = -1;
	int fd;

	fs = (int)syscall(SYS_fsopen, "cgroup2", FSOPEN_CLOEXEC);
	if (fs < 0 || syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	fd = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

/* The root alone has no type (Documentation/admin-guide/cgroup-v2.rst). */
bool mctl_host_cgroup_is_part(int root)
{
	return !faccessat(root, "cgroup.type", F_OK, 0);
}

static int open_cgroup(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct statfs fs;

	if (fd < 0 || fstatfs(fd, &fs) || fs.f_type != CGROUP2_SUPER_MAGIC)	/* something else was mounted over it */
		return -1;
	return TAKE_FD(fd);
}

/* The hierarchy in the mount table of a process, by a path that leads there from here: its root, else a part; -1: none. */
static int cgroup_root_mounted(const char *table, const char *root)
{
	_cleanup_(mctl_fclosep) FILE *mounts = setmntent(table, "re");
	_cleanup_close_ int part = -1;
	char path[PATH_MAX];
	struct mntent *m;
	int fd;

	while (mounts && (m = getmntent(mounts))) {
		if (strcmp(m->mnt_type, "cgroup2") ||
		    (size_t)snprintf(path, sizeof(path), "%s%s", root, m->mnt_dir) >= sizeof(path))
			continue;
		fd = open_cgroup(path);
		if (fd >= 0 && !mctl_host_cgroup_is_part(fd))
			return fd;
		if (fd >= 0 && part >= 0)
			close(fd);
		else if (fd >= 0)
			part = fd;
	}
	return TAKE_FD(part);
}

int mctl_host_cgroup_seen(int *ret_fd)
{
	int fd = cgroup_root_mounted("/proc/self/mounts", ""), r;

	if (fd < 0) {
		r = cgroup_root_detached(&fd);
		if (r < 0)
			return mctl_why(r, "no cgroup v2 hierarchy: %s", strerror(-r));
	}
	*ret_fd = fd;
	return 0;
}

int mctl_host_cgroup_root(int *ret_fd)
{
	struct stat init;
	int fd = -1;

	/* Another user's mounts are not to be trusted. */
	if (!stat("/proc/1", &init) && (!init.st_uid || init.st_uid == geteuid()))
		fd = cgroup_root_mounted("/proc/1/mounts", "/proc/1/root");
	if (fd < 0)
		return mctl_host_cgroup_seen(ret_fd);
	*ret_fd = fd;
	return 0;
}

int mctl_host_netns(uint32_t *ret_inum, uint64_t *ret_cookie)
{
	_cleanup_close_ int fd = -1;
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);
	struct stat st;

	if (stat("/proc/thread-self/ns/net", &st))
		return -errno;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len))
		cookie = 0;
	*ret_inum = (uint32_t)st.st_ino;
	*ret_cookie = cookie;
	return 0;
}

static const struct bpf_insn return_zero[] = {
	{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0 },
	{ .code = BPF_JMP | BPF_EXIT },
};

bool mctl_host_has_tcx(void)
{
	_cleanup_close_ int prog = -1, link = -1;
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = MCTL_F_AFTER);

	if (mctl_host_disabled("tcx"))
		return false;
	prog = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "mir_probe", "GPL", return_zero, ARRAY_SIZE(return_zero), NULL);
	if (prog < 0)
		return false;
	link = bpf_link_create(prog, 1, MCTL_TCX_INGRESS, &opts);	/* loopback is 1 in every namespace */
	return link >= 0;
}

/* The kernel's type information, read once. NULL: there is none. */
static const struct btf *kernel_btf(void)
{
	static struct btf *btf;

	if (!btf)
		btf = btf__load_vmlinux_btf();
	return btf;
}

static int try_tracing(enum bpf_attach_type type, const char *prefix, const char *name, unsigned int kind,
		       const struct bpf_insn *insns, size_t count)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = type);
	_cleanup_close_ int prog = -1, link = -1;
	const struct btf *btf = kernel_btf();
	char full[128];
	int id;

	if (!btf)
		return -ENOENT;
	snprintf(full, sizeof(full), "%s%s", prefix, name);
	id = btf__find_by_name_kind(btf, full, kind);
	if (id < 0)
		return -ENOENT;
	opts.attach_btf_id = (unsigned int)id;
	prog = bpf_prog_load(BPF_PROG_TYPE_TRACING, "mir_probe", "GPL", insns, count, &opts);
	if (prog < 0)
		return -errno;
	/* Some kernels load it and have no way to attach it (arm64 without direct calls). */
	if (type == BPF_TRACE_FENTRY)
		link = bpf_raw_tracepoint_open(NULL, prog);
	return type == BPF_TRACE_FENTRY && link < 0 ? -errno : 0;
}

int mctl_host_try_fentry(const char *function)
{
	if (mctl_host_disabled("fentry"))
		return -EOPNOTSUPP;
	return try_tracing(BPF_TRACE_FENTRY, "", function, BTF_KIND_FUNC, return_zero, ARRAY_SIZE(return_zero));
}

int mctl_host_try_tracepoint(const char *name)
{
	if (mctl_host_disabled("tp"))
		return -EOPNOTSUPP;
	return try_tracing(BPF_TRACE_RAW_TP, "btf_trace_", name, BTF_KIND_TYPEDEF, return_zero, ARRAY_SIZE(return_zero));
}

int mctl_host_try_iterator(const char *name)
{
	if (mctl_host_disabled("count"))
		return -EOPNOTSUPP;
	return try_tracing(BPF_TRACE_ITER, "bpf_iter_", name, BTF_KIND_FUNC, return_zero, ARRAY_SIZE(return_zero));
}

bool mctl_host_reads_text(void)
{
	/* bpf_probe_read_kernel_str(stack, 8, NULL) */
	static const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_1, .src_reg = BPF_REG_10 },
		{ .code = BPF_ALU64 | BPF_ADD, .dst_reg = BPF_REG_1, .imm = -8 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_2, .imm = 8 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_3, .imm = 0 },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_probe_read_kernel_str },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	return !mctl_host_disabled("text") &&
	       !try_tracing(BPF_TRACE_RAW_TP, "btf_trace_", "task_rename", BTF_KIND_TYPEDEF, insns, ARRAY_SIZE(insns));
}

uint64_t mctl_host_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

void mctl_host_grace_period(void)
{
	syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
}

bool mctl_host_has_btf(void)
{
	return !access("/sys/kernel/btf/vmlinux", R_OK);
}

bool mctl_host_has_xdp_load(void)
{
	const struct btf *btf = kernel_btf();

	return !mctl_host_disabled("xdp") && (!btf || btf__find_by_name_kind(btf, "bpf_xdp_load_bytes", BTF_KIND_FUNC) > 0);
}

bool mctl_host_has_timewait_sender(void)
{
	const struct btf *btf = kernel_btf();
	const struct btf_type *t;
	int id = btf ? btf__find_by_name_kind(btf, "ip_send_unicast_reply", BTF_KIND_FUNC) : -1;

	if (id < 0)
		return false;
	t = btf__type_by_id(btf, btf__type_by_id(btf, (__u32)id)->type);
	for (__u32 i = 0; i < btf_vlen(t); i++)
		if (!strcmp(btf__name_by_offset(btf, btf_params(t)[i].name_off), "orig_sk"))
			return true;
	return false;
}

bool mctl_host_has_map_cache(void)
{
	const struct btf *btf = kernel_btf();

	return !mctl_host_disabled("wake") && btf && btf__find_by_name_kind(btf, "bpf_mem_alloc", BTF_KIND_STRUCT) > 0;
}

bool mctl_host_has_mptcp(void)
{
	const struct btf *btf = kernel_btf();

	return btf && btf__find_by_name_kind(btf, "bpf_skc_to_mptcp_sock", BTF_KIND_FUNC) > 0 &&
	       btf__find_by_name_kind(btf, "mptcp_sock", BTF_KIND_STRUCT) > 0;
}
