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
	return memcmp(((const struct job_host *)a)->id, ((const struct job_host *)b)->id, JOB_ID_BYTES);
}

struct job_host *host_by_id(struct jobs *js, struct str id)
{
	struct job_host key = { 0 }, *const * found;

	if (id.n != JOB_ID_BYTES - 1)
		return NULL;
	memcpy(key.id, id.p, id.n);
	found = tfind(&key, &js->by_id, compare_id);
	return found ? *found : NULL;
}

struct job *job_by_id(struct jobs *js, struct str id)
{
	struct job_host *h = host_by_id(js, id);

	return h ? h->job : NULL;
}

void host_reserve(struct jobs *js, struct job_host *h)
{
	if (h->reserved)
		return;
	js->used.cpus += h->share.cpus;
	js->used.memory_bytes += h->share.memory_bytes;
	h->reserved = true;
}

void host_release(struct jobs *js, struct job_host *h)
{
	if (!h->reserved)
		return;
	js->used.cpus -= h->share.cpus;
	js->used.memory_bytes -= h->share.memory_bytes;
	gpu_pool_give(js->gpus, h->id);
	h->reserved = false;
}

static void job_free(struct job *j)
{
	for (size_t i = 0; i < j->host_count; i++) {
		struct job_host *h = &j->hosts[i];

		job_limits_fini(&h->limits);
		free(h->failure);
		free(h->result);
		free(h->parts);
	}
	free(j->hosts);
	capacity_needs_fini(&j->needs);
	free(j->failure);
	free(j->ungathered);
	free(j->name);
	free(j->arn);
	free(j);
}

static void set_state(struct job *j, enum job_state state)
{
	j->state = state;
}

/* From the work order that it was launched with. One that cannot be read may be anything. */
static void read_orders(struct jobs *js, struct job *j)
{
	j->lazy = false;
	for (size_t i = 0; i < j->host_count; i++) {
		_cleanup_free_ char *dir = strf("%s/jobs/%s", js->data_dir, j->hosts[i].id);
		struct job_spec s;

		if (spec_load(dir, &s, NULL) < 0) {
			j->lazy = true;
			continue;
		}
		j->lazy |= lists_are_lazy(&s);
		network_known(js->networks, j->id, &s.network);
		if (!host_is_over(&j->hosts[i]))
			gpu_pool_known(js->gpus, j->hosts[i].id, s.gpu, s.gpu_count);
		spec_fini(&s);
	}
}

/* A row of several. */
static int load_host(const struct stored_host *row, void *arg, struct err *e)
{
	struct job *j = arg;
	struct job_host *h;

	if (row->number < 1 || row->number > j->host_count)
		return err_set(e, ERR_IO, "%s %s has a host %u too many in the database", job_kind_info[j->kind].words,
		               j->name, row->number);
	h = &j->hosts[row->number - 1];
	memcpy(h->id, row->id, sizeof(h->id));
	h->last_fact = row->last_fact;
	h->phase = row->phase;
	h->failed = row->failed;
	h->failure = row->failure ? xstrdup(row->failure) : NULL;
	h->result = row->result ? xstrdup(row->result) : NULL;
	h->parts = row->parts ? xstrdup(row->parts) : NULL;
	if (j->placed)
		h->share = (struct capacity_share){ row->cpus, row->memory_bytes };
	return 0;
}

static int load_hosts(struct jobs *js, const struct stored_job *row, struct job *j, struct err *e)
{
	j->host_count = capacity_hosts(&j->needs);
	j->hosts = xcalloc(j->host_count, sizeof(*j->hosts));
	for (size_t i = 0; i < j->host_count; i++) {
		struct job_host *h = &j->hosts[i];

		h->job = j;
		h->number = (unsigned)i + 1;
		capacity_host_limits(&js->capacity, &j->needs, h->number, &h->limits, &h->share);
	}
	memcpy(j->hosts[0].id, j->id, sizeof(j->id));
	j->hosts[0].last_fact = j->last_fact;
	if (j->host_count == 1 &&
	    j->placed) /* what it was given when it was placed counts, whatever the machine is now */
		j->hosts[0].share = (struct capacity_share){ row->cpus, row->memory_bytes };
	if (j->host_count > 1 && store_hosts_each(js->store, j->n, load_host, j, e) < 0)
		return -1;
	for (size_t i = 0; i < j->host_count; i++) {
		struct job_host *h = &j->hosts[i];

		if (!job_id_valid(str_of(h->id)))
			return err_set(e, ERR_IO, "host %zu of %s %s is missing in the database", i + 1,
			               job_kind_info[j->kind].words, j->name);
		j->share.cpus += h->share.cpus;
		j->share.memory_bytes += h->share.memory_bytes;
	}
	return 0;
}

int job_load(struct jobs *js, const struct stored_job *row, struct job **ret, struct err *e)
{
	struct capacity_needs needs;
	struct job *j;

	if (capacity_needs_parse(row->needs, &needs, e) < 0)
		return err_in(e, "reading %s %s", job_kind_info[row->kind].words, row->name);
	j = xcalloc(1, sizeof(*j));
	j->n = row->n;
	j->kind = row->kind;
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
	if (load_hosts(js, row, j, e) < 0) {
		job_free(j);
		return -1;
	}
	for (size_t i = 0; i < j->host_count; i++) {
		must(tsearch(&j->hosts[i], &js->by_id, compare_id));
		if (j->placed && !host_is_over(&j->hosts[i]))
			host_reserve(js, &j->hosts[i]);
	}
	if (j->placed)
		read_orders(js, j);
	list_insert_in_order(j->placed ? &js->running : &js->waiting, j);
	*ret = j;
	return 0;
}

