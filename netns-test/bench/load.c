/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The benchmark's traffic. A process is started once, says "ready PID ...", and then does one sample for each line on stdin,
 * answering with one line: so a configuration can be changed between samples while sockets and process stay the same. `ns` of
 * `send` and `share` is settled time, see settled_ns().
 *
 *   load send ADDR PORT SIZE SOCKETS       "MS"         -> packets ns                 UDP as fast as it goes
 *   load share ADDR PORT SIZE              "MS PERCENT" -> packets ns selected        PERCENT go to PORT + 1, sent by a second
 *                                                                                     process, which is named, too
 *   load receive ADDR PORT SOCKETS ROOM    ""           -> packets received so far    a socket on PORT, reads when asked; the
 *                                                                                     rest is idle. ROOM: buffer, bytes
 *   load echo udp|tcp ADDR PORT                                                       sends back what comes, one peer's (tcp)
 *   load ping udp|tcp ADDR PORT            "MS"         -> round trips, ns, p50, p99  times in nanoseconds
 *   load calls                             "NAME MS"    -> calls ns                   socket send receive accept fork
 *   load hold PROCESSES SOCKETS                                                       that many of each, until stdin ends
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64
#define SIZE_MAX_UDP 1472
#define SLICE 512	/* packets of `send` that are timed together */
#define TURN 3200	/* packets of `share` before its shares begin anew, timed together */
#define SLICES_MAX 100000
#define ROUNDS_MAX 1000000
#define OTHER_FILES 1024	/* descriptors that are none of the many sockets: pipes to further processes */
#define FIRST_PORT 1024
#define PORTS 60000

static char payload[SIZE_MAX_UDP];

static void check(int ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

static long number(const char *text)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (*text && !*end && value >= 0)
		return value;
	fprintf(stderr, "load: '%s' is no number\n", text);
	exit(2);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int by_length(const void *a, const void *b)
{
	uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;

	return one < other ? -1 : one > other;
}

/* A sample is timed in slices, each of as many packets as the others. */
static uint64_t slice_ns[SLICES_MAX];

/* What the slices would have taken, had each been as fast as the fastest tenth of them: whatever else the machine did (somebody on
 * the processor's other thread, an interrupt, other processes) can only have made one longer. */
static uint64_t settled_ns(size_t slices)
{
	qsort(slice_ns, slices, sizeof(slice_ns[0]), by_length);
	return slice_ns[slices / 10] * slices;
}

static struct sockaddr_in address(const char *addr, long port)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };

	check(inet_pton(AF_INET, addr, &in.sin_addr) == 1, addr);
	return in;
}

/* A UDP socket that is connected to `to`, on local port `port` if that is not 0. */
static int connected(struct sockaddr_in to, long port)
{
	struct sockaddr_in own = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), one = 1;

	check(fd >= 0, "socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (port)
		check(!bind(fd, (struct sockaddr *)&own, sizeof(own)), "bind");
	check(!connect(fd, (struct sockaddr *)&to, sizeof(to)), "connect");
	return fd;
}

/* As many descriptors as this process may ever have, and more where it may raise that; returns how many of them can be
 * sockets. */
