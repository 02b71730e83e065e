/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/feeds.h"

/* Before that much reading bloomery-job does not call anything a bottleneck. */
enum { SAY_AFTER_MS = 1000 };

static uint64_t count_at(const json_t *j, const char *member)
{
	json_int_t n = json_integer_value(json_object_get(j, member));

	return n < 0 ? 0 : (uint64_t)n;
}

static bool word_is(const json_t *j, const char *member, const char *word)
{
	const char *text = json_string_value(json_object_get(j, member));

	return text && strcmp(text, word) == 0;
}

/* ---- numbers as words ---- */

static const char *plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

/* ---- what a channel is ---- */

static const char *way_text(const json_t *c)
{
	static const struct {
		const char *way, *text;
	} ways[] = {
		{ "placed", "in place before the container started" },
		{ "linked", "links to the store's files, nothing copied" },
		{ "fused", "served on demand by a file system in user space" },
		{ "piped", "written into FIFOs while it is read" },
		{ "mounted", "a file system that is mounted" },
	};

	for (size_t i = 0; i < ARRAY_LEN(ways); i++)
		if (word_is(c, "way", ways[i].way))
			return ways[i].text;
	return "in a way that this program does not know";
}

static void print_share(const json_t *c, const char *host, int margin, FILE *to)
{
	const char *mode = json_string_value(json_object_get(c, "mode"));
	const json_t *seconds = json_object_get(c, "seconds");
	uint64_t objects = count_at(c, "objects");
	_cleanup_buf_ struct buf size = { 0 };
	char time[CLI_TIME_BYTES];

	buf_bytes(&size, count_at(c, "bytes"));
	fprintf(to, "%*s%s%s%s, %s", margin, "", host ? host : "", host ? ": " : "", mode ? mode : "?", way_text(c));
	if (json_object_get(c, "objects"))
		fprintf(to, ": %llu object%s, %s", (unsigned long long)objects, plural(objects), size.p);
	if (json_is_number(seconds))
		fprintf(to, ", in %s", access_duration(json_number_value(seconds), time));
	putc('\n', to);
}

/* ---- how it is fed ---- */

static void print_given(const json_t *c, const json_t *feed, int margin, FILE *to)
{
	uint64_t objects = count_at(feed, "objects"), bytes = count_at(feed, "bytes"), ms = count_at(feed, "active_ms");
	_cleanup_buf_ struct buf size = { 0 }, rate = { 0 };
	char time[CLI_TIME_BYTES];

	buf_bytes(&size, bytes);
	buf_bytes(&rate, ms ? (uint64_t)((double)bytes * 1000 / (double)ms) : 0);
	fprintf(to, "%*sgiven: %s, %llu object%s", margin, "", size.p, (unsigned long long)objects, plural(objects));
	if (word_is(c, "way", "piped"))
		fprintf(to, ", %llu epoch%s opened, the newest is %llu", (unsigned long long)count_at(feed, "epochs"),
		        plural(count_at(feed, "epochs")), (unsigned long long)count_at(feed, "epoch"));
	if (ms)
		fprintf(to, "; %s/s in the %s that it was read", rate.p, access_duration((double)ms / 1000, time));
	putc('\n', to);
}

static void print_waits(const json_t *feed, int margin, FILE *to)
{
	static const struct {
		const char *member, *stalls, *name;
	} sides[] = { { "wait_reader_ms", "stalls_reader", "the trainer" },
		      { "wait_store_ms", "stalls_store", "data" } };

	fprintf(to, "%*swaited: ", margin, "");
	for (size_t i = 0; i < ARRAY_LEN(sides); i++) {
		uint64_t times = count_at(feed, sides[i].stalls);
		char text[CLI_TIME_BYTES];

		fprintf(to, "%s%s for %s (%llu time%s)", i ? ", " : "",
		        access_duration((double)count_at(feed, sides[i].member) / 1000, text), sides[i].name,
		        (unsigned long long)times, plural(times));
	}
	putc('\n', to);
}

