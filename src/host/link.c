/* The daemon's side of bloomery-host: one connection, commands in, facts out.
 *
 * Nothing is queued here. When the daemon does not keep up, sending stops, and goes on from each job's offset in its
 * journal when the socket takes more; so memory does not grow with what the daemon has missed.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "host/inside.h"
#include "jobdir/hostlink.h"
#include "net/seal.h"

static void hang_up(struct host *h)
{
	if (h->daemon.fd < 0)
		return;
	loop_source_free(take_ptr(h->daemon.source));
	cleanup_closep(&h->daemon.fd);
	h->daemon.fd = -EBADF;
	h->daemon.blocked = false;
	for (struct job *j = h->jobs, *next; j; j = next) {
		next = j->next;
		j->watched = false;
		job_settle(j);
	}
}

/* ---- out ---- */

/* Steals msg. -1 with ERR_BUSY when it was not sent and is to be sent again. */
static int send_message(struct host *h, json_t *msg, struct err *e)
{
	struct err why = { 0 };
	int rc = h->daemon.fd < 0 ? err_set(&why, ERR_BUSY, "no daemon") : hostlink_send(h->daemon.fd, msg, &why);

	json_decref(msg);
	if (rc < 0 && why.kind == ERR_BUSY && h->daemon.fd >= 0 && !h->daemon.blocked) {
		h->daemon.blocked = true;
		loop_fd_events(h->daemon.source, EPOLLIN | EPOLLOUT);
	} else if (rc < 0 && why.kind != ERR_BUSY) {
		log_err(LOG_DEBUG, &why, "sending to bloomeryd");
		shutdown(h->daemon.fd, SHUT_RDWR); /* the loop sees it closed, and hangs up */
	}
	return rc < 0 ? err_set(e, ERR_BUSY, "bloomeryd takes nothing now") : 0;
}

static int send_fact(const struct fact *f, void *arg, struct err *e)
{
	struct job *j = arg;

	return send_message(j->host,
	                    json_pack("{ss ss sI sI ss sO}", "t", "fact", "job", j->id, "n", (json_int_t)f->n, "at",
	                              (json_int_t)f->at.ms, "fact", fact_name[f->kind], "args", f->args),
	                    e);
}

static int send_lost(struct host *h, const char *id, const char *reason, struct wall at, struct err *e)
{
	json_t *msg = json_pack("{ss ss ss+}", "t", "lost", "job", id, "reason", reason, "");

	must(msg);
	if (at.ms)
		json_object_set_new(msg, "at", json_integer(at.ms));
	return send_message(h, msg, e);
}

/* When the supervisor was seen to be gone: what job.c gave to the file. */
static struct wall gone_at(const struct job *j)
{
	struct stat st;

