/* SPDX-License-Identifier: Apache-2.0 */
#include "http/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "http/parked.h"
#include "http/watch.h"
#include "http/workers.h"

const struct http_limits http_default_limits = {
	.connections = 1024,
	.connections_per_ip = 768,
	.threads = 8,
	.header_bytes = 16 << 10,
	.idle_seconds = 60,
	.request_seconds = 30,
};

/* A body nobody wants is read on up to this, because closing on a client that still sends takes the answer from it. */
enum { DRAIN_MAX = 64 << 20, SMALL_BODY = 64 << 10, LAST_ANSWERS_MS = 1000 };

struct http_server {
	struct MHD_Daemon *daemon;
	struct workers *workers;
	struct parking *parking;
	struct watch *watch;
	void (*route)(void *arg, struct http_request *r, struct http_route *ret);
	void *arg;
	struct http_limits limits;
	uint16_t port;
	atomic_uint answers; /* to requests that are whole, until they are sent */
};

/* One connection. */
struct client {
	struct watched watched;    /* first */
	unsigned char random[256]; /* bytes for request ids, fetched a batch at a time */
	unsigned random_left;
};

/* One request and its answer. Made when the request line is there, gone when libmicrohttpd says so. */
struct exchange {
	struct work work; /* first: a slow answer's place in the queue */
	struct parked parked;
	struct http_server *server;
	struct MHD_Connection *connection;
	struct watched *watched;
	struct http_request r;
	struct http_route route; /* respond is NULL until the router was asked */
	struct http_response out;
	struct err *body_error;
	struct http_header *headers;
	char *target;
	size_t header_room;
	bool discard, answered, waited, counted;
};

struct str http_header_get(const struct http_request *r, const char *name)
{
	struct str want = str_of(name);

	for (size_t i = 0; i < r->header_count; i++)
		if (str_eq_nocase(r->headers[i].name, want))
			return r->headers[i].value;
	return (struct str){ 0 };
}

void http_add_header(struct http_response *r, const char *name, const char *fmt, ...)
{
	size_t at;
	va_list ap;

	buf_z(&r->headers, name);
	buf_z(&r->headers, ": ");
	at = r->headers.n;
	va_start(ap, fmt);
	buf_vf(&r->headers, fmt, ap);
	va_end(ap);
	for (; at < r->headers.n; at++)
		if ((unsigned char)r->headers.p[at] < 0x20 || r->headers.p[at] == 0x7f)
			r->headers.p[at] = ' ';
	buf_z(&r->headers, "\r\n");
}

/* ---- the server's own refusals ---- */

static void plain(struct http_response *out, int status, const char *text)
{
	out->status = status;
	out->close = true;
	http_add_header(out, "Content-Type", "text/plain");
	buf_z(&out->body, text);
}

static void refuse_target(struct http_request *r, const struct err *e, struct http_response *out)
{
	(void)r;
	(void)e;
	plain(out, 400, "The request target must be a path that starts with '/'.\n");
}

static void refuse_names(struct http_request *r, const struct err *e, struct http_response *out)
{
	(void)r;
	(void)e;
	plain(out, 400, "The name of a request header holds a character that such names do not have.\n");
}

static void refuse_header(struct http_request *r, const struct err *e, struct http_response *out)
{
	(void)r;
	(void)e;
	plain(out, 431, "The request header is too large.\n");
}

/* ---- reading a request ---- */

static enum MHD_Result on_header(void *arg, enum MHD_ValueKind kind, const char *name, size_t name_n, const char *value,
                                 size_t value_n)
{
	struct exchange *x = arg;

	(void)kind;
	if (x->r.header_count == x->header_room) {
		x->header_room = x->header_room ? x->header_room * 2 : 24;
		x->headers = xrealloc(x->headers, x->header_room * sizeof(*x->headers));
	}
	x->headers[x->r.header_count++] = (struct http_header){ { name, name_n }, { value ? value : "", value_n } };
	return MHD_YES;
}

/* "http://host:port/path" means "/path". */
static void split_target(struct http_request *r)
{
	struct str rest = r->target;
	ptrdiff_t at;

	if (!str_starts(rest, STR("/")) && (at = str_find(rest, STR("://"))) > 0) {
		rest.p += at + 3;
		rest.n -= (size_t)at + 3;
		while (rest.n && *rest.p != '/' && *rest.p != '?') {
			rest.p++;
			rest.n--;
		}
	}
	r->path = str_cut(&rest, '?');
	r->query = rest;
}

