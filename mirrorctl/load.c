/* SPDX-License-Identifier: GPL-2.0-only */
/* Puts the BPF programs into the kernel: see load.h. */
#include "load.h"

#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "hooks.h"
#include "host.h"
#include "mctl.h"

#include "explain.skel.h"
#include "mirror.skel.h"
#include "monitor.skel.h"
#include "owner.skel.h"

/* Groups of programs; those of monitor.bpf.c and explain.bpf.c are all GROUP_ALWAYS. */
enum group {
	GROUP_ALWAYS = 0x01,
	GROUP_FENTRY = 0x02,
	GROUP_TRACEPOINT = 0x04,
	GROUP_CGROUP = 0x08,
	GROUP_CLOSE = 0x10,
	GROUP_TAG = 0x20,
	GROUP_WAKE = 0x40,
	GROUP_FORK = 0x80,
	GROUP_COUNT = 0x100,
	GROUP_HELD = 0x200,
	GROUP_LATER = 0x400,	/* one by one, when it is needed */
};

static const struct {
	const char *section;	/* beginning of the section name */
	const char *program;	/* beginning of the program's own name */
	enum group group;
} groups[] = {
	{ "fentry/", "", GROUP_FENTRY },
	{ "tp_btf/sock_", "", GROUP_TRACEPOINT },
	{ "cgroup/sendmsg", "", GROUP_CGROUP },
	{ "cgroup/recvmsg", "", GROUP_CGROUP },
	{ "tp_btf/inet_sock_set_state", "", GROUP_CLOSE },
	{ "iter/task_file", "mir_tag", GROUP_TAG },
	{ "iter/task_file", "mir_held", GROUP_HELD },
	{ "iter/bpf_sk_storage_map", "", GROUP_COUNT },
	{ "tp_btf/sched_wakeup_new", "", GROUP_WAKE },
	{ "tp_btf/sched_process_fork", "", GROUP_FORK },
	{ "", "", GROUP_ALWAYS },
};

/* Those of sources, and the chain of policies. */
static const char *const later[] = { "mir_egress", "mir_ingress", "mir_l3_egress", "mir_l3_ingress", "mir_loopback",
				     "mir_peer_egress", "mir_choose" };

struct object {
	const char *name;
	const void *(*bytes)(size_t *size);
};

static const struct object mirror = { "mirror", mirror__elf_bytes };
static const struct object monitor = { "monitor", monitor__elf_bytes };
static const struct object explain = { "explain", explain__elf_bytes };
static const struct object owner = { "owner", owner__elf_bytes };

static enum group group_of(const struct bpf_program *prog)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(later); i++)
		if (!strcmp(bpf_program__name(prog), later[i]))
			return GROUP_LATER;
	i = 0;
	while (strncmp(bpf_program__section_name(prog), groups[i].section, strlen(groups[i].section)) ||
	       strncmp(bpf_program__name(prog), groups[i].program, strlen(groups[i].program)))
		i++;
	return groups[i].group;
}

static void object_closep(struct bpf_object **obj)
{
	bpf_object__close(*obj);
}

/* Where a map that only the programs of one object share is pinned, for those that are loaded later; constants are not. */
static bool private_pin(const struct object *o, const struct bpf_map *map, const char *dir, char *path, size_t size)
{
	const char *name = bpf_map__name(map);

	for (int i = 0; i < MCTL_MAP_MAX; i++)
		if (!strcmp(name, mctl_map_names[i]))
			return false;
	snprintf(path, size, "%s/%s_%s", dir, o->name, name);
	return !strchr(name, '.');
}

static int share_private(const struct object *o, struct bpf_map *map, const char *dir)
{
	char path[MCTL_DIR_LEN + 64];
	_cleanup_close_ int fd = -1;

	if (!private_pin(o, map, dir, path, sizeof(path)))
		return 0;
	fd = bpf_obj_get(path);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	return bpf_map__reuse_fd(map, fd);
}

