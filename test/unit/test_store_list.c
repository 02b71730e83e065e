/* ListTrainingJobs against a naive model: random jobs, every order, random filters, page by page.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "harness.h"
#include "store/store.h"

enum { JOBS = 300, ROUNDS = 600 };

struct model {
	int64_t n, created, modified;
	char name[64], lower[64];
	enum job_state state;
	bool plan;
};
static struct model jobs[JOBS];
static uint64_t seed = 20261121;

static unsigned roll(unsigned n)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(seed >> 33) % n;
}

static const char *status_of(const struct model *j)
{
	return job_state_info[j->state].status;
}

static int by_creation(const struct model *a, const struct model *b)
{
	if (a->created != b->created)
		return a->created < b->created ? -1 : 1;
	return a->n < b->n ? -1 : a->n > b->n;
}
static int cmp_creation(const void *a, const void *b)
{
	return by_creation(a, b);
}
static int cmp_name(const void *a, const void *b)
{
	return strcmp(((const struct model *)a)->lower, ((const struct model *)b)->lower);
}
static int cmp_status(const void *a, const void *b)
{
	int c = strcmp(status_of(a), status_of(b));

	return c ? c : by_creation(a, b);
}

static struct store *filled(void)
{
	_cleanup_free_ char *path = strf("%s/t.db", test_tmpdir());
	struct store *s = NULL;

	CHECK_OK(store_open(path, &s, e));
	for (int i = 0; i < JOBS; i++) {
		struct model *j = &jobs[i];
		char id[JOB_ID_BYTES], arn[100];
		struct store_new_job new = {
			.id = id, .name = j->name, .arn = arn, .request = "{}", .echo = "", .needs = "{}"
		};
		struct store_move m;

		snprintf(j->name, sizeof(j->name), "%c%s-%u-%d", "abcXYZ"[roll(6)], roll(2) ? "Run" : "job", roll(20),
		         i);
		for (size_t k = 0; k < sizeof(j->name); k++)
			j->lower[k] = (char)(j->name[k] >= 'A' && j->name[k] <= 'Z' ? j->name[k] + 32 : j->name[k]);
		j->created = 1000 + roll(80); /* many at the same moment */
		j->state = roll(JOB_STATE_COUNT);
		j->plan = !roll(4);
		snprintf(id, sizeof(id), "%016x", i);
		snprintf(arn, sizeof(arn), "arn:%s", j->lower);
		new.created.ms = j->created;
		new.training_plan = j->plan ? "arn:plan" : NULL;
		CHECK_OK(store_job_insert(s, &new, &j->n, e));
		j->modified = j->created + 1 + roll(100);
		m = (struct store_move){ .n = j->n, .from = JOB_STARTING, .to = j->state, .at.ms = j->modified };
		CHECK_OK(store_job_move(s, &m, e));
	}
	return s;
}

static bool passes(const struct model *j, const struct store_list *q)
{
	return (!q->created_after.ms || j->created > q->created_after.ms) &&
	       (!q->created_before.ms || j->created < q->created_before.ms) &&
	       (!q->modified_after.ms || j->modified > q->modified_after.ms) &&
	       (!q->modified_before.ms || j->modified < q->modified_before.ms) &&
	       (!q->name_contains.n || strstr(j->name, q->name_contains.p)) &&
	       (!q->status.n || !strcmp(status_of(j), q->status.p)) && (!q->training_plan.n || j->plan);
}

static void add_line(const struct store_summary *j, void *arg)
{
	buf_f(arg, PRIstr " %s %lld %lld\n", ARGstr(j->name), job_state_info[j->state].name, (long long)j->created.ms,
	      (long long)j->modified.ms);
}

static void expected(const struct store_list *q, struct buf *out)
{
	static int (*const cmp[])(const void *, const void *) = { cmp_creation, cmp_name, cmp_status };

	qsort(jobs, JOBS, sizeof(jobs[0]), cmp[q->sort]);
	for (int k = 0; k < JOBS; k++) {
		const struct model *j = &jobs[q->descending ? JOBS - 1 - k : k];

		if (passes(j, q))
			buf_f(out, "%s %s %lld %lld\n", j->name, job_state_info[j->state].name, (long long)j->created,
			      (long long)j->modified);
	}
}

static struct store_list random_query(void)
{
	static const char *const contains[] = { "Run", "job", "-1", "a", "zzz" };
	static const char *const status[] = { "InProgress", "Completed", "Failed", "Stopping", "Stopped", "Deleting" };
	struct store_list q = { .sort = roll(3), .descending = roll(2), .max = 1 + roll(100) };

	if (!roll(3))
		q.created_after.ms = 1000 + roll(90);
	if (!roll(3))
		q.created_before.ms = 1000 + roll(90);
	if (!roll(3))
		q.modified_after.ms = 1000 + roll(200);
	if (!roll(3))
		q.modified_before.ms = 1000 + roll(200);
	if (!roll(3))
		q.name_contains = str_of(contains[roll(ARRAY_LEN(contains))]);
	if (!roll(3))
		q.status = str_of(status[roll(ARRAY_LEN(status))]);
	if (!roll(5))
		q.training_plan = STR("arn:plan");
	return q;
}

static size_t lines(const struct buf *b)
{
	size_t n = 0;

	for (size_t i = 0; i < b->n; i++)
		n += b->p[i] == '\n';
	return n;
}

