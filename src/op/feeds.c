/* SPDX-License-Identifier: Apache-2.0 */
#include "op/feeds.h"

#include <fcntl.h>
#include <math.h>
#include <unistd.h>

#include "base/fd.h"

static const char *const modes[] = { "File", "Pipe", "FastFile" };
static const char *const ways[] = { "placed", "linked", "fused", "piped", "mounted" };
static const char *const bottlenecks[] = { "trainer", "data", "neither" };

/* The numbers of a feed, by their names in the file. */
static const struct {
	const char *name;
	size_t at;
} numbers[] = {
#define NUMBER(member)                                         \
	{                                                      \
#member, offsetof(struct feed_numbers, member) \
	}
	NUMBER(epoch),        NUMBER(epochs),         NUMBER(objects),       NUMBER(bytes),     NUMBER(stalls_reader),
	NUMBER(stalls_store), NUMBER(wait_reader_ms), NUMBER(wait_store_ms), NUMBER(active_ms),
#undef NUMBER
};

static uint64_t *number_at(struct feed_numbers *n, size_t i)
{
	return (uint64_t *)(void *)((char *)n + numbers[i].at);
}

/* ---- reading ---- */

static int wrong(const char *member, const char *is, struct err *e)
{
	return err_set(e, ERR_SYNTAX, "'%s' %s", member, is);
}

static int read_count(const json_t *j, const char *member, uint64_t *ret, struct err *e)
{
	const json_t *v = json_object_get(j, member);

	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return wrong(member, "is not a count", e);
	*ret = (uint64_t)json_integer_value(v);
	return 0;
}

/* One of `words`, and with `may_miss` none. */
static int read_word(const json_t *j, const char *member, const char *const *words, size_t count, bool may_miss,
                     const char **ret, struct err *e)
{
	const json_t *v = json_object_get(j, member);
	struct str text = { json_string_value(v), json_string_length(v) };

	*ret = NULL;
	if (!v && may_miss)
		return 0;
	for (size_t i = 0; json_is_string(v) && i < count; i++)
		if (str_is(text, words[i]))
			*ret = words[i];
	return *ret ? 0 : wrong(member, "is no word that is known", e);
}

/* Names go into answers and labels; what no channel or host can be called is not let through. */
static bool is_name(struct str s)
{
	if (!s.n || s.n >= FEEDS_NAME_BYTES)
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_", s.p[i]) || !s.p[i])
			return false;
	return true;
}

static int read_name(const json_t *j, const char *member, char ret[FEEDS_NAME_BYTES], struct err *e)
{
	const json_t *v = json_object_get(j, member);
	struct str text = { json_string_value(v), json_string_length(v) };

	if (!json_is_string(v) || !is_name(text))
		return wrong(member, "is no name", e);
	memcpy(ret, text.p, text.n);
	ret[text.n] = 0;
	return 0;
}

static int read_seconds(const json_t *j, double *ret, struct err *e)
{
	const json_t *v = json_object_get(j, "seconds");

	*ret = -1;
	if (!v)
		return 0;
	if (!json_is_number(v) || !isfinite(json_number_value(v)) || json_number_value(v) < 0)
		return wrong("seconds", "is no length of time", e);
	*ret = json_number_value(v);
	return 0;
}

static int read_share(const json_t *j, struct feed_channel *ret, struct err *e)
{
	ret->counted = json_object_get(j, "objects") || json_object_get(j, "bytes");
	if (!ret->counted)
		return 0;
	if (read_count(j, "objects", &ret->objects, e) < 0 || read_count(j, "bytes", &ret->bytes, e) < 0)
		return -1;
	return 0;
}

static int read_feed(const json_t *j, struct feed_channel *ret, struct err *e)
{
	const json_t *feed = json_object_get(j, "feed");

	ret->fed = feed || strcmp(ret->way, "piped") == 0 || strcmp(ret->way, "fused") == 0;
	if (!feed) /* of those that nobody has read yet nothing is told: all is 0 */
		return 0;
	if (!json_is_object(feed))
		return wrong("feed", "is not an object", e);
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		if (read_count(feed, numbers[i].name, number_at(&ret->numbers, i), e) < 0)
			return err_in(e, "'feed'");
	return 0;
}

