/* SPDX-License-Identifier: Apache-2.0 */
#include "run/feeds.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fd.h"
#include "base/log.h"
#include "run/phase.h"
#include "run/reason.h"

enum { WRITE_EVERY_MS = 2000, SAY_AFTER_MS = 1000, TENTH = 10 };

/* ---- words ---- */

/* 1234567 -> "1,234,567" */
static void add_count(uint64_t n, const char *what, struct buf *out)
{
	char digits[24];
	int len = snprintf(digits, sizeof(digits), "%" PRIu64, n);

	for (int i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			buf_c(out, ',');
		buf_c(out, digits[i]);
	}
	buf_f(out, " %s%s", what, n == 1 ? "" : "s");
}

static void add_seconds(uint64_t ms, struct buf *out)
{
	buf_f(out, "%" PRIu64 ".%" PRIu64 " s", ms / 1000, ms % 1000 / 100);
}

static void add_rate(uint64_t bytes, uint64_t ms, struct buf *out)
{
	if (ms == 0)
		return;
	buf_z(out, ", ");
	reason_bytes((uint64_t)((double)bytes * 1000 / (double)ms), out);
	buf_z(out, " a second");
}

void feed_start_line(const struct channel_spec *ch, const struct feed *f, struct buf *out)
{
	buf_f(out, "channel '%s': %s, ", ch->name, ch->input_mode);
	if (f->way == CHANNEL_MOUNTED) {
		buf_f(out, "%s of the file system %s, %s", ch->directory_path, ch->file_system_id,
		      strcmp(ch->file_system_access, "rw") == 0 ? "to read and write" : "read-only");
		return;
	}
	add_count(f->share.objects,
	          ch->s3_data_type && strcmp(ch->s3_data_type, "AugmentedManifestFile") == 0 ? "line" : "object", out);
	buf_z(out, ", ");
	reason_bytes(f->share.bytes, out);
	if (ch->share_count > 1)
		buf_f(out, ", which is this host's share (%u of %u)", ch->share_number + 1, ch->share_count);
	if (f->way == CHANNEL_LINKED) {
		buf_z(out, ", linked in ");
		add_seconds((uint64_t)f->prepare_ms, out);
	} else {
		buf_z(out, f->way == CHANNEL_PIPED ? ", piped as it is read" : ", fetched as it is read");
	}
	if (ch->shuffled)
		buf_f(out, ", shuffled with seed %" PRId64, ch->shuffle_seed);
}

enum bottleneck feed_bottleneck(const struct feed_stats *s)
{
	uint64_t most = s->wait_reader_ms > s->wait_store_ms ? s->wait_reader_ms : s->wait_store_ms;

	if (s->active_ms < SAY_AFTER_MS || most < s->active_ms / TENTH)
		return BOTTLENECK_NEITHER;
	return s->wait_store_ms >= s->wait_reader_ms ? BOTTLENECK_DATA : BOTTLENECK_TRAINER;
}

void feed_end_line(const struct channel_spec *ch, const struct feed *f, struct buf *out)
{
	const struct feed_stats *s = &f->stats;

	buf_f(out, "channel '%s': ", ch->name);
	if (s->epochs == 0 && s->bytes == 0) {
		buf_z(out, "nothing of it was read");
		return;
	}
	if (f->way == CHANNEL_PIPED) {
		add_count(s->epochs, "epoch", out);
		buf_z(out, " begun, ");
	}
	add_count(s->objects, "object", out);
	buf_z(out, " and ");
	reason_bytes(s->bytes, out);
	buf_z(out, " read in ");
	add_seconds(s->active_ms, out);
	add_rate(s->bytes, s->active_ms, out);
	buf_z(out, ". The data was waited for ");
	add_count(s->stalls_store, "time", out);
	buf_z(out, ", ");
	add_seconds(s->wait_store_ms, out);
	buf_z(out, "; the trainer ");
	add_count(s->stalls_reader, "time", out);
	buf_z(out, ", ");
	add_seconds(s->wait_reader_ms, out);
	switch (feed_bottleneck(s)) {
	case BOTTLENECK_TRAINER:
		buf_z(out, ". The bottleneck was the trainer: data was there, and it was busy with something else");
		break;
	case BOTTLENECK_DATA: buf_z(out, ". The bottleneck was the data: the trainer was ready for more"); break;
	case BOTTLENECK_NEITHER: break;
	}
}

/* ---- feeds.json ---- */

