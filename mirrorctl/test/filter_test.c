/* SPDX-License-Identifier: GPL-2.0-only */
/* Filters without a kernel: what is taken, what is refused and with which words, and that nothing gets lost on the way from
 * libpcap. What the translation means is the business of bpf_filter_test.c. */
#include <string.h>

#include <linux/filter.h>

#include <pcap/pcap.h>

#include "filter.h"
#include "filter_expressions.h"
#include "mctl.h"
#include "test.h"

static const struct {
	const char *expr;
	int result;
	const char *words;	/* part of the message */
} table[] = {
	{ "", 0, "" },
	{ "tcp port 80", 0, "" },
	{ "ip6 protochain 17", 0, "" },
	{ "  host   10.0.0.1  ", 0, "" },
	{ "(tcp or udp) and not port 22", 0, "" },
	{ "ether[0xfffffff0] = 1", 0, "" },
	{ "vlan 100", MCTL_FILTER_ETHERNET_ONLY, "no VLAN support for Raw IP" },
	{ "not ether src 02:00:00:00:00:01", MCTL_FILTER_ETHERNET_ONLY, "ethernet addresses supported only on" },
	{ "arp", MCTL_FILTER_ETHERNET_ONLY, "expression rejects all packets" },
	{ "tcp and", -EINVAL, "syntax error" },
	{ "prot 80", -EINVAL, "syntax error" },
	{ "port 65536", -EINVAL, "illegal port number 65536 > 65535" },
	{ "host 10.0.0.256", -EINVAL, "invalid IPv4 address '10.0.0.256'" },
	{ "net 10.0.0.1/8", -EINVAL, "non-network bits set in \"10.0.0.1/8\"" },
	{ "tcp[0", -EINVAL, "syntax error" },
	{ "ip[0] / 0 = 1", -EINVAL, "division by zero" },
	{ "tcp and arp", -EINVAL, "expression rejects all packets" },
	{ "ip broadcast", -EINVAL, "netmask not known" },
	{ "wlan type mgt", -EINVAL, "802.11 link-layer types supported only on 802.11" },
	{ "inbound", -EOPNOTSUPP, "--direction" },
	{ "tcp and outbound", -EOPNOTSUPP, "--direction" },
	{ "ifindex 2", -EOPNOTSUPP, "not in the frame" },
};

static void test_check(void **state)
{
	char err[MCTL_FILTER_ERR_LEN];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		int r;

		err[0] = '\0';
		r = mctl_filter_check(table[i].expr, err, sizeof(err));
		if (r != table[i].result || !strstr(err, table[i].words))
			FAIL("'%s': %d '%s', not %d '%s'", table[i].expr, r, err, table[i].result, table[i].words);
	}
}

static void test_too_long(void **state)
{
	static char expr[MCTL_FILTER_LEN + 1];
	char err[MCTL_FILTER_ERR_LEN], small[8];

	(void)state;
	memset(expr, ' ', MCTL_FILTER_LEN);
	assert_int_equal(mctl_filter_check(expr, err, sizeof(err)), -E2BIG);
	assert_non_null(strstr(err, "longer than 4087 bytes"));
	expr[MCTL_FILTER_LEN - 1] = '\0';
	memcpy(expr, "tcp", 3);
	assert_int_equal(mctl_filter_check(expr, err, sizeof(err)), 0);
	assert_int_equal(mctl_filter_check("tcp and", small, sizeof(small)), -EINVAL);
	assert_int_equal(strlen(small), sizeof(small) - 1);
}

/* Instruction by instruction what libpcap says for this kind of frame. */
static void check_compiled(const char *expr, enum mctl_frame frame)
{
	pcap_t *p = pcap_open_dead(frame == MCTL_FRAME_IP ? DLT_RAW : DLT_EN10MB, 262144);
	_cleanup_free_ struct sock_filter *code = NULL;
	struct bpf_program program = {};
	char err[MCTL_FILTER_ERR_LEN];
	size_t n = 0;
	int theirs, ours;

	assert_non_null(p);
	theirs = pcap_compile(p, &program, expr, 1, PCAP_NETMASK_UNKNOWN);
	ours = mctl_filter_compile(expr, frame, &code, &n, err, sizeof(err));
	if (theirs) {
		assert_int_equal(ours, -EINVAL);
		assert_string_equal(err, pcap_geterr(p));
		pcap_close(p);
		return;
	}
	assert_int_equal(ours, 0);
	assert_int_equal(n, program.bf_len);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(code[i].code, program.bf_insns[i].code);
		assert_int_equal(code[i].jt, program.bf_insns[i].jt);
		assert_int_equal(code[i].jf, program.bf_insns[i].jf);
		assert_int_equal(code[i].k, program.bf_insns[i].k);
	}
	pcap_freecode(&program);
	pcap_close(p);
}

