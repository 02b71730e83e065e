/* SPDX-License-Identifier: Apache-2.0 */
#include "transform/post.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>

#include "transform/split.h"

enum { BUFFER_BYTES = 128 << 10, UPLOAD_BYTES = 512 << 10, SAID_MAX = 300 };

struct poster {
	CURL *curl;
	struct poster_to to;
};

/* What the callbacks of one request share. */
struct call {
	CURL *curl;
	const struct poster_to *to;
	const struct post *post;
	struct result *result; /* NULL: everything goes to body */
	struct buf *body;
	uint64_t sent;
	bool local;
	struct err err; /* kind is ERR_NONE while nothing of ours has gone wrong */
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void curl_start(void)
{
	must(curl_global_init(CURL_GLOBAL_DEFAULT) == 0);
}

struct poster *poster_new(const struct poster_to *to)
{
	struct poster *p = xcalloc(1, sizeof(*p));

	pthread_once(&curl_once, curl_start);
	p->curl = curl_easy_init();
	must(p->curl);
	p->to = *to;
	return p;
}

void poster_free(struct poster *p)
{
	if (!p)
		return;
	curl_easy_cleanup(p->curl);
	free(p);
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
	struct call *c = arg;
	long status = 0;
	size_t room = REFUSAL_MAX - c->body->n;

	curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
	if (c->result && status / 100 == 2) {
		if (result_add(c->result, (struct str){ p, size * n }, &c->err) == 0)
			return size * n;
		c->local = true;
		return 0;
	}
	buf_add(c->body, p, size * n < room ? size * n : room);
	return size * n;
}

static size_t on_read(char *p, size_t size, size_t n, void *arg)
{
	struct call *c = arg;
	size_t got = size * n;

	if (!c->post->stream && !c->post->is_part) {
		if (got > c->post->body.n - c->sent)
			got = c->post->body.n - c->sent;
		memcpy(p, c->post->body.p + c->sent, got);
		c->sent += got;
		return got;
	}
	if (c->post->is_part && got > c->post->size - c->sent)
		got = (size_t)(c->post->size - c->sent);
	if (c->post->is_part ? reader_part(c->post->file, c->post->at + c->sent, p, got, &c->err) < 0
	                     : reader_read(c->post->stream, p, got, &got, &c->err) < 0) {
		c->local = true;
		return CURL_READFUNC_ABORT;
	}
	c->sent += got;
	if (c->post->lines)
		*c->post->lines += split_count_lines((struct str){ p, got });
	return got;
}

/* A connection that was kept and turned out to be closed is replaced, and the body sent again. */
static int on_seek(void *arg, curl_off_t offset, int origin)
{
	struct call *c = arg;

	if (origin != SEEK_SET || offset != 0)
		return CURL_SEEKFUNC_FAIL;
	c->sent = 0;
	if (c->post->stream)
		reader_rewind(c->post->stream);
	if (c->post->lines)
		*c->post->lines = 0;
	return CURL_SEEKFUNC_OK;
}

static curl_socket_t on_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
	struct call *c = arg;
	struct err why = { 0 };
	int fd;

	(void)purpose;
	(void)a;
	fd = dial(c->to->dialer, c->to->index, &why);
	if (fd < 0 && why.kind != ERR_TRAINER) {
		c->err = why;
		c->local = true;
	}
	return fd < 0 ? CURL_SOCKET_BAD : fd;
}

static void set_common(struct poster *p, const char *url, struct call *c, long timeout_ms, char *errors)
{
	CURL *curl = p->curl;

	curl_easy_reset(curl); /* keeps the connection */
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, errors);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http");
	curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(curl, CURLOPT_USERAGENT, "bloomery/" BLOOMERY_VERSION);
	curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, (long)BUFFER_BYTES);
	curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, (long)UPLOAD_BYTES);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, timeout_ms);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, c);
	if (p->to.dialer && p->to.dialer->fd >= 0) {
		curl_easy_setopt(curl, CURLOPT_IPRESOLVE, (long)CURL_IPRESOLVE_V4);
		curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, on_socket);
		curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, c);
	}
}

static struct curl_slist *add_header(struct curl_slist *list, const char *name, const char *value)
{
	_cleanup_free_ char *line = value && *value ? strf("%s: %s", name, value) : strf("%s:", name);

	list = curl_slist_append(list, line);
	must(list);
	return list;
}

static struct curl_slist *set_post(CURL *curl, const struct post *post, struct call *c)
{
	struct curl_slist *headers = add_header(NULL, "Expect", NULL);

