/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The packet programs by BPF_PROG_TEST_RUN (needs root): a table of packets with what the parser must make of each, and
 * the same packets through every mirror program, which must pass each on unchanged and count it exactly once.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "mctl.h"
#include "mirror.skel.h"
#include "parse_test.skel.h"
#include "policy_test.skel.h"
#include "test.h"

#include <mirror/abi.h>

/* struct mir_packet and enum mir_parse of tc/parse.bpf.h, which only a BPF compiler can read. */
struct packet {
	__be32 saddr[4], daddr[4];
	__be16 sport, dport;
	__be32 fragment_id;
	__u32 l4_off;
	__u8 version, proto, icmp_type, tcp_flags, piece;
};
enum { OK, OTHER, MALFORMED };
enum { WHOLE, FIRST, LATER };

struct test_packet {
	const char *name;
	const char *hex;	/* from the Ethernet header on; blanks are for the eye */
	int result;
	__u8 version, proto, piece, icmp_type;
	__u16 sport, dport;	/* host byte order */
	__u32 fragment_id;	/* host byte order */
};

#define NOTHING 0, 0, 0, 0, 0, 0, 0
/* To the address of loopback, on which BPF_PROG_TEST_RUN lets the packet arrive. */
#define ETH(type) "000000000000 020000000001 " type " "
/* BPF_PROG_TEST_RUN itself refuses an untagged frame without a whole IP header (Linux 6.13 on). */
#define VLAN(type) ETH("8100") "0064 " type " "
#define IP4(len, id, frag, proto) "45 00 " len " " id " " frag " 40 " proto " 0000 0a000001 0a000002 "
#define IP6(len, next) "60000000 " len " " next " 40 fd000000000000000000000000000001 fd000000000000000000000000000002 "
#define TCP "1f90 0050 00000001 00000000 50 02 ffff 0000 0000 "
#define UDP "1f90 0035 0008 0000 "
#define LONG "0000000000000000000000000000000000000000000000000000000000000000"
#define ECHO(type) type " 00 0000 1234 0001 "

