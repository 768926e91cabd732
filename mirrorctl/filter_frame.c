/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How a filter reads the frame: see filter_gen.h.
 *
 * A VLAN tag that the kernel keeps beside the packet (skb->vlan_present) belongs to the frame: four bytes at offset 12. What
 * lies behind it is found SHIFT bytes before its offset in the frame. What touches it comes out of two words that are made
 * once for each packet and hold the bytes 8 to 15 and 12 to 19 of the frame.
 */
#include "filter_gen.h"

#define TAG_AT 12	/* offset of the tag in the frame */
#define TAG_LEN 4

#define DIRECT_MAX 0x7fff	/* the verifier follows a pointer into the packet no further than 0xffff */

static void field(struct gen *g, __u8 dst, size_t offset)
{
	emit(g, BPF_LDX | BPF_MEM | BPF_W, dst, SKB, (__s16)offset, 0);
}

/* bpf_skb_load_bytes() of r4 bytes at r2 to READ. */
static void call_load(struct gen *g)
{
	alu(g, BPF_MOV, 1, SKB);
	alu(g, BPF_MOV, 3, FP);
	alu_k(g, BPF_ADD, 3, READ);
	emit(g, BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_skb_load_bytes);
}

static __u8 width(unsigned int size)
{
	return size == 1 ? BPF_B : size == 2 ? BPF_H : BPF_W;
}

/* dst = `size` bytes of the packet at the offset in r2, in network byte order. Past its end: refused. */
static void fetch(struct gen *g, __u8 dst, unsigned int size)
{
	move32(g, 4, size);
	call_load(g);
	jump(g, BPF_JMP | BPF_JNE | BPF_K, 0, 0, 0, refuse_of(g));
	emit(g, BPF_LDX | BPF_MEM | width(size), dst, FP, READ, 0);
}

/*
 * The same in place, if they lie in the linear part of the packet, as headers do: a helper takes ten times as long. Not so in
 * a loop: there the two ways of each load would multiply for the verifier.
 */
static void load(struct gen *g, __u8 dst, unsigned int size)
{
	size_t far, behind, done;

	if (g->has_loop) {
		fetch(g, dst, size);
	} else {
		far = hop(g, BPF_JMP | BPF_JGT | BPF_K, 2, DIRECT_MAX);
		field(g, 1, offsetof(struct __sk_buff, data));
		alu(g, BPF_ADD, 1, 2);
		alu(g, BPF_MOV, 3, 1);
		alu_k(g, BPF_ADD, 3, (__s32)size);
		field(g, 4, offsetof(struct __sk_buff, data_end));
		behind = emit(g, BPF_JMP | BPF_JGT | BPF_X, 3, 4, 0, 0);
		emit(g, BPF_LDX | BPF_MEM | width(size), dst, 1, 0, 0);
		done = hop(g, ALWAYS, 0, 0);
		land(g, far);
		land(g, behind);
		fetch(g, dst, size);
		land(g, done);
	}
	if (size > 1)
		to_host(g, dst, (__s32)size * 8);
}

/* Do some of these bytes lie in the tag? */
static bool near_tag(__u32 k, unsigned int size)
{
	return k < TAG_AT + TAG_LEN && k + size > TAG_AT;
}

/* Keeps the last `size` bytes of a 32-bit word. */
static void cut(struct gen *g, __u8 dst, unsigned int size)
{
	if (size < 4)
		alu_k(g, BPF_AND, dst, size == 1 ? 0xff : 0xffff);
}

void mctl_filter_load_abs(struct gen *g, __u8 dst, __u32 k, unsigned int size)
{
	unsigned int end = TAG_AT + TAG_LEN + (k < TAG_AT ? 0 : 4);	/* of FRONT or BACK */
	size_t untagged, done;

	if (g->frame == MCTL_FRAME_IP || (__u64)k + size <= TAG_AT) {
		move32(g, 2, k);
		load(g, dst, size);
		return;
	}
	get(g, 3, SHIFT);
	if (!near_tag(k, size)) {
		move32(g, 2, k);
		alu(g, BPF_SUB, 2, 3);
		load(g, dst, size);
		return;
	}
	untagged = hop(g, BPF_JMP | BPF_JEQ | BPF_K, 3, 0);
	jump(g, BPF_JMP | BPF_JLT | BPF_K, LEN, 0, (__s32)(k + size), refuse_of(g));
	get(g, dst, k < TAG_AT ? FRONT : BACK);
	alu_k(g, BPF_RSH, dst, (__s32)(8 * (end - k - size)));
	cut(g, dst, size);
	done = hop(g, ALWAYS, 0, 0);
	land(g, untagged);
	move32(g, 2, k);
	load(g, dst, size);
	land(g, done);
}

