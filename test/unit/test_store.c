/* The database of jobs: rows, moves, tags, migrations. SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "store/db.h"
#include "store/store.h"

#define ARN(name) "arn:aws:sagemaker:us-east-1:000000000000:training-job/" name

static struct store *fresh(void)
{
	_cleanup_free_ char *path = strf("%s/t.db", test_tmpdir());
	struct store *s = NULL;

	CHECK_OK(store_open(path, &s, e));
	must(s);
	return s;
}

static struct store *again(struct store *s)
{
	store_close(s);
	return fresh();
}

static int64_t add_kind(struct store *s, enum job_kind kind, const char *name, const char *arn, int64_t created_ms)
{
	struct store_new_job j = { .kind = kind,
		                   .name = name,
		                   .arn = arn,
		                   .request = "{\"r\":1}",
		                   .echo = "a\nb\nc",
		                   .needs = "{}",
		                   .created.ms = created_ms };
	static unsigned serial;
	_cleanup_free_ char *id = strf("%016x", ++serial);
	int64_t n = 0;

	j.id = id;
	CHECK_OK(store_job_insert(s, &j, &n, e));
	return n;
}

static int64_t add(struct store *s, const char *name, const char *arn, int64_t created_ms)
{
	return add_kind(s, KIND_TRAINING, name, arn, created_ms);
}

static struct store_move move(int64_t n, enum job_state from, enum job_state to, uint64_t fact, int64_t at)
{
	return (struct store_move){
		.n = n, .from = from, .to = to, .seen = fact ? fact - 1 : 0, .fact = fact, .at.ms = at
	};
}

TEST(a_new_job_is_starting_with_one_transition)
{
	_cleanup_(store_closep) struct store *s = fresh();
	struct store_description d = { 0 };

	add(s, "Demo-1", ARN("demo-1"), 1000);
	s = again(s);
	CHECK_OK(store_describe(s, KIND_TRAINING, STR("demo-1"), &d, e));
	CHECK_STR(d.job.name, "Demo-1");
	CHECK_STR(d.job.arn, ARN("demo-1"));
	CHECK_INT(d.job.state, JOB_STARTING);
	CHECK_INT(d.job.created.ms, 1000);
	CHECK_INT(d.job.modified.ms, 1000);
	CHECK_STR(d.echo, "a\nb\nc");
	CHECK_INT(d.transition_count, 1);
	CHECK_STR(d.transitions[0].status, "Starting");
	CHECK_STR(d.transitions[0].message, "Starting the training job");
	CHECK_INT(d.transitions[0].end.ms, 0);
	store_description_fini(&d);
}

TEST(names_are_unique_without_case_and_a_refused_one_leaves_nothing)
{
	_cleanup_(store_closep) struct store *s = fresh();
	struct store_tag tag = { STR("k"), STR("v") };
	struct store_new_job j = { .id = "ffffffffffffffff",
		                   .name = "DEMO",
		                   .arn = ARN("demo"),
		                   .request = "{}",
		                   .echo = "",
		                   .needs = "{}",
		                   .created.ms = 5,
		                   .tags = &tag,
		                   .tag_count = 1 };
	struct store_description d = { 0 };
	struct err why = { 0 };
	int64_t n = 0;

	add(s, "demo", ARN("demo"), 1);
	CHECK_INT(store_job_insert(s, &j, &n, &why), -1);
	CHECK_INT(why.kind, ERR_IN_USE);
	CHECK_STR(why.frame[0],
	          "Job name must be unique within an AWS account and region, and a training job with this name "
	          "already exists (" ARN("demo") ")");
	CHECK_OK(store_describe(s, KIND_TRAINING, STR("DeMo"), &d, e));
	CHECK_STR(d.job.name, "demo");
	store_description_fini(&d);
}

TEST(moving_is_compare_and_set_on_state_and_fact)
{
	_cleanup_(store_closep) struct store *s = fresh();
	int64_t n = add(s, "j", ARN("j"), 1);
	struct store_move m = move(n, JOB_STARTING, JOB_LAUNCHING, 0, 2);
	struct stored_job j = { 0 };
	struct err why = { 0 };

	CHECK_OK(store_job_move(s, &m, e));
	CHECK_INT(store_job_move(s, &m, &why), -1);
	CHECK_INT(why.kind, ERR_IN_USE);
	m = move(n, JOB_LAUNCHING, JOB_DOWNLOADING, 2, 3);
	CHECK_INT(store_job_move(s, &m, &why), -1); /* fact 1 is missing */
	CHECK_INT(why.kind, ERR_IN_USE);
	m = move(n, JOB_LAUNCHING, JOB_DOWNLOADING, 1, 3);
	CHECK_OK(store_job_move(s, &m, e));
	CHECK_INT(store_job_move(s, &m, &why), -1); /* the same fact again */
	CHECK_OK(store_job_find(s, KIND_TRAINING, STR("j"), &j, e));
	CHECK_INT(j.state, JOB_DOWNLOADING);
	CHECK_INT(j.last_fact, 1);
	CHECK_INT(j.modified.ms, 3);
	stored_job_fini(&j);
}

