/* What is written of algorithms, on the loop's thread as everything is, and what their images are here.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/log.h"
#include "job/control.h"
#include "oci/image.h"

struct call {
	struct jobs *js;
	const struct store_new_algorithm *create;
	struct str name;
	int rc;
	struct err *e;
};

static void on_create(void *arg)
{
	struct call *c = arg;
	int64_t n;

	c->rc = store_algorithm_insert(c->js->store, c->create, &n, c->e);
	if (c->rc == 0)
		log_info("algorithm %s is created: %s, %s", c->create->name, c->create->image, c->create->status);
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
	if (c->rc == 0)
		log_info("algorithm " PRIstr " is deleted", ARGstr(c->name));
}

int jobs_algorithm_delete(struct jobs *js, struct str name, struct err *e)
{
	struct call c = { .js = js, .name = name, .e = e };

	loop_call(js->loop, on_delete, &c);
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
