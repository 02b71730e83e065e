/* request.h - one S3 request on its way through the front: what was asked, its body, and how to answer.
 *
 * Made in the header phase, used by one thread at a time, freed when the request is done. Only the files of the front
 * (front*.c, request.c, body.c, reply.c) include this.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "blob/body.h"
#include "blob/front.h"
#include "blob/upload.h"
#include "http/server.h"
#include "iam/iam.h"

enum { S3_LIST_MAX = 1000, S3_XML_MAX = 8 << 20, S3_META_MAX = 2048 };
#define S3_PUT_MAX (UINT64_C(5) << 30)

struct front;
/* Answers into *out on S3_OK; any other code is answered as an error by the caller, with e's sentence if there is one.
 */
typedef enum s3_code front_fn(struct front *f, struct http_request *r, struct http_response *out, struct err *e);

enum front_scope { ON_SERVICE, ON_BUCKET, ON_OBJECT };

/* What the body of a request is for. */
enum front_body {
	BODY_IGNORED, /* none is expected; read, checked against its hash, and dropped */
	BODY_XML,     /* collected in f->text */
	BODY_STORED,  /* given to the sink that `begin` opened */
};

struct front_row {
	const char *name;   /* as in the API */
	const char *action; /* as in policies, "s3:..."; NULL: asked by the handler, which knows more */
	const char *method;
	enum front_scope scope;
	const char *sub;    /* must stand in the query: "uploads", "list-type=2"; NULL: nothing must */
	const char *header; /* must be there; NULL */
	front_fn *run;
	enum s3_code (*begin)(struct front *f, struct http_request *r, struct err *e); /* in the header phase; NULL */
	enum front_body body;
	bool slow; /* commits to the disk */
};

struct front_arg {
	struct str name, value; /* decoded */
	bool has_value;
};

struct front {
	struct blob_store *b;
	const struct front_row *row;
	struct buf bucket, key; /* decoded */
	struct buf arg_text;    /* what args view */
	struct front_arg *args;
	size_t arg_count;
	struct buf account, region, host;
	bool virtual_host, head;
	const struct iam *iam;
	struct iam_session *session; /* NULL: may everything */
	struct wall now;

	enum s3_code code; /* a refusal, found before the handler runs */
	struct err err;

	struct body *body;        /* NULL until the header phase accepted the request */
	struct buf text;          /* BODY_XML */
	struct blob_in in;        /* PutObject */
	struct blob_part_in part; /* UploadPart */
};

/* ---- what was asked (request.c) ---- */
enum s3_code front_parse(struct front *f, const struct http_request *r, struct err *e);
/* {NULL,0} when it is not there. */
struct str front_arg(const struct front *f, const char *name);
bool front_has(const struct front *f, const char *name);
/* A number of the query: `otherwise` when absent, at most max (more is max). S3_InvalidArgument when it is none. */
enum s3_code front_number(const struct front *f, const char *name, uint64_t otherwise, uint64_t max, uint64_t *ret,
                          struct err *e);
/* Refuses the headers that ask for what is not there (tags, grants, SSE-C, ...), naming them. */
enum s3_code front_check_headers(const struct http_request *r, struct err *e);
/* The header lines to keep with an object. S3_MetadataTooLarge. */
enum s3_code front_meta(const struct http_request *r, struct buf *out, struct err *e);
struct blob_cond front_cond(const struct http_request *r);
/* "bucket/key" or "/bucket/key", encoded, as in x-amz-copy-source. */
enum s3_code front_copy_source(const struct http_request *r, struct buf *bucket, struct buf *key, struct err *e);
/* Whether the session may; S3_AccessDenied with its sentence. bucket empty: of no bucket; key empty: the bucket itself.
 */
enum s3_code front_may(const struct front *f, const char *action, struct str bucket, struct str key, struct err *e);
/* One line of stored meta: the value of that name; {NULL,0}. */
struct str meta_get(struct str meta, const char *name);

/* Preconditions of reading (RFC 9110 13.2.2). prefix: "" or "x-amz-copy-source-", where nothing is NotModified. */
enum s3_code front_read_cond(const struct http_request *r, const char *prefix, const struct blob_object *o);
/* "bytes=..." against a size: 1 a range, 0 no range that counts, -1 not satisfiable. */
int front_range(struct str header, uint64_t size, uint64_t *ret_from, uint64_t *ret_length);

/* ---- answering (reply.c) ---- */
void reply_error(const struct front *f, const struct http_request *r, enum s3_code code, const struct err *e,
                 struct http_response *out);
/* Starts an XML document with S3's name space, ends it and announces it. */
void reply_xml_begin(struct http_response *out, const char *root);
void reply_xml_end(struct http_response *out, const char *root);
void reply_xml_text(struct http_response *out, const char *name, struct str text);
void reply_xml_number(struct http_response *out, const char *name, uint64_t v);
/* Text of a key: percent-encoded when the client asked for encoding-type=url. */
void reply_xml_key(struct http_response *out, const char *name, struct str key, bool encode);
void reply_xml_time(struct http_response *out, const char *name, struct wall t);
void reply_xml_etag(struct http_response *out, struct str etag);
void reply_xml_owner(const struct front *f, struct http_response *out, const char *name);
void reply_etag(struct http_response *out, struct str etag);
/* The checksum headers among stored lines, as headers or as elements <ChecksumCRC32>. */
void reply_checksums(struct http_response *out, struct str meta);
void reply_xml_checksums(struct http_response *out, struct str meta);

/* ---- the handlers ---- */
front_fn s3_list_buckets, s3_create_bucket, s3_head_bucket, s3_delete_bucket, s3_get_location, s3_bucket_property;
front_fn s3_list_v1, s3_list_v2;
front_fn s3_put_object, s3_copy_object, s3_get_object, s3_delete_object, s3_delete_objects, s3_object_acl,
        s3_object_tags;
front_fn s3_create_upload, s3_upload_part, s3_upload_part_copy, s3_complete_upload, s3_abort_upload, s3_list_parts,
        s3_list_uploads;
enum s3_code s3_put_object_begin(struct front *f, struct http_request *r, struct err *e);
enum s3_code s3_upload_part_begin(struct front *f, struct http_request *r, struct err *e);
/* The action of asking for it. */
const char *s3_bucket_property_action(struct str name);
/* Whether bucket_property has an answer for a sub-resource. */
bool s3_bucket_property_known(struct str name);
