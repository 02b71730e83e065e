/* put.c - PutObject, and multipart uploads of what is large.  SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aws/xml.h"
#include "base/hash.h"
#include "s3/call.h"
#include "s3/put.h"

enum { PARTS_MAX = 10000, READ_BYTES = 1 << 20 };

static int take_etag(const struct http_reply *reply, struct buf *out, struct err *e)
{
	struct str etag;

	if (!http_reply_header(reply, "ETag", &etag))
		return err_set(e, ERR_IO, "the server's answer has no ETag");
	if (out) {
		buf_reset(out);
		buf_str(out, s3_unquote(etag));
	}
	return 0;
}

static int call_for_etag(struct s3 *s, const struct s3_call *c, struct buf *etag_out, struct err *e)
{
	struct http_reply reply = { 0 };
	int rc = s3_call(s, c, &reply, e);

	if (rc == 0)
		rc = take_etag(&reply, etag_out, e);
	http_reply_fini(&reply);
	return rc;
}

int s3_put(struct s3 *s, struct s3_uri at, struct str bytes, const char *content_type, struct buf *etag_out,
           struct err *e)
{
	_cleanup_free_ char *type = strf("Content-Type: %s", content_type ? content_type : "application/octet-stream");
	struct s3_call c = S3_CALL(.method = "PUT", .bucket = at.bucket, .key = at.key, .body = bytes,
	                           .header = { type });

	if (call_for_etag(s, &c, etag_out, e) < 0)
		return -1;
	s3_progress(s, (int64_t)bytes.n);
	return 0;
}

/* SHA-256 of a piece of the file, in hex: the server holds it against what arrives. */
static int hash_piece(struct s3 *s, int fd, uint64_t offset, uint64_t length, char hex[65], struct err *e)
{
	_cleanup_free_ char *piece = xcalloc(1, READ_BYTES);
	_cleanup_(hash_freep) struct hash *h = hash_new(HASH_SHA256);
	_cleanup_buf_ struct buf text = { 0 };
	unsigned char digest[SHA256_BYTES];

	while (length) {
		ssize_t n = pread(fd, piece, length < READ_BYTES ? (size_t)length : READ_BYTES, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "reading the file to upload");
		if (n == 0)
			return err_set(e, ERR_IO, "the file to upload became shorter while it was read");
		if (s3_cancelled(s))
			return err_set(e, ERR_IO, "cancelled");
		hash_add(h, piece, (size_t)n);
		offset += (uint64_t)n;
		length -= (uint64_t)n;
	}
	hash_end(take_ptr(h), digest);
	buf_hex(&text, digest, sizeof(digest));
	memcpy(hex, text.p, 65);
	return 0;
}

/* Sends length bytes at offset as the body of c. The descriptor is opened anew: threads need offsets of their own. */
static int put_piece(struct s3 *s, int fd, uint64_t offset, uint64_t length, struct s3_call *c, struct buf *etag_out,
                     struct err *e)
{
	char path[40], hex[65];
	_cleanup_close_ int own = -EBADF;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	own = open(path, O_RDONLY | O_CLOEXEC);
	if (own < 0)
		return err_sys(e, "opening the file to upload once more");
	if (hash_piece(s, own, offset, length, hex, e) < 0)
		return -1;
	c->payload_hash = hex;
	c->body_fd = own;
	c->body_offset = offset;
	c->body_length = length;
	if (call_for_etag(s, c, etag_out, e) < 0)
		return -1;
	s3_progress(s, (int64_t)length);
	return 0;
}

/* ---- multipart ---- */

struct upload {
	struct s3 *s;
	struct s3_uri at;
	int fd;
	uint64_t size, part;
	size_t count;
	struct buf *etags; /* one a part */
	char *id;
};

static int take_upload_id(struct str path, struct str text, void *arg, struct err *e)
{
	char **id = arg;

	(void)e;
	if (str_eq(path, STR("InitiateMultipartUploadResult/UploadId"))) {
		free(*id);
		*id = str_dup(text);
	}
	return 0;
}

/* What s3_abandon() has to know. */
static void remember(struct upload *u, bool on)
{
	struct s3 *s = u->s;

	pthread_mutex_lock(&s->shared.mu);
	free(take_ptr(s->shared.upload_id));
	buf_reset(&s->shared.upload_bucket);
	buf_reset(&s->shared.upload_key);
	if (on) {
		s->shared.upload_id = xstrdup(u->id);
		buf_str(&s->shared.upload_bucket, u->at.bucket);
		buf_str(&s->shared.upload_key, u->at.key);
	}
	pthread_mutex_unlock(&s->shared.mu);
}

static int create_upload(struct upload *u, const char *content_type, struct err *e)
{
	_cleanup_free_ char *type = strf("Content-Type: %s", content_type ? content_type : "application/octet-stream");
	struct s3_call c = S3_CALL(.method = "POST", .bucket = u->at.bucket, .key = u->at.key, .query = STR("uploads="),
	                           .header = { type });
	struct http_reply reply = { 0 };
	int rc;

	if (s3_call(u->s, &c, &reply, e) < 0)
		return -1;
	rc = xml_read(buf_view(&reply.body), take_upload_id, &u->id, e);
	http_reply_fini(&reply);
	if (rc == 0 && !u->id)
		rc = err_set(e, ERR_IO, "the answer to CreateMultipartUpload has no UploadId");
	if (rc == 0)
		remember(u, true);
	return rc;
}

static char *upload_query(const char *id, size_t part)
{
	struct buf q = { 0 };

	if (part)
		buf_f(&q, "partNumber=%zu&", part);
	buf_z(&q, "uploadId=");
	buf_uri(&q, str_of(id), false);
	return buf_take(&q);
}

