/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Programs at every send, receive and accept of the host. They are loaded with the others, and hang where they are called only
 * while there is a target or a selector: the calls of everybody else on an idle host cost nothing more.
 */
#pragma once

#include <stdbool.h>

#include "instance.h"

/* Is that one of them? It is pinned under its name; its link, while there is one, under hook_ and its name. */
bool mctl_hooks_has(const char *program);

/* Hangs up those that are loaded, before live.active is set: while it is, they hang. Needs the lock. */
int mctl_hooks_begin(const struct mctl_instance *inst);

/* Takes them down, once live.active is 0. Needs the lock. */
void mctl_hooks_end(const struct mctl_instance *inst);
