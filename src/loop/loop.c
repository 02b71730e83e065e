/* SPDX-License-Identifier: Apache-2.0 */
#include "loop/loop.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

/* Everything is a descriptor: timers are timerfds, processes pidfds, signals signalfds, the mailbox an eventfd. */
enum source_kind { SOURCE_FD, SOURCE_TIMER, SOURCE_PROCESS, SOURCE_SIGNAL, SOURCE_MAILBOX };

struct loop_source {
	struct loop *loop;
	struct loop_source *prev, *next; /* in loop->sources, or by next only in loop->dead */
	enum source_kind kind;
	int fd;
	bool dead, child, fired;
	union {
		void (*on_fd)(void *arg, uint32_t events);
		void (*on_timer)(void *arg);
		void (*on_process)(void *arg, int code, int status);
		void (*on_signal)(void *arg, int signo);
	};
	void *arg;
};

/* One piece of work for the loop's thread. With `done`, the sender waits and owns the struct; else it is on the heap.
 */
struct message {
	struct message *next;
	void (*fn)(void *arg);
	void *arg;
	sem_t *done;
};

struct loop {
	int epoll_fd;
	bool stop, dispatching;
	pthread_t owner;
	struct loop_source *sources, *dead, *mailbox;
	struct {
		pthread_mutex_t mu; /* hold it to touch anything in here */
		struct message *first, **last;
	} shared;
};

/* ---- sources ---- */

static struct loop_source *source_new(struct loop *l, enum source_kind kind, int fd, uint32_t events, void *arg)
{
	struct loop_source *s = xcalloc(1, sizeof(*s));
	struct epoll_event ev = { .events = events, .data.ptr = s };

	*s = (struct loop_source){ .loop = l, .kind = kind, .fd = fd, .arg = arg, .next = l->sources };
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
		free(s);
		return NULL;
	}
	if (s->next)
		s->next->prev = s;
	l->sources = s;
	return s;
}

/* The same for a descriptor that the source owns; closes it when that fails. */
static struct loop_source *source_own(struct loop *l, enum source_kind kind, int fd, void *arg)
{
	struct loop_source *s = fd < 0 ? NULL : source_new(l, kind, fd, EPOLLIN, arg);

	if (!s)
		cleanup_closep(&fd);
	return s;
}

void loop_source_free(struct loop_source *s)
{
	struct loop *l = s ? s->loop : NULL;

	if (!s || s->dead)
		return;
	if (!s->fired)
		epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
	if (s->kind != SOURCE_FD)
		close(s->fd);
	if (s->prev)
		s->prev->next = s->next;
	else
		l->sources = s->next;
	if (s->next)
		s->next->prev = s->prev;
	if (!l->dispatching) {
		free(s);
		return;
	}
	s->dead = true; /* an event of this round may still point to it */
	s->next = l->dead;
	l->dead = s;
}

static void bury(struct loop *l)
{
	while (l->dead) {
		struct loop_source *s = l->dead;

		l->dead = s->next;
		free(s);
	}
}

struct loop_source *loop_fd(struct loop *l, int fd, uint32_t events, void (*fn)(void *arg, uint32_t events), void *arg)
{
	struct loop_source *s = source_new(l, SOURCE_FD, fd, events, arg);

	if (s)
		s->on_fd = fn;
	return s;
}

void loop_fd_events(struct loop_source *s, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = s };

	must(epoll_ctl(s->loop->epoll_fd, EPOLL_CTL_MOD, s->fd, &ev) == 0);
}

static struct timespec timespec_of_ms(int64_t ms)
{
	return (struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };
}

void loop_timer_set(struct loop_source *s, int64_t first_ms, int64_t every_ms)
{
	struct itimerspec spec = { .it_interval = timespec_of_ms(every_ms), .it_value = timespec_of_ms(first_ms) };

	if (first_ms < 0)
		spec = (struct itimerspec){ 0 };
	else if (first_ms == 0)
		spec.it_value.tv_nsec = 1; /* zero would mean off */
	must(timerfd_settime(s->fd, 0, &spec, NULL) == 0);
}

struct loop_source *loop_timer(struct loop *l, int64_t first_ms, int64_t every_ms, void (*fn)(void *arg), void *arg)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	struct loop_source *s = source_own(l, SOURCE_TIMER, fd, arg);

	if (s) {
		s->on_timer = fn;
		loop_timer_set(s, first_ms, every_ms);
	}
	return s;
}

struct loop_source *loop_process(struct loop *l, pid_t pid, bool child, void (*fn)(void *arg, int code, int status),
                                 void *arg)
{
	struct loop_source *s = source_own(l, SOURCE_PROCESS, pidfd_open(pid, 0), arg);

	if (s) {
		s->on_process = fn;
		s->child = child;
	}
	return s;
}

