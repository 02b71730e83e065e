/* SPDX-License-Identifier: Apache-2.0 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "metric/metric.h"

#include <pcre2.h>
#include <stdlib.h>

#include "joblog/joblog.h"
#include "metric/bytes.h"
#include "metric/find.h"
#include "metric/near.h"

enum {
	MATCH_LIMIT = 200000,
	HEAP_LIMIT_KIB = 16 << 10,
	JIT_STACK_MIN = 32 << 10,
	JIT_STACK_MAX = 1 << 20,
	FOUND_MAX = 8192,
	NEAR_LINES_A_CHUNK = 4, /* are compared with a definition that has matched nothing */
	NEAR_LINES = 200,       /* in all, and one of NEAR_ONE_OF more */
	NEAR_ONE_OF = 4096,
	PARENS_MAX = 200
};
#define NOT_FOUND UINT32_MAX

struct definition {
	struct str name, regex; /* owned */
	pcre2_code *code;
	bool jit, has_group, head;
	struct literal_set literals;
	struct metric_counts counts;
	unsigned near_score, near_lines;
};

struct metric_set {
	size_t n;
	struct definition at[METRIC_DEFINITIONS_MAX];
	pcre2_match_data *match;
	pcre2_match_context *context;
	pcre2_jit_stack *stack;
	struct finder *finder;
	uint64_t *users;    /* of each literal of the finder: the definitions, as bits */
	uint64_t always;    /* definitions that are tried on every line */
	uint64_t unmatched; /* definitions of which no line has matched, and that may look for the nearest */
	struct found found[FOUND_MAX];
	struct buf escaped;
};

/* ---- making ---- */

static uint32_t compile_options(void)
{
	return PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C;
}

static int compile(struct str regex, pcre2_code **ret, struct err *e)
{
	pcre2_compile_context *c = pcre2_compile_context_create(NULL);
	char why[160];
	size_t at;
	int error;

	must(c);
	pcre2_set_parens_nest_limit(c, PARENS_MAX);
	pcre2_set_newline(c, PCRE2_NEWLINE_LF);
	*ret = pcre2_compile((PCRE2_SPTR)regex.p, regex.n, compile_options(), &error, &at, c);
	pcre2_compile_context_free(c);
	if (*ret)
		return 0;
	pcre2_get_error_message(error, (PCRE2_UCHAR *)why, sizeof(why));
	return err_set(e, ERR_INVALID, "the regular expression '" PRIstr "' is wrong at character %zu: %s",
	               ARGstr(regex),
	               utf8_valid((struct str){ regex.p, at < regex.n ? at : regex.n })
	                       ? utf8_count((struct str){ regex.p, at < regex.n ? at : regex.n })
	                       : at,
	               why);
}

static unsigned groups_of(const pcre2_code *code)
{
	uint32_t n = 0;

	pcre2_pattern_info(code, PCRE2_INFO_CAPTURECOUNT, &n);
	return n;
}

int metric_check(struct str regex, unsigned *ret_groups, struct err *e)
{
	pcre2_code *code;

	if (compile(regex, &code, e) < 0)
		return -1;
	if (ret_groups)
		*ret_groups = groups_of(code);
	pcre2_code_free(code);
	return 0;
}

static int definition_init(struct definition *d, const struct metric_definition *m, struct err *e)
{
	d->name = (struct str){ str_dup(m->name), m->name.n };
	d->regex = (struct str){ str_dup(m->regex), m->regex.n };
	if (compile(m->regex, &d->code, e) < 0)
		return err_in(e, "metric '" PRIstr "'", ARGstr(m->name));
	d->jit = pcre2_jit_compile(d->code, PCRE2_JIT_COMPLETE) == 0; /* without, the interpreter does it */
	d->has_group = groups_of(d->code) > 0;
	literal_of(d->regex, &d->literals);
	d->head = d->literals.head;
	return 0;
}

static bool same(const struct literal *a, const struct literal *b)
{
	return a->n == b->n && a->fold == b->fold && memcmp(a->bytes, b->bytes, a->n) == 0;
}

