/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/access.h"

#include <stdlib.h>

#include "aws/sigv4.h"
#include "base/clock.h"
#include "base/conf.h"
#include "base/fd.h"
#include "base/hash.h"
#include "http/client.h"

enum { SMALL_MAX = 65536, REPLY_MAX = 64 << 20 };

/* ---- where, and with which key ---- */

static int read_small(const char *path, struct buf *out, struct err *e)
{
	struct err why = { 0 };

	if (file_read(path, SMALL_MAX, out, &why) == 0)
		return 0;
	if (why.kind == ERR_NOT_FOUND)
		return err_set(e, ERR_NOT_FOUND,
		               "%s does not exist: no server has been started there. Start `bloomery up`, or name its "
		               "directory with --data",
		               path);
	if (why.os == EACCES)
		return err_set(e, ERR_DENIED,
		               "%s may only be read by root: use sudo, or first `eval \"$(sudo bloomery env)\"`", path);
	if (e)
		*e = why;
	return -1;
}

static int read_credentials(const char *data_dir, struct access *s, struct err *e)
{
	_cleanup_free_ char *path = strf("%s/credentials", data_dir);
	_cleanup_buf_ struct buf text = { 0 };
	const char *id, *secret;
	json_t *j;

	if (read_small(path, &text, e) < 0)
		return -1;
	j = json_loadb(text.p, text.n, 0, NULL);
	id = json_string_value(json_object_get(j, "access_key"));
	secret = json_string_value(json_object_get(j, "secret_key"));
	if (id && secret) {
		s->access_key = xstrdup(id);
		s->secret_key = xstrdup(secret);
	}
	json_decref(j);
	return s->access_key ? 0 : err_set(e, ERR_IO, "%s does not hold a key", path);
}

static char *without_slash(struct str url)
{
	while (str_ends(url, STR("/")))
		url.n--;
	return str_dup(url);
}

int access_of_data(const char *data_dir, struct access *ret, struct err *e)
{
	_cleanup_free_ char *path = strf("%s/endpoint", data_dir), *conf_path = strf("%s/bloomery.conf", data_dir);
	_cleanup_buf_ struct buf url = { 0 };
	struct conf conf;
	int rc;

	conf_init(&conf);
	rc = conf_read(&conf, conf_path, e);
	if (rc < 0 && e && e->kind == ERR_INVALID)
		e->kind = ERR_CLIENT;
	if (rc == 0)
		rc = read_small(path, &url, e);
	if (rc == 0)
		rc = read_credentials(data_dir, ret, e);
	if (rc == 0) {
		ret->endpoint = without_slash(str_trim(buf_view(&url)));
		ret->region = xstrdup(conf.region);
	}
	conf_fini(&conf);
	return rc;
}