static void test_compile(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(expressions); i++) {
		check_compiled(expressions[i], MCTL_FRAME_ETHERNET);
		check_compiled(expressions[i], MCTL_FRAME_IP);
	}
}

static int translate(const struct sock_filter *code, size_t n)
{
	struct bpf_insn *insns = NULL;
	size_t len;
	int r;

	r = mctl_filter_translate(code, n, MCTL_FRAME_ETHERNET, 3, &insns, &len);
	free(insns);
	return r;
}

#define TRANSLATE(...) translate((const struct sock_filter[]){ __VA_ARGS__ }, \
				 sizeof((const struct sock_filter[]){ __VA_ARGS__ }) / sizeof(struct sock_filter))
#define ACCEPT_ALL { BPF_RET | BPF_K, 0, 0, 1 }

static void test_invalid_programs(void **state)
{
	(void)state;
	assert_int_equal(translate(NULL, 0), -EINVAL);
	assert_int_equal(TRANSLATE(ACCEPT_ALL), 0);
	assert_int_equal(TRANSLATE({ BPF_LD | BPF_IMM, 0, 0, 1 }), -EINVAL);		/* ends without a return */
	assert_int_equal(TRANSLATE({ BPF_JMP | BPF_JA, 0, 0, 1 }, ACCEPT_ALL), -EINVAL);
	assert_int_equal(TRANSLATE({ BPF_JMP | BPF_JEQ, 1, 0, 1 }, ACCEPT_ALL), -EINVAL);
	assert_int_equal(TRANSLATE({ BPF_JMP | BPF_JEQ, 0, 1, 1 }, ACCEPT_ALL), -EINVAL);
	assert_int_equal(TRANSLATE({ BPF_JMP | BPF_JA, 0, 0, 0xfffffffe }, ACCEPT_ALL), -EINVAL);
	assert_int_equal(TRANSLATE({ BPF_JMP | BPF_JA, 0, 0, 0xffffffff }, ACCEPT_ALL), 0);	/* a loop: 16 rounds */
	assert_int_equal(TRANSLATE({ BPF_LD | BPF_MEM, 0, 0, 16 }, ACCEPT_ALL), -EINVAL);
	assert_int_equal(TRANSLATE({ BPF_STX, 0, 0, 0xffffffff }, ACCEPT_ALL), -EINVAL);
	assert_int_equal(TRANSLATE({ BPF_ALU | BPF_DIV | BPF_K, 0, 0, 0 }, ACCEPT_ALL), -EINVAL);
	assert_int_equal(TRANSLATE({ BPF_ALU | BPF_MOD | BPF_K, 0, 0, 0 }, ACCEPT_ALL), -EINVAL);
	assert_int_equal(TRANSLATE({ BPF_ALU | BPF_LSH | BPF_K, 0, 0, 32 }, ACCEPT_ALL), -EINVAL);
	assert_int_equal(TRANSLATE({ BPF_LDX | BPF_ABS, 0, 0, 0 }, ACCEPT_ALL), -EINVAL);
	assert_int_equal(TRANSLATE({ 0xffff, 0, 0, 0 }, ACCEPT_ALL), -EINVAL);
	assert_int_equal(TRANSLATE({ 0x0100 | BPF_RET, 0, 0, 0 }), -EINVAL);
	assert_int_equal(TRANSLATE({ BPF_JMP | BPF_JA, 0, 0, 1 }, { 0xffff, 0, 0, 0 }, ACCEPT_ALL), 0);	/* never reached */
}

/* So long that a jump to the end is further than there is room for. */
static void test_too_long_program(void **state)
{
	static struct sock_filter code[32768];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(code); i++)
		code[i] = (struct sock_filter){ BPF_LD | BPF_ABS, 0, 0, 20 };
	code[99] = code[ARRAY_SIZE(code) - 1] = (struct sock_filter)ACCEPT_ALL;
	assert_int_equal(translate(code, 100), 0);
	code[99] = code[98];
	assert_int_equal(translate(code, ARRAY_SIZE(code)), -E2BIG);
	assert_int_equal(translate(code + ARRAY_SIZE(code) - 10000, 10000), -E2BIG);
	assert_int_equal(translate(code + ARRAY_SIZE(code) - 1000, 1000), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_check),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_compile),
		cmocka_unit_test(test_invalid_programs),
		cmocka_unit_test(test_too_long_program),
	};

	return RUN_TAP(tests);
}
