/* The walk over an image's files, and what is made of it. SPDX-License-Identifier: Apache-2.0 */
#include "oci/scan.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "oci/layer.h"
#include "oci/scan_inside.h"

enum { PRINTED_MAX = 1000, SUSPECTS_MAX = 4096 };
#define ENTRIES_MAX UINT64_C(10000000)

static const char *const severities[] = { "high", "medium", "low" };

char *scan_printable(struct str text)
{
	struct buf b = { 0 };

	buf_need(&b, 1);
	for (size_t i = 0; i < text.n && b.n < PRINTED_MAX;) {
		size_t n = 1;

		while (n <= 4 && i + n <= text.n && !utf8_valid((struct str){ text.p + i, n }))
			n++;
		if (n > 4 || i + n > text.n || (unsigned char)text.p[i] < 0x20 || text.p[i] == 0x7f) {
			buf_f(&b, "\\x%02x", (unsigned char)text.p[i++]);
			continue;
		}
		buf_add(&b, text.p + i, n);
		i += n;
	}
	return buf_take(&b);
}

void scan_finding(struct scan *s, enum scan_severity severity, const char *rule, const char *path, const char *fmt, ...)
{
	_cleanup_free_ char *shown = scan_printable(str_of(path)), *safe = NULL;
	_cleanup_buf_ struct buf detail = { 0 };
	va_list ap;
	json_t *j;

	if (s->counts[severity]++ >= SCAN_FINDINGS_MAX)
		return;
	va_start(ap, fmt);
	buf_vf(&detail, fmt, ap);
	va_end(ap);
	safe = scan_printable(buf_view(&detail));
	j = json_pack("{ss ss so ss}", "severity", severities[severity], "rule", rule, "path",
	              *path ? json_sprintf("/%s", shown) : json_string(""), "detail", safe);
	must(j);
	json_array_append_new(s->findings, j);
}

void scan_suspect(struct scan *s, const char *path, const char *rule, bool writable, const char *fmt, ...)
{
	struct buf detail = { 0 };
	va_list ap;

	va_start(ap, fmt);
	buf_vf(&detail, fmt, ap);
	va_end(ap);
	if (s->suspect_count == SUSPECTS_MAX) { /* nobody ships so many */
		scan_finding(s, SCAN_HIGH, rule, path, "%s", detail.p);
		buf_fini(&detail);
		return;
	}
	s->suspects = xrealloc(s->suspects, (s->suspect_count + 1) * sizeof(*s->suspects));
	s->suspects[s->suspect_count++] = (struct scan_suspect){ xstrdup(path), rule, buf_take(&detail), false,
		                                                 writable };
}

/* ---- the walk ---- */

struct level {
	DIR *dir;
	size_t path_bytes; /* of the directory's own path */
};

struct walk {
	struct scan *s;
	struct level *levels;
	size_t depth;
	struct buf path;
	dev_t dev;
};

static int enter(struct walk *w, int parent, const char *leaf, struct err *e)
{
	int fd = openat(parent, leaf, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	DIR *dir;

	if (fd < 0 || fstat(fd, &st) < 0 || (w->depth && st.st_dev != w->dev)) {
		if (fd < 0)
			scan_finding(w->s, SCAN_MEDIUM, "unreadable", w->path.p, "this directory cannot be read: %s",
			             strerror(errno));
		cleanup_closep(&fd);
		return 0;
	}
	w->dev = st.st_dev;
	if (w->depth == LAYER_DEPTH_MAX) {
		close(fd);
		return err_set(e, ERR_TOO_LARGE, "directories are more than %d deep", LAYER_DEPTH_MAX);
	}
	dir = fdopendir(fd);
	must(dir);
	w->levels[w->depth++] = (struct level){ dir, w->path.n };
	return 0;
}

static int visit(struct walk *w, int dir, const char *leaf, struct err *e)
{
	uint64_t most = w->s->o->max_entries ? w->s->o->max_entries : ENTRIES_MAX;
	struct stat st;

	if (++w->s->entries > most)
		return err_set(e, ERR_TOO_LARGE, "it has more than %llu files", (unsigned long long)most);
	if (fstatat(dir, leaf, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	scan_file(w->s, dir, leaf, w->path.p, &st);
	return S_ISDIR(st.st_mode) && st.st_dev == w->dev ? enter(w, dir, leaf, e) : 0;
}

static int walk(struct walk *w, struct err *e)
{
	buf_need(&w->path, 1);
	w->path.p[0] = 0;
	if (enter(w, w->s->root, ".", e) < 0)
		return -1;
	while (w->depth) {
		struct level *l = &w->levels[w->depth - 1];
		struct dirent *d = readdir(l->dir);

		w->path.n = l->path_bytes;
		w->path.p[w->path.n] = 0;
		if (!d) {
			closedir(l->dir);
			w->depth--;
			continue;
		}
		if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, ".."))
			continue;
		if (w->path.n)
			buf_c(&w->path, '/');
		buf_z(&w->path, d->d_name);
		if (visit(w, dirfd(l->dir), d->d_name, e) < 0)
			return -1;
	}
	return 0;
}

static int walk_all(struct scan *s, struct err *e)
{
	struct walk w = { .s = s, .levels = xcalloc(LAYER_DEPTH_MAX, sizeof(*w.levels)) };
	int rc = walk(&w, e);

	while (w.depth)
		closedir(w.levels[--w.depth].dir);
	free(w.levels);
	buf_fini(&w.path);
	return rc;
}

/* ---- the end ---- */

/* Set-user-id programs that distributions ship, for images whose package database does not say what owns them. */
static bool is_usual(const char *path)
{
	static const char *const usual[] = {
		"su",
		"mount",
		"umount",
		"passwd",
		"chsh",
		"chfn",
		"newgrp",
		"gpasswd",
		"sudo",
		"chage",
		"expiry",
		"ping",
		"unix_chkpwd",
		"ssh-keysign",
		"dbus-daemon-launch-helper",
		"wall",
		"write",
		"bbsuid",
		"pkexec",
		"fusermount3",
		"crontab",
		"ssh-agent",
		"pam_extrausers_chkpwd",
		"fusermount",
		"polkit-agent-helper-1",
		"userhelper",
		"utempter",
		"pam_timestamp_check",
	};
	const char *leaf = strrchr(path, '/');

	leaf = leaf ? leaf + 1 : path;
	if (strncmp(path, "usr/", 4) == 0)
		path += 4;
	if (strncmp(path, "bin/", 4) != 0 && strncmp(path, "sbin/", 5) != 0 && strncmp(path, "lib/", 4) != 0 &&
	    strncmp(path, "libexec/", 8) != 0)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(usual); i++)
		if (!strcmp(leaf, usual[i]))
			return true;
	return false;
}

