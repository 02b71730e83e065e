/* image_store.h - the writer's side of the local image store (image.h has its layout and the reader's side).
 *
 * Used by bloomery-image and image_remove, as root. Every change of what is named or published happens under an
 * exclusive flock on the images directory, held for a few system calls; unpacking happens outside it, in a directory of
 * its own under tmp/ that its owner keeps locked. So imports run side by side, and what a dead one left is whatever
 * nobody has locked.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"
#include "oci/reference.h"

/* Opens the store, making the directory, refs/ and tmp/ where they are missing. Returns the directory's descriptor. */
int image_store_open(const char *images_dir, struct err *e) must_check;

/* A fresh locked directory tmp/<name>, and first removes those that dead imports left. *ret_name is "tmp/..."; caller
 * frees. Returns its descriptor; closing it gives the directory up to the next sweep. */
int image_store_work_new(int images, char **ret_name, struct err *e) must_check;

/* Makes `made` (a path below images, complete and synced) the directory of digest hex unless there is one already,
 * points the reference to it, and removes images that have lost their last name by that and that nobody holds.
 * *ret_reused tells whether the digest was there before; `made` is then left for the caller to remove. */
int image_store_publish(int images, const char *made, const char *hex, const char *reference, bool *ret_reused,
                        struct err *e) must_check;

/* Whether the digest is there; it may go as long as no name points to it. */
bool image_store_has(int images, const char *hex);
/* Whether any name but `except` (NULL: any at all) points to the digest. */
bool image_store_digest_named(int images, const char *hex, const char *except);
/* The digest a canonical reference points to; false when there is no such name. */
bool image_store_ref_read(int images, const char *reference, char hex[DIGEST_HEX_BYTES + 1]);
