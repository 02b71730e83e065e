/* bloomery up: the two daemons, one above the other, in the foreground.
 *
 * bloomery-host first, as bloomeryd connects to it; then bloomeryd, which writes <data>/endpoint and then a line to its
 * --ready-fd. They end in the other order. When one of the two ends by itself, the other is ended, too: a service
 * manager starts both again, and jobs do not notice.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/up.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/conf.h"
#include "base/fd.h"
#include "base/log.h"
#include "cli/commands.h"
#include "loop/loop.h"

enum { END_MS = 15000, ENDPOINT_MAX = 1024 };

struct up;

/* One of the two. */
struct child {
	struct up *up;
	const char *name;
	pid_t pid; /* 0: not running */
	int ready_fd;
	struct loop_source *process, *ready;
	void (*on_ready)(struct up *u);
};

struct up {
	struct loop *loop;
	struct loop_source *limit;
	char *data, *programs;
	const char *listen, *config;
	uid_t uid;
	gid_t gid;
	bool may_search, ending;
	int code;
	struct child host, daemon;
};

/* ---- ending ---- */

static void on_limit(void *arg)
{
	struct up *u = arg;

	for (struct child *c = &u->host; c; c = c == &u->host ? &u->daemon : NULL)
		if (c->pid) {
			log_warn("%s does not end; killing it", c->name);
			kill(c->pid, SIGKILL);
		}
}

static void end(struct up *u, int code)
{
	if (!u->ending) {
		u->ending = true;
		u->code = code;
		u->limit = loop_timer(u->loop, END_MS, 0, on_limit, u);
	}
	if (u->daemon.pid)
		kill(u->daemon.pid, SIGTERM);
	else if (u->host.pid)
		kill(u->host.pid, SIGTERM);
	else
		loop_stop(u->loop);
}

static void on_signal(void *arg, int signo)
{
	log_info("%s: ending; jobs go on", strsignal(signo));
	end(arg, EXIT_DONE);
}

/* ---- starting ---- */

static void on_process(void *arg, int code, int status)
{
	struct child *c = arg;

	loop_source_free(take_ptr(c->process));
	c->pid = 0;
	if (!c->up->ending && code == CLD_EXITED)
		log_error("%s ended with status %d; ending", c->name, status);
	else if (!c->up->ending)
		log_error("%s was killed by signal %d (%s); ending", c->name, status, strsignal(status));
	end(c->up, EXIT_FAILED);
}

static void on_ready(void *arg, uint32_t events)
{
	struct child *c = arg;
	char text[16];
	ssize_t n = read(c->ready_fd, text, sizeof(text));

	(void)events;
	loop_source_free(take_ptr(c->ready));
	cleanup_closep(&c->ready_fd);
	c->ready_fd = -EBADF;
	if (n > 0 && !c->up->ending) /* else it has died, and on_process says how */
		c->on_ready(c->up);
}

static int start(struct child *c, struct up_daemon *d, const char *const *args, struct err *e)
{
	_cleanup_free_ char *program = strf("%s/%s", c->up->programs, c->name), *fd = NULL;
	const char *argv[16] = { program, "--data", c->up->data, "--ready-fd" };
	_cleanup_close_ int wr = -EBADF;
	int pipefd[2], n = 4, rc;

	if (pipe2(pipefd, O_CLOEXEC) < 0)
		return err_sys(e, "making a pipe");
	c->ready_fd = pipefd[0];
	wr = pipefd[1];
	fd = strf("%d", wr);
	argv[n++] = fd;
	if (c->up->config) {
		argv[n++] = "--config";
		argv[n++] = c->up->config;
	}
	while (*args)
		argv[n++] = *args++;
	d->argv = argv;
	d->ready_fd = wr;
	rc = up_start(d, &c->pid, e);
	if (rc < 0)
		return -1;
	c->process = loop_process(c->up->loop, c->pid, true, on_process, c);
	c->ready = loop_fd(c->up->loop, c->ready_fd, EPOLLIN, on_ready, c);
	return c->process && c->ready ? 0 : err_sys(e, "watching %s", c->name);
}

static void daemon_ready(struct up *u)
{
	_cleanup_free_ char *path = strf("%s/endpoint", u->data);
	_cleanup_buf_ struct buf url = { 0 };
	struct err e = { 0 };

	if (file_read(path, ENDPOINT_MAX, &url, &e) < 0) {
		log_err(LOG_ERROR, &e, "bloomeryd has not said where it listens");
		end(u, EXIT_FAILED);
		return;
	}
	printf("bloomery: listening on " PRIstr "\n", ARGstr(str_trim(buf_view(&url))));
	fflush(stdout);
}

