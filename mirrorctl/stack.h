/* SPDX-License-Identifier: GPL-2.0-only */
/* Devices that stand on one another: which of the chosen sources see the same packet, so that one of them copies it. */
#pragma once

#include "instance.h"
#include "nl.h"
#include "sources.h"

/* Does the device wrap packets and send them through another device, with the socket still on them? */
bool mctl_stack_is_tunnel(const struct mctl_link *link);

/* MIR_SOURCE_* of source number `i` of `want`. */
__u32 mctl_stack_flags(const struct mctl_links *links, const struct mctl_sources *want, size_t i);

/* Does any source stand on another, or on another's bridge? Else programs need not ask (mir_live.stacked). */
bool mctl_stack_any(const struct mctl_links *links, const struct mctl_sources *want);

/* Makes map `uppers` say what `want` is: VLAN and macvlan sources by the source they stand on. */
int mctl_stack_write(const struct mctl_instance *inst, const struct mctl_sources *want);