static const struct test_packet table[] = {
	{ "ARP is not IP", ETH("0806") "0001 0800 06 04 0001", OTHER, NOTHING },
	{ "nothing behind the tag", VLAN("0800"), MALFORMED, NOTHING },
	{ "IPv4 TCP", ETH("0800") IP4("0028", "0001", "0000", "06") TCP, OK, 4, 6, WHOLE, 0, 8080, 80, 1 },
	{ "IPv4 UDP", ETH("0800") IP4("001c", "0001", "0000", "11") UDP, OK, 4, 17, WHOLE, 0, 8080, 53, 1 },
	{ "IPv4 UDP with trailing padding", ETH("0800") IP4("001c", "0001", "0000", "11") UDP "000000000000", OK, 4, 17, WHOLE,
	  0, 8080, 53, 1 },
	{ "IPv4 echo request", ETH("0800") IP4("001c", "0001", "0000", "01") ECHO("08"), OK, 4, 1, WHOLE, 8, 0x1234, 0, 1 },
	{ "IPv4 OSPF has no ports", ETH("0800") IP4("0018", "0001", "0000", "59") "02010000", OK, 4, 89, WHOLE, 0, 0, 0, 1 },
	{ "IPv4 version 5", ETH("0800") "55 00 001c 0001 0000 40 11 0000 0a000001 0a000002" UDP, MALFORMED, NOTHING },
	{ "IPv4 ihl 4", ETH("0800") "44 00 001c 0001 0000 40 11 0000 0a000001 0a000002" UDP, MALFORMED, NOTHING },
	{ "IPv4 ihl 15 behind the end", ETH("0800") "4f 00 001c 0001 0000 40 11 0000 0a000001 0a000002" UDP, MALFORMED, NOTHING },
	{ "IPv4 with options", ETH("0800") "46 00 0020 0001 0000 40 11 0000 0a000001 0a000002 01010101" UDP, OK, 4, 17, WHOLE,
	  0, 8080, 53, 1 },
	{ "IPv4 total length below the header", ETH("0800") IP4("0013", "0001", "0000", "11") UDP, MALFORMED, NOTHING },
	{ "IPv4 total length behind the end", ETH("0800") IP4("0400", "0001", "0000", "11") UDP, MALFORMED, NOTHING },
	{ "IPv4 header cut", VLAN("0800") "45 00 001c 0001 0000 40 11", MALFORMED, NOTHING },
	{ "IPv4 TCP header cut", ETH("0800") IP4("0020", "0001", "0000", "06") "1f90 0050 00000001 00000000", MALFORMED, NOTHING },
	{ "IPv4 TCP data offset 4", ETH("0800") IP4("0028", "0001", "0000", "06")
	  "1f90 0050 00000001 00000000 40 02 ffff 0000 0000", MALFORMED, NOTHING },
	{ "IPv4 UDP header cut", ETH("0800") IP4("001a", "0001", "0000", "11") "1f90 0035 0008", MALFORMED, NOTHING },
	{ "IPv4 UDP length 7", ETH("0800") IP4("001c", "0001", "0000", "11") "1f90 0035 0007 0000", MALFORMED, NOTHING },
	{ "IPv4 first fragment", ETH("0800") IP4("001c", "beef", "2000", "11") UDP, OK, 4, 17, FIRST, 0, 8080, 53, 0xbeef },
	{ "IPv4 later fragment", ETH("0800") IP4("001c", "beef", "00b9", "11") UDP, OK, 4, 17, LATER, 0, 0, 0, 0xbeef },
	{ "IPv4 later fragment of one byte", ETH("0800") IP4("0015", "beef", "00b9", "06") "00", OK, 4, 6, LATER, 0, 0, 0,
	  0xbeef },
	{ "IPv4 authentication header", ETH("0800") IP4("0034", "0001", "0000", "33") "11 04 0000 00000001 00000001"
	  "000000000000000000000000" UDP, OK, 4, 17, WHOLE, 0, 8080, 53, 1 },
	{ "IPv4 authentication header cut", ETH("0800") IP4("0015", "0001", "0000", "33") "11", MALFORMED, NOTHING },
	{ "IPv4 authentication header behind the end", ETH("0800") IP4("0020", "0001", "0000", "33")
	  "11 ff 0000 00000001 00000001", MALFORMED, NOTHING },
	{ "IPv4 authentication header, first fragment", ETH("0800") IP4("0034", "beef", "2000", "33")
	  "11 04 0000 00000001 00000001 000000000000000000000000" UDP, OK, 4, 51, FIRST, 0, 0, 0, 0xbeef },
	{ "VLAN IPv4 UDP", ETH("8100") "0064 0800" IP4("001c", "0001", "0000", "11") UDP, OK, 4, 17, WHOLE, 0, 8080, 53, 1 },
	{ "QinQ IPv4 UDP", ETH("88a8") "0064 8100 0065 0800" IP4("001c", "0001", "0000", "11") UDP, OK, 4, 17, WHOLE, 0, 8080,
	  53, 1 },
	{ "three tags are one too many", ETH("88a8") "0064 8100 0065 8100 0066 0800" IP4("001c", "0001", "0000", "11") UDP,
	  OTHER, NOTHING },
	{ "VLAN tag cut", ETH("8100") "00", MALFORMED, NOTHING },
	{ "IPv6 TCP", ETH("86dd") IP6("0014", "06") TCP, OK, 6, 6, WHOLE, 0, 8080, 80, 0 },
	{ "IPv6 UDP", ETH("86dd") IP6("0008", "11") UDP, OK, 6, 17, WHOLE, 0, 8080, 53, 0 },
	{ "IPv6 echo reply", ETH("86dd") IP6("0008", "3a") ECHO("81"), OK, 6, 58, WHOLE, 129, 0x1234, 0, 0 },
	{ "IPv6 version 4", ETH("86dd") "4" "0000000 0008 11 40 fd000000000000000000000000000001"
	  "fd000000000000000000000000000002" UDP, MALFORMED, NOTHING },
	{ "IPv6 header cut", VLAN("86dd") "60000000 0008 11 40 fd0000", MALFORMED, NOTHING },
	{ "IPv6 payload length behind the end", ETH("86dd") IP6("0100", "11") UDP, MALFORMED, NOTHING },
	{ "IPv6 hop-by-hop, destination options, UDP", ETH("86dd") IP6("0018", "00") "3c 00 0104 00000000 11 00 0104 00000000"
	  UDP, OK, 6, 17, WHOLE, 0, 8080, 53, 0 },
	{ "IPv6 routing header of 24 bytes", ETH("86dd") IP6("0020", "2b") "11 02 04 00 00000000 fd000000000000000000000000000003"
	  UDP, OK, 6, 17, WHOLE, 0, 8080, 53, 0 },
	{ "IPv6 authentication header", ETH("86dd") IP6("0018", "33") "11 02 0000 00000001 00000001 00000000" UDP, OK, 6, 17,
	  WHOLE, 0, 8080, 53, 0 },
	{ "IPv6 extension behind the end", ETH("86dd") IP6("0010", "00") "11 ff 0104 00000000" UDP, MALFORMED, NOTHING },
	{ "IPv6 extension cut", ETH("86dd") IP6("0004", "00") "1100 0104", MALFORMED, NOTHING },
	{ "IPv6 nine extension headers are one too many", ETH("86dd") IP6("0050", "3c")
	  "3c00010400000000 3c00010400000000 3c00010400000000 3c00010400000000 3c00010400000000 3c00010400000000"
	  "3c00010400000000 3c00010400000000 1100010400000000" UDP, OTHER, NOTHING },
	{ "IPv6 no next header", ETH("86dd") IP6("0000", "3b"), OK, 6, 59, WHOLE, 0, 0, 0, 0 },
	{ "IPv6 first fragment", ETH("86dd") IP6("0010", "2c") "11 00 0001 deadbeef" UDP, OK, 6, 17, FIRST, 0, 8080, 53,
	  0xdeadbeef },
	{ "IPv6 atomic fragment", ETH("86dd") IP6("0010", "2c") "11 00 0000 deadbeef" UDP, OK, 6, 17, WHOLE, 0, 8080, 53,
	  0xdeadbeef },
	{ "IPv6 later fragment", ETH("86dd") IP6("0010", "2c") "11 00 05a8 deadbeef 0102030405060708", OK, 6, 17, LATER, 0, 0,
	  0, 0xdeadbeef },
	{ "IPv4 TCP data offset 4, padded", ETH("0800") IP4("0028", "0001", "0000", "06")
	  "1f90 0050 00000001 00000000 40 02 ffff 0000 0000" LONG, MALFORMED, NOTHING },
	{ "IPv4 UDP length 7, padded", ETH("0800") IP4("001c", "0001", "0000", "11") "1f90 0035 0007 0000" LONG, MALFORMED,
	  NOTHING },
	{ "IPv4 version 5, padded", ETH("0800") "55 00 001c 0001 0000 40 11 0000 0a000001 0a000002" UDP LONG, MALFORMED, NOTHING },
	{ "IPv4 ihl 4, padded", ETH("0800") "44 00 001c 0001 0000 40 11 0000 0a000001 0a000002" UDP LONG, MALFORMED, NOTHING },
	{ "IPv4 total length below the header, padded", ETH("0800") IP4("0013", "0001", "0000", "11") UDP LONG, MALFORMED,
	  NOTHING },
	{ "IPv4 total length behind the end, padded", ETH("0800") IP4("0400", "0001", "0000", "11") UDP LONG, MALFORMED, NOTHING },
	{ "IPv6 version 4, padded", ETH("86dd") "40000000 0008 11 40 fd000000000000000000000000000001"
	  "fd000000000000000000000000000002" UDP LONG, MALFORMED, NOTHING },
	{ "IPv6 UDP length 7, padded", ETH("86dd") IP6("0008", "11") "1f90 0035 0007 0000" LONG, MALFORMED, NOTHING },
	{ "IPv6 payload length behind the end, padded", ETH("86dd") IP6("0100", "11") UDP LONG, MALFORMED, NOTHING },
	{ "IPv6 ICMP cut", ETH("86dd") IP6("0004", "3a") "80000000", MALFORMED, NOTHING },
};

