/* SPDX-License-Identifier: GPL-2.0-only */
/* Containers by id or name, as the host sees them: their control groups, and the files in which the runtimes keep names. */
#pragma once

#include <mirror/abi.h>

/* The full id (64 digits) of the container that `text` names: all of its id, the beginning of it as long as only one
 * running container has it, or a name that Docker or Podman knows. -ESRCH: none. -EINVAL: more than one. */
int mctl_container_find(const char *text, char ret_id[MIR_LABEL_LEN]);
