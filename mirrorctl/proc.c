/* SPDX-License-Identifier: GPL-2.0-only */
/* A process as the kernel knows it: see proc.h. */
#include "proc.h"

#include <ctype.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>

#include <linux/bpf.h>

#include <bpf/bpf.h>

#include "mctl.h"

#define PF_KTHREAD 0x00200000u	/* include/linux/sched.h; seventh field behind the name in /proc/PID/stat */

void mctl_process_close(struct mctl_process *p)
{
	mctl_closep(&p->pidfd);
	p->pidfd = -1;
}

static int iter_open(int prog, pid_t pid, int map_fd)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts);
	union bpf_iter_link_info info = {};
	_cleanup_close_ int link = -1;
	int fd;

	if (map_fd >= 0)
		info.map.map_fd = (__u32)map_fd;
	else
		info.task.pid = (__u32)pid;	/* before Linux 6.1 ignored: the iterator visits everybody */
	opts.iter_info = &info;
	opts.iter_info_len = sizeof(info);
	link = bpf_link_create(prog, 0, BPF_TRACE_ITER, &opts);
	if (link < 0)
		return -errno;
	fd = bpf_iter_create(link);
	return fd < 0 ? -errno : fd;
}

int mctl_iter_read(const struct mctl_instance *inst, const char *prog, pid_t pid, int map_fd, void **ret_bytes,
		   size_t *ret_len)
{
	_cleanup_close_ int fd = -1, iter = -1;
	_cleanup_free_ char *bytes = NULL;
	size_t len = 0, room = 0;
	ssize_t n;

	fd = mctl_pin_open(inst->dir, prog);
	if (fd < 0)
		return fd;
	iter = iter_open(fd, pid, map_fd);
	if (iter < 0)
		return iter;
	do {
		if (room - len < 4096) {
			char *grown = realloc(bytes, room += 65536);

			if (!grown)
				return -ENOMEM;
			bytes = grown;
		}
		n = read(iter, bytes + len, room - len);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (n > 0)
			len += (size_t)n;
	} while (n);
	*ret_bytes = TAKE_PTR(bytes);
	*ret_len = len;
	return 0;
}

int mctl_processes_read(const struct mctl_instance *inst, struct mir_task_info **ret_infos, size_t *ret_n)
{
	void *bytes;
	size_t len;
	int r;

	r = mctl_iter_read(inst, "mir_task", 0, -1, &bytes, &len);
	if (r < 0)
		return r;
	*ret_infos = bytes;
	*ret_n = len / sizeof(struct mir_task_info);
	return 0;
}

bool mctl_process_exited(const struct mctl_process *p)
{
	struct pollfd pfd = { .fd = p->pidfd, .events = POLLIN };

	return poll(&pfd, 1, 0) == 1;
}

/* Reads one number behind "KEY:" in /proc/PID/status. */
static int status_field(pid_t pid, const char *key, long *ret)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[64], line[256];
	size_t len = strlen(key);

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "re");
	if (!f)
		return errno == ENOENT ? -ESRCH : -errno;
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, key, len) || line[len] != ':')
			continue;
		*ret = strtol(line + len + 1, NULL, 10);
		return 0;
	}
	return -ESRCH;
}

void mctl_cgroup_name(const char *path, char ret_name[MIR_CGROUP_LEN])
{
	const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	size_t len = strcspn(name, "\n"), digits = 0, kept = len;

	if (len > 6 && !strncmp(name + len - 6, ".scope", 6))
		kept = len - 6;
	while (digits < kept && isxdigit((unsigned char)name[kept - digits - 1]))
		digits++;
	if (digits == 64)	/* docker-<id>.scope, <id> */
		len = kept - 64 + 12;
	memset(ret_name, 0, MIR_CGROUP_LEN);
	snprintf(ret_name, MIR_CGROUP_LEN, "%.*s", (int)len, name);
}

void mctl_process_cgroup(pid_t pid, char ret_name[MIR_CGROUP_LEN])
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[64], line[4096];

	memset(ret_name, 0, MIR_CGROUP_LEN);
	snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
	f = fopen(path, "re");
	while (f && !*ret_name && fgets(line, sizeof(line), f))
		if (!strncmp(line, "0::", 3) || strstr(line, ":name=systemd:"))
			mctl_cgroup_name(line, ret_name);
}

static bool is_kernel_thread(pid_t pid)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[64], line[512], *at;
	unsigned int flags = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (!f || !fgets(line, sizeof(line), f))
		return false;
	at = strrchr(line, ')');	/* the name may hold anything, also a bracket */
	return at && sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %u", &flags) == 1 && (flags & PF_KTHREAD);
}

/* Our number for the process may differ from the kernel's own when we run in a PID namespace; then the iterator, which
 * was given our number, answers with one process only. */
static int find_info(const struct mctl_instance *inst, pid_t pid, struct mir_task_info *ret_info)
{
	_cleanup_free_ struct mir_task_info *infos = NULL;
	void *bytes = NULL;
	size_t len = 0, i;
	int r;

	r = mctl_iter_read(inst, "mir_task", pid, -1, &bytes, &len);
	if (r < 0)
		return r;
	infos = bytes;
	len /= sizeof(*infos);
	for (i = 0; i < len; i++) {
		if (len > 1 && infos[i].tgid != (__u32)pid)
			continue;
		*ret_info = infos[i];
		return 0;
	}
	return -ESRCH;
}

int mctl_process_open(const struct mctl_instance *inst, pid_t pid, struct mctl_process *ret_process)
{
	struct mctl_process p = { .given = pid };
	_cleanup_close_ int pidfd = -1;
	long tgid = 0;
	int r;

	r = status_field(pid, "Tgid", &tgid);
	if (r < 0)
		return mctl_why(r, r == -ESRCH ? "no such process" : "%s", strerror(-r));
	p.pid = (pid_t)tgid;
	if (is_kernel_thread(p.pid))
		return mctl_why(-ESRCH, "it is a kernel thread, not a process");
	pidfd = (int)syscall(SYS_pidfd_open, p.pid, 0);
	if (pidfd < 0)
		return mctl_why(-errno, errno == ESRCH ? "no such process" : "%s", strerror(errno));
	p.pidfd = pidfd;
	if (mctl_process_exited(&p))
		return mctl_why(-ESRCH, "it has already exited");
	r = find_info(inst, p.pid, &p.info);
	if (r < 0)
		return mctl_why(r, r == -ESRCH ? "no such process" : "cannot ask the kernel about it: %s", strerror(-r));
	p.pidfd = TAKE_FD(pidfd);
	*ret_process = p;
	return 0;
}
