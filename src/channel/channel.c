/* SPDX-License-Identifier: Apache-2.0 */
#include "channel/channel.h"

#include "channel/mode.h"
#include "s3/s3.h"

static const struct channel_ops *const modes[] = { &channel_file };

const struct channel_ops *channel_ops_for(const char *input_mode)
{
	for (size_t i = 0; i < ARRAY_LEN(modes); i++)
		if (strcmp(modes[i]->mode, input_mode) == 0)
			return modes[i];
	return NULL;
}

int channel_rel_path(struct str prefix, struct str key, struct str *ret_rel, bool *ret_dir, struct err *e)
{
	return s3_rel_path(prefix, key, ret_rel, ret_dir, e);
}

bool channel_takes(const struct channel_spec *ch, const struct channel_env *env, uint64_t i)
{
	if (!ch->distribution || strcmp(ch->distribution, "ShardedByS3Key") != 0 || env->host_count < 2)
		return true;
	return i % env->host_count == env->host_number - 1;
}

int channel_bad_key(const struct channel_spec *ch, struct str key, const struct err *cause, struct err *e)
{
	_cleanup_free_ char *named = strf("the key " PRIstr " ", ARGstr(key));
	struct str why = str_of(cause->frame[0]);

	if (cause->kind != ERR_CLIENT) {
		if (e)
			*e = *cause;
		return -1;
	}
	str_skip(&why, str_of(named));
	return err_set(e, ERR_CLIENT,
	               "Data download failed:Failed to download data. S3 key: s3://%s/" PRIstr " " PRIstr, ch->bucket,
	               ARGstr(key), ARGstr(why));
}
