/* SPDX-License-Identifier: Apache-2.0 */
#include "op/api.h"

#include <stdlib.h>

#include "aws/sigv4.h"
#include "aws/wire.h"
#include "base/hash.h"
#include "base/log.h"
#include "blob/front.h"
#include "http/server.h"
#include "op/answers.h"
#include "op/api_auth.h"
#include "op/api_body.h"
#include "op/api_reply.h"
#include "op/authorise.h"
#include "op/elsewhere.h"
#include "op/own.h"
#include "store/store.h"

/* One request from its header to its answer; r->ctx. */
struct request {
	const struct api *api;
	struct api_auth auth;
	enum api_protocol protocol;
	const struct service *service; /* NULL: none of ours */
	const struct operation *op;    /* NULL: not in the model, or not known yet (query) */
	const struct api_op *row;      /* NULL: no handler */
	struct str op_name;            /* as asked for */
	struct answer_key key;         /* since verify() */
	struct sig_request sig;
	struct sig_header headers[];
};

/* The names credential scopes use for the services of the model. */
static const struct {
	const char *signing, *service;
} services[] = {
	{ "sagemaker", "sagemaker" },
	{ "logs", "logs" },
	{ "monitoring", "cloudwatch" },
	{ "ecr", "ecr" },
	{ "sts", "sts" },
	{ "iam", "iam" },
};

static const struct service *find_service(struct str signing)
{
	for (size_t i = 0; i < ARRAY_LEN(services); i++)
		if (str_is(signing, services[i].signing))
			return model_service(services[i].service);
	return NULL;
}

static const struct api_op *find_row(const struct service *service, const struct operation *op)
{
	for (size_t i = 0; op && i < api_op_count; i++)
		if (strcmp(api_ops[i].service, service->name) == 0 && strcmp(api_ops[i].name, op->name) == 0)
			return &api_ops[i];
	return NULL;
}

/* ---- the header ---- */

static bool header_starts(const struct http_request *r, const char *name, const char *prefix)
{
	struct str value = http_header_get(r, name), want = str_of(prefix);

	return value.n >= want.n && str_eq_nocase((struct str){ value.p, want.n }, want);
}

/* What a request speaks when its signature does not say for whom it is. S3 is what is left. */
static bool looks_like_json(const struct http_request *r)
{
	return http_header_get(r, "X-Amz-Target").p || header_starts(r, "Content-Type", "application/x-amz-json") ||
	       http_header_get(r, "smithy-protocol").p;
}

static bool looks_like_query(const struct http_request *r)
{
	if (!str_is(r->path, "/"))
		return false;
	return header_starts(r, "Content-Type", "application/x-www-form-urlencoded") ||
	       str_starts(r->query, STR("Action=")) || str_find(r->query, STR("&Action=")) >= 0;
}

/* X-Amz-Target: PREFIX.Operation. The operation stays unknown when the prefix is another service's. */
static void find_json_op(struct request *q, const struct http_request *r)
{
	struct str target = str_trim(http_header_get(r, "X-Amz-Target")), prefix = target, name;

	q->op_name = target;
	name = str_cut_last(&prefix, '.');
	if (!q->service || !q->service->target_prefix || !str_is(prefix, q->service->target_prefix))
		return;
	q->op_name = name;
	q->op = model_operation(q->service, name);
	q->row = find_row(q->service, q->op);
}

/* POST /service/PREFIX/operation/NAME */
static void find_cbor_op(struct request *q, const struct http_request *r)
{
	struct str rest = r->path, prefix;

	q->op_name = r->path;
	if (!str_skip(&rest, STR("/service/")))
		return;
	prefix = str_cut(&rest, '/');
	if (!str_skip(&rest, STR("operation/")) || !q->service || !q->service->target_prefix ||
	    !str_is(prefix, q->service->target_prefix))
		return;
	q->op_name = rest;
	q->op = model_operation(q->service, rest);
	q->row = find_row(q->service, q->op);
}

