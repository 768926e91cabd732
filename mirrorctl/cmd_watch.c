/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * mirrorctl watch: keeps the sources as configured while devices come, go and change their names or addresses. Runs in the
 * foreground, does what `up` does whenever rtnetlink says that something changed, and is not in the packet path: when it
 * ends the mirror stays as it is.
 */
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>

#include "mctl.h"
#include "nl.h"
#include "up.h"
#include "verb.h"

#define QUIET_MS 100	/* devices change in bursts: act when it has been quiet for so long */

/* The lock is held for the change only. */
static int reconcile(const struct mctl_settings *s)
{
	_cleanup_instance_ struct mctl_instance inst;
	int status, r;

	status = mctl_verb_begin(&inst);
	if (status != MCTL_OK)
		return status;
	r = mctl_up(&inst, s);
	if (r < 0)
		return mctl_fail_with(r, "keep the mirror as configured");
	mctl_verb_selectors(&inst, s);	/* says itself what cannot be armed; that may come with time */
	return MCTL_OK;
}

static int signals_open(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -errno;
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static int watch(const struct mctl_settings *s, int changes, int signals)
{
	struct pollfd pfd[] = { { .fd = changes, .events = POLLIN }, { .fd = signals, .events = POLLIN } };
	bool pending = false;
	int n;

	for (;;) {
		n = poll(pfd, ARRAY_SIZE(pfd), pending ? QUIET_MS : -1);
		if (n < 0 && errno != EINTR)
			return mctl_fail(MCTL_FAILED, "cannot wait for changes: %s", strerror(errno));
		if (n > 0 && pfd[1].revents)
			return MCTL_OK;
		if (n > 0 && mctl_links_heard(changes) < 0)
			return mctl_fail(MCTL_FAILED, "cannot hear of device changes any more");
		if (n == 0)
			reconcile(s);	/* says itself what is wrong; the next change is another chance */
		pending = n != 0;
	}
}

int cmd_watch(const struct mctl_args *args)
{
	_cleanup_free_ struct mctl_settings *s = malloc(sizeof(*s));
	_cleanup_close_ int changes = -1, signals = -1;
	int status;

	if (!s)
		return mctl_fail_with(-ENOMEM, "watch");
	status = mctl_verb_settings(args, s);
	if (status != MCTL_OK)
		return status;
	s->patient = 1;
	changes = mctl_links_listen();	/* before the first look: no change falls between */
	signals = signals_open();
	if (changes < 0 || signals < 0)
		return mctl_fail(MCTL_FAILED, "cannot hear of device changes: %s", strerror(errno));
	status = reconcile(s);
	if (status != MCTL_OK)
		return status;
	mctl_note("watching; the mirror stays when this ends");
	return watch(s, changes, signals);
}
