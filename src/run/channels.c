/* Getting the input channels ready, in a child, as it may take long and be told to stop: File is placed below
 * tree/opt/ml/input/data, FastFile linked in farm/, file systems are mounted at fs/, and for what is fed later a
 * directory is made.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "channel/channel.h"
#include "run/phase.h"
#include "run/reason.h"

/* ---- in the child ---- */

static void say(void *arg, const char *text)
{
	worker_say(arg, text);
}

static void say_nothing(void *arg, const char *text)
{
	(void)arg, (void)text;
}

/* The parent kills us instead. */
static bool never(void *arg)
{
	(void)arg;
	return false;
}

static int no_room(const struct run *r, const struct channel_spec *ch, uint64_t bytes, struct err *e)
{
	struct buf need = { 0 }, have = { 0 };

	reason_bytes(bytes, &need);
	reason_bytes(r->volume_bytes, &have);
	err_set(e, ERR_CLIENT,
	        "Data download failed:Insufficient disk space. With channel %s the input data is %s, the volume %s: "
	        "raise "
	        "ResourceConfig.VolumeSizeInGB",
	        ch->name, need.p, have.p);
	buf_fini(&need);
	buf_fini(&have);
	return -1;
}

static int place_channel(struct run *r, struct worker_link *link, size_t i, struct channel_env *env, uint64_t *copied,
                         struct err *e)
{
	const struct channel_spec *ch = &r->spec.channels[i];
	const struct channel_ops *ops;
	struct channel_stats stats = { 0 };
	struct mono start = mono_now();

	env->way = channel_way(ch, &r->spec);
	ops = channel_ops_for(env->way);
	if (ops->prepare(ch, env, &stats, e) < 0)
		return -1;
	if (env->way == CHANNEL_MOUNTED && mount_file_system(r, ch, e) < 0)
		return -1;
	if (stats.copied && stats.linked == 0)
		*copied += stats.bytes;
	if (*copied > r->volume_bytes)
		return no_room(r, ch, *copied, e);
	return worker_report(link,
	                     json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "t", "placed", "channel", (json_int_t)i,
	                               "objects", (json_int_t)stats.objects, "bytes", (json_int_t)stats.bytes, "linked",
	                               (json_int_t)stats.linked, "copied", (json_int_t)stats.copied, "ms",
	                               (json_int_t)mono_ms_since(start)),
	                     e);
}

/* Every failure of a download has the service's words before it, once (contract 2.3). */
static int download_failed(const struct channel_spec *ch, struct err *e)
{
	static const char lead[] = "Data download failed:";
	char text[4096];
	enum err_kind kind = e->kind;

	err_text(e, text, sizeof(text));
	if (kind == ERR_IO && (e->os == ENOSPC || e->os == EDQUOT))
		return err_set(e, ERR_CLIENT, "%sInsufficient disk space on the training host (channel %s: %s)", lead,
		               ch->name, text);
	if (kind == ERR_IO || kind == ERR_BUG || kind == ERR_BUSY)
		return err_in(e, "placing channel %s", ch->name);
	if (str_find(str_of(text), STR("Data download failed:")) >= 0)
		return -1;
	*e = (struct err){ 0 };
	return err_set(e, ERR_CLIENT, "%s%s", lead, text);
}

/* By the store's mount, too, and not on the volume. */
static int open_farm(struct run *r, struct err *e)
{
	if (mkdirat(r->home_fd, "farm", 0755) < 0 && errno != EEXIST)
		return err_sys(e, "making work/farm");
	return open_beneath(r->home_fd, "farm", O_RDONLY | O_DIRECTORY, 0, e);
}

/* All that is going to be downloaded, before any of it is: a job whose data do not fit hears so at once. */
static int check_room(const struct run *r, struct channel_env *env, struct err *e)
{
	uint64_t sum = 0, bytes = 0;

	for (size_t i = 0; i < r->spec.channel_count; i++) {
		const struct channel_spec *ch = &r->spec.channels[i];

		env->way = channel_way(ch, &r->spec);
		if (channel_room(ch, env, &bytes, e) < 0)
			return download_failed(ch, e);
		if (bytes > r->volume_bytes || (sum += bytes) > r->volume_bytes)
			return no_room(r, ch, sum > bytes ? sum : bytes, e);
	}
	return 0;
}

