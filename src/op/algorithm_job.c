/* CreateTrainingJob by AlgorithmName (contract 8.4). SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdlib.h>

#include "algorithm/algorithm.h"
#include "job/jobs.h"
#include "op/algorithm.h"
#include "op/authorise.h"
#include "op/training_job.h"
#include "op/validation.h"
#include "store/store.h"

/* ---- parsed ones ---- */

struct algorithm_cache {
	pthread_mutex_t mu; /* hold to touch anything in here */
	struct {
		int64_t n; /* of the store; 0: empty */
		struct algorithm *a;
	} slot[ALGORITHMS_KEPT];
};

struct algorithm_cache *algorithm_cache_new(void)
{
	struct algorithm_cache *c = xcalloc(1, sizeof(*c));

	pthread_mutex_init(&c->mu, NULL);
	return c;
}

void algorithm_cache_free(struct algorithm_cache *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < ARRAY_LEN(c->slot); i++)
		algorithm_unref(c->slot[i].a);
	pthread_mutex_destroy(&c->mu);
	free(c);
}

static struct algorithm *cache_get(struct algorithm_cache *c, int64_t n)
{
	struct algorithm *a = NULL;
	size_t at = (size_t)n % ALGORITHMS_KEPT;

	if (!c)
		return NULL;
	pthread_mutex_lock(&c->mu);
	if (c->slot[at].n == n)
		a = algorithm_ref(c->slot[at].a);
	pthread_mutex_unlock(&c->mu);
	return a;
}

static void cache_put(struct algorithm_cache *c, int64_t n, struct algorithm *a)
{
	struct algorithm *old;
	size_t at = (size_t)n % ALGORITHMS_KEPT;

	if (!c)
		return;
	pthread_mutex_lock(&c->mu);
	old = c->slot[at].a;
	c->slot[at].n = n;
	c->slot[at].a = algorithm_ref(a);
	pthread_mutex_unlock(&c->mu);
	algorithm_unref(old);
}

static int parsed(const struct api *api, const struct stored_algorithm *row, struct algorithm **ret, struct err *e)
{
	_cleanup_free_ char *text = NULL;
	struct stored_algorithm again = { 0 };
	struct algorithm *a = cache_get(api->algorithms, row->n);
	bool same;
	json_t *j;

	if (!a) {
		if (store_algorithm_find(api->store, str_of(row->name), &again, &text, e) < 0)
			return -1;
		same = again.n == row->n; /* else it was deleted, and made anew, in this moment */
		stored_algorithm_fini(&again);
		j = same ? json_loads(text, JSON_ALLOW_NUL, NULL) : NULL;
		if (!j)
			return err_set(e, same ? ERR_BUG : ERR_CONFLICT, "the specification of algorithm %s %s",
			               row->name, same ? "is damaged" : "has just been replaced; ask again");
		a = algorithm_new(json_object_get(j, "TrainingSpecification"));
		json_decref(j);
		cache_put(api->algorithms, row->n, a);
	}
	*ret = a;
	return 0;
}

/* ---- checked ---- */

int algorithm_authorise(const struct api_call *call, struct str name_or_arn, struct err *e)
{
	_cleanup_free_ char *arn = algorithm_resource(call->api, name_or_arn);
	struct err why = { 0 };

	if (authorise_action(call->api, call->session, "sagemaker:DescribeAlgorithm", str_of(arn), &why) == 0)
		return 0;
	return err_set(e, ERR_INVALID, "Access denied when describing algorithm %s: %s", arn, why.frame[0]);
}

/* The reason that a failed one's first failed status gives; the caller frees. */
static char *failure_of(const char *details)
{
	json_t *j = json_loads(details, JSON_ALLOW_NUL, NULL), *s;
	char *text = NULL;
	size_t i;

	json_array_foreach (json_object_get(j, "ValidationStatuses"), i, s)
		if (!text && json_object_get(s, "FailureReason"))
			text = strf(": %s", json_string_value(json_object_get(s, "FailureReason")));
	json_decref(j);
	return text ? text : xstrdup("");
}

static int check(const struct api_call *call, const struct stored_algorithm *row, const struct algorithm *a,
                 const json_t *in, struct err *e)
{
	struct faults f = { .each = call->each };
	int rc;

	algorithm_check_job(a, row->name, in, &f);
	if (strcmp(row->status, "Completed") != 0) {
		_cleanup_free_ char *why = failure_of(row->details);

		fault(&f,
		      "AlgorithmSpecification.AlgorithmName: '%s' is in status %s; only a Completed algorithm can be "
		      "used%s",
		      row->name, row->status, why);
	}
	rc = faults_end(&f, call->words, e);
	faults_fini(&f);
	return rc;
}

static void fill(const struct algorithm *a, const char *arn, const char *image, json_t *in)
{
	algorithm_fill_job(a, in);
	json_object_set_new(json_object_get(in, "AlgorithmSpecification"), "AlgorithmName", json_string(arn));
	json_object_set_new(in, JOBS_IMAGE, json_string(image));
	if (algorithm_additional(a))
		json_object_set(in, JOBS_ADDITIONAL, algorithm_additional(a));
}

static int apply(const struct api_call *call, const struct stored_algorithm *row, json_t *in, struct err *e)
{
	_cleanup_(algorithm_unrefp) struct algorithm *a = NULL;

	if (parsed(call->api, row, &a, e) < 0 || check(call, row, a, in, e) < 0)
		return -1;
	fill(a, row->arn, row->image, in);
	/* A product may not tell anybody of the data that it sees. */
	if (algorithm_is_foreign(call->api, str_of(row->name), str_of(row->arn)))
		json_object_set_new(in, "EnableNetworkIsolation", json_true());
	return 0;
}

/* The job that is to show whether the algorithm is one: it need not be Completed, nor be there yet. */
static int apply_validating(const struct api_call *call, json_t *in, struct err *e)
{
	const struct validating *v = call->validating;
	struct faults f = { 0 };
	int rc;

	algorithm_check_job(v->rules, v->algorithm, in, &f);
	rc = faults_end(&f, call->words, e);
	faults_fini(&f);
	if (rc == 0)
		fill(v->rules, v->algorithm_arn, v->image, in);
	return rc;
}

int algorithm_apply(const struct api_call *call, json_t *in, struct err *e)
{
	struct str given = in_str(json_object_get(in, "AlgorithmSpecification"), "AlgorithmName");
	struct stored_algorithm row = { 0 };
	int rc;

	if (!given.n)
		return 0;
	if (call->validating)
		return apply_validating(call, in, e);
	if (algorithm_authorise(call, given, e) < 0 || algorithm_use(call->api, given, &row, NULL, e) < 0)
		return -1;
	rc = apply(call, &row, in, e);
	stored_algorithm_fini(&row);
	return rc;
}
