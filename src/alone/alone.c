/* SPDX-License-Identifier: Apache-2.0 */
#include "alone/alone.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alone/inside.h"
#include "base/conf.h"
#include "base/fd.h"
#include "base/hash.h"
#include "base/log.h"
#include "host/host.h"
#include "loop/loop.h"

/* Lines that come one by one are sent together; what else comes can wait so long, too. */
enum { GATHER_MS = 50, AGAIN_MS = 1000, STARTS = 2, REASON_MAX = 900 };

/* ---- the work order ---- */

static int read_order(const char *path, struct job_spec *ret, struct err *e)
{
	_cleanup_buf_ struct buf text = { 0 };
	json_error_t why;
	json_t *j;
	int rc;

	if (file_read(strcmp(path, "-") ? path : "/dev/stdin", SPEC_MAX_BYTES, &text, e) < 0)
		return -1;
	j = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, &why);
	explicit_bzero(text.p, text.n);
	if (!j)
		return err_set(e, ERR_SYNTAX, "line %d, column %d: %s", why.line, why.column, why.text);
	rc = spec_from_json(j, ret, e);
	json_decref(j);
	if (rc == 0 && (!ret->server || !ret->token))
		return err_set(e, ERR_INVALID,
		               "it has no server and token, as it is for a host of bloomeryd's own machine "
		               "(`launcher = hand` in bloomery.conf makes others)");
	if (rc == 0 && spec_is_transform(ret))
		return err_set(e, ERR_INVALID,
		               "it is of a transform job, whose hosts are on bloomeryd's own machine only");
	return rc;
}

/* The address that reaches bloomeryd: what the machine would send to it with. */
static int own_address(struct alone *a, struct err *e)
{
	struct str host = str_of(a->spec.server), port;
	_cleanup_free_ char *name = NULL, *service = NULL;
	const struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_DGRAM };
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct addrinfo *found;
	struct sockaddr_in in;
	socklen_t n = sizeof(in);
	char text[INET_ADDRSTRLEN];
	int rc;

	if (a->spec.address) {
		a->address = xstrdup(a->spec.address);
		return 0;
	}
	str_skip(&host, STR("http://"));
	host = str_cut(&host, '/');
	port = str_cut_last(&host, ':');
	name = str_dup(host);
	service = str_dup(port);
	rc = getaddrinfo(name, service, &hints, &found);
	if (rc)
		return err_set(e, ERR_IO, "finding %s: %s", a->spec.server, gai_strerror(rc));
	rc = fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) < 0 ||
	     getsockname(fd, (struct sockaddr *)&in, &n) < 0;
	freeaddrinfo(found);
	if (rc)
		return err_sys(e, "finding the way to %s", a->spec.server);
	a->address = xstrdup(inet_ntop(AF_INET, &in.sin_addr, text, sizeof(text)));
	return 0;
}

/* ---- the directory ---- */

