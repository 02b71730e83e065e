/* SPDX-License-Identifier: Apache-2.0 */
#include "transform/work.h"

#include <jansson.h>
#include <stdlib.h>

#include "base/fd.h"

enum {
	WORK_BYTES_MAX = 256 << 10,
	PING_TIMEOUT_S = 240,
	INVOCATIONS_TIMEOUT_S = 600,
	INVOCATIONS_RETRIES = 3,
	DEFAULT_PAYLOAD_MB = 6,
	CONCURRENT_MAX = 1024,
};

/* ---- reading members ---- */

struct input {
	const json_t *work, *request;
	struct err *e;
};

static const json_t *at(const json_t *j, const char *path)
{
	struct str rest = str_of(path);

	while (j && rest.n) {
		struct str name = str_cut(&rest, '.');

		j = json_object_getn(j, name.p, name.n);
	}
	return json_is_null(j) ? NULL : j;
}

/* A copy. NULs and line breaks would make other headers and paths of it. */
static int taken(const struct input *in, const json_t *j, const char *path, char **ret)
{
	struct str s;

	if (!json_is_string(j))
		return err_set(in->e, ERR_INVALID, "the work order's '%s' is not a string", path);
	s = (struct str){ json_string_value(j), json_string_length(j) };
	if (str_has_byte(s, '\0') || str_has_byte(s, '\n') || str_has_byte(s, '\r'))
		return err_set(in->e, ERR_INVALID, "the work order's '%s' holds a NUL or a line break", path);
	free(*ret);
	*ret = str_dup(s);
	return 0;
}

/* NULL when it is left out. */
static int text(const struct input *in, const json_t *from, const char *path, char **ret)
{
	const json_t *j = at(from, path);

	return j ? taken(in, j, path, ret) : 0;
}

static int number(const struct input *in, const json_t *from, const char *path, json_int_t least, json_int_t most,
                  int *ret)
{
	const json_t *j = at(from, path);

	if (!j)
		return 0;
	if (!json_is_integer(j) || json_integer_value(j) < least || json_integer_value(j) > most)
		return err_set(in->e, ERR_INVALID, "the work order's '%s' is no number from %lld to %lld", path,
		               (long long)least, (long long)most);
	*ret = (int)json_integer_value(j);
	return 0;
}

static int unsigned_number(const struct input *in, const json_t *from, const char *path, json_int_t least,
                           json_int_t most, unsigned *ret)
{
	int v = (int)*ret;

	if (number(in, from, path, least, most, &v) < 0)
		return -1;
	*ret = (unsigned)v;
	return 0;
}

/* One of two words; *ret says whether it is the second. */
static int choice(const struct input *in, const char *path, const char *no, const char *yes, bool *ret)
{
	_cleanup_free_ char *said = NULL;

	if (text(in, in->request, path, &said) < 0)
		return -1;
	if (said && strcmp(said, no) && strcmp(said, yes))
		return err_set(in->e, ERR_INVALID, "the work order's '%s' is neither %s nor %s", path, no, yes);
	*ret = said && strcmp(said, yes) == 0;
	return 0;
}

/* An element of an array. */
static int element(const struct input *in, const char *array, size_t i, char **ret)
{
	return taken(in, json_array_get(at(in->work, array), i), array, ret);
}

static int read_containers(const struct input *in, struct work *w)
{
	const json_t *list = at(in->work, "containers"), *names = at(in->work, "names");
	size_t n = json_array_size(list);

	if (n < 1 || n > CONTAINERS_MAX)
		return err_set(in->e, ERR_INVALID, "the work order's 'containers' is no list of 1 to %d addresses",
		               CONTAINERS_MAX);
	if (names && json_array_size(names) != n)
		return err_set(in->e, ERR_INVALID, "the work order's 'names' are not as many as its 'containers'");
	w->container_count = (unsigned)n;
	for (size_t i = 0; i < n; i++) {
		w->names[i] = n == 1 ? xstrdup("the container") : NULL;
		if (element(in, "containers", i, &w->containers[i]) < 0)
			return -1;
		if (n > 1 && names && element(in, "names", i, &w->names[i]) < 0)
			return -1;
		if (!w->names[i])
			w->names[i] = strf("container-%zu", i + 1);
		if (!str_starts(str_of(w->containers[i]), STR("http://")))
			return err_set(in->e, ERR_INVALID,
			               "the work order's 'containers' has what is no http:// address");
	}
	return 0;
}

