/* What is written of model packages and their groups, on the loop's thread as everything is.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/log.h"
#include "job/control.h"

struct call {
	struct jobs *js;
	const struct store_new_group *group;
	const struct store_new_package *package;
	const struct jobs_package_edit *edit;
	struct str name; /* of a group, or the ARN of a package */
	char **ret_arn;
	int rc;
	struct err *e;
};

static int run(struct jobs *js, void (*fn)(void *), struct call *c)
{
	c->js = js;
	loop_call(js->loop, fn, c);
	return c->rc;
}

static void on_group_create(void *arg)
{
	struct call *c = arg;
	int64_t n;

	c->rc = store_group_insert(c->js->store, c->group, &n, c->e);
	if (c->rc == 0)
		log_info("model package group %s is created", c->group->name);
}

int jobs_group_create(struct jobs *js, const struct store_new_group *g, struct err *e)
{
	struct call c = { .group = g, .e = e };

	return run(js, on_group_create, &c);
}

static void on_group_delete(void *arg)
{
	struct call *c = arg;

	c->rc = store_group_delete(c->js->store, c->name, c->e);
	if (c->rc == 0)
		log_info("model package group " PRIstr " is deleted", ARGstr(c->name));
}

int jobs_group_delete(struct jobs *js, struct str name, struct err *e)
{
	struct call c = { .name = name, .e = e };

	return run(js, on_group_delete, &c);
}

static void on_package_create(void *arg)
{
	struct call *c = arg;

	c->rc = pins_add(c->js, c->package->request, c->e);
	if (c->rc == 0)
		c->rc = store_package_insert(c->js->store, c->package, c->ret_arn, c->e);
	if (c->rc == 0)
		log_info("model package %s is created", *c->ret_arn);
}

int jobs_package_create(struct jobs *js, const struct store_new_package *p, char **ret_arn, struct err *e)
{
	struct call c = { .package = p, .ret_arn = ret_arn, .e = e };

	return run(js, on_package_create, &c);
}

static int edit(struct jobs *js, struct str arn, const struct jobs_package_edit *how, struct err *e)
{
	_cleanup_free_ char *request = NULL, *approval = NULL;
	struct stored_package p = { 0 };
	int rc;

	if (store_package_find_to_write(js->store, arn, &p, e) < 0)
		return -1;
	rc = how->edit(how->arg, &p, &request, &approval, e);
	if (rc == 0)
		rc = pins_add(js, request, e);
	if (rc == 0)
		rc = store_package_rewrite(js->store, p.n, approval, request, how->by, how->at, e);
	if (rc == 0)
		log_info("model package %s is updated%s%s", p.arn, approval ? ": " : "", approval ? approval : "");
	stored_package_fini(&p);
	return rc;
}

static void on_package_update(void *arg)
{
	struct call *c = arg;

	c->rc = edit(c->js, c->name, c->edit, c->e);
}

int jobs_package_update(struct jobs *js, struct str arn, const struct jobs_package_edit *how, struct err *e)
{
	struct call c = { .name = arn, .edit = how, .e = e };

	return run(js, on_package_update, &c);
}

static void on_package_delete(void *arg)
{
	struct call *c = arg;

	c->rc = store_package_delete(c->js->store, c->name, c->e);
	if (c->rc < 0)
		return;
	log_info("model package " PRIstr " is deleted", ARGstr(c->name));
	pins_sweep(c->js);
}

int jobs_package_delete(struct jobs *js, struct str arn, struct err *e)
{
	struct call c = { .name = arn, .e = e };

	return run(js, on_package_delete, &c);
}