static int put_part(void *arg, size_t i, struct err *e)
{
	struct upload *u = arg;
	_cleanup_free_ char *query = upload_query(u->id, i + 1);
	uint64_t offset = i * u->part, left = u->size - offset;
	struct s3_call c = S3_CALL(.method = "PUT", .bucket = u->at.bucket, .key = u->at.key, .query = str_of(query));

	return put_piece(u->s, u->fd, offset, left < u->part ? left : u->part, &c, &u->etags[i], e);
}

struct finished {
	struct buf etag, code, message;
};

/* CompleteMultipartUpload may say 200 and then report an error in the body. */
static int take_finished(struct str path, struct str text, void *arg, struct err *e)
{
	struct finished *f = arg;

	(void)e;
	if (str_eq(path, STR("CompleteMultipartUploadResult/ETag")))
		buf_str(&f->etag, s3_unquote(text));
	else if (str_eq(path, STR("Error/Code")))
		buf_str(&f->code, text);
	else if (str_eq(path, STR("Error/Message")))
		buf_str(&f->message, text);
	return 0;
}

static int complete_upload(struct upload *u, struct buf *etag_out, struct err *e)
{
	_cleanup_buf_ struct buf body = { 0 };
	_cleanup_free_ char *query = upload_query(u->id, 0);
	struct s3_call c = S3_CALL(.method = "POST", .bucket = u->at.bucket, .key = u->at.key, .query = str_of(query));
	struct http_reply reply = { 0 };
	struct finished f = { 0 };
	int rc;

	buf_z(&body, "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
	for (size_t i = 0; i < u->count; i++) {
		buf_f(&body, "<Part><PartNumber>%zu</PartNumber><ETag>&quot;", i + 1);
		buf_xml(&body, buf_view(&u->etags[i]));
		buf_z(&body, "&quot;</ETag></Part>");
	}
	buf_z(&body, "</CompleteMultipartUpload>");
	c.body = buf_view(&body);
	if (s3_call(u->s, &c, &reply, e) < 0)
		return -1;
	rc = xml_read(buf_view(&reply.body), take_finished, &f, e);
	http_reply_fini(&reply);
	if (rc == 0 && !f.etag.n)
		rc = err_set(e, ERR_IO, "completing the upload failed: %s %s", f.code.n ? f.code.p : "no ETag",
		             f.message.n ? f.message.p : "");
	if (rc == 0 && etag_out) {
		buf_reset(etag_out);
		buf_str(etag_out, buf_view(&f.etag));
	}
	buf_fini(&f.etag);
	buf_fini(&f.code);
	buf_fini(&f.message);
	return rc;
}

static void abort_upload(struct s3 *s, struct s3_uri at, const char *id)
{
	_cleanup_free_ char *query = upload_query(id, 0);
	struct s3_call c = S3_CALL(.method = "DELETE", .bucket = at.bucket, .key = at.key, .query = str_of(query));
	struct http_reply reply = { 0 };
	struct err e = { 0 };
	bool again = true;

	c.regardless = true; /* this is the cleaning up, also after a cancellation */
	for (int i = 0; i < 3 && again; i++)
		if (s3_attempt(s, &c, &reply, &again, &e) == 0) {
			http_reply_fini(&reply);
			break;
		}
}

static int put_parts(struct upload *u, const char *content_type, struct buf *etag_out, struct err *e)
{
	if (create_upload(u, content_type, e) < 0)
		return -1;
	if (s3_parallel(s3_threads(u->s), u->count, put_part, u, e) == 0 && complete_upload(u, etag_out, e) == 0) {
		remember(u, false);
		return 0;
	}
	abort_upload(u->s, u->at, u->id);
	remember(u, false);
	return -1;
}

static int put_large(struct s3 *s, struct s3_uri at, int fd, uint64_t size, const char *content_type,
                     struct buf *etag_out, struct err *e)
{
	struct upload u = { .s = s, .at = at, .fd = fd, .size = size, .part = S3_PIECE };
	int rc;

	while (size / u.part >= PARTS_MAX)
		u.part *= 2;
	u.count = (size_t)((size + u.part - 1) / u.part);
	u.etags = xcalloc(u.count, sizeof(*u.etags));
	rc = put_parts(&u, content_type, etag_out, e);
	for (size_t i = 0; i < u.count; i++)
		buf_fini(&u.etags[i]);
	free(u.etags);
	free(u.id);
	return rc;
}

int s3_put_file(struct s3 *s, struct s3_uri at, int fd, const char *content_type, struct buf *etag_out, struct err *e)
{
	_cleanup_free_ char *type = strf("Content-Type: %s", content_type ? content_type : "application/octet-stream");
	struct s3_call c = S3_CALL(.method = "PUT", .bucket = at.bucket, .key = at.key, .header = { type });
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return err_set(e, ERR_INVALID, "only a regular file can be uploaded");
	if (st.st_size > S3_AT_ONCE_MAX)
		return put_large(s, at, fd, (uint64_t)st.st_size, content_type, etag_out, e);
	return put_piece(s, fd, 0, (uint64_t)st.st_size, &c, etag_out, e);
}

void s3_abandon(struct s3 *s)
{
	char *id;
	struct buf bucket = { 0 }, key = { 0 };

	pthread_mutex_lock(&s->shared.mu);
	id = take_ptr(s->shared.upload_id);
	buf_str(&bucket, buf_view(&s->shared.upload_bucket));
	buf_str(&key, buf_view(&s->shared.upload_key));
	pthread_mutex_unlock(&s->shared.mu);
	if (id)
		abort_upload(s, (struct s3_uri){ buf_view(&bucket), buf_view(&key) }, id);
	buf_fini(&bucket);
	buf_fini(&key);
	free(id);
}
