/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The inline tap: the one program on both of its ports. Loaded by libxdp, beside other XDP programs where its dispatcher
 * works. What happens to a frame afterwards is counted in side.bpf.c.
 */
#include <linux/bpf.h>

#define MIR_PARSE_CTX struct xdp_md
#define MIR_PARSE_LOAD bpf_xdp_load_bytes
#define MIR_PARSE_LEN(ctx) ((__u32)((ctx)->data_end - (ctx)->data))
#include "select.bpf.h"

/* The frame goes to the other port, whatever else is the matter. */
static __always_inline int mir_tap_forward(struct mir_tap_stats *s, __u32 to)
{
	if (bpf_redirect_map(&tap_wire, to, 0) == XDP_REDIRECT)
		return XDP_REDIRECT;
	return XDP_DROP;	/* the device is gone: `in` without `sent` */
}

SEC("xdp")
int mir_tap(struct xdp_md *ctx)
{
	__u32 len = MIR_PARSE_LEN(ctx), from, to;
	struct mir_tap_state *state = mir_tap_state();
	struct mir_tap_now *now = mir_tap_now();
	struct mir_tap_stats *s;

	if (!state || !now)
		return XDP_PASS;
	from = mir_tap_port_of(state, ctx->ingress_ifindex);
	if (from > MIR_TAP_B)
		return XDP_PASS;	/* moved here from another namespace: not ours */
	to = from == MIR_TAP_A ? MIR_TAP_B : MIR_TAP_A;
	s = mir_tap_stats(from);
	if (!s)
		return XDP_PASS;
	s->in++;
	s->in_bytes += len;
	now->port = from;
	now->copy = 0;

	/* XDP forwards nothing longer than the MTU; what an offload has put together is for mir_tap_long. */
	if (len > state->port[to].longest && state->mode == MIR_TAP_GENERIC)
		return XDP_PASS;
	if (!mir_tap_wanted(ctx))
		return mir_tap_forward(s, to);
	s->wanted++;
	/* Native: the copy must fit into one page (xdpf_clone()); a broadcast that cannot copy loses the frame itself. */
	if (len > state->clone_max || len > state->port[to].longest) {
		s->copy_too_long++;
		return mir_tap_forward(s, to);
	}
	now->copy = 1;
	return bpf_redirect_map(&tap_wire, 0, BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS);
}

char _license[] SEC("license") = "GPL";
