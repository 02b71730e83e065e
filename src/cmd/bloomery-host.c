/* bloomery-host: the root process that starts and watches supervisors. See host/host.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/secret.h"
#include "host/host.h"

static const char usage[] = "usage: bloomery-host --data DIR --uid N [--config FILE] [--ready-fd N]\n"
                            "       bloomery-host --data DIR --uid N --clean JOB [--forget|--remove]\n"
                            "Starts, watches and cleans up after the supervisors of jobs; bloomery up starts it.\n";

enum { OPT_DATA, OPT_UID, OPT_CONFIG, OPT_READY, OPT_CLEAN, OPT_FORGET, OPT_REMOVE, OPT_HELP };
static const struct option options[] = {
	{ "data", required_argument, NULL, OPT_DATA },
	{ "uid", required_argument, NULL, OPT_UID },
	{ "config", required_argument, NULL, OPT_CONFIG },
	{ "ready-fd", required_argument, NULL, OPT_READY },
	{ "clean", required_argument, NULL, OPT_CLEAN },
	{ "remove", no_argument, NULL, OPT_REMOVE },
	{ "forget", no_argument, NULL, OPT_FORGET },
	{ "help", no_argument, NULL, OPT_HELP },
	{ 0 },
};

static bool number(const char *text, uint64_t max, uint64_t *ret)
{
	return str_to_u64(str_of(text), ret) && *ret <= max;
}

int main(int argc, char **argv)
{
	struct host_options o = { .ready_fd = -1 };
	const char *clean = NULL;
	enum clean_depth depth = CLEAN_LEFTOVERS;
	bool bad = false, has_uid = false;
	struct err e = { 0 };
	uint64_t n = 0;
	int opt, rc;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) >= 0)
		switch (opt) {
		case OPT_DATA: o.data_dir = optarg; break;
		case OPT_UID:
			bad |= !number(optarg, UINT32_MAX - 1, &n);
			o.uid = (uid_t)n;
			has_uid = true;
			break;
		case OPT_CONFIG: o.config = optarg; break;
		case OPT_READY:
			bad |= !number(optarg, 1 << 20, &n);
			o.ready_fd = (int)n;
			break;
		case OPT_CLEAN: clean = optarg; break;
		case OPT_FORGET: depth = CLEAN_FORGET; break;
		case OPT_REMOVE: depth = CLEAN_REMOVE; break;
		case OPT_HELP: fputs(usage, stdout); return 0;
		default: bad = true;
		}
	if (bad || !o.data_dir || !has_uid || optind != argc || (depth && !clean)) {
		fputs(usage, stderr);
		return 2;
	}
	log_init("bloomery-host", LOG_INFO);
	no_core_dump(); /* bloomery.conf has keys */
	if (geteuid() != 0)
		rc = err_set(&e, ERR_DENIED, "bloomery-host starts containers, so it must run as root");
	else
		rc = clean ? host_clean(o.data_dir, str_of(clean), depth, &e) : host_run(&o, &e);
	if (rc < 0)
		err_print(&e, "bloomery-host");
	return rc < 0;
}
