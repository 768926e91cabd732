/* SPDX-License-Identifier: GPL-2.0-only */
/* Links of the programs at socket calls: see hooks.h. */
#include "hooks.h"

#include <string.h>
#include <time.h>

#include <bpf/bpf.h>

#include "host.h"
#include "mctl.h"

static const struct {
	const char *program;
	enum bpf_attach_type type;
} hooks[] = {
	{ "mir_accept", BPF_TRACE_FENTRY },
	{ "mir_send", BPF_TRACE_FENTRY },
	{ "mir_receive", BPF_TRACE_FENTRY },
	{ "mir_sent", BPF_TRACE_RAW_TP },
	{ "mir_received", BPF_TRACE_RAW_TP },
	{ "mir_sendmsg4", BPF_CGROUP_UDP4_SENDMSG },
	{ "mir_sendmsg6", BPF_CGROUP_UDP6_SENDMSG },
	{ "mir_recvmsg4", BPF_CGROUP_UDP4_RECVMSG },
	{ "mir_recvmsg6", BPF_CGROUP_UDP6_RECVMSG },
};

bool mctl_hooks_has(const char *program)
{
	for (size_t i = 0; i < ARRAY_SIZE(hooks); i++)
		if (!strcmp(hooks[i].program, program))
			return true;
	return false;
}

static void path_of(const struct mctl_instance *inst, size_t i, char path[MCTL_DIR_LEN + 64])
{
	snprintf(path, MCTL_DIR_LEN + 64, "%s/hook_%s", inst->dir, hooks[i].program);
}

#define RELEASED_MS 1000	/* longest time the kernel is given to let go of a link */

/* A tracing program knows what it is attached to since it was loaded. A link whose pin is gone is released a little later
 * (bpf_link_put()), and until then the kernel hangs up no second one. */
static int make_link(size_t i, int prog, int cgroup)
{
	const bool tracing = hooks[i].type == BPF_TRACE_FENTRY || hooks[i].type == BPF_TRACE_RAW_TP;
	const struct timespec pause = { .tv_nsec = 1000000 };
	int link = -1;

	for (int ms = 0; link < 0 && ms < RELEASED_MS; ms++) {
		link = tracing ? bpf_raw_tracepoint_open(NULL, prog) : bpf_link_create(prog, cgroup, hooks[i].type, NULL);
		if (link < 0 && errno != EBUSY && errno != EEXIST)
			break;
		if (link < 0)
			nanosleep(&pause, NULL);
	}
	return link < 0 ? -errno : link;
}

static int hang(const struct mctl_instance *inst, size_t i, int cgroup)
{
	_cleanup_close_ int prog = mctl_pin_open(inst->dir, hooks[i].program), link = -1;
	char path[MCTL_DIR_LEN + 64];

	path_of(inst, i, path);
	if (prog == -ENOENT || !access(path, F_OK))
		return 0;
	if (prog < 0)
		return prog;
	link = make_link(i, prog, cgroup);
	if (link < 0)
		return mctl_why(link, "cannot attach %s: %s", hooks[i].program, strerror(-link));
	return bpf_obj_pin(link, path) ? -errno : 0;
}

int mctl_hooks_begin(const struct mctl_instance *inst)
{
	_cleanup_close_ int cgroup = -1;
	int r;

	if (inst->live->active)
		return 0;
	r = mctl_host_cgroup_root(&cgroup);
	for (size_t i = 0; !r && i < ARRAY_SIZE(hooks); i++)
		r = hang(inst, i, cgroup);
	return r;
}

void mctl_hooks_end(const struct mctl_instance *inst)
{
	char path[MCTL_DIR_LEN + 64];

	for (size_t i = 0; i < ARRAY_SIZE(hooks); i++) {
		path_of(inst, i, path);
		unlink(path);
	}
}
