/* First come, first served, by cpus, memory and GPUs. SPDX-License-Identifier: Apache-2.0
 *
 * The order is strict: the oldest waiting job is placed as soon as it fits, and no younger one before it, however
 * small. So no job waits for ever: what runs ends (MaxRuntimeInSeconds), and an idle machine fits every job
 * (capacity.h). */
#include <fcntl.h>

#include "base/fd.h"
#include "base/log.h"
#include "job/control.h"

enum { RETRY_MS = 5000, NETWORK_MS = 200 };

static int64_t pending_deadline(const struct job *j)
{
	return j->needs.max_pending_s ? j->created.ms + j->needs.max_pending_s * 1000 : INT64_MAX;
}

static void set_pending_timer(struct jobs *js)
{
	int64_t first = INT64_MAX, left;

	for (const struct job *j = js->waiting.first; j; j = j->next)
		if (pending_deadline(j) < first)
			first = pending_deadline(j);
	left = first == INT64_MAX ? -1 : first - wall_now().ms;
	loop_timer_set(js->pending_timer, first == INT64_MAX ? -1 : left < 0 ? 0 : left, 0);
}

static void reserve(struct jobs *js, struct job *j)
{
	list_remove(j);
	list_insert_in_order(&js->running, j);
	for (size_t i = 0; i < j->host_count; i++) {
		host_reserve(js, &j->hosts[i]);
		gpu_pool_take(js->gpus, j->hosts[i].id, j->hosts[i].limits.gpus);
	}
}

static bool fits(const struct jobs *js, const struct job *j)
{
	unsigned gpus = 0;

	for (size_t i = 0; i < j->host_count; i++)
		gpus += j->hosts[i].limits.gpus;
	return capacity_fits(&js->capacity, &js->used, &j->share) && gpus <= gpu_pool_idle(js->gpus);
}

static void unreserve(struct jobs *js, struct job *j)
{
	network_give(js->networks, j->id);
	list_remove(j);
	list_insert_in_order(&js->waiting, j);
	for (size_t i = 0; i < j->host_count; i++)
		host_release(js, &j->hosts[i]);
}

/* What was just created behind others says that it waits. New jobs are at the end. */
static void tell_waiting(struct jobs *js)
{
	struct job *j = js->waiting.last;

	while (j && j->state == JOB_STARTING && j->prev && j->prev->state == JOB_STARTING)
		j = j->prev;
	for (; j && j->state == JOB_STARTING; j = j->next) {
		struct job_change c = { .at = wall_now() };
		struct err e = { 0 };

		if (job_transition(js, j, EV_WAIT, &c, &e) < 0) {
			log_err(LOG_ERROR, &e, "%s %s cannot be marked as waiting", job_kind_info[j->kind].words,
			        j->name);
			loop_timer_set(js->retry_timer, RETRY_MS, 0);
			return;
		}
	}
}

/* Waiting jobs whose stop could only half be stored. */
static bool end_stopping(struct jobs *js)
{
	struct err e = { 0 };
	struct job *next;

	for (struct job *j = js->waiting.first; j; j = next) {
		next = j->next;
		if (j->state != JOB_STOPPING || scheduler_end_stopped(js, j, NULL, &e) == 0)
			continue;
		log_err(LOG_ERROR, &e, "%s %s cannot be ended", job_kind_info[j->kind].words, j->name);
		loop_timer_set(js->retry_timer, RETRY_MS, 0);
		return false;
	}
	return true;
}

void scheduler_run(struct jobs *js)
{
	struct job *j;

	if (!js->started)
		return;
	if (!end_stopping(js))
		return;
	while ((j = js->waiting.first) && fits(js, j)) {
		enum network_taken had = network_take(js->networks, j->id, (unsigned)j->host_count, &j->network);

		if (had == NETWORK_SOON) /* the kernel takes a moment to remove the interfaces of a job */
			loop_timer_set(js->soon_timer, NETWORK_MS, 0);
		if (had == NETWORK_SOON || had == NETWORK_LATER)
			break; /* until another job gives its addresses back */
		reserve(js, j);
		j->freezing = true;
		freezer_add(js->freezer, j);
	}
	tell_waiting(js);
	set_pending_timer(js);
}

