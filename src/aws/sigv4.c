/* SPDX-License-Identifier: Apache-2.0 */
#include "aws/sigv4.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"

enum { MAX_PARAMS = 512, MAX_SIGNED = 128 };

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool starts_nocase(struct str s, struct str prefix)
{
	return s.n >= prefix.n && str_eq_nocase((struct str){ s.p, prefix.n }, prefix);
}

/* ---- the canonical request ---- */

/* Appends the path without "." and ".." pieces and doubled slashes, as the clients do before they sign. */
static void add_normal_path(struct buf *out, struct str path)
{
	size_t start = out->n;
	bool slash = str_ends(path, STR("/"));

	while (path.n) {
		struct str piece = str_cut(&path, '/');

		if (!piece.n || str_is(piece, "."))
			continue;
		if (!str_is(piece, "..")) {
			buf_c(out, '/');
			buf_str(out, piece);
			continue;
		}
		if (out->n == start) /* above the root there is only the root, and out may have no memory yet */
			continue;
		while (out->p[--out->n] != '/')
			;
		out->p[out->n] = 0;
	}
	if (slash || out->n == start)
		buf_c(out, '/');
}

static void add_path(struct buf *out, struct str path, bool s3)
{
	_cleanup_buf_ struct buf plain = { 0 };

	if (!path.n || str_is(path, "/")) {
		buf_c(out, '/');
		return;
	}
	if (!s3)
		add_normal_path(&plain, path);
	else if (!buf_uri_decode(&plain, path, false))
		buf_str(&plain, path);
	buf_uri(out, buf_view(&plain), true);
}

struct param {
	struct str name, value;
	size_t name_at, value_at; /* while the buffer still grows */
};

static int param_cmp(const void *a, const void *b)
{
	const struct param *x = a, *y = b;
	int c = str_cmp(x->name, y->name);

	return c ? c : str_cmp(x->value, y->value);
}

/* One half of a parameter, decoded and encoded again, so that every way to write it is signed alike. */
static struct str recode(struct buf *space, struct buf *tmp, struct str s)
{
	size_t at = space->n;

	buf_reset(tmp);
	if (!buf_uri_decode(tmp, s, true))
		buf_str(tmp, s);
	buf_uri(space, buf_view(tmp), false);
	return (struct str){ NULL, space->n - at };
}

static void add_query(struct buf *out, struct str query, bool presigned, bool without_token)
{
	_cleanup_buf_ struct buf space = { 0 }, tmp = { 0 };
	_cleanup_free_ struct param *params = NULL;
	size_t count = 0, room = 1;

	if (!query.n)
		return;
	for (size_t i = 0; i < query.n; i++)
		room += query.p[i] == '&';
	params = xcalloc(room, sizeof(*params));
	while (query.n) {
		struct str value = str_cut(&query, '&'), name = str_cut(&value, '=');
		struct param *p = &params[count];

		if (!name.n && !value.n)
			continue;
		if (presigned &&
		    (str_is(name, "X-Amz-Signature") || (without_token && str_is(name, "X-Amz-Security-Token"))))
			continue;
		p->name_at = space.n;
		p->name = recode(&space, &tmp, name);
		p->value_at = space.n;
		p->value = recode(&space, &tmp, value);
		count++;
	}
	for (size_t i = 0; i < count; i++) {
		params[i].name.p = space.p + params[i].name_at;
		params[i].value.p = space.p + params[i].value_at;
	}
	qsort(params, count, sizeof(*params), param_cmp);
	for (size_t i = 0; i < count; i++) {
		if (i)
			buf_c(out, '&');
		buf_str(out, params[i].name);
		buf_c(out, '=');
		buf_str(out, params[i].value);
	}
}

/* Appends a header's value with runs of blanks as one blank, none at the ends. */
static void add_value(struct buf *out, struct str value)
{
	bool gap = false, first = true;
	char *to;

	buf_need(out, value.n);
	to = out->p + out->n;
	for (size_t i = 0; i < value.n; i++) {
		if (blank(value.p[i])) {
			gap = true;
			continue;
		}
		if (gap && !first)
			*to++ = ' ';
		gap = first = false;
		*to++ = value.p[i];
	}
	*to = 0;
	out->n = (size_t)(to - out->p);
}

