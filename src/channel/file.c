/* File mode: the whole channel is a directory of files before the container starts (contract 2.3). FastFile of few
 * objects of the embedded store is the same, made of links beside the input data and without a manifest.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "channel/mode.h"

enum { OBJECTS_A_THREAD = 256, THREADS_MAX = 8, CHECK_EVERY = 256 };

/* One prepare() at work. */
struct filling {
	const struct channel_spec *ch;
	const struct channel_env *env;
	int dirfd; /* <data>/<channel>, or <farm>/<channel> */
	struct placer *placer;
	struct share *share;
	FILE *manifest; /* NULL when linked */
	struct buf dir; /* path, below dirfd, of the directory entered last; "." at first */
	struct buf scratch;
	struct channel_stats stats;
	char clash[1025]; /* a key that cannot be placed because another one is in the way */
};

/* ---- directories ---- */

static int clashes(struct filling *f, struct str key, struct err *e)
{
	snprintf(f->clash, sizeof(f->clash), PRIstr, ARGstr(key));
	return err_set(e, ERR_IN_USE, "the key " PRIstr " is in the way of another", ARGstr(key));
}

static int open_dir(const struct filling *f, const char *path)
{
	struct open_how how = {
		.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};

	return (int)syscall(SYS_openat2, f->dirfd, path, &how, sizeof(how));
}

static int no_dir(const struct filling *f, struct str key, int why, struct err *e)
{
	if (why == ENOSPC || why == EDQUOT)
		return err_set(e, ERR_CLIENT, "Data download failed:Insufficient disk space");
	errno = why;
	err_sys(e, "making its directory");
	return err_in(e, "Data download failed:Unable to download object s3://%s/" PRIstr, f->ch->bucket, ARGstr(key));
}

/* Makes dir (below the channel's) the one that files go into. Keys come sorted, so it mostly is already. */
static int enter(struct filling *f, struct str dir, struct str key, struct err *e)
{
	int fd;

	if (str_eq(dir, buf_view(&f->dir)))
		return 0;
	buf_reset(&f->scratch);
	buf_str(&f->scratch, dir);
	fd = open_dir(f, f->scratch.p);
	if (fd < 0 && errno == ENOENT) {
		struct err mine = { 0 };

		if (mkdir_all(f->dirfd, f->scratch.p, 0755, &mine) < 0 && mine.os != ENOTDIR)
			return no_dir(f, key, mine.os, e);
		fd = open_dir(f, f->scratch.p);
	}
	if (fd < 0 && (errno == ENOTDIR || errno == ELOOP))
		return clashes(f, key, e);
	if (fd < 0)
		return no_dir(f, key, errno, e);
	placer_enter(f->placer, fd);
	buf_reset(&f->dir);
	buf_str(&f->dir, dir);
	return 0;
}

/* ---- objects ---- */

static int add_object(struct filling *f, const struct list_entry *object, struct err *e)
{
	struct err why = { 0 };
	struct str dir, leaf;
	bool is_dir;

	if (channel_rel_path(str_of(f->ch->prefix), object->key, &dir, &is_dir, &why) < 0)
		return channel_bad_key(f->ch->bucket, object->key, &why, e);
	f->stats.objects++;
	f->stats.bytes += object->size;
	if (is_dir)
		return enter(f, dir.n ? dir : STR("."), object->key, e);
	leaf = str_cut_last(&dir, '/');
	if (enter(f, dir.n ? dir : STR("."), object->key, e) < 0)
		return -1;
	return placer_add(f->placer, object, leaf, e);
}

static int add_to_manifest(struct filling *f, struct str key, struct err *e)
{
	if (!f->manifest)
		return 0;
	if (fprintf(f->manifest, "s3://%s/", f->ch->bucket) < 0 || fwrite(key.p, 1, key.n, f->manifest) != key.n ||
	    putc('\n', f->manifest) == EOF)
		return err_sys(e, "writing the manifest");
	return 0;
}

static struct list_reader *open_list(const struct filling *f, struct err *e)
{
	int fd = channel_open_list(f->ch, f->env->job_dirfd, e);
	struct list_reader *list = NULL;

	return fd < 0 || list_open_fd(fd, &list, e) < 0 ? NULL : list;
}

/* Walks the list: every key into the manifest, this host's into the directory. */
static int walk(struct filling *f, struct err *e)
{
	_cleanup_(list_closep) struct list_reader *list = open_list(f, e);
	struct list_entry object;
	int rc = 0;

	if (!list)
		return -1;
	for (uint64_t i = 0; (rc = list_next(list, &object, e)) > 0; i++) {
		if (i % CHECK_EVERY == 0 && f->env->cancelled && f->env->cancelled(f->env->arg))
			return err_set(e, ERR_BUSY, "stopped");
		if (add_to_manifest(f, object.key, e) < 0)
			return -1;
		if (share_has(f->share, i) && add_object(f, &object, e) < 0)
			return -1;
	}
	return rc;
}

/* ---- two keys, one name ---- */

