/* SPDX-License-Identifier: Apache-2.0 */
#include "http/client.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "http/direct.h"

enum { DEFAULT_CONNECT_S = 10, DEFAULT_IDLE_S = 60, DEFAULT_MAX_REPLY = 64 << 10 };

struct http_client {
	CURL *curl;            /* NULL until it is needed */
	struct direct *direct; /* likewise */
	char *no_proxy;
};

/* What the callbacks of one call share. */
struct transfer {
	const struct http_call *call;
	struct http_client *client;
	struct http_reply reply;
	struct err err; /* kind is ERR_NONE while nothing of ours has gone wrong */
	off_t start;
	uint64_t sent;
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void curl_start(void)
{
	must(curl_global_init(CURL_GLOBAL_DEFAULT) == 0);
}

struct http_client *http_client_new(void)
{
	struct http_client *c = xcalloc(1, sizeof(*c));
	const char *env = getenv("no_proxy");

	c->no_proxy = strf("%s%s127.0.0.1,localhost,::1", env ? env : "", env && *env ? "," : "");
	return c;
}

void http_client_free(struct http_client *c)
{
	if (!c)
		return;
	curl_easy_cleanup(c->curl);
	direct_free(c->direct);
	free(c->no_proxy);
	free(c);
}

void http_reply_fini(struct http_reply *r)
{
	buf_fini(&r->body);
	buf_fini(&r->headers);
	r->status = 0;
}

bool http_reply_header(const struct http_reply *r, const char *name, struct str *ret)
{
	struct str rest = buf_view(&r->headers);

	while (rest.n) {
		struct str value = str_cut(&rest, '\n'), key = str_cut(&value, ':');

		if (!str_eq_nocase(key, str_of(name)))
			continue;
		*ret = str_trim(value);
		return true;
	}
	return false;
}

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;

	if (str_starts((struct str){ p, size * n }, STR("HTTP/"))) /* a 100 Continue came before */
		buf_reset(&t->reply.headers);
	if (t->reply.headers.n + size * n > (256u << 10)) {
		err_set(&t->err, ERR_LIMIT, "the answer's header is larger than 256 KiB");
		return 0;
	}
	buf_add(&t->reply.headers, p, size * n);
	return size * n;
}

static int take_body(struct transfer *t, long status, struct str piece)
{
	size_t most = t->call->max_reply ? t->call->max_reply : DEFAULT_MAX_REPLY;

	if (t->call->sink && t->call->sink_status && status / 100 == 2 && status != t->call->sink_status)
		return err_set(&t->err, ERR_INVALID, "the server answered %ld where only %d would do", status,
		               t->call->sink_status);
	if (t->call->sink && status / 100 == 2)
		return t->call->sink(t->call->sink_arg, piece, &t->err);
	if (piece.n > most - t->reply.body.n)
		return err_set(&t->err, ERR_LIMIT, "the answer is larger than %zu bytes", most);
	buf_str(&t->reply.body, piece);
	return 0;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	long status = 0;

	curl_easy_getinfo(t->client->curl, CURLINFO_RESPONSE_CODE, &status);
	return take_body(t, status, (struct str){ p, size * n }) < 0 ? 0 : size * n;
}

static size_t on_read(char *p, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	uint64_t left = t->call->body_length - t->sent;
	size_t want = size * n < left ? size * n : (size_t)left;
	ssize_t got;

	if (!want)
		return 0;
	do
		got = pread(t->call->body_fd, p, want, t->start + (off_t)t->sent);
	while (got < 0 && errno == EINTR);
	if (got <= 0) {
		if (got < 0)
			err_sys(&t->err, "reading the file to send");
		else
			err_set(&t->err, ERR_IO, "the file to send became shorter while it was sent");
		return CURL_READFUNC_ABORT;
	}
	t->sent += (uint64_t)got;
	return (size_t)got;
}

static int on_seek(void *arg, curl_off_t offset, int origin)
{
	struct transfer *t = arg;

	if (origin != SEEK_SET || offset < 0)
		return CURL_SEEKFUNC_FAIL;
	t->sent = (uint64_t)offset;
	return CURL_SEEKFUNC_OK;
}

static int on_pause(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
	struct transfer *t = arg;

	(void)a, (void)b, (void)c, (void)d;
	if (!t->call->cancelled(t->call->cancelled_arg))
		return 0;
	err_set(&t->err, ERR_IO, "cancelled");
	return 1;
}

static bool has_header(const struct http_call *call, struct str name)
{
	for (const char *const *h = call->headers; h && *h; h++) {
		struct str rest = str_of(*h);

		if (str_eq_nocase(str_cut(&rest, ':'), name))
			return true;
	}
	return false;
}

