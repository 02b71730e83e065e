/* What a request says of its signature, in its Authorization header or its query. SPDX-License-Identifier: Apache-2.0
 */
#include "aws/sigv4.h"

static enum sig_fault bad(const char **why, enum sig_fault fault, const char *what)
{
	*why = what;
	return fault;
}

/* KEY/20130524/us-east-1/s3/aws4_request; the key id may hold slashes itself. */
static enum sig_fault read_credential(struct str s, struct sig_claim *c, const char **why)
{
	struct str end = str_cut_last(&s, '/');

	c->service = str_cut_last(&s, '/');
	c->region = str_cut_last(&s, '/');
	c->date8 = str_cut_last(&s, '/');
	c->access_key = s;
	if (!c->access_key.n || !c->date8.n || !c->region.n || !c->service.n)
		return bad(why, SIG_INCOMPLETE,
		           "Credential must have five parts: KEY-ID/YYYYMMDD/REGION/SERVICE/aws4_request.");
	if (!str_is(end, "aws4_request"))
		return bad(why, SIG_INCOMPLETE, "Credential should be scoped with a valid terminator: 'aws4_request'.");
	for (size_t i = 0; i < c->date8.n; i++)
		if (c->date8.p[i] < '0' || c->date8.p[i] > '9')
			return bad(why, SIG_INCOMPLETE, "The date in Credential must be YYYYMMDD.");
	if (c->date8.n != 8)
		return bad(why, SIG_INCOMPLETE, "The date in Credential must be YYYYMMDD.");
	return SIG_OK;
}

static enum sig_fault check_dates(struct sig_claim *c, const char **why)
{
	if (!str_starts(c->amz_date, c->date8))
		return bad(why, SIG_BAD_SCOPE,
		           "The date in the credential scope is not the day of the request's date.");
	return SIG_OK;
}

static const struct sig_header *find_header(const struct sig_request *r, const char *name, unsigned *ret_count)
{
	const struct sig_header *first = NULL;

	*ret_count = 0;
	for (size_t i = 0; i < r->header_count; i++) {
		if (!str_eq_nocase(r->headers[i].name, str_of(name)))
			continue;
		if (!first)
			first = &r->headers[i];
		++*ret_count;
	}
	return first;
}

/* X-Amz-Date, else Date, which is turned into the same form in scratch. */
static enum sig_fault read_date(const struct sig_request *r, struct buf *scratch, struct sig_claim *c, const char **why)
{
	unsigned count;
	const struct sig_header *h = find_header(r, "x-amz-date", &count);
	char text[CLOCK_TEXT_BYTES];

	if (count > 1)
		return bad(why, SIG_INCOMPLETE, "There is more than one X-Amz-Date header.");
	if (h) {
		c->amz_date = str_trim(h->value);
		if (!wall_from_basic(c->amz_date, &c->at))
			return bad(why, SIG_INCOMPLETE, "X-Amz-Date must be YYYYMMDD'T'HHMMSS'Z'.");
		return SIG_OK;
	}
	h = find_header(r, "date", &count);
	if (!h)
		return bad(why, SIG_INCOMPLETE,
		           "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.");
	if (!wall_from_http(str_trim(h->value), &c->at) && !wall_from_basic(str_trim(h->value), &c->at))
		return bad(why, SIG_INCOMPLETE, "The Date header is not an HTTP date.");
	buf_reset(scratch);
	buf_z(scratch, wall_basic(c->at, text));
	c->amz_date = buf_view(scratch);
	return SIG_OK;
}

static enum sig_fault claim_header(const struct sig_request *r, struct str value, struct buf *scratch,
                                   struct sig_claim *c, const char **why)
{
	struct str credential = { 0 }, rest = str_trim(value), algorithm = str_cut(&rest, ' ');
	const struct sig_header *token;
	enum sig_fault fault;
	unsigned count;

	if (!str_is(algorithm, SIGV4_ALGORITHM))
		return bad(why, SIG_INCOMPLETE, "Unsupported authorization: only " SIGV4_ALGORITHM " is understood.");
	while (rest.n) {
		struct str val = str_trim(str_cut(&rest, ',')), key = str_trim(str_cut(&val, '='));
		struct str *to = str_is(key, "Credential")      ? &credential
		                 : str_is(key, "SignedHeaders") ? &c->signed_headers
		                 : str_is(key, "Signature")     ? &c->signature
		                                                : NULL;

		if (!to)
			return bad(why, SIG_INCOMPLETE, "Authorization header has a part that is not understood.");
		if (to->p)
			return bad(why, SIG_INCOMPLETE, "Authorization header has a part twice.");
		*to = str_trim(val);
	}
	if (!credential.n)
		return bad(why, SIG_INCOMPLETE, "Authorization header requires 'Credential' parameter.");
	if (!c->signature.n)
		return bad(why, SIG_INCOMPLETE, "Authorization header requires 'Signature' parameter.");
	if (!c->signed_headers.n)
		return bad(why, SIG_INCOMPLETE, "Authorization header requires 'SignedHeaders' parameter.");
	fault = read_credential(credential, c, why);
	if (!fault)
		fault = read_date(r, scratch, c, why);
	if (fault)
		return fault;
	token = find_header(r, "x-amz-security-token", &count);
	if (token)
		c->token = str_trim(token->value);
	return check_dates(c, why);
}