static int lock(struct alone *a, struct err *e)
{
	int fd = openat(a->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* held until we end */

	if (fd < 0)
		return err_sys(e, "opening %s", a->dir);
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		err_set(e, ERR_IN_USE, "another bloomery-job runs this host in %s", a->root);
	else
		err_sys(e, "locking %s", a->dir);
	close(fd);
	return -1;
}

static int make_directories(struct alone *a, struct err *e)
{
	if (mkdir_all(AT_FDCWD, a->o->root, 0755, e) < 0)
		return -1;
	a->root = realpath(a->o->root, NULL);
	if (!a->root)
		return err_sys(e, "opening %s", a->o->root);
	a->dir = strf("%s/jobs/%s", a->root, a->spec.id);
	if (mkdir_all(AT_FDCWD, a->dir, 0700, e) < 0)
		return -1;
	a->dir_fd = open(a->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return a->dir_fd < 0 ? err_sys(e, "opening %s", a->dir) : lock(a, e);
}

/* Who we are to bloomeryd: the same when we come back to this directory. */
static int instance(struct alone *a, struct buf *out, struct err *e)
{
	char uuid[37];

	if (file_read_at(a->dir_fd, "instance", 64, out, NULL) == 0 && out->n)
		return 0;
	buf_reset(out);
	buf_z(out, random_uuid(uuid));
	return file_write_atomic(a->dir_fd, "instance", buf_view(out), 0600, true, e);
}

static int hello(struct alone *a, struct err *e)
{
	_cleanup_buf_ struct buf who = { 0 };
	struct wire_request q = { .method = "POST", .path = "hello", .body_fd = -EBADF, .to_fd = -EBADF };
	_cleanup_free_ char *text = NULL;
	json_t *j;

	if (instance(a, &who, e) < 0)
		return -1;
	j = json_pack("{ss ss sI}", "address", a->address, "instance", who.p, "now", (json_int_t)wall_now().ms);
	text = json_dumps(j, JSON_COMPACT);
	json_decref(j);
	must(text);
	q.body = str_of(text);
	if (wire_call(&a->wire, &q, &j, e) < 0)
		return -1;
	a->journal_sent = (uint64_t)json_integer_value(json_object_get(j, "journal"));
	a->log_sent = (uint64_t)json_integer_value(json_object_get(j, "log"));
	json_decref(j);
	return 0;
}

static bool has(const struct alone *a, const char *leaf)
{
	return faccessat(a->dir_fd, leaf, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static uint64_t size_of(const struct alone *a, const char *leaf)
{
	struct stat st;

	return fstatat(a->dir_fd, leaf, &st, AT_SYMLINK_NOFOLLOW) == 0 ? (uint64_t)st.st_size : 0;
}

/* The end of a host that never came to have a supervisor. */
static int end_here(struct alone *a, const char *result, const char *reason, struct err *e)
{
	_cleanup_(journal_closep) struct journal *j = NULL;
	json_t *args = json_pack("{ss ss}", "result", result, "reason", reason);
	int rc;

	if (!args)
		args = json_pack("{ss ss}", "result", result, "reason",
		                 "InternalServerError: We encountered an internal error.");
	must(args);
	rc = journal_open(a->dir, &j, e);
	if (rc == 0)
		rc = journal_add(j, FACT_ENDED, args, e);
	json_decref(args);
	return rc < 0 ? -1 : jobdir_write_exit(a->dir, "ended before it was started\n", e);
}

static bool told_to_end(void)
{
	sigset_t pending;

	return sigpending(&pending) == 0 && (sigismember(&pending, SIGTERM) || sigismember(&pending, SIGINT));
}

static int cannot_start(struct alone *a, const struct err *why, struct err *e)
{
	char text[REASON_MAX];
	_cleanup_free_ char *reason = NULL, *over = NULL;

	if (orders_over(a->orders, &over))
		return err_set(e, ERR_DENIED, "%s", over);
	if (told_to_end())
		return end_here(
		        a, "failed",
		        "InternalServerError: bloomery-job was told to end (SIGTERM), as when the machine is shut "
		        "down. Create the job again.",
		        e);
	if (orders_stop(a->orders))
		return end_here(a, "stopped", "", e);
	log_err(LOG_ERROR, why, "the host cannot be started");
	reason = strf("%s: The training host %s could not be prepared: %s", err_info[why->kind].reason,
	              a->spec.host_name, err_text(why, text, sizeof(text)));
	return end_here(a, "failed", reason, e);
}

/* ---- the supervisor ---- */

/* What root says of this machine: file systems, registries. As bloomery-host hands it on. */
static int machine_conf(const struct alone *a, struct err *e)
{
	_cleanup_free_ char *path = strf("%s/bloomery.conf", a->root);
	_cleanup_close_ int fd = memfd_create("bloomery.conf", MFD_CLOEXEC);
	_cleanup_buf_ struct buf text = { 0 };
	struct conf conf;
	int rc;

	if (fd < 0)
		return err_sys(e, "keeping what root says of this machine");
	conf_init(&conf);
	rc = conf_read_root(&conf, path, e);
	conf_host_write(&conf, &text);
	conf_fini(&conf);
	if (rc < 0 || fd_write_all(fd, buf_view(&text).p, text.n, e) < 0)
		return -1;
	return take_fd(fd);
}

static int start_supervisor(struct alone *a, pid_t *ret_pid, struct err *e)
{
	_cleanup_free_ char *program = strf("%s/bloomery-job", a->programs), *number = NULL;
	_cleanup_close_ int fs = machine_conf(a, e);
	const char *argv[] = {
		program, "--dir", a->dir, "--data", a->root, "--end-with-parent", "--conf-fd", NULL, NULL
	};
	struct spawn_options o = {
		.argv = argv, .in = -1, .out = -1, .err_fd = STDERR_FILENO, .keep = &fs, .keep_count = 1, .setsid = true
	};

	if (fs < 0)
		return -1;
	argv[7] = number = strf("%d", fs);
	return spawn(&o, ret_pid, e);
}

struct watch {
	int notify, signals, process;
};

static void drain(int fd)
{
	char bytes[4096];

	while (read(fd, bytes, sizeof(bytes)) > 0)
		;
}

/* Until something is there to be sent, or the supervisor has ended: true. */
static bool wait_for_more(const struct watch *w, pid_t pid)
{
	struct pollfd p[] = { { .fd = w->process, .events = POLLIN },
		              { .fd = w->signals, .events = POLLIN },
		              { .fd = w->notify, .events = POLLIN } };
	bool ended;

	if (poll(p, ARRAY_LEN(p), AGAIN_MS) < 0)
		return false;
	if (p[1].revents) {
		drain(w->signals);
		log_info("told to end: so is the supervisor");
		kill(pid, SIGTERM);
	}
	ended = p[0].revents;
	if (!ended && p[2].revents)
		ended = poll(p, 1, GATHER_MS) > 0;
	drain(w->notify);
	return ended;
}

/* The log's directory may not have been there at first. */
static void watch_files(const struct alone *a, int notify)
{
	_cleanup_free_ char *log = strf("%s/log", a->dir);

	if (inotify_add_watch(notify, a->dir, IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_ONLYDIR) < 0 ||
	    (inotify_add_watch(notify, log, IN_MODIFY | IN_ONLYDIR) < 0 && errno != ENOENT))
		log_debug("watching %s: %s", a->dir, strerror(errno));
}

/* One that an earlier one of us has started and that is coming to its end. */
static int wait_for_other(const struct alone *a, struct err *e)
{
	struct pollfd p = { .events = POLLIN };
	pid_t pid;
	int alive = jobdir_alive(a->dir, &pid, e);

	if (alive <= 0)
		return alive;
	log_info("waiting for process %d, which is at work in %s", (int)pid, a->dir);
	p.fd = pidfd_open(pid, 0);
	while (p.fd >= 0 && poll(&p, 1, -1) < 0 && errno == EINTR)
		;
	cleanup_closep(&p.fd);
	return 0;
}

/* Sends what there is; what bloomeryd does not want is no reason to leave the supervisor alone. */
static void ship_some(struct alone *a, bool *refused)
{
	struct err e = { 0 };

	if (*refused || ship(a, &e) == 0)
		return;
	*refused = e.kind == ERR_DENIED || e.kind == ERR_BUSY || e.kind == ERR_CONFLICT;
	if (!a->ended_sent)
		log_err(LOG_WARN, &e, "sending");
}

static int run_supervisor(struct alone *a, const struct watch *shared, bool *refused, struct err *e)
{
	struct watch w = *shared;
	pid_t pid;

	if (wait_for_other(a, e) < 0 || start_supervisor(a, &pid, e) < 0)
		return err_in(e, "starting the supervisor");
	w.process = pidfd_open(pid, 0);
	must(w.process >= 0);
	do {
		watch_files(a, w.notify);
		ship_some(a, refused);
	} while (!wait_for_more(&w, pid));
	cleanup_closep(&w.process);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return 0;
}

/* One that was killed leaves a container and a journal without an end; the next one ends both. */
static int supervise(struct alone *a, bool *refused, struct err *e)
{
	sigset_t set;
	struct watch w = { .notify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK), .signals = -EBADF };
	int rc = w.notify < 0 ? err_sys(e, "starting inotify") : 0;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (rc == 0 && (w.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)) < 0)
		rc = err_sys(e, "taking signals");
	for (int i = 0; rc == 0 && i < STARTS && !has(a, "exit"); i++) {
		rc = run_supervisor(a, &w, refused, e);
		if (rc == 0 && !has(a, "exit"))
			rc = host_clean(a->root, str_of(a->spec.id), CLEAN_LEFTOVERS, e);
	}
	cleanup_closep(&w.notify);
	cleanup_closep(&w.signals);
	if (rc == 0 && !has(a, "exit"))
		return err_set(e, ERR_IO, "the supervisor does not come to an end");
	return rc;
}

/* ---- all of it ---- */

static bool is_cancelled(void *arg)
{
	struct alone *a = arg;
	char *why = NULL;
	bool over = a->orders && orders_over(a->orders, &why);

	free(why);
	if (a->ending)
		return false;
	/* What the host has made is sent however it was told to end; only getting ready for it ends early. */
	return over || (!size_of(a, "journal") && (told_to_end() || (a->orders && orders_stop(a->orders))));
}

static int run_host(struct alone *a, struct err *e)
{
	_cleanup_free_ char *why = NULL;
	struct err early = { 0 };
	bool refused = false;

	if (!size_of(a, "journal") && place_all(a, &early) < 0 && cannot_start(a, &early, e) < 0)
		return -1;
	if (!has(a, "exit") && supervise(a, &refused, e) < 0)
		return -1;
	ship_some(a, &refused);
	if (a->ended_sent)
		return 0;
	if (orders_over(a->orders, &why))
		return err_set(e, ERR_DENIED, "%s", why);
	return err_set(e, ERR_IO, "bloomeryd does not know how the host ended; run this again");
}

static int begin(struct alone *a, struct err *e)
{
	if (geteuid() != 0)
		return err_set(e, ERR_DENIED, "a training host is run as root");
	if (read_order(a->o->spec, &a->spec, e) < 0)
		return err_in(e, "%s", a->o->spec);
	if (own_address(a, e) < 0 || make_directories(a, e) < 0)
		return -1;
	wire_init(&a->wire, &a->spec, is_cancelled, a);
	return hello(a, e);
}

int alone_run(const struct alone_options *o, struct err *e)
{
	struct alone a = { .o = o, .dir_fd = -EBADF };
	sigset_t set;
	int rc;

	umask(022);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL); /* they wait to be looked at, and for supervise() */
	a.programs = o->programs ? xstrdup(o->programs) : program_dir();
	rc = begin(&a, e);
	if (rc == 0) {
		a.orders = orders_new(&a.spec, a.dir_fd);
		rc = run_host(&a, e);
	}
	orders_free(a.orders);
	if (rc == 0 && remove_tree(AT_FDCWD, a.dir, e) < 0)
		log_err(LOG_WARN, e, "removing %s", a.dir);
	wire_fini(&a.wire);
	joblog_copy_close(a.log);
	buf_fini(&a.feeds_sent);
	cleanup_closep(&a.dir_fd);
	spec_fini(&a.spec);
	free(a.address);
	free(a.programs);
	free(a.dir);
	free(a.root);
	return rc;
}
