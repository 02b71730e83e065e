/* SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "alone/inside.h"
#include "base/fd.h"
#include "base/log.h"

enum { FIRST_MS = 100, LAST_MS = 2000, REPLY_MAX = 2 << 20 };

void wire_init(struct wire *w, const struct job_spec *s, bool (*cancelled)(void *arg), void *arg)
{
	*w = (struct wire){ .http = http_client_new(),
		            .base = strf("%s/bloomery/hosts/%s/", s->server, s->id),
		            .authorization = strf("Authorization: Bearer %s", s->token),
		            .cancelled = cancelled,
		            .arg = arg };
}

void wire_fini(struct wire *w)
{
	http_client_free(w->http);
	free(w->base);
	if (w->authorization)
		explicit_bzero(w->authorization, strlen(w->authorization));
	free(w->authorization);
	*w = (struct wire){ 0 };
}

static int to_file(void *arg, struct str piece, struct err *e)
{
	return fd_write_all(*(int *)arg, piece.p, piece.n, e);
}

static int refused(const struct http_reply *r, struct err *e)
{
	static const struct {
		int status;
		enum err_kind kind;
	} kinds[] = { { 403, ERR_DENIED },
		      { 410, ERR_DENIED },
		      { 404, ERR_NOT_FOUND },
		      { 409, ERR_CONFLICT },
		      { 413, ERR_TOO_LARGE } };
	json_t *j = r->body.n ? json_loadb(r->body.p, r->body.n, 0, NULL) : NULL;
	const char *message = json_string_value(json_object_get(j, "message"));
	enum err_kind kind = ERR_INVALID;

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (kinds[i].status == r->status)
			kind = kinds[i].kind;
	err_set(e, kind, "bloomeryd refuses (%d): %s", r->status, message ? message : "it does not say why");
	json_decref(j);
	return -1;
}

/* 1: to be tried again. */
static int try(struct wire *w, const struct wire_request *q, json_t **ret, struct err *e)
{
	_cleanup_free_ char *url = strf("%s%s", w->base, q->path);
	const char *const headers[] = { w->authorization, "Content-Type: application/octet-stream", "Expect:", NULL };
	int to = q->to_fd;
	struct http_call call = { .method = q->method,
		                  .url = url,
		                  .headers = headers,
		                  .body = q->body,
		                  .body_fd = q->body_fd,
		                  .body_length = q->body_length,
		                  .sink = to >= 0 ? to_file : NULL,
		                  .sink_arg = &to,
		                  .max_reply = REPLY_MAX,
		                  .cancelled = w->cancelled,
		                  .cancelled_arg = w->arg,
		                  .idle_timeout_s = q->idle_s };
	struct http_reply reply = { 0 };
	int rc = 0;

	if (to >= 0 && (ftruncate(to, 0) < 0 || lseek(to, 0, SEEK_SET) < 0))
		return err_sys(e, "writing what is fetched");
	if (q->body_fd >= 0 && lseek(q->body_fd, 0, SEEK_SET) < 0)
		return err_sys(e, "reading what is sent");
	if (http_client_call(w->http, &call, &reply, e) < 0)
		return e->kind == ERR_IO && e->os != ENOSPC ? 1 : -1;
	if (reply.status >= 500) {
		err_set(e, ERR_IO, "it answers with HTTP status %d", reply.status);
		rc = 1;
	} else if (reply.status / 100 != 2) {
		rc = refused(&reply, e);
	} else if (ret) {
		*ret = reply.body.n ? json_loadb(reply.body.p, reply.body.n, 0, NULL) : NULL;
		if (!*ret)
			rc = err_set(e, ERR_INVALID, "bloomeryd's answer is not JSON");
	}
	http_reply_fini(&reply);
	return rc;
}

int wire_call(struct wire *w, const struct wire_request *q, json_t **ret, struct err *e)
{
	int64_t wait_ms = FIRST_MS;
	int rc;

	w->unsure = false;
	for (;;) {
		struct err why = { 0 };

		rc = try(w, q, ret, &why);
		if (rc <= 0) {
			if (w->said && rc == 0)
				log_info("bloomeryd answers again");
			w->said = w->said && rc < 0;
			if (rc < 0 && e)
				*e = why;
			return rc;
		}
		w->unsure = true;
		if (w->cancelled && w->cancelled(w->arg))
			return err_set(e, ERR_BUSY, "the host is to stop");
		if (!w->said && wait_ms >= LAST_MS)
			log_err(LOG_WARN, &why, "bloomeryd does not answer; all goes on, and it is asked again");
		w->said |= wait_ms >= LAST_MS;
		poll(NULL, 0, (int)wait_ms); /* there is nothing to wait on but time */
		wait_ms = wait_ms * 2 > LAST_MS ? LAST_MS : wait_ms * 2;
	}
}
