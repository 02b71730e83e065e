/* walk.h - what the files of the walker and the generated tables share; only src/aws/walk*.c, model.gen.c and the tests
 * of the tables include it. The public face is model.h.
 *
 * walk.c checks, walk_pattern.c matches patterns, walk_say.c words violations, walk_refuse.c reads support rows.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "aws/model.h"

/* The generated tables, sorted by name. */
extern const struct service model_services[];
extern const size_t model_service_count;
extern const char *const model_patterns[]; /* in PCRE2's syntax */
extern const size_t model_pattern_count;
extern const struct instance_type model_instance_types[];
extern const size_t model_instance_type_count;

enum {
	MODEL_MAX_PATTERNS = 512,
	WALK_VALUE_BYTES = 1024, /* of a value in a message; longer ones end in "..." */
	WALK_KEY_BYTES = 256,    /* of a map's key in a path */
	WALK_TEXT_BYTES = 32768, /* of all violations; those that do not fit are only counted */
	WALK_DEPTH = 100,        /* of nested values in a request */
	WALK_PATTERN_BYTES =
	        1 << 19, /* longer values match no pattern; no length in the model goes beyond 100,000 characters */
};

/* A row of model/support.json that refuses. The path is as in doc/generated/api.md: "InputDataConfig[].InputMode". */
enum refuse_when { REFUSE_PRESENT, REFUSE_NOT_EMPTY, REFUSE_TRUE, REFUSE_ABOVE, REFUSE_OTHER };
struct refusal {
	const char *path;
	enum refuse_when when;
	double above;               /* REFUSE_ABOVE */
	const char *const *allowed; /* REFUSE_OTHER: any other string is refused; NULL-terminated */
	const char *reason;         /* a clause that says what to do */
};

/* Where in the request the walk is: a chain through the callers' stack frames, turned into text only when something is
 * wrong. Exactly one of name (a member), index (an item, from 1) and key (a map's entry) is set; none at the root. */
struct at {
	const struct at *up;
	const char *name;
	size_t index;
	struct str key;
};
void at_say(const struct at *at, struct buf *out); /* appends "inputDataConfig.1.member.channelName"; "" at the root */

/* Which constraints of its shape a value breaks, as bits; WALK_NULL is an item that is null. */
enum {
	BROKEN_PATTERN = 1 << 0,
	BROKEN_MAX = 1 << 1,
	BROKEN_MIN = 1 << 2,
	BROKEN_ENUM = 1 << 3,
	BROKEN_NULL = 1 << 4,
	BROKEN_UNION = 1 << 5,
};

struct violations {
	size_t count, unsaid; /* unsaid: counted in count, but did not fit */
	struct buf text;      /* joined by "; " */
	size_t last;          /* where in it the last one begins */
	json_t *each;         /* gets them one by one as model_check_each says; NULL: nobody wants them so */
};
/* Adds one violation for each bit. value NULL says "Value null". */
void say_broken(struct violations *v, const struct at *at, const struct shape *s, const json_t *value, unsigned broken);
/* Adds the one violation of a list or map whose plain items (or keys) break their shape: role is "Member", "Map keys"
 * or "Map value"; offending holds the bad ones only. */
void say_items(struct violations *v, const struct at *at, const struct shape *item, const char *role,
               const json_t *offending, unsigned broken);
/* Appends the whole message: "N validation error(s) detected: ...". */
void say_all(const struct violations *v, struct buf *out);
/* Appends a value as the service's messages show it: text, 5, [a, b], {k=v}; cut at WALK_VALUE_BYTES. */
void say_value(const json_t *x, struct buf *out);

/* Whether the whole of s matches model_patterns[index]. `scratch` is the caller's per-walk match memory: NULL before
 * the first call, freed with pattern_scratch_free. A value so hostile that matching hits its limits does not match. */
struct pattern_scratch;
bool pattern_matches(int index, struct str s, struct pattern_scratch **scratch);
void pattern_scratch_free(struct pattern_scratch *scratch);
