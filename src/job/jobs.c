/* The control of all jobs: start, end, and what the API asks for. SPDX-License-Identifier: Apache-2.0 */
#include "job/jobs.h"

#include <search.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/log.h"
#include "job/control.h"
#include "job/remote.h"

enum { SWEEP_FIRST_MS = 10000, SWEEP_EVERY_MS = 60000 };

bool jobs_data_is_embedded(const struct jobs *js)
{
	return !*js->conf->s3_endpoint;
}

int jobs_remote_exists(const struct jobs *js, const char *bucket, const char *prefix, const char *s3_data_type,
                       int64_t timeout_ms, bool *ret, struct err *e)
{
	const struct remote remote = { .conf = js->conf, .program = js->fetch_program };
	struct remote_question q = { .verb = "exists",
		                     .bucket = bucket,
		                     .prefix = prefix,
		                     .s3_data_type = s3_data_type,
		                     .list_fd = -1,
		                     .stop_fd = -1,
		                     .timeout_ms = timeout_ms };
	struct remote_answer a;

	if (remote_ask(&remote, &q, &a, e) < 0)
		return -1;
	*ret = a.objects > 0;
	remote_answer_fini(&a);
	return 0;
}

int jobs_check_gpus(const struct jobs *js, const struct capacity_needs *n, struct err *e)
{
	unsigned wanted = capacity_gpus(n), there = js->capacity.gpus;

	if (wanted <= there || strcmp(js->conf->gpu_shortage, "refuse") != 0)
		return 0;
	return err_set(e, ERR_LIMIT,
	               "The instance%s of this job ha%s %u GPU%s together; this server has %u, and its "
	               "bloomery.conf says gpu_shortage = refuse",
	               capacity_hosts(n) == 1 ? "" : "s", capacity_hosts(n) == 1 ? "s" : "ve", wanted,
	               wanted == 1 ? "" : "s", there);
}

bool jobs_know_file_system(const struct jobs *js, struct str id)
{
	return conf_file_system(js->conf, id) != NULL;
}

bool jobs_know_provider(const struct jobs *js, struct str arn)
{
	return conf_registry(js->conf, CONF_REGISTRY_CREDENTIALS, arn) != NULL;
}

/* At the service a file system is reached through a VPC, so jobs that have one name it: where bloomery.conf has none at
 * all, that is no reason to refuse them. */
static bool has_file_system(const json_t *request)
{
	const json_t *c;
	size_t i;

	json_array_foreach (json_object_get(request, "InputDataConfig"), i, c)
		if (json_object_get(json_object_get(c, "DataSource"), "FileSystemDataSource"))
			return true;
	return false;
}

/* One host has nobody to talk to. */
static int check_sealing(const struct jobs *js, const json_t *request, unsigned hosts, struct err *e)
{
	const char *why = NULL;

	if (hosts < 2 || !json_is_true(json_object_get(request, "EnableInterContainerTrafficEncryption")))
		return 0;
	if (js->desk)
		why = "they are elsewhere, on networks that are not ours";
	else if (strcmp(js->conf->network_pool, "none") == 0)
		why = "network_pool is `none` in bloomery.conf, so they share the machine's network";
	else if (atomic_load(&js->sealing) == NET_SEALING_NONE)
		why = "the kernel has no WireGuard, and wireguard-go is not installed";
	if (!why)
		return 0;
	return err_set(e, ERR_INVALID,
	               "EnableInterContainerTrafficEncryption (true) is refused: what the hosts of a job say to each "
	               "other cannot be encrypted: %s; use false, or one host",
	               why);
}

int jobs_check_transform(const struct jobs *js, struct err *e)
{
	if (js->desk)
		return err_set(e, ERR_INVALID,
		               "Transform jobs run on the machine of the server only, and launcher is `hand` in "
		               "bloomery.conf, so jobs run on others");
	return 0;
}

int jobs_check_network(const struct jobs *js, const json_t *request, unsigned hosts, struct err *e)
{
	const json_t *config = json_object_get(request, "VpcConfig");

	if (check_sealing(js, request, hosts, e) < 0)
		return -1;
	if (!config || (vpc_is_empty(js->vpc) && has_file_system(request)))
		return 0;
	if (vpc_check(js->vpc, config, e) < 0)
		return -1;
	if (js->desk || strcmp(js->conf->network_pool, "none") == 0)
		return err_set(e, ERR_INVALID,
		               "VpcConfig is refused: network_pool is `none`, or launcher `hand`, in bloomery.conf, so "
		               "jobs share the machine's network, which cannot be limited");
	return 0;
}

