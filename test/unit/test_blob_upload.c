/* Multipart uploads below the front: parts in place, parts elsewhere, and everybody at once.
 * SPDX-License-Identifier: Apache-2.0 */
#include "blob/upload.h"

#include <dirent.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "harness.h"

enum { MIB = 1 << 20, PART = 5 * MIB };

static struct err error;
static char *part_bytes;

static struct blob_store *store_begin(void)
{
	struct blob_store *b = NULL;

	CHECK_OK(blob_open(test_tmpdir(), &b, e));
	CHECK_OK(blob_bucket_create(b, STR("bkt"), e));
	part_bytes = xcalloc(1, PART + MIB);
	return b;
}

static void store_end(struct blob_store *b)
{
	blob_close(b);
	free(part_bytes);
}

static struct blob_upload upload_begin(struct blob_store *b)
{
	struct blob_upload u = { 0 };
	char id[BLOB_ID_BYTES] = "";

	CHECK_INT(blob_upload_begin(b, STR("bkt"), STR("k"), STR(""), STR("Content-Type: a/b\n"), id, &error), S3_OK);
	CHECK_INT(blob_upload_get(b, STR("bkt"), STR("k"), str_of(id), &u, &error), S3_OK);
	return u;
}

static enum s3_code part_open(struct blob_store *b, const struct blob_upload *u, unsigned number, uint64_t length,
                              struct blob_part_in *ret)
{
	return blob_part_begin(b, STR("bkt"), STR("k"), str_of(u->id), number, length, ret, &error);
}

/* Writes a part of that length full of `fill`; whether it went in place. */
static bool put_part(struct blob_store *b, const struct blob_upload *u, unsigned number, uint64_t length, char fill)
{
	struct blob_part_in p;
	struct wall modified;
	char etag[] = { fill, 0 };
	bool in_place;

	CHECK_INT(part_open(b, u, number, length, &p), S3_OK);
	in_place = p.in.in_place;
	memset(part_bytes, fill, length);
	CHECK_OK(blob_in_write(&p.in, (struct str){ part_bytes, length }, e));
	CHECK_INT(blob_part_commit(&p, str_of(etag), STR(""), &modified, &error), S3_OK);
	blob_part_end(&p);
	return in_place;
}

static enum s3_code complete(struct blob_store *b, const struct blob_upload *u, size_t n)
{
	_cleanup_(blob_parts_fini) struct blob_parts all = { 0 };
	size_t chosen[8];

	CHECK_INT(blob_parts_load(b, u->id, 0, &all, &error), S3_OK);
	if (all.n < n)
		return S3_NoSuchUpload; /* somebody else has completed it */
	for (size_t i = 0; i < n; i++)
		chosen[i] = i;
	return blob_upload_complete(b, u, STR("k"), &all, chosen, n, STR("etag-n"), STR(""), NULL, &error);
}

/* "a*5242880 b*7": the object's bytes, runs folded. */
static char *runs(struct blob_store *b, bool *ret_in_place, const struct blob_upload *u)
{
	_cleanup_(blob_object_fini) struct blob_object o = { 0 };
	_cleanup_close_ int fd = -EBADF;
	struct buf out = { 0 };
	uint64_t run = 0, total = 0;
	char last = 0, piece[65536];
	ssize_t n;

	buf_init(&out);
	CHECK_INT(blob_object_open(b, STR("bkt"), STR("k"), &o, &fd, &error), S3_OK);
	*ret_in_place = strcmp(o.id, u->file) == 0;
	while ((n = read(fd, piece, sizeof(piece))) > 0)
		for (ssize_t i = 0; i < n; i++, total++, run++)
			if (piece[i] != last) {
				if (run)
					buf_f(&out, "%c*%llu ", last, (unsigned long long)run);
				last = piece[i];
				run = 0;
			}
	buf_f(&out, "%c*%llu", last, (unsigned long long)run);
	CHECK_INT(total, o.size);
	return buf_take(&out);
}

#define CHECK_OBJECT(b, u, want, want_in_place)                   \
	do {                                                      \
		bool place_ = false;                              \
		_cleanup_free_ char *runs_ = runs(b, &place_, u); \
		CHECK_STR(runs_, want);                           \
		CHECK_INT(place_, want_in_place);                 \
	} while (0)

static unsigned files(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 256; i++) {
		_cleanup_free_ char *path = strf("%s/objects/%02x", test_tmpdir(), i);
		DIR *d = opendir(path);

		CHECK(d != NULL);
		for (struct dirent *ent; d && (ent = readdir(d));)
			n += ent->d_name[0] != '.';
		if (d)
			closedir(d);
	}
	return n;
}

