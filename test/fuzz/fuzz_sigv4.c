/* fuzz_sigv4.c - an HTTP head as a signed request: claimed, made canonical, verified.
 *
 * Checked besides not crashing: a refused claim says why; a canonical request begins with the method and ends with the
 * payload's hash; nothing passes without the secret; and what is signed by us over the same bytes is accepted.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "aws/arn.h"
#include "aws/sigv4.h"
#include "base/err.h"

enum { HEADERS = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_head(struct str rest, struct sig_request *q, struct sig_header headers[HEADERS])
{
	struct str line = str_cut(&rest, '\n');

	q->method = str_cut(&line, ' ');
	q->query = str_cut(&line, ' ');
	q->path = str_cut(&q->query, '?');
	q->headers = headers;
	while (rest.n && q->header_count < HEADERS) {
		struct str value = str_cut(&rest, '\n'), name = str_cut(&value, ':');

		headers[q->header_count++] = (struct sig_header){ name, value };
	}
}

static void verify(const struct sig_request *q, const struct sig_claim *c)
{
	for (int s3 = 0; s3 < 2; s3++) {
		_cleanup_buf_ struct buf text = { 0 };

		sigv4_canonical(q, c->signed_headers, STR("UNSIGNED-PAYLOAD"), s3, c->presigned, &text);
		must(str_starts(buf_view(&text), q->method) && str_ends(buf_view(&text), STR("\nUNSIGNED-PAYLOAD")));
		/* Nobody can know this secret's signature. */
		must(sigv4_verify(q, c, STR("a secret that is in no corpus"), STR("UNSIGNED-PAYLOAD"), s3, c->at) !=
		     SIG_OK);
	}
}

/* Whatever the target and headers are, our own signature over them is good. */
static void sign_and_accept(const struct sig_request *q, const struct sig_header *headers)
{
	struct sig_header all[HEADERS + 5];
	struct sig_request r = *q;
	_cleanup_buf_ struct buf lines = { 0 }, scratch = { 0 };
	struct wall now = { 1795250818000 };
	struct sig_claim c;
	struct str rest;
	const char *why;
	enum sig_fault fault;

	r.headers = all;
	r.header_count = 0;
	all[r.header_count++] = (struct sig_header){ STR("host"), STR("h") };
	for (size_t i = 0; i < q->header_count; i++) {
		struct str n = headers[i].name;
		bool plain = n.n > 0 && !(n.n >= 2 && (n.p[0] | 32) == 'x' && n.p[1] == '-') &&
		             !str_eq_nocase(n, STR("authorization"));

		for (size_t k = 0; k < n.n; k++)
			plain &= (n.p[k] | 32) >= 'a' && (n.p[k] | 32) <= 'z';
		if (plain)
			all[r.header_count++] = headers[i];
	}
	sigv4_sign(&r, STR("AKID"), STR("secret"), STR(""), STR("us-east-1"), STR("s3"), STR("UNSIGNED-PAYLOAD"), now,
	           &lines);
	rest = buf_view(&lines);
	while (rest.n) {
		struct str value = str_cut(&rest, '\n'), name = str_cut(&value, ':');

		all[r.header_count++] = (struct sig_header){ name, str_trim(value) };
	}
	fault = sigv4_claim(&r, &scratch, &c, &why);
	if (fault == SIG_BOTH) /* the fuzzer wrote a presigned query */
		return;
	must(fault == SIG_OK);
	must(sigv4_verify(&r, &c, STR("secret"), STR("UNSIGNED-PAYLOAD"), true, now) == SIG_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sig_header headers[HEADERS];
	struct sig_request q = { 0 };
	_cleanup_buf_ struct buf scratch = { 0 };
	struct str in = { (const char *)data, size };
	struct sig_claim c;
	struct arn arn;
	const char *why;
	enum sig_fault fault;

	if (size > 16384)
		return 0;
	read_head(in, &q, headers);
	fault = sigv4_claim(&q, &scratch, &c, &why);
	must(fault == SIG_OK || why);
	if (fault == SIG_OK)
		verify(&q, &c);
	sign_and_accept(&q, headers);
	if (arn_parse(in, &arn))
		must(arn.resource.n && arn.resource.p + arn.resource.n == in.p + in.n);
	return 0;
}
