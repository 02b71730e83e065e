/* SPDX-License-Identifier: Apache-2.0 */
#include "op/again.h"

#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "loop/loop.h"
#include "metric/again.h"
#include "op/answers.h"
#include "series/anew.h"

enum {
	LINE_MAX_BYTES = 16 << 20, /* of what the process says; a thousand lines of a log are in one */
	BATCH_VALUES = 8192,
	LOOK_MS = 2000,
	FORGOTTEN_MS = 30000, /* a task that tries and that nobody has asked for so long is ended */
	KEPT_MS = 60000       /* the result of a task is told for so long */
};

struct task {
	struct again *all;
	struct task *next;
	char id[AGAIN_ID_BYTES];
	bool refit;
	/* Of the thread that starts it, and then its own. */
	char *job_id, *job_name;
	struct wall created;
	size_t host_count;
	char (*host_ids)[JOB_ID_BYTES];
	char *regex;
	json_t *definitions, *names, *counts;
	pthread_t thread;
	struct { /* hold all->mu to touch anything in here */
		bool done;
		uint64_t bytes, of;
		json_t *result;
		struct err why; /* kind 0: it went well */
		struct mono asked, ended;
	} shared;
};

struct again {
	char *program, *data_dir;
	struct series_store *series;
	struct answers *answers;
	int stop_fd;
	pthread_mutex_t mu;
	struct task *tasks; /* hold mu */
};

/* ---- what the process says ---- */

struct work {
	struct task *t;
	struct buf text; /* of a line that is not whole yet */
	size_t host;     /* that is being extracted; host_count: none yet */
	char *staged;
	struct series_batch *batch, *points;
	size_t batched;
	uint64_t values;
	json_t **counts; /* of each host, as extracted */
	json_t *tried;
};

static void note_progress(struct task *t, const json_t *read, const json_t *of)
{
	pthread_mutex_lock(&t->all->mu);
	if (read)
		t->shared.bytes = (uint64_t)json_integer_value(read);
	if (of)
		t->shared.of = (uint64_t)json_integer_value(of);
	pthread_mutex_unlock(&t->all->mu);
}

static int flush(struct work *w, struct err *e)
{
	w->batched = 0;
	return series_commit(w->t->all->series, w->batch, wall_now(), false, e);
}

static bool is_wanted(const struct task *t, const char *name)
{
	const json_t *n;
	size_t i;

	json_array_foreach (t->names, i, n)
		if (strcmp(json_string_value(n), name) == 0)
			return true;
	return false;
}

static int take_value(struct work *w, const json_t *j, struct err *e)
{
	const char *name = json_string_value(json_object_get(j, "n"));
	const double v = json_number_value(json_object_get(j, "v"));
	const struct series_value value = {
		.job = str_of(w->staged),
		.metric = str_of(name),
		.at = { json_integer_value(json_object_get(j, "t")) },
		.value = v,
		.source = SERIES_FROM_LOG,
		.host = (unsigned)w->host + 1,
	};

	if (!name || !is_wanted(w->t, name) || !isfinite(v) || value.at.ms < 0 || w->host >= w->t->host_count)
		return err_set(e, ERR_IO, "bloomery-metric has said something that is not understood");
	series_batch_value(w->batch, &value);
	series_anew_point(w->points, str_of(w->t->job_name), value.metric, value.at, v, wall_now());
	w->values++;
	return ++w->batched < BATCH_VALUES ? 0 : flush(w, e);
}

static int take_object(struct work *w, const json_t *j, struct err *e)
{
	const json_t *host = json_object_get(j, "host"), *error = json_object_get(j, "error");
	json_t *counts = json_object_get(j, "counts"), *tried = json_object_get(j, "tried");

	if (json_is_string(error))
		return err_set(e, json_is_true(json_object_get(j, "invalid")) ? ERR_INVALID : ERR_IO, "%s",
		               json_string_value(error));
	if (json_object_get(j, "read") || json_object_get(j, "of")) {
		note_progress(w->t, json_object_get(j, "read"), json_object_get(j, "of"));
	} else if (json_is_object(tried) && !w->t->refit) {
		json_decref(w->tried);
		w->tried = json_incref(tried);
	} else if (w->t->refit && json_is_integer(host)) {
		w->host = (size_t)json_integer_value(host);
	} else if (w->t->refit && json_is_array(counts) && w->host < w->t->host_count) {
		json_decref(w->counts[w->host]);
		w->counts[w->host] = json_incref(counts);
	} else if (w->t->refit && json_object_get(j, "n")) {
		return take_value(w, j, e);
	}
	return 0;
}