/* Something was in the way of f->clash: looks through the list for what, to name both. */
static int name_both(const struct filling *f, struct err *e)
{
	_cleanup_(list_closep) struct list_reader *list = open_list(f, e);
	struct str prefix = str_of(f->ch->prefix), key = str_of(f->clash), path = key, other;
	struct list_entry object;
	bool is_dir = false, other_dir = false;

	if (!list || channel_rel_path(prefix, key, &path, &is_dir, e) < 0)
		return -1;
	for (uint64_t i = 0; list_next(list, &object, NULL) > 0; i++) {
		bool first = str_cmp(object.key, key) < 0;

		if (!share_has(f->share, i) || str_eq(object.key, key))
			continue;
		if (channel_rel_path(prefix, object.key, &other, &other_dir, NULL) < 0 ||
		    !channel_collide(path, is_dir, other, other_dir))
			continue;
		return err_set(e, ERR_CLIENT,
		               "Data download failed:Failed to download data. S3 keys s3://%s/" PRIstr
		               " and s3://%s/" PRIstr
		               " are in each other's way in the channel's directory: a name cannot be two files, nor a "
		               "file and a directory. Rename one of the objects, or use a narrower prefix",
		               f->ch->bucket, ARGstr(first ? object.key : key), f->ch->bucket,
		               ARGstr(first ? key : object.key));
	}
	return err_set(e, ERR_IO,
	               "Data download failed:Unable to download object s3://%s/" PRIstr ": its name is taken",
	               f->ch->bucket, ARGstr(key));
}

/* ---- the channel ---- */

/* The empty directory, and the manifest with its first line. */
static int start_placed(struct filling *f, struct err *e)
{
	_cleanup_close_ int manifest = -EBADF;

	if (channel_make(f->ch, f->env, &f->dirfd, &manifest, e) < 0)
		return -1;
	f->manifest = fdopen(manifest, "w");
	if (!f->manifest)
		return err_sys(e, "opening the manifest");
	(void)take_fd(manifest);
	return 0;
}

/* The farm's directory, and the one that it is to be mounted on. */
static int start_linked(struct filling *f, struct err *e)
{
	_cleanup_close_ int point = channel_make_dir(f->ch, f->env->data_dirfd, e);

	if (point < 0)
		return -1;
	f->dirfd = channel_make_dir(f->ch, f->env->farm_dirfd, e);
	return f->dirfd < 0 ? -1 : 0;
}

static int start(struct filling *f, struct err *e)
{
	int root;

	if ((f->env->way == CHANNEL_LINKED ? start_linked(f, e) : start_placed(f, e)) < 0)
		return -1;
	root = fcntl(f->dirfd, F_DUPFD_CLOEXEC, 3);
	if (root < 0)
		return err_sys(e, "opening the directory");
	placer_enter(f->placer, root);
	buf_z(&f->dir, ".");
	return 0;
}

static int finish(struct filling *f, struct err *e)
{
	int rc;

	if (placer_finish(f->placer, &f->stats.linked, &f->stats.copied, e) < 0)
		return -1;
	rc = f->manifest ? fclose(take_ptr(f->manifest)) : 0;
	return rc ? err_sys(e, "writing the manifest") : 0;
}

static unsigned threads_for(const struct channel_spec *ch)
{
	uint64_t n = ch->objects / OBJECTS_A_THREAD;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	if (cpus > 0 && n > (uint64_t)cpus)
		n = (uint64_t)cpus;
	return (unsigned)(n < THREADS_MAX ? n : THREADS_MAX);
}

static int fill(struct filling *f, struct err *e)
{
	if (start(f, e) < 0 || walk(f, e) < 0 || finish(f, e) < 0) {
		struct str clash = placer_clash(f->placer);

		if (clash.n)
			snprintf(f->clash, sizeof(f->clash), PRIstr, ARGstr(clash));
		return f->clash[0] ? name_both(f, e) : -1;
	}
	return 0;
}

static int prepare_embedded(const struct channel_spec *ch, const struct channel_env *env,
                            struct channel_stats *ret_stats, struct err *e)
{
	_cleanup_(placer_freep) struct placer *placer = placer_new(&(struct placer_options){
	        .objects_dirfd = env->objects_dirfd,
	        .bucket = ch->bucket,
	        .threads = threads_for(ch),
	        .cancelled = env->cancelled,
	        .arg = env->arg,
	});
	_cleanup_(share_freep) struct share *share = share_new(ch);
	struct filling f = { .ch = ch, .env = env, .placer = placer, .share = share, .dirfd = -EBADF };
	int rc = fill(&f, e);

	cleanup_closep(&f.dirfd);
	if (f.manifest)
		fclose(f.manifest);
	buf_fini(&f.dir);
	buf_fini(&f.scratch);
	if (rc < 0)
		return -1;
	if (f.stats.copied && env->say) {
		_cleanup_free_ char *text = strf("channel '%s': %" PRIu64 " of %" PRIu64
		                                 " objects had to be copied, not linked",
		                                 ch->name, f.stats.copied, f.stats.objects);

		env->say(env->arg, text);
	}
	*ret_stats = f.stats;
	return 0;
}

static int file_prepare(const struct channel_spec *ch, const struct channel_env *env, struct channel_stats *ret_stats,
                        struct err *e)
{
	mode_t mask = umask(022);
	int rc = ch->place == PLACE_REMOTE ? channel_prepare_remote(ch, env, ret_stats, e)
	                                   : prepare_embedded(ch, env, ret_stats, e);

	umask(mask);
	return rc;
}

const struct channel_ops channel_file = { .prepare = file_prepare, .close = channel_remove };
