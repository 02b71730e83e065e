/* SPDX-License-Identifier: Apache-2.0 */
#include <elf.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "loop/loop.h"
#include "oci/bundle.h"

enum { RUNTIME_FILE_VERSION = 1, LOG_MAX_BYTES = 1 << 20, OUTPUT_MAX_BYTES = 64 << 10, STATE_MAX_BYTES = 4 << 20 };

void runtime_fini(struct runtime *r)
{
	free(r->path);
	free(r->version);
	*r = (struct runtime){ 0 };
}

/* --- what the runtimes write about failures --- */

/* The message of the last error in a log of JSON lines, malloc'd; NULL when there is none. */
static char *last_log_error(const char *path)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct str rest;
	char *found = NULL;

	if (file_read(path, LOG_MAX_BYTES, &b, NULL) < 0)
		return NULL;
	for (rest = buf_view(&b); rest.n;) {
		struct str line = str_cut(&rest, '\n');
		json_t *j = json_loadb(line.p, line.n, 0, NULL);
		const char *level = json_string_value(json_object_get(j, "level"));
		const char *msg = json_string_value(json_object_get(j, "msg"));

		if (level && msg && (!strcmp(level, "error") || !strcmp(level, "fatal"))) {
			free(found);
			found = xstrdup(msg);
		}
		json_decref(j);
	}
	return found;
}

#define TOO_SMALL "the memory of the instance type is too small to start the container"
#define STANDARD_DIRECTORY \
	"a directory that every container gets (/proc, /dev, /sys) is a file or a symbolic link in the image"

/* Faults of the image or the request, as runc and crun word them in any case of letters, and what we say instead. A
 * `where` must be in the message too: "permission denied" can as well be about a cgroup of the machine. The preflight
 * finds most of them first; these are what only the kernel can tell. */
static const struct {
	const char *needle, *where, *says;
} trainer_faults[] = {
	{ "executable file not found", "", "the program to start was not found on PATH in the image" },
	{ "exec format error", "exec",
	  "the program to start is not something this machine can execute: it is built for another architecture, or is "
	  "a script without a first line like #!/bin/sh" },
	{ "permission denied", "exec",
	  "the image's user may not execute the program to start; check its mode and USER" },
	{ "permission denied", "chdir",
	  "the image's user may not enter its working directory; check its mode and USER" },
	{ "permission denied", "cwd", "the image's user may not enter its working directory; check its mode and USER" },
	{ "no such file or directory", "exec", "the program to start or its interpreter is missing in the image" },
	{ "must be mounted on ordinary directory", "", STANDARD_DIRECTORY },
	{ "not a directory", "to rootfs at", STANDARD_DIRECTORY },
	{ "no such file or directory", "setting up ptmx", STANDARD_DIRECTORY },
	{ "not a directory", "mkdir", "the image's working directory is a file in the image" },
	{ "not a directory", "exec", "the path of the program to start leads through a file in the image" },
	{ "argument list too long", "exec", "arguments and environment together are larger than the kernel takes" },
	{ "too many levels of symbolic links", "", "a symbolic link in the image leads to itself" },
	{ "cannot allocate memory", "container init", TOO_SMALL },
	{ "unable to set memory limit", "", TOO_SMALL },
	{ "container init was OOM-killed", "", TOO_SMALL },
};

int runtime_error(const char *program, const char *message, struct err *e)
{
	for (size_t i = 0; i < ARRAY_LEN(trainer_faults); i++)
		if (strcasestr(message, trainer_faults[i].needle) && strcasestr(message, trainer_faults[i].where))
			return err_set(e, ERR_TRAINER, "cannot start the container: %s (%s)", trainer_faults[i].says,
			               message);
	return err_set(e, ERR_IO, "%s could not start the container: %s", program, message);
}

/* --- starting and deleting --- */

static const char *leaf_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static int read_pid(const char *path, pid_t *ret, struct err *e)
{
	_cleanup_buf_ struct buf b = { 0 };
	uint64_t n;

	if (file_read(path, 64, &b, e) < 0)
		return -1;
	if (!str_to_u64(str_trim(buf_view(&b)), &n) || n == 0 || n > INT32_MAX)
		return err_set(e, ERR_IO, "%s holds no process id", path);
	*ret = (pid_t)n;
	return 0;
}

static int how_it_ended(const struct runtime *r, int status, const char *log, struct err *e)
{
	_cleanup_free_ char *message = last_log_error(log);

	if (message)
		return runtime_error(leaf_of(r->path), message, e);
	if (WIFSIGNALED(status))
		return err_set(e, ERR_IO, "%s was killed by signal %d", r->path, WTERMSIG(status));
	return err_set(e, ERR_IO, "%s ended with status %d and gave no reason", r->path, WEXITSTATUS(status));
}

