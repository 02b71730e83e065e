/* A cgroup is one directory in the unified hierarchy, or the same path in each v1 hierarchy. Killing goes through
 * pidfds: a pid is only signalled when it is still listed after its pidfd was opened, so a number that was reused by a
 * stranger in between is left alone, and waiting for the end is waiting for the pidfds.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <linux/magic.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "oci/bundle.h"

enum {
	HIERARCHIES_MAX = 32,
	DEPTH_MAX = 32,
	SMALL_FILE_BYTES = 64 << 10,
	MOUNTINFO_MAX_BYTES = 16 << 20,
	DESTROY_TIMEOUT_MS = 30000, /* then it is a process stuck in the kernel */
	WAIT_SLICE_MS = 1000,
	DELEGATE_TRIES = 16,
	LIMIT_PERIOD_US = 100000, /* the kernel's own; the runtimes write the same */
	BUSY_SLICE_MS = 2         /* rmdir says EBUSY for a moment after the last exit; no event tells when that ends */
};

struct hierarchy {
	char *mount, *controllers; /* "/sys/fs/cgroup/memory", "rw,memory" */
	bool unified;
};

struct hierarchies {
	struct hierarchy at[HIERARCHIES_MAX];
	size_t n;
};

static void hierarchies_fini(struct hierarchies *h)
{
	for (size_t i = 0; i < h->n; i++) {
		free(h->at[i].mount);
		free(h->at[i].controllers);
	}
}

int cgroup_version(void)
{
	struct statfs fs;

	return statfs("/sys/fs/cgroup", &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC ? 2 : 1;
}

/* 36 35 98:0 /root /mount/point rw,noatime shared:1 - type source super,options */
static void add_hierarchy(struct str line, struct hierarchies *h)
{
	ptrdiff_t dash = str_find(line, STR(" - "));
	struct str left = line, type, mount;
	bool unified;

	if (dash < 0 || h->n == HIERARCHIES_MAX)
		return;
	for (int i = 0; i < 4; i++)
		str_cut(&left, ' ');
	mount = str_cut(&left, ' ');
	line.p += dash + 3;
	line.n -= (size_t)dash + 3;
	type = str_cut(&line, ' ');
	unified = str_is(type, "cgroup2");
	if (!unified && !str_is(type, "cgroup"))
		return;
	str_cut(&line, ' ');
	h->at[h->n++] = (struct hierarchy){ .mount = str_dup(mount), .controllers = str_dup(line), .unified = unified };
}

static int read_hierarchies(struct hierarchies *h, struct err *e)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct str rest;

	h->n = 0;
	if (file_read("/proc/self/mountinfo", MOUNTINFO_MAX_BYTES, &b, e) < 0)
		return err_in(e, "looking for the cgroup hierarchies");
	for (rest = buf_view(&b); rest.n;)
		add_hierarchy(str_cut(&rest, '\n'), h);
	return h->n ? 0 : err_set(e, ERR_IO, "no cgroup hierarchy is mounted; limits and clean-up need one");
}

static bool has_word(const char *list, const char *word)
{
	struct str rest = str_of(list);

	while (rest.n)
		if (str_is(str_cut(&rest, ','), word))
			return true;
	return false;
}

/* The mount of a controller; NULL when it is not mounted. In the unified hierarchy every controller's. */
static const struct hierarchy *of_controller(const struct hierarchies *h, const char *controller)
{
	int version = cgroup_version();

	for (size_t i = 0; i < h->n; i++)
		if (version == 2 ? h->at[i].unified : !h->at[i].unified && has_word(h->at[i].controllers, controller))
			return &h->at[i];
	return NULL;
}

bool cgroup_limits_swap(void)
{
	struct hierarchies h;
	const struct hierarchy *memory;
	_cleanup_free_ char *path = NULL;
	bool yes = true; /* unified: the runtimes cope with a missing memory.swap.max */

	if (cgroup_version() == 2)
		return true;
	if (read_hierarchies(&h, NULL) < 0)
		return false;
	memory = of_controller(&h, "memory");
	if (memory) {
		path = strf("%s/memory.memsw.limit_in_bytes", memory->mount);
		yes = access(path, F_OK) == 0;
	}
	hierarchies_fini(&h);
	return yes;
}

