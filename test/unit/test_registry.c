/* Registries: who we are to which, and where an image is asked for. SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "harness.h"
#include "oci/registry.h"

#define DOCKER                                                                     \
	"{\"auths\": {\"https://index.docker.io/v1/\": {\"auth\": \"aHViOnB3\"}, " \
	"\"reg.example:5000\": {\"username\": \"u\", \"password\": \"p\"}, "       \
	"\"kept.example\": {}, \"token.example\": {\"identitytoken\": \"tok\"}}, \"credsStore\": \"pass\"}"

static char *auth_of(const char *text, const char *host)
{
	struct buf out = { 0 };

	buf_init(&out);
	CHECK_OK(registry_auth(str_of(text), "F", str_of(host), &out, e));
	return buf_take(&out);
}

static char *refusal(const char *text, const char *host)
{
	struct buf out = { 0 };
	struct err why = { 0 };

	CHECK(registry_auth(str_of(text), "F", str_of(host), &out, &why) < 0);
	CHECK_INT(why.kind, ERR_CLIENT);
	CHECK_INT(out.n, 0);
	buf_fini(&out);
	return xstrdup(why.frame[0]);
}

#define CHECK_AUTH(text, host, want)                              \
	do {                                                      \
		_cleanup_free_ char *auth_ = auth_of(text, host); \
		CHECK_STR(auth_, want);                           \
	} while (0)
#define CHECK_REFUSED(text, host, says)                           \
	do {                                                      \
		_cleanup_free_ char *auth_ = refusal(text, host); \
		CHECK(strstr(auth_, says));                       \
		CHECK(!strstr(auth_, "hunter2"));                 \
	} while (0)

TEST(registry_auth_in_each_form)
{
	CHECK_AUTH("{\"Username\": \"u\", \"Password\": \"p\"}", "h:1", "{\"auths\":{\"h:1\":{\"auth\":\"dTpw\"}}}");
	CHECK_AUTH("{\"Credentials\": {\"Username\": \"u\", \"Password\": \"p:\\u00e4\"}}", "h",
	           "{\"auths\":{\"h\":{\"auth\":\"dTpwOsOk\"}}}");
	CHECK_AUTH("{\"Username\": \"u\", \"Password\": \"p\", \"Registries\": [\"a\", \"H:1\"]}", "h:1",
	           "{\"auths\":{\"h:1\":{\"auth\":\"dTpw\"}}}");
	CHECK_AUTH(DOCKER, "docker.io", "{\"auths\":{\"docker.io\":{\"auth\":\"aHViOnB3\"}}}");
	CHECK_AUTH(DOCKER, "reg.example:5000", "{\"auths\":{\"reg.example:5000\":{\"auth\":\"dTpw\"}}}");
	CHECK_AUTH(DOCKER, "token.example", "{\"auths\":{\"token.example\":{\"identitytoken\":\"tok\"}}}");
}

TEST(registry_auth_is_refused_without_its_content)
{
	CHECK_REFUSED("hunter2", "h", "F: line 1: not a JSON object");
	CHECK_REFUSED("{\n\"Username\": \"u\",\n\"Password\": hunter2}", "h", "F: line 3: not a JSON object");
	CHECK_REFUSED("[\"hunter2\"]", "h", "not a JSON object");
	CHECK_REFUSED("{\"Username\": \"u\"}", "h", "F is to be {\"Username\"");
	CHECK_REFUSED("{\"Username\": \"\", \"Password\": \"hunter2\"}", "h", "both not empty");
	CHECK_REFUSED("{\"Username\": \"a:b\", \"Password\": \"hunter2\"}", "h", "no ':' in the name");
	CHECK_REFUSED("{\"Username\": \"u\", \"Password\": [\"hunter2\"]}", "h", "both not empty");
	CHECK_REFUSED("{\"Username\": \"u\", \"Password\": \"hunter2\", \"Registries\": [\"other\"]}", "h",
	              "F is not for h, which its Registries do not name");
	CHECK_REFUSED("{\"Username\": \"u\", \"Password\": \"hunter2\", \"Registries\": \"h\"}", "h",
	              "is to be a list");
	CHECK_REFUSED(DOCKER, "other.example", "F has no entry for other.example");
	CHECK_REFUSED(DOCKER, "kept.example", "which a credential helper keeps");
}

static void read_conf(const char *text, struct conf *c)
{
	_cleanup_free_ char *path = strf("%s/bloomery.conf", test_tmpdir());

	CHECK_OK(file_put(AT_FDCWD, path, str_of(text), 0600, e));
	conf_init(c);
	CHECK_OK(conf_read(c, path, e));
}

static void write_beside(const char *leaf, const char *text)
{
	_cleanup_free_ char *path = strf("%s/%s", test_tmpdir(), leaf);

	CHECK_OK(file_put(AT_FDCWD, path, str_of(text), 0600, e));
}

static void check_authfile(const struct registry_source *s, const char *want)
{
	_cleanup_free_ char *path = strf("/proc/self/fd/%d", s->auth_fd);
	_cleanup_buf_ struct buf text = { 0 };

	CHECK_OK(file_read(path, 4096, &text, e));
	CHECK_STR(text.p, want);
}

TEST(registry_mirrors_come_first_and_hear_nothing_of_others)
{
	struct registry_sources all = { 0 };
	struct conf c;

	read_conf("registry_mirror.reg.example = https://m.example:5000/hub/  http://[::1]:5001\n"
	          "registry_auth.m.example:5000 = m.json\nregistry_auth.REG.example = r.json\n"
	          "registry_ca.m.example:5000 = /ca.pem\nregistry_insecure = x plain.example\n"
	          "registry_mirror.docker.io = https://m.example:5000\n"
	          "registry_credentials.arn:aws:lambda:us-east-1:000000000000:function:f = job.json\n",
	          &c);
	write_beside("m.json", "{\"Username\": \"m\", \"Password\": \"p\"}");
	write_beside("r.json", "{\"Username\": \"r\", \"Password\": \"p\"}");
	write_beside("job.json", "{\"Username\": \"j\", \"Password\": \"p\"}");
	CHECK_OK(registry_find(&c, "reg.example/team/algo:1", NULL, &all, e));
	CHECK_INT(all.n, 3);
	CHECK_STR(all.v[0].reference, "m.example:5000/hub/team/algo:1");
	CHECK(all.v[0].mirror && !all.v[0].insecure);
	CHECK_STR(all.v[0].ca, "/ca.pem");
	check_authfile(&all.v[0], "{\"auths\":{\"m.example:5000\":{\"auth\":\"bTpw\"}}}");
	CHECK_STR(all.v[1].reference, "[::1]:5001/team/algo:1");
	CHECK(all.v[1].insecure && all.v[1].auth_fd < 0 && !all.v[1].ca);
	CHECK_STR(all.v[2].reference, "reg.example/team/algo:1");
	CHECK(!all.v[2].mirror && !all.v[2].insecure);
	check_authfile(&all.v[2], "{\"auths\":{\"reg.example\":{\"auth\":\"cjpw\"}}}");
	registry_sources_fini(&all);

	/* what the job names is for its registry, and never for a mirror */
	CHECK_OK(registry_find(&c, "reg.example/team/algo:1", "arn:aws:lambda:us-east-1:000000000000:function:f", &all,
	                       e));
	check_authfile(&all.v[0], "{\"auths\":{\"m.example:5000\":{\"auth\":\"bTpw\"}}}");
	CHECK(all.v[1].auth_fd < 0);
	check_authfile(&all.v[2], "{\"auths\":{\"reg.example\":{\"auth\":\"ajpw\"}}}");
	registry_sources_fini(&all);

	CHECK_OK(registry_find(&c, "python:3.11", NULL, &all, e));
	CHECK_STR(all.v[0].reference, "m.example:5000/library/python:3.11");
	CHECK_STR(all.v[1].host, "docker.io");
	registry_sources_fini(&all);
	conf_fini(&c);
}

