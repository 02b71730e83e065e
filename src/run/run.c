/* SPDX-License-Identifier: Apache-2.0 */
#include "run/run.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "net/net.h"
#include "run/phase.h"
#include "run/reason.h"

/* clang-format off */
const struct phase run_phases[] = {
	/* name          run              stop            undo           */
	{ "volume",      phase_volume,    NULL,           undo_volume    },
	{ "network",     phase_network,   NULL,           undo_network   },
	{ "gpus",        phase_gpus,      NULL,           undo_gpus      },
	{ "layout",      phase_layout,    NULL,           NULL           },
	{ "channels",    phase_channels,  stop_worker,    undo_channels  },
	{ "additional",  phase_additional, stop_worker,   undo_models    },
	{ "image",       phase_image,     stop_image,     undo_image     },
	{ "mount",       phase_mount,     stop_mount,     NULL           },
	{ "rootfs",      phase_rootfs,    NULL,           undo_rootfs    },
	{ "feeders",     phase_feeders,   stop_feeders,   undo_feeders   },
	{ "container",   phase_container, NULL,           undo_container },
	{ "ready",       phase_ready,     stop_ready,     NULL           },
	{ "start",       phase_start,     NULL,           NULL           },
	{ "training",    phase_training,  stop_training,  undo_training  },
	{ "upload",      phase_upload,    NULL,           undo_upload    },
	{ NULL }
};
/* clang-format on */

/* clang-format off */
const struct phase run_transform_phases[] = {
	{ "volume",      phase_volume,         NULL,           undo_volume    },
	{ "network",     phase_network,        NULL,           undo_network   },
	{ "gpus",        phase_gpus,           NULL,           undo_gpus      },
	{ "layout",      phase_serving_layout, NULL,           NULL           },
	{ "models",      phase_models,         stop_worker,    undo_models    },
	{ "image",       phase_image,          stop_image,     undo_image     },
	{ "mount",       phase_mount,          stop_mount,     NULL           },
	{ "rootfs",      phase_rootfs,         NULL,           undo_rootfs    },
	{ "serve",       phase_serve,          NULL,           undo_container },
	{ "transform",   phase_transform,      stop_transform, undo_transform },
	{ "outputs",     phase_outputs,        stop_worker,    undo_upload    },
	{ "leave",       phase_leave,          NULL,           NULL           },
	{ NULL }
};
/* clang-format on */

/* ---- facts and words ---- */

int run_fact(struct run *r, enum fact_kind kind, json_t *args, struct err *e)
{
	int result = journal_add(r->journal, kind, args, e);

	json_decref(args);
	return result < 0 ? err_in(e, "reporting %s", fact_name[kind]) : 0;
}

void run_say(struct run *r, const char *fmt, ...)
{
	struct err e = { 0 };
	struct buf b = { 0 };
	va_list ap;

	va_start(ap, fmt);
	buf_vf(&b, fmt, ap);
	va_end(ap);
	for (size_t i = 0; i < b.n; i++) /* a key or what a program said may hold them, and this is one line */
		if ((unsigned char)b.p[i] < ' ' || b.p[i] == 0x7f)
			b.p[i] = ' ';
	log_info("%s", b.p);
	if (r->log && joblog_add(r->log, wall_now(), LOG_FROM_PLATFORM, true, buf_view(&b), &e) < 0)
		log_err(LOG_WARN, &e, "writing to the job's log");
	buf_fini(&b);
}

void run_set_reason(struct run *r, struct str reason)
{
	if (!r->failed)
		buf_str(&r->reason, reason);
	r->failed = true;
}

/* ---- the driver ---- */

/* Undoes in reverse from where we are, and leaves the loop: when the metrics have been taken from all of the log, as
 * they are from what is to be undone. */
