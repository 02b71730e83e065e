/* Names of images, and the store as readers and removers see it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "oci/image.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "harness.h"
#include "oci/reference.h"
#include "oci/image_store.h"

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define ECR "123456789012.dkr.ecr.us-east-1.amazonaws.com/"

static void canonical(const char *text, const char *want)
{
	_cleanup_free_ char *got = NULL;
	struct err why = { 0 };

	if (reference_canonical(str_of(text), &got, &why) < 0)
		got = strf("refused: %s", why.frame[0]);
	CHECK_STR(got, want);
}

TEST(references_have_one_form)
{
	canonical("my-algo", "my-algo:latest");
	canonical("my-algo:v1.2_x", "my-algo:v1.2_x");
	canonical("a/b__c.d--e:T", "a/b__c.d--e:T");
	canonical("localhost/x", "localhost/x:latest");
	canonical("localhost:5000/x:1", "localhost:5000/x:1");
	canonical("[::1]:5000/x", "[::1]:5000/x:latest");
	canonical(ECR "my-algo", ECR "my-algo:latest");
	canonical("a@sha256:" HEX_A, "a@sha256:" HEX_A);
	canonical("a:1@sha256:" HEX_A, "a@sha256:" HEX_A);
}

TEST(names_that_could_do_harm_are_refused)
{
	static const char *const bad[] = {
		"",
		"..",
		"../x",
		"a/../b",
		"/etc/passwd",
		"a//b",
		"a/",
		"-rf",
		"--help",
		"a b",
		"a\nb",
		"A",
		"a:",
		":tag",
		"a:-x",
		"a:b:c",
		"a@sha256:12",
		("a@md5:" HEX_A),
		"a@",
		"%2e%2e",
		"a%2fb",
		".hidden",
		"a/.b",
		"a_",
		"a___b",
		"a..b",
		"host.com:0/a",
		"host.com:/a",
		"host.com:99999/a",
		"-host.com/a",
		"ho st.com/a",
		"h..com/a",
		"[::1/a",
		"[x]:1/a",
		"a;b",
		"$(id)",
		"a\xff",
		"\xc3\xa9",
	};
	_cleanup_free_ char *too_long = NULL;
	struct buf b = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct reference r;
		struct err why = { 0 };

		if (reference_parse(str_of(bad[i]), &r, &why) == 0)
			test_failed(__FILE__, __LINE__, "'%s' passed", bad[i]);
		CHECK(why.kind == ERR_INVALID || why.kind == ERR_NONE);
	}
	CHECK(reference_parse((struct str){ "a\0b", 3 }, &(struct reference){ 0 }, NULL) < 0);
	for (int i = 0; i < 300; i++)
		buf_c(&b, 'a');
	too_long = buf_take(&b);
	CHECK(reference_canonical(str_of(too_long), &too_long, NULL) < 0);
}

static bool collect(void *arg, struct str reference)
{
	buf_f(arg, PRIstr " ", ARGstr(reference));
	return false;
}

static void each(const char *training_image, const char *want)
{
	_cleanup_buf_ struct buf b = { 0 };

	buf_init(&b);
	image_reference_each(str_of(training_image), collect, &b);
	CHECK_STR(b.p, want);
}

TEST(training_image_means_local_names)
{
	each("my-algo", "my-algo:latest ");
	each("my-algo:2", "my-algo:2 ");
	each(ECR "my-algo:2", ECR "my-algo:2 my-algo:2 ");
	each("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/a/b",
	     "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/a/b:latest a/b:latest ");
	each("docker.io/library/python:3", "docker.io/library/python:3 library/python:3 python:3 ");
	each("evil.com/my-algo", "evil.com/my-algo:latest ");
	each("12345678901x.dkr.ecr.us-east-1.amazonaws.com/a",
	     "12345678901x.dkr.ecr.us-east-1.amazonaws.com/a:latest ");
	each("123456789012.dkr.ecr.us-east-1.amazonaws.com.evil.com/a",
	     "123456789012.dkr.ecr.us-east-1.amazonaws.com.evil.com/a:latest ");
	each("../x", "");
	CHECK(image_reference_pullable(STR("ghcr.io/a/b")));
	CHECK(!image_reference_pullable(STR("my-algo")) && !image_reference_pullable(STR("a/b:1")));
}

/* An image as an import leaves it, without unpacking one. */
static void make(int store, const char *hex, const char *reference, const char *user)
{
	_cleanup_free_ char *work = NULL, *made = NULL, *json = NULL;
	_cleanup_close_ int dir = image_store_work_new(store, &work, NULL);
	bool reused;

	json = strf("{\"size_bytes\": 5, \"created\": \"2026-01-02T03:04:05.000Z\", \"architecture\": \"amd64\","
	            " \"Entrypoint\": [\"/e\", \"x\"], \"Cmd\": null, \"Env\": [\"A=b\"], \"User\": \"%s\"}",
	            user);
	CHECK_OK(mkdir_all(dir, "image/rootfs", 0755, e));
	CHECK_OK(file_put(dir, "image/image.json", str_of(json), 0644, e));
	made = strf("%s/image", work);
	CHECK_OK(image_store_publish(store, made, hex, reference, &reused, e));
	CHECK_OK(remove_tree(store, work, e));
}