TEST(transitions_follow_contract_5_3)
{
	_cleanup_(store_closep) struct store *s = fresh();
	int64_t n = add(s, "j", ARN("j"), 1000);
	struct store_move m[] = {
		move(n, JOB_STARTING, JOB_PENDING, 0, 1100),
		move(n, JOB_PENDING, JOB_ADMITTED, 0, 1200),  /* the same phase: the message changes in place */
		move(n, JOB_ADMITTED, JOB_ADMITTED, 1, 1250), /* a fact that means nothing */
		move(n, JOB_ADMITTED, JOB_DOWNLOADING, 2, 1300),
		move(n, JOB_DOWNLOADING, JOB_DOWNLOADING, 3, 1350),
		move(n, JOB_DOWNLOADING, JOB_TRAINING, 4, 1400),
		move(n, JOB_TRAINING, JOB_UPLOADING, 5, 1500),
		move(n, JOB_UPLOADING, JOB_COMPLETED, 6, 1600),
	};
	static const struct {
		const char *status, *message;
		int64_t start, end;
	} want[] = {
		{ "Starting", "Starting the training job", 1000, 1100 },
		{ "Pending", "Preparing the instances for training", 1100, 1300 },
		{ "Downloading", "Downloading the training image", 1300, 1400 },
		{ "Training", "Training image download completed. Training in progress.", 1400, 1500 },
		{ "Uploading", "Uploading generated training model", 1500, 1600 },
		{ "Completed", "Training job completed", 1600, 1600 },
	};
	struct store_description d = { 0 };

	m[4].message = "Downloading the training image";
	for (size_t i = 0; i < ARRAY_LEN(m); i++)
		CHECK_OK(store_job_move(s, &m[i], e));
	CHECK_OK(store_describe(s, KIND_TRAINING, STR("j"), &d, e));
	CHECK_INT(d.transition_count, ARRAY_LEN(want));
	for (size_t i = 0; i < ARRAY_LEN(want) && i < d.transition_count; i++) {
		CHECK_STR(d.transitions[i].status, want[i].status);
		CHECK_STR(d.transitions[i].message, want[i].message);
		CHECK_INT(d.transitions[i].start.ms, want[i].start);
		CHECK_INT(d.transitions[i].end.ms, want[i].end);
	}
	store_description_fini(&d);
}

static int count_live(const struct stored_job *j, void *arg, struct err *e)
{
	struct buf *b = arg;

	(void)e;
	buf_f(b, "%s ", j->name);
	return 0;
}

TEST(live_jobs_come_in_order_of_creation_and_final_ones_do_not)
{
	_cleanup_(store_closep) struct store *s = fresh();
	_cleanup_buf_ struct buf b = { 0 };
	struct store_move m;
	int64_t n[3];

	n[0] = add(s, "c", ARN("c"), 30);
	n[1] = add(s, "a", ARN("a"), 20);
	n[2] = add(s, "b", ARN("b"), 10); /* the clock went back: the order is that of the inserts */
	m = move(n[1], JOB_STARTING, JOB_FAILED, 0, 40);
	m.failure_reason = "InternalServerError: gone";
	CHECK_OK(store_job_move(s, &m, e));
	CHECK_OK(store_job_each_live(s, count_live, &b, e));
	CHECK_STR(b.p, "c b ");
}