/* Which protocol, which service, and which operation as far as the header tells. */
static void find_target(struct request *q, const struct http_request *r, bool json, bool query)
{
	q->service = json || query ? NULL : model_rest_service(q->auth.claim.service, r->method, r->path, &q->op);
	if (q->service) {
		q->protocol = API_REST;
		q->op_name = str_of(q->op->name);
		q->row = find_row(q->service, q->op);
		return;
	}
	q->service = find_service(q->auth.claim.service);
	if (str_is(str_trim(http_header_get(r, "smithy-protocol")), "rpc-v2-cbor")) {
		q->protocol = API_CBOR;
		find_cbor_op(q, r);
		return;
	}
	q->protocol = query || (!json && q->service && !q->service->target_prefix) ? API_QUERY : API_JSON;
	if (q->protocol == API_JSON)
		find_json_op(q, r);
}

static struct request *request_new(const struct api *api, const struct http_request *r)
{
	struct request *q = xcalloc(1, sizeof(*q) + r->header_count * sizeof(q->headers[0]));

	q->api = api;
	for (size_t i = 0; i < r->header_count; i++)
		q->headers[i] = (struct sig_header){ r->headers[i].name, r->headers[i].value };
	q->sig = (struct sig_request){ r->method, r->path, r->query, q->headers, r->header_count };
	return q;
}

static void request_free(struct request *q)
{
	api_auth_fini(&q->auth);
	free(q);
}

/* ---- S3 ---- */

/* The value of a presigned query's X-Amz-Content-Sha256, which some signers put there. */
static struct str query_payload_hash(struct str query)
{
	while (query.n) {
		struct str value = str_cut(&query, '&'), key = str_cut(&value, '=');

		if (str_eq_nocase(key, STR("X-Amz-Content-Sha256")))
			return value;
	}
	return (struct str){ 0 };
}

static struct str s3_payload_hash(const struct request *q, const struct http_request *r)
{
	struct str hash = { 0 };

	if (q->auth.claim.presigned)
		hash = query_payload_hash(r->query);
	if (!hash.n)
		hash = str_trim(http_header_get(r, "x-amz-content-sha256"));
	if (!hash.n && q->auth.claim.presigned)
		hash = STR("UNSIGNED-PAYLOAD");
	return hash;
}

/* Verifies what the header says and hands the request over; q is not needed afterwards. */
static void route_s3(struct request *q, struct http_request *r, struct http_route *ret)
{
	struct api_auth *a = &q->auth;
	struct sig_claim *c = &a->claim;
	_cleanup_buf_ struct buf scope = { 0 }, why = { 0 };
	struct s3_auth auth = { .region = q->api->region,
		                .account = q->api->account,
		                .claim = c,
		                .seed = c->signature,
		                .iam = q->api->iam,
		                .session = a->session };

	auth.payload_hash = s3_payload_hash(q, r);
	if (!a->fault && !auth.payload_hash.n) {
		a->fault = SIG_INCOMPLETE;
		a->why = "Missing required header for this request: x-amz-content-sha256";
	}
	if (!a->fault)
		api_auth_verify(q->api, &q->sig, auth.payload_hash, true, a);
	buf_f(&scope, PRIstr "/" PRIstr "/" PRIstr "/aws4_request", ARGstr(c->date8), ARGstr(c->region),
	      ARGstr(c->service));
	auth.scope = buf_view(&scope);
	auth.fault = a->fault;
	if (a->fault)
		api_auth_say(q->api, a, r->arrived, &why);
	else
		auth.secret = str_of(a->key->secret);
	auth.why = a->fault ? why.p : NULL;
	s3_front_route(q->api->blobs, &auth, r, ret);
}

/* ---- answers ---- */

static void fail(const struct request *q, const struct http_request *r, struct http_response *out,
                 const struct api_failure *f)
{
	api_reply_error(out, q->protocol, q->service, r->request_id, f);
	log_debug("api %s " PRIstr " from " PRIstr ": %d %s, request %s", q->service ? q->service->name : "?",
	          ARGstr(q->op_name), ARGstr(r->remote), f->http, f->type, r->request_id);
}