void job_drop(struct jobs *js, struct job *j)
{
	network_give(js->networks, j->id);
	list_remove(j);
	for (size_t i = 0; i < j->host_count; i++) {
		host_release(js, &j->hosts[i]);
		tdelete(&j->hosts[i], &js->by_id, compare_id);
	}
	job_free(j);
}

/* Cuts between characters. */
char *reason_cut(const char *reason, size_t max)
{
	size_t n = 0, characters = 0;

	if (!utf8_valid(str_of(reason)))
		return xstrdup("InternalServerError: the reason given was not UTF-8. See the job's log.");
	while (reason[n] && characters < max) {
		n++;
		while (((unsigned char)reason[n] & 0xc0) == 0x80)
			n++;
		characters++;
	}
	return str_dup((struct str){ reason, n });
}

/* FailureReason has at most 1024 characters. */
static char *cut_reason(const char *reason)
{
	return reason_cut(reason, REASON_MAX);
}

static struct store_move move_of(const struct job *j, enum job_state to, const struct job_change *c)
{
	struct store_move m = { .n = j->n,
		                .from = j->state,
		                .to = to,
		                .seen = j->last_fact,
		                .fact = j->last_fact + (c->fact != 0),
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

static struct store_host_move host_move_of(const struct host_change *hc, uint64_t fact)
{
	const struct job_host *h = hc->host;

	return (struct store_host_move){ .number = h->number,
		                         .seen = h->last_fact,
		                         .fact = fact ? fact : h->last_fact,
		                         .phase = hc->phase,
		                         .result = hc->result,
		                         .failure = hc->failure,
		                         .exit = hc->exit,
		                         .parts = hc->parts,
		                         .failed = hc->failed };
}

static void set_text(char **at, const char *value)
{
	if (!value)
		return;
	free(*at);
	*at = xstrdup(value);
}

/* What is stored is so in memory as well. */
static void moved(struct job *j, const struct store_move *m, const struct job_change *c)
{
	const struct host_change *hc = c->host;
	struct job_host *h = hc ? hc->host : &j->hosts[0];

	j->last_fact = m->fact;
	j->modified = m->at;
	if (c->fact)
		h->last_fact = c->fact;
	if (!hc)
		return;
	if (h->phase != hc->phase)
		h->told = HOST_TOLD_NOTHING;
	h->phase = hc->phase;
	if (hc->failed.ms)
		h->failed = hc->failed;
	set_text(&h->failure, hc->failure);
	set_text(&h->result, hc->result);
	set_text(&h->parts, hc->parts);
}

static int move(struct jobs *js, struct job *j, struct store_move *m, const struct job_change *c, struct err *e)
{
	struct store_host_move host;
	struct err why = { 0 };

	if (c->host) {
		host = host_move_of(c->host, c->fact);
		m->host = &host;
	}
	if (store_job_move(js->store, m, &why) == 0) {
		m->host = NULL;
		moved(j, m, c);
		return 0;
	}
	/* Nobody else writes, so the store is as we know it, or we are wrong about everything: start over from disk. */
	must(why.kind != ERR_IN_USE);
	if (e)
		*e = why;
	return err_in(e, "%s %s", job_kind_info[j->kind].words, j->name);
}

/* Of several hosts, else NULL. */
static struct store_host_share *shares_of(const struct job *j)
{
	struct store_host_share *shares = j->host_count > 1 ? xcalloc(j->host_count, sizeof(*shares)) : NULL;

	for (size_t i = 0; shares && i < j->host_count; i++)
		shares[i] = (struct store_host_share){ j->hosts[i].share.cpus, j->hosts[i].share.memory_bytes };
	return shares;
}

/* When a transition has to be on disk at once: where it answers a caller (Stop), or comes before something that cannot
 * be taken back (a launch). What a fact causes need not be: power loss takes the transition and the number of the fact
 * together, the journal still has the fact (it was synced before it was sent), and it is asked for again. */
int job_transition(struct jobs *js, struct job *j, enum job_event event, const struct job_change *c, struct err *e)
{
	int to = job_next(j->state, event);
	const struct job_state_info *info;
	_cleanup_free_ struct store_host_share *shares = NULL;
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
		m.host_shares = shares = shares_of(j);
		m.host_count = j->host_count;
	}
	if (move(js, j, &m, c, e) < 0)
		return -1;
	if ((enum job_state)to != j->state)
		log_info("%s %s: %s → %s (%s)%s%s", job_kind_info[j->kind].words, j->name,
		         job_state_info[j->state].name, info->name, job_event_name[event], reason ? ": " : "",
		         reason ? reason : "");
	set_state(j, (enum job_state)to);
	if (m.started.ms)
		j->started = m.started;
	j->placed |= c->place;
	if (info->final) {
		job_drop(js, j);
		cleanup_soon(js);
		scheduler_soon(js);
		jobs_news(js);
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
	if (move(js, j, &m, c, e) < 0)
		return -1;
	if (reason) {
		free(j->failure);
		j->failure = take_ptr(reason);
	}
	return 0;
}