static void run_end(struct run *r)
{
	r->at_end = true;
	metrics_end(r);
	if (!metrics_ended(r))
		return;
	for (size_t i = r->at + 1; i-- > 0;)
		if (r->phases[i].name && r->phases[i].undo)
			r->phases[i].undo(r);
	loop_stop(r->loop);
}

void run_metrics_ended(struct run *r)
{
	if (r->at_end)
		run_end(r);
}

static void phase_done(struct run *r)
{
	log_info("phase %s: %lld ms", r->phases[r->at].name, (long long)mono_ms_since(r->phase_started));
	r->phase_started = mono_now();
}

static void advance(void *arg)
{
	struct run *r = arg;
	const struct phase *p = &r->phases[r->at];
	struct err e = { 0 };

	/* Before the container a stop ends the run; after its start the container is stopped and its artifacts are
	 * kept. */
	if (!p->name || (r->stop != STOP_NONE && !r->outcome.started)) {
		run_end(r);
		return;
	}
	switch (p->run(r, &e)) {
	case STEP_NEXT: run_next(r); break;
	case STEP_WAIT: r->waiting = true; break;
	case STEP_FAIL: run_failed(r, &e); break;
	}
}

void run_next(struct run *r)
{
	phase_done(r);
	r->waiting = false;
	r->at++;
	loop_post(r->loop, advance, r);
}

static void end_later(void *arg)
{
	run_end(arg);
}

void run_failed(struct run *r, const struct err *e)
{
	struct buf reason = { 0 };

	/* What was cut short by a stop has not failed. */
	if (r->stop == STOP_NONE || r->outcome.started) {
		reason_of_error(e, &reason);
		log_err(LOG_ERROR, e, "phase %s failed", r->phases[r->at].name);
		run_set_reason(r, buf_view(&reason));
	}
	buf_fini(&reason);
	r->waiting = false;
	loop_post(r->loop, end_later, r);
}

void run_stop(struct run *r, enum stop_why why)
{
	static const char *const words[] = {
		[STOP_ASKED] = "stop", [STOP_EXPIRED] = "max_runtime", [STOP_PEER] = "peer", [STOP_SHUTDOWN] = "stop"
	};
	struct err e = { 0 };

	if (r->stop != STOP_NONE || r->outcome.exited)
		return;
	r->stop = why;
	if (why == STOP_EXPIRED && run_fact(r, FACT_EXPIRED, NULL, &e) < 0)
		log_err(LOG_ERROR, &e, "stopping");
	if (run_fact(r, FACT_STOPPING, json_pack("{s:s}", "why", words[why]), &e) < 0)
		log_err(LOG_ERROR, &e, "stopping");
	if (r->waiting && r->phases[r->at].stop)
		r->phases[r->at].stop(r);
}

int run_drive(struct run *r, const struct phase *phases, struct err *e)
{
	r->phases = phases;
	r->at = 0;
	r->phase_started = mono_now();
	loop_post(r->loop, advance, r);
	return loop_run(r->loop, e);
}

/* ---- before and after ---- */

static char *parent_of(const char *path)
{
	struct str s = str_of(path);

	while (s.n > 1 && s.p[s.n - 1] == '/')
		s.n--;
	str_cut_last(&s, '/');
	return str_dup(s.n ? s : STR("/"));
}

