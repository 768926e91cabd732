/* SPDX-License-Identifier: GPL-2.0-only */
/* Entering a network namespace by name or path. Called by main() before a verb runs. */
#include "netns.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <string.h>

#include "mctl.h"

#define NETNS_DIR "/run/netns"	/* where `ip netns add` binds them */

bool mctl_netns_valid(const char *name)
{
	if (name[0] == '/')
		return name[1] && strlen(name) < PATH_MAX;
	return name[0] && !strchr(name, '/') && strcmp(name, ".") && strcmp(name, "..") && strlen(name) <= NAME_MAX;
}

int mctl_netns_enter(const char *name)
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
	if (setns(fd, CLONE_NEWNET) < 0) {
		err = errno;
		if (err == EINVAL)
			return mctl_why(-err, "%s is not a network namespace", path);
		return mctl_why(-err, "cannot enter %s: %s", path, strerror(err));
	}
	return 0;
}
