/* The models of a transform job, each in /opt/ml/model of its container before that starts (contract 7.1), and what an
 * algorithm has beside the channels, in SPEC_ADDITIONAL_PATH: the objects below a prefix, or the files of a tar.gz. In
 * a child, as it may take long and be told to stop; what is in an archive is unpacked by another one, which can do
 * nothing else.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "channel/channel.h"
#include "jobdir/list.h"
#include "oci/confined.h"
#include "oci/layer.h"
#include "run/phase.h"
#include "run/reason.h"

enum { ENTRIES_MAX = 10 << 20 };

/* ---- in the child ---- */

struct placing {
	struct box *box;
	struct worker_link *link;
	const struct model_spec *model;
	const char *leaf;               /* in /opt/ml */
	struct channel_spec as_channel; /* borrows all of it */
	struct channel_env env;
	char *first_key; /* of the list */
};

static void say(void *arg, const char *text)
{
	worker_say(arg, text);
}

/* The parent kills us instead. */
static bool never(void *arg)
{
	(void)arg;
	return false;
}

/* How many objects the list has, and bytes. */
static int look_at_list(struct placing *p, struct err *e)
{
	_cleanup_(list_closep) struct list_reader *list = NULL;
	int fd = channel_open_list(&p->as_channel, p->env.job_dirfd, e), rc;
	struct list_entry entry;

	if (fd < 0 || list_open_fd(fd, &list, e) < 0)
		return -1;
	while ((rc = list_next(list, &entry, e)) > 0) {
		if (!p->first_key)
			p->first_key = str_dup(entry.key);
		p->as_channel.objects++;
		p->as_channel.bytes += entry.size;
	}
	if (rc < 0)
		return -1;
	if (p->as_channel.objects == 0)
		return err_set(e, ERR_CLIENT, "there is no object at s3://%s/%s", p->model->bucket, p->model->prefix);
	if (p->model->gzip && p->as_channel.objects != 1)
		return err_set(e, ERR_CLIENT, "s3://%s/%s is not one object, but %llu", p->model->bucket,
		               p->model->prefix, (unsigned long long)p->as_channel.objects);
	return 0;
}

static int no_room(const struct placing *p, uint64_t bytes, struct err *e)
{
	_cleanup_buf_ struct buf need = { 0 }, have = { 0 };

	reason_bytes(bytes, &need);
	reason_bytes(p->box->run->volume_bytes, &have);
	return err_set(e, ERR_CLIENT, "it has %s, and the volume of the host %s", need.p, have.p);
}

/* The list's objects below in, in a directory `name`. */
static int place(struct placing *p, int in, const char *name, const char *prefix, struct err *e)
{
	_cleanup_free_ char *manifest = strf("%s-manifest", name);
	struct channel_stats stats = { 0 };

	p->env.data_dirfd = in;
	p->env.way = CHANNEL_PLACED;
	p->as_channel.name = (char *)name;
	p->as_channel.prefix = (char *)prefix;
	if (channel_ops_for(CHANNEL_PLACED)->prepare(&p->as_channel, &p->env, &stats, e) < 0)
		return -1;
	return unlinkat(in, manifest, 0) < 0 ? err_sys(e, "removing %s", manifest) : 0;
}

struct unpacking {
	int archive, to;
	uint64_t most;
};

static int unpack(void *arg, void *result, struct err *e)
{
	const struct unpacking *u = arg;
	struct layer_options o = { .keep_owner = true, .max_bytes = u->most, .max_entries = ENTRIES_MAX };

	return layer_apply(u->archive, u->to, &o, result, e);
}

static int unpack_confined(const struct placing *p, int archive, int to, struct err *e)
{
	struct unpacking u = { archive, to, p->box->run->volume_bytes };
	const int keep[] = { archive, to };
	const struct confined_options o = {
		.confine_to = to, .keep = keep, .keep_count = ARRAY_LEN(keep), .file_bytes_max = u.most
	};
	struct layer_result result;
	struct confined child;

	if (confined_start(&o, unpack, &u, sizeof(result), &child, e) < 0)
		return -1;
	if (confined_finish(&child, &result, e) == 0)
		return 0;
	if (e->kind == ERR_TOO_LARGE)
		return no_room(p, p->box->run->volume_bytes + 1, e);
	return err_in(e, "unpacking s3://%s/%s, which must be a tar.gz", p->model->bucket, p->first_key);
}

/* The archive is placed beside the tree, is unpacked into it, and goes. */
static int place_archive(struct placing *p, int tree, int model, struct err *e)
{
	const char *slash = strrchr(p->first_key, '/');
	_cleanup_free_ char *prefix = slash ? str_dup((struct str){ p->first_key, (size_t)(slash - p->first_key) + 1 })
	                                    : xstrdup("");
	_cleanup_free_ char *path = strf("archive/%s", p->first_key + strlen(prefix));
	_cleanup_close_ int archive = -EBADF;

	if (p->as_channel.bytes > p->box->run->volume_bytes)
		return no_room(p, p->as_channel.bytes, e);
	if (place(p, tree, "archive", prefix, e) < 0)
		return -1;
	archive = open_beneath(tree, path, O_RDONLY, 0, e);
	if (archive < 0 || unpack_confined(p, archive, model, e) < 0)
		return -1;
	return remove_tree(tree, "archive", e);
}

static int place_objects(struct placing *p, int ml, struct err *e)
{
	if (p->as_channel.bytes > p->box->run->volume_bytes)
		return no_room(p, p->as_channel.bytes, e);
	return place(p, ml, p->leaf, p->model->prefix, e);
}