static void add_lower(struct buf *out, struct str s)
{
	buf_need(out, s.n);
	for (size_t i = 0; i < s.n; i++)
		out->p[out->n++] = lower(s.p[i]);
	out->p[out->n] = 0;
}

/* All headers called name, joined by commas. False when there is none. */
static bool add_header(struct buf *out, const struct sig_request *r, struct str name)
{
	bool found = false;

	add_lower(out, name);
	buf_c(out, ':');
	for (size_t i = 0; i < r->header_count; i++) {
		if (!str_eq_nocase(r->headers[i].name, name))
			continue;
		if (found)
			buf_c(out, ',');
		found = true;
		add_value(out, r->headers[i].value);
	}
	buf_c(out, '\n');
	return found;
}

/* False when a signed header is not there. */
static bool canonical(const struct sig_request *r, struct str signed_headers, struct str payload_hash, bool s3,
                      bool presigned, bool without_token, struct buf *out)
{
	struct str names = signed_headers;
	bool all = true;

	buf_str(out, r->method);
	buf_c(out, '\n');
	add_path(out, r->path, s3);
	buf_c(out, '\n');
	add_query(out, r->query, presigned, without_token);
	buf_c(out, '\n');
	while (names.n)
		all &= add_header(out, r, str_cut(&names, ';'));
	buf_c(out, '\n');
	buf_str(out, signed_headers);
	buf_c(out, '\n');
	buf_str(out, payload_hash);
	return all;
}

void sigv4_canonical(const struct sig_request *r, struct str signed_headers, struct str payload_hash, bool s3,
                     bool presigned, struct buf *out)
{
	canonical(r, signed_headers, payload_hash, s3, presigned, false, out);
}

/* ---- keys and signatures ---- */

void sigv4_signing_key(struct str secret, struct str date8, struct str region, struct str service,
                       unsigned char out[32])
{
	_cleanup_buf_ struct buf start = { 0 };
	struct str key = { (const char *)out, 32 };

	buf_z(&start, "AWS4");
	buf_str(&start, secret);
	hmac_sha256(buf_view(&start), date8, out);
	hmac_sha256(key, region, out);
	hmac_sha256(key, service, out);
	hmac_sha256(key, STR("aws4_request"), out);
	explicit_bzero(start.p, start.n);
}

static void sign(const unsigned char key[32], struct str amz_date, struct str date8, struct str region,
                 struct str service, struct str canonical_request, char hex[65])
{
	_cleanup_buf_ struct buf text = { 0 };
	unsigned char digest[SHA256_BYTES];

	sha256(canonical_request, digest);
	buf_need(&text, 256);
	buf_z(&text, SIGV4_ALGORITHM "\n");
	buf_str(&text, amz_date);
	buf_c(&text, '\n');
	buf_str(&text, date8);
	buf_c(&text, '/');
	buf_str(&text, region);
	buf_c(&text, '/');
	buf_str(&text, service);
	buf_z(&text, "/aws4_request\n");
	buf_hex(&text, digest, sizeof(digest));
	hmac_sha256((struct str){ (const char *)key, 32 }, buf_view(&text), digest);
	buf_reset(&text);
	buf_hex(&text, digest, sizeof(digest));
	memcpy(hex, text.p, 65);
}

enum { CACHE_KEYS = 16 };

struct sig_cache {
	pthread_mutex_t mu; /* hold it to touch anything below */
	struct cached {
		char *name; /* secret, date, region and service; none may contain the '\n' between them */
		size_t n;
		unsigned char key[32];
	} entry[CACHE_KEYS];
	unsigned next;
};

struct sig_cache *sig_cache_new(void)
{
	struct sig_cache *c = xcalloc(1, sizeof(*c));

	must(pthread_mutex_init(&c->mu, NULL) == 0);
	return c;
}

