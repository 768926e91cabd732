/* SPDX-License-Identifier: GPL-2.0-only */
/* Forks children as fast as it can; each tenth sends one datagram and exits. usage: storm ADDR PORT MARK COUNT DEEP
 * DEEP 1: the child forks a grandchild, which sends, and exits at once. Prints children and forks a second. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void send_one(const struct sockaddr_in *to, char mark, int number)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	char text[32];
	int n = snprintf(text, sizeof(text), "%c%d", mark, number);

	sendto(fd, text, (size_t)n, 0, (const struct sockaddr *)to, sizeof(*to));
}

static void child(const struct sockaddr_in *to, char mark, int number, int deep)
{
	if (deep && fork() > 0)
		_exit(0);
	if (number % 10 == 0)
		send_one(to, mark, number);
	_exit(0);
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	struct timespec a, b;
	int count, deep, live = 0;

	if (argc != 6)
		return 2;
	inet_pton(AF_INET, argv[1], &to.sin_addr);
	to.sin_port = htons((unsigned short)strtoul(argv[2], NULL, 10));
	count = (int)strtol(argv[4], NULL, 10);
	deep = (int)strtol(argv[5], NULL, 10);
	/* Grandchildren come to us when their parent is gone, so that none is left when we are. */
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (int i = 0; i < count; i++) {
		pid_t pid = fork();

		if (pid == 0)
			child(&to, argv[3][0], i, deep);
		if (pid < 0)
			return 1;
		live++;		/* a few at a time */
		while (live > 0 && waitpid(-1, NULL, live > 64 ? 0 : WNOHANG) > 0)
			live--;
	}
	while (wait(NULL) > 0)
		;
	clock_gettime(CLOCK_MONOTONIC, &b);
	printf("%d %d\n", count, (int)(count / ((double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9)));
	return 0;
}
