/* SPDX-License-Identifier: Apache-2.0 */
#include "op/own.h"

#include <ctype.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/log.h"
#include "http/server.h"
#include "job/desk.h"
#include "metric/try.h"
#include "op/api_reply.h"
#include "op/authorise.h"
#include "op/credentials.h"
#include "op/job_metrics.h"
#include "op/metrics.h"
#include "op/products.h"
#include "op/preflight.h"
#include "op/training_job.h"
#include "store/store.h"

enum { BASIC_MAX = 4096, JOB_NAME_MAX = 63 };

/* ---- who ---- */

static bool skip_basic(struct str *header)
{
	struct str word = str_cut(header, ' ');

	*header = str_trim(*header);
	return str_eq_nocase(word, STR("Basic"));
}

const struct access_key *own_basic_key(const struct api *api, struct str header)
{
	_cleanup_buf_ struct buf given = { 0 };
	unsigned char want[SHA256_BYTES], got[SHA256_BYTES];
	const struct access_key *found = NULL;

	header = str_trim(header);
	if (header.n > BASIC_MAX || !skip_basic(&header) || !buf_unbase64(&given, header))
		return NULL;
	/* Digests have one length whatever they are of, and every key is tried. */
	sha256(buf_view(&given), got);
	for (size_t i = 0; i < api->key_count; i++) {
		const struct access_key *k = &api->keys[i];
		_cleanup_free_ char *pair = strf("%s:%s", k->id, k->secret);

		sha256(str_of(pair), want);
		explicit_bzero(pair, strlen(pair));
		if (equal_secret(want, got, sizeof(want)) && !k->token)
			found = k;
	}
	explicit_bzero(given.p, given.n);
	return found;
}

static bool is_basic(const struct http_request *r)
{
	struct str header = str_trim(http_header_get(r, "Authorization"));

	return skip_basic(&header);
}

/* The second name is one that no bucket of S3 can have. */
static bool is_metrics(const struct http_request *r)
{
	return str_is(r->path, "/metrics") || str_is(r->path, "/-/metrics");
}

static bool is_products(const struct http_request *r)
{
	return str_is(r->path, PRODUCTS_PATH);
}

bool own_takes(const struct http_request *r, const struct api_auth *a)
{
	bool metrics = is_metrics(r);

	if (credentials_take(r))
		return true;
	if (a->fault == SIG_MISSING || a->fault == SIG_INCOMPLETE || a->fault == SIG_BOTH)
		return is_basic(r) || (metrics && !a->claim.presigned);
	return str_is(a->claim.service, OWN_SERVICE) || (metrics && !str_is(a->claim.service, "s3"));
}

void own_auth_head(const struct api *api, const struct http_request *r, struct api_auth *a)
{
	if (credentials_take(r)) { /* which looks at its token itself */
		a->fault = SIG_OK;
		return;
	}
	if (!is_basic(r))
		return;
	a->key = own_basic_key(api, http_header_get(r, "Authorization"));
	a->fault = a->key ? SIG_OK : SIG_UNKNOWN_KEY;
	a->why = a->key ? NULL : "The user must be the id of an access key, and the password its secret.";
}

static void verify(const struct api *api, const struct http_request *r, const struct sig_request *sig,
                   struct api_auth *a)
{
	struct str named = str_trim(http_header_get(r, "x-amz-content-sha256"));
	_cleanup_buf_ struct buf hash = { 0 };
	unsigned char body[SHA256_BYTES];

	if (a->fault || is_basic(r))
		return;
	sha256(buf_view(&r->body), body);
	buf_hex(&hash, body, sizeof(body));
	api_auth_verify(api, sig, named.n ? named : buf_view(&hash), false, a);
	if (!a->fault && named.n && !str_eq(named, buf_view(&hash)))
		a->fault = SIG_BAD_BODY_HASH;
}

/* ---- answers ---- */

static void refuse(const struct http_request *r, struct http_response *out, int status, const char *type,
                   const char *message)
{
	struct api_failure f = { type, status, str_of(message) };

	api_reply_error(out, API_JSON, NULL, r->request_id, &f);
}

