/* literal.h - what a regular expression requires literally. Pure; used by metric.c once a definition.
 *
 * A line that holds none of the literals of a set cannot match the expression it was made of. Looking for a few dozens
 * of literals at once (find.h) costs a small part of what one expression does, so most lines are done with then. The
 * analysis is careful rather than clever: what it does not know for certain yields no literal, and the expression is
 * tried on every line.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

enum { LITERAL_MAX_BYTES = 48, LITERAL_SET_MAX = 8 };

struct literal {
	unsigned char n;
	bool fold; /* whatever the case of ASCII letters; bytes are in lower case */
	char bytes[LITERAL_MAX_BYTES];
};

struct literal_set {
	size_t n; /* 0: nothing is known */
	struct literal at[LITERAL_SET_MAX];
	bool head; /* every match begins with one of them */
};

/* At least one of the set is in each text that regex (PCRE2, UTF-8) matches; regex must compile. */
void literal_of(struct str regex, struct literal_set *ret);
/* How rare it is in a log, roughly: the sum over its bytes. 0 for an empty one. */
unsigned literal_score(const struct literal *l);
/* How rare a byte is in the logs of trainers. */
unsigned literal_rarity(unsigned char byte);
