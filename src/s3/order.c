/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/order.h"

#include <jansson.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/fd.h"

enum { ORDER_BYTES_MAX = 64 << 10, THREADS_MAX = 64, ATTRIBUTES_MAX = 16 /* of AttributeNames */ };

static const struct member {
	const char *name;
	size_t at;
	bool required;
} members[] = {
	{ "endpoint", offsetof(struct order, endpoint), false },
	{ "region", offsetof(struct order, region), false },
	{ "access_key", offsetof(struct order, access_key), true },
	{ "secret_key", offsetof(struct order, secret_key), true },
	{ "session_token", offsetof(struct order, session_token), false },
	{ "bucket", offsetof(struct order, bucket), true },
	{ "prefix", offsetof(struct order, prefix), false },
	{ "key", offsetof(struct order, key), false },
	{ "content_type", offsetof(struct order, content_type), false },
	{ "s3_data_type", offsetof(struct order, s3_data_type), false },
};

static char **member_of(struct order *o, const struct member *m)
{
	return (char **)((char *)o + m->at);
}

void order_fini(struct order *o)
{
	if (o->secret_key)
		explicit_bzero(o->secret_key, strlen(o->secret_key));
	for (size_t i = 0; i < ARRAY_LEN(members); i++)
		free(*member_of(o, &members[i]));
	for (size_t i = 0; i < o->attribute_count; i++)
		free(o->attributes[i]);
	free(o->attributes);
	*o = (struct order){ 0 };
}

static const struct number {
	const char *name;
	size_t at;
	json_int_t least, most;
} numbers[] = {
	{ "threads", offsetof(struct order, threads), 1, THREADS_MAX },
	{ "patience_s", offsetof(struct order, patience_s), 1, 3600 },
	{ "list", offsetof(struct order, list), 3, 1 << 20 },
};

/* 1: it was a number; 0: there is none of that name. */
static int take_number(const char *name, const json_t *value, struct order *o, struct err *e)
{
	size_t i = 0;
	json_int_t v = json_integer_value(value);

	while (i < ARRAY_LEN(numbers) && strcmp(numbers[i].name, name))
		i++;
	if (i == ARRAY_LEN(numbers))
		return 0;
	if (!json_is_integer(value) || v < numbers[i].least || v > numbers[i].most)
		return err_set(e, ERR_INVALID, "the work order's '%s' is no number from %d to %d", name,
		               (int)numbers[i].least, (int)numbers[i].most);
	*(unsigned *)((char *)o + numbers[i].at) = (unsigned)v;
	return 1;
}

static int take_attributes(const json_t *value, struct order *o, struct err *e)
{
	size_t n = json_array_size(value);

	if (!json_is_array(value) || n > ATTRIBUTES_MAX)
		return err_set(e, ERR_INVALID, "the work order's 'attribute_names' is no list of up to %d names",
		               ATTRIBUTES_MAX);
	o->attributes = xcalloc(n + 1, sizeof(*o->attributes));
	for (size_t i = 0; i < n; i++) {
		const json_t *name = json_array_get(value, i);

		if (!json_is_string(name))
			return err_set(e, ERR_INVALID, "the work order's 'attribute_names' holds what is no string");
		o->attributes[o->attribute_count++] = str_dup(
		        (struct str){ json_string_value(name), json_string_length(name) });
	}
	return 0;
}

static int take_member(const char *name, const json_t *value, struct order *o, struct err *e)
{
	size_t i = 0;
	int number = take_number(name, value, o, e);

	if (number != 0)
		return number < 0 ? -1 : 0;
	if (strcmp(name, "attribute_names") == 0)
		return take_attributes(value, o, e);
	while (i < ARRAY_LEN(members) && strcmp(members[i].name, name))
		i++;
	if (i == ARRAY_LEN(members))
		return err_set(e, ERR_INVALID, "the work order has an unknown member '%s'", name);
	if (!json_is_string(value))
		return err_set(e, ERR_INVALID, "the work order's '%s' is not a string", name);
	*member_of(o, &members[i]) = str_dup((struct str){ json_string_value(value), json_string_length(value) });
	return 0;
}

static int check(struct order *o, unsigned needs, struct err *e)
{
	for (size_t i = 0; i < ARRAY_LEN(members); i++)
		if (members[i].required && !*member_of(o, &members[i]))
			return err_set(e, ERR_INVALID, "the work order lacks '%s'", members[i].name);
	if (needs & ORDER_NEEDS_KEY && (!o->key || !*o->key))
		return err_set(e, ERR_INVALID, "the work order lacks 'key'");
	if (needs & ORDER_NEEDS_LIST && !o->list)
		return err_set(e, ERR_INVALID, "the work order lacks 'list'");
	if (!o->prefix)
		o->prefix = xstrdup("");
	return 0;
}

static int take_all(json_t *j, unsigned needs, struct order *o, struct err *e)
{
	const char *name;
	json_t *value;

	if (!json_is_object(j))
		return err_set(e, ERR_INVALID, "the work order is not a JSON object");
	json_object_foreach (j, name, value) {
		if (take_member(name, value, o, e) < 0)
			return -1;
	}
	return check(o, needs, e);
}

int order_read(int fd, unsigned needs, struct order *ret, struct err *e)
{
	struct order o = { 0 };
	char *text = xcalloc(1, ORDER_BYTES_MAX + 1);
	json_t *j = NULL;
	size_t n = 0;
	int rc = fd_read_full(fd, text, ORDER_BYTES_MAX + 1, &n, e);

	if (rc == 0 && n > ORDER_BYTES_MAX)
		rc = err_set(e, ERR_INVALID, "the work order is longer than %d bytes", ORDER_BYTES_MAX);
	if (rc == 0) {
		j = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
		rc = take_all(j, needs, &o, e);
	}
	json_decref(j);
	explicit_bzero(text, n);
	free(text);
	if (rc < 0)
		order_fini(&o);
	else
		*ret = o;
	return rc;
}
