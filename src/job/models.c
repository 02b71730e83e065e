/* What is written of models, on the loop's thread as everything is, and whether their images can be had.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "job/control.h"
#include "oci/image.h"

struct call {
	struct jobs *js;
	const struct store_new_model *create;
	struct str name;
	int rc;
	struct err *e;
};

static void on_create(void *arg)
{
	struct call *c = arg;
	int64_t n;

	c->rc = pins_add(c->js, c->create->containers, c->e);
	if (c->rc == 0)
		c->rc = store_model_insert(c->js->store, c->create, &n, c->e);
	if (c->rc == 0)
		log_info("model %s is created", c->create->name);
}

int jobs_model_create(struct jobs *js, const struct store_new_model *m, struct err *e)
{
	struct call c = { .js = js, .create = m, .e = e };

	loop_call(js->loop, on_create, &c);
	return c.rc;
}

static void on_delete(void *arg)
{
	struct call *c = arg;

	c->rc = store_model_delete(c->js->store, c->name, c->e);
	if (c->rc < 0)
		return;
	log_info("model " PRIstr " is deleted", ARGstr(c->name));
	pins_sweep(c->js);
}

int jobs_model_delete(struct jobs *js, struct str name, struct err *e)
{
	struct call c = { .js = js, .name = name, .e = e };

	loop_call(js->loop, on_delete, &c);
	return c.rc;
}

int jobs_check_image(const struct jobs *js, struct str image, struct err *e)
{
	_cleanup_free_ char *digest = NULL;
	struct err why = { 0 };

	if (jobs_image_digest(js, image, &digest, &why) == 0)
		return 0;
	if (why.kind != ERR_NOT_FOUND) {
		*e = why;
		return -1;
	}
	if (image_reference_pullable(image))
		return 0;
	return err_set(e, ERR_INVALID, "Requested image " PRIstr " not found: %s", ARGstr(image), why.frame[0]);
}
