/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/pull.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "loop/loop.h"
#include "oci/reference.h"
#include "oci/registry.h"

enum { OUTPUT_MAX_BYTES = 256 << 10, REASON_MAX_BYTES = 500, LOOK_EVERY_MS = 500, CA_MAX_BYTES = 4 << 20 };

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

/* time="..." level=fatal msg="copying system image: ... \"x\" ..." */
char *pull_reason(struct str output)
{
	_cleanup_buf_ struct buf clean = { 0 };
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
	log_clean(&clean, last); /* a registry may have sent us elsewhere with a signed URL */
	last = buf_view(&clean);
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
static int wait_for(const struct pull_options *o, const char *reference, pid_t pid, int dirfd, const char *leaf,
                    int *ret_status, struct err *e)
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
			rc = err_set(e, ERR_CLIENT, "%s: it is larger than %llu bytes, the most there is room for",
			             reference, (unsigned long long)o->max_bytes);
		else if (mono_ms_since(last) >= o->stall_s * 1000L)
			rc = err_set(e, ERR_CLIENT, "%s: the registry has sent nothing for %u seconds", reference,
			             o->stall_s);
	}
	if (rc < 0)
		kill(pid, SIGKILL);
	while (waitpid(pid, ret_status, 0) < 0 && errno == EINTR)
		;
	return rc;
}

/* ---- one place ---- */

/* A directory of the authority's certificates, as skopeo wants it. */
static int write_certs(const struct registry_source *s, int dirfd, const char *certs, struct err *e)
{
	_cleanup_free_ char *leaf = strf("%s/ca.crt", certs);
	_cleanup_buf_ struct buf text = { 0 };
	_cleanup_close_ int fd = -EBADF;
	struct err why = { 0 };
	char words[512];

	if (file_read(s->ca, CA_MAX_BYTES, &text, &why) < 0)
		return err_set(e, ERR_CLIENT, "registry_ca.%s: %s", s->host, err_text(&why, words, sizeof(words)));
	if (str_find(buf_view(&text), STR("-----BEGIN CERTIFICATE-----")) < 0)
		return err_set(e, ERR_CLIENT, "registry_ca.%s: %s has no certificate (-----BEGIN CERTIFICATE-----)",
		               s->host, s->ca);
	if (mkdirat(dirfd, certs, 0700) < 0)
		return err_sys(e, "making %s", certs);
	fd = openat(dirfd, leaf, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return fd < 0 ? err_sys(e, "making %s", leaf) : fd_write_all(fd, text.p, text.n, e);
}

/* What is left of a place that did not give the image. */
static int clear(int dirfd, const char *leaf, struct err *e)
{
	static const char *const endings[] = { "", ".log", ".certs" };

	for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
		_cleanup_free_ char *path = strf("%s%s", leaf, endings[i]);

		if (remove_tree(dirfd, path, e) < 0)
			return -1;
	}
	return 0;
}

static int say_why(const struct registry_source *s, int dirfd, const char *log, struct err *e)
{
	_cleanup_buf_ struct buf output = { 0 };
	_cleanup_free_ char *reason = NULL, *advice = NULL;

	if (file_read_at(dirfd, log, OUTPUT_MAX_BYTES, &output, NULL) < 0)
		buf_reset(&output);
	reason = pull_reason(buf_view(&output));
	advice = registry_advice(s, reason);
	return err_set(e, ERR_CLIENT, "%s: %s%s%s", s->reference, *reason ? reason : "skopeo gave no reason",
	               advice ? "; " : "", advice ? advice : "");
}

/* The line that is a digest, among what else skopeo has to say. */
static int read_digest(const struct pull_options *p, const struct registry_source *s, int dirfd, const char *log,
                       struct err *e)
{
	_cleanup_buf_ struct buf output = { 0 };
	struct str rest;

	if (file_read_at(dirfd, log, OUTPUT_MAX_BYTES, &output, e) < 0)
		return -1;
	rest = buf_view(&output);
	while (rest.n) {
		struct str line = str_trim(str_cut(&rest, '\n'));

		if (!digest_valid(line))
			continue;
		buf_str(p->ret_digest, line);
		return 0;
	}
	return err_set(e, ERR_CLIENT, "%s: the registry says no digest", s->reference);
}

