/* filter.h - the filter patterns of CloudWatch Logs, as FilterLogEvents takes them. No I/O; used by bloomeryd's
 * threads, each with filters of its own.
 *
 *     ERROR "disk full"          events with all of the terms; they are looked for in the text, with case
 *     ?ERROR ?WARN               with any of them. Beside terms of the other kinds optional ones say nothing
 *     ERROR -DEBUG               with the one and without the other
 *     %loss=[0-9]+%              with a match of the regular expression
 *     { $.a.b[0] = "x*" && ($.n >= 1e3 || $.c IS NULL) }     JSON events for which that is true
 *     [ip, ..., status = 4*, bytes > 100]                    events of so many fields, and these are so
 *
 * Terms of other characters than letters, digits and '_' have to be quoted. Regular expressions know letters, digits,
 * : _ # = @ / ; , - and ^ $ ? [ ] { } | \ * + . but no groups; of the backslashes \d \D \s \S \w \W \xhh and those
 * before signs. There are at most two of them in a JSON or field pattern. Fields are split by blanks; [..] and ".." are
 * one field. Values: numbers, "text" or words with '*' for anything, %regex%. Of JSON: = != < > <= >=, IS NULL, IS
 * TRUE, IS FALSE, EXISTS, NOT EXISTS; [*] and .* are any item or member, of which one has to fit. What is compared has
 * to be there.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

struct log_filter;
/* ERR_INVALID: it is no filter pattern, and why. An empty one takes everything. */
int log_filter_new(struct str pattern, struct log_filter **ret, struct err *e) must_check;
void log_filter_free(struct log_filter *f); /* NULL is fine */
DEFINE_CLEANUP(struct log_filter, log_filter_free)
/* Time is bounded by the lengths of both. A regular expression that takes too long on an event does not match it. */
bool log_filter_matches(struct log_filter *f, struct str message);
