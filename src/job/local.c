/* The launcher of this machine: a client of bloomery-host's socket. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "job/launcher.h"
#include "jobdir/hostlink.h"

enum { AGAIN_FIRST_MS = 50, AGAIN_LAST_MS = 1000, MESSAGES_A_WAKE = 64 };

struct launcher {
	struct loop *loop;
	char *path;
	const struct launcher_events *events;
	void *arg;
	int fd;
	struct loop_source *source, *again;
	int64_t again_ms;
	bool told;      /* said once that the host is not there */
	json_t *outbox; /* array: what the socket did not take yet */
};

static void hang_up(struct launcher *l)
{
	loop_source_free(l->source);
	l->source = NULL;
	if (l->fd >= 0)
		close(take_fd(l->fd));
	json_array_clear(l->outbox);
	loop_timer_set(l->again, l->again_ms, 0);
	l->again_ms = l->again_ms * 2 > AGAIN_LAST_MS ? AGAIN_LAST_MS : l->again_ms * 2;
}

/* Sends what waits; true: all is gone. */
static bool flush(struct launcher *l)
{
	struct err e = { 0 };

	while (json_array_size(l->outbox)) {
		if (hostlink_send(l->fd, json_array_get(l->outbox, 0), &e) < 0) {
			if (e.kind == ERR_BUSY)
				return false;
			log_err(LOG_WARN, &e, "bloomery-host");
			hang_up(l);
			return true;
		}
		json_array_remove(l->outbox, 0);
	}
	return true;
}

static void say(struct launcher *l, json_t *msg)
{
	must(msg);
	if (l->fd < 0 || !l->source) {
		json_decref(msg);
		return;
	}
	json_array_append_new(l->outbox, msg);
	if (json_array_size(l->outbox) == 1 && !flush(l))
		loop_fd_events(l->source, EPOLLIN | EPOLLOUT);
}

static void take_fact(struct launcher *l, struct str id, const json_t *msg)
{
	const char *name = json_string_value(json_object_get(msg, "fact"));
	json_t *n = json_object_get(msg, "n"), *at = json_object_get(msg, "at");
	struct fact f = { .kind = 0, .args = json_object_get(msg, "args") };

	if (!name || !json_is_integer(n) || json_integer_value(n) < 1 || !json_is_integer(at)) {
		log_warn("bloomery-host: a fact of job " PRIstr " makes no sense", ARGstr(id));
		return;
	}
	f.n = (uint64_t)json_integer_value(n);
	f.at.ms = json_integer_value(at);
	f.args = json_is_object(f.args) ? json_incref(f.args) : json_object();
	while (f.kind < FACT_COUNT && strcmp(name, fact_name[f.kind]))
		f.kind++;
	l->events->on_fact(l->arg, id, &f);
	fact_fini(&f);
}

static struct wall lost_at(const json_t *msg)
{
	json_int_t at = json_integer_value(json_object_get(msg, "at"));

	return at > 0 ? (struct wall){ at } : wall_now();
}

static struct str text_of(const json_t *msg, const char *name)
{
	return str_of(json_string_value(json_object_get(msg, name)));
}

static void take(struct launcher *l, const json_t *msg)
{
	struct str type = str_of(json_string_value(json_object_get(msg, "t")));
	struct str id = str_of(json_string_value(json_object_get(msg, "job")));

	if (str_is(type, "hello") && l->events->on_sealing)
		l->events->on_sealing(l->arg, str_of(json_string_value(json_object_get(msg, "sealing"))));
	if (str_is(type, "hello"))
		log_info("bloomery-host is there: %s, cgroups %s",
		         json_string_value(json_object_get(msg, "runtime")) ?: "no container runtime",
		         json_string_value(json_object_get(msg, "cgroups")) ?: "unknown");
	else if (str_is(type, "digest") && l->events->on_digest)
		l->events->on_digest(l->arg, json_integer_value(json_object_get(msg, "n")), text_of(msg, "digest"),
		                     text_of(msg, "error"));
	else if (str_is(type, "scan") && l->events->on_scan)
		l->events->on_scan(l->arg, text_of(msg, "image"), json_is_true(json_object_get(msg, "passed")),
		                   text_of(msg, "reason"));
	else if (str_is(type, "check") && l->events->on_report)
		l->events->on_report(l->arg, json_integer_value(json_object_get(msg, "n")),
		                     json_object_get(msg, "report"), text_of(msg, "error"));
	else if (!job_id_valid(id))
		log_warn("bloomery-host: a message (" PRIstr ") without a job", ARGstr(type));
	else if (str_is(type, "fact"))
		take_fact(l, id, msg);
	else if (str_is(type, "lost"))
		l->events->on_lost(l->arg, id, str_of(json_string_value(json_object_get(msg, "reason"))), lost_at(msg));
}

