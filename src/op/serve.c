/* bloomeryd put together: everything is opened, served until a signal, and closed. SPDX-License-Identifier: Apache-2.0
 */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "aws/sigv4.h"
#include "base/fd.h"
#include "base/log.h"
#include "blob/blob.h"
#include "http/server.h"
#include "job/desk.h"
#include "job/jobs.h"
#include "loop/loop.h"
#include "op/again.h"
#include "op/algorithm.h"
#include "op/answers.h"
#include "op/authorise.h"
#include "op/daemon.h"
#include "op/log_keeper.h"
#include "op/products.h"
#include "op/validation.h"
#include "series/series.h"

/* Everything that bloomeryd is, in the order it comes up. */
struct daemon {
	const struct daemon_options *o;
	char *data_dir, *addr;
	int lock_fd;
	struct conf conf;
	struct access_key key;
	struct iam *iam;
	struct loop *loop;
	struct store *store;
	struct blob_store *blobs;
	struct series_store *series;
	struct desk *desk; /* NULL: bloomery-host starts the hosts of jobs */
	struct logstore *logs;
	struct log_keeper *keeper;
	struct validator *validator;
	unsigned retention_days; /* 0: for ever */
	struct jobs *jobs;
	struct api api;
	struct http_server *server;
	struct loop_source *signals[2];
	pthread_t ending;
	bool is_ending;
};

static int read_retention(struct daemon *d, struct err *e)
{
	const char *text = d->conf.log_retention_days;
	uint64_t days = 0;

	if (*text && (!str_to_u64(str_of(text), &days) || !days || days > 36500))
		return err_set(e, ERR_INVALID,
		               "log_retention_days = %s: this must be a number of days, or empty for ever", text);
	d->retention_days = (unsigned)days;
	return 0;
}

static int read_conf(struct daemon *d, struct err *e)
{
	_cleanup_free_ char *beside = strf("%s/bloomery.conf", d->data_dir);

	conf_init(&d->conf);
	if (d->o->config_fd >= 0)
		return conf_read_copy(&d->conf, d->o->config_fd, d->o->config ? d->o->config : beside, e);
	if (d->o->config && access(d->o->config, R_OK) < 0)
		return err_sys(e, "reading %s", d->o->config);
	if (conf_read(&d->conf, d->o->config ? d->o->config : beside, e) < 0)
		return -1;
	return read_retention(d, e);
}

/* Handlers that still run may wait for the loop, so the server is stopped on a thread of its own, and then the loop. */
static void stop_loop(void *loop)
{
	loop_stop(loop);
}

static void *end_serving(void *arg)
{
	struct daemon *d = arg;

	if (d->desk)
		desk_on_news(d->desk, NULL, NULL);
	http_server_stop(take_ptr(d->server));
	validator_stop(take_ptr(d->validator));
	loop_post(d->loop, stop_loop, d->loop);
	return NULL;
}

static void on_signal(void *arg, int signo)
{
	struct daemon *d = arg;

	if (d->is_ending)
		return;
	log_info("signal %d: ending; jobs run on", signo);
	if (d->jobs)
		jobs_end_looks(d->jobs);
	must(pthread_create(&d->ending, NULL, end_serving, d) == 0);
	d->is_ending = true;
}

/* `bloomery up` hands the program over open: the user that we are may not be able to reach where it lies. */
static char *program_of(int fd, const char *name)
{
	_cleanup_free_ char *dir = program_dir();

	return fd >= 0 ? strf("/proc/self/fd/%d", fd) : strf("%s/%s", dir, name);
}

static int open_desk(struct daemon *d, struct err *e)
{
	uint64_t patience;

	if (!str_starts(str_of(d->conf.advertise), STR("http://")))
		return err_set(e, ERR_INVALID,
		               "launcher = hand: say in bloomery.conf where hosts on other machines reach the API, "
		               "advertise = http://HOST[:PORT]");
	must(str_to_u64(str_of(d->conf.host_patience_seconds), &patience));
	d->desk = desk_new(d->data_dir, (int64_t)patience * 1000);
	return 0;
}

/* The advertised URL, with our port where it has none. */
static char *advertised(const struct daemon *d, uint16_t port)
{
	struct str host = str_of(d->conf.advertise);

	str_skip(&host, STR("http://"));
	while (host.n && host.p[host.n - 1] == '/')
		host.n--;
	return str_has_byte(host, ':') ? strf("http://" PRIstr, ARGstr(host))
	                               : strf("http://" PRIstr ":%u", ARGstr(host), port);
}

static void on_news(void *server, const char *id)
{
	http_server_wake(server, id);
}

