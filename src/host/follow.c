/* How facts are noticed: by inotify on the directories of the jobs that run.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/log.h"
#include "host/inside.h"

enum { POLL_MS = 500 };

/* May free j. */
static void look_at(struct job *j)
{
	job_stop_again(j);
	job_pump(j);
	job_settle(j);
}

static void look_at_all(struct host *h)
{
	for (struct job *j = h->jobs, *next; j; j = next) {
		next = j->next;
		look_at(j);
	}
}

static void on_event(struct host *h, const struct inotify_event *ev)
{
	if (ev->mask & IN_Q_OVERFLOW) { /* events were dropped; offsets say what was not read yet */
		look_at_all(h);
		return;
	}
	for (struct job *j = h->jobs; j; j = j->next)
		if (j->wd == ev->wd) {
			if (ev->mask & IN_IGNORED)
				j->wd = -1;
			look_at(j);
			return;
		}
}

static void on_inotify(void *arg, uint32_t events)
{
	struct host *h = arg;
	_Alignas(struct inotify_event) char bytes[16384];
	ssize_t n = read(h->inotify_fd, bytes, sizeof(bytes));

	(void)events;
	for (ssize_t at = 0; at < n;) {
		const struct inotify_event *ev = (const void *)(bytes + at);

		at += (ssize_t)(sizeof(*ev) + ev->len);
		on_event(h, ev);
	}
}

static void on_poll(void *arg)
{
	look_at_all(arg);
}

int follow_open(struct host *h, struct err *e)
{
	h->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (h->inotify_fd < 0)
		return err_sys(e, "starting inotify (see fs.inotify.max_user_instances)");
	h->inotify = loop_fd(h->loop, h->inotify_fd, EPOLLIN, on_inotify, h);
	return h->inotify ? 0 : err_sys(e, "watching inotify");
}

void follow_close(struct host *h)
{
	loop_source_free(h->inotify);
	loop_source_free(h->poll_timer);
	cleanup_closep(&h->inotify_fd);
}

/* Files below, such as the log's, are not the directory's events. When inotify has no room (max_user_watches), looking
 * twice a second is what remains. */
void follow_job(struct job *j)
{
	struct host *h = j->host;

	if (j->wd >= 0)
		return;
	j->wd = inotify_add_watch(h->inotify_fd, j->path, IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_ONLYDIR);
	if (j->wd >= 0 || h->poll_timer)
		return;
	log_warn("no room for another inotify watch (%s): looking at journals every %d ms; raise "
	         "fs.inotify.max_user_watches",
	         strerror(errno), POLL_MS);
	h->poll_timer = loop_timer(h->loop, POLL_MS, POLL_MS, on_poll, h);
}