static int take_line(struct work *w, struct str line, struct err *e)
{
	json_t *j = json_loadb(line.p, line.n, 0, NULL);
	int rc;

	if (!json_is_object(j)) {
		json_decref(j);
		return err_set(e, ERR_IO, "bloomery-metric has said something that is not understood");
	}
	rc = take_object(w, j, e);
	json_decref(j);
	return rc;
}

static int take_bytes(struct work *w, struct str bytes, struct err *e)
{
	while (bytes.n) {
		const char *nl = memchr(bytes.p, '\n', bytes.n);
		size_t n = nl ? (size_t)(nl - bytes.p) : bytes.n;
		int rc;

		if (w->text.n + n > LINE_MAX_BYTES)
			return err_set(e, ERR_IO, "bloomery-metric has said a line that is too long");
		buf_add(&w->text, bytes.p, n);
		if (!nl)
			return 0;
		rc = take_line(w, buf_view(&w->text), e);
		buf_reset(&w->text);
		if (rc < 0)
			return -1;
		bytes.p += n + 1;
		bytes.n -= n + 1;
	}
	return 0;
}

/* ---- the process ---- */

static bool is_forgotten(struct task *t)
{
	bool forgotten;

	pthread_mutex_lock(&t->all->mu);
	forgotten = !t->refit && mono_ms_since(t->shared.asked) > FORGOTTEN_MS;
	pthread_mutex_unlock(&t->all->mu);
	return forgotten;
}

static int read_all(struct work *w, int fd, struct err *e)
{
	_cleanup_free_ char *bytes = xrealloc(NULL, 64 << 10);
	struct pollfd fds[] = { { .fd = fd, .events = POLLIN }, { .fd = w->t->all->stop_fd, .events = POLLIN } };

	for (;;) {
		ssize_t n;

		if (poll(fds, ARRAY_LEN(fds), LOOK_MS) < 0 && errno != EINTR)
			return err_sys(e, "waiting for bloomery-metric");
		if (fds[1].revents)
			return err_set(e, ERR_IO, "the server is ending");
		if (is_forgotten(w->t))
			return err_set(e, ERR_IO, "nobody has asked for the result");
		if (!fds[0].revents)
			continue;
		n = read(fd, bytes, 64 << 10);
		if (n == 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return err_sys(e, "reading what bloomery-metric says");
		if (n > 0 && take_bytes(w, (struct str){ bytes, (size_t)n }, e) < 0)
			return -1;
	}
}

/* How it has ended, if it has not said why itself. */
static int wait_for(pid_t pid, bool end, struct err *e)
{
	int status = 0;

	if (end)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return err_sys(e, "waiting for bloomery-metric");
	if (end || (WIFEXITED(status) && WEXITSTATUS(status) == 0))
		return 0;
	if (WIFSIGNALED(status))
		return err_set(e, ERR_IO, "bloomery-metric was ended by signal %d", WTERMSIG(status));
	return err_set(e, ERR_IO, "bloomery-metric ended with status %d", WEXITSTATUS(status));
}

/* The definitions whose metrics are extracted; the counts come in their order. */
static json_t *wanted_definitions(const struct task *t)
{
	json_t *list = json_array(), *d;
	size_t i;

	json_array_foreach (t->definitions, i, d)
		if (is_wanted(t, json_string_value(json_object_get(d, "Name"))))
			json_array_append(list, d);
	return list;
}

static int write_order(const struct task *t, const struct again_host *hosts, int *ret, struct err *e)
{
	_cleanup_close_ int fd = memfd_create("order", MFD_CLOEXEC);
	_cleanup_buf_ struct buf text = { 0 };
	json_t *wanted = t->refit ? wanted_definitions(t) : NULL;

	again_order(t->refit ? (struct str){ 0 } : str_of(t->regex), wanted, hosts, t->host_count, &text);
	json_decref(wanted);
	if (fd < 0)
		return err_sys(e, "making a file for the work order");
	if (fd_write_all(fd, text.p, text.n, e) < 0)
		return -1;
	*ret = take_fd(fd);
	return 0;
}

static int open_logs(const struct task *t, struct again_host *hosts, struct err *e)
{
	for (size_t i = 0; i < t->host_count; i++) {
		_cleanup_free_ char *path = strf("%s/jobs/%s/log", t->all->data_dir, t->host_ids[i]);

		hosts[i] = (struct again_host){ (unsigned)i + 1,
			                        open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) };
		if (hosts[i].log < 0 && errno != ENOENT)
			return err_sys(e, "opening %s", path);
	}
	return 0;
}