/* What is the same for copying and asking, with the names that options have there. */
static size_t add_access(const struct registry_source *s, bool copies, const char *auth, const char *certs,
                         const char **argv)
{
	size_t n = 0;

	if (s->insecure)
		argv[n++] = copies ? "--src-tls-verify=false" : "--tls-verify=false";
	if (s->auth_fd >= 0) {
		argv[n++] = copies ? "--src-authfile" : "--authfile";
		argv[n++] = auth;
	}
	if (s->ca) {
		argv[n++] = copies ? "--src-cert-dir" : "--cert-dir";
		argv[n++] = certs;
	}
	return n;
}

static int pull_from(const struct pull_options *p, const struct registry_source *s, const char *skopeo, int dirfd,
                     const char *leaf, struct err *e)
{
	_cleanup_free_ char *from = strf("docker://%s", s->reference), *log_name = strf("%s.log", leaf);
	_cleanup_free_ char *to = strf("oci:%s:image", leaf); /* relative: a ':' in the store's path would end it */
	_cleanup_free_ char *cwd = strf("/proc/self/fd/%d", dirfd), *certs = strf("%s.certs", leaf);
	_cleanup_free_ char *auth = strf("/proc/self/fd/%d", s->auth_fd);
	_cleanup_close_ int log = openat(dirfd, log_name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	const char *argv[20] = { skopeo, "--command-timeout", "2h" };
	const struct spawn_options o = { .argv = argv,
		                         .in = -1,
		                         .out = log,
		                         .err_fd = log,
		                         .keep = &s->auth_fd,
		                         .keep_count = s->auth_fd >= 0,
		                         .die_with_parent = true,
		                         .cwd = cwd };
	bool copies = !p->ret_digest;
	size_t n = 3;
	int status;
	pid_t pid;

	if (log < 0)
		return err_sys(e, "making %s", log_name);
	if (s->ca && write_certs(s, dirfd, certs, e) < 0)
		return -1;
	if (access("/etc/containers/policy.json", F_OK) < 0) /* else the machine's own rules hold */
		argv[n++] = "--insecure-policy";
	argv[n++] = copies ? "copy" : "inspect";
	argv[n++] = copies ? "--quiet" : "--no-tags";
	if (!copies)
		argv[n++] = "--format={{.Digest}}";
	n += add_access(s, copies, auth, certs, argv + n);
	argv[n++] = "--";
	argv[n++] = from;
	argv[n++] = copies ? to : NULL;
	argv[n] = NULL;
	if (spawn(&o, &pid, e) < 0 || wait_for(p, s->reference, pid, dirfd, leaf, &status, e) < 0)
		return -1;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return say_why(s, dirfd, log_name, e);
	return copies ? 0 : read_digest(p, s, dirfd, log_name, e);
}

/* ---- all places ---- */

static int pull_from_any(const struct pull_options *p, const struct registry_sources *all, const char *skopeo,
                         int dirfd, const char *leaf, struct err *e)
{
	_cleanup_buf_ struct buf before = { 0 };

	for (size_t i = 0; i < all->n; i++) {
		struct err why = { 0 };
		char words[1024];

		if (i && clear(dirfd, leaf, e) < 0)
			return -1;
		if (pull_from(p, &all->v[i], skopeo, dirfd, leaf, &why) == 0)
			return 0;
		err_text(&why, words, sizeof(words));
		if (!all->v[i].mirror)
			return err_set(e, why.kind, "%s%s%s", words, before.n ? "; mirrors before that: " : "",
			               before.n ? before.p : "");
		fprintf(stderr, "bloomery-image: the mirror of %s is passed over: %s\n", p->reference, words);
		buf_f(&before, "%s%s", before.n ? "; " : "", words);
	}
	return err_set(e, ERR_BUG, "there is no place to pull %s from", p->reference);
}

int pull_layout(const struct pull_options *p, int dirfd, const char *leaf, struct err *e)
{
	_cleanup_(registry_sources_fini) struct registry_sources all = { 0 };
	_cleanup_free_ char *skopeo = find_skopeo();
	struct err why = { 0 };
	char words[1200];

	if (!skopeo)
		return err_set(
		        e, ERR_IO,
		        "pulling images needs skopeo, which is not installed; on Debian: apt-get install skopeo");
	if (registry_find(p->conf, p->reference, p->provider, &all, &why) == 0 &&
	    pull_from_any(p, &all, skopeo, dirfd, leaf, &why) == 0)
		return 0;
	if (why.kind == ERR_CLIENT)
		return err_set(e, ERR_CLIENT, "%s (%s)", cannot_pull, err_text(&why, words, sizeof(words)));
	if (e)
		*e = why;
	return -1;
}

int pull_digest(const struct pull_options *p, int dirfd, const char *leaf, struct err *e)
{
	return pull_layout(p, dirfd, leaf, e);
}