/* The verifier forgets what it knows of a register. Else it would take each round of a loop, with its own bounds of X, for
 * another state, and the ways through all rounds would multiply. */
static void forget(struct gen *g, __u8 dst)
{
	to_host(g, dst, 64);
	to_host(g, dst, 64);
}

/* dst = src < limit ? all ones : zero. */
static void mask_below(struct gen *g, __u8 dst, __u8 src, __s32 limit)
{
	alu(g, BPF_MOV, dst, src);
	alu_k(g, BPF_ADD, dst, -limit);
	alu_k(g, BPF_ARSH, dst, 63);
}

/*
 * A = the `size` bytes from r2 up to r5 of a frame with a tag beside it. Without a branch, so that the verifier has one way
 * only: the bytes in FRONT or BACK, or those of the packet, whichever a mask leaves over.
 */
static void load_tagged(struct gen *g, unsigned int size)
{
	mask_below(g, 1, 2, TAG_AT + TAG_LEN);
	mask_below(g, 0, 2, TAG_AT);
	move32(g, 4, TAG_AT);
	alu(g, BPF_SUB, 4, 5);
	alu_k(g, BPF_ARSH, 4, 63);
	alu(g, BPF_AND, 4, 1);		/* r4: some of it lies in the tag */
	get(g, A, FRONT);
	alu(g, BPF_AND, A, 0);
	alu_k(g, BPF_XOR, 0, -1);
	get(g, 3, BACK);
	alu(g, BPF_AND, 3, 0);
	alu(g, BPF_OR, A, 3);
	alu_k(g, BPF_AND, 0, 4);	/* FRONT ends at 16, BACK at 20 */
	alu_k(g, BPF_ADD, 0, TAG_AT + TAG_LEN);
	alu(g, BPF_SUB, 0, 5);
	alu_k(g, BPF_LSH, 0, 3);
	alu_k(g, BPF_AND, 0, 63);	/* a shift by more is not defined; nothing of it is used then */
	alu(g, BPF_RSH, A, 0);
	alu(g, BPF_AND, A, 4);
	alu_k(g, BPF_XOR, 4, -1);
	put(g, OUTSIDE, 4);
	alu_k(g, BPF_XOR, 1, -1);
	alu_k(g, BPF_AND, 1, TAG_LEN);
	alu(g, BPF_SUB, 2, 1);		/* behind the tag: so much earlier in the packet */
	alu(g, BPF_AND, 2, 4);		/* in the tag: anywhere */
	load(g, 1, size);
	get(g, 2, OUTSIDE);
	alu(g, BPF_AND, 1, 2);
	alu(g, BPF_OR, A, 1);
	cut(g, A, size);
}

/* A = `size` bytes at X + k. r2: where they begin in the frame, r5: where they end; neither wraps in 64 bits. */
void mctl_filter_load_ind(struct gen *g, __u32 k, unsigned int size)
{
	size_t untagged, done;

	move32(g, 2, k);
	alu(g, BPF_ADD, 2, X);
	if (g->has_loop)
		forget(g, 2);
	alu(g, BPF_MOV, 5, 2);
	alu_k(g, BPF_ADD, 5, (__s32)size);
	jump(g, BPF_JMP | BPF_JGT | BPF_X, 5, LEN, 0, refuse_of(g));
	if (g->frame == MCTL_FRAME_IP) {
		load(g, A, size);
		return;
	}
	get(g, 3, SHIFT);
	untagged = hop(g, BPF_JMP | BPF_JEQ | BPF_K, 3, 0);
	load_tagged(g, size);
	done = hop(g, ALWAYS, 0, 0);
	land(g, untagged);
	load(g, A, size);
	land(g, done);
}