static int check_path(const char *cgroup, struct err *e)
{
	struct str rest = str_of(cgroup);
	bool any = false;

	if (!str_skip(&rest, STR("/")))
		return err_set(e, ERR_BUG, "the cgroup '%s' is not an absolute path", cgroup);
	while (rest.n) {
		struct str step = str_cut(&rest, '/');

		if (step.n == 0 || str_is(step, ".") || str_is(step, ".."))
			return err_set(e, ERR_BUG, "the cgroup '%s' is not a clean path", cgroup);
		any = true;
	}
	return any ? 0 : err_set(e, ERR_BUG, "the root cgroup is not ours");
}

static bool read_small(const struct hierarchy *h, const char *cgroup, const char *file, struct buf *b)
{
	_cleanup_free_ char *path = h ? strf("%s%s/%s", h->mount, cgroup, file) : NULL;

	buf_reset(b);
	return path && file_read(path, SMALL_FILE_BYTES, b, NULL) == 0;
}

/* A file with one number; 0 when there is none or it says "max" (or v1's way of saying so). */
static uint64_t read_number(const struct hierarchy *h, const char *cgroup, const char *file)
{
	_cleanup_buf_ struct buf b = { 0 };
	uint64_t n;

	buf_init(&b);
	if (!read_small(h, cgroup, file, &b) || !str_to_u64(str_trim(buf_view(&b)), &n) || n >= UINT64_C(1) << 62)
		return 0;
	return n;
}

/* A file of "key number" lines. */
static uint64_t read_key(const struct hierarchy *h, const char *cgroup, const char *file, const char *key)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct str rest;
	uint64_t n;

	buf_init(&b);
	if (!read_small(h, cgroup, file, &b))
		return 0;
	for (rest = buf_view(&b); rest.n;) {
		struct str line = str_cut(&rest, '\n');

		if (str_is(str_cut(&line, ' '), key) && str_to_u64(str_trim(line), &n))
			return n;
	}
	return 0;
}

static bool exists(const struct hierarchies *h, const char *cgroup)
{
	for (size_t i = 0; i < h->n; i++) {
		_cleanup_free_ char *dir = strf("%s%s", h->at[i].mount, cgroup);

		if (access(dir, F_OK) == 0)
			return true;
	}
	return false;
}

bool cgroup_exists(const char *cgroup)
{
	struct hierarchies h;
	struct err ignored = { 0 };
	bool yes = true;

	if (check_path(cgroup, &ignored) < 0)
		return true;
	if (read_hierarchies(&h, &ignored) == 0)
		yes = exists(&h, cgroup);
	hierarchies_fini(&h);
	return yes;
}

int cgroup_stats(const char *cgroup, struct cgroup_stats *ret, struct err *e)
{
	struct hierarchies h;
	const struct hierarchy *memory, *pids, *cpu;
	bool v2 = cgroup_version() == 2;

	if (check_path(cgroup, e) < 0 || read_hierarchies(&h, e) < 0)
		return -1;
	if (!exists(&h, cgroup)) {
		hierarchies_fini(&h);
		return err_set(e, ERR_NOT_FOUND, "there is no cgroup %s", cgroup);
	}
	memory = of_controller(&h, "memory");
	pids = of_controller(&h, "pids");
	cpu = of_controller(&h, "cpuacct");
	*ret = (struct cgroup_stats){
		.oom_kills = read_key(memory, cgroup, v2 ? "memory.events" : "memory.oom_control", "oom_kill"),
		.memory_peak_bytes = read_number(memory, cgroup, v2 ? "memory.peak" : "memory.max_usage_in_bytes"),
		.memory_limit_bytes = read_number(memory, cgroup, v2 ? "memory.max" : "memory.limit_in_bytes"),
		.pids_max_hits = read_key(pids, cgroup, "pids.events", "max"),
		.cpu_usec = v2 ? read_key(cpu, cgroup, "cpu.stat", "usage_usec")
		               : read_number(cpu, cgroup, "cpuacct.usage") / 1000,
	};
	if (v2 && !ret->memory_peak_bytes) /* before Linux 5.19 */
		ret->memory_peak_bytes = read_number(memory, cgroup, "memory.current");
	hierarchies_fini(&h);
	return 0;
}

