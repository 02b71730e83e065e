/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/pull.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loop/loop.h"
#include "oci/reference.h"

enum { OUTPUT_MAX_BYTES = 256 << 10, REASON_MAX_BYTES = 500 };

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

int pull_layout(const char *reference, const char *insecure, int dirfd, const char *leaf, struct err *e)
{
	_cleanup_free_ char *skopeo = find_skopeo();
	_cleanup_free_ char *from = strf("docker://%s", reference);
	_cleanup_free_ char *to = strf("oci:%s:image", leaf); /* relative: a ':' in the store's path would end it */
	_cleanup_free_ char *cwd = strf("/proc/self/fd/%d", dirfd), *reason = NULL;
	const char *argv[16] = { skopeo, "--command-timeout", "2h" };
	const struct spawn_options o = {
		.argv = argv, .in = -1, .out = -1, .err_fd = -1, .die_with_parent = true, .cwd = cwd
	};
	_cleanup_buf_ struct buf output = { 0 };
	size_t n = 3;
	int status;

	if (!skopeo)
		return err_set(
		        e, ERR_IO,
		        "pulling images needs skopeo, which is not installed; on Debian: apt-get install skopeo");
	if (access("/etc/containers/policy.json", F_OK) < 0) /* else the machine's own rules hold */
		argv[n++] = "--insecure-policy";
	argv[n++] = "copy";
	argv[n++] = "--quiet";
	if (insecure && is_insecure(reference, insecure))
		argv[n++] = "--src-tls-verify=false";
	argv[n++] = "--";
	argv[n++] = from;
	argv[n++] = to;
	argv[n] = NULL;
	if (spawn_wait(&o, &output, OUTPUT_MAX_BYTES, &status, e) < 0)
		return -1;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	reason = pull_reason(buf_view(&output));
	return err_set(e, ERR_CLIENT,
	               "Cannot pull algorithm container. Either the image does not exist or its permissions are "
	               "incorrect. (%s: %s)",
	               reference, *reason ? reason : "skopeo gave no reason");
}
