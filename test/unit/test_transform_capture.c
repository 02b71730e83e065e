/* DataCaptureConfig: manifests, and the ids of records.  SPDX-License-Identifier: Apache-2.0 */
#include "serving_house.h"
#include "transform/process.h"

#define CAPTURE                                                                                \
	"\"TransformInput\": {\"SplitType\": \"Line\", \"ContentType\": \"text/csv\"}, "       \
	"\"TransformOutput\": {\"AssembleWith\": \"Line\", \"Accept\": \"text/csv\", "         \
	"\"S3OutputPath\": \"s3://made/out\"}, \"DataCaptureConfig\": {\"DestinationS3Uri\": " \
	"\"s3://kept/captures/\""
#define STARTED ", \"started\": \"2026-11-21T19:05:06.789Z\""

static void length(struct serving *s, const struct served *r, struct answer *a)
{
	struct str rest = r->body;

	(void)s;
	if (str_starts(rest, STR("bad")))
		a->status = 400;
	while (rest.n)
		buf_f(&a->body, "%zu\n", str_cut(&rest, '\n').n);
}

static void run_with(struct job_house *h, struct serving *s, const char *request)
{
	job_run_at(h, keep(strf("\"containers\": [\"http://127.0.0.1:%u\"]" STARTED, s->port)), request);
}

/* A manifest, as a value; that it is told with its size, and in its place. */
static json_t *manifest(const struct job_house *h, const char *side)
{
	_cleanup_free_ char
	        *path = strf("%s/out/capture-%s", h->dir, side),
	        *begin = strf("{\"capture\":{\"file\":\"capture-%s\",\"uri\":\"s3://kept/captures/%s/2026/11/21/19/",
	                      side, side);
	struct buf b = { 0 };
	const char *said = strstr(h->said, begin);
	char id[37], tail[64];
	json_t *j;

	buf_init(&b);
	CHECK_OK(file_read(path, 1 << 20, &b, e));
	CHECK(b.n && b.p[b.n - 1] == '\n' && !memchr(b.p, '\n', b.n - 1));
	CHECK(said);
	snprintf(id, sizeof(id), "%s", said + strlen(begin));
	CHECK_INT(strspn(id, "0123456789abcdef-"), 36);
	snprintf(tail, sizeof(tail), ".jsonl\",\"bytes\":%zu}}\n", b.n);
	CHECK(str_starts(str_of(said + strlen(begin) + 36), str_of(tail)));
	j = json_loadb(b.p, b.n, 0, NULL);
	CHECK(j);
	buf_fini(&b);
	return keep(j);
}

static bool has_leaf(const struct job_house *h, const char *leaf)
{
	return access(keep(strf("%s/out/%s", h->dir, leaf)), F_OK) == 0;
}

TEST(manifests_of_what_went_well)
{
	struct serving *s = serving_start(length);
	struct job_house h;
	json_t *want;

	job_open(&h);
	job_add(&h, "in/a.csv", STR("1,2\n"));
	job_add(&h, "in/b.csv", STR("bad\n"));
	job_add(&h, "in/deep/\"c\".csv", STR("4\n"));
	run_with(&h, s, "{" CAPTURE "}}");
	CHECK_INT(h.status, 1);
	CHECK_STR(job_output(&h, 0), "3\n"); /* no ids unless they are asked for */
	want = json_pack("[{s:s}, s, s]", "prefix", "s3://b/", "in/a.csv", "in/deep/\"c\".csv");
	CHECK(json_equal(manifest(&h, "input"), keep(want)));
	want = json_pack("[{s:s}, s, s]", "prefix", "s3://made/out/", "a.csv.out", "deep/\"c\".csv.out");
	CHECK(json_equal(manifest(&h, "output"), keep(want)));
	CHECK(!has_leaf(&h, ".capture-input.part") && !has_leaf(&h, ".capture-output.part"));
}

TEST(nothing_to_capture_leaves_nothing)
{
	struct serving *s = serving_start(length);
	struct job_house h;

	job_open(&h);
	job_add(&h, "in/b.csv", STR("bad\n"));
	run_with(&h, s, "{" CAPTURE "}}");
	CHECK_INT(h.status, 1);
	CHECK(!strstr(h.said, "\"capture\""));
	CHECK(!has_leaf(&h, "capture-input") && !has_leaf(&h, ".capture-input.part"));
}

