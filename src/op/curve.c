/* SPDX-License-Identifier: Apache-2.0 */
#include "op/curve.h"

#include <stdlib.h>

static void merge(struct curve_point *to, const struct curve_point *from)
{
	to->count += from->count;
	to->sum += from->sum;
	to->min = from->min < to->min ? from->min : to->min;
	to->max = from->max > to->max ? from->max : to->max;
}

/* Points of twice as many values. */
static void draw_together(struct curve *c)
{
	for (size_t i = 0; i < c->n; i++) {
		if (i % 2)
			merge(&c->points[i / 2], &c->points[i]);
		else
			c->points[i / 2] = c->points[i];
	}
	c->n = (c->n + 1) / 2;
	c->of_each *= 2;
}

static void add_point(struct curve *c, const struct curve_point *p)
{
	if (!c->points)
		c->points = xcalloc(2 * c->wanted, sizeof(*c->points));
	if (c->added++ % c->of_each) {
		merge(&c->points[c->n - 1], p);
		return;
	}
	if (c->n == 2 * c->wanted)
		draw_together(c);
	c->points[c->n++] = *p;
}

void curve_add_many(struct curve *c, struct wall at, double count, double sum, double min, double max)
{
	struct curve_point p = { at.ms, count, sum, min, max };

	if (c->count == 0) {
		c->first_ms = at.ms;
		c->of_each = 1;
		c->min = min;
		c->max = max;
	}
	c->count += count;
	c->min = min < c->min ? min : c->min;
	c->max = max > c->max ? max : c->max;
	c->last = sum / count;
	c->last_ms = at.ms;
	if (c->wanted)
		add_point(c, &p);
}

void curve_add(struct curve *c, struct wall at, double value)
{
	curve_add_many(c, at, 1, value, value, value);
}

void curve_fini(struct curve *c)
{
	free(c->points);
	*c = (struct curve){ 0 };
}

json_t *curve_to_json(const struct curve *c)
{
	json_t *j = json_pack("{s:I, s:f, s:f, s:f, s:f, s:f}", "Count", (json_int_t)c->count, "Last", c->last, "Min",
	                      c->min, "Max", c->max, "First", (double)c->first_ms / 1000, "LastTime",
	                      (double)c->last_ms / 1000);
	json_t *points;

	must(j);
	if (!c->wanted)
		return j;
	points = json_array();
	for (size_t i = 0; i < c->n; i++) {
		const struct curve_point *p = &c->points[i];

		json_array_append_new(
		        points, json_pack("[f, f, f, f]", (double)p->ms / 1000, p->min, p->max, p->sum / p->count));
	}
	json_object_set_new(j, "Points", points);
	return j;
}
