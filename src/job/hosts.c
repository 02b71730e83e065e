/* Jobs of several hosts: what their facts make of the job. SPDX-License-Identifier: Apache-2.0
 *
 * Each host has a supervisor and a journal of its own. A fact changes the host's row and, where it means something to
 * all of them, the job's state, in one transaction:
 *     DOWNLOAD   the first host's DOWNLOADING            TRAIN      the first host's TRAINING
 *     UPLOAD     the last container has ended well       SALVAGE    the first has failed
 *     TIMEOUT    the first host's EXPIRED                END_*, LOST  all hosts have ended or are lost
 * A job is called off when StopTrainingJob or MaxRuntimeInSeconds has reached the first of its hosts. A container of
 * another that breaks later, as its peer is gone, has not failed: it would have been stopped a moment after.
 * What follows from where the hosts are - to go, to stop, to end - is worked out anew each time (hosts_go_on), so it is
 * the same after a restart. */
#include <stdlib.h>

#include "base/log.h"
#include "job/control.h"

enum { RETRY_MS = 5000, REASON_MAX = 1024 };

bool host_is_over(const struct job_host *h)
{
	return h->phase == HOST_ENDED || h->phase == HOST_LOST;
}

static bool all_over(const struct job *j)
{
	for (size_t i = 0; i < j->host_count; i++)
		if (!host_is_over(&j->hosts[i]))
			return false;
	return true;
}

/* Was told that all is over, and has not failed since. */
static bool is_called_off(const struct job_host *h)
{
	return h->failed.ms && !h->failure && h->result &&
	       (!strcmp(h->result, "stopped") || !strcmp(h->result, "expired"));
}

static int64_t called_off_ms(const struct job *j)
{
	int64_t first = INT64_MAX;

	for (size_t i = 0; i < j->host_count; i++)
		if (is_called_off(&j->hosts[i]) && j->hosts[i].failed.ms < first)
			first = j->hosts[i].failed.ms;
	return first;
}

/* By itself: neither its data nor this server is at fault. The reason comes with the last fact. */
static bool container_failed(const struct job_host *h)
{
	return !h->failure || str_starts(str_of(h->failure), STR("AlgorithmError:"));
}

/* By the time it happened there; of two at once the lower number. NULL: none has. */
static const struct job_host *first_to_fail(const struct job *j)
{
	int64_t called_off = called_off_ms(j);
	const struct job_host *first = NULL;

	for (size_t i = 0; i < j->host_count; i++) {
		const struct job_host *h = &j->hosts[i];

		if (!h->failed.ms || is_called_off(h) || (h->failed.ms >= called_off && container_failed(h)))
			continue;
		if (!first || h->failed.ms < first->failed.ms)
			first = h;
	}
	return first;
}

static size_t count_result(const struct job *j, const char *result)
{
	size_t n = 0;

	for (size_t i = 0; i < j->host_count; i++)
		n += j->hosts[i].result && !strcmp(j->hosts[i].result, result);
	return n;
}

/* ---- facts ---- */

static const char *text_of(const struct fact *f, const char *member)
{
	return json_string_value(json_object_get(f->args, member));
}

/* Whether all but h have come to the end of their containers, or further. */
static bool others_have_exited(const struct job_host *h)
{
	for (size_t i = 0; i < h->job->host_count; i++) {
		const struct job_host *other = &h->job->hosts[i];

		if (other != h && other->phase < HOST_UPLOADING)
			return false;
	}
	return true;
}

char *add_part(const char *parts, const struct fact *f)
{
	json_t *list = parts ? json_loads(parts, 0, NULL) : json_array();
	char *text;

	must(json_is_array(list));
	json_array_append(list, f->args);
	text = json_dumps(list, JSON_COMPACT);
	must(text);
	json_decref(list);
	return text;
}

/* What a fact is to the host and to the job. The texts belong to the caller. */
struct folded {
	struct host_change host;
	struct job_change job;
	int event; /* -1: none */
	char *failure, *exit, *parts;
};

static void folded_fini(struct folded *d)
{
	free(d->failure);
	free(d->exit);
	free(d->parts);
}

static void fold_called_off(struct folded *d, const struct fact *f, const char *result)
{
	d->host.failed = f->at;
	d->host.result = result;
}

