/* What is found in the images of algorithms that are to be certified, on the loop's thread.
 *
 * bloomery-host has the images scanned. What it says is kept here for as long as the process lives: the statuses of an
 * algorithm are in its row, and after a restart one that has not come to its end has its images scanned again.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <stdlib.h>

#include "base/log.h"
#include "job/control.h"

enum { KEPT_MAX = 256, REASON_MAX = 1024 };

struct scanned {
	char *image;
	bool done;
	char *failure; /* NULL: it has passed */
	struct mono asked;
};

struct scans {
	struct scanned *v; /* in the order they were asked for */
	size_t n;
};

/* An answer can be lost; bloomery-host ignores questions that it works at. */
enum { AGAIN_MS = 30000 };

struct scans *scans_new(void)
{
	return xcalloc(1, sizeof(struct scans));
}

static void drop(struct scans *s, size_t i)
{
	free(s->v[i].image);
	free(s->v[i].failure);
	memmove(&s->v[i], &s->v[i + 1], (--s->n - i) * sizeof(*s->v));
}

void scans_free(struct scans *s)
{
	if (!s)
		return;
	while (s->n)
		drop(s, s->n - 1);
	free(s->v);
	free(s);
}

static struct scanned *find(struct scans *s, struct str image)
{
	for (size_t i = 0; i < s->n; i++)
		if (str_is(image, s->v[i].image))
			return &s->v[i];
	return NULL;
}

static struct scanned *add(struct scans *s, const char *image)
{
	for (size_t i = 0; s->n >= KEPT_MAX && i < s->n; i++)
		if (s->v[i].done) {
			drop(s, i);
			break;
		}
	s->v = xrealloc(s->v, (s->n + 1) * sizeof(*s->v));
	s->v[s->n++] = (struct scanned){ .image = xstrdup(image) };
	return &s->v[s->n - 1];
}

static struct scanned *ask(struct jobs *js, const char *image)
{
	struct scanned *x = find(js->scans, str_of(image));

	if (!x)
		x = add(js->scans, image);
	if (x->done || (x->asked.ns && mono_ms_since(x->asked) < AGAIN_MS))
		return x;
	if (js->launcher && js->via->scan) {
		x->asked = mono_now();
		js->via->scan(js->launcher, image);
	}
	return x;
}

/* One image's status, under a name of its own. */
static void add_status(struct jobs *js, const char *name, const char *image, json_t *statuses, char **failure,
                       bool *under_way)
{
	const struct scanned *x = ask(js, image);
	json_t *j = json_pack("{ss ss}", "Name", name, "Status",
	                      !x->done     ? "InProgress"
	                      : x->failure ? "Failed"
	                                   : "Completed");

	must(j);
	if (!x->done)
		*under_way = true;
	if (x->failure) {
		_cleanup_free_ char *reason = reason_cut(x->failure, REASON_MAX);

		json_object_set_new(j, "FailureReason", json_string(reason));
		if (!*failure)
			*failure = strf("the scan of image %s: %s", image, x->failure);
	}
	json_array_append_new(statuses, j);
}

static enum scans_outcome go_on(struct jobs *js, const json_t *request, const char *image, json_t **ret_statuses,
                                char **ret_failure)
{
	const json_t *inference = json_object_get(request, "InferenceSpecification");
	const json_t *containers = json_object_get(inference, "Containers"), *c;
	bool under_way = false;
	size_t i;

	*ret_statuses = json_array();
	*ret_failure = NULL;
	if (!json_is_true(json_object_get(request, "CertifyForMarketplace")))
		return SCANS_PASSED;
	add_status(js, "TrainingImage", image, *ret_statuses, ret_failure, &under_way);
	json_array_foreach (containers, i, c) {
		const char *own = json_string_value(json_object_get(c, "Image"));
		_cleanup_free_ char *name = strf("InferenceImage-%zu", i + 1);

		if (own)
			add_status(js, name, own, *ret_statuses, ret_failure, &under_way);
	}
	return under_way ? SCANS_UNDER_WAY : *ret_failure ? SCANS_FAILED : SCANS_PASSED;
}

struct call {
	struct jobs *js;
	const json_t *request;
	const char *image;
	json_t **ret_statuses;
	char **ret_failure;
	enum scans_outcome outcome;
};

static void on_call(void *arg)
{
	struct call *c = arg;

	c->outcome = go_on(c->js, c->request, c->image, c->ret_statuses, c->ret_failure);
}

enum scans_outcome jobs_scans(struct jobs *js, const json_t *request, const char *image, json_t **ret_statuses,
                              char **ret_failure)
{
	struct call c = { js, request, image, ret_statuses, ret_failure, SCANS_UNDER_WAY };

	loop_call(js->loop, on_call, &c);
	return c.outcome;
}

void scans_again(struct jobs *js)
{
	for (size_t i = 0; i < js->scans->n; i++)
		if (!js->scans->v[i].done) {
			js->scans->v[i].asked = (struct mono){ 0 };
			ask(js, js->scans->v[i].image);
		}
}

void scans_take(void *arg, struct str image, bool passed, struct str reason)
{
	struct jobs *js = arg;
	struct scanned *x = find(js->scans, image);

	if (!x || x->done)
		return;
	x->done = true;
	x->failure = passed ? NULL : str_dup(reason.n ? reason : STR("it says nothing of why"));
	log_info("image " PRIstr " is scanned%s%s", ARGstr(image), passed ? ", and has passed" : ": ",
	         passed ? "" : x->failure);
	jobs_news(js);
}
