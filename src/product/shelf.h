/* shelf.h - the products that a site has: the directory <data>/products/.
 *
 *   NAME/         one that was imported: what its bundle holds, its manifest.json and manifest.sig, and product.json,
 *                 which says what the server has to know; it appears and goes by a rename, so it is there whole or not
 *   seller.key    the site's own key, for what it exports (0600)
 *   sellers       fingerprints of sellers that are trusted, one a line, then a word or two for people
 *   .new-...      half-done work; whoever holds the lock removes what others left
 *
 * It is root's, and what it says is taken for root's word. The command line writes, as root; bloomeryd reads.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "base/str.h"

enum { SHELF_SELLERS_MAX = 10000 };

/* The directory's descriptor. ERR_NOT_FOUND: there is none. ERR_DENIED: it is not root's or ours alone. */
int shelf_open(const char *data_dir, struct err *e) must_check;
/* The same, made where it is missing, with an exclusive lock that lasts as long as the descriptor; waits for it. What
 * others left half done is removed. */
int shelf_lock(const char *data_dir, struct err *e) must_check;

/* NAME of a product: lower-case letters, digits, "-", and 32 hexadecimal digits behind the last "-". */
bool shelf_name_valid(struct str name);
/* product.json of one: {"name", "account", "seller", "algorithm", "description", "request", "details", "image",
 * "images", "imported_ms"}, types checked; a new reference. ERR_NOT_FOUND. */
int shelf_read(int shelf, const char *name, json_t **ret, struct err *e) must_check;
/* Calls fn with the name of each, in no order; fn's -1 ends it. */
int shelf_each(int shelf, int (*fn)(const char *name, void *arg, struct err *e), void *arg, struct err *e) must_check;

/* Whether the list of trusted sellers has the fingerprint. */
int shelf_trusts(int shelf, const char *fingerprint, bool *ret, struct err *e) must_check;
/* Adds it; fine when it is there. words: for people, one line. */
int shelf_trust(int shelf, const char *fingerprint, const char *words, struct err *e) must_check;
