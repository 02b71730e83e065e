/* The S3 client against our own S3, served in this process, with faults put between the two.
 * SPDX-License-Identifier: Apache-2.0 */
#include "s3/s3.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hash.h"
#include "blob/blob.h"
#include "harness.h"
#include "http/server.h"
#include "jobdir/list.h"
#include "op/api.h"
#include "s3/fetch.h"

/* ---- addresses and paths ---- */

TEST(s3_uri)
{
	struct s3_uri u;
	struct err err = { 0 };

	CHECK_OK(s3_uri_parse(STR("s3://bucket/a/b c"), &u, e));
	CHECK(str_eq(u.bucket, STR("bucket")) && str_eq(u.key, STR("a/b c")));
	CHECK_OK(s3_uri_parse(STR("s3://bucket"), &u, e));
	CHECK(str_eq(u.bucket, STR("bucket")) && u.key.n == 0);
	CHECK(s3_uri_parse(STR("s3:///k"), &u, &err) < 0);
	CHECK_STR(err.frame[0], "'' is not a bucket name");
	CHECK(s3_uri_parse(STR("s3://"), &u, &err) < 0);
	CHECK(s3_uri_parse(STR("http://b/k"), &u, &err) < 0);
	CHECK_STR(err.frame[0], "'http://b/k' does not start with s3://");
}

TEST(s3_paths_of_keys)
{
	static const struct {
		const char *prefix, *key, *rel; /* rel NULL: refused; ends in '/': a directory */
	} cases[] = {
		{ "d/train", "d/train/x.csv", "x.csv" },
		{ "d/train/", "d/train/x.csv", "x.csv" },
		{ "d/train/", "d/train/s/x.csv", "s/x.csv" },
		{ "d/trai", "d/train/x.csv", "train/x.csv" },
		{ "d/train", "d/train2/x", "train2/x" },
		{ "", "x", "x" },
		{ "", "/x", "x" },
		{ "o/model.tar.gz", "o/model.tar.gz", "model.tar.gz" },
		{ "d/", "d/", "/" },
		{ "d/", "d/sub/", "sub/" },
		{ "d", "d/", "/" },
		{ "d/", "d//x", "x" },
		{ "d/", "d///x", NULL },
		{ "d/", "d/a//x", NULL },
		{ "d/", "d/../x", NULL },
		{ "d/", "d/./x", NULL },
		{ "d/", "d/a/..", NULL },
		{ "", "..", NULL },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct str rel = { 0 };
		struct err err = { 0 };
		bool dir = false;
		int rc = s3_rel_path(str_of(cases[i].prefix), str_of(cases[i].key), &rel, &dir, &err);
		_cleanup_free_ char *got = rc < 0 ? xstrdup("(refused)")
		                                  : strf(PRIstr "%s", ARGstr(rel), dir ? "/" : "");

		CHECK_STR(got, cases[i].rel ? cases[i].rel : "(refused)");
		CHECK(rc == 0 || err.kind == ERR_CLIENT);
	}
}

/* ---- a server with faults ---- */

enum fault { NO_FAULT, FAULT_503, FAULT_SHORT, FAULT_404_PLAIN };

static struct {
	struct blob_store *blobs;
	struct http_server *server;
	uint16_t port;
	struct access_key key;
	struct api api;
	atomic_int faults; /* how many requests still fail */
	atomic_int requests;
	_Atomic enum fault fault;
	void (*_Atomic real)(struct http_request *r, const struct err *body_error, struct http_response *out);
} world;

static void answer_503(struct http_request *r, const struct err *body_error, struct http_response *out)
{
	(void)r;
	(void)body_error;
	out->status = world.fault == FAULT_404_PLAIN ? 404 : 503;
	buf_z(&out->body, world.fault == FAULT_404_PLAIN
	                          ? "<html>"
	                          : "<Error><Code>SlowDown</Code><Message>later</Message></Error>");
}

/* Half of what was asked for, as a server does that is cut off. */
static void answer_short(struct http_request *r, const struct err *body_error, struct http_response *out)
{
	world.real(r, body_error, out);
	out->length = (out->length + 1) / 2;
}

static void route(void *arg, struct http_request *r, struct http_route *ret)
{
	atomic_fetch_add(&world.requests, 1);
	api_route(arg, r, ret);
	if (world.fault == NO_FAULT || (world.fault == FAULT_SHORT && !str_is(r->method, "GET")) ||
	    atomic_fetch_sub(&world.faults, 1) <= 0)
		return;
	world.real = ret->respond;
	ret->respond = world.fault == FAULT_SHORT ? answer_short : answer_503;
}

