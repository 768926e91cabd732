/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The inline tap beside its ports: what leaves is counted (programs of the device map), what the kernel drops afterwards is
 * learnt from its tracepoints, what offloads have put together goes by TC.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#define MIR_PARSE_CTX struct __sk_buff
#define MIR_PARSE_LOAD bpf_skb_load_bytes
#define MIR_PARSE_LEN(ctx) ((ctx)->len)
#include "select.bpf.h"

#include "device.bpf.h"

#define MIR_EMSGSIZE 90
#define MIR_ENETDOWN 100

/* A frame on its way out of a port. */
SEC("xdp/devmap")
int mir_tap_out(struct xdp_md *ctx)
{
	struct mir_tap_state *state = mir_tap_state();
	struct mir_tap_stats *s;

	s = state ? mir_tap_stats(mir_tap_port_of(state, ctx->ingress_ifindex)) : NULL;
	if (s) {
		s->sent++;
		s->sent_bytes += ctx->data_end - ctx->data;
	}
	return XDP_PASS;
}

/* A copy on its way to the monitor. */
SEC("xdp/devmap")
int mir_tap_copy(struct xdp_md *ctx)
{
	struct mir_tap_state *state = mir_tap_state();
	struct mir_tap_stats *s;

	s = state ? mir_tap_stats(mir_tap_port_of(state, ctx->ingress_ifindex)) : NULL;
	if (s) {
		s->copy_sent++;
		s->copy_sent_bytes += ctx->data_end - ctx->data;
	}
	return XDP_PASS;
}

/* On the monitor in native mode, as a generic program. It does nothing; but a device with one does no GRO, so a capture
 * sees every frame as it was (netif_elide_gro()). */
SEC("xdp")
int mir_tap_pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

/* TC ingress of the ports in generic mode: super-packets (receive offload, or a veth peer's segmentation offload), which
 * XDP has let pass. They leave as they came; the device segments them if it has to. */
SEC("tc")
int mir_tap_long(struct __sk_buff *skb)
{
	struct mir_tap_state *state = mir_tap_state();
	struct mir_tap_stats *s;
	__u32 from, to;
	int copied;

	if (!state)
		return MIR_NEXT;
	from = mir_tap_port_of(state, skb->ifindex);
	if (from > MIR_TAP_B)
		return MIR_NEXT;
	to = from == MIR_TAP_A ? MIR_TAP_B : MIR_TAP_A;
	s = mir_tap_stats(from);
	if (!s || skb->len <= state->port[to].longest)
		return MIR_NEXT;
	if (!skb->gso_size) {
		s->too_long++;
		return TC_ACT_SHOT;
	}
	if (mir_tap_wanted(skb)) {
		s->wanted++;
		copied = bpf_clone_redirect(skb, state->copy_ifindex, 0) == 0;
		s->copy_sent += copied;
		s->copy_sent_bytes += copied ? skb->len : 0;
	}
	s->sent++;
	s->sent_bytes += skb->len;
	return bpf_redirect(state->port[to].ifindex, 0);
}

/* Native: a batch was handed to a driver, which took `sent` of it. */
SEC("tp_btf/xdp_devmap_xmit")
int BPF_PROG(mir_tap_xmit, const struct net_device *from_dev, const struct net_device *to_dev, int sent, int drops, int err)
{
	struct mir_tap_state *state = mir_tap_state();
	struct mir_tap_stats *s;
	__u32 from;

	if (drops <= 0 || !state || !mir_device_in(from_dev, state->netns))
		return 0;
	from = mir_tap_port_of(state, from_dev->ifindex);
	s = mir_tap_stats(from);
	if (!s || !mir_device_in(to_dev, state->netns))
		return 0;
	if (to_dev->ifindex == state->copy_ifindex)
		s->copy_dropped += drops;
	else if (mir_tap_port_of(state, to_dev->ifindex) <= MIR_TAP_B)
		s->dropped += drops;
	return 0;
}

/* Generic: a queue was stopped (generic_xdp_tx()). It happens within the run of our program. */
SEC("tp_btf/xdp_exception")
int BPF_PROG(mir_tap_except, const struct net_device *dev, const struct bpf_prog *xdp, __u32 act)
{
	struct mir_tap_state *state = mir_tap_state();
	struct mir_tap_now *now = mir_tap_now();
	struct mir_tap_stats *s;

	if (act != XDP_TX || !state || !now || state->mode != MIR_TAP_GENERIC || !mir_device_in(dev, state->netns))
		return 0;
	s = mir_tap_stats(now->port);
	if (!s)
		return 0;
	if (dev->ifindex == state->copy_ifindex)
		s->copy_dropped++;
	else if (mir_tap_port_of(state, dev->ifindex) <= MIR_TAP_B)
		s->dropped++;
	return 0;
}

/* A redirect failed before anything was sent (since Linux 5.13 also those by a map). A device that is down is told by what
 * is missing (struct mir_tap_stats): a broadcast skips it without a word. */
SEC("tp_btf/xdp_redirect_err")
int BPF_PROG(mir_tap_error, const struct net_device *dev, const struct bpf_prog *xdp, const void *tgt, int err)
{
	struct mir_tap_state *state = mir_tap_state();
	struct mir_tap_now *now = mir_tap_now();
	struct mir_tap_stats *s;

	if (!state || !now || !mir_device_in(dev, state->netns))
		return 0;
	s = mir_tap_stats(mir_tap_port_of(state, dev->ifindex));
	if (!s || err == -MIR_ENETDOWN)
		return 0;
	if (err != -MIR_EMSGSIZE) {
		s->lost++;
		s->copy_lost += now->copy;
	} else if (!now->copy) {
		s->too_long++;
	}
	return 0;
}

char _license[] SEC("license") = "GPL";
