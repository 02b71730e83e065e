/* SPDX-License-Identifier: Apache-2.0 */
#include "op/preflight.h"

#include <stdlib.h>

#include "http/server.h"
#include "job/jobs.h"
#include "op/algorithm.h"
#include "op/api_body.h"
#include "op/authorise.h"
#include "op/preflight_inside.h"
#include "store/store.h"

enum { FINDINGS_MAX = 1000 };

void preflight_note(struct preflight *f, const char *level, const char *where, const char *todo, const char *fmt, ...)
{
	_cleanup_buf_ struct buf what = { 0 };
	va_list ap;
	json_t *j;

	if (json_array_size(f->findings) >= FINDINGS_MAX)
		return;
	va_start(ap, fmt);
	buf_vf(&what, fmt, ap);
	va_end(ap);
	j = json_pack("{ss ss ss ss*}", "Level", level, "Where", where, "What", what.p, "Do", todo);
	if (!j) /* cut within a character */
		j = json_pack("{ss ss ss ss*}", "Level", level, "Where", "", "What", "what is wrong is not UTF-8", "Do",
		              todo);
	must(j);
	json_array_append_new(f->findings, j);
}

/* ---- the checks of CreateTrainingJob ---- */

static void on_fault(void *arg, const char *where, bool here, const struct err *e)
{
	_cleanup_free_ char *text = xcalloc(1, ERR_FRAMES * ERR_FRAME_BYTES);
	const char *level = here ? PREFLIGHT_FAILS_HERE : PREFLIGHT_FAILS;
	struct preflight *f = arg;
	json_t *each = f->call->each, *v;
	size_t i;

	err_text(e, text, ERR_FRAMES * ERR_FRAME_BYTES);
	if (!json_array_size(each))
		preflight_note(f, level, where, NULL, "%s", text);
	json_array_foreach (each, i, v)
		preflight_note(f, level, where, NULL, "%s", json_string_value(v));
	json_array_clear(each);
}

static int check_model(struct preflight *f, struct err *e)
{
	json_t *each = json_array(), *v;
	size_t i;
	int rc = model_check_each(f->call->op, f->in, each, e);

	if (rc < 0 && !json_array_size(each))
		on_fault(f, "", false, e);
	json_array_foreach (each, i, v)
		preflight_note(f, PREFLIGHT_FAILS, json_string_value(json_object_get(v, "Where")), NULL, "%s",
		               json_string_value(json_object_get(v, "What")));
	json_decref(each);
	return rc;
}

static int check_refusals(struct preflight *f)
{
	struct err why = { 0 };
	size_t at = 0, faults = 0;

	while (model_refuse_next(f->call->op, f->in, &at, &why) < 0) {
		struct str rest = str_of(why.frame[0]), where = str_cut(&rest, ' ');
		_cleanup_free_ char *path = str_dup(where);

		on_fault(f, path, true, &why);
		why = (struct err){ 0 };
		faults++;
	}
	return faults ? -1 : 0;
}

/* Two jobs of a name; what the store would say to the second. */
static void check_name(struct preflight *f)
{
	struct store_brief job;
	struct err why = { 0 };

	if (store_job_brief_any_case(f->call->api->store, KIND_TRAINING, in_str(f->in, "TrainingJobName"), &job, &why) <
	    0)
		return;
	store_brief_fini(&job);
	preflight_note(f, PREFLIGHT_FAILS_HERE, "TrainingJobName", "choose another name",
	               "Job name must be unique within an AWS account and region, and a training job with this name "
	               "already exists");
}

/* ---- the image ---- */

static void take_report(struct preflight *f, json_t *report, const char *where)
{
	json_t *findings = json_object_get(report, "Findings"), *v;
	size_t i;

	json_array_foreach (findings, i, v) {
		if (!json_is_object(v) || json_array_size(f->findings) >= FINDINGS_MAX)
			continue;
		if (where && str_is(in_str(v, "Where"), "TrainingImage"))
			json_object_set_new(v, "Where", json_string(where));
		json_array_append(f->findings, v);
	}
	if (!f->image) {
		f->image = json_incref(json_object_get(report, "Image"));
		f->program = json_incref(json_object_get(report, "Program"));
	}
}

