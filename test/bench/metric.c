/* Definitions applied to a text, by our engine or by PCRE2 (JIT) definition by definition, line by line: how long it
 * takes and what comes out. usage: metric ours|pcre2|log TEXT DEFINITIONS   (a line "name regex" each); `log` makes a
 * job log of the text first and then measures from the log to the file of metrics.  SPDX-License-Identifier: Apache-2.0
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <fcntl.h>
#include <inttypes.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "joblog/joblog.h"
#include "metric/extract.h"

enum { CHUNK = 128 << 10 };

struct sum {
	uint64_t values, refused;
	double sum;
};

static struct metric_definition definitions[METRIC_DEFINITIONS_MAX];
static size_t count;

static void add(void *arg, const struct metric_match *m)
{
	struct sum *s = arg;

	s->values += m->kind == NUMBER_OK;
	s->refused += m->kind != NUMBER_OK;
	s->sum += m->v;
}

static void die(const struct err *e)
{
	err_print(e, "metric");
	exit(1);
}

/* In pieces of whole lines, as a supervisor writes what it reads. */
static struct str next_chunk(struct str *text)
{
	struct str c = { text->p, text->n < CHUNK ? text->n : CHUNK };

	while (c.n < text->n && c.p[c.n - 1] != '\n')
		c.n++;
	text->p += c.n;
	text->n -= c.n;
	return c;
}

static void ours(struct str text, struct sum *sum)
{
	struct metric_set *s = NULL;
	struct err e = { 0 };

	if (metric_set_new(definitions, count, &s, &e) < 0)
		die(&e);
	while (text.n)
		metric_set_lines(s, next_chunk(&text), add, sum);
	metric_set_free(s);
}

static void by_definition(struct str text, struct sum *sum)
{
	pcre2_match_data *match = pcre2_match_data_create(2, NULL);
	pcre2_code *code[METRIC_DEFINITIONS_MAX];
	struct buf shown = { 0 };
	PCRE2_SIZE at;
	int error;

	for (size_t i = 0; i < count; i++) {
		code[i] = pcre2_compile((PCRE2_SPTR)definitions[i].regex.p, definitions[i].regex.n, PCRE2_UTF, &error,
		                        &at, NULL);
		pcre2_jit_compile(code[i], PCRE2_JIT_COMPLETE);
	}
	while (text.n) {
		struct str line = str_cut(&text, '\n');

		if (memchr(line.p, '\t', line.n) ||
		    memchr(line.p, '\r', line.n)) { /* all that there is to escape here */
			buf_reset(&shown);
			joblog_escape(line, &shown);
			line = buf_view(&shown);
		}
		for (size_t i = 0; i < count; i++) {
			PCRE2_SIZE *o = pcre2_get_ovector_pointer(match);
			struct metric_match m = { .definition = i };

			if (pcre2_match(code[i], (PCRE2_SPTR)line.p, line.n, 0, PCRE2_NO_UTF_CHECK, match, NULL) < 0)
				continue;
			m.kind = number_parse((struct str){ line.p + o[2], o[3] - o[2] }, &m.v);
			add(sum, &m);
		}
	}
	for (size_t i = 0; i < count; i++)
		pcre2_code_free(code[i]);
	pcre2_match_data_free(match);
	buf_fini(&shown);
}

static void make_log(struct str text, const char *path)
{
	struct joblog *l;
	struct err e = { 0 };

	if (joblog_open(path, &l, &e) < 0)
		die(&e);
	while (text.n)
		if (joblog_add_lines(l, wall_now(), LOG_FROM_CONTAINER, next_chunk(&text), &e) < 0)
			die(&e);
	if (joblog_close(l, &e) < 0)
		die(&e);
}

static void from_log(const char *log, const char *to, struct sum *sum)
{
	struct metric_left left = { 0 };
	struct metric_out *out = NULL;
	struct metric_set *s = NULL;
	struct extract *x = NULL;
	struct err e = { 0 };
	int rc;

	if (metric_set_new(definitions, count, &s, &e) < 0 || metric_out_open(to, &out, &left, &e) < 0 ||
	    extract_open(log, s, out, &left, &x, &e) < 0)
		die(&e);
	while ((rc = extract_more(x, 4 << 20, &e)) > 0)
		;
	if (rc < 0 || extract_end(x, &e) < 0 || extract_write(x, true, &e) < 0)
		die(&e);
	for (size_t i = 0; i < count; i++)
		sum->values += metric_set_counts(s, i)->matched;
	extract_close(x);
	metric_out_close(out);
	metric_set_free(s);
}

int main(int argc, char **argv)
{
	struct buf lines = { 0 };
	struct sum sum = { 0 };
	struct str rest, text;
	struct stat st;
	struct mono begin;
	struct err e = { 0 };
	int fd;

	if (argc != 4 || file_read(argv[3], 1 << 20, &lines, &e) < 0)
		return 2;
	for (rest = buf_view(&lines); rest.n; count++) {
		definitions[count].regex = str_cut(&rest, '\n');
		definitions[count].name = str_cut(&definitions[count].regex, ' ');
	}
	fd = open(argv[2], O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return 2;
	text = (struct str){ mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0),
		             (size_t)st.st_size };
	if (strcmp(argv[1], "log") == 0) {
		_cleanup_free_ char *log = strf("%s.log", argv[2]), *to = strf("%s.metrics", argv[2]);

		make_log(text, log);
		begin = mono_now();
		from_log(log, to, &sum);
	} else {
		begin = mono_now();
		if (strcmp(argv[1], "ours") == 0)
			ours(text, &sum);
		else
			by_definition(text, &sum);
	}
	printf("%.6f %" PRIu64 " %" PRIu64 " %.17g\n", (double)(mono_now().ns - begin.ns) / 1e9, sum.values,
	       sum.refused, sum.sum);
	return 0;
}
