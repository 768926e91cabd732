/* SPDX-License-Identifier: GPL-2.0-only */
/* Run-time statistics of an instance's programs: see cost.h. */
#include "cost.h"

#include <dirent.h>
#include <string.h>
#include <time.h>

#include <bpf/bpf.h>

#include "host.h"
#include "mctl.h"

/* A program that is watched, by a descriptor of its own: it may be detached meanwhile. */
struct watched {
	int fd;
	struct mctl_cost before;
};

static int cost_read(int fd, struct mctl_cost *ret)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return -errno;
	*ret = (struct mctl_cost){ .id = info.id, .runs = info.run_cnt, .ns = info.run_time_ns,
				  .left_out = info.recursion_misses };
	snprintf(ret->name, sizeof(ret->name), "%s", info.name);
	return 0;
}

/* What a descriptor of a pinned object stands for, as /proc names it: "bpf-prog", "bpf-link" (bpf_link_new_fd(); where a link is
 * made, bpf_link_prime() calls it "bpf_link"), "bpf-map". */
static bool is_a(int fd, const char *kind)
{
	char path[48], name[48];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, name, sizeof(name) - 1);
	name[n > 0 ? n : 0] = 0;
	return strstr(name, kind);
}

/* The program that a pin is, or that a pinned link runs. A descriptor, or -ENOENT for anything else. */
static int prog_of_pin(const char *dir, const char *name)
{
	struct bpf_link_info info = {};
	_cleanup_close_ int fd = -1;
	__u32 len = sizeof(info);
	int prog;

	fd = mctl_pin_open(dir, name);
	if (fd < 0)
		return fd;
	if (is_a(fd, "bpf-prog"))
		return TAKE_FD(fd);
	if (!is_a(fd, "bpf-link") || bpf_obj_get_info_by_fd(fd, &info, &len))
		return -ENOENT;
	prog = bpf_prog_get_fd_by_id(info.prog_id);
	return prog < 0 ? -errno : prog;
}

static void watch_end(struct watched *list, size_t n)
{
	while (n--)
		close(list[n].fd);
}

/* A program may have more than one pin: attached to several devices, or pinned itself and by its link. */
static bool is_watched(const struct watched *list, size_t n, uint32_t id)
{
	while (n--)
		if (list[n].before.id == id)
			return true;
	return false;
}

static int watch_begin(const char *dir, struct watched *list, size_t *ret_n)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	size_t n = 0;
	int r = 0;

	if (!d)
		return -errno;
	while (!r && n < MCTL_COSTS_MAX && (e = readdir(d))) {
		struct watched w = { .fd = e->d_name[0] == '.' ? -ENOENT : prog_of_pin(dir, e->d_name) };

		if (w.fd < 0) {
			r = w.fd == -EPERM ? w.fd : 0;
			continue;
		}
		if (cost_read(w.fd, &w.before) || is_watched(list, n, w.before.id))
			close(w.fd);
		else
			list[n++] = w;
	}
	closedir(d);
	if (r < 0)
		watch_end(list, n);
	else
		*ret_n = n;
	return r;
}

uint64_t mctl_runs_left_out(const struct mctl_instance *inst)
{
	struct watched list[MCTL_COSTS_MAX];
	uint64_t sum = 0;
	size_t n = 0;

	if (watch_begin(inst->dir, list, &n))
		return 0;
	for (size_t i = 0; i < n; i++)
		sum += list[i].before.left_out;
	watch_end(list, n);
	return sum;
}

static int dearest(const void *a, const void *b)
{
	const struct mctl_cost *one = a, *other = b;

	if (one->ns != other->ns)
		return one->ns < other->ns ? 1 : -1;
	return strcmp(one->name, other->name);
}

int mctl_cost_measure(const struct mctl_instance *inst, unsigned int seconds, struct mctl_cost ret[MCTL_COSTS_MAX],
		      size_t *ret_n, uint64_t *ret_ns)
{
	struct timespec rest = { .tv_sec = seconds };
	struct watched list[MCTL_COSTS_MAX];
	_cleanup_close_ int stats = -1;
	uint64_t start;
	size_t n = 0;
	int r;

	stats = bpf_enable_stats(BPF_STATS_RUN_TIME);
	if (stats < 0 && errno == EPERM)
		return mctl_why(-EPERM, "the kernel's run-time statistics need CAP_SYS_ADMIN");
	if (stats < 0)
		return mctl_why(-EOPNOTSUPP, "this kernel has no run-time statistics to be switched on (Linux 5.8)");
	r = watch_begin(inst->dir, list, &n);
	if (r < 0)
		return r;

	start = mctl_host_now_ns();
	while (nanosleep(&rest, &rest) && errno == EINTR)
		;
	*ret_ns = mctl_host_now_ns() - start;
	*ret_n = 0;
	for (size_t i = 0; i < n; i++) {
		struct mctl_cost *c = &ret[*ret_n];

		if (cost_read(list[i].fd, c))
			continue;
		c->runs -= list[i].before.runs;
		c->ns -= list[i].before.ns;
		++*ret_n;
	}
	watch_end(list, n);
	qsort(ret, *ret_n, sizeof(*ret), dearest);
	return 0;
}