static int load_one(const struct stored_job *row, void *arg, struct err *e)
{
	struct job *j;

	return job_load(arg, row, &j, e);
}

int jobs_new(const struct jobs_options *o, struct jobs **ret, struct err *e)
{
	_cleanup_(jobs_freep) struct jobs *js = xcalloc(1, sizeof(*js));

	js->loop = o->loop;
	js->store = o->store;
	js->blobs = o->blobs;
	js->conf = o->conf;
	js->iam = o->iam;
	js->data_dir = xstrdup(o->data_dir);
	probes_remove(js->data_dir);
	js->fetch_program = o->fetch_program ? xstrdup(o->fetch_program) : strf("bloomery-fetch");
	js->via = o->launcher;
	js->desk = o->desk;
	atomic_init(&js->sealing, -1);
	if (capacity_read(js->conf, &js->capacity, e) < 0 ||
	    network_pool_new(js->desk ? "none" : js->conf->network_pool, &js->networks, e) < 0 ||
	    vpc_new(js->conf, &js->vpc, e) < 0)
		return -1;
	js->gpus = gpu_pool_new(js->conf);
	js->capacity.gpus =
	        js->desk ? 0 /* those here are not where the hosts are */ : (unsigned)gpu_pool_table(js->gpus)->n;
	js->soon_timer = loop_timer(js->loop, -1, 0, scheduler_tick, js);
	js->pending_timer = loop_timer(js->loop, -1, 0, scheduler_pending_over, js);
	js->retry_timer = loop_timer(js->loop, -1, 0, facts_retry, js);
	js->cleanup_timer = loop_timer(js->loop, -1, 0, cleanup_tick, js);
	js->sweep_timer = loop_timer(js->loop, -1, 0, sweep_tick, js);
	if (store_job_each_live(js->store, load_one, js, e) < 0)
		return -1;
	pins_sweep(js);
	measure_start(js, o->series);
	*ret = take_ptr(js);
	return 0;
}

static void log_gpus(const struct gpu_table *t)
{
	_cleanup_buf_ struct buf names = { 0 };

	for (size_t i = 0; i < t->notes; i++)
		log_warn("%s", t->note[i]);
	for (size_t i = 0; i < t->n; i++)
		buf_f(&names, " %s", t->name[i]);
	if (t->n)
		log_info("jobs may have %zu GPU%s:%s", t->n, t->n == 1 ? "" : "s", names.p);
}

void jobs_start(struct jobs *js, const char *api_url)
{
	js->api_url = api_url ? xstrdup(api_url) : NULL;
	js->scans = scans_new();
	js->freezer = freezer_new(js);
	js->gatherer = freezer_new(js);
	js->launcher = js->via->open(&(struct launcher_options){
	        .loop = js->loop, .data_dir = js->data_dir, .desk = js->desk, .events = &facts_events, .arg = js });
	js->started = true;
	loop_timer_set(js->sweep_timer, SWEEP_FIRST_MS, SWEEP_EVERY_MS);
	cleanup_soon(js);
	scheduler_soon(js);
	log_info("jobs may take %.4g cpus and %.4g GiB of memory together", js->capacity.cpus,
	         (double)js->capacity.memory_bytes / (double)(1 << 30));
	log_gpus(gpu_pool_table(js->gpus));
}

struct listener {
	struct jobs *js;
	void (*fn)(void *arg);
	void *arg;
};

static void on_listen(void *arg)
{
	const struct listener *l = arg;

	l->js->news = l->fn;
	l->js->news_arg = l->arg;
}

void jobs_on_news(struct jobs *js, void (*fn)(void *arg), void *arg)
{
	struct listener l = { js, fn, arg };

	loop_call(js->loop, on_listen, &l);
}

void jobs_news(struct jobs *js)
{
	if (js->news)
		js->news(js->news_arg);
}

