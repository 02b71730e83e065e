/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/call.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "aws/sigv4.h"
#include "aws/xml.h"
#include "base/hash.h"

enum { WAIT_FIRST_MS = 100, WAIT_MAX_MS = 4000, WAIT_SLICE_MS = 100 };

struct idle_client {
	struct http_client *client;
	struct idle_client *next;
};

/* ---- the client ---- */

/* "https://host:port/" → scheme and host without the slash, and the Host header, as libcurl will send it. */
static int read_endpoint(struct s3 *s, const char *endpoint, struct err *e)
{
	struct str rest = str_of(endpoint), host;
	bool https = str_skip(&rest, STR("https://"));

	if (!https && !str_skip(&rest, STR("http://")))
		return err_set(e, ERR_INVALID, "the S3 endpoint '%s' does not start with http:// or https://",
		               endpoint);
	host = str_cut(&rest, '/');
	if (!host.n || rest.n || str_has_byte(host, '@') || str_has_byte(host, '?'))
		return err_set(e, ERR_INVALID, "the S3 endpoint '%s' is not of the form http://host:port", endpoint);
	s->scheme_host = strf("%s://" PRIstr, https ? "https" : "http", ARGstr(host));
	if (str_ends(host, https ? STR(":443") : STR(":80")))
		str_cut_last(&host, ':');
	s->host = str_dup(host);
	return 0;
}

int s3_new(const struct s3_options *o, struct s3 **ret, struct err *e)
{
	_cleanup_(s3_freep) struct s3 *s = xcalloc(1, sizeof(*s));
	_cleanup_free_ char *aws = NULL;
	pthread_condattr_t attr;

	s->options = *o;
	s->options.endpoint = NULL;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&s->shared.mu, NULL);
	pthread_cond_init(&s->shared.wake, &attr);
	pthread_condattr_destroy(&attr);
	s->region = xstrdup(o->region ? o->region : "us-east-1");
	s->access_key = xstrdup(o->access_key);
	s->secret_key = xstrdup(o->secret_key);
	s->session_token = xstrdup(o->session_token);
	aws = strf("https://s3.%s.amazonaws.com", s->region);
	if (read_endpoint(s, o->endpoint && *o->endpoint ? o->endpoint : aws, e) < 0)
		return -1;
	*ret = take_ptr(s);
	return 0;
}

void s3_free(struct s3 *s)
{
	if (!s)
		return;
	while (s->shared.idle) {
		struct idle_client *i = s->shared.idle;

		s->shared.idle = i->next;
		http_client_free(i->client);
		free(i);
	}
	if (s->secret_key)
		explicit_bzero(s->secret_key, strlen(s->secret_key));
	free(s->scheme_host);
	free(s->host);
	free(s->region);
	free(s->access_key);
	free(s->secret_key);
	free(s->session_token);
	free(s->shared.upload_id);
	buf_fini(&s->shared.upload_bucket);
	buf_fini(&s->shared.upload_key);
	pthread_cond_destroy(&s->shared.wake);
	pthread_mutex_destroy(&s->shared.mu);
	free(s);
}

static struct http_client *take_client(struct s3 *s)
{
	struct idle_client *i;
	struct http_client *c = NULL;

	pthread_mutex_lock(&s->shared.mu);
	i = s->shared.idle;
	if (i)
		s->shared.idle = i->next;
	pthread_mutex_unlock(&s->shared.mu);
	if (i)
		c = i->client;
	free(i);
	return c ? c : http_client_new();
}

static void give_client(struct s3 *s, struct http_client *c)
{
	struct idle_client *i = xcalloc(1, sizeof(*i));

	i->client = c;
	pthread_mutex_lock(&s->shared.mu);
	i->next = s->shared.idle;
	s->shared.idle = i;
	pthread_mutex_unlock(&s->shared.mu);
}

bool s3_cancelled(const struct s3 *s)
{
	return s->options.cancelled && s->options.cancelled(s->options.arg);
}

void s3_progress(const struct s3 *s, int64_t bytes)
{
	if (s->options.progress && bytes)
		s->options.progress(s->options.arg, bytes);
}

unsigned s3_threads(const struct s3 *s)
{
	return s->options.threads ? s->options.threads : S3_THREADS_DEFAULT;
}

struct str s3_unquote(struct str etag)
{
	str_skip(&etag, STR("W/"));
	if (etag.n >= 2 && etag.p[0] == '"' && etag.p[etag.n - 1] == '"')
		return (struct str){ etag.p + 1, etag.n - 2 };
	return etag;
}

/* ---- one attempt ---- */

/* Everything a request is made of; the lines are what libcurl gets. */
struct prepared {
	struct buf path, lines;
	const char *headers[16];
	char *url;
};

static void prepared_fini(struct prepared *p)
{
	buf_fini(&p->path);
	buf_fini(&p->lines);
	free(p->url);
}

