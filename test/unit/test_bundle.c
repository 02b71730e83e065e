/* The bundle and the runtime. The tests that start containers need root and a runtime, and say so when they cannot run.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "oci/bundle.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "harness.h"
#include "loop/loop.h"
#include "oci/rootfs.h"
#include "oci/seccomp.h"

static const char *const no_strings[] = { NULL };
static const char *const default_env[] = { "PATH=/usr/bin:/bin:/", NULL };

static char slash[] = "/", nobody[] = "";

static struct image plain_image(char **entrypoint)
{
	return (struct image){
		.entrypoint = entrypoint,
		.cmd = (char **)no_strings,
		.env = (char **)no_strings,
		.working_dir = slash,
		.user = nobody,
	};
}

static void put(const char *root, const char *name, const char *text, mode_t mode)
{
	_cleanup_free_ char *path = strf("%s/%s", root, name);
	_cleanup_free_ char *dir = NULL;
	struct str d = str_of(path);

	str_cut_last(&d, '/');
	dir = str_dup(d);
	CHECK_OK(mkdir_all(AT_FDCWD, dir, 0755, e));
	CHECK_OK(file_put(AT_FDCWD, path, str_of(text), mode, e));
}

static void check_args(const struct image *image, const char *const *entrypoint, const char *const *arguments,
                       const char *want)
{
	char **args = bundle_args(image, entrypoint, arguments);
	_cleanup_buf_ struct buf got = { 0 };

	buf_init(&got);
	for (char **a = args; *a; a++) {
		buf_f(&got, "%s%s", got.n ? " " : "", *a);
		free(*a);
	}
	free(args);
	CHECK_STR(got.p, want);
}

TEST(args_follow_the_ways_of_starting) /* contract 1.5 */
{
	static const char *const ep[] = { "python3", "a.py", NULL }, *const arg[] = { "--x", "1", NULL };
	struct image image = plain_image((char *[]){ (char[]){ "/entry" }, (char[]){ "-q" }, NULL });
	struct image bare = plain_image((char **)no_strings);

	check_args(&image, NULL, NULL, "/entry -q train");
	check_args(&image, ep, NULL, "python3 a.py");
	check_args(&image, NULL, arg, "/entry -q --x 1");
	check_args(&image, ep, arg, "python3 a.py --x 1");
	check_args(&bare, NULL, NULL, "train");
}

static struct bundle_options options_for(const char *rootfs, const struct image *image, const char *const *args)
{
	return (struct bundle_options){
		.rootfs = rootfs,
		.image = image,
		.args = args,
		.env = default_env,
		.hostname = "algo-1",
		.cgroup = "/bloomery/unit-test",
		.cpus = 1.5,
		.memory_bytes = 512 << 20,
		.shm_bytes = 256 << 20,
		.pids = 100,
	};
}

static const json_t *dig(const json_t *j, const char *path)
{
	struct str rest = str_of(path);

	while (j && rest.n) {
		_cleanup_free_ char *step = str_dup(str_cut(&rest, '.'));

		j = json_is_array(j) ? json_array_get(j, (size_t)strtoul(step, NULL, 10)) : json_object_get(j, step);
	}
	return j;
}

static bool has_namespace(const json_t *config, const char *type)
{
	const json_t *list = dig(config, "linux.namespaces"), *ns;
	size_t i;

	json_array_foreach (list, i, ns)
		if (!strcmp(json_string_value(json_object_get(ns, "type")), type))
			return true;
	return false;
}

static const json_t *mount_at(const json_t *config, const char *destination)
{
	const json_t *list = json_object_get(config, "mounts"), *m;
	size_t i;

	json_array_foreach (list, i, m)
		if (!strcmp(json_string_value(json_object_get(m, "destination")), destination))
			return m;
	return NULL;
}