static long limit_files(void)
{
	struct rlimit files = { 1048576, 1048576 };

	if (setrlimit(RLIMIT_NOFILE, &files) && !getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	return (long)files.rlim_cur - OTHER_FILES;
}

static pid_t child(void)
{
	pid_t pid = fork();

	check(pid >= 0, "fork");
	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	return pid;
}

/* Sends `count` packets; what a full queue refuses is not sent and not counted. */
static uint64_t burst(int fd, long size, uint64_t count)
{
	struct iovec part = { .iov_base = payload, .iov_len = (size_t)size };
	struct mmsghdr msgs[BATCH] = {};
	uint64_t sent = 0, tried = 0;
	int n;

	for (int i = 0; i < BATCH; i++)
		msgs[i].msg_hdr = (struct msghdr){ .msg_iov = &part, .msg_iovlen = 1 };
	while (tried < count) {
		unsigned int want = count - tried < BATCH ? (unsigned int)(count - tried) : BATCH;

		n = sendmmsg(fd, msgs, want, 0);
		sent += n > 0 ? (uint64_t)n : 0;
		tried += want;
	}
	return sent;
}

static int ask(long *ret_a, long *ret_b)
{
	char line[128], *rest;

	if (!fgets(line, sizeof(line), stdin))
		return 0;
	*ret_a = strtol(line, &rest, 10);
	*ret_b = strtol(rest, NULL, 10);
	return 1;
}

static void answer(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	printf("%llu %llu %llu %llu\n", (unsigned long long)a, (unsigned long long)b, (unsigned long long)c,
	       (unsigned long long)d);
	fflush(stdout);
}

static void ready(pid_t other)
{
	printf("ready %d %d\n", getpid(), other);
	fflush(stdout);
}

/* Sockets of one process, all to one address; each packet is sent by another of them. */
struct crowd {
	int *fds;
	long count, size;	/* sockets; bytes of a packet */
	uint32_t random;
};

static struct crowd crowd_open(struct sockaddr_in to, long first, long count, long size)
{
	struct crowd c = { calloc((size_t)count, sizeof(*c.fds)), count, size, (uint32_t)first + 1 };

	check(c.fds != NULL, "calloc");
	for (long i = 0; i < count; i++)
		c.fds[i] = connected(to, first + count == 1 ? 0 : FIRST_PORT + (first + i) % PORTS);
	return c;
}

static uint64_t crowd_slice(struct crowd *c)
{
	uint64_t sent = 0;

	if (c->count == 1)
		return burst(c->fds[0], c->size, SLICE);
	for (int i = 0; i < SLICE; i++) {
		c->random = c->random * 1664525 + 1013904223;	/* Numerical Recipes, the high bits are good */
		sent += send(c->fds[(uint64_t)c->random * (uint64_t)c->count >> 32], payload, (size_t)c->size, 0) > 0;
	}
	return sent;
}

/* Sends for so long; returns packets, and through `ret_ns` their settled time. */
static uint64_t crowd_send(struct crowd *c, uint64_t ns, uint64_t *ret_ns)
{
	uint64_t before = now_ns(), end = before + ns, now = before, sent = 0;
	size_t slices = 0;

	while (now < end && slices < SLICES_MAX) {
		sent += crowd_slice(c);
		now = now_ns();
		slice_ns[slices++] = now - before;
		before = now;
	}
	*ret_ns = settled_ns(slices);
	return sent;
}

/* A further process, and the pipes by which this one gives it a turn: a number goes there, packets and nanoseconds come back. The
 * two never run at once, and getting a turn is no part of any time. */
struct turn {
	pid_t pid;	/* 0: this is the further process */
	int to, from;
};

/* How a process that has its turn answers, and before the first when it is ready. */
static int turn_end(const struct turn *t, uint64_t sent, uint64_t ns)
{
	uint64_t said[2] = { sent, ns };

	return write(t->to, said, sizeof(said)) == sizeof(said);
}

/* The further process waits for its turn; 0: there will be none. */
static int turn_begins(const struct turn *t, uint64_t *ret_number)
{
	return read(t->from, ret_number, sizeof(*ret_number)) == sizeof(*ret_number);
}

/* Gives it a turn, and waits for its end. `number` NULL: for it to be ready. */
static uint64_t turn_give(const struct turn *t, const uint64_t *number, uint64_t *ret_ns)
{
	uint64_t said[2];

	check(!number || write(t->to, number, sizeof(*number)) == sizeof(*number), "turn");
	check(read(t->from, said, sizeof(said)) == sizeof(said), "a further process");
	*ret_ns = said[1];
	return said[0];
}

static struct turn turn_fork(void)
{
	int there[2], back[2];
	struct turn t;

	check(!pipe(there) && !pipe(back), "pipe");
	t.pid = child();
	t.to = t.pid ? there[1] : back[1];
	t.from = t.pid ? back[0] : there[0];
	close(t.pid ? there[0] : there[1]);
	close(t.pid ? back[1] : back[0]);
	return t;
}

/* One process for as many sockets as a process may have. They take turns, each told for how long. */
static struct turn turn_start(struct sockaddr_in addr, long first, long count, long size)
{
	struct turn t = turn_fork();
	struct crowd c;
	uint64_t ns, sent = 0;

	if (t.pid) {
		turn_give(&t, NULL, &ns);
		return t;
	}
	c = crowd_open(addr, first, count, size);
	for (ns = 0; turn_end(&t, sent, ns) && turn_begins(&t, &ns);)
		sent = crowd_send(&c, ns, &ns);
	_exit(0);
}

static int load_send(char **argv)
{
	struct sockaddr_in to = address(argv[0], number(argv[1]));
	long size = number(argv[2]), sockets = number(argv[3]), room = limit_files(), ms, unused, first;
	long processes = (sockets - 1) / room;	/* beside this one, which takes what is left over */
	struct turn *turns = calloc((size_t)processes + 1, sizeof(*turns));
	struct crowd own;

	check(size <= SIZE_MAX_UDP && sockets > 0 && turns, "load send");
	for (first = 0; first < processes; first++)
		turns[first] = turn_start(to, first * room, room, size);
	own = crowd_open(to, processes * room, sockets - processes * room, size);
	ready(0);
	while (ask(&ms, &unused)) {
		uint64_t each = (uint64_t)ms * 1000000 / ((uint64_t)processes + 1), took, ns, sent = crowd_send(&own, each, &took);

		for (long i = 0; i < processes; i++) {
			sent += turn_give(&turns[i], &each, &ns);
			took += ns;
		}
		answer(sent, took, 0, 0);
	}
	return 0;
}

/* The process that is selected: sends as many packets as it is told, by a socket of its own. */
static struct turn share_start(struct sockaddr_in to, long size)
{
	struct turn t = turn_fork();
	uint64_t count, sent = 0, ns = 0, start;
	int fd;

	if (t.pid) {
		turn_give(&t, NULL, &ns);
		return t;
	}
	fd = connected(to, 0);
	while (turn_end(&t, sent, ns) && turn_begins(&t, &count)) {
		start = now_ns();
		sent = burst(fd, size, count);
		ns = now_ns() - start;
	}
	_exit(0);
}

static int load_share(char **argv)
{
	struct sockaddr_in to = address(argv[0], number(argv[1])), other = address(argv[0], number(argv[1]) + 1);
	long size = number(argv[2]), ms, percent;
	struct turn t = share_start(other, size);
	int fd = connected(to, 0);

	ready(t.pid);
	while (ask(&ms, &percent)) {
		uint64_t turn = (uint64_t)percent * TURN / 100, sent = 0, mine = 0, all = 0, start, ns;
		size_t slices = 0;

		while (all < (uint64_t)ms * 1000000 && slices < SLICES_MAX) {
			start = now_ns();
			sent += burst(fd, size, TURN - turn);
			slice_ns[slices] = now_ns() - start;
			if (turn) {
				mine += turn_give(&t, &turn, &ns);
				slice_ns[slices] += ns;
			}
			all += slice_ns[slices++];
		}
		answer(sent + mine, settled_ns(slices), mine, 0);
	}
	return 0;
}

static int udp_server(const char *addr, long port)
{
	struct sockaddr_in own = address(addr, port);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), one = 1;

	check(fd >= 0, "socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	check(!bind(fd, (struct sockaddr *)&own, sizeof(own)), "bind");
	return fd;
}

/* Sockets that packets are for, and that nobody reads before he is asked: what a full buffer refuses has come all the way
 * that can be measured without a second processor. */
static int load_receive(char **argv)
{
	int fd = udp_server(argv[0], number(argv[1])), room = (int)number(argv[3]);
	long idle = number(argv[2]) - 1, most = limit_files(), unused;
	uint64_t total = 0;

	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	for (; idle > most; idle -= most)
		turn_start(address(argv[0], 9), idle - most, most, 0);
	if (idle > 0)
		crowd_open(address(argv[0], 9), 0, idle, 0);
	ready(0);
	while (ask(&unused, &unused)) {
		struct iovec part = { .iov_base = payload, .iov_len = sizeof(payload) };
		struct mmsghdr msgs[BATCH] = {};
		int n;

		for (int i = 0; i < BATCH; i++)
			msgs[i].msg_hdr = (struct msghdr){ .msg_iov = &part, .msg_iovlen = 1 };
		while ((n = recvmmsg(fd, msgs, BATCH, MSG_DONTWAIT, NULL)) > 0)
			total += (uint64_t)n;
		answer(total, 0, 0, 0);
	}
	return 0;
}

static int load_echo(char **argv)
{
	int udp = !strcmp(argv[0], "udp"), fd, one = 1;
	struct sockaddr_in own = address(argv[1], number(argv[2])), from;
	socklen_t length;
	ssize_t n;

	if (udp) {
		fd = udp_server(argv[1], number(argv[2]));
	} else {
		fd = socket(AF_INET, SOCK_STREAM, 0);
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		check(!bind(fd, (struct sockaddr *)&own, sizeof(own)) && !listen(fd, 8), "listen");
	}
	ready(0);
	if (!udp) {
		fd = accept(fd, NULL, NULL);
		check(fd >= 0, "accept");
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	}
	for (;;) {
		length = sizeof(from);
		n = recvfrom(fd, payload, sizeof(payload), 0, (struct sockaddr *)&from, &length);
		if (n <= 0)
			return 0;
		if (udp)
			sendto(fd, payload, (size_t)n, 0, (struct sockaddr *)&from, length);
		else
			send(fd, payload, (size_t)n, MSG_NOSIGNAL);
	}
}

static int by_value(const void *a, const void *b)
{
	uint32_t one = *(const uint32_t *)a, other = *(const uint32_t *)b;

	return one < other ? -1 : one > other;
}

static int load_ping(char **argv)
{
	struct sockaddr_in to = address(argv[1], number(argv[2]));
	struct timeval patience = { .tv_usec = 200000 };
	uint32_t *times = malloc(ROUNDS_MAX * sizeof(*times));
	int fd = socket(AF_INET, strcmp(argv[0], "udp") ? SOCK_STREAM : SOCK_DGRAM, 0), one = 1;
	long ms, unused;

	check(times && fd >= 0 && !connect(fd, (struct sockaddr *)&to, sizeof(to)), "connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	ready(0);
	while (ask(&ms, &unused)) {
		uint64_t start = now_ns(), end = start + (uint64_t)ms * 1000000, before = start, now = start;
		size_t n = 0;

		while (now < end && n < ROUNDS_MAX) {
			check(send(fd, payload, 18, 0) == 18, "send");
			if (recv(fd, payload, sizeof(payload), 0) <= 0) {
				before = now = now_ns();	/* lost: not timed */
				continue;
			}
			now = now_ns();
			times[n++] = (uint32_t)(now - before);
			before = now;
		}
		qsort(times, n, sizeof(*times), by_value);
		answer(n, now - start, n ? times[n / 2] : 0, n ? times[n * 99 / 100] : 0);
	}
	return 0;
}

/* What `calls` calls, over loopback; each does its work and gives back what it opened. */
static struct {
	struct sockaddr_in listener;
	int listen_fd, send_fd, recv_fd;
} place;

static void call_socket(void)
{
	close(socket(AF_INET, SOCK_DGRAM, 0));
}

static void call_send(void)
{
	send(place.send_fd, payload, 18, 0);
}

/* Nothing is there to receive: the call itself. */
static void call_receive(void)
{
	recv(place.recv_fd, payload, sizeof(payload), MSG_DONTWAIT);
}

static void call_accept(void)
{
	struct linger reset = { 1, 0 };	/* leaves no TIME_WAIT */
	int fd = socket(AF_INET, SOCK_STREAM, 0), child;

	check(!connect(fd, (struct sockaddr *)&place.listener, sizeof(place.listener)), "connect");
	child = accept(place.listen_fd, NULL, NULL);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(fd);
	close(child);
}

static void call_fork(void)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
}

static const struct {
	const char *name;
	void (*call)(void);
} calls[] = {
	{ "socket", call_socket }, { "send", call_send },   { "receive", call_receive },
	{ "accept", call_accept }, { "fork", call_fork },
};

static int load_calls(char **argv)
{
	socklen_t length = sizeof(place.listener);
	char line[64], *space;

	(void)argv;
	place.listener = address("127.0.0.1", 0);
	place.listen_fd = socket(AF_INET, SOCK_STREAM, 0);
	check(!bind(place.listen_fd, (struct sockaddr *)&place.listener, length) && !listen(place.listen_fd, 64), "listen");
	getsockname(place.listen_fd, (struct sockaddr *)&place.listener, &length);
	place.recv_fd = udp_server("127.0.0.1", 0);
	place.send_fd = connected(address("127.0.0.1", 9), 0);	/* nobody is there; the error of one send is the next one's */
	ready(0);
	while (fgets(line, sizeof(line), stdin)) {
		space = strchr(line, ' ');
		check(space != NULL, "NAME MS");
		*space = 0;
		for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
			uint64_t start = now_ns(), n = 0;
			uint64_t end = start + strtoull(space + 1, NULL, 10) * 1000000;

			if (strcmp(calls[i].name, line))
				continue;
			for (; now_ns() < end; n += 16)
				for (int k = 0; k < 16; k++)
					calls[i].call();
			end = now_ns();
			answer(n, end - start, 0, 0);
		}
	}
	return 0;
}

