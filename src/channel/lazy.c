/* Channels whose data comes while the container runs, or by a mount: all that is made before is the directory to mount
 * on, and for Pipe not even that (contract 3.1). What this host's share comes to is counted for the log.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "channel/mode.h"
#include "channel/order.h"

static int add_unit(struct list_reader *list, uint64_t offset, struct channel_stats *stats, struct err *e)
{
	struct list_part part;
	size_t parts;

	if (list_unit(list, offset, &parts, e) < 0)
		return -1;
	stats->objects++;
	while (parts-- > 0) {
		if (list_part(list, &part, e) < 0)
			return -1;
		stats->bytes += part.literal ? part.bytes.n : part.object.size;
	}
	return 0;
}

/* The units of this host in epoch 0. */
static int count_share(const struct channel_spec *ch, struct list_reader *list, struct channel_stats *stats,
                       struct err *e)
{
	struct unit_order order = unit_order_of(ch);
	uint64_t *offsets = NULL, count = 0;
	uint32_t *numbers, n;
	int rc = 0;

	if (list_index(list, &offsets, &count, e) < 0)
		return -1;
	if (count > UINT32_MAX) {
		free(offsets);
		return err_set(e, ERR_CLIENT, "the channel has %llu objects, which is too many",
		               (unsigned long long)count);
	}
	numbers = xcalloc(count + 1, sizeof(*numbers));
	n = unit_order(&order, 0, (uint32_t)count, numbers);
	for (uint32_t i = 0; rc == 0 && i < n; i++)
		rc = add_unit(list, offsets[numbers[i]], stats, e);
	free(numbers);
	free(offsets);
	return rc;
}

static int share_stats(const struct channel_spec *ch, const struct channel_env *env, struct channel_stats *ret,
                       struct err *e)
{
	_cleanup_(list_closep) struct list_reader *list = NULL;
	int fd;

	if (ch->share_count <= 1) {
		*ret = (struct channel_stats){ .objects = ch->objects, .bytes = ch->bytes };
		return 0;
	}
	fd = channel_open_list(ch, env->job_dirfd, e);
	if (fd < 0 || list_open_fd(fd, &list, e) < 0)
		return -1;
	return count_share(ch, list, ret, e);
}

static int lazy_prepare(const struct channel_spec *ch, const struct channel_env *env, struct channel_stats *ret_stats,
                        struct err *e)
{
	_cleanup_close_ int point = -EBADF;
	struct channel_stats stats = { 0 };

	if (channel_name_check(ch, e) < 0)
		return -1;
	if (env->way != CHANNEL_PIPED) {
		point = channel_make_dir(ch, env->data_dirfd, e);
		if (point < 0)
			return -1;
	}
	if (env->way != CHANNEL_MOUNTED && share_stats(ch, env, &stats, e) < 0)
		return -1;
	*ret_stats = stats;
	return 0;
}

const struct channel_ops channel_lazy = { .prepare = lazy_prepare, .close = channel_remove };
