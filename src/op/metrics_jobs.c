/* What Prometheus is told of single training jobs: the same jobs as in metrics_collect.c, those that run or just did.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "aws/wire.h"
#include "op/api.h"
#include "op/metrics.h"
#include "series/series.h"
#include "store/store.h"

enum { VALUES_MAX = 20000 };

/* A family's samples have to be together, so each family is gathered by itself. */
enum family { INFO, SECONDS, HOSTS, METRIC, INSTANCE, FAMILY_COUNT };
static const char *const families[FAMILY_COUNT][2] = {
	[INFO] = { "bloomery_training_job_info", "What a training job is doing; always 1." },
	[SECONDS] = { "bloomery_training_job_seconds", "How long a training job has run since its training began." },
	[HOSTS] = { "bloomery_training_job_hosts", "Training hosts of a job." },
	[METRIC] = { "bloomery_training_job_metric", "The last value of each metric that a job reported." },
	[INSTANCE] = { "bloomery_training_job_instance", "The last sample of each instance metric of a host." },
};

struct gather {
	const struct api *api;
	struct wall now;
	struct buf text[FAMILY_COUNT];
	struct str job; /* at hand */
	char *last;     /* the job of the host before */
	unsigned hosts; /* of it, so far */
	size_t values, omitted;
	struct err *e;
	int rc;
};

static struct buf *start(struct gather *g, enum family f, struct str job)
{
	buf_f(&g->text[f], "%s{", families[f][0]);
	metrics_label(&g->text[f], "training_job", job);
	return &g->text[f];
}

static void finish_job(struct gather *g)
{
	if (g->last)
		buf_f(start(g, HOSTS, str_of(g->last)), "} %u\n", g->hosts);
	free(take_ptr(g->last));
	g->hosts = 0;
}

static void add_value(void *arg, const struct series_job_metric *m)
{
	struct gather *g = arg;
	struct buf *b;

	if (++g->values > VALUES_MAX) {
		g->omitted++;
		return;
	}
	b = start(g, m->host.n ? INSTANCE : METRIC, g->job);
	if (m->host.n) {
		buf_c(b, ',');
		metrics_label(b, "host", m->host);
	}
	buf_c(b, ',');
	metrics_label(b, "metric", m->metric);
	buf_z(b, "} ");
	buf_double(b, m->value);
	buf_c(b, '\n');
}

static void add_job(struct gather *g, const struct stored_job *j)
{
	const struct job_state_info *state = &job_state_info[j->state];
	struct wall until = j->ended.ms ? j->ended : g->now;
	struct buf *b;

	g->job = str_of(j->name);
	b = start(g, INFO, g->job);
	buf_c(b, ',');
	metrics_label(b, "status", str_of(state->status));
	buf_c(b, ',');
	metrics_label(b, "secondary_status", str_of(state->secondary));
	buf_z(b, "} 1\n");
	if (j->started.ms)
		buf_f(start(g, SECONDS, g->job), "} %.3f\n", (double)(until.ms - j->started.ms) / 1000);
	if (g->api->series)
		g->rc = series_job_metrics(g->api->series, str_of(j->id), add_value, g, g->e);
}

/* Hosts of one job come one behind the other. */
static void add_host(struct str name, const char *id, void *arg)
{
	struct store_description d;
	struct gather *g = arg;

	(void)id;
	if (g->rc < 0)
		return;
	if (!g->last || !str_is(name, g->last)) {
		finish_job(g);
		g->last = str_dup(name);
		if (store_describe(g->api->store, KIND_TRAINING, name, &d, NULL) ==
		    0) { /* else it was deleted meanwhile */
			add_job(g, &d.job);
			store_description_fini(&d);
		}
	}
	g->hosts++;
}

int metrics_write_jobs(const struct api *api, struct buf *out, struct err *e)
{
	struct gather g = { .api = api, .now = wall_now(), .e = e };
	struct wall since = { g.now.ms - METRICS_KEEP_S * 1000LL };
	int rc = store_job_each_current(api->store, KIND_TRAINING, since, METRICS_JOBS, add_host, &g, e);

	finish_job(&g);
	if (rc == 0)
		rc = g.rc;
	for (enum family f = 0; f < FAMILY_COUNT; f++) {
		if (rc == 0) {
			buf_f(out, "# HELP %s %s\n# TYPE %s gauge\n", families[f][0], families[f][1], families[f][0]);
			buf_str(out, buf_view(&g.text[f]));
		}
		buf_fini(&g.text[f]);
	}
	if (rc == 0)
		buf_f(out,
		      "# HELP bloomery_training_job_values_omitted Values left out here because there are too many.\n"
		      "# TYPE bloomery_training_job_values_omitted gauge\nbloomery_training_job_values_omitted %zu\n",
		      g.omitted);
	return rc;
}