static int open_job(struct run *r, const struct run_options *o, struct err *e)
{
	_cleanup_free_ char *jobs = NULL;

	r->job_dir = realpath(o->job_dir, NULL);
	if (!r->job_dir)
		return err_sys(e, "opening the job directory %s", o->job_dir);
	jobs = parent_of(r->job_dir);
	r->data_dir = o->data_dir ? realpath(o->data_dir, NULL) : parent_of(jobs);
	r->programs_dir = o->programs_dir ? xstrdup(o->programs_dir) : program_dir();
	if (!r->data_dir || !r->programs_dir)
		return err_sys(e, "finding the data directory");
	r->job_fd = open(r->job_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (r->job_fd < 0)
		return err_sys(e, "opening %s", r->job_dir);
	return 0;
}

/* The journal is the lock: of two supervisors of a job one fails to open it. The pid file is for others to look at. */
static int claim(struct run *r, struct err *e)
{
	pid_t pid;
	int alive;

	if (journal_open(r->job_dir, &r->journal, e) < 0)
		return -1;
	alive = jobdir_alive(r->job_dir, &pid, e);
	if (alive > 0 && pid != getpid())
		return err_set(e, ERR_IN_USE, "process %d is at work in %s", (int)pid, r->job_dir);
	return alive < 0 ? -1 : jobdir_write_pid(r->job_dir, getpid(), e);
}

/* A directory of ours in the job directory, which itself belongs to another user: made or checked, never followed. */
static int own_directory(int dirfd, const char *leaf, int *ret_fd, struct err *e)
{
	_cleanup_close_ int fd = -EBADF;
	struct stat st;

	if (mkdirat(dirfd, leaf, 0755) < 0 && errno != EEXIST)
		return err_sys(e, "making %s", leaf);
	fd = openat(dirfd, leaf, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "opening %s", leaf);
	if (st.st_uid != geteuid())
		return err_set(e, ERR_DENIED, "%s in the job directory belongs to user %u, not to the supervisor's",
		               leaf, (unsigned)st.st_uid);
	*ret_fd = take_fd(fd);
	return 0;
}

static int load_spec(struct run *r, struct err *e)
{
	if (spec_load(r->job_dir, &r->spec, e) < 0)
		return err_in(e, "reading spec.json");
	if (!str_is(str_of(r->spec.id), strrchr(r->job_dir, '/') + 1))
		return err_set(e, ERR_BUG, "spec.json is for the job %s, not for %s", r->spec.id, r->job_dir);
	boxes_init(r);
	return 0;
}

static int load_conf(struct run *r, struct err *e)
{
	int fd = r->options.conf_fd;

	return fd <= 0 ? 0 : conf_host_read(&r->conf, fd, "what bloomery.conf says", e);
}

/* The directory of the log becomes bloomeryd's, which packs and removes what is old in it. What is appended to are
 * plain files of one name there (joblog_open). */
static int open_log(struct run *r, struct err *e)
{
	_cleanup_close_ int fd = -EBADF;
	struct stat job, log;

	if (mkdirat(r->job_fd, "log", 0755) < 0 && errno != EEXIST)
		return err_sys(e, "making log");
	fd = openat(r->job_fd, "log", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &log) < 0 || fstat(r->job_fd, &job) < 0)
		return err_sys(e, "opening log");
	if (log.st_uid != geteuid() && log.st_uid != job.st_uid)
		return err_set(e, ERR_DENIED, "log in the job directory belongs to user %u, not to the job's",
		               (unsigned)log.st_uid);
	if (log.st_uid != job.st_uid && fchown(fd, job.st_uid, job.st_gid) < 0)
		return err_sys(e, "giving log to its owner");
	return boxes_open_logs(r, fd, e);
}

/* What was opened before belongs to the mounts of the namespace we came from; nothing can be mounted or linked there.
 */
