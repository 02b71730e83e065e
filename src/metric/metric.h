/* metric.h - metric definitions (contract 6.2): names and regular expressions, applied to the lines of a log.
 *
 * A definition is searched for in each line as the service shows it (joblog_escape: a TAB is #011); the text of the
 * first capture group of its first match in a line is the value, if it is a number (number.h). What matches and is no
 * number is refused: counted, and its last text kept for people.
 *
 * Lines come in chunks of many. All definitions are applied to a chunk in one pass: finder.h looks for what they
 * require literally, and PCRE2 (JIT, with limits) sees only the lines that hold it. Expressions without such a literal
 * are tried on every line. A set is used by one thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"
#include "metric/number.h"

enum {
	METRIC_DEFINITIONS_MAX = 64, /* the service's is 40 */
	METRIC_NAME_MAX_BYTES = 1020,
	METRIC_SAMPLE_BYTES = 200, /* of lines and texts that are kept to be shown */
	METRIC_GIVE_UP_AFTER = 100 /* lines on which an expression has exceeded its limits: it is not tried any more */
};

struct metric_definition {
	struct str name, regex; /* UTF-8 */
};

struct metric_counts {
	uint64_t lines;   /* looked at while the definition was there */
	uint64_t matched; /* lines with a value */
	uint64_t refused; /* lines that matched, without a value */
	uint64_t limited; /* lines on which PCRE2 has exceeded its limits: neither */
	/* The last text that was refused and why, and as long as nothing has matched, the line that nearly did: text
	 * for people, cut to METRIC_SAMPLE_BYTES. Empty: none. */
	struct buf last, nearest;
	const char *why; /* of `last` */
	unsigned told;   /* for the caller: what was said of it, as bits */
};

/* Whether PCRE2 takes the expression: ERR_INVALID says what is wrong at which character. *ret_groups: how many
 * capture groups it has (may be NULL). */
int metric_check(struct str regex, unsigned *ret_groups, struct err *e) must_check;

struct metric_set;
/* Copies. ERR_INVALID as metric_check, with the definition's name. */
int metric_set_new(const struct metric_definition *definitions, size_t n, struct metric_set **ret,
                   struct err *e) must_check;
void metric_set_free(struct metric_set *s); /* NULL is fine */
DEFINE_CLEANUP(struct metric_set, metric_set_free)

size_t metric_set_count(const struct metric_set *s);
struct str metric_set_name(const struct metric_set *s, size_t definition);
struct str metric_set_regex(const struct metric_set *s, size_t definition);
struct metric_counts *metric_set_counts(struct metric_set *s, size_t definition);
/* False: it has no literal to be looked for (shown by `metrics try`). */
bool metric_set_has_literal(const struct metric_set *s, size_t definition);

/* A line that matches. kind NUMBER_OK: v is the value; else it is refused for that reason, or, with a NULL text.p, as
 * the group has taken no part in the match or there is no group. Views, valid during the call. */
struct metric_match {
	size_t definition;
	enum number_kind kind;
	double v;
	struct str text, line;
};
typedef void (*metric_fn)(void *arg, const struct metric_match *m);

/* The lines of a chunk, '\n' behind each (one behind the last may be missing), less than 1 GiB, of any bytes. fn is
 * called line by line, for the definitions in their order. */
void metric_set_lines(struct metric_set *s, struct str lines, metric_fn fn, void *arg);

/* Why a match has no value, to stand behind "the text": the reason of number_why, or that there is no text. */
const char *metric_why(const struct metric_match *m);
/* The one of these texts that is equal to it; the first where there is none. */
const char *metric_why_known(const char *text);

/* For tests and measurements: every definition is tried on every line. */
void metric_set_without_literals(struct metric_set *s);
