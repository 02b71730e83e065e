/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/order.h"

#include <jansson.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/fd.h"

enum { ORDER_BYTES_MAX = 64 << 10, THREADS_MAX = 64 };

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
	*o = (struct order){ 0 };
}

static const struct number {
	const char *name;
	size_t at;
	json_int_t least, most;
} numbers[] = {
	{ "threads", offsetof(struct order, threads), 1, THREADS_MAX },
	{ "manifest", offsetof(struct order, manifest), 3, 1 << 20 },
	{ "shard", offsetof(struct order, shard), 0, 9999 },
	{ "shards", offsetof(struct order, shards), 1, 10000 },
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

static int take_member(const char *name, const json_t *value, struct order *o, struct err *e)
{
	size_t i = 0;
	int number = take_number(name, value, o, e);

	if (number != 0)
		return number < 0 ? -1 : 0;
	while (i < ARRAY_LEN(members) && strcmp(members[i].name, name))
		i++;
	if (i == ARRAY_LEN(members))
		return err_set(e, ERR_INVALID, "the work order has an unknown member '%s'", name);
	if (!json_is_string(value))
		return err_set(e, ERR_INVALID, "the work order's '%s' is not a string", name);
	*member_of(o, &members[i]) = str_dup((struct str){ json_string_value(value), json_string_length(value) });
	return 0;
}

static int check(struct order *o, bool needs_key, struct err *e)
{
	for (size_t i = 0; i < ARRAY_LEN(members); i++)
		if (members[i].required && !*member_of(o, &members[i]))
			return err_set(e, ERR_INVALID, "the work order lacks '%s'", members[i].name);
	if (needs_key && (!o->key || !*o->key))
		return err_set(e, ERR_INVALID, "the work order lacks 'key'");
	if (o->shard && o->shard >= o->shards)
		return err_set(e, ERR_INVALID, "the work order's 'shard' is not below its 'shards'");
	if (!o->prefix)
		o->prefix = xstrdup("");
	return 0;
}

static int take_all(json_t *j, bool needs_key, struct order *o, struct err *e)
{
	const char *name;
	json_t *value;

	if (!json_is_object(j))
		return err_set(e, ERR_INVALID, "the work order is not a JSON object");
	json_object_foreach (j, name, value) {
		if (take_member(name, value, o, e) < 0)
			return -1;
	}
	return check(o, needs_key, e);
}

int order_read(int fd, bool needs_key, struct order *ret, struct err *e)
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
		rc = take_all(j, needs_key, &o, e);
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
