/* What supervisors report, taken once each and in order. SPDX-License-Identifier: Apache-2.0
 *
 * A fact's number is stored together with what the fact changes, so a fact that comes again is known by its number, and
 * one that could not be stored is simply asked for again: `watch` with the last number we have. */
#include <fcntl.h>
#include <stdlib.h>

#include "base/log.h"
#include "job/control.h"

enum { RETRY_MS = 5000 };

static void fall_behind(struct jobs *js, struct job_host *h)
{
	h->behind = true;
	loop_timer_set(js->retry_timer, RETRY_MS, 0);
}

void facts_retry(void *jobs)
{
	struct jobs *js = jobs;
	struct job *next;

	for (struct job *j = js->running.first; j; j = next) {
		next = j->next;
		for (size_t i = 0; i < j->host_count; i++) {
			struct job_host *h = &j->hosts[i];

			if (!h->behind)
				continue;
			h->behind = false;
			js->via->watch(js->launcher, h->id, h->last_fact);
		}
		hosts_go_on(js, j);
	}
	scheduler_run(js);
}

static const char *text_of(const struct fact *f, const char *member)
{
	return json_string_value(json_object_get(f->args, member));
}

/* The supervisor has packed an artifact: it becomes an object before the fact counts as taken, so that an ending that
 * comes after it finds it there. *ret_failure: the job fails of it, and why. */
int facts_adopt(struct jobs *js, const struct job_host *h, const struct fact *f, char **ret_failure, struct err *e)
{
	const char *bucket = text_of(f, "bucket"), *key = text_of(f, "key"), *file = text_of(f, "file");
	const char *digest = text_of(f, "md5");
	json_t *size = json_object_get(f->args, "size");
	_cleanup_free_ char *path = NULL;
	struct err why = { 0 };

	if (!bucket || !key || !file || !digest || !json_is_integer(size) || json_integer_value(size) < 0 || !*file ||
	    strchr(file, '/') || !strcmp(file, ".") || !strcmp(file, "..")) {
		*ret_failure = xstrdup("InternalServerError: the supervisor reported an artifact in a way that "
		                       "makes no sense.");
		return 0;
	}
	path = strf("%s/jobs/%s/staged/%s", js->data_dir, h->id, file);
	if (blob_adopt(js->blobs, str_of(bucket), str_of(key), path, (uint64_t)json_integer_value(size), str_of(digest),
	               &why) == 0) {
		log_info("%s %s: s3://%s/%s is there", job_kind_info[h->job->kind].words, h->job->name, bucket, key);
		return 0;
	}
	if (why.kind == ERR_NOT_FOUND) { /* trying again would not help */
		char text[4096];

		*ret_failure = strf("ClientError: Artifact upload failed: s3://%s/%s: %s. The bucket was deleted while "
		                    "the job ran, or the file is gone; create the bucket and run the job again.",
		                    bucket, key, err_text(&why, text, sizeof(text)));
		return 0;
	}
	if (e)
		*e = why;
	return err_in(e, "taking s3://%s/%s over", bucket, key);
}

/* Whether the outputs of a transform job of one host are objects: only then the fact is taken. Until then what comes
 * behind it waits, and it comes again. A job that is stopped stores nothing (contract 7.4). */
static bool outputs_are_there(struct jobs *js, struct job *j, const struct fact *f)
{
	struct job_host *h = &j->hosts[0];

	if (j->gathered || j->state == JOB_STOPPING)
		return true;
	h->behind = true;
	if (j->gathering)
		return false;
	free(h->parts);
	h->parts = add_part(NULL, f);
	j->gathering = true;
	freezer_gather(js->gatherer, j);
	return false;
}