void jobs_free(struct jobs *js)
{
	if (!js)
		return;
	freezer_free(js->freezer);
	freezer_free(js->gatherer);
	measure_stop(js);
	if (js->launcher)
		js->via->close(js->launcher);
	while (js->waiting.first)
		job_drop(js, js->waiting.first);
	while (js->running.first)
		job_drop(js, js->running.first);
	loop_source_free(js->soon_timer);
	loop_source_free(js->pending_timer);
	loop_source_free(js->retry_timer);
	loop_source_free(js->cleanup_timer);
	loop_source_free(js->sweep_timer);
	scans_free(js->scans);
	network_pool_free(js->networks);
	gpu_pool_free(js->gpus);
	vpc_free(js->vpc);
	free(js->data_dir);
	free(js->api_url);
	free(js->fetch_program);
	free(js);
}

/* ---- what the API asks for: each on the loop's thread ---- */

struct call {
	struct jobs *js;
	enum job_kind kind;
	struct str name; /* or ARN */
	const struct jobs_create *create;
	int (*edit)(void *arg, const struct stored_job *job, const char *request, char **ret_request, char **ret_echo,
	            struct err *e);
	void *arg;
	const struct store_tag *tags;
	const struct str *keys;
	size_t count;
	int rc;
	struct err *e;
};

static int run(struct jobs *js, void (*fn)(void *arg), struct call *c)
{
	c->js = js;
	loop_call(js->loop, fn, c);
	return c->rc;
}

static void new_id(char out[JOB_ID_BYTES])
{
	_cleanup_buf_ struct buf hex = { 0 };
	unsigned char bytes[(JOB_ID_BYTES - 1) / 2];

	random_bytes(bytes, sizeof(bytes));
	buf_hex(&hex, bytes, sizeof(bytes));
	memcpy(out, hex.p, JOB_ID_BYTES);
}

static int create(struct jobs *js, const struct jobs_create *c, struct err *e)
{
	_cleanup_free_ char *needs = capacity_needs_text(c->needs);
	unsigned hosts = capacity_hosts(c->needs);
	_cleanup_free_ char(*ids)[JOB_ID_BYTES] = xcalloc(hosts, sizeof(*ids));
	struct store_new_job row = { .kind = c->kind,
		                     .id = ids[0],
		                     .name = c->name,
		                     .arn = c->arn,
		                     .request = c->request,
		                     .echo = c->echo,
		                     .needs = needs,
		                     .created = c->created,
		                     .tags = c->tags,
		                     .tag_count = c->tag_count,
		                     .host_ids = hosts > 1 ? ids : NULL,
		                     .host_count = hosts > 1 ? hosts : 0 };
	struct stored_job stored;
	struct job *j;
	int64_t n;

	for (unsigned i = 0; i < hosts; i++)
		new_id(ids[i]);
	if (store_job_insert(js->store, &row, &n, e) < 0)
		return -1;
	/* It is there, and the caller will be told so; when we cannot read it back we can go on as little as after a
	 * kill. */
	must(store_job_find(js->store, c->kind, str_of(c->name), &stored, NULL) == 0 &&
	     job_load(js, &stored, &j, NULL) == 0);
	stored_job_fini(&stored);
	log_info("%s %s is created: %s", job_kind_info[j->kind].words, j->name, j->id);
	scheduler_soon(js);
	return 0;
}

static void on_create(void *arg)
{
	struct call *c = arg;

	c->rc = create(c->js, c->create, c->e);
}

int jobs_create(struct jobs *js, const struct jobs_create *c, struct err *e)
{
	struct call call = { .create = c, .e = e };

	return run(js, on_create, &call);
}

/* The API says ValidationException where the model says ResourceNotFound (contract 9.4). */
static int find(struct jobs *js, enum job_kind kind, struct str name, struct stored_job *ret, struct err *e)
{
	struct err why = { 0 };

	if (store_job_find(js->store, kind, name, ret, &why) == 0)
		return 0;
	if (why.kind == ERR_NOT_FOUND && kind == KIND_TRANSFORM)
		return err_set(e, ERR_INVALID, "Could not find job to update with name " PRIstr, ARGstr(name));
	if (why.kind == ERR_NOT_FOUND)
		return err_set(e, ERR_INVALID, "Requested resource not found.");
	if (e)
		*e = why;
	return -1;
}