static int open_all(struct daemon *d, struct err *e)
{
	_cleanup_free_ char *db = NULL, *metrics = NULL, *logs = NULL,
	                    *fetch = program_of(d->o->fetch_fd, "bloomery-fetch");
	struct iam_hooks hooks;

	if (daemon_take_directory(d->o->data, &d->lock_fd, e) < 0)
		return -1;
	d->data_dir = realpath(d->o->data, NULL);
	if (!d->data_dir)
		return err_sys(e, "opening %s", d->o->data);
	db = strf("%s/bloomery.db", d->data_dir);
	metrics = strf("%s/metrics.db", d->data_dir);
	logs = strf("%s/logs.db", d->data_dir);
	if (read_conf(d, e) < 0 || daemon_key(d->data_dir, d->conf.account, &d->key, e) < 0 ||
	    iam_open(&d->conf, d->data_dir, &d->iam, e) < 0)
		return -1;
	d->loop = loop_new();
	d->signals[0] = loop_signal(d->loop, SIGTERM, on_signal,
	                            d); /* before there are threads, which inherit the mask */
	d->signals[1] = loop_signal(d->loop, SIGINT, on_signal, d);
	if (store_open(db, &d->store, e) < 0 || blob_open(d->data_dir, &d->blobs, e) < 0 ||
	    logstore_open(logs, &d->logs, e) < 0 || series_store_open(metrics, &d->series, e) < 0)
		return -1;
	if (str_is(str_of(d->conf.launcher), "hand") && open_desk(d, e) < 0)
		return -1;
	hooks = authorise_hooks(d->store);
	iam_set_hooks(d->iam, &hooks);
	return jobs_new(&(struct jobs_options){ .loop = d->loop,
	                                        .store = d->store,
	                                        .blobs = d->blobs,
	                                        .conf = &d->conf,
	                                        .iam = d->iam,
	                                        .series = d->series,
	                                        .data_dir = d->data_dir,
	                                        .launcher = d->desk ? &launcher_hand : &launcher_local,
	                                        .desk = d->desk,
	                                        .fetch_program = fetch },
	                &d->jobs, e);
}

static int say_ready(const struct daemon *d, uint16_t port, struct err *e)
{
	_cleanup_free_ char *where = daemon_address(d->addr, port), *line = strf("%s\n", where);

	log_info("serving %s on http://%s", d->data_dir, where);
	return tell_ready(d->o->ready_fd, line, e);
}

/* What was imported or removed while nobody served. */
static void learn_products(struct daemon *d)
{
	struct err e = { 0 };
	json_t *done;

	if (products_sync(&d->api, &done, &e) < 0)
		log_err(LOG_WARN, &e, "looking for products");
	else
		json_decref(done);
}

static int serve(struct daemon *d, struct err *e)
{
	_cleanup_free_ char *url = NULL, *away = NULL, *metric = program_of(d->o->metric_fd, "bloomery-metric");
	uint16_t port;

	if (daemon_parse_listen(d->o->listen ? d->o->listen : d->conf.listen, &d->addr, &port, e) < 0)
		return -1;
	d->api = (struct api){ .data_dir = d->data_dir,
		               .account = d->conf.account,
		               .region = d->conf.region,
		               .blobs = d->blobs,
		               .store = d->store,
		               .logs = d->logs,
		               .jobs = d->jobs,
		               .series = d->series,
		               .keys = &d->key,
		               .key_count = 1,
		               .signing_keys = sig_cache_new(),
		               .answers = answers_new(),
		               .algorithms = algorithm_cache_new(),
		               .desk = d->desk,
		               .iam = d->iam };
	d->api.again = again_new(metric, d->data_dir, d->series, d->api.answers);
	learn_products(d);
	if (http_server_start(d->addr, port, NULL, api_route, &d->api, &d->server, e) < 0)
		return -1;
	port = http_server_port(d->server);
	if (d->desk) /* nobody waits before jobs_start() */
		desk_on_news(d->desk, on_news, d->server);
	url = daemon_url(d->addr, port);
	if (daemon_write_endpoint(d->data_dir, url, e) < 0)
		return -1;
	if (d->desk)
		away = advertised(d, port);
	jobs_start(d->jobs, away ? away : url);
	d->keeper = log_keeper_start(d->data_dir, d->store, d->logs, d->retention_days);
	if (say_ready(d, port, e) < 0)
		return -1;
	d->validator = validator_start(&d->api);
	return loop_run(d->loop, e);
}

static void close_all(struct daemon *d)
{
	if (d->is_ending)
		pthread_join(d->ending, NULL);
	if (d->desk)
		desk_on_news(d->desk, NULL, NULL);
	http_server_stop(d->server); /* only where serving failed at its start: nobody waits for the loop */
	log_keeper_stop(d->keeper);
	again_free(d->api.again);
	jobs_free(d->jobs);
	series_store_close(d->series);
	logstore_close(d->logs);
	blob_close(d->blobs);
	store_close(d->store);
	loop_free(d->loop);
	desk_free(d->desk);
	sig_cache_free(d->api.signing_keys);
	answers_free(d->api.answers);
	algorithm_cache_free(d->api.algorithms);
	iam_close(d->iam);
	access_key_fini(&d->key);
	conf_fini(&d->conf);
	free(d->data_dir);
	free(d->addr);
	cleanup_closep(&d->lock_fd);
}

int daemon_run(const struct daemon_options *o, struct err *e)
{
	struct daemon d = { .o = o, .lock_fd = -EBADF };
	int rc = open_all(&d, e);

	if (rc == 0)
		rc = serve(&d, e);
	close_all(&d);
	return rc;
}