static json_t *feed_to_json(const struct channel_spec *ch, const struct feed *f)
{
	static const char *const ways[] = { [CHANNEL_PLACED] = "placed",
		                            [CHANNEL_LINKED] = "linked",
		                            [CHANNEL_FUSED] = "fused",
		                            [CHANNEL_PIPED] = "piped",
		                            [CHANNEL_MOUNTED] = "mounted" };
	static const char *const bottlenecks[] = {
		[BOTTLENECK_NEITHER] = "neither", [BOTTLENECK_TRAINER] = "trainer", [BOTTLENECK_DATA] = "data"
	};
	json_t *j = json_pack("{s:s, s:s, s:s}", "channel", ch->name, "mode", ch->input_mode, "way", ways[f->way]);

	must(j);
	if (f->prepared && f->way != CHANNEL_MOUNTED) {
		json_object_set_new(j, "objects", json_integer((json_int_t)f->share.objects));
		json_object_set_new(j, "bytes", json_integer((json_int_t)f->share.bytes));
	}
	if (f->prepared && (f->way == CHANNEL_PLACED || f->way == CHANNEL_LINKED))
		json_object_set_new(j, "seconds", json_real((double)f->prepare_ms / 1000));
	if (f->fed) {
		json_object_set_new(j, "feed", feed_stats_to_json(&f->stats));
		json_object_set_new(j, "bottleneck", json_string(bottlenecks[feed_bottleneck(&f->stats)]));
	}
	return j;
}

json_t *feeds_to_json(const struct run *r)
{
	struct wall now = wall_now();
	json_t *channels = json_array(), *j;

	for (size_t i = 0; i < r->spec.channel_count; i++)
		json_array_append_new(channels, feed_to_json(&r->spec.channels[i], &r->feeds[i]));
	j = json_pack("{s:I, s:s, s:o}", "at", (json_int_t)now.ms, "host", r->spec.host_name, "channels", channels);
	must(j);
	return j;
}

static void write_file(struct run *r)
{
	json_t *j = feeds_to_json(r);
	_cleanup_free_ char *text = json_dumps(j, JSON_COMPACT);
	struct err e = { 0 };

	json_decref(j);
	must(text);
	if (file_write_atomic(r->job_fd, "feeds.json", str_of(text), 0644, false, &e) < 0)
		log_err(LOG_WARN, &e, "writing feeds.json");
}

static void on_time(void *arg)
{
	struct run *r = arg;

	loop_source_free(take_ptr(r->feeds_timer));
	write_file(r);
}

/* Written two seconds later, with all that has changed till then. */
static void changed(struct run *r)
{
	if (r->feeds_timer)
		return;
	r->feeds_timer = loop_timer(r->loop, WRITE_EVERY_MS, 0, on_time, r);
	if (!r->feeds_timer)
		write_file(r);
}

/* ---- what happens ---- */

void feeds_open(struct run *r)
{
	if (r->feeds || r->spec.channel_count == 0)
		return;
	r->feeds = xcalloc(r->spec.channel_count, sizeof(*r->feeds));
	for (size_t i = 0; i < r->spec.channel_count; i++)
		r->feeds[i].way = channel_way(&r->spec.channels[i], &r->spec);
}

void feeds_close(struct run *r)
{
	loop_source_free(take_ptr(r->feeds_timer));
	free(take_ptr(r->feeds));
}

void feeds_prepared(struct run *r, size_t channel, const struct channel_stats *share, int64_t ms)
{
	const struct channel_spec *ch = &r->spec.channels[channel];
	struct feed *f = &r->feeds[channel];
	struct buf line = { 0 };

	f->prepared = true;
	f->share = *share;
	f->prepare_ms = ms;
	if (f->way != CHANNEL_PLACED) {
		feed_start_line(ch, f, &line);
		run_say(r, "%s", line.p);
	}
	buf_fini(&line);
	changed(r);
}

void feeds_told(struct run *r, size_t channel, const struct feed_stats *stats)
{
	r->feeds[channel].fed = true;
	r->feeds[channel].stats = *stats;
	changed(r);
}

void feeds_end(struct run *r)
{
	for (size_t i = 0; r->feeds && i < r->spec.channel_count; i++) {
		enum channel_way way = r->feeds[i].way;
		struct buf line = { 0 };

		if (way == CHANNEL_PIPED || way == CHANNEL_FUSED) {
			feed_end_line(&r->spec.channels[i], &r->feeds[i], &line);
			run_say(r, "%s.", line.p);
		}
		buf_fini(&line);
	}
	loop_source_free(take_ptr(r->feeds_timer));
	if (r->feeds)
		write_file(r);
}
