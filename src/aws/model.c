/* SPDX-License-Identifier: Apache-2.0 */
#include "aws/model.h"

#include <stdlib.h>

#include "aws/walk.h"

/* Every table row begins with its name. */
static int by_name(const void *name, const void *row)
{
	return str_cmp(*(const struct str *)name, str_of(*(const char *const *)row));
}

const struct service *model_service(const char *name)
{
	struct str n = str_of(name);

	return bsearch(&n, model_services, model_service_count, sizeof(*model_services), by_name);
}

const struct operation *model_operation(const struct service *s, struct str name)
{
	return bsearch(&name, s->operations, s->operation_count, sizeof(*s->operations), by_name);
}

const struct instance_type *instance_type_find(struct str name)
{
	return bsearch(&name, model_instance_types, model_instance_type_count, sizeof(*model_instance_types), by_name);
}

/* A new reference: x without secrets and without what the shape does not know. */
static json_t *redacted(const struct shape *s, const json_t *x, unsigned depth)
{
	const char *key;
	json_t *v, *copy;
	size_t i;

	if (s->secret || depth >= WALK_DEPTH)
		return json_string("***");
	if (json_is_object(x) && (s->kind == SHAPE_STRUCTURE || s->kind == SHAPE_UNION)) {
		copy = json_object();
		for (i = 0; i < s->member_count; i++)
			if ((v = json_object_get(x, s->members[i].name)))
				json_object_set_new(copy, s->members[i].name,
				                    redacted(s->members[i].shape, v, depth + 1));
		return copy;
	}
	if (json_is_object(x) && s->kind == SHAPE_MAP) {
		copy = json_object();
		json_object_foreach ((json_t *)x, key, v)
			json_object_set_new(copy, key, redacted(s->item, v, depth + 1));
		return copy;
	}
	if (json_is_array(x) && s->kind == SHAPE_LIST) {
		copy = json_array();
		json_array_foreach (x, i, v)
			json_array_append_new(copy, redacted(s->item, v, depth + 1));
		return copy;
	}
	/* a value of another kind than the shape says may hide anything */
	return json_is_object(x) || json_is_array(x) ? json_string("***") : json_incref((json_t *)x);
}

static int append(const char *p, size_t n, void *out)
{
	buf_add(out, p, n);
	return 0;
}

void model_redact(const struct shape *s, const json_t *x, struct buf *out)
{
	json_t *copy = redacted(s, x, 0);

	json_dump_callback(copy, append, out, JSON_COMPACT | JSON_ENCODE_ANY);
	json_decref(copy);
}

const struct service *model_rest_service(struct str signing, struct str method, struct str path,
                                         const struct operation **ret_op)
{
	for (size_t i = 0; i < model_service_count; i++) {
		const struct service *s = &model_services[i];

		for (size_t k = 0; k < s->operation_count && str_is(signing, s->signing_name); k++) {
			const struct operation *op = &s->operations[k];

			if (!op->uri || !str_is(path, op->uri) || !str_is(method, op->method))
				continue;
			*ret_op = op;
			return s;
		}
	}
	return NULL;
}