TEST(config_says_what_was_asked)
{
	static const char *const args[] = { "train", NULL }, *const ro[] = { "rbind", "ro", NULL };
	const struct bundle_mount extra = { "/etc/hosts", "/etc/hosts", "bind", ro };
	struct image image = plain_image((char **)no_strings);
	struct bundle_options o = options_for(test_tmpdir(), &image, args);
	json_t *j = NULL;

	o.mounts = &extra;
	o.mount_count = 1;
	o.own_network = true;
	CHECK_OK(bundle_config(&o, &j, e));
	CHECK_STR(json_string_value(dig(j, "root.path")), test_tmpdir());
	CHECK_STR(json_string_value(dig(j, "process.args.0")), "train");
	CHECK_STR(json_string_value(dig(j, "process.cwd")), "/");
	CHECK(json_is_true(dig(j, "process.noNewPrivileges")));
	CHECK(json_is_false(dig(j, "process.terminal")));
	CHECK_INT(json_integer_value(dig(j, "linux.resources.memory.limit")), 512 << 20);
	CHECK_INT(json_integer_value(dig(j, "linux.resources.cpu.quota")), 150000);
	CHECK_INT(json_integer_value(dig(j, "linux.resources.pids.limit")), 100);
	CHECK_STR(json_string_value(dig(j, "linux.cgroupsPath")), "/bloomery/unit-test");
	CHECK(has_namespace(j, "pid") && has_namespace(j, "mount") && has_namespace(j, "ipc") &&
	      has_namespace(j, "uts"));
	CHECK(has_namespace(j, "network"));
	CHECK(mount_at(j, "/dev/shm") && mount_at(j, "/proc") && mount_at(j, "/sys/fs/cgroup"));
	CHECK_STR(json_string_value(json_object_get(mount_at(j, "/etc/hosts"), "type")), "bind");
	CHECK_STR(json_string_value(dig(mount_at(j, "/dev/shm"), "options.4")), "size=268435456");
	json_decref(j);
	o.own_network = false;
	CHECK_OK(bundle_config(&o, &j, e));
	CHECK(!has_namespace(j, "network"));
	json_decref(j);
}

TEST(config_gives_no_capability_that_reaches_the_machine)
{
	static const char *const args[] = { "train", NULL };
	static const char *const refused[] = { "CAP_SYS_ADMIN",    "CAP_SYS_PTRACE",      "CAP_NET_ADMIN",
		                               "CAP_SYS_MODULE",   "CAP_DAC_READ_SEARCH", "CAP_BPF",
		                               "CAP_SYS_RESOURCE", "CAP_SYS_BOOT" };
	struct image image = plain_image((char **)no_strings);
	struct bundle_options o = options_for(test_tmpdir(), &image, args);
	_cleanup_free_ char *text = NULL;
	json_t *j = NULL;

	CHECK_OK(bundle_config(&o, &j, e));
	text = json_dumps(dig(j, "process.capabilities"), 0);
	for (size_t i = 0; i < ARRAY_LEN(refused); i++)
		CHECK(!strstr(text, refused[i]));
	CHECK(!strstr(text, "CAP_NET_")); /* the network is the machine's */
	CHECK(!dig(j, "process.capabilities.ambient") && !dig(j, "process.capabilities.inheritable"));
	json_decref(j);
}

TEST(config_refuses_text_that_json_cannot_hold)
{
	static const char *const args[] = { "train", "\xff", NULL };
	struct image image = plain_image((char **)no_strings);
	struct bundle_options o = options_for(test_tmpdir(), &image, args);
	struct err why = { 0 };
	json_t *j = NULL;

	CHECK(bundle_config(&o, &j, &why) < 0 && why.kind == ERR_TRAINER);
	CHECK(!j);
}

static bool profile_allows(const json_t *profile, const char *name)
{
	const json_t *rules = json_object_get(profile, "syscalls"), *rule, *n;
	size_t i, k;

	json_array_foreach (rules, i, rule)
		json_array_foreach (json_object_get(rule, "names"), k, n)
			if (!strcmp(json_string_value(n), name) && !json_object_get(rule, "args"))
				return !strcmp(json_string_value(json_object_get(rule, "action")), "SCMP_ACT_ALLOW");
	return false;
}