/* The sentence that all the numbers are for. */
static void print_bottleneck(const json_t *c, const json_t *feed, bool final, int margin, FILE *to)
{
	double active = (double)count_at(feed, "active_ms");
	double reader = active > 0 ? (double)count_at(feed, "wait_reader_ms") * 100 / active : 0;
	double store = active > 0 ? (double)count_at(feed, "wait_store_ms") * 100 / active : 0;

	fprintf(to, "%*s", margin, "");
	if (!count_at(feed, "epochs") && !count_at(feed, "bytes"))
		fputs(final ? "Nobody has read it.\n" : "Nobody has read it yet.\n", to);
	else if (word_is(c, "bottleneck", "trainer"))
		fprintf(to, "The trainer is the bottleneck: data waited for it %.0f %% of that time.\n",
		        reader > 100 ? 100 : reader);
	else if (word_is(c, "bottleneck", "data"))
		fprintf(to, "The data is the bottleneck: the trainer waited for it %.0f %% of that time.\n",
		        store > 100 ? 100 : store);
	else if (word_is(c, "bottleneck", "neither") && active >= SAY_AFTER_MS)
		fputs("Neither the trainer nor the data holds up the other.\n", to);
	else
		fputs("It has not been read for long enough to say what the bottleneck is.\n", to);
}

void feeds_print(const json_t *feeds, const char *channel, bool final, int margin, FILE *to)
{
	for (size_t i = 0; i < json_array_size(feeds); i++) {
		const json_t *told = json_array_get(feeds, i), *list = json_object_get(told, "channels");
		const char *host = json_string_value(json_object_get(told, "host"));

		for (size_t k = 0; k < json_array_size(list); k++) {
			const json_t *c = json_array_get(list, k), *feed = json_object_get(c, "feed");

			if (!channel || !word_is(c, "channel", channel))
				continue;
			print_share(c, json_array_size(feeds) > 1 ? host : NULL, margin, to);
			if (!json_is_object(feed))
				continue;
			print_given(c, feed, margin, to);
			print_waits(feed, margin, to);
			print_bottleneck(c, feed, final, margin, to);
		}
	}
}

static int ask(struct access *s, const char *job, const char *leaf, const char *member, json_t **ret, struct err *e)
{
	_cleanup_buf_ struct buf path = { 0 }, text = { 0 };
	struct err why = { 0 };
	json_t *j;

	*ret = NULL;
	buf_z(&path, "/bloomery/jobs/");
	buf_uri(&path, str_of(job), false);
	buf_f(&path, "/%s", leaf);
	if (access_get(s, path.p, &text, &why) < 0) {
		if (why.kind == ERR_NOT_FOUND)
			return 0;
		*e = why;
		return -1;
	}
	j = json_loadb(text.p, text.n, 0, NULL);
	*ret = json_incref(json_object_get(j, member));
	json_decref(j);
	return 0;
}

int feeds_ask(struct access *s, const char *job, json_t **ret, struct err *e)
{
	return ask(s, job, "feeds", "Feeds", ret, e);
}

int definitions_ask(struct access *s, const char *job, json_t **ret, struct err *e)
{
	return ask(s, job, "definitions", "MetricDefinitions", ret, e);
}

/* ---- metric definitions ---- */

static const char *word_at(const json_t *j, const char *member)
{
	const char *text = json_string_value(json_object_get(j, member));

	return text ? text : "";
}

static void print_definition(const json_t *counts, size_t i, FILE *to)
{
	uint64_t lines = 0, matched = 0, refused = 0, limited = 0;
	const json_t *refuser = NULL, *near = NULL;

	for (size_t k = 0; k < json_array_size(counts); k++) {
		const json_t *c = json_array_get(json_object_get(json_array_get(counts, k), "counts"), i);

		lines += count_at(c, "lines");
		matched += count_at(c, "matched");
		refused += count_at(c, "refused");
		limited += count_at(c, "limited");
		refuser = count_at(c, "refused") ? c : refuser;
		near = *word_at(c, "nearest") ? c : near;
	}
	fprintf(to, "%llu value%s in %llu line%s", (unsigned long long)matched, plural(matched),
	        (unsigned long long)lines, plural(lines));
	if (refused)
		fprintf(to, "; %llu matched without one, the last: '%s' %s", (unsigned long long)refused,
		        word_at(refuser, "last"), word_at(refuser, "why"));
	if (limited)
		fprintf(to, "; on %llu the expression took too long", (unsigned long long)limited);
	if (!matched && !refused && near)
		fprintf(to, "; nearest line: %s", word_at(near, "nearest"));
}

void definitions_print(const json_t *description, const json_t *counts, FILE *to)
{
	const json_t *all = json_object_get(json_object_get(description, "AlgorithmSpecification"),
	                                    "MetricDefinitions");

	for (size_t i = 0; i < json_array_size(all); i++) {
		const json_t *d = json_array_get(all, i);

		fprintf(to, "%-14s %s by `%s`", i ? "" : "metrics", word_at(d, "Name"), word_at(d, "Regex"));
		if (json_array_size(counts)) {
			fputs(": ", to);
			print_definition(counts, i, to);
		}
		putc('\n', to);
	}
}
