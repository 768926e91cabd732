/* SPDX-License-Identifier: GPL-2.0-only */
/* Taps as `tap list` and `status` show them: see tap_show.h. */
#include "tap_show.h"

#include <inttypes.h>
#include <string.h>

#include <linux/if.h>

#include "mctl.h"
#include "rules.h"
#include "settings.h"

/* Sums that struct mir_tap_stats leaves to the reader. While traffic flows a counter may be ahead of another. */
struct sums {
	uint64_t forwarded, down;
	uint64_t copied, copy_down;
};

static uint64_t less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static struct sums sums_of(const struct mir_tap_stats *s)
{
	return (struct sums){
		.forwarded = less(s->sent, s->dropped),
		.down = less(s->in, s->sent + s->too_long + s->lost),
		.copied = less(s->copy_sent, s->copy_dropped),
		.copy_down = less(s->wanted, s->copy_sent + s->copy_too_long + s->copy_lost),
	};
}

int mctl_taps_read(const struct mctl_instance *inst, struct mctl_tap_view **ret_views, size_t *ret_n)
{
	_cleanup_free_ struct mctl_tap_view *views = calloc(MCTL_TAPS_MAX, sizeof(*views));
	char names[MCTL_TAPS_MAX][MIR_TAP_NAME_LEN];
	size_t n = mctl_taps_list(inst, names), count = 0;
	int r = 0;

	if (!views)
		return -ENOMEM;
	for (size_t i = 0; i < n && !r; i++) {
		struct mctl_tap_view *v = &views[count];

		mctl_tap_init(&v->tap, inst, names[i]);
		r = mctl_tap_open(&v->tap, v->tap.dir);
		if (r < 0 && access(v->tap.dir, F_OK)) {	/* deleted meanwhile */
			r = 0;
			continue;
		}
		if (!r && v->tap.state.netns_cookie != inst->netns_cookie) {	/* its namespace is gone */
			mctl_tap_close(&v->tap);
			continue;
		}
		if (!r)
			r = mctl_tap_select_read(&v->tap, &v->select);
		for (int p = 0; p < 2 && !r; p++) {
			r = mctl_tap_stats_read(&v->tap, p, &v->stats[p]);
			v->attached[p] = mctl_tap_attached(&v->tap, (int)v->tap.state.port[p].ifindex);
		}
		mctl_tap_close(&v->tap);
		count++;
	}
	if (r < 0)
		return r;
	*ret_views = TAKE_PTR(views);
	*ret_n = count;
	return 0;
}

static const char *link_state(const struct mctl_link *link)
{
	if (!link)
		return "gone";
	if (!(link->flags & IFF_UP))
		return "down";
	return link->flags & IFF_RUNNING ? "up" : "no carrier";
}

static struct json_object *port_json(const struct mctl_tap_view *v, int i, const struct mctl_links *links)
{
	const struct mir_tap_port *port = &v->tap.state.port[i];
	const struct mctl_link *link = mctl_links_by_index(links, (int)port->ifindex);
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "dev", json_object_new_string(link ? link->name : port->name));
	json_object_object_add(o, "ifindex", json_object_new_int(link ? link->ifindex : 0));
	json_object_object_add(o, "up", json_object_new_boolean(link && (link->flags & IFF_UP)));
	json_object_object_add(o, "carrier", json_object_new_boolean(link && (link->flags & IFF_RUNNING)));
	json_object_object_add(o, "attached", json_object_new_boolean(v->attached[i]));
	return o;
}

static struct json_object *failed_json(uint64_t down, uint64_t too_long, uint64_t congested, uint64_t other)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "down", mctl_json_u64(down));
	json_object_object_add(o, "too_long", mctl_json_u64(too_long));
	json_object_object_add(o, "congested", mctl_json_u64(congested));
	json_object_object_add(o, "other", mctl_json_u64(other));
	return o;
}

static struct json_object *direction_json(const struct mctl_tap_view *v, int i)
{
	const struct mir_tap_stats *s = &v->stats[i];
	struct json_object *o = json_object_new_object();
	const struct sums sums = sums_of(s);

