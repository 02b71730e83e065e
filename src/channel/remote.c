/* File mode from another S3: bloomery-fetch downloads the channel into its directory and tells the manifest.
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "channel/fetcher.h"
#include "channel/mode.h"

static int make_dir(const struct channel_spec *ch, const struct channel_env *env, struct err *e)
{
	int fd;

	if (remove_tree(env->data_dirfd, ch->name, e) < 0)
		return -1;
	if (mkdirat(env->data_dirfd, ch->name, 0755) < 0)
		return err_sys(e, "making the directory");
	fd = openat(env->data_dirfd, ch->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? err_sys(e, "opening the directory") : fd;
}

/* Open for appending behind its first line. */
static int make_manifest(const struct channel_spec *ch, const struct channel_env *env, struct err *e)
{
	_cleanup_free_ char *name = strf("%s-manifest", ch->name), *first = strf("%s\n", ch->prefix);
	_cleanup_close_ int fd = openat(env->data_dirfd, name,
	                                O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0644);

	if (fd < 0)
		return err_sys(e, "creating the manifest");
	return fd_write_all(fd, first, strlen(first), e) < 0 ? -1 : take_fd(fd);
}

int channel_prepare_remote(const struct channel_spec *ch, const struct channel_env *env,
                           struct channel_stats *ret_stats, struct err *e)
{
	bool sharded = str_is(str_of(ch->distribution), "ShardedByS3Key");
	_cleanup_close_ int dir = make_dir(ch, env, e), manifest = dir < 0 ? -EBADF : make_manifest(ch, env, e);
	struct fetcher f = { .program = env->fetch_program,
		             .verb = "get",
		             .fd = dir,
		             .manifest_fd = manifest,
		             .s3 = env->s3,
		             .bucket = ch->bucket,
		             .prefix = ch->prefix,
		             .shard = sharded ? env->host_number - 1 : 0,
		             .shards = sharded ? env->host_count : 1 };
	struct channel_stats stats = { 0 };

	if (dir < 0 || manifest < 0)
		return err_in(e, "channel '%s'", ch->name);
	if (fetcher_run(&f, &stats.objects, &stats.bytes, e) < 0)
		return -1;
	stats.copied = stats.objects;
	*ret_stats = stats;
	return 0;
}
