/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Filters in the kernel against libpcap's bpf_filter() (needs root): expressions and random programs on frames, with the
 * VLAN tag in the frame and beside it, with and without Ethernet header; then long frames that lie in pieces.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/if.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "filter.h"
#include "filter_expressions.h"
#include "filter_packets.h"
#include "filter_test.skel.h"
#include "instance.h"
#include "mctl.h"
#include "test.h"

/* <pcap/bpf.h> and <linux/bpf.h> have different structs of one name; this is what it looks like with the kernel's. */
unsigned int bpf_filter(const struct sock_filter *code, const unsigned char *frame, unsigned int wire, unsigned int len);

/* As in tc/test/filter_test.bpf.c. */
enum { REFUSED = 10, ACCEPTED = 11 };
struct asked {
	__u32 tag, entry, len, verdict, packets, linear, whole;
};

#define RANDOM_PROGRAMS 2000
#define RANDOM_FRAMES 20	/* for each */
#define TPID(f) ((__u32)(f)->bytes[12] << 8 | (f)->bytes[13])

struct bench {
	struct filter_test *skel;
	int run;
	struct frame *frames, *headerless;
	size_t nframes, nheaderless;
	size_t runs, accepted;
};

static struct bench bench;

static int setup(void **state)
{
	struct filter_test *skel = filter_test__open_and_load();
	__u32 refuse = MIR_FILTER_REFUSE, accept = MIR_FILTER_ACCEPT;
	int refused, accepted;

	(void)state;
	assert_non_null(skel);
	refused = bpf_program__fd(skel->progs.filter_refused);
	accepted = bpf_program__fd(skel->progs.filter_accepted);
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(skel->maps.filter_next), &refuse, &refused, BPF_ANY), 0);
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(skel->maps.filter_next), &accept, &accepted, BPF_ANY), 0);
	bench.skel = skel;
	bench.run = bpf_program__fd(skel->progs.filter_run);
	bench.frames = calloc(FRAMES_MAX, sizeof(*bench.frames));
	bench.headerless = calloc(FRAMES_MAX, sizeof(*bench.headerless));
	assert_non_null(bench.frames);
	assert_non_null(bench.headerless);
	bench.nframes = build_frames(bench.frames, false);
	bench.nheaderless = build_frames(bench.headerless, true);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	filter_test__destroy(bench.skel);
	free(bench.frames);
	free(bench.headerless);
	return 0;
}

/* Puts a program into entry `frame` of map `filters`. */
static void use(const struct sock_filter *code, size_t n, enum mctl_frame frame, const char *name)
{
	int next = bpf_map__fd(bench.skel->maps.filter_next), map = bpf_map__fd(bench.skel->maps.filters);
	__u32 key = frame;
	int prog = mctl_filter_load(code, n, frame, next, NULL, 0);

	if (prog < 0)
		FAIL("'%s' does not load: %s", name, strerror(-prog));
	assert_int_equal(bpf_map_update_elem(map, &key, &prog, BPF_ANY), 0);
	close(prog);
}

/* Runs a frame through a filter; it is cut to `len`, and `tag` goes beside it. What is left must come out as it went in. */
static bool accepts(const uint8_t *bytes, size_t full, size_t len, __u32 tag, enum mctl_frame frame, const char *name)
{
	struct __sk_buff in = { .mark = tag, .cb = { 1, 2, 3, 4, 5 } }, out = {};
	uint8_t after[FRAME_ROOM];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = bytes, .data_size_in = (__u32)full, .data_out = after,
		    .data_size_out = sizeof(after), .ctx_in = &in, .ctx_size_in = sizeof(in), .ctx_out = &out,
		    .ctx_size_out = sizeof(out));

	in.priority = (__u32)(len < full ? len : 0) << 16 | frame;
	if (bpf_prog_test_run_opts(bench.run, &opts))
		FAIL("a frame of %zu bytes: %s", full, strerror(errno));
	bench.runs++;
	if (opts.retval != REFUSED && opts.retval != ACCEPTED)
		FAIL("'%s': run ended with %d", name, (int)opts.retval);
	assert_int_equal(opts.data_size_out, len);
	assert_memory_equal(after, bytes, len);
	assert_memory_equal(in.cb, out.cb, sizeof(in.cb));
	bench.accepted += opts.retval == ACCEPTED;
	return opts.retval == ACCEPTED;
}

