/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "channel/channel.h"
#include "channel/mode.h"
#include "harness.h"
#include "jobdir/list.h"

/* A store, a job directory with one list, and the tree that is filled. */
struct world {
	struct channel_spec ch;
	struct channel_env env;
	struct channel_stats stats;
	FILE *list;
	unsigned next_id;
	int cancel_after; /* < 0: never */
	struct buf said;
};

static void say(void *arg, const char *text)
{
	buf_z(&((struct world *)arg)->said, text);
}

static bool cancelled(void *arg)
{
	struct world *w = arg;

	return w->cancel_after >= 0 && w->cancel_after-- == 0;
}

static int make_dir(const char *name)
{
	_cleanup_free_ char *path = strf("%s/%s", test_tmpdir(), name);
	int fd;

	must(mkdir(path, 0755) == 0);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(fd >= 0);
	return fd;
}

static void world_open(struct world *w, const char *prefix)
{
	_cleanup_free_ char *list = strf("%s/job/lists/0", test_tmpdir());

	*w = (struct world){
		.ch = { .name = "train",
		        .input_mode = "File",
		        .distribution = "FullyReplicated",
		        .s3_uri = strf("s3://b/%s", prefix),
		        .bucket = "b",
		        .prefix = (char *)prefix,
		        .place = PLACE_EMBEDDED,
		        .share_count = 1,
		        .list = "0" },
		.env = { .job_dirfd = make_dir("job"),
		         .objects_dirfd = make_dir("objects"),
		         .data_dirfd = make_dir("data"),
		         .say = say,
		         .cancelled = cancelled,
		         .arg = w },
		.cancel_after = -1,
	};
	must(mkdirat(w->env.job_dirfd, "lists", 0700) == 0);
	w->list = fopen(list, "w");
	must(w->list);
}

static void world_close(struct world *w)
{
	if (w->list)
		fclose(w->list);
	free(w->ch.s3_uri);
	close(w->env.job_dirfd);
	close(w->env.objects_dirfd);
	close(w->env.data_dirfd);
	buf_fini(&w->said);
}

/* Only in the list, with the id given. */
static void list_object(struct world *w, const char *id, struct str key, uint64_t size)
{
	struct list_entry entry = { size, { 1000 }, str_of(id), STR("d41d8cd98f00b204e9800998ecf8427e"), key };

	CHECK_OK(list_write(w->list, &entry, e));
	w->ch.objects++;
	w->ch.bytes += size;
}

static void add_key(struct world *w, struct str key, const char *text)
{
	_cleanup_free_ char *id = strf("%02x%030x", w->next_id % 256, w->next_id), *path = strf("%.2s/%s", id, id);
	char xx[3] = { id[0], id[1], 0 };

	w->next_id++;
	(void)!mkdirat(w->env.objects_dirfd, xx, 0755);
	CHECK_OK(file_put(w->env.objects_dirfd, path, str_of(text), 0600, e));
	list_object(w, id, key, strlen(text));
}

static void add(struct world *w, const char *key, const char *text)
{
	add_key(w, str_of(key), text);
}

static int prepare(struct world *w, struct err *e)
{
	const struct channel_ops *ops = channel_ops_for(CHANNEL_PLACED);

	must(ops);
	if (w->list)
		fclose(take_ptr(w->list));
	return ops->prepare(&w->ch, &w->env, &w->stats, e);
}

/* What is in a file of the tree; "(none)" when there is none. */
static void check_file(const struct world *w, const char *path, const char *want)
{
	_cleanup_buf_ struct buf got = { 0 };

	if (file_read_at(w->env.data_dirfd, path, 1 << 20, &got, NULL) < 0)
		buf_z(&got, "(none)");
	if (!test_same_text(got.p, want))
		test_failed(__FILE__, __LINE__, "%s\n  got:  %s\n  want: %s", path, got.p, want);
}

static void check_refused(struct world *w, const char *want)
{
	struct err e = { 0 };
	char text[8192];

	CHECK_INT(prepare(w, &e), -1);
	CHECK_INT(e.kind, ERR_CLIENT);
	CHECK_STR(err_text(&e, text, sizeof(text)), want);
}

