/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The two ports of a tap: what is refused as one, what is changed on it (and on the other end of a veth, wherever that is)
 * so that frames cross the tap bit for bit, and how that is changed back.
 */
#pragma once

#include "instance.h"
#include "nl.h"

#include <mirror/tap.h>

/* May this device be a port? Refuses with a remembered reason what is no Ethernet device, down, part of something else, a
 * monitor or a source of this namespace's mirror. */
int mctl_port_check(const struct mctl_instance *inst, const struct mctl_links *links, const struct mctl_link *link);

/* Fills in what has to be changed on the port in this mode. Changes nothing. -EOPNOTSUPP: the other end of a veth cannot
 * be reached, so native mode is not safe. */
int mctl_port_plan(const struct mctl_link *link, enum mir_tap_mode mode, struct mir_tap_port *ret_port);

/* Does what was planned (`on`), or takes it back. Taking back goes on when something cannot be done any more. */
int mctl_port_change(const struct mir_tap_port *port, bool on);

/* Makes a veth's receiving end take redirected frames. */
int mctl_port_napi(const char *name);
