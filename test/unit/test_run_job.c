/* Whole jobs, for real: a job directory by hand, bloomery-job's run_job() in a child, a container of the runtime that
 * is here. Needs root, a static busybox and runc or crun; says so where it has to skip. SPDX-License-Identifier:
 * Apache-2.0 */
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

static bool possible(void)
{
	if (geteuid() == 0 && access("/bin/busybox", X_OK) == 0 &&
	    (access("/usr/sbin/runc", X_OK) == 0 || access("/usr/bin/crun", X_OK) == 0 ||
	     access("/usr/bin/runc", X_OK) == 0))
		return true;
	test_skip("needs root, /bin/busybox and runc or crun");
	return false;
}

/* ---- a data directory with an image of busybox, and a job ---- */

static const char *const applets[] = { "sh", "cat", "echo", "ls",   "mkdir", "rm",   "ln", "sleep",
	                               "dd", "yes", "head", "tail", "kill",  "true", "id", "mkfifo" };

static void copy_file(const char *from, const char *to)
{
	struct buf b = { 0 };

	CHECK_OK(file_read(from, 16 << 20, &b, e));
	CHECK_OK(file_put(AT_FDCWD, to, buf_view(&b), 0755, e));
	CHECK(chmod(to, 0755) == 0);
	buf_fini(&b);
}

static void make_image(void)
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

static json_t *request_of(const char *script)
{
	return json_pack("{s:s, s:{s:s, s:s, s:[s,s,s]}, s:{s:s}, s:b}", "TrainingJobName", "real",
	                 "AlgorithmSpecification", "TrainingImage", "busy", "TrainingInputMode", "File",
	                 "ContainerEntrypoint", "/bin/sh", "-c", script, "OutputDataConfig", "S3OutputPath",
	                 "s3://bucket/out", "EnableNetworkIsolation", 1);
}

struct wish {
	const char *script, *image, *compression;
	int64_t max_runtime_s, grace_s;
	uint64_t memory_bytes, volume_bytes;
};