static void differ(const char *name, const char *how, const struct frame *f, bool wanted)
{
	char hex[2 * 200 + 1] = "";

	for (size_t i = 0; i < f->len && i < 200; i++)
		snprintf(hex + 2 * i, 3, "%02x", f->bytes[i]);
	FAIL("'%s', %s, frame of %zu bytes %s: libpcap says %s", name, how, f->len, hex, wanted ? "accept" : "refuse");
}

/* A frame as it is and, when it has a tag, with that beside it: always what bpf_filter() says. */
static void compare(const struct sock_filter *code, const struct frame *f, const char *name)
{
	bool wanted = bpf_filter(code, f->bytes, (unsigned int)f->len, (unsigned int)f->len) != 0;
	uint8_t bare[FRAME_ROOM];
	__u32 tag;

	if (accepts(f->bytes, f->full, f->len, 0, MCTL_FRAME_ETHERNET, name) != wanted)
		differ(name, "tag in the frame", f, wanted);
	if (TPID(f) != ETH_P_8021Q && TPID(f) != ETH_P_8021AD)
		return;
	tag = TPID(f) << 16 | (__u32)f->bytes[14] << 8 | f->bytes[15];
	memcpy(bare, f->bytes, 12);
	memcpy(bare + 12, f->bytes + 16, f->full - 16);
	if (accepts(bare, f->full - 4, f->len - 4, tag, MCTL_FRAME_ETHERNET, name) != wanted)
		differ(name, "tag beside the frame", f, wanted);
}

static void compare_headerless(const struct sock_filter *code, const struct frame *f, const char *name)
{
	bool wanted = bpf_filter(code, f->bytes, (unsigned int)f->len, (unsigned int)f->len) != 0;

	if (accepts(f->bytes, f->full, f->len, 0, MCTL_FRAME_IP, name) != wanted)
		differ(name, "no Ethernet header", f, wanted);
}

/* One expression on `step`-th frames. Returns true if it can be said of frames without Ethernet header. */
static bool check_expression(const char *expr, size_t step)
{
	_cleanup_free_ struct sock_filter *code = NULL, *raw = NULL;
	char err[MCTL_FILTER_ERR_LEN];
	size_t n;

	if (mctl_filter_compile(expr, MCTL_FRAME_ETHERNET, &code, &n, err, sizeof(err)))
		FAIL("'%s' does not compile: %s", expr, err);
	use(code, n, MCTL_FRAME_ETHERNET, expr);
	for (size_t i = bench.runs % step; i < bench.nframes; i += step)
		compare(code, &bench.frames[i], expr);
	if (mctl_filter_compile(expr, MCTL_FRAME_IP, &raw, &n, err, sizeof(err)))
		return false;
	use(raw, n, MCTL_FRAME_IP, expr);
	for (size_t i = 0; i < bench.nheaderless; i++)
		compare_headerless(raw, &bench.headerless[i], expr);
	return true;
}

static void test_expressions(void **state)
{
	size_t headerless = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(expressions); i++)
		headerless += check_expression(expressions[i], 1);
	print_message("# %zu expressions (%zu of them headerless) x %zu frames: %zu runs, %zu accepted\n",
		      ARRAY_SIZE(expressions), headerless, bench.nframes, bench.runs, bench.accepted);
	assert_true(ARRAY_SIZE(expressions) >= 300 && bench.nframes >= 200 && headerless >= 200);
	assert_true(bench.accepted > bench.runs / 20);
}

/* Each expression joined to another one. */
static void test_joined_expressions(void **state)
{
	static const char *const joints[] = { "(%s) and (%s)", "(%s) or (%s)", "not (%s) and (%s)", "(%s) or not (%s)" };
	_cleanup_free_ struct sock_filter *code = NULL;
	char expr[512], err[MCTL_FILTER_ERR_LEN];
	size_t n, done = 0;

	(void)state;
	for (size_t i = 1; i < ARRAY_SIZE(expressions); i++) {
		const char *other = expressions[1 + i * 37 % (ARRAY_SIZE(expressions) - 1)];

		/* With `or`, `geneve` reads scratch memory that was never written: anything, in older libpcap. */
		if (strstr(expressions[i], "geneve") || strstr(other, "geneve"))
			continue;
		snprintf(expr, sizeof(expr), i % 4 == 0 ? joints[0] : i % 4 == 1 ? joints[1] : i % 4 == 2 ? joints[2] : joints[3],
			 expressions[i], other);
		if (mctl_filter_compile(expr, MCTL_FRAME_ETHERNET, &code, &n, err, sizeof(err)))
			continue;	/* such as `tcp and arp`, which no packet can be */
		free(TAKE_PTR(code));
		check_expression(expr, 7);
		done++;
	}
	print_message("# %zu joined expressions\n", done);
	assert_true(done >= 250);
}

