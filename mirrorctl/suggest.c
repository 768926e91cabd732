/* SPDX-License-Identifier: GPL-2.0-only */
/* "Did you mean": the nearest word of a table. Called by the parser for words it does not know; prints nothing. */
#include <string.h>

#include "mctl.h"
#include "opts.h"

#define WORD_MAX 32	/* bytes; no word of the tables comes near, so longer ones are not near any of them */
#define FAR 1000

struct nearest {
	const char *word;
	unsigned int distance;
};

static unsigned int min3(unsigned int a, unsigned int b, unsigned int c)
{
	if (b < a)
		a = b;
	return c < a ? c : a;
}

/* Edits (insert, delete, replace, swap of neighbours) that make `b` of `a`: optimal string alignment. */
static unsigned int distance(const char *a, const char *b)
{
	const size_t na = strlen(a), nb = strlen(b);
	unsigned int d[WORD_MAX + 1][WORD_MAX + 1];

	if (na > WORD_MAX || nb > WORD_MAX)
		return FAR;
	for (size_t i = 0; i <= na; i++)
		d[i][0] = (unsigned int)i;
	for (size_t j = 0; j <= nb; j++)
		d[0][j] = (unsigned int)j;
	for (size_t i = 1; i <= na; i++) {
		for (size_t j = 1; j <= nb; j++) {
			const unsigned int same = a[i - 1] == b[j - 1] ? 0 : 1;

			d[i][j] = min3(d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + same);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    d[i - 2][j - 2] + 1 < d[i][j])
				d[i][j] = d[i - 2][j - 2] + 1;
		}
	}
	return d[na][nb];
}

static void consider(struct nearest *best, const char *word, const char *candidate)
{
	const size_t len = strlen(word);
	/* A word that was only begun is near, whatever is missing. */
	const bool begun = len >= 2 && strncmp(word, candidate, len) == 0;
	const unsigned int d = begun ? 1 : distance(word, candidate);

	if (d <= (len > 6 ? 3 : 2) && d < len && d < best->distance) {
		best->word = candidate;
		best->distance = d;
	}
}

const char *mctl_suggest_verb(const char *word)
{
	struct nearest best = { NULL, FAR };

	for (const struct mctl_cmd *cmd = mctl_cmds; cmd->name; cmd++)
		consider(&best, word, cmd->name);
	return best.word;
}

const char *mctl_suggest_opt(const struct mctl_cmd *cmd, const char *word)
{
	struct nearest best = { NULL, FAR };

	for (unsigned int id = 0; cmd && mctl_opts[id].name; id++)
		if (cmd->options & MCTL_OPT(id))
			consider(&best, word, mctl_opts[id].name);
	for (const struct mctl_opt *opt = mctl_global_opts; opt->name; opt++)
		consider(&best, word, opt->name);
	return best.word;
}
