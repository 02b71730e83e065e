/* Filters and joins of any records and answers. The first byte says of what; then, each to a line feed, input filter
 * and output filter; then the records, a byte 0xff, and the answer.  SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "transform/jsontext.h"
#include "transform/process.h"
#include "transform/split.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const types[] = { "text/csv", "application/jsonlines", "application/json", "text/plain" };
	struct str rest = { (const char *)data + 1, size - 1 }, filter, records;
	_cleanup_(process_freep) struct process *p = NULL;
	_cleanup_free_ char *input = NULL, *output = NULL;
	_cleanup_buf_ struct buf in = { 0 }, out = { 0 };
	struct process_options o = { 0 };
	size_t bad = 0;

	if (!size)
		return 0;
	filter = str_cut(&rest, '\n');
	input = str_dup(filter);
	filter = str_cut(&rest, '\n');
	output = str_dup(filter);
	o = (struct process_options){ .input_filter = input,
		                      .output_filter = output,
		                      .join_source = data[0] & 4 ? "Input" : "None",
		                      .content_type = types[data[0] & 3],
		                      .accept = types[data[0] >> 3 & 3],
		                      .split_type = data[0] & 32 ? "Line" : "None",
		                      .single = data[0] & 64,
		                      .inference_id = data[0] & 128 };
	if (process_new(&o, &p, NULL) < 0 || !p)
		return 0;
	records = str_cut(&rest, (char)0xff);
	/* A line stays a line. */
	if (process_filters_input(p) && process_input(p, records, &in, &bad, NULL) == 0 && (data[0] & 3) == 0)
		must(split_count_lines(buf_view(&in)) == split_count_lines(records));
	if (process_changes_output(p) && process_output(p, records, rest, &out, &bad, NULL) == 0 &&
	    (data[0] >> 3 & 3) == 0)
		must(split_count_lines(buf_view(&out)) == split_count_lines(rest));
	return 0;
}