static void make_job(const struct wish *w)
{
	struct job_spec s = { .id = id,
		              .name = "real",
		              .region = "us-east-1",
		              .account = "000000000000",
		              .arn = "arn:aws:sagemaker:us-east-1:000000000000:training-job/real",
		              .host_name = "algo-1",
		              .host_number = 1,
		              .host_count = 1,
		              .request = request_of(w->script),
		              .image = w->image ? (char *)w->image : "busy",
		              .max_runtime_s = w->max_runtime_s ? w->max_runtime_s : 600,
		              .stop_grace_s = w->grace_s ? w->grace_s : 1,
		              .output_bucket = "bucket",
		              .output_prefix = "out" };
	unsigned char random[8];
	struct buf hex = { 0 };
	int fd;

	s.limits = (struct job_limits){ .instance_type = "ml.m5.large",
		                        .cpus = 1,
		                        .memory_bytes = w->memory_bytes ? w->memory_bytes : 256 << 20,
		                        .shm_bytes = 16 << 20,
		                        .volume_bytes = w->volume_bytes ? w->volume_bytes : 64 << 20,
		                        .pids = 500 };
	if (w->compression)
		json_object_set_new(json_object_get(s.request, "OutputDataConfig"), "CompressionType",
		                    json_string(w->compression));
	random_bytes(random, sizeof(random));
	buf_hex(&hex, random, sizeof(random));
	memcpy(id, hex.p, sizeof(id));
	buf_fini(&hex);
	data = xstrdup(test_tmpdir());
	job = strf("%s/jobs/%s", data, id);
	make_image();
	CHECK_OK(mkdir_all(AT_FDCWD, job, 0755, e));
	fd = open(job, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK_OK(spec_save(fd, &s, e));
	close(fd);
	json_decref(s.request);
}

static pid_t start_job(void)
{
	pid_t pid = fork();
	struct err why = { 0 };

	if (pid == 0) {
		log_init("test", LOG_ERROR);
		_exit(run_job(&(struct run_options){ .job_dir = job }, &why) == 0 ? 0 : 1);
	}
	return pid;
}

static int wait_job(pid_t pid)
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

static void told_fini(struct told *t)
{
	buf_fini(&t->names);
	free(t->reason);
	free(t->result);
}

static int note(const struct fact *f, void *arg, struct err *e)
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

static struct told facts(void)
{
	struct told t = { 0 };
	uint64_t offset = 0;

	CHECK_OK(journal_read(job, 0, &offset, note, &t, e));
	return t;
}

static void check_nothing_left(void)
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

static struct told run_wish(const struct wish *w)
{
	make_job(w);
	CHECK_INT(wait_job(start_job()), 0);
	check_nothing_left();
	return facts();
}

static char *log_text(void)
{
	_cleanup_free_ char *path = strf("%s/log/algo-1", job);
	struct buf b = { 0 };

	CHECK_OK(joblog_tail(path, 100, 65536, &b, e));
	return b.p ? buf_take(&b) : xstrdup("");
}

TEST(job_ends_well_and_leaves_nothing)
{
	_cleanup_(told_fini) struct told t = { 0 };
	char *log;

	if (!possible())
		return;
	t = run_wish(
	        &(struct wish){ .script = "ls /opt/ml; ls /opt/ml/input/config | head -1; echo m > /opt/ml/model/m" });
	CHECK_STR(t.names.p, "STARTED DOWNLOADING IMAGE TRAINING EXITED UPLOADING ARTIFACT ENDED");
	CHECK_STR(t.result, "ok");
	log = log_text();
	CHECK_STR(log, "input\nmodel\noutput\nhyperparameters.json"); /* nothing of the image's /opt/ml */
	free(log);
}

/* The job directory is bloomeryd's user's, who may rename what root has made in it. */
TEST(job_whose_work_is_exchanged_goes_on_in_its_own)
{
	_cleanup_(told_fini) struct told t = { 0 };
	_cleanup_free_ char *work = NULL, *tree = NULL, *away = NULL, *decoy = NULL;
	const struct timespec pause = { .tv_nsec = 1000000 };
	pid_t pid;

	if (!possible())
		return;
	make_job(&(struct wish){ .script = "echo mine > /opt/ml/model/m" });
	work = strf("%s/work", job);
	tree = strf("%s/volume", work);
	away = strf("%s/away", job);
	decoy = strf("%s/rootfs", work);
	pid = start_job();
	for (int i = 0; i < 5000 && access(tree, F_OK) < 0; i++)
		nanosleep(&pause, NULL);
	CHECK(rename(work, away) == 0 && mkdir(work, 0755) == 0 && symlink("/", decoy) == 0);
	CHECK_INT(wait_job(pid), 0);
	t = facts();
	CHECK_STR(t.names.p, "STARTED DOWNLOADING IMAGE TRAINING EXITED UPLOADING ARTIFACT ENDED");
	CHECK_STR(t.result, "ok");
}

TEST(job_with_nothing_to_upload)
{
	_cleanup_(told_fini) struct told t = { 0 };

	if (!possible())
		return;
	t = run_wish(&(struct wish){ .script = "rm -rf /opt/ml" });
	CHECK_STR(t.names.p, "STARTED DOWNLOADING IMAGE TRAINING EXITED UPLOADING ENDED");
	CHECK_STR(t.result, "ok");
}

TEST(job_without_compression)
{
	_cleanup_(told_fini) struct told t = { 0 };

	if (!possible())
		return;
	t = run_wish(&(struct wish){ .script = "mkdir -p /opt/ml/model/a; echo 1 > /opt/ml/model/a/x; ln -s a/x "
	                                       "/opt/ml/model/link; ln -s /etc/passwd /opt/ml/model/away; mkfifo "
	                                       "/opt/ml/model/fifo; echo 2 > /opt/ml/output/data/y",
	                             .compression = "NONE" });
	CHECK_STR(t.names.p, "STARTED DOWNLOADING IMAGE TRAINING EXITED UPLOADING ARTIFACT ARTIFACT ARTIFACT ENDED");
}

TEST(job_that_fails_keeps_what_there_is)
{
	_cleanup_(told_fini) struct told t = { 0 };

	if (!possible())
		return;
	t = run_wish(&(struct wish){ .script = "echo bad > /opt/ml/output/failure; echo m > /opt/ml/model/m; exit 9" });
	CHECK_STR(t.names.p, "STARTED DOWNLOADING IMAGE TRAINING EXITED SALVAGING ARTIFACT ENDED");
	CHECK_STR(t.result, "failed");
	CHECK_STR(t.reason, "AlgorithmError: bad\n, exit code: 9");
	CHECK_INT(t.code, 9);
}

TEST(job_out_of_memory)
{
	_cleanup_(told_fini) struct told t = { 0 };

	if (!possible())
		return;
	t = run_wish(&(struct wish){ .script = "tail /dev/zero", .memory_bytes = 48 << 20 });
	CHECK(str_starts(str_of(t.reason), STR("ClientError: Please use an instance type with more memory")));
	CHECK(str_find(str_of(t.reason), STR("the limit is 48 MiB (ml.m5.large), the peak was ")) >= 0);
}

TEST(job_disk_full)
{
	_cleanup_(told_fini) struct told t = { 0 };

	if (!possible())
		return;
	t = run_wish(&(struct wish){ .script = "dd if=/dev/zero of=/opt/ml/model/big bs=1M count=100; exit 1" });
	CHECK(str_starts(str_of(t.reason), STR("ClientError: Insufficient disk space: the volume was full: 64 MiB")));
	CHECK(str_find(str_of(t.reason), STR("/opt/ml/model ")) >= 0);
}

TEST(job_without_its_image)
{
	_cleanup_(told_fini) struct told t = { 0 };

	if (!possible())
		return;
	t = run_wish(&(struct wish){ .script = "true", .image = "nobody:1" });
	CHECK_STR(t.names.p, "STARTED DOWNLOADING ENDED");
	CHECK(str_starts(str_of(t.reason),
	                 STR("ClientError: Cannot pull algorithm container. Either the image does not exist "
	                     "or its permissions are incorrect.")));
	CHECK(str_find(str_of(t.reason), STR("bloomery image import nobody:1")) >= 0);
}

TEST(job_over_its_time)
{
	_cleanup_(told_fini) struct told t = { 0 };

	if (!possible())
		return;
	t = run_wish(
	        &(struct wish){ .script = "trap 'echo m > /opt/ml/model/m; exit 3' TERM; while :; do sleep 0.05; done",
	                        .max_runtime_s = 1 });
	CHECK_STR(t.names.p, "STARTED DOWNLOADING IMAGE TRAINING EXPIRED STOPPING EXITED UPLOADING ARTIFACT ENDED");
	CHECK_STR(t.result, "expired");
	CHECK_STR(t.reason, "");
}

/* Waits for the fact, by the journal's growth. */
static void wait_for(const char *name)
{
	for (int i = 0; i < 1000; i++) {
		_cleanup_(told_fini) struct told t = facts();

		if (str_find(buf_view(&t.names), str_of(name)) >= 0)
			return;
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	}
	test_failed(__FILE__, __LINE__, "%s was never told", name);
}

static void send_stop(void)
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

TEST(job_stopped_while_it_ignores_sigterm)
{
	_cleanup_(told_fini) struct told t = { 0 };
	pid_t pid;

	if (!possible())
		return;
	make_job(&(struct wish){
	        .script = "trap '' TERM; echo m > /opt/ml/model/m; (sleep 100 &); while :; do sleep 1; done" });
	pid = start_job();
	wait_for("TRAINING");
	send_stop();
	CHECK_INT(wait_job(pid), 0);
	check_nothing_left();
	t = facts();
	CHECK_STR(t.names.p, "STARTED DOWNLOADING IMAGE TRAINING STOPPING EXITED UPLOADING ARTIFACT ENDED");
	CHECK_STR(t.result, "stopped");
	CHECK_INT(t.code, 137);
}

TEST(job_whose_supervisor_is_killed_is_finished_by_the_next)
{
	_cleanup_(told_fini) struct told t = { 0 };
	pid_t pid;

	if (!possible())
		return;
	make_job(&(struct wish){ .script = "while :; do sleep 0.05; done" });
	pid = start_job();
	wait_for("TRAINING");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	CHECK_INT(wait_job(start_job()), 0);
	check_nothing_left();
	t = facts();
	CHECK_STR(t.names.p, "STARTED DOWNLOADING IMAGE TRAINING ENDED");
	CHECK_STR(t.result, "failed");
	CHECK(str_starts(str_of(t.reason), STR("InternalServerError: ")));
	CHECK(str_find(str_of(t.reason), STR("supervisor")) >= 0);
}

TEST(job_has_one_supervisor)
{
	pid_t pid;

	if (!possible())
		return;
	make_job(&(struct wish){ .script = "sleep 1" });
	pid = start_job();
	wait_for("TRAINING");
	CHECK_INT(wait_job(start_job()), 1);
	CHECK_INT(wait_job(pid), 0);
	CHECK_INT(wait_job(start_job()), 0); /* nothing to do any more */
	check_nothing_left();
}

TEST(job_with_a_broken_specification)
{
	_cleanup_(told_fini) struct told t = { 0 };
	_cleanup_free_ char *spec = NULL;

	if (!possible())
		return;
	make_job(&(struct wish){ .script = "true" });
	spec = strf("%s/spec.json", job);
	CHECK_OK(file_put(AT_FDCWD, spec, STR("{\"v\":1}"), 0600, e));
	CHECK_INT(wait_job(start_job()), 0);
	check_nothing_left();
	t = facts();
	CHECK_STR(t.names.p, "STARTED ENDED");
	CHECK(str_find(str_of(t.reason), STR("spec.json")) >= 0);
}