/* "2026-11-21T19:00:00.000Z", or now; without a fraction. */
static int read_started(const struct input *in, struct work *w)
{
	_cleanup_free_ char *said = NULL;
	struct wall start = wall_now();

	if (text(in, in->work, "started", &said) < 0)
		return -1;
	if (said && !wall_from_iso8601(str_of(said), &start))
		return err_set(in->e, ERR_INVALID, "the work order's 'started' is no time");
	wall_iso8601(start, w->started);
	memcpy(w->started + strcspn(w->started, ".Z"), "Z", 2);
	return 0;
}

static int read_share(const struct input *in, struct work *w)
{
	if (unsigned_number(in, in->work, "share_count", 1, INT32_MAX, &w->share_count) < 0)
		return -1;
	return unsigned_number(in, in->work, "share_number", 0, (json_int_t)w->share_count - 1, &w->share_number);
}

static int read_places(const struct input *in, struct work *w)
{
	const json_t *j = in->work;
	const struct {
		const char *name;
		char **to;
	} texts[] = { { "bucket", &w->bucket },
		      { "prefix", &w->prefix },
		      { "s3.endpoint", &w->endpoint },
		      { "s3.region", &w->region },
		      { "s3.access_key", &w->access_key },
		      { "s3.secret_key", &w->secret_key },
		      { "s3.session_token", &w->session_token } };
	const struct {
		const char *name;
		int *to;
	} fds[] = { { "list", &w->list },
		    { "objects", &w->objects },
		    { "out", &w->out },
		    { "log", &w->log },
		    { "sockets", &w->sockets } };

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (text(in, j, texts[i].name, texts[i].to) < 0)
			return -1;
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		if (number(in, j, fds[i].name, 3, 1 << 20, fds[i].to) < 0)
			return -1;
	if (w->list < 0 || w->out < 0)
		return err_set(in->e, ERR_INVALID, "the work order lacks '%s'", w->list < 0 ? "list" : "out");
	if ((w->access_key == NULL) != (w->secret_key == NULL))
		return err_set(in->e, ERR_INVALID,
		               "the work order has one of 's3.access_key' and 's3.secret_key' alone");
	if (unsigned_number(in, j, "ping_timeout_s", 1, 3600, &w->ping_timeout_s) < 0)
		return -1;
	return unsigned_number(in, j, "patience_s", 1, 3600, &w->patience_s);
}

/* ---- the request ---- */

static int read_process(const struct input *in, struct work *w, const char *split)
{
	_cleanup_free_ char *input = NULL, *output = NULL, *join = NULL;
	const json_t *ids = at(in->request, "DataCaptureConfig.GenerateInferenceId");
	struct process_options o;

	if (text(in, in->request, "DataProcessing.InputFilter", &input) < 0 ||
	    text(in, in->request, "DataProcessing.OutputFilter", &output) < 0 ||
	    text(in, in->request, "DataProcessing.JoinSource", &join) < 0)
		return -1;
	o = (struct process_options){ .input_filter = input,
		                      .output_filter = output,
		                      .join_source = join,
		                      .content_type = w->content_type,
		                      .accept = w->accept,
		                      .split_type = split,
		                      .single = strcmp(w->strategy, "SingleRecord") == 0,
		                      .inference_id = json_is_true(ids),
		                      .started = w->started };
	return process_new(&o, &w->process, in->e);
}

