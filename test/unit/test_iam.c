/* SPDX-License-Identifier: Apache-2.0 */
#include "iam/iam.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hash.h"
#include "harness.h"

#define TRAINER "arn:aws:iam::123456789012:role/service-role/trainer"
#define READER "arn:aws:iam::123456789012:role/reader"
#define JOB "0123456789abcdef"

static const struct wall NOW = { 1795250818000 };

/* The jobs of these tests: one lives, until it does not; keys below "theirs/" are another's. */
struct world {
	struct conf conf;
	struct iam *iam;
	bool dead;
};

static bool lives(void *arg, struct str id, char **ret_name)
{
	struct world *w = arg;

	if (w->dead || !str_is(id, JOB))
		return false;
	*ret_name = xstrdup("a-job");
	return true;
}

static bool others(void *arg, const char *job_id, bool reads, struct str bucket, struct str key)
{
	(void)arg;
	CHECK(!job_id || !strcmp(job_id, JOB));
	if (job_id && reads && str_is(key, "theirs/named"))
		return false;
	return str_is(bucket, "b") && str_starts(key, STR("theirs/"));
}

static void put(const char *name, const char *text)
{
	_cleanup_close_ int dir = open(test_tmpdir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	CHECK_OK(file_put(dir, name, str_of(text), 0644, e));
}

static int try_open(struct world *w, const char *conf, struct err *e)
{
	_cleanup_free_ char *path = strf("%s/bloomery.conf", test_tmpdir());
	struct iam_hooks hooks = { .arg = w, .job_lives = lives, .others_output = others };

	put("bloomery.conf", conf);
	conf_init(&w->conf);
	if (conf_read(&w->conf, path, e) < 0 || iam_open(&w->conf, test_tmpdir(), &w->iam, e) < 0)
		return -1;
	iam_set_hooks(w->iam, &hooks);
	return 0;
}

static void begin(struct world *w, const char *conf)
{
	*w = (struct world){ 0 };
	CHECK_OK(try_open(w, conf, e));
}

static void end(struct world *w)
{
	iam_close(w->iam);
	conf_fini(&w->conf);
}

static struct iam_session *mint(struct world *w, const char *role, const char *job, int64_t seconds)
{
	struct iam_mint o = { .role = str_of(role),
		              .session = STR("a-job"),
		              .job_id = str_of(job),
		              .host = job ? 2 : 0,
		              .expires = { NOW.ms + seconds * 1000 } };
	struct iam_session *s = NULL;

	CHECK_OK(iam_mint(w->iam, &o, &s, e));
	return s;
}

static enum iam_token known(struct world *w, const char *id, const char *token, int64_t after_s)
{
	struct iam_session *s = NULL;
	enum iam_token t = iam_session_of(w->iam, str_of(id), str_of(token), (struct wall){ NOW.ms + after_s * 1000 },
	                                  &s);

	CHECK((t == IAM_TOKEN_GOOD) == (s != NULL));
	iam_session_unref(s);
	return t;
}

static bool may(struct world *w, const struct iam_session *s, const char *action, const char *resource,
                const char *prefix)
{
	struct iam_wish wish = { str_of(action), str_of(resource), str_of(prefix) };
	_cleanup_buf_ struct buf why = { 0 };
	bool yes = iam_may(w->iam, s, &wish, &why);

	CHECK(yes == !why.n);
	return yes;
}

TEST(a_session_is_known_again)
{
	struct world w;
	struct iam_session *s, *same = NULL;

	begin(&w, "");
	s = mint(&w, TRAINER, JOB, 60);
	CHECK(!strncmp(s->id, "ASIA", 4) && strlen(s->id) == 20 && strlen(s->secret) == 40);
	CHECK_INT(iam_session_of(w.iam, str_of(s->id), str_of(s->token), NOW, &same), IAM_TOKEN_GOOD);
	CHECK_STR(same->secret, s->secret);
	CHECK_STR(same->role, TRAINER);
	CHECK_STR(same->arn, "arn:aws:sts::123456789012:assumed-role/trainer/a-job");
	CHECK_STR(same->job_id, JOB);
	CHECK_STR(same->job_name, "a-job");
	CHECK_INT(same->host, 2);
	CHECK_INT(same->expires.ms, s->expires.ms);
	CHECK(iam_session_ref(same) == same);
	iam_session_unref(same);
	iam_session_unref(same);
	iam_session_unref(s);
	end(&w);
}

TEST(sessions_differ_and_a_key_file_makes_them)
{
	struct world w;
	struct iam_session *a, *b;
	_cleanup_free_ char *path = strf("%s/session-key", test_tmpdir());
	struct stat st;

	begin(&w, "");
	a = mint(&w, TRAINER, JOB, 60);
	b = mint(&w, TRAINER, JOB, 60);
	CHECK(strcmp(a->id, b->id) && strcmp(a->secret, b->secret) && strcmp(a->token, b->token));
	CHECK_INT(known(&w, a->id, b->token, 0), IAM_TOKEN_FOREIGN);
	CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
	CHECK(chmod(path, 0644) == 0);
	end(&w);
	begin(&w, ""); /* the same key */
	CHECK_INT(known(&w, a->id, a->token, 0), IAM_TOKEN_GOOD);
	CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
	end(&w);
	CHECK(unlink(path) == 0);
	begin(&w, "");
	CHECK_INT(known(&w, a->id, a->token, 0), IAM_TOKEN_FOREIGN);
	iam_session_unref(a);
	iam_session_unref(b);
	end(&w);
}

TEST(a_session_ends)
{
	struct world w;
	struct iam_session *s, *free_one;

	begin(&w, "");
	s = mint(&w, TRAINER, JOB, 60);
	free_one = mint(&w, TRAINER, NULL, 60);
	CHECK_INT(known(&w, s->id, s->token, 59), IAM_TOKEN_GOOD);
	CHECK_INT(known(&w, s->id, s->token, 60), IAM_TOKEN_OVER);
	w.dead = true;
	CHECK_INT(known(&w, s->id, s->token, 0), IAM_TOKEN_OVER);
	CHECK_INT(known(&w, free_one->id, free_one->token, 0), IAM_TOKEN_GOOD);
	iam_session_unref(s);
	iam_session_unref(free_one);
	end(&w);
}

/* Every bit of a token counts. */
TEST(a_token_that_was_changed_is_none)
{
	struct world w;
	struct iam_session *s;
	_cleanup_buf_ struct buf raw = { 0 };

	begin(&w, "");
	s = mint(&w, TRAINER, JOB, 60);
	CHECK(buf_unbase64(&raw, str_of(s->token)));
	for (size_t i = 0; i < raw.n; i++) {
		_cleanup_buf_ struct buf token = { 0 };

		raw.p[i] ^= 1;
		buf_base64(&token, raw.p, raw.n);
		raw.p[i] ^= 1;
		if (known(&w, s->id, token.p, 0) != IAM_TOKEN_FOREIGN)
			test_failed(__FILE__, __LINE__, "byte %zu", i);
	}
	for (size_t i = 0; i < raw.n; i += 7) {
		_cleanup_buf_ struct buf token = { 0 };

		buf_base64(&token, raw.p, i);
		CHECK_INT(known(&w, s->id, token.p ? token.p : "", 0), IAM_TOKEN_FOREIGN);
	}
	CHECK_INT(known(&w, s->id, "", 0), IAM_TOKEN_FOREIGN);
	CHECK_INT(known(&w, "ASIA", s->token, 0), IAM_TOKEN_FOREIGN);
	CHECK_INT(known(&w, "", s->token, 0), IAM_TOKEN_FOREIGN);
	iam_session_unref(s);
	end(&w);
}

TEST(what_can_be_in_no_token_is_not_minted)
{
	static const char *const bad[] = { "", "a\nb", "a b", "\xc3\xa4" };
	struct world w;
	struct iam_session *s = NULL;

	begin(&w, "");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct iam_mint o = { .role = STR(TRAINER), .session = str_of(bad[i]), .expires = NOW };

		CHECK(iam_mint(w.iam, &o, &s, NULL) < 0);
		o.session = STR("fine");
		o.role = str_of(bad[i]);
		CHECK(iam_mint(w.iam, &o, &s, NULL) < 0);
	}
	end(&w);
}