static int start_process(struct task *t, const struct again_host *hosts, pid_t *ret_pid, int *ret_out, struct err *e)
{
	_cleanup_close_ int order = -EBADF, in = open("/dev/null", O_RDONLY | O_CLOEXEC), out = -EBADF, said = -EBADF;
	_cleanup_free_ int *keep = xcalloc(t->host_count + 1, sizeof(*keep));
	_cleanup_free_ char *where = strf("%s/jobs/%s", t->all->data_dir, t->job_id);
	char number[16];
	const char *const argv[] = { "bloomery-metric", "again", number, where, NULL };
	struct spawn_options o = { .path = t->all->program, .argv = argv, .err_fd = STDERR_FILENO, .keep = keep };
	int ends[2];

	if (write_order(t, hosts, &order, e) < 0)
		return -1;
	if (in < 0 || pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(e, "making a pipe");
	said = ends[0];
	out = ends[1];
	for (size_t i = 0; i < t->host_count; i++)
		if (hosts[i].log >= 0)
			keep[o.keep_count++] = hosts[i].log;
	keep[o.keep_count++] = order;
	o.in = in;
	o.out = out;
	o.die_with_parent = true;
	snprintf(number, sizeof(number), "%d", order);
	if (spawn(&o, ret_pid, e) < 0)
		return -1;
	*ret_out = take_fd(said);
	return 0;
}

static int run_process(struct work *w, struct err *e)
{
	_cleanup_free_ struct again_host *hosts = xcalloc(w->t->host_count + 1, sizeof(*hosts));
	_cleanup_close_ int out = -EBADF;
	pid_t pid;
	int rc;

	for (size_t i = 0; i < w->t->host_count; i++)
		hosts[i].log = -1;
	rc = open_logs(w->t, hosts, e);
	if (rc == 0)
		rc = start_process(w->t, hosts, &pid, &out, e);
	for (size_t i = 0; i < w->t->host_count; i++)
		if (hosts[i].log >= 0)
			close(hosts[i].log);
	if (rc < 0)
		return -1;
	rc = read_all(w, out, e);
	if (wait_for(pid, rc < 0, rc < 0 ? NULL : e) < 0)
		rc = -1;
	if (rc == 0 && w->text.n)
		rc = err_set(e, ERR_IO, "bloomery-metric has ended in the middle of a line");
	return rc;
}

/* ---- the thread of a task ---- */

/* Those that were extracted get their new counts. */
static char *counts_of(const struct task *t, size_t host, const json_t *fresh)
{
	json_t *all = json_deep_copy(json_object_get(t->counts, t->host_ids[host])), *d;
	size_t i, next = 0;
	char *text;

	if (!all)
		all = json_array();
	while (json_array_size(all) < json_array_size(t->definitions))
		json_array_append_new(all, json_object());
	json_array_foreach (t->definitions, i, d) {
		json_t *c;

		if (!is_wanted(t, json_string_value(json_object_get(d, "Name"))))
			continue;
		c = json_array_get(fresh, next++);
		json_array_set_new(all, i, c ? json_incref(c) : json_object());
	}
	text = json_dumps(all, JSON_COMPACT);
	json_decref(all);
	must(text);
	return text;
}

static int replace(struct work *w, struct err *e)
{
	const struct task *t = w->t;
	_cleanup_free_ struct str *names = xcalloc(json_array_size(t->names) + 1, sizeof(*names));
	_cleanup_free_ struct series_anew_host *hosts = xcalloc(t->host_count + 1, sizeof(*hosts));
	_cleanup_free_ char *definitions = json_dumps(t->definitions, JSON_COMPACT);
	struct series_anew a = { .job = str_of(t->job_id),
		                 .job_name = str_of(t->job_name),
		                 .names = names,
		                 .count = json_array_size(t->names),
		                 .since = t->created,
		                 .definitions = definitions,
		                 .hosts = hosts,
		                 .host_count = t->host_count };
	int rc;

	must(definitions);
	for (size_t i = 0; i < a.count; i++)
		names[i] = str_of(json_string_value(json_array_get(t->names, i)));
	for (size_t i = 0; i < t->host_count; i++)
		hosts[i] = (struct series_anew_host){ t->host_ids[i], counts_of(t, i, w->counts[i]) };
	rc = series_anew_commit(t->all->series, &a, w->points, wall_now(), e);
	for (size_t i = 0; i < t->host_count; i++)
		free((char *)hosts[i].counts);
	return rc;
}

static int run_refit(struct work *w, struct err *e)
{
	struct series_store *s = w->t->all->series;
	struct err ignored = { 0 };
	int rc = series_anew_begin(s, str_of(w->t->job_id), &w->staged, e);

	if (rc < 0)
		return -1;
	w->batch = series_batch_new();
	w->points = series_batch_new();
	rc = run_process(w, e);
	if (rc == 0)
		rc = flush(w, e);
	if (rc == 0)
		rc = replace(w, e);
	if (rc < 0 && series_anew_drop(s, str_of(w->t->job_id), &ignored) < 0)
		log_err(LOG_WARN, &ignored, "training job %s: what was extracted of its metrics stays", w->t->job_name);
	if (rc == 0 && w->t->all->answers)
		answers_forget(w->t->all->answers);
	series_batch_free(w->batch);
	series_batch_free(w->points);
	return rc;
}

static void *task_main(void *arg)
{
	struct task *t = arg;
	struct work w = { .t = t, .host = t->host_count };
	struct err e = { 0 };
	json_t *result = NULL;
	int rc;

	w.counts = xcalloc(t->host_count + 1, sizeof(*w.counts));
	rc = t->refit ? run_refit(&w, &e) : run_process(&w, &e);
	if (rc == 0 && !t->refit && !w.tried)
		rc = err_set(&e, ERR_IO, "bloomery-metric has said nothing");
	if (rc == 0)
		result = t->refit ? json_pack("{s:I, s:O}", "Values", (json_int_t)w.values, "Metrics", t->names)
		                  : json_incref(w.tried);
	if (rc == 0 && t->refit)
		log_info("training job %s: its metrics were extracted again", t->job_name);
	pthread_mutex_lock(&t->all->mu);
	t->shared.done = true;
	t->shared.ended = mono_now();
	t->shared.result = result;
	if (rc < 0)
		t->shared.why = e;
	pthread_mutex_unlock(&t->all->mu);
	for (size_t i = 0; i < t->host_count; i++)
		json_decref(w.counts[i]);
	free(w.counts);
	json_decref(w.tried);
	buf_fini(&w.text);
	free(w.staged);
	return NULL;
}

/* ---- tasks ---- */

static void task_free(struct task *t)
{
	json_decref(t->definitions);
	json_decref(t->names);
	json_decref(t->counts);
	json_decref(t->shared.result);
	free(t->job_id);
	free(t->job_name);
	free(t->host_ids);
	free(t->regex);
	free(t);
}

/* Of what has been done for long enough nothing stays. */
static void sweep_locked(struct again *a)
{
	for (struct task **at = &a->tasks, *t; (t = *at);) {
		if (!t->shared.done || mono_ms_since(t->shared.ended) < KEPT_MS) {
			at = &t->next;
			continue;
		}
		*at = t->next;
		pthread_join(t->thread, NULL); /* it has nothing left to do but to end */
		task_free(t);
	}
}

static int check_room_locked(struct again *a, const struct task *fresh, struct err *e)
{
	size_t running = 0;

	for (const struct task *t = a->tasks; t; t = t->next) {
		running += !t->shared.done;
		if (!t->shared.done && t->refit && fresh->refit && !strcmp(t->job_id, fresh->job_id))
			return err_set(e, ERR_IN_USE, "The metrics of the job are being extracted already.");
	}
	if (running >= AGAIN_AT_ONCE)
		return err_set(e, ERR_BUSY, "%d logs are being read already. Ask again when one is done.",
		               AGAIN_AT_ONCE);
	return 0;
}

static void set_id(struct task *t)
{
	unsigned char random[(AGAIN_ID_BYTES - 1) / 2];
	_cleanup_buf_ struct buf hex = { 0 };

	must(getrandom(random, sizeof(random), 0) == sizeof(random));
	buf_hex(&hex, random, sizeof(random));
	memcpy(t->id, hex.p, AGAIN_ID_BYTES);
}

static int start_locked(struct again *a, struct task *t, struct err *e)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int rc;

	sweep_locked(a);
	if (check_room_locked(a, t, e) < 0)
		return -1;
	t->shared.asked = mono_now();
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 1 << 20);
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old); /* signals are the loop's */
	rc = pthread_create(&t->thread, &attr, task_main, t);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (rc)
		return err_set(e, ERR_BUSY, "There is no thread for it now.");
	t->next = a->tasks;
	a->tasks = t;
	return 0;
}

