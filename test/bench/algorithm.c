/* Checking a training job against an algorithm with 100 hyperparameters of all types, as CreateTrainingJob does: prints
 * the seconds of one check with its defaults filled in, of the same job breaking every rule, and of parsing the
 * algorithm, which happens once.  SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "algorithm/algorithm.h"
#include "base/clock.h"

enum { HYPERPARAMETERS = 100, ROUNDS = 20, CHECKS = 500 };

static json_t *range(const char *kind, json_t *spec)
{
	_cleanup_free_ char *name = strf("%sParameterRangeSpecification", kind);

	return json_pack("{s:o}", name, spec);
}

static json_t *hyperparameter(size_t i)
{
	static const char *const types[] = { "Integer", "Continuous", "Categorical", "FreeText" };
	_cleanup_free_ char *name = strf("hyperparameter_number_%zu", i);
	json_t *h = json_pack("{s:s, s:s, s:s}", "Name", name, "Type", types[i % 4], "Description", "one of many");

	if (i % 4 == 2) {
		json_t *values = json_array();

		for (int k = 0; k < 30; k++) {
			_cleanup_free_ char *value = strf("value-%d", k);

			json_array_append_new(values, json_string(value));
		}
		json_object_set_new(h, "Range", range(types[2], json_pack("{s:o}", "Values", values)));
	} else if (i % 4 < 2) {
		json_object_set_new(
		        h, "Range",
		        range(types[i % 4], json_pack("{s:s, s:s}", "MinValue", "-1000000", "MaxValue", "1000000")));
	}
	if (i % 5 == 0)
		json_object_set_new(h, "DefaultValue", json_string(i % 4 == 2 ? "value-29" : "7"));
	return h;
}

static json_t *specification(void)
{
	json_t *list = json_array();

	for (size_t i = 0; i < HYPERPARAMETERS; i++)
		json_array_append_new(list, hyperparameter(i));
	return json_pack("{s:o, s:[s], s:[{s:s, s:b, s:[s], s:[s]}], s:[{s:s, s:s}]}", "SupportedHyperParameters", list,
	                 "SupportedTrainingInstanceTypes", "ml.m5.large", "TrainingChannels", "Name", "train",
	                 "IsRequired", 1, "SupportedContentTypes", "text/csv", "SupportedInputModes", "File",
	                 "MetricDefinitions", "Name", "loss", "Regex", "loss=(.*)");
}

/* All that have no default, with good values or with bad ones. */
static json_t *job(bool good)
{
	json_t *given = json_object();

	for (size_t i = 0; i < HYPERPARAMETERS; i++) {
		_cleanup_free_ char *name = strf("hyperparameter_number_%zu%s", i, good || i % 4 != 3 ? "" : "x");

		if (!good || i % 5)
			json_object_set_new(given, name,
			                    json_string(!good        ? "1000001"
			                                : i % 4 == 2 ? "value-28"
			                                : i % 4 == 1 ? "-0.123456789e3"
			                                             : "-999999"));
	}
	return json_pack("{s:{s:s}, s:o, s:[{s:s, s:s}], s:{s:s, s:i}}", "AlgorithmSpecification", "TrainingInputMode",
	                 "File", "HyperParameters", given, "InputDataConfig", "ChannelName", good ? "train" : "x",
	                 "ContentType", "text/csv", "ResourceConfig", "InstanceType",
	                 good ? "ml.m5.large" : "ml.c5.large", "InstanceCount", good ? 1 : 2);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The median of the rounds. Each check has a request of its own, made before. */
static double check(struct algorithm *a, bool good)
{
	double took[ROUNDS];

	for (size_t r = 0; r < ROUNDS; r++) {
		json_t *in[CHECKS];
		double begin;

		for (size_t i = 0; i < CHECKS; i++)
			in[i] = job(good);
		begin = seconds();
		for (size_t i = 0; i < CHECKS; i++) {
			struct faults f = { 0 };
			_cleanup_buf_ struct buf text = { 0 };

			algorithm_check_job(a, "algorithm", in[i], &f);
			must((faults_end(&f, &text, NULL) == 0) == good && f.count == (good ? 0 : 104));
			if (good)
				algorithm_fill_job(a, in[i]);
			faults_fini(&f);
		}
		took[r] = (seconds() - begin) / CHECKS;
		must(!good || json_object_size(json_object_get(in[0], "HyperParameters")) == HYPERPARAMETERS);
		for (size_t i = 0; i < CHECKS; i++)
			json_decref(in[i]);
	}
	qsort(took, ROUNDS, sizeof(took[0]), by_size);
	return took[ROUNDS / 2];
}

int main(void)
{
	json_t *spec = specification();
	struct algorithm *a = algorithm_new(spec);
	double begin = seconds(), parsing;

	for (int i = 0; i < CHECKS; i++)
		algorithm_unref(algorithm_new(spec));
	parsing = (seconds() - begin) / CHECKS;
	printf("%.9f %.9f %.9f\n", check(a, true), check(a, false), parsing);
	algorithm_unref(a);
	json_decref(spec);
	return 0;
}