/* Each different literal once, with the definitions that want it. */
static void make_finder(struct metric_set *s)
{
	struct literal *all = xcalloc(METRIC_DEFINITIONS_MAX * LITERAL_SET_MAX, sizeof(*all));
	size_t n = 0;

	finder_free(take_ptr(s->finder));
	s->users = xrealloc(s->users, METRIC_DEFINITIONS_MAX * LITERAL_SET_MAX * sizeof(*s->users));
	s->always = 0;
	for (size_t i = 0; i < s->n; i++) {
		const struct literal_set *set = &s->at[i].literals;
		size_t missing = 0;

		for (size_t k = 0; k < set->n; k++) {
			size_t j = 0;

			while (j < n && !same(&all[j], &set->at[k]))
				j++;
			missing += j == n;
		}
		if (!set->n || n + missing > FINDER_MAX) {
			s->always |= UINT64_C(1) << i;
			continue;
		}
		for (size_t k = 0; k < set->n; k++) {
			size_t j = 0;

			while (j < n && !same(&all[j], &set->at[k]))
				j++;
			if (j == n) {
				s->users[n] = 0;
				all[n++] = set->at[k];
			}
			s->users[j] |= UINT64_C(1) << i;
		}
	}
	s->finder = finder_new(all, n, FINDER_BEST);
	free(all);
}

int metric_set_new(const struct metric_definition *definitions, size_t n, struct metric_set **ret, struct err *e)
{
	_cleanup_(metric_set_freep) struct metric_set *s = xcalloc(1, sizeof(*s));

	if (n > METRIC_DEFINITIONS_MAX)
		return err_set(e, ERR_INVALID, "%zu metric definitions are more than %d", n, METRIC_DEFINITIONS_MAX);
	for (; s->n < n; s->n++) {
		s->unmatched |= UINT64_C(1) << s->n;
		if (definition_init(&s->at[s->n], &definitions[s->n], e) < 0) {
			s->n++;
			return -1;
		}
	}
	s->match = pcre2_match_data_create(2, NULL); /* of the whole and of the first group */
	s->context = pcre2_match_context_create(NULL);
	must(s->match && s->context);
	pcre2_set_match_limit(s->context, MATCH_LIMIT);
	pcre2_set_heap_limit(s->context, HEAP_LIMIT_KIB);
	s->stack = pcre2_jit_stack_create(JIT_STACK_MIN, JIT_STACK_MAX, NULL);
	if (s->stack)
		pcre2_jit_stack_assign(s->context, NULL, s->stack);
	make_finder(s);
	*ret = take_ptr(s);
	return 0;
}

void metric_set_free(struct metric_set *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n; i++) {
		struct definition *d = &s->at[i];

		free((char *)d->name.p);
		free((char *)d->regex.p);
		pcre2_code_free(d->code);
		buf_fini(&d->counts.last);
		buf_fini(&d->counts.nearest);
	}
	pcre2_match_data_free(s->match);
	pcre2_match_context_free(s->context);
	pcre2_jit_stack_free(s->stack);
	finder_free(s->finder);
	free(s->users);
	buf_fini(&s->escaped);
	free(s);
}

void metric_set_without_literals(struct metric_set *s)
{
	for (size_t i = 0; i < s->n; i++)
		s->at[i].literals = (struct literal_set){ 0 };
	make_finder(s);
}

size_t metric_set_count(const struct metric_set *s)
{
	return s->n;
}

struct str metric_set_name(const struct metric_set *s, size_t definition)
{
	return s->at[definition].name;
}

struct str metric_set_regex(const struct metric_set *s, size_t definition)
{
	return s->at[definition].regex;
}

struct metric_counts *metric_set_counts(struct metric_set *s, size_t definition)
{
	return &s->at[definition].counts;
}

bool metric_set_has_literal(const struct metric_set *s, size_t definition)
{
	return s->at[definition].literals.n > 0;
}

static const char no_text[] = "is nothing: there is no capture group, or it had no part in the match";

const char *metric_why(const struct metric_match *m)
{
	return m->text.p ? number_why(m->kind) : no_text;
}

const char *metric_why_known(const char *text)
{
	for (int kind = NUMBER_EMPTY; kind <= NUMBER_TEXT; kind++)
		if (strcmp(number_why((enum number_kind)kind), text) == 0)
			return number_why((enum number_kind)kind);
	return no_text;
}