TEST(channel_ways)
{
	const struct job_spec job = { .fastfile_links_max = 10 };
	static const struct {
		const char *mode;
		enum place place;
		uint64_t objects;
		enum channel_way want;
	} cases[] = {
		{ "File", PLACE_EMBEDDED, 11, CHANNEL_PLACED },    { "File", PLACE_REMOTE, 1, CHANNEL_PLACED },
		{ "File", PLACE_FILE_SYSTEM, 0, CHANNEL_MOUNTED }, { "Pipe", PLACE_EMBEDDED, 1, CHANNEL_PIPED },
		{ "Pipe", PLACE_REMOTE, 1, CHANNEL_PIPED },        { "FastFile", PLACE_EMBEDDED, 10, CHANNEL_LINKED },
		{ "FastFile", PLACE_EMBEDDED, 11, CHANNEL_FUSED }, { "FastFile", PLACE_REMOTE, 1, CHANNEL_FUSED },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct channel_spec ch = { .input_mode = (char *)cases[i].mode,
			                         .place = cases[i].place,
			                         .objects = cases[i].objects };

		CHECK_INT(channel_way(&ch, &job), cases[i].want);
	}
	for (enum channel_way w = CHANNEL_PLACED; w <= CHANNEL_MOUNTED; w++)
		CHECK(channel_ops_for(w) != NULL);
}

TEST(channel_file_places_below_the_prefix)
{
	struct world w;
	struct stat st, stored;

	world_open(&w, "data/train");
	add(&w, "data/train/a.csv", "a");
	add(&w, "data/train/deep/er/b", "bb");
	add(&w, "data/train/deep/er/c", "");
	add(&w, "data/train/empty/", "");
	add(&w, "data/train/z", "zzz");
	CHECK_OK(prepare(&w, e));
	check_file(&w, "train/a.csv", "a");
	check_file(&w, "train/deep/er/b", "bb");
	check_file(&w, "train/deep/er/c", "");
	check_file(&w, "train/z", "zzz");
	CHECK(fstatat(w.env.data_dirfd, "train/empty", &st, 0) == 0 && S_ISDIR(st.st_mode));
	CHECK_INT(st.st_mode & 07777, 0755);
	CHECK_INT(w.stats.objects, 5);
	CHECK_INT(w.stats.bytes, 6);
	CHECK_INT(w.stats.linked, 4);
	CHECK_INT(w.stats.copied, 0);
	/* One file of two names, root's and readable. */
	CHECK(fstatat(w.env.data_dirfd, "train/a.csv", &st, 0) == 0);
	CHECK(fstatat(w.env.objects_dirfd, "00/00000000000000000000000000000000", &stored, 0) == 0);
	CHECK(st.st_ino == stored.st_ino && st.st_mtim.tv_nsec == stored.st_mtim.tv_nsec);
	CHECK_INT(st.st_mode & 07777, 0644);
	world_close(&w);
}

/* The store's directory is another user's, who may have linked there what only root or a third user can read. */
TEST(channel_file_shows_no_files_from_elsewhere)
{
	struct world w;
	struct stat st;
	struct err why = { 0 };
	const char *object = "00/00000000000000000000000000000000";

	if (geteuid() != 0)
		return;
	world_open(&w, "p");
	add(&w, "p/secret", "root's own");
	CHECK(fchown(w.env.objects_dirfd, 64000, 64000) == 0);
	CHECK(prepare(&w, &why) < 0 && why.kind == ERR_DENIED);
	check_file(&w, "train/secret", "(none)");
	CHECK(fstatat(w.env.objects_dirfd, object, &st, 0) == 0 && (st.st_mode & 07777) == 0600);
	/* The store's own are made root's, without what their owner had put on them. */
	CHECK(fchownat(w.env.objects_dirfd, object, 64000, 64000, 0) == 0);
	CHECK(fchmodat(w.env.objects_dirfd, object, 06777, 0) == 0);
	CHECK_OK(prepare(&w, e));
	CHECK(fstatat(w.env.data_dirfd, "train/secret", &st, 0) == 0);
	CHECK(st.st_uid == 0 && st.st_gid == 0 && (st.st_mode & 07777) == 0644);
	world_close(&w);
}