	headers = add_header(headers, "Content-Type", post->content_type);
	headers = add_header(headers, "Accept", post->accept);
	curl_easy_setopt(curl, CURLOPT_POST, 1L);
	if (post->stream || post->chunked)
		headers = add_header(headers, "Transfer-Encoding", "chunked");
	else
		curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE,
		                 (curl_off_t)(post->is_part ? post->size : post->body.n));
	if (post->stream || post->chunked || post->is_part) {
		curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_read);
		curl_easy_setopt(curl, CURLOPT_READDATA, c);
		curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, on_seek);
		curl_easy_setopt(curl, CURLOPT_SEEKDATA, c);
	} else {
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, post->body.n ? post->body.p : "");
	}
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	return headers;
}

/* A status that is none of success, with the first line of what the container says to it. */
static int refused(const struct poster *p, const struct post_reply *r, struct err *e)
{
	struct str rest = str_trim(buf_view(&r->refusal)), said = str_trim(str_cut(&rest, '\n'));
	_cleanup_buf_ struct buf safe = { 0 };

	if (said.n > SAID_MAX)
		said.n = SAID_MAX;
	for (size_t i = 0; i < said.n; i++) /* may be any bytes */
		buf_c(&safe, said.p[i] >= 0x20 && said.p[i] < 0x7f ? said.p[i] : '?');
	return err_set(e, r->status / 100 == 4 ? ERR_CLIENT : ERR_TRAINER, "%s answered %d to POST /invocations%s%s",
	               p->to.name, r->status, said.n ? ": " : "", said.n ? safe.p : "");
}

int poster_invoke(struct poster *p, const struct post *post, struct result *result, struct post_reply *ret,
                  struct err *e)
{
	struct call c = { .curl = p->curl, .to = &p->to, .post = post, .result = result, .body = &ret->refusal };
	_cleanup_free_ char *url = strf("%s/invocations", p->to.address);
	char errors[CURL_ERROR_SIZE] = "";
	struct curl_slist *headers;
	const char *type = NULL;
	long status = 0;
	CURLcode rc;

	set_common(p, url, &c, (long)post->timeout_s * 1000, errors);
	headers = set_post(p->curl, post, &c);
	rc = curl_easy_perform(p->curl);
	curl_easy_getinfo(p->curl, CURLINFO_RESPONSE_CODE, &status);
	curl_slist_free_all(headers);
	buf_reset(&ret->type);
	if (rc == CURLE_OK && curl_easy_getinfo(p->curl, CURLINFO_CONTENT_TYPE, &type) == CURLE_OK && type)
		buf_z(&ret->type, type);
	ret->local = c.local;
	ret->status = rc == CURLE_OK || status / 100 > 2 ? (int)status : 0;
	if (c.err.kind != ERR_NONE) {
		if (e)
			*e = c.err;
		return -1;
	}
	if (ret->status)
		return ret->status / 100 == 2 ? 0 : refused(p, ret, e);
	if (rc == CURLE_OPERATION_TIMEDOUT)
		return err_set(e, ERR_TRAINER, "%s did not answer POST /invocations within %u s", p->to.name,
		               post->timeout_s);
	return err_set(e, ERR_TRAINER, "%s did not answer POST /invocations: %s", p->to.name,
	               errors[0] ? errors : curl_easy_strerror(rc));
}

void post_reply_fini(struct post_reply *r)
{
	buf_fini(&r->refusal);
	buf_fini(&r->type);
}

int poster_get(struct poster *p, const char *path, unsigned timeout_ms, int *ret_status, struct buf *ret_body,
               struct err *e)
{
	struct call c = { .curl = p->curl, .to = &p->to, .body = ret_body };
	_cleanup_free_ char *url = strf("%s%s", p->to.address, path);
	char errors[CURL_ERROR_SIZE] = "";
	long status = 0;
	CURLcode rc;

	buf_reset(ret_body);
	set_common(p, url, &c, (long)timeout_ms, errors);
	rc = curl_easy_perform(p->curl);
	curl_easy_getinfo(p->curl, CURLINFO_RESPONSE_CODE, &status);
	if (c.err.kind != ERR_NONE) {
		if (e)
			*e = c.err;
		return -1;
	}
	if (rc != CURLE_OK)
		return err_set(e, ERR_TRAINER, "GET %s: %s", path, errors[0] ? errors : curl_easy_strerror(rc));
	*ret_status = (int)status;
	return 0;
}
