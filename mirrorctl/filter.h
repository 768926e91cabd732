/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Filters: an expression of pcap-filter(7) is compiled by libpcap (filter.c), translated to a program of the kernel
 * (filter_ebpf.c) and put into map `filters` (filter_load.c), where the mirror programs enter it by tail call before they
 * copy. The verdict is that of libpcap's bpf_filter() on the whole frame, with a VLAN tag that the kernel keeps beside the
 * packet back in its place: what a capture without snapshot length would have said at the same place.
 */
#pragma once

#include <stddef.h>

#include <linux/types.h>

struct bpf_insn;	/* <linux/bpf.h>; <pcap/pcap.h> has another struct of this name, so none of the two is included here */
struct mctl_instance;
struct mir_filter;
struct sock_filter;	/* <linux/filter.h>: one classic instruction */

#define MCTL_FILTER_LEN 4088	/* MIR_FILTER_LEN: bytes of an expression, with its terminating zero */
#define MCTL_FILTER_ERR_LEN 512	/* room for any message of these functions */

/* What a frame begins with; the low bit of the index in map `filters`. */
enum mctl_frame {
	MCTL_FRAME_ETHERNET,
	MCTL_FRAME_IP,		/* no Ethernet header: tun, WireGuard, PPP */
};

/* mctl_filter_check() and _install(): fine, but cannot be said of frames without an Ethernet header (`ether src`, `vlan`):
 * on sources that have none every packet is refused. */
#define MCTL_FILTER_ETHERNET_ONLY 1

/*
 * Would this be taken as a filter? Needs no privileges. 0, or MCTL_FILTER_ETHERNET_ONLY with `err` saying why, or with
 * libpcap's message in `err`: -EINVAL, the expression is wrong (exit status 2); -E2BIG, it is too long or compiles to a
 * program that is; -EOPNOTSUPP, it asks for what a program in the kernel cannot tell; -ENOMEM. Names in it are resolved.
 */
int mctl_filter_check(const char *expr, char *err, size_t size);

/*
 * Makes `expr` filter `number` (below MIR_FILTERS_LIMIT), in place of what was there. Everything that can fail comes before
 * the first change. Each packet meets the old filter or the new one, never none. Returns as mctl_filter_check(), or what the
 * kernel says, with the sentence in mctl_reason(). Needs the lock.
 */
int mctl_filter_install(const struct mctl_instance *inst, __u32 number, const char *expr);

/* Takes filter `number` away; fine when there is none. A policy that names it must be gone before. Needs the lock. */
int mctl_filter_remove(const struct mctl_instance *inst, __u32 number);

/* What filter `number` was made from. -ENOENT: there is none. */
int mctl_filter_read(const struct mctl_instance *inst, __u32 number, struct mir_filter *ret_filter);

/* Compiles for one kind of frame. The array is the caller's to free. Errors as mctl_filter_check(). */
int mctl_filter_compile(const char *expr, enum mctl_frame frame, struct sock_filter **ret_code, size_t *ret_n, char *err,
			size_t size);

/*
 * Translates a classic program to one that ends by tail call into entry MIR_FILTER_ACCEPT or _REFUSE of the program array
 * `next` (a descriptor), or with MIR_NEXT if there is nothing. The array is the caller's to free. -EINVAL: no valid program;
 * -E2BIG: too long; -ENOMEM.
 */
int mctl_filter_translate(const struct sock_filter *code, size_t n, enum mctl_frame frame, int next,
			  struct bpf_insn **ret_insns, size_t *ret_n);

/* Translates and loads. `log` gets the verifier's words if it refuses. A descriptor, or -errno. */
int mctl_filter_load(const struct sock_filter *code, size_t n, enum mctl_frame frame, int next, char *log, size_t size);
