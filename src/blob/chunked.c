/* SPDX-License-Identifier: Apache-2.0 */
#include "blob/chunked.h"

#include <stdlib.h>

enum { LINE_MAX_BYTES = 1024, TRAILERS_MAX_BYTES = 16384 };

enum state { AT_SIZE_LINE, AT_DATA, AT_DATA_CR, AT_DATA_LF, AT_TRAILER_LINE, AT_END };

struct chunked {
	bool is_signed, has_trailer;
	unsigned char key[32];
	struct buf scope, amz_date;
	char previous[65], claimed[65]; /* signatures */
	struct hash *hash;              /* of the current chunk, when signed */
	enum s3_code (*out)(struct str piece, void *arg, struct err *e);
	void *arg;

	enum state state;
	struct buf line;
	uint64_t left; /* of the current chunk */
	bool last;     /* the current chunk has size 0 */
	bool trailer_signed;
	struct buf trailers; /* "name:value\n", as they are signed */
};

static const struct chunked_kind {
	const char *name;
	bool is_signed, has_trailer;
} kinds[] = {
	{ "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", true, false },
	{ "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", true, true },
	{ "STREAMING-UNSIGNED-PAYLOAD-TRAILER", false, true },
};

static const struct chunked_kind *kind_of(struct str name)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (str_is(name, kinds[i].name))
			return &kinds[i];
	return NULL;
}

bool chunked_is_kind(struct str kind)
{
	return kind_of(kind) != NULL;
}

struct chunked *chunked_new(struct str kind, const struct chunked_keys *keys,
                            enum s3_code (*out)(struct str piece, void *arg, struct err *e), void *arg)
{
	const struct chunked_kind *k = kind_of(kind);
	struct chunked *c;

	if (!k)
		return NULL;
	c = xcalloc(1, sizeof(*c));
	c->is_signed = k->is_signed;
	c->has_trailer = k->has_trailer;
	c->out = out;
	c->arg = arg;
	if (k->is_signed) {
		memcpy(c->key, keys->signing_key, sizeof(c->key));
		buf_str(&c->scope, keys->scope);
		buf_str(&c->amz_date, keys->amz_date);
		memcpy(c->previous, keys->seed.p, keys->seed.n < 64 ? keys->seed.n : 64);
	}
	return c;
}

void chunked_free(struct chunked *c)
{
	if (!c)
		return;
	hash_free(c->hash);
	buf_fini(&c->scope);
	buf_fini(&c->amz_date);
	buf_fini(&c->line);
	buf_fini(&c->trailers);
	free(c);
}

static enum s3_code malformed(struct err *e, const char *what)
{
	return s3_say(e, S3_InvalidRequest, "The aws-chunked body is malformed: %s.", what);
}

