/* SPDX-License-Identifier: Apache-2.0 */
#include "feed/walk.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct walk {
	const struct feeder_order *order;
	const struct feed_index *index;
	struct list_reader *list;
	uint32_t *units; /* numbers of those of this epoch, in its order */
	uint32_t count, next;
	size_t parts; /* still to come of the unit before `next` */
};

/* A descriptor with an offset of its own. */
static int open_list(int list_fd, struct list_reader **ret, struct err *e)
{
	char path[40];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", list_fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "opening the channel's list");
	return list_open_fd(fd, ret, e);
}

int feed_index_read(int list_fd, struct feed_index *ret, struct err *e)
{
	_cleanup_(list_closep) struct list_reader *list = NULL;
	_cleanup_free_ uint64_t *offsets = NULL;
	uint64_t count;

	if (open_list(list_fd, &list, e) < 0 || list_index(list, &offsets, &count, e) < 0)
		return -1;
	if (count > UINT32_MAX)
		return err_set(e, ERR_LIMIT, "a channel of %llu objects is too large", (unsigned long long)count);
	*ret = (struct feed_index){ take_ptr(offsets), (uint32_t)count };
	return 0;
}

void feed_index_fini(struct feed_index *x)
{
	free(x->offsets);
	*x = (struct feed_index){ 0 };
}

/* ---- items ---- */

struct feed_item *feed_item_ref(struct feed_item *i)
{
	atomic_fetch_add_explicit(&i->users, 1, memory_order_relaxed);
	return i;
}

void feed_item_unref(struct feed_item *i)
{
	if (!i || atomic_fetch_sub_explicit(&i->users, 1, memory_order_acq_rel) > 1)
		return;
	cleanup_closep(&i->fd);
	free(i);
}

static struct str keep(char **at, struct str s)
{
	struct str kept = { *at, s.n };

	if (s.n)
		memcpy(*at, s.p, s.n);
	(*at)[s.n] = 0;
	*at += s.n + 1;
	return kept;
}

static struct feed_item *item_new(const struct list_part *p, struct str channel_bucket)
{
	const struct list_entry *o = &p->object;
	struct str bucket = o->bucket.n ? o->bucket : channel_bucket;
	size_t text = p->literal ? p->bytes.n + 1 : bucket.n + o->key.n + o->etag.n + o->object_id.n + 4;
	struct feed_item *i = xrealloc(NULL, sizeof(*i) + text);
	char *at = i->text;

	*i = (struct feed_item){ .literal = p->literal, .size = p->literal ? p->bytes.n : o->size, .fd = -EBADF };
	atomic_init(&i->users, 1);
	if (p->literal) {
		i->bytes = keep(&at, p->bytes);
		return i;
	}
	i->bucket = keep(&at, bucket);
	i->key = keep(&at, o->key);
	i->etag = keep(&at, o->etag);
	i->id = keep(&at, o->object_id);
	return i;
}

/* ---- the walk ---- */

int walk_new(const struct feeder_order *order, const struct feed_index *x, uint64_t epoch, struct walk **ret,
             struct err *e)
{
	_cleanup_(walk_freep) struct walk *w = xcalloc(1, sizeof(*w));

	w->order = order;
	w->index = x;
	if (open_list(order->list_fd, &w->list, e) < 0)
		return -1;
	w->units = xcalloc((size_t)x->count + 1, sizeof(*w->units));
	w->count = unit_order(&order->order, epoch, x->count, w->units);
	*ret = take_ptr(w);
	return 0;
}

void walk_free(struct walk *w)
{
	if (!w)
		return;
	list_close(w->list);
	free(w->units);
	free(w);
}

int walk_next(struct walk *w, struct feed_item **ret, struct err *e)
{
	struct list_part part;

	while (!w->parts) {
		if (w->next == w->count)
			return 0;
		if (list_unit(w->list, w->index->offsets[w->units[w->next]], &w->parts, e) < 0)
			return -1;
		w->next++;
	}
	if (list_part(w->list, &part, e) < 0)
		return -1;
	w->parts--;
	*ret = item_new(&part, str_of(w->order->bucket));
	return 1;
}