static void refuse_who(const struct api *api, const struct http_request *r, const struct api_auth *a,
                       struct http_response *out)
{
	_cleanup_buf_ struct buf text = { 0 };

	if (a->fault == SIG_MISSING)
		buf_z(&text,
		      "Sign in with the access key: HTTP Basic, its id as the user, its secret as the password.");
	else
		api_auth_say(api, a, r->arrived, &text);
	refuse(r, out, 401, api_auth_refusal(a->fault)->json, text.p);
	http_add_header(out, "WWW-Authenticate", "Basic realm=\"bloomery\", charset=\"UTF-8\"");
}

static void refuse_err(const struct http_request *r, struct http_response *out, const struct err *e)
{
	_cleanup_free_ char *text = xcalloc(1, ERR_FRAMES * ERR_FRAME_BYTES);

	err_text(e, text, ERR_FRAMES * ERR_FRAME_BYTES);
	if (e->kind == ERR_NOT_FOUND) {
		refuse(r, out, 404, "ResourceNotFound", text);
		return;
	}
	if (e->kind == ERR_BUSY || e->kind == ERR_INVALID || e->kind == ERR_IN_USE) {
		refuse(r, out,
		       e->kind == ERR_BUSY      ? 503
		       : e->kind == ERR_INVALID ? 400
		                                : 409,
		       e->kind == ERR_BUSY ? "NotReady" : err_info[e->kind].wire, text);
		return;
	}
	log_err(LOG_WARN, e, "request %s failed", r->request_id);
	refuse(r, out, 500, "InternalFailure", text);
}

static void answer_metrics(const struct api *api, const struct http_request *r, struct http_response *out)
{
	struct metrics m;
	struct err e = { 0 };

	if (metrics_collect(api, &m, &e) < 0) {
		refuse_err(r, out, &e);
		return;
	}
	metrics_write(&m, &out->body);
	metrics_fini(&m);
	if (metrics_write_jobs(api, &out->body, &e) < 0) {
		refuse_err(r, out, &e);
		return;
	}
	http_add_header(out, "Content-Type", "text/plain; version=0.0.4; charset=utf-8");
}

struct look {
	const struct api *api;
	json_t *list;
	struct err why;
};

static void add_feeds(const struct store_place *host, void *arg)
{
	struct look *l = arg;
	struct err why = { 0 };
	struct feeds f;

	if (feeds_read(l->api->data_dir, host->id, &f, &why) == 0)
		json_array_append_new(l->list, feeds_to_json(&f));
	else if (why.kind != ERR_NOT_FOUND) /* none: no channels, or the host has not come so far */
		l->why = why;
}

/* How the metric definitions have done so far on a host's lines. */
static void add_counts(const struct store_place *host, void *arg)
{
	struct look *l = arg;
	_cleanup_free_ char *name = strf("algo-%u", host->host);
	_cleanup_free_ char *path = strf("%s/jobs/%s/metrics/%s", l->api->data_dir, host->id, name);
	struct err why = { 0 };
	json_t *counts, *j;
	int rc = metric_counts_read(path, &counts, &why);

	if (rc < 0 && why.kind != ERR_NOT_FOUND)
		l->why = why;
	if (rc <= 0)
		return;
	j = json_pack("{ss so}", "host", name, "counts", counts);
	must(j);
	json_array_append_new(l->list, j);
}

/* What can be asked about a job: /bloomery/jobs/NAME/<leaf>, a list of what each host has told. */
struct question {
	const char *leaf, *member;
	void (*add)(const struct store_place *host, void *arg);
};
static const struct question questions[] = { { "feeds", "Feeds", add_feeds },
	                                     { "definitions", "MetricDefinitions", add_counts } };

static int answer_of(const struct api *api, const struct stored_job *j, const struct question *q, json_t **ret,
                     struct err *e)
{
	struct look l = { .api = api, .list = json_array() };
	int rc = store_job_each_host(api->store, KIND_TRAINING, str_of(j->name), q->add, &l, e);