static int read_channel(const json_t *j, struct feed_channel *ret, struct err *e)
{
	if (!json_is_object(j))
		return err_set(e, ERR_SYNTAX, "is not an object");
	if (read_name(j, "channel", ret->name, e) < 0 ||
	    read_word(j, "mode", modes, ARRAY_LEN(modes), false, &ret->mode, e) < 0 ||
	    read_word(j, "way", ways, ARRAY_LEN(ways), false, &ret->way, e) < 0 ||
	    read_word(j, "bottleneck", bottlenecks, ARRAY_LEN(bottlenecks), true, &ret->bottleneck, e) < 0 ||
	    read_share(j, ret, e) < 0 || read_seconds(j, &ret->seconds, e) < 0)
		return -1;
	return read_feed(j, ret, e);
}

static int read_channels(const json_t *list, struct feeds *f, struct err *e)
{
	if (!json_is_array(list) || json_array_size(list) > FEEDS_CHANNELS)
		return wrong("channels", "is not a list of at most 20", e);
	for (size_t i = 0; i < json_array_size(list); i++) {
		struct feed_channel *c = &f->channels[i];

		if (read_channel(json_array_get(list, i), c, e) < 0)
			return err_in(e, "channel %zu", i);
		for (size_t k = 0; k < i; k++)
			if (strcmp(f->channels[k].name, c->name) == 0)
				return err_set(e, ERR_SYNTAX, "channel '%s' is there twice", c->name);
		f->count++;
	}
	return 0;
}

static int read_all(const json_t *j, struct feeds *f, struct err *e)
{
	uint64_t at;

	if (!json_is_object(j))
		return err_set(e, ERR_SYNTAX, "not a JSON object");
	if (read_count(j, "at", &at, e) < 0 || read_name(j, "host", f->host, e) < 0)
		return -1;
	f->at.ms = (int64_t)at;
	return read_channels(json_object_get(j, "channels"), f, e);
}

int feeds_parse(struct str text, struct feeds *ret, struct err *e)
{
	/* Depth is bounded by jansson (2048), and so is what a text of FEEDS_MAX_BYTES can cost. */
	json_t *j = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
	struct feeds f = { 0 };
	int rc = read_all(j, &f, e);

	json_decref(j);
	if (rc == 0)
		*ret = f;
	return rc;
}

int feeds_read(const char *data_dir, const char *id, struct feeds *ret, struct err *e)
{
	_cleanup_free_ char *path = strf("%s/jobs/%s", data_dir, id);
	_cleanup_close_ int dir = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_buf_ struct buf text = { 0 };

	if (dir < 0 && errno == ENOENT)
		return err_set(e, ERR_NOT_FOUND, "there is no directory of the job any more");
	if (dir < 0)
		return err_sys(e, "opening %s", path);
	if (file_read_plain(dir, "feeds.json", FEEDS_MAX_BYTES, &text, e) < 0)
		return -1;
	if (feeds_parse(buf_view(&text), ret, e) < 0)
		return err_in(e, "%s/feeds.json", path);
	return 0;
}

/* ---- writing ---- */

static json_t *channel_to_json(const struct feed_channel *c)
{
	json_t *j = json_pack("{ss ss ss}", "channel", c->name, "mode", c->mode, "way", c->way);
	struct feed_numbers n = c->numbers;
	json_t *feed;

	must(j);
	if (c->counted) {
		json_object_set_new(j, "objects", json_integer((json_int_t)c->objects));
		json_object_set_new(j, "bytes", json_integer((json_int_t)c->bytes));
	}
	if (c->seconds >= 0)
		json_object_set_new(j, "seconds", json_real(c->seconds));
	if (c->fed) {
		feed = json_object();
		for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
			json_object_set_new(feed, numbers[i].name, json_integer((json_int_t)*number_at(&n, i)));
		json_object_set_new(j, "feed", feed);
	}
	if (c->bottleneck)
		json_object_set_new(j, "bottleneck", json_string(c->bottleneck));
	return j;
}

json_t *feeds_to_json(const struct feeds *f)
{
	json_t *list = json_array(), *j;

	for (size_t i = 0; i < f->count; i++)
		json_array_append_new(list, channel_to_json(&f->channels[i]));
	j = json_pack("{sI ss so}", "at", (json_int_t)f->at.ms, "host", f->host, "channels", list);
	must(j);
	return j;
}