	if (!j->gone.ms && fstatat(j->dir_fd, "lost", &st, AT_SYMLINK_NOFOLLOW) == 0)
		return (struct wall){ (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000 };
	return j->gone;
}

void link_lost(struct host *h, const char *id, const char *reason)
{
	struct err e = { 0 };

	if (send_lost(h, id, reason, (struct wall){ 0 }, &e) < 0)
		log_err(LOG_WARN, &e, "job %s", id); /* the daemon asks again when it comes back */
}

void link_digest(struct host *h, int64_t n, const char *digest, const char *error)
{
	struct err e = { 0 };

	if (send_message(h,
	                 json_pack("{ss sI ss}", "t", "digest", "n", (json_int_t)n, error ? "error" : "digest",
	                           error ? error : digest),
	                 &e) < 0)
		log_err(LOG_WARN, &e, "the digest of an image");
}

void link_scan(struct host *h, const char *image, const char *failure)
{
	json_t *msg = json_pack("{ss ss sb}", "t", "scan", "image", image, "passed", (int)!failure);
	struct err e = { 0 };

	must(msg);
	if (failure)
		json_object_set_new(msg, "reason", json_string(failure));
	if (send_message(h, msg, &e) < 0)
		log_err(LOG_WARN, &e, "the scan of an image");
}

void link_report(struct host *h, int64_t n, json_t *report, const char *error)
{
	struct err e = { 0 };

	if (send_message(h,
	                 report ? json_pack("{ss sI so}", "t", "check", "n", (json_int_t)n, "report", report)
	                        : json_pack("{ss sI ss}", "t", "check", "n", (json_int_t)n, "error", error),
	                 &e) < 0)
		log_err(LOG_WARN, &e, "the report on an image");
}

void job_pump(struct job *j)
{
	struct err e = { 0 };

	if (!j->watched || j->host->daemon.blocked)
		return;
	if (!j->damaged && journal_read(j->path, j->after, &j->offset, send_fact, j, &e) < 0) {
		if (e.kind == ERR_BUSY)
			return;
		log_err(LOG_ERROR, &e, "job %s: its journal is unreadable", j->id);
		j->damaged = true;
	}
	if (j->at == JOB_ENDED && j->damaged) {
		if (send_lost(j->host, j->id, "The job's journal is damaged, so its end is not known.", gone_at(j),
		              &e) == 0)
			j->watched = false;
	} else if (j->at == JOB_ENDED) {
		j->watched = false; /* all is sent */
	} else if (j->at == JOB_LOST) {
		if (send_lost(j->host, j->id, j->reason ? j->reason : "The job's supervisor has gone.", gone_at(j),
		              &e) == 0)
			j->watched = false;
	}
}

static void pump_all(struct host *h)
{
	for (struct job *j = h->jobs, *next; j && !h->daemon.blocked; j = next) {
		next = j->next;
		job_pump(j);
		job_settle(j);
	}
}

/* ---- in ---- */

static const char no_directory[] = "The job's directory is not there.";

static void on_launch(struct job *j, const json_t *msg)
{
	(void)msg;
	job_launch(j);
}

static void on_watch(struct job *j, const json_t *msg)
{
	json_int_t after = json_integer_value(json_object_get(msg, "after"));

	if (j->clean.remove) { /* it is as good as gone */
		link_lost(j->host, j->id, no_directory);
		return;
	}
	if (job_refuse_elsewhere(j))
		return;
	j->watched = true;
	j->damaged = false;
	j->after = after > 0 ? (uint64_t)after : 0;
	j->offset = 0;
	job_pump(j);
}

static void on_stop(struct job *j, const json_t *msg)
{
	const char *why = json_string_value(json_object_get(msg, "why"));

	job_tell(j, why && !strcmp(why, "peer") ? WORD_PEER : WORD_STOP);
}

static void on_go(struct job *j, const json_t *msg)
{
	(void)msg;
	job_tell(j, WORD_GO);
}

static void on_forget(struct job *j, const json_t *msg)
{
	(void)msg;
	j->clean.wanted = true;
	j->watched = false;
}

static void on_delete(struct job *j, const json_t *msg)
{
	on_forget(j, msg);
	j->clean.remove = true;
}

static const struct {
	const char *name;
	void (*run)(struct job *j, const json_t *msg);
	bool needs_directory; /* else it is done when there is none */
} commands[] = {
	{ "launch", on_launch, true }, { "watch", on_watch, true },    { "stop", on_stop, false },
	{ "go", on_go, false },        { "forget", on_forget, false }, { "delete", on_delete, false },
};

static void obey(struct host *h, const json_t *msg)
{
	const char *t = json_string_value(json_object_get(msg, "t"));
	const char *id = json_string_value(json_object_get(msg, "job"));
	struct err e = { 0 };

	if (strcmp(t, "pack") == 0) {
		pack_image(h, str_of(id), json_string_value(json_object_get(msg, "image")));
		return;
	}
	if (strcmp(t, "digest") == 0) {
		digest_ask(h, json_integer_value(json_object_get(msg, "n")),
		           json_string_value(json_object_get(msg, "image")));
		return;
	}
	if (strcmp(t, "scan") == 0) {
		scan_ask(h, json_string_value(json_object_get(msg, "image")));
		return;
	}
	if (strcmp(t, "check") == 0) {
		look_at_image(h, json_integer_value(json_object_get(msg, "n")), msg);
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		struct job *j;

		if (strcmp(t, commands[i].name) != 0)
			continue;
		j = job_get(h, str_of(id), &e);
		if (j) {
			commands[i].run(j, msg);
			job_settle(j);
		} else if (e.os != ENOENT) {
			log_err(LOG_WARN, &e, "bloomeryd asked for %s", t);
		} else if (commands[i].needs_directory) {
			link_lost(h, id, no_directory);
		}
		return;
	}
	if (strcmp(t, "hello") != 0)
		log_warn("bloomeryd sent a '%.32s', which is not a command", t);
}

static void on_daemon(void *arg, uint32_t events)
{
	struct host *h = arg;

	if (events & EPOLLOUT) {
		h->daemon.blocked = false;
		loop_fd_events(h->daemon.source, EPOLLIN);
		pump_all(h);
	}
	while (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		json_t *msg = NULL;
		struct err e = { 0 };
		int rc = hostlink_recv(h->daemon.fd, &msg, &e);

		if (rc > 0) {
			obey(h, msg);
			json_decref(msg);
			continue;
		}
		if (rc < 0 && e.kind == ERR_BUSY)
			return;
		if (rc < 0)
			log_err(LOG_WARN, &e, "hanging up on bloomeryd");
		hang_up(h);
		return;
	}
}

static void on_listen(void *arg, uint32_t events)
{
	struct host *h = arg;
	_cleanup_close_ int fd = accept4(h->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ucred peer = { 0 };
	socklen_t n = sizeof(peer);
	char cgroups[16];

	(void)events;
	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0 || (peer.uid != h->options.uid && peer.uid != 0)) {
		log_warn("user %u may not connect", (unsigned)peer.uid);
		return;
	}
	hang_up(h); /* a new daemon replaces the old one */
	h->daemon.source = loop_fd(h->loop, fd, EPOLLIN, on_daemon, h);
	if (!h->daemon.source)
		return;
	h->daemon.fd = take_fd(fd);
	snprintf(cgroups, sizeof(cgroups), "v%d", h->runtime.cgroup_version);
	(void)!send_message(h,
	                    json_pack("{ss si ss ss ss}", "t", "hello", "v", HOSTLINK_VERSION, "sealing",
	                              net_sealing_name[h->sealing], "runtime",
	                              h->runtime.path ? h->runtime.version : "", "cgroups",
	                              h->runtime.path ? cgroups : ""),
	                    NULL);
}

/* The socket's file is made with the daemon's uid for file access, so that it belongs to it from the start: a chown by
 * name could be led elsewhere by whoever owns the directory. The change clears the parent-death signal, which
 * tell_ready() then sets again. */
static int bind_as(struct host *h, struct err *e)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	mode_t mask;
	int rc, os;