/* Whether it can be any image's, whether or not there is one. */
static bool is_image_name(struct str image)
{
	_cleanup_free_ char *pinned = NULL;

	return jobs_image_pinned(image, STR("sha256:0000000000000000000000000000000000000000000000000000000000000000"),
	                         &pinned, NULL) == 0;
}

/* order is stolen. */
static void look_into(struct preflight *f, json_t *order, const char *where)
{
	char text[ERR_FRAME_BYTES];
	struct err why = { 0 };
	json_t *report = NULL;
	struct str image = in_str(order, "image");

	must(order);
	if (!is_image_name(image))
		preflight_note(f, PREFLIGHT_FAILS, where, "correct it: [HOST/]NAME[:TAG] or NAME@sha256:DIGITS",
		               "'%.*s' is no name of an image", (int)(image.n < 200 ? image.n : 200), image.p);
	else if (jobs_look_into(f->call->api->jobs, order, &report, &why) < 0)
		preflight_note(f, PREFLIGHT_WARNING, where, NULL, "the image could not be looked into: %s",
		               err_text(&why, text, sizeof(text)));
	else
		take_report(f, report, where);
	json_decref(report);
	json_decref(order);
}

/* By an algorithm: the image that it was pinned to. */
static void look_into_job(struct preflight *f)
{
	const json_t *algorithm = json_object_get(f->in, "AlgorithmSpecification"), *image;
	const json_t *path = json_object_get(json_object_get(f->in, "Environment"), "PATH");
	json_t *order;

	image = json_object_get(f->in, JOBS_IMAGE);
	if (!image)
		image = json_object_get(algorithm, "TrainingImage");
	if (!json_is_string(image)) /* the algorithm is not there, which has been told */
		return;
	order = json_pack("{sO ss}", "image", image, "command", "train");
	must(order);
	if (json_array_size(json_object_get(algorithm, "ContainerEntrypoint")))
		json_object_set(order, "entrypoint", json_object_get(algorithm, "ContainerEntrypoint"));
	if (json_array_size(json_object_get(algorithm, "ContainerArguments")))
		json_object_set(order, "arguments", json_object_get(algorithm, "ContainerArguments"));
	if (json_is_string(path)) {
		_cleanup_free_ char *text = strf("PATH=%s", json_string_value(path));

		json_object_set_new(order, "env", json_pack("[s]", text));
	}
	look_into(f, order, "TrainingImage");
}

/* ---- a training job ---- */

static void say_machine(struct preflight *f, const struct capacity_needs *needs)
{
	_cleanup_free_ char *clipped = jobs_clipped(f->call->api->jobs, needs);

	if (clipped)
		preflight_note(f, PREFLIGHT_WARNING, "ResourceConfig", NULL, "%s", clipped);
	preflight_machine(f, str_of(needs->instance_type));
}

static int look_at_rest(struct preflight *f, bool sound, const struct capacity_needs *needs, struct err *e)
{
	check_name(f);
	look_into_job(f);
	preflight_request(f);
	if (needs->instance_type)
		say_machine(f, needs);
	if (!sound) { /* what channels there are is not certain */
		f->incomplete = true;
		return 0;
	}
	if (jobs_probe(f->call->api->jobs, f->in, training_job_hosts(f->in), f->uploads, &f->channels, e) < 0)
		return -1;
	preflight_channels(f);
	return 0;
}

static const struct api_op *row_of(const char *name)
{
	for (size_t i = 0; i < api_op_count; i++)
		if (strcmp(api_ops[i].service, "sagemaker") == 0 && strcmp(api_ops[i].name, name) == 0)
			return &api_ops[i];
	must(!"an operation of ours");
	return NULL;
}

/* The order of api.c: the model, rights, what is refused, the handler's. */
static int fly_job(struct preflight *f, struct err *e)
{
	_cleanup_(capacity_needs_fini) struct capacity_needs needs = { 0 };
	const struct job_check c = {
		.call = f->call, .in = f->in, .uploads = f->uploads, .buckets = f->buckets, .found = on_fault, .arg = f
	};
	struct err why = { 0 };
	bool refused;

	f->incomplete = true;
	if (check_model(f, &why) < 0)
		return 0;
	if (authorise(f->call, row_of("CreateTrainingJob"), f->in, e) < 0)
		return -1;
	refused = check_refusals(f) < 0;
	if (training_job_each_form(f->in, on_fault, f, &why) < 0 || refused) {
		preflight_request(f);
		return 0;
	}
	f->incomplete = false;
	return look_at_rest(f, training_job_check(&c, &needs, &why) == 0, &needs, e);
}