/* A random UUID, version 4. */
static void make_request_id(struct client *c, char dst[37])
{
	static const char hex[] = "0123456789abcdef";
	unsigned char *u;

	if (c->random_left < 16) {
		random_bytes(c->random, sizeof(c->random));
		c->random_left = sizeof(c->random);
	}
	c->random_left -= 16;
	u = c->random + c->random_left;
	u[6] = (unsigned char)((u[6] & 0x0f) | 0x40);
	u[8] = (unsigned char)((u[8] & 0x3f) | 0x80);
	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*dst++ = '-';
		*dst++ = hex[u[i] >> 4];
		*dst++ = hex[u[i] & 15];
	}
	*dst = 0;
}

static void fill_request(struct exchange *x, const char *method)
{
	struct http_request *r = &x->r;
	struct str length;

	r->method = str_of(method);
	MHD_get_connection_values_n(x->connection, MHD_HEADER_KIND, on_header, x);
	r->headers = x->headers;
	split_target(r);
	make_request_id((struct client *)x->watched, r->request_id);
	r->arrived = wall_now();
	length = str_trim(http_header_get(r, "Content-Length"));
	r->has_body_length = str_to_u64(length, &r->body_length);
}

static size_t header_bytes(const struct http_request *r)
{
	size_t n = r->method.n + r->target.n;

	for (size_t i = 0; i < r->header_count; i++)
		n += r->headers[i].name.n + r->headers[i].value.n + 4;
	return n;
}

/* RFC 9110 5.6.2. libmicrohttpd takes any bytes up to the colon, but names are kept with objects and sent again. */
static bool is_token(struct str s)
{
	static const char marks[] = "!#$%&'*+-.^_`|~";

	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      memchr(marks, c, sizeof(marks) - 1)))
			return false;
	}
	return s.n > 0;
}

static bool names_are_tokens(const struct http_request *r)
{
	for (size_t i = 0; i < r->header_count; i++)
		if (!is_token(r->headers[i].name))
			return false;
	return true;
}

static void set_body_error(struct exchange *x, const struct err *e)
{
	x->discard = true;
	if (x->body_error)
		return;
	x->body_error = xcalloc(1, sizeof(*x->body_error));
	*x->body_error = *e;
}

static void too_large(struct exchange *x)
{
	struct err e = { 0 };

	err_set(&e, ERR_TOO_LARGE, "The request body is larger than the %zu bytes that are accepted.",
	        x->route.collect_max);
	x->out.close = true;
	set_body_error(x, &e);
}

/* ---- answering ---- */

static ssize_t no_data(void *arg, uint64_t at, char *to, size_t room)
{
	(void)arg;
	(void)at;
	(void)to;
	(void)room;
	return MHD_CONTENT_READER_END_WITH_ERROR;
}

/* A small file's bytes go out with the header in one piece, which is one send here, and one wakeup at the client; from
 * there on sendfile is cheaper. What cannot be read whole is left to sendfile, to fail as it does. */
static struct MHD_Response *make_small_body(struct http_response *out)
{
	char *bytes = malloc(out->length);
	struct MHD_Response *m;

	if (!bytes || pread(out->fd, bytes, out->length, (off_t)out->offset) != (ssize_t)out->length) {
		free(bytes);
		return NULL;
	}
	m = MHD_create_response_from_buffer(out->length, bytes, MHD_RESPMEM_MUST_FREE);
	if (!m)
		free(bytes);
	return m;
}

static struct MHD_Response *make_body(struct http_response *out)
{
	size_t n = out->body.n;

	if (out->fd >= 0 && out->length && out->length <= SMALL_BODY && !out->head) {
		struct MHD_Response *m = make_small_body(out);

		if (m)
			return m;
	}
	if (out->fd >= 0 && out->length)
		return MHD_create_response_from_fd_at_offset64(out->length, take_fd(out->fd), out->offset);
	if (out->head && !n)
		return MHD_create_response_from_callback(out->head_length, 1024, no_data, NULL, NULL);
	if (n)
		return MHD_create_response_from_buffer(n, buf_take(&out->body), MHD_RESPMEM_MUST_FREE);
	return MHD_create_response_from_buffer(0, (void *)"", MHD_RESPMEM_PERSISTENT);
}