static __u64 seed = 0x6d697272;	/* always the same */

static __u32 any(__u32 below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (__u32)(seed >> 16) % below;
}

/* Offsets, mostly where there is something, and often about the tag. */
static __u32 any_offset(void)
{
	static const __u32 far[] = { 0x7fffffff, 0xfffffffc, 0xffffffff, 0x80000000, 1 << 16, 1500 };

	return any(12) == 0 ? far[any(ARRAY_SIZE(far))] : any(3) ? any(20) : any(120);
}

static struct sock_filter any_alu(bool by_x)
{
	static const __u16 ops[] = { BPF_ADD, BPF_SUB, BPF_MUL, BPF_DIV, BPF_MOD, BPF_AND, BPF_OR, BPF_XOR, BPF_LSH, BPF_RSH };
	__u16 op = ops[any(ARRAY_SIZE(ops))];
	__u32 k = any(3) ? any(40) : any(0x7fffffff) * 2 + any(2);

	if (op == BPF_LSH || op == BPF_RSH)
		k %= 32;
	if ((op == BPF_DIV || op == BPF_MOD) && !k)
		k = 3;
	return (struct sock_filter){ .code = BPF_ALU | op | (by_x ? BPF_X : BPF_K), .k = by_x ? 0 : k };
}

/* Any instruction but a return, with `left` instructions behind it. */
static struct sock_filter any_insn(__u32 left)
{
	static const __u16 sizes[] = { BPF_W, BPF_H, BPF_B }, tests[] = { BPF_JEQ, BPF_JGT, BPF_JGE, BPF_JSET };

	switch (any(14)) {
	case 0:
	case 1:
		return (struct sock_filter){ .code = BPF_LD | BPF_ABS | sizes[any(3)], .k = any_offset() };
	case 2:
	case 3:
		return (struct sock_filter){ .code = BPF_LD | BPF_IND | sizes[any(3)], .k = any(4) ? any(24) : any_offset() };
	case 4:
		return (struct sock_filter){ .code = BPF_LDX | BPF_MSH | BPF_B, .k = any(4) ? any(40) : any_offset() };
	case 5:
		return (struct sock_filter){ .code = (any(2) ? BPF_LD : BPF_LDX) | BPF_LEN };
	case 6:
		return (struct sock_filter){ .code = (any(2) ? BPF_LD : BPF_LDX) | BPF_IMM, .k = any_offset() };
	case 7:
		return (struct sock_filter){ .code = (any(2) ? BPF_LD : BPF_LDX) | BPF_MEM, .k = any(4) };
	case 8:
		return (struct sock_filter){ .code = any(2) ? BPF_ST : BPF_STX, .k = any(4) };
	case 9:
		return (struct sock_filter){ .code = BPF_MISC | (any(2) ? BPF_TAX : BPF_TXA) };
	case 10:
		return any(6) ? any_alu(true) : (struct sock_filter){ .code = BPF_ALU | BPF_NEG };
	case 11:
		if (any(5) == 0)
			return (struct sock_filter){ .code = BPF_JMP | BPF_JA, .k = any(left) };
		return (struct sock_filter){ .code = BPF_JMP | tests[any(4)] | (any(2) ? BPF_X : BPF_K), .k = any_offset(),
					     .jt = (__u8)any(left), .jf = (__u8)any(left) };
	default:
		return any_alu(false);
	}
}

/* Begins by writing the scratch memory it will read, ends in one bit of A. */
static size_t any_program(struct sock_filter *code)
{
	size_t n = 0, len = 5 + any(40);

	for (__u32 i = 0; i < 4; i++) {
		code[n++] = (struct sock_filter){ .code = BPF_LD | BPF_IMM, .k = any(100) };
		code[n++] = (struct sock_filter){ .code = BPF_ST, .k = i };
	}
	while (n < len + 8) {
		code[n] = any_insn((__u32)(len + 8 - n));
		n++;
	}
	code[n++] = (struct sock_filter){ .code = BPF_ALU | BPF_AND | BPF_K, .k = 1u << any(8) };
	code[n++] = (struct sock_filter){ .code = BPF_RET | BPF_A };
	return n;
}

