/* SPDX-License-Identifier: Apache-2.0 */
#include "model.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILE_MAX = 16 << 20, PATH_BYTES = 1024 };

/* The softmax is shifted so that it cannot overflow. */
void model_predict(const struct model *m, const double *x, double *p)
{
	double top = -INFINITY, sum = 0;

	for (size_t c = 0; c < m->classes; c++) {
		p[c] = m->bias[c];
		for (size_t j = 0; j < m->features; j++)
			p[c] += m->weight[c][j] * x[j];
		top = p[c] > top ? p[c] : top;
	}
	for (size_t c = 0; c < m->classes; c++)
		sum += p[c] = exp(p[c] - top);
	for (size_t c = 0; c < m->classes; c++)
		p[c] /= sum;
}

/* ---- writing ---- */

void put_json_string(FILE *f, const char *s)
{
	putc('"', f);
	for (; *s; s++)
		if (*s == '"' || *s == '\\' || iscntrl((unsigned char)*s))
			fprintf(f, "\\u%04x", (unsigned char)*s);
		else
			putc(*s, f);
	putc('"', f);
}

static void put_names(FILE *f, const char *key, const char (*name)[NAME_BYTES], size_t n)
{
	fprintf(f, "  \"%s\": [", key);
	for (size_t i = 0; i < n; i++) {
		fputs(i ? ", " : "", f);
		put_json_string(f, name[i]);
	}
	fputs("],\n", f);
}

static void put_numbers(FILE *f, const char *before, const double *v, size_t n, const char *after)
{
	fputs(before, f);
	for (size_t i = 0; i < n; i++)
		fprintf(f, "%s%.17g", i ? ", " : "", v[i]);
	fputs(after, f);
}

int model_write(const struct model *m, const char *path, long epochs, double accuracy)
{
	char partial[PATH_BYTES];
	FILE *f;

	snprintf(partial, sizeof(partial), "%s.part", path);
	f = fopen(partial, "w");
	if (!f)
		return -1;
	fputs("{\n", f);
	put_names(f, "features", m->feature, m->features);
	put_names(f, "classes", m->class, m->classes);
	put_numbers(f, "  \"mean\": [", m->mean, m->features, "],\n");
	put_numbers(f, "  \"scale\": [", m->scale, m->features, "],\n");
	put_numbers(f, "  \"bias\": [", m->bias, m->classes, "],\n");
	fputs("  \"weights\": [\n", f);
	for (size_t c = 0; c < m->classes; c++)
		put_numbers(f, "    [", m->weight[c], m->features, c + 1 < m->classes ? "],\n" : "]\n");
	fputs("  ],\n", f);
	if (accuracy >= 0)
		fprintf(f, "  \"validation_accuracy\": %.6f,\n", accuracy);
	fprintf(f, "  \"epochs\": %ld\n}\n", epochs);
	if (fflush(f) || fsync(fileno(f))) {
		fclose(f);
		return -1;
	}
	return fclose(f) || rename(partial, path) ? -1 : 0;
}

/* ---- reading: an object of names, lists of names and lists of numbers ---- */

struct parser {
	const char *at;
	const char *why; /* NULL while all is well */
};

static void bad(struct parser *p, const char *why)
{
	if (!p->why)
		p->why = why;
}

/* Past c, when it comes next and all is well. */
static int take(struct parser *p, char c)
{
	if (p->why)
		return 0;
	p->at += strspn(p->at, " \t\r\n");
	if (*p->at != c)
		return 0;
	p->at++;
	return 1;
}

static void need(struct parser *p, char c, const char *why)
{
	if (!take(p, c))
		bad(p, why);
}