TEST(upload_in_place_is_the_object)
{
	struct blob_store *b = store_begin();
	struct blob_upload u = upload_begin(b);

	CHECK(put_part(b, &u, 2, PART, 'b')); /* the first that comes tells the step */
	CHECK(put_part(b, &u, 4, 7, 'd'));
	CHECK(put_part(b, &u, 1, PART, 'a'));
	CHECK(put_part(b, &u, 3, PART, 'c'));
	CHECK_INT(files(), 1);
	CHECK_INT(complete(b, &u, 4), S3_OK);
	CHECK_OBJECT(b, &u, "a*5242880 b*5242880 c*5242880 d*7", true);
	CHECK_INT(files(), 1);
	CHECK_INT(blob_upload_get(b, STR("bkt"), STR("k"), str_of(u.id), &u, &error), S3_NoSuchUpload);
	blob_upload_fini(&u);
	store_end(b);
}

TEST(upload_what_does_not_fit_is_copied)
{
	struct blob_store *b = store_begin();
	struct blob_upload u = upload_begin(b);

	CHECK(put_part(b, &u, 1, PART, 'a'));
	CHECK(!put_part(b, &u, 2, PART + 1, 'b')); /* longer than its place */
	CHECK(put_part(b, &u, 3, 9, 'c'));
	CHECK(!put_part(b, &u, 1, PART, 'A')); /* again: the first one's bytes stay until this one is there */
	CHECK_INT(files(), 3);
	CHECK_INT(complete(b, &u, 3), S3_OK);
	CHECK_OBJECT(b, &u, "A*5242880 b*5242881 c*9", false);
	CHECK_INT(files(), 1); /* the parts have gone at once: no job has seen them */
	blob_upload_fini(&u);
	store_end(b);
}

TEST(upload_parts_that_are_not_listed_are_left_out)
{
	struct blob_store *b = store_begin();
	struct blob_upload u = upload_begin(b);

	for (unsigned i = 1; i <= 3; i++)
		CHECK(put_part(b, &u, i, PART, (char)('a' + i - 1)));
	CHECK_INT(complete(b, &u, 2), S3_OK);
	CHECK_OBJECT(b, &u, "a*5242880 b*5242880", false);
	CHECK_INT(files(), 1);
	blob_upload_fini(&u);
	store_end(b);
}

TEST(upload_one_small_part)
{
	struct blob_store *b = store_begin();
	struct blob_upload u = upload_begin(b);

	CHECK(!put_part(b, &u, 1, 3, 'a')); /* too small to tell the step */
	CHECK_INT(complete(b, &u, 1), S3_OK);
	CHECK_OBJECT(b, &u, "a*3", false);
	CHECK_INT(files(), 1);
	blob_upload_fini(&u);
	store_end(b);
}

TEST(upload_half_a_part_and_then_again)
{
	struct blob_store *b = store_begin();
	struct blob_upload u = upload_begin(b);
	struct blob_part_in p;

	CHECK(put_part(b, &u, 1, PART, 'a'));
	CHECK_INT(part_open(b, &u, 2, PART, &p), S3_OK);
	CHECK(p.in.in_place);
	memset(part_bytes, 'x', PART);
	CHECK_OK(blob_in_write(&p.in, (struct str){ part_bytes, MIB }, e));
	blob_part_end(&p); /* the client went away */
	CHECK(put_part(b, &u, 2, 10, 'b'));
	CHECK_INT(complete(b, &u, 2), S3_OK);
	CHECK_OBJECT(b, &u, "a*5242880 b*10", true); /* and not an x behind it */
	blob_upload_fini(&u);
	store_end(b);
}

TEST(upload_two_writers_of_one_part)
{
	struct blob_store *b = store_begin();
	struct blob_upload u = upload_begin(b);
	struct blob_part_in slow;
	struct wall modified;

	CHECK_INT(part_open(b, &u, 1, PART, &slow), S3_OK);
	CHECK(slow.in.in_place);
	CHECK(!put_part(b, &u, 1, PART, 'b')); /* the place is taken */
	memset(part_bytes, 'a', PART);
	CHECK_OK(blob_in_write(&slow.in, (struct str){ part_bytes, PART }, e));
	CHECK_INT(blob_part_commit(&slow, STR("a"), STR(""), &modified, &error), S3_OK); /* the last one wins */
	blob_part_end(&slow);
	CHECK_INT(complete(b, &u, 1), S3_OK);
	CHECK_OBJECT(b, &u, "a*5242880", true);
	CHECK_INT(files(), 1);
	blob_upload_fini(&u);
	store_end(b);
}

TEST(upload_completed_while_a_part_is_still_written)
{
	struct blob_store *b = store_begin();
	struct blob_upload u = upload_begin(b);
	struct blob_part_in late;
	struct wall modified;

	CHECK(put_part(b, &u, 1, PART, 'a'));
	CHECK(put_part(b, &u, 2, PART, 'b'));
	CHECK_INT(part_open(b, &u, 3, PART, &late), S3_OK);
	CHECK(late.in.in_place);
	CHECK_OK(blob_in_write(&late.in, STR("xxx"), e));
	CHECK_INT(complete(b, &u, 2), S3_OK);
	CHECK_OK(blob_in_write(&late.in, STR("xxx"), e));
	CHECK_OBJECT(b, &u, "a*5242880 b*5242880", false); /* not the file that is still being written */
	CHECK_INT(blob_part_commit(&late, STR("c"), STR(""), &modified, &error), S3_NoSuchUpload);
	blob_part_end(&late);
	CHECK_INT(files(), 1);
	CHECK_OBJECT(b, &u, "a*5242880 b*5242880", false);
	blob_upload_fini(&u);
	store_end(b);
}

