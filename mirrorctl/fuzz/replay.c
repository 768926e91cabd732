/* SPDX-License-Identifier: GPL-2.0-only */
/* Runs a fuzz target on every file of the directories it is given; TAP on standard output. No libFuzzer needed. */
#include <dirent.h>
#include <limits.h>
#include <string.h>

#include "mctl.h"

#define INPUT_MAX (1024 * 1024)	/* bytes */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool replay(const char *path)
{
	_cleanup_free_ uint8_t *data = malloc(INPUT_MAX);
	_cleanup_free_ uint8_t *exact = NULL;
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	size_t size;

	if (!f || !data)
		return false;
	size = fread(data, 1, INPUT_MAX, f);
	/* A block of exactly this size, so that a sanitizer sees the first byte read past its end. */
	exact = malloc(size ? size : 1);
	if (!exact)
		return false;
	memcpy(exact, data, size);
	LLVMFuzzerTestOneInput(exact, size);
	return true;
}

int main(int argc, char **argv)
{
	int n = 0, failed = 0;

	for (int i = 1; i < argc; i++) {
		DIR *dir = opendir(argv[i]);
		const struct dirent *entry;

		while (dir && (entry = readdir(dir))) {
			char path[PATH_MAX];
			bool done;

			if (entry->d_name[0] == '.')
				continue;
			snprintf(path, sizeof(path), "%s/%s", argv[i], entry->d_name);
			done = replay(path);
			failed += !done;
			printf("%s %d - %s\n", done ? "ok" : "not ok", ++n, path);
			fflush(stdout);	/* the next input may kill us */
		}
		if (dir)
			closedir(dir);
	}
	printf("1..%d\n", n);
	return failed || !n;
}