/* "1,ID,TIME\n" taken apart: the id. */
static const char *row(char **rest, const char *value)
{
	char *line = strsep(rest, "\n"), *id;

	CHECK_STR(strsep(&line, ","), value);
	id = strsep(&line, ",");
	CHECK(id && strlen(id) == 36 && strspn(id, "0123456789abcdef-") == 36);
	CHECK_STR(line, "2026-11-21T19:05:06Z");
	return id;
}

TEST(ids_of_rows)
{
	struct serving *s = serving_start(length);
	struct job_house h;
	const char *first, *second;
	char *rest;

	job_open(&h);
	job_add(&h, "in/a.csv", STR("1,2\n12345\n"));
	run_with(&h, s, "{" CAPTURE ", \"GenerateInferenceId\": true}}");
	CHECK_INT(h.status, 0);
	rest = job_output(&h, 0);
	CHECK(rest);
	first = row(&rest, "3");
	second = row(&rest, "5");
	CHECK(strcmp(first, second) != 0);
	CHECK_STR(rest, "");
}

static char *processed(const struct process_options *o, const char *records, const char *answer)
{
	_cleanup_(process_freep) struct process *p = NULL;
	struct buf out = { 0 };
	struct err e = { 0 };
	char text[ERR_FRAMES * ERR_FRAME_BYTES];
	size_t bad;

	buf_init(&out);
	if (process_new(o, &p, &e) == 0 && process_output(p, str_of(records), str_of(answer), &out, &bad, &e) == 0)
		return keep(buf_take(&out));
	buf_fini(&out);
	return keep(strf("!%s", err_text(&e, text, sizeof(text))));
}

/* Ids are random: those behind the name are replaced by "ID". */
static char *without_ids(char *s)
{
	static const char name[] = "\"SageMakerInferenceId\":\"";

	for (char *at = s; (at = strstr(at, name));) {
		at += strlen(name);
		CHECK_INT(strspn(at, "0123456789abcdef-"), 36);
		memmove(at + 2, at + 36, strlen(at + 36) + 1);
		memcpy(at, "ID", 2);
	}
	return s;
}

TEST(ids_of_values)
{
	struct process_options o = { .accept = "application/jsonlines",
		                     .content_type = "application/jsonlines",
		                     .split_type = "Line",
		                     .inference_id = true,
		                     .started = "NOW" };

	CHECK_STR(without_ids(processed(&o, "", "{\"a\":1.0}\n7\n{}")),
	          "{\"a\":1.0,\"SageMakerInferenceId\":\"ID\",\"SageMakerInferenceTime\":\"NOW\"}\n"
	          "{\"SageMakerOutput\":7,\"SageMakerInferenceId\":\"ID\",\"SageMakerInferenceTime\":\"NOW\"}\n"
	          "{\"SageMakerInferenceId\":\"ID\",\"SageMakerInferenceTime\":\"NOW\"}");
	CHECK_STR(processed(&o, "", "{}\nnope\n"), "!DataCaptureConfig.GenerateInferenceId: the container's answer: no "
	                                           "JSON: something that is no value at byte 0 of it");
	o.join_source = "Input";
	o.output_filter = "$['k','SageMakerOutput']";
	CHECK_STR(without_ids(processed(&o, "{\"k\":1,\"l\":2}\n", "[5]\n")),
	          "{\"k\":1,\"SageMakerOutput\":[5],\"SageMakerInferenceId\":\"ID\",\"SageMakerInferenceTime\":\"NOW\"}"
	          "\n");
	o.accept = o.content_type = "application/json";
	o.split_type = "None";
	o.output_filter = o.join_source = NULL;
	CHECK_STR(without_ids(processed(&o, "", "[1,\n2]")),
	          "{\"SageMakerOutput\":[1,\n2],\"SageMakerInferenceId\":\"ID\",\"SageMakerInferenceTime\":\"NOW\"}");
}

TEST(ids_need_a_known_format)
{
	struct process_options o = { .accept = "image/png", .inference_id = true };

	CHECK_STR(processed(&o, "", ""),
	          "!DataCaptureConfig.GenerateInferenceId needs TransformOutput.Accept to be one of text/csv, "
	          "application/json and application/jsonlines, not 'image/png'");
}
