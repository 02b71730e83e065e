/* A parser of what PCRE2 accepts, as far as it has to be understood to tell literal text from the rest. What is unusual
 * (conditions, verbs, extended mode, callouts) ends the analysis with nothing known.
 *
 * Each part of the expression becomes a node: what all its matches begin with, end with, and contain. Nodes are put
 * together as the parts are.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "metric/literal.h"

#include <stdlib.h>

enum { DEPTH_MAX = 40, SCORE_WANTED = 9 /* less is found everywhere */, CLASS_MAX = 4 };

struct node {
	bool exact;              /* it matches what is in `left` and nothing else */
	struct literal_set left; /* one of them, never none of them: {""} when nothing is known */
	struct literal right;
	struct literal_set in; /* n is 0 when nothing is known */
};

struct parser {
	struct str rest;
	bool caseless;
	bool gave_up;
	int depth;
};

/* ---- literals ---- */

unsigned literal_rarity(unsigned char c)
{
	static const char common[] = "etaoinsrhldcum";

	if (c >= 'a' && c <= 'z')
		return strchr(common, c) ? 3 : 5;
	if (c >= 'A' && c <= 'Z')
		return 5;
	if (c >= '0' && c <= '9')
		return 2;
	if (c == ' ')
		return 1;
	if (c == '.' || c == ',' || c == '-' || c == '/')
		return 3;
	return c < 0x20 || c > 0x7e ? 7 : 5;
}

unsigned literal_score(const struct literal *l)
{
	unsigned score = 0;

	for (size_t i = 0; i < l->n; i++)
		score += literal_rarity((unsigned char)l->bytes[i]);
	return score;
}

static void lower(struct literal *l)
{
	l->fold = true;
	for (size_t i = 0; i < l->n; i++)
		if (l->bytes[i] >= 'A' && l->bytes[i] <= 'Z')
			l->bytes[i] = (char)(l->bytes[i] | 0x20);
}

static void same_case(struct literal *a, struct literal *b)
{
	if (a->fold == b->fold || !a->n || !b->n)
		return;
	lower(a->fold ? b : a);
}

/* a followed by b, or of that the first bytes, or the last ones. False: it was cut. */
static bool join(struct literal a, struct literal b, bool keep_end, struct literal *ret)
{
	char all[2 * LITERAL_MAX_BYTES];
	size_t n = (size_t)a.n + b.n, kept = n < LITERAL_MAX_BYTES ? n : LITERAL_MAX_BYTES;

	same_case(&a, &b);
	memcpy(all, a.bytes, a.n);
	memcpy(all + a.n, b.bytes, b.n);
	*ret = (struct literal){ .n = (unsigned char)kept, .fold = (a.n && a.fold) || (b.n && b.fold) };
	memcpy(ret->bytes, keep_end ? all + n - kept : all, kept);
	return kept == n;
}

/* ---- sets ---- */

static unsigned set_score(const struct literal_set *s)
{
	unsigned least = 0;

	for (size_t i = 0; i < s->n; i++) {
		unsigned score = literal_score(&s->at[i]);

		least = i == 0 || score < least ? score : least;
	}
	return least > s->n ? least - (unsigned)(s->n > 1 ? s->n - 1 : 0) : least;
}

static void set_better(struct literal_set *best, const struct literal_set *other)
{
	if (other->n && (!best->n || set_score(other) > set_score(best)))
		*best = *other;
}

static void set_better_one(struct literal_set *best, const struct literal *l)
{
	struct literal_set one = { .n = l->n ? 1 : 0, .at = { *l } };

	set_better(best, &one);
}

static bool same_literal(const struct literal *a, const struct literal *b)
{
	return a->n == b->n && (!a->n || (a->fold == b->fold && memcmp(a->bytes, b->bytes, a->n) == 0));
}

/* False: there are too many, and the set is useless. */
static bool set_add(struct literal_set *s, const struct literal *l)
{
	for (size_t i = 0; i < s->n; i++)
		if (same_literal(&s->at[i], l))
			return true;
	if (s->n == LITERAL_SET_MAX)
		return false;
	s->at[s->n++] = *l;
	return true;
}

static bool set_union(const struct literal_set *a, const struct literal_set *b, struct literal_set *ret)
{
	struct literal_set all = *a;

	for (size_t i = 0; i < b->n; i++)
		if (!set_add(&all, &b->at[i]))
			return false;
	*ret = all;
	return true;
}

