/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Making a tap. The order: load and pin, write down what will be changed, change it, fill the device map, attach; then
 * rename, and the tap is up. Whatever fails on the way is undone by the function that clears up after a crash.
 */
#include "tap.h"

#include <net/if.h>
#include <string.h>
#include <sys/stat.h>

#include <linux/if_link.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "attach.h"
#include "host.h"
#include "load.h"
#include "mctl.h"
#include "monitor.h"
#include "nl_port.h"
#include "port.h"

#include "side.skel.h"

#define XDP_HEADROOM 256	/* XDP_PACKET_HEADROOM, the most a frame has before it */
#define SHARED_INFO 512		/* struct skb_shared_info behind it, with room to spare */

static void object_closep(struct bpf_object **obj)
{
	bpf_object__close(*obj);
}

static int pin(int fd, const char *dir, const char *prefix, const char *name)
{
	char path[MCTL_DIR_LEN + 64];

	snprintf(path, sizeof(path), "%s/%s%s", dir, prefix, name);
	return bpf_obj_pin(fd, path) ? mctl_why(-errno, "cannot pin %s: %s", path, strerror(errno)) : 0;
}

static int pin_program(struct bpf_program *prog, const char *dir)
{
	const char *name = bpf_program__name(prog);
	struct bpf_link *link;
	int r;

	if (!bpf_program__autoload(prog))
		return 0;
	if (strncmp(bpf_program__section_name(prog), "tp_btf/", 7))
		return pin(bpf_program__fd(prog), dir, "", name);
	link = bpf_program__attach(prog);
	if (!link)
		return -errno;
	r = pin(bpf_link__fd(link), dir, "hook_", name);
	bpf_link__destroy(link);	/* the pin holds it now */
	return r;
}

/* Everything but the port program. Without tracepoints a tap works; it only cannot say why a frame was lost. */
static int load_side(const char *dir, bool causes)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = "side");
	_cleanup_(object_closep) struct bpf_object *obj = NULL;
	struct bpf_program *prog;
	const void *bytes;
	size_t size;
	int r;

	bytes = side__elf_bytes(&size);
	obj = bpf_object__open_mem(bytes, size, &opts);
	if (!obj)
		return -errno;
	bpf_object__for_each_program(prog, obj)
		bpf_program__set_autoload(prog, causes || strncmp(bpf_program__section_name(prog), "tp_btf/", 7));
	r = bpf_object__load(obj);
	for (int i = 0; i < MCTL_TAP_MAP_MAX && !r; i++)
		r = pin(bpf_object__find_map_fd_by_name(obj, mctl_tap_map_names[i]), dir, "", mctl_tap_map_names[i]);
	bpf_object__for_each_program(prog, obj)
		if (!r)
			r = pin_program(prog, dir);
	return r;
}

static int load(struct mctl_tap *tap, const char *dir)
{
	int r;

	tap->state.causes = !mctl_host_try_tracepoint("xdp_devmap_xmit");
	r = load_side(dir, tap->state.causes);
	if (!r)
		r = mctl_load_discard(dir);
	for (int i = 0; i < MCTL_TAP_MAP_MAX && !r; i++) {
		tap->map[i] = mctl_pin_open(dir, mctl_tap_map_names[i]);
		if (tap->map[i] < 0)
			r = tap->map[i];
	}
	return r < 0 ? mctl_why(r, "cannot load the programs of the tap: %s (-v -v shows the kernel's log)", mctl_reason(r)) : 0;
}

/* One entry of the device map with the program that counts what leaves by it. */
static int wire(const struct mctl_tap *tap, const char *dir, __u32 leg, __u32 ifindex)
{
	_cleanup_close_ int prog = mctl_pin_open(dir, leg == MIR_TAP_MONITOR ? "mir_tap_copy" : "mir_tap_out");
	struct bpf_devmap_val value = { .ifindex = ifindex, .bpf_prog.fd = prog };

	if (prog < 0)
		return prog;
	return bpf_map_update_elem(tap->map[MCTL_TAP_WIRE], &leg, &value, BPF_ANY) ? -errno : 0;
}