static void prepare(const struct s3 *s, const struct s3_call *c, struct prepared *p)
{
	struct sig_header signed_headers[ARRAY_LEN(c->header) + 1];
	struct sig_request r = { .method = str_of(c->method), .query = c->query, .headers = signed_headers };
	_cleanup_buf_ struct buf hash = { 0 };
	unsigned char digest[SHA256_BYTES];
	size_t n = 0;

	buf_c(&p->path, '/');
	buf_uri(&p->path, c->bucket, false);
	if (c->key.n) {
		buf_c(&p->path, '/');
		buf_uri(&p->path, c->key, true);
	}
	r.path = buf_view(&p->path);
	p->url = strf("%s%s%s" PRIstr, s->scheme_host, p->path.p, c->query.n ? "?" : "", ARGstr(c->query));
	signed_headers[r.header_count++] = (struct sig_header){ STR("host"), str_of(s->host) };
	for (size_t i = 0; c->header[i]; i++) {
		struct str value = str_of(c->header[i]), name = str_cut(&value, ':');

		signed_headers[r.header_count++] = (struct sig_header){ name, str_trim(value) };
	}
	if (c->payload_hash) {
		buf_z(&hash, c->payload_hash);
	} else {
		sha256(c->body, digest);
		buf_hex(&hash, digest, sizeof(digest));
	}
	sigv4_sign(&r, str_of(s->access_key), str_of(s->secret_key), str_of(s->session_token), str_of(s->region),
	           STR("s3"), buf_view(&hash), wall_now(), &p->lines);
	for (; c->header[n]; n++)
		p->headers[n] = c->header[n];
	for (char *at = p->lines.p; *at && n < ARRAY_LEN(p->headers) - 1;) {
		char *end = strchr(at, '\n');

		p->headers[n++] = at;
		if (!end)
			break;
		*end = 0;
		at = end + 1;
	}
}

struct s3_error {
	struct buf code, message;
};

static int read_error(struct str path, struct str text, void *arg, struct err *e)
{
	struct s3_error *x = arg;

	(void)e;
	if (str_eq(path, STR("Error/Code")))
		buf_str(&x->code, text);
	else if (str_eq(path, STR("Error/Message")))
		buf_str(&x->message, text);
	return 0;
}

static enum err_kind kind_of(int status, struct str code)
{
	if (str_is(code, "NoSuchKey") || str_is(code, "NoSuchBucket") || str_is(code, "NoSuchUpload") || status == 404)
		return ERR_NOT_FOUND;
	if (status == 403 || status == 401)
		return ERR_DENIED;
	if (status == 412)
		return ERR_CONFLICT;
	return status >= 500 || status == 429 ? ERR_IO : ERR_INVALID;
}

static bool worth_again(int status, struct str code)
{
	return status >= 500 || status == 429 || status == 408 || str_is(code, "RequestTimeout") ||
	       str_is(code, "SlowDown") || str_is(code, "IncompleteBody") || str_is(code, "OperationAborted");
}

/* Words a refusal with S3's own code and message. */
static int refused(const struct s3_call *c, const struct http_reply *reply, bool *ret_again, struct err *e)
{
	struct s3_error x = { 0 };
	const char *fallback = reply->status == 404   ? "not found"
	                       : reply->status == 403 ? "access denied"
	                                              : "no reason given";

	/* What is no error document (HEAD has none, a proxy sends its own) leaves the two empty. */
	if (xml_read(buf_view(&reply->body), read_error, &x, NULL) < 0 && !x.code.n)
		buf_reset(&x.message);
	*ret_again = worth_again(reply->status, buf_view(&x.code));
	err_set(e, kind_of(reply->status, buf_view(&x.code)), "HTTP %d%s%s: %s", reply->status, x.code.n ? " " : "",
	        x.code.n ? x.code.p : "", x.message.n ? x.message.p : fallback);
	buf_fini(&x.code);
	buf_fini(&x.message);
	return err_in(e, "%s s3://" PRIstr "/" PRIstr, c->method, ARGstr(c->bucket), ARGstr(c->key));
}

int s3_attempt(struct s3 *s, const struct s3_call *c, struct http_reply *ret, bool *ret_again, struct err *e)
{
	_cleanup_(prepared_fini) struct prepared p = { 0 };
	struct http_client *client;
	struct http_reply reply = { 0 };
	struct http_call call;
	int rc;

	*ret_again = false;
	if (s3_cancelled(s) && !c->regardless)
		return err_set(e, ERR_IO, "cancelled");
	prepare(s, c, &p);
	if (c->body_fd >= 0 && lseek(c->body_fd, (off_t)c->body_offset, SEEK_SET) < 0)
		return err_sys(e, "finding the place in the file to send");
	call = (struct http_call){ .method = c->method,
		                   .url = p.url,
		                   .headers = p.headers,
		                   .body = c->body,
		                   .body_fd = c->body_fd,
		                   .body_length = c->body_length,
		                   .sink = c->sink,
		                   .sink_arg = c->sink_arg,
		                   .sink_status = c->sink_status,
		                   .idle_timeout_s = c->idle_s,
		                   .cancelled = c->regardless ? NULL : s->options.cancelled,
		                   .cancelled_arg = s->options.arg,
		                   .max_reply = c->max_reply };
	client = take_client(s);
	rc = http_client_call(client, &call, &reply, e);
	give_client(s, client);
	if (rc < 0) {
		*ret_again = e->kind == ERR_IO && !s3_cancelled(s);
		return -1;
	}
	if (reply.status < 200 || reply.status > 299) {
		refused(c, &reply, ret_again, e);
		http_reply_fini(&reply);
		return -1;
	}
	*ret = reply;
	return 0;
}