TEST(channel_file_reads_its_list_where_it_belongs)
{
	struct world w;
	struct err why = { 0 };

	world_open(&w, "p");
	add(&w, "p/a", "a");
	fclose(take_ptr(w.list));
	CHECK(renameat(w.env.job_dirfd, "lists", w.env.job_dirfd, "away") == 0);
	CHECK(symlinkat("away", w.env.job_dirfd, "lists") == 0);
	CHECK(prepare(&w, &why) < 0);
	CHECK(unlinkat(w.env.job_dirfd, "lists", 0) == 0 && mkdirat(w.env.job_dirfd, "lists", 0700) == 0);
	CHECK(mkfifoat(w.env.job_dirfd, "lists/0", 0600) == 0); /* nobody will ever write to it */
	CHECK(prepare(&w, &why) < 0);
	world_close(&w);
}

TEST(channel_file_the_service_s_layouts)
{
	/* contract 2.3: prefix, key, path in the channel's directory */
	static const struct {
		const char *prefix, *key, *path;
	} rows[] = {
		{ "x/task1/state/", "x/task1/state/algo-1/s_1", "train/algo-1/s_1" },
		{ "p/training/", "p/training/en-ja/train.en", "train/en-ja/train.en" },
		{ "o/output/model.tar.gz", "o/output/model.tar.gz", "train/model.tar.gz" },
		{ "x/task1/state", "x/task1/state/algo-1/s_1", "train/algo-1/s_1" },
		{ "d/train", "d/train/x", "train/x" },
		{ "d/trai", "d/train/x", "train/train/x" },
		{ "", "top", "train/top" },
		{ "d/", "d/ \"odd\" \xc3\xbc \\", "train/ \"odd\" \xc3\xbc \\" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct world w;

		if (i)
			CHECK_OK(remove_tree(AT_FDCWD, test_tmpdir(), e));
		(void)!mkdir(test_tmpdir(), 0700);
		world_open(&w, rows[i].prefix);
		add(&w, rows[i].key, "here");
		CHECK_OK(prepare(&w, e));
		check_file(&w, rows[i].path, "here");
		world_close(&w);
	}
}

TEST(channel_file_manifest_is_the_service_s)
{
	struct world w;

	world_open(&w, "tests/proj/Task1/input");
	add(&w, "tests/proj/Task1/input/test", "1");
	add(&w, "tests/proj/Task1/input/test2", "");
	CHECK_OK(prepare(&w, e));
	check_file(&w, "train-manifest",
	           "tests/proj/Task1/input\n"
	           "s3://b/tests/proj/Task1/input/test\n"
	           "s3://b/tests/proj/Task1/input/test2\n");
	world_close(&w);
}

/* Line 1 is of the S3Uri, not of the prefix within a ManifestFile. */
TEST(channel_file_manifest_of_a_manifest_file)
{
	struct world w;

	world_open(&w, "d/");
	free(w.ch.s3_uri);
	w.ch.s3_uri = xstrdup("s3://lists/some/list.json");
	w.ch.s3_data_type = "ManifestFile";
	add(&w, "d/x", "1");
	CHECK_OK(prepare(&w, e));
	check_file(&w, "train-manifest", "some/list.json\ns3://b/d/x\n");
	check_file(&w, "train/x", "1");
	world_close(&w);
	(void)!remove_tree(AT_FDCWD, test_tmpdir(), NULL);
	(void)!mkdir(test_tmpdir(), 0700);
	world_open(&w, "");
	free(w.ch.s3_uri);
	w.ch.s3_uri = xstrdup("s3://b");
	add(&w, "x", "1");
	CHECK_OK(prepare(&w, e));
	check_file(&w, "train-manifest", "\ns3://b/x\n");
	world_close(&w);
}

/* contract 14.2 */
TEST(channel_file_shards_are_dealt)
{
	static const char *const keys[] = { "d/a", "d/b", "d/b1", "d/c", "d/e" };
	static const int host_of[] = { 1, 2, 3, 1, 2 };

	for (unsigned host = 1; host <= 3; host++) {
		struct world w;

		if (host > 1)
			CHECK_OK(remove_tree(AT_FDCWD, test_tmpdir(), e));
		(void)!mkdir(test_tmpdir(), 0700);
		world_open(&w, "d/");
		w.ch.distribution = "ShardedByS3Key";
		w.ch.share_number = host - 1;
		w.ch.share_count = 3;
		for (size_t i = 0; i < ARRAY_LEN(keys); i++)
			add(&w, keys[i], "x");
		CHECK_OK(prepare(&w, e));
		for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
			_cleanup_free_ char *path = strf("train/%s", keys[i] + 2);

			check_file(&w, path, host_of[i] == (int)host ? "x" : "(none)");
		}
		check_file(&w, "train-manifest", "d/\ns3://b/d/a\ns3://b/d/b\ns3://b/d/b1\ns3://b/d/c\ns3://b/d/e\n");
		CHECK_INT(w.stats.objects, host == 3 ? 1 : 2);
		world_close(&w);
	}
}

