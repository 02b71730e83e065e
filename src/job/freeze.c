/* A job's data as it is now, and its work order, written into its directory. SPDX-License-Identifier: Apache-2.0
 *
 * A channel may have a million objects, so a thread of its own does this (one, for all jobs, in the order they were
 * placed) and tells the loop over an eventfd. The same thread sweeps the object store. Nothing here is shared with the
 * loop but the two lists under the mutex: a task is copied when it is made.
 *
 * Another of the kind, of its own so that nobody waits for it, puts the artifacts of jobs of several hosts together. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "iam/iam.h"
#include "job/control.h"
#include "job/gather.h"
#include "job/lists.h"
#include "job/outputs.h"

enum { TRANSFORM_GRACE_S = 30 }; /* contract 7.1 */

/* No session outlives its job. */
#define SESSION_MS (INT64_C(1000) * 86400 * 1000)

enum task_kind { TASK_FREEZE, TASK_SWEEP, TASK_GATHER };

struct task {
	struct task *next;
	enum task_kind kind;
	struct wall before; /* sweep */
	enum job_kind job_kind;
	char id[JOB_ID_BYTES], *name, *arn, *api_url;
	int64_t n;
	struct wall created;
	struct task_host {
		char id[JOB_ID_BYTES], *parts;
		struct job_limits limits;
		char **gpu;
		size_t gpu_count;
	} * hosts;
	size_t host_count;
	struct net_range network;
	struct network_key *keys; /* one a host; NULL: nothing is encrypted */
	bool lazy;                /* when done: what lists_are_lazy() says */
	bool failed;
	struct err why; /* when failed */
};

struct queue {
	struct task *first, *last;
};

