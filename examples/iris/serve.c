/* serve.c - a serving container's program in plain C: what train.c found, over HTTP.
 *
 * What a SageMaker serving container must do, and all it must do:
 *   - be started as `serve`, with the model's files in /opt/ml/model
 *   - listen on port 8080, several connections at once
 *   - GET /ping: 200 once it can answer
 *   - POST /invocations: records in, as many answers out, in their order; 4xx where the records are wrong
 *   - GET /execution-parameters, if it likes: how batch transform had best ask it
 *   - on SIGTERM end
 *
 * Records are rows of CSV: the features, in the order of training. Each answer is a row as well: the class and how
 * probable that is; or, with "Accept: application/jsonlines", a line of JSON with the probabilities of all classes.
 *
 * ML_BASE=DIR replaces /opt/ml, SAGEMAKER_BIND_TO_PORT=N the port (0: any, it is printed), for trying it without a
 * container.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "model.h"

enum { HEAD_MAX = 16 << 10, BODY_MAX = 100 << 20, ROOM = 64 << 10, BACKLOG = 128 };

static struct model model;

/* ---- a connection ---- */

struct connection {
	int fd;
	char room[ROOM]; /* received, and not yet looked at: from `at` to `end` */
	size_t at, end;
	char head[HEAD_MAX];
	char *body; /* NUL-terminated */
	size_t body_bytes;
};

static bool receive(struct connection *c)
{
	ssize_t n = recv(c->fd, c->room, ROOM, 0);

	c->at = 0;
	c->end = n > 0 ? (size_t)n : 0;
	return n > 0;
}

static int next_byte(struct connection *c)
{
	return c->at < c->end || receive(c) ? (unsigned char)c->room[c->at++] : EOF;
}

static bool send_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);

		if (sent <= 0)
			return false;
		p += sent;
		n -= (size_t)sent;
	}
	return true;
}

static bool answer(struct connection *c, const char *status, const char *type, const char *body, size_t n)
{
	char head[256];
	int size = snprintf(head, sizeof(head), "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n",
	                    status, type, n);

	return send_all(c->fd, head, (size_t)size) && send_all(c->fd, body, n);
}

static bool answer_text(struct connection *c, const char *status, const char *text)
{
	return answer(c, status, "text/plain", text, strlen(text));
}

/* ---- a request ---- */

/* A line without its end. */
static bool read_line(struct connection *c, char *dst, size_t size)
{
	size_t n = 0;
	int byte;

	while ((byte = next_byte(c)) != '\n') {
		if (byte == EOF || n + 1 >= size)
			return false;
		dst[n++] = (char)byte;
	}
	if (n && dst[n - 1] == '\r')
		n--;
	dst[n] = 0;
	return true;
}

/* The request line and the headers, one behind the other, each NUL-terminated; an empty one is the last. */
static bool read_head(struct connection *c)
{
	size_t n = 0;

	for (;;) {
		if (!read_line(c, c->head + n, HEAD_MAX - n))
			return false;
		if (!c->head[n])
			return n > 0;
		n += strlen(c->head + n) + 1;
	}
}

/* A header's value; "" when there is none. */
static const char *header(const struct connection *c, const char *name)
{
	size_t n = strlen(name);

	for (const char *line = c->head; *line; line += strlen(line) + 1)
		if (strncasecmp(line, name, n) == 0 && line[n] == ':')
			return line + n + 1 + strspn(line + n + 1, " \t");
	return "";
}

/* n more bytes of the body. */
static bool read_bytes(struct connection *c, size_t n)
{
	char *more;

	if (n > BODY_MAX - c->body_bytes || !(more = realloc(c->body, c->body_bytes + n + 1)))
		return false;
	c->body = more;
	while (n) {
		size_t have;

		if (c->at == c->end && !receive(c))
			return false;
		have = c->end - c->at < n ? c->end - c->at : n;
		memcpy(c->body + c->body_bytes, c->room + c->at, have);
		c->at += have;
		c->body_bytes += have;
		n -= have;
	}
	c->body[c->body_bytes] = 0;
	return true;
}

static bool read_chunks(struct connection *c)
{
	char line[64], *end;
	size_t n;

	do {
		if (!read_line(c, line, sizeof(line)))
			return false;
		n = strtoul(line, &end, 16);
		if (end == line || n > BODY_MAX || !read_bytes(c, n) || !read_line(c, line, sizeof(line)) || *line)
			return false;
	} while (n);
	return true;
}

static bool read_body(struct connection *c)
{
	const char *length = header(c, "Content-Length");

	free(c->body);
	c->body = NULL;
	c->body_bytes = 0;
	if (strcasecmp(header(c, "Expect"), "100-continue") == 0 &&
	    !send_all(c->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25))
		return false;
	if (strcasecmp(header(c, "Transfer-Encoding"), "chunked") == 0)
		return read_chunks(c);
	return read_bytes(c, strtoul(length, NULL, 10));
}

/* ---- predicting ---- */

/* The features of a row, scaled. False: why says what is wrong with it. */
static bool read_row(char *row, double *x, char *why, size_t why_bytes)
{
	size_t fields = 1;
	char *end;

	for (const char *p = row; (p = strchr(p, ',')); p++)
		fields++;
	if (fields != model.features) {
		snprintf(why, why_bytes, "%zu fields instead of %zu", fields, model.features);
		return false;
	}
	for (size_t i = 0; i < model.features; i++) {
		char *field = strsep(&row, ",");

		x[i] = strtod(field, &end);
		if (end == field || *end || !isfinite(x[i])) {
			snprintf(why, why_bytes, "'%.80s' is not a number", field);
			return false;
		}
		x[i] = (x[i] - model.mean[i]) / model.scale[i];
	}
	return true;
}

