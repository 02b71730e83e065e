/* fuzz_json.c - a request's body, as any client may send it: bytes, JSON, model_check, model_refuse, model_redact.
 *
 * The first byte chooses the operation. What is refused must carry a reason; what is accepted must come back the same
 * from its own text and be accepted again.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>

#include "aws/walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct operation *choose(unsigned n)
{
	for (size_t i = 0; i < model_service_count; i++) {
		if (n < model_services[i].operation_count)
			return &model_services[i].operations[n];
		n -= (unsigned)model_services[i].operation_count;
	}
	return choose(n);
}

/* 0 is CreateTrainingJob, so that its seeds stay what they are when the model grows. */
static const struct operation *operation(uint8_t first)
{
	return first ? choose(first) : model_operation(model_service("sagemaker"), STR("CreateTrainingJob"));
}

static void accepted(const struct operation *op, json_t *in)
{
	_cleanup_free_ char *text = json_dumps(in, JSON_COMPACT);
	_cleanup_buf_ struct buf redacted = { 0 };
	struct err e = { 0 };
	json_t *again;

	must(text);
	again = json_loads(text, 0, NULL);
	must(again && json_equal(in, again));
	must(model_check(op, again, &e) == 0);
	must(json_equal(in, again));
	if (model_refuse(op, in, &e) < 0)
		must(e.kind == ERR_INVALID && e.frame[0][0]);
	if (op->input)
		model_redact(op->input, in, &redacted);
	json_decref(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_buf_ struct buf text = { 0 };
	const struct operation *op;
	struct err e = { 0 };
	json_t *in;

	if (size < 2)
		return 0;
	op = operation(data[0]);
	in = json_loadb((const char *)data + 1, size - 1, JSON_DECODE_ANY, NULL);
	if (!in)
		return 0;
	if (model_check_text(op, in, &text, &e) == 0) {
		accepted(op, in);
	} else {
		must(e.kind == ERR_INVALID || e.kind == ERR_SYNTAX);
		must(text.n > 0 && e.frame[0][0] && utf8_valid(buf_view(&text)));
		must(text.n < 3 * WALK_TEXT_BYTES);
	}
	json_decref(in);
	return 0;
}