struct freezer {
	struct jobs *js; /* store, blobs, conf and data_dir are used by the thread: constant or thread-safe */
	pthread_t thread;
	int done_fd, cancel_fd; /* cancel_fd is readable when the task at hand is not wanted any more */
	struct loop_source *done_source;
	struct { /* hold mu to touch anything in here */
		pthread_mutex_t mu;
		pthread_cond_t work;
		struct queue todo, done;
		const struct task *now;
		bool stop;
		bool cancelled; /* the task at hand; read without mu, atomically */
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

static void names_free(char **names)
{
	for (size_t i = 0; names && names[i]; i++)
		free(names[i]);
	free(names);
}

static void task_free(struct task *t)
{
	for (size_t i = 0; i < t->host_count; i++) {
		job_limits_fini(&t->hosts[i].limits);
		free(t->hosts[i].parts);
		names_free(t->hosts[i].gpu);
	}
	if (t->keys)
		explicit_bzero(t->keys, t->host_count * sizeof(*t->keys));
	free(t->keys);
	free(t->hosts);
	free(t->name);
	free(t->arn);
	free(t->api_url);
	free(t);
}
DEFINE_CLEANUP(struct task, task_free)

/* ---- the thread's side ---- */

static bool is_cancelled(void *arg)
{
	struct freezer *f = arg;

	return __atomic_load_n(&f->shared.cancelled, __ATOMIC_RELAXED);
}

static char *get(const json_t *o, const char *member, const char *otherwise)
{
	const char *z = json_string_value(json_object_get(o, member));

	return z || otherwise ? xstrdup(z ? z : otherwise) : NULL;
}

/* s3://bucket/prefix, taken apart, without the slashes at its end; the form was checked when the job was created. */
static void split_uri(const char *uri, char **ret_bucket, char **ret_prefix)
{
	struct str rest = str_of(uri), bucket;

	str_skip(&rest, STR("s3://"));
	bucket = str_cut(&rest, '/');
	while (rest.n && rest.p[rest.n - 1] == '/')
		rest.n--;
	*ret_bucket = str_dup(bucket);
	*ret_prefix = str_dup(rest);
}

static void fill_remote(const struct conf *c, struct job_spec *s)
{
	s->output_place = PLACE_REMOTE;
	s->s3.endpoint = xstrdup(c->s3_endpoint);
	s->s3.region = xstrdup(c->s3_region);
	s->s3.access_key = xstrdup(c->s3_access_key);
	s->s3.secret_key = xstrdup(c->s3_secret_key);
}

/* A number, as conf.c checked, and never more than spec.json may say. */
static uint64_t links_max(const struct conf *c)
{
	const uint64_t most = UINT64_C(1) << 40;
	uint64_t n = 0;

	return str_to_u64(str_of(c->fastfile_links_max), &n) && n < most ? n : most;
}

static void fill_training(json_t *request, struct job_spec *s)
{
	const json_t *algorithm = json_object_get(request, "AlgorithmSpecification");
	const json_t *stopping = json_object_get(request, "StoppingCondition");

	s->image = get(request, JOBS_IMAGE, NULL);
	if (!s->image)
		s->image = get(algorithm, "TrainingImage", "");
	s->max_runtime_s = json_integer_value(json_object_get(stopping, "MaxRuntimeInSeconds"));
}

static void fill_transform(json_t *request, struct job_spec *s)
{
	const json_t *list = json_object_get(request, JOBS_CONTAINERS), *c;
	size_t i;

	s->kind = xstrdup(job_kind_info[KIND_TRANSFORM].name);
	if (s->stop_grace_s > TRANSFORM_GRACE_S)
		s->stop_grace_s = TRANSFORM_GRACE_S;
	s->containers = xcalloc(json_array_size(list) + 1, sizeof(*s->containers));
	s->container_count = json_array_size(list);
	json_array_foreach (list, i, c) {
		json_t *environment = json_object_get(c, "Environment");

		s->containers[i].name = get(c, "Name", "");
		s->containers[i].image = get(c, "Image", "");
		s->containers[i].image_provider = get(c, "Provider", NULL);
		s->containers[i].environment = environment ? json_incref(environment) : json_object();
	}
}

/* The S3 place that the results go below. */
static const char *output_of(enum job_kind kind, const json_t *request)
{
	const char *member = kind == KIND_TRAINING ? "OutputDataConfig" : "TransformOutput";

	return json_string_value(json_object_get(json_object_get(request, member), "S3OutputPath"));
}

static void fill_spec(struct freezer *f, const struct task *t, json_t *request, struct job_spec *s)
{
	const struct conf *conf = f->js->conf;
	const char *output = output_of(t->job_kind, request);

	s->name = xstrdup(t->name);
	s->arn = xstrdup(t->arn);
	s->region = xstrdup(conf->region);
	s->account = xstrdup(conf->account);
	s->host_count = (unsigned)t->host_count;
	s->output_hosts_all = str_is(str_of(conf->output_hosts), "all");
	s->request = json_incref(request);
	s->stop_grace_s = strtoll(conf->stop_grace_seconds, NULL, 10);
	if (t->job_kind == KIND_TRANSFORM)
		fill_transform(request, s);
	else
		fill_training(request, s);
	s->fastfile_links_max = links_max(conf);
	s->output_place = PLACE_EMBEDDED;
	split_uri(output, &s->output_bucket, &s->output_prefix);
	if (!jobs_data_is_embedded(f->js))
		fill_remote(conf, s);
	else if (f->js->desk && t->job_kind == KIND_TRANSFORM)
		s->output_place = PLACE_REMOTE; /* they may be many: the host puts them itself */
	s->api_url = t->api_url ? xstrdup(t->api_url) : NULL;
	if (f->js->desk)
		s->server = xstrdup(t->api_url);
	s->log_epoch_s = t->created.ms / 1000;
}

static int open_job_dir(struct freezer *f, const char *id, int *ret_fd, int *ret_lists_fd, struct err *e)
{
	_cleanup_free_ char *dir = strf("%s/jobs/%s", f->js->data_dir, id);
	_cleanup_close_ int fd = -EBADF, lists = -EBADF;

	if (mkdir_all(AT_FDCWD, dir, 0755, e) < 0)
		return -1;
	fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return err_sys(e, "opening %s", dir);
	/* staged/ is ours, so that we may take from it what bloomery-job puts there. */
	/* Before anything that could look like a supervisor's. */
	if (f->js->desk && file_put(fd, "elsewhere", (struct str){ 0 }, 0600, e) < 0)
		return err_in(e, "%s", dir);
	if (mkdir_all(fd, "lists", 0700, e) < 0 || mkdir_all(fd, "staged", 0755, e) < 0)
		return err_in(e, "%s", dir);
	lists = openat(fd, "lists", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (lists < 0)
		return err_sys(e, "opening %s/lists", dir);
	*ret_fd = take_fd(fd);
	*ret_lists_fd = take_fd(lists);
	return 0;
}

static void copy_limits(const struct job_limits *from, struct job_limits *to)
{
	*to = *from;
	to->instance_type = xstrdup(from->instance_type);
	to->clipped = from->clipped ? xstrdup(from->clipped) : NULL;
}

static void copy_gpus(const struct task_host *h, struct job_spec *s)
{
	names_free(s->gpu);
	s->gpu = h->gpu_count ? xcalloc(h->gpu_count + 1, sizeof(*s->gpu)) : NULL;
	s->gpu_count = h->gpu_count;
	for (size_t i = 0; i < h->gpu_count; i++)
		s->gpu[i] = xstrdup(h->gpu[i]);
}

/* What the host shows to us, and what its container does: in an isolated one there is nobody to ask. */
static void fill_tokens(const struct iam *iam, const char *job_id, struct job_spec *s)
{
	_cleanup_buf_ struct buf token = { 0 }, path = { 0 };

	free(take_ptr(s->token));
	free(take_ptr(s->credentials_path));
	if (!iam)
		return;
	iam_host_token(iam, IAM_FOR_HOST, job_id, s->host_number, &token);
	s->token = buf_take(&token);
	if (json_is_true(json_object_get(s->request, "EnableNetworkIsolation")) ||
	    !json_object_get(s->request, "RoleArn")) /* a model may have none */
		return;
	buf_z(&path, "/v2/credentials/");
	iam_host_token(iam, IAM_FOR_CONTAINER, job_id, s->host_number, &path);
	s->credentials_path = buf_take(&path);
}

/* A host that has not the store's files reads the store as another S3, in its job's role and as long as that lives. */
static int fill_session(const struct freezer *f, const struct task *t, struct job_spec *s, struct err *e)
{
	_cleanup_(iam_session_unrefp) struct iam_session *session = NULL;
	const struct iam_mint mint = {
		.role = str_of(json_string_value(json_object_get(s->request, "RoleArn"))),
		.session = str_of(t->name),
		.job_id = str_of(t->id),
		.job_name = str_of(t->name),
		.host = s->host_number,
		.expires = { wall_now().ms + SESSION_MS },
	};

	if (!f->js->desk || !jobs_data_is_embedded(f->js))
		return 0;
	if (iam_mint(f->js->iam, &mint, &session, e) < 0)
		return err_in(e, "the credentials of host %u", s->host_number);
	s3_target_fini(&s->s3);
	s->s3 = (struct s3_target){ .endpoint = xstrdup(s->server),
		                    .region = xstrdup(s->region),
		                    .access_key = xstrdup(session->id),
		                    .secret_key = xstrdup(session->secret),
		                    .session_token = xstrdup(session->token) };
	return 0;
}

/* What is the host's own in the work order. */
static int fill_host(const struct freezer *f, const struct task *t, size_t i, struct job_spec *s, struct err *e)
{
	const json_t *vpc_config = json_object_get(s->request, "VpcConfig");

	free(s->id);
	free(s->host_name);
	job_limits_fini(&s->limits);
	s->id = xstrdup(t->hosts[i].id);
	s->host_number = (unsigned)i + 1;
	s->host_name = strf("algo-%u", s->host_number);
	if (t->job_kind == KIND_TRANSFORM) {
		free(s->instance);
		s->instance = strf("i-0%s", t->hosts[i].id);
	}
	copy_limits(&t->hosts[i].limits, &s->limits);
	copy_gpus(&t->hosts[i], s);
	if (t->network.prefix)
		network_fill(s, t->id, t->network, json_is_true(json_object_get(s->request, "EnableNetworkIsolation")));
	if (t->network.prefix && t->keys)
		network_fill_keys(s, t->keys);
	/* With a file system alone it is only echoed (jobs_check_network). */
	if (t->network.prefix && vpc_config && !vpc_is_empty(f->js->vpc))
		vpc_fill(f->js->vpc, vpc_config, &s->network);
	fill_tokens(f->js->iam, t->id, s);
	return fill_session(f, t, s, e);
}

/* Host i's directory, with its lists, which are links to host 1's. *s is what host 1 was given, with the channels of
 * all. */
static int freeze_other(struct freezer *f, const struct task *t, size_t i, int first_lists, struct job_spec *s,
                        struct err *e)
{
	_cleanup_close_ int dir = -EBADF, lists = -EBADF;
	struct job_spec own = { 0 };
	int rc;

	if (open_job_dir(f, t->hosts[i].id, &dir, &lists, e) < 0)
		return -1;
	if (fill_host(f, t, i, s, e) < 0)
		return -1;
	rc = lists_for_host(s, first_lists, i ? lists : first_lists, &own, e);
	if (rc == 0)
		rc = fsync(lists) < 0 ? err_sys(e, "syncing the lists of objects") : spec_save(dir, &own, e);
	spec_fini(&own);
	return rc;
}

/* For the life of the job, and of it alone: each host's work order gets its own private key. */
static int make_keys(struct task *t, const json_t *request, struct err *e)
{
	if (t->host_count == 1 || !json_is_true(json_object_get(request, "EnableInterContainerTrafficEncryption")))
		return 0;
	t->keys = xcalloc(t->host_count, sizeof(*t->keys));
	for (size_t i = 0; i < t->host_count; i++)
		if (net_key_new(t->keys[i].private_key, t->keys[i].public_key, e) < 0)
			return -1;
	return 0;
}

static int freeze_into(struct freezer *f, const struct task *t, json_t *request, struct job_spec *s, struct err *e)
{
	const struct remote remote = { .conf = f->js->conf, .program = f->js->fetch_program };
	_cleanup_close_ int dir = -EBADF, dirfd = -EBADF;
	struct lists lists = { .blobs = f->js->blobs,
		               .iam = f->js->iam,
		               .remote = jobs_data_is_embedded(f->js) ? NULL : &remote,
		               .transform = t->job_kind == KIND_TRANSFORM,
		               .away = f->js->desk != NULL,
		               .stop_fd = f->cancel_fd,
		               .stopped = is_cancelled,
		               .arg = f };

	if (open_job_dir(f, t->id, &dir, &dirfd, e) < 0)
		return -1;
	lists.dirfd = dirfd;
	fill_spec(f, t, request, s);
	if (fill_host(f, t, 0, s, e) < 0 || lists_make(&lists, s, e) < 0)
		return -1;
	if (fsync(dirfd) < 0)
		return err_sys(e, "syncing the lists of objects");
	if (t->host_count == 1)
		return spec_save(dir, s, e);
	for (size_t i = 0; i < t->host_count; i++)
		if (freeze_other(f, t, i, dirfd, s, e) < 0)
			return -1;
	return 0;
}

static int load_request(struct freezer *f, const struct task *t, json_t **ret, struct err *e)
{
	_cleanup_free_ char *text = NULL;
	json_error_t why;

	if (store_job_request(f->js->store, t->n, &text, e) < 0)
		return -1;
	*ret = json_loads(text, JSON_ALLOW_NUL, &why);
	if (!*ret)
		return err_set(e, ERR_BUG, "the request kept for %s %s is damaged: %s",
		               job_kind_info[t->job_kind].words, t->name, why.text);
	return 0;
}

static int freeze(struct freezer *f, struct task *t, struct err *e)
{
	struct job_spec s = { 0 };
	json_t *request;
	int rc;

	if (load_request(f, t, &request, e) < 0)
		return -1;
	rc = make_keys(t, request, e) < 0 ? -1 : freeze_into(f, t, request, &s, e);
	t->lazy = lists_are_lazy(&s);
	spec_fini(&s);
	json_decref(request);
	return rc;
}

static int take_outputs_of(const struct outputs *o, const struct task *t, struct err *e)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < t->host_count; i++) {
		json_t *parts = t->hosts[i].parts ? json_loads(t->hosts[i].parts, 0, NULL) : NULL;

		for (size_t k = 0; rc == 0 && k < json_array_size(parts); k++)
			rc = outputs_take(o, t->hosts[i].id, json_array_get(parts, k), e);
		json_decref(parts);
	}
	return rc;
}

static int take_outputs(struct freezer *f, const struct task *t, struct err *e)
{
	struct outputs o = { .blobs = f->js->blobs, .data_dir = f->js->data_dir, .stopped = is_cancelled, .arg = f };
	_cleanup_free_ char *bucket = NULL, *prefix = NULL;
	json_t *request;
	int rc;

	if (load_request(f, t, &request, e) < 0)
		return -1;
	split_uri(output_of(t->job_kind, request), &bucket, &prefix);
	o.bucket = bucket;
	o.iam = json_object_get(request, JOBS_CREATOR) ? f->js->iam : NULL;
	o.job_id = t->id;
	rc = take_outputs_of(&o, t, e);
	json_decref(request);
	return rc;
}

static int gather(struct freezer *f, const struct task *t, struct err *e)
{
	const struct remote remote = { .conf = f->js->conf, .program = f->js->fetch_program };
	struct gather g = { .blobs = f->js->blobs,
		            .remote = jobs_data_is_embedded(f->js) ? NULL : &remote,
		            .data_dir = f->js->data_dir,
		            .job_id = t->id,
		            .host_count = t->host_count,
		            .stop_fd = f->cancel_fd,
		            .stopped = is_cancelled,
		            .arg = f };
	_cleanup_free_ struct gather_host *hosts = xcalloc(t->host_count, sizeof(*hosts));

	if (t->job_kind == KIND_TRANSFORM)
		return take_outputs(f, t, e);
	for (size_t i = 0; i < t->host_count; i++)
		hosts[i] = (struct gather_host){ t->hosts[i].id, t->hosts[i].parts };
	g.hosts = hosts;
	return gather_artifacts(&g, e);
}

static void work(struct freezer *f, struct task *t)
{
	struct err e = { 0 };

	switch (t->kind) {
	case TASK_FREEZE: t->failed = freeze(f, t, &t->why) < 0; break;
	case TASK_GATHER: t->failed = gather(f, t, &t->why) < 0; break;
	case TASK_SWEEP:
		if (blob_sweep(f->js->blobs, t->before, &e) < 0)
			log_err(LOG_WARN, &e, "sweeping the object store");
		break;
	}
}

static void forget_cancel_locked(struct freezer *f)
{
	eventfd_t times;

	if (f->shared.stop || !f->shared.cancelled)
		return;
	(void)!eventfd_read(f->cancel_fd, &times);
	__atomic_store_n(&f->shared.cancelled, false, __ATOMIC_RELAXED);
}

static void cancel_locked(struct freezer *f)
{
	__atomic_store_n(&f->shared.cancelled, true, __ATOMIC_RELAXED);
	eventfd_write(f->cancel_fd, 1);
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
		f->shared.now = t;
		pthread_mutex_unlock(&f->shared.mu);
		work(f, t);
		pthread_mutex_lock(&f->shared.mu);
		f->shared.now = NULL;
		forget_cancel_locked(f);
		push(&f->shared.done, t);
		eventfd_write(f->done_fd, 1);
	}
	pthread_mutex_unlock(&f->shared.mu);
	return NULL;
}