static void readable(struct launcher *l)
{
	struct err e = { 0 };

	/* A few at a time: other sources of the loop want their turn, and a callback may hang up. */
	for (int i = 0; i < MESSAGES_A_WAKE && l->fd >= 0; i++) {
		json_t *msg = NULL;
		int r = hostlink_recv(l->fd, &msg, &e);

		if (r > 0) {
			take(l, msg);
			json_decref(msg);
			continue;
		}
		if (r < 0 && e.kind == ERR_BUSY)
			return;
		if (r < 0)
			log_err(LOG_WARN, &e, "bloomery-host");
		else
			log_warn("bloomery-host has hung up; jobs go on, and are followed again when it is back");
		hang_up(l);
	}
}

static void on_socket(void *arg, uint32_t events)
{
	struct launcher *l = arg;

	if ((events & EPOLLOUT) && flush(l) && l->source)
		loop_fd_events(l->source, EPOLLIN);
	if (events & ~(uint32_t)EPOLLOUT)
		readable(l);
}

static int dial(const char *path, struct err *e)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un to = { .sun_family = AF_UNIX };

	if (fd < 0)
		return err_sys(e, "making a socket");
	if (strlen(path) >= sizeof(to.sun_path))
		return err_set(e, ERR_INVALID,
		               "%s is too long for the name of a socket (at most %zu bytes): use a "
		               "shorter data directory",
		               path, sizeof(to.sun_path) - 1);
	memcpy(to.sun_path, path, strlen(path) + 1);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		return err_sys(e, "connecting to %s", path);
	return take_fd(fd);
}

static void try_again(void *arg)
{
	struct launcher *l = arg;
	struct err e = { 0 };
	int fd = dial(l->path, &e);

	if (fd < 0) {
		if (!l->told)
			log_err(LOG_WARN, &e, "bloomery-host is not there; jobs wait for it");
		l->told = true;
		hang_up(l);
		return;
	}
	l->fd = fd;
	l->source = loop_fd(l->loop, fd, EPOLLIN, on_socket, l);
	l->told = false;
	l->again_ms = AGAIN_FIRST_MS;
	say(l, json_pack("{s:s, s:i}", "t", "hello", "v", HOSTLINK_VERSION));
	l->events->on_up(l->arg);
}

static struct launcher *local_open(const struct launcher_options *o)
{
	struct launcher *l = xcalloc(1, sizeof(*l));

	l->loop = o->loop;
	l->path = strf("%s/host.sock", o->data_dir);
	l->events = o->events;
	l->arg = o->arg;
	l->fd = -EBADF;
	l->again_ms = AGAIN_FIRST_MS;
	l->outbox = json_array();
	l->again = loop_timer(o->loop, 0, 0, try_again, l);
	return l;
}

static void local_close(struct launcher *l)
{
	if (!l)
		return;
	loop_source_free(l->source);
	loop_source_free(l->again);
	if (l->fd >= 0)
		close(l->fd);
	json_decref(l->outbox);
	free(l->path);
	free(l);
}

static void say_job(struct launcher *l, const char *type, const char *id)
{
	say(l, json_pack("{s:s, s:s}", "t", type, "job", id));
}

static void local_launch(struct launcher *l, const char *id)
{
	say_job(l, "launch", id);
}

static void local_watch(struct launcher *l, const char *id, uint64_t after)
{
	say(l, json_pack("{s:s, s:s, s:I}", "t", "watch", "job", id, "after", (json_int_t)after));
}

static void local_stop(struct launcher *l, const char *id, const char *why)
{
	say(l, json_pack("{s:s, s:s, s:s*}", "t", "stop", "job", id, "why", why));
}

static void local_go(struct launcher *l, const char *id)
{
	say_job(l, "go", id);
}

static void local_forget(struct launcher *l, const char *id)
{
	say_job(l, "forget", id);
}

static void local_remove(struct launcher *l, const char *id)
{
	say_job(l, "delete", id);
}

static void local_pack(struct launcher *l, const char *id, const char *image)
{
	say(l, json_pack("{s:s, s:s, s:s}", "t", "pack", "job", id, "image", image));
}

static void local_digest(struct launcher *l, int64_t n, const char *image)
{
	say(l, json_pack("{s:s, s:I, s:s}", "t", "digest", "n", (json_int_t)n, "image", image));
}

static void local_scan(struct launcher *l, const char *image)
{
	say(l, json_pack("{s:s, s:s}", "t", "scan", "image", image));
}

static void local_check(struct launcher *l, int64_t n, const json_t *order)
{
	json_t *msg = json_pack("{s:s, s:I}", "t", "check", "n", (json_int_t)n);

	must(msg && json_object_update_missing(msg, (json_t *)order) == 0);
	say(l, msg);
}

const struct launcher_ops launcher_local = {
	.name = "local",
	.open = local_open,
	.close = local_close,
	.launch = local_launch,
	.watch = local_watch,
	.stop = local_stop,
	.go = local_go,
	.forget = local_forget,
	.remove = local_remove,
	.pack = local_pack,
	.digest = local_digest,
	.scan = local_scan,
	.check = local_check,
};
