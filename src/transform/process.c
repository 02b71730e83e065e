/* SPDX-License-Identifier: Apache-2.0 */
#include "transform/process.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "transform/jsontext.h"
#include "transform/path.h"

/* JSON is one value for a whole payload, the others have one record in a line. */
enum format { FORMAT_CSV, FORMAT_JSON, FORMAT_JSONLINES, FORMAT_OTHER };

static const char *const types[] = {
	[FORMAT_CSV] = "text/csv", [FORMAT_JSON] = "application/json", [FORMAT_JSONLINES] = "application/jsonlines"
};

struct process {
	struct path *input, *output;
	bool join, ids;
	char started[CLOCK_TEXT_BYTES];
	enum format content, accept;
};

static enum format format_of(const char *type)
{
	struct str rest = str_of(type), name = str_trim(str_cut(&rest, ';'));

	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if (str_eq_nocase(name, str_of(types[i])))
			return (enum format)i;
	return FORMAT_OTHER;
}

static bool is(const char *z, const char *value)
{
	return z && strcmp(z, value) == 0;
}

static const char *or_none(const char *z)
{
	return z && *z ? z : "None";
}

/* ---- what goes together ---- */

static int check_format(enum format f, const char *who, const char *member, const char *said, struct err *e)
{
	if (f != FORMAT_OTHER)
		return 0;
	return err_set(e, ERR_INVALID,
	               "%s needs %s to be one of text/csv, application/json and application/jsonlines, not '%s'", who,
	               member, said ? said : "");
}

static int check_split(const struct process *p, const struct process_options *o, struct err *e)
{
	const char *split = or_none(o->split_type);

	if (strcmp(split, "None") && strcmp(split, "Line"))
		return err_set(e, ERR_INVALID, "DataProcessing of %s goes with SplitType Line%s, not with '%s'",
		               types[p->content], p->content == FORMAT_JSON ? " and None" : "", split);
	if (p->content == FORMAT_JSON && is(o->split_type, "Line") && !o->single)
		return err_set(
		        e, ERR_INVALID,
		        "DataProcessing of application/json, split by Line, needs BatchStrategy SingleRecord; lines of "
		        "JSON are application/jsonlines");
	return 0;
}

static int check(const struct process *p, const struct process_options *o, struct err *e)
{
	bool in = p->join || !path_is_all(p->input), out = p->join || !path_is_all(p->output);

	if ((in && check_format(p->content, "DataProcessing", "TransformInput.ContentType", o->content_type, e) < 0) ||
	    (out && check_format(p->accept, "DataProcessing", "TransformOutput.Accept", o->accept, e) < 0) ||
	    (p->ids && check_format(p->accept, "DataCaptureConfig.GenerateInferenceId", "TransformOutput.Accept",
	                            o->accept, e) < 0))
		return -1;
	if (in && check_split(p, o, e) < 0)
		return -1;
	if (p->join && p->content != p->accept)
		return err_set(e, ERR_INVALID, "JoinSource Input cannot join %s with %s", types[p->content],
		               types[p->accept]);
	if (in && p->content == FORMAT_CSV && path_check_csv(p->input, e) < 0)
		return err_in(e, "DataProcessing.InputFilter");
	if (out && p->accept == FORMAT_CSV && path_check_csv(p->output, e) < 0)
		return err_in(e, "DataProcessing.OutputFilter");
	return 0;
}

int process_new(const struct process_options *o, struct process **ret, struct err *e)
{
	_cleanup_(process_freep) struct process *p = xcalloc(1, sizeof(*p));

	p->content = format_of(o->content_type);
	p->accept = format_of(o->accept);
	p->join = is(o->join_source, "Input");
	p->ids = o->inference_id;
	snprintf(p->started, sizeof(p->started), "%s", o->started ? o->started : "");
	if (!p->join && strcmp(or_none(o->join_source), "None"))
		return err_set(e, ERR_INVALID, "JoinSource is None or Input, not '%s'", o->join_source);
	if (path_parse(str_of(o->input_filter), &p->input, e) < 0)
		return err_in(e, "DataProcessing.InputFilter");
	if (path_parse(str_of(o->output_filter), &p->output, e) < 0)
		return err_in(e, "DataProcessing.OutputFilter");
	if (check(p, o, e) < 0)
		return -1;
	*ret = p->join || p->ids || !path_is_all(p->input) || !path_is_all(p->output) ? take_ptr(p) : NULL;
	return 0;
}

void process_free(struct process *p)
{
	if (!p)
		return;
	path_free(p->input);
	path_free(p->output);
	free(p);
}

bool process_filters_input(const struct process *p)
{
	return p && !path_is_all(p->input);
}

bool process_changes_output(const struct process *p)
{
	return p && (p->join || p->ids || !path_is_all(p->output));
}

/* ---- records ---- */

/* The next record of rest, without the line's end that is put into *ret_end. */
static bool next_record(enum format f, struct str *rest, struct str *ret, struct str *ret_end)
{
	const char *lf;
	size_t n, end;

	if (!rest->n)
		return false;
	lf = f == FORMAT_JSON ? NULL : memchr(rest->p, '\n', rest->n);
	n = lf ? (size_t)(lf - rest->p) + 1 : rest->n;
	end = lf ? 1 + (n >= 2 && lf[-1] == '\r') : 0;
	*ret = (struct str){ rest->p, n - end };
	*ret_end = (struct str){ rest->p + n - end, end };
	rest->p += n;
	rest->n -= n;
	return true;
}

