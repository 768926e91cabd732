/* SPDX-License-Identifier: GPL-2.0-only */
/* The dialogue with Wireshark: see extcap.h. Lists must be fast, because every start of Wireshark waits for them. */
#include "extcap.h"

#include <dirent.h>
#include <string.h>

#include "args.h"
#include "mctl.h"

#define NAME "mirror"

static const char *const outputs[MCTL_EXTCAP_MAX] = { "announce", "trailer", "pktap" };

bool mctl_extcap_called(int argc, char **argv)
{
	const char *base = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];

	return strcmp(base, NAME) == 0 && argc > 1;
}

static int list_interfaces(void)
{
	printf("extcap {version=" MCTL_VERSION "}{display=mirrorctl}\n"
	       "interface {value=" NAME "}{display=Mirror: the packets of a process}\n");
	return MCTL_OK;
}

static int list_dlts(void)
{
	printf("dlt {number=1}{name=EN10MB}{display=Ethernet}\n");
	return MCTL_OK;
}

/* Braces have a meaning in these lines, and a command name may hold anything. */
static void print_process(uint32_t pid, const char *comm)
{
	printf("value {arg=1}{value=%u}{display=", pid);
	for (; *comm; comm++)
		putchar(*comm == '{' || *comm == '}' || (unsigned char)*comm < 0x20 || *comm == 0x7f ? '?' : *comm);
	printf(" [%u]}\n", pid);
}

/* Every process but kernel threads, which have no command line. */
static void list_processes(void)
{
	DIR *proc = opendir("/proc");
	const struct dirent *entry;

	while (proc && (entry = readdir(proc))) {
		_cleanup_fclose_ FILE *line = NULL, *name = NULL;
		char path[64], comm[64] = "";
		uint32_t pid;

		if (mctl_parse_u32(entry->d_name, 1, INT32_MAX, &pid))
			continue;
		snprintf(path, sizeof(path), "/proc/%u/cmdline", pid);
		line = fopen(path, "re");
		if (!line || fgetc(line) == EOF)
			continue;
		snprintf(path, sizeof(path), "/proc/%u/comm", pid);
		name = fopen(path, "re");
		if (!name || !fgets(comm, sizeof(comm), name))
			continue;
		comm[strcspn(comm, "\n")] = '\0';
		print_process(pid, comm);
	}
	if (proc)
		closedir(proc);
}

static int list_arguments(void)
{
	printf("arg {number=0}{call=--target}{display=Process id or name}"
	       "{tooltip=Of a running process; a name may be that of several}{type=string}"
	       "{placeholder=Typed here, or chosen below}\n"
	       "arg {number=1}{call=--process}{display=Running process}{type=selector}{reload=true}{placeholder=List again}\n"
	       "arg {number=2}{call=--follow}{display=Follow children}{type=boolean}{default=true}\n"
	       "arg {number=3}{call=--direction}{display=Direction}{type=selector}\n"
	       "arg {number=4}{call=--snaplen}{display=Bytes of each packet}{tooltip=0 keeps all of them}"
	       "{type=unsigned}{range=0,65535}{default=0}\n"
	       "arg {number=5}{call=--identity}{display=Process as}{type=selector}\n"
	       "value {arg=3}{value=both}{display=Sent and received}{default=true}\n"
	       "value {arg=3}{value=out}{display=Sent}{default=false}\n"
	       "value {arg=3}{value=in}{display=Received}{default=false}\n"
	       "value {arg=5}{value=announce}{display=Announcements (mirror.pid, with the plugin)}{default=true}\n"
	       "value {arg=5}{value=trailer}{display=Trailers (mirror.pid, with the plugin)}{default=false}\n"
	       "value {arg=5}{value=pktap}{display=PKTAP (pktap.pid, without a plugin)}{default=false}\n"
	       "value {arg=1}{value=0}{display=(as typed above)}{default=true}\n");
	list_processes();
	return MCTL_OK;
}

/* One `--name value` of a capture. NULL, or what would be right. */
static const char *take(struct mctl_extcap *e, const char *name, const char *value)
{
	if (strcmp(name, "--fifo") == 0)
		e->fifo = value;
	else if ((strcmp(name, "--target") == 0 && *value) ||
		 (strcmp(name, "--process") == 0 && !e->target && strcmp(value, "0") != 0))
		e->target = value;
	else if (strcmp(name, "--follow") == 0)
		e->follow = strcmp(value, "false") != 0;
	else if (strcmp(name, "--snaplen") == 0)
		return mctl_parse_u32(value, 0, 65535, &e->snaplen) || (e->snaplen && e->snaplen < 64) ?
		       "0 or a number from 64 to 65535" : NULL;
	else if (strcmp(name, "--direction") == 0) {
		e->in = strcmp(value, "out") != 0;
		e->out = strcmp(value, "in") != 0;
		return e->in && e->out && strcmp(value, "both") != 0 ? "both, out or in" : NULL;
	} else if (strcmp(name, "--identity") == 0) {
		for (e->output = 0; e->output < MCTL_EXTCAP_MAX && strcmp(value, outputs[e->output]) != 0;)
			e->output++;
		return e->output == MCTL_EXTCAP_MAX ? "announce, trailer or pktap" : NULL;
	} else if (strcmp(name, "--extcap-capture-filter") == 0 && *value) {
		return "no capture filter: choose the process here and filter what is shown";
	}
	return NULL;
}

int mctl_extcap_main(int argc, char **argv)
{
	struct mctl_extcap e = { .follow = true, .in = true, .out = true };
	bool config = false, dlts = false, interfaces = false, capture = false, reload = false;
	const char *right = NULL, *wrong = NULL;	/* the last that is not taken */

	for (int i = 1; i < argc; i++) {
		char *value = strchr(argv[i], '=');
		const char *what;

		config |= strcmp(argv[i], "--extcap-config") == 0;
		dlts |= strcmp(argv[i], "--extcap-dlts") == 0;
		interfaces |= strcmp(argv[i], "--extcap-interfaces") == 0;
		capture |= strcmp(argv[i], "--capture") == 0;
		reload |= strcmp(argv[i], "--extcap-reload-option") == 0;
		if (value)
			*value++ = '\0';
		else if (i + 1 < argc && argv[i + 1][0] != '-')
			value = argv[++i];
		what = value ? take(&e, argv[value == argv[i] ? i - 1 : i], value) : NULL;
		if (what) {
			right = what;
			wrong = value;
		}
	}
	if (right)
		return mctl_extcap_refuse(&e, mctl_fail(MCTL_USAGE, "'%s' is not what the interface takes here, but %s", wrong,
							right));
	if (interfaces)
		return list_interfaces();
	if (dlts)
		return list_dlts();
	if (reload) {
		list_processes();
		return MCTL_OK;
	}
	if (config)
		return list_arguments();
	if (!capture || !e.fifo)
		return mctl_fail(MCTL_USAGE, "'" NAME "' is started by Wireshark; the command is 'mirrorctl'");
	if (!e.target || !*e.target)
		return mctl_extcap_refuse(&e, mctl_fail(MCTL_USAGE, "no process is chosen: give its id or name (tshark: -o "
							"extcap." NAME ".target:ID)"));
	return mctl_extcap_capture(&e);
}
