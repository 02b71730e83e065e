/* SPDX-License-Identifier: Apache-2.0 */
#include "ingest/ingest.h"

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/log.h"
#include "ingest/record.h"
#include "joblog/joblog.h"

enum {
	BATCH_LINES = 8192,    /* of one transaction */
	COMMIT_EVERY_MS = 200, /* files that grow all the time: not for every line */
	RETRY_MS = 1000,       /* when the store cannot be written */
	SAY_AGAIN_MS = 60000,
};

/* A host that is followed. */
struct followed {
	char *id, *job_id, *job_name, *host_name, *instance, *job_dir, *dir, *path;
	int watch; /* of dir, or of job_dir as long as there is no dir; -1: none */
	bool in_dir;
	struct joblog_reader *reader;  /* NULL: there is nothing yet */
	bool dirty, finishing, broken; /* broken: its file is not understood, and is left alone */
	uint64_t strange;              /* lines that are none of ours */
	struct followed *next;
};

struct task {
	enum { FOLLOW, FINISH, FORGET } what;
	struct followed *follow;
	char *id; /* FINISH: the host's, FORGET: the job's */
	struct task *next;
};

struct ingest {
	struct series_store *store; /* thread-safe */
	char *data_dir;
	pthread_t thread;
	int task_fd, done_fd;
	struct { /* hold mu to touch anything in here */
		pthread_mutex_t mu;
		struct task *tasks, **tasks_end, *done;
		bool stop;
	} shared;
	struct { /* the thread's */
		int inotify;
		struct followed *hosts;
		struct series_batch *batch;
		size_t lines; /* in the batch */
		struct mono committed, tried, complained;
		bool failed; /* the last commit; the batch waits */
	} own;
};

/* ---- from other threads ---- */

static void push_task(struct ingest *in, struct task task)
{
	struct task *t = xcalloc(1, sizeof(*t));

	*t = task;
	pthread_mutex_lock(&in->shared.mu);
	*in->shared.tasks_end = t;
	in->shared.tasks_end = &t->next;
	pthread_mutex_unlock(&in->shared.mu);
	eventfd_write(in->task_fd, 1);
}

void ingest_follow(struct ingest *in, const struct ingest_host *h)
{
	struct followed *f = xcalloc(1, sizeof(*f));

	f->id = xstrdup(h->id);
	f->job_id = xstrdup(h->job_id);
	f->job_name = xstrdup(h->job_name);
	f->host_name = strf("algo-%u", h->number);
	f->instance = h->instance ? xstrdup(h->instance) : NULL;
	f->job_dir = strf("%s/jobs/%s", in->data_dir, h->id);
	f->dir = strf("%s/metrics", f->job_dir);
	f->path = strf("%s/%s", f->dir, f->host_name);
	f->watch = -1;
	push_task(in, (struct task){ .what = FOLLOW, .follow = f });
}

void ingest_finish(struct ingest *in, const char *id)
{
	push_task(in, (struct task){ .what = FINISH, .id = xstrdup(id) });
}

void ingest_forget(struct ingest *in, const char *job_id)
{
	push_task(in, (struct task){ .what = FORGET, .id = xstrdup(job_id) });
}

int ingest_done_fd(const struct ingest *in)
{
	return in->done_fd;
}

char *ingest_done(struct ingest *in)
{
	struct task *t;
	eventfd_t n;
	char *id;

	eventfd_read(in->done_fd, &n);
	pthread_mutex_lock(&in->shared.mu);
	t = in->shared.done;
	if (t)
		in->shared.done = t->next;
	if (in->shared.done)
		eventfd_write(in->done_fd, 1);
	pthread_mutex_unlock(&in->shared.mu);
	if (!t)
		return NULL;
	id = t->id;
	free(t);
	return id;
}

/* ---- hosts ---- */

static void followed_free(struct followed *f)
{
	joblog_reader_close(f->reader);
	free(f->id);
	free(f->job_id);
	free(f->job_name);
	free(f->host_name);
	free(f->instance);
	free(f->job_dir);
	free(f->dir);
	free(f->path);
	free(f);
}

static struct followed *find(struct ingest *in, const char *id)
{
	struct followed *f = in->own.hosts;

	while (f && strcmp(f->id, id) != 0)
		f = f->next;
	return f;
}

static void unwatch(struct ingest *in, struct followed *f)
{
	if (f->watch >= 0)
		inotify_rm_watch(in->own.inotify, f->watch);
	f->watch = -1;
}

static bool watch_dir(struct ingest *in, struct followed *f)
{
	unwatch(in, f);
	f->watch = inotify_add_watch(in->own.inotify, f->dir, IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_ONLYDIR);
	f->in_dir = f->watch >= 0;
	return f->in_dir;
}