/* Makes the container; `create` leaves its first process at the door. */
static int make(const struct runtime *r, bool create, const struct runtime_order *c, pid_t *ret_pid, struct err *e)
{
	_cleanup_free_ char *log = strf("%s/runtime.log", c->bundle_dir);
	_cleanup_free_ char *pid_file = strf("%s/pid", c->bundle_dir);
	const char *const run[] = { "run", "--detach", NULL }, *const just[] = { "create", NULL };
	const char *argv[20] = { r->path, "--root", c->state_dir, "--log", log, "--log-format", "json" };
	const struct spawn_options o = {
		.argv = argv, .in = -1, .out = c->out_fd, .err_fd = c->err_fd, .die_with_parent = true, .setsid = true
	};
	const char *const rest[] = { "--bundle", c->bundle_dir, "--pid-file", pid_file, c->id };
	size_t n = 7;
	int status;

	for (const char *const *v = create ? just : run; *v; v++)
		argv[n++] = *v;
	for (size_t i = 0; i < ARRAY_LEN(rest); i++)
		argv[n++] = rest[i];

	if ((unlink(log) < 0 || unlink(pid_file) < 0) && errno != ENOENT)
		return err_sys(e, "removing what a former start left in %s", c->bundle_dir);
	if (spawn_wait(&o, NULL, 0, &status, e) < 0)
		return err_in(e, "starting the container");
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return how_it_ended(r, status, log, e);
	return read_pid(pid_file, ret_pid, e);
}

int runtime_run(const struct runtime *r, const struct runtime_order *c, pid_t *ret_pid, struct err *e)
{
	return make(r, false, c, ret_pid, e);
}

int runtime_create(const struct runtime *r, const struct runtime_order *c, pid_t *ret_pid, struct err *e)
{
	return make(r, true, c, ret_pid, e);
}

int runtime_start(const struct runtime *r, const struct runtime_order *c, struct err *e)
{
	_cleanup_free_ char *log = strf("%s/runtime.log", c->bundle_dir);
	const char *const argv[] = { r->path,        "--root", c->state_dir, "--log", log,
		                     "--log-format", "json",   "start",      c->id,   NULL };
	const struct spawn_options o = { .argv = argv, .in = -1, .out = -1, .err_fd = -1, .die_with_parent = true };
	int status;

	if (spawn_wait(&o, NULL, 0, &status, e) < 0)
		return err_in(e, "starting the container");
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : how_it_ended(r, status, log, e);
}

/* The first process by the runtime's own note of it; 0 when there is none. */
static pid_t noted_pid(const char *entry)
{
	static const struct {
		const char *file, *key;
	} notes[] = { { "state.json", "init_process_pid" }, { "status", "pid" } }; /* runc, crun */
	pid_t pid = 0;

	for (size_t i = 0; i < ARRAY_LEN(notes) && !pid; i++) {
		_cleanup_free_ char *path = strf("%s/%s", entry, notes[i].file);
		_cleanup_buf_ struct buf b = { 0 };
		json_t *j;

		if (file_read(path, STATE_MAX_BYTES, &b, NULL) < 0)
			continue;
		j = json_loadb(b.p, b.n, 0, NULL);
		pid = (pid_t)json_integer_value(json_object_get(j, notes[i].key));
		json_decref(j);
	}
	return pid;
}

/* Nothing of the container runs: its first process has been reaped, so its pid namespace is empty. */
static bool has_ended(const char *entry)
{
	pid_t pid = noted_pid(entry);

	return pid > 0 && kill(pid, 0) < 0 && errno == ESRCH;
}

int runtime_delete(const struct runtime *r, const char *state_dir, const char *id, struct err *e)
{
	_cleanup_free_ char *entry = strf("%s/%s", state_dir, id);
	const char *const argv[] = { r->path, "--root", state_dir, "delete", "--force", id, NULL };
	const struct spawn_options o = { .argv = argv, .in = -1, .out = -1, .err_fd = -1, .die_with_parent = true };
	_cleanup_buf_ struct buf output = { 0 };
	int status;

	if (access(entry, F_OK) < 0)
		return errno == ENOENT ? 0 : err_sys(e, "looking at %s", entry);
	if (has_ended(entry)) /* the usual end: the runtime would only remove its note, at the price of a process */
		return remove_tree(AT_FDCWD, entry, e);
	if (spawn_wait(&o, &output, OUTPUT_MAX_BYTES, &status, e) < 0)
		return err_in(e, "deleting the container %s", id);
	/* A half-made entry makes the runtimes fail although nothing runs; the cgroup is the caller's to destroy. */
	return remove_tree(AT_FDCWD, entry, e);
}

