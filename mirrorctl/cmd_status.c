/* SPDX-License-Identifier: GPL-2.0-only */
/* mirrorctl status: instance, monitor, sources, how sure the attribution is, and every limit in force. */
#include <string.h>

#include <linux/if.h>

#include <bpf/bpf.h>

#include "attach.h"
#include "filter.h"
#include "json.h"
#include "mctl.h"
#include "monitors.h"
#include "sources.h"
#include "tap_show.h"
#include "up.h"
#include "verb.h"

struct view {
	struct mctl_instance inst;
	struct mctl_links links;
	struct mctl_tap_view *taps;	/* they need no instance */
	size_t ntaps;
	struct mir_monitor monitors[MIR_MONITORS_LIMIT];	/* the instance's own first */
	size_t nmonitors;
	bool up;
};

static const char *const use_names[] = {
	[MIR_USE_FENTRY] = "fentry/security_socket_sendmsg,recvmsg",
	[MIR_USE_TRACEPOINT] = "tp_btf/sock_send_length,sock_recv_length+cgroup/sendmsg",
	[MIR_USE_CGROUP] = "cgroup/sendmsg,recvmsg",
};
static const char *const fork_names[] = {
	[MIR_FORK_WAKE] = "tp_btf/sched_wakeup_new,sched_process_exec,exit",
	[MIR_FORK_TRACE] = "tp_btf/sched_process_fork,exec,exit",
};
static const char *const accept_names[] = {
	[MIR_ACCEPT_FENTRY] = "fentry/security_sock_graft",
	[MIR_ACCEPT_INHERIT] = "listener's owner until first receive",
};

/* Where no receive of a connected socket is seen, the listener's owner stays. */
static const char *accept_name(const struct mir_config *c)
{
	if (c->tier_accept == MIR_ACCEPT_INHERIT && c->tier_use == MIR_USE_CGROUP)
		return "listener's owner";
	return accept_names[c->tier_accept & 1];
}

static const char *const existing_names[] = {
	[MIR_EXISTING_ITER] = "iter/task_file",
	[MIR_EXISTING_GETFD] = "pidfd_getfd",
};

static struct json_object *text(const char *s)
{
	return json_object_new_string(s);
}

/* The end of a monitor that can be seen from here. NULL: it is gone. */
static const struct mctl_link *monitor_link(const struct view *v, const struct mir_monitor *m)
{
	return mctl_links_by_index(&v->links, (int)(m->netns ? m->copy_ifindex : m->ifindex));
}

/* One in this namespace may have been renamed. */
static const char *monitor_name(const struct mir_monitor *m, const struct mctl_link *link)
{
	return link && !m->netns ? link->name : m->name;
}

static struct json_object *monitor_json(const struct view *v, const struct mir_monitor *m)
{
	const struct mir_config *c = &v->inst.config;
	const struct mctl_link *link = monitor_link(v, m);
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "name", text(monitor_name(m, link)));
	json_object_object_add(o, "type", text(mctl_monitor_type_name(m->type)));
	json_object_object_add(o, "ifindex", json_object_new_int(link ? (int)m->ifindex : 0));
	json_object_object_add(o, "netns", mctl_json_u64(m->netns ? m->netns : v->inst.netns));
	json_object_object_add(o, "mtu", json_object_new_int(link ? (int)link->mtu : 0));
	json_object_object_add(o, "up", json_object_new_boolean(link && (link->flags & IFF_UP)));
	json_object_object_add(o, "identity", text(mctl_identities[c->identity % MIR_IDENTITY_MAX]));
	json_object_object_add(o, "snaplen", json_object_new_int((int)c->snaplen));
	return o;
}

static struct json_object *source_json(const struct view *v, int ifindex)
{
	const struct mctl_link *link = mctl_links_by_index(&v->links, ifindex);
	struct json_object *o = json_object_new_object();
	struct mir_source s = {};

	bpf_map_lookup_elem(v->inst.map[MCTL_MAP_SOURCES], &ifindex, &s);
	json_object_object_add(o, "dev", text(link ? link->name : s.name));
	json_object_object_add(o, "ifindex", json_object_new_int(link ? ifindex : 0));
	json_object_object_add(o, "hook", text(v->inst.config.tcx ? "tcx" : "clsact"));
	json_object_object_add(o, "ingress", json_object_new_boolean(s.ingress));
	json_object_object_add(o, "egress", json_object_new_boolean(s.egress));
	return o;
}

static struct json_object *attribution_json(const struct mir_config *c)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "create", text("cgroup/sock_create"));
	json_object_object_add(o, "accept", text(accept_name(c)));
	json_object_object_add(o, "use", text(use_names[c->tier_use % ARRAY_SIZE(use_names)]));
	json_object_object_add(o, "existing", text(existing_names[c->tier_existing & 1]));
	json_object_object_add(o, "lifecycle", text(fork_names[c->tier_fork & 1]));
	return o;
}

