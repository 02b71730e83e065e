/* The thread that validates algorithms. SPDX-License-Identifier: Apache-2.0 */
#include "op/validation.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "algorithm/algorithm.h"
#include "base/log.h"
#include "job/jobs.h"
#include "op/training_job.h"
#include "store/store.h"

enum { RETRY_MS = 5000, NAMES_TRIED = 1000 };

struct validator {
	const struct api *api;
	pthread_t thread;
	int wake_fd;
	atomic_bool stopping;
};

/* One that is worked at. */
struct work {
	const struct api *api;
	int64_t n;
	char *algorithm, *step, *name;
	struct stored_algorithm row;
	json_t *request;
	struct validating v;
};

/* What a step came to: it is taken, it waits for news, or it may come to something when it is tried again. */
enum outcome { TAKEN, WAITS, TRY_AGAIN };

static void work_fini(struct work *w)
{
	free(w->algorithm);
	free(w->step);
	free(w->name);
	stored_algorithm_fini(&w->row);
	json_decref(w->request);
	algorithm_unref(w->v.rules);
}

/* ---- calls ---- */

static json_t *answer(json_t *result, const struct buf *raw)
{
	return result ? result : raw->n ? json_loadb(raw->p, raw->n, JSON_ALLOW_NUL, NULL) : json_object();
}

int validation_call(const struct api *api, const struct validating *v, const char *operation, json_t *in, json_t **ret,
                    struct buf *words, struct err *e)
{
	_cleanup_buf_ struct buf raw = { 0 }, said = { 0 };
	const struct service *service = model_service("sagemaker");
	const struct api_call call = {
		.api = api,
		.service = service,
		.op = model_operation(service, str_of(operation)),
		.caller = api->keys,
		.validating = v,
		.now = wall_now(),
		.request_id = "validation",
		.raw = &raw,
		.words = words ? words : &said,
	};
	const struct api_op *row = NULL;
	json_t *result = NULL;
	int rc = 0;

	for (size_t i = 0; i < api_op_count; i++)
		if (!strcmp(api_ops[i].name, operation) && !strcmp(api_ops[i].service, "sagemaker"))
			row = &api_ops[i];
	if (!row)
		rc = err_set(e, ERR_NO_HANDLER, "The operation %s is not implemented by this server.", operation);
	if (rc == 0 && (model_check_text(call.op, in, call.words, e) < 0 || model_refuse(call.op, in, e) < 0 ||
	                row->run(&call, in, &result, e) < 0))
		rc = -1;
	json_decref(in);
	if (rc < 0) {
		json_decref(result);
		return -1;
	}
	*ret = answer(result, &raw);
	return *ret ? 0 : err_set(e, ERR_BUG, "%s has answered with what is no JSON", operation);
}

/* ---- steps ---- */

static enum outcome move(const struct work *w, const char *to, const char *name, const char *status,
                         const char *details)
{
	const struct store_validation_move m = { .algorithm = w->n,
		                                 .from = w->step,
		                                 .to = to,
		                                 .name = name,
		                                 .status = status,
		                                 .details = details,
		                                 .at = wall_now() };
	struct err e = { 0 };

	if (jobs_validation_move(w->api->jobs, &m, &e) == 0)
		return TAKEN;
	log_err(LOG_WARN, &e, "validating algorithm %s", w->algorithm);
	return TRY_AGAIN;
}

static enum outcome end_with(const struct work *w, const char *failure, json_t *scans)
{
	_cleanup_free_ char *reason = failure ? jobs_reason_cut(failure) : NULL;
	_cleanup_free_ char *details = validation_details(w->request, failure ? "Failed" : "Completed", reason, scans);
	enum outcome o = move(w, VALIDATION_ENDED, NULL, failure ? "Failed" : "Completed", details);

	if (o == TAKEN)
		log_info("algorithm %s is validated: %s", w->algorithm, failure ? failure : "Completed");
	return o;
}

static enum outcome end(const struct work *w, const char *failure)
{
	json_t *before = json_loads(w->row.details, JSON_ALLOW_NUL, NULL);
	enum outcome o = end_with(w, failure, json_object_get(before, "ImageScanStatuses"));

	json_decref(before);
	return o;
}