void facts_gathered(struct jobs *js, struct job *j, const struct err *why)
{
	struct job_host *h = &j->hosts[0];
	char text[4096];

	if (why && why->kind != ERR_CLIENT) { /* of the store: it will not stay so */
		log_err(LOG_ERROR, why, "%s %s: its outputs cannot be taken over yet", job_kind_info[j->kind].words,
		        j->name);
		fall_behind(js, h);
		return;
	}
	j->gathered = true;
	if (why)
		j->ungathered = strf("ClientError: %s", err_text(why, text, sizeof(text)));
	h->behind = false;
	js->via->watch(js->launcher, h->id, h->last_fact);
}

static enum job_event event_of(const struct job *j, const struct fact *f)
{
	static const struct {
		const char *result;
		enum job_event event;
	} ends[] = { { "ok", EV_END_OK },
		     { "failed", EV_END_BAD },
		     { "stopped", EV_END_STOPPED },
		     { "expired", EV_END_EXPIRED } };
	const char *result = text_of(f, "result");

	if (f->kind != FACT_ENDED)
		return (enum job_event)job_event_by_name(str_of(fact_event[f->kind]));
	if (j->failure)
		return EV_END_BAD;
	for (size_t i = 0; result && i < ARRAY_LEN(ends); i++)
		if (!strcmp(result, ends[i].result))
			return ends[i].event;
	return EV_LOST;
}

/* An end is never ignored, or the job would run for ever: one that the state has no edge for is taken as a loss. */
static int take_end(struct jobs *js, struct job *j, const struct fact *f, struct job_change *c, struct err *e)
{
	enum job_event event = event_of(j, f);
	_cleanup_free_ char *odd = NULL;

	c->failure_reason = j->failure ? j->failure : text_of(f, "reason");
	if (job_next(j->state, event) < 0) {
		odd = strf("InternalServerError: the supervisor ended (%s) in a way that does not fit what it was "
		           "doing (%s).",
		           text_of(f, "result") ?: "without a result", job_state_info[j->state].name);
		c->failure_reason = odd;
		event = EV_LOST;
	}
	return job_transition(js, j, event, c, e);
}

static int take(struct jobs *js, struct job *j, const struct fact *f, struct err *e)
{
	_cleanup_free_ char *failure = NULL, *exit_text = NULL;
	struct job_change c = { .at = f->at, .fact = f->n };
	int event = -1;

	if (f->kind == FACT_ENDED)
		return take_end(js, j, f, &c, e);
	if (f->kind == FACT_ARTIFACT && facts_adopt(js, &j->hosts[0], f, &failure, e) < 0)
		return -1;
	c.failure_reason = f->kind == FACT_OUTPUTS ? j->ungathered : failure;
	if (f->kind == FACT_IMAGE) {
		c.image_digest = text_of(f, "digest");
		if (j->state == JOB_DOWNLOADING)
			c.message = "Downloading the training image"; /* contract 5.3 */
	}
	if (f->kind == FACT_EXITED)
		c.exit = exit_text = json_dumps(f->args, JSON_COMPACT);
	if (f->kind < FACT_COUNT && *fact_event[f->kind])
		event = (int)event_of(j, f);
	if (event >= 0 && job_next(j->state, (enum job_event)event) >= 0)
		return job_transition(js, j, (enum job_event)event, &c, e);
	if (event >= 0)
		log_warn("%s %s: fact %llu (%s) means nothing while it is %s", job_kind_info[j->kind].words, j->name,
		         (unsigned long long)f->n, fact_name[f->kind], job_state_info[j->state].name);
	return job_note(js, j, &c, e);
}