	json_object_object_add(o, "from", json_object_new_string(v->tap.state.port[i].name));
	json_object_object_add(o, "to", json_object_new_string(v->tap.state.port[!i].name));
	json_object_object_add(o, "in", mctl_json_u64(s->in));
	json_object_object_add(o, "in_bytes", mctl_json_u64(s->in_bytes));
	json_object_object_add(o, "forwarded", mctl_json_u64(sums.forwarded));
	json_object_object_add(o, "wanted", mctl_json_u64(s->wanted));
	json_object_object_add(o, "copied", mctl_json_u64(sums.copied));
	json_object_object_add(o, "failed", failed_json(sums.down, s->too_long, s->dropped, s->lost));
	json_object_object_add(o, "copy_failed", failed_json(sums.copy_down, s->copy_too_long, s->copy_dropped,
							     s->copy_lost));
	return o;
}

/* In generic mode a device may drop a copy behind XDP's back: its receiving end is down, a backlog is full. In native mode
 * the device's own count is that of `congested`. */
static uint64_t dropped_at_monitor(const struct mctl_tap_view *v, const struct mctl_links *links)
{
	const struct mctl_link *in = mctl_links_by_index(links, (int)v->tap.state.copy_ifindex);

	return in && v->tap.state.mode == MIR_TAP_GENERIC ? in->tx_dropped : 0;
}

static void add_text(const char *text, void *array)
{
	json_object_array_add(array, json_object_new_string(text));
}

struct json_object *mctl_tap_json(const struct mctl_tap_view *v, const struct mctl_links *links)
{
	struct json_object *o = json_object_new_object(), *monitor = json_object_new_object();
	struct json_object *match = json_object_new_array(), *ports = json_object_new_array();
	struct json_object *directions = json_object_new_array(), *limits = json_object_new_array();
	const struct mir_tap_state *s = &v->tap.state;
	const struct mctl_link *link = mctl_links_by_index(links, (int)s->monitor_ifindex);
	char text[MCTL_RULE_TEXT];

	json_object_object_add(o, "name", json_object_new_string(v->tap.name));
	json_object_object_add(o, "mode", json_object_new_string(mctl_tap_modes[s->mode % MIR_TAP_MODE_MAX]));
	json_object_object_add(o, "attach", json_object_new_string(s->dispatcher ? "dispatcher" : "single"));
	json_object_object_add(monitor, "name", json_object_new_string(link ? link->name : s->monitor));
	json_object_object_add(monitor, "ifindex", json_object_new_int(link ? link->ifindex : 0));
	json_object_object_add(monitor, "up", json_object_new_boolean(link && (link->flags & IFF_UP)));
	json_object_object_add(monitor, "dropped", mctl_json_u64(dropped_at_monitor(v, links)));
	json_object_object_add(o, "monitor", monitor);
	for (__u32 i = 0; i < v->select.nrules && i < MIR_TAP_RULES; i++)
		add_text(mctl_rule_text(&v->select.rule[i], text, sizeof(text)), match);
	json_object_object_add(o, "match", match);
	json_object_object_add(o, "sample", json_object_new_int64(v->select.sample));
	for (int i = 0; i < 2; i++) {
		json_object_array_add(ports, port_json(v, i, links));
		json_object_array_add(directions, direction_json(v, i));
	}
	json_object_object_add(o, "ports", ports);
	json_object_object_add(o, "directions", directions);
	mctl_tap_limits(v, links, add_text, limits);
	json_object_object_add(o, "limits", limits);
	return o;
}

static void print_direction(const struct mctl_tap_view *v, int i)
{
	const struct mir_tap_stats *s = &v->stats[i];
	const struct sums sums = sums_of(s);

	printf("  %-15s > %-15s in %" PRIu64 ", forwarded %" PRIu64 ", copied %" PRIu64, v->tap.state.port[i].name,
	       v->tap.state.port[!i].name, (uint64_t)s->in, sums.forwarded, sums.copied);
	if (s->in > sums.forwarded)
		printf("; not forwarded: down %" PRIu64 ", too long %" PRIu64 ", congested %" PRIu64 ", other %" PRIu64,
		       sums.down, (uint64_t)s->too_long, (uint64_t)s->dropped, (uint64_t)s->lost);
	if (s->wanted > sums.copied)
		printf("; not copied: down %" PRIu64 ", too long %" PRIu64 ", congested %" PRIu64 ", other %" PRIu64,
		       sums.copy_down, (uint64_t)s->copy_too_long, (uint64_t)s->copy_dropped, (uint64_t)s->copy_lost);
	putchar('\n');
}

