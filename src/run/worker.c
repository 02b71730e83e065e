/* SPDX-License-Identifier: Apache-2.0 */
#include "run/worker.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "jobdir/hostlink.h"
#include "run/reason.h"

struct worker_link {
	int fd;
};

struct worker {
	struct worker_task task;
	pid_t pid; /* 0: reaped */
	int fd;
	struct loop_source *packets, *process;
	bool failed;
	struct err err; /* the first thing that went wrong */
};

static void keep_error(struct worker *w, const struct err *e)
{
	if (!w->failed)
		w->err = *e;
	w->failed = true;
}

/* ---- the child ---- */

int worker_report(struct worker_link *link, json_t *msg, struct err *e)
{
	int r = msg ? hostlink_send(link->fd, msg, e) : err_set(e, ERR_BUG, "a report that is not valid UTF-8");

	json_decref(msg);
	return r;
}

void worker_say(struct worker_link *link, const char *text)
{
	struct err ignored = { 0 };

	if (worker_report(link, json_pack("{s:s, s:s}", "t", "say", "text", text), &ignored) < 0)
		return;
}

/* Signals as in a fresh program; dies with the parent. */
static void child_init(pid_t parent)
{
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	signal(SIGTERM, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static _Noreturn void child_main(const struct worker_task *task, int fd)
{
	struct worker_link link = { .fd = fd };
	struct err e = { 0 };
	struct buf clean = { 0 };
	char text[2048];

	if (task->work(&link, task->arg, &e) == 0)
		_exit(0);
	err_text(&e, text, sizeof(text));
	reason_clean(str_of(text), sizeof(text), &clean);
	if (worker_report(&link, json_pack("{s:s, s:i, s:s}", "t", "error", "kind", (int)e.kind, "text", clean.p), &e) <
	    0)
		_exit(2);
	_exit(1);
}

/* ---- the parent ---- */

static void take_error(struct worker *w, const json_t *msg)
{
	int kind = (int)json_integer_value(json_object_get(msg, "kind"));
	const char *text = json_string_value(json_object_get(msg, "text"));
	struct err e = { 0 };

	if (kind <= ERR_NONE || kind >= ERR_KIND_COUNT)
		kind = ERR_BUG;
	err_set(&e, (enum err_kind)kind, "%s", text ? text : "it failed");
	keep_error(w, &e);
}

/* One packet: 1, or 0 when there is none now. */
static int take_packet(struct worker *w)
{
	json_t *msg = NULL;
	struct err e = { 0 };
	int r = hostlink_recv(w->fd, &msg, &e);

	if (r < 0 && e.kind != ERR_BUSY)
		keep_error(w, &e);
	if (r <= 0)
		return 0;
	if (str_is(str_of(json_string_value(json_object_get(msg, "t"))), "error"))
		take_error(w, msg);
	else if (!w->failed && w->task.report(w->task.arg, msg, &e) < 0) {
		keep_error(w, &e);
		worker_kill(w);
	}
	json_decref(msg);
	return 1;
}

static void on_packets(void *arg, uint32_t events)
{
	struct worker *w = arg;

	if (take_packet(w) == 0 && (events & (EPOLLHUP | EPOLLERR)))
		loop_source_free(take_ptr(w->packets)); /* it would be ready for ever; on_end comes next */
}

static void on_end(void *arg, int code, int status)
{
	struct worker *w = arg;
	struct err e = { 0 };

	w->pid = 0;
	while (take_packet(w) > 0)
		;
	if (code != CLD_EXITED)
		err_set(&e, ERR_IO, "%s was killed by %s", w->task.name, reason_signal(status));
	else if (status != 0)
		err_set(&e, ERR_IO, "%s ended with status %d", w->task.name, status);
	if (e.kind != ERR_NONE)
		keep_error(w, &e);
	loop_source_free(take_ptr(w->packets));
	e = w->err; /* `ended` may free the worker first */
	w->task.ended(w->task.arg, w->failed ? &e : NULL);
}

int worker_start(struct loop *l, const struct worker_task *task, struct worker **ret, struct err *e)
{
	struct worker *w;
	pid_t parent = getpid();
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, "making a socket pair for %s", task->name);
	w = xcalloc(1, sizeof(*w));
	w->task = *task;
	w->fd = pair[0];
	fd_set_nonblock(w->fd, true);
	w->pid = fork();
	if (w->pid < 0) {
		err_sys(e, "starting %s", task->name);
		close(pair[1]);
		worker_free(w);
		return -1;
	}
	if (w->pid == 0) {
		close(w->fd);
		child_init(parent);
		child_main(task, pair[1]);
	}
	close(pair[1]);
	w->process = loop_process(l, w->pid, true, on_end, w);
	w->packets = loop_fd(l, w->fd, EPOLLIN, on_packets, w);
	if (!w->process || !w->packets) {
		err_sys(e, "watching %s", task->name);
		worker_free(w);
		return -1;
	}
	*ret = w;
	return 0;
}

void worker_kill(struct worker *w)
{
	if (w->pid > 0)
		kill(w->pid, SIGKILL);
}

void worker_free(struct worker *w)
{
	if (!w)
		return;
	loop_source_free(w->packets);
	loop_source_free(w->process);
	if (w->pid > 0) {
		kill(w->pid, SIGKILL);
		waitpid(w->pid, NULL, 0);
	}
	cleanup_closep(&w->fd);
	free(w);
}