/* Each of a followed by each of b. *ret_whole: none had to be cut. */
static bool set_product(const struct literal_set *a, const struct literal_set *b, struct literal_set *ret,
                        bool *ret_whole)
{
	struct literal_set all = { 0 };

	*ret_whole = true;
	for (size_t i = 0; i < a->n; i++)
		for (size_t k = 0; k < b->n; k++) {
			struct literal l;

			*ret_whole &= join(a->at[i], b->at[k], false, &l);
			if (!set_add(&all, &l))
				return false;
		}
	*ret = all;
	return true;
}

static bool has_empty(const struct literal_set *s)
{
	for (size_t i = 0; i < s->n; i++)
		if (!s->at[i].n)
			return true;
	return false;
}

/* What all matches begin with is in all of them. */
static void set_better_left(struct literal_set *best, const struct literal_set *left)
{
	if (!has_empty(left))
		set_better(best, left);
}

/* ---- nodes ---- */

static struct node node_of(struct literal l)
{
	struct node n = { .exact = true, .left = { .n = 1, .at = { l } }, .right = l };

	set_better_left(&n.in, &n.left);
	return n;
}

static struct node node_empty(void)
{
	return node_of((struct literal){ 0 });
}

/* Anything, of any length. */
static struct node node_unknown(void)
{
	return (struct node){ .left.n = 1 };
}

static struct node concat(const struct node *a, const struct node *b)
{
	struct literal_set right = { .n = 1, .at = { a->right } }, middle;
	struct node n = { .left = a->left, .in = a->in, .right = b->right };
	bool whole = false;

	set_better(&n.in, &b->in);
	if (set_product(&right, &b->left, &middle, &whole))
		set_better_left(&n.in, &middle);
	whole = false;
	if (a->exact && !set_product(&a->left, &b->left, &n.left, &whole))
		whole = false;
	set_better_left(&n.in, &n.left);
	n.exact = a->exact && b->exact && whole;
	if (b->exact && b->left.n == 1)
		join(a->right, b->left.at[0], true, &n.right);
	return n;
}

static void common_end(struct literal a, struct literal b, struct literal *ret)
{
	size_t n = 0;

	same_case(&a, &b);
	while (n < a.n && n < b.n && a.bytes[a.n - 1 - n] == b.bytes[b.n - 1 - n])
		n++;
	*ret = (struct literal){ .n = (unsigned char)n, .fold = a.fold };
	memcpy(ret->bytes, a.bytes + a.n - n, n);
}

static struct node either(const struct node *a, const struct node *b)
{
	struct node n = { .exact = a->exact && b->exact, .left.n = 1 };

	if (!set_union(&a->left, &b->left, &n.left))
		n.exact = false;
	common_end(a->right, b->right, &n.right);
	if (a->in.n && b->in.n && !set_union(&a->in, &b->in, &n.in))
		n.in.n = 0;
	set_better_left(&n.in, &n.left);
	set_better_one(&n.in, &n.right);
	return n;
}

/* Repeated at least once, and not always exactly once. */
static struct node repeated(const struct node *a)
{
	struct node n = *a;

	n.exact = a->exact && a->left.n == 1 && !a->left.at[0].n;
	return n;
}

/* ---- characters ---- */

static struct node give_up(struct parser *p)
{
	p->gave_up = true;
	p->rest.n = 0;
	return node_unknown();
}

static bool next_is(const struct parser *p, char c)
{
	return p->rest.n && *p->rest.p == c;
}