static int read_request(const struct input *in, struct work *w)
{
	const json_t *r = in->request;
	_cleanup_free_ char *split = NULL;

	if (number(in, r, "MaxConcurrentTransforms", 0, INT32_MAX, &w->max_concurrent) < 0 ||
	    number(in, r, "MaxPayloadInMB", 0, MAX_PAYLOAD_MB, &w->max_payload_mb) < 0 ||
	    unsigned_number(in, r, "ModelClientConfig.InvocationsTimeoutInSeconds", 1, 3600, &w->timeout_s) < 0 ||
	    unsigned_number(in, r, "ModelClientConfig.InvocationsMaxRetries", 0, 3, &w->retries) < 0 ||
	    text(in, r, "BatchStrategy", &w->strategy) < 0 ||
	    text(in, r, "TransformInput.ContentType", &w->content_type) < 0 ||
	    text(in, r, "TransformOutput.Accept", &w->accept) < 0 ||
	    text(in, r, "TransformInput.SplitType", &split) < 0 ||
	    text(in, r, "TransformOutput.S3OutputPath", &w->output) < 0 ||
	    text(in, r, "DataCaptureConfig.DestinationS3Uri", &w->capture) < 0 ||
	    choice(in, "TransformInput.CompressionType", "None", "Gzip", &w->gzip) < 0 ||
	    choice(in, "TransformOutput.AssembleWith", "None", "Line", &w->lines) < 0)
		return -1;
	if (*w->strategy && strcmp(w->strategy, "MultiRecord") && strcmp(w->strategy, "SingleRecord"))
		return err_set(in->e, ERR_INVALID,
		               "the work order's 'BatchStrategy' is neither MultiRecord nor SingleRecord");
	if (!split_from_name(str_of(split), &w->split))
		return err_set(in->e, ERR_INVALID,
		               "the work order's 'TransformInput.SplitType' is none of None, Line, RecordIO "
		               "and TFRecord");
	return read_process(in, w, split);
}

static int read_all(const json_t *j, struct work *w, struct err *e)
{
	struct input in = { .work = j, .request = at(j, "request"), .e = e };

	if (!json_is_object(j))
		return err_set(e, ERR_INVALID, "the work order is not a JSON object");
	if (in.request && !json_is_object(in.request))
		return err_set(e, ERR_INVALID, "the work order's 'request' is not a JSON object");
	return read_started(&in, w) < 0 || read_containers(&in, w) < 0 || read_share(&in, w) < 0 ||
	                       read_places(&in, w) < 0 || read_request(&in, w) < 0
	               ? -1
	               : 0;
}