static void on_fact(void *arg, struct str id, const struct fact *f)
{
	struct jobs *js = arg;
	struct job_host *h = host_by_id(js, id);
	struct job *j = h ? h->job : NULL;
	struct err e = { 0 };

	if (!j || !j->placed || f->n <= h->last_fact)
		return; /* ended and taken, deleted, or seen before */
	if (f->n > h->last_fact + 1) {
		if (!h->behind) {
			log_warn("%s %s: fact %llu came after %llu; asking again", job_kind_info[j->kind].words,
			         j->name, (unsigned long long)f->n, (unsigned long long)h->last_fact);
			fall_behind(js, h);
			js->via->watch(js->launcher, h->id, h->last_fact);
		}
		return;
	}
	measure_follow(js, h);
	if (f->kind == FACT_ENDED && !measure_is_over(js, h))
		return;
	if (f->kind == FACT_OUTPUTS && j->host_count == 1 && !outputs_are_there(js, j, f))
		return;
	if ((j->host_count > 1 ? hosts_take(js, h, f, &e) : take(js, j, f, &e)) < 0) {
		log_err(LOG_ERROR, &e, "%s %s: fact %llu cannot be taken yet", job_kind_info[j->kind].words, j->name,
		        (unsigned long long)f->n);
		fall_behind(js, h);
		return;
	}
	if ((j = job_by_id(js, id)))
		hosts_go_on(js, j);
}

static int take_loss(struct jobs *js, struct job *j, struct str reason, struct err *e)
{
	_cleanup_free_ char *text = NULL;
	struct job_change c = { .at = wall_now() };

	text = reason.n ? strf("InternalServerError: " PRIstr, ARGstr(reason))
	                : xstrdup("InternalServerError: the job's supervisor is gone and left no ending. Please try "
	                          "again.");
	c.failure_reason = j->failure ? j->failure : text;
	return job_transition(js, j, EV_LOST, &c, e);
}

static void on_lost(void *arg, struct str id, struct str reason, struct wall at)
{
	struct jobs *js = arg;
	struct job_host *h = host_by_id(js, id);
	struct job *j = h ? h->job : NULL;
	struct err e = { 0 };

	if (!j || !j->placed)
		return;
	if (h->behind) /* facts from before the loss have still to be taken; it is reported again with them */
		return;
	if (!measure_is_over(js, h))
		return;
	if ((j->host_count > 1 ? hosts_take_loss(js, h, reason, at, &e) : take_loss(js, j, reason, &e)) < 0) {
		log_err(LOG_ERROR, &e, "%s %s is lost, and that cannot be stored yet", job_kind_info[j->kind].words,
		        j->name);
		fall_behind(js, h);
		return;
	}
	if ((j = job_by_id(js, id)))
		hosts_go_on(js, j);
}

/* Everything the host may have missed, or we. */
static void host_up(struct jobs *js, struct job_host *h)
{
	enum job_state state = h->job->state;

	if (host_is_over(h))
		return;
	h->behind = false;
	h->told = HOST_TOLD_NOTHING;
	measure_follow(js, h);
	if (state == JOB_LAUNCHING || state == JOB_ADMITTED ||
	    !h->last_fact) /* starts it, unless it runs or has ended */
		js->via->launch(js->launcher, h->id);
	js->via->watch(js->launcher, h->id, h->last_fact);
	if (state == JOB_STOPPING)
		js->via->stop(js->launcher, h->id, NULL);
}

static void on_up(void *arg)
{
	struct jobs *js = arg;
	struct job *next;

	for (struct job *j = js->running.first; j; j = next) {
		next = j->next;
		if (!j->placed)
			continue;
		for (size_t i = 0; i < j->host_count; i++)
			host_up(js, &j->hosts[i]);
		hosts_go_on(js, j);
	}
	algorithms_go_on(js);
	looks_go_on(js);
	cleanup_soon(js);
}

static void on_sealing(void *arg, struct str name)
{
	struct jobs *js = arg;

	for (enum net_sealing s = NET_SEALING_NONE; s <= NET_SEALING_PROGRAM; s++)
		if (str_is(name, net_sealing_name[s]))
			atomic_store(&js->sealing, (int)s);
}

const struct launcher_events facts_events = { .on_up = on_up,
	                                      .on_fact = on_fact,
	                                      .on_lost = on_lost,
	                                      .on_sealing = on_sealing,
	                                      .on_digest = algorithms_digest,
	                                      .on_scan = scans_take,
	                                      .on_report = looks_report };
