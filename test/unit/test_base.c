/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/fd.h"
#include "base/hash.h"
#include "base/log.h"
#include "harness.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

TEST(err_chain_reads_outermost_first)
{
	struct err err = { 0 };
	char text[512];

	CHECK(err_set(&err, ERR_NOT_FOUND, "no such key") == -1);
	err_in(&err, "GET part %d", 7);
	err_in(&err, "fetching channel '%s'", "train");
	CHECK_STR(err_text(&err, text, sizeof(text)), "fetching channel 'train': GET part 7: no such key");
	CHECK(err.kind == ERR_NOT_FOUND);
	CHECK_STR(err_info[err.kind].reason, "ClientError");
}

TEST(err_text_is_cut_to_its_buffer)
{
	struct err err = { 0 };
	char text[8];

	err_set(&err, ERR_BUG, "0123456789");
	CHECK_STR(err_text(&err, text, sizeof(text)), "0123456");
}

TEST(err_frame_is_cut_between_characters)
{
	struct err err = { 0 };
	char euros[3 * 1000 + 1] = "";

	for (size_t i = 0; i + 3 < sizeof(euros); i += 3)
		memcpy(euros + i, "\xe2\x82\xac", 4);
	for (int shift = 0; shift < 3; shift++) {
		err_set(&err, ERR_BUG, "%.*s%s", shift, "ab", euros);
		CHECK(utf8_valid(str_of(err.frame[0])) && str_ends(str_of(err.frame[0]), STR("\xac...")));
	}
}

TEST(str_cut_and_skip)
{
	struct str s = STR("a/b/c");

	CHECK(str_is(str_cut(&s, '/'), "a") && str_is(s, "b/c"));
	CHECK(str_is(str_cut_last(&s, '/'), "c") && str_is(s, "b"));
	CHECK(str_is(str_cut(&s, '/'), "b") && s.n == 0);
	s = STR("s3://x");
	CHECK(str_skip(&s, STR("s3://")) && str_is(s, "x"));
}

TEST(str_numbers_refuse_overflow_and_noise)
{
	uint64_t u;
	int64_t i;

	CHECK(str_to_u64(STR("18446744073709551615"), &u) && u == UINT64_MAX);
	CHECK(!str_to_u64(STR("18446744073709551616"), &u) && !str_to_u64(STR(""), &u) && !str_to_u64(STR(" 1"), &u));
	CHECK(str_to_i64(STR("-9223372036854775808"), &i) && i == INT64_MIN);
	CHECK(!str_to_i64(STR("9223372036854775808"), &i) && !str_to_i64(STR("-"), &i));
}

TEST(utf8_is_strict)
{
	CHECK(utf8_valid(STR("h\xc3\xa9 \xf0\x9f\x94\xa5")) && utf8_count(STR("h\xc3\xa9 \xf0\x9f\x94\xa5")) == 4);
	CHECK(!utf8_valid(STR("\xc0\xaf")) && !utf8_valid(STR("\xed\xa0\x80")) && !utf8_valid(STR("\xf4\x90\x80\x80")));
	CHECK(!utf8_valid(STR("\xe2\x82")));
}

TEST(uri_encoding_round_trips)
{
	_cleanup_buf_ struct buf b = { 0 }, back = { 0 };

	buf_uri(&b, STR("a b/\xc3\xa9~"), true);
	CHECK_STR(b.p, "a%20b/%C3%A9~");
	CHECK(buf_uri_decode(&back, buf_view(&b), false));
	CHECK_STR(back.p, "a b/\xc3\xa9~");
	CHECK(!buf_uri_decode(&back, STR("x%2"), false) && !buf_uri_decode(&back, STR("%zz"), false));
}

TEST(dates_round_trip)
{
	char text[CLOCK_TEXT_BYTES];
	struct wall t;

	CHECK(wall_from_basic(STR("20150830T123600Z"), &t));
	CHECK_STR(wall_http(t, text), "Sun, 30 Aug 2015 12:36:00 GMT");
	CHECK(wall_from_http(STR("Sun, 30 Aug 2015 12:36:00 GMT"), &t));
	CHECK_STR(wall_basic(t, text), "20150830T123600Z");
	CHECK(wall_from_iso8601(STR("2015-08-30T12:36:00.25Z"), &t) && t.ms % 1000 == 250);
	CHECK(!wall_from_basic(STR("20150230T123600Z"), &t) && !wall_from_basic(STR("20150830T123600"), &t));
}

