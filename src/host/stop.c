/* Telling a supervisor to stop, or to go: one packet to its socket, sent again until it has answered.
 *
 * The socket may not be there yet, when the supervisor has just been started; then the next event in the directory, or
 * the timer (a socket that is bound and does not listen yet makes no event), tries again.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "host/inside.h"
#include "jobdir/hostlink.h"

enum { AGAIN_MS = 100 };

static void disconnect(struct job *j)
{
	loop_source_free(take_ptr(j->stop.source));
	cleanup_closep(&j->stop.fd);
	j->stop.fd = -EBADF;
}

void job_stop_end(struct job *j)
{
	disconnect(j);
	loop_source_free(take_ptr(j->stop.again));
	j->stop.wanted = WORD_NONE;
}

static void on_answer(void *arg, uint32_t events)
{
	struct job *j = arg;
	json_t *answer = NULL;
	int rc = hostlink_recv(j->stop.fd, &answer, NULL);

	(void)events;
	if (rc > 0 && strcmp(json_string_value(json_object_get(answer, "t")), "ok") == 0)
		job_stop_end(j);
	else
		disconnect(j); /* the timer tries again, until the supervisor has gone */
	json_decref(answer);
}

static int connect_and_send(struct job *j, struct err *e)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	json_t *msg;
	int rc;

	j->stop.fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	snprintf(a.sun_path, sizeof(a.sun_path), "%s/sock", j->path);
	if (j->stop.fd < 0 || connect(j->stop.fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return err_sys(e, "connecting to the supervisor of job %s", j->id);
	msg = j->stop.wanted == WORD_GO
	              ? json_pack("{ss}", "t", "go")
	              : json_pack("{ss ss*}", "t", "stop", "why", j->stop.wanted == WORD_PEER ? "peer" : NULL);
	must(msg);
	rc = hostlink_send(j->stop.fd, msg, e);
	json_decref(msg);
	if (rc < 0)
		return -1;
	j->stop.source = loop_fd(j->host->loop, j->stop.fd, EPOLLIN, on_answer, j);
	return j->stop.source ? 0 : err_sys(e, "watching the supervisor of job %s", j->id);
}

void job_stop_again(struct job *j)
{
	struct err e = { 0 };

	if (!j->stop.wanted || j->stop.fd >= 0)
		return;
	if (connect_and_send(j, &e) < 0) {
		if (e.os != ENOENT && e.os != ECONNREFUSED && e.os != EAGAIN)
			log_err(LOG_WARN, &e, "talking to the supervisor of job %s", j->id);
		disconnect(j);
	}
}

static void on_again(void *arg)
{
	job_stop_again(arg);
}

void job_tell(struct job *j, enum job_word word)
{
	if (j->stop.wanted >= word || j->at != JOB_RUNS)
		return;
	if (j->stop.wanted)
		disconnect(j);
	else
		j->stop.again = loop_timer(j->host->loop, AGAIN_MS, AGAIN_MS, on_again, j);
	j->stop.wanted = word;
	job_stop_again(j);
}
