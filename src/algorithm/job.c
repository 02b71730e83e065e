/* An algorithm as it is asked for each training job by its name (contract 8.4). SPDX-License-Identifier: Apache-2.0 */
#include <stdatomic.h>
#include <stdlib.h>

#include "algorithm/algorithm.h"
#include "algorithm/lists.h"
#include "algorithm/range.h"

struct hyperparameter {
	char *name;
	size_t name_bytes;
	const json_t *fallback; /* DefaultValue, borrowed of spec; NULL: none */
	bool required;
	struct range range;
};

struct channel {
	char *name;
	bool required;
	const json_t *types, *compressions, *modes; /* borrowed of spec; NULL or empty: any */
};

struct algorithm {
	atomic_uint refs;
	json_t *spec; /* a copy of the TrainingSpecification, of which only constant things are used */
	struct hyperparameter *h;
	size_t h_count;
	struct hyperparameter **by_name; /* the same, sorted */
	struct channel *c;
	size_t c_count;
	const json_t *instance_types, *metrics;
	bool distributed;
};

/* ---- made ---- */

static int by_name(const void *a, const void *b)
{
	const struct hyperparameter *const *x = a, *const *y = b;

	return str_cmp((struct str){ (*x)->name, (*x)->name_bytes }, (struct str){ (*y)->name, (*y)->name_bytes });
}

static void read_hyperparameters(struct algorithm *a)
{
	const json_t *list = json_object_get(a->spec, "SupportedHyperParameters"), *j;
	size_t i;

	a->h = xcalloc(json_array_size(list) + 1, sizeof(*a->h));
	a->by_name = xcalloc(json_array_size(list) + 1, sizeof(struct hyperparameter *));
	json_array_foreach (list, i, j) {
		struct hyperparameter *h = &a->h[a->h_count];

		h->name = str_dup(json_view(j, "Name"));
		h->name_bytes = json_view(j, "Name").n;
		h->fallback = json_object_get(j, "DefaultValue");
		h->required = json_is_true(json_object_get(j, "IsRequired"));
		/* a range that is wrong was refused when the algorithm was created; it has no text then */
		free(range_parse(j, &h->range));
		a->by_name[a->h_count++] = h;
	}
	qsort(a->by_name, a->h_count, sizeof(struct hyperparameter *), by_name);
}

static void read_channels(struct algorithm *a)
{
	const json_t *list = json_object_get(a->spec, "TrainingChannels"), *j;
	size_t i;

	a->c = xcalloc(json_array_size(list) + 1, sizeof(*a->c));
	json_array_foreach (list, i, j)
		a->c[a->c_count++] = (struct channel){
			.name = str_dup(json_view(j, "Name")),
			.required = json_is_true(json_object_get(j, "IsRequired")),
			.types = json_object_get(j, "SupportedContentTypes"),
			.compressions = json_object_get(j, "SupportedCompressionTypes"),
			.modes = json_object_get(j, "SupportedInputModes"),
		};
}

struct algorithm *algorithm_new(const json_t *training_specification)
{
	struct algorithm *a = xcalloc(1, sizeof(*a));

	atomic_init(&a->refs, 1);
	a->spec = json_deep_copy(training_specification);
	must(a->spec);
	read_hyperparameters(a);
	read_channels(a);
	a->instance_types = json_object_get(a->spec, "SupportedTrainingInstanceTypes");
	a->metrics = json_object_get(a->spec, "MetricDefinitions");
	a->distributed = json_is_true(json_object_get(a->spec, "SupportsDistributedTraining"));
	return a;
}

struct algorithm *algorithm_ref(struct algorithm *a)
{
	atomic_fetch_add(&a->refs, 1);
	return a;
}

void algorithm_unref(struct algorithm *a)
{
	if (!a || atomic_fetch_sub(&a->refs, 1) > 1)
		return;
	for (size_t i = 0; i < a->h_count; i++) {
		free(a->h[i].name);
		range_fini(&a->h[i].range);
	}
	for (size_t i = 0; i < a->c_count; i++)
		free(a->c[i].name);
	free(a->h);
	free(a->by_name);
	free(a->c);
	json_decref(a->spec);
	free(a);
}

