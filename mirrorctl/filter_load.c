/* SPDX-License-Identifier: GPL-2.0-only */
/* Filters go into the kernel: see filter.h. */
#include "filter.h"

#include <string.h>

#include <linux/filter.h>

#include <bpf/bpf.h>

#include "instance.h"
#include "mctl.h"

_Static_assert(MCTL_FILTER_LEN == MIR_FILTER_LEN, "filter.h and abi.h agree");

#define LOG_LEN (64 * 1024)	/* of the verifier's log; its end is what counts */

int mctl_filter_load(const struct sock_filter *code, size_t n, enum mctl_frame frame, int next, char *log, size_t size)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .log_buf = log, .log_size = (__u32)size, .log_level = log ? 1 : 0);
	const char *name = frame == MCTL_FRAME_IP ? "mir_filter_l3" : "mir_filter";
	_cleanup_free_ struct bpf_insn *insns = NULL;
	int fd, r;

	r = mctl_filter_translate(code, n, frame, next, &insns, &n);
	if (r < 0)
		return r;
	fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, name, "GPL", insns, n, &opts);
	return fd < 0 ? -errno : fd;
}

/* A program that the verifier gives up on is our limit, not the user's mistake. */
static int why_not(int r, const char *expr, const struct sock_filter *code, size_t n, enum mctl_frame frame, int next)
{
	_cleanup_free_ char *log = calloc(1, LOG_LEN);
	int fd;

	if (log && mctl.verbose > 1) {
		fd = mctl_filter_load(code, n, frame, next, log, LOG_LEN);
		mctl_closep(&fd);
		mctl_debug("%s", log);
	}
	if (r == -E2BIG)
		return mctl_why(r, "the filter '%.200s' is too complex for the kernel; make it shorter", expr);
	return mctl_why(r, "the kernel does not take the filter '%.200s': %s (-v -v shows its log)", expr, strerror(-r));
}

/* The program for one kind of frame. What cannot be said of frames without an Ethernet header refuses them all. */
static int make_program(const struct mctl_instance *inst, const char *expr, enum mctl_frame frame, bool *ret_possible)
{
	static const struct sock_filter refuse = { .code = BPF_RET | BPF_K, .k = 0 };
	_cleanup_free_ struct sock_filter *code = NULL;
	int next = inst->map[MCTL_MAP_FILTER_NEXT], r;
	char err[MCTL_FILTER_ERR_LEN];
	size_t n = 0;

	r = mctl_filter_compile(expr, frame, &code, &n, err, sizeof(err));
	*ret_possible = !r;
	if (r < 0 && (frame == MCTL_FRAME_ETHERNET || r != -EINVAL))
		return mctl_why(r, "filter '%.200s': %s", expr, err);
	r = mctl_filter_load(r ? &refuse : code, r ? 1 : n, frame, next, NULL, 0);
	return r < 0 ? why_not(r, expr, code ? code : &refuse, code ? n : 1, frame, next) : r;
}

static int put(const struct mctl_instance *inst, __u32 number, enum mctl_frame frame, int prog)
{
	__u32 key = number * MIR_FILTER_VARIANTS + frame;

	return bpf_map_update_elem(inst->map[MCTL_MAP_FILTERS], &key, &prog, BPF_ANY) ? -errno : 0;
}

static int write_text(const struct mctl_instance *inst, __u32 number, const struct mir_filter *f)
{
	return bpf_map_update_elem(inst->map[MCTL_MAP_FILTER_TEXTS], &number, f, BPF_ANY) ? -errno : 0;
}

int mctl_filter_install(const struct mctl_instance *inst, __u32 number, const char *expr)
{
	_cleanup_close_ int ethernet = -1, headerless = -1;
	_cleanup_free_ struct mir_filter *f = calloc(1, sizeof(*f));
	bool possible;
	int r;

	if (!f)
		return -ENOMEM;
	if (number >= MIR_FILTERS_LIMIT)
		return mctl_why(-EINVAL, "there is no filter %u", number);
	ethernet = make_program(inst, expr, MCTL_FRAME_ETHERNET, &possible);
	if (ethernet < 0)
		return ethernet;
	headerless = make_program(inst, expr, MCTL_FRAME_IP, &possible);
	if (headerless < 0)
		return headerless;
	f->headerless = possible;
	snprintf(f->expr, sizeof(f->expr), "%s", expr);

	f->pending = 1;
	r = write_text(inst, number, f);
	if (!r)
		r = put(inst, number, MCTL_FRAME_ETHERNET, ethernet);
	if (!r)
		r = put(inst, number, MCTL_FRAME_IP, headerless);
	f->pending = 0;
	if (!r)
		r = write_text(inst, number, f);
	if (r < 0)
		return mctl_why(r, "cannot put filter %u in its place: %s", number, strerror(-r));
	return possible ? 0 : MCTL_FILTER_ETHERNET_ONLY;
}

int mctl_filter_remove(const struct mctl_instance *inst, __u32 number)
{
	int r = 0;

	for (__u32 i = 0; i < MIR_FILTER_VARIANTS; i++) {
		__u32 key = number * MIR_FILTER_VARIANTS + i;

		if (bpf_map_delete_elem(inst->map[MCTL_MAP_FILTERS], &key) && errno != ENOENT)
			r = -errno;
	}
	if (bpf_map_delete_elem(inst->map[MCTL_MAP_FILTER_TEXTS], &number) && errno != ENOENT)
		r = -errno;
	return r;
}

int mctl_filter_read(const struct mctl_instance *inst, __u32 number, struct mir_filter *ret_filter)
{
	struct mir_filter f;

	if (bpf_map_lookup_elem(inst->map[MCTL_MAP_FILTER_TEXTS], &number, &f))
		return -errno;
	*ret_filter = f;
	return 0;
}
