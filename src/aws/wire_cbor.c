/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>

#include "aws/wire.h"
#include "base/hash.h"

enum { MAJOR_UNSIGNED, MAJOR_NEGATIVE, MAJOR_BYTES, MAJOR_TEXT, MAJOR_ARRAY, MAJOR_MAP, MAJOR_TAG, MAJOR_SIMPLE };
enum { SIMPLE_FALSE = 20, SIMPLE_TRUE, SIMPLE_NULL, SIMPLE_UNDEFINED, HALF = 25, SINGLE, DOUBLE, INDEFINITE = 31 };
enum { TAG_TIME = 1, TAG_BIG = 2, TAG_BIG_NEGATIVE, TAG_FRACTION, TAG_BIG_FLOAT };

struct reader {
	struct str rest;
	size_t items;
	struct err *e;
};

/* The first byte of an item and the number that goes with it. */
struct head {
	unsigned major, info;
	uint64_t n;
};

static int broken(struct reader *r, const char *why)
{
	return err_set(r->e, ERR_SYNTAX, "The request body is not valid CBOR: %s.", why);
}

static int read_head(struct reader *r, struct head *ret)
{
	unsigned char first;
	size_t bytes = 0;

	if (!r->rest.n)
		return broken(r, "it ends in the middle");
	first = (unsigned char)*r->rest.p++;
	r->rest.n--;
	*ret = (struct head){ .major = first >> 5, .info = first & 31 };
	if (ret->info < 24)
		ret->n = ret->info;
	else if (ret->info < 28)
		bytes = (size_t)1 << (ret->info - 24);
	else if (ret->info != INDEFINITE || ret->major < MAJOR_BYTES || ret->major == MAJOR_TAG)
		return broken(r, "an item begins with a byte that means nothing");
	if (bytes > r->rest.n)
		return broken(r, "it ends in the middle");
	for (; bytes; bytes--, r->rest.n--)
		ret->n = ret->n << 8 | (unsigned char)*r->rest.p++;
	return 0;
}

static bool at_break(struct reader *r)
{
	if (!r->rest.n || (unsigned char)*r->rest.p != 0xff)
		return false;
	r->rest.p++;
	r->rest.n--;
	return true;
}

static int read_chunk(struct reader *r, const struct head *h, struct buf *out)
{
	if (h->n > r->rest.n)
		return broken(r, "a text or byte string is longer than the body");
	buf_add(out, r->rest.p, h->n);
	r->rest.p += h->n;
	r->rest.n -= h->n;
	return 0;
}

/* The content of a byte or text string, also of one in chunks. */
static int read_bytes(struct reader *r, const struct head *h, struct buf *out)
{
	if (h->info != INDEFINITE)
		return read_chunk(r, h, out);
	while (!at_break(r)) {
		struct head chunk;

		if (read_head(r, &chunk) < 0)
			return -1;
		if (chunk.major != h->major || chunk.info == INDEFINITE)
			return broken(r, "a string in chunks has a chunk of another kind");
		if (read_chunk(r, &chunk, out) < 0)
			return -1;
	}
	return 0;
}

static int read_text(struct reader *r, const struct head *h, json_t **ret)
{
	_cleanup_buf_ struct buf text = { 0 };

	if (read_bytes(r, h, &text) < 0)
		return -1;
	if (!utf8_valid(buf_view(&text)))
		return broken(r, "a text is not UTF-8");
	*ret = json_stringn(buf_view(&text).p, text.n);
	return 0;
}

static int read_blob(struct reader *r, const struct head *h, json_t **ret)
{
	_cleanup_buf_ struct buf bytes = { 0 }, text = { 0 };

	if (read_bytes(r, h, &bytes) < 0)
		return -1;
	buf_base64(&text, buf_view(&bytes).p, bytes.n);
	*ret = json_stringn(buf_view(&text).p, text.n);
	return 0;
}

static json_t *real(double v)
{
	if (isnan(v))
		return json_string("NaN");
	if (isinf(v))
		return json_string(v > 0 ? "Infinity" : "-Infinity");
	return json_real(v);
}

static double half(uint64_t bits)
{
	int exponent = (int)(bits >> 10 & 31), mantissa = (int)(bits & 1023);
	double v = exponent == 31 ? (mantissa ? NAN : INFINITY)
	           : exponent     ? ldexp(mantissa + 1024, exponent - 25)
	                          : ldexp(mantissa, -24);

	return bits & 0x8000 ? -v : v;
}

