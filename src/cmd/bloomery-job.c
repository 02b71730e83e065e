/* bloomery-job - the supervisor of one training host of one job; see run/run.h. SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "alone/alone.h"
#include "base/log.h"
#include "base/secret.h"
#include "run/run.h"

static const char usage[] =
        "usage: bloomery-job --dir DATA/jobs/ID [--data DATA] [--conf-fd FD] [--no-network WHY] [--verbose]\n"
        "       bloomery-job --spec FILE --root DIR [--verbose]\n"
        "Runs the job whose work order is DATA/jobs/ID/spec.json. Started by bloomery-host, as root.\n"
        "With --spec: runs a host of a job of a bloomeryd elsewhere, in DIR, which is made; FILE is its work order, "
        "as\n"
        "`bloomery host spec` prints it (-: standard input).\n";

int main(int argc, char **argv)
{
	static const struct option options[] = { { "dir", required_argument, NULL, 'd' },
		                                 { "data", required_argument, NULL, 'D' },
		                                 { "conf-fd", required_argument, NULL, 'f' },
		                                 { "no-network", required_argument, NULL, 'n' },
		                                 { "end-with-parent", no_argument, NULL, 'p' },
		                                 { "spec", required_argument, NULL, 's' },
		                                 { "root", required_argument, NULL, 'r' },
		                                 { "verbose", no_argument, NULL, 'v' },
		                                 { "version", no_argument, NULL, 'V' },
		                                 { "help", no_argument, NULL, 'h' },
		                                 { NULL, 0, NULL, 0 } };
	struct run_options o = { 0 };
	struct alone_options alone = { 0 };
	enum log_level level = LOG_INFO;
	struct err e = { 0 };
	uint64_t fd = 0;
	bool bad = false;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (c) {
		case 'd': o.job_dir = optarg; break;
		case 'D': o.data_dir = optarg; break;
		case 'f': bad |= !str_to_u64(str_of(optarg), &fd) || fd < 3 || fd > 1 << 20; break;
		case 'n': o.no_network = optarg; break;
		case 'p': prctl(PR_SET_PDEATHSIG, SIGTERM); break;
		case 's': alone.spec = optarg; break;
		case 'r': alone.root = optarg; break;
		case 'v': level = LOG_DEBUG; break;
		case 'V': puts("bloomery-job " BLOOMERY_VERSION); return 0;
		case 'h': fputs(usage, stdout); return 0;
		default: fputs(usage, stderr); return 2;
		}
	o.conf_fd = (int)fd;
	bad |= !alone.spec != !alone.root || !alone.spec == !o.job_dir;
	if (bad || optind != argc) {
		fputs(usage, stderr);
		return 2;
	}
	log_init("bloomery-job", level);
	no_core_dump(); /* it would hold keys */
	if ((alone.spec ? alone_run(&alone, &e) : run_job(&o, &e)) == 0)
		return 0;
	log_err(LOG_ERROR, &e, "%s", alone.spec ? alone.spec : o.job_dir);
	return 1;
}
