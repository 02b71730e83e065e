/* SPDX-License-Identifier: Apache-2.0 */
#include "metric/order.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"

enum { ORDER_MAX_BYTES = 2 << 20 };

static const struct {
	const char *name;
	size_t offset;
} descriptors[] = {
#define AT(m) offsetof(struct metric_order, m)
	{ "log", AT(log) },          { "metrics", AT(metrics) },        { "root", AT(root) },
	{ "cpu", AT(instance.cpu) }, { "memory", AT(instance.memory) }, { "io", AT(instance.io) },
	{ "net", AT(instance.net) }, { "volume", AT(instance.volume) },
#undef AT
};

json_t *metric_order_to_json(const struct metric_order *o)
{
	json_t *j = json_pack("{s:s, s:O, s:b, s:f, s:I, s:I}", "host", o->host, "definitions", o->definitions,
	                      "unified", o->instance.unified, "cpus", o->instance.cpus, "memory_bytes",
	                      (json_int_t)o->instance.memory_bytes, "started_ns", (json_int_t)o->instance.started_ns);

	must(j);
	for (size_t i = 0; i < ARRAY_LEN(descriptors); i++)
		json_object_set_new(
		        j, descriptors[i].name,
		        json_integer(*(const int *)(const void *)((const char *)o + descriptors[i].offset)));
	return j;
}

int metric_definitions_of(const json_t *definitions, struct metric_definition ret[METRIC_DEFINITIONS_MAX],
                          size_t *ret_n, struct err *e)
{
	const json_t *d;
	size_t i;

	if (definitions && !json_is_array(definitions))
		return err_set(e, ERR_INVALID, "the metric definitions are no list");
	if (json_array_size(definitions) > METRIC_DEFINITIONS_MAX)
		return err_set(e, ERR_INVALID, "there are more than %d metric definitions", METRIC_DEFINITIONS_MAX);
	json_array_foreach (definitions, i, d) {
		const json_t *name = json_object_get(d, "Name"), *regex = json_object_get(d, "Regex");

		if (!json_is_string(name) || !json_is_string(regex) || !json_string_length(name))
			return err_set(e, ERR_INVALID, "metric definition %zu has no Name or no Regex", i + 1);
		ret[i] = (struct metric_definition){ { json_string_value(name), json_string_length(name) },
			                             { json_string_value(regex), json_string_length(regex) } };
	}
	*ret_n = json_array_size(definitions);
	return 0;
}

static int take(const json_t *j, struct metric_order *o, struct err *e)
{
	struct metric_definition ignored[METRIC_DEFINITIONS_MAX];
	const char *host = json_string_value(json_object_get(j, "host"));
	size_t n;

	for (size_t i = 0; i < ARRAY_LEN(descriptors); i++) {
		const json_t *fd = json_object_get(j, descriptors[i].name);

		if (!json_is_integer(fd) || json_integer_value(fd) < -1 || json_integer_value(fd) > 1 << 20)
			return err_set(e, ERR_INVALID, "%s is wrong in the work order", descriptors[i].name);
		*(int *)(void *)((char *)o + descriptors[i].offset) = (int)json_integer_value(fd);
	}
	if (!host || !*host || strchr(host, '/') || *host == '.')
		return err_set(e, ERR_INVALID, "host is wrong in the work order");
	if (metric_definitions_of(json_object_get(j, "definitions"), ignored, &n, e) < 0)
		return -1;
	if (o->log < 0 || o->metrics < 0)
		return err_set(e, ERR_INVALID, "log or metrics is missing in the work order");
	o->host = xstrdup(host);
	o->definitions = json_incref(json_object_get(j, "definitions"));
	o->gpus = json_incref(json_object_get(j, "gpus"));
	o->instance.gpu = -1;
	o->instance.unified = json_is_true(json_object_get(j, "unified"));
	o->instance.cpus = json_number_value(json_object_get(j, "cpus"));
	o->instance.memory_bytes = (uint64_t)json_integer_value(json_object_get(j, "memory_bytes"));
	o->instance.started_ns = json_integer_value(json_object_get(j, "started_ns"));
	return 0;
}

int metric_order_read(int fd, struct metric_order *ret, struct err *e)
{
	_cleanup_free_ char *text = xrealloc(NULL, ORDER_MAX_BYTES);
	struct metric_order o = { 0 };
	size_t got;
	json_t *j;
	int rc;

	if (lseek(fd, 0, SEEK_SET) < 0 || fd_read_full(fd, text, ORDER_MAX_BYTES, &got, e) < 0)
		return err_set(e, ERR_INVALID, "the work order cannot be read");
	j = json_loadb(text, got, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(j)) {
		json_decref(j);
		return err_set(e, ERR_INVALID, "the work order is no JSON object");
	}
	rc = take(j, &o, e);
	json_decref(j);
	if (rc < 0)
		metric_order_fini(&o);
	else
		*ret = o;
	return rc;
}

void metric_order_fini(struct metric_order *o)
{
	free(o->host);
	json_decref(o->definitions);
	json_decref(o->gpus);
	o->gpus = NULL;
	o->host = NULL;
	o->definitions = NULL;
}

size_t metric_order_definitions(const struct metric_order *o, struct metric_definition ret[METRIC_DEFINITIONS_MAX])
{
	size_t n = 0;

	return metric_definitions_of(o->definitions, ret, &n, NULL) < 0 ? 0 : n;
}
