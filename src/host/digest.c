/* What names of images mean at their registries, and what scans find in images: bloomery-image does it, a few at a
 * time, with the secrets that only root reads. Nothing is kept: who wants to know asks again.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "host/inside.h"
#include "oci/import.h"
#include "oci/reference.h"

enum {
	AT_WORK_MAX = 4,
	WAITING_MAX = 1000,
	SAID_MAX = 64 << 10,
	WORDS_MAX = 1000,
	LIMIT_MS = 180000,
	SCAN_LIMIT_MS = 3600000
};

struct ask {
	struct host *host;
	struct ask *next;
	bool scan;
	int64_t n; /* of a digest that is asked for */
	char *image;
	pid_t pid; /* 0: it waits */
	int out_fd, said_fd;
	struct loop_source *process, *limit;
};

static void ask_free(struct ask *a)
{
	loop_source_free(a->process);
	loop_source_free(a->limit);
	cleanup_closep(&a->out_fd);
	cleanup_closep(&a->said_fd);
	free(a->image);
	free(a);
}

static void start_some(struct host *h);

static void remove_ask(struct ask *a)
{
	struct host *h = a->host;

	for (struct ask **at = &h->asks.first; *at; at = &(*at)->next)
		if (*at == a) {
			*at = a->next;
			break;
		}
	if (a->pid)
		h->asks.at_work--;
	ask_free(a);
}

static char *last_line(int fd)
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
	return str_dup(line);
}

static void refuse(struct ask *a, const char *why)
{
	if (a->scan)
		link_scan(a->host, a->image, why);
	else
		link_digest(a->host, a->n, NULL, why);
}

static void on_end(void *arg, int code, int status)
{
	struct ask *a = arg;
	struct host *h = a->host;
	bool good = code == CLD_EXITED && status == 0;
	bool found = a->scan && code == CLD_EXITED && status == IMAGE_EXIT_FINDINGS;
	_cleanup_free_ char *text = last_line(good || found ? a->out_fd : a->said_fd);

	if (a->scan)
		link_scan(h, a->image, good ? NULL : *text ? text : "bloomery-image did not scan it");
	else if (good && digest_valid(str_of(text)))
		link_digest(h, a->n, text, NULL);
	else
		link_digest(h, a->n, NULL, good || !*text ? "bloomery-image did not find out the digest" : text);
	remove_ask(a);
	start_some(h);
}

static void on_limit(void *arg)
{
	struct ask *a = arg;

	log_warn("%s image %s is takes too long", a->scan ? "scanning what" : "asking what", a->image);
	kill(a->pid, SIGKILL); /* on_end follows */
}

static int start(struct ask *a, struct err *e)
{
	struct host *h = a->host;
	_cleanup_free_ char *programs = program_dir(), *program = strf("%s/bloomery-image", programs);
	_cleanup_free_ char *images = strf("%s/images", h->options.data_dir), *conf = strf("%d", h->conf_fd);
	const char *const digest[] = { program,     "--images", images, "--quiet", "digest",
		                       "--conf-fd", conf,       "--",   a->image,  NULL };
	const char *const scan[] = { program,     "--images", images, "--quiet", "scan", "--pull",
		                     "--conf-fd", conf,       "--",   a->image,  NULL };
	struct spawn_options o = {
		.argv = a->scan ? scan : digest, .in = -1, .keep = &h->conf_fd, .keep_count = 1, .die_with_parent = true
	};

	a->out_fd = memfd_create("digest", MFD_CLOEXEC);
	a->said_fd = memfd_create("said", MFD_CLOEXEC);
	if (a->out_fd < 0 || a->said_fd < 0)
		return err_sys(e, "making a file");
	o.out = a->out_fd;
	o.err_fd = a->said_fd;
	if (spawn(&o, &a->pid, e) < 0)
		return -1;
	h->asks.at_work++;
	a->limit = loop_timer(h->loop, a->scan ? SCAN_LIMIT_MS : LIMIT_MS, 0, on_limit, a);
	a->process = loop_process(h->loop, a->pid, true, on_end, a);
	return a->process ? 0 : err_sys(e, "watching bloomery-image");
}

static void start_some(struct host *h)
{
	for (struct ask *a = h->asks.first, *next; a && h->asks.at_work < AT_WORK_MAX; a = next) {
		struct err e = { 0 };

		next = a->next;
		if (a->pid || start(a, &e) == 0)
			continue;
		refuse(a, e.frame[0]);
		if (a->pid) {
			kill(a->pid, SIGKILL);
			waitpid(a->pid, NULL, 0);
		}
		remove_ask(a);
	}
}

static void ask(struct host *h, bool scan, int64_t n, const char *image)
{
	struct ask **at = &h->asks.first, *a = xcalloc(1, sizeof(*a));
	struct reference r;
	size_t waiting = 0;

	*a = (struct ask){
		.host = h, .scan = scan, .n = n, .image = xstrdup(image), .out_fd = -EBADF, .said_fd = -EBADF
	};
	if (reference_parse(str_of(image), &r, NULL) < 0) {
		refuse(a, "this is no name of an image");
		ask_free(a);
		return;
	}
	for (; *at; at = &(*at)->next, waiting++)
		if ((*at)->scan == scan && (scan ? !strcmp((*at)->image, image) : (*at)->n == n)) {
			ask_free(a);
			return;
		}
	if (waiting >= WAITING_MAX) {
		refuse(a, "too many images are being asked for");
		ask_free(a);
		return;
	}
	*at = a;
	start_some(h);
}

void digest_ask(struct host *h, int64_t n, const char *image)
{
	ask(h, false, n, image ? image : "");
}

void scan_ask(struct host *h, const char *image)
{
	ask(h, true, 0, image ? image : "");
}

void digest_close(struct host *h)
{
	while (h->asks.first) {
		struct ask *a = h->asks.first;

		if (a->pid) {
			kill(a->pid, SIGKILL);
			waitpid(a->pid, NULL, 0);
		}
		remove_ask(a);
	}
}
