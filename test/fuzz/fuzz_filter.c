/* A filter pattern up to the first zero byte and an event behind it: no pattern and no event does harm, and what a
 * pattern says does not change from one use to the next. SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>

#include "logstore/filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(log_filter_freep) struct log_filter *f = NULL;
	struct str all = { (const char *)data, size }, pattern = str_cut(&all, '\0');
	struct err e = { 0 };

	if (pattern.n > 1024 || log_filter_new(pattern, &f, &e) < 0) {
		must(pattern.n > 1024 || (e.kind == ERR_INVALID && e.depth));
		return 0;
	}
	must(log_filter_matches(f, all) == log_filter_matches(f, all));
	log_filter_matches(f, (struct str){ "", 0 });
	return 0;
}