static char *images(void)
{
	return strf("%s/images", test_tmpdir());
}

static bool is_there(const char *hex)
{
	_cleanup_free_ char *path = strf("%s/images/sha256-%s", test_tmpdir(), hex);

	return access(path, F_OK) == 0;
}

TEST(find_reads_what_was_published)
{
	_cleanup_free_ char *dir = images();
	_cleanup_close_ int store = image_store_open(dir, NULL);
	struct image i = { 0 };
	struct err why = { 0 };

	CHECK(image_find(dir, STR("my-algo"), &i, &why) < 0 && why.kind == ERR_NOT_FOUND);
	make(store, HEX_A, "my-algo:latest", "sage");
	CHECK_OK(image_find(dir, STR("my-algo"), &i, e));
	CHECK_STR(i.reference, "my-algo:latest");
	CHECK_STR(i.digest, "sha256:" HEX_A);
	CHECK_STR(i.entrypoint[0], "/e");
	CHECK_STR(i.entrypoint[1], "x");
	CHECK(!i.entrypoint[2] && !i.cmd[0]);
	CHECK_STR(i.env[0], "A=b");
	CHECK_STR(i.user, "sage");
	CHECK_STR(i.working_dir, "/");
	CHECK_STR(i.architecture, "amd64");
	CHECK_INT(i.size_bytes, 5);
	CHECK(access(i.rootfs, F_OK) == 0 && i.rootfs[0] == '/');
	image_fini(&i);
	CHECK_OK(image_find(dir, STR(ECR "my-algo:latest"), &i, e));
	CHECK_STR(i.reference, "my-algo:latest");
	image_fini(&i);
	CHECK_OK(image_find(dir, STR("whatever@sha256:" HEX_A), &i, e));
	image_fini(&i);
	CHECK(image_find(dir, STR("my-algo:2"), &i, &why) < 0 && why.kind == ERR_NOT_FOUND);
	CHECK(image_find(dir, STR("../../etc"), &i, &why) < 0 && why.kind == ERR_NOT_FOUND);
}

/* The data directory around it is another user's, who may rename what is in it. */
TEST(a_store_that_is_not_ours_alone_is_not_used)
{
	_cleanup_free_ char *dir = images(), *away = strf("%s/away", test_tmpdir());
	_cleanup_close_ int store = image_store_open(dir, NULL);
	struct image i = { 0 };
	struct err why = { 0 };

	make(store, HEX_A, "a:latest", "sage");
	CHECK(fchmod(store, 0777) == 0);
	CHECK(image_find(dir, STR("a"), &i, &why) < 0 && why.kind == ERR_DENIED);
	CHECK(image_store_open(dir, NULL) < 0);
	CHECK(fchmod(store, 0755) == 0);
	CHECK_OK(image_find(dir, STR("a"), &i, e));
	image_fini(&i);
	if (geteuid() == 0) {
		CHECK(fchown(store, 64000, 64000) == 0);
		CHECK(image_find(dir, STR("a"), &i, &why) < 0 && why.kind == ERR_DENIED);
		CHECK(image_store_open(dir, NULL) < 0);
		CHECK(fchown(store, 0, 0) == 0);
	}
	CHECK(rename(dir, away) == 0 && symlink(away, dir) == 0);
	CHECK(image_find(dir, STR("a"), &i, NULL) < 0);
	CHECK(image_store_open(dir, NULL) < 0);
}

