/* SPDX-License-Identifier: GPL-2.0-only */
/* Programs on devices: see attach.h. */
#include "attach.h"

#include <string.h>

#include <linux/if_arp.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "load.h"
#include "mctl.h"

#define PIN_LEN 64

enum mctl_device mctl_device_of(const struct mctl_link *link)
{
	switch (link->type) {
	case ARPHRD_ETHER:
		return MCTL_DEVICE_ETHERNET;
	case ARPHRD_LOOPBACK:
		return MCTL_DEVICE_LOOPBACK;
	/* dev_is_mac_header_xmit() in include/linux/if_arp.h */
	case ARPHRD_TUNNEL:
	case ARPHRD_TUNNEL6:
	case ARPHRD_SIT:
	case ARPHRD_IPGRE:
	case ARPHRD_IP6GRE:
	case ARPHRD_VOID:
	case ARPHRD_NONE:
	case ARPHRD_RAWIP:
	case ARPHRD_PPP:
		return MCTL_DEVICE_HEADERLESS;
	default:
		return MCTL_DEVICE_OTHER;
	}
}

static const char *hook_name(bool egress)
{
	return egress ? "egress" : "ingress";
}

static int prog_id_of(int fd, __u32 *ret_id)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return -errno;
	*ret_id = info.id;
	return 0;
}

/* Killed between attaching and pinning, the link goes with its descriptor. */
static int tcx_attach(const char *dir, const char *pin, int prog, int ifindex, bool egress)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = MCTL_F_BEFORE);
	char path[MCTL_DIR_LEN + PIN_LEN];
	_cleanup_close_ int link = -1;

	snprintf(path, sizeof(path), "%s/%s", dir, pin);
	unlink(path);	/* a link whose device is gone */
	link = bpf_link_create(prog, ifindex, egress ? MCTL_TCX_EGRESS : MCTL_TCX_INGRESS, &opts);
	if (link < 0)
		return -errno;
	return bpf_obj_pin(link, path) ? -errno : 0;
}

/* The interface a TCX link is attached to; 0: none any more. libbpf 1.1 does not know this kind of link, so the answer is
 * read where Linux 6.6 puts it: struct bpf_link_info, tcx.ifindex, first word behind type, id and prog_id. */
static int tcx_ifindex(const char *dir, const char *pin)
{
	struct {
		__u32 type, id, prog_id, pad;
		__u32 ifindex, attach_type;
		__u8 rest[64];
	} info = {};
	_cleanup_close_ int link = mctl_pin_open(dir, pin);
	__u32 len = sizeof(info);

	if (link < 0 || bpf_obj_get_info_by_fd(link, &info, &len))
		return 0;
	return (int)info.ifindex;
}

/* The first preference is ours if nobody's filter of another kind or protocol has it; the last bpf filter added to a
 * preference runs first. */
static int clsact_attach(int prog, int ifindex, bool egress)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex,
		    .attach_point = egress ? BPF_TC_EGRESS : BPF_TC_INGRESS);
	int r = -EINVAL;

	for (__u32 priority = 1; priority <= 8 && r < 0; priority++) {
		LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = prog, .handle = MCTL_FILTER_HANDLE, .priority = priority);

		r = bpf_tc_attach(&hook, &opts);
		if (r < 0 && r != -EINVAL && r != -EEXIST && r != -EOPNOTSUPP)
			break;
	}
	return r;
}

/* Deletes our filter, known by handle and by the id of the program we pinned. */
static int clsact_detach(int prog, int ifindex, bool egress)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex,
		    .attach_point = egress ? BPF_TC_EGRESS : BPF_TC_INGRESS);
	__u32 id = 0;
	int r;

	r = prog_id_of(prog, &id);
	if (r < 0)
		return r;
	for (__u32 priority = 1; priority <= 8; priority++) {
		LIBBPF_OPTS(bpf_tc_opts, opts, .handle = MCTL_FILTER_HANDLE, .priority = priority);

		if (bpf_tc_query(&hook, &opts) || opts.prog_id != id)
			continue;
		opts.prog_fd = opts.prog_id = opts.flags = 0;
		return bpf_tc_detach(&hook, &opts);
	}
	return -ENOENT;
}

static bool clsact_has(int prog, int ifindex, bool egress)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex,
		    .attach_point = egress ? BPF_TC_EGRESS : BPF_TC_INGRESS);
	__u32 id = 0;

	if (prog_id_of(prog, &id))
		return false;
	for (__u32 priority = 1; priority <= 8; priority++) {
		LIBBPF_OPTS(bpf_tc_opts, opts, .handle = MCTL_FILTER_HANDLE, .priority = priority);

		if (!bpf_tc_query(&hook, &opts) && opts.prog_id == id)
			return true;
	}
	return false;
}