static void note_cleanup(const char *id, bool remove, void *arg)
{
	buf_f(arg, "%s:%d ", id, remove);
}

TEST(what_is_to_be_cleaned_up_is_remembered)
{
	_cleanup_(store_closep) struct store *s = fresh();
	_cleanup_buf_ struct buf b = { 0 }, want = { 0 };
	struct store_description d = { 0 };
	struct stored_job j = { 0 };
	int64_t n = add(s, "j", ARN("j"), 1);
	struct store_move m = move(n, JOB_STARTING, JOB_FAILED, 0, 2);
	struct err why = { 0 };

	CHECK_OK(store_job_find(s, KIND_TRAINING, STR("j"), &j, e));
	m.forget = true;
	CHECK_OK(store_job_move(s, &m, e));
	s = again(s);
	CHECK_OK(store_cleanup_each(s, note_cleanup, &b, e));
	buf_f(&want, "%s:0 ", j.id);
	CHECK_STR(b.p, want.p);
	CHECK_OK(store_job_delete(s, n, e));
	CHECK_INT(store_describe(s, KIND_TRAINING, STR("j"), &d, &why), -1);
	CHECK_INT(why.kind, ERR_NOT_FOUND);
	buf_reset(&b);
	buf_reset(&want);
	CHECK_OK(store_cleanup_each(s, note_cleanup, &b, e));
	buf_f(&want, "%s:1 ", j.id);
	CHECK_STR(b.p, want.p);
	CHECK_OK(store_cleanup_done(s, j.id, e));
	buf_reset(&b);
	CHECK_OK(store_cleanup_each(s, note_cleanup, &b, e));
	CHECK_INT(b.n, 0);
	CHECK(add(s, "j", ARN("j"), 9) > n); /* the name is free again, the number is not used twice */
	stored_job_fini(&j);
}

static void note_tag(struct str key, struct str value, void *arg)
{
	buf_f(arg, PRIstr "=" PRIstr " ", ARGstr(key), ARGstr(value));
}

TEST(tags_are_set_overwritten_deleted_and_limited)
{
	_cleanup_(store_closep) struct store *s = fresh();
	_cleanup_buf_ struct buf b = { 0 };
	struct store_tag two[] = { { STR("z"), STR("1") }, { STR("a"), STR("") } }, other = { STR("z"), STR("2") };
	struct store_tag many[TAGS_MAX];
	char *keys[TAGS_MAX];
	struct str gone[] = { STR("a"), STR("never") };
	struct err why = { 0 };
	int64_t n = add(s, "T", ARN("t"), 1);

	CHECK_OK(store_tags_put(s, STR(ARN("t")), two, 2, e));
	CHECK_OK(store_tags_put(s, STR(ARN("t")), &other, 1, e));
	CHECK_OK(store_tags_each(s, STR(ARN("t")), note_tag, &b, e));
	CHECK_STR(b.p, "z=2 a= ");
	for (int i = 0; i < TAGS_MAX; i++) {
		keys[i] = strf("k%d", i);
		many[i] = (struct store_tag){ str_of(keys[i]), STR("v") };
	}
	CHECK_INT(store_tags_put(s, STR(ARN("t")), many, TAGS_MAX - 1, &why), -1);
	CHECK_INT(why.kind, ERR_LIMIT);
	buf_reset(&b);
	CHECK_OK(store_tags_each(s, STR(ARN("t")), note_tag, &b, e));
	CHECK_STR(b.p, "z=2 a= "); /* all or nothing */
	CHECK_OK(store_tags_put(s, STR(ARN("t")), many, TAGS_MAX - 2, e));
	CHECK_OK(store_tags_delete(s, STR(ARN("t")), gone, 2, e));
	CHECK_INT(store_tags_put(s, STR(ARN("nobody")), two, 1, &why), -1);
	CHECK_INT(why.kind, ERR_NOT_FOUND);
	CHECK_INT(
	        store_tags_each(s, STR("arn:aws:sagemaker:us-east-1:999999999999:training-job/t"), note_tag, &b, &why),
	        -1);
	CHECK_INT(why.kind, ERR_NOT_FOUND);
	CHECK_OK(store_job_delete(s, n, e));
	add(s, "T", ARN("t"), 2);
	buf_reset(&b);
	CHECK_OK(store_tags_each(s, STR(ARN("t")), note_tag, &b, e));
	CHECK_INT(b.n, 0); /* tags went with the job */
	for (int i = 0; i < TAGS_MAX; i++)
		free(keys[i]);
}