static void judge_suspects(struct scan *s)
{
	/* apk and dpkg name every file; of an rpm database as of none that is only so when it could be read. */
	for (size_t i = 0; i < s->suspect_count; i++) {
		const struct scan_suspect *x = &s->suspects[i];
		bool known = x->owned || is_usual(x->path);

		if (x->writable)
			scan_finding(s, SCAN_HIGH, x->rule, x->path, "%s, and everybody may write to it", x->detail);
		else if (known)
			scan_finding(s, SCAN_LOW, x->rule, x->path, "%s%s", x->detail,
			             x->owned ? ", of a package" : ", as distributions have it");
		else
			scan_finding(s, SCAN_HIGH, x->rule, x->path, "%s, and of no package", x->detail);
	}
}

static void scan_fini(struct scan *s)
{
	for (size_t i = 0; i < s->suspect_count; i++) {
		free(s->suspects[i].path);
		free(s->suspects[i].detail);
	}
	free(s->suspects);
	json_decref(s->findings);
	json_decref(s->packages);
	json_decref(s->os);
}

/* The worst first, then by rule and path, whatever the order of the directories was. */
static int by_weight(const void *a, const void *b)
{
	const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
	static const char *const keys[] = { "severity", "rule", "path", "detail" };
	int c = 0;

	for (size_t i = 0; i < ARRAY_LEN(keys) && !c; i++) {
		const char *u = json_string_value(json_object_get(x, keys[i]));
		const char *v = json_string_value(json_object_get(y, keys[i]));

		c = i ? strcmp(u, v) : (*u == 'h' ? 0 : *u == 'm' ? 1 : 2) - (*v == 'h' ? 0 : *v == 'm' ? 1 : 2);
	}
	return c;
}

static json_t *sorted(json_t *list)
{
	size_t n = json_array_size(list);
	_cleanup_free_ json_t **v = xcalloc(n + 1, sizeof(json_t *));
	json_t *out = json_array();

	for (size_t i = 0; i < n; i++)
		v[i] = json_array_get(list, i);
	qsort(v, n, sizeof(json_t *), by_weight);
	for (size_t i = 0; i < n && i < SCAN_FINDINGS_MAX; i++)
		json_array_append(out, v[i]);
	return out;
}

int scan_tree(int rootfs, const struct scan_options *o, json_t **ret, struct err *e)
{
	struct scan s = { .root = rootfs, .o = o, .findings = json_array(), .packages = json_array() };
	int rc = walk_all(&s, e);

	if (rc == 0) {
		scan_packages(&s);
		scan_rpm(&s);
		scan_settings(&s);
		judge_suspects(&s);
		*ret = json_pack("{sO sI sI s{ss sI sO} so s{sI sI sI}}", "os", s.os, "files", (json_int_t)s.files,
		                 "bytes", (json_int_t)s.bytes, "packages", "manager", s.manager ? s.manager : "none",
		                 "count", (json_int_t)s.package_count, "list", s.packages, "findings",
		                 sorted(s.findings), "counts", "high", (json_int_t)s.counts[SCAN_HIGH], "medium",
		                 (json_int_t)s.counts[SCAN_MEDIUM], "low", (json_int_t)s.counts[SCAN_LOW]);
		must(*ret);
	}
	scan_fini(&s);
	return rc;
}
