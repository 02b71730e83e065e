/* Models: the row, its texts, its tags, and the list. SPDX-License-Identifier: Apache-2.0 */
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

static struct store *again(struct store *s)
{
	store_close(s);
	return opened();
}

/* As the API makes ARNs: in lower case. */
static int add(struct store *s, const char *name, const char *arn, int64_t ms, struct err *e)
{
	const struct store_tag tag = { STR("k"), STR("v") };
	const struct store_new_model m = { .name = name,
		                           .arn = arn,
		                           .request = "{\"r\":1}",
		                           .containers = "[]",
		                           .created = { ms },
		                           .tags = &tag,
		                           .tag_count = 1 };
	int64_t n = 0;

	if (store_model_insert(s, &m, &n, e) < 0)
		return -1;
	CHECK(n > 0);
	return 0;
}

static void note_tag(struct str key, struct str value, void *arg)
{
	buf_f(arg, PRIstr "=" PRIstr " ", ARGstr(key), ARGstr(value));
}

TEST(a_model_is_kept_found_without_case_and_deleted_with_its_tags)
{
	struct store *s = opened();
	struct stored_model m = { 0 };
	struct err why = { 0 };
	_cleanup_buf_ struct buf b = { 0 };
	int64_t n;

	CHECK_OK(add(s, "Model", "arn:x:model/model", 5, e));
	CHECK_INT(add(s, "MODEL", "arn:x:model/model", 6, &why), -1);
	CHECK_INT(why.kind, ERR_INVALID);
	CHECK_STR(why.frame[0], "Cannot create already existing model \"arn:x:model/model\".");
	s = again(s);
	CHECK_OK(store_model_find(s, STR("mODEL"), &m, e));
	CHECK_STR(m.name, "Model");
	CHECK_STR(m.arn, "arn:x:model/model");
	CHECK_STR(m.request, "{\"r\":1}");
	CHECK_STR(m.containers, "[]");
	CHECK_INT(m.created.ms, 5);
	n = m.n;
	stored_model_fini(&m);
	CHECK_OK(store_tags_each(s, STR("arn:x:model/model"), note_tag, &b, e));
	CHECK_STR(b.p, "k=v ");
	CHECK_OK(store_model_delete(s, STR("model"), e));
	CHECK_INT(store_model_delete(s, STR("model"), &why), -1);
	CHECK_INT(why.kind, ERR_NOT_FOUND);
	CHECK_INT(store_model_find(s, STR("model"), &m, &why), -1);
	CHECK_INT(why.kind, ERR_NOT_FOUND);
	CHECK_INT(store_tags_each(s, STR("arn:x:model/model"), note_tag, &b, &why), -1);
	CHECK_INT(why.kind, ERR_NOT_FOUND);
	CHECK_OK(add(s, "model", "arn:x:model/model", 7, e));
	CHECK_OK(store_model_find(s, STR("model"), &m, e));
	CHECK(m.n > n);
	stored_model_fini(&m);
	store_close(s);
}

static void note_model(const struct store_model_summary *m, void *arg)
{
	buf_f(arg, PRIstr "@%lld ", ARGstr(m->name), (long long)m->created.ms);
}

TEST(models_are_listed_in_pages_by_name_and_by_creation)
{
	struct store *s = opened();
	struct store_list q = { .sort = SORT_CREATION_TIME, .descending = true, .max = 2 };
	_cleanup_buf_ struct buf b = { 0 };
	_cleanup_free_ char *token = NULL, *end = NULL;
	struct err why = { 0 };

	CHECK_OK(add(s, "c", "arn:x:model/c", 1, e));
	CHECK_OK(add(s, "B", "arn:x:model/b", 2, e));
	CHECK_OK(add(s, "a", "arn:x:model/a", 3, e));
	CHECK_OK(store_model_list(s, &q, note_model, &b, &token, e));
	CHECK_STR(b.p, "a@3 B@2 ");
	q.token = str_of(token);
	CHECK_OK(store_model_list(s, &q, note_model, &b, &end, e));
	CHECK_STR(b.p, "a@3 B@2 c@1 ");
	CHECK(!end);
	CHECK_INT(store_algorithm_list(s, &q, NULL, NULL, &end, &why), -1); /* the token is the models' */
	CHECK_INT(why.kind, ERR_INVALID);
	buf_reset(&b);
	q = (struct store_list){ .sort = SORT_NAME, .max = 9, .created_after = { 1 }, .name_contains = STR("a") };
	CHECK_OK(store_model_list(s, &q, note_model, &b, &end, e));
	CHECK_STR(b.p, "a@3 ");
	store_close(s);
}