/* ---- an image ---- */

static void check_pinned(struct preflight *f, const struct stored_algorithm *row)
{
	struct str digest = in_str(f->image, "Digest"), pinned = str_of(row->image);

	if (!digest.n || str_find(pinned, STR("@sha256:")) < 0 || str_ends(pinned, digest))
		return;
	preflight_note(
	        f, PREFLIGHT_WARNING, "TrainingImage", "make the algorithm anew, under another name, for this image",
	        "algorithm %s was pinned to %.300s when it was created, and that is what its jobs run: this image is "
	        "another",
	        row->name, row->image);
}

static void check_types(struct preflight *f, const json_t *training)
{
	const json_t *types = json_object_get(training, "SupportedTrainingInstanceTypes"), *t;
	size_t i;

	json_array_foreach (types, i, t) {
		struct str type = str_of(json_string_value(t));

		if (!instance_type_find(type))
			preflight_note(f, PREFLIGHT_FAILS_HERE, "TrainingSpecification.SupportedTrainingInstanceTypes",
			               NULL, "the size of instance type " PRIstr " is not known here", ARGstr(type));
		else
			preflight_machine(f, type);
	}
	if (!json_array_size(types))
		preflight_machine(f, (struct str){ 0 });
}

static void check_serving(struct preflight *f, const json_t *request)
{
	const json_t *all = json_object_get(json_object_get(request, "InferenceSpecification"), "Containers"), *c;
	size_t i;

	json_array_foreach (all, i, c) {
		_cleanup_free_ char *where = strf("InferenceSpecification.Containers[%zu].Image", i);

		if (in_str(c, "Image").n)
			look_into(f, json_pack("{sO ss}", "image", json_object_get(c, "Image"), "command", "serve"),
			          where);
	}
}

static void check_algorithm(struct preflight *f, const struct stored_algorithm *row, const json_t *request)
{
	const json_t *training = json_object_get(request, "TrainingSpecification");

	if (strcmp(row->status, "Completed") != 0)
		preflight_note(f, PREFLIGHT_FAILS_HERE, "AlgorithmName", "see `bloomery` or DescribeAlgorithm for why",
		               "algorithm %s is in status %s; only a Completed one can be used", row->name,
		               row->status);
	check_pinned(f, row);
	check_types(f, training);
	preflight_metrics(f, json_object_get(training, "MetricDefinitions"), "TrainingSpecification.MetricDefinitions");
	check_serving(f, request);
}

/* The algorithm's rows; ERR_INVALID: there is none. The caller finishes and frees. */
static int find_algorithm(const struct preflight *f, struct str asked, struct stored_algorithm *row, json_t **request,
                          struct err *e)
{
	const struct api *api = f->call->api;
	_cleanup_free_ char *text = NULL, *arn = algorithm_resource(api, asked);

	if (authorise_action(api, f->call->session, "sagemaker:DescribeAlgorithm", str_of(arn), e) < 0)
		return -1;
	if (algorithm_find(api, asked, row, &text, e) < 0)
		return -1;
	*request = json_loads(text, JSON_ALLOW_NUL, NULL);
	if (*request)
		return 0;
	stored_algorithm_fini(row);
	return err_set(e, ERR_BUG, "the request kept for algorithm " PRIstr " is damaged", ARGstr(asked));
}

