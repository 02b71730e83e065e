/* files.h - the embedded store's files behind the objects that are being read: one descriptor an object, opened when it
 * is read for the first time, and only so many open at once.
 *
 * An object's file never changes and is not removed while a job that may read it runs (ARCHITECTURE, rule 8), so a
 * descriptor that was closed to make room is opened again with the same bytes behind it. Any thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "fuse/tree.h"

struct files;
/* objects_fd and the tree stay the caller's. At most `limit` are open, or as many as are in use at once. */
struct files *files_new(struct tree *t, int objects_fd, uint32_t limit, const char *bucket);
void files_free(struct files *f); /* NULL is fine */
DEFINE_CLEANUP(struct files, files_free)

/* The descriptor of a file of the tree, until files_put(). ERR_IO, naming the object: its file is not there, or not
 * what the list says. */
int files_get(struct files *f, uint32_t file, int *ret_fd, struct err *e) must_check;
void files_put(struct files *f, uint32_t file);