/* --- probing --- */

/* A program of a few bytes that ends with status 0, so that the probe needs nothing from the machine. */
static void tiny_program(struct buf *b)
{
#if defined(__x86_64__)
	static const unsigned char code[] = { 0x31, 0xff, 0xb8, 0x3c, 0, 0, 0, 0x0f, 0x05 }; /* exit(0) */
	const uint16_t machine = EM_X86_64;
#elif defined(__aarch64__)
	static const unsigned char code[] = { 0, 0, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 1, 0, 0, 0xd4 };
	const uint16_t machine = EM_AARCH64;
#endif
	const uint64_t base = 0x400000, start = sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr);
	const Elf64_Ehdr header = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_EXEC,
		.e_machine = machine,
		.e_version = EV_CURRENT,
		.e_entry = base + start,
		.e_phoff = sizeof(Elf64_Ehdr),
		.e_ehsize = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 1,
	};
	const Elf64_Phdr segment = {
		.p_type = PT_LOAD,
		.p_flags = PF_R | PF_X,
		.p_vaddr = base,
		.p_paddr = base,
		.p_filesz = start + sizeof(code),
		.p_memsz = start + sizeof(code),
		.p_align = 0x1000,
	};

	buf_add(b, &header, sizeof(header));
	buf_add(b, &segment, sizeof(segment));
	buf_add(b, code, sizeof(code));
}

static int write_probe_bundle(const char *dir, const char *id, struct err *e)
{
	_cleanup_free_ char *rootfs = strf("%s/rootfs", dir);
	_cleanup_free_ char *program = strf("%s/train", rootfs);
	_cleanup_free_ char *config = strf("%s/config.json", dir);
	_cleanup_free_ char *cgroup = strf("/bloomery/%s", id);
	_cleanup_free_ char *text = NULL;
	_cleanup_buf_ struct buf elf = { 0 };
	static const char *const args[] = { "/train", NULL }, *const env[] = { "PATH=/", NULL };
	const struct image image = { .working_dir = (char[]){ "/" }, .user = (char[]){ "" } };
	const struct bundle_options o = {
		.rootfs = rootfs,
		.image = &image,
		.args = args,
		.env = env,
		.hostname = "probe",
		.cgroup = cgroup,
		.cpus = 1,
		.memory_bytes = 256 << 20,
		.pids = 64,
		.own_network = true,
	};
	json_t *j;

	tiny_program(&elf);
	if (mkdir_all(AT_FDCWD, rootfs, 0755, e) < 0 || file_put(AT_FDCWD, program, buf_view(&elf), 0755, e) < 0 ||
	    bundle_config(&o, &j, e) < 0)
		return -1;
	text = json_dumps(j, 0);
	json_decref(j);
	return file_put(AT_FDCWD, config, str_of(text), 0600, e);
}

/* "runc version 1.1.5+ds1\n..." or "crun version 1.8.1\n..." to "runc 1.1.5+ds1". */
static char *short_version(const char *path, struct str output)
{
	struct str line = str_trim(str_cut(&output, '\n'));
	struct str last = str_cut_last(&line, ' ');

	return strf("%s " PRIstr, leaf_of(path), ARGstr(last));
}

static int run_probe(const char *path, const char *dir, const char *id, struct err *e)
{
	_cleanup_free_ char *state = strf("%s/state", dir);
	_cleanup_free_ char *log = strf("%s/%s.log", dir, leaf_of(path));
	const char *const argv[] = { path,   "--root", state,      "--log", log, "--log-format",
		                     "json", "run",    "--bundle", dir,     id,  NULL };
	const struct spawn_options o = { .argv = argv, .in = -1, .out = -1, .err_fd = -1, .die_with_parent = true };
	const struct runtime r = { .path = (char *)path };
	int status;

	if (spawn_wait(&o, NULL, 0, &status, e) < 0)
		return -1;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : how_it_ended(&r, status, log, e);
}

static int try_runtime(const char *path, const char *dir, const char *id, struct runtime *ret, struct err *e)
{
	const char *const argv[] = { path, "--version", NULL };
	const struct spawn_options o = { .argv = argv, .in = -1, .out = -1, .err_fd = -1, .die_with_parent = true };
	_cleanup_buf_ struct buf version = { 0 };
	_cleanup_free_ char *cgroup = strf("/bloomery/%s", id);
	int status, rc;

	buf_init(&version);
	if (spawn_wait(&o, &version, OUTPUT_MAX_BYTES, &status, e) < 0)
		return -1;
	rc = run_probe(path, dir, id, e);
	if (cgroup_destroy(cgroup, rc < 0 ? NULL : e) < 0 || rc < 0)
		return -1;
	*ret = (struct runtime){ xstrdup(path), short_version(path, buf_view(&version)), cgroup_version() };
	return 0;
}

