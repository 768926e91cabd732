/* SPDX-License-Identifier: GPL-2.0-only */
/* `check FILE`: the configuration reader without anything behind it. Needs no privilege and changes nothing. */
#include <limits.h>

#include "args.h"
#include "json.h"
#include "mctl.h"
#include "settings.h"

int cmd_check(const struct mctl_args *args)
{
	_cleanup_json_ struct json_object *object = NULL;
	_cleanup_free_ struct mctl_settings *settings = calloc(1, sizeof(*settings));
	const char *file = args->words[0];
	int r;

	if (!settings)
		return mctl_fail(MCTL_FAILED, "out of memory");
	mctl_settings_init(settings);
	r = mctl_settings_read(settings, file);
	if (r != MCTL_OK)
		return r;
	if (settings->identity > MIR_IDENTITY_ANNOUNCE)
		mctl_note("%s is well formed, but identity '%s' is not in this version: 'up' will refuse it", file,
			  mctl_identities[settings->identity]);
	if (!mctl.json) {
		printf("%s: no problem found\n", file);
		return MCTL_OK;
	}
	object = json_object_new_object();
	if (object) {
		json_object_object_add(object, "file", mctl_json_text(file, PATH_MAX));
		json_object_object_add(object, "valid", json_object_new_boolean(true));
	}
	return mctl_json_print(object);
}