/* words: the whole of it, where e holds only its beginning; else empty. */
static void fail_err(const struct request *q, const struct http_request *r, struct http_response *out,
                     const struct err *e, struct str words)
{
	struct api_failure f = api_failure_of(q->protocol, q->service, e->kind);
	_cleanup_free_ char *text = xcalloc(1, ERR_FRAMES * ERR_FRAME_BYTES);

	f.message = words.n ? words : str_of(err_text(e, text, ERR_FRAMES * ERR_FRAME_BYTES));
	if (f.http >= 500 && e->kind != ERR_NO_HANDLER)
		log_err(LOG_ERROR, e, "request %s failed", r->request_id);
	if (e->kind == ERR_DENIED)
		log_err(LOG_INFO, e, "refused, request %s", r->request_id);
	fail(q, r, out, &f);
}

static void fail_auth(const struct request *q, const struct http_request *r, struct http_response *out)
{
	const struct api_refusal *why = api_auth_refusal(q->auth.fault);
	_cleanup_buf_ struct buf text = { 0 };
	bool json = q->protocol != API_QUERY;
	struct api_failure f = { json ? why->json : why->query,
		                 json ? why->json_http : why->query_http,
		                 { 0 },
		                 q->service && q->service->query_compatible ? why->query : NULL };

	api_auth_say(q->api, &q->auth, r->arrived, &text);
	f.message = buf_view(&text);
	fail(q, r, out, &f);
}

/* The tools' stand-in for "no such permission": clients that probe IAM go on from it (contract 15). */
static void fail_iam(const struct request *q, const struct http_request *r, struct http_response *out)
{
	_cleanup_free_ char *who = api_caller_arn(q->api, q->auth.key);
	_cleanup_free_ char *text = strf("User: %s is not authorized to perform: iam:%.*s on resource: *", who,
	                                 (int)(q->op_name.n < 200 ? q->op_name.n : 200), q->op_name.p);
	struct api_failure f = { "AccessDenied", 403, str_of(text), NULL };

	fail(q, r, out, &f);
}

static void refuse_auth(struct http_request *r, const struct err *e, struct http_response *out)
{
	(void)e;
	fail_auth(r->ctx, r, out);
}

/* ---- the call ---- */

/* The header, when it names a hash, must name the body's; else the body's is what was signed. */
static void verify(struct request *q, const struct http_request *r)
{
	struct str named = str_trim(http_header_get(r, "x-amz-content-sha256"));
	_cleanup_buf_ struct buf hash = { 0 };

	q->key.op = q->row;
	sha256(buf_view(&r->body), q->key.body);
	buf_hex(&hash, q->key.body, sizeof(q->key.body));
	api_auth_verify(q->api, &q->sig, named.n ? named : buf_view(&hash), false, &q->auth);
	if (!q->auth.fault && named.n && !str_eq(named, buf_view(&hash)))
		q->auth.fault = SIG_BAD_BODY_HASH;
}

static int find_op(struct request *q, const struct http_request *r, struct err *e)
{
	if (!q->service)
		return err_set(e, ERR_UNKNOWN_OP, "The request is signed for '" PRIstr "', a service that is not here.",
		               ARGstr(q->auth.claim.service));
	if (!q->op_name.n && q->protocol == API_JSON)
		return err_set(e, ERR_UNKNOWN_OP,
		               str_is(r->path, "/")
		                       ? "The request has no X-Amz-Target header that names an operation."
		                       : "The request is for an API of '%s' that this server does not have.",
		               q->service->name);
	if (!q->op)
		return err_set(e, ERR_UNKNOWN_OP, "There is no operation '%.*s' in the API of '%s'.",
		               (int)(q->op_name.n < 200 ? q->op_name.n : 200), q->op_name.p, q->service->name);
	if (!q->row)
		return err_set(e, ERR_NO_HANDLER, "The operation %s of '%s' is not implemented by this server.",
		               q->op->name, q->service->name);
	return 0;
}

static const char *resource_of(const json_t *in)
{
	static const char *const members[] = { "TrainingJobName",  "AlgorithmName",   "ModelName",
		                               "ModelPackageName", "ModelPackageArn", "ModelPackageGroupName",
		                               "ResourceArn",      "logStreamName",   "logGroupName",
		                               "resourceArn" };

	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		const json_t *x = json_object_get(in, members[i]);

		if (json_is_string(x))
			return json_string_value(x);
	}
	return "-";
}