static void test_random_programs(void **state)
{
	struct sock_filter code[64];
	char name[32];
	size_t n;

	(void)state;
	bench.runs = bench.accepted = 0;
	for (int i = 0; i < RANDOM_PROGRAMS; i++) {
		snprintf(name, sizeof(name), "program %d", i);
		n = any_program(code);
		use(code, n, MCTL_FRAME_ETHERNET, name);
		use(code, n, MCTL_FRAME_IP, name);
		for (int j = 0; j < RANDOM_FRAMES; j++) {
			compare(code, &bench.frames[any((__u32)bench.nframes)], name);
			compare_headerless(code, &bench.headerless[any((__u32)bench.nheaderless)], name);
		}
	}
	print_message("# %d programs, %zu runs, %zu accepted\n", RANDOM_PROGRAMS, bench.runs, bench.accepted);
	assert_true(bench.accepted > bench.runs / 20);
}

/* An instance of the maps of the bench, as far as filters go. */
static struct mctl_instance instance(void)
{
	struct mctl_instance inst = {};

	inst.map[MCTL_MAP_FILTERS] = bpf_map__fd(bench.skel->maps.filters);
	inst.map[MCTL_MAP_FILTER_NEXT] = bpf_map__fd(bench.skel->maps.filter_next);
	inst.map[MCTL_MAP_FILTER_TEXTS] = bpf_map__fd(bench.skel->maps.filter_texts);
	return inst;
}

/* What filter `number` says of a frame; -1: there is no such filter. */
static int ask(__u32 number, enum mctl_frame frame, const struct frame *f)
{
	struct __sk_buff in = { .priority = number * MIR_FILTER_VARIANTS + frame };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->bytes, .data_size_in = (__u32)f->full, .ctx_in = &in,
		    .ctx_size_in = sizeof(in));

	assert_int_equal(bpf_prog_test_run_opts(bench.run, &opts), 0);
	return (int)opts.retval == MIR_NEXT ? -1 : opts.retval == ACCEPTED;
}

static void test_install(void **state)
{
	const struct mctl_instance inst = instance();
	const struct frame *tcp = &bench.frames[0], *ip = &bench.headerless[0];
	struct mir_filter f;

	(void)state;
	assert_int_equal(ask(5, MCTL_FRAME_ETHERNET, tcp), -1);
	assert_int_equal(mctl_filter_read(&inst, 5, &f), -ENOENT);
	assert_int_equal(mctl_filter_install(&inst, 5, "tcp port 80"), 0);
	assert_int_equal(ask(5, MCTL_FRAME_ETHERNET, tcp), 1);
	assert_int_equal(ask(5, MCTL_FRAME_IP, ip), 1);
	assert_int_equal(ask(4, MCTL_FRAME_ETHERNET, tcp), -1);
	assert_int_equal(mctl_filter_read(&inst, 5, &f), 0);
	assert_string_equal(f.expr, "tcp port 80");
	assert_int_equal(f.headerless, 1);

	/* What does not compile changes nothing. */
	assert_int_equal(mctl_filter_install(&inst, 5, "tcp prot 80"), -EINVAL);
	assert_non_null(strstr(mctl_reason(-EINVAL), "'tcp prot 80': can't parse filter expression: syntax error"));
	assert_int_equal(ask(5, MCTL_FRAME_ETHERNET, tcp), 1);

	/* Not for frames without Ethernet header, whatever they are. */
	assert_int_equal(mctl_filter_install(&inst, 5, "not vlan"), MCTL_FILTER_ETHERNET_ONLY);
	assert_int_equal(ask(5, MCTL_FRAME_ETHERNET, tcp), 1);
	assert_int_equal(ask(5, MCTL_FRAME_IP, ip), 0);
	assert_int_equal(mctl_filter_read(&inst, 5, &f), 0);
	assert_int_equal(f.headerless, 0);

	assert_int_equal(mctl_filter_install(&inst, MIR_FILTERS_LIMIT, "tcp"), -EINVAL);
	assert_int_equal(mctl_filter_install(&inst, MIR_FILTERS_LIMIT - 1, "udp"), 0);
	assert_int_equal(ask(MIR_FILTERS_LIMIT - 1, MCTL_FRAME_IP, ip), 0);
	assert_int_equal(mctl_filter_remove(&inst, MIR_FILTERS_LIMIT - 1), 0);
	assert_int_equal(mctl_filter_remove(&inst, 5), 0);
	assert_int_equal(mctl_filter_remove(&inst, 5), 0);
	assert_int_equal(ask(5, MCTL_FRAME_ETHERNET, tcp), -1);
	assert_int_equal(ask(5, MCTL_FRAME_IP, ip), -1);
	assert_int_equal(mctl_filter_read(&inst, 5, &f), -ENOENT);
}