static void world_begin(void)
{
	world.key = (struct access_key){ .id = (char *)"AKIDEXAMPLE",
		                         .secret = (char *)"secret",
		                         .arn = (char *)"arn:x" };
	CHECK_OK(blob_open(test_tmpdir(), &world.blobs, e));
	CHECK_OK(blob_bucket_create(world.blobs, STR("bucket"), e));
	world.api = (struct api){ .data_dir = test_tmpdir(),
		                  .account = "000000000000",
		                  .region = "us-east-1",
		                  .blobs = world.blobs,
		                  .keys = &world.key,
		                  .key_count = 1 };
	CHECK_OK(http_server_start("127.0.0.1", 0, NULL, route, &world.api, &world.server, e));
	world.port = http_server_port(world.server);
}

static void world_end(void)
{
	http_server_stop(world.server);
	blob_close(world.blobs);
}

static void fail_next(enum fault fault, int n)
{
	world.fault = fault;
	atomic_store(&world.faults, n);
	atomic_store(&world.requests, 0);
}

static char *endpoint(void)
{
	return strf("http://127.0.0.1:%u", world.port);
}

static struct s3 *client(const char *secret, bool (*cancelled)(void *arg))
{
	_cleanup_free_ char *url = endpoint();
	struct s3 *s = NULL;
	struct s3_options o = { .endpoint = url,
		                .access_key = "AKIDEXAMPLE",
		                .secret_key = secret,
		                .attempts = 4,
		                .cancelled = cancelled };

	CHECK_OK(s3_new(&o, &s, e));
	return s;
}

static struct s3_uri at(const char *key)
{
	return (struct s3_uri){ STR("bucket"), str_of(key) };
}

static int temp_file(const char *name)
{
	_cleanup_free_ char *path = strf("%s/%s", test_tmpdir(), name);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	CHECK(fd >= 0);
	return fd;
}

static bool same_file(int a, int b)
{
	static char x[1 << 20], y[1 << 20];
	struct err e = { 0 };
	size_t n, m;

	lseek(a, 0, SEEK_SET);
	lseek(b, 0, SEEK_SET);
	do {
		if (fd_read_full(a, x, sizeof(x), &n, &e) < 0 || fd_read_full(b, y, sizeof(y), &m, &e) < 0 || n != m ||
		    memcmp(x, y, n))
			return false;
	} while (n);
	return true;
}

/* Not the same bytes twice, so that a piece in the wrong place shows. */
static void fill(int fd, size_t mib)
{
	static uint32_t piece[1 << 18];
	struct err e = { 0 };

	for (size_t i = 0; i < mib; i++) {
		for (size_t k = 0; k < ARRAY_LEN(piece); k++)
			piece[k] = (uint32_t)(i * 2654435761u + k * 40503u);
		must(fd_write_all(fd, piece, sizeof(piece), &e) == 0);
	}
}

TEST(s3_put_head_get)
{
	struct s3_object o;
	struct err err = { 0 };
	_cleanup_buf_ struct buf etag = { 0 };
	_cleanup_buf_ struct buf scratch = { 0 };
	_cleanup_close_ int fd = temp_file("got");
	char got[16] = "";
	size_t n;
	struct s3 *s;

	world_begin();
	s = client("secret", NULL);
	CHECK_OK(s3_put(s, at("a key/ü+&?"), STR("hello"), "text/plain", &etag, e));
	CHECK_STR(etag.p, "5d41402abc4b2a76b9719d911017c592");
	CHECK_OK(s3_head(s, at("a key/ü+&?"), &scratch, &o, e));
	CHECK_INT(o.size, 5);
	CHECK(str_eq(o.etag, buf_view(&etag)));
	CHECK(wall_now().ms - o.modified.ms < 60000);
	CHECK_OK(s3_get(s, at("a key/ü+&?"), NULL, fd, e));
	lseek(fd, 0, SEEK_SET);
	CHECK_OK(fd_read_full(fd, got, sizeof(got), &n, e));
	CHECK_STR(got, "hello");
	CHECK(s3_get(s, at("none"), NULL, fd, &err) < 0);
	CHECK_INT(err.kind, ERR_NOT_FOUND);
	/* What was listed has been replaced: nothing is mixed. */
	CHECK_OK(s3_put(s, at("a key/ü+&?"), STR("HELLO"), NULL, NULL, e));
	CHECK(s3_get(s, at("a key/ü+&?"), &o, fd, &err) < 0);
	CHECK_INT(err.kind, ERR_CONFLICT);
	s3_free(s);
	s = client("wrong", NULL);
	CHECK(s3_get(s, at("a key/ü+&?"), NULL, fd, &err) < 0);
	CHECK_INT(err.kind, ERR_DENIED);
	s3_free(s);
	world_end();
}