static struct curl_slist *header_list(const struct http_call *call)
{
	static const char *const uncalled[] = { "Expect", "Content-Type",
		                                "Accept" }; /* what libcurl would add itself */
	struct curl_slist *list = NULL;

	for (const char *const *h = call->headers; h && *h; h++)
		must((list = curl_slist_append(list, *h)));
	for (size_t i = 0; i < ARRAY_LEN(uncalled); i++)
		if (!has_header(call, str_of(uncalled[i]))) {
			_cleanup_free_ char *none = strf("%s:", uncalled[i]);

			must((list = curl_slist_append(list, none)));
		}
	return list;
}

static int set_body(struct transfer *t, CURL *curl, struct err *e)
{
	const struct http_call *call = t->call;

	if (strcmp(call->method, "HEAD") == 0) {
		curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
		return 0;
	}
	if (call->body_fd >= 0) {
		t->start = lseek(call->body_fd, 0, SEEK_CUR);
		if (t->start < 0)
			return err_sys(e, "finding the place in the file to send");
		curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)call->body_length);
		curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_read);
		curl_easy_setopt(curl, CURLOPT_READDATA, t);
		curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, on_seek);
		curl_easy_setopt(curl, CURLOPT_SEEKDATA, t);
	} else if (call->body.n || strcmp(call->method, "PUT") == 0 || strcmp(call->method, "POST") == 0) {
		curl_easy_setopt(curl, CURLOPT_POST, 1L);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, call->body.p ? call->body.p : "");
		curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body.n);
	}
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, call->method);
	return 0;
}

static void set_options(struct transfer *t, CURL *curl, struct curl_slist *headers, char *errors)
{
	const struct http_call *call = t->call;

	curl_easy_setopt(curl, CURLOPT_URL, call->url);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, errors);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(curl, CURLOPT_NOPROXY, t->client->no_proxy);
	curl_easy_setopt(curl, CURLOPT_USERAGENT, "bloomery/" BLOOMERY_VERSION);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 256L << 10);
	curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, 256L << 10);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT,
	                 (long)(call->connect_timeout_s ? call->connect_timeout_s : DEFAULT_CONNECT_S));
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME,
	                 (long)(call->idle_timeout_s ? call->idle_timeout_s : DEFAULT_IDLE_S));
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, t);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, t);
	if (call->cancelled) {
		curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
		curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_pause);
		curl_easy_setopt(curl, CURLOPT_XFERINFODATA, t);
	}
}

static int by_curl(struct transfer *t, struct err *e)
{
	struct http_client *c = t->client;
	struct curl_slist *headers = header_list(t->call);
	char errors[CURL_ERROR_SIZE] = "";
	CURLcode rc = CURLE_OK;
	long status = 0;
	int r;

	if (!c->curl) {
		pthread_once(&curl_once, curl_start);
		c->curl = curl_easy_init();
		must(c->curl);
	}
	curl_easy_reset(c->curl); /* keeps the connections */
	set_options(t, c->curl, headers, errors);
	r = set_body(t, c->curl, e);
	if (r == 0) {
		rc = curl_easy_perform(c->curl);
		curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
	}
	curl_slist_free_all(headers);
	t->reply.status = (int)status;
	if (r < 0 || rc == CURLE_OK)
		return r;
	if (t->err.kind == ERR_NONE)
		err_set(&t->err, ERR_IO, "%s", errors[0] ? errors : curl_easy_strerror(rc));
	if (e)
		*e = t->err;
	return err_in(e, "%s %s", t->call->method, t->call->url);
}

static int on_piece(void *arg, const struct http_reply *so_far, struct str piece, struct err *e)
{
	struct transfer *t = arg;

	if (take_body(t, so_far->status, piece) == 0)
		return 0;
	if (e)
		*e = t->err;
	return -1;
}

/* 1: libcurl is to do it. */
static int by_ourselves(struct transfer *t, struct err *e)
{
	struct http_reply header = { 0 };
	int rc;

	if (!direct_fits(t->call))
		return 1;
	if (!t->client->direct)
		t->client->direct = direct_new();
	rc = direct_call(t->client->direct, t->call, on_piece, t, &header, e);
	if (rc == 0) {
		t->reply.status = header.status;
		t->reply.headers = header.headers;
		return 0;
	}
	http_reply_fini(&header);
	return rc < 0 ? err_in(e, "%s %s", t->call->method, t->call->url) : 1;
}

int http_client_call(struct http_client *c, const struct http_call *call, struct http_reply *ret, struct err *e)
{
	struct transfer t = { .call = call, .client = c };
	int rc = by_ourselves(&t, e);

	if (rc > 0)
		rc = by_curl(&t, e);
	if (rc < 0) {
		http_reply_fini(&t.reply);
		return -1;
	}
	*ret = t.reply;
	return 0;
}