static atomic_bool replaced;
static atomic_int refused_to_replace;

static void *replace(void *arg)
{
	const struct mctl_instance inst = instance();

	(void)arg;
	for (int i = 0; i < 300; i++)
		refused_to_replace += mctl_filter_install(&inst, 7, i % 2 ? "tcp port 80" : "tcp and not port 443") != 0;
	replaced = true;
	return NULL;
}

/* Both filters take this packet: it is accepted all the time. */
static void test_replaced_under_traffic(void **state)
{
	const struct mctl_instance inst = instance();
	pthread_t thread;
	size_t runs = 0;

	(void)state;
	assert_int_equal(mctl_filter_install(&inst, 7, "tcp port 80"), 0);
	assert_int_equal(pthread_create(&thread, NULL, replace, NULL), 0);
	for (; !replaced || runs < 10000; runs++)
		if (ask(7, MCTL_FRAME_ETHERNET, &bench.frames[0]) != 1)
			FAIL("run %zu was not accepted", runs);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(refused_to_replace, 0);
	print_message("# %zu runs while the filter was replaced 300 times\n", runs);
	assert_int_equal(mctl_filter_remove(&inst, 7), 0);
}

/* As long as the expression may be: it loads, and finds the last of its hosts. */
static void test_longest(void **state)
{
	const struct mctl_instance inst = instance();
	const struct frame *tcp = &bench.frames[0];
	char expr[MIR_FILTER_LEN] = "", host[32];

	(void)state;
	for (int i = 0; strlen(expr) < MIR_FILTER_LEN - 40; i++) {
		snprintf(host, sizeof(host), "%shost 10.%d.%d.7", i ? " or " : "", i / 200, i % 200);
		snprintf(expr + strlen(expr), sizeof(expr) - strlen(expr), "%s", host);
	}
	assert_int_equal(mctl_filter_install(&inst, 9, expr), 0);
	assert_int_equal(ask(9, MCTL_FRAME_ETHERNET, tcp), 0);
	snprintf(expr + strlen(expr), sizeof(expr) - strlen(expr), " or host 10.0.0.2");
	assert_int_equal(mctl_filter_install(&inst, 9, expr), 0);
	assert_int_equal(ask(9, MCTL_FRAME_ETHERNET, tcp), 1);
	assert_int_equal(mctl_filter_remove(&inst, 9), 0);
}

/* Frames that the kernel keeps in pieces, on a device of a namespace of our own: lo. `code` 0: no segmentation asked for. */
struct wire {
	int packet;
	struct bpf_tc_hook hook;
	struct sockaddr_ll to;
};

static void wire_make(struct wire *w)
{
	LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = bpf_program__fd(bench.skel->progs.filter_watch));
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int one = 1;

	assert_int_equal(unshare(CLONE_NEWNET), 0);
	w->packet = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	assert_true(w->packet >= 0);
	assert_int_equal(ioctl(w->packet, SIOCSIFFLAGS, &lo), 0);
	assert_int_equal(setsockopt(w->packet, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)), 0);
	w->to = (struct sockaddr_ll){ .sll_family = AF_PACKET, .sll_ifindex = 1, .sll_protocol = htons(ETH_P_IP) };
	w->hook = (struct bpf_tc_hook){ .sz = sizeof(w->hook), .ifindex = 1, .attach_point = BPF_TC_EGRESS };
	assert_int_equal(bpf_tc_hook_create(&w->hook), 0);
	assert_int_equal(bpf_tc_attach(&w->hook, &opts), 0);
}

