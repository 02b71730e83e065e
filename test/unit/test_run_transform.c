/* Hosts of transform jobs, for real: a job directory by hand, run_job() in a child, containers that serve with busybox,
 * bloomery-transform between them and the objects. Needs what test_run_job.c needs. SPDX-License-Identifier: Apache-2.0
 */
#include <arpa/inet.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "artifact/artifact.h"
#include "jobdir/list.h"
#include "net/net.h"
#include "run_house.h"

/* One connection: 200 for GET /ping, the records in capitals for POST. CASE is replaced by a test. */
#define HANDLER(post)                                                                    \
	"#!/bin/sh\n"                                                                    \
	"read -r method path rest\n"                                                     \
	"n=0\n"                                                                          \
	"while read -r name value; do\n"                                                 \
	"  case $name in [Cc]ontent-[Ll]ength:) n=$(echo $value | tr -d '\\r');; esac\n" \
	"  case $name$value in ?) break;; esac\n"                                        \
	"done\n"                                                                         \
	"case $method$path in\n"                                                         \
	"GET/ping) printf 'HTTP/1.0 200 OK\\r\\n\\r\\n';;\n"                             \
	"GET*) printf 'HTTP/1.0 404 No\\r\\n\\r\\n';;\n"                                 \
	"*) " post ";;\n"                                                                \
	"esac\n"
#define CAPITALS "printf 'HTTP/1.0 200 OK\\r\\nContent-Type: text/csv\\r\\n\\r\\n'; head -c $n | tr a-z A-Z"
#define SERVE "#!/bin/sh\necho serving $HOSTNAME on purpose\nexec nc -ll -p 8080 -e /bin/handler\n"

struct wish {
	const char *serve, *handler, *prefix;
	size_t containers; /* 0: one */
	bool network;      /* not isolated; with an address it is the job's, else there is none to have */
	const char *address, *api_url;
	int64_t grace_s;
	const char *const *objects; /* key, bytes, ... NULL */
	const char *model;          /* the bytes of an object; NULL: none */
	bool gzip, no_archive;      /* gzip: as the file weights of an archive; no_archive: said to be */
	json_t *request;            /* members to add; stolen */
};

static const char *const two_objects[] = { "in/a.csv", "a,1\nb,2\n", "in/sub/b.csv", "c,3\n", NULL };

static void put_in_image(const char *leaf, const char *text)
{
	_cleanup_free_ char *path = strf("%s/images/sha256-%064d/rootfs/%s", data, 7, leaf);

	CHECK_OK(file_put(AT_FDCWD, path, str_of(text), 0755, e));
	CHECK(chmod(path, 0755) == 0);
}

/* A list, and its objects in the store; *ret_count: how many. */
static void put_object(FILE *list, const char *id_start, size_t number, const char *key, struct str bytes)
{
	_cleanup_free_ char *object = strf("%s%029zu", id_start, number);
	_cleanup_free_ char *dir = strf("%s/objects/ab", data), *file = strf("%s/%s", dir, object);
	struct list_entry entry = {
		.size = bytes.n, .object_id = str_of(object), .etag = STR("e"), .key = str_of(key)
	};

	CHECK_OK(mkdir_all(AT_FDCWD, dir, 0755, e));
	CHECK_OK(file_put(AT_FDCWD, file, bytes, 0644, e));
	CHECK_OK(list_write(list, &entry, e));
}

static FILE *open_list(const char *leaf)
{
	_cleanup_free_ char *lists = strf("%s/lists", job), *path = strf("%s/%s", lists, leaf);
	FILE *f;

	CHECK_OK(mkdir_all(AT_FDCWD, lists, 0755, e));
	f = fopen(path, "w");
	must(f);
	return f;
}

static size_t put_input(const char *const *objects)
{
	FILE *list = open_list("0");
	size_t n = 0;

	for (; objects[2 * n]; n++)
		put_object(list, "ab0", n, objects[2 * n], str_of(objects[2 * n + 1]));
	fclose(list);
	return n;
}