TEST(registry_without_tls_only_where_it_is_said_or_here)
{
	static const struct {
		const char *reference;
		bool insecure;
	} cases[] = { { "plain.example/a:1", true },     { "tls.example/a:1", false },
		      { "localhost:5000/a:1", true },    { "127.0.0.1:5/a:1", true },
		      { "127.evil.example/a:1", false }, { "127.0.0.2:5/a:1", false },
		      { "localhost.example/a:1", false } };
	struct conf c;

	read_conf("registry_insecure = plain.example\nregistry_ca.127.0.0.2:5 = ca.pem\n", &c);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct registry_sources all = { 0 };

		CHECK_OK(registry_find(&c, cases[i].reference, NULL, &all, e));
		CHECK_INT(all.v[0].insecure, cases[i].insecure);
		registry_sources_fini(&all);
	}
	conf_fini(&c);
}

TEST(registry_files_that_are_not_there)
{
	struct registry_sources all = { 0 };
	struct err why = { 0 };
	struct conf c;

	read_conf("registry_auth.reg.example = gone.json\n", &c);
	CHECK(registry_find(&c, "reg.example/a:1", NULL, &all, &why) < 0 && why.kind == ERR_CLIENT);
	CHECK(strstr(why.frame[0], "registry_auth.reg.example") && strstr(why.frame[0], "gone.json"));
	why = (struct err){ 0 };
	CHECK(registry_find(&c, "other.example/a:1", "arn:aws:lambda:us-east-1:000000000000:function:f", &all, &why) <
	      0);
	CHECK(why.kind == ERR_CLIENT && strstr(why.frame[0], "has no registry_credentials.arn:aws:lambda"));
	CHECK_INT(all.n, 0);
	conf_fini(&c);
}

TEST(registry_settings_that_are_none)
{
	static const char *const bad[] = {
		"registry_auth. = x",
		"registry_auth.a/b = x",
		"registry_auth.-a = x",
		"registry_auth.a =",
		"registry_ca.a = x\nregistry_ca.A = y",
		"registry_mirror.a = ftp://x",
		"registry_mirror.a = https://user:password@x",
		"registry_mirror.a = https://",
		"registry_mirror.a = https://x?y",
		"registry_credentials.name = x",
		"registry_credentials.arn:aws:lambda:us-east-1:0000:function:f = x",
		"registry_credentials.arn:aws:lambda:us-east-1:000000000000:function: = x",
		"registry_nothing.a = x",
	};
	_cleanup_free_ char *path = strf("%s/bloomery.conf", test_tmpdir());

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err why = { 0 };
		struct conf c;

		conf_init(&c);
		CHECK_OK(file_put(AT_FDCWD, path, str_of(bad[i]), 0600, e));
		CHECK(conf_read(&c, path, &why) < 0 && why.kind == ERR_INVALID);
		CHECK(strstr(why.frame[0], "bloomery.conf:"));
		conf_fini(&c);
	}
}