/* Gives the object the maps of the instance instead of its own. */
static int share_maps(const struct object *o, struct bpf_object *obj, const struct mctl_instance *inst, const char *dir)
{
	struct bpf_map *map;
	int i, r;

	bpf_object__for_each_map(map, obj) {
		r = share_private(o, map, dir);
		if (r < 0)
			return r;
		for (i = 0; i < MCTL_MAP_MAX; i++) {
			if (inst->map[i] < 0 || strcmp(bpf_map__name(map), mctl_map_names[i]))
				continue;
			r = bpf_map__reuse_fd(map, inst->map[i]);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* The one const volatile setting that an object has: of tc/match.bpf.h or tc/select.bpf.h. Alone in its section. */
static void set_ability(struct bpf_object *obj, bool able)
{
	struct bpf_map *map;
	__u32 *setting;
	size_t size;

	bpf_object__for_each_map(map, obj) {
		if (!strstr(bpf_map__name(map), ".rodata"))
			continue;
		setting = (__u32 *)bpf_map__initial_value(map, &size);
		if (setting && size == sizeof(*setting))
			*setting = able;
	}
}

/* cgroup and tracing programs are attached now, but those of hooks.h; the others are attached or read later, through their pins. */
static struct bpf_link *hook(struct bpf_program *prog, int cgroup)
{
	const char *section = bpf_program__section_name(prog);

	if (mctl_hooks_has(bpf_program__name(prog)))
		return NULL;
	if (!strncmp(section, "cgroup/", 7))
		return bpf_program__attach_cgroup(prog, cgroup);
	if (!strncmp(section, "tp_btf/", 7) || !strncmp(section, "fentry/", 7))
		return bpf_program__attach(prog);
	return NULL;
}

static int pin_program(struct bpf_program *prog, const char *dir, int cgroup)
{
	const char *name = bpf_program__name(prog);
	char path[MCTL_DIR_LEN + 64];
	struct bpf_link *link;
	int r;

	errno = 0;
	link = hook(prog, cgroup);
	if (!link && errno)
		return mctl_why(-errno, "cannot attach %s (%s): %s", name, bpf_program__section_name(prog),
				strerror(errno));
	snprintf(path, sizeof(path), "%s/%s%s", dir, link ? "hook_" : "", name);
	r = bpf_obj_pin(link ? bpf_link__fd(link) : bpf_program__fd(prog), path) ? -errno : 0;
	bpf_link__destroy(link);	/* the pin holds it now */
	return r;
}

/* The first object brings the maps. */
static int pin_maps(const struct object *o, struct bpf_object *obj, struct mctl_instance *inst, const char *dir)
{
	char path[MCTL_DIR_LEN + 64];
	struct bpf_map *private;

	bpf_object__for_each_map(private, obj)
		if (private_pin(o, private, dir, path, sizeof(path)) && bpf_obj_pin(bpf_map__fd(private), path) &&
		    errno != EEXIST)
			return -errno;

	for (int i = 0; i < MCTL_MAP_MAX; i++) {
		struct bpf_map *map = bpf_object__find_map_by_name(obj, mctl_map_names[i]);

		if (inst->map[i] >= 0 || !map)
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, mctl_map_names[i]);
		if (bpf_obj_pin(bpf_map__fd(map), path))
			return -errno;
		inst->map[i] = mctl_pin_open(dir, mctl_map_names[i]);
		if (inst->map[i] < 0)
			return inst->map[i];
	}
	return mctl_instance_share(inst);
}

/* Loads the programs of some groups of one object, or the one called `only`, with the maps of the instance. */
static int load(const struct object *o, unsigned int wanted, const char *only, struct mctl_instance *inst, const char *dir,
		int cgroup)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = o->name);
	_cleanup_(object_closep) struct bpf_object *obj = NULL;
	struct bpf_program *prog;
	const void *bytes;
	size_t size;
	int r;

	bytes = o->bytes(&size);
	obj = bpf_object__open_mem(bytes, size, &opts);
	if (!obj)
		return -errno;
	r = share_maps(o, obj, inst, dir);
	if (r < 0)
		return r;
	if (o == &mirror)
		set_ability(obj, mctl_host_has_mptcp());
	if (o == &owner)
		set_ability(obj, inst->config.text);
	bpf_object__for_each_program(prog, obj)
		bpf_program__set_autoload(prog, only ? !strcmp(bpf_program__name(prog), only) : wanted & group_of(prog));
	r = bpf_object__load(obj);
	if (r < 0)
		return mctl_why(r, "cannot load the '%s' programs: %s (-v -v shows the kernel's log)", o->name,
				strerror(-r));
	r = pin_maps(o, obj, inst, dir);
	bpf_object__for_each_program(prog, obj)
		if (!r && bpf_program__autoload(prog))
			r = pin_program(prog, dir, cgroup);
	return r;
}