/* Sends the bytes; returns the filter's verdict. With `gso` as a super-packet of TCP, as the stack makes them. */
static bool wire_accepts(const struct wire *w, const uint8_t *bytes, size_t len, __u32 tag, bool gso)
{
	struct virtio_net_hdr vnet = { .flags = gso ? VIRTIO_NET_HDR_F_NEEDS_CSUM : 0, .hdr_len = 54, .gso_size = 1448,
				       .gso_type = gso ? VIRTIO_NET_HDR_GSO_TCPV4 : 0, .csum_start = 34, .csum_offset = 16 };
	struct asked a = { .tag = tag };
	struct iovec parts[] = { { &vnet, sizeof(vnet) }, { (void *)bytes, len } };
	struct msghdr m = { .msg_name = (void *)&w->to, .msg_namelen = sizeof(w->to), .msg_iov = parts, .msg_iovlen = 2 };
	int map = bpf_map__fd(bench.skel->maps.asked);
	__u32 zero = 0;

	if (!gso)
		vnet = (struct virtio_net_hdr){};
	assert_int_equal(bpf_map_update_elem(map, &zero, &a, BPF_ANY), 0);
	assert_int_equal(sendmsg(w->packet, &m, 0), sizeof(vnet) + len);
	assert_int_equal(bpf_map_lookup_elem(map, &zero, &a), 0);
	assert_int_equal(a.packets, 1);
	assert_int_equal(a.whole, len);
	assert_true(a.linear < a.whole);
	assert_true(a.verdict == REFUSED || a.verdict == ACCEPTED);
	return a.verdict == ACCEPTED;
}

static void long_frame(uint8_t *bytes, size_t len, bool tagged)
{
	size_t n = unhex("020000000002 020000000001", bytes);

	n += unhex(tagged ? "8100 0064 0800" : "0800", bytes + n);
	n += unhex(H4("ffff", "4000", "40", "06", P4A) TCPH("1f90", "0050", "18"), bytes + n);
	for (; n < len; n++)
		bytes[n] = (uint8_t)(n * 7 ^ n >> 8);
}

static void test_long_frames(void **state)
{
	static const char *const asked[] = {
		"tcp port 80", "len > 9000", "ether[8000:4] > 0x40000000", "ether[len - 4:4] > 0x80000000", "vlan 100 and port 80",
		"ip[8900:2] & 0x101 = 0", "tcp[(tcp[12] >> 2) + 30000:4] & 0x8 = 0", "tcp[60000] != 0", "ether[15:4] & 1 = 1",
		"vlan and tcp[(ip[8] << 7) + 600:2] > 0x2000", "udp", "ether[len - 17:1] & 2 = 0",
	};
	static const size_t lengths[] = { 9018, 16401, 40018, 65003 };
	static uint8_t bytes[1 << 16], bare[1 << 16];
	size_t runs = 0, accepted = 0;
	struct wire w;

	(void)state;
	wire_make(&w);
	for (size_t i = 0; i < ARRAY_SIZE(asked); i++) {
		_cleanup_free_ struct sock_filter *code = NULL;
		char err[MCTL_FILTER_ERR_LEN];
		size_t n;

		assert_int_equal(mctl_filter_compile(asked[i], MCTL_FRAME_ETHERNET, &code, &n, err, sizeof(err)), 0);
		use(code, n, MCTL_FRAME_ETHERNET, asked[i]);
		for (size_t j = 0; j < ARRAY_SIZE(lengths) * 4; j++) {
			__u32 len = (__u32)lengths[j / 4], tag = j & 1 ? ETH_P_8021Q << 16 | 100 : 0;
			bool wanted;

			long_frame(bytes, len, tag);
			wanted = bpf_filter(code, bytes, len, len) != 0;
			memcpy(bare, bytes, 12);
			memcpy(bare + 12, bytes + (tag ? 16 : 12), len - 12 - (tag ? 4 : 0));
			if (wire_accepts(&w, bare, len - (tag ? 4 : 0), tag, j & 2) != wanted)
				FAIL("'%s', %u bytes, tag %x: libpcap says %d", asked[i], len, tag, wanted);
			runs++;
			accepted += wanted;
		}
	}
	print_message("# %zu frames in pieces, %zu accepted\n", runs, accepted);
	assert_true(accepted > runs / 4 && accepted < runs);
	bpf_tc_hook_destroy(&w.hook);
	close(w.packet);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_expressions),
		cmocka_unit_test(test_joined_expressions),
		cmocka_unit_test(test_random_programs),
		cmocka_unit_test(test_install),
		cmocka_unit_test(test_replaced_under_traffic),
		cmocka_unit_test(test_longest),
		cmocka_unit_test(test_long_frames),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, setup, teardown);
}