/* Native mode needs a monitor whose driver takes redirected frames, which is a veth with NAPI behind it. */
static int monitor_native(const struct mctl_tap *tap, const char *dir)
{
	_cleanup_close_ int prog = mctl_pin_open(dir, "mir_tap_pass");
	int r;

	if (prog < 0)
		return prog;
	r = bpf_xdp_attach((int)tap->state.monitor_ifindex, prog, XDP_FLAGS_SKB_MODE, NULL);
	return r < 0 ? r : mctl_port_napi(tap->state.monitor);
}

static int make_monitor(struct mctl_tap *tap, const char *dir, const char *name)
{
	struct mir_tap_state *s = &tap->state;
	struct mctl_monitor m = {};
	int r;

	r = mctl_monitor_make(&tap->as, name, MIR_MONITOR_VETH, &m);
	if (r == -EEXIST)
		return mctl_why(r, "device '%s' (or '%s-in') exists; delete it or choose another name with --monitor", name,
				name);
	if (r < 0)
		return mctl_why(r, "cannot make monitor '%s': %s", name, mctl_reason(r));
	snprintf(s->monitor, sizeof(s->monitor), "%s", name);
	s->monitor_ifindex = (__u32)m.ifindex;
	s->copy_ifindex = (__u32)m.copy_ifindex;
	r = mctl_tap_state_write(tap);
	if (!r)
		r = mctl_monitor_attach(&tap->as, dir, "mir_discard", m.ifindex, false);
	if (!r)
		r = wire(tap, dir, MIR_TAP_MONITOR, s->copy_ifindex);
	return r;
}

/* TC takes what is too long for XDP in generic mode. */
static int attach_long(struct mctl_tap *tap, const char *dir, struct mir_tap_port *port)
{
	unsigned int filters;
	bool present = true;
	int r = 0;

	if (!tap->state.tcx) {
		r = mctl_clsact_read((int)port->ifindex, &present, &filters);
		if (!r && !present) {
			port->changed |= MIR_TAP_CLSACT;
			r = mctl_tap_state_write(tap);
		}
	}
	return r < 0 ? r : mctl_monitor_attach(&tap->as, dir, "mir_tap_long", (int)port->ifindex, false);
}

/* Both ports in one mode, or as they were. */
static int attach(struct mctl_tap *tap, const char *dir, const struct mctl_link *const link[2], enum mir_tap_mode mode)
{
	struct mir_tap_state *s = &tap->state;
	int r = 0;

	s->mode = (__u8)mode;
	s->clone_max = mode == MIR_TAP_NATIVE ? (__u32)sysconf(_SC_PAGESIZE) - XDP_HEADROOM - SHARED_INFO : UINT32_MAX;
	for (int i = 0; i < 2 && !r; i++)
		r = mctl_port_plan(link[i], mode, &s->port[i]);
	if (!r)
		r = mctl_tap_state_write(tap);
	for (int i = 0; i < 2 && !r; i++)
		r = mctl_port_change(&s->port[i], true);
	for (int i = 0; i < 2 && !r; i++)
		r = mode == MIR_TAP_GENERIC ? attach_long(tap, dir, &s->port[i]) : 0;
	if (!r && mode == MIR_TAP_NATIVE)
		r = monitor_native(tap, dir);
	if (!r)
		r = mctl_tap_attach(tap, mode);
	if (!r)
		return mctl_tap_state_write(tap);
	for (int i = 0; i < 2; i++)
		if (s->port[i].ifindex)
			mctl_port_change(&s->port[i], false);
	if (mode == MIR_TAP_NATIVE && s->monitor_ifindex)
		bpf_xdp_detach((int)s->monitor_ifindex, XDP_FLAGS_SKB_MODE, NULL);
	return r;
}