static int read_simple(struct reader *r, const struct head *h, json_t **ret)
{
	uint32_t low = (uint32_t)h->n;
	float single;
	double v;

	switch (h->info) {
	case SIMPLE_FALSE: *ret = json_false(); return 0;
	case SIMPLE_TRUE: *ret = json_true(); return 0;
	case SIMPLE_NULL:
	case SIMPLE_UNDEFINED: *ret = json_null(); return 0;
	case HALF: *ret = real(half(h->n)); return 0;
	case SINGLE:
		memcpy(&single, &low, sizeof(single));
		*ret = real((double)single);
		return 0;
	case DOUBLE:
		memcpy(&v, &h->n, sizeof(v));
		*ret = real(v);
		return 0;
	default: return broken(r, h->info == INDEFINITE ? "a break stands alone" : "a simple value means nothing");
	}
}

static int read_item(struct reader *r, unsigned depth, json_t **ret);

static int read_array(struct reader *r, const struct head *h, unsigned depth, json_t **ret)
{
	json_t *all = json_array(), *item;

	for (uint64_t i = 0; h->info == INDEFINITE ? !at_break(r) : i < h->n; i++) {
		if (read_item(r, depth, &item) < 0) {
			json_decref(all);
			return -1;
		}
		json_array_append_new(all, item);
	}
	*ret = all;
	return 0;
}

static int read_entry(struct reader *r, unsigned depth, json_t *all)
{
	_cleanup_buf_ struct buf key = { 0 };
	struct head h;
	json_t *value;

	if (read_head(r, &h) < 0)
		return -1;
	if (h.major != MAJOR_TEXT)
		return broken(r, "the key of a map is not a text");
	if (read_bytes(r, &h, &key) < 0)
		return -1;
	if (!utf8_valid(buf_view(&key)) || memchr(buf_view(&key).p, 0, key.n))
		return broken(r, "the key of a map is not UTF-8 text");
	if (json_object_get(all, buf_view(&key).p))
		return broken(r, "a map has a key twice");
	if (read_item(r, depth, &value) < 0)
		return -1;
	must(json_object_set_new(all, buf_view(&key).p, value) == 0);
	return 0;
}

static int read_map(struct reader *r, const struct head *h, unsigned depth, json_t **ret)
{
	json_t *all = json_object();

	for (uint64_t i = 0; h->info == INDEFINITE ? !at_break(r) : i < h->n; i++)
		if (read_entry(r, depth, all) < 0) {
			json_decref(all);
			return -1;
		}
	*ret = all;
	return 0;
}

static int read_tagged(struct reader *r, const struct head *h, unsigned depth, json_t **ret)
{
	json_t *item;

	if (h->n >= TAG_BIG && h->n <= TAG_BIG_FLOAT)
		return broken(r, "numbers of any size (tags 2 to 5) are not used by this service");
	if (read_item(r, depth, &item) < 0)
		return -1;
	if (h->n == TAG_TIME && !json_is_number(item)) {
		json_decref(item);
		return broken(r, "a time (tag 1) is not a finite number");
	}
	*ret = item;
	return 0;
}

static json_t *whole(const struct head *h)
{
	if (h->n > INT64_MAX)
		return json_real(h->major == MAJOR_UNSIGNED ? (double)h->n : -1 - (double)h->n);
	return json_integer(h->major == MAJOR_UNSIGNED ? (json_int_t)h->n : -1 - (json_int_t)h->n);
}

static int read_item(struct reader *r, unsigned depth, json_t **ret)
{
	struct head h;

	if (depth > WIRE_DEPTH)
		return broken(r, "it is nested too deeply");
	if (++r->items > WIRE_ITEMS_MAX)
		return broken(r, "there are too many values in it");
	if (read_head(r, &h) < 0)
		return -1;
	switch (h.major) {
	case MAJOR_UNSIGNED:
	case MAJOR_NEGATIVE: *ret = whole(&h); return 0;
	case MAJOR_BYTES: return read_blob(r, &h, ret);
	case MAJOR_TEXT: return read_text(r, &h, ret);
	case MAJOR_ARRAY: return read_array(r, &h, depth + 1, ret);
	case MAJOR_MAP: return read_map(r, &h, depth + 1, ret);
	case MAJOR_TAG: return read_tagged(r, &h, depth + 1, ret);
	default: return read_simple(r, &h, ret);
	}
}

