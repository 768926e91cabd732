/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * mirrorctl run: start a command already selected. The child waits until it is a target, then becomes the command, so not
 * one packet is missed. Signals are passed on; the exit status is the command's own.
 */
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <fcntl.h>
#include <linux/capability.h>

#include "caps.h"
#include "mctl.h"
#include "verb.h"

struct child {
	pid_t pid;
	int go;		/* written when it may become the command */
	int failed;	/* reads errno of the step that failed, or nothing once the command runs */
};

static int become_user(const struct passwd *user)
{
	if (!user)
		return 0;
	if (initgroups(user->pw_name, user->pw_gid) || setgid(user->pw_gid) || setuid(user->pw_uid))
		return -errno;
	return 0;
}

/* In the child. Never returns. A parent that dies before the word is given takes the child with it. */
static _Noreturn void child_main(int go, int failed, const struct passwd *user, char **argv, const sigset_t *mask)
{
	char word;
	int err;

	if (read(go, &word, 1) != 1)
		_exit(MCTL_FAILED);
	sigprocmask(SIG_SETMASK, mask, NULL);
	err = -become_user(user);
	if (!err) {
		execvp(argv[0], argv);
		err = errno;
	}
	if (write(failed, &err, sizeof(err)) < 0)
		_exit(MCTL_FAILED);
	_exit(err == ENOENT ? 127 : 126);
}

static int child_start(struct child *child, const struct passwd *user, char **argv, const sigset_t *mask)
{
	int go[2], failed[2];

	if (pipe2(go, O_CLOEXEC))
		return -errno;
	if (pipe2(failed, O_CLOEXEC)) {
		close(go[0]);
		close(go[1]);
		return -errno;
	}
	child->pid = fork();
	if (!child->pid) {
		close(go[1]);
		close(failed[0]);
		child_main(go[0], failed[1], user, argv, mask);
	}
	close(go[0]);
	close(failed[1]);
	child->go = go[1];
	child->failed = failed[0];
	return child->pid < 0 ? -errno : 0;
}

static int child_select(const struct mctl_instance *inst, const struct child *child, __u32 flags)
{
	_cleanup_(mctl_process_close) struct mctl_process p = { .pidfd = -1 };
	int r;

	r = mctl_process_open(inst, child->pid, &p);
	return r < 0 ? r : mctl_target_add(inst, &p, flags, 0);
}

/* A signal from the terminal has reached the command already if it is still in our process group. */
static void pass_signal(pid_t pid, const siginfo_t *info)
{
	if (info->si_code == SI_KERNEL && getpgid(pid) == getpgrp())
		return;
	kill(pid, info->si_signo);
}

/* Passes signals on until the command has ended. Stopped with the command (^Z), continued with it. */
static int child_wait(pid_t pid, const sigset_t *signals)
{
	siginfo_t info;
	int status;

	for (;;) {
		if (sigwaitinfo(signals, &info) < 0)
			continue;
		if (info.si_signo != SIGCHLD) {
			pass_signal(pid, &info);
			continue;
		}
		while (waitpid(pid, &status, WNOHANG | WUNTRACED) == pid) {
			if (WIFEXITED(status))
				return WEXITSTATUS(status);
			if (WIFSIGNALED(status))
				return 128 + WTERMSIG(status);
			if (WIFSTOPPED(status)) {
				kill(getpid(), SIGSTOP);
				kill(pid, SIGCONT);
			}
		}
	}
}

static void signals_block(sigset_t *ret_signals, sigset_t *ret_mask)
{
	static const int passed[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH, SIGCONT,
				      SIGTSTP, SIGPIPE, SIGURG, SIGIO, SIGCHLD };

	sigemptyset(ret_signals);
	for (size_t i = 0; i < ARRAY_SIZE(passed); i++)
		sigaddset(ret_signals, passed[i]);
	sigprocmask(SIG_BLOCK, ret_signals, ret_mask);
}

/* Lets the selected child go. Returns MCTL_OK once it runs, else 126 or 127 when it could not become the command. */
static int child_go(const struct mctl_instance *inst, struct child *child, const char *command)
{
	ssize_t n;
	int err;

	if (write(child->go, "", 1) != 1)
		return mctl_fail(MCTL_FAILED, "cannot start '%s': %s", command, strerror(errno));
	do {
		n = read(child->failed, &err, sizeof(err));
	} while (n < 0 && errno == EINTR);
	if (n != sizeof(err))
		return MCTL_OK;
	mctl_target_delete(inst, (__u32)child->pid);
	return mctl_fail(err == ENOENT ? 127 : 126, "cannot start '%s': %s", command, strerror(err));
}

/* Starts the command as a target. Returns MCTL_OK once it runs; else nothing of it is left. */
static int child_run(const struct mctl_instance *inst, struct child *child, const struct passwd *user,
		     const struct mctl_args *args, const sigset_t *mask)
{
	const char *command = args->words[0];
	int status, r;

	r = child_start(child, user, args->words, mask);
	if (!r)
		r = child_select(inst, child, mctl_verb_flags(args));
	if (r < 0)
		status = mctl_fail(mctl_exit_of(r), "cannot select '%s': %s", command, mctl_reason(r));
	else
		status = child_go(inst, child, command);
	mctl_closep(&child->go);	/* without the word it ends by itself */
	mctl_closep(&child->failed);
	if (status != MCTL_OK && child->pid > 0)
		waitpid(child->pid, NULL, 0);
	return status;
}

int cmd_run(const struct mctl_args *args)
{
	struct child child = { .go = -1, .failed = -1 };
	const struct passwd *user = NULL;
	struct mctl_instance inst;
	struct rlimit memlock;
	sigset_t signals, mask;
	bool brought, limited;
	int status;

	if (args->user && !(user = getpwnam(args->user)))
		return mctl_fail(MCTL_NOT_FOUND, "no user '%s'; 'getent passwd' lists them", args->user);
	limited = !getrlimit(RLIMIT_MEMLOCK, &memlock);
	status = mctl_verb_begin_up(&inst, &brought);
	if (limited)
		setrlimit(RLIMIT_MEMLOCK, &memlock);	/* libbpf raises it before Linux 5.11; the command keeps its caller's */
	if (status == MCTL_OK) {
		signals_block(&signals, &mask);
		status = child_run(&inst, &child, user, args, &mask);
		mctl_verb_end_up(&inst, brought, status == MCTL_OK, status);
	}
	mctl_instance_close(&inst);	/* others may work while the command runs */
	if (status != MCTL_OK)
		return status;
	mctl_caps_limit(args->user ? MCTL_CAP(CAP_KILL) : 0);
	return child_wait(child.pid, &signals);
}
