/* Images for hosts that are elsewhere: bloomery-image packs them, one at a time, into the job's directory.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "host/inside.h"

enum { SAID_MAX = 64 << 10, WORDS_MAX = 1000, IMAGE_NAME_MAX = 1024 };

struct pack {
	struct pack *next;
	char id[17], *image;
	int dir;
};

static void pack_free(struct pack *p)
{
	cleanup_closep(&p->dir);
	free(p->image);
	free(p);
}

static void start(struct host *h);

/* The last line that was said. */
static char *last_words(int fd)
{
	_cleanup_free_ char *text = xcalloc(1, SAID_MAX + 1);
	struct str all, line;
	size_t n = 0;

	if (fd < 0 || lseek(fd, 0, SEEK_SET) < 0 || fd_read_full(fd, text, SAID_MAX, &n, NULL) < 0)
		n = 0;
	all = str_trim((struct str){ text, n });
	line = str_has_byte(all, '\n') ? str_cut_last(&all, '\n') : all;
	str_skip(&line, STR("bloomery-image: "));
	if (line.n > WORDS_MAX)
		line.n = WORDS_MAX;
	while (line.n && !utf8_valid(line))
		line.n--;
	return line.n ? str_dup(line) : xstrdup("bloomery-image said nothing");
}

static void note_failure(struct pack *p, int status, const char *words)
{
	json_t *j = json_pack("{si ss}", "status", status, "text", words);
	_cleanup_free_ char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	struct err e = { 0 };

	json_decref(j);
	log_warn("job %s: packing its image: %s", p->id, words);
	if (file_write_atomic(p->dir, "image.error", str_of(text), 0644, false, &e) < 0)
		log_err(LOG_WARN, &e, "job %s: packing its image", p->id);
}

static void finish(struct host *h)
{
	struct pack *p = h->packs.first;

	loop_source_free(take_ptr(h->packs.process));
	cleanup_closep(&h->packs.said_fd);
	h->packs.said_fd = -EBADF;
	h->packs.pid = 0;
	h->packs.first = p->next;
	pack_free(p);
	start(h);
}

static void on_end(void *arg, int code, int status)
{
	struct host *h = arg;
	_cleanup_free_ char *words = NULL;

	if (code != CLD_EXITED || status != 0) {
		words = last_words(h->packs.said_fd);
		note_failure(h->packs.first, code == CLD_EXITED ? status : -1, words);
	}
	finish(h);
}

static int run(struct host *h, struct pack *p, struct err *e)
{
	_cleanup_free_ char *programs = program_dir(), *program = strf("%s/bloomery-image", programs);
	_cleanup_free_ char *images = strf("%s/images", h->options.data_dir), *dir = strf("%d", p->dir);
	const char *const argv[] = { program, "--images", images, "--quiet", "pack", "--", p->image, dir, NULL };
	struct spawn_options o = {
		.argv = argv, .in = -1, .out = -1, .keep = &p->dir, .keep_count = 1, .die_with_parent = true
	};

	h->packs.said_fd = memfd_create("said", MFD_CLOEXEC);
	if (h->packs.said_fd < 0)
		return err_sys(e, "making a file");
	o.err_fd = h->packs.said_fd;
	if (spawn(&o, &h->packs.pid, e) < 0)
		return -1;
	h->packs.process = loop_process(h->loop, h->packs.pid, true, on_end, h);
	return h->packs.process ? 0 : err_sys(e, "watching bloomery-image");
}

static void start(struct host *h)
{
	struct err e = { 0 };

	if (!h->packs.first || h->packs.pid || run(h, h->packs.first, &e) == 0)
		return;
	note_failure(h->packs.first, -1, e.frame[0]);
	finish(h);
}

void pack_image(struct host *h, struct str id, const char *image)
{
	struct pack **at = &h->packs.first;
	struct err e = { 0 };
	char leaf[17];
	int fd;

	if (!job_id_valid(id) || !image || !*image || strlen(image) > IMAGE_NAME_MAX) {
		log_warn("bloomeryd asked for an image in a way that makes no sense");
		return;
	}
	memcpy(leaf, id.p, 16);
	leaf[16] = 0;
	for (; *at; at = &(*at)->next)
		if (strcmp((*at)->id, leaf) == 0)
			return;
	fd = open_beneath(h->jobs_fd, leaf, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, &e);
	if (fd < 0) {
		log_err(LOG_WARN, &e, "job %s: packing its image", leaf);
		return;
	}
	*at = xcalloc(1, sizeof(**at));
	(*at)->dir = fd;
	(*at)->image = xstrdup(image);
	memcpy((*at)->id, leaf, sizeof(leaf));
	start(h);
}

void pack_close(struct host *h)
{
	loop_source_free(take_ptr(h->packs.process));
	if (h->packs.pid > 0) {
		kill(h->packs.pid, SIGKILL);
		waitpid(h->packs.pid, NULL, 0);
	}
	cleanup_closep(&h->packs.said_fd);
	while (h->packs.first) {
		struct pack *p = h->packs.first;

		h->packs.first = p->next;
		pack_free(p);
	}
}