TEST(channel_file_no_objects_is_an_empty_directory)
{
	struct world w;
	struct stat st;

	world_open(&w, "none/");
	CHECK_OK(prepare(&w, e));
	CHECK(fstatat(w.env.data_dirfd, "train", &st, 0) == 0 && S_ISDIR(st.st_mode));
	check_file(&w, "train-manifest", "none/\n");
	world_close(&w);
}

/* As a manifest may name it. */
TEST(channel_file_an_object_twice_is_there_once)
{
	struct world w;

	world_open(&w, "d/");
	add(&w, "d/a", "a");
	w.next_id--; /* the same object */
	add(&w, "d/a", "a");
	add(&w, "d/b", "b");
	CHECK_OK(prepare(&w, e));
	check_file(&w, "train/a", "a");
	check_file(&w, "train/b", "b");
	check_file(&w, "train-manifest", "d/\ns3://b/d/a\ns3://b/d/a\ns3://b/d/b\n");
	world_close(&w);
}

TEST(channel_file_again_and_undone)
{
	struct world w;
	struct stat st;

	world_open(&w, "d/");
	add(&w, "d/a", "a");
	CHECK_OK(prepare(&w, e));
	CHECK_OK(file_put(w.env.data_dirfd, "train/left over", STR("?"), 0644, e));
	CHECK_OK(prepare(&w, e)); /* as after a crash in the middle */
	check_file(&w, "train/a", "a");
	check_file(&w, "train/left over", "(none)");
	for (int i = 0; i < 2; i++) {
		channel_ops_for(CHANNEL_PLACED)->close(&w.ch, &w.env);
		CHECK(fstatat(w.env.data_dirfd, "train", &st, 0) < 0);
		check_file(&w, "train-manifest", "(none)");
	}
	world_close(&w);
}