static int reopen_job(struct run *r, struct err *e)
{
	_cleanup_close_ int fd = open(r->job_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	struct stat was, is;

	if (fd < 0 || fstat(fd, &is) < 0 || fstat(r->job_fd, &was) < 0)
		return err_sys(e, "opening %s", r->job_dir);
	if (was.st_dev != is.st_dev || was.st_ino != is.st_ino)
		return err_set(e, ERR_DENIED, "%s was exchanged for another directory", r->job_dir);
	close(r->job_fd);
	r->job_fd = take_fd(fd);
	return 0;
}

/* Mounts work/ where only root can rename anything on the way to it, and goes on there. The mount point is an empty
 * directory that all jobs share; each sees its own work in it. */
static int mount_work(struct run *r, struct err *e)
{
	_cleanup_close_ int fd = -EBADF;
	struct stat was, is;
	char from[32];

	snprintf(from, sizeof(from), "/proc/self/fd/%d", r->work_fd);
	if ((mkdir(RUN_WORK, 0755) < 0 && errno != EEXIST) || mount(from, RUN_WORK, NULL, MS_BIND, NULL) < 0)
		return err_sys(e, "mounting work at " RUN_WORK);
	fd = open(RUN_WORK, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &is) < 0 || fstat(r->work_fd, &was) < 0 || fchdir(fd) < 0)
		return err_sys(e, "entering work");
	if (was.st_dev != is.st_dev || was.st_ino != is.st_ino)
		return err_set(e, ERR_DENIED, RUN_WORK " is not the directory that was mounted there");
	r->home_fd = r->work_fd;
	r->work_fd = take_fd(fd);
	return 0;
}

/* Session, mount namespace, working directory: from here on nothing we mount is seen by others or outlives us. */
static int isolate(struct run *r, struct err *e)
{
	umask(022);
	setsid(); /* fails harmlessly when we lead one already */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return err_sys(e, "making a mount namespace of our own (bloomery-job must run as root)");
	if (reopen_job(r, e) < 0 || own_directory(r->job_fd, "work", &r->work_fd, e) < 0)
		return -1;
	return mount_work(r, e);
}

/* What of an earlier supervisor's run may be alive: its container. Its mounts go with their last process. */
static void undo_leftovers(struct run *r)
{
	char port[NET_NAME_BYTES];
	struct err e = { 0 };

	if (cgroup_destroy(r->cgroup, &e) < 0)
		log_err(LOG_WARN, &e, "ending what is left of the container");
	net_port_name(strrchr(r->job_dir, '/') + 1, port);
	if (net_sweep(port, &e) < 0)
		log_err(LOG_WARN, &e, "removing the network");
	if (remove_tree(r->job_fd, "work", &e) < 0)
		log_err(LOG_WARN, &e, "removing work");
}

static int finish(struct run *r, struct err *e)
{
	if (unlinkat(r->job_fd, "sock", 0) < 0 && errno != ENOENT)
		return err_sys(e, "removing sock");
	return jobdir_write_exit(r->job_dir, "ended\n", e);
}

static int report_end(struct run *r, struct err *e)
{
	const char *result = r->failed                  ? "failed"
	                     : r->stop == STOP_ASKED    ? "stopped"
	                     : r->stop == STOP_PEER     ? "stopped"
	                     : r->stop == STOP_EXPIRED  ? "expired"
	                     : r->stop == STOP_SHUTDOWN ? "failed"
	                                                : "ok";

	if (r->stop == STOP_SHUTDOWN && !r->failed)
		run_set_reason(r, STR("InternalServerError: the supervisor of the host was told to end (SIGTERM), as "
		                      "when the machine is shut down. Create the job again."));
	log_info("ended: %s %s", result, r->reason.p ? r->reason.p : "");
	return run_fact(r, FACT_ENDED,
	                json_pack("{s:s, s:s}", "result", result, "reason", r->failed ? r->reason.p : ""), e);
}

struct history {
	size_t facts;
	bool ended, exited, stopping;
	int code;
};

static int note_fact(const struct fact *f, void *arg, struct err *e)
{
	struct history *h = arg;

	(void)e;
	h->facts++;
	h->ended |= f->kind == FACT_ENDED;
	h->exited |= f->kind == FACT_EXITED;
	h->stopping |= f->kind == FACT_STOPPING;
	if (f->kind == FACT_EXITED)
		h->code = (int)json_integer_value(json_object_get(f->args, "code"));
	return 0;
}

