/* text.h - foreign bytes as a JSON string: names of objects, and what containers say, may be anything. Header only.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "base/str.h"

/* What is no UTF-8 has "?" for its odd bytes. */
static inline json_t *text_json(struct str s)
{
	_cleanup_buf_ struct buf safe = { 0 };
	bool valid = utf8_valid(s);

	for (size_t i = 0; i < s.n; i++)
		buf_c(&safe, valid || (signed char)s.p[i] > 0 ? s.p[i] : '?');
	return json_stringn(buf_view(&safe).p, safe.n);
}
