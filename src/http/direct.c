/* SPDX-License-Identifier: Apache-2.0 */
#include "http/direct.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

enum { ROOM = 256 << 10, HEADER_MAX = 64 << 10, SLICE_MS = 1000, CONNECT_S = 10, IDLE_S = 60 };

struct direct {
	int fd; /* -EBADF: not connected */
	char *host;
	char *room; /* ROOM bytes, filled from `at` to `end` */
	size_t at, end;
	struct buf request;
};

struct direct *direct_new(void)
{
	struct direct *d = xcalloc(1, sizeof(*d));

	d->fd = -EBADF;
	d->room = xcalloc(1, ROOM);
	return d;
}

void direct_free(struct direct *d)
{
	if (!d)
		return;
	cleanup_closep(&d->fd);
	free(d->host);
	free(d->room);
	buf_fini(&d->request);
	free(d);
}

bool direct_fits(const struct http_call *call)
{
	static const char *const proxies[] = { "http_proxy", "all_proxy", "ALL_PROXY" };
	struct str url = str_of(call->url), host;

	if (!call->sink || call->body_fd >= 0 || call->body.n || strcmp(call->method, "GET") != 0 ||
	    !str_skip(&url, STR("http://")))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(proxies); i++)
		if (getenv(proxies[i]) && *getenv(proxies[i]))
			return false;
	host = str_cut(&url, '/');
	return host.n && !str_has_byte(host, '@') && !str_has_byte(host, '?') && !str_has_byte(host, '%');
}

/* ---- the connection ---- */

static void hang_up(struct direct *d)
{
	if (d->fd >= 0)
		close(d->fd);
	d->fd = -EBADF;
	d->at = d->end = 0;
}

static bool cancelled(const struct http_call *call)
{
	return call->cancelled && call->cancelled(call->cancelled_arg);
}

/* "[::1]:80", "h:80" or "h" into two. */
static void split_host(struct str s, char **ret_name, char **ret_port)
{
	struct str name = s, port = STR("80");

	if (str_skip(&s, STR("["))) {
		name = str_cut(&s, ']');
		if (str_skip(&s, STR(":")))
			port = s;
	} else if (str_has_byte(s, ':')) {
		name = str_cut(&s, ':');
		port = s;
	}
	*ret_name = str_dup(name);
	*ret_port = str_dup(port);
}

/* Waits until the connection is there, in slices, so that a cancellation is noticed. 0, or errno. */
static int await(int fd, const struct http_call *call)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	struct mono start = mono_now();
	int64_t most = (int64_t)(call->connect_timeout_s ? call->connect_timeout_s : CONNECT_S) * 1000;
	int why = 0;
	socklen_t n = sizeof(why);

	while (poll(&p, 1, SLICE_MS) <= 0)
		if (cancelled(call) || mono_ms_since(start) >= most)
			return ETIMEDOUT;
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &n) < 0 ? errno : why;
}

