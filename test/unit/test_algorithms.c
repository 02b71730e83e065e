/* Algorithms whose images' registries have to be asked: through a launcher that only notes what it is asked.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/log.h"
#include "harness.h"
#include "job/control.h"

static struct loop *loop;
static struct store *store;
static struct blob_store *blobs;
static struct jobs *jobs;
static struct conf conf;
static struct buf asked; /* "N IMAGE;" */

static struct launcher *note_open(const struct launcher_options *o)
{
	(void)o;
	return (struct launcher *)&asked; /* any that is not NULL */
}
static void note_close(struct launcher *l)
{
	(void)l;
}
static void note_id(struct launcher *l, const char *id)
{
	(void)l, (void)id;
}
static void note_digest(struct launcher *l, int64_t n, const char *image)
{
	(void)l;
	buf_f(&asked, "%lld %s;", (long long)n, image);
}
static const struct launcher_ops noting = {
	.name = "noting", .open = note_open, .close = note_close, .remove = note_id, .digest = note_digest
};

static void up(void)
{
	_cleanup_free_ char *db = strf("%s/bloomery.db", test_tmpdir());
	struct jobs_options o = { .conf = &conf, .launcher = &noting, .data_dir = test_tmpdir() };

	log_init("test", LOG_ERROR + 1);
	conf_init(&conf);
	o.loop = loop = loop_new();
	CHECK_OK(store_open(db, &store, e));
	CHECK_OK(blob_open(test_tmpdir(), &blobs, e));
	o.store = store;
	o.blobs = blobs;
	CHECK_OK(jobs_new(&o, &jobs, e));
	jobs_start(jobs, NULL);
}

static void down(void)
{
	jobs_free(jobs);
	blob_close(blobs);
	store_close(store);
	loop_free(loop);
	conf_fini(&conf);
}

static void create(const char *name, const char *image, const char *status)
{
	_cleanup_free_ char *arn = strf("arn:x/%s", name), *details = jobs_algorithm_details(NULL);
	const struct store_new_algorithm a = { .name = name,
		                               .arn = arn,
		                               .status = status,
		                               .image = image,
		                               .details = details,
		                               .request = "{}",
		                               .created = { 1 } };

	CHECK_OK(jobs_algorithm_create(jobs, &a, e));
}

/* "STATUS IMAGE DETAILS" */
static const char *now(const char *name)
{
	static struct buf out;
	struct stored_algorithm a = { 0 };

	buf_reset(&out);
	CHECK_OK(store_algorithm_find(store, str_of(name), &a, NULL, e));
	buf_f(&out, "%s %s %s", a.status, a.image, a.details);
	stored_algorithm_fini(&a);
	return out.p;
}

#define DIGEST "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define NOTHING "{\"ValidationStatuses\":[],\"ImageScanStatuses\":[]}"

TEST(a_registry_is_asked_until_it_has_answered)
{
	up();
	create("here", "img@" DIGEST, "Completed");
	CHECK_INT(asked.n, 0);
	create("far", "reg:5000/team/x:1", "Pending");
	CHECK_STR(asked.p, "2 reg:5000/team/x:1;");
	CHECK_STR(now("far"), "InProgress reg:5000/team/x:1 " NOTHING);
	down();
	up(); /* killed in between, or the other side was */
	buf_reset(&asked);
	algorithms_go_on(jobs);
	CHECK_STR(asked.p, "2 reg:5000/team/x:1;");
	algorithms_digest(jobs, 7, STR(DIGEST), STR("")); /* nobody's */
	algorithms_digest(jobs, 2, STR(DIGEST), STR(""));
	CHECK_STR(now("far"), "Completed reg:5000/team/x@" DIGEST " " NOTHING);
	algorithms_digest(jobs, 2, STR(""), STR("too late"));
	CHECK_STR(now("far"), "Completed reg:5000/team/x@" DIGEST " " NOTHING);
	buf_reset(&asked);
	algorithms_go_on(jobs);
	CHECK_INT(asked.n, 0);
	down();
}

TEST(what_a_registry_refuses_fails_with_its_words)
{
	struct err why = { 0 };

	up();
	create("a", "reg:5000/x:1", "Pending");
	CHECK_INT(jobs_algorithm_delete(jobs, STR("a"), &why), -1);
	CHECK_STR(why.frame[0], "Cannot delete Algorithm in InProgress status: arn:x/a");
	algorithms_digest(jobs, 1, STR(""), STR("manifest unknown"));
	CHECK_STR(now("a"), "Failed reg:5000/x:1 {\"ValidationStatuses\":[{\"Name\":\"image\",\"Status\":\"Failed\","
	                    "\"FailureReason\":\"manifest unknown\"}],\"ImageScanStatuses\":[]}");
	CHECK_OK(jobs_algorithm_delete(jobs, STR("A"), e));
	create("b", "reg:5000/x:1", "Pending");
	algorithms_digest(jobs, 2, STR("sha256:short"), STR(""));
	CHECK(strstr(now("b"), "Failed ") && strstr(now("b"), "'sha256:short' is no digest of an image"));
	create("c", "reg:5000/x:1", "Pending");
	algorithms_digest(jobs, 3, STR(""), STR("\xff\xfe"));
	CHECK(strstr(now("c"), "was not UTF-8"));
	down();
}

TEST(names_with_a_registry_can_be_asked_for)
{
	_cleanup_free_ char *pinned = NULL, *upper = NULL;
	struct err why = { 0 };
	char *none = NULL;

	up();
	CHECK(jobs_can_ask(jobs, STR("reg:5000/x:1")));
	CHECK(!jobs_can_ask(jobs, STR("x:1")));
	CHECK_OK(jobs_image_pinned(STR("h:5/p/q:tag"), STR(DIGEST), &pinned, e));
	CHECK_STR(pinned, "h:5/p/q@" DIGEST);
	CHECK_OK(jobs_image_pinned(
	        STR("q"), STR("SHA256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef"), &upper, e));
	CHECK_STR(upper, "q@" DIGEST);
	CHECK_INT(jobs_image_pinned(STR("../x"), STR(DIGEST), &none, &why), -1);
	CHECK_INT(why.kind, ERR_INVALID);
	CHECK_INT(jobs_image_digest(jobs, STR("nowhere"), &none, &why), -1);
	CHECK_INT(why.kind, ERR_NOT_FOUND);
	CHECK(!none);
	down();
}