	if (rc == 0 && l.why.kind) {
		*e = l.why;
		rc = -1;
	}
	if (rc < 0) {
		json_decref(l.list);
		return -1;
	}
	*ret = json_pack("{ss so}", "TrainingJobName", j->name, q->member, l.list);
	must(*ret);
	return 0;
}

static void answer_question(const struct api *api, const struct http_request *r, struct str name,
                            const struct question *q, struct http_response *out)
{
	struct store_description d;
	_cleanup_free_ char *text = NULL;
	struct err e = { 0 };
	json_t *j;
	int rc;

	if (store_describe(api->store, KIND_TRAINING, name, &d, &e) < 0) {
		refuse_err(r, out, &e);
		return;
	}
	rc = answer_of(api, &d.job, q, &j, &e);
	store_description_fini(&d);
	if (rc < 0) {
		refuse_err(r, out, &e);
		return;
	}
	text = json_dumps(j, JSON_COMPACT);
	json_decref(j);
	must(text);
	buf_z(&out->body, text);
	http_add_header(out, "Content-Type", "application/json");
}

/* It holds the tokens of that host, so no session gets it. */
static void answer_spec(const struct api *api, const struct http_request *r, const struct api_auth *a, struct str name,
                        unsigned host, struct http_response *out)
{
	_cleanup_free_ char *text = NULL;
	char id[JOB_ID_BYTES];
	struct wall created;
	struct err e = { 0 };
	json_t *spec;

	if (a->session) {
		refuse(r, out, 403, "AccessDeniedException", "Work orders are not for sessions.");
		return;
	}
	if (!api->desk) {
		refuse(r, out, 404, "ResourceNotFound",
		       "Hosts are not started by hand here: bloomery.conf has no `launcher = hand`.");
		return;
	}
	if ((store_job_locate(api->store, KIND_TRAINING, name, host, id, &created, &e) < 0 &&
	     store_job_locate(api->store, KIND_TRANSFORM, name, host, id, &created, &e) < 0) ||
	    desk_spec(api->desk, id, &spec, &e) < 0) {
		refuse_err(r, out, &e);
		return;
	}
	text = json_dumps(spec, JSON_INDENT(1));
	json_decref(spec);
	must(text);
	buf_z(&out->body, text);
	buf_c(&out->body, '\n');
	explicit_bzero(text, strlen(text));
	http_add_header(out, "Content-Type", "application/json");
	http_add_header(out, "Cache-Control", "no-store");
}

/* ---- which ---- */

bool can_be_job(struct str name)
{
	if (!name.n || name.n > JOB_NAME_MAX)
		return false;
	for (size_t i = 0; i < name.n; i++)
		if (!isalnum((unsigned char)name.p[i]) && name.p[i] != '-')
			return false;
	return true;
}

/* What no job can be called does not even get to the store. */
static const struct question *job_in(struct str path, struct buf *ret_name)
{
	struct str name;

	if (!str_skip(&path, STR("/bloomery/jobs/")))
		return NULL;
	name = str_cut(&path, '/');
	for (size_t i = 0; i < ARRAY_LEN(questions); i++)
		if (str_is(path, questions[i].leaf))
			return buf_uri_decode(ret_name, name, false) && can_be_job(buf_view(ret_name)) ? &questions[i]
			                                                                               : NULL;
	return NULL;
}

/* /bloomery/jobs/NAME/hosts/algo-N/spec */
static bool host_in(struct str path, struct buf *ret_name, unsigned *ret_host)
{
	struct str name, host;
	uint64_t n;

	if (!str_skip(&path, STR("/bloomery/jobs/")))
		return false;
	name = str_cut(&path, '/');
	if (!str_skip(&path, STR("hosts/")))
		return false;
	host = str_cut(&path, '/');
	if (!str_skip(&host, STR("algo-")) || !str_to_u64(host, &n) || n < 1 || n > 1000 || !str_is(path, "spec"))
		return false;
	*ret_host = (unsigned)n;
	return buf_uri_decode(ret_name, name, false) && can_be_job(buf_view(ret_name));
}

