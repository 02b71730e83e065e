/* CreateAlgorithm's own rules (contract 8.1). SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "algorithm/algorithm.h"
#include "algorithm/lists.h"
#include "algorithm/range.h"

/* Whether an earlier item of the list has the same member. */
static bool is_again(const json_t *list, size_t at, const char *member)
{
	struct str s = json_view(json_array_get(list, at), member);

	for (size_t i = 0; i < at; i++)
		if (str_eq(s, json_view(json_array_get(list, i), member)))
			return true;
	return false;
}

/* ---- hyperparameters ---- */

static void check_default(const json_t *h, const struct range *r, const char *where, struct faults *f)
{
	struct str value = json_view(h, "DefaultValue");
	_cleanup_free_ char *shown = fault_value(value);

	if (!json_object_get(h, "DefaultValue"))
		return;
	if (r->text && !range_has(r, value))
		fault(f, "%s.DefaultValue: Invalid value: '%s' Supported range: %s", where, shown, r->text);
}

static void check_hyperparameter(const json_t *list, size_t i, struct faults *f)
{
	const json_t *h = json_array_get(list, i);
	_cleanup_free_ char *name = fault_value(json_view(h, "Name"));
	_cleanup_free_ char *where = strf("TrainingSpecification.SupportedHyperParameters.%s", name);
	_cleanup_free_ char *wrong = NULL;
	struct range r = { 0 };

	if (is_again(list, i, "Name"))
		fault(f, "TrainingSpecification.SupportedHyperParameters: duplicate Name '%s'; names must be unique",
		      name);
	wrong = range_parse(h, &r);
	if (wrong)
		fault(f, "%s.%s", where, wrong);
	check_default(h, &r, where, f);
	if (json_is_true(json_object_get(h, "IsTunable")) && str_is(json_view(h, "Type"), "FreeText"))
		fault(f, "%s.IsTunable: true is not possible for Type FreeText, which has no range to search in",
		      where);
	range_fini(&r);
}

/* ---- the other lists ---- */

static void check_channel(const json_t *list, size_t i, struct faults *f)
{
	struct str name = json_view(json_array_get(list, i), "Name");

	if (str_is(name, ".") || str_is(name, ".."))
		fault(f,
		      "TrainingSpecification.TrainingChannels: Name '" PRIstr
		      "' cannot be a channel's; it becomes a directory below /opt/ml/input/data",
		      ARGstr(name));
	if (is_again(list, i, "Name"))
		fault(f, "TrainingSpecification.TrainingChannels: duplicate Name '" PRIstr "'; names must be unique",
		      ARGstr(name));
}

static void check_metrics(const json_t *t, struct faults *f)
{
	const json_t *metrics = json_object_get(t, "MetricDefinitions"), *o;
	const json_t *objectives = json_object_get(t, "SupportedTuningJobObjectiveMetrics");
	size_t i;

	for (i = 0; i < json_array_size(metrics); i++) {
		_cleanup_free_ char *name = fault_value(json_view(json_array_get(metrics, i), "Name"));

		if (is_again(metrics, i, "Name"))
			fault(f, "TrainingSpecification.MetricDefinitions: duplicate Name '%s'; names must be unique",
			      name);
	}
	json_array_foreach (objectives, i, o) {
		_cleanup_free_ char *name = fault_value(json_view(o, "MetricName"));
		bool known = false;

		for (size_t k = 0; k < json_array_size(metrics); k++)
			known |= str_eq(json_view(o, "MetricName"), json_view(json_array_get(metrics, k), "Name"));
		if (!known)
			fault(f,
			      "TrainingSpecification.SupportedTuningJobObjectiveMetrics: MetricName '%s' is not among "
			      "MetricDefinitions; a tuning job could never see it",
			      name);
		if (is_again(objectives, i, "MetricName"))
			fault(f,
			      "TrainingSpecification.SupportedTuningJobObjectiveMetrics: MetricName '%s' is given "
			      "twice",
			      name);
	}
}

static void check_inference(const json_t *inference, struct faults *f)
{
	const json_t *containers = json_object_get(inference, "Containers"), *c;
	size_t i;

	json_array_foreach (containers, i, c) {
		if (!json_view(c, "Image").n)
			fault(f,
			      "InferenceSpecification.Containers.%zu.Image: it is missing; name the image that serves",
			      i + 1);
		if (json_view(c, "ContainerHostname").n && is_again(containers, i, "ContainerHostname"))
			fault(f,
			      "InferenceSpecification.Containers.%zu.ContainerHostname: '" PRIstr
			      "' is given twice; names of hosts must be unique",
			      i + 1, ARGstr(json_view(c, "ContainerHostname")));
	}
}

