/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One capture for Wireshark: brings a mirror of its own up, carries its monitor's frames into the pipe, and has it taken
 * down. A guardian process waits on a pipe for our end, whatever it is, and takes the mirror down then.
 */
#include "extcap.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include <arpa/inet.h>
#include <linux/capability.h>

#include "args.h"
#include "caps.h"
#include "mctl.h"
#include "wire.h"

#define RECEIVE_BUFFER (64 * 1024 * 1024)
#define FRAME_MAX (256 * 1024)
#define FIFO_MS 20	/* between two looks whether somebody reads */
#define PKTAP_HEADER 108
#define DLT_ETHERNET 1
#define DLT_PKTAP 258
#define TARGETS_MAX 256

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
	(void)number;
	stopped = 1;
}

/* Runs this binary as mirrorctl to its end. Returns its exit status. */
static int run(const char *root, const char *const *words)
{
	const char *argv[TARGETS_MAX + 32] = { "mirrorctl", "-q", "--pin-root", root };
	int n = 4, status = 0;
	pid_t pid;

	while (*words && n < TARGETS_MAX + 31)
		argv[n++] = *words++;
	pid = fork();
	if (!pid) {
		signal(SIGTERM, SIG_IGN);	/* half a mirror helps nobody */
		dup2(STDERR_FILENO, STDOUT_FILENO);
		execv("/proc/self/exe", (char **)argv);
		_exit(127);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : MCTL_FAILED;
}

/* Waits for the end of the process that holds the other end of the pipe, then takes the mirror down. Never returns. */
static _Noreturn void guard(int pipe_end, const char *root)
{
	static const char *const down[] = { "down", NULL };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	char byte;

	setsid();
	for (int number = 1; number < 32; number++)
		if (number != SIGCHLD && number != SIGKILL && number != SIGSTOP)
			signal(number, SIG_IGN);
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	for (int fd = 3; fd < 256; fd++)
		if (fd != pipe_end)
			close(fd);
	while (read(pipe_end, &byte, 1) < 0 && errno == EINTR)
		;
	run(root, down);
	rmdir(root);
	_exit(0);
}

/* Process ids of the target: itself a number, or the name of any number of processes. */
static size_t find_targets(const char *target, char (*pids)[12])
{
	DIR *proc;
	const struct dirent *entry;
	uint32_t pid;
	size_t n = 0;

	if (!mctl_parse_u32(target, 1, INT32_MAX, &pid)) {
		snprintf(pids[0], sizeof(pids[0]), "%u", pid);
		return 1;
	}
	proc = opendir("/proc");
	while (proc && n < TARGETS_MAX && (entry = readdir(proc))) {
		_cleanup_fclose_ FILE *f = NULL;
		char path[64], comm[64] = "";

		if (mctl_parse_u32(entry->d_name, 1, INT32_MAX, &pid))
			continue;
		snprintf(path, sizeof(path), "/proc/%u/comm", pid);
		f = fopen(path, "re");
		if (!f || !fgets(comm, sizeof(comm), f))
			continue;
		comm[strcspn(comm, "\n")] = '\0';
		if (strcmp(comm, target) == 0)
			snprintf(pids[n++], sizeof(pids[0]), "%u", pid);
	}
	if (proc)
		closedir(proc);
	return n;
}

static int open_monitor(const char *name)
{
	struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1, room = RECEIVE_BUFFER;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on));
	setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &on, sizeof(on));
	at.sll_ifindex = (int)if_nametoindex(name);
	if (bind(fd, (struct sockaddr *)&at, sizeof(at))) {
		int r = -errno;

		close(fd);
		return r;
	}
	return fd;
}

/* One frame, a tag that the device took off put back. Returns its length, 0 when there is none. */
static size_t receive(int fd, uint8_t *frame, struct timespec *ret_time)
{
	char control[256];
	struct iovec iov = { .iov_base = frame, .iov_len = FRAME_MAX };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(fd, &msg, 0);
	struct tpacket_auxdata aux = {};

	clock_gettime(CLOCK_REALTIME, ret_time);
	if (n < ETH_HLEN)
		return 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		if (c->cmsg_level == SOL_PACKET && c->cmsg_type == PACKET_AUXDATA)
			memcpy(&aux, CMSG_DATA(c), sizeof(aux));
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS)
			memcpy(ret_time, CMSG_DATA(c), sizeof(*ret_time));
	}
	if ((aux.tp_status & TP_STATUS_VLAN_VALID) && n <= FRAME_MAX - 4) {
		uint16_t tag[2] = { htons(aux.tp_status & TP_STATUS_VLAN_TPID_VALID ? aux.tp_vlan_tpid : ETHERTYPE_VLAN),
				    htons(aux.tp_vlan_tci) };

		memmove(frame + 16, frame + 12, (size_t)n - 12);
		memcpy(frame + 12, tag, 4);
		n += 4;
	}
	return (size_t)n;
}

