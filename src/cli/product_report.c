/* The report of a product: what a buyer wants to know, as one page of HTML without scripts and without anything from
 * elsewhere. Every text in it was somebody's input, and is escaped.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "cli/product.h"

enum { WIDTH = 560, HEIGHT = 120, MARGIN = 4, LOG_SHOWN = 16 << 10, FINDINGS_SHOWN = 50, PACKAGES_SHOWN = 5000 };

static const char head[] =
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<style>\n"
        "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 "
        "1em;color:#222;background:#fff}\n"
        "h1,h2,h3{line-height:1.2}h2{margin-top:2em;border-bottom:1px solid #ccc}\n"
        "table{border-collapse:collapse;margin:.5em 0}th,td{text-align:left;vertical-align:top;padding:.2em .8em .2em "
        "0;"
        "border-bottom:1px solid #eee}\n"
        "code,pre{font:13px/1.4 "
        "ui-monospace,monospace}pre{background:#f6f6f6;padding:.8em;overflow:auto;max-height:30em}\n"
        ".high{color:#b00020}.medium{color:#9a6700}.good{color:#116329}svg{background:#f6f6f6;display:block}\n"
        "polyline{fill:none;stroke:#0550ae;stroke-width:1.5}details{margin:.5em 0}\n"
        "</style>\n";

/* ---- pieces ---- */

static void put_text(struct buf *b, struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		switch (c) {
		case '<': buf_z(b, "&lt;"); break;
		case '>': buf_z(b, "&gt;"); break;
		case '&': buf_z(b, "&amp;"); break;
		case '"': buf_z(b, "&quot;"); break;
		case '\'': buf_z(b, "&#39;"); break;
		default:
			if (c < 0x20 && c != '\n' && c != '\t')
				buf_z(b, "&#xFFFD;");
			else
				buf_c(b, (char)c);
		}
	}
}

static void put_z(struct buf *b, const char *z)
{
	put_text(b, str_of(z));
}

static const char *text_in(const json_t *j, const char *member)
{
	const char *z = json_string_value(json_object_get(j, member));

	return z ? z : "";
}

/* What a hyperparameter may be: "1 to 100", or its values. */
static bool put_range(struct buf *b, const json_t *v)
{
	const json_t *spec = NULL, *value, *low, *high;
	const char *key;
	size_t i;

	json_object_foreach ((json_t *)v, key, value)
		if (strstr(key, "ParameterRangeSpecification"))
			spec = value;
	low = json_object_get(spec, "MinValue");
	high = json_object_get(spec, "MaxValue");
	if (json_is_string(low) && json_is_string(high)) {
		put_z(b, json_string_value(low));
		buf_z(b, " to ");
		put_z(b, json_string_value(high));
		return true;
	}
	json_array_foreach (json_object_get(spec, "Values"), i, value) {
		buf_z(b, i ? ", " : "");
		put_z(b, json_is_string(value) ? json_string_value(value) : "?");
	}
	return json_array_size(json_object_get(spec, "Values")) > 0;
}

/* A value for people: lists with commas, members of objects on lines of their own. */
static void put_value(struct buf *b, const json_t *v)
{
	_cleanup_free_ char *text = NULL;
	const json_t *one;
	const char *key;
	size_t i, n = 0;

	if (!v) {
		buf_z(b, "&ndash;");
	} else if (json_is_string(v)) {
		put_z(b, json_string_value(v));
	} else if (json_is_real(v)) {
		buf_f(b, "%.6g", json_real_value(v));
	} else if (json_is_boolean(v)) {
		buf_z(b, json_is_true(v) ? "yes" : "no");
	} else if (json_is_array(v) && json_is_string(json_array_get(v, 0))) {
		json_array_foreach (v, i, one) {
			buf_z(b, i ? ", " : "");
			put_z(b, json_is_string(one) ? json_string_value(one) : "?");
		}
	} else if (json_is_object(v) && !put_range(b, v)) {
		json_object_foreach ((json_t *)v, key, one) {
			text = json_is_string(one) ? xstrdup(json_string_value(one)) : json_dumps(one, JSON_ENCODE_ANY);
			buf_z(b, n++ ? "<br>" : "");
			put_z(b, key);
			buf_z(b, " = ");
			put_z(b, text ? text : "");
			free(take_ptr(text));
		}
	} else if (!json_is_object(v)) {
		text = json_dumps(v, JSON_ENCODE_ANY | JSON_SORT_KEYS);
		put_z(b, text ? text : "");
	}
}

