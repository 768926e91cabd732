/* SPDX-License-Identifier: GPL-2.0-only */
/* Processes become targets: see targets.h. */
#include "targets.h"

#include <dirent.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <bpf/bpf.h>

#include "hooks.h"
#include "host.h"
#include "mctl.h"
#include "policy.h"

/* As mir_sends_packets() of tc/owner.bpf.h. */
static bool sends_packets(int fd)
{
	socklen_t len = sizeof(int);
	int family;

	return !getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len) &&
	       (family == AF_INET || family == AF_INET6 || family == AF_PACKET);
}

/* The other way to tag sockets: take each descriptor over, write its storage, let it go (Linux 5.6). One that has no room for
 * storage is counted, as programs count it. */
static int tag_by_getfd(const struct mctl_instance *inst, const struct mctl_process *p, const struct mir_owner *owner)
{
	struct dirent *e;
	struct stat st;
	char path[64];
	int r = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", p->pid);
	d = opendir(path);
	if (!d)
		return errno == ENOENT ? -ESRCH : -errno;
	while (!r && (e = readdir(d))) {
		_cleanup_close_ int fd = -1;

		if (fstatat(dirfd(d), e->d_name, &st, 0) || !S_ISSOCK(st.st_mode))
			continue;
		fd = (int)syscall(SYS_pidfd_getfd, p->pidfd, (int)strtol(e->d_name, NULL, 10), 0);
		if (fd < 0) {
			r = errno == EBADF ? 0 : -errno;	/* closed meanwhile */
			continue;
		}
		if (!sends_packets(fd) || !bpf_map_update_elem(inst->map[MCTL_MAP_OWNERS], &fd, owner, BPF_ANY))
			continue;
		if (errno == ENOMEM)
			__sync_fetch_and_add(&inst->live->sockets_lost, 1);
		else if (errno != EOPNOTSUPP)
			r = -errno;
	}
	closedir(d);
	return r;
}

/*
 * A child that was cloned off a listener before that one was tagged carries no owner, and it may come to the listener's
 * queue after the iterator was there. Both happen within one softirq (tcp_check_req(): from the clone to the queue), which
 * is an RCU read-side section. So once a grace period has passed that began after the tag, every such child is in the queue
 * or was accepted; children that are cloned later inherit the tag. A second look then finds those without owner. It leaves
 * the others alone: somebody may have used them meanwhile.
 */
static int tag_by_iter(const struct mctl_instance *inst, const struct mctl_process *p)
{
	void *bytes = NULL;
	size_t listeners;
	int r;

	r = mctl_iter_read(inst, "mir_tag", p->pid, -1, &bytes, &listeners);
	free(bytes);
	if (r < 0 || !listeners)
		return r;
	mctl_host_grace_period();
	inst->live->again = 1;
	bytes = NULL;
	r = mctl_iter_read(inst, "mir_tag", p->pid, -1, &bytes, &listeners);
	free(bytes);
	inst->live->again = 0;
	return r;
}

/* Both ways see one process; `live` names it, so that the iterators do nothing for anybody else who reads them. `given`: the
 * bits it is selected by hand with, and with `flags`. */
static int tag(const struct mctl_instance *inst, const struct mctl_process *p, __u64 given, __u32 flags,
	       const struct mir_owner *owner)
{
	struct mir_live *live = inst->live;
	void *bytes = NULL;
	size_t len;
	int r;

	live->selectors = given;
	live->deselect = given ? mctl_policies_rivals(inst, (__u32)__builtin_ctzll(given)) : 0;
	live->flags = flags;
	live->again = 0;
	live->tagging = p->info.tgid;
	r = mctl_iter_read(inst, "mir_task", p->pid, -1, &bytes, &len);
	free(bytes);
	if (!r)
		r = inst->config.tier_existing == MIR_EXISTING_GETFD ? tag_by_getfd(inst, p, owner) : tag_by_iter(inst, p);
	live->tagging = 0;
	return r;
}

/* Puts it into the map unless it is there. What is there under its number may be a process that is gone. */
static int insert(const struct mctl_instance *inst, const struct mctl_process *p, struct mir_target *t, bool *ret_known)
{
	int fd = inst->map[MCTL_MAP_TARGETS];
	struct mir_target old;

	if (!bpf_map_lookup_elem(fd, &p->info.tgid, &old)) {
		*ret_known = old.born == t->born && !old.exit_ns;
		if (*ret_known)
			return 0;
		mctl_target_delete(inst, p->info.tgid);
	}
	*ret_known = false;
	if (!bpf_map_update_elem(fd, &p->info.tgid, t, BPF_NOEXIST))
		return 0;
	*ret_known = errno == EEXIST;	/* a program has just chosen it */
	return errno == EEXIST ? 0
	       : errno == E2BIG ? mctl_why(-E2BIG, "there are %d targets already, the most there can be", MIR_TARGETS_LIMIT)
				: -errno;
}

