/* listed.h - the documents that clients send: the parts to complete an upload with, and the keys to delete. Pure.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "blob/checksum.h"

/* CompleteMultipartUpload: in the order in which they are listed; ETags without quotes. */
struct listed_part {
	uint64_t number;
	char *etag;
	char *checksum[CHECKSUM_COUNT]; /* NULL: not said */
};
struct listed {
	struct listed_part *v;
	size_t n;
};
/* ERR_SYNTAX: not such a document, no parts, more than 10000, a part without number or ETag. */
int listed_read(struct str xml, struct listed *ret, struct err *e) must_check;
void listed_fini(struct listed *l);

/* Delete. */
enum { DELETE_MAX = 1000 };
struct deletion {
	struct buf bytes;          /* the keys, one after the other */
	size_t end[DELETE_MAX], n; /* where each ends in bytes */
	bool quiet, versioned;     /* versioned: some object has a VersionId other than "null" */
};
/* ERR_SYNTAX: not such a document, no keys, more than 1000, an Object without a Key. */
int deletion_read(struct str xml, struct deletion *ret, struct err *e) must_check;
void deletion_fini(struct deletion *d);
struct str deletion_key(const struct deletion *d, size_t i);

/* CreateBucketConfiguration: whatever location it names is this server's. ERR_SYNTAX: not such a document. */
int bucket_configuration_read(struct str xml, struct err *e) must_check;
