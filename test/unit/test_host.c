/* bloomery-host with a supervisor that is this very program: what matters is processes, files and messages.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/fd.h"
#include "harness.h"
#include "host/host.h"
#include "jobdir/hostlink.h"
#include "jobdir/jobdir.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define JOB "0123456789abcdef"

/* ---- the supervisor: what it does is in the job's file `act`, one letter a step ---- */

static void fact(struct journal *j, enum fact_kind kind, json_t *args)
{
	must(journal_add(j, kind, args, NULL) == 0);
	json_decref(args);
}

static void wait_for_stop(const char *dir)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), peer;
	json_t *msg = NULL, *ok = json_pack("{ss}", "t", "ok");

	must(chdir(dir) == 0);
	snprintf(a.sun_path, sizeof(a.sun_path), "sock");
	must(bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(fd, 4) == 0);
	peer = accept(fd, NULL, NULL);
	must(hostlink_recv(peer, &msg, NULL) == 1);
	must(strcmp(json_string_value(json_object_get(msg, "t")), "stop") == 0);
	must(hostlink_send(peer, ok, NULL) == 0);
}

/* What a killed supervisor can leave: a process in its mount namespace, with a mount and files. */
static void make_a_mess(void)
{
	int ready[2];
	char c;

	must(mkdir("work", 0755) == 0 && mkdir("work/mnt", 0755) == 0);
	must(file_put(AT_FDCWD, "work/file", STR("x"), 0644, NULL) == 0 && pipe(ready) == 0);
	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0)
		return;
	must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	must(mount("none", "work/mnt", "tmpfs", 0, NULL) == 0);
	if (fork() == 0) {
		_cleanup_free_ char *pid = strf("%d", (int)getpid());

		setsid();
		must(file_put(AT_FDCWD, "child", str_of(pid), 0644, NULL) == 0 && write(ready[1], "x", 1) == 1);
		pause();
		_exit(0);
	}
	must(read(ready[0], &c, 1) == 1);
}

static void act(const char *dir, char step, struct journal *j)
{
	switch (step) {
	case 's': fact(j, FACT_STARTED, NULL); break;
	case 't': fact(j, FACT_TRAINING, json_pack("{si}", "pid", 7)); break;
	case 'e': fact(j, FACT_ENDED, json_pack("{ssss}", "result", "ok", "reason", "")); break;
	case 'x': must(jobdir_write_exit(dir, "ended\n", NULL) == 0); break;
	case 'w': wait_for_stop(dir); break;
	case 'p': fact(j, FACT_STOPPING, json_pack("{ss}", "why", "stop")); break;
	case 'm':
		must(chdir(dir) == 0);
		make_a_mess();
		break;
	case 'h': pause(); break;
	case '3': fputs("first line\nthe last line of all\n", stderr); _exit(3);
	default: must(!"a step there is");
	}
}

static void supervise(const char *dir)
{
	_cleanup_free_ char *path = strf("%s/act", dir);
	_cleanup_buf_ struct buf steps = { 0 };
	int lock = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct journal *j = NULL;

	must(flock(lock, LOCK_EX | LOCK_NB) == 0 && jobdir_write_pid(dir, getpid(), NULL) == 0);
	must(journal_open(dir, &j, NULL) == 0 && file_read(path, 100, &steps, NULL) == 0);
	for (size_t i = 0; i < steps.n; i++)
		act(dir, steps.p[i], j);
}

/* Started with --dir this program is a supervisor, with --data the host's cleaner, before any test runs. */
__attribute__((constructor)) static void other_lives(int argc, char **argv)
{
	if (argc == 5 && strcmp(argv[1], "--dir") == 0 && strcmp(argv[3], "--conf-fd") == 0) {
		supervise(argv[2]);
		_exit(0);
	}
	if (argc >= 7 && strcmp(argv[1], "--data") == 0) {
		_cleanup_free_ char *mark = strf("%s/cleaner", argv[2]);
		struct err e = { 0 };
		enum clean_depth depth = argc < 8                           ? CLEAN_LEFTOVERS
		                         : strcmp(argv[7], "--forget") == 0 ? CLEAN_FORGET
		                                                            : CLEAN_REMOVE;

		must(file_put(AT_FDCWD, mark, STR(""), 0644, NULL) == 0);
		if (host_clean(argv[2], str_of(argv[6]), depth, &e) == 0)
			_exit(0);
		err_print(&e, "cleaner");
		_exit(1);
	}
}

