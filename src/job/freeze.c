/* A job's data as it is now, and its work order, written into its directory. SPDX-License-Identifier: Apache-2.0
 *
 * A channel may have a million objects, so a thread of its own does this (one, for all jobs, in the order they were
 * placed) and tells the loop over an eventfd. The same thread sweeps the object store. Nothing here is shared with the
 * loop but the two lists under the mutex: a task is copied when it is made. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "job/control.h"
#include "jobdir/list.h"
#include "jobdir/spec.h"

struct task {
	struct task *next;
	bool sweep;
	struct wall before; /* sweep */
	char id[JOB_ID_BYTES], *name, *arn, *api_url;
	int64_t n;
	struct wall created;
	struct job_limits limits;
	bool failed;
	struct err why; /* when failed */
};

struct queue {
	struct task *first, *last;
};

struct freezer {
	struct jobs *js; /* store, blobs, conf and data_dir are used by the thread: constant or thread-safe */
	pthread_t thread;
	int done_fd;
	struct loop_source *done_source;
	struct { /* hold mu to touch anything in here */
		pthread_mutex_t mu;
		pthread_cond_t work;
		struct queue todo, done;
		bool stop;
	} shared;
};

static void push(struct queue *q, struct task *t)
{
	t->next = NULL;
	if (q->last)
		q->last->next = t;
	else
		q->first = t;
	q->last = t;
}

static struct task *pop(struct queue *q)
{
	struct task *t = q->first;

	if (t) {
		q->first = t->next;
		if (!q->first)
			q->last = NULL;
	}
	return t;
}

static void task_free(struct task *t)
{
	job_limits_fini(&t->limits);
	free(t->name);
	free(t->arn);
	free(t->api_url);
	free(t);
}
DEFINE_CLEANUP(struct task, task_free)

/* ---- the thread's side ---- */

struct list_writer {
	struct freezer *freezer;
	FILE *f;
	uint64_t objects, bytes;
};

static int write_entry(const struct blob_entry *entry, void *arg, struct err *e)
{
	struct list_writer *w = arg;
	const struct list_entry le = { .size = entry->size,
		                       .modified = entry->modified,
		                       .object_id = entry->id,
		                       .etag = entry->etag,
		                       .key = entry->key };

	if (__atomic_load_n(&w->freezer->shared.stop, __ATOMIC_RELAXED))
		return err_set(e, ERR_BUSY, "the server is stopping");
	w->objects++;
	w->bytes += entry->size;
	return list_write(w->f, &le, e);
}