static size_t unhex(const char *hex, __u8 *out)
{
	size_t n = 0;

	for (unsigned int byte; *hex; hex += 2) {
		while (*hex == ' ')
			hex++;
		if (!*hex)
			break;
		assert_int_equal(sscanf(hex, "%2x", &byte), 1);
		out[n++] = (__u8)byte;
	}
	return n;
}

/* Runs a program on a packet. Returns its verdict; the packet must come out as it went in. */
static int run(int prog, const __u8 *bytes, size_t len)
{
	__u8 out[512];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = bytes, .data_size_in = (__u32)len, .data_out = out,
		    .data_size_out = sizeof(out));

	assert_int_equal(bpf_prog_test_run_opts(prog, &opts), 0);
	assert_int_equal(opts.data_size_out, len);
	assert_memory_equal(out, bytes, len);
	return (int)opts.retval;
}

#define PADDING 32	/* enough for the parser's short cut, which reads 54 bytes at once */

/* The same packet with padding behind it is read by another path, where it is a plain one. Both must say the same. */
static void padded(struct parse_test *skel, __u8 *bytes, size_t len, const struct packet *want)
{
	struct packet p;
	__u32 zero = 0;

	memset(bytes + len, 0, PADDING);
	assert_int_equal(run(bpf_program__fd(skel->progs.parse_ethernet), bytes, len + PADDING), OK);
	assert_int_equal(bpf_map_lookup_elem(bpf_map__fd(skel->maps.parsed), &zero, &p), 0);
	assert_memory_equal(&p, want, sizeof(p));
}

