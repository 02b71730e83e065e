/* The containers of a transform job: what serves, and the model that it serves. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "jobdir/members.h"

/* It is also the name of a log, beside which there is the driver's. */
static bool name_ok(struct str s)
{
	return s.n > 0 && member_only(s, DIGITS LOWER UPPER "-") && !str_is(s, "data-log");
}

/* clang-format off */
static const struct member container_members[] = {
	{ AT(container_spec, name), .check = name_ok, .max = 63 },
	{ AT(container_spec, image), .free = true, .max = 4 * 255 },
	{ AT(container_spec, image_provider), .optional = true, .max = 2048 },
};
static const struct member model_members[] = {
	{ AT(model_spec, place), FORM_PLACE },
	{ AT(model_spec, bucket), .check = member_bucket_ok, .max = 255 },
	{ AT(model_spec, prefix), .free = true, .max = 4 * 1024 },
	{ AT(model_spec, list), .check = member_leaf_ok, .max = 255 },
	{ AT(model_spec, gzip), FORM_BOOL },
};
/* clang-format on */

json_t *model_to_json(const struct model_spec *m)
{
	return m ? members_to_json(model_members, ARRAY_LEN(model_members), m) : json_null();
}

void model_free(struct model_spec *m)
{
	if (m)
		members_free(model_members, ARRAY_LEN(model_members), m);
	free(m);
}

json_t *containers_to_json(const struct job_spec *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < s->container_count; i++) {
		const struct container_spec *c = &s->containers[i];
		json_t *j = members_to_json(container_members, ARRAY_LEN(container_members), c);

		json_object_set(j, "environment", c->environment);
		json_object_set_new(j, "model", model_to_json(c->model));
		json_array_append_new(list, j);
	}
	return list;
}

/* Names and values are to become "NAME=VALUE". */
static int environment_check(const json_t *env, const char *where, struct err *e)
{
	const char *name;
	size_t n;
	json_t *v;

	if (!json_is_object(env))
		return member_refuse(where, "environment", "not an object", e);
	json_object_keylen_foreach((json_t *)env, name, n, v)
	{
		struct str key = { name, n }, value = { json_string_value(v), json_string_length(v) };

		if (!json_is_string(v) || str_has_byte(value, '\0'))
			return member_refuse(where, "environment", "holds what is not a text", e);
		if (!n || str_has_byte(key, '=') || str_has_byte(key, '\0'))
			return member_refuse(where, "environment", "holds what cannot be a variable's name", e);
	}
	return 0;
}

int model_from_json(const json_t *j, const char *in, const char *name, const struct job_spec *s,
                    struct model_spec **ret, struct err *e)
{
	_cleanup_free_ char *where = strf("%s%s.", in, name);

	if (!j)
		return member_refuse(in, name, "missing", e);
	if (json_is_null(j))
		return 0;
	*ret = xcalloc(1, sizeof(**ret));
	if (members_from_json(model_members, ARRAY_LEN(model_members), where, NULL, j, *ret, e) < 0)
		return -1;
	if ((*ret)->place == PLACE_FILE_SYSTEM)
		return member_refuse(where, "place", "a file system is for channels only", e);
	if ((*ret)->place == PLACE_REMOTE && !s->s3.endpoint)
		return member_refuse("", "s3", "missing, and a model is remote", e);
	return 0;
}

static int container_from_json(const json_t *j, const char *where, struct job_spec *s, struct container_spec *c,
                               struct err *e)
{
	static const char *const also[] = { "environment", "model", NULL };

	if (members_from_json(container_members, ARRAY_LEN(container_members), where, also, j, c, e) < 0 ||
	    environment_check(json_object_get(j, "environment"), where, e) < 0 ||
	    model_from_json(json_object_get(j, "model"), where, "model", s, &c->model, e) < 0)
		return -1;
	c->environment = json_incref(json_object_get(j, "environment"));
	for (const struct container_spec *other = s->containers; other < c; other++)
		if (strcmp(other->name, c->name) == 0)
			return member_refuse(where, "name", "another container has this name", e);
	return 0;
}

int containers_from_json(const json_t *j, struct job_spec *s, struct err *e)
{
	size_t n = json_array_size(j);

	if (!json_is_array(j) || n == 0 || n > SPEC_MAX_CONTAINERS)
		return member_refuse("", "containers", "not an array of 1 to 15", e);
	s->containers = xcalloc(n, sizeof(*s->containers));
	s->container_count = n;
	for (size_t i = 0; i < n; i++) {
		char where[32];

		snprintf(where, sizeof(where), "containers[%zu].", i);
		if (container_from_json(json_array_get(j, i), where, s, &s->containers[i], e) < 0)
			return -1;
	}
	return 0;
}

void containers_fini(struct job_spec *s)
{
	for (size_t i = 0; i < s->container_count; i++) {
		struct container_spec *c = &s->containers[i];

		members_free(container_members, ARRAY_LEN(container_members), c);
		json_decref(c->environment);
		model_free(c->model);
	}
	free(s->containers);
	s->containers = NULL;
	s->container_count = 0;
}