static void put32(uint8_t *at, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		at[i] = (uint8_t)(value >> (8 * i));	/* PKTAP is little-endian */
}

static void pktap_header(uint8_t *h, const uint8_t *frame, const struct mctl_seen *seen)
{
	const struct mctl_who *who = seen->sender ? seen->sender : seen->receiver;

	memset(h, 0, PKTAP_HEADER);
	put32(h, PKTAP_HEADER);
	put32(h + 4, 1);		/* a packet follows */
	put32(h + 8, DLT_ETHERNET);
	snprintf((char *)h + 12, 24, "mirror");
	put32(h + 36, seen->sender ? 2 : 1);
	put32(h + 40, frame[12] == 0x86 ? 30 : 2);	/* AF_INET6 and AF_INET of Darwin */
	put32(h + 44, ETH_HLEN);
	put32(h + 52, who ? who->pid : (uint32_t)-1);
	memcpy(h + 56, who ? who->comm : "", who ? MIR_COMM_LEN : 1);
	put32(h + 84, seen->sender && seen->receiver ? seen->receiver->pid : (uint32_t)-1);
	if (seen->sender && seen->receiver)
		memcpy(h + 88, seen->receiver->comm, MIR_COMM_LEN);
}

struct sink {
	const struct mctl_extcap *e;
	struct mctl_wire *wire;
	FILE *out;
};

static void put_header(const struct sink *s)
{
	const uint32_t head[6] = { 0xa1b23c4d, 0x00040002, 0, 0, FRAME_MAX,
				   s->e->output == MCTL_EXTCAP_PKTAP ? DLT_PKTAP : DLT_ETHERNET };
	const uint16_t version[2] = { 2, 4 };

	fwrite(head, 4, 1, s->out);
	fwrite(version, 2, 2, s->out);
	fwrite(head + 2, 4, 4, s->out);
	fflush(s->out);
}

static void put_frame(const struct sink *s, const uint8_t *frame, size_t len, const struct timespec *time)
{
	const bool pktap = s->e->output == MCTL_EXTCAP_PKTAP;
	uint32_t head[4] = { (uint32_t)time->tv_sec, (uint32_t)time->tv_nsec };
	uint8_t prefix[PKTAP_HEADER];
	struct mctl_seen seen;

	mctl_wire_frame(s->wire, frame, len, len, &seen);
	if (pktap && seen.identity)
		return;
	if (!seen.identity && !((s->e->out && seen.sender) || (s->e->in && seen.receiver)) && (seen.sender || seen.receiver))
		return;
	head[2] = head[3] = (uint32_t)(len + (pktap ? PKTAP_HEADER : 0));
	fwrite(head, 4, 4, s->out);
	if (pktap) {
		pktap_header(prefix, frame, &seen);
		fwrite(prefix, 1, sizeof(prefix), s->out);
	}
	fwrite(frame, 1, len, s->out);
}

/* Carries frames until a signal, or until nobody reads any more: poll() tells that at once, also when nothing comes. */
static int carry(const struct sink *s, int monitor)
{
	struct pollfd fds[2] = { { .fd = monitor, .events = POLLIN }, { .fd = fileno(s->out) } };
	uint8_t *frame = malloc(FRAME_MAX);
	struct timespec time;
	size_t len;

	put_header(s);
	while (frame && !stopped && !ferror(s->out)) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			break;
		if (fds[1].revents & (POLLERR | POLLNVAL))
			break;
		while (!stopped && (len = receive(monitor, frame, &time)))
			put_frame(s, frame, len, &time);
		fflush(s->out);
		if (fds[0].revents & POLLERR) {
			free(frame);
			return mctl_fail(MCTL_FAILED, "the mirror's monitor went away");
		}
	}
	free(frame);
	return MCTL_OK;
}

/*
 * Opens the pipe for writing once somebody reads it. Not by an open() that waits: it would go on waiting when Wireshark is ended
 * before its dumpcap has come that far. NULL with errno; EINTR: a signal, or whoever started us is gone.
 */
