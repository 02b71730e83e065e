/* bloomery-image as other programs see it: what it prints where, and how it exits.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "oci/command.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "harness.h"
#include "oci/import.h"

struct said {
	int status;
	struct buf out, err;
};

static void said_fini(struct said *s)
{
	buf_fini(&s->out);
	buf_fini(&s->err);
}

/* Runs the command line in a child, the image store being in the test's directory. */
static struct said run(const char *const *words)
{
	_cleanup_free_ char *images = strf("%s/data/images", test_tmpdir()), *out = strf("%s/out", test_tmpdir()),
	                    *err = strf("%s/err", test_tmpdir());
	const char *argv[32] = { "bloomery-image", "--images", images };
	struct said s = { 0 };
	int n = 3, status = 0;
	pid_t pid;

	while (*words)
		argv[n++] = *words++;
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		if (!freopen(out, "w", stdout) || !freopen(err, "w", stderr))
			_exit(99);
		exit(image_command(n, (char **)argv));
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	s.status = WEXITSTATUS(status);
	buf_init(&s.out);
	buf_init(&s.err);
	CHECK_OK(file_read(out, 1 << 20, &s.out, e));
	CHECK_OK(file_read(err, 1 << 20, &s.err, e));
	return s;
}

#define RUN(...) run((const char *const[]){ __VA_ARGS__, NULL })

static char *made_root(const char *name, const char *content)
{
	char *dir = strf("%s/%s", test_tmpdir(), name);
	_cleanup_free_ char *train = strf("%s/train", dir);

	CHECK_OK(mkdir_all(AT_FDCWD, dir, 0755, e));
	CHECK_OK(file_put(AT_FDCWD, train, str_of(content), 0755, e));
	return dir;
}

static bool cannot_run(void)
{
	if (geteuid() == 0)
		return false;
	test_skip("importing images needs root");
	return true;
}

TEST(wrong_usage_is_status_2_and_says_how)
{
	static const char *const wrong[][4] = {
		{ "import", "a" },
		{ "import" },
		{ "list", "x" },
		{ "fly" },
		{ "--fly" },
		{ "remove" },
		{ "pull" },
		{ "import", "--max-bytes", "0", "a" },
		{ "--env", "no-equals-sign", "list" },
		{ "--workdir", "relative", "list" },
	};

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct said s = run((const char *const[]){ wrong[i][0], wrong[i][1], wrong[i][2], wrong[i][3], NULL });

		CHECK_INT(s.status, IMAGE_EXIT_USAGE);
		CHECK(strstr(s.err.p, "usage: bloomery-image") && s.out.n == 0);
		said_fini(&s);
	}
}

TEST(import_list_and_remove_in_a_pipe)
{
	_cleanup_free_ char *root = NULL;
	struct said s;

	if (cannot_run())
		return;
	root = made_root("root", "#!/bin/sh\n");
	s = RUN("import", "my-algo:v1", root);
	CHECK_INT(s.status, 0);
	CHECK(str_starts(buf_view(&s.out), STR("my-algo:v1 sha256:")) && str_ends(buf_view(&s.out), STR("\n")));
	CHECK_INT(s.err.n, 0); /* no progress line where nobody looks */
	said_fini(&s);
	s = RUN("list");
	CHECK(s.status == 0 && str_starts(buf_view(&s.out), STR("my-algo:v1 ")));
	said_fini(&s);
	s = RUN("remove", "my-algo:v1");
	CHECK(s.status == 0 && s.out.n == 0);
	said_fini(&s);
	s = RUN("remove", "my-algo:v1");
	CHECK_INT(s.status, IMAGE_EXIT_NOT_FOUND);
	CHECK(str_starts(buf_view(&s.err), STR("bloomery-image: there is no local image 'my-algo:v1'")));
	said_fini(&s);
}

TEST(json_is_one_document)
{
	_cleanup_free_ char *root = NULL;
	struct said s;
	json_t *j;

	if (cannot_run())
		return;
	root = made_root("root", "#!/bin/sh\n");
	s = RUN("--json", "import", "my-algo", "--entrypoint", "/train", "--env", "A=b", root);
	j = json_loadb(s.out.p, s.out.n, 0, NULL);
	CHECK(s.status == 0 && j);
	CHECK_STR(json_string_value(json_object_get(j, "reference")), "my-algo:latest");
	CHECK(json_is_false(json_object_get(j, "reused")));
	json_decref(j);
	said_fini(&s);
	s = RUN("list", "--json");
	j = json_loadb(s.out.p, s.out.n, 0, NULL);
	CHECK_INT(json_array_size(j), 1);
	json_decref(j);
	said_fini(&s);
}

TEST(failures_are_one_sentence_and_a_status)
{
	_cleanup_free_ char *root = NULL;
	struct said s;

	if (cannot_run())
		return;
	root = made_root("root", "#!/bin/sh\n");
	s = RUN("import", "My-Algo", root);
	CHECK_INT(s.status, IMAGE_EXIT_INVALID);
	CHECK(strstr(s.err.p, "lower-case") && strchr(s.err.p, '\n') == s.err.p + s.err.n - 1);
	said_fini(&s);
	s = RUN("import", "a", "/there/is/no/such/file");
	CHECK_INT(s.status, IMAGE_EXIT_NOT_FOUND);
	CHECK(strchr(s.err.p, '\n') == s.err.p + s.err.n - 1);
	said_fini(&s);
	s = RUN("import", "a", "--max-bytes", "3", root);
	CHECK_INT(s.status, IMAGE_EXIT_INVALID);
	CHECK(strstr(s.err.p, "larger than 3 bytes") != NULL || strstr(s.err.p, "too large") != NULL);
	said_fini(&s);
	s = RUN("import", "a@sha256:0000000000000000000000000000000000000000000000000000000000000000", root);
	CHECK_INT(s.status, IMAGE_EXIT_INVALID);
	said_fini(&s);
}

TEST(pull_reads_the_configuration_beside_the_store)
{
	_cleanup_free_ char *data = strf("%s/data", test_tmpdir()),
	                    *conf = strf("%s/data/bloomery.conf", test_tmpdir());
	struct said s;

	if (cannot_run())
		return;
	CHECK_OK(mkdir_all(AT_FDCWD, data, 0755, e));
	CHECK_OK(file_put(AT_FDCWD, conf, STR("nonsense = 1\n"), 0600, e));
	s = RUN("pull", "127.0.0.1:1/a");
	CHECK(s.status != 0 && strstr(s.err.p, "bloomery.conf"));
	said_fini(&s);
	CHECK_OK(file_put(AT_FDCWD, conf, STR("registry_insecure = 127.0.0.1:1\n"), 0600, e));
	s = RUN("pull", "127.0.0.1:1/a");
	if (access("/usr/bin/skopeo", X_OK) == 0) {
		CHECK_INT(s.status, IMAGE_EXIT_PULL);
		CHECK(str_starts(buf_view(&s.err), STR("bloomery-image: Cannot pull algorithm container.")));
		CHECK(strstr(s.err.p, "refused") != NULL);
	}
	said_fini(&s);
}
