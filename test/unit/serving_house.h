/* serving_house.h - a serving container for tests: an HTTP server on 127.0.0.1 whose answers the test decides, and
 * objects, work orders and outputs around bloomery-transform's main().
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <arpa/inet.h>
#include <fcntl.h>
#include <jansson.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "harness.h"
#include "jobdir/list.h"
#include "transform/transform.h"

/* In a build that looks for leaks. bloomery-transform confines itself, and then nobody can look at the stacks of
 * threads that began before that: what only those hold would be taken for lost. */
void __lsan_disable(void) __attribute__((weak));

/* Tests are processes of their own, whose end frees what was kept. */
static void *kept[256];
static inline void *keep(void *p)
{
	static size_t n;

	must(n < ARRAY_LEN(kept));
	return kept[n++] = p;
}

struct served { /* one request */
	struct str method, path, head, body;
	bool chunked;
	unsigned number; /* of the POSTs, from 0 on */
};

struct serving;
struct answer {
	int status;
	struct buf body;
	const char *type; /* its Content-Type; NULL: none */
	bool chunked;     /* in pieces of 3 bytes */
	bool reset;       /* instead: the connection is reset */
	bool close;       /* it is closed behind the answer */
	size_t cut;       /* not 0: so many bytes less than said, then closed */
};

struct serving {
	int fd;
	unsigned port;
	void (*answer)(struct serving *s, const struct served *r, struct answer *a);
	pthread_t thread;
	struct { /* hold mu to touch anything in here */
		pthread_mutex_t mu;
		pthread_cond_t changed;
		unsigned posts, under_way, most_under_way, pings;
		struct buf log; /* a line for each POST */
	} shared;
	const char *parameters; /* the body of /execution-parameters; NULL: 404 */
	unsigned sick;          /* pings that are answered with 503 */
	size_t refuse_over;     /* not 0: larger bodies are refused with 413 before they are read */
};

struct serving_connection {
	struct serving *s;
	int fd;
};

static inline bool serving_read(int fd, struct buf *b)
{
	ssize_t n;

	buf_need(b, 65536);
	n = read(fd, b->p + b->n, 65536);
	if (n <= 0)
		return false;
	b->n += (size_t)n;
	return true;
}

static inline bool serving_header(struct str head, const char *name, struct str *ret)
{
	while (head.n) {
		struct str value = str_cut(&head, '\n'), key = str_cut(&value, ':');

		if (str_eq_nocase(key, str_of(name))) {
			*ret = str_trim(value);
			return true;
		}
	}
	return false;
}

static inline bool serving_chunks(int fd, struct buf *in, size_t at, struct buf *body)
{
	for (;;) {
		struct str rest = { in->p + at, in->n - at };
		ptrdiff_t eol = str_find(rest, STR("\r\n"));
		size_t size;

		if (eol < 0) {
			if (!serving_read(fd, in))
				return false;
			continue;
		}
		size = strtoul(in->p + at, NULL, 16);
		while (in->n < at + (size_t)eol + 2 + size + 2)
			if (!serving_read(fd, in))
				return false;
		buf_add(body, in->p + at + eol + 2, size);
		at += (size_t)eol + 2 + size + 2;
		if (!size)
			return true;
	}
}

static inline bool serving_send(int fd, struct answer *a)
{
	_cleanup_buf_ struct buf out = { 0 };

	if (a->reset) {
		struct linger now = { 1, 0 };

		setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		return false;
	}
	buf_f(&out, "HTTP/1.1 %d X\r\n", a->status);
	if (a->close)
		buf_z(&out, "Connection: close\r\n");
	if (a->type)
		buf_f(&out, "Content-Type: %s\r\n", a->type);
	if (a->chunked) {
		buf_z(&out, "Transfer-Encoding: chunked\r\n\r\n");
		for (size_t i = 0; i < a->body.n; i += 3) {
			size_t n = a->body.n - i < 3 ? a->body.n - i : 3;

			buf_f(&out, "%zx\r\n%.*s\r\n", n, (int)n, a->body.p + i);
		}
		buf_z(&out, "0\r\n\r\n");
	} else {
		buf_f(&out, "Content-Length: %zu\r\n\r\n", a->body.n);
		buf_add(&out, buf_view(&a->body).p, a->body.n - a->cut);
	}
	return fd_write_all(fd, out.p, out.n, NULL) == 0 && !a->close && !a->cut;
}