/* FRONT and BACK. A is still free: it holds the tag as the frame would, in its lower half. */
static void make_window(struct gen *g)
{
	size_t some, none;

	field(g, A, offsetof(struct __sk_buff, vlan_proto));	/* network byte order */
	to_host(g, A, 16);
	alu_k(g, BPF_LSH, A, 16);
	field(g, 1, offsetof(struct __sk_buff, vlan_tci));
	alu(g, BPF_OR, A, 1);

	/* Bytes 8 to 11, then the tag. */
	move32(g, 2, TAG_AT - 4);
	move32(g, 4, 4);
	call_load(g);
	emit(g, BPF_LDX | BPF_MEM | BPF_W, 1, FP, READ, 0);
	to_host(g, 1, 32);
	alu_k(g, BPF_LSH, 1, 32);
	alu(g, BPF_OR, 1, A);
	put(g, FRONT, 1);

	/* The tag, then bytes 16 to 19 as far as there are any. */
	put_k(g, READ, 0);
	alu(g, BPF_MOV, 4, LEN);
	alu_k(g, BPF_ADD, 4, -(TAG_AT + TAG_LEN));
	some = hop(g, BPF_JMP | BPF_JSLE | BPF_K, 4, 4);
	move32(g, 4, 4);
	land(g, some);
	none = hop(g, BPF_JMP | BPF_JSLE | BPF_K, 4, 0);
	move32(g, 2, TAG_AT);
	call_load(g);
	land(g, none);
	emit(g, BPF_LDX | BPF_MEM | BPF_W, 1, FP, READ, 0);
	to_host(g, 1, 32);
	alu_k(g, BPF_LSH, A, 32);
	alu(g, BPF_OR, A, 1);
	put(g, BACK, A);
}

static void find_tag(struct gen *g)
{
	size_t untagged;

	if (g->has_shift)
		put_k(g, SHIFT, 0);
	if (g->has_window) {
		put_k(g, FRONT, 0);
		put_k(g, BACK, 0);
	}
	field(g, 1, offsetof(struct __sk_buff, vlan_present));
	untagged = hop(g, BPF_JMP | BPF_JEQ | BPF_K, 1, 0);
	alu_k(g, BPF_ADD, LEN, TAG_LEN);
	if (g->has_shift)
		put_k(g, SHIFT, TAG_LEN);
	if (g->has_window)
		make_window(g);
	land(g, untagged);
}

void mctl_filter_begin(struct gen *g)
{
	alu(g, BPF_MOV, SKB, 1);
	field(g, LEN, offsetof(struct __sk_buff, len));
	for (int i = 0; i < BPF_MEMWORDS; i++)
		if (g->mem & 1u << i)
			emit(g, BPF_ST | BPF_MEM | BPF_W, FP, 0, MEM(i), 0);
	if (g->has_loop)
		put_k(g, LOOPS, LOOPS_MAX);
	if (g->frame == MCTL_FRAME_ETHERNET)
		find_tag(g);
	move32(g, A, 0);
	move32(g, X, 0);
}

void mctl_filter_note(struct gen *g, const struct sock_filter *f)
{
	__u8 class = BPF_CLASS(f->code), mode = BPF_MODE(f->code);
	bool is_load = class == BPF_LD || class == BPF_LDX;
	bool is_fixed = is_load && (mode == BPF_ABS || mode == BPF_MSH);

	if (class == BPF_ST || class == BPF_STX || (is_load && mode == BPF_MEM))
		g->mem |= 1u << f->k;
	if (f->code == (BPF_JMP | BPF_JA) && (__s32)f->k < 0)
		g->has_loop = true;
	if ((is_load && mode == BPF_IND) || (is_fixed && (__u64)f->k + size_of(f) > TAG_AT))
		g->has_shift = true;
	if ((is_load && mode == BPF_IND) || (is_fixed && near_tag(f->k, size_of(f))))
		g->has_window = true;
}
