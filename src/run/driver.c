/* SPDX-License-Identifier: Apache-2.0 */
#include "run/driver.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "channel/channel.h"
#include "net/net.h"
#include "run/reason.h"

enum { LINE_MAX_BYTES = 64 << 10, CONTAINERS_PORT = 8080, NOBODY = 65534 };

struct driver {
	struct run *run;
	void (*ended)(void *arg, const struct err *why);
	void *arg;
	pid_t pid; /* 0: reaped */
	int out, sockets, told;
	struct loop_source *process, *lines, *asked;
	struct line_reader *reader;
	bool done, failed;
	struct err why;
};

static void fail(struct driver *d, const struct err *why)
{
	if (d->failed)
		return;
	d->failed = true;
	d->why = *why;
}

/* ---- what it says ---- */

/* Steals j. */
static void tell(struct driver *d, json_t *j)
{
	char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	_cleanup_free_ char *line = text ? strf("%s\n", text) : NULL;
	struct err e = { 0 };

	if (!line)
		err_set(&e, ERR_BUG, "what bloomery-transform tells of an output is not understood");
	else if (fd_write_all(d->told, line, strlen(line), &e) == 0)
		e.kind = ERR_NONE;
	free(text);
	json_decref(j);
	if (e.kind == ERR_NONE)
		return;
	fail(d, &e);
	driver_stop(d);
}

/* The file is named after the object's number. */
static void take_output(struct driver *d, const json_t *object)
{
	long long number = (long long)json_integer_value(json_object_get(object, "number"));
	const char *key = json_string_value(json_object_get(object, "key"));

	tell(d, json_pack("{s:o, s:s}", "file", json_sprintf("%lld", number), "key", key));
}

/* A manifest of DataCaptureConfig, which has a place of its own. */
static void take_capture(struct driver *d, const json_t *capture)
{
	const char *file = json_string_value(json_object_get(capture, "file"));
	struct str uri = str_of(json_string_value(json_object_get(capture, "uri"))), bucket;

	str_skip(&uri, STR("s3://"));
	bucket = str_cut(&uri, '/');
	tell(d, json_pack("{s:s, s:s%, s:s%}", "file", file, "bucket", bucket.p, bucket.n, "key", uri.p, uri.n));
}

static void take_error(struct driver *d, const json_t *error)
{
	const char *name = json_string_value(json_object_get(error, "kind"));
	const char *text = json_string_value(json_object_get(error, "text"));
	enum err_kind kind = ERR_BUG;
	struct err e = { 0 };

	for (int i = ERR_NONE + 1; name && i < ERR_KIND_COUNT; i++)
		if (strcmp(name, err_info[i].name) == 0)
			kind = (enum err_kind)i;
	err_set(&e, kind, "%s", text ? text : "bloomery-transform does not say why it failed");
	fail(d, &e);
}

static void on_line(void *arg, struct str line, bool whole)
{
	struct driver *d = arg;
	json_t *j = whole ? json_loadb(line.p, line.n, JSON_REJECT_DUPLICATES, NULL) : NULL;
	const json_t *ready = json_object_get(j, "ready"), *object = json_object_get(j, "object"),
	             *error = json_object_get(j, "error");
	const char *ignored = json_string_value(json_object_get(ready, "ignored"));

	if (!json_is_object(j))
		log_warn("bloomery-transform said '" PRIstr "'", ARGstr(line));
	if (ignored)
		run_say(d->run,
		        "Of what the container has answered to GET /execution-parameters something is ignored: %s.",
		        ignored);
	if (object)
		take_output(d, object);
	if (json_object_get(j, "capture"))
		take_capture(d, json_object_get(j, "capture"));
	if (error)
		take_error(d, error);
	if (json_object_get(j, "done"))
		d->done = true;
	json_decref(j);
}

/* Reads what is there. False at the end of file. */
static bool read_lines(struct driver *d)
{
	char bytes[16384];
	ssize_t n;

	while (d->out >= 0 && (n = read(d->out, bytes, sizeof(bytes))) != 0) {
		if (n > 0)
			line_reader_feed(d->reader, (struct str){ bytes, (size_t)n });
		else if (errno != EINTR)
			return errno == EAGAIN;
	}
	return false;
}

static void lines_end(struct driver *d)
{
	loop_source_free(take_ptr(d->lines));
	cleanup_closep(&d->out);
	d->out = -EBADF;
}

static void on_lines(void *arg, uint32_t events)
{
	struct driver *d = arg;

	(void)events;
	if (!read_lines(d))
		lines_end(d);
}

/* ---- the sockets it asks for ---- */

