/* Hosts that are started by hand: what they send, what they hear, and when they are lost. SPDX-License-Identifier:
 * Apache-2.0 */
#include "job/desk.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "harness.h"
#include "jobdir/spec.h"

#define ONE "00000000000000a1"
#define TWO "00000000000000b2"

static struct loop *loop;
static struct desk *desk;
static struct launcher *hand;
static struct buf told, news; /* what the launcher and the desk have said */
static size_t enough;         /* the loop is left when so much was told */

static void check_enough(void)
{
	if (told.n >= enough)
		loop_stop(loop);
}

static void on_up(void *arg)
{
	(void)arg;
	buf_z(&told, "up\n");
	check_enough();
}

static void on_fact(void *arg, struct str id, const struct fact *f)
{
	(void)arg;
	buf_f(&told, PRIstr " %llu %s\n", ARGstr(id), (unsigned long long)f->n, fact_name[f->kind]);
	check_enough();
}

static void on_lost(void *arg, struct str id, struct str reason, struct wall at)
{
	(void)arg, (void)at;
	buf_f(&told, PRIstr " lost: " PRIstr "\n", ARGstr(id), ARGstr(reason));
	check_enough();
}

static const struct launcher_events events = { on_up, on_fact, on_lost };

static void on_news(void *arg, const char *id)
{
	(void)arg;
	if (id)
		buf_f(&news, "%s\n", id);
}

static void run_until(size_t bytes)
{
	enough = bytes;
	if (told.n < enough)
		CHECK_OK(loop_run(loop, e));
}

/* A turn or two of the loop. */
static void on_later(void *arg)
{
	(void)arg;
	loop_stop(loop);
}

static void turn(void)
{
	struct loop_source *t = loop_timer(loop, 50, 0, on_later, NULL);

	CHECK_OK(loop_run(loop, e));
	loop_source_free(t);
}

static void make_host(const char *id, unsigned number, unsigned count)
{
	_cleanup_free_ char *dir = strf("%s/jobs/%s", test_tmpdir(), id);
	_cleanup_close_ int fd = -EBADF;
	struct job_spec s = { 0 };
	char name[16];
	json_t *j;

	snprintf(name, sizeof(name), "algo-%u", number);
	CHECK_OK(mkdir_all(AT_FDCWD, dir, 0755, e));
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK_OK(file_put(fd, "elsewhere", (struct str){ 0 }, 0600, e));
	CHECK_OK(mkdir_all(fd, "staged", 0755, e));
	CHECK_OK(mkdir_all(fd, "lists", 0755, e));
	CHECK_OK(file_put(fd, "lists/0", STR("list"), 0600, e));
	j = json_pack("{si ss ss ss ss ss ss si si si ss si si ss ss ss si s{} s{ss sf sI si sI si} s[]}", "v", 1, "id",
	              id, "name", "iris", "arn", "arn:aws:x", "region", "us-east-1", "account", "000000000000",
	              "host_name", name, "host_number", (int)number, "host_count", (int)count, "fastfile_links_max", 0,
	              "image", "busy", "max_runtime_s", 60, "stop_grace_s", 1, "output_place", "embedded",
	              "output_bucket", "bkt", "output_prefix", "out", "log_epoch_s", 1, "request", "limits",
	              "instance_type", "local", "cpus", 1.0, "memory_bytes", (json_int_t)1 << 30, "shm_bytes", 0,
	              "volume_bytes", (json_int_t)1 << 20, "pids", 100, "channels");
	must(j);
	CHECK_OK(spec_from_json(j, &s, e));
	CHECK_OK(spec_save(fd, &s, e));
	spec_fini(&s);
	json_decref(j);
}

static void up(int64_t patience_ms)
{
	log_init("test", LOG_ERROR + 1);
	loop = loop_new();
	desk = desk_new(test_tmpdir(), patience_ms);
	desk_on_news(desk, on_news, NULL);
	hand = launcher_hand.open(
	        &(struct launcher_options){ .loop = loop, .data_dir = test_tmpdir(), .desk = desk, .events = &events });
	run_until(3);
}

static void down(void)
{
	launcher_hand.close(hand);
	loop_free(loop);
	desk_free(desk);
	buf_reset(&told);
	buf_reset(&news);
}

static void begin(const char *id)
{
	launcher_hand.launch(hand, id);
	launcher_hand.watch(hand, id, 0);
	turn();
}

