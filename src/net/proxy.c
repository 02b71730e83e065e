/* Relaying connections (here) and questions (question.c). SPDX-License-Identifier: Apache-2.0 */
#include "net/proxy.h"

#include <grp.h>
#include <linux/capability.h>
#include <netdb.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/secret.h"
#include "net/relay.h"

enum {
	NOBODY = 65534,
	FILES = 2 * PROXY_CONNECTIONS + PROXY_QUESTIONS + PROXY_RELAYS + 64,
	BUFFER_BYTES = 16 << 10,
	BACKOFF_MS = 100
};

/* ---- one connection: two ends, and what was read from each for the other ---- */

struct end {
	struct connection *of;
	struct end *other;
	int fd;
	struct loop_source *source;
	bool ended; /* nothing more comes from it */
	bool told;  /* and the other one knows */
	size_t at, n;
	char bytes[BUFFER_BYTES];
};

struct connection {
	struct relay *relay;
	struct connection *prev, *next;
	struct end a, b;
};

static void end_fini(struct end *d)
{
	loop_source_free(d->source);
	cleanup_closep(&d->fd);
}

void connection_free(struct connection *c)
{
	struct relay *r = c->relay;

	if (c->next)
		c->next->prev = c->prev;
	if (c->prev)
		c->prev->next = c->next;
	else
		r->connections = c->next;
	end_fini(&c->a);
	end_fini(&c->b);
	free(c);
	relay_has_room(r);
}