static void test_parser(void **state)
{
	struct parse_test *skel = parse_test__open_and_load();
	struct packet p;
	__u8 bytes[512];
	__u32 zero = 0;
	size_t len;

	(void)state;
	assert_non_null(skel);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		const struct test_packet *t = &table[i];

		len = unhex(t->hex, bytes);
		if (len < 15)	/* the kernel takes no shorter frame; padding does not change the case */
			bytes[len++] = 0;
		print_message("# %s\n", t->name);
		assert_int_equal(run(bpf_program__fd(skel->progs.parse_ethernet), bytes, len), t->result);
		if (t->result != OK)
			continue;
		assert_int_equal(bpf_map_lookup_elem(bpf_map__fd(skel->maps.parsed), &zero, &p), 0);
		assert_int_equal(p.version, t->version);
		assert_int_equal(p.proto, t->proto);
		assert_int_equal(p.piece, t->piece);
		assert_int_equal(p.icmp_type, t->icmp_type);
		assert_int_equal(ntohs(p.sport), t->sport);
		assert_int_equal(ntohs(p.dport), t->dport);
		assert_int_equal(ntohl(p.fragment_id), t->fragment_id);
		padded(skel, bytes, len, &p);
	}
	parse_test__destroy(skel);
}

static struct mir_stats stats_of(int fd)
{
	struct mir_stats each[256] = {}, sum = {};
	int cpus = libbpf_num_possible_cpus();
	__u32 zero = 0;

	assert_true(cpus > 0 && cpus <= 256);
	assert_int_equal(bpf_map_lookup_elem(fd, &zero, each), 0);
	for (int cpu = 0; cpu < cpus; cpu++)
		for (size_t i = 0; i < sizeof(sum) / 8; i++)
			((__u64 *)&sum)[i] += ((__u64 *)&each[cpu])[i];
	return sum;
}

/* No target: every packet is seen, unmatched, and malformed if the table says so; the verdict is always "next". */
static void test_mirror_programs(void **state)
{
	struct mirror *skel = mirror__open_and_load();
	struct mir_live live = { .active = 1 };
	struct mir_stats before, after;
	struct bpf_program *prog;
	__u8 bytes[512];
	__u32 zero = 0;
	size_t len;

	(void)state;
	assert_non_null(skel);
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(skel->maps.live), &zero, &live, BPF_ANY), 0);
	bpf_object__for_each_program(prog, skel->obj) {
		const char *name = bpf_program__name(prog);
		int l3 = !!strstr(name, "_l3_"), ingress = !strstr(name, "egress");

		if (!strcmp(name, "mir_choose") || !strcmp(name, "mir_accepted") || !strcmp(name, "mir_refused"))
			continue;	/* entered by the others only */
		for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
			len = unhex(table[i].hex, bytes);
			if (len < 15)
				bytes[len++] = 0;
			before = stats_of(bpf_map__fd(skel->maps.stats));
			assert_int_equal(run(bpf_program__fd(prog), bytes, len), MIR_NEXT);
			after = stats_of(bpf_map__fd(skel->maps.stats));
			assert_int_equal(after.seen, before.seen + 1);
			assert_int_equal(after.unmatched, before.unmatched + 1);
			assert_int_equal(after.mirrored, before.mirrored);
			if (ingress && !l3)
				assert_int_equal(after.malformed - before.malformed, table[i].result == MALFORMED);
		}
	}
	mirror__destroy(skel);
}

/* ---- the chain of policies, entered for a target of ours with filters made by hand (tc/test/policy_test.bpf.c) ---- */

#define US 4321u
#define BIT(n) (1ull << (n))
#define NOWHERE 0x7ffffff0u	/* no such device: a copy is tried, and counted as no_monitor */

/* struct test_knob of tc/test/policy_test.bpf.c. */
struct knob {
	struct mir_owner owner[2];
	__u64 bits[2];
	__u32 l2_len, pad;
};

