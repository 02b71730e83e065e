/* lists.h - lists of words in an algorithm's specification, and what is not in them. Inside algorithm/ only.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "algorithm/algorithm.h"

/* Views; empty for what is no string. */
struct str json_text(const json_t *j);
struct str json_view(const json_t *o, const char *member);

bool list_has(const json_t *list, struct str s);
/* Types of media: without case, and one that is declared without parameters means it with any. */
bool list_has_type(const json_t *list, struct str given);
/* "WHERE: Invalid value: 'VALUE' RULE 'a', 'b'"; the names of the list up to FAULT_VALUE_BYTES and a little. */
void fault_invalid(struct faults *f, const char *where, struct str value, const char *rule, const json_t *list);