/* Takes t. */
static int start(struct again *a, struct task *t, const struct again_job *job, char ret_id[AGAIN_ID_BYTES],
                 struct err *e)
{
	int rc;

	t->all = a;
	t->job_id = xstrdup(job->id);
	t->job_name = xstrdup(job->name);
	t->created = job->created;
	t->host_count = job->host_count;
	t->host_ids = xcalloc(job->host_count + 1, sizeof(*t->host_ids));
	memcpy(t->host_ids, job->host_ids, job->host_count * sizeof(*t->host_ids));
	set_id(t);
	memcpy(ret_id, t->id, AGAIN_ID_BYTES);
	pthread_mutex_lock(&a->mu);
	rc = start_locked(a, t, e);
	pthread_mutex_unlock(&a->mu);
	if (rc < 0)
		task_free(t);
	return rc;
}

int again_try(struct again *a, const struct again_job *job, struct str regex, char ret_id[AGAIN_ID_BYTES],
              struct err *e)
{
	struct task *t = xcalloc(1, sizeof(*t));

	t->regex = str_dup(regex);
	return start(a, t, job, ret_id, e);
}

int again_refit(struct again *a, const struct again_job *job, json_t *definitions, json_t *names, json_t *counts,
                char ret_id[AGAIN_ID_BYTES], struct err *e)
{
	struct task *t = xcalloc(1, sizeof(*t));

	t->refit = true;
	t->definitions = json_deep_copy(definitions); /* jansson counts references, but not across threads */
	t->names = json_deep_copy(names);
	t->counts = json_deep_copy(counts);
	return start(a, t, job, ret_id, e);
}