TEST(channel_file_refuses_keys_that_are_no_paths)
{
	static const struct {
		const char *key;
		size_t n;
		const char *want;
	} rows[] = {
		{ "d/x//y", 6,
		  "Data download failed:Failed to download data. S3 key: s3://b/d/x//y has an illegal char "
		  "sub-sequence '//' in it" },
		{ "d/../../etc/passwd", 18,
		  "Data download failed:Failed to download data. S3 key: s3://b/d/../../etc/passwd has the piece '..', "
		  "which is no file name" },
		{ "d/.", 3,
		  "Data download failed:Failed to download data. S3 key: s3://b/d/. has the piece '.', which is no "
		  "file name" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct world w;

		if (i)
			CHECK_OK(remove_tree(AT_FDCWD, test_tmpdir(), e));
		(void)!mkdir(test_tmpdir(), 0700);
		world_open(&w, "d/");
		add(&w, "d/a", "fine");
		add_key(&w, (struct str){ rows[i].key, rows[i].n }, "x");
		check_refused(&w, rows[i].want);
		world_close(&w);
	}
}

TEST(channel_file_takes_the_longest_key)
{
	_cleanup_buf_ struct buf key = { 0 }, path = { 0 };
	struct world w;

	buf_z(&key, "d/");
	while (key.n < 1022)
		buf_z(&key, "x/");
	buf_z(&key, "yz");
	world_open(&w, "d/");
	add(&w, key.p, "deep");
	CHECK_OK(prepare(&w, e));
	buf_f(&path, "train/%s", key.p + 2);
	check_file(&w, path.p, "deep");
	channel_ops_for(CHANNEL_PLACED)->close(&w.ch, &w.env);
	world_close(&w);
}

TEST(channel_file_names_both_keys_of_a_clash)
{
	/* Between the two lie keys that sort between "a" and "a/". */
	static const char *const rows[][4] = { { "d/a", "d/a-b", "d/a/b", "d/z" },
		                               { "d/a", "d/a-b", "d/a/b/c/d", "d/z" },
		                               { "d/a", "d/a-b", "d/a/", "d/z" },
		                               { "d//a", "d/0", "d/a", "d/z" } };
	unsigned threads_make_no_difference = 0;

	for (size_t i = 0; i < 2 * ARRAY_LEN(rows); i++) {
		const char *const *keys = rows[i % ARRAY_LEN(rows)];
		_cleanup_free_ char *want = strf("Data download failed:Failed to download data. S3 keys s3://b/%s and "
		                                 "s3://b/%s are in each other's way in "
		                                 "the channel's directory: a name cannot be two files, nor a file and "
		                                 "a directory. Rename one of the "
		                                 "objects, or use a narrower prefix",
		                                 keys[0], keys[2]);
		struct world w;

		if (i)
			CHECK_OK(remove_tree(AT_FDCWD, test_tmpdir(), e));
		(void)!mkdir(test_tmpdir(), 0700);
		world_open(&w, "d/");
		for (size_t k = 0; k < 4; k++)
			add(&w, keys[k], "x");
		if (i >= ARRAY_LEN(rows)) {
			w.ch.objects = 100000;
			threads_make_no_difference++;
		}
		check_refused(&w, want);
		world_close(&w);
	}
	CHECK_INT(threads_make_no_difference, ARRAY_LEN(rows));
}

TEST(channel_file_refuses_names_that_are_no_names)
{
	static const char *const names[] = { "..", ".", "", "a/b", "../x" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct world w;
		struct err e1 = { 0 };

		if (i)
			CHECK_OK(remove_tree(AT_FDCWD, test_tmpdir(), e));
		(void)!mkdir(test_tmpdir(), 0700);
		world_open(&w, "d/");
		add(&w, "d/a", "x");
		w.ch.name = (char *)names[i];
		CHECK_INT(prepare(&w, &e1), -1);
		CHECK_INT(e1.kind, ERR_CLIENT);
		channel_ops_for(CHANNEL_PLACED)->close(&w.ch, &w.env);
		CHECK(faccessat(w.env.data_dirfd, ".", F_OK, 0) == 0);
		world_close(&w);
	}
}

TEST(channel_file_manifest_and_channel_of_one_name)
{
	struct world w;
	struct err e1 = { 0 };

	world_open(&w, "d/");
	add(&w, "d/a", "x");
	CHECK_OK(prepare(&w, e));
	w.ch.name = "train-manifest";
	CHECK_INT(prepare(&w, &e1), -1);
	CHECK_INT(e1.kind, ERR_CLIENT);
	check_file(&w, "train-manifest", "d/\ns3://b/d/a\n");
	world_close(&w);
}

TEST(channel_file_lost_bytes_fail)
{
	static const char *const ids[] = { "ffffffffffffffffffffffffffffffff", "00aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		                           "0000" };

	for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
		struct world w;
		struct err e1 = { 0 };

		if (i)
			CHECK_OK(remove_tree(AT_FDCWD, test_tmpdir(), e));
		(void)!mkdir(test_tmpdir(), 0700);
		world_open(&w, "d/");
		add(&w, "d/a", "x");
		list_object(&w, ids[i], STR("d/b"), 5);
		CHECK_INT(prepare(&w, &e1), -1);
		CHECK_INT(e1.kind, i == 2 ? ERR_BUG : ERR_IO);
		world_close(&w);
	}
}

TEST(channel_file_bytes_of_another_size_fail)
{
	struct world w;
	struct err e1 = { 0 };

	world_open(&w, "d/");
	add(&w, "d/a", "x");
	list_object(&w, "00000000000000000000000000000000", STR("d/b"), 2);
	CHECK_INT(prepare(&w, &e1), -1);
	CHECK_INT(e1.kind, ERR_IO);
	world_close(&w);
}

TEST(channel_file_torn_list_fails)
{
	struct world w;
	struct err e1 = { 0 };

	world_open(&w, "d/");
	add(&w, "d/a", "x");
	fputs("3 4 00", w.list);
	CHECK_INT(prepare(&w, &e1), -1);
	world_close(&w);
}

TEST(channel_file_stops_when_told)
{
	struct world w;
	struct err e1 = { 0 };

	world_open(&w, "d/");
	for (int i = 0; i < 3000; i++) {
		_cleanup_free_ char *key = strf("d/%05d", i);

		add(&w, key, "x");
	}
	w.cancel_after = 5;
	CHECK_INT(prepare(&w, &e1), -1);
	CHECK_INT(e1.kind, ERR_BUSY);
	channel_ops_for(CHANNEL_PLACED)->close(&w.ch, &w.env);
	world_close(&w);
}

TEST(channel_file_many_objects_on_threads)
{
	enum { COUNT = 20000 };
	struct world w;
	struct stat st;
	int bad = 0;

	world_open(&w, "d/");
	for (int i = 0; i < COUNT; i++) {
		_cleanup_free_ char *key = strf("d/%03d/%05d", i / 50, i), *text = strf("%d", i);

		add(&w, key, text);
	}
	CHECK_OK(prepare(&w, e));
	CHECK_INT(w.stats.linked, COUNT);
	for (int i = 0; i < COUNT; i++) {
		_cleanup_free_ char *path = strf("train/%03d/%05d", i / 50, i), *text = strf("%d", i);
		_cleanup_buf_ struct buf got = { 0 };

		bad += file_read_at(w.env.data_dirfd, path, 100, &got, NULL) < 0 || !str_is(buf_view(&got), text);
	}
	CHECK_INT(bad, 0);
	CHECK(fstatat(w.env.data_dirfd, "train", &st, 0) == 0);
	world_close(&w);
}

TEST(channel_file_copies_to_another_file_system)
{
	_cleanup_free_ char *other = strf("%s/other", test_tmpdir());
	struct world w;
	struct stat st, stored;

	if (geteuid() != 0)
		return; /* mounting takes root */
	world_open(&w, "d/");
	close(w.env.data_dirfd);
	must(mkdir(other, 0755) == 0);
	must(mount("tmpfs", other, "tmpfs", 0, "size=1m") == 0);
	w.env.data_dirfd = open(other, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	add(&w, "d/a", "a");
	add(&w, "d/b/c", "");
	CHECK_OK(prepare(&w, e));
	CHECK_INT(w.stats.copied, 2);
	CHECK_INT(w.stats.linked, 0);
	check_file(&w, "train/a", "a");
	CHECK(fstatat(w.env.data_dirfd, "train/a", &st, 0) == 0);
	CHECK(fstatat(w.env.objects_dirfd, "00/00000000000000000000000000000000", &stored, 0) == 0);
	CHECK(st.st_mtim.tv_sec == stored.st_mtim.tv_sec && st.st_mtim.tv_nsec == stored.st_mtim.tv_nsec);
	CHECK_INT(st.st_mode & 07777, 0644);
	CHECK_STR(w.said.p, "channel 'train': 2 of 2 objects had to be copied, not linked");
	{
		/* And one that is too large for it. */
		_cleanup_free_ char *big = xcalloc(1, 2 << 20), *list = strf("%s/job/lists/0", test_tmpdir());

		memset(big, 'x', (2 << 20) - 1);
		w.list = fopen(list, "w");
		must(w.list);
		add(&w, "d/big", big);
		check_refused(&w, "Data download failed:Insufficient disk space");
	}
	world_close(&w);
	CHECK(umount2(other, MNT_DETACH) == 0);
}

TEST(channel_file_modes_do_not_depend_on_the_umask)
{
	struct world w;
	struct stat st;

	world_open(&w, "d/");
	umask(077);
	add(&w, "d/a/b", "x");
	CHECK_OK(prepare(&w, e));
	CHECK(fstatat(w.env.data_dirfd, "train/a", &st, 0) == 0);
	CHECK_INT(st.st_mode & 07777, 0755);
	CHECK(fstatat(w.env.data_dirfd, "train-manifest", &st, 0) == 0);
	CHECK_INT(st.st_mode & 07777, 0644);
	CHECK_INT(umask(022), 077);
	world_close(&w);
}
