/* SPDX-License-Identifier: GPL-2.0-only */
/* Expressions, as libpcap compiles them: see filter.h. The only file that knows libpcap. */
#include "filter.h"

#include <string.h>

#include <linux/filter.h>

#include <pcap/pcap.h>

#include "mctl.h"

#define SNAPLEN 262144	/* what an accepting filter returns; any number but 0 */

static void pcap_closep(pcap_t **p)
{
	if (*p)
		pcap_close(*p);
}

/* There pcap_compile() asks the kernel for the direction or the device: no part of any frame. */
static bool asks_beyond(const struct bpf_insn *insn)
{
	return BPF_CLASS(insn->code) == BPF_LD && BPF_MODE(insn->code) == BPF_ABS && insn->k - (__u32)SKF_AD_OFF < SKF_AD_MAX;
}

static int copy_out(const struct bpf_program *program, struct sock_filter **ret_code, size_t *ret_n, char *err, size_t size)
{
	struct sock_filter *code = calloc(program->bf_len ? program->bf_len : 1, sizeof(*code));

	if (!code) {
		snprintf(err, size, "out of memory");
		return -ENOMEM;
	}
	for (unsigned int i = 0; i < program->bf_len; i++) {
		const struct bpf_insn *insn = &program->bf_insns[i];

		if (asks_beyond(insn)) {
			snprintf(err, size, "asks for what is not in the frame (inbound, outbound, ifindex); for the direction "
				 "there is --direction");
			free(code);
			return -EOPNOTSUPP;
		}
		code[i] = (struct sock_filter){ insn->code, insn->jt, insn->jf, insn->k };
	}
	*ret_code = code;
	*ret_n = program->bf_len;
	return 0;
}

int mctl_filter_compile(const char *expr, enum mctl_frame frame, struct sock_filter **ret_code, size_t *ret_n, char *err,
			size_t size)
{
	_cleanup_(pcap_closep) pcap_t *p = pcap_open_dead(frame == MCTL_FRAME_ETHERNET ? DLT_EN10MB : DLT_RAW, SNAPLEN);
	struct bpf_program program = {};
	int r;

	if (strlen(expr) >= MCTL_FILTER_LEN) {
		snprintf(err, size, "longer than %d bytes", MCTL_FILTER_LEN - 1);
		return -E2BIG;
	}
	if (!p) {
		snprintf(err, size, "out of memory");
		return -ENOMEM;
	}
	if (pcap_compile(p, &program, expr, 1, PCAP_NETMASK_UNKNOWN)) {
		snprintf(err, size, "%s", pcap_geterr(p));
		return -EINVAL;
	}
	r = copy_out(&program, ret_code, ret_n, err, size);
	pcap_freecode(&program);
	return r;
}

/* Compiles and translates for one kind of frame; the program is thrown away. */
static int try_frame(const char *expr, enum mctl_frame frame, char *err, size_t size)
{
	_cleanup_free_ struct sock_filter *code = NULL;
	struct bpf_insn *insns;
	size_t n = 0, len;
	int r;

	r = mctl_filter_compile(expr, frame, &code, &n, err, size);
	if (r < 0)
		return r;
	r = mctl_filter_translate(code, n, frame, -1, &insns, &len);
	if (!r)
		free(insns);
	else if (r == -E2BIG)
		snprintf(err, size, "compiles to too long a program (%zu instructions)", n);
	else
		snprintf(err, size, "%s", strerror(-r));
	return r;
}

int mctl_filter_check(const char *expr, char *err, size_t size)
{
	int r;

	r = try_frame(expr, MCTL_FRAME_ETHERNET, err, size);
	if (r < 0)
		return r;
	r = try_frame(expr, MCTL_FRAME_IP, err, size);
	return r == -EINVAL ? MCTL_FILTER_ETHERNET_ONLY : r;
}