/* ---- the loop's side ---- */

static void tell_frozen(struct jobs *js, const struct task *t)
{
	if (job_by_id(js, str_of(t->id))) {
		scheduler_frozen(js, t->id, t->lazy, t->failed ? &t->why : NULL);
		return;
	}
	for (size_t i = 0; i < t->host_count; i++)
		scheduler_unfrozen(js, t->hosts[i].id);
}

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
		if (t->kind == TASK_GATHER)
			hosts_gathered(f->js, t->id, t->failed ? &t->why : NULL);
		else if (t->kind == TASK_FREEZE)
			tell_frozen(f->js, t);
	}
}

static void add(struct freezer *f, struct task *t)
{
	pthread_mutex_lock(&f->shared.mu);
	push(&f->shared.todo, t);
	pthread_cond_signal(&f->shared.work);
	pthread_mutex_unlock(&f->shared.mu);
}

static struct task *task_of(const struct jobs *js, const struct job *j, enum task_kind kind)
{
	struct task *t = xcalloc(1, sizeof(*t));

	t->kind = kind;
	t->job_kind = j->kind;
	memcpy(t->id, j->id, sizeof(t->id));
	t->name = xstrdup(j->name);
	t->arn = xstrdup(j->arn);
	t->n = j->n;
	t->created = j->created;
	t->network = j->network;
	t->host_count = j->host_count;
	t->hosts = xcalloc(j->host_count, sizeof(*t->hosts));
	for (size_t i = 0; i < j->host_count; i++) {
		const struct job_host *h = &j->hosts[i];

		memcpy(t->hosts[i].id, h->id, sizeof(h->id));
		t->hosts[i].parts = h->parts ? xstrdup(h->parts) : NULL;
		copy_limits(&h->limits, &t->hosts[i].limits);
		t->hosts[i].gpu = gpu_pool_names(js->gpus, h->id, &t->hosts[i].gpu_count);
	}
	return t;
}

