/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/pull.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "loop/loop.h"
#include "oci/reference.h"

enum { OUTPUT_MAX_BYTES = 256 << 10, REASON_MAX_BYTES = 500, LOOK_EVERY_MS = 500 };

static char *find_skopeo(void)
{
	const char *path = getenv("PATH");
	_cleanup_free_ char *all = strf("%s:/usr/local/bin:/usr/bin:/bin", path ? path : "");
	struct str rest = str_of(all);

	while (rest.n) {
		struct str dir = str_cut(&rest, ':');
		_cleanup_free_ char *file = strf(PRIstr "/skopeo", ARGstr(dir));

		if (dir.n && dir.p[0] == '/' && access(file, X_OK) == 0)
			return take_ptr(file);
	}
	return NULL;
}

static bool is_insecure(const char *reference, const char *insecure)
{
	struct str list = str_of(insecure);
	struct reference r;

	if (reference_parse(str_of(reference), &r, NULL) < 0)
		return false;
	while (list.n)
		if (str_eq_nocase(str_cut(&list, ' '), r.host))
			return r.host.n > 0;
	return false;
}

/* time="..." level=fatal msg="copying system image: ... \"x\" ..." */
char *pull_reason(struct str output)
{
	struct buf b = { 0 };
	struct str last = { 0 };
	ptrdiff_t at;

	buf_init(&b);
	while (output.n) {
		struct str line = str_trim(str_cut(&output, '\n'));

		if (line.n)
			last = line;
	}
	at = str_find(last, STR("msg=\""));
	if (at >= 0) {
		last.p += at + 5;
		last.n -= (size_t)at + 5;
		if (last.n && last.p[last.n - 1] == '"')
			last.n--;
	}
	for (size_t i = 0; i < last.n && b.n < REASON_MAX_BYTES; i++)
		if (last.p[i] != '\\')
			buf_c(&b, last.p[i]);
	return buf_take(&b);
}

static const char cannot_pull[] =
        "Cannot pull algorithm container. Either the image does not exist or its permissions are incorrect.";

/* The bytes in a directory's files, as far as there are any. */
static uint64_t bytes_in(int dirfd, const char *path)
{
	int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	uint64_t sum = 0;
	struct dirent *ent;
	struct stat st;

	if (!d) {
		if (fd >= 0)
			close(fd);
		return 0;
	}
	while ((ent = readdir(d)))
		if (fstatat(fd, ent->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
			sum += (uint64_t)st.st_size;
	closedir(d);
	return sum;
}

/* Waits for skopeo, which itself neither minds how much a registry sends nor how long it sends nothing. */
static int wait_for(const struct pull_options *o, pid_t pid, int dirfd, const char *leaf, int *ret_status,
                    struct err *e)
{
	_cleanup_free_ char *blobs = strf("%s/blobs/sha256", leaf);
	_cleanup_close_ int pidfd = pidfd_open(pid, 0);
	struct mono last = mono_now();
	uint64_t before = 0, now;
	int rc = pidfd < 0 ? err_sys(e, "watching process %d", (int)pid) : 0;

	while (rc == 0) {
		struct pollfd p = { .fd = pidfd, .events = POLLIN };

		if (poll(&p, 1, LOOK_EVERY_MS) < 0 && errno != EINTR)
			rc = err_sys(e, "waiting for process %d", (int)pid);
		if (rc < 0 || p.revents)
			break;
		now = bytes_in(dirfd, leaf) + bytes_in(dirfd, blobs);
		if (now != before)
			last = mono_now();
		before = now;
		if (now > o->max_bytes)
			rc = err_set(e, ERR_CLIENT, "%s (%s: it is larger than %llu bytes, the most there is room for)",
			             cannot_pull, o->reference, (unsigned long long)o->max_bytes);
		else if (mono_ms_since(last) >= o->stall_s * 1000L)
			rc = err_set(e, ERR_CLIENT, "%s (%s: the registry has sent nothing for %u seconds)",
			             cannot_pull, o->reference, o->stall_s);
	}
	if (rc < 0)
		kill(pid, SIGKILL);
	while (waitpid(pid, ret_status, 0) < 0 && errno == EINTR)
		;
	return rc;
}

int pull_layout(const struct pull_options *p, int dirfd, const char *leaf, struct err *e)
{
	_cleanup_free_ char *skopeo = find_skopeo();
	_cleanup_free_ char *from = strf("docker://%s", p->reference), *log_name = strf("%s.log", leaf);
	_cleanup_free_ char *to = strf("oci:%s:image", leaf); /* relative: a ':' in the store's path would end it */
	_cleanup_free_ char *cwd = strf("/proc/self/fd/%d", dirfd), *reason = NULL;
	_cleanup_close_ int log = openat(dirfd, log_name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	const char *argv[16] = { skopeo, "--command-timeout", "2h" };
	const struct spawn_options o = {
		.argv = argv, .in = -1, .out = log, .err_fd = log, .die_with_parent = true, .cwd = cwd
	};
	_cleanup_buf_ struct buf output = { 0 };
	size_t n = 3;
	int status;
	pid_t pid;

	if (log < 0)
		return err_sys(e, "making %s", log_name);
	if (!skopeo)
		return err_set(
		        e, ERR_IO,
		        "pulling images needs skopeo, which is not installed; on Debian: apt-get install skopeo");
	if (access("/etc/containers/policy.json", F_OK) < 0) /* else the machine's own rules hold */
		argv[n++] = "--insecure-policy";
	argv[n++] = "copy";
	argv[n++] = "--quiet";
	if (p->insecure && is_insecure(p->reference, p->insecure))
		argv[n++] = "--src-tls-verify=false";
	argv[n++] = "--";
	argv[n++] = from;
	argv[n++] = to;
	argv[n] = NULL;
	if (spawn(&o, &pid, e) < 0 || wait_for(p, pid, dirfd, leaf, &status, e) < 0)
		return -1;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (file_read_at(dirfd, log_name, OUTPUT_MAX_BYTES, &output, NULL) < 0)
		buf_reset(&output);
	reason = pull_reason(buf_view(&output));
	return err_set(e, ERR_CLIENT, "%s (%s: %s)", cannot_pull, p->reference,
	               *reason ? reason : "skopeo gave no reason");
}
