/* Groups of model packages and the packages: versions, tokens, filters. SPDX-License-Identifier: Apache-2.0 */
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

static int add_group(struct store *s, const char *name, const char *arn, int64_t ms, struct err *e)
{
	const struct store_tag tag = { STR("k"), STR("v") };
	const struct store_new_group g = { .name = name,
		                           .arn = arn,
		                           .description = "what it is",
		                           .created_by = "arn:me",
		                           .created = { ms },
		                           .tags = &tag,
		                           .tag_count = 1 };
	int64_t n = 0;

	if (store_group_insert(s, &g, &n, e) < 0)
		return -1;
	CHECK(n > 0);
	return 0;
}

static char *add(struct store *s, const char *name, bool versioned, const char *approval, const char *token,
                 struct err *e)
{
	static int64_t ms;
	_cleanup_free_ char *arn = strf("arn:x:model-package/%s", name);
	const struct store_new_package p = { .name = name,
		                             .versioned = versioned,
		                             .arn = arn,
		                             .status = "Completed",
		                             .approval = approval,
		                             .created_by = "arn:me",
		                             .request = "{\"r\":1}",
		                             .token = token,
		                             .created = { ++ms } };
	char *ret = NULL;

	return store_package_insert(s, &p, &ret, e) < 0 ? NULL : ret;
}

static void added(struct store *s, const char *name, bool versioned, const char *approval, const char *want)
{
	_cleanup_free_ char *arn = NULL;
	struct err e = { 0 };

	arn = add(s, name, versioned, approval, NULL, &e);
	CHECK_STR(arn ? arn : e.frame[0], want);
}

TEST(versions_count_on_and_a_group_with_packages_stays)
{
	struct store *s = opened();
	struct stored_package p = { 0 };
	struct stored_group g = { 0 };
	struct err why = { 0 };

	CHECK_OK(add_group(s, "Group", "arn:x:model-package-group/group", 5, e));
	CHECK_INT(add_group(s, "group", "arn:x:model-package-group/group", 5, &why), -1);
	CHECK_INT(why.kind, ERR_INVALID);
	CHECK_STR(why.frame[0], "Model Package Group already exists: arn:x:model-package-group/group");
	added(s, "group", true, "Approved", "arn:x:model-package/group/1");
	added(s, "group", true, NULL, "arn:x:model-package/group/2");
	CHECK_OK(store_package_delete(s, STR("arn:x:model-package/group/2"), e));
	added(s, "group", true, NULL, "arn:x:model-package/group/3"); /* 2 is never given again */
	CHECK(!add(s, "nowhere", true, NULL, NULL, &why));
	CHECK_INT(why.kind, ERR_NOT_FOUND);
	CHECK_OK(store_package_find(s, STR("arn:x:model-package/group/1"), &p, e));
	CHECK_STR(p.approval, "Approved");
	CHECK_INT(p.version, 1);
	CHECK_STR(p.created_by, "arn:me");
	CHECK(!p.modified_by);
	CHECK_OK(store_package_rewrite(s, p.n, "Rejected", "{\"r\":2}", "arn:you", (struct wall){ 900 }, e));
	stored_package_fini(&p);
	store_close(s);
	s = opened();
	CHECK_OK(store_package_find(s, STR("arn:x:model-package/group/1"), &p, e));
	CHECK_STR(p.approval, "Rejected");
	CHECK_STR(p.request, "{\"r\":2}");
	CHECK_STR(p.modified_by, "arn:you");
	CHECK_INT(p.modified.ms, 900);
	stored_package_fini(&p);
	CHECK_INT(store_group_delete(s, STR("GROUP"), &why), -1);
	CHECK_INT(why.kind, ERR_CONFLICT);
	CHECK_STR(why.frame[0], "ModelPackageGroup arn:x:model-package-group/group cannot be deleted: it has 2 model "
	                        "packages; delete them first");
	CHECK_OK(store_package_delete(s, STR("arn:x:model-package/group/1"), e));
	CHECK_OK(store_package_delete(s, STR("arn:x:model-package/group/3"), e));
	CHECK_INT(store_package_delete(s, STR("arn:x:model-package/group/3"), &why), -1);
	CHECK_INT(why.kind, ERR_NOT_FOUND);
	CHECK_OK(store_group_find(s, STR("gROUP"), &g, e));
	CHECK_STR(g.name, "Group");
	CHECK_STR(g.description, "what it is");
	stored_group_fini(&g);
	CHECK_OK(store_group_delete(s, STR("GROUP"), e));
	CHECK_INT(store_group_find(s, STR("group"), &g, &why), -1);
	CHECK_INT(why.kind, ERR_NOT_FOUND);
	store_close(s);
}