struct seen {
	unsigned n;
	char last[64];
};

static int see(const struct s3_object *o, void *arg, struct err *e)
{
	struct seen *seen = arg;

	if (seen->n && str_cmp(str_of(seen->last), o->key) >= 0)
		return err_set(e, ERR_BUG, "out of order");
	snprintf(seen->last, sizeof(seen->last), PRIstr, ARGstr(o->key));
	seen->n++;
	return 0;
}

TEST(s3_list_follows_pages)
{
	struct seen seen = { 0 };
	struct err err = { 0 };
	struct s3 *s;

	world_begin();
	for (int i = 0; i < 1100; i++) {
		_cleanup_free_ char *path = strf("%s/f", test_tmpdir()), *key = strf("p/k %04d+&", i);

		CHECK_OK(file_put(AT_FDCWD, path, STR("x"), 0644, e));
		CHECK_OK(blob_adopt(world.blobs, STR("bucket"), str_of(key), path, 1,
		                    STR("9dd4e461268c8034f5c8564e155c67a6"), e));
	}
	s = client("secret", NULL);
	CHECK_OK(s3_list(s, STR("bucket"), STR("p/"), see, &seen, e));
	CHECK_INT(seen.n, 1100);
	CHECK_STR(seen.last, "p/k 1099+&");
	seen.n = 0;
	CHECK_OK(s3_list(s, STR("bucket"), STR("q"), see, &seen, e));
	CHECK_INT(seen.n, 0);
	CHECK(s3_list(s, STR("no-such-bucket"), STR(""), see, &seen, &err) < 0);
	CHECK_INT(err.kind, ERR_NOT_FOUND);
	s3_free(s);
	world_end();
}

TEST(s3_big_file_there_and_back)
{
	_cleanup_close_ int from = temp_file("from"), to = temp_file("to");
	_cleanup_buf_ struct buf etag = { 0 };
	struct s3 *s;

	world_begin();
	fill(from, 70);
	s = client("secret", NULL);
	CHECK_OK(s3_put_file(s, at("big"), from, NULL, &etag, e));
	CHECK(str_ends(buf_view(&etag), STR("-5")));
	/* Half of every answer is missing for a while: it goes on from where it stopped. */
	fail_next(FAULT_SHORT, 12);
	CHECK_OK(s3_get(s, at("big"), NULL, to, e));
	CHECK(same_file(from, to));
	CHECK(atomic_load(&world.requests) >= 1 + 5 + 12);
	s3_free(s);
	world_end();
}

TEST(s3_range_into_memory)
{
	_cleanup_buf_ struct buf etag = { 0 };
	struct err err = { 0 };
	char got[8] = "";
	struct s3 *s;

	world_begin();
	s = client("secret", NULL);
	CHECK_OK(s3_put(s, at("k"), STR("0123456789"), NULL, &etag, e));
	CHECK_OK(s3_get_range(s, at("k"), buf_view(&etag), 3, 4, got, e));
	CHECK_STR(got, "3456");
	CHECK_OK(s3_get_range(s, at("k"), STR(""), 9, 1, got, e));
	CHECK_STR(got, "9456");
	CHECK_OK(s3_get_range(s, at("k"), STR(""), 99, 0, got, e));
	fail_next(FAULT_SHORT, 3);
	CHECK_OK(s3_get_range(s, at("k"), buf_view(&etag), 0, 7, got, e));
	CHECK_STR(got, "0123456");
	fail_next(NO_FAULT, 0);
	CHECK(s3_get_range(s, at("k"), STR(""), 8, 4, got, &err) < 0);
	CHECK_INT(err.kind, ERR_INVALID);
	CHECK_OK(s3_put(s, at("k"), STR("abcdefghij"), NULL, NULL, e));
	CHECK(s3_get_range(s, at("k"), buf_view(&etag), 3, 4, got, &err) < 0);
	CHECK_INT(err.kind, ERR_CONFLICT);
	s3_free(s);
	world_end();
}

