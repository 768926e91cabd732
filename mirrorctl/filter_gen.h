/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the two halves of the translator share: registers, places on the stack, and how an instruction is written down.
 * filter_ebpf.c does the classic instructions, filter_frame.c what they read of the frame.
 *
 *   r6  struct __sk_buff        r7  A        r8  X        r9  length of the frame, tag included
 *
 * A and X are 32 bits wide: of A nobody looks at the upper half, and every write to X clears it.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/filter.h>

#include <mirror/abi.h>

#include "filter.h"
#include "mctl.h"

#define SKB 6
#define A 7
#define X 8
#define LEN 9
#define FP 10

/* Places on the stack. */
#define MEM(i) (-64 + 4 * (__s16)(i))	/* scratch memory M[] */
#define READ (-72)	/* what bpf_skb_load_bytes() writes to */
#define FRONT (-80)	/* bytes 8 to 15 of a frame with a tag beside it */
#define BACK (-88)	/* bytes 12 to 19 */
#define SHIFT (-96)	/* 4: there is a tag beside the packet; 0: there is none */
#define LOOPS (-104)	/* backward jumps that are left */
#define OUTSIDE (-112)	/* all ones: the bytes to be loaded are not in the tag */

/* `protochain` is a loop, once round for each header. Further on the packet is refused: the verifier walks through all rounds,
 * and its work grows faster than their number. */
#define LOOPS_MAX 16

#define U64 (BPF_LDX | BPF_MEM | BPF_DW)
#define ALWAYS (BPF_JMP | BPF_JA)

struct jump {
	size_t at;		/* place of the jump */
	size_t to;		/* classic instruction, or one of the two verdicts behind the last */
};

struct gen {
	const struct sock_filter *code;
	size_t n;
	enum mctl_frame frame;
	bool *reached;		/* instruction or verdict; the kernel refuses code that cannot be reached */
	size_t *start;		/* where an instruction or verdict begins */
	struct bpf_insn *insns;
	size_t len;
	struct jump *jumps;	/* to be filled in when all starts are known */
	size_t njumps;
	bool has_loop;
	bool has_shift;		/* a load may reach behind the place of the tag */
	bool has_window;	/* a load may touch the tag: FRONT and BACK are made */
	__u32 mem;		/* bit i: M[i] is used */
};

static inline size_t accept_of(const struct gen *g)
{
	return g->n;
}

static inline size_t refuse_of(const struct gen *g)
{
	return g->n + 1;
}

static inline size_t emit(struct gen *g, __u8 code, __u8 dst, __u8 src, __s16 off, __s32 imm)
{
	g->insns[g->len] = (struct bpf_insn){ .code = code, .dst_reg = dst, .src_reg = src, .off = off, .imm = imm };
	return g->len++;
}

static inline void alu(struct gen *g, __u8 op, __u8 dst, __u8 src)
{
	emit(g, BPF_ALU64 | op | BPF_X, dst, src, 0, 0);
}

static inline void alu_k(struct gen *g, __u8 op, __u8 dst, __s32 value)
{
	emit(g, BPF_ALU64 | op | BPF_K, dst, 0, 0, value);
}

/* Clears the upper half. */
static inline void move32(struct gen *g, __u8 dst, __u32 value)
{
	emit(g, BPF_ALU | BPF_MOV | BPF_K, dst, 0, 0, (__s32)value);
}

static inline void to_host(struct gen *g, __u8 dst, __s32 bits)
{
	emit(g, BPF_ALU | BPF_END | BPF_TO_BE, dst, 0, 0, bits);
}

static inline void put(struct gen *g, __s16 at, __u8 src)
{
	emit(g, BPF_STX | BPF_MEM | BPF_DW, FP, src, at, 0);
}

/* By way of r0: older verifiers remember only what was stored from a register. */
static inline void put_k(struct gen *g, __s16 at, __u32 value)
{
	move32(g, 0, value);
	put(g, at, 0);
}

static inline void get(struct gen *g, __u8 dst, __s16 at)
{
	emit(g, U64, dst, FP, at, 0);
}

/* A jump forward within one instruction's code; land() says where to. */
static inline size_t hop(struct gen *g, __u8 code, __u8 dst, __s32 imm)
{
	return emit(g, code, dst, 0, 0, imm);
}

static inline void land(struct gen *g, size_t at)
{
	g->insns[at].off = (__s16)(g->len - at - 1);
}

static inline void jump(struct gen *g, __u8 code, __u8 dst, __u8 src, __s32 imm, size_t to)
{
	g->jumps[g->njumps++] = (struct jump){ .at = g->len, .to = to };
	emit(g, code, dst, src, 0, imm);
	g->reached[to] = true;
}

static inline unsigned int size_of(const struct sock_filter *f)
{
	return BPF_SIZE(f->code) == BPF_B ? 1 : BPF_SIZE(f->code) == BPF_H ? 2 : 4;
}

/* Does an instruction read where a tag may stand, or behind that? Notes what filter_begin() has to provide. */
void mctl_filter_note(struct gen *g, const struct sock_filter *f);

/* What comes before the first instruction: registers, scratch memory, the tag. */
void mctl_filter_begin(struct gen *g);

/* dst = `size` bytes at k. Past the end: refused. */
void mctl_filter_load_abs(struct gen *g, __u8 dst, __u32 k, unsigned int size);

/* A = `size` bytes at X + k. */
void mctl_filter_load_ind(struct gen *g, __u32 k, unsigned int size);
