/* range.h - the type and range of a hyperparameter (contract 8.1), and whether a value is of it. Inside algorithm/
 * only.
 *
 * Values and bounds are texts. Integers are compared as decimal texts, so they may be of any length; numbers of type
 * Continuous are compared as doubles. Bounds are inclusive.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "base/str.h"

/* [+-] digits, without leading zeros; a view. Zero is not negative and has no digits. */
struct integer {
	bool negative;
	struct str digits;
};
bool integer_parse(struct str text, struct integer *ret);
int integer_cmp(struct integer a, struct integer b); /* -1, 0, 1 */

/* A decimal number that a double can hold, and nothing around it. */
bool continuous_parse(struct str text, double *ret);

enum range_type { RANGE_INTEGER, RANGE_CONTINUOUS, RANGE_CATEGORICAL, RANGE_FREE_TEXT };
/* The name as the API has it; one that is none: RANGE_FREE_TEXT. */
enum range_type range_type_of(struct str name);

struct range {
	enum range_type type;
	bool bounded;              /* integer, continuous: min and max are set */
	char *min, *max;           /* owned */
	struct integer imin, imax; /* views into them */
	double dmin, dmax;
	struct str *values; /* categorical; owned, the bytes are after it */
	size_t value_count;
	char *text; /* "integers from 1 to 10", for people; owned */
};
/* spec: a HyperParameterSpecification. NULL, or what is wrong with its Type and Range, in a sentence that the caller
 * frees; *ret is then empty. */
char *range_parse(const json_t *spec, struct range *ret) must_check;
void range_fini(struct range *r);
bool range_has(const struct range *r, struct str value);