static const char *const names[] = { "runc", "crun" };

/* The program on PATH or in the places where systems keep it; NULL when it is nowhere. */
static char *find_program(const char *name)
{
	const char *path = getenv("PATH");
	_cleanup_free_ char *all = strf("%s:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	                                path ? path : "");
	struct str rest = str_of(all);

	while (rest.n) {
		struct str dir = str_cut(&rest, ':');
		_cleanup_free_ char *file = strf(PRIstr "/%s", ARGstr(dir), name);

		if (dir.n && dir.p[0] == '/' && access(file, X_OK) == 0)
			return take_ptr(file);
	}
	return NULL;
}

static int probe_each(const char *dir, struct runtime *ret, struct err *e)
{
	_cleanup_free_ char *id = strf("probe-%d", (int)getpid());
	_cleanup_buf_ struct buf tried = { 0 };

	buf_init(&tried);
	if (write_probe_bundle(dir, id, e) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		_cleanup_free_ char *path = find_program(names[i]);
		struct err why = { 0 };
		char text[ERR_FRAME_BYTES];

		if (path && try_runtime(path, dir, id, ret, &why) == 0)
			return 0;
		buf_f(&tried, "%s%s: %s", i ? "; " : "", path ? path : names[i],
		      path ? err_text(&why, text, sizeof(text)) : "not installed");
	}
	return err_set(e, ERR_IO, "no container runtime works here (%s); on Debian: apt-get install runc", tried.p);
}

int runtime_probe(const char *scratch_dir, struct runtime *ret, struct err *e)
{
	_cleanup_free_ char *dir = strf("%s/probe-%d", scratch_dir, (int)getpid());
	_cleanup_free_ char *real = NULL;
	int rc;

	if (cgroup_version() == 2 && cgroup_delegate("/sys/fs/cgroup", "cpu memory pids", NULL) < 0)
		(void)0; /* then the runtime says what it misses */
	if (mkdir_all(AT_FDCWD, dir, 0700, e) < 0)
		return err_in(e, "probing the container runtime");
	real = realpath(dir, NULL);
	rc = real ? probe_each(real, ret, e) : err_sys(e, "%s", dir);
	if (remove_tree(AT_FDCWD, dir, rc < 0 ? NULL : e) < 0 && rc == 0) {
		runtime_fini(ret);
		rc = -1;
	}
	return rc < 0 ? err_in(e, "probing the container runtime") : 0;
}

/* The file that remembers the runtime lies where another user may replace it, so it can only choose among what a search
 * would find. */
static bool would_be_found(const char *program)
{
	bool found = false;

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		_cleanup_free_ char *path = find_program(names[i]);

		found |= path && strcmp(path, program) == 0;
	}
	return found;
}

int runtime_save(const char *path, const struct runtime *r, struct err *e)
{
	_cleanup_free_ char *text = NULL;
	struct stat st;
	json_t *j;

	if (stat(r->path, &st) < 0)
		return err_sys(e, "looking at %s", r->path);
	j = json_pack("{s:i, s:s, s:s, s:i, s:I, s:I}", "v", RUNTIME_FILE_VERSION, "path", r->path, "version",
	              r->version, "cgroup_version", r->cgroup_version, "size", (json_int_t)st.st_size, "mtime",
	              (json_int_t)st.st_mtime);
	must(j);
	text = json_dumps(j, JSON_INDENT(1));
	json_decref(j);
	return file_write_atomic(AT_FDCWD, path, str_of(text), 0644, false, e);
}

int runtime_load(const char *path, struct runtime *ret, struct err *e)
{
	_cleanup_buf_ struct buf b = { 0 };
	const char *program = NULL, *version = NULL;
	json_int_t size = 0, mtime = 0;
	int v = 0, cgroups = 0, rc = -1;
	struct stat st;
	json_t *j;

	if (file_read(path, 65536, &b, e) < 0)
		return -1;
	j = json_loadb(b.p, b.n, 0, NULL);
	if (json_unpack(j, "{s:i, s:s, s:s, s:i, s:I, s:I}", "v", &v, "path", &program, "version", &version,
	                "cgroup_version", &cgroups, "size", &size, "mtime", &mtime) < 0 ||
	    v != RUNTIME_FILE_VERSION || !would_be_found(program) || stat(program, &st) < 0 || st.st_size != size ||
	    st.st_mtime != mtime) {
		err_set(e, ERR_NOT_FOUND, "%s does not describe a container runtime that is still there", path);
	} else {
		*ret = (struct runtime){ xstrdup(program), xstrdup(version), cgroups };
		rc = 0;
	}
	json_decref(j);
	return rc;
}
