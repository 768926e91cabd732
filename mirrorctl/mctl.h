/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What every file of mirrorctl shares: exit statuses, the one way to report, ownership by attribute.
 * Functions return 0 or -errno; output parameters are named ret_x and are untouched on failure. Only cmd_*.c report.
 */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MCTL_VERSION "0.1.0"
#define MCTL_DEFAULT_PIN_ROOT "/sys/fs/bpf/mirrorctl"
#define MCTL_DEFAULT_CONFIG "/etc/mirrorctl/mirrorctl.conf"
#define MCTL_RUN_DIR "/run/mirrorctl"
#define MCTL_DEFAULT_MONITOR "mon0"
#define MCTL_DEFAULT_LINGER_S 60
#define MCTL_MONITOR_NAME_MAX 11	/* leaves room for the suffixes -in and -l3 in IFNAMSIZ - 1 */

/* Exit statuses (design 7, EXIT STATUS in mirrorctl(8)). */
enum mctl_exit {
	MCTL_OK = 0,
	MCTL_FAILED = 1,
	MCTL_USAGE = 2,
	MCTL_NOT_FOUND = 3,	/* no such process, target or device */
	MCTL_NOT_PERMITTED = 4,
	MCTL_UNSUPPORTED = 5,	/* this kernel cannot */
};

/* Global options, set once by main() and read everywhere. */
struct mctl_globals {
	bool json;
	bool quiet;
	int verbose;		/* how many -v */
	const char *netns;	/* --netns NAME or NULL */
	const char *pin_root;	/* never NULL */
};
extern struct mctl_globals mctl;

/* Reports an error once: the sentence on stderr, and with -j {"error":{"code","message"}} on stdout. The sentence says
 * what, on which object, why and what to do. Returns `code`, so that a verb can `return mctl_fail(MCTL_USAGE, ...)`. */
int mctl_fail(enum mctl_exit code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A word on stderr beside the work: notes (silenced by -q) and, with -v, details. */
void mctl_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void mctl_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Remembers why a library function failed with `err`, for the verb that reports it. The last text wins. */
int mctl_why(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));	/* returns err */
const char *mctl_reason(int err);	/* the text remembered for this error, else strerror(-err) */

static inline void mctl_freep(void *p)
{
	free(*(void **)p);
}

static inline void mctl_closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void mctl_fclosep(FILE **f)
{
	if (*f)
		fclose(*f);
}

#define _cleanup_(fn) __attribute__((cleanup(fn)))
#define _cleanup_free_ _cleanup_(mctl_freep)
#define _cleanup_close_ _cleanup_(mctl_closep)
#define _cleanup_fclose_ _cleanup_(mctl_fclosep)

/* Moves a descriptor or pointer out of the reach of its cleanup. */
#define TAKE_FD(fd) ({ int taken_ = (fd); (fd) = -1; taken_; })
#define TAKE_PTR(p) ({ __typeof__(p) taken_ = (p); (p) = NULL; taken_; })

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