/* ---- the host and the daemon ---- */

struct world {
	char *data;
	const char *supervisor; /* NULL: this program */
	pid_t host;
	int daemon;
};

static pid_t start_host(const struct world *w)
{
	int ready[2];
	char text[6] = "";
	pid_t pid;

	must(pipe2(ready, O_CLOEXEC) == 0);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		char self[4096] = "";
		struct host_options o = { .data_dir = w->data, .uid = geteuid(), .ready_fd = ready[1] };
		struct err e = { 0 };

		must(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
		o.supervisor = w->supervisor ? w->supervisor : self;
		o.cleaner = self;
		if (host_run(&o, &e) < 0) {
			char reason[2000];

			fprintf(stderr, "# host: %s\n", err_text(&e, reason, sizeof(reason)));
			_exit(1);
		}
		_exit(0);
	}
	close(ready[1]);
	if (read(ready[0], text, sizeof(text)) != 6)
		test_failed(__FILE__, __LINE__, "the host does not start");
	close(ready[0]);
	return pid;
}

static int connect_daemon(const struct world *w)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct timeval limit = { .tv_sec = 20 };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	json_t *hello = NULL;

	snprintf(a.sun_path, sizeof(a.sun_path), "%s/host.sock", w->data);
	CHECK(connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0);
	CHECK(hostlink_recv(fd, &hello, NULL) == 1);
	CHECK_STR(json_string_value(json_object_get(hello, "t")), "hello");
	json_decref(hello);
	return fd;
}

static struct world world_new(void)
{
	struct world w = { .data = strf("%s/data", test_tmpdir()), .daemon = -EBADF };
	_cleanup_free_ char *jobs = strf("%s/jobs", w.data);

	prctl(PR_SET_CHILD_SUBREAPER,
	      1); /* supervisors of a killed host become ours, and nothing stays after a failure */
	CHECK_OK(mkdir_all(AT_FDCWD, jobs, 0755, e));
	return w;
}

static void world_start(struct world *w)
{
	w->host = start_host(w);
	w->daemon = connect_daemon(w);
}