TEST(the_built_in_default)
{
	struct world w;
	struct iam_session *s;

	put("reader.json", "{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"s3:Get*\",\"Resource\":\"*\"}}");
	begin(&w, "role." READER " = reader.json\n");
	s = mint(&w, TRAINER, JOB, 60);
	CHECK(may(&w, NULL, "s3:GetObject", "arn:aws:s3:::b/theirs/x", NULL)); /* the server's own key */
	CHECK(may(&w, s, "s3:GetObject", "arn:aws:s3:::b/mine", NULL));
	CHECK(may(&w, s, "s3:GetObject", "arn:aws:s3:::c/theirs/x", NULL));
	CHECK(!may(&w, s, "s3:GetObject", "arn:aws:s3:::b/theirs/x", NULL));
	CHECK(!may(&w, s, "s3:ListBucket", "arn:aws:s3:::b", "theirs/"));
	CHECK(may(&w, s, "s3:ListBucket", "arn:aws:s3:::b", ""));
	CHECK(may(&w, s, "s3:GetObject", "arn:aws:s3:::b/theirs/named", NULL));
	CHECK(!may(&w, s, "s3:PutObject", "arn:aws:s3:::b/theirs/named", NULL));
	CHECK(may(&w, s, "sagemaker:CreateTrainingJob", "arn:aws:sagemaker:us-east-1:123456789012:training-job/x",
	          NULL));
	CHECK(!may(&w, s, "sagemaker:DeleteTrainingJob", "arn:aws:sagemaker:us-east-1:123456789012:training-job/x",
	           NULL));
	CHECK(may(&w, s, "iam:PassRole", TRAINER, NULL));
	CHECK(!may(&w, s, "iam:PassRole", READER, NULL));
	CHECK(!may(&w, s, "sts:AssumeRole", READER, NULL));
	CHECK_INT(iam_ask_role(w.iam, STR(TRAINER), STR("s3:PutObject"), STR("arn:aws:s3:::b/theirs/x")),
	          POLICY_ALLOWS);
	CHECK(!iam_has_policy(w.iam, STR(TRAINER)) && iam_has_policy(w.iam, STR(READER)));
	iam_session_unref(s);
	s = mint(&w, READER, JOB, 60);
	CHECK(may(&w, s, "s3:GetObject", "arn:aws:s3:::b/theirs/x", NULL)); /* its policy says so */
	CHECK(!may(&w, s, "s3:PutObject", "arn:aws:s3:::b/mine", NULL));
	CHECK(!may(&w, s, "iam:PassRole", TRAINER, NULL));
	iam_session_unref(s);
	end(&w);
}