void scheduler_tick(void *jobs)
{
	scheduler_run(jobs);
}

void scheduler_soon(struct jobs *js)
{
	loop_timer_set(js->soon_timer, 0, 0);
}

static void end_unlaunchable(struct jobs *js, struct job *j, const struct err *why)
{
	char text[4096];
	_cleanup_free_ char *reason = strf("%s: %s", err_info[why->kind].reason, err_text(why, text, sizeof(text)));
	struct job_change c = { .at = wall_now(), .failure_reason = reason, .durable = true };
	struct err e = { 0 };

	if (job_transition(js, j, EV_END_BAD, &c, &e) == 0)
		return;
	log_err(LOG_ERROR, &e, "%s %s cannot be ended", job_kind_info[j->kind].words, j->name);
	unreserve(js, j); /* and so it is tried again */
	loop_timer_set(js->retry_timer, RETRY_MS, 0);
}

static void launch(struct jobs *js, struct job *j)
{
	struct job_change c = { .at = wall_now(), .place = true, .durable = true };
	struct err e = { 0 };

	if (job_transition(js, j, EV_PLACE, &c, &e) < 0) {
		log_err(LOG_ERROR, &e, "%s %s cannot be placed yet", job_kind_info[j->kind].words, j->name);
		unreserve(js, j);
		loop_timer_set(js->retry_timer, RETRY_MS, 0);
		return;
	}
	for (size_t i = 0; i < j->host_count; i++) {
		js->via->launch(js->launcher, j->hosts[i].id);
		js->via->watch(js->launcher, j->hosts[i].id, j->hosts[i].last_fact);
	}
}

void scheduler_unfrozen(struct jobs *js, const char *id)
{
	_cleanup_free_ char *dir = strf("%s/jobs/%s", js->data_dir, id);
	struct err e = { 0 };

	if (remove_tree(AT_FDCWD, dir, &e) < 0)
		log_err(LOG_WARN, &e, "cleaning up %s", dir);
}

void scheduler_frozen(struct jobs *js, const char *id, bool lazy, const struct err *why)
{
	struct job *j = job_by_id(js, str_of(id));

	must(j);
	j->freezing = false;
	j->lazy = lazy;
	if (j->state == JOB_STOPPING)
		unreserve(js, j);
	else if (why)
		end_unlaunchable(js, j, why);
	else
		launch(js, j);
	scheduler_run(js);
}

int scheduler_end_stopped(struct jobs *js, struct job *j, const char *message, struct err *e)
{
	/* Not durable: a STOPPING job without a supervisor is ended at the next start as well. */
	struct job_change c = { .at = wall_now(), .message = message };

	return job_transition(js, j, EV_END_STOPPED, &c, e);
}

static void end_pending(struct jobs *js, struct job *j)
{
	_cleanup_free_ char *message = strf(
	        "Training job stopped: it waited for capacity longer than MaxPendingTimeInSeconds (%lld)",
	        (long long)j->needs.max_pending_s);
	struct job_change c = { .at = wall_now() };
	struct err e = { 0 };

	if (job_transition(js, j, EV_STOP, &c, &e) < 0 || scheduler_end_stopped(js, j, message, &e) < 0)
		log_err(LOG_ERROR, &e, "%s %s has waited too long, and cannot be ended", job_kind_info[j->kind].words,
		        j->name);
}

void scheduler_pending_over(void *jobs)
{
	struct jobs *js = jobs;
	int64_t now = wall_now().ms;
	struct job *next;

	for (struct job *j = js->waiting.first; j; j = next) {
		next = j->next;
		if (j->state != JOB_STOPPING && pending_deadline(j) <= now)
			end_pending(js, j);
	}
	scheduler_run(js);
}