/* One group after the other: slower, and whatever does not load has its fallback. */
static int load_owner_singly(struct mctl_instance *inst, const char *dir, int cgroup, unsigned int *ret_loaded)
{
	static const enum group optional[] = { GROUP_FENTRY, GROUP_CLOSE, GROUP_TAG, GROUP_COUNT, GROUP_HELD, GROUP_TRACEPOINT };
	const unsigned int always = GROUP_ALWAYS | (*ret_loaded & (GROUP_WAKE | GROUP_FORK));
	unsigned int loaded = always;
	int r;

	r = load(&owner, always, NULL, inst, dir, cgroup);
	for (size_t i = 0; !r && i < ARRAY_SIZE(optional); i++) {
		if (optional[i] == GROUP_TRACEPOINT && (loaded & GROUP_FENTRY))
			continue;
		if ((*ret_loaded & optional[i]) && !load(&owner, optional[i], NULL, inst, dir, cgroup))
			loaded |= optional[i];
	}
	if (!r && !(loaded & GROUP_FENTRY)) {
		r = load(&owner, GROUP_CGROUP, NULL, inst, dir, cgroup);
		loaded |= GROUP_CGROUP;
	}
	*ret_loaded = loaded;
	return r;
}

/* The two columns of design 4.2. Each kind of hook is tried by loading a program that does nothing there; then all that
 * should load is loaded at once, and if the kernel refuses that, group by group. */
static int load_owner(struct mctl_instance *inst, const char *dir, int cgroup)
{
	struct mir_config *c = &inst->config;
	unsigned int loaded = GROUP_ALWAYS | GROUP_CLOSE;
	int r;

	c->text = mctl_host_reads_text();
	loaded |= mctl_host_has_map_cache() ? GROUP_WAKE : GROUP_FORK;
	if (!mctl_host_disabled("iter"))
		loaded |= GROUP_TAG;
	loaded |= mctl_host_try_iterator("bpf_sk_storage_map") ? GROUP_HELD : GROUP_COUNT;
	if (!mctl_host_try_fentry("security_sock_graft") && !mctl_host_try_fentry("security_socket_sendmsg") &&
	    !mctl_host_try_fentry("security_socket_recvmsg"))
		loaded |= GROUP_FENTRY;
	else
		loaded |= GROUP_CGROUP;
	if (!(loaded & GROUP_FENTRY) && !mctl_host_try_tracepoint("sock_send_length"))
		loaded |= GROUP_TRACEPOINT;

	r = load(&owner, loaded, NULL, inst, dir, cgroup);
	if (r < 0) {
		if (!mctl_host_disabled("tp"))
			loaded |= GROUP_TRACEPOINT;
		r = load_owner_singly(inst, dir, cgroup, &loaded);
	}
	if (r < 0)
		return r;
	c->tier_accept = loaded & GROUP_FENTRY ? MIR_ACCEPT_FENTRY : MIR_ACCEPT_INHERIT;
	c->tier_use = loaded & GROUP_FENTRY ? MIR_USE_FENTRY
					    : loaded & GROUP_TRACEPOINT ? MIR_USE_TRACEPOINT : MIR_USE_CGROUP;
	c->tier_fork = loaded & GROUP_WAKE ? MIR_FORK_WAKE : MIR_FORK_TRACE;
	c->tier_linger = loaded & GROUP_CLOSE ? MIR_LINGER_STATE : MIR_LINGER_NONE;
	c->timewait = mctl_host_has_timewait_sender();
	c->tier_existing = loaded & GROUP_TAG ? MIR_EXISTING_ITER : MIR_EXISTING_GETFD;
	c->tier_count = loaded & GROUP_COUNT ? MIR_COUNT_STORAGE : loaded & GROUP_HELD ? MIR_COUNT_FILES : MIR_COUNT_NONE;
	return 0;
}