TEST(a_bare_name_finds_the_one_of_a_registry_unless_there_are_two)
{
	_cleanup_free_ char *dir = images();
	_cleanup_close_ int store = image_store_open(dir, NULL);
	struct image i = { 0 };

	make(store, HEX_A, ECR "my-algo:1", "");
	CHECK_OK(image_find(dir, STR("my-algo:1"), &i, e));
	CHECK_STR(i.reference, ECR "my-algo:1");
	image_fini(&i);
	make(store, HEX_A, "123456789012.dkr.ecr.eu-west-1.amazonaws.com/my-algo:1", "");
	CHECK_OK(image_find(dir, STR("my-algo:1"), &i, e)); /* the same image twice is no question */
	image_fini(&i);
	make(store, HEX_B, "210987654321.dkr.ecr.us-east-1.amazonaws.com/my-algo:1", "");
	CHECK(image_find(dir, STR("my-algo:1"), &i, NULL) < 0);
}

TEST(a_ref_that_points_elsewhere_is_not_followed)
{
	_cleanup_free_ char *dir = images();
	_cleanup_close_ int store = image_store_open(dir, NULL);
	struct image i = { 0 };

	CHECK(symlinkat("/etc", store, "refs/a%3Alatest") == 0);
	CHECK(symlinkat("../../outside", store, "refs/b%3Alatest") == 0);
	CHECK(symlinkat("../sha256-" HEX_A "/../../x", store, "refs/c%3Alatest") == 0);
	CHECK_OK(file_put(store, "refs/d%3Alatest", STR("x"), 0644, e));
	CHECK(image_find(dir, STR("a"), &i, NULL) < 0);
	CHECK(image_find(dir, STR("b"), &i, NULL) < 0);
	CHECK(image_find(dir, STR("c"), &i, NULL) < 0);
	CHECK(image_find(dir, STR("d"), &i, NULL) < 0);
}

TEST(damaged_image_json_is_an_error_not_a_crash)
{
	_cleanup_free_ char *dir = images();
	_cleanup_close_ int store = image_store_open(dir, NULL);
	static const char *const bad[] = { "", "[]", "{\"Env\": 5}", "{\"Env\": [1, null], \"User\": []}",
		                           "{\"a\":1,\"a\":2}" };
	struct image i = { 0 };

	make(store, HEX_A, "a:latest", "");
	for (size_t k = 0; k < ARRAY_LEN(bad); k++) {
		CHECK_OK(file_put(store, "sha256-" HEX_A "/image.json", str_of(bad[k]), 0644, e));
		if (image_find(dir, STR("a"), &i, NULL) == 0) {
			CHECK(i.env && !i.env[0] && !*i.user);
			image_fini(&i);
		}
	}
}

TEST(list_is_sorted_and_decoded)
{
	_cleanup_free_ char *dir = images();
	_cleanup_close_ int store = image_store_open(dir, NULL);
	json_t *list = NULL;

	CHECK_OK(image_list("/there/is/no/such/directory", &list, e));
	CHECK_INT(json_array_size(list), 0);
	json_decref(list);
	make(store, HEX_B, "zebra:1", "");
	make(store, HEX_A, ECR "a/b:1", "");
	CHECK_OK(image_list(dir, &list, e));
	CHECK_INT(json_array_size(list), 2);
	CHECK_STR(json_string_value(json_object_get(json_array_get(list, 0), "reference")), ECR "a/b:1");
	CHECK_STR(json_string_value(json_object_get(json_array_get(list, 1), "digest")), "sha256:" HEX_B);
	CHECK_INT(json_integer_value(json_object_get(json_array_get(list, 1), "size_bytes")), 5);
	json_decref(list);
}

