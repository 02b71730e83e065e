/* pull.h - fetching an image from a registry by skopeo, into an OCI layout.
 *
 * Used by import in bloomery-image. Mirrors are asked first (registry.h); of what bloomery.conf does not say, which
 * registries need a login is skopeo's business: it finds `skopeo login`'s and docker's files by HOME and
 * REGISTRY_AUTH_FILE.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/conf.h"

struct pull_options {
	const char *reference; /* canonical */
	const struct conf *conf;
	const char *provider;   /* the ARN by which the job names its credentials; NULL: it names none */
	uint64_t max_bytes;     /* on disk */
	unsigned stall_s;       /* given up when nothing has come for so long */
	struct buf *ret_digest; /* only the digest of what the name means is asked for, and appended; NULL: all of it */
};

/* Fetches the image to a new directory `leaf` of dirfd; `leaf`.log and `leaf`.certs are taken too. What a mirror that
 * is passed over said is printed to stderr. ERR_CLIENT, beginning
 * with SageMaker's words for it, when it cannot be had; ERR_IO when there is no skopeo. Blocks. */
int pull_layout(const struct pull_options *o, int dirfd, const char *leaf, struct err *e) must_check;
/* Only asks what the name means there: o->ret_digest gets "sha256:...". `leaf`.log and .certs of dirfd are taken. Else
 * as pull_layout. */
int pull_digest(const struct pull_options *o, int dirfd, const char *leaf, struct err *e) must_check;
/* What skopeo's output says in the end, without its time stamps; malloc'd. */
char *pull_reason(struct str output);