void sig_cache_free(struct sig_cache *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < CACHE_KEYS; i++) {
		if (c->entry[i].name)
			explicit_bzero(c->entry[i].name, c->entry[i].n);
		free(c->entry[i].name);
	}
	explicit_bzero(c->entry, sizeof(c->entry));
	pthread_mutex_destroy(&c->mu);
	free(c);
}

static bool cache_find(struct sig_cache *c, struct str name, unsigned char out[32])
{
	bool found = false;

	pthread_mutex_lock(&c->mu);
	for (unsigned i = 0; i < CACHE_KEYS && !found; i++) {
		struct cached *e = &c->entry[i];

		if (!e->name || !str_eq((struct str){ e->name, e->n }, name))
			continue;
		memcpy(out, e->key, 32);
		found = true;
	}
	pthread_mutex_unlock(&c->mu);
	return found;
}

static void cache_put(struct sig_cache *c, struct buf *name, const unsigned char key[32])
{
	struct cached *e;

	pthread_mutex_lock(&c->mu);
	e = &c->entry[c->next++ % CACHE_KEYS];
	if (e->name)
		explicit_bzero(e->name, e->n);
	free(e->name);
	e->n = name->n;
	e->name = buf_take(name);
	memcpy(e->key, key, 32);
	pthread_mutex_unlock(&c->mu);
}

void sig_cache_key(struct sig_cache *c, struct str secret, struct str date8, struct str region, struct str service,
                   unsigned char out[32])
{
	_cleanup_buf_ struct buf name = { 0 };
	const struct str parts[] = { secret, date8, region, service };

	if (!c) {
		sigv4_signing_key(secret, date8, region, service, out);
		return;
	}
	buf_need(&name, 128);
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		buf_str(&name, parts[i]);
		buf_c(&name, '\n');
	}
	if (cache_find(c, buf_view(&name), out))
		return;
	sigv4_signing_key(secret, date8, region, service, out);
	cache_put(c, &name, out);
}

/* ---- verifying ---- */

enum sig_fault sigv4_check_time(const struct sig_claim *c, struct wall now)
{
	int64_t age_ms = now.ms - c->at.ms;

	if (age_ms < -SIG_SKEW_S * 1000LL)
		return SIG_SKEWED;
	if (c->presigned)
		return age_ms > (int64_t)c->expires_s * 1000 ? SIG_EXPIRED : SIG_OK;
	return age_ms > SIG_SKEW_S * 1000LL ? SIG_SKEWED : SIG_OK;
}

static bool is_signed(struct str signed_headers, struct str name)
{
	while (signed_headers.n)
		if (str_eq_nocase(str_cut(&signed_headers, ';'), name))
			return true;
	return false;
}

static bool all_signed(const struct sig_request *r, struct str signed_headers)
{
	if (!is_signed(signed_headers, STR("host")))
		return false;
	for (size_t i = 0; i < r->header_count; i++) {
		struct str name = r->headers[i].name;

		if (starts_nocase(name, STR("x-amz-")) && !str_eq_nocase(name, STR("x-amz-security-token")) &&
		    !is_signed(signed_headers, name))
			return false;
	}
	return true;
}

static bool matches(const struct sig_request *r, const struct sig_claim *c, const unsigned char key[32],
                    struct str payload_hash, bool s3, bool without_token)
{
	_cleanup_buf_ struct buf text = { 0 };
	char hex[65];

	buf_need(&text, 1024);
	if (!canonical(r, c->signed_headers, payload_hash, s3, c->presigned, without_token, &text))
		return false;
	sign(key, c->amz_date, c->date8, c->region, c->service, buf_view(&text), hex);
	return c->signature.n == 64 && equal_secret(hex, c->signature.p, 64);
}

enum sig_fault sigv4_verify_key(const struct sig_request *r, const struct sig_claim *c, const unsigned char key[32],
                                struct str payload_hash, bool s3)
{
	struct str names = c->signed_headers;
	size_t count = 1;