static void put_row(struct buf *b, const char *name, const json_t *v)
{
	if (!v)
		return;
	buf_f(b, "<tr><th>%s</th><td>", name);
	put_value(b, v);
	buf_z(b, "</td></tr>\n");
}

/* A table with a row for each element and a column for each member that any of them has. */
static void put_table(struct buf *b, const json_t *list, const char *const *members, size_t n)
{
	const json_t *row;
	size_t i;

	if (!json_array_size(list)) {
		buf_z(b, "<p>None.</p>\n");
		return;
	}
	buf_z(b, "<table><tr>");
	for (size_t k = 0; k < n; k++)
		buf_f(b, "<th>%s</th>", members[k]);
	buf_z(b, "</tr>\n");
	json_array_foreach (list, i, row) {
		buf_z(b, "<tr>");
		for (size_t k = 0; k < n; k++) {
			buf_z(b, "<td>");
			put_value(b, json_object_get(row, members[k]));
			buf_z(b, "</td>");
		}
		buf_z(b, "</tr>\n");
	}
	buf_z(b, "</table>\n");
}

/* ---- the algorithm ---- */

static void put_training(struct buf *b, const json_t *t)
{
	static const char *const channels[] = { "Name",
		                                "Description",
		                                "IsRequired",
		                                "SupportedContentTypes",
		                                "SupportedCompressionTypes",
		                                "SupportedInputModes" };
	static const char *const parameters[] = {
		"Name", "Description", "Type", "IsRequired", "DefaultValue", "Range"
	};
	static const char *const metrics[] = { "Name", "Regex" };

	buf_z(b, "<h2>Training</h2>\n<table>");
	put_row(b, "Instance types", json_object_get(t, "SupportedTrainingInstanceTypes"));
	put_row(b, "Several hosts", json_object_get(t, "SupportsDistributedTraining"));
	put_row(b, "Objectives for tuning", json_object_get(t, "SupportedTuningJobObjectiveMetrics"));
	buf_z(b, "</table>\n<h3>Channels</h3>\n");
	put_table(b, json_object_get(t, "TrainingChannels"), channels, ARRAY_LEN(channels));
	buf_z(b, "<h3>Hyperparameters</h3>\n");
	put_table(b, json_object_get(t, "SupportedHyperParameters"), parameters, ARRAY_LEN(parameters));
	buf_z(b, "<h3>Metrics</h3>\n");
	put_table(b, json_object_get(t, "MetricDefinitions"), metrics, ARRAY_LEN(metrics));
}

static void put_inference(struct buf *b, const json_t *i)
{
	if (!i)
		return;
	buf_z(b, "<h2>Inference</h2>\n<table>");
	put_row(b, "Transform instance types", json_object_get(i, "SupportedTransformInstanceTypes"));
	put_row(b, "Takes", json_object_get(i, "SupportedContentTypes"));
	put_row(b, "Answers with", json_object_get(i, "SupportedResponseMIMETypes"));
	buf_z(b, "</table>\n");
}

/* ---- images ---- */

static void put_findings(struct buf *b, const json_t *scan)
{
	const json_t *f;
	size_t i;

	if (!json_array_size(json_object_get(scan, "findings")))
		return;
	buf_z(b, "<details><summary>Findings of the scan</summary><table>\n");
	json_array_foreach (json_object_get(scan, "findings"), i, f) {
		if (i == FINDINGS_SHOWN)
			break;
		buf_z(b, "<tr><td class=\"");
		put_z(b, text_in(f, "severity"));
		buf_z(b, "\">");
		put_z(b, text_in(f, "severity"));
		buf_z(b, "</td><td>");
		put_z(b, text_in(f, "rule"));
		buf_z(b, "</td><td><code>");
		put_z(b, text_in(f, "path"));
		buf_z(b, "</code></td><td>");
		put_z(b, text_in(f, "detail"));
		buf_z(b, "</td></tr>\n");
	}
	buf_z(b, "</table></details>\n");
}

static void put_packages(struct buf *b, const json_t *packages)
{
	const json_t *p;
	size_t i;

	if (!json_array_size(json_object_get(packages, "list")))
		return;
	buf_f(b, "<details><summary>%lld packages</summary><pre>",
	      (long long)json_integer_value(json_object_get(packages, "count")));
	json_array_foreach (json_object_get(packages, "list"), i, p) {
		if (i == PACKAGES_SHOWN)
			break;
		put_z(b, text_in(p, "name"));
		buf_c(b, ' ');
		put_z(b, text_in(p, "version"));
		buf_c(b, '\n');
	}
	buf_z(b, "</pre></details>\n");
}