static void audit(const struct request *q, const struct http_request *r, const json_t *in, int status, const char *type)
{
	const char *who = q->auth.session ? q->auth.session->arn : q->auth.key->id;
	bool mutates = q->row->flags & API_MUTATES;

	if (mutates)
		log_info("api %s %s '%.256s' by %s from " PRIstr ": %d%s%s in %lld ms, request %s", q->service->name,
		         q->op->name, resource_of(in), who, ARGstr(r->remote), status, *type ? " " : "", type,
		         (long long)(wall_now().ms - r->arrived.ms), r->request_id);
	else
		log_debug("api %s %s by %s from " PRIstr ": %d%s%s, request %s", q->service->name, q->op->name, who,
		          ARGstr(r->remote), status, *type ? " " : "", type, r->request_id);
}

/* Whether the answer may be, or become, one that is given again. A body in disguise is not what its digest says. */
static bool is_kept(const struct request *q, const struct http_request *r)
{
	return q->api->answers && !q->auth.session && q->protocol == API_JSON && q->row && (q->row->flags & API_KEPT) &&
	       !http_header_get(r, "Content-Encoding").p;
}

static bool answer_again(const struct request *q, const struct http_request *r, struct http_response *out)
{
	uint64_t version;

	if (!is_kept(q, r))
		return false;
	version = answers_version(q->api->answers, q->api->store);
	if (version == STORE_CHANGING || !answers_get(q->api->answers, &q->key, version, &out->body))
		return false;
	api_reply_result(out, q->protocol, q->service, q->op, r->request_id, NULL);
	audit(q, r, NULL, 200, "");
	return true;
}

/* Runs the handler of a verified request. in is borrowed; it is changed. */
static void run(const struct request *q, const struct http_request *r, json_t *in, struct http_response *out)
{
	_cleanup_buf_ struct buf violations = { 0 }, words = { 0 };
	const struct api_call call = {
		.api = q->api,
		.service = q->service,
		.op = q->op,
		.caller = q->auth.key,
		.session = q->auth.session,
		.now = r->arrived,
		.request_id = r->request_id,
		.raw = &out->body,
		.words = &words,
	};
	struct api_failure f;
	struct err e; /* large: not cleared for nothing */
	uint64_t version = is_kept(q, r) ? answers_version(q->api->answers, q->api->store) : STORE_CHANGING;
	json_t *result = NULL;

	if (model_check_text(q->op, in, &violations, &e) < 0) {
		f = api_failure_of(q->protocol, q->service, e.kind);
		f.message = buf_view(&violations);
		fail(q, r, out, &f);
		audit(q, r, in, f.http, f.type);
		return;
	}
	if (authorise(&call, q->row, in, &e) < 0 || model_refuse(q->op, in, &e) < 0 ||
	    q->row->run(&call, in, &result, &e) < 0) {
		json_decref(result);
		fail_err(q, r, out, &e, buf_view(&words));
		audit(q, r, in, out->status, api_failure_of(q->protocol, q->service, e.kind).type);
		return;
	}
	if (version != STORE_CHANGING && !result && version == answers_version(q->api->answers, q->api->store))
		answers_put(q->api->answers, &q->key, version, buf_view(&out->body));
	api_reply_result(out, q->protocol, q->service, q->op, r->request_id, result);
	json_decref(result);
	audit(q, r, in, 200, "");
}

static int read_body(struct request *q, struct http_request *r, struct buf *space, json_t **ret, struct err *e)
{
	struct str body;

	if (api_body_decode(buf_view(&r->body), http_header_get(r, "Content-Encoding"), space, &body, e) < 0)
		return -1;
	if (q->protocol == API_JSON || q->protocol == API_REST)
		return find_op(q, r, e) < 0 ? -1 : api_body_json(body, ret, e);
	if (q->protocol == API_CBOR)
		return find_op(q, r, e) < 0 ? -1 : wire_read_cbor(body, ret, e);
	return api_body_query(body, r->query, ret, e);
}

