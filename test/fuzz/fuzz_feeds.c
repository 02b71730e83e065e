/* feeds.json of a job directory: what is accepted is the same after it was written and read again, and makes lines for
 * Prometheus that nobody's name broke out of; what is refused has a reason.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "op/feeds.h"
#include "op/metrics.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_again(const struct feeds *f)
{
	json_t *j = feeds_to_json(f);
	_cleanup_free_ char *text = json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(17));
	struct feeds g;

	json_decref(j);
	must(feeds_parse(str_of(text), &g, NULL) == 0);
	must(memcmp(f, &g, sizeof(g)) == 0);
}

static void check_text(const struct feeds *f)
{
	struct metrics_job job = { .name = (char *)"job", .feeds = *f };
	struct metrics m = { .jobs = &job, .job_count = 1 };
	_cleanup_buf_ struct buf out = { 0 };
	struct str rest;

	metrics_write(&m, &out);
	must(utf8_valid(buf_view(&out)));
	for (rest = buf_view(&out); rest.n;) {
		struct str line = str_cut(&rest, '\n');

		must(str_starts(line, STR("# ")) || str_starts(line, STR("bloomery_")) ||
		     str_starts(line, STR("process_")));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text = { (const char *)data, size };
	struct err e = { 0 };
	struct feeds f;

	if (feeds_parse(text, &f, &e) < 0) {
		must(e.kind == ERR_SYNTAX && e.depth);
		return 0;
	}
	check_again(&f);
	check_text(&f);
	return 0;
}