	if (unlinkat(h->data_fd, "host.sock", 0) < 0 && errno != ENOENT)
		return err_sys(e, "removing the old host.sock");
	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/host.sock", h->data_fd);
	mask = umask(0177);
	setfsuid(h->options.uid);
	rc = bind(h->listen_fd, (struct sockaddr *)&a, sizeof(a));
	os = errno;
	setfsuid(geteuid());
	umask(mask);
	errno = os;
	if (rc < 0 && os == EACCES)
		return err_set(e, ERR_DENIED, "user %u may not create files in %s", (unsigned)h->options.uid,
		               h->options.data_dir);
	return rc < 0 ? err_sys(e, "making %s/host.sock", h->options.data_dir) : 0;
}

int link_open(struct host *h, struct err *e)
{
	h->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (h->listen_fd < 0)
		return err_sys(e, "making a socket");
	if (bind_as(h, e) < 0)
		return -1;
	if (listen(h->listen_fd, 8) < 0)
		return err_sys(e, "listening on host.sock");
	h->listen = loop_fd(h->loop, h->listen_fd, EPOLLIN, on_listen, h);
	return h->listen ? 0 : err_sys(e, "watching host.sock");
}

void link_close(struct host *h)
{
	loop_source_free(take_ptr(h->daemon.source));
	loop_source_free(take_ptr(h->listen));
	cleanup_closep(&h->daemon.fd);
	cleanup_closep(&h->listen_fd);
	h->daemon.fd = h->listen_fd = -EBADF;
}
