/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * XDP on the ports of a tap, through libxdp: its dispatcher where that loads (other XDP programs stay), one program alone
 * where it does not. A port's program is known as ours by the maps it uses, so that one attached by a mirrorctl that was
 * killed before it could pin it is found, too.
 */
#include "tap.h"

#include <string.h>
#include <sys/stat.h>

#include <linux/if_link.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <xdp/libxdp.h>

#include "mctl.h"
#include "nl_port.h"

#include "tap.skel.h"

#define LIBXDP_DIR "/sys/fs/bpf/xdp"

static __attribute__((format(printf, 2, 0))) int print_libxdp(enum libxdp_print_level level, const char *fmt, va_list ap)
{
	if (mctl.verbose < 2 || (level == LIBXDP_DEBUG && mctl.verbose < 3))
		return 0;
	return vfprintf(stderr, fmt, ap);
}

/* libxdp makes this directory even when it then puts nothing into it: then it is removed again. One that was there stays,
 * empty or not: a process that uses libxdp makes it once and relies on it. */
static bool have_dir(void)
{
	return access(LIBXDP_DIR, F_OK) == 0;
}

static void tidy(bool had_dir)
{
	if (!had_dir)
		rmdir(LIBXDP_DIR);
}

static int map_id(int fd, __u32 *ret_id)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return -errno;
	*ret_id = info.id;
	return 0;
}

/* Does the program use this tap's device map? */
static bool is_ours(const struct mctl_tap *tap, int prog)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info), maps[16] = {}, wire = 0;

	info.map_ids = (__u64)(uintptr_t)maps;
	info.nr_map_ids = ARRAY_SIZE(maps);
	if (map_id(tap->map[MCTL_TAP_WIRE], &wire) || bpf_obj_get_info_by_fd(prog, &info, &len))
		return false;
	for (__u32 i = 0; i < info.nr_map_ids && i < ARRAY_SIZE(maps); i++)
		if (maps[i] == wire)
			return true;
	return false;
}

/* The port's program of ours, attached alone or by a dispatcher; NULL: none. Belongs to `mp`. */
static struct xdp_program *find(const struct mctl_tap *tap, struct xdp_multiprog *mp)
{
	struct xdp_program *prog = NULL;

	if (xdp_multiprog__is_legacy(mp)) {
		prog = xdp_multiprog__main_prog(mp);
		return prog && is_ours(tap, xdp_program__fd(prog)) ? prog : NULL;
	}
	while ((prog = xdp_multiprog__next_prog(prog, mp)))
		if (is_ours(tap, xdp_program__fd(prog)))
			return prog;
	return NULL;
}

static struct xdp_multiprog *multiprog(int ifindex, long *ret_error)
{
	struct xdp_multiprog *mp;

	libxdp_set_print(print_libxdp);
	mp = xdp_multiprog__get_from_ifindex(ifindex);
	*ret_error = libxdp_get_error(mp);
	return *ret_error ? NULL : mp;
}

/* Who may not look at programs by their id (CAP_SYS_ADMIN) is told nothing wrong. */
bool mctl_tap_attached(const struct mctl_tap *tap, int ifindex)
{
	long error;
	struct xdp_multiprog *mp = multiprog(ifindex, &error);
	bool attached = mp ? find(tap, mp) != NULL : error == -EPERM;

	if (mp)
		xdp_multiprog__close(mp);
	return attached;
}

int mctl_tap_detach(const struct mctl_tap *tap, int ifindex)
{
	bool had_dir = have_dir();
	long error;
	struct xdp_multiprog *mp = multiprog(ifindex, &error);
	struct xdp_program *prog = mp ? find(tap, mp) : NULL;
	enum xdp_attach_mode mode;
	int r = -ENOENT;

	if (prog) {
		mode = xdp_multiprog__attach_mode(mp);
		if (xdp_multiprog__is_legacy(mp)) {
			LIBBPF_OPTS(bpf_xdp_attach_opts, opts, .old_prog_fd = xdp_program__fd(prog));

			r = bpf_xdp_detach(ifindex, mode == XDP_MODE_SKB ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE,
					   &opts);
		} else {
			r = xdp_program__detach(prog, ifindex, mode, 0);
		}
	}
	if (mp)
		xdp_multiprog__close(mp);
	tidy(had_dir);
	return r;
}

static int share_maps(const struct mctl_tap *tap, struct bpf_object *obj)
{
	int r = 0;

	for (int i = 0; i < MCTL_TAP_MAP_MAX && !r; i++) {
		struct bpf_map *map = bpf_object__find_map_by_name(obj, mctl_tap_map_names[i]);

		if (map)
			r = bpf_map__reuse_fd(map, tap->map[i]);
	}
	return r;
}

static int attach_one(struct mctl_tap *tap, struct xdp_program *prog, int ifindex, enum mir_tap_mode mode, const char *name)
{
	struct xdp_multiprog *mp;
	long error;
	int r;

	r = xdp_program__attach(prog, ifindex, mode == MIR_TAP_NATIVE ? XDP_MODE_NATIVE : XDP_MODE_SKB, 0);
	if (r == -EBUSY || r == -EEXIST)
		return mctl_why(-EBUSY, "'%s' has another XDP program, and libxdp's dispatcher, which lets both run, cannot "
				"be used here", name);
	if (r < 0)
		return mctl_why(r, "cannot attach to '%s' in %s mode: %s", name,
				mode == MIR_TAP_NATIVE ? "native" : "generic", strerror(-r));
	mp = multiprog(ifindex, &error);
	tap->state.dispatcher = mp && !xdp_multiprog__is_legacy(mp);
	if (mp)
		xdp_multiprog__close(mp);
	return 0;
}

/* Native: will the driver take what is redirected to it? A kernel that does not say is believed. */
static int check_xmit(int ifindex, const char *name)
{
	uint64_t features;

	if (mctl_port_xdp_features(ifindex, &features) || (features & MCTL_XDP_NDO_XMIT))
		return 0;
	return mctl_why(-EOPNOTSUPP, "the driver of '%s' takes no redirected frames in native mode", name);
}

static int attach_both(struct mctl_tap *tap, struct bpf_object *obj, enum mir_tap_mode mode)
{
	DECLARE_LIBXDP_OPTS(xdp_program_opts, opts, .obj = obj, .prog_name = "mir_tap");
	struct xdp_program *prog;
	int r = 0;

	prog = xdp_program__create(&opts);
	if (libxdp_get_error(prog))
		return (int)libxdp_get_error(prog);
	for (int i = 0; i < 2 && !r; i++)
		r = attach_one(tap, prog, (int)tap->state.port[i].ifindex, mode, tap->state.port[i].name);
	xdp_program__close(prog);
	for (int i = 0; i < 2 && !r && mode == MIR_TAP_NATIVE; i++)
		r = check_xmit((int)tap->state.port[i].ifindex, tap->state.port[i].name);
	return r;
}

int mctl_tap_attach(struct mctl_tap *tap, enum mir_tap_mode mode)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = "tap");
	bool had_dir = have_dir();
	struct bpf_object *obj;
	const void *bytes;
	size_t size;
	int r;

	libxdp_set_print(print_libxdp);
	bytes = tap__elf_bytes(&size);
	obj = bpf_object__open_mem(bytes, size, &opts);
	if (!obj)
		return -errno;
	r = share_maps(tap, obj);
	if (!r)
		r = attach_both(tap, obj, mode);
	bpf_object__close(obj);
	for (int i = 0; i < 2 && r < 0; i++)
		mctl_tap_detach(tap, (int)tap->state.port[i].ifindex);
	tidy(had_dir);
	return r;
}