/* Its directory, or the one where that will be made; it may be made in between, which nobody would tell. */
static void watch(struct ingest *in, struct followed *f)
{
	f->dirty = true;
	if (watch_dir(in, f))
		return;
	f->watch = inotify_add_watch(in->own.inotify, f->job_dir, IN_CREATE | IN_MOVED_TO | IN_ONLYDIR);
	if (access(f->dir, F_OK) == 0)
		watch_dir(in, f);
}

static void say_done(struct ingest *in, struct followed *f)
{
	struct task *t = xcalloc(1, sizeof(*t)), **end;

	t->id = xstrdup(f->id);
	pthread_mutex_lock(&in->shared.mu);
	for (end = &in->shared.done; *end;)
		end = &(*end)->next;
	*end = t;
	pthread_mutex_unlock(&in->shared.mu);
	eventfd_write(in->done_fd, 1);
}

static void drop(struct ingest *in, struct followed *f)
{
	struct followed **at = &in->own.hosts;

	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	unwatch(in, f);
	followed_free(f);
}

/* A host that was never followed has nothing to be read. */
static void finish(struct ingest *in, const char *id)
{
	struct followed *f = find(in, id), nobody = { .id = (char *)id };

	if (f) {
		f->finishing = f->dirty = true;
		return;
	}
	say_done(in, &nobody);
}

static void follow(struct ingest *in, struct followed *f)
{
	if (find(in, f->id)) {
		followed_free(f);
		return;
	}
	f->next = in->own.hosts;
	in->own.hosts = f;
	watch(in, f);
}

static void forget(struct ingest *in, const char *job_id)
{
	struct err e = { 0 };

	if (series_forget_job(in->store, str_of(job_id), &e) < 0)
		log_err(LOG_ERROR, &e, "the metrics of a deleted job (%s) cannot be removed", job_id);
}

static bool take_tasks(struct ingest *in)
{
	struct task *t, *next;
	eventfd_t n;
	bool stop;

	eventfd_read(in->task_fd, &n);
	pthread_mutex_lock(&in->shared.mu);
	t = in->shared.tasks;
	in->shared.tasks = NULL;
	in->shared.tasks_end = &in->shared.tasks;
	stop = in->shared.stop;
	pthread_mutex_unlock(&in->shared.mu);
	for (; t; t = next) {
		next = t->next;
		switch (t->what) {
		case FOLLOW: follow(in, t->follow); break;
		case FINISH: finish(in, t->id); break;
		case FORGET: forget(in, t->id); break;
		}
		free(t->id);
		free(t);
	}
	return !stop;
}

/* ---- reading ---- */

static void give_up(struct followed *f, const struct err *e)
{
	log_err(LOG_ERROR, e, "training job %s: the metrics of %s cannot be read", f->job_name, f->host_name);
	joblog_reader_close(f->reader);
	f->reader = NULL;
	f->broken = true;
}

/* Where the store has got to. 0: there is nothing to be read yet. */
static int open_reader(struct ingest *in, struct followed *f, struct err *e)
{
	struct err why = { 0 };
	uint64_t at = 0;

	if (!f->in_dir)
		watch(in, f);
	if (!f->in_dir && !f->finishing) /* a reader of a file that is not watched would not be asked again */
		return 0;
	if (series_cursor(in->store, str_of(f->id), &at, e) < 0)
		return -1;
	if (joblog_reader_open(f->path, &f->reader, &why) < 0) {
		if (why.kind == ERR_NOT_FOUND)
			return 0;
		give_up(f, &why);
		return 0;
	}
	if (at && joblog_seek(f->reader, at, &why) < 0) {
		give_up(f, &why);
		return 0;
	}
	return 1;
}

/* Up to `max` lines of the host join the batch. */
static size_t read_host(struct ingest *in, struct followed *f, size_t max, struct wall now)
{
	const struct record_host h = {
		.id = str_of(f->id),
		.job_id = str_of(f->job_id),
		.job_name = str_of(f->job_name),
		.host_name = str_of(f->host_name),
		.instance = str_of(f->instance),
	};
	struct log_record r;
	struct err e = { 0 };
	size_t n = 0;
	int more = 0;

	while (n < max && (more = joblog_next(f->reader, &r, &e)) > 0) {
		n++;
		/* a piece of a line that is too long is a line of nothing */
		if (!record_take(in->own.batch, &h, r.bytes, joblog_offset(f->reader), now) && !f->strange++)
			log_warn("training job %s: the metrics of %s have a line that is not understood", f->job_name,
			         f->host_name);
	}
	if (more < 0)
		give_up(f, &e);
	else if (n < max)
		f->dirty = false;
	return n;
}

static bool commit(struct ingest *in)
{
	struct err e = { 0 };

	in->own.tried = mono_now();
	if (in->own.lines && series_commit(in->store, in->own.batch, wall_now(), false, &e) < 0) {
		if (!in->own.failed || mono_ms_since(in->own.complained) > SAY_AGAIN_MS) {
			log_err(LOG_ERROR, &e, "metrics of jobs cannot be stored yet");
			in->own.complained = mono_now();
		}
		in->own.failed = true;
		return false;
	}
	in->own.failed = false;
	in->own.lines = 0;
	in->own.committed = mono_now();
	return true;
}