static void note_summary(const struct store_summary *j, void *arg)
{
	buf_f(arg, PRIstr ":%s ", ARGstr(j->name), job_state_info[j->state].status);
}

static void note_place(const struct store_place *p, void *arg)
{
	buf_f(arg, "%s/%s ", job_kind_info[p->kind].name, p->id);
}

/* Nothing that is asked of one kind answers with the other. */
TEST(kinds_do_not_meet)
{
	_cleanup_(store_closep) struct store *s = fresh();
	_cleanup_buf_ struct buf b = { 0 };
	int64_t first = add_kind(s, KIND_TRAINING, "both", ARN("both"), 1);
	int64_t second = add_kind(s, KIND_TRANSFORM, "Both", "arn:aws:sagemaker:::transform-job/both", 2);
	struct store_move m = move(second, JOB_STARTING, JOB_FAILED, 1, 3);
	struct store_list q = { .max = 10 };
	uint64_t counts[JOB_STATE_COUNT];
	struct store_brief brief;
	struct stored_job j;
	struct err why = { 0 };
	char *token = NULL;

	for (enum job_kind kind = 0; kind < KIND_COUNT; kind++) {
		CHECK_OK(store_job_find(s, kind, STR("BOTH"), &j, e));
		CHECK(j.kind == kind && j.n == (kind == KIND_TRAINING ? first : second));
		stored_job_fini(&j);
	}
	CHECK_INT(store_job_find(s, KIND_TRANSFORM, STR("none"), &j, &why), -1);
	CHECK_STR(why.frame[0], "Could not find requested job with name: none");
	m.failure_reason = "because";
	CHECK_OK(store_job_move(s, &m, e));
	for (enum store_sort sort = SORT_CREATION_TIME; sort <= SORT_STATUS; sort++) {
		q.sort = sort;
		buf_reset(&b);
		CHECK_OK(store_job_list(s, KIND_TRAINING, &q, note_summary, &b, &token, e));
		CHECK_OK(store_job_list(s, KIND_TRANSFORM, &q, note_summary, &b, &token, e));
		CHECK_STR(b.p, "both:InProgress Both:Failed ");
	}
	CHECK_OK(store_job_counts(s, KIND_TRAINING, counts, e));
	CHECK(counts[JOB_FAILED] == 0 && counts[JOB_STARTING] == 1);
	CHECK_OK(store_job_counts(s, KIND_TRANSFORM, counts, e));
	CHECK(counts[JOB_FAILED] == 1 && counts[JOB_STARTING] == 0);
	buf_reset(&b);
	CHECK_OK(store_job_each_host(s, KIND_TRANSFORM, STR("both"), note_place, &b, e)); /* names of logs have case */
	CHECK_OK(store_job_each_host(s, KIND_TRANSFORM, STR("Both"), note_place, &b, e));
	CHECK(str_starts(buf_view(&b), STR("transform/")));
	CHECK_OK(store_job_brief_named(s, KIND_TRAINING, STR("both"), &brief, e));
	CHECK(brief.kind == KIND_TRAINING && brief.n == first);
	store_brief_fini(&brief);
	CHECK_INT(store_job_brief_named(s, KIND_TRAINING, STR("Both"), &brief, &why), -1);
	CHECK_OK(store_job_brief_any_case(s, KIND_TRANSFORM, STR("boTH"), &brief, e));
	CHECK(brief.kind == KIND_TRANSFORM && brief.n == second);
	store_brief_fini(&brief);
	CHECK_OK(store_tags_put(s, STR("arn:aws:sagemaker:::transform-job/both"),
	                        &(struct store_tag){ STR("k"), STR("v") }, 1, e));
}