TEST(seccomp_allows_training_and_refuses_the_dangerous)
{
	static const char *const yes[] = { "read",   "mmap",          "futex",    "execve",
		                           "openat", "clock_gettime", "sendfile", "ptrace" };
	static const char *const no[] = { "mount",
		                          "umount2",
		                          "setns",
		                          "unshare",
		                          "bpf",
		                          "keyctl",
		                          "init_module",
		                          "reboot",
		                          "kexec_load",
		                          "swapon",
		                          "perf_event_open",
		                          "open_by_handle_at",
		                          "io_uring_setup",
		                          "userfaultfd",
		                          "clone3",
		                          "clone",
		                          "socket",
		                          "personality",
		                          "settimeofday" };
	json_t *p = seccomp_profile();

	CHECK_STR(json_string_value(json_object_get(p, "defaultAction")), "SCMP_ACT_ERRNO");
	for (size_t i = 0; i < ARRAY_LEN(yes); i++)
		if (!profile_allows(p, yes[i]))
			test_failed(__FILE__, __LINE__, "%s is not allowed", yes[i]);
	for (size_t i = 0; i < ARRAY_LEN(no); i++)
		if (profile_allows(p, no[i]))
			test_failed(__FILE__, __LINE__, "%s is allowed whatever its arguments", no[i]);
	json_decref(p);
}

static void check_user(int root, const char *user, unsigned uid, unsigned gid, size_t groups)
{
	struct rootfs_user u = { 0 };

	CHECK_OK(rootfs_user(root, user, &u, e));
	CHECK_INT(u.uid, uid);
	CHECK_INT(u.gid, gid);
	CHECK_INT(u.group_count, groups);
	rootfs_user_fini(&u);
}