/* As an operator, or the kernel, would. */
static void world_stop(struct world *w, int signo)
{
	int status = -1;

	kill(w->host, signo);
	CHECK(waitpid(w->host, &status, 0) == w->host);
	CHECK(signo == SIGKILL || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
	close(w->daemon);
}

static void world_free(struct world *w)
{
	world_stop(w, SIGTERM);
	free(w->data);
}

static char *in_job(const struct world *w, const char *leaf)
{
	return strf("%s/jobs/" JOB "/%s", w->data, leaf);
}

static bool there(const struct world *w, const char *leaf)
{
	_cleanup_free_ char *path = in_job(w, leaf);

	return access(path, F_OK) == 0;
}

static void make_job(const struct world *w, const char *steps)
{
	_cleanup_free_ char *dir = in_job(w, ""), *path = in_job(w, "act");

	CHECK_OK(mkdir_all(AT_FDCWD, dir, 0755, e));
	CHECK_OK(file_put(AT_FDCWD, path, str_of(steps), 0644, e));
}

static void say(const struct world *w, const char *t, const char *id)
{
	json_t *msg = json_pack("{ssss}", "t", t, "job", id);

	CHECK_OK(hostlink_send(w->daemon, msg, e));
	json_decref(msg);
}

static void watch(const struct world *w, int after)
{
	json_t *msg = json_pack("{sssssi}", "t", "watch", "job", JOB, "after", after);

	CHECK_OK(hostlink_send(w->daemon, msg, e));
	json_decref(msg);
}

/* The next message, as "FACT n" or "lost: reason"; the caller frees. */
static char *hear(const struct world *w)
{
	json_t *msg = NULL;
	char *text;

	if (hostlink_recv(w->daemon, &msg, NULL) != 1)
		return xstrdup("(nothing)");
	if (json_object_get(msg, "fact"))
		text = strf("%s %lld", json_string_value(json_object_get(msg, "fact")),
		            (long long)json_integer_value(json_object_get(msg, "n")));
	else
		text = strf("lost: %s", json_string_value(json_object_get(msg, "reason")));
	CHECK_STR(json_string_value(json_object_get(msg, "job")), JOB);
	json_decref(msg);
	return text;
}

#define HEAR(w, want)                              \
	do {                                       \
		_cleanup_free_ char *h_ = hear(w); \
		CHECK_STR(h_, want);               \
	} while (0)

/* The end of anything that is under way: two commands of which only the second makes a message. */
static void nothing_more(const struct world *w)
{
	struct pollfd p = { .fd = w->daemon, .events = POLLIN };

	CHECK_INT(poll(&p, 1, 300), 0);
}

static pid_t supervisor_pid(const struct world *w)
{
	_cleanup_free_ char *dir = in_job(w, "");
	pid_t pid = 0;

	return jobdir_alive(dir, &pid, NULL) > 0 ? pid : 0;
}

/* ---- tests ---- */

TEST(a_job_is_launched_once_and_its_facts_relayed)
{
	struct world w = world_new();

	make_job(&w, "stex");
	world_start(&w);
	watch(&w, 0);
	say(&w, "launch", JOB);
	HEAR(&w, "STARTED 1");
	say(&w, "launch", JOB);
	HEAR(&w, "TRAINING 2");
	HEAR(&w, "ENDED 3");
	say(&w, "launch", JOB);
	watch(&w, 2); /* long after its end, from anywhere */
	HEAR(&w, "ENDED 3");
	watch(&w, 3);
	nothing_more(&w);
	world_free(&w);
}

TEST(a_supervisor_that_fails_is_lost_with_its_last_words)
{
	struct world w = world_new();
	static const char reason[] =
	        "lost: The training host's supervisor, bloomery-job, ended with status 3 before the "
	        "job was done. Its last words: the last line of all";

	make_job(&w, "sm3");
	world_start(&w);
	say(&w, "launch", JOB);
	watch(&w, 0);
	HEAR(&w, "STARTED 1");
	HEAR(&w, reason);
	CHECK(there(&w, "lost") && !there(&w, "work"));
	say(&w, "launch", JOB); /* never again */
	watch(&w, 1);
	HEAR(&w, reason);
	world_stop(&w, SIGKILL);
	world_start(&w);
	watch(&w, 0); /* and the next host knows it, too */
	HEAR(&w, "STARTED 1");
	HEAR(&w, reason);
	world_free(&w);
}

TEST(nothing_of_a_killed_supervisor_stays)
{
	struct world w = world_new();
	_cleanup_buf_ struct buf text = { 0 };
	_cleanup_free_ char *child = in_job(&w, "child");
	uint64_t pid;

	make_job(&w, "smth");
	world_start(&w);
	say(&w, "launch", JOB);
	watch(&w, 0);
	HEAR(&w, "STARTED 1");
	HEAR(&w, "TRAINING 2");
	CHECK(there(&w, "work/file"));
	CHECK(kill(supervisor_pid(&w), SIGKILL) == 0);
	HEAR(&w, "lost: The training host's supervisor, bloomery-job, was killed by signal 9 (Killed). "
	         "Create the job again.");
	CHECK(!there(&w, "work"));
	if (file_read(child, 20, &text, NULL) == 0 && str_to_u64(buf_view(&text), &pid)) {
		waitpid((pid_t)pid, NULL, WNOHANG); /* ours by now, as we are the subreaper */
		CHECK(process_start_time((pid_t)pid) == 0);
	} else {
		CHECK(geteuid() != 0);
	}
	world_free(&w);
}

TEST(a_killed_host_is_followed_by_one_that_adopts)
{
	struct world w = world_new();
	pid_t pid;

	make_job(&w, "stwpex");
	world_start(&w);
	say(&w, "launch", JOB);
	watch(&w, 0);
	HEAR(&w, "STARTED 1");
	HEAR(&w, "TRAINING 2");
	pid = supervisor_pid(&w);
	world_stop(&w, SIGKILL);
	CHECK(pid > 0 && supervisor_pid(&w) == pid);
	world_start(&w);
	say(&w, "launch", JOB);
	CHECK(supervisor_pid(&w) == pid);
	watch(&w, 1);
	HEAR(&w, "TRAINING 2");
	say(&w, "stop", JOB);
	say(&w, "stop", JOB);
	HEAR(&w, "STOPPING 3");
	HEAR(&w, "ENDED 4");
	nothing_more(&w);
	world_free(&w);
}

TEST(stop_reaches_a_supervisor_that_does_not_listen_yet)
{
	struct world w = world_new();

	make_job(&w, "swpex");
	world_start(&w);
	say(&w, "launch", JOB);
	say(&w, "stop", JOB);
	watch(&w, 1);
	HEAR(&w, "STOPPING 2");
	HEAR(&w, "ENDED 3");
	world_free(&w);
}

TEST(a_supervisor_that_died_while_no_host_ran_is_lost)
{
	struct world w = world_new();
	pid_t pid;

	make_job(&w, "smh");
	world_start(&w);
	say(&w, "launch", JOB);
	watch(&w, 0);
	HEAR(&w, "STARTED 1");
	while (!there(&w, "work/file") && supervisor_pid(&w))
		sched_yield();
	pid = supervisor_pid(&w);
	world_stop(&w, SIGKILL);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	world_start(&w);
	watch(&w, 1);
	HEAR(&w, "lost: The training host's supervisor, bloomery-job, has gone without a word while nobody watched, as "
	         "when the machine is restarted. Create the job again.");
	CHECK(!there(&w, "work"));
	world_free(&w);
}

TEST(facts_that_end_a_job_count_even_without_an_exit_file)
{
	struct world w = world_new();

	make_job(&w, "sme");
	world_start(&w);
	say(&w, "launch", JOB);
	watch(&w, 0);
	HEAR(&w, "STARTED 1");
	HEAR(&w, "ENDED 2");
	nothing_more(&w);
	for (int i = 0; i < 600 && !(there(&w, "exit") && !there(&w, "work")); i++)
		poll(NULL, 0, 50);
	CHECK(there(&w, "exit") && !there(&w, "work") && !there(&w, "lost"));
	world_free(&w);
}

TEST(a_supervisor_that_cannot_be_started_is_lost)
{
	struct world w = world_new();

	w.supervisor = "/nonexistent/bloomery-job";
	make_job(&w, "");
	world_start(&w);
	watch(&w, 0);
	say(&w, "launch", JOB);
	HEAR(&w, "lost: The training host's supervisor, bloomery-job, could not be started: starting "
	         "/nonexistent/bloomery-job: executing it: No such file or directory");
	world_free(&w);
}

TEST(forget_and_delete_wait_for_the_supervisor)
{
	struct world w = world_new();

	make_job(&w, "stwpex");
	world_start(&w);
	say(&w, "launch", JOB);
	watch(&w, 0);
	HEAR(&w, "STARTED 1");
	HEAR(&w, "TRAINING 2");
	say(&w, "delete", JOB);
	CHECK(supervisor_pid(&w) > 0 && there(&w, "journal"));
	say(&w, "stop", JOB);
	while (there(&w, "act")) /* the test's time limit ends it if it does not happen */
		poll(NULL, 0, 5);
	say(&w, "delete", JOB); /* gone already: fine */
	say(&w, "forget", JOB);
	watch(&w, 0);
	HEAR(&w, "lost: The job's directory is not there.");
	world_free(&w);
}

TEST(what_was_staged_goes_when_the_daemon_forgets_the_job)
{
	struct world w = world_new();
	_cleanup_free_ char *staged = in_job(&w, "staged");

	make_job(&w, "s3");
	CHECK_OK(mkdir_all(AT_FDCWD, staged, 0755, e));
	world_start(&w);
	say(&w, "launch", JOB);
	watch(&w, 1);
	free(hear(&w)); /* lost */
	CHECK(there(&w, "staged"));
	say(&w, "forget", JOB);
	while (there(&w, "staged"))
		poll(NULL, 0, 5);
	CHECK(there(&w, "journal") && there(&w, "lost"));
	world_free(&w);
}

/* Ends a job with `leaf` left in its directory, forgets it, and says whether that took a cleaner. */
static bool takes_a_cleaner(const char *leaf)
{
	struct world w = world_new();
	_cleanup_free_ char *staged = in_job(&w, "staged"), *left = in_job(&w, leaf);
	bool took;

	make_job(&w, "stex");
	CHECK_OK(mkdir_all(AT_FDCWD, staged, 0755, e));
	CHECK_OK(mkdir_all(AT_FDCWD, left, 0755, e));
	world_start(&w);
	say(&w, "launch", JOB);
	watch(&w, 2);
	HEAR(&w, "ENDED 3");
	while (!there(&w, "exit"))
		poll(NULL, 0, 5);
	say(&w, "forget", JOB);
	while (there(&w, "staged"))
		poll(NULL, 0, 5);
	took = there(&w, "../../cleaner");
	say(&w, "forget", JOB); /* again: fine */
	watch(&w, 2);
	HEAR(&w, "ENDED 3");
	CHECK(took || !there(&w, "../../cleaner"));
	while (took && there(&w, leaf)) /* the cleaner may still be at it */
		poll(NULL, 0, 5);
	world_free(&w);
	return took;
}

TEST(a_job_that_left_nothing_is_forgotten_without_a_cleaner)
{
	CHECK(!takes_a_cleaner("staged"));
}

TEST(a_job_that_left_its_log_is_forgotten_without_a_cleaner)
{
	CHECK(!takes_a_cleaner("log"));
}

TEST(what_is_left_in_work_takes_a_cleaner)
{
	CHECK(takes_a_cleaner("work/tree"));
}

TEST(what_is_left_in_staged_takes_a_cleaner)
{
	CHECK(takes_a_cleaner("staged/half"));
}

/* More facts than socket buffers hold, and a daemon that reads late: none is missing, none is twice. */
TEST(a_slow_daemon_gets_every_fact)
{
	enum { FACTS = 20000 };
	struct world w = world_new();
	_cleanup_buf_ struct buf journal = { 0 };
	_cleanup_free_ char *path = in_job(&w, "journal"), *dir = in_job(&w, "");

	make_job(&w, "");
	for (int n = 1; n <= FACTS; n++)
		buf_f(&journal, "{\"n\":%d,\"t\":1,\"fact\":\"IMAGE\",\"args\":{\"image\":\"%0100d\"}}\n", n, n);
	CHECK_OK(file_put(AT_FDCWD, path, buf_view(&journal), 0644, e));
	CHECK_OK(jobdir_write_exit(dir, "", e));
	world_start(&w);
	watch(&w, 0);
	poll(NULL, 0, 200);
	for (int n = 1; n <= FACTS; n++) {
		_cleanup_free_ char *got = hear(&w), *want = strf("IMAGE %d", n);

		if (strcmp(got, want) != 0) {
			test_failed(__FILE__, __LINE__, "got %s, want %s", got, want);
			break;
		}
	}
	nothing_more(&w);
	world_free(&w);
}

TEST(the_newest_daemon_is_served_and_nonsense_is_not)
{
	static const char *const bad[] = { "nonsense", "{}", "{\"t\":\"hello\",\"v\":99}" };
	struct world w = world_new(), second;
	json_t *msg = NULL;

	make_job(&w, "sex");
	world_start(&w);
	say(&w, "launch", "../../../../etc");
	say(&w, "delete", "..");
	say(&w, "delete", "");
	say(&w, "dance", JOB);
	second = w;
	second.daemon = connect_daemon(&w);
	CHECK_INT(hostlink_recv(w.daemon, &msg, NULL), 0); /* hung up on */
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		CHECK(send(second.daemon, bad[i], strlen(bad[i]), 0) > 0);
		CHECK_INT(hostlink_recv(second.daemon, &msg, NULL), 0);
		close(second.daemon);
		second.daemon = connect_daemon(&w);
	}
	watch(&second, 0);
	say(&second, "launch", JOB);
	HEAR(&second, "STARTED 1");
	close(w.daemon);
	w.daemon = second.daemon;
	world_free(&w);
}

TEST(there_is_one_host_a_data_directory)
{
	struct world w = world_new();
	struct host_options o = { .data_dir = w.data, .uid = geteuid(), .ready_fd = -1 };
	struct err err = { 0 };
	char text[2000], want[1000];

	world_start(&w);
	CHECK(host_run(&o, &err) == -1 && err.kind == ERR_IN_USE);
	snprintf(want, sizeof(want), "another bloomery-host serves %s", w.data);
	CHECK_STR(err_text(&err, text, sizeof(text)), want);
	world_free(&w);
}