/* A connection to one address; blocking from then on, but for no longer than a slice. */
static int open_socket(const struct addrinfo *a, const struct http_call *call)
{
	struct timeval slice = { .tv_sec = SLICE_MS / 1000, .tv_usec = SLICE_MS % 1000 * 1000 };
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol), one = 1, why = 0;

	if (fd < 0)
		return -1;
	if (connect(fd, a->ai_addr, a->ai_addrlen) < 0)
		why = errno == EINPROGRESS ? await(fd, call) : errno;
	if (why) {
		close(fd);
		errno = why;
		return -1;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &slice, sizeof(slice));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &slice, sizeof(slice));
	if (fd_set_nonblock(fd, false) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static int dial(struct direct *d, const char *host, const struct http_call *call, struct err *e)
{
	_cleanup_free_ char *name = NULL, *port = NULL;
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *all = NULL;
	int rc, why = 0;

	split_host(str_of(host), &name, &port);
	rc = getaddrinfo(name, port, &hints, &all);
	if (rc != 0)
		return err_set(e, ERR_IO, "Could not resolve host: %s (%s)", name, gai_strerror(rc));
	for (const struct addrinfo *a = all; a && d->fd < 0 && !cancelled(call); a = a->ai_next) {
		d->fd = open_socket(a, call);
		why = errno;
	}
	freeaddrinfo(all);
	if (d->fd >= 0)
		return 0;
	if (cancelled(call))
		return err_set(e, ERR_IO, "cancelled");
	return err_set(e, ERR_IO, "Failed to connect to %s port %s: %s", name, port, strerror(why));
}

/* ---- bytes ---- */

/* A slice has gone by without a byte. 0: go on. */
static int waited(const struct http_call *call, struct mono since, struct err *e)
{
	unsigned most = call->idle_timeout_s ? call->idle_timeout_s : IDLE_S;

	if (cancelled(call))
		return err_set(e, ERR_IO, "cancelled");
	if (mono_ms_since(since) >= (int64_t)most * 1000)
		return err_set(e, ERR_IO, "nothing came for %u seconds", most);
	return 0;
}

static int send_all(struct direct *d, const struct http_call *call, struct err *e)
{
	struct str left = buf_view(&d->request);
	struct mono since = mono_now();

	while (left.n) {
		ssize_t n = send(d->fd, left.p, left.n, MSG_NOSIGNAL);

		if (n > 0) {
			left.p += n;
			left.n -= (size_t)n;
			since = mono_now();
		} else if (errno == EINTR) {
			continue;
		} else if (errno != EAGAIN) {
			return err_sys(e, "sending the request");
		} else if (waited(call, since, e) < 0) {
			return -1;
		}
	}
	return 0;
}

/* Adds what comes behind d->end. 0: the other side has hung up. */
static ssize_t receive(struct direct *d, const struct http_call *call, struct err *e)
{
	struct mono since = { 0 };
	ssize_t n;

	if (d->at == d->end)
		d->at = d->end = 0;
	while ((n = recv(d->fd, d->room + d->end, ROOM - d->end, 0)) < 0) {
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return err_sys(e, "receiving the answer");
		if (!since.ns) { /* a slice has gone by already */
			since = mono_now();
			since.ns -= (int64_t)SLICE_MS * 1000000;
		}
		if (waited(call, since, e) < 0)
			return -1;
	}
	d->end += (size_t)n;
	return n;
}

/* ---- the answer ---- */

enum { UNFIT = 1, HUNG_UP = 2 }; /* before anything of an answer came */

/* The header, into ret->headers; behind it d->at. */
static int get_header(struct direct *d, const struct http_call *call, struct http_reply *ret, struct err *e)
{
	size_t looked = 0;
	const char *end;
	ssize_t n;

	while (!(end = d->end - d->at < 4 ? NULL
	                                  : memmem(d->room + d->at + looked, d->end - d->at - looked, "\r\n\r\n", 4))) {
		looked = d->end - d->at > 3 ? d->end - d->at - 3 : 0;
		if (d->end - d->at >= HEADER_MAX)
			return UNFIT;
		n = receive(d, call, e);
		if (n == 0 && d->at == d->end)
			return HUNG_UP;
		if (n == 0)
			return err_set(e, ERR_IO, "the connection ended within the answer's header");
		if (n < 0)
			return d->at == d->end && e->os == ECONNRESET ? HUNG_UP : -1;
	}
	buf_reset(&ret->headers);
	buf_add(&ret->headers, d->room + d->at, (size_t)(end + 4 - d->room) - d->at);
	d->at = (size_t)(end + 4 - d->room);
	return 0;
}

/* What the header says about the body. UNFIT: more than we know. */
static int read_header(struct http_reply *r, uint64_t *ret_length, bool *ret_close, struct err *e)
{
	struct str rest = buf_view(&r->headers), line = str_trim(str_cut(&rest, '\n')), value;
	uint64_t status, length = 0;
	bool has_length = false;

	if (!str_skip(&line, STR("HTTP/1.1 ")) || !str_to_u64(str_cut(&line, ' '), &status) || status < 200 ||
	    status > 599 || status == 204 || status == 304)
		return UNFIT;
	*ret_close = false;
	while (rest.n) {
		struct str name;

		value = str_cut(&rest, '\n');
		name = str_cut(&value, ':');
		value = str_trim(value);
		if (str_eq_nocase(name, STR("Transfer-Encoding")) || str_eq_nocase(name, STR("Content-Encoding")))
			return UNFIT;
		if (str_eq_nocase(name, STR("Connection")) && !str_eq_nocase(value, STR("keep-alive")))
			*ret_close = true;
		if (!str_eq_nocase(name, STR("Content-Length")))
			continue;
		if (has_length)
			return err_set(e, ERR_IO, "the answer tells its length twice");
		if (!str_to_u64(value, &length))
			return UNFIT;
		has_length = true;
	}
	r->status = (int)status;
	*ret_length = length;
	return has_length ? 0 : UNFIT;
}

static int get_body(struct direct *d, const struct http_call *call, uint64_t left,
                    int (*body)(void *arg, const struct http_reply *so_far, struct str piece, struct err *e), void *arg,
                    const struct http_reply *so_far, struct err *e)
{
	while (left) {
		size_t n = d->end - d->at < left ? d->end - d->at : (size_t)left;
		ssize_t got;

		if (n) {
			if (body(arg, so_far, (struct str){ d->room + d->at, n }, e) < 0)
				return -1;
			d->at += n;
			left -= n;
			continue;
		}
		got = receive(d, call, e);
		if (got == 0)
			return err_set(e, ERR_IO, "the connection ended with %llu bytes of the body missing",
			               (unsigned long long)left);
		if (got < 0)
			return -1;
	}
	return 0;
}

/* Host of the URL, and the request. */
static char *compose(struct direct *d, const struct http_call *call)
{
	struct str target = str_of(call->url), host;

	str_skip(&target, STR("http://"));
	host = str_cut(&target, '/');
	buf_reset(&d->request);
	buf_f(&d->request,
	      "GET /" PRIstr " HTTP/1.1\r\nHost: " PRIstr "\r\nUser-Agent: bloomery/" BLOOMERY_VERSION "\r\n",
	      ARGstr(target), ARGstr(host));
	for (const char *const *h = call->headers; h && *h; h++) {
		buf_z(&d->request, *h);
		buf_z(&d->request, "\r\n");
	}
	buf_z(&d->request, "\r\n");
	return str_dup(host);
}

/* Whether the other side has ended a kept connection, or said something nobody asked for. */
static bool stale(const struct direct *d)
{
	char c;

	return d->fd >= 0 && (recv(d->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN);
}

/* Sends, and receives the header. A connection that was kept may have been ended by the other side meanwhile: once
 * more, on a new one. */
static int ask(struct direct *d, const char *host, const struct http_call *call, struct http_reply *ret, struct err *e)
{
	int rc;

	do {
		bool kept = d->fd >= 0;

		if (!kept && dial(d, host, call, e) < 0)
			return -1;
		rc = send_all(d, call, e);
		if (rc == 0)
			rc = get_header(d, call, ret, e);
		else if (e->os == EPIPE || e->os == ECONNRESET)
			rc = HUNG_UP;
		if (rc != HUNG_UP)
			return rc;
		hang_up(d);
		rc = kept;
	} while (rc);
	return err_set(e, ERR_IO, "Empty reply from server");
}

int direct_call(struct direct *d, const struct http_call *call,
                int (*body)(void *arg, const struct http_reply *so_far, struct str piece, struct err *e), void *arg,
                struct http_reply *ret, struct err *e)
{
	_cleanup_free_ char *host = compose(d, call);
	struct err local = { 0 };
	uint64_t length = 0;
	bool last = false;
	int rc;

	e = e ? e : &local;
	if ((d->host && strcmp(d->host, host) != 0) || stale(d))
		hang_up(d);
	free(d->host);
	d->host = take_ptr(host);
	rc = ask(d, d->host, call, ret, e);
	if (rc == 0)
		rc = read_header(ret, &length, &last, e);
	if (rc == 0)
		rc = get_body(d, call, length, body, arg, ret, e);
	if (rc != 0 || last || d->at != d->end)
		hang_up(d);
	return rc;
}
