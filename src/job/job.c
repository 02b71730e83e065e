/* One job in memory, and the only code that changes its state. SPDX-License-Identifier: Apache-2.0 */
#include <search.h>
#include <stdlib.h>

#include "base/log.h"
#include "job/control.h"
#include "job/lists.h"

enum { REASON_MAX = 1024 }; /* characters of FailureReason, in the model */

void list_append(struct job_list *list, struct job *j)
{
	j->in = list;
	j->next = NULL;
	j->prev = list->last;
	if (list->last)
		list->last->next = j;
	else
		list->first = j;
	list->last = j;
}

void list_insert_in_order(struct job_list *list, struct job *j)
{
	struct job *after = list->last;

	while (after && after->n > j->n)
		after = after->prev;
	if (after == list->last) {
		list_append(list, j);
		return;
	}
	j->in = list;
	j->prev = after;
	j->next = after ? after->next : list->first;
	j->next->prev = j;
	if (after)
		after->next = j;
	else
		list->first = j;
}

void list_remove(struct job *j)
{
	struct job_list *list = j->in;

	if (!list)
		return;
	if (j->prev)
		j->prev->next = j->next;
	else
		list->first = j->next;
	if (j->next)
		j->next->prev = j->prev;
	else
		list->last = j->prev;
	j->in = NULL;
	j->prev = j->next = NULL;
}

static int compare_id(const void *a, const void *b)
{
	return memcmp(((const struct job *)a)->id, ((const struct job *)b)->id, JOB_ID_BYTES);
}

struct job *job_by_id(struct jobs *js, struct str id)
{
	struct job key = { 0 }, *const * found;

	if (id.n != JOB_ID_BYTES - 1)
		return NULL;
	memcpy(key.id, id.p, id.n);
	found = tfind(&key, &js->by_id, compare_id);
	return found ? *found : NULL;
}

static void job_free(struct job *j)
{
	capacity_needs_fini(&j->needs);
	job_limits_fini(&j->limits);
	free(j->failure);
	free(j->name);
	free(j->arn);
	free(j);
}

static void set_state(struct job *j, enum job_state state)
{
	j->state = state;
}

/* From the work order that it was launched with. One that cannot be read may be anything. */
static bool is_lazy(const struct jobs *js, const struct job *j)
{
	_cleanup_free_ char *dir = strf("%s/jobs/%s", js->data_dir, j->id);
	struct job_spec s;
	bool lazy = true;

	if (spec_load(dir, &s, NULL) == 0) {
		lazy = lists_are_lazy(&s);
		spec_fini(&s);
	}
	return lazy;
}

int job_load(struct jobs *js, const struct stored_job *row, struct job **ret, struct err *e)
{
	struct capacity_needs needs;
	struct job *j;

	if (capacity_needs_parse(row->needs, &needs, e) < 0)
		return err_in(e, "reading training job %s", row->name);
	j = xcalloc(1, sizeof(*j));
	j->n = row->n;
	memcpy(j->id, row->id, sizeof(j->id));
	j->name = xstrdup(row->name);
	j->arn = xstrdup(row->arn);
	set_state(j, row->state);
	j->last_fact = row->last_fact;
	j->created = row->created;
	j->started = row->started;
	j->modified = row->modified;
	j->needs = needs;
	j->placed = row->placed.ms != 0;
	j->failure = row->failure_reason ? xstrdup(row->failure_reason) : NULL;
	capacity_limits(&js->capacity, &j->needs, &j->limits, &j->share);
	if (j->placed) { /* what it was given when it was placed counts, whatever the machine is now */
		j->share = (struct capacity_share){ row->cpus, row->memory_bytes };
		js->used.cpus += j->share.cpus;
		js->used.memory_bytes += j->share.memory_bytes;
	}
	j->lazy = j->placed && is_lazy(js, j);
	list_insert_in_order(j->placed ? &js->running : &js->waiting, j);
	must(tsearch(j, &js->by_id, compare_id));
	*ret = j;
	return 0;
}

void job_drop(struct jobs *js, struct job *j)
{
	if (j->in == &js->running) {
		js->used.cpus -= j->share.cpus;
		js->used.memory_bytes -= j->share.memory_bytes;
	}
	list_remove(j);
	tdelete(j, &js->by_id, compare_id);
	job_free(j);
}