TEST(schema_is_pinned)
{
	_cleanup_buf_ struct buf b = { 0 };

	/* Different? Databases in the field have the old text: add a version with a migration, then a golden for it. */
	schema_text(1, &b);
	CHECK_GOLDEN("schema-1.sql", buf_view(&b));
	buf_reset(&b);
	schema_text(2, &b);
	CHECK_GOLDEN("schema-2.sql", buf_view(&b));
	buf_reset(&b);
	schema_text(3, &b);
	CHECK_GOLDEN("schema-3.sql", buf_view(&b));
	buf_reset(&b);
	schema_text(4, &b);
	CHECK_GOLDEN("schema-4.sql", buf_view(&b));
	buf_reset(&b);
	schema_text(5, &b);
	CHECK_GOLDEN("schema-5.sql", buf_view(&b));
}

static int no_host(const struct stored_host *h, void *arg, struct err *e)
{
	(void)h, (void)arg;
	return err_set(e, ERR_BUG, "there is none");
}

TEST(a_file_of_version_1_becomes_a_newer_one)
{
	_cleanup_free_ char *path = strf("%s/t.db", test_tmpdir());
	_cleanup_(store_closep) struct store *s = NULL;
	_cleanup_buf_ struct buf sql = { 0 };
	struct stored_job j;
	struct conn c;
	char *request = NULL;

	CHECK_OK(store_open(path, &s, e));
	store_close(s);
	s = NULL;
	CHECK_INT(unlink(path), 0);
	CHECK_OK(conn_open(&c, path, true, e));
	schema_text(1, &sql);
	buf_z(&sql,
	      "INSERT INTO training_job (id, name, name_lower, arn, state, last_fact, created_ms, modified_ms, needs)"
	      " VALUES ('00000000000000aa', 'old', 'old', 'arn', 'TRAINING', 4, 1, 1, '{}');"
	      "INSERT INTO training_job_text (n, echo, request) VALUES (1, 'e', '{\"r\":2}');"
	      "INSERT INTO training_job (n, id, name, name_lower, arn, state, created_ms, modified_ms, needs)"
	      " VALUES (7, '00000000000000ab', 'gone', 'gone', 'arn2', 'FAILED', 1, 1, '{}');"
	      "DELETE FROM training_job WHERE n = 7;"
	      "PRAGMA user_version = 1;");
	CHECK_OK(conn_exec(&c, sql.p, e));
	conn_close(&c);
	CHECK_OK(store_open(path, &s, e));
	CHECK_OK(store_job_find(s, KIND_TRAINING, STR("old"), &j, e));
	CHECK(j.state == JOB_TRAINING && j.last_fact == 4 && j.kind == KIND_TRAINING);
	CHECK_OK(store_hosts_each(s, j.n, no_host, NULL, e));
	CHECK_OK(store_job_request(s, j.n, &request, e));
	CHECK_STR(request, "{\"r\":2}");
	free(request);
	CHECK_INT(add(s, "next", ARN("next"), 2), 8); /* a deleted job's number is not used again */
	stored_job_fini(&j);
}

TEST(migrating_twice_is_fine_and_newer_files_are_refused)
{
	_cleanup_free_ char *path = strf("%s/t.db", test_tmpdir());
	struct store *s = fresh();
	struct store_description d = { 0 };
	struct err why = { 0 };
	struct conn c;

	add(s, "j", ARN("j"), 1);
	s = again(again(s));
	CHECK_OK(store_describe(s, KIND_TRAINING, STR("j"), &d, e));
	store_description_fini(&d);
	store_close(s);
	CHECK_OK(conn_open(&c, path, true, e));
	CHECK_OK(schema_migrate(&c, e));
	CHECK_OK(conn_exec(&c, "PRAGMA user_version = 999", e));
	conn_close(&c);
	s = NULL;
	CHECK_INT(store_open(path, &s, &why), -1);
	CHECK_INT(why.kind, ERR_INVALID);
	CHECK(!s);
}

