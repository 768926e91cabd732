/* SPDX-License-Identifier: GPL-2.0-only */
/* Classic BPF to eBPF: see filter.h. Each classic instruction becomes a few of the other kind, in the same order. */
#include "filter_gen.h"

#define CODE_MAX 32767		/* classic instructions; a jump reaches no further than so many of the other kind */
#define EACH_MAX 96		/* most instructions that one becomes */
#define FRAME_MAX 128		/* most instructions of the prologue and the verdicts together */
#define JUMPS_MAX 4		/* most jumps of one instruction to others */

static void verdict(struct gen *g, size_t which, int next, __u32 entry)
{
	if (!g->reached[which])
		return;
	g->start[which] = g->len;
	alu(g, BPF_MOV, 1, SKB);
	emit(g, BPF_LD | BPF_IMM | BPF_DW, 2, BPF_PSEUDO_MAP_FD, 0, next);
	emit(g, 0, 0, 0, 0, 0);
	move32(g, 3, entry);
	emit(g, BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_tail_call);
	alu_k(g, BPF_MOV, 0, MIR_NEXT);
	emit(g, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

/* A jump from `at` to `to`, which may be backwards: one round less then, and the verifier sees that there is an end to it. */
static void go(struct gen *g, size_t at, size_t to)
{
	if (to <= at) {
		get(g, 1, LOOPS);
		jump(g, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 0, refuse_of(g));
		alu_k(g, BPF_ADD, 1, -1);
		put(g, LOOPS, 1);
	}
	jump(g, ALWAYS, 0, 0, 0, to);
}

/* Where an instruction may go on. Returns how many places there are; a place behind the last instruction is none. */
static int successors(const struct gen *g, size_t at, size_t to[2])
{
	const struct sock_filter *f = &g->code[at];

	if (BPF_CLASS(f->code) == BPF_RET)
		return 0;
	to[0] = to[1] = at + 1;
	if (BPF_CLASS(f->code) != BPF_JMP)
		return 1;
	if (BPF_OP(f->code) == BPF_JA) {
		to[0] += (size_t)(__s64)(__s32)f->k;	/* before the first instruction it wraps, and is behind the last */
		return 1;
	}
	to[0] += f->jt;
	to[1] += f->jf;
	return 2;
}

static void do_branch(struct gen *g, const struct sock_filter *f, size_t at)
{
	bool by_x = BPF_SRC(f->code) == BPF_X;
	size_t to[2];

	if (successors(g, at, to) == 1) {
		go(g, at, to[0]);
		return;
	}
	if (to[0] != to[1])
		jump(g, BPF_JMP32 | BPF_OP(f->code) | BPF_SRC(f->code), A, by_x ? X : 0, by_x ? 0 : (__s32)f->k, to[0]);
	if (to[1] != at + 1)
		jump(g, ALWAYS, 0, 0, 0, to[1]);
}

static void do_alu(struct gen *g, const struct sock_filter *f)
{
	bool by_x = BPF_SRC(f->code) == BPF_X && BPF_OP(f->code) != BPF_NEG;
	__u8 op = BPF_OP(f->code);
	size_t small, done;

	if (by_x && (op == BPF_DIV || op == BPF_MOD))
		jump(g, BPF_JMP | BPF_JEQ | BPF_K, X, 0, 0, refuse_of(g));
	if (!by_x || (op != BPF_LSH && op != BPF_RSH)) {
		emit(g, (__u8)f->code, A, by_x ? X : 0, 0, by_x || op == BPF_NEG ? 0 : (__s32)f->k);
		return;
	}
	small = hop(g, BPF_JMP | BPF_JLT | BPF_K, X, 32);
	move32(g, A, 0);
	done = hop(g, ALWAYS, 0, 0);
	land(g, small);
	emit(g, (__u8)f->code, A, X, 0, 0);
	land(g, done);
}

static void do_load(struct gen *g, const struct sock_filter *f)
{
	__u8 dst = BPF_CLASS(f->code) == BPF_LD ? A : X;

	switch (BPF_MODE(f->code)) {
	case BPF_IMM:
		move32(g, dst, f->k);
		break;
	case BPF_MEM:
		emit(g, BPF_LDX | BPF_MEM | BPF_W, dst, FP, MEM(f->k), 0);
		break;
	case BPF_LEN:
		emit(g, BPF_ALU | BPF_MOV | BPF_X, dst, LEN, 0, 0);
		break;
	case BPF_ABS:
		mctl_filter_load_abs(g, A, f->k, size_of(f));
		break;
	case BPF_IND:
		mctl_filter_load_ind(g, f->k, size_of(f));
		break;
	default:	/* BPF_MSH */
		mctl_filter_load_abs(g, X, f->k, 1);
		alu_k(g, BPF_AND, X, 0xf);
		alu_k(g, BPF_LSH, X, 2);
	}
}

static void translate_one(struct gen *g, size_t at)
{
	const struct sock_filter *f = &g->code[at];
	bool to_x = BPF_MISCOP(f->code) == BPF_TAX;

	switch (BPF_CLASS(f->code)) {
	case BPF_LD:
	case BPF_LDX:
		do_load(g, f);
		break;
	case BPF_ST:
	case BPF_STX:
		emit(g, BPF_STX | BPF_MEM | BPF_W, FP, BPF_CLASS(f->code) == BPF_ST ? A : X, MEM(f->k), 0);
		break;
	case BPF_ALU:
		do_alu(g, f);
		break;
	case BPF_JMP:
		do_branch(g, f, at);
		break;
	case BPF_RET:
		if (BPF_RVAL(f->code) == BPF_A)
			jump(g, BPF_JMP32 | BPF_JEQ | BPF_K, A, 0, 0, refuse_of(g));
		jump(g, ALWAYS, 0, 0, 0, BPF_RVAL(f->code) == BPF_A || f->k ? accept_of(g) : refuse_of(g));
		break;
	default:	/* BPF_MISC */
		emit(g, BPF_ALU | BPF_MOV | BPF_X, to_x ? X : A, to_x ? A : X, 0, 0);
	}
}

/* The opcodes of bpf_filter(), with the operands it can do something with. */
static bool is_valid(const struct sock_filter *f)
{
	switch (f->code) {
	case BPF_LD | BPF_ABS:		/* BPF_W is 0 */
	case BPF_LD | BPF_ABS | BPF_H:
	case BPF_LD | BPF_ABS | BPF_B:
	case BPF_LD | BPF_IND:
	case BPF_LD | BPF_IND | BPF_H:
	case BPF_LD | BPF_IND | BPF_B:
	case BPF_LDX | BPF_MSH | BPF_B:
	case BPF_LD | BPF_LEN:
	case BPF_LDX | BPF_LEN:
	case BPF_LD | BPF_IMM:
	case BPF_LDX | BPF_IMM:
	case BPF_RET | BPF_K:
	case BPF_RET | BPF_A:
	case BPF_MISC | BPF_TAX:
	case BPF_MISC | BPF_TXA:
	case BPF_JMP | BPF_JA:
	case BPF_ALU | BPF_NEG:
		return true;
	case BPF_LD | BPF_MEM:
	case BPF_LDX | BPF_MEM:
	case BPF_ST:
	case BPF_STX:
		return f->k < BPF_MEMWORDS;
	case BPF_ALU | BPF_DIV | BPF_K:
	case BPF_ALU | BPF_MOD | BPF_K:
		return f->k;
	case BPF_ALU | BPF_LSH | BPF_K:
	case BPF_ALU | BPF_RSH | BPF_K:
		return f->k < 32;
	default:
		break;
	}
	if (f->code & ~0xff)
		return false;
	if (BPF_CLASS(f->code) == BPF_ALU)
		return BPF_OP(f->code) <= BPF_XOR && BPF_OP(f->code) != BPF_NEG;
	return BPF_CLASS(f->code) == BPF_JMP && BPF_OP(f->code) != BPF_JA && BPF_OP(f->code) <= BPF_JSET;
}

/* Visits what can be reached from the beginning. `todo` has room for all instructions: each is put there once. */
static int explore(struct gen *g, size_t *todo)
{
	size_t ntodo = 1, to[2];

	todo[0] = 0;
	g->reached[0] = true;
	while (ntodo) {
		size_t at = todo[--ntodo];

		if (!is_valid(&g->code[at]))
			return -EINVAL;
		mctl_filter_note(g, &g->code[at]);
		for (int i = successors(g, at, to) - 1; i >= 0; i--) {
			if (to[i] >= g->n)
				return -EINVAL;
			if (!g->reached[to[i]])
				todo[ntodo++] = to[i];
			g->reached[to[i]] = true;
		}
	}
	return 0;
}

static int fill_in(struct gen *g)
{
	for (size_t i = 0; i < g->njumps; i++) {
		__s64 off = (__s64)g->start[g->jumps[i].to] - (__s64)g->jumps[i].at - 1;

		if (off != (__s16)off)
			return -E2BIG;
		g->insns[g->jumps[i].at].off = (__s16)off;
	}
	return 0;
}

int mctl_filter_translate(const struct sock_filter *code, size_t n, enum mctl_frame frame, int next,
			  struct bpf_insn **ret_insns, size_t *ret_n)
{
	_cleanup_free_ struct bpf_insn *insns = NULL;
	_cleanup_free_ struct jump *jumps = NULL;
	_cleanup_free_ size_t *start = NULL;
	_cleanup_free_ bool *reached = NULL;
	struct gen g = { .code = code, .n = n, .frame = frame };
	int r;

	if (!n)
		return -EINVAL;
	if (n > CODE_MAX)
		return -E2BIG;
	g.insns = insns = calloc(n * EACH_MAX + FRAME_MAX, sizeof(*insns));
	g.jumps = jumps = calloc(n * JUMPS_MAX, sizeof(*jumps));
	g.start = start = calloc(n + 2, sizeof(*start));
	g.reached = reached = calloc(n + 2, sizeof(*reached));
	if (!insns || !jumps || !start || !reached)
		return -ENOMEM;
	r = explore(&g, start);
	if (r < 0)
		return r;
	mctl_filter_begin(&g);
	for (size_t i = 0; i < n; i++) {
		if (!reached[i])
			continue;
		start[i] = g.len;
		translate_one(&g, i);
	}
	verdict(&g, accept_of(&g), next, MIR_FILTER_ACCEPT);
	verdict(&g, refuse_of(&g), next, MIR_FILTER_REFUSE);
	r = fill_in(&g);
	if (r < 0)
		return r;
	*ret_insns = TAKE_PTR(insns);
	*ret_n = g.len;
	return 0;
}