static void open_sockets(long count)
{
	while (count--)
		check(socket(AF_INET, SOCK_DGRAM, 0) >= 0, "socket");
}

/* What a busy host has open: sockets shared out among processes. */
static int load_hold(char **argv)
{
	long processes = number(argv[0]), sockets = number(argv[1]), unused;
	int done[2];
	char byte = 0;

	limit_files();
	check(processes > 0 && !pipe(done), "load hold");
	for (long i = 1; i < processes; i++) {
		if (!child()) {
			open_sockets(sockets / processes);
			check(write(done[1], &byte, 1) == 1, "write");
			for (;;)
				pause();
		}
	}
	open_sockets(sockets / processes);
	for (long i = 1; i < processes; i++)
		check(read(done[0], &byte, 1) == 1, "read");
	ready(0);
	ask(&unused, &unused);
	return 0;
}

static const struct {
	const char *name;
	int words;
	int (*run)(char **argv);
} modes[] = {
	{ "send", 4, load_send }, { "share", 3, load_share }, { "receive", 4, load_receive }, { "echo", 3, load_echo },
	{ "ping", 3, load_ping }, { "calls", 0, load_calls }, { "hold", 2, load_hold },
};

int main(int argc, char **argv)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	for (size_t i = 0; argc > 1 && i < sizeof(modes) / sizeof(modes[0]); i++)
		if (!strcmp(argv[1], modes[i].name) && argc == modes[i].words + 2)
			return modes[i].run(argv + 2);
	fprintf(stderr, "usage: load MODE ...; see the head of load.c\n");
	return 2;
}