/* Adds jobs and moves each to TRAINING, telling of every commit, until killed. */
static void write_for_ever(int tell, unsigned from)
{
	struct store *s = fresh();

	for (unsigned i = from;; i++) {
		_cleanup_free_ char *name = strf("j%u", i), *id = strf("%016x", i);
		struct store_new_job j = {
			.name = name, .id = id, .arn = id, .request = "{}", .echo = "", .needs = "{}", .created.ms = 1
		};
		struct store_move m;
		int64_t n = 0;

		CHECK_OK(store_job_insert(s, &j, &n, e));
		m = move(n, JOB_STARTING, JOB_LAUNCHING, 0, 2);
		CHECK_OK(store_job_move(s, &m, e));
		m = move(n, JOB_LAUNCHING, JOB_DOWNLOADING, 1, 3);
		CHECK_OK(store_job_move(s, &m, e));
		m = move(n, JOB_DOWNLOADING, JOB_TRAINING, 2, 4);
		CHECK_OK(store_job_move(s, &m, e));
		CHECK(write(tell, &i, sizeof(i)) == sizeof(i));
	}
}

static int check_one(const struct stored_job *j, void *arg, struct err *e)
{
	static const uint64_t fact_of[JOB_STATE_COUNT] = { [JOB_DOWNLOADING] = 1, [JOB_TRAINING] = 2 };

	(void)e;
	CHECK_INT(j->last_fact, fact_of[j->state]);
	*(size_t *)arg += j->state == JOB_TRAINING;
	return 0;
}

TEST(a_kill_at_any_moment_loses_nothing_that_was_told)
{
	size_t told = 0;

	(void)test_tmpdir(); /* one for all rounds */

	for (int round = 0; round < 8; round++) {
		struct store *s;
		size_t found = 0;
		int ends[2];
		unsigned i;
		pid_t pid;

		CHECK(pipe2(ends, O_CLOEXEC) == 0);
		pid = fork();
		if (!pid) {
			write_for_ever(ends[1], (unsigned)round << 20);
			_exit(0);
		}
		close(ends[1]);
		for (int k = 0; k < 3 + round * 7 && read(ends[0], &i, sizeof(i)) == sizeof(i); k++)
			told++;
		CHECK(kill(pid, SIGKILL) == 0);
		CHECK(waitpid(pid, NULL, 0) == pid);
		while (read(ends[0], &i, sizeof(i)) == sizeof(i))
			told++;
		close(ends[0]);
		s = fresh();
		CHECK_OK(store_job_each_live(s, check_one, &found, e));
		CHECK(found >= told && found <= told + (size_t)round + 1);
		store_close(s);
	}
}

TEST(rewriting_changes_what_is_described)
{
	_cleanup_(store_closep) struct store *s = fresh();
	_cleanup_free_ char *request = NULL;
	struct store_description d = { 0 };
	int64_t n = add(s, "j", ARN("j"), 1);

	CHECK_OK(store_job_rewrite(s, n, "{\"r\":2}", "x\ny\nz", (struct wall){ 7 }, e));
	CHECK_OK(store_describe(s, KIND_TRAINING, STR("j"), &d, e));
	CHECK_STR(d.echo, "x\ny\nz");
	CHECK_INT(d.job.modified.ms, 7);
	CHECK_OK(store_job_request(s, n, &request, e));
	CHECK_STR(request, "{\"r\":2}");
	store_description_fini(&d);
}

/* ---- algorithms ---- */

static void add_algorithm(struct store *s, const char *name, const char *status, int64_t ms)
{
	_cleanup_free_ char *arn = strf("arn:x/%s", name);
	const struct store_tag tag = { STR("k"), STR("v") };
	const struct store_new_algorithm a = { .name = name,
		                               .arn = arn,
		                               .status = status,
		                               .image = "img@sha256:1",
		                               .details = "{}",
		                               .request = "{\"r\":1}",
		                               .created = { ms },
		                               .tags = &tag,
		                               .tag_count = 1 };
	int64_t n = 0;

	CHECK_OK(store_algorithm_insert(s, &a, &n, e));
	CHECK(n > 0);
}

