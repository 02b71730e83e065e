/* wire.h - requests and answers of the protocols other than plain JSON, as the JSON that everything else works with:
 * query (parameters in, XML out) and CBOR (Smithy's rpc-v2-cbor).
 *
 * What comes in is not checked against the model here; model_check does that next. In the one form that it knows,
 * timestamps are numbers of seconds, and a floating-point number that JSON cannot write is "NaN", "Infinity" or
 * "-Infinity". What goes out is written by the shape of the operation's output: the same number is a date in XML, tag 1
 * in CBOR, and a number in JSON.
 *
 * Pure; any thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "aws/model.h"

enum {
	WIRE_DEPTH = 64,          /* of what is nested in a CBOR body */
	WIRE_ITEMS_MAX = 1 << 19, /* values in one */
	WIRE_NAME_PARTS = 16,     /* of a query parameter's name: A.member.1.B are four */
};

/* Parameters by name ({"A.member.1.B": "text"}) as the tree they stand for. What the shape has not is left out;
 * numbers, booleans and dates become such where the text is one. Lists are in the order of their numbers, whatever is
 * missing between. s NULL: an empty object. New reference, never NULL. */
json_t *wire_read_query(const struct shape *s, const json_t *flat);

/* One CBOR item that is a map; no bytes are an empty one. Bytes become base64. ERR_SYNTAX: it is none, too deep, too
 * much, or holds what no request of AWS does (keys that are no text, big numbers). New reference. */
int wire_read_cbor(struct str bytes, json_t **ret, struct err *e) must_check;

/* Append x as the shape wants it; s NULL, or a member that is not in it: as it comes. */
void wire_write_json(const struct shape *s, const json_t *x, struct buf *out);
void wire_write_xml(const struct shape *s, const json_t *x, struct buf *out);
void wire_write_cbor(const struct shape *s, const json_t *x, struct buf *out);

/* Appends the shortest decimal that reads back as the same number; v is finite. */
void buf_double(struct buf *out, double v);