enum filter_kind { NO_FILTER, UDP_ONLY, NONE, MISSING };

struct chain_case {
	const char *name;
	__u64 bits;			/* of the target */
	struct {
		enum filter_kind filter;
		__u32 monitor;
		__u32 direction;
	} policy[4];			/* 1 to 3; 0 is free here */
	__u64 udp[4], tcp[4];		/* matched, copies, filtered, other failures; of a UDP and of a TCP packet */
};

static const struct chain_case chains[] = {
	{ "one plain policy", BIT(1), { {}, {} }, { 1, 1, 0, 0 }, { 1, 1, 0, 0 } },
	{ "one filter", BIT(1), { {}, { UDP_ONLY, 0, 0 } }, { 1, 1, 0, 0 }, { 1, 0, 1, 0 } },
	{ "refused by the first, wanted by the second", BIT(1) | BIT(2), { {}, { NONE, 0, 0 }, { UDP_ONLY, 0, 0 } },
	  { 1, 1, 0, 0 }, { 1, 0, 1, 0 } },
	{ "wanted twice is copied once", BIT(1) | BIT(2), { {}, { UDP_ONLY, 0, 0 }, {} }, { 1, 1, 0, 0 }, { 1, 1, 0, 0 } },
	{ "two monitors, a filter for one", BIT(1) | BIT(2), { {}, { UDP_ONLY, 1, 0 }, {} }, { 2, 2, 0, 0 }, { 2, 1, 1, 0 } },
	{ "three monitors, a filter each", BIT(1) | BIT(2) | BIT(3),
	  { {}, { UDP_ONLY, 1, 0 }, { NONE, 2, 0 }, { UDP_ONLY, 7, 0 } }, { 3, 2, 1, 0 }, { 3, 0, 3, 0 } },
	{ "a filter that is not there", BIT(1), { {}, { MISSING, 0, 0 } }, { 1, 0, 0, 1 }, { 1, 0, 0, 1 } },
	{ "a filter that is not there, and a plain policy", BIT(1) | BIT(2), { {}, { MISSING, 0, 0 }, {} }, { 1, 1, 0, 0 },
	  { 1, 1, 0, 0 } },
	{ "behind a filter that is not there none is run", BIT(1) | BIT(2), { {}, { MISSING, 1, 0 }, { UDP_ONLY, 2, 0 } },
	  { 2, 0, 0, 2 }, { 2, 0, 0, 2 } },
	{ "a direction is asked before the filter", BIT(1), { {}, { UDP_ONLY, 0, MIR_POLICY_IN } }, { 1, 0, 0, 0 },
	  { 1, 0, 0, 0 } },
	{ "bits without a policy are nobody's", BIT(63), { {} }, { 0, 0, 0, 0 }, { 0, 0, 0, 0 } },
};

static void put(const struct bpf_map *map, __u32 key, const void *value)
{
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(map), &key, value, BPF_ANY), 0);
}

static void chain_set(struct policy_test *skel, const struct chain_case *c, __u32 l2_len)
{
	struct mir_target target = { .born = 7, .selectors = c->bits };
	struct mir_monitor monitor = { .name = "m", .copy_ifindex = NOWHERE };
	struct mir_config config = { .copy_ifindex = NOWHERE, .relay_ifindex = NOWHERE };
	struct knob knob = { .owner = { { US, 7 } }, .l2_len = l2_len };
	int udp = bpf_program__fd(skel->progs.filter_udp), none = bpf_program__fd(skel->progs.filter_none);

	put(skel->maps.targets, US, &target);
	put(skel->maps.config, 0, &config);
	put(skel->maps.knob, 0, &knob);
	for (__u32 i = 1; i < MIR_MONITORS_LIMIT; i++)
		put(skel->maps.monitors, i, &monitor);
	for (__u32 i = 1; i <= 3; i++) {
		__u32 entry = i * 2 + !l2_len;
		struct mir_policy p = {
			.used = !!(c->bits & BIT(i)),
			.monitor = c->policy[i].monitor,
			.direction = c->policy[i].direction,
			.filter = c->policy[i].filter ? i + 1 : 0,
		};

		put(skel->maps.policies, i, &p);
		bpf_map_delete_elem(bpf_map__fd(skel->maps.filters), &entry);
		if (c->policy[i].filter == UDP_ONLY || c->policy[i].filter == NONE)
			put(skel->maps.filters, entry, c->policy[i].filter == NONE ? &none : &udp);
	}
}