/* `given`: by hand; `found`: by these selectors. */
static int add(const struct mctl_instance *inst, const struct mctl_process *p, __u32 flags, __u64 given, __u64 found)
{
	struct mir_target t = { .start_ns = p->info.start_ns, .flags = flags, .uid = p->info.uid, .selectors = given | found,
				.kept = given }, old;
	int fd = inst->map[MCTL_MAP_TARGETS], r;
	struct mir_owner owner;
	bool known = false;

	t.born = mir_born(t.start_ns);
	memcpy(t.comm, p->info.comm, sizeof(t.comm));
	mctl_process_cgroup(p->pid, t.cgroup);
	owner = (struct mir_owner){ .tgid = p->info.tgid, .born = t.born };

	r = mctl_hooks_begin(inst);
	if (r < 0)
		return r;
	inst->live->active = 1;		/* programs look at packets from here on */
	inst->live->near[mir_near(p->info.tgid)] = 1;
	r = insert(inst, p, &t, &known);
	if (r < 0)
		return r;
	r = tag(inst, p, given, flags, &owner);

	/* The exit hook may have run before there was anything for it to find. */
	if (!r && mctl_process_exited(p) && !bpf_map_lookup_elem(fd, &p->info.tgid, &old) && !old.exit_ns)
		r = mctl_why(-ESRCH, "it exited while it was being added");
	if (r < 0 && !known)
		bpf_map_delete_elem(fd, &p->info.tgid);
	else if (!known)
		mctl_target_tell(inst, MIR_EVENT_ADDED, p->info.tgid, t.comm);
	return r;
}

int mctl_target_add(const struct mctl_instance *inst, const struct mctl_process *p, __u32 flags, __u32 number)
{
	return add(inst, p, flags, 1ull << number, 0);
}

int mctl_target_choose(const struct mctl_instance *inst, const struct mctl_process *p, __u64 mask)
{
	return add(inst, p, 0, 0, mask);
}

/* Has a program work on one entry of a map. */
static int pick(int prog, __u64 key, __u64 forget)
{
	const struct mir_pick pick = { .key = key, .forget = forget };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = &pick, .data_size_in = sizeof(pick));

	return bpf_prog_test_run_opts(prog, &opts) ? -errno : 0;
}

int mctl_target_sift(const struct mctl_instance *inst, __u32 tgid, __u64 forget)
{
	_cleanup_close_ int prog = mctl_pin_open(inst->dir, "mir_sift");

	return prog < 0 ? prog : pick(prog, tgid, forget);
}

int mctl_targets_sift(const struct mctl_instance *inst, __u64 forget)
{
	_cleanup_close_ int prog = mctl_pin_open(inst->dir, "mir_sift");
	int fd = inst->map[MCTL_MAP_TARGETS], r = prog < 0 ? prog : 0;
	__u32 key, *at = NULL;
	struct mir_target t;

	for (; !r && !bpf_map_get_next_key(fd, at, &key); at = &key)
		if (!bpf_map_lookup_elem(fd, &key, &t) && (t.selectors & forget))
			r = pick(prog, key, forget);
	return r;
}

int mctl_credits_fold(const struct mctl_instance *inst, __u64 forget)
{
	_cleanup_close_ int prog = mctl_pin_open(inst->dir, "mir_fold");
	int fd = inst->map[MCTL_MAP_CREDITS], r = prog < 0 ? prog : 0;
	__u64 mask = 0, next;

	/* Accounts that the others get meanwhile have none of these bits. */
	for (int end = bpf_map_get_next_key(fd, NULL, &next); !r && !end;) {
		mask = next;
		end = bpf_map_get_next_key(fd, &mask, &next);
		if (!(mask & forget))
			continue;
		r = pick(prog, mask, forget);
		if (!r)
			bpf_map_delete_elem(fd, &mask);
	}
	return r;
}

void mctl_target_tell(const struct mctl_instance *inst, __u32 kind, __u32 tgid, const char *comm)
{
	struct mir_event e = { .kind = kind, .tgid = tgid };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = &e, .data_size_in = sizeof(e));
	_cleanup_close_ int prog = mctl_pin_open(inst->dir, "mir_tell");

	memcpy(e.comm, comm, sizeof(e.comm));
	if (prog >= 0)
		bpf_prog_test_run_opts(prog, &opts);
}