TEST(user_is_resolved_in_the_image)
{
	_cleanup_close_ int root = open(test_tmpdir(), O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct rootfs_user u = { 0 };
	struct err why = { 0 };

	put(test_tmpdir(), "etc/passwd",
	    "broken\n:x:1:1\nroot:x:0:0::/root:/bin/sh\nsage:x:1000:1001::/home:/bin/sh\nno:x:a:b\n", 0644);
	put(test_tmpdir(), "etc/group", "root:x:0:\nwheel:x:10:sage,root\ndata:x:20:other, sage\nsage:x:1001:sage\n",
	    0644);
	check_user(root, "", 0, 0, 0);
	check_user(root, "root", 0, 0, 1);
	check_user(root, "sage", 1000, 1001, 2);
	check_user(root, "1000", 1000, 1001, 2);
	check_user(root, "sage:data", 1000, 20, 0);
	check_user(root, "4242", 4242, 0, 0);
	check_user(root, "4242:4343", 4242, 4343, 0);
	CHECK(rootfs_user(root, "nobody-here", &u, &why) < 0 && why.kind == ERR_TRAINER);
	CHECK(strstr(why.frame[0], "has no user 'nobody-here'") != NULL);
	CHECK(rootfs_user(root, "sage:none", &u, &why) < 0 && why.kind == ERR_TRAINER);
	CHECK(rootfs_user(root, "99999999999", &u, &why) < 0);
}

TEST(user_files_cannot_lead_out_of_the_image)
{
	_cleanup_free_ char *rootfs = strf("%s/rootfs", test_tmpdir());
	_cleanup_free_ char *link = strf("%s/rootfs/etc/passwd", test_tmpdir());
	_cleanup_free_ char *fifo = strf("%s/rootfs/etc/group", test_tmpdir());
	_cleanup_free_ char *etc = strf("%s/rootfs/etc", test_tmpdir());
	_cleanup_close_ int root = -EBADF;
	struct rootfs_user u = { 0 };

	put(test_tmpdir(), "passwd", "outside:x:7:7::/:/bin/sh\n", 0644);
	CHECK_OK(mkdir_all(AT_FDCWD, etc, 0755, e));
	CHECK(symlink("../../passwd", link) == 0);
	CHECK(mkfifo(fifo, 0666) == 0); /* must not be waited for */
	root = open(rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC);
	CHECK(rootfs_user(root, "outside", &u, NULL) < 0);
}

/* --- real containers --- */

struct box {
	struct runtime runtime;
	char *bundle, *rootfs, *state, *id, *cgroup, *output;
	int out;
	pid_t pid;
	bool just_made; /* by box_start, not started */
};

static bool cannot_run(void)
{
	if (geteuid() == 0)
		return false;
	test_skip("starting containers needs root");
	return true;
}

static bool box_init(struct box *b, const char *id)
{
	struct err why = { 0 };
	char text[4096];

	*b = (struct box){
		.bundle = strf("%s/bundle", test_tmpdir()),
		.rootfs = strf("%s/bundle/rootfs", test_tmpdir()),
		.state = strf("%s/state", test_tmpdir()),
		.output = strf("%s/output", test_tmpdir()),
		.id = strf("unit-%s-%d", id, (int)getpid()),
		.out = -EBADF,
	};
	b->cgroup = strf("/bloomery/%s", b->id);
	CHECK_OK(mkdir_all(AT_FDCWD, b->rootfs, 0755, e));
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (runtime_probe(test_tmpdir(), &b->runtime, &why) == 0)
		return true;
	test_failed(__FILE__, __LINE__, "%s", err_text(&why, text, sizeof(text)));
	return false;
}

/* Compiles a static program into the root; the only file of the image. */
static void box_program(struct box *b, const char *source)
{
	_cleanup_free_ char *c = strf("%s/train.c", test_tmpdir());
	_cleanup_free_ char *train = strf("%s/train", b->rootfs);
	const char *const argv[] = { "/usr/bin/cc", "-D_GNU_SOURCE", "-static", "-O1", "-o", train, c, NULL };
	const struct spawn_options o = { .argv = argv, .in = -1, .out = 2, .err_fd = 2 };
	int status = -1;

	CHECK_OK(file_put(AT_FDCWD, c, str_of(source), 0644, e));
	CHECK_OK(spawn_wait(&o, NULL, 0, &status, e));
	CHECK_INT(status, 0);
}

static int box_start(struct box *b, struct bundle_options *o, struct err *why)
{
	_cleanup_free_ char *config = strf("%s/config.json", b->bundle);
	_cleanup_free_ char *text = NULL;
	struct runtime_order order;
	json_t *j = NULL;

	o->cgroup = b->cgroup;
	if (bundle_config(o, &j, why) < 0)
		return -1;
	text = json_dumps(j, 0);
	json_decref(j);
	CHECK_OK(file_put(AT_FDCWD, config, str_of(text), 0600, e));
	b->out = open(b->output, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	order = (struct runtime_order){ b->state, b->bundle, b->id, b->out, b->out };
	return b->just_made ? runtime_create(&b->runtime, &order, &b->pid, why)
	                    : runtime_run(&b->runtime, &order, &b->pid, why);
}

static int box_wait(struct box *b)
{
	int status = -1;

	CHECK(waitpid(b->pid, &status, 0) == b->pid);
	return status;
}

static void box_fini(struct box *b)
{
	_cleanup_free_ char *entry = strf("%s/%s", b->state, b->id);
	struct cgroup_stats stats;

	CHECK_OK(cgroup_destroy(b->cgroup, e));
	CHECK_OK(runtime_delete(&b->runtime, b->state, b->id, e));
	CHECK(!cgroup_exists(b->cgroup));
	CHECK_OK(cgroup_destroy(b->cgroup, e)); /* a second time is fine */
	CHECK_OK(runtime_delete(&b->runtime, b->state, b->id, e));
	CHECK(access(entry, F_OK) < 0);
	CHECK(cgroup_stats(b->cgroup, &stats, NULL) < 0);
	runtime_fini(&b->runtime);
	free(b->bundle);
	free(b->rootfs);
	free(b->state);
	free(b->id);
	free(b->cgroup);
	free(b->output);
	cleanup_closep(&b->out);
}

static const char look_around[] =
        "#include <stdio.h>\n#include <unistd.h>\n#include <sys/stat.h>\n#include <sys/statvfs.h>\n#include <errno.h>\n"
        "#include <sys/socket.h>\n#include <sched.h>\n#include <fcntl.h>\n#include <netinet/in.h>\n"
        "int main(int c, char **v) { char h[99]; struct statvfs s; int n = 0; gethostname(h, 99);\n"
        " statvfs(\"/dev/shm\", &s); printf(\"%s %s %d:%d\\n\", h, v[c - 1], getuid(), getgid());\n"
        " printf(\"shm %lu\\n\", (unsigned long)(s.f_blocks * s.f_frsize));\n"
        " printf(\"unshare %d\\n\", unshare(CLONE_NEWUSER) < 0 ? errno : 0);\n"
        " printf(\"vsock %d\\n\", socket(40, SOCK_STREAM, 0) < 0 ? errno : 0);\n"
        " printf(\"sysctl %d\\n\", open(\"/proc/sys/kernel/hostname\", O_WRONLY) < 0 ? errno : 0);\n"
        " printf(\"ping %d\\n\", close(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP)) < 0 ? errno : 0);\n"
        " struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(80) }; int f = socket(AF_INET, "
        "SOCK_STREAM, 0);\n"
        " printf(\"port 80 %d\\n\", bind(f, (void *)&a, sizeof(a)) < 0 ? errno : 0); close(f);\n"
        " for (int i = 3; i < 100; i++) if (fcntl(i, F_GETFD) >= 0) n++; printf(\"extra descriptors %d\\n\", n);\n"
        " fprintf(stderr, \"to stderr\\n\"); return 7; }\n";

TEST(a_static_program_runs_as_the_only_file_of_its_image)
{
	static const char *const args[] = { "/train", "train", NULL };
	struct image image = plain_image((char **)no_strings);
	_cleanup_buf_ struct buf out = { 0 };
	struct bundle_options o;
	struct cgroup_stats stats = { 0 };
	struct box b;
	int status;

	if (cannot_run() || !box_init(&b, "static"))
		return;
	box_program(&b, look_around);
	o = options_for(b.rootfs, &image, args);
	o.own_network = true;
	image.user = (char[]){ "1234:55" };
	CHECK_OK(box_start(&b, &o, e));
	status = box_wait(&b);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	CHECK_OK(cgroup_stats(b.cgroup, &stats, e));
	CHECK_INT(stats.memory_limit_bytes, 512 << 20);
	CHECK(stats.memory_peak_bytes > 0 && stats.oom_kills == 0);
	CHECK_OK(file_read(b.output, 65536, &out, e));
	CHECK_STR(out.p, "to stderr\nalgo-1 train 1234:55\nshm 268435456\nunshare 1\nvsock 1\nsysctl 13\nping 0\nport "
	                 "80 0\nextra descriptors 0\n");
	box_fini(&b);
}

TEST(what_is_made_waits_until_it_is_started)
{
	static const char *const args[] = { "/train", NULL };
	struct image image = plain_image((char **)no_strings);
	_cleanup_buf_ struct buf out = { 0 };
	struct runtime_order order;
	struct bundle_options o;
	struct box b;
	int status;

	if (cannot_run() || !box_init(&b, "made"))
		return;
	box_program(&b, "#include <stdio.h>\nint main(void) { puts(\"ran\"); return 7; }");
	o = options_for(b.rootfs, &image, args);
	b.just_made = true;
	CHECK_OK(box_start(&b, &o, e));
	poll(NULL, 0, 100);
	CHECK_OK(file_read(b.output, 65536, &out, e));
	CHECK(out.n == 0 && kill(b.pid, 0) == 0);
	order = (struct runtime_order){ b.state, b.bundle, b.id, -1, -1 };
	CHECK_OK(runtime_start(&b.runtime, &order, e));
	status = box_wait(&b);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	CHECK_OK(file_read(b.output, 65536, &out, e));
	CHECK_STR(out.p, "ran\n");
	CHECK(runtime_start(&b.runtime, &order, NULL) < 0); /* once */
	box_fini(&b);
}

TEST(what_is_made_and_never_started_goes)
{
	static const char *const args[] = { "/train", NULL };
	struct image image = plain_image((char **)no_strings);
	struct bundle_options o;
	struct box b;

	if (cannot_run() || !box_init(&b, "unused"))
		return;
	box_program(&b, "int main(void) { return 0; }");
	o = options_for(b.rootfs, &image, args);
	b.just_made = true;
	CHECK_OK(box_start(&b, &o, e));
	CHECK_OK(cgroup_destroy(b.cgroup, e));
	CHECK(WIFSIGNALED(box_wait(&b)));
	box_fini(&b);
}

TEST(a_trainer_over_its_memory_is_counted_as_out_of_memory)
{
	static const char *const args[] = { "/train", NULL };
	struct image image = plain_image((char **)no_strings);
	struct cgroup_stats stats = { 0 };
	struct bundle_options o;
	struct box b;
	int status;

	if (cannot_run() || !box_init(&b, "oom"))
		return;
	box_program(&b, "#include <stdlib.h>\n#include <string.h>\nint main(void) { for (;;) memset(malloc(1 << 20), "
	                "1, 1 << 20); }");
	o = options_for(b.rootfs, &image, args);
	o.memory_bytes = 32 << 20;
	CHECK_OK(box_start(&b, &o, e));
	status = box_wait(&b);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	CHECK_OK(cgroup_stats(b.cgroup, &stats, e));
	CHECK(stats.oom_kills > 0);
	CHECK_INT(stats.memory_limit_bytes, 32 << 20);
	box_fini(&b);
}

TEST(a_trainer_that_forks_and_ignores_signals_is_gone_after_destroy)
{
	static const char *const args[] = { "/train", NULL };
	struct image image = plain_image((char **)no_strings);
	_cleanup_buf_ struct buf out = { 0 };
	struct bundle_options o;
	struct mono start;
	struct box b;
	int status;

	if (cannot_run() || !box_init(&b, "fork"))
		return;
	box_program(&b, "#include <signal.h>\n#include <unistd.h>\n"
	                "int main(void) { for (int i = 1; i < 32; i++) signal(i, SIG_IGN); write(1, \"ready\\n\", 6);\n"
	                " for (;;) if (fork() < 0) usleep(100); }");
	o = options_for(b.rootfs, &image, args);
	CHECK_OK(box_start(&b, &o, e));
	start = mono_now();
	while (out.n == 0 && mono_ms_since(start) < 10000) /* it is up */
		CHECK_OK(file_read(b.output, 100, &out, e));
	CHECK_OK(cgroup_signal(b.cgroup, SIGTERM, e));
	CHECK_OK(cgroup_destroy(b.cgroup, e));
	CHECK(mono_ms_since(start) < 20000);
	status = box_wait(&b);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	box_fini(&b);
}

TEST(a_start_that_fails_says_why_and_leaves_nothing)
{
	static const char *const args[] = { "/missing", NULL };
	struct image image = plain_image((char **)no_strings);
	struct bundle_options o;
	struct err why = { 0 };
	struct box b;

	if (cannot_run() || !box_init(&b, "fail"))
		return;
	o = options_for(b.rootfs, &image, args);
	CHECK(box_start(&b, &o, &why) < 0);
	CHECK_INT(why.kind, ERR_TRAINER);
	CHECK(strstr(why.frame[0], "missing in the image") != NULL);
	box_fini(&b);
}

TEST(delete_kills_what_still_runs)
{
	static const char *const args[] = { "/train", NULL };
	struct image image = plain_image((char **)no_strings);
	struct bundle_options o;
	struct box b;

	if (cannot_run() || !box_init(&b, "delete"))
		return;
	box_program(&b, "#include <unistd.h>\nint main(void) { for (;;) pause(); }");
	o = options_for(b.rootfs, &image, args);
	CHECK_OK(box_start(&b, &o, e));
	CHECK_OK(runtime_delete(&b.runtime, b.state, b.id, e));
	CHECK(WIFSIGNALED(box_wait(&b)));
	box_fini(&b);
}

TEST(runtime_is_remembered_until_its_program_changes)
{
	_cleanup_free_ char *program = strf("%s/runc", test_tmpdir());
	_cleanup_free_ char *file = strf("%s/runtime.json", test_tmpdir()), *path = NULL;
	struct runtime r = { .path = program, .version = (char[]){ "runc 1.2" }, .cgroup_version = 2 }, got = { 0 };
	struct err why = { 0 };

	put(test_tmpdir(), "runc", "one", 0755);
	CHECK(runtime_load(file, &got, &why) < 0 && why.kind == ERR_NOT_FOUND);
	CHECK_OK(runtime_save(file, &r, e));
	CHECK(runtime_load(file, &got, &why) < 0 && why.kind == ERR_NOT_FOUND); /* nobody would find it there */
	path = xstrdup(getenv("PATH") ? getenv("PATH") : "/usr/bin:/bin");
	setenv("PATH", test_tmpdir(), 1);
	CHECK_OK(runtime_save(file, &r, e));
	CHECK_OK(runtime_load(file, &got, e));
	CHECK_STR(got.path, program);
	CHECK_STR(got.version, "runc 1.2");
	CHECK_INT(got.cgroup_version, 2);
	runtime_fini(&got);
	put(test_tmpdir(), "runc", "another", 0755);
	CHECK(runtime_load(file, &got, &why) < 0 && why.kind == ERR_NOT_FOUND);
	setenv("PATH", path, 1); /* the harness tidies up with rm */
}

TEST(runtime_errors_are_told_apart)
{
	struct err why = { 0 };

	runtime_error("runc", "unable to start container process: exec: \"train\": executable file not found in $PATH",
	              &why);
	CHECK_INT(why.kind, ERR_TRAINER);
	runtime_error("crun", "open executable: Permission denied", &why);
	CHECK_INT(why.kind, ERR_TRAINER);
	runtime_error("runc", "mkdir /sys/fs/cgroup/memory/bloomery: permission denied", &why);
	CHECK_INT(why.kind, ERR_IO);
	CHECK(strstr(why.frame[0], "could not start the container") != NULL);
}

static void expect_start_fails(const char *id, void (*spoil)(struct box *b, struct bundle_options *o), const char *says)
{
	static const char *const args[] = { "/train", NULL };
	static char file[] = "/train";
	struct image image = plain_image((char **)no_strings);
	struct bundle_options o;
	struct err why = { 0 };
	struct box b;

	if (!box_init(&b, id))
		return;
	put(b.rootfs, "train", "", 0755);
	o = options_for(b.rootfs, &image, args);
	if (!spoil)
		image.working_dir = file;
	else
		spoil(&b, &o);
	CHECK(box_start(&b, &o, &why) < 0);
	CHECK_INT(why.kind, ERR_TRAINER);
	if (!strstr(why.frame[0], says))
		test_failed(__FILE__, __LINE__, "'%s' does not say '%s'", why.frame[0], says);
	box_fini(&b);
}

static void no_memory(struct box *b, struct bundle_options *o)
{
	(void)b;
	o->memory_bytes = 512 << 10;
}

static void proc_is_a_file(struct box *b, struct bundle_options *o)
{
	(void)o;
	put(b->rootfs, "proc", "", 0644);
}

TEST(a_working_directory_that_is_a_file_is_worded)
{
	if (!cannot_run())
		expect_start_fails("cwd", NULL, "working directory is a file");
}

TEST(too_little_memory_to_start_is_worded)
{
	if (!cannot_run())
		expect_start_fails("mem", no_memory, "memory of the instance type is too small");
}

TEST(a_file_in_the_place_of_proc_is_worded)
{
	if (!cannot_run())
		expect_start_fails("proc", proc_is_a_file, "/proc, /dev, /sys");
}

TEST(cgroup_paths_are_checked)
{
	struct err why = { 0 };

	CHECK(cgroup_destroy("/", &why) < 0 && why.kind == ERR_BUG);
	CHECK(cgroup_destroy("bloomery", &why) < 0 && why.kind == ERR_BUG);
	CHECK(cgroup_destroy("/bloomery/../..", &why) < 0 && why.kind == ERR_BUG);
	CHECK(cgroup_signal("//", SIGTERM, &why) < 0 && why.kind == ERR_BUG);
	CHECK(!cgroup_exists("/bloomery/there-is-no-such-thing") && cgroup_exists("bloomery"));
	CHECK_OK(cgroup_destroy("/bloomery/there-is-no-such-thing", e));
}

/* The root of the unified hierarchy, also where it is only mounted beside v1. */
static const char *unified(void)
{
	return access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0           ? "/sys/fs/cgroup"
	       : access("/sys/fs/cgroup/unified/cgroup.controllers", F_OK) == 0 ? "/sys/fs/cgroup/unified"
	                                                                        : NULL;
}

TEST(controllers_are_delegated_from_a_cgroup_with_processes)
{
	const char *root = unified();
	_cleanup_free_ char *all = root ? strf("%s/cgroup.controllers", root) : NULL, *dir = NULL, *procs = NULL,
	                    *init = NULL, *control = NULL, *enable = NULL, *name = NULL, *top = NULL;
	_cleanup_buf_ struct buf b = { 0 }, enabled = { 0 };
	struct str list;
	bool was_on;
	pid_t pid;

	buf_init(&b);
	buf_init(&enabled);
	if (cannot_run() || !all || file_read(all, 4096, &b, NULL) < 0 || str_trim(buf_view(&b)).n == 0) {
		test_skip("no controller in the unified hierarchy to try with");
		return;
	}
	list = str_trim(buf_view(&b));
	name = str_dup(str_cut(&list, ' '));
	top = strf("%s/cgroup.subtree_control", root);
	enable = strf("+%s", name);
	CHECK_OK(file_read(top, 4096, &enabled, e));
	was_on = strstr(enabled.p, name) != NULL;
	CHECK_OK(cgroup_delegate(root, name, e));
	dir = strf("%s/bloomery-unit-%d", root, (int)getpid());
	procs = strf("%s/cgroup.procs", dir);
	init = strf("%s/init/cgroup.procs", dir);
	control = strf("%s/cgroup.subtree_control", dir);
	CHECK(mkdir(dir, 0755) == 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	{
		_cleanup_free_ char *text = strf("%d", (int)pid);

		CHECK_OK(file_put(AT_FDCWD, procs, str_of(text), 0644, e));
	}
	CHECK(file_put(AT_FDCWD, control, str_of(enable), 0644, NULL) < 0); /* the kernel's rule that this is about */
	CHECK_OK(cgroup_delegate(dir, name, e));
	CHECK_OK(cgroup_delegate(dir, "no-such-controller", e));
	buf_reset(&b);
	CHECK_OK(file_read(control, 4096, &b, e));
	CHECK(strstr(b.p, name) != NULL);
	buf_reset(&b);
	CHECK_OK(file_read(init, 4096, &b, e));
	CHECK_INT(strtol(b.p, NULL, 10), pid);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	CHECK(cgroup_exists(strrchr(dir, '/')));
	CHECK_OK(cgroup_destroy(strrchr(dir, '/'), e)); /* with its child */
	CHECK(access(dir, F_OK) < 0);
	if (!was_on) {
		enable[0] = '-';
		CHECK_OK(file_put(AT_FDCWD, top, str_of(enable), 0644, e));
	}
}