static void chain_run(struct policy_test *skel, const char *hex, const __u64 *want)
{
	int stats = bpf_map__fd(skel->maps.stats);
	struct mir_stats before = stats_of(stats), after;
	__u64 matched = 0, refused = 0;
	__u8 bytes[512];

	assert_int_equal(run(bpf_program__fd(skel->progs.enter), bytes, unhex(hex, bytes)), MIR_NEXT);
	after = stats_of(stats);
	for (int i = 0; i < MIR_REASON_MAX; i++)
		matched += after.reasons[i] - before.reasons[i];
	for (int i = 0; i < MIR_REFUSAL_MAX; i++)
		refused += after.refusals[i] - before.refusals[i];
	assert_int_equal(matched, want[0]);
	assert_int_equal(after.unmatched - before.unmatched, !matched);
	assert_int_equal(after.further - before.further, matched ? matched - 1 : 0);
	assert_int_equal(after.failures[MIR_FAILURE_NO_MONITOR] - before.failures[MIR_FAILURE_NO_MONITOR], want[1]);
	assert_int_equal(after.refusals[MIR_REFUSAL_FILTER] - before.refusals[MIR_REFUSAL_FILTER], want[2]);
	assert_int_equal(after.failures[MIR_FAILURE_OTHER] - before.failures[MIR_FAILURE_OTHER], want[3]);
	assert_int_equal(matched, want[1] + want[3] + refused);
}

static const char udp_frame[] = ETH("0800") IP4("001c", "0001", "0000", "11") UDP;
static const char tcp_frame[] = ETH("0800") IP4("0028", "0001", "0000", "06") TCP;

/* As mirrorctl joins them (join_chain() of mirrorctl/load.c). */
static struct policy_test *chain_load(void)
{
	struct policy_test *skel = policy_test__open_and_load();
	int programs[MIR_FILTER_NEXT_MAX];

	assert_non_null(skel);
	programs[MIR_FILTER_REFUSE] = bpf_program__fd(skel->progs.mir_refused);
	programs[MIR_FILTER_ACCEPT] = bpf_program__fd(skel->progs.mir_accepted);
	programs[MIR_FILTER_CHOOSE] = bpf_program__fd(skel->progs.mir_choose);
	for (__u32 i = 0; i < MIR_FILTER_NEXT_MAX; i++)
		put(skel->maps.filter_next, i, &programs[i]);
	return skel;
}

static void test_chain(void **state)
{
	struct policy_test *skel = chain_load();

	(void)state;
	assert_non_null(skel);
	for (size_t i = 0; i < ARRAY_SIZE(chains); i++) {
		print_message("# %s\n", chains[i].name);
		for (__u32 l2_len = 0; l2_len <= 14; l2_len += 14) {
			chain_set(skel, &chains[i], l2_len);
			chain_run(skel, udp_frame, chains[i].udp);
			chain_run(skel, tcp_frame, chains[i].tcp);
		}
	}
	policy_test__destroy(skel);
}

/* More filters than are run for one packet: it goes on and is counted, whatever their number. */
static void test_chain_end(void **state)
{
	struct policy_test *skel = chain_load();
	struct mir_policy p = { .used = 1 };
	struct mir_target target = { .born = 7 };
	__u64 want[4] = {};
	int none;

	(void)state;
	assert_non_null(skel);
	none = bpf_program__fd(skel->progs.filter_none);
	chain_set(skel, &chains[0], 14);
	for (__u32 n = 1; n < MIR_SELECTORS_LIMIT; n++) {
		p.filter = n + 1;
		put(skel->maps.policies, n, &p);
		put(skel->maps.filters, n * 2, &none);
	}
	for (__u32 n = 8; n <= 63; n++) {
		target.selectors = (BIT(n) - 1) << 1;	/* n filters for one monitor: refused by the first, whatever the last */
		put(skel->maps.targets, US, &target);
		want[0] = want[2] = 1;
		chain_run(skel, udp_frame, want);
	}
	p.filter = 0;
	put(skel->maps.policies, 63, &p);
	want[1] = 1;
	want[2] = 0;
	chain_run(skel, udp_frame, want);
	policy_test__destroy(skel);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parser),
		cmocka_unit_test(test_mirror_programs),
		cmocka_unit_test(test_chain),
		cmocka_unit_test(test_chain_end),
	};

	return RUN_TAP(tests);
}