static void name(struct parser *p, char dst[NAME_BYTES])
{
	size_t n = 0;

	need(p, '"', "a name is missing");
	while (!p->why && *p->at != '"') {
		char c = *p->at++;
		unsigned code;

		if (c == '\\' && sscanf(p->at, "u00%2x", &code) == 1 && code > 0 && code < 0x80) {
			c = (char)code;
			p->at += 5;
		} else if (c == '\\') {
			bad(p, "a name holds an escape other than \\u0001 to \\u007f");
		}
		if (!c || n + 1 == NAME_BYTES)
			bad(p, "a name is cut off, or longer than 63 bytes");
		dst[n++] = c;
		dst[n] = 0;
	}
	need(p, '"', "a name is cut off");
}

static size_t names(struct parser *p, char (*dst)[NAME_BYTES], size_t most)
{
	size_t n = 0;

	need(p, '[', "a list of names is missing");
	do {
		if (n == most)
			bad(p, "there are more names than this program takes");
		else
			name(p, dst[n++]);
	} while (take(p, ','));
	need(p, ']', "a list of names has no end");
	return n;
}

static double number(struct parser *p)
{
	char *end;
	double v = strtod(p->at, &end);

	if (end == p->at || !isfinite(v))
		bad(p, "a number is missing");
	p->at = end;
	return v;
}

/* Exactly n of them. */
static void numbers(struct parser *p, double *dst, size_t n)
{
	need(p, '[', "a list of numbers is missing");
	for (size_t i = 0; i < n && !p->why; i++) {
		if (i)
			need(p, ',', "a list has fewer numbers than there are features or classes");
		if (!p->why)
			dst[i] = number(p);
	}
	need(p, ']', "a list has more numbers than there are features or classes");
}

static void member(struct parser *p, struct model *m, unsigned *seen)
{
	static const char *const keys[] = { "features", "classes", "mean", "scale", "bias", "weights" };
	char key[NAME_BYTES] = "";
	unsigned which = 0;

	name(p, key);
	need(p, ':', "a colon is missing");
	while (which < 6 && strcmp(key, keys[which]) != 0)
		which++;
	if (which > 1 && which < 6 && (*seen & 3) != 3)
		bad(p, "features and classes have to come first");
	if (p->why)
		return;
	*seen |= 1U << which;
	if (which == 0)
		m->features = names(p, m->feature, FEATURES_MAX);
	else if (which == 1)
		m->classes = names(p, m->class, CLASSES_MAX);
	else if (which == 2 || which == 3)
		numbers(p, which == 2 ? m->mean : m->scale, m->features);
	else if (which == 4)
		numbers(p, m->bias, m->classes);
	else if (which == 5) {
		need(p, '[', "the weights are missing");
		for (size_t c = 0; c < m->classes && !p->why; c++) {
			if (c)
				need(p, ',', "there are fewer lists of weights than classes");
			numbers(p, m->weight[c], m->features);
		}
		need(p, ']', "there are more lists of weights than classes");
	} else {
		(void)number(p); /* validation_accuracy, epochs */
	}
}

static char *read_file(const char *path)
{
	FILE *f = fopen(path, "r");
	char *text = f ? malloc(FILE_MAX + 1) : NULL;
	size_t n = text ? fread(text, 1, FILE_MAX, f) : 0;

	if (text)
		text[n] = 0;
	if (f)
		fclose(f);
	return text;
}

int model_read(struct model *m, const char *path, char *why, size_t why_bytes)
{
	char *text = read_file(path);
	struct parser p = { .at = text };
	unsigned seen = 0;

	if (!text) {
		snprintf(why, why_bytes, "%s: %s", path, strerror(errno));
		return -1;
	}
	memset(m, 0, sizeof(*m));
	need(&p, '{', "it is no JSON object");
	do
		member(&p, m, &seen);
	while (take(&p, ','));
	need(&p, '}', "it is cut off");
	if ((seen & 63) != 63)
		bad(&p, "features, classes, mean, scale, bias and weights are not all there");
	for (size_t j = 0; j < m->features; j++)
		if (!(m->scale[j] > 0))
			bad(&p, "a scale is not larger than 0");
	if (p.why)
		snprintf(why, why_bytes, "%s: %s (at byte %zu)", path, p.why, (size_t)(p.at - text));
	free(text);
	return p.why ? -1 : 0;
}
