/* metrics.h - the parts of `bloomery metrics`: what the server says of a job's metrics (op/job_metrics.h), for people,
 * programs and gnuplot. Inside cli/ only; the command is in metrics.c.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "cli/access.h"
#include "cli/plot.h"

/* /bloomery/jobs/NAME/metrics<rest>; the caller frees. */
char *metrics_path(const char *job, const char *rest);

/* What is asked for. */
struct metrics_options {
	const char *job, *metric; /* metric: NULL for all */
	bool instance;
	unsigned points;
};
/* The server's answer; a new reference. ERR_NOT_FOUND: there is no such job. */
int metrics_ask(struct access *s, const struct metrics_options *o, json_t **ret, struct err *e) must_check;
/* The points of an entry of its Metrics; the caller frees. */
struct plot_point *metrics_points(const json_t *metric, size_t *ret_n);

/* ---- metrics_show.c ---- */

struct metrics_look {
	size_t columns; /* of the terminal */
	bool plot;      /* pictures below the table */
};
/* The table, how the definitions have done, and pictures. Times are in UTC. */
void metrics_show(const json_t *answer, const struct metrics_look *look, struct buf *out);
/* "loss: 120 of 10,000 lines; 3 refused (last: 'nan' is not a number)" */
void metrics_show_definition(const json_t *definition, struct buf *out);
void metrics_count(uint64_t n, struct buf *out); /* "10,000" */

/* ---- metrics_values.c: every value ---- */

/* Header and rows: time,metric,host,step,value,source. */
int metrics_csv(struct access *s, const struct metrics_options *o, FILE *to, struct err *e) must_check;
/* The answer without points; each metric with its values when one is named. */
int metrics_json(struct access *s, const struct metrics_options *o, struct err *e) must_check;

/* ---- metrics_png.c ---- */

/* The curves as a picture in a file, drawn by gnuplot. ERR_NOT_FOUND with what to install: there is none. */
int metrics_png(const json_t *answer, const char *path, struct err *e) must_check;
/* What gnuplot is told. */
void metrics_png_script(const json_t *answer, const char *output, struct buf *out);

/* ---- metrics_again.c: `try` and `refit` ---- */

int metrics_try(struct access *s, const struct cli_args *a, struct err *e) must_check;
int metrics_refit(struct access *s, const struct cli_args *a, struct err *e) must_check;
