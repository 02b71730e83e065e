/* SPDX-License-Identifier: Apache-2.0 */
#include "artifact/artifact.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <inttypes.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "artifact/gzip.h"
#include "artifact/tar.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/hash.h"
#include "harness.h"

static int tree_open(void)
{
	_cleanup_free_ char *path = strf("%s/tree", test_tmpdir());
	int fd;

	(void)!mkdir(path, 0755);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(fd >= 0);
	return fd;
}

static void put(int tree, const char *path, const char *text)
{
	CHECK_OK(file_put(tree, path, str_of(text), 0644, e));
}

static char *out_path(void)
{
	return strf("%s/out.tar.gz", test_tmpdir());
}

static int pack_with(int tree, const struct artifact_options *o, struct artifact_result *ret, struct err *e)
{
	_cleanup_free_ char *path = out_path();
	_cleanup_close_ int out = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	must(out >= 0);
	return artifact_pack(tree, out, o, ret, e);
}

static struct artifact_result pack(int tree)
{
	struct artifact_result r = { 0 };

	CHECK_OK(pack_with(tree, NULL, &r, e));
	return r;
}

/* ---- reading back, with libarchive ---- */

static struct archive *reader(void)
{
	_cleanup_free_ char *path = out_path();
	struct archive *a = archive_read_new();

	must(archive_read_support_filter_gzip(a) == ARCHIVE_OK && archive_read_support_format_tar(a) == ARCHIVE_OK);
	if (archive_read_open_filename(a, path, 65536) != ARCHIVE_OK)
		test_failed(__FILE__, __LINE__, "%s", archive_error_string(a));
	return a;
}

static void reader_close(struct archive *a)
{
	CHECK_INT(archive_read_free(a), ARCHIVE_OK);
}

/* "type mode name[ -> link] [size: first bytes]" lines. */
static void list_archive(struct buf *out)
{
	struct archive *a = reader();
	struct archive_entry *entry;
	int rc;

	while ((rc = archive_read_next_header(a, &entry)) == ARCHIVE_OK) {
		char text[64];
		la_ssize_t n = archive_read_data(a, text, sizeof(text));
		const char *hard = archive_entry_hardlink(entry), *soft = archive_entry_symlink(entry);

		buf_f(out, "%c %o %s",
		      "?f?l?d?"[hard                                        ? 2
		                : archive_entry_filetype(entry) == AE_IFREG ? 1
		                : archive_entry_filetype(entry) == AE_IFLNK ? 3
		                                                            : 5],
		      archive_entry_perm(entry), archive_entry_pathname(entry));
		if (hard || soft)
			buf_f(out, " -> %s", hard ? hard : soft);
		else if (archive_entry_filetype(entry) == AE_IFREG)
			buf_f(out, " %" PRId64 ": %.*s", archive_entry_size(entry), n > 0 ? (int)n : 0, text);
		buf_c(out, '\n');
	}
	if (rc != ARCHIVE_EOF)
		test_failed(__FILE__, __LINE__, "%s", archive_error_string(a));
	reader_close(a);
}

static void check_archive(const char *want)
{
	_cleanup_buf_ struct buf got = { 0 };

	list_archive(&got);
	CHECK_STR(got.p ? got.p : "", want);
}

TEST(artifact_empty_or_not)
{
	_cleanup_close_ int tree = tree_open();
	bool empty = false;

	CHECK_OK(artifact_is_empty(tree, &empty, e));
	CHECK(empty);
	CHECK(mkdirat(tree, "d", 0700) == 0);
	CHECK_OK(artifact_is_empty(tree, &empty, e));
	CHECK(!empty);
	CHECK_OK(artifact_is_empty(tree, &empty, e)); /* the descriptor's offset is not used */
	CHECK(!empty);
	CHECK_INT(artifact_is_empty(-1, &empty, NULL), -1);
}

