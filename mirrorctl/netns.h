/* SPDX-License-Identifier: GPL-2.0-only */
/* --netns: the network namespace alone is changed; mounts, and so bpffs, stay as they are. */
#pragma once

#include <stdbool.h>

/* A bare name (as `ip netns` gives) or an absolute path. */
bool mctl_netns_valid(const char *name);

/* Moves this process to /run/netns/NAME, or to the namespace that an absolute path such as /proc/PID/ns/net stands for.
 * 0, -ENOENT (no such namespace), -EINVAL (not a network namespace, or not a valid name), -EPERM, -EACCES; the reason is
 * remembered by mctl_why(). */
int mctl_netns_enter(const char *name);

/* The same namespaces as descriptors; this process stays where it is. */
int mctl_netns_open(const char *name, int *ret_fd);

/* Does some work inside another namespace and comes back. Returns what the work returned. */
int mctl_netns_in(int fd, int (*work)(void *data), void *data);
