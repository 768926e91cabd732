/* SPDX-License-Identifier: GPL-2.0-only */
/* `version`: what a bug report needs first. */
#include <bpf/libbpf.h>

#include <mirror/abi.h>

#include "args.h"
#include "json.h"
#include "mctl.h"

int cmd_version(const struct mctl_args *args)
{
	_cleanup_json_ struct json_object *object = NULL;
	char libbpf[32];

	(void)args;
	snprintf(libbpf, sizeof(libbpf), "%u.%u", libbpf_major_version(), libbpf_minor_version());
	if (!mctl.json) {
		printf("mirrorctl %s (abi %d, libbpf %s)\n", MCTL_VERSION, MIR_ABI_VERSION, libbpf);
		return MCTL_OK;
	}
	object = json_object_new_object();
	if (object) {
		json_object_object_add(object, "version", json_object_new_string(MCTL_VERSION));
		json_object_object_add(object, "abi", mctl_json_u64(MIR_ABI_VERSION));
		json_object_object_add(object, "libbpf", json_object_new_string(libbpf));
	}
	return mctl_json_print(object);
}