void mctl_tap_print(const struct mctl_tap_view *v, const struct mctl_links *links)
{
	const struct mir_tap_state *s = &v->tap.state;
	const struct mctl_link *a = mctl_links_by_index(links, (int)s->port[0].ifindex);
	const struct mctl_link *b = mctl_links_by_index(links, (int)s->port[1].ifindex);
	const struct mctl_link *mon = mctl_links_by_index(links, (int)s->monitor_ifindex);
	char text[MCTL_RULE_TEXT];

	printf("tap          %s: %s (%s) = %s (%s), monitor %s (%s), %s, %s\n", v->tap.name, a ? a->name : s->port[0].name,
	       link_state(a), b ? b->name : s->port[1].name, link_state(b), mon ? mon->name : s->monitor, link_state(mon),
	       mctl_tap_modes[s->mode % MIR_TAP_MODE_MAX], s->dispatcher ? "dispatcher" : "single program");
	for (__u32 i = 0; i < v->select.nrules && i < MIR_TAP_RULES; i++)
		printf("  match        %s\n", mctl_rule_text(&v->select.rule[i], text, sizeof(text)));
	if (v->select.sample > 1)
		printf("  sample       1/%u\n", v->select.sample);
	print_direction(v, 0);
	print_direction(v, 1);
	if (dropped_at_monitor(v, links))
		printf("  copies that the monitor's own queue dropped: %" PRIu64 "\n", dropped_at_monitor(v, links));
}

static void port_limits(const struct mctl_tap_view *v, int i, const struct mctl_links *links,
			void (*each)(const char *text, void *data), void *data)
{
	const struct mir_tap_port *port = &v->tap.state.port[i];
	const struct mctl_link *link = mctl_links_by_index(links, (int)port->ifindex);
	char line[160];

	*line = '\0';
	if (!link)
		snprintf(line, sizeof(line), "tap %s: port %s is gone: nothing crosses; 'mirrorctl tap del %s'", v->tap.name,
			 port->name, v->tap.name);
	else if (!v->attached[i])
		snprintf(line, sizeof(line), "tap %s: somebody took the program off %s: what comes in there is not forwarded",
			 v->tap.name, link->name);
	else if (!(link->flags & IFF_UP))
		snprintf(line, sizeof(line), "tap %s: port %s is down: nothing crosses; 'ip link set %s up'", v->tap.name,
			 link->name, link->name);
	else if (!(link->flags & IFF_RUNNING))
		snprintf(line, sizeof(line), "tap %s: port %s has no carrier: nothing crosses", v->tap.name, link->name);
	if (*line)
		each(line, data);
}

void mctl_tap_limits(const struct mctl_tap_view *v, const struct mctl_links *links,
		     void (*each)(const char *text, void *data), void *data)
{
	const struct mir_tap_state *s = &v->tap.state;
	const struct mctl_link *mon = mctl_links_by_index(links, (int)s->monitor_ifindex);
	char line[160];

	for (int i = 0; i < 2; i++)
		port_limits(v, i, links, each, data);
	*line = '\0';
	if (!mon)
		snprintf(line, sizeof(line), "tap %s: monitor %s is gone: copies are lost; the same 'tap add' makes it again",
			 v->tap.name, s->monitor);
	else if (!(mon->flags & IFF_UP))
		snprintf(line, sizeof(line), "tap %s: monitor %s is down: copies are lost; 'ip link set %s up'", v->tap.name,
			 mon->name, mon->name);
	if (*line)
		each(line, data);
	if (!s->causes) {
		snprintf(line, sizeof(line), "tap %s: no tracepoints on this kernel: frames a driver drops count as forwarded",
			 v->tap.name);
		each(line, data);
	}
}
