/* What packages an image is made of, as dpkg and apk wrote it down. SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci/rootfs.h"
#include "oci/scan_inside.h"

enum { LISTS_MAX = 20000, NAME_MAX_BYTES = 200 };

void scan_package(struct scan *s, struct str name, struct str version, struct str architecture)
{
	_cleanup_free_ char *n = NULL, *v = NULL, *a = NULL;
	json_t *j;

	if (!name.n || name.n > NAME_MAX_BYTES)
		return;
	s->package_count++;
	if (json_array_size(s->packages) == SCAN_PACKAGES_MAX)
		return;
	n = scan_printable(name);
	v = scan_printable(version);
	a = scan_printable(architecture);
	j = json_pack("{ss ss ss}", "name", n, "version", v, "architecture", a);
	must(j);
	json_array_append_new(s->packages, j);
}

/* A file that moved to /usr with its directory is still listed where it was. */
static struct str from_usr(struct str path)
{
	while (str_skip(&path, STR("/")))
		;
	str_skip(&path, STR("./"));
	str_skip(&path, STR("usr/"));
	return path;
}

void scan_owned(struct scan *s, struct str path)
{
	struct str want = from_usr(path);

	for (size_t i = 0; i < s->suspect_count; i++)
		if (str_eq(from_usr(str_of(s->suspects[i].path)), want))
			s->suspects[i].owned = true;
}

/* ---- dpkg ---- */

struct fields {
	struct str package, version, architecture, status;
};

static void take_field(struct fields *f, struct str line)
{
	static const char *const names[] = { "Package", "Version", "Architecture", "Status" };
	struct str *const to[] = { &f->package, &f->version, &f->architecture, &f->status };
	struct str name = str_cut(&line, ':');

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (str_eq_nocase(name, str_of(names[i])))
			*to[i] = str_trim(line);
}

static void end_paragraph(struct scan *s, struct fields *f, bool must_be_installed)
{
	if (f->package.n && (!must_be_installed || str_ends(f->status, STR(" installed"))))
		scan_package(s, f->package, f->version, f->architecture);
	*f = (struct fields){ 0 };
}

static void take_status(struct scan *s, struct str text, bool must_be_installed)
{
	struct fields f = { 0 };

	s->manager = "dpkg";
	while (text.n) {
		struct str line = str_cut(&text, '\n');

		if (!str_trim(line).n)
			end_paragraph(s, &f, must_be_installed);
		else if (line.p[0] != ' ' && line.p[0] != '\t')
			take_field(&f, line);
	}
	end_paragraph(s, &f, must_be_installed);
}

/* Calls fn with the text of each file in dir whose name ends so. */
static bool each_text(struct scan *s, const char *dir, const char *tail, void (*fn)(struct scan *s, struct str text))
{
	int fd = rootfs_open(s->root, dir, O_RDONLY | O_DIRECTORY, 0);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *ent;
	size_t n = 0;

	if (!d)
		return false;
	while ((ent = readdir(d)) && n < LISTS_MAX) {
		_cleanup_free_ char *path = strf("%s/%s", dir, ent->d_name);
		_cleanup_buf_ struct buf text = { 0 };

		if (ent->d_name[0] == '.' || !str_ends(str_of(ent->d_name), str_of(tail)))
			continue;
		n++;
		if (rootfs_read(s->root, path, SCAN_TEXT_MAX_BYTES, &text))
			fn(s, buf_view(&text));
	}
	closedir(d);
	return true;
}

static void take_one(struct scan *s, struct str text)
{
	take_status(s, text, false);
}

static void take_list(struct scan *s, struct str text)
{
	while (text.n)
		scan_owned(s, str_cut(&text, '\n'));
}

static void scan_dpkg(struct scan *s)
{
	_cleanup_buf_ struct buf status = { 0 };

	if (rootfs_read(s->root, "var/lib/dpkg/status", SCAN_TEXT_MAX_BYTES, &status))
		take_status(s, buf_view(&status), true);
	/* Images of few packages and no dpkg have a file for each. */
	each_text(s, "var/lib/dpkg/status.d", "", take_one);
	if (s->manager && s->suspect_count)
		each_text(s, "var/lib/dpkg/info", ".list", take_list);
}

/* ---- apk ---- */

/* Lines "P:name", "V:version", "A:architecture"; "F:directory" and "R:file" of it. */
static void scan_apk(struct scan *s)
{
	_cleanup_buf_ struct buf all = { 0 }, path = { 0 };
	struct str text, dir = { 0 }, name = { 0 }, version = { 0 }, architecture = { 0 };

	if (!rootfs_read(s->root, "lib/apk/db/installed", SCAN_TEXT_MAX_BYTES, &all) &&
	    !rootfs_read(s->root, "usr/lib/apk/db/installed", SCAN_TEXT_MAX_BYTES, &all))
		return;
	s->manager = "apk";
	buf_z(&all, "\n\n");
	for (text = buf_view(&all); text.n;) {
		struct str line = str_cut(&text, '\n');

		if (line.n < 2) {
			scan_package(s, name, version, architecture);
			name = version = architecture = dir = (struct str){ 0 };
			continue;
		}
		if (line.p[1] != ':')
			continue;
		switch (line.p[0]) {
		case 'P': name = (struct str){ line.p + 2, line.n - 2 }; break;
		case 'V': version = (struct str){ line.p + 2, line.n - 2 }; break;
		case 'A': architecture = (struct str){ line.p + 2, line.n - 2 }; break;
		case 'F': dir = (struct str){ line.p + 2, line.n - 2 }; break;
		case 'R':
			buf_reset(&path);
			buf_str(&path, dir);
			buf_c(&path, '/');
			buf_add(&path, line.p + 2, line.n - 2);
			scan_owned(s, buf_view(&path));
			break;
		default: break;
		}
	}
}

void scan_packages(struct scan *s)
{
	scan_dpkg(s);
	scan_apk(s);
}
