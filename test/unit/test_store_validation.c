/* How far validations are: steps by compare and set, together with what is seen of the algorithm.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <unistd.h>

#include "harness.h"
#include "store/store.h"

static struct store *opened(void)
{
	_cleanup_free_ char *path = strf("%s/t.db", test_tmpdir());
	struct store *s = NULL;

	CHECK_OK(store_open(path, &s, e));
	return s;
}

static int64_t add(struct store *s, const char *name, const char *step)
{
	_cleanup_free_ char *arn = strf("arn/%s", name);
	const struct store_new_algorithm a = { .name = name,
		                               .arn = arn,
		                               .status = "InProgress",
		                               .image = "img@sha256:1",
		                               .details = "{}",
		                               .request = "{\"i\":\"x@sha256:2\"}",
		                               .step = step };
	int64_t n = 0;

	CHECK_OK(store_algorithm_insert(s, &a, &n, e));
	return n;
}

static void note(const struct stored_validation *v, void *arg)
{
	buf_f(arg, PRIstr ":" PRIstr ":" PRIstr " ", ARGstr(v->algorithm_name), ARGstr(v->step), ARGstr(v->name));
}

static const char *all(struct store *s)
{
	static struct buf out;

	buf_reset(&out);
	buf_z(&out, "");
	CHECK_OK(store_validation_each(s, note, &out, e));
	buf_c(&out, 0);
	return out.p;
}

static void count(const struct store_open_algorithm *a, void *arg)
{
	buf_f(arg, "%lld%s ", (long long)a->n, a->validated ? "v" : "");
}

static const char *open_ones(struct store *s)
{
	static struct buf out;

	buf_reset(&out);
	CHECK_OK(store_algorithm_each_open(s, count, &out, e));
	buf_c(&out, 0);
	return out.p;
}

static int step(struct store *s, int64_t n, const char *from, const char *to, const char *name, struct err *e)
{
	const struct store_validation_move m = { .algorithm = n, .from = from, .to = to, .name = name, .at = { 5 } };

	return store_validation_move(s, &m, e);
}

TEST(steps_are_taken_once_and_kept)
{
	_cleanup_(store_closep) struct store *s = opened();
	int64_t a = add(s, "a", VALIDATION_BEGIN);
	_cleanup_free_ char *name = NULL;
	struct err why = { 0 };

	add(s, "none", NULL);
	CHECK_STR(all(s), "a:begin: ");
	CHECK_INT(store_validation_name(s, a, &name, &why), -1);
	CHECK_INT(why.kind, ERR_NOT_FOUND);
	CHECK_OK(step(s, a, VALIDATION_BEGIN, "train", "a-p-1", e));
	CHECK_INT(step(s, a, VALIDATION_BEGIN, "train", "a-p-2", &why), -1);
	CHECK_INT(why.kind, ERR_IN_USE);
	store_close(s);
	s = opened();
	CHECK_STR(all(s), "a:train:a-p-1 ");
	CHECK_OK(store_validation_name(s, a, &name, e));
	CHECK_STR(name, "a-p-1");
}

TEST(the_last_step_is_the_algorithms_status)
{
	_cleanup_(store_closep) struct store *s = opened();
	int64_t n = add(s, "a", "training");
	const struct store_validation_move m = { .algorithm = n,
		                                 .from = "training",
		                                 .to = VALIDATION_ENDED,
		                                 .status = "Failed",
		                                 .details = "{\"d\":1}",
		                                 .at = { 7 } };
	struct stored_algorithm row = { 0 };

	CHECK_OK(store_validation_move(s, &m, e));
	CHECK_STR(all(s), "");
	CHECK_OK(store_algorithm_find(s, STR("a"), &row, NULL, e));
	CHECK_STR(row.status, "Failed");
	CHECK_STR(row.details, "{\"d\":1}");
	CHECK_STR(row.image, "img@sha256:1");
	CHECK_INT(row.modified.ms, 7);
	stored_algorithm_fini(&row);
}

TEST(a_name_is_one_validations_only)
{
	_cleanup_(store_closep) struct store *s = opened();
	int64_t a = add(s, "a", VALIDATION_BEGIN), b = add(s, "b", VALIDATION_BEGIN);
	struct err why = { 0 };

	CHECK_OK(step(s, a, VALIDATION_BEGIN, "train", "same", e));
	CHECK_INT(step(s, b, VALIDATION_BEGIN, "train", "same", &why), -1);
	CHECK_STR(all(s), "a:train:same b:begin: ");
	CHECK_OK(step(s, b, VALIDATION_BEGIN, "train", "other", e));
}

TEST(one_that_waits_for_its_image_is_not_begun)
{
	_cleanup_(store_closep) struct store *s = opened();
	int64_t waits = add(s, "waits", VALIDATION_IMAGE), begun = add(s, "begun", "train"),
	        plain = add(s, "plain", NULL);
	_cleanup_free_ char *want = strf("%lldv %lld ", (long long)waits, (long long)plain);
	struct err why = { 0 };

	CHECK(begun > waits);
	CHECK_STR(all(s), "begun:train: ");
	CHECK_STR(open_ones(s), want);
	CHECK_OK(store_algorithm_move(s, waits, "InProgress", "Failed", NULL, NULL, (struct wall){ 3 }, e));
	CHECK_INT(step(s, waits, VALIDATION_IMAGE, VALIDATION_BEGIN, NULL, &why), -1);
}

static void join(const char *text, void *arg)
{
	buf_f(arg, "%s ", text);
}

TEST(what_is_deleted_is_not_validated_and_pins_nothing)
{
	_cleanup_(store_closep) struct store *s = opened();
	int64_t n = add(s, "a", "training");
	_cleanup_buf_ struct buf texts = { 0 };
	struct err why = { 0 };
	const struct store_validation_move m = { .algorithm = n,
		                                 .from = "training",
		                                 .to = VALIDATION_ENDED,
		                                 .name = "x",
		                                 .status = "Completed",
		                                 .at = { 7 } };

	CHECK_OK(store_pins_each(s, join, &texts, e));
	CHECK_STR(texts.p, "img@sha256:1 {\"i\":\"x@sha256:2\"} ");
	CHECK_INT(store_algorithm_delete(s, STR("a"), &why), -1);
	CHECK_OK(store_validation_move(s, &m, e));
	CHECK_OK(store_algorithm_delete(s, STR("a"), e));
	buf_reset(&texts);
	CHECK_OK(store_pins_each(s, join, &texts, e));
	CHECK_INT(texts.n, 0);
	CHECK_OK(
	        step(s, add(s, "a", VALIDATION_BEGIN), VALIDATION_BEGIN, "train", "x", e)); /* the name is free again */
}