TEST(remove_takes_the_image_with_its_last_name)
{
	_cleanup_free_ char *dir = images();
	_cleanup_close_ int store = image_store_open(dir, NULL);
	struct err why = { 0 };

	make(store, HEX_A, "a:latest", "");
	make(store, HEX_A, "b:latest", "");
	CHECK_OK(image_remove(dir, STR("a"), e));
	CHECK(is_there(HEX_A));
	CHECK_OK(image_remove(dir, STR("b:latest"), e));
	CHECK(!is_there(HEX_A));
	CHECK(image_remove(dir, STR("b"), &why) < 0 && why.kind == ERR_NOT_FOUND);
	CHECK(image_remove(dir, STR("../b"), &why) < 0 && why.kind == ERR_INVALID);
}

TEST(a_held_image_stays)
{
	_cleanup_free_ char *dir = images();
	_cleanup_close_ int store = image_store_open(dir, NULL);
	struct image i = { 0 };
	struct err why = { 0 };
	int held;

	make(store, HEX_A, "a:latest", "");
	CHECK_OK(image_find(dir, STR("a"), &i, e));
	held = image_hold(&i, NULL);
	CHECK(held >= 0);
	CHECK(image_remove(dir, STR("a"), &why) < 0 && why.kind == ERR_IN_USE);
	CHECK(is_there(HEX_A));
	make(store, HEX_B, "a:latest", ""); /* replaced while a job runs: the job keeps its files */
	CHECK(is_there(HEX_A) && is_there(HEX_B));
	close(held);
	CHECK_OK(image_remove(dir, STR("a"), e)); /* and this finds what has no name any more */
	CHECK(!is_there(HEX_A) && !is_there(HEX_B));
	CHECK(image_hold(&i, &why) < 0 && why.kind == ERR_NOT_FOUND);
	image_fini(&i);
}

TEST(what_a_dead_import_left_is_swept_and_a_living_one_is_not)
{
	_cleanup_free_ char *dir = images(), *dead = NULL, *alive = NULL, *next = NULL;
	_cleanup_close_ int store = image_store_open(dir, NULL);
	_cleanup_close_ int living = image_store_work_new(store, &alive, NULL);
	_cleanup_close_ int third = -EBADF;
	int dying = image_store_work_new(store, &dead, NULL);

	CHECK(living >= 0);
	CHECK_OK(mkdir_all(dying, "image/rootfs/a/b/c", 0755, e));
	close(dying);
	third = image_store_work_new(store, &next, NULL);
	CHECK(third >= 0);
	CHECK(faccessat(store, dead, F_OK, 0) < 0);
	CHECK(faccessat(store, alive, F_OK, 0) == 0);
	CHECK_OK(remove_tree(store, "tmp", e));
}

TEST(many_processes_publish_and_remove_at_once)
{
	_cleanup_free_ char *dir = images();
	_cleanup_close_ int store = image_store_open(dir, NULL);
	json_t *list = NULL;

	for (int p = 0; p < 6; p++) {
		if (fork() > 0)
			continue;
		for (int round = 0; round < 40; round++) {
			_cleanup_free_ char *name = strf("n%d:latest", (p + round) % 4);
			struct image i = { 0 };

			make(store, round % 2 ? HEX_A : HEX_B, name, "");
			if (image_find(dir, str_of(name), &i, NULL) == 0) {
				int held = image_hold(&i, NULL);

				if (held >= 0 && access(i.rootfs, F_OK) < 0)
					_exit(1); /* held, and yet gone */
				if (held >= 0)
					close(held);
				image_fini(&i);
			}
			if (image_remove(dir, str_of(name), NULL) < 0)
				(void)0; /* another was faster, or it is held */
		}
		_exit(0);
	}
	for (int p = 0; p < 6; p++) {
		int status = -1;

		CHECK(wait(&status) > 0);
		CHECK_INT(status, 0);
	}
	make(store, HEX_A, "last:latest", "");
	CHECK_OK(image_list(dir, &list, e));
	CHECK(json_array_size(list) >= 1);
	json_decref(list);
	CHECK(is_there(HEX_A));
}
