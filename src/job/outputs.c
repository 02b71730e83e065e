/* SPDX-License-Identifier: Apache-2.0 */
#include "job/outputs.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "iam/iam.h"

static bool is_leaf(const char *z)
{
	return z && *z && !strchr(z, '/') && strcmp(z, ".") != 0 && strcmp(z, "..") != 0;
}

/* Its bucket, or the output itself. */
static int not_there(const struct outputs *o, const char *bucket, const char *key, struct err *e)
{
	bool exists = false;

	if (blob_bucket_exists(o->blobs, str_of(bucket), &exists, e) < 0)
		return -1;
	if (exists)
		return err_set(e, ERR_CLIENT,
		               "The output s3://%s/%s cannot be stored: its host does not have it any more", bucket,
		               key);
	return err_set(e, ERR_CLIENT,
	               "The output s3://%s/%s cannot be stored: its bucket was deleted while the job ran. "
	               "Create the bucket and run the job again",
	               bucket, key);
}

static int take_one(const struct outputs *o, const char *staged, const json_t *line, struct err *e)
{
	const char *file = json_string_value(json_object_get(line, "file"));
	const char *key = json_string_value(json_object_get(line, "key"));
	const char *md5 = json_string_value(json_object_get(line, "md5"));
	const char *named = json_string_value(json_object_get(line, "bucket")), *bucket = named ? named : o->bucket;
	const json_t *size = json_object_get(line, "size");
	_cleanup_free_ char *path = NULL;
	struct err why = { 0 };

	if (!is_leaf(file) || !key || !*key || !md5 || !json_is_integer(size) || json_integer_value(size) < 0)
		return err_set(e, ERR_CLIENT, "a host reported an output in a way that makes no sense");
	/* S3OutputPath was asked about when the job was created, but not where below it keys of the input lead. */
	if (o->iam && !iam_job_may_read(o->iam, o->job_id, str_of(bucket), str_of(key)))
		return err_set(e, ERR_CLIENT,
		               "The output s3://%s/%s cannot be stored: it would lie in another training job's output, "
		               "which the default policy of roles leaves out. Choose another S3OutputPath",
		               bucket, key);
	path = strf("%s/%s", staged, file);
	/* Again and again: it is bloomeryd's store that knows what was taken before, and where a kill left it half-way.
	 */
	if (blob_adopt(o->blobs, str_of(bucket), str_of(key), path, (uint64_t)json_integer_value(size), str_of(md5),
	               &why) == 0)
		return 0;
	if (why.kind == ERR_NOT_FOUND)
		return not_there(o, bucket, key, e);
	if (e)
		*e = why;
	return err_in(e, "taking s3://%s/%s over", bucket, key);
}

/* Of many small outputs each waits for the disk, and those that wait together are committed together. */
enum { THREADS = 8 };

struct taking {
	const struct outputs *o;
	const char *staged;
	struct { /* hold mu to touch anything in here */
		pthread_mutex_t mu;
		FILE *list;
		char *text;
		size_t room;
		uint64_t lines; /* dealt */
		struct err why; /* kind is ERR_NONE: all is well so far */
		uint64_t where; /* the first line that fails, whichever is heard of first */
	} shared;
};

/* The next line, or NULL: there is none, or one has failed. */
static json_t *next_line(struct taking *t, uint64_t *ret_number, bool *ret_more)
{
	json_t *line = NULL;
	ssize_t n = -1;

	pthread_mutex_lock(&t->shared.mu);
	if (t->shared.why.kind == ERR_NONE && t->o->stopped(t->o->arg))
		(void)err_set(&t->shared.why, ERR_BUSY, "taking outputs over was ended early");
	if (t->shared.why.kind == ERR_NONE)
		n = getline(&t->shared.text, &t->shared.room, t->shared.list);
	if (n > 0)
		line = json_loadb(t->shared.text, (size_t)n, 0, NULL);
	else if (t->shared.why.kind == ERR_NONE && ferror(t->shared.list))
		(void)err_sys(&t->shared.why, "reading the list of outputs");
	*ret_more = n > 0;
	*ret_number = t->shared.lines++;
	pthread_mutex_unlock(&t->shared.mu);
	return line;
}

static void *take_some(void *arg)
{
	struct taking *t = arg;
	uint64_t number;
	json_t *line;
	bool more;

	for (line = next_line(t, &number, &more); more; line = next_line(t, &number, &more)) {
		struct err why = { 0 };

		if (take_one(t->o, t->staged, line, &why) < 0) {
			pthread_mutex_lock(&t->shared.mu);
			if (t->shared.why.kind == ERR_NONE || number < t->shared.where) {
				t->shared.why = why;
				t->shared.where = number;
			}
			pthread_mutex_unlock(&t->shared.mu);
		}
		json_decref(line);
	}
	return NULL;
}

/* *f is read, and stays open. */
static int take_lines(const struct outputs *o, const char *staged, FILE *f, struct err *e)
{
	struct taking t = { .o = o, .staged = staged, .shared.list = f };
	pthread_t threads[THREADS - 1];
	unsigned n = 0;

	pthread_mutex_init(&t.shared.mu, NULL);
	while (n < ARRAY_LEN(threads) && pthread_create(&threads[n], NULL, take_some, &t) == 0)
		n++;
	(void)take_some(&t); /* with whatever help there is */
	while (n)
		pthread_join(threads[--n], NULL);
	pthread_mutex_destroy(&t.shared.mu);
	free(t.shared.text);
	if (t.shared.why.kind != ERR_NONE && e)
		*e = t.shared.why;
	return t.shared.why.kind == ERR_NONE ? 0 : -1;
}

int outputs_take(const struct outputs *o, const char *host_id, const json_t *fact, struct err *e)
{
	const char *file = json_string_value(json_object_get(fact, "file"));
	_cleanup_free_ char *staged = strf("%s/jobs/%s/staged", o->data_dir, host_id), *path = NULL;
	FILE *f;
	int fd, rc;

	if (!is_leaf(file))
		return err_set(e, ERR_CLIENT, "a host reported its outputs in a way that makes no sense");
	path = strf("%s/%s", staged, file);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return err_sys(e, "opening the list of outputs");
	f = fdopen(fd, "r");
	must(f);
	rc = take_lines(o, staged, f, e);
	fclose(f);
	return rc;
}
