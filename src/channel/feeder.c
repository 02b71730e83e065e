/* SPDX-License-Identifier: Apache-2.0 */
#include "channel/feeder.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"

enum { ORDER_MAX_BYTES = 1 << 20, TEXT_MAX = 4096 };

/* ---- the work order: one row a member, the same for both directions ---- */

enum form { TEXT, FLAG, I64, UINT, FD, PLACE };
struct member {
	const char *name;
	enum form form;
	bool optional;
	size_t offset;
};

/* clang-format off */
#define AT(field) .offset = offsetof(struct feeder_order, field)
static const struct member members[] = {
	{ "channel",      TEXT,  AT(channel) },
	{ "input_mode",   TEXT,  AT(input_mode) },
	{ "place",        PLACE, AT(place) },
	{ "bucket",       TEXT,  AT(bucket) },
	{ "prefix",       TEXT,  AT(prefix) },
	{ "lines",        FLAG,  AT(lines) },
	{ "record_io",    FLAG,  AT(record_io) },
	{ "gzip",         FLAG,  AT(gzip) },
	{ "shuffled",     FLAG,  AT(order.shuffled) },
	{ "seed",         I64,   AT(order.seed) },
	{ "share_number", UINT,  AT(order.share_number) },
	{ "share_count",  UINT,  AT(order.share_count) },
	{ "list",         FD,    AT(list_fd) },
	{ "objects",      FD,    .optional = true, AT(objects_fd) },
	{ "data",         FD,    .optional = true, AT(data_fd) },
	{ "spool",        FD,    .optional = true, AT(spool_fd) },
	{ "fuse",         FD,    .optional = true, AT(fuse_fd) },
	{ "endpoint",     TEXT,  .optional = true, AT(s3.endpoint) },
	{ "region",       TEXT,  .optional = true, AT(s3.region) },
	{ "access_key",   TEXT,  .optional = true, AT(s3.access_key) },
	{ "secret_key",   TEXT,  .optional = true, AT(s3.secret_key) },
	{ "session_token", TEXT, .optional = true, AT(s3.session_token) },
};
/* clang-format on */

static json_t *member_json(const struct member *m, const void *at)
{
	switch (m->form) {
	case TEXT: return *(char *const *)at ? json_string(*(char *const *)at) : NULL;
	case FLAG: return json_boolean(*(const bool *)at);
	case I64: return json_integer(*(const int64_t *)at);
	case UINT: return json_integer(*(const unsigned *)at);
	case FD: return *(const int *)at >= 0 ? json_integer(*(const int *)at) : NULL;
	case PLACE: return json_string(*(const enum place *)at == PLACE_REMOTE ? "remote" : "embedded");
	}
	return NULL;
}

char *feeder_order_text(const struct feeder_order *o)
{
	json_t *j = json_object();
	char *text;

	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		json_t *v = member_json(&members[i], (const char *)o + members[i].offset);

		if (v)
			json_object_set_new(j, members[i].name, v);
	}
	text = json_dumps(j, JSON_COMPACT);
	json_decref(j);
	must(text);
	return text;
}

static bool read_member(const struct member *m, const json_t *v, void *at)
{
	json_int_t n = json_integer_value(v);
	const char *z = json_string_value(v);

	switch (m->form) {
	case TEXT:
		if (!z)
			return false;
		*(char **)at = xstrdup(z);
		return true;
	case FLAG: *(bool *)at = json_is_true(v); return json_is_boolean(v);
	case I64: *(int64_t *)at = n; return json_is_integer(v);
	case UINT: *(unsigned *)at = (unsigned)n; return json_is_integer(v) && n >= 0 && n <= 1000000;
	case FD: *(int *)at = (int)n; return json_is_integer(v) && n > 2 && n < 1 << 20;
	case PLACE:
		*(enum place *)at = z && strcmp(z, "remote") == 0 ? PLACE_REMOTE : PLACE_EMBEDDED;
		return z && (strcmp(z, "remote") == 0 || strcmp(z, "embedded") == 0);
	}
	return false;
}

static int read_members(const json_t *j, struct feeder_order *o, struct err *e)
{
	size_t known = 0;

	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		const json_t *v = json_object_get(j, members[i].name);

		if (!v && members[i].optional)
			continue;
		if (!v)
			return err_set(e, ERR_INVALID, "%s is missing in the work order", members[i].name);
		if (!read_member(&members[i], v, (char *)o + members[i].offset))
			return err_set(e, ERR_INVALID, "%s is wrong in the work order", members[i].name);
		known++;
	}
	if (known != json_object_size(j))
		return err_set(e, ERR_INVALID, "the work order has a member that there is not");
	if (o->order.share_count < 1 || o->order.share_number >= o->order.share_count)
		return err_set(e, ERR_INVALID, "share_number is wrong in the work order");
	if (o->place == PLACE_EMBEDDED ? o->objects_fd < 0 : !o->s3.access_key || !o->s3.secret_key)
		return err_set(e, ERR_INVALID, "%s missing in the work order",
		               o->place == PLACE_EMBEDDED ? "objects is" : "the keys of the S3 are");
	return 0;
}