/* --take-addresses: written down, then taken. */
static int take_addresses(struct mctl_tap *tap)
{
	struct mir_tap_state *s = &tap->state;
	size_t n = 0, more;
	int r = 0;

	for (int i = 0; i < 2 && !r; i++) {
		r = mctl_port_addresses((int)s->port[i].ifindex, s->address + n, MIR_TAP_ADDRESSES - n, &more);
		n += r ? 0 : more;
		if (n > MIR_TAP_ADDRESSES)
			return mctl_why(-E2BIG, "the ports have more than %d addresses", MIR_TAP_ADDRESSES);
	}
	if (!r)
		r = mctl_tap_state_write(tap);
	for (size_t i = 0; i < n && !r; i++)
		r = mctl_port_address_delete(&s->address[i]);
	return r;
}

static int create(struct mctl_tap *tap, const struct mctl_tap_wish *wish, const struct mctl_link *const link[2])
{
	struct mir_tap_state *s = &tap->state;
	enum mir_tap_mode mode = wish->mode == MIR_TAP_AUTO ? MIR_TAP_NATIVE : wish->mode;
	int r;

	s->abi = MIR_TAP_ABI;
	s->netns = tap->as.netns;
	s->netns_cookie = tap->as.netns_cookie;
	s->wanted_mode = (__u8)wish->mode;
	s->tcx = tap->as.config.tcx = mctl_host_has_tcx();
	do {		/* another namespace's last tap may take the empty pin root away in between */
		r = mctl_host_pin_root(mctl.pin_root);
		if (r < 0)
			return r;
		r = mkdir(tap->making, 0700) ? -errno : 0;
	} while (r == -ENOENT);
	if (!r)
		r = load(tap, tap->making);
	if (!r)
		r = mctl_tap_select_write(tap, &wish->select);
	for (__u32 i = 0; i < 2 && !r; i++) {
		s->port[i].ifindex = (__u32)link[i]->ifindex;
		r = wire(tap, tap->making, i, s->port[i].ifindex);
	}
	if (!r)
		r = mctl_tap_state_write(tap);
	if (!r)
		r = make_monitor(tap, tap->making, wish->monitor);
	if (!r && wish->take_addresses)
		r = take_addresses(tap);
	if (r < 0)
		return r;
	s->took_addresses = wish->take_addresses;
	r = attach(tap, tap->making, link, mode);
	if (r < 0 && r != -EBUSY && wish->mode == MIR_TAP_AUTO) {
		mctl_debug("native mode: %s; generic mode instead", mctl_reason(r));
		r = attach(tap, tap->making, link, MIR_TAP_GENERIC);
	}
	if (!r && rename(tap->making, tap->dir))
		r = -errno;
	return r;
}

static int check_addresses(const struct mctl_tap_wish *wish, const struct mctl_link *link)
{
	size_t n;
	int r;

	r = mctl_port_addresses(link->ifindex, NULL, 0, &n);
	if (r < 0 || !n || wish->take_addresses)
		return r;
	return mctl_why(-EINVAL, "'%s' has %zu address%s, and this host is not reachable by it while it is a port; remove "
			"%s, or let --take-addresses put %s aside until the tap is deleted", link->name, n,
			n == 1 ? "" : "es", n == 1 ? "it" : "them", n == 1 ? "it" : "them");
}

/* Is one of the two a port, or the monitor, of another tap here? */
static int check_others(const struct mctl_instance *inst, const struct mctl_tap_wish *wish,
			const struct mctl_link *const link[2])
{
	char names[MCTL_TAPS_MAX][MIR_TAP_NAME_LEN];
	size_t n = mctl_taps_list(inst, names);

	for (size_t i = 0; i < n; i++) {
		_cleanup_tap_ struct mctl_tap tap;

		mctl_tap_init(&tap, inst, names[i]);
		if (!strcmp(names[i], wish->name) || mctl_tap_open(&tap, tap.dir))
			continue;
		for (int p = 0; p < 4; p++)
			if (tap.state.port[p & 1].ifindex == (__u32)link[p >> 1]->ifindex)
				return mctl_why(-EBUSY, "'%s' is a port of tap '%s'", link[p >> 1]->name, names[i]);
	}
	return 0;
}