TEST(strict_roles_and_a_default_of_ones_own)
{
	struct world w;
	struct iam_session *s;

	put("reader.json", "{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"s3:Get*\",\"Resource\":\"*\"}}");
	begin(&w, "default_role_policy = reader.json\n");
	s = mint(&w, TRAINER, JOB, 60);
	CHECK(may(&w, s, "s3:GetObject", "arn:aws:s3:::b/theirs/x", NULL));
	CHECK(!may(&w, s, "s3:PutObject", "arn:aws:s3:::b/mine", NULL));
	end(&w);
	begin(&w, "roles = strict\nrole." READER " = reader.json\n");
	CHECK(iam_knows_role(w.iam, STR(READER)) && !iam_knows_role(w.iam, STR(TRAINER)));
	CHECK_INT(iam_ask_role(w.iam, STR(TRAINER), STR("s3:GetObject"), STR("*")), POLICY_SILENT);
	CHECK_INT(known(&w, s->id, s->token, 0), IAM_TOKEN_FOREIGN);
	iam_session_unref(s);
	end(&w);
}

TEST(sentences_are_the_services)
{
	struct iam_wish s3 = { STR("s3:GetObject"), STR("arn:aws:s3:::b/k"), { 0 } };
	struct iam_wish sm = { STR("sagemaker:ListTrainingJobs"), STR("*"), { 0 } };
	_cleanup_buf_ struct buf a = { 0 }, b = { 0 };

	iam_say_denied("arn:aws:sts::1:assumed-role/r/s", &s3, POLICY_DENIES, &a);
	CHECK_STR(a.p, "User: arn:aws:sts::1:assumed-role/r/s is not authorized to perform: s3:GetObject on resource: "
	               "\"arn:aws:s3:::b/k\" with an explicit deny in an identity-based policy");
	iam_say_denied("arn:aws:sts::1:assumed-role/r/s", &sm, POLICY_SILENT, &b);
	CHECK_STR(b.p,
	          "User: arn:aws:sts::1:assumed-role/r/s is not authorized to perform: sagemaker:ListTrainingJobs on "
	          "resource: * because no identity-based policy allows the sagemaker:ListTrainingJobs action");
}

