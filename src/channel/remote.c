/* File mode from another S3: bloomery-fetch downloads the channel into its directory and tells the manifest.
 * SPDX-License-Identifier: Apache-2.0 */
#include "channel/fetcher.h"
#include "channel/mode.h"

int channel_prepare_remote(const struct channel_spec *ch, const struct channel_env *env,
                           struct channel_stats *ret_stats, struct err *e)
{
	_cleanup_close_ int dir = -EBADF, manifest = -EBADF;
	struct fetcher f = { .program = env->fetch_program,
		             .verb = "get",
		             .s3 = env->s3,
		             .bucket = ch->bucket,
		             .prefix = ch->prefix,
		             .shard = ch->share_number,
		             .shards = ch->share_count };
	struct channel_stats stats = { 0 };

	if (channel_make(ch, env, &dir, &manifest, e) < 0)
		return -1;
	f.fd = dir;
	f.manifest_fd = manifest;
	if (fetcher_run(&f, &stats.objects, &stats.bytes, e) < 0)
		return -1;
	stats.copied = stats.objects;
	*ret_stats = stats;
	return 0;
}
