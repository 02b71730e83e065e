/* front.c - which operation a request is, and the way of every request through the header phase, its body and the
 * answer.  SPDX-License-Identifier: Apache-2.0 */
#include "blob/front.h"

#include <stdlib.h>

#include "base/log.h"
#include "blob/request.h"

/* The first row that fits is taken, so what needs a sub-resource or a header comes before what does not. */
static const struct front_row rows[] = {
	{ "ListBuckets", "s3:ListAllMyBuckets", "GET", ON_SERVICE, NULL, NULL, s3_list_buckets },

	{ "GetBucketLocation", "s3:GetBucketLocation", "GET", ON_BUCKET, "location", NULL, s3_get_location },
	{ "ListMultipartUploads", "s3:ListBucketMultipartUploads", "GET", ON_BUCKET, "uploads", NULL, s3_list_uploads },
	{ "ListObjectsV2", "s3:ListBucket", "GET", ON_BUCKET, "list-type=2", NULL, s3_list_v2 },
	{ "DeleteObjects", NULL, "POST", ON_BUCKET, "delete", NULL, s3_delete_objects, NULL, BODY_XML, true },
	{ "ListObjects", "s3:ListBucket", "GET", ON_BUCKET, NULL, NULL, s3_list_v1 },
	{ "CreateBucket", "s3:CreateBucket", "PUT", ON_BUCKET, NULL, NULL, s3_create_bucket, NULL, BODY_XML, true },
	{ "HeadBucket", "s3:ListBucket", "HEAD", ON_BUCKET, NULL, NULL, s3_head_bucket },
	{ "DeleteBucket", "s3:DeleteBucket", "DELETE", ON_BUCKET, NULL, NULL, s3_delete_bucket, NULL, BODY_IGNORED,
	  true },

	{ "CreateMultipartUpload", "s3:PutObject", "POST", ON_OBJECT, "uploads", NULL, s3_create_upload, NULL,
	  BODY_IGNORED, true },
	{ "CompleteMultipartUpload", "s3:PutObject", "POST", ON_OBJECT, "uploadId", NULL, s3_complete_upload, NULL,
	  BODY_XML, true },
	{ "AbortMultipartUpload", "s3:AbortMultipartUpload", "DELETE", ON_OBJECT, "uploadId", NULL, s3_abort_upload,
	  NULL, BODY_IGNORED, true },
	{ "ListParts", "s3:ListMultipartUploadParts", "GET", ON_OBJECT, "uploadId", NULL, s3_list_parts },
	{ "UploadPartCopy", "s3:PutObject", "PUT", ON_OBJECT, "uploadId", "x-amz-copy-source", s3_upload_part_copy,
	  NULL, BODY_IGNORED, true },
	{ "UploadPart", "s3:PutObject", "PUT", ON_OBJECT, "uploadId", NULL, s3_upload_part, s3_upload_part_begin,
	  BODY_STORED, true },
	{ "GetObjectAcl", "s3:GetObjectAcl", "GET", ON_OBJECT, "acl", NULL, s3_object_acl },
	{ "GetObjectTagging", "s3:GetObjectTagging", "GET", ON_OBJECT, "tagging", NULL, s3_object_tags },
	{ "CopyObject", "s3:PutObject", "PUT", ON_OBJECT, NULL, "x-amz-copy-source", s3_copy_object, NULL, BODY_IGNORED,
	  true },
	{ "PutObject", "s3:PutObject", "PUT", ON_OBJECT, NULL, NULL, s3_put_object, s3_put_object_begin, BODY_STORED,
	  true },
	{ "GetObject", "s3:GetObject", "GET", ON_OBJECT, NULL, NULL, s3_get_object },
	{ "HeadObject", "s3:GetObject", "HEAD", ON_OBJECT, NULL, NULL, s3_get_object },
	{ "DeleteObject", "s3:DeleteObject", "DELETE", ON_OBJECT, NULL, NULL, s3_delete_object, NULL, BODY_IGNORED,
	  true },
};
/* GetBucketVersioning, GetBucketAcl, ...: sub-resources that a bucket here always answers in the same way. */
static const struct front_row property_row = { "GetBucketProperty", NULL, "GET", ON_BUCKET, NULL, NULL,
	                                       s3_bucket_property };

