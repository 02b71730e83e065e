/* invoke.c - one request, its retries, and what becomes of its answer.  SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>

#include "transform/datalog.h"
#include "transform/inside.h"

enum { WAIT_FIRST_MS = 200, TOO_MANY = 429, TOO_SLOW = 408, TOO_LARGE = 413 };

/* 4xx is what the container thinks of the records, and will be the same again. */
static bool worth_retrying(const struct post_reply *r)
{
	return !r->local && (r->status == 0 || r->status >= 500 || r->status == TOO_MANY || r->status == TOO_SLOW);
}

/* False: it is to end. */
static bool wait_before(const struct deal *d, unsigned attempt)
{
	struct pollfd stop = { .fd = d->o->stop_fd, .events = POLLIN };

	return poll(&stop, 1, WAIT_FIRST_MS << attempt) == 0;
}

/* Where a request is in the pipeline, and what has become of it so far. */
struct step {
	unsigned container;
	struct str body;
	const char *type; /* of body */
	unsigned tries;   /* that did not help, of the whole request */
	struct post_reply reply;
};

static int post_once(struct deal *d, struct poster *p, struct task *t, struct step *s, struct err *e)
{
	const struct work *w = d->o->work;
	bool first = s->container == 0, streamed = first && t->stream, part = first && t->part;
	uint64_t lines = 0;
	struct post post = { .content_type = s->type,
		             .accept = s->container + 1 == w->container_count ? w->accept : NULL,
		             .body = s->body,
		             .stream = streamed ? t->stream : NULL,
		             .is_part = part,
		             .file = t->object->file,
		             .at = t->at,
		             .size = t->part,
		             .chunked = !d->o->terms.payload_mb,
		             .lines = part || (streamed && w->split == SPLIT_LINE) ? &lines : NULL,
		             .timeout_s = w->timeout_s };
	int rc;

	buf_reset(&s->reply.refusal);
	result_fini(&t->result);
	if (streamed)
		reader_rewind(t->stream);
	rc = poster_invoke(p, &post, &t->result, &s->reply, e);
	if (rc == 0 && (streamed || part))
		t->records = post.lines ? lines + t->open : 1;
	return rc;
}

/* One container's answer, into t->result. */
static int post_until(struct deal *d, struct poster *p, struct task *t, struct step *s, struct err *e)
{
	int rc;

	do {
		e->kind = ERR_NONE;
		rc = post_once(d, p, t, s, e);
	} while (rc < 0 && worth_retrying(&s->reply) && s->tries < d->o->work->retries && wait_before(d, s->tries++));
	return rc;
}

/* What the container before answered is what this one is asked. */
static int pass_on(struct deal *d, struct poster *p, struct task *t, struct step *s, struct err *e)
{
	_cleanup_free_ char *type = strf(PRIstr, ARGstr(buf_view(&s->reply.type)));
	struct result before = t->result;
	int rc = result_view(&before, &s->body, e);

	result_init(&t->result, &d->house);
	s->container++;
	s->type = type;
	s->reply.local = rc < 0;
	if (rc == 0) {
		rc = post_until(d, p, t, s, e);
		result_unview(&before, s->body);
	}
	result_fini(&before);
	s->type = NULL;
	return rc;
}

/* What it answered can be the fault of one record, and not of how many or how often. */
static bool is_of_a_record(const struct post_reply *r)
{
	return r->status != TOO_MANY && r->status != TOO_SLOW && r->status != TOO_LARGE;
}

/* Of a part the records are only counted when they are to be told. False: they cannot be. */
static bool count(struct task *t)
{
	bool counted = !t->part || (reader_count_lines(t->object->file, 0, t->at, &t->first, NULL) == 0 &&
	                            reader_count_lines(t->object->file, t->at, t->part, &t->records, NULL) == 0);

	t->records += t->open;
	return counted;
}

static int about_one(uint64_t record, uint64_t at, struct err *e)
{
	return err_in(e, "record %llu at byte %llu", (unsigned long long)record, (unsigned long long)at);
}

