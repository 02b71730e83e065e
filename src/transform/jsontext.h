/* jsontext.h - JSON looked at as text: where a value ends, what the members and elements of one are. Values stay the
 * bytes that they were, so that no number loses a digit on its way through a filter.
 *
 * A text is checked once, as a whole, by jsontext_check(); the other functions take what was checked. No allocation.
 * Pure.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

enum { JSONTEXT_DEPTH_MAX = 512 };

/* The one value that s is, without the blanks around it. ERR_CLIENT says where it is no JSON (RFC 8259; the strings are
 * UTF-8, a surrogate is one of a pair). */
int jsontext_check(struct str s, struct str *ret_value, struct err *e) must_check;

/* Steps through an object or an array: begin with the value, then call until false. */
struct jsontext_walk {
	struct str rest;
	bool object;
};
/* False: the value is neither. */
bool jsontext_begin(struct str value, struct jsontext_walk *ret);
/* ret_name: a member's name with its quotes, as it stands in the text; may be NULL. */
bool jsontext_next(struct jsontext_walk *w, struct str *ret_name, struct str *ret_value);

/* Whether a name, with its quotes and escapes, stands for these bytes. */
bool jsontext_is_name(struct str quoted, struct str name);
