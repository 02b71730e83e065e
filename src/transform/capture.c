/* SPDX-License-Identifier: Apache-2.0 */
#include "transform/capture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/hash.h"
#include "transform/text.h"

enum { SIDES = 2 };

static const struct {
	const char *part, *leaf, *folder;
} sides[SIDES] = { { ".capture-input.part", "capture-input", "input" },
	           { ".capture-output.part", "capture-output", "output" } };

struct capture {
	int dirfd;
	struct str destination; /* without a "/" at its end; the work's */
	const char *output;     /* S3OutputPath; the work's */
	char hour[sizeof("2026/11/21/19")];
	FILE *file[SIDES];
	uint64_t bytes[SIDES];
	bool any, bad; /* writing has failed */
};

static FILE *open_side(int dirfd, const char *leaf)
{
	int fd = openat(dirfd, leaf, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "w");

	if (fd >= 0 && !f)
		close(fd);
	return f;
}

int capture_open(const struct work *w, struct capture **ret, struct err *e)
{
	struct capture *c;

	*ret = NULL;
	if (!*w->capture)
		return 0;
	c = xcalloc(1, sizeof(*c));
	c->dirfd = w->out;
	c->destination = str_of(w->capture);
	while (str_ends(c->destination, STR("/")))
		c->destination.n--;
	c->output = w->output;
	/* "2026-11-21T19:00:00Z" */
	snprintf(c->hour, sizeof(c->hour), "%.4s/%.2s/%.2s/%.2s", w->started, w->started + 5, w->started + 8,
	         w->started + 11);
	for (size_t i = 0; i < SIDES; i++) {
		c->file[i] = open_side(c->dirfd, sides[i].part);
		if (!c->file[i]) {
			(void)err_sys(e, "making a manifest for DataCaptureConfig");
			capture_free(c);
			return -1;
		}
	}
	*ret = c;
	return 0;
}

void capture_free(struct capture *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < SIDES; i++) {
		if (!c->file[i])
			continue;
		fclose(c->file[i]);
		unlinkat(c->dirfd, sides[i].part, 0);
	}
	free(c);
}

/* Takes j over. */
static void put(struct capture *c, size_t side, const char *before, json_t *j)
{
	char *text = json_dumps(j, JSON_ENCODE_ANY);
	int n = fprintf(c->file[side], "%s%s", before, text ? text : "\"\"");

	c->bad |= n < 0;
	c->bytes[side] += n < 0 ? 0 : (uint64_t)n;
	free(text);
	json_decref(j);
}

static void begin(struct capture *c, size_t side, const char *prefix)
{
	size_t n = strlen(prefix);
	_cleanup_free_ char *whole = strf("%s%s", prefix, n && prefix[n - 1] == '/' ? "" : "/");

	put(c, side, "[", json_pack("{s:o}", "prefix", text_json(str_of(whole))));
}

void capture_add(struct capture *c, struct str bucket, struct str key, struct str out_key)
{
	if (!c)
		return;
	if (!c->any) {
		_cleanup_free_ char *from = strf("s3://" PRIstr "/", ARGstr(bucket));

		begin(c, 0, from);
		begin(c, 1, c->output);
		c->any = true;
	}
	put(c, 0, ", ", text_json(key));
	put(c, 1, ", ", text_json(out_key));
}

static int close_side(struct capture *c, size_t side, struct err *e)
{
	bool bad = fputs("]\n", c->file[side]) < 0 || c->bad;

	c->bytes[side] += 2;
	bad |= fclose(take_ptr(c->file[side])) != 0;
	if (!bad && renameat(c->dirfd, sides[side].part, c->dirfd, sides[side].leaf) == 0)
		return 0;
	(void)err_sys(e, "writing a manifest for DataCaptureConfig");
	unlinkat(c->dirfd, sides[side].part, 0);
	return -1;
}

int capture_close(struct capture *c, void (*each)(void *arg, const char *leaf, const char *uri, uint64_t bytes),
                  void *arg, struct err *e)
{
	char id[37];

	if (!c || !c->any)
		return 0;
	random_uuid(id);
	for (size_t i = 0; i < SIDES; i++) {
		_cleanup_free_ char *uri = strf(PRIstr "/%s/%s/%s.jsonl", ARGstr(c->destination), sides[i].folder,
		                                c->hour, id);

		if (close_side(c, i, e) < 0)
			return -1;
		each(arg, sides[i].leaf, uri, c->bytes[i]);
	}
	return 0;
}
