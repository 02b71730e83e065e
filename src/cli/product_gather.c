/* What a product shows of how its algorithm was validated: the data, what came out, what was logged and measured.
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "cli/product.h"
#include "s3/s3.h"

enum { CURVE_POINTS = 150, LOG_PAGES_MAX = 100000, OBJECTS_MAX = 50000 };

/* ---- files of the product ---- */

static int put_text(const struct gathering *g, const char *path, struct str text, struct err *e)
{
	struct str dir = str_of(path);
	_cleanup_free_ char *parent = NULL;

	str_cut_last(&dir, '/');
	parent = str_dup(dir);
	if (mkdir_all(g->dir, parent, 0755, e) < 0)
		return -1;
	return file_put(g->dir, path, text, 0644, e);
}

static int put_json(const struct gathering *g, const char *path, const json_t *j, struct err *e)
{
	_cleanup_free_ char *text = json_dumps(j, JSON_INDENT(1) | JSON_SORT_KEYS);

	must(text);
	return put_text(g, path, str_of(text), e);
}

static int make_file(const struct gathering *g, const char *path, struct err *e)
{
	struct str dir = str_of(path);
	_cleanup_free_ char *parent = NULL;
	int fd;

	str_cut_last(&dir, '/');
	parent = str_dup(dir);
	if (mkdir_all(g->dir, parent, 0755, e) < 0)
		return -1;
	fd = openat(g->dir, path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	return fd < 0 ? err_sys(e, "making %s", path) : fd;
}

static const char *text_in(const json_t *j, const char *member)
{
	const char *z = json_string_value(json_object_get(j, member));

	return z ? z : "";
}

/* ---- objects ---- */

/* Objects below an address, copied as numbered files with a list of what they were called. */
struct copying {
	const struct gathering *g;
	const char *to; /* "data/small/train" */
	struct s3_uri from;
	json_t *list;
	uint64_t bytes;
	bool (*wanted)(const struct copying *c, struct str key);
	const json_t *inputs; /* for wanted() */
};

static int copy_object(const struct s3_object *o, void *arg, struct err *e)
{
	struct copying *c = arg;
	_cleanup_free_ char *leaf = strf("%06zu", json_array_size(c->list) + 1), *path = strf("%s/%s", c->to, leaf);
	_cleanup_close_ int fd = -EBADF;
	json_t *j;

	if (str_ends(o->key, STR("/")) || (c->wanted && !c->wanted(c, o->key)))
		return 0;
	if (json_array_size(c->list) == OBJECTS_MAX)
		return err_set(e, ERR_TOO_LARGE, "s3://" PRIstr "/" PRIstr " has more than %d objects",
		               ARGstr(c->from.bucket), ARGstr(c->from.key), OBJECTS_MAX);
	fd = make_file(c->g, path, e);
	if (fd < 0 || s3_get(c->g->s3, (struct s3_uri){ c->from.bucket, o->key }, o, fd, e) < 0)
		return -1;
	c->bytes += o->size;
	j = json_pack("{ss ss% sI}", "file", leaf, "key", o->key.p, o->key.n, "size", (json_int_t)o->size);
	if (!j)
		return err_set(e, ERR_CLIENT, "an object's key is not UTF-8");
	json_array_append_new(c->list, j);
	return 0;
}

/* *ret: {"uri", "files", "objects", "bytes"}, a new reference. */
static int copy_objects(struct copying *c, const char *uri, json_t **ret, struct err *e)
{
	_cleanup_free_ char *index = strf("%s/objects.json", c->to);
	int rc;

	if (s3_uri_parse(str_of(uri), &c->from, e) < 0)
		return -1;
	c->list = json_array();
	rc = s3_list(c->g->s3, c->from.bucket, c->from.key, copy_object, c, e);
	if (rc == 0)
		rc = put_json(c->g, index, c->list, e);
	if (rc == 0) {
		*ret = json_pack("{ss ss sI sI}", "uri", uri, "files", c->to, "objects",
		                 (json_int_t)json_array_size(c->list), "bytes", (json_int_t)c->bytes);
		must(*ret);
	}
	if (rc < 0)
		err_in(e, "copying %s", uri);
	return rc;
}

static int copy_channel(const struct gathering *g, const char *profile, const char *channel, const json_t *source,
                        json_t *inputs, struct err *e)
{
	const char *uri = json_string_value(json_object_get(json_object_get(source, "S3DataSource"), "S3Uri"));
	_cleanup_free_ char *to = strf("data/%s/%s", profile, channel);
	struct copying c = { .g = g, .to = to };
	json_t *said;

	if (!uri) /* a file system, which is not carried along */
		return 0;
	if (copy_objects(&c, uri, &said, e) < 0) {
		json_decref(c.list);
		return -1;
	}
	json_object_set_new(said, "channel", json_string(channel));
	json_object_set_new(said, "list", c.list);
	json_array_append_new(inputs, said);
	return 0;
}

static int copy_inputs(const struct gathering *g, const json_t *profile, json_t *out, struct err *e)
{
	const char *name = text_in(profile, "ProfileName");
	const json_t *training = json_object_get(profile, "TrainingJobDefinition"), *c;
	const json_t *transform = json_object_get(profile, "TransformJobDefinition");
	json_t *inputs = json_array();
	size_t i;

	json_object_set_new(out, "input", inputs);
	json_array_foreach (json_object_get(training, "InputDataConfig"), i, c) {
		_cleanup_free_ char *channel = strf("channel-%s", text_in(c, "ChannelName"));

		if (copy_channel(g, name, channel, json_object_get(c, "DataSource"), inputs, e) < 0)
			return -1;
	}
	if (!transform)
		return 0;
	return copy_channel(g, name, "transform-input",
	                    json_object_get(json_object_get(transform, "TransformInput"), "DataSource"), inputs, e);
}

/* ---- logs ---- */

static json_t *page_of(const struct gathering *g, const char *group, const char *stream, const char *token,
                       struct err *e)
{
	json_t *in = json_pack("{ss ss sb}", "logGroupName", group, "logStreamName", stream, "startFromHead", 1);
	json_t *answer = NULL;

	must(in);
	if (token)
		json_object_set_new(in, "nextToken", json_string(token));
	return access_call(g->access, "logs", "Logs_20140328.GetLogEvents", in, &answer, e) < 0 ? NULL : answer;
}

/* Every line of a stream, with its time. */
static int copy_stream(const struct gathering *g, const char *group, const char *stream, int fd, struct err *e)
{
	_cleanup_free_ char *token = NULL;

	for (int n = 0; n < LOG_PAGES_MAX; n++) {
		_cleanup_buf_ struct buf text = { 0 };
		json_t *page = page_of(g, group, stream, token, e);
		const json_t *event;
		const char *next;
		bool last;
		size_t i;

		if (!page)
			return -1;
		json_array_foreach (json_object_get(page, "events"), i, event) {
			char when[CLOCK_TEXT_BYTES];

			wall_iso8601((struct wall){ json_integer_value(json_object_get(event, "timestamp")) }, when);
			buf_f(&text, "%s %s\n", when, text_in(event, "message"));
		}
		next = text_in(page, "nextForwardToken");
		last = !*next || (token && !strcmp(next, token));
		free(token);
		token = xstrdup(next);
		json_decref(page);
		if (fd_write_all(fd, text.p, text.n, e) < 0)
			return err_in(e, "writing a log");
		if (last)
			return 0;
	}
	return err_set(e, ERR_TOO_LARGE, "the log %s is too long", stream);
}

/* The streams of a job; *ret an array of names. */
static int find_streams(const struct gathering *g, const char *group, const char *job, json_t **ret, struct err *e)
{
	json_t *in = json_pack("{ss so}", "logGroupName", group, "logStreamNamePrefix", json_sprintf("%s/", job));
	json_t *answer, *names;
	const json_t *s;
	size_t i;

	must(in);
	if (access_call(g->access, "logs", "Logs_20140328.DescribeLogStreams", in, &answer, e) < 0)
		return -1;
	names = json_array();
	json_array_foreach (json_object_get(answer, "logStreams"), i, s)
		json_array_append(names, json_object_get(s, "logStreamName"));
	json_decref(answer);
	*ret = names;
	return 0;
}

static int copy_logs(const struct gathering *g, const char *profile, const char *group, const char *job,
                     const char *kind, json_t *files, struct err *e)
{
	json_t *names, *name;
	size_t i;
	int rc = 0;

	if (find_streams(g, group, job, &names, e) < 0)
		return -1;
	json_array_foreach (names, i, name) {
		_cleanup_free_ char *path = strf("logs/%s/%s-%zu.log", profile, kind, i + 1);
		_cleanup_close_ int fd = make_file(g, path, e);

		rc = fd < 0 ? -1 : copy_stream(g, group, json_string_value(name), fd, e);
		if (rc < 0)
			break;
		json_array_append_new(files, json_string(path));
	}
	json_decref(names);
	return rc < 0 ? err_in(e, "copying the log of %s", job) : 0;
}

/* ---- jobs ---- */

/* HEAD-SECONDS, as validations name what they make. */
static bool is_of_validation(const char *name, const char *head)
{
	struct str rest = str_of(name);
	uint64_t seconds;

	return str_skip(&rest, str_of(head)) && str_skip(&rest, STR("-")) && str_to_u64(rest, &seconds);
}

/* The newest job of the validation: it is called so, and was made by the algorithm. NULL, and no error: there is none
 * any more. */
static int find_job(const struct gathering *g, const char *profile, json_t **ret, struct err *e)
{
	_cleanup_free_ char *head = strf("%s-%s", text_in(g->algorithm, "AlgorithmName"), profile);
	size_t most = 63 - 1 - 10; /* "-" and the seconds */
	json_t *in, *answer = NULL;
	const json_t *s;
	size_t i;

	if (strlen(head) > most)
		head[most] = 0;
	while (*head && head[strlen(head) - 1] == '-')
		head[strlen(head) - 1] = 0;
	*ret = NULL;
	in = json_pack("{ss ss ss si}", "NameContains", head, "SortBy", "CreationTime", "SortOrder", "Descending",
	               "MaxResults", 100);
	if (access_call(g->access, "sagemaker", "SageMaker.ListTrainingJobs", in, &answer, e) < 0)
		return -1;
	json_array_foreach (json_object_get(answer, "TrainingJobSummaries"), i, s) {
		json_t *d = NULL;
		const char *name = text_in(s, "TrainingJobName");

		if (*ret || !is_of_validation(name, head) ||
		    access_call(g->access, "sagemaker", "SageMaker.DescribeTrainingJob",
		                json_pack("{ss}", "TrainingJobName", name), &d, &(struct err){ 0 }) < 0)
			continue;
		if (!strcmp(text_in(json_object_get(d, "AlgorithmSpecification"), "AlgorithmName"),
		            text_in(g->algorithm, "AlgorithmArn")) &&
		    !strcmp(text_in(d, "TrainingJobStatus"), "Completed"))
			*ret = d;
		else
			json_decref(d);
	}
	json_decref(answer);
	return 0;
}

static int copy_metrics(const struct gathering *g, const char *profile, const char *job, json_t *out, struct err *e)
{
	_cleanup_free_ char *path = strf("/bloomery/jobs/%s/metrics?points=%d", job, CURVE_POINTS);
	_cleanup_free_ char *file = strf("metrics/%s.json", profile);
	_cleanup_buf_ struct buf text = { 0 };
	json_t *j;
	int rc;

	if (access_get(g->access, path, &text, e) < 0)
		return -1;
	j = json_loadb(text.p, text.n, 0, NULL);
	if (!j)
		return err_set(e, ERR_IO, "the metrics of %s cannot be read", job);
	rc = put_json(g, file, j, e);
	json_object_set_new(out, "metrics", j);
	return rc;
}

/* One archive; or, with CompressionType NONE, the objects below a folder. */
static int copy_artifacts(const struct gathering *g, const char *profile, const json_t *job, json_t *out, struct err *e)
{
	const char *uri = text_in(json_object_get(job, "ModelArtifacts"), "S3ModelArtifacts");
	bool plain = !strcmp(text_in(json_object_get(job, "OutputDataConfig"), "CompressionType"), "NONE");
	_cleanup_free_ char *to = strf("outputs/%s/model%s", profile, plain ? "" : ".tar.gz");
	_cleanup_free_ char *folder = strf("%s%s", uri, str_ends(str_of(uri), STR("/")) ? "" : "/");
	struct copying c = { .g = g, .to = to };
	_cleanup_close_ int fd = -EBADF;
	json_t *said = NULL;
	struct s3_uri at;

	if (plain) {
		int rc = copy_objects(&c, folder, &said, e);

		json_decref(c.list);
		json_decref(said);
		if (rc < 0)
			return -1;
	} else {
		if (s3_uri_parse(str_of(uri), &at, e) < 0)
			return -1;
		fd = make_file(g, to, e);
		if (fd < 0 || s3_get(g->s3, at, NULL, fd, e) < 0)
			return err_in(e, "copying %s", uri);
	}
	json_object_set_new(out, "model", json_string(to));
	return 0;
}

static int copy_training(const struct gathering *g, const char *profile, json_t *out, struct err *e)
{
	_cleanup_free_ char *file = strf("jobs/%s/training-job.json", profile);
	json_t *job, *logs = json_array();
	const char *name;

	json_object_set_new(out, "logs", logs);
	if (find_job(g, profile, &job, e) < 0)
		return -1;
	if (!job)
		return err_set(
		        e, ERR_CLIENT,
		        "the training job that validated it with the profile %s is not there any more; create the "
		        "algorithm again under another name, and export that",
		        profile);
	json_object_set_new(out, "training_job", job);
	name = text_in(job, "TrainingJobName");
	if (put_json(g, file, job, e) < 0 || copy_metrics(g, profile, name, out, e) < 0 ||
	    copy_logs(g, profile, "/aws/sagemaker/TrainingJobs", name, "training", logs, e) < 0)
		return -1;
	return copy_artifacts(g, profile, job, out, e);
}

/* "KEY.out" for an object of the input. */
static bool is_output(const struct copying *c, struct str key)
{
	const json_t *input, *o;
	size_t i, k;

	if (!str_ends(key, STR(".out")))
		return false;
	key.n -= 4;
	str_skip(&key, c->from.key);
	str_skip(&key, STR("/"));
	json_array_foreach (c->inputs, i, input)
		if (!strcmp(text_in(input, "channel"), "transform-input"))
			json_array_foreach (json_object_get(input, "list"), k, o)
				if (str_ends(str_of(text_in(o, "key")), key))
					return true;
	return false;
}

static int copy_transform(const struct gathering *g, const char *profile, json_t *out, struct err *e)
{
	const char *name = text_in(json_object_get(out, "training_job"), "TrainingJobName"); /* all three share it */
	_cleanup_free_ char *file = strf("jobs/%s/transform-job.json", profile),
	                    *to = strf("outputs/%s/transform", profile);
	struct copying c = { .g = g, .to = to, .wanted = is_output, .inputs = json_object_get(out, "input") };
	json_t *job = NULL, *said;
	int rc;

	if (access_call(g->access, "sagemaker", "SageMaker.DescribeTransformJob",
	                json_pack("{ss}", "TransformJobName", name), &job, e) < 0)
		return err_in(e, "looking at the transform job that validated it");
	json_object_set_new(out, "transform_job", job);
	if (put_json(g, file, job, e) < 0 || copy_logs(g, profile, "/aws/sagemaker/TransformJobs", name, "transform",
	                                               json_object_get(out, "logs"), e) < 0)
		return -1;
	rc = copy_objects(&c, text_in(json_object_get(job, "TransformOutput"), "S3OutputPath"), &said, e);
	json_decref(c.list);
	if (rc == 0)
		json_object_set_new(out, "output", said);
	return rc;
}

int product_gather(struct gathering *g, struct err *e)
{
	const json_t *validation = json_object_get(g->algorithm, "ValidationSpecification"), *profile;
	size_t i;

	json_array_foreach (json_object_get(validation, "ValidationProfiles"), i, profile) {
		const char *name = text_in(profile, "ProfileName");
		json_t *out = json_pack("{ss}", "name", name);

		must(out);
		json_array_append_new(g->profiles, out);
		if (!g->quiet)
			fprintf(stderr, "profile %s: its data, jobs, logs and metrics\n", name);
		if (copy_inputs(g, profile, out, e) < 0 || copy_training(g, name, out, e) < 0 ||
		    (json_object_get(profile, "TransformJobDefinition") && copy_transform(g, name, out, e) < 0))
			return err_in(e, "profile %s", name);
	}
	return 0;
}