int cgroup_open(const char *cgroup, const char *controller)
{
	_cleanup_free_ char *path = NULL;
	const struct hierarchy *of;
	struct hierarchies h;

	if (check_path(cgroup, NULL) < 0 || read_hierarchies(&h, NULL) < 0)
		return -1;
	of = of_controller(&h, controller);
	path = of ? strf("%s%s", of->mount, cgroup) : NULL;
	hierarchies_fini(&h);
	return path ? open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
}

struct pids {
	pid_t *at;
	size_t n;
};

static void add_procs(int dir, struct pids *out)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct str rest;
	uint64_t pid;

	buf_init(&b);
	if (file_read_at(dir, "cgroup.procs", 4 << 20, &b, NULL) < 0)
		return;
	for (rest = buf_view(&b); rest.n;) {
		if (!str_to_u64(str_cut(&rest, '\n'), &pid) || pid == 0) /* 0: of a pid namespace above ours */
			continue;
		out->at = xrealloc(out->at, (out->n + 1) * sizeof(*out->at));
		out->at[out->n++] = (pid_t)pid;
	}
}

/* Calls fn for the directory at `path` (of dirfd) and those below, deepest first. */
static void each_below(int dirfd, const char *path, int depth,
                       void (*fn)(void *arg, int parent, const char *name, int dir), void *arg)
{
	_cleanup_close_ int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int copy = fd < 0 ? -1 : openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *ent;

	if (!d) {
		if (copy >= 0)
			close(copy);
		return;
	}
	while (depth < DEPTH_MAX && (ent = readdir(d)))
		if (ent->d_type == DT_DIR && strcmp(ent->d_name, ".") && strcmp(ent->d_name, ".."))
			each_below(fd, ent->d_name, depth + 1, fn, arg);
	closedir(d);
	fn(arg, dirfd, path, fd);
}

static void collect_one(void *arg, int parent, const char *name, int dir)
{
	(void)parent, (void)name;
	add_procs(dir, arg);
}

static struct pids collect(const struct hierarchies *h, const char *cgroup)
{
	struct pids all = { 0 };

	for (size_t i = 0; i < h->n; i++) {
		_cleanup_free_ char *dir = strf("%s%s", h->at[i].mount, cgroup);

		each_below(AT_FDCWD, dir, 0, collect_one, &all);
	}
	return all;
}

static bool listed(const struct pids *p, pid_t pid)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->at[i] == pid)
			return true;
	return false;
}

static int compare_pids(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return x < y ? -1 : x > y;
}

static void sort_unique(struct pids *p)
{
	size_t n = 0;

	if (p->n)
		qsort(p->at, p->n, sizeof(*p->at), compare_pids);
	for (size_t i = 0; i < p->n; i++)
		if (n == 0 || p->at[n - 1] != p->at[i])
			p->at[n++] = p->at[i];
	p->n = n;
}

