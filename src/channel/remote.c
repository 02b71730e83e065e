/* File mode from another S3: bloomery-fetch downloads this host's share of the frozen list into the channel's
 * directory, and the job's log hears how far it is.  SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "channel/fetcher.h"
#include "channel/mode.h"

enum { SAY_EVERY_MS = 10000 };

struct placing {
	const struct channel_spec *ch;
	const struct channel_env *env;
	struct mono said;
	uint64_t said_bytes;
};

/* ---- the log ---- */

static void add_rate(struct buf *out, uint64_t bytes, int64_t ms)
{
	buf_bytes(out, ms > 0 ? (uint64_t)((double)bytes * 1000 / (double)ms) : bytes);
	buf_z(out, "/s");
}

/* channel 'train': 3.2 GiB of 10 GiB, 1200 of 5000 objects, 410 MiB/s */
static void say_progress(void *arg, const struct fetch_progress *p)
{
	struct placing *w = arg;
	int64_t ms = mono_ms_since(w->said);
	_cleanup_buf_ struct buf text = { 0 };

	if (ms < SAY_EVERY_MS || !w->env->say)
		return;
	buf_f(&text, "channel '%s': ", w->ch->name);
	buf_bytes(&text, p->bytes);
	buf_z(&text, " of ");
	buf_bytes(&text, p->total_bytes);
	buf_f(&text, ", %llu of %llu objects, ", (unsigned long long)p->objects, (unsigned long long)p->total_objects);
	add_rate(&text, p->bytes > w->said_bytes ? p->bytes - w->said_bytes : 0, ms);
	if (p->trouble)
		buf_f(&text, "; the store does not deliver, trying again: %s", p->trouble);
	w->env->say(w->env->arg, text.p);
	w->said = mono_now();
	w->said_bytes = p->bytes;
}

/* ---- the list ---- */

static int temporary(const struct placing *w, struct err *e)
{
	int fd = openat(w->env->data_dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	return fd < 0 ? err_sys(e, "making a temporary file") : fd;
}

static int add_to_manifest(FILE *manifest, const struct channel_spec *ch, struct str key, struct err *e)
{
	if (fprintf(manifest, "s3://%s/", ch->bucket) < 0 || fwrite(key.p, 1, key.n, manifest) != key.n ||
	    putc('\n', manifest) == EOF)
		return err_sys(e, "writing the manifest");
	return 0;
}

/* Goes through the list once: every key into the manifest, which tells the whole channel (contract 1.3), what is ours
 * into mine. */
static int walk(const struct placing *w, struct list_reader *list, FILE *manifest, FILE *mine, struct err *e)
{
	_cleanup_(share_freep) struct share *share = share_new(w->ch);
	struct list_entry entry;
	int rc;

	for (uint64_t i = 0; (rc = list_next(list, &entry, e)) > 0; i++)
		if (add_to_manifest(manifest, w->ch, entry.key, e) < 0 ||
		    (share_has(share, i) && list_write(mine, &entry, e) < 0))
			return -1;
	if (rc == 0 && (fflush(manifest) != 0 || fflush(mine) != 0))
		return err_sys(e, "writing the manifest");
	return rc;
}

static FILE *stream_of(int fd, const char *mode)
{
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	FILE *f = own < 0 ? NULL : fdopen(own, mode);

	if (!f)
		cleanup_closep(&own);
	return f;
}

/* The part of the list that is this host's, as a file of its own. */
static int list_mine(const struct placing *w, int manifest_fd, struct err *e)
{
	_cleanup_(list_closep) struct list_reader *list = NULL;
	_cleanup_close_ int fd = temporary(w, e);
	int from = fd < 0 ? -1 : channel_open_list(w->ch, w->env->job_dirfd, e), rc = -1;
	FILE *manifest, *mine;

	if (from < 0 || list_open_fd(from, &list, e) < 0)
		return -1;
	manifest = stream_of(manifest_fd, "a");
	mine = stream_of(fd, "w");
	if (!manifest || !mine)
		err_sys(e, "writing the manifest");
	else
		rc = walk(w, list, manifest, mine, e);
	if (manifest)
		fclose(manifest);
	if (mine)
		fclose(mine);
	return rc < 0 ? -1 : take_fd(fd);
}

int channel_room(const struct channel_spec *ch, const struct channel_env *env, uint64_t *ret_bytes, struct err *e)
{
	_cleanup_(share_freep) struct share *share = NULL;
	_cleanup_(list_closep) struct list_reader *list = NULL;
	struct list_entry entry;
	uint64_t bytes = 0;
	int fd, rc;

	if (env->way != CHANNEL_PLACED || ch->place != PLACE_REMOTE || ch->share_count == 1) {
		*ret_bytes = env->way == CHANNEL_PLACED && ch->place == PLACE_REMOTE ? ch->bytes : 0;
		return 0;
	}
	fd = channel_open_list(ch, env->job_dirfd, e);
	if (fd < 0 || list_open_fd(fd, &list, e) < 0)
		return -1;
	share = share_new(ch);
	for (uint64_t i = 0; (rc = list_next(list, &entry, e)) > 0; i++)
		bytes += share_has(share, i) ? entry.size : 0;
	if (rc == 0)
		*ret_bytes = bytes;
	return rc;
}

int channel_prepare_remote(const struct channel_spec *ch, const struct channel_env *env,
                           struct channel_stats *ret_stats, struct err *e)
{
	_cleanup_close_ int dir = -EBADF, manifest = -EBADF, list = -EBADF;
	struct placing w = { .ch = ch, .env = env, .said = mono_now() };
	struct fetched got = { 0 };
	struct fetcher f = { .program = env->fetch_program,
		             .verb = "get",
		             .s3 = env->s3,
		             .bucket = ch->bucket,
		             .prefix = ch->prefix,
		             .progress = say_progress,
		             .arg = &w };

	if (channel_make(ch, env, &dir, &manifest, e) < 0)
		return -1;
	list = list_mine(&w, manifest, e);
	if (list < 0)
		return -1;
	f.fd = dir;
	f.list_fd = list;
	if (fetcher_run(&f, &got, e) < 0)
		return -1;
	*ret_stats = (struct channel_stats){ .objects = got.objects, .bytes = got.bytes, .copied = got.objects };
	fetched_fini(&got);
	return 0;
}