/* Moves what can be moved from one end to the other. False: the connection is of no more use. */
static bool pump(struct end *from)
{
	struct end *to = from->other;
	ssize_t n;

	for (;;) {
		if (from->n == 0 && !from->ended) {
			n = recv(from->fd, from->bytes, sizeof(from->bytes), 0);
			if (n < 0)
				return errno == EAGAIN || errno == EINTR;
			from->ended = n == 0;
			from->at = 0;
			from->n = (size_t)n;
		}
		if (from->n == 0)
			break;
		n = send(to->fd, from->bytes + from->at, from->n, MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		from->at += (size_t)n;
		from->n -= (size_t)n;
	}
	if (!from->told && shutdown(to->fd, SHUT_WR) < 0)
		return false;
	from->told = true;
	return true;
}

static void want(struct end *d)
{
	loop_fd_events(d->source, (d->n == 0 && !d->ended ? EPOLLIN : 0U) | (d->other->n ? EPOLLOUT : 0U));
}

static void on_end(void *arg, uint32_t events)
{
	struct end *d = arg;
	struct connection *c = d->of;
	bool use = pump(d) && pump(d->other) && !(d->told && d->other->told);

	/* Both ways closed or broken, and its last bytes cannot be got rid of: that would be told for ever. */
	if (use && (events & (EPOLLHUP | EPOLLERR)) && (d->n || d->ended))
		use = false;
	if (!use) {
		connection_free(c);
		return;
	}
	want(&c->a);
	want(&c->b);
}

static bool end_init(struct end *d, struct end *other, struct connection *c, int fd, uint32_t events)
{
	d->of = c;
	d->other = other;
	d->fd = fd;
	d->source = loop_fd(c->relay->proxy->loop, fd, events, on_end, d);
	return d->source != NULL;
}

/* Takes fd. What cannot be connected is closed again, and who asked sees that. */
static void connect_one(struct relay *r, int taken)
{
	_cleanup_close_ int fd = taken;
	_cleanup_close_ int to = socket(r->to.to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct connection *c;

	if (to < 0 || (connect(to, (const struct sockaddr *)&r->to.to, r->to.bytes) < 0 && errno != EINPROGRESS))
		return;
	c = xcalloc(1, sizeof(*c));
	c->relay = r;
	c->next = r->connections;
	if (c->next)
		c->next->prev = c;
	r->connections = c;
	r->proxy->connection_count++;
	c->a.fd = c->b.fd = -EBADF;
	if (!end_init(&c->a, &c->b, c, take_fd(fd), EPOLLIN) || !end_init(&c->b, &c->a, c, take_fd(to), EPOLLIN))
		connection_free(c);
}

/* ---- listening ---- */

static void listen_again(struct proxy *p, bool on)
{
	for (size_t i = 0; i < p->count; i++)
		if (!p->relay[i].datagrams)
			loop_fd_events(p->relay[i].source, on ? EPOLLIN : 0);
}

void relay_has_room(struct relay *r)
{
	struct proxy *p = r->proxy;

	if (p->connection_count-- == PROXY_CONNECTIONS && !p->ending)
		listen_again(p, true);
}

static void on_backoff(void *arg)
{
	struct proxy *p = arg;

	if (p->connection_count < PROXY_CONNECTIONS)
		listen_again(p, true);
}

static void on_listen(void *arg, uint32_t events)
{
	struct relay *r = arg;
	struct proxy *p = r->proxy;

	(void)events;
	while (p->connection_count < PROXY_CONNECTIONS) {
		int fd = accept4(r->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			connect_one(r, fd);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
			listen_again(p, false); /* it stays ready */
			loop_timer_set(p->backoff, BACKOFF_MS, 0);
			return;
		} else if (errno != EINTR && errno != ECONNABORTED) {
			return;
		}
	}
	listen_again(p, false);
}

struct proxy *proxy_new(struct loop *l, const struct proxy_relay *relays, size_t count)
{
	struct proxy *p = xcalloc(1, sizeof(*p));

	must(count <= PROXY_RELAYS);
	p->loop = l;
	p->count = count;
	p->backoff = loop_timer(l, -1, 0, on_backoff, p);
	for (size_t i = 0; i < count; i++) {
		struct relay *r = &p->relay[i];

		r->proxy = p;
		r->fd = relays[i].fd;
		r->datagrams = relays[i].datagrams;
		r->to = relays[i].to;
		fd_set_nonblock(r->fd, true);
		r->source = loop_fd(l, r->fd, EPOLLIN, r->datagrams ? on_questions : on_listen, r);
		must(r->source);
	}
	return p;
}

void proxy_free(struct proxy *p)
{
	if (!p)
		return;
	p->ending = true;
	for (size_t i = 0; i < p->count; i++) {
		while (p->relay[i].connections)
			connection_free(p->relay[i].connections);
		while (p->relay[i].questions)
			question_free(p->relay[i].questions);
		loop_source_free(p->relay[i].source);
	}
	loop_source_free(p->backoff);
	free(p);
}

bool proxy_address_parse(struct str s, struct proxy_address *ret)
{
	const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM };
	struct str host = s, port = str_cut_last(&host, ':');
	_cleanup_free_ char *h = NULL, *p = str_dup(port);
	struct addrinfo *found;

	if (host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
		host = (struct str){ host.p + 1, host.n - 2 };
	h = str_dup(host);
	if (!host.n || !port.n || getaddrinfo(h, p, &hints, &found) != 0)
		return false;
	*ret = (struct proxy_address){ .bytes = found->ai_addrlen };
	memcpy(&ret->to, found->ai_addr, found->ai_addrlen);
	freeaddrinfo(found);
	return true;
}

int proxy_confine(struct err *e)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { 0 };
	struct rlimit files = { FILES, FILES };
	pid_t parent = getppid();
	int dies = 0;

	prctl(PR_GET_PDEATHSIG, &dies);
	no_core_dumps_below(); /* credentials pass by */
	if (setrlimit(RLIMIT_NOFILE, &files) < 0)
		return err_sys(e, "setting limits");
	if (geteuid() == 0 &&
	    (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0))
		return err_sys(e, "becoming user %d", NOBODY);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_capset, &head, none) < 0)
		return err_sys(e, "dropping privileges");
	if (dies && (prctl(PR_SET_PDEATHSIG, dies) < 0 || getppid() != parent))
		return err_set(e, ERR_IO, "the process that started this one has gone");
	return 0;
}