/* ---- one line ---- */

static void keep_sample(struct buf *b, struct str text)
{
	size_t n = text.n < METRIC_SAMPLE_BYTES ? text.n : METRIC_SAMPLE_BYTES;

	while (n && n < text.n && ((unsigned char)text.p[n] & 0xc0) == 0x80)
		n--;
	buf_reset(b);
	buf_add(b, text.p, n);
	buf_z(b, n < text.n ? "..." : "");
}

static int run_pcre(struct metric_set *s, const struct definition *d, struct str line, size_t from)
{
	int rc = PCRE2_ERROR_JIT_STACKLIMIT;

	if (d->jit)
		rc = pcre2_jit_match(d->code, (PCRE2_SPTR)line.p, line.n, from, PCRE2_NO_UTF_CHECK, s->match,
		                     s->context);
	if (rc == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter keeps its stack on the heap */
		rc = pcre2_match(d->code, (PCRE2_SPTR)line.p, line.n, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, s->match,
		                 s->context);
	return rc;
}

/* The line has what the definition looks for literally. */
static void nearly(struct definition *d, struct str line)
{
	if (d->counts.matched || d->counts.refused || d->near_score == UINT32_MAX)
		return;
	d->near_score = UINT32_MAX;
	keep_sample(&d->counts.nearest, line);
}

static void take_match(struct metric_set *s, size_t i, struct str line, int rc, metric_fn fn, void *arg)
{
	struct definition *d = &s->at[i];
	struct metric_match m = { .definition = i, .kind = NUMBER_EMPTY, .line = line };
	PCRE2_SIZE *at = pcre2_get_ovector_pointer(s->match);

	/* 0: more groups than there was room for, which are not wanted. */
	if (d->has_group && (rc == 0 || rc >= 2) && at[2] != PCRE2_UNSET && at[2] <= at[3]) {
		m.text = (struct str){ line.p + at[2], at[3] - at[2] };
		m.kind = number_parse(m.text, &m.v);
	}
	if (m.kind == NUMBER_OK) {
		d->counts.matched++;
	} else {
		d->counts.refused++;
		keep_sample(&d->counts.last, m.text);
		d->counts.why = metric_why(&m);
	}
	s->unmatched &= ~(UINT64_C(1) << i);
	if (d->counts.nearest.n)
		buf_reset(&d->counts.nearest);
	fn(arg, &m);
}

static void try_definition(struct metric_set *s, size_t i, struct str line, size_t from, metric_fn fn, void *arg)
{
	struct definition *d = &s->at[i];
	int rc;

	if (d->counts.limited >= METRIC_GIVE_UP_AFTER)
		return;
	rc = run_pcre(s, d, line, from);
	if (rc >= 0)
		take_match(s, i, line, rc, fn, arg);
	else if (rc != PCRE2_ERROR_NOMATCH)
		d->counts.limited++;
	else if (!(s->always & UINT64_C(1) << i))
		nearly(d, line);
}

/* from[i]: where definition i may begin to look, if it is one of those whose matches begin with their literal. */
static void try_line(struct metric_set *s, uint64_t which, struct str line, const uint32_t *from, metric_fn fn,
                     void *arg)
{
	for (; which; which &= which - 1) {
		size_t i = (size_t)__builtin_ctzll(which);

		try_definition(s, i, line, s->at[i].head && !(s->always & UINT64_C(1) << i) ? from[i] : 0, fn, arg);
	}
}

/* ---- a chunk ---- */

/* Lines with a definition that is tried on each: the hits of the finder come along. */
struct sweep {
	struct metric_set *s;
	struct str text;
	metric_fn fn;
	void *arg;
	size_t begin, end; /* the line being put together; end is where its '\n' is, or the text's end */
	uint64_t which;
	uint32_t from[METRIC_DEFINITIONS_MAX];
};

static void finish_line(struct sweep *w)
{
	if (w->which)
		try_line(w->s, w->which, (struct str){ w->text.p + w->begin, w->end - w->begin }, w->from, w->fn,
		         w->arg);
	w->which = 0;
}

/* Begins with the line that starts at begin. */
static void start_line(struct sweep *w, size_t begin)
{
	const char *nl = memchr(w->text.p + begin, '\n', w->text.n - begin);

	w->begin = begin;
	w->end = nl ? (size_t)(nl - w->text.p) : w->text.n;
	w->which = w->s->always;
}

static void next_line(struct sweep *w)
{
	finish_line(w);
	start_line(w, w->end + 1);
}

static void go_to_line_of(struct sweep *w, size_t at)
{
	const char *nl;

	if (at <= w->end)
		return;
	if (w->s->always) {
		while (at > w->end)
			next_line(w);
		return;
	}
	finish_line(w);
	nl = memrchr(w->text.p + w->end, '\n', at - w->end);
	start_line(w, (size_t)(nl - w->text.p) + 1);
}

static void take_found(struct sweep *w, const struct found *f)
{
	uint64_t users = w->s->users[f->literal];
	uint32_t at;

	go_to_line_of(w, f->at);
	at = f->at - (uint32_t)w->begin;
	for (uint64_t b = users; b; b &= b - 1) {
		size_t i = (size_t)__builtin_ctzll(b);

		if (!(w->which & b & -b) || at < w->from[i])
			w->from[i] = at;
	}
	w->which |= users;
}

static void sweep(struct sweep *w)
{
	struct metric_set *s = w->s;
	size_t pos = 0;

	start_line(w, 0);
	while (pos < w->text.n) {
		size_t n = finder_next(s->finder, w->text, &pos, s->found, FOUND_MAX);

		/* A window may stand anywhere in its literal, so they are not quite in order; but what comes late is
		 * of the same line, as a literal is. */
		for (size_t i = 0; i < n; i++)
			take_found(w, &s->found[i]);
	}
	if (s->always)
		while (w->end < w->text.n && w->end + 1 < w->text.n)
			next_line(w);
	finish_line(w);
}

/* ---- what a chunk is made of ---- */

/* Lines with bytes that are not shown as they are are escaped, what is between them is taken as it is. */
static struct str as_shown(struct metric_set *s, struct str t)
{
	size_t odd = bytes_find_odd(t);

	if (odd == t.n)
		return t;
	buf_reset(&s->escaped);
	for (; odd < t.n; odd = bytes_find_odd(t)) {
		const char *before = memrchr(t.p, '\n', odd), *nl = memchr(t.p + odd, '\n', t.n - odd);
		size_t begin = before ? (size_t)(before + 1 - t.p) : 0, end = nl ? (size_t)(nl - t.p) : t.n;

		buf_add(&s->escaped, t.p, begin);
		joblog_escape((struct str){ t.p + begin, end - begin }, &s->escaped);
		t.p += end;
		t.n -= end;
	}
	buf_str(&s->escaped, t);
	return buf_view(&s->escaped);
}

/* A few lines of the chunk are compared with what definitions without any match look for. */
static void look_for_nearest(struct metric_set *s, struct str t)
{
	for (size_t k = 0; k < NEAR_LINES_A_CHUNK && t.n && s->unmatched; k++) {
		struct str line = str_cut(&t, '\n');

		for (uint64_t b = s->unmatched; b; b &= b - 1) {
			struct definition *d = &s->at[__builtin_ctzll(b)];
			unsigned score;

			if (d->counts.matched || d->counts.refused || d->near_score == UINT32_MAX) {
				s->unmatched &= ~(b & -b);
				continue;
			}
			if (d->near_lines >= NEAR_LINES + d->counts.lines / NEAR_ONE_OF)
				continue;
			d->near_lines++;
			score = near_score(d->regex, &d->literals, line);
			if (score > d->near_score) {
				d->near_score = score;
				keep_sample(&d->counts.nearest, line);
			}
		}
	}
}

void metric_set_lines(struct metric_set *s, struct str lines, metric_fn fn, void *arg)
{
	struct str shown = s->n ? as_shown(s, lines) : lines;
	uint64_t count = bytes_count_lines(lines);
	struct sweep w = { .s = s, .text = shown, .fn = fn, .arg = arg };

	for (size_t i = 0; i < s->n; i++)
		s->at[i].counts.lines += count;
	if (!s->n || !lines.n)
		return;
	sweep(&w);
	if (s->unmatched)
		look_for_nearest(s, shown);
}
