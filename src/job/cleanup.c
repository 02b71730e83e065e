/* What is left when a job has ended or was deleted, and when objects were. SPDX-License-Identifier: Apache-2.0
 *
 * Only bloomery-host may remove what root made in a job's directory. What it has to do is kept in the store until it is
 * seen to be done, so neither a restart of ours nor of the host's leaves anything behind. */
#include <fcntl.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/log.h"
#include "job/control.h"

enum { LOOK_FIRST_MS = 2000, LOOK_LAST_MS = 60000 };

struct todo {
	char id[JOB_ID_BYTES];
	bool remove;
};
struct todos {
	struct todo *list;
	size_t count;
};

static void note(const char *id, bool remove, void *arg)
{
	struct todos *t = arg;

	if (!job_id_valid(str_of(id)))
		return;
	if (!(t->count & (t->count - 1)))
		t->list = xrealloc(t->list, (t->count ? 2 * t->count : 8) * sizeof(*t->list));
	t->list[t->count].remove = remove;
	memcpy(t->list[t->count++].id, id, JOB_ID_BYTES);
}

/* What is ours in a job's directory: the lists, and artifacts that a supervisor staged and that nobody will take any
 * more, because it was lost before it could say so. The log stays. */
static const char *const ours[] = { "lists", "staged" };

static void remove_ours(struct jobs *js, const char *id)
{
	for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
		_cleanup_free_ char *path = strf("%s/jobs/%s/%s", js->data_dir, id, ours[i]);
		struct err e = { 0 };

		if (remove_tree(AT_FDCWD, path, &e) < 0)
			log_err(LOG_WARN, &e, "cleaning up %s", path);
	}
}

static bool is_gone(struct jobs *js, const char *id, const char *what)
{
	_cleanup_free_ char *path = strf("%s/jobs/%s/%s", js->data_dir, id, what);
	struct stat st;

	return lstat(path, &st) < 0 && errno == ENOENT;
}

static bool is_done(struct jobs *js, const struct todo *t)
{
	if (t->remove)
		return is_gone(js, t->id, "");
	return is_gone(js, t->id, "work") && is_gone(js, t->id, ours[0]) && is_gone(js, t->id, ours[1]);
}

void cleanup_tick(void *jobs)
{
	struct jobs *js = jobs;
	_cleanup_free_ struct todo *list = NULL;
	struct todos t = { 0 };
	struct err e = { 0 };
	size_t left = 0;
	int rc = store_cleanup_each(js->store, note, &t, &e);

	list = t.list;
	for (size_t i = 0; rc == 0 && i < t.count; i++) {
		remove_ours(js, t.list[i].id);
		if (t.list[i].remove)
			measure_forget(js, t.list[i].id);
		if (is_done(js, &t.list[i])) {
			rc = store_cleanup_done(js->store, t.list[i].id, &e);
			continue;
		}
		left++;
		if (t.list[i].remove)
			js->via->remove(js->launcher, t.list[i].id);
		else
			js->via->forget(js->launcher, t.list[i].id);
	}
	if (rc < 0)
		log_err(LOG_ERROR, &e, "cleaning up");
	loop_timer_set(js->cleanup_timer, left || rc < 0 ? js->cleanup_ms : -1, 0);
	js->cleanup_ms = js->cleanup_ms * 2 > LOOK_LAST_MS ? LOOK_LAST_MS : js->cleanup_ms * 2;
}

void cleanup_soon(struct jobs *js)
{
	js->cleanup_ms = LOOK_FIRST_MS;
	loop_timer_set(js->cleanup_timer, 0, 0);
}

/* An object's file may go when it was replaced or deleted before every job was created that may still want it: while it
 * is placing its data, and to its end when it reads objects by their ids as it runs (Pipe, FastFile by FUSE). Links
 * keep what they link. */
void sweep_tick(void *jobs)
{
	struct jobs *js = jobs;
	struct wall before = wall_now();

	algorithms_go_on(js);
	for (const struct job *j = js->running.first; j; j = j->next) {
		bool placing = j->freezing || j->state == JOB_LAUNCHING || j->state == JOB_ADMITTED ||
		               j->state == JOB_DOWNLOADING || j->state == JOB_STOPPING;

		if ((placing || j->lazy) && j->created.ms < before.ms)
			before = j->created;
	}
	freezer_sweep(js->freezer, before);
}
