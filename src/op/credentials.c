/* SPDX-License-Identifier: Apache-2.0 */
#include "op/credentials.h"

#include <stdlib.h>

#include "base/log.h"
#include "http/server.h"
#include "iam/iam.h"
#include "store/store.h"

#define HOST_PATH "/bloomery/credentials"
#define CONTAINER_PATH "/v2/credentials/"

/* An open request of ours has no bearer for another server, and "v2" is no bucket's name. */
static bool bearer(const struct http_request *r, struct str *ret_token)
{
	struct str rest = str_trim(http_header_get(r, "Authorization")), word = str_cut(&rest, ' ');

	*ret_token = str_trim(rest);
	return str_eq_nocase(word, STR("Bearer"));
}

bool credentials_take(const struct http_request *r)
{
	struct str token;

	return str_starts(r->path, STR(CONTAINER_PATH)) || (str_is(r->path, HOST_PATH) && bearer(r, &token));
}

static void refuse(struct http_response *out, int status, const char *code, const char *message)
{
	json_t *j = json_pack("{ss ss}", "code", code, "message", message);
	_cleanup_free_ char *text = json_dumps(j, JSON_COMPACT);

	json_decref(j);
	must(text);
	out->status = status;
	buf_reset(&out->body);
	buf_z(&out->body, text);
	http_add_header(out, "Content-Type", "application/json");
}

/* Who asks; false: nobody we know. */
static bool who_asks(const struct api *api, const struct http_request *r, struct iam_mint *ret, char **ret_id,
                     char **ret_name)
{
	enum iam_purpose purpose = IAM_FOR_CONTAINER;
	struct str token = r->path;

	if (!api->iam)
		return false;
	if (!str_skip(&token, STR(CONTAINER_PATH))) {
		purpose = IAM_FOR_HOST;
		(void)bearer(r, &token);
	}
	if (!iam_host_of(api->iam, purpose, token, ret_id, ret_name, &ret->host))
		return false;
	ret->job_id = str_of(*ret_id);
	ret->job_name = ret->session = str_of(*ret_name);
	return true;
}

static int role_of(const struct api *api, struct str job_id, char **ret, struct err *e)
{
	_cleanup_free_ char *text = NULL;
	struct store_brief job;
	const char *role;
	json_t *j;
	int rc;

	if (store_job_brief(api->store, job_id, &job, e) < 0)
		return -1;
	rc = store_job_request(api->store, job.n, &text, e);
	store_brief_fini(&job);
	if (rc < 0)
		return -1;
	j = json_loads(text, JSON_ALLOW_NUL, NULL);
	role = json_string_value(json_object_get(j, "RoleArn"));
	*ret = role ? xstrdup(role) : NULL;
	json_decref(j);
	return *ret ? 0 : err_set(e, ERR_BUG, "the request kept for a training job has no role");
}

/* SDKs read whole seconds best. */
static void add_time(struct buf *out, struct wall at)
{
	char text[CLOCK_TEXT_BYTES];

	buf_f(out, "%.19sZ", wall_iso8601(at, text));
}

static int give(const struct api *api, struct iam_mint *mint, struct wall now, struct http_response *out, struct err *e)
{
	_cleanup_(iam_session_unrefp) struct iam_session *s = NULL;
	_cleanup_free_ char *role = NULL, *text = NULL;
	_cleanup_buf_ struct buf until = { 0 };
	json_t *j;

	if (role_of(api, mint->job_id, &role, e) < 0)
		return -1;
	if (!iam_knows_role(api->iam, str_of(role)))
		return err_set(e, ERR_DENIED, "the role %s is not in bloomery.conf any more, and roles are strict",
		               role);
	mint->role = str_of(role);
	mint->expires.ms = now.ms + CREDENTIALS_LIFE_S * 1000LL;
	if (iam_mint(api->iam, mint, &s, e) < 0)
		return -1;
	add_time(&until, s->expires);
	j = json_pack("{ss ss ss ss ss}", "RoleArn", s->role, "AccessKeyId", s->id, "SecretAccessKey", s->secret,
	              "Token", s->token, "Expiration", until.p);
	text = json_dumps(j, JSON_COMPACT);
	json_decref(j);
	must(text);
	buf_z(&out->body, text);
	explicit_bzero(text, strlen(text));
	http_add_header(out, "Content-Type", "application/json");
	http_add_header(out, "Cache-Control", "no-store");
	return 0;
}

void credentials_answer(const struct api *api, const struct http_request *r, struct http_response *out)
{
	_cleanup_free_ char *id = NULL, *name = NULL;
	struct iam_mint mint = { 0 };
	struct err e = { 0 };

	if (!str_is(r->method, "GET")) {
		refuse(out, 405, "MethodNotAllowed", "There is only GET here.");
		http_add_header(out, "Allow", "GET");
	} else if (!who_asks(api, r, &mint, &id, &name)) {
		log_info("credentials refused to " PRIstr ": the token is none, or its job has ended; request %s",
		         ARGstr(r->remote), r->request_id);
		refuse(out, 401, "AccessDenied", "The token is not one of a host whose training job runs.");
	} else if (give(api, &mint, r->arrived, out, &e) < 0) {
		log_err(LOG_WARN, &e, "credentials for training job %s, request %s", name, r->request_id);
		refuse(out, e.kind == ERR_DENIED ? 403 : 500, e.kind == ERR_DENIED ? "AccessDenied" : "InternalFailure",
		       e.kind == ERR_DENIED ? e.frame[0] : "The credentials cannot be made just now.");
	} else {
		log_debug("credentials for training job %s, host %u, request %s", name, mint.host, r->request_id);
	}
}
