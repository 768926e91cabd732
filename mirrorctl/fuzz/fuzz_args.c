/* SPDX-License-Identifier: GPL-2.0-only */
/* The command line from arbitrary bytes: words are separated by line feeds, the first is a verb or global options. */
#include <string.h>

#include "args.h"
#include "log.h"
#include "mctl.h"
#include "offline.h"
#include "opts.h"

#define WORDS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = malloc(size + 1);
	char said[256], *words[WORDS_MAX], *save = NULL;
	const struct mctl_cmd *cmd;
	struct mctl_args args;
	int n = 0, used;

	if (!text)
		return 0;
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	for (char *word = strtok_r(text, "\n", &save); word && n < WORDS_MAX; word = strtok_r(NULL, "\n", &save))
		words[n++] = word;

	mctl = (struct mctl_globals){ .pin_root = MCTL_DEFAULT_PIN_ROOT };
	mctl_asked = (struct mctl_asked){ 0 };
	mctl_log_capture(said, sizeof(said));
	if (mctl_globals_parse(n, words, &used) != MCTL_OK || used >= n)
		return 0;
	cmd = mctl_cmd_find(words[used]);
	if (!cmd) {
		mctl_suggest_verb(words[used]);
		return 0;
	}
	if (mctl_args_parse(cmd, n - used - 1, words + used + 1, &args) == MCTL_OK && !mctl_asked.help &&
	    !mctl_asked.version && !(args.given & MCTL_OPT(MCTL_OPT_ALL)) && args.nwords < cmd->min_words)
		abort();
	return 0;
}