int work_read(int fd, struct work *ret, struct err *e)
{
	struct work w = { .list = -EBADF,
		          .objects = -EBADF,
		          .out = -EBADF,
		          .log = -EBADF,
		          .sockets = -EBADF,
		          .share_count = 1,
		          .max_concurrent = -1,
		          .max_payload_mb = -1,
		          .ping_timeout_s = PING_TIMEOUT_S,
		          .timeout_s = INVOCATIONS_TIMEOUT_S,
		          .retries = INVOCATIONS_RETRIES };
	char **never_null[] = { &w.output, &w.capture, &w.bucket, &w.prefix, &w.strategy, &w.content_type, &w.accept };
	char *raw = xcalloc(1, WORK_BYTES_MAX + 1);
	json_t *j = NULL;
	size_t n = 0;
	int rc = fd_read_full(fd, raw, WORK_BYTES_MAX + 1, &n, e);

	for (size_t i = 0; i < ARRAY_LEN(never_null); i++)
		*never_null[i] = xstrdup("");
	if (rc == 0 && n > WORK_BYTES_MAX)
		rc = err_set(e, ERR_INVALID, "the work order is longer than %d bytes", WORK_BYTES_MAX);
	if (rc == 0) {
		j = json_loadb(raw, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
		rc = read_all(j, &w, e);
	}
	json_decref(j);
	explicit_bzero(raw, n);
	free(raw);
	if (rc < 0)
		work_fini(&w);
	else
		*ret = w;
	return rc;
}

void work_fini(struct work *w)
{
	char *texts[] = { w->output,     w->capture,    w->bucket,        w->prefix,   w->endpoint,     w->region,
		          w->access_key, w->secret_key, w->session_token, w->strategy, w->content_type, w->accept };

	if (w->secret_key)
		explicit_bzero(w->secret_key, strlen(w->secret_key));
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		free(texts[i]);
	for (size_t i = 0; i < w->container_count; i++) {
		free(w->containers[i]);
		free(w->names[i]);
	}
	process_free(w->process);
	*w = (struct work){ 0 };
}

/* ---- what holds ---- */

/* -1: left out, or nonsense. */
static int wished(const json_t *j, const char *name, int least, int most, struct buf *ignored)
{
	const json_t *v = json_object_get(j, name);

	if (!v || json_is_null(v))
		return -1;
	if (json_is_integer(v) && json_integer_value(v) >= least && json_integer_value(v) <= most)
		return (int)json_integer_value(v);
	if (ignored)
		buf_f(ignored, "%sits %s is no number from %d to %d", ignored->n ? "; " : "", name, least, most);
	return -1;
}

static void take_strategy(const json_t *j, struct terms *t, struct buf *ignored)
{
	const json_t *v = json_object_get(j, "BatchStrategy");
	struct str s = str_of(json_string_value(v));

	if (!v || json_is_null(v))
		return;
	if (str_is(s, "SINGLE_RECORD") || str_is(s, "SingleRecord"))
		t->single = true;
	else if (!str_is(s, "MULTI_RECORD") && !str_is(s, "MultiRecord") && ignored)
		buf_f(ignored, "%sits BatchStrategy is neither SINGLE_RECORD nor MULTI_RECORD", ignored->n ? "; " : "");
}

struct terms work_terms(const struct work *w, struct str answer, struct buf *ret_ignored)
{
	json_t *j = answer.n ? json_loadb(answer.p, answer.n, 0, NULL) : NULL;
	int concurrent = w->max_concurrent > 0 ? w->max_concurrent : -1, payload = w->max_payload_mb;
	struct terms t = { 0 };

	if (answer.n && !json_is_object(j) && ret_ignored)
		buf_z(ret_ignored, "it is no JSON object");
	if (concurrent < 0) /* 0 means: ask the container; and so it does in its answer: ask the defaults */
		concurrent = wished(j, "MaxConcurrentTransforms", 0, INT32_MAX, ret_ignored);
	if (payload < 0)
		payload = wished(j, "MaxPayloadInMB", 0, MAX_PAYLOAD_MB, ret_ignored);
	if (*w->strategy)
		t.single = strcmp(w->strategy, "SingleRecord") == 0;
	else
		take_strategy(j, &t, ret_ignored);
	t.concurrent = concurrent <= 0 ? 1 : concurrent > CONCURRENT_MAX ? CONCURRENT_MAX : (unsigned)concurrent;
	t.payload_mb = payload < 0 ? DEFAULT_PAYLOAD_MB : (unsigned)payload;
	json_decref(j);
	return t;
}

void work_out_key(struct str prefix, struct str key, struct buf *ret)
{
	/* s3://b/data/train is the folder for data/train/x, and a mere prefix for data/training/x. */
	bool folder = prefix.n && prefix.n < key.n && prefix.p[prefix.n - 1] != '/' && str_starts(key, prefix) &&
	              key.p[prefix.n] == '/';

	while (!folder && prefix.n && prefix.p[prefix.n - 1] != '/')
		prefix.n--;
	if (!str_skip(&key, prefix))
		while (str_has_byte(key, '/')) /* not below it at all */
			str_cut(&key, '/');
	if (folder)
		str_skip(&key, STR("/"));
	buf_str(ret, key);
	buf_z(ret, ".out");
}
