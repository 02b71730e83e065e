/* jsontext.h - JSON read value by value without building it, for documents of which the text itself matters.
 *
 * jansson would make 0.1 out of 0.10 and refuse numbers beyond 64 bits; an attribute of an augmented manifest goes into
 * the training container as it was written. So values are cut out of the text, checked, and only decoded or compacted
 * where that is asked for. Strict RFC 8259. Everything here is pure: no allocation but in the buf that is given.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

enum { JSONTEXT_DEPTH_MAX = 128 };

/* Steps over blanks. */
void jsontext_blanks(struct str *in);
/* Steps over blanks and the character c; false, and only blanks were stepped over, when it is not there. */
bool jsontext_skip(struct str *in, char c);
/* Steps over blanks and one whole value, whose text becomes *ret_raw. false: there is none, it is malformed, or nested
 * deeper than JSONTEXT_DEPTH_MAX; *in then views where it stopped. */
bool jsontext_value(struct str *in, struct str *ret_raw);
/* The next member of an object whose '{' or ',' has been stepped over: its name, as a string's raw text, and value. */
bool jsontext_member(struct str *in, struct str *ret_name, struct str *ret_value);

/* raw is what jsontext_value gave: */
bool jsontext_is_string(struct str raw);
/* Appends the bytes of a string's raw text as UTF-8. false, with a part of it appended, for half a surrogate pair. */
bool jsontext_decode(struct str raw, struct buf *out);
/* Appends the value without the blanks between its parts; nothing else changes. */
void jsontext_compact(struct str raw, struct buf *out);