/* http_add_header made "Name: value\r\n" lines; libmicrohttpd wants NUL-terminated halves. */
static void add_headers(struct MHD_Response *m, struct buf *lines)
{
	char *p = lines->p, *end = p + lines->n;

	while (p && p < end) {
		char *colon = memchr(p, ':', (size_t)(end - p)), *eol = memchr(p, '\r', (size_t)(end - p));

		must(colon && eol && colon < eol);
		*colon = *eol = 0;
		if (colon[2]) /* libmicrohttpd takes no empty values */
			must(MHD_add_response_header(m, p, colon + 2) == MHD_YES);
		p = eol + 2;
	}
}

static enum MHD_Result send_answer(struct exchange *x)
{
	struct http_response *out = &x->out;
	struct MHD_Response *m = make_body(out);
	enum MHD_Result r;

	if (!m)
		return MHD_NO;
	add_headers(m, &out->headers);
	MHD_add_response_header(m, "x-amzn-RequestId", x->r.request_id);
	if (out->close)
		MHD_add_response_header(m, "Connection", "close");
	r = MHD_queue_response(x->connection, (unsigned)out->status, m);
	MHD_destroy_response(m);
	return r;
}

static void call_respond(struct exchange *x)
{
	x->route.respond(&x->r, x->body_error, &x->out);
	x->answered = true;
}

static void run_slow(struct work *w)
{
	struct exchange *x = (struct exchange *)w;

	call_respond(x);
	MHD_resume_connection(x->connection); /* on_access comes again, and from here x is not ours any more */
}

/* False: it is not to wait. From the end on x may be another thread's. */
static bool park(struct exchange *x)
{
	struct parking *p = x->server->parking;

	if (!x->route.wait_key[0] || x->waited || x->body_error || x->discard)
		return false;
	x->waited = true;
	x->work.run = run_slow;
	x->parked.work = &x->work;
	MHD_suspend_connection(x->connection);
	if (!parked_add(p, &x->parked, x->route.wait_key, x->route.hold_ms)) {
		MHD_resume_connection(x->connection);
		return false;
	}
	parked_release(p, &x->parked, x->route.ready && x->route.ready(&x->r));
	return true;
}

static enum MHD_Result answer(struct exchange *x)
{
	if (x->answered)
		return send_answer(x);
	if (!x->counted)
		atomic_fetch_add(&x->server->answers, 1);
	x->counted = true;
	atomic_store_explicit(&x->watched->receiving, false, memory_order_relaxed);
	watch_deadline(x->watched, 0);
	if (park(x))
		return MHD_YES;
	if (x->route.slow) {
		x->work.run = run_slow;
		MHD_suspend_connection(x->connection);
		if (workers_submit(x->server->workers, &x->work))
			return MHD_YES;
		MHD_resume_connection(x->connection); /* the server is being stopped: there are no workers any more */
	}
	call_respond(x);
	return send_answer(x);
}

/* ---- libmicrohttpd's callbacks ---- */

/* The request line is there: keep the target before libmicrohttpd decodes it. */
static void *on_request_line(void *arg, const char *uri, struct MHD_Connection *connection)
{
	struct http_server *s = arg;
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct exchange *x = xcalloc(1, sizeof(*x));

	x->server = s;
	x->connection = connection;
	x->watched = &((struct client *)info->socket_context)->watched;
	x->out = (struct http_response){ .status = 200, .fd = -EBADF };
	x->target = xstrdup(uri);
	x->r.target = str_of(x->target);
	x->r.remote = str_of(x->watched->remote);
	watch_deadline(x->watched, s->limits.request_seconds);
	return x;
}

/* The header is there. MHD_YES without an answer asks for the body. */
static enum MHD_Result begin(struct exchange *x, const char *method)
{
	struct http_request *r = &x->r;
	struct http_route *route = &x->route;
	bool waits;