TEST(tokens_of_hosts)
{
	struct world w;
	_cleanup_buf_ struct buf host = { 0 }, inside = { 0 }, second = { 0 };
	char *id = NULL, *name = NULL;
	unsigned n = 0;

	begin(&w, "");
	iam_host_token(w.iam, IAM_FOR_HOST, JOB, 1, &host);
	iam_host_token(w.iam, IAM_FOR_CONTAINER, JOB, 1, &inside);
	iam_host_token(w.iam, IAM_FOR_HOST, JOB, 2, &second);
	CHECK(strcmp(host.p, inside.p) && strcmp(host.p, second.p));
	CHECK(iam_host_of(w.iam, IAM_FOR_HOST, buf_view(&second), &id, &name, &n));
	CHECK_STR(id, JOB);
	CHECK_STR(name, "a-job");
	CHECK_INT(n, 2);
	CHECK(!iam_host_of(w.iam, IAM_FOR_CONTAINER, buf_view(&host), &id, &name, &n));
	CHECK(!iam_host_of(w.iam, IAM_FOR_HOST, buf_view(&inside), &id, &name, &n));
	for (size_t i = 0; i < host.n; i++) {
		host.p[i] ^= 1;
		if (iam_host_of(w.iam, IAM_FOR_HOST, buf_view(&host), &id, &name, &n))
			test_failed(__FILE__, __LINE__, "byte %zu", i);
		host.p[i] ^= 1;
	}
	w.dead = true;
	CHECK(!iam_host_of(w.iam, IAM_FOR_HOST, buf_view(&host), &id, &name, &n));
	free(id);
	free(name);
	end(&w);
}

static void refused(const char *conf, const char *words)
{
	struct world w = { 0 };
	struct err e = { 0 };
	char text[8192];

	if (try_open(&w, conf, &e) == 0)
		test_failed(__FILE__, __LINE__, "taken: %s", conf);
	else if (!strstr(err_text(&e, text, sizeof(text)), words))
		test_failed(__FILE__, __LINE__, "'%s' does not say '%s'", text, words);
	end(&w);
}

TEST(bad_settings_are_named)
{
	_cleanup_free_ char *key = strf("%s/session-key", test_tmpdir()),
	                    *line = strf("%s/bloomery.conf:2: role." READER, test_tmpdir());

	put("bad.json", "{\"Statement\":{\"Effect\":\"Maybe\",\"Action\":\"*\",\"Resource\":\"*\"}}");
	refused("# first\nrole." READER " = none.json\n", line);
	refused("role." READER " = none.json\n", "none.json");
	refused("role." READER " = bad.json\n", "statement 1: Effect");
	refused("default_role_policy = bad.json\n", "bloomery.conf:1: default_role_policy");
	refused("role.reader = bad.json\n", "'reader' is not the ARN of a role");
	refused("role.arn:aws:iam::123:role/reader = bad.json\n", "is not the ARN of a role");
	refused("role.arn:aws:iam::123456789012:user/reader = bad.json\n", "is not the ARN of a role");
	refused("role. = bad.json\n", "is not the ARN of a role");
	refused("role." READER " =\n", "name the file of its policy");
	refused("role." READER " = a\nrole." READER " = b\n", "is there twice");
	refused("roles = closed\n", "roles is open or strict");
	put("session-key", "not a key\n");
	refused("", "64 hex digits");
	CHECK(unlink(key) == 0 && symlink("/etc/passwd", key) == 0);
	refused("", "session-key");
}