static int clsact_make(int ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	int r = bpf_tc_hook_create(&hook);

	return r == -EEXIST ? 0 : r;
}

/* Only when it was ours to make and nobody else has put a filter on it since. */
void mctl_clsact_unmake(int ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	unsigned int filters;
	bool present;

	if (!mctl_clsact_read(ifindex, &present, &filters) && present && !filters)
		bpf_tc_hook_destroy(&hook);
}

static const char *source_prog(const struct mir_source *s, bool egress)
{
	if (!s->ingress)
		return "mir_loopback";
	if (egress && (s->flags & MIR_SOURCE_PEER))
		return "mir_peer_egress";
	if (s->headerless)
		return egress ? "mir_l3_egress" : "mir_l3_ingress";
	return egress ? "mir_egress" : "mir_ingress";
}

static void source_pin(char *pin, int ifindex, bool egress)
{
	snprintf(pin, PIN_LEN, "source_%d_%s", ifindex, hook_name(egress));
}

static int hook_attach(const struct mctl_instance *inst, const char *dir, const char *pin, int prog, int ifindex,
		       bool egress)
{
	return inst->config.tcx ? tcx_attach(dir, pin, prog, ifindex, egress) : clsact_attach(prog, ifindex, egress);
}

/* A link whose pin is gone is let go when the kernel's readers of the file system are done: too late for whoever attaches the
 * same program again at once (-EEXIST). So it is detached first. */
static void hook_detach(const struct mctl_instance *inst, const char *dir, const char *pin, int prog, int ifindex,
			bool egress)
{
	char path[MCTL_DIR_LEN + PIN_LEN];

	if (inst->config.tcx) {
		_cleanup_close_ int link = mctl_pin_open(dir, pin);

		/* Not left to the last reference: the kernel may give that up later (bpf_link_put()), and until then refuses
		 * the same program at the same place. */
		if (link >= 0)
			bpf_link_detach(link);
		snprintf(path, sizeof(path), "%s/%s", dir, pin);
		unlink(path);
	} else {
		clsact_detach(prog, ifindex, egress);
	}
}

static int source_read(const struct mctl_instance *inst, int ifindex, struct mir_source *ret_source)
{
	return bpf_map_lookup_elem(inst->map[MCTL_MAP_SOURCES], &ifindex, ret_source) ? -errno : 0;
}

static int source_hooks(const struct mctl_instance *inst, const char *dir, const struct mir_source *s, int ifindex)
{
	char pin[PIN_LEN];
	int r = 0;

	for (int egress = 0; egress <= 1 && !r; egress++) {
		_cleanup_close_ int prog = -1;

		if (!(egress ? s->egress : s->ingress))
			continue;
		prog = mctl_load_mirror(inst, dir, source_prog(s, egress));
		if (prog < 0)
			return prog;
		source_pin(pin, ifindex, egress);
		r = hook_attach(inst, dir, pin, prog, ifindex, egress);
		if (r < 0)
			mctl_why(r, "cannot attach to %s %s: %s", s->name, hook_name(egress), strerror(-r));
	}
	return r;
}

static void source_fill(struct mir_source *source, const struct mctl_link *link, __u32 flags)
{
	enum mctl_device device = mctl_device_of(link);

	snprintf(source->name, sizeof(source->name), "%s", link->name);
	source->ingress = device != MCTL_DEVICE_LOOPBACK;
	source->egress = 1;
	source->headerless = device == MCTL_DEVICE_HEADERLESS;
	source->flags = flags;
	source->peer_nsid = flags & MIR_SOURCE_PEER ? link->peer_nsid : 0;
}

int mctl_source_update(const struct mctl_instance *inst, const struct mctl_link *link, __u32 flags)
{
	struct mir_source source;
	int r;

	r = source_read(inst, link->ifindex, &source);
	if (r < 0)
		return r;
	if ((source.flags ^ flags) & MIR_SOURCE_PEER)
		return -EAGAIN;
	source_fill(&source, link, flags);
	return bpf_map_update_elem(inst->map[MCTL_MAP_SOURCES], &link->ifindex, &source, BPF_EXIST) ? -errno : 0;
}

int mctl_source_attach(const struct mctl_instance *inst, const char *dir, const struct mctl_link *link, __u32 flags)
{
	struct mir_source source = {};
	__u32 key = (__u32)link->ifindex;
	unsigned int filters;
	bool present = true;
	int r = 0;

	source_fill(&source, link, flags);
	if (!inst->config.tcx) {
		r = mctl_clsact_read(link->ifindex, &present, &filters);
		if (r < 0)
			return r;
		source.clsact_made = !present;
	}
	if (bpf_map_update_elem(inst->map[MCTL_MAP_SOURCES], &key, &source, BPF_ANY))
		return mctl_why(-errno, "too many sources: at most %d", MIR_SOURCES_LIMIT);
	if (!present)
		r = clsact_make(link->ifindex);
	if (!r)
		r = source_hooks(inst, dir, &source, link->ifindex);
	if (r < 0)
		mctl_source_detach(inst, dir, link->ifindex);
	return r;
}