static void put_images(struct buf *b, const json_t *images)
{
	const json_t *i;
	size_t n;

	buf_z(b, "<h2>Images</h2>\n");
	json_array_foreach (images, n, i) {
		const json_t *scan = json_object_get(i, "scan"), *counts = json_object_get(scan, "counts");
		bool passed = json_is_true(json_object_get(scan, "passed"));

		buf_z(b, "<h3>");
		put_z(b, text_in(i, "name"));
		buf_z(b, "</h3>\n<table>");
		put_row(b, "Digest", json_object_get(i, "digest"));
		put_row(b, "Architecture", json_object_get(i, "architecture"));
		put_row(b, "Used for", json_object_get(i, "roles"));
		put_row(b, "Distribution", json_object_get(json_object_get(scan, "os"), "name"));
		buf_f(b, "<tr><th>Scan</th><td class=\"%s\">%s: %lld high, %lld medium, %lld low</td></tr></table>\n",
		      passed ? "good" : "high", passed ? "passed" : "not passed",
		      (long long)json_integer_value(json_object_get(counts, "high")),
		      (long long)json_integer_value(json_object_get(counts, "medium")),
		      (long long)json_integer_value(json_object_get(counts, "low")));
		put_findings(b, scan);
		put_packages(b, json_object_get(scan, "packages"));
	}
}

/* ---- metrics ---- */

static double number_at(const json_t *list, size_t i)
{
	return json_number_value(json_array_get(list, i));
}

/* [time, least, most, mean], scaled to the picture. */
static void put_curve(struct buf *b, const json_t *metric)
{
	const json_t *points = json_object_get(metric, "Points"), *p;
	double low = json_number_value(json_object_get(metric, "Min"));
	double high = json_number_value(json_object_get(metric, "Max"));
	size_t n = json_array_size(points), i;

	if (n < 2 || !isfinite(low) || !isfinite(high))
		return;
	buf_f(b, "<svg width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" role=\"img\"><polyline points=\"", WIDTH,
	      HEIGHT, WIDTH, HEIGHT);
	json_array_foreach (points, i, p) {
		double part = high > low ? (number_at(p, 3) - low) / (high - low) : 0.5;

		if (isfinite(part))
			buf_f(b, "%.1f,%.1f ", MARGIN + (double)i * (WIDTH - 2 * MARGIN) / (double)(n - 1),
			      HEIGHT - MARGIN - part * (HEIGHT - 2 * MARGIN));
	}
	buf_z(b, "\"/></svg>\n");
}

static void put_metrics(struct buf *b, const json_t *metrics)
{
	static const char *const members[] = { "Name", "Host", "Last", "Min", "Max", "Count" };
	const json_t *list = json_object_get(metrics, "Metrics"), *m;
	size_t i;

	buf_z(b, "<h3>Metrics</h3>\n");
	put_table(b, list, members, ARRAY_LEN(members));
	json_array_foreach (list, i, m) {
		if (json_array_size(json_object_get(m, "Points")) < 2)
			continue;
		buf_z(b, "<h4>");
		put_z(b, text_in(m, "Name"));
		buf_z(b, "</h4>\n");
		put_curve(b, m);
	}
}

/* ---- the validation ---- */

static void put_seconds(struct buf *b, const char *name, const json_t *job, const char *from, const char *to)
{
	double a = json_number_value(json_object_get(job, from)), z = json_number_value(json_object_get(job, to));

	if (a > 0 && z >= a)
		buf_f(b, "<tr><th>%s</th><td>%.1f s</td></tr>\n", name, z - a);
}

static void put_job(struct buf *b, const char *title, const json_t *job, const char *name, const char *status,
                    const char *started, const char *ended)
{
	const json_t *resources = json_object_get(job, "ResourceConfig");

	if (!job)
		return;
	if (!resources)
		resources = json_object_get(job, "TransformResources");
	buf_f(b, "<h3>%s</h3>\n<table>", title);
	put_row(b, "Name", json_object_get(job, name));
	put_row(b, "Status", json_object_get(job, status));
	put_row(b, "Instances", json_object_get(resources, "InstanceCount"));
	put_row(b, "Instance type", json_object_get(resources, "InstanceType"));
	put_row(b, "Hyperparameters", json_object_get(job, "HyperParameters"));
	put_seconds(b, "Took", job, started, ended);
	buf_z(b, "</table>\n");
}