/* A tar.gz of one file, "weights", with these bytes. */
static void pack(struct str bytes, struct buf *ret)
{
	_cleanup_free_ char *dir = strf("%s/model", data), *file = strf("%s/model/weights", data);
	_cleanup_free_ char *archive = strf("%s/model.tar.gz", data);
	_cleanup_close_ int from = -EBADF, to = -EBADF;
	struct artifact_result r;

	CHECK_OK(mkdir_all(AT_FDCWD, dir, 0755, e));
	CHECK_OK(file_put(AT_FDCWD, file, bytes, 0640, e));
	from = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	to = open(archive, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK_OK(artifact_pack(from, to, &(struct artifact_options){ 0 }, &r, e));
	CHECK_OK(file_read(archive, 1 << 20, ret, e));
}

static void put_model(const struct wish *w)
{
	_cleanup_buf_ struct buf bytes = { 0 };
	FILE *list = open_list("m0");

	if (w->gzip && !w->no_archive)
		pack(str_of(w->model), &bytes);
	else
		buf_z(&bytes, w->model);
	put_object(list, "ab1", 0, w->gzip ? "m/model.tar.gz" : "m/sub/weights", buf_view(&bytes));
	fclose(list);
}

static void make_containers(const struct wish *w, struct job_spec *s)
{
	s->container_count = w->containers ? w->containers : 1;
	s->containers = xcalloc(s->container_count, sizeof(*s->containers));
	for (size_t i = 0; i < s->container_count; i++) {
		struct container_spec *c = &s->containers[i];

		c->name = strf("container-%zu", i + 1);
		c->image = xstrdup("busy");
		c->environment = json_pack("{s:s, s:s}", "WHAT", "on purpose", "SAGEMAKER_BATCH", "no");
		if (!w->model || i)
			continue;
		c->model = xcalloc(1, sizeof(*c->model));
		*c->model = (struct model_spec){ .place = PLACE_EMBEDDED,
			                         .bucket = xstrdup("bucket"),
			                         .prefix = xstrdup(w->gzip ? "m/model.tar.gz" : "m/"),
			                         .list = xstrdup("m0"),
			                         .gzip = w->gzip };
	}
}

static void free_containers(struct job_spec *s)
{
	for (size_t i = 0; i < s->container_count; i++) {
		struct container_spec *c = &s->containers[i];

		free(c->name);
		free(c->image);
		json_decref(c->environment);
		if (c->model) {
			free(c->model->bucket);
			free(c->model->prefix);
			free(c->model->list);
		}
		free(c->model);
	}
	free(s->containers);
}

static void make_job(const struct wish *w)
{
	_cleanup_free_ char *instance = NULL;
	struct channel_spec input = { .name = "input",
		                      .input_mode = "File",
		                      .distribution = "ShardedByS3Key",
		                      .record_wrapper = "None",
		                      .compression = "None",
		                      .share_count = 1,
		                      .s3_data_type = "S3Prefix",
		                      .s3_uri = "s3://bucket/in/",
		                      .bucket = "bucket",
		                      .prefix = "in/",
		                      .list = "0" };
	struct network_peer peer = { .name = "algo-1", .address = (char *)w->address };
	struct job_spec s = { .kind = "transform",
		              .name = "real",
		              .region = "us-east-1",
		              .account = "000000000000",
		              .arn = "arn:aws:sagemaker:us-east-1:000000000000:transform-job/real",
		              .host_name = "algo-1",
		              .host_number = 1,
		              .host_count = 1,
		              .channels = &input,
		              .channel_count = 1,
		              .stop_grace_s = w->grace_s ? w->grace_s : 30,
		              .output_bucket = "bucket",
		              .output_prefix = "out" };
	int fd;

	make_place();
	make_image();
	put_in_image("bin/serve", w->serve ? w->serve : SERVE);
	put_in_image("bin/handler", w->handler ? w->handler : HANDLER(CAPITALS));
	input.objects = put_input(w->objects ? w->objects : two_objects);
	if (w->model)
		put_model(w);
	instance = strf("i-0%s", id);
	s.id = id;
	s.instance = instance;
	s.limits = (struct job_limits){ .instance_type = "ml.m5.large",
		                        .cpus = 1,
		                        .memory_bytes = 256 << 20,
		                        .shm_bytes = 16 << 20,
		                        .volume_bytes = 64 << 20,
		                        .pids = 500 };
	s.request = json_pack("{s:s, s:b, s:{s:s, s:s}, s:{s:i}}", "TransformJobName", "real", "EnableNetworkIsolation",
	                      !w->network, "TransformInput", "ContentType", "text/csv", "SplitType", "Line",
	                      "ModelClientConfig", "InvocationsMaxRetries", 0);
	if (w->request)
		json_object_update(s.request, w->request);
	json_decref(w->request);
	make_containers(w, &s);
	s.api_url = (char *)w->api_url;
	s.credentials_path = w->api_url ? "/v2/credentials/token" : NULL;
	if (w->address)
		s.network = (struct network_spec){ .bridge = "blm00000000",
			                           .address = (char *)w->address,
			                           .gateway = "10.213.0.1",
			                           .prefix = 30,
			                           .peers = &peer,
			                           .peer_count = 1 };
	fd = open(job, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK_OK(spec_save(fd, &s, e));
	close(fd);
	free_containers(&s);
	json_decref(s.request);
}

static struct told run_wish(const struct wish *w)
{
	make_job(w);
	CHECK_INT(wait_job(start_job()), 0);
	check_nothing_left();
	return facts();
}

/* What is staged for an object, by the line of staged/outputs that names its key; with the key first. */
static char *staged(void)
{
	_cleanup_free_ char *path = strf("%s/staged/outputs", job);
	_cleanup_buf_ struct buf list = { 0 };
	struct buf all = { 0 };
	struct str rest;

	if (file_read(path, 1 << 20, &list, NULL) < 0)
		return xstrdup("none");
	for (rest = buf_view(&list); rest.n;) {
		struct str line = str_cut(&rest, '\n');
		json_t *j = json_loadb(line.p, line.n, JSON_REJECT_DUPLICATES, NULL);
		_cleanup_free_ char *file = strf("%s/staged/%s", job, json_string_value(json_object_get(j, "file")));
		_cleanup_buf_ struct buf bytes = { 0 }, md5 = { 0 };
		unsigned char digest[MD5_BYTES];
		struct hash *h = hash_new(HASH_MD5);

		CHECK_OK(file_read(file, 1 << 20, &bytes, e));
		hash_add(h, bytes.p, bytes.n);
		hash_end(h, digest);
		buf_hex(&md5, digest, sizeof(digest));
		CHECK_STR(json_string_value(json_object_get(j, "md5")), md5.p);
		CHECK_INT(json_integer_value(json_object_get(j, "size")), bytes.n);
		buf_f(&all, "%s:\n%s", json_string_value(json_object_get(j, "key")), bytes.p ? bytes.p : "");
		json_decref(j);
	}
	return buf_take(&all);
}

static char *log_of(const char *leaf)
{
	_cleanup_free_ char *path = strf("%s/log/%s", job, leaf);
	struct buf b = { 0 };

	CHECK_OK(joblog_tail(path, 100, 65536, &b, e));
	return b.p ? buf_take(&b) : xstrdup("");
}

#define WELL "STARTED DOWNLOADING IMAGE TRAINING UPLOADING OUTPUTS ENDED"

TEST(a_transform_job_stages_its_outputs_and_leaves_nothing)
{
	_cleanup_(told_fini) struct told t = { 0 };
	_cleanup_free_ char *out = NULL, *log = NULL, *data_log = NULL;

	if (!possible())
		return;
	t = run_wish(&(struct wish){ 0 });
	CHECK_STR(t.names.p, WELL);
	CHECK_STR(t.result, "ok");
	CHECK_STR(t.reason, "");
	out = staged();
	CHECK_STR(out, "out/a.csv.out:\nA,1\nB,2\nout/sub/b.csv.out:\nC,3\n");
	log = log_of("algo-1");
	CHECK_STR(log, "serving container-1 on purpose");
	data_log = log_of("data-log");
	CHECK(strstr(data_log, "[sagemaker logs]: MaxConcurrentTransforms=1, MaxPayloadInMB=6, "
	                       "BatchStrategy=MULTI_RECORD"));
}

TEST(containers_of_a_pipeline_all_listen_on_one_port)
{
	_cleanup_(told_fini) struct told t = { 0 };
	_cleanup_free_ char *out = NULL, *first = NULL, *third = NULL;

	if (!possible())
		return;
	t = run_wish(&(struct wish){ .containers = 3,
	                             .handler = HANDLER("printf 'HTTP/1.0 200 OK\\r\\nContent-Type: "
	                                                "text/csv\\r\\n\\r\\n'; echo $HOSTNAME; head -c $n") });
	CHECK_STR(t.names.p, "STARTED DOWNLOADING IMAGE IMAGE IMAGE TRAINING UPLOADING OUTPUTS ENDED");
	CHECK_STR(t.reason, "");
	out = staged();
	CHECK_STR(out, "out/a.csv.out:\ncontainer-3\ncontainer-2\ncontainer-1\na,1\nb,2\n"
	               "out/sub/b.csv.out:\ncontainer-3\ncontainer-2\ncontainer-1\nc,3\n");
	first = log_of("container-1");
	third = log_of("container-3");
	CHECK_STR(first, "serving container-1 on purpose");
	CHECK_STR(third, "serving container-3 on purpose");
}

TEST(a_model_of_a_prefix_is_placed)
{
	_cleanup_(told_fini) struct told t = { 0 };
	_cleanup_free_ char *log = NULL;

	if (!possible())
		return;
	t = run_wish(&(struct wish){ .model = "weights\n",
	                             .serve = "#!/bin/sh\ncd /opt/ml/model; cat sub/weights; echo x > sub/weights; "
	                                      "echo mine > new\n" SERVE });
	CHECK_STR(t.names.p, WELL);
	CHECK_STR(t.reason, "");
	log = log_of("algo-1");
	CHECK_STR(log, "weights\nserving container-1 on purpose");
}

TEST(a_model_of_an_archive_is_unpacked)
{
	_cleanup_(told_fini) struct told t = { 0 };
	_cleanup_free_ char *log = NULL;

	if (!possible())
		return;
	t = run_wish(&(struct wish){ .model = "packed\n",
	                             .gzip = true,
	                             .containers = 2,
	                             .serve = "#!/bin/sh\nls /opt/ml/model; cat /opt/ml/model/weights\n" SERVE });
	CHECK_STR(t.reason, "");
	log = log_of("container-1");
	CHECK_STR(log, "weights\npacked\nserving container-1 on purpose");
}

TEST(a_model_that_is_no_archive_fails_the_job)
{
	_cleanup_(told_fini) struct told t = { 0 };

	if (!possible())
		return;
	t = run_wish(&(struct wish){ .model = "these are no files", .gzip = true, .no_archive = true });
	CHECK_STR(t.names.p, "STARTED DOWNLOADING ENDED");
	CHECK(str_starts(str_of(t.reason),
	                 STR("ClientError: Failed to download the model of the container container-1: "
	                     "unpacking s3://bucket/m/model.tar.gz, which must be a tar.gz: ")));
}

TEST(the_environment_of_a_container_that_serves)
{
	_cleanup_(told_fini) struct told t = { 0 };
	_cleanup_free_ char *log = NULL;

	if (!possible())
		return;
	t = run_wish(&(struct wish){ .serve = "#!/bin/sh\necho $SAGEMAKER_BATCH/$SAGEMAKER_MAX_PAYLOAD_IN_MB/"
	                                      "$SAGEMAKER_BATCH_STRATEGY/$SAGEMAKER_MAX_CONCURRENT_TRANSFORMS/$WHAT/"
	                                      "$TRAINING_JOB_NAME/$AWS_REGION/$AWS_CONTAINER_CREDENTIALS_RELATIVE_URI\n"
	                                      "ls /opt/ml\n" SERVE,
	                             .request = json_pack("{s:i, s:s, s:i}", "MaxPayloadInMB", 2, "BatchStrategy",
	                                                  "SingleRecord", "MaxConcurrentTransforms", 2) });
	CHECK_STR(t.names.p, WELL);
	log = log_of("algo-1");
	CHECK_STR(log, "true/2/SINGLE_RECORD/2/on purpose//us-east-1/\nmodel\nof-the-image\n"
	               "serving container-1 on purpose");
}

TEST(what_went_well_is_kept_when_an_object_fails)
{
	_cleanup_(told_fini) struct told t = { 0 };
	_cleanup_free_ char *out = NULL, *data_log = NULL;

	if (!possible())
		return;
	t = run_wish(&(struct wish){
	        .handler = HANDLER("b=$(head -c $n); case $b in c*) printf 'HTTP/1.0 500 Bad\\r\\n\\r\\nno c\\n';; *) "
	                           "printf 'HTTP/1.0 200 OK\\r\\n\\r\\n'; echo \"$b\";; esac") });
	CHECK_STR(t.names.p, "STARTED DOWNLOADING IMAGE TRAINING SALVAGING OUTPUTS ENDED");
	CHECK_STR(t.result, "failed");
	CHECK(str_starts(str_of(t.reason), STR("AlgorithmError: ")));
	CHECK(strstr(t.reason, "bucket/in/sub/b.csv"));
	out = staged();
	CHECK_STR(out, "out/a.csv.out:\na,1\nb,2\n");
	data_log = log_of("data-log");
	CHECK(strstr(data_log, "bucket/in/sub/b.csv: Bad HTTP status received from algorithm: 500"));
}

TEST(an_output_whose_key_is_too_long_is_no_reason_for_the_others)
{
	_cleanup_(told_fini) struct told t = { 0 };
	_cleanup_free_ char *out = NULL;
	char key[1025];
	const char *const objects[] = { "in/a.csv", "a\n", key, "b\n", "in/c.csv", "c\n", NULL };

	if (!possible())
		return;
	memset(key, 'b', sizeof(key));
	memcpy(key, "in/", 3);
	key[1023] = 0;
	t = run_wish(&(struct wish){ .objects = objects });
	CHECK_STR(t.names.p, WELL);
	CHECK_STR(t.result, "failed");
	CHECK(str_starts(str_of(t.reason),
	                 STR("ClientError: the key of an output is longer than 1024 bytes: out/bbb")));
	out = staged();
	CHECK_STR(out, "out/a.csv.out:\nA\nout/c.csv.out:\nC\n");
}

TEST(a_container_that_is_never_healthy_fails_the_job)
{
	_cleanup_(told_fini) struct told t = { 0 };

	if (!possible())
		return;
	ping_timeout_s = 3;
	t = run_wish(&(struct wish){ .serve = "#!/bin/sh\nwhile :; do sleep 1; done\n" });
	CHECK_STR(t.names.p, "STARTED DOWNLOADING IMAGE TRAINING SALVAGING ENDED");
	CHECK(str_starts(str_of(t.reason), STR("AlgorithmError: ")));
	CHECK(strstr(t.reason, "ping"));
}

TEST(a_container_that_ends_is_why_the_job_fails)
{
	_cleanup_(told_fini) struct told t = { 0 };

	if (!possible())
		return;
	t = run_wish(&(struct wish){ .serve = "#!/bin/sh\necho no such model; exit 3\n" });
	CHECK_STR(t.names.p, "STARTED DOWNLOADING IMAGE TRAINING EXITED SALVAGING ENDED");
	CHECK_STR(t.reason, "AlgorithmError: The container container-1, which serves the model, ended before the job "
	                    "had: exit code: 3. Its last lines: no such model");
	CHECK_INT(t.code, 3);
}

TEST(a_pipeline_fails_when_one_of_it_ends)
{
	_cleanup_(told_fini) struct told t = { 0 };

	if (!possible())
		return;
	t = run_wish(&(struct wish){ .containers = 2,
	                             .serve = "#!/bin/sh\ncase $HOSTNAME in container-2) exit 0;; esac\n" SERVE });
	CHECK(str_starts(str_of(t.reason), STR("AlgorithmError: The container container-2, which serves the model, "
	                                       "ended before the job had: exit code: 0.")));
}

TEST(a_transform_job_without_serve)
{
	_cleanup_(told_fini) struct told t = { 0 };
	_cleanup_free_ char *path = NULL;

	if (!possible())
		return;
	make_job(&(struct wish){ 0 });
	path = strf("%s/images/sha256-%064d/rootfs/bin/serve", data, 7);
	CHECK(unlink(path) == 0);
	CHECK_INT(wait_job(start_job()), 0);
	check_nothing_left();
	t = facts();
	CHECK_STR(t.names.p, "STARTED DOWNLOADING IMAGE ENDED");
	CHECK(str_starts(str_of(t.reason), STR("AlgorithmError: ")));
	CHECK(strstr(t.reason, "serve"));
}

/* Until requests are being sent. */
static void wait_for_requests(void)
{
	for (int i = 0; i < 6000; i++) {
		_cleanup_free_ char *path = strf("%s/log/data-log", job);
		_cleanup_buf_ struct buf b = { 0 };

		if (joblog_tail(path, 100, 65536, &b, NULL) == 0 && b.p && strstr(b.p, "MaxConcurrentTransforms"))
			return;
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	}
	test_failed(__FILE__, __LINE__, "no request was ever sent");
}

/* Requests that are not answered, so that it is in the middle of them. */
#define SLOW HANDLER("sleep 600")

TEST(a_transform_job_that_is_stopped_stores_nothing)
{
	_cleanup_(told_fini) struct told t = { 0 };
	_cleanup_free_ char *out = NULL, *log = NULL;
	pid_t pid;

	if (!possible())
		return;
	make_job(&(struct wish){ .handler = SLOW,
	                         .serve = "#!/bin/sh\ntrap 'echo bye; exit 0' TERM\nnc -ll -p 8080 -e /bin/handler &\n"
	                                  "while :; do sleep 0.1; done\n" });
	pid = start_job();
	wait_for_requests();
	send_stop();
	CHECK_INT(wait_job(pid), 0);
	check_nothing_left();
	t = facts();
	CHECK_STR(t.names.p, "STARTED DOWNLOADING IMAGE TRAINING STOPPING ENDED");
	CHECK_STR(t.result, "stopped");
	out = staged();
	CHECK_STR(out, "none");
	log = log_of("algo-1");
	CHECK(strstr(log, "bye"));
}

TEST(a_container_that_does_not_leave_is_killed)
{
	_cleanup_(told_fini) struct told t = { 0 };

	if (!possible())
		return;
	t = run_wish(&(struct wish){ .grace_s = 1,
	                             .serve = "#!/bin/sh\ntrap : TERM\nnc -ll -p 8080 -e /bin/handler &\n"
	                                      "while :; do sleep 1; done\n" });
	CHECK_STR(t.names.p, WELL);
	CHECK_STR(t.result, "ok");
}

TEST(a_transform_job_whose_supervisor_is_killed)
{
	_cleanup_(told_fini) struct told t = { 0 };
	pid_t pid;

	if (!possible())
		return;
	make_job(&(struct wish){ .handler = SLOW, .containers = 2 });
	pid = start_job();
	wait_for_requests();
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	CHECK_INT(wait_job(start_job()), 0);
	check_nothing_left();
	t = facts();
	CHECK_STR(t.names.p, "STARTED DOWNLOADING IMAGE IMAGE TRAINING ENDED");
	CHECK_STR(t.result, "failed");
	CHECK(str_starts(str_of(t.reason), STR("InternalServerError: ")));
}

/* ---- with a network ---- */

static pid_t api_pid;

/* Those of hosts. */
static bool has_ports(void)
{
	struct if_nameindex *all = if_nameindex();
	bool any = false;

	for (struct if_nameindex *i = all; i && i->if_name; i++)
		any |= str_starts(str_of(i->if_name), STR("blv"));
	if_freenameindex(all);
	return any;
}

static void end_api(void)
{
	kill(api_pid, SIGKILL);
	CHECK(waitpid(api_pid, NULL, 0) == api_pid);
}

/* A namespace of the test's own is "the machine". On its loopback there is an API, which says a word to who connects.
 */
static char *machine(void)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(in);
	struct err why = { 0 };
	static const char *const argv[] = { "/sbin/ip", "link", "set", "lo", "up", NULL };
	const struct spawn_options up = { .argv = argv, .in = -1, .out = -1, .err_fd = -1 };
	char text[4096];
	int fd, lo = -1;

	if (unshare(CLONE_NEWNET) < 0 || net_open(&why) < 0) {
		test_skip(err_text(&why, text, sizeof(text)));
		return NULL;
	}
	CHECK_OK(spawn_wait(&up, NULL, 0, &lo, e));
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(lo == 0 && bind(fd, (struct sockaddr *)&in, n) == 0 && listen(fd, 16) == 0 &&
	      getsockname(fd, (struct sockaddr *)&in, &n) == 0);
	api_pid = fork();
	if (api_pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (int one; (one = accept(fd, NULL, NULL)) >= 0; close(one))
			if (write(one, "a word of the API\n", 18) < 0)
				break;
		_exit(0);
	}
	close(fd);
	return strf("http://127.0.0.1:%d", ntohs(in.sin_port));
}

#define ASK \
	"#!/bin/sh\nnc 169.254.170.2 80 < /dev/null; echo $AWS_ENDPOINT_URL $AWS_CONTAINER_CREDENTIALS_RELATIVE_URI\n"
#define ASKED "a word of the API\nhttp://169.254.170.2:8770 /v2/credentials/token\nserving "

static void check_asks(const struct wish *w, const char *log)
{
	_cleanup_(told_fini) struct told t = run_wish(w);
	_cleanup_free_ char *text = log_of(log),
	                    *want = strf(ASKED "%s on purpose", w->containers == 2 ? log : "container-1");

	CHECK_STR(t.result, "ok");
	CHECK_STR(t.reason, "");
	CHECK_STR(text, want);
}

TEST(one_container_has_the_network_of_its_host)
{
	_cleanup_free_ char *api = NULL;

	if (!possible())
		return;
	api = machine();
	if (!api)
		return;
	check_asks(&(struct wish){ .network = true, .address = "10.213.0.2", .api_url = api, .serve = ASK SERVE },
	           "algo-1");
	CHECK(!has_ports());
	end_api();
}

TEST(each_container_of_a_pipeline_has_a_network_within_that_of_its_host)
{
	_cleanup_free_ char *api = NULL;

	if (!possible())
		return;
	api = machine();
	if (!api)
		return;
	check_asks(
	        &(struct wish){
	                .network = true, .address = "10.213.0.2", .api_url = api, .containers = 2, .serve = ASK SERVE },
	        "container-2");
	CHECK(!has_ports());
	end_api();
}

TEST(without_networks_a_container_reaches_the_api_alone)
{
	_cleanup_free_ char *api = NULL;

	if (!possible())
		return;
	api = machine();
	if (!api)
		return;
	check_asks(&(struct wish){ .network = true, .api_url = api, .serve = ASK SERVE }, "algo-1");
	end_api();
}
