/* The way in: <job>/sock, where commands arrive as JSON packets, and the signals of bloomery-job itself.
 *
 *   {"t":"ping"}  ->  {"t":"pong","pid":N}
 *   {"t":"stop"}  ->  {"t":"ok"}            the job is being stopped; "why":"peer": as another host has failed
 *   {"t":"go"}    ->  {"t":"ok"}            all hosts of the job are ready
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "jobdir/hostlink.h"
#include "run/phase.h"

enum { CONTROL_PEERS = 16 };

struct peer {
	struct control *control;
	int fd;
	struct loop_source *source;
};

struct control {
	struct run *run;
	int fd;
	struct loop_source *source, *term, *interrupt;
	struct peer peers[CONTROL_PEERS];
};

static void peer_close(struct peer *p)
{
	loop_source_free(take_ptr(p->source));
	cleanup_closep(&p->fd);
	p->fd = -EBADF;
}

static void answer(struct peer *p, json_t *msg)
{
	struct err e = { 0 };

	if (!msg || hostlink_send(p->fd, msg, &e) < 0)
		log_err(LOG_WARN, &e, "answering on the job's socket");
	json_decref(msg);
}

static void obey(struct peer *p, const json_t *msg)
{
	struct str t = str_of(json_string_value(json_object_get(msg, "t")));
	struct str why = str_of(json_string_value(json_object_get(msg, "why")));

	if (str_is(t, "ping")) {
		answer(p, json_pack("{s:s, s:i}", "t", "pong", "pid", (int)getpid()));
	} else if (str_is(t, "stop")) {
		run_stop(p->control->run, str_is(why, "peer") ? STOP_PEER : STOP_ASKED);
		answer(p, json_pack("{s:s}", "t", "ok"));
	} else if (str_is(t, "go")) {
		run_go(p->control->run);
		answer(p, json_pack("{s:s}", "t", "ok"));
	} else {
		answer(p, json_pack("{s:s, s:s}", "t", "error", "text", "this command is not known"));
	}
}

static void on_peer(void *arg, uint32_t events)
{
	struct peer *p = arg;
	json_t *msg = NULL;
	struct err e = { 0 };
	int r = hostlink_recv(p->fd, &msg, &e);

	(void)events;
	if (r < 0 && e.kind == ERR_BUSY)
		return;
	if (r < 0)
		log_err(LOG_WARN, &e, "reading from the job's socket");
	if (r <= 0) {
		peer_close(p);
		return;
	}
	obey(p, msg);
	json_decref(msg);
}

static void on_accept(void *arg, uint32_t events)
{
	struct control *c = arg;
	_cleanup_close_ int fd = accept4(c->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	for (size_t i = 0; fd >= 0 && i < CONTROL_PEERS; i++) {
		struct peer *p = &c->peers[i];

		if (p->fd >= 0)
			continue;
		p->source = loop_fd(c->run->loop, fd, EPOLLIN, on_peer, p);
		if (p->source)
			p->fd = take_fd(fd);
		return;
	}
}

static void on_signal(void *arg, int signo)
{
	(void)signo;
	run_stop(((struct control *)arg)->run, STOP_SHUTDOWN);
}

/* The address goes through /proc/self/fd, as a job directory's own path may be longer than an address can be. */
static int listen_in(int dirfd, const char *leaf, struct err *e)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t mask;
	int r;

	if (fd < 0)
		return err_sys(e, "making the job's socket");
	if (unlinkat(dirfd, leaf, 0) < 0 && errno != ENOENT)
		return err_sys(e, "removing the old %s", leaf);
	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/%s", dirfd, leaf);
	mask = umask(0177);
	r = bind(fd, (struct sockaddr *)&a, sizeof(a));
	umask(mask);
	if (r < 0 || listen(fd, CONTROL_PEERS) < 0)
		return err_sys(e, "listening on %s", leaf);
	return take_fd(fd);
}

int control_open(struct run *r, struct err *e)
{
	struct control *c = xcalloc(1, sizeof(*c));

	c->run = r;
	for (size_t i = 0; i < CONTROL_PEERS; i++)
		c->peers[i] = (struct peer){ .control = c, .fd = -EBADF };
	c->fd = listen_in(r->job_fd, "sock", e);
	if (c->fd < 0) {
		control_close(c);
		return -1;
	}
	c->source = loop_fd(r->loop, c->fd, EPOLLIN, on_accept, c);
	c->term = loop_signal(r->loop, SIGTERM, on_signal, c);
	c->interrupt = loop_signal(r->loop, SIGINT, on_signal, c);
	if (!c->source || !c->term || !c->interrupt) {
		err_sys(e, "watching the job's socket");
		control_close(c);
		return -1;
	}
	r->control = c;
	return 0;
}

void control_close(struct control *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < CONTROL_PEERS; i++)
		peer_close(&c->peers[i]);
	loop_source_free(c->source);
	loop_source_free(c->term);
	loop_source_free(c->interrupt);
	cleanup_closep(&c->fd);
	free(c);
}