static void set_lost_reason(struct run *r, const struct history *h)
{
	struct buf b = { 0 };

	if (h->exited && h->code != 0 && !h->stopping)
		buf_f(&b, "AlgorithmError: , exit code: %d. Nothing more is known, as", h->code);
	else
		buf_z(&b,
		      "InternalServerError: We encountered an internal error. Please try again. What happened is that");
	buf_z(&b, " the host's supervisor, bloomery-job, was lost: it was killed, or the machine went down.");
	run_set_reason(r, buf_view(&b));
	buf_fini(&b);
}

/* A journal that is not empty is another supervisor's, and that one is gone. 1: it has been finished; 0: it is new. */
static int finish_other(struct run *r, struct err *e)
{
	struct history h = { 0 };
	uint64_t offset = 0;

	if (journal_read(r->job_dir, 0, &offset, note_fact, &h, e) < 0)
		return err_in(e, "reading the journal");
	if (h.facts == 0)
		return 0;
	undo_leftovers(r);
	if (!h.ended) {
		set_lost_reason(r, &h);
		if (report_end(r, e) < 0)
			return -1;
	}
	return finish(r, e) < 0 ? -1 : 1;
}

static void run_fini(struct run *r)
{
	struct err e = { 0 };

	network_wait(r);
	feeds_close(r);
	metrics_free(r);
	control_close(r->control);
	boxes_fini(r);
	if (r->log && joblog_close(r->log, &e) < 0)
		log_err(LOG_WARN, &e, "closing the job's log");
	journal_close(r->journal);
	runtime_fini(&r->runtime);
	loop_free(r->loop);
	spec_fini(&r->spec);
	conf_fini(&r->conf);
	buf_fini(&r->reason);
	cleanup_closep(&r->home_fd);
	cleanup_closep(&r->work_fd);
	cleanup_closep(&r->job_fd);
	free(r->credentials_url);
	free(r->network_interface);
	free(r->cgroup);
	free(r->programs_dir);
	free(r->data_dir);
	free(r->job_dir);
}

/* From STARTED to ENDED. What fails before the first phase is a failure of the job as well: its journal is open. */
static int run_phases_through(struct run *r, struct err *e)
{
	struct err first = { 0 };

	if (run_fact(r, FACT_STARTED, NULL, e) < 0)
		return -1;
	r->loop = loop_new();
	if (load_spec(r, &first) < 0 || load_conf(r, &first) < 0 || open_log(r, &first) < 0 || isolate(r, &first) < 0 ||
	    control_open(r, &first) < 0) {
		struct buf reason = { 0 };

		reason_of_error(&first, &reason);
		run_set_reason(r, buf_view(&reason));
		buf_fini(&reason);
	} else if (run_drive(r, spec_is_transform(&r->spec) ? run_transform_phases : run_phases, e) < 0) {
		return -1;
	}
	/* The outcome is durable before anything that is only tidiness. */
	if (report_end(r, e) < 0)
		return -1;
	if (remove_tree(r->job_fd, "work", e) < 0)
		log_err(LOG_WARN, e, "removing work");
	network_wait(r);
	return finish(r, e);
}

int run_job(const struct run_options *o, struct err *e)
{
	struct run r = { .options = *o, .job_fd = -EBADF, .work_fd = -EBADF, .home_fd = -EBADF, .network_ns = -EBADF };
	int result = -1, other;

	conf_init(&r.conf);
	if (!r.options.drain_ms)
		r.options.drain_ms = 5000;
	if (open_job(&r, o, e) < 0)
		goto out;
	if (jobdir_has_exit(r.job_dir) || faccessat(r.job_fd, "lost", F_OK, 0) == 0) {
		result = 0; /* its end has been told already */
		goto out;
	}
	if (claim(&r, e) < 0)
		goto out;
	r.cgroup = strf("/bloomery/%s", strrchr(r.job_dir, '/') + 1);
	other = finish_other(&r, e);
	if (other == 0)
		result = run_phases_through(&r, e);
	else
		result = other > 0 ? 0 : -1;
out:
	run_fini(&r);
	return result;
}