TEST(digests_match_their_definitions)
{
	unsigned char d[SHA256_BYTES];
	_cleanup_buf_ struct buf b = { 0 };

	sha256(STR("abc"), d);
	buf_hex(&b, d, sizeof(d));
	CHECK_STR(b.p, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	CHECK(crc32c_add(0, "123456789", 9) == 0xe3069283u);
	CHECK(crc32_add(0, "123456789", 9) == 0xcbf43926u);
	buf_reset(&b);
	CHECK(buf_unbase64(&b, STR("aGVsbG8=")) && str_is(buf_view(&b), "hello"));
	CHECK(!buf_unbase64(&b, STR("a===")) || b.n == 5);
}

TEST(atomic_write_and_beneath)
{
	_cleanup_free_ char *path = strf("%s/f", test_tmpdir());
	_cleanup_close_ int dir = open(test_tmpdir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_buf_ struct buf b = { 0 };
	struct err err = { 0 };

	CHECK_OK(file_write_atomic(AT_FDCWD, path, STR("one"), 0600, true, e));
	CHECK_OK(file_read(path, 100, &b, e));
	CHECK_STR(b.p, "one");
	CHECK(file_read(path, 2, &b, &err) < 0 && err.kind == ERR_LIMIT);
	CHECK(open_beneath(dir, "../etc", O_RDONLY, 0, &err) < 0);
	CHECK(symlinkat("/etc/passwd", dir, "out") == 0 && open_beneath(dir, "out", O_RDONLY, 0, &err) < 0);
}

TEST(remove_tree_removes_everything_and_follows_nothing)
{
	_cleanup_close_ int dir = open(test_tmpdir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	CHECK_OK(mkdir_all(dir, "t/a/b", 0755, e));
	CHECK_OK(mkdir_all(dir, "keep/x", 0755, e));
	CHECK(symlinkat("../keep", dir, "t/link") == 0);
	CHECK_OK(file_put(dir, "t/a/b/f", STR("x"), 0644, e));
	CHECK_OK(remove_tree(dir, "t", e));
	CHECK(fstatat(dir, "t", &st, 0) < 0 && fstatat(dir, "keep/x", &st, 0) == 0);
	CHECK_OK(remove_tree(dir, "t", e));
}

TEST(remove_tree_does_not_cross_a_bind_mount)
{
	int dir = open(test_tmpdir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct err err = { 0 };
	pid_t pid;
	int status;

	if (geteuid() != 0) {
		test_skip("needs root");
		return;
	}
	CHECK_OK(mkdir_all(dir, "t/a/point", 0755, e));
	CHECK_OK(mkdir_all(dir, "kept", 0755, e));
	CHECK_OK(file_put(dir, "kept/file", STR("x"), 0644, e));
	pid = fork();
	if (pid == 0) { /* the same file system, so that the device is the same */
		if (unshare(CLONE_NEWNS) < 0 || chdir(test_tmpdir()) < 0 ||
		    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		    mount("kept", "t/a/point", NULL, MS_BIND, NULL) < 0)
			_exit(2);
		dir = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		_exit(remove_tree(dir, "t", &err) < 0 && err.os == EXDEV ? 0 : 1);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK_INT(status, 0);
	CHECK(faccessat(dir, "kept/file", F_OK, 0) == 0);
	CHECK_OK(remove_tree(dir, "t", e));
	close(dir);
}

/* Deeper than there are descriptors, as chained symbolic links of an archive can make it. */
TEST(remove_tree_knows_no_depth)
{
	_cleanup_close_ int dir = open(test_tmpdir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), at = -EBADF;
	struct stat st;

	CHECK(mkdirat(dir, "deep", 0755) == 0);
	CHECK_OK(file_put(dir, "deep/.deep-0", STR("x"), 0644, e)); /* a name in the way */
	at = openat(dir, "deep", O_PATH | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < 3000; i++) {
		int next;

		CHECK(mkdirat(at, "d", 0755) == 0 && mkdirat(at, "e", 0755) == 0);
		next = openat(at, "d", O_PATH | O_DIRECTORY | O_CLOEXEC);
		close(at);
		at = next;
	}
	CHECK_OK(remove_tree(dir, "deep", e));
	CHECK(fstatat(dir, "deep", &st, 0) < 0);
}

TEST(xml_is_utf8_whatever_came)
{
	_cleanup_buf_ struct buf b = { 0 };

	buf_xml(&b, STR("<a b=\"&\">\x01\r\n\tz\xc3\xbc\xf0\x9f\x92\xa9"));
	CHECK_STR(b.p, "&lt;a b=&quot;&amp;&quot;&gt;&#x1;&#xd;\n\tz\xc3\xbc\xf0\x9f\x92\xa9");
	buf_reset(&b);
	buf_xml(&b, STR("\xff-\xc3-\xed\xa0\x80-\xe2\x82"));
	CHECK(utf8_valid(buf_view(&b)));
	CHECK_STR(b.p, "\xef\xbf\xbd-\xef\xbf\xbd-\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd-\xef\xbf\xbd\xef\xbf\xbd");
}

/* ---- log ---- */

static void cleaned(const char *text, const char *want)
{
	_cleanup_buf_ struct buf got = { 0 };

	buf_need(&got, 0);
	log_clean(&got, str_of(text));
	CHECK_STR(got.p, want);
}

TEST(the_log_has_lines_and_no_secrets)
{
	cleaned("", "");
	cleaned("a\nb\x7f", "a\\x0ab\\x7f");
	cleaned("GET /v2/credentials/abc.1.def from here", "GET /v2/credentials/*** from here");
	cleaned("/b/k?X-Amz-Security-Token=IQ%2Fo&X-Amz-Signature=0a1b",
	        "/b/k?X-Amz-Security-Token=***&X-Amz-Signature=***");
	cleaned("authorization: bearer x.1.y, and", "authorization: bearer ***, and");
	cleaned("Authorization: Basic QUtJQTp4", "Authorization: Basic ***");
	cleaned("{\"Token\":\"t\",\"a\":1}", "{\"Token\":\"***\",\"a\":1}");
	cleaned("Signature=", "Signature="); /* nothing follows */
	cleaned("Bearer", "Bearer");
	cleaned("{\"Password\" : \"two words, \\\"quoted\\\"\", \"b\":2}", "{\"Password\" : \"***\", \"b\":2}");
	cleaned("msg=\"said {\\\"auth\\\": \\\"dTpw cGFz\\\"}\"", "msg=\"said {\\\"auth\\\": \\\"***\\\"}\"");
	cleaned("\"Passwords\":\"x\" \"token\":12 \"Token\":\"open",
	        "\"Passwords\":\"x\" \"token\":12 \"Token\":\"***");
	cleaned("https://user:pass@host/p and http://host/a@b", "https://***@host/p and http://host/a@b");
	cleaned("://", "://");
}

TEST(a_plain_file_of_several_names_only_from_its_directorys_owner)
{
	_cleanup_close_ int dir = open(test_tmpdir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), a = -EBADF, b = -EBADF;
	struct err why = { 0 };

	CHECK_OK(file_put(dir, "list", STR("x"), 0644, e));
	CHECK((a = open_plain_shared(dir, "list", NULL)) >= 0);
	CHECK(linkat(dir, "list", dir, "list-2", 0) == 0);
	CHECK((b = open_plain_shared(dir, "list", NULL)) >= 0);
	CHECK_INT(open_plain(dir, "list", O_RDONLY, 0, &why), -1);
	CHECK_INT(why.kind, ERR_DENIED);
	why = (struct err){ 0 };
	CHECK_INT(open_plain_shared(dir, "list-3", &why), -1);
	CHECK_INT(why.kind, ERR_NOT_FOUND);
	CHECK(symlinkat("list", dir, "list-4") == 0);
	CHECK_INT(open_plain_shared(dir, "list-4", &why), -1);
	if (geteuid() == 0) { /* somebody else's, linked here */
		why = (struct err){ 0 };
		CHECK(fchown(b, 64123, 64123) == 0);
		CHECK_INT(open_plain_shared(dir, "list", &why), -1);
		CHECK_INT(why.kind, ERR_DENIED);
	}
}