/* Walks the filters in force: that of the instance (0) and those of selections. */
static void filters(const struct view *v, void (*each)(__u32 number, const struct mir_filter *f, void *data), void *data)
{
	struct mir_policy p;
	struct mir_filter f;

	for (__u32 i = 0; i < MIR_SELECTORS_LIMIT; i++)
		if (!bpf_map_lookup_elem(v->inst.map[MCTL_MAP_POLICIES], &i, &p) && p.filter &&
		    !mctl_filter_read(&v->inst, p.filter - 1, &f))
			each(i, &f, data);
}

static void add_filter(__u32 number, const struct mir_filter *f, void *array)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "number", json_object_new_int((int)number));
	json_object_object_add(o, "expr", text(f->expr));
	json_object_object_add(o, "headerless", json_object_new_boolean(f->headerless));
	json_object_array_add(array, o);
}

static void print_filter(__u32 number, const struct mir_filter *f, void *unused)
{
	(void)unused;
	printf("filter %-5u %s%s\n", number, f->expr,
	       f->headerless ? "" : " (refuses every packet of sources without Ethernet header)");
}

static void add_text(const char *limit, void *array)
{
	json_object_array_add(array, text(limit));
}

static void print_text(const char *limit, void *unused)
{
	(void)unused;
	printf("limit        %s\n", limit);
}

/* Whoever runs before us may keep packets to himself. */
static void hidden_limits(const struct view *v, const struct mctl_link *link, void (*each)(const char *text, void *data),
			  void *data)
{
	char line[160];

	for (int egress = 0; egress <= 1; egress++) {
		__u32 ahead = mctl_source_ahead(&v->inst, v->inst.dir, link->ifindex, egress);

		if (!ahead)
			continue;
		snprintf(line, sizeof(line), "source %.15s %s: program %u runs before ours and can hide packets; 'mirrorctl "
			 "up' puts ours first", link->name, egress ? "egress" : "ingress", ahead);
		each(line, data);
	}
	if (link->xdp) {
		snprintf(line, sizeof(line), "source %.15s ingress: what its XDP program drops or redirects is not seen",
			 link->name);
		each(line, data);
	}
}

/* A source that is gone, or whose programs somebody took off, is a limit too. */
static void source_limits(const struct view *v, void (*each)(const char *text, void *data), void *data)
{
	int ifindex[MIR_SOURCES_LIMIT];
	size_t n = mctl_sources_list(&v->inst, ifindex);
	char line[128];

	if (!n)
		each("no source: nothing is mirrored; 'mirrorctl up DEV' names one", data);
	for (size_t i = 0; i < n; i++) {
		const struct mctl_link *link = mctl_links_by_index(&v->links, ifindex[i]);
		struct mir_source s = {};

		if (link && mctl_source_alive(&v->inst, v->inst.dir, ifindex[i])) {
			hidden_limits(v, link, each, data);
			continue;
		}
		bpf_map_lookup_elem(v->inst.map[MCTL_MAP_SOURCES], &ifindex[i], &s);
		snprintf(line, sizeof(line), "source %.15s is gone or was detached; 'mirrorctl up' attaches again", s.name);
		each(line, data);
	}
}

static void monitor_limits(const struct view *v, const struct mir_monitor *m, void (*each)(const char *text, void *data),
			   void *data)
{
	const struct mctl_link *link = monitor_link(v, m);
	const char *name = monitor_name(m, link);
	char line[128];

	if (!link)
		snprintf(line, sizeof(line), "monitor %.15s is gone: copies are lost; %s makes it again", name,
			 m->netns ? "the command that made it" : "'mirrorctl up'");
	else if (!(link->flags & IFF_UP))
		snprintf(line, sizeof(line), "monitor %.15s is down: copies are lost; 'ip link set %.15s up'", name, link->name);
	if (!link || !(link->flags & IFF_UP))
		each(line, data);
}

static void all_limits(const struct view *v, void (*each)(const char *text, void *data), void *data)
{
	for (size_t i = 0; i < v->nmonitors; i++)
		monitor_limits(v, &v->monitors[i], each, data);
	source_limits(v, each, data);
	mctl_limits(&v->inst, each, data);
}

static void tap_limits(const struct view *v, void (*each)(const char *text, void *data), void *data)
{
	for (size_t i = 0; i < v->ntaps; i++)
		mctl_tap_limits(&v->taps[i], &v->links, each, data);
}