/* Those who had the process id before it was given out again (map `former`). */
static void forget_former(const struct mctl_instance *inst, __u32 tgid)
{
	int fd = inst->map[MCTL_MAP_FORMER];
	struct mir_owner key = {}, next;

	/* The next key is fetched before the present one is deleted: a deleted key would start the walk over. */
	for (int end = bpf_map_get_next_key(fd, NULL, &next); !end;) {
		key = next;
		end = bpf_map_get_next_key(fd, &key, &next);
		if (key.tgid == tgid)
			bpf_map_delete_elem(fd, &key);
	}
}

int mctl_target_delete(const struct mctl_instance *inst, __u32 tgid)
{
	struct mir_target t;

	if (!bpf_map_lookup_elem(inst->map[MCTL_MAP_TARGETS], &tgid, &t)) {
		if (t.selectors)
			mctl_target_sift(inst, tgid, ~0ull);
		mctl_target_tell(inst, MIR_EVENT_GONE, tgid, t.comm);
	}
	forget_former(inst, tgid);
	if (bpf_map_delete_elem(inst->map[MCTL_MAP_TARGETS], &tgid))
		return errno == ENOENT ? -ESRCH : -errno;
	return 0;
}

static int by_tgid(const void *a, const void *b)
{
	const struct mctl_target *x = a, *y = b;

	return x->tgid < y->tgid ? -1 : x->tgid > y->tgid;
}

static int by_inode(const void *a, const void *b)
{
	const struct mir_held *x = a, *y = b;

	return x->inode < y->inode ? -1 : x->inode > y->inode;
}

static void count_sockets(const struct mctl_instance *inst, struct mctl_target *targets, size_t n)
{
	const bool files = inst->config.tier_count == MIR_COUNT_FILES;
	_cleanup_free_ void *bytes = NULL;
	struct mir_held *held;
	size_t len, i;

	if (mctl_iter_read(inst, files ? "mir_held" : "mir_count", 0, files ? -1 : inst->map[MCTL_MAP_OWNERS], &bytes, &len) < 0)
		return;
	held = bytes;
	len /= sizeof(*held);
	if (files)
		qsort(held, len, sizeof(*held), by_inode);
	for (i = 0; i < len; i++) {
		struct mctl_target key = { .tgid = held[i].owner.tgid };
		struct mctl_target *found;

		if (i && held[i].inode && held[i].inode == held[i - 1].inode)
			continue;
		found = n ? bsearch(&key, targets, n, sizeof(key), by_tgid) : NULL;
		if (found && found->t.born == held[i].owner.born)
			found->sockets++;
	}
}

/* Names as they are now (a process may rename itself any time); the map has them as of the last exec. */
static void refresh_names(const struct mctl_instance *inst, struct mctl_target *targets, size_t n)
{
	_cleanup_free_ struct mir_task_info *infos = NULL;
	size_t count, i;

	if (!n || mctl_processes_read(inst, &infos, &count) < 0)
		return;
	for (i = 0; i < count; i++) {
		struct mctl_target key = { .tgid = infos[i].tgid };
		struct mctl_target *found = bsearch(&key, targets, n, sizeof(key), by_tgid);

		if (found && found->t.start_ns == infos[i].start_ns)
			memcpy(found->t.comm, infos[i].comm, sizeof(found->t.comm));
	}
}

int mctl_targets_read(const struct mctl_instance *inst, struct mctl_target **ret_targets, size_t *ret_n)
{
	_cleanup_free_ struct mctl_target *targets = calloc(MIR_TARGETS_LIMIT, sizeof(*targets));
	int fd = inst->map[MCTL_MAP_TARGETS];
	__u32 key, *at = NULL;
	size_t n = 0;

	if (!targets)
		return -ENOMEM;
	for (; n < MIR_TARGETS_LIMIT && !bpf_map_get_next_key(fd, at, &key); at = &key) {
		if (bpf_map_lookup_elem(fd, &key, &targets[n].t) || mctl_target_over(inst, &targets[n].t))
			continue;
		targets[n++].tgid = key;
	}
	qsort(targets, n, sizeof(*targets), by_tgid);
	count_sockets(inst, targets, n);
	refresh_names(inst, targets, n);
	*ret_targets = TAKE_PTR(targets);
	*ret_n = n;
	return 0;
}
