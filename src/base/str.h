/* str.h - bytes: `struct str` is a borrowed view, `struct buf` an owned, growing, NUL-terminated byte string.
 *
 * A str never owns and need not be NUL-terminated; it dies with what it views. A buf's `p` is never NULL after
 * buf_init or first use of a zeroed buf, and p[n] is always 0. Small allocations abort on failure; anything sized by
 * a user must be checked against a limit before it comes here.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"

struct str {
	const char *p;
	size_t n;
};

#define STR(lit) ((struct str){ "" lit, sizeof(lit) - 1 })
#define PRIstr "%.*s"
#define ARGstr(s) (int)(s).n, (s).p

static inline struct str str_of(const char *z)
{
	return (struct str){ z ? z : "", z ? strlen(z) : 0 };
}
static inline bool str_eq(struct str a, struct str b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
static inline bool str_is(struct str a, const char *z)
{
	return str_eq(a, str_of(z));
}
bool str_eq_nocase(struct str a, struct str b); /* ASCII only */
int str_cmp(struct str a, struct str b);        /* unsigned bytewise, as S3 orders keys */
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
bool str_skip(struct str *s, struct str prefix);     /* if s starts with prefix: step over it */
struct str str_cut(struct str *s, char sep);         /* the part before sep; *s becomes the rest after it (or empty) */
struct str str_cut_last(struct str *s, char sep);    /* the part after the last sep; *s becomes what is before it */
struct str str_trim(struct str s);                   /* without ASCII blanks at both ends */
ptrdiff_t str_find(struct str s, struct str needle); /* index or -1 */
bool str_has_byte(struct str s, char c);
/* Whole-string decimal, no sign, no blanks; false on overflow, emptiness or anything else. */
bool str_to_u64(struct str s, uint64_t *ret);
bool str_to_i64(struct str s, int64_t *ret); /* one leading '-' allowed */
bool utf8_valid(struct str s);               /* strict: no surrogates, no overlong forms, <= U+10FFFF */
size_t utf8_count(struct str s);             /* code points; s must be valid */
char *str_dup(struct str s);                 /* NUL-terminated copy, caller frees */

struct buf {
	char *p;
	size_t n, cap;
};

void buf_init(struct buf *b);
void buf_fini(struct buf *b); /* frees; b is zeroed and may be used again */
#define _cleanup_buf_ _cleanup_(buf_fini)
void buf_reset(struct buf *b);             /* n = 0, memory kept */
void buf_need(struct buf *b, size_t more); /* room for `more` bytes and the NUL */
void buf_add(struct buf *b, const void *p, size_t n);
void buf_str(struct buf *b, struct str s);
void buf_z(struct buf *b, const char *z);
void buf_c(struct buf *b, char c);
void buf_f(struct buf *b, const char *fmt, ...) printf_like(2, 3);
void buf_vf(struct buf *b, const char *fmt, va_list ap);
char *buf_take(struct buf *b); /* the malloc'd, NUL-terminated content; b is empty afterwards */
static inline struct str buf_view(const struct buf *b)
{
	return (struct str){ b->p ? b->p : "", b->n };
}

/* Appends s percent-encoded as SigV4 and S3 want it: unreserved bytes stay, others %XX upper-case;
 * '/' stays when keep_slash. */
void buf_uri(struct buf *b, struct str s, bool keep_slash);
/* Appends s with %XX decoded ('+' to blank when plus). False, and b unchanged, on a bad escape. */
bool buf_uri_decode(struct buf *b, struct str s, bool plus);
void buf_xml(struct buf *b,
             struct str s); /* XML text-escaped; bytes XML 1.0 cannot hold as &#xN;, what is not UTF-8 as U+FFFD */
void buf_hex(struct buf *b, const void *p, size_t n); /* lower case */
void buf_bytes(struct buf *b, uint64_t bytes);        /* for people: "512 MiB", "1.5 GiB" */

/* malloc'd formatted string, caller frees. Never NULL. */
char *strf(const char *fmt, ...) printf_like(1, 2);
void *xcalloc(size_t n, size_t size); /* never NULL */
void *xrealloc(void *p, size_t bytes);
char *xstrdup(const char *z);
