/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/access.h"
#include "cli/commands.h"

/* So that a job that is not there is an error, and not an empty log. */
static int describe(struct access *s, const char *name, json_t **ret, struct err *e)
{
	return access_call(s, "sagemaker", "SageMaker.DescribeTrainingJob", json_pack("{ss}", "TrainingJobName", name),
	                   ret, e);
}

/* "5m" ago, or a time. */
static int read_since(const char *text, int64_t *ret, struct err *e)
{
	static const struct {
		char unit;
		int64_t seconds;
	} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 }, { 'w', 7 * 86400 } };
	struct str s = str_of(text), number = { s.p, s.n ? s.n - 1 : 0 };
	struct wall at;
	uint64_t n;

	if (wall_from_iso8601(s, &at)) {
		*ret = at.ms;
		return 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(units) && s.n; i++)
		if (s.p[s.n - 1] == units[i].unit && str_to_u64(number, &n) && n < 100000000) {
			*ret = wall_now().ms - (int64_t)n * units[i].seconds * 1000;
			return 0;
		}
	return err_set(e, ERR_INVALID,
	               "--since %s: it must be a duration as 30s, 5m, 2h or 1d, or a time as "
	               "2026-11-21T08:46:58Z",
	               text);
}

static int read_grep(const char *text, regex_t *ret, struct err *e)
{
	char why[200];
	int rc = regcomp(ret, text, REG_EXTENDED | REG_NOSUB);

	if (!rc)
		return 0;
	regerror(rc, ret, why, sizeof(why));
	return err_set(e, ERR_INVALID, "--grep %s: %s", text, why);
}

static int check_host(const char *host, unsigned hosts, const char *job, struct err *e)
{
	struct str s = str_of(host);
	uint64_t n = 0;

	if (!str_skip(&s, STR("algo-")) || !str_to_u64(s, &n) || !n || n > hosts)
		return err_set(e, ERR_INVALID,
		               hosts > 1 ? "--host %s: the hosts of %s are algo-1 to algo-%u"
		                         : "--host %s: the only host of %s is algo-%u",
		               host, job, hosts);
	return 0;
}

static int print(struct access *s, const struct follow_options *o, bool follow, struct err *e)
{
	struct log_cursor *cursor = NULL;
	json_t *description = NULL;
	unsigned hosts;
	bool any;
	int rc;

	if (describe(s, o->name, &description, e) < 0)
		return -1;
	hosts = job_host_count(description);
	json_decref(description);
	if (o->view.host && check_host(o->view.host, hosts, o->name, e) < 0)
		return -1;
	if (follow) {
		if (follow_job_log(s, o, &description, e) < 0)
			return -1;
		json_decref(description);
		return EXIT_DONE;
	}
	rc = log_print_more(s, o->name, hosts, &cursor, &o->view, &any, e);
	log_cursor_free(cursor);
	return rc;
}

int command_logs(const struct cli_args *a, struct err *e)
{
	const char *since = cli_text(a, "since", NULL), *grep = cli_text(a, "grep", NULL), *plain = getenv("NO_COLOR");
	struct follow_options o = { .name = a->rest[0],
		                    .progress = isatty(1) && isatty(2),
		                    .view = { .to = stdout,
		                              .host = cli_text(a, "host", NULL),
		                              .colour = isatty(1) && !(plain && *plain),
		                              .json = cli_flag(a, "json") } };
	_cleanup_access_ struct access s = { 0 };
	regex_t re;
	int rc;

	if ((since && read_since(since, &o.view.since_ms, e) < 0) || (grep && read_grep(grep, &re, e) < 0))
		return -1;
	o.view.matches = grep ? &re : NULL;
	rc = access_open(a, &s, e) < 0 ? -1 : print(&s, &o, cli_flag(a, "follow"), e);
	if (grep)
		regfree(&re);
	return rc;
}
