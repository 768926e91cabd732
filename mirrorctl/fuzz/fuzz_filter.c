/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Filters from arbitrary bytes. First byte 0: a classic program, eight bytes each instruction, for frames with or without
 * Ethernet header (second byte); what comes out must have the shape that the kernel asks for before it looks any closer.
 * Else: an expression; what libpcap compiles must be translated.
 */
#include "filter.h"

#include <string.h>

#include <linux/bpf.h>
#include <linux/filter.h>

#include "mctl.h"
#include "offline.h"

#define CODE_MAX 512
#define STACK 512

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

/* Where an instruction of the translation jumps to or goes on; `wide`: it takes two places. */
static void visit(const struct bpf_insn *insns, size_t n, bool *reached, size_t *todo, size_t *ntodo, long to)
{
	require(to >= 0 && (size_t)to < n);
	require(to == 0 || insns[to - 1].code != (BPF_LD | BPF_IMM | BPF_DW));	/* not into the middle */
	if (!reached[to])
		todo[(*ntodo)++] = (size_t)to;
	reached[to] = true;
}

static void check_insn(const struct bpf_insn *insn)
{
	__u8 class = BPF_CLASS(insn->code);

	require(insn->dst_reg <= 10 && insn->src_reg <= 10);
	if (class == BPF_ALU || class == BPF_ALU64 || class == BPF_LDX)
		require(insn->dst_reg < 10);
	if (class == BPF_STX || class == BPF_ST)
		require(insn->dst_reg == 10 && insn->off < 0 && insn->off >= -STACK);
	if (class == BPF_LDX)	/* of the context, of the packet in place, of the stack */
		require(insn->src_reg == 6 || (insn->src_reg == 1 && !insn->off) ||
			(insn->src_reg == 10 && insn->off < 0 && insn->off >= -STACK));
	if ((class == BPF_ALU || class == BPF_ALU64) && BPF_SRC(insn->code) == BPF_K &&
	    (BPF_OP(insn->code) == BPF_DIV || BPF_OP(insn->code) == BPF_MOD))
		require(insn->imm);
	if ((class == BPF_ALU || class == BPF_ALU64) && BPF_SRC(insn->code) == BPF_K &&
	    (BPF_OP(insn->code) == BPF_LSH || BPF_OP(insn->code) == BPF_RSH))
		require(insn->imm >= 0 && insn->imm < (class == BPF_ALU ? 32 : 64));
}

/* Every jump lands on an instruction, every instruction can be reached, and every way ends at an exit. */
static void check_shape(const struct bpf_insn *insns, size_t n)
{
	_cleanup_free_ bool *reached = calloc(n, sizeof(*reached));
	_cleanup_free_ size_t *todo = calloc(n, sizeof(*todo));
	size_t ntodo = 0;

	require(reached && todo);
	visit(insns, n, reached, todo, &ntodo, 0);
	while (ntodo) {
		size_t at = todo[--ntodo];
		const struct bpf_insn *insn = &insns[at];
		bool jumps = BPF_CLASS(insn->code) == BPF_JMP || BPF_CLASS(insn->code) == BPF_JMP32;
		bool wide = insn->code == (BPF_LD | BPF_IMM | BPF_DW);

		check_insn(insn);
		if (wide) {
			require(at + 1 < n && insns[at + 1].code == 0);
			reached[at + 1] = true;
		}
		if (jumps && BPF_OP(insn->code) == BPF_EXIT)
			continue;
		if (jumps && BPF_OP(insn->code) != BPF_CALL)
			visit(insns, n, reached, todo, &ntodo, (long)at + 1 + insn->off);
		if (!jumps || BPF_OP(insn->code) != BPF_JA)
			visit(insns, n, reached, todo, &ntodo, (long)at + (wide ? 2 : 1));
	}
	for (size_t i = 0; i < n; i++)
		require(reached[i]);
}

static void try_program(const uint8_t *data, size_t size, enum mctl_frame frame)
{
	struct sock_filter code[CODE_MAX];
	struct bpf_insn *insns;
	size_t n = size / sizeof(code[0]), len;
	int r;

	if (n > CODE_MAX)
		n = CODE_MAX;
	if (n)
		memcpy(code, data, n * sizeof(code[0]));
	r = mctl_filter_translate(code, n, frame, 3, &insns, &len);
	if (r) {
		require(r == -EINVAL);
		return;
	}
	check_shape(insns, len);
	free(insns);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = calloc(1, size + 1);
	char err[MCTL_FILTER_ERR_LEN] = "";
	int r;

	if (!size || !text)
		return 0;
	if (data[0] == 0) {
		if (size >= 2)
			try_program(data + 2, size - 2, data[1] & 1 ? MCTL_FRAME_IP : MCTL_FRAME_ETHERNET);
		return 0;
	}
	memcpy(text, data, size);
	r = mctl_filter_check(text, err, sizeof(err));
	require(r == 0 || r == MCTL_FILTER_ETHERNET_ONLY || r == -EINVAL || r == -E2BIG || r == -EOPNOTSUPP);
	require(!r || (err[0] && strcmp(err, strerror(EINVAL))));
	return 0;
}