/* Of all that it is to make; what cannot be asked now may be there. */
static bool is_taken(const struct work *w, const char *name)
{
	static const enum job_kind kinds[] = { KIND_TRAINING, KIND_TRANSFORM };
	struct stored_model model = { 0 };
	struct store_brief job;
	struct err e = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (store_job_brief_any_case(w->api->store, kinds[i], str_of(name), &job, &e) == 0) {
			store_brief_fini(&job);
			return true;
		}
		if (e.kind != ERR_NOT_FOUND)
			return true;
		e = (struct err){ 0 };
	}
	if (store_model_find(w->api->store, str_of(name), &model, &e) < 0)
		return e.kind != ERR_NOT_FOUND;
	stored_model_fini(&model);
	return true;
}

static enum outcome begin(const struct work *w)
{
	_cleanup_free_ char *details = validation_details(w->request, "InProgress", NULL, NULL), *name = NULL;
	int64_t epoch = wall_now().ms / 1000;

	for (int i = 0; i < NAMES_TRIED; i++) {
		free(name);
		name = validation_name(w->request, epoch + i);
		if (!is_taken(w, name))
			break;
	}
	return move(w, json_is_true(json_object_get(w->request, "CertifyForMarketplace")) ? "scan" : "train", name,
	            "InProgress", details);
}

static bool same_scans(const struct work *w, const json_t *scans)
{
	json_t *before = json_loads(w->row.details, JSON_ALLOW_NUL, NULL);
	bool same = json_equal(json_object_get(before, "ImageScanStatuses"), scans);

	json_decref(before);
	return same;
}

/* Before anything of the images runs. */
static enum outcome scan(const struct work *w)
{
	_cleanup_free_ char *failure = NULL, *details = NULL;
	json_t *scans;
	enum scans_outcome said = jobs_scans(w->api->jobs, w->request, w->row.image, &scans, &failure);
	enum outcome o = WAITS;

	if (said == SCANS_FAILED) {
		o = end_with(w, failure, scans);
	} else if (said == SCANS_PASSED) {
		details = validation_details(w->request, "InProgress", NULL, scans);
		o = move(w, "train", NULL, NULL, details);
	} else if (!same_scans(w, scans)) {
		details = validation_details(w->request, "InProgress", NULL, scans);
		o = move(w, w->step, NULL, NULL, details);
	}
	json_decref(scans);
	return o;
}

/* A resource of the validation: its kind of name, and what its operations are called. */
struct kind {
	const char *create, *describe, *member, *status, *what;
};
static const struct kind training_job = { "CreateTrainingJob", "DescribeTrainingJob", "TrainingJobName",
	                                  "TrainingJobStatus", "training job" };
static const struct kind model = { "CreateModel", "DescribeModel", "ModelName", NULL, "model" };
static const struct kind transform_job = { "CreateTransformJob", "DescribeTransformJob", "TransformJobName",
	                                   "TransformJobStatus", "transform job" };

/* As Describe has it; a new reference. NULL: there is none (why: ERR_INVALID or ERR_NOT_FOUND), or that cannot be told.
 */
static json_t *describe(const struct work *w, const struct kind *k, struct err *why)
{
	json_t *answer = NULL;

	if (validation_call(w->api, NULL, k->describe, json_pack("{s:s}", k->member, w->name), &answer, NULL, why) < 0)
		return NULL;
	return answer;
}

/* Whether all that was asked for is in what is there. */
static bool is_of(const json_t *asked, const json_t *there)
{
	const json_t *v;
	const char *key;
	size_t i;

	if (json_is_object(asked)) {
		json_object_foreach ((json_t *)asked, key, v)
			if (!is_of(v, json_object_get(there, key)))
				return false;
		return json_is_object(there);
	}
	if (!json_is_array(asked))
		return json_equal(asked, there);
	json_array_foreach (asked, i, v)
		if (!is_of(v, json_array_get(there, i)))
			return false;
	return json_array_size(asked) == json_array_size(there);
}

static bool is_missing(const struct err *e)
{
	return e->kind == ERR_INVALID || e->kind == ERR_NOT_FOUND;
}

/* Made, unless it was before bloomeryd was killed. in: taken over. */
static enum outcome create(const struct work *w, const struct kind *k, json_t *in, const char *next)
{
	_cleanup_buf_ struct buf words = { 0 };
	_cleanup_free_ char *failure = NULL;
	char text[ERR_FRAMES * ERR_FRAME_BYTES];
	struct err e = { 0 };
	json_t *answer = describe(w, k, &e);

	bool ours = answer && is_of(in, answer);

