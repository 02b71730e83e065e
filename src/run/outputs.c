/* The outputs of a transform job, of each object that went well, on their way (contract 7.7): into staged/, where
 * bloomeryd takes them from, or to another S3. In a child, as they are hashed or sent. A job that is stopped stores
 * none (contract 7.4).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/log.h"
#include "channel/fetcher.h"
#include "run/deliver.h"
#include "run/driver.h"
#include "run/phase.h"
#include "run/reason.h"

enum { COPY_BYTES = 256 << 10, KEY_MAX_BYTES = 1024, KEY_SHOWN = 200, TOLD_LINE_MAX = 64 << 10 };
#define OUTPUTS_FILE "outputs"

/* ---- in the child ---- */

struct outputs {
	struct run *run;
	struct worker_link *link;
	int outbox, staged; /* staged: -EBADF for another S3 */
	FILE *list;         /* staged/outputs, NULL for another S3 */
	uint64_t count, bytes;
};

/* A line of what the driver has told. */
struct told_output {
	const char *leaf, *key, *bucket; /* without a bucket the key is below S3OutputPath */
};

static int hash_file(int fd, uint64_t *ret_size, char md5_hex[33], struct err *e)
{
	_cleanup_free_ char *bytes = xrealloc(NULL, COPY_BYTES);
	_cleanup_(hash_freep) struct hash *h = hash_new(HASH_MD5);
	_cleanup_buf_ struct buf hex = { 0 };
	unsigned char digest[MD5_BYTES];
	size_t n = 1;

	for (*ret_size = 0; n; *ret_size += n) {
		if (fd_read_full(fd, bytes, COPY_BYTES, &n, e) < 0)
			return -1;
		hash_add(h, bytes, n);
	}
	hash_end(take_ptr(h), digest);
	buf_hex(&hex, digest, sizeof(digest));
	memcpy(md5_hex, hex.p, 33);
	return 0;
}

/* An output, and where it is to go. */
struct output_file {
	const char *leaf, *bucket; /* bucket: NULL for the job's own */
	char *key;
	int fd;
};

static int put_remote(const struct outputs *o, const struct output_file *f, struct err *e)
{
	const struct job_spec *s = &o->run->spec;
	const char *bucket = f->bucket ? f->bucket : s->output_bucket;
	_cleanup_free_ char *program = strf("%s/bloomery-fetch", o->run->programs_dir);
	struct fetcher fetcher = {
		.program = program, .verb = "put", .fd = f->fd, .s3 = &s->s3, .bucket = bucket, .key = f->key
	};

	if (fetcher_run(&fetcher, NULL, e) < 0)
		return err_in(e, "uploading to s3://%s/%s", bucket, f->key);
	return unlinkat(o->outbox, f->leaf, 0) < 0 ? err_sys(e, "removing the output %s", f->leaf) : 0;
}

static int list_one(const struct outputs *o, const struct output_file *f, struct err *e)
{
	char md5[33], *text;
	uint64_t size;
	json_t *j;
	int rc = 0;

	if (hash_file(f->fd, &size, md5, e) < 0)
		return -1;
	j = json_pack("{s:s, s:s, s:I, s:s, s:s*}", "file", f->leaf, "key", f->key, "size", (json_int_t)size, "md5",
	              md5, "bucket", f->bucket);
	text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	if (!text)
		rc = err_set(e, ERR_BUG, "the key of an output is not UTF-8");
	else if (fprintf(o->list, "%s\n", text) < 0)
		rc = err_sys(e, "writing the list of outputs");
	free(text);
	json_decref(j);
	return rc;
}

/* One that cannot be an object is no reason for the others not to be; it does not come back in the next reading. */
static int refuse(struct outputs *o, const char *leaf, const char *key, struct err *e)
{
	_cleanup_buf_ struct buf text = { 0 };

	buf_f(&text, "the key of an output is longer than %d bytes: ", KEY_MAX_BYTES);
	reason_clean(str_of(key), KEY_SHOWN, &text);
	if (unlinkat(o->outbox, leaf, 0) < 0)
		return err_sys(e, "removing the output %s", leaf);
	return worker_report(o->link, json_pack("{s:s, s:s}", "t", "refused", "text", text.p), e);
}

static int give_one(struct outputs *o, const struct told_output *t, struct err *e)
{
	const struct job_spec *s = &o->run->spec;
	_cleanup_free_ char *key = t->bucket ? xstrdup(t->key)
	                                     : strf("%s%s%s", s->output_prefix, *s->output_prefix ? "/" : "", t->key);
	_cleanup_close_ int fd = openat(o->outbox, t->leaf, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct output_file f = { t->leaf, t->bucket, key, fd };
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "opening the output %s", t->leaf);
	if (strlen(key) > KEY_MAX_BYTES)
		return refuse(o, t->leaf, key, e);
	if (o->list ? list_one(o, &f, e) < 0 : put_remote(o, &f, e) < 0)
		return -1;
	o->count++;
	o->bytes += (uint64_t)st.st_size;
	return 0;
}

/* The driver names files by numbers and words; it reads what strangers send, and we are root. */
static bool is_leaf(const char *name)
{
	return name && *name && name[strspn(name, "0123456789abcdefghijklmnopqrstuvwxyz-")] == 0 &&
	       strcmp(name, OUTPUTS_FILE) != 0;
}