/* Every sub-resource that S3 has. One that stands in a query and has no row is refused by name; other parameters are
 * settings of the operation, or ignored as S3 does. */
static const char *const sub_resources[] = {
	"abac",
	"accelerate",
	"acl",
	"analytics",
	"annotation",
	"attributes",
	"cors",
	"delete",
	"encryption",
	"intelligent-tiering",
	"inventory",
	"legal-hold",
	"lifecycle",
	"location",
	"logging",
	"metadataAnnotationTable",
	"metadataConfiguration",
	"metadataInventoryTable",
	"metadataJournalTable",
	"metadataTable",
	"metrics",
	"notification",
	"object-lock",
	"ownershipControls",
	"policy",
	"policyStatus",
	"publicAccessBlock",
	"renameObject",
	"replication",
	"requestPayment",
	"restore",
	"retention",
	"select",
	"session",
	"tagging",
	"torrent",
	"uploadId",
	"uploads",
	"versioning",
	"versions",
	"website",
};

static const char *asked_sub_resource(const struct front *f)
{
	for (size_t i = 0; i < ARRAY_LEN(sub_resources); i++)
		if (front_has(f, sub_resources[i]))
			return sub_resources[i];
	return NULL;
}

static bool sub_fits(const struct front *f, const char *sub)
{
	struct str value = str_of(sub), name = str_cut(&value, '=');

	for (size_t i = 0; i < f->arg_count; i++)
		if (str_eq(f->args[i].name, name))
			return !value.n || str_eq(f->args[i].value, value);
	return false;
}

static bool row_fits(const struct front_row *row, const struct front *f, const struct http_request *r,
                     enum front_scope scope, const char *asked)
{
	if (row->scope != scope || !str_is(r->method, row->method))
		return false;
	if (row->sub ? !sub_fits(f, row->sub) : asked != NULL)
		return false;
	return !row->header || http_header_get(r, row->header).p;
}

static enum s3_code find_row(struct front *f, const struct http_request *r, struct err *e)
{
	enum front_scope scope = !f->bucket.n ? ON_SERVICE : f->key.n ? ON_OBJECT : ON_BUCKET;
	const char *asked = asked_sub_resource(f);
	struct str version = front_arg(f, "versionId");

	if (version.n && !str_eq(version, STR("null")))
		return s3_say(e, S3_NotImplemented, "Objects have no versions here: 'versionId'.");
	for (size_t i = 0; i < ARRAY_LEN(rows) && !f->row; i++)
		if (row_fits(&rows[i], f, r, scope, asked))
			f->row = &rows[i];
	if (!f->row && scope == ON_BUCKET && str_eq(r->method, STR("GET")) && asked &&
	    s3_bucket_property_known(str_of(asked)))
		f->row = &property_row;
	if (f->row)
		return S3_OK;
	if (asked)
		return s3_say(e, S3_NotImplemented, PRIstr " of the sub-resource '%s' is not supported by this server.",
		              ARGstr(r->method), asked);
	return S3_MethodNotAllowed;
}

/* ---- refused signatures ---- */

