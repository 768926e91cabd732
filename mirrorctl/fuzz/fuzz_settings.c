/* SPDX-License-Identifier: GPL-2.0-only */
/* The configuration file from arbitrary bytes. What is taken must be valid, what is refused must change nothing. */
#include <string.h>

#include "log.h"
#include "mctl.h"
#include "offline.h"
#include "settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct mctl_settings s, before;
	_cleanup_free_ char *text = malloc(size + 1);
	char said[256];

	if (!text)
		return 0;
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	mctl_log_capture(said, sizeof(said));
	mctl_settings_init(&s);
	before = s;
	if (mctl_settings_parse(&s, text, "fuzz") != MCTL_OK) {
		if (memcmp(&s, &before, sizeof(s)) != 0 || !said[0])
			abort();
		return 0;
	}
	if (!mctl_valid_ifname(s.terms.monitor) || strlen(s.terms.monitor) > MCTL_MONITOR_NAME_MAX || s.linger_s > 3600 ||
	    s.snaplen > 65535 || (s.snaplen && s.snaplen < 64) || s.terms.monitor_type >= MIR_MONITOR_MAX ||
	    s.identity >= MIR_IDENTITY_MAX)
		abort();
	for (int i = 0; i < s.nsources; i++)
		if (!mctl_valid_ifname(s.sources[i]) || strcmp(s.sources[i], s.terms.monitor) == 0)
			abort();
	return 0;
}