/* Each line of what the driver has told; a torn last one is that of a driver that was killed. */
static int each_told(struct outputs *o, int (*fn)(struct outputs *o, const struct told_output *t, struct err *e),
                     struct err *e)
{
	_cleanup_close_ int fd = openat(o->run->work_fd, DRIVER_TOLD, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_free_ char *line = NULL;
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	size_t room = 0;
	ssize_t n;
	int rc = 0;

	if (!f)
		return err_sys(e, "reading what was told of the outputs");
	(void)take_fd(fd);
	while (rc == 0 && (n = getline(&line, &room, f)) > 0 && line[n - 1] == '\n') {
		json_t *j = json_loadb(line, (size_t)n, 0, NULL);
		struct told_output t = { json_string_value(json_object_get(j, "file")),
			                 json_string_value(json_object_get(j, "key")),
			                 json_string_value(json_object_get(j, "bucket")) };

		rc = is_leaf(t.leaf) && t.key ? fn(o, &t, e) : err_set(e, ERR_BUG, "a line about an output is damaged");
		json_decref(j);
	}
	fclose(f);
	return rc;
}

static int stage(struct outputs *o, const char *leaf, struct err *e)
{
	struct stat to;

	if (faccessat(o->outbox, leaf, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
		return 0; /* refused */
	if (fstat(o->staged, &to) < 0 || fchownat(o->outbox, leaf, to.st_uid, to.st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "giving %s to bloomeryd", leaf);
	return renameat(o->outbox, leaf, o->staged, leaf) < 0 ? err_sys(e, "moving %s to staged", leaf) : 0;
}

static int stage_one(struct outputs *o, const struct told_output *t, struct err *e)
{
	return stage(o, t->leaf, e);
}

/* All of it is on the disk before anybody hears of it. */
static int stage_all(struct outputs *o, struct err *e)
{
	if (fclose(take_ptr(o->list)) != 0)
		return err_sys(e, "writing the list of outputs");
	if (syncfs(o->outbox) < 0)
		return err_sys(e, "syncing the outputs");
	if (each_told(o, stage_one, e) < 0 || stage(o, OUTPUTS_FILE, e) < 0)
		return -1;
	return fsync(o->staged) < 0 ? err_sys(e, "syncing staged") : 0;
}

static int open_places(struct outputs *o, struct err *e)
{
	int fd;

	o->outbox = openat(o->run->home_fd, DRIVER_OUTBOX, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (o->outbox < 0)
		return err_sys(e, "opening work/" DRIVER_OUTBOX);
	if (o->run->spec.output_place == PLACE_REMOTE)
		return 0;
	o->staged = deliver_open_staged(o->run, e);
	if (o->staged < 0)
		return -1;
	fd = openat(o->outbox, OUTPUTS_FILE, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	o->list = fd < 0 ? NULL : fdopen(fd, "w");
	return o->list ? 0 : err_sys(e, "making the list of outputs");
}

static int give_all(struct worker_link *link, void *arg, struct err *e)
{
	struct outputs o = { .run = arg, .link = link, .outbox = -EBADF, .staged = -EBADF };
	int rc = open_places(&o, e);

	if (rc == 0)
		rc = each_told(&o, give_one, e);
	if (rc == 0 && o.list)
		rc = stage_all(&o, e);
	if (rc == 0)
		rc = worker_report(link,
		                   json_pack("{s:s, s:I, s:I}", "t", "outputs", "count", (json_int_t)o.count, "bytes",
		                             (json_int_t)o.bytes),
		                   e);
	return rc; /* the process ends, and what is open with it */
}

/* ---- in the parent ---- */

static int on_report(void *arg, const json_t *msg, struct err *e)
{
	struct run *r = arg;
	const json_t *count = json_object_get(msg, "count"), *bytes = json_object_get(msg, "bytes");

	if (str_is(str_of(json_string_value(json_object_get(msg, "t"))), "refused")) {
		struct err why = { 0 };
		_cleanup_buf_ struct buf reason = { 0 };

		err_set(&why, ERR_CLIENT, "%s", json_string_value(json_object_get(msg, "text")));
		reason_of_error(&why, &reason);
		run_set_reason(r, buf_view(&reason));
		return 0;
	}
	if (r->stop != STOP_NONE)
		return 0;
	/* From here on the job is done, and it is too late to stop it. */
	r->outcome.exited = true;
	if (r->spec.output_place == PLACE_REMOTE || json_integer_value(count) == 0)
		return 0;
	return run_fact(r, FACT_OUTPUTS,
	                json_pack("{s:s, s:O, s:O}", "file", OUTPUTS_FILE, "count", count, "bytes", bytes), e);
}

static void on_ended(void *arg, const struct err *e)
{
	struct run *r = arg;

	worker_free(take_ptr(r->worker));
	if (e && r->stop != STOP_NONE) {
		e = NULL;            /* cut short */
	} else if (e && r->failed) { /* why the job has failed is what the user needs to know */
		log_err(LOG_ERROR, e, "the outputs of the failed job");
		run_say(r, "The outputs could not be kept: %s.", e->frame[0]);
		e = NULL;
	}
	if (e)
		run_failed(r, e);
	else
		run_next(r);
}

enum step phase_outputs(struct run *r, struct err *e)
{
	struct worker_task task = {
		.work = give_all, .report = on_report, .ended = on_ended, .arg = r, .name = "the keeping of the outputs"
	};

	if (r->stop != STOP_NONE)
		return STEP_NEXT;
	if (run_fact(r, r->failed ? FACT_SALVAGING : FACT_UPLOADING, NULL, e) < 0)
		return STEP_FAIL;
	return worker_start(r->loop, &task, &r->worker, e) < 0 ? STEP_FAIL : STEP_WAIT;
}