int mctl_source_detach(const struct mctl_instance *inst, const char *dir, int ifindex)
{
	struct mir_source source;
	char pin[PIN_LEN];
	int r;

	r = source_read(inst, ifindex, &source);
	if (r < 0)
		return r;
	for (int egress = 0; egress <= 1; egress++) {
		_cleanup_close_ int prog = mctl_pin_open(dir, source_prog(&source, egress));

		source_pin(pin, ifindex, egress);
		hook_detach(inst, dir, pin, prog, ifindex, egress);
	}
	if (source.clsact_made)
		mctl_clsact_unmake(ifindex);
	return bpf_map_delete_elem(inst->map[MCTL_MAP_SOURCES], &ifindex) ? -errno : 0;
}

bool mctl_source_alive(const struct mctl_instance *inst, const char *dir, int ifindex)
{
	struct mir_source source;
	char pin[PIN_LEN];

	if (source_read(inst, ifindex, &source))
		return false;
	for (int egress = 0; egress <= 1; egress++) {
		_cleanup_close_ int prog = mctl_pin_open(dir, source_prog(&source, egress));

		if (!(egress ? source.egress : source.ingress))
			continue;
		source_pin(pin, ifindex, egress);
		if (inst->config.tcx ? tcx_ifindex(dir, pin) != ifindex : !clsact_has(prog, ifindex, egress))
			return false;
	}
	return true;
}

__u32 mctl_source_ahead(const struct mctl_instance *inst, const char *dir, int ifindex, bool egress)
{
	_cleanup_close_ int prog = -1;
	__u32 ids[64] = {}, n = ARRAY_SIZE(ids), flags = 0, ours = 0;	/* BPF_MPROG_MAX */
	struct mir_source source;

	if (!inst->config.tcx || source_read(inst, ifindex, &source) || !(egress ? source.egress : source.ingress))
		return 0;
	prog = mctl_pin_open(dir, source_prog(&source, egress));
	if (prog < 0 || prog_id_of(prog, &ours) ||
	    bpf_prog_query(ifindex, egress ? MCTL_TCX_EGRESS : MCTL_TCX_INGRESS, 0, &flags, ids, &n) || !n)
		return 0;
	return ids[0] == ours ? 0 : ids[0];
}

static void monitor_pin(char *pin, const char *prog, int ifindex)
{
	snprintf(pin, PIN_LEN, "on_%d_%s", ifindex, prog);
}

static int monitor_attach(const struct mctl_instance *inst, const char *dir, const char *pin, const char *prog, int ifindex,
			  bool egress)
{
	_cleanup_close_ int fd = mctl_pin_open(dir, prog);
	int r;

	if (fd < 0)
		return fd;
	r = inst->config.tcx ? 0 : clsact_make(ifindex);
	if (!r)
		r = hook_attach(inst, dir, pin, fd, ifindex, egress);
	return r < 0 ? mctl_why(r, "cannot attach %s to device %d: %s", prog, ifindex, strerror(-r)) : 0;
}

int mctl_monitor_attach(const struct mctl_instance *inst, const char *dir, const char *prog, int ifindex, bool egress)
{
	char pin[PIN_LEN];

	monitor_pin(pin, prog, ifindex);
	return monitor_attach(inst, dir, pin, prog, ifindex, egress);
}

int mctl_monitor_attach_away(const struct mctl_instance *inst, const char *dir, int ifindex, int copy_ifindex)
{
	char pin[PIN_LEN];

	snprintf(pin, sizeof(pin), "away_%d_mir_discard", copy_ifindex);
	return monitor_attach(inst, dir, pin, "mir_discard", ifindex, false);
}

/* A filter of the other kind goes with its device. */
void mctl_monitor_detach_away(const char *dir, int copy_ifindex)
{
	char path[MCTL_DIR_LEN + PIN_LEN];

	snprintf(path, sizeof(path), "%s/away_%d_mir_discard", dir, copy_ifindex);
	unlink(path);
}

int mctl_monitor_detach(const struct mctl_instance *inst, const char *dir, const char *prog, int ifindex, bool egress)
{
	_cleanup_close_ int fd = mctl_pin_open(dir, prog);
	char pin[PIN_LEN];

	monitor_pin(pin, prog, ifindex);
	hook_detach(inst, dir, pin, fd, ifindex, egress);
	return 0;
}