struct loop_source *loop_signal(struct loop *l, int signo, void (*fn)(void *arg, int signo), void *arg)
{
	struct loop_source *s;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signo);
	must(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
	s = source_own(l, SOURCE_SIGNAL, signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), arg);
	if (s)
		s->on_signal = fn;
	return s;
}

/* ---- the mailbox ---- */

static void mailbox_put(struct loop *l, struct message *m)
{
	uint64_t one = 1;

	pthread_mutex_lock(&l->shared.mu);
	*l->shared.last = m;
	l->shared.last = &m->next;
	pthread_mutex_unlock(&l->shared.mu);
	must(write(l->mailbox->fd, &one, sizeof(one)) == sizeof(one) || errno == EAGAIN);
}

static void mailbox_run(struct loop *l)
{
	struct message *m, *next;

	pthread_mutex_lock(&l->shared.mu);
	m = l->shared.first;
	l->shared.first = NULL;
	l->shared.last = &l->shared.first;
	pthread_mutex_unlock(&l->shared.mu);
	for (; m; m = next) {
		next = m->next;
		m->fn(m->arg);
		if (m->done)
			sem_post(m->done); /* m is gone from here on */
		else
			free(m);
	}
}

void loop_call(struct loop *l, void (*fn)(void *arg), void *arg)
{
	sem_t done;
	struct message m = { .fn = fn, .arg = arg, .done = &done };

	if (pthread_equal(l->owner, pthread_self())) {
		fn(arg);
		return;
	}
	must(sem_init(&done, 0, 0) == 0);
	mailbox_put(l, &m);
	while (sem_wait(&done) < 0)
		must(errno == EINTR);
	sem_destroy(&done);
}

void loop_post(struct loop *l, void (*fn)(void *arg), void *arg)
{
	struct message *m = xcalloc(1, sizeof(*m));

	*m = (struct message){ .fn = fn, .arg = arg };
	mailbox_put(l, m);
}

/* ---- running ---- */

static void process_ended(struct loop_source *s)
{
	siginfo_t info = { 0 };

	s->fired = true; /* once: a pidfd stays readable */
	epoll_ctl(s->loop->epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
	if (s->child && waitid(P_PIDFD, (id_t)s->fd, &info, WEXITED) == 0)
		s->on_process(s->arg, info.si_code, info.si_status);
	else
		s->on_process(s->arg, -1, 0);
}

static void source_dispatch(struct loop_source *s, uint32_t events)
{
	struct signalfd_siginfo sig;
	uint64_t count;

	switch (s->kind) {
	case SOURCE_FD: s->on_fd(s->arg, events); break;
	case SOURCE_TIMER:
		if (read(s->fd, &count, sizeof(count)) == sizeof(count)) /* else it was set anew meanwhile */
			s->on_timer(s->arg);
		break;
	case SOURCE_PROCESS: process_ended(s); break;
	case SOURCE_SIGNAL:
		if (read(s->fd, &sig, sizeof(sig)) == sizeof(sig))
			s->on_signal(s->arg, (int)sig.ssi_signo);
		break;
	case SOURCE_MAILBOX:
		if (read(s->fd, &count, sizeof(count)) == sizeof(count))
			mailbox_run(s->loop);
		break;
	}
}

struct loop *loop_new(void)
{
	struct loop *l = xcalloc(1, sizeof(*l));

	l->owner = pthread_self();
	must(pthread_mutex_init(&l->shared.mu, NULL) == 0);
	l->shared.last = &l->shared.first;
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	must(l->epoll_fd >= 0);
	l->mailbox = source_own(l, SOURCE_MAILBOX, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), NULL);
	must(l->mailbox);
	return l;
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	must(!l->dispatching);
	mailbox_run(l); /* nobody may wait for ever */
	while (l->sources)
		loop_source_free(l->sources);
	close(l->epoll_fd);
	pthread_mutex_destroy(&l->shared.mu);
	free(l);
}

int loop_run(struct loop *l, struct err *e)
{
	struct epoll_event events[64];

	must(!l->dispatching);
	l->owner = pthread_self();
	while (!l->stop) {
		int n = epoll_wait(l->epoll_fd, events, ARRAY_LEN(events), -1);

		if (n < 0 && errno != EINTR)
			return err_sys(e, "waiting for events");
		l->dispatching = true;
		for (int i = 0; i < n; i++) {
			struct loop_source *s = events[i].data.ptr;

			if (!s->dead)
				source_dispatch(s, events[i].events);
		}
		l->dispatching = false;
		bury(l);
	}
	l->stop = false;
	return 0;
}

void loop_stop(struct loop *l)
{
	l->stop = true;
}