	fill_request(x, method);
	if (header_bytes(r) > x->server->limits.header_bytes)
		*route = (struct http_route){ .respond = refuse_header, .refuse = true };
	else if (!names_are_tokens(r))
		*route = (struct http_route){ .respond = refuse_names, .refuse = true };
	else if (!str_starts(r->path, STR("/")))
		*route = (struct http_route){ .respond = refuse_target, .refuse = true };
	else
		x->server->route(x->server->arg, r, route);
	must(route->respond);
	watch_deadline(x->watched, route->on_body ? 0 : x->server->limits.request_seconds);
	if (route->refuse)
		x->discard = true;
	else if (!route->on_body && r->has_body_length && r->body_length > route->collect_max)
		too_large(x);
	if (!x->discard)
		return MHD_YES;
	waits = str_eq_nocase(str_trim(http_header_get(r, "Expect")), STR("100-continue"));
	if ((waits && (!r->has_body_length || r->body_length)) || (r->has_body_length && r->body_length > DRAIN_MAX)) {
		x->out.close = true;
		route->slow = false; /* libmicrohttpd takes an early answer only now */
		return answer(x);
	}
	return MHD_YES;
}

static enum MHD_Result take_body(struct exchange *x, struct str piece)
{
	struct http_request *r = &x->r;
	struct err e; /* large: not cleared for nothing */

	r->body_bytes += piece.n;
	if (x->discard)
		return r->body_bytes > DRAIN_MAX ? MHD_NO : MHD_YES;
	if (x->route.on_body) {
		if (x->route.on_body(r, piece, &e) < 0)
			set_body_error(x, &e);
	} else if (piece.n > x->route.collect_max - r->body.n) {
		too_large(x);
	} else {
		buf_add(&r->body, piece.p, piece.n);
	}
	return MHD_YES;
}

static enum MHD_Result on_access(void *arg, struct MHD_Connection *connection, const char *url, const char *method,
                                 const char *version, const char *data, size_t *data_n, void **request)
{
	struct exchange *x = *request;
	enum MHD_Result r;

	(void)arg;
	(void)connection;
	(void)url;
	(void)version;
	if (!x->route.respond)
		return begin(x, method);
	if (!*data_n)
		return answer(x);
	r = take_body(x, (struct str){ data, *data_n });
	*data_n = 0;
	return r;
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **request,
                         enum MHD_RequestTerminationCode why)
{
	struct http_server *s = arg;
	struct exchange *x = *request;

	(void)connection;
	(void)why;
	if (!x)
		return;
	if (x->counted)
		atomic_fetch_sub(&s->answers, 1);
	if (x->route.done)
		x->route.done(&x->r);
	atomic_store_explicit(&x->watched->receiving, true, memory_order_relaxed);
	/* The next request may be long in coming, but not in arriving. */
	watch_deadline(x->watched, s->limits.idle_seconds + s->limits.request_seconds);
	cleanup_closep(&x->out.fd);
	buf_fini(&x->out.body);
	buf_fini(&x->out.headers);
	buf_fini(&x->r.body);
	free(x->body_error);
	free(x->headers);
	free(x->target);
	free(x);
	*request = NULL;
}

static void on_connection(void *arg, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
	struct http_server *s = arg;
	struct client *client = *context;
	struct watched *c = client ? &client->watched : NULL;
	const struct sockaddr *addr;

	if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
		watch_remove(s->watch, c);
		free(client);
		*context = NULL;
		return;
	}
	client = xcalloc(1, sizeof(*client));
	c = &client->watched;
	c->fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
	addr = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr;
	if (addr && addr->sa_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)addr)->sin_addr, c->remote, sizeof(c->remote));
	else if (addr && addr->sa_family == AF_INET6)
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)addr)->sin6_addr, c->remote, sizeof(c->remote));
	c->receiving = true;
	watch_deadline(c, s->limits.request_seconds);
	watch_add(s->watch, c);
	*context = client;
}

/* Targets and queries stay as they were sent. */
static size_t no_unescape(void *arg, struct MHD_Connection *connection, char *text)
{
	(void)arg;
	(void)connection;
	return strlen(text);
}

static void no_log(void *arg, const char *fmt, va_list ap)
{
	(void)arg;
	(void)fmt;
	(void)ap;
}

/* ---- start and stop ---- */

