/* SPDX-License-Identifier: Apache-2.0 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "aws/walk.h"

#include <pcre2.h>
#include <stdatomic.h>
#include <stdlib.h>

/* Patterns without captures and with these limits cost at most some tens of milliseconds on the worst value. */
enum { MATCH_LIMIT = 1000000, HEAP_LIMIT_KIB = 8192 };

/* Compiled on first use. Threads that race compile the same pattern twice and the second gives its copy back; so there
 * is no lock, and a slot never changes once set. Lives as long as the process. */
static _Atomic(pcre2_code *) compiled[MODEL_MAX_PATTERNS];

struct pattern_scratch {
	pcre2_match_data *match;
	pcre2_match_context *limits;
};

static pcre2_code *compile(const char *pattern)
{
	int number;
	size_t offset;
	pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
	                                 PCRE2_UTF | PCRE2_NO_UTF_CHECK | PCRE2_ANCHORED | PCRE2_ENDANCHORED |
	                                         PCRE2_NO_AUTO_CAPTURE | PCRE2_DOLLAR_ENDONLY,
	                                 &number, &offset, NULL);

	must(code);                                  /* the tables are ours; test_walk compiles all of them */
	pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); /* where there is no JIT, the interpreter does it */
	return code;
}

static pcre2_code *code_of(int index)
{
	pcre2_code *code = atomic_load_explicit(&compiled[index], memory_order_acquire), *none = NULL;

	if (code)
		return code;
	code = compile(model_patterns[index]);
	if (atomic_compare_exchange_strong(&compiled[index], &none, code))
		return code;
	pcre2_code_free(code);
	return none;
}

static struct pattern_scratch *scratch_new(void)
{
	struct pattern_scratch *s = xcalloc(1, sizeof(*s));

	s->match = pcre2_match_data_create(1, NULL);
	s->limits = pcre2_match_context_create(NULL);
	must(s->match && s->limits);
	pcre2_set_match_limit(s->limits, MATCH_LIMIT);
	pcre2_set_heap_limit(s->limits, HEAP_LIMIT_KIB);
	return s;
}

bool pattern_matches(int index, struct str s, struct pattern_scratch **scratch)
{
	pcre2_code *code = code_of(index);
	int got;

	if (s.n > WALK_PATTERN_BYTES)
		return false;
	if (!*scratch)
		*scratch = scratch_new();
	/* jansson gives only valid UTF-8 */
	got = pcre2_match(code, (PCRE2_SPTR)s.p, s.n, 0, PCRE2_NO_UTF_CHECK, (*scratch)->match, (*scratch)->limits);
	if (got == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter keeps its stack on the heap */
		got = pcre2_match(code, (PCRE2_SPTR)s.p, s.n, 0, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, (*scratch)->match,
		                  (*scratch)->limits);
	return got >= 0;
}

void pattern_scratch_free(struct pattern_scratch *scratch)
{
	if (!scratch)
		return;
	pcre2_match_data_free(scratch->match);
	pcre2_match_context_free(scratch->limits);
	free(scratch);
}