/* ---- again ---- */

/* Less when cancelled. */
static void wait_ms(struct s3 *s, int64_t wait)
{
	struct mono start = mono_now();
	int64_t left;

	pthread_mutex_lock(&s->shared.mu);
	while ((left = wait - mono_ms_since(start)) > 0 && !s3_cancelled(s)) {
		struct timespec until;
		int64_t slice = left < WAIT_SLICE_MS ? left : WAIT_SLICE_MS;

		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += slice * 1000000;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		pthread_cond_timedwait(&s->shared.wake, &s->shared.mu, &until);
	}
	pthread_mutex_unlock(&s->shared.mu);
}

struct s3_retry s3_retry_begin(void)
{
	return (struct s3_retry){ .since = mono_now() };
}

bool s3_again(struct s3 *s, struct s3_retry *r, const struct err *why)
{
	unsigned attempts = s->options.attempts ? s->options.attempts : S3_ATTEMPTS_DEFAULT;
	int64_t patience = (int64_t)s->options.patience_s * 1000, spent = mono_ms_since(r->since), wait;
	uint16_t noise;

	r->failures++;
	if (s3_cancelled(s) || (patience ? spent >= patience : r->failures >= attempts))
		return false;
	if (s->options.again)
		s->options.again(s->options.arg, why);
	wait = (int64_t)WAIT_FIRST_MS << (r->failures < 8 ? r->failures - 1 : 7);
	wait = wait < WAIT_MAX_MS ? wait : WAIT_MAX_MS;
	random_bytes(&noise, sizeof(noise));
	wait = wait / 2 + wait * noise / 65536 / 2; /* half of it at least, so that many clients do not come at once */
	wait_ms(s, patience && wait > patience - spent ? patience - spent : wait);
	return !s3_cancelled(s);
}

int s3_call(struct s3 *s, const struct s3_call *c, struct http_reply *ret, struct err *e)
{
	struct s3_retry retry = s3_retry_begin();
	struct err local = { 0 };
	bool again = true;

	e = e ? e : &local;
	do {
		if (s3_attempt(s, c, ret, &again, e) == 0)
			return 0;
	} while (again && s3_again(s, &retry, e)); /* cancelled: what went wrong before says more */
	return -1;
}

/* ---- many at once ---- */

struct crowd {
	size_t count;
	int (*one)(void *arg, size_t i, struct err *e);
	void *arg;
	struct { /* hold mu to touch anything in here */
		pthread_mutex_t mu;
		size_t next;
		bool failed;
		struct err err;
	} shared;
};

static bool next_of_crowd(struct crowd *w, size_t *ret)
{
	bool more;

	pthread_mutex_lock(&w->shared.mu);
	more = !w->shared.failed && w->shared.next < w->count;
	if (more)
		*ret = w->shared.next++;
	pthread_mutex_unlock(&w->shared.mu);
	return more;
}

static void *crowd_thread(void *arg)
{
	struct crowd *w = arg;
	struct err e = { 0 };
	size_t i;

	while (next_of_crowd(w, &i)) {
		if (w->one(w->arg, i, &e) == 0)
			continue;
		pthread_mutex_lock(&w->shared.mu);
		if (!w->shared.failed)
			w->shared.err = e;
		w->shared.failed = true;
		pthread_mutex_unlock(&w->shared.mu);
	}
	return NULL;
}

int s3_parallel(unsigned threads, size_t count, int (*one)(void *arg, size_t i, struct err *e), void *arg,
                struct err *e)
{
	struct crowd w = { .count = count, .one = one, .arg = arg };
	_cleanup_free_ pthread_t *thread = NULL;
	unsigned started = 0;
	bool failed;

	if (threads > count)
		threads = (unsigned)count;
	thread = xcalloc(threads, sizeof(*thread));
	pthread_mutex_init(&w.shared.mu, NULL);
	/* A thread that cannot be had only makes it slower. */
	while (started + 1 < threads && pthread_create(&thread[started], NULL, crowd_thread, &w) == 0)
		started++;
	crowd_thread(&w);
	for (unsigned i = 0; i < started; i++)
		pthread_join(thread[i], NULL);
	failed = w.shared.failed;
	if (failed && e)
		*e = w.shared.err;
	pthread_mutex_destroy(&w.shared.mu);
	return failed ? -1 : 0;
}