TEST(artifact_members_in_order)
{
	_cleanup_close_ int tree = tree_open();
	struct artifact_result r;

	CHECK(mkdirat(tree, "b", 0750) == 0 && mkdirat(tree, "b/empty", 0755) == 0);
	put(tree, "b/x", "in b");
	put(tree, "a.txt", "hello");
	put(tree, "b-c", "");
	put(tree, "zz", "last");
	CHECK(symlinkat("../b/x", tree, "link") == 0);
	CHECK(linkat(tree, "b/x", tree, "b/y", 0) == 0);
	CHECK(mkfifoat(tree, "fifo", 0644) == 0);
	r = pack(tree);
	check_archive("f 644 a.txt 5: hello\n"
	              "d 750 b/\n"
	              "d 755 b/empty/\n"
	              "f 644 b/x 4: in b\n"
	              "? 644 b/y -> b/x\n"
	              "f 644 b-c 0: \n"
	              "l 777 link -> ../b/x\n"
	              "f 644 zz 4: last\n");
	CHECK_INT(r.files, 8);
	CHECK_INT(r.bytes_in, 13);
}

TEST(artifact_of_nothing_is_an_archive)
{
	_cleanup_close_ int tree = tree_open();

	CHECK_INT(pack(tree).files, 0);
	check_archive("");
}

TEST(artifact_md5_and_size_are_those_of_the_file)
{
	_cleanup_close_ int tree = tree_open();
	_cleanup_free_ char *path = out_path();
	_cleanup_buf_ struct buf bytes = { 0 }, hex = { 0 };
	unsigned char digest[MD5_BYTES];
	struct artifact_result r;

	put(tree, "model", "weights");
	r = pack(tree);
	CHECK_OK(file_read(path, 1 << 20, &bytes, e));
	md5(buf_view(&bytes), digest);
	buf_hex(&hex, digest, sizeof(digest));
	CHECK_STR(r.md5, hex.p);
	CHECK_INT(r.bytes_out, bytes.n);
}

TEST(artifact_odd_modes_owners_and_times)
{
	_cleanup_close_ int tree = tree_open();
	struct timespec old[2] = { { 0, 0 }, { -1000, 0 } };
	struct archive_entry *entry;
	struct archive *a;
	struct stat st;

	put(tree, "a", "x");
	CHECK(fchmodat(tree, "a", 06751, 0) == 0);
	put(tree, "b", "y");
	CHECK(fchmodat(tree, "b", 0, 0) == 0);
	CHECK(utimensat(tree, "b", old, 0) == 0);
	if (geteuid() == 0)
		CHECK(fchownat(tree, "b", 4294967290u, 3000000, 0) == 0);
	CHECK(fstatat(tree, "b", &st, 0) == 0);
	pack(tree);
	a = reader();
	CHECK_INT(archive_read_next_header(a, &entry), ARCHIVE_OK);
	CHECK_INT(archive_entry_perm(entry), 06751);
	CHECK_INT(archive_read_next_header(a, &entry), ARCHIVE_OK);
	CHECK_INT(archive_entry_perm(entry), 0);
	CHECK_INT(archive_entry_uid(entry), st.st_uid);
	CHECK_INT(archive_entry_gid(entry), st.st_gid);
	CHECK_INT(archive_entry_mtime(entry), -1000);
	reader_close(a);
}

/* Makes the file `path` with every name of `lengths` deep. */
TEST(artifact_names_of_every_length)
{
	_cleanup_close_ int tree = tree_open();
	_cleanup_buf_ struct buf want = { 0 };
	char dir[252], name[256];

	memset(dir, 'd', sizeof(dir));
	dir[sizeof(dir) - 1] = 0;
	for (size_t n = 1; n <= 255; n++) {
		memset(name, 'n', n);
		name[n] = 0;
		put(tree, name, "1");
		buf_f(&want, "f 644 %s 1: 1\n", name);
	}
	pack(tree);
	check_archive(want.p);
	/* 1000 bytes and more, in directories. */
	buf_reset(&want);
	CHECK_OK(remove_tree(AT_FDCWD, test_tmpdir(), e));
	CHECK(mkdir(test_tmpdir(), 0700) == 0);
	{
		_cleanup_close_ int deep = tree_open();
		_cleanup_buf_ struct buf path = { 0 };

		for (int i = 0; i < 4; i++) {
			buf_f(&path, "%s%s", i ? "/" : "", dir);
			CHECK(mkdirat(deep, path.p, 0755) == 0);
			buf_f(&want, "d 755 %s/\n", path.p);
		}
		buf_z(&path, "/file");
		CHECK_INT(path.n, 1012);
		put(deep, path.p, "deep");
		buf_f(&want, "f 644 %s 4: deep\n", path.p);
		CHECK(symlinkat(path.p, deep, "to") == 0);
		buf_f(&want, "l 777 to -> %s\n", path.p);
		pack(deep);
		check_archive(want.p);
	}
}