static void answer_preflight(const struct api *api, const struct http_request *r, const struct api_auth *a,
                             enum preflight_what what, struct http_response *out)
{
	struct err e = { 0 };

	if (preflight_answer(api, r, a, what, &out->body, &e) < 0) {
		buf_reset(&out->body);
		if (e.kind == ERR_DENIED || e.kind == ERR_SYNTAX)
			refuse(r, out, e.kind == ERR_DENIED ? 403 : 400, err_info[e.kind].wire, e.frame[0]);
		else
			refuse_err(r, out, &e);
		return;
	}
	http_add_header(out, "Content-Type", "application/json");
}

static void answer_products(const struct api *api, const struct http_request *r, struct http_response *out)
{
	struct err e = { 0 };

	if (products_answer(api, &out->body, &e) < 0) {
		buf_reset(&out->body);
		refuse_err(r, out, &e);
		return;
	}
	http_add_header(out, "Content-Type", "application/json");
}

static void answer_job_metrics(const struct api *api, const struct http_request *r, const struct job_metrics_path *path,
                               struct http_response *out)
{
	struct err e = { 0 };

	if (job_metrics_answer(api, r, path, &out->body, &e) < 0) {
		buf_reset(&out->body);
		refuse_err(r, out, &e);
		return;
	}
	http_add_header(out, "Content-Type", "application/json");
}

/* A session: the action, on whatever job. */
static int may(const struct api *api, const struct http_request *r, const struct job_metrics_path *path,
               const struct api_auth *a, struct err *e)
{
	const char *action = path->what                ? job_metrics_action(path)
	                     : preflight_path(r->path) ? "bloomery:Preflight"
	                     : is_products(r)          ? "bloomery:UpdateProducts"
	                     : is_metrics(r)           ? "bloomery:GetMetrics"
	                                               : "bloomery:GetFeeds";

	return authorise_action(api, a->session, action, STR("*"), e);
}

void own_answer(const struct api *api, const struct http_request *r, const struct sig_request *sig, struct api_auth *a,
                struct http_response *out)
{
	_cleanup_buf_ struct buf name = { 0 };
	_cleanup_(job_metrics_path_fini) struct job_metrics_path path = { 0 };
	enum preflight_what preflight = preflight_path(r->path);
	bool posted = (job_metrics_path(r->path, &path) && path.posted) || preflight || is_products(r);
	const char *method = posted ? "POST" : "GET";
	const struct question *asked;
	struct err e = { 0 };
	unsigned host;

	if (credentials_take(r)) {
		credentials_answer(api, r, out);
		return;
	}
	verify(api, r, sig, a);
	if (a->fault) {
		refuse_who(api, r, a, out);
	} else if (!str_is(r->method, method)) {
		refuse(r, out, 405, "MethodNotAllowed",
		       posted ? "There is only POST here." : "There is only GET here.");
		http_add_header(out, "Allow", "%s", method);
	} else if (may(api, r, &path, a, &e) < 0) {
		refuse(r, out, 403, "AccessDeniedException", e.frame[0]);
	} else if (preflight) {
		answer_preflight(api, r, a, preflight, out);
	} else if (is_products(r)) {
		answer_products(api, r, out);
	} else if (path.what) {
		answer_job_metrics(api, r, &path, out);
	} else if (is_metrics(r)) {
		answer_metrics(api, r, out);
	} else if ((asked = job_in(r->path, &name))) {
		answer_question(api, r, buf_view(&name), asked, out);
	} else if (buf_reset(&name), host_in(r->path, &name, &host)) {
		answer_spec(api, r, a, buf_view(&name), host, out);
	} else {
		refuse(r, out, 404, "ResourceNotFound",
		       "There is /metrics here, /bloomery/jobs/NAME/feeds, /definitions, /metrics and "
		       "/hosts/algo-N/spec, and /bloomery/preflight/training-job and /image.");
	}
	log_debug("own " PRIstr " from " PRIstr ": %d, request %s", ARGstr(r->path), ARGstr(r->remote), out->status,
	          r->request_id);
}
