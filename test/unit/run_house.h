/* run_house.h - whole jobs for tests, for real: a data directory with an image of busybox, a job directory, run_job()
 * in a child, and what it has left behind.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <dirent.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/log.h"
#include "harness.h"
#include "run/phase.h"

static char id[17], *data, *job;
static unsigned ping_timeout_s = 60; /* of transform jobs; a loaded machine takes its time to start a container */

static inline bool possible(void)
{
	if (geteuid() == 0 && access("/bin/busybox", X_OK) == 0 &&
	    (access("/usr/sbin/runc", X_OK) == 0 || access("/usr/bin/crun", X_OK) == 0 ||
	     access("/usr/bin/runc", X_OK) == 0))
		return true;
	test_skip("needs root, /bin/busybox and runc or crun");
	return false;
}

/* ---- a data directory with an image of busybox, and a job ---- */

static const char *const applets[] = { "sh",  "cat", "echo", "ls",   "mkdir", "rm",   "ln",   "sleep", "dd",
	                               "yes", "nc",  "tr",   "head", "tail",  "kill", "true", "id",    "mkfifo" };

static inline void copy_file(const char *from, const char *to)
{
	struct buf b = { 0 };

	CHECK_OK(file_read(from, 16 << 20, &b, e));
	CHECK_OK(file_put(AT_FDCWD, to, buf_view(&b), 0755, e));
	CHECK(chmod(to, 0755) == 0);
	buf_fini(&b);
}

/* id, data and job: an empty job directory. */
static inline void make_place(void)
{
	unsigned char random[8];
	struct buf hex = { 0 };

	random_bytes(random, sizeof(random));
	buf_hex(&hex, random, sizeof(random));
	memcpy(id, hex.p, sizeof(id));
	buf_fini(&hex);
	data = xstrdup(test_tmpdir());
	job = strf("%s/jobs/%s", data, id);
	CHECK_OK(mkdir_all(AT_FDCWD, job, 0755, e));
}

static inline void make_image(void)
{
	_cleanup_free_ char *hex = strf("%064d", 7), *root = strf("%s/images/sha256-%s/rootfs", data, hex);
	_cleanup_free_ char *json = strf("%s/images/sha256-%s/image.json", data, hex), *bin = strf("%s/bin", root);
	_cleanup_free_ char *refs = strf("%s/images/refs", data), *ref = strf("%s/images/refs/busy%%3Alatest", data);
	_cleanup_free_ char *target = strf("../sha256-%s", hex), *busybox = strf("%s/bin/busybox", root);
	_cleanup_free_ char *old = strf("%s/opt/ml", root), *stale = strf("%s/opt/ml/of-the-image", root);
	_cleanup_free_ char *meta = strf(
	        "{\"Entrypoint\":[],\"Cmd\":[],\"Env\":[\"PATH=/bin\"],\"WorkingDir\":\"/not/yet\","
	        "\"User\":\"\",\"architecture\":\"\",\"digest\":\"sha256:%s\",\"size_bytes\":1}",
	        hex);

	CHECK_OK(mkdir_all(AT_FDCWD, bin, 0755, e));
	CHECK_OK(mkdir_all(AT_FDCWD, refs, 0755, e));
	CHECK_OK(mkdir_all(AT_FDCWD, old, 0755, e));
	CHECK_OK(file_put(AT_FDCWD, stale, STR("hidden"), 0644, e));
	copy_file("/bin/busybox", busybox);
	for (size_t i = 0; i < ARRAY_LEN(applets); i++) {
		_cleanup_free_ char *link = strf("%s/%s", bin, applets[i]);

		CHECK(symlink("busybox", link) == 0);
	}
	CHECK_OK(file_put(AT_FDCWD, json, str_of(meta), 0644, e));
	CHECK(symlink(target, ref) == 0);
}

static inline pid_t start_job(void)
{
	pid_t pid = fork();
	struct err why = { 0 };

	if (pid == 0) {
		log_init("test", LOG_ERROR);
		_exit(run_job(&(struct run_options){ .job_dir = job, .ping_timeout_s = ping_timeout_s }, &why) == 0
		              ? 0
		              : 1);
	}
	return pid;
}

static inline int wait_job(pid_t pid)
{
	int status = -1;

	CHECK(waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- what it left behind ---- */

struct told {
	struct buf names;
	char *reason, *result;
	json_int_t code;
};

static inline void told_fini(struct told *t)
{
	buf_fini(&t->names);
	free(t->reason);
	free(t->result);
}

static inline int note(const struct fact *f, void *arg, struct err *e)
{
	struct told *t = arg;

	(void)e;
	buf_f(&t->names, "%s%s", t->names.n ? " " : "", fact_name[f->kind]);
	if (f->kind == FACT_ENDED) {
		t->reason = xstrdup(json_string_value(json_object_get(f->args, "reason")));
		t->result = xstrdup(json_string_value(json_object_get(f->args, "result")));
	}
	if (f->kind == FACT_EXITED)
		t->code = json_integer_value(json_object_get(f->args, "code"));
	return 0;
}

static inline struct told facts(void)
{
	struct told t = { 0 };
	uint64_t offset = 0;

	CHECK_OK(journal_read(job, 0, &offset, note, &t, e));
	return t;
}

static inline void check_nothing_left(void)
{
	_cleanup_free_ char *work = strf("%s/work", job), *sock = strf("%s/sock", job), *pattern = NULL;
	struct buf mounts = { 0 };
	glob_t g;

	CHECK(access(work, F_OK) < 0);
	CHECK(access(sock, F_OK) < 0);
	CHECK(jobdir_has_exit(job));
	CHECK_OK(file_read("/proc/self/mounts", 4 << 20, &mounts, e));
	CHECK(str_find(buf_view(&mounts), str_of(data)) < 0);
	buf_fini(&mounts);
	pattern = strf("/sys/fs/cgroup{,/*}/bloomery/%s", id);
	CHECK(glob(pattern, GLOB_BRACE, NULL, &g) == GLOB_NOMATCH);
	if (glob("/sys/block/loop*/loop/backing_file", 0, NULL, &g) != 0)
		return;
	for (size_t i = 0; i < g.gl_pathc; i++) {
		struct buf b = { 0 };

		if (file_read(g.gl_pathv[i], 65536, &b, NULL) == 0)
			CHECK(str_find(buf_view(&b), str_of(id)) < 0);
		buf_fini(&b);
	}
	globfree(&g);
}

static inline char *log_text(void)
{
	_cleanup_free_ char *path = strf("%s/log/algo-1", job);
	struct buf b = { 0 };

	CHECK_OK(joblog_tail(path, 100, 65536, &b, e));
	return b.p ? buf_take(&b) : xstrdup("");
}

/* Waits for the fact, by the journal's growth. */
static inline void wait_for(const char *name)
{
	for (int i = 0; i < 6000; i++) {
		_cleanup_(told_fini) struct told t = facts();

		if (str_find(buf_view(&t.names), str_of(name)) >= 0)
			return;
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	}
	test_failed(__FILE__, __LINE__, "%s was never told", name);
}

static inline void send_stop(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	char answer[64] = "";

	snprintf(a.sun_path, sizeof(a.sun_path), "%s/sock", job);
	CHECK(connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	CHECK(send(fd, "{\"t\":\"stop\"}", 12, 0) == 12);
	CHECK(recv(fd, answer, sizeof(answer) - 1, 0) > 0);
	CHECK_STR(answer, "{\"t\":\"ok\"}");
	close(fd);
}