static int hello(const char *id, const char *address, const char *instance, json_t **ret, struct err *e)
{
	return desk_hello(desk, id, &(struct desk_hello){ address, instance, wall_now() }, ret, e);
}

static void hello_ok(const char *id, const char *address)
{
	json_t *j = NULL;

	CHECK_OK(hello(id, address, "0123456789ab", &j, e));
	CHECK_INT(json_integer_value(json_object_get(j, "journal")), 0);
	json_decref(j);
}

static char *fact_line(unsigned n, const char *fact, const char *args)
{
	return strf("{\"n\":%u,\"t\":1,\"fact\":\"%s\",\"args\":%s}\n", n, fact, args);
}

static int add(const char *id, uint64_t offset, const char *text, uint64_t *size, struct err *e)
{
	return desk_append(desk, id, DESK_JOURNAL, offset, str_of(text), size, e);
}

#define REFUSED(call, want)                      \
	do {                                     \
		struct err e_ = { 0 }, *e = &e_; \
		CHECK((call) < 0);               \
		CHECK_INT(e->kind, ERR_##want);  \
	} while (0)

TEST(facts_are_taken_once_in_whatever_pieces_they_come)
{
	_cleanup_free_ char *one = fact_line(1, "STARTED", "{}"), *two = fact_line(2, "READY", "{}");
	_cleanup_free_ char *both = strf("%s%s", one, two), *third = fact_line(3, "ENDED", "{\"result\":\"ok\"}");
	uint64_t size = 0;

	make_host(ONE, 1, 1);
	up(60000);
	REFUSED(add(ONE, 0, one, &size, e), CONFLICT); /* no hello */
	begin(ONE);
	hello_ok(ONE, "10.0.0.1");
	CHECK_OK(add(ONE, 0, one, &size, e));
	CHECK_INT(size, strlen(one));
	CHECK_OK(add(ONE, 0, both, &size, e)); /* its answer was lost, and more has come */
	CHECK_INT(size, strlen(both));
	CHECK_OK(add(ONE, 0, both, &size, e));
	CHECK_OK(add(ONE, 100000, one, &size, e)); /* a hole: nothing is added */
	CHECK_INT(size, strlen(both));
	run_until(3 + 2 * strlen(ONE " 1 STARTED\n") - 2);
	CHECK_STR(told.p, "up\n" ONE " 1 STARTED\n" ONE " 2 READY\n");
	down();
	/* another bloomeryd, that has taken the first */
	up(60000);
	launcher_hand.watch(hand, ONE, 1);
	run_until(3 + strlen(ONE " 2 READY\n"));
	CHECK_STR(told.p, "up\n" ONE " 2 READY\n");
	CHECK_OK(add(ONE, strlen(both), third, &size, e));
	buf_reset(&told);
	run_until(strlen(ONE " 3 ENDED\n"));
	CHECK_STR(told.p, ONE " 3 ENDED\n");
	turn();
	CHECK_OK(add(ONE, strlen(both), third, &size, e)); /* the answer was lost */
	down();
}

TEST(what_are_no_facts_of_this_host_is_refused)
{
	_cleanup_free_ char *one = fact_line(1, "STARTED", "{}"), *other = fact_line(1, "READY", "{}");
	_cleanup_free_ char *third = fact_line(3, "READY", "{}"), *half = fact_line(2, "READY", "{}");
	_cleanup_free_ char *theirs = fact_line(2, "ARTIFACT", "{\"bucket\":\"bkt\",\"key\":\"out/other/output/x\"}");
	_cleanup_free_ char *bucket = fact_line(2, "ARTIFACT", "{\"bucket\":\"tkb\",\"key\":\"out/iris/output/x\"}");
	_cleanup_free_ char *ours = fact_line(2, "ARTIFACT", "{\"bucket\":\"bkt\",\"key\":\"out/iris/output/x\"}");
	uint64_t size = 0;

	make_host(ONE, 1, 1);
	up(60000);
	begin(ONE);
	hello_ok(ONE, "10.0.0.1");
	CHECK_OK(add(ONE, 0, one, &size, e));
	REFUSED(add(ONE, 0, other, &size, e), CONFLICT);
	half[strlen(half) - 1] = 0;
	REFUSED(add(ONE, size, half, &size, e), SYNTAX);
	REFUSED(add(ONE, size, third, &size, e), SYNTAX);
	REFUSED(add(ONE, size, "null\n", &size, e), SYNTAX);
	REFUSED(add(ONE, size, theirs, &size, e), DENIED);
	REFUSED(add(ONE, size, bucket, &size, e), DENIED);
	CHECK_OK(add(ONE, size, ours, &size, e));
	REFUSED(add(TWO, 0, one, &size, e), NOT_FOUND);
	down();
}

/* After a restart of bloomeryd a host may be heard before its job is looked at. */
TEST(nobody_is_turned_away_before_all_hosts_are_known)
{
	struct desk_part *p = NULL;
	uint64_t size = 0;
	json_t *j = NULL;

	make_host(ONE, 1, 1);
	up(60000);
	begin(ONE);
	hello_ok(ONE, "10.0.0.1");
	down();
	desk = desk_new(test_tmpdir(), 60000);
	REFUSED(hello(ONE, "10.0.0.1", "0123456789ab", &j, e), BUSY);
	REFUSED(desk_append(desk, ONE, DESK_LOG, 0, STR("x"), &size, e), BUSY);
	REFUSED(add(ONE, 0, "x\n", &size, e), BUSY);
	REFUSED(desk_part_new(desk, ONE, STR("model.tar.gz"), 5, &p, e), BUSY);
	CHECK(desk_has_news(desk, ONE, 0));
	REFUSED(desk_orders(desk, ONE, &j, e), BUSY);
	desk_free(desk);
	up(60000);
	begin(ONE);
	hello_ok(ONE, "10.0.0.1");
	down();
}

TEST(a_host_is_begun_by_one)
{
	_cleanup_free_ char *one = fact_line(1, "STARTED", "{}");
	json_t *j = NULL;
	uint64_t size;

	make_host(ONE, 1, 1);
	up(60000);
	begin(ONE);
	REFUSED(hello(ONE, "10.0.0.x", "0123456789ab", &j, e), INVALID);
	REFUSED(hello(ONE, "10.0.0.1", "../../x", &j, e), INVALID);
	hello_ok(ONE, "10.0.0.1");
	CHECK_OK(hello(ONE, "10.0.0.2", "ba9876543210", &j, e)); /* the first has come to nothing */
	json_decref(j);
	CHECK_OK(add(ONE, 0, one, &size, e));
	REFUSED(hello(ONE, "10.0.0.1", "0123456789ab", &j, e), CONFLICT);
	CHECK_OK(hello(ONE, "10.0.0.2", "ba9876543210", &j, e)); /* it is back */
	CHECK_INT(json_integer_value(json_object_get(j, "journal")), strlen(one));
	json_decref(j);
	down();
}

TEST(orders_and_peers)
{
	uint64_t seen;
	json_t *j = NULL;

	make_host(ONE, 1, 2);
	make_host(TWO, 2, 2);
	up(60000);
	begin(ONE);
	begin(TWO);
	hello_ok(ONE, "10.0.0.1");
	CHECK_OK(desk_orders(desk, ONE, &j, e));
	CHECK_STR(json_string_value(json_object_get(j, "order")), "none");
	CHECK(!json_object_get(j, "peers"));
	seen = (uint64_t)json_integer_value(json_object_get(j, "version"));
	CHECK(!desk_has_news(desk, ONE, seen));
	json_decref(j);
	buf_reset(&news);
	hello_ok(TWO, "10.0.0.2");
	CHECK(strstr(news.p, ONE "\n") && strstr(news.p, TWO "\n"));
	CHECK(desk_has_news(desk, ONE, seen));
	launcher_hand.go(hand, ONE);
	CHECK_OK(desk_orders(desk, ONE, &j, e));
	CHECK_STR(json_string_value(json_object_get(j, "order")), "go");
	CHECK_INT(json_array_size(json_object_get(j, "peers")), 2);
	CHECK_STR(json_string_value(json_object_get(json_array_get(json_object_get(j, "peers"), 1), "address")),
	          "10.0.0.2");
	json_decref(j);
	launcher_hand.stop(hand, ONE, "peer");
	launcher_hand.go(hand, ONE); /* which comes too late */
	CHECK_OK(desk_orders(desk, ONE, &j, e));
	CHECK_STR(json_string_value(json_object_get(j, "order")), "stop");
	CHECK_STR(json_string_value(json_object_get(j, "why")), "peer");
	json_decref(j);
	down();
}

TEST(a_host_that_nobody_started_is_ended_by_a_stop)
{
	json_t *j;

	make_host(ONE, 1, 1);
	up(1);
	begin(ONE);
	turn();
	CHECK_STR(told.p, "up\n"); /* it is not lost, as nobody has begun it */
	launcher_hand.stop(hand, ONE, NULL);
	launcher_hand.stop(hand, ONE, NULL);
	run_until(3 + strlen(ONE " 1 ENDED\n"));
	CHECK_STR(told.p, "up\n" ONE " 1 ENDED\n");
	turn();
	REFUSED(hello(ONE, "10.0.0.1", "0123456789ab", &j, e), IN_USE);
	down();
}

TEST(one_that_is_silent_is_lost_and_stays_so)
{
	_cleanup_free_ char *one = fact_line(1, "STARTED", "{}");
	uint64_t size;
	json_t *j;

	make_host(ONE, 1, 1);
	up(1000);
	begin(ONE);
	hello_ok(ONE, "10.0.0.1");
	CHECK_OK(add(ONE, 0, one, &size, e));
	run_until(3 + strlen(ONE " 1 STARTED\n" ONE " lost: The training host algo-1"));
	CHECK(strstr(told.p, ONE " lost: The training host algo-1 (10.0.0.1) has not been heard of"));
	REFUSED(add(ONE, size, one, &size, e), IN_USE);
	REFUSED(desk_orders(desk, ONE, &j, e), IN_USE);
	down();
	up(60000);
	launcher_hand.watch(hand, ONE, 1);
	run_until(3 + strlen(ONE " lost: "));
	CHECK(strstr(told.p, ONE " lost: "));
	down();
}

TEST(artifacts_are_bounded_and_whole)
{
	static const char md5_of_hello[] = "5d41402abc4b2a76b9719d911017c592";
	_cleanup_free_ char *path = strf("%s/jobs/" ONE "/staged/model.tar.gz", test_tmpdir());
	struct desk_part *p = NULL;

	make_host(ONE, 1, 1);
	up(60000);
	begin(ONE);
	hello_ok(ONE, "10.0.0.1");
	REFUSED(desk_part_new(desk, ONE, STR("../x"), 5, &p, e), INVALID);
	REFUSED(desk_part_new(desk, ONE, STR(".hidden"), 5, &p, e), INVALID);
	REFUSED(desk_part_new(desk, ONE, STR(""), 5, &p, e), INVALID);
	REFUSED(desk_part_new(desk, ONE, STR("x"), UINT64_MAX, &p, e), TOO_LARGE);
	CHECK_OK(desk_part_new(desk, ONE, STR("model.tar.gz"), 5, &p, e));
	CHECK_OK(desk_part_add(p, STR("hel"), e));
	REFUSED(desk_part_add(p, STR("lo!"), e), TOO_LARGE);
	REFUSED(desk_part_end(p, str_of(md5_of_hello), e), INVALID);
	desk_part_free(p);
	CHECK(access(path, F_OK) < 0);
	for (int i = 0; i < 10; i++) { /* connections that break are no artifacts */
		CHECK_OK(desk_part_new(desk, ONE, STR("model.tar.gz"), UINT64_C(1) << 30, &p, e));
		CHECK_OK(desk_part_add(p, STR("hel"), e));
		desk_part_free(p);
	}
	CHECK_OK(desk_part_new(desk, ONE, STR("model.tar.gz"), 5, &p, e));
	CHECK_OK(desk_part_add(p, STR("hello"), e));
	CHECK_OK(desk_part_end(p, str_of(md5_of_hello), e));
	desk_part_free(p);
	CHECK(access(path, F_OK) == 0);
	down();
}

TEST(lists_are_files_by_number_only)
{
	int fd;

	make_host(ONE, 1, 1);
	up(60000);
	begin(ONE);
	hello_ok(ONE, "10.0.0.1");
	fd = desk_list(desk, ONE, STR("0"), NULL);
	CHECK(fd >= 0);
	close(fd);
	REFUSED(desk_list(desk, ONE, STR("1"), e), NOT_FOUND);
	REFUSED(desk_list(desk, ONE, STR("../spec.json"), e), NOT_FOUND);
	down();
}
