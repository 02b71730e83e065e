/* front_bucket.c - buckets, and what they answer about themselves.  SPDX-License-Identifier: Apache-2.0 */
#include "blob/listed.h"
#include "blob/request.h"

struct bucket_lister {
	struct http_response *out;
	struct str prefix;
};

static void add_bucket(struct str name, struct wall created, void *arg)
{
	const struct bucket_lister *l = arg;
	struct http_response *out = l->out;

	if (!str_starts(name, l->prefix))
		return;
	buf_z(&out->body, "<Bucket>");
	reply_xml_text(out, "Name", name);
	reply_xml_time(out, "CreationDate", created);
	buf_z(&out->body, "</Bucket>");
}

enum s3_code s3_list_buckets(struct front *f, struct http_request *r, struct http_response *out, struct err *e)
{
	struct bucket_lister l = { out, front_arg(f, "prefix") };
	enum s3_code code;

	(void)r;
	reply_xml_begin(out, "ListAllMyBucketsResult");
	reply_xml_owner(f, out, "Owner");
	buf_z(&out->body, "<Buckets>");
	code = blob_bucket_each(f->b, add_bucket, &l, e);
	buf_z(&out->body, "</Buckets>");
	reply_xml_end(out, "ListAllMyBucketsResult");
	return code;
}

enum s3_code s3_create_bucket(struct front *f, struct http_request *r, struct http_response *out, struct err *e)
{
	struct str bucket = buf_view(&f->bucket);
	enum s3_code code;

	(void)r;
	if (f->text.n && bucket_configuration_read(buf_view(&f->text), e) < 0) {
		e->depth = 0;
		return S3_MalformedXML;
	}
	code = blob_bucket_add(f->b, bucket, NULL, e);
	if (code == S3_OK)
		http_add_header(out, "Location", "/" PRIstr, ARGstr(bucket));
	return code;
}

enum s3_code s3_head_bucket(struct front *f, struct http_request *r, struct http_response *out, struct err *e)
{
	enum s3_code code = blob_bucket_find(f->b, buf_view(&f->bucket), NULL, e);

	(void)r;
	if (code != S3_OK)
		return code;
	out->head = true;
	http_add_header(out, "Content-Type", "application/xml");
	http_add_header(out, "x-amz-bucket-region", "%s", f->region.p);
	return S3_OK;
}

enum s3_code s3_delete_bucket(struct front *f, struct http_request *r, struct http_response *out, struct err *e)
{
	enum s3_code code = blob_bucket_drop(f->b, buf_view(&f->bucket), e);

	(void)r;
	out->status = 204;
	return code;
}

enum s3_code s3_get_location(struct front *f, struct http_request *r, struct http_response *out, struct err *e)
{
	enum s3_code code = blob_bucket_find(f->b, buf_view(&f->bucket), NULL, e);

	(void)r;
	reply_xml_begin(out, "LocationConstraint");
	if (!str_eq(buf_view(&f->region), STR("us-east-1"))) /* that one is written as nothing */
		buf_xml(&out->body, buf_view(&f->region));
	reply_xml_end(out, "LocationConstraint");
	return code;
}

/* ---- properties ---- */

