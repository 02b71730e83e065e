/* manifest.h - what a manifest in S3 says a channel holds: ManifestFile (contract 2.4) and AugmentedManifestFile (2.5).
 *
 * Used by bloomeryd for manifests of its own store and by `bloomery-fetch list` for those of another S3. Whoever has
 * the object's bytes feeds them in, in pieces of any size; units come out in the manifest's order as soon as they are
 * read. Memory is bounded by MANIFEST_ENTRY_MAX or MANIFEST_LINE_MAX, whatever the manifest's size.
 *
 * Every refusal is an ERR_CLIENT sentence, ready to be a FailureReason, that names the manifest and the entry (with its
 * line) or the line (with its attribute).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

enum {
	MANIFEST_ENTRY_MAX = 64 << 10, /* bytes of text of one entry */
	MANIFEST_LINE_MAX = 16 << 20,  /* bytes of one line */
	MANIFEST_ATTRIBUTES_MAX = 16,  /* the API's limit */
	MANIFEST_KEY_MAX = 1024,       /* bytes of a key, as in S3 */
};

/* What a unit is made of: bytes that the manifest itself holds, or an object that it names. */
struct manifest_part {
	const char *attribute; /* of an augmented manifest; NULL for a ManifestFile */
	bool literal;
	struct str bytes;       /* when literal */
	struct str bucket, key; /* when not */
};

struct manifest_unit {
	uint64_t number, line; /* entry (the prefix is number 0) or line, and the line it begins in; lines from 1 */
	const struct manifest_part *parts;
	size_t count; /* ManifestFile: 1 */
};

struct manifest_options {
	const char *uri; /* of the manifest, for sentences; borrowed, as is all in here */
	/* AugmentedManifestFile: AttributeNames, in the order that is emitted. Else 0. */
	const char *const *attributes;
	size_t attribute_count;
	/* Takes a unit; its views end with the call. -1 with *e ends the reading. */
	int (*unit)(void *arg, const struct manifest_unit *u, struct err *e);
	void *arg;
};

struct manifest;
struct manifest *manifest_new(const struct manifest_options *o);
void manifest_free(struct manifest *m); /* NULL is fine */
DEFINE_CLEANUP(struct manifest, manifest_free)

int manifest_feed(struct manifest *m, struct str piece, struct err *e) must_check;
/* The bytes are all there. ERR_CLIENT when the manifest is cut off or names nothing. */
int manifest_end(struct manifest *m, struct err *e) must_check;

/* After manifest_end() of a ManifestFile: the bucket of its objects, and what keys are placed relative to: the key part
 * of its "prefix". Views into m. */
void manifest_place(const struct manifest *m, struct str *ret_bucket, struct str *ret_prefix);

/* Refuses a unit's part because of what is known about the object that it names, in the words of all other refusals:
 * "... entry 3 (line 4) names s3://b/k, WHY". Returns -1. */
int manifest_blame(const struct manifest *m, const struct manifest_unit *u, const struct manifest_part *part,
                   struct err *e, const char *why, ...) printf_like(5, 6);