int feeder_order_read(int fd, struct feeder_order *ret, struct err *e)
{
	struct feeder_order o = { .list_fd = -1, .objects_fd = -1, .data_fd = -1, .spool_fd = -1, .fuse_fd = -1 };
	struct buf text = { 0 };
	size_t got = 0;
	json_t *j;
	int rc;

	buf_need(&text, ORDER_MAX_BYTES);
	if (fd_read_full(fd, text.p, ORDER_MAX_BYTES, &got, e) < 0) {
		buf_fini(&text);
		return err_in(e, "the work order");
	}
	j = json_loadb(text.p, got, JSON_REJECT_DUPLICATES, NULL);
	explicit_bzero(text.p, got);
	buf_fini(&text);
	rc = json_is_object(j) ? read_members(j, &o, e) : err_set(e, ERR_INVALID, "the work order is no JSON object");
	json_decref(j);
	if (rc < 0)
		feeder_order_fini(&o);
	else
		*ret = o;
	return rc;
}

void feeder_order_fini(struct feeder_order *o)
{
	if (o->s3.secret_key)
		explicit_bzero(o->s3.secret_key, strlen(o->s3.secret_key));
	for (size_t i = 0; i < ARRAY_LEN(members); i++)
		if (members[i].form == TEXT)
			free(*(char **)((char *)o + members[i].offset));
	*o = (struct feeder_order){ 0 };
}

/* ---- statistics ---- */

static const struct {
	const char *name;
	size_t offset;
} figures[] = {
#define FIGURE(field)                                      \
	{                                                  \
#field, offsetof(struct feed_stats, field) \
	}
	FIGURE(epoch),        FIGURE(epochs),         FIGURE(objects),       FIGURE(bytes),     FIGURE(stalls_reader),
	FIGURE(stalls_store), FIGURE(wait_reader_ms), FIGURE(wait_store_ms), FIGURE(active_ms),
};

json_t *feed_stats_to_json(const struct feed_stats *s)
{
	json_t *j = json_object();

	for (size_t i = 0; i < ARRAY_LEN(figures); i++)
		json_object_set_new(
		        j, figures[i].name,
		        json_integer((json_int_t) * (const uint64_t *)((const char *)s + figures[i].offset)));
	return j;
}

void feed_stats_from_json(const json_t *j, struct feed_stats *ret)
{
	*ret = (struct feed_stats){ 0 };
	for (size_t i = 0; i < ARRAY_LEN(figures); i++) {
		json_int_t n = json_integer_value(json_object_get(j, figures[i].name));

		*(uint64_t *)((char *)ret + figures[i].offset) = n > 0 ? (uint64_t)n : 0;
	}
}

/* ---- answers ---- */

static const char *const words[] = {
	[FEEDER_READY] = "ready", [FEEDER_FEED] = "feed", [FEEDER_TROUBLE] = "trouble", [FEEDER_ERROR] = "error"
};

/* A line is one write, shorter than what a pipe takes whole, so that threads do not mix theirs. */
static void say(int fd, enum feeder_word word, json_t *what)
{
	json_t *j = json_object();
	_cleanup_free_ char *text = NULL;

	json_object_set_new(j, words[word], what ? what : json_object());
	text = json_dumps(j, JSON_COMPACT | JSON_ENSURE_ASCII);
	json_decref(j);
	if (text) {
		size_t n = strlen(text);

		text[n] = '\n'; /* in the place of the NUL */
		(void)!fd_write_all(fd, text, n + 1, NULL);
	}
}

/* JSON wants UTF-8, and a key of S3 may be anything. */
static json_t *sentence(const char *text)
{
	_cleanup_free_ char *copy = strndup(text, TEXT_MAX / 8);
	struct str s;

	must(copy);
	s = str_of(copy);
	if (!utf8_valid(s))
		for (size_t i = 0; i < s.n; i++)
			if ((unsigned char)copy[i] >= 0x80)
				copy[i] = '?';
	return json_string(copy);
}

void feeder_say_ready(int fd)
{
	say(fd, FEEDER_READY, NULL);
}

void feeder_say_feed(int fd, const struct feed_stats *s)
{
	say(fd, FEEDER_FEED, feed_stats_to_json(s));
}

void feeder_say_trouble(int fd, const char *text)
{
	say(fd, FEEDER_TROUBLE, json_pack("{s:o}", "text", sentence(text)));
}

void feeder_say_error(int fd, const struct err *why)
{
	char text[TEXT_MAX];

	err_text(why, text, sizeof(text));
	say(fd, FEEDER_ERROR, json_pack("{s:s, s:o}", "kind", err_info[why->kind].name, "text", sentence(text)));
}

static int take_text(const json_t *what, enum feeder_word word, struct feeder_answer *ret, struct err *e)
{
	const char *text = json_string_value(json_object_get(what, "text"));
	const char *kind = json_string_value(json_object_get(what, "kind"));

	if (!text)
		return err_set(e, ERR_SYNTAX, "an answer without its sentence");
	buf_z(&ret->text, text);
	ret->kind = word == FEEDER_ERROR ? ERR_IO : ERR_NONE;
	for (int k = ERR_NONE + 1; kind && k < ERR_KIND_COUNT; k++)
		if (strcmp(kind, err_info[k].name) == 0)
			ret->kind = (enum err_kind)k;
	return 0;
}

int feeder_answer_parse(struct str line, struct feeder_answer *ret, struct err *e)
{
	json_t *j = json_loadb(line.p, line.n, JSON_REJECT_DUPLICATES, NULL);
	int rc = err_set(e, ERR_SYNTAX, "not an answer of a feeder");

	buf_reset(&ret->text);
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		const json_t *what = json_object_get(j, words[i]);

		if (!json_is_object(what))
			continue;
		ret->word = (enum feeder_word)i;
		rc = 0;
		if (ret->word == FEEDER_FEED)
			feed_stats_from_json(what, &ret->feed);
		else if (ret->word != FEEDER_READY)
			rc = take_text(what, ret->word, ret, e);
		break;
	}
	json_decref(j);
	return rc;
}
