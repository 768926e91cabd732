/* SPDX-License-Identifier: GPL-2.0-only */
/* Entering a network namespace by name or path. Called by main() before a verb runs. */
#include "netns.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>

#include <linux/nsfs.h>

#include "mctl.h"

#define NETNS_DIR "/run/netns"	/* where `ip netns add` binds them */

bool mctl_netns_valid(const char *name)
{
	if (name[0] == '/')
		return name[1] && strlen(name) < PATH_MAX;
	return name[0] && !strchr(name, '/') && strcmp(name, ".") && strcmp(name, "..") && strlen(name) <= NAME_MAX;
}

int mctl_netns_open(const char *name, int *ret_fd)
{
	_cleanup_close_ int fd = -1;
	char path[PATH_MAX];
	int n, err;

	if (!mctl_netns_valid(name))
		return mctl_why(-EINVAL, "'%s' is neither a name nor an absolute path", name);
	n = snprintf(path, sizeof(path), "%s%s", name[0] == '/' ? "" : NETNS_DIR "/", name);
	if (n < 0 || (size_t)n >= sizeof(path))
		return mctl_why(-ENAMETOOLONG, "the name is too long");

	/* O_NONBLOCK: a path may name a FIFO. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0) {
		err = errno == ENOTDIR ? ENOENT : errno;
		if (err == ENOENT)
			return mctl_why(-err, "there is no %s; 'ip netns list' names those there are", path);
		return mctl_why(-err, "cannot open %s: %s", path, strerror(err));
	}
	if (ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET)
		return mctl_why(-EINVAL, "%s is not a network namespace", path);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int mctl_netns_enter(const char *name)
{
	_cleanup_close_ int fd = -1;
	int r;

	r = mctl_netns_open(name, &fd);
	if (!r && setns(fd, CLONE_NEWNET) < 0)
		r = mctl_why(-errno, "cannot enter %s: %s", name, strerror(errno));
	return r;
}

int mctl_netns_in(int fd, int (*work)(void *data), void *data)
{
	_cleanup_close_ int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	int r;

	if (home < 0 || setns(fd, CLONE_NEWNET) < 0)
		return mctl_why(-errno, "cannot enter the network namespace: %s", strerror(errno));
	r = work(data);
	if (setns(home, CLONE_NEWNET) < 0)
		abort();	/* whatever came next would be done in the wrong place */
	return r;
}