static int check(const struct mctl_instance *inst, const struct mctl_links *links, const struct mctl_tap_wish *wish,
		 const struct mctl_link *link[2])
{
	int r = 0;

	for (int i = 0; i < 2; i++) {
		link[i] = mctl_links_by_name(links, wish->port[i]);
		if (!link[i])
			return mctl_why(-ENODEV, "there is no device '%s'", wish->port[i]);
	}
	if (link[0] == link[1])
		return mctl_why(-EINVAL, "a tap needs two devices, and '%s' is given twice", wish->port[0]);
	if (!strcmp(link[0]->kind, "veth") && !link[0]->peer_away && link[0]->peer == link[1]->ifindex)
		return mctl_why(-EINVAL, "'%s' and '%s' are the two ends of one veth: frames would go round for ever",
				link[0]->name, link[1]->name);
	for (int i = 0; i < 2 && !r; i++) {
		r = mctl_port_check(inst, links, link[i]);
		if (!r)
			r = check_addresses(wish, link[i]);
	}
	return r < 0 ? r : check_others(inst, wish, link);
}

/* The tap is there: rules may change, a lost monitor comes back, the rest must be as it is. */
static int change(struct mctl_tap *tap, const struct mctl_tap_wish *wish)
{
	struct mir_tap_state *s = &tap->state;
	int r = 0;

	for (int i = 0; i < 2; i++)
		if (strcmp(s->port[i].name, wish->port[i]) || if_nametoindex(wish->port[i]) != s->port[i].ifindex)
			return mctl_why(-EEXIST, "tap '%s' exists between '%s' and '%s'; delete it first", tap->name,
					s->port[0].name, s->port[1].name);
	if (strcmp(s->monitor, wish->monitor) || (wish->mode != MIR_TAP_AUTO && s->mode != wish->mode))
		return mctl_why(-EEXIST, "tap '%s' exists with monitor '%s' in %s mode; delete it first", tap->name, s->monitor,
				s->mode == MIR_TAP_NATIVE ? "native" : "generic");
	for (int i = 0; i < 2; i++)
		if (!mctl_tap_attached(tap, (int)s->port[i].ifindex))
			return mctl_why(-EIO, "somebody took the program off '%s'; 'mirrorctl tap del %s', then add it again",
					s->port[i].name, tap->name);
	if (if_nametoindex(s->monitor) != s->monitor_ifindex) {
		r = mctl_monitor_clear(&tap->as, NULL, 0);
		if (!r)
			r = make_monitor(tap, tap->dir, wish->monitor);
		if (!r && s->mode == MIR_TAP_NATIVE)
			r = monitor_native(tap, tap->dir);
	}
	return r < 0 ? r : mctl_tap_select_write(tap, &wish->select);
}

int mctl_tap_add(struct mctl_instance *inst, const struct mctl_tap_wish *wish)
{
	_cleanup_links_ struct mctl_links links = {};
	_cleanup_tap_ struct mctl_tap tap;
	const struct mctl_link *link[2] = {};
	int r;

	mctl_tap_init(&tap, inst, wish->name);
	r = mctl_tap_open(&tap, tap.dir);
	if (r != -ENOENT)
		return r < 0 ? r : change(&tap, wish);
	r = mctl_links_read(&links);
	if (!r)
		r = check(inst, &links, wish, link);
	if (r || !link[0] || !link[1])
		return r;
	if (!mctl_host_has_xdp_load())
		return mctl_why(-ENOTSUP, "XDP programs cannot read a frame by offset on this kernel (bpf_xdp_load_bytes, "
				"Linux 5.18); a tap needs that");
	r = create(&tap, wish, link);
	if (r < 0) {
		_cleanup_free_ char *why = strdup(mctl_reason(r));	/* clearing up may have troubles of its own */

		mctl_tap_undo(&tap, tap.making);
		mctl_why(r, "%s", why ? why : strerror(-r));
	}
	return r;
}