TEST(upload_aborted_while_a_part_is_still_written)
{
	struct blob_store *b = store_begin();
	struct blob_upload u = upload_begin(b);
	struct blob_part_in late;
	struct wall modified;

	CHECK_INT(part_open(b, &u, 1, PART, &late), S3_OK);
	CHECK_INT(blob_upload_abort(b, &u, &error), S3_OK);
	CHECK_OK(blob_in_write(&late.in, STR("xxx"), e));
	CHECK_INT(blob_part_commit(&late, STR("c"), STR(""), &modified, &error), S3_NoSuchUpload);
	blob_part_end(&late);
	CHECK_INT(files(), 0);
	CHECK_INT(blob_upload_abort(b, &u, &error), S3_NoSuchUpload);
	blob_upload_fini(&u);
	store_end(b);
}

TEST(upload_goes_on_after_a_restart)
{
	struct blob_store *b = store_begin();
	struct blob_upload u = upload_begin(b);

	CHECK(put_part(b, &u, 2, PART, 'b'));
	blob_close(b);
	CHECK_OK(blob_open(test_tmpdir(), &b, e));
	CHECK(put_part(b, &u, 3, 4, 'c'));     /* the rows still tell the step */
	CHECK(!put_part(b, &u, 2, PART, 'B')); /* and that this one's place is taken */
	CHECK(put_part(b, &u, 1, PART, 'a'));
	CHECK_INT(complete(b, &u, 3), S3_OK);
	CHECK_OBJECT(b, &u, "a*5242880 B*5242880 c*4", false);
	CHECK_INT(files(), 1);
	blob_upload_fini(&u);
	store_end(b);
}

TEST(upload_goes_with_its_bucket)
{
	struct blob_store *b = store_begin();
	struct blob_upload u = upload_begin(b);

	put_part(b, &u, 1, PART, 'a');
	put_part(b, &u, 2, PART + 1, 'b');
	CHECK_INT(blob_bucket_drop(b, STR("bkt"), &error), S3_OK);
	CHECK_OK(blob_sweep(b, wall_now(), e));
	CHECK_INT(files(), 0);
	blob_upload_fini(&u);
	store_end(b);
}

TEST(upload_completed_from_an_old_list_of_parts)
{
	struct blob_store *b = store_begin();
	struct blob_upload u = upload_begin(b);
	_cleanup_(blob_parts_fini) struct blob_parts old = { 0 };
	static const size_t chosen[] = { 0, 1 };

	CHECK(put_part(b, &u, 1, PART, 'a'));
	CHECK(put_part(b, &u, 2, PART, 'b'));
	CHECK_INT(blob_parts_load(b, u.id, 0, &old, &error), S3_OK);
	CHECK(put_part(b, &u, 3, PART, 'c'));
	CHECK_INT(complete(b, &u, 3), S3_OK);
	/* Whoever looked before part 3 came must not cut the object down to two. */
	CHECK_INT(blob_upload_complete(b, &u, STR("k"), &old, chosen, 2, STR("e"), STR(""), NULL, &error),
	          S3_NoSuchUpload);
	CHECK_OBJECT(b, &u, "a*5242880 b*5242880 c*5242880", true);
	blob_upload_fini(&u);
	store_end(b);
}

struct completer {
	struct blob_store *b;
	const struct blob_upload *u;
	enum s3_code code;
};

static void *complete_thread(void *arg)
{
	struct completer *c = arg;

	c->code = complete(c->b, c->u, 2);
	return NULL;
}

TEST(upload_completed_by_many_at_once)
{
	struct blob_store *b = store_begin();
	struct blob_upload u = upload_begin(b);
	struct completer c[4];
	pthread_t thread[4];
	unsigned done = 0;

	put_part(b, &u, 1, PART, 'a');
	put_part(b, &u, 2, PART + 1, 'b');
	for (int i = 0; i < 4; i++) {
		c[i] = (struct completer){ b, &u, S3_OK };
		pthread_create(&thread[i], NULL, complete_thread, &c[i]);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(thread[i], NULL);
		done += c[i].code == S3_OK;
		CHECK(c[i].code == S3_OK || c[i].code == S3_OperationAborted || c[i].code == S3_NoSuchUpload);
	}
	CHECK_INT(done, 1);
	CHECK_OBJECT(b, &u, "a*5242880 b*5242881", false);
	CHECK_INT(files(), 1);
	blob_upload_fini(&u);
	store_end(b);
}