/* Whatever there is, a batch at a time. False: the store cannot be used now. */
static bool ingest_all(struct ingest *in)
{
	struct err e = { 0 };

	for (struct followed *f = in->own.hosts; f; f = f->next)
		while (f->dirty && !f->broken) {
			if (!f->reader) {
				int there = open_reader(in, f, &e);

				if (there < 0) {
					in->own.failed = true;
					in->own.tried = mono_now();
					log_err(LOG_ERROR, &e, "metrics of jobs cannot be stored yet");
					return false;
				}
				if (!there) {
					f->dirty = false;
					break;
				}
			}
			in->own.lines += read_host(in, f, BATCH_LINES - in->own.lines, wall_now());
			if (in->own.lines >= BATCH_LINES && !commit(in))
				return false;
		}
	return commit(in);
}

static void end_finished(struct ingest *in)
{
	struct followed *next;

	for (struct followed *f = in->own.hosts; f; f = next) {
		next = f->next;
		if (!f->finishing || (f->dirty && !f->broken))
			continue;
		say_done(in, f);
		drop(in, f);
	}
}

/* ---- the thread ---- */

static void take_events(struct ingest *in)
{
	_Alignas(struct inotify_event) char buffer[8192];
	ssize_t n;

	while ((n = read(in->own.inotify, buffer, sizeof(buffer))) > 0)
		for (ssize_t at = 0; at < n;) {
			const struct inotify_event *ev = (const struct inotify_event *)(buffer + at);

			for (struct followed *f = in->own.hosts; f; f = f->next)
				if (ev->mask & IN_Q_OVERFLOW || f->watch == ev->wd) {
					if (ev->mask & IN_IGNORED)
						f->watch = -1;
					f->dirty = true;
				}
			at += (ssize_t)(sizeof(*ev) + ev->len);
		}
}

/* How long to wait: for ever, or as long as it takes until the next commit may be. */
static int wait_ms(const struct ingest *in)
{
	bool dirty = in->own.lines > 0, urgent = false;
	int64_t since = mono_ms_since(in->own.committed);

	for (const struct followed *f = in->own.hosts; f; f = f->next) {
		dirty |= f->dirty && !f->broken;
		urgent |= f->finishing;
	}
	if (in->own.failed) {
		since = mono_ms_since(in->own.tried);
		return since >= RETRY_MS ? 0 : (int)(RETRY_MS - since);
	}
	if (!dirty)
		return -1;
	return urgent || since >= COMMIT_EVERY_MS ? 0 : (int)(COMMIT_EVERY_MS - since);
}

static void *thread_main(void *arg)
{
	struct ingest *in = arg;
	struct pollfd fds[] = { { .fd = in->task_fd, .events = POLLIN }, { .fd = in->own.inotify, .events = POLLIN } };

	for (;;) {
		int n = poll(fds, ARRAY_LEN(fds), wait_ms(in));

		if (!take_tasks(in))
			break;
		take_events(in);
		if (n > 0 && wait_ms(in) > 0) /* a retry, or the next commit, is not due */
			continue;
		if (in->own.failed && !commit(in))
			continue;
		if (ingest_all(in))
			end_finished(in);
	}
	return NULL;
}

struct ingest *ingest_new(struct series_store *s, const char *data_dir)
{
	struct ingest *in = xcalloc(1, sizeof(*in));
	pthread_attr_t attr;
	sigset_t all, old;

	in->store = s;
	in->data_dir = xstrdup(data_dir);
	in->task_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	in->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	in->own.inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	must(in->task_fd >= 0 && in->done_fd >= 0 && in->own.inotify >= 0);
	in->own.batch = series_batch_new();
	in->shared.tasks_end = &in->shared.tasks;
	pthread_mutex_init(&in->shared.mu, NULL);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 1 << 20);
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old); /* signals are the loop's */
	must(pthread_create(&in->thread, &attr, thread_main, in) == 0);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return in;
}

void ingest_free(struct ingest *in)
{
	struct task *t;

	if (!in)
		return;
	pthread_mutex_lock(&in->shared.mu);
	in->shared.stop = true;
	pthread_mutex_unlock(&in->shared.mu);
	eventfd_write(in->task_fd, 1);
	pthread_join(in->thread, NULL);
	while (in->own.hosts)
		drop(in, in->own.hosts);
	while ((t = in->shared.tasks) || (t = in->shared.done)) {
		if (t == in->shared.tasks)
			in->shared.tasks = t->next;
		else
			in->shared.done = t->next;
		if (t->follow)
			followed_free(t->follow);
		free(t->id);
		free(t);
	}
	series_batch_free(in->own.batch);
	close(in->own.inotify);
	close(in->task_fd);
	close(in->done_fd);
	pthread_mutex_destroy(&in->shared.mu);
	free(in->data_dir);
	free(in);
}
