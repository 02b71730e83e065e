/* SPDX-License-Identifier: Apache-2.0 */
#include "iam/policy.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "harness.h"

static struct policy *parsed(const char *text)
{
	struct policy *p = NULL;

	CHECK_OK(policy_parse(str_of(text), "p.json", &p, e));
	return p;
}

static void refused(const char *text, const char *want)
{
	struct policy *p = NULL;
	struct err e = { 0 };
	char got[4096];

	if (policy_parse(str_of(text), "p.json", &p, &e) == 0) {
		test_failed(__FILE__, __LINE__, "taken: %s", text);
		policy_free(p);
		return;
	}
	CHECK_INT(e.kind, ERR_INVALID);
	CHECK_STR(err_text(&e, got, sizeof(got)), want);
}

TEST(patterns)
{
	static const struct {
		const char *pattern, *text;
		bool matches, nocase;
	} cases[] = {
		{ "", "", true, false },         { "", "a", false, false },
		{ "*", "", true, false },        { "*", "any/thing:at all", true, false },
		{ "?", "", false, false },       { "?", "a", true, false },
		{ "a?c", "abc", true, false },   { "a?c", "ac", false, false },
		{ "a*c", "ac", true, false },    { "a*c", "abcbc", true, false },
		{ "a*c", "abcd", false, false }, { "*.csv", "a/b.csv", true, false },
		{ "a**b", "ab", true, false },   { "*a*b*c*", "xxaxxbxxcxx", true, false },
		{ "A", "a", false, false },      { "A*Z", "abcz", true, true },
		{ "[a]", "a", false, false },    { "a\\*", "a\\b", true, false },
		{ "*ab", "aab", true, false },   { "*?", "", false, false },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		if (policy_match(str_of(cases[i].pattern), str_of(cases[i].text), cases[i].nocase) != cases[i].matches)
			test_failed(__FILE__, __LINE__, "'%s' on '%s'", cases[i].pattern, cases[i].text);
}

TEST(many_stars_take_no_time)
{
	_cleanup_buf_ struct buf pattern = { 0 }, text = { 0 };
	struct mono start = mono_now();

	for (int i = 0; i < 500; i++)
		buf_z(&pattern, "*a");
	buf_z(&pattern, "*b");
	for (int i = 0; i < 2000; i++)
		buf_c(&text, 'a');
	CHECK(!policy_match(buf_view(&pattern), buf_view(&text), true));
	CHECK(mono_ms_since(start) < 2000);
}

TEST(a_denial_wins_and_nothing_is_a_denial)
{
	_cleanup_(policy_freep) struct policy *p = parsed(
	        "{\"Version\":\"2012-10-17\",\"Id\":\"i\",\"Statement\":["
	        "{\"Sid\":\"s\",\"Effect\":\"Allow\",\"Action\":[\"s3:GetObject\",\"S3:put*\"],\"Resource\":\"arn:aws:"
	        "s3:::b/*\"},"
	        "{\"Effect\":\"Deny\",\"Action\":\"s3:*\",\"Resource\":[\"arn:aws:s3:::b/secret/"
	        "*\",\"arn:aws:s3:::c\"]},"
	        "{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"arn:aws:s3:::b/secret/*\"},"
	        "{\"Effect\":\"Allow\",\"Action\":\"sagemaker:List*\",\"Resource\":\"*\"}]}");

	CHECK(policy_ask(p, STR("s3:GetObject"), STR("arn:aws:s3:::b/k")) == POLICY_ALLOWS);
	CHECK(policy_ask(p, STR("s3:PutObject"), STR("arn:aws:s3:::b/k")) == POLICY_ALLOWS);
	CHECK(policy_ask(p, STR("S3:getobject"), STR("arn:aws:s3:::b/")) == POLICY_ALLOWS);
	CHECK(policy_ask(p, STR("s3:DeleteObject"), STR("arn:aws:s3:::b/k")) == POLICY_SILENT);
	CHECK(policy_ask(p, STR("s3:GetObject"), STR("arn:aws:s3:::B/k")) == POLICY_SILENT);
	CHECK(policy_ask(p, STR("s3:GetObject"), STR("arn:aws:s3:::b")) == POLICY_SILENT);
	CHECK(policy_ask(p, STR("s3:GetObject"), STR("arn:aws:s3:::b/secret/k")) == POLICY_DENIES);
	CHECK(policy_ask(p, STR("sagemaker:ListTags"), STR("arn:aws:s3:::b/secret/k")) == POLICY_ALLOWS);
	CHECK(policy_ask(p, STR("sagemaker:ListTrainingJobs"), STR("*")) == POLICY_ALLOWS);
	CHECK(policy_ask(p, STR("s3:GetObject"), STR("*")) == POLICY_SILENT);
}

TEST(one_statement_needs_no_list_and_none_allows_nothing)
{
	_cleanup_(policy_freep) struct policy *one = parsed(
	        "{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\"}}");
	_cleanup_(policy_freep) struct policy *none = parsed("{\"Statement\":[]}");

	CHECK(policy_ask(one, STR("a:B"), STR("*")) == POLICY_ALLOWS);
	CHECK(policy_ask(none, STR("a:B"), STR("*")) == POLICY_SILENT);
}

#define WITH(statement) "{\"Statement\":[{\"Effect\":\"Deny\",\"Action\":\"*\",\"Resource\":\"*\"},{" statement "}]}"

TEST(what_is_not_understood_is_refused_by_name)
{
	refused("", "p.json:1:0: '[' or '{' expected near end of file");
	refused("[]", "p.json: the document: is to be an object with a Statement");
	refused("{}", "p.json: Statement: is missing");
	refused("{\"Statement\":[],\"Statement\":[]}", "p.json:1:27: duplicate object key near '\"Statement\"'");
	refused("{\"Statement\":[],\"version\":\"2012-10-17\"}",
	        "p.json: version: is not understood here; there are Version Id Statement");
	refused("{\"Statement\":[],\"Version\":\"2020-01-01\"}",
	        "p.json: Version: is to be \"2012-10-17\" (or \"2008-10-17\")");
	refused("{\"Statement\":[7]}", "p.json: statement 1: Statement: is to be an object");
	refused(WITH("\"Action\":\"*\",\"Resource\":\"*\""), "p.json: statement 2: Effect: is missing");
	refused(WITH("\"Effect\":\"allow\",\"Action\":\"*\",\"Resource\":\"*\""),
	        "p.json: statement 2: Effect: is to be \"Allow\" or \"Deny\"");
	refused(WITH("\"Effect\":\"Allow\",\"NotAction\":\"*\",\"Resource\":\"*\""),
	        "p.json: statement 2: NotAction: is not understood here; there are Sid Effect Action Resource");
	refused(WITH("\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\",\"Condition\":{}"),
	        "p.json: statement 2: Condition: is not understood here; there are Sid Effect Action Resource");
	refused(WITH("\"Effect\":\"Allow\",\"Resource\":\"*\""), "p.json: statement 2: Action: is missing");
	refused(WITH("\"Effect\":\"Allow\",\"Action\":[],\"Resource\":\"*\""),
	        "p.json: statement 2: Action: is an empty list");
	refused(WITH("\"Effect\":\"Allow\",\"Action\":[\"s3:x\",1],\"Resource\":\"*\""),
	        "p.json: statement 2: Action: is to be a text or a list of texts");
	refused(WITH("\"Effect\":\"Allow\",\"Action\":\"GetObject\",\"Resource\":\"*\""),
	        "p.json: statement 2: Action: 'GetObject' is no action; write it as SERVICE:NAME, such as "
	        "s3:GetObject, or * "
	        "for all");
	refused(WITH("\"Effect\":\"Allow\",\"Action\":\"s3:Get Object\",\"Resource\":\"*\""),
	        "p.json: statement 2: Action: 's3:Get Object' has a character that is in no action's name");
	refused(WITH("\"Effect\":\"Allow\",\"Action\":\"s3:*\",\"Resource\":\"bucket/*\""),
	        "p.json: statement 2: Resource: 'bucket/*' is no resource; give an ARN, such as "
	        "arn:aws:s3:::bucket/prefix/*, or * for all");
	refused(WITH("\"Effect\":\"Deny\",\"Action\":\"*\",\"Resource\":\"arn:aws:sagemaker:*:*:training-job/Mine-*\""),
	        "p.json: statement 2: Resource: 'arn:aws:sagemaker:*:*:training-job/Mine-*' names training jobs in "
	        "capital letters; their ARNs are in lower case, so it would never match");
	refused(WITH("\"Effect\":\"Allow\",\"Action\":\"s3:*\",\"Resource\":\"arn:aws:s3:::b/${aws:username}\""),
	        "p.json: statement 2: Resource: 'arn:aws:s3:::b/${aws:username}' has a variable (${...}); policy "
	        "variables "
	        "are not understood here");
	refused(WITH("\"Sid\":1,\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\""),
	        "p.json: statement 2: Sid: is to be a text");
}
