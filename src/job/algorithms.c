/* What is written of algorithms, on the loop's thread as everything is, and what their images are.
 *
 * An algorithm whose image is here is Completed from the start. Of any other the registry is asked, through
 * bloomery-host, which has the secrets: Pending until that is asked, InProgress until it has answered. Both are asked
 * again when bloomery-host or bloomeryd has been started anew, and from time to time; asking twice is safe.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/log.h"
#include "job/control.h"
#include "oci/image.h"

enum { REASON_MAX = 1024 };

struct call {
	struct jobs *js;
	const struct store_new_algorithm *create;
	const struct store_validation_move *move;
	struct str name;
	int rc;
	struct err *e;
};

/* ---- the registry ---- */

char *jobs_reason_cut(const char *reason)
{
	return reason_cut(reason, REASON_MAX);
}

char *jobs_algorithm_details(const char *failure)
{
	_cleanup_free_ char *reason = failure ? reason_cut(failure, REASON_MAX) : NULL;
	json_t *j = reason ? json_pack("{s:[{s:s, s:s, s:s}], s:[]}", "ValidationStatuses", "Name", "image", "Status",
	                               "Failed", "FailureReason", reason, "ImageScanStatuses")
	                   : json_pack("{s:[], s:[]}", "ValidationStatuses", "ImageScanStatuses");
	char *text;

	must(j);
	text = json_dumps(j, JSON_COMPACT);
	must(text);
	json_decref(j);
	return text;
}

bool jobs_can_ask(const struct jobs *js, struct str image)
{
	return js->via->digest && image_reference_pullable(image);
}

struct open_one {
	int64_t n;
	char *image;
	bool pending, validated;
};
struct open_ones {
	int64_t only; /* 0: all */
	struct open_one *v;
	size_t n;
};

static void add_open(const struct store_open_algorithm *a, void *arg)
{
	struct open_ones *all = arg;

	if (all->only && all->only != a->n)
		return;
	all->v = xrealloc(all->v, (all->n + 1) * sizeof(*all->v));
	all->v[all->n++] = (struct open_one){ a->n, xstrdup(a->image), !strcmp(a->status, "Pending"), a->validated };
}

static void open_ones_fini(struct open_ones *all)
{
	for (size_t i = 0; i < all->n; i++)
		free(all->v[i].image);
	free(all->v);
}

void algorithms_go_on(struct jobs *js)
{
	_cleanup_(open_ones_fini) struct open_ones all = { 0 };
	struct err e = { 0 };

	scans_again(js);
	if (!js->launcher || !js->via->digest)
		return;
	if (store_algorithm_each_open(js->store, add_open, &all, &e) < 0)
		log_err(LOG_WARN, &e, "looking for algorithms that are being made");
	for (size_t i = 0; i < all.n; i++) {
		if (all.v[i].pending && store_algorithm_move(js->store, all.v[i].n, "Pending", "InProgress", NULL, NULL,
		                                             wall_now(), &e) < 0)
			log_err(LOG_WARN, &e, "an algorithm"); /* asked again, as the sweep comes round */
		else
			js->via->digest(js->launcher, all.v[i].n, all.v[i].image);
	}
}

/* The image is there, and the validation begins. */
static int begin_validation(struct jobs *js, const struct open_one *a, const char *pinned, struct err *e)
{
	const struct store_validation_move m = { .algorithm = a->n,
		                                 .from = VALIDATION_IMAGE,
		                                 .to = VALIDATION_BEGIN,
		                                 .status = "InProgress",
		                                 .image = pinned,
		                                 .at = wall_now() };

	if (store_validation_move(js->store, &m, e) < 0)
		return -1;
	log_info("algorithm %lld is validated: %s", (long long)a->n, pinned);
	jobs_news(js);
	return 0;
}

static int complete(struct jobs *js, const struct open_one *a, const char *pinned, const char *failure, struct err *e)
{
	_cleanup_free_ char *details = jobs_algorithm_details(failure);

	if (store_algorithm_move(js->store, a->n, a->pending ? "Pending" : "InProgress",
	                         failure ? "Failed" : "Completed", pinned, details, wall_now(), e) < 0)
		return -1;
	log_info("algorithm %lld %s: %s", (long long)a->n, failure ? "has failed" : "is completed",
	         failure ? failure : pinned);
	return 0;
}

void algorithms_digest(void *arg, int64_t n, struct str digest, struct str error)
{
	_cleanup_(open_ones_fini) struct open_ones one = { .only = n };
	_cleanup_free_ char *failure = error.n ? str_dup(error) : NULL, *pinned = NULL;
	struct jobs *js = arg;
	struct err e = { 0 };
	int rc;

	if (store_algorithm_each_open(js->store, add_open, &one, &e) < 0)
		log_err(LOG_WARN, &e, "looking for algorithm %lld", (long long)n);
	if (!one.n) /* answered before */
		return;
	if (!failure && image_pinned(str_of(one.v[0].image), digest, &pinned, &e) < 0)
		failure = xstrdup(e.frame[0]);
	if (!failure && pins_add(js, pinned, &e) < 0)
		rc = -1; /* asked again */
	else
		rc = !failure && one.v[0].validated ? begin_validation(js, &one.v[0], pinned, &e)
		                                    : complete(js, &one.v[0], pinned, failure, &e);
	if (rc < 0)
		log_err(LOG_WARN, &e, "algorithm %lld", (long long)n);
}

/* ---- written ---- */

static void on_create(void *arg)
{
	struct call *c = arg;
	int64_t n;

	c->rc = pins_add(c->js, c->create->image, c->e) < 0 || pins_add(c->js, c->create->request, c->e) < 0 ? -1 : 0;
	if (c->rc == 0)
		c->rc = store_algorithm_insert(c->js->store, c->create, &n, c->e);
	if (c->rc == 0)
		log_info("algorithm %s is created: %s, %s", c->create->name, c->create->image, c->create->status);
	if (c->rc == 0 && !strcmp(c->create->status, "Pending"))
		algorithms_go_on(c->js);
	if (c->rc == 0 && c->create->step)
		jobs_news(c->js);
}

int jobs_algorithm_create(struct jobs *js, const struct store_new_algorithm *a, struct err *e)
{
	struct call c = { .js = js, .create = a, .e = e };

	loop_call(js->loop, on_create, &c);
	return c.rc;
}

static void on_delete(void *arg)
{
	struct call *c = arg;

	c->rc = store_algorithm_delete(c->js->store, c->name, c->e);
	if (c->rc < 0)
		return;
	log_info("algorithm " PRIstr " is deleted", ARGstr(c->name));
	pins_sweep(c->js);
}

int jobs_algorithm_delete(struct jobs *js, struct str name, struct err *e)
{
	struct call c = { .js = js, .name = name, .e = e };

	loop_call(js->loop, on_delete, &c);
	return c.rc;
}

static void on_move(void *arg)
{
	struct call *c = arg;

	c->rc = store_validation_move(c->js->store, c->move, c->e);
}

int jobs_validation_move(struct jobs *js, const struct store_validation_move *m, struct err *e)
{
	struct call c = { .js = js, .move = m, .e = e };

	loop_call(js->loop, on_move, &c);
	return c.rc;
}

int jobs_image_digest(const struct jobs *js, struct str image, char **ret, struct err *e)
{
	_cleanup_free_ char *dir = strf("%s/images", js->data_dir);

	return image_digest(dir, image, ret, e);
}

int jobs_image_pinned(struct str image, struct str digest, char **ret, struct err *e)
{
	return image_pinned(image, digest, ret, e);
}
