/* Bodies of the query protocol and of CBOR, as a signed stranger may send them. SPDX-License-Identifier: Apache-2.0
 *
 * What CBOR is accepted reads back as the same after it was written. The first byte says which of both it is. */
#include <stdlib.h>

#include "aws/wire.h"
#include "op/api_body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void cbor(struct str body)
{
	const struct operation *op = model_operation(model_service("cloudwatch"), STR("PutMetricData"));
	_cleanup_buf_ struct buf out = { 0 }, text = { 0 };
	struct err e = { 0 };
	json_t *x, *again;

	if (wire_read_cbor(body, &x, &e) < 0) {
		must(e.kind == ERR_SYNTAX && e.depth);
		return;
	}
	wire_write_cbor(NULL, x, &out);
	must(wire_read_cbor(buf_view(&out), &again, &e) == 0);
	must(json_equal(x, again));
	json_decref(again);
	if (model_check_text(op, x, &text, &e) == 0)
		wire_write_json(op->input, x, &out);
	json_decref(x);
}

static void query(struct str body)
{
	const struct operation *op = model_operation(model_service("cloudwatch"), STR("PutMetricData"));
	_cleanup_buf_ struct buf out = { 0 }, text = { 0 };
	struct err e = { 0 };
	json_t *flat, *x;

	if (api_body_query(body, (struct str){ 0 }, &flat, &e) < 0) {
		must(e.kind == ERR_SYNTAX && e.depth);
		return;
	}
	x = api_body_tree(op, flat);
	json_decref(flat);
	if (model_check_text(op, x, &text, &e) == 0)
		wire_write_xml(op->input, x, &out);
	json_decref(x);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	if (data[0] == 'q')
		query((struct str){ (const char *)data + 1, size - 1 });
	else
		cbor((struct str){ (const char *)data + 1, size - 1 });
	return 0;
}
