/* layout.h - what an image archive says about itself: an OCI layout, or a docker archive, already unpacked as plain
 * files.
 *
 * Used by import. Everything in it comes from strangers: files are opened beneath the directory, documents are bounded
 * and checked against their digests and for their types before anything is taken from them. Layers are only opened
 * here; their digests are checked when they are applied.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "oci/reference.h"

enum { LAYOUT_LAYERS_MAX = 512 };

struct layout_layer {
	int fd;
	char digest[DIGEST_HEX_BYTES + 1];  /* of the file as it is; "" unknown */
	char diff_id[DIGEST_HEX_BYTES + 1]; /* of the tar within; "" unknown */
};

struct layout {
	char digest[DIGEST_HEX_BYTES + 1]; /* of the manifest; of a docker archive's configuration */
	json_t *config;                    /* the image's configuration, types checked; owned */
	struct layout_layer *layers;       /* lowest first; owned, with their descriptors */
	size_t layer_count;
	uint64_t layer_bytes; /* sum of the files' sizes */
};
void layout_fini(struct layout *l);

/* What a directory is by its top-level files. */
enum layout_kind { LAYOUT_NONE, LAYOUT_OCI, LAYOUT_DOCKER };
enum layout_kind layout_detect(int dirfd);
/* The image for this machine's architecture when there are several. ERR_INVALID: damaged, or no such image. */
int layout_open(int dirfd, enum layout_kind kind, struct layout *ret, struct err *e) must_check;

/* "amd64", "arm64": this machine as images name it. */
const char *layout_architecture(void);