	if (answer) {
		json_decref(answer);
		json_decref(in);
		failure = strf("%s %s is there already, and is another one", k->what, w->name);
		return ours ? move(w, next, NULL, NULL, NULL) : end(w, failure);
	}
	if (!is_missing(&e)) {
		log_err(LOG_WARN, &e, "validating algorithm %s", w->algorithm);
		json_decref(in);
		return TRY_AGAIN;
	}
	e = (struct err){ 0 };
	if (validation_call(w->api, &w->v, k->create, in, &answer, &words, &e) == 0) {
		json_decref(answer);
		return move(w, next, NULL, NULL, NULL);
	}
	if (e.kind == ERR_IO || e.kind == ERR_BUSY) {
		log_err(LOG_WARN, &e, "validating algorithm %s: %s", w->algorithm, k->create);
		return TRY_AGAIN;
	}
	failure = strf("%s %s could not be made: %s", k->what, w->name,
	               words.n ? words.p : err_text(&e, text, sizeof(text)));
	return end(w, failure);
}

/* Waits for a job. Completed: *ret is what Describe says, a new reference, and the caller goes on. */
static enum outcome await(const struct work *w, const struct kind *k, json_t **ret)
{
	_cleanup_free_ char *failure = NULL;
	struct err e = { 0 };
	json_t *d = describe(w, k, &e);
	struct str status = in_str(d, k->status), reason = in_str(d, "FailureReason");
	enum outcome o;

	if (!d && !is_missing(&e)) {
		log_err(LOG_WARN, &e, "validating algorithm %s", w->algorithm);
		return TRY_AGAIN;
	}
	if (str_is(status, "Completed")) {
		*ret = d;
		return TAKEN;
	}
	if (str_is(status, "Failed"))
		failure = strf("%s %s has failed: " PRIstr, k->what, w->name, ARGstr(reason));
	else if (str_is(in_str(d, "SecondaryStatus"), "MaxRuntimeExceeded"))
		failure = strf("%s %s was stopped after its MaxRuntimeInSeconds", k->what, w->name);
	else if (str_is(status, "Stopped"))
		failure = strf("%s %s was stopped", k->what, w->name);
	else if (!d)
		failure = strf("%s %s was deleted before its end was seen", k->what, w->name);
	o = failure ? end(w, failure) : WAITS;
	json_decref(d);
	return o;
}

static enum outcome training(const struct work *w)
{
	json_t *d = NULL;
	enum outcome o = await(w, &training_job, &d);

	if (!d)
		return o;
	json_decref(d);
	if (!json_object_get(w->request, "InferenceSpecification"))
		return end(w, NULL);
	return move(w, "model", NULL, NULL, NULL);
}

static bool has_transform(const struct work *w)
{
	const json_t *v = json_object_get(w->request, "ValidationSpecification");

	return json_object_get(json_array_get(json_object_get(v, "ValidationProfiles"), 0), "TransformJobDefinition") !=
	       NULL;
}

static enum outcome make_model(const struct work *w)
{
	json_t *d = NULL;
	enum outcome o = await(w, &training_job, &d);

	if (!d) /* its row went, and with it where the artifacts are */
		return o;
	o = create(
	        w, &model,
	        validation_model(w->request, w->name, in_str(json_object_get(d, "ModelArtifacts"), "S3ModelArtifacts")),
	        "made");
	json_decref(d);
	return o;
}

/* The artifacts are another job's to the transform job, and its creator may have no right to those but by that job,
 * which it has created as well. */
static enum outcome make_transform_job(struct work *w)
{
	struct store_brief job;
	struct err e = { 0 };

	if (w->v.creator) {
		if (store_job_brief_named(w->api->store, KIND_TRAINING, str_of(w->name), &job, &e) < 0) {
			log_err(LOG_WARN, &e, "validating algorithm %s", w->algorithm);
			return e.kind == ERR_NOT_FOUND ? end(w, "its training job was deleted") : TRY_AGAIN;
		}
		json_object_set_new(w->v.creator, "JobId", json_string(job.id));
		store_brief_fini(&job);
	}
	return create(w, &transform_job, validation_transform_job(w->request, w->name), "transforming");
}

static enum outcome transforming(const struct work *w)
{
	json_t *d = NULL;
	enum outcome o = await(w, &transform_job, &d);

	if (!d)
		return o;
	json_decref(d);
	return end(w, NULL);
}

static enum outcome take(struct work *w)
{
	struct str step = str_of(w->step);