static int start_daemon(struct up *u, struct err *e)
{
	_cleanup_free_ char *program = strf("%s/bloomery-fetch", u->programs), *number = NULL;
	_cleanup_free_ char *metric_program = strf("%s/bloomery-metric", u->programs), *metric_number = NULL;
	_cleanup_close_ int fetch = open(program, O_PATH | O_CLOEXEC);
	_cleanup_close_ int metric = open(metric_program, O_PATH | O_CLOEXEC);
	_cleanup_free_ char *usual = strf("%s/bloomery.conf", u->data), *conf_number = NULL;
	_cleanup_close_ int conf = -EBADF;
	const char *args[9] = { "--listen", u->listen, "--fetch-fd" };
	size_t n = 3;
	struct up_daemon d = { .fetch_fd = fetch,
		               .metric_fd = metric,
		               .conf_fd = -1,
		               .as_user = true,
		               .may_search = u->may_search,
		               .uid = u->uid,
		               .gid = u->gid };

	if (fetch < 0)
		return err_sys(e, "opening %s", program);
	args[n++] = number = strf("%d", fetch);
	if (metric >= 0) { /* without it there is only no `bloomery metrics try` and `refit` */
		args[n++] = "--metric-fd";
		args[n++] = metric_number = strf("%d", metric);
	}
	if (conf_copy(u->config ? u->config : usual, &conf, e) < 0)
		return -1;
	if (conf >= 0) {
		d.conf_fd = conf;
		args[n++] = "--config-fd";
		args[n] = conf_number = strf("%d", conf);
	}
	return start(&u->daemon, &d, args, e);
}

static void host_ready(struct up *u)
{
	struct err e = { 0 };

	if (start_daemon(u, &e) < 0) {
		log_err(LOG_ERROR, &e, "starting");
		end(u, EXIT_FAILED);
	}
}

static int serve(struct up *u, struct err *e)
{
	_cleanup_free_ char *uid = strf("%u", (unsigned)u->uid);
	const char *const args[] = { "--uid", uid, NULL };
	struct up_daemon d = { .fetch_fd = -1, .metric_fd = -1, .conf_fd = -1 };

	if (!loop_signal(u->loop, SIGTERM, on_signal, u) || !loop_signal(u->loop, SIGINT, on_signal, u))
		return err_sys(e, "taking signals");
	u->host = (struct child){ .up = u, .name = "bloomery-host", .ready_fd = -EBADF, .on_ready = host_ready };
	u->daemon = (struct child){ .up = u, .name = "bloomeryd", .ready_fd = -EBADF, .on_ready = daemon_ready };
	if (start(&u->host, &d, args, e) < 0)
		return -1;
	return loop_run(u->loop, e);
}

static int prepare(struct up *u, const struct cli_args *a, const struct conf *c, struct err *e)
{
	_cleanup_free_ char *closed = NULL, *usual = strf("%s/bloomery.conf", cli_data_dir(a));

	if (up_conf_check(c, cli_text(a, "config", usual), e) < 0)
		return -1;
	if (up_user(c, &u->uid, &u->gid, e) < 0 || up_data(cli_data_dir(a), u->uid, u->gid, &u->data, e) < 0)
		return -1;
	u->may_search = !up_reachable(u->data, u->uid, u->gid, &closed);
	if (u->may_search)
		log_info("user %u may not search %s, so bloomeryd keeps the capability CAP_DAC_READ_SEARCH, and no "
		         "other",
		         (unsigned)u->uid, closed);
	return 0;
}

int command_up(const struct cli_args *a, struct err *e)
{
	struct up u = { .programs = program_dir(), .config = cli_text(a, "config", NULL) };
	struct conf conf;
	int rc;

	if (geteuid() != 0) {
		free(u.programs);
		return err_set(e, ERR_DENIED,
		               "bloomery up must be run as root (try: sudo bloomery up): it starts containers. "
		               "bloomeryd itself, which speaks to the network, runs as another user");
	}
	rc = cli_conf(a, cli_data_dir(a), &conf, e);
	u.listen = cli_text(a, "listen", conf.listen);
	if (rc == 0)
		rc = prepare(&u, a, &conf, e);
	if (rc == 0) {
		u.loop = loop_new();
		rc = serve(&u, e);
	}
	loop_free(u.loop);
	conf_fini(&conf);
	free(u.data);
	free(u.programs);
	return rc < 0 ? -1 : u.code;
}