/* What ignores ranges must not pass the beginning of the object off as the part that was asked for. */
static void answer_whole(struct http_request *r, const struct err *body_error, struct http_response *out)
{
	(void)r;
	(void)body_error;
	buf_z(&out->body, "0123456789");
}

static void route_whole(void *arg, struct http_request *r, struct http_route *ret)
{
	(void)arg;
	(void)r;
	ret->respond = answer_whole;
}

TEST(s3_range_from_a_server_without_ranges)
{
	struct http_server *server;
	struct err err = { 0 };
	char got[8] = "";
	struct s3 *s;

	CHECK_OK(http_server_start("127.0.0.1", 0, NULL, route_whole, NULL, &server, e));
	_cleanup_free_ char *url = strf("http://127.0.0.1:%u", http_server_port(server));
	struct s3_options o = { .endpoint = url, .access_key = "a", .secret_key = "b" };

	CHECK_OK(s3_new(&o, &s, e));
	CHECK(s3_get_range(s, at("k"), STR(""), 3, 4, got, &err) < 0);
	CHECK_INT(err.kind, ERR_INVALID);
	CHECK_STR(got, "");
	s3_free(s);
	http_server_stop(server);
}

/* A server that knows nothing of If-Match, and has one range for everybody. */
static void answer_range(struct http_request *r, const struct err *body_error, struct http_response *out)
{
	(void)r;
	(void)body_error;
	out->status = 206;
	http_add_header(out, "ETag", "\"new\"");
	http_add_header(out, "Content-Range", "bytes 3-6/10");
	buf_z(&out->body, "3456");
}

static void route_range(void *arg, struct http_request *r, struct http_route *ret)
{
	(void)arg;
	(void)r;
	ret->respond = answer_range;
}

TEST(s3_range_of_another_version_or_place)
{
	struct http_server *server;
	struct err err = { 0 };
	char got[8] = "";
	struct s3 *s;

	CHECK_OK(http_server_start("127.0.0.1", 0, NULL, route_range, NULL, &server, e));
	_cleanup_free_ char *url = strf("http://127.0.0.1:%u", http_server_port(server));
	struct s3_options o = { .endpoint = url, .access_key = "a", .secret_key = "b" };

	CHECK_OK(s3_new(&o, &s, e));
	CHECK_OK(s3_get_range(s, at("k"), STR("new"), 3, 4, got, e));
	CHECK_STR(got, "3456");
	CHECK_OK(s3_get_range(s, at("k"), STR("-"), 3, 4, got, e));
	CHECK(s3_get_range(s, at("k"), STR("old"), 3, 4, got, &err) < 0);
	CHECK_INT(err.kind, ERR_CONFLICT);
	CHECK(s3_get_range(s, at("k"), STR("new"), 2, 4, got, &err) < 0);
	CHECK_INT(err.kind, ERR_IO);
	s3_free(s);
	http_server_stop(server);
}

static void *serve_again(void *unused)
{
	struct timespec gone = { .tv_sec = 2 };

	(void)unused;
	nanosleep(&gone, NULL);
	CHECK_OK(http_server_start("127.0.0.1", world.port, NULL, route, &world.api, &world.server, e));
	return NULL;
}

TEST(s3_outlives_a_store_that_is_gone)
{
	struct err err = { 0 };
	char got[8] = "";
	struct mono start;
	pthread_t thread;
	struct s3 *s;

	world_begin();
	_cleanup_free_ char *url = strf("http://127.0.0.1:%u", world.port);
	struct s3_options o = {
		.endpoint = url, .access_key = "AKIDEXAMPLE", .secret_key = "secret", .patience_s = 30
	};

	CHECK_OK(s3_new(&o, &s, e));
	CHECK_OK(s3_put(s, at("k"), STR("0123456789"), NULL, NULL, e));
	http_server_stop(world.server);
	must(pthread_create(&thread, NULL, serve_again, NULL) == 0);
	CHECK_OK(s3_get_range(s, at("k"), STR(""), 3, 4, got, e));
	CHECK_STR(got, "3456");
	pthread_join(thread, NULL);
	s3_free(s);
	/* Patience ends, too. */
	http_server_stop(world.server);
	o.patience_s = 1;
	CHECK_OK(s3_new(&o, &s, e));
	start = mono_now();
	CHECK(s3_get_range(s, at("k"), STR(""), 3, 4, got, &err) < 0);
	CHECK_INT(err.kind, ERR_IO);
	CHECK(mono_ms_since(start) >= 1000 && mono_ms_since(start) < 10000);
	s3_free(s);
	blob_close(world.blobs);
}