static const struct {
	enum s3_code header, query; /* for a signature in the header, and a presigned one */
	const char *text;           /* instead of the code's own sentence */
	bool say_why;               /* or what the check found */
} faults[] = {
	[SIG_MISSING] = { S3_AccessDenied, S3_AccessDenied },
	[SIG_BOTH] = { S3_InvalidArgument, S3_InvalidArgument, "Only one auth mechanism allowed" },
	[SIG_INCOMPLETE] = { S3_AuthorizationHeaderMalformed, S3_AuthorizationQueryParametersError, NULL, true },
	[SIG_BAD_SCOPE] = { S3_AuthorizationHeaderMalformed, S3_AuthorizationQueryParametersError, NULL, true },
	[SIG_UNKNOWN_KEY] = { S3_InvalidAccessKeyId, S3_InvalidAccessKeyId },
	[SIG_BAD_TOKEN] = { S3_InvalidToken, S3_InvalidToken },
	[SIG_TOKEN_EXPIRED] = { S3_ExpiredToken, S3_ExpiredToken },
	[SIG_EXPIRED] = { S3_AccessDenied, S3_AccessDenied, "Request has expired" },
	[SIG_SKEWED] = { S3_RequestTimeTooSkewed, S3_AccessDenied, NULL, true },
	[SIG_UNSIGNED_HEADER] = { S3_AccessDenied, S3_AccessDenied,
	                          "There were headers present in the request which were not signed" },
	[SIG_MISMATCH] = { S3_SignatureDoesNotMatch, S3_SignatureDoesNotMatch },
	[SIG_BAD_BODY_HASH] = { S3_XAmzContentSHA256Mismatch, S3_XAmzContentSHA256Mismatch },
};

static enum s3_code check_auth(const struct s3_auth *auth, struct err *e)
{
	bool presigned = auth->claim && auth->claim->presigned;
	enum s3_code code;

	if (auth->fault == SIG_OK)
		return S3_OK;
	must((size_t)auth->fault < ARRAY_LEN(faults));
	code = presigned ? faults[auth->fault].query : faults[auth->fault].header;
	if (faults[auth->fault].text)
		return s3_say(e, code, "%s", faults[auth->fault].text);
	if (auth->why && faults[auth->fault].say_why)
		return s3_say(e, code, "%s", auth->why);
	return code;
}

/* ---- what a session may ---- */

enum s3_code front_may(const struct front *f, const char *action, struct str bucket, struct str key, struct err *e)
{
	_cleanup_buf_ struct buf resource = { 0 }, why = { 0 };
	struct iam_wish wish = { .action = str_of(action) };

	if (!f->session)
		return S3_OK;
	buf_z(&resource, "arn:aws:s3:::");
	buf_str(&resource, bucket.n ? bucket : STR("*"));
	if (key.n)
		buf_c(&resource, '/');
	buf_str(&resource, key);
	wish.resource = buf_view(&resource);
	if (!key.n && str_is(wish.action, "s3:ListBucket"))
		wish.prefix = front_arg(f, "prefix");
	if (iam_may(f->iam, f->session, &wish, &why))
		return S3_OK;
	return s3_say(e, S3_AccessDenied, "%s", why.p);
}

/* Before the body comes. A copy also reads, perhaps from another bucket. */
static enum s3_code check_session(const struct front *f, const struct http_request *r, struct err *e)
{
	const char *action = f->row->action;
	_cleanup_buf_ struct buf bucket = { 0 }, key = { 0 };
	enum s3_code code = S3_OK;

	if (!f->session)
		return S3_OK;
	if (f->row == &property_row)
		action = s3_bucket_property_action(str_of(asked_sub_resource(f)));
	if (action)
		code = front_may(f, action, buf_view(&f->bucket), buf_view(&f->key), e);
	if (code == S3_OK && f->row->header) {
		code = front_copy_source(r, &bucket, &key, e);
		if (code == S3_OK)
			code = front_may(f, "s3:GetObject", buf_view(&bucket), buf_view(&key), e);
	}
	return code;
}

/* Who may not list a bucket is not told what is not in it. */
static enum s3_code hide_absence(const struct front *f, const struct http_request *r, enum s3_code code, struct err *e)
{
	_cleanup_buf_ struct buf bucket = { 0 }, key = { 0 };
	struct str of = buf_view(&f->bucket);
	struct err why = { 0 };

