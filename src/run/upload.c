/* What the container has left in /opt/ml/model and /opt/ml/output/data becomes artifacts (contract 4.1), in a child: it
 * may take long and much memory. See deliver.h for where they go.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "artifact/artifact.h"
#include "base/fd.h"
#include "base/log.h"
#include "run/deliver.h"
#include "run/phase.h"

struct source {
	const char *inside, *archive, *folder; /* folder: of CompressionType NONE */
	bool of_first;                         /* of the first host only, unless output_hosts = all (contract 4.2) */
};
static const struct source sources[] = {
	{ "/opt/ml/model", "model.tar.gz", "model", false },
	{ "/opt/ml/output/data", "output.tar.gz", "output", true },
};

/* ---- in the child ---- */

/* 1 and *ret_fd: there is something in it. 0: nothing, or no such directory. */
static int open_source(int rootfs, const struct source *s, int *ret_fd, struct err *e)
{
	_cleanup_close_ int fd = inside_open(rootfs, s->inside, O_RDONLY | O_DIRECTORY, e);
	bool empty = true;

	if (fd < 0 && e->kind == ERR_NOT_FOUND) {
		*e = (struct err){ 0 };
		return 0;
	}
	if (fd < 0 || artifact_is_empty(fd, &empty, e) < 0)
		return -1;
	if (empty)
		return 0;
	*ret_fd = take_fd(fd);
	return 1;
}

static int pack(struct delivery *d, int fd, const struct source *s, struct err *e)
{
	struct artifact_result result = { 0 };
	_cleanup_close_ int out = delivery_create(d, s->archive, e);
	_cleanup_free_ char *key = delivery_key(d, s->archive);

	if (out < 0)
		return -1;
	if (artifact_pack(fd, out, &(struct artifact_options){ .part = d->part }, &result, e) < 0) {
		delivery_drop(d, s->archive);
		return err_in(e, "packing %s", s->inside);
	}
	log_info("%s: %llu files, %llu bytes packed to %llu", s->inside, (unsigned long long)result.files,
	         (unsigned long long)result.bytes_in, (unsigned long long)result.bytes_out);
	return delivery_send(d, out, s->archive, key, result.bytes_out, result.md5, e);
}

/* A failed upload has the service's words before it (contract 4.3). */
static int upload_failed(struct err *e)
{
	static const char lead[] = "Artifact upload failed:";
	char text[4096];
	bool no_room = e->kind == ERR_IO && (e->os == ENOSPC || e->os == EDQUOT);

	err_text(e, text, sizeof(text));
	if (no_room) {
		*e = (struct err){ 0 };
		return err_set(e, ERR_CLIENT,
		               "%sError 5: Received a failed archive status. The machine's disk has no room for the "
		               "artifacts: "
		               "write less to /opt/ml/model, or free some (%s)",
		               lead, text);
	}
	if (err_info[e->kind].retry || e->kind == ERR_BUG)
		return -1;
	*e = (struct err){ 0 };
	return err_set(e, ERR_CLIENT, "%s%s", lead, text);
}

static int send_all(struct worker_link *link, void *arg, struct err *e)
{
	struct run *r = arg;
	_cleanup_close_ int rootfs = openat(r->work_fd, "rootfs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(delivery_fini) struct delivery d = { 0 };

	if (rootfs < 0)
		return err_sys(e, "opening the container's root");
	if (delivery_init(&d, r, link, e) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
		_cleanup_close_ int fd = -EBADF;
		int there;

		if (sources[i].of_first && r->spec.host_number > 1 && !r->spec.output_hosts_all)
			continue;
		there = open_source(rootfs, &sources[i], &fd, e);

		if (there > 0)
			there = d.compressed ? pack(&d, fd, &sources[i], e)
			                     : delivery_tree(&d, fd, sources[i].folder, e);
		if (there < 0)
			return upload_failed(e);
	}
	return delivery_end(&d, e) < 0 ? upload_failed(e) : 0;
}

/* ---- in the parent ---- */

static int on_report(void *arg, const json_t *msg, struct err *e)
{
	struct run *r = arg;
	const char *t = json_string_value(json_object_get(msg, "t"));
	json_t *args;

	if (str_is(str_of(t), "say")) {
		run_say(r, "%s", json_string_value(json_object_get(msg, "text")));
		return 0;
	}
	if (!str_is(str_of(t), "artifact"))
		return err_set(e, ERR_BUG, "an unknown report, %s", t);
	args = json_pack("{s:s, s:O, s:O, s:O, s:O}", "bucket", r->spec.output_bucket, "key",
	                 json_object_get(msg, "key"), "file", json_object_get(msg, "file"), "size",
	                 json_object_get(msg, "size"), "md5", json_object_get(msg, "md5"));
	must(args);
	if (json_is_true(json_object_get(msg, "part")))
		json_object_set_new(args, "part", json_true());
	return run_fact(r, FACT_ARTIFACT, args, e);
}

static void on_ended(void *arg, const struct err *e)
{
	struct run *r = arg;

	worker_free(take_ptr(r->worker));
	if (e && r->failed) { /* the container's failure is what the user needs to know */
		log_err(LOG_ERROR, e, "the artifacts of the failed job");
		run_say(r, "The artifacts could not be kept: %s.", e->frame[0]);
		e = NULL;
	}
	if (e)
		run_failed(r, e);
	else
		run_next(r);
}

enum step phase_upload(struct run *r, struct err *e)
{
	struct worker_task task = { .work = send_all,
		                    .report = on_report,
		                    .ended = on_ended,
		                    .arg = r,
		                    .name = "the packing of the artifacts" };

	if (run_fact(r, r->failed ? FACT_SALVAGING : FACT_UPLOADING, NULL, e) < 0)
		return STEP_FAIL;
	return worker_start(r->loop, &task, &r->worker, e) < 0 ? STEP_FAIL : STEP_WAIT;
}

void undo_upload(struct run *r)
{
	worker_free(take_ptr(r->worker));
}