static int place_all(struct worker_link *link, void *arg, struct err *e)
{
	struct run *r = arg;
	_cleanup_free_ char *fetch = strf("%s/bloomery-fetch", r->programs_dir);
	_cleanup_free_ char *objects = strf("%s/objects", r->data_dir);
	/* By the store's mount: a hard link does not cross mounts. */
	_cleanup_close_ int data = open_beneath(r->home_fd, "tree/opt/ml/input/data", O_RDONLY | O_DIRECTORY, 0, e);
	_cleanup_close_ int farm = data < 0 ? -EBADF : open_farm(r, e);
	_cleanup_close_ int store = open(objects, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct channel_env env = { .job_dirfd = r->job_fd,
		                   .objects_dirfd = store < 0 ? -EBADF : store,
		                   .data_dirfd = data,
		                   .farm_dirfd = farm,
		                   .fetch_program = fetch,
		                   .s3 = &r->spec.s3,
		                   .say = say,
		                   .cancelled = never,
		                   .arg = link };
	uint64_t copied = 0;

	if (data < 0 || farm < 0 || check_room(r, &env, e) < 0)
		return -1;
	for (size_t i = 0; i < r->spec.channel_count; i++)
		if (place_channel(r, link, i, &env, &copied, e) < 0)
			return download_failed(&r->spec.channels[i], e);
	return 0;
}

/* ---- in the parent ---- */

static uint64_t number(const json_t *msg, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(msg, name));
}

static int on_report(void *arg, const json_t *msg, struct err *e)
{
	struct run *r = arg;
	const char *t = json_string_value(json_object_get(msg, "t"));

	(void)e;
	if (str_is(str_of(t), "say")) {
		run_say(r, "%s", json_string_value(json_object_get(msg, "text")));
	} else if (str_is(str_of(t), "placed")) {
		struct channel_stats stats = { .objects = number(msg, "objects"),
			                       .bytes = number(msg, "bytes"),
			                       .linked = number(msg, "linked"),
			                       .copied = number(msg, "copied") };
		size_t channel = (size_t)number(msg, "channel");

		must(channel < r->spec.channel_count);
		log_info("channel %s: %llu objects, %llu bytes, %llu linked, %llu copied",
		         r->spec.channels[channel].name, (unsigned long long)stats.objects,
		         (unsigned long long)stats.bytes, (unsigned long long)stats.linked,
		         (unsigned long long)stats.copied);
		feeds_prepared(r, channel, &stats, (int64_t)number(msg, "ms"));
	}
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

enum step phase_channels(struct run *r, struct err *e)
{
	struct worker_task task = { .work = place_all,
		                    .report = on_report,
		                    .ended = on_ended,
		                    .arg = r,
		                    .name = "the placing of the input data" };

	if (run_fact(r, FACT_DOWNLOADING, NULL, e) < 0)
		return STEP_FAIL;
	if (r->spec.channel_count == 0)
		return STEP_NEXT;
	feeds_open(r);
	return worker_start(r->loop, &task, &r->worker, e) < 0 ? STEP_FAIL : STEP_WAIT;
}

void stop_worker(struct run *r)
{
	if (r->worker)
		worker_kill(r->worker);
}

/* Some modes keep something open beside the data; what was placed goes with work/. */
void undo_channels(struct run *r)
{
	struct channel_env env = { .job_dirfd = r->job_fd,
		                   .objects_dirfd = -EBADF,
		                   .s3 = &r->spec.s3,
		                   .say = say_nothing,
		                   .cancelled = never };
	_cleanup_close_ int data = openat(r->home_fd, "tree/opt/ml/input/data", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int farm = openat(r->home_fd, "farm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	worker_free(take_ptr(r->worker));
	unmount_file_systems(r);
	env.data_dirfd = data;
	env.farm_dirfd = farm;
	for (size_t i = 0; data >= 0 && i < r->spec.channel_count; i++) {
		const struct channel_ops *ops;

		env.way = channel_way(&r->spec.channels[i], &r->spec);
		ops = channel_ops_for(env.way);
		if (ops->close)
			ops->close(&r->spec.channels[i], &env);
	}
}