/* ---- channels ---- */

static const struct channel *find_channel(const struct algorithm *a, struct str name)
{
	for (size_t i = 0; i < a->c_count; i++)
		if (str_is(name, a->c[i].name))
			return &a->c[i];
	return NULL;
}

static void unknown_channel(const struct algorithm *a, const char *name, struct str channel, struct faults *f)
{
	_cleanup_free_ char *shown = fault_value(channel);
	_cleanup_buf_ struct buf names = { 0 };

	for (size_t i = 0; i < a->c_count; i++)
		buf_f(&names, "%s'%s'", i ? ", " : "", a->c[i].name);
	fault(f,
	      "InputDataConfig.%s.ChannelName: Unknown input channel: %s is not supported by: %s, whose channels are "
	      "%s",
	      shown, shown, name, names.p);
}

static void check_channel(const struct channel *c, const json_t *request, const json_t *j, struct faults *f)
{
	struct str type = json_view(j, "ContentType"), compression = json_view(j, "CompressionType"),
	           mode = json_view(j, "InputMode");
	_cleanup_free_ char *where = strf("InputDataConfig.%s", c->name);

	if (type.n && json_array_size(c->types) && !list_has_type(c->types, type)) {
		_cleanup_free_ char *at = strf("%s.ContentType", where);

		fault_invalid(f, at, type, "Supported content types:", c->types);
	}
	if (!mode.n)
		mode = json_view(json_object_get(request, "AlgorithmSpecification"), "TrainingInputMode");
	if (json_array_size(c->modes) && !list_has(c->modes, mode)) {
		_cleanup_free_ char *at = strf("%s.InputMode", where);

		fault_invalid(f, at, mode, "Supported input modes:", c->modes);
	}
	if (!compression.n)
		compression = STR("None");
	if (json_array_size(c->compressions) && !list_has(c->compressions, compression)) {
		_cleanup_free_ char *at = strf("%s.CompressionType", where);

		fault_invalid(f, at, compression, "Supported compression types:", c->compressions);
	}
}

static bool has_channel(const json_t *channels, const char *name)
{
	size_t i;
	const json_t *j;

	json_array_foreach (channels, i, j)
		if (str_is(json_view(j, "ChannelName"), name))
			return true;
	return false;
}

static void check_channels(const struct algorithm *a, const char *name, const json_t *request, struct faults *f)
{
	const json_t *channels = json_object_get(request, "InputDataConfig"), *j;
	size_t i;

	json_array_foreach (channels, i, j)
		if (!find_channel(a, json_view(j, "ChannelName")))
			unknown_channel(a, name, json_view(j, "ChannelName"), f);
	for (i = 0; i < a->c_count; i++)
		if (a->c[i].required && !has_channel(channels, a->c[i].name))
			fault(f, "InputDataConfig: Required input channel: %s Was not provided.", a->c[i].name);
	json_array_foreach (channels, i, j) {
		const struct channel *c = find_channel(a, json_view(j, "ChannelName"));

		if (c)
			check_channel(c, request, j, f);
	}
}

/* ---- hyperparameters ---- */

static bool is_known(const struct algorithm *a, const char *name, size_t bytes)
{
	const struct hyperparameter key = { .name = (char *)name, .name_bytes = bytes }, *k = &key;

	return bsearch(&k, a->by_name, a->h_count, sizeof(struct hyperparameter *), by_name) != NULL;
}

static void unknown_hyperparameter(const char *algorithm, const char *key, const json_t *value, struct faults *f)
{
	_cleanup_free_ char *name = fault_value(str_of(key)), *shown = fault_value(json_text(value));

	fault(f, "HyperParameters.%s: Invalid hyperparameter: %s is not supported by %s (its value is '%s')", name,
	      name, algorithm, shown);
}