/* Which of the records it is about. */
static int about(struct task *t, struct err *e)
{
	if (t->stream)
		return err_in(e, "all of it");
	if (!count(t))
		return err_in(e, "the records from byte %llu on", (unsigned long long)t->at);
	if (t->records == 1)
		return about_one(t->first + 1, t->at, e);
	return err_in(e, "records %llu to %llu from byte %llu on", (unsigned long long)(t->first + 1),
	              (unsigned long long)(t->first + t->records), (unsigned long long)t->at);
}

/* Of a request of many the container does not say which one it did not like, but it can be found out. */
static void tell_refusal(struct deal *d, struct poster *p, struct task *t, struct str body, struct err *why)
{
	uint64_t record, at;

	if (culprit(d, p, t, body, &record, &at) && count(t))
		(void)about_one(t->first + record + 1, t->at + at, why);
	else
		(void)about(t, why);
}

static int post(struct deal *d, struct poster *const *posters, struct task *t, struct str body)
{
	struct step s = { .body = body, .type = d->o->work->content_type };
	struct err why = { 0 };
	int rc = post_until(d, posters[0], t, &s, &why);

	while (rc == 0 && s.container + 1 < d->o->work->container_count)
		rc = pass_on(d, posters[s.container + 1], t, &s, &why);
	if (rc < 0) {
		bool refused = s.reply.status != 0 && !s.reply.local;

		if (refused && !s.container && is_of_a_record(&s.reply))
			tell_refusal(d, posters[0], t, body, &why);
		else
			(void)about(t, &why);
		if (refused)
			datalog_refusal(d->o->work->log, str_of(t->object->name), s.reply.status,
			                buf_view(&s.reply.refusal));
		deal_fail(d, t->object, &why,
		          refused         ? NULL
		          : s.reply.local ? ""
		                          : "Unable to get response from algorithm");
	}
	post_reply_fini(&s.reply);
	return rc;
}

/* ---- DataProcessing ---- */

/* The record that a filter failed at: the bad-th of the request's. */
static void blame(struct deal *d, struct task *t, size_t bad, struct err *why)
{
	struct str rest = buf_view(&t->payload);
	uint64_t at = t->at;

	for (size_t i = 0; bad != PROCESS_ALL && i < bad && i + 1 < t->records && rest.n; i++) {
		size_t before = rest.n;

		str_cut(&rest, '\n');
		at += before - rest.n;
	}
	if (bad == PROCESS_ALL)
		(void)about(t, why);
	else
		(void)err_in(why, "record %llu at byte %llu", (unsigned long long)(t->first + bad + 1),
		             (unsigned long long)at);
	deal_fail(d, t->object, why, "");
}

/* What goes out for the records: those themselves, or what the filter leaves of them, in *scratch. */
static int filtered(struct deal *d, struct task *t, struct buf *scratch, struct str *ret)
{
	struct err why = { 0 };
	size_t bad = 0;

	*ret = buf_view(&t->payload);
	if (!process_filters_input(d->o->work->process))
		return 0;
	if (process_input(d->o->work->process, *ret, scratch, &bad, &why) < 0) {
		blame(d, t, bad, &why);
		return -1;
	}
	*ret = buf_view(scratch);
	return 0;
}

static void finished(struct deal *d, struct task *t)
{
	_cleanup_buf_ struct buf out = { 0 };
	struct err why = { 0 };
	struct str answer;
	size_t bad = 0;
	int rc;

	if (!process_changes_output(d->o->work->process))
		return;
	rc = result_view(&t->result, &answer, &why);
	if (rc == 0) {
		rc = process_output(d->o->work->process, buf_view(&t->payload), answer, &out, &bad, &why);
		result_unview(&t->result, answer);
		if (rc < 0) {
			blame(d, t, bad, &why);
			return;
		}
		result_fini(&t->result);
		rc = result_add(&t->result, buf_view(&out), &why);
	}
	if (rc < 0)
		deal_fail(d, t->object, &why, "");
}

void invoke(struct deal *d, struct poster *const *posters, struct task *t)
{
	_cleanup_buf_ struct buf scratch = { 0 };
	uint64_t bytes = t->part ? t->part : t->payload.n;
	struct str body;

	if (deal_failed(d, t->object) || filtered(d, t, &scratch, &body) < 0 || post(d, posters, t, body) < 0)
		return;
	finished(d, t);
	if (d->o->progress)
		d->o->progress(d->o->arg, t->records, bytes);
}
