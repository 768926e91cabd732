/* SPDX-License-Identifier: GPL-2.0-only */
/* Forks COUNT idle processes, prints their ids on one line, and waits; at the first byte on stdin each sends one datagram
 * and exits. usage: crowd ADDR PORT MARK COUNT */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void idle(int gate, const struct sockaddr_in *to, char mark, int number)
{
	char text[32], byte;
	int fd, n;

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (read(gate, &byte, 1) < 0)	/* end of file: the parent has closed the other end */
		_exit(1);
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	n = snprintf(text, sizeof(text), "%c%d", mark, number);
	sendto(fd, text, (size_t)n, 0, (const struct sockaddr *)to, sizeof(*to));
	_exit(0);
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	int gate[2], count;
	char byte;

	if (argc != 5 || pipe(gate))
		return 2;
	inet_pton(AF_INET, argv[1], &to.sin_addr);
	to.sin_port = htons((unsigned short)strtoul(argv[2], NULL, 10));
	count = (int)strtol(argv[4], NULL, 10);
	for (int i = 0; i < count; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			close(gate[1]);
			idle(gate[0], &to, argv[3][0], i);
		}
		if (pid < 0)
			return 1;
		printf("%d ", pid);
	}
	printf("\n");
	fflush(stdout);
	if (read(0, &byte, 1) != 1)
		return 1;
	close(gate[1]);
	while (wait(NULL) > 0)
		;
	return 0;
}