TEST(algorithms_are_unique_without_case_move_and_go)
{
	struct store *s = fresh();
	struct stored_algorithm a = { 0 };
	struct err why = { 0 };
	struct store_new_algorithm twin = {
		.name = "ALG", .arn = "x", .status = "Pending", .image = "", .details = "", .request = ""
	};
	_cleanup_free_ char *request = NULL;
	int64_t n;

	add_algorithm(s, "Alg", "Pending", 5);
	CHECK_INT(store_algorithm_insert(s, &twin, &n, &why), -1);
	CHECK_INT(why.kind, ERR_INVALID);
	CHECK_STR(why.frame[0], "Algorithm with name ALG already exists (arn:x/Alg)");
	s = again(s);
	CHECK_OK(store_algorithm_find(s, STR("aLG"), &a, &request, e));
	CHECK_STR(a.status, "Pending");
	CHECK_STR(request, "{\"r\":1}");
	n = a.n;
	stored_algorithm_fini(&a);
	CHECK_INT(store_algorithm_delete(s, STR("alg"), &why), -1);
	CHECK_STR(why.frame[0], "Cannot delete Algorithm in Pending status: arn:x/Alg");
	CHECK_INT(store_algorithm_move(s, n, "InProgress", "Completed", NULL, NULL, (struct wall){ 9 }, &why), -1);
	CHECK_INT(why.kind, ERR_IN_USE);
	CHECK_OK(store_algorithm_move(s, n, "Pending", "Completed", "img@sha256:2", NULL, (struct wall){ 9 }, e));
	CHECK_OK(store_algorithm_find(s, STR("alg"), &a, NULL, e));
	CHECK_STR(a.status, "Completed");
	CHECK_STR(a.image, "img@sha256:2");
	CHECK_STR(a.details, "{}");
	CHECK_INT(a.modified.ms, 9);
	stored_algorithm_fini(&a);
	CHECK_OK(store_algorithm_delete(s, STR("ALG"), e));
	CHECK_INT(store_algorithm_find(s, STR("alg"), &a, NULL, &why), -1);
	CHECK_INT(why.kind, ERR_NOT_FOUND);
	CHECK_INT(store_algorithm_delete(s, STR("alg"), &why), -1);
	CHECK_INT(why.kind, ERR_NOT_FOUND);
	CHECK_INT(store_tags_put(s, STR("arn:x/Alg"), NULL, 0, &why), -1);
	CHECK_INT(why.kind, ERR_NOT_FOUND);
	add_algorithm(s, "alg", "Completed", 6); /* without the tags of the one before, which would be one too many */
	CHECK_OK(store_algorithm_find(s, STR("alg"), &a, NULL, e));
	CHECK(a.n > n);
	stored_algorithm_fini(&a);
	store_close(s);
}

static void note_algorithm(const struct store_algorithm_summary *a, void *arg)
{
	buf_f(arg, PRIstr "(" PRIstr ") ", ARGstr(a->name), ARGstr(a->status));
}

TEST(algorithms_are_listed_in_pages_and_their_tokens_are_their_own)
{
	struct store *s = fresh();
	struct store_list q = { .sort = SORT_NAME, .max = 2 };
	_cleanup_buf_ struct buf b = { 0 };
	_cleanup_free_ char *token = NULL, *end = NULL;
	struct err why = { 0 };

	add_algorithm(s, "c", "Completed", 1);
	add_algorithm(s, "B", "Failed", 2);
	add_algorithm(s, "a", "Completed", 3);
	CHECK_OK(store_algorithm_list(s, &q, note_algorithm, &b, &token, e));
	CHECK_STR(b.p, "a(Completed) B(Failed) ");
	q.token = str_of(token);
	CHECK_OK(store_algorithm_list(s, &q, note_algorithm, &b, &end, e));
	CHECK_STR(b.p, "a(Completed) B(Failed) c(Completed) ");
	CHECK(!end);
	CHECK_INT(store_job_list(s, KIND_TRAINING, &q, NULL, NULL, &end, &why), -1);
	CHECK_INT(why.kind, ERR_INVALID);
	buf_reset(&b);
	q = (struct store_list){ .max = 9, .status = STR("Completed"), .created_after = { 1 } };
	CHECK_OK(store_algorithm_list(s, &q, note_algorithm, &b, &end, e));
	CHECK_STR(b.p, "a(Completed) ");
	store_close(s);
}
