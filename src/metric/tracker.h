/* tracker.h - metrics that the training program writes itself, as the service's trackers do: files *.json in
 * /opt/ml/output/metrics/sagemaker, one JSON object a line (contract 6.3):
 *
 *   {"MetricName": "loss", "Value": 0.5, "Timestamp": 1692170805.2, "IterationNumber": 7}
 *
 * Value is a finite number; Timestamp is in seconds and lies between two weeks ago and in two hours, and is now when it
 * is missing; IterationNumber or Step is an integer or missing. All else is refused, counted, and the first told.
 *
 * The directory is the container's, who may put there whatever it wants to: it is opened below the container's root
 * without following any link or mount, files are opened without waiting and only when they are regular, and what is
 * read of them at a time is bounded. One thread.
 *
 * How far each file is read goes into the metrics file with its values ("files", by name and inode), so that who comes
 * after a kill -9 goes on there.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "metric/out.h"

#define TRACKER_DIRECTORY "opt/ml/output/metrics/sagemaker"
enum {
	TRACKER_FILES_MAX = 128,
	TRACKER_NAMES_MAX = 500, /* different metrics */
	TRACKER_LINE_MAX_BYTES = 16 << 10
};

struct tracker;
/* Of the container's root (borrowed). files: what an earlier one has left, may be NULL. say: a sentence for the job's
 * log. */
struct tracker *tracker_new(int root_fd, const json_t *files, void (*say)(void *arg, const char *text), void *arg);
void tracker_free(struct tracker *t); /* NULL is fine */
DEFINE_CLEANUP(struct tracker, tracker_free)
/* Reads what is new, about max_bytes of all files, and appends it to out with how far it has got: 1 when there may be
 * more, to be asked for when `out` is written; 0 at the end. last: a line without an end is one. */
int tracker_read(struct tracker *t, size_t max_bytes, bool last, struct metric_out *out);
/* How far files are read, if there are any; goes into the file before the counts. */
void tracker_note(const struct tracker *t, struct metric_out *out);

/* One line: true with the parts, or false with a reason. name is a view into *ret_json, which the caller releases. */
struct tracker_value {
	struct str name;
	double v;
	struct wall t;
	int64_t step;
	bool has_step;
};
bool tracker_parse(struct str line, struct wall now, struct tracker_value *ret, json_t **ret_json,
                   const char **ret_why);