/* The decoded value of a presigned query's parameter; .p is NULL without it. */
static enum sig_fault query_param(struct str query, const char *name, struct buf *scratch, struct str *ret,
                                  const char **why)
{
	*ret = (struct str){ 0 };
	while (query.n) {
		struct str value = str_cut(&query, '&'), key = str_cut(&value, '=');
		size_t at = scratch->n;

		if (!str_is(key, name))
			continue;
		if (ret->p)
			return bad(why, SIG_INCOMPLETE, "A query parameter of the signature is there twice.");
		if (!buf_uri_decode(scratch, value, true))
			return bad(why, SIG_INCOMPLETE, "A query parameter of the signature is not encoded properly.");
		*ret = (struct str){ scratch->p + at, scratch->n - at };
	}
	return SIG_OK;
}

static enum sig_fault claim_query(const struct sig_request *r, struct buf *scratch, struct sig_claim *c,
                                  const char **why)
{
	struct str algorithm, credential, expires;
	const struct {
		const char *name, *missing;
		struct str *to;
	} params[] = {
		{ "X-Amz-Algorithm", "The query lacks X-Amz-Algorithm.", &algorithm },
		{ "X-Amz-Credential", "The query lacks X-Amz-Credential.", &credential },
		{ "X-Amz-Signature", "The query lacks X-Amz-Signature.", &c->signature },
		{ "X-Amz-Date", "The query lacks X-Amz-Date.", &c->amz_date },
		{ "X-Amz-SignedHeaders", "The query lacks X-Amz-SignedHeaders.", &c->signed_headers },
		{ "X-Amz-Expires", "The query lacks X-Amz-Expires.", &expires },
		{ "X-Amz-Security-Token", NULL, &c->token },
	};
	enum sig_fault fault;

	buf_reset(scratch);
	buf_need(scratch, r->query.n + 1); /* views into it must not move */
	for (size_t i = 0; i < ARRAY_LEN(params); i++) {
		fault = query_param(r->query, params[i].name, scratch, params[i].to, why);
		if (fault)
			return fault;
		if (!params[i].to->n && params[i].missing)
			return bad(why, SIG_INCOMPLETE, params[i].missing);
	}
	if (!str_is(algorithm, SIGV4_ALGORITHM))
		return bad(why, SIG_INCOMPLETE, "X-Amz-Algorithm only supports " SIGV4_ALGORITHM ".");
	fault = read_credential(credential, c, why);
	if (fault)
		return fault;
	if (!wall_from_basic(c->amz_date, &c->at))
		return bad(why, SIG_INCOMPLETE, "X-Amz-Date must be YYYYMMDD'T'HHMMSS'Z'.");
	if (str_starts(expires, STR("-")))
		return bad(why, SIG_INCOMPLETE, "X-Amz-Expires must be non-negative.");
	if (!str_to_u64(expires, &c->expires_s))
		return bad(why, SIG_INCOMPLETE, "X-Amz-Expires should be a number.");
	if (c->expires_s > SIG_MAX_EXPIRES_S)
		return bad(why, SIG_INCOMPLETE, "X-Amz-Expires must be less than a week (in seconds) that is 604800.");
	return check_dates(c, why);
}

static bool query_has(struct str query, const char *name)
{
	while (query.n) {
		struct str value = str_cut(&query, '&');

		if (str_is(str_cut(&value, '='), name))
			return true;
	}
	return false;
}

enum sig_fault sigv4_claim(const struct sig_request *r, struct buf *scratch, struct sig_claim *ret, const char **why)
{
	unsigned count;
	const struct sig_header *auth = find_header(r, "authorization", &count);

	*ret = (struct sig_claim){ 0 };
	*why = NULL;
	ret->presigned = query_has(r->query, "X-Amz-Signature") || query_has(r->query, "X-Amz-Algorithm");
	if (auth && ret->presigned)
		return bad(why, SIG_BOTH,
		           "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter or "
		           "the Authorization header should be specified.");
	if (ret->presigned)
		return claim_query(r, scratch, ret, why);
	if (!auth && query_has(r->query, "AWSAccessKeyId")) {
		ret->presigned = true;
		return bad(why, SIG_INCOMPLETE,
		           "This URL is signed with Signature Version 2. Please use " SIGV4_ALGORITHM
		           ": `aws configure set default.s3.signature_version s3v4`, or signature_version='s3v4'.");
	}
	if (!auth)
		return bad(why, SIG_MISSING, "Missing Authentication Token: the request is not signed.");
	if (count > 1)
		return bad(why, SIG_INCOMPLETE, "There is more than one Authorization header.");
	return claim_header(r, auth->value, scratch, ret, why);
}
