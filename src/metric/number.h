/* number.h - the text that a definition has captured, as a number. Pure; used by everything that takes values of
 * metrics from text. Independent of the locale.
 *
 * The whole text is one decimal number, blanks around it aside:  [+-] ( digits [. [digits]] | . digits ) [e [+-]
 * digits] What is no finite number of that form is refused, with a reason that people are shown. Too small a number is
 * 0 or denormal, as strtod() has it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

enum number_kind {
	NUMBER_OK,
	NUMBER_EMPTY,
	NUMBER_NAN,      /* "nan", "NaN", "-nan" */
	NUMBER_INFINITE, /* "inf", "Infinity", with a sign or without */
	NUMBER_RANGE,    /* a number, but larger than any double */
	NUMBER_TEXT,     /* anything else: "0x1p3", "1,234", "0.5%", "1_000" */
};

enum number_kind number_parse(struct str text, double *ret);
/* "is not a number" and the like, to stand behind the text. */
const char *number_why(enum number_kind kind);
/* Appends a finite number as JSON has it, so that reading it gives the same double. text: what it was parsed from,
 * which is shorter than 17 digits where it can be used as it is; may be empty. Never an integer of JSON, always a real.
 */
void number_json(double v, struct str text, struct buf *out);