int again_ask(struct again *a, struct str job_id, struct str id, json_t **ret, struct err *e)
{
	struct task *t;
	int rc = 0;

	pthread_mutex_lock(&a->mu);
	sweep_locked(a);
	for (t = a->tasks; t && !(str_is(id, t->id) && str_is(job_id, t->job_id));)
		t = t->next;
	if (!t) {
		rc = err_set(e, ERR_NOT_FOUND, "There is no such task of that job any more.");
	} else if (t->shared.done && t->shared.why.kind) {
		*e = t->shared.why;
		rc = -1;
	} else {
		t->shared.asked = mono_now();
		*ret = json_pack("{s:b, s:I, s:I}", "Done", t->shared.done, "Bytes", (json_int_t)t->shared.bytes, "Of",
		                 (json_int_t)t->shared.of);
		must(*ret);
		if (t->shared.done)
			json_object_set_new(*ret, "Result", json_deep_copy(t->shared.result));
	}
	pthread_mutex_unlock(&a->mu);
	return rc;
}

struct again *again_new(const char *program, const char *data_dir, struct series_store *series, struct answers *answers)
{
	struct again *a = xcalloc(1, sizeof(*a));

	a->program = xstrdup(program);
	a->data_dir = xstrdup(data_dir);
	a->series = series;
	a->answers = answers;
	a->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	must(a->stop_fd >= 0);
	pthread_mutex_init(&a->mu, NULL);
	return a;
}

void again_free(struct again *a)
{
	struct task *t;

	if (!a)
		return;
	eventfd_write(a->stop_fd, 1);
	while ((t = a->tasks)) { /* nobody starts any more */
		a->tasks = t->next;
		pthread_join(t->thread, NULL);
		task_free(t);
	}
	close(a->stop_fd);
	pthread_mutex_destroy(&a->mu);
	free(a->program);
	free(a->data_dir);
	free(a);
}