static int stop(struct jobs *js, enum job_kind kind, struct str name, struct err *e)
{
	struct job_change c = { .at = wall_now(), .durable = true };
	struct stored_job row;
	struct job *j;

	if (find(js, kind, name, &row, e) < 0)
		return -1;
	j = job_by_id(js, str_of(row.id));
	if (!j || job_next(j->state, EV_STOP) < 0) {
		err_set(e, ERR_INVALID, "The request was rejected because the %s is in status %s.",
		        job_kind_info[kind].words, job_state_info[row.state].status);
		stored_job_fini(&row);
		return -1;
	}
	stored_job_fini(&row);
	if (job_transition(js, j, EV_STOP, &c, e) < 0)
		return -1;
	if (j->placed) {
		for (size_t i = 0; i < j->host_count; i++)
			if (!host_is_over(&j->hosts[i]))
				js->via->stop(js->launcher, j->hosts[i].id, NULL);
		return 0;
	}
	if (j->freezing)
		freezer_cancel(js->freezer, j->id);
	/* Nothing to stop. Should this not be stored now, the scheduler does it. */
	if (scheduler_end_stopped(js, j, NULL, NULL) < 0)
		scheduler_soon(js);
	return 0;
}

static void on_stop(void *arg)
{
	struct call *c = arg;

	c->rc = stop(c->js, c->kind, c->name, c->e);
}

int jobs_stop(struct jobs *js, enum job_kind kind, struct str name, struct err *e)
{
	struct call call = { .kind = kind, .name = name, .e = e };

	return run(js, on_stop, &call);
}

static int delete (struct jobs *js, struct str name, struct err *e)
{
	struct stored_job row;
	int rc;

	if (find(js, KIND_TRAINING, name, &row, e) < 0)
		return -1;
	if (job_state_info[row.state].final)
		rc = store_job_delete(js->store, row.n, e);
	else
		rc = err_set(
		        e, ERR_IN_USE,
		        "The training job %s is in status %s. Only a job that is Completed, Failed or Stopped can be "
		        "deleted; stop it first",
		        row.name, job_state_info[row.state].status);
	if (rc == 0) {
		log_info("training job %s is deleted", row.name);
		cleanup_soon(js);
	}
	stored_job_fini(&row);
	return rc;
}

static void on_delete(void *arg)
{
	struct call *c = arg;

	c->rc = delete (c->js, c->name, c->e);
}

int jobs_delete(struct jobs *js, struct str name, struct err *e)
{
	struct call call = { .name = name, .e = e };

	return run(js, on_delete, &call);
}

static int update(const struct call *c)
{
	_cleanup_free_ char *request = NULL, *new_request = NULL, *new_echo = NULL;
	struct jobs *js = c->js;
	struct stored_job row;
	struct job *j;
	struct wall now = wall_now();
	int rc;

	if (find(js, KIND_TRAINING, c->name, &row, c->e) < 0)
		return -1;
	rc = store_job_request(js->store, row.n, &request, c->e);
	if (rc == 0)
		rc = c->edit(c->arg, &row, request, &new_request, &new_echo, c->e);
	if (rc == 0)
		rc = store_job_rewrite(js->store, row.n, new_request, new_echo, now, c->e);
	j = job_by_id(js, str_of(row.id));
	if (rc == 0 && j && j->modified.ms < now.ms)
		j->modified = now;
	stored_job_fini(&row);
	return rc;
}

static void on_update(void *arg)
{
	struct call *c = arg;

	c->rc = update(c);
}

int jobs_update(struct jobs *js, struct str name,
                int (*edit)(void *arg, const struct stored_job *job, const char *request, char **ret_request,
                            char **ret_echo, struct err *e),
                void *arg, struct err *e)
{
	struct call call = { .name = name, .edit = edit, .arg = arg, .e = e };

	return run(js, on_update, &call);
}

static void on_tags_put(void *arg)
{
	struct call *c = arg;

	c->rc = store_tags_put(c->js->store, c->name, c->tags, c->count, c->e);
}

int jobs_tags_put(struct jobs *js, struct str arn, const struct store_tag *tags, size_t count, struct err *e)
{
	struct call call = { .name = arn, .tags = tags, .count = count, .e = e };

	return run(js, on_tags_put, &call);
}

static void on_tags_delete(void *arg)
{
	struct call *c = arg;

	c->rc = store_tags_delete(c->js->store, c->name, c->keys, c->count, c->e);
}

int jobs_tags_delete(struct jobs *js, struct str arn, const struct str *keys, size_t count, struct err *e)
{
	struct call call = { .name = arn, .keys = keys, .count = count, .e = e };

	return run(js, on_tags_delete, &call);
}