TEST(s3_tries_again_where_it_may_help)
{
	struct err err = { 0 };
	_cleanup_close_ int from = temp_file("from"), to = temp_file("to");
	struct s3 *s;
	char text[4096];

	world_begin();
	fill(from, 1);
	s = client("secret", NULL);
	fail_next(FAULT_503, 2);
	CHECK_OK(s3_put_file(s, at("k"), from, NULL, NULL, e));
	CHECK_INT(atomic_load(&world.requests), 3);
	fail_next(FAULT_503, 1000);
	CHECK(s3_get(s, at("k"), NULL, to, &err) < 0);
	CHECK_INT(err.kind, ERR_IO);
	CHECK_INT(atomic_load(&world.requests), 4);
	fail_next(FAULT_503, 1000);
	CHECK(s3_put_file(s, at("k2"), from, NULL, NULL, &err) < 0);
	CHECK_STR(err_text(&err, text, sizeof(text)), "PUT s3://bucket/k2: HTTP 503 SlowDown: later");
	fail_next(FAULT_404_PLAIN, 1000);
	CHECK(s3_get(s, at("k"), NULL, to, &err) < 0);
	CHECK_INT(err.kind, ERR_NOT_FOUND);
	CHECK_INT(atomic_load(&world.requests), 1);
	fail_next(NO_FAULT, 0);
	s3_free(s);
	world_end();
}

static atomic_bool stop;

static bool stopped(void *arg)
{
	(void)arg;
	return atomic_load(&stop);
}

TEST(s3_cancelled_upload_leaves_nothing)
{
	struct err err = { 0 };
	_cleanup_close_ int from = temp_file("from");
	struct mono start = mono_now();
	struct s3 *s;
	bool there = true;

	world_begin();
	fill(from, 70);
	s = client("secret", stopped);
	atomic_store(&stop, true);
	CHECK(s3_put_file(s, at("k"), from, NULL, NULL, &err) < 0);
	CHECK_STR(err.frame[0], "cancelled");
	CHECK(mono_ms_since(start) < 5000);
	CHECK_OK(blob_prefix_exists(world.blobs, STR("bucket"), STR(""), &there, e));
	CHECK(!there);
	s3_free(s);
	world_end();
}

TEST(s3_endpoints_that_are_none)
{
	static const char *const bad[] = { "127.0.0.1:80", "ftp://x", "http://", "http://a/b", "http://user@a" };
	struct s3 *s = NULL;
	struct err err = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct s3_options o = { .endpoint = bad[i], .access_key = "a", .secret_key = "b" };

		CHECK(s3_new(&o, &s, &err) < 0);
		CHECK_INT(err.kind, ERR_INVALID);
	}
}

/* ---- bloomery-fetch ---- */

/* Runs a verb in a child, as bloomery-job would; its last line and exit status. */
static char *fetch(const char *verb, int fd, const char *rest, int *ret_status)
{
	_cleanup_free_ char *url = endpoint();
	_cleanup_free_ char *order = strf(
	        "{\"endpoint\":\"%s\",\"access_key\":\"AKIDEXAMPLE\",\"secret_key\":\"secret\","
	        "\"bucket\":\"bucket\"%s}",
	        url, rest);
	int in[2], out[2], status;
	struct buf answers = { 0 };
	struct str lines, last;
	struct err e = { 0 };
	pid_t child;

	CHECK(pipe(in) == 0 && pipe(out) == 0);
	child = fork();
	if (child == 0) {
		close(in[1]);
		_exit(fetch_main(verb, fd, in[0], out[1]));
	}
	close(in[0]);
	close(out[1]);
	CHECK(fd_write_all(in[1], order, strlen(order), &e) == 0);
	close(in[1]);
	buf_need(&answers, 1 << 16);
	CHECK(fd_read_full(out[0], answers.p, 1 << 16, &answers.n, &e) == 0);
	close(out[0]);
	waitpid(child, &status, 0);
	*ret_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
	lines = str_trim(buf_view(&answers));
	last = str_cut_last(&lines, '\n');
	url = (free(url), str_dup(last));
	buf_fini(&answers);
	return take_ptr(url);
}

static void put_small(struct s3 *s, const char *key, const char *bytes)
{
	CHECK_OK(s3_put(s, at(key), str_of(bytes), NULL, NULL, e));
}