static void fold_end(struct folded *d, const struct job_host *h, const struct fact *f)
{
	const char *result = text_of(f, "result"), *reason = text_of(f, "reason");
	bool well = result && (!strcmp(result, "ok") || !strcmp(result, "stopped") || !strcmp(result, "expired"));

	d->host.phase = HOST_ENDED;
	d->host.result = result ? result : "failed";
	if (well)
		return;
	if (!h->failed.ms)
		d->host.failed = f->at;
	if (!h->failure)
		d->failure = xstrdup(reason && *reason
		                             ? reason
		                             : "InternalServerError: We encountered an internal error. Please "
		                               "try again.");
}

/* Does what comes before the store: -1 when that cannot be done now. */
static int fold(struct jobs *js, struct job_host *h, const struct fact *f, struct folded *d, struct err *e)
{
	struct job *j = h->job;

	d->event = f->kind < FACT_COUNT && *fact_event[f->kind] ? job_event_by_name(str_of(fact_event[f->kind])) : -1;
	switch (f->kind) {
	case FACT_STARTED:
	case FACT_DOWNLOADING: d->host.phase = HOST_PREPARING; break;
	case FACT_READY: d->host.phase = HOST_READY; break;
	case FACT_TRAINING: d->host.phase = HOST_TRAINING; break;
	case FACT_IMAGE:
		d->job.image_digest = text_of(f, "digest");
		if (j->state == JOB_DOWNLOADING)
			d->job.message = "Downloading the training image"; /* contract 5.3 */
		break;
	case FACT_STOPPING:
		if (str_is(str_of(text_of(f, "why")), "stop"))
			fold_called_off(d, f, "stopped");
		break;
	case FACT_EXPIRED: {
		const struct job_host *first = first_to_fail(j);

		fold_called_off(d, f, "expired");
		if (first && first->failed.ms < f->at.ms)
			d->event = -1;
		break;
	}
	case FACT_EXITED:
		d->host.exit = d->exit = json_dumps(f->args, JSON_COMPACT);
		if (h->number == 1)
			d->job.exit = d->exit;
		break;
	case FACT_UPLOADING:
		d->host.phase = HOST_UPLOADING;
		if (!others_have_exited(h) || first_to_fail(j))
			d->event = -1;
		break;
	case FACT_SALVAGING:
		d->host.phase = HOST_UPLOADING;
		d->host.failed = f->at;
		break;
	case FACT_ARTIFACT:
		if (json_is_true(json_object_get(f->args, "part"))) {
			d->parts = add_part(h->parts, f);
		} else if (facts_adopt(js, h, f, &d->failure, e) < 0) {
			return -1;
		} else if (d->failure && !h->failed.ms) {
			d->host.failed = f->at;
		}
		break;
	case FACT_OUTPUTS: d->parts = add_part(h->parts, f); break;
	case FACT_ENDED: fold_end(d, h, f); break;
	default: break;
	}
	d->host.failure = d->failure;
	d->host.parts = d->parts;
	if (f->kind == FACT_ENDED || (d->event >= 0 && job_next(j->state, (enum job_event)d->event) < 0))
		d->event = -1; /* another host was first, or the job is ending already */
	return 0;
}

int hosts_take(struct jobs *js, struct job_host *h, const struct fact *f, struct err *e)
{
	_cleanup_(folded_fini) struct folded d = { .host = { .host = h, .phase = h->phase },
		                                   .job = { .at = f->at, .fact = f->n } };

	d.job.host = &d.host;
	if (fold(js, h, f, &d, e) < 0)
		return -1;
	return d.event < 0 ? job_note(js, h->job, &d.job, e)
	                   : job_transition(js, h->job, (enum job_event)d.event, &d.job, e);
}

int hosts_take_loss(struct jobs *js, struct job_host *h, struct str reason, struct wall at, struct err *e)
{
	_cleanup_free_ char *text = reason.n ? strf("InternalServerError: " PRIstr, ARGstr(reason))
	                                     : xstrdup("InternalServerError: the supervisor of the training host is "
	                                               "gone and left no ending. "
	                                               "Please try again.");
	struct host_change hc = { .host = h,
		                  .phase = HOST_LOST,
		                  .failed = h->failed.ms ? h->failed : at,
		                  .failure = h->failure ? NULL : text };
	struct job_change c = { .at = wall_now(), .host = &hc };

	return host_is_over(h) ? 0 : job_note(js, h->job, &c, e);
}

/* ---- what follows ---- */

static char *failure_of(const struct job *j, const struct job_host *first)
{
	_cleanup_free_ char *cut = NULL, *tail = NULL, *name = NULL;
	const char *failure = first->failure ? first->failure
	                                     : "InternalServerError: We encountered an internal error.";

	name = j->kind == KIND_TRANSFORM ? strf("i-0%s", first->id) : strf("algo-%u", first->number);
	tail = strf(" (%s was the first of %zu hosts to fail%s)", name, j->host_count,
	            count_result(j, "stopped") ? "; the others were stopped" : "");
	cut = reason_cut(failure, REASON_MAX - strlen(tail));
	return strf("%s%s", cut, tail);
}