/* Signals every process listed now; waits up to wait_ms for them to end. Returns how many were listed. */
static size_t signal_round(const struct hierarchies *h, const char *cgroup, int signo, int wait_ms)
{
	struct pids before = collect(h, cgroup), after;
	_cleanup_free_ struct pollfd *fds = NULL;
	struct mono start = mono_now();
	size_t n;

	sort_unique(&before);
	n = before.n;
	fds = xcalloc(n + 1, sizeof(*fds));
	for (size_t i = 0; i < n; i++)
		fds[i] = (struct pollfd){ (int)syscall(SYS_pidfd_open, before.at[i], 0), POLLIN, 0 };
	after = n ? collect(h, cgroup) : (struct pids){ 0 };
	for (size_t i = 0; i < n; i++)
		if (fds[i].fd >= 0 && listed(&after, before.at[i]))
			(void)syscall(SYS_pidfd_send_signal, fds[i].fd, signo, NULL, 0);
	for (size_t i = 0; i < n && wait_ms; i++) {
		int64_t left = wait_ms - mono_ms_since(start);

		if (fds[i].fd >= 0 && listed(&after, before.at[i]))
			(void)poll(&fds[i], 1, left > 0 ? (int)left : 0);
	}
	for (size_t i = 0; i < n; i++)
		if (fds[i].fd >= 0)
			close(fds[i].fd);
	free(before.at);
	free(after.at);
	return n;
}

int cgroup_signal(const char *cgroup, int signo, struct err *e)
{
	struct hierarchies h;

	if (check_path(cgroup, e) < 0 || read_hierarchies(&h, e) < 0)
		return -1;
	signal_round(&h, cgroup, signo, 0);
	hierarchies_fini(&h);
	return 0;
}

/* Writes to a control file where there is one. */
static void control(const struct hierarchy *h, const char *cgroup, const char *file, struct str text)
{
	_cleanup_free_ char *path = h ? strf("%s%s/%s", h->mount, cgroup, file) : NULL;
	_cleanup_close_ int fd = path ? open(path, O_WRONLY | O_CLOEXEC) : -EBADF;

	if (fd >= 0 && write(fd, text.p, text.n) < 0)
		return; /* what matters is looked at afterwards */
}

/* One attempt at an empty cgroup; true while anything was found alive in it. cgroup.kill takes all at once; in v1 what
 * keeps forking faster than it is killed is frozen for the second attempt (a frozen process dies when it is thawed). */
static bool kill_round(const struct hierarchies *h, const char *cgroup, bool again)
{
	const struct hierarchy *freezer = cgroup_version() == 1 && again ? of_controller(h, "freezer") : NULL;

	for (size_t i = 0; i < h->n; i++)
		if (h->at[i].unified)
			control(&h->at[i], cgroup, "cgroup.kill", STR("1"));
	if (freezer) {
		control(freezer, cgroup, "freezer.state", STR("FROZEN"));
		signal_round(h, cgroup, SIGKILL, 0);
		control(freezer, cgroup, "freezer.state", STR("THAWED"));
	}
	return signal_round(h, cgroup, SIGKILL, WAIT_SLICE_MS) > 0;
}

static void remove_one(void *arg, int parent, const char *name, int dir)
{
	bool *busy = arg;

	(void)dir;
	if (unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		*busy = true;
}

static bool remove_dirs(const struct hierarchies *h, const char *cgroup)
{
	bool busy = false;

	for (size_t i = 0; i < h->n; i++) {
		_cleanup_free_ char *dir = strf("%s%s", h->at[i].mount, cgroup);

		each_below(AT_FDCWD, dir, 0, remove_one, &busy);
	}
	return !busy;
}

int cgroup_destroy(const char *cgroup, struct err *e)
{
	struct mono start = mono_now();
	struct hierarchies h;
	bool done = false, again = false;

	if (check_path(cgroup, e) < 0 || read_hierarchies(&h, e) < 0)
		return -1;
	while (!done && mono_ms_since(start) < DESTROY_TIMEOUT_MS) {
		if (!exists(&h, cgroup)) {
			done = true;
		} else if (kill_round(&h, cgroup, again)) {
			again = true;
		} else {
			done = remove_dirs(&h, cgroup);
			if (!done)
				(void)poll(NULL, 0, BUSY_SLICE_MS);
		}
	}
	hierarchies_fini(&h);
	return done ? 0
	            : err_set(e, ERR_IO,
	                      "processes in the cgroup %s did not end within %d s of being killed; they hang in the "
	                      "kernel",
	                      cgroup, DESTROY_TIMEOUT_MS / 1000);
}

static bool file_has_word(const char *dir, const char *file, struct str word)
{
	_cleanup_free_ char *path = strf("%s/%s", dir, file);
	_cleanup_buf_ struct buf b = { 0 };
	struct str rest;

	buf_init(&b);
	if (file_read(path, SMALL_FILE_BYTES, &b, NULL) < 0)
		return false;
	for (rest = str_trim(buf_view(&b)); rest.n;)
		if (str_eq(str_cut(&rest, ' '), word))
			return true;
	return false;
}

static int write_control(const char *path, const char *text)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd < 0 || write(fd, text, strlen(text)) < 0 ? -1 : 0;
}