static int freeze_list(struct freezer *f, int lists_fd, struct channel_spec *ch, struct err *e)
{
	struct list_writer w = { .freezer = f };
	int fd = openat(lists_fd, ch->list, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	int rc;

	if (fd < 0)
		return err_sys(e, "making the list of its objects");
	w.f = fdopen(fd, "w");
	must(w.f);
	rc = blob_each(f->js->blobs, str_of(ch->bucket), str_of(ch->prefix), write_entry, &w, e);
	if (rc == 0 && (fflush(w.f) != 0 || fsync(fd) < 0))
		rc = err_sys(e, "writing the list of its objects");
	if (fclose(w.f) != 0 && rc == 0)
		rc = err_sys(e, "writing the list of its objects");
	if (rc == 0 && !w.objects) /* they were there when the job was created */
		rc = err_set(
		        e, ERR_CLIENT,
		        "Data download failed: no S3 objects are left under S3 URL \"%s\". They were deleted after the "
		        "job was created; upload them and create the job again",
		        ch->s3_uri);
	ch->objects = w.objects;
	ch->bytes = w.bytes;
	return rc;
}

static char *get(const json_t *o, const char *member, const char *otherwise)
{
	const char *z = json_string_value(json_object_get(o, member));

	return z || otherwise ? xstrdup(z ? z : otherwise) : NULL;
}

/* s3://bucket/prefix, taken apart; the form was checked when the job was created. */
static void split_uri(const char *uri, bool cut_slashes, char **ret_bucket, char **ret_prefix)
{
	struct str rest = str_of(uri), bucket;

	str_skip(&rest, STR("s3://"));
	bucket = str_cut(&rest, '/');
	while (cut_slashes && rest.n && rest.p[rest.n - 1] == '/')
		rest.n--;
	*ret_bucket = str_dup(bucket);
	*ret_prefix = str_dup(rest);
}

static int fill_channel(struct freezer *f, size_t i, const json_t *c, const char *job_mode, int lists_fd,
                        struct channel_spec *ret, struct err *e)
{
	const json_t *s3 = json_object_get(json_object_get(c, "DataSource"), "S3DataSource");

	ret->name = get(c, "ChannelName", "");
	ret->input_mode = get(c, "InputMode", job_mode);
	ret->content_type = get(c, "ContentType", NULL);
	ret->record_wrapper = get(c, "RecordWrapperType", "None");
	ret->compression = get(c, "CompressionType", "None");
	ret->distribution = get(s3, "S3DataDistributionType", "FullyReplicated");
	ret->share_count = 1;
	ret->s3_data_type = get(s3, "S3DataType", "S3Prefix");
	ret->s3_uri = get(s3, "S3Uri", "");
	split_uri(ret->s3_uri, false, &ret->bucket, &ret->prefix);
	if (!jobs_data_is_embedded(f->js)) {
		ret->place = PLACE_REMOTE;
		return 0;
	}
	ret->place = PLACE_EMBEDDED;
	ret->list = strf("%zu", i);
	if (freeze_list(f, lists_fd, ret, e) < 0)
		return err_in(e, "channel '%s'", ret->name);
	return 0;
}

static void fill_remote(const struct conf *c, struct job_spec *s)
{
	s->output_place = PLACE_REMOTE;
	s->s3.endpoint = xstrdup(c->s3_endpoint);
	s->s3.region = xstrdup(c->s3_region);
	s->s3.access_key = xstrdup(c->s3_access_key);
	s->s3.secret_key = xstrdup(c->s3_secret_key);
}

static void fill_spec(struct freezer *f, const struct task *t, json_t *request, struct job_spec *s)
{
	const struct conf *conf = f->js->conf;
	const json_t *algorithm = json_object_get(request, "AlgorithmSpecification");
	const json_t *stopping = json_object_get(request, "StoppingCondition");
	const char *output = json_string_value(
	        json_object_get(json_object_get(request, "OutputDataConfig"), "S3OutputPath"));

	s->id = xstrdup(t->id);
	s->name = xstrdup(t->name);
	s->arn = xstrdup(t->arn);
	s->region = xstrdup(conf->region);
	s->account = xstrdup(conf->account);
	s->host_name = xstrdup("algo-1");
	s->host_number = s->host_count = 1;
	s->request = json_incref(request);
	s->limits = t->limits;
	s->limits.instance_type = xstrdup(t->limits.instance_type);
	s->limits.clipped = t->limits.clipped ? xstrdup(t->limits.clipped) : NULL;
	s->image = get(algorithm, "TrainingImage", "");
	s->max_runtime_s = json_integer_value(json_object_get(stopping, "MaxRuntimeInSeconds"));
	s->stop_grace_s = strtoll(conf->stop_grace_seconds, NULL, 10);
	s->output_place = PLACE_EMBEDDED;
	split_uri(output, true, &s->output_bucket, &s->output_prefix);
	if (!jobs_data_is_embedded(f->js))
		fill_remote(conf, s);
	s->api_url = t->api_url ? xstrdup(t->api_url) : NULL;
	s->log_epoch_s = t->created.ms / 1000;
}

static int open_job_dir(struct freezer *f, const struct task *t, int *ret_fd, int *ret_lists_fd, struct err *e)
{
	_cleanup_free_ char *dir = strf("%s/jobs/%s", f->js->data_dir, t->id);
	_cleanup_close_ int fd = -EBADF, lists = -EBADF;

	if (mkdir_all(AT_FDCWD, dir, 0755, e) < 0)
		return -1;
	fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return err_sys(e, "opening %s", dir);
	/* staged/ is ours, so that we may take from it what bloomery-job puts there as root. */
	if (mkdir_all(fd, "lists", 0700, e) < 0 || mkdir_all(fd, "staged", 0755, e) < 0)
		return err_in(e, "%s", dir);
	lists = openat(fd, "lists", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (lists < 0)
		return err_sys(e, "opening %s/lists", dir);
	*ret_fd = take_fd(fd);
	*ret_lists_fd = take_fd(lists);
	return 0;
}

static int freeze_into(struct freezer *f, const struct task *t, json_t *request, struct job_spec *s, struct err *e)
{
	const json_t *channels = json_object_get(request, "InputDataConfig");
	const char *mode = json_string_value(
	        json_object_get(json_object_get(request, "AlgorithmSpecification"), "TrainingInputMode"));
	_cleanup_close_ int dir = -EBADF, lists = -EBADF;

	if (open_job_dir(f, t, &dir, &lists, e) < 0)
		return -1;
	fill_spec(f, t, request, s);
	s->channels = xcalloc(json_array_size(channels) + 1, sizeof(*s->channels));
	for (size_t i = 0; i < json_array_size(channels); i++) {
		s->channel_count++;
		if (fill_channel(f, i, json_array_get(channels, i), mode ? mode : "File", lists, &s->channels[i], e) <
		    0)
			return -1;
	}
	if (fsync(lists) < 0)
		return err_sys(e, "syncing the lists of objects");
	return spec_save(dir, s, e);
}

static int freeze(struct freezer *f, const struct task *t, struct err *e)
{
	_cleanup_free_ char *text = NULL;
	struct job_spec s = { 0 };
	json_error_t why;
	json_t *request;
	int rc;

	if (store_job_request(f->js->store, t->n, &text, e) < 0)
		return -1;
	request = json_loads(text, JSON_ALLOW_NUL, &why);
	if (!request)
		return err_set(e, ERR_BUG, "the request kept for training job %s is damaged: %s", t->name, why.text);
	rc = freeze_into(f, t, request, &s, e);
	spec_fini(&s);
	json_decref(request);
	return rc;
}

static void work(struct freezer *f, struct task *t)
{
	struct err e = { 0 };

	if (t->sweep) {
		if (blob_sweep(f->js->blobs, t->before, &e) < 0)
			log_err(LOG_WARN, &e, "sweeping the object store");
	} else if (freeze(f, t, &t->why) < 0) {
		t->failed = true;
	}
}

static void *thread_main(void *arg)
{
	struct freezer *f = arg;
	struct task *t;

	pthread_mutex_lock(&f->shared.mu);
	while (!f->shared.stop) {
		t = pop(&f->shared.todo);
		if (!t) {
			pthread_cond_wait(&f->shared.work, &f->shared.mu);
			continue;
		}
		pthread_mutex_unlock(&f->shared.mu);
		work(f, t);
		pthread_mutex_lock(&f->shared.mu);
		push(&f->shared.done, t);
		eventfd_write(f->done_fd, 1);
	}
	pthread_mutex_unlock(&f->shared.mu);
	return NULL;
}

/* ---- the loop's side ---- */

static void on_done(void *arg, uint32_t events)
{
	struct freezer *f = arg;
	eventfd_t times;

	(void)events;
	if (eventfd_read(f->done_fd, &times) < 0)
		return;
	for (;;) {
		_cleanup_(task_freep) struct task *t = NULL;

		pthread_mutex_lock(&f->shared.mu);
		t = pop(&f->shared.done);
		pthread_mutex_unlock(&f->shared.mu);
		if (!t)
			return;
		if (!t->sweep)
			scheduler_frozen(f->js, t->id, t->failed ? &t->why : NULL);
	}
}

static void add(struct freezer *f, struct task *t)
{
	pthread_mutex_lock(&f->shared.mu);
	push(&f->shared.todo, t);
	pthread_cond_signal(&f->shared.work);
	pthread_mutex_unlock(&f->shared.mu);
}

void freezer_add(struct freezer *f, const struct job *j)
{
	struct task *t = xcalloc(1, sizeof(*t));

	memcpy(t->id, j->id, sizeof(t->id));
	t->name = xstrdup(j->name);
	t->arn = xstrdup(j->arn);
	t->api_url = f->js->api_url ? xstrdup(f->js->api_url) : NULL;
	t->n = j->n;
	t->created = j->created;
	t->limits = j->limits;
	t->limits.instance_type = xstrdup(j->limits.instance_type);
	t->limits.clipped = j->limits.clipped ? xstrdup(j->limits.clipped) : NULL;
	add(f, t);
}

void freezer_sweep(struct freezer *f, struct wall before)
{
	struct task *t = xcalloc(1, sizeof(*t));

	t->sweep = true;
	t->before = before;
	add(f, t);
}

struct freezer *freezer_new(struct jobs *js)
{
	struct freezer *f = xcalloc(1, sizeof(*f));
	pthread_attr_t attr;
	sigset_t all, old;

	f->js = js;
	f->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	must(f->done_fd >= 0);
	f->done_source = loop_fd(js->loop, f->done_fd, EPOLLIN, on_done, f);
	pthread_mutex_init(&f->shared.mu, NULL);
	pthread_cond_init(&f->shared.work, NULL);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 << 10);
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old); /* signals are the loop's */
	must(pthread_create(&f->thread, &attr, thread_main, f) == 0);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return f;
}

void freezer_free(struct freezer *f)
{
	struct task *t;

	if (!f)
		return;
	pthread_mutex_lock(&f->shared.mu);
	__atomic_store_n(&f->shared.stop, true, __ATOMIC_RELAXED);
	pthread_cond_signal(&f->shared.work);
	pthread_mutex_unlock(&f->shared.mu);
	pthread_join(f->thread, NULL);
	loop_source_free(f->done_source);
	close(f->done_fd);
	while ((t = pop(&f->shared.todo)) || (t = pop(&f->shared.done)))
		task_free(t);
	pthread_cond_destroy(&f->shared.work);
	pthread_mutex_destroy(&f->shared.mu);
	free(f);
}
