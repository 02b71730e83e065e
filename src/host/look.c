/* Looking into images before there is a job: bloomery-image does it, a few at a time, and its report is passed on.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "host/inside.h"
#include "jobdir/hostlink.h"
#include "oci/reference.h"

enum { AT_WORK_MAX = 4, WAITING_MAX = 100, WORDS_MAX = 100, SAID_MAX = 1000, LIMIT_MS = 30000 };

struct look {
	struct host *host;
	struct look *next;
	int64_t n;
	json_t *order;
	pid_t pid; /* 0: it waits */
	int out_fd, said_fd;
	struct loop_source *process, *limit;
};

static void remove_look(struct look *l)
{
	struct host *h = l->host;

	for (struct look **at = &h->looks.first; *at; at = &(*at)->next)
		if (*at == l) {
			*at = l->next;
			break;
		}
	if (l->pid)
		h->looks.at_work--;
	loop_source_free(l->process);
	loop_source_free(l->limit);
	cleanup_closep(&l->out_fd);
	cleanup_closep(&l->said_fd);
	json_decref(l->order);
	free(l);
}

static void start_some(struct host *h);

/* All of a file, which is cut where it is too long; the caller frees. */
static char *content(int fd, size_t max)
{
	char *text = xcalloc(1, max + 1);
	size_t n = 0;

	if (fd < 0 || lseek(fd, 0, SEEK_SET) < 0 || fd_read_full(fd, text, max, &n, NULL) < 0)
		n = 0;
	text[n] = 0;
	return text;
}

static void on_end(void *arg, int code, int status)
{
	struct look *l = arg;
	struct host *h = l->host;
	bool good = code == CLD_EXITED && status == 0;
	_cleanup_free_ char *text = content(good ? l->out_fd : l->said_fd, good ? HOSTLINK_MAX - 1024 : SAID_MAX);
	json_t *report = good ? json_loads(text, 0, NULL) : NULL;

	if (json_is_object(report)) {
		link_report(h, l->n, report, NULL);
	} else {
		struct str words = str_trim(str_of(text));
		_cleanup_free_ char *why = NULL;

		json_decref(report);
		str_skip(&words, STR("bloomery-image: "));
		why = good || !words.n || !utf8_valid(words) ? xstrdup("bloomery-image did not look into the image")
		                                             : str_dup(words);
		link_report(h, l->n, NULL, why);
	}
	remove_look(l);
	start_some(h);
}

static void on_limit(void *arg)
{
	struct look *l = arg;

	log_warn("looking into an image takes too long");
	kill(l->pid, SIGKILL); /* on_end follows */
}

static size_t add_words(const json_t *order, const char *member, const char *option, const char **argv, size_t n)
{
	const json_t *list = json_object_get(order, member), *word;
	size_t i;

	json_array_foreach (list, i, word)
		if (i < WORDS_MAX && json_is_string(word)) {
			argv[n++] = option;
			argv[n++] = json_string_value(word);
		}
	return n;
}

static int start(struct look *l, struct err *e)
{
	struct host *h = l->host;
	_cleanup_free_ char *programs = program_dir(), *program = strf("%s/bloomery-image", programs);
	_cleanup_free_ char *images = strf("%s/images", h->options.data_dir), *conf = strf("%d", h->conf_fd);
	const char *argv[16 + 6 * WORDS_MAX] = { program, "--images", images, "--quiet", "--conf-fd", conf };
	struct spawn_options o = {
		.argv = argv, .in = -1, .keep = &h->conf_fd, .keep_count = 1, .die_with_parent = true
	};
	size_t n = 6;

	n = add_words(l->order, "entrypoint", "--entrypoint", argv, n);
	n = add_words(l->order, "arguments", "--argument", argv, n);
	n = add_words(l->order, "env", "--env", argv, n);
	argv[n++] = "--";
	argv[n++] = "check";
	argv[n++] = json_string_value(json_object_get(l->order, "command"));
	argv[n++] = json_string_value(json_object_get(l->order, "image"));
	l->out_fd = memfd_create("report", MFD_CLOEXEC);
	l->said_fd = memfd_create("said", MFD_CLOEXEC);
	if (l->out_fd < 0 || l->said_fd < 0)
		return err_sys(e, "making a file");
	o.out = l->out_fd;
	o.err_fd = l->said_fd;
	if (spawn(&o, &l->pid, e) < 0)
		return -1;
	h->looks.at_work++;
	l->limit = loop_timer(h->loop, LIMIT_MS, 0, on_limit, l);
	l->process = loop_process(h->loop, l->pid, true, on_end, l);
	return l->process ? 0 : err_sys(e, "watching bloomery-image");
}

static void start_some(struct host *h)
{
	for (struct look *l = h->looks.first, *next; l && h->looks.at_work < AT_WORK_MAX; l = next) {
		struct err e = { 0 };

		next = l->next;
		if (l->pid || start(l, &e) == 0)
			continue;
		link_report(h, l->n, NULL, e.frame[0]);
		if (l->pid) {
			kill(l->pid, SIGKILL);
			waitpid(l->pid, NULL, 0);
		}
		remove_look(l);
	}
}

void look_at_image(struct host *h, int64_t n, const json_t *order)
{
	const char *image = json_string_value(json_object_get(order, "image"));
	const char *command = json_string_value(json_object_get(order, "command"));
	struct look **at = &h->looks.first, *l;
	struct reference r;
	size_t waiting = 0;

	if (!image || !command || reference_parse(str_of(image), &r, NULL) < 0) {
		link_report(h, n, NULL, "this is no name of an image");
		return;
	}
	for (; *at; at = &(*at)->next, waiting++)
		if ((*at)->n == n)
			return;
	if (waiting >= WAITING_MAX) {
		link_report(h, n, NULL, "too many images are being looked into");
		return;
	}
	l = xcalloc(1, sizeof(*l));
	l->host = h;
	l->n = n;
	l->order = json_deep_copy(order);
	l->out_fd = l->said_fd = -EBADF;
	*at = l;
	start_some(h);
}

void look_close(struct host *h)
{
	while (h->looks.first) {
		struct look *l = h->looks.first;

		if (l->pid) {
			kill(l->pid, SIGKILL);
			waitpid(l->pid, NULL, 0);
		}
		remove_look(l);
	}
}
