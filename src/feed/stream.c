/* SPDX-License-Identifier: Apache-2.0 */
#include "feed/stream.h"

#include "feed/inflate.h"
#include "feed/recordio.h"

struct stream {
	struct feed *feed;
	struct source *source;
	struct out out;
	struct inflater *inflater; /* made when first needed */
	struct spool spool;
};

/* Where a record's bytes are taken from, in order. */
enum from { FROM_LIST, FROM_SOURCE, FROM_SPOOL };

static int give(struct stream *s, const struct feed_item *i, enum from from, uint64_t at, uint64_t n, struct err *e)
{
	if (!n)
		return 0;
	switch (from) {
	case FROM_LIST: return out_add(&s->out, (struct str){ i->bytes.p + at, (size_t)n }, e);
	case FROM_SOURCE: return s->source->ops->give(s->source, n, &s->out, e);
	case FROM_SPOOL: return spool_give(&s->spool, at, n, &s->out, e);
	}
	return 0;
}

static int give_record(struct stream *s, const struct feed_item *i, enum from from, uint64_t size, struct err *e)
{
	static const char zeros[4];
	uint64_t at = 0;
	int rc;

	do {
		unsigned char head[RECORD_HEAD];
		unsigned pad;
		uint32_t n = record_piece(size, at, head, &pad);

		rc = out_add(&s->out, (struct str){ (const char *)head, RECORD_HEAD }, e);
		rc = rc ? rc : give(s, i, from, at, n, e);
		rc = rc ? rc : out_add(&s->out, (struct str){ zeros, pad }, e);
		at += n;
	} while (rc == 0 && at < size);
	return rc;
}

/* What has come out of the inflater so far goes on. 0, OUT_GONE, -1. */
static int take_inflated(struct stream *s, bool to_spool, struct err *e)
{
	struct str bytes;
	int rc;

	while ((rc = inflater_next(s->inflater, &bytes, e)) > 0) {
		rc = to_spool ? spool_add(&s->spool, bytes, e) : out_add(&s->out, bytes, e);
		if (rc != 0)
			return rc;
	}
	return rc;
}

static int inflate_item(struct stream *s, bool to_spool, struct err *e)
{
	struct str piece;
	int rc;

	if (!s->inflater)
		s->inflater = inflater_new();
	inflater_reset(s->inflater);
	while ((rc = s->source->ops->read(s->source, &s->out, &piece, e)) == 1) {
		inflater_feed(s->inflater, piece);
		rc = take_inflated(s, to_spool, e);
		if (rc != 0)
			return rc;
	}
	return rc != 0 ? rc : inflater_end(s->inflater, e);
}

/* Unpacks the whole object, because a record begins with its length. */
static int give_inflated_record(struct stream *s, const struct feed_item *i, struct err *e)
{
	int rc = inflate_item(s, true, e);

	if (rc == 0)
		rc = give_record(s, i, FROM_SPOOL, spool_size(&s->spool), e);
	spool_reset(&s->spool);
	return rc;
}

static int give_item(struct stream *s, const struct feed_item *i, struct err *e)
{
	const struct feeder_order *o = s->feed->order;
	enum from from = i->literal ? FROM_LIST : FROM_SOURCE;

	if (o->gzip && !i->literal)
		return o->record_io ? give_inflated_record(s, i, e) : inflate_item(s, false, e);
	return o->record_io ? give_record(s, i, from, i->size, e) : give(s, i, from, 0, i->size, e);
}

static int give_items(struct stream *s, struct err *e)
{
	const struct feed_item *i;
	int rc;

	while ((rc = s->source->ops->next(s->source, &s->out, &i, e)) > 0) {
		rc = give_item(s, i, e);
		if (rc < 0 && !i->literal)
			return err_in(e, "s3://" PRIstr "/" PRIstr, ARGstr(i->bucket), ARGstr(i->key));
		if (rc != 0)
			return rc;
		if (!i->literal)
			atomic_fetch_add_explicit(&s->feed->counts.objects, 1, memory_order_relaxed);
	}
	return rc < 0 ? -1 : out_flush(&s->out, e);
}

int stream_epoch(struct feed *f, uint64_t epoch, int fd, struct err *e)
{
	struct stream s = { .feed = f };
	struct walk *w;
	int rc;

	if (walk_new(f->order, &f->index, epoch, &w, e) < 0)
		return -1;
	out_init(&s.out, fd, &f->counts);
	spool_init(&s.spool, f->order->spool_fd, &f->spooled);
	s.source = f->remote ? source_remote_new(f->remote, w) : source_store_new(f->order->objects_fd, w);
	rc = give_items(&s, e);
	if (rc < 0 && out_gone(&s.out))
		rc = OUT_GONE; /* nobody wanted what could not be had */
	source_free(s.source);
	inflater_free(s.inflater);
	spool_fini(&s.spool);
	out_fini(&s.out);
	return rc;
}