TEST(pages_of_random_queries_are_the_naive_answer)
{
	_cleanup_(store_closep) struct store *s = filled();

	for (int round = 0; round < ROUNDS; round++) {
		_cleanup_buf_ struct buf want = { 0 }, got = { 0 };
		struct store_list q = random_query();
		char *token = NULL;
		size_t before, pages = 0;

		expected(&q, &want);
		do {
			char *next = NULL;

			before = lines(&got);
			q.token = str_of(token);
			CHECK_OK(store_job_list(s, KIND_TRAINING, &q, add_line, &got, &next, e));
			free(token);
			token = next;
			/* No token on a last page, and no short page with one. */
			CHECK(!token || lines(&got) - before == q.max);
		} while (token && ++pages <= JOBS);
		if (!str_eq(buf_view(&got), buf_view(&want))) {
			test_failed(__FILE__, __LINE__, "round %d, sort %d descending %d:\n%s---\n%s", round, q.sort,
			            q.descending, got.p, want.p);
			break;
		}
	}
}

TEST(tokens_are_checked)
{
	static const char *const bad[] = { "x", "====", "AAAA", "not base64!", "\n", "AQ" };
	_cleanup_(store_closep) struct store *s = filled();
	_cleanup_buf_ struct buf got = { 0 };
	_cleanup_free_ char *token = NULL;
	struct store_list q = { .max = 10 };
	struct err why = { 0 };
	char *next = NULL;

	CHECK_OK(store_job_list(s, KIND_TRAINING, &q, add_line, &got, &token, e));
	CHECK(token != NULL);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		q.token = str_of(bad[i]);
		CHECK_INT(store_job_list(s, KIND_TRAINING, &q, add_line, &got, &next, &why), -1);
		CHECK_INT(why.kind, ERR_INVALID);
	}
	for (size_t i = 0; token[i]; i++) { /* one changed character anywhere */
		_cleanup_free_ char *other = xstrdup(token);

		other[i] = other[i] == 'A' ? 'B' : 'A';
		q.token = str_of(other);
		CHECK_INT(store_job_list(s, KIND_TRAINING, &q, add_line, &got, &next, &why), -1);
	}
	q.token = str_of(token);
	q.descending = true; /* other order, other filters */
	CHECK_INT(store_job_list(s, KIND_TRAINING, &q, add_line, &got, &next, &why), -1);
	q.descending = false;
	q.name_contains = STR("a");
	CHECK_INT(store_job_list(s, KIND_TRAINING, &q, add_line, &got, &next, &why), -1);
	CHECK_INT(why.kind, ERR_INVALID);
	CHECK(!next);
}

TEST(a_deleted_entry_does_not_disturb_the_next_page)
{
	_cleanup_(store_closep) struct store *s = filled();
	_cleanup_buf_ struct buf want = { 0 }, got = { 0 };
	_cleanup_free_ char *token = NULL;
	struct store_list q = { .max = 10, .sort = SORT_NAME };
	char *next = NULL;

	expected(&q, &want);
	CHECK_OK(store_job_list(s, KIND_TRAINING, &q, add_line, &got, &token, e));
	CHECK_OK(store_job_delete(s, jobs[9].n, e)); /* jobs[] is in the order of the query; the last one handed out */
	q.token = str_of(token);
	q.max = JOBS;
	CHECK_OK(store_job_list(s, KIND_TRAINING, &q, add_line, &got, &next, e));
	CHECK(!next);
	CHECK_STR(got.p, want.p);
}

static void note(const struct store_place *p, void *arg)
{
	buf_f(arg, PRIstr " ", ARGstr(p->name));
}

TEST(names_by_prefix)
{
	_cleanup_(store_closep) struct store *s = NULL;
	_cleanup_free_ char *path = strf("%s/n.db", test_tmpdir());
	static const char *const names[] = { "ab", "AB-2", "abc", "b", "a" };
	char id[JOB_ID_BYTES];
	struct wall created = { 0 };
	struct err why = { 0 };
	_cleanup_buf_ struct buf got = { 0 };

	CHECK_OK(store_open(path, &s, e));
	CHECK_OK(store_job_each_name(s, KIND_TRAINING, STR(""), note, &got, e));
	CHECK(!got.n);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct store_new_job j = { .id = id,
			                   .name = names[i],
			                   .arn = "arn",
			                   .request = "{}",
			                   .echo = "",
			                   .needs = "{}",
			                   .created.ms = 1 };
		int64_t n;

		snprintf(id, sizeof(id), "%016zx", i);
		CHECK_OK(store_job_insert(s, &j, &n, e));
	}
	CHECK_OK(store_job_each_name(s, KIND_TRAINING, STR("ab"), note, &got, e));
	CHECK_STR(got.p, "ab abc ");
	buf_reset(&got);
	CHECK_OK(store_job_each_name(s, KIND_TRAINING, STR(""), note, &got, e));
	CHECK_STR(got.p, "a ab AB-2 abc b ");
	CHECK_OK(store_job_locate(s, KIND_TRAINING, STR("AB-2"), 1, id, &created, e));
	CHECK_STR(id, "0000000000000001");
	CHECK_INT(created.ms, 1);
	CHECK_INT(store_job_locate(s, KIND_TRAINING, STR("ab-2"), 1, id, &created, &why), -1);
	CHECK_INT(why.kind, ERR_NOT_FOUND);
}