static void give(struct driver *d, int fd)
{
	char byte = 0, room[CMSG_SPACE(sizeof(int))] __attribute__((aligned(__alignof__(struct cmsghdr)))) = { 0 };
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		struct cmsghdr *c;

		m.msg_control = room;
		m.msg_controllen = sizeof(room);
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	if (sendmsg(d->sockets, &m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		log_warn("answering bloomery-transform: %s", strerror(errno));
}

static void on_asked(void *arg, uint32_t events)
{
	struct driver *d = arg;
	unsigned char which;
	ssize_t n = recv(d->sockets, &which, 1, MSG_DONTWAIT);
	_cleanup_close_ int fd = -EBADF;
	struct err e = { 0 };

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		loop_source_free(take_ptr(d->asked));
		return;
	}
	if (which < d->run->box_count && d->run->box[which].network_ns >= 0) {
		fd = net_socket(d->run->box[which].network_ns, AF_INET, SOCK_STREAM, &e);
		if (fd < 0)
			log_err(LOG_WARN, &e, "a socket in the network of %s", d->run->box[which].hostname);
	}
	give(d, fd);
}

/* ---- its end ---- */

static void on_process(void *arg, int code, int status)
{
	struct driver *d = arg;
	struct err e = { 0 };

	loop_source_free(take_ptr(d->process));
	d->pid = 0;
	(void)read_lines(d); /* its last words */
	line_reader_flush(d->reader);
	lines_end(d);
	if (code != CLD_EXITED)
		err_set(&e, ERR_IO, "bloomery-transform, which sends the records, was killed by %s",
		        reason_signal(status));
	else if (!d->done)
		err_set(&e, ERR_IO, "bloomery-transform, which sends the records, ended with status %d", status);
	if (e.kind != ERR_NONE)
		fail(d, &e);
	e = d->why;
	d->ended(d->arg, d->failed ? &e : NULL);
}

bool driver_is_done(const struct driver *d)
{
	return !d || d->done;
}

void driver_stop(struct driver *d)
{
	if (d && d->pid > 0)
		kill(d->pid, SIGTERM);
}

void driver_free(struct driver *d)
{
	if (!d)
		return;
	loop_source_free(d->process);
	loop_source_free(d->asked);
	if (d->pid > 0) {
		kill(d->pid, SIGKILL);
		while (waitpid(d->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	lines_end(d);
	cleanup_closep(&d->sockets);
	cleanup_closep(&d->told);
	line_reader_free(d->reader);
	free(d);
}

/* ---- starting ---- */

struct descriptors {
	int list, objects, out, log, sockets;
};

static void descriptors_fini(struct descriptors *f)
{
	cleanup_closep(&f->list);
	cleanup_closep(&f->objects);
	cleanup_closep(&f->out);
	cleanup_closep(&f->log);
	cleanup_closep(&f->sockets);
}

static int open_sockets(struct driver *d, int *ret_its, struct err *e)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, "making a socket pair");
	d->sockets = pair[0];
	*ret_its = pair[1];
	d->asked = loop_fd(d->run->loop, d->sockets, EPOLLIN, on_asked, d);
	return d->asked ? 0 : err_sys(e, "watching bloomery-transform");
}

/* Who owns it is who bloomery-transform becomes: who may read the store, or nobody. */
static int give_outbox(const struct descriptors *f, struct err *e)
{
	struct stat st = { .st_uid = NOBODY, .st_gid = NOBODY };

	if (f->objects >= 0 && fstat(f->objects, &st) < 0)
		return err_sys(e, "looking at the object store");
	return fchown(f->out, st.st_uid, st.st_gid) < 0 ? err_sys(e, "giving work/" DRIVER_OUTBOX " away") : 0;
}

static int open_descriptors(struct driver *d, struct descriptors *f, struct err *e)
{
	struct run *r = d->run;
	const struct channel_spec *input = &r->spec.channels[0];
	_cleanup_free_ char *objects = strf("%s/objects", r->data_dir);

	f->list = channel_open_list(input, r->job_fd, e);
	if (f->list < 0)
		return -1;
	if (input->place == PLACE_EMBEDDED) {
		f->objects = open(objects, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (f->objects < 0)
			return err_sys(e, "opening the object store");
	}
	if (mkdirat(r->home_fd, DRIVER_OUTBOX, 0700) < 0)
		return err_sys(e, "making work/" DRIVER_OUTBOX);
	f->out = openat(r->home_fd, DRIVER_OUTBOX, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (f->out < 0)
		return err_sys(e, "opening work/" DRIVER_OUTBOX);
	if (give_outbox(f, e) < 0)
		return -1;
	d->told = openat(r->work_fd, DRIVER_TOLD, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (d->told < 0)
		return err_sys(e, "making work/" DRIVER_TOLD);
	return open_sockets(d, &f->sockets, e);
}

/* What it looks at; a transform job's Environment alone may be longer than its work order. */
static json_t *request_of(const struct run *r)
{
	static const char *const names[] = { "MaxConcurrentTransforms", "MaxPayloadInMB",   "BatchStrategy",
		                             "ModelClientConfig",       "TransformInput",   "TransformOutput",
		                             "DataProcessing",          "DataCaptureConfig" };
	json_t *j = json_object();

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		json_object_set(j, names[i], json_object_get(r->spec.request, names[i]));
	return j;
}

static json_t *s3_of(const struct s3_target *t)
{
	json_t *j = json_pack("{s:s, s:s, s:s, s:s}", "endpoint", t->endpoint, "region", t->region, "access_key",
	                      t->access_key, "secret_key", t->secret_key);

	if (t->session_token)
		json_object_set_new(j, "session_token", json_string(t->session_token));
	return j;
}

static json_t *order_of(const struct run *r, const struct descriptors *f)
{
	const struct channel_spec *input = &r->spec.channels[0];
	json_t *containers = json_array(), *names = json_array(), *j;

	for (size_t i = 0; i < r->box_count; i++) {
		json_array_append_new(containers, json_sprintf("http://127.0.0.1:%d", CONTAINERS_PORT));
		json_array_append_new(names, json_string(r->box[i].hostname));
	}
	j = json_pack("{s:o, s:o, s:i, s:i, s:i, s:i, s:s, s:s, s:i, s:i, s:o}", "containers", containers, "names",
	              names, "sockets", f->sockets, "list", f->list, "share_number", (int)input->share_number,
	              "share_count", (int)input->share_count, "bucket", input->bucket, "prefix", input->prefix, "out",
	              f->out, "log", f->log, "request", request_of(r));
	must(j);
	if (f->objects >= 0)
		json_object_set_new(j, "objects", json_integer(f->objects));
	else
		json_object_set_new(j, "s3", s3_of(&r->spec.s3));
	if (r->options.ping_timeout_s)
		json_object_set_new(j, "ping_timeout_s", json_integer(r->options.ping_timeout_s));
	return j;
}

/* In memory, as it may hold keys. */
static int order_fd(const struct run *r, const struct descriptors *f, struct err *e)
{
	_cleanup_close_ int fd = memfd_create("order", MFD_CLOEXEC);
	json_t *j = order_of(r, f);
	char *text = json_dumps(j, JSON_COMPACT);
	int rc = fd < 0 ? err_sys(e, "making a file for the work order") : 0;

	json_decref(j);
	must(text);
	if (rc == 0)
		rc = fd_write_all(fd, text, strlen(text), e);
	explicit_bzero(text, strlen(text));
	free(text);
	if (rc == 0 && lseek(fd, 0, SEEK_SET) < 0)
		rc = err_sys(e, "writing the work order");
	return rc < 0 ? -1 : take_fd(fd);
}

static int spawn_it(struct driver *d, const struct descriptors *f, struct err *e)
{
	_cleanup_free_ char *program = strf("%s/bloomery-transform", d->run->programs_dir);
	_cleanup_close_ int in = order_fd(d->run, f, e), writer = -EBADF;
	const char *const argv[] = { program, NULL };
	const int all[] = { f->list, f->objects, f->out, f->log, f->sockets };
	int keep[ARRAY_LEN(all)], ends[2];
	struct spawn_options o = {
		.argv = argv, .in = in, .err_fd = STDERR_FILENO, .keep = keep, .die_with_parent = true, .setsid = true
	};

	if (in < 0)
		return -1;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(e, "making a pipe");
	d->out = ends[0];
	o.out = writer = ends[1];
	fd_set_nonblock(d->out, true);
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (all[i] >= 0)
			keep[o.keep_count++] = all[i];
	return spawn(&o, &d->pid, e);
}

static int start(struct driver *d, int log_fd, struct err *e)
{
	_cleanup_(descriptors_fini) struct descriptors f = { -EBADF, -EBADF, -EBADF, -EBADF, -EBADF };
	struct run *r = d->run;

	if (open_descriptors(d, &f, e) < 0)
		return -1;
	f.log = fcntl(log_fd, F_DUPFD_CLOEXEC, 3);
	if (f.log < 0)
		return err_sys(e, "opening the data-log");
	if (spawn_it(d, &f, e) < 0)
		return -1;
	d->reader = line_reader_new(LINE_MAX_BYTES, on_line, d);
	d->process = loop_process(r->loop, d->pid, true, on_process, d);
	d->lines = loop_fd(r->loop, d->out, EPOLLIN, on_lines, d);
	return d->process && d->lines ? 0 : err_sys(e, "watching bloomery-transform");
}

int driver_start(struct run *r, int log_fd, void (*ended)(void *arg, const struct err *why), void *arg,
                 struct driver **ret, struct err *e)
{
	struct driver *d = xcalloc(1, sizeof(*d));

	*d = (struct driver){ .run = r, .ended = ended, .arg = arg, .out = -EBADF, .sockets = -EBADF, .told = -EBADF };
	if (start(d, log_fd, e) < 0) {
		driver_free(d);
		return -1;
	}
	*ret = d;
	return 0;
}