/* contract 8.1 */
static void check_additional(const json_t *source, struct faults *f)
{
	static const char at[] = "TrainingSpecification.AdditionalS3DataSource";
	struct str uri = json_view(source, "S3Uri"), rest = uri;
	bool object = str_is(json_view(source, "S3DataType"), "S3Object");
	_cleanup_free_ char *shown = fault_value(uri);

	if (!source)
		return;
	if (!str_skip(&rest, STR("s3://")) || !str_cut(&rest, '/').n ||
	    (object && (!rest.n || str_ends(rest, STR("/")))))
		fault(f, "%s.S3Uri: Invalid value: '%s' it is to have the form s3://bucket/%s", at, shown,
		      object ? "key" : "prefix");
	if (str_is(json_view(source, "CompressionType"), "Gzip") && (!object || !str_ends(rest, STR(".tar.gz"))))
		fault(f,
		      "%s.CompressionType: 'Gzip' needs S3DataType S3Object and a key that ends in .tar.gz, and "
		      "'%s' is given; use None, or name one archive",
		      at, shown);
	if (json_view(source, "ETag").n && !object)
		fault(f, "%s.ETag: it is given, and S3DataType is not S3Object; only one object has an ETag", at);
}

/* What the transform of a validation asks for is to be what the algorithm says of itself. */
static void check_transform(const json_t *inference, const json_t *transform, struct faults *f)
{
	static const char at[] = "ValidationSpecification.ValidationProfiles.1.TransformJobDefinition";
	const struct {
		struct str value;
		const char *member, *rule;
		const json_t *list;
		bool type; /* of media */
	} asked[] = {
		{ json_view(json_object_get(transform, "TransformInput"), "ContentType"), "TransformInput.ContentType",
		  "Supported content types:", json_object_get(inference, "SupportedContentTypes"), true },
		{ json_view(json_object_get(transform, "TransformOutput"), "Accept"), "TransformOutput.Accept",
		  "Supported response types:", json_object_get(inference, "SupportedResponseMIMETypes"), true },
		{ json_view(json_object_get(transform, "TransformResources"), "InstanceType"),
		  "TransformResources.InstanceType",
		  "Supported instance types:", json_object_get(inference, "SupportedTransformInstanceTypes"), false },
	};

	if (transform && !inference)
		fault(f,
		      "%s: there is no InferenceSpecification, so there is nothing that could serve; leave one of "
		      "them out, or give both",
		      at);
	for (size_t i = 0; transform && inference && i < ARRAY_LEN(asked); i++) {
		_cleanup_free_ char *where = strf("%s.%s", at, asked[i].member);

		if (asked[i].value.n && json_array_size(asked[i].list) &&
		    !(asked[i].type ? list_has_type : list_has)(asked[i].list, asked[i].value))
			fault_invalid(f, where, asked[i].value, asked[i].rule, asked[i].list);
	}
}

static void check_validation(const json_t *request, struct faults *f)
{
	const json_t *v = json_object_get(request, "ValidationSpecification");
	const json_t *profile = json_array_get(json_object_get(v, "ValidationProfiles"), 0);

	check_transform(json_object_get(request, "InferenceSpecification"),
	                json_object_get(profile, "TransformJobDefinition"), f);
}

void algorithm_check_spec(const json_t *request, struct faults *f)
{
	const json_t *t = json_object_get(request, "TrainingSpecification"), *list;

	list = json_object_get(t, "TrainingChannels");
	for (size_t i = 0; i < json_array_size(list); i++)
		check_channel(list, i, f);
	list = json_object_get(t, "SupportedHyperParameters");
	for (size_t i = 0; i < json_array_size(list); i++)
		check_hyperparameter(list, i, f);
	if (!json_array_size(json_object_get(t, "SupportedTrainingInstanceTypes")))
		fault(f, "TrainingSpecification.SupportedTrainingInstanceTypes: '[]' names no instance type; name "
		         "those that "
		         "the algorithm can be trained on");
	check_metrics(t, f);
	check_inference(json_object_get(request, "InferenceSpecification"), f);
	check_additional(json_object_get(t, "AdditionalS3DataSource"), f);
	check_validation(request, f);
	if (json_is_true(json_object_get(request, "CertifyForMarketplace")) &&
	    !json_object_get(request, "ValidationSpecification"))
		fault(f,
		      "CertifyForMarketplace: true needs a ValidationSpecification to certify by"); /* contract 8.3 */
}