static void put_answer(FILE *out, const double *p, bool json)
{
	size_t best = 0;

	for (size_t c = 1; c < model.classes; c++)
		if (p[c] > p[best])
			best = c;
	if (!json) {
		fprintf(out, "%s,%.6f\n", model.class[best], p[best]);
		return;
	}
	fputs("{\"class\": ", out);
	put_json_string(out, model.class[best]);
	fputs(", \"probabilities\": {", out);
	for (size_t c = 0; c < model.classes; c++) {
		fputs(c ? ", " : "", out);
		put_json_string(out, model.class[c]);
		fprintf(out, ": %.6f", p[c]);
	}
	fputs("}}\n", out);
}

/* A line for each row; false: why says which one is wrong. */
static bool predict_all(char *rest, FILE *out, bool json, char *why, size_t why_bytes)
{
	double x[FEATURES_MAX], p[CLASSES_MAX];
	char what[160], *row;

	for (size_t n = 1; *rest; n++) {
		row = rest;
		rest += strcspn(rest, "\n");
		if (*rest)
			*rest++ = 0;
		row[strcspn(row, "\r")] = 0;
		if (!read_row(row, x, what, sizeof(what))) {
			snprintf(why, why_bytes, "row %zu: %s\n", n, what);
			return false;
		}
		model_predict(&model, x, p);
		put_answer(out, p, json);
	}
	return true;
}

static bool is_type(const char *said, const char *type)
{
	size_t n = strlen(type);

	return strncasecmp(said, type, n) == 0 && strchr("; ,", said[n]) != NULL;
}

static bool invoke(struct connection *c)
{
	const char *type = header(c, "Content-Type"), *accept = header(c, "Accept");
	bool json = is_type(accept, "application/jsonlines"), fine;
	char why[200], *out = NULL;
	size_t n = 0;
	FILE *f;

	if (*type && !is_type(type, "text/csv"))
		return answer_text(c, "415 Unsupported Media Type", "this model takes text/csv\n");
	if (*accept && !json && !is_type(accept, "text/csv") && !is_type(accept, "*/*"))
		return answer_text(c, "406 Not Acceptable", "this model makes text/csv and application/jsonlines\n");
	if (strlen(c->body) != c->body_bytes)
		return answer_text(c, "400 Bad Request", "a NUL byte is no CSV\n");
	f = open_memstream(&out, &n);
	if (!f)
		return false;
	fine = predict_all(c->body, f, json, why, sizeof(why));
	if (fclose(f) != 0)
		fine = false;
	fine = fine ? answer(c, "200 OK", json ? "application/jsonlines" : "text/csv", out, n)
	            : answer_text(c, "400 Bad Request", why);
	free(out);
	return fine;
}

/* ---- HTTP ---- */

static bool serve_request(struct connection *c)
{
	static const char parameters[] = "{\"MaxConcurrentTransforms\": %ld, \"BatchStrategy\": \"MULTI_RECORD\", "
	                                 "\"MaxPayloadInMB\": 6}\n";
	char text[160];

	if (!read_head(c))
		return false;
	if (!read_body(c)) {
		answer_text(c, "400 Bad Request", "the body is not whole, or larger than 100 MiB\n");
		return false;
	}
	if (strncmp(c->head, "POST /invocations ", 18) == 0)
		return invoke(c);
	if (strncmp(c->head, "GET /ping ", 10) == 0)
		return answer_text(c, "200 OK", "");
	if (strncmp(c->head, "GET /execution-parameters ", 26) == 0) {
		snprintf(text, sizeof(text), parameters, sysconf(_SC_NPROCESSORS_ONLN));
		return answer(c, "200 OK", "application/json", text, strlen(text));
	}
	return answer_text(c, "404 Not Found", "there are /ping, /invocations and /execution-parameters\n");
}

static void *serve(void *arg)
{
	struct connection *c = arg;

	while (serve_request(c) && strcasecmp(header(c, "Connection"), "close") != 0)
		;
	close(c->fd);
	free(c->body);
	free(c);
	return NULL;
}

/* ---- starting ---- */

_Noreturn static void fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("serve: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputs("\n", stderr);
	va_end(ap);
	exit(1);
}

static int listen_on(const char *port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(port, NULL, 10)) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	socklen_t size = sizeof(at);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, BACKLOG) < 0 ||
	    getsockname(fd, (struct sockaddr *)&at, &size) < 0)
		fail("listening on port %s: %s", port, strerror(errno));
	printf("%zu features, %zu classes; listening on port %u\n", model.features, model.classes, ntohs(at.sin_port));
	return fd;
}

static void on_sigterm(int sig)
{
	(void)sig;
	_exit(0);
}

int main(void)
{
	const char *base = getenv("ML_BASE"), *port = getenv("SAGEMAKER_BIND_TO_PORT");
	struct sigaction stop = { .sa_handler = on_sigterm };
	char path[1000], why[1200];
	int fd, peer, one = 1;

	setvbuf(stdout, NULL, _IOLBF, 0);
	sigaction(SIGTERM, &stop, NULL);
	snprintf(path, sizeof(path), "%s/model/model.json", base ? base : "/opt/ml");
	if (model_read(&model, path, why, sizeof(why)) < 0)
		fail("%s", why);
	fd = listen_on(port ? port : "8080");
	while ((peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC)) >= 0 || errno == ECONNABORTED || errno == EINTR) {
		struct connection *c = peer < 0 ? NULL : calloc(1, sizeof(*c));
		pthread_t thread;

		if (peer < 0)
			continue;
		setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (!c || (c->fd = peer, pthread_create(&thread, NULL, serve, c))) {
			close(peer); /* who asked will try again */
			free(c);
			continue;
		}
		pthread_detach(thread);
	}
	fail("accepting a connection: %s", strerror(errno));
}