int wire_read_cbor(struct str bytes, json_t **ret, struct err *e)
{
	struct reader r = { .rest = bytes, .e = e };
	json_t *x;

	if (!bytes.n) {
		*ret = json_object();
		return 0;
	}
	if (read_item(&r, 0, &x) < 0)
		return -1;
	if (r.rest.n || !json_is_object(x)) {
		json_decref(x);
		return broken(&r, r.rest.n ? "there is more after its end" : "it must be a map");
	}
	*ret = x;
	return 0;
}

/* ---- writing ---- */

static void write_head(struct buf *out, unsigned major, uint64_t n)
{
	unsigned info = n < 24 ? (unsigned)n : n <= UINT8_MAX ? 24 : n <= UINT16_MAX ? 25 : n <= UINT32_MAX ? 26 : 27;

	buf_c(out, (char)(major << 5 | info));
	for (unsigned bytes = info < 24 ? 0 : 1u << (info - 24); bytes-- > 0;)
		buf_c(out, (char)(n >> 8 * bytes));
}

static void write_text(struct buf *out, struct str s)
{
	write_head(out, MAJOR_TEXT, s.n);
	buf_str(out, s);
}

static void write_double(struct buf *out, double v)
{
	uint64_t bits;

	memcpy(&bits, &v, sizeof(bits));
	buf_c(out, (char)(MAJOR_SIMPLE << 5 | DOUBLE));
	for (unsigned shift = 64; shift; shift -= 8)
		buf_c(out, (char)(bits >> (shift - 8)));
}

static void write_integer(struct buf *out, json_int_t n)
{
	if (n < 0)
		write_head(out, MAJOR_NEGATIVE, (uint64_t)(-1 - n));
	else
		write_head(out, MAJOR_UNSIGNED, (uint64_t)n);
}

static void write_number(const struct shape *s, const json_t *x, struct buf *out)
{
	bool floats = s && (s->kind == SHAPE_DOUBLE || s->kind == SHAPE_FLOAT);

	if (s && s->kind == SHAPE_TIMESTAMP)
		write_head(out, MAJOR_TAG, TAG_TIME);
	if (json_is_integer(x) && !floats)
		write_integer(out, json_integer_value(x));
	else
		write_double(out, json_number_value(x));
}

static const struct shape *member_shape(const struct shape *s, const char *name)
{
	if (s && s->kind == SHAPE_MAP)
		return s->item;
	for (size_t i = 0; s && i < s->member_count; i++)
		if (!strcmp(s->members[i].name, name))
			return s->members[i].shape;
	return NULL;
}

void wire_write_cbor(const struct shape *s, const json_t *x, struct buf *out)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	struct str text = { json_string_value(x), json_string_length(x) };
	const char *key;
	json_t *sub;
	size_t i;

	switch (json_typeof(x)) {
	case JSON_OBJECT:
		write_head(out, MAJOR_MAP, json_object_size(x));
		json_object_foreach ((json_t *)x, key, sub) {
			write_text(out, str_of(key));
			wire_write_cbor(member_shape(s, key), sub, out);
		}
		break;
	case JSON_ARRAY:
		write_head(out, MAJOR_ARRAY, json_array_size(x));
		json_array_foreach (x, i, sub)
			wire_write_cbor(s ? s->item : NULL, sub, out);
		break;
	case JSON_STRING:
		if (s && s->kind == SHAPE_BLOB && buf_unbase64(&bytes, text)) {
			write_head(out, MAJOR_BYTES, bytes.n);
			buf_str(out, buf_view(&bytes));
		} else {
			write_text(out, text);
		}
		break;
	case JSON_INTEGER:
	case JSON_REAL: write_number(s, x, out); break;
	case JSON_TRUE: buf_c(out, (char)(MAJOR_SIMPLE << 5 | SIMPLE_TRUE)); break;
	case JSON_FALSE: buf_c(out, (char)(MAJOR_SIMPLE << 5 | SIMPLE_FALSE)); break;
	case JSON_NULL: buf_c(out, (char)(MAJOR_SIMPLE << 5 | SIMPLE_NULL)); break;
	}
}