/* FailureReason has at most 1024 characters; cuts between characters. */
static char *cut_reason(const char *reason)
{
	size_t n = 0, characters = 0;

	if (!utf8_valid(str_of(reason)))
		return xstrdup("InternalServerError: the reason given was not UTF-8. See the job's log.");
	while (reason[n] && characters < REASON_MAX) {
		n++;
		while (((unsigned char)reason[n] & 0xc0) == 0x80)
			n++;
		characters++;
	}
	return str_dup((struct str){ reason, n });
}

static struct store_move move_of(const struct job *j, enum job_state to, const struct job_change *c)
{
	struct store_move m = { .n = j->n,
		                .from = j->state,
		                .to = to,
		                .seen = j->last_fact,
		                .fact = c->fact ? c->fact : j->last_fact,
		                .at = c->at,
		                .message = c->message,
		                .exit = c->exit,
		                .image_digest = c->image_digest,
		                .durable = c->durable };

	/* Clocks are set back, and a fact is older than what happened here since: time does not go back in a job. */
	if (m.at.ms < j->modified.ms)
		m.at = j->modified;
	return m;
}

static int move(struct jobs *js, struct job *j, const struct store_move *m, struct err *e)
{
	struct err why = { 0 };

	if (store_job_move(js->store, m, &why) == 0)
		return 0;
	/* Nobody else writes, so the store is as we know it, or we are wrong about everything: start over from disk. */
	must(why.kind != ERR_IN_USE);
	if (e)
		*e = why;
	return err_in(e, "training job %s", j->name);
}

/* When a transition has to be on disk at once: where it answers a caller (Stop), or comes before something that cannot
 * be taken back (a launch). What a fact causes need not be: power loss takes the transition and the number of the fact
 * together, the journal still has the fact (it was synced before it was sent), and it is asked for again. */
int job_transition(struct jobs *js, struct job *j, enum job_event event, const struct job_change *c, struct err *e)
{
	int to = job_next(j->state, event);
	const struct job_state_info *info;
	_cleanup_free_ char *reason = NULL;
	struct store_move m;

	must(to >= 0);
	info = &job_state_info[to];
	m = move_of(j, to, c);
	if (to == JOB_FAILED) {
		reason = cut_reason(
		        c->failure_reason && *c->failure_reason
		                ? c->failure_reason
		                : "InternalServerError: We encountered an internal error. Please try again.");
		m.failure_reason = reason;
	}
	if ((event == EV_DOWNLOAD || event == EV_TRAIN) && !j->started.ms)
		m.started = m.at;
	if (info->final) {
		m.ended = m.at;
		m.forget = true;
	}
	if (c->place) {
		m.placed = m.at;
		m.cpus = j->share.cpus;
		m.memory_bytes = j->share.memory_bytes;
	}
	if (move(js, j, &m, e) < 0)
		return -1;
	if ((enum job_state)to != j->state)
		log_info("training job %s: %s → %s (%s)%s%s", j->name, job_state_info[j->state].name, info->name,
		         job_event_name[event], reason ? ": " : "", reason ? reason : "");
	set_state(j, (enum job_state)to);
	j->last_fact = m.fact;
	j->modified = m.at;
	if (m.started.ms)
		j->started = m.started;
	j->placed |= c->place;
	if (info->final) {
		job_drop(js, j);
		cleanup_soon(js);
		scheduler_soon(js);
	}
	return 0;
}

int job_note(struct jobs *js, struct job *j, const struct job_change *c, struct err *e)
{
	struct store_move m = move_of(j, j->state, c);
	_cleanup_free_ char *reason = c->failure_reason ? cut_reason(c->failure_reason) : NULL;

	m.failure_reason = reason;
	if (!c->message) /* LastModifiedTime is of what a caller can see */
		m.at = j->modified;
	if (move(js, j, &m, e) < 0)
		return -1;
	j->last_fact = m.fact;
	j->modified = m.at;
	if (reason) {
		free(j->failure);
		j->failure = take_ptr(reason);
	}
	return 0;
}