	for (size_t i = 0; i < names.n; i++)
		count += names.p[i] == ';';
	if (count > MAX_SIGNED || r->header_count > MAX_PARAMS) /* the work is their product */
		return SIG_MISMATCH;
	if (!all_signed(r, c->signed_headers))
		return SIG_UNSIGNED_HEADER;
	if (matches(r, c, key, payload_hash, s3, false))
		return SIG_OK;
	if (c->presigned && c->token.n && matches(r, c, key, payload_hash, s3, true))
		return SIG_OK;
	return SIG_MISMATCH;
}

enum sig_fault sigv4_verify(const struct sig_request *r, const struct sig_claim *c, struct str secret,
                            struct str payload_hash, bool s3, struct wall now)
{
	enum sig_fault fault = sigv4_check_time(c, now);
	unsigned char key[32];

	if (fault)
		return fault;
	sigv4_signing_key(secret, c->date8, c->region, c->service, key);
	fault = sigv4_verify_key(r, c, key, payload_hash, s3);
	explicit_bzero(key, sizeof(key));
	return fault;
}

/* ---- signing ---- */

static int name_cmp(const void *a, const void *b)
{
	return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* The names of r's headers in lower case, sorted, each once, joined by ';'. */
static void add_names(struct buf *out, const struct sig_request *r)
{
	_cleanup_buf_ struct buf space = { 0 };
	_cleanup_free_ struct str *names = xcalloc(r->header_count, sizeof(*names));
	size_t total = 0;

	for (size_t i = 0; i < r->header_count; i++)
		total += r->headers[i].name.n;
	buf_need(&space, total); /* names view it */
	for (size_t i = 0; i < r->header_count; i++) {
		names[i] = (struct str){ space.p + space.n, r->headers[i].name.n };
		add_lower(&space, r->headers[i].name);
	}
	qsort(names, r->header_count, sizeof(*names), name_cmp);
	for (size_t i = 0; i < r->header_count; i++) {
		if (i && str_eq(names[i], names[i - 1]))
			continue;
		if (i)
			buf_c(out, ';');
		buf_str(out, names[i]);
	}
}

void sigv4_sign(const struct sig_request *r, struct str access_key, struct str secret, struct str token,
                struct str region, struct str service, struct str payload_hash, struct wall now, struct buf *out)
{
	bool s3 = str_is(service, "s3");
	_cleanup_free_ struct sig_header *headers = xcalloc(r->header_count + 3, sizeof(*headers));
	_cleanup_buf_ struct buf names = { 0 }, text = { 0 };
	struct sig_request q = *r;
	char date[CLOCK_TEXT_BYTES], hex[65];
	struct str amz_date = str_of(wall_basic(now, date)), date8 = { date, 8 };
	unsigned char key[32];

	if (r->header_count)
		memcpy(headers, r->headers, r->header_count * sizeof(*headers));
	headers[q.header_count++] = (struct sig_header){ STR("X-Amz-Date"), amz_date };
	if (s3)
		headers[q.header_count++] = (struct sig_header){ STR("X-Amz-Content-Sha256"), payload_hash };
	if (token.n)
		headers[q.header_count++] = (struct sig_header){ STR("X-Amz-Security-Token"), token };
	q.headers = headers;
	add_names(&names, &q);
	canonical(&q, buf_view(&names), payload_hash, s3, false, false, &text);
	sigv4_signing_key(secret, date8, region, service, key);
	sign(key, amz_date, date8, region, service, buf_view(&text), hex);
	explicit_bzero(key, sizeof(key));

	buf_f(out, "Authorization: " SIGV4_ALGORITHM " Credential=" PRIstr "/%.8s/" PRIstr "/" PRIstr "/aws4_request, ",
	      ARGstr(access_key), date, ARGstr(region), ARGstr(service));
	buf_f(out, "SignedHeaders=" PRIstr ", Signature=%s\n", ARGstr(buf_view(&names)), hex);
	for (size_t i = r->header_count; i < q.header_count; i++)
		buf_f(out, PRIstr ": " PRIstr "\n", ARGstr(headers[i].name), ARGstr(headers[i].value));
}