static int place_one(struct placing *p, struct err *e)
{
	_cleanup_free_ char *path = box_path(p->box, "tree"), *ml_path = box_path(p->box, "tree/opt/ml");
	/* By the store's mount: a hard link does not cross mounts. */
	_cleanup_close_ int tree = open_beneath(p->box->run->home_fd, path, O_RDONLY | O_DIRECTORY, 0, e);
	_cleanup_close_ int ml = tree < 0 ? -EBADF
	                                  : open_beneath(p->box->run->home_fd, ml_path, O_RDONLY | O_DIRECTORY, 0, e);
	_cleanup_close_ int model = -EBADF;

	if (ml < 0 || look_at_list(p, e) < 0)
		return -1;
	if (p->model->gzip && mkdirat(ml, p->leaf, 0755) < 0 && errno != EEXIST)
		return err_sys(e, "making /opt/ml/%s", p->leaf);
	if (!p->model->gzip && place_objects(p, ml, e) < 0)
		return -1;
	model = open_beneath(ml, p->leaf, O_RDONLY | O_DIRECTORY, 0, e);
	if (model < 0 || (p->model->gzip && place_archive(p, tree, model, e) < 0))
		return -1;
	return layout_hide_model(model, e);
}

static int place_failed(const struct placing *p, struct err *e)
{
	const struct run *r = p->box->run;
	_cleanup_free_ char *what = p->model == r->spec.additional
	                                    ? strf("AdditionalS3DataSource of the algorithm")
	                                    : strf("model of the container %s", p->box->hostname);
	enum err_kind kind = e->kind;
	char text[4096];
	struct str s = str_of(err_text(e, text, sizeof(text)));

	str_skip(&s, STR("Data download failed:"));
	if (kind == ERR_IO && (e->os == ENOSPC || e->os == EDQUOT))
		kind = ERR_CLIENT;
	else if (kind != ERR_IO && kind != ERR_BUG && kind != ERR_BUSY)
		kind = ERR_CLIENT;
	*e = (struct err){ 0 };
	return err_set(e, kind, "Failed to download the %s: " PRIstr, what, ARGstr(s));
}

static int place_of(struct box *b, const struct model_spec *m, const char *leaf, struct worker_link *link,
                    const char *fetch, int store, struct err *e)
{
	struct run *r = b->run;
	struct placing p = { .box = b,
		             .link = link,
		             .model = m,
		             .leaf = leaf,
		             .env = { .job_dirfd = r->job_fd,
		                      .objects_dirfd = store,
		                      .farm_dirfd = -EBADF,
		                      .fetch_program = fetch,
		                      .s3 = &r->spec.s3,
		                      .say = say,
		                      .cancelled = never,
		                      .arg = link } };
	_cleanup_free_ char *uri = NULL;
	int rc;

	if (!m)
		return 0;
	uri = strf("s3://%s/%s", m->bucket, m->prefix);
	p.as_channel = (struct channel_spec){ .name = "model",
		                              .input_mode = "File",
		                              .distribution = "FullyReplicated",
		                              .record_wrapper = "None",
		                              .compression = "None",
		                              .place = m->place,
		                              .share_count = 1,
		                              .s3_data_type = "S3Prefix",
		                              .s3_uri = uri,
		                              .bucket = m->bucket,
		                              .prefix = m->prefix,
		                              .list = m->list };
	rc = place_one(&p, e);
	free(p.first_key);
	return rc < 0 ? place_failed(&p, e) : 0;
}

static int place_all(struct worker_link *link, void *arg, struct err *e)
{
	struct run *r = arg;
	_cleanup_free_ char *fetch = strf("%s/bloomery-fetch", r->programs_dir);
	_cleanup_free_ char *objects = strf("%s/objects", r->data_dir);
	_cleanup_close_ int store = open(objects, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (r->spec.additional && place_of(&r->box[0], r->spec.additional, SPEC_ADDITIONAL, link, fetch, store, e) < 0)
		return -1;
	for (size_t i = 0; i < r->spec.container_count; i++)
		if (place_of(&r->box[i], r->spec.containers[i].model, "model", link, fetch, store, e) < 0)
			return -1;
	return 0;
}

/* ---- in the parent ---- */

static int on_report(void *arg, const json_t *msg, struct err *e)
{
	(void)e;
	if (str_is(str_of(json_string_value(json_object_get(msg, "t"))), "say"))
		run_say(arg, "%s", json_string_value(json_object_get(msg, "text")));
	return 0;
}

static void on_ended(void *arg, const struct err *e)
{
	struct run *r = arg;

	worker_free(take_ptr(r->worker));
	if (e)
		run_failed(r, e);
	else
		run_next(r);
}

static enum step begin(struct run *r, const char *what, struct err *e)
{
	struct worker_task task = { .work = place_all, .report = on_report, .ended = on_ended, .arg = r, .name = what };

	return worker_start(r->loop, &task, &r->worker, e) < 0 ? STEP_FAIL : STEP_WAIT;
}

enum step phase_models(struct run *r, struct err *e)
{
	bool any = false;

	if (run_fact(r, FACT_DOWNLOADING, NULL, e) < 0)
		return STEP_FAIL;
	for (size_t i = 0; i < r->box_count; i++)
		any |= r->spec.containers[i].model != NULL;
	return any ? begin(r, "the placing of the model", e) : STEP_NEXT;
}

enum step phase_additional(struct run *r, struct err *e)
{
	return r->spec.additional ? begin(r, "the placing of the algorithm's data", e) : STEP_NEXT;
}

void undo_models(struct run *r)
{
	worker_free(take_ptr(r->worker));
}