static int pick(const struct path *path, enum format f, struct str record, struct buf *out, struct err *e)
{
	struct str value;

	if (f == FORMAT_CSV)
		return path_csv(path, record, out, e);
	if (path_is_all(path)) {
		buf_str(out, record);
		return 0;
	}
	return jsontext_check(record, &value, e) < 0 ? -1 : path_json(path, value, out, e);
}

int process_input(const struct process *p, struct str records, struct buf *out, size_t *ret_bad, struct err *e)
{
	struct str record, end;

	for (size_t i = 0; next_record(p->content, &records, &record, &end); i++) {
		if (pick(p->input, p->content, record, out, e) < 0) {
			*ret_bad = i;
			return err_in(e, "DataProcessing.InputFilter");
		}
		buf_str(out, end);
	}
	return 0;
}

/* The members of an object but for those with these names, each with a comma behind. */
static void copy_members(struct str object, struct str but, struct str but_too, struct buf *out)
{
	struct jsontext_walk w;
	struct str name, value;

	if (!jsontext_begin(object, &w))
		return;
	while (jsontext_next(&w, &name, &value)) {
		if (jsontext_is_name(name, but) || jsontext_is_name(name, but_too))
			continue;
		buf_str(out, name);
		buf_c(out, ':');
		buf_str(out, value);
		buf_c(out, ',');
	}
}

/* {"a":1} and 2 → {"a":1,"SageMakerOutput":2}. What is no object becomes SageMakerInput of one. */
static void join_json(struct str in, struct str result, struct buf *out)
{
	struct jsontext_walk w;

	buf_c(out, '{');
	if (jsontext_begin(in, &w) && w.object) {
		copy_members(in, STR("SageMakerOutput"), STR("SageMakerOutput"), out);
	} else {
		buf_z(out, "\"SageMakerInput\":");
		buf_str(out, in);
		buf_c(out, ',');
	}
	buf_z(out, "\"SageMakerOutput\":");
	buf_str(out, result);
	buf_c(out, '}');
}

static int join(const struct process *p, struct str in, struct str result, struct buf *out, struct err *e)
{
	if (p->content == FORMAT_CSV) {
		buf_str(out, in);
		buf_c(out, ',');
		buf_str(out, result);
		return 0;
	}
	if (jsontext_check(in, &in, e) < 0)
		return err_in(e, "JoinSource: the record");
	if (jsontext_check(result, &result, e) < 0) {
		if (e)
			e->kind = ERR_TRAINER;
		return err_in(e, "JoinSource: the container's answer");
	}
	join_json(in, result, out);
	return 0;
}

/* Appends the record with an id and the job's start, by which it is found again when the truth about it is known. */
static int mark(const struct process *p, struct str result, struct buf *out, struct err *e)
{
	static const struct str id_name = STR("SageMakerInferenceId"), time_name = STR("SageMakerInferenceTime");
	struct jsontext_walk w;
	char id[37];

	random_uuid(id);
	if (p->accept == FORMAT_CSV) {
		buf_str(out, result);
		buf_f(out, ",%s,%s", id, p->started);
		return 0;
	}
	if (jsontext_check(result, &result, e) < 0) {
		if (e)
			e->kind = ERR_TRAINER;
		return err_in(e, "DataCaptureConfig.GenerateInferenceId: the container's answer");
	}
	buf_c(out, '{');
	if (jsontext_begin(result, &w) && w.object) {
		copy_members(result, id_name, time_name, out);
	} else {
		buf_z(out, "\"SageMakerOutput\":");
		buf_str(out, result);
		buf_c(out, ',');
	}
	buf_f(out, "\"SageMakerInferenceId\":\"%s\",\"SageMakerInferenceTime\":\"%s\"}", id, p->started);
	return 0;
}

/* Memory that one record after the other uses. */
struct scratch {
	struct buf joined, picked;
};

static void scratch_fini(struct scratch *s)
{
	buf_fini(&s->joined);
	buf_fini(&s->picked);
}

/* One record's way out. end: the line's end that the container wrote. */
static int finish(const struct process *p, struct str in, struct str result, struct str end, struct scratch *s,
                  struct buf *out, struct err *e)
{
	if (p->join) {
		buf_reset(&s->joined);
		if (join(p, in, result, &s->joined, e) < 0)
			return -1;
		result = buf_view(&s->joined);
	}
	buf_reset(&s->picked);
	if (pick(p->output, p->accept, result, p->ids ? &s->picked : out, e) < 0)
		return err_in(e, "DataProcessing.OutputFilter");
	if (p->ids && mark(p, buf_view(&s->picked), out, e) < 0)
		return -1;
	buf_str(out, end);
	return 0;
}

static size_t count_records(enum format f, struct str s)
{
	struct str record, end;
	size_t n = 0;

	while (next_record(f, &s, &record, &end))
		n++;
	return n;
}

int process_output(const struct process *p, struct str records, struct str answer, struct buf *out, size_t *ret_bad,
                   struct err *e)
{
	_cleanup_(scratch_fini) struct scratch scratch = { 0 };
	struct str in = { 0 }, in_end, result, end;
	size_t sent = p->join ? count_records(p->content, records) : 0, got = count_records(p->accept, answer);

	*ret_bad = PROCESS_ALL;
	if (p->join && sent != got)
		return err_set(e, ERR_TRAINER, "JoinSource: the container answered %zu record%s for %zu", got,
		               got == 1 ? "" : "s", sent);
	for (size_t i = 0; next_record(p->accept, &answer, &result, &end); i++) {
		if (p->join)
			(void)next_record(p->content, &records, &in, &in_end);
		if (finish(p, in, result, end, &scratch, out, e) < 0) {
			*ret_bad = i;
			return -1;
		}
	}
	return 0;
}
