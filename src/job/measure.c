/* The metrics of the hosts of jobs, from their files into the store (ingest/), and how the end of a job waits for them.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <sys/epoll.h>

#include "base/log.h"
#include "ingest/ingest.h"
#include "job/control.h"

enum { WAIT_MS = 30000, RETRY_MS = 5000 };

static void ask_again(struct jobs *js, struct job_host *h)
{
	h->behind = false;
	js->via->watch(js->launcher, h->id, h->last_fact);
}

static void on_done(void *arg, uint32_t events)
{
	struct jobs *js = arg;
	char *id;

	(void)events;
	while ((id = ingest_done(js->ingest))) {
		struct job_host *h = host_by_id(js, str_of(id));

		free(id);
		if (!h || h->ingested)
			continue;
		h->ingested = true;
		ask_again(js, h);
	}
}

void measure_start(struct jobs *js, struct series_store *s)
{
	if (!s)
		return;
	js->ingest = ingest_new(s, js->data_dir);
	js->ingested_source = loop_fd(js->loop, ingest_done_fd(js->ingest), EPOLLIN, on_done, js);
	must(js->ingested_source);
}

void measure_stop(struct jobs *js)
{
	loop_source_free(take_ptr(js->ingested_source));
	ingest_free(take_ptr(js->ingest));
}

void measure_follow(struct jobs *js, struct job_host *h)
{
	_cleanup_free_ char *instance = NULL;

	if (!js->ingest || h->followed)
		return;
	instance = h->job->kind == KIND_TRANSFORM ? strf("i-0%s", h->id) : NULL;
	ingest_follow(js->ingest, &(struct ingest_host){ .id = h->id,
	                                                 .job_id = h->job->id,
	                                                 .job_name = h->job->name,
	                                                 .number = h->number,
	                                                 .instance = instance });
	h->followed = true;
}

void measure_forget(struct jobs *js, const char *job_id)
{
	if (js->ingest)
		ingest_forget(js->ingest, job_id);
}

bool measure_is_over(struct jobs *js, struct job_host *h)
{
	if (!js->ingest || h->ingested)
		return true;
	if (!h->ingest_asked.ns) {
		h->ingest_asked = mono_now();
		measure_follow(js, h); /* bloomeryd may have been away while it ran */
		ingest_finish(js->ingest, h->id);
	} else if (mono_ms_since(h->ingest_asked) >= WAIT_MS) {
		log_warn("%s %s: the metrics of algo-%u are not stored yet; it ends without the last of them",
		         job_kind_info[h->job->kind].words, h->job->name, h->number);
		h->ingested = true;
		return true;
	}
	h->behind = true;
	loop_timer_set(js->retry_timer, RETRY_MS, 0);
	return false;
}