/* Compares c->claimed with the signature of what has been hashed, which becomes the previous one. */
static enum s3_code check_signature(struct chunked *c, const char *algorithm, const unsigned char digest[SHA256_BYTES],
                                    bool is_chunk)
{
	static const char empty_sha256[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n";
	_cleanup_buf_ struct buf text = { 0 };
	_cleanup_buf_ struct buf hex = { 0 };
	unsigned char mac[SHA256_BYTES];

	buf_f(&text, "%s\n%s\n%s\n%s\n%s", algorithm, c->amz_date.p, c->scope.p, c->previous,
	      is_chunk ? empty_sha256 : "");
	buf_hex(&text, digest, SHA256_BYTES);
	hmac_sha256((struct str){ (const char *)c->key, sizeof(c->key) }, buf_view(&text), mac);
	buf_hex(&hex, mac, sizeof(mac));
	if (!equal_secret(hex.p, c->claimed, 64))
		return S3_SignatureDoesNotMatch;
	memcpy(c->previous, hex.p, 65);
	return S3_OK;
}

static enum s3_code chunk_ends(struct chunked *c)
{
	unsigned char digest[SHA256_BYTES];

	if (!c->is_signed)
		return S3_OK;
	hash_end(take_ptr(c->hash), digest);
	return check_signature(c, "AWS4-HMAC-SHA256-PAYLOAD", digest, true);
}

static bool read_signature(struct chunked *c, struct str text)
{
	unsigned char raw[32];

	if (!unhex(text, raw, sizeof(raw)))
		return false;
	memcpy(c->claimed, text.p, 64);
	return true;
}

static bool read_size(struct str hex, uint64_t *ret)
{
	uint64_t v = 0;

	if (!hex.n || hex.n > 16)
		return false;
	for (size_t i = 0; i < hex.n; i++) {
		char ch = hex.p[i];
		int digit = ch >= '0' && ch <= '9'   ? ch - '0'
		            : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10
		            : ch >= 'A' && ch <= 'F' ? ch - 'A' + 10
		                                     : -1;

		if (digit < 0)
			return false;
		v = v << 4 | (uint64_t)digit;
	}
	*ret = v;
	return true;
}

static enum s3_code size_line(struct chunked *c, struct str line, struct err *e)
{
	struct str rest = line, size = str_trim(str_cut(&rest, ';'));

	if (!read_size(size, &c->left))
		return malformed(e, "a chunk's size is not a hexadecimal number");
	if (c->is_signed) {
		if (!str_skip(&rest, STR("chunk-signature=")) || !read_signature(c, rest))
			return malformed(e, "a chunk has no signature");
		c->hash = hash_new(HASH_SHA256);
	}
	c->last = c->left == 0;
	if (!c->last) {
		c->state = AT_DATA;
		return S3_OK;
	}
	c->state = AT_TRAILER_LINE;
	return chunk_ends(c);
}

static enum s3_code trailers_end(struct chunked *c, struct err *e)
{
	c->state = AT_END;
	if (c->is_signed && c->has_trailer && !c->trailer_signed)
		return malformed(e, "the trailer has no signature");
	return S3_OK;
}

static enum s3_code trailer_line(struct chunked *c, struct str line, struct err *e)
{
	struct str value = line, name;
	unsigned char digest[SHA256_BYTES];

	if (!line.n)
		return trailers_end(c, e);
	if (!c->has_trailer)
		return malformed(e, "there are bytes after the last chunk");
	if (!str_has_byte(line, ':'))
		return malformed(e, "a trailer line has no colon");
	name = str_trim(str_cut(&value, ':'));
	value = str_trim(value);
	if (c->is_signed && str_eq_nocase(name, STR("x-amz-trailer-signature"))) {
		if (c->trailer_signed || !read_signature(c, value))
			return malformed(e, "the trailer's signature is not one");
		c->trailer_signed = true;
		sha256(buf_view(&c->trailers), digest);
		return check_signature(c, "AWS4-HMAC-SHA256-TRAILER", digest, false);
	}
	if (c->trailer_signed)
		return malformed(e, "there is a trailer line after the trailer's signature");
	if (c->trailers.n + line.n > TRAILERS_MAX_BYTES)
		return malformed(e, "the trailer is too long");
	buf_str(&c->trailers, name);
	buf_c(&c->trailers, ':');
	buf_str(&c->trailers, value);
	buf_c(&c->trailers, '\n');
	return S3_OK;
}

/* Takes bytes up to a line's end; runs the line when it is whole. */
static enum s3_code feed_line(struct chunked *c, struct str *piece, struct err *e)
{
	const char *lf = memchr(piece->p, '\n', piece->n);
	size_t n = lf ? (size_t)(lf - piece->p) : piece->n;
	struct str line;
	enum s3_code code;

	if (c->line.n + n > LINE_MAX_BYTES)
		return malformed(e, "a line is too long");
	buf_add(&c->line, piece->p, n);
	piece->p += n;
	piece->n -= n;
	if (!lf)
		return S3_OK;
	piece->p++;
	piece->n--;
	line = buf_view(&c->line);
	if (!line.n || line.p[line.n - 1] != '\r')
		return malformed(e, "a line does not end in CR LF");
	line.n--;
	code = c->state == AT_SIZE_LINE ? size_line(c, line, e) : trailer_line(c, line, e);
	buf_reset(&c->line);
	return code;
}

static enum s3_code feed_data(struct chunked *c, struct str *piece, struct err *e)
{
	struct str data = { piece->p, piece->n < c->left ? piece->n : (size_t)c->left };

	if (c->hash)
		hash_add(c->hash, data.p, data.n);
	piece->p += data.n;
	piece->n -= data.n;
	c->left -= data.n;
	if (!c->left)
		c->state = AT_DATA_CR;
	return c->out(data, c->arg, e);
}

static enum s3_code feed_border(struct chunked *c, struct str *piece, struct err *e)
{
	char want = c->state == AT_DATA_CR ? '\r' : '\n';

	if (*piece->p != want)
		return malformed(e, "a chunk is longer than its size");
	piece->p++;
	piece->n--;
	if (c->state == AT_DATA_CR) {
		c->state = AT_DATA_LF;
		return S3_OK;
	}
	c->state = AT_SIZE_LINE;
	return chunk_ends(c);
}

enum s3_code chunked_feed(struct chunked *c, struct str piece, struct err *e)
{
	enum s3_code code = S3_OK;

	while (piece.n && code == S3_OK)
		switch (c->state) {
		case AT_SIZE_LINE:
		case AT_TRAILER_LINE: code = feed_line(c, &piece, e); break;
		case AT_DATA: code = feed_data(c, &piece, e); break;
		case AT_DATA_CR:
		case AT_DATA_LF: code = feed_border(c, &piece, e); break;
		case AT_END: return malformed(e, "there are bytes after its end");
		}
	return code;
}

enum s3_code chunked_end(const struct chunked *c, struct err *e)
{
	/* Some clients leave out the empty line after a last chunk without a trailer. */
	if (c->state == AT_END || (c->state == AT_TRAILER_LINE && !c->has_trailer && !c->line.n))
		return S3_OK;
	return s3_say(e, S3_IncompleteBody, "The aws-chunked body ends before its last chunk.");
}

struct str chunked_trailer(const struct chunked *c, struct str name)
{
	struct str rest = buf_view(&c->trailers);

	while (rest.n) {
		struct str value = str_cut(&rest, '\n'), key = str_cut(&value, ':');

		if (str_eq_nocase(key, name))
			return value;
	}
	return (struct str){ 0 };
}