static char take(struct parser *p)
{
	p->rest.n--;
	return *p->rest.p++;
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static struct node one_byte(const struct parser *p, char c)
{
	struct literal l = { .n = 1, .bytes = { c } };

	if (c == '\n') /* ends lines, so it is in none; and literals are to be within lines */
		return node_unknown();
	if (p->caseless && is_letter(c)) {
		lower(&l);
		/* U+212A KELVIN SIGN and U+017F LONG S are other cases of these two. */
		if (l.bytes[0] == 'k' || l.bytes[0] == 's')
			return node_unknown();
	}
	return node_of(l);
}

/* A character as it stands in the expression; more than one byte belongs together, as a quantifier takes all of it. */
static struct node plain_char(struct parser *p)
{
	struct literal l = { .n = 1, .bytes = { take(p) } };

	if (((unsigned char)l.bytes[0] & 0x80) == 0)
		return one_byte(p, l.bytes[0]);
	while (p->rest.n && ((unsigned char)*p->rest.p & 0xc0) == 0x80 && l.n < 4)
		l.bytes[l.n++] = take(p);
	return p->caseless ? node_unknown() : node_of(l);
}

static bool skip_past(struct parser *p, char end)
{
	while (p->rest.n)
		if (take(p) == end)
			return true;
	return false;
}

/* \x41, \x{41} */
static struct node hex_char(struct parser *p)
{
	unsigned value = 0;
	bool braces = next_is(p, '{');
	size_t max = braces ? 8 : 2;

	if (braces)
		take(p);
	for (size_t i = 0; i < max && p->rest.n; i++) {
		char c = *p->rest.p;
		unsigned digit = is_digit(c)                              ? (unsigned)(c - '0')
		                 : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (unsigned)((c | 0x20) - 'a' + 10)
		                                                          : 16;

		if (digit == 16)
			break;
		value = value << 4 | digit;
		take(p);
	}
	if (braces && (!next_is(p, '}') || take(p) != '}'))
		return give_up(p);
	return value >= 0x20 && value < 0x7f ? one_byte(p, (char)value) : node_unknown();
}

/* \Q...\E */
static struct node quoted(struct parser *p)
{
	struct node all = node_empty();

	while (p->rest.n && !str_skip(&p->rest, STR("\\E"))) {
		struct node c = plain_char(p);

		all = concat(&all, &c);
	}
	if (all.exact && all.left.n == 1 && all.left.at[0].n == 1 &&
	    p->rest.n) /* a quantifier behind it takes the last character alone */
		return all;
	return p->rest.n && strchr("*+?{", *p->rest.p) ? give_up(p) : all;
}

/* \p{L} \pL \k<name> \g{1} \o{101}: something, whatever its length. */
static struct node braced(struct parser *p)
{
	static const char open[] = "{<'", close[] = "}>'";
	const char *at;

	if (!p->rest.n)
		return give_up(p);
	at = strchr(open, *p->rest.p);
	if (!at || !*p->rest.p) {
		take(p);
		while (p->rest.n && is_digit(*p->rest.p))
			take(p);
		return node_unknown();
	}
	take(p);
	return skip_past(p, close[at - open]) ? node_unknown() : give_up(p);
}

static struct node escape(struct parser *p)
{
	char c;

	if (!p->rest.n)
		return give_up(p);
	if ((unsigned char)*p->rest.p & 0x80)
		return plain_char(p);
	c = take(p);
	if (!is_letter(c) && !is_digit(c))
		return one_byte(p, c);
	if (is_digit(c)) { /* a back reference, or octal */
		while (p->rest.n && is_digit(*p->rest.p))
			take(p);
		return node_unknown();
	}
	switch (c) {
	case 'N':
		if (next_is(p, '{'))
			return give_up(p);
		return node_unknown();
	case 'd':
	case 'D':
	case 'w':
	case 'W':
	case 's':
	case 'S':
	case 'h':
	case 'H':
	case 'v':
	case 'V':
	case 'R':
	case 'X':
	case 'n':
	case 'r':
	case 'f':
	case 'e':
	case 'a': return node_unknown();
	case 'b':
	case 'B':
	case 'A':
	case 'Z':
	case 'z': return node_empty();
	case 't': return one_byte(p, '\t');
	case 'c':
		if (p->rest.n)
			take(p);
		return node_unknown();
	case 'x': return hex_char(p);
	case 'Q': return quoted(p);
	case 'p':
	case 'P':
	case 'k':
	case 'g':
	case 'o': return braced(p);
	default: return give_up(p); /* \K and \G too, where a match starts is another matter then; and a lone \E */
	}
}

/* ---- classes ---- */

/* One of a few characters. */
static struct node one_of(const struct parser *p, const char *seen, size_t count)
{
	struct node all = one_byte(p, seen[0]);

	if (count == 2 && is_letter(seen[0]) && (seen[0] ^ seen[1]) == 0x20) {
		struct parser any = { .caseless = true };

		/* Without (?i) there is no third case of k and s, but it is not worth a difference. */
		return one_byte(&any, seen[0]);
	}
	for (size_t i = 1; i < count; i++) {
		struct node c = one_byte(p, seen[i]);

		all = either(&all, &c);
	}
	return all;
}

/* The class after '['. A few characters, or the two cases of a letter, are as good as literals. */
static struct node class(struct parser *p)
{
	char seen[CLASS_MAX + 1];
	size_t count = 0;
	bool plain = !next_is(p, '^'), first = true;

	if (!plain)
		take(p);
	for (; p->rest.n; first = false) {
		char c = take(p);

		if (c == ']' && !first)
			break;
		if (c == '[' && p->rest.n && (*p->rest.p == ':' || *p->rest.p == '.' || *p->rest.p == '=')) {
			char kind = take(p);

			while (p->rest.n && (is_letter(*p->rest.p) || *p->rest.p == '^'))
				take(p);
			if (p->rest.n < 2 || take(p) != kind || take(p) != ']')
				return give_up(p);
			plain = false;
			continue;
		}
		if (c == '\\') {
			if (!p->rest.n || *p->rest.p == 'Q' || *p->rest.p == 'E' || *p->rest.p == 'c')
				return give_up(p);
			c = take(p);
			plain = plain && !is_letter(c) && !is_digit(c);
		}
		plain = plain && !((unsigned char)c & 0x80) && c != '-'; /* which may make a range */
		if (count < sizeof(seen))
			seen[count++] = c;
	}
	return plain && count && count <= CLASS_MAX ? one_of(p, seen, count) : node_unknown();
}

/* ---- groups ---- */

static struct node alternatives(struct parser *p);

/* What is inside is of no interest: it takes nothing. */
static struct node assertion(struct parser *p)
{
	bool caseless = p->caseless;

	alternatives(p);
	p->caseless = caseless;
	return node_empty();
}

/* "i)" "-s:" "^i:" after "(?". With ')' they hold for the rest of the group around, which is what the caller parses. */
static struct node flags(struct parser *p, bool *ret_group)
{
	bool on = true;

	*ret_group = false;
	while (p->rest.n) {
		char c = take(p);

		switch (c) {
		case ')': return node_empty();
		case ':': *ret_group = true; return node_empty();
		case '-': on = false; break;
		case '^': p->caseless = false; break;
		case 'i': p->caseless = on; break;
		case 'x':
			if (on)
				return give_up(p);
			break;
		case 'm':
		case 's':
		case 'n':
		case 'U':
		case 'J': break;
		default: return give_up(p);
		}
	}
	return give_up(p);
}

/* After "(?": 1 when a group's alternatives follow; 0 when *ret is all there is. */
static int group_start(struct parser *p, struct node *ret)
{
	bool group;
	char c;

	*ret = node_unknown();
	if (!p->rest.n) {
		give_up(p);
		return 0;
	}
	if (str_skip(&p->rest, STR(":")) || str_skip(&p->rest, STR("|")) || str_skip(&p->rest, STR(">")))
		return 1;
	if (str_skip(&p->rest, STR("=")) || str_skip(&p->rest, STR("!")) || str_skip(&p->rest, STR("<=")) ||
	    str_skip(&p->rest, STR("<!"))) {
		*ret = assertion(p);
		if (!next_is(p, ')'))
			give_up(p);
		else
			take(p);
		return 0;
	}
	c = *p->rest.p;
	if (str_skip(&p->rest, STR("P<")) || str_skip(&p->rest, STR("<"))) {
		if (!skip_past(p, '>'))
			give_up(p);
		return 1;
	}
	if (str_skip(&p->rest, STR("'"))) {
		if (!skip_past(p, '\''))
			give_up(p);
		return 1;
	}
	if (c == 'P' || c == 'R' || c == '&' || is_digit(c) ||
	    ((c == '+' || c == '-') && p->rest.n > 1 && is_digit(p->rest.p[1]))) {
		if (!skip_past(p, ')'))
			give_up(p);
		return 0;
	}
	*ret = flags(p, &group);
	return group;
}

static struct node group(struct parser *p, bool *ret_flags)
{
	bool caseless = p->caseless;
	struct node n;

	*ret_flags = false;
	if (next_is(p, '*') || ++p->depth > DEPTH_MAX)
		return give_up(p);
	if (next_is(p, '?')) {
		take(p);
		if (!group_start(p, &n)) {
			p->depth--;
			*ret_flags = true; /* nothing that is repeated was read; p->caseless stays */
			return n;
		}
	}
	n = alternatives(p);
	if (!next_is(p, ')'))
		return give_up(p);
	take(p);
	p->caseless = caseless;
	p->depth--;
	return n;
}

/* ---- sequences ---- */

/* {2} {2,} {2,5} at the front of s; 0: that is no quantifier, so text; -1: unclear. */
static int braces(struct str s, size_t *ret_len, unsigned *ret_min, bool *ret_once)
{
	size_t i = 1;
	unsigned min = 0, max = 0;
	bool comma = false;

	if (s.n < 2 || !is_digit(s.p[1]))
		return s.n > 1 && (s.p[1] == ',' || s.p[1] == ' ') ? -1 : 0;
	for (; i < s.n && is_digit(s.p[i]); i++)
		min = min * 10 + (unsigned)(s.p[i] - '0');
	max = min;
	if (i < s.n && s.p[i] == ',') {
		comma = true;
		max = 0;
		for (i++; i < s.n && is_digit(s.p[i]); i++)
			max = max * 10 + (unsigned)(s.p[i] - '0');
	}
	if (i >= s.n || s.p[i] != '}')
		return i < s.n && (s.p[i] == ' ' || s.p[i] == ',') ? -1 : 0;
	*ret_len = i + 1;
	*ret_min = min;
	*ret_once = min == 1 && max == 1;
	(void)comma;
	return 1;
}

static struct node quantified(struct parser *p, struct node n)
{
	for (;;) {
		unsigned min = 1;
		bool once = false, optional = next_is(p, '?');
		size_t len = 1;

		if (next_is(p, '*') || next_is(p, '?'))
			min = 0;
		else if (next_is(p, '{')) {
			int rc = braces(p->rest, &len, &min, &once);

			if (rc < 0)
				return give_up(p);
			if (rc == 0)
				return n;
		} else if (!next_is(p, '+')) {
			return n;
		}
		p->rest.p += len;
		p->rest.n -= len;
		if (next_is(p, '?') || next_is(p, '+')) /* lazy, possessive */
			take(p);
		if (optional) {
			struct node none = node_empty();

			n = either(&n, &none);
		} else if (min == 0) {
			n = node_unknown();
		} else if (!once) {
			n = repeated(&n);
		}
	}
}

static struct node atom(struct parser *p)
{
	bool only_flags = false;
	struct node n;

	switch (*p->rest.p) {
	case '\\':
		take(p);
		n = escape(p);
		break;
	case '[':
		take(p);
		n = class(p);
		break;
	case '(':
		take(p);
		n = group(p, &only_flags);
		break;
	case '.':
		take(p);
		n = node_unknown();
		break;
	case '^':
	case '$':
		take(p);
		n = node_empty();
		break;
	default: n = plain_char(p); break;
	}
	return quantified(p, n);
}

static struct node alternatives(struct parser *p)
{
	struct node all = node_unknown(), sequence = node_empty();
	bool first = true;

	while (!p->gave_up) {
		if (p->rest.n && *p->rest.p != '|' && *p->rest.p != ')') {
			struct node n = atom(p);

			sequence = concat(&sequence, &n);
			continue;
		}
		all = first ? sequence : either(&all, &sequence);
		first = false;
		if (!next_is(p, '|'))
			return all;
		take(p);
		sequence = node_empty();
	}
	return node_unknown();
}

/* A set needs no literal that has another of it inside. */
static void simplify(struct literal_set *s)
{
	for (size_t i = 0; i < s->n;) {
		bool needless = false;

		for (size_t k = 0; k < s->n && !needless; k++)
			needless = k != i && s->at[k].fold == s->at[i].fold && s->at[k].n < s->at[i].n &&
			           memmem(s->at[i].bytes, s->at[i].n, s->at[k].bytes, s->at[k].n);
		if (needless)
			s->at[i] = s->at[--s->n];
		else
			i++;
	}
}

void literal_of(struct str regex, struct literal_set *ret)
{
	struct parser p = { .rest = regex };
	struct node all = alternatives(&p);
	unsigned left = has_empty(&all.left) ? 0 : set_score(&all.left), best = set_score(&all.in);

	*ret = (struct literal_set){ 0 };
	if (p.gave_up || p.rest.n)
		return;
	/* What a match begins with is worth more: the search can start there. */
	if (left >= SCORE_WANTED && left * 2 >= best) {
		*ret = all.left;
		ret->head = true;
	} else if (best >= SCORE_WANTED) {
		*ret = all.in;
		simplify(ret);
	}
}
