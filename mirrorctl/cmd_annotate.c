/* SPDX-License-Identifier: GPL-2.0-only */
/* mirrorctl annotate: identity inside a capture becomes options of its packets. Files or pipes on both sides. */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "annotate.h"
#include "args.h"
#include "json.h"
#include "mctl.h"

static FILE *open_in(const char *name)
{
	return strcmp(name, "-") == 0 ? stdin : fopen(name, "re");
}

/* Is OUT the file that IN is read from? Opening it would empty it. */
static bool same_file(FILE *in, const char *out)
{
	struct stat a, b;

	return !fstat(fileno(in), &a) && !stat(out, &b) && S_ISREG(a.st_mode) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

int cmd_annotate(const struct mctl_args *args)
{
	const bool split = args->given & MCTL_OPT(MCTL_OPT_SPLIT);
	struct mctl_annotate a = {
		.in_name = args->words[0],
		.dir = args->words[1],
		.strip = args->given & MCTL_OPT(MCTL_OPT_STRIP),
		.move = args->given & MCTL_OPT(MCTL_OPT_MOVE),
	};
	const char *to = args->words[1];
	struct stat st;
	int r;

	if (split && strcmp(to, "-") == 0)
		return mctl_fail(MCTL_USAGE, "with --split 'annotate' writes a directory of files, not standard output");
	if (!split && strcmp(to, "-") == 0 && (isatty(STDOUT_FILENO) || mctl.json))
		return mctl_fail(MCTL_USAGE, "a capture file is nothing for %s; name a file or use a pipe",
				 mctl.json ? "-j" : "a terminal");
	a.in = open_in(a.in_name);
	if (!a.in)
		return mctl_fail(MCTL_FAILED, "cannot open '%s': %s", a.in_name, strerror(errno));
	if (!split && same_file(a.in, to))
		return mctl_fail(MCTL_USAGE, "'%s' cannot be input and output", to);
	if (!split)
		a.out = strcmp(to, "-") == 0 ? stdout : fopen(to, "we");
	if (!split && !a.out)
		return mctl_fail(MCTL_FAILED, "cannot write '%s': %s", to, strerror(errno));
	signal(SIGPIPE, SIG_IGN);
	a.live = a.out && !fstat(fileno(a.out), &st) && !S_ISREG(st.st_mode);
	r = mctl_annotate(&a);
	if (a.out && fflush(a.out) && r >= 0)
		r = mctl_why(-errno, "cannot write '%s': %s", to, strerror(errno));
	if (a.out && a.out != stdout && fclose(a.out) && r >= 0)
		r = mctl_why(-errno, "cannot write '%s': %s", to, strerror(errno));
	if (a.in != stdin)
		fclose(a.in);
	if (r < 0)
		return mctl_fail(MCTL_FAILED, "%s", mctl_reason(r));
	return MCTL_OK;
}