void freezer_add(struct freezer *f, const struct job *j)
{
	struct task *t = task_of(f->js, j, TASK_FREEZE);

	t->api_url = f->js->api_url ? xstrdup(f->js->api_url) : NULL;
	add(f, t);
}

void freezer_gather(struct freezer *f, const struct job *j)
{
	add(f, task_of(f->js, j, TASK_GATHER));
}

void freezer_cancel(struct freezer *f, const char *id)
{
	pthread_mutex_lock(&f->shared.mu);
	if (f->shared.now && f->shared.now->kind == TASK_FREEZE && !strcmp(f->shared.now->id, id))
		cancel_locked(f);
	pthread_mutex_unlock(&f->shared.mu);
}

void freezer_sweep(struct freezer *f, struct wall before)
{
	struct task *t = xcalloc(1, sizeof(*t));

	t->kind = TASK_SWEEP;
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
	f->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	must(f->done_fd >= 0 && f->cancel_fd >= 0);
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
	f->shared.stop = true;
	cancel_locked(f);
	pthread_cond_signal(&f->shared.work);
	pthread_mutex_unlock(&f->shared.mu);
	pthread_join(f->thread, NULL);
	loop_source_free(f->done_source);
	close(f->done_fd);
	close(f->cancel_fd);
	while ((t = pop(&f->shared.todo)) || (t = pop(&f->shared.done)))
		task_free(t);
	pthread_cond_destroy(&f->shared.work);
	pthread_mutex_destroy(&f->shared.mu);
	free(f);
}
