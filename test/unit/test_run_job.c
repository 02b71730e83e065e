/* Whole jobs, for real: a job directory by hand, bloomery-job's run_job() in a child, a container of the runtime that
 * is here. Needs root, a static busybox and runc or crun; says so where it has to skip. SPDX-License-Identifier:
 * Apache-2.0 */
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "run_house.h"

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
	make_place();

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
	make_image();
	fd = open(job, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK_OK(spec_save(fd, &s, e));
	close(fd);
	json_decref(s.request);
}

static struct told run_wish(const struct wish *w)
{
	make_job(w);
	CHECK_INT(wait_job(start_job()), 0);
	check_nothing_left();
	return facts();
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
