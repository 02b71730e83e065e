/* reply.c - answers in S3's XML.  SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "base/hash.h"
#include "base/log.h"
#include "blob/request.h"

static void announce(struct http_response *out)
{
	http_add_header(out, "Content-Type", "application/xml");
}

void reply_xml_begin(struct http_response *out, const char *root)
{
	buf_f(&out->body,
	      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<%s xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">",
	      root);
}

void reply_xml_end(struct http_response *out, const char *root)
{
	buf_f(&out->body, "</%s>", root);
	announce(out);
}

void reply_xml_text(struct http_response *out, const char *name, struct str text)
{
	buf_f(&out->body, "<%s>", name);
	buf_xml(&out->body, text);
	buf_f(&out->body, "</%s>", name);
}

void reply_xml_number(struct http_response *out, const char *name, uint64_t v)
{
	buf_f(&out->body, "<%s>%llu</%s>", name, (unsigned long long)v, name);
}

void reply_xml_key(struct http_response *out, const char *name, struct str key, bool encode)
{
	if (!encode) {
		reply_xml_text(out, name, key);
		return;
	}
	buf_f(&out->body, "<%s>", name);
	buf_uri(&out->body, key, true);
	buf_f(&out->body, "</%s>", name);
}

/* S3 shows whole seconds, in lists as in headers; `aws s3 sync` compares the two. */
void reply_xml_time(struct http_response *out, const char *name, struct wall t)
{
	char text[CLOCK_TEXT_BYTES];

	buf_f(&out->body, "<%s>%s</%s>", name, wall_iso8601((struct wall){ t.ms - t.ms % 1000 }, text), name);
}

void reply_xml_etag(struct http_response *out, struct str etag)
{
	buf_f(&out->body, "<ETag>&quot;" PRIstr "&quot;</ETag>", ARGstr(etag));
}

void reply_xml_owner(const struct front *f, struct http_response *out, const char *name)
{
	unsigned char digest[SHA256_BYTES];

	/* A canonical user id: 64 hex digits that stay the same for an account. */
	sha256(buf_view(&f->account), digest);
	buf_f(&out->body, "<%s><ID>", name);
	buf_hex(&out->body, digest, sizeof(digest));
	buf_f(&out->body, "</ID><DisplayName>%s</DisplayName></%s>", f->account.p, name);
}

void reply_etag(struct http_response *out, struct str etag)
{
	http_add_header(out, "ETag", "\"" PRIstr "\"", ARGstr(etag));
}

void reply_checksums(struct http_response *out, struct str meta)
{
	while (meta.n) {
		struct str value = str_cut(&meta, '\n'), name = str_cut(&value, ':');
		char z[64];

		if (checksum_by_header(name) == CHECKSUM_NONE && !str_eq(name, STR("x-amz-checksum-type")))
			continue;
		snprintf(z, sizeof(z), PRIstr, ARGstr(name));
		http_add_header(out, z, PRIstr, ARGstr(str_trim(value)));
	}
}

void reply_xml_checksums(struct http_response *out, struct str meta)
{
	while (meta.n) {
		struct str value = str_cut(&meta, '\n'), name = str_cut(&value, ':');
		enum checksum_kind kind = checksum_by_header(name);
		char element[32];

		if (kind != CHECKSUM_NONE) {
			snprintf(element, sizeof(element), "Checksum%s", checksum_info[kind].name);
			reply_xml_text(out, element, str_trim(value));
		} else if (str_eq(name, STR("x-amz-checksum-type"))) {
			reply_xml_text(out, "ChecksumType", str_trim(value));
		}
	}
}

static struct str error_message(enum s3_code code, const struct err *e)
{
	if (code == S3_InternalError && e && (e->os == ENOSPC || e->os == EDQUOT))
		return STR("The disk that holds the object store is full.");
	/* What failed inside is for the log, not for the client. */
	if (code == S3_InternalError || !e || !e->depth)
		return str_of(s3_code_info[code].text);
	return str_of(e->frame[0]);
}

static void add_error_facts(const struct front *f, enum s3_code code, struct http_response *out)
{
	if (code == S3_NoSuchBucket || code == S3_BucketNotEmpty || code == S3_InvalidBucketName)
		reply_xml_text(out, "BucketName", buf_view(&f->bucket));
	else if (code == S3_NoSuchKey)
		reply_xml_text(out, "Key", buf_view(&f->key));
	else if (code == S3_NoSuchUpload)
		reply_xml_text(out, "UploadId", front_arg(f, "uploadId"));
	else if (code == S3_AuthorizationHeaderMalformed)
		reply_xml_text(out, "Region", buf_view(&f->region));
}

void reply_error(const struct front *f, const struct http_request *r, enum s3_code code, const struct err *e,
                 struct http_response *out)
{
	if (s3_code_info[code].status >= 500 && code != S3_NotImplemented)
		log_err(LOG_ERROR, e, "%s: S3 request " PRIstr " " PRIstr, r->request_id, ARGstr(r->method),
		        ARGstr(r->path));
	if (code == S3_AccessDenied && f->session)
		log_info("S3 request refused to %s: %s, request %s", f->session->arn, e && e->depth ? e->frame[0] : "",
		         r->request_id);
	out->status = s3_code_info[code].status;
	buf_reset(&out->body);
	if (code == S3_NotModified)
		return;
	if (f->head) {
		out->head = true;
		return;
	}
	buf_f(&out->body, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code>",
	      s3_code_info[code].name);
	reply_xml_text(out, "Message", error_message(code, e));
	add_error_facts(f, code, out);
	reply_xml_text(out, "Resource", r->path);
	reply_xml_text(out, "RequestId", str_of(r->request_id));
	buf_z(&out->body, "</Error>");
	announce(out);
}