TEST(artifact_names_in_utf8_and_not)
{
	_cleanup_close_ int tree = tree_open();
	struct archive_entry *entry;
	struct archive *a;

	CHECK(setlocale(LC_ALL, "C.UTF-8") != NULL);
	put(tree, "gr\xc3\xbc\xc3\x9f", "utf8");
	put(tree, "bad\xff", "latin");
	put(tree, "new\nline", "n");
	pack(tree);
	a = reader();
	CHECK_INT(archive_read_next_header(a, &entry), ARCHIVE_OK);
	CHECK_STR(archive_entry_pathname(entry), "bad\xff");
	CHECK_INT(archive_read_next_header(a, &entry), ARCHIVE_OK);
	CHECK_STR(archive_entry_pathname_utf8(entry), "gr\xc3\xbc\xc3\x9f");
	CHECK_INT(archive_read_next_header(a, &entry), ARCHIVE_OK);
	CHECK_STR(archive_entry_pathname(entry), "new\nline");
	reader_close(a);
}

/* Deterministic bytes that hardly compress, different for each seed. */
static void fill_noise(char *p, size_t n, uint64_t seed)
{
	for (size_t i = 0; i < n; i += 8) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		memcpy(p + i, &seed, n - i < 8 ? n - i : 8);
	}
}

TEST(artifact_contents_of_every_kind_survive)
{
	static const size_t sizes[] = { 0,      1,      511,    512,     513,           262143,
		                        262144, 262145, 261632, 1 << 20, (1 << 20) + 7, 5 << 20 };
	_cleanup_close_ int tree = tree_open();
	_cleanup_free_ char *noise = xcalloc(1, 8 << 20), *back = xcalloc(1, 8 << 20);
	struct archive_entry *entry;
	struct archive *a;

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		_cleanup_free_ char *name = strf("%02zu", i);

		fill_noise(noise, sizes[i], i);
		if (i & 1)
			memset(noise + sizes[i] / 4, 'z', sizes[i] / 2);
		CHECK_OK(file_put(tree, name, (struct str){ noise, sizes[i] }, 0644, e));
	}
	for (unsigned threads = 0; threads < 5; threads++) {
		struct artifact_result r;

		CHECK_OK(pack_with(tree, &(struct artifact_options){ .threads = threads, .level = (int)threads }, &r,
		                   e));
		a = reader();
		for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
			fill_noise(noise, sizes[i], i);
			if (i & 1)
				memset(noise + sizes[i] / 4, 'z', sizes[i] / 2);
			CHECK_INT(archive_read_next_header(a, &entry), ARCHIVE_OK);
			CHECK_INT(archive_read_data(a, back, 8 << 20), (long long)sizes[i]);
			CHECK(memcmp(noise, back, sizes[i]) == 0);
		}
		CHECK_INT(archive_read_next_header(a, &entry), ARCHIVE_EOF);
		reader_close(a);
	}
}