/* The end of a log, whole lines of it. */
static void put_log(const struct gathering *g, struct buf *b, const char *path)
{
	_cleanup_close_ int fd = open_beneath(g->dir, path, O_RDONLY, 0, NULL);
	_cleanup_free_ char *text = xcalloc(1, LOG_SHOWN + 1);
	off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
	struct str shown;
	size_t n = 0;

	if (size < 0 || lseek(fd, size > LOG_SHOWN ? size - LOG_SHOWN : 0, SEEK_SET) < 0 ||
	    fd_read_full(fd, text, LOG_SHOWN, &n, NULL) < 0)
		return;
	shown = (struct str){ text, n };
	if (size > LOG_SHOWN)
		str_cut(&shown, '\n');
	buf_z(b, "<details><summary><code>");
	put_z(b, path);
	buf_f(b, "</code>%s</summary><pre>", size > LOG_SHOWN ? ", its end" : "");
	put_text(b, shown);
	buf_z(b, "</pre></details>\n");
}

static void put_profile(const struct gathering *g, struct buf *b, const json_t *p)
{
	static const char *const inputs[] = { "channel", "uri", "objects", "bytes", "files" };
	json_t *output = json_object_get(p, "output"), *outputs = json_array();
	const json_t *log;
	size_t i;

	buf_z(b, "<h2>Validation: ");
	put_z(b, text_in(p, "name"));
	buf_z(b, "</h2>\n<h3>Input data, which is in this product</h3>\n");
	put_table(b, json_object_get(p, "input"), inputs, ARRAY_LEN(inputs));
	put_job(b, "Training job", json_object_get(p, "training_job"), "TrainingJobName", "TrainingJobStatus",
	        "TrainingStartTime", "TrainingEndTime");
	put_metrics(b, json_object_get(p, "metrics"));
	put_job(b, "Transform job", json_object_get(p, "transform_job"), "TransformJobName", "TransformJobStatus",
	        "TransformStartTime", "TransformEndTime");
	if (output)
		json_array_append(outputs, output);
	if (output) {
		buf_z(b, "<h3>Output of the transform</h3>\n");
		put_table(b, outputs, inputs + 1, ARRAY_LEN(inputs) - 1);
	}
	json_decref(outputs);
	buf_z(b, "<h3>Logs</h3>\n");
	json_array_foreach (json_object_get(p, "logs"), i, log)
		put_log(g, b, json_string_value(log));
}

/* ---- the page ---- */

void product_report(const struct gathering *g, const json_t *about, struct buf *out)
{
	const char *name = text_in(g->algorithm, "AlgorithmName");
	char when[CLOCK_TEXT_BYTES];
	const json_t *p;
	size_t i;

	buf_z(out, head);
	buf_z(out, "<title>");
	put_z(out, name);
	buf_z(out, "</title></head><body>\n<h1>");
	put_z(out, name);
	buf_z(out, "</h1>\n<p>");
	put_z(out, text_in(g->algorithm, "AlgorithmDescription"));
	wall_iso8601((struct wall){ json_integer_value(json_object_get(about, "made_ms")) }, when);
	buf_f(out, "</p>\n<p>Exported %s by ", when);
	put_z(out, text_in(about, "made_by"));
	buf_z(out, ". Where it is imported it is used by its ARN, and its containers have no network.</p>\n");
	put_training(out, json_object_get(g->algorithm, "TrainingSpecification"));
	put_inference(out, json_object_get(g->algorithm, "InferenceSpecification"));
	json_array_foreach (g->profiles, i, p)
		put_profile(g, out, p);
	put_images(out, g->images);
	buf_z(out,
	      "<h2>Files</h2>\n<p><code>specification.json</code>: what CreateAlgorithm was given. "
	      "<code>data/</code>: the validation's input. <code>outputs/</code>: its model, and what the transform "
	      "made. <code>jobs/</code>, <code>logs/</code>, <code>metrics/</code>: what the jobs were, printed and "
	      "reported. <code>images/</code>: the images. All of them are listed with their digests in "
	      "<code>manifest.json</code>, which the seller has signed.</p>\n</body></html>\n");
}
