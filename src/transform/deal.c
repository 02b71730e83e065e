/* SPDX-License-Identifier: Apache-2.0 */
#include "transform/deal.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "transform/datalog.h"
#include "transform/inside.h"

enum {
	OPEN_EACH = 4, /* tasks in the list, for each thread */
	OPEN_MORE = 16,
	HELD_MAX = 64 << 20,   /* bytes of answers that wait in memory */
	SPARE_MAX = 128 << 20, /* bytes of memory that a thread keeps for the next records */
	STACK_BYTES = 512 << 10,
	NAME_BYTES = 32,
};

/* ---- objects that fail ---- */

bool deal_failed(struct deal *d, const struct object *o)
{
	bool failed;

	pthread_mutex_lock(&d->shared.mu);
	failed = o->failed;
	pthread_mutex_unlock(&d->shared.mu);
	return failed;
}

void deal_fail(struct deal *d, struct object *o, const struct err *why, const char *log)
{
	char text[ERR_FRAMES * ERR_FRAME_BYTES];
	struct err e = *why;

	pthread_mutex_lock(&d->shared.mu);
	if (!o->failed && d->shared.failed++ == 0) {
		(void)err_in(&e, "s3://%s", o->name);
		d->shared.why = e;
	}
	o->failed = true;
	pthread_mutex_unlock(&d->shared.mu);
	if (log)
		datalog_write(d->o->work->log, str_of(o->name), str_of(*log ? log : err_text(why, text, sizeof(text))));
}

/* ---- the output ---- */

static void part_name(const struct object *o, char dst[NAME_BYTES])
{
	snprintf(dst, NAME_BYTES, ".%llu.part", (unsigned long long)o->number);
}