TEST(artifact_a_sparse_gigabyte)
{
	_cleanup_close_ int tree = tree_open();
	_cleanup_close_ int fd = openat(tree, "sparse", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	static const char *const marks[] = { "start", "middle", "end" };
	const int64_t at[] = { 100000, 600 << 20, (1 << 30) - 3 };
	struct mono begin = mono_now();
	struct artifact_result r;
	struct archive_entry *entry;
	struct archive *a;
	const void *p;
	size_t n, found = 0;
	la_int64_t offset;
	int rc;

	for (size_t i = 0; i < ARRAY_LEN(at); i++)
		CHECK(pwrite(fd, marks[i], strlen(marks[i]), at[i]) == (ssize_t)strlen(marks[i]));
	r = pack(tree);
	CHECK_INT(r.bytes_in, 1 << 30);
	CHECK(r.bytes_out < 16 << 20);
	CHECK(mono_ms_since(begin) <
	      20000); /* milliseconds, really; a sanitizer build on a loaded machine gets its time */
	a = reader();
	CHECK_INT(archive_read_next_header(a, &entry), ARCHIVE_OK);
	CHECK_INT(archive_entry_size(entry), 1 << 30);
	while ((rc = archive_read_data_block(a, &p, &n, &offset)) == ARCHIVE_OK)
		for (const char *c = p, *end = c + n; c < end; c++)
			if (*c)
				found++;
	CHECK_INT(rc, ARCHIVE_EOF);
	CHECK_INT(found, strlen("startmiddleend"));
	reader_close(a);
}

TEST(artifact_ten_thousand_files)
{
	enum { COUNT = 10000 };
	_cleanup_close_ int tree = tree_open();
	struct archive_entry *entry;
	struct archive *a;
	int n = 0, bad = 0;

	for (int i = 0; i < COUNT; i++) {
		_cleanup_free_ char *name = strf("%05d", i);

		put(tree, name, name);
	}
	CHECK_INT(pack(tree).files, COUNT);
	a = reader();
	for (; archive_read_next_header(a, &entry) == ARCHIVE_OK; n++) {
		_cleanup_free_ char *name = strf("%05d", n);
		char text[8] = { 0 };

		bad += strcmp(archive_entry_pathname(entry), name) != 0 || archive_read_data(a, text, 8) != 5 ||
		       strcmp(text, name) != 0;
	}
	CHECK_INT(n, COUNT);
	CHECK_INT(bad, 0);
	reader_close(a);
}

TEST(artifact_deeper_than_descriptors)
{
	enum { DEPTH = 1500 };
	_cleanup_close_ int tree = tree_open();
	struct rlimit few = { 40, 40 };
	struct artifact_result r;
	int at = dup(tree);

	for (int i = 0; i < DEPTH; i++) {
		int next;

		must(mkdirat(at, "d", 0755) == 0);
		next = openat(at, "d", O_RDONLY | O_DIRECTORY);
		close(at);
		at = next;
	}
	put(at, "bottom", "here");
	close(at);
	put(tree, "e", "after");
	CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
	r = pack(tree);
	CHECK_INT(r.files, DEPTH + 2);
}

TEST(artifact_too_deep_is_said)
{
	_cleanup_close_ int tree = tree_open();
	struct artifact_result r;
	struct err e1 = { 0 };
	char name[201];
	int at = dup(tree);

	memset(name, 'n', 200);
	name[200] = 0;
	for (int i = 0; i < 25; i++) {
		int next;

		must(mkdirat(at, name, 0755) == 0);
		next = openat(at, name, O_RDONLY | O_DIRECTORY);
		close(at);
		at = next;
	}
	close(at);
	CHECK_INT(pack_with(tree, NULL, &r, &e1), -1);
	CHECK_INT(e1.kind, ERR_CLIENT);
}

struct meddler {
	int tree;
	unsigned calls;
	off_t to;
	unsigned stop_at;
};

static void resize(void *arg, uint64_t bytes_in)
{
	struct meddler *m = arg;

	if (bytes_in && m->calls++ == 0) {
		_cleanup_close_ int fd = openat(m->tree, "a", O_WRONLY | O_CLOEXEC);

		CHECK(ftruncate(fd, m->to) == 0);
		CHECK(unlinkat(m->tree, "b", 0) == 0);
	}
}

TEST(artifact_files_that_change_meanwhile)
{
	static const off_t to[] = { 300000, 1 << 20, 4 << 20 };

	for (size_t i = 0; i < ARRAY_LEN(to); i++) {
		_cleanup_close_ int tree = tree_open();
		_cleanup_free_ char *big = xcalloc(1, 1 << 20);
		struct meddler m = { .tree = tree, .to = to[i] };
		struct artifact_result r;

		memset(big, 'a', 1 << 20);
		CHECK_OK(file_put(tree, "a", (struct str){ big, 1 << 20 }, 0644, e));
		put(tree, "b", "will vanish");
		put(tree, "c", "stays");
		CHECK_OK(pack_with(tree, &(struct artifact_options){ .progress = resize, .arg = &m }, &r, e));
		{
			_cleanup_buf_ struct buf got = { 0 };

			list_archive(&got);
			CHECK(str_starts(buf_view(&got), STR("f 644 a 1048576: aaaa")));
			CHECK(str_ends(buf_view(&got), STR("a\nf 644 c 5: stays\n")));
		}
	}
}

static bool stop_soon(void *arg)
{
	struct meddler *m = arg;

	return ++m->calls >= m->stop_at;
}

TEST(artifact_stops_when_told)
{
	_cleanup_close_ int tree = tree_open();
	_cleanup_close_ int fd = openat(tree, "big", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	struct artifact_result r;

	CHECK(ftruncate(fd, (off_t)1 << 40) == 0); /* hours of zeros */
	CHECK(pwrite(fd, "x", 1, 1 << 20) == 1);
	for (unsigned at = 1; at < 40; at += 3) {
		struct meddler m = { .stop_at = at };
		struct err e1 = { 0 };

		CHECK_INT(pack_with(tree, &(struct artifact_options){ .cancelled = stop_soon, .arg = &m }, &r, &e1),
		          -1);
		CHECK_INT(e1.kind, ERR_BUSY);
	}
}

TEST(artifact_full_disk_is_said)
{
	_cleanup_close_ int tree = tree_open();
	_cleanup_free_ char *noise = xcalloc(1, 4 << 20);
	struct rlimit small = { 300000, 300000 };
	struct artifact_result r;
	struct err e1 = { 0 };
	char text[4096];

	fill_noise(noise, 4 << 20, 1);
	for (int i = 0; i < 8; i++) {
		_cleanup_free_ char *name = strf("%d", i);

		CHECK_OK(file_put(tree, name, (struct str){ noise, 4 << 20 }, 0644, e));
	}
	signal(SIGXFSZ, SIG_IGN);
	CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
	CHECK_INT(pack_with(tree, NULL, &r, &e1), -1);
	CHECK_INT(e1.kind, ERR_IO);
	CHECK_INT(e1.os, EFBIG);
	CHECK(strstr(err_text(&e1, text, sizeof(text)), "File too large"));
}

static int run(const char *const argv[])
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, 1);
		execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	must(pid > 0 && waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(artifact_parts_are_one_archive)
{
	_cleanup_free_ char *tree_path = strf("%s/tree", test_tmpdir()), *whole = out_path();
	_cleanup_free_ char *to = strf("%s/to", test_tmpdir());
	_cleanup_buf_ struct buf hex = { 0 }, bytes = { 0 };
	struct artifact_result part, all;
	unsigned char digest[MD5_BYTES];
	int fds[4], out;

	for (size_t i = 0; i < ARRAY_LEN(fds); i++) { /* the third is of nothing: an empty directory */
		_cleanup_free_ char *file = strf("of-%zu", i), *path = strf("%s/part-%zu", test_tmpdir(), i);
		_cleanup_close_ int tree = tree_open();

		if (i != 2)
			put(tree, file, file);
		fds[i] = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
		CHECK_OK(artifact_pack(tree, fds[i], &(struct artifact_options){ .part = true }, &part, e));
		CHECK(part.bytes_out > 0);
		lseek(fds[i], 0, SEEK_SET);
		CHECK_OK(remove_tree(AT_FDCWD, tree_path, e));
	}
	out = open(whole, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	CHECK_OK(artifact_join(fds, ARRAY_LEN(fds), out, &(struct artifact_options){ 0 }, &all, e));
	CHECK_OK(file_read(whole, 1 << 20, &bytes, e));
	CHECK_INT(bytes.n, all.bytes_out);
	md5(buf_view(&bytes), digest);
	buf_hex(&hex, digest, sizeof(digest));
	CHECK_STR(all.md5, hex.p);
	CHECK_INT(run((const char *const[]){ "gzip", "-t", whole, NULL }), 0);
	CHECK(mkdir(to, 0755) == 0);
	CHECK_INT(run((const char *const[]){ "tar", "-xzf", whole, "-C", to, NULL }), 0);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		_cleanup_free_ char *file = strf("%s/of-%zu", to, i);

		CHECK_INT(access(file, F_OK), i == 2 ? -1 : 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		close(fds[i]);
	close(out);
}

TEST(artifact_other_readers_agree)
{
	static const char script[] = "import sys, tarfile\n"
	                             "t = tarfile.open(sys.argv[1])\n"
	                             "n = t.getnames()\n"
	                             "assert n == ['a', 'd', 'd/' + 'n' * 200, 'gr\\u00fc\\u00df', 'h', 's'], n\n"
	                             "assert t.extractfile('d/' + 'n' * 200).read() == b'long'\n"
	                             "assert t.extractfile('h').read() == b'alpha'\n"
	                             "assert t.getmember('s').linkname == 'a'\n"
	                             "assert t.getmember('a').mode == 0o644\n";
	_cleanup_close_ int tree = tree_open();
	_cleanup_free_ char *path = out_path(), *to = strf("%s/to", test_tmpdir()),
	                    *copied = strf("%s/to/h", test_tmpdir());
	_cleanup_buf_ struct buf name = { 0 }, got = { 0 };
	int rc;

	put(tree, "a", "alpha");
	CHECK(mkdirat(tree, "d", 0755) == 0);
	buf_z(&name, "d/");
	for (int i = 0; i < 200; i++)
		buf_c(&name, 'n');
	put(tree, name.p, "long");
	put(tree, "gr\xc3\xbc\xc3\x9f", "u");
	CHECK(linkat(tree, "a", tree, "h", 0) == 0);
	CHECK(symlinkat("a", tree, "s") == 0);
	pack(tree);
	CHECK_INT(run((const char *const[]){ "gzip", "-t", path, NULL }), 0);
	CHECK(mkdir(to, 0755) == 0);
	CHECK_INT(run((const char *const[]){ "tar", "-xzf", path, "-C", to, NULL }), 0);
	CHECK_OK(file_read(copied, 100, &got, e));
	CHECK_STR(got.p, "alpha");
	rc = run((const char *const[]){ "python3", "-c", script, path, NULL });
	CHECK(rc == 0 || rc == 127); /* 127: no Python here */
}

/* ---- the pieces ---- */

TEST(tar_big_numbers_come_back)
{
	static const uint64_t sizes[] = { 0, 8589934591u, 8589934592u, 1ull << 40, 1ull << 62 };

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		_cleanup_buf_ struct buf head = { 0 };
		struct archive *a = archive_read_new();
		struct archive_entry *entry;

		tar_header(&head, &(struct tar_entry){ .type = TAR_FILE,
		                                       .name = STR("big"),
		                                       .size = sizes[i],
		                                       .mode = 0600,
		                                       .mtime = 1ll << 40 });
		CHECK_INT(head.n % TAR_BLOCK, 0);
		CHECK_INT(archive_read_support_format_tar(a), ARCHIVE_OK);
		CHECK_INT(archive_read_open_memory(a, head.p, head.n), ARCHIVE_OK);
		CHECK_INT(archive_read_next_header(a, &entry), ARCHIVE_OK);
		CHECK_INT(archive_entry_size(entry), sizes[i]);
		CHECK_INT(archive_entry_mtime(entry), 1ll << 40);
		archive_read_free(a);
	}
}

TEST(gzip_zeros_and_bytes_mix)
{
	static const uint64_t steps[] = { 1, 262144, 262143, 3 << 20, 5, 524288, 0, 262145 };
	_cleanup_free_ char *path = out_path();
	_cleanup_close_ int out = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	_cleanup_(gzip_freep) struct gzip *z = gzip_new(out, &(struct gzip_options){ .threads = 3 });
	struct archive *a = archive_read_new();
	struct archive_entry *entry;
	uint64_t bytes, want = 0, seen = 0, marks = 0;
	char digest[33], chunk[4096];
	la_ssize_t n;

	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		CHECK_OK(gzip_zeros(z, steps[i], e));
		CHECK_OK(gzip_add(z, STR("*"), e));
		want += steps[i] + 1;
	}
	CHECK_OK(gzip_finish(z, &bytes, digest, e));
	archive_read_support_filter_gzip(a);
	archive_read_support_format_raw(a);
	CHECK_INT(archive_read_open_filename(a, path, 4096), ARCHIVE_OK);
	CHECK_INT(archive_read_next_header(a, &entry), ARCHIVE_OK);
	while ((n = archive_read_data(a, chunk, sizeof(chunk))) > 0) {
		for (la_ssize_t i = 0; i < n; i++)
			marks += chunk[i] == '*';
		seen += (uint64_t)n;
	}
	CHECK_INT(n, 0);
	CHECK_INT(seen, want);
	CHECK_INT(marks, ARRAY_LEN(steps));
	archive_read_free(a);
	/* gzip checks the sums. */
	CHECK_INT(run((const char *const[]){ "gzip", "-t", path, NULL }), 0);
}
