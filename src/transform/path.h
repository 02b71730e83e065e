/* path.h - InputFilter and OutputFilter: the part of JSONPath that the service takes (contract 7.8), over JSON and over
 * rows of CSV.
 *
 *     $   .name   ['name']   ['a','b']   *   [0]   [-1]   [1,3,5]   [start:end]   [start:]   [:end]
 *
 * one behind the other. The end of a slice is not part of it, and slices go as far as there is something; an index of
 * what is not there is an error, and so is a single name. Of several names those that are there make an object. What
 * picks several values makes a list of them, as in the implementation that the service names as its reference.
 *
 * Paths are parsed once; using one allocates nothing but what is written. Pure; a path may be used by many threads.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

enum { PATH_BYTES_MAX = 63 };

struct path;
/* ERR_INVALID: not of the subset; names the path and what of it is not. An empty text is "$". */
int path_parse(struct str text, struct path **ret, struct err *e) must_check;
void path_free(struct path *p); /* NULL is fine */
DEFINE_CLEANUP(struct path, path_free)

bool path_is_all(const struct path *p); /* "$": everything as it is */
/* For CSV, whose row is a list without lists in it: -1 with ERR_INVALID when the path has more than one step, or names.
 */
int path_check_csv(const struct path *p, struct err *e) must_check;

/* Appends what the path picks of a checked value (jsontext.h). ERR_CLIENT: it picks what is not there. */
int path_json(const struct path *p, struct str value, struct buf *out, struct err *e) must_check;

/* Appends the picked fields of a row without its line's end, as they stand there, with commas between them. A comma
 * within double quotes separates nothing. ERR_CLIENT: an index of a column that is not there, quotes without an end. */
int path_csv(const struct path *p, struct str row, struct buf *out, struct err *e) must_check;