static const char *env(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

int access_open(const struct cli_args *a, struct access *ret, struct err *e)
{
	const char *url = env("AWS_ENDPOINT_URL"), *id = env("AWS_ACCESS_KEY_ID"),
	           *secret = env("AWS_SECRET_ACCESS_KEY");
	const char *region = env("AWS_REGION") ? env("AWS_REGION") : env("AWS_DEFAULT_REGION");

	ret->http = http_client_new();
	if (cli_flag(a, "data") || !url || !id || !secret)
		return access_of_data(cli_data_dir(a), ret, e);
	ret->endpoint = without_slash(str_of(url));
	ret->region = xstrdup(region ? region : "us-east-1");
	ret->access_key = xstrdup(id);
	ret->secret_key = xstrdup(secret);
	ret->token = env("AWS_SESSION_TOKEN") ? xstrdup(env("AWS_SESSION_TOKEN")) : NULL;
	return 0;
}

void access_fini(struct access *s)
{
	free(s->endpoint);
	free(s->region);
	free(s->access_key);
	free(s->secret_key);
	free(s->token);
	http_client_free(s->http);
	*s = (struct access){ 0 };
}

/* ---- calls ---- */

struct request {
	const char *method, *path, *service;
	const char *content_type, *target; /* target: NULL for none */
	struct str body;
};

static struct str host_of(const struct access *s)
{
	struct str url = str_of(s->endpoint);

	if (!str_skip(&url, STR("http://")))
		str_skip(&url, STR("https://"));
	return str_cut(&url, '/');
}

/* Signs and sends; *ret is the caller's to fini. */
static int send_request(struct access *s, const struct request *q, struct http_reply *ret, struct err *e)
{
	struct sig_header headers[3] = { { STR("Host"), host_of(s) },
		                         { STR("Content-Type"), str_of(q->content_type) } };
	struct str query = str_of(q->path), path = str_cut(&query, '?');
	struct sig_request sig = { .method = str_of(q->method),
		                   .path = path,
		                   .query = query,
		                   .headers = headers,
		                   .header_count = q->target ? 3 : 2 };
	_cleanup_buf_ struct buf hash = { 0 }, lines = { 0 };
	_cleanup_free_ char *url = strf("%s%s", s->endpoint, q->path);
	struct http_call call = {
		.method = q->method, .url = url, .body = q->body, .body_fd = -EBADF, .max_reply = REPLY_MAX
	};
	const char *list[10];
	unsigned char digest[SHA256_BYTES];
	size_t n = 0;

	if (q->target)
		headers[2] = (struct sig_header){ STR("X-Amz-Target"), str_of(q->target) };
	sha256(q->body, digest);
	buf_hex(&hash, digest, sizeof(digest));
	for (size_t i = 1; i < sig.header_count; i++)
		buf_f(&lines, PRIstr ": " PRIstr "\n", ARGstr(headers[i].name), ARGstr(headers[i].value));
	sigv4_sign(&sig, str_of(s->access_key), str_of(s->secret_key), str_of(s->token), str_of(s->region),
	           str_of(q->service), buf_view(&hash), wall_now(), &lines);
	for (char *at = lines.p, *end; *at && n < ARRAY_LEN(list) - 1; at = end + 1) {
		end = strchr(at, '\n');
		*end = 0;
		list[n++] = at;
	}
	list[n] = NULL;
	call.headers = list;
	if (http_client_call(s->http, &call, ret, e) < 0)
		return err_in(e, "asking %s (is `bloomery up` running?)", s->endpoint);
	return 0;
}

/* "ns#ResourceNotFound:http://..." says ResourceNotFound. */
static struct str error_type(const json_t *j)
{
	const char *text = json_string_value(json_object_get(j, "__type"));
	struct str s = str_of(text ? text : "UnknownError");

	s = str_cut_last(&s, '#');
	return str_cut(&s, ':');
}

static int refused(const struct http_reply *r, const json_t *j, struct err *e)
{
	struct str type = error_type(j);
	const char *message = json_string_value(json_object_get(j, "message"));

	if (!message)
		message = json_string_value(json_object_get(j, "Message"));
	if (!j)
		return err_set(e, ERR_CLIENT, "the server answered with HTTP status %d", r->status);
	return err_set(e, str_starts(type, STR("ResourceNotFound")) ? ERR_NOT_FOUND : ERR_CLIENT, PRIstr ": %s",
	               ARGstr(type), message ? message : "(no message)");
}

/* Sends `in`, whose reference it takes. An answer without a body is an empty object where that may be. */
static int post(struct access *s, struct request q, json_t *in, bool may_be_empty, json_t **ret, struct err *e)
{
	_cleanup_free_ char *body = json_dumps(in, JSON_COMPACT);
	struct http_reply reply = { 0 };
	json_t *j = NULL;
	int rc;

	json_decref(in);
	if (!body)
		return err_set(e, ERR_INVALID, "an argument is not UTF-8");
	q.body = str_of(body);
	rc = send_request(s, &q, &reply, e);
	if (rc == 0) {
		j = !reply.body.n && may_be_empty ? json_object() : json_loadb(reply.body.p, reply.body.n, 0, NULL);
		if (reply.status / 100 != 2)
			rc = refused(&reply, j, e);
		else if (!j)
			rc = err_set(e, ERR_IO, "the server's answer is not JSON");
	}
	http_reply_fini(&reply);
	if (rc == 0)
		*ret = j;
	else
		json_decref(j);
	return rc;
}

int access_call(struct access *s, const char *service, const char *target, json_t *in, json_t **ret_out, struct err *e)
{
	return post(s, (struct request){ "POST", "/", service, "application/x-amz-json-1.1", target, { 0 } }, in, true,
	            ret_out, e);
}

int access_get(struct access *s, const char *path, struct buf *out, struct err *e)
{
	struct request q = { .method = "GET", .path = path, .service = "bloomery", .content_type = "application/json" };
	struct http_reply reply = { 0 };
	json_t *j;
	int rc = send_request(s, &q, &reply, e);

	if (rc == 0 && reply.status == 200) {
		buf_str(out, buf_view(&reply.body));
	} else if (rc == 0) {
		j = json_loadb(reply.body.p, reply.body.n, 0, NULL);
		rc = refused(&reply, j, e);
		json_decref(j);
	}
	http_reply_fini(&reply);
	return rc;
}

int access_post(struct access *s, const char *path, json_t *in, json_t **ret, struct err *e)
{
	return post(s, (struct request){ "POST", path, "bloomery", "application/json", NULL, { 0 } }, in, false, ret,
	            e);
}

int access_make_bucket(struct access *s, const char *bucket, struct err *e)
{
	_cleanup_buf_ struct buf path = { 0 };
	struct request q = { .method = "PUT", .service = "s3", .content_type = "application/xml" };
	struct http_reply reply = { 0 };
	int rc;

	buf_c(&path, '/');
	buf_uri(&path, str_of(bucket), false);
	q.path = path.p;
	rc = send_request(s, &q, &reply, e);
	if (rc == 0 && reply.status / 100 != 2 && reply.status != 409)
		rc = err_set(e, ERR_CLIENT, "HTTP status %d: " PRIstr, reply.status, ARGstr(buf_view(&reply.body)));
	http_reply_fini(&reply);
	return rc < 0 ? err_in(e, "making the bucket '%s'", bucket) : 0;
}

/* ---- printing ---- */

char *access_time(const json_t *v, char dst[CLI_TIME_BYTES])
{
	char iso[CLOCK_TEXT_BYTES];

	if (!json_is_number(v)) {
		snprintf(dst, CLI_TIME_BYTES, "-");
		return dst;
	}
	wall_iso8601((struct wall){ (int64_t)(json_number_value(v) * 1000) }, iso);
	snprintf(dst, CLI_TIME_BYTES, "%.10s %.8s", iso, iso + 11);
	return dst;
}

char *access_duration(double seconds, char dst[CLI_TIME_BYTES])
{
	long long s = (long long)seconds;

	if (seconds < 60)
		snprintf(dst, CLI_TIME_BYTES, "%.1f s", seconds);
	else if (s < 3600)
		snprintf(dst, CLI_TIME_BYTES, "%lld:%02lld", s / 60, s % 60);
	else
		snprintf(dst, CLI_TIME_BYTES, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
	return dst;
}

void print_json(const json_t *j)
{
	json_dumpf(j, stdout, JSON_INDENT(4) | JSON_REAL_PRECISION(17));
	putchar('\n');
}

bool job_is_final(const json_t *description)
{
	struct str status = str_of(json_string_value(json_object_get(description, "TrainingJobStatus")));

	return str_is(status, "Completed") || str_is(status, "Failed") || str_is(status, "Stopped");
}
