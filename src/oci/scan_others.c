/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/scan_others.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "oci/scan_inside.h"

enum { LIMIT_S = 600, NOBODY = 65534, PRINTED_MAX = 64 << 20, READ_BYTES = 64 << 10 };
#define CACHE "/var/cache/bloomery-scan"

/* ---- what they say ---- */

static struct str text_in(const json_t *j, const char *member)
{
	return str_of(json_string_value(json_object_get(j, member)));
}

static enum scan_severity weigh(struct str severity, bool fixed)
{
	if (str_eq_nocase(severity, STR("CRITICAL")))
		return fixed ? SCAN_HIGH : SCAN_MEDIUM;
	return str_eq_nocase(severity, STR("HIGH")) ? SCAN_MEDIUM : SCAN_LOW;
}

static void add(json_t *report, enum scan_severity weight, const char *scanner, struct str id, struct str package,
                struct str version, struct str fixed)
{
	static const char *const names[] = { "high", "medium", "low" };
	json_t *counts = json_object_get(report, "counts"), *list = json_object_get(report, "findings"), *j;
	_cleanup_buf_ struct buf b = { 0 };
	_cleanup_free_ char *detail = NULL;
	json_int_t n = json_integer_value(json_object_get(counts, names[weight]));

	json_object_set_new(counts, names[weight], json_integer(n + 1));
	if (json_array_size(list) >= SCAN_FINDINGS_MAX && weight != SCAN_HIGH)
		return;
	buf_f(&b, PRIstr " in " PRIstr " " PRIstr, ARGstr(id), ARGstr(package), ARGstr(version));
	if (fixed.n)
		buf_f(&b, ", fixed in " PRIstr, ARGstr(fixed));
	buf_f(&b, ", says %s", scanner);
	detail = scan_printable(buf_view(&b));
	j = json_pack("{ss ss ss ss}", "severity", names[weight], "rule", "vulnerability", "path", "", "detail",
	              detail);
	must(j);
	if (weight == SCAN_HIGH)
		json_array_insert_new(list, 0, j);
	else
		json_array_append_new(list, j);
}

static void take_trivy(const json_t *results, json_t *report, uint64_t *found)
{
	const json_t *r, *v;
	size_t i, k;

	json_array_foreach (results, i, r)
		json_array_foreach (json_object_get(r, "Vulnerabilities"), k, v) {
			struct str fixed = text_in(v, "FixedVersion");

			add(report, weigh(text_in(v, "Severity"), fixed.n), "trivy", text_in(v, "VulnerabilityID"),
			    text_in(v, "PkgName"), text_in(v, "InstalledVersion"), fixed);
			++*found;
		}
}

static void take_grype(const json_t *matches, json_t *report, uint64_t *found)
{
	const json_t *m;
	size_t i;

	json_array_foreach (matches, i, m) {
		const json_t *v = json_object_get(m, "vulnerability"), *a = json_object_get(m, "artifact");
		const json_t *versions = json_object_get(json_object_get(v, "fix"), "versions");
		struct str fixed = str_of(json_string_value(json_array_get(versions, 0)));

		add(report, weigh(text_in(v, "severity"), fixed.n), "grype", text_in(v, "id"), text_in(a, "name"),
		    text_in(a, "version"), fixed);
		++*found;
	}
}

bool scan_others_take(struct str text, const char *name, json_t *report, uint64_t *ret_found)
{
	bool trivy = !strcmp(name, "trivy"), ok;
	json_t *j = json_loadb(text.p, text.n, 0, NULL), *list;

	*ret_found = 0;
	list = json_object_get(j, trivy ? "Results" : "matches");
	/* trivy leaves the list out when it knows nothing of what is there */
	ok = json_is_array(list) || (trivy && json_object_get(j, "SchemaVersion"));
	if (ok)
		(trivy ? take_trivy : take_grype)(list, report, ret_found);
	json_decref(j);
	return ok;
}

/* ---- running them ---- */

/* Nobody who reads all files, also after the exec. */
static int become_reader(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[2] = { { 0 }, { 0 } };

	if (geteuid() != 0)
		return 0;
	caps[0].permitted = caps[0].effective = caps[0].inheritable = 1U << CAP_DAC_READ_SEARCH;
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
	    setresuid(NOBODY, NOBODY, NOBODY) < 0 || syscall(SYS_capset, &head, caps) < 0)
		return -1;
	return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_READ_SEARCH, 0, 0);
}

static _Noreturn void child(const char *const *argv, int out, pid_t parent)
{
	int null = open("/dev/null", O_RDWR);

	if (null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(null, 2) < 0 || become_reader() < 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || setsid() < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ||
	    getppid() != parent)
		_exit(126);
	if (access(CACHE, W_OK) == 0)
		setenv("HOME", CACHE, 1);
	execvp(argv[0], (char *const *)argv);
	_exit(127);
}

/* All that it prints until it ends; false when that is too much or takes too long. */
static bool read_all(int fd, struct buf *out)
{
	struct mono since = mono_now();

	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		int64_t left = LIMIT_S * INT64_C(1000) - mono_ms_since(since);
		ssize_t n;

		if (left <= 0 || out->n > PRINTED_MAX || (poll(&p, 1, (int)left) < 0 && errno != EINTR))
			return false;
		if (!p.revents)
			continue;
		buf_need(out, READ_BYTES);
		n = read(fd, out->p + out->n, READ_BYTES);
		if (n < 0 && errno != EINTR)
			return false;
		if (n == 0)
			return true;
		if (n > 0)
			out->n += (size_t)n;
		out->p[out->n] = 0;
	}
}

/* Its exit status; -1: it did not end well. */
static int run(const char *const *argv, struct buf *out)
{
	pid_t parent = getpid(), pid;
	int fds[2], status = 0;
	bool whole;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -1;
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		child(argv, fds[1], parent);
	close(fds[1]);
	whole = pid > 0 && read_all(fds[0], out);
	close(fds[0]);
	if (pid <= 0)
		return -1;
	if (!whole)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return whole && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static json_t *ask(const char *const *argv, json_t *report)
{
	_cleanup_buf_ struct buf out = { 0 };
	int status = run(argv, &out);
	uint64_t found = 0;
	json_t *j;

	if (status == 127) /* not installed */
		return NULL;
	if (status == 0 && scan_others_take(buf_view(&out), argv[0], report, &found))
		j = json_pack("{ss sb sI}", "name", argv[0], "ok", 1, "found", (json_int_t)found);
	else
		j = json_pack("{ss sb so}", "name", argv[0], "ok", 0, "error",
		              status < 0   ? json_sprintf("it took too long, or printed too much")
		              : status > 0 ? json_sprintf("it ended with status %d", status)
		                           : json_string("it printed something else than findings"));
	must(j);
	return j;
}

json_t *scan_others(const char *rootfs, json_t *report)
{
	_cleanup_free_ char *dir = strf("dir:%s", rootfs);
	const char *const trivy[] = { "trivy",      "rootfs", "--quiet", "--format", "json",
		                      "--scanners", "vuln",   rootfs,    NULL };
	const char *const grype[] = { "grype", dir, "-q", "-o", "json", NULL };
	const char *const *const all[] = { trivy, grype };
	json_t *list = json_array();

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		json_t *said = ask(all[i], report);

		if (said)
			json_array_append_new(list, said);
	}
	return list;
}