/* The operation's name is among the parameters. */
static void run_query(struct request *q, const struct http_request *r, const json_t *flat, struct http_response *out)
{
	struct err e; /* large: not cleared for nothing */
	json_t *in;

	q->op_name = str_of(json_string_value(json_object_get(flat, "Action")));
	q->op = q->service ? model_operation(q->service, q->op_name) : NULL;
	q->row = find_row(q->service, q->op);
	if (q->service && strcmp(q->service->name, "iam") == 0 && !q->row) {
		fail_iam(q, r, out);
	} else if (find_op(q, r, &e) < 0) {
		fail_err(q, r, out, &e, (struct str){ 0 });
	} else {
		in = api_body_tree(q->op, flat);
		run(q, r, in, out);
		json_decref(in);
	}
	q->op_name = (struct str){ 0 }; /* it viewed flat */
}

static void respond(struct http_request *r, const struct err *body_error, struct http_response *out)
{
	struct request *q = r->ctx;
	_cleanup_buf_ struct buf space = { 0 };
	struct err e; /* large: not cleared for nothing */
	json_t *in = NULL;

	if (body_error) {
		fail_err(q, r, out, body_error, (struct str){ 0 });
		return;
	}
	verify(q, r);
	if (q->auth.fault) {
		fail_auth(q, r, out);
		return;
	}
	if (answer_again(q, r, out))
		return;
	if (read_body(q, r, &space, &in, &e) < 0) {
		fail_err(q, r, out, &e, (struct str){ 0 });
		return;
	}
	if (q->protocol == API_QUERY) {
		run_query(q, r, in, out);
	} else {
		run(q, r, in, out);
	}
	json_decref(in);
}

/* ---- what is no API of AWS ---- */

static void done(struct http_request *r)
{
	request_free(r->ctx);
	r->ctx = NULL;
}

static void respond_own(struct http_request *r, const struct err *body_error, struct http_response *out)
{
	struct request *q = r->ctx;

	if (body_error)
		fail_err(q, r, out, body_error, (struct str){ 0 });
	else
		own_answer(q->api, r, &q->sig, &q->auth, out);
}

static void refuse_own(struct http_request *r, const struct err *e, struct http_response *out)
{
	(void)e;
	respond_own(r, NULL, out);
}

/* Takes q. What needs no body does not wait for one, and what is refused does not take a worker. */
static void route_own(struct request *q, struct http_request *r, struct http_route *ret)
{
	own_auth_head(q->api, r, &q->auth);
	r->ctx = q;
	ret->done = done;
	ret->collect_max = API_BODY_MAX;
	ret->refuse = q->auth.fault != SIG_OK;
	ret->respond = ret->refuse ? refuse_own : respond_own;
	ret->slow = !ret->refuse;
}

void api_route(void *arg, struct http_request *r, struct http_route *ret)
{
	const struct api *api = arg;
	bool json, query, claimed;
	struct request *q;

	if (elsewhere_takes(r)) { /* which has no signature, but a token */
		elsewhere_route(api, r, ret);
		return;
	}
	q = request_new(api, r);
	api_auth_head(api, &q->sig, r->arrived, &q->auth);
	if (own_takes(r, &q->auth)) {
		route_own(q, r, ret);
		return;
	}
	claimed = q->auth.claim.service.n && q->auth.fault != SIG_INCOMPLETE;
	json = looks_like_json(r);
	query = !json && looks_like_query(r);
	if (claimed ? str_is(q->auth.claim.service, "s3") : !json && !query) {
		route_s3(q, r, ret);
		request_free(q);
		return;
	}
	find_target(q, r, json, query);
	r->ctx = q;
	ret->done = done;
	ret->collect_max = API_BODY_MAX;
	ret->refuse = q->auth.fault != SIG_OK;
	ret->respond = ret->refuse ? refuse_auth : respond;
	/* Which operation of query it is, is in the body: those of services that have long ones may be one. */
	ret->slow = q->row ? q->row->flags & (API_MUTATES | API_LONG) : q->service && q->service->query_compatible;
}