/* Moves every process that is in the cgroup itself to its child "init". Those that are born meanwhile are for the next
 * try. */
static int move_to_child(const char *dir, struct err *e)
{
	_cleanup_free_ char *child = strf("%s/init", dir), *procs = strf("%s/init/cgroup.procs", dir);
	_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct pids here = { 0 };

	if (fd < 0 || (mkdir(child, 0755) < 0 && errno != EEXIST))
		return err_sys(e, "making the cgroup %s", child);
	add_procs(fd, &here);
	for (size_t i = 0; i < here.n; i++) {
		_cleanup_free_ char *pid = strf("%d", (int)here.at[i]);

		(void)write_control(procs, pid); /* it may have ended; whether all have left shows in the next try */
	}
	free(here.at);
	return 0;
}

int cgroup_delegate(const char *dir, const char *controllers, struct err *e)
{
	_cleanup_free_ char *path = strf("%s/cgroup.subtree_control", dir);
	struct str rest = str_of(controllers);

	while (rest.n) {
		struct str name = str_cut(&rest, ' ');
		_cleanup_free_ char *enable = strf("+" PRIstr, ARGstr(name));
		int rc = -1;

		if (!file_has_word(dir, "cgroup.controllers", name) ||
		    file_has_word(dir, "cgroup.subtree_control", name))
			continue;
		for (int i = 0; i < DELEGATE_TRIES && rc < 0; i++) {
			rc = write_control(path, enable);
			if (rc < 0 && errno != EBUSY)
				break;
			if (rc < 0 && move_to_child(dir, e) < 0)
				return -1;
		}
		if (rc < 0)
			return err_sys(e, "enabling the controller " PRIstr " below the cgroup %s", ARGstr(name), dir);
	}
	return 0;
}

struct limit {
	const char *controller, *file;
	char *value; /* owned */
};

static int write_limit(const struct hierarchies *h, const char *cgroup, const struct limit *l, struct err *e)
{
	const struct hierarchy *of = of_controller(h, l->controller);
	_cleanup_free_ char *path = of ? strf("%s%s/%s", of->mount, cgroup, l->file) : NULL;

	if (!path)
		return err_set(e, ERR_NOT_FOUND, "there is no cgroup controller %s", l->controller);
	return write_control(path, l->value) < 0 ? err_sys(e, "writing %s", path) : 0;
}

int cgroup_limit(const char *cgroup, double cpus, uint64_t memory_bytes, uint64_t pids, struct err *e)
{
	bool v2 = cgroup_version() == 2;
	long long quota = (long long)(cpus * LIMIT_PERIOD_US);
	struct limit limits[] = {
		{ "memory", v2 ? "memory.max" : "memory.limit_in_bytes",
		  strf("%llu", (unsigned long long)memory_bytes) },
		{ "pids", "pids.max", strf("%llu", (unsigned long long)pids) },
		{ "cpu", v2 ? "cpu.max" : "cpu.cfs_quota_us",
		  v2 ? strf("%lld %d", quota, LIMIT_PERIOD_US) : strf("%lld", quota) },
	};
	struct hierarchies h = { 0 };
	int rc = check_path(cgroup, e) < 0 || read_hierarchies(&h, e) < 0 ? -1 : 0;

	for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
		if (rc == 0)
			rc = write_limit(&h, cgroup, &limits[i], e);
		free(limits[i].value);
	}
	hierarchies_fini(&h);
	return rc;
}