static int make_dir(const char *name)
{
	_cleanup_free_ char *path = strf("%s/%s", test_tmpdir(), name);

	CHECK(mkdir(path, 0755) == 0);
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* As bloomeryd and bloomery-job do it: list first, then get what was listed. */
static void check_get(int dir, const char *prefix, const char *want_line)
{
	_cleanup_close_ int list = temp_file("list");
	_cleanup_free_ char *rest = strf(",\"prefix\":\"%s\",\"list\":%d", prefix, list), *line = NULL;
	int status;

	line = fetch("list", -1, rest, &status);
	if (status == 0) {
		free(line);
		line = fetch("get", dir, rest, &status);
	}
	CHECK_STR(line, want_line);
	CHECK_INT(status, strstr(want_line, "error") ? 1 : 0);
}

#define CHECK_FETCH(verb, fd, rest, want_status, want_line)                   \
	do {                                                                  \
		int status_;                                                  \
		_cleanup_free_ char *line_ = fetch(verb, fd, rest, &status_); \
		CHECK_STR(line_, want_line);                                  \
		CHECK_INT(status_, want_status);                              \
	} while (0)

TEST(fetch_gets_puts_and_explains)
{
	_cleanup_buf_ struct buf text = { 0 };
	_cleanup_close_ int file = temp_file("model"), dir = -EBADF, clash = -EBADF, other = -EBADF;
	struct stat st;
	struct s3 *s;

	world_begin();
	s = client("secret", NULL);
	put_small(s, "in/a.txt", "A");
	put_small(s, "in/d/b.txt", "BB");
	put_small(s, "in/e/", "");
	put_small(s, "bad/x//y", "");
	put_small(s, "clash/a", "");
	put_small(s, "clash/a/b", "");
	dir = make_dir("target");
	clash = make_dir("clash");
	other = make_dir("other");
	CHECK_FETCH("count", -1, ",\"prefix\":\"in/\"", 0, "{\"done\":{\"objects\":3,\"bytes\":3}}");
	CHECK_FETCH("exists", -1, ",\"prefix\":\"in/\"", 0, "{\"done\":{\"objects\":1,\"bytes\":0}}");
	CHECK_FETCH("exists", -1, ",\"prefix\":\"im/\"", 0, "{\"done\":{\"objects\":0,\"bytes\":0}}");
	CHECK_FETCH("exists", -1, ",\"prefix\":\"in/a.txt\",\"s3_data_type\":\"ManifestFile\"", 0,
	            "{\"done\":{\"objects\":1,\"bytes\":0}}");
	CHECK_FETCH("exists", -1, ",\"prefix\":\"in/a\",\"s3_data_type\":\"ManifestFile\"", 0,
	            "{\"done\":{\"objects\":0,\"bytes\":0}}");
	check_get(dir, "in/", "{\"done\":{\"objects\":3,\"bytes\":3}}");
	CHECK_OK(file_read_at(dir, "d/b.txt", 10, &text, e));
	CHECK_STR(text.p, "BB");
	CHECK(fstatat(dir, "e", &st, 0) == 0 && S_ISDIR(st.st_mode));
	CHECK(fstatat(dir, "a.txt", &st, 0) == 0 && (st.st_mode & 07777) == 0644);
	check_get(other, "bad/",
	          "{\"error\":{\"kind\":\"CLIENT\",\"text\":\"Data download failed:Failed to download data. S3 key: "
	          "s3://bucket/bad/x//y has an illegal char sub-sequence '//' in it\"}}");
	check_get(clash, "clash/",
	          "{\"error\":{\"kind\":\"CLIENT\",\"text\":\"Data download failed:The keys s3://bucket/clash/a and "
	          "s3://bucket/clash/a/b cannot both be files: one's path is the other's, or a directory of it\"}}");
	check_get(other, "none",
	          "{\"error\":{\"kind\":\"CLIENT\",\"text\":\"Data download failed:No S3 objects found under S3 URL "
	          "\\\"s3://bucket/none\\\". Please ensure that objects exist under that S3 prefix.\"}}");
	CHECK_FETCH("get", other, ",\"prefix\":\"in/\"", 1,
	            "{\"error\":{\"kind\":\"INVALID\",\"text\":\"the work order lacks 'list'\"}}");
	CHECK(write(file, "model", 5) == 5);
	CHECK_FETCH("put", file, ",\"key\":\"out/m\"", 0,
	            "{\"done\":{\"bytes\":5,\"etag\":\"20f35e630daf44dbfa4c3f68f5399d8c\"}}");
	CHECK_FETCH("put", file, "", 1, "{\"error\":{\"kind\":\"INVALID\",\"text\":\"the work order lacks 'key'\"}}");
	CHECK_FETCH("put", file, ",\"kex\":\"out/m\"", 1,
	            "{\"error\":{\"kind\":\"INVALID\",\"text\":\"the work order has an unknown member 'kex'\"}}");
	CHECK_FETCH(
	        "bring", file, "", 1,
	        "{\"error\":{\"kind\":\"INVALID\",\"text\":\"'bring' is none of get, put, list, count and exists\"}}");
	s3_free(s);
	world_end();
}

static void check_list(int fd, const char *want)
{
	_cleanup_free_ char *path = strf("/proc/self/fd/%d", fd);
	_cleanup_buf_ struct buf got = { 0 };
	_cleanup_(list_closep) struct list_reader *r = NULL;
	uint64_t *units = NULL, n = 0;
	struct list_part p;
	size_t parts = 0;

	CHECK_OK(list_open_fd(open(path, O_RDONLY | O_CLOEXEC), &r, e));
	CHECK_OK(list_index(r, &units, &n, e));
	for (uint64_t i = 0; i < n; i++) {
		CHECK_OK(list_unit(r, units[i], &parts, e));
		for (size_t k = 0; k < parts; k++) {
			CHECK_OK(list_part(r, &p, e));
			if (p.literal)
				buf_f(&got, "=" PRIstr, ARGstr(p.bytes));
			else
				buf_f(&got, "@" PRIstr " " PRIstr " %llu " PRIstr, ARGstr(p.object.object_id),
				      ARGstr(p.object.key), (unsigned long long)p.object.size, ARGstr(p.object.etag));
			buf_c(&got, ';');
		}
		buf_c(&got, '\n');
	}
	free(units);
	CHECK_STR(got.p ? got.p : "", want);
}

#define ETAG_A "7fc56270e7a70fa81a5935b72eacbe29" /* of "A" */

TEST(fetch_lists_manifests)
{
	_cleanup_close_ int list = temp_file("list"), dir = make_dir("target");
	_cleanup_free_ char *got = strf(",\"list\":%d,\"prefix\":\"in/\"", list);
	_cleanup_buf_ struct buf text = { 0 };
	_cleanup_free_ char *plain = strf(",\"list\":%d,\"prefix\":\"m\",\"s3_data_type\":\"ManifestFile\"", list);
	_cleanup_free_ char *lines = strf(",\"list\":%d,\"prefix\":\"l\",\"s3_data_type\":\"AugmentedManifestFile\","
	                                  "\"attribute_names\":[\"x-ref\",\"label\"]",
	                                  list);
	struct s3 *s;

	world_begin();
	s = client("secret", NULL);
	put_small(s, "in/a.txt", "A");
	put_small(s, "in/d/b.txt", "A");
	put_small(s, "m", "[{\"prefix\":\"s3://bucket/in/\"},\"d/b.txt\",\"a.txt\",\"d/b.txt\"]");
	put_small(s, "l",
	          "{\"label\":7,\"x-ref\":\"s3://bucket/in/a.txt\"}\n"
	          "{\"label\":\"cat\",\"x-ref\":\"s3://bucket/in/d/b.txt\",\"other\":0}\n");
	CHECK_FETCH("list", -1, plain, 0,
	            "{\"done\":{\"objects\":3,\"bytes\":3,\"bucket\":\"bucket\",\"prefix\":\"in/\"}}");
	check_list(list, "@- in/d/b.txt 1 " ETAG_A ";\n@- in/a.txt 1 " ETAG_A ";\n@- in/d/b.txt 1 " ETAG_A ";\n");
	/* A directory has it once. */
	CHECK(lseek(list, 0, SEEK_SET) == 0);
	CHECK_FETCH("get", dir, got, 0, "{\"done\":{\"objects\":3,\"bytes\":2}}");
	CHECK_OK(file_read_at(dir, "d/b.txt", 10, &text, e));
	CHECK_STR(text.p, "A");
	CHECK(ftruncate(list, 0) == 0 && lseek(list, 0, SEEK_SET) == 0);
	CHECK_FETCH("list", -1, lines, 0, "{\"done\":{\"objects\":2,\"bytes\":6}}");
	check_list(list, "@- in/a.txt 1 " ETAG_A ";=7;\n@- in/d/b.txt 1 " ETAG_A ";=cat;\n");
	/* What it names is not there. */
	put_small(s, "m", "[{\"prefix\":\"s3://bucket/in/\"},\n\"a.txt\",\n\"no.txt\"]");
	CHECK_FETCH(
	        "list", -1, plain, 1,
	        "{\"error\":{\"kind\":\"CLIENT\",\"text\":\"Data download failed:In the manifest s3://bucket/m, entry "
	        "2 (line 3) names s3://bucket/in/no.txt, which does not exist\"}}");
	put_small(s, "m", "[{\"prefix\":\"s3://no-bucket/in/\"},\"a.txt\"]");
	CHECK_FETCH(
	        "list", -1, plain, 1,
	        "{\"error\":{\"kind\":\"CLIENT\",\"text\":\"Data download failed:In the manifest s3://bucket/m, entry "
	        "1 (line 1) names s3://no-bucket/in/a.txt, which does not exist\"}}");
	put_small(s, "m", "");
	CHECK_FETCH("list", -1, plain, 1,
	            "{\"error\":{\"kind\":\"CLIENT\",\"text\":\"Data download failed:The manifest s3://bucket/m is not "
	            "JSON: it ends in line 1, before its array\"}}");
	CHECK_OK(s3_put(s, at("q"), STR("x"), NULL, NULL, e));
	s3_free(s);
	world_end();
}

/* So many that listing is cheaper than asking for each, and fewer than what is beside them under the common prefix. */
TEST(fetch_lists_a_large_manifest_by_listing)
{
	_cleanup_close_ int list = temp_file("list");
	_cleanup_free_ char *plain = strf(",\"list\":%d,\"prefix\":\"m\",\"s3_data_type\":\"ManifestFile\"", list);
	_cleanup_buf_ struct buf manifest = { 0 };
	struct s3 *s;

	world_begin();
	buf_z(&manifest, "[{\"prefix\":\"s3://bucket/p/\"}");
	for (int i = 0; i < 1200; i++) {
		_cleanup_free_ char *path = strf("%s/f", test_tmpdir()), *key = strf("p/%04d", i);

		CHECK_OK(file_put(AT_FDCWD, path, STR("x"), 0644, e));
		CHECK_OK(blob_adopt(world.blobs, STR("bucket"), str_of(key), path, 1,
		                    STR("9dd4e461268c8034f5c8564e155c67a6"), e));
		if (i % 2)
			buf_f(&manifest, ",\"%04d\"", i);
	}
	buf_c(&manifest, ']');
	s = client("secret", NULL);
	CHECK_OK(s3_put(s, at("m"), buf_view(&manifest), NULL, NULL, e));
	atomic_store(&world.requests, 0);
	CHECK_FETCH("list", -1, plain, 0,
	            "{\"done\":{\"objects\":600,\"bytes\":600,\"bucket\":\"bucket\",\"prefix\":\"p/\"}}");
	CHECK(atomic_load(&world.requests) < 10);
	s3_free(s);
	world_end();
}

/* What was replaced after it was listed is not downloaded, and a store that goes away is waited for. */
TEST(fetch_gets_what_was_listed)
{
	_cleanup_close_ int list = temp_file("list"), from = temp_file("from"), dir = make_dir("target"), to = -EBADF;
	_cleanup_free_ char *rest = strf(",\"prefix\":\"in/\",\"list\":%d", list);
	pthread_t thread;
	struct s3 *s;

	world_begin();
	s = client("secret", NULL);
	fill(from, 100);
	CHECK_OK(s3_put_file(s, at("in/big"), from, NULL, NULL, e));
	put_small(s, "in/small", "1");
	CHECK_FETCH("list", -1, rest, 0, "{\"done\":{\"objects\":2,\"bytes\":104857601}}");
	fail_next(FAULT_SHORT, 9);
	http_server_stop(world.server);
	must(pthread_create(&thread, NULL, serve_again, NULL) == 0);
	CHECK_FETCH("get", dir, rest, 0, "{\"done\":{\"objects\":2,\"bytes\":104857601}}");
	pthread_join(thread, NULL);
	to = openat(dir, "big", O_RDONLY | O_CLOEXEC);
	CHECK(to >= 0 && same_file(from, to));
	fail_next(NO_FAULT, 0);
	put_small(s, "in/small", "2");
	CHECK(unlinkat(dir, "big", 0) == 0 && unlinkat(dir, "small", 0) == 0);
	CHECK_FETCH("get", dir, rest, 1,
	            "{\"error\":{\"kind\":\"CLIENT\",\"text\":\"Data download failed:Unable to download object "
	            "s3://bucket/in/small: it was replaced after the job was launched\"}}");
	s3_free(s);
	world_end();
}