TEST(a_token_makes_one_package)
{
	struct store *s = opened();
	struct err why = { 0 };
	_cleanup_free_ char *one = NULL, *two = NULL;

	CHECK_OK(add_group(s, "group", "arn:x:model-package-group/group", 5, e));
	one = add(s, "group", true, NULL, "token", &why);
	two = add(s, "group", true, NULL, "token", &why);
	CHECK_STR(one, "arn:x:model-package/group/1");
	CHECK_STR(two, one);
	CHECK(!add(s, "other", false, NULL, "token", &why));
	CHECK_INT(why.kind, ERR_CONFLICT);
	added(s, "group", true, NULL, "arn:x:model-package/group/2"); /* no number was used up */
	added(s, "alone", false, NULL, "arn:x:model-package/alone");
	added(s, "alone", false, NULL, "ModelPackage with name alone already exists (arn:x:model-package/alone)");
	store_close(s);
}

static void note(const struct stored_package *p, void *arg)
{
	buf_f(arg, "%s/%u(%s) ", p->name, p->version, p->approval ? p->approval : "");
	CHECK_STR(p->request, "{\"r\":1}");
}

TEST(packages_are_listed_by_kind_group_and_approval)
{
	struct store *s = opened();
	struct store_list q = { .sort = SORT_CREATION_TIME, .max = 9 };
	struct store_package_filter f = { .kind = PACKAGES_ALL };
	_cleanup_buf_ struct buf b = { 0 };
	_cleanup_free_ char *token = NULL, *end = NULL;
	struct err why = { 0 };

	CHECK_OK(add_group(s, "g", "arn:x:model-package-group/g", 5, e));
	CHECK_OK(add_group(s, "h", "arn:x:model-package-group/h", 6, e));
	added(s, "g", true, "Approved", "arn:x:model-package/g/1");
	added(s, "a", false, NULL, "arn:x:model-package/a");
	added(s, "h", true, "Approved", "arn:x:model-package/h/1");
	added(s, "g", true, "Rejected", "arn:x:model-package/g/2");
	CHECK_OK(store_package_list(s, &q, &f, note, &b, &end, e));
	CHECK_STR(b.p, "g/1(Approved) a/0() h/1(Approved) g/2(Rejected) ");
	buf_reset(&b);
	f.kind = PACKAGES_UNVERSIONED;
	CHECK_OK(store_package_list(s, &q, &f, note, &b, &end, e));
	CHECK_STR(b.p, "a/0() ");
	buf_reset(&b);
	f = (struct store_package_filter){ .kind = PACKAGES_VERSIONED, .group = STR("G") };
	q = (struct store_list){ .sort = SORT_NAME, .descending = true, .max = 1 };
	CHECK_OK(store_package_list(s, &q, &f, note, &b, &token, e));
	CHECK_STR(b.p, "g/2(Rejected) ");
	q.token = str_of(token);
	CHECK_OK(store_package_list(s, &q, &f, note, &b, &end, e));
	CHECK_STR(b.p, "g/2(Rejected) g/1(Approved) ");
	CHECK(!end);
	f.group = STR("h"); /* the token is of the other group's list */
	CHECK_INT(store_package_list(s, &q, &f, note, &b, &end, &why), -1);
	CHECK_INT(why.kind, ERR_INVALID);
	buf_reset(&b);
	q.token = (struct str){ 0 };
	q.max = 9;
	f = (struct store_package_filter){ .kind = PACKAGES_VERSIONED, .approval = STR("Approved") };
	CHECK_OK(store_package_list(s, &q, &f, note, &b, &end, e));
	CHECK_STR(b.p, "h/1(Approved) g/1(Approved) ");
	store_close(s);
}
