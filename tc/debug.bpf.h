/* SPDX-License-Identifier: GPL-2.0-only */
/* What a debug build (make DEBUG=1) says on the kernel's trace pipe (docs/development.md). Nothing is left of it in any other
 * build: there, things are counted. */
#pragma once

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

/* As printk(); at most three values. Its texts have a section of their own: .rodata is what the loader sets. */
#ifdef MIR_DEBUG
#define mir_debug(format, ...) ({							\
	static const char text_[] SEC(".rodata.debug") = format;			\
	bpf_trace_printk(text_, sizeof(text_), ##__VA_ARGS__);				\
})
#else
#define mir_debug(format, ...) ((void)0)
#endif
