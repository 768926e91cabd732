#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# In a guest: mirrorctl on a kernel whose trampolines are said not to load, whatever else the caller leaves out.
MIRRORCTL_DISABLE="fentry${MIRRORCTL_DISABLE:+,$MIRRORCTL_DISABLE}"
export MIRRORCTL_DISABLE
exec /mirror/.output/mirrorctl "$@"