static inline void serving_post(struct serving *s, struct served *r, struct answer *a)
{
	pthread_mutex_lock(&s->shared.mu);
	r->number = s->shared.posts++;
	if (++s->shared.under_way > s->shared.most_under_way)
		s->shared.most_under_way = s->shared.under_way;
	pthread_cond_broadcast(&s->shared.changed);
	pthread_mutex_unlock(&s->shared.mu);
	s->answer(s, r, a);
	pthread_mutex_lock(&s->shared.mu);
	s->shared.under_way--;
	pthread_cond_broadcast(&s->shared.changed);
	pthread_mutex_unlock(&s->shared.mu);
}

static inline bool serving_answer(struct serving *s, int fd, struct served *r)
{
	struct answer a = { .status = 200 };
	bool more;

	buf_init(&a.body);
	if (str_is(r->path, "/ping")) {
		pthread_mutex_lock(&s->shared.mu);
		a.status = s->shared.pings++ < s->sick ? 503 : 200;
		pthread_mutex_unlock(&s->shared.mu);
	} else if (str_is(r->path, "/execution-parameters")) {
		a.status = s->parameters ? 200 : 404;
		buf_z(&a.body, s->parameters ? s->parameters : "none");
	} else {
		serving_post(s, r, &a);
	}
	more = serving_send(fd, &a);
	buf_fini(&a.body);
	return more;
}

/* One request; false: the connection is over. */
static inline bool serving_request(struct serving *s, int fd)
{
	_cleanup_buf_ struct buf in = { 0 }, body = { 0 };
	struct served r = { 0 };
	struct str value, line;
	ptrdiff_t end;
	uint64_t length = 0;

	while ((end = str_find(buf_view(&in), STR("\r\n\r\n"))) < 0)
		if (!serving_read(fd, &in))
			return false;
	r.chunked = serving_header((struct str){ in.p, (size_t)end }, "Transfer-Encoding", &value);
	if (serving_header((struct str){ in.p, (size_t)end }, "Content-Length", &value))
		CHECK(str_to_u64(value, &length));
	if (s->refuse_over && length > s->refuse_over) {
		struct answer a = { .status = 413, .close = true };
		_cleanup_buf_ struct buf rest = { 0 };

		buf_z(&a.body, "too much for me\r\nreally");
		serving_send(fd, &a);
		buf_fini(&a.body);
		shutdown(fd, SHUT_WR);
		while (serving_read(fd, &rest)) /* not a reset, which could overtake the answer */
			buf_reset(&rest);
		return false;
	}
	if (r.chunked) {
		if (!serving_chunks(fd, &in, (size_t)end + 4, &body))
			return false;
	} else {
		while (in.n < (size_t)end + 4 + length)
			if (!serving_read(fd, &in))
				return false;
		buf_add(&body, in.p + end + 4, length);
	}
	r.head = (struct str){ in.p, (size_t)end };
	line = str_cut(&(struct str){ r.head.p, r.head.n }, '\n');
	r.method = str_cut(&line, ' ');
	r.path = str_cut(&line, ' ');
	r.body = buf_view(&body);
	return serving_answer(s, fd, &r);
}

static inline void *serving_connection(void *arg)
{
	struct serving_connection *c = arg;

	if (__lsan_disable)
		__lsan_disable();
	while (serving_request(c->s, c->fd))
		;
	close(c->fd);
	free(c);
	return NULL;
}