static void check_hyperparameter(const struct hyperparameter *h, const json_t *given, struct faults *f)
{
	const json_t *v = json_object_get(given, h->name);
	_cleanup_free_ char *name = NULL, *shown = NULL;

	if (v ? range_has(&h->range, json_text(v)) : !h->required || h->fallback)
		return;
	name = fault_value(str_of(h->name));
	if (!v) {
		fault(f, "HyperParameters.%s: Required hyperparameter: %s is not set", name, name);
		return;
	}
	shown = fault_value(json_text(v));
	fault(f, "HyperParameters.%s: Invalid value: '%s' Supported range: %s", name, shown, h->range.text);
}

/* An algorithm that declares none takes any. */
static void check_hyperparameters(const struct algorithm *a, const char *name, const json_t *request, struct faults *f)
{
	json_t *given = json_object_get(request, "HyperParameters"), *v;
	const char *key;

	if (!a->h_count)
		return;
	json_object_foreach (given, key, v)
		if (!is_known(a, key, strlen(key)))
			unknown_hyperparameter(name, key, v, f);
	for (size_t i = 0; i < a->h_count; i++)
		check_hyperparameter(&a->h[i], given, f);
}

/* ---- machines, metrics ---- */

static void check_type(const struct algorithm *a, struct str type, const char *where, struct faults *f)
{
	if (type.n && !list_has(a->instance_types, type))
		fault_invalid(f, where, type, "Supported instance types:", a->instance_types);
}

static void check_resources(const struct algorithm *a, const char *name, const json_t *request, struct faults *f)
{
	const json_t *r = json_object_get(request, "ResourceConfig"), *groups = json_object_get(r, "InstanceGroups"),
	             *g;
	json_int_t hosts = json_integer_value(json_object_get(r, "InstanceCount"));
	size_t i;

	check_type(a, json_view(r, "InstanceType"), "ResourceConfig.InstanceType", f);
	json_array_foreach (groups, i, g) {
		_cleanup_free_ char *where = strf("ResourceConfig.InstanceGroups.%zu.InstanceType", i + 1);

		check_type(a, json_view(g, "InstanceType"), where, f);
		hosts += json_integer_value(json_object_get(g, "InstanceCount"));
	}
	if (hosts > 1 && !a->distributed)
		fault(f,
		      "ResourceConfig.InstanceCount: Invalid value: '%lld' %s does not support distributed training "
		      "(SupportsDistributedTraining); use 1",
		      (long long)hosts, name);
}

/* What Describe shows can be sent again. */
static void check_metrics(const struct algorithm *a, const char *name, const json_t *request, struct faults *f)
{
	const json_t *given = json_object_get(json_object_get(request, "AlgorithmSpecification"), "MetricDefinitions");

	if (json_array_size(given) && !json_equal(given, a->metrics))
		fault(f,
		      "AlgorithmSpecification.MetricDefinitions: '%s'%s cannot be given with AlgorithmName: a job by "
		      "%s "
		      "has that algorithm's metrics; leave MetricDefinitions out",
		      json_string_value(json_object_get(json_array_get(given, 0), "Name")),
		      json_array_size(given) > 1 ? ", ..." : "", name);
}

void algorithm_check_job(const struct algorithm *a, const char *name, const json_t *request, struct faults *f)
{
	check_channels(a, name, request, f);
	check_hyperparameters(a, name, request, f);
	check_resources(a, name, request, f);
	check_metrics(a, name, request, f);
}

json_t *algorithm_additional(const struct algorithm *a)
{
	return json_object_get(a->spec, "AdditionalS3DataSource");
}

void algorithm_fill_job(const struct algorithm *a, json_t *request)
{
	json_t *given = json_object_get(request, "HyperParameters");
	json_t *metrics = json_array_size(a->metrics) ? json_deep_copy(a->metrics) : NULL;

	for (size_t i = 0; i < a->h_count; i++) {
		const struct hyperparameter *h = &a->h[i];

		if (!h->fallback || json_object_get(given, h->name))
			continue;
		if (!given)
			json_object_set_new(request, "HyperParameters", given = json_object());
		json_object_set_new(given, h->name, json_deep_copy(h->fallback));
	}
	if (metrics)
		json_object_set_new(json_object_get(request, "AlgorithmSpecification"), "MetricDefinitions", metrics);
}