static FILE *open_fifo(const char *path, pid_t starter)
{
	int fd;

	while ((fd = open(path, O_WRONLY | O_CREAT | O_NONBLOCK | O_CLOEXEC, 0600)) < 0 && errno == ENXIO) {
		if (stopped || getppid() != starter) {
			errno = EINTR;
			return NULL;
		}
		poll(NULL, 0, FIFO_MS);
	}
	if (fd < 0 || fcntl(fd, F_SETFL, 0))
		return NULL;
	return fdopen(fd, "w");
}

int mctl_extcap_refuse(const struct mctl_extcap *e, int status)
{
	FILE *fifo = e->fifo && !access(e->fifo, F_OK) ? open_fifo(e->fifo, getppid()) : NULL;

	if (fifo)
		fclose(fifo);
	return status;
}

/* With the guardian waiting: the mirror comes up, its frames are carried. */
static int capture(const struct mctl_extcap *e, const char *root, const char *monitor, char (*pids)[12], size_t n,
		   pid_t starter)
{
	const char *identity = e->output == MCTL_EXTCAP_TRAILER ? "trailer" : "announce";
	const char *add[TARGETS_MAX + 4] = { "add-pid" };
	char snaplen[16];
	const char *up[] = { "up", "--monitor", monitor, "--identity", identity, "--snaplen", snaplen, NULL };
	struct sink s = { .e = e };
	int fd, status;
	size_t at = 1;

	snprintf(snaplen, sizeof(snaplen), "%u", e->snaplen);
	if (e->follow)
		add[at++] = "--follow";
	for (size_t i = 0; i < n; i++)
		add[at++] = pids[i];
	status = run(root, up);
	if (status != MCTL_OK)
		return mctl_extcap_refuse(e, status);
	fd = open_monitor(monitor);
	if (fd < 0)
		return mctl_extcap_refuse(e, mctl_fail(MCTL_FAILED, "cannot capture on '%s': %s", monitor, strerror(-fd)));
	s.out = open_fifo(e->fifo, starter);
	s.wire = mctl_wire_new();
	if (!s.out || !s.wire)
		status = mctl_fail(MCTL_FAILED, "cannot write to '%s': %s", e->fifo, strerror(errno));
	else
		status = run(root, add);
	if (status == MCTL_OK)
		status = carry(&s, fd);
	if (s.out)
		fclose(s.out);
	mctl_wire_free(s.wire);
	close(fd);
	return status;
}

int mctl_extcap_capture(const struct mctl_extcap *e)
{
	static char pids[TARGETS_MAX][12];
	const uint64_t missing = mctl_caps_missing(mctl_caps_most | MCTL_CAP(CAP_NET_RAW));
	struct sigaction stop = { .sa_handler = on_signal };
	const pid_t starter = getppid();
	char root[64], monitor[16], lacking[256];
	int ends[2], status;
	pid_t guardian;
	size_t n;

	if (missing)
		return mctl_extcap_refuse(e, mctl_fail(MCTL_NOT_PERMITTED, "capturing a process needs %s; start Wireshark or "
						       "tshark with sudo, or run 'sudo mirrorctl up' and capture on mon0",
						       mctl_caps_text(missing, lacking, sizeof(lacking))));
	n = find_targets(e->target, pids);
	if (!n)
		return mctl_extcap_refuse(e, mctl_fail(MCTL_NOT_FOUND, "no process is called '%s'", e->target));
	snprintf(root, sizeof(root), "/sys/fs/bpf/mirrorctl-extcap-%d", getpid());
	snprintf(monitor, sizeof(monitor), "mx%d", getpid());
	sigaction(SIGTERM, &stop, NULL);
	sigaction(SIGINT, &stop, NULL);
	signal(SIGPIPE, SIG_IGN);
	if (pipe2(ends, O_CLOEXEC))
		return mctl_fail(MCTL_FAILED, "cannot make a pipe: %s", strerror(errno));
	guardian = fork();
	if (guardian < 0)
		return mctl_fail(MCTL_FAILED, "cannot start a process: %s", strerror(errno));
	if (!guardian) {
		close(ends[1]);
		guard(ends[0], root);
	}
	close(ends[0]);
	status = capture(e, root, monitor, pids, n, starter);
	close(ends[1]);
	while (waitpid(guardian, NULL, 0) < 0 && errno == EINTR)
		;
	return status;
}
