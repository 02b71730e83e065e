/* bloomeryd - the daemon: API, object store, scheduler. Runs as an ordinary user; see ARCHITECTURE.md.
 * SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/log.h"
#include "base/secret.h"
#include "op/daemon.h"

static const char usage[] =
        "usage: bloomeryd --data DIR [--listen ADDR:PORT] [--config FILE] [--ready-fd N] [--fetch-fd N]\n"
        "                 [--metric-fd N]\n"
        "\n"
        "Serves the API from the data directory DIR; `bloomery up` starts it together with bloomery-host.\n"
        "\n"
        "  --data DIR          where everything is kept; made if it is not there\n"
        "  --listen ADDR:PORT  instead of `listen` in bloomery.conf (127.0.0.1:8770); port 0 picks one\n"
        "  --config FILE       instead of DIR/bloomery.conf\n"
        "  --ready-fd N        write ADDR:PORT and a newline to descriptor N when serving, and close it\n"
        "  --config-fd N       the text of FILE, for who may not open it\n"
        "  --fetch-fd N        descriptor N is open on bloomery-fetch; else it is looked for beside bloomeryd\n"
        "  --metric-fd N       the same of bloomery-metric\n"
        "  --version, --help\n"
        "\n"
        "SIGTERM and SIGINT end it; jobs run on.\n";

static int parse_fd(const char *option, const char *text, int *ret, struct err *e)
{
	uint64_t fd;

	if (!str_to_u64(str_of(text), &fd) || fd > 1 << 20)
		return err_set(e, ERR_INVALID, "--%s %s: a number is wanted", option, text);
	*ret = (int)fd;
	return 0;
}

/* 0: go on; 1: the option was a question, answered. */
static int parse_options(int argc, char **argv, struct daemon_options *o, struct err *e)
{
	static const struct option options[] = {
		{ "data", required_argument, NULL, 'd' },
		{ "listen", required_argument, NULL, 'l' },
		{ "config", required_argument, NULL, 'c' },
		{ "ready-fd", required_argument, NULL, 'r' },
		{ "fetch-fd", required_argument, NULL, 'f' },
		{ "metric-fd", required_argument, NULL, 'm' },
		{ "config-fd", required_argument, NULL, 'C' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int c, at;

	while ((c = getopt_long(argc, argv, "", options, &at)) != -1) {
		int *fd = NULL;

		switch (c) {
		case 'd': o->data = optarg; break;
		case 'l': o->listen = optarg; break;
		case 'c': o->config = optarg; break;
		case 'r': fd = &o->ready_fd; break;
		case 'f': fd = &o->fetch_fd; break;
		case 'm': fd = &o->metric_fd; break;
		case 'C': fd = &o->config_fd; break;
		case 'V': puts("bloomeryd " BLOOMERY_VERSION); return 1;
		case 'h': fputs(usage, stdout); return 1;
		default: return err_set(e, ERR_INVALID, "see bloomeryd --help");
		}
		if (fd && parse_fd(options[at].name, optarg, fd, e) < 0)
			return -1;
	}
	if (optind < argc || !o->data)
		return err_set(e, ERR_INVALID, "%s; see bloomeryd --help",
		               o->data ? argv[optind] : "--data is missing");
	return 0;
}

/* A connection takes a descriptor, and one more for the file it sends or receives; 1024 is too few for both. */
static void raise_file_limit(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
}

int main(int argc, char **argv)
{
	struct daemon_options o = { .ready_fd = -1, .fetch_fd = -1, .metric_fd = -1, .config_fd = -1 };
	struct err e = { 0 };
	int rc = parse_options(argc, argv, &o, &e);

	if (rc > 0)
		return 0;
	/* `bloomery up` executes us by descriptor, which would be our name in ps and top. */
	prctl(PR_SET_NAME, "bloomeryd");
	no_core_dumps_below(); /* it would hold keys */
	/* An arena for each HTTP thread (with two, they wait for each other's malloc), and no more: an idle daemon
	 * stays small. */
	mallopt(M_ARENA_MAX, 8);
	raise_file_limit();
	signal(SIGPIPE, SIG_IGN);
	log_init("bloomeryd", getenv("BLOOMERY_DEBUG") ? LOG_DEBUG : LOG_INFO);
	if (rc == 0)
		rc = daemon_run(&o, &e);
	if (rc < 0)
		err_print(&e, "bloomeryd");
	return rc < 0;
}