static enum job_event end_of(const struct job *j, const struct job_host *failed)
{
	if (failed)
		return failed->phase == HOST_LOST ? EV_LOST : EV_END_BAD;
	if (count_result(j, "expired"))
		return EV_END_EXPIRED;
	return count_result(j, "stopped") ? EV_END_STOPPED : EV_END_OK;
}

static void conclude(struct jobs *js, struct job *j, const char *failure)
{
	const struct job_host *failed = first_to_fail(j);
	enum job_event event = failure && !failed ? EV_END_BAD : end_of(j, failed);
	_cleanup_free_ char *reason = failed ? failure_of(j, failed) : failure ? xstrdup(failure) : NULL;
	struct job_change c = { .at = wall_now() };
	struct err e = { 0 };

	if (job_next(j->state, event) < 0) {
		free(reason);
		reason = strf(
		        "InternalServerError: the hosts ended in a way that does not fit what the job was doing (%s).",
		        job_state_info[j->state].name);
		event = EV_LOST;
	}
	c.failure_reason = reason;
	if (job_transition(js, j, event, &c, &e) == 0)
		return;
	log_err(LOG_ERROR, &e, "%s %s cannot be ended yet", job_kind_info[j->kind].words, j->name);
	loop_timer_set(js->retry_timer, RETRY_MS, 0);
}

static bool has_parts(const struct job *j)
{
	for (size_t i = 0; i < j->host_count; i++)
		if (j->hosts[i].parts)
			return true;
	return false;
}

static void release_what_is_over(struct jobs *js, struct job *j)
{
	for (size_t i = 0; i < j->host_count; i++)
		if (j->hosts[i].reserved && host_is_over(&j->hosts[i])) {
			host_release(js, &j->hosts[i]);
			scheduler_soon(js);
		}
}

static bool all_ready(const struct job *j)
{
	for (size_t i = 0; i < j->host_count; i++)
		if (j->hosts[i].phase < HOST_READY)
			return false;
	return true;
}

void hosts_go_on(struct jobs *js, struct job *j)
{
	enum host_told word;
	bool ready;

	if (j->host_count < 2 || !j->placed)
		return;
	release_what_is_over(js, j);
	if (all_over(j)) {
		if (j->gathering)
			return;
		/* A transform job that is stopped stores nothing (contract 7.4). */
		if (has_parts(j) && (j->kind == KIND_TRAINING || j->state != JOB_STOPPING)) {
			j->gathering = true;
			freezer_gather(js->gatherer, j);
		} else {
			conclude(js, j, NULL);
		}
		return;
	}
	ready = j->state != JOB_STOPPING && all_ready(j);
	/* Hosts that transform do not need each other: what one can do is kept when another fails (contract 7.7). */
	word = first_to_fail(j) && j->kind == KIND_TRAINING ? HOST_TOLD_TO_STOP
	       : ready                                      ? HOST_TOLD_TO_GO
	                                                    : HOST_TOLD_NOTHING;
	for (size_t i = 0; i < j->host_count; i++) {
		struct job_host *h = &j->hosts[i];

		if (h->told >= word || host_is_over(h) || h->failed.ms ||
		    (word == HOST_TOLD_TO_GO && h->phase != HOST_READY))
			continue;
		if (word == HOST_TOLD_TO_STOP)
			js->via->stop(js->launcher, h->id, "peer");
		else
			js->via->go(js->launcher, h->id);
		h->told = word;
	}
}

void hosts_gathered(struct jobs *js, const char *id, const struct err *why)
{
	struct job *j = job_by_id(js, str_of(id));
	char text[4096];
	_cleanup_free_ char *failure = NULL;

	if (!j)
		return;
	j->gathering = false;
	if (j->host_count == 1) {
		facts_gathered(js, j, why);
		return;
	}
	if (why && why->kind != ERR_CLIENT) { /* of the store: it will not stay so */
		log_err(LOG_ERROR, why, "%s %s: its artifacts cannot be put together yet", job_kind_info[j->kind].words,
		        j->name);
		loop_timer_set(js->retry_timer, RETRY_MS, 0);
		return;
	}
	if (why)
		failure = strf("ClientError: %s%s", j->kind == KIND_TRAINING ? "Artifact upload failed:" : "",
		               err_text(why, text, sizeof(text)));
	conclude(js, j, failure);
}