static const struct {
	const char *sub, *action;
	enum s3_code code; /* S3_OK: the document */
	const char *root, *inner;
} properties[] = {
	{ "acl", "s3:GetBucketAcl", S3_OK, NULL, NULL }, /* written by s3_object_acl */
	{ "accelerate", "s3:GetAccelerateConfiguration", S3_OK, "AccelerateConfiguration", "" },
	{ "cors", "s3:GetBucketCORS", S3_NoSuchCORSConfiguration, NULL, NULL },
	{ "encryption", "s3:GetEncryptionConfiguration", S3_ServerSideEncryptionConfigurationNotFoundError, NULL,
	  NULL },
	{ "lifecycle", "s3:GetLifecycleConfiguration", S3_NoSuchLifecycleConfiguration, NULL, NULL },
	{ "logging", "s3:GetBucketLogging", S3_OK, "BucketLoggingStatus", "" },
	{ "notification", "s3:GetBucketNotification", S3_OK, "NotificationConfiguration", "" },
	{ "object-lock", "s3:GetBucketObjectLockConfiguration", S3_ObjectLockConfigurationNotFoundError, NULL, NULL },
	{ "ownershipControls", "s3:GetBucketOwnershipControls", S3_OwnershipControlsNotFoundError, NULL, NULL },
	{ "policy", "s3:GetBucketPolicy", S3_NoSuchBucketPolicy, NULL, NULL },
	{ "policyStatus", "s3:GetBucketPolicyStatus", S3_NoSuchBucketPolicy, NULL, NULL },
	{ "publicAccessBlock", "s3:GetBucketPublicAccessBlock", S3_NoSuchPublicAccessBlockConfiguration, NULL, NULL },
	{ "replication", "s3:GetReplicationConfiguration", S3_ReplicationConfigurationNotFoundError, NULL, NULL },
	{ "requestPayment", "s3:GetBucketRequestPayment", S3_OK, "RequestPaymentConfiguration",
	  "<Payer>BucketOwner</Payer>" },
	{ "tagging", "s3:GetBucketTagging", S3_NoSuchTagSet, NULL, NULL },
	{ "versioning", "s3:GetBucketVersioning", S3_OK, "VersioningConfiguration", "" },
	{ "website", "s3:GetBucketWebsite", S3_NoSuchWebsiteConfiguration, NULL, NULL },
};

const char *s3_bucket_property_action(struct str name)
{
	for (size_t i = 0; i < ARRAY_LEN(properties); i++)
		if (str_is(name, properties[i].sub))
			return properties[i].action;
	return "s3:GetBucketProperty";
}

bool s3_bucket_property_known(struct str name)
{
	for (size_t i = 0; i < ARRAY_LEN(properties); i++)
		if (str_is(name, properties[i].sub))
			return true;
	return false;
}

static void write_acl(struct front *f, struct http_response *out)
{
	reply_xml_begin(out, "AccessControlPolicy");
	reply_xml_owner(f, out, "Owner");
	buf_z(&out->body, "<AccessControlList><Grant>");
	reply_xml_owner(f, out, "Grantee");
	buf_z(&out->body, "<Permission>FULL_CONTROL</Permission></Grant></AccessControlList>");
	reply_xml_end(out, "AccessControlPolicy");
}

enum s3_code s3_bucket_property(struct front *f, struct http_request *r, struct http_response *out, struct err *e)
{
	enum s3_code code = blob_bucket_find(f->b, buf_view(&f->bucket), NULL, e);
	size_t i = 0;

	(void)r;
	while (!front_has(f, properties[i].sub))
		i++;
	if (code != S3_OK || properties[i].code != S3_OK)
		return code != S3_OK ? code : properties[i].code;
	if (!properties[i].root) {
		write_acl(f, out);
		return S3_OK;
	}
	reply_xml_begin(out, properties[i].root);
	buf_z(&out->body, properties[i].inner);
	reply_xml_end(out, properties[i].root);
	return S3_OK;
}

/* ---- the two such things that objects have ---- */

static enum s3_code must_be_there(struct front *f, struct err *e)
{
	_cleanup_(blob_object_fini) struct blob_object o = { 0 };

	return blob_object_get(f->b, buf_view(&f->bucket), buf_view(&f->key), &o, e);
}

enum s3_code s3_object_acl(struct front *f, struct http_request *r, struct http_response *out, struct err *e)
{
	enum s3_code code = must_be_there(f, e);

	(void)r;
	if (code == S3_OK)
		write_acl(f, out);
	return code;
}

enum s3_code s3_object_tags(struct front *f, struct http_request *r, struct http_response *out, struct err *e)
{
	enum s3_code code = must_be_there(f, e);

	(void)r;
	reply_xml_begin(out, "Tagging");
	buf_z(&out->body, "<TagSet></TagSet>");
	reply_xml_end(out, "Tagging");
	return code;
}