static int open_part(struct deal *d, struct object *o, struct err *e)
{
	char name[NAME_BYTES];

	if (o->fd >= 0)
		return 0;
	part_name(o, name);
	o->fd = openat(d->o->work->out, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	return o->fd < 0 ? err_sys(e, "making the output") : 0;
}

static int write_result(struct deal *d, struct task *t, struct err *e)
{
	struct object *o = t->object;
	bool feed = d->o->work->lines && !(t->result.size && t->result.last == '\n');

	if (open_part(d, o, e) < 0)
		return -1;
	if (result_write(&t->result, o->fd, e) < 0 || (feed && fd_write_all(o->fd, "\n", 1, e) < 0))
		return err_in(e, "writing the output");
	o->bytes += t->result.size + feed;
	o->records += t->records;
	return 0;
}

/* The object's output gets its name. */
static int name_part(struct deal *d, struct object *o, struct err *e)
{
	char part[NAME_BYTES], name[NAME_BYTES];

	if (open_part(d, o, e) < 0)
		return -1;
	part_name(o, part);
	snprintf(name, sizeof(name), "%llu", (unsigned long long)o->number);
	if (renameat(d->o->work->out, part, d->o->work->out, name) < 0)
		return err_sys(e, "naming the output");
	d->o->done(d->o->arg, &(struct deal_object){ o->number, o->bucket, o->key, o->records, o->bytes });
	return 0;
}

static void drop_part(struct deal *d, struct object *o)
{
	char part[NAME_BYTES];

	part_name(o, part);
	if (o->fd >= 0)
		unlinkat(d->o->work->out, part, 0);
}

static void object_free(struct object *o)
{
	cleanup_closep(&o->fd);
	cleanup_closep(&o->file);
	free((char *)o->key.p);
	free((char *)o->bucket.p);
	free(o->name);
	free(o);
}

/* What a task that has its turn leads to. Its object may be gone afterwards. */
static void write_task(struct deal *d, struct task *t)
{
	struct object *o = t->object;
	struct err why = { 0 };
	bool failed = deal_failed(d, o);

	if (!failed && (t->end ? name_part(d, o, &why) : write_result(d, t, &why)) < 0) {
		deal_fail(d, o, &why, "");
		failed = true;
	}
	if (!t->end)
		return;
	if (failed)
		drop_part(d, o);
	object_free(o);
}

/* ---- the list of tasks ---- */

static void task_free(struct task *t)
{
	reader_close(t->stream);
	result_fini(&t->result);
	buf_fini(&t->payload);
	free(t);
}

/* Writes what has its turn, as long as nobody else does. */
static void write_ready_locked(struct deal *d)
{
	if (d->shared.writing)
		return;
	d->shared.writing = true;
	while (d->shared.first && d->shared.first->done) {
		struct task *t = d->shared.first;

		pthread_mutex_unlock(&d->shared.mu);
		write_task(d, t);
		pthread_mutex_lock(&d->shared.mu);
		d->shared.first = t->next;
		if (!t->next)
			d->shared.last = &d->shared.first;
		d->shared.open--;
		task_free(t);
		pthread_cond_broadcast(&d->shared.changed);
	}
	d->shared.writing = false;
}

/* The next task, when there is room for one. NULL: there are no others. *spare: memory for records. */
static struct task *next_task_locked(struct deal *d, struct buf *spare)
{
	unsigned most = d->o->terms.concurrent * OPEN_EACH + OPEN_MORE;
	struct err why = { 0 };
	struct task *t;
	int rc;

	while (!d->shared.dry && (d->shared.reading || d->shared.open >= most))
		pthread_cond_wait(&d->shared.changed, &d->shared.mu);
	if (d->shared.dry)
		return NULL;
	t = xcalloc(1, sizeof(*t));
	result_init(&t->result, &d->house);
	t->payload = *spare;
	*spare = (struct buf){ 0 };
	d->shared.reading = true;
	pthread_mutex_unlock(&d->shared.mu);
	rc = intake_next(d, t, &why);
	pthread_mutex_lock(&d->shared.mu);
	d->shared.reading = false;
	if (rc > 0) {
		*d->shared.last = t;
		d->shared.last = &t->next;
		d->shared.open++;
	} else {
		d->shared.dry = true;
		if (rc < 0 && d->shared.failed++ == 0)
			d->shared.why = why;
		task_free(t);
		t = NULL;
	}
	pthread_cond_broadcast(&d->shared.changed);
	return t;
}

static void *work_on(void *arg)
{
	struct deal *d = arg;
	struct poster *posters[CONTAINERS_MAX] = { 0 };
	_cleanup_buf_ struct buf spare = { 0 };
	struct task *t;

	for (unsigned i = 0; i < d->o->work->container_count; i++)
		posters[i] = poster_new(&d->o->to[i]);
	pthread_mutex_lock(&d->shared.mu);
	while ((t = next_task_locked(d, &spare))) {
		if (!t->end) {
			pthread_mutex_unlock(&d->shared.mu);
			invoke(d, posters, t);
			pthread_mutex_lock(&d->shared.mu);
		}
		spare = t->payload; /* it has done its part; the answer waits without it */
		t->payload = (struct buf){ 0 };
		if (spare.cap > SPARE_MAX)
			buf_fini(&spare);
		t->done = true;
		write_ready_locked(d);
	}
	pthread_mutex_unlock(&d->shared.mu);
	for (unsigned i = 0; i < d->o->work->container_count; i++)
		poster_free(posters[i]);
	return NULL;
}

/* Runs the threads. With none it would not begin. */
static int run(struct deal *d, struct err *e)
{
	pthread_t *threads = xcalloc(d->o->terms.concurrent, sizeof(*threads));
	pthread_attr_t attr;
	unsigned n = 0;
	int rc = 0;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	for (; n < d->o->terms.concurrent && rc == 0; n += rc == 0)
		rc = pthread_create(&threads[n], &attr, work_on, d);
	for (unsigned i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	pthread_attr_destroy(&attr);
	free(threads);
	errno = rc;
	return n ? 0 : err_sys(e, "starting threads");
}

static int outcome(const struct deal *d, struct err *e)
{
	if (!d->shared.failed)
		return 0;
	if (e)
		*e = d->shared.why;
	if (d->shared.failed > 1)
		return err_in(e, "%llu objects could not be transformed; the first",
		              (unsigned long long)d->shared.failed);
	return -1;
}

int deal(const struct deal_options *o, struct err *e)
{
	struct deal d = { .o = o, .house = { .dirfd = o->work->out, .most = HELD_MAX } };
	int rc = intake_open(&d, e);

	if (rc < 0)
		return -1;
	d.shared.last = &d.shared.first;
	pthread_mutex_init(&d.shared.mu, NULL);
	pthread_cond_init(&d.shared.changed, NULL);
	rc = run(&d, e);
	must(rc < 0 || (!d.shared.first && !d.intake.object));
	if (rc == 0)
		rc = outcome(&d, e);
	pthread_cond_destroy(&d.shared.changed);
	pthread_mutex_destroy(&d.shared.mu);
	intake_close(&d);
	return rc;
}