	if (code != S3_NoSuchKey || !f->session)
		return code;
	if (f->row->header && front_copy_source(r, &bucket, &key, &why) == S3_OK)
		of = buf_view(&bucket);
	if (front_may(f, "s3:ListBucket", of, (struct str){ 0 }, &why) == S3_OK)
		return code;
	*e = why;
	return S3_AccessDenied;
}

/* ---- the way of a request ---- */

static enum s3_code collect(struct str piece, void *arg, struct err *e)
{
	struct front *f = arg;

	(void)e;
	buf_str(&f->text, piece);
	return S3_OK;
}

static enum s3_code begin(struct front *f, const struct s3_auth *auth, struct http_request *r)
{
	struct err *e = &f->err;
	enum s3_code code = check_auth(auth, e);

	if (code == S3_OK)
		code = front_parse(f, r, e);
	else
		f->head = str_eq(r->method, STR("HEAD"));
	if (code == S3_OK)
		code = find_row(f, r, e);
	if (code == S3_OK)
		code = check_session(f, r, e);
	if (code == S3_OK && !str_eq(r->method, STR("GET")))
		code = front_check_headers(r, e);
	if (code == S3_OK)
		code = body_new(r, auth, f->row->body == BODY_STORED ? S3_PUT_MAX : S3_XML_MAX, &f->body, e);
	if (code == S3_OK && f->row->body == BODY_XML)
		body_sink(f->body, collect, f);
	if (code == S3_OK && f->row->begin)
		code = f->row->begin(f, r, e);
	return code;
}

static int on_body(struct http_request *r, struct str piece, struct err *e)
{
	struct front *f = r->ctx;

	if (f->code == S3_OK)
		f->code = body_feed(f->body, piece, &f->err);
	if (f->code == S3_OK)
		return 0;
	return err_set(e, ERR_INVALID, "S3 refused the body: %s", s3_code_info[f->code].name);
}

static void respond(struct http_request *r, const struct err *body_error, struct http_response *out)
{
	struct front *f = r->ctx;

	http_add_header(out, "x-amz-request-id", "%s", r->request_id);
	http_add_header(out, "x-amz-id-2", "%s", r->request_id);
	if (f->code == S3_OK && body_error)
		f->code = S3_IncompleteBody;
	if (f->code == S3_OK)
		f->code = body_end(f->body, &f->err);
	if (f->code == S3_OK)
		f->code = hide_absence(f, r, f->row->run(f, r, out, &f->err), &f->err);
	if (f->code != S3_OK)
		reply_error(f, r, f->code, &f->err, out);
}

static void done(struct http_request *r)
{
	struct front *f = r->ctx;

	body_free(f->body);
	blob_in_end(&f->in);
	blob_part_end(&f->part);
	buf_fini(&f->bucket);
	buf_fini(&f->key);
	buf_fini(&f->arg_text);
	buf_fini(&f->account);
	buf_fini(&f->region);
	buf_fini(&f->host);
	buf_fini(&f->text);
	iam_session_unref(f->session);
	free(f->args);
	free(f);
	r->ctx = NULL;
}

void s3_front_route(struct blob_store *b, const struct s3_auth *auth, struct http_request *r, struct http_route *ret)
{
	struct front *f = xcalloc(1, sizeof(*f));

	f->b = b;
	f->now = wall_now();
	f->in.fd = f->part.in.fd = -EBADF;
	buf_z(&f->account, auth->account ? auth->account : "000000000000");
	buf_z(&f->region, auth->region ? auth->region : "us-east-1");
	buf_need(&f->bucket, 0);
	buf_need(&f->key, 0);
	f->iam = auth->iam;
	f->session = iam_session_ref(auth->session);
	f->code = begin(f, auth, r);
	r->ctx = f;
	*ret = (struct http_route){ .on_body = on_body,
		                    .respond = respond,
		                    .done = done,
		                    .refuse = f->code != S3_OK,
		                    .slow = f->code == S3_OK && f->row->slow };
}