static int status_json(const struct view *v)
{
	_cleanup_json_ struct json_object *root = json_object_new_object();
	struct json_object *sources = json_object_new_array(), *limits = json_object_new_array();
	struct json_object *taps = json_object_new_array(), *filtered = json_object_new_array();
	struct json_object *monitors = json_object_new_array();
	int ifindex[MIR_SOURCES_LIMIT];
	size_t n = v->up ? mctl_sources_list(&v->inst, ifindex) : 0;

	json_object_object_add(root, "state", text(v->up ? "up" : "down"));
	json_object_object_add(root, "netns", mctl_json_u64(v->inst.netns));
	json_object_object_add(root, "monitor", v->up ? monitor_json(v, &v->monitors[0]) : NULL);
	for (size_t i = 0; i < v->nmonitors; i++)
		json_object_array_add(monitors, monitor_json(v, &v->monitors[i]));
	json_object_object_add(root, "monitors", monitors);
	for (size_t i = 0; i < n; i++)
		json_object_array_add(sources, source_json(v, ifindex[i]));
	json_object_object_add(root, "sources", sources);
	if (v->up)
		filters(v, add_filter, filtered);
	json_object_object_add(root, "filters", filtered);
	json_object_object_add(root, "attribution", v->up ? attribution_json(&v->inst.config) : NULL);
	if (v->up)
		all_limits(v, add_text, limits);
	tap_limits(v, add_text, limits);
	json_object_object_add(root, "limits", limits);
	for (size_t i = 0; i < v->ntaps; i++)
		json_object_array_add(taps, mctl_tap_json(&v->taps[i], &v->links));
	json_object_object_add(root, "taps", taps);
	return mctl_json_print(root);
}

static void monitor_text(const struct view *v, const struct mir_monitor *m)
{
	const struct mctl_link *link = monitor_link(v, m);

	printf("monitor      %s (%s, %s)", monitor_name(m, link), mctl_monitor_type_name(m->type),
	       !link ? "gone" : link->flags & IFF_UP ? "up" : "down");
	if (m->netns)
		printf(" in network namespace %u", m->netns);
	if (v->inst.config.snaplen)
		printf(", first %u bytes of each packet", v->inst.config.snaplen);
	putchar('\n');
}

static void instance_text(const struct view *v)
{
	const struct mir_config *c = &v->inst.config;
	int ifindex[MIR_SOURCES_LIMIT];
	size_t n;

	for (size_t i = 0; i < v->nmonitors; i++)
		monitor_text(v, &v->monitors[i]);
	n = mctl_sources_list(&v->inst, ifindex);
	for (size_t i = 0; i < n; i++) {
		const struct mctl_link *source = mctl_links_by_index(&v->links, ifindex[i]);
		struct mir_source s = {};

		bpf_map_lookup_elem(v->inst.map[MCTL_MAP_SOURCES], &ifindex[i], &s);
		printf("source       %s (%s:%s%s)\n", source ? source->name : s.name, c->tcx ? "tcx" : "clsact",
		       s.ingress ? " ingress" : "", s.egress ? " egress" : "");
	}
	filters(v, print_filter, NULL);
	printf("create       cgroup/sock_create\n");
	printf("accept       %s\n", accept_name(c));
	printf("use          %s\n", use_names[c->tier_use % ARRAY_SIZE(use_names)]);
	printf("existing     %s\n", existing_names[c->tier_existing & 1]);
	printf("lifecycle    %s\n", fork_names[c->tier_fork & 1]);
	all_limits(v, print_text, NULL);
}

static void status_text(const struct view *v)
{
	printf("state        %s\n", v->up ? "up" : "down");
	printf("netns        %u\n", v->inst.netns);
	if (v->up)
		instance_text(v);
	for (size_t i = 0; i < v->ntaps; i++)
		mctl_tap_print(&v->taps[i], &v->links);
	tap_limits(v, print_text, NULL);
}

int cmd_status(const struct mctl_args *args)
{
	struct view v = {};
	int r, status = MCTL_OK;

	(void)args;
	r = mctl_instance_init(&v.inst);
	if (!r)
		r = mctl_view(&v.inst);
	v.up = !r;
	v.nmonitors = v.up ? mctl_monitors_read(&v.inst, v.monitors) : 0;
	if (!r || r == -ENOENT)
		r = mctl_links_read(&v.links);
	if (!r)
		r = mctl_taps_read(&v.inst, &v.taps, &v.ntaps);
	if (r < 0)
		status = mctl_fail_with(r, "read the state");
	else if (mctl.json)
		status = status_json(&v);
	else
		status_text(&v);
	mctl_links_free(&v.links);
	free(v.taps);
	mctl_instance_close(&v.inst);
	return status;
}
