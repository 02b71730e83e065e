/* A serving container that does next to nothing: each line's prediction is its length. A thread for each connection.
 *
 * usage: serve [PORT]   (8080; 0: any; it is written to stdout once it listens)
 *
 * With HEALTHY_WITH=FILE in the environment GET /ping is answered with 503 until there is such a file. A connection's
 * end is told on stdout, with the number of its requests.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BODY_MAX = 128 << 20, HEAD_MAX = 16 << 10 };

/* Connections that ended leave their memory to others, so that it is there, as in a server that has been running for a
 * while. */
struct connection {
	struct connection *next;
	int fd;
	char *in, *out;
	size_t n, in_bytes, out_bytes;
	unsigned long requests;
};

static struct {
	pthread_mutex_t mu;
	struct connection *first;
} spare = { .mu = PTHREAD_MUTEX_INITIALIZER };

static struct connection *connection_get(void)
{
	struct connection *c;

	pthread_mutex_lock(&spare.mu);
	c = spare.first;
	if (c)
		spare.first = c->next;
	pthread_mutex_unlock(&spare.mu);
	return c ? c : calloc(1, sizeof(*c));
}

static void connection_put(struct connection *c)
{
	close(c->fd);
	pthread_mutex_lock(&spare.mu);
	c->next = spare.first;
	spare.first = c;
	pthread_mutex_unlock(&spare.mu);
}

static int send_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);

		if (sent <= 0)
			return -1;
		p += sent;
		n -= (size_t)sent;
	}
	return 0;
}

static int answer(struct connection *c, const char *status, size_t bytes)
{
	char head[128];
	int n = snprintf(head, sizeof(head), "HTTP/1.1 %s\r\nContent-Type: text/csv\r\nContent-Length: %zu\r\n\r\n",
	                 status, bytes);

	return send_all(c->fd, head, (size_t)n) < 0 || send_all(c->fd, c->out, bytes) < 0 ? -1 : 0;
}

static char *grow(char *p, size_t *have, size_t want)
{
	if (want > *have) {
		*have = want;
		p = realloc(p, want);
		if (!p)
			abort();
	}
	return p;
}

static char *add_number(char *to, size_t v)
{
	char digits[24];
	unsigned n = 0;

	do
		digits[n++] = (char)('0' + v % 10);
	while (v /= 10);
	while (n)
		*to++ = digits[--n];
	*to++ = '\n';
	return to;
}

static int predict(struct connection *c, const char *body, size_t n)
{
	const char *end = body + n;
	char *to;

	c->out = grow(c->out, &c->out_bytes, 2 * n + 32); /* an empty line has "0" and a line feed */
	to = c->out;
	while (body < end) {
		const char *lf = memchr(body, '\n', (size_t)(end - body));
		size_t length = (size_t)((lf ? lf : end) - body);

		to = add_number(to, length);
		body += length + 1;
	}
	return answer(c, "200 OK", (size_t)(to - c->out));
}

/* Reads until there are `want` bytes. */
static int fill(struct connection *c, size_t want)
{
	while (c->n < want) {
		ssize_t got = recv(c->fd, c->in + c->n, c->in_bytes - c->n - 1, 0);

		if (got <= 0)
			return -1;
		c->n += (size_t)got;
		c->in[c->n] = '\0';
	}
	return 0;
}

static int healthy(void)
{
	const char *with = getenv("HEALTHY_WITH");

	return !with || access(with, F_OK) == 0;
}

static int serve_request(struct connection *c)
{
	const char *end, *length;
	size_t head, body = 0;
	int rc;

	while (!(end = c->n ? strstr(c->in, "\r\n\r\n") : NULL))
		if (c->n >= HEAD_MAX || fill(c, c->n + 1) < 0)
			return -1;
	head = (size_t)(end - c->in) + 4;
	length = strcasestr(c->in, "\r\nContent-Length:");
	if (length && length < end)
		body = strtoul(length + 17, NULL, 10);
	if (body > BODY_MAX) {
		answer(c, "413 Too Large", 0);
		return -1;
	}
	c->in = grow(c->in, &c->in_bytes, head + body + 1);
	if (fill(c, head + body) < 0)
		return -1;
	if (strncmp(c->in, "GET /ping ", 10) == 0)
		rc = answer(c, healthy() ? "200 OK" : "503 Not Yet", 0);
	else if (strncmp(c->in, "POST /invocations ", 18) == 0)
		rc = predict(c, c->in + head, body);
	else
		rc = answer(c, "404 Not Found", 0);
	c->n -= head + body;
	memmove(c->in, c->in + head + body, c->n);
	c->in[c->n] = '\0';
	return rc;
}

static void *serve(void *arg)
{
	struct connection *c = arg;

	c->in = grow(c->in, &c->in_bytes, HEAD_MAX * 2);
	c->in[0] = '\0';
	c->n = 0;
	c->requests = 0;
	while (serve_request(c) == 0)
		c->requests++;
	printf("closed %lu\n", c->requests);
	connection_put(c);
	return NULL;
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	unsigned long port = 8080;
	socklen_t size = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1, peer;

	if (argc > 1 && strcmp(argv[1], "serve") != 0) /* what a serving container is started with */
		port = strtoul(argv[1], NULL, 10);
	setvbuf(stdout, NULL, _IOLBF, 0);
	at.sin_port = htons((uint16_t)port);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 128) < 0 ||
	    getsockname(fd, (struct sockaddr *)&at, &size) < 0) {
		perror("serve");
		return 1;
	}
	printf("%u\n", ntohs(at.sin_port));
	fflush(stdout);
	while ((peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		struct connection *c = connection_get();
		pthread_t t;

		setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (!c || (c->fd = peer, pthread_create(&t, NULL, serve, c)))
			return 1;
		pthread_detach(t);
	}
	return 1;
}