static int listen_on(const char *addr, uint16_t port, uint16_t *ret_port, struct err *e)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
		                  .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE };
	struct addrinfo *found = NULL;
	struct sockaddr_storage bound;
	socklen_t bound_n = sizeof(bound);
	_cleanup_close_ int fd = -EBADF;
	char service[8];
	int gai, one = 1, r = -1;

	snprintf(service, sizeof(service), "%u", port);
	gai = getaddrinfo(addr, service, &hints, &found);
	if (gai)
		return err_set(e, ERR_INVALID, "'%s' is not an address to listen on: %s", addr, gai_strerror(gai));
	fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
	    bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, 511) == 0 &&
	    getsockname(fd, (struct sockaddr *)&bound, &bound_n) == 0)
		r = 0;
	else
		err_sys(e, "listening on %s port %u", addr, port);
	freeaddrinfo(found);
	if (r < 0)
		return -1;
	*ret_port = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
	                                              : ((struct sockaddr_in *)&bound)->sin_port);
	return take_fd(fd);
}

/* Starts all threads with every signal blocked: signals belong to the program's loop. */
static int start_threads(struct http_server *s, int listen_fd, struct err *e)
{
	const struct http_limits *l = &s->limits;
	size_t pool = 2 * l->header_bytes;
	sigset_t all, before;

	sigfillset(&all);
	must(pthread_sigmask(SIG_BLOCK, &all, &before) == 0);
	s->workers = workers_new(l->threads);
	s->parking = s->workers ? parking_new(s->workers) : NULL;
	s->watch = s->workers ? watch_new() : NULL;
	if (s->watch)
		s->daemon = MHD_start_daemon(
		        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL,
		        on_access, s, MHD_OPTION_EXTERNAL_LOGGER, no_log, NULL, MHD_OPTION_LISTEN_SOCKET, listen_fd,
		        MHD_OPTION_THREAD_POOL_SIZE, l->threads, MHD_OPTION_CONNECTION_LIMIT, l->connections,
		        MHD_OPTION_PER_IP_CONNECTION_LIMIT, l->connections_per_ip, MHD_OPTION_CONNECTION_TIMEOUT,
		        l->idle_seconds, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		        pool > (32u << 10) ? pool : (size_t)32 << 10, MHD_OPTION_URI_LOG_CALLBACK, on_request_line, s,
		        MHD_OPTION_UNESCAPE_CALLBACK, no_unescape, NULL, MHD_OPTION_NOTIFY_COMPLETED, on_completed, s,
		        MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_STRICT_FOR_CLIENT, 1,
		        MHD_OPTION_END);
	must(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
	if (!s->daemon)
		return err_sys(e, "starting the threads of the HTTP server");
	return 0;
}

int http_server_start(const char *listen_addr, uint16_t port, const struct http_limits *limits,
                      void (*route)(void *arg, struct http_request *r, struct http_route *ret), void *arg,
                      struct http_server **ret, struct err *e)
{
	_cleanup_close_ int fd = -EBADF;
	struct http_server *s;

	s = xcalloc(1, sizeof(*s));
	s->route = route;
	s->arg = arg;
	s->limits = limits ? *limits : http_default_limits;
	fd = listen_on(listen_addr, port, &s->port, e);
	if (fd < 0 || start_threads(s, fd, e) < 0) {
		http_server_stop(s);
		return -1;
	}
	(void)take_fd(fd); /* libmicrohttpd closes it */
	*ret = s;
	return 0;
}

void http_server_wake(struct http_server *s, const char *key)
{
	parking_wake(s->parking, key);
}

uint16_t http_server_port(const struct http_server *s)
{
	return s->port;
}

/* libmicrohttpd closes connections whatever waits to be sent on them. Who has been answered hears it, unless that takes
 * long. */
static void send_last_answers(struct http_server *s)
{
	struct mono since = mono_now();

	while (atomic_load(&s->answers) && mono_ms_since(since) < LAST_ANSWERS_MS)
		poll(NULL, 0, 2);
}

void http_server_stop(struct http_server *s)
{
	if (!s)
		return;
	/* No suspended connection may be left when the daemon stops. */
	if (s->parking)
		parking_close(s->parking);
	if (s->workers)
		workers_finish(s->workers);
	send_last_answers(s);
	if (s->daemon)
		MHD_stop_daemon(s->daemon);
	parking_free(s->parking);
	workers_free(s->workers);
	watch_free(s->watch);
	free(s);
}