static int fly_image(struct preflight *f, const json_t *body, struct err *e)
{
	struct str image = in_str(body, "Image"), algorithm = in_str(body, "AlgorithmName");
	struct str command = in_str(body, "Command");
	struct stored_algorithm row = { 0 };
	json_t *request = NULL;

	if (!image.n && !algorithm.n)
		return err_set(e, ERR_INVALID, "Neither Image nor AlgorithmName is given; give one of them, or both.");
	if (command.n && !str_is(command, "train") && !str_is(command, "serve"))
		return err_set(e, ERR_INVALID, "Command is `train` or `serve`.");
	if (algorithm.n && find_algorithm(f, algorithm, &row, &request, e) < 0)
		return -1;
	look_into(f,
	          json_pack("{ss# ss}", "image", image.n ? image.p : row.image,
	                    (int)(image.n ? image.n : strlen(row.image)), "command",
	                    str_is(command, "serve") ? "serve" : "train"),
	          "TrainingImage");
	preflight_image_name(f, image.n ? image
	                                : in_str(json_object_get(request, "TrainingSpecification"), "TrainingImage"));
	if (request)
		check_algorithm(f, &row, request);
	else
		preflight_machine(f, (struct str){ 0 });
	if (request)
		stored_algorithm_fini(&row);
	json_decref(request);
	return 0;
}

/* ---- the answer ---- */

static const char *verdict(const json_t *findings)
{
	static const char *const levels[] = { "passes", PREFLIGHT_WARNING, PREFLIGHT_FAILS_ON_AWS, PREFLIGHT_FAILS_HERE,
		                              PREFLIGHT_FAILS };
	size_t worst = 0, i;
	bool here = false, aws = false;
	const json_t *v;

	json_array_foreach (findings, i, v) {
		struct str level = in_str(v, "Level");

		for (size_t k = worst + 1; k < ARRAY_LEN(levels); k++)
			if (str_is(level, levels[k]))
				worst = k;
		here |= str_is(level, PREFLIGHT_FAILS_HERE);
		aws |= str_is(level, PREFLIGHT_FAILS_ON_AWS);
	}
	return here && aws ? PREFLIGHT_FAILS : levels[worst];
}

static void write_answer(struct preflight *f, struct buf *out)
{
	_cleanup_free_ char *text = NULL;
	json_t *j = json_pack("{ss sb so so* so* so*}", "Verdict", verdict(f->findings), "Complete", !f->incomplete,
	                      "Findings", f->findings, "Image", f->image, "Program", f->program, "Channels",
	                      f->channels);

	must(j);
	f->findings = f->image = f->program = f->channels = NULL;
	text = json_dumps(j, JSON_COMPACT);
	must(text);
	json_decref(j);
	buf_z(out, text);
}

enum preflight_what preflight_path(struct str path)
{
	return str_is(path, "/bloomery/preflight/training-job") ? PREFLIGHT_TRAINING_JOB
	       : str_is(path, "/bloomery/preflight/image")      ? PREFLIGHT_IMAGE
	                                                        : PREFLIGHT_NONE;
}

static int fly(struct preflight *f, json_t *body, enum preflight_what what, struct err *e)
{
	if (what == PREFLIGHT_IMAGE)
		return fly_image(f, body, e);
	f->in = json_object_get(body, "Request");
	f->uploads = json_object_get(body, "Uploads");
	f->buckets = json_object_get(body, "Buckets");
	if (!json_is_object(f->in))
		return err_set(e, ERR_INVALID, "Request is missing: it is an object, as CreateTrainingJob takes it.");
	return fly_job(f, e);
}

int preflight_answer(const struct api *api, const struct http_request *r, const struct api_auth *a,
                     enum preflight_what what, struct buf *out, struct err *e)
{
	_cleanup_buf_ struct buf words = { 0 };
	const struct service *service = model_service("sagemaker");
	const struct api_call call = { .api = api,
		                       .service = service,
		                       .op = model_operation(service, STR("CreateTrainingJob")),
		                       .caller = a->key,
		                       .session = a->session,
		                       .now = r->arrived,
		                       .request_id = r->request_id,
		                       .raw = out,
		                       .words = &words,
		                       .each = json_array() };
	struct preflight f = { .call = &call, .findings = json_array() };
	json_t *body = NULL;
	int rc = api_body_json(buf_view(&r->body), &body, e);

	if (rc == 0)
		rc = fly(&f, body, what, e);
	if (rc == 0)
		write_answer(&f, out);
	json_decref(f.findings);
	json_decref(f.image);
	json_decref(f.program);
	json_decref(f.channels);
	json_decref(call.each);
	json_decref(body);
	return rc;
}
