/* image.h - the local image store: <data>/images/.
 *
 *   sha256-<hex>/rootfs/     unpacked once, owned as in the image, never written again; lower layer of every job
 *   sha256-<hex>/image.json  Entrypoint, Cmd, Env, WorkingDir, User, architecture, digest, size_bytes, created
 *   refs/<percent-encoded name:tag>   symbolic link to ../sha256-<hex>; replaced by rename
 *   ../pins/<hex>            of an image that bloomeryd has an algorithm or a model by: it stays without a name too
 *   tmp/                     half-done imports, swept by whoever finds them older than their process
 *
 * A digest's directory is 0750 with the group of <data>/images, so that set-user-id files of an image are out of reach
 * of the machine's own users. Changes are made under a lock on <data>/images itself (src/oci/image_store.h).
 *
 * Import and pull run in the exec'd helper bloomery-image (it parses foreign bytes; see oci/import.h); this header is
 * the reader's side, used by bloomery-job, bloomeryd and the command line. Thread-safe; no state.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "base/str.h"

struct image {
	char *reference;                 /* "my-algo:latest" as stored */
	char *digest;                    /* "sha256:..." */
	char *rootfs;                    /* absolute path */
	char **entrypoint, **cmd, **env; /* NULL-terminated; never NULL themselves */
	char *working_dir;               /* "/" when the image sets none */
	char *user;                      /* "" when the image sets none */
	char *architecture;              /* "amd64", "arm64"; "" unknown */
	uint64_t size_bytes;
};
void image_fini(struct image *i);

/* Holds the image against removal until the descriptor is closed or its last holder dies: a shared flock on image.json.
 * Returns the descriptor. ERR_NOT_FOUND: it was removed since image_find; find it again. */
int image_hold(const struct image *i, struct err *e) must_check;

/* The canonical local names that TrainingImage may mean, in order of preference (DESIGN 3): "my-algo" means
 * "my-algo:latest"; "<account>.dkr.ecr.<region>.amazonaws.com/my-algo:tag" also means "my-algo:tag";
 * "repo@sha256:..." means that digest. Calls fn until it returns true. */
bool image_reference_each(struct str training_image, bool (*fn)(void *arg, struct str reference), void *arg);
/* ERR_NOT_FOUND: no local image of that name. A name without a host also finds the one imported under the same name of
 * a service registry (…dkr.ecr…), when all such names mean one image. */
/* The directory of the store, which lies where another user may rename things: only when it is ours, not a symbolic
 * link, and nobody else may write to it (ERR_DENIED); ERR_NOT_FOUND when there is none. */
int image_dir_open(const char *images_dir, struct err *e) must_check;
int image_find(const char *images_dir, struct str training_image, struct image *ret, struct err *e) must_check;
/* "sha256:..." of the image that image_find would find, from names alone: for who is not the store's owner and may
 * not look into images. The caller frees *ret. ERR_NOT_FOUND. */
int image_digest(const char *images_dir, struct str training_image, char **ret, struct err *e) must_check;
/* The same image by its digest: "host/path@sha256:...", which TrainingImage may be too. The caller frees. ERR_INVALID:
 * it is no image's name. */
int image_pinned(struct str training_image, struct str digest, char **ret, struct err *e) must_check;
/* Whether it names a registry to pull from (has a host part). */
bool image_reference_pullable(struct str training_image);
/* Array of {"reference","digest","size_bytes","created","architecture"}; new reference. */
int image_list(const char *images_dir, json_t **ret, struct err *e) must_check;
/* Removes the name, and the digest's directory with the last name. ERR_NOT_FOUND: no such name. ERR_IN_USE: it is the
 * last name of an image that somebody holds (image_hold) or that is pinned; nothing is changed then. */
int image_remove(const char *images_dir, struct str reference, struct err *e) must_check;