static inline void *serving_accept(void *arg)
{
	struct serving *s = arg;
	int fd;

	if (__lsan_disable)
		__lsan_disable();
	while ((fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		struct serving_connection *c = xcalloc(1, sizeof(*c));
		pthread_t t;

		*c = (struct serving_connection){ s, fd };
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
		must(pthread_create(&t, NULL, serving_connection, c) == 0);
		pthread_detach(t);
	}
	return NULL;
}

/* Every test is a process of its own, whose end ends the server. */
static inline struct serving *serving_start(void (*answer)(struct serving *, const struct served *, struct answer *))
{
	struct serving *s = keep(xcalloc(1, sizeof(*s)));
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(at);

	signal(SIGPIPE, SIG_IGN);
	s->answer = answer;
	pthread_mutex_init(&s->shared.mu, NULL);
	pthread_cond_init(&s->shared.changed, NULL);
	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(bind(s->fd, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(s->fd, 64) == 0);
	must(getsockname(s->fd, (struct sockaddr *)&at, &n) == 0);
	s->port = ntohs(at.sin_port);
	must(pthread_create(&s->thread, NULL, serving_accept, s) == 0);
	return s;
}

/* ---- a job ---- */

struct job_house {
	char *dir;
	int objects, out;
	FILE *list;
	unsigned count, ping_timeout_s;
	char *log, *said; /* after job_run(): the data-log, and the answers */
	json_t *error;    /* of the last answer; NULL: it was "done" */
	int status;
};

static inline void job_open(struct job_house *h)
{
	*h = (struct job_house){ .dir = keep(xstrdup(test_tmpdir())), .ping_timeout_s = 60 };
	_cleanup_free_ char *path = strf("%s/list", h->dir);

	CHECK_OK(mkdir_all(AT_FDCWD, keep(strf("%s/objects/ab", h->dir)), 0755, e));
	CHECK_OK(mkdir_all(AT_FDCWD, keep(strf("%s/out", h->dir)), 0755, e));
	h->objects = open(keep(strf("%s/objects", h->dir)), O_RDONLY | O_DIRECTORY);
	h->out = open(keep(strf("%s/out", h->dir)), O_RDONLY | O_DIRECTORY);
	h->list = fopen(path, "w");
}

static inline void job_add(struct job_house *h, const char *key, struct str bytes)
{
	_cleanup_free_ char *id = strf("ab%u", h->count++), *path = strf("ab/%s", id);
	struct list_entry entry = { .size = bytes.n, .object_id = str_of(id), .etag = STR("-"), .key = str_of(key) };

	CHECK_OK(file_put(h->objects, path, bytes, 0644, e));
	CHECK_OK(list_write(h->list, &entry, e));
}

/* places: members of the work order that say where the containers are. */
static inline void job_run_at(struct job_house *h, const char *places, const char *request)
{
	_cleanup_free_ char *list_path = strf("%s/list", h->dir), *log_path = strf("%s/log", h->dir);
	int list, log = open(log_path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND, 0644), in = memfd_create("in", 0),
	          said = memfd_create("said", 0);
	_cleanup_free_ char *work = NULL;
	struct buf b = { 0 };
	struct str rest, last = { 0 };
	json_t *j;

	fclose(h->list);
	h->list = NULL;
	list = open(list_path, O_RDONLY);
	work = strf("{%s, \"list\": %d, \"bucket\": \"b\", \"prefix\": \"in/\", "
	            "\"objects\": %d, \"out\": %d, \"log\": %d, \"ping_timeout_s\": %u, \"request\": %s}",
	            places, list, h->objects, h->out, log, h->ping_timeout_s, request);
	CHECK_OK(fd_write_all(in, work, strlen(work), e));
	lseek(in, 0, SEEK_SET);
	h->status = transform_main(in, said);
	CHECK_OK(file_read(keep(strf("/proc/self/fd/%d", said)), 64 << 20, &b, e));
	h->said = keep(buf_take(&b));
	buf_init(&b);
	CHECK_OK(file_read(log_path, 64 << 20, &b, e));
	h->log = keep(buf_take(&b));
	for (rest = str_of(h->said); rest.n;)
		last = str_cut(&rest, '\n');
	j = json_loadb(last.p ? last.p : "", last.n, 0, NULL);
	CHECK(j && (json_object_get(j, "error") != NULL) == (h->status != 0));
	keep(j);
	h->error = json_object_get(j, "error");
}

static inline void job_run(struct job_house *h, const struct serving *s, const char *request)
{
	_cleanup_free_ char *places = strf("\"containers\": [\"http://127.0.0.1:%u\"]", s->port);

	job_run_at(h, places, request);
}

static inline const char *job_kind(const struct job_house *h)
{
	return h->error ? json_string_value(json_object_get(h->error, "kind")) : "";
}

static inline const char *job_text(const struct job_house *h)
{
	return h->error ? json_string_value(json_object_get(h->error, "text")) : "";
}

/* The output of object n; NULL: there is none. */
static inline char *job_output(const struct job_house *h, unsigned n)
{
	_cleanup_free_ char *path = strf("%s/out/%u", h->dir, n);
	struct buf b = { 0 };
	struct err e = { 0 };

	buf_init(&b);
	return file_read(path, 1 << 30, &b, &e) < 0 ? (buf_fini(&b), NULL) : keep(buf_take(&b));
}

static inline bool job_has_parts(const struct job_house *h)
{
	for (unsigned i = 0; i < h->count; i++) {
		_cleanup_free_ char *path = strf("%s/out/.%u.part", h->dir, i);

		if (access(path, F_OK) == 0)
			return true;
	}
	return false;
}
