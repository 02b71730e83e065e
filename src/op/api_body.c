/* SPDX-License-Identifier: Apache-2.0 */
#include "op/api_body.h"

#include <zlib.h>

#include "aws/wire.h"

enum { MAX_PARAMETERS = 100000 }; /* 1000 data of PutMetricData with all their members */

static int gunzip(struct str in, struct buf *out, struct err *e)
{
	z_stream z = { .next_in = (Bytef *)in.p, .avail_in = (uInt)in.n };
	int rc;

	must(inflateInit2(&z, 16 + MAX_WBITS) == Z_OK);
	do {
		buf_need(out, 64 << 10);
		z.next_out = (Bytef *)out->p + out->n;
		z.avail_out = 64 << 10;
		rc = inflate(&z, Z_NO_FLUSH);
		out->n += (64u << 10) - z.avail_out;
		out->p[out->n] = 0;
	} while (rc == Z_OK && out->n <= API_BODY_MAX && (z.avail_in || !z.avail_out));
	inflateEnd(&z);
	if (out->n > API_BODY_MAX)
		return err_set(e, ERR_TOO_LARGE, "The request body is larger than %d bytes when it is unpacked.",
		               API_BODY_MAX);
	if (rc != Z_STREAM_END || z.avail_in)
		return err_set(e, ERR_SYNTAX, "The request body is not the gzip file that Content-Encoding promises.");
	return 0;
}

int api_body_decode(struct str body, struct str encoding, struct buf *space, struct str *ret, struct err *e)
{
	encoding = str_trim(encoding);
	if (!encoding.n || str_eq_nocase(encoding, STR("identity"))) {
		*ret = body;
		return 0;
	}
	if (!str_eq_nocase(encoding, STR("gzip")))
		return err_set(e, ERR_SYNTAX, "Content-Encoding '%.40s' is not understood; use gzip or none.",
		               encoding.p);
	if (gunzip(body, space, e) < 0)
		return -1;
	*ret = buf_view(space);
	return 0;
}

int api_body_json(struct str body, json_t **ret, struct err *e)
{
	json_error_t je;
	json_t *x;

	if (!body.n) {
		*ret = json_object();
		return 0;
	}
	if (!utf8_valid(body))
		return err_set(e, ERR_SYNTAX, "The request body is not UTF-8.");
	x = json_loadb(body.p, body.n, 0, &je);
	if (!x)
		return err_set(e, ERR_SYNTAX, "The request body is not valid JSON: line %d, column %d: %s", je.line,
		               je.column, je.text);
	if (!json_is_object(x)) {
		json_decref(x);
		return err_set(e, ERR_SYNTAX, "The request body must be a JSON object.");
	}
	*ret = x;
	return 0;
}

static int add_parameters(struct str form, json_t *to, struct err *e)
{
	_cleanup_buf_ struct buf name = { 0 }, value = { 0 };

	while (form.n) {
		struct str raw = str_cut(&form, '&'), key = str_cut(&raw, '=');
		json_t *text;

		if (!key.n)
			continue;
		buf_reset(&name);
		buf_reset(&value);
		if (!buf_uri_decode(&name, key, true) || !buf_uri_decode(&value, raw, true))
			return err_set(e, ERR_SYNTAX,
			               "A request parameter has a '%%' that is not followed by two hex digits.");
		if (!utf8_valid(buf_view(&name)) || memchr(name.p, 0, name.n))
			return err_set(e, ERR_SYNTAX, "The name of a request parameter is not UTF-8 text.");
		text = json_stringn(value.p, value.n);
		if (!text)
			return err_set(e, ERR_SYNTAX, "The request parameter '%.100s' is not UTF-8.", name.p);
		must(json_object_set_new(to, name.p, text) == 0);
		if (json_object_size(to) > MAX_PARAMETERS)
			return err_set(e, ERR_SYNTAX, "The request has more than %d parameters.", MAX_PARAMETERS);
	}
	return 0;
}

int api_body_query(struct str form, struct str url_query, json_t **ret, struct err *e)
{
	json_t *x = json_object();

	if (add_parameters(url_query, x, e) < 0 || add_parameters(form, x, e) < 0) {
		json_decref(x);
		return -1;
	}
	*ret = x;
	return 0;
}

json_t *api_body_tree(const struct operation *op, const json_t *flat)
{
	return wire_read_query(op->input, flat);
}
