/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * mirrorctl events: what happened since somebody last looked, from the ring buffer that the programs write; with -f also
 * what happens next. One object per line with -j. Two readers share the events between them.
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "host.h"
#include "json.h"
#include "mctl.h"
#include "names.h"
#include "up.h"
#include "verb.h"

#define LISTEN_NS (3ull * 1000 * 1000 * 1000)	/* first packets are told for so long after we last said we listen */
#define LISTEN_MS 1000				/* how often we say it */

static const char *const kinds[MIR_EVENT_MAX] = {
	[MIR_EVENT_ADDED] = "added",
	[MIR_EVENT_EXITED] = "exited",
	[MIR_EVENT_GONE] = "gone",
	[MIR_EVENT_OWNER] = "owner",
	[MIR_EVENT_FLOW] = "flow",
	[MIR_EVENT_FAILED] = "failed",
};

/* "10.0.0.1:80" or "[::1]:80". */
static const char *end_text(const __be32 addr[4], __be16 port, char *buf, size_t len)
{
	char text[INET6_ADDRSTRLEN];

	if (!addr[0] && !addr[1] && addr[2] == htonl(0xffff))
		snprintf(buf, len, "%s:%u", inet_ntop(AF_INET, &addr[3], text, sizeof(text)), ntohs(port));
	else
		snprintf(buf, len, "[%s]:%u", inet_ntop(AF_INET6, addr, text, sizeof(text)), ntohs(port));
	return buf;
}

static const char *proto_text(__u8 proto, char *buf, size_t len)
{
	switch (proto) {
	case IPPROTO_TCP:
		return "tcp";
	case IPPROTO_UDP:
		return "udp";
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return "icmp";
	}
	snprintf(buf, len, "%u", proto);
	return buf;
}

static int event_json(const struct mir_event *e)
{
	_cleanup_json_ struct json_object *o = json_object_new_object();
	char text[96];

	json_object_object_add(o, "time_ns", mctl_json_u64(e->time_ns));
	json_object_object_add(o, "event", json_object_new_string(kinds[e->kind]));
	json_object_object_add(o, "pid", mctl_json_u64(e->tgid));
	json_object_object_add(o, "comm", mctl_json_text(e->comm, sizeof(e->comm)));
	if (e->kind == MIR_EVENT_ADDED)
		json_object_object_add(o, "parent", e->other ? mctl_json_u64(e->other) : NULL);
	if (e->kind == MIR_EVENT_OWNER)
		json_object_object_add(o, "former", mctl_json_u64(e->other));
	if (e->kind == MIR_EVENT_FLOW) {
		json_object_object_add(o, "proto", json_object_new_string(proto_text(e->flow.proto, text, sizeof(text))));
		json_object_object_add(o, "local", json_object_new_string(
				       end_text(e->flow.local, e->flow.lport, text, sizeof(text))));
		json_object_object_add(o, "remote", json_object_new_string(
				       end_text(e->flow.remote, e->flow.rport, text, sizeof(text))));
	}
	if (e->kind >= MIR_EVENT_FLOW && e->reason < MIR_REASON_MAX)
		json_object_object_add(o, "reason", json_object_new_string(mctl_reason_names[e->reason]));
	if (e->kind == MIR_EVENT_FAILED && e->failure < MIR_FAILURE_MAX)
		json_object_object_add(o, "failure", json_object_new_string(mctl_failure_names[e->failure]));
	return mctl_json_print(o);
}

static void event_text(const struct mir_event *e)
{
	char comm[MIR_COMM_LEN], local[96], remote[96], proto[8];

	printf("%" PRIu64 ".%06" PRIu64 " %-7s %u", (uint64_t)e->time_ns / 1000000000, (uint64_t)e->time_ns / 1000 % 1000000,
	       kinds[e->kind], e->tgid);
	if (*e->comm)
		printf(" (%s)", mctl_printable(e->comm, comm));
	if (e->kind == MIR_EVENT_ADDED && e->other)
		printf(" child of %u", e->other);
	if (e->kind == MIR_EVENT_OWNER)
		printf(" has a socket that was %u's", e->other);
	if (e->kind == MIR_EVENT_FLOW)
		printf(" %s %s %s", proto_text(e->flow.proto, proto, sizeof(proto)),
		       end_text(e->flow.local, e->flow.lport, local, sizeof(local)),
		       end_text(e->flow.remote, e->flow.rport, remote, sizeof(remote)));
	if (e->kind >= MIR_EVENT_FLOW && e->reason < MIR_REASON_MAX)
		printf(" %s", mctl_reason_names[e->reason]);
	if (e->kind == MIR_EVENT_FAILED && e->failure < MIR_FAILURE_MAX)
		printf(" %s", mctl_failure_names[e->failure]);
	putchar('\n');
}

static int on_event(void *unused, void *data, size_t len)
{
	const struct mir_event *e = data;

	(void)unused;
	if (len < sizeof(*e) || e->kind >= MIR_EVENT_MAX)
		return 0;
	if (mctl.json && event_json(e) != MCTL_OK)
		return -EPIPE;
	if (!mctl.json)
		event_text(e);
	return fflush(stdout) ? -EPIPE : 0;
}

/* Says for a while ahead that somebody follows; killed, we are forgotten by ourselves. */
static void listen_on(const struct mctl_instance *inst, bool on)
{
	inst->live->follow_ns = on ? mctl_host_now_ns() + LISTEN_NS : 0;
}

static int follow(const struct mctl_instance *inst, struct ring_buffer *ring)
{
	struct pollfd pfd[] = { { .fd = ring_buffer__epoll_fd(ring), .events = POLLIN }, { .fd = -1, .events = POLLIN } };
	_cleanup_close_ int signals = -1;
	sigset_t set;
	int r = 0;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signals = signalfd(-1, &set, SFD_CLOEXEC);
	pfd[1].fd = signals;
	while (r >= 0 && mctl_instance_is_up(inst)) {
		listen_on(inst, true);
		if (poll(pfd, ARRAY_SIZE(pfd), LISTEN_MS) < 0 && errno != EINTR)
			r = -errno;
		else if (pfd[1].revents)
			break;
		else
			r = ring_buffer__consume(ring);
	}
	listen_on(inst, false);
	return r < 0 ? r : 0;
}

int cmd_events(const struct mctl_args *args)
{
	_cleanup_instance_ struct mctl_instance inst;
	struct ring_buffer *ring;
	int r;

	r = mctl_instance_init(&inst);
	if (!r)
		r = mctl_view(&inst);
	if (r == -ENOENT)
		return mctl_fail(MCTL_NOT_FOUND, "the mirror is down: nothing happens; 'mirrorctl up' brings it up");
	if (r < 0)
		return mctl_fail_with(r, "read the events");
	ring = ring_buffer__new(inst.map[MCTL_MAP_EVENTS], on_event, NULL, NULL);
	if (!ring)
		return mctl_fail_with(-errno, "read the events");
	if (inst.live->events_lost)
		mctl_note("%" PRIu64 " events found no room and are lost", (uint64_t)inst.live->events_lost);
	r = ring_buffer__consume(ring);
	if (r >= 0 && (args->given & MCTL_OPT(MCTL_OPT_TAIL)))
		r = follow(&inst, ring);
	ring_buffer__free(ring);
	return r < 0 && r != -EPIPE ? mctl_fail_with(r, "read the events") : r < 0 ? MCTL_FAILED : MCTL_OK;
}
