/* members.h - rows that say what the members of spec.json may be, and what reads and writes them. Private to jobdir/.
 *
 * spec.json is written by one user and read by root, so each member has a row; the same rows write it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "jobdir/spec.h"

enum form { FORM_TEXT, FORM_U64, FORM_I64, FORM_UINT, FORM_REAL, FORM_BOOL, FORM_PLACE };

struct member {
	const char *name;
	size_t offset;
	enum form form;
	bool optional;              /* may be absent, and is then NULL, false or 0 */
	bool free;                  /* text: a user's, which may hold control characters */
	bool (*check)(struct str);  /* text: besides being UTF-8 of at most max bytes */
	const char *const *choices; /* text: one of these, NULL-terminated */
	double min, max;            /* numbers but 64-bit ones without both; bytes of a text */
};

#define BYTES_MAX ((double)(1ULL << 50))

#define AT(type, field) .name = #field, .offset = offsetof(struct type, field)

#define DIGITS "0123456789"
#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
bool member_only(struct str s, const char *bytes); /* consists of these */
bool member_leaf_ok(struct str s);                 /* a name in a directory */
bool member_bucket_ok(struct str s);

json_t *members_to_json(const struct member *m, size_t n, const void *base); /* new reference */
/* Fills base, of which texts are NULL before, from the object j; `also` are names that the caller reads itself. where
 * stands before the names in errors. */
int members_from_json(const struct member *m, size_t n, const char *where, const char *const *also, const json_t *j,
                      void *base, struct err *e) must_check;
void members_free(const struct member *m, size_t n, void *base);                        /* the texts */
int member_refuse(const char *where, const char *name, const char *why, struct err *e); /* -1 */

/* containers.c: the containers of a transform job. */
json_t *containers_to_json(const struct job_spec *s); /* new reference */
int containers_from_json(const json_t *j, struct job_spec *s, struct err *e) must_check;
void containers_fini(struct job_spec *s);
json_t *model_to_json(const struct model_spec *m); /* new reference; m NULL: null */
/* Null: *ret stays NULL. s: has its s3 already. name: of the member, `in` what is before it. */
int model_from_json(const json_t *j, const char *in, const char *name, const struct job_spec *s,
                    struct model_spec **ret, struct err *e) must_check;
void model_free(struct model_spec *m); /* NULL is fine */
