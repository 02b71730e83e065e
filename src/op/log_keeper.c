/* SPDX-License-Identifier: Apache-2.0 */
#include "op/log_keeper.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "op/logs.h"

enum { ROUND_MS = 10 * 1000, CURRENT_MAX = 10000, EXPIRE_MS = 3600 * 1000, SLACK_MS = 60 * 1000, NICE = 10 };

struct log_keeper {
	const char *data_dir;
	struct store *store;
	struct logstore *logs;
	unsigned retention_days;
	pthread_t thread;
	int stop_fd;
	atomic_bool stopping;
};

/* Packs, and with `before` trims, every log in a job's directory. */
static void keep_folder(struct log_keeper *k, const char *id, const char *folder, struct wall before)
{
	_cleanup_free_ char *dir = strf("%s/jobs/%s/%s", k->data_dir, id, folder);
	DIR *d = opendir(dir);
	struct dirent *one;

	while (d && !atomic_load(&k->stopping) && (one = readdir(d))) {
		_cleanup_free_ char *path = strf("%s/%s", dir, one->d_name);
		struct err e = { 0 };
		bool ended;

		if (strchr(one->d_name, '.')) /* later segments, and what is no log */
			continue;
		ended = !log_is_open(path);
		if (joblog_pack(path, ended, &e) < 0)
			log_err(LOG_WARN, &e, "packing the log %s", path);
		e = (struct err){ 0 };
		if (before.ms && joblog_trim(path, before, ended, &e) < 0)
			log_err(LOG_WARN, &e, "removing what is old of the log %s", path);
	}
	if (d)
		closedir(d);
}

struct round {
	struct log_keeper *k;
	struct wall before;
	char (*ids)[JOB_ID_BYTES];
	size_t count;
};

static void note_id(struct str name, const char *id, void *arg)
{
	struct round *r = arg;

	(void)name;
	if (!(r->count & (r->count - 1)))
		r->ids = xrealloc(r->ids, (r->count ? 2 * r->count : 16) * sizeof(*r->ids));
	memcpy(r->ids[r->count++], id, JOB_ID_BYTES);
}

/* Jobs that run, or have ended since. */
static void keep_current(struct log_keeper *k, struct wall since)
{
	struct round r = { .k = k };
	struct err e = { 0 };

	for (enum job_kind kind = 0; kind < KIND_COUNT; kind++)
		if (store_job_each_current(k->store, kind, since, CURRENT_MAX, note_id, &r, &e) < 0)
			log_err(LOG_WARN, &e, "looking for logs to pack");
	for (size_t i = 0; i < r.count; i++)
		keep_folder(k, r.ids[i], "log", (struct wall){ 0 });
	free(r.ids);
}

static int by_id(const void *a, const void *b)
{
	return memcmp(a, b, JOB_ID_BYTES);
}

static bool is_among(const struct round *r, const char *id)
{
	char key[JOB_ID_BYTES] = { 0 };

	if (strlen(id) != JOB_ID_BYTES - 1)
		return false;
	memcpy(key, id, JOB_ID_BYTES);
	return r->count && bsearch(key, r->ids, r->count, sizeof(*r->ids), by_id);
}

/* All that there are; before: one a kind of jobs. */
static void keep_all(struct log_keeper *k, const struct wall before[KIND_COUNT])
{
	_cleanup_free_ char *dir = strf("%s/jobs", k->data_dir);
	struct round transforms = { .k = k };
	DIR *d = opendir(dir);
	struct dirent *one;
	struct err e = { 0 };

	if (store_job_each_current(k->store, KIND_TRANSFORM, (struct wall){ 0 }, UINT_MAX, note_id, &transforms, &e) <
	    0)
		log_err(LOG_WARN, &e, "looking for transform jobs");
	if (transforms.count)
		qsort(transforms.ids, transforms.count, sizeof(*transforms.ids), by_id);
	while (d && !atomic_load(&k->stopping) && (one = readdir(d)))
		if (one->d_name[0] != '.')
			keep_folder(k, one->d_name, "log",
			            before[is_among(&transforms, one->d_name) ? KIND_TRANSFORM : KIND_TRAINING]);
	if (d)
		closedir(d);
	free(transforms.ids);
}

struct policies {
	struct {
		int64_t id;
		unsigned days;
	} * list;
	size_t count;
	unsigned jobs[KIND_COUNT]; /* days */
};

static void note_policy(const struct log_group *g, void *arg)
{
	struct policies *p = arg;

	enum job_kind kind;

	if (log_group_of_jobs(g->name, &kind) && g->retention_days)
		p->jobs[kind] = g->retention_days;
	if (!g->retention_days)
		return;
	p->list = xrealloc(p->list, (p->count + 1) * sizeof(*p->list));
	p->list[p->count].id = g->id;
	p->list[p->count++].days = g->retention_days;
}

static struct wall days_ago(unsigned days)
{
	return (struct wall){ wall_now().ms - (int64_t)days * 24 * 3600 * 1000 };
}

static void expire(struct log_keeper *k)
{
	struct policies p = { 0 };
	struct wall before[KIND_COUNT];
	struct err e = { 0 };

	for (enum job_kind kind = 0; kind < KIND_COUNT; kind++)
		p.jobs[kind] = k->retention_days;
	if (logstore_groups_each(k->logs, note_policy, &p, &e) < 0)
		log_err(LOG_WARN, &e, "reading the retention of log groups");
	for (size_t i = 0; i < p.count && !atomic_load(&k->stopping); i++)
		if (logstore_expire(k->logs, p.list[i].id, days_ago(p.list[i].days), &e) < 0)
			log_err(LOG_WARN, &e, "removing old log events");
	free(p.list);
	for (enum job_kind kind = 0; kind < KIND_COUNT; kind++)
		before[kind] = p.jobs[kind] ? days_ago(p.jobs[kind]) : (struct wall){ 0 };
	keep_all(k, before);
}

static void *keep(void *arg)
{
	struct log_keeper *k = arg;
	struct pollfd stop = { k->stop_fd, POLLIN, 0 };
	struct mono expired = mono_now();
	struct wall since = wall_now();

	setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE); /* this thread only */
	expire(k);
	while (!atomic_load(&k->stopping)) {
		struct wall now;

		if (poll(&stop, 1, ROUND_MS) < 0 && errno != EINTR)
			break;
		if (atomic_load(&k->stopping))
			break;
		now = wall_now();
		keep_current(k, (struct wall){ since.ms - SLACK_MS });
		since = now;
		if (mono_ms_since(expired) >= EXPIRE_MS) {
			expire(k);
			expired = mono_now();
		}
	}
	return NULL;
}

struct log_keeper *log_keeper_start(const char *data_dir, struct store *store, struct logstore *logs,
                                    unsigned retention_days)
{
	struct log_keeper *k = xcalloc(1, sizeof(*k));

	k->data_dir = data_dir;
	k->store = store;
	k->logs = logs;
	k->retention_days = retention_days;
	k->stop_fd = eventfd(0, EFD_CLOEXEC);
	must(k->stop_fd >= 0 && pthread_create(&k->thread, NULL, keep, k) == 0);
	return k;
}

void log_keeper_stop(struct log_keeper *k)
{
	if (!k)
		return;
	atomic_store(&k->stopping, true);
	must(eventfd_write(k->stop_fd, 1) == 0);
	pthread_join(k->thread, NULL);
	close(k->stop_fd);
	free(k);
}
