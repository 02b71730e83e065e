/* Images looked into by bloomery-host, for threads that wait for what it says (op/preflight.h).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "job/control.h"

#define ENDING "the server is ending"

enum { LIMIT_MS = 12000, ORDER_MAX = 48 << 10 };

/* On the stack of who waits; in the list from on_ask to on_forget, both on the loop's thread. */
struct look {
	struct jobs *js;
	struct look *next;
	int64_t n;
	const json_t *order;
	struct { /* hold mu to touch anything in here */
		pthread_mutex_t mu;
		pthread_cond_t done;
		json_t *report;
		char *error;
	} shared;
};

static void ask(struct jobs *js, const struct look *l)
{
	if (js->launcher)
		js->via->check(js->launcher, l->n, l->order);
}

static void answer(struct look *l, json_t *report, struct str error)
{
	pthread_mutex_lock(&l->shared.mu);
	if (!l->shared.report && !l->shared.error) {
		l->shared.report = json_is_object(report) ? json_incref(report) : NULL;
		l->shared.error = l->shared.report ? NULL : str_dup(error);
		pthread_cond_signal(&l->shared.done);
	}
	pthread_mutex_unlock(&l->shared.mu);
}

static void on_ask(void *arg)
{
	struct look *l = arg;

	if (l->js->looks_over) {
		answer(l, NULL, STR(ENDING));
		return;
	}
	l->n = ++l->js->last_look;
	l->next = l->js->looks;
	l->js->looks = l;
	ask(l->js, l);
}

static void on_forget(void *arg)
{
	struct look *l = arg;

	for (struct look **at = &l->js->looks; *at; at = &(*at)->next)
		if (*at == l) {
			*at = l->next;
			break;
		}
}

void looks_go_on(struct jobs *js)
{
	for (struct look *l = js->looks; l; l = l->next)
		ask(js, l);
}

void looks_report(void *arg, int64_t n, json_t *report, struct str error)
{
	struct jobs *js = arg;
	struct look *l = js->looks;

	while (l && l->n != n)
		l = l->next;
	if (!l)
		return;
	answer(l, report, error);
}

void jobs_end_looks(struct jobs *js)
{
	js->looks_over = true;
	for (struct look *l = js->looks; l; l = l->next)
		answer(l, NULL, STR(ENDING));
}

static void wait_for(struct look *l)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += LIMIT_MS / 1000;
	pthread_mutex_lock(&l->shared.mu);
	while (!l->shared.report && !l->shared.error &&
	       pthread_cond_timedwait(&l->shared.done, &l->shared.mu, &until) != ETIMEDOUT)
		;
	pthread_mutex_unlock(&l->shared.mu);
}

int jobs_look_into(struct jobs *js, const json_t *order, json_t **ret, struct err *e)
{
	struct look l = { .js = js, .order = order };
	_cleanup_free_ char *text = json_dumps(order, JSON_COMPACT);
	pthread_condattr_t clock;
	int rc = 0;

	if (!js->via->check)
		return err_set(e, ERR_BUSY, "with `launcher = hand` images are not where this server is");
	if (!text || strlen(text) > ORDER_MAX)
		return err_set(e, ERR_BUSY, "the entrypoint and its arguments are too long to be looked at");
	pthread_mutex_init(&l.shared.mu, NULL);
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&l.shared.done, &clock);
	pthread_condattr_destroy(&clock);
	loop_call(js->loop, on_ask, &l);
	wait_for(&l);
	loop_call(js->loop, on_forget, &l);
	if (l.shared.report)
		*ret = l.shared.report;
	else
		rc = err_set(e, ERR_BUSY, "%s",
		             l.shared.error ? l.shared.error
		                            : "bloomery-host has not answered in time; its registry may be slow");
	free(l.shared.error);
	pthread_cond_destroy(&l.shared.done);
	pthread_mutex_destroy(&l.shared.mu);
	return rc;
}