	if (str_is(step, VALIDATION_BEGIN))
		return begin(w);
	if (str_is(step, "scan"))
		return scan(w);
	if (str_is(step, "train"))
		return create(w, &training_job, validation_training_job(w->request, w->row.arn, w->name), "training");
	if (str_is(step, "training"))
		return training(w);
	if (str_is(step, "model"))
		return make_model(w);
	if (str_is(step, "made"))
		return has_transform(w) ? move(w, "transform", NULL, NULL, NULL) : end(w, NULL);
	if (str_is(step, "transform"))
		return make_transform_job(w);
	if (str_is(step, "transforming"))
		return transforming(w);
	log_warn("the validation of algorithm %s is in a step that is not known here: %s", w->algorithm, w->step);
	return WAITS;
}

/* ---- rounds ---- */

struct list {
	struct work *v;
	size_t n;
};

static void note(const struct stored_validation *v, void *arg)
{
	struct list *l = arg;

	l->v = xrealloc(l->v, (l->n + 1) * sizeof(*l->v));
	l->v[l->n++] = (struct work){ .n = v->algorithm,
		                      .algorithm = str_dup(v->algorithm_name),
		                      .step = str_dup(v->step),
		                      .name = v->name.n ? str_dup(v->name) : NULL };
}

static int load(struct work *w, struct err *e)
{
	_cleanup_free_ char *text = NULL;

	if (store_algorithm_find(w->api->store, str_of(w->algorithm), &w->row, &text, e) < 0)
		return -1;
	w->request = json_loads(text, JSON_ALLOW_NUL, NULL);
	if (!w->request)
		return err_set(e, ERR_BUG, "the request kept for algorithm %s is damaged", w->algorithm);
	w->v = (struct validating){ .algorithm = w->row.name,
		                    .algorithm_arn = w->row.arn,
		                    .image = w->row.image,
		                    .rules = algorithm_new(json_object_get(w->request, "TrainingSpecification")),
		                    .creator = json_object_get(w->request, JOBS_CREATOR) };
	return 0;
}

/* One step of each; whether all of them only wait, and none has to be tried again. */
static enum outcome round_of(struct validator *v)
{
	struct list l = { 0 };
	struct err e = { 0 };
	enum outcome o = WAITS;

	if (store_validation_each(v->api->store, note, &l, &e) < 0) {
		log_err(LOG_WARN, &e, "looking for algorithms to validate");
		o = TRY_AGAIN;
	}
	for (size_t i = 0; i < l.n; i++) {
		struct work *w = &l.v[i];
		enum outcome one = TRY_AGAIN;

		w->api = v->api;
		e = (struct err){ 0 };
		if (!atomic_load(&v->stopping)) {
			if (load(w, &e) < 0)
				log_err(LOG_WARN, &e, "validating algorithm %s", w->algorithm);
			else
				one = take(w);
		}
		if (one == TAKEN || (one == TRY_AGAIN && o == WAITS))
			o = one;
		work_fini(w);
	}
	free(l.v);
	return o;
}

static void *validate(void *arg)
{
	struct validator *v = arg;
	struct pollfd wake = { v->wake_fd, POLLIN, 0 };
	enum outcome o = TAKEN;

	while (!atomic_load(&v->stopping)) {
		eventfd_t news;

		if (o != TAKEN && poll(&wake, 1, o == TRY_AGAIN ? RETRY_MS : -1) < 0 && errno != EINTR)
			break;
		if (wake.revents)
			(void)eventfd_read(v->wake_fd, &news);
		wake.revents = 0;
		o = round_of(v);
	}
	return NULL;
}

static void on_news(void *arg)
{
	struct validator *v = arg;

	(void)eventfd_write(v->wake_fd, 1);
}

struct validator *validator_start(const struct api *api)
{
	struct validator *v = xcalloc(1, sizeof(*v));

	v->api = api;
	v->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	must(v->wake_fd >= 0);
	jobs_on_news(api->jobs, on_news, v);
	must(pthread_create(&v->thread, NULL, validate, v) == 0);
	return v;
}

void validator_stop(struct validator *v)
{
	if (!v)
		return;
	jobs_on_news(v->api->jobs, NULL, NULL);
	atomic_store(&v->stopping, true);
	must(eventfd_write(v->wake_fd, 1) == 0);
	pthread_join(v->thread, NULL);
	close(v->wake_fd);
	free(v);
}