/* Opens a program of tc/mirror.bpf.c. The verifier takes its time with each: it is loaded when it is first needed, and stays. */
int mctl_load_mirror(const struct mctl_instance *inst, const char *dir, const char *name)
{
	struct mctl_instance shared = *inst;	/* has all maps: none is pinned */
	int fd = mctl_pin_open(dir, name), r;

	if (fd != -ENOENT)
		return fd;
	r = load(&mirror, 0, name, &shared, dir, -1);
	return r < 0 ? r : mctl_pin_open(dir, name);
}

/* Tells the filters, or the mirror programs, where to go on (tc/policy.bpf.h). */
static int join(const struct mctl_instance *inst, const char *dir, __u32 at, const char *name)
{
	_cleanup_close_ int prog = mctl_load_mirror(inst, dir, name);

	if (prog < 0)
		return prog;
	return bpf_map_update_elem(inst->map[MCTL_MAP_FILTER_NEXT], &at, &prog, BPF_ANY) ? -errno : 0;
}

int mctl_load_chain(struct mctl_instance *inst)
{
	const char *dir = mctl_instance_is_up(inst) ? inst->dir : inst->making;
	_cleanup_close_ int there = mctl_pin_open(dir, "mir_choose");
	int r;

	inst->chained = there == -ENOENT;
	r = join(inst, dir, MIR_FILTER_REFUSE, "mir_refused");
	if (!r)
		r = join(inst, dir, MIR_FILTER_ACCEPT, "mir_accepted");
	return r < 0 ? r : join(inst, dir, MIR_FILTER_CHOOSE, "mir_choose");
}

void mctl_unload_chain(struct mctl_instance *inst)
{
	const __u32 choose = MIR_FILTER_CHOOSE;
	char path[MCTL_DIR_LEN + 64];

	if (!inst->chained || inst->config.ruled)
		return;
	mctl_host_grace_period();	/* packets that still saw a policy are through with it */
	bpf_map_delete_elem(inst->map[MCTL_MAP_FILTER_NEXT], &choose);
	snprintf(path, sizeof(path), "%s/mir_choose", inst->dir);
	unlink(path);
	inst->chained = false;
}

int mctl_load(struct mctl_instance *inst, const char *dir)
{
	_cleanup_close_ int cgroup = -1;
	int r;

	if (!mctl_host_has_btf())
		return mctl_why(-ENOTSUP, "this kernel has no type information (/sys/kernel/btf/vmlinux, "
				"CONFIG_DEBUG_INFO_BTF); mirrorctl needs it");
	r = mctl_host_cgroup_root(&cgroup);
	if (!r && mctl_host_cgroup_is_part(cgroup))
		mctl_note("only a part of the cgroup hierarchy is in sight: sockets of processes outside of it are found later; "
			  "share the host's PID namespace, or run mirrorctl on the host");
	if (!r)
		r = load(&mirror, GROUP_ALWAYS, NULL, inst, dir, cgroup);
	if (!r)
		r = load(&monitor, GROUP_ALWAYS, NULL, inst, dir, cgroup);
	if (!r)
		r = load(&explain, GROUP_ALWAYS, NULL, inst, dir, cgroup);
	return r < 0 ? r : load_owner(inst, dir, cgroup);
}

int mctl_load_discard(const char *dir)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = monitor.name);
	_cleanup_(object_closep) struct bpf_object *obj = NULL;
	struct bpf_program *prog;
	struct bpf_map *map;
	const void *bytes;
	size_t size;
	int r;

	bytes = monitor.bytes(&size);
	obj = bpf_object__open_mem(bytes, size, &opts);
	if (!obj)
		return -errno;
	bpf_object__for_each_map(map, obj)
		bpf_map__set_autocreate(map, false);	/* it needs none */
	bpf_object__for_each_program(prog, obj)
		bpf_program__set_autoload(prog, !strcmp(bpf_program__name(prog), "mir_discard"));
	r = bpf_object__load(obj);
	if (r < 0)
		return r;
	return pin_program(bpf_object__find_program_by_name(obj, "mir_discard"), dir, -1);
}
